"""The terminal: a bar on it that shows how far a run is, and log lines where there is none."""

from __future__ import annotations

import contextlib
import itertools
import logging
import multiprocessing
import os
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self, TextIO

from luisy_dir.progress import Progress

logger = logging.getLogger("luigi-interface.luisy_dir")

SHOW = ("auto", "on", "off")
_TICK_SECONDS = 0.2
_FIRST_LINE_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 300.0
_USUAL_COLUMNS = 80
_BAR_COLUMNS = 20
_ROOM_FOR_A_BAR = 75
_MARGIN = 3  # so that what the terminal writes for Ctrl-C has room on the line


class Terminal:
    """Shows the progress of a run while it goes on, from a thread that never holds it up. A context manager.

    On a terminal it is a bar on the last line, drawn anew when an item was finished, five times a second at most. What
    is logged or printed meanwhile comes as whole lines above it. Elsewhere it is a log line after ten seconds, and then
    at pauses that grow from 20 seconds to five minutes; so it is where Luigi runs several tasks at once, in processes
    that know nothing of each other.

    Parameters
    ----------
    progress
        What to show.
    show
        ``auto``; ``on`` for a bar even where standard error is no terminal; ``off`` for neither bar nor lines.
    """

    def __init__(self, progress: Progress, *, show: str = "auto") -> None:
        self._progress = progress
        self._show = show
        self._stop = threading.Event()
        self._bar: _Bar | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._show == "off":
            return self
        if _has_room_for_a_bar(sys.stderr, self._show):
            self._bar = _Bar(sys.stderr, self._progress)
        work = self._log_lines if self._bar is None else partial(self._draw_bar, self._bar)
        self._thread = threading.Thread(target=work, name="luisy_dir-terminal", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        try:
            if self._thread is not None:
                self._thread.join()
        finally:
            if self._bar is not None:
                self._bar.close()

    def _draw_bar(self, bar: _Bar) -> None:
        shown = -1
        while not self._stop.wait(_TICK_SECONDS):
            if self._progress.done != shown:  # nothing is drawn over a debugger, in which no item is finished
                shown = self._progress.done
                bar.draw()

    def _log_lines(self) -> None:
        for pause in _pauses():
            if self._stop.wait(pause):
                return
            logger.info("%s: %s", self._progress.name, self._progress.line())


def _pauses() -> Iterator[float]:
    pause = _FIRST_LINE_SECONDS
    while True:
        yield pause
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _has_room_for_a_bar(stream: TextIO | None, show: str) -> bool:
    """Whether a bar of this process alone may be drawn there."""
    if not _can_be_taken(stream) or multiprocessing.parent_process() is not None:
        return False
    return show == "on" or (_is_terminal(stream) and os.environ.get("TERM") != "dumb" and _is_in_front(stream))


def step_aside() -> None:
    """In a worker process: what is written to the terminal does not mix with a bar of the parent's."""
    if multiprocessing.parent_process() is not None:
        for stream in _terminals():
            _take(stream, _Aside(stream).write)


class _Bar:
    """A line that stays the last one on a terminal, whoever else writes there through Python.

    No escape codes are needed for that: the line is written over, with blanks where nothing is to be seen.
    """

    def __init__(self, stream: TextIO, progress: Progress) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._progress = progress
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._is_begun = False
        self._is_drawn = False
        self._is_in_a_line = False  # of somebody else, who has not ended it yet
        self._writes = {taken: taken.write for taken in {stream, *_terminals()}}
        self._replacements = {taken: partial(self._write_above, taken) for taken in self._writes}
        for taken, write in self._replacements.items():
            _take(taken, write)

    def close(self) -> None:
        """Take the bar away, and give the streams back."""
        with self._lock:
            self._erase()
            self._is_begun = False
        for stream, write in self._replacements.items():
            if vars(stream).get("write") is write:
                del vars(stream)["write"]

    def draw(self) -> None:
        """Draw the bar as it is now."""
        with self._lock:
            self._is_begun = True
            self._draw()

    def _write_above(self, stream: TextIO, text: str) -> int:
        """Write to a stream for somebody else, above the bar."""
        write = self._writes[stream]
        if os.getpid() != self._process:  # forked, perhaps while another thread had the lock
            return write(text)
        with self._lock:
            self._erase()
            count = write(text)
            self._is_in_a_line = not text.endswith("\n") if text else self._is_in_a_line
            stream.flush()
            self._draw()
        return count

    def _draw(self) -> None:
        if self._is_begun and not self._is_in_a_line and _is_in_front(self._stream):
            room = _columns(self._stream) - _MARGIN
            text = bar_of(self._progress, room).encode(self._encoding, "replace").decode(self._encoding)
            self._put("\r" + text + " " * (room - width_of(text)))
            self._is_drawn = True

    def _erase(self) -> None:
        if self._is_drawn:
            self._put(_blank_line(self._stream))
            self._is_drawn = False

    def _put(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal is gone, and the run goes on
            self._writes[self._stream](text)
            self._stream.flush()


class _Aside:
    """A stream of a worker, each line of which begins on a blank line of the terminal, where the bar may have been."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._write = stream.write
        self._is_in_a_line = False

    def write(self, text: str) -> int:
        """Write; on a terminal a line goes out in one piece when it ends."""
        lead = "" if self._is_in_a_line or not text else _blank_line(self._stream)
        self._is_in_a_line = not text.endswith("\n") if text else self._is_in_a_line
        self._write(lead + text)
        return len(text)


def _terminals() -> set[TextIO]:
    """Standard output and error where they are terminals, and write as they always do."""
    return {stream for stream in (sys.stdout, sys.stderr) if _can_be_taken(stream) and _is_terminal(stream)}


def _can_be_taken(stream: TextIO | None) -> bool:
    """Whether a stream can be given another way to write, and was not given one before."""
    return "write" not in getattr(stream, "__dict__", {"write": None})


def _take(stream: TextIO, write: Callable[[str], int]) -> None:
    """Let a stream write in another way; it stays the object that logging holds on to, and that cloudpickle knows."""
    vars(stream)["write"] = write


def _is_terminal(stream: TextIO | None) -> bool:
    with contextlib.suppress(ValueError):  # it was closed
        return stream is not None and stream.isatty()
    return False


def _is_in_front(stream: Any) -> bool:
    """Whether the shell does not run this in the background, where a bar would disturb whoever types."""
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # it is not the terminal that this process is controlled by
        return True


def _blank_line(stream: TextIO) -> str:
    return "\r" + " " * (_columns(stream) - 1) + "\r"


def _columns(stream: TextIO) -> int:
    """Columns of the terminal as it is now; of what is none, as many as usual."""
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    return _USUAL_COLUMNS


def bar_of(progress: Progress, room: int) -> str:
    """One line: how many per cent, a bar, the figures, the name of the task.

    In little room there is no bar, and what does not fit is cut off at the end.

    Examples
    --------
    >>> bar_of(Progress("ToNumpy()", 100), 77)
    '  0 % [....................] 0 of 100 items  ToNumpy()'
    >>> bar_of(Progress("ToNumpy()", 100), 25)
    '  0 % 0 of 100 items  ToN'
    """
    percentage, line = int(progress.percentage), progress.line().partition("\n")[0]
    full = "#" * (percentage * _BAR_COLUMNS // 100)
    bar = f"[{full.ljust(_BAR_COLUMNS, '.')}] " if room >= _ROOM_FOR_A_BAR else ""
    return start_of(f"{percentage:3d} % {bar}{line}  {progress.name}", room)


def width_of(text: str) -> int:
    """Columns that a text takes on a terminal.

    Examples
    --------
    >>> width_of("ab"), width_of("猫")
    (2, 2)
    """
    return len(text) if text.isascii() else sum(map(_width_of_char, text))


def start_of(text: str, room: int) -> str:
    """As much of the beginning of a text as fits into so many columns.

    Examples
    --------
    >>> start_of("猫 cat", 4)
    '猫 c'
    """
    used = itertools.accumulate(map(_width_of_char, text))
    return "".join(char for char, width in zip(text, used, strict=True) if width <= room)


def _width_of_char(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
