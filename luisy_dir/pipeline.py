"""A pipeline: load, process and write any files, one by one, without Luigi."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, closing, nullcontext
from typing import TYPE_CHECKING, Any

from luisy_dir import report
from luisy_dir.code import of_function
from luisy_dir.contents import make_folder_for
from luisy_dir.engines.event_loop import event_loop_here, resolved
from luisy_dir.entry import Entry
from luisy_dir.errands import Earlier, Run, earlier_runs, executor_for
from luisy_dir.errors import DefinitionError
from luisy_dir.failures import failure_of
from luisy_dir.fingerprint import fingerprint_of
from luisy_dir.item_memory import ItemMemory, ItemMemoryLike, bytes_within, item_memory_in, limit_in
from luisy_dir.journal import Journal, Origin
from luisy_dir.outpaths import Outpaths, PathFunction, find_outpaths
from luisy_dir.path_item import text_of
from luisy_dir.pipeline_plan import PipelinePlan, PlannedInput
from luisy_dir.piping import Pipe, PipeInWorker, ops_of
from luisy_dir.policy import ErrorsLike, Policy, errors_of
from luisy_dir.resources import usable_cpus
from luisy_dir.streams import Function, FunctionsLike

if TYPE_CHECKING:
    import pandas as pd

SkipFunction = Callable[[Any, Any], Any]
PathLike = str | os.PathLike[str]


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
        journal: PathLike | None = None,
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
        journal
            A file in which what is done is noted as it is done, and from which the next run that is given it goes on:
            what was written or rejected is not done again where input and output have the size and time of change of
            then, and the functions do the same; its row is that of then. Of inputs that it knows ``skip`` is not asked.
            Each output is brought to the disk.
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
        policy = Policy(
            max_errors=max_errors,
            timeout=timeout,
            retries=retries,
            retry_delay=retry_delay,
            catch=errors_of(catch, "catch"),
            retry_on=None if retry_on is None else errors_of(retry_on, "retry_on"),
        )
        bounded = _bounded(item_memory, memory)
        entries: dict[int, Entry] = {}
        self._entries = []
        try:
            paths = _each_once(inpaths)
            outpaths = find_outpaths(paths, self._path_func(path_func))
            earlier = self._earlier(journal, paths, outpaths, seed)
            run = Run(policy, paths, outpaths, entries, earlier)
            opened = executor_for(engine, workers, policy, run.begin(), address=dask_address)
            pipe = Pipe(self.load, ops_of(self.ops), self.write, skip, self.atomic, is_synced=journal is not None)
            with self._opened(journal, seed) as notes:
                run.go(
                    PipeInWorker(pipe, policy, seed),
                    opened,
                    workers or usable_cpus(),
                    memory=bounded,
                    journal=notes,
                    show=progress,
                )
        finally:
            self._entries = [entries[number] for number in sorted(entries)]
        return self.report()

    def plan(
        self,
        inpaths: Iterable[Any],
        path_func: PathFunction | None = None,
        *,
        skip: SkipFunction | None = None,
        seed: int = 0,
        journal: PathLike | None = None,
    ) -> PipelinePlan:
        """What :meth:`run` would do with each input; nothing is loaded or written.

        Parameters
        ----------
        inpaths, path_func, skip, seed, journal
            As for :meth:`run`. ``path_func`` and ``skip`` are called, in this process.

        Returns
        -------
        PipelinePlan
            Print it. Its ``rows`` are one for each input, in their order.

        Examples
        --------
        >>> print(Pipeline(str.upper, write=print).plan(["a", "b"], lambda path: "out/same.txt"))
        2 inputs: 1 to process, 1 refused
          to process: 'a'
          refused: 'b'
            'a' and 'b' would both be written as 'out/same.txt'. Let path_func make different names of them.
          A run would do nothing, because of what is refused.
        """
        paths = _each_once(inpaths)
        outpaths = find_outpaths(paths, self._path_func(path_func))
        earlier = self._earlier(journal, paths, outpaths, seed)

        def planned(number: int, inpath: Any) -> PlannedInput:
            if number in outpaths.refused:
                return PlannedInput(inpath, None, "refuse", str(outpaths.refused[number]))
            if number in outpaths.failed:
                return PlannedInput(inpath, None, "fail", _told(outpaths.failed[number]))
            outpath = outpaths.found[number]
            if number in earlier.finished:
                return PlannedInput(inpath, outpath, "finished")
            try:
                asked = None if number in earlier.known else skip
                is_skipped = asked is not None and resolved(asked(inpath, outpath))
            except Exception as error:  # noqa: BLE001 - the user's function may raise anything
                return PlannedInput(inpath, outpath, "fail", _told(error))
            return PlannedInput(inpath, outpath, "skip" if is_skipped else "process")

        with event_loop_here():
            return PipelinePlan([planned(number, inpath) for number, inpath in enumerate(paths)])

    def _earlier(self, journal: PathLike | None, paths: list[Any], outpaths: Outpaths, seed: int) -> Earlier:
        if journal is None:
            return Earlier()
        return earlier_runs(os.fsdecode(journal), self._fingerprint(seed), paths, outpaths)

    def _opened(self, journal: PathLike | None, seed: int) -> AbstractContextManager[Journal | None]:
        if journal is None:
            return nullcontext()
        make_folder_for(journal)
        return closing(Journal(os.fsdecode(journal), Origin(self._fingerprint(seed))))

    def _fingerprint(self, seed: int) -> str:
        """The same for pipelines that do the same."""
        functions = [self.load, *ops_of(self.ops), self.write]
        digests = [None if function is None else of_function(function) for function in functions]
        return fingerprint_of({"functions": digests, "seed": seed})

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


def _each_once(inpaths: Iterable[Any]) -> list[Any]:
    return list({text_of(path): path for path in inpaths}.values())


def _bounded(item_memory: ItemMemoryLike, memory: float | str) -> ItemMemory | None:
    if item_memory is None:
        return None
    item_memory_in(item_memory, "item_memory of the pipeline")
    return ItemMemory(item_memory, bytes_within(limit_in(memory) if isinstance(memory, str) else memory), "Pipeline")


def _told(error: Exception) -> str:
    failure = failure_of(error)
    return f"{failure.type}: {failure.message}"
