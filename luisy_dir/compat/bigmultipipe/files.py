"""Files: how each goes through ``file_process`` in a worker, and what is told of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from luisy_dir.claims import Claims
from luisy_dir.compat.bigmultipipe.functions import Pout
from luisy_dir.entry import Entry, OutputFile, clean_meta
from luisy_dir.errands import Done
from luisy_dir.errors import DefinitionError, InputError, Reject
from luisy_dir.path_item import PathItem, output_of

if TYPE_CHECKING:
    from luisy_dir.compat.bigmultipipe.multipipe import BigMultiPipe

_claims: ContextVar[Callable[[Any], None] | None] = ContextVar("claims", default=None)


def claim(outname: Any) -> None:
    """Say that the file which this thread processes is about to be written under this name; raise if it may not be.

    Outside of a run everything may be.
    """
    claims = _claims.get()
    if claims is not None:
        claims(outname)


@dataclass(frozen=True)
class FileProcess:
    """``file_process`` at work: called with an item, in any worker."""

    multipipe: BigMultiPipe
    kwargs: dict[str, Any]
    claims: Claims

    def __call__(self, item: PathItem) -> list[OutputFile]:
        """Process one file; Reject where nothing came of it."""
        asked: list[Any] = [None]
        before = _claims.set(partial(self._ask, item, asked))
        try:
            outname, meta = self.multipipe.file_process(item.inpath, **self.kwargs)
        finally:
            _claims.reset(before)
        if outname is None and not meta:
            raise Reject("there is neither output nor metadata")
        if outname is not asked[-1]:
            self.claims.claim(outname, item.inpath, how="were both written")
        item.value = outname, meta
        item.meta.update(columns_of(meta))
        return [] if outname is None else [output_of(outname)]

    def _ask(self, item: PathItem, asked: list[Any], outname: Any) -> None:
        self.claims.claim(outname, item.inpath)
        asked.append(outname)


def columns_of(meta: Any) -> dict[str, Any]:
    """What of the metadata the report can have as columns."""
    columns: dict[str, Any] = {}
    for name, value in meta.items() if isinstance(meta, dict) else ():
        with suppress(InputError):
            columns |= clean_meta({name: value})
    with suppress(InputError):
        return clean_meta(columns)
    return {}


def pout_of(done: Done) -> Pout:
    """What the caller gets for an input."""
    if done.entry.status == "failed":
        return None, {"error": told(done.entry)}
    return (None, {}) if done.value is None else done.value


def told(entry: Entry) -> str:
    """The error as Python shows it."""
    return f"{entry.error.type}({entry.error.message!r})" if entry.error else entry.status


def without_repetitions(in_names: Iterable[Any]) -> tuple[list[Any], list[int]]:
    """The inputs, each once, and for each that was given its place among them."""
    if isinstance(in_names, (str, bytes, os.PathLike)):
        raise DefinitionError(f"in_names is {in_names!r}, which is one path. Give a list of paths.")
    inputs: list[Any] = []
    seen: dict[Any, int] = {}
    places = []
    for in_name in in_names:
        place = seen.setdefault(_identity(in_name), len(inputs))
        if place == len(inputs):
            inputs.append(in_name)
        places.append(place)
    return inputs, places


def _identity(in_name: Any) -> Any:
    """What is equal for paths, and groups of paths, that are the same; anything else is like nothing but itself."""
    if isinstance(in_name, (list, tuple)):
        return tuple(map(_identity, in_name))
    return os.fsdecode(in_name) if isinstance(in_name, (str, bytes, os.PathLike)) else id(in_name)


def files_of(inputs: Iterable[Any]) -> Iterator[Any]:
    """The inputs, and those of groups one by one."""
    for in_name in inputs:
        if isinstance(in_name, (list, tuple)):
            yield from files_of(in_name)
        else:
            yield in_name
