"""A staging: the hidden sibling directory where a run writes what will be published."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Callable, Collection, Iterator
from typing import IO

import xxhash

from luisy_dir.errors import ForeignDirectoryError, StorageError
from luisy_dir.storage import local, system

RUN = "run-"
BAD = "bad-"
_SUFFIX = ".staging"
_LONGEST_STAGED_NAME_BYTES = 246  # a name has at most 255 bytes, and ours adds nine


def staging_of(path: str) -> str:
    """The hidden sibling directory where a run that publishes ``path`` writes.

    Examples
    --------
    >>> staging_of("data/interim/ToNumpy")
    'data/interim/.ToNumpy.staging'
    """
    parent, name = os.path.split(path)
    if len(os.fsencode(name)) > _LONGEST_STAGED_NAME_BYTES:
        name = xxhash.xxh3_128_hexdigest(os.fsencode(name))
    return os.path.join(parent, f".{name}{_SUFFIX}")


def path_of_staging(staging: str) -> str | None:
    """What is published out of a staging; None where a path is none, or where only a digest of the name stands in it.

    Examples
    --------
    >>> path_of_staging("data/interim/.ToNumpy.staging")
    'data/interim/ToNumpy'
    """
    folder, name = os.path.split(staging)
    if not (name.startswith(".") and name.endswith(_SUFFIX)):
        return None
    path = os.path.join(folder, name[1 : -len(_SUFFIX)])
    return path if staging_of(path) == staging else None


def lock_of(staging: str) -> local.Lock:
    """The lock of a staging, taken; the staging is made where there is none.

    Raises
    ------
    BusyError
        Another run holds the lock.
    StorageError
        The staging cannot be made.
    """
    lock = local.Lock(os.path.join(staging, "lock"))
    make_folder(os.path.dirname(staging) or ".")
    while True:
        try:
            with contextlib.suppress(FileExistsError):
                system.mkdir(staging)
            with contextlib.suppress(FileNotFoundError):  # a run that ended just now has removed the staging
                lock.acquire()
                return lock
        except StorageError:
            raise
        except OSError as error:
            raise _not_made(staging, error) from error


def make_folder(path: str) -> None:
    """Make a folder and its missing parents.

    Raises
    ------
    StorageError
        It cannot be made.
    """
    try:
        system.makedirs(path)
    except OSError as error:
        raise _not_made(path, error) from error


def _not_made(path: str, error: OSError) -> StorageError:
    return StorageError(
        error.errno,
        f"The folder {path!r} cannot be made or written to: {error.strerror}. Give this user the right to do so, see "
        "that the disk is mounted, or choose another working_dir.",
    )


@contextlib.contextmanager
def locked(path: str) -> Iterator[str]:
    """Hold the lock of the staging of ``path``, which is removed afterwards if it is empty then.

    Raises
    ------
    BusyError
        Another run holds the lock.
    """
    staging = staging_of(path)
    lock = lock_of(staging)
    try:
        yield staging
    finally:
        lock.release()
        local.remove_empty(staging)


def remove_fenced(path: str, staging: str) -> None:
    """Rename, then remove: a writer that still is at work there gets an error, and no reader sees a part.

    What somebody else has renamed or removed meanwhile is his.
    """
    doomed = os.path.join(staging, BAD + uuid.uuid4().hex)
    try:
        system.rename(path, doomed)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        doomed = path  # it lies in the lower layer of an overlay, where no writer can be at work
    local.remove_tree(doomed)


def withdraw(path: str) -> None:
    """Take a published directory or file out of sight in one act, then remove it, with all that is in its staging.

    What a crash leaves of it goes at the next run. Where there is nothing, nothing happens.

    Raises
    ------
    BusyError
        A run works on it.
    """
    if not local.exists(os.path.dirname(path)):
        return
    with locked(path) as staging:
        if local.exists(path):
            remove_fenced(path, staging)
        remove_abandoned(staging)


def move_directory(path: str, new_path: str) -> None:
    """Give a published directory another name in one act.

    Raises
    ------
    ForeignDirectoryError
        Something lies at the new place.
    StorageError
        The new place lies on another file system.
    BusyError
        A run works on one of the two.
    """
    if f"{new_path}/".startswith(f"{path}/"):
        raise ForeignDirectoryError(f"{path!r} is not moved to {new_path!r}, into itself. Choose another place.")
    with locked(path), locked(new_path):
        try:
            local.publish_directory(path, new_path)
        except FileExistsError as error:
            raise ForeignDirectoryError(
                f"{path!r} is not moved to {new_path!r}: something lies there. Move that away first."
            ) from error
        except OSError as error:
            raise StorageError(
                error.errno,
                f"{path!r} is not moved to {new_path!r}: {error.strerror}. On another file system copy it with "
                "'cp -a', then remove it here.",
            ) from error


def remove_abandoned(staging: str, *, but: Collection[str] = ()) -> None:
    """Remove what runs that ended without a word have left in a staging, whose lock is held.

    Parameters
    ----------
    staging
        The staging.
    but
        Absolute paths that stay.
    """
    for name in local.names_in(staging):
        path = os.path.join(staging, name)
        if name.startswith((RUN, BAD)) and path not in but:
            remove_fenced(path, staging)


def poison(run: str) -> None:
    """See that nothing of a run's directory is ever used, because the disk may have lost some of it.

    Whoever still writes there gets an error. On a disk that takes no more changes, nothing happens.
    """
    with contextlib.suppress(OSError):
        system.rename(run, os.path.join(os.path.dirname(run), BAD + uuid.uuid4().hex))


def replace_file(path: str, write: Callable[[IO[bytes]], object], *, sync: bool) -> None:
    """Write a file as a whole: until the last moment readers see the old one, or none.

    Parameters
    ----------
    path
        Absolute path; missing folders are made.
    write
        Writes to the binary file that it is given.
    sync
        Bring the file to the disk, so that a power cut leaves the old file or the new.

    Raises
    ------
    BusyError
        Another run is writing it.
    ForeignDirectoryError
        A directory lies there.
    StorageError
        The file cannot have this name, or nothing can be written there.
    """
    with locked(path) as staging:
        remove_abandoned(staging)
        name = RUN + uuid.uuid4().hex
        staged = os.path.join(staging, name)
        local.write_new(staging, name, write, sync=sync)
        try:
            system.rename(staged, path)
        except OSError as error:
            system.unlink(staged)
            if isinstance(error, IsADirectoryError):
                raise ForeignDirectoryError(
                    f"The result cannot be written as {path!r}: a directory lies there. Move it away first."
                ) from error
            raise StorageError(error.errno, f"The result cannot be written as {path!r}: {error.strerror}.") from error
        if sync:
            local.sync_path(os.path.dirname(path))


def publish_files(path: str, files: Iterator[tuple[str, Callable[[IO[bytes]], object]]], *, sync: bool) -> None:
    """Write a directory of several files and give it its name in one act.

    Parameters
    ----------
    path
        Absolute path of the directory; nothing may lie there yet. Missing folders above it are made.
    files
        Name of each file, and what writes to the binary file that it is given.
    sync
        Bring everything to the disk first.

    Raises
    ------
    BusyError
        Another run is writing it.
    ForeignDirectoryError
        Something lies there.
    """
    with locked(path) as staging:
        remove_abandoned(staging)
        staged = os.path.join(staging, RUN + uuid.uuid4().hex)
        system.mkdir(staged)
        try:
            for name, write in files:
                local.write_new(staged, name, write, sync=sync)
            if sync:
                local.sync_path(staged)
            local.publish_directory(staged, path)
        except FileExistsError as error:
            local.remove_tree(staged)
            raise ForeignDirectoryError(
                f"The result cannot be published as {path!r}: something lies there. Remove it first (clean())."
            ) from error
        except BaseException:
            local.remove_tree(staged)
            raise
        if sync:
            local.sync_path(os.path.dirname(path))
