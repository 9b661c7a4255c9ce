"""``luisy-dir rollback`` and ``luisy-dir release``: back to an earlier generation, and on from there."""

from __future__ import annotations

import os
import shlex
import sys

import click

from luisy_dir.cli.exits import BAD_NEWS
from luisy_dir.cli.text import examples, lines_of, say
from luisy_dir.errors import GenerationError
from luisy_dir.generations import diff, versions
from luisy_dir.generations import release as let_go
from luisy_dir.generations import rollback as go_back
from luisy_dir.item import printable


@click.command(
    short_help="Publish an earlier generation of a directory again.",
    epilog=examples(
        "luisy-dir rollback data/pipeline/interim/ToNumpy --dry-run",
        "luisy-dir rollback data/pipeline/interim/ToNumpy",
        "luisy-dir rollback data/pipeline/interim/ToNumpy --to 3 --yes",
    ),
)
@click.argument("path")
@click.option("--to", type=click.IntRange(min=1), help="Number of the generation. [default: the one before]")
@click.option("--dry-run", "is_dry", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def rollback(ctx: click.Context, path: str, *, to: int | None, is_dry: bool, yes: bool) -> None:
    """Publish the content of an earlier generation of the directory PATH again.

    It becomes a further generation, so that nothing is lost: what it replaces is kept, and can be gone back to in the
    same way. The new generation is pinned: its task counts as complete, and runs leave it alone, whatever becomes of
    inputs and code, until 'luisy-dir release'.

    Prints how the content would change, or will change. On a terminal it is asked whether that is meant; where the
    answer is no, nothing is done, and the exit code is 1.
    """
    directory = os.path.abspath(path)
    newest, to = _from_and_to(directory, to)
    difference = diff(directory, newest, to)
    say(f"From generation {newest} of {printable(repr(directory))} to the content of generation {to}:")
    for line in lines_of(str(difference)):
        say(f"  {line}")
    if is_dry:
        say("Nothing was done.")
        return
    if not yes and sys.stdin.isatty() and not _is_confirmed():
        say("Nothing was done.")
        ctx.exit(BAD_NEWS)
    record = go_back(directory, to, durability=_durability())
    say(f"Published as generation {record.generation}, which is pinned: runs leave it alone. To let it go again:")
    say(f"  luisy-dir release {printable(shlex.quote(path))}")


def _from_and_to(directory: str, to: int | None) -> tuple[int, int]:
    newest = versions(directory)[0]
    to = newest.parent if to is None else to
    if to is None:
        raise GenerationError(f"There is no generation before {newest.generation} of {directory!r} to go back to.")
    if to == newest.generation:
        raise GenerationError(
            f"{directory!r} is at generation {to} already. 'luisy-dir versions' lists the others that are kept."
        )
    return newest.generation, to


def _is_confirmed() -> bool:
    """Ask on the standard error, which is seen where the standard output goes to a file."""
    sys.stdout.flush()
    click.echo("Go back? [y/N] ", nl=False, err=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _durability() -> str:
    from luisy_dir import settings  # which imports luigi

    return str(settings.resolve("durability"))


@click.command(
    short_help="Let a pinned generation be brought up to date again.",
    epilog=examples("luisy-dir release data/pipeline/interim/ToNumpy"),
)
@click.argument("path")
def release(path: str) -> None:
    """Let the pinned generation of the directory PATH be brought up to date again by the next run.

    That publishes a further generation with the same content. Where the generation is not pinned, nothing is done.

    Prints which it was.
    """
    directory = os.path.abspath(path)
    before = versions(directory)[0]
    record = let_go(directory, durability=_durability())
    if record.generation == before.generation:
        say(f"Generation {record.generation} of {printable(repr(directory))} is not pinned; nothing was done.")
        return
    say(f"Generation {before.generation} of {printable(repr(directory))} is no longer pinned: it was published again")
    say(f"as generation {record.generation}, which the next run of {printable(record.task)} brings up to date.")
