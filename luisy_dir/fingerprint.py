"""A fingerprint: a short name for everything that, when it changes, makes a result stale."""

from __future__ import annotations

import ast
import functools
import inspect
import json
import textwrap
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import xxhash

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_OPAQUE = "opaque"


class StateSum:
    """Digest of a set of files by path, size and time of change, the same in whatever order they are added.

    Each file is hashed by xxh3-128 and the hashes are added modulo 2**128, so that neither side has to sort.

    Examples
    --------
    >>> one, other = StateSum(), StateSum()
    >>> one.add("a", 1, 10); one.add("b", 2, 20)
    >>> other.add("b", 2, 20); other.add("a", 1, 10)
    >>> one.hexdigest() == other.hexdigest()
    True
    """

    def __init__(self) -> None:
        self._sum = 0
        self.count = 0
        self.newest_mtime_ns = 0

    def add(self, path: str, size: int, mtime_ns: int) -> None:
        """Take in one file."""
        self._sum += xxhash.xxh3_128_intdigest(f"{path}\0{size}\0{mtime_ns}".encode(errors="surrogateescape"))
        self.count += 1
        self.newest_mtime_ns = max(self.newest_mtime_ns, mtime_ns)

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        return _hex(self._sum)


class ContentSum:
    """Digest of a set of files by path and digest of the content, in whatever order they are added.

    Examples
    --------
    >>> empty, filled = ContentSum(), ContentSum()
    >>> filled.add("a", "00")
    >>> empty.hexdigest() == filled.hexdigest()
    False
    """

    def __init__(self) -> None:
        self._sum = 0

    def add(self, path: str, digest: str) -> None:
        """Take in one file."""
        self._sum += xxhash.xxh3_128_intdigest(f"{path}\0{digest}".encode())

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        return _hex(self._sum)


def _hex(total: int) -> str:
    return f"{total & (1 << 128) - 1:032x}"


def state_sum(files: Iterable[tuple[str, int, int]]) -> StateSum:
    """StateSum over (path, size in bytes, mtime in nanoseconds)."""
    total = StateSum()
    for path, size, mtime_ns in files:
        total.add(path, size, mtime_ns)
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
    return f"{_OPAQUE}:{digest}" if _names_something_opaque(parts) else digest


def is_opaque(part: str) -> bool:
    """Whether a part of a fingerprint says that it could not look into something."""
    return part.startswith(_OPAQUE)


def _names_something_opaque(parts: Any) -> bool:
    if isinstance(parts, str):
        return is_opaque(parts)
    if isinstance(parts, dict):
        return any(map(_names_something_opaque, parts.values()))
    return isinstance(parts, list) and any(map(_names_something_opaque, parts))


def _describe(value: Any, seen: frozenset[int]) -> Any:  # noqa: PLR0911 - one line a kind
    if id(value) in seen:
        return "recursion"
    seen |= {id(value)}
    if isinstance(value, _PLAIN):
        return [type(value).__name__, repr(value)]
    if isinstance(value, (tuple, list)):
        return [type(value).__name__, *(_describe(part, seen) for part in value)]
    if isinstance(value, (set, frozenset)):
        return [type(value).__name__, *sorted((_describe(part, seen) for part in value), key=json.dumps)]
    if isinstance(value, Mapping):
        pairs = [[_describe(key, seen), _describe(part, seen)] for key, part in value.items()]
        return ["mapping", *sorted(pairs, key=json.dumps)]
    if isinstance(value, functools.partial):
        return ["partial", *(_describe(part, seen) for part in (value.func, value.args, value.keywords))]
    if isinstance(value, types.MethodType):
        return _describe(value.__func__, seen)
    if isinstance(value, types.FunctionType):
        return _describe_function(value, seen)
    if isinstance(value, (types.BuiltinFunctionType, types.ModuleType, type, types.MethodDescriptorType)):
        return f"builtin:{_name(value)}"
    return _describe_object(value, seen)


def _describe_function(function: types.FunctionType, seen: frozenset[int]) -> Any:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    return {
        "source": _source(function.__code__),
        "defaults": _describe([function.__defaults__, function.__kwdefaults__], seen),
        "closure": {name: _describe(_content(cell), seen) for name, cell in cells},
    }


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
    return f"{_OPAQUE}:{_name(type(value))}"


def _name(value: Any) -> str:
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", getattr(value, "__name__", type(value).__qualname__))
    return f"{module}.{name}" if module else str(name)


@functools.lru_cache(maxsize=1024)
def _source(code: types.CodeType) -> str:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, TypeError, SyntaxError):
        return _byte_code(code)
    node = _definition(tree, code.co_name)
    return _byte_code(code) if node is None else ast.dump(_without_docstrings(node))


def _definition(tree: ast.Module, name: str) -> ast.AST | None:
    """The one definition of that name in ``tree``; the source of a lambda is the whole line that it stands on."""
    if name == "<lambda>":
        found: list[ast.AST] = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
    else:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        found = [node for node in tree.body if isinstance(node, kinds) and node.name == name]
    return found[0] if len(found) == 1 else None


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
            node.decorator_list = []
    return tree


def _byte_code(code: types.CodeType) -> str:
    """The byte code of a function without source: stable within one version of Python."""
    constants = [_constant(constant) for constant in code.co_consts]
    return json.dumps(["bytecode", code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames)])


def _constant(constant: Any) -> Any:
    if isinstance(constant, types.CodeType):
        return _byte_code(constant)
    return _describe(constant, frozenset()) if isinstance(constant, frozenset) else repr(constant)
