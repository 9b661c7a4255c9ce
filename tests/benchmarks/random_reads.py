"""Measure small random reads from a dataset, beside what one would write by hand.

Usage: python random_reads.py [--reads 20000] [--rounds 5] [--folder DIR]

Two sets of float32: 400 ragged arrays, (10, 2 to 4, 23, 700 to 900), of which a read takes 16 numbers; and 20,000
arrays of 100 numbers, of which a read takes all. A read makes a view of an array and copies a part of it. Each set is
read

- out of packs, and by hand out of one flat file: a ``numpy.memmap`` that is kept, a list of shapes and one of offsets;
- out of loose files, of which the dataset keeps the maps of 256, and by hand out of the same files: a
  ``numpy.memmap`` that is opened for each read, with dtype, shape and offset known beforehand.

All take turns, at the same places in the same order, so that what else the machine does meets all alike; everything
is in the memory of the system. Printed are medians of the rounds, and the ratio of each to the way by hand; and what it
takes to open the dataset, beside reading its manifest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time

import numpy as np

import luisy_dir as luisy
from luisy_dir.manifest import read_manifest


def ragged():
    """Arrays of which each has another shape."""
    chance = np.random.default_rng(1)
    for _ in range(400):
        yield chance.random((10, chance.integers(2, 5), 23, chance.integers(700, 901)), "float32")


def tiny():
    """Many arrays of a few hundred bytes."""
    chance = np.random.default_rng(2)
    for _ in range(20_000):
        yield chance.random(100, "float32")


def part_of(shape, place):
    """Which part of an array is read."""
    if len(shape) == 1:
        return (slice(None),)
    start = place % (shape[3] - 16)
    return (place % 10, place % shape[1], place % 23, slice(start, start + 16))


def ways(folder, arrays):
    """Functions that read the part of a place, by name, each with the name of what it is compared with."""
    with luisy.write_dataset(os.path.join(folder, "loose"), durability="none") as writer:
        for number, array in enumerate(arrays):
            writer.add(f"{number:06}", array)
    loose = luisy.open_dataset(os.path.join(folder, "loose"))
    loose.pack(os.path.join(folder, "packs"))
    packs = luisy.open_dataset(os.path.join(folder, "packs"))

    shapes, offsets, end = loose.shapes, [], 0
    with open(os.path.join(folder, "flat"), "wb") as file:
        for array in loose:
            offsets.append(end)
            end += file.write(array.tobytes())
    flat = np.memmap(os.path.join(folder, "flat"), np.uint8, "r")
    paths = [os.path.join(folder, "loose", f"{key}.npy") for key in loose.keys]
    parts = [part_of(shape, place) for place, shape in enumerate(shapes)]
    indices = [(place, *part) for place, part in enumerate(parts)]

    def kept(place):
        return np.ndarray(shapes[place], "float32", flat, offsets[place])[parts[place]].copy()

    def opened(place):
        return np.memmap(paths[place], "float32", "r", 128, shapes[place])[parts[place]].copy()

    return {
        "packs": (lambda place: packs[indices[place]].copy(), "a flat file by hand"),
        "a flat file by hand": (kept, "a flat file by hand"),
        "loose files": (lambda place: loose[indices[place]].copy(), "loose files by hand"),
        "loose files by hand": (opened, "loose files by hand"),
    }


def opened(folder, rounds):
    """Seconds to open a dataset, and to decode the entries of its manifest alone."""
    ours, floor = [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        luisy.open_dataset(folder)
        between = time.perf_counter()
        read_manifest(folder).outputs()
        ours.append(between - begin)
        floor.append(time.perf_counter() - between)
    return statistics.median(ours), statistics.median(floor)


def microseconds(read, places):
    """What a read takes."""
    begin = time.perf_counter()
    for place in places:
        read(place)
    return (time.perf_counter() - begin) / len(places) * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reads", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder")
    options = parser.parse_args()
    for make in (ragged, tiny):
        folder = tempfile.mkdtemp(dir=options.folder)
        try:
            readers = ways(folder, make())
            count = sum(1 for _ in make())
            places = np.random.default_rng(3).integers(0, count, options.reads).tolist()
            for read, by_hand in readers.values():
                assert all((read(place) == readers[by_hand][0](place)).all() for place in places[:200])
            taken = {name: [] for name in readers}
            for _ in range(options.rounds):
                for name, (read, _) in readers.items():
                    taken[name].append(microseconds(read, places))
            medians = {name: statistics.median(rounds) for name, rounds in taken.items()}
            for name, (_, by_hand) in readers.items():
                print(f"{make.__name__:8} {name:22} {medians[name]:7.2f} µs  {medians[name] / medians[by_hand]:5.2f} x")
            del readers
            ours, floor = opened(os.path.join(folder, "packs"), options.rounds)
            print(f"{make.__name__:8} opening {count} items {ours * 1e3:.1f} ms, their manifest {floor * 1e3:.1f} ms")
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
