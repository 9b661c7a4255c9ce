"""Arguments of datasets, checked where they are given."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from luisy_dir.errors import CollationError, SettingError

Sizes = int | Sequence[int | None] | None  # of axes: one number for all, or one an axis


def check_one_of(name: str, value: object, words: Sequence[str] | Mapping[str, Any], *, or_a: str = "") -> None:
    """Raise SettingError where a value is none of these words; ``or_a`` says that it may be a function too."""
    if (isinstance(value, str) and value in words) or (or_a and callable(value)):
        return
    ending = f", or a {or_a}" if or_a else ""
    raise SettingError(f"{name} is {value!r}, but has to be one of {', '.join(map(repr, words))}{ending}.")


def checked_sizes(name: str, value: Sizes, least: int) -> Sizes:
    """A number, a tuple of numbers and None, or None.

    Raises
    ------
    SettingError
        It is something else, or a number is less than ``least``.
    """
    try:
        sizes = None if value is None else _tuple_of(value)
    except TypeError:
        sizes = (-1,)
    if sizes is not None and any(size is not None and size < least for size in sizes):
        raise SettingError(
            f"{name} is {value!r}, but has to be a number from {least}, or one such number or None for each axis."
        )
    return sizes[0] if sizes is not None and not isinstance(value, Sequence) else sizes


def _tuple_of(value: int | Sequence[int | None]) -> tuple[int | None, ...]:
    sizes = value if isinstance(value, Sequence) else (value,)
    return tuple(size if size is None else operator.index(size) for size in sizes)


def per_axis(name: str, sizes: Sizes, ndim: int) -> tuple[int | None, ...]:
    """The size of each axis; None where nothing is said.

    Raises
    ------
    CollationError
        It is said for another number of axes.
    """
    if sizes is None or isinstance(sizes, int):
        return (sizes,) * ndim
    if len(sizes) != ndim:
        raise CollationError(
            f"{name} is {sizes!r}, but the items have {ndim} axes. Give a number or None for each axis."
        )
    return tuple(sizes)


def whole(name: str, value: int, least: int | None = None, most: int | None = None) -> int:
    """A whole number within limits, as an int; SettingError where it is none.

    Examples
    --------
    >>> whole("size", 3, least=1)
    3
    """
    try:
        number: int | None = operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least) or (most is not None and number > most):
        limits = ("" if least is None else f" from {least}") + ("" if most is None else f" to {most}")
        raise SettingError(f"{name} is {value!r}, but has to be a whole number{limits}.")
    return number
