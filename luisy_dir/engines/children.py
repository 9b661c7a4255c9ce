"""Children of a worker of Dask: the processes that do what it is sent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import socket
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.util import Finalize
from typing import Any, NamedTuple

from luisy_dir.engines import home as homes
from luisy_dir.engines.loss import Loss, WorkerLost
from luisy_dir.engines.worker import Worker
from luisy_dir.errors import SettingError

_IDLE_SECONDS = 60.0
_LOOK_SECONDS = 0.5
_REMEMBERED = 1000  # executors that have ended
_KEPT_ANSWERS = 4


class Order(NamedTuple):
    """A task for a child.

    Parameters
    ----------
    token
        Of the executor that sends it; its children do nobody else's tasks.
    name
        Of the task, at Dask's scheduler too.
    versions
        Of the program that sends it, as :func:`luisy_dir.engines.home.versions` has them.
    home
        Pickled; what is to be known of the program.
    call
        Pickled function, arguments and keyword arguments.
    timeout
        Seconds that the child may have one thing in hand.
    """

    token: str
    name: str
    versions: dict[str, str]
    home: bytes
    call: bytes
    timeout: float | None


@dataclass
class _Child:
    worker: Worker
    name: str
    dask_worker: Any
    last_used: float = field(default_factory=time.monotonic)
    order: str = ""  # that it has in hand
    answers: OrderedDict[str, bytes] = field(default_factory=OrderedDict)  # Dask may lose one, and ask again


_lock = threading.Lock()
_children: dict[tuple[str, int], _Child] = {}  # by the executor's token, and the thread of this process
_ended: OrderedDict[str, None] = OrderedDict()  # tokens of executors that are no more
_janitor: threading.Thread | None = None


def do_in_child(*order: Any) -> bytes | Loss:
    """In a worker of Dask: the answer of this thread's child to an :class:`Order`, or how the child has died over it.

    Raises
    ------
    SettingError
        What is installed here is not what the program has that sends the order.
    """
    check_versions(order[Order._fields.index("versions")])
    return _do(Order(*order))


def check_versions(theirs: dict[str, str]) -> None:
    """Raise SettingError where what is installed here is not what somebody else has."""
    ours = homes.versions()
    if ours != theirs:
        here, there = (", ".join(f"{name} {version}" for name, version in each.items()) for each in (ours, theirs))
        raise SettingError(
            f"The Dask worker on {socket.gethostname()!r} has {here}, but this program {there}. Install the same there "
            "and start the worker again."
        )


def _do(order: Order) -> bytes | Loss:
    key = order.token, threading.get_ident()
    child = _child_for(key, order)
    try:
        if order.name not in child.answers:
            task = pickle.dumps((_call_at_home, (child.name, order.home, order.call), {}))
            child.answers[order.name] = child.worker.do(lambda: task)
    except WorkerLost as lost:
        with _lock:
            _children.pop(key, None)
        return replace(lost.loss, name=child.name)
    while len(child.answers) > _KEPT_ANSWERS:
        child.answers.popitem(last=False)
    _put_down(key, child)
    return child.answers[order.name]


def _call_at_home(name: str, home: bytes, call: bytes) -> Any:
    """In a child: call a function that may be defined where the program that sends it has its modules."""
    homes.move_in(pickle.loads(home), name)
    function, args, kwargs = pickle.loads(call)
    return function(*args, **kwargs)


def _child_for(key: tuple[str, int], order: Order) -> _Child:
    """The child of this thread, which has the order in hand from now on; another one where it has died meanwhile."""
    with _lock:
        child = _children.get(key)
        if child is not None and child.worker.is_alive():
            child.order = order.name
            return child
        _children.pop(key, None)
    if child is not None:
        child.worker.dismiss()
    with _as_no_daemon():
        worker = Worker(order.timeout)
    name = f"{socket.gethostname()}-{worker.pid}-{uuid.uuid4().hex[:8]}"
    child = _Child(worker, name, _worker_of_dask(), order=order.name)
    with _lock:
        _children[key] = child
        _start_janitor()
        is_ended = key[0] in _ended
    if is_ended:
        child.worker.kill()
    return child


def _put_down(key: tuple[str, int], child: _Child) -> None:
    with _lock:
        child.last_used, child.order = time.monotonic(), ""
        is_mine = _children.get(key) is child
    if not is_mine:  # it was ended meanwhile
        child.worker.dismiss()


_starting = threading.Lock()


@contextlib.contextmanager
def _as_no_daemon() -> Iterator[None]:
    """Let a process of Dask's nanny have children, which multiprocessing does not let a daemon have.

    They end with it all the same: see :mod:`luisy_dir.engines.child`.
    """
    config = getattr(multiprocessing.current_process(), "_config", {})
    with _starting:
        was_daemon = config.get("daemon")
        config["daemon"] = False
        try:
            yield
        finally:
            if was_daemon is None:
                del config["daemon"]
            else:
                config["daemon"] = was_daemon


def end_children(token: str) -> None:
    """In a worker of Dask: end the children of an executor, whatever they have in hand, and start none any more."""
    with _lock:
        _ended[token] = None
        while len(_ended) > _REMEMBERED:
            _ended.popitem(last=False)
        ended = [_children.pop(key) for key in list(_children) if key[0] == token]
    _end(ended)


def _end(children: list[_Child]) -> None:
    for child in children:
        child.worker.kill()
    for child in children:
        if not child.order:  # else whoever waits for its answer sees that it has died
            child.worker.dismiss()


def _start_janitor() -> None:
    global _janitor  # noqa: PLW0603 - a process has one
    if _janitor is None:
        _janitor = threading.Thread(target=_keep_tidy, name="luisy_dir-janitor", daemon=True)
        _janitor.start()
        Finalize(None, _end_all, exitpriority=10)  # before multiprocessing waits for them


def _worker_of_dask() -> Any:
    from distributed import get_worker

    return get_worker()


def _keep_tidy() -> None:
    """End children of which nobody wants anything any more: the program may have died without a word."""
    global _janitor  # noqa: PLW0603 - a process has one
    while True:
        time.sleep(_LOOK_SECONDS)
        oldest = time.monotonic() - _IDLE_SECONDS
        with _lock:
            left = [key for key, child in _children.items() if _is_left(child, oldest)]
            ended = [_children.pop(key) for key in left]
        _end(ended)
        with _lock:
            if not _children:
                _janitor = None
                return


def _is_left(child: _Child, oldest: float) -> bool:
    if not child.order:
        return child.last_used < oldest
    task = child.dask_worker.state.tasks.get(child.order)
    return task is None or task.state == "cancelled"


def _end_all() -> None:
    with _lock:
        children = list(_children.values())
    for child in children:
        child.worker.kill()


def sees(folder: str) -> tuple[str, bool]:
    """In a worker of Dask: the name of its machine, and whether it has a folder."""
    return socket.gethostname(), os.path.isdir(folder)
