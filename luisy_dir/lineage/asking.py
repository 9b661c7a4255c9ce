"""A question: the path that somebody asks about, and the item that it stands for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from luisy_dir.entry import Entry
from luisy_dir.errors import InputError, ManifestError, MissingInputError, UnknownPathError
from luisy_dir.lineage.places import Place, is_published, place_of
from luisy_dir.manifest import Manifest, read_manifest
from luisy_dir.record import has_pending
from luisy_dir.storage import system
from luisy_dir.unpacking import entry_of_output

_ADVICE_ON_ROOTS = "A run of its task that publishes writes that down."


def asked_place(path: str | os.PathLike[str]) -> Place:
    """What a path stands for that somebody asks about; InputError where it is none that can be told about."""
    absolute = os.path.abspath(os.fspath(path))
    if "\0" in absolute:
        raise InputError(f"{absolute!r} is no path of a file. Give the path of one file, or of an item's key.")
    place = place_of(absolute)
    _check_right(absolute)
    if is_published(absolute):
        raise InputError(
            f"{absolute!r} is a published directory. Give a file in it, or an item's key below it; 'luisy-dir report' "
            "shows its items."
        )
    if place.directory is None and os.path.isdir(absolute):
        raise InputError(f"{absolute!r} is a folder. Give one file in it.")
    return place


def _check_right(path: str) -> None:
    """Raise InputError where this user may not look, so that nothing could be said of what lies there."""
    try:
        system.lstat(path)
    except PermissionError as error:
        raise InputError(
            f"{path!r} cannot be looked at: {error.strerror}. Give this user the right to read it."
        ) from error
    except OSError:  # it is gone, or a key, which is no file
        return


def manifest_of(directory: str) -> Manifest:
    """The manifest of a directory that somebody asks about; an error where it cannot be read."""
    manifest = read_manifest(directory)
    if manifest is None:
        raise MissingInputError(f"{directory!r} was removed just now. Look again.")
    return manifest


@dataclass(frozen=True)
class FoundItem:
    """An item that a path stands for.

    Parameters
    ----------
    entry
        What became of it.
    kind
        ``output`` where the path is that of one of its outputs, ``item`` where it is its key.
    warnings
        What else the path could stand for.
    """

    entry: Entry
    kind: str
    warnings: tuple[str, ...] = ()


def find_item(manifest: Manifest, place: Place) -> FoundItem:
    """The item that a path in a published directory stands for; UnknownPathError where there is none."""
    of_output = entry_of_output(manifest, place.name)
    of_key = next(iter(manifest.entries_of([place.name])), None)
    if of_output is not None and of_key is not None and of_output.key != of_key.key:
        told = f"{place.name!r} is also the key of another item, which is {of_key.status}."
        return FoundItem(of_output, "output", (told,))
    if of_output is not None:
        return FoundItem(of_output, "output")
    if of_key is not None:
        return FoundItem(of_key, "item")
    raise UnknownPathError(
        f"Nothing is known of {place.path!r}: generation {manifest.record.generation} of {place.directory!r} has "
        f"neither an output nor a key {place.name!r}. 'luisy-dir report' shows the items."
    )


def warnings_of(manifest: Manifest, entry: Entry) -> tuple[str, ...]:
    """What cannot be told of an entry, and why."""
    directory, record, told = manifest.directory, manifest.record, []
    with contextlib.suppress(ManifestError):  # it was read a moment ago
        if has_pending(directory):
            told.append(
                f"A later generation of {directory!r} is committed, and not all of its files are in their places. The "
                "next run brings them there."
            )
    roots: Mapping[str, str] = {} if isinstance(record.roots, msgspec.UnsetType) else record.roots
    unknown = sorted({source.root for source in entry.sources} - roots.keys())
    if unknown:
        told.append(f"The record of {directory!r} does not tell where {', '.join(unknown)} lies. {_ADVICE_ON_ROOTS}")
    return tuple(told)
