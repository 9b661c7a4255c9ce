"""Sweeps: a run is killed, or a system call fails, at one call after another."""

from __future__ import annotations

import os
import re
from collections import Counter

import children
import driver
from tallies import Skip, Tally
from worlds import CHURN, FIRST, Template, World, believed, runs_to_the_end, seen_after_a_fault

# Every system call that changes a file system, brings it to the disk, or opens and closes what does.
MUTATING = (
    "openat", "creat", "write", "pwrite64", "writev", "mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat",
    "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "fsync", "fdatasync", "syncfs", "sync", "close",
    "truncate", "ftruncate", "fallocate", "flock", "utimensat", "copy_file_range", "sendfile",
)  # fmt: skip
ERRORS = ("ENOSPC", "EIO")
EXPECTED = {"StorageError", "ItemsFailedError", "ManifestError", "InputError"}
SYSTEM_ERRORS = {"OSError", "FileNotFoundError", "PermissionError"}  # of the file system, where they name the file
CANNOT_FAIL = {"sync", "utimensat"}  # the one reports nothing; the other is not called by a run


def worlds_of(options, folder, **settings):
    """The four ways into a fault: the first build and an update, with and without inputs that change after it."""
    scratch = options.folder(folder)
    world = World(os.path.join(scratch, "world"), scratch)
    warm_up(world)
    for is_update in (False, True):
        for churn in ({}, CHURN):
            name = ("update" if is_update else "first build") + (", inputs change after it" if churn else "")
            yield Template(name, world, churn).build(is_update, **settings)


def warm_up(world):
    """Load what a run needs, and see that strace can look at a child."""
    world.clear()
    world.write(FIRST)
    children.load_what_it_needs(driver.run, world.root)
    world.clear()


def traced(world, inject="", **options):
    """What becomes of a run under strace, and the calls that it made."""
    log = os.path.join(world.scratch, "strace")
    child = children.Child(driver.run, world.root, is_held=True, environ=world.environ, **options)
    try:
        run = children.Traced(child, log, MUTATING, inject)
    except (FileNotFoundError, RuntimeError) as error:
        child.kill()
        child.wait()
        raise Skip(f"strace: {error}") from error
    return run.wait()


def dry_run(template, **options):
    """Every call of an undisturbed run, which must be the same each time: else a count means nothing."""
    made = []
    for _ in range(2):
        template.restore()
        outcome, calls = traced(template.world, **options)
        if not outcome.is_good:
            raise RuntimeError(f"A plain run does not work here: {outcome}")
        made.append(calls)
    first, second = ([call.name for call in calls] for calls in made)
    if first != second:
        raise RuntimeError(f"Two runs make different calls, {Counter(first)} and {Counter(second)}")
    return made[0]


def kills(options):
    """SIGKILL at every call."""
    tally = Tally(options, "fault points")
    for template in worlds_of(options, "kill"):
        for call in options.sampled(dry_run(template, spoil=options.spoil)):
            template.restore()
            inject = f"{call.name}:signal=KILL:when={call.number}"
            outcome, calls = traced(template.world, inject, spoil=options.spoil)
            where = f"{template.name}, SIGKILL at {call}"
            if outcome.signal is None or not is_last(call, calls):
                tally.add(where, [f"the fault did not fire: the run {outcome}"])
                continue
            tally.add(where, aftermath(template), template.world)
    return tally


def errors(options):
    """ENOSPC and EIO at every call."""
    tally = Tally(options, "fault points")
    for template in worlds_of(options, "errno"):
        if template.churn:
            continue
        calls = dry_run(template)
        for error in ERRORS:
            for call in options.sampled(_that_can_fail(calls, error)):
                template.restore()
                outcome, made = traced(template.world, f"{call.name}:error={error}:when={call.number}")
                where = f"{template.name}, {error} at {call}"
                if sum(each.was_injected for each in made) != 1:
                    tally.add(where, [f"the fault did not fire: the run {outcome}"])
                    continue
                tally.outcomes["ended well" if outcome.is_good else outcome.error] += 1
                problems = _verdict(template.world, outcome) + aftermath(template, counts="finished")
                tally.add(where, problems, template.world)
    return tally


def _that_can_fail(calls, error):
    """Calls that can fail so: a full disk can still be read, and what was only read is closed without error."""
    read_only = set()
    for call in calls:
        if call.name == "openat":
            is_read_only = not re.search("O_CREAT|O_WRONLY|O_RDWR", call.text)
            descriptor = call.text.rpartition("= ")[2].partition(" ")[0]
            (read_only.add if is_read_only else read_only.discard)(descriptor)
            if is_read_only and error == "ENOSPC":
                continue
        if call.name == "close" and call.text.partition(")")[0] in read_only:
            continue
        if call.name not in CANNOT_FAIL:
            yield call


def is_last(call, calls):
    """Whether a killed run came to a call and no further."""
    return bool(calls) and (calls[-1].name, calls[-1].number) == (call.name, call.number)


def _verdict(world, outcome):
    """What is wrong with how a run ended whose disk failed: an error of ours, or all is right."""
    if outcome.is_good:
        return (
            []
            if not world.differs_from_manifest() and world.visible() == world.expected()
            else ["the run says that all is well, and it is not"]
        )
    if outcome.error in EXPECTED:
        return []
    if outcome.error in SYSTEM_ERRORS and world.root in outcome.message:
        return []
    return [f"the run {outcome}"]


def aftermath(template, *, counts="begun", has_links=True, **options):
    """What is wrong after a run of a template was cut short.

    Parameters
    ----------
    template
        The template.
    counts
        What may not be done again: of the items that were ``begun`` all but the last one; those that were ``finished``,
        as the journal says; or None.
    has_links
        See :func:`worlds.seen_after_a_fault`.
    options
        Of the next run.
    """
    world = template.world
    done = {"begun": world.work, "finished": world.finished, None: lambda: None}[counts]()
    problems = seen_after_a_fault(world, template.before, has_links=has_links)
    problems += believed(world, **options)
    world.write(template.churn)
    changed = {path.removesuffix(".txt") for path in template.churn}
    done = done and [key for key in done if key not in changed]
    return problems + runs_to_the_end(world, done=done, again=int(counts == "begun"), **options)
