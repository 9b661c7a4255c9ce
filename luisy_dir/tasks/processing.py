"""Processing: how the ``process`` of a directory task is called in a worker."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from luisy_dir.code import Sent
from luisy_dir.engines.event_loop import resolved
from luisy_dir.errors import DefinitionError
from luisy_dir.item import Item


class Processor(Protocol):
    """What is asked of a directory task in a worker."""

    process: ClassVar[Any]

    def setup(self) -> Any:
        """Prepare a worker."""


def check_same_code(
    task: type,
    then: Mapping[str, Sent],
    methods: Mapping[str, Callable[..., Any]],
    others: Mapping[str, Callable[..., Any]],
) -> None:
    """Raise DefinitionError where a worker would run other code than was recorded.

    Parameters
    ----------
    task
        The task's class.
    then
        What the user's own functions were in the process that the run was started in, by name.
    methods, others
        These functions in this process, by name: those of the class, and all others.
    """
    for name, sent in then.items():
        is_other = sent.is_other(methods[name], task) if name in methods else sent.is_other(others[name])
        if is_other:
            raise DefinitionError(
                f"The file that defines {name} of {task.__name__}, or something that it uses, has changed since this "
                "program began, so that workers would run other code than is recorded. Start again."
            )


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
