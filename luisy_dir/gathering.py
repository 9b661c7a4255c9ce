"""Gathering: of workers that may do an item twice each writes apart, and one of the tries at it comes to count."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import msgspec

from luisy_dir.entry import Entry, OutputFile, decode_entry, encode_entry
from luisy_dir.errors import KeyCollisionError, StorageError
from luisy_dir.storage import local, system


def folder_of(files: str, worker: str) -> str:
    """Absolute path of the folder that one worker writes to, and nobody else.

    Parameters
    ----------
    files
        Absolute path of the folder of all outputs of a run.
    worker
        Its name, as its entries have it.

    Examples
    --------
    >>> folder_of("run-1/files", "host-4711-0")
    'run-1/files-host-4711-0'
    """
    return f"{files}-{worker}"


def gather(files: str, line: bytes) -> bytes:
    """Let a try count: its outputs move from its worker's folder to those of the run.

    Parameters
    ----------
    files
        Absolute path of the folder of all outputs of a run.
    line
        The encoded entry of the try.

    Returns
    -------
    bytes
        The entry with the times of change that its outputs have as they are seen from here.

    Raises
    ------
    KeyCollisionError
        An output of another item has the same name.
    StorageError
        An output is not there, or is seen from here with another size.
    """
    entry = decode_entry(line)
    outputs = tuple([_gathered(files, entry, output) for output in entry.outputs])
    return line if outputs == entry.outputs else encode_entry(msgspec.structs.replace(entry, outputs=outputs))


def _gathered(files: str, entry: Entry, output: OutputFile) -> OutputFile:
    source, target = (f"{folder}/{output.path}" for folder in (folder_of(files, entry.worker), files))
    try:
        is_taken = local.kind_of(target) is not None
        if not is_taken:
            _move(files, source, target)
    except NotADirectoryError:
        is_taken = True
    except FileNotFoundError as error:
        raise _unseen(entry, output, source, "is not seen from this machine") from error
    if is_taken:
        raise KeyCollisionError(
            f"{output.path!r} cannot be written for the item {entry.key!r}: another output has that name, or the name "
            "of one of its folders. Give one of them another key."
        )
    state = system.lstat(target)
    if state.st_size != output.size:
        raise _unseen(entry, output, source, f"has {state.st_size} bytes as seen from this machine")
    return msgspec.structs.replace(output, mtime_ns=state.st_mtime_ns)


def _move(files: str, source: str, target: str) -> None:
    try:
        system.rename(source, target)
    except FileNotFoundError:
        local.make_folders_below(files, os.path.dirname(target))
        system.rename(source, target)


def _unseen(entry: Entry, output: OutputFile, path: str, what: str) -> StorageError:
    return StorageError(
        f"The worker {entry.worker} has written {output.size} bytes as {path!r}, which {what}. Nothing was published. "
        "See that all machines have the same folder there, and that what one has written the others see, then run "
        "again."
    )


def lying_apart(files: str, entries: Iterable[Entry]) -> Iterator[tuple[str, str]]:
    """Relative path, and absolute one, of each output that still lies in its worker's folder."""
    for entry in entries:
        folder = folder_of(files, entry.worker)
        for output in entry.outputs:
            if local.kind_of(f"{folder}/{output.path}") == "file":
                yield output.path, f"{folder}/{output.path}"


def take_over(files: str, entries: Iterable[Entry]) -> None:
    """Gather what a run has not that was interrupted."""
    for path, apart in lying_apart(files, entries):
        _move(files, apart, f"{files}/{path}")
