"""Code: what a function does, with all of the project's own that it reaches, as a digest."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.machinery import SourceFileLoader
from inspect import unwrap
from typing import Any

import xxhash

from luisy_dir.code.belonging import Project
from luisy_dir.code.memory import Seen, held
from luisy_dir.code.reach import Reach, Unit
from luisy_dir.code.sources import byte_code_of, function_behind
from luisy_dir.code.values import OPAQUE

__all__ = ["Code", "Unit", "code_of", "frozen", "of_byte_code", "of_function"]

_MOST_REMEMBERED = 10_000


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
    """

    digest: str
    units: Mapping[str, Unit]
    opaque: tuple[str, ...] = ()


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


def of_byte_code(function: Callable[..., Any]) -> str | None:
    """Digest of what a function was compiled to, to compare two processes of one Python; None where that may differ.

    It may where a module was not simply read from its file: pytest, for one, rewrites assertions as it imports.
    """
    code = getattr(unwrap(function), "__code__", None)
    spec = getattr(sys.modules.get(str(getattr(function, "__module__", None))), "__spec__", None)
    if code is None or type(getattr(spec, "loader", None)) is not SourceFileLoader:
        return None
    return xxhash.xxh3_128_hexdigest(byte_code_of(code).encode(errors="surrogatepass"))


def _code_from(reach: Reach, function: Callable[..., Any], owner: type | None) -> Code:
    description = reach.describe(function, _label_of(function), owner)
    if isinstance(description, str):
        return Code(description, {}, tuple(reach.opaque))
    digest = reach.digest_of(description)
    return Code(f"{OPAQUE}{digest}" if reach.opaque else digest, reach.units, tuple(reach.opaque))


def _label_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)


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
