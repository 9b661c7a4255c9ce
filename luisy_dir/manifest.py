"""The manifest: the entries of a directory, with their generation's record."""

from __future__ import annotations

import errno
import itertools
import math
import os
import threading
import weakref
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from typing import IO, Any, Literal

import msgspec
import xxhash

from luisy_dir.errors import InputError, ManifestError
from luisy_dir.item import Item, Source
from luisy_dir.storage import local, system

FOLDER = ".manifest"
CURRENT = "CURRENT"
FORMAT_VERSION = 1
# Names that meta must not use: they are columns of the report.
COLUMNS = (
    "status", "reason", "sources", "outputs", "source_bytes", "output_bytes",
    "attempts", "seconds", "started", "error_type", "error",
)  # fmt: skip

Status = Literal["written", "skipped", "rejected", "failed"]

_RECORD_LIMIT_BYTES = 64 << 20
_LINE_LIMIT_BYTES = 64 << 20
_META_LIMIT_BYTES = 1 << 20
_LARGEST_INTEGER = 2**63
_PLAIN_KINDS: dict[str, Callable[[Any], Any]] = {"b": bool, "i": int, "u": int, "f": float, "U": str}  # of NumPy


class OutputFile(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One file that was written for an item.

    Parameters
    ----------
    path
        ``/``-separated path under the directory.
    size
        Bytes.
    mtime_ns
        Time of the last change, in nanoseconds since 1970.
    digest
        xxh3-128 of the content in hex.
    shape, dtype
        Of the array that was written, where it was one; ``dtype`` in NumPy's notation, as in ``"<f4"``.
    offset
        Where the array's data begins in the file, in bytes, where the format stores it plainly (npy), in C order.
    """

    path: str
    size: int
    mtime_ns: int
    digest: str
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    offset: int | None = None


class Failure(msgspec.Struct, frozen=True):
    """Why an item was not written: the type and the message of the error, and its traceback below our own code."""

    type: str
    message: str
    traceback: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """One manifest line: what became of one item.

    Parameters
    ----------
    key
        The item's key.
    sources
        The files that it was read from, as they were then.
    status
        ``written``, ``skipped`` (the reader said None), ``rejected`` or ``failed``.
    outputs
        The files that were written, in the order in which they were.
    meta
        What the step put into ``item.meta``; plain JSON values.
    error
        Why it was rejected or failed.
    attempts
        How often it was tried.
    seconds
        How long reading, processing and writing took, on the clock.
    started
        When that began, in UTC.
    worker
        Which worker did it: host, process and a number.
    seed
        What ``item.rng`` was made from; None where it was not used.
    """

    key: str
    sources: tuple[Source, ...]
    status: Status
    outputs: tuple[OutputFile, ...]
    meta: dict[str, Any]
    error: Failure | None
    attempts: int
    seconds: float
    started: datetime
    worker: str
    seed: int | None


class InputState(msgspec.Struct, frozen=True):
    """What a run found in one of its input directories.

    Parameters
    ----------
    kind
        ``raw`` for a folder that was scanned, ``directory`` for a published one, ``target`` for any other target.
    state
        For ``raw`` the sum over path, size and mtime of the files; else a digest of the outputs.
    count
        Number of files.
    newest_mtime_ns
        Youngest time of change among them; 0 where there is none.
    """

    kind: Literal["raw", "directory", "target"]
    state: str
    count: int = 0
    newest_mtime_ns: int = 0


class Record(msgspec.Struct, frozen=True):
    """The small file that names a generation, its counts and digests.

    Its fields are explained in ``docs/reference/manifest.md``.
    """

    format_version: int
    generation: int
    parent: int | None
    run_id: str
    task: str
    parameters: dict[str, str]
    layer: str | None
    fingerprint: str
    parts: dict[str, Any]
    engine: str
    workers: int
    durability: str
    start: datetime
    end: datetime
    counts: dict[str, int]
    entries: dict[str, Any]
    inputs: dict[str, InputState]
    outputs_digest: str
    outputs_state: str
    boot_id: str
    pinned: bool
    checksum: str

    @property
    def name(self) -> str:
        """File name of the generation, without suffix."""
        return generation_name(self.generation)


class _Version(msgspec.Struct):
    format_version: int


class _Current(msgspec.Struct):
    generation: int
    checksum: str


_encode = msgspec.json.Encoder().encode
_decode_entry = msgspec.json.Decoder(Entry).decode
_decode_record = msgspec.json.Decoder(Record).decode
_decode_version = msgspec.json.Decoder(_Version).decode
_decode_current = msgspec.json.Decoder(_Current).decode


def generation_name(generation: int) -> str:
    """File name of a generation, without suffix: eight digits, so that names sort as numbers do."""
    return f"{generation:08d}"


def encode_entry(entry: Entry) -> bytes:
    """The entry as one line of JSON, without its line end."""
    return _encode(entry)


def decode_entry(line: bytes) -> Entry:
    """The entry of one line; :class:`msgspec.DecodeError` where it is none."""
    return _decode_entry(line)


def clean_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """``meta`` as plain JSON values: NumPy scalars become Python's, NaN and infinities become None.

    Raises
    ------
    InputError
        A value is of another kind, an integer has more than 64 bits, or a name is a column of the report.

    Examples
    --------
    >>> import numpy as np
    >>> clean_meta({"mean": np.float32(0.5), "ratio": float("nan")})
    {'mean': 0.5, 'ratio': None}
    """
    for name in meta:
        if name in COLUMNS or name == "key":
            raise InputError(f"item.meta[{name!r}] cannot be kept: the report has that column already. Rename it.")
    try:
        cleaned = {_text(name, name): _plain(value, name) for name, value in meta.items()}
    except RecursionError as error:
        raise InputError("item.meta cannot be kept: a value contains itself, or is nested too deeply.") from error
    if len(_encode(cleaned)) > _META_LIMIT_BYTES:
        raise InputError("item.meta cannot be kept: it is larger than 1 MiB. Write large data as an Output.")
    return cleaned


def _plain(value: Any, name: str) -> Any:  # noqa: PLR0911 - one line a kind
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, name)
    if isinstance(value, int) and -_LARGEST_INTEGER <= value < _LARGEST_INTEGER:
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [_plain(part, name) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {_text(key, name): _plain(part, name) for key, part in value.items()}
    kind = value.dtype.kind if getattr(value, "shape", None) == () and hasattr(value, "dtype") else ""
    if kind in _PLAIN_KINDS:
        return _plain(_PLAIN_KINDS[kind](value), name)
    raise InputError(
        f"item.meta[{name!r}] is a {type(value).__name__} and cannot be kept. "
        "Use numbers of up to 64 bits, text, booleans, None, or lists and dictionaries of them (array.tolist())."
    )


def _text(value: object, name: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"item.meta has the name {value!r}, which is no text. Use text for names.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"item.meta[{name!r}] cannot be kept: {value!r} is no valid text. Encode it, for example with repr()."
        ) from error
    return str.__str__(value)  # not what a subclass makes of it, such as an Enum


class Journal:
    """The entries of one worker, appended to a file as they come.

    Each line is a CRC-32 of the JSON in eight hexadecimal digits, a space, and the JSON. A line that was cut short by
    a crash does not equal its checksum, and counts as not written.

    Parameters
    ----------
    path
        A file that no other worker writes to.
    sync
        Bring every line to the disk before going on.
    """

    def __init__(self, path: str, *, sync: bool = False) -> None:
        self._descriptor = system.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._sync = sync
        self._lock = threading.Lock()
        # A worker of somebody's long-lived pool lets go of us without a word, so the descriptor must not wait for one.
        self._close = weakref.finalize(self, system.close, self._descriptor)
        if system.fstat(self._descriptor).st_size:
            local.write_all(self._descriptor, b"\n")  # a former owner's line may have been cut short

    def append(self, line: bytes) -> None:
        """Append the JSON of one entry."""
        with self._lock:  # threads of the async engine share a journal
            local.write_all(self._descriptor, b"%08x %b\n" % (zlib.crc32(line), line))
        if self._sync:
            system.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._close()


def read_journals(run: str) -> Iterator[Entry]:
    """Entries in the journals of a staging's run directory, in the order in which each worker wrote them."""
    for name in local.names_in(run):
        if name.startswith("journal-"):
            yield from _read_journal(os.path.join(run, name))


def _read_journal(path: str) -> Iterator[Entry]:
    with system.read_file(path) as file:
        for line in file:
            checksum, _, text = line.rstrip(b"\n").partition(b" ")
            if text and checksum == b"%08x" % zlib.crc32(text):
                yield _entry_of(text, path)


def _entry_of(text: bytes, path: str) -> Entry:
    try:
        return decode_entry(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ManifestError(
            f"The journal {path!r} holds a line that is no entry: {error}. Another version of luisy_dir may have "
            "written it: run its task again, which begins anew."
        ) from error


def encode_record(record: Record) -> bytes:
    """The record as JSON on one line, with its checksum filled in."""
    return _encode(msgspec.structs.replace(record, checksum=_checksum(record))) + b"\n"


def encode_current(record: bytes) -> bytes:
    """What CURRENT says where the generation of an encoded record is fully applied."""
    decoded = _decode_record(record)
    return _encode(_Current(decoded.generation, decoded.checksum)) + b"\n"


def _checksum(record: Record) -> str:
    return xxhash.xxh3_128_hexdigest(_encode(msgspec.structs.replace(record, checksum="")))


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
        """Absolute path of the file of entries: one JSON object a line."""
        return os.path.join(self.directory, FOLDER, self.record.name + ".jsonl")

    def entries(self) -> Generator[Entry, None, None]:
        """Entries in key order, one at a time.

        Raises
        ------
        ManifestError
            A line is no entry, or keys are not unique and in order.
        """
        previous = ""
        with self._lines() as file:
            for number, line in enumerate(file, 1):
                entry = self._entry(line, number)
                if entry.key <= previous:
                    raise self._damaged(f"line {number} repeats a key or is out of order: {entry.key!r}")
                previous = entry.key
                yield entry

    def _lines(self) -> IO[bytes]:
        try:
            return system.read_file(self.path)
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _entry(self, line: bytes, number: int) -> Entry:
        if len(line) > _LINE_LIMIT_BYTES:
            raise self._damaged(f"line {number} is longer than {_LINE_LIMIT_BYTES} bytes")
        try:
            return decode_entry(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._damaged(f"line {number} is no entry: {error}") from error

    def _damaged(self, what: str) -> ManifestError:
        return ManifestError(f"The manifest {self.path!r} is damaged: {what}. {_ADVICE}")

    def verify(self) -> None:
        """Raise ManifestError where the file of entries does not equal the size and digest in the record."""
        try:
            digest, state = local.digest_of(self.path)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if (state.st_size, digest) != (self.record.entries["size"], self.record.entries["digest"]):
            raise self._damaged("it does not equal the digest in its record")

    def same_as(self, other: Manifest) -> bool:
        """Whether two runs gave the same answer.

        Compared is everything but ``started``, ``seconds``, ``worker`` and ``attempts`` of the entries, run id,
        engine, workers, boot id, start and end of the record, and times of change (with the digests that contain
        them), which differ between any two runs.
        """
        if _comparable_record(self.record) != _comparable_record(other.record):
            return False
        with closing(self.entries()) as mine, closing(other.entries()) as theirs:
            pairs = itertools.zip_longest(map(_comparable_entry, mine), map(_comparable_entry, theirs))
            return all(one == two for one, two in pairs)


_ADVICE = "Remove the directory and run the task again."


_GONE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}


def _unreadable(path: str, error: OSError) -> ManifestError:
    """A part that is gone asks for a new run; a disk or a right that is missing for now does not."""
    if error.errno in _GONE:
        return ManifestError(f"The manifest {path!r} is incomplete: {error}. {_ADVICE}")
    return ManifestError(f"The manifest {path!r} cannot be read: {error}. Mend the disk or the rights, then run again.")


def _comparable_record(record: Record) -> dict[str, Any]:
    fields = msgspec.structs.asdict(record)
    for name in ("run_id", "engine", "workers", "boot_id", "start", "end", "checksum", "outputs_state", "entries"):
        del fields[name]
    fields["inputs"] = {
        root: (state.kind, state.count, state.state if state.kind != "raw" else "")
        for root, state in record.inputs.items()
    }
    return fields


def _comparable_entry(entry: Entry) -> Entry:
    return msgspec.structs.replace(
        entry,
        sources=tuple(msgspec.structs.replace(source, mtime_ns=0) for source in entry.sources),
        outputs=tuple(msgspec.structs.replace(output, mtime_ns=0) for output in entry.outputs),
        attempts=0,
        seconds=0.0,
        started=datetime.min,  # noqa: DTZ901 - a constant, compared with itself only
        worker="",
    )


def read_manifest(directory: str, *, verify: bool = True) -> Manifest | None:
    """Manifest of the generation that is fully applied in a directory; None where nothing was published.

    Parameters
    ----------
    directory
        Where a DirectoryTask publishes.
    verify
        Compare the file of entries with its digest in the record (20 ms for 100,000 entries).

    Raises
    ------
    ManifestError
        There is a manifest, but a part of it is missing, damaged, or of a later format.
    """
    folder = os.path.join(directory, FOLDER)
    try:
        current = _decode_current(local.read_whole(os.path.join(folder, CURRENT), _RECORD_LIMIT_BYTES))
        name = generation_name(current.generation) + ".json"
        text = local.read_whole(os.path.join(folder, name), _RECORD_LIMIT_BYTES)
        version = _decode_version(text).format_version
        record = _decode_record(text) if version <= FORMAT_VERSION else None
    except OSError as error:
        if not local.exists(folder):
            return None
        raise _unreadable(folder, error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ManifestError(f"The manifest in {folder!r} is damaged: {error}. {_ADVICE}") from error
    if record is None:
        raise ManifestError(
            f"The manifest in {folder!r} has format {version}; this version of luisy_dir knows formats "
            f"up to {FORMAT_VERSION}. Install a later version."
        )
    if not record.checksum == current.checksum == _checksum(record):
        raise ManifestError(f"The record in {folder!r} does not equal its checksum. {_ADVICE}")
    manifest = Manifest(directory, record)
    if verify:
        manifest.verify()
    return manifest


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
        Item(_key_of_output(output.path, suffix), (_as_source(output, root),), folders, seed)
        for entry in manifest.entries()
        for output in entry.outputs
    ]
    items.sort(key=lambda item: item.key)
    return iter(items)


def _key_of_output(path: str, suffix: str) -> str:
    return path.removesuffix(suffix) if path.endswith(suffix) else os.path.splitext(path)[0]


def _as_source(output: OutputFile, root: str) -> Source:
    return Source(root, output.path, output.size, output.mtime_ns, output.digest)
