"""Draws: the random numbers of one action, by the ids of the items."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luisy_dir.batch.rows import in_order
from luisy_dir.dataset.randomness import rng_for
from luisy_dir.errors import BatchError, SettingError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Draws:
    """The random numbers of one action: those of an item depend on seed, epoch, number and its id, and on nothing else.

    Parameters
    ----------
    seed
        Of the batch.
    epoch
        Of the batch.
    number
        How many actions with random numbers the batch has seen before.
    seeds
        One an item, in the place of what its id says; None for that.
    """

    seed: int
    epoch: int
    number: int
    seeds: Sequence[Any] | None = None

    def rng(self, position: int, item_id: object) -> np.random.Generator:
        """What a function gets as ``rng`` for an item.

        Parameters
        ----------
        position
            Of the item in the batch.
        item_id
            Its text counts, so that 7 and ``"7"`` are the same.
        """
        if self.seeds is not None:
            import numpy as np

            return np.random.Generator(np.random.SFC64(self.seeds[position]))
        return rng_for(self.seed, self.epoch, str(item_id), f"apply_parallel {self.number}")

    def is_hit(self, probability: float, item_id: object) -> bool:
        """Whether the function is applied to the item."""
        return bool(rng_for(self.seed, self.epoch, str(item_id), f"p {self.number}").random() < probability)


def seeds_of(rng_seeds: Any, size: int) -> list[Any] | None:
    """Seeds of items that are given by hand, if they are.

    Raises
    ------
    BatchError
        There is not one for each item.
    SettingError
        One is neither a whole number from 0 nor a SeedSequence.
    """
    if rng_seeds is None:
        return None
    import numpy as np

    seeds = in_order(rng_seeds, "rng_seeds is a")
    if len(seeds) != size:
        raise BatchError(f"There are {len(seeds)} rng_seeds for the {size} items of the batch. Give one for each.")
    for seed in seeds:
        if not isinstance(seed, np.random.SeedSequence) and not (isinstance(seed, (int, np.integer)) and seed >= 0):
            raise SettingError(f"{seed!r} is among the rng_seeds, but they have to be whole numbers from 0.")
    return seeds


def probability_of(p: Any) -> float | None:
    """It, if it is one; None for all items.

    Raises
    ------
    SettingError
        It is no number from 0 to 1.
    """
    if p is None:
        return None
    if not isinstance(p, numbers.Real) or not 0 <= float(p) <= 1:  # NaN is not
        raise SettingError(f"p is {p!r}, but has to be a number from 0 to 1, or None for all items.")
    return float(p)
