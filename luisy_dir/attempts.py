"""Attempts: things that may have to be done again, at once or after a while, on top of the one map."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import closing
from typing import Generic, TypeVar

from luisy_dir.engines.loss import Loss
from luisy_dir.engines.mapping import map_unordered

T = TypeVar("T")
R = TypeVar("R")

# What has come of a thing, and what is to be done again: each with the seconds to wait before.
Answer = tuple[list[R], list[tuple[float, T]]]


def map_attempts(
    executor: Executor,
    function: Callable[[T], Answer[R, T]],
    things: Iterable[T],
    *,
    workers: int = 1,
    on_loss: Callable[[list[T], Loss], tuple[list[Answer[R, T]], list[T]]] | None = None,
    weight: Callable[[T], int] | None = None,
    budget: int = 0,
) -> Generator[R, None, None]:
    """Yield what comes of every thing, as :func:`map_unordered` does; what is to be done again is sent again.

    No worker waits for that: the others go on, and a thing whose time has come goes before those that are new. Always
    close it.

    Parameters
    ----------
    executor, workers, on_loss, weight, budget
        As for :func:`map_unordered`.
    function
        Says of one thing what has come of it, and what is to be done again, each with the seconds to wait before.
    things
        Read as they are needed.

    Yields
    ------
    object
        One result after the other.

    Examples
    --------
    >>> from luisy_dir.engines import open_engine
    >>> def halves(numbers):
    ...     middle = len(numbers) // 2
    ...     return ([], [(0, numbers[:middle]), (0, numbers[middle:])]) if middle else (numbers, [])
    >>> with open_engine("serial", 1) as executor:
    ...     list(map_attempts(executor, halves, [[1, 2, 3]]))
    [1, 2, 3]
    """
    queue = _Queue(things)
    with closing(
        map_unordered(executor, function, queue, workers=workers, on_loss=on_loss, weight=weight, budget=budget)
    ) as answers:
        for done, again in answers:
            queue.take_back(again)
            yield from done


class _Queue(Iterator[T], Generic[T]):
    """Things to do: an iterator that ends where nothing is to be done now, and may have more when it is asked again.

    While something is in hand, an answer will come, and with it the next question; else it waits itself.
    """

    def __init__(self, things: Iterable[T]) -> None:
        self._new = iter(things)
        self._again: list[tuple[float, int, T]] = []
        self._numbers = itertools.count()
        self._in_hand = 0

    def take_back(self, again: list[tuple[float, T]]) -> None:
        """One thing has come back, and these are to be done again."""
        self._in_hand -= 1
        for seconds, thing in again:
            heapq.heappush(self._again, (time.monotonic() + seconds, next(self._numbers), thing))

    def __next__(self) -> T:
        thing = self._next()
        self._in_hand += 1
        return thing

    def _next(self) -> T:
        if self._seconds_left() <= 0:
            return heapq.heappop(self._again)[-1]
        try:
            return next(self._new)
        except StopIteration:
            if self._in_hand or not self._again:
                raise
        time.sleep(max(self._seconds_left(), 0))
        return heapq.heappop(self._again)[-1]

    def _seconds_left(self) -> float:
        return self._again[0][0] - time.monotonic() if self._again else float("inf")
