"""Losses: what becomes of the items of a worker that has died."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property

from luisy_dir.engines.loss import Loss
from luisy_dir.entry import Entry, Failure, encode_entry
from luisy_dir.item import Item, decode_item
from luisy_dir.journal import FILES, Journal, entries_of, journal_of, worker_name
from luisy_dir.step import Outcome, Step
from luisy_dir.storage import local, system

_OWN_CODE = os.path.dirname(__file__) + os.sep
_MOST_FRAMES = 40


class Losses:
    """What becomes of the items of workers that have died.

    What such a worker has finished stands in its journal. The item that it had in hand has failed, and is noted in a
    journal of our own. The others have not been begun.

    Parameters
    ----------
    step
        What is done with each item.
    run
        The run's directory in the staging.
    keys
        Returns the keys of all items of the run; called once, at the first loss.
    """

    def __init__(self, step: Step, run: str, keys: Callable[[], Collection[str]]) -> None:
        self._step = step
        self._run = run
        self._keys_of_run = keys
        self._journal: Journal | None = None

    def settle(self, chunk: list[bytes], loss: Loss) -> tuple[list[Outcome], list[bytes]]:
        """Outcomes for the items of a chunk that are done with, and the items that are left for another worker.

        Parameters
        ----------
        chunk
            Encoded items, in the order in which they were begun.
        loss
            The worker that had them; it is certain that it is dead.
        """
        finished = {entry.key: entry for entry in entries_of(self._run, loss.pid)}
        outcomes: list[Outcome] = []
        left: list[bytes] = []
        for number, encoded in enumerate(chunk):
            item = decode_item(encoded, self._step.folders, self._step.seed)
            entry = finished.get(item.key)
            if entry is None and number == loss.in_hand:
                self._remove_outputs(item.key)
                entry = None if loss.is_innocent else self._failed(item, loss)
            if entry is None:
                left.append(encoded)
            else:
                outcomes.append((encode_entry(entry), None))
        return outcomes, left

    def _failed(self, item: Item, loss: Loss) -> Entry:
        """The entry of the item that a worker had in hand, noted for whoever comes after this run."""
        entry = Entry(
            key=item.key,
            sources=item.sources,  # without a digest: reading them may be what the worker died of
            status="failed",
            outputs=(),
            meta={},
            error=_failure(loss),
            attempts=1,
            seconds=round(loss.seconds, 6),
            started=datetime.now(UTC) - timedelta(seconds=loss.seconds),
            worker=worker_name(loss.pid),
            seed=None,
        )
        if self._journal is None:
            path = journal_of(self._run, f"{worker_name(os.getpid())}-losses")
            self._journal = Journal(path, self._step.origin, sync=self._step.sync)
        self._journal.append(encode_entry(entry))
        return entry

    def _remove_outputs(self, key: str) -> None:
        """Remove what the dead worker may have written of an item, so that it can be tried again."""
        files = os.path.join(self._run, FILES)
        for path in self._outputs(files, key):
            if not any(owner != key and owner in self._keys for owner in self._owners(path)):
                system.unlink(os.path.join(files, path))

    def _outputs(self, files: str, key: str) -> Iterator[str]:
        """Relative paths of the files that lie where an item's outputs would."""
        for suffix in self._suffixes:
            if local.kind_of(os.path.join(files, key + suffix)) == "file":
                yield key + suffix
        below = os.path.join(files, key)
        if local.kind_of(below) == "folder":
            yield from [f"{key}/{path}" for path in local.files_below(below)]

    def _owners(self, path: str) -> Iterator[str]:
        """Keys of the items that may have written an output."""
        yield from (path[:place] for place, letter in enumerate(path) if letter == "/")
        yield from (path.removesuffix(suffix) for suffix in self._suffixes)

    @property
    def _suffixes(self) -> set[str]:
        return {self._step.format.suffix, *self._step.formats}

    @cached_property
    def _keys(self) -> Collection[str]:
        return self._keys_of_run()

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()


def _failure(loss: Loss) -> Failure:
    if loss.timeout is None:
        kind, message = "WorkerDied", f"the worker {loss.how}, while it had this item in hand"
    else:
        kind = "Timeout"
        message = f"it took longer than the {loss.timeout:g} s that timeout allows, and its worker was killed"
    frames = _users_frames(loss.trace)
    trace = "\n".join(["Traceback (most recent call first):", *frames, f"{kind}: {message}"])
    return Failure(kind, message, trace if frames else None)


def _users_frames(trace: str) -> list[str]:
    """Where a worker was, innermost call first, as far as that is the user's own code and what it has called."""
    frames = [line for line in trace.splitlines() if line.startswith("  File ")]
    outer = next((n for n, line in enumerate(frames) if _OWN_CODE in line), len(frames))
    return (frames[:outer] or frames)[:_MOST_FRAMES]
