"""Tasks that the tests run; in a module, so that workers find them by name.

Thousands of workers import it, so what few of them need is imported where it is used.
"""

from __future__ import annotations

import os
import time

import luigi

import luisy_dir as luisy


def read_image(filepath):
    if filepath.endswith(".png"):
        from skimage import io

        return io.imread(filepath)
    return None


def read_text(filepath):
    if filepath.endswith(".txt"):
        with open(filepath) as file:
            return file.read()
    return None


@luisy.make_directory_output(read_image)
@luisy.raw
class Images(luisy.ExternalTask):
    def get_folder_name(self):
        return "images"


@luisy.interim
@luisy.requires(Images)
@luisy.directory_output(".npy")
class Arrays(luisy.DirectoryTask):
    def process(self, image):
        return image


@luisy.final
@luisy.requires(Arrays)
@luisy.directory_output(".npy")
class RedChannel(luisy.DirectoryTask):
    def process(self, image, item):
        item.meta["brightness"] = image.mean()
        item.meta["noise"] = item.rng.random()
        return image[..., 0]


@luisy.make_directory_output(read_text)
@luisy.raw
class Letters(luisy.ExternalTask):
    def get_folder_name(self):
        return "letters"


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Upper(luisy.DirectoryTask):
    def process(self, text):
        return text.upper()


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Counted(luisy.DirectoryTask):
    """Notes the key of every item that it is given in a file, one a line."""

    calls = luigi.Parameter(significant=False)

    def process(self, text, item):
        with open(self.calls, "a") as file:
            file.write(item.key + "\n")
        item.meta["noise"] = item.rng.random()
        return text.upper()


@luisy.final
@luisy.requires(Upper)
@luisy.directory_task(".json", engine="serial")
def length(text):
    """Number of characters."""
    return len(text)


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Strict(luisy.DirectoryTask):
    """Says what it thinks of a letter by its first word."""

    def process(self, text, item):
        item.meta["words"] = len(text.split())
        if text.startswith("fail"):
            raise ValueError(f"cannot read {text!r}")
        if text.startswith("reject"):
            raise luisy.Reject("not wanted")
        if text.startswith("none"):
            return None
        return text


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Words(luisy.DirectoryTask):
    """Each word as an output of its own."""

    def process(self, text):
        for number, word in enumerate(text.split()):
            if word == "fail":
                raise ValueError(word)
            yield luisy.Output(word, key=f"{number}")


@luisy.final
@luisy.requires(text=Upper, words=Strict)
@luisy.directory_output(".json", engine="serial")
class Joined(luisy.DirectoryTask):
    def process(self, words, text):
        return [text, words]


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".json", workers=2)
class SetUpOnce(luisy.DirectoryTask):
    """Counts how often setup was called in this worker."""

    calls = 0

    def setup(self):
        type(self).calls += 1
        self.copy = type(self).calls

    def process(self, text):
        return [self.copy, os.getpid()]


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", workers=2)
class Dying(luisy.DirectoryTask):
    def process(self, text):
        os._exit(3)


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", workers=2)
class Slow(luisy.DirectoryTask):
    """Takes its time, and leaves a trace of every item that it began."""

    seconds = luigi.FloatParameter(default=0.05)
    traces = luigi.Parameter(default="", significant=False)

    def process(self, text, item):
        if self.traces:
            with open(os.path.join(self.traces, f"{os.getpid()}-{item.key}"), "w"):
                pass
        time.sleep(self.seconds)
        return text


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Secret(luisy.DirectoryTask):
    password = luigi.Parameter(visibility=luigi.parameter.ParameterVisibility.PRIVATE)
    comment = luigi.Parameter(default="", significant=False)

    def process(self, text):
        return text


def image_of(shape, seed):
    """An image that is the same in every run."""
    import numpy as np

    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
