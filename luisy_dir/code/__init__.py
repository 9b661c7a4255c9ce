"""Code: what a function does, with all of the project's own that it reaches, as a digest."""

from __future__ import annotations

import os
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.machinery import SourceFileLoader
from inspect import unwrap
from typing import Any

from luisy_dir.code.belonging import Project, name_of
from luisy_dir.code.memory import Seen, held
from luisy_dir.code.reach import Reach, Unit
from luisy_dir.code.sources import function_behind
from luisy_dir.code.values import OPAQUE

__all__ = ["Code", "Sent", "Unit", "code_of", "frozen", "of_function"]

_MOST_REMEMBERED = 10_000
_START_TIME = 19  # of /proc/self/stat behind the name: field 22 of proc(5)
_CLOCK_NS = 2_000_000_000  # by which the clocks of a file system and of a process may differ


@dataclass(frozen=True)
class Code:
    """What a function does, as far as it can be looked into.

    Attributes
    ----------
    digest
        32 hexadecimal digits; ``builtin:…`` and a name for what is installed; ``opaque:…`` where something could not
        be looked into. The same in every process, and wherever a definition lies.
    units
        The function itself, and the definitions and constants of the project that it reaches, by name.
    opaque
        Names of what could not be looked into.
    files
        Size and mtime in nanoseconds, by path, of the files in which the source was found, as they are now; None where
        that of something was not found, because it was edited since, or never was in a file.
    """

    digest: str
    units: Mapping[str, Unit]
    opaque: tuple[str, ...] = ()
    files: Mapping[str, tuple[int, int]] | None = field(default=None, repr=False, compare=False)


_known: dict[tuple[int, int], tuple[Any, type | None, Seen, Code]] = {}


def code_of(function: Callable[..., Any], *, owner: type | None = None) -> Code:
    """What a function does: its source, its defaults and closed values, and all of the project's own that it reaches.

    Looked at once in a process; asked again, it is only seen whether all names still stand for the same, and whether
    lists and the like still hold the same.

    Parameters
    ----------
    function
        A function, method, class, :func:`functools.partial` or any other callable.
    owner
        For a method, the class of ``self``: its attributes, and those of its bases, are followed too.

    Examples
    --------
    >>> code_of(len)
    Code(digest='builtin:builtins.len', units={}, opaque=())
    """
    key = _key_of(function, owner)
    if key in _known:
        _, _, seen, code = _known[key]
        if seen.is_still_so():
            return code
    if len(_known) >= _MOST_REMEMBERED:
        _known.clear()
    reach = Reach(Project(_home_of(function, owner)))
    code = _code_from(reach, function, None if _is_static(function, owner) else owner)
    _known[key] = function, owner, reach.seen, code
    return code


def of_function(function: Callable[..., Any]) -> str:
    """Digest of what a function does; see :func:`code_of`.

    Examples
    --------
    >>> of_function(len)
    'builtin:builtins.len'
    """
    return code_of(function).digest


@contextmanager
def frozen() -> Iterator[None]:
    """Hold names and lists that change inside to what they were before, for the rest of this process.

    Around a run: a function that keeps what it has computed in a dictionary is not another one afterwards.

    Examples
    --------
    >>> cache = {}
    >>> def square(x): return cache.setdefault(x, x * x)
    >>> before = of_function(square)
    >>> with frozen():
    ...     square(3)
    9
    >>> of_function(square) == before
    True
    """
    with held([seen for _, _, seen, _ in _known.values()]):
        yield


@dataclass(frozen=True)
class Sent:
    """What a function was in the process that sends it to another one.

    Parameters
    ----------
    code
        What it was there.
    began_ns
        When that process was started, in nanoseconds since 1970.
    """

    code: Code
    began_ns: int = field(default_factory=lambda: _BEGAN_NS)

    def is_other(self, function: Callable[..., Any], owner: type | None = None) -> bool:
        """Whether the function is another one in this process: the file of something that it reaches was edited.

        Values that merely differ between processes, such as a time of day, are no reason.

        Parameters
        ----------
        function
            As it is here.
        owner
            As for :func:`code_of`.
        """
        if not _is_comparable(function) or not self._may_be_other():
            return False
        return code_of(function, owner=owner).digest != self.code.digest

    def _may_be_other(self) -> bool:
        """Whether a file may have been edited between the time at which one process has read it, and the other."""
        now = None if self.code.files is None else _states_of(self.code.files)
        if now is None or now != self.code.files:
            return True
        return any(mtime_ns > self.began_ns - _CLOCK_NS for _, mtime_ns in now.values())


def _is_comparable(function: Callable[..., Any]) -> bool:
    """Whether a module was simply read from its file: pytest, for one, rewrites assertions as it imports."""
    spec = getattr(sys.modules.get(str(getattr(function, "__module__", None))), "__spec__", None)
    return hasattr(unwrap(function), "__code__") and type(getattr(spec, "loader", None)) is SourceFileLoader


def _code_from(reach: Reach, function: Callable[..., Any], owner: type | None) -> Code:
    name = name_of(function) if isinstance(function, (types.FunctionType, type)) else f"{name_of(function)}()"
    description = reach.describe(function, name, owner)
    if isinstance(description, str):
        return Code(description, {}, tuple(reach.opaque))
    digest = reach.digest_of(description, name)
    files = _states_of(reach.files) if reach.is_all_found else None
    return Code(f"{OPAQUE}{digest}" if reach.opaque else digest, reach.units, tuple(reach.opaque), files)


def _began_ns() -> int:
    """When this process was started, in nanoseconds since 1970; where that is not known, now."""
    now_ns = time.time_ns()
    try:
        with open("/proc/self/stat") as file:
            ticks = int(file.read().rpartition(")")[2].split()[_START_TIME])
        age_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return now_ns
    return now_ns - age_ns


_BEGAN_NS: int = _began_ns()  # of the process that has imported this: a fork has its modules of that


def _states_of(files: Iterable[str]) -> dict[str, tuple[int, int]] | None:
    """Size and mtime of files; None where one is not there."""
    try:
        states = {file: os.stat(file) for file in files}
    except OSError:
        return None
    return {file: (state.st_size, state.st_mtime_ns) for file, state in states.items()}


def _key_of(function: Callable[..., Any], owner: type | None) -> tuple[int, int]:
    """A bound method is another object each time it is asked for."""
    if isinstance(function, types.MethodType):
        return id(function.__func__), id(function.__self__)
    return id(function), id(owner)


def _home_of(function: Any, owner: type | None) -> str:
    """Name of the module that a function belongs to."""
    while isinstance(function, partial):
        function = function.func
    behind = function_behind(function)
    if owner is None and behind is not None:
        return str(behind.__globals__.get("__name__") or "")
    thing = owner or (function if isinstance(function, type) else type(function))
    return thing.__module__


def _is_static(function: Callable[..., Any], owner: type | None) -> bool:
    """Whether a function has no first parameter that would be the object it is called on."""
    parts = (part for cls in owner.__mro__ for part in vars(cls).values()) if owner is not None else ()
    return any(isinstance(part, staticmethod) and part.__func__ is function for part in parts)
