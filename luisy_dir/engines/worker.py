"""A worker: a child process as its parent holds it, which answers one task after the other."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import spawn
from multiprocessing.process import BaseProcess
from multiprocessing.util import is_exiting
from typing import Any

from luisy_dir.engines.child import END, TRACE_SIGNAL, work
from luisy_dir.engines.loss import Loss, WorkerLost
from luisy_dir.engines.slate import Slate

_LOOK_SECONDS = 1.0
_TRACE_SECONDS = 0.2
_END_SECONDS = 10.0
_END_LOOK_SECONDS = 0.002


class Worker:
    """A child process, which is started here, and answers one task after the other.

    Nothing is shared with other workers, so that the death of one can hold up none of them.

    Parameters
    ----------
    timeout
        Seconds that it may have one thing in hand; None for as long as it takes.
    imports_main
        It imports the script that was started, as every spawned process does.

    Raises
    ------
    OSError
        No process can be started.
    """

    def __init__(self, timeout: float | None = None, *, imports_main: bool = True) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
        self._timeout = timeout
        with contextlib.ExitStack() as undo:
            self._slate = Slate()
            undo.callback(self._slate.close)
            self._connection, theirs = context.Pipe()
            undo.callback(self._connection.close)
            with theirs:
                self._process: BaseProcess = context.Process(target=work, args=(theirs, self._slate))
                with contextlib.nullcontext() if imports_main else _without_main(self._process.name):
                    self._process.start()
            undo.pop_all()
        self.pid = self._process.pid or 0
        self._closing = threading.Lock()
        self._is_closed = False

    def is_alive(self) -> bool:
        """Whether the process is there."""
        return self._process.is_alive()

    def do(self, task: Callable[[], bytes]) -> bytes:
        """The answer to a task, which is asked for once, and not held on to while the answer is waited for.

        Raises
        ------
        WorkerLost
            The process has died, or has overrun its time and was killed. It is certain that it is dead.
        """
        overrun, trace = None, ""
        with contextlib.suppress(EOFError, OSError):  # it has died
            self._connection.send_bytes(task())
            while not self._connection.poll(self._patience()):
                overrun = self._overrun()
                if overrun is not None:
                    trace = self._asked()
                    self.kill()
                    self._process.join()
                if not self._process.is_alive() and not self._connection.poll(0):
                    raise EOFError
            return self._connection.recv_bytes()
        raise WorkerLost(self._loss(overrun, trace))

    def _patience(self) -> float:
        """Seconds to wait before the next look: a pipe does not end while a child of the worker holds it."""
        if self._timeout is None:
            return _LOOK_SECONDS
        in_hand, since = self._slate.read()
        left = self._timeout if in_hand is None else self._timeout - _seconds_since(since)
        return min(max(left, 0.0), _LOOK_SECONDS)

    def _overrun(self) -> int | None:
        """When it began the thing that it has had in hand for too long."""
        in_hand, since = self._slate.read()
        is_over = self._timeout is not None and _seconds_since(since) >= self._timeout
        return since if in_hand is not None and is_over else None

    def _asked(self) -> str:
        """What the process says that it is doing, if it can still say so."""
        self._signal(TRACE_SIGNAL)
        deadline = time.monotonic() + _TRACE_SECONDS
        while not self._slate.trace() and time.monotonic() < deadline:
            time.sleep(_TRACE_SECONDS / 20)
        return self._slate.trace()

    def kill(self) -> None:
        """End the process now, and what it has started; from any thread."""
        self._signal(signal.SIGSTOP)  # so that it starts nothing more
        for pid in _descendants(self.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with self._closing:
            if not self._is_closed and self._process.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)

    def _loss(self, overrun: int | None, trace: str) -> Loss:
        """What became of a process that has died; one that has only let go of its pipe is made to."""
        self._end_within(_LOOK_SECONDS)
        in_hand, since = self._slate.read()
        has_overrun = overrun is not None and since == overrun
        loss = Loss(
            pid=self.pid,
            exit_code=self._process.exitcode,
            in_hand=in_hand,
            seconds=0.0 if in_hand is None else _seconds_since(since),
            timeout=self._timeout if has_overrun else None,
            is_innocent=overrun is not None and not has_overrun,
            trace=trace or self._slate.trace(),
        )
        self._close()
        return loss

    def dismiss(self) -> None:
        """Let the process end; one that does not is killed."""
        with contextlib.suppress(OSError):
            self._connection.send_bytes(END)
        self._end_within(_END_SECONDS)
        self._close()

    def _end_within(self, seconds: float) -> None:
        """Wait for the end of the process, then kill it; by looking, because what it has open says nothing."""
        deadline = time.monotonic() + seconds
        while self._process.is_alive() and time.monotonic() < deadline:
            time.sleep(_END_LOOK_SECONDS)
        self.kill()
        self._process.join()

    def _close(self) -> None:
        with self._closing:
            self._is_closed = True
            self._connection.close()
            self._slate.close()
            if is_exiting():  # multiprocessing is waiting for its processes, which it could not for one that is closed
                return
            with contextlib.suppress(ValueError):  # somebody else has waited for it, as far as can be seen it is there
                self._process.close()


_preparing = threading.Lock()


@contextlib.contextmanager
def _without_main(ours: str) -> Iterator[None]:
    """In this block, the process of that name is told nothing of the script that was started.

    multiprocessing has no switch for that. Processes of other names are told what they always are.
    """
    with _preparing:
        tell = spawn.get_preparation_data

        def tell_less(name: str) -> dict[str, Any]:
            facts: dict[str, Any] = tell(name)
            if name == ours:
                return {key: fact for key, fact in facts.items() if not key.startswith("init_main_from")}
            return facts

        spawn.get_preparation_data = tell_less
        try:
            yield
        finally:
            spawn.get_preparation_data = tell


def _seconds_since(then_ns: int) -> float:
    return (time.monotonic_ns() - then_ns) / 1_000_000_000


def _descendants(pid: int) -> list[int]:
    """Numbers of the processes that a process has started, and those that they have; where the system tells."""
    found = []
    for child in _children(pid):
        found += [child, *_descendants(child)]
    return found


def _children(pid: int) -> list[int]:
    folder = f"/proc/{pid}/task"
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(folder):
            with contextlib.suppress(OSError), open(f"{folder}/{thread}/children") as file:
                found += map(int, file.read().split())
    return found
