"""Measure 100,000 tiny items of which 1 % fail: time, whether the report is exact, and peak memory.

Usage: python many_tiny_items.py [--count 100000] [--rounds 1] [--folder DIR]

Files of a few bytes are read, and one in a hundred raises; ``max_errors`` allows two in a hundred. It is done without
``item_memory``, with one number for every item, and with a function of the item, in turn, each in a process of its own.
Peak memory is that of the process that calls ``run()``, and the largest ``peak_memory`` of the report; both include
Python and luigi.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import luigi

import luisy_dir as luisy

ONE_IN = 100
WORKERS = 2


def read_text(path):
    """Text of a file."""
    with open(path) as file:
        return file.read()


def write_text(text, file):
    """Write text."""
    file.write(text.encode())


@luisy.make_directory_output(read_text)
@luisy.raw
class Tiny(luisy.ExternalTask):
    """A folder of tiny files."""

    def get_folder_name(self):
        return "tiny"


@luisy.interim
@luisy.requires(Tiny)
@luisy.directory_output((read_text, write_text), suffix=".txt", engine="processes", workers=WORKERS, max_errors=0.02)
class Checked(luisy.DirectoryTask):
    """Each file once more; one in a hundred fails."""

    turn = luigi.IntParameter()

    def process(self, text):
        if int(text) % ONE_IN == 0:
            raise ValueError(text)
        return text


class WithANumber(Checked):
    """The same, of which each item takes a million bytes."""

    item_memory = 1_000_000


class WithAFunction(Checked):
    """The same, and a function says what each item takes."""

    def item_memory(self, item):
        return 1_000_000 + item.sources[0].size


TASKS = {"without item_memory": Checked, "with a number": WithANumber, "with a function": WithAFunction}


def make_files(count):
    """Write ``count`` files with their number, aged by an hour."""
    folder = Tiny().output().path
    os.makedirs(folder)
    then = time.time() - 3600
    for number in range(count):
        path = os.path.join(folder, key_of(number) + ".txt")
        with open(path, "w") as file:
            file.write(str(number))
        os.utime(path, (then, then))
    os.sync()


def key_of(number):
    """Key of an item."""
    return f"f{number:07d}"


def peak_bytes():
    """Peak resident memory of this process."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def measure(name, turn, count):
    """In a process of its own: run the task, and print what was measured as JSON."""
    task = TASKS[name](turn=turn)
    before = peak_bytes()
    begin, begin_cpu = time.perf_counter(), time.process_time()
    task.run()
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - begin_cpu
    of_children = os.times()  # workers have ended
    peak = peak_bytes()  # before the report, which loads pandas
    report = task.report()
    failed = report[report["status"] == "failed"]
    directory = task.output().path
    is_exact = (
        list(report.index) == [key_of(number) for number in range(count)]
        and list(failed.index) == [key_of(number) for number in range(0, count, ONE_IN)]
        and set(report["status"]) == {"written", "failed"}
        and set(failed["error_type"]) == {"ValueError"}
        and list(failed["error"]) == [str(number) for number in range(0, count, ONE_IN)]
        and sum(not name.startswith(".") for name in os.listdir(directory)) == count - len(failed)
        and task.complete()
    )
    facts = {
        "seconds": seconds,
        "cpu of the parent": cpu_seconds,
        "cpu of the workers": of_children.children_user + of_children.children_system,
        "counts": report["status"].value_counts().to_dict(),
        "is_exact": bool(is_exact),
        "parent before": before,
        "parent": peak,
        "worker": int(report["peak_memory"].max()),
    }
    print(json.dumps(facts))


def main():
    """Measure all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", help="where to measure (a new folder below it is made and removed)")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        luisy.set_working_dir(arguments.folder)
        name, turn = arguments.measure
        measure(name, int(turn), arguments.count)
        return
    folder = tempfile.mkdtemp(prefix="luisy_dir-bench-", dir=arguments.folder or os.getcwd())
    luisy.set_working_dir(folder)
    try:
        make_files(arguments.count)
        seconds = {name: [] for name in TASKS}
        for turn in range(arguments.rounds):
            for name in TASKS:
                command = [sys.executable, __file__, "--folder", folder, "--count", str(arguments.count)]
                done = subprocess.run([*command, "--measure", name, str(turn)], check=True, stdout=subprocess.PIPE)
                facts = json.loads(done.stdout)
                seconds[name].append(facts["seconds"])
                clock, parent, workers = (
                    facts[what] / arguments.count * 1e6
                    for what in ("seconds", "cpu of the parent", "cpu of the workers")
                )
                print(
                    f"{name}: {facts['seconds']:.1f} s; of an item {clock:.0f} µs on the clock, {parent:.0f} of the "
                    f"parent's and {workers:.0f} of the workers' CPU time; "
                    f"{facts['counts']}, report {'exact' if facts['is_exact'] else 'NOT EXACT'}; peak of the parent "
                    f"{facts['parent'] >> 20} MiB ({facts['parent before'] >> 20} before the run), of the largest "
                    f"worker {facts['worker'] >> 20} MiB",
                    flush=True,
                )
                os.sync()
        for name, times in seconds.items() if arguments.rounds > 1 else ():
            print(f"{name}: median {statistics.median(times):.1f} s of {len(times)}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    from many_tiny_items import main as main_by_name  # workers find the tasks by the module's own name

    main_by_name()
