"""Measure what an item costs on a Dask cluster: 50,000 tiny items through a whole directory task.

Usage: python through_dask.py [--items 50000] [--rounds 3] [--folder DIR]

A scheduler and two workers are started on this machine, in a folder of their own, as for the tests. The same task,
which reads a file of 16 bytes and writes it once more, runs in turn on `serial`, on `processes` with two workers, on
the cluster, and on the cluster with durability `none`, where its workers need not bring each file to the disk.
Starting up is counted. Overhead per item is what it takes longer than a bare loop that records nothing. Last, the map
alone: the same number of items that do nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import closing

import luigi

import luisy_dir as luisy
from luisy_dir import settings
from luisy_dir.engines.cluster import DaskExecutor
from luisy_dir.engines.mapping import map_unordered

HERE = os.path.dirname(os.path.abspath(__file__))
CONTENT = b"sixteen bytes :)"


def read_bytes(path):
    """Content of a file."""
    with open(path, "rb") as file:
        return file.read()


def write_bytes(data, file):
    """Write bytes as they are."""
    file.write(data)


@luisy.make_directory_output(read_bytes)
@luisy.raw
class Tiny(luisy.ExternalTask):
    """A folder of tiny files."""

    def get_folder_name(self):
        return "tiny"


@luisy.interim
@luisy.requires(Tiny)
@luisy.directory_output((read_bytes, write_bytes), suffix=".bin", workers=2)
class Again(luisy.DirectoryTask):
    """Each file once more."""

    turn = luigi.Parameter()

    def process(self, data):
        return data


def make_files(count):
    """Write ``count`` tiny files into the folder of ``Tiny``, aged by an hour."""
    folder = Tiny().output().path
    os.makedirs(folder)
    then = time.time() - 3600
    for number in range(count):
        path = os.path.join(folder, f"f{number:06d}.bin")
        with open(path, "wb") as file:
            file.write(CONTENT)
        os.utime(path, (then, then))
    os.sync()


def time_bare_loop(folder, turn):
    """Seconds of a loop in one process that records nothing."""
    source, target = Tiny().output().path, os.path.join(folder, f"bare_{turn}")
    os.mkdir(target)
    begin = time.perf_counter()
    for name in sorted(os.listdir(source)):
        with open(os.path.join(target, name), "wb") as file:
            file.write(read_bytes(os.path.join(source, name)))
    seconds = time.perf_counter() - begin
    os.sync()
    return seconds


def time_task(turn, **chosen):
    """Seconds of one run of the directory task with these settings."""
    for name, value in chosen.items():
        os.environ[f"LUISY_DIR_{name.upper()}"] = value
    task = Again(turn=turn)
    begin = time.perf_counter()
    task.run()
    seconds = time.perf_counter() - begin
    os.sync()
    for name in chosen:
        del os.environ[f"LUISY_DIR_{name.upper()}"]
    return seconds


def time_map(address, count):
    """Seconds of a map over as many things that do nothing."""
    with DaskExecutor(address=address) as executor:
        begin = time.perf_counter()
        with closing(map_unordered(executor, str, range(count), workers=executor.workers)) as results:
            assert sum(1 for _ in results) == count
        return time.perf_counter() - begin


def compare(address, rounds, count, folder):
    """Print medians of all, and what an item costs more than in a bare loop."""
    cluster = {"engine": "dask", "dask_address": address}
    ways = {
        "bare loop": lambda turn: time_bare_loop(folder, turn),
        "serial": lambda turn: time_task(f"serial{turn}", engine="serial"),
        "processes": lambda turn: time_task(f"processes{turn}", engine="processes"),
        "dask": lambda turn: time_task(f"dask{turn}", **cluster),
        "dask, durability none": lambda turn: time_task(f"none{turn}", durability="none", **cluster),
        "dask, the map alone": lambda _: time_map(address, count),
    }
    seconds = {name: [] for name in ways}
    for turn in range(rounds):
        for name, measure in ways.items():
            seconds[name].append(measure(turn))
            print(f"  round {turn + 1}, {name}: {seconds[name][-1]:.2f} s", flush=True)
    bare = statistics.median(seconds["bare loop"])
    for name, times in seconds.items():
        middle = statistics.median(times)
        over = middle if name.endswith("alone") else middle - bare
        print(f"{name}: {middle:.2f} s, overhead {over / count * 1e6:.0f} µs an item")


def main():
    """Measure all of it."""
    sys.path.insert(0, os.path.dirname(HERE))
    from clusters import Cluster

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where to measure (a new folder below it is made and removed)")
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="luisy_dir-bench-", dir=arguments.folder or os.getcwd())
    settings.set_working_dir(folder)
    try:
        make_files(arguments.items)
        os.mkdir(os.path.join(folder, "cluster"))
        with closing(Cluster(os.path.join(folder, "cluster"))) as cluster:
            compare(cluster.address, arguments.rounds, arguments.items, folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    from through_dask import main as main_by_name  # workers find the tasks by the module's own name

    main_by_name()
