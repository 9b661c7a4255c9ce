"""Streams: what the data of an item passes before and after ``process``, and what controls it on its way."""

from __future__ import annotations

import copy
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from luisy_dir.code import of_function
from luisy_dir.engines.event_loop import drained, resolved
from luisy_dir.errors import DefinitionError, Reject
from luisy_dir.item import Item
from luisy_dir.output import NoOutput, Output, is_no_output

Function = Callable[..., Any]  # of (data) or (data, item), to data
FunctionsLike = Function | Sequence[Function]
PreLike = FunctionsLike | Mapping[str, FunctionsLike]

ONLY = ""  # stands for the one directory that is required


@dataclass(frozen=True)
class Streams:
    """The functions around ``process``, and what all items are told.

    Parameters
    ----------
    pre
        Called one after the other with what was read, by the name of the directory; ``ONLY`` where there is one.
    post
        Called one after the other with the data of each output, before it is written.
    control
        What ``item.control`` begins with.
    directories
        Names of the required directories, in the order of the data.
    """

    pre: Mapping[str, tuple[Function, ...]] = field(default_factory=dict)
    post: tuple[Function, ...] = ()
    control: Mapping[str, Any] = field(default_factory=dict)
    directories: tuple[str, ...] = ()

    def around(self, process: Callable[[list[Any], Item], Any]) -> Callable[[list[Any], Item], Any]:
        """``process`` with what comes before and after."""
        if not (self.pre or self.post or self.control):
            return process

        def call(data: list[Any], item: Item) -> Any:
            data[:] = self.before(data, item)  # so that nobody holds what was read any more
            return self.after(resolved(process(data, item)), item)

        return call

    def before(self, data: list[Any], item: Item) -> list[Any]:
        """What was read of each directory, as ``process`` gets it; Reject where one of the functions says None."""
        if self.control:
            item.control.update(copy.deepcopy(dict(self.control)))  # an item may change what is in it
        if not self.pre:
            return data
        return [self._prepared(part, name, item) for part, name in zip(data, self.directories, strict=True)]

    def _prepared(self, data: Any, directory: str, item: Item) -> Any:
        if data is None:  # an outer join has nothing of this directory
            return None
        for function in self.pre.get(directory, self.pre.get(ONLY, ())):
            data = self._call(function, data, item)
        return data

    def after(self, result: Any, item: Item) -> Any:
        """What ``process`` returned, as it is to be written; Reject where one of the functions says None."""
        if result is None or is_no_output(result) or not self.post:
            return result
        if isinstance(result, AsyncIterator):
            return self._each_after(drained(result), item)
        if isinstance(result, Iterator):
            return self._each_after(result, item)
        if isinstance(result, (list, tuple)) and result and isinstance(result[0], Output):
            return result  # a mistake, which the step will name
        return self._finished(result if isinstance(result, Output) else Output(result), item)

    def _each_after(self, results: Iterator[Any], item: Item) -> Iterator[Any]:
        for result in results:
            yield self._finished(result, item) if isinstance(result, Output) else result

    def _finished(self, output: Output, item: Item) -> Output | NoOutput:
        for function in self.post:
            data = self._call(function, output.data, item)
            if is_no_output(data):
                return NoOutput()
            output = data if isinstance(data, Output) else Output(data, output.key, output.suffix)
        return output

    def _call(self, function: Function, data: Any, item: Item) -> Any:
        data = resolved(function(data, item=item) if id(function) in self._with_item else function(data))
        if data is None:
            raise Reject(f"{name_of(function)} returned None")
        return data

    @cached_property
    def _with_item(self) -> frozenset[int]:
        """Which functions have an argument for the item: to find that out takes longer than many a call."""
        return frozenset(id(function) for function in self.functions.values() if wants_item(function))

    def check_directories(self, task: str) -> None:
        """Raise DefinitionError where ``pre`` does not say for which of several directories it is."""
        names = self.directories
        if ONLY in self.pre and len(names) > 1:
            raise DefinitionError(
                f"pre of {task} is a list, but there are several directories. Give a dictionary by their names: "
                f"pre={{{names[0]!r}: […]}}."
            )
        unknown = sorted(self.pre.keys() - {*names, ONLY})
        if unknown:
            raise DefinitionError(
                f"pre of {task} names {', '.join(map(repr, unknown))}, but what it requires is {', '.join(names)}."
            )

    @property
    def functions(self) -> dict[str, Function]:
        """All of them, each by a name of its own."""
        named: dict[str, Function] = {}
        for directory, functions in self.pre.items():
            of = f" of {directory}" if directory else ""
            named |= {f"pre {number} {name_of(function)}{of}": function for number, function in enumerate(functions, 1)}
        named |= {f"post {number} {name_of(function)}": function for number, function in enumerate(self.post, 1)}
        return named

    def parts(self) -> dict[str, str]:
        """What the fingerprint says of ``control``; nothing where there is none."""
        return {"control": of_function(partial(dict, **self.control))} if self.control else {}


def _signature(function: Function) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (ValueError, TypeError):  # one in C, such as a ufunc of NumPy
        return None


def wants_item(function: Function) -> bool:
    """Whether a function has an argument for the item."""
    signature = _signature(function)
    return signature is not None and "item" in signature.parameters


def name_of(function: Function) -> str:
    """What a function is called in messages."""
    inner = getattr(function, "func", function)  # of functools.partial
    return str(getattr(inner, "__name__", None) or type(inner).__name__)


def functions_of(value: object, argument: str) -> tuple[Function, ...]:
    """What was given as ``post`` as a tuple; one function counts as a list of one.

    Parameters
    ----------
    value
        As a user gave it.
    argument
        Under which name, for the message.

    Raises
    ------
    DefinitionError
        One of them cannot be called with data, or with data and item.

    Examples
    --------
    >>> functions_of([abs], "post")
    (<built-in function abs>,)
    """
    functions = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    for function in functions:
        if not callable(function):
            raise DefinitionError(
                f"{argument} has {function!r}, which cannot be called. Give a function, or a list of functions."
            )
        _check_signature(function, argument)
    return functions


def _check_signature(function: Function, argument: str) -> None:
    signature = _signature(function)
    try:
        if signature is not None:
            signature.bind(None, **({"item": None} if "item" in signature.parameters else {}))
    except TypeError as error:
        raise DefinitionError(
            f"{argument} has {name_of(function)}{signature}, which is called with the data, and with the item where it "
            f"has an argument named item: {error}. Fill in the others with functools.partial, or read item.control."
        ) from error


def pre_of(value: object, argument: str) -> dict[str, tuple[Function, ...]]:
    """What was given as ``pre`` as a dictionary by directory, as :class:`Streams` has it.

    Raises
    ------
    DefinitionError
        As for :func:`functions_of`.
    """
    if not isinstance(value, Mapping):
        functions = functions_of(value, argument)
        return {ONLY: functions} if functions else {}
    return {str(name): functions_of(functions, f"{argument} for {name!r}") for name, functions in value.items()}


def control_of(value: object, argument: str) -> dict[str, Any]:
    """What was given as ``control`` as a dictionary.

    Raises
    ------
    DefinitionError
        It is none, or not by names.
    """
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise DefinitionError(f"{argument} is {value!r}. Give a dictionary by name, such as {{'threshold': 3}}.")
    return dict(value)
