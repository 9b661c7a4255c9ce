"""Items of a few bytes each, of which some do what no item should; workers import this quickly."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import threading
import time
from concurrent.futures import BrokenExecutor
from typing import ClassVar

import numpy as np

from luisy_dir.engines.serial import SerialExecutor


class InMemory:
    """Arrays that lie in memory."""

    def __init__(self, data):
        self.data = list(data.values())
        self.keys = list(data)
        self.digest = hashlib.sha256(repr(data).encode()).hexdigest()

    def __len__(self):
        return len(self.keys)

    def read(self, position, epoch):
        return self.data[position]

    def shape(self, position):
        return np.shape(self.data[position])

    def dtype(self, position):
        return self.data[position].dtype


def numbered(count):
    """Item ``k3`` is ``[3, 30]``, and so on."""
    return InMemory({f"k{number}": np.array([number, 10 * number]) for number in range(count)})


class OnDisk:
    """Real files, each opened as a memory map when it is read."""

    def __init__(self, folder, arrays):
        self.keys = list(arrays)
        self.folder = str(folder)
        self.digest = "d15c"
        for key, array in arrays.items():
            np.save(self.path(key), array)

    def path(self, key):
        return os.path.join(self.folder, f"{key}.npy")

    def __len__(self):
        return len(self.keys)

    def read(self, position, epoch):
        return np.asarray(np.load(self.path(self.keys[position]), mmap_mode="r"))


class Raising(InMemory):
    """One item raises what it is told to, or what a function makes."""

    def __init__(self, count, key, error):
        super().__init__({f"k{number}": np.array([number, 10 * number]) for number in range(count)})
        self.key, self.error = key, error

    def read(self, position, epoch):
        if self.keys[position] == self.key:
            raise self.error() if callable(self.error) else self.error
        return super().read(position, epoch)


class Deadly(Raising):
    """In a worker process, one item ends it, in epoch 0."""

    def __init__(self, count, key):
        super().__init__(count, key, None)
        self.parent = os.getpid()

    def read(self, position, epoch):
        if self.keys[position] == self.key and os.getpid() != self.parent and epoch == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.data[position]


class Counted(InMemory):
    """Says how many reads have begun and are under way; items from ``held_from`` on wait until ``gate`` opens."""

    def __init__(self, count, held_from=None):
        super().__init__({f"k{number}": np.array(number) for number in range(count)})
        self.begun, self.under_way, self.held_from = 0, 0, count if held_from is None else held_from
        self.lock, self.gate = threading.Lock(), threading.Event()

    def read(self, position, epoch):
        with self.lock:
            self.begun += 1
            self.under_way += 1
        if position >= self.held_from:
            assert self.gate.wait(30)
        with self.lock:
            self.under_way -= 1
        return self.data[position]

    def begun_in_the_end(self, at_least):
        """How many reads have begun, when there are so many and no more come for a while."""
        deadline = time.monotonic() + 30
        while self.begun < at_least and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.1)
        return self.begun


class Watched(list):
    """Keys, and which of them somebody has asked for."""

    def __init__(self, keys):
        super().__init__(keys)
        self.asked = []

    def __getitem__(self, position):
        self.asked.append(position)
        return super().__getitem__(position)


class Slow(InMemory):
    """An item takes a while; each read leaves a file that names its process."""

    def __init__(self, count, folder, seconds):
        super().__init__({f"k{number}": np.array(number) for number in range(count)})
        self.folder, self.seconds = str(folder), seconds

    def read(self, position, epoch):
        with open(os.path.join(self.folder, f"{position}-{os.getpid()}"), "w"):
            pass
        if position:
            time.sleep(self.seconds)
        return self.data[position]


class Unkind(Exception):
    """Cannot be unpickled: it wants two arguments, and gives one."""

    def __init__(self, one, two):
        super().__init__(one)


class Unwelcome:
    """Cannot be unpickled, whoever pickles it."""

    def __reduce__(self):
        return refuse, ()


def refuse():
    raise ValueError("not here")


def raise_on_three(data):
    """A collation that fails where one of the items is the third."""
    if any(array.ravel()[0] == 3 for array in data):
        raise KeyError("three")
    return np.stack(data)


def die(data):
    """A collation that ends its process."""
    os.kill(os.getpid(), signal.SIGKILL)


def noise(data, members):
    """A collation that draws a number for each item."""
    return [float(members.rng(number, "noise").random()) for number in range(len(data))]


class Tired(SerialExecutor):
    """Takes two things, and then no more."""

    taken = 0

    def submit(self, function, /, *args, **kwargs):
        self.taken += 1
        if self.taken > 2:
            raise BrokenExecutor("too much")
        return super().submit(function, *args, **kwargs)


def tired(workers):
    return Tired()


class Weighing(SerialExecutor):
    """Notes how many bytes it was sent each time."""

    sent: ClassVar[list[int]] = []

    def submit(self, function, /, *args, **kwargs):
        self.sent.append(len(pickle.dumps(args)))
        return super().submit(function, *args, **kwargs)


def weighing(workers):
    Weighing.sent.clear()
    return Weighing()
