"""Functions that take a while, and notes of what was done; in a module that workers import in no time."""

import os
import time

NOTES = "LUISY_DIR_TEST_NOTES"  # names a folder where items and workers leave notes


def note(name, line):
    """One line in one call, so that those of several processes do not mix."""
    descriptor = os.open(os.path.join(os.environ[NOTES], name), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def nap_and_return(number):
    time.sleep(0.002 * (number % 3))
    return number


def slow_at_first(thing):
    """The first time, one thing takes too long, and the next one as long as its worker lives."""
    seconds = {"slow": 0.8, "next": 300}.get(thing, 0)
    if seconds and not os.path.exists(os.path.join(os.environ[NOTES], thing)):
        note(thing, os.getpid())
        time.sleep(seconds)
    return thing
