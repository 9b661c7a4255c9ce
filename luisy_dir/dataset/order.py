"""The order of an epoch, and how it is cut into the batches of one rank."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from luisy_dir.dataset.randomness import rng_for

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Order:
    """Which positions follow each other in an epoch.

    Parameters
    ----------
    length
        Number of positions.
    seed
        With the epoch, all that a permutation depends on.
    is_shuffled
        Each epoch has a permutation of its own; else all are in the order of the positions.

    Examples
    --------
    >>> Order(3, seed=0, is_shuffled=False).of_epoch(7)
    array([0, 1, 2])
    """

    length: int
    seed: int
    is_shuffled: bool

    def of_epoch(self, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """All positions, each once.

        A permutation sorts raw numbers of Philox. numpy keeps those as they are for good, but not what
        ``Generator.permutation`` makes of them, and a saved state has to find the same order again.
        """
        import numpy as np

        if not self.is_shuffled:
            return np.arange(self.length, dtype=np.int64)
        raw = rng_for(self.seed, epoch, "", "order").bit_generator.random_raw(self.length)
        return np.argsort(raw, kind="stable").astype(np.int64, copy=False)


class Cut(NamedTuple):
    """One batch as a piece of the order.

    Parameters
    ----------
    begin
        Its first place.
    end
        The place behind its last.
    consumed
        How many places all ranks together are through with after this batch.
    """

    begin: int
    end: int
    consumed: int


@dataclass(frozen=True)
class Share:
    """What one rank gets of an order.

    ``size * world`` places that follow each other are the batches of all ranks, and rank r has the r-th ``size`` of
    them. What is left in the end is dealt evenly: two ranks differ by one item at most, and one that gets none has a
    batch less than others. With ``drop_last`` it is left out, so that all ranks have as many batches, all of them full.

    Parameters
    ----------
    size
        Items of a batch.
    rank
        Whose share it is, from 0.
    world
        Number of ranks.
    drop_last
        Leave out what does not fill a batch for each rank.

    Examples
    --------
    >>> [tuple(cut) for cut in Share(2, rank=1, world=2).cuts(7)]
    [(2, 4, 4), (6, 7, 7)]
    >>> Share(2, rank=1, world=2, drop_last=True).count(7)
    1
    """

    size: int
    rank: int = 0
    world: int = 1
    drop_last: bool = False

    def cuts(self, length: int, start: int = 0) -> Iterator[Cut]:
        """The batches of an order that is so long, from a place in it."""
        whole = self.size * self.world
        end = length - (length - start) % whole
        for first in range(start, end, whole):
            begin = first + self.rank * self.size
            yield Cut(begin, begin + self.size, first + whole)
        left = 0 if self.drop_last else length - end
        each, more = divmod(left, self.world)
        begin = end + self.rank * each + min(self.rank, more)
        last = Cut(begin, begin + each + (self.rank < more), length)
        if last.end > last.begin:
            yield last

    def count(self, length: int) -> int:
        """How many batches there are."""
        full, left = divmod(length, self.size * self.world)
        return full + (not self.drop_last and left > self.rank)
