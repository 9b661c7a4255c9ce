"""The dask engine: an Executor that has the workers of a Dask cluster do the work, each in a child of its own."""

from __future__ import annotations

import contextlib
import itertools
import pickle
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from luisy_dir.engines.children import Order, check_versions, do_in_child, end_children, sees
from luisy_dir.engines.home import Home, versions
from luisy_dir.engines.loss import ClusterLostError, Loss, NoWorkerError, WorkerLost
from luisy_dir.engines.packing import unpack_error
from luisy_dir.errors import MissingExtraError, SettingError
from luisy_dir.resources import usable_memory

if TYPE_CHECKING:
    import asyncio

    from distributed import Client

P = ParamSpec("P")
T = TypeVar("T")

_CONNECT_SECONDS = 10.0
_WORKERS_SECONDS = 60.0
_END_SECONDS = 10.0
_LOOK_SECONDS = 1.0
_DEATHS_IN_VAIN = 3
_DEATHS_ALLOWED = 3  # as Dask has it where nobody has chosen another number
_KILLED_WORKER = "KilledWorker"  # by name, because distributed is loaded late


class DaskExecutor(Executor):
    """The workers of a Dask cluster: of one that is there, or of one in this process that lasts as long as this.

    A worker of Dask runs no function of a user itself: it has a child process that does. So whatever an item does to
    its process, nothing of the cluster dies of it. As many tasks are sent as the cluster has threads; the others wait
    here. A task may be done twice, where Dask loses sight of a worker that goes on.

    Parameters
    ----------
    workers
        How many tasks are done at the same time; None for as many as the cluster has threads.
    address
        Of a scheduler that is there, such as ``tcp://host:8786``; empty for a cluster of this machine's own.
    timeout
        Seconds that a child may have one thing of a chunk in hand, before it is killed; None for as long as it takes.

    Raises
    ------
    MissingExtraError
        Dask is not installed.
    SettingError
        No scheduler answers at the address, no worker has come to it, or one has other versions than this program.
    """

    repeats = True  # so whoever writes files must write them under a name of his own

    def __init__(self, workers: int | None = None, *, address: str = "", timeout: float | None = None) -> None:
        self.is_remote = bool(address)
        self._most = workers
        self._timeout = timeout
        self._token = uuid.uuid4().hex  # of the children that do this executor's tasks
        self._home = pickle.dumps(Home())
        self._numbers = itertools.count()
        self._waiting: deque[_Task] = deque()
        self._sent: dict[Future[Any], Any] = {}
        self._changed = threading.Condition()
        self._is_closed = False
        self._error: BaseException | None = None  # why no task is done any more
        self._in_vain = 0
        with contextlib.ExitStack() as undo:
            self._client = _connected(undo, workers or 1, address)
            self._threads = self._count_threads()
            self._check_versions()
            self._undo = undo.pop_all()
        self._is_over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="luisy_dir-dask", daemon=True)
        self._watcher.start()

    @property
    def workers(self) -> int:
        """How many tasks are done at the same time, with the cluster as it is now."""
        return max(1, self._threads if self._most is None else min(self._most, self._threads))

    @property
    def dashboard_link(self) -> str | None:
        """Address of the cluster's dashboard; None where it shows none."""
        link = str(self._client.dashboard_link) if self.is_remote else ""
        return link if _shows_a_page(link) else None

    def hosts_without(self, folder: str) -> list[str]:
        """Names of the machines whose workers do not see a folder."""
        seen = self._client.run(sees, folder, on_error="ignore")
        return sorted({host for host, is_there in seen.values() if not is_there})

    def least_memory(self) -> int:
        """Bytes of memory that can be used on the machine of the cluster that has the least."""
        found = self._client.run(usable_memory, on_error="ignore")
        return min(found.values(), default=usable_memory())

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a worker's child call ``function``; all that crosses to it is pickled.

        Raises
        ------
        concurrent.futures.BrokenExecutor
            Nobody does tasks any more.
        """
        future: Future[T] = Future()
        try:
            call = pickle.dumps((function, args, kwargs))
        except Exception as error:  # noqa: BLE001 - pickle raises whatever comes to its mind
            future.set_exception(error)
            return future
        with self._changed:
            if self._error is not None:
                raise self._error
            if self._is_closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._waiting.append(_Task(future, call))
        self._feed()
        return future

    def _feed(self) -> None:
        """Send tasks to the cluster, as many as it works on at the same time."""
        with self._changed:
            while self._waiting and len(self._sent) < self.workers:
                future, call = self._waiting.popleft()
                if future.set_running_or_notify_cancel():
                    self._sent[future] = self._send(future, call)
            self._changed.notify_all()

    def _send(self, future: Future[Any], call: bytes) -> Any:
        name = f"luisy_dir-{self._token}-{next(self._numbers)}"
        order = Order(self._token, name, versions(), self._home, call, self._timeout)
        task = self._client.submit(do_in_child, *order, key=name, pure=False)
        task.add_done_callback(lambda task: self._settle(future, task))
        return task

    def _settle(self, future: Future[Any], task: Any) -> None:
        """Called in a thread of Dask's when a task is over, however that is."""
        try:
            result = self._result_of(task)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the future raises it
            future.set_exception(error)
        else:
            self._in_vain = 0
            future.set_result(result)
        task.release()
        with self._changed:
            self._sent.pop(future, None)
        self._feed()

    def _result_of(self, task: Any) -> Any:
        if task.status == "cancelled":
            raise self._error or ClusterLostError(
                "Dask has dropped what it was to do: its scheduler has ended, was restarted, or cannot be reached."
            )
        try:
            answer = task.result()
        except Exception as error:
            if type(error).__name__ == _KILLED_WORKER:
                deaths = getattr(error, "allowed_failures", _DEATHS_ALLOWED) + 1
                raise WorkerLost(Loss(0, None, deaths=deaths)) from error
            raise
        if isinstance(answer, Loss):
            raise self._noted(WorkerLost(answer))
        result, packed = pickle.loads(answer)
        if packed is not None:
            raise unpack_error(packed)
        return result

    def _noted(self, lost: WorkerLost) -> BaseException:
        """What to raise for a child that has died: where it had nothing in hand, its followers may fare no better."""
        self._in_vain = 0 if lost.loss.in_hand is not None else self._in_vain + 1
        if self._error is None and self._in_vain == _DEATHS_IN_VAIN:
            self._give_up(
                NoWorkerError(
                    f"{_DEATHS_IN_VAIN} worker processes in a row have died before they had an item in hand; the last "
                    f"one {lost.loss.how}."
                )
            )
        return self._error or lost

    def _give_up(self, error: BaseException) -> None:
        """Do no task any more that was not sent yet: all of them fail with that error."""
        with self._changed:
            self._error = self._error or error
            left, self._waiting = self._waiting, deque()
            self._changed.notify_all()
        for task in left:
            if task.future.set_running_or_notify_cancel():
                task.future.set_exception(self._error)

    def _watch(self) -> None:
        """Follow how large the cluster is, and give up when it has had no workers for a while."""
        last_seen = time.monotonic()
        while not self._is_over.wait(_LOOK_SECONDS):
            with contextlib.suppress(Exception):  # a scheduler that has gone is told of by its tasks
                self._threads = self._count_threads()
            now = time.monotonic()
            last_seen = now if self._threads or not self._sent else last_seen
            if now - last_seen > _WORKERS_SECONDS:
                self._give_up(
                    ClusterLostError(f"The Dask cluster has had no workers for {_WORKERS_SECONDS:.0f} seconds.")
                )
                self._drop_sent()
            self._feed()

    def _count_threads(self) -> int:
        return sum(self._client.nthreads().values())

    def _drop_sent(self) -> None:
        with self._changed:
            tasks = list(self._sent.values())
        for task in tasks:
            task.cancel(force=True)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
        """Take no more tasks; end the children when those that there are have been done."""
        with self._changed:
            was_closed, self._is_closed = self._is_closed, True
            for task in self._waiting if cancel_futures else ():
                task.future.cancel()
        if was_closed:
            return
        if wait:
            self._end()
        else:
            threading.Thread(target=self._end, name="luisy_dir-dask-end", daemon=True).start()

    def _end(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._sent)
        self._is_over.set()
        self._watcher.join()
        self._end_children()
        self._undo.close()

    def kill(self) -> None:
        """End the children now, whatever they have in hand, and do no task any more."""
        self._give_up(ClusterLostError("The work on the Dask cluster was given up."))
        self._end_children()
        self._drop_sent()

    def _end_children(self) -> None:
        """Let the cluster's workers end the children that did this executor's tasks.

        A worker that does not answer ends them itself, as soon as nobody wants anything of them.
        """
        run = self._client._run  # noqa: SLF001 - run() itself waits for ever
        with contextlib.suppress(Exception):
            self._client.sync(run, end_children, self._token, on_error="ignore", callback_timeout=_END_SECONDS)

    def _check_versions(self) -> None:
        """See that all workers that there are can do what is sent to them."""
        answers = self._client.run(check_versions, versions(), on_error="return")
        for worker, answer in answers.items():
            if isinstance(answer, SettingError):
                raise answer
            if isinstance(answer, Exception) and not isinstance(answer, OSError):  # it has not gone just now
                raise SettingError(
                    f"The Dask worker {worker} cannot work for this program: {type(answer).__name__}: {answer}. "
                    f"Install luisy_dir {versions()['luisy_dir']} there and start the worker again."
                ) from answer


class _Task(NamedTuple):
    future: Future[Any]
    call: bytes


def _connected(undo: contextlib.ExitStack, workers: int, address: str) -> Client:
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise MissingExtraError(
            "The engine 'dask' needs Dask, which is not installed: pip install 'luisy_dir[dask]'."
        ) from error
    if not address:
        # In this process, since the work is done by children anyway; and without a port, through which anybody on this
        # machine could have his functions called.
        cluster = LocalCluster(
            n_workers=1,
            threads_per_worker=workers,
            processes=False,
            dashboard_address="127.0.0.1:0",
            memory_limit=None,
            silence_logs=50,
        )
        return undo.enter_context(Client(undo.enter_context(cluster), set_as_default=False))
    loop = _own_loop(undo)
    try:
        client = undo.enter_context(Client(address, loop=loop, set_as_default=False, timeout=_CONNECT_SECONDS))
    except (OSError, ValueError, TypeError) as error:
        raise SettingError(
            f"No Dask scheduler answers at {address!r}: {error}. Start one with 'dask scheduler', give its address, "
            "such as tcp://host:8786, or leave dask_address empty for a cluster of this machine's own."
        ) from error
    try:
        client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
    except TimeoutError as error:
        raise SettingError(
            f"The Dask scheduler at {address!r} has no workers, and none has come within {_WORKERS_SECONDS:.0f} s. "
            f"Start some: dask worker {address}"
        ) from error
    return client


def _own_loop(undo: contextlib.ExitStack) -> Any:
    """An event loop in a thread, which ends with us: that of a client whom nobody answers would run for ever."""
    import asyncio

    from tornado.ioloop import IOLoop

    running: Future[tuple[Any, asyncio.Event]] = Future()

    async def run() -> None:
        is_over = asyncio.Event()
        running.set_result((IOLoop.current(), is_over))
        await is_over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="luisy_dir-dask-loop", daemon=True)
    thread.start()
    loop, is_over = running.result()
    undo.callback(thread.join, _END_SECONDS)
    undo.callback(loop.add_callback, is_over.set)
    return loop


def _shows_a_page(link: str) -> bool:
    """Whether a page is there: Dask gives the address of a dashboard that it does not have, for want of bokeh."""
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        with urlopen(link, timeout=2.0) as page:  # noqa: S310 - Dask made the address
            return b"needs bokeh" not in page.read(200)
    except (URLError, OSError, ValueError):
        return False
