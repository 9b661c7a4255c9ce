"""Rolling forward: the way of a committed generation's files to their places, begun or begun again by anybody.

Every act has one end inside the run's directory: new files come out of its ``files/``, replaced and removed ones go
into its ``undo/``, and CURRENT comes out of it last. Whoever rolls forward renames that directory first, so that a
former owner who was asleep meanwhile finds nothing when he wakes, and harms nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from luisy_dir.entry import Entry, leads_outside
from luisy_dir.errors import BusyError, DamagedManifestError, ManifestError, StorageError
from luisy_dir.journal import is_interrupted
from luisy_dir.keys import side_by_side
from luisy_dir.manifest import Manifest
from luisy_dir.record import (
    ADVICE,
    CURRENT,
    FOLDER,
    UNDO,
    VERIFIED,
    Record,
    current_generation,
    encode_current,
    encode_record,
    generation_name,
    generations_in,
    has_pending,
    numbers_of,
    read_record,
    was_verified,
)
from luisy_dir.staging import RUN, remove_abandoned
from luisy_dir.storage import local, system

_TRIES = 10
_SHORTEST_PAUSE_SECONDS = 0.002  # and twice as long each time: two seconds in all
_NOT_CLAIMED = {errno.ENOENT, errno.EXDEV}  # it is gone, or lies in the lower layer of an overlay
_FEW_FOLDERS = 64


@dataclass(frozen=True)
class Changes:
    """What a generation changes in its directory.

    Parameters
    ----------
    put
        Paths of the outputs that are new, or take the place of others.
    removed
        Paths of the outputs that are no more.
    """

    put: tuple[str, ...]
    removed: tuple[str, ...]


def changes_of(pairs: Iterable[tuple[Entry | None, Entry | None]]) -> Changes:
    """What changes where the first entry of each pair is superseded by the second.

    Examples
    --------
    >>> changes_of([])
    Changes(put=(), removed=())
    """
    put: set[str] = set()
    before: set[str] = set()
    after: set[str] = set()
    for old, new in pairs:
        outputs = new.outputs if new is not None else ()
        kept = old.outputs if old is not None else ()
        before.update(output.file for output in kept)
        after.update(output.file for output in outputs)
        put.update(output.file for output in outputs if output not in kept)
    _check_inside({*put, *before})
    return Changes(tuple(sorted(put)), tuple(sorted(before - after)))


def _check_inside(paths: Iterable[str]) -> None:
    """Raise DamagedManifestError where a path leads out of the directory, or into our own folder."""
    for path in paths:
        if leads_outside(path):
            raise DamagedManifestError(f"A manifest names an output {path!r}, which no task writes. {ADVICE}")


def pairs_of(old: Manifest | None, new: Manifest) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Entries of two generations that differ, side by side, in key order."""
    pairs = side_by_side(() if old is None else old.entries(), new.entries())
    return ((one, other) for one, other in pairs if one != other)


def recover(directory: str, staging: str, *, keep: int, sync: bool = True) -> None:
    """Finish what a run that ended without a word had committed, and remove what cannot be resumed.

    Runs that were interrupted before their commit stay, under new names.

    The lock of the staging is held; where locks do not work, the runs that are renamed here get an error.

    Parameters
    ----------
    directory
        The directory to publish, published or not.
    staging
        Its staging.
    keep
        How many generations are kept.
    sync
        Bring the acts to the disk.

    Raises
    ------
    DamagedManifestError
        The generation that was committed last is damaged. All else is done.
    ManifestError
        It cannot be read.
    StorageError
        The disk failed; the next run goes on.
    """
    runs = dict(_claimed(staging))
    try:
        _finish(directory, staging, runs, keep=keep, sync=sync)
    except DamagedManifestError:
        remove_abandoned(staging, but=_interrupted(runs))
        raise
    except OSError as error:
        raise StorageError(
            error.errno,
            f"{directory!r}: what a former run has committed cannot be brought to its places: "
            f"{error.strerror or error}. Mend that, then run again, which goes on here.",
        ) from error
    _remove_orphans(directory)
    remove_abandoned(staging, but=_interrupted(runs))


def _interrupted(runs: Mapping[str, str]) -> list[str]:
    return [run for run in runs.values() if is_interrupted(run)]


def is_settled(directory: str) -> bool:
    """Whether nothing is left to be finished in a published directory, as far as its manifest tells."""
    try:
        return not has_pending(directory)
    except DamagedManifestError:
        return False


def _finish(directory: str, staging: str, runs: dict[str, str], *, keep: int, sync: bool) -> None:
    """Roll the generation forward that was committed last, where CURRENT does not name it yet."""
    last = _last_generation(directory)
    try:
        applied = current_generation(directory) or 0
    except DamagedManifestError:  # it can be made again
        applied = last - 1
    if last < applied:  # where locks do not work, another run may have published between the two looks
        last = _last_generation(directory)
    if last == applied:
        _forget_applied(directory, last, runs)
        return
    if last < applied:
        raise DamagedManifestError(
            f"The record of generation {applied} of {directory!r} is gone, which CURRENT names. {ADVICE}"
        )
    manifest = Manifest(directory, read_record(directory, last))
    manifest.verify()
    changes = changes_of(pairs_of(_parent(directory, manifest.record), manifest))
    if manifest.record.run_id not in runs:
        runs.update(_claimed(staging))  # it may have begun after we had looked
    run = runs.pop(manifest.record.run_id, None) or os.path.join(staging, f"{RUN}again-{manifest.record.run_id}")
    system.makedirs(os.path.join(run, "files"))
    roll_forward(directory, run, manifest.record, changes, sync=sync)
    forget(directory, keep)
    local.remove_tree(run)


def _last_generation(directory: str) -> int:
    return next(reversed(generations_in(directory)), 0)


def _forget_applied(directory: str, last: int, runs: dict[str, str]) -> None:
    """The run that has published the last generation was not interrupted, but ended before it had cleaned up."""
    with contextlib.suppress(DamagedManifestError):
        if runs and last:
            runs.pop(read_record(directory, last).run_id, None)


def _claimed(staging: str) -> Iterator[tuple[str, str]]:
    """Run id and new path of every run in a staging: its former owner finds nothing any more."""
    for name in local.names_in(staging):
        if name.startswith(RUN):
            _, fingerprint, run_id, *_ = [*name.split("-"), "", ""]
            path = os.path.join(staging, f"{RUN}{fingerprint}-{run_id}-{uuid.uuid4().hex}")
            try:
                system.rename(os.path.join(staging, name), path)
            except OSError as error:
                if error.errno in _NOT_CLAIMED:
                    continue
                raise
            yield run_id, path


def _parent(directory: str, record: Record) -> Manifest | None:
    """Manifest of the generation before; without one, nothing is known to be removed."""
    if record.parent is None:
        return None
    try:
        manifest = Manifest(directory, read_record(directory, record.parent))
        manifest.verify()
    except ManifestError:
        return None
    return manifest


def _remove_orphans(directory: str) -> None:
    """Remove files of entries whose record was never committed."""
    names = local.names_in(os.path.join(directory, FOLDER))  # looked at once: what comes after is somebody else's
    last = max(numbers_of(names, ".json"), default=0)
    for number in numbers_of(names, ".jsonl"):
        if number > last:
            system.unlink(os.path.join(directory, FOLDER, f"{generation_name(number)}.jsonl"))


def roll_forward(directory: str, run: str, record: Record, changes: Changes, *, sync: bool = True) -> None:
    """Bring the files of a committed generation to their places; what was done already is left alone.

    Parameters
    ----------
    directory
        The published directory.
    run
        The run's directory, renamed by whoever calls this, or made by him.
    record
        Of the generation.
    changes
        What it changes.
    sync
        Bring the acts to the disk.

    Raises
    ------
    BusyError
        Another run has taken over, and will finish this.
    OSError
        The disk failed. The next run finishes this.
    """
    try:
        _roll_forward(directory, run, record, changes, sync=sync)
    except FileNotFoundError as error:
        if local.exists(os.path.join(run, "files")):
            raise
        raise BusyError(
            f"Another run has taken over {directory!r}, and finishes what this one has committed as generation "
            f"{record.generation}. Nothing is lost; wait until it has ended."
        ) from error


def _roll_forward(directory: str, run: str, record: Record, changes: Changes, *, sync: bool) -> None:
    folder, undo = os.path.join(directory, FOLDER), os.path.join(run, "undo")
    kept_undo = os.path.join(folder, UNDO + generation_name(record.generation))
    mover = _Mover(directory, run, kept_undo)
    for path in changes.removed:
        mover.take_away(path)
    mover.remove_empty_folders(changes.removed)
    for path in changes.put:
        mover.put(path)
    if sync:
        _sync_folders(directory, mover.touched)
    if local.exists(undo):
        with contextlib.suppress(FileExistsError):  # a run that was killed just here had nothing left to move
            local.publish_directory(undo, kept_undo)
    current = os.path.join(run, CURRENT)
    with contextlib.suppress(FileNotFoundError):
        system.unlink(current)
    local.write_whole(current, encode_current(encode_record(record)), sync=True)
    system.rename(current, os.path.join(folder, CURRENT))
    if sync:
        local.sync_path(folder)


class _Mover:
    """Moves files between a published directory and a run's."""

    def __init__(self, directory: str, run: str, kept_undo: str) -> None:
        self._directory = directory
        self._run = run
        self._files = os.path.join(run, "files")
        self._undo = os.path.join(run, "undo")
        self._kept_undo = kept_undo
        self._made: set[str] = set()
        self.touched: set[str] = set()

    def take_away(self, path: str) -> None:
        """Move a published file into ``undo/``; one that is gone is no error."""
        kept = os.path.join(self._undo, path)
        self.touched.add(os.path.dirname(path))
        if local.exists(kept) or local.exists(os.path.join(self._kept_undo, path)):
            return
        self._make_folder_of(kept)
        try:
            system.rename(os.path.join(self._directory, path), kept)
        except (FileNotFoundError, NotADirectoryError):
            system.lstat(self._files)  # else another run has taken over

    def put(self, path: str) -> None:
        """Give a staged file its place; what lay there is kept in ``undo/``, and readers see the one or the other."""
        staged, place = os.path.join(self._files, path), os.path.join(self._directory, path)
        self.touched.add(os.path.dirname(path))
        try:
            state = system.lstat(staged)
        except FileNotFoundError:
            system.lstat(self._files)  # else another run has taken over
            return
        if state.st_nlink > 1:
            self._forget_other_names(path, state)
        self._keep(place, os.path.join(self._undo, path))
        self._move(staged, place, path)

    def _forget_other_names(self, path: str, state: os.stat_result) -> None:
        """A file that is brought back has a name in an ``undo-…`` too: who edits the one must not reach the other."""
        folder = os.path.join(self._directory, FOLDER)
        for name in local.names_in(folder):
            other = os.path.join(folder, name, path)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                if name.startswith(UNDO) and os.path.samestat(system.lstat(other), state):
                    system.unlink(other)

    def _keep(self, place: str, kept: str) -> None:
        if not local.exists(place):
            return
        self._make_folder_of(kept)
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            try:
                system.link(place, kept)
            except OSError as error:
                if error.errno not in local.WITHOUT_LINKS:
                    raise
                system.rename(place, kept)

    def _move(self, staged: str, place: str, path: str) -> None:
        for attempt in range(_TRIES):
            try:
                system.rename(staged, place)
            except FileNotFoundError:
                system.lstat(staged)  # else it is the folder that is missing, which a former owner may take away again
                if attempt:  # or which a network file system still remembers for a second
                    time.sleep(_SHORTEST_PAUSE_SECONDS * 2**attempt)
                for folder in reversed([*folders_above(path)]):
                    self._make_public(os.path.join(self._directory, folder))
            else:
                return
        raise OSError(errno.EBUSY, "Somebody removes its folder again and again", place)

    def _make_public(self, folder: str) -> None:
        """Make a folder in the published directory; it comes out of the run's, like all else."""
        if local.kind_of(folder) == "folder":
            return
        new = os.path.join(self._run, "folder")
        with contextlib.suppress(FileExistsError):
            system.mkdir(new)
        with contextlib.suppress(FileExistsError):
            local.publish_directory(new, folder)

    def _make_folder_of(self, path: str) -> None:
        folder = os.path.dirname(path)
        if folder not in self._made:
            local.make_folders_below(self._run, folder)
            self._made.add(folder)

    def remove_empty_folders(self, removed: Iterable[str]) -> None:
        """Remove the folders that have nothing left in them."""
        folders = {folder for path in removed for folder in folders_above(path)}
        for folder in sorted(folders, key=len, reverse=True):
            with contextlib.suppress(NotADirectoryError):
                local.remove_empty(os.path.join(self._directory, folder))


def folders_above(path: str) -> Iterator[str]:
    """Relative paths of the folders that a relative path lies in, the nearest first.

    Examples
    --------
    >>> list(folders_above("a/b/c.npy"))
    ['a/b', 'a']
    """
    while path := os.path.dirname(path):
        yield path


def _sync_folders(directory: str, touched: set[str]) -> None:
    folders = {"", *touched, *(above for folder in touched for above in folders_above(folder))}
    if len(folders) > _FEW_FOLDERS and local.sync_file_system_of(directory):
        return
    for folder in sorted(folders):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            local.sync_path(os.path.join(directory, folder))


def forgettable(directory: str, keep: int) -> list[str]:
    """Absolute paths of what only generations need that are no longer kept.

    Parameters
    ----------
    directory
        A published directory.
    keep
        How many generations are kept, the newest first.

    Raises
    ------
    ManifestError
        A record that is kept cannot be read.
    """
    if not is_settled(directory):
        return []
    folder = os.path.join(directory, FOLDER)
    names = local.names_in(folder)  # looked at once: what comes after is no garbage
    kept = numbers_of(names, ".json")[-keep:]
    needed = {file.file for number in kept for file in read_record(directory, number).files}
    needed |= {f"{generation_name(number)}.json" for number in kept} | {CURRENT}
    needed |= {UNDO + generation_name(number) for number in kept[1:]}
    if kept and was_verified(directory, read_record(directory, kept[-1])):
        needed.add(VERIFIED)
    doomed = [os.path.join(folder, name) for name in names if name not in needed]
    return sorted(doomed, key=lambda path: not path.endswith(".json"))  # records first: nobody asks for the rest then


def forget(directory: str, keep: int) -> None:
    """Remove what :func:`forgettable` names; nothing where a record that is kept cannot be read."""
    with contextlib.suppress(ManifestError):
        for path in forgettable(directory, keep):
            local.remove_tree(path)
