"""Measure what apply_parallel costs beside the function: 64 trivial items, on each target.

Usage: python apply_parallel.py [--items 64] [--rounds 200] [--workers 4]

One call is timed many times after a first one, which starts the workers. Printed are the least and the middle time of a
call in milliseconds, for a function that multiplies a small array; a list comprehension that does the same stands
first. ``rng`` is a function that also draws one random number.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from luisy_dir import Batch
from luisy_dir.batch.pools import close_pools


def times_42(x):
    """Do next to nothing."""
    return x * 42


async def times_42_later(x):
    """Do next to nothing."""
    return x * 42


def add_noise(x, rng):
    """Draw one number."""
    return x + rng.uniform()


def milliseconds(call, rounds):
    """Each of several calls, after a first one."""
    call()
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        taken.append((time.perf_counter() - begin) * 1000)
    return taken


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    batch = Batch.from_data(data={"images": np.arange(options.items * 16.0).reshape(options.items, 16)})

    def apply(func, target, **more):
        return lambda: batch.apply_parallel(func, src="images", dst="out", target=target, **more)

    workers = {"n_workers": options.workers}
    calls = {
        "list comprehension": lambda: np.stack([times_42(image) for image in batch.images]),
        "for": apply(times_42, "for"),
        "threads": apply(times_42, "threads", **workers),
        "async, plain function": apply(times_42, "async", **workers),
        "async, coroutines": apply(times_42_later, "async"),
        "mpc": apply(times_42, "mpc", **workers),
        "for, rng": apply(add_noise, "for", requires_rng=True),
        "threads, rng": apply(add_noise, "threads", requires_rng=True, **workers),
    }
    print(f"{options.items} items, {options.workers} workers, {options.rounds} rounds")
    print(f"{'':24}{'least ms':>10}{'median ms':>10}")
    for name, call in calls.items():
        taken = milliseconds(call, options.rounds)
        print(f"{name:24}{min(taken):10.3f}{statistics.median(taken):10.3f}")
    close_pools()


if __name__ == "__main__":
    main()
