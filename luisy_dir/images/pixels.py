"""Pixels: the values of an image, as numbers from 0 to 1, as grey, as a mean and as a hash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luisy_dir.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601-7, 2.5.1: what JPEG, Pillow and OpenCV mean by grey
_ROUNDING = 1e-6  # by so much floats from 0 to 1 may leave that range after some arithmetic
_NUMBERS = "buif"  # kinds of NumPy's dtypes


def as_image(image: npt.ArrayLike) -> npt.NDArray[Any]:
    """The image as an array, which may be the same one; ImageError where it is none."""
    import numpy as np

    array = np.asarray(image)
    if isinstance(image, np.ma.MaskedArray):
        raise ImageError("A masked array is no image: its mask would be lost. Fill it first.")
    if array.ndim not in {2, 3} or not array.size or array.dtype.kind not in _NUMBERS:
        raise ImageError(
            f"An array of dtype {array.dtype} and shape {array.shape} is no image. Give one of real numbers, of shape "
            "(rows, columns) or (rows, columns, channels)."
        )
    return array


def with_dtype(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Floats as another dtype: rounded, where it is one of whole numbers, and not wrapped round its ends."""
    import numpy as np

    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.rint(values).clip(limits.min, limits.max)
    elif dtype.kind == "b":
        values = np.rint(values)
    return values.astype(dtype)


def normalize(image: npt.ArrayLike) -> npt.NDArray[Any]:
    """Values as floats from 0 to 1.

    What white is follows from the dtype, and never from the values, so that dark images stay dark: 255 of uint8, 65535
    of uint16, True of bool, and 1 of floats.

    Parameters
    ----------
    image
        Of bool, of unsigned integers, or of floats from 0 to 1.

    Returns
    -------
    numpy.ndarray
        Of the same shape; float64, or the dtype of the image where that is one of floats.

    Raises
    ------
    ImageError
        This is no image, floats lie outside 0 to 1, or the dtype is one of signed integers, which does not say what
        white is.

    Examples
    --------
    >>> import numpy as np
    >>> normalize(np.array([[0, 51, 255]], dtype="uint8"))
    array([[0. , 0.2, 1. ]])
    """
    from skimage.util import img_as_float

    array = as_image(image)
    if array.dtype.kind == "i":
        raise ImageError(
            f"An image of dtype {array.dtype} does not say which value is white. Convert it first: "
            "image.astype('uint8') where that is 255."
        )
    if array.dtype.kind != "f":
        values: npt.NDArray[Any] = img_as_float(array)
        return values
    low, high = float(array.min()), float(array.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # NaN too
        raise ImageError(
            f"A float image holds values from 0 to 1, and this one from {low:g} to {high:g}. Divide it by its greatest "
            "possible value first, or convert it: image.round().astype('uint8')."
        )
    return array.clip(0, 1)


def to_ubyte(image: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Values as uint8, where the values of :func:`normalize` times 255 are rounded."""
    from skimage.util import img_as_ubyte

    array = as_image(image)
    values: npt.NDArray[np.uint8] = img_as_ubyte(array if array.dtype.name == "uint8" else normalize(array))
    return values


def to_grayscale(image: npt.ArrayLike) -> npt.NDArray[Any]:
    """One value a pixel: 0.299 R + 0.587 G + 0.114 B, the luma of ITU-R BT.601; alpha is left out.

    Parameters
    ----------
    image
        Of 1 to 4 channels: grey, grey and alpha, colour, colour and alpha; or without an axis for channels.

    Returns
    -------
    numpy.ndarray
        Of shape (rows, columns) and of the dtype of the image; whole numbers are rounded.

    Raises
    ------
    ImageError
        This is no image, or it has more channels.

    Examples
    --------
    >>> import numpy as np
    >>> to_grayscale(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype="uint8"))
    array([[ 76, 150,  29]], dtype=uint8)
    """
    import numpy as np

    array = as_image(image)
    if array.ndim == 2:  # noqa: PLR2004 - rows and columns
        return array.copy()
    channels = array.shape[2]
    if channels in {1, 2}:
        return array[..., 0].copy()
    if channels not in {3, 4}:
        raise ImageError(f"An image of {channels} channels has no grey of its own. Choose up to 4 of them first.")
    return with_dtype(array[..., :3] @ np.array(_LUMA), array.dtype)


def mean_brightness(image: npt.ArrayLike) -> float:
    """Mean of :func:`to_grayscale`, in the values of the image: of uint8, from 0 to 255.

    Examples
    --------
    >>> mean_brightness([[0, 0, 0], [1, 1, 1]])
    0.5
    """
    return float(to_grayscale(image).mean(dtype="float64"))


def difference_hash(image: npt.ArrayLike, size: int = 8) -> int:
    """Hash of what is seen: near duplicates differ in few bits.

    The image is made grey and shrunk to ``size`` rows of ``size + 1`` pixels; each bit says whether a pixel is brighter
    than the one to its left, row by row, the first one being the most significant. Between two hashes,
    ``(a ^ b).bit_count()`` counts the bits that differ; of 64 bits, fewer than 10 mean the same picture, as a rule.
    After N. Krawetz, "Kind of Like That" (The Hacker Factor Blog, 2013).

    Parameters
    ----------
    image
        As :func:`normalize` takes it.
    size
        The hash has ``size * size`` bits.

    Raises
    ------
    ImageError
        This is no image, or ``size`` is no number from 1.

    Examples
    --------
    >>> import numpy as np
    >>> ramp = np.tile(np.arange(0, 180, 20, dtype="uint8"), (8, 1))
    >>> f"{difference_hash(ramp):x}", difference_hash(ramp[:, ::-1])
    ('ffffffffffffffff', 0)
    """
    import numpy as np

    from luisy_dir.images.geometry import resize

    if not is_count(size):
        raise ImageError(f"difference_hash got {size!r} for a size. Give a whole number from 1.")
    small = resize(to_ubyte(to_grayscale(image)), shape=(size, size + 1))  # of whole numbers: no noise in even areas
    bits = np.packbits(small[:, 1:] > small[:, :-1])
    return int.from_bytes(bits.tobytes(), "big") >> (-size * size % 8)


def is_count(value: object) -> bool:
    """Whether this is a whole number from 1."""
    import numpy as np

    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and int(value) >= 1
