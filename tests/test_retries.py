"""What an error of an item means: another try, a failed item, or the end of the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
import time

import luigi
import pytest
from conftest import files_below
from pipelines import Letters

import luisy_dir as luisy
from luisy_dir.engines import ENGINES
from luisy_dir.errors import AbortedError, DefinitionError, ItemsFailedError

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KINDS = {"connection": ConnectionError, "value": ValueError, "exit": SystemExit, "abort": luisy.Abort}


class Odd(Exception):
    """One that does not survive its way between processes."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def try_number(traces, key):
    """Note a try in a file, and say how many there were; no two processes work on one item at a time."""
    path = os.path.join(traces, key)
    with open(path, "a") as file:
        file.write("x")
    return os.path.getsize(path)


class Trying(luisy.DirectoryTask):
    """Does what its letter says: ``KIND N`` raises in the first N tries, ``reject`` and ``none`` reject."""

    traces = luigi.Parameter(significant=False)
    retry_delay = 0

    def process(self, text, item):
        number = try_number(self.traces, item.key)
        item.meta[f"try {number}"] = noise = item.rng.random()
        kind, _, times = text.partition(" ")
        if kind == "reject":
            raise luisy.Reject("not wanted")
        if kind == "none":
            return None
        if kind in KINDS and number <= int(times):
            raise KINDS[kind](f"no {number}")
        if kind == "odd":
            raise Odd("two", "words")
        return f"{noise}"


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", retries=2, engine="serial", workers=2)
class Twice(Trying):
    """Tries each item up to three times."""


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Once(Trying):
    """Tries each item once."""


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", retries=2, retry_on=(ConnectionError, TimeoutError), engine="serial")
class OnConnection(Trying):
    """Tries again where a connection is lost."""


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", retries=1, catch=ConnectionError, max_errors=1.0, engine="serial", workers=2)
class Strictly(Trying):
    """Takes a lost connection for bad luck, and all else for a mistake."""


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", retries=2, engine="serial", workers=2, retry_on=ConnectionError, retry_delay=100_000)
class Patient(Trying):
    """Waits for a day, or for an hour at least, but for one time in 28."""


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", retries=1, engine="serial")
class HalfWay(luisy.DirectoryTask):
    """Fails in its first try when it has written two outputs."""

    traces = luigi.Parameter(significant=False)

    def process(self, text, item):
        number = try_number(self.traces, item.key)
        yield luisy.Output("first", key="0")
        yield luisy.Output("second", key="1")
        if number == 1:
            raise ConnectionError


@pytest.fixture
def traces(tmp_path):
    folder = tmp_path / "traces"
    folder.mkdir()
    return str(folder)


@pytest.fixture
def write_letters(write_files):
    """Write letters: ``write_letters(a="connection 2")``."""

    def write(**letters):
        write_files(Letters().output().path, {f"{key}.txt": text.encode() for key, text in letters.items()})

    return write


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch):
    """Every engine in turn."""
    monkeypatch.setenv("LUISY_DIR_ENGINE", request.param)
    return request.param


def tries(traces):
    """How often each item was tried, by key."""
    return {name: os.path.getsize(os.path.join(traces, name)) for name in sorted(os.listdir(traces))}


# -- another try ------------------------------------------------------------------------------------------------------


def test_an_item_that_always_fails_is_tried_exactly_as_often_as_is_said(write_letters, traces, engine):
    write_letters(a="value 9", b="fine")

    with pytest.raises(ItemsFailedError, match="a: ValueError: no 3"):
        Twice(traces=traces).run()

    assert tries(traces)["a"] == 3
    assert Twice(traces=traces).report()["attempts"]["a"] == 3


def test_an_item_that_goes_well_in_the_last_try_is_written(write_letters, traces, engine):
    write_letters(a="connection 2", b="fine", c="exit 1")

    Twice(traces=traces).run()

    report = Twice(traces=traces).report()
    assert report["status"].to_dict() == {"a": "written", "b": "written", "c": "written"}
    assert report["attempts"].to_dict() == {"a": 3, "b": 1, "c": 2}


def test_by_default_an_item_is_tried_once(write_letters, traces):
    write_letters(a="connection 1")

    with pytest.raises(ItemsFailedError):
        Once(traces=traces).run()

    assert tries(traces) == {"a": 1}


def test_a_try_knows_nothing_of_those_before(write_letters, traces, engine):
    """Same bytes and same meta as where it goes well at first: item.rng and item.meta are new."""
    write_letters(a="connection 2", b="fine")
    Twice(traces=traces).run()
    (_, noise), _ = Twice(traces=traces).items()
    report = Twice(traces=traces).report()

    write_letters(a="connection 0")
    Twice(traces=traces).clean()
    os.unlink(os.path.join(traces, "a"))
    Twice(traces=traces).run()

    assert next(Twice(traces=traces).items())[1] == noise
    assert report.loc["a", ["try 3"]].to_list() == [float(noise)]
    assert "try 1" not in report or report.loc["a", ["try 1"]].isna().all()
    assert "try 2" not in report


def test_what_a_failed_try_has_written_is_gone_before_the_next(write_letters, traces):
    """Else the item would collide with itself."""
    write_letters(a="")

    HalfWay(traces=traces).run()

    assert files_below(HalfWay(traces=traces).output().path) == ["a/0.txt", "a/1.txt"]
    assert HalfWay(traces=traces).report()["attempts"]["a"] == 2


def test_seconds_are_those_of_all_tries(write_letters, traces, monkeypatch):
    write_letters(a="connection 2")
    process = Trying.process

    def slowly(self, text, item):
        time.sleep(0.05)
        return process(self, text, item)

    monkeypatch.setattr(Trying, "process", slowly)
    monkeypatch.setenv("LUISY_DIR_ENGINE", "serial")
    Twice(traces=traces).run()

    assert Twice(traces=traces).report()["seconds"]["a"] >= 0.15


@pytest.mark.parametrize(("letter", "status"), [("reject", "rejected"), ("none", "rejected")])
def test_a_verdict_is_no_error_and_is_not_asked_for_again(write_letters, traces, letter, status):
    write_letters(a=letter, b="fine")

    Twice(traces=traces).run()

    assert tries(traces) == {"a": 1, "b": 1}
    assert Twice(traces=traces).report()["status"]["a"] == status


def test_only_errors_that_retry_on_names_are_tried_again(write_letters, traces, monkeypatch):
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1.0")
    write_letters(a="connection 1", b="value 1")

    OnConnection(traces=traces).run()

    assert tries(traces) == {"a": 2, "b": 1}
    assert OnConnection(traces=traces).report()["status"].to_dict() == {"a": "written", "b": "failed"}


def test_an_item_is_tried_again_even_where_no_more_may_fail(write_letters, traces, monkeypatch, engine):
    """Whether the budget of failures is spent is asked of items that have failed, not of tries."""
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
    write_letters(a="value 9", b="connection 2", c="connection 2")

    Twice(traces=traces).run()

    assert Twice(traces=traces).report()["status"].to_dict() == {"a": "failed", "b": "written", "c": "written"}


def test_an_exception_that_does_not_pickle_is_tried_again_too(write_letters, traces, monkeypatch):
    monkeypatch.setenv("LUISY_DIR_ENGINE", "processes")
    write_letters(a="odd")

    with pytest.raises(ItemsFailedError, match="a: Odd: two words"):
        Twice(traces=traces).run()

    assert tries(traces) == {"a": 3}


def test_an_update_tries_again_too(write_letters, traces):
    write_letters(a="fine")
    Twice(traces=traces).run()
    write_letters(b="connection 2")

    Twice(traces=traces).run()

    assert Twice(traces=traces).report()["attempts"].to_dict() == {"a": 1, "b": 3}


def test_a_run_that_is_given_up_does_not_wait_for_another_try(write_letters, traces, engine):
    """The test would last for hours."""
    write_letters(a="connection 1", b="value 1")

    with pytest.raises(ItemsFailedError, match="b: ValueError"):
        Patient(traces=traces).run()


@pytest.mark.parametrize("engine_of_child", ["serial", "threads", "processes", "async"])
def test_ctrl_c_ends_the_wait_for_another_try(write_letters, traces, working_dir, engine_of_child):
    write_letters(a="connection 1")
    process = subprocess.Popen(
        [os.path.join(sysconfig.get_path("scripts"), "luigi"), "--module", "test_retries", "Patient",
         "--traces", traces, "--local-scheduler", "--no-lock", "--luisy-dir-working-dir", str(working_dir),
         "--luisy-dir-engine", engine_of_child],
        env=os.environ | {"PYTHONPATH": os.pathsep.join((REPOSITORY, os.path.join(REPOSITORY, "tests")))},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not os.path.exists(os.path.join(traces, "a")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) != 0
    assert tries(traces) == {"a": 1}


# -- the end of the run -----------------------------------------------------------------------------------------------


def test_an_error_that_is_caught_is_a_failure_of_its_item(write_letters, traces):
    write_letters(a="connection 9", b="fine")

    Strictly(traces=traces).run()

    assert Strictly(traces=traces).report()["status"].to_dict() == {"a": "failed", "b": "written"}


def test_an_error_that_is_not_caught_ends_the_run_and_is_the_cause(write_letters, traces, engine):
    write_letters(a="value 9")

    with pytest.raises(AbortedError) as caught:
        Strictly(traces=traces).run()

    message = str(caught.value)
    assert "'a'" in message
    assert repr(os.path.join(Letters().output().path, "a.txt")) in message
    assert "raised ValueError: no 1" in message
    assert (type(caught.value.__cause__), str(caught.value.__cause__)) == (ValueError, "no 1")
    assert "in process" in caught.value.__notes__[0]
    assert tries(traces) == {"a": 1}
    assert not os.path.exists(Strictly(traces=traces).output().path)


def test_what_was_finished_before_the_end_is_kept(write_letters, traces, monkeypatch):
    monkeypatch.setenv("LUISY_DIR_ENGINE", "serial")
    write_letters(a="fine", b="value 9")
    with pytest.raises(AbortedError):
        Strictly(traces=traces).run()
    unpublished = Strictly(traces=traces).report()
    write_letters(b="fine")

    Strictly(traces=traces).run()

    assert unpublished["status"].to_dict() == {"a": "written", "b": "failed"}
    assert unpublished["error"]["b"] == "no 1"
    assert tries(traces) == {"a": 1, "b": 2}
    assert sum(Strictly(traces=traces).output().manifest().record.resumed.values()) == 1


def test_what_was_published_before_the_end_stays(write_letters, traces):
    write_letters(a="fine")
    Strictly(traces=traces).run()
    write_letters(b="value 9")

    with pytest.raises(AbortedError):
        Strictly(traces=traces).run()

    assert files_below(Strictly(traces=traces).output().path) == ["a.txt"]


def test_an_exit_is_caught_by_whoever_catches_exceptions_and_by_nobody_else(write_letters, traces):
    write_letters(a="exit 9")

    with pytest.raises(ItemsFailedError, match="a: SystemExit"):
        Once(traces=traces).run()
    with pytest.raises(AbortedError, match="raised SystemExit"):
        Strictly(traces=traces).run()


def test_an_empty_catch_catches_nothing(write_letters, traces, monkeypatch):
    monkeypatch.setattr(Once, "catch", ())
    write_letters(a="connection 9")

    with pytest.raises(AbortedError, match="ConnectionError"):
        Once(traces=traces).run()


def test_an_error_may_be_worth_another_try_and_end_the_run_all_the_same(write_letters, traces, monkeypatch):
    monkeypatch.setattr(OnConnection, "catch", ValueError)
    write_letters(a="connection 2", b="connection 9")

    with pytest.raises(AbortedError, match="'b'"):
        OnConnection(traces=traces).run()

    assert tries(traces) == {"a": 3, "b": 3}


def test_a_step_may_end_the_run_and_say_why(write_letters, traces, monkeypatch, engine):
    """However many items may fail, and however often each is tried."""
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1.0")
    write_letters(a="abort 9")

    with pytest.raises(AbortedError, match=r"^'a', read from '.*a\.txt', has ended the run: no 1\. Nothing was pub"):
        Twice(traces=traces).run()

    assert tries(traces) == {"a": 1}
    assert Twice(traces=traces).report()["error_type"]["a"] == "Abort"


def test_nothing_more_is_begun_after_the_end(write_letters, traces):
    write_letters(a="abort 9", b="fine", c="fine")

    with pytest.raises(AbortedError):
        Once(traces=traces).run()

    assert tries(traces) == {"a": 1}


@pytest.mark.parametrize("kind", [BaseException, KeyboardInterrupt, "ValueError", ValueError("no"), int, [OSError, 3]])
@pytest.mark.parametrize("name", ["catch", "retry_on"])
def test_what_is_no_class_of_exceptions_is_refused_where_it_is_said(monkeypatch, name, kind):
    with pytest.raises(DefinitionError, match=f"{name} of the decorator names"):
        luisy.directory_output(".txt", **{name: kind})
    monkeypatch.setattr(Once, name, kind)
    with pytest.raises(DefinitionError, match=f"{name} of Once names"):
        Once(traces="")


# -- how many may fail ------------------------------------------------------------------------------------------------


def test_one_failure_too_many_ends_the_run_and_one_less_is_listed(write_letters, traces, monkeypatch):
    write_letters(a="value 9", b="value 9", c="fine", d="fine")
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "0.25")
    with pytest.raises(ItemsFailedError, match="2 of 4 items failed, where max_errors allows 1"):
        Once(traces=traces).run()

    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "0.5")
    Once(traces=traces).run()

    report = Once(traces=traces).report()
    assert report.index[report["status"] == "failed"].to_list() == ["a", "b"]
    assert Once(traces=traces).complete()


def test_a_failure_is_named_with_its_file_and_its_reason(write_letters, traces):
    write_letters(a="value 9")

    with pytest.raises(ItemsFailedError) as caught:
        Once(traces=traces).run()

    file = os.path.join(Letters().output().path, "a.txt")
    assert f"\n  a: ValueError: no 1\n    in {file}\n" in str(caught.value)
