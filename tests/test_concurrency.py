"""Several runs on one directory at a time, each in processes of its own: one wins, and nobody harms the other."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time

import psutil
import pytest
from conftest import files_below, states_below

from luisy_dir import errors
from luisy_dir.manifest import read_manifest
from luisy_dir.record import FOLDER, generations_in
from luisy_dir.resumption import entries_in_staging
from luisy_dir.staging import staging_of
from luisy_dir.storage import local

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LUIGI = os.path.join(sysconfig.get_path("scripts"), "luigi")
TASK_FAILED = 30  # as the shipped luigi.cfg has it
PATIENCE_SECONDS = 40
KEYS = [f"{number:02d}" for number in range(10)]
WORKERS = 2
RIVALS = 4

# What the environment asks for holds in whichever process imports this: the script, luigi, its task processes, workers.
MODULE = """
import concurrent.futures, multiprocessing, os, re, time
import luisy_dir as luisy
from luisy_dir.storage import system

asked = os.environ.get


def note(what, line):
    with open(os.path.join(asked("NOTES"), what), "a") as file:
        file.write(line + "\\n")


def wait_here():
    note("held", str(os.getpid()))
    while not os.path.exists(os.path.join(asked("NOTES"), "go")):
        time.sleep(0.005)


def hold(function, pattern, moment):
    original = getattr(system, function)

    def held(*arguments):
        is_meant = re.search(pattern, " ".join(map(str, arguments))) is not None
        if is_meant and moment == "before":
            wait_here()
        answer = original(*arguments)
        if is_meant and moment == "after":
            wait_here()
        return answer

    setattr(system, function, held)


if asked("NO_LOCKS"):
    system.lock = lambda _: None
if asked("HOLD_AT"):
    hold(*asked("HOLD_AT").split(" "))


def forked(workers):
    return concurrent.futures.ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))


def read(path):
    with open(path) as file:
        return file.read()


@luisy.make_directory_output(read)
@luisy.raw
class Letters(luisy.ExternalTask):
    def get_folder_name(self):
        return "letters"


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt")
class Shouts(luisy.DirectoryTask):
    def process(self, text, item):
        note(asked("RUN"), item.key)
        if item.key >= asked("HOLD_FROM", "~"):
            wait_here()
        if asked("HOLD_FROM"):
            time.sleep(0.06)  # so that no worker gets more than three items at once, and each has one to be held at
        return text.upper()
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """The module of the tasks, which the other processes import too."""
    folder = tmp_path_factory.mktemp("module")
    (folder / "rivals.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("rivals")
    sys.path.remove(str(folder))
    del sys.modules["rivals"]


@pytest.fixture
def notes(tmp_path_factory):
    return tmp_path_factory.mktemp("notes")


@pytest.fixture
def task(module, write_files):
    """The task of all the runs; its raw folder is filled."""
    put(write_files, module, "letter")
    return module.Shouts()


def put(write_files, module, word):
    age = {"letter": 60.0, "other": 30.0}[word]
    files = {f"{key}.txt": f"{word} {key}".encode() for key in KEYS}
    write_files(module.Letters().output().path, files, age_seconds=age)


def expected(word="letter"):
    return {f"{key}.txt": f"{word} {key}".upper() for key in KEYS}


def tree(directory):
    found = {}
    for path in files_below(directory):
        with open(os.path.join(directory, path)) as file:
            found[path] = file.read()
    return found


def wait_until(is_so, what="it"):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"{what} never came true"
        time.sleep(0.01)


def has_ended(process):
    """Whether a process is gone, or waits for nothing but whoever should look at its exit code."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Run:
    """A run in a process of its own, which leads a process group."""

    def __init__(self, name, command, working_dir, notes, module, environment):
        self.name, self.notes = name, notes
        words = {
            "python": [sys.executable, "-c", "import rivals; rivals.Shouts().run()"],
            "luigi": [LUIGI, "--module", "rivals", "Shouts", "--local-scheduler", "--no-lock"],
            "luigi with two workers": [
                LUIGI, "--module", "rivals", "Shouts", "--local-scheduler", "--no-lock", "--workers", "2"
            ],
        }  # fmt: skip
        self.log = notes / f"log-{name}"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                words[command],
                env=os.environ
                | {
                    "PYTHONPATH": os.pathsep.join([os.path.dirname(module.__file__), REPOSITORY]),
                    "LUIGI_CONFIG_PATH": os.path.join(REPOSITORY, "luigi.cfg"),
                    "LUISY_DIR_WORKING_DIR": str(working_dir),
                    "LUISY_DIR_ENGINE": "serial",
                    "LUISY_DIR_WORKERS": str(WORKERS),
                    "NOTES": str(notes),
                    "RUN": name,
                    **environment,
                },
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def begun(self):
        """Keys of the items that this run has begun, in that order."""
        path = self.notes / self.name
        return path.read_text().split() if path.exists() else []

    def family(self):
        """All processes of the run that are at work."""
        leader = psutil.Process(self.process.pid)
        return [leader, *leader.children(recursive=True)]

    def wait_until_held(self, by=1):
        held = self.notes / "held"
        wait_until(lambda: self.has_ended() or (held.exists() and len(held.read_text().split()) >= by), "the hold")
        assert not self.has_ended(), self.log.read_text()

    def has_ended(self):
        return self.process.poll() is not None

    def stop(self):
        """Put the whole group to sleep, and wait until it sleeps."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        family = self.family()
        wait_until(lambda: all(process.status() == psutil.STATUS_STOPPED for process in family), "the sleep")
        return family

    def wake(self):
        (self.notes / "go").touch()
        os.killpg(self.process.pid, signal.SIGCONT)

    def end(self):
        """Wait for the end; return the exit code and all that was said."""
        code = self.process.wait(timeout=PATIENCE_SECONDS)
        return code, self.log.read_text(errors="replace")

    def clean_up(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def start(module, notes, working_dir):
    """``start("first", "luigi", HOLD_FROM="05")``: a run in processes of its own."""
    runs = []

    def started(name, command="python", **environment):
        runs.append(Run(name, command, working_dir, notes, module, environment))
        return runs[-1]

    yield started
    for run in runs:
        run.clean_up()


@pytest.fixture
def run_to_its_end(start):
    def run(name, command="python", **environment):
        running = start(name, command, **environment)
        code, said = running.end()
        assert code == 0, said
        return running

    return run


def check_rests(task, run_to_its_end, **environment):
    """One more run begins no item and changes nothing."""
    before = states_below(task.get_outdir())
    assert run_to_its_end("one more", **environment).begun() == []
    assert states_below(task.get_outdir()) == before


def check_published(task, word="letter"):
    """The right tree, complete, with nothing beside it."""
    directory = task.output().path
    assert tree(directory) == expected(word)
    assert task.complete()
    assert task.output().verify(deep=True).is_whole
    assert os.listdir(os.path.dirname(directory)) == [os.path.basename(directory)]


class TestTwoRuns:
    """One wins; the other learns at once that somebody is at work, and does nothing."""

    @pytest.mark.parametrize("second", ["python", "luigi with two workers"])
    @pytest.mark.parametrize("first", ["python", "luigi with two workers"])
    def test_the_second_is_told_before_it_has_begun_an_item(self, task, start, run_to_its_end, first, second):
        winner = start("winner", first, HOLD_FROM="05")
        winner.wait_until_held()
        loser = start("loser", second)
        code, said = loser.end()  # it ends, although the winner waits
        assert not winner.has_ended()
        assert (code, loser.begun()) == (1 if second == "python" else TASK_FAILED, [])
        assert "BusyError" in said
        winner.wake()
        code, said = winner.end()
        assert code == 0, said
        assert sorted(winner.begun()) == KEYS
        check_published(task)

    @pytest.mark.parametrize("command", ["python", "luigi"])
    def test_of_many_that_begin_at_once_none_does_what_another_does(self, task, start, run_to_its_end, command):
        """Whoever comes when all is done finds nothing to do, and whoever comes between is busy."""
        runs = [start(f"run {number}", command, LUISY_DIR_ENGINE="threads") for number in range(RIVALS)]
        ends = [run.end() for run in runs]
        codes = [code for code, _ in ends]
        assert 0 in codes
        assert all("BusyError" in said for code, said in ends if code != 0), ends
        assert sorted(key for run in runs for key in run.begun()) == KEYS
        check_published(task)
        check_rests(task, run_to_its_end)

    def test_of_many_that_bring_up_to_date_at_once_none_does_what_another_does(
        self, task, module, start, run_to_its_end, write_files
    ):
        run_to_its_end("first build")
        put(write_files, module, "other")
        with Reader(task) as reader:
            runs = [start(f"run {number}") for number in range(RIVALS)]
            ends = [run.end() for run in runs]
        assert 0 in [code for code, _ in ends]
        assert all("BusyError" in said for code, said in ends if code != 0), ends
        assert sorted(key for run in runs for key in run.begun()) == KEYS
        assert generations_in(task.output().path) == [1, 2]
        check_published(task, "other")
        reader.check(expected(), expected("other"))


class TestAHolderThatIsKilled:
    """A lock ends with whoever holds it, whatever his workers have inherited of it."""

    @pytest.mark.parametrize("engine", ["threads", "processes", "rivals:forked"])
    @pytest.mark.parametrize("command", ["python", "luigi with two workers"])
    def test_the_next_run_takes_over(self, task, start, run_to_its_end, command, engine):
        killed = start("killed", command, HOLD_FROM="05", LUISY_DIR_ENGINE=engine)
        killed.wait_until_held(by=WORKERS)
        family = killed.family()
        finished = {entry.key for entry in entries_in_staging(task.output().path)}
        assert finished
        assert len(family) > (WORKERS if engine != "threads" else 0)
        killed.process.kill()
        killed.process.wait()
        wait_until(lambda: all(map(has_ended, family)), "the end of all processes")
        lock = local.Lock(os.path.join(staging_of(task.output().path), "lock"))
        wait_until(lambda: not lock.is_held(), "a free lock")  # the last thread of a zombie may still be on its way out
        again = run_to_its_end("again")
        assert sorted(again.begun()) == sorted(set(KEYS) - finished)
        check_published(task)
        check_rests(task, run_to_its_end)

    def test_workers_that_outlive_their_parent_for_a_moment_neither_hold_the_lock_nor_harm_the_next_run(
        self, task, start, run_to_its_end
    ):
        """They sleep, so that they cannot notice that their parent is dead, and wake when all is published."""
        killed = start("killed", HOLD_FROM="05", LUISY_DIR_ENGINE="processes")
        killed.wait_until_held(by=WORKERS)
        finished = {entry.key for entry in entries_in_staging(task.output().path)}
        family = killed.stop()
        killed.process.kill()
        killed.process.wait()
        again = run_to_its_end("again")
        assert sorted(again.begun()) == sorted(set(KEYS) - finished)
        check_published(task)
        before = states_below(task.get_outdir())
        killed.wake()
        wait_until(lambda: all(map(has_ended, family)), "the end of all processes")
        assert states_below(task.get_outdir()) == before


class TestARunThatIsToldToEnd:
    """Whatever it had finished, the next run takes over, and no process of it is left."""

    @pytest.mark.parametrize("engine", ["serial", "threads", "processes"])
    @pytest.mark.parametrize("command", ["python", "luigi with two workers"])
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
    def test_the_next_run_goes_on(self, task, start, run_to_its_end, number, command, engine):
        """Ctrl-C reaches the whole group, as from a terminal; SIGTERM the leader, as from a supervisor."""
        ended = start("ended", command, HOLD_FROM="05", LUISY_DIR_ENGINE=engine)
        ended.wait_until_held(by=1 if engine == "serial" else WORKERS)
        finished = {entry.key for entry in entries_in_staging(task.output().path)}
        assert finished
        family = ended.family()
        if number == signal.SIGINT:
            os.killpg(ended.process.pid, number)
        else:
            ended.process.send_signal(number)
        (ended.notes / "go").touch()  # what is in hand may be finished
        code, said = ended.end()
        wait_until(lambda: all(map(has_ended, family)), "the end of all processes")
        assert not os.path.exists(task.output().path)
        assert code != 0, said
        lock = local.Lock(os.path.join(staging_of(task.output().path), "lock"))
        wait_until(lambda: not lock.is_held(), "a free lock")
        finished |= {entry.key for entry in entries_in_staging(task.output().path)}
        again = run_to_its_end("again")
        assert sorted(again.begun()) == sorted(set(KEYS) - finished)
        check_published(task)
        check_rests(task, run_to_its_end)


class Reader:
    """Asks in a thread, all the while, whether the task is complete, and reads what is published."""

    def __init__(self, task):
        self._task = task
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self.trees, self.trees_of_complete, self.problems, self.questions = [], [], [], 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self._thread.join()

    def _read(self):
        directory = self._task.output().path
        while not self._is_over.wait(0.005):
            try:
                if self._task.complete():
                    self.trees_of_complete.append(tree(directory))
                self.questions += 1
                if os.path.exists(directory):
                    with self._task.output().pinned(timeout_seconds=0.05) as pinned:
                        read = {item.key: text for item, text in pinned.items()}
                    self.trees.append({f"{key}.txt": text for key, text in read.items()})
            except (errors.BusyError, errors.InputChangedError):  # a roll-forward is under way
                pass
            except BaseException as error:
                self.problems.append(error)
                return

    def check(self, *allowed):
        """Nothing but whole generations was read; ``complete()`` was true for the last of them alone."""
        assert self.problems == []
        assert self.questions
        assert self.trees
        assert [one for one in self.trees if one not in allowed] == []
        assert [one for one in self.trees_of_complete if one != allowed[-1]] == []


# Function of the one door, what its arguments look like, and on which side of it the run falls asleep.
BEFORE_COMMIT_OF_FIRST_BUILD = "rename_noreplace /files.*/Shouts$ before"
AFTER_COMMIT_OF_FIRST_BUILD = "rename_noreplace /files.*/Shouts$ after"
BEFORE_COMMIT_OF_UPDATE = "link 00000002\\.json$ before"
AFTER_COMMIT_OF_UPDATE = "link 00000002\\.json$ after"
IN_ROLL_FORWARD = "rename /files/05.txt before"
BEFORE_CURRENT = "rename CURRENT$ before"


class TestASleeper:
    """A run that is stopped while locks do not work, whose work another one does, harms nothing when it wakes."""

    def sleep_through(self, sleeper, task, run_to_its_end, word):
        """Let another run come by; return it and how the sleeper ended."""
        sleeper.stop()
        rival = run_to_its_end("rival", NO_LOCKS="1")
        assert tree(task.output().path) == expected(word)
        assert task.output().verify(deep=True).is_whole
        assert task.complete()
        left = states_below(task.get_outdir())
        record = read_manifest(task.output().path).record
        assert not sleeper.has_ended()
        sleeper.wake()
        code, said = sleeper.end()
        assert states_below(task.get_outdir()) == left
        assert read_manifest(task.output().path).record == record
        check_published(task, word)
        check_rests(task, run_to_its_end, NO_LOCKS="1")
        check_published(task, word)
        return rival, code, said

    @pytest.mark.parametrize("command", ["python", "luigi with two workers"])
    def test_in_a_first_build_while_items_are_processed(self, task, start, run_to_its_end, command):
        sleeper = start("sleeper", command, HOLD_FROM="05", NO_LOCKS="1", LUISY_DIR_ENGINE="processes")
        sleeper.wait_until_held(by=WORKERS)
        finished = {entry.key for entry in entries_in_staging(task.output().path)}
        assert finished
        rival, code, said = self.sleep_through(sleeper, task, run_to_its_end, "letter")
        assert sorted(rival.begun()) == sorted(set(KEYS) - finished)
        assert code == (1 if command == "python" else TASK_FAILED), said
        assert "BusyError" in said or "StorageError" in said

    @pytest.mark.parametrize("engine", ["serial", "threads", "processes"])
    def test_in_an_update_while_items_are_processed(self, task, module, start, run_to_its_end, write_files, engine):
        run_to_its_end("first build")
        put(write_files, module, "other")
        with Reader(task) as reader:
            sleeper = start("sleeper", HOLD_FROM="05", NO_LOCKS="1", LUISY_DIR_ENGINE=engine)
            sleeper.wait_until_held(by=1 if engine == "serial" else WORKERS)
            finished = {entry.key for entry in entries_in_staging(task.output().path)}
            assert finished
            rival, code, said = self.sleep_through(sleeper, task, run_to_its_end, "other")
        assert sorted(rival.begun()) == sorted(set(KEYS) - finished)
        assert code == 1
        assert "BusyError" in said or "StorageError" in said
        assert generations_in(task.output().path) == [1, 2]
        reader.check(expected(), expected("other"))

    def test_before_the_commit_of_a_first_build(self, task, start, run_to_its_end):
        sleeper = start("sleeper", HOLD_AT=BEFORE_COMMIT_OF_FIRST_BUILD, NO_LOCKS="1")
        sleeper.wait_until_held()
        rival, code, said = self.sleep_through(sleeper, task, run_to_its_end, "letter")
        assert rival.begun() == []  # all was finished, and is taken over
        assert code == 1
        assert "BusyError" in said or "StorageError" in said

    def test_after_the_commit_of_a_first_build(self, task, start, run_to_its_end):
        """It has published, and says so, though the other one has cleaned up."""
        sleeper = start("sleeper", HOLD_AT=AFTER_COMMIT_OF_FIRST_BUILD, NO_LOCKS="1")
        sleeper.wait_until_held()
        rival, code, said = self.sleep_through(sleeper, task, run_to_its_end, "letter")
        assert rival.begun() == []
        assert code == 0, said

    @pytest.mark.parametrize(
        "place", [BEFORE_COMMIT_OF_UPDATE, AFTER_COMMIT_OF_UPDATE, IN_ROLL_FORWARD, BEFORE_CURRENT]
    )
    def test_between_the_last_item_of_an_update_and_its_end(
        self, task, module, start, run_to_its_end, write_files, place
    ):
        run_to_its_end("first build")
        put(write_files, module, "other")
        with Reader(task) as reader:
            sleeper = start("sleeper", HOLD_AT=place, NO_LOCKS="1")
            sleeper.wait_until_held()
            assert not task.complete()
            rival, code, said = self.sleep_through(sleeper, task, run_to_its_end, "other")
        assert rival.begun() == []
        assert code == 1
        assert "BusyError" in said or "StorageError" in said
        assert generations_in(task.output().path) == [1, 2]
        reader.check(expected(), expected("other"))

    @pytest.mark.parametrize("place", [BEFORE_COMMIT_OF_UPDATE, IN_ROLL_FORWARD, BEFORE_CURRENT])
    def test_with_locks_the_other_run_is_busy_and_the_sleeper_comes_to_its_end(
        self, task, module, start, run_to_its_end, write_files, place
    ):
        run_to_its_end("first build")
        put(write_files, module, "other")
        with Reader(task) as reader:
            sleeper = start("sleeper", HOLD_AT=place)
            sleeper.wait_until_held()
            sleeper.stop()
            rival = start("rival")
            code, said = rival.end()
            assert (code, rival.begun()) == (1, [])
            assert "BusyError" in said
            assert not task.complete()
            sleeper.wake()
            code, said = sleeper.end()
            assert code == 0, said
        check_published(task, "other")
        check_rests(task, run_to_its_end)
        assert os.path.isdir(os.path.join(task.output().path, FOLDER))
        reader.check(expected(), expected("other"))
