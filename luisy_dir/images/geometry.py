"""Geometry: where the pixels of an image lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from luisy_dir.errors import ImageError
from luisy_dir.images.pixels import as_image, is_count, normalize, to_grayscale, with_dtype

if TYPE_CHECKING:
    import numpy.typing as npt


def resize(
    image: npt.ArrayLike, shape: tuple[int, int] | None = None, *, min_dim: int | None = None
) -> npt.NDArray[Any]:
    """The image in another size: bilinear, and smoothed before it is shrunk (:func:`skimage.transform.resize`).

    Parameters
    ----------
    image
        Of any number of channels. One of bool is neither smoothed nor mixed: each pixel is the nearest one.
    shape
        (rows, columns).
    min_dim
        In place of ``shape``: the shorter side. The longer one follows, so that the aspect is kept; it is rounded to
        one decimal and cut to a whole number.

    Returns
    -------
    numpy.ndarray
        Of the dtype of the image, in its range of values; whole numbers are rounded.

    Raises
    ------
    ImageError
        This is no image, or there is not exactly one of ``shape`` and ``min_dim``.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.zeros((300, 400, 3), dtype="uint8")
    >>> resize(image, shape=(5, 8)).shape, resize(image, min_dim=50).shape
    ((5, 8, 3), (50, 66, 3))
    """
    from skimage import transform

    if (shape is None) == (min_dim is None):
        raise ImageError("resize needs either shape=(rows, columns) or min_dim=, and not both. Give one of them.")
    array = as_image(image)
    wanted = _checked(shape) if shape is not None else _with_shorter_side(array.shape[:2], min_dim)
    values: npt.NDArray[Any] = transform.resize(array, wanted, preserve_range=True)
    return with_dtype(values, array.dtype)


def _checked(shape: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(shape, (tuple, list)) or len(shape) != 2 or not all(map(is_count, shape)):  # noqa: PLR2004 - two sides
        raise ImageError(f"resize got {shape!r} for a shape. Give (rows, columns), two whole numbers from 1.")
    return (int(shape[0]), int(shape[1]))


def _with_shorter_side(sides: tuple[int, ...], min_dim: int | None) -> tuple[int, int]:
    if min_dim is None or not is_count(min_dim):
        raise ImageError(f"resize got {min_dim!r} for min_dim. Give a whole number from 1.")
    rows, columns = (int(round(side * min_dim / min(sides), 1)) for side in sides)
    return rows, columns


def center_crop(image: npt.ArrayLike, fraction: float) -> npt.NDArray[Any]:
    """The middle of the image: a fraction of its rows and of its columns.

    Of ``n`` rows, those from ``(n - n f) / 2`` up to ``(n + n f) / 2``, both rounded down, and one at least.

    Parameters
    ----------
    image
        Of any number of channels.
    fraction
        What is kept of each side: above 0, up to 1.

    Raises
    ------
    ImageError
        This is no image, or no such fraction.

    Examples
    --------
    >>> import numpy as np
    >>> center_crop(np.zeros((34, 25)), 0.5).shape
    (17, 12)
    """
    array = as_image(image)
    if not 0 < fraction <= 1:
        raise ImageError(f"center_crop got {fraction!r} for a fraction. Give a number above 0, up to 1.")
    rows, columns = (_middle(side, fraction) for side in array.shape[:2])
    return array[rows, columns].copy()


def _middle(side: int, fraction: float) -> slice:
    begin, end = ((side + sign * side * fraction) // 2 for sign in (-1, 1))
    return slice(int(begin), max(int(end), int(begin) + 1))


def trim_padding(
    image: npt.ArrayLike, comparison: Callable[[npt.NDArray[Any], float], npt.NDArray[Any]], threshold: float
) -> npt.NDArray[Any]:
    """The image without rows and columns at its borders that are nothing but padding.

    A pixel is padding where ``comparison(grey, threshold)`` is true, with grey from 0 to 1 (:func:`to_grayscale` and
    :func:`normalize`).

    Parameters
    ----------
    image
        As :func:`normalize` takes it, of up to 4 channels.
    comparison
        Such as ``operator.gt`` for bright padding, ``operator.lt`` for dark.
    threshold
        From 0 to 1.

    Raises
    ------
    ImageError
        This is no image, or all of it is padding.

    Examples
    --------
    >>> import operator
    >>> import numpy as np
    >>> image = np.pad(np.full((4, 5), 0.5), 3, constant_values=1)
    >>> trim_padding(image, operator.gt, 0.95).shape
    (4, 5)
    """
    import numpy as np

    array = as_image(image)
    is_content = ~np.asarray(comparison(normalize(to_grayscale(array)), threshold), dtype=bool)
    rows, columns = (np.flatnonzero(is_content.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        raise ImageError(
            f"All of an image of shape {array.shape} is padding by {comparison!r} and {threshold!r}, and nothing would "
            "be left. Choose another threshold, or leave the image out."
        )
    return array[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()


def flip_horizontal(image: npt.ArrayLike) -> npt.NDArray[Any]:
    """The image with left and right exchanged.

    Examples
    --------
    >>> flip_horizontal([[1, 2], [3, 4]])
    array([[2, 1],
           [4, 3]])
    """
    return as_image(image)[:, ::-1].copy()


def flip_vertical(image: npt.ArrayLike) -> npt.NDArray[Any]:
    """The image with top and bottom exchanged.

    Examples
    --------
    >>> flip_vertical([[1, 2], [3, 4]])
    array([[3, 4],
           [1, 2]])
    """
    return as_image(image)[::-1].copy()


def rotate_90(image: npt.ArrayLike) -> npt.NDArray[Any]:
    """The image turned counter-clockwise by a quarter.

    Examples
    --------
    >>> rotate_90([[1, 2], [3, 4]])
    array([[2, 4],
           [1, 3]])
    """
    return _rotated(image, quarters=1)


def rotate_180(image: npt.ArrayLike) -> npt.NDArray[Any]:
    """The image turned by a half.

    Examples
    --------
    >>> rotate_180([[1, 2], [3, 4]])
    array([[4, 3],
           [2, 1]])
    """
    return _rotated(image, quarters=2)


def rotate_270(image: npt.ArrayLike) -> npt.NDArray[Any]:
    """The image turned counter-clockwise by three quarters, which is clockwise by one.

    Examples
    --------
    >>> rotate_270([[1, 2], [3, 4]])
    array([[3, 1],
           [4, 2]])
    """
    return _rotated(image, quarters=3)


def _rotated(image: npt.ArrayLike, *, quarters: int) -> npt.NDArray[Any]:
    import numpy as np

    return np.rot90(as_image(image), quarters).copy()
