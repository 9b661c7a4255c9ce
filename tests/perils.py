"""Tasks of which items and workers come to a bad end; in a module that is quickly imported by workers."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import time

from naps import NOTES, note

import luisy_dir as luisy

WORKERS = 3


def loop_in_c():
    """Never ends, and never lets another thread of its process run."""
    re.match(r"(a+)+$", "a" * 60 + "b")


def wait_for_others(name):
    """Wait until as many workers as there are have come here."""
    note(name, os.getpid())
    path = os.path.join(os.environ[NOTES], name)
    while True:
        with open(path) as file:
            if len(set(file.read().split())) >= WORKERS:
                return
        time.sleep(0.005)


def die_together():
    wait_for_others("together")
    os.kill(os.getpid(), signal.SIGKILL)


def leave_a_child_behind():
    """As an item does that calls a program which hangs."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    note("children", child.pid)
    child.wait()


PERILS = {
    "exit": lambda: os._exit(3),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "terminate": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "sleep": lambda: time.sleep(300),
    "loop": loop_in_c,
    "together": die_together,
    "child": leave_a_child_behind,
    "machine": lambda: os.kill(os.getppid(), signal.SIGKILL) or time.sleep(300),
    "hog": lambda: bytearray(1 << 40),
}


def read(path):
    with open(path) as file:
        return file.read()


def write(text, file):
    file.write(text[: len(text) // 2].encode())
    if "HALF A FILE" in text:
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    file.write(text[len(text) // 2 :].encode())


@luisy.make_directory_output(read)
@luisy.raw
class Perils(luisy.ExternalTask):
    def get_folder_name(self):
        return "perils"


@luisy.interim
@luisy.requires(Perils)
@luisy.directory_output((read, write), suffix=".txt", workers=WORKERS, max_errors=1.0)
class Perilous(luisy.DirectoryTask):
    """Does what each file says; notes which item is begun where."""

    def process(self, text, item):
        note("begun", f"{item.key} {os.getpid()}")
        item.meta["worker"] = os.getpid()
        if text in PERILS and not os.path.exists(os.path.join(os.environ[NOTES], "mended")):
            PERILS[text]()
        if text.startswith("nap"):
            time.sleep(float(text.split()[1]))
        return text.upper()


class Hurried(Perilous):
    timeout = 1.0


class Limited(Perilous):
    def setup(self):
        resource.setrlimit(resource.RLIMIT_AS, (1 << 34, resource.RLIM_INFINITY))


class Impatient(Perilous):
    """Its setup takes longer than an item may."""

    timeout = 0.5

    def setup(self):
        time.sleep(1.0)


class Unprepared(Perilous):
    def setup(self):
        note("setups", os.getpid())
        os._exit(4)


class Several(Perilous):
    """Two outputs an item, the second of which some do not live to write."""

    def process(self, text, item):
        yield luisy.Output(text, key="first")
        super().process(text, item)
        yield luisy.Output(text, key="second")


class Stubborn(Perilous):
    """Each item is tried three times."""

    retries = 2
    retry_delay = 0.01


class Renamed(Stubborn):
    """Writes under other names, of which the worker does not live to tell; after that, all goes well."""

    def process(self, text, item):
        item.output_key = f"of {item.key}"
        yield luisy.Output(text, key="first")
        once = os.path.join(os.environ[NOTES], f"once {item.key}")
        if text in PERILS and not os.path.exists(once):
            note(f"once {item.key}", os.getpid())
            super().process(text, item)
        yield luisy.Output(text, key="second")


class Together(Perilous):
    """Several items at a time."""

    process = None
    batch_size = 7

    def process_batch(self, texts, items):
        for text, item in zip(texts, items, strict=True):
            note("begun", f"{item.key} {os.getpid()}")
            if text in PERILS:
                PERILS[text]()
        return [text.upper() for text in texts]


class HurriedTogether(Together):
    timeout = 1.0
