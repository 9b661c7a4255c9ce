"""``luisy-dir report``: what became of each item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from luisy_dir.cli.places import OUTPUT_MISSING, STATUSES, Place, look_at, say_heading, warn_of_heading
from luisy_dir.cli.text import examples, say, say_csv, say_json, table, terminal_width
from luisy_dir.entry import COLUMNS, Entry
from luisy_dir.item import printable

_FIRST_ROWS = 20
# Of the report's own columns, those that a person looks for; the others are in --csv and --json.
_FOR_PEOPLE = ("key", "status", "reason", "source_bytes", "output_bytes", "attempts", "seconds")


@click.command(
    short_help="Show what became of each item.",
    epilog=examples(
        "luisy-dir report data/pipeline/interim/ToNumpy",
        "luisy-dir report data/pipeline/interim/ToNumpy --status failed --status rejected",
        "luisy-dir report data/pipeline/interim/ToNumpy --csv > report.csv",
        "luisy-dir report data/pipeline/interim/ToNumpy --json | jq '.[] | select(.seconds > 1) | .key'",
    ),
)
@click.argument("path")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice((*STATUSES, OUTPUT_MISSING)),
    help="Show these alone; repeatable.",
)
@click.option("--limit", type=click.IntRange(min=0), help=f"How many items; 0 is all. [table: {_FIRST_ROWS}, else all]")
@click.option("--published", is_flag=True, help="Show what is published, and no run that did not publish.")
@click.option("--csv", "as_csv", is_flag=True, help="Print every item and column as CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead, one for each item.")
def report(
    path: str, *, statuses: tuple[str, ...], limit: int | None, published: bool, as_csv: bool, as_json: bool
) -> None:
    """Show what became of each item of the published directory PATH.

    Where the last run did not publish, because it failed or is under way, the items are those of that run alone, and
    a first line says so. --published shows those of the published generation all the same.

    Prints a table of the first items, as wide as the terminal, and a last line that counts all items by status. The
    columns are those of the task's report(); --csv and --json print all of them, and every item.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.")
    place = look_at(path, published=published)
    wanted = [entry for entry in place.entries if not statuses or entry.status in statuses]
    if not as_csv and not as_json:
        show_report(place, wanted, _FIRST_ROWS if limit is None else limit)
        return
    warn_of_heading(place)
    columns, records = _records(wanted[: limit or None])
    if as_csv:
        say_csv(columns, records)
    else:
        say_json(list(records))


def show_report(place: Place, wanted: Sequence[Entry], limit: int) -> None:
    """Print the table for people.

    Parameters
    ----------
    place
        Whose report it is.
    wanted
        Those of its entries that are asked for.
    limit
        How many of them to show; 0 is all.
    """
    say_heading(place)
    first = wanted[: limit or None]
    if first:
        _show_table(first)
    if len(first) < len(place.entries):
        advice = " --limit 0 shows all." if len(first) < len(wanted) else ""
        say(f"Shown are {len(first)} of {len(place.entries)} items.{advice}")
    say(place.summary)


def _show_table(entries: Sequence[Entry]) -> None:
    columns, records = _records(entries)
    shown = [column for column in columns if column in _FOR_PEOPLE or column not in COLUMNS]
    rows = [[_short(column, record[column]) for column in shown] for record in records]
    filled = [place for place, column in enumerate(shown) if _says_something(column, [row[place] for row in rows])]
    header = [shown[place] for place in filled]
    lines, count = table(header, [[row[place] for place in filled] for row in rows], terminal_width())
    for line in lines:
        say(line)
    if count < len(header):
        say(f"There is no room for {', '.join(map(printable, header[count:]))}: --csv and --json print every column.")


def _short(column: str, value: Any) -> Any:
    return float(f"{value:.2g}") if column == "seconds" else value


def _says_something(column: str, values: list[Any]) -> bool:
    if column == "attempts":
        return any(value != 1 for value in values)
    return any(value is not None for value in values)


def _records(entries: Sequence[Entry]) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """Columns of the report, and each row of it by column; what there is nothing of is None."""
    import pandas as pd

    from luisy_dir.report import frame

    rows = frame(entries)
    rows["started"] = rows["started"].map(pd.Timestamp.isoformat)
    own = [rows[column].astype(object).where(rows[column].notna(), None).tolist() for column in COLUMNS]
    meta = dict.fromkeys(name for entry in entries for name in entry.meta)
    records = (
        {"key": entry.key, **dict(zip(COLUMNS, values, strict=True)), **{name: entry.meta.get(name) for name in meta}}
        for entry, values in zip(entries, zip(*own, strict=True), strict=True)
    )
    return ["key", *COLUMNS, *meta], records
