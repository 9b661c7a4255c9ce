"""How long after a signal to luigi the last of its processes has ended: signals x Luigi workers x engines.

Usage: python tests/benchmarks/signals.py [SECONDS_PER_ITEM]
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time

import psutil

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ENGINES = ("serial", "threads", "processes", "async", "loky:get_reusable_executor")
SIGNALS = ("SIGTERM", "SIGINT", "SIGKILL")
LIMIT_SECONDS = 20.0


def measure(folder: str, engine: str, workers: str, signal_name: str, seconds: str) -> str:
    """Seconds from the signal to the end of the last process, and whether a staging was taken for a result."""
    traces = os.path.join(folder, "traces")
    os.makedirs(traces)
    letters = os.path.join(folder, "pipelines", "raw", "letters")
    os.makedirs(letters)
    for number in range(100):
        with open(os.path.join(letters, f"{number:03d}.txt"), "w") as file:
            file.write("x")
    luigi = subprocess.Popen(
        [os.path.join(sysconfig.get_path("scripts"), "luigi"), "--module", "pipelines", "Slow", "--traces", traces,
         "--seconds", seconds, "--local-scheduler", "--no-lock", "--workers", workers,
         "--luisy-dir-working-dir", folder, "--luisy-dir-engine", engine],
        env=os.environ | {"PYTHONPATH": TESTS},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not os.listdir(traces):
        time.sleep(0.01)
    time.sleep(0.2)
    family = [psutil.Process(luigi.pid), *psutil.Process(luigi.pid).children(recursive=True)]
    luigi.send_signal(getattr(signal, signal_name))
    begin = time.monotonic()
    while (alive := [process for process in family if is_alive(process, luigi)]) and (
        time.monotonic() - begin < LIMIT_SECONDS
    ):
        time.sleep(0.01)
    taken = time.monotonic() - begin
    for process in alive:
        process.kill()
    luigi.wait()
    published = " PUBLISHED" if os.path.exists(os.path.join(folder, "pipelines", "interim", "Slow")) else ""
    return f"{len(alive)} LEFT" if alive else f"{taken:.2f}{published}"


def is_alive(process: psutil.Process, luigi: subprocess.Popen[bytes]) -> bool:
    """Whether a process still runs; one that waits for its exit code to be looked at does not."""
    if process.pid == luigi.pid:
        return luigi.poll() is None
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def main(seconds: str) -> None:
    """Print the table."""
    columns = [(workers, signal_name) for workers in ("1", "2") for signal_name in SIGNALS]
    print(f"items of {seconds} s; seconds until no process was left")
    print(f"{'engine':28}", *(f"{f'w{workers} {name}':>11}" for workers, name in columns))
    for engine in ENGINES:
        cells = []
        for workers, signal_name in columns:
            with tempfile.TemporaryDirectory() as folder:
                cells.append(measure(folder, engine, workers, signal_name, seconds))
        print(f"{engine:28}", *(f"{cell:>11}" for cell in cells), flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "0.05")
