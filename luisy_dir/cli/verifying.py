"""``luisy-dir verify``: a published directory beside its manifest."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from luisy_dir.cli.exits import BAD_NEWS
from luisy_dir.cli.places import OUTPUT_MISSING, say_whether_unfinished
from luisy_dir.cli.text import examples, say, say_json
from luisy_dir.generations import repair as mark_damage
from luisy_dir.item import printable
from luisy_dir.manifest import read_manifest
from luisy_dir.record import Record
from luisy_dir.verification import Verification
from luisy_dir.verification import verify as compare


@click.command(
    short_help="Compare a published directory with its manifest.",
    epilog=examples(
        "luisy-dir verify data/pipeline/interim/ToNumpy",
        "luisy-dir verify data/pipeline/interim/ToNumpy --deep",
        "luisy-dir verify data/pipeline/interim/ToNumpy --deep --repair",
        "luisy-dir verify data/pipeline/interim/ToNumpy --json | jq -r '.missing[]'",
    ),
)
@click.argument("path")
@click.option("--deep", is_flag=True, help="Read every output, and compare what is in it.")
@click.option("--repair", is_flag=True, help="Mark what is missing or changed, so that the next run makes it anew.")
@click.option("--json", "as_json", is_flag=True, help="Print an object instead.")
@click.pass_context
def verify(ctx: click.Context, path: str, *, deep: bool, repair: bool, as_json: bool) -> None:
    """Compare the published directory PATH with its manifest; without --repair nothing is changed.

    An output is "missing"; or "changed", where its size differs, or its time of change and its content; a file that
    the manifest does not know is "foreign". Hidden files are passed over. The manifest is compared with its own
    digests, and is an error where it does not equal them.

    --repair publishes a generation in which the items of missing and changed outputs are marked. Their task is not
    complete then, and its next run makes these outputs anew. A changed file is moved out of sight and kept with the
    generation before; foreign files are left alone.

    Prints a line for each file that differs, and a last line with the numbers. The exit code is 1 where anything
    differs, be it that it was repaired.
    """
    directory = os.path.abspath(path)
    before = read_manifest(directory, newest=True) if repair else None
    verification = _repaired(directory, deep=deep) if repair else compare(directory, deep=deep)
    marked = None if before is None or verification.is_as_written else _newest(directory)
    if as_json:
        facts = {"directory": directory, "deep": deep, "is_whole": verification.is_whole} | asdict(verification)
        say_json(facts | ({"generation": marked and marked.generation} if repair else {}))
    else:
        say_whether_unfinished(directory)
        _show(verification)
        if before is not None:
            _tell(verification, before.record, marked)
    if not verification.is_whole:
        ctx.exit(BAD_NEWS)


def _repaired(directory: str, *, deep: bool) -> Verification:
    from luisy_dir import settings  # which imports luigi

    return mark_damage(directory, deep, durability=str(settings.resolve("durability")))


def _newest(directory: str) -> Record | None:
    manifest = read_manifest(directory)
    return None if manifest is None else manifest.record


def _show(verification: Verification) -> None:
    for difference, paths in verification.differences.items():
        for name in paths:
            say(f"{difference}  {printable(name)}")
    say(verification.summary)


def _tell(verification: Verification, before: Record, marked: Record | None) -> None:
    """Say what was repaired, and what the next run will do."""
    if marked is None:
        left = "Foreign files are left alone. " if verification.foreign else ""
        say(f"{left}There is nothing to repair.")
        return
    count = marked.counts[OUTPUT_MISSING]
    say(
        f"Generation {marked.generation} marks them: the next run of {printable(marked.task)} makes {count} items anew."
    )
    if before.pinned:
        say(f"Generation {before.generation} was pinned, and this one is not: the next run brings it up to date.")
