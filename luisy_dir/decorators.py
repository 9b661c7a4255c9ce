"""The decorators: they return the class that they are given, and set attributes on that class only."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Collection, Iterable
from typing import IO, Any, ClassVar, TypeVar, overload

import luigi
import luigi.util

from luisy_dir.checking import ChecksLike, InputChecksLike, checks_of, input_checks_of
from luisy_dir.engines.event_loop import resolved
from luisy_dir.errors import DefinitionError
from luisy_dir.formats import Format, format_for
from luisy_dir.grouping import check_group_by
from luisy_dir.keys import check_join
from luisy_dir.settings import OF_SELECTION, SETTINGS, told_not_of_task
from luisy_dir.targets.file import (
    CSVTarget,
    FeatherTarget,
    HDFTarget,
    JSONTarget,
    LocalTarget,
    NpyTarget,
    NpzTarget,
    ParquetDirTarget,
    ParquetTarget,
    PickleTarget,
    XLSXTarget,
)
from luisy_dir.tasks import DirectoryTask, ExternalTask, LayerTask, Task
from luisy_dir.tasks.layers import name_of
from luisy_dir.tasks.options import OPTIONS, checked

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


make_output_directory = make_directory_output


def _layer(name: str) -> Any:
    @overload
    def layer(cls: T) -> T: ...
    @overload
    def layer(cls: None = None) -> Callable[[T], T]: ...
    def layer(cls: Any = None) -> Any:
        def decorate(cls: T) -> T:
            _check_class(cls, LayerTask, name)
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


inherits = luigi.util.inherits


def requires(*tasks: type[luigi.Task], as_dict: bool = False, **named_tasks: type[luigi.Task]) -> Callable[[T], T]:
    """Say which tasks a task requires, and inherit their parameters, as :class:`luigi.util.requires` does.

    Several required directories are joined by key. ``process`` gets their data in this order, or by name.

    Parameters
    ----------
    *tasks
        Task classes.
    as_dict
        ``requires()`` and ``input()`` are dictionaries, also of one task: by task family, which for these tasks is
        the name of their class.
    **named_tasks
        Task classes by name; not together with the former.

    Raises
    ------
    DefinitionError
        What is decorated is no task class. Above all a function: ``requires`` stands above ``directory_task``. Or two
        tasks have the same family, by which a dictionary could not tell them apart.

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
    by_name = _by_family(tasks) if as_dict and tasks else named_tasks

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
        if not by_name:
            decorated: T = luigi.util.requires(*tasks)(cls)
            return decorated
        inheriting: T = luigi.util.inherits(*by_name.values())(cls)
        inheriting.requires = lambda self: {name: self.clone(task) for name, task in by_name.items()}
        return inheriting

    return decorate


def _by_family(tasks: tuple[type[luigi.Task], ...]) -> dict[str, type[luigi.Task]]:
    by_family = {task.get_task_family(): task for task in tasks}
    if len(by_family) < len(tasks):
        raise DefinitionError(
            f"requires(as_dict=True) cannot tell apart tasks of one family: {', '.join(map(str, tasks))}. "
            "Give them names: requires(a=A, b=B)."
        )
    return by_family


def project_name(project_name: str) -> Callable[[T], T]:
    """Put a task's results below another project than the first part of its module's name.

    Parameters
    ----------
    project_name
        Name of a folder below the working directory.

    Raises
    ------
    DefinitionError
        This is no name, or the class is no task in a layer.

    Examples
    --------
    >>> import luisy_dir as luisy
    >>> @luisy.project_name("holiday")
    ... @luisy.raw
    ... class Photographs(luisy.ExternalTask):
    ...     pass
    >>> Photographs().get_outdir().endswith("/holiday/raw")
    True
    """
    parts = project_name.split("/") if isinstance(project_name, str) else [""]
    if not all(parts) or {".", ".."} & set(parts):
        raise DefinitionError(f"{project_name!r} is no name of a project. Write @project_name('holiday').")

    def decorate(cls: T) -> T:
        _check_class(cls, LayerTask, "project_name")
        cls.project_name = project_name
        return cls

    return decorate


def auto_filename(cls: Any = None, excl_params: Iterable[str] = (), excl_none: bool = False) -> Any:  # noqa: FBT001, FBT002 - as in luisy
    """Name a task's file after its family and significant parameters; with or without parentheses.

    Every :class:`~luisy_dir.Task` does so; this leaves parameters out. Values that cannot stand in a file name, or
    would make two tasks write one file, are replaced by a digest.

    Parameters
    ----------
    excl_params
        Parameters to leave out; tasks that differ in these alone share a file.
    excl_none
        Leave out parameters that are None.

    Raises
    ------
    DefinitionError
        A name is no parameter, or the class is no :class:`~luisy_dir.Task`.

    Examples
    --------
    >>> import luisy_dir as luisy
    >>> @luisy.auto_filename(excl_params=["comment"])
    ... class Sizes(luisy.Task):
    ...     year = luigi.IntParameter(default=2024)
    ...     comment = luigi.Parameter(default="")
    >>> Sizes().get_file_name()
    'Sizes_year=2024'
    """
    excluded = [excl_params] if isinstance(excl_params, str) else list(excl_params or ())

    def decorate(cls: T) -> T:
        _check_class(cls, Task, "auto_filename")

        def get_file_name(self: Task) -> str:
            unknown = sorted(set(excluded) - {name for name, _ in self.get_params()})
            if unknown:  # not before: requires, which may stand above, brings parameters too
                raise DefinitionError(f"{self} has no parameter {', '.join(unknown)} to leave out of its file name.")
            return name_of(self, excl_params=excluded, excl_none=excl_none)

        cls.get_file_name = get_file_name
        return cls

    return decorate if cls is None else decorate(cls)


def _output(target: type[LocalTarget], name: str, needs: str = "") -> Any:
    @overload
    def output(cls: T) -> T: ...
    @overload
    def output(cls: None = None, **options: Any) -> Callable[[T], T]: ...
    def output(cls: Any = None, **options: Any) -> Any:
        target.check_options(options)

        def decorate(cls: T) -> T:
            _check_file_task(cls, name, target)
            cls.target_cls = target
            cls.target_kwargs = options
            return cls

        return decorate if cls is None else decorate(cls)

    output.__name__ = output.__qualname__ = name
    output.__doc__ = f"""Let a task write its object as {target.suffix}{needs}; with or without parentheses.

    Parameters
    ----------
    **options
        For the functions of pandas that read and write such a file: each goes to the one that knows it, or to both.

    Raises
    ------
    DefinitionError
        An option is not known, or the class is no :class:`~luisy_dir.Task`.

    Examples
    --------
    >>> import luisy_dir as luisy
    >>> @luisy.{name}
    ... class Measured(luisy.Task):
    ...     pass
    >>> Measured().get_outfile().endswith("/Measured{target.suffix}")
    True
    """
    return output


pickle_output = _output(PickleTarget, "pickle_output")
csv_output = _output(CSVTarget, "csv_output")
json_output = _output(JSONTarget, "json_output")
npy_output = _output(NpyTarget, "npy_output")
npz_output = _output(NpzTarget, "npz_output")
parquet_output = _output(ParquetTarget, "parquet_output", " (needs the extra luisy_dir[parquet])")
feather_output = _output(FeatherTarget, "feather_output", " (needs the extra luisy_dir[feather])")
hdf_output = _output(HDFTarget, "hdf_output", " (needs the extra luisy_dir[hdf])")
xlsx_output = _output(XLSXTarget, "xlsx_output", " (needs the extra luisy_dir[xlsx])")


def parquetdir_output(cls: Any = None, outdir: str | None = None) -> Any:
    """Let a task write a frame as a folder of Parquet files, or an external task read one; with or without parentheses.

    Parameters
    ----------
    outdir
        Name of the folder below the layer folder; else ``get_folder_name()`` says it. May stand alone:
        ``@parquetdir_output("measured")``.

    Raises
    ------
    DefinitionError
        The class is no :class:`~luisy_dir.Task`.

    Examples
    --------
    >>> import luisy_dir as luisy
    >>> @luisy.parquetdir_output("measured")
    ... @luisy.interim
    ... class Measured(luisy.Task):
    ...     pass
    >>> Measured().get_outfile().endswith("/interim/measured")
    True
    """
    folder = cls if isinstance(cls, str) else outdir

    def decorate(cls: T) -> T:
        _check_file_task(cls, "parquetdir_output", ParquetDirTarget)
        cls.target_cls = ParquetDirTarget
        cls.target_kwargs = {}
        if folder is not None:
            cls.get_folder_name = lambda _: folder
        return cls

    return decorate if cls is None or isinstance(cls, str) else decorate(cls)


def _check_file_task(cls: object, decorator: str, target: type[LocalTarget]) -> None:
    if isinstance(cls, type) and issubclass(cls, DirectoryTask):
        raise DefinitionError(
            f"{decorator} was put on {cls.__name__}, whose directory holds many files. Use "
            f"directory_output({target.suffix or '.parquet'!r}) there."
        )
    _check_class(cls, Task, decorator)


def directory_output(
    format: FormatLike,
    *,
    suffix: str | None = None,
    check: ChecksLike = (),
    check_input: InputChecksLike = (),
    depends_on: Collection[str] = (),
    join: str | None = None,
    group_by: Callable[[str], str | None] | None = None,
    **settings: Any,
) -> Callable[[T], T]:
    """Say how a DirectoryTask writes its results.

    Parameters
    ----------
    format
        A suffix such as ``".npy"``, a :class:`~luisy_dir.Format`, or a pair ``(read, write)``; or ``"pack"``, which
        puts many small arrays into one file.
    suffix
        For a pair: what is added to a key to get the path of its file.
    depends_on
        Names of installed packages whose version counts as part of the code, such as ``("scikit-image",)``.
    check
        One check or several, called with the data of each output before it is written; see :mod:`luisy_dir.checks`. An
        item fails where one returns False or a text that says why, or raises.
    check_input
        The same for what was read, before it is processed: of each required directory, or in a dictionary by name.
    join
        What becomes of a key that one of several required directories lacks: it is rejected (``"inner"``, the default),
        ``process`` gets None (``"outer"``), or nothing is processed at all (``"strict"``).
    group_by
        ``group_by(key) -> group key``: files with the same group key are one item, of which ``process`` gets a list;
        a file for which it returns None is left out.
    **settings
        Settings for this task, such as ``engine="threads"``, and attributes of its class, such as ``catch=OSError``:
        see :class:`~luisy_dir.DirectoryTask`.

    Raises
    ------
    DefinitionError
        The suffix, a setting or the word for ``join`` is not known, a check cannot be called, an attribute has a wrong
        value, or the class is no DirectoryTask.

    Examples
    --------
    >>> import luisy_dir as luisy
    >>> @luisy.directory_output(".png", workers=4)
    ... class Thumbnails(luisy.DirectoryTask):
    ...     def process(self, image):
    ...         return image[::8, ::8]
    """
    chosen = _format(format, suffix)
    attributes = _attributes(settings) | _checks(check, check_input) | _shape(join, group_by, "directory_output")

    def decorate(cls: T) -> T:
        _check_class(cls, DirectoryTask, "directory_output")
        cls.format = chosen
        if depends_on:
            cls.depends_on = depends_on
        for name, value in attributes.items():
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
            self.state = resolved(setup_function())

    @property
    def process(self) -> Callable[..., Any] | None:
        """The function, with the task's parameters and state filled in; None where it takes several items."""
        return None if type(self).batch_size else self._filled()

    @property
    def process_batch(self) -> Callable[..., Any] | None:
        """The same where it takes several items."""
        return self._filled() if type(self).batch_size else None

    def _filled(self) -> Callable[..., Any]:
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


def directory_task(  # noqa: PLR0913 - what a class says in attributes
    format: FormatLike,
    *,
    suffix: str | None = None,
    params: dict[str, luigi.Parameter[Any]] | None = None,
    setup: Callable[[], Any] | None = None,
    version: str = "",
    depends_on: Collection[str] = (),
    check: ChecksLike = (),
    check_input: InputChecksLike = (),
    join: str | None = None,
    group_by: Callable[[str], str | None] | None = None,
    **settings: Any,
) -> Callable[[Callable[..., Any]], type[FunctionTask]]:
    """Make a DirectoryTask of one function; stands directly above it, below ``requires`` and the layer.

    The function gets the data of one item and returns the result. If it has a parameter ``item``, it gets the
    :class:`~luisy_dir.Item` too, and in ``state`` what ``setup`` returned in this worker. With ``batch_size`` it gets
    lists, of data and as ``items``, and returns a list.

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
        Counts as part of the code: change it, and every item is stale, whatever ``on_code_change`` says.
    depends_on
        Names of installed packages whose version counts as part of the code, such as ``("scikit-image",)``.
    check, check_input
        What is asked of the data of each output and input; see :func:`directory_output`.
    join
        What becomes of a key that one of several required directories lacks: it is rejected (``"inner"``, the default),
        ``process`` gets None (``"outer"``), or nothing is processed at all (``"strict"``).
    group_by
        ``group_by(key) -> group key``: files with the same group key are one item, of which ``process`` gets a list;
        a file for which it returns None is left out.
    **settings
        Settings for this task, such as ``engine="threads"`` or ``max_errors=0.01``, and attributes of its class, such
        as ``catch=OSError``: see :class:`~luisy_dir.DirectoryTask`.

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
    attributes = _attributes(settings) | _checks(check, check_input) | _shape(join, group_by, "directory_task")

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
            "depends_on": depends_on,
            **attributes,
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
    if arguments and arguments[0] in {*params, "item", "items", "state"}:
        raise DefinitionError(
            f"The first argument of {function.__name__!r} is {arguments[0]!r}, but the data comes first. Move it back."
        )


def _format(format: FormatLike, suffix: str | None) -> Format:
    chosen = format_for(format)
    if suffix is not None and chosen.is_packed:
        raise DefinitionError(f"Packs hold .npy files, and have no suffix {suffix!r}. Leave the suffix out.")
    if suffix is not None:
        chosen = Format(chosen.read, chosen.write, suffix)
    if not chosen.suffix:
        raise DefinitionError(
            "A pair of functions says nothing of the files' suffix. Write directory_output((read, write), "
            "suffix='.bin'), or give a Format with a suffix."
        )
    return chosen


def _checks(check: ChecksLike, check_input: InputChecksLike) -> dict[str, Any]:
    """The class attributes of the checks that were given."""
    given = {"check": checks_of(check, "check"), "check_input": input_checks_of(check_input)}
    return {name: checks for name, checks in given.items() if checks}


def _shape(join: str | None, group_by: Callable[[str], str | None] | None, decorator: str) -> dict[str, Any]:
    """Class attributes that say what an item is made of, as far as something was given."""
    shape: dict[str, Any] = {}
    if join is not None:
        check_join(join, decorator)
        shape["join"] = join
    if group_by is not None:
        check_group_by(group_by, decorator)
        shape["group_by"] = staticmethod(group_by)
    return shape


def _attributes(given: dict[str, Any]) -> dict[str, Any]:
    """Attributes of a class for the settings and options that a decorator was given."""
    for name in OF_SELECTION:
        if name in given:
            raise DefinitionError(told_not_of_task(name, "one task"))
    known = sorted({*SETTINGS, *OPTIONS} - set(OF_SELECTION))
    unknown = sorted(given.keys() - {*known})
    if unknown:
        raise DefinitionError(f"There is no setting {', '.join(unknown)}. There are: {', '.join(known)}.")
    return {name: checked(name, value, "the decorator") if name in OPTIONS else value for name, value in given.items()}


def _check_class(cls: object, wanted: type, decorator: str) -> None:
    if isinstance(cls, type) and issubclass(cls, wanted):
        return
    names = "Task, DirectoryTask or ExternalTask" if wanted is LayerTask else wanted.__name__
    raise DefinitionError(
        f"{decorator} was put on {getattr(cls, '__name__', cls)!r}, which is no {names}. Derive the class from that."
    )
