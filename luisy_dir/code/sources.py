"""The source of a definition: the syntax tree that it was made from, or its byte code where that is not to be had."""

from __future__ import annotations

import ast
import inspect
import json
import linecache
import sys
import textwrap
import types
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from luisy_dir.code.names import Definition, Function, Name, names_read_by
from luisy_dir.code.spelling import spelling_of

_LONGEST_TEXT = 4000
_BODIES = ("body", "orelse", "finalbody", "handlers", "cases")


@dataclass(frozen=True)
class Source:
    """What a definition says.

    Attributes
    ----------
    spelling
        Of its syntax tree, or its byte code.
    names
        That it reads.
    text
        As it stands in the file; empty where that is too long or not to be had.
    is_guess
        Whether ``names`` are merely all names in its byte code, attributes too.
    place
        Its file, and its first and last line there.
    """

    spelling: str
    names: tuple[Name, ...]
    text: str = ""
    is_guess: bool = False
    place: tuple[str, int, int] = ("", 0, 0)

    def contains(self, other: Source) -> bool:
        """Whether another definition stands inside this one."""
        file, first, last = self.place
        return file == other.place[0] and first <= other.place[1] and other.place[2] <= last


class _File:
    """The definitions of one file, each looked for once."""

    def __init__(self, name: str, lines: list[str]) -> None:
        self.name = name
        self.lines = lines
        self.tree = ast.parse("".join(lines))
        self.functions: dict[tuple[str, int], ast.FunctionDef | ast.AsyncFunctionDef] = {}
        self.classes: dict[str, list[ast.ClassDef]] = defaultdict(list)
        self.compiled: dict[str, list[types.CodeType]] = defaultdict(list)
        self._sources: dict[ast.AST, Source] = {}
        self._index(self.tree.body, "")
        self._index_compiled(compile(self.tree, name, "exec", dont_inherit=True))

    def _index(self, statements: Iterable[ast.AST], prefix: str) -> None:
        for node in statements:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                self.functions[prefix + node.name, first] = node
                self._index(node.body, f"{prefix}{node.name}.<locals>.")
            elif isinstance(node, ast.ClassDef):
                self.classes[prefix + node.name].append(node)
                self._index(node.body, f"{prefix}{node.name}.")
            else:
                for field in _BODIES:
                    self._index(getattr(node, field, ()), prefix)

    def _index_compiled(self, code: types.CodeType) -> None:
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self.compiled[constant.co_qualname].append(constant)
                self._index_compiled(constant)

    @cached_property
    def _lambdas(self) -> dict[int, list[ast.Lambda]]:
        lambdas: dict[int, list[ast.Lambda]] = defaultdict(list)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Lambda):
                lambdas[node.lineno].append(node)
        return lambdas

    def node_of(self, code: types.CodeType) -> Function | None:
        """The definition that compiles to just this; None where the file was edited since."""
        for compiled in self.compiled.get(code.co_qualname, ()):
            if compiled == code or byte_code_of(compiled) == byte_code_of(code):
                if code.co_name == "<lambda>":
                    found = [node for node in self._lambdas[compiled.co_firstlineno] if _spans(node.body, compiled)]
                    return found[0] if len(found) == 1 else None
                return self.functions.get((compiled.co_qualname, compiled.co_firstlineno))
        return None

    def source_of(self, node: Definition) -> Source:
        """What a definition in this file says."""
        if node not in self._sources:
            first, last = (1, len(self.lines)) if isinstance(node, ast.Module) else _lines_of(node)
            text = textwrap.dedent("".join(self.lines[first - 1 : last]))
            self._sources[node] = Source(
                spelling_of(node),
                names_read_by(node),
                text if len(text) <= _LONGEST_TEXT else "",
                place=(self.name, first, last),
            )
        return self._sources[node]


_files: dict[str, _File] = {}
_sources: dict[int, tuple[types.CodeType, Source]] = {}  # by id; the code is kept, so that no other one gets it


def source_of_function(function: types.FunctionType) -> Source:
    """What a function says: of the file where that still compiles to just this, else of the byte code.

    Examples
    --------
    >>> namespace = {}
    >>> exec("def f(x): return scale(x)", namespace)
    >>> source_of_function(namespace["f"]).is_guess
    True
    """
    code = function.__code__
    if id(code) not in _sources:
        file = _file(code.co_filename, function.__globals__)
        node = None if file is None else file.node_of(code)
        source = _source_of_byte_code(code) if file is None or node is None else file.source_of(node)
        _sources[id(code)] = code, source
    return _sources[id(code)][1]


def source_of_class(cls: type) -> Source | None:
    """What a class says; None where that is not known, or the file was edited since it was imported."""
    sources = [source_of_function(method) for method in methods_of(cls)]
    name = sources[0].place[0] if sources else getattr(sys.modules.get(cls.__module__), "__file__", None)
    file = _file(name)
    if file is None:
        return None
    found = [file.source_of(node) for node in file.classes.get(cls.__qualname__, [])]
    found = [source for source in found if all(map(source.contains, sources))]
    return found[0] if len(found) == 1 else None


def methods_of(cls: type) -> list[types.FunctionType]:
    """The functions that are written in a class, and not made by a decorator or taken from elsewhere."""
    functions = (function_behind(value) for name, value in vars(cls).items() if not name.startswith("__annotate"))
    start = f"{cls.__qualname__}."
    return [function for function in functions if function and function.__code__.co_qualname.startswith(start)]


def source_of_module(module: types.ModuleType) -> Source | None:
    """What the file of a module says; None where there is none, or it was edited since it was imported."""
    file = _file(getattr(module, "__file__", None))
    if file is None:
        return None
    codes = [value.__code__ for value in vars(module).values() if isinstance(value, types.FunctionType)]
    if any(code.co_filename == file.name and file.node_of(code) is None for code in codes):
        return None
    return file.source_of(file.tree)


def function_behind(value: Any) -> types.FunctionType | None:
    """The function that a method, property, cached function or the like was made from."""
    for attribute in ("__func__", "fget", "func"):
        if type(value) is not types.FunctionType and type(value).__module__ in {"builtins", "functools"}:
            value = getattr(value, attribute, value)
    try:
        value = inspect.unwrap(value) if callable(value) else value
    except Exception:  # noqa: BLE001 - it wraps itself, or does anything when it is asked
        return None
    return value if type(value) is types.FunctionType else None


def _file(name: str | None, namespace: dict[str, Any] | None = None) -> _File | None:
    """The file as it is now; None where it cannot be read as Python."""
    if not name:
        return None
    linecache.checkcache(name)
    lines = linecache.getlines(name, namespace)
    if name not in _files or _files[name].lines is not lines:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # whoever imported it has been told
                _files[name] = _File(name, lines)
        except (SyntaxError, ValueError, RecursionError):
            return None
    return _files[name]


def _lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef) -> tuple[int, int]:
    decorators = node.decorator_list if isinstance(node, ast.ClassDef) else []
    return min([node.lineno, *(decorator.lineno for decorator in decorators)]), node.end_lineno or node.lineno


def _spans(body: ast.expr, code: types.CodeType) -> bool:
    """Whether the instructions of a lambda reach from the first to the last letter of ``body``, and no further."""
    places = [place for place in code.co_positions() if None not in place and place[3]]
    begins, ends = [(line, column) for line, _, column, _ in places], [(line, column) for _, line, _, column in places]
    return bool(places) and (min(begins), max(ends)) == (
        (body.lineno, body.col_offset),
        (body.end_lineno, body.end_col_offset),
    )


# -- byte code --------------------------------------------------------------------------------------------------------


def _source_of_byte_code(code: types.CodeType) -> Source:
    """Where nothing else is known, each name in the byte code may be a global one, or an attribute of ``self``."""
    names = sorted(_names_in(code))
    guesses = [Name(kind, (name,)) for kind in ("global", "self") for name in names]
    if "super" in names:
        guesses += [Name("super", (name,)) for name in names]
    return Source(byte_code_of(code), tuple(guesses), is_guess=True)


def _names_in(code: types.CodeType) -> set[str]:
    inner = (_names_in(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return {*code.co_names, *code.co_freevars}.union(*inner)


def byte_code_of(code: types.CodeType) -> str:
    """The byte code of a function, without its docstring and its place; stable within one version of Python."""
    constants = [_constant(constant) for constant in code.co_consts]
    if _has_docstring(code):
        constants[0] = ""
    names = code.co_names, code.co_varnames, code.co_cellvars, code.co_freevars
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount
    return json.dumps(["bytecode", code.co_code.hex(), constants, names, counts])


def _has_docstring(code: types.CodeType) -> bool:
    flag: int | None = getattr(inspect, "CO_HAS_DOCSTRING", None)  # from Python 3.14 on
    if flag is not None:
        return bool(code.co_flags & flag)
    return code.co_name != "<lambda>" and bool(code.co_consts) and isinstance(code.co_consts[0], str)


def _constant(constant: object) -> str:
    if isinstance(constant, types.CodeType):
        return byte_code_of(constant)
    if isinstance(constant, frozenset):  # the order of which is another one in every process
        return f"frozenset {sorted(map(_constant, constant))}"
    if isinstance(constant, tuple):
        return f"tuple {[_constant(part) for part in constant]}"
    return f"{type(constant).__name__} {constant!r}"
