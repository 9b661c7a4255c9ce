"""One process of the stress tests: runs the task in a world, or asks whether it is complete.

Usage: python driver.py run WORLD [--engine processes] [--workers 3] [--no-locks]

Exits with 0 where the run published or had nothing to do, with 75 where another run was at work, and with 1 after any
other error, which it prints.
"""

from __future__ import annotations

import argparse
import sys

import letters
import spoilers

from luisy_dir import errors, settings
from luisy_dir.manifest import read_manifest
from luisy_dir.storage import system

BUSY = 75  # EX_TEMPFAIL of sysexits.h


def prepare(world, *, engine="serial", workers=1, durability="commit", boot=None, locks=True, spoil=None):
    """Point the package at a world, and let it see what is asked for of the machine.

    Parameters
    ----------
    world
        The working directory.
    engine, workers, durability
        Settings.
    boot
        Name of the boot of the machine that the package sees; None for the true one.
    locks
        Whether locks keep runs apart, as they do not on some network file systems.
    spoil
        What is spoilt in the package; see :mod:`spoilers`.
    """
    settings.set_working_dir(world)
    letters.Words.engine, letters.Words.workers, letters.Words.durability = engine, workers, durability
    if boot is not None:
        system.boot_id = lambda: boot
    if not locks:
        system.lock = lambda _: None
    if spoil is not None:
        spoilers.SPOILERS[spoil]()
    return letters.Words()


def run(world, **options):
    """Run the task, be it complete or not; return the generation that is published then."""
    task = prepare(world, **options)
    task.run()
    return read_manifest(task.output().path).record.generation


def is_complete(world, **options):
    """Whether the task says that it is complete."""
    return prepare(world, **options).complete()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run"])
    parser.add_argument("world")
    parser.add_argument("--engine", default="serial")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--durability", default="commit")
    parser.add_argument("--no-locks", dest="locks", action="store_false")
    given = vars(parser.parse_args())
    del given["what"]
    try:
        print("generation", run(given.pop("world"), **given))
    except errors.BusyError as error:
        print(f"BusyError: {error}", file=sys.stderr)
        sys.exit(BUSY)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
