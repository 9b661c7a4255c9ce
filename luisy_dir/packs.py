"""A pack: one file in which many small outputs lie, each aligned."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import IO, Self

import msgspec
import xxhash

from luisy_dir.entry import OutputFile, Pack
from luisy_dir.errors import InputChangedError
from luisy_dir.storage import local, system

ALIGNMENT = 64  # bytes: a line of the processor's cache, as NumPy aligns the data in its own files
_NAME = re.compile(r"(\d+)-of-(\d+)\.pack")
_USUAL_BYTES = 4 << 20  # of a pack, which is written as a whole where one item of it changes
_FEWEST, MOST_PACKS = 16, 8192
_FEWEST_ITEMS = 8  # in a pack, where there are few items at all


@dataclass(frozen=True)
class Part:
    """An output that is to be put into a pack, and where its bytes lie.

    Parameters
    ----------
    output
        The output, whether it is in a pack now or not.
    file
        Absolute path of the file that holds it.
    start
        Where it begins there, in bytes.
    """

    output: OutputFile
    file: str
    start: int = 0


def pack_of(path: str, count: int) -> str:
    """Path of the pack that an output belongs to: xxh3-64 of its own path, modulo the number of packs.

    Parameters
    ----------
    path
        Of the output, under the directory.
    count
        How many packs there are.

    Examples
    --------
    >>> pack_of("cats/1.npy", 16)
    '13-of-16.pack'
    """
    number = xxhash.xxh3_64_intdigest(path.encode()) % count
    return f"{number:0{len(str(count - 1))}}-of-{count}.pack"


def count_of(outputs: Iterable[OutputFile]) -> int | None:
    """How many packs there are, as the name of any of them says; None where none of the outputs is in one."""
    names = (_NAME.fullmatch(output.pack.path) for output in outputs if output.pack is not None)
    return next((int(name[2]) for name in names if name), None)


def usual_count(items: int, size_bytes: int) -> int:
    """How many packs are made of so many items of that size together.

    Packs of 4 MiB, but no fewer than 16 of them, so that an update leaves most alone, and no more than 8,192; of few
    items, packs of eight.

    Examples
    --------
    >>> usual_count(10_000, 10_000_000), usual_count(1_000_000, 1_000_000_000), usual_count(3, 100)
    (16, 238, 1)
    """
    wanted = max(_FEWEST, min(MOST_PACKS, size_bytes // _USUAL_BYTES))
    return max(1, min(wanted, items // _FEWEST_ITEMS))


def write_pack(folder: str, name: str, parts: Sequence[Part], *, sync: bool) -> list[OutputFile]:
    """Write a pack: its outputs one after the other, each from a multiple of 64 bytes on, with zeros between.

    Parameters
    ----------
    folder
        Absolute path of the folder of all outputs of a run.
    name
        Of the pack.
    parts
        What goes into it, in the order of the paths.
    sync
        Bring it to the disk.

    Returns
    -------
    list of OutputFile
        The outputs as they lie in the pack, in the same order.

    Raises
    ------
    InputChangedError
        The bytes of an output are not those that were written.
    OSError
        The disk failed.
    """
    starts = list(_starts(parts))
    _, state = local.write_new(folder, name, partial(_write, parts, starts), sync=sync)
    return [_packed(part, Pack(name, state.st_size, start), state) for part, start in zip(parts, starts, strict=True)]


def _starts(parts: Sequence[Part]) -> Iterator[int]:
    end = 0
    for part in parts:
        start = -(-end // ALIGNMENT) * ALIGNMENT
        yield start
        end = start + part.output.size


def _packed(part: Part, pack: Pack, state: os.stat_result) -> OutputFile:
    output = part.output
    offset = None if output.offset is None else output.offset - output.start + pack.start
    return msgspec.structs.replace(output, mtime_ns=state.st_mtime_ns, offset=offset, pack=pack)


def _write(parts: Sequence[Part], starts: Sequence[int], file: IO[bytes]) -> None:
    end = 0
    with _Opened() as opened:
        for part, start in zip(parts, starts, strict=True):
            file.write(bytes(start - end))
            hasher = xxhash.xxh3_128()
            for block in local.blocks_at(opened.descriptor_of(part.file), part.start, part.output.size):
                hasher.update(block)
                file.write(block)
            if hasher.hexdigest() != part.output.digest:
                raise InputChangedError(
                    f"{part.output.path!r}, read from {part.file!r}, is not as it was written: somebody changed it, or "
                    "the disk has. 'luisy-dir verify --deep --repair' marks what is not in order, so that it is made "
                    "again."
                )
            end = start + part.output.size


class _Opened:
    """The file that was read from last, open: many parts lie in one."""

    def __init__(self) -> None:
        self._path = ""
        self._descriptor = -1
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def descriptor_of(self, path: str) -> int:
        if path != self._path:
            self._stack.close()
            try:
                self._descriptor, self._path = system.open(path, os.O_RDONLY | os.O_NONBLOCK), path
            except (FileNotFoundError, NotADirectoryError) as error:
                raise InputChangedError(
                    f"{path!r}, which was to be packed, is no longer there: somebody removed it, or its directory was "
                    "brought up to date meanwhile. Run again."
                ) from error
            self._stack.callback(system.close, self._descriptor)
        return self._descriptor


def digest_of_output(path: str, output: OutputFile) -> tuple[str, os.stat_result]:
    """Digest of an output as it lies in a file, and the state of that file.

    Parameters
    ----------
    path
        Absolute path of the file: the output's own, or its pack.
    output
        The output, which says where in the pack it lies.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if output.pack is None:
        return local.digest_of(path)
    return local.digest_of_part(path, output.pack.start, output.size)
