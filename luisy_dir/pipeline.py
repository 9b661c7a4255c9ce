"""A pipeline: load, process and write any files, one by one, without Luigi."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import cloudpickle
import msgspec

from luisy_dir import report
from luisy_dir.attempts import map_attempts
from luisy_dir.budget import Budget
from luisy_dir.engines import has_one_in_hand, open_engine, width_of
from luisy_dir.engines.loss import NoWorkerError
from luisy_dir.engines.mapping import give_up_soon
from luisy_dir.engines.packing import unpack_error
from luisy_dir.entry import Entry, OutputFile
from luisy_dir.errors import DefinitionError, InputError, KeyCollisionError, OutputError, WorkerDiedError
from luisy_dir.failures import failure_of
from luisy_dir.item import printable
from luisy_dir.item_memory import ItemMemory, ItemMemoryLike, bytes_within, item_memory_in, limit_in
from luisy_dir.piping import (
    Errand,
    PathItem,
    Pipe,
    PipeInWorker,
    Tried,
    encode_errand,
    ends_the_run,
    is_path,
    item_of,
    ops_of,
    remove_abandoned,
    text_of,
)
from luisy_dir.policy import ErrorsLike, Policy, errors_of
from luisy_dir.progress import Progress
from luisy_dir.resources import usable_cpus
from luisy_dir.streams import Function, FunctionsLike
from luisy_dir.terminal import Terminal

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("luigi-interface.luisy_dir")

PathFunction = Callable[[Any], Any]
SkipFunction = Callable[[Any, Any], Any]


def existing(inpath: object, outpath: Any) -> bool:  # noqa: ARG001 - as every skip function is called
    """Whether there is an output already: a skip function for :meth:`Pipeline.run`.

    A pipeline writes files that are whole or not there, so what is there has been finished; it may have been made from
    an earlier input, or by other code. A :class:`~luisy_dir.DirectoryTask` knows that, a pipeline does not.
    """
    return os.path.isfile(outpath)


class Pipeline:
    """Functions that load, process and write one input, and run over any number of them, in any place, without Luigi.

    Where results should be known to be up to date, resumed and traced, write a :class:`~luisy_dir.DirectoryTask`.

    Parameters
    ----------
    load
        ``load(inpath)`` returns data; inputs for which it returns None are skipped.
    ops
        A function or several: each gets what the one before returned. None rejects the input; :class:`NoOutput` ends
        the way of what shall not be written.
    write
        ``write(data, outpath)`` writes a file. None where nothing is written, but something noted.
    atomic
        ``write`` gets the name of a hidden file in the output's folder, with the same suffix, which is renamed when it
        was written: so an output is whole or not there. False where ``write`` must know the name. For an output that is
        a URL it gets that as it is.

    Each of these functions may have an argument ``item``, a :class:`~luisy_dir.Item` with ``inpath`` and ``outpath``:
    what it puts into ``item.meta`` is a column of the report. They are attributes, and may be changed between runs.

    Raises
    ------
    DefinitionError
        Something is no function, or cannot be called with the data.

    Examples
    --------
    >>> texts = Pipeline(load=str.upper, ops=[str.split, len], write=None)
    >>> texts.run(["one two", "three"])["status"].to_list()
    ['written', 'written']
    """

    def __init__(
        self, load: Function, ops: FunctionsLike | None = None, write: Function | None = None, *, atomic: bool = True
    ) -> None:
        for name, function in (("load", load), ("write", write)):
            if function is not None and not callable(function):
                raise DefinitionError(f"{name} is {function!r}, which cannot be called. Give a function.")
        self.load = load
        self.ops = ops_of(ops)
        self.write = write
        self.atomic = atomic
        self._entries: list[Entry] | None = None

    def run(  # noqa: PLR0913 - each has a default
        self,
        inpaths: Iterable[Any],
        path_func: PathFunction | None = None,
        *,
        skip: SkipFunction | None = None,
        engine: str | Executor = "threads",
        workers: int | None = None,
        max_errors: float = 1.0,
        catch: ErrorsLike = Exception,
        retries: int = 0,
        retry_delay: float = 0.1,
        retry_on: ErrorsLike | None = None,
        timeout: float | None = None,
        dask_address: str = "",
        item_memory: ItemMemoryLike = None,
        memory: float | str = 0.8,
        seed: int = 0,
        progress: str = "auto",
    ) -> pd.DataFrame:
        """Load, process and write each input.

        Parameters
        ----------
        inpaths
            Paths or URLs, or whatever ``load`` takes; one that is given twice is done once.
        path_func
            ``path_func(inpath)`` returns where the output goes. None where nothing is written.
        skip
            ``skip(inpath, outpath)`` is true of what need not be done, such as :func:`existing`; called in the workers.
        engine
            A word, as for tasks, or any :class:`concurrent.futures.Executor`, which is left open.
        workers
            How many inputs at a time; by default as many as there are usable CPUs.
        max_errors
            How many inputs may fail before the run is given up: a count, or a fraction (a float); all of them.
        catch
            Errors that are recorded as the failure of their input; any other ends the run, and is raised.
        retries, retry_delay, retry_on
            How often an input is tried again, after how many seconds at most, and after which errors.
        timeout
            Seconds that an input may take; on engines whose workers can be killed.
        dask_address
            Of a Dask scheduler, for the engine ``dask``; empty for a cluster of this machine's own.
        item_memory
            Bytes of memory that an input takes while it is in hand, a text such as ``"2 GiB"``, or a function of the
            item that returns one of these. No more inputs are in hand than fit; one that is too large is done alone.
        memory
            How much there is for all of them: a fraction (a float) of what can be used, bytes, or a text.
        seed
            From which, with the path, ``item.rng`` is made.
        progress
            ``auto``, ``on`` or ``off``.

        Returns
        -------
        pandas.DataFrame
            What :meth:`report` returns.

        Raises
        ------
        KeyCollisionError
            Two inputs would be written as one output; nothing was done.
        OutputError
            An output would replace an input; nothing was done.
        ItemsFailedError
            More inputs failed than ``max_errors`` allows.
        WorkerDiedError
            Workers die before they have an input in hand.
        Exception
            What ``load``, ``ops``, ``write``, ``skip`` or ``path_func`` raised, and ``catch`` leaves out.
        """
        bounded = None
        if item_memory is not None:
            item_memory_in(item_memory, "item_memory of the pipeline")
            available = bytes_within(limit_in(memory) if isinstance(memory, str) else memory)
            bounded = ItemMemory(item_memory, available, "Pipeline")
        policy = Policy(
            max_errors=max_errors,
            timeout=timeout,
            retries=retries,
            retry_delay=retry_delay,
            catch=errors_of(catch, "catch"),
            retry_on=None if retry_on is None else errors_of(retry_on, "retry_on"),
        )
        entries: dict[int, Entry] = {}
        self._entries = []
        try:
            run = _Run(policy, list({text_of(path): path for path in inpaths}.values()), entries)
            run.find_outpaths(self._path_func(path_func))
            pipe = Pipe(self.load, ops_of(self.ops), self.write, skip, self.atomic)
            opened = _opened(engine, workers, policy, address=dask_address)
            run.go(PipeInWorker(pipe, policy, seed), opened, workers or usable_cpus(), bounded, progress)
        finally:
            self._entries = [entries[number] for number in sorted(entries)]
        return self.report()

    def _path_func(self, path_func: PathFunction | None) -> PathFunction:
        if path_func is None and self.write is not None:
            raise DefinitionError(
                "This pipeline writes, but nothing says where: give run(…, path_func), which returns the output's path "
                "for an input's, or write=None where nothing is to be written."
            )
        return path_func or (lambda _: None)

    def report(self) -> pd.DataFrame:
        """What became of each input of the last run, in the order in which they were given.

        Of a run that was given up: of those that were finished.

        Returns
        -------
        pandas.DataFrame
            As :func:`luisy_dir.report.frame` describes it, with the inputs' paths as its index.

        Raises
        ------
        DefinitionError
            There was no run.
        """
        if self._entries is None:
            raise DefinitionError("This pipeline has not been run, so that there is no report. Call run() first.")
        return report.frame(self._entries)


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
    run = _Run(policy, list(inputs), {}, on_done)
    run.find_outpaths(lambda _: None)
    opened = _opened(engine, workers, policy, imports_main=imports_main)
    run.go(PipeInWorker(function, policy), opened, workers, None, progress, name=name)


class _Run:
    """One run of a pipeline: what is done with which inputs, and what has become of them."""

    def __init__(
        self,
        policy: Policy,
        inpaths: list[Any],
        entries: dict[int, Entry],
        on_done: Callable[[Done], object] = lambda _: None,
    ) -> None:
        self._policy = policy
        self._inpaths = inpaths
        self._entries = entries  # by the input's number; whoever gave it reads it also after an error
        self._outpaths: dict[int, Any] = {}
        self._on_done = on_done

    def find_outpaths(self, path_func: PathFunction) -> None:
        """Ask where each output goes; raise where two go to one place."""
        taken: dict[str, str] = {}
        inputs = {place for path in self._inpaths if (place := _place(path)) is not None}
        for number, inpath in enumerate(self._inpaths):
            try:
                outpath = self._outpaths[number] = path_func(inpath)
            except Exception as error:
                if ends_the_run(error, self._policy):
                    error.add_note(f"path_func raised this for {printable(text_of(inpath))!r}.")
                    raise
                self._entries[number] = _failed(inpath, error)
                continue
            place = None if outpath is None else _place(outpath) or text_of(outpath)
            if place is None:
                continue
            if place in taken:
                raise KeyCollisionError(
                    f"{printable(taken[place])!r} and {printable(text_of(inpath))!r} would both be written as "
                    f"{printable(text_of(outpath))!r}. Let path_func make different names of them."
                )
            if place in inputs:
                raise OutputError(
                    f"The output for {printable(text_of(inpath))!r} would replace the input "
                    f"{printable(text_of(outpath))!r}. Let path_func name another folder."
                )
            taken[place] = text_of(inpath)

    def go(
        self,
        at_work: PipeInWorker,
        opened: AbstractContextManager[Executor],
        workers: int,
        memory: ItemMemory | None,
        show: str,
        *,
        name: str = "Pipeline",
    ) -> None:
        """Do what there is to do."""
        budget = Budget(self._policy.allowed(len(self._inpaths)), len(self._inpaths), lambda entry: entry.key)
        for entry in self._entries.values():
            budget.spend(entry, None)
        progress = Progress(name, len(self._inpaths))
        folders = {os.path.dirname(place) for path in self._outpaths.values() if (place := _place(path)) is not None}
        remove_abandoned(iter(sorted(folders)))
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
                        self._take(tried, budget, progress)
                except KeyboardInterrupt:
                    give_up_soon(executor)
                    raise
                except BrokenExecutor as error:
                    raise _worker_died(error, budget) from error

    def _take(self, tried: Tried, budget: Budget, progress: Progress) -> None:
        done = _unpacked(tried)
        self._entries[tried.number] = done.entry
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
        for number, outpath in self._outpaths.items():
            paths = (self._inpaths[number], outpath)
            yield encode_errand(Errand(number, _pickled(paths)))


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


def _opened(
    engine: str | Executor, workers: int | None, policy: Policy, *, address: str = "", imports_main: bool = True
) -> AbstractContextManager[Executor]:
    if isinstance(engine, Executor):
        return nullcontext(engine)
    most = workers if address else workers or usable_cpus()
    return open_engine(engine, most, timeout=policy.timeout, address=address, imports_main=imports_main)


def _place(path: Any) -> str | None:
    """A path that is the same for all names of a place, as far as the name tells; None of what is no path."""
    return os.path.abspath(os.fsdecode(path)) if is_path(path) else None


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
