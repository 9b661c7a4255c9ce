"""A place: where a task publishes, and what lies there or in its staging."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from dataclasses import dataclass

import click

from luisy_dir.cli.text import say
from luisy_dir.entry import Entry
from luisy_dir.errors import MissingInputError
from luisy_dir.item import printable
from luisy_dir.manifest import Manifest, read_manifest
from luisy_dir.record import Record, read_current
from luisy_dir.resumption import entries_in_staging
from luisy_dir.staging import RUN, staging_of
from luisy_dir.storage import local

STATUSES = ("written", "skipped", "rejected", "failed")
OUTPUT_MISSING = "output missing"


@dataclass(frozen=True)
class Place:
    """Where a task publishes, and the entries that were found there.

    Parameters
    ----------
    directory
        Absolute path.
    manifest
        Of the generation that was published last; None where nothing was.
    entries
        In key order.
    of_run
        The entries are those of a run that did not publish.
    is_pending
        Not all files of the generation are in their places yet.
    """

    directory: str
    manifest: Manifest | None
    entries: list[Entry]
    of_run: bool = False
    is_pending: bool = False

    @property
    def summary(self) -> str:
        """Number of items by status, on one line."""
        counts = Counter[str](entry.status for entry in self.entries)
        named = ", ".join(f"{counts[status]} {status}" for status in (*STATUSES, OUTPUT_MISSING) if counts[status])
        return f"{len(self.entries)} items" + (f": {named}" if named else "")

    @property
    def heading(self) -> str | None:
        """What is to be known before the entries are read; None where they are those of what is published."""
        path = repr(self.directory)
        if self.of_run and self.manifest is None:
            return f"{path} is not published. Its last run failed, or is under way:"
        if self.manifest is None:
            return None
        generation = self.manifest.record.generation
        if self.of_run:
            return (
                f"{path} is published as generation {generation}, which --published shows. The run after it failed, or "
                "is under way:"
            )
        return _unfinished(path, generation) if self.is_pending else None


def look_at(path: str, *, published: bool = False) -> Place:
    """What a run that did not publish has left in the staging of a path, or else what is published there.

    Parameters
    ----------
    path
        Where a task publishes.
    published
        Look at what is published, whatever lies in the staging.

    Raises
    ------
    MissingInputError
        There is nothing.
    ManifestError
        The manifest is damaged.
    """
    directory = os.path.abspath(path)
    for _ in range(2):  # a run that publishes at this moment takes the entries out of its staging
        with contextlib.suppress(FileNotFoundError):
            place = _look_at(directory, published=published)
            if place is not None:
                return place
    if published and runs_in_staging(directory):
        raise MissingInputError(
            f"Nothing is published as {directory!r}. A run has left its entries: leave --published out to see them."
        )
    raise MissingInputError(
        f"Nothing is published as {directory!r}, and no run has left anything in a staging beside it. "
        "'luisy-dir ls' shows what there is."
    )


def _look_at(directory: str, *, published: bool) -> Place | None:
    runs = [] if published else runs_in_staging(directory)
    entries = entries_in_staging(directory) if runs else []
    manifest = read_manifest(directory, newest=True)
    if manifest is None:
        return Place(directory, None, entries, of_run=True) if runs else None
    if entries:
        return Place(directory, manifest, entries, of_run=True)
    return Place(directory, manifest, list(manifest.entries()), is_pending=is_pending(directory, manifest.record))


def say_heading(place: Place) -> None:
    """Say first where entries are not simply those of what is published."""
    if place.heading is not None:
        say(printable(place.heading))


def say_whether_unfinished(directory: str) -> None:
    """Say where the generation that was committed last is not wholly in its place."""
    manifest = read_manifest(directory, newest=True)
    if manifest is not None and is_pending(directory, manifest.record):
        say(printable(_unfinished(repr(directory), manifest.record.generation)))


def _unfinished(path: str, generation: int) -> str:
    return f"Generation {generation} of {path} is not wholly in its place yet; the next run finishes that:"


def warn_of_heading(place: Place) -> None:
    """The same for a program that reads the standard output, which would take the entries for what is published."""
    if place.heading is not None and place.manifest is not None:
        click.echo(f"Note: {printable(place.heading.rstrip(':'))}.", err=True)


def is_pending(directory: str, newest: Record) -> bool:
    """Whether the generation that was committed last is not the one that is fully applied."""
    current = read_current(directory)
    return current is not None and current.checksum != newest.checksum


def runs_in_staging(directory: str) -> list[str]:
    """Names of the runs in the directory's staging, under way or ended."""
    staging = staging_of(directory)
    return [name for name in local.names_in(staging) if name.startswith(RUN) and _has_begun(f"{staging}/{name}")]


def _has_begun(run: str) -> bool:
    return any(name == "files" or name.startswith("journal-") for name in local.names_in(run))
