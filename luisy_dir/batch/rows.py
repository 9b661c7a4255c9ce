"""Rows: what a source has for the items of a batch, one row an item."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from luisy_dir.errors import BatchError, UnknownItemError

if TYPE_CHECKING:
    import numpy as np

_NAMED_AT_MOST = 5
_PLAIN = (bool, int, float, complex, str, bytes)
_MIXABLE = "biufc"  # kinds of dtypes that may be put into one array
_WHOLE_IN_FLOATS = 2**53  # up to which a float64 is any whole number


def is_frame(data: object) -> bool:
    """Whether it is a pandas DataFrame; pandas is not loaded to find out."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def is_series(data: object) -> bool:
    """Whether it is a pandas Series; pandas is not loaded to find out."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.Series)


def in_order(items: Any, what: str) -> list[Any]:
    """Things in their order: rows of an array or a frame, values of a series, and whatever else can be iterated over.

    They are asked for once, as they may be read from a disk.

    Parameters
    ----------
    items
        As said.
    what
        Before the name of their class, in a message.

    Raises
    ------
    BatchError
        They have no order, as those of a set, a dict or a text.

    Examples
    --------
    >>> in_order((number for number in range(3)), "the index is a")
    [0, 1, 2]
    """
    if is_frame(items) or is_series(items):
        items = items.to_numpy()
    is_sequence = isinstance(items, Iterable) or hasattr(type(items), "__getitem__")
    has_no_order = isinstance(items, (str, bytes, Mapping, set, frozenset)) or getattr(items, "ndim", 1) == 0
    if not is_sequence or has_no_order:
        raise BatchError(f"{what} {type(items).__name__}, which has no items in an order. Give an array or a list.")
    return list(items)


def check_columns(data: Any) -> None:
    """Refuse a frame of which a name says several columns.

    Raises
    ------
    BatchError
        It is such a one.
    """
    if is_frame(data) and not data.columns.is_unique:
        twice = data.columns[data.columns.duplicated()].unique().tolist()
        raise BatchError(f"The frame has several columns {named(twice)}. Give each a name of its own.")


def named(ids: Sequence[object]) -> str:
    """A few ids, for a message."""
    more = f" and {len(ids) - _NAMED_AT_MOST} more" if len(ids) > _NAMED_AT_MOST else ""
    return ", ".join(map(repr, ids[:_NAMED_AT_MOST])) + more


def rows_of(source: Any, ids: np.ndarray[Any, Any], what: str = "the source") -> Any:
    """Data of the items with these ids, in their order; always a copy of what holds them, and never of objects in it.

    Parameters
    ----------
    source
        Of arrays and lists, the id of an item is its position from 0 on; where ids are no integers, there has to be one
        row an item, in the order of the ids. Frames, series, mappings and whatever else has ``[id]``, such as a
        :class:`~luisy_dir.DirectoryDataset`, are asked by id. None stays None.
    ids
        One dimension.
    what
        The source in a message.

    Returns
    -------
    numpy.ndarray or None
        Its first axis counts the items. That of a frame has two axes, unless it has one column.

    Raises
    ------
    UnknownItemError
        It has no row for an id.
    BatchError
        It has no rows.

    Examples
    --------
    >>> import numpy as np
    >>> rows_of(np.arange(10) * 10, np.array([2, 0, 1]))
    array([20,  0, 10])
    >>> rows_of({"a": 1, "b": 2, "c": 3}, np.array(["c", "a"]))
    array([3, 1])
    """
    import numpy as np

    if source is None:
        return None
    if is_frame(source) or is_series(source):
        return values_of(_by_label(source, ids, what))
    if isinstance(source, np.ndarray) and source.ndim:
        rows = source[_positions(len(source), ids, what)]
        return rows if is_masked(rows) else np.asarray(rows)
    if isinstance(source, (list, tuple, range)):
        return assembled([source[position] for position in _positions(len(source), ids, what)])
    if not hasattr(type(source), "__getitem__") or isinstance(source, (str, bytes, np.ndarray)):
        raise BatchError(
            f"{what} is a {type(source).__name__}, which has no rows. Give an array, a list, a frame, or what can be "
            "asked for the data of an item by its id."
        )
    return assembled([_of_item(source, item_id, what) for item_id in ids.tolist()])


def values_of(rows: Any) -> np.ndarray[Any, Any]:
    """Values of a series, or of a frame, as an array of its own.

    Where pandas would make floats of whole numbers that these cannot hold, because some are missing or stand beside
    floats, they are objects.

    Examples
    --------
    >>> import pandas as pd
    >>> values_of(pd.Series([2**53 + 1, None], dtype="Int64"))
    array([9007199254740993, <NA>], dtype=object)
    """
    values: np.ndarray[Any, Any] = rows.to_numpy(copy=True)
    columns = [rows[name] for name in rows] if is_frame(rows) else [rows]
    whole = [column.dropna().to_numpy() for column in columns if column.dtype.kind in "iu"]
    is_exact = values.dtype.kind != "f" or all(fits(numbers, values.dtype) for numbers in whole)
    return values if is_exact else rows.to_numpy(dtype=object)


def frame_rows(frame: Any, ids: np.ndarray[Any, Any], what: str = "the frame") -> Any:
    """Rows of a frame by their labels, as a frame in the order of the ids.

    Raises
    ------
    UnknownItemError
        An id is no label of it, or that of several rows.
    """
    return _by_label(frame, ids, what)


def _by_label(source: Any, ids: np.ndarray[Any, Any], what: str) -> Any:
    index = source.index
    missing = [item_id for item_id in ids.tolist() if item_id not in index]
    if missing:
        raise UnknownItemError(
            f"{what} has no rows with the labels {named(missing)}. Its index has to be that of the items; from a file, "
            "index_col may say which column that is."
        )
    rows = source.loc[ids]
    if len(rows) != len(ids):
        twice = index[index.duplicated()].unique().tolist()
        raise UnknownItemError(f"{what} has several rows with the labels {named(twice)}. Keep one of each.")
    return rows


def _positions(length: int, ids: np.ndarray[Any, Any], what: str) -> np.ndarray[Any, Any]:
    import numpy as np

    if ids.dtype.kind in "iu":
        outside = ids[(ids < 0) | (ids >= length)].tolist()
        if outside:
            raise UnknownItemError(
                f"{what} has {length} rows, and therefore none at the positions {named(outside)}, which the ids of the "
                "batch name. To give one row for each item of the batch, set the component: batch.data = {name: rows}."
            )
        return ids
    if length != len(ids):
        raise BatchError(
            f"{what} has {length} rows for the {len(ids)} items of a batch whose ids are no positions. Give one row "
            "for each, in their order, or a frame or a mapping that has them by id."
        )
    return np.arange(length)


def _of_item(source: Any, item_id: object, what: str) -> Any:
    try:
        return source[item_id]
    except LookupError as error:
        raise UnknownItemError(f"{what} has no data of the item {item_id!r}: {error}.") from error


def assembled(results: Sequence[Any]) -> np.ndarray[Any, Any]:
    """An array whose first axis counts the results.

    Arrays of one shape and plain values are stacked, unless one array could not hold them as they are. Whatever else
    there is, above all arrays of different shapes, becomes an array of objects of one dimension, as do values of which
    some are texts and others are numbers, whole numbers above 2**53 beside floats, and texts that end in a null.

    Examples
    --------
    >>> assembled([1, 2.5])
    array([1. , 2.5])
    >>> import numpy as np
    >>> assembled([np.zeros(1), np.zeros(2)])
    array([array([0.]), array([0., 0.])], dtype=object)
    """
    import numpy as np

    arrays = [_as_array(result) for result in results]
    if arrays and are_alike(arrays, axis=0):
        return np.ma.stack(arrays) if any(map(is_masked, arrays)) else np.stack(arrays)  # type: ignore[arg-type]
    objects = np.empty(len(results), dtype=object)
    for number, result in enumerate(results):
        objects[number] = result
    return objects


def _as_array(result: Any) -> np.ndarray[Any, Any] | None:
    """It as an array, if it is one or can become one that has the same values."""
    import numpy as np

    if isinstance(result, np.ndarray):
        return result
    if isinstance(result, (str, bytes)) and result[-1:] in {"\0", b"\0"}:
        return None  # which an array of texts would lose
    if isinstance(result, (np.generic, *_PLAIN)):
        return np.asarray(result)
    if isinstance(result, (list, tuple)) and result and are_alike([_as_array(part) for part in result], axis=0):
        return np.asarray(result)
    return None


def is_masked(array: object) -> bool:
    """Whether it is a masked array, whose mask only the functions of numpy.ma keep."""
    import numpy as np

    return type(array) is not np.ndarray and isinstance(array, np.ndarray) and hasattr(array, "mask")


def are_alike(arrays: Sequence[np.ndarray[Any, Any] | None], axis: int) -> bool:
    """Whether one array can hold what is in all of these, without changing what a value is.

    Parameters
    ----------
    arrays
        Any number; there is nothing that holds None.
    axis
        From which on they have to be of the same shape.

    Examples
    --------
    >>> import numpy as np
    >>> are_alike([np.array([7]), np.array([0.5])], 0), are_alike([np.array([2**60 + 1]), np.array([0.5])], 0)
    (True, False)
    """
    import numpy as np

    there = [array for array in arrays if array is not None]
    if len(there) < len(arrays) or len({array.shape[axis:] for array in there}) > 1:
        return False
    dtypes = {array.dtype for array in there}
    kinds = {dtype.kind for dtype in dtypes}
    if len(dtypes) == 1 or (len(kinds) == 1 and "V" not in kinds):
        return True
    if not kinds <= set(_MIXABLE):
        return False
    return np.result_type(*dtypes).kind not in "fc" or all(map(_is_whole_in_floats, there))


def _is_whole_in_floats(array: np.ndarray[Any, Any]) -> bool:
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8 or not array.size:  # noqa: PLR2004 - of 64 bits
        return True
    return int(array.max()) <= _WHOLE_IN_FLOATS and int(array.min()) >= -_WHOLE_IN_FLOATS


def fits(data: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> bool:
    """Whether an array of that dtype can hold the values: no fraction or text is cut off, and nothing runs over.

    Digits of a float may be rounded, those of a whole number or a time may not.

    Examples
    --------
    >>> import numpy as np
    >>> fits(np.array([7, 8]), np.dtype("uint8")), fits(np.array([7, 800]), np.dtype("uint8"))
    (True, False)
    >>> fits(np.array([1e300]), np.dtype("float32"))
    False
    """
    import numpy as np

    if data.dtype.kind in "iu" and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return not data.size or (int(data.min()) >= limits.min and int(data.max()) <= limits.max)
    if not np.can_cast(data.dtype, dtype, "safe" if dtype.kind in "US" else "same_kind"):
        return False
    with np.errstate(all="ignore"):
        if data.dtype.kind in "fc" and dtype.kind in "fc":
            return np.array_equal(np.isfinite(data.astype(dtype)), np.isfinite(data))
        if data.dtype.kind in "iuMm" and dtype.kind in "fcMm":
            back = data.astype(dtype).astype(data.dtype)
            return np.array_equal(back, data, equal_nan=data.dtype.kind in "Mm")
    return True


def is_mapping(source: object) -> bool:
    """Whether it is a mapping, of names or of ids."""
    return isinstance(source, Mapping)


def described(value: Any) -> str:
    """A value in a message."""
    text = repr(value)
    return text if len(text) <= 80 else f"a {type(value).__name__}"  # noqa: PLR2004 - a line
