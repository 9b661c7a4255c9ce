"""Measure what a second run costs: where nothing has changed, one file, or one file in a hundred.

Usage: python only_what_changed.py [--count 100000] [--rounds 5] [--folder DIR] [--kind bytes|images]

``count`` files, aged by an hour, are published once, in a process of its own. Then each of these is timed in turn, in
one process and with the engine ``serial``, so that no start of a worker counts:

- a bare scan: every file of the folder and of the published directory is listed and looked at, which is the least that
  tells whether anything has changed;
- a no-op: ``complete()``, which Luigi asks, and ``run()`` where nothing is to be done;
- one changed file, brought up to date by ``run()``: what is beyond a no-op is one item, one generation, and bringing
  both to the disk;
- in rounds that follow these, because each update also removes what the third one before it has replaced: 1 % changed
  files, brought up to date by ``run()``; and a bare loop over the same files that reads, processes and
  writes in the same way, but records nothing and waits for no disk.

Before each, everything is brought to the disk, so that nobody pays for another one's writes; the bare loop and the run
over the same files take turns in who is first. Printed are medians, and three ratios with what they should be at most:
no-op to bare scan 1.5, one changed file to no-op 1.3, and what 1 % changed files cost beyond a no-op to the bare loop
1.5. Peak memory is that of the measuring process, which never publishes the whole.

``bytes`` are files of 1 KB of which 1 KB is written: no work, all cost. ``images`` are PNG files that are blurred, of
64 x 64 pixels where ``--pixels`` says nothing else: about half a millisecond an item, as the smallest of real work.
Now and then a run writes a whole file of entries rather than what changed, which shows as one slower round.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import luigi
from cost_per_item import SIZE_BYTES, peak_kib, read_bytes, write_bytes

import luisy_dir as luisy
from luisy_dir.formats import Format, format_of_path

HOUR_SECONDS = 3600
SHARE = 0.01
PNG = format_of_path("image.png")


class AnyFiles(luisy.ExternalTask):
    """A folder of ``count`` files."""

    count = luigi.IntParameter()

    def get_folder_name(self):
        return f"{type(self).__name__}_{self.count}"


@luisy.make_directory_output(read_bytes)
@luisy.raw
class ByteFiles(AnyFiles):
    """Files of random bytes."""


@luisy.make_directory_output(PNG.read)
@luisy.raw
class ImageFiles(AnyFiles):
    """Images."""


@luisy.interim
@luisy.requires(ByteFiles)
@luisy.directory_output(Format(read_bytes, write_bytes, ".bin"), engine="serial")
class Copies(luisy.DirectoryTask):
    """Each file once more, and its length."""

    def process(self, data):
        assert len(data) == SIZE_BYTES
        return data


@luisy.interim
@luisy.requires(ImageFiles)
@luisy.directory_output(".png", engine="serial")
class Blurred(luisy.DirectoryTask):
    """Each image, blurred."""

    def process(self, image):
        from skimage.filters import gaussian  # takes half a second, and memory

        return gaussian(image, 2, preserve_range=True).astype(image.dtype)


def random_bytes(file):
    """Write 1 KB that was never written before."""
    file.write(os.urandom(SIZE_BYTES))


def random_gradient(file):
    """Write an image that was hardly ever written before: curved gradients without noise, about a byte a pixel."""
    import numpy as np

    y, x = np.mgrid[: int(os.environ["PIXELS"]), : int(os.environ["PIXELS"])]
    a, b, c = (random.random() for _ in range(3))
    PNG.write((a * x * x + b * y * y + c * x * y).astype(np.uint8), file)


TASKS = {"bytes": (Copies, random_bytes, ".bin"), "images": (Blurred, random_gradient, ".png")}


class Bench:
    """One kind of files, and the clocks."""

    def __init__(self, kind, count, folder):
        task_class, self._fill, self._suffix = TASKS[kind]
        self.task = task_class(count=count)
        self.count = count
        self._folder = folder
        self._source = self.task.requires().output()
        self.times = {}

    def make_files(self):
        """Write all files into the raw folder."""
        os.makedirs(self._source.path)
        self._write(range(self.count), 0)

    def change(self, numbers, turn):
        """Write some of them anew, with another time of change in the past."""
        self._write(numbers, turn)

    def _write(self, numbers, turn):
        then = time.time() - HOUR_SECONDS + turn
        for number in numbers:
            path = self._path_of(number)
            with open(path, "wb") as file:
                self._fill(file)
            os.utime(path, (then, then))

    def _path_of(self, number):
        return os.path.join(self._source.path, f"f{number:07d}{self._suffix}")

    def time(self, name, do):
        """Run ``do`` once everything is on the disk, and note how long it took."""
        os.sync()
        begin = time.perf_counter()
        answer = do()
        self.times.setdefault(name, []).append(time.perf_counter() - begin)
        return answer

    def median(self, name):
        """Median of what was noted, in seconds."""
        return statistics.median(self.times[name])

    def bare_scan(self):
        """Look at every file of the folder and of the published directory."""
        for path in (self._source.path, self.task.output().path):
            with os.scandir(path) as entries:
                for entry in entries:
                    entry.stat()

    def bare_loop(self, numbers, turn):
        """Read, process and write some files in one process, recording nothing."""
        folder = os.path.join(self._folder, f"bare_{turn}")
        os.mkdir(folder)
        for number in numbers:
            path = self._path_of(number)
            result = self.task.process(self._source.read_file(path))
            with open(os.path.join(folder, os.path.basename(path)), "wb") as file:
                self.task.format.write(result, file)

    def round_of_one(self, turn):
        """Time what a bare scan, a run with nothing to do and one changed file cost."""
        self.time("bare scan", self.bare_scan)
        assert self.time("no-op, complete()", self.task.complete)
        self.time("no-op, run()", self.task.run)
        self.change([turn % self.count], 2 * turn + 1)
        self.time("one changed, run()", self.task.run)

    def round_of_many(self, turn):
        """Time what 1 % changed files cost, and a bare loop over them."""
        numbers = sorted(random.sample(range(self.count), max(1, round(self.count * SHARE))))
        self.change(numbers, 2 * turn + 2)
        pair = [
            ("1 % changed, bare loop", lambda: self.bare_loop(numbers, turn)),
            ("1 % changed, run()", self.task.run),
        ]
        for name, do in pair if turn % 2 else reversed(pair):
            self.time(name, do)
        assert self.task.complete()


def publish(arguments, folder):
    """Publish all files once, in a process of its own, with two workers."""
    environment = os.environ | {"LUISY_DIR_ENGINE": "processes", "LUISY_DIR_WORKERS": "2"}
    command = [sys.executable, __file__, "--publish", "--count", str(arguments.count), "--kind", arguments.kind]
    subprocess.run([*command, "--folder", folder], env=environment, check=True)


def measure(arguments, folder):
    """Print medians, ratios and memory."""
    bench = Bench(arguments.kind, arguments.count, folder)
    bench.bare_loop([0], "first")  # what is needed is imported
    before = peak_kib()
    assert bench.task.complete()  # and the functions of the task are known
    for turn in range(2 * arguments.rounds):
        (bench.round_of_one if turn < arguments.rounds else bench.round_of_many)(turn)
        print(f"  round {turn + 1}: " + ", ".join(f"{name} {times[-1]:.3f} s" for name, times in bench.times.items()))
    after = peak_kib()
    for name in bench.times:
        print(f"{name}: {bench.median(name):.3f} s")
    scan, no_op, one = map(bench.median, ("bare scan", "no-op, complete()", "one changed, run()"))
    loop, many = bench.median("1 % changed, bare loop"), bench.median("1 % changed, run()")
    idle = bench.median("no-op, run()")
    print(f"no-op, complete() / bare scan: {no_op / scan:.2f} (at most 1.5)")
    print(f"no-op, run() / bare scan: {idle / scan:.2f} (at most 1.5)")
    print(f"one changed / no-op, run(): {one / idle:.2f} (at most 1.3)")
    print(f"(1 % changed - no-op, run()) / bare loop: {(many - idle) / loop:.2f} (at most 1.5)")
    print(f"peak memory: {before / 1024:.0f} MiB before, {after / 1024:.0f} MiB after")


def main():
    """Measure one kind of files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where to measure (a new folder below it is made and removed)")
    parser.add_argument("--pixels", type=int, default=64, help="width and height of the images")
    parser.add_argument("--kind", choices=sorted(TASKS), default="bytes")
    parser.add_argument("--publish", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ["PIXELS"] = str(arguments.pixels)
    if arguments.publish:
        luisy.set_working_dir(arguments.folder)
        bench = Bench(arguments.kind, arguments.count, arguments.folder)
        bench.make_files()
        bench.task.run()
        return
    folder = tempfile.mkdtemp(prefix="luisy_dir-bench-", dir=arguments.folder or os.getcwd())
    luisy.set_working_dir(folder)
    try:
        publish(arguments, folder)
        measure(arguments, folder)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    from only_what_changed import main as main_by_name  # workers find the tasks by the module's own name

    main_by_name()
