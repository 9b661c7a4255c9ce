"""Loading: the items of one batch are read, and become its data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from luisy_dir.dataset.collated import Collated, Members
from luisy_dir.dataset.collation import Collation
from luisy_dir.dataset.items import Items
from luisy_dir.dataset.layers import note_key

if TYPE_CHECKING:
    import numpy as np

_NAMED_KEYS = 5


class Portion(NamedTuple):
    """The items of one batch.

    Parameters
    ----------
    keys
        One an item.
    positions
        Of the items.
    epoch
        From 0.
    consumed
        How many places of the order all ranks are through with after it.
    """

    keys: tuple[str, ...]
    positions: np.ndarray[Any, np.dtype[np.int64]]
    epoch: int
    consumed: int


def _nothing(_: int) -> None:
    pass


class Loads(Protocol):
    """What can be sent to workers to load batches."""

    def load(self, portion: Portion, begin: Callable[[int], object] = _nothing) -> Collated:
        """The data of a batch; ``begin`` is called with the number of each item before it is read."""


@dataclass(frozen=True)
class Loader:
    """What makes the data of a batch.

    Parameters
    ----------
    items
        Where it is read.
    collation
        How it becomes one.
    seed
        For random numbers of the collation.
    """

    items: Items
    collation: Collation
    seed: int

    def load(self, portion: Portion, begin: Callable[[int], object] = _nothing) -> Collated:
        """The data of a batch.

        What ``items`` and ``collation`` raise is raised, with a note of what it is about.

        Parameters
        ----------
        portion
            Which items.
        begin
            Called with the number of each item before it is read, and in the end with the number of all items.
        """
        data = []
        for number, position in enumerate(portion.positions.tolist()):
            begin(number)
            try:
                data.append(self.items.read(position, portion.epoch))
            except Exception as error:
                note_key(error, portion.keys[number])
                error.add_note(f"It was read at position {position} in epoch {portion.epoch}.")
                raise
        begin(len(data))
        try:
            return self.collation.collate(data, Members(portion.keys, self.seed, portion.epoch))
        except Exception as error:
            error.add_note(f"A batch was being made of the items {named(portion.keys)}, in epoch {portion.epoch}.")
            raise


def named(keys: Sequence[str]) -> str:
    """Keys in a message, the first few of many.

    Examples
    --------
    >>> named("abcdefg")
    "'a', 'b', 'c', 'd', 'e' and 2 more"
    """
    more = f" and {len(keys) - _NAMED_KEYS} more" if len(keys) > _NAMED_KEYS else ""
    return ", ".join(map(repr, keys[:_NAMED_KEYS])) + more
