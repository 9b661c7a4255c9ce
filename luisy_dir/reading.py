"""Reading: data of a file that did not change while it was read."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from luisy_dir.engines.event_loop import resolved
from luisy_dir.errors import InputChangedError
from luisy_dir.item import RACY_NS, Source
from luisy_dir.storage import local, system

_TRIES_OF_UNSTABLE_INPUT = 3
_MEND = (
    "Run the task that makes it again, then this one; 'luisy-dir verify --deep --repair' finds what size and time of "
    "change do not show."
)


@runtime_checkable
class StableReader(Protocol):
    """Reads files of a published directory that may lie in packs."""

    def read_stable(self, path: str, source: Source) -> tuple[Any, Source]:
        """See :func:`read_stable`."""


class Gone(Exception):  # noqa: N818 - not an error: somebody has removed the file since the run began
    """A raw file is no longer there."""


def read_stable(read: Callable[[str], Any], path: str, source: Source) -> tuple[Any, Source]:
    """Data of a file that did not change while it was read, and its source as it was then.

    Parameters
    ----------
    read
        ``read(path) -> data``.
    path
        Absolute path.
    source
        What is known of the file; where it has a digest, the file must still equal it.

    Raises
    ------
    InputChangedError
        The file changed during each of three tries, or does not equal the digest.
    OSError
        The file cannot be opened.
    """
    if isinstance(read, StableReader):
        return read.read_stable(path, source)
    return _read_raw(read, path, source) if source.digest is None else _read_published(read, path, source)


def _read_raw(read: Callable[[str], Any], path: str, source: Source) -> tuple[Any, Source]:
    """Data of a raw file, which anybody may be writing to, and its source with the digest.

    A file that still is as it was when it was scanned has not changed. Where it was young then, it may have changed
    again within one tick of the clock, so that digests before and after tell.
    """
    before: tuple[str | None, int, int] = None, source.size, source.mtime_ns
    is_in_doubt = source.mtime_ns > time.time_ns() - RACY_NS
    for _ in range(_TRIES_OF_UNSTABLE_INPUT):
        if is_in_doubt:
            before = _digest_of_raw(path)
        try:
            data = resolved(read(path))
        except Exception:
            if not local.exists(path):
                raise Gone from None
            raise
        if data is None:  # not ours: do not read it a second time for a digest that nobody needs
            return None, Source(source.root, source.path, source.size, source.mtime_ns, before[0], source.encoded)
        after = digest, size, mtime_ns = _digest_of_raw(path)
        if after[1:] == before[1:] and before[0] in {None, digest}:
            return data, Source(source.root, source.path, size, mtime_ns, digest, source.encoded)
        is_in_doubt = True
    raise InputChangedError(
        f"{path!r} changed while it was read, {_TRIES_OF_UNSTABLE_INPUT} times. "
        "Let whoever writes it finish, or write under another name and rename; then run again."
    )


def _read_published(read: Callable[[str], Any], path: str, source: Source) -> tuple[Any, Source]:
    """Data of a published file, which must equal its entry, and its source as it is now."""
    try:
        state = system.stat(path)
    except FileNotFoundError as error:
        what = f"{path!r} is in a manifest, but no longer there: somebody removed it, or its task has run since."
        raise InputChangedError(f"{what} {_MEND}") from error
    data = resolved(read(path))
    if state.st_size != source.size or local.digest_of(path)[0] != source.digest:
        what = f"{path!r} no longer equals its manifest: somebody changed it, or its task has run since."
        raise InputChangedError(f"{what} {_MEND}")
    seen = Source(source.root, source.path, state.st_size, state.st_mtime_ns, source.digest, source.encoded)
    return data, seen


def _digest_of_raw(path: str) -> tuple[str, int, int]:
    try:
        return _digest_and_state(path)
    except FileNotFoundError:
        if not local.exists(path):
            raise Gone from None
        raise


def _digest_and_state(path: str) -> tuple[str, int, int]:
    digest, state = local.digest_of(path)
    return digest, state.st_size, state.st_mtime_ns


def with_digest(source: Source, path: str) -> Source:
    """The source of a failed item with a digest, so that the next plan can see whether the file was mended."""
    if source.digest is not None:
        return source
    try:
        digest, size, mtime_ns = _digest_and_state(path)
    except OSError:
        return source
    return Source(source.root, source.path, size, mtime_ns, digest, source.encoded)
