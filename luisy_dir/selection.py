"""A selection: the few items of raw folders that a pipeline is tried with."""

from __future__ import annotations

import bisect
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import islice
from typing import Protocol, TypeVar

import xxhash

from luisy_dir.errors import MissingInputError
from luisy_dir.item import key_of

SCRATCH = ".scratch"
_SMALLEST_SHARE = 1e-9
_SIMILAR = 3
_NEAR = 5_000  # comparing a key with twice as many others takes about 0.3 s


class _HasKey(Protocol):
    @property
    def key(self) -> str: ...


T = TypeVar("T", bound=_HasKey)


@dataclass(frozen=True)
class Selection:
    """Which items of raw folders are taken; without arguments all of them.

    Parameters
    ----------
    limit
        The first so many in key order, of those that the others leave.
    sample
        This share of them, from above 0 to 1. A digest of the key decides, and nothing else, so that a larger sample
        contains a smaller one.
    only
        The items with these keys.

    Examples
    --------
    >>> Selection(limit=20, sample=0.01).name
    'sample=1%_limit=20'
    """

    limit: int | None = None
    sample: float | None = None
    only: tuple[str, ...] | None = None

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self.limit is None and self.sample is None and self.only is None

    @cached_property
    def name(self) -> str:
        """Name of the folder for what is made of the selection; the same for the same selection, empty for all."""
        parts = []
        if self.only is not None:
            keys = json.dumps(sorted(set(self.only)))
            parts.append(f"only-{xxhash.xxh3_64_hexdigest(keys.encode())}")
        if self.sample is not None:
            parts.append(f"sample={(Decimal(repr(self.sample)) * 100).normalize():f}%")
        if self.limit is not None:
            parts.append(f"limit={self.limit}")
        return "_".join(parts)

    def folder_in(self, working_dir: str) -> str:
        """Where that folder lies; for all items the working directory itself."""
        return working_dir if self.is_all else os.path.join(working_dir, SCRATCH, self.name)

    def has_made(self, path: str) -> bool:
        """Whether something lies where results of this selection do."""
        return not self.is_all and f"/{SCRATCH}/{self.name}/" in os.path.normpath(path)

    def select(self, items: Iterable[T], where: str) -> Iterator[T]:
        """The items that are taken.

        Parameters
        ----------
        items
            In key order, unique.
        where
            Where they come from, for the message.

        Raises
        ------
        MissingInputError
            ``only`` names a key that there is not; the message names some that may be meant.
        """
        if self.only is not None:
            items = _named(items, set(self.only), where)
        if self.sample is not None:
            bound = int(self.sample * 2**64)
            items = (item for item in items if xxhash.xxh3_64_intdigest(item.key.encode()) < bound)
        return islice(items, self.limit)


def _named(items: Iterable[T], wanted: set[str], where: str) -> Iterator[T]:
    whole = list(items)
    keys = [item.key for item in whole]
    for key in sorted(wanted.difference(keys)):
        raise no_such_item(key, keys, where)
    return (item for item in whole if item.key in wanted)


def no_such_item(key: str, keys: Sequence[str], where: str) -> MissingInputError:
    """The error for a key that none of the items has.

    Parameters
    ----------
    key
        The key.
    keys
        Those that there are, in order.
    where
        Where they come from.
    """
    alike = ", ".join(map(repr, similar(key, keys)))
    advice = f"Did you mean {alike}?" if alike else "report() and 'luisy-dir report PATH' show keys."
    return MissingInputError(
        f"There is no item {key!r} in {where}. {advice} A key is the path of a file under its folder, without its last "
        "suffix."
    )


def similar(key: str, keys: Sequence[str]) -> list[str]:
    """A few keys that may be meant by one that there is not, the likeliest first.

    Parameters
    ----------
    key
        What was asked for.
    keys
        Those that there are, in order.

    Examples
    --------
    >>> similar("cats/chelsea.png", ["cats/chelsea", "dogs/rex"])
    ['cats/chelsea']
    """
    import difflib

    names = {key.casefold(), key_of(key).casefold()}
    names |= {name.rpartition("/")[2] for name in names}
    of_that_name = [known for known in keys if {known.casefold(), known.rpartition("/")[2].casefold()} & names]
    place = bisect.bisect(keys, key)
    near = keys[max(0, place - _NEAR) : place + _NEAR]
    return [*dict.fromkeys([*of_that_name, *difflib.get_close_matches(key, near, _SIMILAR)])][:_SIMILAR]


def folder_in_scratch(working_dir: str, what: str, *parts: str) -> str:
    """Where replays or rechecks write, by the parts of the path of the task's directory, be it elsewhere."""
    path = os.path.normpath("/" + "/".join(parts))
    return os.path.join(working_dir, SCRATCH, what, path.lstrip("/"))


def share_of_items(text: str) -> float:
    """The share that a text such as ``1%`` or ``0.01`` means; ValueError for anything else.

    A plain ``1`` is refused: one item, one per cent or all of them may be meant.

    Examples
    --------
    >>> share_of_items("0.1%"), share_of_items("0.5")
    (0.001, 0.5)
    """
    is_percentage = text.endswith("%")
    if not is_percentage and text.isdecimal():
        raise ValueError(text)
    try:
        share = float(Decimal(text.removesuffix("%")) / (100 if is_percentage else 1))
    except ArithmeticError as error:
        raise ValueError(text) from error
    if not _SMALLEST_SHARE <= share <= 1:
        raise ValueError(text)
    return share


@lru_cache(maxsize=16)
def keys_in(text: str) -> tuple[str, ...]:
    """Keys in a text: separated by commas, or as a JSON list where it begins with a bracket; ValueError for none.

    Examples
    --------
    >>> keys_in("cats/1,cats/2"), keys_in('["a,b"]')
    (('cats/1', 'cats/2'), ('a,b',))
    """
    try:
        keys = json.loads(text) if text.startswith("[") else text.split(",")
    except RecursionError as error:
        raise ValueError(text) from error
    if not keys or not all(isinstance(key, str) and key for key in keys):
        raise ValueError(text)
    return tuple(keys)
