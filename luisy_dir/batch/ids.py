"""Ids: how the items of a batch are called, and where they stand in it."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from luisy_dir.batch.rows import described, is_frame, named
from luisy_dir.errors import BatchError, UnknownItemError

if TYPE_CHECKING:
    import numpy as np


def ids_of(index: Any) -> np.ndarray[Any, Any]:
    """Ids out of an array or a list of them, a number of items, or whatever has ``indices``.

    Raises
    ------
    BatchError
        They do not have one dimension, or are something by which no item is found again, such as NaN.

    Examples
    --------
    >>> ids_of(3)
    array([0, 1, 2])
    >>> ids_of(["b", "a"]).tolist()
    ['b', 'a']
    """
    import numpy as np

    index = getattr(index, "indices", index)
    if isinstance(index, (int, np.integer)) and not isinstance(index, bool) and index >= 0:
        return np.arange(index)
    if isinstance(index, (str, bytes)) or is_frame(index) or not hasattr(index, "__len__"):
        raise BatchError(
            f"The index of a batch is {described(index)}. Give the ids of its items as an array or a list."
        )
    ids = np.array(index) if isinstance(index, np.ndarray) else _array_of(list(index))  # whoever has it may change it
    if ids.ndim != 1:
        raise BatchError(f"The index of a batch has the shape {ids.shape}. Give the ids of its items in one dimension.")
    if ids.dtype.kind in "mM":  # which are numbers to Python, or times, as their unit is
        raise BatchError(f"The index of a batch has the dtype {ids.dtype}. Give texts, as of ids.astype(str).")
    if ids.dtype.kind in "fcO":
        _check_found_again(ids.tolist())
    ids.flags.writeable = False
    return ids


def _array_of(ids: list[Any]) -> np.ndarray[Any, Any]:
    """Ids as they are: an array may turn 7 into '7' or 7.0, and loses a null at the end of a text."""
    import numpy as np

    if not ids:
        return np.arange(0)
    _check_found_again(ids)
    if not any(isinstance(item_id, tuple) for item_id in ids):
        array = np.asarray(ids)
        has_only_floats = all(isinstance(item_id, (float, complex)) for item_id in ids)
        if array.tolist() == ids and (array.dtype.kind not in "fc" or has_only_floats):
            return array
    return np.fromiter(ids, dtype=object, count=len(ids))


def _check_found_again(ids: list[Any]) -> None:
    """Refuse what no item could be asked for by."""
    for item_id in ids:
        try:
            hash(item_id)
        except TypeError:
            is_found = False
        else:
            is_found = not isinstance(item_id, float) or not math.isnan(item_id)
        if not is_found:
            raise BatchError(
                f"The index of a batch has the id {described(item_id)}, by which no item would be found again. Give "
                "integers or texts."
            )


class Positions:
    """Where the items of a batch stand in it, by id.

    Parameters
    ----------
    ids
        One dimension. If some are equal, a warning says so.
    """

    def __init__(self, ids: np.ndarray[Any, Any]) -> None:
        all_ids = ids.tolist()
        self._positions = {item_id: position for position, item_id in enumerate(all_ids)}
        self._twice: frozenset[Any] = frozenset()
        if len(self._positions) < len(all_ids):
            self._twice = frozenset(item_id for item_id, count in Counter(all_ids).items() if count > 1)
            warnings.warn(
                f"Several items of a batch have the same id: {named(list(self._twice))}. They draw the same random "
                "numbers, and cannot be asked for by their id.",
                stacklevel=3,
            )

    def __contains__(self, item_id: object) -> bool:
        return isinstance(item_id, Hashable) and item_id in self._positions

    def of(self, item_id: Any) -> int:
        """Position of an item.

        Raises
        ------
        UnknownItemError
            No item has this id, or several do.
        """
        try:
            position = self._positions[item_id]
        except (KeyError, TypeError):
            raise UnknownItemError(
                f"The batch has no item {item_id!r}; it has {named(list(self._positions)) or 'none'}. A slice or a "
                "mask selects by position."
            ) from None
        if item_id in self._twice:
            raise UnknownItemError(f"The batch has several items {item_id!r}. Select them by position, with a slice.")
        return position
