"""Fitting: whether the data of several items goes into one array, and what that would be like."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from luisy_dir.errors import CollationError

if TYPE_CHECKING:
    import numpy as np

_NUMBERS = "biufc"  # kinds of dtypes of which numpy has one that takes them all
_ELSE = "collate='ragged', which leaves the data as it is, or a function of your own"


def arrays_of(data: Sequence[Any], keys: Sequence[str]) -> list[np.ndarray[Any, Any]]:
    """The data of items as arrays; numbers are arrays without axes.

    Raises
    ------
    CollationError
        There are no items, or one of them is no array.
    """
    if not data:
        raise CollationError("There are no items to make a batch of.")
    import numpy as np

    plain = np.ndarray
    return [
        one if type(one) is plain and not one.dtype.hasobject else _array_of(one, key)
        for one, key in zip(data, keys, strict=True)
    ]


def _array_of(data: Any, key: str) -> np.ndarray[Any, Any]:
    import numpy as np

    is_array = isinstance(data, (np.ndarray, np.generic, bool, int, float, complex)) or hasattr(data, "__array__")
    if isinstance(data, np.ma.MaskedArray):
        raise CollationError(f"{key!r} is a masked array, whose mask would be lost. Fill it first, or use {_ELSE}.")
    array = np.asarray(data) if is_array else None
    if array is None or array.dtype.hasobject:
        what = type(data).__name__ if array is None else f"{type(data).__name__} of Python objects"
        raise CollationError(f"{key!r} is no array, but a {what}. Use {_ELSE}.")
    return array


def shapes_of(
    arrays: Sequence[np.ndarray[Any, Any]], keys: Sequence[str]
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Their shapes, one a row.

    Raises
    ------
    CollationError
        They do not have as many axes each.
    """
    import numpy as np

    first = arrays[0].ndim
    for array, key in zip(arrays, keys, strict=True):
        if array.ndim != first:
            raise CollationError(
                f"{keys[0]!r} has shape {arrays[0].shape} and {key!r} {array.shape}, which are not as many axes. Give "
                f"them as many with `map`, leave some out with `where`, or use {_ELSE}."
            )
    return np.array([array.shape for array in arrays], dtype=np.int64).reshape(len(arrays), first)


def check_same(arrays: Sequence[np.ndarray[Any, Any]], keys: Sequence[str], *, from_axis: int = 0) -> None:
    """Raise CollationError where two shapes differ, in that axis or one behind it."""
    first = arrays[0].shape
    for array, key in zip(arrays, keys, strict=True):
        if array.shape != first and array.shape[from_axis:] != first[from_axis:]:
            where = f" behind axis {from_axis - 1}" if from_axis else ""
            raise CollationError(
                f"{keys[0]!r} has shape {first} and {key!r} {array.shape}; to go into one array, they have to be the "
                f"same{where}. Use collate='pad', 'crop' or 'ragged', or a function of your own."
            )


def common_dtype(arrays: Sequence[np.ndarray[Any, Any]], keys: Sequence[str]) -> np.dtype[Any]:
    """The dtype that takes the values of all of them as they are, in this machine's order of bytes.

    Raises
    ------
    CollationError
        There is none, as for int64 and float64, or for numbers and text.
    """
    import numpy as np

    first = arrays[0].dtype
    if all(array.dtype is first for array in arrays):  # to hash a dtype takes longer than to copy a small array
        return np.result_type(first)
    owners: dict[np.dtype[Any], str] = {}
    for array, key in zip(arrays, keys, strict=True):
        owners.setdefault(array.dtype, key)
    common = _common(*owners)
    if common is not None:
        return common
    pairs = list(combinations(owners, 2))
    one, other = next((pair for pair in pairs if _common(*pair) is None), pairs[0])
    raise CollationError(
        f"{owners[one]!r} is {one} and {owners[other]!r} {other}, and no dtype takes the values of both as they are. "
        "Convert them to one dtype first."
    )


def _common(*dtypes: np.dtype[Any]) -> np.dtype[Any] | None:
    import numpy as np

    try:
        common = np.result_type(*dtypes)
    except TypeError:  # numpy has none
        return None
    return common if all(_takes(common, dtype) for dtype in dtypes) else None


def _takes(common: np.dtype[Any], dtype: np.dtype[Any]) -> bool:
    import numpy as np

    if dtype.kind in "iu" and common.kind in "fc":
        return 8 * dtype.itemsize - (dtype.kind == "i") <= np.finfo(common).nmant + 1
    return common.kind == dtype.kind or (common.kind in _NUMBERS and dtype.kind in _NUMBERS)


def filled(
    arrays: Sequence[np.ndarray[Any, Any]], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray[Any, Any]:
    """Arrays of that shape as one; in half the time that numpy.stack takes for small ones."""
    import numpy as np

    batch = np.empty((len(arrays), *shape), dtype)
    for number, array in enumerate(arrays):
        batch[number] = array
    return batch


def span(begin: int, length: int) -> slice[int, int, None]:
    """So many from there."""
    return slice(begin, begin + length)
