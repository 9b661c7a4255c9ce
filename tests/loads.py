"""Tasks of which each item says when it is begun and ended; in a module that is quickly imported by workers."""

from __future__ import annotations

import os
import signal
import time

from naps import NOTES, note

import luisy_dir as luisy

PATIENCE_SECONDS = 30
LINGER_SECONDS = 1


def times_begun():
    """How often an item was begun, in all processes together."""
    with open(os.path.join(os.environ[NOTES], "items")) as file:
        return sum(line.startswith("+") for line in file)


def wait_for(others):
    """Wait until as many items were begun, and then a while for one more, so that one too many is seen."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while times_begun() < others:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    deadline = time.monotonic() + LINGER_SECONDS
    while times_begun() == others and time.monotonic() < deadline:
        time.sleep(0.005)


def read(path):
    with open(path) as file:
        return file.read()


def write(text, file):
    file.write(text.encode())


def hold(megabytes):
    """Have so much memory, of which every page is touched, and let it go."""
    return len(b"x" * (megabytes << 20))


@luisy.make_directory_output(read)
@luisy.raw
class Loads(luisy.ExternalTask):
    def get_folder_name(self):
        return "loads"


@luisy.interim
@luisy.requires(Loads)
@luisy.directory_output((read, write), suffix=".txt", workers=8, memory=1000, item_memory=300)
class Loaded(luisy.DirectoryTask):
    """Notes of each item when it is begun and when it is ended, and between does what its file says."""

    def process(self, text, item):
        note("items", f"+{item.key}")
        word, _, number = text.partition(" ")
        if word == "wait":
            wait_for(int(number))
        if word == "nap":
            time.sleep(float(number))
        if word == "hold":
            hold(int(number))
        if word == "die":
            note("items", f"-{item.key}")
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "fail":
            note("items", f"-{item.key}")
            raise ValueError(text)
        note("items", f"-{item.key}")
        return text.upper()


class OnThreads(Loaded):
    engine = "threads"


class OnOneEventLoop(Loaded):
    engine = "async"


class OneByOne(Loaded):
    engine = "serial"


def four_times_its_size(item):
    return 4 * item.sources[0].size


class BySize(Loaded):
    """Of which each item takes four times the size of its file."""

    engine = "threads"

    def item_memory(self, item):
        return four_times_its_size(item)


@luisy.interim
@luisy.requires(Loads)
@luisy.directory_output(
    (read, write), suffix=".txt", workers=8, memory=1000, item_memory=300, batch_size=2, engine="threads"
)
class InPairs(luisy.DirectoryTask):
    """Notes of each item when its batch is begun and ended."""

    def process_batch(self, texts, items):
        for item in items:
            note("items", f"+{item.key}")
        time.sleep(0.01)
        for item in items:
            note("items", f"-{item.key}")
        return texts


class WithoutALimit(OnThreads):
    item_memory = None
