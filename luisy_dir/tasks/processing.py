"""Processing: how the ``process`` of a directory task is called in a worker."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from luisy_dir.code import of_byte_code
from luisy_dir.engines.event_loop import resolved
from luisy_dir.errors import DefinitionError
from luisy_dir.item import Item


class Processor(Protocol):
    """What is asked of a directory task in a worker."""

    process: ClassVar[Any]

    def setup(self) -> Any:
        """Prepare a worker."""


def check_same_code(name: str, then: Mapping[str, str | None], functions: Mapping[str, Callable[..., Any]]) -> None:
    """Raise DefinitionError where a worker would run other code than was recorded.

    Parameters
    ----------
    name
        Of the task's class.
    then
        What :func:`byte_codes_of` said in the process that the run was started in.
    functions
        The user's own functions in this process, by name.
    """
    for function, byte_code in byte_codes_of(functions).items():
        if None not in {byte_code, then[function]} and byte_code != then[function]:
            raise DefinitionError(
                f"The file that defines {function} of {name} has changed since this program began, so that workers "
                "would run other code than is recorded. Start again."
            )


def byte_codes_of(functions: Mapping[str, Callable[..., Any]]) -> dict[str, str | None]:
    """What functions are in this process, by name."""
    return {name: of_byte_code(function) for name, function in functions.items()}


def prepare(task: Processor, names: tuple[str, ...] | None) -> Callable[[list[Any], Item], Any]:
    """Prepare a worker; return what processes an item there.

    Parameters
    ----------
    task
        The task; ``setup`` is called on a copy of it.
    names
        Under which ``process`` gets the data of an item, or None where it gets them in order.
    """
    at_work = copy.copy(task)
    resolved(at_work.setup())
    process = at_work.process
    wants_item = _wants_item(process)

    def call(data: list[Any], item: Item) -> Any:
        extra = {"item": item} if wants_item else {}
        if names is None:
            return process(*data, **extra)
        return process(**dict(zip(names, data, strict=True)), **extra)

    return call


def _wants_item(process: Callable[..., Any]) -> bool:
    return "item" in inspect.signature(process).parameters


def check_signature(task: Processor, names: tuple[str, ...], *, is_named: bool) -> None:
    """Raise DefinitionError where ``process`` cannot take the data of the directories with these names."""
    extra = {"item": None} if _wants_item(task.process) else {}
    signature = inspect.signature(task.process)
    try:
        if is_named:
            signature.bind(**dict.fromkeys(names), **extra)
        else:
            signature.bind(*names, **extra)
    except TypeError as error:
        raise DefinitionError(
            f"{type(task).__name__}.process{signature} does not fit what the task requires, {', '.join(names)}: "
            f"{error}. Give it one argument for each."
        ) from error
