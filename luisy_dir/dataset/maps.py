"""Memory maps: of a bounded number of files, with views of the arrays in them that nobody can write to."""

from __future__ import annotations

import errno
import math
import mmap
import os
import resource
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import xxhash

from luisy_dir.dtypes import dtype_of_text
from luisy_dir.entry import OutputFile
from luisy_dir.errors import DamagedManifestError, InputChangedError
from luisy_dir.storage import local, system

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOST = 256  # maps that are kept, where descriptors allow it
_MOST_VIEWS = 1 << 16  # some 20 MB
_SHARE = 4  # of all descriptors, the part that is taken by maps that are kept
_ADVICE = "Open the dataset anew; 'luisy-dir verify --deep' says whether its task must run again."

_live: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
# Of all maps in the process. A fork waits for it: a child in which another thread held it would wait for ever.
_lock = threading.RLock()
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def most_kept() -> int:
    """How many maps are kept at most: each has a descriptor, and others need some too."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if limit == resource.RLIM_INFINITY else max(1, min(MOST, limit // _SHARE))


class Maps:
    """Views of arrays in files by position, and the maps of the files that were used last.

    A map lives as long as somebody holds a view of it. Where so many are alive that descriptors would run out, an array
    is read into memory instead.

    Parameters
    ----------
    directory
        The published directory.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._most = most_kept()
        self._files: OrderedDict[str, _Kept] = OrderedDict()
        self._views: dict[int, tuple[npt.NDArray[Any], str]] = {}

    def __len__(self) -> int:
        return len(self._files)

    def view(self, position: int, output: OutputFile) -> npt.NDArray[Any]:
        """The array of an output whose entry says where it lies, as a view that nobody can write to.

        No header is read: shape, dtype and offset stand in the entry.

        Raises
        ------
        InputChangedError
            The file is gone, or no longer equals its entry.
        DamagedManifestError
            The entry speaks of bytes that are not the output's.
        OSError
            It cannot be opened.
        """
        try:
            view, file = self._views[position]
            self._files.move_to_end(file)
        except KeyError:  # also where another thread has just let it go
            view = self._opened(position, output)
        return view.view()  # of its own: whoever sets its shape or dtype does so for nobody else

    def _opened(self, position: int, output: OutputFile) -> npt.NDArray[Any]:
        kept = self._files.get(output.file)
        if kept is None:
            content = _content(os.path.join(self._directory, output.file), output)
            if not isinstance(content, mmap.mmap):
                return _array(content, output, output.start)
            kept = _Kept(content, [])
        view = _array(kept.map, output, 0)
        with _lock:
            self._keep(position, view, output.file, kept)
        return view

    def _keep(self, position: int, view: npt.NDArray[Any], file: str, kept: _Kept) -> None:
        kept = self._files.setdefault(file, kept)  # another thread may have been faster
        self._files.move_to_end(file)
        if len(self._files) > self._most:
            _, oldest = self._files.popitem(last=False)
            for place in oldest.positions:
                self._views.pop(place, None)
        if len(self._views) >= _MOST_VIEWS:
            self._views.clear()
            for each in self._files.values():
                each.positions.clear()
        self._views[position] = view, file
        kept.positions.append(position)


class _Kept(NamedTuple):
    """The map of a file, and the positions of the views in it that are kept."""

    map: mmap.mmap
    positions: list[int]


def _content(path: str, output: OutputFile) -> mmap.mmap | bytes:
    """A map of the file; or the bytes of the output alone, where there are too many maps, or the file was touched."""
    _, size, mtime_ns = output.state
    try:
        descriptor = system.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _changed(path, "is no longer there") from error
    try:
        state = system.fstat(descriptor)
        if state.st_size != size:
            raise _changed(path, f"has {state.st_size} bytes, and {size} in its entry")
        if state.st_mtime_ns == mtime_ns and (map := _mapped(descriptor, size)) is not None:
            return map
        content = b"".join(local.blocks_at(descriptor, output.start, output.size))
        if xxhash.xxh3_128_hexdigest(content) != output.digest:
            raise _changed(path, "has other content than its entry says")
        return content
    finally:
        system.close(descriptor)


def _changed(path: str, what: str) -> InputChangedError:
    return InputChangedError(
        f"{path!r} {what}: its task has run since the dataset was opened, or somebody has changed it. {_ADVICE}"
    )


def _array(buffer: mmap.mmap | bytes, output: OutputFile, start: int) -> npt.NDArray[Any]:
    """The array in a buffer that begins at some position of the file.

    NumPy takes an offset before the buffer, and a look at such an array ends the process.
    """
    import numpy as np

    shape, offset, begin = output.shape or (), output.offset or 0, output.start
    try:
        dtype = dtype_of_text(output.dtype or "")
        is_inside = begin <= offset and offset + math.prod(shape) * dtype.itemsize <= begin + output.size
    except (TypeError, ValueError):
        is_inside = False
    if not is_inside or dtype.hasobject or min(shape, default=0) < 0:
        raise DamagedManifestError(
            f"The manifest says that {output.path!r} is an array of shape {output.shape} and dtype {output.dtype!r} at "
            f"byte {output.offset}, and its {output.size} bytes hold no such array. It was not made by luisy_dir; "
            "do not trust it."
        )
    array: npt.NDArray[Any] = np.ndarray(shape, dtype, buffer=buffer, offset=offset - start)
    return array


def _mapped(descriptor: int, size_bytes: int) -> mmap.mmap | None:
    """The file in memory that is read as it is looked at; None where too many are alive."""
    with _lock:
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


def dtype_of(output: OutputFile) -> np.dtype[Any] | None:
    """Dtype of an output's array, as its entry says; None where it is no array."""
    return None if output.dtype is None else dtype_of_text(output.dtype)
