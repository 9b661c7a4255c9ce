"""The place of a directory: what may lie where a task publishes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from luisy_dir.errors import ForeignDirectoryError
from luisy_dir.record import FOLDER
from luisy_dir.storage import local


def check_place(directory: str) -> None:
    """Raise ForeignDirectoryError where something that is not ours lies at ``directory``."""
    if os.path.islink(directory):
        raise foreign(directory, "is a symlink")
    parent = os.path.dirname(directory)
    while parent != os.path.dirname(parent):
        if local.exists(os.path.join(parent, FOLDER)):
            raise foreign(directory, f"lies in {parent!r}, which another task has published")
        parent = os.path.dirname(parent)
    if not local.exists(directory) or local.exists(os.path.join(directory, FOLDER)):
        return
    if not os.path.isdir(directory):
        raise foreign(directory, "is a file")
    raise foreign(directory, "is a directory without a manifest" if os.listdir(directory) else "is an empty directory")


def foreign(directory: str, what: str) -> ForeignDirectoryError:
    """The error that says why a directory cannot be published."""
    return ForeignDirectoryError(
        f"The result cannot be published as {directory!r}: that {what}, and luisy_dir does not replace what it did not "
        "make. Move it away, or give the task another folder."
    )


class Room:
    """Whether outputs can be put where they belong in a directory that is published already.

    Parameters
    ----------
    directory
        The published directory.
    vacated
        Relative paths of the outputs that will be removed or replaced.
    passed_over
        Finds relative paths of other files that are not held against anybody; called where something is in the way.
    is_lenient
        Files that are not known to be ours may be replaced: the manifest that would know is damaged.
    folded
        What two paths have in common that name the same file.
    """

    def __init__(
        self,
        directory: str,
        vacated: set[str],
        passed_over: Callable[[], set[str]] = set,
        *,
        is_lenient: bool = False,
        folded: Callable[[str], str] = str,
    ) -> None:
        self._directory = directory
        self._folded = folded
        self._vacated = set(map(folded, vacated))
        self._passed_over = passed_over
        self._is_lenient = is_lenient
        self._known: set[str] = {""}

    def check(self, paths: Iterable[str]) -> None:
        """Raise ForeignDirectoryError where something lies in the way of one of these relative paths."""
        for path in paths:
            self._check_folders(path)
            kind = local.kind_of(os.path.join(self._directory, path))
            if kind == "folder" and any(map(self._is_held, self._files_below(path))):
                raise self._in_the_way(path, path, "a folder with files that are not replaced")
            if kind == "file" and not self._is_lenient and self._is_held(path):
                raise self._in_the_way(path, path, "a file that is not this item's")

    def _check_folders(self, path: str) -> None:
        folder = os.path.dirname(path)
        if folder in self._known:
            return
        self._check_folders(folder)
        if self._folded(folder) not in self._vacated and local.kind_of(os.path.join(self._directory, folder)) == "file":
            if folder in self._passed_over():
                return
            raise self._in_the_way(path, folder, "a file where a folder is needed")
        self._known.add(folder)

    def _is_held(self, path: str) -> bool:
        """Whether a file is held against whoever wants its place."""
        return self._folded(path) not in self._vacated and path not in self._passed_over()

    def _files_below(self, path: str) -> Iterable[str]:
        return (f"{path}/{below}" for below in local.files_below(os.path.join(self._directory, path)))

    def _in_the_way(self, path: str, there: str, what: str) -> ForeignDirectoryError:
        return ForeignDirectoryError(
            f"{path!r} cannot be published in {self._directory!r}: {there!r} lies there, {what}. Move it away, or see "
            "that no two items have outputs of one name."
        )
