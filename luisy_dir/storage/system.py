"""The one door to the operating system.

Every call that reads or changes the file system on luisy_dir's own account goes through a function of this module,
always spelled ``system.rename(...)``, never imported by name. A test can therefore replace this one module and let
any call fail, or end the process before or after it.

Nothing here interprets, retries or falls back: that is the business of :mod:`luisy_dir.storage.local`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import io
import mmap
import os
import sys
from contextlib import AbstractContextManager
from typing import IO

# The flags of openat(2), renameat2(2) and statx(2) as the Linux headers define them.
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_STATX_MNT_ID_UNIQUE = 0x4000
_STATX_BYTES = 256
_STATX_MNT_ID_AT = 0x90
UNKNOWN = "unknown"
_libc = ctypes.CDLL(None, use_errno=True)


def open(path: str, flags: int, mode: int = 0o666) -> int:
    """Open ``path`` and return a descriptor that no child process inherits."""
    return os.open(path, flags | os.O_CLOEXEC, mode)


def open_file(path: str, descriptor: int) -> IO[bytes]:
    """Wrap a descriptor that can be read and written in a buffered file that knows its path, and closes it.

    NumPy writes to such a file through its ``write``, whose errors say that the disk is full; past a file that can only
    be written it goes by a way of its own, whose errors do not.
    """
    return io.BufferedRandom(io.FileIO(path, "r+", opener=lambda *_: descriptor))


def read_file(path: str) -> IO[bytes]:
    """Open a file as a buffered binary file that can be read; a pipe in its place is not waited for."""
    return io.open(path, "rb", opener=_open_at_once)  # noqa: UP020 - `open` is our own here


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def map_file(path: str) -> mmap.mmap | bytes:
    """Content of a file in memory that is read as it is looked at; of an empty file, nothing."""
    with read_file(path) as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def map_descriptor(descriptor: int, size_bytes: int) -> mmap.mmap:
    """An open file in memory that is read as it is looked at, and never written to.

    From Python 3.13 on it takes no descriptor of its own.
    """
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, size_bytes, access=mmap.ACCESS_READ, trackfd=False)
    return mmap.mmap(descriptor, size_bytes, access=mmap.ACCESS_READ)


def read(descriptor: int, size_bytes: int) -> bytes:
    """Read up to ``size_bytes`` from the current position."""
    return os.read(descriptor, size_bytes)


def read_at(descriptor: int, size_bytes: int, offset: int) -> bytes:
    """Read up to ``size_bytes`` from ``offset`` on, without moving the position."""
    return os.pread(descriptor, size_bytes, offset)


def write(descriptor: int, data: bytes) -> int:
    """Write ``data`` at the current position; return the number of bytes that were written."""
    return os.write(descriptor, data)


def close(descriptor: int) -> None:
    """Close ``descriptor``; an error here is an error of the data that was written."""
    os.close(descriptor)


def stat(path: str) -> os.stat_result:
    """State of the file that ``path`` leads to, links followed."""
    return os.stat(path)


def lstat(path: str) -> os.stat_result:
    """State of ``path`` itself, links not followed."""
    return os.lstat(path)


def fstat(descriptor: int) -> os.stat_result:
    """State of an open file."""
    return os.fstat(descriptor)


def scandir(path: str) -> AbstractContextManager[os._ScandirIterator[str]]:
    """Directory entries of ``path`` in the order of the file system."""
    return os.scandir(path)


def mkdir(path: str) -> None:
    """Make one directory whose parent exists."""
    os.mkdir(path)


def makedirs(path: str) -> None:
    """Make a directory and its missing parents."""
    os.makedirs(path, exist_ok=True)


def rename(source: str, target: str) -> None:
    """Rename; an existing file ``target`` is replaced."""
    os.rename(source, target)


def rename_noreplace(source: str, target: str) -> None:
    """Rename, or raise FileExistsError where ``target`` exists, be it an empty directory.

    Raises
    ------
    OSError
        ``ENOSYS`` or ``EINVAL`` where the system or the file system does not offer this.
    """
    if not sys.platform.startswith("linux") or not hasattr(_libc, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), target)
    old, new = os.fsencode(source), os.fsencode(target)
    if _libc.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, _RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), source, None, target)


def link(source: str, target: str) -> None:
    """Give the file ``source`` a second name; FileExistsError where ``target`` exists."""
    os.link(source, target)


def utime(path: str, mtime_ns: int) -> None:
    """Set the times of last access and change of a file."""
    os.utime(path, ns=(mtime_ns, mtime_ns))


def unlink(path: str) -> None:
    """Remove a file."""
    os.unlink(path)


def rmdir(path: str) -> None:
    """Remove an empty directory."""
    os.rmdir(path)


def fsync(descriptor: int) -> None:
    """Bring one file, or the names in one directory, to the disk."""
    os.fsync(descriptor)


def fdatasync(descriptor: int) -> None:
    """Bring the data of one file to the disk."""
    os.fdatasync(descriptor)


def syncfs(descriptor: int) -> None:
    """Bring everything on the file system of ``descriptor`` to the disk, and report errors since it was opened.

    Raises
    ------
    OSError
        ``ENOSYS`` where the system does not offer this.
    """
    if not hasattr(_libc, "syncfs"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _libc.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def free_space(path: str) -> tuple[int, int]:
    """Bytes and files that may still be written to the file system of ``path`` by this user.

    A file system that has no table of files says that there may be none: the number is then as large as can be.
    """
    state = os.statvfs(path)
    return state.f_bavail * state.f_frsize, state.f_favail if state.f_files else sys.maxsize


def lock(descriptor: int) -> None:
    """Take the exclusive lock of an open file, or raise BlockingIOError at once."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def mount_id(path: str) -> str:
    """Number of the mount that ``path`` lies on, which no other mount of this boot ever gets, or ``unknown``.

    Linux tells it from 6.8 on. What had not reached the disk when a file system was unmounted, or its disk was pulled
    out, is gone, though this is the same boot.
    """
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    if not hasattr(_libc, "statx"):
        return UNKNOWN
    if _libc.statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_MNT_ID_UNIQUE, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    answered = int.from_bytes(buffer.raw[:4], sys.byteorder)
    if not answered & _STATX_MNT_ID_UNIQUE:
        return UNKNOWN
    return str(int.from_bytes(buffer.raw[_STATX_MNT_ID_AT : _STATX_MNT_ID_AT + 8], sys.byteorder))


def boot_id() -> str:
    """Name of this boot of the machine, or ``unknown``: what survives SIGKILL may not survive a new boot."""
    try:
        with os.fdopen(os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)) as file:
            return file.read().strip()
    except OSError:
        return UNKNOWN
