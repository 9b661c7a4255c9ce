"""Targets: a raw folder that others fill, and a directory that a task publishes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from luigi.local_target import LocalFileSystem
from luigi.target import FileSystemTarget

from luisy_dir.errors import DefinitionError, ForeignDirectoryError, ManifestError, MissingInputError
from luisy_dir.fingerprint import StateSum, state_sum
from luisy_dir.formats import Format, format_of_path
from luisy_dir.item import Item, list_files, scan
from luisy_dir.keys import without_collisions
from luisy_dir.manifest import FOLDER, Manifest, published_items, read_manifest
from luisy_dir.step import read_stable
from luisy_dir.storage import local
from luisy_dir.transaction import withdraw

logger = logging.getLogger("luigi-interface.luisy_dir")

_warned: set[str] = set()


class _AnyDirectory(FileSystemTarget):
    """What both kinds of directory have in common for Luigi's tools."""

    fs = LocalFileSystem()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    def open(self, mode: str = "r") -> NoReturn:
        """Refuse: a directory has no single stream."""
        raise DefinitionError(f"{self.path!r} is a directory and cannot be opened with mode {mode!r}. Use read().")

    def read(self) -> Iterator[Any]:
        """Data of each item, in key order, one at a time."""
        return (data for _, data in self.items())

    def items(self) -> Iterator[tuple[Item, Any]]:
        """Each item and its data, in key order, one at a time."""
        raise NotImplementedError


class RawDirectoryTarget(_AnyDirectory):
    """A folder that others fill: it is read, and never written to.

    Parameters
    ----------
    path
        The folder.
    read_file
        ``read_file(path) -> data``; None says that the file is not ours.
    regex_pattern
        What the relative path must contain (:func:`re.search`); None takes every file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.txt").write_text("hello")
    >>> list(RawDirectoryTarget(folder, lambda path: pathlib.Path(path).read_text()).read())
    ['hello']
    """

    def __init__(
        self, path: str | os.PathLike[str], read_file: Callable[[str], Any], regex_pattern: str | None = None
    ) -> None:
        super().__init__(path)
        self.read_file = read_file
        self.regex_pattern = regex_pattern

    def exists(self) -> bool:
        """Whether the folder is there and holds at least one file that could be an item."""
        try:
            is_filled = next(self._states(), None) is not None
            problem = "" if is_filled else "holds no file that could be an item"
        except MissingInputError:
            is_filled, problem = False, "is not there"
        if not is_filled and self.path not in _warned:
            _warned.add(self.path)
            logger.warning("The raw folder %r %s.", self.path, problem)
        return is_filled

    def remove(self) -> NoReturn:
        """Refuse: what is in a raw folder was not made by us."""
        raise ForeignDirectoryError(f"{self.path!r} is a raw folder; luisy_dir never removes or changes what is in it.")

    def scan(self, root: str = "", seed: int = 0) -> list[Item]:
        """Items of the folder as it is now, in key order; keys may still collide."""
        return scan(self.path, self.regex_pattern, root=root, seed=seed)

    def state(self) -> StateSum:
        """Sum over path, size and time of change of the files as they are now."""
        return state_sum(self._states())

    def _states(self) -> Iterator[tuple[str, int, int]]:
        return list_files(self.path, self.regex_pattern)

    def items(self) -> Iterator[tuple[Item, Any]]:
        """Each item and what the reader returned for it, in key order, one at a time.

        Files for which the reader returns None are left out.

        Raises
        ------
        MissingInputError
            There is no such folder.
        KeyCollisionError
            Two files that the reader does not skip have the same key.
        """
        for item in without_collisions(self.scan(), lambda item: self.read_file(item.path) is None):
            data = self.read_file(item.path)
            if data is not None:
                yield item, data


class DirectoryTarget(_AnyDirectory):
    """A directory that a task publishes as a whole, with its manifest.

    Parameters
    ----------
    path
        The directory.
    format
        How its files are read.
    """

    def __init__(self, path: str | os.PathLike[str], format: Format) -> None:
        super().__init__(path)
        self.format = format

    def read_file(self, path: str) -> Any:
        """Data of one file: in the task's format, or in that of its suffix where it has another."""
        format = self.format if path.endswith(self.format.suffix) else format_of_path(path)
        return format.read(path)

    def exists(self) -> bool:
        """Whether a generation was published and its manifest is whole; says nothing of whether it is fresh."""
        return read_manifest(self.path) is not None

    def manifest(self) -> Manifest:
        """Manifest of the published generation.

        Raises
        ------
        MissingInputError
            Nothing was published yet.
        ManifestError
            The manifest is damaged.
        """
        manifest = read_manifest(self.path)
        if manifest is None:
            raise MissingInputError(f"Nothing was published as {self.path!r} yet. Run its task first.")
        return manifest

    def items(self) -> Iterator[tuple[Item, Any]]:
        """Each item and its data, in key order, one at a time: one item for every file that was written.

        Raises
        ------
        MissingInputError
            Nothing was published yet.
        InputChangedError
            A file no longer equals its entry.
        """
        for item in published_items(self.manifest(), self.format.suffix):
            data, _ = read_stable(self.read_file, item.path, item.sources[0])
            yield item, data

    def remove(self) -> None:
        """Remove the directory with all that is in it, if we published it.

        Raises
        ------
        ForeignDirectoryError
            It has no manifest, so it is not ours.
        """
        if not local.exists(self.path):
            return
        if os.path.islink(self.path) or not local.exists(os.path.join(self.path, FOLDER)):
            raise ForeignDirectoryError(f"{self.path!r} has no manifest: it is not ours, and is not removed.")
        foreign = self._foreign_files()
        if foreign:
            raise ForeignDirectoryError(
                f"{self.path!r} is not removed, because {foreign[0]!r} and {len(foreign) - 1} more files in it are not "
                "in its manifest. Move them away first."
            )
        withdraw(self.path)

    def _foreign_files(self) -> list[str]:
        try:
            ours = {output.path for entry in self.manifest().entries() for output in entry.outputs}
        except ManifestError:  # whose advice is to remove the directory
            return []
        return sorted(path for path in self.outputs_on_disk() if path not in ours)

    def outputs_on_disk(self) -> dict[str, tuple[int, int]]:
        """Size in bytes and mtime in nanoseconds of each file in the directory, by relative path."""
        return {path: (size, mtime_ns) for path, size, mtime_ns in list_files(self.path)}

    def outputs_state(self) -> StateSum:
        """Sum over path, size and time of change of the files in the directory."""
        return state_sum(list_files(self.path))
