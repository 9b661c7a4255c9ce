"""Published items: the files of one generation, read from its manifest alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import xxhash

from luisy_dir.dataset.layers import note_key
from luisy_dir.dataset.maps import Maps, dtype_of
from luisy_dir.entry import OutputFile, leads_outside
from luisy_dir.errors import DamagedManifestError, DatasetError, InputChangedError
from luisy_dir.formats import format_of_path
from luisy_dir.item import key_of
from luisy_dir.manifest import Manifest, as_source, key_of_output
from luisy_dir.reading import read_stable
from luisy_dir.record import generations_in, read_record

if TYPE_CHECKING:
    import numpy as np


class PublishedItems:
    """Each file of a generation as an item, in key order; no data file is touched until it is read.

    Parameters
    ----------
    manifest
        Of the generation.
    suffix
        Takes only files with that suffix; None takes all of them.
    read_file
        How a file is read whose entry does not say where its array lies; None for the formats that are known by their
        suffixes.
    order
        ``key``, or ``added`` for that in which a :class:`~luisy_dir.writing.DatasetWriter` was given the items.
    own_suffix
        That of the task, which is dropped to get the key; of any other file the last suffix is. None where it is not
        known.

    Raises
    ------
    DatasetError
        Two files have the same key.
    DamagedManifestError
        The manifest speaks of files outside of the directory.
    """

    def __init__(
        self,
        manifest: Manifest,
        suffix: str | None = None,
        *,
        order: str = "key",
        read_file: Callable[[str], Any] | None = None,
        own_suffix: str | None = None,
    ) -> None:
        self.directory = os.path.abspath(manifest.directory)
        self.record = manifest.record
        self.suffix = suffix
        self._opened_with = suffix, order, read_file, own_suffix
        self._read_file = read_file or _read_file
        entries = [
            (output, entry)
            for entry in manifest.outputs()
            for output in entry.outputs
            if suffix is None or output.path.endswith(suffix)
        ]
        keys = _keys_of([output.path for output, _ in entries], suffix or own_suffix)
        _check(self.directory, keys, [output for output, _ in entries])
        places = _in_order(order, self.directory, keys, [entry.number for _, entry in entries])
        self.keys: Sequence[str] = tuple([keys[place] for place in places])
        self._outputs = [entries[place][0] for place in places]
        self._meta = [entries[place][1].meta for place in places]
        self._maps = Maps(self.directory)

    def __len__(self) -> int:
        return len(self._outputs)

    def __reduce__(self) -> tuple[Any, ...]:
        return reopened, (self.directory, self.record.generation, self.record.checksum, *self._opened_with)

    @cached_property
    def digest(self) -> str:
        """See :class:`Items`."""
        _, order, *_ = self._opened_with
        keys = "\n".join(self.keys) if order == "added" else ""  # what is published does not say the order
        return xxhash.xxh3_128_hexdigest(f"{self.record.outputs_digest}\n{self.suffix or ''}\n{order}\n{keys}".encode())

    def read(self, position: int, epoch: int) -> Any:  # noqa: ARG002 - nothing is random here
        """See :class:`Items`.

        Raises
        ------
        InputChangedError
            The file is gone, or no longer equals its entry.
        """
        output = self._outputs[position]
        try:
            if output.offset is not None:
                return self._maps.view(position, output)
            return read_stable(self._read_file, os.path.join(self.directory, output.path), as_source(output, ""))[0]
        except Exception as error:
            note_key(error, self.keys[position])
            raise

    def shape(self, position: int) -> tuple[int, ...] | None:
        """See :class:`Items`."""
        return self._outputs[position].shape

    def dtype(self, position: int) -> np.dtype[Any] | None:
        """See :class:`Items`."""
        return dtype_of(self._outputs[position])

    def meta(self, position: int) -> Mapping[str, Any]:
        """See :class:`Items`."""
        return self._meta[position]


def _keys_of(paths: Sequence[str], suffix: str | None) -> list[str]:
    if suffix is None:
        return [key_of(path) for path in paths]
    return [key_of_output(path, suffix) for path in paths]


def _read_file(path: str) -> Any:
    return format_of_path(path).read(path)


def reopened(
    directory: str,
    generation: int,
    checksum: str,
    suffix: str | None,
    order: str,
    read_file: Callable[[str], Any] | None,
    own_suffix: str | None,
) -> PublishedItems:
    """The items of a generation in another process, or at another time.

    Raises
    ------
    InputChangedError
        That generation is not the one that is meant, or is not kept any more.
    ManifestError
        Its manifest cannot be read.
    """
    if generation not in (kept := generations_in(directory)) and kept:
        raise InputChangedError(
            f"Generation {generation} of {directory!r} is not kept any more, because its task has run since the "
            "dataset was opened. Open it again; keep_generations says how many are kept."
        )
    record = read_record(directory, generation)
    if record.checksum != checksum:
        raise InputChangedError(
            f"Generation {generation} of {directory!r} was made anew since the dataset was opened. Open it again."
        )
    manifest = Manifest(directory, record)
    manifest.verify()
    return PublishedItems(manifest, suffix, order=order, read_file=read_file, own_suffix=own_suffix)


def _in_order(order: str, directory: str, keys: Sequence[str], numbers: Sequence[int | None]) -> Sequence[int]:
    """Places of the files in the order that is asked for."""
    if order not in {"key", "added"}:
        raise DatasetError(f"order is {order!r}. Choose one of 'key', 'added'.")
    if order == "key":
        return sorted(range(len(keys)), key=keys.__getitem__)
    if None in numbers:
        raise DatasetError(
            f"The manifest of {directory!r} does not say in which order its items were added: only a dataset that was "
            "written by write_dataset has such an order. Leave out order='added'."
        )
    return sorted(range(len(keys)), key=lambda place: (numbers[place], keys[place]))


def _check(directory: str, keys: Sequence[str], outputs: Sequence[OutputFile]) -> None:
    """Keys are unique, and no path leads out of the directory."""
    for output in outputs:
        if leads_outside(output.file):
            raise DamagedManifestError(
                f"The manifest of {directory!r} has an output {output.file!r}, which leads out of it. It was not made "
                "by luisy_dir; do not trust it."
            )
    if len(set(keys)) == len(keys):
        return
    paths: dict[str, str] = {}
    for key, output in zip(keys, outputs, strict=True):
        other = paths.setdefault(key, output.path)
        if other != output.path:
            raise DatasetError(
                f"{other!r} and {output.path!r} would both be the item {key!r}. Choose one kind of file: "
                f"suffix={os.path.splitext(other)[1]!r}."
            )
