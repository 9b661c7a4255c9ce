"""Components: named arrays that have one row for each item of a batch."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from luisy_dir.batch.rows import assembled, described, fits, is_frame, is_series, named
from luisy_dir.errors import BatchError

if TYPE_CHECKING:
    import numpy as np


def as_rows(data: Any, size: int, what: str) -> Any:
    """Data as an array with one row an item: an array as it is, never a copy of it; None stays None.

    Raises
    ------
    BatchError
        It has another number of rows.
    """
    import numpy as np

    if data is None:
        return None
    if isinstance(data, np.ndarray):
        rows = data
    elif is_frame(data) or is_series(data):
        rows = data.to_numpy()
    elif isinstance(data, (list, tuple, range)):
        rows = assembled(list(data))
    elif hasattr(data, "__array__"):
        rows = np.asarray(data)
    else:
        raise BatchError(f"{what} is a {type(data).__name__}. Give an array, or a list with something for each item.")
    if rows.ndim == 0 or len(rows) != size:
        has = f"{len(rows)} rows" if rows.ndim else "no rows"
        raise BatchError(f"{what} has {has} for the {size} items of the batch. Give one row for each item.")
    return rows


def is_name(name: object) -> bool:
    """Whether a component may be called so."""
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_")


def names_of(names: Any) -> tuple[str, ...]:
    """Names of components: one, or several.

    Raises
    ------
    BatchError
        They are something else, or one of them is there twice.

    Examples
    --------
    >>> names_of("images"), names_of(["images", "masks"])
    (('images',), ('images', 'masks'))
    """
    several = (names,) if isinstance(names, str) else tuple(names) if isinstance(names, Iterable) else ()
    if (not several and names != ()) or len(set(map(str, several))) < len(several):
        raise BatchError(f"{names!r} is no name of a component, nor several, each of them once.")
    return several


class Components:
    """Named arrays that have one row for each item of a batch, in the order of its items.

    A component that has no data is None. Iterating yields the arrays in the order of the names.

    Parameters
    ----------
    size
        Number of items.
    arrays
        By name, each with as many rows, or None.

    Examples
    --------
    >>> components = Components(2, {"images": [10, 20], "masks": None})
    >>> components.images
    array([10, 20])
    >>> components["masks"] is None, len(components)
    (True, 2)
    """

    __slots__ = ("_arrays", "_size")

    def __init__(self, size: int, arrays: Mapping[str, Any] | None = None) -> None:
        self._size = size
        self._arrays: dict[str, Any] = {}
        self.put_all(arrays or {})

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order in which they were added."""
        return tuple(self._arrays)

    def put(self, name: str, data: Any) -> None:
        """Add a component, or give it other data."""
        self.put_all({name: data})

    def put_all(self, arrays: Mapping[str, Any]) -> None:
        """Add components, or give them other data: all of them, or none where one does not fit."""
        self._arrays.update(
            {name: as_rows(data, self._size, f"The component {name!r}") for name, data in arrays.items()}
        )

    def rows(self, selection: Any, size: int) -> Components:
        """The components of some of the items, as numpy selects them: a slice makes views."""
        return Components(size, {name: _selected(array, selection) for name, array in self.as_dict().items()})

    def as_dict(self) -> dict[str, Any]:
        """Arrays by name."""
        return dict(self._arrays)

    def __getitem__(self, name: str) -> Any:
        try:
            return self._arrays[name]
        except KeyError:
            raise BatchError(
                f"There is no component {name!r}; there are {named(self.names) or 'none'}. Add it with add_components, "
                "load it, or name it as dst of an action."
            ) from None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._arrays:
            raise AttributeError(f"There is no component {name!r}.")
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[Any]:
        return iter(tuple(self._arrays.values()))  # another thread may add one

    def __len__(self) -> int:
        """Number of components."""
        return len(self._arrays)

    def __repr__(self) -> str:
        parts = (f"{name}={_shape_of(array)}" for name, array in self._arrays.items())
        return f"<Components of {self._size} items: {', '.join(parts) or 'none'}>"


def _selected(array: Any, selection: Any) -> Any:
    return None if array is None else array[selection]


def _shape_of(array: np.ndarray[Any, Any] | None) -> str:
    return "None" if array is None else f"{array.dtype}{list(array.shape)}"


class BatchItem:
    """One item of a batch: its row of each component, by name.

    What is put here is put into the batch. It is iterated over in the order of the components.

    Parameters
    ----------
    components
        Of the batch.
    position
        Of the item in the batch.

    Examples
    --------
    >>> components = Components(2, {"images": [10, 20], "labels": [0, 1]})
    >>> item = BatchItem(components, 1)
    >>> item.labels = 7
    >>> list(item), components.labels
    ([np.int64(20), np.int64(7)], array([0, 7]))
    """

    __slots__ = ("_components", "_position")

    def __init__(self, components: Components, position: int) -> None:
        object.__setattr__(self, "_components", components)
        object.__setattr__(self, "_position", position)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        array = getattr(self._components, name)
        return None if array is None else array[self._position]

    def __setattr__(self, name: str, value: Any) -> None:
        array = getattr(self._components, name)
        if array is None:
            raise BatchError(f"The component {name!r} has no data. Give it some for all items of the batch first.")
        if not array.dtype.hasobject and not fits(assembled([value]), array.dtype):
            raise BatchError(
                f"The component {name!r} has the dtype {array.dtype}, into which {described(value)} does not go. "
                "Assign another array to the component first."
            )
        array[self._position] = value

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, name) for name in self._components.names)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy of it has rows of this item alone."""
        position = self._position
        return BatchItem, (self._components.rows(slice(position, position + 1), 1), 0)

    def __repr__(self) -> str:
        return f"<item {self._position} of {self._components!r}>"
