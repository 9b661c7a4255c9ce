"""Space: whether there is room for what a run is about to write."""

from __future__ import annotations

import errno
import itertools
import logging
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from luisy_dir.entry import Entry
from luisy_dir.errors import StorageError
from luisy_dir.storage import system

logger = logging.getLogger("luigi-interface.luisy_dir")

_ENOUGH_TO_TELL = 64  # items, before a guess is made from their sizes
_SAMPLE = 1_000


class Space:
    """Room on the disk beside what is still to be written; looked at before a run, and now and then while it writes.

    Parameters
    ----------
    folder
        Absolute path of a folder on the file system that is written to.
    count
        Number of items that are still to be processed.
    """

    def __init__(self, folder: str, count: int) -> None:
        self._folder = folder
        self._left = count
        self._seen = 0
        self._written = _Size(0, 0)
        self._next_look = _ENOUGH_TO_TELL

    def check(self, before: Sequence[Entry | None], known: Iterable[Entry]) -> None:
        """Raise StorageError where there is less room than the outputs are expected to take.

        Parameters
        ----------
        before
            What became of each item to be processed before; None where it is new.
        known
            Entries of others, by which new items are judged; none where nothing is known.
        """
        sizes = [_size_of(entry) for entry in before if entry is not None and entry.status == "written"]
        others = sizes or [_size_of(entry) for entry in itertools.islice(known, _SAMPLE) if entry.status == "written"]
        if not others:
            return
        share_of_new = (len(before) - len(sizes)) / len(others)
        expected = _Size(*(old + share_of_new * new for old, new in zip(_total(sizes), _total(others), strict=True)))
        free = _Size(*system.free_space(self._folder))
        if not expected.fits(free):
            raise StorageError(
                errno.ENOSPC,
                f"Nothing was begun: {len(before):,} items are expected to become {expected}, as former ones did, and "
                f"the file system of {self._folder!r} has room for {free}. Make room: 'luisy-dir gc' removes what is "
                "no longer needed. If you know better, run with --luisy-dir-on-no-space allow.",
            )

    def advance(self, entry: Entry) -> None:
        """One more item is finished; warn once where the rest will not have room if it goes on like this."""
        self._left -= 1
        self._seen += 1
        self._written = _total([self._written, _size_of(entry)])
        if self._seen != self._next_look:
            return
        self._next_look *= 2
        expected = _Size(*(total * self._left / self._seen for total in self._written))
        free = _Size(*system.free_space(self._folder))
        if not expected.fits(free):
            self._next_look = 0
            logger.warning(
                "The disk may be too small: after %s items, the %s that are left are expected to become %s, and the "
                "file system of %r has room for %s. If it gets full, what was finished is kept, and the next run "
                "goes on.",
                f"{self._seen:,}",
                f"{self._left:,}",
                expected,
                self._folder,
                free,
            )


class _Size(NamedTuple):
    bytes: float
    files: float

    def fits(self, free: _Size) -> bool:
        return self.bytes <= free.bytes and self.files <= free.files

    def __str__(self) -> str:
        files = "any number of files" if self.files == sys.maxsize else f"{self.files:,.0f} files"
        return f"{self.bytes:,.0f} bytes in {files}"


def _size_of(entry: Entry) -> _Size:
    return _Size(sum(output.size for output in entry.outputs), len(entry.outputs))


def _total(sizes: Sequence[_Size]) -> _Size:
    return _Size(sum(size.bytes for size in sizes), sum(size.files for size in sizes))
