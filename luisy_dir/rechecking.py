"""Rechecking: published items are computed again beside what is published, and compared with their entries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from luisy_dir.engines.loss import Loss
from luisy_dir.engines.mapping import give_up_soon, map_unordered
from luisy_dir.engines.packing import unpack_error
from luisy_dir.entry import Entry, decode_entry
from luisy_dir.errors import BusyError, InputChangedError, LuisyDirError, StorageError, WorkerDiedError
from luisy_dir.item import Item, Source
from luisy_dir.item_memory import ItemMemory
from luisy_dir.job import decode_job, job_of
from luisy_dir.journal import FILES
from luisy_dir.keys import OUTER
from luisy_dir.losses import Losses
from luisy_dir.manifest import FileContent, Manifest
from luisy_dir.policy import Policy
from luisy_dir.recheck import Finding, RecheckRow, difference, files_of, result_of, sampled
from luisy_dir.staging import locked, make_folder
from luisy_dir.step import Answer, Step, StepInWorker
from luisy_dir.storage import local, system
from luisy_dir.unpacking import PackReader

_NOT_WRITTEN: dict[str, Finding] = {"failed": "failed", "rejected": "rejected", "skipped": "skipped"}
_DIED = "The recheck was given up: {why} What is published was not touched."
_OnAnswer = Callable[[str, Entry | None, str], None]  # key, its new entry or None, and in that case why


def entries_in_sample(manifest: Manifest, fraction: float) -> list[Entry]:
    """Entries of the written items that belong to a sample, in key order; see :func:`luisy_dir.recheck.sampled`."""
    written = (entry.key for entry in manifest.files("outputs", FileContent) if entry.status == "written")
    return manifest.entries_of(sampled(written, fraction))


@dataclass(frozen=True)
class Rechecking:
    """How items are computed again.

    Parameters
    ----------
    step
        What a run does with each item.
    scratch
        Absolute path of a folder of its own, for what is written meanwhile.
    open_executor
        Opens an Executor for so many items.
    item_of
        Makes an item of its key and sources.
    workers
        How many items it works on at the same time.
    changed_targets
        Names of what the task requires beside directories that is not as recorded: no item can be compared then.
    on_entry
        Called with the entry of each item as it comes.
    memory
        How much memory items take, and how much there is; None where nobody says.
    """

    step: Step
    scratch: str
    open_executor: Callable[[int], AbstractContextManager[Executor]]
    item_of: Callable[[str, tuple[Source, ...]], Item]
    workers: int = 1
    changed_targets: Sequence[str] = ()
    on_entry: Callable[[Entry], object] = lambda _: None
    memory: ItemMemory | None = None

    def rows(self, entries: Sequence[Entry], directory: str) -> list[RecheckRow]:
        """Compute items again, and compare; those that differ are computed a second time, by other workers.

        Parameters
        ----------
        entries
            Of written items, in key order.
        directory
            Absolute path of the published directory; it is not looked into.

        Returns
        -------
        list of RecheckRow
            Of the items that are not equal, in key order.

        Raises
        ------
        BusyError
            Another recheck of the same directory is under way.
        SetupError
            ``setup`` raised in a worker.
        WorkerDiedError
            Workers die before they have an item in hand.
        StorageError
            The scratch cannot be written to.
        """
        with locked(self.scratch):
            local.remove_tree(self.scratch)
            comparison = _Comparison(self, directory, {entry.key: entry for entry in entries})
            try:
                comparison.run()
            except BaseException:
                local.remove_tree(self.scratch)
                raise
            comparison.tidy()
        return sorted(comparison.rows, key=lambda row: row.key)

    def why_not(self, entry: Entry) -> str | None:
        """Why the inputs of an item are others now, as can be seen without a look at them; None where they may not."""
        if self.changed_targets:
            return f"the required {', '.join(map(repr, self.changed_targets))} is not as recorded"
        then = list(dict.fromkeys(source.root for source in entry.sources))
        now = [root.name for root in self.step.roots]
        if then == now or (self.step.join == OUTER and set(then) <= set(now)):
            return None
        return f"it was made from {', '.join(then)}, and the task requires {', '.join(now)}"


@dataclass
class _Comparison:
    """What was found until now, and the two folders of the scratch where outputs lie meanwhile."""

    how: Rechecking
    directory: str
    entries: dict[str, Entry]
    rows: list[RecheckRow] = field(default_factory=list)
    different: dict[str, Entry] = field(default_factory=dict)  # as they were made first

    def __post_init__(self) -> None:
        self._first, self._second = (os.path.join(self.how.scratch, name) for name in ("first", "second"))

    def run(self) -> None:
        """Compute all items again, and what differs a second time.

        Then in another order: so that is found out, too, whose result depends on what its worker did before.
        """
        _compute_again(self.how, self._first, list(self._comparable()), self._take_first)
        again = [self.entries[key] for key in reversed(self.different)]
        _compute_again(self.how, self._second, again, self._take_second)

    def _comparable(self) -> Iterator[Entry]:
        for entry in self.entries.values():
            why = self.how.why_not(entry)
            if why is None:
                yield entry
            else:
                self._leave_out(entry.key, why)

    def _take_first(self, key: str, now: Entry | None, why: str) -> None:
        if now is None:
            self._leave_out(key, why)
            return
        self.how.on_entry(now)
        self._keep_different(self._first, now)
        if result_of(now) != result_of(self.entries[key]):
            self.different[key] = now

    def _take_second(self, key: str, again: Entry | None, why: str) -> None:
        now = self.different[key]
        if again is None:
            _remove(self._first, files_of(now))
            self._leave_out(key, why)
        elif result_of(again) == result_of(now):
            _remove(self._second, files_of(again))
            self._tell(now)
        else:
            self._keep_different(self._second, again)
            self._tell(now, again)

    def _leave_out(self, key: str, why: str) -> None:
        self.rows.append(RecheckRow(key, "inputs changed", why))

    def _tell(self, now: Entry, again: Entry | None = None) -> None:
        """Note what was found of an item that differs."""
        then = self.entries[now.key]
        finding, reason = _NOT_WRITTEN.get(now.status, "drifted"), difference(then, now)
        if again is not None:
            finding, reason = "not deterministic", f"of two recomputations, {difference(now, again)}"
        same = files_of(then) & files_of(now) & files_of(again or now)
        published = [
            os.path.join(self.directory, path) for path, digest in files_of(then) if (path, digest) not in same
        ]
        recomputed = [
            os.path.join(run, FILES, path)
            for run, entry in ((self._first, now), (self._second, again))
            if entry is not None
            for path, _ in files_of(entry) - files_of(then)
        ]
        self.rows.append(RecheckRow(then.key, finding, reason, tuple(sorted(published)), tuple(sorted(recomputed))))

    def _keep_different(self, run: str, entry: Entry) -> None:
        """Remove those outputs of an item that are as recorded."""
        _remove(run, files_of(entry) & files_of(self.entries[entry.key]))

    def tidy(self) -> None:
        """Leave nothing but the outputs that differ."""
        for run in (self._first, self._second):
            for name in local.names_in(run):
                if name != FILES:
                    local.remove_tree(os.path.join(run, name))
            if local.exists(run):
                local.remove_empty_below(run)
                local.remove_empty(run)
        local.remove_empty(self.how.scratch)


def _remove(run: str, files: Iterable[tuple[str, str]]) -> None:
    for path, _ in files:
        with suppress(FileNotFoundError):  # the scratch may be removed at any time
            system.unlink(os.path.join(run, FILES, path))


class _Answer(NamedTuple):
    """What a worker says of one item: the outcome of the step, or why the item was not computed again."""

    key: str
    line: bytes | None = b""
    packed: bytes | None = None
    why: str = "a file of it is gone"


@dataclass(frozen=True)
class _Again:
    """A step at work on items whose inputs are as recorded: call it with the job of one item, in any worker."""

    step: StepInWorker

    def prepare(self) -> None:
        """Prepare this worker; see :meth:`luisy_dir.step.StepInWorker.prepare`."""
        self.step.prepare()

    def __call__(self, encoded: bytes) -> _Answer:
        (item,) = decode_job(encoded).opened(self.step.step.folders, self.step.step.seed)
        for source in item.sources:
            path = item.path_of(source)
            why = _why_changed(self.step.step.reads[source.root], path, source)
            if why is not None:
                return _Answer(item.key, why=f"{path!r} {why}")
        return _answer(self.step(encoded), item.key)


def _answer(answer: Answer, key: str) -> _Answer:
    ((line, packed),), _ = answer
    return _Answer(key, line, packed)


def _settled(losses: Losses, chunk: list[bytes], loss: Loss) -> tuple[list[_Answer], list[bytes]]:
    """What has come of the items of a worker that has died: the one that it had in hand has failed."""
    answers, left = losses.settle(chunk, loss)
    return [_answer(answer, decode_entry(answer[0][0][0] or b"").key) for answer in answers], left


def _why_changed(read: object, path: str, source: Source) -> str | None:
    try:
        digest = read.digest_of(path) if isinstance(read, PackReader) else local.digest_of(path)[0]
        is_same = digest == source.digest
    except FileNotFoundError:
        return "is gone"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if is_same else "is not as it was read then"


def _compute_again(how: Rechecking, run: str, entries: Sequence[Entry], on_answer: _OnAnswer) -> None:
    """Do the step for items in a folder of the scratch; when this ends, no worker has anything in hand."""
    if not entries:
        return
    make_folder(os.path.join(run, FILES))
    at_work = StepInWorker(how.step, run)
    items = (job_of(how.item_of(entry.key, entry.sources)) for entry in entries)
    losses = Losses(how.step, run, Policy(), lambda: {entry.key for entry in entries})
    on_loss, workers = partial(_settled, losses), min(how.workers, len(entries))
    with how.open_executor(len(entries)) as executor, closing(at_work), closing(losses):
        memory, folders, seed = how.memory, how.step.folders, how.step.seed
        weight, available = (None, 0) if memory is None else (memory.weight(folders, seed), memory.available)
        answers = map_unordered(
            executor, _Again(at_work), items, workers=workers, on_loss=on_loss, weight=weight, budget=available
        )
        with closing(answers):
            try:
                for answer in answers:
                    _take(answer, run, on_answer)
            except KeyboardInterrupt:
                give_up_soon(executor)
                raise
            except BrokenExecutor as error:
                raise WorkerDiedError(_DIED.format(why=error)) from error


def _take(answer: _Answer, run: str, on_answer: _OnAnswer) -> None:
    if answer.line is None:
        raise _given_up(None if answer.packed is None else unpack_error(answer.packed), run)
    entry = decode_entry(answer.line) if answer.line else None
    if entry is not None and entry.error is not None and entry.error.type == InputChangedError.__name__:
        on_answer(answer.key, None, entry.error.message)  # it has changed just now
        return
    on_answer(answer.key, entry, answer.why)


def _given_up(error: BaseException | None, run: str) -> BaseException:
    """The error that ends a recheck: ours as it is, but for those that speak of the staging of a run."""
    if isinstance(error, LuisyDirError) and not isinstance(error, (BusyError, StorageError)):
        return error
    number = getattr(error, "errno", None)
    why = os.strerror(number) if number else "somebody has removed it, or the disk has failed"
    given_up = StorageError(
        number,
        f"Nothing more can be written into {run!r}: {why}. What is published was not touched. Mend the disk or make "
        "room, then recheck again.",
    )
    given_up.__cause__ = error
    return given_up
