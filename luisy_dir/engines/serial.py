"""The serial engine: an Executor that does the work at once, in the calling thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class SerialExecutor(Executor):
    """Does the work inside ``submit``; the future that it returns is done.

    Examples
    --------
    >>> SerialExecutor().submit(max, 1, 2).result()
    2
    """

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call ``function`` now. Its errors go into the future, but not KeyboardInterrupt and its like."""
        future: Future[T] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - an Executor hands every error to its future
            future.set_exception(error)
        return future
