"""Progress of a run: what has been done, and how long the rest will take."""

from __future__ import annotations

import logging
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self, get_args

from luisy_dir.entry import Entry, Verdict
from luisy_dir.item import printable

logger = logging.getLogger("luigi-interface.luisy_dir")

_NEWS_SECONDS = 1.0
_LONGEST_FAILURE = 200
_PUBLISHED = "published"
_ALMOST = 99.0  # per cent: all items may be done, and the directory not yet published


class Progress:
    """Counts finished items, and tells in figures and words how far the run is. A context manager.

    Where the run ends in an error, what it has done is logged.

    Parameters
    ----------
    name
        Of the task.
    total
        Number of items.
    on_news
        Called with :meth:`facts`, in the thread that counts, at most once a second and at the end.
    path
        Where the directory is published; it is named where items failed.
    """

    def __init__(
        self, name: str, total: int, on_news: Callable[[dict[str, Any]], object] | None = None, *, path: str = ""
    ) -> None:
        self.name = printable(name)
        self._total = total
        self._on_news = on_news
        self._path = path
        self._counts = Counter(dict.fromkeys(get_args(Verdict), 0))  # another thread may look at any time
        self._before = 0
        self._failure = ""
        self._began = time.monotonic()
        self._next_news = self._began + _NEWS_SECONDS
        self._end: str | None = None
        self._taken_seconds = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._taken_seconds = self._seconds()
        self._end = _PUBLISHED if error is None else f"gave up ({type(error).__name__}) after"
        self._tell_news()
        if error is not None and self.done:
            logger.warning("%s: %s", self.name, self.line())
            self.tell_failures()

    def tell_failures(self) -> None:
        """Log how to see what failed, where anything did."""
        if failed := self._counts["failed"]:
            told = f"{failed:,} items" if failed > 1 else "1 item"
            where = f"luisy-dir errors {printable(shlex.quote(self._path))}" if self._path else "report()"
            logger.warning("%s: %s failed. See why: %s", self.name, told, where)

    def begin_with(self, entries: Iterable[Entry]) -> None:
        """These items had been finished before: they count, but not for how fast it goes."""
        for entry in entries:
            self._counts[entry.status] += 1
            self._before += 1

    def advance(self, entry: Entry | None = None) -> None:
        """One item is finished; without an entry, one that was written."""
        self._counts["written" if entry is None else entry.status] += 1
        if entry is not None and entry.status == "failed" and entry.error is not None:
            self._failure = printable(f"{entry.key}: {entry.error.type}: {entry.error.message}")[:_LONGEST_FAILURE]
        now = time.monotonic()
        if now >= self._next_news:
            self._next_news = now + _NEWS_SECONDS
            self._tell_news()

    def _tell_news(self) -> None:
        if self._on_news is not None:
            self._on_news(self.facts())

    def _seconds(self) -> float:
        return self._taken_seconds or time.monotonic() - self._began

    @property
    def done(self) -> int:
        """Number of items that are finished."""
        return self._counts.total()

    @property
    def percentage(self) -> float:
        """From 0 to 99 while items are processed, and 100 when the directory was published."""
        if self._end == _PUBLISHED:
            return 100.0
        return min(_ALMOST, 100.0 * self.done / max(self._total, 1))

    def facts(self) -> dict[str, Any]:
        """Counts by status, and ``total``, ``done``, ``percentage``, ``seconds``."""
        return {
            "total": self._total,
            "done": self.done,
            "percentage": self.percentage,
            "seconds": self._seconds(),
            **self._counts,
        }

    def line(self) -> str:
        """One line for people: how many of how many, how many failed, how fast, how long it will take.

        A second line names the last failure.
        """
        done = self.done
        parts = [f"{done:,} of {self._total:,} items"]
        parts += [
            f"{count:,} {status}" for status, count in sorted(self._counts.items()) if count and status != "written"
        ]
        if self._end is not None:
            parts[0] = f"{self._end} {parts[0]}"
            parts.append(self.pace())
        elif rate := self._rate():
            parts.append(f"{rate:,.1f} items/s")
            parts.append(f"{_clock((self._total - done) / rate)} left" if done < self._total else "publishing")
        return ", ".join(parts) + (f"\nlast failure: {self._failure}" if self._failure else "")

    def pace(self) -> str:
        """How fast items were finished, and how long that took."""
        rate = self._rate()
        return (f"{rate:,.1f} items/s, " if rate else "") + f"{_clock(self._seconds())} taken"

    def _rate(self) -> float:
        """Items finished in a second."""
        return (self.done - self._before) / max(self._seconds(), 1e-9)

    def are_all(self, status: str) -> bool:
        """Whether all items that were finished have that status; true of none."""
        return self.done == self._counts[status]

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(self._counts.items()) if count)
        return f"{self.done} of {self._total} items ({counts or 'none yet'})"


def _clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"
