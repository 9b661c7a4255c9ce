"""Losses: what becomes of the items of a worker that has died."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from functools import cached_property

import msgspec

from luisy_dir.engines.loss import Loss
from luisy_dir.entry import Entry, encode_entry
from luisy_dir.failures import entry_of_loss
from luisy_dir.job import Job, decode_job, encode_job
from luisy_dir.journal import FILES, Journal, entries_of, journal_of, names_noted, worker_name
from luisy_dir.policy import Policy
from luisy_dir.step import Answer, Outcome, Step
from luisy_dir.storage import local, system


class Losses:
    """What becomes of the items of workers that have died.

    What such a worker has finished stands in its journal. The item that it had in hand has failed, unless it is tried
    again, and is noted in a journal of our own; several that were processed together are done again by halves. The
    others have not been begun.

    Parameters
    ----------
    step
        What is done with each item.
    run
        The run's directory in the staging.
    policy
        Whether an item that has cost its worker is tried again.
    keys
        Returns the keys of all items of the run; called once, at the first loss.
    trusts_journals
        What stands in a journal is on the disk, or in this machine's memory; else the item is left to another worker.
    """

    def __init__(
        self,
        step: Step,
        run: str,
        policy: Policy,
        keys: Callable[[], Collection[str]],
        *,
        trusts_journals: bool = True,
    ) -> None:
        self._step = step
        self._run = run
        self._policy = policy
        self._keys_of_run = keys
        self._trusts_journals = trusts_journals
        self._journal: Journal | None = None

    def settle(self, chunk: list[bytes], loss: Loss) -> tuple[list[Answer], list[bytes]]:
        """What has come of the jobs of a chunk, and the jobs that are left for another worker.

        Parameters
        ----------
        chunk
            Encoded jobs, in the order in which they were begun.
        loss
            The worker that had them; it is certain that it is dead.
        """
        finished = {entry.key: entry for entry in entries_of(self._run, _process_of(loss))}
        in_hand = 0 if loss.deaths > 1 and len(chunk) == 1 else loss.in_hand
        answers: list[Answer] = []
        left: list[bytes] = []
        for number, encoded in enumerate(chunk):
            job = decode_job(encoded)
            done = [finished[part.key] for part in job.parts if part.key in finished]
            rest = job.of(part for part in job.parts if part.key not in finished)
            is_in_hand = bool(rest.parts) and number == in_hand
            if is_in_hand:
                self._remove_outputs(rest, finished.values(), loss)
            if not self._trusts_journals:
                done, rest = [], job
            if not done and (loss.is_innocent or not is_in_hand):
                left.append(encoded)
                continue
            failed: list[Outcome] = []
            again = [(0.0, encode_job(rest))] if rest.parts else []
            if is_in_hand and not loss.is_innocent:
                failed, again = self._blamed(rest, loss)
            answers.append(([(encode_entry(entry), None) for entry in done] + failed, again))
        return answers, left

    def _blamed(self, job: Job, loss: Loss) -> Answer:
        """What has come of a job that a worker had in hand when it died."""
        tried = msgspec.structs.replace(job, tries=job.tries.and_a_lost_one(loss, len(job.parts)))
        if len(job.parts) > 1:  # nobody knows for which of them
            together = msgspec.structs.replace(tried, in_batches=job.in_batches + 1)
            return [], [(0.0, encode_job(half)) for half in together.halves()]
        attempts = tried.tries.attempts - tried.in_batches
        if self._policy.is_loss_retried(loss, attempts):
            return [], [(self._policy.delay(attempts), encode_job(tried))]
        return [(encode_entry(self._failed(tried, loss)), None)], []

    def _failed(self, job: Job, loss: Loss) -> Entry:
        """The entry of the item that a worker had in hand, noted for whoever comes after this run."""
        (part,) = job.parts
        # Its sources have no digest: reading them may be what the worker died of.
        entry = entry_of_loss(part.key, part.sources, job.tries, loss, _process_of(loss))
        if self._journal is None:
            path = journal_of(self._run, f"{worker_name(os.getpid())}-losses")
            self._journal = Journal(path, self._step.origin, sync=self._step.sync)
        self._journal.append(encode_entry(entry))
        return entry

    def _remove_outputs(self, job: Job, finished: Collection[Entry], loss: Loss) -> None:
        """Remove what the dead worker may have written of a job, so that it can be tried again."""
        files = os.path.join(self._run, FILES)
        keys = {part.key for part in job.parts}
        kept = {output.path for entry in finished for output in entry.outputs}
        paths = {path for key in keys for path in self._outputs(files, key)}
        noted = {path for path in names_noted(self._run, _process_of(loss)) if local.exists(os.path.join(files, path))}
        for path in (paths | noted) - kept:
            if not any(owner not in keys and owner in self._keys for owner in self._owners(path)):
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


def _process_of(loss: Loss) -> str:
    return loss.name or worker_name(loss.pid)
