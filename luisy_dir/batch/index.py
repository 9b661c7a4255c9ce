"""An index: the ids of items, of which there are splits and folds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import xxhash

from luisy_dir.batch.ids import ids_of
from luisy_dir.batch.rows import named
from luisy_dir.dataset.order import Order
from luisy_dir.errors import BatchError, SettingError, UnknownItemError

if TYPE_CHECKING:
    import numpy as np


class Index:
    """The ids of items, each of them once.

    Parameters
    ----------
    ids
        An array or a list of them, a number n for 0 to n - 1, or whatever has ``indices``.

    Raises
    ------
    BatchError
        An id is there twice, or they have more than one dimension.

    Examples
    --------
    >>> index = Index(["a", "b", "c"])
    >>> len(index), index.indices.tolist(), index.position("b")
    (3, ['a', 'b', 'c'], 1)
    """

    def __init__(self, ids: Any) -> None:
        self._ids = ids_of(ids)
        self._positions = {item_id: position for position, item_id in enumerate(self._ids.tolist())}
        if len(self._positions) < len(self._ids):
            twice = [each for place, each in enumerate(self._ids.tolist()) if self._positions[each] != place]
            raise BatchError(f"Several items have the same id: {named(twice)}. Give each one of its own.")

    @property
    def indices(self) -> np.ndarray[Any, Any]:
        """The ids: one dimension."""
        return self._ids

    @cached_property
    def digest(self) -> str:
        """Of the ids in their order.

        Examples
        --------
        >>> Index([1, 2]).digest == Index([2, 1]).digest
        False
        """
        return xxhash.xxh3_128_hexdigest("\n".join(map(repr, self._ids.tolist())).encode(errors="surrogatepass"))

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} items: {named(self._ids.tolist()) or 'none'}>"

    def __contains__(self, item_id: object) -> bool:
        return isinstance(item_id, Hashable) and item_id in self._positions

    def position(self, item_id: Any) -> int:
        """Where an item stands.

        Raises
        ------
        UnknownItemError
            There is none of that id.
        """
        if item_id not in self:
            raise UnknownItemError(f"The index has no item {item_id!r}; it has {named(self._ids.tolist()) or 'none'}.")
        return self._positions[item_id]

    def subset(self, positions: Any) -> Self:
        """The items at some positions, as an index of the same kind.

        Examples
        --------
        >>> Index(["a", "b", "c"]).subset([2, 0]).indices.tolist()
        ['c', 'a']
        """
        return self._with(self._ids[positions])

    def _with(self, ids: Any) -> Self:
        return type(self)(ids)

    def __add__(self, other: Index) -> Index:
        """The items of both, one after the other."""
        return Index([*self._ids.tolist(), *ids_of(other).tolist()])

    def split(self, shares: float | Sequence[float] = 0.8, *, shuffle: bool | int = False) -> tuple[Self, ...]:
        """Parts that share no item and have all of them together.

        Parameters
        ----------
        shares
            How much of the whole each part has, in sum 1 at most; what is missing of 1 is one part more. A number is
            the share of the first of two.
        shuffle
            Which items are in which part is drawn by that seed; True is the seed 0. Else they come in their order.

        Returns
        -------
        tuple
            An index for each share.

        Raises
        ------
        SettingError
            A share is negative, or their sum is more than 1.

        Examples
        --------
        >>> [part.indices.tolist() for part in Index(10).split([0.6, 0.2, 0.2])]
        [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9]]
        """
        try:
            all_shares = [float(share) for share in (shares if isinstance(shares, Iterable) else [shares])]
        except (TypeError, ValueError):
            all_shares = []
        total = math.fsum(all_shares)
        if not all_shares or min(all_shares) < 0 or not total <= 1 + 1e-9:  # nan is no share either
            raise SettingError(f"shares is {shares!r}, but has to be numbers from 0 on whose sum is 1 at most.")
        if len(all_shares) == 1 or total < 1 - 1e-9:
            all_shares.append(max(0.0, 1 - total))
        order = self._order(shuffle)
        ends = [0, *(round(end * len(self)) for end in accumulate(all_shares))]
        return tuple(self.subset(order[begin:end]) for begin, end in pairwise(ends))

    def folds(self, n: int = 5, *, shuffle: bool | int = False) -> list[Fold]:
        """Pairs for cross-validation: each item is in the test part of one of them.

        Parameters
        ----------
        n
            How many: from 2 to the number of items. The first ones have an item more, where it does not come out even.
        shuffle
            As in :meth:`split`.

        Raises
        ------
        SettingError
            There are too few items, or ``n`` is no whole number from 2 on.

        Examples
        --------
        >>> [fold.test.indices.tolist() for fold in Index(10).folds(3)]
        [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
        """
        import numpy as np

        if not isinstance(n, (int, np.integer)) or not 2 <= n <= len(self):  # noqa: PLR2004 - to learn, and to test
            raise SettingError(f"n is {n!r}, but of {len(self)} items there are from 2 to {len(self)} folds.")
        parts = np.array_split(self._order(shuffle), n)
        return [
            Fold(self.subset(np.concatenate([*parts[:number], *parts[number + 1 :]])), self.subset(part))
            for number, part in enumerate(parts)
        ]

    def _order(self, shuffle: bool | int) -> np.ndarray[Any, Any]:  # noqa: FBT001 - its name says what it is
        is_shuffled, seed = shuffling(shuffle)
        return Order(len(self), seed, is_shuffled).of_epoch(0)


class Fold(NamedTuple):
    """One way to divide items for cross-validation.

    Parameters
    ----------
    train
        All items but those of the test.
    test
        Its share of the items.
    """

    train: Index
    test: Index


def shuffling(shuffle: bool | int, seed: int = 0) -> tuple[bool, int]:  # noqa: FBT001 - its name says what it is
    """Whether items are shuffled, and by which seed: ``shuffle`` itself, if it is a number.

    Examples
    --------
    >>> shuffling(True), shuffling(False), shuffling(42)
    ((True, 0), (False, 0), (True, 42))
    """
    import operator

    if isinstance(shuffle, bool) or shuffle is None:
        return bool(shuffle), seed
    try:
        return True, operator.index(shuffle)
    except TypeError:
        raise SettingError(
            f"shuffle is {shuffle!r}, but has to be True, False or a seed, which is an integer."
        ) from None
