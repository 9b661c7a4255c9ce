"""Checking: how the checks of a task are called on the data of an item."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from luisy_dir.checks import Check, kind_of
from luisy_dir.code import of_function
from luisy_dir.engines.event_loop import is_async
from luisy_dir.engines.packing import message_of
from luisy_dir.errors import CheckError, DefinitionError, Reject

ItemCheck = Callable[[Any], object]  # passes with None or True; fails with False, a text, or an exception
ChecksLike = ItemCheck | Sequence[ItemCheck]
InputChecksLike = ChecksLike | Mapping[str, ChecksLike]

_HOW = "A check returns None or True where the data passes, and False or a text that says why where it fails."


@dataclass(frozen=True)
class Checks:
    """The checks of a task.

    Parameters
    ----------
    output
        Called with the data of every output before it is written.
    input
        Called with what was read of a required directory, by its name.
    """

    output: tuple[ItemCheck, ...] = ()
    input: Mapping[str, tuple[ItemCheck, ...]] = field(default_factory=dict)

    def check_inputs(self, names: Sequence[str], data: Sequence[Any]) -> None:
        """Raise CheckError where the data of one of the directories with these names is not as it should be."""
        if self.input:
            for name, each in zip(names, data, strict=True):
                for check in self.input.get(name, ()):
                    _call(check, each, f"the input {name!r}")

    def check_output(self, path: str, data: Any) -> None:
        """Raise CheckError where the data of the output of that relative path is not as it should be."""
        for check in self.output:
            _call(check, data, f"the output {path!r}")

    @property
    def functions(self) -> dict[str, ItemCheck]:
        """All of them, each by a name of its own."""
        named = {f"check {number} {name_of(check)}": check for number, check in enumerate(self.output, 1)}
        for name, checks in self.input.items():
            named |= {
                f"check_input {number} {name_of(check)} of {name}": check for number, check in enumerate(checks, 1)
            }
        return named

    def parts(self) -> dict[str, Any]:
        """What the fingerprint says of them; nothing where there are none."""
        if not (self.output or self.input):
            return {}
        of_inputs = {name: [*map(_described, checks)] for name, checks in self.input.items()}
        return {"check": {"output": [*map(_described, self.output)], "input": of_inputs}}


def _described(check: ItemCheck) -> str:
    """A ready-made check says all by its name and arguments, so that a record can be read."""
    is_ready_made = isinstance(check, Check) and check.function.__module__ == Check.__module__
    return repr(check) if is_ready_made else of_function(check)


def name_of(check: ItemCheck) -> str:
    """What a check is called in messages."""
    if isinstance(check, Check):
        return repr(check)
    function = getattr(check, "func", check)  # of functools.partial
    return str(getattr(function, "__name__", None) or repr(check))


def _call(check: ItemCheck, data: Any, what: str) -> None:
    try:
        answer = check(data)
    except Reject:
        raise
    except (Exception, SystemExit) as error:
        told = f"{what} fails {name_of(check)}: {_reason(error)}"
        raise CheckError(told).with_traceback(error.__traceback__) from error
    if answer is None or _is_true(answer):
        return
    if isinstance(answer, str) and answer:
        raise CheckError(f"{what} fails {name_of(check)}: {answer}")
    if _is_truth(answer):
        raise CheckError(f"{what} fails {name_of(check)}, which gives no reason")
    _refuse(answer, name_of(check))


def _reason(error: BaseException) -> str:
    message = message_of(error)
    if isinstance(error, AssertionError):
        return message or "an assertion does not hold"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _is_true(answer: Any) -> bool:
    return _is_truth(answer) and bool(answer)


def _is_truth(answer: Any) -> bool:
    """Whether this is one truth value, be it NumPy's."""
    if isinstance(answer, bool):
        return True
    return getattr(answer, "shape", None) == () and getattr(getattr(answer, "dtype", None), "kind", "") == "b"


def _refuse(answer: Any, name: str) -> NoReturn:
    shape = getattr(answer, "shape", None)
    if isinstance(shape, tuple):
        raise DefinitionError(
            f"The check {name} returned {kind_of(answer)} and shape {shape}, which is neither true nor false. "
            "Return one truth value: `(data > 0).all()` rather than `data > 0`."
        )
    if answer == "":
        raise DefinitionError(f"The check {name} returned an empty text, which gives no reason. {_HOW}")
    close = getattr(answer, "close", None)
    if inspect.iscoroutine(answer) and close is not None:
        close()
    raise DefinitionError(f"The check {name} returned {kind_of(answer)}, which is neither true nor false. {_HOW}")


def checks_of(value: ChecksLike, argument: str) -> tuple[ItemCheck, ...]:
    """What was given as ``check`` as a tuple; one callable counts as a list of one.

    Parameters
    ----------
    value
        As a user gave it.
    argument
        Under which name, for messages.

    Raises
    ------
    DefinitionError
        Something is no callable that takes data alone.

    Examples
    --------
    >>> from luisy_dir import checks
    >>> checks_of(checks.finite(), "check")
    (finite(),)
    """
    found = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    for check in found:
        _check_callable(check, argument)
    return found


def input_checks_of(
    value: InputChecksLike, argument: str = "check_input"
) -> tuple[ItemCheck, ...] | dict[str, tuple[ItemCheck, ...]]:
    """What was given as ``check_input``: a tuple, or a dictionary of tuples by the name of a requirement."""
    if isinstance(value, Mapping):
        return {name: checks_of(checks, f"{argument}[{name!r}]") for name, checks in value.items()}
    return checks_of(value, argument)


def _check_callable(check: object, argument: str) -> None:
    if not callable(check) or isinstance(check, type):
        raise DefinitionError(
            f"{argument} got {check!r}, which is no check. Give a function check(data), or one of luisy_dir.checks "
            "with its arguments, such as checks.finite(); or a list of them."
        )
    if getattr(check, "__module__", None) == Check.__module__ and not isinstance(check, Check):
        raise DefinitionError(
            f"{argument}: {name_of(check)} makes a check. Call it, with its arguments: checks.{name_of(check)}(…)."
        )
    if is_async(check):
        raise DefinitionError(
            f"{argument}: {name_of(check)} is 'async def', and is never awaited. Write it with 'def'."
        )
    try:
        signature = inspect.signature(check)
    except (TypeError, ValueError):  # as for some functions that are written in C
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise DefinitionError(
            f"{argument}: {name_of(check)}{signature} cannot be called with the data alone: {error}. A check takes one "
            "argument; where it stands in a class, put @staticmethod above it and leave out self."
        ) from error


def by_directory(
    checks: tuple[ItemCheck, ...] | Mapping[str, tuple[ItemCheck, ...]], names: Sequence[str], task: str
) -> dict[str, tuple[ItemCheck, ...]]:
    """Checks of inputs by the name of each required directory.

    Parameters
    ----------
    checks
        For all of them, or by name.
    names
        Of the required directories.
    task
        Name of the task's class, for messages.

    Raises
    ------
    DefinitionError
        No required directory has that name.
    """
    if not isinstance(checks, Mapping):
        return dict.fromkeys(names, checks) if checks else {}
    unknown = sorted(set(checks) - set(names))
    if unknown:
        raise DefinitionError(
            f"check_input of {task} names {', '.join(map(repr, unknown))}, but the directories that it requires are "
            f"{', '.join(map(repr, names))}. Correct the name, or give the directory one: requires(name=SomeDirectory)."
        )
    return {name: found for name, found in checks.items() if found}
