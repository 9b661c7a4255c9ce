"""``luisy-dir errors``: the items that failed or were rejected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from luisy_dir.cli.exits import BAD_NEWS
from luisy_dir.cli.places import Place, look_at, say_heading, warn_of_heading
from luisy_dir.cli.text import examples, lines_of, say, say_json
from luisy_dir.entry import Entry
from luisy_dir.item import printable

_SHOWN = 3  # of the files of an item, which may be very many


@click.command(
    short_help="Show the items that failed or were rejected, and why.",
    epilog=examples(
        "luisy-dir errors data/pipeline/interim/ToNumpy",
        "luisy-dir errors data/pipeline/interim/ToNumpy --traceback | less",
        "luisy-dir errors data/pipeline/interim/ToNumpy --json | jq -r '.[].sources[].path'",
    ),
)
@click.argument("path")
@click.option("--traceback", "with_traceback", is_flag=True, help="Show where in the code each one failed.")
@click.option("--published", is_flag=True, help="Show what is published, and no run that did not publish.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead, one for each such item.")
@click.pass_context
def errors(ctx: click.Context, path: str, *, with_traceback: bool, published: bool, as_json: bool) -> None:
    """Show the items of PATH that failed or were rejected, and why.

    PATH is a published directory. Where the last run did not publish, because it failed or is under way, the items are
    those of that run alone, and a first line says so. --published shows those of the published generation all the same.

    Prints how many there are of each type of error, then each item with its files and the message. The exit code is 1
    where an item failed; that some were rejected is no error.
    """
    place = look_at(path, published=published)
    groups = _by_type(place.entries)
    if as_json:
        warn_of_heading(place)
        say_json([_as_object(entry) for group in groups.values() for entry in group])
    else:
        _show_errors(place, groups, with_traceback=with_traceback)
    if any(entry.status == "failed" for entry in place.entries):
        ctx.exit(BAD_NEWS)


def _by_type(entries: Sequence[Entry]) -> dict[tuple[str, str], list[Entry]]:
    """Failed and rejected entries by status and type of error: failures first, the most frequent first."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        if entry.status in {"failed", "rejected"}:
            kind = entry.error.type if entry.error else "Reject"
            groups.setdefault((entry.status, kind), []).append(entry)
    return dict(sorted(groups.items(), key=lambda group: (group[0][0], -len(group[1]), group[0])))


def _as_object(entry: Entry) -> dict[str, Any]:
    error = entry.error
    return {
        "key": entry.key,
        "status": entry.status,
        "type": error.type if error else None,
        "message": error.message if error else None,
        "traceback": error.traceback if error else None,
        "sources": [{"root": source.root, "path": source.path} for source in entry.sources],
    }


def _show_errors(place: Place, groups: dict[tuple[str, str], list[Entry]], *, with_traceback: bool) -> None:
    say_heading(place)
    for (status, kind), entries in groups.items():
        say(f"{len(entries):>6} {status}  {printable(kind)}")
    for (status, kind), entries in groups.items():
        say(f"\n{printable(kind)} ({status})")
        for entry in entries:
            _show_error(entry, with_traceback=with_traceback)
    if groups:
        say()
    say(place.summary)


def _show_error(entry: Entry, *, with_traceback: bool) -> None:
    files = ", ".join(f"{source.root}: {source.path}" for source in entry.sources[:_SHOWN])
    others = len(entry.sources) - _SHOWN
    more = f" and {others} more" if others > 0 else ""
    say(f"  {printable(entry.key)}  ({printable(files)}{more})")
    message = entry.error.message if entry.error else "no reason given"
    traceback = entry.error.traceback if entry.error and with_traceback else None
    for line in lines_of(traceback or message):  # a traceback ends with the message
        say(f"      {line}")
