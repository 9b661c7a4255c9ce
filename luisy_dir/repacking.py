"""Repacking: what a run has staged goes into packs, together with what stays in those."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain

import msgspec

from luisy_dir.entry import Entry, OutputFile, decode_entry, encode_entry
from luisy_dir.manifest import Manifest
from luisy_dir.packs import Part, count_of, pack_of, usual_count, write_pack
from luisy_dir.storage import local


@dataclass(frozen=True)
class Repacked:
    """What has come of it.

    Parameters
    ----------
    lines
        Encoded entry by key, of all items whose entries are new.
    superseded
        Entries that no longer count.
    staged
        Relative paths of the files that were staged: packs, and what lies in none.
    """

    lines: dict[str, bytes]
    superseded: list[Entry]
    staged: set[str]


@dataclass
class Repacking:
    """Makes the packs that a run touches.

    Parameters
    ----------
    lines
        Encoded entry by key, as collected.
    superseded
        Entries of ``base`` that no longer count.
    base
        The generation that is superseded; None where there is none.
    directory
        Absolute path of the published directory.
    files
        Absolute path of the folder in which each staged output is a file of its own; it stays as it is.
    packs
        Absolute path of an empty folder, for the packs.
    is_staged
        Whether an output, by its path, lies in ``files``.
    sync
        Bring each pack to the disk.
    """

    lines: Mapping[str, bytes]
    superseded: list[Entry]
    base: Manifest | None
    directory: str
    files: str
    packs: str
    is_staged: Callable[[str], bool]
    sync: bool
    _parts: defaultdict[str, list[Part]] = field(default_factory=lambda: defaultdict(list))
    _kept: defaultdict[str, list[Part]] = field(default_factory=lambda: defaultdict(list))
    _loose: list[str] = field(default_factory=list)

    def done(self) -> Repacked:
        """Write the packs; entries and staged files as they are then."""
        count = self._count()
        for line in self.lines.values():
            for output in decode_entry(line).outputs:
                self._sort(output, count)
        touched = self._parts.keys() | self._left()
        neighbours = {entry.key: entry for entry in self._neighbours(touched)}
        for output in (output for entry in neighbours.values() for output in entry.outputs if output.pack is not None):
            self._keep(output)
        packed = {output.path: output for name in sorted(touched) for output in self._write(name)}
        for path in self._loose:
            local.make_folders_below(self.packs, os.path.dirname(os.path.join(self.packs, path)))
            local.link_or_copy(os.path.join(self.files, path), os.path.join(self.packs, path))
        lines = {key: _with(decode_entry(line), packed) for key, line in self.lines.items()}
        lines |= {key: _with(entry, packed) for key, entry in neighbours.items()}
        staged = {output.file for output in packed.values()} | set(self._loose)
        return Repacked(lines, [*self.superseded, *neighbours.values()], staged)

    def _count(self) -> int:
        """How many packs there are: as many as before, else as is usual."""
        with closing(self._published()) as published:
            before = count_of(output for entry in chain(self.superseded, published) for output in entry.outputs)
        if before is not None:
            return before
        sizes = [output.size for line in self.lines.values() for output in decode_entry(line).outputs]
        return usual_count(len(sizes), sum(sizes))

    def _published(self) -> Generator[Entry, None, None]:
        if self.base is not None:
            with closing(self.base.entries()) as entries:
                yield from entries

    def _sort(self, output: OutputFile, count: int) -> None:
        """Find out where an output goes: what is no plain array stays a file of its own."""
        if output.pack is not None:
            self._keep(output)
        elif self.is_staged(output.path):
            if output.offset is None:
                self._loose.append(output.path)
            else:
                name = pack_of(output.path, count)
                self._parts[name].append(Part(output, os.path.join(self.files, output.path)))

    def _keep(self, output: OutputFile) -> None:
        self._kept[output.file].append(Part(output, os.path.join(self.directory, output.file), output.start))

    def _left(self) -> set[str]:
        """The packs that an output has left."""
        kept = {part.output.path for parts in self._kept.values() for part in parts}
        outputs = (output for entry in self.superseded for output in entry.outputs)
        return {output.file for output in outputs if output.pack is not None and output.path not in kept}

    def _neighbours(self, touched: set[str]) -> Iterator[Entry]:
        """Entries of the items that stay as they are, in packs that do not."""
        if touched:
            known = {entry.key for entry in self.superseded}
            for entry in self._published():
                if entry.key not in known and any(output.file in touched for output in entry.outputs):
                    yield entry

    def _write(self, name: str) -> list[OutputFile]:
        parts = sorted(self._parts[name] + self._kept[name], key=lambda part: part.output.path)
        return write_pack(self.packs, name, parts, sync=self.sync) if parts else []


def _with(entry: Entry, packed: Mapping[str, OutputFile]) -> bytes:
    outputs = tuple(packed.get(output.path, output) for output in entry.outputs)
    return encode_entry(msgspec.structs.replace(entry, outputs=outputs))
