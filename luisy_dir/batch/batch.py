"""`Batch`: several items together, with named components."""

from __future__ import annotations

import copy as copying
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from luisy_dir.batch.acting import Acting
from luisy_dir.batch.components import names_of
from luisy_dir.batch.dumping import dumped
from luisy_dir.batch.ids import Positions
from luisy_dir.batch.merging import joined, merged
from luisy_dir.batch.rows import described, is_frame, is_mapping
from luisy_dir.errors import BatchError, SettingError

if TYPE_CHECKING:
    import numpy as np


class Batch(Acting):
    """Several items together: an id for each, and components, which are named arrays with one row an item.

    A component is an attribute: ``batch.images`` is an array whose first axis counts the items, and assigning replaces
    it. A subclass says in ``components`` which it has, and may have actions, which are methods under
    :func:`luisy_dir.apply_parallel`.

    Parameters
    ----------
    index
        Ids of the items: integers or texts, in one dimension; a number n for 0 to n - 1; or an object with ``indices``.
    dataset
        What the batch was taken from; it is only referred to.
    pipeline
        In which the batch is used; it is only referred to.
    preloaded
        Data of a whole dataset, of which the items of this batch are taken when they are first asked for, as
        :meth:`load` does. What a component lacks there is None.
    copy
        Objects in preloaded data are copied too. Arrays always are.
    seed
        Of all random numbers of the batch.
    epoch
        Likewise: another epoch has other numbers.
    attributes
        Kept as attributes of the batch, as :meth:`create_attrs` does.

    Raises
    ------
    BatchError
        The ids have more than one dimension, or are something by which no item is found again, such as NaN.
    SettingError
        ``seed`` or ``epoch`` is no whole number.

    Warns
    -----
    UserWarning
        Several items have the same id.

    Examples
    --------
    >>> import numpy as np
    >>> class Pictures(Batch):
    ...     components = "images", "labels"
    >>> batch = Pictures([7, 3], preloaded={"images": np.arange(100) * 10, "labels": np.arange(100)})
    >>> batch.images
    array([70, 30])
    >>> batch[3].labels
    np.int64(3)
    """

    apply_defaults: ClassVar[dict[str, Any]] = {"dst": None, "post": "_assemble", "src": None, "target": "threads"}

    def __init__(
        self,
        index: Any,
        dataset: Any = None,
        pipeline: Any = None,
        preloaded: Any = None,
        copy: bool = False,  # noqa: FBT001, FBT002 - its place is known
        *,
        seed: int = 0,
        epoch: int = 0,
        **attributes: Any,
    ) -> None:
        super().__init__(index, dataset, pipeline, preloaded, is_copied=bool(copy), seed=seed, epoch=epoch)
        self.create_attrs(**attributes)

    def dump(self, dst: Any = None, fmt: str | None = None, components: Any = None, **options: Any) -> Self:
        """Put data into another array or a file, by the ids of the items.

        Parameters
        ----------
        dst
            What :func:`luisy_dir.batch.dumping.dumped` takes: an array whose positions are ids, a mapping, a frame, a
            tuple of these for several components, or the name of a file.
        fmt
            Of a file; None for what is in memory.
        components
            A name, or several; None for all.
        options
            Of the format.

        Returns
        -------
        Batch
            This one.

        Raises
        ------
        UnknownItemError
            There is no place for an item.
        BatchError
            Components do not fit into the destination, or have no data. Nothing is put into it.

        Examples
        --------
        >>> import numpy as np
        >>> everything = np.zeros(4)
        >>> Batch.from_data([1, 3], {"features": [2.0, 6.0]}).dump(dst=everything).size
        2
        >>> everything
        array([0., 2., 0., 6.])
        """
        names = self.table.names if components is None else names_of(components)
        if dst is None:
            raise SettingError("dump has no dst. Give an array, or the name of a file and its fmt.")
        dumped({name: self.table[name] for name in names}, self._ids, dst, fmt, **options)
        return self

    def save(self, *args: Any, **kwargs: Any) -> Self:
        """Do the same as :meth:`dump`.

        Examples
        --------
        >>> saved = {}
        >>> Batch.from_data(["a", "b"], {"labels": ["cat", "dog"]}).save(saved).size
        2
        >>> saved["b"]
        np.str_('dog')
        """
        return self.dump(*args, **kwargs)

    @classmethod
    def from_data(cls, index: Any = None, data: Any = None, **options: Any) -> Self:
        """Make a batch of data that has one row for each of its items, in their order.

        Parameters
        ----------
        index
            Ids. None for those of a frame's index, and else for 0, 1, 2 and so on.
        data
            An array, a tuple of arrays, a dict of arrays by the names of components, or a frame with components as its
            columns. Arrays are not copied.
        options
            Of the class.

        Returns
        -------
        Batch
            With components, if there are names for them.

        Raises
        ------
        BatchError
            Parts do not have a row for each item.

        Examples
        --------
        >>> import numpy as np
        >>> Batch.from_data(data=(np.zeros((4, 2)), np.ones(4)))
        <Batch of 4 items: float64[4, 2], float64[4]>
        """
        if index is None and data is None:
            raise BatchError("from_data has neither index nor data. Give one of them.")
        if index is None:
            index = data.index if is_frame(data) else _length_of(data)
        batch = cls(index, **options)
        batch.data = data
        return batch

    def as_dataset(self, dataset: Any = None, copy: bool = False) -> Any:  # noqa: FBT001, FBT002 - its place is known
        """Make a dataset out of the data of this batch.

        Parameters
        ----------
        dataset
            A class, or an object of one; None for the class of this batch's dataset. It is called with the index,
            ``batch_class`` and ``preloaded``, from which batches of any of the items can load.
        copy
            Whether data is copied, so that changes of the one are not those of the other.

        Returns
        -------
        object
            Of that class.

        Raises
        ------
        BatchError
            There is no such class.

        Examples
        --------
        >>> from types import SimpleNamespace
        >>> batch = Batch.from_data([7, 3], {"images": [70, 30]})
        >>> dataset = batch.as_dataset(SimpleNamespace)
        >>> dataset.batch_class(dataset.index[1:], preloaded=dataset.preloaded).images
        array([30])
        """
        dataset = self._dataset if dataset is None else dataset
        if dataset is None:
            raise BatchError("The batch was taken from no dataset, so that its class is not known. Name one.")
        kind = dataset if isinstance(dataset, type) else type(dataset)
        if kind.__module__ == "builtins":
            raise BatchError(f"A dataset is to be made of the class of {described(dataset)}. Give one of datasets.")
        arrays = {name: array for name, array in self.table.as_dict().items() if array is not None}
        arrays = copying.deepcopy(arrays) if copy else arrays
        rows = {name: ById(self._ids, array) for name, array in arrays.items()}
        whole = tuple(rows.values())
        preloaded: Any = rows if self._whole is None else whole if self._whole else whole[0]
        return kind(index=self._ids, batch_class=type(self), preloaded=preloaded)

    @classmethod
    def merge(
        cls, batches: Iterable[Batch], batch_size: int | None = None, components: Any = None, batch_class: Any = None
    ) -> tuple[Any, Any]:
        """Merge several batches to form a new batch of a given size.

        The items keep their ids, unless two of them have the same one: then they get the numbers from 0 on, those of
        the rest after those of the new batch. Seed, epoch, dataset and pipeline are those of the first batch.

        Parameters
        ----------
        batches
            At least one.
        batch_size
            How many items the new batch has; None for all of them.
        components
            A name, or several; None for all that any of the batches has.
        batch_class
            Of the new batches; None for that of the first one.

        Returns
        -------
        tuple
            The batch, and one with the rest of the data; None where there is no rest.

        Raises
        ------
        BatchError
            A component has data in some of the batches and none in others, or is in none of them; there are no batches,
            or something else is among them; ``batch_size`` is less than 1.

        Examples
        --------
        >>> batches = [Batch.from_data([n, n + 1], {"images": [n, n + 1]}) for n in (0, 100, 200)]
        >>> batch, rest = Batch.merge(batches, batch_size=3)
        >>> batch.images, rest.images, rest.indices
        (array([  0,   1, 100]), array([101, 200, 201]), array([101, 200, 201]))
        """
        batches = list(batches)
        names = None if components is None else names_of(components)
        kind = batch_class or (type(batches[0]) if batches else cls)
        return merged(batches, batch_size, names, kind)

    @classmethod
    def merge_component(cls, component: str | None = None, data: Any = None) -> Any:  # noqa: ARG003 - for subclasses
        """Merge the data of one component from several batches; a subclass may do it in another way.

        Parameters
        ----------
        component
            Its name.
        data
            Arrays, one a batch. None for none.

        Returns
        -------
        numpy.ndarray or None
            All rows; an array of objects where items have different shapes.

        Examples
        --------
        >>> import numpy as np
        >>> Batch.merge_component("images", [np.zeros((1, 2)), np.ones((3, 2))]).shape
        (4, 2)
        """
        return joined(data)

    def __repr__(self) -> str:
        if self._preloaded is not None:
            return f"<{type(self).__name__} of {self.size} items, not loaded yet>"
        names = (f"{name}=" if self._whole is None else "" for name in self._table.names)
        shapes = ("None" if part is None else f"{part.dtype}{list(part.shape)}" for part in self._table)
        parts = [name + shape for name, shape in zip(names, shapes, strict=True)]
        return f"<{type(self).__name__} of {self.size} items{': ' if parts else ', without data'}{', '.join(parts)}>"


class ById:
    """Rows by the ids of items, whatever their positions: what a dataset made of a batch loads from.

    Parameters
    ----------
    ids
        One dimension.
    array
        One row for each.
    """

    def __init__(self, ids: np.ndarray[Any, Any], array: np.ndarray[Any, Any]) -> None:
        self._array = array
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the batch has said so
            self._positions = Positions(ids)

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, item_id: Any) -> Any:
        return self._array[self._positions.of(item_id)]


def _length_of(data: Any) -> int:
    part = data
    if is_mapping(data):
        part = next((value for value in data.values() if value is not None), ())
    elif isinstance(data, tuple) and data:
        part = data[0]
    if not hasattr(part, "__len__"):
        raise BatchError(f"{described(part)} has no length. Give arrays, or an index with the ids of the items.")
    return len(part)
