"""A call: what an action does with one item, here or in a worker."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import FunctionType, MethodType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import cloudpickle

from luisy_dir.batch.drawing import Draws
from luisy_dir.batch.expressions import has_per_item, of_item
from luisy_dir.engines.packing import pack_error, unpack_error
from luisy_dir.errors import DefinitionError

_ANY = {inspect.Parameter.VAR_KEYWORD}
_known: WeakKeyDictionary[Any, list[inspect.Parameter]] = WeakKeyDictionary()  # a look takes 40 µs
_NAMED = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


def accepted(
    function: Callable[..., Any], offered: dict[str, Any], taken: int, kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Those of the offered keywords that a function takes: by their names, or because it takes any.

    NumPy's own functions take any keyword, but not these; what a positional argument fills is not there any more.

    Parameters
    ----------
    function
        Any callable.
    offered
        Values by keyword.
    taken
        How many positional arguments it gets.
    kwargs
        The keywords that it gets anyway.

    Examples
    --------
    >>> accepted(lambda image, src: image, {"src": "images", "dst": "masks"}, 1, {})
    {'src': 'images'}
    """
    parameters = _parameters_of(function)
    takes_any = any(parameter.kind in _ANY for parameter in parameters)
    names = {parameter.name for parameter in parameters[taken:] if parameter.kind in _NAMED}
    names |= {parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY}
    filled = {parameter.name for parameter in parameters[:taken] if parameter.kind in _NAMED}
    return {
        name: value
        for name, value in offered.items()
        if name not in kwargs and (name in names or (takes_any and name not in filled))
    }


def _parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    if isinstance(function, partial) and not _parameters_of(function.func):
        return []
    if (getattr(function, "__module__", None) or "").partition(".")[0] == "numpy" or _is_ufunc(function):
        return []
    if isinstance(function, MethodType):
        return _parameters_of(function.__func__)[1:]
    try:
        return _known[function] if isinstance(function, FunctionType) else _looked_up(function)
    except KeyError:
        return _known.setdefault(function, _looked_up(function))


def _looked_up(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C, and says nothing
        return []


def _is_ufunc(function: object) -> bool:
    import numpy as np

    return isinstance(function, np.ufunc)


def name_of(function: Callable[..., Any]) -> str:
    """What a function is called in a message."""
    return str(getattr(function, "__name__", None) or type(function).__name__)


def no_event_loop(function: Callable[..., Any]) -> DefinitionError:
    """What is wrong where a function returns something to be awaited and nobody can."""
    return DefinitionError(
        f"{name_of(function)!r} returned something to be awaited, but only the target 'async' has an event loop. "
        "Choose it, or write a plain function."
    )


class Member(NamedTuple):
    """An item on its way to the function."""

    position: int
    item_id: object
    item: Any


@dataclass(frozen=True)
class Failed:
    """An error of one item: it is put where the result would be."""

    error: BaseException


@dataclass(frozen=True)
class Call:
    """What an action does with each item.

    Parameters
    ----------
    function
        Gets the item, ``args`` and ``kwargs``.
    draws
        Where the function gets ``rng``; else None.
    has_item
        The function gets the item: not if it is called once for the whole batch.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    draws: Draws | None = None
    has_item: bool = True

    def __call__(self, member: Member) -> Any:
        """The function's result for an item; may be something to be awaited."""
        args, kwargs = self._arguments(member.position)
        if self.draws is not None:
            kwargs = {**kwargs, "rng": self.draws.rng(member.position, member.item_id)}
        return self.function(member.item, *args, **kwargs) if self.has_item else self.function(*args, **kwargs)

    @cached_property
    def _is_same_for_all(self) -> bool:
        return not has_per_item((self.args, self.kwargs))

    def _arguments(self, number: int) -> tuple[Sequence[Any], dict[str, Any]]:
        if self._is_same_for_all:
            return self.args, self.kwargs
        return of_item(self.args, number), of_item(self.kwargs, number)

    def result(self, member: Member) -> Any:
        """The function's result, or what it raised as :class:`Failed`."""
        try:
            return self(member)
        except Exception as error:  # noqa: BLE001 - whatever a user's function raises
            return Failed(error)


@dataclass(frozen=True)
class RemoteCall:
    """A call in another process: results and errors come back in one piece, whatever classes they are of."""

    call: Call

    def __call__(self, sent: tuple[int, object, bytes]) -> tuple[int, bool, bytes]:
        """Position, whether it failed, and the pickled result or packed error."""
        position, item_id, pickled = sent
        try:
            result = self.call(Member(position, item_id, cloudpickle.loads(pickled)))
            if hasattr(type(result), "__await__"):
                return position, True, pack_error(no_event_loop(self.call.function))
            return position, False, cloudpickle.dumps(result)
        except Exception as error:  # noqa: BLE001 - as above
            return position, True, pack_error(error)


def sent(member: Member) -> tuple[int, object, bytes]:
    """An item on its way to another process."""
    return member.position, member.item_id, cloudpickle.dumps(member.item)


def received(answer: tuple[int, bool, bytes]) -> tuple[int, Any]:
    """Position and result of what a :class:`RemoteCall` has sent back."""
    position, has_failed, pickled = answer
    return position, Failed(unpack_error(pickled)) if has_failed else cloudpickle.loads(pickled)
