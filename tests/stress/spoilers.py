"""Spoilers: what would be wrong with luisy_dir, done to it in one child, to see that these tests would notice."""

from __future__ import annotations

import contextlib
import os

from luisy_dir import journal, rollforward, transaction
from luisy_dir.storage import local, system

_PIECE_BYTES = 16


def no_sync():
    """Nothing is brought to the disk."""
    system.fsync = system.fdatasync = system.syncfs = lambda _: None


def believed_sync():
    """A sync that failed is taken for one that did not."""
    for name in ("fsync", "fdatasync", "syncfs"):
        setattr(system, name, _without_errors(getattr(system, name)))


def _without_errors(sync):
    def call(descriptor):
        with contextlib.suppress(OSError):
            sync(descriptor)

    return call


def written_in_place():
    """A file of a new generation is written where the old one lies."""

    def spoilt(_, staged, place, path):
        del path
        with open(staged, "rb") as source, contextlib.suppress(FileNotFoundError), open(place, "wb", 0) as target:
            while piece := source.read(_PIECE_BYTES):
                target.write(piece)

    rollforward._Mover._move = spoilt


def no_journal():
    """Nobody notes what is finished."""
    journal.Journal.append = lambda *_: None


def file_by_file():
    """A first build gets its name one file after another."""
    publish = local.publish_directory

    def spoilt(staged, target):
        if os.path.basename(staged) != "files":
            publish(staged, target)
            return
        for path in sorted(local.files_below(staged)):
            system.makedirs(os.path.dirname(os.path.join(target, path)))
            system.rename(os.path.join(staged, path), os.path.join(target, path))

    local.publish_directory = spoilt


def no_fence():
    """Who takes over leaves the directory of the run that was at work there as it is."""
    rollforward._claimed = lambda _: iter(())
    rollforward.remove_abandoned = transaction.remove_abandoned = lambda *_, **__: None
    transaction.Transaction._claim = lambda self: system.makedirs(self.files)


SPOILERS = {
    each.__name__: each for each in (no_sync, believed_sync, written_in_place, no_journal, file_by_file, no_fence)
}
