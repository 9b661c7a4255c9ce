"""What a part of the stress tests counts: faults, and what was wrong after them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

_MOST_KEPT = 10
_MOST_SHOWN = 20


class Skip(Exception):
    """A part cannot run on this machine, and why."""


@dataclass
class Options:
    """What was asked for.

    Parameters
    ----------
    scratch
        A folder for all that is written.
    points
        The most faults of one sweep, sampled evenly; None for what each sweep thinks right.
    is_full
        Every fault, however long it takes.
    keep
        Where worlds are kept in which something was wrong; None to keep none.
    seed
        From which all that is random is made.
    spoil
        What is spoilt in the package, to see that it is noticed; see :mod:`spoilers`.
    """

    scratch: str
    points: int | None = None
    is_full: bool = False
    keep: str | None = None
    seed: int = 0
    spoil: str | None = None

    def sampled(self, points, usual=None):
        """As many of the points as were asked for, evenly, the first and the last among them."""
        points = list(points)
        most = self.points or (None if self.is_full else usual)
        if most is None or len(points) <= most:
            return points
        if most == 1:
            return points[:1]
        return [points[round(place * (len(points) - 1) / (most - 1))] for place in range(most)]

    def rounds(self, usual):
        """How many rounds of something random to play."""
        return self.points or (3 * usual if self.is_full else usual)

    def folder(self, name):
        """A new empty folder."""
        path = os.path.join(self.scratch, name)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        return path


@dataclass
class Tally:
    """What one part has counted.

    Parameters
    ----------
    options
        What was asked for.
    unit
        ``fault points`` or ``rounds``.
    """

    options: Options
    unit: str
    count: int = 0
    wrong: int = 0
    outcomes: Counter = field(default_factory=Counter)
    told: list = field(default_factory=list)
    begin: float = field(default_factory=time.monotonic)
    _kept: int = 0

    @property
    def seconds(self):
        """Since the part began."""
        return time.monotonic() - self.begin

    def add(self, where, problems, world=None):
        """Count one fault or round, and tell what was wrong after it."""
        self.count += 1
        if problems:
            self.tell(where, problems, world)

    def tell(self, where, problems, world=None):
        """Count a violation, and print it."""
        self.wrong += 1
        self.told += problems
        if self.wrong <= _MOST_SHOWN and self.options.spoil is None:
            kept = self._keep(world)
            print(f"  VIOLATION at {where}: {'; '.join(problems)}{kept}", file=sys.stderr, flush=True)

    def _keep(self, world):
        if world is None or self.options.keep is None or self._kept >= _MOST_KEPT:
            return ""
        self._kept += 1
        place = os.path.join(self.options.keep, f"world-{os.getpid()}-{int(time.time())}-{self._kept}")
        with contextlib.suppress(OSError):
            shutil.copytree(world.root, place, symlinks=True)
        return f" (kept as {place})"
