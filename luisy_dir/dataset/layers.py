"""Layers: each stands on items and is items itself, with one thing done to them."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import xxhash

from luisy_dir.dataset.changes import Change, Index
from luisy_dir.dataset.items import Items
from luisy_dir.dataset.randomness import rng_for
from luisy_dir.errors import DatasetError
from luisy_dir.item import printable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Taken:
    """Some items of others, in the order of their positions.

    Parameters
    ----------
    items
        The others.
    positions
        Of the items that are taken: integers of shape (n,), from 0 on.
    """

    def __init__(self, items: Items, positions: npt.NDArray[np.int64]) -> None:
        of: Taken | None = items if isinstance(items, Taken) else None
        self.items: Items = items if of is None else of.items
        self.positions: npt.NDArray[np.int64] = positions if of is None else of.positions[positions]
        self._plain = self.positions.tolist()  # ten times as fast to look into

    def __reduce__(self) -> tuple[Any, ...]:
        return Taken, (self.items, self.positions)

    def __len__(self) -> int:
        return len(self._plain)

    @cached_property
    def keys(self) -> Sequence[str]:
        """See :class:`Items`."""
        keys = self.items.keys
        return tuple([keys[position] for position in self._plain])

    @cached_property
    def digest(self) -> str:
        """See :class:`Items`."""
        return _digest(self.items.digest, self.positions.astype("<i8").tobytes())

    def read(self, position: int, epoch: int) -> Any:
        """See :class:`Items`."""
        return self.items.read(self._plain[position], epoch)

    def shape(self, position: int) -> tuple[int, ...] | None:
        """See :class:`Items`."""
        return self.items.shape(self._plain[position])

    def dtype(self, position: int) -> np.dtype[Any] | None:
        """See :class:`Items`."""
        return self.items.dtype(self._plain[position])

    def meta(self, position: int) -> Mapping[str, Any]:
        """See :class:`Items`."""
        return self.items.meta(self._plain[position])


class _Above:
    """What a layer that leaves the number of items as it is has in common with others of the kind."""

    items: Items

    def __len__(self) -> int:
        return len(self.items)

    @property
    def keys(self) -> Sequence[str]:
        """See :class:`Items`."""
        return self.items.keys

    @property
    def digest(self) -> str:
        """See :class:`Items`."""
        return self.items.digest

    def meta(self, position: int) -> Mapping[str, Any]:
        """See :class:`Items`."""
        return self.items.meta(position)


class Changed(_Above):
    """Items with a change of their arrays.

    Parameters
    ----------
    items
        The items.
    change
        What is done with the data of each.
    operation, seed
        What a random change is drawn from, beside the epoch and the item's key.
    """

    def __init__(self, items: Items, change: Change, *, operation: str = "", seed: int = 0) -> None:
        self.items = items
        self.change = change
        self.operation = operation
        self.seed = seed
        self._is_random = isinstance(change, Index) and change.is_random
        self._shapes: dict[tuple[int, ...], tuple[int, ...]] = {}

    def read(self, position: int, epoch: int) -> Any:
        """See :class:`Items`."""
        data = self.items.read(position, epoch)
        try:
            if self._is_random:
                return changed_at_random(self.change, data, self.keys[position], epoch, self.operation, self.seed)
            return self.change(data)
        except Exception as error:
            note_key(error, self.keys[position])
            raise

    def shape(self, position: int) -> tuple[int, ...] | None:
        """See :class:`Items`."""
        shape = self.items.shape(position)
        if shape is None:
            return None
        changed = self._shapes.get(shape)
        if changed is None:
            try:
                changed = self._shapes[shape] = self.change.shape(shape)
            except Exception as error:
                note_key(error, self.keys[position])
                raise
        return changed

    def dtype(self, position: int) -> np.dtype[Any] | None:
        """See :class:`Items`."""
        dtype = self.items.dtype(position)
        return None if dtype is None else self.change.dtype(dtype)


def changed_at_random(change: Any, data: Any, key: str, epoch: int, operation: str, seed: int) -> Any:
    """The data of an item with an index that has windows in it."""
    import numpy as np

    return change.drawn(np.shape(data), lambda: rng_for(seed, epoch, key, operation))(data)


class DatasetItem:
    """What a function of :meth:`DirectoryDataset.map` may know of the item that it has in hand.

    Parameters
    ----------
    key
        Of the item.
    meta
        What its step has put into ``item.meta``; not to be written to.
    epoch
        Number of the pass over the dataset, from 0 on.
    """

    __slots__ = ("_operation", "_rng", "_seed", "epoch", "key", "meta")

    def __init__(self, key: str, meta: Mapping[str, Any], epoch: int, operation: str, seed: int) -> None:
        self.key = key
        self.meta = meta
        self.epoch = epoch
        self._operation = operation
        self._seed = seed
        self._rng: np.random.Generator | None = None

    def __repr__(self) -> str:
        return f"DatasetItem({self.key!r}, epoch={self.epoch})"

    @property
    def rng(self) -> np.random.Generator:
        """Random numbers that depend on seed, epoch, key and which ``map`` this is, and on nothing else."""
        if self._rng is None:
            self._rng = rng_for(self._seed, self.epoch, self.key, self._operation)
        return self._rng


class Mapped(_Above):
    """Items with the result of a function in the place of their data.

    Parameters
    ----------
    items
        The items.
    function
        ``function(data)``, or ``function(data, item)`` where ``wants_item``.
    """

    def __init__(
        self, items: Items, function: Callable[..., Any], *, wants_item: bool, operation: str, seed: int
    ) -> None:
        self.items = items
        self.function = function
        self.wants_item = wants_item
        self.operation = operation
        self.seed = seed

    def read(self, position: int, epoch: int) -> Any:
        """See :class:`Items`."""
        data = self.items.read(position, epoch)
        try:
            if not self.wants_item:
                return self.function(data)
            key, meta = self.keys[position], MappingProxyType(self.items.meta(position))
            return self.function(data, item=DatasetItem(key, meta, epoch, self.operation, self.seed))
        except Exception as error:
            note_key(error, self.keys[position])
            raise

    def shape(self, position: int) -> None:
        """See :class:`Items`: what a function makes is not known beforehand."""

    def dtype(self, position: int) -> None:
        """See :class:`Items`."""


class Unbound:
    """Parts of arrays: an item for each position along an axis, without that axis.

    Parameters
    ----------
    items
        Whose shapes are known.
    axis
        Of each item's array.
    """

    def __init__(self, items: Items, axis: int) -> None:
        self.items = items
        self.axis = axis
        sizes = [self._size(position) for position in range(len(items))]
        self._ends = list(itertools.accumulate(sizes))

    def __reduce__(self) -> tuple[Any, ...]:
        return Unbound, (self.items, self.axis)

    def _size(self, position: int) -> int:
        shape = self.items.shape(position)
        if shape is None:
            raise DatasetError(
                f"The shape of {self.items.keys[position]!r} is known only when it is read, so that unbind cannot tell "
                "how many items there are. Call unbind before map."
            )
        if not -len(shape) <= self.axis < len(shape):
            raise DatasetError(f"{self.items.keys[position]!r} has the shape {shape}, and no axis {self.axis}.")
        return shape[self.axis]

    def _at(self, position: int) -> tuple[int, int]:
        """Position of the item, and of the part in it."""
        whole = bisect.bisect_right(self._ends, position)
        return whole, position - (self._ends[whole - 1] if whole else 0)

    def _index(self, position: int) -> tuple[int, Index]:
        whole, part = self._at(position)
        shape = self.items.shape(whole) or ()
        before = (slice(None),) * (self.axis % len(shape))
        return whole, Index((*before, part))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @cached_property
    def keys(self) -> Sequence[str]:
        """See :class:`Items`: ``<key>/<position along the axis>``."""
        return tuple(self._keys())

    def _keys(self) -> Iterator[str]:
        begin = 0
        for key, end in zip(self.items.keys, self._ends, strict=True):
            yield from (f"{key}/{part}" for part in range(end - begin))
            begin = end

    @property
    def digest(self) -> str:
        """See :class:`Items`."""
        return _digest(self.items.digest, f"unbind {self.axis}".encode())

    def read(self, position: int, epoch: int) -> Any:
        """See :class:`Items`."""
        whole, index = self._index(position)
        return index(self.items.read(whole, epoch))

    def shape(self, position: int) -> tuple[int, ...]:
        """See :class:`Items`."""
        whole, index = self._index(position)
        return index.shape(self.items.shape(whole) or ())

    def dtype(self, position: int) -> np.dtype[Any] | None:
        """See :class:`Items`."""
        return self.items.dtype(self._at(position)[0])

    def meta(self, position: int) -> Mapping[str, Any]:
        """See :class:`Items`: that of the whole item."""
        return self.items.meta(self._at(position)[0])


class Joined:
    """Several items, one after the other.

    Parameters
    ----------
    parts
        The items.
    names
        What is put before the keys of each, with a ``/``; None leaves the keys as they are.
    """

    def __init__(self, parts: Sequence[Items], names: Sequence[str] | None = None) -> None:
        self.parts = tuple(parts)
        self.names = None if names is None else tuple(names)
        self._ends = list(itertools.accumulate(map(len, self.parts)))
        seen: set[str] = set()
        for part, prefix in zip(self.parts, self._prefixes, strict=True):
            mine = {prefix + key for key in part.keys}
            if shared := sorted(mine & seen):
                raise DatasetError(
                    f"The key {shared[0]!r} is in more than one of the datasets. Give names=, one for each dataset, "
                    "which is put before its keys."
                )
            seen |= mine

    def __reduce__(self) -> tuple[Any, ...]:
        return Joined, (self.parts, self.names)

    @property
    def _prefixes(self) -> list[str]:
        return [""] * len(self.parts) if self.names is None else [f"{name}/" for name in self.names]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @cached_property
    def keys(self) -> Sequence[str]:
        """See :class:`Items`."""
        prefixed = zip(self._prefixes, self.parts, strict=True)
        return tuple([prefix + key for prefix, part in prefixed for key in part.keys])

    @property
    def digest(self) -> str:
        """See :class:`Items`."""
        return _digest(*(part.digest for part in self.parts), *map(str.encode, self.names or ()))

    def _at(self, position: int) -> tuple[Items, int]:
        part = bisect.bisect_right(self._ends, position)
        return self.parts[part], position - (self._ends[part - 1] if part else 0)

    def read(self, position: int, epoch: int) -> Any:
        """See :class:`Items`."""
        part, at = self._at(position)
        return part.read(at, epoch)

    def shape(self, position: int) -> tuple[int, ...] | None:
        """See :class:`Items`."""
        part, at = self._at(position)
        return part.shape(at)

    def dtype(self, position: int) -> np.dtype[Any] | None:
        """See :class:`Items`."""
        part, at = self._at(position)
        return part.dtype(at)

    def meta(self, position: int) -> Mapping[str, Any]:
        """See :class:`Items`."""
        part, at = self._at(position)
        return part.meta(at)


def _digest(*parts: str | bytes) -> str:
    hasher = xxhash.xxh3_128()
    for part in parts:
        hasher.update(part.encode() if isinstance(part, str) else part)
        hasher.update(b"\n")
    return hasher.hexdigest()


def note_key(error: BaseException, key: str) -> None:
    """Say with an error which item it is about; the innermost layer says it first."""
    if not any(note.startswith(_NOTE) for note in getattr(error, "__notes__", ())):
        error.add_note(f"{_NOTE}{printable(key)!r}.")


_NOTE = "This was the item "
