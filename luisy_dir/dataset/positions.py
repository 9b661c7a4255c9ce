"""Positions: which items of a dataset an index selects."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_ADVICE = (
    "Take an item by its key or position, several by a slice, a list or array of keys or positions, or a mask of one "
    "bool an item."
)


def position_in(index: int, length: int) -> int:
    """A position from 0 on; a negative index counts from the end.

    Raises
    ------
    IndexError
        There is no such position.

    Examples
    --------
    >>> position_in(-1, 10)
    9
    """
    position = index + length if index < 0 else index
    if not 0 <= position < length:
        raise IndexError(f"There is no item {index} in a dataset of {length}.")
    return position


def selected(index: Any, length: int, position_of: Callable[[str], int]) -> int | npt.NDArray[np.int64]:
    """The one position that an index selects, or several in its order.

    Parameters
    ----------
    index
        A key, an integer, a slice, a sequence or array of keys or integers of one axis, or a mask.
    length
        Number of items.
    position_of
        Finds the position of a key.

    Raises
    ------
    IndexError
        The index is out of range, or of no kind that selects items.
    UnknownKeyError
        There is no item of a key.

    Examples
    --------
    >>> selected([0, -1], 10, {}.__getitem__)
    array([0, 9])
    """
    import numpy as np

    if isinstance(index, str):
        return position_of(index)
    if isinstance(index, slice):
        return np.arange(length)[index]
    if isinstance(index, (bool, np.bool_)) or index is None:
        raise IndexError(f"{index!r} selects no items. {_ADVICE}")
    try:
        return position_in(operator.index(index), length)
    except TypeError:
        pass
    if isinstance(index, (set, frozenset, dict)):
        raise IndexError(f"A {type(index).__name__} has no order to take items in. Use sorted(…).")
    return _several(index, length, position_of)


def _several(index: Any, length: int, position_of: Callable[[str], int]) -> npt.NDArray[np.int64]:
    import numpy as np

    if not isinstance(index, (Sequence, np.ndarray)) and not hasattr(index, "__array__"):
        raise IndexError(f"A {type(index).__name__} selects no items. {_ADVICE}")
    array = np.asarray(index)
    if array.ndim != 1:
        raise IndexError(f"An array of shape {array.shape} selects no items: they lie along one axis. {_ADVICE}")
    if not array.size:
        return np.zeros(0, np.int64)
    if array.dtype == bool:
        if len(array) != length:
            raise IndexError(f"A mask of {len(array)} was given for a dataset of {length}; it needs one bool an item.")
        return np.flatnonzero(array)
    if array.dtype.kind in "UTO" and all(isinstance(key, str) for key in array):
        return np.array([position_of(str(key)) for key in array], np.int64)
    if array.dtype.kind not in "iu":
        raise IndexError(f"An array of dtype {array.dtype} selects no items. {_ADVICE}")
    is_wrong = (array >= length) | (array < -length)  # before a large unsigned number is taken for a negative one
    if is_wrong.any():
        raise IndexError(f"There is no item {array[is_wrong][0]} in a dataset of {length}.")
    positions = array.astype(np.int64)
    positions[positions < 0] += length
    return positions
