"""BigMultiPipe: a class whose methods read, process and write one large file, run over many in processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from luisy_dir import report
from luisy_dir.claims import claims_of
from luisy_dir.compat.bigmultipipe.counting import num_can_process
from luisy_dir.compat.bigmultipipe.files import FileProcess, claim, files_of, pout_of, told, without_repetitions
from luisy_dir.compat.bigmultipipe.functions import Pout, assure_list, bmp_cleanup, forget_marks, outname_creator
from luisy_dir.compat.bigmultipipe.pools import engine_of
from luisy_dir.contents import make_folder_for, read_bytes, write_bytes
from luisy_dir.entry import Entry
from luisy_dir.errands import Done, process_each
from luisy_dir.errors import DefinitionError
from luisy_dir.hidden import remove_abandoned
from luisy_dir.item import printable
from luisy_dir.path_item import is_path
from luisy_dir.policy import Policy

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger("luigi-interface.luisy_dir")

_POSITIONAL = frozenset({"in_name", "data", "meta", "bmp_meta"})  # what methods and functions get beside the keywords


class BigMultiPipe:
    """Methods that read, process and write one file, run over many of them in processes.

    A subclass overrides ``file_read``, ``file_write``, and either ``data_process`` or ``data_process_meta_create``.
    Keywords given here, to :meth:`pipeline`, and by functions of ``pre_process_list`` for their file, reach all of
    them; the later ones go before the earlier.

    Parameters
    ----------
    num_processes, mem_available, mem_frac, process_size
        How many processes there are at a time: see :func:`num_can_process`. Where that is one, the work is done in the
        calling process.
    outdir
        Folder of the outputs; None for the current one.
    create_outdir
        Whether it is made where it is not there.
    outname_append
        Stands before the suffix of the input's name.
    pre_process_list
        ``function(data, **keywords)`` returns data, None to reject the file, or ``{"bmp_data": data, "bmp_kwargs":
        {…}}``, with keywords for what follows.
    post_process_list
        ``function(data, bmp_meta=…, **keywords)`` returns data, or None where no output is wanted; what it puts into
        ``bmp_meta`` comes back.
    PoolClass
        Stands for processes, which is what None stands for, or for threads.
    bmp_timeout
        Seconds that a file may take before its process is killed; None for as long as it takes.
    bmp_retries
        How often a file that has failed is tried again.
    **kwargs
        For all methods and functions.

    Raises
    ------
    DefinitionError
        A keyword has a name that methods have for something else.

    Examples
    --------
    >>> class Length(BigMultiPipe):
    ...     def file_read(self, in_name, **kwargs):
    ...         return in_name
    ...     def data_process_meta_create(self, data, **kwargs):
    ...         return None, {"length": len(data)}
    >>> Length(num_processes=1).pipeline(["a", "bcd"])
    [(None, {'length': 1}), (None, {'length': 3})]
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the original's
        self,
        num_processes: float | None = None,
        mem_available: float | None = None,
        mem_frac: float = 0.8,
        process_size: float | None = None,
        outdir: Any = None,
        create_outdir: bool = False,  # noqa: FBT001, FBT002 - the original's
        outname_append: str = "_bmp",
        pre_process_list: Any = None,
        post_process_list: Any = None,
        PoolClass: Any = None,  # noqa: N803 - the original's
        *,
        bmp_timeout: float | None = None,
        bmp_retries: int = 0,
        **kwargs: Any,
    ) -> None:
        self.num_processes = num_processes
        self.mem_available = mem_available
        self.mem_frac = mem_frac
        self.process_size = process_size
        self.outdir = outdir
        self.create_outdir = create_outdir
        self.outname_append = outname_append
        self.pre_process_list = pre_process_list
        self.post_process_list = post_process_list
        self.PoolClass = PoolClass
        self.bmp_timeout = bmp_timeout
        self.bmp_retries = bmp_retries
        self.kwargs = _checked(kwargs)
        self._entries: list[Entry] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_entries": None}  # workers have no use for them

    @property
    def pre_process_list(self) -> list[Callable[..., Any]]:
        """Functions that are called before the processing; one function or None may be set too."""
        return self._pre_process_list

    @pre_process_list.setter
    def pre_process_list(self, value: Any) -> None:
        self._pre_process_list = assure_list(value)

    @property
    def post_process_list(self) -> list[Callable[..., Any]]:
        """Functions that are called after the processing; one function or None may be set too."""
        return self._post_process_list

    @post_process_list.setter
    def post_process_list(self, value: Any) -> None:
        self._post_process_list = assure_list(value)

    def pipeline(  # noqa: PLR0913, PLR0917 - the original's
        self,
        in_names: Iterable[Any],
        num_processes: float | None = None,
        mem_available: float | None = None,
        mem_frac: float | None = None,
        process_size: float | None = None,
        PoolClass: Any = None,  # noqa: N803 - the original's
        outdir: Any = None,
        create_outdir: bool | None = None,  # noqa: FBT001 - the original's
        outname_append: str | None = None,
        outname: Any = None,
        *,
        bmp_timeout: float | None = None,
        bmp_retries: int | None = None,
        **kwargs: Any,
    ) -> list[Pout]:
        """Process files.

        Parameters
        ----------
        in_names
            Their paths; a list of paths in their place is one group, which is processed as one. What is given twice is
            processed once.
        num_processes, mem_available, mem_frac, process_size, PoolClass, outdir, create_outdir, outname_append
            In the place of the object's own, for this call; None for these.
        outname
            Name of the one output.
        bmp_timeout, bmp_retries
            As above.
        **kwargs
            In the place of, and beside, the object's own. The functions of a ``pre_process_list`` or
            ``post_process_list`` are called after its own.

        Returns
        -------
        list of tuple
            For each input, in their order: the output's name and the metadata. The name is None where there is no
            output: ``(None, {})`` of what was rejected, ``(None, {"error": "ValueError('…')"})`` of what has failed.

        Raises
        ------
        MemoryShortError
            There is not enough memory for one process.
        """
        self._entries = []
        inputs, places = without_repetitions(in_names)
        kwargs = self.kwargs_merge(
            **_given(outdir=outdir, create_outdir=create_outdir, outname_append=outname_append, outname=outname),
            **_checked(kwargs),
        )
        workers = num_can_process(
            len(inputs),
            num_processes=_or(num_processes, self.num_processes),
            mem_available=_or(mem_available, self.mem_available),
            mem_frac=_or(mem_frac, self.mem_frac),
            process_size=_or(process_size, self.process_size),
        )
        policy = Policy(
            max_errors=1.0, timeout=_or(bmp_timeout, self.bmp_timeout), retries=_or(bmp_retries, self.bmp_retries)
        )
        is_here = workers <= 1 and policy.timeout is None
        engine = engine_of(_or(PoolClass, self.PoolClass))
        results: dict[int, Done] = {}
        remove_abandoned([os.fsdecode(_or(kwargs["outdir"], os.curdir))])
        try:
            with claims_of(files_of(inputs)) as claims:
                process_each(
                    FileProcess(self, kwargs, claims),
                    inputs,
                    partial(self._take, results),
                    policy=policy,
                    engine="serial" if is_here else engine,
                    workers=max(workers, 1),
                    imports_main=False,
                    name=type(self).__name__,
                )
        finally:
            self._entries = [results[number].entry for number in sorted(results)]
        return [pout_of(results[place]) for place in places]

    def _take(self, results: dict[int, Done], done: Done) -> None:
        results[done.number] = done
        name, file = type(self).__name__, printable(done.entry.key)
        if done.entry.status == "failed":
            logger.error("%s: %s failed: %s", name, file, printable(told(done.entry)))
        for output in done.entry.outputs:
            if output.size < 0 and is_path(output.path):
                missing = printable(output.path)
                logger.warning("%s: file_write returned %r for %s, but there is no such file.", name, missing, file)

    def report(self) -> pd.DataFrame:
        """What became of each input of the last run, also where that was given up or interrupted.

        Returns
        -------
        pandas.DataFrame
            As :func:`luisy_dir.report.frame` describes it, with the inputs as its index, and with a column for each
            name in the metadata that a report can have.

        Raises
        ------
        DefinitionError
            There was no run.
        """
        if self._entries is None:
            raise DefinitionError("There was no run, so that there is no report. Call pipeline() first.")
        return report.frame(self._entries)

    def kwargs_merge(self, **kwargs: Any) -> dict[str, Any]:
        """The object's own keywords, and in their place those that are given."""
        own = {"outdir": self.outdir, "create_outdir": self.create_outdir, "outname_append": self.outname_append}
        return {**own, **self.kwargs, **kwargs}

    def file_process(self, in_name: Any, **kwargs: Any) -> Pout:
        """Read, process and write one file; returns the output's name, or None, and metadata."""
        kwargs = self.kwargs_merge(**kwargs)
        data = self.file_read(in_name, **kwargs)
        if data is None:
            return None, {}
        data, more = self.pre_process(data, **kwargs)
        if data is None:
            return None, {}
        kwargs.update(more)
        data, meta = self.data_process_meta_create(data, in_name=in_name, **kwargs)
        if data is None:
            return None, meta
        outname = self.outname_create(in_name, data=data, meta=meta, **kwargs)
        claim(outname)
        kwargs.pop("outname", None)  # what was asked for is part of the name by now
        return self.file_write(data, outname, meta=meta, in_name=in_name, **kwargs), meta

    def file_read(self, in_name: Any, **kwargs: Any) -> Any:
        """Content of a file as bytes, of a group as a list of that; override it. None rejects the file."""
        if isinstance(in_name, (list, tuple)):
            return [self.file_read(name, **kwargs) for name in in_name]
        return read_bytes(in_name)

    def pre_process(self, data: Any, pre_process_list: Any = None, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """What the functions of ``pre_process_list`` make of the data, and the keywords for what follows."""
        kwargs = self.kwargs_merge(**kwargs)
        for function in [*self.pre_process_list, *assure_list(pre_process_list)]:
            data = function(data, **kwargs)
            if isinstance(data, dict) and "bmp_data" in data:
                kwargs.update(data.get("bmp_kwargs") or {})
                data = data["bmp_data"]
            if data is None:
                break
        return data, kwargs

    def data_process(self, data: Any, **kwargs: Any) -> Any:  # noqa: ARG002 - for those who override it
        """The data; override it. None rejects the file."""
        return data

    def data_process_meta_create(self, data: Any, **kwargs: Any) -> Pout:
        """Processed data, or None, and metadata; override it where both come of one computation."""
        kwargs = self.kwargs_merge(**kwargs)
        data = self.data_process(data, **kwargs)
        if data is None:
            return None, {}
        return self.post_process(data, **kwargs)

    def post_process(
        self,
        data: Any,
        post_process_list: Any = None,
        no_bmp_cleanup: bool = False,  # noqa: FBT001, FBT002 - the original's
        **kwargs: Any,
    ) -> Pout:
        """What the functions of ``post_process_list`` make of the data, and the metadata that they have gathered."""
        kwargs = self.kwargs_merge(**kwargs)
        meta: dict[Any, Any] = {}
        for function in [*self.post_process_list, *assure_list(post_process_list)]:
            data = function(data, bmp_meta=meta, **kwargs)
            if data is None:
                break
        if no_bmp_cleanup:
            forget_marks(meta)
        else:
            bmp_cleanup(bmp_meta=meta)
        return data, meta

    def outname_create(self, in_name: Any, *args: Any, **kwargs: Any) -> Any:
        """Name of the output; see :func:`outname_creator`."""
        return outname_creator(in_name, *args, **self.kwargs_merge(**kwargs))

    def file_write(
        self,
        data: Any,
        outname: Any,
        meta: dict[Any, Any] | None = None,
        create_outdir: bool | None = None,  # noqa: FBT001 - the original's
        **kwargs: Any,  # noqa: ARG002 - for those who override it
    ) -> Any:
        """Make the folder, if ``create_outdir`` says so, and write bytes; override it. Returns the output's name.

        A method that overrides it may call it for the folder alone.

        Raises
        ------
        DefinitionError
            It was not overridden, and the data are no bytes.
        """
        if (meta or {}).get("create_outdir", _or(create_outdir, self.kwargs_merge()["create_outdir"])):
            make_folder_for(outname)
        if isinstance(data, bytes):
            write_bytes(outname, data)
        elif type(self).file_write is BigMultiPipe.file_write:
            raise DefinitionError(
                f"{type(self).__name__} has a {type(data).__name__} to write, but its file_write is the one that "
                "writes bytes alone. Override it."
            )
        return outname


def _checked(kwargs: dict[str, Any]) -> dict[str, Any]:
    for name in sorted(_POSITIONAL & kwargs.keys()):
        raise DefinitionError(f"A keyword is named {name!r}, which methods get for something else. Rename it.")
    return kwargs


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _or(value: Any, usual: Any) -> Any:
    return usual if value is None else value
