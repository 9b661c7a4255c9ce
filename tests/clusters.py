"""A Dask cluster of real processes, as somebody would start it by hand; and how to take parts of it away."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

import psutil

PATIENCE_SECONDS = 40
QUIET = {"DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "error"}


def wait_until(is_so, what="it"):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"{what} has not come to be"
        time.sleep(0.02)


class Cluster:
    """A scheduler, and workers with one thread each; all of them are killed at the end, with what they have started."""

    def __init__(self, folder, *, workers=2, has_nannies=True, **environment):
        self.folder = str(folder)
        self.environment = {**os.environ, **QUIET, **environment}
        for name in ("LUIGI_CONFIG_PATH", "PYTHONPATH"):  # workers know nothing of the program
            self.environment.pop(name, None)
        port = _free_port()
        self.address = f"tcp://127.0.0.1:{port}"
        self._of_worker = () if has_nannies else ("--no-nanny",)
        self.workers = []
        self._all = []
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--idle-timeout", "120")
        self._wanted = workers
        self.fill()

    def _start(self, *arguments, **environment):
        with open(os.path.join(self.folder, "log"), "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments, "--no-dashboard"],
                cwd=self.folder,
                env=self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._all.append(process)
        return process

    def start_worker(self, **environment):
        folder = os.path.join(self.folder, f"scratch-{len(self._all)}")
        of_worker = ("--host", "127.0.0.1", "--nthreads", "1", "--local-directory", folder, "--death-timeout", "30")
        process = self._start("worker", self.address, *of_worker, *self._of_worker, **environment)
        self.workers.append(process)
        return process

    def fill(self):
        """Start as many workers as there should be, and wait for them."""
        self.workers = [worker for worker in self.workers if worker.poll() is None]
        while len(self.workers) < self._wanted:
            self.start_worker()
        self.wait_for(len(self.workers))

    def wait_for(self, count):
        from distributed import Client

        with Client(self.address, set_as_default=False, timeout=PATIENCE_SECONDS) as client:
            wait_until(lambda: len(client.nthreads()) == count, f"a cluster of {count} workers")

    def kill(self, process):
        """What becomes of a machine that loses its power: all is gone at once, and nobody says a word."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.workers = [worker for worker in self.workers if worker is not process]

    @staticmethod
    def signal(process, number):
        """To a worker and all that it has started."""
        os.killpg(process.pid, number)

    def processes(self):
        """Numbers of all processes of the cluster, and of what they have started."""
        found = set()
        for process in self._all:
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))}
        return found

    def close(self):
        for process in self._all:
            self.kill(process)


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
