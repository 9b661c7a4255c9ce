"""The task of the stress tests: a letter is published as one file, or as one for each of its words."""

from __future__ import annotations

import os
import time

import luisy_dir as luisy

# What a run does beside its work is told by the environment, which workers inherit, and not by parameters, which would
# make another directory of it.
LOG = "STRESS_LOG"  # a file that is given the key of every item before it is processed
PAUSE = "STRESS_PAUSE"  # seconds that an item takes
HUNGRY = "STRESS_HUNGRY"  # key of an item that takes memory until it is killed

REPEATS = 40  # of a word in its output: long enough to be cut short
_HUNGER_BYTES = 1 << 24


def read_letter(filepath):
    if filepath.endswith(".txt"):
        with open(filepath) as file:
            return file.read()
    return None


def outputs_of(path, text):
    """Path and content of everything that one letter is published as."""
    words, key = text.split(), path.removesuffix(".txt")
    if len(words) == 1:
        return {f"{key}.txt": whole(words[0])}
    return {f"{key}/{number}.txt": whole(word) for number, word in enumerate(words)}


def whole(word):
    """The content of one output: the same line again and again, so that a mix and a cut can be seen in any file."""
    return f"{word}\n" * REPEATS


def is_whole(content):
    """Whether a published file is one that :func:`whole` made."""
    lines = content.split("\n")
    return len(lines) == REPEATS + 1 and lines[-1] == "" and len(set(lines[:-1])) == 1


@luisy.make_directory_output(read_letter)
@luisy.raw
class Letters(luisy.ExternalTask):
    def get_folder_name(self):
        return "letters"


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Words(luisy.DirectoryTask):
    """One output for a single word, else one for each."""

    def process(self, text, item):
        _note(item.key)
        time.sleep(float(os.environ.get(PAUSE, "0")))
        _eat_if_hungry(item.key)
        words = text.split()
        if len(words) == 1:
            return whole(words[0])
        return (luisy.Output(whole(word), key=str(number)) for number, word in enumerate(words))


def _note(key):
    path = os.environ.get(LOG)
    if path:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{key}\t{os.getpid()}\n".encode())
        os.close(descriptor)


def _eat_if_hungry(key):
    eaten = []
    while os.environ.get(HUNGRY) == key:
        eaten.append(b"x" * _HUNGER_BYTES)
