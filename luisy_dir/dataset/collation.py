"""A collation: how the data of several items becomes the data of one batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luisy_dir.dataset.arguments import check_one_of
from luisy_dir.dataset.collated import Collated, Members, Values, keys_of
from luisy_dir.dataset.cropping import crop
from luisy_dir.dataset.fitting import arrays_of, check_same, common_dtype, filled, shapes_of
from luisy_dir.dataset.padding import pad

__all__ = ["Collated", "Collation", "Members", "Values", "collation_for", "crop", "pad", "ragged", "stack"]


@dataclass(frozen=True)
class Stack:
    """What :func:`stack` makes."""

    def __call__(self, data: Sequence[Any], members: Members | None = None) -> Collated:
        """One array of items of one shape."""
        keys = keys_of(data, members)
        arrays = arrays_of(data, keys)
        check_same(arrays, keys)
        return Collated(filled(arrays, arrays[0].shape, common_dtype(arrays, keys)))


def stack() -> Stack:
    """Items of one shape become one array, whose first axis counts them.

    Returns
    -------
    Stack
        To be given as ``collate``, or called with a list of arrays. CollationError where shapes differ, items are no
        arrays, or no dtype takes the values of all of them as they are.

    Examples
    --------
    >>> stack()([1.5, 2.5]).data
    array([1.5, 2.5])
    """
    return Stack()


@dataclass(frozen=True)
class Ragged:
    """What :func:`ragged` makes."""

    layout: str = "list"

    def __call__(self, data: Sequence[Any], members: Members | None = None) -> Collated:
        """The items as they are, or their arrays one behind the other."""
        if self.layout == "list":
            return Collated(list(data))
        import numpy as np

        keys = keys_of(data, members)
        given = arrays_of(data, keys)
        shapes_of(given, keys)
        check_same(given, keys, from_axis=1)
        arrays = [np.atleast_1d(array) for array in given]
        offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int64)
        return Collated(Values(np.concatenate(arrays, dtype=common_dtype(arrays, keys)), offsets))


def ragged(layout: Literal["list", "values"] = "list") -> Ragged:
    """Items stay as they are, of whatever shape.

    Parameters
    ----------
    layout
        ``list``: a list of what was read, which need not be arrays; those of memory maps are views, and not to be
        written to. ``values``: :class:`Values`, all arrays joined along their first axis, with offsets; shapes must be
        the same behind that.

    Returns
    -------
    Ragged
        To be given as ``collate``, or called with a list.

    Raises
    ------
    SettingError
        There is no such layout.

    Examples
    --------
    >>> import numpy as np
    >>> ragged("values")([np.array([1, 2, 3]), np.array([4])]).data
    Values(values=array([1, 2, 3, 4]), offsets=array([0, 3, 4]))
    """
    check_one_of("layout", layout, ("list", "values"))
    return Ragged(layout)


_NAMED: dict[str, Callable[[], Callable[..., Any]]] = {"stack": stack, "pad": pad, "crop": crop, "ragged": ragged}


@dataclass(frozen=True)
class Collation:
    """A function that makes the data of a batch, as a user may give it.

    Parameters
    ----------
    function
        Called with the list of the items' data; and with ``members``, if it has an argument of that name.
    has_members
        Whether it has.
    """

    function: Callable[..., Any]
    has_members: bool

    def collate(self, data: list[Any], members: Members) -> Collated:
        """What the function makes; where that is no :class:`Collated`, it is the data of one."""
        made = self.function(data, members=members) if self.has_members else self.function(data)
        return made if isinstance(made, Collated) else Collated(made)


def collation_for(collate: str | Callable[..., Any]) -> Collation:
    """What a user has given as ``collate``: the word for one of ours, or a function.

    Raises
    ------
    SettingError
        There is no such word, or it is no function.

    Examples
    --------
    >>> collation_for("pad").collate([1, 2], Members(("a", "b"))).data
    array([1, 2])
    """
    check_one_of("collate", collate, _NAMED, or_a="function")
    function = _NAMED[collate]() if isinstance(collate, str) else collate
    if function in _NAMED.values():  # pad, where pad() is meant
        function = function()
    try:
        names = inspect.signature(function).parameters
    except (ValueError, TypeError):  # one in C
        names = {}  # type: ignore[assignment]
    return Collation(function, "members" in names)
