"""The options of a directory task: what its class or decorator may say that is no setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import luigi

from luisy_dir.errors import DefinitionError
from luisy_dir.item_memory import item_memory_in
from luisy_dir.policy import errors_of
from luisy_dir.streams import Function, Streams, control_of, functions_of, pre_of


def _batch_size_of(value: object, argument: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DefinitionError(f"{argument} is {value!r}. Give a number of items from 1.")
    return value


def _ops_of(value: object, argument: str) -> tuple[Function, ...]:
    """What was given as ``ops``: of these, the first may take the data of several directories."""
    ops = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if ops and not callable(ops[0]):
        raise DefinitionError(
            f"{argument} has {ops[0]!r}, which cannot be called. Give a function, or a list of functions."
        )
    return (*ops[:1], *functions_of(ops[1:], argument))


# By name, what checks a value and gives it the form in which a class keeps it; None stands for the default.
OPTIONS: Mapping[str, Callable[[Any, str], Any]] = {
    "catch": errors_of,
    "retry_on": errors_of,
    "ops": _ops_of,
    "pre": pre_of,
    "post": functions_of,
    "control": control_of,
    "batch_size": _batch_size_of,
    "item_memory": item_memory_in,
}


def checked(name: str, value: object, owner: str) -> Any:
    """The value of an option in the form in which a class keeps it.

    Parameters
    ----------
    name
        Of the option.
    value
        As a user gave it; None stands for the default.
    owner
        Who gave it, for messages.

    Raises
    ------
    DefinitionError
        The value is not allowed.
    """
    return None if value is None else OPTIONS[name](value, f"{name} of {owner}")


def option(task: object, name: str) -> Any:
    """The value of an option of a task; None where it has the default."""
    cls = type(task)
    value = getattr(cls, name)  # a function that is looked up by the object would be a method
    is_of_object = isinstance(value, (property, luigi.Parameter))
    return checked(name, getattr(task, name) if is_of_object else value, cls.__name__)


def streams_of(task: object, directories: Sequence[str] = ()) -> Streams:
    """The functions around the ``process`` of a task, and what its items are told.

    Parameters
    ----------
    task
        A directory task.
    directories
        Names of the directories that it requires, as far as they matter.
    """
    pre, ops, post, control = (option(task, name) for name in ("pre", "ops", "post", "control"))
    return Streams(pre or {}, (*(ops or ())[1:], *(post or ())), control or {}, tuple(directories))
