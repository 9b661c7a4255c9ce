"""``luisy-dir ls``: what was published below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from luisy_dir.cli.places import OUTPUT_MISSING, STATUSES, is_pending, runs_in_staging
from luisy_dir.cli.text import examples, moment_in_utc, number_of_bytes, say, say_json, table
from luisy_dir.entry import Entry
from luisy_dir.errors import ManifestError, MissingInputError
from luisy_dir.item import printable
from luisy_dir.manifest import published_below, read_manifest
from luisy_dir.record import FOLDER
from luisy_dir.resumption import entries_in_staging, unpublished_run
from luisy_dir.storage import local

_STAGING_SUFFIX = ".staging"
_HEADER = ["directory", "task", "layer", "generation", *STATUSES, "size", "published (UTC)"]


@dataclass(frozen=True)
class _Line:
    """What is said of one directory."""

    path: str
    state: str  # published, not published, or damaged
    counts: Mapping[str, int] | None = None
    output_bytes: int | None = None
    task: str | None = None
    parameters: Mapping[str, str] | None = None
    layer: str | None = None
    generation: int | None = None
    published: datetime | None = None
    is_pinned: bool = False
    is_pending: bool = False  # not all files of the generation are in their places yet
    has_unpublished_run: bool = False  # one that failed, or is under way
    message: str | None = None

    @property
    def notes(self) -> str | None:
        """What is unusual about what is published, in a few words."""
        facts = {
            "pinned": self.is_pinned,
            "unfinished": self.is_pending,
            "last run not published": self.has_unpublished_run and self.state == "published",
        }
        missing = (self.counts or {}).get(OUTPUT_MISSING)
        named = [name for name, holds in facts.items() if holds] + ([f"{missing} {OUTPUT_MISSING}"] if missing else [])
        return ", ".join(named) or None


@click.command(
    short_help="List published directories, and runs that did not publish.",
    epilog=examples(
        "luisy-dir ls",
        "luisy-dir ls data/pipeline/interim",
        "luisy-dir ls data --json | jq -r '.[] | select(.state != \"published\") | .path'",
    ),
)
@click.argument("folder", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead, one for each directory.")
def ls(folder: str | None, *, as_json: bool) -> None:
    """List the directories that were published below FOLDER, and runs that did not publish.

    FOLDER is the working directory of the settings where it is not given.

    Prints a line for each directory: its path under FOLDER, task, layer and generation, how many items were written,
    skipped, rejected and failed, the size of the outputs, and when it was published. Where nothing was published yet
    the line ends with "not published", and the numbers are those of the last run, which failed or is under way. A
    manifest that is damaged is a line that says so.

    Notes at the end of a line: "pinned" is a generation that somebody has gone back to; "unfinished" one that is
    committed, and that the next run brings to its place; "last run not published" says that a run after it failed, or
    is under way; "output missing" counts items whose outputs the next run makes anew.
    """
    folder = _working_dir() if folder is None else folder
    if not os.path.isdir(folder):
        raise MissingInputError(f"There is no folder {folder!r}. Is the path right, and is the disk mounted?")
    lines = list(_lines_below(os.path.abspath(folder)))
    if as_json:
        say_json([_as_object(line) for line in lines])
    elif lines:
        _show(lines)
    else:
        say(f"Nothing is published below {printable(repr(folder))}.")


def _working_dir() -> str:
    from luisy_dir import settings  # which imports luigi

    return str(settings.resolve("working_dir"))


def _lines_below(folder: str) -> Iterator[_Line]:
    """Sorted by path."""
    published = dict.fromkeys(published_below(folder), True)
    staged = dict.fromkeys((path for path in _staged_below(folder) if path not in published), False)
    for directory, is_published in sorted((published | staged).items()):
        path = os.path.relpath(directory, folder)
        line = _published(directory, path) if is_published else _staged(directory, path)
        if line is not None:
            yield line


def _staged_below(folder: str) -> Iterator[str]:
    """Where runs would publish that have left something in a staging."""
    if local.exists(os.path.join(folder, FOLDER)):
        return
    for name in local.folders_in(folder):
        if name[0] != ".":
            yield from _staged_below(os.path.join(folder, name))
        elif name.endswith(_STAGING_SUFFIX):
            directory = os.path.join(folder, name[1 : -len(_STAGING_SUFFIX)])
            if runs_in_staging(directory):
                yield directory


def _published(directory: str, path: str) -> _Line | None:
    try:
        run, manifest = unpublished_run(directory), read_manifest(directory, newest=True)
        if manifest is None:  # removed since the folder was listed
            return None
        output_bytes, is_unfinished = _size(manifest.entries()), is_pending(directory, manifest.record)
    except ManifestError as error:
        return _Line(path, "damaged", message=str(error))
    record = manifest.record
    return _Line(
        path,
        "published",
        dict.fromkeys(STATUSES, 0) | record.counts,
        output_bytes,
        record.task,
        record.parameters,
        record.layer,
        record.generation,
        record.end,
        is_pinned=record.pinned,
        is_pending=is_unfinished,
        has_unpublished_run=run is not None,
    )


def _staged(directory: str, path: str) -> _Line:
    try:
        entries = entries_in_staging(directory)
    except FileNotFoundError:  # the run has ended just now
        entries = []
    except ManifestError as error:
        return _Line(path, "damaged", message=str(error))
    counts = dict.fromkeys(STATUSES, 0)
    for entry in entries:
        counts[entry.status] += 1
    return _Line(path, "not published", counts, _size(entries), has_unpublished_run=True)


def _size(entries: Iterable[Entry]) -> int:
    return sum(output.size for entry in entries for output in entry.outputs)


def _as_object(line: _Line) -> dict[str, Any]:
    return vars(line) | {"published": line.published.isoformat() if line.published else None}


def _show(lines: list[_Line]) -> None:
    whole = [line for line in lines if line.state != "damaged"]
    has_notes = any(line.notes for line in whole)
    rows = [_as_row(line) + ([line.notes] if has_notes else []) for line in whole]
    shown, _ = table([*_HEADER, "notes"] if has_notes else _HEADER, rows)
    if whole:
        say(shown[0])
    texts = dict(zip((line.path for line in whole), shown[1:], strict=True))
    for line in lines:
        say(texts.get(line.path) or f"{printable(line.path)}  damaged: {printable(line.message)}")


def _as_row(line: _Line) -> list[object]:
    counts, published = line.counts or {}, line.published
    return [
        line.path,
        line.task,
        line.layer,
        line.generation,
        *(counts[status] for status in STATUSES),
        number_of_bytes(line.output_bytes or 0),
        moment_in_utc(published) if published else line.state,
    ]
