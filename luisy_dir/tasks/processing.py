"""Processing: how the ``process`` of a directory task is called in a worker."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol

from luisy_dir.batching import BatchProcess
from luisy_dir.code import Sent
from luisy_dir.engines.event_loop import resolved
from luisy_dir.errors import DefinitionError
from luisy_dir.item import Item
from luisy_dir.streams import Streams


class Processor(Protocol):
    """What is asked of a directory task in a worker."""

    process: ClassVar[Any]
    process_batch: ClassVar[Any]

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


def prepare(task: Processor, names: tuple[str, ...] | None, streams: Streams) -> Callable[[list[Any], Item], Any]:
    """Prepare a worker; return what processes an item there.

    Parameters
    ----------
    task
        The task; ``setup`` is called on a copy of it.
    names
        Under which ``process`` gets the data of an item, or None where it gets them in order.
    streams
        What comes before and after.
    """
    at_work = copy.copy(task)
    resolved(at_work.setup())
    if is_batched(task):
        return BatchProcess(_taking(at_work.process_batch, names, "items"), streams)
    return streams.around(_taking(at_work.process, names, "item"))


def is_batched(task: Processor) -> bool:
    """Whether a task processes several items together."""
    return callable(getattr(task, "process_batch", None))


def _taking(process: Callable[..., Any], names: tuple[str, ...] | None, word: str) -> Callable[[list[Any], Any], Any]:
    """``process`` as a function of the data of all directories, and of that for which it has an argument ``word``."""
    is_wanted = word in inspect.signature(process).parameters

    def call(data: list[Any], about: Any) -> Any:
        extra = {word: about} if is_wanted else {}
        if names is None:
            return process(*data, **extra)
        return process(**dict(zip(names, data, strict=True)), **extra)

    return call


def check_methods(task: Processor, batch_size: int | None) -> None:
    """Raise DefinitionError where a task does not say in one way how its items are processed."""
    name, has_process = type(task).__name__, callable(getattr(task, "process", None))
    if not has_process and not is_batched(task):
        raise DefinitionError(f"{name} has no method process. Give it process(self, data) that returns the result.")
    if has_process and is_batched(task):
        raise DefinitionError(
            f"{name} has both process and process_batch, and only one of them can be meant. Remove the other; where it "
            "is inherited, write process = None."
        )
    if is_batched(task) and batch_size is None:
        raise DefinitionError(f"{name} has process_batch, but no batch_size. Say how many items it takes.")
    if batch_size is not None and not is_batched(task):
        raise DefinitionError(
            f"{name} has a batch_size, but no process_batch. Give it process_batch(self, images, items) that returns a "
            "list, or leave batch_size out."
        )


def check_signature(task: Processor, names: tuple[str, ...], *, is_named: bool) -> None:
    """Raise DefinitionError where ``process`` cannot take the data of the directories with these names."""
    process, word = (task.process_batch, "items") if is_batched(task) else (task.process, "item")
    signature = inspect.signature(process)
    extra = {word: None} if word in signature.parameters else {}
    try:
        if is_named:
            signature.bind(**dict.fromkeys(names), **extra)
        else:
            signature.bind(*names, **extra)
    except TypeError as error:
        method = "process_batch" if is_batched(task) else "process"
        raise DefinitionError(
            f"{type(task).__name__}.{method}{signature} does not fit what the task requires, {', '.join(names)}: "
            f"{error}. Give it one argument for each."
        ) from error
