"""What the data of several items has become: that of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from luisy_dir.dataset.randomness import rng_for

if TYPE_CHECKING:
    import numpy as np


class Collated(NamedTuple):
    """The data of a batch.

    Parameters
    ----------
    data
        What the collation has made.
    lengths
        Of padded data, the shape that each item has had: int64, one row an item, one column an axis.
    mask
        Of padded data, True where it is an item's: bool, of the same shape as the data.
    """

    data: Any
    lengths: np.ndarray[Any, np.dtype[np.int64]] | None = None
    mask: np.ndarray[Any, np.dtype[np.bool_]] | None = None


class Values(NamedTuple):
    """Arrays one behind the other; that of item i is ``values[offsets[i]:offsets[i + 1]]``.

    Parameters
    ----------
    values
        All of them, joined along their first axis.
    offsets
        Where each begins, and at last where they end: int64, one more than there are items.
    """

    values: np.ndarray[Any, Any]
    offsets: np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Members:
    """The items of a batch, as its collation sees them.

    Parameters
    ----------
    keys
        One an item.
    seed
        Of the batches.
    epoch
        From 0.
    """

    keys: tuple[str, ...]
    seed: int = 0
    epoch: int = 0

    def rng(self, number: int, operation: str) -> np.random.Generator:
        """Random numbers of the item of that number, as :func:`~luisy_dir.dataset.randomness.rng_for` has them."""
        return rng_for(self.seed, self.epoch, self.keys[number], operation)


def keys_of(data: Sequence[Any], members: Members | None) -> tuple[str, ...]:
    """The keys of the items; their numbers where nobody says what they are."""
    return tuple(map(str, range(len(data)))) if members is None else members.keys
