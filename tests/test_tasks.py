"""What a directory task does for whoever wrote it."""

from __future__ import annotations

import json
import os
import pickle
import shutil

import luigi
import pytest
from conftest import files_below
from pipelines import (
    Counted,
    Dying,
    Joined,
    Letters,
    Secret,
    SetUpOnce,
    Slow,
    Strict,
    Upper,
    Words,
    length,
)

import luisy_dir as luisy
from luisy_dir import errors
from luisy_dir.staging import staging_of

LETTERS = {"b.txt": b"beta", "a.txt": b"alpha", "nested/c.txt": b"gamma", "readme.md": b"not ours"}


@pytest.fixture
def letters(write_files):
    return write_files(Letters().output().path, LETTERS)


def test_it_lies_where_the_design_says(working_dir):
    assert Upper().output().path == str(working_dir / "pipelines" / "interim" / "Upper")
    assert Letters().output().path == str(working_dir / "pipelines" / "raw" / "letters")
    assert Upper().get_outdir() == str(working_dir / "pipelines" / "interim")


def test_what_is_published_is_plain_files_at_plain_paths(letters):
    Upper().run()

    assert files_below(Upper().output().path) == ["a.txt", "b.txt", "nested/c.txt"]
    with open(os.path.join(Upper().output().path, "nested", "c.txt")) as file:
        assert file.read() == "GAMMA"


def test_read_gives_data_in_key_order_and_items_gives_keys_too(letters):
    Upper().run()

    assert list(Upper().read()) == ["ALPHA", "BETA", "GAMMA"]
    assert [(item.key, text) for item, text in Upper().items()] == [
        ("a", "ALPHA"),
        ("b", "BETA"),
        ("nested/c", "GAMMA"),
    ]


def test_reading_is_lazy(letters):
    """One item is held at a time: the second file may vanish while the first is in hand."""
    Upper().run()
    data = Upper().read()
    assert next(data) == "ALPHA"
    os.remove(os.path.join(Upper().output().path, "b.txt"))
    with pytest.raises(errors.InputChangedError, match="somebody removed it"):
        next(data)


def test_a_raw_directory_yields_what_the_reader_returned(letters):
    assert list(Letters().read()) == ["alpha", "beta", "gamma"]


def test_a_task_is_complete_after_its_run_and_not_before(letters):
    assert not Upper().complete()
    Upper().run()
    assert Upper().complete()


def test_nothing_is_left_beside_the_directory(letters, working_dir):
    Upper().run()
    assert os.listdir(working_dir / "pipelines" / "interim") == ["Upper"]


def test_every_file_has_an_entry_with_its_status(letters):
    Upper().run()
    entries = {entry.key: entry for entry in Upper().output().manifest().entries()}

    assert {key: entry.status for key, entry in entries.items()} == {
        "a": "written",
        "b": "written",
        "nested/c": "written",
        "readme": "skipped",
    }
    assert [output.path for output in entries["nested/c"].outputs] == ["nested/c.txt"]


def test_a_second_run_does_nothing_and_writes_nothing(letters):
    Upper().run()
    before = {path: os.stat(path).st_mtime_ns for path in _everything_below(Upper().output().path)}
    Upper().run()
    assert {path: os.stat(path).st_mtime_ns for path in _everything_below(Upper().output().path)} == before


def _everything_below(folder):
    return [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names]


class TestWhatMakesItStale:
    """complete() is true only for a directory that equals its inputs, code and parameters."""

    @pytest.fixture(autouse=True)
    def published(self, letters):
        Upper().run()
        length().run()
        assert length().complete()

    def reasons(self, task):
        return {row.key: row.reason.value for row in task.plan().rows if row.reason != "unchanged"}

    def test_a_new_file(self, write_files):
        write_files(Letters().output().path, {"d.txt": b"delta"})
        assert not Upper().complete()
        assert self.reasons(Upper()) == {"d": "new"}

    def test_a_changed_file(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"other"}, age_seconds=30)
        assert not Upper().complete()
        assert self.reasons(Upper()) == {"a": "changed"}

    def test_a_file_of_the_same_size_and_time_that_was_just_written_is_looked_at(self, write_files):
        folder = Letters().output().path
        write_files(folder, {"x.txt": b"one"}, age_seconds=0)
        Upper().output().remove()
        Upper().run()
        state = os.stat(os.path.join(folder, "x.txt"))
        with open(os.path.join(folder, "x.txt"), "w") as file:
            file.write("two")
        os.utime(os.path.join(folder, "x.txt"), ns=(state.st_mtime_ns, state.st_mtime_ns))
        assert self.reasons(Upper()) == {"x": "changed"}

    def test_a_deleted_file(self):
        os.remove(os.path.join(Letters().output().path, "a.txt"))
        assert not Upper().complete()
        assert self.reasons(Upper()) == {"a": "deleted"}

    def test_a_touched_file_does_not(self):
        os.utime(os.path.join(Letters().output().path, "a.txt"))
        assert Upper().complete()
        assert self.reasons(Upper()) == {"a": "touched"}

    def test_a_missing_output(self):
        os.remove(os.path.join(Upper().output().path, "a.txt"))
        assert not Upper().complete()
        assert self.reasons(Upper()) == {"a": "output missing"}

    def test_an_output_that_was_edited(self):
        with open(os.path.join(Upper().output().path, "a.txt"), "w") as file:
            file.write("OTHER")
        assert not Upper().complete()
        assert self.reasons(Upper()) == {"a": "output changed"}

    def test_an_output_that_was_copied_with_a_new_time_does_not(self):
        os.utime(os.path.join(Upper().output().path, "a.txt"))
        assert Upper().complete()

    def test_a_foreign_file_in_the_directory_does_not(self, write_files):
        write_files(Upper().output().path, {"notes.md": b"mine"})
        assert Upper().complete()

    def test_changed_code(self, monkeypatch):
        def process(self, text):
            return text.upper() + "!"

        monkeypatch.setattr(Upper, "process", process)
        assert not Upper().complete()
        assert set(self.reasons(Upper()).values()) == {"code"}

    def test_another_version(self, monkeypatch):
        monkeypatch.setattr(Upper, "version", "2")
        assert not Upper().complete()

    def test_another_reader(self, monkeypatch):
        monkeypatch.setattr(Letters, "read_file", staticmethod(lambda path: path))
        assert not Upper().complete()

    def test_another_seed(self, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_SEED", "7")
        assert not Upper().complete()
        assert set(self.reasons(Upper()).values()) == {"params"}

    def test_another_engine_does_not(self, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_ENGINE", "threads")
        assert Upper().complete()

    def test_anything_that_it_requires(self, write_files):
        """Luigi never looks below a complete task, so a task looks itself."""
        write_files(Letters().output().path, {"d.txt": b"delta"})
        assert not length().complete()

    def test_freshness_exists_stops_the_recursion(self, write_files, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_FRESHNESS", "exists")
        write_files(Letters().output().path, {"d.txt": b"delta"})
        assert length().complete()

    def test_check_outputs_none_trusts_the_manifest(self, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_CHECK_OUTPUTS", "none")
        os.remove(os.path.join(Upper().output().path, "a.txt"))
        assert Upper().complete()

    def test_a_damaged_manifest(self, caplog):
        """All is made anew, with a warning that says why."""
        with open(Upper().output().manifest().path, "ab") as file:
            file.write(b"x")
        assert not Upper().complete()
        Upper().run()
        assert "is damaged: it does not equal the digest in its record" in caplog.text
        assert Upper().complete()
        assert list(Upper().read()) == ["ALPHA", "BETA", "GAMMA"]

    def test_a_manifest_that_does_not_say_whose_it_is(self):
        """What may be another task's is neither replaced nor removed, and the advice is to do so yourself."""
        folder = os.path.join(Upper().output().path, ".manifest")
        with open(os.path.join(folder, "00000001.json"), "ab") as file:
            file.write(b"x")
        assert not Upper().complete()
        with pytest.raises(errors.ManifestError, match=r"remove '.*/Upper' yourself, then run again"):
            Upper().run()
        assert files_below(Upper().output().path) == ["a.txt", "b.txt", "nested/c.txt"]

    def test_removing_and_running_again_brings_it_up_to_date_too(self, write_files):
        write_files(Letters().output().path, {"d.txt": b"delta"})
        Upper().output().remove()
        Upper().run()
        assert Upper().complete()
        assert list(Upper().read()) == ["ALPHA", "BETA", "DELTA", "GAMMA"]


def a_new_file(raw, published):
    with open(os.path.join(raw, "d.txt"), "w") as file:
        file.write("delta")


def a_changed_file(raw, published):
    with open(os.path.join(raw, "a.txt"), "w") as file:
        file.write("other")


def a_deleted_file(raw, published):
    os.remove(os.path.join(raw, "a.txt"))


def a_renamed_file(raw, published):
    os.rename(os.path.join(raw, "a.txt"), os.path.join(raw, "nested", "a.txt"))


def a_file_in_place_of_a_folder(raw, published):
    os.remove(os.path.join(raw, "nested", "c.txt"))
    os.rmdir(os.path.join(raw, "nested"))
    with open(os.path.join(raw, "nested"), "w"):
        pass


def a_file_that_is_no_longer_ours(raw, published):
    os.rename(os.path.join(raw, "a.txt"), os.path.join(raw, "a.md"))


def a_file_that_is_ours_by_now(raw, published):
    os.rename(os.path.join(raw, "readme.md"), os.path.join(raw, "readme.txt"))


def a_touched_and_a_changed_file(raw, published):
    os.utime(os.path.join(raw, "b.txt"))
    a_changed_file(raw, published)


def a_missing_output(raw, published):
    os.remove(os.path.join(published, "nested", "c.txt"))


def an_output_that_was_edited(raw, published):
    with open(os.path.join(published, "a.txt"), "w") as file:
        file.write("EDITED")


def an_output_of_the_same_size_that_was_edited(raw, published):
    with open(os.path.join(published, "a.txt"), "w") as file:
        file.write("OTHER")


def a_damaged_manifest(raw, published):
    with open(os.path.join(published, ".manifest", "00000001.jsonl"), "r+b") as file:
        file.write(b"x")


def a_manifest_without_its_entries(raw, published):
    os.remove(os.path.join(published, ".manifest", "00000001.jsonl"))


# What happens after a first run, and the items that the next one is to process.
CHANGES = {
    a_new_file: ["d"],
    a_changed_file: ["a"],
    a_deleted_file: [],
    a_renamed_file: ["nested/a"],
    a_file_in_place_of_a_folder: [],
    a_file_that_is_no_longer_ours: [],
    a_file_that_is_ours_by_now: ["readme"],
    a_touched_and_a_changed_file: ["a"],
    a_missing_output: ["nested/c"],
    an_output_that_was_edited: ["a"],
    an_output_of_the_same_size_that_was_edited: ["a"],
    a_damaged_manifest: ["a", "b", "nested/c"],
    a_manifest_without_its_entries: ["a", "b", "nested/c"],
}


class TestWhatTheNextRunDoes:
    """A stale directory is brought up to date in its place, with no more work than is needed."""

    @pytest.fixture
    def counted(self, letters, tmp_path):
        Counted(calls=str(tmp_path / "calls")).run()
        (tmp_path / "calls").unlink()
        return Counted(calls=str(tmp_path / "calls"))

    def calls(self, counted):
        """Keys of the items that were processed since the first run, in order."""
        if not os.path.exists(counted.calls):
            return []
        with open(counted.calls) as file:
            return file.read().split()

    def equals_a_fresh_build(self, counted, tmp_path):
        """Whether the same task in another working directory gives the same files and the same manifest."""
        published, manifest = everything_in(counted.output().path), counted.output().manifest()
        shutil.copytree(Letters().output().path, tmp_path / "fresh" / "pipelines" / "raw" / "letters")
        luisy.set_working_dir(tmp_path / "fresh")
        fresh = Counted(calls=str(tmp_path / "calls of the fresh build"))
        fresh.run()
        return everything_in(fresh.output().path) == published and manifest.same_as(fresh.output().manifest())

    @pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
    def test_what_is_stale_is_processed_once_and_the_result_equals_a_fresh_build(self, counted, tmp_path, change):
        change(Letters().output().path, counted.output().path)
        assert not counted.complete()

        counted.run()

        assert sorted(self.calls(counted)) == CHANGES[change]
        assert counted.complete()
        assert counted.plan().is_at_rest
        assert os.listdir(counted.get_outdir()) == ["Counted"]
        assert self.equals_a_fresh_build(counted, tmp_path)

    @pytest.mark.parametrize("facts", [{"version": "2"}, {"process": Upper.process}], ids=["version", "code"])
    def test_other_code_makes_all_anew(self, counted, tmp_path, monkeypatch, facts):
        for name, value in facts.items():
            monkeypatch.setattr(Counted, name, value)
        assert set(counted.plan().counts) == {"code"}

        counted.run()

        assert counted.complete()
        assert self.calls(counted) == (["a", "b", "nested/c"] if "version" in facts else [])
        assert self.equals_a_fresh_build(counted, tmp_path)

    @pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
    def test_a_run_after_that_does_nothing_and_writes_nothing(self, counted, change):
        change(Letters().output().path, counted.output().path)
        counted.run()
        before = {path: os.stat(path).st_mtime_ns for path in _everything_below(counted.output().path)}
        calls = self.calls(counted)

        counted.run()

        assert {path: os.stat(path).st_mtime_ns for path in _everything_below(counted.output().path)} == before
        assert self.calls(counted) == calls

    def test_one_change_after_another_equals_a_fresh_build(self, counted, tmp_path):
        """Each adds a generation; what many of them leave is what one would have made."""
        changes = (a_new_file, a_changed_file, a_missing_output, a_renamed_file, a_file_that_is_ours_by_now)
        for change in changes:
            change(Letters().output().path, counted.output().path)
            counted.run()

        assert self.calls(counted) == [key for change in changes for key in CHANGES[change]]
        assert counted.output().manifest().record.generation == 1 + len(changes)
        assert self.equals_a_fresh_build(counted, tmp_path)

    def test_a_copy_of_a_record_does_not_keep_all_further_runs_from_their_end(self, counted):
        """Whoever copied it, a run puts the directory in order by itself."""
        folder = os.path.join(counted.output().path, ".manifest")
        shutil.copy(os.path.join(folder, "00000001.json"), os.path.join(folder, "00000002.json"))

        counted.run()

        assert counted.complete()
        assert list(counted.read()) == ["ALPHA", "BETA", "GAMMA"]

    def test_an_item_that_fails_now_takes_its_former_output_along(self, write_files, monkeypatch):
        """What it was made from is no more; the others are published."""
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        folder = write_files(Letters().output().path, {"a.txt": b"fine", "b.txt": b"fine too"})
        Strict().run()
        write_files(folder, {"b.txt": b"fail now"}, age_seconds=30)
        Strict().run()
        assert files_below(Strict().output().path) == ["a.txt"]
        assert Strict().complete()

    def test_over_the_budget_what_was_published_stays_as_it_is(self, write_files):
        folder = write_files(Letters().output().path, {"a.txt": b"fine", "b.txt": b"fine too"})
        Strict().run()
        write_files(folder, {"a.txt": b"new", "b.txt": b"fail now"}, age_seconds=30)
        with pytest.raises(errors.ItemsFailedError):
            Strict().run()
        assert list(Strict().read()) == ["fine", "fine too"]
        assert Strict().output().manifest().record.generation == 1
        assert not Strict().complete()


def everything_in(folder):
    """Content of every visible file below a folder, by relative path."""
    contents = {}
    for name in files_below(folder):
        with open(os.path.join(folder, name), "rb") as file:
            contents[name] = file.read()
    return contents


def test_plan_writes_nothing(letters, working_dir):
    before = files_below(working_dir)
    plan = Upper().plan()
    assert plan.counts == {"new": 4}
    assert not os.path.exists(Upper().get_outdir())
    assert files_below(working_dir) == before


class TestBadItems:
    def test_by_default_one_failure_fails_the_task_and_publishes_nothing(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"fine", "b.txt": b"fail now"})
        with pytest.raises(errors.ItemsFailedError, match=r"1 of 2 items failed(.|\n)*b: ValueError: cannot read"):
            Strict().run()
        assert not os.path.exists(Strict().output().path)
        assert not Strict().complete()

    def test_from_another_process_the_error_brings_its_traceback(self, write_files, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_ENGINE", "processes")
        write_files(Letters().output().path, {"b.txt": b"fail now"})
        with pytest.raises(errors.ItemsFailedError) as caught:
            Strict().run()
        assert "pipelines.py" in caught.value.__cause__.__notes__[0]
        assert "luisy_dir/step" not in caught.value.__cause__.__notes__[0]

    def test_the_error_is_raised_from_the_items_own(self, write_files):
        write_files(Letters().output().path, {"b.txt": b"fail now"})
        with pytest.raises(errors.ItemsFailedError) as caught:
            Strict().run()
        assert isinstance(caught.value.__cause__, ValueError)

    def test_the_report_of_a_run_that_did_not_publish_has_its_rows(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"fine", "b.txt": b"fail now"})
        with pytest.raises(errors.ItemsFailedError):
            Strict().run()
        report = Strict().report()
        assert report["status"].to_dict() == {"a": "written", "b": "failed"}
        assert report.loc["b", "error_type"] == "ValueError"
        assert report.loc["b", "words"] == 2

    def test_within_the_budget_the_rest_is_published(self, write_files, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "0.5")
        write_files(Letters().output().path, {"a.txt": b"fine", "b.txt": b"fail now"})
        Strict().run()
        assert Strict().complete()
        assert files_below(Strict().output().path) == ["a.txt"]
        assert Strict().output().manifest().record.counts == {"written": 1, "skipped": 0, "rejected": 0, "failed": 1}

    def test_a_failed_item_that_was_mended_makes_it_stale(self, write_files, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        write_files(Letters().output().path, {"a.txt": b"fine", "b.txt": b"fail now"})
        Strict().run()
        assert Strict().plan().counts == {"unchanged": 1, "failed before": 1}
        write_files(Letters().output().path, {"b.txt": b"mended"})
        assert not Strict().complete()

    def test_rejected_items_have_a_reason_and_are_no_errors(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"reject", "b.txt": b"none", "c.txt": b"fine"})
        Strict().run()
        report = Strict().report()
        assert report["reason"].fillna("").to_dict() == {"a": "not wanted", "b": "process returned None", "c": ""}
        assert report["status"].tolist() == ["rejected", "rejected", "written"]

    def test_a_file_that_cannot_be_read_is_an_item_that_failed(self, letters):
        os.symlink("/nowhere", os.path.join(letters, "z.txt"))
        with pytest.raises(errors.ItemsFailedError, match="z: FileNotFoundError"):
            Upper().run()

    def test_a_next_run_after_mending_publishes(self, write_files, working_dir):
        folder = write_files(Letters().output().path, {"a.txt": b"fine", "b.txt": b"fail now"})
        with pytest.raises(errors.ItemsFailedError):
            Strict().run()
        write_files(folder, {"b.txt": b"mended"})
        Strict().run()
        assert Strict().complete()
        assert os.listdir(working_dir / "pipelines" / "interim") == ["Strict"]

    def test_an_item_that_ends_its_worker_is_an_item_that_failed(self, letters):
        with pytest.raises(errors.ItemsFailedError, match="WorkerDied: the worker ended with exit code 3, while it"):
            Dying().run()
        assert not os.path.exists(Dying().output().path)


class TestSeveralOutputs:
    def test_an_item_may_have_many_or_none(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"one two", "b.txt": b""})
        Words().run()
        assert files_below(Words().output().path) == ["a/0.txt", "a/1.txt"]
        entries = {entry.key: entry for entry in Words().output().manifest().entries()}
        assert entries["b"].status == "written"
        assert entries["b"].outputs == ()

    def test_each_output_is_an_item_of_the_next_layer(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"one two", "a-b.txt": b"three"})
        Words().run()
        assert [(item.key, word) for item, word in Words().items()] == [
            ("a-b/0", "three"),
            ("a/0", "one"),
            ("a/1", "two"),
        ]

    def test_an_iterator_that_dies_half_way_leaves_no_output(self, write_files, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        write_files(Letters().output().path, {"a.txt": b"one fail", "b.txt": b"fine"})
        Words().run()
        assert files_below(Words().output().path) == ["b/0.txt"]

    @pytest.mark.parametrize("key", ["../x", "/x", "", "a//b", ".hidden", "a\0b", "x" * 300])
    def test_a_key_that_leads_elsewhere_fails_the_item(self, write_files, key):
        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task(".txt", engine="serial")
        def escaping(text):
            yield luisy.Output(text, key=key)

        write_files(Letters().output().path, {"a.txt": b"one"})
        with pytest.raises(errors.ItemsFailedError, match="cannot be the key of an output"):
            escaping().run()

    def test_two_outputs_of_one_name_fail_the_item(self, write_files):
        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task(".txt", engine="serial")
        def twice(text):
            yield luisy.Output(text, key="same")
            yield luisy.Output(text, key="same")

        write_files(Letters().output().path, {"a.txt": b"one"})
        with pytest.raises(errors.ItemsFailedError, match="another output has that name"):
            twice().run()

    def test_an_output_may_have_a_format_of_its_own(self, write_files):
        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task(".txt", engine="serial")
        def described(text):
            yield luisy.Output(text)
            yield luisy.Output({"length": len(text)}, key="facts", suffix=".json")

        write_files(Letters().output().path, {"a.txt": b"one"})
        described().run()
        assert files_below(described().output().path) == ["a.txt", "a/facts.json"]

    def test_a_list_of_outputs_is_refused_with_advice(self, write_files):
        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task(".txt", engine="serial")
        def listed(text):
            return [luisy.Output(text)]

        write_files(Letters().output().path, {"a.txt": b"one"})
        with pytest.raises(errors.ItemsFailedError, match="Yield them one by one"):
            listed().run()


class TestJoins:
    def test_directories_are_joined_by_key_and_by_name(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"fine", "b.txt": b"reject"})
        Upper().run()
        Strict().run()
        Joined().run()
        assert list(Joined().read()) == [["FINE", "fine"]]

    def test_keys_without_a_match_are_rejected_with_a_reason(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"fine", "b.txt": b"reject"})
        Upper().run()
        Strict().run()
        Joined().run()
        report = Joined().report()
        assert report["status"].to_dict() == {"a": "written", "b": "rejected"}
        assert report.loc["b", "reason"] == "no item of this key in words"

    def test_directories_in_order_are_arguments_in_order(self, write_files):
        @luisy.final
        @luisy.requires(Strict, Upper)
        @luisy.directory_task(".json", engine="serial")
        def ordered(one, two):
            return [one, two]

        write_files(Letters().output().path, {"a.txt": b"fine"})
        Upper().run()
        Strict().run()
        ordered().run()
        assert list(ordered().read()) == [["fine", "FINE"]]

    def test_a_process_that_does_not_fit_is_an_error_before_any_work(self, letters):
        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task(".txt", engine="serial")
        def two_arguments(one, two):
            return one

        with pytest.raises(errors.DefinitionError, match="missing a required argument: 'two'"):
            two_arguments().run()

    def test_a_required_task_that_is_no_directory_is_not_joined_but_counts(self, letters, working_dir):
        Model(path=str(working_dir / "model")).run()
        task = WithModel(path=str(working_dir / "model"))
        task.run()
        assert next(task.read()) == "alpha by model 1"
        (working_dir / "model").write_text("2")
        assert not task.complete()


class Model(luigi.Task):
    path = luigi.Parameter()

    def output(self):
        return luigi.LocalTarget(self.path)

    def run(self):
        with self.output().open("w") as file:
            file.write("1")


@luisy.interim
@luisy.requires(letters=Letters, model=Model)
@luisy.directory_output(".txt", engine="serial")
class WithModel(luisy.DirectoryTask):
    def setup(self):
        with self.input()["model"].open() as file:
            self.model = file.read()

    def process(self, letters):
        return f"{letters} by model {self.model}"


class TestKeyCollisions:
    def test_two_files_that_the_reader_takes_are_an_error_before_any_work(self, write_files, working_dir):
        write_files(Letters().output().path, {"a.1.txt": b"", "a.2.txt": b"", "x.txt": b""})

        @luisy.make_directory_output(lambda path: path)
        @luisy.raw
        class Anything(luisy.ExternalTask):
            def get_folder_name(self):
                return "anything"

        @luisy.interim
        @luisy.requires(Anything)
        @luisy.directory_task(".txt", engine="serial")
        def copied(path):
            return path

        Anything.project_name = copied.project_name = "p"
        write_files(Anything().output().path, {"x/a.png": b"", "x/a.jpg": b""})
        with pytest.raises(errors.KeyCollisionError, match=r"'x/a.jpg' and 'x/a.png' would both be written as 'x/a'"):
            copied().run()
        assert not os.path.exists(copied().get_outdir())

    def test_files_that_the_reader_skips_may_share_a_key(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"one", "a.json": b"{}", "b.json": b"{}", "b.txt": b"two"})
        Upper().run()
        assert list(Upper().read()) == ["ONE", "TWO"]
        statuses = {entry.key: entry.status for entry in Upper().output().manifest().entries()}
        assert statuses == {"a": "written", "a.json": "skipped", "b": "written", "b.json": "skipped"}
        assert Upper().complete()

    def test_an_output_that_would_be_a_folder_of_another_is_an_error_before_any_work(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"one", "a.txt.d/b.txt": b"", "c.txt": b""})
        os.rename(os.path.join(Letters().output().path, "a.txt.d"), os.path.join(Letters().output().path, "c.txt.d"))
        write_files(Letters().output().path, {"e.txt/f.txt": b"two", "e.md": b""})
        os.rename(os.path.join(Letters().output().path, "e.md"), os.path.join(Letters().output().path, "e.text"))
        with pytest.raises(errors.KeyCollisionError, match=r"'e.txt/f' would be written into a folder 'e.txt'"):
            Upper().run()
        assert not os.path.exists(Upper().get_outdir())


class TestMissingInput:
    def test_a_missing_raw_folder(self, caplog):
        assert not Letters().complete()
        with pytest.raises(errors.MissingInputError, match="Letters"):
            Upper().run()
        with pytest.raises(errors.MissingInputError, match="Is the path right"):
            Upper().plan()

    def test_an_empty_raw_folder(self):
        os.makedirs(Letters().output().path)
        assert not Letters().complete()
        with pytest.raises(errors.MissingInputError):
            Upper().run()

    def test_a_folder_in_which_the_reader_skips_everything(self, write_files):
        write_files(Letters().output().path, {"a.md": b"", "b.md": b""})
        with pytest.raises(errors.MissingInputError, match="skipped every file"):
            Upper().run()
        assert not os.path.exists(Upper().output().path)

    def test_unless_that_is_allowed(self, write_files, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_ON_EMPTY", "allow")
        write_files(Letters().output().path, {"a.md": b"", "b.md": b""})
        Upper().run()
        assert Upper().complete()

    def test_a_required_directory_that_was_not_published(self, letters):
        with pytest.raises(errors.MissingInputError, match="Upper"):
            length().run()
        with pytest.raises(errors.MissingInputError, match="Run its task first"):
            list(Upper().read())

    def test_a_task_that_requires_no_directory(self):
        @luisy.directory_task(".txt", engine="serial")
        def lonely(text):
            return text

        with pytest.raises(errors.DefinitionError, match="requires no directory"):
            lonely().run()


class TestWhatLiesThere:
    @pytest.mark.parametrize("what", ["file", "symlink", "dangling", "empty", "foreign"])
    def test_what_is_not_ours_is_refused_and_left_as_it_is(self, letters, what, working_dir):
        path = Upper().output().path
        os.makedirs(os.path.dirname(path))
        if what == "file":
            (working_dir / "pipelines" / "interim" / "Upper").write_text("mine")
        elif what == "symlink":
            os.symlink(working_dir, path)
        elif what == "dangling":
            os.symlink("/nowhere", path)
        else:
            os.mkdir(path)
            if what == "foreign":
                (working_dir / "pipelines" / "interim" / "Upper" / "a.txt").write_text("mine")
        with pytest.raises(errors.ForeignDirectoryError, match="Move it away"):
            Upper().run()
        assert os.path.lexists(path)
        assert not os.path.exists(staging_of(path))

    def test_a_directory_of_another_task_is_refused(self, letters, monkeypatch):
        Upper().run()
        monkeypatch.setattr(Strict, "get_folder_name", lambda self: "Upper")
        assert not Strict().complete()
        with pytest.raises(errors.ForeignDirectoryError, match="was published by Upper"):
            Strict().run()

    def test_a_directory_below_its_own_input_is_refused(self, letters, monkeypatch):
        """Its files would be inputs of the next run."""
        monkeypatch.setattr(Upper, "get_outdir", lambda self: letters)
        with pytest.raises(errors.DefinitionError, match="the directory that it reads from"):
            Upper().run()

    def test_remove_refuses_what_is_not_ours(self, letters):
        os.makedirs(Upper().output().path)
        with pytest.raises(errors.ForeignDirectoryError):
            Upper().output().remove()
        with pytest.raises(errors.ForeignDirectoryError):
            Letters().output().remove()

    def test_a_run_on_a_busy_directory_fails_at_once(self, letters):
        from luisy_dir.transaction import Transaction

        with Transaction(Upper().output().path, "0" * 32), pytest.raises(errors.BusyError, match="Another run"):
            Upper().run()
        Upper().run()
        assert Upper().complete()


class TestParameters:
    def test_values_are_part_of_the_folder(self):
        assert os.path.basename(Slow(seconds=0.5).output().path) == "Slow_seconds=0.5"

    def test_values_that_would_not_fit_a_folder_become_a_hash(self):
        @luisy.directory_task(".txt", params={"label": luigi.Parameter()})
        def labelled(text, label):
            return text

        names = {os.path.basename(labelled(label=label).output().path) for label in ("a/b", "a b", "x" * 50, "", "ok")}
        assert "labelled_label=ok" in names
        assert len(names) == 5
        assert all(name.startswith("labelled-") and len(name) == 19 for name in names - {"labelled_label=ok"})

    def test_insignificant_ones_change_nothing(self):
        assert Slow(traces="/x").output().path == Slow().output().path

    def test_private_values_are_in_no_file(self, letters):
        task = Secret(password="hunter2")
        task.run()
        for path in _everything_below(task.output().path):
            with open(path, "rb") as file:
                assert b"hunter2" not in file.read()

    def test_the_function_form_gets_them_as_arguments(self, letters):
        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task(".txt", engine="serial", params={"times": luigi.IntParameter(default=2)})
        def repeated(text, times):
            return text * times

        repeated(times=3).run()
        assert next(repeated(times=3).read()) == "alphaalphaalpha"


class TestSetup:
    def test_it_runs_once_in_each_worker_on_a_copy(self, letters):
        SetUpOnce().run()
        assert {calls for calls, _ in SetUpOnce().read()} == {1}
        assert not hasattr(SetUpOnce(), "copy")

    def test_one_that_raises_is_no_fault_of_the_items(self, letters, monkeypatch):
        def setup(self):
            raise OSError("no model")

        monkeypatch.setattr(SetUpOnce, "setup", setup)
        monkeypatch.setattr(SetUpOnce, "engine", "serial", raising=False)
        with pytest.raises(errors.SetupError, match="setup raised OSError: no model"):
            SetUpOnce().run()
        assert not os.path.exists(staging_of(SetUpOnce().output().path))

    def test_the_function_form_gets_its_result_as_state(self, letters):
        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task(".txt", engine="serial", setup=lambda: {"greeting": "hello "})
        def greeted(text, state):
            return state["greeting"] + text

        greeted().run()
        assert next(greeted().read()) == "hello alpha"


class TestDefinitions:
    """What cannot work is an error where the mistake is made."""

    def test_no_process(self):
        @luisy.directory_output(".npy")
        class Idle(luisy.DirectoryTask):
            pass

        with pytest.raises(errors.DefinitionError, match="no method process"):
            Idle()

    def test_no_format(self):
        class Formless(luisy.DirectoryTask):
            def process(self, data):
                return data

        with pytest.raises(errors.DefinitionError, match="no format"):
            Formless()

    def test_no_reader(self):
        class Readerless(luisy.ExternalTask):
            def get_folder_name(self):
                return "x"

        with pytest.raises(errors.DefinitionError, match="make_directory_output"):
            Readerless().output()

    def test_an_abstract_base_may_be_incomplete(self):
        class Base(luisy.DirectoryTask):
            pass

        @luisy.directory_output(".npy")
        class Complete(Base):
            def process(self, data):
                return data

        assert Complete().output().path.endswith("Complete")


def test_a_task_survives_pickling_with_the_settings_of_its_process(letters):
    task = Upper()
    assert pickle.loads(pickle.dumps(task)) is task
    assert pickle.loads(pickle.dumps(length())) is length()


def test_bulk_complete_works(letters):
    Slow(seconds=0.0).run()
    assert Slow.bulk_complete([0.0, 1.0]) == [0.0]


def test_the_class_form_and_the_function_form_give_the_same_answer(letters):
    @luisy.interim
    @luisy.requires(Letters)
    @luisy.directory_task(".txt", engine="serial")
    def upper(text):
        return text.upper()

    upper().run()
    Upper().run()
    assert [(item.key, text) for item, text in upper().items()] == [(item.key, text) for item, text in Upper().items()]


def test_the_manifest_is_plain_json_lines(letters):
    Upper().run()
    with open(Upper().output().manifest().path) as file:
        entries = [json.loads(line) for line in file]
    assert [entry["key"] for entry in entries] == ["a", "b", "nested/c", "readme"]


def test_a_private_parameter_tells_two_required_tasks_apart(letters):
    """Luigi's own comparison of tasks leaves private parameters out."""
    one, two = Secret(password="one"), Secret(password="two")
    one.run()
    assert one.complete()
    assert not two.complete()
    assert one.output().path != two.output().path
