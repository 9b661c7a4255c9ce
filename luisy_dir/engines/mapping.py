"""The one map: a function over many things, on any Executor, in chunks, with a bounded look-ahead."""

from __future__ import annotations

import pickle
import socket
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from functools import lru_cache
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

import cloudpickle

from luisy_dir.engines import slate
from luisy_dir.engines.child import end_with_parent
from luisy_dir.engines.event_loop import AsyncExecutor
from luisy_dir.engines.loss import Loss, WorkerLost
from luisy_dir.engines.packing import pack_error, unpack_error
from luisy_dir.engines.processes import kill_processes
from luisy_dir.engines.serial import SerialExecutor
from luisy_dir.errors import DefinitionError

T = TypeVar("T")
R = TypeVar("R")

# A chunk should take about this long: long enough to hide the cost of sending it (0.1 to 3 ms), short enough that
# workers finish together and Ctrl-C is answered soon.
_CHUNK_SECONDS = 0.2
_LARGEST_CHUNK = 1000
_LONGEST_CHUNK_SECONDS = 1.0
_GROWTH = 4
_GRACE_SECONDS = 0.5


def map_unordered(
    executor: Executor,
    function: Callable[[T], R],
    things: Iterable[T],
    *,
    workers: int = 1,
    on_loss: Callable[[list[T], Loss], tuple[list[R], list[T]]] | None = None,
    weight: Callable[[T], int] | None = None,
    budget: int = 0,
) -> Generator[R, None, None]:
    """Yield ``function(thing)`` for every thing, in the order in which chunks are finished.

    Things are sent in chunks whose size follows the measured time per thing. At most two chunks a worker are under
    way, so that neither things nor results pile up; those that are finished at the same time come in the order in
    which they were sent. Closing the generator cancels what has not begun and waits for what has: afterwards no worker
    touches anything any more. So always close it: ``with closing(map_unordered(...))``.

    Parameters
    ----------
    executor
        Any Executor. In this process (serial, threads) the function is called as it is; elsewhere it crosses as a
        cloudpickle blob, unpickled once a worker, to a function of this module.
    function
        What to do with one thing. An error ends the map and is raised here. In another process, its methods ``prepare``
        and ``finish`` are called before and after the things of each chunk, if it has them: what that takes is on no
        thing's account.
    things
        Read as they are needed.
    workers
        How many chunks the executor works on at the same time.
    on_loss
        Called with the things of a chunk over which a worker has died; returns results, and the things that are to be
        done by another worker. None ends the map with an error.
    weight
        What a thing weighs; asked in this thread before the thing is sent, and again where it is sent again. Things of
        a chunk are done one after another, so that a chunk weighs what its heaviest thing does.
    budget
        What the things that workers have in hand at the same time may weigh together. One that weighs more is done
        while no other is; each waits for those before it, so that none waits for ever.

    Yields
    ------
    object
        One result a thing.

    Raises
    ------
    DefinitionError
        The function cannot be sent to workers.
    concurrent.futures.BrokenExecutor
        A worker has died, and there is no ``on_loss``, or the executor cannot go on.
    ValueError
        There are no workers.

    Examples
    --------
    >>> from luisy_dir.engines import open_engine
    >>> with open_engine("threads", 2) as executor:
    ...     sorted(map_unordered(executor, abs, [-1, -2, -3], workers=2))
    [1, 2, 3]
    """
    if workers < 1:
        raise ValueError(f"map_unordered needs at least one worker, got {workers}")
    source = _Source(things)
    size = _ChunkSize()
    chunks = _Chunks(lambda: source.take(size.next), weight, budget)
    is_over = threading.Event()
    send = _sender(executor, function, is_over)
    pending: dict[Future[Any], _Chunk[T]] = {}  # in the order in which they were sent
    try:
        while True:
            while len(pending) < 2 * workers and (chunk := chunks.next(pending.values())):
                pending[send(chunk.things)] = chunk
            if not pending:
                return
            done = wait(pending, return_when=FIRST_COMPLETED).done
            for future in [future for future in pending if future in done]:
                chunk = pending.pop(future)
                try:
                    seconds, results = _received(future.result())
                except WorkerLost as lost:
                    if on_loss is None:
                        raise
                    results, again = on_loss(chunk.things, lost.loss)
                    is_suspect = lost.loss.in_hand is None
                else:
                    size.learn(seconds, len(results))
                    again, is_suspect = chunk.things[len(results) :], False
                source.put_back(again, one_by_one=is_suspect)
                yield from results
    except KeyboardInterrupt:
        give_up_soon(executor)
        raise
    finally:
        is_over.set()
        drain(executor, list(pending))


class _Source(Generic[T]):
    """What is still to be done: things that a worker sent back come first."""

    def __init__(self, things: Iterable[T]) -> None:
        self._alone: list[T] = []  # one of them may be what a worker has died of
        self._again: list[T] = []
        self._things = iter(things)

    def take(self, count: int) -> list[T]:
        if self._alone:
            return [self._alone.pop()]
        taken, self._again = self._again[:count], self._again[count:]
        return taken + list(islice(self._things, count - len(taken)))

    def put_back(self, things: list[T], *, one_by_one: bool = False) -> None:
        if one_by_one:
            self._alone += things
        else:
            self._again += things


class _Chunk(NamedTuple, Generic[T]):
    things: list[T]
    weight: int


class _Chunks(Generic[T]):
    """Chunks in the order in which they are sent, each as soon as there is room for it."""

    def __init__(self, take: Callable[[], list[T]], weight: Callable[[T], int] | None, budget: int) -> None:
        self._take = take
        self._weight = weight
        self._budget = budget
        self._held: _Chunk[T] | None = None  # waits for room

    def next(self, under_way: Collection[_Chunk[T]]) -> _Chunk[T] | None:
        """The next chunk; None where there is none, or no room for it beside those that are under way."""
        chunk = self._held or self._cut()
        taken = sum(other.weight for other in under_way)
        has_room = chunk is None or not under_way or taken + chunk.weight <= self._budget
        self._held = None if has_room else chunk
        return chunk if has_room else None

    def _cut(self) -> _Chunk[T] | None:
        things = self._take()
        if not things:
            return None
        return _Chunk(things, 0 if self._weight is None else max(map(self._weight, things)))


class _ChunkSize:
    """How many things to send next: a few at first, then as many as take the wanted time."""

    def __init__(self) -> None:
        self.next = 1

    def learn(self, seconds: float, count: int) -> None:
        fitting = int(_CHUNK_SECONDS * count / max(seconds, 1e-6))
        self.next = max(1, min(fitting, self.next * _GROWTH, _LARGEST_CHUNK))


def _sender(
    executor: Executor, function: Callable[[T], R], is_over: threading.Event
) -> Callable[[list[T]], Future[Any]]:
    if isinstance(executor, (SerialExecutor, ThreadPoolExecutor)):
        return lambda chunk: executor.submit(_call, function, chunk, is_over.is_set, _nothing)
    try:
        blob = cloudpickle.dumps(function)
    except Exception as error:
        raise DefinitionError(
            f"What a worker needs cannot be sent to it: {type(error).__name__}: {error}. Make it in setup, which runs "
            "in the worker, or choose the engine 'threads'."
        ) from error
    return lambda chunk: executor.submit(call_blob, blob, _pickled(chunk))


def _pickled(chunk: list[T]) -> bytes:
    """Pickled the fast way where that is possible, and else with lambdas and local classes by value."""
    try:
        return pickle.dumps(chunk)
    except Exception:  # noqa: BLE001 - pickle raises whatever comes to its mind
        pickled: bytes = cloudpickle.dumps(chunk)
        return pickled


def _call(
    function: Callable[[T], R], chunk: list[T], is_over: Callable[[], bool], take: Callable[[int], object]
) -> tuple[float, list[R]]:
    """Results of as many things as take a while, at least one; the others are left for another chunk.

    A thing may take a thousand times as long as those before it, by which the chunk was cut; neither the end of a run
    nor Ctrl-C should wait for what was not begun.
    """
    begin = now = time.perf_counter()
    results: list[R] = []
    for number, thing in enumerate(chunk):
        if results and (now - begin > _LONGEST_CHUNK_SECONDS or is_over()):
            break
        take(number)
        results.append(function(thing))
        now = time.perf_counter()
    return now - begin, results


def call_blob(blob: bytes, chunk: bytes) -> bytes:
    """In a worker: call a pickled function on each thing of a pickled chunk; return the pickled results, or an error.

    Either goes back as one opaque object, because some executors walk through containers at a high price, and because
    an error that cannot be unpickled would break the whole pool.
    """
    end_with_parent()
    seen = slate.mine()
    try:
        function, things = _unpickled(blob), pickle.loads(chunk)
        getattr(function, "prepare", _nothing)()
        answer = _call(function, things, _nothing, _nothing if seen is None else seen.take)
        if seen is not None:
            seen.put_down()
        getattr(function, "finish", _nothing)()
        return pickle.dumps(answer)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        return pickle.dumps((None, pack_error(error)))
    finally:
        if seen is not None:
            seen.put_down()


def _nothing(*_: object) -> bool:
    return False


_unpickling = threading.Lock()


def _unpickled(blob: bytes) -> Callable[[Any], Any]:
    with _unpickling:  # threads of one worker share one function
        return _unpickled_once(blob)


@lru_cache(maxsize=4)
def _unpickled_once(blob: bytes) -> Callable[[Any], Any]:
    try:
        function: Callable[[Any], Any] = pickle.loads(blob)
    except ImportError as error:
        raise DefinitionError(
            f"A worker on {socket.gethostname()!r} cannot import what the task needs: {error}. Have that module there "
            "too: installed, or in a folder that this program has in its sys.path and all machines at the same place."
        ) from error
    return function


def _received(answer: Any) -> tuple[float, list[Any]]:
    seconds, results = pickle.loads(answer) if isinstance(answer, bytes) else answer
    if seconds is None:
        raise unpack_error(results)
    return seconds, results


def give_up_soon(executor: Executor) -> None:
    """Somebody has interrupted: what is in hand has a moment to be finished, then its workers are killed.

    Threads cannot be killed, and are waited for.
    """
    timer = threading.Timer(_GRACE_SECONDS, _kill, (executor,))
    timer.daemon = True
    timer.start()


def _kill(executor: Executor) -> None:
    """End the workers of an executor, where it says how, or where they are processes of this machine."""
    kill = getattr(executor, "kill", None)
    if kill is None:
        kill_processes(executor)
    else:
        kill()


def drain(executor: Executor, pending: list[Future[Any]]) -> None:
    """Cancel what has not begun and wait for what has; interrupted while waiting, kill the workers.

    Coroutines need not be waited for: they are cancelled.
    """
    if pending and isinstance(executor, AsyncExecutor):
        executor.kill()
    try:
        wait([future for future in pending if not future.cancel()])
    except BaseException:
        _kill(executor)
        raise
