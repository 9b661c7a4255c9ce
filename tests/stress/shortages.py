"""Shortages: disks that are full, disks that fail behind one's back, and disks that can do less than others."""

from __future__ import annotations

import contextlib
import os

import children
import disks
import driver
import letters
from sweeps import aftermath, dry_run, is_last, traced, warm_up
from tallies import Tally
from worlds import FIRST, UPDATE, Template, World, believed, runs_to_the_end, seen_after_a_fault

from luisy_dir import generations
from luisy_dir.storage import system

_FAILED = "a sync has failed"  # name of a file that tells so
_PAGE_BYTES = 4096
_ROOM = "size=64m,nr_inodes=100000"
_MOST_STEPS = 400  # a run that fails with so much room has another reason


def full(options):
    """A tmpfs with room for n pages more, or n inodes more, than what is there: for each n until a run succeeds."""
    tally = Tally(options, "fault points")
    folder = options.folder("full")
    with disks.memory_disk(os.path.join(folder, "memory"), _ROOM) as mount:
        world = World(os.path.join(mount, "world"), folder)
        warm_up(world)
        for is_update in (False, True):
            template = Template("update" if is_update else "first build", world).build(is_update)
            for unit in ("pages", "inodes"):
                enough = _least_room(template, mount, unit)
                for room in options.sampled(range(enough)):
                    _shorten(template, mount, unit, room)
                    outcome = world.run()
                    _let(mount, _ROOM)
                    where = f"{template.name}, room for {room} {unit}"
                    if outcome.is_good:
                        tally.add(where, [f"the fault did not fire: {enough} {unit} are the least"])
                        continue
                    tally.outcomes[outcome.error] += 1
                    tally.add(where, _told(world, outcome) + aftermath(template, counts="finished"), world)
    return tally


def _least_room(template, mount, unit):
    for room in range(_MOST_STEPS):
        _shorten(template, mount, unit, room)
        outcome = template.world.run()
        _let(mount, _ROOM)
        if outcome.is_good:
            return room
    raise RuntimeError(f"A run does not succeed with room for {_MOST_STEPS} {unit}: {outcome}")


def _shorten(template, mount, unit, room):
    """Make the world again, and leave room for so much more."""
    _let(mount, _ROOM)
    template.restore()
    state = os.statvfs(mount)
    if unit == "pages":
        _let(mount, f"size={(state.f_blocks - state.f_bfree + room) * _PAGE_BYTES}")
    else:
        _let(mount, f"nr_inodes={state.f_files - state.f_ffree + room}")


def _let(mount, options):
    disks.run("mount", "-o", f"remount,{options}", mount)


def _told(world, outcome):
    """What is wrong with the error of a run that had no room: it is one of ours, and names a path."""
    if outcome.error not in {"StorageError", "ItemsFailedError"}:
        return [f"the run {outcome}"]
    if not any(path in outcome.message for path in (world.root, *world.expected())):
        return [f"the error names no path: {outcome}"]
    return []


def failing(options):
    """Disks whose write-back fails: the file in which they lie has no room, which write() does not know."""
    tally = Tally(options, "fault points")
    kinds = {
        "ext4": ("ext4", ()),
        "ext4 without journal": ("ext4", ("-O", "^has_journal")),
        "xfs": ("xfs", ()),
    }
    moments = {"full before the first item": 0.0, "full half-way": 0.5, "full before the last item": 1.0}
    for kind, (file_system, make) in kinds.items():
        for is_update in (False, True):
            for moment, share in options.sampled(moments.items()):
                for durability in ("commit", "item"):
                    where = f"{kind}, {'update' if is_update else 'first build'}, {durability}, {moment}"
                    with _failing_disk(options, file_system, make) as (disk, memory, folder):
                        tally.add(where, *_write_back_fails(tally, disk, memory, folder, is_update, durability, share))
    return tally


@contextlib.contextmanager
def _failing_disk(options, file_system, make):
    folder = options.folder("failing")
    size_mb = 300 if file_system == "xfs" else 64
    with (
        disks.memory_disk(os.path.join(folder, "memory"), "size=400m") as memory,
        disks.Disk(file_system, memory, size_mb=size_mb, make=make) as disk,
    ):
        yield disk, memory, folder


def _write_back_fails(tally, disk, memory, folder, is_update, durability, share):
    world = World(os.path.join(disk.path, "world"), folder)
    template = Template("failing", world).build(is_update)
    template.restore()
    disk.remount()
    world.forget_work()
    filler = os.path.join(memory, "filler")
    items = sum(text is not None for text in (UPDATE if is_update else FIRST).values())
    item = round(share * (items - 1))
    outcome = children.call(
        _run_and_fill, world, item, filler, environ=world.environ, durability=durability, spoil=tally.options.spoil
    )
    tally.outcomes["ended well" if outcome.is_good else outcome.error] += 1
    tally.outcomes["failed sync"] += os.path.exists(os.path.join(folder, _FAILED))
    problems = []
    if not outcome.is_good and outcome.error != "StorageError":
        problems.append(f"the run {outcome}")
    problems += _not_poisoned(world, outcome)
    os.unlink(filler)
    disk.mend()
    disks.drop_caches()
    if outcome.is_good:
        is_right = world.visible() == world.expected() and not world.differs_from_manifest()
        problems.append("the fault did not fire" if is_right else "the run says that all is well, and it is not")
    problems += seen_after_a_fault(world, template.before)
    problems += believed(world, durability=durability)
    problems += runs_to_the_end(world, durability=durability)
    disk.remount()
    disks.drop_caches()
    if world.visible() != world.expected() or world.differs_from_manifest():
        problems.append("what the next run has published is not what lies on the disk")
    return problems, world


def _not_poisoned(world, outcome):
    """What is wrong with the staging of a run whose sync failed: where it can be renamed, it must have been."""
    left = os.listdir(world.staging) if os.path.isdir(world.staging) else []
    failed = os.path.join(world.scratch, _FAILED)
    if not os.path.exists(failed) or not any(name.startswith("run-") for name in left):
        return []
    probe = os.path.join(world.staging, "probe")
    try:
        os.mkdir(probe)
        os.rmdir(probe)
    except OSError:  # nothing can be renamed on such a disk
        return []
    return [f"the staging is not poisoned, after the run {outcome}"]


def _run_and_fill(world, item, filler, **options):
    """Run the task; before the n-th item that is processed, fill what the disk's file lies on."""
    note, count = letters._note, 0

    def note_and_fill(key):
        nonlocal count
        if count == item:
            _fill(filler)
        count += 1
        note(key)

    letters._note = note_and_fill
    for name in ("fsync", "fdatasync", "syncfs"):
        setattr(system, name, _noted(getattr(system, name), os.path.join(world.scratch, _FAILED)))
    return driver.run(world.root, **options)


def _noted(sync, failed):
    """The same function, which leaves a file where it fails."""

    def call(descriptor):
        try:
            sync(descriptor)
        except OSError:
            with open(failed, "w"):
                raise

    return call


def _fill(path):
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    os.write(descriptor, bytes(size))
    finally:
        os.close(descriptor)


def lesser(options):
    """A file system without hard links and with names that fold case."""
    tally = Tally(options, "fault points")
    folder = options.folder("lesser")
    with _without_links(folder, tally) as mount:
        world = World(os.path.join(mount, "world"), folder)
        warm_up(world)
        tally.add("first build, update and rollback", _life(world), world)
        for is_update in (False, True):
            template = Template("update" if is_update else "first build", world).build(is_update)
            calls = dry_run(template)
            for call in options.sampled(calls, 40):
                template.restore()
                outcome, made = traced(world, f"{call.name}:signal=KILL:when={call.number}")
                where = f"{template.name}, SIGKILL at {call}"
                if outcome.signal is None or not is_last(call, made):
                    tally.add(where, [f"the fault did not fire: the run {outcome}"])
                    continue
                tally.add(where, aftermath(template, has_links=False), world)
    return tally


@contextlib.contextmanager
def _without_links(folder, tally):
    """Mount vfat; where the kernel has none, exFAT by FUSE."""
    with open("/proc/filesystems") as file:
        has_vfat = "vfat" in file.read().split()
    disks.needs(*(("mkfs.vfat",) if has_vfat else ("mkfs.exfat", "mount.exfat-fuse")))
    with disks.Disk("vfat", folder) if has_vfat else disks.FuseDisk("exfat", folder) as disk:
        tally.outcomes["vfat" if has_vfat else "exFAT by FUSE"] += 1
        yield disk.path


def _life(world):
    """What is wrong with a first build, an update and a rollback."""
    template = Template("life", world).build(is_update=True)
    template.restore()
    problems = runs_to_the_end(world)
    first = template.before
    outcome = children.call(generations.rollback, world.published, 1)
    if not outcome.is_good:
        problems.append(f"the rollback {outcome}")
    elif world.visible() != first or world.differs_from_manifest():
        problems.append("the rollback has published a wrong directory")
    outcome = children.call(generations.release, world.published)
    if not outcome.is_good:
        problems.append(f"the release {outcome}")
    return problems + runs_to_the_end(world)
