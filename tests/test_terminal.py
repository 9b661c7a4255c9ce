"""The terminal: real luigi command lines on real pseudo-terminals, and what can be seen on the screen at the end."""

from __future__ import annotations

import contextlib
import fcntl
import io
import itertools
import logging
import os
import re
import select
import signal
import subprocess
import sys
import sysconfig
import termios
import time

import cloudpickle
import luigi
import pytest
from conftest import an_entry
from pipelines import read_text

import luisy_dir as luisy
from luisy_dir import terminal
from luisy_dir.progress import Progress
from luisy_dir.terminal import Terminal, bar_of, step_aside, width_of

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS = sysconfig.get_path("scripts")
BAR = re.compile(r" *\d+ % (?:\[[#.]{20}\] )?(\d+) of")
SECONDS = 60


@luisy.make_directory_output(read_text)
@luisy.raw
class Leaves(luisy.ExternalTask):
    def get_folder_name(self):
        return "leaves"


@luisy.interim
@luisy.requires(Leaves)
@luisy.directory_output(".txt", engine="threads", workers=2, max_errors=0.5)
class Pressed(luisy.DirectoryTask):
    """Takes its time over each leaf; some say something, in whole lines or in pieces, and some fail."""

    note = luigi.Parameter(default="")

    def process(self, text, item):
        time.sleep(0.1)
        if text == "log":
            item.logger.warning("is logged")
        elif text == "print":
            print(item.key, "is", "printed")
        elif text == "fail":
            raise ValueError("torn")
        return text


@luisy.interim
@luisy.requires(Leaves)
@luisy.directory_output(".txt", engine="processes", workers=2, max_errors=0.5)
class PressedElsewhere(luisy.DirectoryTask):
    process = Pressed.process


@luisy.final
@luisy.requires(Pressed, PressedElsewhere)
class Both(luisy.WrapperTask):
    """Two directories that may be made at once."""


WORDS = ["word", "log", "word", "print", "word", "fail", "word", "print", "word", "word"]
LEAVES = {f"{number:02d}.txt": WORDS[number % 10].encode() for number in range(30)}


@pytest.fixture
def leaves(write_files):
    """Thirty leaves: of ten, one is logged, two are printed, one fails."""
    return write_files(Leaves().output().path, LEAVES)


class Screen:
    """What is to be seen on a terminal after some output: its lines, without blanks at their ends."""

    def __init__(self, output, columns):
        self.lines, place = [""], 0
        for char in output:
            if char == "\r":
                place = 0
            elif char == "\n":
                self.lines.append("")
                place = 0  # the terminal adds a carriage return
            else:
                if place == columns:
                    self.lines.append("")
                    place = 0
                self.lines[-1] = self.lines[-1][:place].ljust(place) + char + self.lines[-1][place + 1 :]
                place += 1
        self.lines = [line.rstrip() for line in self.lines]


class Run:
    """A command on a pseudo-terminal of its own, which it is controlled by. A context manager.

    Parameters
    ----------
    command
        Its words.
    environ
        Is added to the environment.
    columns
        Of the terminal.
    """

    def __init__(self, command, environ, columns=100):
        self.columns = columns
        self.output = ""
        self._master, slave = os.openpty()
        self.resize(columns)

        def take_the_terminal():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGINT, signal.SIG_DFL)

        self.process = subprocess.Popen(
            command,
            env=os.environ | environ,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=take_the_terminal,  # noqa: PLW1509 - nothing else runs in this process
        )
        os.close(slave)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._master)

    def resize(self, columns):
        termios.tcsetwinsize(self._master, (24, columns))

    def type(self, text):
        os.write(self._master, text.encode())

    def read_until(self, pattern=None):
        """Read until a pattern is found in the output, or to its end."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if pattern is not None and re.search(pattern, self.output):
                return
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    self.output += os.read(self._master, 65536).decode()
                except OSError:  # nobody has the other end any more
                    break
        assert pattern is None or re.search(pattern, self.output), self.output
        assert pattern is not None or self.process.wait(SECONDS) is not None

    @property
    def screen(self):
        return Screen(self.output, self.columns).lines

    @property
    def bars(self):
        """Every bar that was drawn."""
        return [piece for piece in re.split(r"[\r\n]", self.output) if BAR.match(piece)]


def words_of(working_dir, *arguments):
    """A luigi command line, and what it needs in its environment."""
    command = [sys.executable, "-W", "error", os.path.join(SCRIPTS, "luigi"), "--module", "test_terminal", *arguments]
    command += ["--local-scheduler", "--no-lock", "--luisy-dir-working-dir", str(working_dir)]
    environ = {"PYTHONPATH": os.path.join(REPOSITORY, "tests"), "TERM": "xterm"}
    return command, environ | {"LUIGI_CONFIG_PATH": os.path.join(REPOSITORY, "luigi.cfg"), "COLUMNS": ""}


def on_a_terminal(working_dir, *arguments, columns=100, **environ):
    command, usual = words_of(working_dir, *arguments)
    return Run(command, usual | environ, columns)


def piped(working_dir, *arguments, **environ):
    """What a luigi command line writes where there is no terminal."""
    command, usual = words_of(working_dir, *arguments)
    done = subprocess.run(
        command,
        env=os.environ | usual | environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.decode()


# -- on a terminal ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["Pressed", "PressedElsewhere"])
def ended(request, tmp_path_factory):
    """A run on threads, and one on processes, that have come to their ends."""
    folder = tmp_path_factory.mktemp("ended")
    raw = folder / "test_terminal" / "raw" / "leaves"
    raw.mkdir(parents=True)
    for name, content in LEAVES.items():
        (raw / name).write_bytes(content)
    with on_a_terminal(folder, request.param, columns=300) as run:
        run.read_until()
    assert run.process.returncode == 0, run.output
    run.task = request.param
    (run.path,) = map(str, (folder / "test_terminal" / "interim").glob("Pressed*"))
    return run


def test_a_bar_shows_how_far_the_run_is(ended):
    counts = [int(BAR.match(bar)[1]) for bar in ended.bars]
    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    assert all(ended.task in bar for bar in ended.bars)
    assert any("3 failed" in bar and "items/s" in bar for bar in ended.bars)


def test_what_is_logged_and_printed_meanwhile_stands_above_the_bar_in_whole_lines(ended):
    """Of worker processes as well, which log without a level."""
    said = [line.removeprefix("WARNING: ") for line in ended.screen if re.search(r"\d:? is (printed|logged)", line)]
    expected = [f"{number:02d}: is logged" for number in (1, 11, 21)]
    expected += [f"{number:02d} is printed" for number in (3, 7, 13, 17, 23, 27)]
    assert sorted(said) == sorted(expected)


def test_at_the_end_the_bar_is_gone_and_a_summary_says_what_was_done(ended):
    assert not [line for line in ended.screen if " % " in line]
    published = next(line for line in ended.screen if "published" in line)
    assert f": published 30 of 30 items (3 failed, 27 written) as {ended.path}" in published
    assert re.search(r"; [\d.]+ items/s, \d\d:\d\d taken; manifest in its \.manifest$", published)
    (advice,) = [
        line for line in ended.screen if line.endswith(f"3 items failed. See why: luisy-dir errors {ended.path}")
    ]
    assert advice.startswith(f"WARNING: {ended.task}(")


def test_no_escape_code_is_written(ended):
    """So colours (NO_COLOR) and what a terminal understands are no matter."""
    assert ended.bars
    assert "\x1b" not in ended.output


def test_ctrl_c_leaves_a_clean_line_and_says_what_was_done(working_dir, leaves):
    with on_a_terminal(working_dir, "Pressed", columns=200) as run:
        run.read_until(r"\r +\d+ % \[")
        run.type("\x03")
        run.read_until()
    assert run.process.returncode != 0
    assert not [line for line in run.screen if re.search(r"\d %", line)]
    (said,) = [line for line in run.screen if "gave up" in line]
    assert re.match(r"WARNING: Pressed\(note=\): gave up \(KeyboardInterrupt\) after \d+ of 30 items, ", said)


def test_on_a_narrow_terminal_the_bar_takes_one_line_at_most(working_dir, leaves):
    with on_a_terminal(working_dir, "Pressed", columns=20) as run:
        run.read_until()
    assert run.bars
    assert max(map(len, run.bars)) < 20


def test_the_bar_follows_a_terminal_that_is_made_narrower(working_dir, leaves):
    with on_a_terminal(working_dir, "Pressed") as run:
        run.read_until(r"\r +\d+ % \[")
        run.resize(30)
        run.read_until()
    assert len(run.bars[0]) > 30
    assert len(run.bars[-1]) < 30


def test_a_task_of_a_hostile_name_does_not_drive_the_terminal(working_dir, leaves):
    """Luigi's own lines show the name as it is."""
    with on_a_terminal(working_dir, "Pressed", "--note", "\x1b[31m\r猫", columns=200) as run:
        run.read_until()
    assert r"Pressed(note=\x1b[31m\r猫)" in run.bars[-1]
    assert not [bar for bar in run.bars if "\x1b" in bar]
    assert {width_of(bar) for bar in run.bars} == {197}


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        ((), {"TERM": "dumb"}),
        (("--luisy-dir-progress", "off"), {}),
        (("--workers", "2"), {}),
    ],
)
def test_there_is_no_bar(working_dir, leaves, arguments, environ):
    """Two Luigi workers know nothing of each other, and would draw over each other's bars."""
    with on_a_terminal(working_dir, "Both", *arguments, **environ) as run:
        run.read_until()
    assert run.process.returncode == 0, run.output
    assert run.output.count("published 30 of 30 items") == 2
    assert not run.bars


def test_in_the_background_there_is_no_bar(working_dir, leaves):
    """Somebody may be typing at the shell's prompt."""
    command, environ = words_of(working_dir, "Pressed")
    with Run(["bash", "-c", 'set -m; "$@" & wait', "bash", *command], environ) as run:
        run.read_until()
    assert "published 30 of 30 items" in run.output
    assert not run.bars


def test_the_command_that_the_summary_names_shows_why_items_failed(working_dir, leaves):
    written = piped(working_dir, "Pressed")
    command = re.search(r"See why: (luisy-dir errors \S+)", written)[1]
    done = subprocess.run(
        os.path.join(SCRIPTS, command), shell=True, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 1
    assert "3 failed  ValueError" in done.stdout
    assert "05" in done.stdout


# -- where there is no terminal ---------------------------------------------------------------------------------------


def test_piped_there_are_whole_lines_and_nothing_else(working_dir, leaves):
    written = piped(working_dir, "Both")
    assert written.count("published 30 of 30 items") == 2
    assert not re.search(r"[\r\x1b]| % ", written)


def test_with_progress_on_there_is_a_bar_where_there_is_no_terminal(working_dir, leaves):
    written = piped(working_dir, "Pressed", "--luisy-dir-progress", "on")
    assert re.search(r"\r +\d+ % \[[#.]{20}\] \d+ of 30 items", written)
    assert "\x1b" not in written


def test_the_pauses_between_lines_grow():
    """A run of ten minutes says something six times, and one of a day every five minutes."""
    assert list(itertools.islice(terminal._pauses(), 8)) == [10, 20, 40, 80, 160, 300, 300, 300]


def test_lines_come_although_no_item_is_finished(monkeypatch, caplog):
    """The log of a batch job shows life where one item takes an hour."""
    monkeypatch.setattr(terminal, "_FIRST_LINE_SECONDS", 0.01)
    caplog.set_level(logging.INFO)
    with Terminal(Progress("Task", 3)):
        wait_until(lambda: len(caplog.messages) > 1)
    assert set(caplog.messages) == {"Task: 0 of 3 items"}


def test_with_progress_off_there_are_no_lines(monkeypatch, caplog):
    monkeypatch.setattr(terminal, "_FIRST_LINE_SECONDS", 0.0)
    caplog.set_level(logging.INFO)
    with Terminal(Progress("Task", 3), show="off"):
        time.sleep(0.1)
    assert caplog.messages == []


# -- parts ------------------------------------------------------------------------------------------------------------


class Teletype(io.StringIO):
    """A terminal of 80 columns that keeps what is written to it."""

    encoding = "utf-8"

    def isatty(self):
        return True


def wait_until(look):
    deadline = time.monotonic() + SECONDS
    while not look():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


@pytest.fixture
def teletype(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(terminal, "_TICK_SECONDS", 0.01)
    return Teletype()


@contextlib.contextmanager
def a_bar(teletype, name="Task"):
    """A bar that is drawn, while standard error is a terminal."""
    progress = Progress(name, 9)
    with contextlib.redirect_stderr(teletype), Terminal(progress):
        wait_until(lambda: "0 of 9 items" in teletype.getvalue())
        yield progress


def test_nothing_is_drawn_over_a_debugger(teletype):
    """While somebody types there, no item is finished."""
    with a_bar(teletype):
        drawn = teletype.getvalue()
        time.sleep(0.2)
        assert teletype.getvalue() == drawn


def test_nothing_is_drawn_into_a_line_that_was_not_ended(teletype):
    with a_bar(teletype) as progress:
        sys.stderr.write("how many? ")
        progress.advance(an_entry("a"))
        time.sleep(0.2)
        assert Screen(teletype.getvalue(), 80).lines == ["how many?"]
        sys.stderr.write("three\n")
        wait_until(lambda: "1 of 9 items" in teletype.getvalue())
    assert Screen(teletype.getvalue(), 80).lines == ["how many? three", ""]


def test_the_streams_write_as_before_when_the_run_has_ended(teletype):
    with a_bar(teletype):
        assert "write" in vars(teletype)
    assert "write" not in vars(teletype)


def test_a_way_of_writing_that_somebody_else_has_put_on_top_stays(teletype):
    with a_bar(teletype):
        theirs = teletype.write
        teletype.write = lambda text: theirs(text.upper())
    print("word", file=teletype)
    assert teletype.getvalue().endswith("WORD\n")


def test_while_there_is_a_bar_a_function_that_prints_to_the_error_stream_can_be_pickled(monkeypatch):
    """The stream is still what it was, which cloudpickle knows by its identity."""
    monkeypatch.setenv("TERM", "xterm")
    master, slave = os.openpty()
    with open(slave, "w") as stream, contextlib.redirect_stderr(stream), Terminal(Progress("Task", 9)) as shown:
        assert shown._bar is not None
        assert cloudpickle.loads(cloudpickle.dumps(lambda: stream))() is stream
    os.close(master)


def test_a_second_bar_in_one_process_is_none(teletype, caplog):
    with a_bar(teletype):
        before = teletype.getvalue()
        with Terminal(Progress("Other", 5)) as second:
            assert second._bar is None
        assert teletype.getvalue() == before


def test_a_terminal_that_is_gone_costs_the_run_nothing(teletype):
    class Gone(Teletype):
        def write(self, text):
            raise OSError(5, "Input/output error")

    progress = Progress("Task", 9)
    with contextlib.redirect_stderr(Gone()), Terminal(progress) as shown:
        progress.advance(an_entry("a"))
        wait_until(lambda: shown._bar._is_drawn)
    assert progress.done == 1


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_without_a_stream_or_with_one_that_is_no_terminal_there_is_no_bar(stream):
    with contextlib.redirect_stderr(stream), Terminal(Progress("Task", 9)) as shown:
        assert shown._bar is None


def test_a_closed_stream_is_no_terminal():
    stream = io.TextIOWrapper(io.BytesIO())
    stream.close()
    with contextlib.redirect_stderr(stream), Terminal(Progress("Task", 9)) as shown:
        assert shown._bar is None


def test_a_forked_child_writes_though_another_thread_had_the_lock(teletype):
    with a_bar(teletype):
        bar = teletype.write.func.__self__
        bar._lock.acquire()
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            teletype.write("from the child\n")
            os._exit(0 if teletype.getvalue().endswith("from the child\n") else 1)
        bar._lock.release()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_characters_that_the_terminal_does_not_know_take_the_room_of_one(teletype, monkeypatch):
    monkeypatch.setattr(teletype, "encoding", "ascii", raising=False)
    with a_bar(teletype, "Über(猫)"):
        pass
    assert "0 of 9 items  ?ber(?)" in teletype.getvalue()


def test_what_a_worker_writes_in_pieces_begins_on_one_blank_line(teletype, monkeypatch):
    monkeypatch.setattr(terminal.multiprocessing, "parent_process", object)
    teletype.write("\r 12 % of a bar of the parent")
    with contextlib.redirect_stderr(teletype):
        step_aside()
        step_aside()  # for the next task on the same worker
    print("a", "b", "", sep="+", file=teletype)
    print(file=teletype)
    print("c\nd", file=teletype)
    assert Screen(teletype.getvalue(), 80).lines == ["a+b+", "", "c", "d", ""]


def test_nothing_steps_aside_in_the_parent(teletype):
    with contextlib.redirect_stderr(teletype):
        step_aside()
    assert "write" not in vars(teletype)


@pytest.mark.parametrize("room", [0, 1, 3, 10, 20, 40, 74, 75, 76, 77, 200])
@pytest.mark.parametrize("name", ["T", "猫" * 30, "e\u0301" * 60, "x" * 300])
def test_a_bar_never_takes_more_room_than_there_is(room, name):
    progress = Progress(name, 10**9)
    progress.advance(an_entry("a", status="rejected"))
    assert width_of(bar_of(progress, room)) <= room
