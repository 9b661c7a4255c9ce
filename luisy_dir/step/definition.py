"""The definition of a step: what is done with one item, and from where to where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from luisy_dir.checking import Checks
from luisy_dir.errors import (
    DefinitionError,
)
from luisy_dir.formats import Format, registered_formats
from luisy_dir.item import Item
from luisy_dir.journal import Origin
from luisy_dir.keys import INNER


@dataclass(frozen=True)
class Root:
    """A directory that items are read from.

    Parameters
    ----------
    name
        Name of the directory in the items' sources.
    folder
        Absolute path.
    read
        ``read(path) -> data``; None says that the file is not ours.
    """

    name: str
    folder: str
    read: Callable[[str], Any]


@dataclass(frozen=True)
class Step:
    """What a run does with each item.

    Parameters
    ----------
    roots
        The directories that an item has its sources from, in the order of the arguments of ``process``.
    begin
        Called once a worker; returns ``process(data, item)``, where ``data`` is a list as long as ``roots``.
    format
        How results are written.
    seed
        The task's seed.
    sync
        Bring every output and every journal line to the disk before the next item.
    formats
        By suffix, for outputs that have one of their own; what is registered here must be known in workers too.
    origin
        What the entries are made with, for the run that may have to go on; None where none shall.
    checks
        What is asked of the data of inputs and outputs.
    join
        What becomes of an item that has no data of one of the roots: see :data:`luisy_dir.keys.JOINS`.
    is_grouped
        An item has any number of sources from each root, and ``process`` gets a list for each.
    batch_size
        How many items are processed together, at most; where these are several, ``begin`` returns a
        :class:`~luisy_dir.batching.BatchProcess`.
    """

    roots: tuple[Root, ...]
    begin: Callable[[], Callable[[list[Any], Item], Any]]
    format: Format
    seed: int = 0
    sync: bool = False
    formats: Mapping[str, Format] = field(default_factory=registered_formats)
    origin: Origin | None = None
    checks: Checks = field(default_factory=Checks)
    join: str = INNER
    is_grouped: bool = False
    batch_size: int = 1

    def format_for(self, suffix: str) -> Format:
        """Format of an output with a suffix of its own."""
        if suffix not in self.formats:
            raise DefinitionError(
                f"There is no format for the suffix {suffix!r}. Choose one of {', '.join(sorted(self.formats))}, "
                "or make it known with register_format before the run."
            )
        return self.formats[suffix]

    @cached_property
    def folders(self) -> dict[str, str]:
        """Absolute path by the name of its root."""
        return {root.name: root.folder for root in self.roots}

    @cached_property
    def reads(self) -> dict[str, Callable[[str], Any]]:
        """Read function by the name of its root."""
        return {root.name: root.read for root in self.roots}
