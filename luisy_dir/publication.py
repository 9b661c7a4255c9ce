"""A publication: what lies published at a task's place, as a run finds it."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from luisy_dir.entry import Entry
from luisy_dir.errors import (
    BusyError,
    DamagedManifestError,
    ForeignDirectoryError,
    LuisyDirError,
    ManifestError,
    StorageError,
)
from luisy_dir.manifest import Manifest, read_manifest, salvaged
from luisy_dir.record import FOLDER, VERIFIED, Record, generations_in, is_in_doubt, note_verified, read_record
from luisy_dir.resumption import Resumption
from luisy_dir.rollforward import is_settled, recover
from luisy_dir.staging import locked, remove_abandoned, replace_file, staging_of
from luisy_dir.storage import local
from luisy_dir.transaction import Transaction

logger = logging.getLogger("luigi-interface.luisy_dir")


@dataclass(frozen=True)
class Owner:
    """Who publishes at a place.

    Parameters
    ----------
    name
        The task with its parameters, for messages.
    task, parameters
        Task family, and serialised significant parameters, as a record has them.
    advice
        What to do where the directory is somebody else's.
    """

    name: str
    task: str
    parameters: Mapping[str, str]
    advice: str = "Give one of the two another get_folder_name."

    def has_made(self, record: Record) -> bool:
        """Whether a generation is this task's."""
        return (record.task, record.parameters) == (self.task, self.parameters)

    def check(self, path: str, record: Record) -> None:
        """Raise ForeignDirectoryError where a generation is another task's."""
        if not self.has_made(record):
            raise ForeignDirectoryError(
                f"{path!r} was published by {record.task} with parameters {record.parameters}, not by {self.name}. "
                f"{self.advice}"
            )


@dataclass(frozen=True)
class Publication:
    """What lies published at a task's place.

    Parameters
    ----------
    path
        Absolute path of the directory.
    manifest
        Of what is published; None where nothing is, or where that is damaged.
    is_damaged
        Something is published whose manifest is damaged.
    keep
        How many generations are kept.
    """

    path: str
    manifest: Manifest | None
    is_damaged: bool
    keep: int

    def transaction(self, resumption: Resumption, *, durability: str, start: datetime) -> Transaction:
        """A transaction that publishes the next generation; see :class:`luisy_dir.transaction.Transaction`."""
        return Transaction(
            self.path,
            resumption.origin.fingerprint,
            resumption=resumption,
            durability=durability,
            base=self.manifest,
            is_damaged=self.is_damaged,
            keep=self.keep,
            start=start,
        )

    def note_verified(self) -> None:
        """Note that all outputs were read, and are as they were written, where that was in doubt."""
        if self.manifest is not None and is_in_doubt(self.path, self.manifest.record):
            noted = note_verified(self.manifest.record)
            replace_file(os.path.join(self.path, FOLDER, VERIFIED), lambda file: file.write(noted), sync=False)

    def tidy(self) -> None:
        """Remove what interrupted runs have left, where what is published needs nothing of them."""
        if local.exists(staging_of(self.path)):
            with contextlib.suppress(BusyError), locked(self.path) as staging:
                remove_abandoned(staging)

    def superseded(self, by_plan: list[Entry]) -> list[Entry]:
        """Entries that no longer count: those that a plan names, or what can be read of a damaged manifest."""
        return salvaged(self.path) if self.is_damaged else by_plan


def find_publication(path: str, owner: Owner, *, keep: int, sync: bool) -> Publication:
    """Look at what is published; what a run that ended without a word has left is put in order first.

    Parameters
    ----------
    path
        Absolute path of the directory.
    owner
        Who is about to publish there.
    keep
        How many generations are kept.
    sync
        Bring what is put in order to the disk.

    Raises
    ------
    ForeignDirectoryError
        Another task has published there.
    ManifestError
        The manifest cannot be read; or it is damaged, and nothing tells that the directory is this task's.
    """
    try:
        _finish_former_run(path, keep=keep, sync=sync)
        manifest = read_manifest(path)
    except DamagedManifestError as error:
        _check_owner(path, owner, error)
        logger.warning("%s", error)
        return Publication(path, None, is_damaged=True, keep=keep)
    except LuisyDirError:
        raise
    except OSError as error:
        raise StorageError(
            error.errno,
            f"What is published as {path!r} cannot be looked at: {error.strerror}. Mend the disk, then run again.",
        ) from error
    if manifest is not None:
        owner.check(path, manifest.record)
    return Publication(path, manifest, is_damaged=False, keep=keep)


def _finish_former_run(path: str, *, keep: int, sync: bool) -> None:
    if local.exists(path) and (local.exists(staging_of(path)) or not is_settled(path)):
        with contextlib.suppress(BusyError), locked(path) as staging:
            recover(path, staging, keep=keep, sync=sync)


def _check_owner(path: str, owner: Owner, damage: DamagedManifestError) -> None:
    for generation in reversed(generations_in(path)):
        with contextlib.suppress(DamagedManifestError):
            owner.check(path, read_record(path, generation))
            return
    raise ManifestError(
        f"{damage} But no record in it can be read, so that it is not known which task has made it: remove {path!r} "
        "yourself, then run again."
    ) from damage
