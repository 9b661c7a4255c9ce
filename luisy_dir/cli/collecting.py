"""``luisy-dir gc``: remove what nobody needs any more."""

from __future__ import annotations

import os

import click

from luisy_dir.cli.exits import BUSY
from luisy_dir.cli.text import examples, number_of_bytes, say, say_json
from luisy_dir.generations import Garbage
from luisy_dir.generations import gc as collect
from luisy_dir.item import printable

_OLD_DAYS = 7.0


@click.command(
    short_help="Remove generations that are no longer kept, and litter.",
    epilog=examples(
        "luisy-dir gc data --dry-run",
        "luisy-dir gc data/pipeline/interim/ToNumpy --keep 1",
        "luisy-dir gc data --older-than 0 --json | jq '.size'",
    ),
)
@click.argument("path")
@click.option("--keep", type=click.IntRange(min=1), help="Generations of each directory. [default: keep_generations]")
@click.option(
    "--older-than",
    "older_than_days",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    default=_OLD_DAYS,
    show_default=True,
    help="Age of what runs that did not publish have left.",
)
@click.option("--dry-run", "is_dry", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print an object instead.")
@click.pass_context
def gc(ctx: click.Context, path: str, *, keep: int | None, older_than_days: float, is_dry: bool, as_json: bool) -> None:
    """Remove what nobody needs any more from PATH, a published directory or a folder above some.

    That is: generations that are no longer kept, with the files that they have replaced; what runs that did not
    publish have left, when it is old; and what a failing disk has spoilt. What is published stays as it is. A
    directory on which a run works is left alone.

    How many generations are kept is the setting keep_generations where --keep is not given.

    Prints a line for each file and folder that is removed, with its size, and a last line with the sum. The exit code
    is 4 where a directory was left alone.
    """
    folder = os.path.abspath(path)
    keep = _keep_generations() if keep is None else keep
    garbage = collect(folder, keep=keep, older_than_days=older_than_days, dry_run=is_dry)
    if as_json:
        paths = [{"path": name, "size": size} for name, size in garbage.paths.items()]
        facts = {"folder": folder, "keep": keep, "dry_run": is_dry, "size": garbage.size}
        say_json(facts | {"paths": paths, "busy": list(garbage.busy)})
    else:
        _show(garbage, is_dry=is_dry)
    if garbage.busy:
        ctx.exit(BUSY)


def _keep_generations() -> int:
    from luisy_dir import settings  # which imports luigi

    return int(settings.resolve("keep_generations"))


def _show(garbage: Garbage, *, is_dry: bool) -> None:
    sizes = {path: number_of_bytes(size) for path, size in garbage.paths.items()}
    width = max(map(len, sizes.values()), default=0)
    for path, size in sizes.items():
        say(f"{size:>{width}}  {printable(path)}")
    for directory in garbage.busy:
        say(f"busy: a run works on {printable(repr(directory))}, which was left alone")
    if not garbage.paths:
        say("There is nothing to remove.")
        return
    what = "would be removed" if is_dry else "were removed"
    say(f"{len(garbage.paths)} files and folders with {number_of_bytes(garbage.size)} {what}.")
