"""Images: plain functions that load, write, measure and change them, to be used as steps or alone.

An image is an array of shape (rows, columns) or (rows, columns, channels); colours are red, green, blue, and alpha
where there is a fourth channel. No function changes the array that it is given, and what one returns shares no memory
with it. With :func:`functools.partial` each is a function of one argument, and so one of ``pre``, ``post`` or the like.
"""

from luisy_dir.images.files import image_files, load_image, write_image
from luisy_dir.images.geometry import (
    center_crop,
    flip_horizontal,
    flip_vertical,
    resize,
    rotate_90,
    rotate_180,
    rotate_270,
    trim_padding,
)
from luisy_dir.images.pixels import difference_hash, mean_brightness, normalize, to_grayscale

__all__ = [
    "center_crop",
    "difference_hash",
    "flip_horizontal",
    "flip_vertical",
    "image_files",
    "load_image",
    "mean_brightness",
    "normalize",
    "resize",
    "rotate_90",
    "rotate_180",
    "rotate_270",
    "to_grayscale",
    "trim_padding",
    "write_image",
]
