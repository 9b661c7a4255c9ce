"""A plan: what a run would do, item by item, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from luisy_dir.item import RACY_NS, Item, Source
from luisy_dir.manifest import Entry

_EXAMPLES = 3


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
        The item as it is now; None where its source is gone.
    """

    key: str
    reason: Reason
    item: Item | None


@dataclass(frozen=True)
class Plan:
    """What a run would do, item by item, and why; it runs nothing.

    Parameters
    ----------
    rows
        One for every key, in key order.

    Examples
    --------
    >>> print(Plan([PlanRow("a", Reason.NEW, None), PlanRow("b", Reason.NEW, None)]))
    2 items: 2 new
      new: 'a', 'b'
    """

    rows: list[PlanRow] = field(repr=False)

    @property
    def counts(self) -> dict[str, int]:
        """Number of items by reason, the most frequent first."""
        return {reason.value: count for reason, count in Counter(row.reason for row in self.rows).most_common()}

    @property
    def is_complete(self) -> bool:
        """Whether the published directory equals its inputs, code and parameters."""
        return all(row.reason in _HARMLESS for row in self.rows)

    @property
    def todo(self) -> Iterator[Item]:
        """The items that would be processed, in key order."""
        return (row.item for row in self.rows if row.item is not None and row.reason not in _AT_REST)

    def examples(self, reason: str) -> list[str]:
        """Keys of the first items with that reason."""
        return [row.key for row in self.rows if row.reason == reason][:_EXAMPLES]

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {reason}" for reason, count in self.counts.items())
        lines = [f"{len(self.rows)} items: {counts or 'nothing to do'}"]
        for reason, count in self.counts.items():
            if reason != Reason.UNCHANGED:
                more = " …" if count > _EXAMPLES else ""
                lines.append(f"  {reason}: {', '.join(map(repr, self.examples(reason)))}{more}")
        return "\n".join(lines)


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
    output_path: Callable[[str], str],
    distrust: Collection[str] = (),
) -> Plan:
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
    output_path
        Absolute path for the relative path of an output.
    distrust
        Compare digests even where size and mtime are as recorded: of ``sources``, of ``outputs``.
    """

    def reason(item: Item, entry: Entry) -> Reason:
        if stale is not None:
            return stale
        of_sources = _compare_sources(item, entry, digest_of, is_distrusted="sources" in distrust)
        if of_sources == Reason.CHANGED:
            return of_sources
        if entry.status == "failed":
            return Reason.FAILED_BEFORE
        if outputs is None:
            return of_sources
        of_outputs = _compare_outputs(
            entry, outputs, lambda path: digest_of(output_path(path)), is_distrusted="outputs" in distrust
        )
        return of_outputs or of_sources

    rows = []
    for item, entry in _merged(items, entries):
        if entry is None:
            assert item is not None  # noqa: S101 - one of the two is there
            rows.append(PlanRow(item.key, Reason.NEW, item))
        elif item is None:
            rows.append(PlanRow(entry.key, Reason.DELETED, None))
        else:
            rows.append(PlanRow(item.key, reason(item, entry), item))
    return Plan(rows)


def _merged(items: Iterable[Item], entries: Iterable[Entry]) -> Iterator[tuple[Item | None, Entry | None]]:
    left, right = iter(items), iter(entries)
    item, entry = next(left, None), next(right, None)
    while item is not None or entry is not None:
        if entry is None or (item is not None and item.key < entry.key):
            yield item, None
            item = next(left, None)
        elif item is None or entry.key < item.key:
            yield None, entry
            entry = next(right, None)
        else:
            yield item, entry
            item, entry = next(left, None), next(right, None)


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
    entry: Entry, outputs: Mapping[str, tuple[int, int]], digest_of: Callable[[str], str], *, is_distrusted: bool
) -> Reason | None:
    for output in entry.outputs:
        there = outputs.get(output.path)
        if there is None:
            return Reason.OUTPUT_MISSING
        if there[0] != output.size:
            return Reason.OUTPUT_CHANGED
        if (is_distrusted or there[1] != output.mtime_ns) and digest_of(output.path) != output.digest:
            return Reason.OUTPUT_CHANGED
    return None
