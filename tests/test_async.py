"""The async engine: coroutines of many items side by side on one event loop, with the same result as any other."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time

import pytest
from conftest import files_below
from pipelines import Letters, Upper

import luisy_dir as luisy
from luisy_dir.engines import open_engine
from luisy_dir.engines.event_loop import AsyncExecutor, plain, resolved
from luisy_dir.errors import DefinitionError, ItemsFailedError, SetupError

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


async def read_later(filepath):
    await asyncio.sleep(0.001)
    if filepath.endswith(".txt"):
        with open(filepath) as file:  # noqa: ASYNC230 - a short one
            return file.read()
    return None


@luisy.project_name("pipelines")
@luisy.make_directory_output(read_later)
@luisy.raw
class LaterLetters(luisy.ExternalTask):
    def get_folder_name(self):
        return "letters"


class Meter:
    """Counts how many coroutines are between two points at the same time."""

    now = most = 0

    async def __aenter__(self):
        self.now += 1
        self.most = max(self.most, self.now)

    async def __aexit__(self, *_):
        self.now -= 1


@luisy.interim
@luisy.requires(LaterLetters)
@luisy.directory_output(".txt", engine="async", workers=8)
class Shouted(luisy.DirectoryTask):
    """Waits as for a network, and shouts."""

    async def setup(self):
        self.loop = asyncio.get_running_loop()
        self.meter = type(self).last_meter = Meter()
        type(self).setups = getattr(type(self), "setups", 0) + 1

    async def process(self, text, item):
        assert asyncio.get_running_loop() is self.loop
        async with self.meter:
            await asyncio.sleep(0.02)
        item.meta["noise"] = item.rng.random()
        if text == "fail":
            raise ValueError("cannot shout this")
        return text.upper() if text != "none" else None


@luisy.interim
@luisy.requires(LaterLetters)
@luisy.directory_output(".txt", engine="async", workers=3)
class Spelled(luisy.DirectoryTask):
    """Each letter as an output of its own, by an asynchronous generator."""

    async def process(self, text):
        for number, letter in enumerate(text):
            await asyncio.sleep(0)
            if letter == "!":
                raise ValueError("not a letter")
            yield luisy.Output(letter, key=str(number))


async def connect():
    await asyncio.sleep(0)
    return "connected"


@luisy.final
@luisy.requires(LaterLetters)
@luisy.directory_task(".txt", engine="async", workers=2, setup=connect)
async def greeted(text, state):
    return f"{state}: {text}"


@luisy.final
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="async", workers=4)
class Asleep(luisy.DirectoryTask):
    async def process(self, text):
        await asyncio.sleep(3600)
        return text


@luisy.final
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="async", workers=4)
class Odd(luisy.DirectoryTask):
    """Does what its letter says."""

    async def process(self, text):
        if text == "wait":
            await asyncio.sleep(3600)
        if text == "exit":
            sys.exit(3)
        if text == "fail":
            raise ValueError(text)
        return text


@pytest.fixture
def letters(write_files):
    return write_files(Letters().output().path, {f"{number:02d}.txt": b"hello" for number in range(24)})


class TestItems:
    def test_many_wait_side_by_side_but_never_more_than_there_are_workers(self, letters):
        Shouted().run()
        assert list(Shouted().read()) == ["HELLO"] * 24
        assert 2 <= Shouted.last_meter.most <= 8

    def test_setup_runs_once_and_what_it_makes_is_shared(self, letters):
        Shouted.setups = 0
        Shouted().run()
        assert Shouted.setups == 1

    def test_the_result_is_that_of_a_plain_task(self, letters):
        """Same keys, same bytes."""
        Shouted().run()
        Upper().run()
        assert [(item.key, data) for item, data in Shouted().items()] == [
            (item.key, data) for item, data in Upper().items()
        ]

    def test_random_numbers_do_not_depend_on_the_number_of_workers(self, letters, monkeypatch):
        Shouted().run()
        eight = Shouted().report()["noise"]
        Shouted().clean()
        monkeypatch.setenv("LUISY_DIR_WORKERS", "1")
        Shouted().run()
        assert Shouted().report()["noise"].equals(eight)

    def test_a_coroutine_that_fails_is_a_row_with_a_reason(self, write_files, monkeypatch):
        write_files(Letters().output().path, {"a.txt": b"fail", "b.txt": b"none", "c.txt": b"fine", "d.jpg": b""})
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        Shouted().run()
        report = Shouted().report()
        assert report["status"].to_dict() == {"a": "failed", "b": "rejected", "c": "written", "d": "skipped"}
        assert report["error"]["a"] == "cannot shout this"

    def test_an_asynchronous_generator_writes_several_outputs(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"hi"})
        Spelled().run()
        assert {item.key: data for item, data in Spelled().items()} == {"a/0": "h", "a/1": "i"}

    def test_an_asynchronous_generator_that_dies_half_way_leaves_no_outputs(self, write_files, monkeypatch):
        write_files(Letters().output().path, {"a.txt": b"hi!", "b.txt": b"ok"})
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        Spelled().run()
        assert files_below(Spelled().output().path) == ["b/0.txt", "b/1.txt"]

    def test_a_function_may_be_async_and_its_setup_too(self, letters):
        greeted().run()
        assert next(greeted().read()) == "connected: hello"

    def test_plain_functions_run_on_it_as_well(self, letters, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_ENGINE", "async")
        Upper().run()
        assert list(Upper().read()) == ["HELLO"] * 24

    def test_more_failures_than_allowed_end_the_run_and_leave_no_coroutine(self, write_files):
        write_files(Letters().output().path, {f"{number:02d}.txt": b"fail" for number in range(50)})
        with pytest.raises(ItemsFailedError):
            Shouted().run()
        assert Shouted.last_meter.now == 0

    def test_a_spent_error_budget_does_not_wait_for_coroutines_that_never_end(self, write_files):
        """They are cancelled, and are not to blame: the report knows the one that failed."""
        files = {f"{number:02d}.txt": b"wait" for number in range(20)}
        write_files(Letters().output().path, files | {"00.txt": b"fail"})
        with pytest.raises(ItemsFailedError):
            Odd().run()
        assert Odd().report()["status"].to_dict() == {"00": "failed"}

    def test_a_coroutine_that_exits_the_program_costs_its_own_item_only(self, write_files, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        files = {f"{number:03d}.txt": b"fine" for number in range(100)}
        write_files(Letters().output().path, files | {"020.txt": b"exit"})
        Odd().run()
        report = Odd().report()
        assert report["status"].value_counts().to_dict() == {"written": 99, "failed": 1}
        assert report["error_type"]["020"] == "SystemExit"

    def test_an_error_in_an_async_setup_is_a_setup_error(self, letters, monkeypatch):
        async def fail(self):
            raise OSError("no network")

        monkeypatch.setattr(Shouted, "setup", fail)
        with pytest.raises(SetupError, match="no network"):
            Shouted().run()


class TestWhereThereIsNoEventLoop:
    @pytest.mark.parametrize("engine", ["serial", "threads", "processes"])
    def test_an_async_process_is_refused_before_any_work(self, letters, monkeypatch, engine):
        monkeypatch.setenv("LUISY_DIR_ENGINE", engine)
        with pytest.raises(DefinitionError, match=r"process, .*the reader of LaterLetters .*'async'"):
            Shouted().run()
        assert not os.path.exists(Shouted().get_outdir())

    def test_a_plain_function_that_returns_a_coroutine_is_told_so(self):
        with pytest.raises(DefinitionError, match="only the engine 'async'"):
            resolved(connect())
        gc.collect()  # nobody complains of a coroutine that was never awaited

    def test_a_raw_directory_with_an_async_reader_can_be_read_by_hand(self, letters):
        assert list(LaterLetters().read()) == ["hello"] * 24

    def test_also_from_inside_a_running_event_loop(self, letters):
        """As in a notebook."""

        async def read():
            return list(LaterLetters().read())

        assert asyncio.run(read()) == ["hello"] * 24

    def test_two_files_of_one_key_are_told_apart_by_an_async_reader(self, letters, write_files):
        write_files(letters, {"00.jpg": b"not ours"})
        Shouted().run()
        assert len(list(Shouted().read())) == 24


class TestTheExecutor:
    def test_it_is_what_the_word_opens(self):
        with open_engine("async", 2) as executor:
            assert isinstance(executor, AsyncExecutor)

    def test_coroutines_that_nobody_waits_for_are_cancelled_at_the_end(self):
        ended = threading.Event()

        async def linger():
            try:
                await asyncio.sleep(3600)
            finally:
                ended.set()

        async def begin():
            begin.task = asyncio.create_task(linger())
            await asyncio.sleep(0)

        with AsyncExecutor(1) as executor:
            executor.submit(lambda: resolved(begin())).result()
        assert ended.is_set()

    def test_kill_cancels_what_is_under_way(self):
        with AsyncExecutor(2) as executor:
            futures = [executor.submit(lambda: resolved(asyncio.sleep(3600))) for _ in range(2)]
            deadline = time.monotonic() + 30
            while not all(future.running() for future in futures) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.05)
            executor.kill()
            for future in futures:
                with pytest.raises(BaseException):  # noqa: B017 - a CancelledError, of one kind or the other
                    future.result(timeout=30)

    def test_a_plain_function_starts_no_event_loop(self):
        with plain(len) as function:
            assert function("abc") == 3
            assert not [thread for thread in threading.enumerate() if "event-loop" in thread.name]

    def test_whatever_can_be_awaited_is_awaited(self):
        """Not only what is written as ``async def``."""
        with plain(lambda: connect()) as function:  # noqa: PLW0108 - no coroutine function
            assert function() == "connected"


@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_coroutines_that_would_wait_for_ever(letters, working_dir, signal_name):
    process = subprocess.Popen(
        [os.path.join(sysconfig.get_path("scripts"), "luigi"), "--module", "test_async", "Asleep", "--local-scheduler",
         "--no-lock", "--luisy-dir-working-dir", str(working_dir)],
        env=os.environ | {"PYTHONPATH": os.path.join(REPOSITORY, "tests"), "PYTHON": sys.executable},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    staging = os.path.join(Asleep().get_outdir(), ".Asleep.staging")
    while not os.path.isdir(staging) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(getattr(signal, signal_name))
    assert process.wait(timeout=30) != 0
    assert not os.path.exists(Asleep().output().path)
