"""Life inside Luigi: its command line, its build function, its workers and its ways of starting processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time

import luigi
import psutil
import pytest
from conftest import files_below
from pipelines import Letters, Slow, Upper, length

import luisy_dir as luisy
from luisy_dir.manifest import read_manifest

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LUIGI = os.path.join(sysconfig.get_path("scripts"), "luigi")

# Every task is incomplete when Luigi begins, so that what it exits with speaks of the run.
TASK_FAILED, MISSING_DATA = 30, 20


def luigi_command(*arguments, **environment):
    """Run ``luigi`` in a process of its own, with the shipped luigi.cfg; every warning is an error."""
    return subprocess.run(
        [sys.executable, "-W", "error", LUIGI, "--module", "pipelines", *arguments, "--local-scheduler", "--no-lock"],
        env=os.environ
        | {
            "PYTHONPATH": os.path.join(REPOSITORY, "tests"),
            "LUIGI_CONFIG_PATH": os.path.join(REPOSITORY, "luigi.cfg"),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def build(*tasks, workers=1, **options):
    return luigi.build(list(tasks), local_scheduler=True, workers=workers, log_level="WARNING", **options)


@pytest.fixture
def letters(write_files):
    return write_files(Letters().output().path, {"a.txt": b"alpha", "b.txt": b"beta"})


class TestCommandLine:
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_three_layers_run(self, letters, working_dir, workers):
        answer = luigi_command("length", "--workers", workers, "--luisy-dir-working-dir", str(working_dir))
        assert answer.returncode == 0, answer.stderr
        assert [data for _, data in length().items()] == [5, 4]

    def test_a_second_time_there_is_nothing_to_do(self, letters, working_dir):
        arguments = ("length", "--luisy-dir-working-dir", str(working_dir))
        luigi_command(*arguments)
        answer = luigi_command(*arguments)
        assert answer.returncode == 0
        assert "1 complete ones were encountered" in answer.stderr

    def test_it_prints_no_warning(self, letters, working_dir):
        answer = luigi_command("length", "--luisy-dir-working-dir", str(working_dir))
        assert "Warning" not in answer.stderr
        assert "WARNING" not in answer.stderr

    def test_a_failed_item_is_an_exit_code_and_a_message(self, write_files, working_dir):
        write_files(Letters().output().path, {"a.txt": b"fine", "b.txt": b"fail now"})
        answer = luigi_command("Strict", "--luisy-dir-working-dir", str(working_dir))
        assert answer.returncode == TASK_FAILED
        assert "b: ValueError: cannot read 'fail now'" in answer.stderr

    def test_a_missing_raw_folder_is_missing_data_with_one_warning(self, working_dir):
        answer = luigi_command("length", "--luisy-dir-working-dir", str(working_dir))
        assert answer.returncode == MISSING_DATA
        assert answer.stderr.count("is not there") == 1
        assert not os.path.exists(Upper().get_outdir())

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_a_stale_directory_is_brought_up_to_date_with_all_that_stands_on_it(
        self, letters, working_dir, write_files, workers
    ):
        arguments = ("length", "--workers", workers, "--luisy-dir-working-dir", str(working_dir))
        luigi_command(*arguments)
        write_files(letters, {"a.txt": b"alphabet", "c.txt": b"gamma"}, age_seconds=30)
        answer = luigi_command(*arguments)
        assert answer.returncode == 0, answer.stderr
        assert [data for _, data in length().items()] == [8, 4, 5]
        assert length().complete()
        assert answer.stderr.count("generation 2; 1 unchanged") == 2

    def test_too_many_files_that_are_gone_at_once_are_a_failed_task(self, write_files, working_dir):
        """Is the disk mounted? Nothing is removed unless somebody says that it is meant."""
        letters = write_files(Letters().output().path, {f"{number}.txt": b"text" for number in range(4)})
        arguments = ("Upper", "--luisy-dir-working-dir", str(working_dir))
        luigi_command(*arguments)
        for number in range(3):
            os.remove(os.path.join(letters, f"{number}.txt"))
        answer = luigi_command(*arguments)
        assert answer.returncode == TASK_FAILED
        assert "TooManyDeletedError" in answer.stderr
        assert len(files_below(Upper().output().path)) == 4
        answer = luigi_command(*arguments, "--luisy-dir-max-deleted", "1.0")
        assert answer.returncode == 0, answer.stderr
        assert files_below(Upper().output().path) == ["3.txt"]

    def test_settings_come_as_flags_and_as_environment(self, letters, working_dir):
        answer = luigi_command(
            "Upper", "--luisy-dir-durability", "none", "--luisy-dir-seed", "5", LUISY_DIR_WORKING_DIR=str(working_dir)
        )
        assert answer.returncode == 0, answer.stderr
        record = Upper().output().manifest().record
        assert (record.durability, record.parts["seed"]) == ("none", 5)

    def test_a_wrong_setting_says_where_it_comes_from(self, letters, working_dir):
        answer = luigi_command("Upper", "--luisy-dir-engine", "proceses", LUISY_DIR_WORKING_DIR=str(working_dir))
        assert answer.returncode != 0
        assert "'proceses', from the flag --luisy-dir-engine. Allowed: serial, threads, processes" in answer.stderr

    def test_help_shows_the_settings(self):
        answer = luigi_command("Upper", "--help-all")
        assert "--luisy-dir-engine" in answer.stdout


class TestBuild:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_three_layers_run(self, letters, workers):
        assert build(length(), workers=workers)
        assert length().complete()

    def test_a_task_that_ran_by_hand_is_done_for_luigi(self, letters):
        Upper().run()
        answer = build(Upper(), detailed_summary=True)
        assert answer.status == luigi.LuigiStatusCode.SUCCESS
        assert answer.worker.run_succeeded

    def test_two_builds_in_one_process_each_look_afresh(self, letters, write_files):
        """Files that arrive between two builds are seen by the second."""
        assert build(Upper())
        write_files(letters, {"c.txt": b"gamma"})
        assert build(Upper())
        assert len(list(Upper().read())) == 3
        os.remove(os.path.join(letters, "a.txt"))
        assert build(Upper())
        assert list(Upper().read()) == ["BETA", "GAMMA"]
        assert read_manifest(Upper().output().path).record.generation == 3

    def test_two_directories_may_be_made_side_by_side(self, letters):
        assert build(Upper(), Slow(seconds=0.0), workers=2)
        assert Upper().complete()
        assert Slow(seconds=0.0).complete()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_raw_folder_that_grows_all_the_while_ends_in_success(letters, working_dir, workers):
    """A run's items are those of its start; files that arrive later are for the next invocation."""
    stop = threading.Event()

    def grow():
        number = 0
        while not stop.wait(0.01):
            number += 1
            path = os.path.join(letters, f"new{number:05d}.txt")
            with open(os.path.join(letters, ".arriving"), "w") as file:
                file.write("new")
            os.rename(os.path.join(letters, ".arriving"), path)

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        answer = luigi_command("length", "--workers", workers, "--luisy-dir-working-dir", str(working_dir))
    finally:
        stop.set()
        thread.join()
    assert answer.returncode == 0, answer.stderr
    assert not length().complete()
    assert "new" in length().plan().counts or not Upper().complete()


def test_what_was_complete_when_luigi_began_stays_so_while_its_folder_grows(letters, working_dir, write_files):
    """Else a dependent that runs later would fail with "Unfulfilled dependency at run time"."""
    Upper().run()

    class Grow(luigi.Task):
        def output(self):
            return luigi.LocalTarget(str(working_dir / "grown"))

        def run(self):
            write_files(letters, {"c.txt": b"gamma"})
            self.output().open("w").close()

    class Both(luigi.Task):
        is_done = False

        def requires(self):
            return [Upper(), Grow()]

        def complete(self):
            return type(self).is_done

        def run(self):
            type(self).is_done = True

    assert build(Both())


class TestSpawn:
    """Python 3.14 starts processes by forkserver; a task must cross with its settings."""

    def test_a_task_finds_its_settings_in_a_child(self, letters, working_dir):
        context = multiprocessing.get_context("spawn")
        queue = context.Queue()
        child = context.Process(target=_answer_with_path, args=(pickle.dumps(Upper()), queue))
        child.start()
        path = queue.get(timeout=60)
        child.join()
        queue.close()
        queue.join_thread()
        assert path == str(working_dir / "pipelines" / "interim" / "Upper")

    def test_luigi_may_spawn_its_task_processes(self, letters, working_dir):
        script = (
            "import multiprocessing, sys, luigi\n"
            "from luigi.cmdline import luigi_run\n"
            "if __name__ == '__main__':\n"
            "    multiprocessing.set_start_method('spawn')\n"
            "    sys.exit(luigi_run(sys.argv[1:]))\n"
        )
        (working_dir / "spawning.py").write_text(script)
        answer = subprocess.run(
            [sys.executable, str(working_dir / "spawning.py"), "--module", "pipelines", "length", "--local-scheduler",
             "--workers", "2", "--luisy-dir-working-dir", str(working_dir), "--luisy-dir-seed", "3"],
            env=os.environ | {"PYTHONPATH": os.path.join(REPOSITORY, "tests")},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
        assert length().output().manifest().record.parts["seed"] == 3


def _answer_with_path(pickled, queue):
    queue.put(pickle.loads(pickled).output().path)


class TestSignals:
    """Whatever signal luigi gets, no process of ours is left and nothing half is published."""

    @pytest.mark.parametrize("engine", ["serial", "threads", "processes", "async", "loky:get_reusable_executor"])
    @pytest.mark.parametrize("workers", ["1", "2"])
    @pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM", "SIGKILL"])
    def test_no_process_is_left(self, write_files, working_dir, signal_name, workers, engine):
        write_files(Letters().output().path, {f"{number:03d}.txt": b"x" for number in range(200)})
        traces = working_dir / "traces"
        traces.mkdir()
        luigi_process = subprocess.Popen(
            [LUIGI, "--module", "pipelines", "Slow", "--traces", str(traces), "--local-scheduler", "--workers", workers,
             "--no-lock", "--luisy-dir-working-dir", str(working_dir), "--luisy-dir-engine", engine],
            env=os.environ | {"PYTHONPATH": os.path.join(REPOSITORY, "tests")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(lambda: len(os.listdir(traces)) > 4)
        children = psutil.Process(luigi_process.pid).children(recursive=True)
        luigi_process.send_signal(getattr(signal, signal_name))
        luigi_process.wait(timeout=60)
        wait_until(lambda: all(map(has_ended, children)), seconds=20)
        assert not os.path.exists(Slow().output().path)


def has_ended(process):
    """Whether a process is gone, or waits for nothing but whoever should look at its exit code."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(is_true, seconds=60):
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    subprocess.run([sys.executable, "-m", "luisy_dir.demo.images", str(folder)], check=True)
    return folder


class TestDemo:
    """The demo over real images, as it is in examples/."""

    def command(self, working_dir):
        environment = os.environ | {
            "PYTHONPATH": os.path.join(REPOSITORY, "examples"),
            "LUISY_DIR_WORKING_DIR": str(working_dir),
            "LUIGI_CONFIG_PATH": os.path.join(REPOSITORY, "luigi.cfg"),
        }
        return [LUIGI, "--module", "red_channel", "RedChannel", "--local-scheduler", "--no-lock"], environment

    def test_it_publishes_the_red_channel_of_every_image(self, images, working_dir):
        import numpy as np  # here, because workers import this module
        from skimage import io

        shutil.copytree(images, working_dir / "red_channel" / "raw" / "images")
        command, environment = self.command(working_dir)
        subprocess.run(command, env=environment, check=True, capture_output=True)

        final = working_dir / "red_channel" / "final" / "RedChannel"
        names = files_below(images)
        assert len(names) >= 200
        assert files_below(final) == [name.replace(".png", ".npy") for name in names]
        for name in names[::40]:
            assert (np.load(final / name.replace(".png", ".npy")) == io.imread(images / name)[..., 0]).all()

    def test_killed_at_twenty_random_moments_it_never_publishes_a_half(self, images, working_dir):
        """Each directory is whole or absent, and the next plain run puts everything right."""
        shutil.copytree(images, working_dir / "red_channel" / "raw" / "images")
        project = working_dir / "red_channel"
        command, environment = self.command(working_dir)
        begin = time.monotonic()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        whole_run = time.monotonic() - begin
        expected = {layer: files_below(project / layer) for layer in ("interim", "final")}
        killed = 0
        for _ in range(20):
            for layer in ("interim", "final"):
                shutil.rmtree(project / layer, ignore_errors=True)
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(random.uniform(0.3, 1.0) * whole_run)
            workers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
            wait_until(lambda workers=workers: all(map(has_ended, workers)))
            for layer, folder in (("interim", "ToNumpy"), ("final", "RedChannel")):
                if (project / layer / folder).exists():
                    assert read_manifest(str(project / layer / folder)) is not None
                    assert files_below(project / layer) == expected[layer]
        assert killed >= 5, "the fault did not fire"
        shutil.rmtree(project / "interim" / "ToNumpy", ignore_errors=True)
        shutil.rmtree(project / "final" / "RedChannel", ignore_errors=True)
        subprocess.run(command, env=environment, check=True, capture_output=True)
        for layer, folder in (("interim", "ToNumpy"), ("final", "RedChannel")):
            assert os.listdir(project / layer) == [folder], "litter is left"
            assert files_below(project / layer) == expected[layer]


def test_run_by_hand_needs_no_worker(letters):
    """set_status_message and its like are None outside a worker."""
    task = Upper()
    assert task.set_status_message is None
    task.run()
    assert task.complete()


def test_a_worker_that_needs_the_core_alone_imports_neither_luigi_nor_what_is_heavy():
    heavy = ("luigi", "pandas", "skimage", "asyncio", "luisy_dir.engines.cluster")
    code = f"import luisy_dir.runner, sys; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_importing_the_package_and_its_names_loads_neither_pandas_nor_skimage():
    code = (
        "import luisy_dir, sys\n"
        "for name in luisy_dir.__all__: getattr(luisy_dir, name)\n"
        "print([name for name in ('pandas', 'skimage', 'imageio', 'scipy') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
    assert luisy.__version__
