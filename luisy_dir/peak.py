"""A peak: the most memory that this process has had resident since somebody began to look."""

from __future__ import annotations

import contextlib
import os

_RESET = b"5"  # of the high-water mark, see proc_pid_clear_refs(5)
_MARK = b"VmHWM:"
_LONGEST_STATUS_BYTES = 1 << 14
_KIBIBYTE = 1024


class Peak:
    """The most memory that this process has had resident since somebody began to look, as Linux counts it.

    Interpreter and modules are included. Where the system does not say, or a container does not allow to ask, it is
    None: nothing here raises.

    Examples
    --------
    >>> peak = Peak()
    >>> peak.begin()
    >>> peak.so_far() != 0
    True
    >>> peak.close()
    """

    def __init__(self) -> None:
        self._reset = _opened("/proc/self/clear_refs", os.O_WRONLY)
        self._status = _opened("/proc/self/status", os.O_RDONLY)
        self._has_begun = False

    def begin(self) -> None:
        """Begin to look."""
        self._has_begun = False
        if self._reset is not None:
            with contextlib.suppress(OSError):
                self._has_begun = os.write(self._reset, _RESET) == len(_RESET)

    def so_far(self) -> int | None:
        """The most bytes since then; None where that is not known."""
        if not self._has_begun or self._status is None:
            return None
        with contextlib.suppress(OSError, ValueError):  # a ValueError where the line is missing or has another form
            status = os.pread(self._status, _LONGEST_STATUS_BYTES, 0)
            begin = status.index(_MARK) + len(_MARK)
            return int(status[begin : status.index(b"kB", begin)]) * _KIBIBYTE
        return None

    def close(self) -> None:
        """Look no more; may be called twice."""
        for descriptor in (self._reset, self._status):
            if descriptor is not None:
                os.close(descriptor)
        self._reset = self._status = None


def _opened(path: str, flags: int) -> int | None:
    with contextlib.suppress(OSError):
        return os.open(path, flags | os.O_CLOEXEC)
    return None
