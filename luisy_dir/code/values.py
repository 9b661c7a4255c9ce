"""The description of a value: what it holds, as texts, and which definitions it refers to."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import types
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any, TypeAlias
from uuid import UUID

import xxhash

from luisy_dir.code.belonging import Project, is_a, is_named_in_a_library, name_of

_PLAIN = (bool, int, float, complex, str, bytes, bytearray)  # bool before int, whose subclass it is
_SAYS_ALL = (
    *(PurePath, date, time, timedelta, tzinfo, Decimal, Fraction, UUID, range),
    *(type(None), type(...), type(NotImplemented)),
)
_NAMED = (types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType)
_NEVER_CHANGES = (str, bytes, int, float, complex, *_SAYS_ALL, re.Pattern, types.FunctionType, type, types.ModuleType)
_OF_ONE = (functools.cached_property, functools.partialmethod, functools.singledispatchmethod)
_WRITTEN_IN_PYTHON = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_SIMPLE = {bool, int, float, complex, str, bytes, type(None)}
_MANY = 100  # from here on many plain values are described by one digest, ten times faster
OPAQUE, BUILTIN = "opaque:", "builtin:"


class Ref:
    """A definition that is described by itself: a function, a class or a module.

    Parameters
    ----------
    target
        The definition.
    owner
        For a method, the class of ``self``.
    """

    __slots__ = ("owner", "target")

    def __init__(self, target: Any, owner: type | None = None) -> None:
        self.target = target
        self.owner = owner

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and (other.target is self.target) and (other.owner is self.owner)

    def __hash__(self) -> int:
        return hash((id(self.target), id(self.owner)))


Description: TypeAlias = str | Ref | tuple["Description", ...]


def describe(value: object, project: Project, owner: type | None = None) -> Description:
    """What a value is, the same in every process; what cannot be looked into is named.

    Parameters
    ----------
    value
        Anything.
    project
        What is looked into; all else is described by its name.
    owner
        For a method, the class of ``self``.

    Examples
    --------
    >>> describe([1, {"a"}], Project())
    ('list', 'int 1', ('set', "str 'a'"))
    >>> describe(len, Project())
    'builtin:builtins.len'
    """
    try:
        return _Describer(project, owner).describe(value)
    except Exception:  # noqa: BLE001 - any object may do anything when it is asked what it is
        return OPAQUE + name_of(type(value))


def opaque_in(description: Description) -> bool:
    """Whether there is something in it that could not be looked into."""
    if isinstance(description, tuple):
        return any(map(opaque_in, description))
    return isinstance(description, str) and description.startswith(OPAQUE)


def refers(description: Description) -> bool:
    """Whether there is a definition of the project in it."""
    return any(map(refers, description)) if isinstance(description, tuple) else isinstance(description, Ref)


def key_of(description: Description) -> str:
    """A text to sort by; definitions are told apart by their names."""
    return json.dumps(description, default=lambda ref: name_of(ref.target))


def may_change(value: object) -> bool:
    """Whether a value may be another one later, and still be the same object."""
    if type(value) in {tuple, frozenset}:
        return any(map(may_change, value))  # type: ignore[call-overload]
    return not issubclass(type(value), (*_NEVER_CHANGES, Enum))  # not isinstance(), which asks the value


class _Describer:
    """Describes one value; what is met again is numbered, so that there may be circles."""

    def __init__(self, project: Project, owner: type | None) -> None:
        self.project = project
        self.owner = owner
        self._met: dict[int, int] = {}

    def describe(self, value: Any) -> Description:
        describe = _OF_TYPE.get(type(value))
        if describe is None:
            describe = next(describe for kinds, describe in _DESCRIPTIONS if issubclass(type(value), kinds))
            if type(value).__module__ == "builtins":
                _OF_TYPE[type(value)] = describe
        return describe(self, value)

    def each(self, values: Iterable[Any]) -> Iterator[Description]:
        values = list(values)
        if len(values) > _MANY and {*map(type, values)} <= _SIMPLE:
            yield f"{len(values)} values {xxhash.xxh3_128_hexdigest(repr(values).encode(errors='surrogatepass'))}"
        else:
            yield from map(self.describe, values)

    def once(self, value: object, parts: Callable[[], Iterable[Description]]) -> Description:
        if id(value) in self._met:
            return f"again {self._met[id(value)]}"
        self._met[id(value)] = len(self._met)
        return tuple(parts())


# -- plain values and containers


def _plain(describer: _Describer, value: Any) -> Description:
    kind = next(kind for kind in _PLAIN if isinstance(value, kind))
    text = f"{kind.__name__} {kind.__repr__(value)}"
    return text if type(value) is kind else (text, *_class_and_attributes(describer, value))


def _class_and_attributes(describer: _Describer, value: Any) -> Iterator[Description]:
    yield describer.describe(type(value))
    if describer.project.has(type(value)):
        for name, attribute in sorted(_attributes_of(value).items()):
            yield from (name, describer.describe(attribute))


def _text(value: object) -> Description:
    return f"{type(value).__name__} {value!r}"


def _tuple(describer: _Describer, value: tuple[Any, ...]) -> Description:
    kind = ("tuple",) if type(value) is tuple else tuple(_class_and_attributes(describer, value))
    return (*kind, *describer.each(value))


def _list(describer: _Describer, value: Any) -> Description:
    if type(value) in {list, deque}:
        return describer.once(value, lambda: (type(value).__name__, *describer.each(value)))
    return describer.once(value, lambda: (*_class_and_attributes(describer, value), *describer.each(value)))


def _set(describer: _Describer, value: Any) -> Description:
    # each by itself, because in no order in which things could be numbered
    parts = (_Describer(describer.project, describer.owner).describe(part) for part in value)
    return (type(value).__name__, *sorted(parts, key=key_of))


def _mapping(describer: _Describer, value: Any) -> Description:
    """In its order, which a loop over it would follow."""
    is_plain = type(value) in {dict, types.MappingProxyType}
    factory = [value.default_factory] if isinstance(value, defaultdict) else []

    def parts() -> Iterator[Description]:
        yield from ("mapping",) if is_plain else _class_and_attributes(describer, value)
        yield from describer.each([*factory, *(part for pair in value.items() for part in pair)])

    return describer.once(value, parts)


def _slice(describer: _Describer, value: slice) -> Description:
    return ("slice", *describer.each((value.start, value.stop, value.step)))


def _pattern(describer: _Describer, value: re.Pattern[Any]) -> Description:
    return ("pattern", *describer.each((value.pattern, value.flags)))


# -- what can be called


def _function(describer: _Describer, value: types.FunctionType) -> Description:
    if describer.project.has(value):
        return Ref(value, describer.owner)
    given = [*_wrapped(describer, value), *_registered(describer, value)]
    if not given:  # what a library's decorator or factory was given
        given = [describer.describe(content_of(cell)) for cell in value.__closure__ or ()]
    known = [part for part in given if not opaque_in(part) and not str(part).startswith(BUILTIN)]
    return (BUILTIN + name_of(value), *known) if known else BUILTIN + name_of(value)


def _wrapped(describer: _Describer, value: Any) -> Iterator[Description]:
    wrapped = getattr(value, "__wrapped__", None)
    if wrapped is not None:
        yield describer.describe(wrapped)


def _registered(describer: _Describer, value: Any) -> Iterator[Description]:
    """The functions of a :func:`functools.singledispatch`, by class."""
    registry = getattr(value, "registry", None)
    if isinstance(registry, types.MappingProxyType):
        yield from sorted((_tuple(describer, pair) for pair in registry.items()), key=key_of)


def _class(describer: _Describer, value: type) -> Description:
    return Ref(value) if describer.project.has(value) else BUILTIN + name_of(value)


def _module(describer: _Describer, value: types.ModuleType) -> Description:
    return Ref(value) if describer.project.has(value) else BUILTIN + value.__name__


def _builtin(describer: _Describer, value: types.BuiltinFunctionType) -> Description:
    owner = value.__self__
    if owner is not None and not isinstance(owner, types.ModuleType):
        return (BUILTIN + name_of(value), describer.describe(owner))
    is_ours = isinstance(value.__module__, str) and describer.project.has_module(value.__module__)
    return (OPAQUE if is_ours else BUILTIN) + name_of(value)


def _partial(describer: _Describer, value: functools.partial[Any]) -> Description:
    keywords = sorted(value.keywords.items())
    return ("partial", *describer.each((value.func, value.args, keywords)))


def _method(describer: _Describer, value: types.MethodType) -> Description:
    if isinstance(value.__self__, type):
        return ("method", _Describer(describer.project, value.__self__).describe(value.__func__))
    return ("method", *describer.each((value.__func__, value.__self__)))


def _static(describer: _Describer, value: Any) -> Description:
    owner = None if isinstance(value, staticmethod) else describer.owner
    return (type(value).__name__, _Describer(describer.project, owner).describe(value.__func__))


def _property(describer: _Describer, value: property) -> Description:
    return ("property", *describer.each((value.fget, value.fset, value.fdel)))


def _made_of_one(describer: _Describer, value: Any) -> Description:
    rest = (getattr(value, name, None) for name in ("args", "keywords"))
    return (type(value).__name__, *describer.each((value.func, *rest)), *_registered(describer, value))


# -- other objects


def _enum(describer: _Describer, value: Enum) -> Description:
    return ("enum", describer.describe(type(value)), str(value._name_), describer.describe(value._value_))


def _generic(describer: _Describer, value: Any) -> Description:
    return ("generic", *describer.each((getattr(value, "__origin__", None), value.__args__)))


def _object(describer: _Describer, value: Any) -> Description:
    found = _array(value) or _by_name(describer, value) or _state(describer, value)
    if found is not None:
        return found
    parts = tuple(_wrapped(describer, value))
    if parts:
        return (BUILTIN + name_of(type(value)), *parts)
    held = [describer.describe(part) for part in vars(value).values() if callable(part)] if _has_dict(value) else []
    refs = [part for part in held if isinstance(part, Ref)]
    return (OPAQUE + name_of(type(value)), *refs) if refs else OPAQUE + name_of(type(value))


def _has_dict(value: object) -> bool:
    return hasattr(value, "__dict__")


def _array(value: Any) -> Description | None:
    dtype, data = getattr(value, "dtype", None), getattr(value, "tobytes", None)
    if dtype is None or not callable(data) or getattr(dtype, "hasobject", True) or is_a(value, "numpy", "memmap"):
        return None
    return ("array", str(dtype), str(tuple(value.shape)), xxhash.xxh3_128_hexdigest(data()))


def _by_name(describer: _Describer, value: Any) -> Description | None:
    if type(value).__module__ == "typing" and hasattr(value, "__args__"):
        return _generic(describer, value)
    if type(value) is object or type(value).__module__ == "typing" or is_a(value, "logging", "Logger"):
        return BUILTIN + name_of(type(value))  # no result depends on what it holds
    if is_a(value, "numpy", "dtype"):
        return f"dtype {value!r}"
    name = getattr(value, "__name__", None)
    if isinstance(name, str) and is_named_in_a_library(value, name):
        return BUILTIN + f"{name_of(type(value))}.{name}"
    return None


def _state(describer: _Describer, value: Any) -> Description | None:
    if describer.project.has(type(value)):
        if not _has_dict(value) and not any(_slots_of(type(value))):
            return None
        parts = _class_and_attributes, _hidden_state
        return describer.once(value, lambda: ("object", *(part for of in parts for part in of(describer, value))))
    if dataclasses.is_dataclass(value):
        fields = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
        return describer.once(value, lambda: (BUILTIN + name_of(type(value)), *describer.each(fields)))
    return None


def _hidden_state(describer: _Describer, value: Any) -> Iterator[Description]:
    """What an object has of a base that is not written in Python."""
    if isinstance(value, BaseException):
        yield describer.describe(value.args)
        return
    for base in type(value).__mro__:
        if base is not object and not base.__flags__ & _WRITTEN_IN_PYTHON:
            yield OPAQUE + name_of(base)


def content_of(cell: types.CellType) -> Any:
    """What a closure holds; None where it is not filled yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def _attributes_of(value: Any) -> dict[str, Any]:
    slots = ((name, getattr(value, name, None)) for name in _slots_of(type(value)))
    return {**dict(slots), **getattr(value, "__dict__", {})}


def _slots_of(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        for name, part in vars(base).items():
            if isinstance(part, types.MemberDescriptorType):
                yield name


_DESCRIPTIONS: tuple[tuple[Any, Callable[[_Describer, Any], Description]], ...] = (
    (Enum, _enum),
    (_PLAIN, _plain),
    (_SAYS_ALL, lambda _, value: _text(value)),
    (tuple, _tuple),
    ((list, deque), _list),
    ((set, frozenset), _set),
    ((dict, types.MappingProxyType), _mapping),
    (types.FunctionType, _function),
    ((types.GenericAlias, types.UnionType), _generic),
    (type, _class),
    (types.ModuleType, _module),
    (types.MethodType, _method),
    (types.BuiltinFunctionType, _builtin),
    (functools.partial, _partial),
    ((staticmethod, classmethod), _static),
    (property, _property),
    (_OF_ONE, _made_of_one),
    (_NAMED, lambda _, value: BUILTIN + name_of(value)),
    (re.Pattern, _pattern),
    (slice, _slice),
    (object, _object),
)
_OF_TYPE: dict[type, Callable[[_Describer, Any], Description]] = {}  # those found before, of Python's own types
