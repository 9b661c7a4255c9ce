"""A place: where a task publishes, and what lies there or in its staging."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from dataclasses import dataclass

from luisy_dir.cli.text import printable, say
from luisy_dir.errors import MissingInputError
from luisy_dir.manifest import Entry, Manifest, read_manifest
from luisy_dir.staging import RUN, staging_of
from luisy_dir.storage import local
from luisy_dir.transaction import entries_in_staging

STATUSES = ("written", "skipped", "rejected", "failed")


@dataclass(frozen=True)
class Place:
    """Where a task publishes, and the entries that were found there.

    Parameters
    ----------
    directory
        Absolute path.
    manifest
        Of the published directory; None where the entries are those of a run that did not publish.
    entries
        In key order.
    """

    directory: str
    manifest: Manifest | None
    entries: list[Entry]

    @property
    def summary(self) -> str:
        """Number of items by status, on one line."""
        counts = Counter[str](entry.status for entry in self.entries)
        named = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
        return f"{len(self.entries)} items" + (f": {named}" if named else "")


def look_at(path: str) -> Place:
    """What is published at a path, or what a run has left in its staging.

    Raises
    ------
    MissingInputError
        Neither is there.
    ManifestError
        The manifest is damaged.
    """
    directory = os.path.abspath(path)
    for _ in range(2):  # a run that publishes at this moment takes the entries out of its staging
        manifest = read_manifest(directory)
        if manifest is not None:
            return Place(directory, manifest, list(manifest.entries()))
        with contextlib.suppress(FileNotFoundError):
            if is_staged(directory):
                return Place(directory, None, entries_in_staging(directory))
    raise MissingInputError(
        f"Nothing is published as {directory!r}, and no run has left anything in a staging beside it. "
        "'luisy-dir ls' shows what there is."
    )


def say_heading(place: Place) -> None:
    """Say first where entries are those of a run that did not publish."""
    if place.manifest is None:
        say(f"{printable(repr(place.directory))} is not published. Its last run failed, or is under way:")


def is_staged(directory: str) -> bool:
    """Whether there is a run in the directory's staging, under way or ended."""
    staging = staging_of(directory)
    runs = [f"{staging}/{name}" for name in local.names_in(staging) if name.startswith(RUN)]
    return any(name == "files" or name.startswith("journal-") for run in runs for name in local.names_in(run))
