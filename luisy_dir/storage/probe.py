"""A probe: what the file system of a folder can do, found out by trying."""

from __future__ import annotations

import errno
import os
import unicodedata
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from luisy_dir.storage import local, system

_NAME = "bad-probe-"  # what a crash leaves of it goes with all else that is bad
_UMLAUT = "\u00e4"


@dataclass(frozen=True)
class Capabilities:
    """What the file system of a folder can do.

    Parameters
    ----------
    rename_noreplace
        Rename a directory or a file without replacing what lies at its new place.
    link
        Give a file a second name.
    syncfs
        Bring a whole file system to the disk.
    lock
        Lock a file.
    tells_case_apart
        ``A`` and ``a`` are two names.
    tells_spellings_apart
        A letter with an accent, and the letter followed by the accent (NFC and NFD), are two names.

    Examples
    --------
    >>> Capabilities(link=False).missing
    ['link']
    """

    rename_noreplace: bool = True
    link: bool = True
    syncfs: bool = True
    lock: bool = True
    tells_case_apart: bool = True
    tells_spellings_apart: bool = True

    @property
    def missing(self) -> list[str]:
        """Names of what it cannot do."""
        return [name for name, is_there in vars(self).items() if not is_there]

    @property
    def keeps_runs_apart(self) -> bool:
        """Whether of two runs at most one can publish, whatever happens."""
        return self.rename_noreplace or self.link or self.lock

    @property
    def folds(self) -> bool:
        """Whether it takes some names that differ for one."""
        return not (self.tells_case_apart and self.tells_spellings_apart)

    def folded(self, path: str) -> str:
        """What two paths have in common that name the same file.

        Examples
        --------
        >>> Capabilities(tells_case_apart=False).folded("Cat.npy")
        'cat.npy'
        """
        if not self.tells_spellings_apart:
            path = unicodedata.normalize("NFC", path)
        return path if self.tells_case_apart else path.casefold()


def probe(folder: str) -> Capabilities:
    """Try what the file system of a folder can do; nothing is left there.

    Parameters
    ----------
    folder
        Absolute path of a folder that may be written to.

    Raises
    ------
    OSError
        Nothing can be written there.
    """
    place = os.path.join(folder, _NAME + uuid.uuid4().hex)
    system.mkdir(place)
    try:
        return _probe(place)
    finally:
        local.remove_tree(place)


def _probe(place: str) -> Capabilities:
    one, other = os.path.join(place, "a" + _UMLAUT), os.path.join(place, "b")
    descriptor = system.open(one, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    try:
        has_locks = _is_there(lambda: system.lock(descriptor))
    finally:
        system.close(descriptor)
    has_links = _is_there(lambda: system.link(one, other))
    if not has_links:
        local.write_whole(other, b"", sync=False)
    return Capabilities(
        rename_noreplace=_is_there(lambda: system.rename_noreplace(one, other), errno.EEXIST),
        link=has_links,
        syncfs=_is_there(lambda: system.syncfs(-1), errno.EBADF),
        lock=has_locks,
        tells_case_apart=not local.exists(os.path.join(place, "A" + _UMLAUT)),
        tells_spellings_apart=not local.exists(unicodedata.normalize("NFD", one)),
    )


def _is_there(call: Callable[[], object], expected: int | None = None) -> bool:
    """Whether a call succeeds, or fails with an error that says that it was understood."""
    try:
        call()
    except OSError as error:
        if error.errno != expected and error.errno not in local.ABSENT:
            raise
        return error.errno == expected
    return expected is None
