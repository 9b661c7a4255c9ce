"""A transaction: fills a staging and then commits a generation, or leaves nothing visible."""

from __future__ import annotations

import contextlib
import errno
import heapq
import logging
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from operator import itemgetter
from types import TracebackType
from typing import Any, Self

import msgspec
import xxhash

from luisy_dir.entry import Entry, OutputFile, decode_entry, encode_entry
from luisy_dir.errors import (
    BusyError,
    DamagedManifestError,
    ForeignDirectoryError,
    KeyCollisionError,
    LuisyDirError,
    StorageError,
)
from luisy_dir.item import Item
from luisy_dir.journal import FILES, LOOSE, PACKS, SYNCING, has_entries, unpack
from luisy_dir.keys import check_folded_paths
from luisy_dir.manifest import Manifest
from luisy_dir.place import Room, check_place, foreign
from luisy_dir.record import (
    CURRENT,
    FOLDER,
    FORMAT_VERSION,
    CodeUnit,
    EntriesFile,
    InputState,
    Record,
    current_generation,
    encode_current,
    encode_record,
    generation_name,
    generations_in,
    is_in_doubt,
    numbers_of,
    read_current,
)
from luisy_dir.repacking import Repacked, Repacking
from luisy_dir.resumption import Resumption, tidy, was_syncing
from luisy_dir.rollforward import Changes, changes_of, folders_above, forget, recover, roll_forward
from luisy_dir.staging import RUN, lock_of, make_folder, poison, remove_abandoned, staging_of
from luisy_dir.storage import local, system
from luisy_dir.storage.probe import Capabilities, probe
from luisy_dir.totals import Totals

logger = logging.getLogger("luigi-interface.luisy_dir")

DURABILITIES = ("none", "commit", "item")
DEFAULT_KEEP = 3
_BUFFER_BYTES = 1 << 20
_FEW_FILES = 64
_MOST_FILES = 16
LARGEST_SHARE = 0.1  # of the first file: a generation with more changed entries than that gets a file of all


@dataclass(frozen=True)
class Facts:
    """What a record says of a run beside its entries.

    Parameters
    ----------
    task, parameters, layer
        Task family, serialised significant parameters, and layer.
    fingerprint, parts
        What makes the result stale, as one digest and in its parts.
    engine, workers
        What the items were processed on.
    inputs
        State of the required directories that were published, and of other targets; those of raw folders are summed
        up from the entries.
    raw_roots
        Names of the raw folders.
    is_pinned
        The generation stays complete, whatever becomes of its inputs.
    code
        Each definition and constant that the items are made with, by name.
    roots
        Where the required directories lie, by name, as :func:`luisy_dir.roots.seen_from` has it; unset where that is
        not known.
    """

    task: str
    parameters: Mapping[str, str]
    layer: str | None
    fingerprint: str
    parts: Mapping[str, Any]
    engine: str
    workers: int
    inputs: Mapping[str, InputState]
    raw_roots: tuple[str, ...]
    is_pinned: bool = False
    code: Mapping[str, CodeUnit] = field(default_factory=dict)
    roots: Mapping[str, str] | msgspec.UnsetType = msgspec.UNSET


class Transaction:
    """Fills a staging beside a directory and publishes it as a generation.

    Use it as a context manager. Whatever ends the block without :meth:`commit`, readers see what they saw before; the
    entries that were collected stay in the staging, for the report and the next run. Workers must have been drained
    before the block ends.

    A first generation becomes visible as a whole, in one rename. A later one is committed when its record is there, and
    its files are then renamed to their places one by one; CURRENT names it last.

    Parameters
    ----------
    directory
        Absolute path of the directory to publish.
    fingerprint
        Of the task; names the run's directory.
    durability
        ``none``, ``commit`` (a power cut leaves the old state or the new, whole) or ``item``.
    base
        The generation that is superseded; None where nothing was published yet, or where its manifest is damaged.
    is_damaged
        Something was published whose manifest is damaged: everything is made anew in its place.
    keep
        How many generations are kept.
    start
        When the inputs were looked at, in UTC.
    resumption
        What may be taken over of a run that was interrupted; None leaves such runs alone, as whoever does not process
        items must.

    Raises
    ------
    ForeignDirectoryError
        Something that is not ours lies at ``directory``.
    BusyError
        Another run works on the same directory, or has published since ``base``.
    """

    def __init__(
        self,
        directory: str,
        fingerprint: str,
        *,
        durability: str = "commit",
        base: Manifest | None = None,
        is_damaged: bool = False,
        keep: int = DEFAULT_KEEP,
        start: datetime | None = None,
        resumption: Resumption | None = None,
    ) -> None:
        self.directory = directory
        self.staging = staging_of(directory)
        self.run_id = uuid.uuid4().hex
        self.run = os.path.join(self.staging, f"{RUN}{fingerprint[:16]}-{self.run_id}")
        self.files = os.path.join(self.run, FILES)
        self.start = start or datetime.now(UTC)
        self._resumption = resumption
        self._is_claimed = False
        self._is_resumed = False
        self._is_doubtful = False
        self._mark = os.path.join(self.run, SYNCING + self.run_id)
        self._taken_over: Counter[str] = Counter()
        self._base = base
        self._is_damaged = is_damaged
        self._generation = 1 if base is None else base.record.generation + 1
        self._keep = keep
        self._lines: dict[str, bytes] = {}
        self._totals = Totals()
        self._staged: list[str] = []
        self._packs: set[str] = set()
        self._staged_sum = 0
        self._is_needed = False
        self._durability = durability
        self._lock: local.Lock | None = None
        self.capabilities = Capabilities()
        self._sync: local.BackgroundSync | None = None
        self._is_committed = False
        self._is_applied = False

    @property
    def is_durable(self) -> bool:
        """Whether what is published outlives a power cut."""
        return self._durability != "none"

    @property
    def _is_first(self) -> bool:
        return self._base is None and not self._is_damaged

    def __enter__(self) -> Self:
        check_place(self.directory)
        self._lock = lock_of(self.staging)
        try:
            self.capabilities = self._probed()
            with contextlib.suppress(*([DamagedManifestError] if self._is_damaged else [])):
                recover(self.directory, self.staging, keep=self._keep, sync=self.is_durable)
            self._claim()
            try:
                self._check_base()  # whoever publishes from here on takes over
                self._is_doubtful = self._is_resumed and was_syncing(self.run)
                if self.is_durable:
                    self._sync = local.BackgroundSync(self.run, self._mark, partial(poison, self.run))
            except BaseException:
                if not self._is_resumed:
                    local.remove_tree(self.run)
                raise
        except BaseException as error:
            self._leave()
            if isinstance(error, OSError):
                self._explain(error)
            raise
        return self

    def _probed(self) -> Capabilities:
        """What the file system can do; StorageError where it is not enough."""
        capabilities = probe(self.staging)
        if not capabilities.keeps_runs_apart:
            raise StorageError(
                errno.ENOTSUP,
                f"Nothing can be published as {self.directory!r}: its file system has no locks, no second names of "
                "files (link), and no rename that replaces nothing, so that two runs could not be kept apart. Choose a "
                "working_dir on another file system.",
            )
        if not capabilities.lock:
            logger.warning(
                "The file system of %r has no locks: a second run would not wait, but take over what this one has "
                "finished, and this one would end. See that there is one run at a time.",
                self.directory,
            )
        return capabilities

    def _claim(self) -> None:
        """Make the run's directory of that of an interrupted run, which fences its former owner, or make a new one."""
        former = None if self._resumption is None else self._resumption.run_in(self.staging)
        if former is not None:
            with contextlib.suppress(FileNotFoundError):  # where locks do not work, another run may be faster
                system.rename(former, self.run)
                unpack(self.run)
                self._is_claimed = self._is_resumed = True
                return
        make_folder(self.files)
        self._is_claimed = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._sync is not None:
                self._sync.close()
            with _told_as_litter(self.run):
                if self._is_applied or not (self._is_needed or has_entries(self.run)):
                    local.remove_tree(self.run)
            if self._is_applied and self._resumption is not None:
                with _told_as_litter(self.staging):
                    remove_abandoned(self.staging)  # what other code had finished is of no use any more
            if isinstance(error, (LuisyDirError, OSError)):
                self._explain(error)
        finally:
            self._leave()

    def _explain(self, error: BaseException) -> None:
        """Say what the matter is where the block ends in a bare error of the disk, or in what that has led to."""
        cause = None if self._sync is None else self._sync.error
        if cause is not None and error.__cause__ is not cause and not self._is_committed:
            raise self._poisoned(cause) from cause
        if isinstance(error, OSError) and not isinstance(error, LuisyDirError):
            raise (self._unfinished if self._is_committed else self._not_published)(error) from error

    def resume(self, items: Iterable[Item]) -> list[Entry]:
        """Take over what an interrupted run has finished of the items to be processed, and remove what it left else.

        Parameters
        ----------
        items
            What is to be processed, in any order.

        Returns
        -------
        list of Entry
            Of the items that need not be processed again; they are collected.

        Raises
        ------
        StorageError
            The disk failed. What was finished stays.
        BusyError
            Another run has taken over.
        """
        if self._resumption is None or not self._is_resumed:
            return []
        try:
            finished = self._resumption.finished_items(self.run, items, is_doubtful=self._is_doubtful)
            tidy(self.run, finished.entries, mark=self._mark)
        except OSError as error:
            raise self._not_published(error) from error
        for entry in finished.entries:
            self.collect(encode_entry(entry))
        self._taken_over = finished.fingerprints
        return finished.entries

    def is_collected(self, key: str) -> bool:
        """Whether there is an entry of that key already."""
        return key in self._lines

    @property
    def is_empty(self) -> bool:
        """Whether no entry was collected."""
        return not self._lines

    def _leave(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        with _told_as_litter(self.staging):
            local.remove_empty(self.staging)

    def _check_base(self) -> None:
        """What was published must still be what the plan was made for."""
        if self._is_damaged:
            self._generation = 1 + self._last_number()
            return
        current = read_current(self.directory)
        planned_for = None if self._base is None else self._base.record
        is_newer = current is not None and generations_in(self.directory)[-1] > current.generation
        if is_newer or (current and current.checksum) != (planned_for and planned_for.checksum):
            raise BusyError(
                f"Another run has published {self.directory!r} since this one was planned. Run again: there may be "
                "nothing left to do."
            )

    def _last_number(self) -> int:
        """The highest number that ever was given, as far as a damaged manifest tells."""
        names = local.names_in(os.path.join(self.directory, FOLDER))
        named = 0
        with contextlib.suppress(DamagedManifestError):
            named = current_generation(self.directory) or 0
        return max(named, *numbers_of(names, ".json"), *numbers_of(names, ".jsonl"))

    def collect(self, line: bytes) -> Entry:
        """Take in what became of one item, as a worker has encoded it, and return it decoded.

        Raises
        ------
        KeyCollisionError
            There is an entry of that key already.
        """
        entry = self._take(line)
        for output in entry.outputs:
            self._stage(output)
        return entry

    def _stage(self, output: OutputFile) -> None:
        path = output.file
        if output.pack is not None:
            if path in self._packs:
                return
            self._packs.add(path)
        self._staged_sum += hash(path)
        if not self._is_first:  # where all entries are new, they say it
            self._staged.append(path)

    def keep(self, entry: Entry) -> None:
        """Take in an entry whose outputs lie in the directory already, such as one whose source was only touched."""
        self._take(encode_entry(entry))

    def _take(self, line: bytes) -> Entry:
        entry = decode_entry(line)
        if entry.key in self._lines:
            raise KeyCollisionError(f"{entry.key!r} was processed twice in one run. Please report this as a bug.")
        self._lines[entry.key] = line
        self._totals.add(entry)
        return entry

    def restore(self, entry: Entry, paths: Mapping[str, str]) -> None:
        """Take in an entry of an earlier generation.

        Parameters
        ----------
        entry
            The entry.
        paths
            Absolute path, on this file system, of the file of each output that is not in its place, by relative path.
            It gets a second name in the staging.
        """
        self._take(encode_entry(entry))
        for output in entry.outputs:
            if output.file in paths and output.file not in self._packs:
                staged = os.path.join(self.files, output.file)
                local.make_folders_below(self.files, os.path.dirname(staged))
                local.link_or_copy(paths[output.file], staged)
                self._stage(output)

    def entries(self) -> Iterator[Entry]:
        """What was collected, in key order."""
        return (decode_entry(self._lines[key]) for key in sorted(self._lines))

    def check_room(self, paths: Iterable[str], superseded: Iterable[Entry] = (), *, is_guess: bool = False) -> None:
        """See that outputs can be put where they belong.

        Parameters
        ----------
        paths
            Relative paths of new outputs.
        superseded
            Entries whose outputs will be removed or replaced.
        is_guess
            The paths are expected, not known: what other items have written is not held against them.

        Raises
        ------
        ForeignDirectoryError
            Something lies there that is neither an output of ours nor superseded.
        """
        if not self._is_first:
            vacated = {output.file for entry in superseded for output in entry.outputs}
            ours = self._outputs_of_base if is_guess else set
            try:
                folded = self.capabilities.folded
                Room(self.directory, vacated, ours, is_lenient=self._is_damaged, folded=folded).check(paths)
            except ForeignDirectoryError:
                if not self._is_damaged:
                    self._check_base()  # where locks do not work, another run may have put it there
                raise

    def check_names(self, paths: Iterable[str], superseded: Iterable[Entry] = ()) -> None:
        """See that the file system does not take the names of two outputs for one.

        Parameters
        ----------
        paths
            Relative paths of new outputs, as far as they are known.
        superseded
            Entries whose outputs will be removed or replaced.

        Raises
        ------
        KeyCollisionError
            It does.
        """
        if not self.capabilities.folds:
            return
        vacated = {output.file for entry in superseded for output in entry.outputs}
        check_folded_paths({*paths, *self._outputs_of_base() - vacated}, self.capabilities.folded)

    def _outputs_of_base(self) -> set[str]:
        entries = () if self._base is None else self._base.entries()
        return {output.file for entry in entries for output in entry.outputs}

    def pack(self, superseded: Iterable[Entry] = ()) -> list[Entry]:
        """Put what was collected into packs, together with what stays in those; to be called before :meth:`commit`.

        Parameters
        ----------
        superseded
            Entries of ``base`` that no longer count.

        Returns
        -------
        list of Entry
            The same, and those of the items whose packs are written anew.

        Raises
        ------
        InputChangedError
            What stays in a pack is not as it was written.
        StorageError
            The disk failed. What was finished is kept for the next run.
        """
        packs, staged = os.path.join(self.run, PACKS), set(self._staged)
        with self._explained():
            make_folder(packs)
            repacked = Repacking(
                self._lines,
                list(superseded),
                base=self._base,
                directory=self.directory,
                files=self.files,
                packs=packs,
                is_staged=lambda path: self._is_first or path in staged,
                sync=self._durability == "item",
            ).done()
            self._begin_anew(repacked)
            system.rename(self.files, os.path.join(self.run, LOOSE))
            system.rename(packs, self.files)
        return repacked.superseded

    def _begin_anew(self, repacked: Repacked) -> None:
        lines, self._lines, self._totals = repacked.lines, {}, Totals()
        self._staged, self._staged_sum, self._packs = [], 0, set()
        for line in lines.values():
            for output in self._take(line).outputs:
                if output.file in repacked.staged:
                    self._stage(output)

    def commit(self, facts: Facts, superseded: Iterable[Entry] = ()) -> Record:
        """Bring everything to the disk and publish it.

        Parameters
        ----------
        facts
            What the record says of the run.
        superseded
            Entries of ``base`` that no longer count: those whose keys were collected, and those that are no more.

        Raises
        ------
        StorageError
            The disk failed. Before the commit point what was finished is kept for the next run; but where a sync has
            failed the staging is poisoned, and nothing in it is ever used. After the commit point the next run
            finishes what is left to do.
        ForeignDirectoryError
            Something has appeared where an output belongs.
        BusyError
            Another run has taken over.
        """
        old = {entry.key: entry for entry in superseded}
        changes = None if self._is_first else changes_of(self._pairs(old))
        if changes is not None:
            self.check_room((*changes.put, *changes.removed), old.values())
        with self._explained():
            self._sweep()
            self._flush()
            record = self._write_manifest(facts, old)
            self._commit_point(record)
        if changes is not None:
            self._roll_forward(record, changes)
        self._is_applied = True
        return record

    def _pairs(self, old: Mapping[str, Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
        for key in old.keys() | self._lines.keys():
            line = self._lines.get(key)
            yield old.get(key), None if line is None else decode_entry(line)

    def _sweep(self) -> None:
        """See that all outputs are staged, and remove what no entry speaks of, such as half of a killed worker's."""
        if self._is_first and (self._totals.counts["failed"] or self._totals.counts["rejected"]):
            local.remove_empty_below(self.files)  # folders of outputs that were undone
        if sum(map(hash, local.files_below(self.files))) == self._staged_sum:
            return
        staged, wanted = set(local.files_below(self.files)), self._wanted()
        missing = wanted - staged
        if missing:
            raise StorageError(
                f"{self.directory!r} was not published: {min(missing)!r} and {len(missing) - 1} more outputs are gone "
                f"from {self.run!r}. Somebody removed them, or another run has taken over. Run again."
            )
        for path in staged - wanted:
            system.unlink(os.path.join(self.files, path))

    def _wanted(self) -> set[str]:
        if self._is_first:
            return {output.file for entry in self.entries() for output in entry.outputs}
        return set(self._staged)

    def _flush(self) -> None:
        """Bring the staged files to the disk: each alone where they are few, because a file system is everybody's."""
        if self._sync is None:
            return
        if self._base is not None and self._base.record.durability == "none":
            self._bring_base_to_disk(self._base.directory)
        if self._is_first or len(self._staged) > _FEW_FILES:
            self._sync.finish()
            return
        self._sync.check()
        folders = {folder for path in self._staged for folder in folders_above(path)}
        with self._sync.marked():
            for path in (*self._staged, *folders, ""):
                local.sync_path(os.path.join(self.files, path))

    def _bring_base_to_disk(self, directory: str) -> None:
        """What goes on to count must be as durable as the record will say."""
        if not local.sync_file_system_of(directory):
            local.sync_paths([*(os.path.join(directory, path) for path in local.files_below(directory))])
            local.sync_paths(local.folders_below(directory))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """A disk that failed once may say yes the second time and still have lost the data: never try a sync again."""
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            if self._is_committed:
                raise self._unfinished(error) from error
            if isinstance(error, local.SyncFailed):
                poison(self.run)
                raise self._poisoned(error) from error
            raise self._not_published(error) from error

    def _poisoned(self, error: OSError) -> StorageError:
        return StorageError(
            error.errno,
            f"{self.directory!r} was not published, because the disk did not take what was written: "
            f"{error.strerror or error}. None of it is trusted, and all of it will be made again. Mend the disk or "
            "make room, then run again.",
        )

    def _not_published(self, error: OSError) -> LuisyDirError:
        is_gone = isinstance(error, FileNotFoundError) and self._is_claimed
        if is_gone and not local.exists(self.files):
            return BusyError(
                f"{self.directory!r} was not published: another run has taken over. Wait until that one has ended."
            )
        kept = "What was finished is kept, and the next run goes on there. " if self._resumption is not None else ""
        return StorageError(
            error.errno,
            f"{self.directory!r} was not published: {error.strerror or error}{local.told_space(self.run, error)}. "
            f"{kept}Mend the disk or make room, then run again.",
        )

    def _unfinished(self, error: OSError) -> StorageError:
        return StorageError(
            error.errno,
            f"{self.directory!r} was published as generation {self._generation}, but not all of it could be brought to "
            f"its place, or to the disk: {error.strerror or error}. Mend that, then run again, which goes on here.",
        )

    def _write_manifest(self, facts: Facts, old: Mapping[str, Entry]) -> Record:
        """Write the manifest where the commit point will take it from, and bring it to the disk.

        With durability ``none`` too: else nothing would tell which of the outputs a power cut has spoilt.
        """
        folder = os.path.join(self.files, FOLDER) if self._is_first else self.run
        if self._is_first:
            system.mkdir(folder)
        name = generation_name(self._generation)
        base, lines = self._base_and_lines(old)
        entries = self._write_entries(folder, name + ".jsonl", lines)
        record = self._record(facts, old, base, entries)
        encoded = encode_record(record)
        local.write_whole(os.path.join(folder, name + ".json"), encoded, sync=True)
        if self._is_first:
            local.write_whole(os.path.join(folder, CURRENT), encode_current(encoded), sync=True)
        if self._is_first and self.is_durable:
            local.sync_path(folder)
            local.sync_path(self.files)
        return record

    def _base_and_lines(self, old: Mapping[str, Entry]) -> tuple[tuple[EntriesFile, ...], Iterable[bytes]]:
        """The files that go on to count, and the lines of the new one: all entries, or where few change those alone."""
        if self._base is None:
            return (), (self._lines[key] for key in sorted(self._lines))
        files = self._base.record.files
        news = dict.fromkeys(old, b"") | self._lines
        overlaid = sum(file.lines for file in files[1:]) + len(news)
        if len(files) < _MOST_FILES and overlaid <= LARGEST_SHARE * files[0].lines:
            return files, (news[key] or encode_entry(self._deletion_of(key)) for key in sorted(news))
        return (), self._all_lines(self._base, news)

    def _deletion_of(self, key: str) -> Entry:
        return Entry(key, (), "deleted", (), {}, None, 0, 0.0, self.start, "", None)

    def _all_lines(self, base: Manifest, news: Mapping[str, bytes]) -> Iterator[bytes]:
        kept = (line for line in base.lines() if line[0] not in news)
        ours = ((key, self._lines[key]) for key in sorted(self._lines))
        return (line for _, line in heapq.merge(kept, ours, key=itemgetter(0)))

    def _write_entries(self, folder: str, name: str, lines: Iterable[bytes]) -> EntriesFile:
        hasher, size, count = xxhash.xxh3_128(), 0, 0
        descriptor = system.open(os.path.join(folder, name), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        try:
            for block in _blocks(lines):
                hasher.update(block)
                size += len(block)
                count += block.count(b"\n")
                local.write_all(descriptor, block)
            local.sync_all(descriptor)
        finally:
            system.close(descriptor)
        return EntriesFile(name, size, hasher.hexdigest(), count)

    def _record(
        self, facts: Facts, old: Mapping[str, Entry], base: tuple[EntriesFile, ...], entries: EntriesFile
    ) -> Record:
        totals = self._totals
        if self._base is not None:
            before, gone = Totals.of(self._base.record), Totals()
            for entry in old.values():
                gone.add(entry)
            totals = before.superseded(gone, self._totals)
        durability, boot_id = self._durability, system.boot_id()
        if self._resumption is None and self._base is not None and is_in_doubt(self.directory, self._base.record):
            is_all_superseded = len(old) == sum(self._base.record.counts.values())
            if not is_all_superseded:  # nobody has looked at what goes on to count
                durability, boot_id = "none", self._base.record.boot_id
        record = Record(
            format_version=FORMAT_VERSION,
            generation=self._generation,
            parent=None if self._base is None else self._base.record.generation,
            run_id=self.run_id,
            task=facts.task,
            parameters=dict(facts.parameters),
            layer=facts.layer,
            fingerprint=facts.fingerprint,
            parts=dict(facts.parts),
            engine=facts.engine,
            workers=facts.workers,
            durability=durability,
            start=self.start,
            end=datetime.now(UTC),
            counts=totals.counts_by_status,
            seconds=round(totals.seconds, 6),
            base=base,
            entries=entries,
            inputs={root: totals.state_of(root) for root in facts.raw_roots} | dict(facts.inputs),
            outputs_digest=totals.contents.hexdigest(),
            outputs_state=totals.outputs.hexdigest(),
            boot_id=boot_id,
            pinned=facts.is_pinned,
            checksum="",
            resumed=dict(self._taken_over) or msgspec.UNSET,
            code=dict(facts.code) or msgspec.UNSET,
            roots=facts.roots if facts.roots is msgspec.UNSET else dict(facts.roots),
        )
        return record.with_checksum()

    def _commit_point(self, record: Record) -> None:
        if self._is_first:
            self._publish_first()
            return
        folder = os.path.join(self.directory, FOLDER)
        self._is_needed = True  # the next run must see that there may be entries without a record
        try:
            for suffix in (".jsonl", ".json"):
                name = record.name + suffix
                local.put_if_absent(os.path.join(self.run, name), os.path.join(folder, name))
                self._is_committed = suffix == ".json"
                if self.is_durable:
                    local.sync_path(folder)
        except FileExistsError as error:
            raise self._outrun() from error

    def _outrun(self) -> BusyError:
        return BusyError(
            f"{self.directory!r} was not published: another run has published in the meantime. Run again: there may be "
            "nothing left to do."
        )

    def _publish_first(self) -> None:
        try:
            local.publish_directory(self.files, self.directory)
        except FileExistsError as error:
            if local.exists(os.path.join(self.directory, FOLDER)):
                raise self._outrun() from error
            raise foreign(self.directory, "has appeared while the run was under way") from error
        self._is_committed = self._is_applied = True
        if self.is_durable:
            local.sync_path(os.path.dirname(self.directory))

    def _roll_forward(self, record: Record, changes: Changes) -> None:
        try:
            roll_forward(self.directory, self.run, record, changes, sync=self.is_durable)
        except OSError as error:
            raise self._unfinished(error) from error
        with _told_as_litter(self.directory):
            forget(self.directory, self._keep)


@contextlib.contextmanager
def _told_as_litter(path: str) -> Iterator[None]:
    """What cannot be removed goes at the next run: no reason to call a run failed that has published."""
    try:
        yield
    except OSError as error:
        logger.warning("%s: not all that is no longer needed could be removed: %s. The next run will.", path, error)


def _blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    block = bytearray()
    for line in lines:
        block += line
        block += b"\n"
        if len(block) >= _BUFFER_BYTES:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)
