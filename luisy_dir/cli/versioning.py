"""``luisy-dir versions``: the generations of a directory that are kept."""

from __future__ import annotations

import os
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from luisy_dir.cli.places import OUTPUT_MISSING, STATUSES
from luisy_dir.cli.text import examples, moment_in_utc, say, say_json, table
from luisy_dir.generations import Difference, diff
from luisy_dir.generations import versions as records_of
from luisy_dir.record import Record, read_current

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER = ["generation", "published (UTC)", *STATUSES]


@click.command(
    short_help="List the generations of a directory that are kept.",
    epilog=examples(
        "luisy-dir versions data/pipeline/interim/ToNumpy",
        "luisy-dir versions data/pipeline/interim/ToNumpy --changes",
        "luisy-dir versions data/pipeline/interim/ToNumpy --json | jq '.[] | select(.is_pinned) | .generation'",
    ),
)
@click.argument("path")
@click.option("--changes", "with_changes", is_flag=True, help="Compare each with the one before; reads all entries.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead, one for each generation.")
def versions(path: str, *, with_changes: bool, as_json: bool) -> None:
    """List the generations of the published directory PATH that are kept, the newest first.

    Prints a line for each: its number, when it was published, and how many items were written, skipped, rejected and
    failed. With --changes, it also says how many items were added, changed and removed since the generation before;
    "again" were processed again, with the same result.

    Notes at the end of a line: the generation that is published is "current"; "pinned" is one that somebody has gone
    back to, so that runs leave it alone; "unfinished" is one that is committed, and that the next run brings to its
    place.
    """
    directory = os.path.abspath(path)
    records, current = records_of(directory), read_current(directory)
    applied = 0 if current is None else current.generation
    changes = _changes(directory, records) if with_changes else {}
    if as_json:
        say_json([_as_object(record, applied, changes.get(record.generation)) for record in records])
        return
    rows = [_as_row(record, applied, changes) for record in records]
    lines, _ = table([*_HEADER, *(["since the one before"] if with_changes else []), "notes"], rows)
    for line in lines:
        say(line)


def _changes(directory: str, records: list[Record]) -> dict[int, Difference]:
    """How each generation differs from the one before, by its number; of the oldest there is nothing to say."""
    numbers = [record.generation for record in records]
    return {number: diff(directory, before, number) for number, before in pairwise(numbers)}


def _as_object(record: Record, applied: int, change: Difference | None) -> dict[str, Any]:
    return {
        "generation": record.generation,
        "published": record.end.isoformat(),
        "is_current": record.generation == applied,
        "is_pinned": record.pinned,
        "is_pending": record.generation > applied,
        "counts": record.counts,
        "changes": None if change is None else {name: len(keys) for name, keys in _lists_of(change).items()},
        "run_id": record.run_id,
        "engine": record.engine,
    }


def _lists_of(change: Difference) -> dict[str, tuple[str, ...]]:
    return {name: value for name, value in asdict(change).items() if name != "unchanged"}


def _as_row(record: Record, applied: int, changes: Mapping[int, Difference]) -> list[object]:
    change = changes.get(record.generation)
    told = [_told(change) if change else None] if changes else []
    return [
        record.generation,
        moment_in_utc(record.end),
        *(record.counts.get(status, 0) for status in STATUSES),
        *told,
        _notes(record, applied),
    ]


def _told(change: Difference) -> str:
    return ", ".join(f"{len(keys)} {name}" for name, keys in change.keys.items()) or "the same"


def _notes(record: Record, applied: int) -> str | None:
    missing = record.counts.get(OUTPUT_MISSING)
    facts = {
        "current": record.generation == applied,
        "unfinished": record.generation > applied,
        "pinned": record.pinned,
        f"{missing} {OUTPUT_MISSING}": missing,
    }
    return ", ".join(name for name, holds in facts.items() if holds) or None
