"""An index of files: those that globs find, with ids that tell equal names apart."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from typing import Any, Self

from luisy_dir.batch.index import Index
from luisy_dir.batch.rows import named
from luisy_dir.errors import BatchError, MissingInputError


class FileIndex(Index):
    """The files that globs find, in the order of their ids.

    The id of a file is its path below the deepest folder that all globs have in common before their first wildcard. So
    the files of ``images/*.png`` have their names as ids; those of ``images/*/*.png``, or of
    ``["a/*.png", "b/*.png"]``, have the folder too, and two files of equal names are two items.

    Parameters
    ----------
    path
        A glob, or several. ``**`` goes through folders in folders. Files whose names begin with a dot are passed over,
        as by :func:`glob.glob`.
    dirs
        Takes folders instead of files.
    no_ext
        Ids have no suffix.

    Raises
    ------
    MissingInputError
        A glob finds nothing.
    BatchError
        Two files would have the same id.

    Examples
    --------
    ::

        index = FileIndex(["left/*.png", "right/*.png"], no_ext=True)
        index.indices  # 'left/0001', 'right/0001', …
        index.path("left/0001")
    """

    def __init__(self, path: Any, *, dirs: bool = False, no_ext: bool = False) -> None:
        self._paths = _found(path, dirs=dirs, no_ext=no_ext)
        super().__init__(sorted(self._paths))

    def path(self, item_id: str) -> str:
        """Path of an item.

        Raises
        ------
        UnknownItemError
            There is none of that id.
        """
        self.position(item_id)
        return self._paths[str(item_id)]

    def _with(self, ids: Any) -> Self:
        index = object.__new__(type(self))
        index._paths = self._paths
        Index.__init__(index, ids)
        return index


def _found(path: Any, *, dirs: bool, no_ext: bool) -> dict[str, str]:
    """Paths by ids."""
    patterns = [path] if isinstance(path, (str, os.PathLike)) else list(path) if isinstance(path, Iterable) else []
    absolute: list[str] = [os.path.abspath(os.fsdecode(pattern)) for pattern in patterns]
    if not absolute:
        raise BatchError(f"{path!r} is no glob, nor several. Give such as 'images/*.png'.")
    root = os.path.commonpath([_fixed(pattern) for pattern in absolute])
    is_wanted = os.path.isdir if dirs else os.path.isfile
    paths: dict[str, str] = {}
    for pattern in absolute:
        matches = [match for match in glob.glob(pattern, recursive=True) if is_wanted(match)]
        if not matches:
            raise MissingInputError(
                f"{pattern!r} finds no {'folder' if dirs else 'file'}. Correct it, or leave it out."
            )
        for match in matches:
            _add(paths, match, root, no_ext=no_ext)
    return paths


def _fixed(pattern: str) -> str:
    """The folder in which the part of a glob with wildcards begins."""
    folder = os.path.dirname(pattern)
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    return folder


def _add(paths: dict[str, str], match: str, root: str, *, no_ext: bool) -> None:
    item_id = os.path.relpath(match, root)
    item_id = os.path.splitext(item_id)[0] if no_ext else item_id
    other = paths.setdefault(item_id, match)
    if other != match:
        raise BatchError(
            f"{named([other, match])} would both have the id {item_id!r}. Keep the suffixes: no_ext=False."
        )
