"""One item replayed alone: in Python, by ``luisy-dir replay``, and in the debugger."""

from __future__ import annotations

import asyncio
import io
import multiprocessing
import os
import pty
import select
import subprocess
import sys
import threading
import time
import traceback

import pytest
from conftest import files_below
from pipelines import Counted, Joined, Letters, Secret, SetUpOnce, Slow, Strict, Upper, Words, length
from test_async import LaterLetters, Shouted, Spelled
from test_cli import BAD_NEWS, ERROR, FINE, HOSTILE, ROOT, WRONG_USAGE, is_harmless, run

import luisy_dir as luisy
from luisy_dir import settings
from luisy_dir.engines.event_loop import resolved
from luisy_dir.errors import CheckError, DefinitionError, ItemsFailedError, KeyCollisionError, MissingInputError
from luisy_dir.staging import locked

# What a user might write: fails in a library that his code calls, with a variable to look at.
MODULE = """
import json
import luisy_dir as luisy
from pipelines import Letters


def parsed(text):
    halfway = text[: len(text) // 2]
    return json.loads(text)


@luisy.interim
@luisy.project_name("pipelines")
@luisy.requires(Letters)
@luisy.directory_task(".json", engine="processes")
def numbers(text, item):
    item.logger.info("looking at %s", text)
    item.meta["length"] = len(text)
    print("printed by the step")
    if text == "out":
        raise luisy.Reject("not wanted")
    if text == "exit":
        raise SystemExit(7)
    return parsed(text)


@luisy.interim
@luisy.project_name("pipelines")
@luisy.requires(Letters)
@luisy.directory_output(".txt")
class Unready(luisy.DirectoryTask):
    def setup(self):
        weights = [1, 2]
        self.weight = weights[5]

    def process(self, text):
        return text
"""


@pytest.fixture
def letters(write_files):
    files = {"a.txt": b"fine", "b.txt": b"reject this", "c.txt": b"fail now", "d/e.txt": b"none", "f.png": b""}
    return write_files(Letters().output().path, files)


@pytest.fixture
def module(working_dir, write_files):
    (working_dir / "replayed.py").write_text(MODULE)
    texts = {"good": b"[1, 2]", "bad": b"{'single quotes'}", "out": b"out", "exit": b"exit"}
    write_files(Letters().output().path, {f"{key}.txt": text for key, text in texts.items()})
    return working_dir


def state_of(folder):
    """Every file and folder below a folder but .scratch, with content and time of change."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
        if ".scratch" not in path.relative_to(folder).parts
    }


def replays(working_dir, *parts):
    return working_dir.joinpath(".scratch", "replay", "pipelines", *parts)


def environment(working_dir):
    return {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "LUIGI_CONFIG_PATH": str(ROOT / "luigi.cfg"),
        "LUISY_DIR_WORKING_DIR": str(working_dir),
        "TERM": "dumb",
    }


def command(folder, *arguments):
    return run("replay", *arguments, cwd=folder, environment=environment(folder))


# -- what becomes of the item -----------------------------------------------------------------------------------------


def test_an_item_that_is_written_is_answered_with_its_entry(letters, working_dir):
    entry = Upper().replay("a")

    assert (entry.key, entry.status, [output.path for output in entry.outputs]) == ("a", "written", ["a.txt"])
    assert (replays(working_dir) / "interim" / "Upper" / "a.txt").read_text() == "FINE"


def test_an_item_that_is_rejected_or_skipped_is_told_as_such(letters):
    rejected, none, skipped = (Strict().replay(key) for key in ("b", "d/e", "f"))

    assert (rejected.status, rejected.error.message) == ("rejected", "not wanted")
    assert (none.status, none.error.message) == ("rejected", "process returned None")
    assert (skipped.status, skipped.error) == ("skipped", None)


def test_an_item_that_fails_raises_its_own_exception_from_the_users_code_on(letters):
    with pytest.raises(ValueError, match="cannot read 'fail now'") as caught:
        Strict().replay("c")

    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [frame.name for frame in frames][-1] == "process"
    assert not [frame for frame in frames[2:] if frame.filename.startswith(os.path.dirname(luisy.__file__))]


class NotPickled(Exception):
    """An exception that would not have survived on its way from a worker."""

    def __init__(self, one, other):
        super().__init__(one)
        self.other = other


@luisy.project_name("pipelines")
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="processes")
class Unpicklable(luisy.DirectoryTask):
    def process(self, text):
        raise NotPickled(text, threading.Lock())


def test_the_exception_is_the_very_object_that_was_raised(letters):
    with pytest.raises(NotPickled) as caught:
        Unpicklable().replay("a")

    assert hasattr(caught.value.other, "acquire")


def test_what_setup_raises_is_raised_as_it_is(module, monkeypatch):
    monkeypatch.syspath_prepend(str(module))
    import replayed

    with pytest.raises(IndexError):
        replayed.Unready().replay("good")


def test_a_replay_is_done_in_this_process_and_in_this_thread(letters, monkeypatch):
    """Whatever the engine: so that breakpoint() works, and a debugger that is attached."""

    @luisy.project_name("pipelines")
    @luisy.requires(Letters)
    @luisy.directory_output(".json")
    class Where(luisy.DirectoryTask):
        def setup(self):
            self.where = [os.getpid(), threading.current_thread().name]

        def process(self, text):
            assert self.where == [os.getpid(), threading.current_thread().name]
            return self.where

    for engine in ("processes", "threads", "serial", "async"):
        monkeypatch.setenv("LUISY_DIR_ENGINE", engine)
        output = Where().replay("a").outputs[0]
        assert Where().format.read(os.path.join(Where().replayed("a").folder, output.path)) == [
            os.getpid(),
            threading.current_thread().name,
        ]


def test_a_task_is_set_up_for_each_replay_on_a_copy(letters):
    task = SetUpOnce()
    before = dict(vars(task))
    task.replay("a")

    assert vars(task) == before


def test_random_numbers_and_outputs_are_those_of_a_run(letters, working_dir, tmp_path):
    task = Counted(calls=str(tmp_path / "calls"))
    task.run()
    (entry,) = (entry for entry in task.output().manifest().entries() if entry.key == "a")
    again = task.replay("a")

    assert (again.meta, again.seed) == (entry.meta, entry.seed)
    assert [output.digest for output in again.outputs] == [output.digest for output in entry.outputs]


def test_joined_items_are_read_from_all_their_directories(letters):
    Upper().run()
    settings._set_in_python["max_errors"] = "1"
    Strict().run()

    assert Joined().replay("a").status == "written"
    assert "no item of this key in words" in Joined().replay("b").error.message


def test_several_outputs_of_an_item_are_written_and_none_of_a_former_replay_stays(letters, working_dir, write_files):
    folder = replays(working_dir) / "interim" / "Words" / "c"
    write_files(letters, {"c.txt": b"one two three"})
    Words().replay("c")
    assert sorted(os.listdir(folder)) == ["0.txt", "1.txt", "2.txt"]

    write_files(letters, {"c.txt": b"one"})
    Words().replay("c")
    assert os.listdir(folder) == ["0.txt"]


def test_a_replay_replaces_a_former_one_of_the_item_and_leaves_those_of_others(letters, working_dir, write_files):
    Upper().replay("a")
    Upper().replay("b")
    write_files(letters, {"a.txt": b"other"})
    Upper().replay("a")

    folder = replays(working_dir) / "interim" / "Upper"
    assert [(folder / name).read_text() for name in ("a.txt", "b.txt")] == ["OTHER", "REJECT THIS"]


def test_an_item_that_fails_now_leaves_no_output_of_a_former_replay(letters, working_dir, write_files):
    Strict().replay("a")
    write_files(letters, {"a.txt": b"fail"})
    with pytest.raises(ValueError, match="cannot read 'fail'"):
        Strict().replay("a")

    assert files_below(replays(working_dir)) == []


def test_checks_are_asked_as_in_a_run(letters, working_dir):
    @luisy.project_name("pipelines")
    @luisy.requires(Letters)
    @luisy.directory_output(".txt", check=lambda text: len(text) < 5 or "too long")
    class Checked(luisy.DirectoryTask):
        def process(self, text):
            return text

    assert Checked().replay("a").status == "written"
    with pytest.raises(CheckError, match="too long"):
        Checked().replay("b")


# -- what it reads ----------------------------------------------------------------------------------------------------


def test_what_is_required_is_read_as_it_was_published_also_where_it_is_out_of_date(letters, working_dir, write_files):
    Upper().run()
    write_files(letters, {"a.txt": b"a longer text", "new.txt": b"new"}, age_seconds=30)

    assert not Upper().complete()
    assert length().replay("a").status == "written"
    assert (replays(working_dir) / "final" / "length" / "a.json").read_text().strip() == "4"
    with pytest.raises(MissingInputError, match="no item 'new'"):
        length().replay("new")


def test_what_is_required_and_was_never_published_is_an_error(letters):
    with pytest.raises(MissingInputError, match="Nothing was published as"):
        length().replay("a")


def test_a_required_task_that_is_no_directory_must_be_complete(letters):
    @luisy.json_output
    class Weights(luisy.Task):
        pass

    @luisy.project_name("pipelines")
    @luisy.requires(Letters, Weights)
    @luisy.directory_output(".txt")
    class Weighted(luisy.DirectoryTask):
        def process(self, text):
            return text

    with pytest.raises(MissingInputError, match="requires Weights"):
        Weighted().replay("a")


def test_a_key_that_is_not_there_is_an_error_that_names_similar_ones(letters):
    with pytest.raises(MissingInputError, match=r"no item 'd/e\.txt' in .*raw/letters'\. Did you mean 'd/e'"):
        Upper().replay("d/e.txt")


def test_a_raw_folder_that_is_not_there_is_an_error(working_dir):
    with pytest.raises(MissingInputError, match=r"Letters\(\), which is not complete"):
        Upper().replay("a")
    assert not (working_dir / ".scratch").exists()


def test_two_files_of_one_key_are_the_error_of_a_run(letters, write_files):
    """Also where another item is asked for."""
    write_files(letters, {"x.txt": b"", "x.2.txt": b"", "y.a.txt": b"", "y.a.log": b""})
    assert Upper().replay("y.a").status == "written"
    write_files(letters, {"z.txt": b"", "z.TXT": b"", "z.": b""})
    settings._set_in_python["engine"] = "serial"

    @luisy.project_name("pipelines")
    @luisy.make_directory_output(lambda path: path)
    @luisy.raw
    class AnyLetters(luisy.ExternalTask):
        def get_folder_name(self):
            return "letters"

    @luisy.project_name("pipelines")
    @luisy.requires(AnyLetters)
    @luisy.directory_output(".txt")
    class OfAny(luisy.DirectoryTask):
        def process(self, path):
            return path

    with pytest.raises(KeyCollisionError) as of_run:
        OfAny().run()
    with pytest.raises(KeyCollisionError) as of_replay:
        OfAny().replay("a")
    assert str(of_replay.value) == str(of_run.value)


@luisy.project_name("pipelines")
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class SameTwice(luisy.DirectoryTask):
    def process(self, text):
        yield luisy.Output(text, key="x")
        yield luisy.Output(text, key="x")


def test_two_outputs_of_one_name_are_an_error(letters):
    with pytest.raises(KeyCollisionError, match=r"'a/x\.txt' cannot be written"):
        SameTwice().replay("a")


def test_a_signature_that_does_not_fit_is_an_error_before_anything_is_read(letters):
    @luisy.project_name("pipelines")
    @luisy.requires(Letters)
    @luisy.directory_output(".txt")
    class Misfit(luisy.DirectoryTask):
        def process(self, text, other):
            return text

    with pytest.raises(DefinitionError, match="does not fit"):
        Misfit().replay("a")


def test_of_a_selection_all_raw_items_and_the_directories_of_the_miniature_are_read(letters, working_dir):
    with luisy.scratch(limit=1):
        Upper().run()
        assert length().replay("a").status == "written"
        assert Upper().replay("c").status == "written"
        with pytest.raises(MissingInputError, match="no item 'c'"):
            length().replay("c")


# -- what it leaves alone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["a", "c"])
def test_nothing_that_is_published_or_staged_is_touched(letters, working_dir, monkeypatch, key):
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
    Strict().run()
    (working_dir / "pipelines" / "raw" / "letters" / "g.txt").write_text("fail too")
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "0")
    with pytest.raises(ItemsFailedError):
        Strict().run()
    before = state_of(working_dir)
    assert any(".Strict.staging/run-" in path for path in before)

    if key == "a":
        Strict().replay(key)
    else:
        with pytest.raises(ValueError, match="cannot read"):
            Strict().replay(key)

    assert state_of(working_dir) == before


def test_a_replay_does_not_wait_for_a_run_that_holds_the_lock(letters, working_dir):
    Upper().run()
    with locked(Upper().output().path):
        before = state_of(working_dir)
        assert Upper().replay("a").status == "written"
        assert state_of(working_dir) == before


def test_a_replay_beside_a_real_run_disturbs_neither(letters, working_dir):
    task = Slow(seconds=0.5)
    beside = multiprocessing.get_context("spawn").Process(target=_run_slow, args=(str(working_dir),))
    beside.start()
    staging = working_dir / "pipelines" / "interim" / f".{task.get_folder_name()}.staging"
    while not (staging.exists() and any(name.startswith("run-") for name in os.listdir(staging))):
        assert beside.is_alive()
        time.sleep(0.01)
    entry = task.replay("a")
    beside.join(60)

    assert entry.status == "written"
    assert beside.exitcode == 0
    assert task.complete()


def _run_slow(working_dir):
    luisy.set_working_dir(working_dir)
    Slow(seconds=0.5).run()


def test_a_path_of_its_own_making_leads_out_of_no_folder(letters, working_dir):
    """get_outdir is passed over, and what leads upwards is not followed."""

    @luisy.interim
    @luisy.project_name("pipelines")
    @luisy.requires(Letters)
    @luisy.directory_output(".txt", engine="serial")
    class Elsewhere(luisy.DirectoryTask):
        def get_sub_dir(self):
            return "../../../../up"

        def get_outdir(self):
            return str(working_dir / "results")

        def process(self, text):
            return text

    before = state_of(working_dir)
    Elsewhere().replay("a")

    assert state_of(working_dir) == before
    assert (working_dir / ".scratch" / "replay" / "up" / "Elsewhere" / "a.txt").exists()


# -- coroutines -------------------------------------------------------------------------------------------------------


@pytest.fixture
def later_letters(write_files):
    return write_files(LaterLetters().output().path, {"a.txt": b"alpha", "b.txt": b"fail", "c.png": b""})


def test_coroutines_are_waited_for(later_letters):
    """Of reader, setup and process, on one event loop; and what an asynchronous generator yields."""
    assert Shouted().replay("a").status == "written"
    assert Shouted().replay("c").status == "skipped"
    assert [output.path for output in Spelled().replay("a").outputs] == [f"a/{place}.txt" for place in range(5)]


def test_what_a_coroutine_raises_is_raised(later_letters):
    with pytest.raises(ValueError, match="cannot shout this") as caught:
        Shouted().replay("b")
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "process"


def test_in_a_notebook_where_an_event_loop_runs_already_it_works_as_well(later_letters):
    async def cell():
        return Shouted().replay("a").status, Shouted().replayed("b").exception

    status, exception = asyncio.run(cell())
    assert status == "written"
    assert isinstance(exception, ValueError)


def test_a_coroutine_on_another_engine_is_refused_as_in_a_run(later_letters, monkeypatch):
    monkeypatch.setenv("LUISY_DIR_ENGINE", "threads")
    with pytest.raises(DefinitionError, match="is 'async def'"):
        Shouted().replay("a")


def test_after_a_replay_there_is_no_event_loop_any_more(later_letters):
    Shouted().replay("a")
    with pytest.raises(DefinitionError, match="has an event loop"):
        resolved(asyncio.sleep(0))


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_shows_status_meta_and_outputs_with_absolute_paths(module):
    code, output, messages = command(module, "replayed", "numbers", "good")

    assert code == FINE, messages
    lines = output.splitlines()
    assert lines[0] == "status   written"
    assert lines[1].startswith("seconds  0")
    assert lines[2:] == ["meta     length = 6", f"output   {replays(module)}/interim/numbers/good.json"]


def test_the_command_shows_shape_and_dtype_of_arrays(working_dir):
    (working_dir / "arrays.py").write_text(
        "import numpy as np\nimport luisy_dir as luisy\nfrom pipelines import Letters\n"
        "@luisy.project_name('pipelines')\n@luisy.requires(Letters)\n@luisy.directory_task('.npy')\n"
        "def zeros(text):\n    return np.zeros((2, len(text)), 'float32')\n"
    )
    os.makedirs(Letters().output().path)
    (working_dir / "pipelines" / "raw" / "letters" / "a.txt").write_text("abc")
    code, output, messages = command(working_dir, "arrays", "zeros", "a")

    assert code == FINE, messages
    assert f"output   {working_dir}/.scratch/replay/zeros/a.npy  shape (2, 3), dtype <f4\n" in output


def test_what_the_code_prints_and_logs_is_a_message_and_not_the_answer(module):
    _, output, messages = command(module, "replayed", "numbers", "good")

    assert "printed by the step" not in output
    assert "printed by the step\n" in messages
    assert "good: looking at [1, 2]\n" in messages


def test_an_item_that_is_rejected_is_no_failure(module):
    code, output, _ = command(module, "replayed", "numbers", "out")

    assert code == FINE
    assert output.startswith("status   rejected\n")
    assert "reason   not wanted\n" in output


def test_an_item_that_fails_is_shown_from_the_users_code_on(module):
    code, output, messages = command(module, "replayed", "numbers", "bad")

    assert code == BAD_NEWS, messages
    assert output.startswith("status   failed\n")
    places = [line for line in output.splitlines() if line.startswith("  File")]
    assert places[0].endswith("in numbers")
    assert places[1].endswith("in parsed")
    assert "luisy_dir/" not in output.partition("Traceback")[2].replace(str(module), "")
    assert output.splitlines()[-1].startswith("json.decoder.JSONDecodeError: Expecting property name")


def test_a_step_that_ends_the_program_has_failed(module):
    code, output, _ = command(module, "replayed", "numbers", "exit")

    assert code == BAD_NEWS
    assert output.splitlines()[-1] == "SystemExit: 7"


def test_what_fails_in_setup_is_shown(module):
    code, output, _ = command(module, "replayed", "Unready", "good")

    assert code == BAD_NEWS
    assert output.startswith("status   failed in setup\n")
    assert "in setup\n    self.weight = weights[5]" in output


def test_parameters_and_settings_are_those_of_luigis_command_line(working_dir, write_files):
    write_files(Letters().output().path, {"a.txt": b"alpha"})
    arguments = ("Secret", "a", "--password", "x", "--luisy-dir-seed", "3")
    code, output, messages = command(working_dir, "pipelines", *arguments)

    assert code == FINE, messages
    assert f"{replays(working_dir)}/interim/{Secret(password='x').get_folder_name()}/a.txt" in output


def test_a_key_that_is_not_there_is_an_error_in_the_command(module):
    code, output, messages = command(module, "replayed", "numbers", "goof")

    assert (code, output) == (ERROR, "")
    assert messages.startswith("Error: There is no item 'goof' in ")
    assert "Did you mean 'good'" in messages


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("replayed", "Letters", "a"), "Letters is no DirectoryTask"),
        (("replayed", "nothing", "a"), "There is no task 'nothing'"),
        (("nowhere", "numbers", "a"), "There is no module 'nowhere'"),
        (("replayed", "numbers"), "Missing argument 'KEY'"),
    ],
)
def test_wrong_usage_is_told(module, arguments, message):
    code, output, messages = command(module, *arguments)

    assert (code, output) == (WRONG_USAGE, "")
    assert message in messages


def test_no_key_no_meta_and_no_message_can_drive_a_terminal(working_dir, write_files):
    (working_dir / "hostile.py").write_text(
        "import luisy_dir as luisy\nfrom pipelines import Letters\n"
        "@luisy.project_name('pipelines')\n@luisy.requires(Letters)\n@luisy.directory_task('.txt')\n"
        "def hostile(text, item):\n    item.meta[text] = text\n    item.logger.info(text)\n"
        "    if len(item.key) % 2:\n        raise ValueError(text)\n    return text\n"
    )
    write_files(Letters().output().path, {f"{name}.txt": name.encode() for name in HOSTILE})
    for name in HOSTILE:
        code, output, messages = command(working_dir, "hostile", "hostile", name)
        assert code in (FINE, BAD_NEWS), messages
        assert is_harmless(output), output
        assert is_harmless(messages), messages


def test_a_key_that_looks_like_an_option_stands_behind_two_dashes(working_dir, write_files):
    write_files(Letters().output().path, {"--pdb.txt": b"dashes"})
    code, output, messages = command(working_dir, "pipelines", "Upper", "--", "--pdb")

    assert code == FINE, messages
    assert output.startswith("status   written")


# -- the debugger -----------------------------------------------------------------------------------------------------


def debugged(module, key, commands, *, task="numbers"):
    """Exit code and output of a replay whose debugger reads these commands from a pipe."""
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-m", "luisy_dir", "replay", "replayed", task, key, "--pdb"],
        cwd=module,
        env=os.environ | environment(module),
        input="".join(f"{line}\n" for line in commands),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return answer.returncode, answer.stdout


def test_the_debugger_begins_in_the_frame_of_the_users_code(module):
    """Not in that of the library which his code has called, though that is where it was raised."""
    code, output = debugged(module, "bad", ["p 'halfway', halfway", "u", "p 'above', item.key", "q"])

    assert code == BAD_NEWS
    assert "replayed.py(9)parsed()" in output
    assert "('halfway', \"{'single\")" in output
    assert "('above', 'bad')" in output


def test_the_frames_of_the_library_are_below(module):
    _, output = debugged(module, "bad", ["d", "p 'below', __name__", "q"])

    assert "('below', 'json')" in output


def test_the_debugger_is_not_entered_where_nothing_fails(module):
    code, output = debugged(module, "good", ["q"])

    assert code == FINE
    assert "(Pdb)" not in output


def test_the_debugger_sees_what_fails_in_setup(module):
    code, output = debugged(module, "good", ["p weights", "q"], task="Unready")

    assert code == BAD_NEWS
    assert "[1, 2]" in output


def test_an_end_of_the_input_ends_the_debugger(module):
    code, output = debugged(module, "bad", [])

    assert code == BAD_NEWS
    assert "(Pdb)" in output


def test_on_a_terminal_the_debugger_answers(module):
    """On a real one, with its line editor."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "luisy_dir", "replay", "replayed", "numbers", "bad", "--pdb"],
        cwd=module,
        env=os.environ | environment(module),
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    try:
        shown = _read_until(parent, b"(Pdb) ")
        os.write(parent, b"p len(halfway)\n")
        shown += _read_until(parent, b"(Pdb) ")
        os.write(parent, b"q\n")
        assert process.wait(60) == BAD_NEWS
    finally:
        process.kill()
        process.wait()
        os.close(parent)
    assert b"parsed()" in shown
    assert b"\n8\r\n" in shown


def _read_until(descriptor, end):
    shown = b""
    while not shown.endswith(end):
        ready, _, _ = select.select([descriptor], [], [], 60)
        assert ready, shown
        shown += os.read(descriptor, 4096)
    return shown


def test_in_python_the_debugger_is_entered_and_then_the_exception_is_raised(module, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(module))
    import replayed

    monkeypatch.setattr(sys, "stdin", io.StringIO("p halfway\nq\n"))
    with pytest.raises(ValueError, match="Expecting property name"):
        replayed.numbers().replay("bad", pdb=True)
    assert "{'single" in capsys.readouterr().out


def test_a_breakpoint_in_the_code_works_too(module):
    source = MODULE.replace("    return parsed(text)", "    breakpoint()\n    return parsed(text)")
    (module / "replayed.py").write_text(source)
    _, output = debugged(module, "good", ["p item.key", "c"])

    assert "(Pdb) 'good'" in output
    assert "status   written" in output
