"""``luisy-dir replay``: one item of a task, processed alone in this process."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from luisy_dir.cli.exits import BAD_NEWS
from luisy_dir.cli.loading import loaded
from luisy_dir.cli.text import examples, lines_of, say
from luisy_dir.item import printable

if TYPE_CHECKING:
    from luisy_dir.entry import OutputFile
    from luisy_dir.replaying import Replayed


@click.command(
    short_help="Process one item alone, to see what becomes of it.",
    context_settings={"ignore_unknown_options": True},
    epilog=examples(
        "luisy-dir replay pipeline ToNumpy animals/cats/chelsea_0001",
        "luisy-dir replay pipeline ToNumpy torn --pdb",
        "luisy-dir replay pipeline Resize cats/1 --size 224 --luisy-dir-working-dir data",
    ),
)
@click.argument("module")
@click.argument("task")
@click.argument("key")
@click.argument("parameters", nargs=-1, type=click.UNPROCESSED)
@click.option("--pdb", "with_debugger", is_flag=True, help="Where the item fails, enter the debugger in your own code.")
@click.pass_context
def replay(
    ctx: click.Context, module: str, task: str, key: str, parameters: tuple[str, ...], *, with_debugger: bool
) -> None:
    """Process the item KEY of TASK, which stands in MODULE, alone and in this process, to see what becomes of it.

    KEY is as in the report: the path of a file under its folder, without its last suffix. Parameters and --luisy-dir-*
    settings are given as on the command line of luigi.

    What is required is read as it lies there, also where it is out of date. Outputs go below .scratch/replay in the
    working directory, and replace those of a former replay of the item; what is published, and a run that is under
    way, is not touched. Setup, reader, process and writer run in the main thread, whatever the engine, so that
    breakpoint() works in them too, with --pdb.

    Prints status, seconds, meta and outputs; or where in your code the item failed, and the exit code is 1 then. With
    --pdb it then enters the debugger in the frame of your code: 'p NAME' shows a variable, 'u' and 'd' go to the
    callers and back, 'q' ends.
    """
    stdout = sys.stdout
    with loaded(module, task, parameters) as loaded_task, _messages_on_stderr():
        _check(loaded_task)
        with contextlib.redirect_stdout(stdout) if with_debugger else contextlib.nullcontext():
            replayed = loaded_task.replayed(key)
        with contextlib.redirect_stdout(stdout):
            _show(replayed)
            if replayed.exception is not None and with_debugger:
                _debug(replayed.exception)
    if replayed.exception is not None:
        ctx.exit(BAD_NEWS)


def _check(task: Any) -> None:
    from luisy_dir import DirectoryTask

    if not isinstance(task, DirectoryTask):
        raise click.UsageError(f"{task.get_task_family()} is no DirectoryTask, so that it has no items to replay.")


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(lines_of(super().format(record)))


@contextlib.contextmanager
def _messages_on_stderr() -> Iterator[None]:
    """Show what the user's code logs by ``item.logger`` and ``self.logger``."""
    logger = logging.getLogger("luigi-interface")
    before, handler = logger.level, logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Printable())
    handler.addFilter(lambda record: record.levelno < logging.WARNING or record.name != "luigi-interface.luisy_dir")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _show(replayed: Replayed) -> None:
    from luisy_dir.replaying import told

    entry = replayed.entry
    if entry is not None:
        say(f"status   {entry.status}")
        say(f"seconds  {entry.seconds:.3g}")
        for name, value in entry.meta.items():
            say(f"meta     {printable(name)} = {printable(json.dumps(value, ensure_ascii=False))}")
        for output in entry.outputs:
            say(f"output   {printable(os.path.join(replayed.folder, output.path))}{_facts(output)}")
        if entry.error is not None and replayed.exception is None:
            say(f"reason   {printable(entry.error.message)}")
    else:
        say("status   failed in setup")
    if replayed.exception is not None:
        for line in lines_of(told(replayed.exception)):
            say(line)


def _facts(output: OutputFile) -> str:
    return "" if output.shape is None else f"  shape {output.shape}, dtype {output.dtype}"


def _debug(error: BaseException) -> None:
    from luisy_dir.replaying import debug

    sys.stdout.flush()
    debug(error)
