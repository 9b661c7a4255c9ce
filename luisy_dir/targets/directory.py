"""Targets: a raw folder that others fill, and a directory that a task publishes."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from luigi.local_target import LocalFileSystem
from luigi.target import FileSystemTarget

from luisy_dir import generations
from luisy_dir.engines.event_loop import plain
from luisy_dir.errors import (
    DefinitionError,
    ForeignDirectoryError,
    ManifestError,
    MissingInputError,
)
from luisy_dir.formats import Format, format_of_path, registered_formats
from luisy_dir.item import Item, list_files, scan
from luisy_dir.keys import without_collisions
from luisy_dir.manifest import Manifest, published_items, read_manifest
from luisy_dir.pinning import is_at, moved_on, settled_manifest
from luisy_dir.reading import read_stable
from luisy_dir.record import FOLDER, Record, has_pending
from luisy_dir.staging import move_directory, withdraw
from luisy_dir.storage import local
from luisy_dir.transaction import DEFAULT_KEEP
from luisy_dir.unpacking import PackReader
from luisy_dir.verification import Verification, verify

if TYPE_CHECKING:
    from luisy_dir.dataset.directory import DirectoryDataset

logger = logging.getLogger("luigi-interface.luisy_dir")

_warned: set[str] = set()


class _AnyDirectory(FileSystemTarget):
    """What both kinds of directory have in common for Luigi's tools."""

    fs = LocalFileSystem()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    def open(self, mode: str = "r") -> NoReturn:
        """Refuse: a directory has no single stream."""
        advice = "Use read()." if mode.startswith("r") else "A DirectoryTask writes what process returns."
        raise DefinitionError(f"{self.path!r} is a directory and cannot be opened with mode {mode!r}. {advice}")

    def temporary_path(self) -> NoReturn:
        """Refuse: what is written past the manifest would be no result."""
        raise DefinitionError(
            f"{self.path!r} has no temporary path: a DirectoryTask stages its files itself. Return them from process."
        )

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
            is_filled = next(self.files(), None) is not None
            problem = "" if is_filled else "holds no file that could be an item"
        except MissingInputError:
            is_filled, problem = False, "is not there"
        if not is_filled and self.path not in _warned:
            _warned.add(self.path)
            logger.warning("The raw folder %r %s.", self.path, problem)
        return is_filled

    def remove(self, *_: object, **__: object) -> NoReturn:
        """Refuse: what is in a raw folder was not made by us."""
        raise ForeignDirectoryError(f"{self.path!r} is a raw folder; luisy_dir never removes or changes what is in it.")

    clean = move = rename = remove

    def scan(self, root: str = "", seed: int = 0) -> list[Item]:
        """Items of the folder as it is now, in key order; keys may still collide."""
        return scan(self.path, self.regex_pattern, root=root, seed=seed)

    def files(self) -> Iterator[tuple[str, int, int]]:
        """Path, size in bytes and mtime in nanoseconds of each file that could be an item, in any order."""
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
        with plain(self.read_file) as read:
            for item in without_collisions(self.scan(), lambda item: read(item.path) is None):
                data = read(item.path)
                if data is not None:
                    yield item, data

    def skips(self, path: str) -> bool:
        """Whether the reader says that the file at ``path`` is not ours."""
        with plain(self.read_file) as read:
            return read(path) is None


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
        super().__init__(os.path.abspath(path))
        self.format = format

    def read_file(self, path: str) -> Any:
        """Data of one file: in the task's format, or in that of its suffix where it has another."""
        format = self.format if path.endswith(self.format.suffix) else format_of_path(path)
        return format.read(path)

    @property
    def reader(self) -> Callable[[str], Any]:
        """What reads its files in workers, be they in packs."""
        return PackReader(self.path, self.read_file) if self.format.is_packed else self.read_file

    def exists(self) -> bool:
        """Whether a generation was published as a whole; says nothing of whether it is fresh."""
        return read_manifest(self.path) is not None and not has_pending(self.path)

    def manifest(self, *, verify: bool = True) -> Manifest:
        """Manifest of the published generation.

        Parameters
        ----------
        verify
            Compare the files of entries with their digests in the record.

        Raises
        ------
        MissingInputError
            Nothing was published yet.
        ManifestError
            The manifest is damaged.
        """
        manifest = read_manifest(self.path, verify=verify)
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
        return self.items_of(self.manifest())

    def items_of(self, manifest: Manifest) -> Iterator[tuple[Item, Any]]:
        """The same of one generation, as long as it is the one that is published."""
        reader = self.reader  # one for all items, because it remembers what it has read of the manifest
        for item in published_items(manifest, self.format.suffix):
            data, _ = read_stable(reader, item.path, item.sources[0])
            yield item, data

    @contextlib.contextmanager
    def pinned(self, *, timeout_seconds: float = 10.0) -> Iterator[PinnedDirectory]:
        """One generation to read from, and never a mix of two.

        A run that brings the directory up to date renames its files one by one, and who reads by path meanwhile may see
        old and new ones side by side. What is read in this block counts only if the block ends without an error: at
        its end it is seen that the directory still is at the generation with which the block began.

        Parameters
        ----------
        timeout_seconds
            How long to wait for a run that is just bringing its files to their places.

        Raises
        ------
        MissingInputError
            Nothing was published yet.
        BusyError
            A run did not finish in that time; or it ended without a word, and its task must be run again.
        InputChangedError
            At the end of the block: the directory was brought up to date meanwhile. Discard what was read, and read
            again.

        Examples
        --------
        >>> def mean_of_all(target):
        ...     with target.pinned() as directory:
        ...         means = [image.mean() for image in directory.read()]
        ...     return sum(means) / len(means)
        """
        manifest = settled_manifest(self.path, timeout_seconds=timeout_seconds)
        checksum = manifest.record.checksum
        try:
            yield PinnedDirectory(self, manifest)
        except Exception as error:
            if not is_at(self.path, checksum):
                raise moved_on(manifest) from error
            raise
        if not is_at(self.path, checksum):
            raise moved_on(manifest)

    def dataset(self, suffix: str | None = None) -> DirectoryDataset:
        """Open what is published as a lazy sequence; see :class:`luisy_dir.dataset.directory.DirectoryDataset`.

        Parameters
        ----------
        suffix
            Takes only files with that suffix; None takes all of them.

        Raises
        ------
        MissingInputError
            Nothing was published yet.
        DatasetError
            Two files have the same key.
        """
        from luisy_dir.dataset.directory import DirectoryDataset
        from luisy_dir.dataset.published import PublishedItems

        known = registered_formats().get(self.format.suffix)
        read_file = None if known is not None and known.read is self.format.read else self.read_file
        items = PublishedItems(settled_manifest(self.path), suffix, read_file=read_file, own_suffix=self.format.suffix)
        return DirectoryDataset(items)

    def versions(self) -> list[Record]:
        """Records of the generations that are kept, the newest first; see :func:`luisy_dir.generations.versions`."""
        return generations.versions(self.path)

    def diff(self, one: int, other: int) -> generations.Difference:
        """Compare two generations that are kept; see :func:`luisy_dir.generations.diff`."""
        return generations.diff(self.path, one, other)

    def rollback(self, to: int | None = None) -> Record:
        """Publish an earlier generation again, pinned; see :func:`luisy_dir.generations.rollback`."""
        return generations.rollback(self.path, to)

    def release(self) -> Record:
        """Let a pinned generation be brought up to date again; see :func:`luisy_dir.generations.release`."""
        return generations.release(self.path)

    def verify(self, deep: bool = False) -> Verification:  # noqa: FBT001, FBT002 - reads well
        """Compare the directory with its manifest; see :func:`luisy_dir.verification.verify`."""
        return verify(self.path, deep)

    def repair(self, deep: bool = False) -> Verification:  # noqa: FBT001, FBT002 - reads well
        """Mark what is damaged, so that the next run makes it anew; see :func:`luisy_dir.generations.repair`."""
        return generations.repair(self.path, deep)

    def gc(self, *, keep: int = DEFAULT_KEEP, dry_run: bool = False) -> generations.Garbage:
        """Remove generations that are not kept, and litter; see :func:`luisy_dir.generations.gc`."""
        return generations.gc(self.path, keep=keep, dry_run=dry_run)

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

    def clean(self) -> None:
        """Remove the directory, if we published it, and its staging with what a run left there.

        Raises
        ------
        ForeignDirectoryError
            It is not ours.
        BusyError
            A run works on it.
        """
        if local.exists(self.path):
            self.remove()
        else:
            withdraw(self.path)

    def move(self, new_path: str, raise_if_exists: bool = True) -> None:  # noqa: FBT001, FBT002 - as Luigi has it
        """Give the directory another name on the same file system, in one act.

        Nothing in it depends on where it lies. Its task no longer finds it, unless it is moved together with the
        working directory.

        Raises
        ------
        MissingInputError
            Nothing was published.
        ForeignDirectoryError
            Something lies at the new place; whatever ``raise_if_exists`` says, it is not replaced.
        StorageError
            The new place lies on another file system.
        BusyError
            A run works on the directory.
        """
        del raise_if_exists
        self.manifest()
        move_directory(self.path, os.path.abspath(new_path))

    rename = move

    def copy(self, new_path: str, raise_if_exists: bool = False) -> NoReturn:  # noqa: FBT001, FBT002, ARG002
        """Refuse: a copy has other times of change, which its manifest would not know."""
        raise DefinitionError(
            f"{self.path!r} is not copied: copy it with 'cp -a', which keeps the times of change that its manifest "
            "records, or read it with items()."
        )

    def _foreign_files(self) -> list[str]:
        try:
            ours = {output.file for entry in self.manifest().entries() for output in entry.outputs}
        except ManifestError:  # whose advice is to remove the directory
            return []
        return sorted(path for path, _, _ in self.files() if path not in ours)

    def files(self) -> Iterator[tuple[str, int, int]]:
        """Path, size in bytes and mtime in nanoseconds of each file in the directory, in any order."""
        return list_files(self.path)


class PinnedDirectory:
    """One generation of a published directory, for as long as it is the one that is published.

    Parameters
    ----------
    target
        The directory.
    manifest
        Of the generation.
    """

    def __init__(self, target: DirectoryTarget, manifest: Manifest) -> None:
        self.path = target.path
        self.manifest = manifest
        self._target = target

    def __repr__(self) -> str:
        return f"PinnedDirectory({self.path!r}, generation={self.manifest.record.generation})"

    def items(self) -> Iterator[tuple[Item, Any]]:
        """Each item and its data, in key order, one at a time."""
        return self._target.items_of(self.manifest)

    def read(self) -> Iterator[Any]:
        """Data of each item, in key order, one at a time."""
        return (data for _, data in self.items())
