"""A Luigi invocation: when it began to ask, and what it has found complete.

Luigi asks ``complete()`` many times for one task, while raw folders may be growing. An invocation answers for the state
in which it found the world: files that arrive later are for the next one. Otherwise a raw folder that grows while its
consumers run would make Luigi fail with "Unfulfilled dependency at run time".
"""

from __future__ import annotations

import multiprocessing
import threading
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from luigi.worker import KeepAliveThread, TaskProcess

_NEGATIVE_SECONDS = 1.0
_NEGATIVE_FACTOR = 10


class Invocation:
    """What one Luigi invocation knows of directories.

    Attributes
    ----------
    began : datetime
        When the invocation first asked, in UTC.
    """

    def __init__(self, began: datetime | None = None, confirmed: dict[str, str] | None = None) -> None:
        self.began = began or datetime.now(UTC)
        self.confirmed = confirmed or {}
        self._denied: dict[tuple[str, str], float] = {}
        self._found: dict[tuple[str, str], tuple[float, Any]] = {}

    def answer(self, directory: str, checksum: str, start: datetime) -> bool | None:
        """What is known of a generation: complete, not complete, or None where it must be looked at.

        Parameters
        ----------
        directory
            The published directory.
        checksum
            Of the generation's record.
        start
            When the run that made the generation began.
        """
        if start >= self.began or self.confirmed.get(directory) == checksum:
            return True
        return False if time.monotonic() < self._denied.get((directory, checksum), 0.0) else None

    def note(self, directory: str, checksum: str, *, is_complete: bool, seconds: float) -> None:
        """Remember an answer that took ``seconds`` to find: yes for good, no for a while."""
        if is_complete:
            self.confirmed[directory] = checksum
        else:
            until = time.monotonic() + max(_NEGATIVE_SECONDS, _NEGATIVE_FACTOR * seconds)
            self._denied[directory, checksum] = until

    def remember(self, directory: str, checksum: str, found: Any, *, seconds: float) -> None:
        """Remember for a while what took ``seconds`` to find: Luigi runs a task just after it has asked for it."""
        until = time.monotonic() + max(_NEGATIVE_SECONDS, _NEGATIVE_FACTOR * seconds)
        self._found[directory, checksum] = until, found

    def recall(self, directory: str, checksum: str) -> Any:
        """What was remembered for a generation, once; None where there is nothing any more."""
        until, found = self._found.pop((directory, checksum), (0.0, None))
        return found if time.monotonic() < until else None


def remembered(directory: str, checksum: str, start: datetime, look: Callable[[], bool]) -> bool:
    """Whether a generation is complete: as this invocation knows, else by looking.

    Parameters
    ----------
    directory
        The published directory.
    checksum
        Of the generation's record.
    start
        When the run that made the generation began.
    look
        Finds out.
    """
    asking = current()
    if asking is None:
        return look()
    known = asking.answer(directory, checksum, start)
    if known is not None:
        return known
    begin = time.monotonic()
    is_complete = look()
    asking.note(directory, checksum, is_complete=is_complete, seconds=time.monotonic() - begin)
    return is_complete


_by_thread: weakref.WeakKeyDictionary[threading.Thread, Invocation] = weakref.WeakKeyDictionary()
_latest: Invocation | None = None


def current() -> Invocation | None:
    """The Luigi invocation that this code runs in, or None where it was called by hand.

    An invocation lives as long as the thread by which Luigi's worker tells the scheduler that it is alive. A task
    process belongs to the invocation that started it: by fork it has a copy, by spawn :func:`adopt` gave it one.
    """
    global _latest  # noqa: PLW0603 - one process, one latest invocation
    if isinstance(multiprocessing.current_process(), TaskProcess):
        return _latest
    for thread in reversed(threading.enumerate()):  # a build inside a task's run has the younger one
        if isinstance(thread, KeepAliveThread):
            _latest = _by_thread.setdefault(thread, Invocation()) if thread not in _by_thread else _by_thread[thread]
            return _latest
    return None


def process_state() -> tuple[datetime, dict[str, str]] | None:
    """What a child that is spawned must know of the current invocation."""
    invocation = current()
    return None if invocation is None else (invocation.began, dict(invocation.confirmed))


def adopt(state: tuple[datetime, dict[str, str]] | None) -> None:
    """In a child process: take over the parent's :func:`process_state`."""
    global _latest  # noqa: PLW0603 - one process, one latest invocation
    if state is not None and _latest is None:
        _latest = Invocation(*state)
