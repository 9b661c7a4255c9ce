"""Writing of images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from luisy_dir import images

if TYPE_CHECKING:
    import numpy.typing as npt


def write_image(image: npt.NDArray[Any], path: str | os.PathLike[str], **_: Any) -> None:
    """Write an image, as :func:`luisy_dir.images.write_image` does: whole or not at all, and never changing it.

    Floats with values above 1, which are of 0 to 255, are rounded.

    Raises
    ------
    ImageError
        That is no image, or the suffix is not known.
    """
    is_of_255 = image.dtype.kind == "f" and image.size and image.max() > 1
    images.write_image(image.round().clip(0, 255).astype("uint8") if is_of_255 else image, path)
