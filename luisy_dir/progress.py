"""Progress of a run: what has been done, and how long the rest will take."""

from __future__ import annotations

import logging
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, NoReturn, Self, get_args

from tqdm import tqdm

from luisy_dir.entry import Entry, Verdict
from luisy_dir.item import printable

logger = logging.getLogger("luigi-interface.luisy_dir")

_LINE_SECONDS = 10.0
_NEWS_SECONDS = 1.0
_LONGEST_FAILURE = 200
_PUBLISHED = "published"
_ALMOST = 99.0  # per cent: all items may be done, and the directory not yet published


class Progress:
    """Counts finished items and shows them: a bar on a terminal, a line now and then elsewhere.

    Parameters
    ----------
    name
        Of the task.
    total
        Number of items.
    on_news
        Called with :meth:`facts`, in the thread that counts, at most once a second and at the end.
    """

    def __init__(self, name: str, total: int, on_news: Callable[[dict[str, Any]], object] | None = None) -> None:
        self._name = name
        self._total = total
        self._on_news = on_news
        self._counts = Counter(dict.fromkeys(get_args(Verdict), 0))  # another thread may look at any time
        self._before = 0
        self._failure = ""
        self._began = time.monotonic()
        self._next_line = self._began + _LINE_SECONDS
        self._next_news = self._began + _NEWS_SECONDS
        self._end: str | None = None
        is_alone = multiprocessing.parent_process() is None
        self._bar: tqdm[NoReturn] | None = None
        if is_alone and sys.stderr.isatty():
            self._bar = tqdm(total=total, desc=name, unit="item", leave=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        self._end = _PUBLISHED if error is None else f"gave up ({type(error).__name__}) after"
        self._tell_news()

    def begin_with(self, entries: Iterable[Entry]) -> None:
        """These items had been finished before: they count, but not for how fast it goes."""
        for entry in entries:
            self._counts[entry.status] += 1
            self._before += 1
        if self._bar is not None:
            self._bar.n = self._before
            self._bar.unpause()

    def advance(self, entry: Entry) -> None:
        """One item is finished."""
        self._counts[entry.status] += 1
        if entry.status == "failed" and entry.error is not None:
            self._failure = printable(f"{entry.key}: {entry.error.type}: {entry.error.message}")[:_LONGEST_FAILURE]
        if self._bar is not None:
            self._bar.update()
        now = time.monotonic()
        if now >= self._next_news:
            self._next_news = now + _NEWS_SECONDS
            self._tell_news()
        if self._bar is None and now >= self._next_line:
            self._next_line = now + _LINE_SECONDS
            logger.info("%s: %s", self._name, self.line())

    def _tell_news(self) -> None:
        if self._on_news is not None:
            self._on_news(self.facts())

    @property
    def percentage(self) -> float:
        """From 0 to 99 while items are processed, and 100 when the directory was published."""
        if self._end == _PUBLISHED:
            return 100.0
        return min(_ALMOST, 100.0 * self._counts.total() / max(self._total, 1))

    def facts(self) -> dict[str, Any]:
        """Counts by status, and ``total``, ``done``, ``percentage``, ``seconds``."""
        return {
            "total": self._total,
            "done": self._counts.total(),
            "percentage": self.percentage,
            "seconds": time.monotonic() - self._began,
            **self._counts,
        }

    def line(self) -> str:
        """One line for people: how many of how many, how many failed, how fast, how long it will take.

        A second line names the last failure.
        """
        seconds = max(time.monotonic() - self._began, 1e-9)
        done = self._counts.total()
        parts = [f"{done:,} of {self._total:,} items"]
        parts += [
            f"{count:,} {status}" for status, count in sorted(self._counts.items()) if count and status != "written"
        ]
        rate = (done - self._before) / seconds
        if rate:
            parts.append(f"{rate:,.1f} items/s")
        if self._end is not None:
            parts[0] = f"{self._end} {parts[0]}"
            parts.append(f"{tqdm.format_interval(seconds)} taken")
        elif rate:
            parts.append(f"{tqdm.format_interval((self._total - done) / rate)} left")
        return ", ".join(parts) + (f"\nlast failure: {self._failure}" if self._failure else "")

    def are_all(self, status: str) -> bool:
        """Whether all items that were finished have that status; true of none."""
        return self._counts.total() == self._counts[status]

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(self._counts.items()) if count)
        return f"{self._counts.total()} of {self._total} items ({counts or 'none yet'})"
