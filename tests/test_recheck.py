"""Recheck: published items are computed again, and what comes out otherwise is found, while nothing is touched."""

from __future__ import annotations

import os
import pathlib
import pickle
import shutil
import sys
from dataclasses import replace

import luigi
import numpy as np
import pytest
from conftest import files_below
from pipelines import Counted, Joined, Letters, Strict, Upper, Words

import luisy_dir as luisy
from luisy_dir import errors
from luisy_dir.recheck import Recheck, RecheckRow, fraction_of, sampled
from luisy_dir.staging import locked
from luisy_dir.storage import system
from luisy_dir.tasks.layers import scratch_of

TEXTS = {f"{folder}{number:02d}.txt": f"text {number}".encode() for number in range(12) for folder in ("", "nested/")}
HOSTILE = ["\x1b[2Jclear", "line\nend", "größe", "日本", "per%cent", "sp ace", "'quotes\""]


@pytest.fixture
def letters(write_files):
    return write_files(Letters().output().path, TEXTS)


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Wavering(luisy.DirectoryTask):
    """Does what a file says that no fingerprint knows of, as a library might that is upgraded."""

    def setup(self):
        self.counter = 0

    def process(self, text, item):
        self.counter += 1
        path = os.environ.get("WAVERING", "")
        mood = pathlib.Path(path).read_text() if path else ""
        if mood == "random" and item.key.startswith("nested"):
            return text + str(np.random.default_rng().random())
        if mood == "other" and item.key == "03":
            return text + " by another library"
        if mood == "order":
            return f"{text} {self.counter}"
        if mood == "noted":
            item.meta["mood"] = {"is": mood}
        if mood == "failing":
            raise ValueError(f"no library for {item.key}")
        if mood == "flaky" and item.key == "03":
            pathlib.Path(path).write_text("")
            raise ValueError("not this time")
        if mood == "rejecting":
            raise luisy.Reject("not any more")
        return text


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class WaveringWords(luisy.DirectoryTask):
    def process(self, text):
        mood = os.environ.get("WAVERING", "")
        for number, word in enumerate(text.split() + (["more"] if mood == "more" else [])):
            if mood != "fewer" or number:
                yield luisy.Output(word + ("!" if mood == "other" and number else ""), key=f"{number}")


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".json", engine="serial")
class Drawn(luisy.DirectoryTask):
    """Honest: random numbers are those of the item."""

    def process(self, text, item):
        item.meta["first"] = item.rng.random()
        return [text, item.rng.random()]


@luisy.interim
class Model(luisy.Task):
    def run(self):
        self.write("a model")


@luisy.interim
@luisy.requires(letters=Letters, model=Model)
@luisy.directory_output(".txt", engine="serial")
class WithModel(luisy.DirectoryTask):
    def setup(self):
        self.model = self.input()["model"].read()

    def process(self, letters):
        return letters + self.model


@pytest.fixture
def mood(tmp_path, monkeypatch):
    """Say what Wavering shall do."""

    def say(word):
        (tmp_path / "mood").write_text(word)
        monkeypatch.setenv("WAVERING", str(tmp_path / "mood"))

    return say


def bytes_below(folder):
    """All that lies below a folder but for our scratch: what it is, its time of change and its content."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if ".scratch" not in path.parts and path.name not in {"mood", "calls"} and path != pathlib.Path(folder):
            state = path.lstat()
            content = path.read_bytes() if path.is_file() else None
            found[str(path)] = (state.st_mode, state.st_mtime_ns, state.st_ino, content)
    return found


def scratch_files(working_dir):
    """Whatever lies in the scratch."""
    return files_below(working_dir / ".scratch") if (working_dir / ".scratch").exists() else []


def findings(found):
    return {row.key: row.finding for row in found.rows}


# -- what is found ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["serial", "threads", "async", "processes", "loky:get_reusable_executor"])
def test_an_honest_task_is_equal_on_every_engine_and_nothing_is_left(letters, working_dir, monkeypatch, engine):
    Drawn().run()
    monkeypatch.setenv("LUISY_DIR_ENGINE", engine)
    monkeypatch.setenv("LUISY_DIR_WORKERS", "2")

    found = Drawn().recheck("100%")

    assert (found.equal, found.rows, found.changes, found.is_reproduced) == (24, (), (), True)
    assert str(found) == "24 of the 24 items that generation 1 has written were rechecked: 24 equal"
    assert scratch_files(working_dir) == []


@pytest.mark.parametrize("engine", ["serial", "threads", "async", "processes", "loky:get_reusable_executor"])
def test_a_step_that_leaves_something_to_chance_is_not_deterministic(letters, mood, monkeypatch, engine):
    monkeypatch.setenv("LUISY_DIR_ENGINE", engine)
    monkeypatch.setenv("LUISY_DIR_WORKERS", "2")
    mood("random")
    Wavering().run()

    found = Wavering().recheck(1.0)

    assert found.counts == {"equal": 12, "not deterministic": 12}
    assert {key for key in findings(found) if not key.startswith("nested/")} == set()
    assert not found.is_reproduced
    assert found.rows[0].reason == "of two recomputations, other bytes: 'nested/00.txt'"


def test_what_depends_on_something_that_no_task_knows_of_has_drifted(letters, mood):
    Wavering().run()
    mood("other")

    found = Wavering().recheck(1.0)

    assert findings(found) == {"03": "drifted"}
    assert found.rows[0].reason == "other bytes: '03.txt'"
    assert (found.equal, found.is_reproduced) == (23, False)


def test_what_differs_is_kept_to_be_compared(letters, mood, working_dir):
    Wavering().run()
    mood("other")

    (row,) = Wavering().recheck(1.0).rows

    assert row.published == (str(working_dir / "test_recheck" / "interim" / "Wavering" / "03.txt"),)
    (recomputed,) = row.recomputed
    assert pathlib.Path(row.published[0]).read_text() == "text 3"
    assert pathlib.Path(recomputed).read_text() == "text 3 by another library"
    assert recomputed.startswith(str(working_dir / ".scratch" / "recheck" / "test_recheck" / "interim" / "Wavering"))
    assert scratch_files(working_dir) == [os.path.relpath(recomputed, working_dir / ".scratch")]


def test_of_what_is_not_deterministic_both_are_kept(letters, mood):
    mood("random")
    Wavering().run()

    row = Wavering().recheck(1.0).rows[0]

    texts = {pathlib.Path(path).read_text() for path in (*row.published, *row.recomputed)}
    assert (len(row.published), len(row.recomputed), len(texts)) == (1, 2, 3)


def test_the_next_recheck_removes_what_the_last_one_has_kept(letters, mood, working_dir):
    Wavering().run()
    mood("other")
    Wavering().recheck(1.0)
    mood("")

    assert Wavering().recheck(1.0).is_reproduced
    assert scratch_files(working_dir) == []


def test_what_depends_on_what_its_worker_did_before_is_found(letters, mood):
    Wavering().run()
    mood("order")

    assert Wavering().recheck("100%").counts == {"not deterministic": 24}


def test_other_meta_is_a_difference_too(letters, mood):
    Wavering().run()
    mood("noted")

    found = Wavering().recheck(1.0)

    assert set(findings(found).values()) == {"drifted"}
    assert found.rows[0].reason == "meta 'mood': None and {'is': 'noted'}"
    assert found.rows[0].recomputed == ()


@pytest.mark.parametrize(
    ("what", "reason", "published", "recomputed"),
    [
        ("other", "other bytes: '{}/1.txt'", ["{}/1.txt"], ["{}/1.txt"]),
        ("more", "additional: '{}/2.txt'", [], ["{}/2.txt"]),
        ("fewer", "missing: '{}/0.txt'", ["{}/0.txt"], []),
    ],
)
def test_of_several_outputs_those_that_differ_are_told(
    letters, monkeypatch, working_dir, what, reason, published, recomputed
):
    WaveringWords().run()
    monkeypatch.setenv("WAVERING", what)

    row = WaveringWords().recheck(1.0).rows[5]

    assert (row.finding, row.reason) == ("drifted", reason.format("05"))
    directory = WaveringWords().output().path
    assert [os.path.relpath(path, directory) for path in row.published] == [path.format("05") for path in published]
    assert [path.rpartition("/files/")[2] for path in row.recomputed] == [path.format("05") for path in recomputed]
    assert len(scratch_files(working_dir)) == 24 * len(recomputed)


@pytest.mark.parametrize(
    ("word", "finding", "reason"),
    [
        ("failing", "failed", "failed (ValueError: no library for {})"),
        ("rejecting", "rejected", "rejected (Reject: not any more)"),
    ],
)
def test_what_is_no_longer_written_is_told_with_the_reason(letters, mood, word, finding, reason):
    Wavering().run()
    mood(word)

    found = Wavering().recheck(1.0)

    assert found.counts == {finding: 24}
    assert found.rows[3].reason == reason.format(found.rows[3].key)
    assert len(found.rows[3].published) == 1


def test_what_fails_once_and_not_the_next_time_is_not_deterministic(letters, mood):
    Wavering().run()
    mood("flaky")

    (row,) = Wavering().recheck(1.0).rows

    assert (row.key, row.finding) == ("03", "not deterministic")
    assert row.reason == "of two recomputations, one is failed (ValueError: not this time), and the other written"


def test_checks_are_asked_again(letters, monkeypatch):
    @luisy.interim
    @luisy.requires(Letters)
    @luisy.directory_task(".txt", engine="serial", check=lambda text: os.environ.get("WAVERING") != "checked")
    def rechecked(text):
        return text

    rechecked().run()
    monkeypatch.setenv("WAVERING", "checked")

    assert rechecked().recheck(1.0).counts == {"failed": 24}


# -- what is left out -------------------------------------------------------------------------------------------------


class TestInputs:
    def test_items_whose_files_are_others_now_are_left_out_and_counted(self, letters, write_files):
        Upper().run()
        write_files(letters, {"03.txt": b"fail", "05.txt": b"other!"})
        os.unlink(f"{letters}/04.txt")

        found = Upper().recheck(1.0)

        assert findings(found) == dict.fromkeys(["03", "04", "05"], "inputs changed")
        assert found.rows[0].reason == f"'{letters}/03.txt' is not as it was read then"
        assert found.rows[1].reason == f"'{letters}/04.txt' is gone"
        assert (found.equal, found.is_reproduced) == (21, True)

    def test_a_file_that_was_only_touched_is_the_same(self, letters):
        Upper().run()
        os.utime(f"{letters}/03.txt")

        assert Upper().recheck(1.0).equal == 24

    def test_a_file_that_a_reader_cannot_read_any_more_because_it_changed_is_not_a_failure(self, letters, write_files):
        Upper().run()
        write_files(letters, {"03.txt": b"\xff\xff"})

        assert findings(Upper().recheck(1.0)) == {"03": "inputs changed"}

    def test_where_nothing_can_be_compared_that_is_no_good_news(self, letters):
        Upper().run()
        shutil.rmtree(letters)

        found = Upper().recheck("1%")

        assert found.counts == {"inputs changed": 1}
        assert not found.is_reproduced
        assert "Nothing could be compared: choose a larger sample" in str(found)

    def test_of_a_published_directory_the_digests_count(self, letters, write_files):
        Upper().run()
        Strict().run()
        Joined().run()
        write_files(letters, {"03.txt": b"other"})
        Upper().run()

        found = Joined().recheck(1.0)

        assert findings(found) == {"03": "inputs changed"}
        assert found.equal == 23

    def test_another_model_is_another_input_of_all(self, letters):
        Model().run()
        WithModel().run()
        assert WithModel().recheck(1.0).equal == 24
        Model().write("another model")

        found = WithModel().recheck(1.0)

        assert found.counts == {"inputs changed": 24}
        assert found.rows[0].reason == "the required 'model' is not as recorded"

    def test_other_directories_are_other_inputs_of_all(self, letters):
        def task(**required):
            @luisy.final
            @luisy.requires(**required)
            @luisy.directory_output(".json", engine="serial")
            class OtherInputs(luisy.DirectoryTask):
                def process(self, **data):
                    return data

            return OtherInputs()

        Upper().run()
        task(upper=Upper).run()

        found = task(upper=Upper, letters=Letters).recheck(1.0)

        assert found.counts == {"inputs changed": 24}
        assert found.rows[0].reason == "it was made from upper, and the task requires upper, letters"
        assert "names was changed" in found.changes


class TestCode:
    def test_other_code_is_said_because_it_may_be_the_cause(self, letters):
        def task(function):
            function.__name__ = "recoded"
            return luisy.interim(luisy.requires(Letters)(luisy.directory_task(".txt", engine="serial")(function)))()

        task(lambda text: text + "!").run()

        found = task(lambda text: text + "?").recheck(1.0)

        assert len(found.changes) == 1
        assert found.counts == {"drifted": 24}
        assert f"Differences may come from that: {found.changes[0]}." in str(found)
        assert task(lambda text: f"{text}!").recheck(1.0).is_reproduced

    def test_the_seed_is_that_of_the_record(self, letters, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_SEED", "7")
        Drawn().run()
        monkeypatch.setenv("LUISY_DIR_SEED", "8")

        found = Drawn().recheck(1.0)

        assert (found.equal, found.changes) == (24, ())

    def test_an_older_generation_that_is_pinned_is_compared_with_what_it_was(self, letters, write_files):
        Upper().run()
        write_files(letters, {"03.txt": b"other"})
        Upper().run()
        Upper().output().rollback()

        found = Upper().recheck(1.0)

        assert (found.generation, findings(found)) == (3, {"03": "inputs changed"})


# -- the sample -------------------------------------------------------------------------------------------------------


class TestSample:
    def test_a_larger_sample_contains_a_smaller_one_and_there_is_always_one(self):
        from hypothesis import given  # here, because workers import this module
        from hypothesis import strategies as st

        some_keys = st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))

        @given(some_keys, st.floats(0, 1), st.floats(0, 1))
        def holds(keys, one, other):
            less, more = sorted([one, other])

            assert sampled(keys, less) <= sampled(sorted(keys), more) <= keys
            assert bool(sampled(keys, less)) == bool(keys)
            assert sampled(keys, 1.0) == keys

        holds()

    def test_it_is_about_as_large_as_was_asked(self):
        keys = [f"{number:05d}" for number in range(10_000)]

        assert 400 < len(sampled(keys, 0.05)) < 600
        assert "00042" in sampled(["00042"], 1e-9)

    @pytest.mark.parametrize(
        ("sample", "fraction"),
        [("1%", 0.01), ("100%", 1.0), (" 2.5 % ", 0.025), ("0.01", 0.01), (0.01, 0.01), (1.0, 1.0), (1e-5, 1e-5)],
    )
    def test_a_share_is_a_percentage_or_a_fraction(self, sample, fraction):
        assert fraction_of(sample) == pytest.approx(fraction)

    @pytest.mark.parametrize("sample", ["0%", "101%", "1", 1, 0, 2.0, -0.5, "nan%", "inf", "all", "", None, True, "%"])
    def test_what_is_no_share_is_refused(self, letters, sample):
        Upper().run()
        with pytest.raises(errors.SettingError, match="Give a share of the items: '1%'"):
            Upper().recheck(sample)

    def test_only_what_is_in_the_sample_is_computed_again(self, letters, tmp_path):
        task = Counted(calls=str(tmp_path / "calls"))
        task.run()
        (tmp_path / "calls").unlink()

        found = task.recheck("20%")

        keys = (tmp_path / "calls").read_text().split()
        assert 0 < found.sampled == len(keys) < 24
        assert set(keys) == sampled([name.removesuffix(".txt") for name in TEXTS], 0.2)

    def test_what_was_made_of_a_few_items_only_is_rechecked_where_it_lies(self, letters):
        with luisy.scratch(limit=5):
            Upper().run()
            found = Upper().recheck("100%")

        assert (found.equal, found.rows) == (5, ())
        assert "/.scratch/limit=5/" in found.directory

    def test_what_was_not_written_is_not_in_it(self, letters, write_files, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "2")
        write_files(letters, {"03.txt": b"fail", "04.txt": b"reject", "notes.png": b""})
        Strict().run()

        found = Strict().recheck(1.0)

        assert (found.written, found.equal, found.rows) == (22, 22, ())

    def test_where_nothing_was_written_there_is_nothing_to_differ(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"reject"})
        Strict().run()

        found = Strict().recheck()

        assert (found.sampled, found.is_reproduced) == (0, True)
        assert "no item that could be rechecked" in str(found)


# -- nothing is touched -----------------------------------------------------------------------------------------------


class TestNothingIsTouched:
    @pytest.mark.parametrize("word", ["", "random", "other", "failing"])
    def test_whatever_is_found_all_that_lies_there_is_as_it_was(self, letters, mood, working_dir, word):
        Wavering().run()
        with pytest.raises(RuntimeError), locked(Wavering().output().path) as staging:
            os.makedirs(f"{staging}/run-of-somebody/files")
            raise RuntimeError
        mood(word)
        before = bytes_below(working_dir)

        Wavering().recheck(1.0)

        assert bytes_below(working_dir) == before

    def test_a_run_that_holds_the_lock_neither_waits_nor_is_waited_for(self, letters):
        Upper().run()
        with locked(Upper().output().path):
            assert Upper().recheck(1.0).equal == 24

    def test_it_is_no_item_for_anybody(self, letters, mood, working_dir):
        """Nor is it published, and no run goes on with it."""
        Wavering().run()
        mood("other")
        Wavering().recheck(1.0)

        assert Wavering().complete()
        assert Wavering().output().verify(deep=True).is_whole
        assert Wavering().report()["status"].tolist() == ["written"] * 24

    def test_two_rechecks_of_one_task_do_not_come_into_each_others_way(self, letters, working_dir):
        Upper().run()
        with locked(scratch_of(Upper(), "recheck")), pytest.raises(errors.BusyError):
            Upper().recheck(1.0)

    @pytest.mark.parametrize("name", HOSTILE)
    def test_hostile_names_are_rechecked_like_any_other(self, write_files, monkeypatch, name):
        write_files(Letters().output().path, {f"{name}/{name}.txt": b"one two"})
        WaveringWords().run()
        assert WaveringWords().recheck(1.0).is_reproduced
        monkeypatch.setenv("WAVERING", "other")

        (row,) = WaveringWords().recheck(1.0).rows

        assert row.key == f"{name}/{name}"
        assert pathlib.Path(row.recomputed[0]).read_text() == "two!"
        assert pathlib.Path(row.published[0]).read_text() == "two"

    def test_so_is_a_name_that_is_no_text(self, working_dir):
        folder = os.fsencode(Letters().output().path)
        os.makedirs(folder)
        with open(folder + b"/\xff.txt", "w") as file:
            file.write("text")
        Upper().run()

        assert Upper().recheck(1.0).equal == 1

        os.unlink(folder + b"/\xff.txt")
        assert "is gone" in Upper().recheck(1.0).rows[0].reason


# -- what goes wrong --------------------------------------------------------------------------------------------------


class TestErrors:
    def test_what_was_not_published_cannot_be_rechecked(self, letters, working_dir):
        with pytest.raises(errors.MissingInputError, match="Nothing was published"):
            Upper().recheck()
        assert not (working_dir / ".scratch").exists()

    def test_what_another_task_has_published_is_not_rechecked(self, letters):
        class Namesake(luisy.DirectoryTask):
            layer = "interim"
            project_name = "pipelines"

            def get_folder_name(self):
                return "Upper"

            def process(self, text):
                return text

        Upper().run()
        namesake = luisy.requires(Letters)(luisy.directory_output(".txt")(Namesake))
        with pytest.raises(errors.ForeignDirectoryError):
            namesake().recheck()

    def test_a_coroutine_needs_its_engine_here_as_well(self, letters, monkeypatch):
        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task(".txt", engine="async")
        async def awaited_again(text):
            return text

        awaited_again().run()
        assert awaited_again().recheck(1.0).equal == 24
        monkeypatch.setenv("LUISY_DIR_ENGINE", "serial")
        with pytest.raises(errors.DefinitionError, match="async def"):
            awaited_again().recheck(1.0)

    def test_an_error_of_setup_ends_it_and_leaves_nothing(self, letters, working_dir, monkeypatch):
        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task(".txt", engine="threads", setup=lambda: os.environ["NEEDED"])
        def set_up_again(text):
            return text

        monkeypatch.setenv("NEEDED", "here")
        set_up_again().run()
        monkeypatch.delenv("NEEDED")
        with pytest.raises(errors.SetupError, match="NEEDED"):
            set_up_again().recheck(1.0)
        assert scratch_files(working_dir) == []

    def test_a_worker_that_dies_costs_the_item_that_it_had_in_hand(self, letters, working_dir, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_ENGINE", "processes")
        monkeypatch.setenv("LUISY_DIR_WORKERS", "1")
        DyingAgain().run()
        monkeypatch.setenv("WAVERING", "die at 03")
        found = DyingAgain().recheck(1.0)
        assert [(row.key, row.finding) for row in found.rows] == [("03", "failed")]
        assert "ended with exit code 3" in found.rows[0].reason
        assert scratch_files(working_dir) == []

    def test_workers_that_die_before_they_begin_end_it_and_leave_nothing(self, letters, working_dir, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_ENGINE", "processes")
        DyingAgain().run()
        monkeypatch.setenv("WAVERING", "die early")
        with pytest.raises(errors.WorkerDiedError, match=r"exit code 4.*What is published was not touched"):
            DyingAgain().recheck(1.0)
        assert scratch_files(working_dir) == []

    def test_a_full_disk_ends_it_and_leaves_nothing(self, letters, working_dir, monkeypatch):
        Upper().run()
        write = system.write

        def full(descriptor, data):
            if b"TEXT 5" in data:
                raise OSError(28, "No space left on device")
            return write(descriptor, data)

        monkeypatch.setattr(system, "write", full)
        with pytest.raises(errors.StorageError, match=r"No space left.*What is published was not touched"):
            Upper().recheck(1.0)
        assert scratch_files(working_dir) == []

    def test_a_scratch_that_somebody_removes_meanwhile_is_an_error_or_nothing_at_all(
        self, letters, working_dir, monkeypatch
    ):
        class Removing(luisy.DirectoryTask):
            def process(self, text):
                if text == "text 5" and os.environ.get("WAVERING"):
                    shutil.rmtree(working_dir / ".scratch")
                return text

        task = luisy.interim(luisy.requires(Letters)(luisy.directory_output(".txt", engine="serial")(Removing)))()
        task.run()
        monkeypatch.setenv("WAVERING", "remove")
        with pytest.raises(errors.StorageError, match="somebody has removed it"):
            task.recheck(1.0)

    def test_a_scratch_that_is_no_folder_of_ours_is_an_error(self, letters, working_dir):
        Upper().run()
        (working_dir / ".scratch").write_text("not ours")
        with pytest.raises(errors.StorageError):
            Upper().recheck()
        assert (working_dir / ".scratch").read_text() == "not ours"

    def test_where_a_link_lies_in_its_place_what_it_leads_to_is_left_alone(self, letters, working_dir):
        Upper().run()
        scratch = pathlib.Path(scratch_of(Upper(), "recheck"))
        scratch.parent.mkdir(parents=True)
        scratch.symlink_to(letters)
        before = bytes_below(working_dir)

        assert Upper().recheck(1.0).equal == 24
        assert bytes_below(working_dir) == before


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt")
class DyingAgain(luisy.DirectoryTask):
    def setup(self):
        if os.environ.get("WAVERING") == "die early":
            os._exit(4)

    def process(self, text, item):
        if os.environ.get("WAVERING") == f"die at {item.key}":
            os._exit(3)
        return text


# -- the answer -------------------------------------------------------------------------------------------------------


class TestAnswer:
    def test_rows_are_in_key_order_and_survive_pickling(self, letters, mood):
        mood("random")
        Wavering().run()

        found = Wavering().recheck(1.0)

        assert [row.key for row in found.rows] == sorted(row.key for row in found.rows)
        assert pickle.loads(pickle.dumps(found)) == found

    @pytest.mark.parametrize(
        ("rows", "equal", "is_reproduced"),
        [
            ((), 0, True),
            ((), 3, True),
            (("inputs changed",), 3, True),
            (("inputs changed",), 0, False),
            (("drifted",), 3, False),
            (("inputs changed", "failed"), 3, False),
        ],
    )
    def test_it_is_reproduced_where_something_was_compared_and_nothing_differs(self, rows, equal, is_reproduced):
        found = Recheck("/x", 1, 1.0, 5, equal, tuple(RecheckRow(str(n), row, "") for n, row in enumerate(rows)))

        assert found.is_reproduced is is_reproduced
        assert replace(found, equal=equal + 1).sampled == len(rows) + equal + 1

    def test_several_outputs_of_an_item_count_as_one_item(self, letters):
        Words().run()

        assert Words().recheck(1.0).equal == 24

    def test_progress_counts_what_is_computed_again(self, letters, monkeypatch):
        from luisy_dir.tasks import directory

        seen = []

        class Seen(directory.Progress):
            def __exit__(self, *error):
                seen.append(self.facts())
                super().__exit__(*error)

        monkeypatch.setattr(directory, "Progress", Seen)
        Upper().run()
        seen.clear()
        Upper().recheck(1.0)
        assert (seen[0]["total"], seen[0]["done"], seen[0]["written"]) == (24, 24, 24)


def test_parameters_tell_directories_apart(letters, working_dir):
    one = Drawn().output().path

    class Sized(luisy.DirectoryTask):
        size = luigi.IntParameter(default=1)

        def process(self, text):
            return text * self.size

    sized = luisy.interim(luisy.requires(Letters)(luisy.directory_output(".txt", engine="serial")(Sized)))
    sized(size=2).run()

    assert sized(size=2).recheck(1.0).equal == 24
    assert sized(size=2).recheck(1.0).directory != one
    with pytest.raises(errors.MissingInputError):
        sized(size=3).recheck(1.0)


def test_recheck_loads_no_luigi_in_a_worker():
    import subprocess

    code = "import sys, luisy_dir.rechecking; print('luigi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
