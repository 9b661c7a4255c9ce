"""One image of a batch as an array with an axis of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luisy_dir.errors import BatchError, SettingError

if TYPE_CHECKING:
    import numpy as np

_PLANE = 2  # axes of an image without channels


def with_channels(image: Any, dtype: Any, channels: str | None) -> np.ndarray[Any, Any]:
    """An item as an array, with its channels where they are wanted.

    An image of two axes gets a third one. One that has more is taken to have its channels last. With less than two
    axes, nothing is changed but the dtype.

    Parameters
    ----------
    image
        Of any shape.
    dtype
        Of the result; None keeps that of the item.
    channels
        ``first``, ``last``, or None, which changes no axis.

    Raises
    ------
    SettingError
        ``channels`` is something else.
    BatchError
        The item is None, or has values that are not among those of an integer dtype; fractions are cut off.

    Examples
    --------
    >>> import numpy as np
    >>> with_channels(np.zeros((4, 5, 3), np.uint8), None, "first").shape
    (3, 4, 5)
    """
    import numpy as np

    if channels not in {"first", "last", None}:
        raise SettingError(f"channels is {channels!r}, but has to be 'first', 'last' or None.")
    array = np.asarray(image)
    if dtype is not None:
        _check_range(array, np.dtype(dtype))
        array = array.astype(dtype)
    if channels is None or array.ndim < _PLANE:
        return array
    if array.ndim == _PLANE:
        return array[None] if channels == "first" else array[..., None]
    return np.moveaxis(array, -1, 0) if channels == "first" else array


def _check_range(array: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> None:
    """Refuse numbers that would run over, as 300 does into 44."""
    import numpy as np

    if array.ndim == 0 and array.item() is None:
        raise BatchError("The item is None, and no image. Leave it out, or give it data.")
    if array.dtype.kind == "c" and dtype.kind in "biuf":
        raise BatchError(f"An image of dtype {array.dtype} has no place in {dtype}. Take its absolute or real values.")
    if dtype.kind not in "iu" or array.dtype.kind not in "iuf" or not array.size:
        return
    low, high, limits = array.min().item(), array.max().item(), np.iinfo(dtype)
    if not (limits.min - 1 < low and high < limits.max + 1):  # NaN is not
        raise BatchError(f"An image with values from {low} to {high} does not go into {dtype}. Scale or clip it first.")
