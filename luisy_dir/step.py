"""A step: read, process and write, for one item."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, NamedTuple

from luisy_dir.batching import BatchProcess, WrongResultsError
from luisy_dir.checking import Checks
from luisy_dir.engines.event_loop import Cancelled, NoEventLoopError, drained, has_event_loop, resolved
from luisy_dir.engines.home import my_name
from luisy_dir.engines.packing import pack_error
from luisy_dir.entry import Entry, Failure, OutputFile, Status, clean_meta, encode_entry
from luisy_dir.errors import (
    Abort,
    AbortedError,
    BusyError,
    DefinitionError,
    InputError,
    KeyCollisionError,
    LuisyDirError,
    MissingInputError,
    Reject,
    SetupError,
    StorageError,
    UnmatchedKeysError,
)
from luisy_dir.failures import failure_of, rejection
from luisy_dir.formats import Format, registered_formats, write_npy
from luisy_dir.gathering import folder_of
from luisy_dir.item import Item, Source, check_key, printable
from luisy_dir.job import Job, decode_job, encode_job, parts_of
from luisy_dir.journal import FILES, Journal, Origin, encode_name, journal_of, names_of
from luisy_dir.keys import INNER, STRICT
from luisy_dir.output import Output, is_no_output
from luisy_dir.peak import Peak
from luisy_dir.policy import Policy
from luisy_dir.reading import Gone, read_stable, with_digest
from luisy_dir.staging import poison
from luisy_dir.storage import local, system

_SUFFIXES_OF_LITTER = {".db", ".ini"}  # with the right key these are names that a scan passes over
_SMALL_BYTES = 1 << 20
# Errors of the disk, not of the item: the next item would fare no better.
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
_DISK_ADVICE = (
    "Nothing was published, and what was finished is kept. Mend the disk or make room, then run again, which goes on."
)
_POISONED = "None of it is trusted, and all of it will be made again. Mend the disk or make room, then run again."
_TAKEN_OVER = (
    "another run has taken over the staging, or somebody has removed it. Nothing was published. Wait until the other "
    "run has ended, then run again."
)


@dataclass(frozen=True)
class Root:
    """A directory that items are read from.

    Parameters
    ----------
    name
        Name of the directory in the items' sources.
    folder
        Absolute path.
    read
        ``read(path) -> data``; None says that the file is not ours.
    """

    name: str
    folder: str
    read: Callable[[str], Any]


@dataclass(frozen=True)
class Step:
    """What a run does with each item.

    Parameters
    ----------
    roots
        The directories that an item has its sources from, in the order of the arguments of ``process``.
    begin
        Called once a worker; returns ``process(data, item)``, where ``data`` is a list as long as ``roots``.
    format
        How results are written.
    seed
        The task's seed.
    sync
        Bring every output and every journal line to the disk before the next item.
    formats
        By suffix, for outputs that have one of their own; what is registered here must be known in workers too.
    origin
        What the entries are made with, for the run that may have to go on; None where none shall.
    checks
        What is asked of the data of inputs and outputs.
    join
        What becomes of an item that has no data of one of the roots: see :data:`luisy_dir.keys.JOINS`.
    is_grouped
        An item has any number of sources from each root, and ``process`` gets a list for each.
    batch_size
        How many items are processed together, at most; where these are several, ``begin`` returns a
        :class:`~luisy_dir.batching.BatchProcess`.
    """

    roots: tuple[Root, ...]
    begin: Callable[[], Callable[[list[Any], Item], Any]]
    format: Format
    seed: int = 0
    sync: bool = False
    formats: Mapping[str, Format] = field(default_factory=registered_formats)
    origin: Origin | None = None
    checks: Checks = field(default_factory=Checks)
    join: str = INNER
    is_grouped: bool = False
    batch_size: int = 1

    def format_for(self, suffix: str) -> Format:
        """Format of an output with a suffix of its own."""
        if suffix not in self.formats:
            raise DefinitionError(
                f"There is no format for the suffix {suffix!r}. Choose one of {', '.join(sorted(self.formats))}, "
                "or make it known with register_format before the run."
            )
        return self.formats[suffix]

    @cached_property
    def folders(self) -> dict[str, str]:
        """Absolute path by the name of its root."""
        return {root.name: root.folder for root in self.roots}

    @cached_property
    def reads(self) -> dict[str, Callable[[str], Any]]:
        """Read function by the name of its root."""
        return {root.name: root.read for root in self.roots}


# What a worker answers for one item: its entry as a line, and the packed exception for the parent to raise from. No
# line says that the run cannot go on, an empty one that the item has gone. Plain bytes, because they are pickled a
# million times, and because an exception may not be known to the parent.
Outcome = tuple[bytes | None, bytes | None]
# What has come of a job, and the jobs that are still to be done, each with the seconds to wait before.
Answer = tuple[list[Outcome], list[tuple[float, bytes]]]


class _NotWritten(Exception):  # noqa: N818 - carries a verdict from where it is known to where the entry is made
    def __init__(self, status: Status, message: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _Collision(Exception):  # noqa: N818 - becomes a KeyCollisionError that ends the run
    """Two items write one output: which of them came first is chance, so that the run must end."""


class _Worker:
    """What one worker holds on to between items: its process function and its journal."""

    _numbers = itertools.count()

    def __init__(self, step: Step, run: str, *, is_apart: bool) -> None:
        self.name = f"{my_name()}-{next(self._numbers)}"
        self.files = f"{run}/{FILES}"
        self.unsynced: list[str] = []
        try:
            self.process = step.begin()
        except LuisyDirError:
            raise
        except Exception as error:
            raise SetupError(
                f"No item could be processed, because setup raised {type(error).__name__}: {error}. "
                "Nothing was published."
            ) from error
        if is_apart:
            self.files = folder_of(self.files, self.name)
            system.mkdir(self.files)
        self.journal = Journal(journal_of(run, self.name), step.origin, sync=step.sync)
        self._run = run
        self._names: Journal | None = None

    def note_name(self, path: str) -> None:
        """Note an output that is about to be written under a name which does not tell its item."""
        if self._names is None:
            self._names = Journal(names_of(self._run, self.name))
        self._names.append(encode_name(path))

    def close(self) -> None:
        """Close the files that are open."""
        self.journal.close()
        if self._names is not None:
            self._names.close()


@dataclass
class StepInWorker:
    """A step at work in a run's directory: call it with an encoded job, in any worker.

    It never raises: what happened is in the answer.

    Parameters
    ----------
    step
        What to do.
    run
        The run's directory in the staging; outputs go to its ``files/``, journals beside that.
    policy
        What an error of an item means.
    has_one_job
        There is never more than one job in hand in a process, so that the memory of the process is that of its item.
    is_apart
        Outputs go to a folder of each worker's own, because an item may be done twice; see
        :func:`luisy_dir.gathering.gather`.
    is_synced
        Outputs are brought to the disk before the entries of a chunk go back, because nobody else can do that: they
        may be in the memory of another machine than the run's.
    """

    step: Step
    run: str
    policy: Policy = field(default_factory=Policy)
    has_one_job: bool = False
    is_apart: bool = False
    is_synced: bool = False
    _peak: Peak | None = field(default=None, repr=False)
    _local: threading.local = field(default_factory=threading.local, repr=False)
    _workers: list[_Worker] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _shared: _Worker | None = field(default=None, repr=False)
    _failure: Exception | None = field(default=None, repr=False)
    _end: bytes | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return StepInWorker, (self.step, self.run, self.policy, self.has_one_job, self.is_apart, self.is_synced)

    def prepare(self) -> None:
        """Prepare this worker, so that no item is to blame for the time that it takes, or for a crash."""
        try:
            self._worker()
        except Exception as error:  # noqa: BLE001 - the user's setup may raise anything
            self._end = self._end or pack_error(self._told(error))

    def finish(self) -> None:
        """Bring to the disk what was written since this was called last, all files at the same time."""
        if not self.is_synced or self._end is not None:
            return
        worker = self._worker()
        paths, worker.unsynced = worker.unsynced, []
        try:
            local.sync_paths(paths)
        except OSError as error:
            told = self._told(error)
            self._end = pack_error(told)
            raise told from error

    def __call__(self, encoded: bytes) -> Answer:
        """Do the step for the items of a job, and append what became of each to this worker's journal."""
        if self._end is not None:  # what comes after a disk that failed would be done in vain
            return [(None, self._end)], []
        try:
            job, worker = decode_job(encoded), self._worker()
            return self._do(job, worker) if len(job.parts) == 1 else self._do_together(job, worker)
        except (Gone, Cancelled):
            return [(b"", None)], []
        except Exception as error:  # noqa: BLE001 - the user's setup may raise anything, and so may the disk
            self._end = pack_error(self._told(error))
            return [(None, self._end)], []

    def _do(self, job: Job, worker: _Worker) -> Answer:
        (item,) = job.opened(self.step.folders, self.step.seed)
        if self._peak is not None:
            self._peak.begin()
        attempt = self._new_attempt(item, worker)
        verdict = attempt.run()
        if self._peak is not None:
            attempt.peak_memory = self._peak.so_far()
        return self._answer(attempt, verdict, job, worker)

    def _do_together(self, job: Job, worker: _Worker) -> Answer:
        """Read one item after the other, process them together, and write one after the other."""
        attempts = [self._new_attempt(item, worker) for item in job.opened(self.step.folders, self.step.seed)]
        answers: list[Answer] = []
        left: list[_Attempt] = []
        for attempt in attempts:
            try:
                verdict = attempt.read()
            except Gone:
                answers.append(([(b"", None)], []))
                continue
            if verdict is None:
                left.append(attempt)
            else:
                answers.append(self._answer(attempt, verdict, job, worker))
        results = self._results(left, worker) if left else []
        if results is None:
            answers.append(([], _halved(left, job)))
        else:
            for attempt, result in zip(left, results, strict=True):
                answers.append(self._answer(attempt, attempt.write(result), job, worker))
        return [outcome for done, _ in answers for outcome in done], [part for _, again in answers for part in again]

    def _results(self, attempts: list[_Attempt], worker: _Worker) -> list[Any] | None:
        """Results of items that were read; None where they failed together, so that they are to be done by halves."""
        assert isinstance(worker.process, BatchProcess)  # noqa: S101 - else each job has one item
        begin = time.perf_counter()
        try:
            return worker.process.together([attempt.data for attempt in attempts], [each.item for each in attempts])
        except _ENDS_THE_RUN:
            raise
        except (Exception, SystemExit) as error:
            if len(attempts) == 1:
                return [error]
            if isinstance(error, Reject) or self.policy.is_caught(error) or self.policy.is_retried(error, attempts=1):
                return None
            first, last = attempts[0].item, attempts[-1].item
            who = f"One of the {len(attempts)} items from {printable(first.key)!r} to {printable(last.key)!r}"
            raise _aborted(who, failure_of(error), error) from error
        finally:
            share = (time.perf_counter() - begin) / max(len(attempts), 1)
            for attempt in attempts:
                attempt.data = []
                attempt.seconds += share

    def _answer(self, attempt: _Attempt, verdict: _Verdict, job: Job, worker: _Worker) -> Answer:
        """Append what became of an item to the journal, unless it is to be tried again."""
        entry = attempt.entry(verdict, job, worker.name)
        raised = verdict.raised
        attempts = entry.attempts - job.in_batches
        if raised is not None and self.policy.is_retried(raised, attempts):
            again = Job(parts_of([attempt.item]), entry.attempts, entry.seconds, entry.started, job.in_batches)
            return [], [(self.policy.delay(attempts), encode_job(again))]
        line = encode_entry(entry)
        worker.journal.append(line)
        if self.is_synced:
            worker.unsynced += [f"{worker.files}/{output.path}" for output in entry.outputs]
        if raised is not None and not self.policy.is_caught(raised):
            file = f"{printable(entry.key)!r}, read from {printable(attempt.item.path)!r},"
            raise _aborted(file, entry.error or failure_of(raised), raised)
        return [(line, None if raised is None else pack_error(raised))], []

    def _told(self, error: Exception) -> Exception:
        """The error that ends the run, in terms of what the user can do about it."""
        if isinstance(error, _Collision):
            return KeyCollisionError(str(error))
        if isinstance(error, local.SyncFailed):
            poison(self.run)
            what = f"What was written into {self.run!r} could not be brought to the disk: {error.strerror}."
            return StorageError(error.errno, f"{what} {_POISONED}")
        if isinstance(error, FileNotFoundError) and not local.exists(self.run):
            return BusyError(f"{self.run!r} is gone: {_TAKEN_OVER}")
        return error

    def _new_attempt(self, item: Item, worker: _Worker) -> _Attempt:
        return _Attempt(self.step, worker.files, worker.process, item, worker.note_name)

    def _worker(self) -> _Worker:
        if has_event_loop():  # all threads of the async engine are one worker
            with self._lock:
                if self._failure is not None:  # setup runs once, also where it fails
                    raise self._failure
                if self._shared is None:
                    try:
                        self._shared = self._new_worker()
                    except Exception as error:
                        self._failure = error
                        raise
            return self._shared
        worker: _Worker | None = getattr(self._local, "worker", None)
        if worker is None:
            worker = self._local.worker = self._new_worker()
        return worker

    def _new_worker(self) -> _Worker:
        worker = _Worker(self.step, self.run, is_apart=self.is_apart)
        self._workers.append(worker)
        if self.has_one_job:
            self._peak = self._peak or Peak()
        return worker

    def close(self) -> None:
        """Close the files that were opened in this process."""
        while self._workers:
            self._workers.pop().close()
        if self._peak is not None:
            self._peak.close()


class _Verdict(NamedTuple):
    status: Status
    error: Failure | None = None
    raised: BaseException | None = None


# What no other item would survive either, or what is nobody's fault: the run ends, or the item has gone.
_ENDS_THE_RUN = (
    BusyError, StorageError, local.SyncFailed, NoEventLoopError, Cancelled, Gone, WrongResultsError, _Collision,
)  # fmt: skip


class _Attempt:
    """One try at one item: gathers sources, outputs and meta, and undoes its outputs where it fails."""

    def __init__(
        self,
        step: Step,
        files: str,
        process: Callable[[list[Any], Item], Any],
        item: Item,
        note_name: Callable[[str], object] = str,
    ) -> None:
        self._step = step
        self._note_name = note_name
        self._files = files
        self._process = process
        self._in_hand: Source | None = None
        self.item = item
        self.data: list[Any] = []
        self.sources: tuple[Source, ...] = item.sources
        self.outputs: list[OutputFile] = []
        self.meta: dict[str, Any] = {}
        self.started = datetime.now(UTC)
        self.seconds = 0.0
        self.peak_memory: int | None = None

    def entry(self, verdict: _Verdict, job: Job, worker: str) -> Entry:
        """What became of the item, as one of a job."""
        return Entry(
            key=self.item.key,
            sources=self.sources,
            status=verdict.status,
            outputs=tuple(self.outputs),
            meta=self.meta,
            error=verdict.error,
            attempts=job.attempts + 1,
            seconds=round(job.seconds + self.seconds, 6),
            started=job.started or self.started,
            worker=worker,
            seed=self.item.used_seed,
            peak_memory=self.peak_memory,
        )

    def run(self) -> _Verdict:
        """Read, process and write; whatever happens to the item is in the verdict."""
        return self._judged(partial(self._read_process_write, self.item)) or _Verdict("written")

    def read(self) -> _Verdict | None:
        """Read what goes into a batch, as ``data``; a verdict where the item does not come as far as that."""

        def act() -> None:
            assert isinstance(self._process, BatchProcess)  # noqa: S101 - else nobody asks for this
            self.data = self._process.before(self._read_whole(self.item), self.item)

        return self._judged(act)

    def write(self, result: Any) -> _Verdict:
        """Write what has come out of a batch."""

        def act() -> None:
            assert isinstance(self._process, BatchProcess)  # noqa: S101 - else nobody asks for this
            self._write_result(self.item, self._process.after(result, self.item))

        return self._judged(act) or _Verdict("written")

    def _judged(self, act: Callable[[], None]) -> _Verdict | None:
        """Do a part of the work; a verdict where it ends with that."""
        begin = time.perf_counter()
        try:
            act()
        except _NotWritten as verdict:
            return self._undo(self.item, verdict.status, rejection(verdict.message) if verdict.message else None)
        except Reject as verdict:
            return self._undo(self.item, "rejected", rejection(self._told(str(verdict.reason))))
        except _ENDS_THE_RUN:
            self._remove_outputs()
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's functions may raise anything
            return self._undo(self.item, "failed", failure_of(error, self._told), error)
        finally:
            self.seconds += time.perf_counter() - begin
        return None

    def _undo(
        self, item: Item, status: Status, failure: Failure | None, raised: BaseException | None = None
    ) -> _Verdict:
        self._remove_outputs()
        with contextlib.suppress(InputError):  # what the step noted before is kept where it can be
            self.meta = clean_meta(item.meta)
        if status == "failed":
            self.sources = tuple(with_digest(source, item.path_of(source)) for source in self.sources)
        return _Verdict(status, failure, raised)

    def _read_process_write(self, item: Item) -> None:
        data = self._read_whole(item)
        result = resolved(self._process(data, item))
        del data  # the input need not be held while the output is written
        self._write_result(item, result)

    def _read_whole(self, item: Item) -> list[Any]:
        if self._step.join == INNER:
            self._check_there(item.sources)
        data = self._read(item)
        if self._step.checks.input:
            self._check(data)
        return data

    def _write_result(self, item: Item, result: Any) -> None:
        if result is None:
            raise _NotWritten("rejected", "process returned None")
        self._write_outputs(item, result)
        if item.is_noted:
            self.meta = clean_meta(item.meta)

    def _write_outputs(self, item: Item, result: Any) -> None:
        if is_no_output(result):
            return
        if isinstance(result, Output):
            self._write(item, result)
        elif isinstance(result, Iterator):
            self._write_each(item, result)
        elif isinstance(result, AsyncIterator):
            self._write_each(item, drained(result))
        elif isinstance(result, (list, tuple)) and result and isinstance(result[0], Output):
            raise DefinitionError(f"process returned a {type(result).__name__} of Output. Yield them one by one.")
        else:
            self._write(item, Output(result))

    def _check(self, data: list[Any]) -> None:
        """Ask what was read of each root, in a group of each file; of nothing, nothing is asked."""
        for root, value in zip(self._step.roots, data, strict=True):
            values = (value or ()) if self._step.is_grouped else [value]
            for each in values:
                if each is not None:
                    self._step.checks.check_inputs([root.name], [each])

    def _check_there(self, sources: Sequence[Source]) -> None:
        if len(sources) < len(self._step.roots) or self._step.is_grouped:
            there = {source.root for source in sources}
            missing = [root.name for root in self._step.roots if root.name not in there]
            if missing:
                raise _NotWritten("rejected", f"no item of this key in {', '.join(missing)}")

    def _read(self, item: Item) -> list[Any]:
        """Data for each root: of its file, or of all its files in a group."""
        is_each_needed = self._step.join == INNER and not self._step.is_grouped
        data: list[Any] = []
        seen: list[Source] = []
        places: list[int] = []
        begun = 0
        try:
            for place, source in enumerate(item.sources):
                value, now = self._read_one(item, source, is_needed=is_each_needed)
                begun = place + 1
                if now is not None:
                    seen.append(now)
                if value is not None:
                    data.append(value)
                    places.append(place)
                elif is_each_needed:
                    raise _NotWritten("skipped")
        finally:
            self.sources = (*seen, *item.sources[begun:])
        return data if is_each_needed else self._arranged(item, data, places)

    def _read_one(self, item: Item, source: Source, *, is_needed: bool) -> tuple[Any, Source | None]:
        """Data of one source, and the source as it was then; None for what is gone and not needed."""
        self._in_hand = source
        try:
            value, now = read_stable(self._step.reads[source.root], item.path_of(source), source)
        except Gone:
            if is_needed:
                raise
            value, now = None, None
        self._in_hand = None
        return value, now

    def _arranged(self, item: Item, data: list[Any], places: list[int]) -> list[Any]:
        """What there is, in lists for each root, or alone; None for a root of which there is nothing."""
        if not self.sources:
            raise Gone
        if not data:
            raise _NotWritten("skipped")
        by_root: dict[str, list[Any]] = {root.name: [] for root in self._step.roots}
        for place, value in zip(places, data, strict=True):
            by_root[item.sources[place].root].append(value)
        if not all(by_root.values()):
            self._check_matched([name for name, values in by_root.items() if not values])
        item.note_read(places)
        return [values if self._step.is_grouped else next(iter(values), None) for values in by_root.values()]

    def _check_matched(self, missing: list[str]) -> None:
        """What becomes of an item of which some roots have files that are gone by now, or are skipped."""
        if self._step.join == INNER:
            self._check_there(self.sources)
            raise _NotWritten("skipped")
        if self._step.join == STRICT:
            raise UnmatchedKeysError(
                f"There is nothing of this key in {', '.join(missing)}, although join is 'strict': the reader returned "
                "None, or the file was removed since the run began. Put it back, remove its match, or let the reader "
                "return None for that too."
            )

    def _told(self, message: str) -> str:
        """A message with the name of the file in hand, where it is one of several of its item."""
        source = self._in_hand
        is_one_of_several = len(self.sources) > 1
        if source is None or not is_one_of_several or source.name in message:
            return message
        return f"{source.name!r} of {source.root}: {message}"

    def _write_each(self, item: Item, results: Iterator[Any]) -> None:
        for result in results:
            if is_no_output(result):
                continue
            if not isinstance(result, Output):
                raise DefinitionError(
                    f"process yielded a {type(result).__name__}. An iterator must yield Output(data, key=…) objects; "
                    "return a list or an array if this is the data of one output."
                )
            self._write(item, result)

    def _write(self, item: Item, output: Output) -> None:
        format = self._step.format if output.suffix is None else self._step.format_for(output.suffix)
        suffix = format.suffix if output.suffix is None else output.suffix
        key = item.output_key if output.key is None else f"{item.output_key}/{output.key}"
        path = key + suffix
        if key != item.key or suffix in _SUFFIXES_OF_LITTER:
            check_key(path)
        self._step.checks.check_output(path, output.data)
        if item.output_key != item.key:
            self._note_name(path)
        try:
            write = partial(format.write, output.data)
            is_small = _is_small(output.data)
            digest, state = local.write_new(self._files, path, write, is_small=is_small, sync=self._step.sync)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            if not str(error.filename).startswith(self._files):  # the writer's own
                raise
            is_own = any(written.path == path for written in self.outputs)
            raise (KeyCollisionError if is_own else _Collision)(
                f"{path!r} cannot be written for the item {item.key!r}: another output has that name, or the name of "
                "one of its folders. Give one of them another key."
            ) from error
        except OSError as error:
            if isinstance(error, local.SyncFailed):
                raise
            if not local.exists(self._files):
                raise BusyError(f"{path!r} cannot be written: {_TAKEN_OVER}") from error
            if error.errno not in _DISK_ERRORS:
                raise
            space = local.told_space(self._files, error)
            raise StorageError(
                error.errno,
                f"{path!r} cannot be written to {self._files!r}: {error.strerror}{space}. {_DISK_ADVICE}",
            ) from error
        shape, dtype, offset = _array_facts(output.data, format, state.st_size)
        self.outputs.append(OutputFile(path, state.st_size, state.st_mtime_ns, digest, shape, dtype, offset))

    def _remove_outputs(self) -> None:
        for output in self.outputs:
            with contextlib.suppress(FileNotFoundError):
                system.unlink(os.path.join(self._files, output.path))
        self.outputs.clear()


def do_here(step: Step, item: Item, files: str) -> tuple[Entry, BaseException | None]:
    """Do a step for one item in this thread; the exception is the one that was raised, with its traceback.

    Parameters
    ----------
    step
        What to do.
    item
        With which item.
    files
        A folder of outputs, of which none may be there yet.

    Raises
    ------
    InputError
        Outputs of the item have the same name, or its file is gone.
    """
    try:
        attempt = _Attempt(step, files, step.begin(), item)
        verdict = attempt.run()
    except _Collision as error:
        raise KeyCollisionError(str(error)) from error
    except Gone as error:
        raise MissingInputError(f"The file of {item.key!r}, {item.path!r}, was removed just now.") from error
    return attempt.entry(verdict, Job(parts_of([item])), "replay"), verdict.raised


def _halved(attempts: list[_Attempt], job: Job) -> list[tuple[float, bytes]]:
    """Two jobs for items that have failed together."""
    parts = parts_of(attempt.item for attempt in attempts)
    seconds = job.seconds + sum(attempt.seconds for attempt in attempts) / len(attempts)
    started = job.started or attempts[0].started
    again = Job(parts, job.attempts + 1, seconds, started, job.in_batches + 1)
    return [(0.0, encode_job(half)) for half in again.halves()]


def _aborted(who: str, failure: Failure, raised: BaseException) -> AbortedError:
    """The error that ends the run for what an item has raised."""
    message = printable(failure.message)
    if isinstance(raised, Abort):
        what, advice = f"{who} has ended the run: {message}.", "Mend what is wrong, then"
    else:
        what = f"{who} raised {failure.type}: {message}; `catch` leaves that out, which ends the run."
        advice = "Mend the file or the code, or let `catch` name this error, then"
    aborted = AbortedError(f"{what} Nothing was published, and what was finished is kept. {advice} run again.")
    aborted.raised = pack_error(raised)
    if failure.traceback:
        aborted.add_note(f"In the worker:\n{failure.traceback}")
    return aborted


def _is_small(data: Any) -> bool:
    size = len(data) if isinstance(data, (bytes, str)) else getattr(data, "nbytes", None)
    return isinstance(size, int) and size < _SMALL_BYTES


def _array_facts(data: Any, format: Format, size: int) -> tuple[tuple[int, ...] | None, str | None, int | None]:
    shape, dtype = getattr(data, "shape", None), getattr(data, "dtype", None)
    if not isinstance(shape, tuple) or dtype is None or not hasattr(dtype, "str"):
        return None, None, None
    offset = size - data.nbytes if format.write is write_npy else None
    return tuple(map(int, shape)), str(dtype.str), offset
