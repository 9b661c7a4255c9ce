"""Multipipes that the tests run, and the functions in their lists; in a module that workers import in no time."""

from __future__ import annotations

import multiprocessing
import os
import pipes
import signal
import threading
import time

import numpy as np

import luisy_dir as luisy
from luisy_dir.compat.bigmultipipe import BigMultiPipe, bmp_cleanup, multi_logging


class Arrays(BigMultiPipe):
    """Reads and writes arrays, and multiplies them by ten."""

    def file_read(self, in_name, **kwargs):
        return np.load(in_name)

    def data_process(self, data, **kwargs):
        return data * 10

    def file_write(self, data, outname, **kwargs):
        np.save(outname, data)
        return outname


class ArraysAtOnce(Arrays):
    """Does all of it in one method."""

    def data_process_meta_create(self, data, reject_value=None, boost_target=None, boost_amount=0, **kwargs):
        if data[0, 0] == reject_value:
            return None, {}
        is_boosted = data[0, 0] == boost_target
        data = data * 10 + (boost_amount if is_boosted else 0)
        return data, {"median": np.median(data), "average": np.average(data)}


def reject(data, reject_value=None, **kwargs):
    return None if data[0, 0] == reject_value else data


def boost_later(data, boost_target=None, boost_amount=None, **kwargs):
    if data[0, 0] == boost_target:
        return {"bmp_data": data, "bmp_kwargs": {"need_to_boost_by": boost_amount}}
    return data


def later_booster(data, need_to_boost_by=None, **kwargs):
    return data if need_to_boost_by is None else data + need_to_boost_by


def median(data, bmp_meta=None, **kwargs):
    bmp_meta["median"] = np.median(data)
    return data


def average(data, bmp_meta=None, **kwargs):
    bmp_meta.update({"average": np.average(data)})
    return data


class Texts(BigMultiPipe):
    """Reads bytes and writes bytes, as its base does, and has trouble with some of them."""

    def data_process(self, data, **kwargs):
        if data == b"raise":
            raise ValueError("Sample error")
        if data == b"exit":
            os._exit(9)
        if data == b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if data == b"hang":
            time.sleep(300)
        if data == b"interrupt":
            raise KeyboardInterrupt
        if data == b"abort":
            raise luisy.Abort("no use")
        return data.upper()


def note_x(data, bmp_meta=None, **kwargs):
    bmp_meta["x"] = 1


def never(data, **kwargs):
    raise AssertionError("this is called though it should not be")


def note_big(data, bmp_meta=None, **kwargs):
    bmp_meta["big"] = "LARGE"
    bmp_cleanup(data, bmp_meta=bmp_meta, add="big")
    return bmp_cleanup(data, bmp_meta=bmp_meta, add="nothing of that name")


def use_big(data, bmp_meta=None, **kwargs):
    bmp_meta["used"] = bmp_meta["big"][0]
    return data


def note_lock(data, bmp_meta=None, **kwargs):
    if data == b"LOCK":
        bmp_meta["lock"] = threading.Lock()
    return data


class Breaking:
    """Can be pickled, and not unpickled."""

    def __reduce__(self):
        return int, ("no number",)


def note_breaking(data, bmp_meta=None, **kwargs):
    if data == b"BREAK":
        bmp_meta["breaking"] = Breaking()
    return data


def note_keywords(data, bmp_meta=None, **kwargs):
    bmp_meta["word"] = kwargs.get("word")
    bmp_meta["in_name"] = kwargs["in_name"]
    return data


def note_twice(data, bmp_meta=None, **kwargs):
    multi_logging("warning", bmp_meta, "one")
    multi_logging("warning", bmp_meta, "two")
    return data


def control_one(data, **kwargs):
    """Says another word for one of the files."""
    return {"bmp_data": data, "bmp_kwargs": {"word": "item"}} if data == b"one" else data


def rename(data, bmp_meta=None, names=None, **kwargs):
    bmp_meta.update(names)
    return data


def double(number):
    return 2 * number


def in_a_pool(data, bmp_meta=None, **kwargs):
    """Starts processes of its own."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        bmp_meta["doubled"] = pool.map(double, [1, 2, 3])
    return data


class Whole(BigMultiPipe):
    """Overrides all of it, and writes everything to one place."""

    def file_process(self, in_name, place=None, **kwargs):
        with open(place, "w") as file:
            file.write(in_name)
        return place, {}


class Flaky(Texts):
    """Fails the first time."""

    def data_process(self, data, **kwargs):
        self.tries = getattr(self, "tries", 0) + 1
        if self.tries == 1:
            raise ConnectionError
        return data


class Nowhere(Texts):
    """Says that it has written a file."""

    def file_write(self, data, outname, **kwargs):
        return outname


class Slack(Arrays):
    """Does not say how it writes."""

    file_write = BigMultiPipe.file_write


class Folders(BigMultiPipe):
    """Lets its base make the folder."""

    def file_read(self, in_name, **kwargs):
        return np.load(in_name)

    def file_write(self, data, outname, **kwargs):
        super().file_write(data, outname, **kwargs)
        np.save(outname, data)
        return outname


class Hanging(BigMultiPipe):
    """Is killed while it writes a file in a way of its own."""

    def data_process(self, data, **kwargs):
        return pipes.note_call(data.decode())

    def file_write(self, data, outname, **kwargs):
        pipes.hang_while_writing(data, outname)
        return outname
