"""A making: in which generation an entry was made, and why."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from luisy_dir.entry import Entry
from luisy_dir.errors import BusyError, ManifestError
from luisy_dir.item import Source
from luisy_dir.manifest import Manifest
from luisy_dir.plan import Reason
from luisy_dir.record import Record, generations_in, read_record
from luisy_dir.staleness import EARLIER_CODE, Ingredients


@dataclass(frozen=True)
class Making:
    """In which generation an entry was made, and why, as far as the generations tell that are kept.

    Parameters
    ----------
    generation
        The oldest one that is kept in which the entry stands.
    reason
        As in a plan: ``new``, ``changed`` (a source), ``code``, ``params``, ``failed before``, ``output missing``;
        ``output missing or changed``; ``manifest damaged``. None where the generation before is not kept, so that the
        entry may be older, too.
    because
        What exactly: the sources that had changed, or what else.
    is_of_mixed_code
        That generation also has entries that other code has made, and nothing tells which.

    Examples
    --------
    >>> print(Making(2, "changed", ("Images: cat.png",)))
    in generation 2, because a source had changed (Images: cat.png)
    >>> print(Making(3))
    in generation 3, or in an earlier one that is not kept, so that nothing tells why
    """

    generation: int
    reason: str | None = None
    because: tuple[str, ...] = ()
    is_of_mixed_code: bool = False

    def __str__(self) -> str:
        if self.reason is None:
            return f"in generation {self.generation}, or in an earlier one that is not kept, so that nothing tells why"
        what = f" ({', '.join(self.because)})" if self.because else ""
        return f"in generation {self.generation}, because {_IN_WORDS[self.reason]}{what}"

    def as_dict(self) -> dict[str, Any]:
        """All facts as plain values, for JSON."""
        return vars(self) | {"because": list(self.because)}


_IN_EITHER_WAY = "output missing or changed"
_AFTER_DAMAGE = "manifest damaged"
_IN_WORDS = {
    Reason.NEW: "the item was new",
    Reason.CHANGED: "a source had changed",
    Reason.CODE: "the code had changed",
    Reason.PARAMS: "parameters had changed",
    Reason.FAILED_BEFORE: "it had failed before",
    Reason.OUTPUT_MISSING: "an output was missing or damaged",
    _IN_EITHER_WAY: "an output was missing, or not as it had been written",
    _AFTER_DAMAGE: "the manifest was damaged, so that all was made anew",
}


def making_of(manifest: Manifest, entry: Entry) -> tuple[Making, Record]:
    """In which of the generations that are kept an entry was made, and why; and the record of that generation.

    Parameters
    ----------
    manifest
        In which the entry stands.
    entry
        One of its entries.
    """
    kept = dict(_earlier(manifest, entry.key))
    made, new = manifest.record, entry
    for record, old in kept.values():
        if old is not None and _is_same_work(old, entry):
            made, new = record, old
    reason: str | None = None
    because: tuple[str, ...] = ()
    if made.pinned:
        pass  # it stands there because somebody has gone back to it
    elif made.parent is None:
        reason = Reason.NEW.value if made.generation == 1 else _AFTER_DAMAGE
    elif made.parent in kept:
        reason, because = _why(*kept[made.parent], made, new)
    is_mixed = _has_resumed_other_code(made) or (reason is None and EARLIER_CODE in made.parts)
    return Making(made.generation, reason, because, is_mixed), made


def _has_resumed_other_code(record: Record) -> bool:
    fingerprints = () if isinstance(record.resumed, msgspec.UnsetType) else record.resumed
    return any(fingerprint != record.fingerprint for fingerprint in fingerprints)


def _earlier(manifest: Manifest, key: str) -> Iterator[tuple[int, tuple[Record, Entry | None]]]:
    """Record and entry of a key in each generation that is kept, the newest first; what cannot be read is left out."""
    for number in reversed(generations_in(manifest.directory)):
        if number < manifest.record.generation:
            try:
                earlier = Manifest(manifest.directory, read_record(manifest.directory, number))
                yield number, (earlier.record, next(iter(earlier.entries_of([key])), None))
            except (ManifestError, BusyError):
                continue


def _is_same_work(one: Entry, other: Entry) -> bool:
    """Whether two entries are of one moment: else they may differ, as where a file was touched or brought back."""
    return (one.started, one.worker, one.seconds) == (other.started, other.worker, other.seconds)


def _why(before: Record, old: Entry | None, now: Record, new: Entry) -> tuple[str, tuple[str, ...]]:
    """Why an item was processed, in the order in which a plan asks."""
    if old is None:
        return Reason.NEW.value, ()
    stale = _ingredients_of(now).reason_for(before)
    if stale is not None and EARLIER_CODE not in now.parts:  # else what earlier code had made was kept
        return stale.value, tuple(_changes(before, now))
    sources = tuple(_changed(old, new))
    if sources:
        return Reason.CHANGED.value, sources
    if old.status == "output missing":
        return Reason.OUTPUT_MISSING.value, (() if old.error is None else (old.error.message,))
    return (Reason.FAILED_BEFORE.value if old.status == "failed" else _IN_EITHER_WAY), ()


def _changes(before: Record, now: Record) -> Iterator[str]:
    """What had changed between two generations beside the inputs."""
    with contextlib.suppress(AttributeError, TypeError, ValueError):  # parts that no version of luisy_dir has written
        yield from (str(replace(change, diff="")) for change in _ingredients_of(now).changes_since(before))


def _ingredients_of(record: Record) -> Ingredients:
    return Ingredients(record.parts, {} if isinstance(record.code, msgspec.UnsetType) else record.code)


def _changed(old: Entry, new: Entry) -> Iterator[str]:
    """The sources in which two entries differ."""
    before, now = _by_name(old), _by_name(new)
    for name in before | now:  # in the order of the directories
        one, other = before.get(name), now.get(name)
        if one is None or other is None:
            yield f"{name} is {'new' if one is None else 'gone'}"
        elif not _is_same_content(one, other):
            yield name


def _by_name(entry: Entry) -> dict[str, Source]:
    return {f"{source.root}: {source.path}": source for source in entry.sources}


def _is_same_content(one: Source, other: Source) -> bool:
    if one.digest is None or other.digest is None:  # it was not read, as where the reader skips a file
        return (one.size, one.mtime_ns) == (other.size, other.mtime_ns)
    return one.digest == other.digest
