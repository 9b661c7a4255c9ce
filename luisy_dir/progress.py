"""Progress of a run: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import multiprocessing
import sys
import time
from collections import Counter
from types import TracebackType
from typing import NoReturn, Self

from tqdm import tqdm

from luisy_dir.manifest import Entry

logger = logging.getLogger("luigi-interface.luisy_dir")

_LINE_SECONDS = 10.0


class Progress:
    """Counts finished items and shows them.

    Parameters
    ----------
    name
        Of the task.
    total
        Number of items.
    """

    def __init__(self, name: str, total: int) -> None:
        self._name = name
        self._total = total
        self._counts: Counter[str] = Counter()
        self._next_line = time.monotonic() + _LINE_SECONDS
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

    def advance(self, entry: Entry) -> None:
        """One item is finished."""
        self._counts[entry.status] += 1
        if self._bar is not None:
            self._bar.update()
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_SECONDS
            logger.info("%s: %s", self._name, self)

    def are_all(self, status: str) -> bool:
        """Whether all items that were finished have that status; true of none."""
        return self._counts.total() == self._counts[status]

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(self._counts.items()))
        return f"{self._counts.total()} of {self._total} items ({counts or 'none yet'})"
