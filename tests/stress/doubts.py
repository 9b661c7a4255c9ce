"""Doubts: whether these tests would notice if luisy_dir were wrong."""

from __future__ import annotations

import dataclasses

import power
import rivals
import shortages
import sweeps
from tallies import Tally

# What is spoilt, the part that must notice it, what it must say then, and how many points of each sweep are enough.
CASES = (
    ("no_sync", power.cuts, "a run has reported success, and its result is lost", 4),
    ("believed_sync", shortages.failing, "the run says that all is well, and it is not", 2),
    ("written_in_place", sweeps.kills, "is neither old nor new", 60),
    ("no_journal", sweeps.kills, "items were processed twice", 10),
    ("file_by_file", sweeps.kills, "a part of a first build can be seen", 40),
    ("no_fence", rivals.sleepers, "all is well, though another run has taken over", 40),
)


def doubts(options):
    """Each way to spoil the package must be noticed by a part."""
    tally = Tally(options, "rounds")
    for name, part, words, points in CASES:
        spoilt = part(dataclasses.replace(options, points=points, spoil=name, keep=None))
        noticed = sum(words in said for said in spoilt.told)
        tally.outcomes[f"{name} noticed in {spoilt.count} points"] = noticed
        tally.add(name, [] if noticed else [f"{part.__name__}() does not say {words!r}, but {set(spoilt.told)}"])
    return tally
