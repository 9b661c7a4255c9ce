"""``luisy-dir ls``: what was published below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click

from luisy_dir.cli.places import STATUSES, is_staged
from luisy_dir.cli.text import examples, number_of_bytes, printable, say, say_json, table
from luisy_dir.errors import ManifestError, MissingInputError
from luisy_dir.manifest import FOLDER, Entry, published_below, read_manifest
from luisy_dir.storage import local
from luisy_dir.transaction import entries_in_staging

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
    message: str | None = None


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
    skipped, rejected and failed, the size of the outputs, and when it was published. A directory whose last run
    failed, or is under way, is "not published", and the numbers are those of that run. A manifest that is damaged is
    a line that says so.
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
            if is_staged(directory):
                yield directory


def _published(directory: str, path: str) -> _Line | None:
    try:
        manifest = read_manifest(directory)
        output_bytes = 0 if manifest is None else _size(manifest.entries())
    except ManifestError as error:
        return _Line(path, "damaged", message=str(error))
    if manifest is None:  # removed since the folder was listed
        return None
    record = manifest.record
    return _Line(
        path,
        "published",
        {status: record.counts.get(status, 0) for status in STATUSES},
        output_bytes,
        record.task,
        record.parameters,
        record.layer,
        record.generation,
        record.end,
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
    return _Line(path, "not published", counts, _size(entries))


def _size(entries: Iterable[Entry]) -> int:
    return sum(output.size for entry in entries for output in entry.outputs)


def _as_object(line: _Line) -> dict[str, Any]:
    return vars(line) | {"published": line.published.isoformat() if line.published else None}


def _show(lines: list[_Line]) -> None:
    whole = [line for line in lines if line.state != "damaged"]
    shown, _ = table(_HEADER, [_as_row(line) for line in whole])
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
        published.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if published else line.state,
    ]
