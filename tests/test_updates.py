"""Updates: only what changed is processed, and the directory equals its inputs all the same."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from datetime import timedelta

import luigi
import pytest
from conftest import files_below, states_below
from pipelines import Letters, Strict, Upper, Words
from test_luigi import luigi_command
from test_rollforward import Calls, put_letters, read, tree

import luisy_dir as luisy
from luisy_dir import errors
from luisy_dir.manifest import read_manifest
from luisy_dir.record import CURRENT, FOLDER, generation_name, generations_in
from luisy_dir.staging import staging_of
from luisy_dir.storage import system

CALLS: list[str] = []


def shout(self, text, item):
    CALLS.append(item.key)
    if text.startswith("fail"):
        raise ValueError(f"cannot read {text!r}")
    if text.startswith("reject"):
        raise luisy.Reject("not wanted")
    return text.upper()


def shout_in_other_words(self, text, item):
    CALLS.append(item.key)
    loud = [letter.upper() for letter in text]
    return "".join(loud)


def whisper(self, text, item):
    CALLS.append(item.key)
    return text.lower()


def consume(self, text, item):
    CALLS.append(f"down {item.key}")
    return f"<{text}>"


def join_two(self, left, right, item):
    CALLS.append(f"join {item.key}")
    return f"{left}{right}"


def split(self, text, item):
    CALLS.append(item.key)
    for word in text.split():
        name, _, content = word.partition("=")
        yield luisy.Output(content, key=name or None)


def task_of(name, process, *required, **body):
    """A serial text task of that name, made anew at each call as if its module had been edited."""
    made = type(name, (luisy.DirectoryTask,), {"process": process, "__module__": __name__, **body})
    return luisy.interim(luisy.requires(*required)(luisy.directory_output(".txt", engine="serial")(made)))


Shout = task_of("Shout", shout, Letters)
Down = task_of("Down", consume, Shout)
Split = task_of("Split", split, Letters)

TEN = {f"{number}.txt": f"text {number}" for number in range(10)}


def run(task):
    """Keys for which the user's function is called in a run, in order."""
    CALLS.clear()
    task().run()
    return sorted(CALLS)


def generation(task):
    return task().output().manifest().record.generation


def status_of(task, key):
    return next(entry.status for entry in task().output().manifest().entries() if entry.key == key)


def raw(path):
    return os.path.join(Letters().output().path, path)


def out(task, path=""):
    return os.path.join(task().output().path, path)


def rewrite(path, text, *, age_seconds=30.0):
    """Write other bytes, some time ago."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    then = time.time() - age_seconds
    os.utime(path, (then, then))


def swap(path, text):
    """Other bytes of the same size with the same time of change."""
    state = os.stat(path)
    with open(path, "w") as file:
        file.write(text)
    assert os.stat(path).st_size == state.st_size
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def is_right(task, expected):
    """Complete, whole, equal to what is expected, and with nothing beside it."""
    directory = task().output().path
    assert tree(directory) == expected
    assert task().complete()
    assert task().output().verify(deep=True).is_whole
    assert not os.path.exists(staging_of(directory))
    return True


def shouted(letters):
    return {path: text.upper() for path, text in letters.items()}


@pytest.fixture
def ten():
    """Ten letters, published."""
    put_letters(TEN)
    assert len(run(Shout)) == 10
    return dict(TEN)


class TestOnlyWhatChanged:
    def test_a_second_run_skips_all_and_makes_no_generation(self, ten):
        before = states_below(Shout().output().path)
        assert run(Shout) == []
        assert generation(Shout) == 1
        assert states_below(Shout().output().path) == before

    def test_modified_added_and_deleted_together(self, ten):
        rewrite(raw("3.txt"), "other")
        rewrite(raw("new.txt"), "new")
        rewrite(raw("deep/er.txt"), "deep")
        os.unlink(raw("5.txt"))
        assert not Shout().complete()
        assert Shout().plan().counts == {"unchanged": 8, "new": 2, "changed": 1, "deleted": 1}
        assert run(Shout) == ["3", "deep/er", "new"]
        del ten["5.txt"]
        assert is_right(Shout, shouted(ten | {"3.txt": "other", "new.txt": "new", "deep/er.txt": "deep"}))
        assert generation(Shout) == 2
        assert run(Shout) == []

    def test_a_deletion_alone_calls_nobody(self, ten):
        os.unlink(raw("5.txt"))
        assert not Shout().complete()
        assert run(Shout) == []
        del ten["5.txt"]
        assert is_right(Shout, shouted(ten))

    def test_the_folders_of_a_deleted_item_vanish_when_they_are_empty(self, ten):
        rewrite(raw("a/b/c/gone.txt"), "gone")
        rewrite(raw("a/stays.txt"), "stays")
        run(Shout)
        shutil.rmtree(raw("a/b"))
        assert run(Shout) == []
        assert os.listdir(out(Shout, "a")) == ["stays.txt"]
        assert is_right(Shout, shouted(ten | {"a/stays.txt": "stays"}))

    def test_what_was_touched_is_not_processed_and_its_time_is_refreshed_when_a_run_happens(self, ten):
        """Else its digest would be asked for again and again."""
        rewrite(raw("3.txt"), TEN["3.txt"], age_seconds=20)
        assert Shout().plan().counts == {"unchanged": 9, "touched": 1}
        assert Shout().complete()
        assert run(Shout) == []
        assert generation(Shout) == 1
        rewrite(raw("4.txt"), "other")
        assert run(Shout) == ["4"]
        [source] = next(entry for entry in Shout().output().manifest().entries() if entry.key == "3").sources
        assert source.mtime_ns == os.stat(raw("3.txt")).st_mtime_ns
        assert Shout().plan().counts == {"unchanged": 10}
        assert is_right(Shout, shouted(ten | {"4.txt": "other"}))

    def test_same_size_same_time_and_other_bytes_are_found_where_content_is_compared(self, ten, monkeypatch):
        swap(raw("3.txt"), "TEXT !")
        assert Shout().complete()
        monkeypatch.setenv("LUISY_DIR_FRESHNESS", "content")
        assert not Shout().complete()
        assert run(Shout) == ["3"]
        assert is_right(Shout, shouted(ten | {"3.txt": "TEXT !"}))
        assert run(Shout) == []

    def test_a_file_that_changes_again_within_the_tick_in_which_it_was_read_is_found(self, ten):
        rewrite(raw("3.txt"), "first!", age_seconds=0)
        assert run(Shout) == ["3"]
        swap(raw("3.txt"), "second")
        assert not Shout().complete()
        assert Shout().plan().counts == {"unchanged": 9, "changed": 1}
        assert run(Shout) == ["3"]
        assert is_right(Shout, shouted(ten | {"3.txt": "second"}))

    def test_a_file_that_was_racy_stays_in_doubt_after_a_run_for_another_one(self, ten):
        """The next generation begins later, but looks at that file by its digest."""
        rewrite(raw("3.txt"), "first!", age_seconds=0)
        run(Shout)
        rewrite(raw("4.txt"), "other")
        swap(raw("3.txt"), "second")
        assert run(Shout) == ["3", "4"]
        assert is_right(Shout, shouted(ten | {"3.txt": "second", "4.txt": "other"}))

    def test_another_suffix_of_the_same_key_is_a_change(self, working_dir):
        @luisy.make_directory_output(read)
        @luisy.raw
        class Anything(luisy.ExternalTask):
            def get_folder_name(self):
                return "anything"

        task = task_of("OfAnything", shout, Anything)
        rewrite(os.path.join(Anything().output().path, "a.txt"), "old")
        rewrite(os.path.join(Anything().output().path, "b.txt"), "b")
        run(task)
        os.unlink(os.path.join(Anything().output().path, "a.txt"))
        rewrite(os.path.join(Anything().output().path, "a.text"), "new")
        assert run(task) == ["a"]
        assert is_right(task, {"a.txt": "NEW", "b.txt": "B"})

    @pytest.mark.parametrize("engine", ["threads", "processes", "async"])
    def test_every_engine_updates_to_the_same_directory(self, monkeypatch, engine):
        """And to the one that a first build of the same letters makes."""
        letters = {f"{number:02d}.txt": f"text {number}" for number in range(30)}

        def updated_by(engine, place):
            monkeypatch.setenv("LUISY_DIR_ENGINE", engine)
            monkeypatch.setenv("LUISY_DIR_WORKERS", "2")
            put_letters(letters)
            Strict().run()
            for number in range(5):
                os.unlink(raw(f"{number:02d}.txt"))
                rewrite(raw(f"1{number}.txt"), f"other {number}")
                rewrite(raw(f"new{number}.txt"), f"new {number}")
            Strict().run()
            assert generation(Strict) == 2
            os.rename(Strict().output().path, place)
            return read_manifest(place)

        folder = os.path.dirname(Strict().output().path)
        by_serial = updated_by("serial", os.path.join(folder, "by_serial"))
        by_engine = updated_by(engine, os.path.join(folder, "by_engine"))
        assert by_engine.same_as(by_serial)
        assert tree(by_engine.directory) == tree(by_serial.directory)
        Strict().run()
        assert Strict().output().manifest().same_as(by_serial)


class TestTryingAgain:
    @pytest.fixture(autouse=True)
    def lenient(self, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "5")

    @pytest.fixture
    def failed(self, ten):
        """Ten are written and two have failed."""
        rewrite(raw("bad1.txt"), "fail 1")
        rewrite(raw("bad2.txt"), "fail 2")
        assert run(Shout) == ["bad1", "bad2"]
        assert Shout().complete()
        return ten

    def test_only_what_failed(self, failed):
        assert run(Shout) == ["bad1", "bad2"]
        assert is_right(Shout, shouted(failed))

    def test_what_was_mended_without_a_change_of_the_file(self, failed):
        """The same code may fare better, for instance where a service was down."""
        swap(raw("bad1.txt"), "good 1")
        assert run(Shout) == ["bad1", "bad2"]
        assert is_right(Shout, shouted(failed | {"bad1.txt": "good 1"}))

    def test_only_the_missing_output(self, ten):
        os.unlink(out(Shout, "4.txt"))
        assert not Shout().complete()
        assert run(Shout) == ["4"]
        assert is_right(Shout, shouted(ten))

    def test_new_and_missing_together(self, ten):
        os.unlink(out(Shout, "4.txt"))
        rewrite(raw("new.txt"), "new")
        assert run(Shout) == ["4", "new"]
        assert is_right(Shout, shouted(ten | {"new.txt": "new"}))

    def test_failed_and_missing_and_new_together(self, failed):
        os.unlink(out(Shout, "4.txt"))
        rewrite(raw("new.txt"), "new")
        assert run(Shout) == ["4", "bad1", "bad2", "new"]
        assert is_right(Shout, shouted(failed | {"new.txt": "new"}))

    def test_an_item_that_failed_and_is_another_file_now_is_processed_once(self, failed):
        rewrite(raw("bad1.txt"), "mended")
        assert Shout().plan().counts == {"unchanged": 10, "changed": 1, "failed before": 1}
        assert run(Shout) == ["bad1", "bad2"]
        keys = [entry.key for entry in Shout().output().manifest().entries()]
        assert len(keys) == len(set(keys)) == 12
        assert is_right(Shout, shouted(failed | {"bad1.txt": "mended"}))

    def test_an_item_that_fails_again_and_again(self, failed):
        for _ in range(4):
            assert run(Shout) == ["bad1", "bad2"]
            assert Shout().complete()
            assert Shout().output().manifest().record.counts["failed"] == 2
        os.unlink(raw("bad1.txt"))
        os.unlink(raw("bad2.txt"))
        assert run(Shout) == []
        assert is_right(Shout, shouted(failed))

    def test_the_setting_makes_a_directory_with_failures_incomplete(self, failed, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_RETRY_FAILED", "1")
        assert not Shout().complete()
        assert run(Shout) == ["bad1", "bad2"]

    def test_the_setting_means_nothing_where_nothing_failed(self, ten, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_RETRY_FAILED", "1")
        assert Shout().complete()

    def test_in_one_invocation_they_are_tried_again_once(self, failed, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_RETRY_FAILED", "1")
        CALLS.clear()
        for number in range(1, 3):
            assert luigi.build([Down()], local_scheduler=True, log_level="ERROR")
            assert [key for key in CALLS if key.startswith("bad")] == ["bad1", "bad2"] * number

    def test_the_flag_of_the_luigi_command(self, working_dir, write_files):
        """Each invocation tries again exactly what failed, and then is content."""
        write_files(Letters().output().path, {"a.txt": b"fine", "b.txt": b"fail now", "c.txt": b"fail too"})
        arguments = ("Strict", "--luisy-dir-working-dir", str(working_dir), "--luisy-dir-max-errors", "2")
        assert luigi_command(*arguments).returncode == 0
        entries = {entry.key: entry for entry in Strict().output().manifest().entries()}
        assert luigi_command(*arguments).returncode == 0
        assert generation(Strict) == 1
        for number in (2, 3):
            answer = luigi_command(*arguments, "--luisy-dir-retry-failed")
            assert answer.returncode == 0, answer.stderr
            assert "1 ran successfully" in answer.stderr
            assert generation(Strict) == number
            now = {entry.key: entry for entry in Strict().output().manifest().entries()}
            assert now["a"] == entries["a"]
            assert now["b"].started > entries["b"].started
            assert now["c"].started > entries["c"].started
            entries = now

    @pytest.mark.parametrize("status", ["failed", "rejected"])
    def test_the_output_leaves_of_an_item_that_was_written_and_no_longer_is(self, ten, status):
        rewrite(raw("3.txt"), status.removesuffix("ed"))
        assert run(Shout) == ["3"]
        assert status_of(Shout, "3") == status
        del ten["3.txt"]
        assert is_right(Shout, shouted(ten))

    def test_over_the_budget_the_former_generation_stays_whole(self, ten, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "0")
        rewrite(raw("3.txt"), "fail now")
        rewrite(raw("4.txt"), "other")
        os.unlink(raw("5.txt"))
        with pytest.raises(errors.ItemsFailedError, match="3: ValueError: cannot read 'fail now'"):
            run(Shout)
        assert tree(out(Shout)) == shouted(ten)
        assert generation(Shout) == 1
        assert Shout().output().verify(deep=True).is_whole
        assert not Shout().complete()
        report = Shout().report()
        assert report.loc["3", "status"] == "failed"
        assert report.loc["3", "error"] == "cannot read 'fail now'"
        rewrite(raw("3.txt"), "mended")
        assert {*run(Shout)} - {"4"} == {"3"}  # the other one may have been finished before the run was given up
        del ten["5.txt"]
        assert is_right(Shout, shouted(ten | {"3.txt": "mended", "4.txt": "other"}))


class TestOutputsThatChange:
    @pytest.mark.parametrize("damage", ["other size", "same size", "empty", "gone", "a folder", "a link"])
    def test_an_output_that_was_damaged_by_hand_is_made_anew(self, ten, damage, tmp_path):
        path = out(Shout, "3.txt")
        if damage in {"gone", "a folder", "a link"}:
            os.unlink(path)
        if damage == "a folder":
            os.mkdir(path)
        elif damage == "a link":
            (tmp_path / "elsewhere").write_text("text")
            os.symlink(tmp_path / "elsewhere", path)
        elif damage != "gone":
            rewrite(path, {"other size": "damaged", "same size": "DAMAGE", "empty": ""}[damage])
        assert not Shout().complete()
        assert run(Shout) == ["3"]
        assert is_right(Shout, shouted(ten))
        assert run(Shout) == []

    def test_an_output_of_the_same_size_and_time_is_found_where_outputs_are_read(self, ten, monkeypatch):
        swap(out(Shout, "3.txt"), "DAMAGE")
        monkeypatch.setenv("LUISY_DIR_CHECK_OUTPUTS", "deep")
        assert not Shout().complete()
        assert run(Shout) == ["3"]
        assert is_right(Shout, shouted(ten))

    def test_an_output_that_was_written_again_with_the_same_bytes_is_left_alone(self, ten):
        rewrite(out(Shout, "3.txt"), "TEXT 3")
        assert Shout().complete()
        assert run(Shout) == []

    def test_several_outputs_of_one_item_shrink_and_grow(self):
        put_letters({"many.txt": "a=1 b=2 c=3", "still.txt": "a=1"})
        run(Split)
        still = {"still/a.txt": "1"}
        for text, expected in {
            "a=1": {"many/a.txt": "1"},
            "a=1 b=2 c=drei d=4": {"many/a.txt": "1", "many/b.txt": "2", "many/c.txt": "drei", "many/d.txt": "4"},
            "": {},
            "=alone": {"many.txt": "alone"},
            "x/y=5": {"many/x/y.txt": "5"},
        }.items():
            rewrite(raw("many.txt"), text)
            assert run(Split) == ["many"]
            assert is_right(Split, still | expected)

    def test_one_of_several_outputs_is_missing(self):
        put_letters({"many.txt": "a=1 b=2 c=3", "still.txt": "a=1"})
        run(Split)
        os.unlink(out(Split, "many/b.txt"))
        assert run(Split) == ["many"]
        assert is_right(Split, {"many/a.txt": "1", "many/b.txt": "2", "many/c.txt": "3", "still/a.txt": "1"})

    @pytest.mark.parametrize("reverse", [False, True])
    def test_an_output_moves_from_one_item_to_another(self, reverse):
        before = {"a.txt": "b/c=from-a keep=1", "a/b.txt": "other=1"}
        after = {"a.txt": "keep=1", "a/b.txt": "other=1 c=from-b"}
        first, then = (after, before) if reverse else (before, after)
        put_letters(first)
        run(Split)
        for path, text in then.items():
            rewrite(raw(path), text)
        assert run(Split) == ["a", "a/b"]
        path, content = "a/b/c.txt", "from-a" if reverse else "from-b"
        assert is_right(Split, {"a/keep.txt": "1", "a/b/other.txt": "1", path: content})

    def test_a_new_item_that_is_named_like_an_output_of_another_one_and_writes_elsewhere(self):
        """As in a first build, where the two do not meet."""
        put_letters({"a.txt": "b=1", "still.txt": "a=1"})
        run(Split)
        rewrite(raw("a/b.txt"), "c=2")
        assert run(Split) == ["a/b"]
        assert is_right(Split, {"a/b.txt": "1", "a/b/c.txt": "2", "still/a.txt": "1"})

    def test_an_output_moves_to_a_new_item_while_the_old_one_goes(self):
        put_letters({"a.txt": "b=old", "c.txt": "d=1", "e.txt": "f=1"})
        run(Split)
        os.unlink(raw("a.txt"))
        rewrite(raw("a/b.txt"), "=new")
        assert run(Split) == ["a/b"]
        assert is_right(Split, {"a/b.txt": "new", "c/d.txt": "1", "e/f.txt": "1"})

    def test_a_folder_takes_the_place_of_a_file_and_the_other_way_round(self, ten):
        os.unlink(raw("3.txt"))
        rewrite(raw("3.txt/inner.txt"), "inside")
        rewrite(raw("3.txt/deep/er.txt"), "deep")
        assert run(Shout) == ["3.txt/deep/er", "3.txt/inner"]
        without = shouted(ten)
        del without["3.txt"]
        assert is_right(Shout, without | {"3.txt/inner.txt": "INSIDE", "3.txt/deep/er.txt": "DEEP"})
        shutil.rmtree(raw("3.txt"))
        rewrite(raw("3.txt"), "file")
        assert run(Shout) == ["3"]
        assert is_right(Shout, without | {"3.txt": "FILE"})

    @pytest.mark.parametrize("foreign", ["new.txt", "new.txt/mine.txt", "deep"])
    def test_a_foreign_file_in_the_way_ends_the_run_before_any_call(self, ten, foreign):
        """Nothing is lost: neither what is foreign nor what was published."""
        rewrite(out(Shout, foreign), "mine")
        rewrite(raw("deep/er.txt" if foreign == "deep" else "new.txt"), "new")
        rewrite(raw("3.txt"), "other")
        CALLS.clear()
        with pytest.raises(errors.ForeignDirectoryError, match="Move it away"):
            Shout().run()
        assert CALLS == []
        assert tree(out(Shout)) == shouted(ten) | {foreign: "mine"}
        assert generation(Shout) == 1
        assert not os.path.exists(staging_of(out(Shout)))
        os.renames(out(Shout, foreign), raw("../moved"))
        assert len(run(Shout)) == 2

    def test_a_foreign_file_in_the_way_of_an_output_that_nobody_could_foresee(self):
        """What an iterator yields is known when it has been called: still nothing is lost."""
        put_letters({"a.txt": "b=1", "c.txt": "d=1"})
        run(Split)
        rewrite(out(Split, "a/x.txt"), "mine")
        rewrite(raw("a.txt"), "b=2 x=3")
        with pytest.raises(errors.ForeignDirectoryError, match=r"'a/x\.txt'"):
            run(Split)
        assert tree(out(Split)) == {"a/b.txt": "1", "c/d.txt": "1", "a/x.txt": "mine"}
        assert generation(Split) == 1

    def test_foreign_files_elsewhere_are_left_alone(self, ten):
        rewrite(out(Shout, "notes/mine.md"), "mine")
        rewrite(raw("3.txt"), "other")
        assert run(Shout) == ["3"]
        assert read(out(Shout, "notes/mine.md")) == "mine"
        assert Shout().complete()


class TestCode:
    def test_other_code_makes_everything_stale_and_nothing_else(self, ten):
        edited = task_of("Shout", whisper, Letters)
        other = task_of("Other", shout, Letters)
        run(other)
        assert not edited().complete()
        assert edited().plan().counts == {"code": 10}
        assert other().complete()
        assert len(run(edited)) == 10
        assert is_right(edited, TEN)
        assert run(edited) == []
        assert not Shout().complete()

    def test_another_comment_is_no_other_code(self, ten):
        namespace = {"CALLS": CALLS}
        exec("def shout(self, text, item):\n    CALLS.append(item.key)\n    return text", namespace)
        one = task_of("Commented", namespace["shout"], Letters)
        run(one)
        exec("def shout(self, text, item):\n    # why\n    CALLS.append(item.key)\n\n    return text", namespace)
        assert task_of("Commented", namespace["shout"], Letters)().complete()

    def test_another_version_makes_everything_stale(self, ten):
        assert len(run(task_of("Shout", shout, Letters, version="2"))) == 10

    def test_other_code_that_writes_the_same_bytes_makes_nothing_stale_downstream(self, ten):
        run(Down)
        before = states_below(out(Down))
        edited = task_of("Shout", shout_in_other_words, Letters)
        assert len(run(edited)) == 10
        assert Down().complete() is False  # Down still requires the former Shout
        down = task_of("Down", consume, edited)
        assert down().complete()
        assert run(down) == []
        assert generation(down) == 1
        assert states_below(out(down)) == before

    def test_other_code_with_new_and_deleted_items(self, ten):
        rewrite(raw("new.txt"), "new")
        os.unlink(raw("5.txt"))
        edited = task_of("Shout", whisper, Letters)
        assert edited().plan().counts == {"code": 9, "new": 1, "deleted": 1}
        assert len(run(edited)) == 10
        del ten["5.txt"]
        assert is_right(edited, ten | {"new.txt": "new"})


class TestDownstream:
    @pytest.fixture(autouse=True)
    def published(self, ten):
        assert len(run(Down)) == 10

    def consumed(self, letters):
        return {path: f"<{text}>" for path, text in shouted(letters).items()}

    def test_one_changed_output_is_one_call(self, ten):
        rewrite(raw("3.txt"), "other")
        assert run(Shout) == ["3"]
        assert not Down().complete()
        assert Down().plan().counts == {"unchanged": 9, "changed": 1}
        assert run(Down) == ["down 3"]
        assert is_right(Down, self.consumed(ten | {"3.txt": "other"}))

    def test_other_bytes_that_become_the_same_output_are_no_call(self, ten):
        rewrite(raw("3.txt"), "TEXT 3")
        assert run(Shout) == ["3"]
        assert Down().complete()
        assert run(Down) == []
        assert generation(Down) == 1

    def test_new_changed_and_deleted_arrive(self, ten):
        rewrite(raw("3.txt"), "other")
        rewrite(raw("new.txt"), "new")
        os.unlink(raw("5.txt"))
        run(Shout)
        assert run(Down) == ["down 3", "down new"]
        del ten["5.txt"]
        assert is_right(Down, self.consumed(ten | {"3.txt": "other", "new.txt": "new"}))

    def test_a_build_runs_each_layer_for_what_changed(self, ten):
        rewrite(raw("3.txt"), "other")
        CALLS.clear()
        assert luigi.build([Down()], local_scheduler=True, log_level="ERROR")
        assert CALLS == ["3", "down 3"]
        CALLS.clear()
        assert luigi.build([Down()], local_scheduler=True, log_level="ERROR")
        assert CALLS == []

    def test_an_upstream_that_was_removed_and_made_again_with_the_same_bytes_is_no_work(self, ten):
        before = states_below(out(Down))
        Shout().output().remove()
        assert not Down().complete()
        assert len(run(Shout)) == 10
        assert Down().complete()
        assert run(Down) == []
        assert states_below(out(Down)) == before

    def test_an_upstream_that_fails_an_item_takes_it_away_downstream(self, ten, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        rewrite(raw("3.txt"), "fail")
        assert run(Shout) == ["3"]
        assert run(Down) == []
        del ten["3.txt"]
        assert is_right(Down, self.consumed(ten))

    def test_an_upstream_that_is_incomplete_is_refused_by_hand(self, ten):
        rewrite(raw("3.txt"), "other")
        with pytest.raises(errors.MissingInputError, match="not complete"):
            run(Down)

    def test_a_rollback_upstream_arrives(self, ten):
        rewrite(raw("3.txt"), "other")
        run(Shout)
        run(Down)
        Shout().output().rollback()
        assert not Down().complete()
        assert run(Down) == ["down 3"]
        assert is_right(Down, self.consumed(ten))

    def opened(self, monkeypatch, act):
        """Paths that are opened in any way, by the names of the functions."""
        paths = {}
        for name in ("open", "read_file", "map_file"):
            original = getattr(system, name)

            def call(path, *arguments, name=name, original=original):
                paths.setdefault(name, []).append(path)
                return original(path, *arguments)

            monkeypatch.setattr(system, name, call)
        act()
        monkeypatch.undo()
        return paths

    def test_an_unchanged_required_directory_is_known_without_a_look_at_its_entries(self, ten, working_dir):
        """Its record says what its outputs hold, in one line."""
        with pytest.MonkeyPatch.context() as patch:
            paths = self.opened(patch, lambda: Down().plan())
        entries = Shout().output().manifest().path
        assert not [path for each in paths.values() for path in each if path == entries]

    def test_complete_decodes_no_entry_where_nothing_changed(self, ten):
        """Each directory's own entries are compared with their digest, so that damage is seen, and that is all."""
        with pytest.MonkeyPatch.context() as patch:
            paths = self.opened(patch, lambda: Down().complete())
        assert "read_file" not in paths
        for task in (Shout, Down):
            assert paths["open"].count(task().output().manifest().path) == 1

    def test_one_side_of_a_join_changes(self, ten):
        other = task_of("OtherSide", whisper, Letters)
        joined = task_of("JoinOfTwo", join_two, Shout, other)
        run(other)
        assert len(run(joined)) == 10
        edited = task_of("OtherSide", lambda self, text, item: text.lower().replace("3", "III"), Letters)
        run(edited)
        joined = task_of("JoinOfTwo", join_two, Shout, edited)
        assert run(joined) == ["join 3"]
        expected = {path: text.upper() + text.replace("3", "III") for path, text in ten.items()}
        assert is_right(joined, expected)
        assert run(joined) == []

    def test_an_item_leaves_one_side_of_a_join_and_comes_back(self, ten, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        picky = task_of("Picky", shout, Letters)
        other = task_of("OtherSide", whisper, Letters)
        joined = task_of("JoinOfTwo", join_two, picky, other)
        run(picky)
        run(other)
        run(joined)
        rewrite(raw("3.txt"), "reject")
        run(picky)
        run(other)
        assert run(joined) == []
        assert status_of(joined, "3") == "rejected"
        assert "3.txt" not in files_below(out(joined))
        assert joined().complete()
        rewrite(raw("3.txt"), "back")
        run(picky)
        run(other)
        assert run(joined) == ["join 3"]
        assert read(out(joined, "3.txt")) == "BACKback"


class TestMassDeletions:
    def delete(self, count):
        for number in range(count):
            os.unlink(raw(f"{number}.txt"))

    def check_refused(self, ten, what=errors.TooManyDeletedError):
        before = states_below(out(Shout))
        CALLS.clear()
        with pytest.raises(what):
            Shout().run()
        assert CALLS == []
        assert states_below(out(Shout)) == before

    def test_half_may_go(self, ten):
        self.delete(5)
        assert run(Shout) == []
        assert len(tree(out(Shout))) == 5

    def test_more_than_half_is_an_error_and_nothing_is_removed(self, ten):
        self.delete(6)
        rewrite(raw("new.txt"), "new")
        self.check_refused(ten)
        with pytest.raises(errors.TooManyDeletedError, match=r"6 of the 10 .*mounted.*--luisy-dir-max-deleted 1\.0"):
            Shout().run()

    @pytest.mark.parametrize(("setting", "allowed"), [("0", 0), ("3", 3), ("0.2", 2), ("0.0", 0), ("1.0", 9)])
    def test_a_count_or_a_fraction(self, ten, monkeypatch, setting, allowed):
        monkeypatch.setenv("LUISY_DIR_MAX_DELETED", setting)
        if allowed < 9:
            self.delete(allowed + 1)
            self.check_refused(ten)
            put_letters(TEN)
        self.delete(allowed)
        assert run(Shout) == []
        assert len(tree(out(Shout))) == 10 - allowed

    def test_an_empty_folder_is_an_error_and_nothing_is_removed(self, ten):
        self.delete(10)
        self.check_refused(ten, errors.MissingInputError)

    def test_a_folder_that_is_not_mounted(self, ten):
        """Where it was there is an empty one, or none."""
        shutil.rmtree(raw(""))
        self.check_refused(ten, errors.MissingInputError)
        os.mkdir(raw(""))
        self.check_refused(ten, errors.MissingInputError)
        assert not Shout().complete()

    def test_an_empty_folder_that_is_allowed_still_asks(self, ten, monkeypatch):
        """It takes both settings to remove everything."""
        monkeypatch.setenv("LUISY_DIR_ON_EMPTY", "allow")
        monkeypatch.setattr(Letters, "complete", lambda self: True)  # a folder that may be empty
        self.delete(10)
        self.check_refused(ten)
        monkeypatch.setenv("LUISY_DIR_MAX_DELETED", "1.0")
        assert run(Shout) == []
        assert tree(out(Shout)) == {}

    def test_the_flag_lets_it(self, working_dir, write_files):
        write_files(Letters().output().path, {"a.txt": b"a", "b.txt": b"b", "c.txt": b"c"})
        arguments = ("Upper", "--luisy-dir-working-dir", str(working_dir))
        assert luigi_command(*arguments).returncode == 0
        os.unlink(raw("a.txt"))
        os.unlink(raw("b.txt"))
        answer = luigi_command(*arguments)
        assert answer.returncode != 0
        assert "TooManyDeletedError" in answer.stderr
        assert len(tree(out(Upper))) == 3
        assert luigi_command(*arguments, "--luisy-dir-max-deleted", "1.0").returncode == 0
        assert tree(out(Upper)) == {"c.txt": "C"}

    def test_what_goes_from_a_required_directory_is_not_counted(self, ten, monkeypatch):
        run(Down)
        self.delete(8)
        monkeypatch.setenv("LUISY_DIR_MAX_DELETED", "1.0")
        run(Shout)
        monkeypatch.setenv("LUISY_DIR_MAX_DELETED", "0")
        assert run(Down) == []
        assert len(tree(out(Down))) == 2

    def test_what_goes_from_one_side_of_a_join_takes_its_outputs_with_it(self, ten):
        """An item that has lost one of its files is rejected, and its output would go as one that is deleted does."""

        @luisy.make_directory_output(read)
        @luisy.raw
        class Others(luisy.ExternalTask):
            def get_folder_name(self):
                return "others"

        folder = Others().output().path
        for path, text in ten.items():
            rewrite(os.path.join(folder, path), text)
        joined = task_of("JoinOfRaw", join_two, Letters, Others)
        run(joined)
        for number in range(9):
            os.unlink(os.path.join(folder, f"{number}.txt"))
        with pytest.raises(errors.TooManyDeletedError):
            run(joined)
        assert len(tree(out(joined))) == 10

    def test_files_are_gone_whatever_their_folder_is_called_by_now(self, ten):
        """The name of a required task is no part of the question."""

        @luisy.make_directory_output(Letters().output().read_file)
        @luisy.raw
        class Renamed(luisy.ExternalTask):
            project_name = "pipelines"

            def get_folder_name(self):
                return "letters"

        self.delete(9)
        with pytest.raises(errors.TooManyDeletedError):
            run(task_of("Shout", shout, Renamed))
        assert len(tree(out(Shout))) == 10

    def test_what_had_no_output_is_not_counted(self, ten, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "9")
        for number in range(9):
            rewrite(raw(f"bad{number}.txt"), "fail")
        run(Shout)
        monkeypatch.setenv("LUISY_DIR_MAX_DELETED", "0")
        for number in range(9):
            os.unlink(raw(f"bad{number}.txt"))
        assert run(Shout) == []
        assert is_right(Shout, shouted(ten))


def truncate(path):
    os.truncate(path, os.path.getsize(path) // 2)


def flip(path):
    with open(path, "r+b") as file:
        content = bytearray(file.read())
        content[len(content) // 2] ^= 0x10
        file.seek(0)
        file.write(content)


class TestDamagedManifest:
    """Whatever becomes of it, it is never taken for complete, and the next run ends in the right tree."""

    @pytest.fixture
    def two(self, ten):
        """Two generations, of which the second has a new item, a changed one and one less."""
        rewrite(raw("new.txt"), "new")
        rewrite(raw("3.txt"), "other")
        os.unlink(raw("5.txt"))
        assert run(Shout) == ["3", "new"]
        del ten["5.txt"]
        return ten | {"new.txt": "new", "3.txt": "other"}

    def damage(self, part, how):
        name = generation_name(generations_in(out(Shout))[-1])
        names = {"CURRENT": CURRENT, "record": name + ".json", "entries": name + ".jsonl"}
        how(os.path.join(out(Shout), FOLDER, names[part]))

    @pytest.mark.parametrize("how", [truncate, flip, os.unlink])
    @pytest.mark.parametrize("part", ["CURRENT", "record", "entries"])
    def test_the_next_run_ends_in_the_right_tree(self, two, part, how):
        self.damage(part, how)
        assert not Shout().complete()
        run(Shout)
        assert is_right(Shout, shouted(two))
        assert run(Shout) == []

    @pytest.mark.parametrize("how", [truncate, flip, os.unlink])
    @pytest.mark.parametrize("part", ["CURRENT", "record", "entries"])
    def test_also_where_inputs_have_changed_meanwhile(self, two, part, how):
        self.damage(part, how)
        rewrite(raw("4.txt"), "latest")
        rewrite(raw("newer.txt"), "newer")
        run(Shout)
        assert is_right(Shout, shouted(two | {"4.txt": "latest", "newer.txt": "newer"}))

    @pytest.mark.parametrize("how", [truncate, flip, os.unlink])
    @pytest.mark.parametrize("part", ["record", "entries"])
    def test_what_the_generation_before_vouches_for_is_not_made_anew(self, two, part, how):
        """Its code is known, and what lies there is read and compared."""
        self.damage(part, how)
        assert run(Shout) == ["3", "new"]
        assert is_right(Shout, shouted(two))

    def test_an_output_that_differs_is(self, two):
        self.damage("record", flip)
        path = out(Shout, "7.txt")
        state = os.stat(path)
        with open(path, "wb") as file:
            file.write(bytes(state.st_size))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert run(Shout) == ["3", "7", "new"]
        assert is_right(Shout, shouted(two))

    def test_a_generation_of_other_code_vouches_for_nothing(self, two, monkeypatch):
        self.damage("record", flip)
        monkeypatch.setattr(Shout, "version", "2")
        assert run(Shout) == sorted(key.removesuffix(".txt") for key in two)
        assert is_right(Shout, shouted(two))

    @pytest.mark.parametrize("how", [truncate, flip, os.unlink])
    def test_the_only_record_is_a_matter_for_a_person_and_nothing_is_touched(self, ten, how):
        """Nothing tells whose directory it is."""
        self.damage("record", how)
        before = tree(out(Shout))
        CALLS.clear()
        with pytest.raises(errors.ManifestError, match=r"remove '[^']*' yourself"):
            Shout().run()
        assert CALLS == []
        assert tree(out(Shout)) == before
        assert not Shout().complete()

    def test_all_generations_that_build_on_a_damaged_file_of_entries(self, ten, monkeypatch):
        monkeypatch.setattr("luisy_dir.transaction.LARGEST_SHARE", 10.0)
        rewrite(raw("3.txt"), "other")
        run(Shout)
        assert len(Shout().output().manifest().record.files) == 2
        flip(os.path.join(out(Shout), FOLDER, generation_name(1) + ".jsonl"))
        assert not Shout().complete()
        run(Shout)
        assert is_right(Shout, shouted(ten | {"3.txt": "other"}))

    def test_what_depends_on_a_damaged_directory_is_not_complete_and_gets_what_is_right(self, ten):
        run(Down)
        self.damage("entries", flip)
        assert not Down().complete()
        run(Shout)
        assert Down().complete()
        assert run(Down) == []


class TestReadWhileOthersPublish:
    """Where one generation is kept, the one that was just named is gone in the next moment."""

    @pytest.mark.parametrize("act", ["run", "complete", "plan"])
    def test_a_generation_that_goes_while_it_is_looked_up_is_no_damage(self, ten, monkeypatch, caplog, act):
        monkeypatch.setenv("LUISY_DIR_KEEP_GENERATIONS", "1")

        def publish():
            rewrite(raw("3.txt"), f"other {generation(Shout)}")
            Shout().run()

        with Calls(names=("read",)) as calls:
            getattr(Shout(), act)()
        for number in range(1, len(calls.made) + 1):
            CALLS.clear()
            with Calls(number, after=publish, names=("read",)) as calls, contextlib.suppress(errors.BusyError):
                getattr(Shout(), act)()
            assert calls.has_fired
            assert set(CALLS) == {"3"}
            assert "damaged" not in caplog.text
            assert "incomplete" not in caplog.text


class TestCost:
    """Looking writes nothing, and an update writes as much as changed, however much there is."""

    @pytest.mark.parametrize("act", ["complete", "plan", "run"])
    def test_where_nothing_is_to_be_done_nothing_is_written(self, ten, working_dir, act):
        run(Down)
        before = states_below(working_dir)
        with Calls() as calls:
            getattr(Down(), act)()
        assert calls.made == []
        assert states_below(working_dir) == before

    def test_a_plan_of_much_to_do_writes_nothing(self, ten, working_dir):
        run(Down)
        rewrite(raw("3.txt"), "other")
        rewrite(raw("new.txt"), "new")
        os.unlink(raw("5.txt"))
        os.unlink(out(Shout, "6.txt"))
        before = states_below(working_dir)
        with Calls() as calls:
            str(Shout().plan())
            Shout().complete()
            Down().complete()
        assert calls.made == []
        assert states_below(working_dir) == before

    def test_a_touched_file_alone_writes_nothing(self, ten, working_dir):
        rewrite(raw("3.txt"), TEN["3.txt"], age_seconds=20)
        before = states_below(working_dir)
        with Calls() as calls:
            assert Shout().complete()
            Shout().run()
        assert calls.made == []
        assert states_below(working_dir) == before

    def calls_of_an_update(self, count, working_dir):
        luisy.set_working_dir(working_dir / str(count))
        put_letters({f"{number:05d}.txt": f"text {number}" for number in range(count)})
        run(Shout)
        for number in range(5):
            rewrite(raw(f"{number:05d}.txt"), "other")
            rewrite(raw(f"{number + 5:05d}.txt"), "other")
            os.unlink(raw(f"{number + 10:05d}.txt"))
            rewrite(raw(f"new{number}.txt"), "new")
        with Calls() as calls:
            assert len(run(Shout)) == 15
        assert Shout().output().verify().is_whole
        made = [name for name, *_ in calls.made]
        return {name: made.count(name) for name in set(made)}

    def test_an_update_makes_as_many_calls_that_write_among_5000_items_as_among_500(self, working_dir):
        few, many = (self.calls_of_an_update(count, working_dir) for count in (500, 5_000))
        assert few == many
        assert few["rename"] < 100

    def test_a_plan_tells_how_long_it_would_take(self, ten):
        """From what the items took before."""
        assert Shout().plan().estimated_seconds == 0
        seconds = {entry.key: entry.seconds for entry in Shout().output().manifest().entries()}
        mean = sum(seconds.values()) / 10
        rewrite(raw("3.txt"), "other")
        rewrite(raw("new.txt"), "new")
        os.unlink(raw("5.txt"))
        plan = Shout().plan()
        assert plan.estimated_seconds == pytest.approx(seconds["3"] + mean, abs=1e-5)
        assert str(plan).startswith("11 items: 8 unchanged, 1 changed, 1 deleted, 1 new\n")

    def test_nothing_is_told_of_the_time_before_a_first_build(self):
        put_letters(TEN)
        assert Shout().plan().estimated_seconds is None
        assert str(Shout().plan()).startswith("10 items: 10 new\n")

    def test_the_time_is_divided_among_the_workers(self, monkeypatch):
        slow = task_of("Sleepy", lambda self, text: time.sleep(0.6) or text, Letters)
        put_letters({"a.txt": "a", "b.txt": "b"})
        run(slow)
        rewrite(raw("a.txt"), "A")
        rewrite(raw("b.txt"), "B")
        alone = slow().plan()
        assert f"; about {timedelta(seconds=round(alone.estimated_seconds))}" in str(alone).splitlines()[0]
        monkeypatch.setenv("LUISY_DIR_ENGINE", "threads")
        monkeypatch.setenv("LUISY_DIR_WORKERS", "2")
        assert slow().plan().estimated_seconds == pytest.approx(alone.estimated_seconds / 2)


class TestWithinOneInvocation:
    def test_a_plan_that_is_remembered_is_of_the_inputs_that_are_recorded(self, ten):
        """Else a directory would pass for complete that was planned against an earlier generation of its inputs."""
        run(Down)

        class Meanwhile(luigi.Task):
            is_done = False

            def complete(self):
                return type(self).is_done

            def run(self):
                rewrite(raw("3.txt"), "first")
                Shout().run()
                assert not Down().complete()
                rewrite(raw("4.txt"), "second")
                Shout().run()
                Down().run()
                type(self).is_done = True

        assert luigi.build([Meanwhile()], local_scheduler=True, log_level="ERROR")
        assert not Down().complete() or tree(out(Down))["4.txt"] == "<SECOND>"


def test_words_of_the_test_tasks_update_too(monkeypatch):
    """An iterator that fails half way leaves nothing of its new outputs, and its old ones leave."""
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
    put_letters({"a.txt": "one two three", "b.txt": "still"})
    run(Words)
    rewrite(raw("a.txt"), "eins fail")
    run(Words)
    assert is_right(Words, {"b/0.txt": "still"})
