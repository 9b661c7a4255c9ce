"""The async engine: threads that leave their coroutines to one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from luisy_dir.errors import DefinitionError

_of_thread = threading.local()
_END = object()


class AsyncExecutor(ThreadPoolExecutor):
    """Does the work in threads, and whatever is awaitable in it on one event loop.

    So coroutines of all items make progress side by side, while reading, digests and writing hold up none of them.

    Parameters
    ----------
    workers
        How many items are worked on at the same time; each has a thread, which mostly waits.

    Examples
    --------
    >>> async def double(number):
    ...     await asyncio.sleep(0)
    ...     return 2 * number
    >>> with AsyncExecutor(2) as executor:
    ...     executor.submit(lambda: resolved(double(21))).result()
    42
    """

    def __init__(self, workers: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop_thread = threading.Thread(target=self._run_loop, name="luisy_dir-event-loop", daemon=True)
        self._loop_thread.start()
        super().__init__(workers, "luisy_dir", initializer=_enter, initargs=(self._loop,))

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._cancel()
            left = asyncio.all_tasks(self._loop)
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Take no more work; end the event loop when what is in hand is done."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop_thread.join()

    def kill(self) -> None:
        """Cancel every coroutine that is under way."""
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._cancel)


def _enter(loop: asyncio.AbstractEventLoop) -> None:
    _of_thread.loop = loop


def has_event_loop() -> bool:
    """Whether this thread is one of the async engine's."""
    return getattr(_of_thread, "loop", None) is not None


def is_async(function: object) -> bool:
    """Whether a function is ``async def``."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def resolved(value: Any) -> Any:
    """What an awaitable comes to, on the event loop of this thread's engine; anything else as it is.

    Raises
    ------
    DefinitionError
        This thread is none of the async engine's.
    """
    if not hasattr(type(value), "__await__"):
        return value
    loop = getattr(_of_thread, "loop", None)
    if loop is None:
        if inspect.iscoroutine(value):
            value.close()
        raise DefinitionError(
            "A function returned something to be awaited, but only the engine 'async' has an event loop. Choose it, "
            "or write a plain function."
        )
    return asyncio.run_coroutine_threadsafe(_awaited(value), loop).result()


async def _awaited(value: Any) -> Any:
    return await value


def drained(things: AsyncIterator[Any]) -> Iterator[Any]:
    """What an asynchronous iterator yields, one at a time."""
    try:
        while (thing := resolved(anext(things, _END))) is not _END:
            yield thing
    finally:
        if inspect.isasyncgen(things):
            resolved(things.aclose())


@contextlib.contextmanager
def plain(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """The function itself; of an ``async def`` one that waits for its result, wherever it is called."""
    if not is_async(function):
        yield function
        return
    with AsyncExecutor(1) as executor:
        yield lambda *args: executor.submit(lambda: resolved(function(*args))).result()
