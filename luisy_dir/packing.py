"""Packing: a published directory of many small arrays becomes a dataset of few files."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from luisy_dir.entry import Entry, OutputFile
from luisy_dir.errors import DefinitionError, InputError, MissingInputError
from luisy_dir.formats import format_for
from luisy_dir.journal import worker_name
from luisy_dir.manifest import Manifest, as_source, key_of_output, read_manifest
from luisy_dir.record import InputState, Record
from luisy_dir.transaction import DEFAULT_KEEP
from luisy_dir.writing import DatasetOptions, DatasetWriter, absolute_path

_SUFFIX = ".npy"


def pack_dataset(
    path: str | os.PathLike[str],
    target_path: str | os.PathLike[str],
    *,
    keys: Iterable[str] | None = None,
    packs: int | None = None,
    keep: int = DEFAULT_KEEP,
    durability: str = "commit",
) -> Record:
    """Write the arrays of a published directory as a dataset of few files.

    Each array becomes an item, with its key, its bytes, their digest and its meta. Done again after the directory was
    brought up to date, it reads and writes those packs alone of which an item has changed.

    Parameters
    ----------
    path
        A published directory of ``.npy`` files, or a dataset that was written, be it packed.
    target_path
        The directory of the packs, as for :func:`luisy_dir.write_dataset`.
    keys
        Of the items that are packed, as readers know them; None for all.
    packs, keep, durability
        As for :func:`luisy_dir.write_dataset`.

    Returns
    -------
    Record
        Of the generation that is published in ``target_path``.

    Raises
    ------
    MissingInputError
        Nothing was published there, or it holds no items.
    InputError
        An output is no plain array; or there is no item of one of the keys.
    InputChangedError
        A file is not as its manifest says, or the directory was brought up to date meanwhile.
    """
    source = absolute_path(path)
    manifest = read_manifest(source)
    if manifest is None:
        raise MissingInputError(f"Nothing was published as {source!r}. 'luisy-dir ls' shows what was.")
    return pack_generation(manifest, target_path, keys=keys, packs=packs, keep=keep, durability=durability)


def pack_generation(
    manifest: Manifest,
    target_path: str | os.PathLike[str],
    *,
    keys: Iterable[str] | None = None,
    suffix: str = "",
    packs: int | None = None,
    keep: int = DEFAULT_KEEP,
    durability: str = "commit",
) -> Record:
    """Write the arrays of one generation of a directory, be it published or not, as a dataset of few files.

    Parameters
    ----------
    manifest
        Of the generation. A file that has been replaced since is an InputChangedError, and nothing is published.
    target_path, keys, packs, keep, durability
        As for :func:`pack_dataset`, which says what it returns and raises too.
    suffix
        Takes only files with that suffix.
    """
    source, target = manifest.directory, absolute_path(target_path)
    if source == target:
        raise DefinitionError(f"{source!r} cannot be packed into itself. Name another directory.")
    root = os.path.basename(source)
    inputs = {root: InputState("directory", manifest.record.outputs_digest)}
    options = DatasetOptions(
        format_for(_SUFFIX), source, "pack", packs, keep=keep, durability=durability, inputs=inputs
    )
    with DatasetWriter(target, options) as writer:
        for entry, output in _chosen(manifest, root, suffix, None if keys is None else set(keys)):
            writer.take(entry, os.path.join(source, output.file), output.start)
    assert writer.record is not None  # noqa: S101 - the block has ended well
    return writer.record


def _chosen(
    manifest: Manifest, root: str, suffix: str, keys: Collection[str] | None
) -> Iterator[tuple[Entry, OutputFile]]:
    """Entries of the items that are packed, and where their bytes lie."""
    missing = set(keys or ())
    for entry in manifest.entries():
        for output in entry.outputs:
            key = key_of_output(output.path, _SUFFIX)
            if output.path.endswith(suffix) and (keys is None or key in keys):
                missing.discard(key)
                yield _entry_of(entry, output, key, root), output
    if missing:
        raise InputError(f"There is no item {min(missing)!r} in {manifest.directory!r}. Its report shows the keys.")


def _entry_of(entry: Entry, output: OutputFile, key: str, root: str) -> Entry:
    if output.offset is None or output.dtype is None:
        raise InputError(
            f"{output.path!r} cannot be packed, because it is no plain array: packs hold what is written as .npy, "
            "with fields that do not overlap. Choose other items with keys=…."
        )
    offset = output.offset - output.start
    alone = msgspec.structs.replace(output, path=key + _SUFFIX, mtime_ns=0, offset=offset, pack=None)
    return Entry(
        key=key,
        sources=(as_source(output, root),),
        status="written",
        outputs=(alone,),
        meta=entry.meta,
        error=None,
        attempts=1,
        seconds=0.0,
        started=datetime.now(UTC),
        worker=worker_name(os.getpid()),
        seed=None,
        number=entry.number,
    )
