"""Targets: where the calls of an action are made."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from luisy_dir.batch import pools
from luisy_dir.batch.calling import Call, Failed, Member, RemoteCall, no_event_loop, received, sent
from luisy_dir.engines.loss import Loss
from luisy_dir.engines.mapping import map_unordered
from luisy_dir.errors import SettingError, WorkerDiedError

if TYPE_CHECKING:
    import asyncio

TARGETS = {
    "for": "for", "f": "for", "serial": "for",
    "threads": "threads", "t": "threads",
    "mpc": "processes", "m": "processes", "processes": "processes",
    "async": "async", "a": "async",
    "dask": "dask", "d": "dask",
}  # fmt: skip


def engine_of(target: Any) -> str:
    """The engine that a word for a target stands for.

    Raises
    ------
    SettingError
        It stands for none.

    Examples
    --------
    >>> engine_of("mpc")
    'processes'
    """
    engine = TARGETS.get(target) if isinstance(target, str) else None
    if engine is None and not (isinstance(target, str) and ":" in target):
        raise SettingError(
            f"There is no target {target!r}. Choose for, threads, mpc, async or dask, or name a function that returns "
            "an Executor as 'module:function'."
        )
    return engine or target


def results_of(call: Call, members: Sequence[Member], target: str, workers: int | None) -> list[Any]:
    """What comes of each member, in their order; an error stands as :class:`~luisy_dir.batch.calling.Failed`.

    Parameters
    ----------
    call
        What is done with each.
    members
        Items of a batch.
    target
        A word.
    workers
        How many items at the same time; None for as many as there are CPUs, and for coroutines all of them.
    """
    engine = engine_of(target)
    if workers is not None and (not isinstance(workers, int) or workers < 1):
        raise SettingError(f"n_workers is {workers!r}, but has to be a whole number from 1.")
    if engine == "for":
        return [_plain(call, member) for member in members]
    if engine == "threads":
        return _in_threads(call, members, workers, _plain)
    if engine == "async":
        return _on_loop(call, members, workers)
    return _in_processes(call, members, engine, workers or pools.default_workers())


def _plain(call: Call, member: Member) -> Any:
    """A result that nobody has to await."""
    result = call.result(member)
    if not hasattr(type(result), "__await__"):
        return result
    if inspect.iscoroutine(result):
        result.close()
    return Failed(no_event_loop(call.function))


def _in_threads(
    call: Call, members: Sequence[Member], workers: int | None, get: Callable[[Call, Member], Any]
) -> list[Any]:
    results: list[Any] = [None] * len(members)

    def do(number: int) -> None:
        results[number] = get(call, members[number])

    pools.do_in_threads(do, len(members), workers or pools.default_workers())
    return results


class _LeavingError(BaseException):
    """Carries what is to end the program past the event loop, which it would end, and with it all other coroutines."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


def _on_loop(call: Call, members: Sequence[Member], workers: int | None) -> list[Any]:
    """Coroutine functions are called on the event loop; of others, what they return is awaited there."""
    if inspect.iscoroutinefunction(call.function):
        results: list[Any] = [call] * len(members)
    else:
        results = _in_threads(call, members, workers, Call.result)
    waiting = [number for number, result in enumerate(results) if result is call or hasattr(type(result), "__await__")]
    if waiting:
        begin = [partial(_awaitable, results[number], members[number]) for number in waiting]
        try:
            done = pools.await_here(_side_by_side(begin, workers or len(waiting)))
        except _LeavingError as leaving:
            raise leaving.error from None
        for number, result in zip(waiting, done, strict=True):
            results[number] = result
    return results


def _awaitable(result: Any, member: Member) -> Awaitable[Any]:
    """What a function has returned, or returns now that it is called on the event loop."""
    awaitable: Awaitable[Any] = result(member) if isinstance(result, Call) else result
    return awaitable


async def _side_by_side(begin: Sequence[Callable[[], Awaitable[Any]]], workers: int) -> list[Any]:
    import asyncio

    room = asyncio.Semaphore(workers)
    tasks = [asyncio.ensure_future(_awaited(each, room)) for each in begin]
    try:
        return await asyncio.gather(*tasks)
    finally:  # where one has left, the others are under way still
        for task in tasks:
            task.cancel()


async def _awaited(begin: Callable[[], Awaitable[Any]], room: asyncio.Semaphore) -> Any:
    import asyncio

    async with room:
        try:
            return await begin()
        except Exception as error:  # noqa: BLE001 - whatever a user's function raises
            return Failed(error)
        except asyncio.CancelledError as error:
            if getattr(asyncio.current_task(), "cancelling", int)():
                raise
            return Failed(error)  # of something else, for which the function waited
        except (KeyboardInterrupt, SystemExit) as error:
            raise _LeavingError(error) from None


def _in_processes(call: Call, members: Sequence[Member], engine: str, workers: int) -> list[Any]:
    executor = pools.pool_of(engine, workers)
    place = {member.position: number for number, member in enumerate(members)}
    results: list[Any] = [None] * len(members)

    def on_loss(things: list[Any], loss: Loss) -> tuple[list[Any], list[Any]]:
        if loss.in_hand is None or loss.is_innocent:
            return [], things
        died = things[loss.in_hand]
        results[place[died[0]]] = Failed(
            WorkerDiedError(
                f"The worker process {loss.pid} {loss.how}, with this item in hand. Look what the function does with "
                "it; target='for' calls it in this process."
            )
        )
        return [], [thing for thing in things if thing is not died]

    def all_sent() -> Iterator[tuple[int, object, bytes]]:
        for member in members:
            try:
                thing = sent(member)
            except Exception as error:  # noqa: BLE001 - whatever pickle says of an item
                results[place[member.position]] = Failed(error)
            else:
                yield thing

    try:
        calls = map_unordered(executor, RemoteCall(call), all_sent(), workers=workers, on_loss=on_loss)
        with closing(calls):
            for answer in calls:
                position, result = received(answer)
                results[place[position]] = result
    except BrokenExecutor as error:
        pools.discard_pool(executor)
        raise WorkerDiedError(
            f"The workers of {engine!r} cannot go on: {error} Look what ends a process there; target='for' needs none. "
            "On dask, a script has to do its work under `if __name__ == '__main__':`."
        ) from error
    except KeyboardInterrupt:
        pools.discard_pool(executor)
        raise
    return results
