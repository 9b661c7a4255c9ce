"""Memory maps: of a bounded number of files, with views of the arrays in them that nobody can write to."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from luisy_dir.dtypes import dtype_of_text
from luisy_dir.entry import OutputFile
from luisy_dir.errors import InputChangedError
from luisy_dir.packs import digest_of_output
from luisy_dir.storage import system

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST = 256  # maps that are kept, where descriptors allow it
_SHARE = 4  # of all descriptors, the part that is taken by maps that are kept
_ADVICE = "Open the dataset anew; 'luisy-dir verify --deep' says whether its task must run again."

_live: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
_live_lock = threading.Lock()


def most_kept() -> int:
    """How many maps are kept at most: each has a descriptor, and others need some too."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if limit == resource.RLIM_INFINITY else max(1, min(MOST, limit // _SHARE))


class Maps:
    """Files in memory by path, of which the last recently used are kept.

    A map lives as long as somebody holds an array in it. Where so many are alive that descriptors would run out, a file
    is read into memory instead.

    Parameters
    ----------
    directory
        The published directory.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._most = most_kept()
        self._kept: OrderedDict[str, _Content] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def view(self, output: OutputFile) -> npt.NDArray[Any]:
        """The array of an output whose entry says where it lies, as a view that nobody can write to.

        No header is read: shape, dtype and offset stand in the entry.

        Raises
        ------
        InputChangedError
            The file is gone, or no longer equals its entry.
        OSError
            It cannot be opened.
        """
        file = output.file
        try:
            self._kept.move_to_end(file)
            content = self._kept[file]
        except KeyError:  # also where another thread has just let it go
            content = self._opened(file, output)
        if content.is_doubtful:
            _check_digest(os.path.join(self._directory, file), output)
        return _array(content.buffer, output)

    def _opened(self, file: str, output: OutputFile) -> _Content:
        content = self._kept[file] = _content(os.path.join(self._directory, file), output)
        while len(self._kept) > self._most:
            try:
                self._kept.popitem(last=False)
            except KeyError:  # another thread was faster
                break
        return content


class _Content(NamedTuple):
    """What is in a file, and whether only digests can tell that it is what was written."""

    buffer: mmap.mmap | bytes
    is_doubtful: bool


def _content(path: str, output: OutputFile) -> _Content:
    _, size, mtime_ns = output.state
    try:
        descriptor = system.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise _changed(path, "is no longer there") from error
    try:
        state = system.fstat(descriptor)
        if state.st_size != size:
            raise _changed(path, f"has {state.st_size} bytes, and {size} in its entry")
        return _Content(_mapped(descriptor, size) or _read(descriptor, size), state.st_mtime_ns != mtime_ns)
    finally:
        system.close(descriptor)


def _check_digest(path: str, output: OutputFile) -> None:
    if digest_of_output(path, output)[0] != output.digest:
        raise _changed(path, "has other content than its entry says")


def _changed(path: str, what: str) -> InputChangedError:
    return InputChangedError(
        f"{path!r} {what}: its task has run since the dataset was opened, or somebody has changed it. {_ADVICE}"
    )


def _array(buffer: mmap.mmap | bytes, output: OutputFile) -> npt.NDArray[Any]:
    import numpy as np

    array: npt.NDArray[Any] = np.ndarray(
        output.shape or (), dtype_of_text(output.dtype or ""), buffer=buffer, offset=output.offset or 0
    )
    return array


def _mapped(descriptor: int, size_bytes: int) -> mmap.mmap | None:
    """The file in memory that is read as it is looked at; None where too many are alive."""
    with _live_lock:
        if len(_live) >= 2 * most_kept():
            return None
        try:
            map = system.map_descriptor(descriptor, size_bytes)
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENODEV}:
                return None
            raise
        _live.add(map)
        return map


def _read(descriptor: int, size_bytes: int) -> bytes:
    content = system.read_at(descriptor, size_bytes, 0)
    while len(content) < size_bytes and (more := system.read_at(descriptor, size_bytes - len(content), len(content))):
        content += more
    return content


def dtype_of(output: OutputFile) -> np.dtype[Any] | None:
    """Dtype of an output's array, as its entry says; None where it is no array."""
    return None if output.dtype is None else dtype_of_text(output.dtype)
