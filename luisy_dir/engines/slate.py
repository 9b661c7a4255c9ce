"""A slate: what a worker has in hand, in memory that its parent can still read when the worker is dead."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
import time
from collections.abc import Callable
from multiprocessing.reduction import DupFd
from typing import Any

NOTHING = -1
_STATE = struct.Struct("@qq")  # which thing, and since when in nanoseconds; each is written in one piece
_LONGEST_TRACE_BYTES = 1 << 16


class Slate:
    """What a worker has in hand, in memory that its parent can still read when the worker is dead.

    Behind it, in the same nameless file, is room for what the worker's :mod:`faulthandler` has to say.

    Parameters
    ----------
    descriptor
        Of a file that another process has made; None makes one. It is closed with the slate.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = _nameless_file()
            os.write(descriptor, _STATE.pack(NOTHING, 0))
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _STATE.size)
        self._cells = memoryview(self._memory).cast("q")

    def __reduce__(self) -> tuple[Callable[[Any], Slate], tuple[Any]]:
        """To a process that is being spawned."""
        return _shared, (DupFd(self.descriptor),)

    def take(self, number: int) -> None:
        """Note which thing the worker begins now."""
        self._cells[1] = time.monotonic_ns()  # first, so that a thing never looks older than it is
        self._cells[0] = number

    def put_down(self) -> None:
        """Note that the worker has nothing in hand."""
        self._cells[0] = NOTHING

    def read(self) -> tuple[int | None, int]:
        """Which thing the worker has in hand, and when it began that, by the clock ``time.monotonic_ns``."""
        number, since = _STATE.unpack_from(self._memory)
        return None if number == NOTHING else number, since

    def trace(self) -> str:
        """What the worker's faulthandler has said."""
        return os.pread(self.descriptor, _LONGEST_TRACE_BYTES, _STATE.size).decode(errors="replace")

    def close(self) -> None:
        """Let go of memory and file."""
        self._cells.release()
        self._memory.close()
        os.close(self.descriptor)


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("luisy_dir-slate")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _shared(descriptor: Any) -> Slate:
    return Slate(descriptor.detach())


_mine: Slate | None = None


def keep(slate: Slate) -> None:
    """Make this the slate of this process."""
    global _mine  # noqa: PLW0603 - a process has one
    _mine = slate


def mine() -> Slate | None:
    """The slate of this process; None where no parent looks at one."""
    return _mine
