"""Functions that the tests of pipelines load, process and write with; in a module that workers import in no time."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil

import luisy_dir as luisy


def read_text(path, **_):
    return Path(path).read_text()


def write_text(text, path, **_):
    Path(path).write_text(text)


def upper(text, **_):
    return text.upper()


def sample_error(data, **_):
    raise ValueError("Sample error")


def trouble(text, **_):
    """Does what the text says."""
    if text == "raise":
        raise ValueError("Sample error")
    if text == "exit":
        os._exit(9)
    if text == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "hang":
        time.sleep(60)
    return text.upper()


def pause(text, **_):
    if text == "raise":
        raise ValueError("Sample error")
    time.sleep(0.2)
    return text


def never(data, **_):
    raise AssertionError("this is called though it should not be")


# -- arrays ----------------------------------------------------------------------------------------------------------


def reject_two(data):
    return None if data[0, 0] == 2 else data


def boost_later(data, item):
    if data[0, 0] == 3:
        item.control["boost"] = 5
    return data


def ten_times(data):
    return data * 10


def later_booster(data, item):
    return data + item.control.get("boost", 0)


def measure(data, item):
    item.meta["median"] = np.median(data)
    item.meta["average"] = np.average(data)
    return data


def all_at_once(data, item):
    """The same in one function."""
    if data[0, 0] == 2:
        raise luisy.Reject("it is two")
    return measure(data * 10 + (5 if data[0, 0] == 3 else 0), item)


def write_array(data, path):
    np.save(path, data)


# -- what is noted ---------------------------------------------------------------------------------------------------


def note_x(text, item):
    item.meta["x"] = 1
    return luisy.NoOutput()


def note_siblings(text, item):
    """How many workers there are."""
    children = psutil.Process(os.getppid()).children()
    item.meta["siblings"] = sum("resource_tracker" not in str(child.cmdline()) for child in children)
    return text


def note_big(text, item):
    item.control["big"] = "LARGE"
    return text


def keep_big(text, item):
    item.meta["big"] = "LARGE"
    return note_big(text, item)


def use_big(text, item):
    item.meta["used"] = item.control["big"][0]
    return text


def note_brightness(image, item):
    item.meta["mean_brightness"] = luisy.images.mean_brightness(image)
    return image


def fail_where_dark(image, **_):
    if image.mean() < 60:
        raise ValueError("too dark")
    return image


def trim_bottom_100(image, **_):
    return image[:-100, :]


def read_group(paths):
    return [Path(path).read_text() for path in paths]


# -- a program that is killed while it writes ------------------------------------------------------------------------


def hang_while_writing(text, path, **_):
    """Writes half of ``c``, says so by a file, and waits; where that file is there, writes the whole."""
    if text.lower() != "c" or os.path.exists(os.environ["HANGS"]):
        Path(path).write_text(text)
        return
    with open(path, "w") as file:
        file.write("half")
        file.flush()
        Path(os.environ["HANGS"]).touch()
        time.sleep(60)


def note_call(text, **_):
    """Notes the call in a file, a line each."""
    with open(os.environ["CALLS"], "a") as file:
        file.write(f"{text}\n")
    return text.upper()


def note_length(text, item):
    item.meta["length"] = len(text)
    return text
