"""A transaction: fills a staging and then commits, or leaves nothing visible."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import xxhash

from luisy_dir.errors import ForeignDirectoryError, KeyCollisionError, StaleDirectoryError, StorageError
from luisy_dir.fingerprint import ContentSum, StateSum
from luisy_dir.manifest import (
    CURRENT,
    FOLDER,
    FORMAT_VERSION,
    Entry,
    InputState,
    Record,
    decode_entry,
    encode_current,
    encode_record,
    generation_name,
    read_journals,
)
from luisy_dir.staging import BAD, RUN, lock_of, remove_abandoned, staging_of
from luisy_dir.storage import local, system

DURABILITIES = ("none", "commit", "item")
_BUFFER_BYTES = 1 << 20


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


def check_place(directory: str) -> None:
    """Raise ForeignDirectoryError where something that is not ours lies at ``directory``."""
    if os.path.islink(directory):
        raise _foreign(directory, "is a symlink")
    parent = os.path.dirname(directory)
    while parent != os.path.dirname(parent):
        if local.exists(os.path.join(parent, FOLDER)):
            raise _foreign(directory, f"lies in {parent!r}, which another task has published")
        parent = os.path.dirname(parent)
    if not local.exists(directory) or local.exists(os.path.join(directory, FOLDER)):
        return
    if not os.path.isdir(directory):
        raise _foreign(directory, "is a file")
    raise _foreign(directory, "is a directory without a manifest" if os.listdir(directory) else "is an empty directory")


def _foreign(directory: str, what: str) -> ForeignDirectoryError:
    return ForeignDirectoryError(
        f"The result cannot be published as {directory!r}: that {what}, and luisy_dir does not replace what it did not "
        "make. Move it away, or give the task another folder."
    )


class _Totals:
    """What a record says of its entries, gathered as they come in."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(("written", "skipped", "rejected", "failed"), 0)
        self.outputs = StateSum()
        self.contents = ContentSum()
        self.names = 0
        self._sources: defaultdict[str, StateSum] = defaultdict(StateSum)

    def add(self, entry: Entry) -> None:
        self.counts[entry.status] += 1
        for output in entry.outputs:
            self.outputs.add(output.path, output.size, output.mtime_ns)
            self.contents.add(output.path, output.digest)
            self.names += hash(output.path)
        for source in entry.sources:
            self._sources[source.root].add(source.path, source.size, source.mtime_ns)

    def state_of(self, raw_root: str) -> InputState:
        total = self._sources[raw_root]
        return InputState("raw", total.hexdigest(), total.count, total.newest_mtime_ns)


class Transaction:
    """Fills a staging beside a directory and publishes it in one act.

    Use it as a context manager. Whatever ends the block without :meth:`commit`, nothing is visible afterwards; the
    entries that were collected stay in the staging, for the report and the next run. Workers must have been drained
    before the block ends.

    Parameters
    ----------
    directory
        Absolute path of the directory to publish; nothing may lie there yet.
    fingerprint
        Of the task; names the run's directory.
    durability
        ``none``, ``commit`` (a power cut leaves the old state or the new, whole) or ``item``.

    Raises
    ------
    ForeignDirectoryError
        Something that is not ours lies at ``directory``.
    BusyError
        Another run works on the same directory.
    """

    def __init__(self, directory: str, fingerprint: str, *, durability: str = "commit") -> None:
        self.directory = directory
        self.staging = staging_of(directory)
        self.run_id = uuid.uuid4().hex
        self.run = os.path.join(self.staging, f"{RUN}{fingerprint[:16]}-{self.run_id}")
        self.files = os.path.join(self.run, "files")
        self.start = datetime.now(UTC)
        self._lines: dict[str, bytes] = {}
        self._totals = _Totals()
        self._durability = durability
        self._lock: local.Lock | None = None
        self._sync: local.BackgroundSync | None = None
        self._is_committed = False

    def __enter__(self) -> Self:
        check_place(self.directory)
        self._lock = lock_of(self.staging)
        try:
            self._check_unpublished()
            remove_abandoned(self.staging)
            system.makedirs(self.files)
            if self._durability != "none":
                self._sync = local.BackgroundSync(self.run)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._sync is not None:
                self._sync.close()
            if self._is_committed or not self._lines:
                local.remove_tree(self.run)
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        local.remove_empty(self.staging)

    def _check_unpublished(self) -> None:
        if local.exists(self.directory):
            raise StaleDirectoryError(
                f"{self.directory!r} has been published already. Plan again: there may be nothing left to do."
            )

    def collect(self, line: bytes) -> Entry:
        """Take in what became of one item, as a worker has encoded it, and return it decoded.

        Raises
        ------
        KeyCollisionError
            There is an entry of that key already.
        """
        entry = decode_entry(line)
        if entry.key in self._lines:
            raise KeyCollisionError(f"{entry.key!r} was processed twice in one run. Please report this as a bug.")
        self._lines[entry.key] = line
        self._totals.add(entry)
        return entry

    def entries(self) -> Iterator[Entry]:
        """What was collected, in key order."""
        return (decode_entry(self._lines[key]) for key in sorted(self._lines))

    def commit(self, facts: Facts) -> Record:
        """Bring everything to the disk and give the directory its public name.

        Raises
        ------
        StorageError
            The disk failed. The staging is poisoned: nothing in it is ever adopted.
        ForeignDirectoryError
            Something has appeared at the directory's place meanwhile.
        """
        with self._poisoning():
            self._sweep()
            if self._sync is not None:
                self._sync.finish()
            record = self._write_manifest(facts)
        self._publish()
        return record

    def _sweep(self) -> None:
        """See that all outputs are staged, and remove what no entry speaks of, such as half of a killed worker's."""
        if sum(map(hash, local.files_below(self.files))) == self._totals.names:
            return
        wanted = {output.path for entry in self.entries() for output in entry.outputs}
        staged = set(local.files_below(self.files))
        missing = wanted - staged
        if missing:
            raise StorageError(
                f"{self.directory!r} was not published: {min(missing)!r} and {len(missing) - 1} more outputs are gone "
                f"from {self.run!r}. Somebody removed them, or another run has taken over. Run again."
            )
        for path in staged - wanted:
            system.unlink(os.path.join(self.files, path))

    @contextlib.contextmanager
    def _poisoning(self) -> Iterator[None]:
        """A disk that failed once may say yes the second time and still have lost the data: never try again."""
        try:
            yield
        except StorageError:
            raise
        except OSError as error:
            bad = os.path.join(self.staging, BAD + self.run_id)
            with contextlib.suppress(OSError):
                system.rename(self.run, bad)
            raise StorageError(
                error.errno,
                f"{self.directory!r} was not published: {error.strerror or error}. What was written is not trusted and "
                "will be made again. Mend the disk or make room, then run again.",
            ) from error

    def _write_manifest(self, facts: Facts) -> Record:
        folder = os.path.join(self.files, FOLDER)
        is_durable = self._durability != "none"
        system.mkdir(folder)
        name = os.path.join(folder, generation_name(1))
        size, digest = self._write_entries(name + ".jsonl", sync=is_durable)
        record = self._record(facts, {"file": generation_name(1) + ".jsonl", "size": size, "digest": digest})
        encoded = encode_record(record)
        local.write_whole(name + ".json", encoded, sync=is_durable)
        local.write_whole(os.path.join(folder, CURRENT), encode_current(encoded), sync=is_durable)
        if is_durable:
            local.sync_path(folder)
            local.sync_path(self.files)
        return record

    def _write_entries(self, path: str, *, sync: bool) -> tuple[int, str]:
        hasher, size = xxhash.xxh3_128(), 0
        descriptor = system.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        try:
            for block in _blocks(self._lines[key] for key in sorted(self._lines)):
                hasher.update(block)
                size += len(block)
                local.write_all(descriptor, block)
            if sync:
                system.fsync(descriptor)
        finally:
            system.close(descriptor)
        return size, hasher.hexdigest()

    def _record(self, facts: Facts, entries: dict[str, Any]) -> Record:
        totals = self._totals
        return Record(
            format_version=FORMAT_VERSION,
            generation=1,
            parent=None,
            run_id=self.run_id,
            task=facts.task,
            parameters=dict(facts.parameters),
            layer=facts.layer,
            fingerprint=facts.fingerprint,
            parts=dict(facts.parts),
            engine=facts.engine,
            workers=facts.workers,
            durability=self._durability,
            start=self.start,
            end=datetime.now(UTC),
            counts=totals.counts,
            entries=entries,
            inputs={root: totals.state_of(root) for root in facts.raw_roots} | dict(facts.inputs),
            outputs_digest=totals.contents.hexdigest(),
            outputs_state=totals.outputs.hexdigest(),
            boot_id=system.boot_id(),
            pinned=False,
            checksum="",
        )

    def _publish(self) -> None:
        try:
            local.publish_directory(self.files, self.directory)
        except FileExistsError as error:
            raise _foreign(self.directory, "has appeared while the run was under way") from error
        self._is_committed = True
        if self._durability != "none":
            local.sync_path(os.path.dirname(self.directory))


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


def entries_in_staging(directory: str) -> list[Entry]:
    """Entries of the last run that did not publish ``directory``, in key order; none where there was no such run."""
    staging = staging_of(directory)
    runs = [os.path.join(staging, name) for name in local.names_in(staging) if name.startswith(RUN)]
    found = {entry.key: entry for run in runs for entry in read_journals(run)}
    return [found[key] for key in sorted(found)]
