"""Pinning: one generation of a directory to read from, and never a mix of two."""

from __future__ import annotations

import time

from luisy_dir.errors import BusyError, InputChangedError, MissingInputError
from luisy_dir.manifest import Manifest, read_manifest
from luisy_dir.record import has_pending, read_current

_POLL_SECONDS = 0.01


def settled_manifest(directory: str, *, timeout_seconds: float = 10.0) -> Manifest:
    """Manifest of the generation whose files all are in their places.

    Parameters
    ----------
    directory
        The published directory.
    timeout_seconds
        How long to wait for a run that is just bringing its files to their places.

    Raises
    ------
    MissingInputError
        Nothing was published.
    BusyError
        A run did not finish in that time; or it ended without a word.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        manifest = read_manifest(directory)
        if manifest is None:
            raise MissingInputError(f"Nothing was published as {directory!r}. Run its task first.")
        if is_at(directory, manifest.record.checksum):
            return manifest
        if time.monotonic() > deadline:
            raise BusyError(
                f"{directory!r} is just being brought up to date, or a run that did so ended without a word. Wait, "
                "or run its task again, which finishes it."
            )
        time.sleep(_POLL_SECONDS)


def is_at(directory: str, checksum: str) -> bool:
    """Whether the directory is at the generation whose record has that checksum, with all its files."""
    record = read_current(directory)
    return record is not None and record.checksum == checksum and not has_pending(directory)


def moved_on(manifest: Manifest) -> InputChangedError:
    """What is said where the directory was brought up to date while a generation of it was read."""
    return InputChangedError(
        f"{manifest.directory!r} was brought up to date while generation {manifest.record.generation} of it was read. "
        "Discard what was read, and read again."
    )
