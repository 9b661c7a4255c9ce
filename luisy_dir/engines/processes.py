"""The processes engine: spawned workers that end when their parent does."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor

_EXIT_CODE_WITHOUT_PARENT = 70  # EX_SOFTWARE of sysexits.h


def end_with_parent() -> None:
    """End this process within a moment of its parent's death, however the parent dies.

    Does nothing in a process that multiprocessing did not start.
    """
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None or any(thread.name == _WATCHDOG for thread in threading.enumerate()):
        return
    arguments = parent.sentinel, parent.pid
    threading.Thread(target=_wait_for_end_of, args=arguments, name=_WATCHDOG, daemon=True).start()


_WATCHDOG = "luisy_dir-watchdog"
_LOOK_SECONDS = 0.3


def _wait_for_end_of(sentinel: int | None, pid: int) -> None:
    if sentinel is not None:
        multiprocessing.connection.wait([sentinel])
    else:  # loky's workers know the number of their parent only
        while os.getppid() == pid:
            time.sleep(_LOOK_SECONDS)
    os._exit(_EXIT_CODE_WITHOUT_PARENT)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what to do
    end_with_parent()


def kill_processes(executor: Executor) -> None:
    """End the worker processes of an executor now; one that has none, as far as can be seen, is left alone."""
    for process in list((getattr(executor, "_processes", None) or {}).values()):  # as loky's and the standard one's are
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)  # loky's processes know terminate() alone


class ProcessExecutor(ProcessPoolExecutor):
    """Spawned worker processes: never a fork, which would copy locks that other threads hold.

    Parameters
    ----------
    workers
        Number of processes.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
        # All workers start at the first submit, before the pool's own thread does. Where one died while another was
        # being started, that thread waited for ever for the new one, which it had not told to end.
        self._safe_to_dynamically_spawn_children = False

    def kill(self) -> None:
        """End the workers now, whatever they have in hand."""
        kill_processes(self)
