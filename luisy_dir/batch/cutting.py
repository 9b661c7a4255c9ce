"""Cutting: which items of an index are in which batch, epoch after epoch."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from luisy_dir.dataset.loading import Portion
from luisy_dir.dataset.order import Order, Share
from luisy_dir.errors import SettingError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Cuts:
    """How the items of a source are cut into batches."""

    ids: np.ndarray[Any, Any]
    size: int
    is_shuffled: bool
    seed: int
    drop_last: bool
    n_iters: int | None = None
    n_epochs: int | None = None
    begin: tuple[int, int] = (0, 0)  # an epoch, and how many items of it are done with

    @property
    def share(self) -> Share:
        """Of one rank, which has all."""
        return Share(self.size, drop_last=bool(self.drop_last))

    def check(self) -> None:
        """Refuse what would give no batch at all."""
        length = len(self.ids)
        if length and not self.share.count(length):
            raise SettingError(
                f"There are {length} items, which do not fill a batch of {self.size}, and drop_last leaves out what "
                "does not. Give a smaller batch_size, or drop_last=False."
            )

    def portions(self) -> Iterator[Portion]:
        """What is loaded, batch by batch."""
        return islice(self._all(), self.n_iters)

    def _all(self) -> Iterator[Portion]:
        length = len(self.ids)
        order = Order(length, self.seed, self.is_shuffled)
        first, done = self.begin
        for epoch in count(first) if self.n_epochs is None and length else range(first, self.n_epochs or 0):
            of_epoch = order.of_epoch(epoch)
            for begin, end, consumed in self.share.cuts(length, done if epoch == first else 0):
                positions = of_epoch[begin:end].copy()
                yield Portion(tuple(map(str, self.ids[positions].tolist())), positions, epoch, consumed)


def epochs_at_most(n_iters: int | None, n_epochs: int | None) -> int | None:
    """How many epochs there are at most; None where only ``n_iters`` bounds the batches.

    Raises
    ------
    SettingError
        Both are given, or are no numbers.
    """
    if n_iters is not None and n_epochs is not None:
        raise SettingError(f"Both n_iters ({n_iters!r}) and n_epochs ({n_epochs!r}) are given. Say one of them.")
    if n_iters is not None:
        whole_number("n_iters", n_iters, 0)
        return None
    return 1 if n_epochs is None else whole_number("n_epochs", n_epochs, 0)


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """An argument that has to be one.

    Raises
    ------
    SettingError
        It is none, or too small.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise SettingError(f"{name} is {value!r}, but has to be a whole number from {least}.")
    return number
