"""A journal: the entries of one worker, appended to a file as they come."""

from __future__ import annotations

import os
import threading
import weakref
import zlib
from collections.abc import Iterator

import msgspec

from luisy_dir.entry import Entry, decode_entry
from luisy_dir.errors import ManifestError
from luisy_dir.storage import local, system


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
