"""Measure small random reads from a dataset, beside what one would write by hand.

Usage: python random_reads.py [--items 400] [--reads 20000] [--rounds 5]

A dataset of arrays of shape (10, 2 to 4, 23, 700 to 899) is written, as loose files and as packs. In each round, all of
these read the same part of the same random items, one after the other, so that what else the machine does meets all
alike; printed is the median of each, in microseconds a read, and its ratio to its floor:

- loose files, of which a few maps are kept: against ``np.memmap`` opened for each read, with shape, dtype and offset
  known beforehand;
- packs: against slices of raw memory maps that are kept by hand.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time

import numpy as np

import luisy_dir as luisy

PART = np.s_[5, 0:2, 1:2, 0]


def arrays(count):
    rng = np.random.default_rng(0)
    for number in range(count):
        shape = (10, int(rng.integers(2, 5)), 23, int(rng.integers(700, 900)))
        yield f"{number:04}", np.arange(np.prod(shape)).reshape(shape) + number


def seconds_of(read, positions):
    begin = time.perf_counter()
    for position in positions:
        read(position)
    return (time.perf_counter() - begin) / len(positions)


def readers(folder, count):
    """Each way to read, with the name of its floor."""
    loose, flat = os.path.join(folder, "loose"), os.path.join(folder, "flat")
    offsets, shapes = [], []
    with luisy.write_dataset(loose, durability="none") as writer, open(flat, "wb") as file:
        for key, array in arrays(count):
            writer.add(key, array)
            offsets.append(file.tell() // 8)
            shapes.append(array.shape)
            array.tofile(file)
    luisy.open_dataset(loose).pack(os.path.join(folder, "packs"))

    dataset, packs = luisy.open_dataset(loose), luisy.open_dataset(os.path.join(folder, "packs"))
    paths = [os.path.join(loose, f"{key}.npy") for key in dataset.keys]
    raw = np.memmap(flat, np.int64, "r")
    ends = [offset + int(np.prod(shape)) for offset, shape in zip(offsets, shapes, strict=True)]

    def opened(position):
        return np.memmap(paths[position], np.int64, "r", 128, shapes[position])[PART]

    def kept(position):
        return raw[offsets[position] : ends[position]].reshape(shapes[position])[PART]

    for position in range(count):
        assert np.array_equal(opened(position), kept(position))
        assert np.array_equal(dataset[(position, *PART)], kept(position))
        assert np.array_equal(packs[(position, *PART)], kept(position))
    return {
        "opened for each read": (opened, "opened for each read"),
        "loose files": (lambda position: dataset[position, 5, 0:2, 1:2, 0], "opened for each read"),
        "raw map, kept by hand": (kept, "raw map, kept by hand"),
        "packs": (lambda position: packs[position, 5, 0:2, 1:2, 0], "raw map, kept by hand"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--reads", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    positions = np.random.default_rng(1).integers(0, options.items, options.reads).tolist()
    with tempfile.TemporaryDirectory() as folder:
        ways = readers(folder, options.items)
        seconds = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, (read, _) in ways.items():
                seconds[name].append(seconds_of(read, positions))
    medians = {name: statistics.median(rounds) for name, rounds in seconds.items()}
    for name, (_, floor) in ways.items():
        print(f"{name:24} {medians[name] * 1e6:8.2f} us  {medians[name] / medians[floor]:5.2f} x")


if __name__ == "__main__":
    main()
