"""A pipeline in miniature: what lies under .scratch, what is right about it, and that it is never the whole result."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import luigi
import pytest
from conftest import files_below
from luigi.task import externalize
from pipelines import Arrays, Counted, Images, Joined, Letters, Strict, Upper, Words, length
from test_luigi import REPOSITORY, TASK_FAILED, luigi_command

import luisy_dir as luisy
from luisy_dir import settings
from luisy_dir.errors import DefinitionError, GenerationError, ItemsFailedError, MissingInputError, SettingError
from luisy_dir.manifest import read_manifest
from luisy_dir.selection import Selection

TEXTS = {f"{name}.txt": f"letter {name}".encode() for name in "abcdefgh"}
FIRST_THREE = ["a.txt", "b.txt", "c.txt"]


@pytest.fixture
def letters(write_files):
    return pathlib.Path(write_files(Letters().output().path, TEXTS))


@luisy.interim
@luisy.requires(Words, Letters)
@luisy.directory_output(".json", engine="serial")
class WordsAndLetters(luisy.DirectoryTask):
    """Of several outputs an item, and a raw folder whose keys are others."""

    def process(self, word, letter):
        return [word, letter]


@luisy.final
@luisy.requires(Upper)
@luisy.json_output
class Total(luisy.Task):
    """One file, made of a directory."""

    def run(self):
        self.write(sorted(self.read_input()))


def below(folder):
    return files_below(folder) if os.path.isdir(folder) else None


def scratch_of(folder, name):
    return folder / ".scratch" / name / "pipelines"


def state_of(folder):
    """Every file and folder below a folder but .scratch, with content and time of change."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in folder.rglob("*")
        if ".scratch" not in path.relative_to(folder).parts
    }


def run_all(task):
    """Run a task and all that it requires, as Luigi does."""
    assert luigi.build([task], local_scheduler=True, log_level="WARNING")


# -- where it lies ----------------------------------------------------------------------------------------------------


def test_a_pipeline_runs_in_miniature_and_nothing_else_is_touched(letters, working_dir):
    """Directories and single files alike; the raw folder is read where it is."""
    before = state_of(working_dir)

    with luisy.scratch(limit=3):
        run_all(length())
        run_all(Total())
        assert length().complete()
        assert Total().read() == ["LETTER A", "LETTER B", "LETTER C"]

    assert {path: content for path, content in state_of(working_dir).items() if path in before} == before
    assert below(working_dir / "pipelines") == [f"raw/letters/{name}" for name in TEXTS]
    assert below(scratch_of(working_dir, "limit=3") / "interim" / "Upper") == FIRST_THREE
    assert not length().complete()
    assert not Total().complete()


def test_each_selection_has_a_folder_of_its_own(letters, working_dir):
    for choice in ({"limit": 2}, {"limit": 3}, {"sample": "50%"}, {"only": ["a"]}):
        with luisy.scratch(**choice) as selection:
            Upper().run()
            assert Upper().output().path.startswith(f"{working_dir}/.scratch/{selection.name}/")
            assert Upper().complete()
    assert len(os.listdir(working_dir / ".scratch")) == 4


def test_the_whole_result_beside_it_stays_and_is_no_input_of_it(letters, working_dir):
    run_all(length())
    before = state_of(working_dir)

    with luisy.scratch(limit=3):
        assert not Upper().complete()
        run_all(length())
        assert len(list(length().items())) == 3

    assert state_of(working_dir) == before
    assert length().complete()


def test_a_directory_that_is_only_read_is_read_where_it_is(letters, working_dir):
    """What is external has been made already: it is taken as a raw folder is."""
    run_all(Upper())

    @luisy.project_name("pipelines")
    class Sighted(luisy.DirectoryTask):
        format = Upper.format
        engine = "serial"

        def requires(self):
            return externalize(Upper())

        def process(self, text):
            return text

    with luisy.scratch(limit=2):
        Sighted().run()
        assert Sighted().complete()
        assert below(Sighted().output().path) == ["a.txt", "b.txt"]
        assert externalize(Upper()).output().path == f"{working_dir}/pipelines/interim/Upper"


def test_a_task_that_would_write_elsewhere_is_refused(letters, working_dir):
    """Else a few items would lie where all are expected."""

    @luisy.requires(Letters)
    @luisy.directory_output(".txt", engine="serial")
    class Stubborn(luisy.DirectoryTask):
        def get_outdir(self):
            return str(working_dir / "results")

        def process(self, text):
            return text

    @luisy.json_output
    class StubbornFile(luisy.Task):
        def output(self):
            return luigi.LocalTarget(str(working_dir / "results.json"))

        def run(self):
            (working_dir / "results.json").touch()

    for task in (Stubborn(), StubbornFile()):
        with luisy.scratch(limit=2), pytest.raises(DefinitionError, match="could be taken for the complete result"):
            task.run()
    assert below(working_dir / "results") is None
    assert not (working_dir / "results.json").exists()


def test_it_may_be_removed_at_any_time(letters, working_dir):
    with luisy.scratch(limit=3):
        run_all(length())
    shutil.rmtree(working_dir / ".scratch")

    with luisy.scratch(limit=3):
        assert not length().complete()
        run_all(length())
        assert len(list(length().items())) == 3


def test_commands_do_not_count_it_unless_a_path_in_it_is_given(letters, working_dir):
    run_all(Upper())
    with luisy.scratch(limit=3):
        run_all(Upper())

    def ask(*arguments):
        answer = subprocess.run(
            [sys.executable, "-m", "luisy_dir", *arguments], capture_output=True, text=True, check=True
        )
        return answer.stdout

    assert len(ask("ls", working_dir).splitlines()) == 2
    assert ".scratch" not in ask("gc", working_dir, "--dry-run", "--keep", "1")
    assert "pipelines/interim/Upper" in ask("ls", working_dir / ".scratch" / "limit=3")
    assert "3 items: 3 written" in ask("report", scratch_of(working_dir, "limit=3") / "interim" / "Upper")


# -- which items ------------------------------------------------------------------------------------------------------


def test_what_reads_a_directory_of_the_miniature_takes_all_of_it(write_files, working_dir):
    """Several outputs of one item are not cut a second time, and their keys are not asked for a sample."""
    write_files(Letters().output().path, {f"{name}.txt": b"one two three" for name in "abcd"})

    @luisy.project_name("pipelines")
    @luisy.requires(Words)
    @luisy.directory_output(".txt", engine="serial")
    class Echo(luisy.DirectoryTask):
        def process(self, word):
            return word

    for choice in ({"limit": 2}, {"only": "b,c"}):
        with luisy.scratch(**choice):
            run_all(Echo())
            assert len(list(Echo().items())) == 6


def test_beside_a_directory_of_the_miniature_a_raw_folder_gives_what_belongs_to_it(write_files, working_dir):
    """The keys of the former need not be those of raw files, so that they decide."""
    write_files(Letters().output().path, {"a.txt": b"one", "b.txt": b"two", "c.txt": b"three"})
    write_files(Letters().output().path, {"a/0.txt": b"A", "b/0.txt": b"B", "c/0.txt": b"C"})

    with luisy.scratch(only="a,a/0"):
        run_all(WordsAndLetters())
        entries = {entry.key: entry.status for entry in read_manifest(WordsAndLetters().output().path).entries()}

    assert entries == {"a/0": "written", "a/0/0": "rejected"}


def test_joined_directories_have_the_same_items_of_a_sample(letters):
    with luisy.scratch(sample="50%"):
        run_all(Joined())
        entries = list(read_manifest(Joined().output().path).entries())
    chosen = [key for key in "abcdefgh" if list(Selection(sample=0.5).select([luisy.Item(key, (), {})], ""))]
    assert [(entry.key, entry.status) for entry in entries] == [(key, "written") for key in chosen]
    assert 0 < len(chosen) < len(TEXTS)


def test_a_key_that_is_not_there_is_an_error_before_any_work(letters, working_dir):
    with luisy.scratch(only="a,b.txt"), pytest.raises(MissingInputError, match=r"no item 'b\.txt'.*'b'"):
        Upper().run()
    assert below(working_dir / ".scratch") in (None, [])


def test_a_sample_without_any_item_is_an_error_that_names_it(letters):
    with luisy.scratch(sample=1e-6), pytest.raises(MissingInputError, match=r"letters' \(sample=0\.0001%\)"):
        Upper().run()


# -- a second run -----------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(letters, tmp_path):
    """A task in miniature whose calls are counted: ``counted()`` runs it and says which keys were processed."""
    calls = tmp_path / "calls"
    task = Counted(calls=str(calls))

    def run():
        calls.write_text("")
        task.run()
        return calls.read_text().split()

    run.task = task
    with luisy.scratch(limit=3):
        assert run() == ["a", "b", "c"]
        yield run


def outputs(counted):
    return {item.key: data for item, data in counted.task.items()}


def test_a_second_run_does_nothing(counted, working_dir):
    before = (working_dir / ".scratch").stat().st_mtime_ns, counted.task.output().manifest().record.generation

    assert counted.task.complete()
    assert counted() == []
    assert before == ((working_dir / ".scratch").stat().st_mtime_ns, counted.task.output().manifest().record.generation)


def test_a_file_that_is_changed_is_processed_again(counted, write_files, letters):
    write_files(letters, {"b.txt": b"other"}, age_seconds=30)

    assert not counted.task.complete()
    assert counted.task.plan().counts == {"unchanged": 2, "changed": 1}
    assert counted() == ["b"]
    assert outputs(counted)["b"] == "OTHER"
    assert counted.task.complete()


def test_a_file_that_was_touched_is_not(counted, letters):
    os.utime(letters / "b.txt")

    assert counted.task.complete()
    assert counted() == []


def test_a_change_beyond_the_limit_is_none(counted, write_files, letters):
    write_files(letters, {"d.txt": b"other", "z.txt": b"new"}, age_seconds=30)

    assert counted.task.complete()
    assert counted() == []


def test_a_file_that_comes_before_the_others_moves_the_last_one_out(counted, write_files, letters):
    write_files(letters, {"Z.txt": b"first"}, age_seconds=30)

    assert not counted.task.complete()
    assert counted.task.plan().counts == {"unchanged": 2, "new": 1, "deleted": 1}
    assert counted() == ["Z"]
    assert list(outputs(counted)) == ["Z", "a", "b"]
    assert below(counted.task.output().path) == ["Z.txt", "a.txt", "b.txt"]
    assert counted.task.complete()


def test_all_files_may_be_moved_out_at_once(counted, write_files, letters):
    """No disk was unmounted: max_deleted is for results that cannot be thrown away."""
    write_files(letters, {f"{name}.txt": b"first" for name in "XYZ"}, age_seconds=30)

    assert counted() == ["X", "Y", "Z"]
    assert list(outputs(counted)) == ["X", "Y", "Z"]
    assert counted.task.complete()


def test_a_file_that_is_removed_makes_room_for_the_next(counted, letters):
    (letters / "a.txt").unlink()

    assert not counted.task.complete()
    assert counted() == ["d"]
    assert list(outputs(counted)) == ["b", "c", "d"]


def test_a_file_that_is_renamed_within_the_limit_is_noticed(counted, letters):
    (letters / "a.txt").rename(letters / "a1.txt")

    assert not counted.task.complete()
    assert counted() == ["a1"]
    assert list(outputs(counted)) == ["a1", "b", "c"]


def test_an_output_that_was_removed_is_made_again(counted):
    os.unlink(os.path.join(counted.task.output().path, "b.txt"))

    assert not counted.task.complete()
    assert counted() == ["b"]


def test_a_whole_folder_that_is_gone_is_still_an_error(counted, letters):
    shutil.rmtree(letters)

    assert not counted.task.complete()
    with pytest.raises(MissingInputError):
        counted()
    assert list(outputs(counted)) == ["a", "b", "c"]


def test_a_named_file_that_was_removed_is_an_error(letters, working_dir):
    with luisy.scratch(only="a,b"):
        Upper().run()
        (letters / "a.txt").unlink()
        with pytest.raises(MissingInputError, match="no item 'a'"):
            Upper().run()
        assert below(Upper().output().path) == ["a.txt", "b.txt"]


def test_a_larger_limit_begins_anew(counted, letters, tmp_path):
    with luisy.scratch(limit=4):
        assert counted() == ["a", "b", "c", "d"]
    with luisy.scratch(limit=3):
        assert counted() == []


def test_what_an_interrupted_run_has_finished_is_taken_over(write_files, monkeypatch):
    """Those of its items that the selection still takes."""
    folder = write_files(Letters().output().path, TEXTS | {"c.txt": b"fail"})
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "0")
    with luisy.scratch(limit=3):
        with pytest.raises(ItemsFailedError):
            Strict().run()
        assert sorted(Strict().plan().finished) == ["a", "b"]
        os.unlink(os.path.join(folder, "c.txt"))
        write_files(folder, {"Z.txt": b"first"}, age_seconds=30)
        Strict().run()
        manifest = Strict().output().manifest()
        assert [(entry.key, entry.status) for entry in manifest.entries()] == [(key, "written") for key in "Zab"]
        assert sum(manifest.record.resumed.values()) == 2


# -- never the whole result -------------------------------------------------------------------------------------------


@pytest.fixture
def moved(letters, working_dir):
    """A directory of three items that somebody has moved to where that of all is expected."""
    with luisy.scratch(limit=3):
        Upper().run()
        source = Upper().output().path
    os.makedirs(os.path.dirname(Upper().output().path))
    os.rename(source, Upper().output().path)
    return Upper()


@pytest.mark.parametrize("freshness", ["inputs", "content", "exists"])
def test_what_was_moved_out_by_hand_is_not_complete(moved, monkeypatch, freshness):
    monkeypatch.setenv("LUISY_DIR_FRESHNESS", freshness)

    assert not moved.complete()


def test_a_run_makes_the_whole_result_of_what_was_moved_out(moved):
    assert moved.plan().counts == {"new": 5, "params": 3}
    moved.run()
    assert moved.complete()
    assert len(list(moved.items())) == len(TEXTS)
    assert "selection" not in moved.output().manifest().record.parts


def test_what_was_pinned_and_moved_out_is_not_taken_for_the_whole(letters, write_files, working_dir):
    with luisy.scratch(limit=3):
        Upper().run()
        write_files(letters, {"a.txt": b"other"}, age_seconds=30)
        Upper().run()
        Upper().output().rollback()
        assert Upper().complete()
        source = Upper().output().path
    os.makedirs(os.path.dirname(Upper().output().path))
    os.rename(source, Upper().output().path)

    assert not Upper().complete()
    with pytest.raises(GenerationError, match="made of other items than are chosen now"):
        Upper().run()
    Upper().output().release()
    Upper().run()
    assert len(list(Upper().items())) == len(TEXTS)


def test_what_was_made_of_all_is_not_taken_for_a_selection(letters):
    Upper().run()
    source = Upper().output().path
    with luisy.scratch(limit=3):
        os.makedirs(os.path.dirname(Upper().output().path))
        os.rename(source, Upper().output().path)
        assert not Upper().complete()
        Upper().run()
        assert below(Upper().output().path) == FIRST_THREE


def test_without_a_selection_the_fingerprint_is_what_it_was(letters):
    """Results that were published before there were selections stay complete."""
    Upper().run()

    assert "selection" not in Upper().output().manifest().record.parts


# -- where it is chosen -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [("limit", 20), ("sample", 0.1), ("sample", "1%"), ("only", ["a"])])
def test_a_class_cannot_choose_items_for_itself_alone(name, value):
    """Whoever requires it would take a few items for all."""
    made = type("Chosen", (luisy.DirectoryTask,), {"process": len, "format": Upper.format, name: value})

    with pytest.raises(DefinitionError, match=rf"'{name}' cannot be set for Chosen alone.*--luisy-dir-{name} VALUE"):
        made()


@pytest.mark.parametrize("name", settings.OF_SELECTION)
def test_a_decorator_cannot_choose_items(name):
    with pytest.raises(DefinitionError, match=rf"'{name}' cannot be set for one task alone"):
        luisy.directory_output(".npy", **{name: 1})
    with pytest.raises(DefinitionError, match=rf"`with luisy_dir\.scratch\({name}=…\):`"):
        luisy.directory_task(".npy", **{name: 1})


def test_parameters_and_methods_of_these_names_are_the_users_own(letters):
    @luisy.project_name("pipelines")
    @luisy.requires(Letters)
    @luisy.directory_output(".txt", engine="serial")
    class Limited(luisy.DirectoryTask):
        limit = luigi.IntParameter(default=3)

        def sample(self, text):
            return text[: self.limit]

        def process(self, text):
            return self.sample(text)

    Limited().run()
    assert {data for _, data in Limited().items()} == {"let"}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({}, "chooses no items"),
        ({"only": ""}, "chooses no items"),
        ({"only": []}, "'only'"),
        ({"limit": 0}, "'limit' is '0'"),
        ({"limit": True}, "'limit'"),
        ({"limit": 2.5}, "'limit'"),
        ({"sample": 1}, "'sample' is '1', from scratch().*a percentage such as 1%"),
        ({"sample": "2"}, "'sample'"),
        ({"limit": 3, "only": ["a", 1]}, "'only'"),
    ],
)
def test_a_choice_that_cannot_be_meant_is_refused_at_once(choice, message, letters):
    with pytest.raises(SettingError, match=message), luisy.scratch(**choice):
        pytest.fail("entered")
    assert settings.selection().is_all


def test_what_was_chosen_ends_with_its_block_also_by_an_error():
    with pytest.raises(ZeroDivisionError), luisy.scratch(limit=3):
        raise ZeroDivisionError
    assert settings.selection() == Selection()


def test_an_inner_block_holds_alone():
    with luisy.scratch(limit=3):
        with luisy.scratch(sample=0.5):
            assert settings.selection() == Selection(sample=0.5)
        assert settings.selection() == Selection(limit=3)


def test_the_environment_chooses_too(letters, monkeypatch):
    monkeypatch.setenv("LUISY_DIR_LIMIT", "2")
    monkeypatch.setenv("LUISY_DIR_ONLY", '["c", "b", "a"]')
    Upper().run()
    assert below(Upper().output().path) == ["a.txt", "b.txt"]


# -- in luigi ---------------------------------------------------------------------------------------------------------


PATHS = os.pathsep.join([os.path.join(REPOSITORY, "tests"), REPOSITORY])


def luigi_in_miniature(working_dir, *arguments):
    return luigi_command(*arguments, "--luisy-dir-working-dir", str(working_dir), PYTHONPATH=PATHS)


@pytest.mark.parametrize("engine", ["serial", "threads", "processes", "async"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_selection_reaches_luigis_processes_and_workers_on_every_engine(letters, working_dir, engine, workers):
    answer = luigi_in_miniature(
        working_dir, "length", "--workers", workers, "--luisy-dir-engine", engine, "--luisy-dir-limit", "3"
    )

    assert answer.returncode == 0, answer.stderr
    assert below(working_dir / "pipelines") == [f"raw/letters/{name}" for name in TEXTS]
    assert below(scratch_of(working_dir, "limit=3") / "final" / "length") == ["a.json", "b.json", "c.json"]


def test_a_second_invocation_brings_the_miniature_up_to_date(letters, working_dir, write_files):
    """Luigi asks for a plan first, and the run that follows uses that one."""
    arguments = ("length", "--workers", "2", "--luisy-dir-limit", "3")
    luigi_in_miniature(working_dir, *arguments)
    write_files(letters, {"Z.txt": b"first", "a.txt": b"longer than before"}, age_seconds=30)
    answer = luigi_in_miniature(working_dir, *arguments)

    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("generation 2; 1 unchanged") == 2
    with luisy.scratch(limit=3):
        assert {item.key: data for item, data in length().items()} == {"Z": 5, "a": 18, "b": 8}
        assert length().complete()
    assert "1 complete ones were encountered" in luigi_in_miniature(working_dir, *arguments).stderr


def test_spawned_task_processes_know_the_selection(letters, working_dir):
    """Not every platform forks, and a child that is spawned knows no flags."""
    code = (
        "import multiprocessing, sys\nfrom luigi.cmdline import luigi_run\n"
        "if __name__ == '__main__':\n    multiprocessing.set_start_method('spawn')\n    luigi_run(sys.argv[1:])\n"
    )
    script = working_dir / "spawning.py"
    script.write_text(code)
    options = ["--luisy-dir-working-dir", working_dir, "--luisy-dir-sample", "50%", "--luisy-dir-limit", "3"]
    command = [sys.executable, script, "--module", "pipelines", "length", "--local-scheduler", "--no-lock"]
    answer = subprocess.run(
        [*command, "--workers", "2", *options],
        env=os.environ | {"PYTHONPATH": PATHS, "LUIGI_CONFIG_PATH": os.path.join(REPOSITORY, "luigi.cfg")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert answer.returncode == 0, answer.stderr
    assert below(working_dir / "pipelines") == [f"raw/letters/{name}" for name in TEXTS]
    assert len(below(scratch_of(working_dir, "sample=50%_limit=3") / "final" / "length")) == 3


def test_the_log_says_how_many_items_are_taken_where_they_go_and_that_it_is_not_the_result(letters, working_dir):
    answer = luigi_in_miniature(working_dir, "length", "--luisy-dir-limit", "3")

    folder = f"below '{working_dir}/.scratch/limit=3', which is not the complete result"
    assert f"Upper(): limit=3: only 3 of 8 items, {folder}" in answer.stderr
    assert f"length(): limit=3: {folder}" in answer.stderr
    assert answer.stderr.index("only 3 of 8 items") < answer.stderr.index("published 3 of 3 items")


def test_a_run_of_all_says_nothing_of_the_kind(letters, working_dir):
    assert "not the complete result" not in luigi_in_miniature(working_dir, "length").stderr


def test_an_unknown_key_fails_the_task_with_its_message(letters, working_dir):
    answer = luigi_in_miniature(working_dir, "length", "--luisy-dir-only", "a,letter")

    assert answer.returncode == TASK_FAILED
    assert "There is no item 'letter' in" in answer.stderr
    assert below(working_dir / ".scratch") in (None, [])


def test_a_plan_under_these_flags_is_that_of_the_miniature(letters, working_dir):
    def plan():
        return subprocess.run(
            [sys.executable, "-m", "luisy_dir", "plan", "pipelines", "Upper", "--luisy-dir-limit", "3"],
            cwd=os.path.dirname(__file__),
            env=os.environ | {"LUISY_DIR_WORKING_DIR": str(working_dir)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    folder = f"below '{working_dir}/.scratch/limit=3', which is not the complete result"
    assert "3 items: 3 new" in plan()
    assert f"limit=3: only 3 of 8 items, {folder}" in plan()
    with luisy.scratch(limit=3):
        Upper().run()
    assert "3 items: 3 unchanged" in plan()
    assert f"limit=3: only 3 of 8 items, {folder}" in plan()


def test_the_words_of_the_help_are_shown(working_dir):
    """A percent sign in a description would break the parser of the command line."""
    assert "--luisy-dir-sample" in luigi_in_miniature(working_dir, "length", "--help-all").stdout


# -- images -----------------------------------------------------------------------------------------------------------


def test_a_miniature_of_images_equals_the_whole_result_item_by_item(write_files, working_dir):
    """Same bytes, same random numbers: an item does not know of the others."""
    from pipelines import RedChannel, image_of
    from skimage import io

    os.makedirs(Images().output().path)
    for number in range(4):
        io.imsave(os.path.join(Images().output().path, f"{number}.png"), image_of((4, 5, 3), number))
    run_all(RedChannel())
    whole = {entry.key: entry for entry in RedChannel().output().manifest().entries()}

    with luisy.scratch(only=["1", "3"]):
        run_all(RedChannel())
        few = {entry.key: entry for entry in RedChannel().output().manifest().entries()}
        assert Arrays().output().path != RedChannel().output().path

    assert list(few) == ["1", "3"]
    for key, entry in few.items():
        assert entry.meta == whole[key].meta
        assert [output.digest for output in entry.outputs] == [output.digest for output in whole[key].outputs]
