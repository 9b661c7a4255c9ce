"""The dataset of a directory: a lazy sequence of the data of its items."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from luisy_dir.batch.batch import Batch
from luisy_dir.batch.source import BatchSource
from luisy_dir.dataset.arguments import whole
from luisy_dir.dataset.batches import Batches
from luisy_dir.dataset.changes import Change, Convert, Copy, ExpandDims, Index, Squeeze, Window, window
from luisy_dir.dataset.items import Items
from luisy_dir.dataset.layers import Changed, Joined, Mapped, Taken, Unbound, changed_at_random, note_key
from luisy_dir.dataset.positions import position_in, selected
from luisy_dir.dataset.published import PublishedItems
from luisy_dir.errors import BatchError, DatasetError, SettingError, UnknownKeyError
from luisy_dir.generations import kept_manifest
from luisy_dir.manifest import Manifest
from luisy_dir.packing import pack_generation
from luisy_dir.pinning import settled_manifest
from luisy_dir.record import Record
from luisy_dir.streams import wants_item

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


class DirectoryDataset(Sequence[Any]):
    """The data of a directory's items, in key order, read when it is asked for.

    Open one with ``task.dataset()`` or :func:`open_dataset`. It stays with the generation that was published then: a
    file that has been replaced since is an error, never data. What a method returns is a dataset again, on top of this
    one, and nothing is read for it. A dataset can be pickled, and used by several threads at a time.

    **Indexing.** The first index selects items: a key, a position, or, for several, a slice, a list or array of keys or
    positions, a mask, or ``...`` for all. One item is its data, several are a dataset, in which an item may be twice.
    Whatever follows is an index of NumPy's on the data of each item: ``dataset["img_42", 0:2, ..., 0]``. Where the task
    wrote ``.npy``, the data is a view of a memory map, and only what is looked at is read from the disk; nobody can
    write to it (see :meth:`copies`).

    Parameters
    ----------
    items
        What the dataset consists of.
    epoch
        Number of the pass over it, from 0 on, which random windows and functions depend on.

    Examples
    --------
    >>> dataset = open_dataset("final/red_channel")  # doctest: +SKIP
    >>> dataset["cats/1"].shape, len(dataset[10:20]), dataset[0, 5, 0:2, 1:2].shape  # doctest: +SKIP
    ((480, 640), 10, (2, 1))
    """

    def __init__(self, items: Items, *, epoch: int = 0, _operations: int = 0) -> None:
        self._items = items
        self._epoch = epoch
        self._operations = _operations

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        """What is known without a look at data."""
        try:
            shapes = {self._items.shape(position) for position in range(len(self))}
        except Exception:  # noqa: BLE001 - of an index that no item has; to read says so
            shapes = {None}
        if None in shapes or len(set(map(len, shapes - {None}))) != 1:  # type: ignore[arg-type]
            return f"DirectoryDataset({len(self)} items)"
        return f"DirectoryDataset({len(self)} items, shape={self.shape}, dtype={self.dtype})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("_items", "_epoch", "_operations")}

    def _on(self, items: Items, *, operations: int = 0) -> DirectoryDataset:
        return DirectoryDataset(items, epoch=self._epoch, _operations=self._operations + operations)

    # What there is

    @property
    def epoch(self) -> int:
        """Number of the pass over the dataset, from 0 on; see :meth:`at_epoch`."""
        return self._epoch

    @property
    def keys(self) -> Sequence[str]:
        """Key of each item, in the order of the dataset."""
        return self._items.keys

    @property
    def digest(self) -> str:
        """In hex: equal for datasets of the same items in the same order, published with the same content."""
        return self._items.digest

    @cached_property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shape of each item's data: read from the manifest alone, or, after :meth:`map`, from the data.

        Raises
        ------
        DatasetError
            The data of an item is no array.
        """
        return [self._shape(position) for position in range(len(self))]

    def _shape(self, position: int) -> tuple[int, ...]:
        known = self._items.shape(position)
        if known is not None:
            return known
        return self._as_array(position).shape

    def _as_array(self, position: int) -> npt.NDArray[Any]:
        import numpy as np

        data = self._items.read(position, self._epoch)
        if isinstance(data, (np.ndarray, np.generic)):
            return np.asarray(data)
        raise DatasetError(
            f"The data of {self.keys[position]!r} is a {type(data).__name__}, no array. map() it to arrays first."
        )

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Number of items, then the length of each axis of their data; None where items differ in it.

        Raises
        ------
        DatasetError
            Items differ in how many axes they have, or are no arrays.
        """
        numbers = {len(shape) for shape in self.shapes}
        if len(numbers) > 1:
            raise DatasetError(
                f"Items have {' and '.join(map(str, sorted(numbers)))} axes, so that there is no shape of all. See "
                "shapes."
            )
        axes = zip(*dict.fromkeys(self.shapes), strict=True)
        return (len(self), *(lengths[0] if len(set(lengths)) == 1 else None for lengths in axes))

    @property
    def ndim(self) -> int:
        """Number of axes, that of the items included."""
        return len(self.shape)

    @cached_property
    def dtype(self) -> np.dtype[Any] | None:
        """Dtype of all items' data; None where they differ, or are no arrays."""
        known = {self._items.dtype(position) for position in range(len(self))}
        if None in known and isinstance(self._items, (Mapped, Changed)) and len(self):
            return self._as_array(0).dtype
        return known.pop() if len(known) == 1 else None

    @property
    def meta(self) -> pd.DataFrame:
        """What the step put into ``item.meta``, as a frame: one row an item in the dataset's order, index ``key``.

        A name that an item lacks is missing in its row (NaN, or None among texts). Each look makes a frame of its own,
        which may be sorted or added to.
        """
        return self._frame.copy()

    @cached_property
    def _frame(self) -> pd.DataFrame:
        import pandas as pd

        rows = [self._items.meta(position) for position in range(len(self))]
        index = pd.Index(list(self.keys), name="key", dtype="str")
        return pd.DataFrame(rows, index=index, columns=list(dict.fromkeys(name for row in rows for name in row)))

    # Looking into it

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Position of the item of a key; the first one, where it was taken twice.

        Raises
        ------
        UnknownKeyError
            There is none, or it is not between ``start`` and ``stop``.
        """
        position = self._positions.get(value) if isinstance(value, str) else None
        among = range(len(self))[start:stop]
        if position is not None and position not in among:  # of an item that was taken twice, perhaps the other one
            position = next((place for place in among if self.keys[place] == value), None)
        if position is None:
            some = f" Keys are such as {self.keys[0]!r}." if len(self) else " The dataset is empty."
            raise UnknownKeyError(f"There is no item of the key {value!r}.{some}")
        return position

    def count(self, value: Any) -> int:
        """How many items have that key; more than one only where an item was taken twice."""
        return self.keys.count(value) if value in self else 0

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and value in self._positions

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {key: position for position, key in reversed(list(enumerate(self.keys)))}  # the first of each key

    def __iter__(self) -> Iterator[Any]:
        return (self._items.read(position, self._epoch) for position in range(len(self)))

    def __reversed__(self) -> Iterator[Any]:
        return (self._items.read(position, self._epoch) for position in reversed(range(len(self))))

    def items(self) -> Iterator[tuple[str, Any]]:
        """Key and data of each item, one at a time."""
        return zip(self.keys, self, strict=True)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> DirectoryDataset: ...
    @overload
    def __getitem__(self, index: Any) -> Any: ...
    def __getitem__(self, index: Any) -> Any:
        if type(index) is int:
            return self._items.read(index if index >= 0 else position_in(index, len(self)), self._epoch)
        if type(index) is not tuple:
            return self if index is Ellipsis else self._deeper(index, ())
        if not index:
            return self
        first = index[0]
        if type(first) is int:
            return self._one(first, index[1:])
        return self.select(index) if first is Ellipsis else self._deeper(first, index[1:])

    def _deeper(self, first: Any, rest: tuple[Any, ...]) -> Any:
        if isinstance(first, Window):
            raise IndexError("The first index selects items, and a window does not. Use shuffle= of batches().")
        self._check_rows(first)
        which = selected(first, len(self), self.index)
        if isinstance(which, int):
            return self._one(which, rest)
        dataset = self._on(Taken(self._items, which))
        return dataset.select(rest) if rest else dataset

    def _one(self, position: int, rest: tuple[Any, ...]) -> Any:
        if position < 0:
            position = position_in(position, len(self))
        data = self._items.read(position, self._epoch)
        try:
            for part in rest:
                if type(part) is Window:
                    key = self.keys[position]
                    return changed_at_random(Index(rest), data, key, self._epoch, self._operation, 0)
            return data[rest if len(rest) != 1 else rest[0]] if rest else data
        except Exception as error:
            note_key(error, self.keys[position])
            raise

    @property
    def _operation(self) -> str:
        """Name of the next operation: what is random in it differs from what was before."""
        return f"operation {self._operations}"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:  # noqa: FBT001 - NumPy's
        """All items in memory, stacked along a new first axis, where they have the same shape.

        Raises
        ------
        DatasetError
            They have not.
        """
        import numpy as np

        if copy is False:
            raise ValueError("A dataset becomes an array only by a copy of its data. Leave out copy=False.")
        shape = self.shape
        if None in shape:
            raise DatasetError(
                f"Items differ in shape ({shape}), so that they make no one array. Use batches(…, collate='pad'), "
                "'crop' or 'ragged'."
            )
        arrays = [self._as_array(position) for position in range(len(self))]
        stacked = np.stack(arrays) if arrays else np.zeros(0)
        return stacked if dtype is None else stacked.astype(dtype, copy=False)

    def pack(self, path: str | os.PathLike[str], *, packs: int | None = None) -> Record:
        """Write the arrays of a directory, or of some of its items, as a dataset of few files at another place.

        Parameters
        ----------
        path
            Where to.
        packs
            How many files; None for as many as there are already, else as is usual.

        Returns
        -------
        Record
            Of the generation that is published there.

        Raises
        ------
        DatasetError
            These are not the published items as they are, but what was made of them.
        InputChangedError
            A file has been replaced since the dataset was opened.
        LuisyDirError
            See :func:`luisy_dir.pack_dataset`.
        """
        items = self._items.items if isinstance(self._items, Taken) else self._items
        if not isinstance(items, PublishedItems):
            raise DatasetError(
                "Only items as they were published can be packed, and these were changed or put together since. Write "
                "what was made of them with write_dataset(path, layout='pack')."
            )
        return pack_generation(
            Manifest(items.directory, items.record),
            path,
            keys=None if items is self._items else self.keys,
            suffix=items.suffix or "",
            packs=packs,
        )

    def batches(  # noqa: PLR0913 - all but one are keyword-only
        self,
        size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        collate: str | Callable[..., Any] = "stack",
        workers: int = 0,
        engine: str = "threads",
        prefetch: int = 2,
        rank: int = 0,
        world: int = 1,
    ) -> Batches:
        """The items some at a time, epoch after epoch, in an order that can be had again.

        Parameters are those of :class:`luisy_dir.dataset.batches.Batches`. The first iteration is the epoch of this
        dataset, the next one the epoch after it.

        Raises
        ------
        SettingError
            An argument is not allowed.
        """
        batches = Batches(
            self._items,
            size,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
            collate=collate,
            workers=workers,
            engine=engine,
            prefetch=prefetch,
            rank=rank,
            world=world,
        )
        return batches.at_epoch(self._epoch)

    def batch_source(
        self, component: str = "images", *, batch_class: type[Batch] = Batch, seed: int = 0, **others: DirectoryDataset
    ) -> BatchSource:
        """The items as batches with named components, see :class:`luisy_dir.Batch`.

        Parameters
        ----------
        component
            What the data of this dataset is called there.
        batch_class
            Of the batches.
        seed
            Of the random numbers of all batches.
        others
            Further datasets of the same keys, by the names of their components.

        Returns
        -------
        BatchSource
            With ``gen_batch`` and ``next_batch``; keys are the ids of the items.

        Raises
        ------
        BatchError
            A key is in one dataset and not in another; or there are two datasets for one component, or something else.

        Examples
        --------
        ::

            source = images.batch_source("images", masks=masks, seed=7)
            next(source.gen_batch(4)).masks.shape  # (4, 8, 8), where each mask is an array of 8 x 8
        """
        if component in others:
            raise BatchError(f"Two datasets are to be {component!r}. Say as component what this one is called.")
        return BatchSource.join(batch_class, seed=seed, **{component: self, **others})

    # Datasets on top of it

    def at_epoch(self, epoch: int) -> DirectoryDataset:
        """The same dataset in another pass: random windows, and ``item.rng`` of functions, are drawn anew.

        Raises
        ------
        SettingError
            The epoch is no whole number from 0 on.
        """
        return DirectoryDataset(self._items, epoch=whole("epoch", epoch, 0), _operations=self._operations)

    def select(self, index: Any) -> DirectoryDataset:
        """The same items with an index of NumPy's on the data of each; ``dataset.select(np.s_[0:2, ..., 0])``.

        It may have :func:`window` in it. Basic indices give views of the memory map.
        """
        parts = index if isinstance(index, tuple) else (index,)
        change = Index(parts)
        items = Changed(self._items, change, operation=self._operation)
        return self._on(items, operations=int(change.is_random))

    def window(
        self, length: int, *, axis: int = 0, start: int | None = None, stop: int | None = None, seed: int = 0
    ) -> DirectoryDataset:
        """The same items with a random window of their data; see :func:`window`.

        Parameters
        ----------
        length
            Of the window.
        axis
            Of each item's data; negative ones count from the end.
        start, stop
            Between which positions of the axis the window lies.
        seed
            Two datasets with the same keys and seed have their windows at the same places.

        Raises
        ------
        SettingError
            An argument is no whole number, or the length is not positive.
        """
        axis = whole("axis", axis)
        part = window(length, start, stop)
        before = (slice(None),) * axis if axis >= 0 else (Ellipsis,)
        after = () if axis >= 0 else (slice(None),) * (-axis - 1)
        items = Changed(
            self._items, Index((*before, part, *after)), operation=self._operation, seed=whole("seed", seed)
        )
        return self._on(items, operations=1)

    def map(self, function: Callable[..., Any], *, seed: int = 0) -> DirectoryDataset:
        """The same items with the result of a function in the place of their data.

        Parameters
        ----------
        function
            ``function(data)``; if it has a parameter named ``item``, it also gets a
            :class:`~luisy_dir.dataset.layers.DatasetItem`: ``.key .meta .epoch .rng``. Called whenever an item is read;
            for worker processes it must be possible to pickle it, with cloudpickle.
        seed
            Of ``item.rng``.

        Raises
        ------
        SettingError
            The function is none, or the seed is no whole number.
        """
        if not callable(function):
            raise SettingError(f"function is {function!r}, which cannot be called. Give a function of an item's data.")
        seed = whole("seed", seed)
        items = Mapped(self._items, function, wants_item=wants_item(function), operation=self._operation, seed=seed)
        return self._on(items, operations=1)

    def where(self, condition: str | Callable[[pd.DataFrame], Any] | Any) -> DirectoryDataset:
        """The items that a condition on :attr:`meta` selects, in the dataset's order.

        Parameters
        ----------
        condition
            An expression such as ``"brightness > 0.5"`` or ``"brightness > @limit"`` (see
            :meth:`pandas.DataFrame.query`), a function of the frame, or a mask: one bool an item.

        Raises
        ------
        DatasetError
            The condition does not say yes or no of each item.
        """
        import numpy as np

        if isinstance(condition, str):
            mask = self._frame.eval(condition, level=1)  # where @name is a variable of whoever asks
        else:
            mask = condition(self.meta) if callable(condition) else condition
        self._check_rows(mask)
        array = np.asarray(mask)
        if array.dtype == object and all(isinstance(value, (bool, np.bool_)) for value in array):
            array = array.astype(bool)
        if array.dtype != bool or array.shape != (len(self),):
            raise DatasetError(
                f"The condition gave values of dtype {array.dtype} and shape {array.shape}; it has to give a bool for "
                f"each of {len(self)} items. A name that some items lack is neither true nor false: see meta, and "
                "fillna()."
            )
        return self._on(Taken(self._items, np.flatnonzero(array)))

    def _check_rows(self, mask: Any) -> None:
        """Raise DatasetError where a mask is a column whose rows are not the items in their order."""
        rows = getattr(mask, "index", None) if getattr(mask, "dtype", None) in ("bool", "boolean") else None
        if rows is not None and len(rows) == len(self) and list(rows) not in (list(self.keys), list(range(len(self)))):
            raise DatasetError(
                "The mask is a column of a frame with other rows than the dataset has items, or in another order. Take "
                "it from meta as it is, or give mask.to_numpy() if it is in the order of the dataset."
            )

    def concat(self, *others: DirectoryDataset, names: Sequence[str] | None = None) -> DirectoryDataset:
        """The items of this dataset and then those of others; see :func:`concat`."""
        return concat([self, *others], names=names)

    def unbind(self, axis: int = 0) -> DirectoryDataset:
        """An item for each position along an axis of each item's data; keys are ``<key>/<position>``.

        Raises
        ------
        DatasetError
            A shape is not known without reading (after :meth:`map`), or has no such axis.
        """
        return self._on(Unbound(self._items, whole("axis", axis)))

    def expand_dims(self, axis: int) -> DirectoryDataset:
        """The same items with a new axis of length 1 in the data of each; the axis does not count that of the items."""
        return self._changed(ExpandDims(axis))

    def squeeze(self, axis: int | None = None) -> DirectoryDataset:
        """The same items without an axis of length 1 in the data of each, or without all of them."""
        return self._changed(Squeeze(axis))

    def astype(self, dtype: npt.DTypeLike, *, lossy: bool = False) -> DirectoryDataset:
        """The same items, converted when they are read.

        Parameters
        ----------
        dtype
            What to convert to.
        lossy
            Allow what may lose values, such as float64 to float32. NumPy's rule ``safe`` says what may.

        Raises
        ------
        DatasetError
            Values may be lost, and that was not asked for.
        """
        import numpy as np

        change = Convert(np.dtype(dtype), is_lossy=lossy)
        for known in {self._items.dtype(position) for position in range(len(self))} - {None}:
            change.dtype(known)  # type: ignore[arg-type]
        return self._changed(change)

    def copies(self) -> DirectoryDataset:
        """The same items as arrays of their own, which may be written to; PyTorch asks for such."""
        return self._changed(Copy())

    def _changed(self, change: Change) -> DirectoryDataset:
        return self._on(Changed(self._items, change))


def concat(datasets: Iterable[DirectoryDataset], *, names: Sequence[str] | None = None) -> DirectoryDataset:
    """The items of several datasets, one after the other.

    Parameters
    ----------
    datasets
        At least one.
    names
        One for each dataset, put before its keys: ``<name>/<key>``.

    Raises
    ------
    DatasetError
        There is no dataset, or a key is in more than one, or they are at different epochs.
    """
    datasets = list(datasets)
    if not datasets or not all(isinstance(dataset, DirectoryDataset) for dataset in datasets):
        raise DatasetError("concat needs at least one dataset, and nothing but datasets. Give a list of them.")
    if names is not None and (isinstance(names, str) or len(names) != len(datasets)):
        raise DatasetError(f"The names {names!r} were given for {len(datasets)} datasets. Give a list of one for each.")
    if len(epochs := {dataset.epoch for dataset in datasets}) > 1:
        raise DatasetError(f"The datasets are at the epochs {sorted(epochs)}. Join them first, then call at_epoch.")
    items = Joined([dataset._items for dataset in datasets], names)  # noqa: SLF001 - of our own
    operations = max(dataset._operations for dataset in datasets)  # noqa: SLF001 - of our own
    return DirectoryDataset(items, epoch=datasets[0].epoch, _operations=operations)


def open_dataset(
    path: str | os.PathLike[str], *, generation: int | None = None, suffix: str | None = None, order: str = "key"
) -> DirectoryDataset:
    """Open what was published in a directory: from its manifest alone, without a look at a data file.

    Parameters
    ----------
    path
        The directory.
    generation
        A number, where it shall not be the one that is published now. Items whose files have been replaced since cannot
        be read.
    suffix
        Takes only files with that suffix, with its dot.
    order
        ``key``, or ``added`` for that in which :func:`~luisy_dir.write_dataset` was given the items.

    Raises
    ------
    MissingInputError
        Nothing was published there.
    BusyError
        It is just being brought up to date, and that did not end within ten seconds.
    GenerationError
        That generation is not kept.
    ManifestError
        The manifest cannot be read.
    DatasetError
        Two files have the same key, or there is no such order.

    Examples
    --------
    >>> open_dataset("/nowhere")
    Traceback (most recent call last):
    luisy_dir.errors.MissingInputError: Nothing was published as '/nowhere'. Run its task first.
    """
    directory = os.path.abspath(path)
    manifest = settled_manifest(directory) if generation is None else kept_manifest(directory, generation)
    return DirectoryDataset(PublishedItems(manifest, suffix, order=order))
