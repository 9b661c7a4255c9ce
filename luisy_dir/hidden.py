"""A hidden file: an output while it is being written, beside the place that it is renamed to."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Callable, Iterable
from typing import Any

from luisy_dir.errors import OutputError
from luisy_dir.storage import local, system

HIDDEN = ".luisy-"  # begins the name of each
_numbers = itertools.count()


def write_whole(outpath: Any, write: Callable[[Any], object], writer: str, *, sync: bool = False) -> None:
    """Have a hidden file beside the output written, which is renamed when that is done.

    Parameters
    ----------
    outpath
        Where the output goes.
    write
        Gets the path of the hidden file, of the type of ``outpath``.
    writer
        Its name, for messages.
    sync
        Bring the file to the disk before it is renamed.

    Raises
    ------
    OutputError
        It wrote nothing there, or a directory lies where the output goes, or a device or a pipe.
    """
    path = os.path.abspath(os.fsdecode(outpath))
    if local.is_device(path):
        raise OutputError(f"{path!r} is a device or a pipe, which a file would replace. Write elsewhere.")
    make = str if isinstance(outpath, (str, bytes)) else type(outpath)
    hidden = make(_hidden(path))
    try:
        write(hidden)
        _put(os.fspath(hidden), path, writer, sync=sync)
    finally:
        with contextlib.suppress(FileNotFoundError):
            system.unlink(os.fspath(hidden))


def _hidden(path: str) -> str:
    """A name beside an output, which says who writes there, with the output's suffixes."""
    folder, name = os.path.split(path)
    stem, dot, suffixes = name.lstrip(".").partition(".")
    who = f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
    return os.path.join(folder, f"{HIDDEN}{who}{dot}{suffixes}" if stem else f"{HIDDEN}{who}")


def _put(hidden: str, path: str, writer: str, *, sync: bool) -> None:
    try:
        if sync:
            local.sync_path(hidden)
        system.rename(hidden, path)
    except FileNotFoundError as error:
        raise OutputError(
            f"{writer} has written nothing to {hidden!r}, the file that it was given, so that there is no {path!r}. "
            "Let it write to the path that it gets, or give the pipeline atomic=False."
        ) from error
    except IsADirectoryError as error:
        raise OutputError(f"{path!r} is a directory. Move it away, or write elsewhere.") from error


def remove_abandoned(folders: Iterable[str]) -> None:
    """Remove what writers of this machine that are no more have left half-written in some folders."""
    begin = f"{HIDDEN}{socket.gethostname()}-"
    for folder in folders:
        for name in local.names_in(folder):
            pid = name.removeprefix(begin).partition("-")[0]
            if name.startswith(begin) and pid.isdigit() and not _is_running(int(pid)):
                with contextlib.suppress(OSError):
                    system.unlink(os.path.join(folder, name))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
