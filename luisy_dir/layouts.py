"""A layout: how the items of a dataset lie in files, one in each, or many in packs."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterable, Iterator
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any, Protocol

import xxhash

from luisy_dir.entry import OutputFile
from luisy_dir.errors import InputError, StorageError
from luisy_dir.formats import Format, array_facts, is_small, write_npy
from luisy_dir.manifest import lies_in
from luisy_dir.packs import Part, count_of, pack_of, usual_count, write_pack
from luisy_dir.storage import local, system

_SPOOL = "spool"


class Layout(Protocol):
    """How the items of a dataset lie in files."""

    def write(self, path: str, data: Any) -> OutputFile:
        """Bring the data of an item to the disk, in the staging; the output as it is known by now."""

    def settle(self, added: Iterable[OutputFile]) -> None:
        """See which of the outputs that were added lie in the directory already, and stage the rest."""

    def settled(self, output: OutputFile) -> tuple[OutputFile, bool]:
        """An output as it will be, and whether its file is staged."""

    def close(self) -> None:
        """Close what is open."""


class LooseLayout:
    """A file for each item.

    Parameters
    ----------
    directory
        Absolute path of the directory to publish.
    files
        Absolute path of the folder of all outputs of the run.
    format
        Of the files.
    published
        Outputs of what lies in the directory, and holds what was written where size and time of change are the same.
    sync
        Bring each file to the disk at once.
    """

    def __init__(
        self, directory: str, files: str, format: Format, published: Iterable[OutputFile], *, sync: bool
    ) -> None:
        self._directory = directory
        self._files = files
        self._format = format
        self._sync = sync
        self._there = {output.path: output for output in published if output.pack is None}
        self._kept: dict[str, OutputFile] = {}

    def write(self, path: str, data: Any) -> OutputFile:
        """See :class:`Layout`."""
        data = _as_written(data, self._format)
        old = self._there.get(path)
        if old is not None and self._is_same(old, data):
            self._kept[path] = old
            return old
        write = partial(self._format.write, data)
        digest, state = local.write_new(self._files, path, write, is_small=is_small(data), sync=self._sync)
        shape, dtype, offset = array_facts(data, self._format, state.st_size)
        return OutputFile(path, state.st_size, state.st_mtime_ns, digest, shape, dtype, offset)

    def _is_same(self, old: OutputFile, data: Any) -> bool:
        """Whether small data is what lies there, so that nothing need be written; that would cost ten times as much."""
        if self._format.write is not write_npy or not is_small(data) or not lies_in(self._directory, old):
            return False
        content = io.BytesIO()
        write_npy(data, content)
        encoded = content.getvalue()
        facts = array_facts(data, self._format, len(encoded))
        return (len(encoded), xxhash.xxh3_128_hexdigest(encoded), *facts) == _content(old)

    def settle(self, added: Iterable[OutputFile]) -> None:
        """See :class:`Layout`."""
        for output in added:
            old = self._there.get(output.path)
            if old is not None and _content(old) == _content(output) and lies_in(self._directory, old):
                self._kept[output.path] = old

    def settled(self, output: OutputFile) -> tuple[OutputFile, bool]:
        """See :class:`Layout`."""
        kept = self._kept.get(output.path)
        return (output, True) if kept is None else (kept, False)

    def close(self) -> None:
        """See :class:`Layout`."""


class PackLayout:
    """Packs of many items; until the end they lie in one file, in the order in which they were added.

    Which pack an item belongs to depends on its path and the number of packs alone, and that stays as it was when the
    dataset was published first; so an update writes the packs alone of which an item has changed.

    Parameters
    ----------
    directory, files, published
        As for :class:`LooseLayout`.
    run
        Absolute path of the run's directory.
    count
        How many packs; None for as many as is usual.
    sync
        Bring each pack to the disk at once.
    """

    def __init__(
        self,
        directory: str,
        files: str,
        run: str,
        published: Iterable[OutputFile],
        count: int | None,
        *,
        sync: bool,
    ) -> None:
        self._directory = directory
        self._files = files
        self._spool = os.path.join(run, _SPOOL)
        self._count = count
        self._there = [output for output in published if output.pack is not None]
        self._sync = sync
        self._descriptor = -1
        self._size = 0
        self._is_broken = False
        self._parts: dict[str, tuple[str, int]] = {}
        self._settled: dict[str, tuple[OutputFile, bool]] = {}

    def write(self, path: str, data: Any) -> OutputFile:
        """See :class:`Layout`."""
        array = _as_written(data, _NPY)
        content = io.BytesIO()
        write_npy(array, content)
        encoded = content.getvalue()
        shape, dtype, offset = array_facts(array, _NPY, len(encoded))
        if dtype is None:
            raise InputError(
                f"An array of dtype {array.dtype} cannot be packed, because a manifest cannot tell its fields. Add "
                "each field as an item, or choose layout='files'."
            )
        start = self._append(encoded)
        self._parts[path] = self._spool, start
        return OutputFile(path, len(encoded), 0, xxhash.xxh3_128_hexdigest(encoded), shape, dtype, offset)

    def take(self, path: str, file: str, start: int) -> None:
        """Let an output be one whose bytes lie in another file, and stay there until the end."""
        self._parts[path] = file, start

    def _append(self, encoded: bytes) -> int:
        if self._is_broken:
            raise StorageError(
                f"Nothing more can be added to {self._directory!r}, because the disk has failed before. Write all of "
                "it again."
            )
        if self._descriptor < 0:
            self._descriptor = system.open(self._spool, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        start = self._size
        self._is_broken = True  # until it is all there: what a disk that fails has written of it, nobody knows
        local.write_all(self._descriptor, encoded)
        self._is_broken = False
        self._size += len(encoded)
        return start

    def settle(self, added: Iterable[OutputFile]) -> None:
        """See :class:`Layout`."""
        self.close()
        new, there = list(added), self._there
        count = self._count or usual_count(len(new), sum(output.size for output in new))
        before = dict(_by_pack(there, count)) if count == count_of(there) else {}
        for name, outputs in _by_pack(new, count):
            old = before.get(name, [])
            if list(map(_in_pack, old)) == list(map(_in_pack, outputs)) and lies_in(self._directory, old[0]):
                self._settled |= {output.path: (output, False) for output in old}
            else:
                parts = [Part(output, *self._parts[output.path]) for output in outputs]
                packed = write_pack(self._files, name, parts, sync=self._sync)
                self._settled |= {output.path: (output, True) for output in packed}

    def settled(self, output: OutputFile) -> tuple[OutputFile, bool]:
        """See :class:`Layout`."""
        return self._settled[output.path]

    def close(self) -> None:
        """See :class:`Layout`."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            system.close(descriptor)


_NPY = Format(lambda path: path, write_npy, ".npy")


def _as_written(data: Any, format: Format) -> Any:
    """What looks like an array as one, where it is written so: its shape and dtype are known then."""
    if format.write is not write_npy:
        return data
    import numpy as np

    return np.asanyarray(data)


def _by_pack(outputs: Iterable[OutputFile], count: int) -> Iterator[tuple[str, list[OutputFile]]]:
    """Each pack's name, and what belongs into it, in the order of the paths."""
    named = [(pack_of(output.path, count), output.path, output) for output in outputs]
    for name, group in itertools.groupby(sorted(named, key=itemgetter(0, 1)), key=itemgetter(0)):
        yield name, [output for *_, output in group]


_in_pack = attrgetter("path", "size", "digest", "shape", "dtype")
_content = attrgetter("size", "digest", "shape", "dtype", "offset")
