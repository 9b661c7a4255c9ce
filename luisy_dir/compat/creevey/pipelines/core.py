"""The pipelines of Creevey: load, process and write each input, in threads."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from luisy_dir import pipeline as native
from luisy_dir.errors import DefinitionError
from luisy_dir.path_item import PathItem, text_of
from luisy_dir.resources import usable_cpus

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("luigi-interface.luisy_dir")

Function = Callable[..., Any]
Errors = type[BaseException] | tuple[type[BaseException], ...] | None
_STANDARD = ("outpath", "skipped", "error", "time_finished", "skipped_existing", "exception_handled")


class _Box(NamedTuple):
    """Data on its way: None is data like any other here."""

    data: Any


class Pipeline:
    """Load, process and write each input.

    Parameters
    ----------
    load_func
        ``load_func(inpath)`` returns data.
    ops
        A function, several, or None: each gets what the one before returned.
    write_func
        ``write_func(data, outpath)`` writes a file; it gets the name of a hidden one beside that, which is renamed.

    All three are attributes, and may be changed between runs.

    Raises
    ------
    TypeError
        ``ops`` are no functions, or there is no ``write_func``.

    Examples
    --------
    >>> pipeline = Pipeline(load_func=str.upper, ops=[len], write_func=print)
    >>> len(pipeline.ops)
    1
    """

    def __init__(
        self,
        load_func: Function,
        ops: Function | Iterable[Function] | None = None,
        write_func: Function | None = None,
    ) -> None:
        if write_func is None:
            raise TypeError(
                "There is no write_func. Give it by name: Pipeline(load_func=…, ops=…, write_func=…); wildebeest had "
                "another order of arguments than Creevey."
            )
        self.load_func = load_func
        self.ops = ops
        self.write_func = write_func
        self._report: pd.DataFrame | None = None

    @property
    def ops(self) -> list[Function]:
        """What is done with the data, one after the other."""
        return self._ops

    @ops.setter
    def ops(self, ops: Function | Iterable[Function] | None) -> None:
        given = [] if ops is None else [ops] if callable(ops) else ops
        try:
            self._ops = list(given)
        except TypeError as error:
            raise TypeError("ops must be callable, an iterable of callables, or None") from error
        if not all(map(callable, self._ops)):
            raise TypeError("ops must be callable, an iterable of callables, or None")

    def run(
        self,
        inpaths: Iterable[Any],
        path_func: Function,
        n_jobs: int,
        skip_existing: bool = True,  # noqa: FBT001, FBT002 - as Creevey has it
        exceptions_to_catch: Errors = None,
        **options: Any,
    ) -> pd.DataFrame:
        """Run as Creevey does; returns its report.

        Parameters
        ----------
        inpaths
            Paths or URLs.
        path_func
            Returns the output's path for an input's.
        n_jobs
            Number of threads; -1 for as many as there are usable CPUs.
        skip_existing
            Whether inputs are left out of which the output is there.
        exceptions_to_catch
            Errors that are noted, after which the run goes on; any other is raised.
        **options
            Of :meth:`luisy_dir.Pipeline.run`: ``engine="processes"``, ``retries`` and the like.

        Returns
        -------
        pandas.DataFrame
            Indexed by the input's path as a text, in the order in which the inputs were given: ``outpath``,
            ``skipped_existing`` and ``exception_handled`` (0 or 1), ``time_finished`` (seconds since 1970), and what
            was logged.

        Raises
        ------
        Exception
            What was raised and is not caught; :attr:`run_report_` has what was done until then.
        """
        if skip_existing:
            logger.warning("Inputs of which the output is there already are skipped; skip_existing=False does them.")
        skip = native.existing if skip_existing else None
        self._go(inpaths, path_func, n_jobs, skip, exceptions_to_catch, options)
        report = self.run_report_
        old = report[["outpath"]].copy()
        old["skipped_existing"] = report["skipped"].astype("int64")
        old["exception_handled"] = report["error"].notna().astype("int64")
        old["time_finished"] = _seconds_since_1970(report["time_finished"])
        return old.join(report.drop(columns=[name for name in _STANDARD if name in report]))

    def __call__(
        self,
        inpaths: Iterable[Any],
        path_func: Function,
        n_jobs: int,
        skip_func: Function | None = None,
        exceptions_to_catch: Errors = Exception,
        **options: Any,
    ) -> None:
        """Run as Creevey's successor wildebeest does; :attr:`run_report_` is the report.

        Parameters
        ----------
        inpaths, path_func, n_jobs, exceptions_to_catch, **options
            As for :meth:`run`.
        skip_func
            ``skip_func(inpath, outpath)`` is true of what need not be done.
        """
        self._go(inpaths, path_func, n_jobs, skip_func, exceptions_to_catch, options)

    @property
    def run_report_(self) -> pd.DataFrame:
        """Report of the last run, also of one that was given up.

        Indexed by the input's path as a text, in the order in which the inputs were given: ``outpath``, ``skipped``
        (bool), ``error`` (such as ``ValueError('…')``), ``time_finished`` (local time), and what was logged.

        Raises
        ------
        AttributeError
            There was no run.
        """
        if self._report is None:
            raise AttributeError("Pipeline has not been run, so there is no run report.")
        return self._report

    def _go(
        self,
        inpaths: Iterable[Any],
        path_func: Function,
        n_jobs: int,
        skip: Function | None,
        caught: Errors,
        options: dict[str, Any],
    ) -> None:
        if n_jobs == 0:
            raise ValueError("n_jobs is 0. Give a number of threads from 1, or -1 for as many as there are CPUs.")
        outpaths: dict[str, Any] = {}

        def noted(inpath: Any) -> Any:
            outpath = outpaths[text_of(inpath)] = path_func(inpath)
            return outpath

        pipeline = native.Pipeline(
            partial(self._load, self.load_func),
            [partial(self._do, op) for op in self._ops],
            partial(self._write, self.write_func),
        )
        workers = usable_cpus() if n_jobs < 0 else n_jobs
        try:
            pipeline.run(inpaths, noted, skip=skip, workers=workers, catch=() if caught is None else caught, **options)
        finally:
            with suppress(DefinitionError):  # the run has not begun
                self._report = _frame(pipeline.report(), outpaths)

    # These are no methods, because a journal tells pipelines apart by the functions that they call, and by no more.

    @staticmethod
    def _load(load_func: Function, inpath: Any, item: PathItem) -> _Box:  # noqa: ARG004 - as the core calls it
        return _Box(load_func(inpath))

    @staticmethod
    def _do(op: Function, box: _Box, item: PathItem) -> _Box:  # noqa: ARG004
        return _Box(op(box.data))

    @staticmethod
    def _write(write_func: Function, box: _Box, outpath: Any, item: PathItem) -> None:  # noqa: ARG004
        write_func(box.data, outpath)


class CustomReportingPipeline(Pipeline):
    """A pipeline of which the functions may add columns to the report.

    ``load_func(inpath, log_dict=…)``, each of ``ops`` as ``op(data, inpath=…, log_dict=…)`` and ``write_func(data,
    outpath, inpath=…, log_dict=…)`` may write ``log_dict[inpath]["name"] = value``, with plain values.
    """

    @staticmethod
    def _load(load_func: Function, inpath: Any, item: PathItem) -> _Box:
        return _Box(load_func(inpath, log_dict=_log_of(item)))

    @staticmethod
    def _do(op: Function, box: _Box, item: PathItem) -> _Box:
        return _Box(op(box.data, inpath=item.inpath, log_dict=_log_of(item)))

    @staticmethod
    def _write(write_func: Function, box: _Box, outpath: Any, item: PathItem) -> None:
        write_func(box.data, outpath, inpath=item.inpath, log_dict=_log_of(item))


class _Log(defaultdict[Any, dict[str, Any]]):
    """What the functions of one input may log: its own row, and no other's."""

    def __missing__(self, inpath: Any) -> dict[str, Any]:
        own = next(iter(self))
        raise DefinitionError(
            f"log_dict[{inpath!r}] is the row of another input than {own!r}, which is in hand. Log into "
            "log_dict[inpath]."
        )


class _Row(dict[str, Any]):
    """The row of an input: what is set becomes a column of the report."""

    def __init__(self, item: PathItem) -> None:
        super().__init__(item.meta)
        self._item = item

    def __setitem__(self, name: str, value: Any) -> None:
        if name in _STANDARD:
            raise DefinitionError(f"The report has a column {name!r} already. Log under another name.")
        super().__setitem__(name, value)
        self._item.meta[name] = value


def _log_of(item: PathItem) -> _Log:
    log = _Log()
    log[item.inpath] = _Row(item)
    return log


def _frame(report: pd.DataFrame, outpaths: dict[str, Any]) -> pd.DataFrame:
    """The report in the words of Creevey's successor."""
    import pandas as pd

    told = [outpaths.get(str(inpath)) for inpath in report.index]
    failed = report["status"].isin(["failed", "rejected"])
    errors = [
        f"{kind}({message!r})" if is_failed else None
        for kind, message, is_failed in zip(report["error_type"], report["error"], failed, strict=True)
    ]
    finished = report["started"] + pd.to_timedelta(report["seconds"], unit="s")
    frame = pd.DataFrame(
        {
            "outpath": pd.array([None if path is None else text_of(path) for path in told], dtype="string"),
            "skipped": (report["status"] == "skipped").to_numpy(bool),
            "error": pd.array(errors, dtype="string"),
            "time_finished": finished.dt.tz_convert(_local_zone()).dt.tz_localize(None).astype("datetime64[us]"),
        },
        index=report.index.rename("inpath"),
    )
    custom = list(report.columns)[list(report.columns).index("error") + 1 :]
    return frame.join(report[[name for name in custom if name != "peak_memory"]])


def _seconds_since_1970(times: pd.Series[pd.Timestamp]) -> pd.Series[float]:
    import pandas as pd

    return (times.dt.tz_localize(_local_zone()) - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)


def _local_zone() -> Any:
    from datetime import datetime

    return datetime.now().astimezone().tzinfo
