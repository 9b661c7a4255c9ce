"""An attempt: one try at one item, which is undone where it fails."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from luisy_dir.batching import BatchProcess, WrongResultsError
from luisy_dir.engines.event_loop import Cancelled, NoEventLoopError, drained, resolved
from luisy_dir.entry import Entry, Failure, OutputFile, Status, clean_meta
from luisy_dir.errors import (
    BusyError,
    DefinitionError,
    InputError,
    KeyCollisionError,
    MissingInputError,
    Reject,
    StorageError,
    UnmatchedKeysError,
)
from luisy_dir.failures import failure_of, rejection
from luisy_dir.formats import array_facts, is_small
from luisy_dir.item import Item, Source, check_key
from luisy_dir.job import Job, parts_of
from luisy_dir.keys import INNER, STRICT
from luisy_dir.output import Output, is_no_output
from luisy_dir.reading import Gone, read_stable, with_digest
from luisy_dir.step.definition import Step
from luisy_dir.storage import local, system

_SUFFIXES_OF_LITTER = {".db", ".ini"}  # with the right key these are names that a scan passes over
# Errors of the disk, not of the item: the next item would fare no better.
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
_DISK_ADVICE = (
    "Nothing was published, and what was finished is kept. Mend the disk or make room, then run again, which goes on."
)
TAKEN_OVER = (
    "another run has taken over the staging, or somebody has removed it. Nothing was published. Wait until the other "
    "run has ended, then run again."
)


class _NotWritten(Exception):  # noqa: N818 - carries a verdict from where it is known to where the entry is made
    def __init__(self, status: Status, message: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Collision(Exception):  # noqa: N818 - becomes a KeyCollisionError that ends the run
    """Two items write one output: which of them came first is chance, so that the run must end."""


class Verdict(NamedTuple):
    """What has become of an item, and the exception that it has raised if it has."""

    status: Status
    error: Failure | None = None
    raised: BaseException | None = None


# What no other item would survive either, or what is nobody's fault: the run ends, or the item has gone.
ENDS_THE_RUN = (
    BusyError, StorageError, local.SyncFailed, NoEventLoopError, Cancelled, Gone, WrongResultsError, Collision,
)  # fmt: skip


class Attempt:
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

    def entry(self, verdict: Verdict, job: Job, worker: str) -> Entry:
        """What became of the item, as one of a job."""
        tries = job.tries.and_one(self.started, self.seconds)
        return Entry(
            key=self.item.key,
            sources=self.sources,
            status=verdict.status,
            outputs=tuple(self.outputs),
            meta=self.meta,
            error=verdict.error,
            attempts=tries.attempts,
            seconds=round(tries.seconds, 6),
            started=tries.started or self.started,
            worker=worker,
            seed=self.item.used_seed,
            peak_memory=self.peak_memory,
        )

    def run(self) -> Verdict:
        """Read, process and write; whatever happens to the item is in the verdict."""
        return self._judged(partial(self._read_process_write, self.item)) or Verdict("written")

    def read(self) -> Verdict | None:
        """Read what goes into a batch, as ``data``; a verdict where the item does not come as far as that."""

        def act() -> None:
            assert isinstance(self._process, BatchProcess)  # noqa: S101 - else nobody asks for this
            self.data = self._process.before(self._read_whole(self.item), self.item)

        return self._judged(act)

    def write(self, result: Any) -> Verdict:
        """Write what has come out of a batch."""

        def act() -> None:
            assert isinstance(self._process, BatchProcess)  # noqa: S101 - else nobody asks for this
            self._write_result(self.item, self._process.after(result, self.item))

        return self._judged(act) or Verdict("written")

    def _judged(self, act: Callable[[], None]) -> Verdict | None:
        """Do a part of the work; a verdict where it ends with that."""
        begin = time.perf_counter()
        try:
            act()
        except _NotWritten as verdict:
            return self._undo(self.item, verdict.status, rejection(verdict.message) if verdict.message else None)
        except Reject as verdict:
            return self._undo(self.item, "rejected", rejection(self._told(str(verdict.reason))))
        except ENDS_THE_RUN:
            self._remove_outputs()
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's functions may raise anything
            return self._undo(self.item, "failed", failure_of(error, self._told), error)
        finally:
            self.seconds += time.perf_counter() - begin
        return None

    def _undo(
        self, item: Item, status: Status, failure: Failure | None, raised: BaseException | None = None
    ) -> Verdict:
        self._remove_outputs()
        with contextlib.suppress(InputError):  # what the step noted before is kept where it can be
            self.meta = clean_meta(item.meta)
        if status == "failed":
            self.sources = tuple(with_digest(source, item.path_of(source)) for source in self.sources)
        return Verdict(status, failure, raised)

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
            small = is_small(output.data)
            digest, state = local.write_new(self._files, path, write, is_small=small, sync=self._step.sync)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            if not str(error.filename).startswith(self._files):  # the writer's own
                raise
            is_own = any(written.path == path for written in self.outputs)
            raise (KeyCollisionError if is_own else Collision)(
                f"{path!r} cannot be written for the item {item.key!r}: another output has that name, or the name of "
                "one of its folders. Give one of them another key."
            ) from error
        except OSError as error:
            if isinstance(error, local.SyncFailed):
                raise
            if not local.exists(self._files):
                raise BusyError(f"{path!r} cannot be written: {TAKEN_OVER}") from error
            if error.errno not in _DISK_ERRORS:
                raise
            space = local.told_space(self._files, error)
            raise StorageError(
                error.errno,
                f"{path!r} cannot be written to {self._files!r}: {error.strerror}{space}. {_DISK_ADVICE}",
            ) from error
        shape, dtype, offset = array_facts(output.data, format, state.st_size)
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
        attempt = Attempt(step, files, step.begin(), item)
        verdict = attempt.run()
    except Collision as error:
        raise KeyCollisionError(str(error)) from error
    except Gone as error:
        raise MissingInputError(f"The file of {item.key!r}, {item.path!r}, was removed just now.") from error
    return attempt.entry(verdict, Job(parts_of([item])), "replay"), verdict.raised
