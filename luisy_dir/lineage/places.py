"""Places: where the files lie that a manifest speaks of, and whether they are as it says."""

from __future__ import annotations

import errno
import os
import re
import stat as stat_bits
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from luisy_dir.entry import Entry, OutputFile, leads_outside
from luisy_dir.errors import InputError
from luisy_dir.item import RACY_NS, Source
from luisy_dir.packs import digest_of_output
from luisy_dir.record import FOLDER, Record
from luisy_dir.roots import folder_of
from luisy_dir.staging import BAD, RUN
from luisy_dir.storage import local, system
from luisy_dir.unpacking import find_packed

State = Literal["unchanged", "changed", "gone", "unknown"]

_IN_STAGING = re.compile(rf"/\.[^/]+\.staging(/({RUN}|{BAD}|lock$)|$)")
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


@dataclass(frozen=True)
class FileNow:
    """A source or an output of an item, and what has become of the file.

    Parameters
    ----------
    file
        The file as the manifest has it.
    path
        Absolute path; None where the manifest does not tell, or tells a path that leads elsewhere.
    state
        ``unchanged`` since it was read or written; ``changed``; ``gone``; or ``unknown``, because it is not known where
        it lies, or cannot be looked at.
    """

    file: Source | OutputFile
    path: str | None
    state: State

    def as_dict(self) -> dict[str, Any]:
        """All facts as plain values, for JSON; ``file`` is the absolute path, ``path`` that of the manifest."""
        facts: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self.file))
        return facts | {"file": self.path, "state": self.state}


@dataclass(frozen=True)
class Place:
    """What a path stands for.

    Parameters
    ----------
    path
        Absolute path.
    directory
        The published directory that it lies in; None for a raw file.
    name
        The path under that directory: of an output, or the key of an item.
    """

    path: str
    directory: str | None = None
    name: str = ""


def place_of(path: str) -> Place:
    """What an absolute path stands for; links to folders are followed where nothing is published above the path itself.

    Raises
    ------
    InputError
        It lies in a manifest's own folder, or in a staging.
    """
    _check_not_ours(path)
    for spelled in (path, with_real_folder(path)):
        directory = _published_above(spelled)
        if directory is not None:
            return Place(path, directory, spelled[len(directory) :].strip("/"))
    return Place(path)


def _check_not_ours(path: str) -> None:
    if FOLDER in path.split("/"):
        directory = path.partition(f"/{FOLDER}")[0]
        raise InputError(
            f"{path!r} is part of a manifest, and no result. Ask for an output in {directory!r}, or for the key of an "
            "item below that directory."
        )
    if _IN_STAGING.search(path):
        raise InputError(
            f"{path!r} lies in a staging, where runs write what is not published yet. Ask for the path that it is "
            "published under; 'luisy-dir report' shows what a run has left."
        )


def with_real_folder(path: str) -> str:
    """The path with all links in the folders above it resolved; a link to a file stays what it is."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)


def _published_above(path: str) -> str | None:
    folder = os.path.dirname(path)
    while not is_published(folder):
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
    return folder


def is_published(folder: str) -> bool:
    """Whether there is a manifest in a folder; not where it cannot be looked into."""
    try:
        return local.exists(os.path.join(folder, FOLDER))
    except (OSError, ValueError):
        return False


def folders_of(directory: str, record: Record) -> dict[str, str]:
    """Absolute path of each directory that items were read from, by name, as far as a record tells.

    Where nothing lies there because the published directory is seen through a link, its real path counts.
    """
    roots: Mapping[str, str] = {} if isinstance(record.roots, msgspec.UnsetType) else record.roots
    folders = {name: folder_of(directory, root) for name, root in roots.items()}
    real = os.path.realpath(directory)
    if real != directory:
        others = {name: folder_of(real, root) for name, root in roots.items()}
        folders |= {name: others[name] for name, path in folders.items() if not _is_folder(path)}
    return {name: path for name, path in folders.items() if "\0" not in path}


def _is_folder(path: str) -> bool:
    return "\0" not in path and os.path.isdir(path)


def sources_of(directory: str, record: Record, entry: Entry, *, deep: bool = False) -> tuple[FileNow, ...]:
    """The files that an item was read from, and what has become of each."""
    folders = folders_of(directory, record)
    racy_from_ns = int(entry.started.timestamp() * 1e9) - RACY_NS
    return tuple(
        _now(source, source.name, folders.get(source.root), deep=deep or source.mtime_ns > racy_from_ns)
        for source in entry.sources
    )


def outputs_of(directory: str, entry: Entry, *, deep: bool = False) -> tuple[FileNow, ...]:
    """The files that were written for an item, and what has become of each."""
    return tuple(_now(output, output.file, directory, deep=deep) for output in entry.outputs)


def _now(file: Source | OutputFile, name: str, folder: str | None, *, deep: bool) -> FileNow:
    if folder is None or leads_outside(name):
        return FileNow(file, None, "unknown")
    path = os.path.join(folder, name)
    state = _state_of(path, file, deep=deep)
    if state == "gone" and isinstance(file, Source) and (packed := find_packed(folder, name)) is not None:
        is_same = packed.digest == file.digest
        state = _state_of(os.path.join(folder, packed.file), packed, deep=deep) if is_same else "changed"
    return FileNow(file, path, state)


def _state_of(path: str, file: Source | OutputFile, *, deep: bool) -> State:
    """By size and time of change; where the size is the same and the time is not, the digest decides."""
    try:
        state = system.stat(path)
        size = file.state[1] if isinstance(file, OutputFile) else file.size
        if not stat_bits.S_ISREG(state.st_mode) or state.st_size != size:
            return "changed"
        is_touched = state.st_mtime_ns != file.mtime_ns
        if file.digest is None or not (is_touched or deep):
            return "changed" if is_touched else "unchanged"
        return "unchanged" if _digest_of(path, file) == file.digest else "changed"
    except OSError as error:
        return "gone" if error.errno in _GONE else "unknown"


def _digest_of(path: str, file: Source | OutputFile) -> str:
    return digest_of_output(path, file)[0] if isinstance(file, OutputFile) else local.digest_of(path)[0]


def presence_of(path: str) -> Literal["there", "gone", "unknown"]:
    """Whether there is a file at an absolute path."""
    try:
        system.stat(path)
    except OSError as error:
        return "gone" if error.errno in _GONE else "unknown"
    return "there"
