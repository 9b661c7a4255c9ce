"""The async engine: threads that leave their coroutines to one event loop."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from luisy_dir.errors import DefinitionError

if TYPE_CHECKING:  # every worker imports this module, asyncio takes a third as long as all of them, and few need it
    import asyncio

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
    >>> import asyncio
    >>> async def double(number):
    ...     await asyncio.sleep(0)
    ...     return 2 * number
    >>> with AsyncExecutor(2) as executor:
    ...     executor.submit(lambda: resolved(double(21))).result()
    42
    """

    def __init__(self, workers: int) -> None:
        import asyncio

        self._loop = asyncio.new_event_loop()
        self._is_killed = threading.Event()
        self._loop_thread = threading.Thread(target=self._run_loop, name="luisy_dir-event-loop", daemon=True)
        self._loop_thread.start()
        super().__init__(workers, "luisy_dir", initializer=_enter, initargs=(self._loop, self._is_killed))

    def _run_loop(self) -> None:
        import asyncio

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
        import asyncio

        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Take no more work; end the event loop when what is in hand is done."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            self._end_loop()
        else:
            threading.Thread(target=self._end_loop_later, name="luisy_dir-event-loop-end", daemon=True).start()

    def _end_loop_later(self) -> None:
        super().shutdown(wait=True)
        self._end_loop()

    def _end_loop(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._loop_thread.join()

    def kill(self) -> None:
        """Cancel every coroutine that is under way, and begin none any more."""
        self._is_killed.set()
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._cancel)


class Cancelled(Exception):  # noqa: N818 - not an error: somebody has interrupted the run
    """The engine was told to cancel what is under way."""


class NoEventLoopError(DefinitionError):
    """Something asks to be awaited where nobody can."""


def _enter(loop: asyncio.AbstractEventLoop, is_killed: threading.Event) -> None:
    _of_thread.loop = loop
    _of_thread.is_killed = is_killed


@contextlib.contextmanager
def event_loop_here() -> Iterator[None]:
    """In this block, wait for whatever is awaitable in this thread, one after the other.

    Where an event loop runs here already, as in a notebook, another thread has the one that is waited for.
    """
    with contextlib.ExitStack() as stack:
        if _is_running_here():
            executor = stack.enter_context(AsyncExecutor(1))
            _enter(executor._loop, executor._is_killed)  # noqa: SLF001 - its own module
        else:
            import asyncio

            _of_thread.runner = stack.enter_context(asyncio.Runner())
        try:
            yield
        finally:
            _of_thread.loop = _of_thread.runner = None


def _is_running_here() -> bool:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


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
    NoEventLoopError
        This thread is none of the async engine's.
    Cancelled
        The engine was killed.
    """
    if not hasattr(type(value), "__await__"):
        return value
    runner = getattr(_of_thread, "runner", None)
    if runner is not None:
        return runner.run(_waited_for(value))
    loop = getattr(_of_thread, "loop", None)
    if loop is None:
        _close(value)
        raise NoEventLoopError(
            "A function returned something to be awaited, but only the engine 'async' has an event loop. Choose it, "
            "or write a plain function."
        )
    if _of_thread.is_killed.is_set():
        _close(value)
        raise Cancelled
    import asyncio

    try:
        result, error = asyncio.run_coroutine_threadsafe(_awaited(value), loop).result()
    except CancelledError:
        _close(value)  # it may not have begun
        if _of_thread.is_killed.is_set():
            raise Cancelled from None
        raise
    if error is not None:
        raise error
    return result


def _close(value: Any) -> None:
    """Let nobody complain of a coroutine that was never awaited."""
    if inspect.iscoroutine(value):
        value.close()


async def _waited_for(value: Any) -> Any:
    return await value


async def _awaited(value: Any) -> tuple[Any, BaseException | None]:
    """What comes of an awaitable; a SystemExit in it must not end the event loop of all others."""
    try:
        return await value, None
    except (SystemExit, KeyboardInterrupt) as error:
        return None, error


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
    """The function; where its result is awaitable, one that waits for that, wherever it is called."""
    with contextlib.ExitStack() as stack:
        executors: list[AsyncExecutor] = []

        def call(*args: Any) -> Any:
            value = function(*args)
            if not hasattr(type(value), "__await__"):
                return value
            if not executors:
                executors.append(stack.enter_context(AsyncExecutor(1)))
            return executors[0].submit(resolved, value).result()

        yield call
