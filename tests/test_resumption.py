"""Resumption: what an interrupted run has finished is not done again, and never taken for more than it is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from typing import ClassVar

import pytest
from conftest import files_below
from pipelines import Letters

import luisy_dir as luisy
from luisy_dir import errors, resumption
from luisy_dir.journal import journals_of
from luisy_dir.manifest import read_manifest
from luisy_dir.record import FOLDER
from luisy_dir.resumption import unpublished_run
from luisy_dir.staging import staging_of
from luisy_dir.storage import local, system

KEYS = [f"{number:02d}" for number in range(10)]


class Interrupted(BaseException):
    """Ends a run at an item, as SIGKILL would, but without ending the tests."""


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class LoudLetters(luisy.DirectoryTask):
    """Notes every item that it processes, and is interrupted at one of them."""

    done: ClassVar[list[str]] = []
    interrupted_at: ClassVar[str | None] = None

    def process(self, text, item):
        controls = vars(sys.modules[__name__])["LoudLetters"]  # out of sight of the fingerprint: they are no code
        if item.key == controls.interrupted_at:
            raise Interrupted
        controls.done.append(item.key)
        if text == "none":
            return None
        if text == "fail":
            raise ValueError("no")
        return text.upper()


@pytest.fixture(autouse=True)
def nothing_done(monkeypatch):
    monkeypatch.setattr(LoudLetters, "done", [])
    monkeypatch.setattr(LoudLetters, "interrupted_at", None)


@pytest.fixture
def letters(write_files):
    folder = Letters().output().path
    write_files(folder, {f"{key}.txt": f"letter {key}".encode() for key in KEYS})
    return folder


def interrupt(at="05"):
    """Run until that item; what was done before it is in the staging then."""
    LoudLetters.interrupted_at = at
    with pytest.raises(Interrupted):
        LoudLetters().run()
    LoudLetters.interrupted_at = None
    assert LoudLetters.done == KEYS[: KEYS.index(at)]
    LoudLetters.done.clear()


def run_on():
    """Run on, and say what was processed; the result must be right, with nothing beside it."""
    LoudLetters().run()
    directory = LoudLetters().output().path
    assert LoudLetters().complete()
    assert LoudLetters().output().verify(deep=True).is_as_written
    assert os.listdir(os.path.dirname(directory)) == ["LoudLetters"]
    return LoudLetters.done


def staged(*parts):
    return os.path.join(unpublished_run(LoudLetters().output().path), *parts)


class TestGoingOn:
    def test_what_was_finished_is_not_done_again(self, letters):
        interrupt()
        assert run_on() == KEYS[5:]
        assert list(LoudLetters().read()) == [f"LETTER {key}" for key in KEYS]

    def test_any_number_of_interruptions_loses_nothing(self, letters):
        for key in KEYS[1:]:
            LoudLetters.interrupted_at = key
            with pytest.raises(Interrupted):
                LoudLetters().run()
        LoudLetters.interrupted_at = None
        assert run_on() == KEYS

    def test_an_update_goes_on_too(self, letters, write_files):
        LoudLetters().run()
        write_files(letters, {f"{key}.txt": b"other" for key in KEYS[:8]})
        LoudLetters.done.clear()
        interrupt("05")
        assert run_on() == KEYS[5:8]
        assert read_manifest(LoudLetters().output().path).record.generation == 2

    def test_after_failed_items_only_these_are_tried_again(self, letters, write_files):
        write_files(letters, {"03.txt": b"fail"})
        with pytest.raises(errors.ItemsFailedError):
            LoudLetters().run()
        finished = {*LoudLetters.done} - {"03"}
        assert finished
        write_files(letters, {"03.txt": b"mended"})
        LoudLetters.done.clear()
        assert run_on() == [key for key in KEYS if key not in finished]

    def test_what_was_rejected_or_skipped_is_not_tried_again(self, letters, write_files):
        write_files(letters, {"02.txt": b"none", "03.md": b"not ours"})
        interrupt()
        assert run_on() == KEYS[5:]
        assert read_manifest(LoudLetters().output().path).record.counts["rejected"] == 1

    def test_the_record_says_how_many_items_an_interrupted_run_had_finished(self, letters):
        interrupt()
        run_on()
        record = read_manifest(LoudLetters().output().path).record
        assert record.resumed == {record.fingerprint: 5}

    def test_a_record_says_nothing_of_it_where_no_run_was_interrupted(self, letters):
        LoudLetters().run()
        path = os.path.join(LoudLetters().output().path, FOLDER, "00000001.json")
        with open(path) as file:
            assert "resumed" not in json.load(file)

    def test_the_report_shows_what_was_finished_in_all_runs(self, letters):
        interrupt("03")
        LoudLetters.interrupted_at = "05"
        with pytest.raises(Interrupted):
            LoudLetters().run()
        assert list(LoudLetters().report().index) == KEYS[:5]

    def test_on_request_everything_is_done_anew(self, letters, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_RESUME", "no")
        interrupt()
        assert run_on() == KEYS

    def test_the_log_says_what_was_taken_over(self, letters, caplog):
        interrupt()
        caplog.set_level("INFO")
        run_on()
        assert "goes on with a run that was interrupted, which has finished 5 of 10 items (5 written)" in caplog.text


class TestWhatIsNotTakenOver:
    def test_an_item_whose_source_changed(self, letters, write_files):
        interrupt()
        write_files(letters, {"01.txt": b"LETTER 0_"})
        assert run_on() == ["01", *KEYS[5:]]

    def test_an_item_whose_source_was_only_touched_is(self, letters):
        interrupt()
        os.utime(os.path.join(letters, "01.txt"), (1_000_000, 1_000_000))
        assert run_on() == KEYS[5:]

    def test_an_item_whose_source_is_gone(self, letters):
        interrupt()
        os.unlink(os.path.join(letters, "01.txt"))
        assert run_on() == KEYS[5:]
        assert files_below(LoudLetters().output().path) == [f"{key}.txt" for key in KEYS if key != "01"]

    @pytest.mark.parametrize("spoil", ["remove", "shorten", "touch", "link"])
    def test_an_item_whose_output_is_not_as_it_was_written(self, letters, spoil):
        interrupt()
        path = staged("files", "01.txt")
        if spoil == "remove":
            os.unlink(path)
        elif spoil == "shorten":
            os.truncate(path, 3)
        elif spoil == "touch":
            with open(path, "r+") as file:
                file.write("other")
        else:
            os.rename(path, staged("files", "elsewhere"))
            os.symlink("elsewhere", path)
        assert run_on() == ["01", *KEYS[5:]]
        assert not os.path.islink(os.path.join(LoudLetters().output().path, "01.txt"))

    def test_what_was_written_and_not_journaled(self, letters):
        """Such as the output of a worker that was killed before it could say so."""
        interrupt()
        for name in ("05.txt", "half.txt", os.path.join("deep", "half.txt")):
            os.makedirs(os.path.dirname(staged("files", name)), exist_ok=True)
            with open(staged("files", name), "w") as file:
                file.write("half")
        assert run_on() == KEYS[5:]
        assert files_below(LoudLetters().output().path) == [f"{key}.txt" for key in KEYS]

    @pytest.mark.parametrize("cut", [2, 10, 100])
    def test_a_line_of_the_journal_that_was_cut_short(self, letters, cut):
        interrupt()
        [journal] = journals_of(staged())
        os.truncate(journal, os.path.getsize(journal) - cut)
        assert run_on() == KEYS[4:]

    def test_a_journal_that_does_not_say_what_its_entries_were_made_with(self, letters):
        interrupt()
        [journal] = journals_of(staged())
        with open(journal, "rb") as file:
            lines = file.readlines()
        with open(journal, "wb") as file:
            file.writelines(lines[1:])
        assert run_on() == KEYS

    def test_a_journal_of_another_version(self, letters, caplog):
        interrupt()
        [journal] = journals_of(staged())
        line = b'{"key": 1}'
        with open(journal, "ab") as file:
            file.write(b"%08x %b\n" % (zlib.crc32(line), line))
        assert run_on() == KEYS
        assert "Nothing of it is taken over" in caplog.text

    def test_a_staging_whose_disk_has_failed(self, letters, monkeypatch):
        def fail(descriptor):
            raise OSError(*((5, "Input/output error") if descriptor >= 0 else (9, "Bad file descriptor")))

        with monkeypatch.context() as patch, pytest.raises(errors.StorageError, match="None of it is trusted"):
            patch.setattr(system, "syncfs", fail)
            LoudLetters().run()
        LoudLetters.done.clear()
        assert run_on() == KEYS

    def test_a_disk_that_fails_while_items_are_processed_ends_the_run_and_poisons_the_staging(
        self, letters, monkeypatch
    ):
        """Whoever is killed after the kernel has told of lost data must have written that down."""
        syncs = []

        def fail(descriptor):
            if descriptor < 0:  # the system is asked whether it has that call
                raise OSError(9, "Bad file descriptor")
            syncs.append(time.monotonic())
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(LoudLetters, "process", _slow)
        with monkeypatch.context() as patch, pytest.raises(errors.StorageError, match="None of it is trusted"):
            patch.setattr(local, "_SYNC_PAUSE_SECONDS", 0.05)
            patch.setattr(system, "syncfs", fail)
            LoudLetters().run()
        assert len(syncs) == 1
        assert 0 < len(LoudLetters.done) < len(KEYS)
        assert [name[:4] for name in os.listdir(staging_of(LoudLetters().output().path))] == ["bad-"]


def _slow(self, text, item):
    self.done.append(item.key)
    time.sleep(0.05)
    return text.upper()


class TestAnotherMemory:
    """After a new boot, or where the disk was pulled out, size and time of change prove nothing."""

    @pytest.fixture(params=["boot_id", "mount_id"])
    def afterwards(self, request, monkeypatch):
        return lambda: monkeypatch.setattr(system, request.param, lambda *_: "another")

    def test_files_that_equal_their_digests_are_taken_over(self, letters, afterwards):
        interrupt()
        afterwards()
        assert run_on() == KEYS[5:]

    def test_a_file_of_the_right_size_and_time_with_other_content_is_made_anew(self, letters, afterwards):
        interrupt()
        path = staged("files", "01.txt")
        state = os.stat(path)
        with open(path, "wb") as file:
            file.write(bytes(state.st_size))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        afterwards()
        assert run_on() == ["01", *KEYS[5:]]

    def test_in_the_same_memory_no_file_is_read(self, letters, monkeypatch):
        asked = []
        monkeypatch.setattr(resumption, "_digest_of", asked.append)
        interrupt()
        assert run_on() == KEYS[5:]
        assert asked == []

    def test_where_the_boot_is_not_known_every_file_is_read(self, letters, monkeypatch):
        monkeypatch.setattr(system, "boot_id", lambda: system.UNKNOWN)
        interrupt()
        path = staged("files", "01.txt")
        state = os.stat(path)
        with open(path, "wb") as file:
            file.write(bytes(state.st_size))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert run_on() == ["01", *KEYS[5:]]


class TestOtherCode:
    """The choice to keep what was finished although the code was changed since is explicit."""

    @pytest.fixture
    def changed(self, letters, monkeypatch):
        def change():
            monkeypatch.setattr(LoudLetters, "version", "2")

        return change

    def test_nothing_is_taken_over(self, changed):
        interrupt()
        changed()
        assert run_on() == KEYS

    def test_until_the_new_code_has_published_what_the_old_had_finished_is_kept(self, changed, monkeypatch):
        interrupt()
        changed()
        LoudLetters.interrupted_at = "02"
        with pytest.raises(Interrupted):
            LoudLetters().run()
        monkeypatch.setattr(LoudLetters, "version", "")
        LoudLetters.interrupted_at = None
        LoudLetters.done.clear()
        assert run_on() == KEYS[5:]

    def test_on_request_it_is_taken_over(self, changed, monkeypatch):
        interrupt()
        record_of_old = LoudLetters()._parts(LoudLetters()._inputs())
        changed()
        monkeypatch.setenv("LUISY_DIR_RESUME", "any-code")
        assert run_on() == KEYS[5:]
        record = read_manifest(LoudLetters().output().path).record
        [(fingerprint, count)] = record.resumed.items()
        assert (count, fingerprint != record.fingerprint) == (5, True)
        assert record.parts["version"] == "2"
        assert record_of_old["version"] == ""

    def test_on_request_that_run_is_taken_which_has_finished_more(self, changed, monkeypatch):
        """Who has begun with the new code by mistake, and has stopped that, loses nothing."""
        interrupt()
        changed()
        LoudLetters.interrupted_at = "02"
        with pytest.raises(Interrupted):
            LoudLetters().run()
        LoudLetters.interrupted_at = None
        LoudLetters.done.clear()
        monkeypatch.setenv("LUISY_DIR_RESUME", "any-code")
        assert run_on() == KEYS[5:]

    def test_never_with_another_seed(self, letters, monkeypatch):
        """Not code, but what was asked for."""
        interrupt()
        monkeypatch.setenv("LUISY_DIR_RESUME", "any-code")
        monkeypatch.setenv("LUISY_DIR_SEED", "7")
        assert run_on() == KEYS

    def test_the_log_names_what_is_not_used(self, changed, caplog):
        interrupt()
        changed()
        caplog.set_level("INFO")
        run_on()
        assert "--luisy-dir-resume any-code" in caplog.text


class TestWhatStays:
    def test_where_nothing_is_to_be_done_what_a_run_has_left_is_removed(self, letters, write_files):
        LoudLetters().run()
        old = {f"{key}.txt": f"letter {key}".encode() for key in ("01", "02")}
        write_files(letters, dict.fromkeys(old, b"other"))
        LoudLetters.interrupted_at = "02"
        with pytest.raises(Interrupted):
            LoudLetters().run()
        write_files(letters, old)
        LoudLetters.interrupted_at = None
        LoudLetters.done.clear()
        assert os.path.exists(staging_of(LoudLetters().output().path))
        assert run_on() == []

    def test_going_back_to_another_generation_leaves_it_alone(self, letters, write_files):
        LoudLetters().run()
        write_files(letters, {"01.txt": b"other"})
        LoudLetters().run()
        write_files(letters, {f"{key}.txt": b"latest" for key in KEYS})
        LoudLetters.done.clear()
        interrupt()
        LoudLetters().output().rollback(1)
        LoudLetters().output().release()
        LoudLetters.done.clear()
        assert run_on() == KEYS[5:]

    def test_a_run_that_finds_a_foreign_directory_leaves_it_alone(self, letters):
        interrupt()
        directory = LoudLetters().output().path
        os.mkdir(directory)
        with pytest.raises(errors.ForeignDirectoryError):
            LoudLetters().run()
        os.rmdir(directory)
        assert run_on() == KEYS[5:]


SCRIPT = """
import os, signal, sys, time
import luisy_dir as luisy
import pipelines

@luisy.interim
@luisy.requires(pipelines.Letters)
@luisy.directory_output(".txt")
class Slow(luisy.DirectoryTask):
    def process(self, text, item):
        log = os.open(sys.argv[2], os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(log, item.key.encode() + b"\\n")
        os.close(log)
        time.sleep(float(os.environ.get("PAUSE", "0")))
        return text.upper()

if __name__ == "__main__":
    luisy.set_working_dir(sys.argv[1])
    Slow().run()
"""


@pytest.mark.parametrize(("engine", "workers"), [("serial", 1), ("threads", 3), ("processes", 3)])
def test_after_sigkill_each_worker_redoes_at_most_the_item_that_it_had_in_hand(
    working_dir, letters, tmp_path_factory, engine, workers
):
    scratch = tmp_path_factory.mktemp("script")
    script, log = scratch / "script.py", scratch / "log"
    script.write_text(SCRIPT)
    environment = os.environ | {
        "PYTHONPATH": os.path.dirname(__file__), "LUISY_DIR_ENGINE": engine, "LUISY_DIR_WORKERS": str(workers)
    }  # fmt: skip
    command = [sys.executable, str(script), str(working_dir), str(log)]
    with subprocess.Popen(command, env=environment | {"PAUSE": "0.1"}) as child:
        while not log.exists() or len(log.read_text().splitlines()) < len(KEYS) // 2:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    subprocess.run(command, env=environment, check=True)
    done = log.read_text().split()
    assert set(done) == set(KEYS)
    assert len(done) - len(KEYS) <= workers
    assert len(done) - len(KEYS) < len(KEYS) // 2  # something was taken over
    [directory] = [os.path.join(root, "Slow") for root, folders, _ in os.walk(working_dir) if "Slow" in folders]
    assert files_below(directory) == [f"{key}.txt" for key in KEYS]
    assert os.listdir(os.path.dirname(directory)) == ["Slow"]
    shutil.rmtree(directory)


class TestWhileItIsBroughtToTheDisk:
    """Who dies in a sync cannot tell whether the kernel had lost data by then, and it would not say so twice."""

    @pytest.fixture
    def interrupted_sync(self, letters):
        interrupt()
        with open(staged("syncing-x"), "w"):
            pass

    def test_what_was_finished_is_read_and_written_again(self, interrupted_sync, monkeypatch):
        written, write = [], system.write
        monkeypatch.setattr(system, "write", lambda number, data: [written.append(bytes(data)), write(number, data)][1])
        assert run_on() == KEYS[5:]
        assert {f"LETTER {key}".encode() for key in KEYS[:5]} <= set(written)

    def test_what_is_no_longer_what_was_written_is_made_anew(self, interrupted_sync):
        path = staged("files", "01.txt")
        state = os.stat(path)
        with open(path, "wb") as file:
            file.write(bytes(state.st_size))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert run_on() == ["01", *KEYS[5:]]

    def test_the_time_of_change_stays_as_it_was_recorded(self, interrupted_sync):
        run_on()
        with LoudLetters().output().pinned() as directory:
            for entry in read_manifest(LoudLetters().output().path).entries():
                for output in entry.outputs:
                    assert os.stat(os.path.join(directory.path, output.path)).st_mtime_ns == output.mtime_ns

    def test_a_large_file_is_written_again_as_it_is(self, tmp_path):
        content = os.urandom(3 * (1 << 20) + 17)
        path = tmp_path / "large"
        path.write_bytes(content)
        local.write_again(str(path))
        assert path.read_bytes() == content


def test_a_file_whose_time_of_change_was_taken_back_by_a_crash_is_recorded_as_it_lies(letters, monkeypatch):
    """Else every look at the published directory would have to read it."""
    interrupt()
    os.utime(staged("files", "01.txt"), ns=(0, 1_000_000_000))
    monkeypatch.setattr(system, "boot_id", lambda: "another")
    assert run_on() == KEYS[5:]
    [output] = [entry.outputs[0] for entry in read_manifest(LoudLetters().output().path).entries() if entry.key == "01"]
    assert output.mtime_ns == 1_000_000_000


class TestPlan:
    def test_it_says_how_many_items_are_finished(self, letters):
        assert LoudLetters().plan().finished == frozenset()
        interrupt()
        before = files_below(staging_of(LoudLetters().output().path))
        plan = LoudLetters().plan()
        assert plan.finished == {*KEYS[:5]}
        assert "5 of them were finished by a run that was interrupted" in str(plan)
        assert files_below(staging_of(LoudLetters().output().path)) == before
        assert run_on() == KEYS[5:]
        assert LoudLetters().plan().finished == frozenset()

    def test_what_has_changed_since_is_not_finished(self, letters, write_files):
        interrupt()
        write_files(letters, {"01.txt": b"other"})
        assert LoudLetters().plan().finished == {*KEYS[:5]} - {"01"}

    def test_what_other_code_has_finished_counts_where_it_may_be_used(self, letters, monkeypatch):
        interrupt()
        monkeypatch.setattr(LoudLetters, "version", "2")
        assert LoudLetters().plan().finished == frozenset()
        monkeypatch.setenv("LUISY_DIR_RESUME", "any-code")
        assert LoudLetters().plan().finished == {*KEYS[:5]}

    def test_the_time_that_it_will_take_is_that_of_the_rest(self, letters, write_files):
        LoudLetters().run()
        write_files(letters, {f"{key}.txt": b"other" for key in KEYS})
        LoudLetters.done.clear()
        whole = LoudLetters().plan().estimated_seconds
        interrupt()
        assert 0 < LoudLetters().plan().estimated_seconds < whole
