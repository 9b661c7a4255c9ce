"""The decorators: they return the class that they are given, and set attributes on that class only."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable
from typing import IO, Any, ClassVar, TypeVar, overload

import luigi
import luigi.util

from luisy_dir.errors import DefinitionError
from luisy_dir.formats import Format, format_for
from luisy_dir.settings import SETTINGS
from luisy_dir.tasks import DirectoryTask, ExternalTask

T = TypeVar("T", bound=type[Any])
FormatLike = str | Format | tuple[Callable[[str], Any], Callable[[Any, IO[bytes]], object]]


def make_directory_output(read_file_func: Callable[[str], Any], regex_pattern: str | None = None) -> Callable[[T], T]:
    """Make a decorator that turns an ExternalTask into a raw directory.

    Parameters
    ----------
    read_file_func
        ``read_file_func(filepath) -> data``; None says that the file is not ours. Whatever else it returns, be it a
        tuple, is the one argument of ``process``.
    regex_pattern
        What the path below the folder must contain (:func:`re.search`); None takes every file.

    Returns
    -------
    callable
        A class decorator; may be used on several classes.

    Raises
    ------
    DefinitionError
        The class is no ExternalTask, or the reader cannot be called.

    Examples
    --------
    >>> import luisy_dir as luisy
    >>> def read_text(filepath):
    ...     if filepath.endswith(".txt"):
    ...         with open(filepath) as file:
    ...             return file.read()
    >>> @luisy.make_directory_output(read_text)
    ... @luisy.raw
    ... class Letters(luisy.ExternalTask):
    ...     def get_folder_name(self):
    ...         return "letters"
    """
    if not callable(read_file_func):
        raise DefinitionError(
            f"make_directory_output needs a function read(filepath), got {read_file_func!r}. "
            "Write @make_directory_output(read_image), with the name of your reader in parentheses."
        )

    try:
        re.compile(regex_pattern or "")
    except re.error as error:
        raise DefinitionError(
            f"regex_pattern {regex_pattern!r} is no regular expression: {error}. For a suffix write r'\\.png$'."
        ) from error

    def decorate(cls: T) -> T:
        _check_class(cls, ExternalTask, "make_directory_output")
        cls.read_file = staticmethod(read_file_func)
        cls.regex_pattern = regex_pattern
        return cls

    return decorate


def _layer(name: str) -> Any:
    @overload
    def layer(cls: T) -> T: ...
    @overload
    def layer(cls: None = None) -> Callable[[T], T]: ...
    def layer(cls: Any = None) -> Any:
        def decorate(cls: T) -> T:
            _check_class(cls, (ExternalTask, DirectoryTask), name)
            cls.layer = name
            return cls

        return decorate if cls is None else decorate(cls)

    layer.__name__ = layer.__qualname__ = name
    layer.__doc__ = f"""Put a task's directory into the layer ``{name}``; with or without parentheses.

    Examples
    --------
    >>> import luisy_dir as luisy
    >>> @luisy.{name}
    ... class Images(luisy.ExternalTask):
    ...     pass
    >>> Images.layer
    '{name}'
    """
    return layer


raw = _layer("raw")
interim = _layer("interim")
final = _layer("final")


def requires(*tasks: type[luigi.Task], **named_tasks: type[luigi.Task]) -> Callable[[T], T]:
    """Say which tasks a task requires, and inherit their parameters, as :class:`luigi.util.requires` does.

    Several required directories are joined by key. ``process`` gets their data in this order, or by name.

    Parameters
    ----------
    *tasks
        Task classes.
    **named_tasks
        Task classes by name; not together with the former.

    Raises
    ------
    DefinitionError
        What is decorated is no task class. Above all a function: ``requires`` stands above ``directory_task``.

    Examples
    --------
    >>> import luisy_dir as luisy
    >>> class Images(luisy.ExternalTask):
    ...     size = luigi.IntParameter(default=8)
    >>> @luisy.requires(Images)
    ... @luisy.directory_task(".npy")
    ... def invert(image):
    ...     return 255 - image
    >>> invert.get_param_names()
    ['size']
    """
    for task in (*tasks, *named_tasks.values()):
        if not (isinstance(task, type) and issubclass(task, luigi.Task)):
            raise DefinitionError(f"requires needs task classes, got {task!r}. Write @requires(SomeTask).")
    if bool(tasks) == bool(named_tasks):
        raise DefinitionError("requires needs task classes, either in order or by name: @requires(A, B) or (a=A, b=B).")

    def decorate(cls: T) -> T:
        if not isinstance(cls, type):
            raise DefinitionError(
                f"requires was put on {getattr(cls, '__name__', cls)!r}, which is no task class, and the requirement "
                "would be lost. Put requires above directory_task."
            )
        _check_class(cls, luigi.Task, "requires")
        if "requires" in vars(cls):
            raise DefinitionError(
                f"{cls.__name__} says already what it requires, which would be lost. Name all in one requires(A, B)."
            )
        decorated: T = luigi.util.requires(*tasks, **named_tasks)(cls)
        return decorated

    return decorate


def directory_output(format: FormatLike, *, suffix: str | None = None, **settings: Any) -> Callable[[T], T]:
    """Say how a DirectoryTask writes its results.

    Parameters
    ----------
    format
        A suffix such as ``".npy"``, a :class:`~luisy_dir.Format`, or a pair ``(read, write)``.
    suffix
        For a pair: what is added to a key to get the path of its file.
    **settings
        Settings for this task, such as ``engine="threads"``.

    Raises
    ------
    DefinitionError
        The suffix or a setting is not known, or the class is no DirectoryTask.

    Examples
    --------
    >>> import luisy_dir as luisy
    >>> @luisy.directory_output(".png", workers=4)
    ... class Thumbnails(luisy.DirectoryTask):
    ...     def process(self, image):
    ...         return image[::8, ::8]
    """
    chosen = _format(format, suffix)
    _check_settings(settings)

    def decorate(cls: T) -> T:
        _check_class(cls, DirectoryTask, "directory_output")
        cls.format = chosen
        for name, value in settings.items():
            setattr(cls, name, value)
        return cls

    return decorate


class FunctionTask(DirectoryTask):
    """A DirectoryTask whose ``process`` is one function; made by :func:`directory_task`."""

    function: ClassVar[Callable[..., Any]]
    setup_function: ClassVar[Callable[[], Any] | None] = None
    state: Any = None

    def setup(self) -> None:
        """Keep what the setup function returned as ``state``."""
        setup_function = type(self).setup_function
        if setup_function is not None:
            self.state = setup_function()

    @property
    def process(self) -> Callable[..., Any]:
        """The function, with the task's parameters and state filled in."""
        function = type(self).function
        wanted = inspect.signature(function).parameters
        filled = {name: value for name, value in self.param_kwargs.items() if name in wanted}
        if "state" in wanted:
            filled["state"] = self.state
        return _Filled(function, filled)

    def _functions(self) -> dict[str, Callable[..., Any]]:
        functions = {"process": type(self).function, "setup": type(self).setup_function}
        return {name: function for name, function in functions.items() if function is not None}


class _Filled:
    """A function with some keyword arguments filled in, which no longer show in its signature."""

    def __init__(self, function: Callable[..., Any], filled: dict[str, Any]) -> None:
        self._function = function
        self._filled = filled
        signature = inspect.signature(function)
        left = [parameter for name, parameter in signature.parameters.items() if name not in filled]
        self.__signature__ = signature.replace(parameters=left)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs, **self._filled)


def directory_task(
    format: FormatLike,
    *,
    suffix: str | None = None,
    params: dict[str, luigi.Parameter[Any]] | None = None,
    setup: Callable[[], Any] | None = None,
    version: str = "",
    **settings: Any,
) -> Callable[[Callable[..., Any]], type[FunctionTask]]:
    """Make a DirectoryTask of one function; stands directly above it, below ``requires`` and the layer.

    The function gets the data of one item and returns the result. If it has a parameter ``item``, it gets the
    :class:`~luisy_dir.Item` too, and in ``state`` what ``setup`` returned in this worker.

    Parameters
    ----------
    format
        A suffix such as ``".npy"``, a :class:`~luisy_dir.Format`, or a pair ``(read, write)``.
    suffix
        For a pair: what is added to a key to get the path of its file.
    params
        Luigi parameters by name; passed to the function as keyword arguments.
    setup
        Called once in each worker.
    version
        Counts as part of the code: change it, and every item is stale.
    **settings
        Settings for this task, such as ``engine="threads"`` or ``max_errors=0.01``.

    Raises
    ------
    DefinitionError
        What is decorated is no function, or already carries a requirement that would be lost.

    Examples
    --------
    >>> import luisy_dir as luisy
    >>> @luisy.interim
    ... @luisy.directory_task(".npy", params={"gain": luigi.FloatParameter(default=1.5)})
    ... def brighten(image, gain):
    ...     return image * gain
    >>> brighten(gain=2.0).output().path.endswith("/interim/brighten_gain=2.0")
    True
    """
    chosen = _format(format, suffix)
    _check_settings(settings)

    def decorate(function: Callable[..., Any]) -> type[FunctionTask]:
        _check_function(function, params or {})
        body = {
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "__qualname__": function.__qualname__,
            "function": staticmethod(function),
            "setup_function": None if setup is None else staticmethod(setup),
            "format": chosen,
            "version": version,
            **settings,
            **(params or {}),
        }
        made: type[FunctionTask] = types.new_class(
            function.__name__, (FunctionTask,), exec_body=lambda namespace: namespace.update(body)
        )
        return made

    return decorate


def _check_function(function: object, params: dict[str, luigi.Parameter[Any]]) -> None:
    if not inspect.isfunction(function):
        raise DefinitionError(
            f"directory_task was put on {function!r}, which is no function. Use it on a function, directly above "
            "'def'; a class is decorated with directory_output."
        )
    if hasattr(function, "requires"):
        raise DefinitionError(
            f"requires stands below directory_task on {function.__name__!r}, where its requirement would be lost. "
            "Put it above directory_task."
        )
    if function.__name__ == "<lambda>":
        raise DefinitionError("directory_task needs a function with a name, because the task is named after it.")
    arguments = list(inspect.signature(function).parameters)
    missing = [name for name in params if name not in arguments]
    if missing:
        raise DefinitionError(f"{function.__name__!r} has no argument for the parameters {', '.join(missing)}.")
    taken = [name for name in params if hasattr(FunctionTask, name)]
    if taken:
        raise DefinitionError(f"A parameter cannot be named {', '.join(taken)}, because a task has that. Rename it.")
    if arguments and arguments[0] in {*params, "item", "state"}:
        raise DefinitionError(
            f"The first argument of {function.__name__!r} is {arguments[0]!r}, but the data comes first. Move it back."
        )


def _format(format: FormatLike, suffix: str | None) -> Format:
    chosen = format_for(format)
    if suffix is not None:
        chosen = Format(chosen.read, chosen.write, suffix)
    if not chosen.suffix:
        raise DefinitionError(
            "A pair of functions says nothing of the files' suffix. Write directory_output((read, write), "
            "suffix='.bin'), or give a Format with a suffix."
        )
    return chosen


def _check_settings(settings: dict[str, Any]) -> None:
    unknown = sorted(settings.keys() - SETTINGS.keys())
    if unknown:
        raise DefinitionError(f"There is no setting {', '.join(unknown)}. There are: {', '.join(sorted(SETTINGS))}.")


def _check_class(cls: object, wanted: type | tuple[type, ...], decorator: str) -> None:
    if isinstance(cls, type) and issubclass(cls, wanted):
        return
    names = " and no ".join(kind.__name__ for kind in (wanted if isinstance(wanted, tuple) else (wanted,)))
    raise DefinitionError(
        f"{decorator} was put on {getattr(cls, '__name__', cls)!r}, which is no {names}. Derive the class from that."
    )
