"""A step at work: what workers do with jobs, and what they answer."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from luisy_dir.batching import BatchProcess
from luisy_dir.engines.event_loop import Cancelled, has_event_loop
from luisy_dir.engines.home import my_name
from luisy_dir.engines.packing import pack_error
from luisy_dir.entry import Failure, encode_entry
from luisy_dir.errors import (
    Abort,
    AbortedError,
    BusyError,
    KeyCollisionError,
    LuisyDirError,
    Reject,
    SetupError,
    StorageError,
)
from luisy_dir.failures import failure_of
from luisy_dir.gathering import folder_of
from luisy_dir.item import Item, printable
from luisy_dir.job import Job, Tries, decode_job, encode_job, parts_of
from luisy_dir.journal import FILES, Journal, encode_name, journal_of, names_of
from luisy_dir.peak import Peak
from luisy_dir.policy import Policy
from luisy_dir.reading import Gone
from luisy_dir.staging import poison
from luisy_dir.step.attempt import ENDS_THE_RUN, TAKEN_OVER, Attempt, Collision, Verdict
from luisy_dir.step.definition import Step
from luisy_dir.storage import local, system

_POISONED = "None of it is trusted, and all of it will be made again. Mend the disk or make room, then run again."


# What a worker answers for one item: its entry as a line, and the packed exception for the parent to raise from. No
# line says that the run cannot go on, an empty one that the item has gone. Plain bytes, because they are pickled a
# million times, and because an exception may not be known to the parent.
Outcome = tuple[bytes | None, bytes | None]
# What has come of a job, and the jobs that are still to be done, each with the seconds to wait before.
Answer = tuple[list[Outcome], list[tuple[float, bytes]]]


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
        left: list[Attempt] = []
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

    def _results(self, attempts: list[Attempt], worker: _Worker) -> list[Any] | None:
        """Results of items that were read; None where they failed together, so that they are to be done by halves."""
        assert isinstance(worker.process, BatchProcess)  # noqa: S101 - else each job has one item
        begin = time.perf_counter()
        try:
            return worker.process.together([attempt.data for attempt in attempts], [each.item for each in attempts])
        except ENDS_THE_RUN:
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

    def _answer(self, attempt: Attempt, verdict: Verdict, job: Job, worker: _Worker) -> Answer:
        """Append what became of an item to the journal, unless it is to be tried again."""
        entry = attempt.entry(verdict, job, worker.name)
        raised = verdict.raised
        attempts = entry.attempts - job.in_batches
        if raised is not None and self.policy.is_retried(raised, attempts):
            tries = Tries(entry.attempts, entry.seconds, entry.started)
            again = Job(parts_of([attempt.item]), tries, job.in_batches)
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
        if isinstance(error, Collision):
            return KeyCollisionError(str(error))
        if isinstance(error, local.SyncFailed):
            poison(self.run)
            what = f"What was written into {self.run!r} could not be brought to the disk: {error.strerror}."
            return StorageError(error.errno, f"{what} {_POISONED}")
        if isinstance(error, FileNotFoundError) and not local.exists(self.run):
            return BusyError(f"{self.run!r} is gone: {TAKEN_OVER}")
        return error

    def _new_attempt(self, item: Item, worker: _Worker) -> Attempt:
        return Attempt(self.step, worker.files, worker.process, item, worker.note_name)

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


def _halved(attempts: list[Attempt], job: Job) -> list[tuple[float, bytes]]:
    """Two jobs for items that have failed together."""
    parts = parts_of(attempt.item for attempt in attempts)
    tries = job.tries.and_one(attempts[0].started, sum(attempt.seconds for attempt in attempts) / len(attempts))
    again = Job(parts, tries, job.in_batches + 1)
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
