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

    Each takes ``option``, another name; ``default``; ``help``; and what
    :meth:`argparse.ArgumentParser.add_argument` takes beside.

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

    def add_outdir(
        self, option: str = "outdir", default: Any = ".", help: str = "folder of the outputs", **kwargs: Any
    ) -> None:
        """Folder of the outputs."""
        self.parser.add_argument(f"--{option}", default=default, help=help, **kwargs)

    def add_create_outdir(
        self,
        option: str = "create_outdir",
        default: Any = False,
        help: str | None = None,
        **kwargs: Any,  # noqa: FBT002
    ) -> None:
        """Whether that is made where it is not there."""
        self._add_flag(option, default, help or "make the folder of the outputs", kwargs)

    def add_read_pout(
        self,
        option: str = "read_pout",
        default: Any = False,
        help: str | None = None,
        **kwargs: Any,  # noqa: FBT002
    ) -> None:
        """Whether what an earlier run has returned is read."""
        self._add_flag(option, default, help or "read what an earlier run has returned", kwargs)

    def add_write_pout(
        self,
        option: str = "write_pout",
        default: Any = False,
        help: str | None = None,
        **kwargs: Any,  # noqa: FBT002
    ) -> None:
        """Whether what this run returns is kept."""
        self._add_flag(option, default, help or "keep what this run returns", kwargs)

    def add_outname_append(
        self, option: str = "outname_append", default: Any = None, help: str | None = None, **kwargs: Any
    ) -> None:
        """What stands before the suffix of an output's name."""
        default = self.outname_append if default is None else default
        help = help or f"stands before the suffix of an output's name (default: {default})"
        self.parser.add_argument(f"--{option}", default=default, help=help, **kwargs)

    def add_num_processes(
        self, option: str = "num_processes", default: Any = 0.8, help: str | None = None, **kwargs: Any
    ) -> None:
        """How many processes there are; 0 for as many as CPUs, below 1 for a part of them."""
        help = help or f"how many processes; 0 for as many as CPUs, below 1 for a part of them (default: {default})"
        self._add_number(option, default, help, kwargs)

    def add_mem_available(
        self, option: str = "mem_available", default: Any = None, help: str | None = None, **kwargs: Any
    ) -> None:
        """Bytes that all processes together may take."""
        self._add_number(option, default, help or "bytes that all processes together may take", kwargs)

    def add_mem_frac(
        self, option: str = "mem_frac", default: Any = 0.8, help: str | None = None, **kwargs: Any
    ) -> None:
        """Part of the memory that they may take."""
        self._add_number(option, default, help or f"part of the memory that they may take (default: {default})", kwargs)

    def add_process_size(
        self, option: str = "process_size", default: Any = None, help: str | None = None, **kwargs: Any
    ) -> None:
        """Bytes that one process takes; None, unlike the original's 0.8 bytes, where memory sets no limit."""
        self._add_number(option, default, help or "bytes that one process takes", kwargs)

    def _add_flag(self, option: str, default: Any, help: str, kwargs: dict[str, Any]) -> None:
        self.parser.add_argument(f"--{option}", action=BooleanOptionalAction, default=default, help=help, **kwargs)

    def _add_number(self, option: str, default: Any, help: str, kwargs: dict[str, Any]) -> None:
        self.parser.add_argument(f"--{option}", type=float, default=default, help=help, **kwargs)
