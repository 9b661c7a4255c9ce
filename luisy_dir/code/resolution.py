"""The resolution of a name: which value it has where a definition stands."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import sys
import types
from collections.abc import Callable
from importlib.util import find_spec, resolve_name
from typing import Any, NamedTuple

from luisy_dir.code.belonging import Project, is_a, is_anywhere
from luisy_dir.code.memory import MISSING, Place, Seen
from luisy_dir.code.names import Name
from luisy_dir.code.values import BUILTIN, OPAQUE, Description, Ref

_MISSING = "missing"
_OF_GRAPH = {"requires", "deps"}  # what a task requires counts by what it has written
_COUNT_BY_NAME = {*vars(types.ModuleType("any")), "__builtins__", "__cached__", "__file__", "__path__"}


class Scope(NamedTuple):
    """Where the names of one definition are looked up.

    Attributes
    ----------
    unit
        The definition's name.
    namespace
        The globals.
    cells
        What is closed over, by name.
    owner
        For a method, the class of ``self``.
    within
        Qualified name of the class that a method stands in.
    guesses
        Where the source is not known: all names, each of which may be an attribute of another one.
    """

    unit: str
    namespace: dict[str, Any]
    cells: dict[str, types.CellType]
    owner: type | None = None
    within: str = ""
    guesses: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """Name of the module."""
        return str(self.namespace.get("__name__") or "")


class Resolver:
    """Looks names up as the interpreter would, and follows their attributes through modules and classes.

    Parameters
    ----------
    project
        What is looked into.
    seen
        Notes what was found where.
    opaque
        Gets the names of modules that cannot be imported.
    describe_at
        Describes the value that was found in a place, for a unit; of a method, with its owner.
    """

    def __init__(
        self,
        project: Project,
        seen: Seen,
        opaque: list[str],
        describe_at: Callable[[Place, Any, str, type | None], Description],
    ) -> None:
        self._project = project
        self._seen = seen
        self._opaque = opaque
        self._describe_at = describe_at

    def resolve(self, name: Name, scope: Scope) -> Description | None:
        """What a name stands for; None where that does not count."""
        match name.kind:
            case "global":
                return self._global(name.chain, scope)
            case "import":
                return self._imported(name.chain, scope)
            case "self":
                return None if scope.owner is None else self._attribute(scope.owner, name.chain, scope)
            case "super":
                return self._inherited(name.chain[0], scope)

    def _global(self, chain: tuple[str, ...], scope: Scope) -> Description | None:
        root, *rest = chain
        if root == "__class__":  # what super() closes over
            return None
        place = Place(scope.cells.get(root, scope.namespace), root)
        value = self._seen.look(place)
        if value is MISSING and hasattr(builtins, root):
            return f"{BUILTIN}builtins.{root}"
        return None if value is MISSING and scope.guesses else self._follow(value, rest, place, scope)

    def _imported(self, chain: tuple[str, ...], scope: Scope) -> Description | None:
        first, *rest = chain
        try:
            name = resolve_name(first, scope.namespace.get("__package__") or scope.module.rpartition(".")[0])
        except ImportError:
            return self._not_imported(first)
        if not is_anywhere(name):
            return _MISSING
        if not self._project.has_module(name):
            return BUILTIN + name
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit):  # noqa: BLE001 - a module may do anything when it is imported
            return self._not_imported(name)
        return self._follow(module, [] if rest == ["*"] else rest, Place(sys.modules, name), scope)

    def _not_imported(self, name: str) -> Description:
        if name not in self._opaque:
            self._opaque.append(name)
        return OPAQUE + name

    def _follow(self, value: Any, rest: list[str], place: Place, scope: Scope) -> Description | None:
        """Go on from a value through modules of the project to the definition or constant that is meant."""
        while rest and _is_a_module(value):
            if not self._project.has(value):
                return f"{BUILTIN}{value.__name__}"
            name, *rest = rest
            place = Place(vars(value), name)
            value = self._member(value, place)
        if value is MISSING:
            return _MISSING
        if isinstance(place.holder, dict) and place.name in _COUNT_BY_NAME:
            return f"{BUILTIN}{place.name}"
        return self._describe(value, rest, place, scope)

    def _describe(self, value: Any, rest: list[str], place: Place, scope: Scope) -> Description | None:
        owner = scope.owner
        if rest and owner is not None and any(value is cls for cls in owner.__mro__):
            return self._attribute(value, tuple(rest), scope)
        if rest and type(value) is types.FunctionType and self._project.has(value) and rest[0] in vars(value):
            place = Place(value, rest[0])
            return ("attribute", Ref(value), self._describe_at(place, self._seen.look(place), scope.unit, None))
        if scope.guesses and _is_a_module(value) and self._project.has(value):
            places = [Place(vars(value), name) for name in scope.guesses if name in vars(value)]
            return ("attributes", *(self._describe_at(at, self._seen.look(at), scope.unit, None) for at in places))
        return self._describe_at(place, value, scope.unit, owner if self._is_method(value, scope) else None)

    def _member(self, module: types.ModuleType, place: Place) -> Any:
        """A name in a module, which may be a module below it that nobody has imported yet."""
        below = f"{module.__name__}.{place.name}"
        if place.value() is MISSING and hasattr(module, "__path__"):
            try:
                if find_spec(below) is not None:
                    importlib.import_module(below)
            except (Exception, SystemExit):  # noqa: BLE001 - as above
                self._not_imported(below)
                return MISSING
        value = self._seen.look(place)
        if value is MISSING:
            with contextlib.suppress(Exception):  # a module may make its names up
                return getattr(module, place.name)
        return value

    def _is_method(self, value: Any, scope: Scope) -> bool:
        """Whether a function that another one wraps is a method of the same owner."""
        if scope.owner is None or type(value) is not types.FunctionType:
            return False
        return value.__code__.co_qualname.rpartition(".")[0] in {cls.__qualname__ for cls in scope.owner.__mro__}

    # -- attributes of classes

    def _attribute(self, cls: type, chain: tuple[str, ...], scope: Scope) -> Description | None:
        """What an object has of its class; None where that comes from an installed one, or not from a class at all."""
        if chain[0] == "__class__":
            return self._attribute(cls, chain[1:], scope) if len(chain) > 1 else None
        if chain[0] in _OF_GRAPH:
            return None
        place = Place(cls, _mangled(chain[0], scope.within))
        value = self._seen.look(place)
        if value is MISSING or not self._project.has(self._definer(place)) or is_parameter(value):
            return None
        if _is_a_module(value):
            return self._follow(value, list(chain[1:]), place, scope)
        return self._describe_at(place, value, scope.unit, scope.owner)

    def _definer(self, place: Place) -> type:
        return next((cls for cls in place.holder.__mro__ if place.name in vars(cls)), object)

    def _inherited(self, name: str, scope: Scope) -> Description | None:
        """All definitions of a method that ``super()`` may lead to from where it stands."""
        if scope.owner is None or name in _OF_GRAPH:
            return None
        classes = list(scope.owner.__mro__)
        names = [cls.__qualname__ for cls in classes]
        further = classes[names.index(scope.within) + 1 :] if scope.within in names else classes
        found = [
            self._describe_at(Place(cls, name), vars(cls)[name], scope.unit, scope.owner)
            for cls in further
            if name in vars(cls) and self._project.has(cls)
        ]
        return ("super", *found) if found else None


def is_parameter(value: object) -> bool:
    """Whether this is a parameter of a task, the value of which is another part of a fingerprint."""
    return is_a(value, "luigi.parameter", "Parameter")


def _is_a_module(value: object) -> bool:
    return issubclass(type(value), types.ModuleType)  # not isinstance(), which asks the value


def _mangled(name: str, within: str) -> str:
    """A private name as the compiler spells it within a class."""
    if not within or not name.startswith("__") or name.endswith("__"):
        return name
    return f"_{within.rpartition('.')[2].lstrip('_')}{name}"
