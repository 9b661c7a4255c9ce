"""Processes of a run: any of them is sent a signal, or killed for its memory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import subprocess
import sys
import time
import uuid

import letters
from sweeps import warm_up
from tallies import Skip, Tally
from worlds import Template, World, believed, runs_to_the_end, seen_after_a_fault

_HERE = os.path.dirname(os.path.abspath(__file__))
_WORKERS = 3
_PAUSE_SECONDS = 0.03
_ORPHANS_END_SECONDS = 3.0
_LONGEST_SECONDS = 40.0
_TAG = "STRESS_ROUND"
_TRIES = 20

USUAL_ROUNDS = 72
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TARGETS = ("parent", "group", "worker")
COMMANDS = ("driver", "luigi", "luigi with two workers")
MANY = {f"{number:02d}.txt": f"word{number}" if number % 3 else f"two words{number}" for number in range(24)}
MANY_CHANGED = {name: f"{text}-again" for name, text in MANY.items() if int(name[:2]) % 4} | {
    "00.txt": None,
    "new/x.txt": "x",
}


class Run:
    """A run in a process of its own, with all processes that it starts.

    Parameters
    ----------
    world
        The world.
    command
        One of ``COMMANDS``.
    environ
        Is added to the environment.
    begin
        Called in the new process first.
    """

    def __init__(self, world, command="driver", environ=None, begin=None):
        self.tag = uuid.uuid4().hex
        self._environ = (
            os.environ | world.environ | {_TAG: self.tag, letters.PAUSE: str(_PAUSE_SECONDS)} | (environ or {})
        )
        self.output = os.path.join(world.scratch, "output-of-run")

        def prepare():
            signal.signal(
                signal.SIGINT, signal.SIG_DFL
            )  # else it is ignored where this very process is in the background
            if begin is not None:
                begin()

        with open(self.output, "wb") as sink:
            self.process = subprocess.Popen(
                words_of(command, world),
                env=self._environ,
                cwd=_HERE,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                preexec_fn=prepare,  # noqa: PLW1509 - this process has one thread
            )

    def family(self):
        """Numbers of all processes of the run that are there."""
        return processes_with(f"{_TAG}={self.tag}")

    def workers(self):
        """Numbers of its worker processes."""
        return [pid for pid in self.family() if "spawn_main" in _command_of(pid) and pid != self.process.pid]

    def end(self):
        """Wait for the end of the process that was started, and of all others; say what was wrong."""
        problems = []
        try:
            self.process.wait(_LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            problems.append(f"the run was still there after {_LONGEST_SECONDS} s")
            self.process.kill()
            self.process.wait()
        deadline = time.monotonic() + _ORPHANS_END_SECONDS
        while (left := self.family()) and time.monotonic() < deadline:
            time.sleep(0.02)
        if left:
            problems.append(f"{len(left)} processes are left: {[_command_of(pid)[:60] for pid in left]}")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return problems

    def told(self):
        """What the run has printed."""
        with open(self.output, errors="replace") as file:
            return file.read()


def words_of(command, world):
    """The words of a command that runs the task with three workers."""
    if command == "driver":
        driver = os.path.join(_HERE, "driver.py")
        return [sys.executable, driver, "run", world.root, "--engine", "processes", "--workers", str(_WORKERS)]
    words = [sys.executable, "-m", "luigi", "--module", "letters", "Words", "--local-scheduler", "--no-lock"]
    words += ["--luisy-dir-working-dir", world.root, "--luisy-dir-engine", "processes"]
    words += ["--luisy-dir-workers", str(_WORKERS)]
    return words + (["--workers", "2"] if command.endswith("two workers") else [])


def processes_with(variable):
    """Numbers of the processes that have a variable in their environment and are not dead."""
    wanted, found = variable.encode(), []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    found.append(int(name))
    return found


def _command_of(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().replace(b"\0", b" ").decode(errors="replace")
    return ""


def signals(options):
    """A signal to the parent, the group or a worker of a run with three workers, at a random moment."""
    tally = Tally(options, "rounds")
    scratch = options.folder("signals")
    world = World(os.path.join(scratch, "world"), scratch)
    warm_up(world)
    templates = [
        Template("update" if is_update else "first build", world).build(is_update, raw=MANY, changes=MANY_CHANGED)
        for is_update in (False, True)
    ]
    random_ = random.Random(options.seed)
    plays = [(number, target, command) for command in COMMANDS for target in TARGETS for number in SIGNALS]
    for round_ in range(options.rounds(USUAL_ROUNDS)):
        if round_ % len(plays) == 0:
            random_.shuffle(plays)
        number, target, command = plays[round_ % len(plays)]
        template = random_.choice(templates)
        where = f"round {round_}: {command}, {template.name}, {number.name} to the {target}"
        _play(tally, template, where, command, number, target, random_)
    return tally


def _play(tally, template, where, command, number, target, random_):
    world = template.world
    for _ in range(_TRIES):
        template.restore()
        run = Run(world, command)
        moment = _wait_for_a_moment(run, world, random_)
        if _send(run, number, target, random_):
            break
        run.end()
    else:
        tally.add(where, ["the fault did not fire"], world)
        return
    problems = run.end()
    status = run.process.returncode
    tally.outcomes[f"status {status}"] += 1
    if status == 0 and world.visible() != world.expected():
        problems.append("the run says that all is well, and it is not")
    if not is_soon_free(world):
        problems.append("the lock is held")
    problems += seen_after_a_fault(world, template.before)
    problems += believed(world)
    problems += runs_to_the_end(world, done=world.work(), again=_WORKERS)
    tally.add(f"{where} {moment}", problems, world)


def _wait_for_a_moment(run, world, random_):
    """Wait for a moment between the start of a run and its end, and name it."""
    items = random_.randrange(-4, len(world.letters) + 1)
    delay = random_.uniform(0, 2 * _PAUSE_SECONDS) if items >= 0 else random_.uniform(0, 1.0)
    while items > 0 and run.process.poll() is None and len(world.work()) < items:
        time.sleep(0.002)
    time.sleep(delay)
    return f"{delay * 1000:.0f} ms after {'its start' if items <= 0 else f'{items} items'}"


def _send(run, number, target, random_):
    """Send the signal; False where there is nobody any more, or not yet."""
    if run.process.poll() is not None:
        return False
    try:
        if target == "parent":
            os.kill(run.process.pid, number)
        elif target == "group":
            os.killpg(run.process.pid, number)
        else:
            workers = run.workers()
            if not workers:
                return False
            os.kill(random_.choice(workers), number)
    except ProcessLookupError:
        return False
    return True


def is_soon_free(world):
    """Whether nobody holds the lock of the staging for long: a process that dies lets go of its memory first."""
    deadline = time.monotonic() + _ORPHANS_END_SECONDS
    while not (is_free := is_lock_free(world)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_free


def is_lock_free(world):
    """Whether nobody holds the lock of a staging."""
    try:
        with open(os.path.join(world.staging, "lock")) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


class MemoryGroup:
    """A group of processes that may use so much memory together, of either version of cgroups. A context manager.

    Parameters
    ----------
    limit_mb
        How much.
    """

    def __init__(self, limit_mb):
        name, limit = f"luisy_dir-stress-{os.getpid()}", str(limit_mb << 20)
        if os.path.isfile("/sys/fs/cgroup/memory/memory.limit_in_bytes"):
            self.path, self._events = f"/sys/fs/cgroup/memory/{name}", "memory.oom_control"
            self._limits = {"memory.limit_in_bytes": limit, "memory.swappiness": "0"}
        elif os.path.isfile("/sys/fs/cgroup/cgroup.controllers"):
            self.path, self._events = f"/sys/fs/cgroup/{name}", "memory.events"
            self._limits = {"memory.max": limit, "memory.swap.max": "0"}
        else:
            raise Skip("there are no memory cgroups")

    def __enter__(self):
        try:
            os.mkdir(self.path)
            for name, value in self._limits.items():
                self._write(name, value)
        except OSError as error:
            self.__exit__()
            raise Skip(f"a memory cgroup cannot be made: {error}") from error
        return self

    def __exit__(self, *_):
        for _ in range(100):
            try:
                os.rmdir(self.path)
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.05)
            else:
                return

    def _write(self, name, value):
        path = os.path.join(self.path, name)
        if os.path.exists(path):
            with open(path, "w") as file:
                file.write(value)

    def enter(self):
        """Put this process into the group, and with it all that it starts."""
        self._write("cgroup.procs", str(os.getpid()))

    def killed(self):
        """How many processes of the group were killed for their memory."""
        with open(os.path.join(self.path, self._events)) as file:
            return dict(line.split() for line in file).get("oom_kill")


def memory(options):
    """An item that takes all memory of its group, so that its worker is killed."""
    tally = Tally(options, "rounds")
    scratch = options.folder("memory")
    world = World(os.path.join(scratch, "world"), scratch)
    warm_up(world)
    for round_, key in enumerate(options.sampled(sorted(MANY), 6)):
        is_update = bool(round_ % 2)
        if is_update and MANY_CHANGED.get(key) is None:
            key = next(name for name in sorted(MANY_CHANGED) if name > key)  # noqa: PLW2901 - one that is processed
        template = Template("memory", world).build(is_update, raw=MANY, changes=MANY_CHANGED)
        template.restore()
        where = f"{'update' if is_update else 'first build'}, {key} eats its worker's memory"
        with MemoryGroup(700) as group:
            run = Run(world, environ={letters.HUNGRY: key.removesuffix(".txt")}, begin=group.enter)
            problems = run.end()
            killed = group.killed()
        if killed in {None, "0"}:
            tally.add(where, [f"the fault did not fire: {run.told()[-300:]}"])
            continue
        tally.outcomes[
            "WorkerDiedError" if "WorkerDiedError" in run.told() else f"status {run.process.returncode}"
        ] += 1
        if run.process.returncode != 1:
            problems.append(f"the run has exited with {run.process.returncode}: {run.told()[-300:]}")
        if not is_soon_free(world):
            problems.append("the lock is held")
        problems += seen_after_a_fault(world, template.before) + believed(world)
        tally.add(where, problems + runs_to_the_end(world, done=world.work(), again=_WORKERS), world)
    return tally
