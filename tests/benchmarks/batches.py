"""Measure what it costs to have the items of a dataset in batches, beside a loop over the same items.

Usage: python batches.py [--items 20000] [--size 32] [--rounds 7]

Two kinds of items are read in shuffled order, and stacked: trivial ones, of four numbers that lie in memory, where
nothing but our own work takes time; and files of 64 KiB, each of which is mapped when it is read. The loop does what a
user would write without us:

    for start in range(0, len(order), size):
        np.stack([items.read(position, 0) for position in order[start : start + size]])

In each round the loop and each way to have batches go through all items, so that another program on the machine slows
all of them down. Printed is the best round of each: microseconds a batch and an item, and how many times as long as the
loop it takes. Workers have been started before.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import numpy as np

from luisy_dir.dataset.batches import Batches
from luisy_dir.dataset.order import Order

WAYS = {
    "no workers": {},
    "no workers, pad": {"collate": "pad"},
    "1 thread": {"workers": 1},
    "2 threads": {"workers": 2},
    "2 processes": {"workers": 2, "engine": "processes"},
}


class Trivial:
    """Items of four numbers, in memory."""

    digest = "0"

    def __init__(self, count):
        self.data = np.arange(4.0 * count).reshape(count, 4)
        self.keys = [f"item_{number}" for number in range(count)]

    def __len__(self):
        return len(self.keys)

    def read(self, position, epoch):
        return self.data[position]


class Files(Trivial):
    """Items of 64 KiB, in files that have been read before."""

    def __init__(self, count, folder):
        super().__init__(count)
        self.paths = [os.path.join(folder, f"{key}.npy") for key in self.keys]
        for path in self.paths:
            np.save(path, np.zeros((64, 128)))

    def read(self, position, epoch):
        return np.asarray(np.load(self.paths[position], mmap_mode="r"))


def loop(items, size):
    order = Order(len(items), 0, is_shuffled=True).of_epoch(0).tolist()
    for start in range(0, len(order), size):
        yield np.stack([items.read(position, 0) for position in order[start : start + size]])


def seconds(batches):
    began = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - began


def measure(name, items, size, rounds):
    ways = {way: Batches(items, size, shuffle=True, **options) for way, options in WAYS.items()}
    for batches in ways.values():
        seconds(batches)
    taken = {"the loop": [], **{way: [] for way in ways}}
    for _ in range(rounds):
        taken["the loop"].append(seconds(loop(items, size)))
        for way, batches in ways.items():
            taken[way].append(seconds(batches))
    for batches in ways.values():
        batches.close()
    print(f"\n{name}: {len(items):,} items, {size} a batch")
    for way, times in taken.items():
        batch, item = (min(times) / count * 1e6 for count in (-(-len(items) // size), len(items)))
        print(f"{way:16}{batch:10.1f} µs a batch{item:9.2f} µs an item{min(times) / min(taken['the loop']):8.2f} x")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    measure("trivial", Trivial(options.items), options.size, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        measure("files of 64 KiB", Files(options.items // 10, folder), options.size, options.rounds)


if __name__ == "__main__":
    main()
