"""A pipeline's plan: what a run would do with each input."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from luisy_dir.item import printable
from luisy_dir.path_item import text_of

_EXAMPLES = 3

Fate = Literal["process", "finished", "skip", "fail", "refuse"]
_TOLD: dict[Fate, str] = {
    "process": "to process",
    "finished": "finished before",
    "skip": "to skip",
    "fail": "to fail",
    "refuse": "refused",
}


class PlannedInput(NamedTuple):
    """What a run would do with one input.

    Parameters
    ----------
    inpath
        The input.
    outpath
        Where its output would go; None where nothing would be written, or nobody knows where.
    fate
        ``process``; ``finished`` before, as the journal says; ``skip``; ``fail``, for ``path_func`` or ``skip`` raises;
        ``refuse``, so that the run would do nothing at all.
    reason
        Why it would fail or be refused; empty otherwise.
    """

    inpath: Any
    outpath: Any
    fate: Fate
    reason: str = ""


@dataclass(frozen=True)
class PipelinePlan:
    """What a run of a pipeline would do; print it.

    Parameters
    ----------
    rows
        One for each input, in their order.

    Examples
    --------
    >>> print(PipelinePlan([PlannedInput("a", "x", "process"), PlannedInput("b", "y", "skip")]))
    2 inputs: 1 to process, 1 to skip
      to process: 'a'
      to skip: 'b'
    """

    rows: list[PlannedInput] = field(repr=False)

    @property
    def counts(self) -> dict[Fate, int]:
        """Number of inputs by their fate."""
        counts = Counter(row.fate for row in self.rows)
        return {fate: counts[fate] for fate in _TOLD if counts[fate]}

    def __str__(self) -> str:
        counts = self.counts
        told = ", ".join(f"{count} {_TOLD[fate]}" for fate, count in counts.items())
        lines = [f"{len(self.rows)} inputs: {told or 'nothing to do'}"]
        for fate, count in counts.items():
            rows = [row for row in self.rows if row.fate == fate][:_EXAMPLES]
            more = " …" if count > _EXAMPLES else ""
            lines.append(f"  {_TOLD[fate]}: {', '.join(repr(text_of(row.inpath)) for row in rows)}{more}")
            lines += [f"    {printable(row.reason)}" for row in rows if row.reason]
        if "refuse" in counts:
            lines.append("  A run would do nothing, because of what is refused.")
        return "\n".join(lines)
