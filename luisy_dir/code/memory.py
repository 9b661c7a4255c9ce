"""The memory of what was seen in this process: whether it still is so, and what is held to how it was."""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from luisy_dir.code.belonging import Project
from luisy_dir.code.values import Description, describe, may_change

MISSING = object()


class Place(NamedTuple):
    """Where a name is looked up: in a namespace, a class with its bases, a closure, or a function's attributes."""

    holder: Any
    name: str

    def value(self) -> Any:
        """What is there now, or ``MISSING``."""
        holder, name = self
        if isinstance(holder, dict):
            return holder.get(name, MISSING)
        if isinstance(holder, type):
            return next((vars(base)[name] for base in holder.__mro__ if name in vars(base)), MISSING)
        if isinstance(holder, types.CellType):
            try:
                return holder.cell_contents
            except ValueError:  # not filled yet
                return MISSING
        return getattr(holder, name, MISSING)

    @property
    def key(self) -> tuple[int, str]:
        """By identity, since a namespace cannot be hashed."""
        return id(self.holder), self.name


class Thing(NamedTuple):
    """A value that is described."""

    value: Any
    project: Project
    owner: type | None = None

    def description(self) -> Description:
        """What it is now."""
        return describe(self.value, self.project, self.owner)

    @property
    def key(self) -> tuple[int, str, int]:
        """By identity, since two lists that are equal may change apart."""
        return id(self.value), self.project.home, id(self.owner)


@dataclass(frozen=True)
class Seen:
    """What was found in which places, and how it was described."""

    values: dict[tuple[int, str], tuple[Place, Any]] = field(default_factory=dict)
    descriptions: dict[tuple[int, str, int], tuple[Thing, Description]] = field(default_factory=dict)

    def look(self, place: Place) -> Any:
        """What is in a place, or ``MISSING``."""
        if place.key not in self.values:
            self.values[place.key] = place, _memory.value_in(place)
        return self.values[place.key][1]

    def describe(self, thing: Thing) -> Description:
        """What a value is."""
        if not may_change(thing.value):
            return thing.description()
        if thing.key not in self.descriptions:
            self.descriptions[thing.key] = thing, _memory.description_of(thing)
        return self.descriptions[thing.key][1]

    def is_still_so(self) -> bool:
        """Whether one would find the same again."""
        return all(_memory.value_in(place) is value for place, value in self.values.values()) and all(
            _memory.description_of(thing) == description for thing, description in self.descriptions.values()
        )


class _Memory:
    """What is held to how it was: while something is frozen all that is looked at, afterwards what has changed."""

    def __init__(self) -> None:
        self.depth = 0
        self._values: dict[tuple[int, str], tuple[Place, Any]] = {}
        self._descriptions: dict[tuple[int, str, int], tuple[Thing, Description]] = {}
        self._held_values: dict[tuple[int, str], tuple[Place, Any, Any]] = {}
        self._held_descriptions: dict[tuple[int, str, int], tuple[Thing, Description]] = {}

    def value_in(self, place: Place) -> Any:
        value = place.value()
        if self._held_values:
            _, now, then = self._held_values.get(place.key, (place, MISSING, MISSING))
            value = then if now is value else value
        return self._values.setdefault(place.key, (place, value))[1] if self.depth else value

    def description_of(self, thing: Thing) -> Description:
        known = self._held_descriptions.get(thing.key) or self._descriptions.get(thing.key)
        if known is not None:
            return known[1]
        description = thing.description()
        return self._descriptions.setdefault(thing.key, (thing, description))[1] if self.depth else description

    def freeze(self, everything: list[Seen]) -> None:
        """Look at all that was ever seen, once more."""
        self.depth += 1
        if self.depth > 1:
            return
        for seen in everything:
            for place, _ in seen.values.values():
                self.value_in(place)
            for thing, _ in seen.descriptions.values():
                self.description_of(thing)

    def thaw(self) -> None:
        """Hold what is another one now than it was before."""
        self.depth -= 1
        if self.depth:
            return
        for place, then in self._values.values():
            now = place.value()
            if now is not then:
                self._held_values[place.key] = place, now, then
        for thing, description in self._descriptions.values():
            if thing.description() != description:
                self._held_descriptions[thing.key] = thing, description
        self._values.clear()
        self._descriptions.clear()


_memory = _Memory()


@contextmanager
def held(everything: list[Seen]) -> Iterator[None]:
    """Hold what changes inside to how it was before, for the rest of this process."""
    _memory.freeze(everything)
    try:
        yield
    finally:
        _memory.thaw()
