"""Lists of images."""

from __future__ import annotations

import os
from pathlib import Path

from luisy_dir import images


def find_image_files(search_dir: str | os.PathLike[str]) -> list[Path]:
    """Images of a folder and those below, sorted; see :func:`luisy_dir.images.image_files`."""
    return [Path(path) for path in images.image_files(search_dir)]
