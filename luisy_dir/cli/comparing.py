"""``luisy-dir diff``: how two generations of a directory differ."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from luisy_dir.cli.exits import BAD_NEWS
from luisy_dir.cli.text import examples, say, say_json
from luisy_dir.errors import GenerationError
from luisy_dir.generations import Difference, versions
from luisy_dir.generations import diff as compare
from luisy_dir.item import printable


@click.command(
    short_help="Compare two generations of a directory.",
    epilog=examples(
        "luisy-dir diff data/pipeline/interim/ToNumpy",
        "luisy-dir diff data/pipeline/interim/ToNumpy 3 5",
        "luisy-dir diff data/pipeline/interim/ToNumpy --json | jq -r '.changed[]'",
        'luisy-dir diff data/pipeline/interim/ToNumpy --exit-code > /dev/null || echo "something differs"',
    ),
)
@click.argument("path")
@click.argument("one", metavar="[A]", required=False, type=click.IntRange(min=1))
@click.argument("other", metavar="[B]", required=False, type=click.IntRange(min=1))
@click.option("--exit-code", "tells_by_exit_code", is_flag=True, help="Exit with 1 where an item differs.")
@click.option("--json", "as_json", is_flag=True, help="Print an object instead.")
@click.pass_context
def diff(
    ctx: click.Context, path: str, one: int | None, other: int | None, *, tells_by_exit_code: bool, as_json: bool
) -> None:
    """Say how generation B of the published directory PATH differs from generation A.

    B is the newest where it is not given, and A the one before B.

    Prints a line for each item that was added or removed, that has changed (its status, outputs, meta or error), or
    that was processed again with the same result; and a last line with the numbers. Items that were processed again
    do not count as differing.
    """
    directory = os.path.abspath(path)
    one, other = _numbers(directory, one, other)
    difference = compare(directory, one, other)
    if as_json:
        say_json({"directory": directory, "from": one, "to": other} | asdict(difference))
    else:
        for name, keys in difference.keys.items():
            for key in keys:
                say(f"{name}  {printable(key)}")
        say(f"Generation {one} to {other}: {counts_of(difference)}")
    if tells_by_exit_code and (difference.added or difference.removed or difference.changed):
        ctx.exit(BAD_NEWS)


def counts_of(difference: Difference) -> str:
    """Number of items by what has become of them, on one line."""
    counts = [f"{len(keys)} {name}" for name, keys in difference.keys.items()]
    return ", ".join([*counts, f"{difference.unchanged} unchanged"])


def _numbers(directory: str, one: int | None, other: int | None) -> tuple[int, int]:
    """The two generations that are meant."""
    kept = [record.generation for record in versions(directory)]
    other = kept[0] if other is None else other
    if one is not None:
        return one, other
    if len(kept) == 1:
        raise GenerationError(
            f"Of {directory!r} generation {other} alone is kept, so that there is none to compare it with. The next "
            "run that changes something publishes another one."
        )
    return kept[1], other
