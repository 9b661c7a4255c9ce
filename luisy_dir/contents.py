"""Contents: the bytes of a whole file, wherever it lies on this machine."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import Any

from luisy_dir.hidden import write_whole
from luisy_dir.storage import local, system


def read_bytes(path: Any) -> bytes:
    """Content of a file.

    Examples
    --------
    >>> read_bytes("/dev/null")
    b''
    """
    with system.read_file(os.fsdecode(path)) as file:
        return file.read()


def write_bytes(path: Any, data: bytes) -> None:
    """Write a file as a whole: another reader sees the former one until the new one is there."""
    write_whole(path, lambda hidden: local.write_whole(os.fspath(hidden), data, sync=False), "write_bytes")


def make_folder_for(path: Any) -> None:
    """Make the folder that a file shall lie in, and the folders above; what is there already stays as it is."""
    system.makedirs(os.path.dirname(os.path.abspath(os.fsdecode(path))))


def check_folder_for(path: Any) -> None:
    """See that there is the folder that a file shall lie in; FileNotFoundError where there is none."""
    folder = os.path.dirname(os.path.abspath(os.fsdecode(path)))
    if local.kind_of(folder) != "folder":
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)


def remove_empty_folder(path: Any) -> bool:
    """Remove a folder that is empty; whether nothing lies there now. Whatever else is there stays as it is."""
    place = os.path.abspath(os.fsdecode(path))
    with suppress(OSError):  # it is a file or a link, or may not be removed: whoever needs the place says so
        local.remove_empty(place)
    return not local.exists(place)
