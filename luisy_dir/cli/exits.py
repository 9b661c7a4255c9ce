"""How a command ends: the exit codes, and the messages that go with them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from luisy_dir.cli.text import lines_of
from luisy_dir.errors import BusyError, LuisyDirError
from luisy_dir.item import printable

FINE, BAD_NEWS, WRONG_USAGE, ERROR, BUSY, INTERRUPTED, CUT_SHORT = 0, 1, 2, 3, 4, 130, 141
EXIT_CODES = {
    FINE: "fine",
    BAD_NEWS: "the answer is bad news: something differs, failed, or is to do",
    WRONG_USAGE: "wrong usage: no such command, option, module, task or parameter",
    ERROR: "an error; the message says what to do",
    BUSY: "busy: another run works on the same directory",
    INTERRUPTED: "interrupted by Ctrl-C",
    CUT_SHORT: "whoever was to read the output has gone, such as head",
}


class Commands(click.Group):
    """A group of commands that all end in the same way."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and exit with its code.

        An error that was raised on purpose is a message; any other comes with its traceback, and must not look like
        an answer: Python's own exit code for it would be 1.
        """
        try:
            return self._invoke(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except BrokenPipeError:
            _let_go_of_stdout()
            ctx.exit(CUT_SHORT)
        except KeyboardInterrupt:
            _fail(ctx, "Interrupted", INTERRUPTED)
        except LuisyDirError as error:
            code = BUSY if isinstance(error, BusyError) else ERROR
            _fail(ctx, f"Error: {getattr(error, 'strerror', None) or error}", code)
        except Exception as error:  # noqa: BLE001 - shown whole, and of another exit code than a bad answer
            if not _is_of_a_full_disk(error):
                _fail(ctx, traceback.format_exc(), ERROR)
            _let_go_of_stdout()
            _fail(ctx, f"Error: The output cannot be written: {error}.", ERROR)

    def _invoke(self, ctx: click.Context) -> Any:
        with _warnings_on_stderr():
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()


def _fail(ctx: click.Context, message: str, code: int) -> NoReturn:
    for line in lines_of(message):
        click.echo(line, err=True)
    ctx.exit(code)


def _is_of_a_full_disk(error: Exception) -> bool:
    """Whether the disk that the output goes to is full: such an error knows no file name."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT} and error.filename is None


def _let_go_of_stdout() -> None:
    """Let Python's own last flush go nowhere, so that it does not complain."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.capitalize()}: {printable(record.getMessage())}"


@contextlib.contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    """Show what luisy_dir warns of; Luigi, which does so else, sets up its logging in a run only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_OneLine())
    logger = logging.getLogger("luigi-interface.luisy_dir")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
