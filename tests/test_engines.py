"""The engines: one test body for all of them, because they must give one answer."""

import itertools
import multiprocessing
import multiprocessing.spawn
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections import Counter
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import closing, suppress
from xml.sax import SAXParseException
from xml.sax.xmlreader import Locator

import numpy as np
import psutil
import pytest

from luisy_dir.engines import ENGINES, mapping, open_engine
from luisy_dir.engines.child import end_with_parent
from luisy_dir.engines.loss import Loss, WorkerLost
from luisy_dir.engines.mapping import map_unordered
from luisy_dir.engines.processes import ProcessExecutor
from luisy_dir.engines.serial import SerialExecutor
from luisy_dir.engines.worker import _without_main
from luisy_dir.errors import DefinitionError, SettingError

FOREIGN = "loky:get_reusable_executor"
WORKERS = 2
LARGEST_CHUNK = 1000
PATIENCE_SECONDS = 30


@pytest.fixture(params=[*ENGINES, FOREIGN])
def executor(request):
    """Every engine in turn, with two workers."""
    with open_engine(request.param, WORKERS) as opened:
        yield opened


@pytest.fixture(params=["processes", FOREIGN])
def executor_of_processes(request):
    """Every engine with worker processes."""
    with open_engine(request.param, WORKERS) as opened:
        yield opened


def mapped(executor, function, things):
    """What a map yields, all of it."""
    with closing(map_unordered(executor, function, things, workers=WORKERS)) as results:
        return list(results)


# -- one answer -------------------------------------------------------------------------------------------------------


def test_an_engine_is_an_executor_of_the_standard_library(executor):
    assert isinstance(executor, Executor)
    assert executor.submit(pow, 2, 5).result() == 32


def test_everything_is_done_exactly_once(executor):
    offset = 7

    results = mapped(executor, lambda number: number + offset, range(1500))

    assert Counter(results) == Counter(range(7, 1507))


def test_nothing_to_do_is_no_result(executor):
    assert mapped(executor, abs, []) == []


def test_any_value_crosses_both_ways(executor):
    """Also None, bytes, and an error that is a value."""

    class Local:
        def __eq__(self, other):
            return type(other).__name__ == "Local"

        __hash__ = None

    things = [None, b"bytes", (1, [2]), "\udcff", ValueError("a value"), Local(), Ellipsis, lambda: 5]

    def describe(thing):
        return repr(thing) if not isinstance(thing, type(describe)) else thing()

    shown = mapped(executor, describe, things)
    results = mapped(executor, lambda thing: thing, [None, b"bytes", (1, [2]), "\udcff"])

    assert {"None", "b'bytes'", "(1, [2])", "'\\udcff'", "ValueError('a value')", "Ellipsis", 5} < set(shown)
    assert Counter(map(repr, results)) == Counter(["None", "b'bytes'", "(1, [2])", "'\\udcff'"])


def test_an_array_crosses_both_ways(executor):
    [result] = mapped(executor, lambda array: array * 2, [np.arange(6).reshape(2, 3)])

    assert result.tolist() == [[0, 2, 4], [6, 8, 10]]


def test_no_more_is_worked_on_at_the_same_time_than_there_are_workers(executor):
    def who(_):
        return os.getpid(), threading.get_ident()

    assert 1 <= len(set(mapped(executor, who, range(200)))) <= WORKERS


def test_an_engine_that_was_closed_takes_no_more_work(executor):
    """As the standard library has it."""
    executor.shutdown()

    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(abs, -1)


# -- a bounded look-ahead ---------------------------------------------------------------------------------------------


class Source:
    """Numbers that are counted as they are pulled."""

    def __init__(self, end=None):
        self.pulled = 0
        self._numbers = itertools.count() if end is None else range(end)

    def __iter__(self):
        for number in self._numbers:
            self.pulled += 1
            assert self.pulled < 100_000, "the look-ahead has no bound"
            yield number


def test_two_things_a_worker_are_pulled_before_the_first_result(executor):
    """Of a source without an end."""
    source = Source()

    with closing(map_unordered(executor, abs, source, workers=WORKERS)) as results:
        next(results)

    assert source.pulled == 2 * WORKERS


def test_never_more_than_two_chunks_a_worker_are_under_way(executor):
    """Neither things nor results pile up, however many there are and however slowly they are taken."""
    source, received, furthest = Source(end=20_000), 0, 0

    with closing(map_unordered(executor, abs, source, workers=WORKERS)) as results:
        for _ in results:
            received += 1
            furthest = max(furthest, source.pulled - received)

    assert received == 20_000
    assert furthest <= 2 * WORKERS * LARGEST_CHUNK


def test_nothing_is_pulled_before_somebody_asks(executor):
    source = Source()

    map_unordered(executor, abs, source, workers=WORKERS).close()

    assert source.pulled == 0


# -- closing ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path):
    """A function that notes when it begins and when it ends, and what was noted."""
    path = str(tmp_path / "log")

    def work(number):
        with open(path, "a") as file:
            file.write(f"begin {number}\n")
        if number == "fail":
            raise ValueError("a bad thing")
        time.sleep(0.03)
        with open(path, "a") as file:
            file.write(f"end {number}\n")

    def noted():
        with open(path) as file:
            return file.read().splitlines()

    return work, noted


def test_closing_early_cancels_what_has_not_begun_and_waits_for_what_has(executor, log):
    """Afterwards a staging may be removed: no worker writes into it any more."""
    work, noted = log

    with closing(map_unordered(executor, work, range(300), workers=WORKERS)) as results:
        next(results)
    then = noted()

    begun, ended = ({line.split()[1] for line in then if line.startswith(word)} for word in ("begin", "end"))
    assert begun == ended
    assert len(begun) < 100
    executor.shutdown()
    assert noted() == then


@pytest.mark.parametrize("name", ["threads", "processes", FOREIGN])
def test_closing_early_does_not_wait_for_what_was_sent_but_has_not_begun(name, log):
    """Ctrl-C on a hundred slow things is answered after those in hand."""
    work, noted = log

    with (
        open_engine(name, WORKERS) as executor,
        closing(map_unordered(executor, work, range(100), workers=50)) as results,
    ):
        next(results)

    assert len(noted()) < 100


def test_an_error_reaches_the_caller_after_the_other_workers_are_done(executor, log):
    work, noted = log

    with (
        pytest.raises(ValueError, match="a bad thing"),
        closing(map_unordered(executor, work, [1, 2, 3, "fail", *range(4, 300)], workers=WORKERS)) as results,
    ):
        list(results)
    then = noted()

    begun, ended = ({line.split()[1] for line in then if line.startswith(word)} for word in ("begin", "end"))
    assert begun - ended == {"fail"}
    executor.shutdown()
    assert noted() == then


def test_an_error_of_the_source_reaches_the_caller_after_the_workers_are_done(executor, log):
    work, noted = log

    def source():
        yield from range(6)
        raise OSError("the disk is gone")

    with (
        pytest.raises(OSError, match="the disk is gone"),
        closing(map_unordered(executor, work, source(), workers=WORKERS)) as results,
    ):
        list(results)
    then = noted()

    assert sum(line.startswith("begin") for line in then) == sum(line.startswith("end") for line in then)
    executor.shutdown()
    assert noted() == then


@pytest.mark.parametrize("how", ["closed early", "ended by an error"])
def test_an_engine_can_be_used_again(executor, how):
    def fail(number):
        raise ValueError(number)

    function = abs if how == "closed early" else fail
    with suppress(ValueError), closing(map_unordered(executor, function, Source(), workers=WORKERS)) as results:
        next(results)

    assert sorted(mapped(executor, abs, [-1, -2, -3])) == [1, 2, 3]


# -- errors -----------------------------------------------------------------------------------------------------------


def test_an_error_keeps_its_type_and_its_arguments(executor):
    def fail(number):
        raise KeyError("a", number)

    with pytest.raises(KeyError) as caught:
        mapped(executor, fail, [5])

    assert caught.value.args == ("a", 5)


def test_an_error_that_cannot_be_unpickled_still_says_what_happened(executor):
    """As this one of the standard library, whose ``__init__`` takes more arguments than it passes on.

    It would show up as a broken pool, and the blame would fall on the memory.
    """

    def fail(number):
        raise SAXParseException("mismatched tag", None, Locator())

    with pytest.raises(Exception, match="mismatched tag"):
        mapped(executor, fail, [5])


def test_an_error_whose_message_breaks_is_an_error_all_the_same(executor):
    class Broken(Exception):
        def __str__(self):
            raise ZeroDivisionError

    def fail(number):
        raise Broken

    with pytest.raises(Exception, check=lambda error: "Broken" in repr(error)):  # noqa: B017 - its name is checked
        mapped(executor, fail, [5])


def test_a_result_that_cannot_be_pickled_is_an_error(executor_of_processes):
    with pytest.raises(Exception, match="pickle"):
        mapped(executor_of_processes, lambda number: threading.Lock(), [5])


def test_a_worker_that_dies_is_an_error_and_no_endless_wait(executor_of_processes):
    with pytest.raises(BrokenExecutor):
        mapped(executor_of_processes, lambda number: os._exit(3) if number == 5 else number, range(10))


def test_a_worker_that_dies_while_others_are_being_started_leaves_nobody_waiting(monkeypatch):
    started, start = [], multiprocessing.context.SpawnProcess.start

    def start_slowly(process):
        start(process)
        started.append(process)
        if len(started) == 1:
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.3)  # in which its death could be noticed, before anybody knows of this worker

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", start_slowly)
    with ProcessExecutor(3) as executor:
        futures = [executor.submit(abs, -1) for _ in range(3)]
        errors = [future.exception(timeout=30) for future in futures]

    assert [error for error in errors if not isinstance(error, (BrokenExecutor, type(None)))] == []
    assert errors.count(None) >= 2


def test_stop_iteration_is_an_error_like_any_other(executor):
    """It must not look like the end of the results."""

    def stop(number):
        raise StopIteration(number)

    with pytest.raises(RuntimeError):
        mapped(executor, stop, [5])


# -- chunks -----------------------------------------------------------------------------------------------------------


class Recording(SerialExecutor):
    """Remembers how many things came in each chunk."""

    def __init__(self):
        self.sizes = []

    def submit(self, function, /, *args):
        self.sizes.append(len(args[1]))
        return super().submit(function, *args)


def test_chunks_of_quick_things_grow_up_to_a_limit():
    """Sending a thing costs more than doing it."""
    executor = Recording()

    mapped(executor, abs, range(20_000))

    assert executor.sizes[0] == 1
    assert LARGEST_CHUNK / 10 < max(executor.sizes) <= LARGEST_CHUNK


def test_a_chunk_is_cut_short_where_things_turn_out_to_be_slow():
    """A thousand quick things are no reason to hold a worker for the thousand slow ones that follow."""
    executor = Recording()
    things = [0.0] * 3_000 + [0.3] * 12

    assert len(mapped(executor, time.sleep, things)) == len(things)

    assert max(executor.sizes) == LARGEST_CHUNK
    assert len(executor.sizes) > 8


def test_chunks_of_slow_things_stay_small():
    """Workers finish together, and Ctrl-C is answered soon: a chunk takes a fifth of a second."""
    executor = Recording()

    mapped(executor, time.sleep, [0.02] * 30)

    assert max(executor.sizes) <= 10


def test_a_chunk_takes_a_fifth_of_a_second():
    size = mapping._ChunkSize()
    for _ in range(10):
        size.learn(0.002 * size.next, size.next)

    assert size.next == 100


def test_chunks_do_not_grow_at_one_bound():
    """The first thing may be an exception: an empty file, or one that is skipped."""
    size, sizes = mapping._ChunkSize(), []
    for _ in range(7):
        sizes.append(size.next)
        size.learn(0.0, size.next)

    assert sizes == [1, 4, 16, 64, 256, 1000, 1000]


def test_chunks_shrink_at_once_when_things_get_slower():
    size = mapping._ChunkSize()
    for _ in range(10):
        size.learn(0.0, size.next)

    size.learn(100.0, size.next)

    assert size.next == 2


def test_a_chunk_is_never_empty():
    size = mapping._ChunkSize()

    size.learn(3600.0, 1)

    assert size.next == 1


# -- worker processes -------------------------------------------------------------------------------------------------


def test_a_function_is_unpickled_once_a_worker(executor_of_processes, tmp_path):
    """It may hold a model of a gigabyte."""
    path = str(tmp_path / "log")

    def note_and_rebuild():
        with open(path, "a") as file:
            file.write(f"{os.getpid()}\n")
        return abs

    class Function:
        def __reduce__(self):
            return note_and_rebuild, ()

        def __call__(self, number):
            raise NotImplementedError

    mapped(executor_of_processes, Function(), range(3000))

    with open(path) as file:
        assert set(Counter(file.read().split()).values()) == {1}


def test_a_worker_begins_with_a_fresh_interpreter(monkeypatch):
    """A fork would copy locks that other threads hold."""
    monkeypatch.setattr(mapping, "made_in_the_parent", True, raising=False)

    with open_engine("processes", 1) as executor:
        assert mapped(executor, lambda _: hasattr(mapping, "made_in_the_parent"), [1]) == [False]


def test_a_worker_leaves_ctrl_c_to_its_parent():
    """The terminal sends it to all of them."""
    with open_engine("processes", 1) as executor:
        assert executor.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN


def test_a_worker_that_is_killed_by_us_ends_at_once():
    with open_engine("processes", 1) as executor:
        future = executor.submit(time.sleep, 300)
        executor.kill()

        with pytest.raises(BrokenExecutor):
            future.result(timeout=PATIENCE_SECONDS)


def test_killing_without_workers_is_harmless():
    executor = ProcessExecutor(1)
    executor.kill()
    executor.shutdown()

    executor.kill()


def test_a_process_of_our_own_is_not_watched():
    """Only multiprocessing's children have a parent to follow."""
    assert multiprocessing.parent_process() is None
    before = threading.active_count()

    end_with_parent()

    assert threading.active_count() == before


def test_a_process_is_watched_once(tmp_path):
    def count_watchdogs(_):
        end_with_parent()
        return [thread.name for thread in threading.enumerate()].count("luisy_dir-watchdog")

    with open_engine("processes", 1) as executor:
        assert mapped(executor, count_watchdogs, [1]) == [1]


# Works on two things in two workers, each of which notes its process number and waits for a file ``release``.
SCRIPT = """
import os, signal, sys, time
from contextlib import closing
from luisy_dir.engines import open_engine
from luisy_dir.engines.mapping import map_unordered

os.chdir(sys.argv[1])
interrupts = 0

def interrupt(*_):
    global interrupts
    interrupts += 1
    open(f"interrupted-{interrupts}", "w").close()
    raise KeyboardInterrupt

def work(folder):
    open(f"{folder}/begun-{os.getpid()}", "w").close()
    end = time.monotonic() + 300
    while not os.path.exists(f"{folder}/release") and time.monotonic() < end:
        time.sleep(0.01)
    open(f"{folder}/ended-{os.getpid()}", "w").close()

if __name__ == "__main__":
    signal.signal(signal.SIGINT, interrupt)
    with (
        open_engine("processes", 2) as executor,
        closing(map_unordered(executor, work, [os.getcwd()] * 4, workers=2)) as results,
    ):
        next(results)
"""


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(is_so):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_so()


class Script:
    """A process with two workers that have begun."""

    def __init__(self, folder):
        (folder / "script.py").write_text(SCRIPT)
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, folder / "script.py", folder], start_new_session=True, stderr=subprocess.PIPE
        )
        wait_until(lambda: len(self.pids("begun")) == WORKERS)
        self.workers = self.pids("begun")

    def pids(self, word):
        return {int(name.partition("-")[2]) for name in os.listdir(self.folder) if name.startswith(f"{word}-")}

    def press_ctrl_c(self, times):
        """As a terminal does: to the parent and to its workers."""
        os.killpg(self.process.pid, signal.SIGINT)
        wait_until(lambda: times in self.pids("interrupted"))

    def end(self):
        """Wait for the process, and return what it wrote."""
        return self.process.communicate(timeout=PATIENCE_SECONDS)[1].decode()

    def clean_up(self):
        (self.folder / "release").touch()
        for pid in (self.process.pid, *self.workers):
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def script(tmp_path):
    running = Script(tmp_path)
    yield running
    running.clean_up()


UNGUARDED = """
from luisy_dir.engines import open_engine
from luisy_dir.engines.mapping import map_unordered

print("runs\\n", end="")  # in one write, or two workers' lines mix where output is not buffered

def double(number):
    return 2 * number

with open_engine("processes", 2, imports_main={imports_main}) as executor:
    print(sorted(map_unordered(executor, double, [1, 2, 3], workers=2)))
"""


@pytest.mark.parametrize(("imports_main", "lines"), [(False, ["runs", "[2, 4, 6]"]), (True, ["runs"])])
def test_a_script_needs_no_guard_where_workers_do_not_import_it(tmp_path, imports_main, lines):
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED.format(imports_main=imports_main))

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)

    assert list(dict.fromkeys(done.stdout.splitlines())) == lines
    assert (done.returncode == 0) is not imports_main
    assert ("if __name__ == '__main__':" in done.stderr) is imports_main


def test_other_processes_are_told_of_the_script_all_the_same():
    tell = multiprocessing.spawn.get_preparation_data
    with _without_main("ours"):
        facts = multiprocessing.spawn.get_preparation_data("theirs")
        ours = multiprocessing.spawn.get_preparation_data("ours")

    assert facts == tell("theirs")
    assert facts.keys() - ours.keys() in ({"init_main_from_name"}, {"init_main_from_path"}, set())
    assert not any(name.startswith("init_main") for name in ours)
    assert multiprocessing.spawn.get_preparation_data is tell


def test_workers_end_when_their_parent_is_killed(script):
    """Whatever they have in hand. A worker that lives on would write into the next run's staging."""
    script.process.kill()
    script.process.wait()

    wait_until(lambda: not any(map(is_alive, script.workers)))


def test_the_first_ctrl_c_lets_workers_finish_what_they_have_begun(script):
    script.press_ctrl_c(1)
    (script.folder / "release").touch()

    assert "KeyboardInterrupt" in script.end()
    assert script.pids("ended") == script.workers


def test_the_second_ctrl_c_kills_the_workers(script):
    script.press_ctrl_c(1)
    time.sleep(0.3)  # a person presses no faster
    script.press_ctrl_c(2)

    assert "KeyboardInterrupt" in script.end()
    assert script.pids("ended") == set()
    assert not any(map(is_alive, script.workers))


# -- the serial engine ------------------------------------------------------------------------------------------------


def test_the_serial_engine_works_at_once_in_the_calling_thread():
    future = SerialExecutor().submit(threading.get_ident)

    assert isinstance(future, Future)
    assert future.done()
    assert future.result() == threading.get_ident()


def test_the_serial_engine_passes_arguments_by_position_and_by_name():
    assert SerialExecutor().submit(int, "z", base=36).result() == 35


def test_the_serial_engine_hands_errors_to_the_future():
    future = SerialExecutor().submit(int, "x")

    assert isinstance(future.exception(), ValueError)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_the_serial_engine_lets_through_what_ends_the_program(error):
    def end():
        raise error

    with pytest.raises(error):
        SerialExecutor().submit(end)


# -- which engine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", "nope", "Serial", "Dask", "asyncio", ":", "os", "os:", "os:nope", "nope:f", ":f", ".relative:f", "a b:c"],
)
def test_an_unknown_engine_is_an_error_that_lists_the_known_ones(name):
    with pytest.raises(SettingError, match="serial, threads, processes") as caught:
        open_engine(name, 1)

    assert repr(name) in str(caught.value)


def test_a_function_that_returns_no_executor_is_an_error_that_names_it():
    with pytest.raises(SettingError, match=r"'builtins:float' returned a float"):
        open_engine("builtins:float", 1)


def test_a_foreign_engine_is_told_how_many_workers_there_are():
    with open_engine("concurrent.futures:ThreadPoolExecutor", 3) as executor:
        assert executor._max_workers == 3


# -- before and after a chunk -----------------------------------------------------------------------------------------


class Noting:
    """A function that notes what is called, and answers with what was called so far in its process."""

    def __init__(self):
        self.called = []

    def prepare(self):
        self.called.append("prepare")

    def finish(self):
        self.called.append("finish")

    def __call__(self, thing):
        self.called.append(thing)
        return list(self.called)


def test_each_chunk_is_prepared_for_and_finished_in_its_worker():
    with open_engine("processes", 1) as executor:
        last = mapped(executor, Noting(), [1, 2, 3])[-1]
    assert last.count("prepare") == last.count("finish") + 1
    assert last[:3] == ["prepare", 1, "finish"]


class Suspicious(SerialExecutor):
    """Loses each chunk of more than one thing, and nobody knows over which of them."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def submit(self, function, /, *args, **kwargs):
        size = len(args[1])
        self.sizes.append(size)
        if size == 1:
            return super().submit(function, *args, **kwargs)
        future = Future()
        future.set_exception(WorkerLost(Loss(0, None)))
        return future


def test_things_over_which_a_worker_has_died_that_had_none_in_hand_are_sent_one_by_one():
    executor = Suspicious()
    lost = []

    def on_loss(chunk, loss):
        lost.append(len(chunk))
        return [], chunk

    with closing(map_unordered(executor, abs, range(9), workers=1, on_loss=on_loss)) as results:
        assert sorted(results) == list(range(9))
    assert lost
    assert max(lost) > 1


def test_a_module_that_a_worker_does_not_have_is_named(monkeypatch):
    """As on another machine, where nobody has put it."""
    module = types.ModuleType("only_here")
    exec("def double(number):\n    return 2 * number\n", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    with (
        open_engine("processes", 1) as executor,
        pytest.raises(DefinitionError, match="cannot import what the task needs: No module named 'only_here'"),
    ):
        mapped(executor, module.double, [1])
