"""The processes engine: an Executor whose workers may die, one task at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from functools import partial
from multiprocessing.util import Finalize
from typing import Any, NamedTuple, ParamSpec, TypeVar

from luisy_dir.engines.loss import NoWorkerError, WorkerLost
from luisy_dir.engines.packing import unpack_error
from luisy_dir.engines.worker import Worker
from luisy_dir.errors import DefinitionError

P = ParamSpec("P")
T = TypeVar("T")

_DEATHS_IN_VAIN = 3  # of workers that one keeper has started, in a row


def kill_processes(executor: Executor) -> None:
    """End the worker processes of an executor now; one that has none, as far as can be seen, is left alone."""
    for process in list((getattr(executor, "_processes", None) or {}).values()):  # as loky's and the standard one's are
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)  # loky's processes know terminate() alone


class ProcessExecutor(Executor):
    """Spawned worker processes, each with a thread that gives it one task at a time, and another one when it has died.

    The future of a task over which a worker has died has a :class:`~luisy_dir.engines.loss.WorkerLost`, which says
    what the worker had in hand; all other tasks are done.

    Parameters
    ----------
    workers
        Number of processes.
    timeout
        Seconds that a worker may have one thing of a chunk in hand, before it is killed; None for as long as it takes.
    imports_main
        Workers import the script that was started. False where it may have no guard: what it defines then has to be
        pickled by value, as cloudpickle does.

    Examples
    --------
    >>> with ProcessExecutor(1) as executor:
    ...     executor.submit(pow, 2, 5).result()
    32
    """

    def __init__(self, workers: int, *, timeout: float | None = None, imports_main: bool = True) -> None:
        if workers < 1:
            raise ValueError(f"an executor needs at least one worker, got {workers}")
        self._tasks = _Tasks()
        hire = partial(Worker, timeout, imports_main=imports_main)
        self._keepers = [_Keeper(self._tasks, hire) for _ in range(workers)]
        self._starting = threading.Lock()
        # When the program ends, multiprocessing waits for its processes: for ever, if nobody has shut this down.
        Finalize(self, self._tasks.close, exitpriority=10)

    def start(self) -> None:
        """Let all workers start now, rather than at the first task.

        Raises
        ------
        DefinitionError
            This process is itself a worker, which has only begun to import the script that it was started from.
        """
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise DefinitionError(
                "A worker imports the script that it was started from, and that script would start workers again. Put "
                "what it does under `if __name__ == '__main__':`."
            )
        with self._starting:
            for keeper in self._keepers:
                if keeper.ident is None:
                    keeper.start()

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a worker call ``function``; all that crosses to it is pickled.

        Raises
        ------
        concurrent.futures.BrokenExecutor
            There are no workers any more.
        """
        future: Future[T] = Future()
        self._tasks.put(_Task(future, (function, args, kwargs)))
        self.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Take no more tasks; let workers end when those that there are have been done."""
        self._tasks.close(is_cancelled=cancel_futures)
        started = [keeper for keeper in self._keepers if keeper.ident is not None]
        for keeper in started if wait else ():
            keeper.join()

    def kill(self) -> None:
        """End the workers now, whatever they have in hand."""
        self._tasks.give_up(BrokenExecutor("The worker processes were killed."))
        for keeper in self._keepers:
            keeper.kill()


class _Task(NamedTuple):
    future: Future[Any]
    call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class _Tasks:
    """The tasks that wait for a worker."""

    def __init__(self) -> None:
        self._waiting: deque[_Task] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self.error: BrokenExecutor | None = None  # why nobody does them any more

    def put(self, task: _Task) -> None:
        with self._changed:
            if self.error is not None:
                raise self.error
            if self._is_closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._waiting.append(task)
            self._changed.notify()

    def get(self) -> _Task | None:
        """The next task, as soon as there is one; None where there will be none."""
        with self._changed:
            while not (self._waiting or self._is_closed):
                self._changed.wait()
            return self._waiting.popleft() if self._waiting else None

    def close(self, *, is_cancelled: bool = False) -> None:
        """Let there be no more tasks than there are, or none at all."""
        with self._changed:
            self._is_closed = True
            for task in self._waiting if is_cancelled else ():
                task.future.cancel()
            self._changed.notify_all()

    def give_up(self, error: BrokenExecutor) -> None:
        """Let nobody do them any more: all of them fail with that error."""
        with self._changed:
            self.error = self.error or error
            self._is_closed = True
            left, self._waiting = self._waiting, deque()
            self._changed.notify_all()
        for task in left:
            if task.future.set_running_or_notify_cancel():
                task.future.set_exception(self.error)


class _Keeper(threading.Thread):
    """Keeps one worker at its tasks, and starts another one when it has died."""

    def __init__(self, tasks: _Tasks, hire: Callable[[], Worker]) -> None:
        super().__init__(name="luisy_dir-keeper", daemon=True)
        self._tasks = tasks
        self._hire = hire
        self._worker: Worker | None = None
        self._in_vain = 0

    def run(self) -> None:
        """Do tasks until there are no more."""
        try:
            self._employ()
            while (task := self._tasks.get()) is not None:
                if task.future.set_running_or_notify_cancel():
                    self._do(task)
        except Exception as error:  # noqa: BLE001 - whatever it is: nobody must wait for ever
            self._tasks.give_up(NoWorkerError(f"A worker process cannot be started: {type(error).__name__}: {error}."))
        finally:
            if self._worker is not None:
                self._worker.dismiss()

    def _employ(self) -> Worker:
        """A worker that is there."""
        if self._worker is not None and not self._worker.is_alive():
            self._worker.dismiss()
            self._worker = None
        if self._worker is None:
            self._worker = self._hire()
            if self._tasks.error is not None:  # meanwhile all of them were killed
                self._worker.kill()
        return self._worker

    def _do(self, task: _Task) -> None:
        try:
            pickled = [pickle.dumps(task.call)]  # not before: a call may hold a gigabyte, and many wait
        except Exception as error:  # noqa: BLE001 - pickle raises whatever comes to its mind
            task.future.set_exception(error)
            return
        try:
            answer = self._employ().do(pickled.pop)
        except WorkerLost as lost:
            self._worker = None
            self._in_vain = 0 if lost.loss.in_hand is not None else self._in_vain + 1
            if self._in_vain == _DEATHS_IN_VAIN:
                self._tasks.give_up(_in_vain(lost))
            task.future.set_exception(self._tasks.error or lost)
        except BaseException as error:
            task.future.set_exception(error)
            raise
        else:
            self._in_vain = 0
            _settle(task.future, answer)

    def kill(self) -> None:
        """End the worker now."""
        if self._worker is not None:
            self._worker.kill()


def _in_vain(lost: WorkerLost) -> NoWorkerError:
    return NoWorkerError(
        f"{_DEATHS_IN_VAIN} worker processes in a row have died before they had an item in hand; the last one "
        f"{lost.loss.how}."
    )


def _settle(future: Future[Any], answer: bytes) -> None:
    try:
        result, error = pickle.loads(answer)
    except Exception as broken:  # noqa: BLE001 - what was pickled there cannot always be unpickled here
        future.set_exception(broken)
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(unpack_error(error))
