"""Never a wrong result: what must be noticed, and what must not pass."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
from pathlib import PurePath

import luigi
import pytest
from conftest import files_below
from pipelines import Letters, Strict, Upper, length, read_text

import luisy_dir as luisy
from luisy_dir import errors
from luisy_dir.item import scan
from luisy_dir.storage import local
from luisy_dir.transaction import Transaction


@pytest.fixture
def letters(write_files):
    return write_files(Letters().output().path, {"a.txt": b"alpha", "b.txt": b"beta"})


def task_of(name, *required, **body):
    """A serial text task of that name, made anew at each call as if its module had been edited."""

    class Made(luisy.DirectoryTask):
        def process(self, *texts):
            return "-".join(texts)

    Made.__name__ = name
    for attribute, value in body.items():
        setattr(Made, attribute, value)
    return luisy.interim(luisy.requires(*required)(luisy.directory_output(".txt", engine="serial")(Made)))


class TestWhatCompleteNotices:
    def test_the_order_of_what_is_required(self, letters):
        Upper().run()
        Strict().run()
        task_of("Joined2", Upper, Strict)().run()

        assert not task_of("Joined2", Strict, Upper)().complete()

    @pytest.mark.parametrize("kind", ["list", "dict", "folder"])
    def test_a_required_target_that_is_more_than_one_file(self, letters, working_dir, kind):
        class Model(luigi.Task):
            def output(self):
                first, second = (luigi.LocalTarget(str(working_dir / "model" / name)) for name in ("1", "2"))
                folder = luigi.LocalTarget(str(working_dir / "model"))
                return {"list": [first, second], "dict": {"x": first, "y": second}, "folder": folder}[kind]

        (working_dir / "model").mkdir()
        for name in ("1", "2"):
            (working_dir / "model" / name).write_text("weights")
        task = task_of("WithTarget", Letters, Model)()
        task.run()
        assert task.complete()

        (working_dir / "model" / "2").write_text("other weights")
        assert not task.complete()

    def test_another_setting_of_a_reader_that_is_an_object(self, write_files):
        def completes_with(reader):
            @luisy.make_directory_output(reader)
            @luisy.raw
            class Read(luisy.ExternalTask):
                def get_folder_name(self):
                    return "read"

            write_files(Read().output().path, {"a.txt": b"alpha"})
            task = task_of("OfReader", Read)()
            if not os.path.exists(task.output().path):
                task.run()
            return task.complete()

        assert completes_with(Cut(1, PurePath("x")))
        assert completes_with(Cut(1, PurePath("x")))
        assert not completes_with(Cut(2, PurePath("x")))
        assert not completes_with(Cut(1, PurePath("y")))

    def test_other_parameters_also_where_existence_is_enough(self, letters, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_FRESHNESS", "exists")
        Upper().run()
        other = task_of("Other", Letters, get_folder_name=lambda self: "Upper")
        assert not other().complete()

    def test_what_was_made_anew_upstream_within_one_invocation(self, letters, write_files):
        """Only raw folders are vouched for: they grow while Luigi runs; published ones do not."""
        consumer = task_of("Consumer", Upper)
        seen = []

        class Rebuild(luigi.Task):
            is_done = False

            def complete(self):
                return type(self).is_done

            def run(self):
                Upper().run()
                consumer().run()
                seen.append(consumer().complete())
                write_files(letters, {"a.txt": b"other"})
                Upper().output().remove()
                Upper().run()
                seen.append(consumer().complete())
                type(self).is_done = True

        luigi.build([Rebuild()], local_scheduler=True, log_level="ERROR")
        assert seen == [True, False]

    def test_each_task_is_asked_once_however_many_ways_lead_to_it(self, letters, monkeypatch):
        """Else diamonds would take twice as long with every level."""
        asked = []
        below = Letters
        for level in range(6):
            left = task_of(f"Left{level}", below)
            right = task_of(f"Right{level}", below)
            below = task_of(f"Both{level}", left, right)
            for task in (left(), right(), below()):
                task.run()
        original = luisy.DirectoryTask._is_complete
        monkeypatch.setattr(
            luisy.DirectoryTask, "_is_complete", lambda self: asked.append(self.task_id) or original(self)
        )
        assert below().complete()
        assert len(asked) == len(set(asked)) == 18


@dataclasses.dataclass(frozen=True)
class Cut:
    """A reader with settings of its own."""

    length: int
    folder: PurePath

    def __call__(self, path):
        return read_text(path)[self.length :]


class TestCodeThatChanges:
    def test_a_function_that_was_edited_between_two_runs_makes_everything_anew(self, letters, caplog):
        """Nothing about a plain function is opaque."""

        def task_with(function):
            function.__name__ = "edited"
            return luisy.interim(luisy.requires(Letters)(luisy.directory_task(".txt", engine="serial")(function)))()

        task_with(lambda text: text + "!").run()
        assert "cannot be looked into" not in caplog.text
        edited = task_with(lambda text: text + "?")
        assert not edited.complete()
        assert edited.plan().counts == {"code": 2}
        edited.run()
        assert list(edited.read()) == ["alpha?", "beta?"]

    def test_a_setup_function_that_was_edited_between_two_runs_makes_everything_anew(self, letters):
        def task_with(setup):
            @luisy.interim
            @luisy.requires(Letters)
            @luisy.directory_task(".txt", engine="serial", setup=setup)
            def prepared(text, state):
                return text + state

            return prepared()

        task_with(lambda: "!").run()
        prepared = task_with(lambda: "?")
        assert prepared.plan().counts == {"code": 2}
        prepared.run()
        assert list(prepared.read()) == ["alpha?", "beta?"]

    @pytest.mark.parametrize("is_known_before", [False, True])
    @pytest.mark.parametrize("edit", [("'OLD'", "'NEWER'"), ("LIMIT = 3", "LIMIT = 4"), ("text[:", "text[1:")])
    def test_an_edit_while_the_program_runs_is_an_error_and_not_a_mix(
        self, working_dir, write_files, edit, is_known_before
    ):
        """Workers read the module from the disk, and would run other code than the parent has recorded."""
        answer, interim = self._run_edited(working_dir, write_files, edit, is_known_before)

        assert "has changed since this program began" in answer.stderr
        assert os.listdir(interim) == []

    def test_an_edit_of_a_comment_while_the_program_runs_is_none(self, working_dir, write_files):
        answer, interim = self._run_edited(working_dir, write_files, ("# why", "# because"), is_known_before=True)

        assert answer.returncode == 0, answer.stderr
        assert (interim / "edited" / "a.txt").read_text() == "alpOLD"

    def _run_edited(self, working_dir, write_files, edit, is_known_before):
        module = "import luisy_dir as luisy\nfrom pipelines import Letters\n"
        module += "LIMIT = 3\ndef helper(text):\n    return text[:LIMIT]\n"
        module += "@luisy.interim\n@luisy.requires(Letters)\n@luisy.directory_task('.txt', workers=1)\n"
        module += "def edited(text):\n    return helper(text) + 'OLD'  # why\n"
        assert edit[0] in module
        (working_dir / "edited_module.py").write_text(module)
        write_files(working_dir / "pipelines" / "raw" / "letters", {"a.txt": b"alpha"})
        program = (
            "import luisy_dir as luisy, edited_module, pathlib\n"
            f"luisy.set_working_dir({str(working_dir)!r})\n"
            "task = edited_module.edited()\n"
            f"print({is_known_before} and task.plan())\n"
            "path = pathlib.Path(edited_module.__file__)\n"
            f"path.write_text(path.read_text().replace({edit[0]!r}, {edit[1]!r}))\n"
            "task.run()\n"
        )
        answer = subprocess.run(
            [sys.executable, "-B", "-c", program],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(working_dir), *sys.path])},
            capture_output=True,
            text=True,
            check=False,
        )
        return answer, working_dir / "edited_module" / "interim"


class TestFilesThatCome:
    def test_a_file_that_is_renamed_after_the_scan_is_no_failure(self, letters, write_files):
        """Writers that finish by a rename are what we ask for."""
        write_files(letters, {"c.txt": b"gamma"})

        class Renames:
            def __call__(self, path):
                if os.path.exists(os.path.join(letters, "c.txt")):
                    os.rename(os.path.join(letters, "c.txt"), os.path.join(letters, "d.txt"))
                return read_text(path)

        @luisy.make_directory_output(Renames())
        @luisy.raw
        class Renamed(Letters):
            project_name = "pipelines"

        task = task_of("OfRenamed", Renamed)()
        task.run()
        assert [item.key for item, _ in task.items()] == ["a", "b"]
        assert task.plan().counts == {"unchanged": 2, "new": 1}

    def test_a_folder_that_is_emptied_after_the_scan_is_no_empty_result(self, letters):
        class Empties:
            def __call__(self, path):
                for name in os.listdir(letters):
                    os.remove(os.path.join(letters, name))
                return read_text(path)

        @luisy.make_directory_output(Empties())
        @luisy.raw
        class Emptied(Letters):
            project_name = "pipelines"

        task = task_of("OfEmptied", Emptied)()
        with pytest.raises(errors.MissingInputError):
            task.run()
        assert not os.path.exists(task.output().path)

    def test_a_folder_that_goes_while_it_is_scanned_is_no_missing_input(self, tmp_path, write_files):
        folder = write_files(tmp_path / "raw", {"a.txt": b"", "sub0/b.txt": b""})
        stop = threading.Event()

        def rename_all_the_while():
            number = 0
            while not stop.is_set():
                os.rename(os.path.join(folder, f"sub{number}"), os.path.join(folder, f"sub{number + 1}"))
                number += 1

        thread = threading.Thread(target=rename_all_the_while)
        thread.start()
        try:
            found = [[item.key for item in scan(folder)] for _ in range(300)]
        finally:
            stop.set()
            thread.join()
        assert all("a" in keys for keys in found)


class TestFences:
    def test_a_run_that_lost_its_lock_publishes_nothing(self, tmp_path):
        """Correctness does not rest on the lock: whoever takes over renames first."""
        directory = str(tmp_path / "Task")
        with pytest.raises(errors.BusyError, match="taken over"), Transaction(directory, "f" * 32) as first:
            local.write_new(first.files, "a.bin", lambda file: file.write(b"a"))
            os.unlink(os.path.join(first.staging, "lock"))
            with Transaction(directory, "f" * 32) as second:
                assert not os.path.exists(first.run)
                assert os.path.isdir(second.files)
            from test_transaction import FACTS

            first.commit(FACTS)
        assert not os.path.exists(directory)

    def test_a_lock_that_is_somebody_elses_by_now_is_left_alone(self, tmp_path):
        path = str(tmp_path / "lock")
        first, second = local.Lock(path), local.Lock(path)
        first.acquire()
        os.unlink(path)
        second.acquire()
        first.release()
        with pytest.raises(errors.BusyError):
            local.Lock(path).acquire()
        second.release()
        assert not os.path.exists(path)


class TestNothingOfYoursIsLost:
    def test_a_directory_with_files_of_yours_is_not_removed(self, letters, write_files):
        Upper().run()
        write_files(Upper().output().path, {"my_labels.csv": b"mine"})
        with pytest.raises(errors.ForeignDirectoryError, match=r"'my_labels\.csv'"):
            Upper().output().remove()
        assert "my_labels.csv" in files_below(Upper().output().path)

    def test_nothing_is_published_inside_a_published_directory(self, letters):
        Upper().run()
        inner = task_of("Inner", Letters, project_name="pipelines", get_folder_name=lambda self: "Upper/inner")
        with pytest.raises(errors.ForeignDirectoryError, match="which another task has published"):
            inner().run()

    def test_only_the_directory_with_the_tasks_own_parameters_is_brought_up_to_date(self, letters, write_files):
        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task(".txt", engine="serial", params={"gain": luigi.IntParameter(default=1)})
        def amplified(text, gain):
            return text * gain

        amplified(gain=5).run()
        amplified(gain=2).run()
        write_files(letters, {"c.txt": b"gamma"})
        amplified(gain=5).run()
        assert [len(text) for text in amplified(gain=5).read()] == [25, 20, 25]
        assert [len(text) for text in amplified(gain=2).read()] == [10, 8]
        assert not amplified(gain=2).complete()

    def test_a_file_of_yours_where_an_output_belongs_is_not_replaced(self, letters, write_files):
        """An update knows which files are its own; the directory stays as it was, and the error names yours."""
        Upper().run()
        write_files(Upper().output().path, {"c.txt": b"mine"})
        write_files(letters, {"a.txt": b"other", "c.txt": b"gamma"}, age_seconds=30)
        with pytest.raises(errors.ForeignDirectoryError, match=r"'c\.txt'"):
            Upper().run()
        with open(os.path.join(Upper().output().path, "c.txt"), "rb") as file:
            assert file.read() == b"mine"
        assert list(Upper().read()) == ["ALPHA", "BETA"]

    def test_files_of_yours_outlive_an_update(self, letters, write_files):
        Upper().run()
        write_files(Upper().output().path, {"my_labels.csv": b"mine"})
        os.remove(os.path.join(letters, "a.txt"))
        write_files(letters, {"c.txt": b"gamma"})
        Upper().run()
        assert files_below(Upper().output().path) == ["b.txt", "c.txt", "my_labels.csv"]
        assert Upper().complete()


class TestSameAnswer:
    def test_two_items_that_write_one_output_end_the_run_whoever_comes_first(self, write_files, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1.0")

        def process(self, text):
            yield luisy.Output(text, key=text or None)

        write_files(Letters().output().path, {"a.txt": b"left", "a/left.txt": b""})
        with pytest.raises(errors.KeyCollisionError, match=r"'a/left\.txt'"):
            task_of("Colliding", Letters, process=process)().run()

    def test_a_writer_that_puts_another_file_in_its_place_is_recorded_as_what_it_wrote(self, letters):
        def write(text, file):
            with open(file.name + ".new", "w") as other:
                other.write(text)
            os.replace(file.name + ".new", file.name)

        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task((read_text, write), suffix=".txt", engine="serial")
        def replaced(text):
            return text

        replaced().run()
        entry = next(replaced().output().manifest().entries())
        path = os.path.join(replaced().output().path, "a.txt")
        assert entry.outputs[0].digest == local.digest_of(path)[0]
        assert list(replaced().read()) == ["alpha", "beta"]


class TestDefinitionsThatLoseSomething:
    def test_two_requires_on_one_class(self):
        with pytest.raises(errors.DefinitionError, match="Name all in one"):
            luisy.requires(Upper)(task_of("Twice", Letters))

    @pytest.mark.parametrize("name", ["run", "output", "plan", "format", "state"])
    def test_a_parameter_named_like_something_that_a_task_has(self, name):
        with pytest.raises(errors.DefinitionError, match="Rename it"):
            exec(
                f"@luisy.directory_task('.txt', params={{'{name}': luigi.Parameter()}})\ndef t(text, {name}): pass",
                {"luisy": luisy, "luigi": luigi},
            )

    def test_data_that_does_not_come_first(self):
        with pytest.raises(errors.DefinitionError, match="the data comes first"):

            @luisy.directory_task(".txt", params={"gain": luigi.IntParameter()})
            def turned(gain, text):
                return text

    def test_a_pattern_that_is_no_regular_expression(self):
        with pytest.raises(errors.DefinitionError, match="no regular expression"):
            luisy.make_directory_output(read_text, "*.png")

    def test_an_asynchronous_process_on_an_engine_that_never_awaits_it(self, letters):
        async def process(self, text):
            return text

        with pytest.raises(errors.DefinitionError, match="never awaits"):
            task_of("Asynchronous", Letters, process=process)().run()

    def test_an_empty_folder_name(self, letters):
        with pytest.raises(errors.DefinitionError, match="Name a folder"):
            task_of("Nameless", Letters, get_folder_name=lambda self: "")().run()


class TestReadingEverything:
    """``freshness = content`` and ``check_outputs = deep`` see what size and time of change hide."""

    def swap(self, path, content):
        state = os.stat(path)
        with open(path, "w") as file:
            file.write(content)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    def test_an_input_with_other_content_and_the_same_size_and_time(self, write_files, monkeypatch):
        folder = write_files(Letters().output().path, {"a.txt": b"alpha"})
        Upper().run()
        self.swap(os.path.join(folder, "a.txt"), "ALPHA")
        assert Upper().complete()
        monkeypatch.setenv("LUISY_DIR_FRESHNESS", "content")
        assert not Upper().complete()
        assert Upper().plan().counts == {"changed": 1}

    def test_an_output_with_other_content_and_the_same_size_and_time(self, write_files, monkeypatch):
        write_files(Letters().output().path, {"a.txt": b"alpha"})
        Upper().run()
        self.swap(os.path.join(Upper().output().path, "a.txt"), "alpha")
        assert Upper().complete()
        monkeypatch.setenv("LUISY_DIR_CHECK_OUTPUTS", "deep")
        assert not Upper().complete()
        assert Upper().plan().counts == {"output changed": 1}

    def test_what_is_whole_is_complete(self, write_files, monkeypatch):
        write_files(Letters().output().path, {"a.txt": b"alpha", "b.txt": b"beta", "c.jpg": b""})
        monkeypatch.setenv("LUISY_DIR_CHECK_OUTPUTS", "deep")
        monkeypatch.setenv("LUISY_DIR_FRESHNESS", "content")
        Upper().run()
        length().run()
        assert length().complete()
