"""Components of a batch: what it holds for each of its items, and how that gets there."""

from __future__ import annotations

import copy as copying
import threading
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from luisy_dir.batch.components import Components, is_name, names_of
from luisy_dir.batch.filling import components_of, rows_of_all
from luisy_dir.batch.labelled import Labelled
from luisy_dir.batch.loading import loaded
from luisy_dir.batch.rows import in_order, is_frame, is_mapping, named
from luisy_dir.errors import BatchError, DefinitionError, SettingError

_WHOLE = "data"  # the name of data that has none


class Holding(Labelled):
    """Items with ids and components; :class:`luisy_dir.Batch` says what the arguments are."""

    components: ClassVar[Any] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        declared = vars(cls).get("components")
        if declared is None:
            return
        cls.components = (declared,) if isinstance(declared, str) else tuple(declared)
        for name in cls.components:
            if not is_name(name) or hasattr(cls, name) or cls.components.count(name) > 1:
                raise DefinitionError(
                    f"{cls.__name__} has a component {name!r}, which is no name of an attribute, or that of another "
                    "one or of another component. Choose another name."
                )

    def __init__(self, index: Any, dataset: Any, pipeline: Any, preloaded: Any, *, is_copied: bool) -> None:
        super().__init__(index, dataset, pipeline)
        self._preloaded, self._is_copied = preloaded, is_copied
        self._loading = threading.RLock()
        self._whole: int | None = None  # parts of data without names: 0 for an array, n for a tuple
        self._table = Components(self.size, dict.fromkeys(type(self).components or ()))

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
        >>> from luisy_dir import Batch
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
        >>> from luisy_dir import Batch
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
        parts = components_of(data, self.components)
        if isinstance(parts, dict):
            self._become(parts)
        else:
            self._become_whole(parts)

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
        >>> from luisy_dir import Batch
        >>> batch = Batch([5, 6]).add_components("images", [10, 20]).add_components(["masks", "labels"])
        >>> batch.components, batch.masks is None
        (('images', 'masks', 'labels'), True)
        """
        names = names_of(components)
        parts = (
            [init]
            if isinstance(components, str)
            else [None] * len(names)
            if init is None
            else in_order(init, "init is a")
        )
        if len(parts) != len(names):
            raise BatchError(f"init has {len(parts)} parts for {len(names)} components. Give one for each.")
        with self._loading:
            for name in names:
                if name in self.table or names.count(name) > 1:
                    raise BatchError(f"There is a component {name!r} already. Choose another name, or assign to it.")
            self.put_all(dict(zip(names, parts, strict=True)))
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
        >>> from luisy_dir import Batch
        >>> batch = Batch([5, 6])
        >>> batch.put("images", [10, 20])
        >>> batch.images
        array([10, 20])
        """
        self.put_all({name: data})

    def put_all(self, arrays: dict[str, Any]) -> None:
        """Do the same as :meth:`put` for several components: all of them, or none where one does not fit.

        Parameters
        ----------
        arrays
            By name.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> batch = Batch([5, 6])
        >>> batch.put_all({"images": [10, 20], "labels": ["cat", "dog"]})
        >>> batch.components
        ('images', 'labels')
        """
        with self._loading:
            table = self.table
            new = [name for name in arrays if name not in table]
            if new:
                self._check_named()
            for name in new:
                self._check_name(name)
            table.put_all(arrays)
            self._name_components()

    def _has(self, name: str) -> bool:
        """Whether there is such a component; data is loaded only where it says which ones there are."""
        if name.startswith("_") or hasattr(type(self), name) or "_table" not in self.__dict__:
            return False
        names = self.components
        if names is None and self._preloaded is not None:
            self._load_preloaded()
            names = self.components
        return names is not None and name in names

    def __getattr__(self, name: str) -> Any:
        if not self._has(name):
            raise AttributeError(f"{type(self).__name__} has no attribute or component {name!r}.", name=name, obj=self)
        return self.table[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "components":
            raise BatchError("components says which there are. Add some with add_components, or set data.")
        if self._has(name):
            self.put(name, value)
        else:
            object.__setattr__(self, name, value)

    @property
    def preloaded(self) -> Any:
        """Data of a whole dataset, of which nothing has been taken yet; else None.

        Examples
        --------
        >>> from luisy_dir import Batch
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
            parts = rows_of_all(source, self._ids, self.components)
            self._set(copying.deepcopy(parts) if self._is_copied else parts)
            self._preloaded = None

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
        SettingError
            No source is named, or there is no such format.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> import numpy as np
        >>> batch = Batch([20, 21]).load(src=np.arange(100) + 5000, dst="new")
        >>> batch.new
        array([5020, 5021])
        """
        if src is None:
            raise SettingError("load has no src. Give an array, or the name of a file and its fmt.")
        if isinstance(src, Holding):
            raise BatchError(
                "A batch is no source of another one. Select its items and take their data: batch.data = "
                "other[batch.indices.tolist()].data."
            )
        names = self.table.names if self._whole is None else ()
        wanted = dst if dst is None or isinstance(dst, str) else names_of(dst)
        has_names = fmt is not None or is_mapping(src) or is_frame(src)
        if wanted is None and not has_names and not names:
            self._become_whole(rows_of_all(src, self._ids, None))
            return self
        if wanted is None and not has_names:
            wanted = names
        found = loaded(src, fmt, self._ids, wanted, **options)
        if wanted is None and names:
            found = {name: data for name, data in found.items() if name in names}
            if not found:
                raise BatchError(f"What is loaded has none of the components {named(names)}. Name new ones with dst.")
        self._check_named()
        self.put_all(found)
        return self
