"""Power cuts: a run is killed, nothing more reaches the disk, and the machine starts anew."""

from __future__ import annotations

import os

import children
import disks
import driver
from sweeps import aftermath, dry_run, is_last, traced, warm_up
from tallies import Tally
from worlds import Template, World, believed, runs_to_the_end

FILE_SYSTEMS = ("ext4", "xfs")
DURABILITIES = ("commit", "item", "none")
USUAL_POINTS = 20  # of each of twelve sweeps
OTHER_BOOT = "another boot of the machine"
_SIZE_MB = {"ext4": 32, "xfs": 300}  # the least that mkfs.xfs takes


def cuts(options):
    """SIGKILL and a power cut at a call, on each file system and with each durability."""
    tally = Tally(options, "fault points")
    for kind in FILE_SYSTEMS:
        folder = options.folder(f"power-{kind}")
        with (
            disks.memory_disk(os.path.join(folder, "memory"), "size=600m") as memory,
            disks.Disk(kind, memory, size_mb=_SIZE_MB[kind]) as disk,
        ):
            for durability in DURABILITIES:
                for is_update in (False, True):
                    _sweep(tally, disk, folder, durability, is_update=is_update)
    return tally


def _sweep(tally, disk, folder, durability, *, is_update):
    world = World(os.path.join(disk.path, "world"), folder)
    warm_up(world)
    name = f"{disk.kind}, {durability}, {'update' if is_update else 'first build'}"
    template = Template(f"{disk.kind}-{durability}-{is_update}", world).build(is_update, durability=durability)
    calls = dry_run(template, durability=durability, spoil=tally.options.spoil)
    for number, call in enumerate(tally.options.sampled(calls, USUAL_POINTS)):
        has_stranger = bool(number % 2)
        restore_durably(template)
        inject = f"{call.name}:signal=KILL:when={call.number}"
        outcome, made = traced(world, inject, durability=durability, spoil=tally.options.spoil)
        where = f"{name}, power cut at {call}{', journal forced before' if has_stranger else ''}"
        if outcome.signal is None or not is_last(call, made):
            tally.add(where, [f"the fault did not fire: the run {outcome}"])
            continue
        problems = _cut_and_look(template, disk, durability, has_stranger=has_stranger)
        tally.add(where, problems, world)
    for has_stranger in (False, True):
        tally.add(
            f"{name}, power cut after the end", _after_the_end(tally, template, disk, durability, has_stranger), world
        )


def restore_durably(template):
    """Make a world again, and bring it to the disk: it is as old as the machine."""
    template.restore()
    os.sync()


def _cut_and_look(template, disk, durability, *, has_stranger):
    world = template.world
    _cut(disk, has_stranger=has_stranger)
    if durability != "none":
        return aftermath(
            template, counts="begun" if durability == "item" else None, durability=durability, boot=OTHER_BOOT
        )
    problems = believed(world, durability=durability, boot=OTHER_BOOT)
    return problems + runs_to_the_end(world, durability=durability, boot=OTHER_BOOT)


def _cut(disk, *, has_stranger):
    if has_stranger:
        disks.log_force(disk.path)
    disk.cut_power()


def _after_the_end(tally, template, disk, durability, has_stranger):
    """A run that has reported success loses nothing; with durability none, nothing that is lost is believed."""
    world = template.world
    restore_durably(template)
    outcome = world.run(durability=durability, spoil=tally.options.spoil)
    if not outcome.is_good:
        return [f"the run {outcome}"]
    _cut(disk, has_stranger=has_stranger)
    problems = believed(world, durability=durability, boot=OTHER_BOOT)
    if durability != "none":
        if world.visible() != world.expected():
            problems.append("a run has reported success, and its result is lost")
        complete = children.call(driver.is_complete, world.root, durability=durability, boot=OTHER_BOOT)
        if not complete.value:
            problems.append("a run has reported success, and complete() is false after the power cut")
    return problems + runs_to_the_end(world, durability=durability, boot=OTHER_BOOT)
