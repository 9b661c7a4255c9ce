"""A crew: workers that load batches ahead of whoever asks for them, in order."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import cloudpickle
import xxhash

from luisy_dir.dataset.collated import Collated
from luisy_dir.dataset.errand import UnknownLoader, do_errand, received
from luisy_dir.dataset.loading import Loads, Portion, named
from luisy_dir.engines import open_engine
from luisy_dir.engines.loss import WorkerLost
from luisy_dir.engines.mapping import drain, give_up_soon
from luisy_dir.errors import DefinitionError, WorkerDiedError


class _UnderWay(NamedTuple):
    portion: Portion
    future: Future[Any]


class _Over(Exception):  # noqa: N818 - nobody sees it
    """Nobody wants the batch any more."""


class Crew:
    """Workers that load batches ahead of whoever asks for them, in order.

    Parameters
    ----------
    engine
        As :func:`luisy_dir.engines.open_engine` takes it.
    workers
        How many.
    loader
        What they all do.

    Raises
    ------
    DefinitionError
        The loader cannot be sent to worker processes.
    """

    def __init__(self, engine: str, workers: int, loader: Loads) -> None:
        self._loader = loader
        self._workers = workers
        self._executor = open_engine(engine, workers, imports_main=False)  # a training script may load a lot
        self._is_here = isinstance(self._executor, ThreadPoolExecutor)
        self._pickled = b"" if self._is_here else _pickled(loader)
        self._digest = xxhash.xxh3_128_hexdigest(self._pickled)
        self._sent = 0
        self._process = os.getpid()
        self._is_closed = False
        self.is_lost = False  # of no use any more

    @property
    def is_mine(self) -> bool:
        """Whether this process has made it; in a fork of that none of its threads goes on."""
        return self._process == os.getpid()

    def close(self, *, is_waiting: bool = True) -> None:
        """Let the workers end when they have done what they have in hand, and wait for that."""
        self._is_closed = True
        self._executor.shutdown(wait=is_waiting, cancel_futures=True)

    def load(self, portions: Iterator[Portion], prefetch: int) -> Generator[tuple[Portion, Collated], None, None]:
        """Each portion with its data, in the order of the portions.

        Closing the generator cancels what has not begun, and waits for what has.

        Parameters
        ----------
        portions
            Read as far as batches are loaded ahead.
        prefetch
            How many batches may be under way beside one a worker.

        Raises
        ------
        WorkerDiedError
            A worker process has died over the batch.
        Exception
            What a loader raises, at its place in the order.
        """
        under_way: deque[_UnderWay] = deque()
        is_over = threading.Event()
        mine = threading.get_ident()

        def fill() -> None:
            for portion in islice(portions, prefetch + self._workers - len(under_way)):
                is_new = self._sent < self._workers  # perhaps its worker is
                under_way.append(_UnderWay(portion, self._sent_out(portion, is_over, has_loader=is_new)))

        try:
            fill()
            while under_way:
                if self._is_closed:
                    raise RuntimeError("These batches were closed while somebody iterated over them.")
                portion = under_way[0].portion
                try:
                    collated = self._received(under_way[0])
                except UnknownLoader:
                    under_way[0] = _UnderWay(portion, self._sent_out(portion, is_over, has_loader=True))
                    continue
                under_way.popleft()
                fill()
                yield portion, collated
        except KeyboardInterrupt:
            self.is_lost = True
            give_up_soon(self._executor)
            raise
        finally:
            is_over.set()
            self._drain([future for _, future in under_way], is_waiting=threading.get_ident() == mine)

    def _sent_out(self, portion: Portion, is_over: threading.Event, *, has_loader: bool) -> Future[Any]:
        self._sent += has_loader
        try:
            if self._is_here:
                return self._executor.submit(_load_here, self._loader, portion, is_over)
            return self._executor.submit(do_errand, self._digest, self._pickled if has_loader else None, portion)
        except Exception as error:  # noqa: BLE001 - it is raised when the batch is asked for
            future: Future[Any] = Future()
            future.set_exception(error)
            return future

    def _received(self, under_way: _UnderWay) -> Collated:
        portion, future = under_way
        try:
            answer = future.result()
        except BrokenExecutor as error:
            if self._is_here:  # it was raised by what reads
                raise
            self.is_lost = not isinstance(error, WorkerLost)
            raise _died(portion, error) from error
        return answer if self._is_here else received(answer)

    def _drain(self, futures: list[Future[Any]], *, is_waiting: bool) -> None:
        """Wait for what has begun: but not in another thread, where the garbage collector may be at work.

        That may be a thread of the executor itself, on which it would wait for ever.
        """
        if not is_waiting:
            for future in futures:
                future.cancel()
            return
        try:
            drain(self._executor, futures)
        except BaseException:
            self.is_lost = True
            raise


def _load_here(loader: Loads, portion: Portion, is_over: threading.Event) -> Collated:
    def begin(_: int) -> None:
        if is_over.is_set():
            raise _Over

    return loader.load(portion, begin)


def _pickled(loader: Loads) -> bytes:
    try:
        pickled: bytes = cloudpickle.dumps(loader)
    except Exception as error:
        raise DefinitionError(
            f"What makes the batches cannot be sent to worker processes: {type(error).__name__}: {error}. Choose "
            "engine='threads', or leave out of the dataset and of `collate` what cannot be pickled."
        ) from error
    return pickled


def _died(portion: Portion, error: BrokenExecutor) -> WorkerDiedError:
    what, trace = str(error).rstrip("."), ""
    if isinstance(error, WorkerLost):
        number, trace = error.loss.in_hand, error.loss.trace
        if number is not None and number < len(portion.keys):
            what = f"{what} while it read {portion.keys[number]!r}"
    died = WorkerDiedError(
        f"The batch of the items {named(portion.keys)} was lost with its worker. {what}. Look what becomes of these "
        "items with workers=0; if memory ran short, take fewer workers, a smaller size or less prefetch."
    )
    if trace:
        died.add_note(trace)
    return died
