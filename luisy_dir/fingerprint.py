"""A fingerprint: a short name for everything that, when it changes, makes a result stale."""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import json
import linecache
import os
import re
import sys
import sysconfig
import types
from collections.abc import Callable, Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from importlib.machinery import SourceFileLoader
from operator import itemgetter
from pathlib import PurePath
from typing import Any

import msgspec
import xxhash

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_SAYS_ALL = (PurePath, Enum, date, time, timedelta, Decimal, range, slice, re.Pattern)  # repr tells them apart
_OPAQUE = "opaque"
_BUILTIN = "builtin"
_INSTALLED = tuple(path + os.sep for path in {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


class StateSum:
    """Digest of a set of files by path, size and time of change, the same in whatever order they are added.

    Each file is hashed by xxh3-128 of a msgpack array of the three, and the hashes are added modulo 2**128: neither
    side has to sort, and a file can be taken out again.

    Parameters
    ----------
    digest
        What :meth:`hexdigest` said of files that were added before.
    count, newest_mtime_ns
        Their number, and the youngest time of change among them.

    Examples
    --------
    >>> one, other = StateSum(), StateSum()
    >>> one.add("a", 1, 10); one.add("b", 2, 20)
    >>> other.add("b", 2, 20); other.add("a", 1, 10)
    >>> one.hexdigest() == other.hexdigest()
    True
    """

    def __init__(self, digest: str = "0", count: int = 0, newest_mtime_ns: int = 0) -> None:
        self._sum = int(digest, 16)
        self.count = count
        self.newest_mtime_ns = newest_mtime_ns

    def add(self, path: str, size: int, mtime_ns: int) -> None:
        """Take in one file."""
        self._sum += xxhash.xxh3_128_intdigest(_encode((path, size, mtime_ns)))
        self.count += 1
        if mtime_ns > self.newest_mtime_ns:  # noqa: PLR1730 - max() takes a fifth of the time of this method
            self.newest_mtime_ns = mtime_ns

    def update(self, files: Iterable[tuple[str, int, int]]) -> None:
        """Take in many files by (path, size in bytes, mtime in nanoseconds)."""
        files = list(files)
        self._sum += sum(map(xxhash.xxh3_128_intdigest, map(_encode, files)))
        self.count += len(files)
        self.newest_mtime_ns = max(self.newest_mtime_ns, max(map(itemgetter(2), files), default=0))

    def superseded(self, old: StateSum, new: StateSum) -> StateSum:
        """The sum without the files of ``old``, and with those of ``new``.

        The youngest time of change stays where a file is taken out and others remain: none of them is younger.
        """
        result = StateSum(_hex(self._sum - old._sum + new._sum), self.count - old.count + new.count)
        remaining = self.newest_mtime_ns if self.count > old.count else 0
        result.newest_mtime_ns = max(remaining, new.newest_mtime_ns)
        return result

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        return _hex(self._sum)


class ContentSum:
    """Digest of a set of files by path and digest of the content, in whatever order they are added.

    Parameters
    ----------
    digest
        What :meth:`hexdigest` said of files that were added before.

    Examples
    --------
    >>> empty, filled = ContentSum(), ContentSum()
    >>> filled.add("a", "00")
    >>> empty.hexdigest() == filled.hexdigest()
    False
    """

    def __init__(self, digest: str = "0") -> None:
        self._sum = int(digest, 16)

    def add(self, path: str, digest: str) -> None:
        """Take in one file."""
        self._sum += xxhash.xxh3_128_intdigest(f"{path}\0{digest}".encode())

    def superseded(self, old: ContentSum, new: ContentSum) -> ContentSum:
        """The sum without the files of ``old``, and with those of ``new``."""
        return ContentSum(_hex(self._sum - old._sum + new._sum))

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        return _hex(self._sum)


_encode = msgspec.msgpack.Encoder().encode


def _hex(total: int) -> str:
    return f"{total & (1 << 128) - 1:032x}"


def state_sum(files: Iterable[tuple[str, int, int]]) -> StateSum:
    """StateSum over (path, size in bytes, mtime in nanoseconds)."""
    total = StateSum()
    total.update(files)
    return total


def fingerprint_of(parts: Mapping[str, Any]) -> str:
    """Digest of named parts, each of plain JSON values; 32 hexadecimal digits.

    Examples
    --------
    >>> fingerprint_of({"size": 3}) == fingerprint_of({"size": 3})
    True
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(text.encode(errors="surrogatepass"))


def of_function(function: Callable[..., Any]) -> str:
    """What a function does, as a digest: its source without comments and docstrings, its defaults and closed values.

    The value is the same in every process. What cannot be looked into is named, never hashed at random: the answer
    then begins with ``opaque``.

    Parameters
    ----------
    function
        A function, method, class, :func:`functools.partial` or any other callable.

    Returns
    -------
    str
        32 hexadecimal digits, or ``builtin:…`` or ``opaque:…`` and a name.

    Examples
    --------
    >>> of_function(len)
    'builtin:builtins.len'
    """
    parts = _describe(function, frozenset())
    if isinstance(parts, str):
        return parts
    digest = xxhash.xxh3_128_hexdigest(json.dumps(parts, sort_keys=True).encode(errors="surrogatepass"))
    return f"{_OPAQUE}:{digest}" if is_opaque(parts) else digest


def of_byte_code(function: Callable[..., Any]) -> str | None:
    """Digest of what a function was compiled to, to compare two processes of one Python; None where that may differ.

    It may where a module was not simply read from its file: pytest, for one, rewrites assertions as it imports.
    """
    code = getattr(inspect.unwrap(function), "__code__", None)
    spec = getattr(sys.modules.get(str(getattr(function, "__module__", None))), "__spec__", None)
    if code is None or type(getattr(spec, "loader", None)) is not SourceFileLoader:
        return None
    return xxhash.xxh3_128_hexdigest(_byte_code(code).encode(errors="surrogatepass"))


def is_opaque(part: Any) -> bool:
    """Whether a part of a fingerprint, be it nested, says that it could not look into something."""
    if isinstance(part, dict):
        return any(map(is_opaque, part.values()))
    if isinstance(part, list):
        return any(map(is_opaque, part))
    return isinstance(part, str) and part.startswith(_OPAQUE)


def _describe(value: Any, seen: frozenset[int]) -> Any:
    if id(value) in seen:
        return "recursion"
    if isinstance(value, types.FunctionType) and seen and _is_installed(value):
        return f"{_BUILTIN}:{_name(value)}"
    for kinds, describe in _DESCRIPTIONS:
        if isinstance(value, kinds):
            return describe(value, seen | {id(value)})
    return _describe_object(value, seen | {id(value)})


def _describe_each(values: Iterable[Any], seen: frozenset[int]) -> list[Any]:
    return [type(values).__name__, *(_describe(value, seen) for value in values)]


def _describe_set(values: Iterable[Any], seen: frozenset[int]) -> list[Any]:
    return [type(values).__name__, *sorted((_describe(value, seen) for value in values), key=json.dumps)]


def _describe_mapping(values: Mapping[Any, Any], seen: frozenset[int]) -> list[Any]:
    pairs = [[_describe(key, seen), _describe(value, seen)] for key, value in values.items()]
    return ["mapping", *sorted(pairs, key=json.dumps)]


def _describe_partial(value: functools.partial[Any], seen: frozenset[int]) -> list[Any]:
    return ["partial", *(_describe(part, seen) for part in (value.func, value.args, value.keywords))]


def _describe_method(method: types.MethodType, seen: frozenset[int]) -> list[Any]:
    return ["method", _describe(method.__func__, seen), _describe(method.__self__, seen)]


def _describe_name(value: Any, seen: frozenset[int]) -> str:  # noqa: ARG001 - one of the descriptions
    return f"{_BUILTIN if _is_installed(value) else _OPAQUE}:{_name(value)}"


def _describe_builtin(function: types.BuiltinFunctionType, seen: frozenset[int]) -> Any:
    owner = function.__self__
    name = f"{_BUILTIN}:{_name(function)}"
    return name if owner is None or isinstance(owner, types.ModuleType) else [name, _describe(owner, seen)]


def _describe_function(function: types.FunctionType, seen: frozenset[int]) -> Any:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    return {
        "source": _source(function.__code__),
        "defaults": _describe([function.__defaults__, function.__kwdefaults__], seen),
        # super() closes over the class, whose name differs between a script and its workers
        "closure": {name: _describe(_content(cell), seen) for name, cell in cells if name != "__class__"},
    }


def _is_installed(value: Any) -> bool:
    """Whether a thing comes with Python or from an installed package: its name stands for it."""
    name = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    path = getattr(sys.modules.get(str(name)), "__file__", None)
    if path is None:
        return name in sys.builtin_module_names or name in sys.stdlib_module_names
    return str(path).startswith(_INSTALLED)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _describe_object(value: Any, seen: frozenset[int]) -> Any:
    dtype, data = getattr(value, "dtype", None), getattr(value, "tobytes", None)
    if dtype is not None and callable(data) and not getattr(dtype, "hasobject", True):
        return ["array", str(dtype), list(getattr(value, "shape", ())), xxhash.xxh3_128_hexdigest(data())]
    wrapped = getattr(value, "__wrapped__", None)
    if wrapped is not None:
        return _describe(wrapped, seen)
    if isinstance(value, _SAYS_ALL):
        return [type(value).__name__, repr(value)]
    if not _is_installed(type(value)) and hasattr(value, "__dict__"):
        methods = {name: part for name, part in vars(type(value)).items() if isinstance(part, types.FunctionType)}
        return ["object", type(value).__qualname__, _describe(vars(value), seen), _describe(methods, seen)]
    return f"{_OPAQUE}:{_name(type(value))}"


_DESCRIPTIONS: tuple[tuple[Any, Callable[[Any, frozenset[int]], Any]], ...] = (
    (_PLAIN, lambda value, _: [type(value).__name__, repr(value)]),
    ((tuple, list), _describe_each),
    ((set, frozenset), _describe_set),
    (Mapping, _describe_mapping),
    (functools.partial, _describe_partial),
    (types.MethodType, _describe_method),
    (types.FunctionType, _describe_function),
    (types.BuiltinFunctionType, _describe_builtin),
    ((types.ModuleType, type, types.MethodDescriptorType), _describe_name),
)


def _name(value: Any) -> str:
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", getattr(value, "__name__", type(value).__qualname__))
    return f"{module}.{name}" if module else str(name)


@functools.lru_cache(maxsize=1024)
def _source(code: types.CodeType) -> str:
    """The syntax tree of the definition that ``code`` was made from, or its byte code where that is not to be had."""
    linecache.checkcache(code.co_filename)
    lines = "".join(linecache.getlines(code.co_filename))
    try:
        tree, compiled = _parsed(lines, code.co_filename)
    except (SyntaxError, ValueError):
        return _byte_code(code)
    found = [node for node in ast.walk(tree) if _is_definition_of(node, code)]
    if len(found) != 1 or not _is_among(code, compiled):  # or the file was edited since it was imported
        return _byte_code(code)
    return ast.dump(_without_docstrings(found[0]))


@functools.lru_cache(maxsize=64)
def _parsed(source: str, filename: str) -> tuple[ast.Module, types.CodeType]:
    return ast.parse(source), compile(source, filename, "exec", dont_inherit=True)


def _is_definition_of(node: ast.AST, code: types.CodeType) -> bool:
    if isinstance(node, ast.Lambda):
        return code.co_name == "<lambda>" and node.lineno == code.co_firstlineno and _spans(node.body, code)
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or node.name != code.co_name:
        return False
    return code.co_firstlineno == min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _spans(body: ast.expr, code: types.CodeType) -> bool:
    """Whether the instructions of a lambda reach from the first to the last letter of ``body``, and no further."""
    places = [place for place in code.co_positions() if None not in place and place[3]]
    begins, ends = [(line, column) for line, _, column, _ in places], [(line, column) for _, line, _, column in places]
    return bool(places) and (min(begins), max(ends)) == (
        (body.lineno, body.col_offset),
        (body.end_lineno, body.end_col_offset),
    )


def _is_among(code: types.CodeType, compiled: types.CodeType) -> bool:
    """Whether ``code`` is what the source compiles to now."""
    if (code.co_name, code.co_firstlineno) == (compiled.co_name, compiled.co_firstlineno):
        return _byte_code(code) == _byte_code(compiled)
    return any(_is_among(code, constant) for constant in compiled.co_consts if isinstance(constant, types.CodeType))


def _without_docstrings(definition: ast.AST) -> ast.AST:
    definition = copy.deepcopy(definition)
    for node in ast.walk(definition):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
            if node is definition:
                node.decorator_list = []
    return definition


def _byte_code(code: types.CodeType) -> str:
    """The byte code of a function without source: stable within one version of Python."""
    constants = [_constant(constant) for constant in code.co_consts]
    if _has_docstring(code):
        constants[0] = ""
    return json.dumps(["bytecode", code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames)])


def _has_docstring(code: types.CodeType) -> bool:
    flag: int | None = getattr(inspect, "CO_HAS_DOCSTRING", None)  # from Python 3.14 on
    if flag is not None:
        return bool(code.co_flags & flag)
    return code.co_name != "<lambda>" and bool(code.co_consts) and isinstance(code.co_consts[0], str)


def _constant(constant: Any) -> Any:
    if isinstance(constant, types.CodeType):
        return _byte_code(constant)
    return _describe(constant, frozenset()) if isinstance(constant, frozenset) else repr(constant)
