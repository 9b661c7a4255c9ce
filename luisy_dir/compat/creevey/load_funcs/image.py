"""Loading of images."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from luisy_dir import images

if TYPE_CHECKING:
    import numpy.typing as npt


def load_image_from_url(inpath: str, **_: Any) -> npt.NDArray[Any]:
    """The image at a URL: (height, width) or (height, width, channels), RGB, as :func:`luisy_dir.images.load_image`.

    Raises
    ------
    WebError
        It could not be had.
    ImageError
        That is no image; a ValueError.
    """
    return images.load_image(inpath)


def load_image_from_disk(inpath: str | os.PathLike[str], **_: Any) -> npt.NDArray[Any]:
    """The image in a file: (height, width) or (height, width, channels), RGB, as :func:`luisy_dir.images.load_image`.

    Raises
    ------
    ImageError
        That is no image; a ValueError.
    """
    return images.load_image(inpath)
