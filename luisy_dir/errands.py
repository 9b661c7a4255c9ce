"""Errands: inputs that are sent to workers one by one, and what has become of them."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from numbers import Integral
from typing import Any

import cloudpickle
import msgspec

from luisy_dir.attempts import map_attempts
from luisy_dir.budget import Budget
from luisy_dir.engines import has_one_in_hand, open_engine, width_of
from luisy_dir.engines.loss import NoWorkerError
from luisy_dir.engines.mapping import give_up_soon
from luisy_dir.engines.packing import unpack_error
from luisy_dir.entry import Entry, OutputFile, encode_entry
from luisy_dir.errors import InputError, OutputError, SettingError, WorkerDiedError
from luisy_dir.failures import failure_of
from luisy_dir.hidden import remove_abandoned
from luisy_dir.item import RACY_NS, printable
from luisy_dir.item_memory import ItemMemory
from luisy_dir.journal import Journal, is_journal, read_journal
from luisy_dir.outpaths import Outpaths
from luisy_dir.path_item import PathItem, output_of, place_of, sources_of, text_of
from luisy_dir.piping import Errand, PipeInWorker, Tried, encode_errand, ends_the_run, item_of
from luisy_dir.policy import Policy
from luisy_dir.progress import Progress
from luisy_dir.resources import usable_cpus
from luisy_dir.storage import local
from luisy_dir.terminal import Terminal

logger = logging.getLogger("luigi-interface.luisy_dir")


@dataclass(frozen=True)
class Earlier:
    """What the journal of earlier runs says of the inputs of this one.

    Parameters
    ----------
    finished
        What has become of those that need not be done again, by their number.
    known
        Numbers of all that it knows: of these nobody asks whether they are to be skipped.
    """

    finished: Mapping[int, Entry] = field(default_factory=dict)
    known: Collection[int] = ()


def earlier_runs(journal: str, fingerprint: str, inpaths: Sequence[Any], outpaths: Outpaths) -> Earlier:
    """What earlier runs have noted in a file.

    An input need not be done again where the functions are the same, the input is as it was before it was read, and
    the output as it was written, by size and time of change.

    Parameters
    ----------
    journal
        Path of the file; it may not be there.
    fingerprint
        Of the functions as they are now.
    inpaths, outpaths
        The inputs, and where their outputs go.

    Raises
    ------
    OutputError
        The file is something else.
    """
    if not local.exists(journal):
        return Earlier()
    if not is_journal(journal):
        raise OutputError(f"{journal!r} is no journal of a pipeline, and is left as it is. Give journal another name.")
    latest = {entry.key: (entry, origin) for entry, origin in read_journal(journal)}
    known = {number: latest[key] for number in outpaths.found if (key := text_of(inpaths[number])) in latest}
    finished = {
        number: entry
        for number, (entry, origin) in known.items()
        if origin is not None and origin.fingerprint == fingerprint
        if _holds(entry, inpaths[number], outpaths.found[number])
    }
    return Earlier(finished, known.keys())


def _holds(entry: Entry, inpath: Any, outpath: Any) -> bool:
    if entry.status not in {"written", "rejected"} or entry.sources != sources_of(inpath):
        return False
    began_ns = int(entry.started.timestamp() * 1e9)
    if any(source.mtime_ns > began_ns - RACY_NS for source in entry.sources):  # it may have changed in the same tick
        return False
    return entry.outputs in ((), (output_of(outpath),))


@dataclass(frozen=True)
class Done:
    """What has become of one input.

    Parameters
    ----------
    number
        Of the input, in the order in which they were given.
    entry
        What the report says of it.
    value
        What the function has put into ``item.value``; None where the input has failed or was rejected.
    """

    number: int
    entry: Entry
    value: Any = None


def process_each(  # noqa: PLR0913 - each has a default
    function: Callable[[PathItem], list[OutputFile]],
    inputs: Sequence[Any],
    on_done: Callable[[Done], object],
    *,
    policy: Policy,
    engine: str | Executor = "threads",
    workers: int = 1,
    imports_main: bool = True,
    name: str = "Pipeline",
    progress: str = "auto",
) -> None:
    """Call a function for each of some inputs, which may be paths, lists of paths, or anything that can be pickled.

    Parameters
    ----------
    function
        Gets a :class:`~luisy_dir.piping.PathItem`; returns what it has written. What it puts into ``item.value`` comes
        back as it is; what cannot be pickled makes that input fail, on every engine.
    inputs
        One that is given twice is done twice.
    on_done
        Called with each :class:`Done`, in this thread, as they come.
    policy
        What an error means.
    engine, workers, progress
        As for :meth:`Pipeline.run`.
    imports_main
        Worker processes import the script that was started; False where it may have no guard.
    name
        Of the run, for those who watch it.

    Raises
    ------
    ItemsFailedError
        More inputs failed than the policy allows.
    WorkerDiedError
        Workers die before they have an input in hand.

    Examples
    --------
    >>> def length(item):
    ...     item.value = len(item.inpath)
    ...     return []
    >>> lengths = {}
    >>> process_each(length, ["a", "bcd"], lambda done: lengths.update({done.number: done.value}), policy=Policy())
    >>> lengths
    {0: 1, 1: 3}
    """
    outpaths = Outpaths(dict.fromkeys(range(len(inputs))))
    run = Run(policy, inputs, outpaths, {}, on_done=on_done)
    opened = executor_for(engine, workers, policy, run.begin(), imports_main=imports_main)
    run.go(PipeInWorker(function, policy), opened, workers, show=progress, name=name)


class Run:
    """One run: what is done with which inputs, and what has become of them.

    Parameters
    ----------
    policy
        What an error means.
    inpaths
        The inputs.
    outpaths
        Where their outputs go.
    entries
        Is filled with what has become of each, by its number; whoever gave it reads it also after an error.
    earlier
        What is known of earlier runs.
    on_done
        Called with each other one that is done.
    """

    def __init__(
        self,
        policy: Policy,
        inpaths: Sequence[Any],
        outpaths: Outpaths,
        entries: dict[int, Entry],
        earlier: Earlier | None = None,
        on_done: Callable[[Done], object] = lambda _: None,
    ) -> None:
        self._policy = policy
        self._inpaths = inpaths
        self._outpaths = outpaths
        self._entries = entries
        self._earlier = earlier or Earlier()
        self._on_done = on_done

    def begin(self) -> int:
        """Take in what is known before anything is done, and raise where that ends the run; how many are to be done."""
        for refusal in self._outpaths.refused.values():
            raise refusal
        for number, error in self._outpaths.failed.items():
            inpath = self._inpaths[number]
            if ends_the_run(error, self._policy):
                error.add_note(f"path_func raised this for {printable(text_of(inpath))!r}.")
                raise error
            self._entries[number] = _failed(inpath, error)
        self._entries.update(self._earlier.finished)
        return len(self._outpaths.found) - len(self._earlier.finished)

    def go(
        self,
        at_work: PipeInWorker,
        opened: AbstractContextManager[Executor],
        workers: int,
        *,
        memory: ItemMemory | None = None,
        journal: Journal | None = None,
        show: str = "auto",
        name: str = "Pipeline",
    ) -> None:
        """Do what there is to do, once it has begun.

        Parameters
        ----------
        at_work
            What is done with each input.
        opened
            Opens the executor of the workers.
        workers
            Their number.
        memory
            How much each input takes, and how much there is.
        journal
            Where what is done is noted.
        show
            Whether there is a bar.
        name
            Of the run, for those who watch it.
        """
        budget = Budget(self._policy.allowed(len(self._inpaths)), len(self._inpaths), lambda entry: entry.key)
        progress = Progress(name, len(self._inpaths))
        for entry in self._entries.values():
            budget.spend(entry, None)
        progress.begin_with(self._entries.values())
        places = (place_of(path) for path in self._outpaths.found.values() if path is not None)
        remove_abandoned(sorted({os.path.dirname(place) for place in places if place is not None}))
        with opened as executor, Terminal(progress, show=show), progress:
            at_work = replace(at_work, has_one_item=has_one_in_hand(executor))
            answers = map_attempts(
                executor,
                at_work,
                self._errands(),
                workers=width_of(executor, workers),
                on_loss=at_work.settle,
                weight=None if memory is None else lambda encoded: memory.of(item_of(encoded)),
                budget=0 if memory is None else memory.available,
            )
            with closing(at_work), closing(answers):
                try:
                    for tried in answers:
                        self._take(tried, budget, progress, journal)
                except KeyboardInterrupt:
                    give_up_soon(executor)
                    raise
                except BrokenExecutor as error:
                    raise _worker_died(error, budget) from error

    def _take(self, tried: Tried, budget: Budget, progress: Progress, journal: Journal | None) -> None:
        done = _unpacked(tried)
        self._entries[tried.number] = done.entry
        if journal is not None:
            journal.append(encode_entry(done.entry))
        self._on_done(done)
        progress.advance(done.entry)
        error = None if tried.packed is None else unpack_error(tried.packed)
        if error is not None and ends_the_run(error, self._policy):
            logger.error("%s: %s", printable(tried.entry.key), printable(_told(tried.entry)))
            error.add_note(f"This was raised for the input {printable(tried.entry.key)!r}.")
            if error.__traceback__ is None and tried.entry.error is not None and tried.entry.error.traceback:
                error.add_note(f"In the worker:\n{tried.entry.error.traceback}")
            raise error
        budget.spend(done.entry, error)

    def _errands(self) -> Iterator[bytes]:
        for number, outpath in self._outpaths.found.items():
            if number not in self._earlier.finished:
                paths = _pickled((self._inpaths[number], outpath))
                yield encode_errand(Errand(number, paths, is_known=number in self._earlier.known))


def _pickled(paths: tuple[Any, Any]) -> bytes:
    """Pickled the fast way where another process can unpickle that: what the script defines it may not know."""
    try:
        pickled = pickle.dumps(paths)
    except Exception:  # noqa: BLE001 - pickle raises whatever comes to its mind
        pickled = b"__main__"
    return cloudpickle.dumps(paths) if b"__main__" in pickled else pickled


def _unpacked(tried: Tried) -> Done:
    """What came back from a worker; a value that breaks on its way is its own input's failure."""
    try:
        return Done(tried.number, tried.entry, None if tried.value is None else pickle.loads(tried.value))
    except Exception as error:  # noqa: BLE001 - what was pickled there cannot always be unpickled here
        broken = InputError(f"What was returned cannot be read here: {type(error).__name__}: {error}.")
        entry = msgspec.structs.replace(tried.entry, status="failed", error=failure_of(broken))
        return Done(tried.number, entry)


def executor_for(
    engine: str | Executor,
    workers: int | None,
    policy: Policy,
    things: int,
    *,
    address: str = "",
    imports_main: bool = True,
) -> AbstractContextManager[Executor]:
    """Opens what an engine stands for, with no more workers than things to do; an executor of the user's stays open."""
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, Integral) or workers < 1):
        raise SettingError(f"workers is {workers!r}. Give a whole number from 1, or None for as many as usable CPUs.")
    if isinstance(engine, Executor):
        return nullcontext(engine)
    most = workers if address else min(workers or usable_cpus(), max(things, 1))
    return open_engine(engine, most, timeout=policy.timeout, address=address, imports_main=imports_main)


def _failed(inpath: Any, error: Exception) -> Entry:
    """The entry of an input of which nobody knows where its output goes."""
    now = datetime.now(UTC)
    return Entry(text_of(inpath), (), "failed", (), {}, failure_of(error), 1, 0.0, now, "", None)


def _told(entry: Entry) -> str:
    return f"{entry.error.type}: {entry.error.message}" if entry.error else entry.status


def _worker_died(error: BrokenExecutor, budget: Budget) -> WorkerDiedError:
    advice = (
        "A worker imports the module that the functions are in: look for what ends a process there. In a script, call "
        "run() under `if __name__ == '__main__':`."
        if isinstance(error, NoWorkerError)
        else "engine='processes' goes on, and names the input."
    )
    return WorkerDiedError(f"The run was given up after {budget.done} of {budget.total} inputs: {error} {advice}")
