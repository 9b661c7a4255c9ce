"""A child: a process that does what its parent sends, and ends when that does."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

from luisy_dir.engines import slate
from luisy_dir.engines.packing import pack_error

END = b""  # the task that says that there are no more
TRACE_SIGNAL = signal.SIGUSR2  # asks a child what it is doing
_EXIT_CODE_WITHOUT_PARENT = 70  # EX_SOFTWARE of sysexits.h
_PR_SET_PDEATHSIG = 1  # of prctl(2), as the Linux headers define it
_WATCHDOG = "luisy_dir-watchdog"
_LOOK_SECONDS = 0.3


def end_with_parent() -> None:
    """End this process within a moment of its parent's death, however the parent dies.

    Does nothing in a process that multiprocessing did not start.
    """
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None or any(thread.name == _WATCHDOG for thread in threading.enumerate()):
        return
    arguments = parent.sentinel, parent.pid
    threading.Thread(target=_wait_for_end_of, args=arguments, name=_WATCHDOG, daemon=True).start()


def _wait_for_end_of(sentinel: int | None, pid: int) -> None:
    if sentinel is not None:
        multiprocessing.connection.wait([sentinel])
    else:  # loky's workers know the number of their parent only
        while os.getppid() == pid:
            time.sleep(_LOOK_SECONDS)
    os._exit(_EXIT_CODE_WITHOUT_PARENT)


def _end_with_thread_of_parent() -> None:
    """Let the kernel end this process with the thread that has started it.

    A watchdog of our own is a thread, which C code that never lets go of the interpreter does not let run.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def work(connection: Connection, its_slate: slate.Slate) -> None:
    """Do one task after the other, each with its answer.

    Parameters
    ----------
    connection
        A task is a pickled ``(function, args, kwargs)``; an answer the pickled ``(result, None)`` or ``(None, error)``,
        where the error is packed.
    its_slate
        Where this process notes what it has in hand.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what to do
    _end_with_thread_of_parent()
    end_with_parent()
    _keep_to_ourselves(connection)
    slate.keep(its_slate)
    _tell_what_it_is_doing(its_slate.descriptor)
    with contextlib.suppress(EOFError, OSError):  # the parent has gone
        while (task := connection.recv_bytes()) != END:
            connection.send_bytes(_answer(task))


def _keep_to_ourselves(connection: Connection) -> None:
    """Let no child of this process hold the connection open, so that our death is seen at the other end."""
    os.set_inheritable(connection.fileno(), False)
    os.register_at_fork(after_in_child=connection.close)


def _tell_what_it_is_doing(descriptor: int) -> None:
    """After a crash, and when the parent asks: a function in C can be asked in no other way."""
    faulthandler.enable(descriptor, all_threads=False)
    faulthandler.register(TRACE_SIGNAL, descriptor, all_threads=False)


def _answer(task: bytes) -> bytes:
    try:
        function, args, kwargs = pickle.loads(task)
        return pickle.dumps((function(*args, **kwargs), None))
    except BaseException as error:  # noqa: BLE001 - the parent raises it
        return pickle.dumps((None, pack_error(error)))
