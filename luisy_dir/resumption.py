"""Resumption: what an interrupted run has finished, and the next one takes over."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter

import msgspec

from luisy_dir.entry import Entry
from luisy_dir.errors import DamagedManifestError, ManifestError
from luisy_dir.gathering import lying_apart, take_over
from luisy_dir.item import Item
from luisy_dir.journal import FILES, SYNCING, Origin, is_interrupted, journals_of, latest_entries, loose_files
from luisy_dir.plan import PlanRow, Reason, plan_update
from luisy_dir.record import generations_in, read_record
from luisy_dir.staging import RUN, staging_of
from luisy_dir.storage import local, system

logger = logging.getLogger("luigi-interface.luisy_dir")

SAME_CODE, ANY_CODE, NO = RESUME = ("same-code", "any-code", "no")


_ADVICE_ON_OTHER_CODE = (
    " To take over what it has finished although the code was changed since, stop this run and start it with "
    "--luisy-dir-resume any-code."
)


@dataclass(frozen=True)
class Finished:
    """What can be taken over of an interrupted run.

    Parameters
    ----------
    entries
        Of the items that need not be processed again, in key order.
    fingerprints
        What they were made with: number of entries by the task's fingerprint.
    """

    entries: list[Entry]
    fingerprints: Counter[str]


@dataclass(frozen=True)
class Resumption:
    """What a run may take over of one that was interrupted.

    Parameters
    ----------
    origin
        What this run makes its entries with.
    resume
        As the setting.
    """

    origin: Origin
    resume: str = SAME_CODE

    def run_in(self, staging: str) -> str | None:
        """Absolute path of the interrupted run to go on with, that with the longest journals; None where there is none.

        Parameters
        ----------
        staging
            The staging; its lock is held, and its runs were claimed.
        """
        interrupted, chosen = self._choice(staging)
        for run in interrupted:
            if run != chosen:
                advice = _ADVICE_ON_OTHER_CODE if self.resume == SAME_CODE else ""
                logger.info(
                    "%r, which an interrupted run has left, is not used, and removed when this one publishes.%s",
                    run,
                    advice,
                )
        return chosen

    def _choice(self, staging: str) -> tuple[list[str], str | None]:
        """All interrupted runs, and the one to go on with."""
        runs = [os.path.join(staging, name) for name in local.names_in(staging) if name.startswith(RUN)]
        interrupted = [run for run in runs if is_interrupted(run)]
        return interrupted, max(filter(self._may_be_used, interrupted), key=_length, default=None)

    def finished_keys(self, staging: str, items: Iterable[Item]) -> frozenset[str]:
        """Keys of the items that need not be processed, as far as can be seen now; nothing is claimed or written.

        Parameters
        ----------
        staging
            The staging; a run may be at work there.
        items
            What is to be processed; keys unique.
        """
        with contextlib.suppress(FileNotFoundError):  # the run publishes at this moment
            _, run = self._choice(staging)
            if run is not None:
                return frozenset(entry.key for entry in self.finished_items(run, items).entries)
        return frozenset()

    def _may_be_used(self, run: str) -> bool:
        is_same_code = os.path.basename(run).startswith(f"{RUN}{self.origin.fingerprint[:16]}-")
        return self.resume == ANY_CODE or (self.resume == SAME_CODE and is_same_code)

    def finished_items(self, run: str, items: Iterable[Item], *, is_doubtful: bool = False) -> Finished:
        """What of a run's directory is as good as if it were made now.

        An entry counts where the task was the same, the sources are as they were read, and every output lies there as
        it was written: by size and time of change, or by digest where the memory is another.

        Parameters
        ----------
        run
            Absolute path of the run's directory.
        items
            What is to be processed; keys unique.
        is_doubtful
            The run ended while it brought its outputs to the disk, so that nobody knows whether that has failed: they
            are read, and written again.

        Raises
        ------
        OSError
            The run's directory cannot be looked into.
        """
        files = loose_files(run)
        found, states = dict(self._candidates(run)), dict(_states_below(files))
        apart = dict(lying_apart(files, (entry for entry, _ in found.values())))
        states |= {path: _state_of(lying) for path, lying in apart.items()}
        here = self.origin.at(run).memory
        is_remembered = here and all(made.memory == here for _, made in found.values())
        rows = plan_update(
            sorted(items, key=attrgetter("key")),
            [found[key][0] for key in sorted(found)],
            outputs=states,
            stale=None,
            digest_of=_digest_of,
            digest_of_output=lambda output: _digest_of(apart.get(output.path) or os.path.join(files, output.path)),
            distrust=() if is_remembered and not is_doubtful else ("outputs",),
        )
        entries = [_as_it_lies(entry, states) for entry in _without_shared_outputs(rows)]
        for path in (output.path for entry in entries if is_doubtful for output in entry.outputs):
            local.write_again(apart.get(path) or os.path.join(files, path))
        return Finished(entries, Counter(found[entry.key][1].fingerprint for entry in entries))

    def _candidates(self, run: str) -> Iterator[tuple[str, tuple[Entry, Origin]]]:
        try:
            entries = latest_entries(run)
        except ManifestError as error:
            logger.warning("%s Nothing of it is taken over.", error)
            return
        for key, (entry, made) in entries.items():
            if made is not None and self._is_same_task(made) and entry.status != "failed":
                yield key, (entry, made)

    def _is_same_task(self, made: Origin) -> bool:
        if self.resume == ANY_CODE:
            return made.beside_code == self.origin.beside_code
        return made.fingerprint == self.origin.fingerprint


def was_syncing(run: str) -> bool:
    """Whether a run has ended while it brought its outputs to the disk."""
    return any(name.startswith(SYNCING) for name in local.names_in(run))


def _length(run: str) -> int:
    return sum(system.lstat(journal).st_size for journal in journals_of(run))


def _digest_of(path: str) -> str:
    try:
        return local.digest_of(path)[0]
    except OSError:  # what cannot be read is made anew
        return ""


def _states_below(files: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for path in local.files_below(files):
        state = system.lstat(os.path.join(files, path))
        if stat.S_ISREG(state.st_mode):
            yield path, (state.st_size, state.st_mtime_ns)


def _state_of(path: str) -> tuple[int, int]:
    state = system.lstat(path)
    return state.st_size, state.st_mtime_ns


def _as_it_lies(entry: Entry, states: Mapping[str, tuple[int, int]]) -> Entry:
    """The entry with the times of change that its outputs have; a crash may have taken them back a little."""
    outputs = [msgspec.structs.replace(output, mtime_ns=states[output.path][1]) for output in entry.outputs]
    return entry if list(entry.outputs) == outputs else msgspec.structs.replace(entry, outputs=tuple(outputs))


def _without_shared_outputs(rows: Iterable[PlanRow]) -> Iterator[Entry]:
    """Entries that nothing speaks against; of two that name one output, the first."""
    seen: set[str] = set()
    for row in rows:
        entry = row.as_it_is_now() if row.reason in {Reason.UNCHANGED, Reason.TOUCHED} else None
        if entry is not None and seen.isdisjoint(paths := {output.path for output in entry.outputs}):
            seen |= paths
            yield entry


def tidy(run: str, finished: Iterable[Entry], *, mark: str) -> None:
    """Remove all of a run's directory but journals and the outputs of what is taken over, which are gathered.

    Such as the half-written output of a worker that was killed, or a manifest that was about to be published.

    Parameters
    ----------
    run
        Absolute path of the run's directory.
    finished
        What is taken over.
    mark
        Absolute path of this run's own mark, which stays.
    """
    finished, files = list(finished), os.path.join(run, FILES)
    take_over(files, finished)
    wanted = {output.path for entry in finished for output in entry.outputs}
    keep = {files, mark, *journals_of(run)}
    for name in local.names_in(run):
        path = os.path.join(run, name)
        if path not in keep:
            local.remove_tree(path)
    for path in list(local.files_below(files)):
        if path not in wanted:
            system.unlink(os.path.join(files, path))
    local.remove_empty_below(files)


def unpublished_run(directory: str) -> str | None:
    """Absolute path of the run that began last of those that have not published ``directory``, under way or ended."""
    staging = staging_of(directory)
    runs = [os.path.join(staging, name) for name in local.names_in(staging) if name.startswith(RUN)]
    numbers = generations_in(directory) if runs else []
    with contextlib.suppress(DamagedManifestError):
        published = read_record(directory, numbers[-1]).run_id if numbers else "none"
        runs = [run for run in runs if f"-{published}" not in run]
    return max(filter(is_interrupted, runs), key=local.newest_change, default=None)


def entries_in_staging(directory: str) -> list[Entry]:
    """Entries of the last run that did not publish ``directory``, in key order; none where there was no such run."""
    run = unpublished_run(directory)
    found = {} if run is None else latest_entries(run)
    return [found[key][0] for key in sorted(found)]
