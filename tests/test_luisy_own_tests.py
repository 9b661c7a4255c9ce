"""Luisy's own tests: what they show of tasks, external tasks, decorators and runs holds here too.

The comments name, by file, class and test, what is paraphrased; beside it stands what else such tasks are used for.
tests/test_luisy_words.py has each word by itself. Of luisy's tests these are left out:

- test_reruns.py::test_hash_creation and test_rerun_on_hash_changes, test_hashes.py: there is no file of code hashes;
  that changed code makes a directory stale is in tests/test_tasks.py and tests/test_fingerprint.py.
- test_testing.py: its test case replaces outputs by mocks; tests here use real files. What it shows of tasks is below.
- test_cli.py, test_config.py, test_sync.py, test_spark.py, test_visualization.py: these parts are not here.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import subprocess
import sys
import sysconfig

import luigi
import luigi.util
import numpy as np
import pandas as pd
import pytest
from conftest import files_below
from pipelines import Letters, Upper, read_text

import luisy_dir as luisy
from luisy_dir import decorators
from luisy_dir.errors import (
    DefinitionError,
    ForeignDirectoryError,
    MissingExtraError,
    MissingInputError,
    StorageError,
)
from luisy_dir.storage import system
from luisy_dir.tasks import LayerTask

PROJECT = "test_luisy_own_tests"
REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LUIGI = os.path.join(sysconfig.get_path("scripts"), "luigi")
FRAME = pd.DataFrame({"A": [1, 2, 3], "B": [4, 5, 6]})

# pandas 3 says at every write of HDF5 that a default of its own will change.
pytestmark = pytest.mark.filterwarnings("ignore:The default value of 'track_times'")


@luisy.raw
class Lowest(luisy.Task):
    def run(self):
        self.write({"A": 2})


@luisy.interim
@luisy.requires(Lowest)
class Sum(luisy.Task):
    a = luigi.IntParameter()
    b = luigi.IntParameter(default=2)

    def run(self):
        self.write({"A": self.a, "B": self.b})


@luisy.final
@luisy.hdf_output
class Multiplied(luisy.Task):
    task_namespace = "ABC"
    a = luigi.IntParameter(default=1)

    def run(self):
        self.write(self.a * FRAME)


@luisy.final
@luisy.pickle_output
@luisy.requires(Multiplied)
class Subsequent(luisy.Task):
    def run(self):
        self.write(self.input().read() * 5)


@luisy.final
@luisy.feather_output
@luisy.requires(Subsequent)
class Divided(luisy.Task):
    def run(self):
        self.write(self.read_input() / 5)


@luisy.interim
@luisy.requires(Multiplied, Sum, as_dict=True)
class Both(luisy.Task):
    def run(self):
        self.write([self.input()["ABC.Multiplied"].read(), self.input()["Sum"].read()])


class Concatenated(luisy.ConcatenationTask):
    factors = luigi.ListParameter(default=[1, 2, 3])

    def requires(self):
        for factor in self.factors:
            yield Multiplied(a=factor)


class Wrapped(luisy.WrapperTask):
    factors = luigi.ListParameter(default=[1, 2, 3])

    def requires(self):
        for factor in self.factors:
            yield Multiplied(a=factor)


class WrappedByName(luisy.WrapperTask):
    factors = luigi.ListParameter(default=[1, 2, 3])

    def requires(self):
        return {factor: Multiplied(a=factor) for factor in self.factors}


@luisy.interim
class Noted(luisy.Task):
    """A note, and one parameter of each kind that matters for a name."""

    text = luigi.Parameter(default="all")
    year = luigi.IntParameter(default=2024)
    comment = luigi.Parameter(default="", significant=False)

    def run(self):
        self.write([self.text, self.year])


def build(*tasks, workers=1):
    """What became of the tasks."""
    return luigi.build(
        list(tasks), local_scheduler=True, workers=workers, log_level="CRITICAL", detailed_summary=True
    ).status


SUCCESS, FAILED, MISSING = (
    luigi.LuigiStatusCode.SUCCESS,
    luigi.LuigiStatusCode.FAILED,
    luigi.LuigiStatusCode.MISSING_EXT,
)


class TestTask:
    # test_base.py::TestTask

    def test_it_writes_a_pickle_that_is_named_after_it(self, working_dir):
        Sum(a=1, b=2).run()
        assert Sum(a=1, b=2).read() == {"A": 1, "B": 2}
        with open(working_dir / PROJECT / "interim" / "Sum_a=1_b=2.pkl", "rb") as file:
            assert pickle.load(file) == {"A": 1, "B": 2}

    def test_a_namespace_stands_in_the_name(self, working_dir):
        Multiplied(a=1).run()
        assert (working_dir / PROJECT / "final" / "ABC.Multiplied_a=1.hdf").is_file()
        pd.testing.assert_frame_equal(Multiplied(a=1).read(), FRAME)

    def test_a_parameter_may_be_none(self, working_dir):
        Sum(a=None, b=1).run()
        assert (working_dir / PROJECT / "interim" / "Sum_a=None_b=1.pkl").is_file()

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_chain_of_them_runs(self, working_dir, workers):
        assert build(Divided(a=3), workers=workers) == SUCCESS
        pd.testing.assert_frame_equal(Subsequent(a=3).read(), FRAME * 15)
        pd.testing.assert_frame_equal(Divided(a=3).read(), FRAME * 3.0)
        assert (working_dir / PROJECT / "final" / "Divided_a=3.feather").is_file()

    def test_requirements_by_name_are_read_by_name(self):
        assert build(Both(a=1)) == SUCCESS
        frame, dictionary = Both(a=1).read()
        pd.testing.assert_frame_equal(frame, FRAME)
        assert dictionary == {"A": 1, "B": 2}

    def test_all_upstream_tasks_are_in_luigis_graph(self):
        assert set(Both(a=1).requires().values()) == {Multiplied(a=1), Sum(a=1, b=2)}
        assert Sum(a=1).requires() == Lowest()

    def test_the_project_is_the_first_part_of_the_module(self):
        assert Lowest().project_name == Lowest.project_name == PROJECT

    @pytest.mark.parametrize(
        ("name", "file"),
        [
            ("mine.pkl", "mine.pkl"),
            ("mine_pkl", "mine_pkl.pkl"),
            ("mine.xlsx", "mine.xlsx.pkl"),
            ("deep/er/mine", "deep/er/mine.pkl"),
        ],
    )
    def test_a_name_of_its_own_gets_the_suffix_once(self, working_dir, name, file):
        @luisy.final
        @luisy.pickle_output
        class Named(luisy.Task):
            def run(self):
                self.write(["spam"])

            def get_file_name(self):
                return name

        assert build(Named()) == SUCCESS
        assert files_below(working_dir / PROJECT / "final") == [file]

    def test_a_second_write_replaces_the_first(self):
        Sum(a=1).write("first")
        Sum(a=1).write("second")
        assert Sum(a=1).read() == "second"

    def test_what_was_read_may_be_changed_without_harm(self):
        # test_testing.py::TestTesting::test_mocking_does_not_change_mutable_objects
        Lowest().run()
        Lowest().read()["A"] = 50
        assert Lowest().read() == {"A": 2}

    def test_write_makes_missing_folders(self, working_dir):
        assert not (working_dir / PROJECT).exists()
        Lowest().write(1)
        assert Lowest().read() == 1

    def test_luigis_own_ways_to_write_work_too(self):
        @luisy.interim
        class Streamed(luisy.Task):
            def run(self):
                with self.output().open("w") as file:
                    file.write("line\n")

        Streamed().run()
        with Streamed().output().open() as file:
            assert file.read() == "line\n"
        assert os.listdir(Streamed().get_outdir()) == ["Streamed.pkl"]

    def test_a_failing_run_is_a_failed_task_without_output(self):
        # test_testing.py::TestTesting::{test_execution_summary_for_failed_task, test_run_for_failed_task}
        @luisy.interim
        class Failing(luisy.Task):
            def run(self):
                raise ValueError("no")

        assert build(Failing()) == FAILED
        assert not Failing().complete()
        assert os.listdir(Failing().get_outdir()) == []

    def test_it_may_have_a_logger_of_its_own(self):
        class Own(luisy.Task):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                self.logger = logging.getLogger("mine")

        assert Own().logger.name == "mine"

    @pytest.mark.parametrize(("durability", "is_synced"), [("none", False), ("commit", True), ("item", True)])
    @pytest.mark.parametrize("decorate", [luisy.csv_output, luisy.parquetdir_output])
    def test_durability_says_whether_the_disk_is_waited_for(self, monkeypatch, decorate, durability, is_synced):
        """A power cut leaves the former file or the new one; without that, nothing is brought to the disk."""
        synced, fsync = [], system.fsync
        monkeypatch.setattr(system, "fsync", lambda descriptor: synced.append(descriptor) or fsync(descriptor))
        monkeypatch.setenv("LUISY_DIR_DURABILITY", durability)

        @decorate
        class Durable(luisy.Task):
            pass

        Durable().write(FRAME)
        assert bool(synced) is is_synced
        pd.testing.assert_frame_equal(Durable().read(), FRAME)


class TestPlaces:
    @pytest.mark.parametrize("layer", ["raw", "interim", "final"])
    def test_layers_work_with_and_without_parentheses(self, working_dir, layer):
        # test_decorators.py::TestDecoratorParenthesis::test_dir_decorator_parenthesis
        decorate = getattr(luisy, layer)

        @decorate()
        @luisy.pickle_output
        class With(luisy.Task):
            pass

        @decorate
        @luisy.pickle_output
        class Without(luisy.Task):
            pass

        assert With().get_outdir() == Without().get_outdir() == str(working_dir / PROJECT / layer)

    def test_asking_makes_no_folder(self, working_dir):
        for task in (Noted(), Multiplied(), Concatenated(), Wrapped()):
            assert not task.complete()
        assert Noted.get_related_instances() == []
        assert not Noted().output().exists()
        Noted().clean()
        assert os.listdir(working_dir) == []

    def test_the_folder_is_there_when_run_begins_also_where_run_is_inherited(self, working_dir):
        class Listing:
            def run(self):
                self.write(os.listdir(self.get_outdir()))

        class OfMixin(Listing, luisy.Task):
            layer = "interim"

        class OfTask(OfMixin):
            layer = "final"

        class Overriding(OfMixin):
            layer = "raw"

            def run(self):
                super().run()

        for task in (OfMixin(), OfTask(), Overriding()):
            task.run()
            assert task.read() == []

    def test_a_folder_that_cannot_be_made_is_an_error_that_says_what_to_do(self, working_dir):
        (working_dir / PROJECT).write_text("a file in its place")
        with pytest.raises(StorageError, match=r"interim' cannot be made.*choose another working_dir"):
            Noted().run()

    def test_a_working_directory_on_a_disk_that_is_gone_is_an_error_that_says_so(self, working_dir):
        os.symlink(working_dir / "nowhere", working_dir / PROJECT)
        with pytest.raises(StorageError, match="see that the disk is mounted"):
            Noted().write(1)


class TestRead:
    def test_a_target_of_luigi_is_opened_by_hand(self, working_dir):
        # test_reruns.py::TestHashes::test_compatibility_with_intermediate_luigi_tasks
        class Plain(luigi.Task):
            def output(self):
                return luigi.LocalTarget(str(working_dir / "plain.csv"))

            def requires(self):
                return Lowest()

            def run(self):
                with self.output().open("w") as file:
                    json.dump(self.input().read(), file)

        @luisy.final
        @luisy.requires(Plain)
        class OfPlain(luisy.Task):
            def run(self):
                with self.input().open() as file:
                    self.write(json.load(file))

        assert build(OfPlain()) == SUCCESS
        assert OfPlain().read() == {"A": 2}
        with pytest.raises(DefinitionError, match=r"has no method read\(\). Open it yourself"):
            OfPlain().read_input()

    def test_dynamic_requirements_are_read_where_they_are_yielded(self):
        @luisy.final
        class Dynamic(luisy.Task):
            def run(self):
                targets = yield [Sum(a=a) for a in (1, 2)]
                self.write([target.read()["A"] for target in targets])

        assert build(Dynamic()) == SUCCESS
        assert Dynamic().read() == [1, 2]


class TestRelatedInstances:
    # test_helpers.py::TestRegexTaskPattern

    @pytest.fixture(autouse=True)
    def some_results(self, working_dir):
        for text, year in (("all", 2024), ("all", 2023), ("cats", 2023), ("None", 1)):
            Noted(text=text, year=year).run()
        Lowest().run()

    def test_every_task_whose_result_lies_there_is_found(self):
        tasks = [Noted(text="all", year=2023), Noted(), Noted(text="cats", year=2023)]
        assert Noted.get_related_instances() == tasks
        assert [task.read() for task in tasks] == [["all", 2023], ["all", 2024], ["cats", 2023]]

    def test_without_parameters_it_is_the_task_itself(self):
        assert Lowest.get_related_instances() == [Lowest()]
        Lowest().clean()
        assert Lowest.get_related_instances() == []

    def test_they_are_found_in_sub_directories(self):
        @luisy.interim
        class Deep(luisy.Task):
            year = luigi.IntParameter()

            def get_sub_dir(self):
                return f"of/{self.year}"

            def run(self):
                self.write(0)

        Deep(year=1).run()
        Deep(year=2).run()
        assert Deep.get_related_instances() == [Deep(year=1), Deep(year=2)]

    def test_parameters_that_are_left_out_of_the_name_have_their_defaults(self):
        @luisy.interim
        @luisy.auto_filename(excl_params=["comment"])
        class Excluding(luisy.Task):
            year = luigi.IntParameter()
            comment = luigi.Parameter(default="none")

            def run(self):
                self.write(0)

        Excluding(year=1, comment="some").run()
        assert Excluding.get_related_instances() == [Excluding(year=1)]

    def test_a_name_of_its_own_without_parameters_is_found(self):
        class Named(luisy.Task):
            def get_file_name(self):
                return "mine"

        assert Named.get_related_instances() == []
        Named().write(1)
        assert Named.get_related_instances() == [Named()]

    def test_a_name_of_its_own_with_parameters_cannot_be_read_off(self):
        """luisy raises too; no result at all would look like none."""

        class Named(luisy.Task):
            year = luigi.IntParameter()

            def get_file_name(self):
                return f"in_{self.year}"

        Named(year=1).write(1)
        with pytest.raises(DefinitionError, match="parameters of Named cannot be read off"):
            Named.get_related_instances()


class TestExternalTask:
    # test_base.py::TestExternalTask, test_external_task.py

    @pytest.fixture(autouse=True)
    def exported(self, working_dir):
        folder = working_dir / PROJECT / "raw"
        folder.mkdir(parents=True)
        FRAME.to_csv(folder / "some_export.csv", index=False)
        return folder

    def test_a_directory_is_read_by_the_users_function(self):
        # TestExternalTask::test_directory_output
        csv_directory_output = luisy.make_directory_output(read_file_func=pd.read_csv, regex_pattern=".csv")

        @luisy.raw
        @csv_directory_output
        class Exports(luisy.ExternalTask):
            def get_folder_name(self):
                return ""

        @luisy.requires(Exports)
        @luisy.interim
        class Collected(luisy.Task):
            def run(self):
                self.write(list(self.input().read()))

        assert len(list(Exports().read())) == 1
        assert build(Collected()) == SUCCESS
        (frame,) = Collected().read()
        pd.testing.assert_frame_equal(frame, FRAME)

    def test_a_single_file_is_read_with_options(self):
        @luisy.raw
        @luisy.csv_output(usecols=[0])
        class Export(luisy.ExternalTask):
            def get_file_name(self):
                return "some_export"

        assert Export().complete()
        pd.testing.assert_frame_equal(Export().read(), FRAME[["A"]])

    def test_two_tasks_have_options_of_their_own(self, exported):
        FRAME.to_csv(exported / "other_export.csv", index=False, sep=";")

        @luisy.raw
        @luisy.csv_output(delimiter=",")
        class Export(luisy.ExternalTask):
            def get_file_name(self):
                return "some_export"

        @luisy.raw
        @luisy.csv_output(delimiter=";")
        class Other(luisy.ExternalTask):
            def get_file_name(self):
                return "other_export"

        pd.testing.assert_frame_equal(Export().read(), Other().read())

    @pytest.mark.parametrize(
        ("decorator", "suffix", "write"),
        [
            ("pickle_output", ".pkl", pd.DataFrame.to_pickle),
            ("parquet_output", ".parquet", pd.DataFrame.to_parquet),
            ("feather_output", ".feather", pd.DataFrame.to_feather),
            ("hdf_output", ".hdf", lambda frame, path: frame.to_hdf(path, key="data")),
            ("xlsx_output", ".xlsx", lambda frame, path: frame.to_excel(path, index=False)),
        ],
    )
    def test_a_file_that_others_wrote_is_read(self, exported, decorator, suffix, write):
        @luisy.raw
        @getattr(luisy, decorator)
        class Export(luisy.ExternalTask):
            def get_file_name(self):
                return "export"

        write(FRAME, exported / f"export{suffix}")
        pd.testing.assert_frame_equal(Export().read(), FRAME)

    @pytest.mark.parametrize(
        ("decorator", "name", "content"),
        [
            ("json_output", "export.json", b"[1]"),
            ("npy_output", "export.npy", None),
            ("npz_output", "export.npz", None),
        ],
    )
    def test_so_is_one_that_holds_no_frame(self, exported, decorator, name, content):
        @luisy.raw
        @getattr(luisy, decorator)
        class Export(luisy.ExternalTask):
            def get_file_name(self):
                return "export"

        if content is not None:
            (exported / name).write_bytes(content)
        elif name.endswith("y"):
            np.save(exported / name, [1])
        else:
            np.savez(exported / name, x=[1])
        read = Export().read()
        assert list(read["x"] if isinstance(read, dict) else read) == [1]

    def test_a_table_that_others_named_is_read(self, exported):
        @luisy.raw
        @luisy.hdf_output
        class Export(luisy.ExternalTask):
            def get_file_name(self):
                return "export"

        FRAME.to_hdf(exported / "export.hdf", key="measured")
        pd.testing.assert_frame_equal(Export().read(), FRAME)

    def test_a_folder_of_parquet_files_is_read(self, exported):
        # test_external_task.py::TestExternalTask::test_read
        @luisy.raw
        @luisy.parquetdir_output
        class Parts(luisy.ExternalTask):
            def get_folder_name(self):
                return "some_dir/some_result"

        assert not Parts().complete()
        (exported / "some_dir" / "some_result").mkdir(parents=True)
        assert not Parts().complete()
        FRAME.to_parquet(exported / "some_dir" / "some_result" / "another.parquet")
        assert Parts().complete()
        pd.testing.assert_frame_equal(Parts().read(), FRAME)

    def test_one_that_is_missing_is_missing_data(self):
        # test_testing.py::TestTesting::{test_run_with_missing_externals, test_assert_missing_for_incorrect_runs}
        @luisy.raw
        @luisy.csv_output
        class Missing(luisy.ExternalTask):
            pass

        @luisy.interim
        @luisy.requires(Missing)
        class OfMissing(luisy.Task):
            def run(self):
                raise AssertionError("must not run")

        assert build(OfMissing()) == MISSING
        with pytest.raises(MissingInputError, match=r"There is no file .*raw/Missing\.csv"):
            Missing().read()

    @pytest.mark.parametrize(
        "decorate", [luisy.make_directory_output(read_text), luisy.csv_output, luisy.parquetdir_output]
    )
    def test_it_is_neither_written_nor_cleaned(self, exported, decorate):
        @luisy.raw
        @decorate
        class Export(luisy.ExternalTask):
            def get_folder_name(self):
                return "folder"

        with pytest.raises(ForeignDirectoryError, match="never writes"):
            Export().write(FRAME)
        with pytest.raises(ForeignDirectoryError, match="never removes"):
            Export().clean()
        assert files_below(exported) == ["some_export.csv"]


class TestWrapperTask:
    # test_base.py::TestWrapperTask

    def test_it_is_complete_when_all_that_it_requires_is(self, working_dir):
        assert not Wrapped().complete()
        assert build(Wrapped()) == SUCCESS
        assert Wrapped().complete()
        assert files_below(working_dir / PROJECT) == [f"final/ABC.Multiplied_a={factor}.hdf" for factor in (1, 2, 3)]

    def test_it_reads_a_list(self):
        build(Wrapped())
        for factor, frame in zip((1, 2, 3), Wrapped().read(), strict=True):
            pd.testing.assert_frame_equal(frame, FRAME * factor)

    def test_it_reads_a_dictionary(self):
        build(WrappedByName())
        frames = WrappedByName().read()
        assert list(frames) == [1, 2, 3]
        pd.testing.assert_frame_equal(frames[3], FRAME * 3)

    def test_it_reads_a_single_task(self):
        @luisy.requires(Lowest)
        class Single(luisy.WrapperTask):
            pass

        build(Single())
        assert Single().read() == {"A": 2}


class TestConcatenationTask:
    # test_base.py::TestConcatenationTask

    def test_frames_are_put_together_in_the_order_in_which_they_are_required(self):
        assert build(Concatenated(factors=[3, 1])) == SUCCESS
        pd.testing.assert_frame_equal(Concatenated(factors=[3, 1]).read(), pd.concat([FRAME * 3, FRAME]))

    def test_a_list_in_a_name_is_a_digest(self, working_dir):
        """TestConcatenationTask::test_outfile_with_lists, where two lists may share a file."""
        paths = {Concatenated(factors=factors).output().path for factors in ([1, 2, 3], ["1_2_3"], [[1, 2], 3])}
        assert len(paths) == 3
        assert all(path.startswith(str(working_dir / "Concatenated-")) for path in paths)

    def concatenation_of(self, required, **body):
        class Some(luisy.ConcatenationTask):
            layer = "final"

            def requires(self):
                return required

        for name, value in body.items():
            setattr(Some, name, value)
        return Some()

    def test_a_wrapper_gives_the_frames_of_what_it_requires(self):
        build(Wrapped(factors=[2, 1]))
        task = self.concatenation_of(Wrapped(factors=[2, 1]))
        task.run()
        pd.testing.assert_frame_equal(task.read(), pd.concat([FRAME * 2, FRAME]))


class TestRequires:
    def test_parameters_are_inherited_and_handed_on(self):
        @luisy.requires(Both)
        class Above(luisy.Task):
            a = luigi.IntParameter(default=9)

        assert sorted(Above.get_param_names()) == ["a", "b"]
        assert Above().requires() == Both(a=9, b=2)

    def test_the_class_is_the_same_and_pickles(self):
        class Plain(luisy.Task):
            pass

        assert luisy.requires(Lowest)(Plain) is Plain
        assert pickle.loads(pickle.dumps(Sum(a=1))) is Sum(a=1)

    def test_luigis_own_decorator_works_on_these_tasks_too(self):
        @luigi.util.requires(Lowest)
        class Luigis(luisy.Task):
            pass

        assert Luigis().requires() == Lowest()

    def test_a_task_of_luigi_may_require_these(self):
        @luisy.requires(Lowest)
        class Plain(luigi.Task):
            seen = None

            def complete(self):
                return self.seen is not None

            def run(self):
                type(self).seen = self.input().read()

        assert build(Plain()) == SUCCESS
        assert Plain.seen == {"A": 2}


class TestProjectName:
    def test_a_decorator_names_another(self, working_dir):
        @luisy.project_name("holiday")
        @luisy.final
        class Decorated(luisy.Task):
            pass

        class Inheriting(Decorated):
            pass

        assert Decorated().project_name == Inheriting().project_name == "holiday"
        assert Inheriting().get_outdir() == str(working_dir / "holiday" / "final")
        assert luisy.Task.project_name == "luisy_dir"

    def test_so_does_a_class_attribute(self, working_dir):
        @luisy.raw
        class Named(luisy.ExternalTask):
            project_name = "business"

        assert Named().get_outfile() == str(working_dir / "business" / "raw" / "Named.pkl")

    def test_directories_have_it_too(self, working_dir):
        @luisy.project_name("holiday")
        @luisy.interim
        @luisy.directory_task(".txt")
        def elsewhere(text):
            return text

        assert elsewhere().output().path == str(working_dir / "holiday" / "interim" / "elsewhere")

    def test_of_a_script_it_is_the_name_of_its_file(self, working_dir):
        script = "import luisy_dir as luisy\nclass Made(luisy.Task):\n    pass\nprint(Made().project_name)\n"
        (working_dir / "my_script.py").write_text(script)
        answer = subprocess.run(
            [sys.executable, str(working_dir / "my_script.py")],
            env=os.environ | {"LUIGI_CONFIG_PATH": os.path.join(REPOSITORY, "luigi.cfg"), "PYTHONPATH": REPOSITORY},
            capture_output=True,
            text=True,
            check=True,
        )
        assert answer.stdout == "my_script\n"


class TestAutoFilename:
    # test_decorators.py::TestAutoFilename

    def of_three(self, decorate):
        class Three(luisy.Task):
            a = luigi.IntParameter()
            b = luigi.OptionalIntParameter()
            c = luigi.IntParameter()

        assert decorate(Three) is Three
        return Three

    @pytest.mark.parametrize("decorate", [luisy.auto_filename, luisy.auto_filename(), lambda cls: cls])
    def test_it_is_the_family_and_the_parameters_sorted_by_name(self, decorate):
        assert self.of_three(decorate)(c=3, a=1, b=2).get_file_name() == "Three_a=1_b=2_c=3"

    @pytest.mark.parametrize("excluded", [["a"], ("a",), {"a"}, "a"])
    def test_parameters_may_be_left_out(self, excluded):
        of_three = self.of_three(luisy.auto_filename(excl_params=excluded))
        assert of_three(a=1, b=2, c=3).get_file_name() == "Three_b=2_c=3"
        assert of_three(a=1, b=2, c=3).output().path == of_three(a=5, b=2, c=3).output().path

    def test_it_may_be_called_with_the_class_and_options(self):
        of_three = self.of_three(lambda cls: luisy.auto_filename(cls, excl_params=["a"], excl_none=True))
        assert of_three(a=1, b=None, c=3).get_file_name() == "Three_c=3"

    def test_none_may_be_left_out(self):
        of_three = self.of_three(luisy.auto_filename(excl_none=True))
        assert of_three(a=1, b=None, c=3).get_file_name() == "Three_a=1_c=3"

    def test_a_parameter_that_requires_brings_may_be_left_out_in_either_order(self):
        @luisy.requires(Sum)
        @luisy.auto_filename(excl_params=["b"])
        class Below(luisy.Task):
            pass

        assert Below(a=1).get_file_name() == "Below_a=1"

    def test_a_parameter_that_requires_brings_may_be_left_out(self):
        @luisy.auto_filename(excl_params=["b"])
        @luisy.requires(Sum)
        class Above(luisy.Task):
            pass

        assert Above(a=1).get_file_name() == "Above_a=1"


OUTPUTS = {
    "pickle_output": (".pkl", [{"any": "thing"}]),
    "csv_output": (".csv", FRAME),
    "json_output": (".json", {"A": ["b"]}),
    "npy_output": (".npy", np.arange(3)),
    "npz_output": (".npz", {"x": np.arange(3)}),
    "parquet_output": (".parquet", FRAME),
    "feather_output": (".feather", FRAME),
    "hdf_output": (".hdf", FRAME),
    "xlsx_output": (".xlsx", FRAME),
    "parquetdir_output": ("", FRAME),
}


class TestOutputDecorators:
    # test_decorators.py::{TestDecoratorParenthesis, TestDecoratorOutputs}, test_targets.py

    @pytest.mark.parametrize("has_parentheses", [True, False])
    @pytest.mark.parametrize("name", OUTPUTS)
    def test_with_and_without_parentheses(self, working_dir, name, has_parentheses):
        decorate = getattr(luisy, name)
        suffix, written = OUTPUTS[name]

        class Some(luisy.Task):
            def run(self):
                self.write(written)

        assert (decorate() if has_parentheses else decorate)(Some) is Some
        assert build(Some()) == SUCCESS
        assert Some().output().path == str(working_dir / f"Some{suffix}")
        read = Some().read()
        if isinstance(written, pd.DataFrame):
            pd.testing.assert_frame_equal(read, written)
        else:
            np.testing.assert_equal(read, written)

    def csv_of(self, frame, **options):
        @luisy.csv_output(**options)
        class Table(luisy.Task):
            pass

        Table().write(frame)
        with open(Table().output().path) as file:
            return file.read(), Table().read()

    def test_csv_columns_are_chosen_when_reading_and_all_are_written(self):
        text, read = self.csv_of(FRAME, usecols=["B"])
        assert text.startswith("A,B\n")
        pd.testing.assert_frame_equal(read, FRAME[["B"]])

    @pytest.mark.parametrize("option", ["sep", "delimiter"])
    def test_csv_separators_are_for_both(self, option):
        text, read = self.csv_of(FRAME, **{option: ";"})
        assert text == "A;B\n1;4\n2;5\n3;6\n"
        pd.testing.assert_frame_equal(read, FRAME)

    def test_csv_options_of_the_writer_alone(self):
        text, read = self.csv_of(FRAME / 3, float_format="%.2f")
        assert text.splitlines()[1] == "0.33,1.33"
        assert read["A"].tolist() == [0.33, 0.67, 1.0]

    def test_csv_may_have_an_index(self):
        text, read = self.csv_of(FRAME.set_index("A"), index=True, index_col="A")
        assert text.startswith("A,B\n")
        pd.testing.assert_frame_equal(read, FRAME.set_index("A"))

    def test_xlsx_sheets_may_have_a_name(self):
        @luisy.xlsx_output(sheet_name="measured", usecols=["A"])
        class Table(luisy.Task):
            pass

        Table().write(FRAME)
        pd.testing.assert_frame_equal(Table().read(), FRAME[["A"]])
        pd.testing.assert_frame_equal(pd.read_excel(Table().output().path, sheet_name="measured"), FRAME)

    @pytest.mark.parametrize("name", ["parquet_output", "feather_output"])
    def test_columns_of_other_formats_may_be_chosen_too(self, name):
        @getattr(luisy, name)(columns=["A"])
        class Table(luisy.Task):
            pass

        Table().write(FRAME)
        pd.testing.assert_frame_equal(Table().read(), FRAME[["A"]])

    @pytest.mark.parametrize(
        "decorate",
        [luisy.parquetdir_output("deep/measured"), luisy.parquetdir_output(outdir="deep/measured")],
    )
    def test_a_folder_of_parquet_files_may_have_a_name(self, working_dir, decorate):
        @luisy.interim
        @decorate
        class Parts(luisy.Task):
            def run(self):
                self.write(FRAME[number : number + 1] for number in range(3))

        assert build(Parts()) == SUCCESS
        folder = working_dir / PROJECT / "interim"
        assert files_below(folder) == [f"deep/measured/part-0000{number}.parquet" for number in range(3)]
        assert os.listdir(folder / "deep") == ["measured"]
        pd.testing.assert_frame_equal(Parts().read(), FRAME)


class TestMissingLibraries:
    """What needs a library that is not installed says which extra brings it, and where it is said to be needed."""

    @pytest.mark.parametrize(
        ("suffix", "library"), [(".parquet", "pyarrow"), (".hdf", "tables"), (".xlsx", "openpyxl")]
    )
    def test_a_directory_task_names_it_before_its_first_item(self, monkeypatch, write_files, suffix, library):
        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task(suffix, engine="serial")
        def tables(text):
            raise AssertionError("must not run")

        write_files(Letters().output().path, {"a.txt": b"alpha"})
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(MissingExtraError, match=library):
            tables().run()

    @pytest.mark.parametrize("library", ["pyarrow", "tables", "openpyxl"])
    def test_what_needs_no_library_works_without_it(self, monkeypatch, library):
        monkeypatch.setitem(sys.modules, library, None)
        Lowest().run()
        assert Lowest().read() == {"A": 2}


class TestWithLuigi:
    """On Luigi's own command line, in each of its ways of running tasks."""

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_a_pipeline_of_single_files_runs(self, working_dir, workers):
        # test_reruns.py::TestHashes::{test_compatibility_with_luigi_run, test_multiple_workers}
        answer = subprocess.run(
            [LUIGI, "--module", PROJECT, "Divided", "--a", "2", "--local-scheduler", "--no-lock", "--workers", workers,
             "--luisy-dir-working-dir", str(working_dir)],
            env=os.environ
            | {
                "PYTHONPATH": os.path.join(REPOSITORY, "tests"),
                "LUIGI_CONFIG_PATH": os.path.join(REPOSITORY, "luigi.cfg"),
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
        pd.testing.assert_frame_equal(Divided(a=2).read(), FRAME * 2.0)

    def test_a_plan_runs_nothing(self, write_files):
        # test_reruns.py::TestHashes::test_dry_run
        write_files(Letters().output().path, {"a.txt": b"alpha"})
        Upper().plan()
        assert not Upper().complete()

    def test_what_is_complete_is_not_run_again(self):
        build(Both(a=1))
        before = os.stat(Both(a=1).output().path).st_mtime_ns
        assert build(Both(a=1)) == SUCCESS
        assert os.stat(Both(a=1).output().path).st_mtime_ns == before

    def test_a_file_and_a_directory_may_require_each_other(self, write_files):
        @luisy.interim
        @luisy.requires(letters=Letters, low=Lowest)
        @luisy.directory_output(".txt", engine="serial")
        class Numbered(luisy.DirectoryTask):
            def setup(self):
                self.number = self.input()["low"].read()["A"]

            def process(self, letters):
                return f"{letters}{self.number}"

        @luisy.final
        @luisy.requires(Numbered)
        class Together(luisy.Task):
            def run(self):
                self.write(list(self.read_input()))

        write_files(Letters().output().path, {"a.txt": b"alpha", "b.txt": b"beta"})
        assert build(Together()) == SUCCESS
        assert Together().read() == ["alpha2", "beta2"]


def test_every_word_is_at_the_top_level_and_among_the_decorators():
    for name in ("raw", "interim", "final", "requires", "inherits", "project_name", "auto_filename", *OUTPUTS):
        assert getattr(luisy, name) is getattr(decorators, name)
    for name in ("Task", "ExternalTask", "WrapperTask", "ConcatenationTask", "DirectoryTask"):
        assert issubclass(getattr(luisy, name), LayerTask)


def test_importing_configures_no_logging():
    code = "import logging, luisy_dir; luisy_dir.Task; print(logging.getLogger().handlers)"
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
