"""An entry: one manifest line, what became of one item."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from luisy_dir.errors import InputError
from luisy_dir.item import Source

# Names that meta must not use: they are columns of the report.
COLUMNS = (
    "status", "reason", "sources", "outputs", "source_bytes", "output_bytes",
    "attempts", "seconds", "started", "peak_memory", "error_type", "error",
)  # fmt: skip

Verdict = Literal["written", "skipped", "rejected", "failed"]
Status = Verdict | Literal["output missing", "deleted"]

LINE_LIMIT_BYTES = 64 << 20  # of an entry, where something else may lie in the place of a file of ours
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what is raised at a line that is none
_META_LIMIT_BYTES = 1 << 20
_LARGEST_INTEGER = 2**63
_PLAIN_KINDS: dict[str, Callable[[Any], Any]] = {"b": bool, "i": int, "u": int, "f": float, "U": str}  # of NumPy


class Pack(msgspec.Struct, frozen=True, gc=False):
    """The file in which an output lies together with others.

    Parameters
    ----------
    path
        ``/``-separated path under the directory.
    size
        Bytes of the whole file.
    start
        Where the output begins in it, in bytes.
    """

    path: str
    size: int
    start: int


class OutputFile(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One file that was written for an item, be it in a pack.

    Parameters
    ----------
    path
        ``/``-separated path under the directory; in a pack, the one that it would have outside.
    size
        Bytes.
    mtime_ns
        Time of the last change, in nanoseconds since 1970; in a pack, of that.
    digest
        xxh3-128 of the content in hex.
    shape, dtype
        Of the array that was written, where it was one; ``dtype`` in NumPy's notation, as in ``"<f4"``, and as
        JSON of the fields where it has some.
    offset
        Where the array's data begins in the file, or in the pack, in bytes, where the format stores it plainly (npy),
        in C order.
    pack
        The pack in which it lies; None where it is a file of its own.
    """

    path: str
    size: int
    mtime_ns: int
    digest: str
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    offset: int | None = None
    pack: Pack | None = None

    @property
    def file(self) -> str:
        """Path under the directory of the file that lies there: the output's own, or its pack."""
        return self.path if self.pack is None else self.pack.path

    @property
    def start(self) -> int:
        """Where the output begins in that file, in bytes."""
        return 0 if self.pack is None else self.pack.start

    @property
    def state(self) -> tuple[str, int, int]:
        """Path, size in bytes and time of change of that file."""
        return file_state(self.path, self.size, self.mtime_ns, self.pack)


def file_state(path: str, size: int, mtime_ns: int, pack: Pack | None) -> tuple[str, int, int]:
    """Path, size and time of change of the file in which an output lies."""
    return (path, size, mtime_ns) if pack is None else (pack.path, pack.size, mtime_ns)


class Failure(msgspec.Struct, frozen=True):
    """Why an item was not written: the type and the message of the error, and its traceback below our own code."""

    type: str
    message: str
    traceback: str | None = None


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One manifest line: what became of one item.

    Parameters
    ----------
    key
        The item's key.
    sources
        The files that it was read from, as they were then.
    status
        ``written``, ``skipped`` (the reader said None), ``rejected`` or ``failed``; ``output missing`` where a
        verification found that an output is not what was written, so that the next run makes it anew. In a file of
        entries that follows others, ``deleted`` says that the key is no more.
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
    peak_memory
        Bytes that the worker process had resident at most while it had the item in hand, with interpreter and modules;
        None where that is not known.
    number
        Of an item that a :class:`~luisy_dir.writing.DatasetWriter` was given: how many had been added before it.
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
    peak_memory: int | None = None
    number: int | None = None

    @property
    def is_deleted(self) -> bool:
        """Whether this says that the key is no more, rather than what became of an item."""
        return self.status == "deleted"


_encode = msgspec.json.Encoder().encode
_decode_entry = msgspec.json.Decoder(Entry).decode


def leads_outside(path: str) -> bool:
    """Whether the path of an output, as a manifest has it, leads out of the directory or to something hidden.

    Examples
    --------
    >>> leads_outside("a/b.npy"), leads_outside("../b.npy")
    (False, True)
    """
    return path.startswith(("/", ".")) or "/." in path or "\0" in path


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
