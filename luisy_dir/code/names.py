"""The names that a definition reads from around it."""

from __future__ import annotations

import ast
from typing import Any, Literal, NamedTuple, TypeAlias

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Definition: TypeAlias = Function | ast.ClassDef | ast.Module
_Comprehension: TypeAlias = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_Chain: TypeAlias = tuple[str, ...]
_MAY_HAVE_NAMES = (
    *(ast.expr, ast.stmt, ast.arguments, ast.comprehension, ast.keyword, ast.withitem),
    *(ast.excepthandler, ast.match_case, ast.pattern),
)
_READ_LIKE = {
    **dict.fromkeys(("AsyncFunctionDef", "Lambda"), "FunctionDef"),
    **dict.fromkeys(("SetComp", "DictComp", "GeneratorExp"), "ListComp"),
    **dict.fromkeys(("MatchAs", "MatchStar", "MatchMapping"), "ExceptHandler"),
    "Nonlocal": "Global",
}


class Name(NamedTuple):
    """One thing that a definition refers to, with its attributes: ``helpers.scale`` is ``("helpers", "scale")``.

    ``global`` begins with a global or closed-over name, ``import`` with a module that is imported here (and the dots
    before it), ``self`` behind the first parameter, and ``super`` behind ``super()``.
    """

    kind: Literal["global", "import", "self", "super"]
    chain: _Chain


def names_read_by(node: Definition) -> tuple[Name, ...]:
    """The names that a definition reads and does not bind itself, sorted.

    Defaults and decorators of the function itself are left out: there are values to look at. To a module belongs also
    what it imports by name, since others may take it from there.

    Examples
    --------
    >>> tree = ast.parse("def f(x): return scale(x) + helpers.shift(LIMIT)")
    >>> [".".join(name.chain) for name in names_read_by(tree.body[0])]
    ['LIMIT', 'helpers.shift', 'scale']
    """
    reader = _Reader()
    if isinstance(node, ast.Module):
        reader.read_module(node)
    elif isinstance(node, ast.ClassDef):
        reader.visit(node)
    else:
        reader.read_function(node, is_method=True)
    return reader.names()


class _Scope:
    """Where names are bound."""

    def __init__(self, kind: Literal["outermost", "function", "class", "comprehension"], first: str = "") -> None:
        self.kind = kind
        self.first = first  # what a method calls the object that it is called on
        self.bound: set[str] = set()
        self.elsewhere: set[str] = set()  # said to be global or nonlocal
        self.imported: dict[str, _Chain] = {}
        self.chains: set[_Chain] = set()


class _Reader(ast.NodeVisitor):
    """Reads each node once; a chain is settled when the scope is left in which it stands."""

    def __init__(self) -> None:
        self._names: set[Name] = set()
        self._scopes = [_Scope("outermost")]

    def names(self) -> tuple[Name, ...]:
        """All that was read from outside."""
        outermost = self._scopes[0]
        rest = (chain for chain in outermost.chains if chain[0] not in outermost.bound)
        return tuple(sorted(self._names | {Name("global", chain) for chain in rest}))

    # -- definitions

    def read_module(self, node: ast.Module) -> None:
        """Read a whole file."""
        self.generic_visit(node)
        imported = self._scope.imported
        self._names.update(Name("import", chain) for chain in imported.values() if len(chain) > 1)
        self._scope.bound -= imported.keys()

    def read_function(self, node: Function, *, is_method: bool = False) -> None:
        """Read parameters and body of a function in a scope of its own."""
        positional = [*node.args.posonlyargs, *node.args.args]
        others = [*node.args.kwonlyargs, *filter(None, (node.args.vararg, node.args.kwarg))]
        scope = _Scope("function", positional[0].arg if positional and is_method else "")
        scope.bound.update(argument.arg for argument in (*positional, *others))
        self._scopes.append(scope)
        self._visit_all(node.body if isinstance(node.body, list) else [node.body])
        self._leave()

    def visit_FunctionDef(self, node: Function) -> None:
        self._visit_all(
            [*getattr(node, "decorator_list", []), *node.args.defaults, *filter(None, node.args.kw_defaults)]
        )
        self._bind(getattr(node, "name", None))
        self.read_function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        self._bind(node.name)
        self._scopes.append(_Scope("class"))
        self._visit_all(node.body)
        self._leave()

    def visit_ListComp(self, node: _Comprehension) -> None:
        first, *others = node.generators
        self.visit(first.iter)  # in the scope around
        self._scopes.append(_Scope("comprehension"))
        self._visit_all([first.target, *first.ifs, *others])
        self._visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])
        self._leave()

    # -- scopes

    @property
    def _scope(self) -> _Scope:
        return self._scopes[-1]

    def _leave(self) -> None:
        scope = self._scopes.pop()
        around = next(outer for outer in reversed(self._scopes) if outer.kind != "class")  # its methods do not see it
        for chain in scope.chains:
            root, *rest = chain
            if root in scope.elsewhere or root not in scope.bound:
                around.chains.add(chain)
            elif root in scope.imported:
                self._names.add(Name("import", (*scope.imported[root], *rest)))
            elif root == scope.first and rest:
                self._names.add(Name("self", tuple(rest)))

    def _bind(self, name: str | None) -> None:
        if name is not None:
            self._scope.bound.add(name)

    # -- other nodes

    def visit(self, node: ast.AST) -> None:
        """Read one node with all below it."""
        kind = type(node).__name__
        getattr(self, f"visit_{_READ_LIKE.get(kind, kind)}", self.generic_visit)(node)

    def generic_visit(self, node: ast.AST) -> None:
        """Read what is below a node, in half the time that the inherited method takes."""
        for field in node._fields:
            value = getattr(node, field, None)
            for part in value if isinstance(value, list) else (value,):
                if isinstance(part, _MAY_HAVE_NAMES):
                    self.visit(part)

    def _visit_all(self, nodes: list[Any]) -> None:
        for node in nodes:
            self.visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._scope.chains.add((node.id,))
        else:
            self._bind(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        base: ast.expr = node
        attributes: list[str] = []
        while isinstance(base, ast.Attribute):
            attributes.insert(0, base.attr)
            base = base.value
        match base:
            case ast.Name(id=name):
                self._scope.chains.add((name, *attributes))
                return
            case ast.Call(func=ast.Name(id="super")):
                self._names.add(Name("super", (attributes[0],)))
            case ast.Call(func=ast.Name(id="type"), args=[ast.Name(id=name)]):
                self._scope.chains.add((name, *attributes))  # what an instance has of its class
        self.visit(base)

    def visit_Call(self, node: ast.Call) -> None:
        match node:
            case ast.Call(
                func=ast.Name(id="getattr"), args=[ast.Name(id=name), ast.Constant(value=str(attribute)), *rest]
            ):
                self._scope.chains.add((name, attribute))
                self._visit_all(rest)
            case _:
                self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._scope.chains.add((node.target.id,))
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        annotation = [node.annotation] if self._scope.kind == "class" else []  # of a field
        self._visit_all([*annotation, node.target, *filter(None, [node.value])])

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        next(scope for scope in reversed(self._scopes) if scope.kind != "comprehension").bound.add(node.target.id)

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        self._scope.elsewhere.update(node.names)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self._scope.imported[name] = (alias.name if alias.asname else name,)
            self._bind(name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            name = alias.asname or alias.name
            self._scope.imported[name] = (module, alias.name)
            self._bind(name)

    def visit_ExceptHandler(self, node: ast.ExceptHandler | ast.MatchAs | ast.MatchStar | ast.MatchMapping) -> None:
        self._bind(node.rest if isinstance(node, ast.MatchMapping) else node.name)
        self.generic_visit(node)


def _is_call_of(name: str, node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == name
