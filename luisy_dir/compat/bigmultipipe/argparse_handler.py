"""An argparse handler: the arguments of BigMultiPipe as options of a command line."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction
from typing import Any


class ArgparseHandler:
    """Adds options to a parser; a subclass overrides :meth:`add_all`.

    Parameters
    ----------
    parser
        Gets them.
    """

    def __init__(self, parser: ArgumentParser) -> None:
        self.parser = parser

    def add_all(self) -> None:
        """Add what the program needs; nothing here."""


class BMPArgparseMixin:
    """Methods that add options with the names of BigMultiPipe's arguments.

    Each takes ``option``, another name, and what :meth:`argparse.ArgumentParser.add_argument` takes.

    Examples
    --------
    >>> class Options(BMPArgparseMixin, ArgparseHandler):
    ...     def add_all(self):
    ...         self.add_outdir(default="out")
    ...         self.add_num_processes()
    >>> parser = ArgumentParser()
    >>> Options(parser).add_all()
    >>> vars(parser.parse_args(["--num_processes", "2"]))
    {'outdir': 'out', 'num_processes': 2.0}
    """

    parser: ArgumentParser
    outname_append = "_bmp"

    def add_outdir(self, option: str = "outdir", **kwargs: Any) -> None:
        """Folder of the outputs."""
        self._add(option, kwargs, default=".", help="folder of the outputs")

    def add_create_outdir(self, option: str = "create_outdir", **kwargs: Any) -> None:
        """Whether that is made where it is not there."""
        self._add(option, kwargs, action=BooleanOptionalAction, default=False, help="make the folder of the outputs")

    def add_read_pout(self, option: str = "read_pout", **kwargs: Any) -> None:
        """Whether what an earlier run has returned is read."""
        self._add(
            option, kwargs, action=BooleanOptionalAction, default=False, help="read what an earlier run has returned"
        )

    def add_write_pout(self, option: str = "write_pout", **kwargs: Any) -> None:
        """Whether what this run returns is kept."""
        self._add(option, kwargs, action=BooleanOptionalAction, default=False, help="keep what this run returns")

    def add_outname_append(self, option: str = "outname_append", **kwargs: Any) -> None:
        """What stands before the suffix of an output's name."""
        self._add(option, kwargs, default=self.outname_append, help="stands before the suffix of an output's name")

    def add_num_processes(self, option: str = "num_processes", **kwargs: Any) -> None:
        """How many processes there are."""
        self._add(
            option,
            kwargs,
            type=float,
            default=0.8,
            help="how many processes; 0 for as many as CPUs, below 1 for a part of them",
        )

    def add_mem_available(self, option: str = "mem_available", **kwargs: Any) -> None:
        """Bytes that all processes together may take."""
        self._add(option, kwargs, type=float, default=None, help="bytes that all processes together may take")

    def add_mem_frac(self, option: str = "mem_frac", **kwargs: Any) -> None:
        """Part of the memory that they may take."""
        self._add(option, kwargs, type=float, default=0.8, help="part of the memory that they may take")

    def add_process_size(self, option: str = "process_size", **kwargs: Any) -> None:
        """Bytes that one process takes; None, unlike the original's 0.8 bytes, where memory sets no limit."""
        self._add(option, kwargs, type=float, default=None, help="bytes that one process takes")

    def _add(self, option: str, given: dict[str, Any], **usual: Any) -> None:
        self.parser.add_argument(f"--{option}", **usual | given)
