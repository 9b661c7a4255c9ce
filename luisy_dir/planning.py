"""Planning: from what a task requires and what it has published to its plan, with as few looks as possible."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from luisy_dir.differences import Differences
from luisy_dir.entry import Entry, OutputFile
from luisy_dir.errors import ManifestError, TooManyDeletedError
from luisy_dir.fingerprint import state_sum
from luisy_dir.inputs import Inputs
from luisy_dir.item import Item
from luisy_dir.manifest import FileState, Manifest
from luisy_dir.packs import digest_of_output
from luisy_dir.plan import Keys, Plan, Reason, deletions, lost_files, plan_first_build, plan_update
from luisy_dir.policy import share_of
from luisy_dir.record import Record, generations_in, has_pending, read_record
from luisy_dir.storage import local
from luisy_dir.targets.directory import DirectoryTarget

_EXAMPLES = 3
_TO_TRY_AGAIN = {"failed", "output missing"}


@dataclass(frozen=True)
class Looks:
    """How closely a plan looks.

    Parameters
    ----------
    at_outputs
        Whether the outputs are looked at.
    distrust
        Of what digests are compared even where size and time of change are as recorded: ``sources``, ``outputs``.
    """

    at_outputs: bool = True
    distrust: frozenset[str] = frozenset()


def first_plan(inputs: Inputs, *, workers: int = 1) -> Plan:
    """Plan where nothing has been published yet."""
    start = datetime.now(UTC)
    return replace(plan_first_build(inputs.items()), workers=workers, start=start, note=inputs.note)


def next_plan(
    manifest: Manifest, inputs: Inputs, target: DirectoryTarget, *, stale: Reason | None, looks: Looks, workers: int = 1
) -> Plan:
    """Plan against a published generation.

    Sums over all files tell first whether there is anything to look at. Where one of them differs, the files that
    differ are found by comparing sets; only of the items that they belong to are entries read.

    Parameters
    ----------
    manifest
        Of the generation; verified.
    inputs
        What the task requires.
    target
        What it has published.
    stale
        Why every item is stale, or None.
    looks
        How closely to look.
    workers
        How many items would be processed at the same time.
    """
    start = datetime.now(UTC)
    is_pending = has_pending(manifest.directory)
    on_disk = list(target.files()) if looks.at_outputs and not is_pending else None
    if on_disk is not None and "outputs" not in looks.distrust and _are_as_written(on_disk, manifest):
        on_disk = None
    suspects = None
    if stale is None and not looks.distrust and not is_pending:
        suspects = _suspects(manifest, inputs, on_disk)
    if suspects is None:
        suspects = _Suspects(inputs.items(manifest), manifest.entries())
    rows = plan_update(
        suspects.items,
        suspects.entries,
        outputs=None if on_disk is None else {path: (size, mtime_ns) for path, size, mtime_ns in on_disk},
        stale=stale,
        digest_of=lambda path: local.digest_of(path)[0],
        digest_of_output=partial(_digest_in, manifest.directory),
        distrust=looks.distrust,
    )
    changes = [row for row in rows if row.reason != Reason.UNCHANGED]
    changed = {row.key for row in changes}
    total = sum(manifest.record.counts.values())
    unchanged = Keys(
        total - sum(row.entry is not None for row in changes),
        lambda: (key for key, _ in manifest.lines() if key not in changed),
    )
    return Plan(
        changes,
        unchanged,
        mean_seconds=manifest.record.seconds / max(total, 1),
        workers=workers,
        is_pending=is_pending,
        is_pinned=manifest.record.pinned,
        start=start,
        note=inputs.note,
    )


def vouched_for(target: DirectoryTarget, items: Iterable[Item], fingerprint: str) -> list[Entry]:
    """What need not be made anew although the manifest is damaged: what an intact earlier generation vouches for.

    Parameters
    ----------
    target
        A published directory whose last generation is damaged.
    items
        In key order, unique.
    fingerprint
        Of the task; only a generation that was made with the same one counts.

    Returns
    -------
    list of Entry
        Of the newest such generation, those whose sources are as recorded, and whose outputs were read and hold what
        was written then.
    """
    manifest = _newest_intact(target.path)
    if manifest is None or manifest.record.fingerprint != fingerprint:
        return []
    rows = plan_update(
        items,
        manifest.entries(),
        outputs={path: (size, mtime_ns) for path, size, mtime_ns in target.files()},
        stale=None,
        digest_of=lambda path: local.digest_of(path)[0],
        digest_of_output=partial(_digest_in, target.path),
        distrust=("outputs",),
    )
    entries = (row.as_it_is_now() for row in rows if row.reason in {Reason.UNCHANGED, Reason.TOUCHED})
    return [entry for entry in entries if entry is not None]


def _digest_in(directory: str, output: OutputFile) -> str:
    return digest_of_output(os.path.join(directory, output.file), output)[0]


def _newest_intact(directory: str) -> Manifest | None:
    for number in reversed(generations_in(directory)):
        with contextlib.suppress(ManifestError):
            manifest = Manifest(directory, read_record(directory, number))
            manifest.verify()
            return manifest
    return None


def check_deletions(plan: Plan, inputs: Inputs, manifest: Manifest, max_deleted: float) -> None:
    """Raise TooManyDeletedError where so many raw files are gone that it may be a mistake.

    What is gone from a published directory is not counted: its own task has been asked that question. Neither is what
    a selection no longer takes.
    """
    if inputs.is_selected:  # its first items are others as soon as files come before them
        return
    for gone, count, examples in _losses(plan, inputs, manifest.record):
        if gone > share_of(max_deleted, count):
            some = ", ".join(map(repr, examples))
            raise TooManyDeletedError(
                f"{gone} of the {count} files that {manifest.directory!r} was made from are gone from {inputs}, such "
                f"as {some}; max_deleted allows {max_deleted}. Nothing was removed. Is the disk mounted, and the path "
                "right? If this is meant, run again with --luisy-dir-max-deleted 1.0."
            )


def _losses(plan: Plan, inputs: Inputs, record: Record) -> Iterator[tuple[int, int, list[str]]]:
    """How many are gone, of how many, and some of them: items that were written; where there are groups, files."""
    raw = {root: state.count for root, state in record.inputs.items() if state.kind == "raw"}
    if not inputs.is_grouped and "group_by" not in record.parts:
        examples = plan.examples(Reason.DELETED) or plan.examples(Reason.CHANGED)
        yield deletions(plan, raw), record.counts["written"], examples
        return
    for root in filter(inputs.raw.__contains__, raw):
        lost = lost_files(plan, root, {path for path, _, _ in inputs.files_of(root)})
        yield len(lost), raw[root], lost[:_EXAMPLES]


@dataclass(frozen=True)
class _Suspects:
    """Items that cannot be taken for unchanged at first sight: as they are now, and what became of them before."""

    items: Iterable[Item]
    entries: Iterable[Entry]


def _suspects(manifest: Manifest, inputs: Inputs, on_disk: list[tuple[str, int, int]] | None) -> _Suspects | None:
    """None where every item must be looked at."""
    record = manifest.record
    changed = inputs.changed_roots(record.inputs, record.start_ns)
    if changed is None or (changed and (len(inputs.names) > 1 or record.counts["skipped"])):
        return None
    keys: set[str] = set()
    if _TO_TRY_AGAIN & {status for status, count in record.counts.items() if count}:
        keys.update(entry.key for entry in manifest.files("sources", FileState) if entry.status in _TO_TRY_AGAIN)
    if on_disk is not None:
        keys.update(_with_other_files(manifest, set(on_disk)))
    differences = inputs.differences(manifest) if changed else Differences()
    if differences is None:
        return None
    entries = manifest.entries_of(keys | differences.keys)
    return _Suspects(inputs.items_of(entries, differences), entries)


def _are_as_written(files: Iterable[tuple[str, int, int]], manifest: Manifest) -> bool:
    return state_sum(files).hexdigest() == manifest.record.outputs_state


def _with_other_files(manifest: Manifest, on_disk: Collection[tuple[str, int, int]]) -> list[str]:
    """Keys of the entries whose outputs are not all as they were written."""
    return [
        entry.key
        for entry in manifest.files("outputs", FileState)
        if any(output.state not in on_disk for output in entry.outputs)
    ]
