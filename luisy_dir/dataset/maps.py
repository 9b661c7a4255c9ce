"""Memory maps: of a bounded number of files, with a view of each that nobody can write to."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from luisy_dir.dtypes import dtype_of_text
from luisy_dir.entry import OutputFile
from luisy_dir.errors import InputChangedError
from luisy_dir.storage import local, system

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


class Views:
    """Views of arrays in files by position, of which the last recently used are kept, and their maps with them.

    A view lives as long as somebody holds it, and its map with it. Where so many maps are alive that descriptors would
    run out, an array is read into memory instead.
    """

    def __init__(self) -> None:
        self._most = most_kept()
        self._kept: OrderedDict[int, npt.NDArray[Any]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, position: int) -> npt.NDArray[Any] | None:
        """The view of a position, if it is kept."""
        try:
            self._kept.move_to_end(position)
            return self._kept[position]
        except KeyError:  # also where another thread has just let it go
            return None

    def keep(self, position: int, view: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Keep a view, let go of the one that was not used for longest, and return the view."""
        self._kept[position] = view
        while len(self._kept) > self._most:
            try:
                self._kept.popitem(last=False)
            except KeyError:  # another thread was faster
                break
        return view


def view_of(directory: str, output: OutputFile) -> npt.NDArray[Any]:
    """The array of an output whose entry says where it lies, as a view that nobody can write to.

    No header is read: shape, dtype and offset stand in the entry.

    Parameters
    ----------
    directory
        The published directory.
    output
        What the manifest says of the file.

    Raises
    ------
    InputChangedError
        The file is gone, or no longer equals its entry.
    OSError
        It cannot be opened.
    """
    path = os.path.join(directory, output.path)
    try:
        descriptor = system.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise changed(path, "is no longer there") from error
    try:
        check_state(path, system.fstat(descriptor), output)
        return _array(descriptor, output)
    finally:
        system.close(descriptor)


def check_state(path: str, state: os.stat_result, output: OutputFile) -> None:
    """Raise InputChangedError where a file no longer equals its entry; the digest tells where only its time differs."""
    if state.st_size == output.size:
        if state.st_mtime_ns == output.mtime_ns or local.digest_of(path)[0] == output.digest:
            return
        raise changed(path, "has other content than its entry says")
    raise changed(path, f"has {state.st_size} bytes, and {output.size} in its entry")


def changed(path: str, what: str) -> InputChangedError:
    """What is said of a file that does not equal its entry."""
    return InputChangedError(f"{path!r} {what}: its task has run since the dataset was opened, or somebody has "
                             f"changed it. {_ADVICE}")  # fmt: skip


def _array(descriptor: int, output: OutputFile) -> npt.NDArray[Any]:
    import numpy as np

    dtype, shape, offset = dtype_of_text(output.dtype or ""), output.shape or (), output.offset or 0
    if dtype.itemsize * _product(shape) == 0:
        array: npt.NDArray[Any] = np.empty(shape, dtype)
        array.flags.writeable = False
        return array
    buffer = _mapped(descriptor, output.size) or _content(descriptor, output.size)
    return np.ndarray(shape, dtype, buffer=buffer, offset=offset)


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for length in shape:
        product *= length
    return product


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


def _content(descriptor: int, size_bytes: int) -> bytes:
    content = system.read_at(descriptor, size_bytes, 0)
    while len(content) < size_bytes and (more := system.read_at(descriptor, size_bytes - len(content), len(content))):
        content += more
    return content


def dtype_of(output: OutputFile) -> np.dtype[Any] | None:
    """Dtype of an output's array, as its entry says; None where it is no array."""
    return None if output.dtype is None else dtype_of_text(output.dtype)
