"""Memory of items: how much each takes while it is in hand, and how much there is for all of them."""

from __future__ import annotations

import inspect
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from luisy_dir.engines.event_loop import is_async
from luisy_dir.errors import DefinitionError
from luisy_dir.item import Item
from luisy_dir.job import decode_job
from luisy_dir.resources import usable_memory

logger = logging.getLogger("luigi-interface.luisy_dir")

_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([A-Za-z]*)")
_UNITS = {"": 1, "b": 1} | {
    f"{letter}{infix}b": base**power
    for infix, base in (("", 1000), ("i", 1024))
    for power, letter in enumerate("kmgt", 1)
}
_ALLOWED = "a number of bytes, a text such as '500 MB' or '2 GiB', or a function of the item that returns one of these"

ItemMemoryLike = float | str | Callable[..., Any] | None


def bytes_in(text: str) -> int:
    """Number of bytes that a text says; ValueError where it says none.

    Examples
    --------
    >>> bytes_in("500 MB"), bytes_in("1.5 GiB"), bytes_in("300")
    (500000000, 1610612736, 300)
    """
    number, unit = _number_and_unit(text)
    size = number * _UNITS[unit]
    if unit in {"", "b"} and size.denominator != 1:
        raise ValueError(text)
    return int(size)


def limit_in(text: str) -> float:
    """A limit for all items in hand: bytes (an integer) or a fraction (a float); ValueError where it is nonsense.

    A plain ``1`` is refused: a byte or all that there is may be meant.

    Examples
    --------
    >>> limit_in("16 GiB"), limit_in("0.8")
    (17179869184, 0.8)
    """
    number, unit = _number_and_unit(text)
    is_fraction = not unit and "." in text
    if number > 1 if is_fraction else number == 1 and not unit:
        raise ValueError(text)
    limit = float(number) if is_fraction else bytes_in(text)
    if not limit:
        raise ValueError(text)
    return limit


def bytes_within(limit: float, usable: Callable[[], int] | None = None) -> int:
    """Bytes that a limit allows: a fraction, where it is a float, is of what can be used now.

    Parameters
    ----------
    limit
        See :func:`limit_in`.
    usable
        Returns the bytes that can be used; None for those of this machine.

    Examples
    --------
    >>> bytes_within(1000)
    1000
    """
    return int(limit * (usable or usable_memory)()) if isinstance(limit, float) else limit


def _number_and_unit(text: str) -> tuple[Fraction, str]:
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError(text)
    return Fraction(match[1]), match[2].lower()


def item_memory_in(value: Any, argument: str) -> Any:
    """What a user said that an item takes, in the form in which a class keeps it.

    Parameters
    ----------
    value
        As a user gave it.
    argument
        What it was given as, for the message.

    Raises
    ------
    DefinitionError
        It says no number of bytes.
    """
    if callable(value) and not isinstance(value, type):
        if is_async(value):
            raise DefinitionError(f"{argument} is 'async def', which nobody awaits. Write a plain function.")
        return staticmethod(value)
    try:
        is_allowed = _bytes_of(value) > 0
    except ValueError:
        is_allowed = False
    if not is_allowed:
        raise DefinitionError(f"{argument} is {value!r}. Give {_ALLOWED}.")
    return value


def _bytes_of(value: object) -> int:
    """Bytes that a value says; ValueError where it says none."""
    if isinstance(value, str):
        return bytes_in(value)
    if isinstance(value, bool):
        raise ValueError(value)  # noqa: TRY004 - like everything else that says no bytes
    try:
        size = math.ceil(value)  # type: ignore[call-overload]  # numbers of NumPy too
    except (TypeError, ValueError, OverflowError) as error:  # no number, NaN, infinity
        raise ValueError(value) from error
    if size < 0:
        raise ValueError(value)
    return int(size)


class ItemMemory:
    """How much memory each item takes while it is in hand, and how much there is for all of them.

    Parameters
    ----------
    value
        For every item the same, or a function of the item.
    available
        Bytes that there are for all items in hand.
    task
        Name of the task, for messages.

    Examples
    --------
    >>> memory = ItemMemory("2 kB", 10_000, "Stitched")
    >>> memory.of(Item("a", (), {}))
    2000
    """

    def __init__(self, value: float | str | Callable[[Item], Any], available: int, task: str) -> None:
        self.available = available
        self._function = value if callable(value) else None
        self._constant = 0 if callable(value) else _bytes_of(value)
        self._task = task
        self._has_warned = False

    def weight(self, folders: Mapping[str, str], seed: int, *, batch_size: int = 1) -> Callable[[bytes], int]:
        """The same as :meth:`of` for the items of an encoded job; about one and the same item it may be asked again.

        Parameters
        ----------
        folders
            Absolute path by the name of a source's root.
        seed
            The task's seed.
        batch_size
            How many items a job has at most.
        """
        if self._function is None and batch_size == 1 and self._constant <= self.available:
            return lambda _: self._constant
        return lambda encoded: self.of(*decode_job(encoded).opened(folders, seed))

    def of(self, *items: Item) -> int:
        """Bytes that items take together; says once that there are not as many.

        Raises
        ------
        DefinitionError
            The function raised, or returned no number of bytes.
        """
        size = sum([self._constant if self._function is None else self._asked(self._function, item) for item in items])
        if size > self.available and not self._has_warned:
            self._has_warned = True
            self._warn(items, size)
        return size

    def _warn(self, items: Sequence[Item], size: int) -> None:
        is_batch = len(items) > 1
        logger.warning(
            "%s: %s%r takes %s bytes of memory, as item_memory says, and all items in hand may take %s. It is "
            "processed alone, and so is every other %s that takes more than that. Where there is more memory, give a "
            "larger value for the setting `memory`%s.",
            self._task,
            f"the batch of {len(items)} items from {items[0].key!r} to " if is_batch else "the item ",
            items[-1].key,
            f"{size:,}",
            f"{self.available:,}",
            "batch" if is_batch else "item",
            "; else choose a smaller `batch_size`" if is_batch else "",
        )

    def _asked(self, function: Callable[[Item], Any], item: Item) -> int:
        if any(source.size < 0 for source in item.sources):
            return self.available  # nobody knows the size of a file that could not be looked at
        try:
            value = function(item)
        except (Exception, SystemExit) as error:
            raise DefinitionError(
                f"item_memory of {self._task} raised {type(error).__name__} for the item {item.key!r}: {error}. Let it "
                "return the bytes that the item takes; what was finished is kept, and the next run goes on."
            ) from error
        try:
            return _bytes_of(value)
        except ValueError as error:
            raise DefinitionError(
                f"item_memory of {self._task} returned {value!r} for the item {item.key!r}, which is no number of "
                "bytes. Let it return one, or a text such as '2 GiB'; what was finished is kept, and the next run goes "
                "on."
            ) from error


def item_memory_of(task: Any, limit: float, usable: Callable[[], int] | None = None) -> ItemMemory | None:
    """What a task's ``item_memory`` says; None where it says nothing.

    A function of which the first parameter is ``self`` is a method, and may look at the task's parameters; any other
    gets the item alone.

    Parameters
    ----------
    task
        Has an attribute ``item_memory``.
    limit, usable
        For all items in hand; see :func:`bytes_within`.
    """
    name = type(task).__name__
    given = inspect.getattr_static(type(task), "item_memory", None)
    is_plain = inspect.isfunction(given) and next(iter(inspect.signature(given).parameters), None) != "self"
    value = given if is_plain else task.item_memory
    if value is None:
        return None
    item_memory_in(value, f"item_memory of {name}")
    return ItemMemory(value, bytes_within(limit, usable), name)
