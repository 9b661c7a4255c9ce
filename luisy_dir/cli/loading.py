"""A task that is named on the command line, loaded as ``luigi`` would load it."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from luisy_dir.item import printable

if TYPE_CHECKING:
    from luigi.cmdline_parser import CmdlineParser


@contextlib.contextmanager
def loaded(module: str, family: str, parameters: tuple[str, ...]) -> Iterator[Any]:
    """The task of a command line of luigi's.

    In the block its flags hold, no byte code is written, and what the user's code prints goes to the standard error,
    because it is not our answer.

    Parameters
    ----------
    module
        Imported as ``python -m`` does: from the current directory first.
    family
        Name of the task.
    parameters
        What follows it on luigi's command line.

    Raises
    ------
    click.UsageError
        There is no such module, task or parameter, or a parameter has a value that is not allowed.
    """
    before = sys.path[:], sys.dont_write_bytecode
    sys.path.insert(0, os.getcwd())
    sys.dont_write_bytecode = True
    try:
        with contextlib.redirect_stdout(sys.stderr), _parsed(module, family, parameters) as task:
            yield task
    finally:
        sys.path[:], sys.dont_write_bytecode = before


@contextlib.contextmanager
def _parsed(module: str, family: str, parameters: tuple[str, ...]) -> Iterator[Any]:
    from luigi.cmdline_parser import CmdlineParser

    from luisy_dir import settings  # noqa: F401 - brings its flags

    _import(module)
    _check_is_there(module, family)
    complaint = io.StringIO()
    with contextlib.ExitStack() as stack:
        try:
            with contextlib.redirect_stderr(complaint):
                arguments = ["--module", module, family, *parameters]
                parser = stack.enter_context(CmdlineParser.global_instance(arguments))
        except SystemExit as error:
            if not error.code:
                raise
            raise click.UsageError(printable(complaint.getvalue().rpartition(": error: ")[2].strip())) from error
        _check_parameters(parser, family)
        yield parser.get_task_obj()


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except SystemExit as error:
        raise click.UsageError(
            f"The module {module!r} ends the program when it is imported. Put what it runs under "
            "if __name__ == '__main__':"
        ) from error
    except (ModuleNotFoundError, TypeError, ValueError) as error:
        name = getattr(error, "name", None)
        is_missing = isinstance(error, ModuleNotFoundError) and name and f"{module}.".startswith(f"{name}.")
        if not is_missing and module.strip(".") == module != "":  # it is there, and what it imports is not
            raise
        advice = "Give its name as in 'import name', not its file. " if "/" in module or module.endswith(".py") else ""
        raise click.UsageError(
            f"There is no module {module!r} in {os.getcwd()!r} or among what is installed. {advice}"
            "Run this in the folder that holds it."
        ) from error


def _check_is_there(module: str, family: str) -> None:
    from luigi.task_register import TaskClassAmbigiousException, TaskClassNotFoundException

    try:
        _class_of(family)
    except TaskClassNotFoundException as error:
        names = sorted(_families_in(module))
        tasks = f"Its tasks are {', '.join(names)}." if names else "It has no tasks."
        raise click.UsageError(f"There is no task {family!r} in {module!r}. {tasks}") from error
    except TaskClassAmbigiousException as error:
        raise click.UsageError(
            f"{family!r} is the name of several tasks. Give one of them another name, or a task_namespace."
        ) from error


def _class_of(family: str) -> Any:
    from luigi.task_register import Register

    registered: Any = Register  # which has no types
    return registered.get_task_cls(family)


def _families_in(module: str) -> Iterator[str]:
    import luigi

    values: list[Any] = [value for value in vars(sys.modules[module]).values() if isinstance(value, type)]
    return (value.get_task_family() for value in values if issubclass(value, luigi.Task) and value.__module__ == module)


def _check_parameters(parser: CmdlineParser, family: str) -> None:
    """Name the parameter that is missing or has no allowed value, but not the value of a private one."""
    from luigi.parameter import ParameterVisibility

    for name, parameter in _class_of(family).get_params():
        text = getattr(parser.known_args, name, None)
        flag = f"--{name.replace('_', '-')}"
        if not text:
            if not parameter.has_task_value(family, name):
                raise click.UsageError(f"{family} needs the parameter {flag}.")
            continue
        try:
            parameter.parse(text)
        except Exception as error:  # noqa: BLE001 - a parameter's parse may raise anything
            is_private = parameter.visibility == ParameterVisibility.PRIVATE
            what = "that value" if is_private else f"{text!r}: {error}"
            raise click.UsageError(f"{flag} of {family} cannot be {what}") from (None if is_private else error)
