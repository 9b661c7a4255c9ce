"""`Batch`: several items together, with named components."""

from __future__ import annotations

import copy as copying
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from luisy_dir.batch.applying import Action, Once, raise_first
from luisy_dir.batch.components import BatchItem, Components, is_name
from luisy_dir.batch.dumping import dumped
from luisy_dir.batch.ids import Positions, ids_of
from luisy_dir.batch.images import with_channels
from luisy_dir.batch.loading import loaded
from luisy_dir.batch.merging import joined, merged
from luisy_dir.batch.rows import assembled, is_frame, is_mapping, named, rows_of
from luisy_dir.errors import BatchError, DefinitionError, SettingError

if TYPE_CHECKING:
    import numpy as np

_WHOLE = "data"  # the name of data that has none
_NOT_COPIED = {"_dataset", "_pipeline", "_loading"}


class Batch:
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
        The ids have more than one dimension.

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

    components: ClassVar[Any] = None
    apply_defaults: ClassVar[dict[str, Any]] = {"dst": None, "post": "_assemble", "src": None, "target": "threads"}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        declared = vars(cls).get("components")
        if declared is None:
            return
        cls.components = (declared,) if isinstance(declared, str) else tuple(declared)
        for name in cls.components:
            if not is_name(name) or hasattr(cls, name):
                raise DefinitionError(
                    f"{cls.__name__} has a component {name!r}, which is no name of an attribute, or that of another "
                    "one. Choose another name."
                )

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
        self._index = index
        self._ids = ids_of(index)
        self._positions = Positions(self._ids)
        self._dataset, self._pipeline = dataset, pipeline
        self._preloaded, self._is_copied = preloaded, bool(copy)
        self._seed, self._epoch, self._draws = int(seed), int(epoch), 0
        self._random: np.random.Generator | None = None
        self._random_seed: np.random.SeedSequence | None = None
        self._loading = threading.RLock()
        self._attributes: dict[str, None] = {}
        self._whole: int | None = None  # parts of data without names: 0 for an array, n for a tuple
        self._table = Components(self.size, dict.fromkeys(type(self).components or ()))
        self.create_attrs(**attributes)

    # Items and their ids

    @property
    def index(self) -> Any:
        """What the batch was made with as its index.

        Examples
        --------
        >>> Batch(["a", "b"]).index
        ['a', 'b']
        """
        return self._index

    @property
    def indices(self) -> np.ndarray[Any, Any]:
        """Ids of the items: one dimension.

        Examples
        --------
        >>> Batch(["a", "b"]).indices.tolist()
        ['a', 'b']
        """
        return self._ids

    @property
    def size(self) -> int:
        """Number of items.

        Examples
        --------
        >>> Batch([5, 6, 7]).size
        3
        """
        return len(self._ids)

    def __len__(self) -> int:
        return self.size

    @property
    def items(self) -> list[Any]:
        """The items in their order: as :meth:`get` gives each.

        Examples
        --------
        >>> [item.labels for item in Batch.from_data(data={"labels": ["cat", "dog"]}).items]
        [np.str_('cat'), np.str_('dog')]
        """
        return [self._item_at(position) for position in range(self.size)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __getitem__(self, key: Any) -> Any:
        """One item by its id; a batch of several by a list or an array of ids, a slice of positions, or a mask."""
        import numpy as np

        if isinstance(key, slice):
            return self._rows(key)
        if isinstance(key, (list, np.ndarray)) and np.ndim(key) > 0:
            return self._rows(self._selection(key))
        return self._item_at(self._positions.of(key))

    def _selection(self, key: Any) -> np.ndarray[Any, Any]:
        import numpy as np

        mask = np.asarray(key)
        if mask.dtype.kind != "b":
            return np.asarray([self._positions.of(item_id) for item_id in ids_of(key).tolist()], dtype=np.intp)
        if mask.shape != (self.size,):
            raise BatchError(
                f"A mask of shape {mask.shape} is to select from {self.size} items. Give one value an item."
            )
        return np.flatnonzero(mask)

    def _rows(self, selection: Any) -> Batch:
        ids = self._ids[selection]
        taken = self.like(ids, self.table.rows(selection, len(ids)).as_dict(), type(self), draws=self._draws)
        taken.create_attrs(**self.get_attrs())
        return taken

    def _item_at(self, position: int) -> Any:
        table = self.table
        if self._whole is None:
            return BatchItem(table, position)
        rows = tuple(array[position] for array in table)
        return rows if self._whole else rows[0]

    def get(self, item: Any = None, component: str | None = None) -> Any:
        """An item, a component, an item of a component, or all data.

        Parameters
        ----------
        item
            Its id; None for all of them.
        component
            Its name; None for all of them.

        Returns
        -------
        object
            Of both, a row: whatever shape an item of the component has. Of an item, a
            :class:`~luisy_dir.batch.components.BatchItem`, whose attributes are its rows. Of a component, the array.
            Of none, :attr:`data`.

        Raises
        ------
        UnknownItemError
            There is no such item, or several.
        BatchError
            There is no such component.

        Examples
        --------
        >>> batch = Batch.from_data(["a", "b"], {"images": [10, 20], "labels": [0, 1]})
        >>> batch.get("b", "images"), batch.get("b").labels, batch.get(component="labels")
        (np.int64(20), np.int64(1), array([0, 1]))
        """
        if component is None:
            return self.data if item is None else self[item]
        array = self.table[component]
        return array if item is None or array is None else array[self._positions.of(item)]

    # Components

    @property
    def table(self) -> Components:
        """Components by name, loaded if need be; data without a name is called ``data``."""
        self._load_preloaded()
        return self._table

    @property
    def data(self) -> Any:
        """All data: the :class:`~luisy_dir.batch.components.Components`; without names, the array, or a tuple of them.

        Set to a dict, a tuple in the order of the components, or one array, of which each has a row for each item.
        None takes all data away.

        Raises
        ------
        BatchError
            Set to something with another number of rows, or of parts.

        Examples
        --------
        >>> batch = Batch([5, 6])
        >>> batch.data = {"images": [10, 20]}
        >>> batch.data.images, batch.components
        (array([10, 20]), ('images',))
        """
        table = self.table
        if self._whole is None:
            return table if len(table) else None
        return tuple(table) if self._whole else table[_WHOLE]

    @data.setter
    def data(self, data: Any) -> None:
        with self._loading:
            self._preloaded = None
            self._set(data)

    @property
    def data_setter(self) -> Any:
        """The same as :attr:`data`.

        Examples
        --------
        >>> batch = Batch([5, 6])
        >>> batch.data_setter = [10, 20]
        >>> batch.data
        array([10, 20])
        """
        return self.data

    @data_setter.setter
    def data_setter(self, data: Any) -> None:
        self.data = data

    def _set(self, data: Any) -> None:
        """Let this be all data, one row an item."""
        names = self.components
        if data is None:
            self._become(dict.fromkeys(names or ()))
        elif isinstance(data, Components):
            self._become(dict.fromkeys(names or ()) | data.as_dict())
        elif is_mapping(data) or is_frame(data):
            self._become(dict.fromkeys(names or ()) | {name: data[name] for name in data})
        elif names is None:
            self._become_whole(data)
        else:
            parts = data if isinstance(data, tuple) else (data,)
            if len(parts) > len(names) or (len(names) > 1 and not isinstance(data, tuple)):
                raise BatchError(
                    f"A {type(data).__name__} is to be the data of a batch with the components {named(names)}. Give a "
                    "tuple with a part for each, or a dict."
                )
            self._become(dict.fromkeys(names) | dict(zip(names, parts, strict=False)))

    def _become(self, arrays: dict[str, Any]) -> None:
        for name in arrays:
            if name not in self._table or self._whole is not None:
                self._check_name(name)
        table = Components(self.size, arrays)
        self._table, self._whole = table, None
        self._name_components()

    def _become_whole(self, data: Any) -> None:
        is_tuple = isinstance(data, tuple)
        parts = {f"{_WHOLE} {number}": part for number, part in enumerate(data)} if is_tuple else {_WHOLE: data}
        self._table, self._whole = Components(self.size, parts), len(data) if is_tuple else 0

    def _name_components(self) -> None:
        """Let ``components`` be those that there are."""
        if self._whole is None and (self._table.names or type(self).components):
            object.__setattr__(self, "components", self._table.names)

    def _check_name(self, name: Any) -> None:
        if not is_name(name) or hasattr(type(self), name) or name in self.__dict__:
            raise BatchError(
                f"A component cannot be called {name!r}: this is no name of an attribute, or the batch has such an "
                "attribute. Choose another name."
            )

    def add_components(self, components: str | Sequence[str], init: Any = None) -> Self:
        """Add new components.

        Parameters
        ----------
        components
            A name, or several.
        init
            Data with one row an item; of several components, one such for each. None for none.

        Returns
        -------
        Batch
            This one.

        Raises
        ------
        BatchError
            There is a component or an attribute of that name, or the data has another number of rows; or the batch has
            data without a name. Nothing is added.

        Examples
        --------
        >>> batch = Batch([5, 6]).add_components("images", [10, 20]).add_components(["masks", "labels"])
        >>> batch.components, batch.masks is None
        (('images', 'masks', 'labels'), True)
        """
        names = (components,) if isinstance(components, str) else tuple(components)
        parts = (init,) if isinstance(components, str) else (None,) * len(names) if init is None else tuple(init)
        if len(parts) != len(names):
            raise BatchError(f"init has {len(parts)} parts for {len(names)} components. Give one for each.")
        table = self.table
        self._check_named()
        for name in names:
            self._check_name(name)
            if name in table or names.count(name) > 1:
                raise BatchError(f"There is a component {name!r} already. Choose another name, or assign to it.")
        new = Components(self.size, dict(zip(names, parts, strict=True)))
        self._table = Components(self.size, table.as_dict() | new.as_dict())
        self._name_components()
        return self

    def _check_named(self) -> None:
        if self._whole is not None:
            raise BatchError(
                "The batch has data without a name, beside which no component can be. Name it first, as in "
                "batch.data = {'images': batch.data}."
            )

    def put(self, name: str, data: Any) -> None:
        """Let this be the data of a component, which is added where there is none of that name.

        Parameters
        ----------
        name
            Of the component.
        data
            With one row an item; None for none.

        Raises
        ------
        BatchError
            It has another number of rows, or the name is that of another attribute.

        Examples
        --------
        >>> batch = Batch([5, 6])
        >>> batch.put("images", [10, 20])
        >>> batch.images
        array([10, 20])
        """
        if name in self.table:
            self._table.put(name, data)
        else:
            self.add_components(name, data)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "_table" not in self.__dict__ or name not in self.table or self._whole is not None:
            raise AttributeError(f"{type(self).__name__} has no attribute or component {name!r}.", name=name, obj=self)
        return self._table[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "components":
            raise BatchError("components says which there are. Add some with add_components, or set data.")
        if "_table" in self.__dict__ and not name.startswith("_") and name in self.table and self._whole is None:
            self._table.put(name, value)
        else:
            object.__setattr__(self, name, value)

    # What it was made with

    @property
    def preloaded(self) -> Any:
        """Data of a whole dataset, of which nothing has been taken yet; else None.

        Examples
        --------
        >>> batch = Batch([2], preloaded=[10, 20, 30])
        >>> batch.data, batch.preloaded
        (array([30]), None)
        """
        return self._preloaded

    def _load_preloaded(self) -> None:
        if self._preloaded is None:
            return
        with self._loading:
            source = self._preloaded
            if source is None:
                return
            parts = self._taken(source)
            self._set(copying.deepcopy(parts) if self._is_copied else parts)
            self._preloaded = None

    def _taken(self, source: Any) -> Any:
        """The rows of this batch, in whatever form the source has."""
        names = self.components
        if is_frame(source) and names is None:
            return loaded(source, None, self._ids, None)
        if is_mapping(source) or is_frame(source):
            there = tuple(name for name in source if names is None or name in names)
            if not there:
                raise BatchError(f"preloaded has none of the components {named(names or ())}. Correct their names.")
            return loaded(source, None, self._ids, there)
        if isinstance(source, tuple):
            return tuple(rows_of(part, self._ids, f"part {number}") for number, part in enumerate(source))
        return rows_of(source, self._ids, "preloaded")

    @property
    def dataset(self) -> Any:
        """What the batch was taken from, or None.

        Examples
        --------
        >>> Batch([0]).dataset is None
        True
        """
        return self._dataset

    @property
    def pipeline(self) -> Any:
        """In which the batch is used, or None.

        Examples
        --------
        >>> Batch([0]).pipeline is None
        True
        """
        return self._pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    def create_attrs(self, **attributes: Any) -> None:
        """Keep values as attributes of the batch.

        Parameters
        ----------
        attributes
            By name.

        Raises
        ------
        BatchError
            A name is that of a component or of an attribute that every batch has.

        Examples
        --------
        >>> batch = Batch([0])
        >>> batch.create_attrs(camera="left")
        >>> batch.camera, batch.get_attrs()
        ('left', {'camera': 'left'})
        """
        for name in attributes:
            is_mine = name in self._attributes
            if (
                not is_name(name)
                or hasattr(type(self), name)
                or name in self._table
                or (name in self.__dict__ and not is_mine)
            ):
                raise BatchError(
                    f"An attribute cannot be called {name!r}, as the batch has such a one. Choose another."
                )
        for name, value in attributes.items():
            object.__setattr__(self, name, value)
            self._attributes[name] = None

    def get_attrs(self) -> dict[str, Any]:
        """What :meth:`create_attrs` has made attributes of, with the values that they have now.

        Examples
        --------
        >>> Batch([0], camera="left").get_attrs()
        {'camera': 'left'}
        """
        return {name: self.__dict__[name] for name in self._attributes if name in self.__dict__}

    @property
    def array_of_nones(self) -> np.ndarray[Any, Any]:
        """An array of objects with None for each item.

        Examples
        --------
        >>> Batch(["a", "b"]).array_of_nones
        array([None, None], dtype=object)
        """
        import numpy as np

        return np.full(self.size, None, dtype=object)

    # Random numbers

    @property
    def seed(self) -> int:
        """Of all random numbers of the batch.

        Examples
        --------
        >>> Batch([0], seed=42).seed
        42
        """
        return self._seed

    @property
    def epoch(self) -> int:
        """To which the random numbers belong.

        Examples
        --------
        >>> Batch([0], epoch=3).epoch
        3
        """
        return self._epoch

    @property
    def random_seed(self) -> np.random.SeedSequence:
        """Of :attr:`random`: it depends on the seed, the epoch and all ids.

        Set to a SeedSequence or an integer, it is the seed of all random numbers of the batch.

        Examples
        --------
        >>> batch = Batch([0, 1])
        >>> batch.random_seed = 42
        >>> batch.seed
        42
        """
        import numpy as np
        import xxhash

        if self._random_seed is None:
            ids = "".join(f"{len(text)}\n{text}" for text in map(str, self._ids.tolist()))
            digest = xxhash.xxh3_128_intdigest(f"{self._seed}\n{self._epoch}\n{ids}".encode(errors="surrogatepass"))
            self._random_seed = np.random.SeedSequence(digest)
        return self._random_seed

    @random_seed.setter
    def random_seed(self, seed: int | np.random.SeedSequence) -> None:
        import numpy as np

        if isinstance(seed, np.random.SeedSequence):
            self._random_seed = seed
            self._seed = int.from_bytes(seed.generate_state(4).tobytes(), "little")
        else:
            self._seed, self._random_seed = int(seed), None
        self._random, self._draws = None, 0

    @property
    def random(self) -> np.random.Generator:
        """Random numbers of the batch as a whole, which depend on seed, epoch, all ids and what was drawn before.

        Those that belong to an item are had with ``requires_rng``, and do not depend on what else is in the batch.

        Examples
        --------
        >>> float(Batch([0, 1]).random.normal(0, 1)) == float(Batch([0, 1]).random.normal(0, 1))
        True
        """
        import numpy as np

        with self._loading:
            if self._random is None:
                self._random = np.random.Generator(np.random.Philox(self.random_seed))
            return self._random

    @property
    def draws(self) -> int:
        """How many actions with random numbers there have been."""
        return self._draws

    def next_draw(self) -> int:
        """The number of an action with random numbers, which begins now."""
        with self._loading:
            self._draws += 1
            return self._draws - 1

    # Actions

    def apply_parallel(  # noqa: PLR0913 - the names and places are known
        self,
        func: Any,
        init: Any = None,
        post: Any = None,
        src: Any = None,
        dst: Any = None,
        *args: Any,
        p: float | None = None,
        target: str = "for",
        requires_rng: bool = False,
        rng_seeds: Any = None,
        n_workers: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Apply a function to each item, and put the results together.

        With ``src="images"`` and ``dst="masks"`` this is ``batch.masks = [func(image) for image in batch.images]``.
        An :class:`~luisy_dir.batch.expressions.Expression` in the place of any argument is evaluated once.

        Parameters
        ----------
        func
            Gets an item, ``args`` and ``kwargs``; and ``src``, ``dst`` and ``rng``, if it has parameters of these names
            or takes any keyword. A function of NumPy's gets none of the three.
        init
            Where the items come from: None or ``data`` for ``src``; another text for the attribute of that name; a
            callable for what it returns, which gets ``src``, ``dst``, ``p``, ``target`` and ``kwargs`` as far as it
            takes them; anything else is the items itself, such as an array. With ``run_once`` the function is called
            once for the batch, without an item.
        post
            What becomes of the results: None to put them into ``dst``; the name of a method or a callable that gets the
            list of them, with errors in their places, and ``src``, ``dst`` and ``kwargs`` as far as it takes them.
        src
            A component, or data with one row an item. A tuple of them: the function gets a tuple for each item. A
            list: one call after the other, with the ``dst`` of the same place, with the same items left out by ``p``
            and the same random numbers. None for all data of a batch that has one component, or no names.
        dst
            A component, which is added if need be, or an array that is filled; None for ``src``. A tuple or list of
            them, where ``src`` is no list: each result is a tuple of as many.
        args
            Of the function.
        p
            With which probability an item gets the function, from 0 to 1; others are put as they are.
        target
            ``for`` (``f``) one after the other; ``threads`` (``t``); ``mpc`` (``m``) for processes; ``async`` (``a``)
            for coroutines, on one event loop, and for other functions in threads; ``dask``; or an engine of your own
            as ``module:function``. Workers are kept for the next call, see :func:`luisy_dir.batch.pools.close_pools`.
        requires_rng
            The function gets a :class:`numpy.random.Generator` as ``rng``, which depends on seed, epoch, the item's id
            and how many actions with random numbers the batch has seen before; not on ``target``, workers, or other
            items.
        rng_seeds
            One an item, in the place of what its id says.
        n_workers
            How many items at the same time; None for as many as there are CPUs, and for coroutines all of them.
        kwargs
            Of the function.

        Returns
        -------
        object
            What ``post`` returns; this batch, if that is None.

        Raises
        ------
        BatchItemsError
            The function has raised for items; has their ids, and the first error as its cause. Nothing was put.
        BatchError
            There is no such component, or lengths do not fit.
        DefinitionError
            The function cannot be called, takes no ``rng``, or cannot be sent to a process.
        SettingError
            There is no such target, or ``p`` is no probability.

        Examples
        --------
        >>> import numpy as np
        >>> batch = Batch.from_data(data={"images": np.arange(3), "masks": np.arange(3)})
        >>> batch.apply_parallel(lambda image: image * 42, src="images", dst="big").big
        array([ 0, 42, 84])
        >>> batch.apply_parallel(lambda pair: pair[0] + pair[1], src=("images", "masks"), dst="sums").sums
        array([0, 2, 4])
        >>> batch.apply_parallel(np.negative, src=["images", "masks"], target="threads").masks
        array([ 0, -1, -2])
        """
        action = Action(func, init, post, src, dst, args, kwargs, p, target, requires_rng, rng_seeds, n_workers)
        return action.apply(self)

    def only_source(self) -> Any:
        """The ``src`` of an action that names none.

        Raises
        ------
        BatchError
            There are several components, or none.
        """
        names = self.table.names
        if self._whole:
            return names
        if len(names) != 1:
            raise BatchError(
                f"An action without src is done on the only component, but the batch has {named(names) or 'none'}. "
                "Name one with src."
            )
        return names[0]

    def source_items(self, src: Any) -> Any:
        """What a function gets of each item, where ``src`` is a component, data, or a tuple of these."""
        if isinstance(src, tuple):
            return list(zip(*(self.source_items(part) for part in src), strict=True))
        if isinstance(src, str):
            array = self.table[src]
            if array is None:
                raise BatchError(f"The component {src!r} has no data. Load it first.")
            return array
        return Components(self.size, {"src": src}).src

    def _assemble(
        self, results: Sequence[Any], src: Any = None, dst: Any = None, ids: Any = None, name: str = "The function"
    ) -> Self:
        """Put results into ``dst``; raise the first error that is among them."""
        raise_first(results, self._ids.tolist() if ids is None else ids, name)
        dst = src if dst is None else dst
        if isinstance(dst, (tuple, list)):
            parts = [assembled(part) for part in self._unpacked(results, dst)]
            for target, part in zip(dst, parts, strict=True):
                self._put_into(target, part)
        elif dst is not None:
            self._put_into(dst, assembled(list(results)))
        return self

    def _unpacked(self, results: Sequence[Any], dst: Sequence[Any]) -> list[list[Any]]:
        for number, result in enumerate(results):
            if not hasattr(result, "__len__") or isinstance(result, (str, bytes)) or len(result) != len(dst):
                raise BatchError(
                    f"Result {number} is {_described(result)}, and not one for each of the {len(dst)} components of "
                    f"dst {dst!r}. Return a tuple."
                )
        return [[result[place] for result in results] for place in range(len(dst))]

    def _put_into(self, target: Any, data: np.ndarray[Any, Any]) -> None:
        import numpy as np

        if isinstance(target, str):
            self.put(target, data)
            return
        if not isinstance(target, np.ndarray):
            raise BatchError(f"dst is {_described(target)}. Give the name of a component, or an array to be filled.")
        try:
            np.copyto(target, data, casting="same_kind")
        except (TypeError, ValueError) as error:
            raise BatchError(
                f"Results of shape {data.shape} and dtype {data.dtype} do not go into an array of shape {target.shape} "
                f"and dtype {target.dtype}: {error}. Give another array, or the name of a component."
            ) from error

    def get_errors(self, all_res: Sequence[Any]) -> list[BaseException] | None:
        """Errors among the results that a ``post`` gets; None if there are none.

        Parameters
        ----------
        all_res
            Results, with what was raised in the place of a result.

        Examples
        --------
        >>> Batch([0, 1]).get_errors([3, ValueError("no")])
        [ValueError('no')]
        """
        errors = [result for result in all_res if isinstance(result, BaseException)]
        return errors or None

    def run_once(self, *args: Any, **kwargs: Any) -> list[list[Any]]:  # noqa: ARG002 - takes anything
        """As ``init``: the function is called once for the whole batch, without an item, and waited for.

        Returns
        -------
        list
            One call without arguments.

        Examples
        --------
        >>> batch = Batch([0, 1])
        >>> batch.apply_parallel(print, "run_once", None, None, None, "once")
        once
        <Batch of 2 items, without data>
        """
        return Once()

    def do_nothing(self, *args: Any, **kwargs: Any) -> Self:  # noqa: ARG002 - takes anything
        """Do nothing.

        Returns
        -------
        Batch
            This one.

        Examples
        --------
        >>> batch = Batch([0])
        >>> batch.do_nothing("whatever") is batch
        True
        """
        return self

    def to_array(
        self,
        comp: str | None = None,
        dtype: Any = "float32",
        channels: str | None = "last",
        *,
        src: Any = None,
        dst: Any = None,
        target: str = "threads",
        **kwargs: Any,
    ) -> Any:
        """Make arrays of items, with an axis of channels.

        Parameters
        ----------
        comp
            The component to take them from: the same as ``src``.
        dtype
            Of the result; None keeps that of the items.
        channels
            ``last`` or ``first``: an item of shape (h, w) becomes (h, w, 1) or (1, h, w), and one that has more axes is
            taken to have its channels last. None changes no axis.
        src
            A component, by default ``images``.
        dst
            The component to put them into, by default the same.
        target
            As in :meth:`apply_parallel`, as are further keywords.
        kwargs
            As said.

        Returns
        -------
        Batch
            This one.

        Raises
        ------
        BatchError
            There is no such component.
        SettingError
            ``channels`` is something else.

        Examples
        --------
        >>> import numpy as np
        >>> batch = Batch.from_data(data={"images": np.zeros((2, 4, 5, 3), np.uint8)})
        >>> batch.to_array("images", dtype=None, channels="first").images.shape
        (2, 3, 4, 5)
        """
        src = comp if src is None else src
        src = "images" if src is None else src
        return self.apply_parallel(
            self._to_array_, None, None, src, dst, target=target, dtype=dtype, channels=channels, **kwargs
        )

    def _to_array_(self, comp: Any, dtype: Any = "float32", channels: str | None = "last") -> Any:
        """One item as an array."""
        return with_channels(comp, dtype, channels)

    # In and out

    def load(self, src: Any = None, fmt: str | None = None, dst: Any = None, **options: Any) -> Self:
        """Load data from another array or a file, by the ids of the items.

        Parameters
        ----------
        src
            What :func:`luisy_dir.batch.loading.loaded` takes: an array whose positions are ids, a tuple or a dict of
            arrays, a frame whose index has the ids, or the name of a file.
        fmt
            Of a file; None for what is in memory.
        dst
            A component, or several; those that are not there are added. None for all components of the batch that the
            source has, or for all of the source, if the batch has none.
        options
            Of the format.

        Returns
        -------
        Batch
            This one.

        Raises
        ------
        UnknownItemError
            The source has no row for an item.
        BatchError
            The source does not have what is asked for. Nothing is put into the batch.

        Examples
        --------
        >>> import numpy as np
        >>> batch = Batch([20, 21]).load(src=np.arange(100) + 5000, dst="new")
        >>> batch.new
        array([5020, 5021])
        """
        names = self.table.names if self._whole is None else ()
        wanted = dst if dst is None or isinstance(dst, str) else tuple(dst)
        has_names = fmt is not None or is_mapping(src) or is_frame(src)
        if wanted is None and not has_names and not names:
            self._become_whole(self._taken(src))
            return self
        if wanted is None and not has_names:
            wanted = names
        found = loaded(src, fmt, self._ids, wanted, **options)
        if wanted is None and names:
            found = {name: data for name, data in found.items() if name in names}
            if not found:
                raise BatchError(f"What is loaded has none of the components {named(names)}. Name new ones with dst.")
        self._put_all(found)
        return self

    def _put_all(self, found: dict[str, Any]) -> None:
        self._check_named()
        for name in found:
            if name not in self._table:
                self._check_name(name)
        new = Components(self.size, found)
        self._table = Components(self.size, self._table.as_dict() | new.as_dict())
        self._name_components()

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
        names = self.table.names if components is None else components
        names = (names,) if isinstance(names, str) else tuple(names)
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
            A component has data in some of the batches and none in others.

        Examples
        --------
        >>> batches = [Batch.from_data([n, n + 1], {"images": [n, n + 1]}) for n in (0, 100, 200)]
        >>> batch, rest = Batch.merge(batches, batch_size=3)
        >>> batch.images, rest.images, rest.indices
        (array([  0,   1, 100]), array([101, 200, 201]), array([101, 200, 201]))
        """
        batches = list(batches)
        names = (components,) if isinstance(components, str) else components
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

    # Copies

    def like(self, ids: Any, arrays: dict[str, Any], kind: type[Batch], *, draws: int) -> Batch:
        """A batch of other items that goes on with this one's seed, epoch, dataset and pipeline.

        Parameters
        ----------
        ids
            Of its items.
        arrays
            Components; where this one's data has no names, its parts.
        kind
            The class.
        draws
            How many actions with random numbers its items have seen.
        """
        batch = kind(ids, self._dataset, self._pipeline, seed=self._seed, epoch=self._epoch)
        batch._draws = draws  # noqa: SLF001 - its own class
        if self._whole is not None and arrays:
            batch._table, batch._whole = Components(batch.size, arrays), self._whole  # noqa: SLF001 - as above
        else:
            batch._become(dict.fromkeys(batch.components or ()) | arrays)  # noqa: SLF001 - as above
        return batch

    def copy(self) -> Self:
        """A batch with components of its own that share their arrays with this one's.

        Examples
        --------
        >>> batch = Batch.from_data(data={"images": [10, 20]})
        >>> other = batch.copy()
        >>> other.images = [1, 2]
        >>> batch.images
        array([10, 20])
        """
        return self._copied(dict)

    def deepcopy(self) -> Self:
        """A batch with copies of all data; dataset and pipeline are only referred to, as before.

        Examples
        --------
        >>> batch = Batch.from_data(data={"images": [10, 20]})
        >>> other = batch.deepcopy()
        >>> other.images[0] = 1
        >>> batch.images
        array([10, 20])
        """
        return self._copied(copying.deepcopy)

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self._copied(lambda value: copying.deepcopy(value, memo))

    def _copied(self, copy: Any) -> Self:
        table = self.table
        batch = object.__new__(type(self))
        shared = {name: value for name, value in self.__dict__.items() if name not in self._attributes}
        batch.__dict__.update(shared)
        batch.__dict__.update(copy(self.get_attrs()))
        batch.__dict__.update(
            _table=Components(self.size, copy(table.as_dict())),
            _random=copying.deepcopy(self._random),
            _attributes=dict(self._attributes),
            _loading=threading.RLock(),
        )
        return batch

    def __getstate__(self) -> dict[str, Any]:
        """All but dataset and pipeline, which may be large, and stay where they are; data is loaded first."""
        self._load_preloaded()
        return {name: value for name, value in self.__dict__.items() if name not in _NOT_COPIED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _dataset=None, _pipeline=None, _loading=threading.RLock())

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
        raise BatchError(f"{_described(part)} has no length. Give arrays, or an index with the ids of the items.")
    return len(part)


def _described(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"a {type(value).__name__}"  # noqa: PLR2004 - a line
