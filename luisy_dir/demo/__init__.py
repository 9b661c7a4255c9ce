"""A demo: a folder with images, a pipeline over them, and Luigi's configuration."""

from __future__ import annotations

import os
from importlib import resources

from luisy_dir.errors import ForeignDirectoryError
from luisy_dir.storage import local, system

PIPELINE = "red_channel.py"
CONFIGURATION = "luigi.cfg"
RAW = "red_channel/raw/images"
RESULT = "red_channel/final/RedChannel"


def set_up(folder: str, count: int) -> None:
    """Make a folder with pipeline, configuration and images; what is there already is left as it is.

    Results are not made here, and not touched: a run of the pipeline makes them, and brings them up to date.

    Parameters
    ----------
    folder
        A new or empty folder, or one that was set up before.
    count
        How many images to make.

    Raises
    ------
    ForeignDirectoryError
        There is something in the folder that does not look like the demo, or the folder is a file.
    """
    if local.exists(folder) and not os.path.isdir(folder):
        raise ForeignDirectoryError(f"{folder!r} is a file. Give a new folder.")
    names = local.names_in(folder)
    if names and PIPELINE not in names:
        raise ForeignDirectoryError(
            f"{folder!r} is not empty, and there is no {PIPELINE!r} of the demo in it. Give a new folder."
        )
    system.makedirs(folder)
    for name in (PIPELINE, CONFIGURATION):
        if name not in names:
            content = resources.files(__name__).joinpath(name).read_bytes()
            local.write_whole(os.path.join(folder, name), content, sync=False)
    _make_images_once(os.path.join(folder, *RAW.split("/")), count)


def _make_images_once(raw: str, count: int) -> None:
    """Make the images under a hidden name first, so that there are never half of them."""
    if local.exists(raw):
        return
    from luisy_dir.demo.images import make_images  # a program too, which must not be loaded twice

    parent, name = os.path.split(raw)
    hidden = os.path.join(parent, f".{name}")
    local.remove_tree(hidden)
    make_images(hidden, count)
    system.rename(hidden, raw)
