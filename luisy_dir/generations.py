"""Generations: what was published one after another as one directory, and the ways back to it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from luisy_dir.entry import Entry, Failure, OutputFile
from luisy_dir.errors import BusyError, GenerationError, ManifestError, MissingInputError, SettingError
from luisy_dir.manifest import Manifest, read_manifest
from luisy_dir.packs import digest_of_output
from luisy_dir.record import FOLDER, UNDO, Record, generation_name, generations_in, read_record
from luisy_dir.rollforward import forgettable, is_settled, pairs_of, recover
from luisy_dir.staging import BAD, RUN, locked, path_of_staging, staging_of
from luisy_dir.storage import local
from luisy_dir.transaction import DEFAULT_KEEP, Facts, Transaction
from luisy_dir.verification import Verification, few, verify

_KEEP_ALL = sys.maxsize
_DAY_SECONDS = 86_400.0


def versions(directory: str) -> list[Record]:
    """Records of the generations that are kept, the newest first.

    Parameters
    ----------
    directory
        A published directory.

    Raises
    ------
    MissingInputError
        Nothing was published there.
    ManifestError
        A record cannot be read.
    """
    numbers = generations_in(directory)
    if not numbers:
        raise _nothing(directory)
    return [read_record(directory, number) for number in reversed(numbers)]


def _nothing(directory: str) -> MissingInputError:
    return MissingInputError(f"Nothing was published as {directory!r}. 'luisy-dir ls' shows what was.")


@dataclass(frozen=True)
class Difference:
    """How one generation differs from another: keys in order.

    Parameters
    ----------
    added, removed
        Keys that only the other, or only the one has.
    changed
        Keys of which status, outputs, meta or error differ.
    again
        Keys that were processed again, with the same result.
    unchanged
        Number of the other keys.

    Examples
    --------
    >>> print(Difference(added=("c",), removed=(), changed=("a", "b"), again=(), unchanged=97))
    1 added, 2 changed, 97 unchanged
      added: 'c'
      changed: 'a', 'b'
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    again: tuple[str, ...]
    unchanged: int

    @property
    def keys(self) -> dict[str, tuple[str, ...]]:
        """Keys by what has become of them; without those of which there are none."""
        named = {name: getattr(self, name) for name in ("added", "removed", "changed", "again")}
        return {name: keys for name, keys in named.items() if keys}

    def __str__(self) -> str:
        counts = [f"{len(keys)} {name}" for name, keys in self.keys.items()]
        lines = [f"  {name}: {few(keys)}" for name, keys in self.keys.items()]
        return "\n".join([", ".join([*counts, f"{self.unchanged} unchanged"]), *lines])


def diff(directory: str, one: int, other: int) -> Difference:
    """Compare two generations that are kept.

    Parameters
    ----------
    directory
        A published directory.
    one, other
        Numbers of the generations.

    Raises
    ------
    MissingInputError
        Nothing was published there.
    GenerationError
        One of them is not kept.
    ManifestError
        One of them cannot be read.
    """
    before, after = kept_manifest(directory, one), kept_manifest(directory, other)
    names: dict[str, list[str]] = {"added": [], "removed": [], "changed": [], "again": []}
    for old, new in pairs_of(before, after):
        if old is None or new is None:
            name = "removed" if new is None else "added"
        else:
            name = "again" if _result(old) == _result(new) else "changed"
        names[name].append((old or new).key)  # type: ignore[union-attr]
    count = sum(after.record.counts.values())
    differing = len(names["added"]) + len(names["changed"]) + len(names["again"])
    return Difference(**{name: tuple(keys) for name, keys in names.items()}, unchanged=count - differing)


def _result(entry: Entry) -> tuple[Any, ...]:
    return entry.status, [(output.path, output.digest) for output in entry.outputs], entry.meta, entry.error


def kept_manifest(directory: str, generation: int) -> Manifest:
    """Manifest of a generation that is kept, which equals its digests.

    Raises
    ------
    MissingInputError
        Nothing was published.
    GenerationError
        That generation is not kept.
    ManifestError
        Its manifest cannot be read.
    """
    numbers = generations_in(directory)
    if not numbers:
        raise _nothing(directory)
    if generation not in numbers:
        raise GenerationError(
            f"Generation {generation} of {directory!r} is not kept; kept are {', '.join(map(str, numbers))}. "
            "keep_generations says how many are."
        )
    manifest = Manifest(directory, read_record(directory, generation))
    manifest.verify()
    return manifest


def rollback(directory: str, to: int | None = None, *, durability: str = "commit") -> Record:
    """Publish the content of an earlier generation again, as a new one that is pinned.

    A pinned generation counts as complete, whatever becomes of its inputs and its code, until :func:`release`. Nothing
    is lost: what it replaces is kept, and can be gone back to in the same way. As many system calls are made as files
    change.

    Parameters
    ----------
    directory
        A published directory.
    to
        Number of the generation to go back to; None is the one before.
    durability
        As the setting.

    Returns
    -------
    Record
        Of the new generation.

    Raises
    ------
    MissingInputError
        Nothing was published there.
    GenerationError
        That generation, or one of its files, is not kept.
    BusyError
        A run works on the directory.
    """
    current = _settled(directory)
    if to is None:  # a manifest that was damaged has no parent, and may have some before it all the same
        to = max((number for number in generations_in(directory) if number < current.record.generation), default=None)
    if to is None or to == current.record.generation:
        raise GenerationError(f"There is no generation before {current.record.generation} of {directory!r} to go to.")
    with Transaction(
        directory, current.record.fingerprint, durability=durability, base=current, keep=_KEEP_ALL
    ) as transaction:
        earlier = kept_manifest(directory, to)  # from here on nobody else removes what is kept
        transaction.start = earlier.record.start
        superseded = []
        for old, new in pairs_of(current, earlier):
            if new is not None:
                restored = _restored(current, old, new, to)
                transaction.restore(restored.entry, restored.places)
            if old is not None:
                superseded.append(old)
        return transaction.commit(_facts_of(earlier.record, is_pinned=True), superseded)


@dataclass(frozen=True)
class _Restored:
    """An entry of an earlier generation, and where the outputs lie that are not in their places."""

    entry: Entry
    places: dict[str, str]


def _restored(current: Manifest, old: Entry | None, new: Entry, to: int) -> _Restored:
    there = {output.path: output for output in (() if old is None else old.outputs)}
    outputs, places = [], {}
    for output in new.outputs:
        in_place = there.get(output.path)
        if in_place is not None and _is_as_good(in_place, output):
            outputs.append(in_place)
            continue
        place, mtime_ns = _find(current, output, to)
        places[output.file] = place
        outputs.append(msgspec.structs.replace(output, mtime_ns=mtime_ns))
    return _Restored(msgspec.structs.replace(new, outputs=tuple(outputs)), places)


def _is_as_good(in_place: OutputFile, output: OutputFile) -> bool:
    """Whether an output that lies there is that of an earlier generation; it may have been made again since.

    Packs go as a whole: the same output in another pack stands between others.
    """
    is_packed = in_place.pack is not None or output.pack is not None
    return in_place == output if is_packed else in_place.digest == output.digest


def _find(current: Manifest, output: OutputFile, to: int) -> tuple[str, int]:
    """Where the content of an output is kept among what later generations have replaced, and its time of change."""
    for generation in range(to + 1, current.record.generation + 1):
        place = os.path.join(current.directory, FOLDER, UNDO + generation_name(generation), output.file)
        if local.kind_of(place) == "file":
            digest, state = digest_of_output(place, output)
            is_whole = output.pack is None or state.st_size == output.pack.size
            if is_whole and digest == output.digest:
                return place, state.st_mtime_ns
    raise GenerationError(
        f"Generation {to} of {current.directory!r} cannot be gone back to: {output.path!r} of it is not kept any more, "
        "or was changed. Nothing was done."
    )


def _settled(directory: str) -> Manifest:
    """Manifest of a directory in which nothing is left to be finished."""
    if not local.exists(os.path.join(directory, FOLDER)):
        raise _nothing(directory)
    if local.exists(staging_of(directory)) or not is_settled(directory):
        with locked(directory) as staging:
            recover(directory, staging, keep=_KEEP_ALL)
    manifest = read_manifest(directory)
    if manifest is None:
        raise _nothing(directory)
    return manifest


def _facts_of(record: Record, *, is_pinned: bool) -> Facts:
    return Facts(
        task=record.task,
        parameters=record.parameters,
        layer=record.layer,
        fingerprint=record.fingerprint,
        parts=record.parts,
        engine=record.engine,
        workers=record.workers,
        inputs=record.inputs,
        raw_roots=(),
        is_pinned=is_pinned,
        code={} if record.code is msgspec.UNSET else record.code,
        roots=record.roots,
    )


def release(directory: str, *, durability: str = "commit") -> Record:
    """Let a pinned generation be brought up to date again by the next run; one that is not pinned is left alone.

    Parameters
    ----------
    directory
        A published directory.
    durability
        As the setting.

    Returns
    -------
    Record
        Of the generation that is published now.

    Raises
    ------
    MissingInputError
        Nothing was published there.
    BusyError
        A run works on the directory.
    """
    current = _settled(directory)
    record = current.record
    if not record.pinned:
        return record
    with Transaction(
        directory, record.fingerprint, durability=durability, base=current, keep=_KEEP_ALL, start=record.start
    ) as transaction:
        return transaction.commit(_facts_of(record, is_pinned=False))


def repair(directory: str, deep: bool = False, *, durability: str = "commit") -> Verification:  # noqa: FBT001, FBT002 - as verify
    """Verify a directory, and publish a generation in which the entries of damaged outputs are marked.

    The next run makes those outputs anew. A file that was changed is moved out of sight, where :func:`rollback` finds
    what it replaced; foreign files are left alone. Where nothing is damaged, nothing is written.

    Parameters
    ----------
    directory
        A published directory.
    deep
        Read every output; see :func:`luisy_dir.verification.verify`.
    durability
        As the setting.

    Returns
    -------
    Verification
        What was found.

    Raises
    ------
    MissingInputError
        Nothing was published there.
    BusyError
        A run works on the directory.
    """
    current = _settled(directory)
    found = verify(directory, deep)
    damage = dict.fromkeys(found.missing, "is missing") | dict.fromkeys(found.changed, "is not as it was written")
    if not damage:
        return found
    damaged = [entry for entry in current.entries() if any(output.file in damage for output in entry.outputs)]
    record = current.record
    with Transaction(
        directory, record.fingerprint, durability=durability, base=current, keep=_KEEP_ALL, start=record.start
    ) as transaction:
        for entry in damaged:
            transaction.keep(_marked(entry, damage))
        transaction.commit(_facts_of(record, is_pinned=False), damaged)
    return found


def _marked(entry: Entry, damage: Mapping[str, str]) -> Entry:
    files = dict.fromkeys(output.file for output in entry.outputs if output.file in damage)
    told = "; ".join(f"{file!r} {damage[file]}" for file in files)
    return msgspec.structs.replace(
        entry,
        status="output missing",
        outputs=tuple(output for output in entry.outputs if output.file not in damage),
        error=Failure("OutputMissing", told),
    )


@dataclass(frozen=True)
class Garbage:
    """What nobody needs any more.

    Parameters
    ----------
    paths
        Absolute paths of files and folders, with the bytes that lie in them.
    busy
        Directories on which a run works, so that nothing was looked for beside them.
    """

    paths: dict[str, int] = field(default_factory=dict)
    busy: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(self.paths.values())


def gc(folder: str, *, keep: int = DEFAULT_KEEP, older_than_days: float = 7.0, dry_run: bool = False) -> Garbage:
    """Remove what nobody needs any more from the published directories of a folder.

    That is: generations that are no longer kept, with what they have replaced; stagings whose disk failed; and what
    runs that did not publish have left, when it is old. A run that is at work is left alone.

    Parameters
    ----------
    folder
        A published directory, or a folder above some.
    keep
        How many generations of each are kept.
    older_than_days
        Age from which on what a run has left is removed.
    dry_run
        Remove nothing.

    Returns
    -------
    Garbage
        What was removed, or would be.

    Raises
    ------
    MissingInputError
        There is no such folder.
    SettingError
        ``keep`` is less than 1.
    ManifestError
        A record that is kept cannot be read. Nothing of its directory was removed; of all others it was.
    """
    if keep < 1:
        raise SettingError(f"keep is {keep}, and the generation that is published is always kept. Give 1 or more.")
    folder = os.path.abspath(folder)
    if not (os.path.isdir(folder) or local.exists(staging_of(folder))):
        raise MissingInputError(f"There is no folder {folder!r}. Is the path right, and is the disk mounted?")
    paths: dict[str, int] = {}
    busy: list[str] = []
    unreadable: list[ManifestError] = []
    for directory in directories_below(folder):
        try:
            for path in _garbage_of(directory, keep, older_than_days * _DAY_SECONDS, dry_run=dry_run):
                paths[path] = local.size_of_tree(path)
                if not dry_run:
                    local.remove_tree(path)
        except BusyError:
            busy.append(directory)
        except ManifestError as error:
            unreadable.append(error)
    if unreadable:
        unreadable[0].add_note(
            f"Of {len(unreadable)} directories nothing was removed; of the others, {len(paths)} files."
        )
        raise unreadable[0]
    return Garbage(paths, tuple(busy))


def _garbage_of(directory: str, keep: int, age_seconds: float, *, dry_run: bool) -> Iterator[str]:
    staging = staging_of(directory)
    if dry_run:
        if local.Lock(os.path.join(staging, "lock")).is_held():
            raise BusyError(f"A run works on {directory!r}.")
        yield from _left_in(directory, staging, age_seconds)
        yield from forgettable(directory, keep)
        return
    with locked(directory):
        yield from _left_in(directory, staging, age_seconds)
        yield from forgettable(directory, keep)


def _left_in(directory: str, staging: str, age_seconds: float) -> Iterator[str]:
    """What runs have left in a staging, but for one whose generation is committed."""
    numbers = generations_in(directory)
    committed = read_record(directory, numbers[-1]).run_id if numbers else "none"
    for name in local.names_in(staging):
        path = os.path.join(staging, name)
        is_old = time.time() - local.newest_change(path) >= age_seconds
        if name.startswith(BAD) or (name.startswith(RUN) and is_old and f"-{committed}" not in name):
            yield path


def directories_below(folder: str) -> Iterator[str]:
    """Absolute path of every directory below a folder that was published, or for which there is a staging."""
    folder = os.path.abspath(folder)
    if local.exists(os.path.join(folder, FOLDER)) or local.exists(staging_of(folder)):
        yield folder
        return
    names = local.folders_in(folder)
    staged = {path_of_staging(os.path.join(folder, name)) for name in names} - {None}
    for name in names:
        path = os.path.join(folder, name)
        if path not in staged and name[0] != ".":
            yield from directories_below(path)
    yield from sorted(path for path in staged if path is not None)
