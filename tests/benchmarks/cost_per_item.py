"""Measure what an item costs beside a bare loop, what a start costs beside an empty Luigi task, and peak memory.

Usage: python cost_per_item.py [--rounds 5] [--folder DIR]

Cost per item: files of 1 KB are read, their length is taken, and 1 KB is written. luisy_dir does it with two process
workers, a full manifest with digests and durability ``commit``; the bare loop in one process, recording nothing. Both
run over 20,000 and 40,000 files, in turn, and the difference of the medians is the cost of 20,000 more items, so that
starting up does not count. Nothing is removed before the end: for minutes after a mass removal, ext4 takes up to ten
times longer to make a file, because it passes over inodes that were freed a short while ago.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time

import luigi

import luisy_dir as luisy

SMALL, LARGE = 20_000, 40_000
SIZE_BYTES = 1024
HERE = os.path.dirname(os.path.abspath(__file__))


def read_bytes(path):
    """Content of a file."""
    with open(path, "rb") as file:
        return file.read()


def write_bytes(data, file):
    """Write bytes as they are."""
    file.write(data)


@luisy.make_directory_output(read_bytes)
@luisy.raw
class Files(luisy.ExternalTask):
    """A folder of ``count`` files."""

    count = luigi.IntParameter()

    def get_folder_name(self):
        return f"files_{self.count}"


@luisy.interim
@luisy.requires(Files)
@luisy.directory_output((read_bytes, write_bytes), suffix=".bin", workers=2)
class Copies(luisy.DirectoryTask):
    """Each file once more, and its length."""

    turn = luigi.IntParameter(default=0)

    def process(self, data):
        assert len(data) == SIZE_BYTES
        return data


class CopiesWithPeak(Copies):
    """The same, with the peak memory of the worker."""

    def process(self, data, item):
        item.meta["peak_kib"] = peak_kib()
        return data


class Nothing(luigi.Task):
    """An empty task, for the cost of starting Luigi itself."""

    def complete(self):
        return False

    def run(self):
        pass


def make_files(count):
    """Write ``count`` files of random bytes into the folder of ``Files``, aged by an hour."""
    folder = Files(count=count).output().path
    os.makedirs(folder)
    then = time.time() - 3600
    for number in range(count):
        path = os.path.join(folder, f"f{number:06d}.bin")
        with open(path, "wb") as file:
            file.write(os.urandom(SIZE_BYTES))
        os.utime(path, (then, then))
    os.sync()


def time_bare_loop(count, folder, turn):
    """Seconds of a loop in one process that records nothing."""
    source, target = Files(count=count).output().path, os.path.join(folder, f"bare_{count}_{turn}")
    os.mkdir(target)
    begin = time.perf_counter()
    for name in sorted(os.listdir(source)):
        data = read_bytes(os.path.join(source, name))
        assert len(data) == SIZE_BYTES
        with open(os.path.join(target, name), "wb") as file:
            file.write(data)
    seconds = time.perf_counter() - begin
    os.sync()
    return seconds


def time_task(count, turn):
    """Seconds of one run of the directory task."""
    task = Copies(count=count, turn=turn)
    begin = time.perf_counter()
    task.run()
    seconds = time.perf_counter() - begin
    os.sync()
    return seconds


def compare_cost_per_item(rounds, folder):
    """Print the cost of one more item for both, and their ratio."""
    make_files(SMALL)
    make_files(LARGE)
    bare, ours = {SMALL: [], LARGE: []}, {SMALL: [], LARGE: []}
    for number in range(rounds):
        for count in (SMALL, LARGE):
            bare[count].append(time_bare_loop(count, folder, number))
            ours[count].append(time_task(count, number))
            times = f"bare {bare[count][-1]:.2f} s, luisy_dir {ours[count][-1]:.2f} s"
            print(f"  round {number + 1}, {count} files: {times}", flush=True)
    per_item = {
        name: (statistics.median(times[LARGE]) - statistics.median(times[SMALL])) / (LARGE - SMALL) * 1e6
        for name, times in (("bare loop", bare), ("luisy_dir", ours))
    }
    for name, microseconds in per_item.items():
        print(f"{name}: {microseconds:.1f} µs per additional item")
    print(f"ratio: {per_item['luisy_dir'] / per_item['bare loop']:.2f}")


def compare_start(folder, rounds):
    """Print the time of ``luigi`` with an empty task and with a directory task over one file."""
    make_files(1)
    luigi_command = [os.path.join(sysconfig.get_path("scripts"), "luigi"), "--local-scheduler", "--module"]
    environment = os.environ | {"PYTHONPATH": HERE, "LUISY_DIR_WORKING_DIR": folder}
    commands = {
        "an empty luigi task": ["cost_per_item", "Nothing"],
        "a directory task over one file, serial": ["cost_per_item", "Copies", "--count", "1"],
        "a directory task over one file, two processes": ["cost_per_item", "Copies", "--count", "1"],
    }
    times = {name: [] for name in commands}
    for _ in range(rounds):
        for name, arguments in commands.items():
            engine = "serial" if name.endswith("serial") else "processes"
            begin = time.perf_counter()
            subprocess.run(
                [*luigi_command, *arguments, "--luisy-dir-engine", engine],
                env=environment,
                check=False,
                capture_output=True,
            )
            times[name].append(time.perf_counter() - begin)
            Copies(count=1).output().remove()
    for name, seconds in times.items():
        print(f"start of {name}: {statistics.median(seconds):.2f} s")


def show_memory(folder):
    """Print the peak resident memory of the parent for 1,000 and 50,000 files."""
    for count in (1_000, 50_000):
        make_files(count)
        command = [sys.executable, __file__, "--peak-of", str(count), "--folder", folder]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"peak resident memory at {count:,} files: {answer.strip()}")


def print_peak(count):
    """In a process of its own: run the task, and print what it took."""
    task = CopiesWithPeak(count=count)
    task.run()
    peak = peak_kib()  # before the report, which loads pandas
    workers = task.report()["peak_kib"].max()
    print(f"parent {peak / 1024:.0f} MiB, largest worker {workers / 1024:.0f} MiB")


def peak_kib():
    """Peak resident memory of this process in KiB; getrusage would count that of whoever started it."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def main():
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where to measure (a new folder below it is made and removed)")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_of:
        luisy.set_working_dir(arguments.folder)
        print_peak(arguments.peak_of)
        return
    folder = tempfile.mkdtemp(prefix="luisy_dir-bench-", dir=arguments.folder or os.getcwd())
    luisy.set_working_dir(folder)
    try:
        compare_cost_per_item(arguments.rounds, folder)
        compare_start(folder, arguments.rounds)
        show_memory(folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    from cost_per_item import main as main_by_name  # workers find the tasks by the module's own name

    main_by_name()
