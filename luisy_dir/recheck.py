"""A recheck: what became of a sample of published items when they were computed again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import xxhash

from luisy_dir.entry import Entry
from luisy_dir.errors import SettingError
from luisy_dir.selection import share_of_items
from luisy_dir.verification import few

Finding = Literal["not deterministic", "drifted", "failed", "rejected", "skipped", "inputs changed"]
FINDINGS: tuple[Finding, ...] = ("not deterministic", "drifted", "failed", "rejected", "skipped", "inputs changed")
_HASHES = 1 << 64
_LONGEST_VALUE = 60


@dataclass(frozen=True)
class RecheckRow:
    """An item that was not found equal.

    Parameters
    ----------
    key
        The item's key.
    finding
        ``not deterministic`` where two recomputations differ from each other; ``drifted`` where both differ from what
        is recorded in the same way; ``failed``, ``rejected`` or ``skipped`` where it is no longer written; ``inputs
        changed`` where it was not computed again, because its files are not as they were read then.
    reason
        What differs, or why.
    published
        Absolute paths of the outputs that differ.
    recomputed
        Absolute paths of what was computed instead; they lie there until the next recheck of the task.
    """

    key: str
    finding: Finding
    reason: str
    published: tuple[str, ...] = ()
    recomputed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recheck:
    """What became of a sample of published items when they were computed again.

    Parameters
    ----------
    directory
        Absolute path of the published directory.
    generation
        Number of the generation.
    sample
        Share of its written items that was asked for.
    written
        Number of items that it has written.
    equal
        Number of items whose outputs and meta were the same again.
    rows
        The others, in key order.
    changes
        What beside the inputs is not as it was when the items were made, such as code: differences may come from that.

    Examples
    --------
    >>> rows = (RecheckRow("cats/1", "drifted", "other bytes: 'cats/1.npy'"),)
    >>> print(Recheck("/data/final/red", 3, 0.01, 200, equal=1, rows=rows, changes=("pipeline.red was changed",)))
    2 of the 200 items that generation 3 has written were rechecked: 1 equal, 1 drifted
      drifted: 'cats/1'
      Differences may come from that: pipeline.red was changed.
    """

    directory: str
    generation: int
    sample: float
    written: int
    equal: int
    rows: tuple[RecheckRow, ...] = ()
    changes: tuple[str, ...] = ()

    @property
    def sampled(self) -> int:
        """Number of items in the sample."""
        return self.equal + len(self.rows)

    @property
    def counts(self) -> dict[str, int]:
        """Number of items by what was found, ``equal`` first."""
        found = Counter[str](row.finding for row in self.rows)
        named = {"equal": self.equal} | {finding: found[finding] for finding in FINDINGS}
        return {finding: count for finding, count in named.items() if count}

    @property
    def is_reproduced(self) -> bool:
        """Whether nothing differs; false also where nothing of the sample could be compared."""
        left_out = self.counts.get("inputs changed", 0)
        return self.equal == self.sampled - left_out and (self.equal > 0 or not self.sampled)

    @property
    def summary(self) -> str:
        """Numbers of items, on one line."""
        if not self.sampled:
            return f"Generation {self.generation} has written no item that could be rechecked."
        told = ", ".join(f"{count:,} {finding}" for finding, count in self.counts.items())
        whole = f"the {self.written:,} items that generation {self.generation} has written"
        return f"{self.sampled:,} of {whole} were rechecked: {told}"

    @property
    def notes(self) -> list[str]:
        """What to know of the answer, one sentence a line."""
        notes = []
        if self.changes:
            notes.append(f"Differences may come from that: {'; '.join(self.changes)}.")
        if self.sampled and self.counts.get("inputs changed") == self.sampled:
            notes.append("Nothing could be compared: choose a larger sample, or bring the directory up to date first.")
        return notes

    def __str__(self) -> str:
        found = {finding: tuple(row.key for row in self.rows if row.finding == finding) for finding in FINDINGS}
        lines = [f"  {finding}: {few(keys)}" for finding, keys in found.items() if keys]
        return "\n".join([self.summary, *lines, *(f"  {note}" for note in self.notes)])


def fraction_of(sample: str | float) -> float:
    """The share of items that a sample is, from 0 to 1.

    Parameters
    ----------
    sample
        ``"1%"``, ``"0.01"`` or 0.01; ``"100%"`` or 1.0 for all.

    Raises
    ------
    SettingError
        This is no share, or leaves open whether it is one in a hundred or all, as the whole number 1 does.

    Examples
    --------
    >>> fraction_of("2.5%")
    0.025
    """
    try:
        return share_of_items(str(sample).strip())
    except ValueError as error:
        raise SettingError(
            f"{sample!r} is no sample. Give a share of the items: '1%' or 0.01, or '100%' for all."
        ) from error


def sampled(keys: Iterable[str], fraction: float) -> set[str]:
    """A sample of keys that is the same in every process, and that every larger sample contains.

    Parameters
    ----------
    keys
        In any order, unique.
    fraction
        From 0 to 1: a key belongs to the sample where xxh3-64 of it, divided by 2**64, is less than this. Where none
        does, the one with the smallest hash.

    Examples
    --------
    >>> sorted(sampled(["a", "b", "c"], 0.9)), sorted(sampled(["a", "b", "c"], 0.001))
    (['b', 'c'], ['b'])
    """
    limit = fraction * _HASHES
    chosen, smallest = set(), (_HASHES, "")
    for key in keys:
        place = xxhash.xxh3_64_intdigest(key.encode())
        smallest = min(smallest, (place, key))
        if place < limit:
            chosen.add(key)
    return chosen or {smallest[1]} - {""}


def files_of(entry: Entry) -> set[tuple[str, str]]:
    """Path and digest of each output."""
    return {(output.path, output.digest) for output in entry.outputs}


def result_of(entry: Entry) -> tuple[Any, ...]:
    """What must be the same again; of a message that is not asked, because it may name a place in memory."""
    if entry.status == "written":
        return entry.status, files_of(entry), entry.meta
    return entry.status, entry.error and entry.error.type


def difference(one: Entry, other: Entry) -> str:
    """How two entries of an item differ, on one line."""
    if other.status != "written" and one.status == "written":
        return _told(other)
    if one.status != "written":
        return f"one is {_told(one)}, and the other {_told(other)}"
    digests, others = dict(files_of(one)), dict(files_of(other))
    found = {
        "other bytes": [path for path in digests.keys() & others.keys() if digests[path] != others[path]],
        "missing": digests.keys() - others.keys(),
        "additional": others.keys() - digests.keys(),
    }
    told = [f"{what}: {few(tuple(sorted(paths)))}" for what, paths in found.items() if paths]
    for name in sorted(one.meta.keys() | other.meta.keys()):
        before, now = one.meta.get(name), other.meta.get(name)
        if before != now:
            told.append(f"meta {name!r}: {_short(before)} and {_short(now)}")
    return "; ".join(told)


def _told(entry: Entry) -> str:
    return entry.status + (f" ({entry.error.type}: {entry.error.message})" if entry.error else "")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
