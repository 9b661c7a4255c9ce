"""A writer: publishes data that is generated, item by item, as a directory."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NoReturn, Self

import msgspec

from luisy_dir.entry import Entry, OutputFile, clean_meta, decode_entry, encode_entry
from luisy_dir.errors import (
    BusyError,
    DefinitionError,
    ForeignDirectoryError,
    GenerationError,
    InputError,
    KeyCollisionError,
    LuisyDirError,
    MissingInputError,
    SettingError,
    StorageError,
)
from luisy_dir.fingerprint import fingerprint_of
from luisy_dir.formats import Format, format_for, write_npy
from luisy_dir.item import Source, check_key, text_of
from luisy_dir.journal import worker_name
from luisy_dir.keys import FoldedNames, side_by_side
from luisy_dir.layouts import LooseLayout, PackLayout
from luisy_dir.manifest import salvaged
from luisy_dir.packs import MOST_PACKS, count_of
from luisy_dir.place import Room
from luisy_dir.publication import Owner, find_publication
from luisy_dir.record import InputState, Record, is_in_doubt
from luisy_dir.roots import seen_from
from luisy_dir.staging import poison
from luisy_dir.storage import local, system
from luisy_dir.transaction import DEFAULT_KEEP, DURABILITIES, Facts, Transaction

logger = logging.getLogger("luigi-interface.luisy_dir")

TASK = "write_dataset"  # what a record names in the place of a task
_OWNER = Owner(TASK, TASK, {}, "Write the dataset elsewhere, or move that directory away first.")
_ON_EMPTY = ("error", "allow")
_LAYOUTS = ("files", "pack")


@dataclass(frozen=True)
class DatasetOptions:
    """How a dataset is written; see :func:`write_dataset`.

    Parameters
    ----------
    format, source_root, layout, packs, on_empty, keep, durability
        As there; ``source_root`` as an absolute path.
    inputs
        What the items are made from, as a record has it.
    """

    format: Format
    source_root: str | None = None
    layout: str = "files"
    packs: int | None = None
    on_empty: str = "error"
    keep: int = DEFAULT_KEEP
    durability: str = "commit"
    inputs: Mapping[str, InputState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_choice("layout", self.layout, _LAYOUTS)
        _check_choice("on_empty", self.on_empty, _ON_EMPTY)
        _check_choice("durability", self.durability, DURABILITIES)
        if not self.format.suffix:
            raise DefinitionError("A dataset needs a Format with a suffix, as in Format(read, write, '.raw').")
        if self.is_packed and self.format.write is not write_npy:
            raise DefinitionError(f"Packs hold plain arrays, and no {self.format.suffix!r}. Leave the suffix out.")
        if self.keep < 1:
            raise SettingError(f"keep is {self.keep}, and what is published is always kept. Give 1 or more.")
        if self.packs is not None and not (self.is_packed and 1 <= self.packs <= MOST_PACKS):
            raise SettingError(
                f"packs is {self.packs} with layout={self.layout!r}. Give 1 to {MOST_PACKS:,}, with layout='pack'."
            )

    @property
    def is_packed(self) -> bool:
        """Whether many items lie in one file."""
        return self.layout == "pack"


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingError(f"{name} is {value!r}. Choose one of {', '.join(map(repr, allowed))}.")


def write_dataset(
    path: str | os.PathLike[str],
    *,
    suffix: str | Format = ".npy",
    layout: str = "files",
    packs: int | None = None,
    source_root: str | os.PathLike[str] | None = None,
    on_empty: str = "error",
    keep: int = DEFAULT_KEEP,
    durability: str = "commit",
) -> DatasetWriter:
    """Write data that is generated as a dataset, which is published as a whole at the end of the block.

    Parameters
    ----------
    path
        The directory. Where there is none, it is made, with those above it; where a dataset was written before, its
        next generation is published. Anything else that lies there is refused.
    suffix
        Of the files, which names their format; or a :class:`~luisy_dir.Format` with a suffix.
    layout
        ``files``: one for each item; ``pack``: many small arrays in one file, of which there are few.
    packs
        How many of these. None: as many as there are already, else as is usual for so many items of their size.
    source_root
        The folder below which the files lie that the items are made from; only needed where some are named.
    on_empty
        ``allow`` publishes a dataset of no items too, which else is an error.
    keep
        How many generations are kept.
    durability
        As the setting: ``none``, ``commit`` or ``item``; packs are brought to the disk at the end whatever it is, but
        for ``none``.

    Returns
    -------
    DatasetWriter
        A context manager.

    Raises
    ------
    DefinitionError
        Nothing is known of the suffix; or it is that of no array, and ``layout`` is ``pack``.
    SettingError
        One of the other arguments has a value that is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> def write_waves(path):
    ...     with write_dataset(path) as writer:
    ...         for pitch in range(100, 1000, 100):
    ...             wave = np.sin(np.linspace(0, pitch, 8000))
    ...             writer.add(f"waves/{pitch}", wave, meta={"pitch": pitch})
    """
    root = None if source_root is None else absolute_path(source_root)
    options = DatasetOptions(format_for(suffix), root, layout, packs, on_empty, keep, durability)
    return DatasetWriter(absolute_path(path), options)


def absolute_path(path: str | os.PathLike[str]) -> str:
    """Absolute path of a directory; SettingError where a text is none.

    Examples
    --------
    >>> absolute_path("/data/waves/")
    '/data/waves'
    """
    text = os.fsdecode(path)
    if not text.strip() or "\0" in text:
        raise SettingError(f"{text!r} is no path of a directory. Name one.")
    return os.path.abspath(text)


class DatasetWriter:
    """Publishes the items that are added to it as one directory, at the end of its block.

    :func:`write_dataset` makes it.

    Data goes to the disk at once, beside the directory. Whatever ends the block but its own end, be it SIGKILL, leaves
    what was published before as it is, and readers see nothing of what was added.

    An item that was published before, and is the same, is left alone, and one that is not added any more leaves the
    dataset; where nothing has changed, no generation is published.

    Parameters
    ----------
    path
        Absolute path of the directory.
    options
        How it is written.

    Attributes
    ----------
    path : str
        Absolute path of the directory.
    record : Record or None
        Of the generation that is published, after the block.
    """

    def __init__(self, path: str, options: DatasetOptions) -> None:
        self.path = path
        self.record: Record | None = None
        self._options = options
        self._is_open = False
        self._process = 0
        self._lines: dict[str, bytes] = {}
        self._adding = threading.Lock()
        self._stack = ExitStack()

    def __repr__(self) -> str:
        return f"DatasetWriter({self.path!r}, {len(self)} items)"

    def __reduce__(self) -> NoReturn:
        raise DefinitionError(
            f"{self!r} belongs to the process that has made it. Return data from other processes, and add it here; or "
            "write a DirectoryTask, whose items are processed in parallel."
        )

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, key: object) -> bool:
        return key in self._lines

    def __enter__(self) -> Self:
        if self._process:
            raise DefinitionError(f"{self!r} was used before. Call write_dataset again.")
        options = self._options
        self._publication = find_publication(self.path, _OWNER, keep=options.keep, sync=options.durability != "none")
        self._check_not_pinned()
        self._facts = self._told()
        try:
            self._transaction = self._stack.enter_context(self._new_transaction())
            is_damaged, folded = self._publication.is_damaged, self._transaction.capabilities.folded
            self._names = FoldedNames(folded)
            self._room = Room(self.path, self._vacated(), is_lenient=is_damaged, folded=folded)
            self._layout = self._new_layout()
            self._stack.callback(self._layout.close)
        except BaseException:
            self._stack.close()
            raise
        self._process, self._is_open = os.getpid(), True
        return self

    def _told(self) -> Facts:
        options = self._options
        root = options.source_root
        roots = {} if root is None else {os.path.basename(root): seen_from(self.path, root)}
        parts: dict[str, Any] = {"write": [options.format.suffix]} | ({"layout": "pack"} if options.is_packed else {})
        return Facts(TASK, {}, None, fingerprint_of(parts), parts, "serial", 1, options.inputs, (), roots=roots)

    def _new_transaction(self) -> Transaction:
        publication = self._publication
        return Transaction(
            self.path,
            self._facts.fingerprint,
            durability=self._options.durability,
            base=publication.manifest,
            is_damaged=publication.is_damaged,
            keep=publication.keep,
        )

    def _new_layout(self) -> LooseLayout | PackLayout:
        options, transaction = self._options, self._transaction
        sync = options.durability == "item"
        outputs = (output for entry in self._trusted() for output in entry.outputs)
        if options.is_packed:
            count = options.packs or count_of(output for entry in self._published() for output in entry.outputs)
            return PackLayout(self.path, transaction.files, transaction.run, outputs, count, sync=sync)
        return LooseLayout(self.path, transaction.files, options.format, outputs, sync=sync)

    def _trusted(self) -> Iterator[Entry]:
        """What is published, unless nobody knows whether it was brought to the disk before a new boot."""
        manifest = self._publication.manifest
        is_trusted = manifest is not None and not is_in_doubt(self.path, manifest.record)
        return self._published() if is_trusted else iter(())

    def _published(self) -> Iterator[Entry]:
        manifest = self._publication.manifest
        return iter(()) if manifest is None else manifest.entries()

    def _vacated(self) -> set[str]:
        """Paths of the published files, all of which may be replaced or removed."""
        return {output.file for entry in self._published() for output in entry.outputs}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() != self._process:  # a fork of the process: the dataset is not its own
            return
        self._is_open = False
        if error is None:
            with self._stack:
                self._publish()
        elif isinstance(error, LuisyDirError):  # it may be that a sync beside has failed, which explains it
            self._stack.__exit__(kind, error, trace)
        else:
            self._stack.close()

    def add(
        self,
        key: str,
        data: Any,
        *,
        meta: Mapping[str, Any] | None = None,
        source: str | os.PathLike[str] | None = None,
    ) -> None:
        """Add an item; may be called from several threads.

        Parameters
        ----------
        key
            Its name: the path of its file below the directory, without suffix, ``/``-separated.
        data
            What the format writes.
        meta
            Small facts about it, as in ``item.meta``: each becomes a column of the report.
        source
            Path of the file that it was made from, which lies below ``source_root``.

        Raises
        ------
        KeyCollisionError
            There is an item of that key, or the file system takes the two keys for one.
        InputError
            The key cannot be that of a file, or leads out of the directory; data, meta or source cannot be kept.
        ForeignDirectoryError
            A file that is not ours lies where the item's is to go.
        StorageError
            The disk is full, or failed.
        DefinitionError
            The block has not begun, or has ended, or this is another process.
        """
        with self._adding:
            self._check_open()
            path = self._path_of(key)
            noted, sources = clean_meta(meta or {}), self._sources(source)
            started, begin = datetime.now(UTC), time.perf_counter()
            output = self._write(key, path, data)
            seconds, worker = round(time.perf_counter() - begin, 6), worker_name(self._process)
            entry = Entry(
                key, sources, "written", (output,), noted, None, 1, seconds, started, worker, None, number=len(self)
            )
            self._lines[key] = encode_entry(entry)

    def take(self, entry: Entry, file: str, start: int) -> None:
        """Add an item to packs whose bytes lie in a file, and stay there until the end of the block.

        Parameters
        ----------
        entry
            Of the item, with one output, as it would be outside of a pack.
        file
            Absolute path of the file.
        start
            Where the output begins there, in bytes.
        """
        with self._adding:
            self._check_open()
            assert isinstance(self._layout, PackLayout)  # noqa: S101 - whoever packs has said so
            self._layout.take(self._path_of(entry.key), file, start)
            self._lines[entry.key] = encode_entry(entry)

    def _check_open(self) -> None:
        if not self._is_open:
            raise DefinitionError(
                f"Nothing can be added to {self!r} outside of its block: with write_dataset(…) as writer: writer.add(…)"
            )
        if os.getpid() != self._process:
            self.__reduce__()

    def _check_not_pinned(self) -> None:
        manifest = self._publication.manifest
        if manifest is not None and manifest.record.pinned:
            raise GenerationError(
                f"Generation {manifest.record.generation} of {self.path!r} is pinned, because somebody has gone back "
                f"to it, and is not replaced. 'luisy-dir release {self.path}' lets it be."
            )

    def _path_of(self, key: str) -> str:
        """Path of an item's file below the directory."""
        if not isinstance(key, str):
            raise InputError(f"{key!r} cannot be the key of an item, because it is no text. Give text, as in 'cats/1'.")
        if key in self._lines:
            raise KeyCollisionError(f"{key!r} was added to {self.path!r} already. Give each item a key of its own.")
        path = check_key(key + self._options.format.suffix)
        self._names.add(path)
        try:
            self._room.check([path])
        except ForeignDirectoryError:
            raise
        except OSError as error:
            raise self._not_written(key, error) from error
        return path

    def _sources(self, source: str | os.PathLike[str] | None) -> tuple[Source, ...]:
        if source is None:
            return ()
        root = self._options.source_root
        if root is None:
            raise InputError(
                f"The source {os.fsdecode(source)!r} cannot be kept, because it is not known below which folder it "
                "lies. Name that: write_dataset(…, source_root=…)."
            )
        path = os.path.abspath(os.fsdecode(source))
        if not path.startswith(os.path.join(root, "")):
            raise InputError(f"The source {path!r} does not lie below source_root, {root!r}. Name a folder above both.")
        try:
            state = system.stat(path)
        except OSError as error:
            raise InputError(
                f"The source {path!r} cannot be looked at: {error.strerror}. Is the path right?"
            ) from error
        text, is_encoded = text_of(os.path.relpath(path, root))
        return (Source(os.path.basename(root), text, state.st_size, state.st_mtime_ns, None, is_encoded),)

    def _write(self, key: str, path: str, data: Any) -> OutputFile:
        try:
            return self._layout.write(path, data)
        except LuisyDirError:
            raise
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise KeyCollisionError(
                f"{key!r} cannot be added to {self.path!r}: another item has its file {path!r}, or one in the place of "
                "a folder of it. Give one of them another key."
            ) from error
        except OSError as error:
            raise self._not_written(key, error) from error
        except Exception as error:
            raise InputError(f"{key!r} cannot be added to {self.path!r}: {type(error).__name__}: {error}") from error

    def _not_written(self, key: str, error: OSError) -> LuisyDirError:
        what = f"{key!r} cannot be added to {self.path!r}: {error.strerror or error}"
        run, files = self._transaction.run, self._transaction.files
        if isinstance(error, local.SyncFailed):
            poison(run)
        elif error.errno == errno.ENOENT and not local.exists(files):
            return BusyError(f"{what}: {run!r} is gone, because another run has taken over. Wait until it has ended.")
        elif error.errno is None or error.errno == errno.ENAMETOOLONG:
            return InputError(f"{what}.")
        space = local.told_space(files, error)
        return StorageError(error.errno, f"{what}{space}. Mend the disk or make room, then write all of it again.")

    def _publish(self) -> None:
        if not self._lines and self._options.on_empty == "error":
            raise MissingInputError(
                f"Nothing was added to {self.path!r}, and nothing was published. If a dataset of no items is meant: "
                "write_dataset(…, on_empty='allow')."
            )
        manifest = self._publication.manifest
        superseded = list(self._superseded())
        if manifest is not None and not superseded and self._transaction.is_empty:
            self.record = manifest.record
            logger.info("%r: nothing has changed in generation %s.", self.path, manifest.record.generation)
            return
        self.record = self._transaction.commit(self._facts, superseded)
        logger.info("%r: published %s items as generation %s.", self.path, len(self), self.record.generation)

    def _superseded(self) -> Iterator[Entry]:
        """Entries that no longer count; those that take their places are collected meanwhile."""
        added = (self._lines[key] for key in sorted(self._lines))
        self._layout.settle(decode_entry(line).outputs[0] for line in self._lines.values())
        if self._publication.is_damaged:
            yield from salvaged(self.path)
        for old, new in side_by_side(self._published(), map(decode_entry, added)):
            is_left_alone = new is not None and not self._collected(old, new)
            if old is not None and not is_left_alone:
                yield old

    def _collected(self, old: Entry | None, new: Entry) -> bool:
        """Collect an entry, unless it is the same as another; whether it was."""
        output, is_staged = self._layout.settled(new.outputs[0])
        entry = msgspec.structs.replace(new, outputs=(output,))
        if is_staged:
            self._transaction.collect(encode_entry(entry))
        elif old is not None and _result(old) == _result(entry):
            return False
        else:
            self._transaction.keep(entry)
        return True


def _result(entry: Entry) -> tuple[Any, ...]:
    sources = [
        source if source.digest is None else msgspec.structs.replace(source, mtime_ns=0) for source in entry.sources
    ]
    return entry.status, sources, entry.outputs, entry.meta, entry.number
