"""Rivals: several runs of one task at the same time, with locks and without, and those who read meanwhile."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter

import children
import driver
import letters
import xxhash
from sweeps import MUTATING, dry_run, warm_up
from tallies import Tally
from worlds import CHURN, FIRST, Template, World, runs_to_the_end

from luisy_dir import errors

USUAL_ROUNDS = 40  # half of them with locks, half without
USUAL_STOPS = 90  # in each of two sweeps
_WRITERS = 3
_RUNS = 6
_LOSES_WITH_LOCKS = {"BusyError"}
_LOSES_WITHOUT = {"BusyError", "StorageError"}
_CHOSEN = 0.7


def writers(options):
    """Three writers and a reader at once."""
    tally = Tally(options, "rounds")
    scratch = options.folder("rivals")
    world = World(os.path.join(scratch, "world"), scratch)
    warm_up(world)
    for round_ in range(options.rounds(USUAL_ROUNDS)):
        locks = round_ % 2 == 0
        world.clear()
        world.write(FIRST)
        problems = _compete(tally, world, options.seed + round_, locks=locks)
        world.read_letters()
        where = f"round {round_}, {'with' if locks else 'without'} locks"
        tally.add(where, problems + runs_to_the_end(world), world)
    if not tally.outcomes["pinned reads"]:
        tally.tell("the end", ["the reader has never read a whole generation"])
    return tally


def _compete(tally, world, seed, *, locks):
    stop = os.path.join(world.scratch, "stop")
    if os.path.exists(stop):
        os.unlink(stop)
    environ = world.environ | {letters.PAUSE: "0.002"}
    reader = children.Child(_read_again_and_again, world, stop, environ=environ)
    rivals = [
        children.Child(_write_again_and_again, world, seed * 10 + n, locks, environ=environ) for n in range(_WRITERS)
    ]
    outcomes = [rival.wait() for rival in rivals]
    with open(stop, "w"):
        pass
    outcomes.append(reader.wait())
    problems = []
    for outcome in outcomes:
        if not outcome.is_good:
            problems.append(f"a process of the round {outcome}")
            continue
        counts, said = outcome.value
        tally.outcomes.update(counts)
        problems += said
    return problems


def _write_again_and_again(world, seed, locks):
    """Change a letter, run, and again; return what became of the runs, and what was wrong."""
    random_ = random.Random(seed)
    allowed = _LOSES_WITH_LOCKS if locks else _LOSES_WITHOUT
    counts, problems = Counter(), []
    for turn in range(_RUNS):
        _change_a_letter(world, random_, f"w{seed}t{turn}")
        try:
            driver.run(world.root, locks=locks)
            counts["runs that ended well"] += 1
        except errors.LuisyDirError as error:
            counts[type(error).__name__] += 1
            if type(error).__name__ not in allowed:
                problems.append(f"a run raised {type(error).__name__}: {error}")
    return counts, problems


def _change_a_letter(world, random_, word):
    """Write or remove one letter, in one act: whoever reads it sees it whole."""
    name = random_.choice(sorted(FIRST))
    path = os.path.join(world.raw, name)
    if random_.random() > _CHOSEN and name != min(FIRST):
        with_suppressed_absence(os.unlink, path)
        return
    new = os.path.join(world.scratch, f"letter-{os.getpid()}")
    with open(new, "w") as file:
        file.write(word if random_.random() < _CHOSEN else f"{word} and {word}")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.rename(new, path)


def with_suppressed_absence(act, path):
    """Act on a path that a rival may have removed."""
    try:
        return act(path)
    except FileNotFoundError:
        return None


def _read_again_and_again(world, stop):
    """Ask, read through us and by plain path, until there is a file ``stop``; return counts, and what was wrong."""
    counts, problems = Counter(), []
    task = driver.prepare(world.root)
    while not os.path.exists(stop):
        task.complete()
        counts["questions"] += 1
        problems += _read_plainly(world, counts)
        try:
            problems += _read_pinned(task.output(), counts)
        except (errors.BusyError, errors.InputChangedError, errors.MissingInputError) as error:
            counts[f"pinned reads that ended in {type(error).__name__}"] += 1
    return counts, problems


def _read_plainly(world, counts):
    for parent, folders, names in os.walk(world.published):
        folders[:] = [name for name in folders if name != ".manifest"]
        for name in names:
            content = with_suppressed_absence(_content, os.path.join(parent, name))
            if content is not None:
                counts["plain reads"] += 1
                if not letters.is_whole(content):
                    yield f"{name} is not whole: {content[:60]!r}"


def _read_pinned(target, counts):
    seen, data = {}, {}
    with target.pinned(timeout_seconds=1.0) as pinned:
        manifest = pinned.manifest
        told = {output.path: output.digest for entry in manifest.entries() for output in entry.outputs}
        for path in told:
            content = with_suppressed_absence(_content, os.path.join(target.path, path))
            seen[path] = xxhash.xxh3_128_hexdigest(content.encode()) if content is not None else None
        data = {item.path: text for item, text in pinned.items()}
    counts["pinned reads"] += 1
    mixed = sorted(path for path in told if told[path] != seen[path])
    if mixed:
        yield f"a pinned read has seen another generation's {mixed}"
    if len(data) != len(told) or not all(map(letters.is_whole, data.values())):
        yield f"a pinned read has {len(data)} items of {len(told)}, or one that is not whole"


def _content(path):
    with open(path) as file:
        return file.read()


def sleepers(options):
    """A run without locks is stopped at one call after another, another one goes by, and it wakes."""
    tally = Tally(options, "fault points")
    scratch = options.folder("sleepers")
    world = World(os.path.join(scratch, "world"), scratch)
    warm_up(world)
    for is_update in (False, True):
        template = Template("update" if is_update else "first build", world).build(is_update)
        calls = dry_run(template, locks=False, spoil=options.spoil)
        must_fail = _between_claim_and_publication(calls, world)
        for place in options.sampled(range(len(calls)), USUAL_STOPS):
            template.restore()
            where = f"{template.name}, stopped after {calls[place]}"
            problems = _stop_and_go(tally, world, calls[place], must_fail=place in must_fail)
            tally.add(where, problems, world)
    return tally


def _between_claim_and_publication(calls, world):
    """Places of the calls after which a run has something that another one takes over."""
    claim = next(place for place, call in enumerate(calls) if call.name == "mkdir" and "/run-" in call.text)
    ends = [
        place
        for place, call in enumerate(calls)
        if call.name.startswith("rename") and re.search(r'Words"|/CURRENT"[^"]*$', call.text)
    ]
    return range(claim, ends[-1])


def _stop_and_go(tally, world, call, *, must_fail):
    log = os.path.join(world.scratch, "strace")
    settings = {"locks": False, "spoil": tally.options.spoil}
    sleeper = children.Child(driver.run, world.root, is_held=True, environ=world.environ, **settings)
    traced = children.Traced(sleeper, log, MUTATING, f"{call.name}:signal=STOP:when={call.number}", signals="stop")
    if not _is_stopped(sleeper, log):
        traced.wait()
        return ["the fault did not fire"]
    world.write(CHURN)
    rival = world.run(**settings)
    rivals_tree = world.visible()
    sleeper.kill(signal.SIGCONT)
    outcome, _ = traced.wait()
    tally.outcomes["the sleeper ended well" if outcome.is_good else f"the sleeper's {outcome.error}"] += 1
    problems = []
    if not rival.is_good:
        problems.append(f"the run that went by {rival}")
    elif rivals_tree != world.expected():
        problems.append("the run that went by has published a wrong directory")
    if outcome.is_good and must_fail:
        problems.append("the sleeper says that all is well, though another run has taken over")
    if not outcome.is_good and outcome.error not in _LOSES_WITHOUT:
        problems.append(f"the sleeper {outcome}")
    if not outcome.is_good and world.visible() != rivals_tree:
        problems.append("the sleeper has changed what the other run has published")
    return problems + runs_to_the_end(world)


def _is_stopped(child, log):
    """Wait until strace has seen the child stop; False where it came to its end."""
    while not child.has_ended():
        with open(log) as file:
            if "stopped by SIGSTOP" in file.read():
                return True
        time.sleep(0.002)
    return False
