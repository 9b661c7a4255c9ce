"""A journal: the entries of one worker, appended to a file as they come."""

from __future__ import annotations

import os
import socket
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from luisy_dir.entry import LINE_LIMIT_BYTES, UNDECODABLE, Entry, decode_entry
from luisy_dir.errors import ManifestError
from luisy_dir.storage import local, system

NAME = "journal-"  # begins the name of each
SYNCING = "syncing-"  # begins the name of a file that lies beside them while all is brought to the disk
FILES = "files"  # the folder of a run's outputs, beside its journals
LOOSE = "loose"  # what that folder is called as soon as packs were made of it, which lie in a new one
PACKS = "packs"  # the folder of packs that are being made
_NAMES = "names-"
_RUN_LETTERS = 8  # of the name of a run, which ends with its id
_T = TypeVar("_T")


class Origin(msgspec.Struct, frozen=True):
    """What a worker makes its entries with, as the first line of its journal says.

    Parameters
    ----------
    fingerprint
        Of the task.
    beside_code
        Digest of all that the fingerprint covers but code: parameters, seed, names of what is required, suffix.
    memory
        Which memory of which machine holds what was written until it is on the disk: its boot and the mount. Only who
        shares it may believe a file by size and time of change. Empty where that is not known.
    """

    fingerprint: str
    beside_code: str = ""
    memory: str = ""

    def at(self, path: str) -> Origin:
        """The same for what this process writes below a path."""
        boot = system.boot_id()
        memory = "" if boot == system.UNKNOWN else f"{boot}/{system.mount_id(path)}"
        return msgspec.structs.replace(self, memory=memory)


class Journal:
    """The entries of one worker, appended to a file as they come.

    Each line is a CRC-32 of the JSON in eight hexadecimal digits, a space, and the JSON. A line that was cut short by
    a crash does not equal its checksum, and counts as not written.

    Parameters
    ----------
    path
        A file that no other worker writes to.
    origin
        What the entries are made with; None leaves the line out, so that no other run takes the entries over.
    sync
        Bring every line to the disk before going on.
    """

    def __init__(self, path: str, origin: Origin | None = None, *, sync: bool = False) -> None:
        self._descriptor = system.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._sync = sync
        self._lock = threading.Lock()
        # A worker of somebody's long-lived pool lets go of us without a word, so the descriptor must not wait for one.
        self._close = weakref.finalize(self, system.close, self._descriptor)
        if system.fstat(self._descriptor).st_size:
            local.write_all(self._descriptor, b"\n")  # a former owner's line may have been cut short
        if origin is not None:
            self.append(_encode_origin(origin.at(os.path.dirname(path))))

    def append(self, line: bytes) -> None:
        """Append the JSON of one entry."""
        with self._lock:  # threads of the async engine share a journal
            local.write_all(self._descriptor, b"%08x %b\n" % (zlib.crc32(line), line))
        if self._sync:
            local.sync_data(self._descriptor)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._close()


_encode_origin = msgspec.json.Encoder().encode
_decode_origin = msgspec.json.Decoder(Origin).decode


def worker_name(pid: int) -> str:
    """Name of a process of this machine, with which the names of its workers begin."""
    return f"{socket.gethostname()}-{pid}"


def journal_of(run: str, worker: str) -> str:
    """Absolute path of a worker's journal in a run's directory; no other run gives one that name."""
    return os.path.join(run, f"{NAME}{os.path.basename(run)[-_RUN_LETTERS:]}-{worker}")


def names_of(run: str, worker: str) -> str:
    """Absolute path of the file in which a worker notes outputs whose names do not tell their item."""
    return os.path.join(run, f"{_NAMES}{os.path.basename(run)[-_RUN_LETTERS:]}-{worker}")


encode_name = msgspec.json.Encoder().encode
_decode_name = msgspec.json.Decoder(str).decode


def names_noted(run: str, process: str) -> Iterator[str]:
    """Relative paths that the workers of one process, given by its name, have noted there."""
    begin = names_of(run, process) + "-"
    for name in local.names_in(run):
        path = os.path.join(run, name)
        if path.startswith(begin):
            yield from (_decoded(_decode_name, text, path) for text in _texts(path))


def entries_of(run: str, process: str) -> Iterator[Entry]:
    """Entries that the workers of one process, given by its name, have made in a run."""
    begin = journal_of(run, process) + "-"
    for path in journals_of(run):
        if path.startswith(begin):
            yield from (entry for entry, _ in read_journal(path))


def journals_of(run: str) -> list[str]:
    """Absolute paths of the journals in a staging's run directory, sorted."""
    return [os.path.join(run, name) for name in local.names_in(run) if name.startswith(NAME)]


def is_interrupted(run: str) -> bool:
    """Whether a run's directory holds what a run was about to publish: a folder of outputs, and journals."""
    has_outputs = any(local.kind_of(os.path.join(run, name)) == "folder" for name in (FILES, LOOSE))
    return has_outputs and bool(journals_of(run))


def loose_files(run: str) -> str:
    """Absolute path of the folder of a run's outputs as its workers have written them."""
    loose = os.path.join(run, LOOSE)
    return loose if local.exists(loose) else os.path.join(run, FILES)


def unpack(run: str) -> None:
    """Bring a run's directory back to where it was before packs were made; the run is the caller's."""
    loose, files = os.path.join(run, LOOSE), os.path.join(run, FILES)
    if local.exists(loose):
        local.remove_tree(files)
        system.rename(loose, files)


def read_journals(run: str) -> Iterator[tuple[Entry, Origin | None]]:
    """Entries in the journals of a run directory with what they were made with, in the order of each worker."""
    for path in journals_of(run):
        yield from read_journal(path)


def has_entries(run: str) -> bool:
    """Whether a worker has noted in a run's directory that it has finished an item."""
    return any(not _is_origin(text) for path in journals_of(run) for text in _texts(path))


def latest_entries(run: str) -> dict[str, tuple[Entry, Origin | None]]:
    """The entry of each key in a run directory that was begun last, by key: an item may have been tried again."""
    found: dict[str, tuple[Entry, Origin | None]] = {}
    for entry, origin in read_journals(run):
        if entry.key not in found or found[entry.key][0].started <= entry.started:
            found[entry.key] = entry, origin
    return found


def read_journal(path: str) -> Iterator[tuple[Entry, Origin | None]]:
    """Entries in one journal with what they were made with, in the order in which they were appended."""
    origin = None
    for text in _texts(path):
        if _is_origin(text):
            origin = _decoded(_decode_origin, text, path)
        else:
            yield _decoded(decode_entry, text, path), origin


def is_journal(path: str) -> bool:
    """Whether a file may be a journal: it is empty, or begins with a line of one."""
    with system.read_file(path) as file:
        first = next(local.lines_of(file, LINE_LIMIT_BYTES), None)
    return first is None or _text(first) is not None


def _texts(path: str) -> Iterator[bytes]:
    """The lines that were written to their ends."""
    with system.read_file(path) as file:
        yield from (text for line in local.lines_of(file, LINE_LIMIT_BYTES) if (text := _text(line)) is not None)


def _text(line: bytes) -> bytes | None:
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    return text if text and checksum == b"%08x" % zlib.crc32(text) else None


def _is_origin(text: bytes) -> bool:
    return text.startswith(b'{"fingerprint"')


def _decoded(decode: Callable[[bytes], _T], text: bytes, path: str) -> _T:
    try:
        return decode(text)
    except UNDECODABLE as error:
        raise ManifestError(
            f"The journal {path!r} holds a line that is no entry: {error}. Another version of luisy_dir may have "
            "written it: run its task again, which begins anew."
        ) from error
