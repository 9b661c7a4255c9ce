"""Workers that die or hang on the engine ``processes`` cost the item that they had in hand, and nothing else."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing

import psutil
import pytest
from click.testing import CliRunner
from conftest import files_below
from naps import NOTES, nap_and_return, note, slow_at_first
from perils import (
    WORKERS,
    Hurried,
    HurriedTogether,
    Impatient,
    Limited,
    Perilous,
    Perils,
    Renamed,
    Several,
    Stubborn,
    Together,
    Unprepared,
    read,
)

import luisy_dir as luisy
from luisy_dir import errors
from luisy_dir.cli import commands
from luisy_dir.engines import processes
from luisy_dir.engines.loss import WorkerLost
from luisy_dir.engines.mapping import map_unordered
from luisy_dir.engines.processes import ProcessExecutor
from luisy_dir.engines.worker import Worker

PATIENCE_SECONDS = 30


@pytest.fixture(autouse=True)
def notes(tmp_path_factory, monkeypatch):
    """What items and workers have noted: ``notes("begun")`` are the lines under that name."""
    folder = tmp_path_factory.mktemp("notes")
    monkeypatch.setenv(NOTES, str(folder))

    def lines(name):
        path = folder / name
        return path.read_text().splitlines() if path.exists() else []

    lines.folder = folder
    return lines


@pytest.fixture
def fill(write_files):
    """``fill({"07": "kill"}, 20)`` makes 20 files with plain words, but for those that are given; older ones stay."""

    def make(perils, count=0, *, word="word", age_seconds=60.0):
        texts = {f"{number:03d}": f"{word} {number}" for number in range(count)} | perils
        files = {f"{key}.txt": text.encode() for key, text in texts.items()}
        write_files(Perils().output().path, files, age_seconds=age_seconds)
        return texts

    return make


def entries(task):
    return {entry.key: entry for entry in task.output().manifest().entries()}


def begun(notes):
    """How often each item was begun."""
    return Counter(line.split()[0] for line in notes("begun"))


def check(task, texts, lost):
    """All but the lost items are there, each as it should be; nothing else is."""
    found, directory = entries(task), task.output().path
    assert found.keys() == texts.keys()
    assert {key for key, entry in found.items() if entry.status != "written"} == set(lost)
    assert {path: read(os.path.join(directory, path)) for path in files_below(directory)} == {
        f"{key}.txt": text.upper() for key, text in texts.items() if key not in lost
    }
    assert task.output().verify(deep=True).is_whole
    assert task.complete()


def is_there(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(is_so):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


DEATHS = {
    "exit": "the worker ended with exit code 3, while it had this item in hand",
    "kill": "the worker was killed by SIGKILL, perhaps for its memory, while it had this item in hand",
    "terminate": "the worker was ended by SIGTERM, while it had this item in hand",
    "segfault": "the worker was ended by SIGSEGV, while it had this item in hand",
    "abort": "the worker was ended by SIGABRT, while it had this item in hand",
}


class TestTheItemInHand:
    """It has failed, and the entry says of what; all others are published."""

    @pytest.mark.parametrize(
        ("peril", "is_update"), [*((peril, False) for peril in DEATHS), ("exit", True), ("kill", True)]
    )
    def test_a_worker_that_dies_costs_the_item_that_it_had_in_hand(self, fill, notes, peril, is_update):
        if is_update:
            fill({}, 40, word="earlier", age_seconds=600.0)
            Perilous().run()
            (notes.folder / "begun").unlink()
        texts = fill({"017": peril}, 40)
        Perilous().run()
        check(Perilous(), texts, {"017"})
        entry = entries(Perilous())["017"]
        assert (entry.error.type, entry.error.message) == ("WorkerDied", DEATHS[peril])
        assert entry.worker.endswith("-" + dict(line.split() for line in notes("begun"))["017"])
        assert set(begun(notes).values()) == {1}

    def test_no_item_can_die_so_often_that_others_are_lost(self, fill, notes):
        texts = fill({f"{number:03d}": random.Random(number).choice([*DEATHS]) for number in range(0, 30, 3)}, 30)
        Perilous().run()
        check(Perilous(), texts, {key for key, text in texts.items() if text in DEATHS})
        assert set(begun(notes).values()) == {1}

    def test_all_items_may_die(self, fill):
        texts = fill(dict.fromkeys(["a", "b", "c", "d", "e", "f", "g"], "kill"))
        Perilous().run()
        check(Perilous(), texts, set(texts))

    def test_all_workers_may_die_at_the_same_time(self, fill, notes):
        texts = fill(dict.fromkeys(["000", "001", "002"], "together"), 30)
        Perilous().run()
        check(Perilous(), texts, {"000", "001", "002"})

    def test_the_items_of_its_chunk_that_it_has_finished_are_not_done_again(self, fill, notes):
        """Quick items cross by the hundred: what the dead worker has finished of them stands in its journal."""
        texts = fill({"0999": "kill"}) | fill({f"0{number}": f"quick {number}" for number in range(100, 999)})
        Perilous().run()
        check(Perilous(), texts, {"0999"})
        assert set(begun(notes).values()) == {1}

    def test_a_half_written_output_is_not_published(self, fill):
        texts = fill({"003": "half a file"}, 6)
        Perilous().run()
        check(Perilous(), texts, {"003"})

    def test_the_first_of_several_outputs_is_not_published(self, fill):
        fill({"003": "exit", "004": "fine"})
        Several().run()
        assert files_below(Several().output().path) == ["004/first.txt", "004/second.txt"]

    def test_a_crash_says_where_it_was(self, fill):
        fill({"a": "segfault"})
        Perilous().run()
        trace = entries(Perilous())["a"].error.traceback
        assert "in string_at" in trace
        assert "in process" in trace
        assert os.path.dirname(luisy.__file__) not in trace

    def test_report_and_errors_show_it(self, fill):
        fill({"017": "kill"}, 20)
        Perilous().run()
        row = Perilous().report().loc["017"]
        shown = CliRunner().invoke(commands, ["errors", Perilous().output().path]).output
        assert (row["status"], row["error_type"]) == ("failed", "WorkerDied")
        assert "017" in shown
        assert "was killed by SIGKILL, perhaps for its memory" in shown

    @pytest.mark.parametrize("peril", ["exit", "kill"])
    def test_an_item_that_was_processed_with_others_is_found_among_them(self, fill, peril):
        """By halves: a batch of seven is done again at most three times until it is alone."""
        texts = fill({"005": peril, "006": peril}, 30)
        Together().run()
        check(Together(), texts, {"005", "006"})
        assert {entry.error.message for entry in entries(Together()).values() if entry.error} == {DEATHS[peril]}
        assert max(entry.attempts for entry in entries(Together()).values()) == 4

    def test_an_item_that_hangs_is_found_among_those_that_it_is_processed_with(self, fill):
        texts = fill({"005": "loop"}, 30)
        HurriedTogether().run()
        check(HurriedTogether(), texts, {"005"})
        assert entries(HurriedTogether())["005"].error.type == "Timeout"

    def test_an_item_is_tried_as_often_as_retries_says(self, fill, notes):
        texts = fill({"005": "kill"}, 12)
        Stubborn().run()
        check(Stubborn(), texts, {"005"})
        assert entries(Stubborn())["005"].attempts == 3
        assert {key: count for key, count in begun(notes).items() if count > 1} == {"005": 3}

    def test_what_it_wrote_under_other_names_does_not_stand_in_its_own_way(self, fill):
        fill({"005": "kill", "006": "exit"}, 12)
        Renamed().run()
        found = entries(Renamed())
        assert {entry.status for entry in found.values()} == {"written"}
        assert {key: entry.attempts for key, entry in found.items() if entry.attempts > 1} == {"005": 2, "006": 2}
        assert len(files_below(Renamed().output().path)) == 24

    def test_memory_that_is_refused_is_an_error_like_any_other(self, fill, notes):
        """Under a limit for the worker nobody dies."""
        texts = fill({"003": "hog"}, 20)
        Limited().run()
        check(Limited(), texts, {"003"})
        assert entries(Limited())["003"].error.type == "MemoryError"


class TestTheBudget:
    def test_one_item_too_many_ends_the_run_and_is_named(self, fill, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        fill({"003": "exit", "011": "kill"}, 20)
        with pytest.raises(errors.ItemsFailedError, match=r"2 of 20 items failed") as caught:
            Perilous().run()
        assert "003: WorkerDied: the worker ended with exit code 3" in str(caught.value)
        assert "011: WorkerDied: the worker was killed by SIGKILL" in str(caught.value)
        assert not os.path.exists(Perilous().output().path)

    def test_what_was_finished_is_kept_and_the_failure_is_in_the_report(self, fill, notes, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "0")
        texts = fill({"030": "kill"}, 40)
        with pytest.raises(errors.ItemsFailedError):
            Perilous().run()
        report = Perilous().report()
        assert report.loc["030", "error_type"] == "WorkerDied"
        (notes.folder / "mended").touch()
        finished = set(report.index[report["status"] == "written"])
        (notes.folder / "begun").unlink()
        Perilous().run()
        check(Perilous(), texts, set())
        assert begun(notes).keys() == texts.keys() - finished

    def test_the_next_run_tries_the_failed_item_alone(self, fill, notes):
        texts = fill({"003": "exit"}, 20)
        Perilous().run()
        (notes.folder / "mended").touch()
        (notes.folder / "begun").unlink()
        Perilous().run()
        check(Perilous(), texts, set())
        assert begun(notes) == {"003": 1}


class TestTimeout:
    @pytest.mark.parametrize("peril", ["sleep", "loop"])
    def test_an_item_that_hangs_has_failed_and_quick_ones_around_it_have_not(self, fill, notes, peril):
        """Be it in C, where no other thread of the worker runs."""
        texts = fill({"150": peril, "151": peril}, 300)
        Hurried().run()
        check(Hurried(), texts, {"150", "151"})
        failure = entries(Hurried())["150"].error
        assert failure.type == "Timeout"
        assert failure.message == "it took longer than the 1 s that timeout allows, and its worker was killed"
        assert set(begun(notes).values()) == {1}

    def test_the_entry_says_how_long_it_took_and_what_it_did(self, fill):
        fill({"a": "loop"})
        Hurried().run()
        entry = entries(Hurried())["a"]
        assert entry.seconds >= 1.0
        assert "in loop_in_c" in entry.error.traceback

    def test_it_is_the_time_of_one_item_not_of_a_chunk(self, fill):
        texts = fill({f"{number:03d}": "nap 0.06" for number in range(60)})
        Hurried().run()
        check(Hurried(), texts, set())

    def test_setup_is_on_no_items_account(self, fill):
        texts = fill({}, 6)
        Impatient().run()
        check(Impatient(), texts, set())

    def test_a_program_that_the_item_has_started_ends_with_it(self, fill, notes):
        texts = fill({"003": "child"}, 6)
        Hurried().run()
        check(Hurried(), texts, {"003"})
        [pid] = notes("children")
        wait_until(lambda: not is_there(int(pid)))

    @pytest.mark.parametrize("engine", ["serial", "threads", "async", "loky:get_reusable_executor"])
    def test_an_engine_that_cannot_end_an_item_refuses_it_before_any_work(self, fill, notes, engine, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_ENGINE", engine)
        fill({}, 3)
        with pytest.raises(errors.SettingError, match=f"the engine '{engine}' cannot.*engine='processes'"):
            Hurried().run()
        assert not notes("begun")


class TestWorkersThatNeverBegin:
    def test_a_setup_that_ends_its_process_ends_the_run(self, fill, notes):
        fill({}, 10)
        with pytest.raises(errors.WorkerDiedError, match=r"3 worker processes in a row .* exit code 4") as caught:
            Unprepared().run()
        assert "__name__ == '__main__'" in str(caught.value)
        assert WORKERS <= len(notes("setups")) <= 3 * WORKERS

    def test_a_script_without_its_guard_is_told_so(self, fill, tmp_path):
        fill({}, 10)
        script = tmp_path / "unguarded.py"
        script.write_text("from perils import Perilous\nPerilous().run()\n")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "LUISY_DIR_WORKING_DIR": str(tmp_path)}
        ended = subprocess.run(
            [sys.executable, script], capture_output=True, text=True, timeout=4 * PATIENCE_SECONDS, env=environment,
            check=False,
        )  # fmt: skip
        assert ended.returncode == 1
        assert "WorkerDiedError: The run was given up after 0 of 10 items: 3 worker processes" in ended.stderr
        assert "under `if __name__ == '__main__':`" in ended.stderr
        assert not os.path.exists(Perilous().output().path)

    def test_where_no_process_can_be_started_the_run_ends(self, fill, monkeypatch):
        def fail(process):
            raise BlockingIOError(11, "Resource temporarily unavailable")

        fill({}, 10)
        monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", fail)
        with pytest.raises(errors.WorkerDiedError, match=r"cannot be started.*Resource temporarily unavailable"):
            Perilous().run()


# -- the engine alone -------------------------------------------------------------------------------------------------


class Settling:
    """Blames what a dead worker had in hand, and leaves the rest to others; remembers the losses."""

    def __init__(self):
        self.losses = []

    def __call__(self, chunk, loss):
        self.losses.append(loss)
        lost = [] if loss.in_hand is None or loss.is_innocent else [loss.in_hand]
        return [("lost", chunk[n]) for n in lost], [thing for n, thing in enumerate(chunk) if n not in lost]


def mapped(executor, function, things, settle=None):
    with closing(map_unordered(executor, function, things, workers=WORKERS, on_loss=settle or Settling())) as results:
        return list(results)


class Killer(threading.Thread):
    """Kills worker processes at random moments, whatever they are doing, until it has killed enough."""

    def __init__(self, seed, kills, longest_seconds=0.1):
        super().__init__()
        self._random = random.Random(seed)
        self._longest_seconds = longest_seconds
        self._is_over = threading.Event()
        self._wanted = kills
        self.kills = 0

    @property
    def is_done(self):
        return self.kills >= self._wanted

    def run(self):
        while not self.is_done and not self._is_over.wait(self._random.uniform(0, self._longest_seconds)):
            workers = worker_processes()
            if workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._random.choice(workers).kill()
                    self.kills += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self.join()


def worker_processes():
    """The workers of this process that are there."""
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(_command(child))]


def _command(process):
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


class TestTheEngine:
    def test_without_anybody_who_settles_a_loss_it_is_an_error(self):
        with (
            ProcessExecutor(WORKERS) as executor,
            pytest.raises(WorkerLost, match="ended with exit code 3"),
            closing(map_unordered(executor, lambda number: os._exit(3), [1])) as results,
        ):
            list(results)

    def test_a_worker_that_dies_while_it_has_nothing_to_do_costs_nothing(self):
        with ProcessExecutor(WORKERS) as executor:
            assert sorted(mapped(executor, nap_and_return, range(20))) == [*range(20)]
            for worker in worker_processes():
                worker.kill()
            assert sorted(mapped(executor, nap_and_return, range(20))) == [*range(20)]

    def test_an_engine_can_be_used_again_after_a_death(self):
        with ProcessExecutor(1) as executor:
            assert mapped(executor, lambda number: os._exit(3), [1, 2]) == [("lost", 1), ("lost", 2)]
            assert executor.submit(pow, 2, 5).result() == 32

    def test_a_worker_that_lets_go_of_its_pipe_is_ended(self):
        """As a function does that closes all files before it goes on for ever."""

        def let_go(number):
            os.closerange(3, 256)
            time.sleep(300)

        with ProcessExecutor(1) as executor:
            assert mapped(executor, let_go, [1]) == [("lost", 1)]
        assert multiprocessing.active_children() == []

    def test_a_worker_that_leaves_a_fork_of_itself_behind_is_missed_all_the_same(self, notes):
        """Which has all that it has, its pipes too."""

        def fork_and_die(number):
            pid = os.fork()
            if pid == 0:
                time.sleep(PATIENCE_SECONDS)
                os._exit(0)
            note("forks", pid)
            os._exit(3)

        try:
            with ProcessExecutor(1) as executor:
                assert mapped(executor, fork_and_die, [1]) == [("lost", 1)]
        finally:
            for pid in notes("forks"):
                os.kill(int(pid), signal.SIGKILL)

    def test_a_time_that_ran_out_just_when_a_thing_was_finished_is_not_the_next_ones_fault(self, notes, monkeypatch):
        """Which the worker had begun when it was killed: another one does it."""
        late, kill = [], Worker.kill

        def kill_late(worker):
            if not late:
                late.append(worker._slate.read()[0])
                wait_until(lambda: worker._slate.read()[0] == late[0] + 1)
            kill(worker)

        monkeypatch.setattr(Worker, "kill", kill_late)
        monkeypatch.setattr(Worker, "_asked", lambda worker: "")  # so that nothing holds up the kill
        settling, things = Settling(), [*range(2 * WORKERS), "slow", "next", "third", "fourth"]  # a chunk of four
        with ProcessExecutor(1, timeout=0.5) as executor:
            results = mapped(executor, slow_at_first, things, settling)
        assert set(results) == set(things)
        assert [(loss.in_hand, loss.is_innocent) for loss in settling.losses] == [(1, True)]

    @pytest.mark.parametrize("seed", range(3))
    def test_whenever_workers_are_killed_everything_is_done_once_or_lost(self, seed, monkeypatch):
        """While they start, wait, work, read and answer. Nobody waits for ever."""
        monkeypatch.setattr(processes, "_DEATHS_IN_VAIN", 1_000)
        results, rounds = [], 0
        with ProcessExecutor(WORKERS) as executor, Killer(seed, kills=25) as killer:
            while not killer.is_done:
                results += mapped(executor, nap_and_return, range(500))
                rounds += 1
        lost = [result for result in results if isinstance(result, tuple)]
        numbers = Counter(result[1] if isinstance(result, tuple) else result for result in results)
        assert numbers == dict.fromkeys(range(500), rounds)
        assert len(lost) <= killer.kills

    def test_closing_a_map_over_workers_that_die_leaves_nobody_waiting(self, monkeypatch):
        monkeypatch.setattr(processes, "_DEATHS_IN_VAIN", 1_000)
        with ProcessExecutor(WORKERS) as executor, Killer(7, kills=15) as killer:
            while not killer.is_done:
                with closing(
                    map_unordered(executor, nap_and_return, range(10_000), workers=WORKERS, on_loss=Settling())
                ) as results:
                    next(results)

    def test_no_thread_and_no_descriptor_is_left(self):
        """Also of those that died."""

        def descriptors():
            return len(os.listdir("/proc/self/fd"))

        with ProcessExecutor(1) as executor:
            mapped(executor, abs, [1])
        before, threads = descriptors(), threading.active_count()
        for _ in range(2):
            with ProcessExecutor(WORKERS) as executor:
                mapped(executor, lambda number: os._exit(3) if number % 2 else number, range(6))
        assert (descriptors(), threading.active_count()) == (before, threads)

    def test_an_executor_that_nobody_shuts_down_does_not_keep_the_program_from_ending(self):
        code = (
            "from luisy_dir.engines.processes import ProcessExecutor\n"
            "if __name__ == '__main__':\n"
            "    executor = ProcessExecutor(2)\n"
            "    print(executor.submit(pow, 2, 5).result())\n"
        )
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PATIENCE_SECONDS, check=True)
        assert ended.stdout == b"32\n"


class TestRunsUnderFire:
    """Workers are killed again and again while a task runs."""

    @pytest.mark.parametrize("seed", range(2))
    @pytest.mark.parametrize("is_update", [False, True], ids=["first build", "update"])
    def test_each_item_is_begun_once_and_published_or_named(self, fill, notes, seed, is_update, monkeypatch):
        monkeypatch.setattr(processes, "_DEATHS_IN_VAIN", 1_000)
        if is_update:
            fill({}, 200, word="earlier", age_seconds=600.0)
            Perilous().run()
            (notes.folder / "begun").unlink()
        texts = fill({f"{number:03d}": f"nap 0.0{number % 4}" for number in range(200)})
        with Killer(seed, kills=20) as killer:
            Perilous().run()
        found = entries(Perilous())
        lost = {key for key, entry in found.items() if entry.status == "failed"}
        check(Perilous(), texts, lost)
        assert len(lost) <= killer.kills
        assert {found[key].error.type for key in lost} <= {"WorkerDied"}
        assert max(begun(notes).values()) == 1


class TestOrphans:
    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends a child with its parent")
    def test_a_worker_that_loops_in_c_ends_with_its_parent(self, fill, notes, tmp_path):
        """No thread of the worker itself could end it."""
        fill({"a": "loop"})
        script = tmp_path / "looping.py"
        script.write_text("from perils import Perilous\nif __name__ == '__main__':\n    Perilous().run()\n")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "LUISY_DIR_WORKING_DIR": str(tmp_path)}
        parent = subprocess.Popen([sys.executable, script], env=environment)
        try:
            wait_until(lambda: notes("begun"))
            workers = psutil.Process(parent.pid).children(recursive=True)
        finally:
            parent.kill()
            parent.wait()
        wait_until(lambda: not any(is_there(worker.pid) for worker in workers))
