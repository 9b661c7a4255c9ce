"""Unpacking: an output that lies in a pack is read as if it were a file of its own."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from typing import Any

import xxhash

from luisy_dir.entry import Entry, OutputFile
from luisy_dir.errors import InputChangedError
from luisy_dir.formats import read_npy
from luisy_dir.item import Source
from luisy_dir.manifest import Manifest, read_manifest
from luisy_dir.packs import digest_of_output
from luisy_dir.reading import read_stable
from luisy_dir.record import CURRENT, FOLDER
from luisy_dir.storage import local, system

_MEND = "Run the task that makes it again, then this one."


class PackReader:
    """Reads the outputs of a published directory, in packs or not; where they lie is looked up in its manifest.

    Parameters
    ----------
    directory
        Absolute path of the directory.
    read
        Reads those that are files of their own.
    """

    def __init__(self, directory: str, read: Callable[[str], Any]) -> None:
        self._directory = directory
        self._read = read
        self._known: tuple[tuple[int, int], Manifest | None] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return PackReader, (self._directory, self._read)

    def __call__(self, path: str) -> Any:
        """Data of the output of an absolute path."""
        found = self._find(path)
        return self._read(path) if found is None else read_npy(io.BytesIO(self._bytes_of(found)))

    def read_stable(self, path: str, source: Source) -> tuple[Any, Source]:
        """Data of an output that equals its entry; see :func:`luisy_dir.reading.read_stable`."""
        found = self._find(path)
        if found is None:
            return read_stable(self._read, path, source)
        content = self._bytes_of(found)
        if xxhash.xxh3_128_hexdigest(content) != source.digest:
            raise InputChangedError(
                f"{path!r}, which lies in the pack {found.file!r}, no longer equals its manifest: somebody changed it, "
                f"or its task has run since. {_MEND}"
            )
        return read_npy(io.BytesIO(content)), source

    def digest_of(self, path: str) -> str:
        """Digest of the output of an absolute path, as it lies there."""
        found = self._find(path)
        if found is None:
            return local.digest_of(path)[0]
        return digest_of_output(os.path.join(self._directory, found.file), found)[0]

    def _find(self, path: str) -> OutputFile | None:
        manifest = self._manifest()
        return None if manifest is None else _packed_in(manifest, os.path.relpath(path, self._directory))

    def _manifest(self) -> Manifest | None:
        """What is published, read anew where that has changed."""
        try:
            state = system.stat(os.path.join(self._directory, FOLDER, CURRENT))
        except FileNotFoundError:
            return None
        seen = state.st_ino, state.st_mtime_ns
        if self._known is None or self._known[0] != seen:
            self._known = seen, read_manifest(self._directory, verify=False)
        return self._known[1]

    def _bytes_of(self, output: OutputFile) -> bytes:
        try:
            descriptor = system.open(os.path.join(self._directory, output.file), os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise InputChangedError(
                f"The pack {output.file!r} of {self._directory!r} is in its manifest, but no longer there: somebody "
                f"removed it, or its task has run since. {_MEND}"
            ) from error
        try:
            return b"".join(local.blocks_at(descriptor, output.start, output.size))
        finally:
            system.close(descriptor)


def find_packed(directory: str, path: str) -> OutputFile | None:
    """The output of a relative path in a published directory, where it lies in a pack; else None."""
    manifest = read_manifest(directory, verify=False)
    return None if manifest is None else _packed_in(manifest, path)


def _packed_in(manifest: Manifest, path: str) -> OutputFile | None:
    entry = next(iter(manifest.entries_of([path.removesuffix(".npy")])), None)  # as nearly all are
    if entry is None or all(output.path != path for output in entry.outputs):
        entry = entry_of_output(manifest, path)
    outputs = () if entry is None else entry.outputs
    return next((output for output in outputs if output.path == path and output.pack is not None), None)


def entry_of_output(manifest: Manifest, path: str) -> Entry | None:
    """Entry of the item that an output was written for; None where the manifest does not know the output.

    A path of an output begins with the key of its item, and goes on with a suffix or with a further part.
    """
    keys = {path, *(path[: end.start()] for end in re.finditer("[./]", path))} - {""}
    entries = manifest.entries_of(keys)
    return next((entry for entry in entries if any(output.path == path for output in entry.outputs)), None)
