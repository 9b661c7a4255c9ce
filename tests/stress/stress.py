"""Stress tests: faults of the real machine, one after another, and what is left after them.

Needs Linux, root and strace, and for some parts loop devices, mkfs.ext4, mkfs.xfs and memory cgroups. A part that
cannot run here is skipped, which is told in the table and by the exit status.

Examples
--------
    python tests/stress/stress.py                              all parts, 10 to 15 minutes
    python tests/stress/stress.py --quick                      all parts, a few faults each
    python tests/stress/stress.py --only kill --only signals   two parts
    python tests/stress/stress.py --only errno --points 50     50 faults of each sweep, sampled evenly
    python tests/stress/stress.py --full                       every fault, three times as many rounds
    python tests/stress/stress.py --only kill --keep kept      keep the worlds in which something was wrong

Exit status: 0 all is well; 1 something was wrong, a fault did not fire, or a part had nothing to do; 2 wrong arguments;
3 a part was skipped, and --allow-skips was not given.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import traceback

from tallies import Options, Skip

_HERE = os.path.dirname(os.path.abspath(__file__))
_ROOT = os.path.dirname(os.path.dirname(_HERE))
PARTS = {
    "kill": ("sweeps.kills", "SIGKILL at every system call that changes anything"),
    "errno": ("sweeps.errors", "ENOSPC and EIO at every such call"),
    "power": ("power.cuts", "power cut at a call: ext4 and XFS, durability commit, item and none"),
    "full": ("shortages.full", "a disk with room for n pages, or n inodes, until a run succeeds"),
    "failing": ("shortages.failing", "write-back that fails after write() has succeeded: ext4 and XFS"),
    "memory": ("processes.memory", "an item that eats all memory, so that the kernel kills its worker"),
    "signals": ("processes.signals", "signals to parent, group and worker, at random moments"),
    "writers": ("rivals.writers", "three writers and a reader at once, with locks and without"),
    "sleepers": ("rivals.sleepers", "a run that is stopped, wakes, and finds that another one went by"),
    "lesser": ("shortages.lesser", "a file system without hard links and with names that fold case"),
    "doubts": ("doubts.doubts", "a package that is spoilt on purpose, which the other parts must notice"),
}
QUICK = 5
WRONG, SKIPPED = 1, 3
_MEMORY = "/dev/shm"
_ROOM_BYTES = 2 << 30


def main():
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(WRONG))  # so that nothing stays mounted
    scratch = tempfile.mkdtemp(prefix="luisy_dir-stress-", dir=arguments.scratch or _quick_folder())
    options = Options(
        scratch,
        points=arguments.points or (QUICK if arguments.quick else None),
        is_full=arguments.full,
        keep=arguments.keep and os.path.abspath(arguments.keep),
        seed=arguments.seed,
    )
    if options.keep:
        os.makedirs(options.keep, exist_ok=True)
    _set_up()
    print(f"stress: luisy_dir of {_ROOT}, Linux {platform.release()}, {os.cpu_count()} CPUs", flush=True)
    rows = []
    try:
        for name in arguments.only or PARTS:
            rows.append(_row_of(name, options))
            print(_line(*rows[-1]), flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print()
    for row in rows:
        print(_line(*row))
    print(_total(rows))
    sys.exit(_status(rows, arguments))


def _set_up():
    """Test the package that lies beside these tests, whichever is installed, in this process and in those it starts."""
    sys.path.insert(0, _ROOT)
    os.environ["PYTHONPATH"] = os.pathsep.join((_ROOT, _HERE))
    os.environ["LUIGI_CONFIG_PATH"] = os.path.join(_ROOT, "luigi.cfg")
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a process that forks has one thread
    for name in [name for name in os.environ if name.startswith("LUISY_DIR_")]:
        del os.environ[name]


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", action="append", choices=PARTS, metavar="PART", help=f"run this part: {', '.join(PARTS)}"
    )
    parser.add_argument("--quick", action="store_true", help=f"at most {QUICK} faults of each sweep, or rounds")
    parser.add_argument("--points", type=_at_least_one, help="at most so many faults of each sweep, or rounds")
    parser.add_argument("--full", action="store_true", help="every fault, and three times as many rounds")
    parser.add_argument("--keep", metavar="FOLDER", help="keep worlds in which something was wrong there")
    parser.add_argument(
        "--scratch", metavar="FOLDER", help="where all else is written (default: /dev/shm, if it has room)"
    )
    parser.add_argument("--seed", type=int, default=0, help="for what is random (default: %(default)s)")
    parser.add_argument("--allow-skips", action="store_true", help="parts that cannot run here are no failure")
    return parser.parse_args()


def _quick_folder():
    """Where a sync costs nothing, if there is room: parts that need a disk make one of their own."""
    try:
        state = os.statvfs(_MEMORY)
    except OSError:
        return None
    return _MEMORY if state.f_bavail * state.f_frsize > _ROOM_BYTES and os.access(_MEMORY, os.W_OK) else None


def _at_least_one(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _row_of(name, options):
    """Name, what, count, unit, violations, seconds, and what there is to say."""
    part, what = PARTS[name]
    begin = time.monotonic()
    if os.geteuid() != 0:
        return name, what, 0, "", None, 0.0, "SKIPPED: this needs root"
    try:
        module, _, function = part.partition(".")
        tally = getattr(importlib.import_module(module), function)(options)
    except Skip as skip:
        return name, what, 0, "", None, time.monotonic() - begin, f"SKIPPED: {skip}"
    except Exception as error:
        traceback.print_exc()
        return name, what, 0, "", 1, time.monotonic() - begin, f"BROKEN: {error}"
    said = ", ".join(f"{count} x {outcome}" for outcome, count in tally.outcomes.most_common())
    if not tally.count:
        said = "BROKEN: there was nothing to do"
    return name, what, tally.count, tally.unit, tally.wrong or int(not tally.count), tally.seconds, said


def _line(name, what, count, unit, wrong, seconds, said):
    counted = f"{count:6,} {unit:12} {wrong or 0:4} violations" if wrong is not None else f"{'SKIPPED':35}"
    return f"{name:10} {counted} {seconds:6.1f} s  {what}{'; ' if said else ''}{said}"


def _total(rows):
    points = sum(row[2] for row in rows if row[3] == "fault points")
    rounds = sum(row[2] for row in rows if row[3] == "rounds")
    wrong = sum(row[4] or 0 for row in rows)
    ran = sum(row[4] is not None for row in rows)
    skipped = len(rows) - ran
    return (
        f"stress: {points:,} fault points and {rounds:,} rounds in {ran} parts, {wrong} violations"
        f"{f', {skipped} PARTS SKIPPED' if skipped else ''}, {sum(row[5] for row in rows):.0f} s"
    )


def _status(rows, arguments):
    if any(row[4] for row in rows):
        return WRONG
    if any(row[4] is None for row in rows) and not arguments.allow_skips:
        return SKIPPED
    return 0


if __name__ == "__main__":
    main()
