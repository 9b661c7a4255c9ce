"""An index of files: those that globs find, with ids that tell equal names apart."""

from __future__ import annotations

import functools
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
        as by :func:`glob.glob`. A file that is found in several ways, through links to folders, is one item, by the
        shortest.
    dirs
        Takes folders instead of files.
    no_ext
        Ids have no suffix.

    Raises
    ------
    MissingInputError
        A glob finds nothing, or a link that leads nowhere.
    BatchError
        Two files would have the same id, or it is no glob.

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
        Index.__init__(index, ids)
        index._paths = {item_id: self._paths[item_id] for item_id in index.indices.tolist()}  # a batch takes them along
        return index


def _found(path: Any, *, dirs: bool, no_ext: bool) -> dict[str, str]:
    """Paths by ids."""
    kinds = (str, bytes, os.PathLike)
    patterns = [path] if isinstance(path, kinds) else list(path) if isinstance(path, Iterable) else []
    if not patterns or not all(isinstance(pattern, kinds) for pattern in patterns):
        raise BatchError(f"{path!r} is no glob, nor several. Give such as 'images/*.png'.")
    absolute: list[str] = [os.path.abspath(os.fsdecode(pattern)) for pattern in patterns]
    root = os.path.commonpath([_fixed(pattern) for pattern in absolute])
    paths: dict[str, str] = {}
    for pattern in absolute:
        matches = [match for match in glob.glob(pattern, recursive=True) if _is_wanted(match, dirs=dirs)]
        if not matches:
            raise MissingInputError(
                f"{pattern!r} finds no {'folder' if dirs else 'file'}. Correct it, or leave it out."
            )
        for match in matches:
            _add(paths, match, root, no_ext=no_ext)
    return _without_detours(paths)


def _is_wanted(match: str, *, dirs: bool) -> bool:
    if (os.path.isdir if dirs else os.path.isfile)(match):
        return True
    if not os.path.exists(match):
        raise MissingInputError(f"{match!r} is a link that leads nowhere. Restore what it leads to, or remove it.")
    return False


def _without_detours(paths: dict[str, str]) -> dict[str, str]:
    """One path for each file: ``**`` goes through links to folders too, be it round and round."""
    real = functools.cache(os.path.realpath)
    ids: dict[tuple[str, str], str] = {}
    for item_id in sorted(paths, key=lambda item_id: (item_id.count(os.sep), item_id)):
        folder, name = os.path.split(paths[item_id])
        ids.setdefault((real(folder), name), item_id)
    return {item_id: paths[item_id] for item_id in ids.values()}


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
