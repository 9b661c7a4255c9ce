"""Totals: what a record says of its entries, as numbers and digests that can be brought up to date."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import get_args

from luisy_dir.entry import Entry, Pack, Verdict
from luisy_dir.fingerprint import ContentSum, StateSum
from luisy_dir.record import InputState, Record


class Totals:
    """Numbers and digests of a set of entries, gathered as they come in.

    Attributes
    ----------
    counts : collections.Counter
        Number of entries by status.
    seconds : float
        What all items together took.
    outputs : StateSum
        Of the files that were written.
    contents : ContentSum
        Of what is in them.
    sources : dict of str to StateSum
        Of the files that were read, by the name of their root.

    Examples
    --------
    >>> Totals().counts_by_status
    {'written': 0, 'skipped': 0, 'rejected': 0, 'failed': 0}
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.seconds = 0.0
        self.outputs = StateSum()
        self.contents = ContentSum()
        self.sources: defaultdict[str, StateSum] = defaultdict(StateSum)
        self._packs: set[str] = set()

    @classmethod
    def of(cls, record: Record) -> Totals:
        """What a record says."""
        totals = cls()
        totals.counts.update(record.counts)
        totals.seconds = record.seconds
        totals.outputs = StateSum(record.outputs_state)
        totals.contents = ContentSum(record.outputs_digest)
        for root, state in record.inputs.items():
            if state.kind == "raw":
                totals.sources[root] = StateSum(state.state, state.count, state.newest_mtime_ns)
        return totals

    def add(self, entry: Entry) -> None:
        """Take in one entry."""
        self.counts[entry.status] += 1
        self.seconds += entry.seconds
        for output in entry.outputs:
            if output.pack is None or self._is_first_of(output.pack):
                self.outputs.add(*output.state)
            self.contents.add(output.path, output.digest)
        for source in entry.sources:
            self.sources[source.root].add(source.path, source.size, source.mtime_ns)

    def _is_first_of(self, pack: Pack) -> bool:
        """Whether a pack was not counted yet; all entries of one are superseded together."""
        is_first = pack.path not in self._packs
        self._packs.add(pack.path)
        return is_first

    def superseded(self, old: Totals, new: Totals) -> Totals:
        """Without what ``old`` says, and with what ``new`` does."""
        result = Totals()
        result.counts = Counter(self.counts)
        result.counts.subtract(old.counts)
        result.counts.update(new.counts)
        result.seconds = max(0.0, self.seconds - old.seconds + new.seconds)
        result.outputs = self.outputs.superseded(old.outputs, new.outputs)
        result.contents = self.contents.superseded(old.contents, new.contents)
        for root in self.sources.keys() | new.sources.keys():
            result.sources[root] = self.sources[root].superseded(old.sources[root], new.sources[root])
        return result

    @property
    def counts_by_status(self) -> dict[str, int]:
        """Number of entries by status; those that a run gives an item are always there."""
        usual = {status: self.counts[status] for status in get_args(Verdict)}
        return usual | {status: count for status, count in self.counts.items() if count and status not in usual}

    def state_of(self, raw_root: str) -> InputState:
        """State of a raw folder, as far as it was read."""
        total = self.sources[raw_root]
        return InputState("raw", total.hexdigest(), total.count, total.newest_mtime_ns)
