"""Measure random small reads out of packs, beside those out of a raw memory map that is kept by hand.

Usage: python small_reads.py [--reads 20000] [--rounds 5] [--folder DIR]

Two datasets: 400 ragged arrays of float32, (10, 2 to 4, 23, 700 to 900), of which a read takes 16 numbers; and 20,000
arrays of 100 numbers, of which a read takes all. Each is written as packs, and again as one flat file with a list of
shapes and offsets, the bytes one after the other. A read makes a view of an array and copies a part of it: out of
packs, from shape, dtype and offset of the entry and a map of each pack; by hand, from the list and one
``numpy.memmap``. The two take turns, at the same places in the same order; everything is in the memory of the system.
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
from luisy_dir.storage import system


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


def a_part(array, number):
    """16 numbers of an array of four axes; all of any other."""
    if array.ndim == 1:
        return array.copy()
    start = number % (array.shape[3] - 16)
    return array[number % 10, number % array.shape[1], number % 23, start : start + 16].copy()


class ByHand:
    """One flat file and a list."""

    def __init__(self, path, arrays):
        self.facts, offset = [], 0
        with open(path, "wb") as file:
            for array in arrays:
                self.facts.append((offset, array.shape))
                offset += file.write(array.tobytes())
        self.map = np.memmap(path, np.uint8, "r")

    def __getitem__(self, place):
        offset, shape = self.facts[place]
        return np.ndarray(shape, "float32", self.map, offset)


class OfPacks:
    """A map of each pack, and what the entries say."""

    def __init__(self, path, arrays):
        with luisy.write_dataset(path, layout="pack") as writer:
            for number, array in enumerate(arrays):
                writer.add(f"{number:06}", array)
        outputs = [entry.outputs[0] for entry in read_manifest(path).entries()]
        maps = {file: system.map_file(os.path.join(path, file)) for file in {output.file for output in outputs}}
        self.packs = len(maps)
        self.facts = [(output.shape, np.dtype(output.dtype), maps[output.file], output.offset) for output in outputs]

    def __getitem__(self, place):
        return np.ndarray(*self.facts[place])


def microseconds(dataset, places):
    """What a read takes."""
    begin = time.perf_counter()
    for place in places:
        a_part(dataset[place], place)
    return (time.perf_counter() - begin) / len(places) * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reads", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(dir=options.folder)
    try:
        for make in (ragged, tiny):
            begin = time.perf_counter()
            packs = OfPacks(os.path.join(folder, make.__name__), make())
            seconds = time.perf_counter() - begin
            by_hand = ByHand(os.path.join(folder, "raw"), make())
            places = np.random.default_rng(3).integers(0, len(packs.facts), options.reads).tolist()
            assert all((packs[place] == by_hand[place]).all() for place in places[:200])
            rounds = [(microseconds(packs, places), microseconds(by_hand, places)) for _ in range(options.rounds)]
            ours, theirs = (statistics.median(times) for times in zip(*rounds, strict=True))
            print(
                f"{make.__name__}: {len(packs.facts)} items in {packs.packs} packs, written in {seconds:.1f} s; a read "
                f"takes {ours:.2f} µs, by hand {theirs:.2f} µs: {ours / theirs:.2f} times as long"
            )
            del packs, by_hand
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
