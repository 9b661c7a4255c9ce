"""A local directory: whole files, digests, locks and the one rename that publishes."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat as stat_bits
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO

import xxhash

from luisy_dir.errors import BusyError, StorageError
from luisy_dir.storage import system

_FIRST_BLOCK_BYTES = 1 << 16  # most files end here; asking for a megabyte costs 12 µs more
_BLOCK_BYTES = 1 << 20
_SYNC_PAUSE_SECONDS = 0.5
_SYNC_PAUSE_FACTOR = 10  # others use the disk too: at most a tenth of the time is spent on bringing their data there
_SYNC_THREADS = 16
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP}
WITHOUT_LINKS = {errno.EPERM, errno.EMLINK, errno.EXDEV, *_UNSUPPORTED}  # where a file cannot have a second name
_WITHOUT_LOCKS = {errno.ENOLCK, *_UNSUPPORTED}
ABSENT = {*WITHOUT_LINKS, *_WITHOUT_LOCKS}  # what a call says that the system, or the file system, does not offer


class SyncFailed(OSError):  # noqa: N818 - an OSError that says what it means for all that was written
    """The system could not bring data to the disk: what was written may be lost, and a second try would not tell."""


def sync_all(descriptor: int) -> None:
    """Bring one open file, or the names in one open directory, to the disk.

    Raises
    ------
    SyncFailed
        It could not be done.
    """
    _synced(system.fsync, descriptor)


def sync_data(descriptor: int) -> None:
    """Bring the data of one open file to the disk.

    Raises
    ------
    SyncFailed
        It could not be done.
    """
    _synced(system.fdatasync, descriptor)


def _synced(sync: Callable[[int], None], descriptor: int) -> None:
    try:
        sync(descriptor)
    except OSError as error:
        raise SyncFailed(error.errno, error.strerror) from error


def digest_of(path: str) -> tuple[str, os.stat_result]:
    """xxh3-128 of a file's content in hex, and the state of the file that was read."""
    descriptor = system.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe in its place must not stop us for ever
    try:
        return _digest(descriptor), system.fstat(descriptor)
    finally:
        system.close(descriptor)


def digest_of_part(path: str, start: int, size: int) -> tuple[str, os.stat_result]:
    """xxh3-128 of a part of a file in hex, and the state of the file; of what lies behind its end, nothing."""
    descriptor = system.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        hasher = xxhash.xxh3_128()
        for block in blocks_at(descriptor, start, size):
            hasher.update(block)
        return hasher.hexdigest(), system.fstat(descriptor)
    finally:
        system.close(descriptor)


def blocks_at(descriptor: int, start: int, size: int) -> Iterator[bytes]:
    """A part of an open file, a block at a time; it ends early where the file does."""
    end = start + size
    while start < end and (block := system.read_at(descriptor, min(_BLOCK_BYTES, end - start), start)):
        yield block
        start += len(block)


def _digest(descriptor: int) -> str:
    block = system.read_at(descriptor, _FIRST_BLOCK_BYTES, 0)
    if len(block) < _FIRST_BLOCK_BYTES:
        return xxhash.xxh3_128_hexdigest(block)
    hasher, offset = xxhash.xxh3_128(), 0
    while block:
        hasher.update(block)
        offset += len(block)
        block = system.read_at(descriptor, _BLOCK_BYTES, offset)
    return hasher.hexdigest()


def write_new(
    folder: str, name: str, write: Callable[[IO[bytes]], object], *, is_small: bool = False, sync: bool = False
) -> tuple[str, os.stat_result]:
    """Write a file that must not exist yet; return the digest and the state of what was written.

    Folders between ``folder`` and the file are made, but never ``folder`` itself: where that has been renamed, its
    former owner must not bring it back. After an error nothing is left of the file.

    Parameters
    ----------
    folder, name
        The file is ``folder/name``.
    write
        Writes to the binary file that it is given.
    is_small
        The content fits into memory easily: ``write`` fills a buffer, and one call brings that to the disk.
    sync
        Bring the file to the disk.

    Raises
    ------
    FileExistsError
        There is something of that name already; it is not touched.
    OSError
        The disk is full, or failed, or ``folder`` is gone.
    """
    path = f"{folder}/{name}"
    content = _buffered(write) if is_small else None
    file = _create(folder, name)
    try:
        return _fill(file, path, write, sync=sync) if content is None else _put(file, content, sync=sync)
    except BaseException:
        with contextlib.suppress(OSError):
            system.unlink(path)
        raise


class _Buffer(io.BytesIO):
    """A file in memory that a writer may close without losing what it wrote."""

    def close(self) -> None:
        """Do nothing."""


def _buffered(write: Callable[[IO[bytes]], object]) -> bytes | None:
    """What ``write`` writes, or None where it asks for a file that the operating system knows."""
    buffer = _Buffer()
    try:
        write(buffer)
    except (io.UnsupportedOperation, AttributeError):  # it asks for fileno() or name
        return None
    return buffer.getvalue()


def _create(folder: str, name: str) -> int:
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
    path = f"{folder}/{name}"
    try:
        return system.open(path, flags)
    except FileNotFoundError:
        for end in (place for place, letter in enumerate(name) if letter == "/"):
            with contextlib.suppress(FileExistsError):
                system.mkdir(f"{folder}/{name[:end]}")
        return system.open(path, flags)


def _put(descriptor: int, content: bytes, *, sync: bool) -> tuple[str, os.stat_result]:
    try:
        write_all(descriptor, content)
        if sync:
            sync_all(descriptor)
        state = system.fstat(descriptor)
    finally:
        system.close(descriptor)
    return xxhash.xxh3_128_hexdigest(content), state


def _fill(
    descriptor: int, path: str, write: Callable[[IO[bytes]], object], *, sync: bool
) -> tuple[str, os.stat_result]:
    with system.open_file(path, descriptor) as file:
        write(file)
        if not file.closed:
            file.flush()
            if sync:
                sync_all(descriptor)
            state = system.stat(path)
            if os.path.samestat(system.fstat(descriptor), state):
                return _digest(descriptor), state
    if sync:  # the writer has closed the file itself, or has put another in its place
        sync_path(path)
    return digest_of(path)


def write_replacing(path: str, write: Callable[[IO[bytes]], object], *, sync: bool) -> None:
    """Write a file as a whole in the place of what lies there: of several writers at one time the last one stays.

    Nobody is locked out, and nothing is left after an error. The content must fit into memory easily.

    Parameters
    ----------
    path
        Absolute path in a folder that exists. A link is replaced, not followed.
    write
        Writes to the binary file that it is given.
    sync
        Bring the file to the disk before it gets its name, and the name too.
    """
    folder = os.path.dirname(path)
    name = f".{uuid.uuid4().hex}.part"  # of its own length: a name that is just short enough must not grow
    write_new(folder, name, write, is_small=True, sync=sync)
    try:
        system.rename(f"{folder}/{name}", path)
    except BaseException:
        with contextlib.suppress(OSError):
            system.unlink(f"{folder}/{name}")
        raise
    if sync:
        sync_path(folder)


def write_whole(path: str, data: bytes, *, sync: bool) -> None:
    """Write a small new file of our own."""
    descriptor = system.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    try:
        write_all(descriptor, data)
        if sync:
            sync_all(descriptor)
    finally:
        system.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``, in as many calls as it takes."""
    written = system.write(descriptor, data)
    while written < len(data):
        data = data[written:]
        written = system.write(descriptor, data)


def read_whole(path: str, limit_bytes: int) -> bytes:
    """Content of a small file of our own; ValueError where it is larger than ``limit_bytes``."""
    descriptor = system.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe in its place must not stop us for ever
    try:
        if system.fstat(descriptor).st_size > limit_bytes:
            raise ValueError(f"{path!r} is larger than {limit_bytes} bytes")
        return b"".join(iter(lambda: system.read(descriptor, _BLOCK_BYTES), b""))
    finally:
        system.close(descriptor)


def lines_of(file: IO[bytes], limit_bytes: int) -> Iterator[bytes]:
    """The lines of a file, up to one that is longer than ``limit_bytes``, whose begin is the last."""
    while line := file.readline(limit_bytes + 1):
        yield line
        if len(line) > limit_bytes:
            return


def sync_path(path: str) -> None:
    """Bring one file, or the names in one directory, to the disk."""
    descriptor = system.open(path, os.O_RDONLY)
    try:
        sync_all(descriptor)
    finally:
        system.close(descriptor)


def sync_file_system(descriptor: int) -> bool:
    """Bring the whole file system that ``descriptor`` lies on to the disk; False where the system does not offer that.

    The descriptor must have been opened before the first write: errors are reported relative to that moment.
    An error must never be answered by a second try: the kernel reports it once and then says all is well.

    Raises
    ------
    SyncFailed
        It could not be done.
    """
    try:
        system.syncfs(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise SyncFailed(error.errno, error.strerror) from error
        return False
    return True


def sync_file_system_of(path: str) -> bool:
    """Bring the whole file system that ``path`` lies on to the disk; see :func:`sync_file_system`."""
    descriptor = system.open(path, os.O_RDONLY)
    try:
        return sync_file_system(descriptor)
    finally:
        system.close(descriptor)


def sync_paths(paths: Iterable[str]) -> None:
    """Bring files, and the names in directories, to the disk one by one: slower than the whole, and as sure."""
    with ThreadPoolExecutor(_SYNC_THREADS) as threads:
        for _ in threads.map(sync_path, paths):
            pass


def _let_go(descriptor: int) -> None:
    """Close a descriptor through which nothing was written, so that an error means nothing."""
    with contextlib.suppress(OSError):
        system.close(descriptor)


class BackgroundSync:
    """Brings a file system to the disk now and then while others write, so that the last time is short.

    Where the system offers no such thing, :meth:`finish` brings each file there alone.

    Parameters
    ----------
    directory
        A directory; nothing of interest was written below it before this.
    mark
        A file that lies there while something is brought to the disk, and stays where that has failed: whoever dies in
        the meantime cannot tell whether the kernel had lost data by then, and would not say so twice.
    on_error
        Called in another thread as soon as something could not be brought to the disk: the kernel tells of lost data
        once, so that whoever is killed now must have written it down.
    """

    def __init__(self, directory: str, mark: str, on_error: Callable[[], object]) -> None:
        self._directory = directory
        self._mark = mark
        self._descriptor = system.open(directory, os.O_RDONLY)
        self._on_error = on_error
        self.error: OSError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._repeat, name="luisy_dir-sync", daemon=True)
        self._thread.start()

    def _repeat(self) -> None:
        pause = _SYNC_PAUSE_SECONDS
        while not self._stop.wait(pause):
            begin = time.monotonic()
            try:
                with self.marked():
                    if not sync_file_system(self._descriptor):
                        return
            except SyncFailed as error:
                self.error = error
                self._on_error()
                return
            except OSError:  # no mark, no sync: the last one is still to come
                return
            pause = max(_SYNC_PAUSE_SECONDS, _SYNC_PAUSE_FACTOR * (time.monotonic() - begin))

    def finish(self) -> None:
        """Bring everything that was written to the disk; raise the first error that there ever was."""
        self.check()
        with self.marked():
            if not sync_file_system(self._descriptor):
                sync_paths([*(os.path.join(self._directory, name) for name in files_below(self._directory))])
                sync_paths(folders_below(self._directory))

    @contextlib.contextmanager
    def marked(self) -> Iterator[None]:
        """Let the mark lie there while the block brings something to the disk; it goes where that has succeeded."""
        write_whole(self._mark, b"", sync=False)
        yield
        system.unlink(self._mark)

    def check(self) -> None:
        """Stop; raise the first error that there ever was."""
        self._end()
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Stop; bring nothing more to the disk."""
        self._end()
        _let_go(self._descriptor)

    def _end(self) -> None:
        self._stop.set()
        self._thread.join()


def publish_directory(staged: str, target: str) -> None:
    """Give a finished directory its public name, in one act that cannot be half done.

    Raises
    ------
    FileExistsError
        There is something at ``target`` already, be it an empty directory; it is not touched.
    """
    try:
        system.rename_noreplace(staged, target)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error
        if error.errno not in _UNSUPPORTED:
            raise
        if exists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error
        system.rename(staged, target)


def put_if_absent(staged: str, path: str) -> None:
    """Give a finished file its public name, in one act that cannot be half done.

    Raises
    ------
    FileExistsError
        There is something at ``path`` already; it is not touched.
    """
    try:
        system.link(staged, path)
    except OSError as error:
        if error.errno not in WITHOUT_LINKS:
            raise
        publish_directory(staged, path)


def make_folders_below(root: str, folder: str) -> None:
    """Make a folder and those above it, but never ``root``: where that was renamed, it must not come back.

    Raises
    ------
    FileNotFoundError
        ``root`` is gone.
    """
    try:
        system.mkdir(folder)
    except FileExistsError:
        return
    except FileNotFoundError:
        if folder == root:
            raise
        make_folders_below(root, os.path.dirname(folder))
        with contextlib.suppress(FileExistsError):
            system.mkdir(folder)


def write_again(path: str) -> None:
    """Write a file's content over itself, so that the next sync takes all of it to the disk; its times stay.

    After a sync that failed the kernel takes what it holds in memory for written, though it is not on the disk.
    """
    descriptor = system.open(path, os.O_RDWR)
    try:
        state, offset = system.fstat(descriptor), 0
        while block := system.read_at(descriptor, _BLOCK_BYTES, offset):
            write_all(descriptor, block)  # at the same place: nobody moves the position but we
            offset += len(block)
    finally:
        system.close(descriptor)
    system.utime(path, state.st_mtime_ns)


def link_or_copy(source: str, target: str) -> None:
    """Give a file a second name, or where that cannot be, copy it with its time of change."""
    try:
        system.link(source, target)
    except OSError as error:
        if error.errno not in WITHOUT_LINKS:
            raise
        state = system.stat(source)
        with system.read_file(source) as file:
            write_whole(target, file.read(), sync=False)
        system.utime(target, state.st_mtime_ns)


def kind_of(path: str) -> str | None:
    """What lies at ``path``: ``file`` (or anything that is no folder), ``folder``, or None. Links are not followed."""
    try:
        state = system.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return "folder" if stat_bits.S_ISDIR(state.st_mode) else "file"


def is_device(path: str) -> bool:
    """Whether a device, a pipe or a socket lies at ``path``: what is no file, link or folder."""
    try:
        kind = stat_bits.S_IFMT(system.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return kind not in {stat_bits.S_IFREG, stat_bits.S_IFLNK, stat_bits.S_IFDIR}


def exists(path: str) -> bool:
    """Whether anything lies at ``path``, be it a link that leads nowhere."""
    try:
        system.lstat(path)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            raise
        return False
    return True


def names_in(directory: str) -> list[str]:
    """Names in a directory, sorted; none where it does not exist."""
    try:
        with system.scandir(directory) as entries:
            return sorted(entry.name for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def folders_in(directory: str) -> list[str]:
    """Names of the folders in a directory, sorted; none where it does not exist. Links are not followed."""
    try:
        with system.scandir(directory) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def files_below(directory: str) -> Iterator[str]:
    """Relative path of every file below a directory of our own; hidden names too."""
    prefixes = [""]
    while prefixes:
        prefix = prefixes.pop()
        with system.scandir(os.path.join(directory, prefix)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    prefixes.append(f"{prefix}{entry.name}/")
                else:
                    yield prefix + entry.name


def folders_below(directory: str) -> list[str]:
    """Absolute path of a directory of our own and of every folder below it, parents before children."""
    folders = [directory]
    for folder in folders:  # grows as folders are found
        folders += [os.path.join(folder, name) for name in folders_in(folder)]
    return folders


def told_space(path: str, error: OSError) -> str:
    """How much room is left where an error says that there is none; empty for any other error."""
    if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
        return ""
    try:
        free_bytes, free_files = system.free_space(path)
    except OSError:
        return ""
    files = f" and {free_files:,} files" if free_files < sys.maxsize else ""
    return f" (the file system has room for {free_bytes:,} bytes{files})"


def size_of_tree(path: str) -> int:
    """Bytes in a file, or in all files below a directory of our own."""
    total = 0
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # it may go while we look
        if kind_of(path) != "folder":
            return system.lstat(path).st_size
        for name in files_below(path):
            total += system.lstat(os.path.join(path, name)).st_size
    return total


def newest_change(path: str) -> float:
    """When a directory of our own, or something right in it, changed last, in seconds since 1970."""
    inside = (os.path.join(path, name) for name in names_in(path))
    return max(system.lstat(each).st_mtime for each in (path, *inside))


def remove_tree(path: str) -> None:
    """Remove a file or a directory of our own with all that is in it; what is gone already is no error.

    Links are removed and not followed, be it ``path`` itself.
    """
    folders = [path]
    for folder in folders:  # grows as folders are found: parents before children
        for entry in _entries_of_our_own(folder):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            else:
                _remove(system.unlink, entry.path)
    for folder in reversed(folders):
        _remove(system.rmdir, folder)


def _entries_of_our_own(folder: str) -> list[os.DirEntry[str]]:
    try:
        if not stat_bits.S_ISDIR(system.lstat(folder).st_mode):
            system.unlink(folder)
            return []
        with system.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _remove(remove: Callable[[str], None], path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        remove(path)


def remove_empty_below(path: str) -> None:
    """Remove the folders below a directory of our own that hold no file."""
    for folder in reversed(folders_below(path)[1:]):
        remove_empty(folder)


def remove_empty(path: str) -> None:
    """Remove a directory if it is empty, else leave it."""
    try:
        system.rmdir(path)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}:
            raise


class Lock:
    """The lock of a staging directory: lets a second run fail early.

    Correctness does not rest on it. The file is removed by whoever holds the lock, and a lock that was taken on a file
    that has been removed meanwhile is taken again.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def is_held(self) -> bool:
        """Whether somebody holds the lock, as far as can be seen without taking it; nothing is written."""
        try:
            descriptor = system.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            system.lock(descriptor)
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in _WITHOUT_LOCKS:
                raise
        finally:
            system.close(descriptor)
        return False

    def acquire(self) -> None:
        """Take the lock, or raise BusyError at once."""
        while True:
            descriptor = system.open(self._path, os.O_CREAT | os.O_RDWR)
            try:
                system.lock(descriptor)
                if self._is_current(descriptor):
                    self._descriptor = descriptor
                    return
            except BlockingIOError as error:
                system.close(descriptor)
                raise BusyError(
                    f"Another run holds {self._path!r}. Wait until it has ended, or find it with 'fuser {self._path}'."
                ) from error
            except OSError as error:
                if error.errno in _WITHOUT_LOCKS:  # correctness does not rest on it
                    self._descriptor = descriptor
                    return
                system.close(descriptor)
                raise StorageError(error.errno, f"The lock {self._path!r} cannot be taken: {error.strerror}") from error
            system.close(descriptor)

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(system.fstat(descriptor), system.stat(self._path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Remove the lock's file and let the lock go."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                if self._is_current(self._descriptor):  # somebody may have removed ours, and another run made its own
                    system.unlink(self._path)
            _let_go(self._descriptor)
            self._descriptor = -1
