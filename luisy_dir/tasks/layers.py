"""A task in a layer: where its results lie, and what they are called."""

from __future__ import annotations

import functools
import json
import logging
import multiprocessing
import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar, Self

import luigi
import xxhash
from luigi.parameter import ParameterVisibility
from luigi.task import flatten

from luisy_dir import invocation, settings
from luisy_dir.engines import home as homes
from luisy_dir.errors import DefinitionError
from luisy_dir.selection import folder_in_scratch

logger = logging.getLogger("luigi-interface.luisy_dir")

_PLAIN_VALUE = re.compile(r"[A-Za-z0-9.+-]{1,40}\Z")
_LONGEST_NAME = 200
_HASH_DIGITS = 10
_no_parameters: set[type] = set()  # types of attributes that are none


class _ProjectOfModule:
    """The first part of the module's name, where neither a decorator nor the class itself names a project."""

    def __get__(self, task: object, cls: type) -> str:
        module = cls.__module__
        if module not in {"__main__", "__mp_main__"}:
            return module.partition(".")[0]
        return os.path.splitext(os.path.basename(homes.script()))[0] or "main"


class LayerTask(luigi.Task):
    """A task whose results lie below ``<working_dir>/<project>/<layer>/<sub_dir>``."""

    layer: ClassVar[str | None] = None
    project_name: ClassVar[str] = _ProjectOfModule()  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        state = os.getpid(), settings.process_state(), invocation.process_state(), settings.configuration()
        return _rebuild, (type(self), self.param_kwargs, *state)

    @classmethod
    def get_params(cls) -> list[tuple[str, luigi.Parameter[Any]]]:
        """Name and object of every parameter, in the order in which they were made: as Luigi has it, and faster.

        Luigi asks at every making of a task, and looks each time at all that a class has.
        """
        parts = [vars(part) for part in cls.__mro__ if _has_parameters(part)]
        names = {name for part in parts for name, value in part.items() if isinstance(value, luigi.Parameter)}
        found = [(name, value) for name in names if isinstance(value := getattr(cls, name), luigi.Parameter)]
        return sorted(found, key=_place_of)

    def __copy__(self) -> Self:
        """Another object with the same attributes; what is unpickled is Luigi's one instance of these parameters."""
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __repr__(self) -> str:
        """As Luigi has it, but for the values of private parameters."""
        values = [(name, parameter, getattr(self, name)) for name, parameter in self.get_params()]
        shown = [
            f"{name}={'***' if parameter.visibility == ParameterVisibility.PRIVATE else parameter.serialize(value)}"
            for name, parameter, value in values
            if parameter.significant
        ]
        return f"{self.get_task_family()}({', '.join(shown)})"

    @functools.cached_property
    def logger(self) -> logging.Logger:
        """A logger with the name of the task family, whose lines come where Luigi's own do."""
        return logging.getLogger(f"luigi-interface.{self.get_task_family()}")

    def get_sub_dir(self) -> str:
        """Further folders below the layer; none unless you override this."""
        return ""

    def get_outdir(self) -> str:
        """Absolute path of the layer folder; this makes no folder.

        Without a layer it is the working directory and the sub-directory, without the project.
        """
        folder = os.path.join(_layer_folder(type(self), self), self.get_sub_dir())
        return folder.rstrip("/") or "/"

    def get_folder_name(self) -> str:
        """Name of the directory below the layer folder: the task family and its significant parameters.

        Where a value has other characters than letters, digits, ``.``, ``+`` and ``-``, or is private, ten digits of
        a digest stand for all of them.
        """
        return name_of(self)

    def read_input(self) -> Any:
        """What the required tasks have made: of one task its data, of several a list or a dictionary, as required.

        The data of a directory is an iterator over its items; a wrapper stands for what it requires.
        """
        return read_all(_through_wrappers(self.requires(), self.input()))

    def clean(self) -> None:
        """Remove the result, and what a run that did not end well has left in the staging.

        Raises
        ------
        ForeignDirectoryError
            The result is not ours to remove.
        BusyError
            A run works on it.
        """
        self.logger.info("%s: cleaning", self)
        self.output().clean()

    @classmethod
    def get_related_instances(cls, regex_placeholder: str = "(?s).*") -> list[Self]:
        """Tasks of this class, with whatever parameters, whose results lie in the layer folder.

        Parameters
        ----------
        regex_placeholder
            What each value must match as a whole, as text: as it stands in a name, ``None`` for none at all.

        Returns
        -------
        list of task
            Sorted by path. A result whose parameters cannot be read off is left out with a warning.
        """
        wanted = re.compile(regex_placeholder)
        found = {}
        for path, parameters in cls._results_below(_layer_folder(cls)):
            task = _instance(cls, parameters, path)
            texts = ("None" if getattr(task, name) is None else text for name, text in (parameters or {}).items())
            if task is not None and all(map(wanted.fullmatch, texts)):
                found[path] = task
        return [found[path] for path in sorted(found)]

    @classmethod
    def _results_below(cls, folder: str) -> Iterator[tuple[str, Mapping[str, str] | None]]:  # noqa: ARG003
        """Path and serialised parameters of results that look like ours; None where these cannot be read off."""
        raise DefinitionError(f"{cls.__name__} has no results of its own. Ask one of the tasks that it requires.")


def _has_parameters(part: type) -> bool:
    """Whether a class itself, without those that it builds on, has any: as its attributes are now."""
    for kind in set(map(type, vars(part).values())) - _no_parameters:
        if issubclass(kind, luigi.Parameter):
            return True
        _no_parameters.add(kind)
    return False


def _place_of(named: tuple[str, luigi.Parameter[Any]]) -> tuple[int, str]:
    name, parameter = named
    return parameter._counter, name  # noqa: SLF001 - so that the order is Luigi's


def _layer_folder(cls: type[LayerTask], task: LayerTask | None = None) -> str:
    one = cls if task is None else task
    working_dir = settings.selection(one).folder_in(settings.resolve("working_dir", one))
    return os.path.join(working_dir, *_layer_of(cls))


def scratch_of(task: LayerTask, what: str) -> str:
    """Absolute path of the folder for outputs of items that are replayed, or rechecked."""
    parts = (*_layer_of(type(task)), task.get_sub_dir(), task.get_folder_name())
    return folder_in_scratch(settings.resolve("working_dir", task), what, *parts)


def _layer_of(cls: type[LayerTask]) -> tuple[str, ...]:
    return (cls.project_name, cls.layer) if cls.layer else ()


def check_scratch(task: LayerTask) -> None:
    """Raise DefinitionError where a result of a few items would lie among those of all."""
    selection = settings.selection(task)
    for target in flatten(task.output()):
        path = str(getattr(target, "path", target))
        if not (selection.is_all or selection.has_made(path)):
            raise DefinitionError(
                f"{task} writes {path!r}, wherever its other results lie, so that what {selection.name} makes could be "
                "taken for the complete result. Let get_outdir() and output() build on those of their base class, or "
                "run it without limit, sample and only."
            )


def _instance(cls: type[Any], parameters: Mapping[str, str] | None, path: str) -> Any:
    """The task that has written ``path``, or None with a warning where that cannot be said."""
    problem: object = "its parameters do not stand in its name"
    unknown = sorted(set(parameters or ()) - {name for name, _ in cls.get_params()})
    if unknown:
        problem = f"{cls.__name__} has no parameter {', '.join(unknown)}"
    elif parameters is not None:
        try:
            task = cls.from_str_params(dict(parameters))
            if task.output().path == path:
                return task
            problem = "a task with these parameters writes elsewhere"
        except Exception as error:  # noqa: BLE001 - a parameter's parse may raise anything
            problem = error
    logger.warning("%r is left out: %s.", path, problem)
    return None


def name_of(task: luigi.Task, *, excl_params: Collection[str] = (), excl_none: bool = False) -> str:
    """Task family and significant parameters as a name for a file or folder; two tasks have two names.

    Parameters
    ----------
    task
        Any task.
    excl_params
        Parameters to leave out; tasks that differ in these alone have the same name.
    excl_none
        Leave out parameters that are None.

    Examples
    --------
    >>> class Thumbnails(luigi.Task):
    ...     size = luigi.IntParameter()
    ...     title = luigi.Parameter(default="all")
    >>> name_of(Thumbnails(size=64))
    'Thumbnails_size=64_title=all'
    >>> name_of(Thumbnails(size=64, title="cats & dogs"))[:-10]
    'Thumbnails-'
    """
    values, is_private, are_public = {}, False, True
    for name, parameter in task.get_params():
        value = getattr(task, name)
        if parameter.significant and name not in excl_params and not (excl_none and value is None):
            values[name] = None if value is None else str(parameter.serialize(value))
            is_private = is_private or parameter.visibility == ParameterVisibility.PRIVATE
            are_public = are_public and parameter.visibility == ParameterVisibility.PUBLIC
    family: str = task.get_task_family()
    name = family + "".join(f"_{name}={value}" for name, value in sorted(values.items()))
    are_plain = all(value is None or (value != "None" and _PLAIN_VALUE.match(value)) for value in values.values())
    if are_plain and not is_private and len(name) <= _LONGEST_NAME:
        return name
    if not are_public or excl_params or excl_none:  # a task id says nothing of values that are not public
        return f"{family}-{xxhash.xxh3_128_hexdigest(json.dumps(values, sort_keys=True).encode())[:_HASH_DIGITS]}"
    return f"{family}-{task.task_id[-_HASH_DIGITS:]}"


def _through_wrappers(required: Any, targets: Any) -> Any:
    """Targets of required tasks; of a wrapper, which has none, those of what it requires, in its shape."""
    if isinstance(required, luigi.WrapperTask) and not targets:
        return _through_wrappers(required.requires(), required.input())
    if isinstance(required, Mapping) and isinstance(targets, Mapping) and required.keys() == targets.keys():
        return {name: _through_wrappers(task, targets[name]) for name, task in required.items()}
    if isinstance(required, (list, tuple)) and isinstance(targets, (list, tuple)) and len(required) == len(targets):
        return [_through_wrappers(*pair) for pair in zip(required, targets, strict=True)]
    return targets


def read_all(targets: Any) -> Any:
    """What ``read()`` of each target says, in the same lists and dictionaries.

    Raises
    ------
    DefinitionError
        A target has no method ``read``.
    """
    if isinstance(targets, Mapping):
        return {name: read_all(target) for name, target in targets.items()}
    if isinstance(targets, (list, tuple)):
        return [read_all(target) for target in targets]
    if not callable(getattr(targets, "read", None)):
        raise DefinitionError(
            f"{targets!r} has no method read(). Open it yourself (self.input().open()), or write the task that makes "
            "it as a luisy_dir.Task."
        )
    return targets.read()


def _is_child_of(pid: int) -> bool:
    """Whether this process was started by that one; a pickle that was kept for later must not change any settings."""
    parent = multiprocessing.parent_process()
    is_starting: bool = getattr(multiprocessing.current_process(), "_inheriting", False)  # before the parent is known
    home = homes.mine()
    return is_starting or pid in {getattr(parent, "pid", None), getattr(home, "pid", None)}


def _rebuild(
    cls: type[LayerTask],
    parameters: Mapping[str, Any],
    pid: int,
    of_settings: Any,
    of_invocation: Any,
    configuration: dict[str, Any],
) -> LayerTask:
    """A task in another process, with the settings of the process that it comes from."""
    if _is_child_of(pid):
        settings.adopt(of_settings)
        invocation.adopt(of_invocation)
        if homes.mine() is not None:
            settings.adopt_configuration(configuration)
    return cls(**parameters)
