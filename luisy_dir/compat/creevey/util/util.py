"""Lists of files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from luisy_dir.item import scan


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
    endings = "|".join(re.escape(extension.lstrip(".")) for extension in extensions)
    return sorted(Path(item.path) for item in scan(os.fspath(search_dir), rf"(?i)\.(?:{endings})$"))
