"""The reach of a definition: all definitions and constants that it refers to, and what these refer to in turn."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import EnumMeta
from typing import Any

import xxhash

from luisy_dir.code.belonging import Project, is_a, name_of, spelled
from luisy_dir.code.memory import Place, Seen, Thing
from luisy_dir.code.resolution import Resolver, Scope, is_parameter
from luisy_dir.code.sources import (
    Source,
    function_behind,
    methods_of,
    source_of_class,
    source_of_function,
    source_of_module,
)
from luisy_dir.code.values import BUILTIN, Description, Ref, opaque_in, refers

_NUMBERS = (bool, int, float, complex, type(None))
_STORAGE = (types.GetSetDescriptorType, types.MemberDescriptorType)


@dataclass(frozen=True)
class Unit:
    """One definition or constant that counts.

    Attributes
    ----------
    digest
        Of this definition alone: its syntax tree, defaults, closed-over values, and the names that it refers to. Of a
        constant: its value.
    text
        As it stands in the file; of a number, a truth value and None for example ``LIMIT = 3``. Empty for any other
        constant, which may be a secret, and for what is longer than 4,000 characters or not to be had.
    """

    digest: str
    text: str


class Reach:
    """Follows names from one description to all that they reach.

    Parameters
    ----------
    project
        What is looked into.

    Attributes
    ----------
    units
        What was reached, by name, in the order in which it was found.
    opaque
        Names of what could not be looked into.
    seen
        What was found where.
    files
        Those in which the source of something was found.
    is_all_found
        Whether that is so of all that was reached.
    """

    def __init__(self, project: Project) -> None:
        self.units: dict[str, Unit] = {}
        self.opaque: list[str] = []
        self.seen = Seen()
        self.files: set[str] = set()
        self.is_all_found = True
        self._project = project
        self._resolver = Resolver(project, self.seen, self.opaque, self._describe_at)
        self._found: list[Ref] = []
        self._numbers: dict[Ref, int] = {}
        self._constants: set[tuple[str, str]] = set()

    def digest_of(self, description: Description, name: str) -> str:
        """Digest of a description and of all that it reaches; ``name`` is its own, where it is no mere definition.

        Definitions refer to each other by number, in the order in which they are found: it does not matter in which
        module they lie, and they may refer to each other in circles.
        """
        if isinstance(description, tuple) and not str(description[0]).startswith(BUILTIN):
            self.units[self._new_unit(name)] = Unit(_digest(_alone(description)), "")
        total = xxhash.xxh3_128(self._flat(description).encode())
        for ref in self._found:  # grows
            total.update(f"\n{self._flat(self._part(ref))}".encode())
        return total.hexdigest()

    def describe(self, value: Any, label: str, owner: type | None = None) -> Description:
        """What a value is; ``label`` says which, where it cannot be looked into."""
        description = self.seen.describe(Thing(value, self._project, owner))
        if opaque_in(description) and label not in self.opaque:
            self.opaque.append(label)
        return description

    def _flat(self, description: Description) -> str:
        return json.dumps(description, default=self._number)

    def _number(self, ref: Ref) -> list[int]:
        if ref not in self._numbers:
            self._numbers[ref] = len(self._found)
            self._found.append(ref)
        return [self._numbers[ref]]

    # -- definitions

    def _part(self, ref: Ref) -> Description:
        if isinstance(ref.target, types.FunctionType):
            return self._function(ref.target, ref.owner)
        return self._module(ref.target) if isinstance(ref.target, types.ModuleType) else self._class(ref.target)

    def _function(self, function: types.FunctionType, owner: type | None) -> Description:
        code, source = function.__code__, source_of_function(function)
        unit = self._new_unit(name_of(function))
        guesses = tuple(name.chain[0] for name in source.names if name.kind == "global") if source.is_guess else ()
        within = code.co_qualname.rpartition(".")[0]
        scope = Scope(unit, function.__globals__, _cells_of(function), owner, within, guesses)
        own = [(name, self._inside(Place(function, name), unit, owner)) for name in ("__defaults__", "__kwdefaults__")]
        if "__wrapped__" in vars(function):
            own.append(("__wrapped__", self._inside(Place(function, "__wrapped__"), unit, owner)))
        return self._settled(scope, source, own)

    def _class(self, cls: type) -> Description:
        source, methods = source_of_class(cls), methods_of(cls)
        unit = self._new_unit(name_of(cls))
        module = sys.modules.get(cls.__module__)
        namespace = methods[0].__globals__ if methods else {} if module is None else vars(module)
        cells = {name: cell for method in methods for name, cell in _cells_of(method).items()}
        own = [("bases", self.describe(cls.__bases__, unit)), ("metaclass", self.describe(type(cls), unit))]
        own += self._members(cls, unit) if isinstance(cls, EnumMeta) else self._attributes(cls, source, unit)
        return self._settled(Scope(unit, namespace, cells), source or Source("vars", ()), own)

    def _members(self, cls: EnumMeta, unit: str) -> Iterator[tuple[str, Description]]:
        members: Mapping[str, Any] = cls.__members__
        return ((name, self.describe(member.value, f"{unit}.{name}")) for name, member in members.items())

    def _attributes(self, cls: type, source: Source | None, unit: str) -> Iterator[tuple[str, Description]]:
        """Of a class, what its source does not say, or not as it is now."""
        methods = methods_of(cls)
        # A library's metaclass, such as Luigi's, keeps what it needs in private attributes of the class.
        is_registered = type(cls) is not type and not self._project.has(type(cls))
        for name, value in sorted(vars(cls).items()):
            function = function_behind(value)
            if _is_of_python(name, function, value) or is_parameter(value) or (is_registered and name[0] == "_"):
                continue
            if function in methods and source is not None:
                continue
            description = self._inside(Place(cls, name), unit, None)
            if function is None or source is None or refers(description):  # else a library has put it there
                yield name, description

    def _module(self, module: types.ModuleType) -> Description:
        source = source_of_module(module)
        unit = self._new_unit(spelled(module.__name__))
        scope = Scope(unit, vars(module), {})
        if source is not None:
            return self._settled(scope, source, [])
        names = [name for name in sorted(vars(module)) if not name.startswith("__")]
        return self._settled(
            scope, Source("vars", ()), [(name, self._inside(Place(vars(module), name), unit, None)) for name in names]
        )

    def _settled(self, scope: Scope, source: Source, own: list[tuple[str, Description]]) -> Description:
        """All that a definition says and refers to; its unit is what of that does not lie elsewhere."""
        names = [(f"{name.kind} {'.'.join(name.chain)}", self._resolver.resolve(name, scope)) for name in source.names]
        found: list[Description] = [*own, *((label, value) for label, value in names if value is not None)]
        self._note(source)
        part: Description = (source.spelling, *found)
        self.units[scope.unit] = Unit(_digest(_alone(part)), source.text)
        return part

    def _note(self, source: Source) -> None:
        file = source.place[0]
        if file:
            self.files.add(file)
        else:
            self.is_all_found = False

    # -- values

    def _inside(self, place: Place, unit: str, owner: type | None) -> Description:
        """A value that belongs to a definition."""
        return self.describe(self.seen.look(place), f"{unit}.{place.name}", owner)

    def _describe_at(self, place: Place, value: Any, unit: str, owner: type | None) -> Description:
        """What was found in a place: a constant is a unit of its own, unless it is closed over."""
        if isinstance(place.holder, types.CellType):
            return self.describe(value, f"{unit}.{place.name}", owner)
        label = _label_of(place)
        description = self.describe(value, label, owner)
        is_name = isinstance(description, str) and description.startswith(BUILTIN)
        if is_name or isinstance(description, Ref) or function_behind(value) is not None:
            return description
        digest = _digest(_alone(description))
        if (label, digest) not in self._constants:  # it may be found in a class and in one that is derived from it
            self._constants.add((label, digest))
            text = f"{place.name} = {value!r}" if type(value) in _NUMBERS else ""
            self.units[self._new_unit(label)] = Unit(digest, text)
        return ("constant", description)

    def _new_unit(self, name: str) -> str:
        """Reserve a name; a second definition of the same name is numbered."""
        number, unit = 1, name
        while unit in self.units:
            number += 1
            unit = f"{name}#{number}"
        self.units[unit] = Unit("", "")
        return unit


def _alone(description: Description) -> Description:
    """A description without what it refers to."""
    if isinstance(description, tuple):
        return "constant" if description[:1] == ("constant",) else tuple(map(_alone, description))
    return "definition" if isinstance(description, Ref) else description


def _digest(alone: Description) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(alone).encode())


def _cells_of(function: types.FunctionType) -> dict[str, types.CellType]:
    return dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))


def _label_of(place: Place) -> str:
    holder = place.holder
    if isinstance(holder, dict):
        return f"{spelled(str(holder.get('__name__') or ''))}.{place.name}".lstrip(".")
    if isinstance(holder, type):
        holder = next(cls for cls in holder.__mro__ if place.name in vars(cls))
    return f"{name_of(holder)}.{place.name}"


def _is_of_python(name: str, function: types.FunctionType | None, value: object) -> bool:
    """Whether an attribute of a class is there for Python's own use, or was made by a decorator of the class."""
    if name.startswith("__") and name.endswith("__"):
        code = None if function is None else function.__code__
        is_written = (
            code is not None and code.co_qualname.endswith(f".{name}") and "__create_fn__" not in code.co_qualname
        )
        return not is_written
    return name == "_abc_impl" or isinstance(value, _STORAGE) or is_a(value, "_collections", "_tuplegetter")
