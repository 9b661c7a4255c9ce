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

    _is_shut_down = False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Take no more work."""
        self._is_shut_down = True

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call ``function`` now. Its errors go into the future, but not KeyboardInterrupt and its like."""
        if self._is_shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[T] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - an Executor hands every error to its future
            future.set_exception(error)
        return future
