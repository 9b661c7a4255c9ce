"""The spelling of a syntax tree: one text, without what does not count."""

from __future__ import annotations

import ast

_NOT_SPELLED = {"ctx", "kind", "returns", "simple", "type_comment", "type_ignores", "type_params"}
_MAY_DO_NOTHING = {ast.Expr, ast.AnnAssign, ast.Pass}
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {ast.arg: ("arg",)}  # and not its annotation


def spelling_of(*nodes: ast.AST) -> str:
    """Syntax trees as one text without comments, docstrings, layout, and annotations of functions and local names.

    The decorators of a function are left out, because what they have made of it is what counts; those of a class are
    in. It is the same text in all versions of Python that read the same syntax.

    Examples
    --------
    >>> spelling_of(ast.parse("x = 1  # one")) == spelling_of(ast.parse("x: int = (1)"))
    True
    """
    written: list[str] = []
    for node in nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            fields = tuple(field for field in _fields_of(type(node)) if field != "decorator_list")
            _spell_fields(node, fields, written)
        else:
            _spell(node, written)
    return "".join(written)


def _spell(value: object, written: list[str], *, in_class: bool = False) -> None:
    if isinstance(value, ast.AST):
        if isinstance(value, ast.AnnAssign) and not in_class:
            value = ast.Assign([value.target], value.value or ast.Constant(None))
        _spell_fields(value, _fields_of(type(value)), written)
    elif isinstance(value, list):
        written.append("[")
        for part in value:
            if type(part) not in _MAY_DO_NOTHING or not _does_nothing(part, in_class=in_class):
                _spell(part, written, in_class=in_class)
        written.append("]")
    else:
        written.append(f"{hex(value) if type(value) is int else repr(value)};")  # repr refuses very long numbers


def _spell_fields(node: ast.AST, fields: tuple[str, ...], written: list[str]) -> None:
    written.append(f"{type(node).__name__}(")
    for field in fields:
        value = getattr(node, field, None)
        if type(value) is str or value is None:  # most of them: names, and what is left out
            written.append(f"{value!r};")
        else:
            _spell(value, written, in_class=field == "body" and isinstance(node, ast.ClassDef))
    written.append(")")


def _fields_of(kind: type[ast.AST]) -> tuple[str, ...]:
    if kind not in _FIELDS:
        _FIELDS[kind] = tuple(sorted(set(kind._fields) - _NOT_SPELLED))
    return _FIELDS[kind]


def _does_nothing(statement: object, *, in_class: bool) -> bool:
    """Whether this is ``pass``, a docstring or another text that stands for a comment, or the type of a local name."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.AnnAssign):
        return statement.value is None and not in_class
    return isinstance(statement, ast.Pass)
