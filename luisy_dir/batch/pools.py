"""Pools: workers of actions, kept from one call to the next."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from contextvars import copy_context
from functools import cache
from typing import Any

from luisy_dir.engines import open_engine
from luisy_dir.resources import usable_cpus

_pools: dict[tuple[int, str, int], Executor] = {}  # by process: a fork takes no threads along
_loops: dict[int, EventLoop] = {}
_opening = threading.Lock()


@cache
def default_workers() -> int:
    """As many as there are CPUs for this process."""
    return usable_cpus()


def pool_of(engine: str, workers: int) -> Executor:
    """The Executor of that engine with so many workers; the same one for each call, until :func:`close_pools`.

    Parameters
    ----------
    engine
        As :func:`luisy_dir.engines.open_engine` takes it.
    workers
        How many.
    """
    with _opening:
        key = (os.getpid(), engine, workers)
        if key not in _pools:
            _pools[key] = open_engine(engine, workers, imports_main=False)
        return _pools[key]


def discard_pool(executor: Executor) -> None:
    """Let the next call have another Executor, because this one is broken or was interrupted."""
    with _opening:
        for key in [key for key, pool in _pools.items() if pool is executor]:
            del _pools[key]
    executor.shutdown(wait=False, cancel_futures=True)


def close_pools() -> None:
    """End the workers that actions on batches have left waiting for the next call, and wait for their end.

    The next call begins with new ones. At the end of the program they end by themselves.

    Examples
    --------
    >>> close_pools()
    """
    with _opening:
        mine = os.getpid()
        pools = [_pools.pop(key) for key in list(_pools) if key[0] == mine]
        loop = _loops.pop(mine, None)
    for pool in pools:
        pool.shutdown(wait=True)
    if loop is not None:
        loop.close()


def do_in_threads(do: Callable[[int], object], count: int, workers: int) -> None:
    """Call a function with each number below a count, in this thread and in those of the pool.

    This thread does what no other has begun, so that it never waits for work that has no worker: a function may itself
    do this, and trivial work is done before another thread has woken up.

    Parameters
    ----------
    do
        Raises nothing but what is to end the program; that is raised here.
    count
        How many.
    workers
        In how many threads at most.
    """
    left = deque(range(count))

    def work() -> None:
        while True:
            try:
                number = left.popleft()
            except IndexError:
                return
            do(number)

    helpers: list[Future[None]] = []
    executor = pool_of("threads", max(1, workers - 1))
    try:
        with suppress(RuntimeError):  # the pool was closed, or the program is ending: this thread does it all
            helpers.extend(executor.submit(copy_context().run, work) for _ in range(1, min(workers, count)))
        work()
    except BaseException:  # which may have come while a thread was started, so that the pool does not know of it
        discard_pool(executor)
        raise
    finally:
        left.clear()
        begun = [helper for helper in helpers if not helper.cancel()]
        wait(begun)
    for helper in begun:
        helper.result()


class EventLoop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        import asyncio

        self._loop = asyncio.new_event_loop()
        self._closed = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="luisy_dir-batch-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        import asyncio

        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_closed())

    async def _until_closed(self) -> None:
        await self._closed.wait()

    def is_here(self) -> bool:
        """Whether this thread is that of the loop."""
        return threading.current_thread() is self._thread

    def result(self, awaitable: Awaitable[Any]) -> Any:
        """What it comes to; interrupted, it is cancelled."""
        import asyncio

        async def awaited() -> Any:
            return await awaitable

        future = asyncio.run_coroutine_threadsafe(awaited(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what is under way, and end the thread."""
        self._loop.call_soon_threadsafe(self._closed.set)
        self._thread.join()


def await_here(awaitable: Awaitable[Any]) -> Any:
    """What it comes to on the event loop that all actions share, from whatever thread.

    An action within a coroutine of that loop has one of its own, because the shared one waits for it.
    """
    with _opening:
        loop = _loops.get(os.getpid()) or _loops.setdefault(os.getpid(), EventLoop())
    if not loop.is_here():
        return loop.result(awaitable)
    own = EventLoop()
    try:
        return own.result(awaitable)
    finally:
        own.close()
