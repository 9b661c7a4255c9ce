"""The manifest: the entries of a directory, with their generation's record."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import mmap
import os
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from operator import attrgetter
from typing import IO, Any, Literal

import msgspec

from luisy_dir.entry import (
    LINE_LIMIT_BYTES,
    UNDECODABLE,
    Entry,
    OutputFile,
    Pack,
    Status,
    decode_entry,
    file_state,
    leads_outside,
)
from luisy_dir.errors import BusyError, DamagedManifestError
from luisy_dir.item import Item, Source
from luisy_dir.record import ADVICE, FOLDER, EntriesFile, Record, generations_in, read_current, read_record, unreadable
from luisy_dir.storage import local, system

_BLOCK_BYTES = 4 << 20
_TRIES = 10
_LOOKS = 30  # of a binary search, beside going through all lines
_FEW_PATHS = 3  # beyond which decoding all sources is faster than a search for each

Part = Literal["sources", "outputs"]


class FileState(msgspec.Struct, frozen=True, gc=False):
    """What tells at first sight that a file is as it was."""

    path: str
    size: int
    mtime_ns: int
    pack: Pack | None = None

    @property
    def state(self) -> tuple[str, int, int]:
        """Path, size in bytes and time of change of the file on the disk."""
        return file_state(self.path, self.size, self.mtime_ns, self.pack)


class FileContent(msgspec.Struct, frozen=True, gc=False):
    """What tells that a published file holds what it held."""

    path: str
    digest: str | None = None


class _SourceStates(msgspec.Struct, frozen=True, gc=False):
    key: str
    status: Status
    sources: tuple[FileState, ...]


class _SourceContents(msgspec.Struct, frozen=True, gc=False):
    key: str
    status: Status
    sources: tuple[FileContent, ...]


class _OutputStates(msgspec.Struct, frozen=True, gc=False):
    key: str
    status: Status
    outputs: tuple[FileState, ...]


class _OutputContents(msgspec.Struct, frozen=True, gc=False):
    key: str
    status: Status
    outputs: tuple[FileContent, ...]


class EntryOutputs(msgspec.Struct, frozen=True, gc=False):
    """Of an entry, what a reader of its outputs needs."""

    key: str
    status: Status
    outputs: tuple[OutputFile, ...]
    meta: dict[str, Any]
    number: int | None = None


_DECODE_OUTPUTS = msgspec.json.Decoder(EntryOutputs).decode_lines
_DECODE_LINES: dict[Any, Callable[[Any], list[Any]]] = {
    ("sources", FileState): msgspec.json.Decoder(_SourceStates).decode_lines,
    ("sources", FileContent): msgspec.json.Decoder(_SourceContents).decode_lines,
    ("outputs", FileState): msgspec.json.Decoder(_OutputStates).decode_lines,
    ("outputs", FileContent): msgspec.json.Decoder(_OutputContents).decode_lines,
}


class _Key(msgspec.Struct, gc=False):
    key: str


_key = attrgetter("key")
_encode = msgspec.json.Encoder().encode
_decode_key = msgspec.json.Decoder(_Key).decode


class Manifest:
    """The entries of a published directory, with their generation's record.

    Parameters
    ----------
    directory
        The published directory.
    record
        The record of the generation.

    Examples
    --------
    >>> read_manifest("/nowhere") is None
    True
    """

    def __init__(self, directory: str, record: Record) -> None:
        self.directory = directory
        self.record = record

    def __repr__(self) -> str:
        return f"Manifest({self.directory!r}, generation={self.record.generation}, counts={self.record.counts})"

    @property
    def path(self) -> str:
        """Absolute path of the generation's own file of entries: one JSON object a line."""
        return self._path_of(self.record.entries)

    @property
    def paths(self) -> list[str]:
        """Absolute paths of the files that make up the entries, oldest first."""
        return [self._path_of(file) for file in self.record.files]

    def _path_of(self, file: EntriesFile) -> str:
        return os.path.join(self.directory, FOLDER, file.file)

    def entries(self) -> Generator[Entry, None, None]:
        """Entries in key order, one at a time.

        Raises
        ------
        DamagedManifestError
            A line is no entry, or keys are not unique and in order.
        ManifestError
            A file cannot be read.
        """
        return self._merged(decode_entry, lambda entry, _: entry)

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """Key and JSON of each entry, in key order; see :meth:`entries`."""
        return self._merged(_decode_key, lambda entry, line: (entry.key, line.rstrip(b"\n")))

    def _merged(self, decode: Callable[[bytes], Any], make: Callable[[Any, bytes], Any]) -> Generator[Any, None, None]:
        """What is made of each entry and its line, in key order; of one key the line in the last file counts."""
        with self._unless_superseded():
            yield from self._merged_lines(decode, make)

    def _merged_lines(
        self, decode: Callable[[bytes], Any], make: Callable[[Any, bytes], Any]
    ) -> Generator[Any, None, None]:
        first, *later = self.paths
        latest = {entry.key: (entry, line) for path in later for entry, line in _lines_of(path, decode_entry)}
        news = ((latest[key][0], latest[key][1]) for key in sorted(latest) if not latest[key][0].is_deleted)
        ahead = next(news, None)
        with closing(_lines_of(first, decode)) as lines:
            for entry, line in lines:
                while ahead is not None and ahead[0].key < entry.key:
                    yield make(*ahead)
                    ahead = next(news, None)
                if entry.key not in latest:
                    yield make(entry, line)
        while ahead is not None:
            yield make(*ahead)
            ahead = next(news, None)

    def outputs(self) -> list[EntryOutputs]:
        """Key, outputs and meta of each entry, in any order: several times as fast as :meth:`entries`.

        Raises
        ------
        DamagedManifestError
            A line is no entry.
        """
        return self._all(_DECODE_OUTPUTS)

    def files(self, part: Part, kind: type[FileState | FileContent]) -> list[Any]:
        """Key, status and files of each entry, in any order: several times as fast as :meth:`entries`.

        Parameters
        ----------
        part
            Its sources or its outputs: the attribute under which the files are found.
        kind
            What to know of each file.

        Raises
        ------
        DamagedManifestError
            A line is no entry.
        """
        return self._all(_DECODE_LINES[part, kind])

    def _all(self, decode: Callable[[Any], list[Any]]) -> list[Any]:
        with self._unless_superseded():
            first, *later = [_decoded(path, decode) for path in self.paths]
        _overlay(first, {entry.key: entry for entries in later for entry in entries})
        return first

    def entries_of(self, keys: Collection[str]) -> list[Entry]:
        """Entries of some keys, in key order; of a key that has none there is none.

        Few are looked up, each in some dozen looks at a file; for many of them all lines are gone through.

        Raises
        ------
        DamagedManifestError
            A line is no entry.
        """
        found: dict[str, Entry] = {}
        if not keys:
            return []
        with self._unless_superseded():
            for file, path in zip(self.record.files, self.paths, strict=True):
                found |= _some(keys, file, path)
        return [found[key] for key in sorted(found) if not found[key].is_deleted]

    def entries_from(self, root: str, paths: Collection[str]) -> list[Entry]:
        """Entries of the items that were read from some files of one directory, in key order.

        Few files are looked for in the bytes of all lines (25 ms each for 100,000 entries); for more of them the
        sources of all entries are decoded (85 ms).

        Parameters
        ----------
        root
            Name of the directory in the sources.
        paths
            Paths of the files, as the sources have them.

        Raises
        ------
        DamagedManifestError
            A line is no entry.
        """
        paths = frozenset(paths)
        if len(paths) > _FEW_PATHS:
            read = self.files("sources", FileContent)
            keys = {entry.key for entry in read for source in entry.sources if source.path in paths}
        else:
            with self._unless_superseded():
                keys = {key for path in self.paths for key in _keys_from(path, root, paths)}
        return [
            entry
            for entry in self.entries_of(keys)
            if any(source.root == root and source.path in paths for source in entry.sources)
        ]

    def verify(self) -> None:
        """Raise DamagedManifestError where a file of entries does not equal its size and digest in the record."""
        with self._unless_superseded():
            for file, path in zip(self.record.files, self.paths, strict=True):
                try:
                    is_whole = system.stat(path).st_size == file.size and local.digest_of(path)[0] == file.digest
                except OSError as error:
                    raise unreadable(path, error) from error
                if not is_whole:
                    raise _damaged(path, "it does not equal the digest in its record")

    @contextlib.contextmanager
    def _unless_superseded(self) -> Iterator[None]:
        """What is missing because a run has published since, and keeps no more generations, is not damaged."""
        try:
            yield
        except DamagedManifestError as error:
            numbers = generations_in(self.directory)
            if self.record.generation in numbers or not numbers:
                raise
            raise BusyError(
                f"{self.directory!r} was brought up to date meanwhile, and generation {self.record.generation} of it "
                "is not kept any more. Look again."
            ) from error

    def same_as(self, other: Manifest) -> bool:
        """Whether two runs gave the same answer.

        Compared is everything but ``started``, ``seconds``, ``worker``, ``attempts`` and ``peak_memory`` of the
        entries, run id, engine, workers, boot id, start and end of the record, and times of change (with the digests
        that contain them), which differ between any two runs. How many generations led there does not count.
        """
        if _comparable_record(self.record) != _comparable_record(other.record):
            return False
        with closing(self.entries()) as mine, closing(other.entries()) as theirs:
            pairs = itertools.zip_longest(map(_comparable_entry, mine), map(_comparable_entry, theirs))
            return all(one == two for one, two in pairs)


def _lines_of(path: str, decode: Callable[[bytes], Any]) -> Generator[tuple[Any, bytes], None, None]:
    """Each line of a file of entries, decoded and as it is."""
    previous = ""
    with _opened(path) as file:
        for number, line in enumerate(local.lines_of(file, LINE_LIMIT_BYTES), 1):
            if len(line) > LINE_LIMIT_BYTES:
                raise _damaged(path, f"line {number} is longer than {LINE_LIMIT_BYTES} bytes")
            try:
                entry = decode(line)
            except UNDECODABLE as error:
                raise _damaged(path, f"line {number} is no entry: {error}") from error
            if entry.key <= previous:
                raise _damaged(path, f"line {number} repeats a key or is out of order: {entry.key!r}")
            previous = entry.key
            yield entry, line


@contextlib.contextmanager
def _mapped(path: str) -> Iterator[bytes | mmap.mmap]:
    try:
        content = system.map_file(path)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        yield content
    finally:
        if isinstance(content, mmap.mmap):
            content.close()


def _find_line(content: bytes | mmap.mmap, key: str, path: str) -> bytes | None:
    """The line of a key in a file of entries that are in key order, or None."""
    low, high = 0, len(content)
    while low < high:
        begin = content.rfind(b"\n", low, (low + high) // 2) + 1 or low
        end = content.find(b"\n", begin)
        line = content[begin : end if end >= 0 else high]
        there = _decoded_key(line, path)
        if there == key:
            return line
        if there < key:
            low = begin + len(line) + 1
        else:
            high = begin
    return None


def _keys_from(path: str, root: str, paths: Collection[str]) -> Iterator[str]:
    """Keys of the lines in a file of entries that speak of some files of one directory."""
    with _mapped(path) as content:
        for wanted in paths:
            begins = b'{"root":%b,"path":%b' % (_encode(root), _encode(wanted))  # a source, as msgspec writes it
            place = content.find(begins)
            while place >= 0:
                end = content.find(b"\n", place)
                end = end if end >= 0 else len(content)
                yield _decoded_key(content[content.rfind(b"\n", 0, place) + 1 : end], path)
                place = content.find(begins, end)


def _decoded_key(line: bytes, path: str) -> str:
    try:
        return _decode_key(line).key
    except UNDECODABLE as error:
        raise _damaged(path, f"a line is no entry: {error}") from error


def _some(keys: Collection[str], file: EntriesFile, path: str) -> dict[str, Entry]:
    """Entries of some keys in one file."""
    if len(keys) * _LOOKS > file.lines:
        return {entry.key: entry for entry, _ in _lines_of(path, decode_entry) if entry.key in keys}
    with _mapped(path) as content:
        lines = ((key, _find_line(content, key, path)) for key in keys)
        return {key: decode_entry(line) for key, line in lines if line is not None}


def _opened(path: str) -> IO[bytes]:
    try:
        return system.read_file(path)
    except OSError as error:
        raise unreadable(path, error) from error


def _decoded(path: str, decode: Callable[[Any], list[Any]]) -> list[Any]:
    """Entries of a file, decoded some thousands at a time."""
    entries: list[Any] = []
    with _mapped(path) as content, memoryview(content) as view:
        begin = 0
        while begin < len(content):
            end = content.find(b"\n", min(begin + _BLOCK_BYTES, len(content) - 1)) + 1 or len(content)
            try:
                with view[begin:end] as block:
                    entries += decode(block)
            except UNDECODABLE as error:
                raise _damaged(path, f"a line is no entry: {error}") from error
            begin = end
    return entries


def _overlay(entries: list[Any], latest: Mapping[str, Any]) -> None:
    """Put later entries in the places of those of the same keys, which are in key order, and the rest at the end."""
    new, doomed = [], []
    end = len(entries)
    for key, entry in latest.items():
        place = bisect.bisect_left(entries, key, 0, end, key=_key)
        if place == end or entries[place].key != key:
            new.append(entry)
        elif entry.status == "deleted":
            doomed.append(place)
        else:
            entries[place] = entry
    for place in sorted(doomed, reverse=True):
        del entries[place]
    entries += [entry for entry in new if entry.status != "deleted"]


def _damaged(path: str, what: str) -> DamagedManifestError:
    return DamagedManifestError(f"The manifest {path!r} is damaged: {what}. {ADVICE}")


_OF_THE_RUN = ("seconds", "run_id", "engine", "workers", "boot_id", "start", "end")
_OF_THE_TIMES = ("checksum", "outputs_state", "base", "entries")
_OF_THE_WAY = ("generation", "parent")


def _comparable_record(record: Record) -> dict[str, Any]:
    fields = msgspec.structs.asdict(record)
    for name in (*_OF_THE_RUN, *_OF_THE_TIMES, *_OF_THE_WAY):
        del fields[name]
    fields["inputs"] = {
        root: (state.kind, state.count, state.state if state.kind != "raw" else "")
        for root, state in record.inputs.items()
    }
    return fields


def _comparable_entry(entry: Entry) -> Entry:
    return msgspec.structs.replace(
        entry,
        sources=tuple(_comparable_source(source, entry) for source in entry.sources),
        outputs=tuple(msgspec.structs.replace(output, mtime_ns=0) for output in entry.outputs),
        attempts=0,
        seconds=0.0,
        started=datetime.min,  # noqa: DTZ901 - a constant, compared with itself only
        worker="",
        peak_memory=None,
    )


def _comparable_source(source: Source, entry: Entry) -> Source:
    """Of a file that was skipped, the digest is known only where the file was young."""
    return msgspec.structs.replace(source, mtime_ns=0, digest=None if entry.status == "skipped" else source.digest)


def read_manifest(directory: str, *, verify: bool = True, newest: bool = False) -> Manifest | None:
    """Manifest of the generation that is fully applied in a directory; None where nothing was published.

    Parameters
    ----------
    directory
        Where a DirectoryTask publishes.
    verify
        Compare the files of entries with their digests in the record (20 ms for 100,000 entries).
    newest
        That of the generation that was committed last, be it that its files are not all in their places yet.

    Raises
    ------
    DamagedManifestError
        There is a manifest, but a part of it is missing or damaged.
    ManifestError
        It cannot be read, or is of a later format.
    BusyError
        Runs publish so often that no generation lasts.
    """
    for is_last in (*[False] * _TRIES, True):
        record = read_current(directory)
        if record is None:
            return None
        try:
            return _manifest_of(directory, record, verify=verify, newest=newest)
        except BusyError:  # a run has published since, and has forgotten this generation
            if is_last:
                raise
    return None


def _manifest_of(directory: str, record: Record, *, verify: bool, newest: bool) -> Manifest:
    last = max(generations_in(directory), default=0)
    if newest and last > record.generation:
        record = read_record(directory, last)
    manifest = Manifest(directory, record)
    if verify:
        manifest.verify()
    return manifest


def salvaged(directory: str) -> list[Entry]:
    """Entries of a directory whose manifest is damaged, as far as they can be read, with the outputs that are ours.

    An output counts as ours where a file of that path, size and time of change lies in the directory.
    """
    folder = os.path.join(directory, FOLDER)
    found: dict[str, Entry] = {}
    for name in local.names_in(folder):
        if name.endswith(".jsonl"):
            with _opened(os.path.join(folder, name)) as file:
                for line in local.lines_of(file, LINE_LIMIT_BYTES):
                    with contextlib.suppress(*UNDECODABLE):
                        entry = decode_entry(line)
                        found[entry.key] = msgspec.structs.replace(
                            entry, outputs=tuple(output for output in entry.outputs if lies_in(directory, output))
                        )
    return list(found.values())


def lies_in(directory: str, output: OutputFile) -> bool:
    """Whether the file of an output lies in a directory, by size and time of change as it was written."""
    path, size, mtime_ns = output.state
    if leads_outside(path):
        return False
    try:
        state = system.lstat(os.path.join(directory, path))
    except OSError:
        return False
    return (state.st_size, state.st_mtime_ns) == (size, mtime_ns)


def published_below(folder: str) -> Iterator[str]:
    """Absolute path of every published directory below a folder, sorted in each parent; never looks into one.

    Hidden folders are passed over.
    """
    absolute = os.path.abspath(folder)
    if local.exists(os.path.join(absolute, FOLDER)):
        yield absolute
        return
    for name in local.folders_in(absolute):
        if name[0] != ".":
            yield from published_below(os.path.join(absolute, name))


def published_items(manifest: Manifest, suffix: str, *, root: str = "", seed: int = 0) -> Iterator[Item]:
    """Items for the consumers of a published directory, in key order: one for every file that was written.

    Parameters
    ----------
    manifest
        Of the directory.
    suffix
        Of its task; it is dropped to get the key. Of a file with another suffix, the last one is.
    root
        Name of the directory in the items' sources.
    seed
        The consumer's seed, for ``rng``.
    """
    folders = {root: manifest.directory}
    items = [
        Item(key_of_output(output.path, suffix), (as_source(output, root),), folders, seed)
        for entry in manifest.entries()
        for output in entry.outputs
    ]
    items.sort(key=lambda item: item.key)
    return iter(items)


def key_of_output(path: str, suffix: str) -> str:
    """Key of a published file for the consumers of its directory."""
    return path.removesuffix(suffix) if path.endswith(suffix) else os.path.splitext(path)[0]


def as_source(output: OutputFile, root: str) -> Source:
    """A published file as a source for its directory's consumers."""
    return Source(root, output.path, output.size, output.mtime_ns, output.digest)
