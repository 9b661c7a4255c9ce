"""A record: the small file that names a generation, its counts and digests."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

import msgspec
import xxhash

from luisy_dir.errors import DamagedManifestError, ManifestError
from luisy_dir.storage import local, system

FOLDER = ".manifest"
CURRENT = "CURRENT"
FORMAT_VERSION = 1
VERIFIED = "VERIFIED"
UNDO = "undo-"  # begins the name of the folder that holds what a generation has replaced and removed

_NUMBER = re.compile("[0-9]{8}|[1-9][0-9]{8,15}")
_LIMIT_BYTES = 64 << 20
_GONE = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG,
    errno.ESPIPE, errno.ENXIO, errno.ENODEV,
}  # or something that is no file lies in its place  # fmt: skip
ADVICE = "Run its task again, which makes it anew."


class InputState(msgspec.Struct, frozen=True):
    """What a run found in one of its input directories.

    Parameters
    ----------
    kind
        ``raw`` for a folder that was scanned, ``directory`` for a published one, ``target`` for any other target.
    state
        For ``raw`` the sum over path, size and mtime of the files; else a digest of the outputs.
    count
        Number of files of a raw folder; 0 for all else.
    newest_mtime_ns
        Youngest time of change among them; 0 where there is none.
    """

    kind: Literal["raw", "directory", "target"]
    state: str
    count: int = 0
    newest_mtime_ns: int = 0


class EntriesFile(msgspec.Struct, frozen=True):
    """A file of entries, beside the record that names it.

    Parameters
    ----------
    file
        Its name.
    size
        Bytes.
    digest
        xxh3-128 of its content in hex.
    lines
        Number of lines.
    """

    file: str
    size: int
    digest: str
    lines: int


class CodeUnit(msgspec.Struct, frozen=True, omit_defaults=True):
    """One definition or constant that a result was made with.

    Parameters
    ----------
    digest
        Of its syntax tree without comments, docstrings and annotations, or of its value.
    text
        Its source, or a number's value; empty where it is long, or may not be told.
    """

    digest: str
    text: str = ""


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
    seconds: float
    base: tuple[EntriesFile, ...]
    entries: EntriesFile
    inputs: dict[str, InputState]
    outputs_digest: str
    outputs_state: str
    boot_id: str
    pinned: bool
    checksum: str
    resumed: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    code: dict[str, CodeUnit] | msgspec.UnsetType = msgspec.UNSET
    roots: dict[str, str] | msgspec.UnsetType = msgspec.UNSET

    @property
    def name(self) -> str:
        """File name of the generation, without suffix."""
        return generation_name(self.generation)

    @property
    def files(self) -> tuple[EntriesFile, ...]:
        """Files that make up the entries, oldest first: of one key, the line in the last of them counts."""
        return (*self.base, self.entries)

    def with_checksum(self) -> Record:
        """The record with the checksum of all the rest."""
        return msgspec.structs.replace(self, checksum=_checksum(self))

    @property
    def start_ns(self) -> int:
        """When the run began, in nanoseconds since 1970."""
        return int(self.start.timestamp() * 1e9)


class _Verified(msgspec.Struct):
    """Says of a generation that its outputs were read in a boot, and were as they had been written."""

    checksum: str
    boot_id: str


class _Version(msgspec.Struct):
    format_version: int


class _Current(msgspec.Struct):
    generation: int
    checksum: str


_encode = msgspec.json.Encoder().encode
_decode_record = msgspec.json.Decoder(Record).decode
_decode_version = msgspec.json.Decoder(_Version).decode
_decode_verified = msgspec.json.Decoder(_Verified).decode
_decode_current = msgspec.json.Decoder(_Current).decode


def generation_name(generation: int) -> str:
    """File name of a generation, without suffix: eight digits, so that names sort as numbers do."""
    return f"{generation:08d}"


def encode_record(record: Record) -> bytes:
    """The record as JSON on one line, with its checksum filled in."""
    return _encode(record.with_checksum()) + b"\n"


def encode_current(record: bytes) -> bytes:
    """What CURRENT says where the generation of an encoded record is fully applied."""
    decoded = _decode_record(record)
    return _encode(_Current(decoded.generation, decoded.checksum)) + b"\n"


def is_in_doubt(directory: str, record: Record) -> bool:
    """Whether a power cut may have spoilt outputs: nothing had been brought to the disk before the machine was booted.

    A generation is in doubt until somebody has read all of them, and has noted that they are as they were written.
    """
    if record.durability != "none" or record.boot_id == (boot := system.boot_id()):
        return False
    return _verified_in(directory) != _Verified(record.checksum, boot)


def note_verified(record: Record) -> bytes:
    """What VERIFIED says where the outputs of a generation were read in this boot, and are as they were written."""
    return _encode(_Verified(record.checksum, system.boot_id())) + b"\n"


def was_verified(directory: str, record: Record) -> bool:
    """Whether VERIFIED speaks of this generation."""
    verified = _verified_in(directory)
    return verified is not None and verified.checksum == record.checksum


def _verified_in(directory: str) -> _Verified | None:
    try:
        return _decode_verified(local.read_whole(os.path.join(directory, FOLDER, VERIFIED), _LIMIT_BYTES))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError):
        return None


def _checksum(record: Record) -> str:
    return xxhash.xxh3_128_hexdigest(_encode(msgspec.structs.replace(record, checksum="")))


def generations_in(directory: str) -> list[int]:
    """Numbers of the generations whose records lie in a published directory, ascending; none where there are none."""
    return numbers_of(local.names_in(os.path.join(directory, FOLDER)), ".json")


def numbers_of(names: Iterable[str], suffix: str) -> list[int]:
    """Numbers of the generations among the names of a manifest's files with a suffix, ascending."""
    stems = (name.removesuffix(suffix) for name in names if name.endswith(suffix))
    return sorted(int(stem) for stem in stems if _NUMBER.fullmatch(stem))


def has_pending(directory: str) -> bool:
    """Whether a generation was committed whose files are not all in their places, or on their way there.

    Raises
    ------
    ManifestError
        What was published cannot be read.
    """
    current = read_current(directory)
    return current is not None and generations_in(directory)[-1] > current.generation


def read_current(directory: str) -> Record | None:
    """Record of the generation that is fully applied; None where nothing was published.

    Raises
    ------
    DamagedManifestError
        CURRENT or the record is missing or damaged.
    ManifestError
        The record is of a later format, or cannot be read.
    """
    current = _read_current(directory)
    while current is not None:
        try:
            record = read_record(directory, current.generation)
            break
        except DamagedManifestError:
            former, current = current, _read_current(directory)
            if current == former:  # else a run has published meanwhile, and has forgotten this generation
                raise
    else:
        return None
    if record.checksum != current.checksum:
        raise DamagedManifestError(
            f"The record {generation_name(current.generation)} of {directory!r} is not the one that CURRENT names. "
            f"{ADVICE}"
        )
    return record


def current_generation(directory: str) -> int | None:
    """Number of the generation that CURRENT names, be its record damaged; None where nothing was published.

    Raises
    ------
    DamagedManifestError
        CURRENT is missing or damaged.
    ManifestError
        It cannot be read.
    """
    current = _read_current(directory)
    return None if current is None else current.generation


def _read_current(directory: str) -> _Current | None:
    folder = os.path.join(directory, FOLDER)
    path = os.path.join(folder, CURRENT)
    try:
        try:
            text = local.read_whole(path, _LIMIT_BYTES)
        except FileNotFoundError:
            if not local.exists(folder):
                return None
            text = local.read_whole(path, _LIMIT_BYTES)  # it may have been published between the two looks
        return _decode_current(text)
    except OSError as error:
        if not local.exists(folder):
            return None
        raise unreadable(folder, error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DamagedManifestError(f"The manifest in {folder!r} is damaged: {error}. {ADVICE}") from error


def read_record(directory: str, generation: int) -> Record:
    """Record of one generation of a published directory.

    Raises
    ------
    DamagedManifestError
        It is missing or damaged.
    ManifestError
        It is of a later format, or cannot be read.
    """
    folder = os.path.join(directory, FOLDER)
    try:
        text = local.read_whole(os.path.join(folder, generation_name(generation) + ".json"), _LIMIT_BYTES)
        version = _decode_version(text).format_version
        record = _decode_record(text) if version <= FORMAT_VERSION else None
    except OSError as error:
        raise unreadable(folder, error) from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DamagedManifestError(f"The manifest in {folder!r} is damaged: {error}. {ADVICE}") from error
    if record is None:
        raise ManifestError(
            f"The manifest in {folder!r} has format {version}; this version of luisy_dir knows formats "
            f"up to {FORMAT_VERSION}. Install a later version."
        )
    if (record.checksum, record.generation) != (_checksum(record), generation):
        raise DamagedManifestError(f"The record in {folder!r} does not equal its checksum, or its name. {ADVICE}")
    return record


def unreadable(path: str, error: OSError) -> ManifestError:
    """A part that is gone asks for a new run; a disk or a right that is missing for now does not."""
    if error.errno in _GONE:
        return DamagedManifestError(f"The manifest {path!r} is incomplete: {error}. {ADVICE}")
    return ManifestError(f"The manifest {path!r} cannot be read: {error}. Mend the disk or the rights, then run again.")
