"""Items of a dataset: the one interface of what a dataset is stacked of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np


class Items(Protocol):
    """Data by position, with what is known of it beforehand.

    What stands on top of it (:mod:`luisy_dir.dataset.layers`) speaks the same interface, so that every operation on a
    dataset is a small object of its own that can be pickled.
    """

    def __len__(self) -> int: ...

    @property
    def keys(self) -> Sequence[str]:
        """Key of each position; that of an item that was taken twice is there twice."""

    @property
    def digest(self) -> str:
        """In hex: of all that decides which items there are, in which order, and what was published of them."""

    def read(self, position: int, epoch: int) -> Any:
        """Data of the item at a position from 0 on; what is random in it belongs to the epoch."""

    def shape(self, position: int) -> tuple[int, ...] | None:
        """Shape of its data, if it is an array, without a look at data; None where only data tells."""

    def dtype(self, position: int) -> np.dtype[Any] | None:
        """Dtype of its data, as with the shape."""

    def meta(self, position: int) -> Mapping[str, Any]:
        """What the step put into ``item.meta``."""
