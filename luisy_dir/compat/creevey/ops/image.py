"""Processing of images: thin faces on :mod:`luisy_dir.images`; each takes and ignores the arguments of a pipeline."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from luisy_dir import images
from luisy_dir.compat.creevey.ops.ops import report_output
from luisy_dir.errors import ImageError

if TYPE_CHECKING:
    import numpy.typing as npt

    Image = npt.NDArray[Any]


def resize(image: Image, shape: tuple[int, int] | None = None, min_dim: int | None = None, **_: Any) -> Image:
    """See :func:`luisy_dir.images.resize`; ValueError unless one of ``shape`` and ``min_dim`` is given."""
    return images.resize(image, shape, min_dim=min_dim)


def centercrop(image: Image, reduction_factor: float, **_: Any) -> Image:
    """See :func:`luisy_dir.images.center_crop`."""
    return images.center_crop(image, reduction_factor)


def trim_padding(image: Image, comparison_op: Callable[..., Any], thresh: float, **_: Any) -> Image:
    """See :func:`luisy_dir.images.trim_padding`; of all padding, an image of no rows and columns."""
    try:
        return images.trim_padding(image, comparison_op, thresh)
    except ImageError:
        if image.size and bool(comparison_op(images.normalize(images.to_grayscale(image)), thresh).all()):
            return image[:0, :0].copy()
        raise


def normalize_pixel_values(image: Image, **_: Any) -> Image:
    """Values as floats from 0 to 1: divided by 255 where one is greater than 1, as Creevey does."""
    return image / 255 if image.size and image.max() > 1 else image


def convert_to_grayscale(image: Image, **_: Any) -> Image:
    """See :func:`luisy_dir.images.to_grayscale`."""
    return images.to_grayscale(image)


def flip_horiz(image: Image, **_: Any) -> Image:
    """Left becomes right."""
    return images.flip_horizontal(image)


def flip_vert(image: Image, **_: Any) -> Image:
    """Top becomes bottom."""
    return images.flip_vertical(image)


def rotate_90(image: Image, **_: Any) -> Image:
    """Turned counter-clockwise."""
    return images.rotate_90(image)


def rotate_180(image: Image, **_: Any) -> Image:
    """Turned upside down."""
    return images.rotate_180(image)


def rotate_270(image: Image, **_: Any) -> Image:
    """Turned clockwise."""
    return images.rotate_270(image)


def calculate_mean_brightness(image: Image, **_: Any) -> float:
    """See :func:`luisy_dir.images.mean_brightness`."""
    return images.mean_brightness(image)


def calculate_dhash(image: Image, sqrt_hash_size: int = 8, **_: Any) -> int:
    """See :func:`luisy_dir.images.difference_hash`."""
    return images.difference_hash(image, sqrt_hash_size)


def record_mean_brightness(image: Image, inpath: Any, log_dict: Any) -> Image:
    """Log the mean brightness as the column ``mean_brightness``, and return the image."""
    return report_output(image, calculate_mean_brightness, inpath, log_dict, "mean_brightness")


def record_dhash(image: Image, inpath: Any, log_dict: Any, sqrt_hash_size: int = 8) -> Image:
    """Log the difference hash as the column ``dhash``, and return the image.

    It is a text of hexadecimal digits: the number may have more bits than a column of numbers.
    """
    hashed = partial(calculate_dhash, sqrt_hash_size=sqrt_hash_size)
    return report_output(image, lambda data: f"{hashed(data):x}", inpath, log_dict, "dhash")


report_mean_brightness = record_mean_brightness
report_dhash = record_dhash
