"""The published directories that a trace comes by, each read once, and which of them read from which folders."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import msgspec

from luisy_dir.entry import Entry
from luisy_dir.errors import BusyError, ManifestError
from luisy_dir.lineage.places import Place, folders_of, is_published
from luisy_dir.manifest import Manifest, read_manifest
from luisy_dir.record import FOLDER, read_current
from luisy_dir.storage import system

_LATER_LAYERS = ("interim", "final")


@dataclass(frozen=True)
class Root:
    """A folder that a published directory was made from.

    Parameters
    ----------
    directory
        The published directory.
    name
        Name of the folder in its sources.
    folders
        Absolute path of the folder, as the record tells it, and with links resolved.
    """

    directory: str
    name: str
    folders: tuple[str, str]

    def path_of(self, *spellings: str) -> str | None:
        """Path of a file under this folder, of which there are several absolute ones; None where it lies elsewhere."""
        for folder in self.folders:
            begin = folder.rstrip("/") + "/"
            for spelled in spellings:
                if spelled.startswith(begin):
                    return spelled[len(begin) :]
        return None


class Directories:
    """The published directories that a trace comes by.

    What cannot be read is left out, with a warning.

    Attributes
    ----------
    warnings : dict of str to None
        What could not be told, and why; each once.
    """

    def __init__(self) -> None:
        self._manifests: dict[str, Manifest | None] = {}
        self.warnings: dict[str, None] = {}

    def warn(self, warning: str) -> None:
        """Note what could not be told, and why."""
        self.warnings[warning] = None

    def add(self, manifest: Manifest) -> None:
        """Make a manifest known that was read already."""
        self._manifests[manifest.directory] = manifest

    def manifest_in(self, directory: str) -> Manifest | None:
        """Manifest of a published directory, compared with its own digests; None where it cannot be read."""
        if directory not in self._manifests:
            self._manifests[directory] = None
            try:
                self._manifests[directory] = read_manifest(directory)
            except (ManifestError, BusyError) as error:
                self.warn(f"{directory!r} is left out. {error}")
        return self._manifests[directory]

    def made_from(self, root: Root, paths: Collection[str]) -> Iterator[tuple[Manifest, Entry]]:
        """Entries of a directory that were read from some files of a folder; none where they cannot be read."""
        manifest = self.manifest_in(root.directory)
        if manifest is None:
            return
        try:
            yield from ((manifest, entry) for entry in manifest.entries_from(root.name, paths))
        except (ManifestError, BusyError) as error:
            self.warn(f"{root.directory!r} is left out. {error}")

    def roots_below(self, within: str) -> Iterator[Root]:
        """The folders that the directories published below a folder were made from."""
        for directory in self._published_below(within):
            try:
                record = read_current(directory)
            except (ManifestError, BusyError) as error:
                self.warn(f"{directory!r} is left out. {error}")
                continue
            if record is None:
                continue
            if isinstance(record.roots, msgspec.UnsetType):
                self.warn(
                    f"{directory!r} is left out: its record does not tell which folders it was made from. A run of its "
                    "task that publishes writes that down."
                )
            for name, folder in folders_of(directory, record).items():
                yield Root(directory, name, (folder, os.path.realpath(folder)))

    def _published_below(self, within: str) -> Iterator[str]:
        """Absolute path of each, sorted in its parent; hidden folders are passed over, links are not followed."""
        folders = [within]
        while folders:
            folder = folders.pop()
            if is_published(folder):
                yield folder
            else:
                names = self._folders_in(folder)
                if FOLDER in names:
                    self.warn(f"{folder!r} is left out: its manifest cannot be looked at.")
                folders += [os.path.join(folder, name) for name in sorted(names, reverse=True) if name[0] != "."]

    def _folders_in(self, folder: str) -> list[str]:
        try:
            with system.scandir(folder) as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:  # it has gone since its parent was listed
            return []
        except OSError as error:
            self.warn(f"{folder!r} is left out: it cannot be looked into: {error.strerror}.")
            return []


def default_within(place: Place) -> str:
    """Where to look for what was made of something: the current directory, or that of the project if it is wider.

    The current directory counts where it holds the path. The directory of the project is the nearest one above the path
    with a folder ``interim`` or ``final``. Where there is neither, it is the folder that the published directory, or
    the folder of the raw file, lies in.
    """
    above = list(_folders_above(place.path))
    found = [folder for folder in above if _has_layers(folder)][:1]
    found += [folder for folder in (_current_directory(),) if folder in above]
    return min(found, key=len, default=os.path.dirname(place.directory or os.path.dirname(place.path)))


def _folders_above(path: str) -> Iterator[str]:
    while path != (path := os.path.dirname(path)):
        yield path


def _has_layers(folder: str) -> bool:
    return any(os.path.isdir(os.path.join(folder, layer)) for layer in _LATER_LAYERS)


def _current_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None
