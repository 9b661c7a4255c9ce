"""A plan: what a run would do, item by item, and why."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple

import msgspec

from luisy_dir.entry import Entry, OutputFile
from luisy_dir.item import RACY_NS, Item, Source, printable
from luisy_dir.keys import side_by_side

_EXAMPLES = 3
_SHORTEST_WORTH_TELLING = timedelta(seconds=1)


class Reason(StrEnum):
    """Why an item would be processed, or left alone."""

    NEW = "new"
    CHANGED = "changed"
    TOUCHED = "touched"
    DELETED = "deleted"
    CODE = "code"
    PARAMS = "params"
    FAILED_BEFORE = "failed before"
    OUTPUT_MISSING = "output missing"
    OUTPUT_CHANGED = "output changed"
    UNCHANGED = "unchanged"


# These leave a published directory as good as it was.
_HARMLESS = {Reason.TOUCHED, Reason.FAILED_BEFORE, Reason.UNCHANGED}
# These ask for nothing to be processed.
_AT_REST = {Reason.TOUCHED, Reason.DELETED, Reason.UNCHANGED}


class PlanRow(NamedTuple):
    """What would become of one item.

    Parameters
    ----------
    key
        The item's key.
    reason
        Why it would be processed, or left alone.
    item
        The item as it is now; None where its source is gone, or where nothing is to be done about it.
    entry
        What became of it before; None where it is new, or where nothing is to be done about it.
    """

    key: str
    reason: Reason
    item: Item | None = None
    entry: Entry | None = None

    def as_it_is_now(self) -> Entry | None:
        """The entry with its sources as they are now, of which it is known that their content is the same."""
        if self.item is None or self.entry is None:
            return None
        pairs = zip(self.item.sources, self.entry.sources, strict=True)
        sources = [msgspec.structs.replace(now, digest=then.digest) for now, then in pairs]
        return msgspec.structs.replace(self.entry, sources=tuple(sources))


class Keys:
    """Keys that are looked up only where somebody wants to see them.

    Parameters
    ----------
    count
        Their number.
    load
        Finds them, in any order.
    """

    def __init__(self, count: int = 0, load: Callable[[], Iterable[str]] = tuple) -> None:
        self._count = count
        self._load = load

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: object) -> bool:
        return key in set(self._load())

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._load()))


_SUBJECTS = {"code": "{}", "packages": "{}", "parameters": "the parameter {}", "targets": "what {} has made"}


@dataclass(frozen=True)
class Change:
    r"""One thing beside the inputs that is not as it was when the items were made.

    Parameters
    ----------
    kind
        ``code``, or another part of the fingerprint: ``version``, ``packages``, ``parameters``, ``seed``, ``targets`` …
    name
        Which of that kind: a function, a constant, a package; empty where there is but one.
    how
        ``changed``, ``added``, ``removed``, or what it was and is.
    diff
        Lines of source that differ, each with its sign, as in a patch; empty where they are not known.

    Examples
    --------
    >>> print(Change("code", "pipeline.scale", "changed", "-    return 2 * x\n+    return 3 * x"))
    pipeline.scale was changed:
      -    return 2 * x
      +    return 3 * x
    """

    kind: str
    name: str
    how: str
    diff: str = ""

    def __str__(self) -> str:
        told = printable(f"{_SUBJECTS.get(self.kind, self.kind).format(self.name)} was {self.how}")
        return "\n  ".join([f"{told}:", *map(printable, self.diff.split("\n"))]) if self.diff else told


@dataclass(frozen=True)
class Plan:
    """What a run would do, item by item, and why; it runs nothing.

    Parameters
    ----------
    changes
        One row for every key that is not unchanged, in key order.
    unchanged
        The keys that are.
    mean_seconds
        What an item took on average, as far as it was recorded; None where nothing was.
    workers
        How many items would be processed at the same time.
    is_pending
        A run that ended without a word has published a generation, and its files are not all in their places yet.
    is_pinned
        Somebody has gone back to this generation: a run leaves it alone until it is released.
    start
        When the inputs were looked at, in UTC.
    finished
        Keys of the items to be processed that an interrupted run has finished, or one that is under way: they are taken
        over, and not processed again.
    because
        What has changed since the items were made, where that makes all of them stale, or would.
    keeps_earlier_code
        It would, but ``on_code_change`` says that items which were made by earlier code are kept.
    note
        What is to be known beside: that only some items are taken, and that the result is not the complete one.

    Examples
    --------
    >>> print(Plan([PlanRow("a", Reason.NEW), PlanRow("b", Reason.NEW)]))
    2 items: 2 new
      new: 'a', 'b'
    """

    changes: list[PlanRow] = field(repr=False)
    unchanged: Collection[str] = field(default=(), repr=False)
    mean_seconds: float | None = None
    workers: int = 1
    is_pending: bool = False
    is_pinned: bool = False
    start: datetime = field(default_factory=lambda: datetime.now(UTC), repr=False)
    finished: frozenset[str] = field(default=frozenset(), repr=False)
    because: tuple[Change, ...] = field(default=(), repr=False)
    keeps_earlier_code: bool = False
    note: str = ""

    @property
    def rows(self) -> list[PlanRow]:
        """One for every key, in key order."""
        unchanged = (PlanRow(key, Reason.UNCHANGED) for key in self.unchanged)
        return list(heapq.merge(self.changes, unchanged, key=attrgetter("key")))

    @property
    def counts(self) -> dict[str, int]:
        """Number of items by reason, the most frequent first."""
        counts = Counter(row.reason for row in self.changes)
        counts[Reason.UNCHANGED] += len(self.unchanged)
        return {reason.value: count for reason, count in counts.most_common() if count}

    @property
    def is_complete(self) -> bool:
        """Whether the published directory equals its inputs, code and parameters."""
        return not self.is_pending and (self.is_pinned or all(row.reason in _HARMLESS for row in self.changes))

    @property
    def is_at_rest(self) -> bool:
        """Whether a run would find nothing to do: no item to process, and no output to remove."""
        return not self.is_pending and all(row.reason in {Reason.TOUCHED, Reason.UNCHANGED} for row in self.changes)

    @property
    def todo(self) -> Iterator[Item]:
        """The items that would be processed, in key order."""
        return (row.item for row in self._to_do() if row.item is not None)

    def _to_do(self) -> Iterator[PlanRow]:
        return (row for row in self.changes if row.item is not None and row.reason not in _AT_REST)

    def expected_paths(self, suffix: str) -> list[str]:
        """Relative paths that the outputs of the items to be processed are expected to have: as before, else by key."""
        return [
            path
            for row in self._to_do()
            for path in ([row.key + suffix] if row.entry is None else [output.path for output in row.entry.outputs])
        ]

    def to_process(self) -> Iterator[tuple[Item, Entry | None]]:
        """The items that would be processed, and what became of each before, in key order."""
        return ((row.item, row.entry) for row in self._to_do() if row.item is not None)

    def superseded(self) -> list[Entry]:
        """Entries that no longer count after a run: of items that are processed, gone or only touched."""
        return [row.entry for row in self.changes if row.entry is not None and row.reason != Reason.UNCHANGED]

    def touched(self) -> Iterator[Entry]:
        """Entries of the items that were only touched, with their sources as they are now."""
        for row in self.changes:
            if row.reason == Reason.TOUCHED and (entry := row.as_it_is_now()) is not None:
                yield entry

    @property
    def item_count(self) -> int:
        """Number of items that there are now, processed or not."""
        return len(self.unchanged) + sum(row.reason != Reason.DELETED for row in self.changes)

    @property
    def estimated_seconds(self) -> float | None:
        """How long processing would take, from what was recorded; None where nothing was.

        An item that was processed before counts as it took then, a new one as much as one takes on average.
        """
        if self.mean_seconds is None:
            return None
        left = (row for row in self._to_do() if row.key not in self.finished)
        seconds = sum(row.entry.seconds if row.entry is not None else self.mean_seconds for row in left)
        return seconds / self.workers

    def examples(self, reason: str) -> list[str]:
        """Keys of the first items with that reason."""
        if reason == Reason.UNCHANGED:
            return [row.key for row in self.rows if row.reason == reason][:_EXAMPLES]
        return [row.key for row in self.changes if row.reason == reason][:_EXAMPLES]

    def __str__(self) -> str:
        counts = self.counts
        told = ", ".join(f"{count} {reason}" for reason, count in counts.items())
        lines = [f"{sum(counts.values())} items: {told or 'nothing to do'}{self._told_time()}"]
        for reason, count in counts.items():
            if reason != Reason.UNCHANGED:
                more = " …" if count > _EXAMPLES else ""
                lines.append(f"  {reason}: {', '.join(map(repr, self.examples(reason)))}{more}")
        lines += self._told_changes()
        if self.finished:
            lines.append(
                f"  {len(self.finished)} of them were finished by a run that was interrupted, or is under way, and are "
                "not processed again."
            )
        if self.is_pinned:
            lines.append("  This generation is pinned: a run leaves it alone until it is released.")
        if self.is_pending:
            lines.append("  A run was ended while it published: the next one finishes that first.")
        if self.note:
            lines.append(f"  {self.note}")
        return "\n".join(lines)

    def _told_changes(self) -> Iterator[str]:
        if self.keeps_earlier_code:
            yield "  Items that were made by earlier code are kept, as on_code_change says, although"
        for change in self.because[:_EXAMPLES]:
            first, *others = str(change).split("\n")
            yield f"  {'   ' if self.keeps_earlier_code else 'because '}{first}"
            yield from (f"    {line}" for line in others)
        if len(self.because) > _EXAMPLES:
            yield f"  and {len(self.because) - _EXAMPLES} other changes"

    def _told_time(self) -> str:
        time = timedelta(seconds=round(self.estimated_seconds or 0))
        if time < _SHORTEST_WORTH_TELLING:
            return ""
        return f"; about {time} with {self.workers} workers" if self.workers > 1 else f"; about {time}"


def plan_first_build(items: Iterable[Item]) -> Plan:
    """Plan where nothing has been published yet: every item is new."""
    return Plan([PlanRow(item.key, Reason.NEW, item) for item in items])


def plan_update(
    items: Iterable[Item],
    entries: Iterable[Entry],
    *,
    outputs: Mapping[str, tuple[int, int]] | None,
    stale: Reason | None,
    digest_of: Callable[[str], str],
    digest_of_output: Callable[[OutputFile], str],
    distrust: Collection[str] = (),
) -> list[PlanRow]:
    """Compare the items of now with the entries of a published generation.

    Parameters
    ----------
    items
        In key order, unique.
    entries
        In key order, unique.
    outputs
        Size in bytes and mtime in nanoseconds by relative path of the files that lie in the directory; None trusts
        the entries.
    stale
        Why every item is stale (``code``, ``params``), or None.
    digest_of
        Digest of the file at an absolute path; asked only where size and mtime leave a doubt.
    digest_of_output
        Digest of an output as it lies in the directory; asked likewise.
    distrust
        Compare digests even where size and mtime are as recorded: of ``sources``, of ``outputs``.

    Returns
    -------
    list of PlanRow
        One for every key, in key order.
    """

    def reason(item: Item, entry: Entry) -> Reason:
        if stale is not None:
            return stale
        of_sources = _compare_sources(item, entry, digest_of, is_distrusted="sources" in distrust)
        if of_sources == Reason.CHANGED:
            return of_sources
        if entry.status == "output missing":
            return Reason.OUTPUT_MISSING
        if entry.status == "failed":
            return Reason.FAILED_BEFORE
        if outputs is None:
            return of_sources
        of_outputs = _compare_outputs(entry, outputs, digest_of_output, is_distrusted="outputs" in distrust)
        return of_outputs or of_sources

    rows = []
    for item, entry in side_by_side(items, entries):
        if entry is None:
            assert item is not None  # noqa: S101 - one of the two is there
            rows.append(PlanRow(item.key, Reason.NEW, item))
        elif item is None:
            rows.append(PlanRow(entry.key, Reason.DELETED, None, entry))
        else:
            rows.append(PlanRow(item.key, reason(item, entry), item, entry))
    return rows


def deletions(plan: Plan, roots: Collection[str]) -> int:
    """How many items that were written have lost a file of some of the folders that they were read from.

    Parameters
    ----------
    plan
        What a run would do.
    roots
        Names of the folders.
    """
    return sum(
        row.entry is not None and row.entry.status == "written" and not _lost(row).isdisjoint(roots)
        for row in plan.changes
    )


def lost_files(plan: Plan, root: str, there: Collection[str]) -> list[str]:
    """Paths of the files of a folder that items were read from before, and that are gone, in order.

    Parameters
    ----------
    plan
        What a run would do.
    root
        Name of the folder.
    there
        Paths of the files that are in the folder.
    """
    entries = [row.entry for row in plan.changes if row.entry is not None]
    read = {source.path for entry in entries for source in entry.sources if source.root == root}
    return sorted(read.difference(there))


def _lost(row: PlanRow) -> set[str]:
    """Names of the folders that an item has no file of any more; a folder with another name by now is not lost."""
    sources = row.entry.sources if row.entry is not None else ()
    there = row.item.sources if row.item is not None else ()
    if len(there) == len(sources) or (row.item is None and row.reason != Reason.DELETED):
        return set()
    return {source.root for source in sources} - {source.root for source in there}


def _compare_sources(item: Item, entry: Entry, digest_of: Callable[[str], str], *, is_distrusted: bool) -> Reason:
    if list(map(_name_of, item.sources)) != list(map(_name_of, entry.sources)):
        return Reason.CHANGED
    reason = Reason.UNCHANGED
    for now, then in zip(item.sources, entry.sources, strict=True):
        is_same_state = (now.size, now.mtime_ns) == (then.size, then.mtime_ns)
        is_unread = is_distrusted and then.digest is not None
        if is_same_state and now.digest is None and not is_unread and not _is_racy(then, entry):
            continue
        if then.digest is None or now.size != then.size or _digest_now(item, now, digest_of) != then.digest:
            return Reason.CHANGED
        if not is_same_state:
            reason = Reason.TOUCHED
    return reason


def _name_of(source: Source) -> tuple[str, str, bool]:
    return source.root, source.path, source.encoded


def _digest_now(item: Item, source: Source, digest_of: Callable[[str], str]) -> str | None:
    """Digest as it is known, else by a look; None where the file cannot be read, which the run will tell."""
    if source.digest is not None:
        return source.digest
    try:
        return digest_of(item.path_of(source))
    except OSError:
        return None


def _is_racy(then: Source, entry: Entry) -> bool:
    """Whether the file may have changed again within the tick of the clock in which it was read."""
    return then.digest is not None and then.mtime_ns > int(entry.started.timestamp() * 1e9) - RACY_NS


def _compare_outputs(
    entry: Entry, outputs: Mapping[str, tuple[int, int]], digest_of: Callable[[OutputFile], str], *, is_distrusted: bool
) -> Reason | None:
    for output in entry.outputs:
        file, size, mtime_ns = output.state
        there = outputs.get(file)
        if there is None:
            return Reason.OUTPUT_MISSING
        if there[0] != size:
            return Reason.OUTPUT_CHANGED
        if (is_distrusted or there[1] != mtime_ns) and digest_of(output) != output.digest:
            return Reason.OUTPUT_CHANGED
    return None
