"""Claims: which input of a run writes which file, as all workers of this machine see it."""

from __future__ import annotations

import itertools
import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from tempfile import mkdtemp
from typing import Any

import xxhash

from luisy_dir.errors import KeyCollisionError, OutputError
from luisy_dir.item import printable
from luisy_dir.path_item import is_path, text_of
from luisy_dir.storage import local, system

_INPUTS = "inputs"
_DIGEST_BYTES = 16
_LONGEST_INPATH_BYTES = 1 << 30  # a group may have many files
_numbers = itertools.count()


@dataclass(frozen=True)
class Claims:
    """Which input of a run writes which file: the one that asks first, in whichever worker.

    Parameters
    ----------
    folder
        Where that is noted; it is this run's alone, and lies where all workers see it.
    """

    folder: str

    def claim(self, outpath: Any, inpath: Any, *, how: str = "would both be written") -> None:
        """Note that the output is this input's.

        Parameters
        ----------
        outpath
            Where the output goes; whatever is no path of this machine is passed over.
        inpath
            The input, which may ask again.
        how
            What happens, for the message, or what has happened.

        Raises
        ------
        KeyCollisionError
            It is another one's.
        OutputError
            It is an input of this run.
        """
        if not is_path(outpath):
            return
        digest = _digest(outpath)
        if self._is_input(digest):
            raise OutputError(
                f"The output for {printable(text_of(inpath))!r} would replace {printable(text_of(outpath))!r}, which "
                "is an input too. Write to another folder, or under another name."
            )
        owner = self._owner(digest, text_of(inpath))
        if owner != text_of(inpath):
            raise KeyCollisionError(
                f"{printable(owner)!r} and {printable(text_of(inpath))!r} {how} as {printable(text_of(outpath))!r}. "
                "Give their outputs different names."
            )

    def _is_input(self, digest: bytes) -> bool:
        inputs = system.map_file(os.path.join(self.folder, _INPUTS))

        def of(number: int) -> bytes:
            return inputs[number * _DIGEST_BYTES : (number + 1) * _DIGEST_BYTES]

        return of(bisect_left(range(len(inputs) // _DIGEST_BYTES), digest, key=of)) == digest

    def _owner(self, digest: bytes, inpath: str) -> str:
        """Whose the output is: this input's, where it was nobody's before."""
        note = os.path.join(self.folder, digest.hex())
        mine = f"{note}-{os.getpid()}-{next(_numbers)}"
        local.write_whole(mine, inpath.encode(), sync=False)
        try:
            local.put_if_absent(mine, note)
        except FileExistsError:
            return local.read_whole(note, _LONGEST_INPATH_BYTES).decode()
        finally:
            with suppress(FileNotFoundError):
                system.unlink(mine)
        return inpath


@contextmanager
def claims_of(inputs: Iterable[Any]) -> Iterator[Claims]:
    """Claims of a run with these inputs, in a temporary folder that is gone afterwards.

    Examples
    --------
    >>> with claims_of(["a.txt", "b.txt"]) as claims:
    ...     claims.claim("out/same.txt", "a.txt")
    ...     claims.claim("out/same.txt", "b.txt")
    Traceback (most recent call last):
    luisy_dir.errors.KeyCollisionError: 'a.txt' and 'b.txt' would both be written as 'out/same.txt'. \
Give their outputs different names.
    """
    folder = mkdtemp(prefix="luisy_dir-claims-")
    try:
        digests = sorted(_digest(path) for path in inputs if is_path(path))
        local.write_whole(os.path.join(folder, _INPUTS), b"".join(digests), sync=False)
        yield Claims(folder)
    finally:
        local.remove_tree(folder)


def _digest(path: Any) -> bytes:
    """The same for all names of one place."""
    try:
        place = os.path.realpath(path)
    except ValueError:  # no file can have such a name, and whoever opens it will say so
        place = path
    return xxhash.xxh3_128_digest(text_of(place).encode())
