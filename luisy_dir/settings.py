"""The settings: every one, its default, its allowed values and where it may come from, in one table."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from configparser import InterpolationError
from dataclasses import dataclass
from typing import Any

import luigi
from luigi.cmdline_parser import CmdlineParser
from luigi.configuration import LuigiTomlParser, get_config

from luisy_dir.engines import ENGINES
from luisy_dir.errors import DefinitionError, SettingError
from luisy_dir.item_memory import limit_in
from luisy_dir.policy import Policy
from luisy_dir.resources import usable_cpus
from luisy_dir.resumption import RESUME
from luisy_dir.selection import Selection, keys_in, share_of_items
from luisy_dir.terminal import SHOW
from luisy_dir.transaction import DURABILITIES

_SECTION = "luisy_dir"


@dataclass(frozen=True)
class Setting:
    """One setting.

    Parameters
    ----------
    name
        As in ``[luisy_dir] name``, ``--luisy-dir-name`` and ``LUISY_DIR_NAME``.
    default
        Its value where nobody gave one, as text.
    parse
        Makes the value of the text; ValueError where it is not allowed.
    allowed
        What is allowed, in words.
    description
        What it is for.
    is_of_task
        Whether a task may have a value of its own; else it is chosen for an invocation, or in a block of Python.
    """

    name: str
    default: str
    parse: Callable[[str], Any]
    allowed: str
    description: str
    is_of_task: bool = True


def _choice(*values: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in values:
            raise ValueError(text)
        return text

    return parse


def _engine(text: str) -> str:
    if text not in ENGINES and not all(text.partition(":")):
        raise ValueError(text)
    return text


def _workers(text: str) -> int:
    return usable_cpus() if text == "auto" else _at_least(1)(text)


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if value < least:
            raise ValueError(text)
        return value

    return parse


def _optional(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: parse(text) if text else None


def _max_errors(text: str) -> float:
    return Policy(float(text) if "." in text or "e" in text.lower() else int(text)).max_errors


def _timeout(text: str) -> float | None:
    return None if text == "none" else Policy(timeout=float(text)).timeout


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError(text)
    return value


def _truth(text: str) -> bool:
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in values:
        raise ValueError(text)
    return values[text.lower()]


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("working_dir", ".", os.path.abspath, "a path", "folder that holds the projects"),
        Setting(
            "engine", "processes", _engine, f"{', '.join(ENGINES)} or module:function", "what items are processed on"
        ),
        Setting("workers", "auto", _workers, "auto, or a number from 1", "items worked on at the same time"),
        Setting(
            "memory",
            "0.8",
            limit_in,
            "a fraction such as 0.8, or bytes such as '16 GiB'",
            "memory for all items in hand, where a task says with item_memory what each takes; a fraction is of what "
            "the machine has available, or a control group leaves, when the run begins",
        ),
        Setting("max_errors", "0", _max_errors, "a count, or a fraction such as 0.01", "items that may fail"),
        Setting("retries", "0", _at_least(0), "a number from 0", "how often an item that fails is tried again"),
        Setting(
            "retry_delay",
            "0.1",
            _seconds,
            "seconds, such as 0.1",
            "longest wait before an item is tried again; doubled for each further try, up to 30 seconds",
        ),
        Setting(
            "timeout",
            "none",
            _timeout,
            "none, or a number of seconds greater than 0",
            "seconds that an item may take before its worker is killed and the item has failed; processes and dask",
        ),
        Setting(
            "dask_address",
            "",
            str,
            "the address of a Dask scheduler, such as tcp://host:8786",
            "the cluster that the engine dask works on; without one it has a cluster of this machine's own",
        ),
        Setting(
            "durability",
            "commit",
            _choice(*DURABILITIES),
            ", ".join(DURABILITIES),
            "what a power cut may cost: anything (none), the run (commit), the items in hand (item)",
        ),
        Setting(
            "resume",
            "same-code",
            _choice(*RESUME),
            ", ".join(RESUME),
            "what is taken over of an interrupted run: items that the same code has finished (same-code), those that "
            "were finished before the code was changed too (any-code), or none (no)",
        ),
        Setting("seed", "0", _at_least(0), "a number from 0", "from which each item's random numbers are made"),
        Setting(
            "freshness",
            "inputs",
            _choice("inputs", "content", "exists"),
            "inputs, content, exists",
            "whether complete() compares with the inputs by size and time of change (inputs) or reads them (content), "
            "or asks only whether the directory was published (exists)",
        ),
        Setting(
            "on_code_change",
            "rerun",
            _choice("rerun", "warn", "ignore"),
            "rerun, warn, ignore",
            "whether items that were made by earlier code are made anew (rerun), or kept with a warning (warn) or "
            "without a word (ignore)",
        ),
        Setting(
            "check_outputs",
            "stat",
            _choice("stat", "none", "deep"),
            "stat, none, deep",
            "whether complete() looks at every output's size and time of change (stat), reads it (deep), or neither",
        ),
        Setting(
            "max_deleted",
            "0.5",
            _max_errors,
            "a count, or a fraction such as 0.5",
            "raw files that may be gone at once; more are taken for a disk that is not mounted",
        ),
        Setting("keep_generations", "3", _at_least(1), "a number from 1", "generations that are kept to go back to"),
        Setting(
            "retry_failed",
            "false",
            _truth,
            "true, false",
            "whether a directory with items that failed counts as incomplete, once in an invocation",
        ),
        Setting(
            "on_no_space",
            "error",
            _choice("error", "allow"),
            "error, allow",
            "whether a run that is expected to write more than there is room for is an error before it begins",
        ),
        Setting(
            "on_empty",
            "error",
            _choice("error", "allow"),
            "error, allow",
            "whether an input without a single item that is ours is an error",
        ),
        Setting(
            "limit",
            "",
            _optional(_at_least(1)),
            "a number from 1",
            "how many items of raw folders are taken, the first in key order; what is made of them goes to .scratch",
            is_of_task=False,
        ),
        Setting(
            "sample",
            "",
            _optional(share_of_items),
            "a percentage such as 1%, or a fraction such as 0.01",
            "which share of the items of raw folders is taken, by their keys; what is made of them goes to .scratch",
            is_of_task=False,
        ),
        Setting(
            "only",
            "",
            _optional(keys_in),
            "keys separated by commas, or a JSON list of keys",
            "which items of raw folders are taken; what is made of them goes to .scratch",
            is_of_task=False,
        ),
        Setting(
            "progress",
            "auto",
            _choice(*SHOW),
            ", ".join(SHOW),
            "how a run shows how far it is: a bar on a terminal and log lines elsewhere (auto), a bar even where "
            "standard error is no terminal (on), or neither (off)",
        ),
    )
}
OF_SELECTION = tuple(name for name, setting in SETTINGS.items() if not setting.is_of_task)


class luisy_dir(luigi.Config):  # noqa: N801 - Luigi makes the section and the flags of the class's name
    """Settings of directory tasks; see docs/reference/settings.md."""

    working_dir = luigi.Parameter(default="", description=SETTINGS["working_dir"].description)
    engine = luigi.Parameter(default="", description=SETTINGS["engine"].description)
    workers = luigi.Parameter(default="", description=SETTINGS["workers"].description)
    memory = luigi.Parameter(default="", description=SETTINGS["memory"].description)
    max_errors = luigi.Parameter(default="", description=SETTINGS["max_errors"].description)
    timeout = luigi.Parameter(default="", description=SETTINGS["timeout"].description)
    retries = luigi.Parameter(default="", description=SETTINGS["retries"].description)
    retry_delay = luigi.Parameter(default="", description=SETTINGS["retry_delay"].description)
    dask_address = luigi.Parameter(default="", description=SETTINGS["dask_address"].description)
    durability = luigi.Parameter(default="", description=SETTINGS["durability"].description)
    resume = luigi.Parameter(default="", description=SETTINGS["resume"].description)
    seed = luigi.Parameter(default="", description=SETTINGS["seed"].description)
    freshness = luigi.Parameter(default="", description=SETTINGS["freshness"].description)
    on_code_change = luigi.Parameter(default="", description=SETTINGS["on_code_change"].description)
    check_outputs = luigi.Parameter(default="", description=SETTINGS["check_outputs"].description)
    max_deleted = luigi.Parameter(default="", description=SETTINGS["max_deleted"].description)
    keep_generations = luigi.Parameter(default="", description=SETTINGS["keep_generations"].description)
    retry_failed = luigi.BoolParameter(default=False, description=SETTINGS["retry_failed"].description)
    on_no_space = luigi.Parameter(default="", description=SETTINGS["on_no_space"].description)
    on_empty = luigi.Parameter(default="", description=SETTINGS["on_empty"].description)
    limit = luigi.Parameter(default="", description=SETTINGS["limit"].description)
    sample = luigi.Parameter(default="", description=SETTINGS["sample"].description)
    only = luigi.Parameter(default="", description=SETTINGS["only"].description)
    progress = luigi.Parameter(default="", description=SETTINGS["progress"].description)


_set_in_python: dict[str, str] = {}
_inherited_flags: dict[str, str] = {}


def set_working_dir(path: str | os.PathLike[str]) -> None:
    """Choose the folder that holds the projects, for this process and its workers.

    Stronger than the environment, class attributes and ``luigi.cfg``; weaker than ``--luisy-dir-working-dir``.

    Parameters
    ----------
    path
        A folder; it is made when something is published there.
    """
    _set_in_python["working_dir"] = os.path.abspath(path)


@contextlib.contextmanager
def scratch(
    *, limit: int | None = None, sample: float | str | None = None, only: str | Sequence[str] | None = None
) -> Iterator[Selection]:
    """Try a pipeline with a few items: in this block, results lie below ``<working_dir>/.scratch``.

    Raw folders are read where they are. It holds for all threads of this process, and for its workers. The flags of a
    command line are stronger.

    Parameters
    ----------
    limit
        Take so many items of raw folders, the first in key order.
    sample
        Take this share of them, such as ``0.01`` or ``"1%"``; the same ones each time, and among those of a larger one.
    only
        Take the items with these keys; a text as in the setting, or a list of keys.

    Yields
    ------
    Selection
        What is taken.

    Raises
    ------
    SettingError
        Nothing is chosen, or a value is not allowed.

    Examples
    --------
    >>> import luisy_dir as luisy
    >>> @luisy.interim
    ... @luisy.directory_output(".npy")
    ... class Halved(luisy.DirectoryTask):
    ...     def process(self, image):
    ...         return image / 2
    >>> with luisy.scratch(limit=20):
    ...     print(Halved().output().path.partition("/.scratch/")[2].partition("/")[0])
    limit=20
    """
    keys = only if only is None or isinstance(only, str) else json.dumps([*only])
    given = {"limit": limit, "sample": sample, "only": keys}
    chosen = {name: str(value) for name, value in given.items() if value is not None}
    if not (chosen and all(chosen.values())):
        raise SettingError("scratch() chooses no items. Write scratch(limit=20), scratch(sample=0.01) or only=[…].")
    for name, text in chosen.items():
        _parsed(SETTINGS[name], text, "scratch()")
    before = {name: _set_in_python.pop(name) for name in OF_SELECTION if name in _set_in_python}
    _set_in_python.update(chosen)
    try:
        yield selection()
    finally:
        for name in OF_SELECTION:
            _set_in_python.pop(name, None)
        _set_in_python.update(before)


def selection(task: object = None) -> Selection:
    """Which items of raw folders are taken; of a task that is only read all of them, because they are there already."""
    if getattr(task, "run", ...) is None:
        return Selection()
    return Selection(**{name: resolve(name) for name in OF_SELECTION})


def check_class(cls: type) -> None:
    """Raise DefinitionError where a task's class has a value for what is chosen for all tasks together.

    A parameter or a method of that name is the user's own.
    """
    given = [name for name in OF_SELECTION if isinstance(getattr(cls, name, None), (str, int, float, list, tuple))]
    if given:
        raise DefinitionError(told_not_of_task(given[0], cls.__name__))


def told_not_of_task(name: str, task: str) -> str:
    """Why a setting cannot be one task's, and what is to be done."""
    flag = name.replace("_", "-")
    return (
        f"{name!r} cannot be set for {task} alone: whoever requires it would take a few items for all. Give it for a "
        f"whole run: luigi … --luisy-dir-{flag} VALUE, or `with luisy_dir.scratch({name}=…):` in Python; if it is no "
        "setting but your own, give it another name."
    )


def resolve(name: str, task: object = None) -> Any:
    """Value of a setting for a task.

    A flag is stronger than :func:`set_working_dir`, that than the environment, that than the class attribute or
    decorator, that than ``luigi.cfg``, that than the default.

    Raises
    ------
    SettingError
        The value is not allowed; the message names where it came from.

    Examples
    --------
    >>> resolve("durability")
    'commit'
    """
    setting = SETTINGS[name]
    return _parsed(setting, *_found(setting, task))


def _parsed(setting: Setting, value: Any, source: str) -> Any:
    try:
        return setting.parse(str(value))
    except (ValueError, TypeError) as error:
        raise SettingError(
            f"The setting {setting.name!r} is {value!r}, from {source}. Allowed: {setting.allowed}."
        ) from error


def _found(setting: Setting, task: object) -> tuple[Any, str]:
    """The value of the strongest source that has one, and what that source is called."""
    for value, source in _given(setting, task):
        if value is not None and value != "":
            return value, source
    return setting.default, "the default"


def _given(setting: Setting, task: object) -> Iterator[tuple[Any, str]]:
    """What each source says, the strongest first; a run asks hundreds of times, so none is asked without need."""
    name = setting.name
    yield _flag(name), "the flag --luisy-dir-" + name.replace("_", "-")
    yield _set_in_python.get(name), f"set_{name}()" if setting.is_of_task else "scratch()"
    variable = "LUISY_DIR_" + name.upper()
    yield os.environ.get(variable), f"the environment variable {variable}"
    if setting.is_of_task:
        yield getattr(task, name, None), f"the class or decorator of {type(task).__name__}"
    config = get_config()
    yield _configured(config, name), f"[{_SECTION}] in luigi.{'toml' if isinstance(config, LuigiTomlParser) else 'cfg'}"


def is_auto(name: str, task: object = None) -> bool:
    """Whether nobody has chosen a value, so that the engine may know a better one."""
    return bool(_found(SETTINGS[name], task)[0] == "auto")


def _configured(config: Any, name: str) -> Any:
    try:
        return config.get(_SECTION, name) if config.has_option(_SECTION, name) else None
    except InterpolationError as error:
        raise SettingError(
            f"The setting {name!r} in [{_SECTION}] of luigi.cfg cannot be read: {error}. Write a percent sign twice, "
            "as in 1%%."
        ) from error


def _flag(name: str) -> str | None:
    parser = CmdlineParser.get_instance()
    if parser is None:
        return _inherited_flags.get(name)
    value = getattr(parser.known_args, f"{_SECTION}_{name}", None)
    return str(value) if value else None  # a flag without a value that was not given is False


def process_state() -> dict[str, str]:
    """The settings that live in this process alone, for a child that is spawned."""
    flags = {name: value for name in SETTINGS if (value := _flag(name))}
    return _set_in_python | flags


def configuration() -> dict[str, Any]:
    """The content of ``luigi.cfg``, for a worker on another machine."""
    config = get_config()
    if isinstance(config, LuigiTomlParser):
        return dict(config.data)
    return {section: dict(config.items(section, raw=True)) for section in config.sections()}


def adopt_configuration(content: dict[str, Any]) -> None:
    """On another machine: take over the program's :func:`configuration` in place of what lies there."""
    config = get_config()
    if isinstance(config, LuigiTomlParser):
        config.data = content
    else:
        config.clear()
        config.read_dict(content)


def adopt(state: dict[str, str]) -> None:
    """In a child process: take over the parent's :func:`process_state`; it is as strong as flags of our own."""
    _inherited_flags.clear()
    _inherited_flags.update(state)
