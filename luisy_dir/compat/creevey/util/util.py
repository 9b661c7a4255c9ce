"""Lists of files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from luisy_dir.errors import MissingInputError
from luisy_dir.storage import local


def find_files_with_extensions(search_dir: str | os.PathLike[str], extensions: Iterable[str]) -> list[Path]:
    """Files of a folder and those below that have one of some suffixes, sorted; upper and lower case are the same.

    Parameters
    ----------
    search_dir
        The folder.
    extensions
        Suffixes with or without their dot.

    Raises
    ------
    MissingInputError
        There is no such folder.
    """
    folder = os.fspath(search_dir)
    if local.kind_of(folder) != "folder":
        raise MissingInputError(f"There is no folder {folder!r} to look for files in. Is the path right?")
    wanted = {f".{extension.lower().lstrip('.')}" for extension in extensions}
    return sorted(Path(folder, name) for name in local.files_below(folder) if Path(name).suffix.lower() in wanted)
