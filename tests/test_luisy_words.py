"""Luisy's words: what each of them does, whichever way it is written."""

from __future__ import annotations

import datetime as dt
import enum
import itertools
import logging
import os
import sys

import luigi
import numpy as np
import pandas as pd
import pytest
from conftest import files_below
from hypothesis import given
from hypothesis import strategies as st
from luigi.execution_summary import LuigiStatusCode
from luigi.parameter import ParameterVisibility
from pipelines import Letters, Strict, Upper

import luisy_dir as luisy
from luisy_dir import settings
from luisy_dir.errors import (
    BusyError,
    DefinitionError,
    ForeignDirectoryError,
    ItemsFailedError,
    MissingExtraError,
    MissingInputError,
)
from luisy_dir.staging import locked, staging_of

FRAME = pd.DataFrame({"size": [1, 2], "name": ["a", "b"]})


@luisy.interim
class Plain(luisy.Task):
    """Writes what it is given."""

    word = luigi.Parameter(default="hello")

    def run(self):
        self.write([self.word])


@luisy.interim
@luisy.csv_output
class Numbered(luisy.Task):
    """A frame of one row."""

    number = luigi.IntParameter(default=0)

    def run(self):
        self.write(pd.DataFrame({"number": [self.number]}))


@luisy.csv_output
@luisy.raw
class Labels(luisy.ExternalTask):
    def get_file_name(self):
        return "labels"


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".csv", engine="serial")
class Lengths(luisy.DirectoryTask):
    def process(self, text):
        return pd.DataFrame({"number": [len(text)]})


@luisy.final
class Titled(Lengths):
    title = luigi.Parameter()


@luisy.interim
class AnyValue(luisy.Task):
    """One parameter of each kind, each with a value that can stand in a name."""

    count = luigi.IntParameter(default=3)
    ratio = luigi.FloatParameter(default=-1.5e-07)
    is_new = luigi.BoolParameter(default=True)
    day = luigi.DateParameter(default=dt.date(2024, 2, 29))
    hour = luigi.DateHourParameter(default=dt.datetime(2024, 2, 29, 7))  # noqa: DTZ001 - Luigi's have no zone
    week = luigi.DateIntervalParameter(default=luigi.date_interval.Week(2024, 9))
    maybe = luigi.OptionalParameter(default=None)
    choice = luigi.ChoiceParameter(choices=["a-b", "c.d"], default="a-b")

    def run(self):
        self.write(1)


class Colour(enum.Enum):
    red = 1
    dark_red = 2


@luisy.interim
class Coloured(luisy.Task):
    colour = luigi.EnumParameter(enum=Colour)

    def run(self):
        self.write(self.colour.value)


@luisy.interim
class Listed(luisy.Task):
    values = luigi.ListParameter()

    def run(self):
        self.write(list(self.values))


@luisy.interim
class Mapped(luisy.Task):
    values = luigi.DictParameter()


@luisy.interim
class Optional(luisy.Task):
    value = luigi.OptionalParameter(default=None)
    other = luigi.OptionalParameter(default=None)

    def run(self):
        self.write(self.value)


@luisy.interim
class Confidential(luisy.Task):
    password = luigi.Parameter(visibility=ParameterVisibility.PRIVATE)
    seat = luigi.Parameter(visibility=ParameterVisibility.HIDDEN, default="A1")
    comment = luigi.Parameter(default="", significant=False)


def new_task(*bases, name="Fresh", **body):
    """A task class that no other test knows."""
    return type(name, bases or (luisy.Task,), {"__module__": "words", **body})


class TestTask:
    def test_what_it_writes_is_read_again(self):
        assert not Plain().complete()
        Plain().run()
        assert Plain().complete()
        assert Plain().read() == ["hello"]
        assert not Plain(word="other").complete()

    def test_reading_before_it_has_run_is_an_error_that_names_it(self):
        with pytest.raises(MissingInputError, match=r"Plain\(word=hello\).*Run it first"):
            Plain().read()

    def test_the_places_are_those_of_the_documentation(self, working_dir):
        folder = str(working_dir / "test_luisy_words" / "interim")
        task = Plain()
        assert task.get_outdir() == folder
        assert task.get_sub_dir() == ""
        assert task.get_file_name() == task.get_folder_name() == "Plain_word=hello"
        assert task.get_outfile() == task.output().path == f"{folder}/Plain_word=hello.pkl"

    def test_without_a_layer_there_is_no_project(self, working_dir):
        assert new_task()().get_outfile() == str(working_dir / "Fresh.pkl")

    def test_a_sub_directory_lies_below_the_layer(self, working_dir):
        cls = luisy.final(new_task(get_sub_dir=lambda self: "a/b", run=lambda self: self.write(1)))
        cls().run()
        assert files_below(working_dir) == ["words/final/a/b/Fresh.pkl"]

    def test_a_folder_of_ones_own_is_made_by_run(self, working_dir):
        cls = new_task(
            get_outdir=lambda self: str(working_dir / "elsewhere"),
            run=lambda self: self.write(os.path.isdir(working_dir / "elsewhere")),
        )
        assert not cls().complete()
        assert os.listdir(working_dir) == []
        cls().run()
        assert cls().read() is True
        assert files_below(working_dir) == ["elsewhere/Fresh.pkl"]

    def test_a_suffix_is_not_doubled(self):
        """The name may come from elsewhere, with its suffix."""
        cls = luisy.csv_output(new_task(get_file_name=lambda self: "x.csv"))
        assert cls().get_outfile().endswith("/x.csv")
        assert luisy.json_output(cls)().get_outfile().endswith("/x.csv.json")

    def test_read_input_has_the_shape_of_what_is_required(self):
        one, two = Plain(word="one"), Plain(word="two")
        for required, read in [
            (one, ["one"]),
            ([one, two], [["one"], ["two"]]),
            ((two,), [["two"]]),
            ({"a": one, "b": [two]}, {"a": ["one"], "b": [["two"]]}),
            ([], []),
        ]:
            cls = new_task(requires=lambda self, required=required: required)
            for task in (one, two):
                task.run()
            assert cls().read_input() == read

    def test_read_input_of_a_directory_is_a_stream_of_its_items(self, write_files):
        write_files(Letters().output().path, {"b.txt": b"beta", "a.txt": b"alpha"})
        read = new_task(requires=lambda self: Letters())().read_input()
        assert iter(read) is read
        assert list(read) == ["alpha", "beta"]

    def test_read_input_of_a_foreign_target_says_what_to_do(self):
        class Foreign(luigi.ExternalTask):
            def output(self):
                return luigi.LocalTarget("foreign.txt")

        with pytest.raises(DefinitionError, match=r"no method read\(\).*Open it yourself"):
            new_task(requires=lambda self: Foreign())().read_input()

    def test_clean_removes_the_file_alone(self, working_dir):
        Plain().run()
        Plain(word="other").run()
        folder = working_dir / "test_luisy_words" / "interim"
        (folder / "moved_here_by_run.txt").write_text("mine")
        Plain().clean()
        assert not Plain().complete()
        assert sorted(os.listdir(folder)) == ["Plain_word=other.pkl", "moved_here_by_run.txt"]
        Plain().clean()

    def test_clean_while_the_file_is_written_is_refused(self):
        Plain().run()
        with locked(Plain().get_outfile()), pytest.raises(BusyError):
            Plain().clean()
        assert Plain().complete()

    def test_clean_refuses_a_directory_in_the_files_place(self, write_files):
        write_files(Plain().get_outfile(), {"precious.txt": b"mine"})
        with pytest.raises(ForeignDirectoryError, match=r"Plain_word=hello\.pkl"):
            Plain().clean()
        assert files_below(Plain().get_outfile()) == ["precious.txt"]

    def test_its_logger_writes_where_luigis_lines_come(self, caplog):
        assert Plain().logger.name == "luigi-interface.Plain"
        with caplog.at_level(logging.INFO, "luigi-interface"):
            Plain().logger.info("%d words", 3)
            Plain().clean()
        assert [record.getMessage() for record in caplog.records] == ["3 words", "Plain(word=hello): cleaning"]

    def test_durability_none_writes_too(self):
        settings._set_in_python["durability"] = "none"
        Plain().run()
        assert Plain().read() == ["hello"]

    def test_luigi_builds_it_once(self):
        calls = []
        cls = luisy.interim(new_task(run=lambda self: (calls.append(1), self.write(1))))
        for _ in range(2):
            assert luigi.build([cls()], local_scheduler=True, log_level="WARNING")
        assert calls == [1]


class TestNames:
    """Two values never share a file."""

    @pytest.mark.parametrize(
        ("cls", "values"),
        [
            (Mapped, [{"a": 1}, {"a": 2}, {"a": "1"}, {}]),
            (Listed, [[1, 2], ["1_2"], ["1", "2"], [12], [], [[]], None]),
            (Optional, ["a/b", "a b", "a_b", "None", None, "a\nb", "a\n", "é", "", "..", "/", "x" * 40, "X" * 41]),
            (Optional, ["x" * 100_000, "x" * 100_001, "é" * 200]),
        ],
    )
    def test_values_that_look_alike(self, cls, values):
        name = next(iter(cls.get_param_names()))
        files = [cls(**{name: value}).get_outfile() for value in values]
        folders = [cls(**{name: value}).get_folder_name() for value in values]
        assert len(set(files)) == len(set(folders)) == len(values)
        for path in files:
            assert os.path.dirname(path) == cls(**{name: values[0]}).get_outdir()
            assert len(os.fsencode(os.path.basename(path))) <= 255
            assert os.path.basename(path).isprintable()

    @given(st.lists(st.none() | st.text(min_size=1), min_size=2, max_size=5, unique=True))
    def test_any_values_of_text(self, values):
        """But for None and the empty text, which are one to Luigi."""
        tasks = [Optional(value=one, other=two) for one, two in itertools.product(values, repeat=2)]
        for cls in (Optional, luisy.auto_filename(new_task(Optional), excl_params=[])):
            names = {cls(value=task.value, other=task.other).get_file_name() for task in tasks}
            assert len(names) == len(tasks)
            assert all("/" not in name and name.isprintable() for name in names)

    @given(st.lists(st.text(min_size=1), min_size=2, max_size=4, unique=True))
    def test_values_that_luigi_hides_from_its_page(self, values):
        """Luigi leaves these out of the task id."""
        assert len({Confidential(password="p", seat=value).get_outfile() for value in values}) == len(values)
        hidden = luisy.interim(
            new_task(name="Hidden", seat=luigi.Parameter(visibility=ParameterVisibility.HIDDEN, default=""))
        )
        assert len({hidden(seat=value).get_outfile() for value in values}) == len(values)
        assert len({hidden(seat=value).get_folder_name() for value in values}) == len(values)

    def test_private_values_stand_nowhere(self):
        one, two = Confidential(password="hunter2"), Confidential(password="hunter3")
        for shown in (repr(one), str(one), one.get_outfile(), one.get_folder_name()):
            assert "hunter" not in shown
        assert repr(one) == "Confidential(password=***, seat=A1)"
        assert one.get_outfile() != two.get_outfile()

    def test_insignificant_parameters_change_no_name(self):
        assert (
            Confidential(password="p", comment="a").get_outfile()
            == Confidential(password="p", comment="b").get_outfile()
        )

    def test_a_namespace_is_part_of_the_name(self):
        cls = luisy.interim(new_task(task_namespace="group"))
        assert cls().get_file_name() == "group.Fresh"


class TestAutoFilename:
    @pytest.mark.parametrize("form", ["bare", "empty parentheses", "nothing excluded"])
    def test_with_and_without_parentheses(self, form):
        cls = new_task(Numbered, get_file_name=lambda self: "by hand")
        decorated = {
            "bare": lambda: luisy.auto_filename(cls),
            "empty parentheses": lambda: luisy.auto_filename()(cls),
            "nothing excluded": lambda: luisy.auto_filename(excl_params=None)(cls),
        }[form]()
        assert decorated is cls
        assert cls(number=3).get_file_name() == "Fresh_number=3"

    @pytest.mark.parametrize("excluded", [["value"], ("value",), "value", {"value"}])
    def test_parameters_are_left_out(self, excluded):
        cls = luisy.auto_filename(excl_params=excluded)(new_task(Optional))
        assert cls(value="x", other="y").get_file_name() == "Fresh_other=y"
        assert cls(value="a b", other="y").get_file_name() == "Fresh_other=y"

    def test_those_that_are_none_are_left_out(self):
        cls = luisy.auto_filename(excl_none=True)(new_task(Optional))
        assert cls().get_file_name() == "Fresh"
        assert cls(value="x").get_file_name() == "Fresh_value=x"
        assert cls(value="None").get_file_name() not in {"Fresh", "Fresh_value=None"}

    def test_a_name_that_needs_a_digest_depends_on_what_is_left_alone(self):
        cls = luisy.auto_filename(excl_params=["other"])(new_task(Optional))
        assert cls(value="a b", other="x").get_file_name() == cls(value="a b", other="y").get_file_name()
        assert cls(value="a b").get_file_name() != cls(value="a c").get_file_name()
        none = luisy.auto_filename(excl_none=True)(new_task(Optional))
        assert none(value="a b").get_file_name() != none(other="a b").get_file_name()

    def test_private_values_stay_out_of_it(self):
        cls = luisy.auto_filename(excl_params=["seat"])(new_task(Confidential))
        assert "hunter2" not in cls(password="hunter2").get_file_name()
        assert cls(password="hunter2").get_file_name() != cls(password="hunter3").get_file_name()

    def test_an_unknown_parameter_is_refused_by_name(self):
        task = luisy.auto_filename(excl_params=["colour", "value"])(new_task(Optional))()
        with pytest.raises(DefinitionError, match="no parameter colour"):
            task.output()


class TestProjectName:
    def test_results_lie_below_it(self, working_dir):
        for base in (Plain, Labels, Lengths):
            cls = luisy.project_name("holiday")(new_task(base))
            assert cls().get_outdir() == str(working_dir / "holiday" / base.layer)
        assert Plain().get_outdir() == str(working_dir / "test_luisy_words" / "interim")

    @pytest.mark.parametrize("wrong", ["", ".", "..", "/", None, 3, Plain])
    def test_what_is_no_name_is_refused(self, wrong):
        with pytest.raises(DefinitionError, match="no name of a project"):
            luisy.project_name(wrong)

    @pytest.mark.parametrize("wrong", ["/tmp/elsewhere", "../elsewhere"])
    def test_what_leads_out_of_the_working_directory_is_refused(self, wrong):
        with pytest.raises(DefinitionError, match="no name of a project"):
            luisy.project_name(wrong)


class TestRelatedInstances:
    def test_every_kind_of_value_that_stands_in_a_name_is_read_off(self):
        tasks = [AnyValue(), AnyValue(count=-4, maybe="x", is_new=False), AnyValue(choice="c.d", ratio=float("inf"))]
        for task in tasks:
            task.run()
        assert sorted(AnyValue.get_related_instances(), key=repr) == sorted(tasks, key=repr)

    def test_they_are_sorted_by_path_and_those_of_other_tasks_are_left_out(self):
        for number in (10, 9, -1):
            Numbered(number=number).run()
        Plain().run()
        found = Numbered.get_related_instances()
        assert [task.number for task in found] == [-1, 10, 9]
        assert [len(task.read()) for task in found] == [1, 1, 1]

    def test_the_placeholder_must_match_the_whole_value(self):
        for number in (1, 10, 21):
            Numbered(number=number).run()
        assert [task.number for task in Numbered.get_related_instances("1.?")] == [1, 10]
        assert Numbered.get_related_instances("2") == []

    def test_the_value_is_the_text_in_the_name_and_none_is_none(self):
        AnyValue(maybe="x").run()
        AnyValue(maybe=None, count=8).run()
        assert len(AnyValue.get_related_instances(r"[^ ]+")) == 2
        Optional(value="x", other="y").run()
        Optional(value="x").run()
        assert [task.other for task in Optional.get_related_instances("x|None")] == [None]

    def test_a_directory_is_found_whatever_its_values_are(self, write_files):
        """Its manifest records them, also where they needed a digest in the name."""
        write_files(Letters().output().path, {"a.txt": b"alpha"})
        values = ["two words", "two\nlines", "plain"]
        for value in values:
            Titled(title=value).run()
        assert {task.title for task in Titled.get_related_instances()} == set(values)
        assert [task.title for task in Titled.get_related_instances("two .*")] == ["two words"]

    def test_of_values_that_needed_a_digest_it_warns_by_path(self, caplog):
        """They cannot be read off, and a list that lacks them without a word would be a wrong answer."""
        Optional(value="plain").run()
        Optional(value="two words").run()
        Listed(values=[1, 2]).run()
        assert Optional.get_related_instances() == [Optional(value="plain")]
        assert Listed.get_related_instances() == []
        messages = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert len(messages) == 2
        for message, name in zip(messages, ["Optional-", "Listed-"], strict=True):
            assert f"/{name}" in message
            assert "is left out: its parameters do not stand in its name" in message

    def test_an_enumeration_is_read_off_where_its_name_is_plain(self, caplog):
        Coloured(colour=Colour.red).run()
        Coloured(colour=Colour.dark_red).run()
        assert Coloured.get_related_instances() == [Coloured(colour=Colour.red)]
        assert "Coloured-" in caplog.text

    def test_the_text_none_and_no_value_are_told_apart(self, caplog):
        Optional().run()
        Optional(value="None").run()
        assert [task.value for task in Optional.get_related_instances()] == [None]
        assert "is left out" in caplog.text

    def test_a_file_that_only_looks_like_ours_is_left_out_with_a_warning(self, write_files, caplog):
        write_files(Numbered().get_outdir(), {"Numbered_number=many.csv": b"", "Numbered_colour=red.csv": b""})
        write_files(Numbered().get_outdir(), {"Numbered_number=1.csv.bak": b"", "NumberedToo_number=1.csv": b""})
        assert Numbered.get_related_instances() == []
        assert caplog.text.count("is left out") == 2

    def test_before_anything_has_run_there_are_none(self, working_dir):
        assert Numbered.get_related_instances() == []
        assert os.listdir(working_dir) == []

    def test_of_a_folder_of_parquet_files_too(self):
        body = {"number": luigi.IntParameter(default=1), "run": lambda self: self.write(FRAME)}
        cls = luisy.parquetdir_output(luisy.interim(new_task(name="Measured", **body)))
        cls(number=2).run()
        assert cls.get_related_instances() == [cls(number=2)]

    def test_of_what_has_no_results_it_is_refused(self):
        with pytest.raises(DefinitionError, match="no results of its own"):
            new_task(luisy.WrapperTask).get_related_instances()


class TestExternalFile:
    def test_it_is_read_and_nothing_else(self, write_files):
        assert not Labels().complete()
        with pytest.raises(MissingInputError, match=r"labels\.csv"):
            Labels().read()
        write_files(Labels().get_outdir(), {"labels.csv": b"name\na\n"})
        assert Labels().complete()
        assert Labels().read().to_dict("list") == {"name": ["a"]}
        assert new_task(requires=lambda self: Labels())().read_input().shape == (1, 1)
        for act in (lambda: Labels().write(FRAME), Labels().clean):
            with pytest.raises(ForeignDirectoryError, match=r"Labels\(\) is external.*labels\.csv"):
                act()
        assert files_below(Labels().get_outdir()) == ["labels.csv"]

    def test_luigi_waits_for_it(self):
        summary = luigi.build([Labels()], local_scheduler=True, log_level="CRITICAL", detailed_summary=True)
        assert summary.status == LuigiStatusCode.MISSING_EXT

    def test_a_folder_of_parquet_files_is_read_too(self, write_files):
        cls = luisy.parquetdir_output("export")(luisy.raw(new_task(luisy.ExternalTask)))
        os.makedirs(cls().get_outfile())
        assert not cls().complete()
        FRAME.to_parquet(os.path.join(cls().get_outfile(), "part-0.parquet"))
        assert cls().complete()
        pd.testing.assert_frame_equal(cls().read(), FRAME)
        with pytest.raises(ForeignDirectoryError, match="never removes"):
            cls().clean()

    def test_one_that_does_not_say_how_it_is_read_is_told(self):
        cls = new_task(luisy.ExternalTask, get_folder_name=lambda self: "images")
        with pytest.raises(DefinitionError, match=r"make_directory_output\(read_file\)"):
            cls().output()

    def test_one_that_does_not_say_where_its_folder_lies_is_told(self):
        cls = luisy.make_directory_output(len)(new_task(luisy.ExternalTask))
        with pytest.raises(DefinitionError, match="get_folder_name"):
            cls().output()


class TestWrapper:
    def wrapper(self, required):
        return new_task(luisy.WrapperTask, requires=lambda self: required)()

    @pytest.mark.parametrize("shape", ["one", "list", "dict", "nothing"])
    def test_reading_gives_the_shape_of_what_it_requires(self, shape):
        one, two = Plain(word="one"), Plain(word="two")
        required, read = {
            "one": (one, ["one"]),
            "list": ([two, one], [["two"], ["one"]]),
            "dict": ({"b": two, "a": one}, {"b": ["two"], "a": ["one"]}),
            "nothing": ([], []),
        }[shape]
        one.run()
        two.run()
        wrapper = self.wrapper(required)
        assert wrapper.complete()
        assert wrapper.read() == read

    def test_a_wrapper_stands_for_what_it_requires(self):
        """Nothing that a wrapper wraps is left out without a word."""
        Plain().run()
        inner = luisy.WrapperTask
        wrapper = type("Outer", (inner,), {"requires": lambda self: {"in": Inner(), "plain": [Plain()]}})()
        assert wrapper.read() == {"in": [["hello"]], "plain": [["hello"]]}

    def test_it_is_complete_with_what_it_requires_and_makes_nothing(self, working_dir):
        wrapper = self.wrapper([Plain()])
        assert not wrapper.complete()
        with pytest.raises(MissingInputError):
            wrapper.read()
        wrapper.run()
        assert os.listdir(working_dir) == []
        assert luigi.build([wrapper], local_scheduler=True, log_level="WARNING")
        assert wrapper.complete()

    def test_clean_is_refused_with_advice(self):
        with pytest.raises(DefinitionError, match="Clean the tasks that it requires"):
            self.wrapper([Plain()]).clean()


class Inner(luisy.WrapperTask):
    def requires(self):
        return [Plain()]


class TestConcatenation:
    def concatenation(self, required, **body):
        return luisy.final(
            luisy.csv_output(new_task(luisy.ConcatenationTask, requires=lambda self: required, **body))
        )()

    @pytest.mark.parametrize("shape", ["list", "single", "dict", "nested", "wrapper"])
    def test_frames_come_in_the_order_in_which_they_are_required(self, shape):
        one, two, three = (Numbered(number=number) for number in (1, 2, 3))
        wrapper = new_task(luisy.WrapperTask, name="Both", requires=lambda self: [one, two])()
        required, numbers = {
            "list": ([two, one], [2, 1]),
            "single": (one, [1]),
            "dict": ({"z": one, "a": two}, [1, 2]),
            "nested": ({"z": [three, one], "a": two}, [3, 1, 2]),
            "wrapper": ([three, wrapper], [3, 1, 2]),
        }[shape]
        task = self.concatenation(required)
        assert luigi.build([task], local_scheduler=True, log_level="WARNING")
        assert task.read()["number"].tolist() == numbers

    def test_each_item_of_a_directory_is_a_frame(self, write_files):
        write_files(Letters().output().path, {"b.txt": b"beta", "a.txt": b"alpha"})
        Lengths().run()
        Numbered(number=7).run()
        task = self.concatenation([Lengths(), Numbered(number=7)])
        task.run()
        assert task.read()["number"].tolist() == [5, 4, 7]

    def test_each_file_of_a_raw_directory_is_a_frame(self, write_files):
        cls = luisy.make_directory_output(pd.read_csv, r"\.csv$")(
            luisy.raw(new_task(luisy.ExternalTask, name="Sheets"))
        )
        cls.get_folder_name = lambda self: "sheets"
        write_files(cls().get_outfile(), {"b.csv": b"n\n2\n", "a.csv": b"n\n1\n", "c.txt": b"no frame"})
        task = self.concatenation(cls())
        task.run()
        assert task.read()["n"].tolist() == [1, 2]

    def test_preprocess_sees_the_whole_before_it_is_written(self):
        task = self.concatenation(
            [Numbered(number=1), Numbered(number=2)],
            preprocess=lambda self, df: pd.DataFrame({"sum": [df["number"].sum()]}),
        )
        assert luigi.build([task], local_scheduler=True, log_level="WARNING")
        assert task.read().to_dict("list") == {"sum": [3]}

    @pytest.mark.parametrize("shape", ["list", "dict", "directory"])
    def test_without_a_frame_nothing_is_written(self, write_files, shape):
        write_files(Letters().output().path, {"none.txt": b"none"})
        Strict().run()
        task = self.concatenation({"list": [], "dict": {}, "directory": Strict()}[shape])
        with pytest.raises(MissingInputError, match="nothing to concatenate"):
            task.run()
        assert not task.complete()


class TestRequires:
    def test_in_order(self):
        one = luisy.requires(Plain)(new_task())
        both = luisy.requires(Numbered, Plain)(new_task())
        assert one(word="w").requires() == Plain(word="w")
        assert both(word="w", number=2).requires() == [Numbered(number=2), Plain(word="w")]

    def test_by_name(self):
        cls = luisy.requires(b=Plain, a=Numbered)(new_task())
        assert cls(word="w").requires() == {"b": Plain(word="w"), "a": Numbered(number=0)}
        assert list(cls().input()) == ["b", "a"]

    @pytest.mark.parametrize("tasks", [[Plain], [Numbered, Plain]])
    def test_as_a_dictionary_also_of_one(self, tasks):
        cls = luisy.requires(*tasks, as_dict=True)(new_task())
        assert cls().requires() == {task.__name__: task() for task in tasks}
        for task in tasks:
            task().run()
        assert cls().read_input().keys() == {task.__name__ for task in tasks}

    def test_names_stay_names_where_a_dictionary_is_asked_for(self):
        assert luisy.requires(a=Plain, as_dict=True)(new_task())().requires() == {"a": Plain()}

    def test_two_of_one_family_cannot_be_told_apart_in_a_dictionary(self):
        other = new_task(name="Plain")
        with pytest.raises(DefinitionError, match=r"of one family.*requires\(a=A, b=B\)"):
            luisy.requires(Plain, other, as_dict=True)
        assert luisy.requires(a=Plain, b=other)(new_task())().requires() == {"a": Plain(), "b": other()}

    @pytest.mark.parametrize("as_dict", [True, False])
    def test_what_is_required_already_is_not_lost(self, as_dict):
        cls = luisy.requires(Plain)(new_task())
        with pytest.raises(DefinitionError, match=r"Name all in one requires\(A, B\)"):
            luisy.requires(Numbered, as_dict=as_dict)(cls)
        with pytest.raises(DefinitionError, match="would be lost"):
            luisy.requires(Numbered)(new_task(requires=lambda self: Plain()))

    def test_what_is_no_task_is_refused(self):
        for wrong in (lambda: luisy.requires(Plain)(dict), lambda: luisy.requires(Plain())):
            with pytest.raises(DefinitionError, match="requires"):
                wrong()

    def test_inherits_takes_parameters_alone(self):
        cls = luisy.inherits(Plain)(new_task())
        assert cls(word="w").word == "w"
        assert cls().requires() == []
        assert cls(word="w").clone(Plain) == Plain(word="w")


OUTPUTS = {
    "pickle_output": (".pkl", {"any": 1}),
    "csv_output": (".csv", FRAME),
    "json_output": (".json", {"a": [1]}),
    "npy_output": (".npy", np.arange(3)),
    "npz_output": (".npz", {"a": np.arange(3)}),
    "parquet_output": (".parquet", FRAME),
    "feather_output": (".feather", FRAME),
    "hdf_output": (".hdf", FRAME),
    "xlsx_output": (".xlsx", FRAME),
    "parquetdir_output": ("", FRAME),
}


class TestOutputDecorators:
    @pytest.mark.parametrize("form", ["bare", "parentheses"])
    @pytest.mark.parametrize("name", OUTPUTS)
    def test_with_and_without_parentheses(self, name, form):
        suffix, written = OUTPUTS[name]
        decorator = getattr(luisy, name)
        cls = luisy.interim(new_task(run=lambda self: self.write(written)))
        assert (decorator(cls) if form == "bare" else decorator()(cls)) is cls
        assert cls().get_outfile().endswith(f"/words/interim/Fresh{suffix}")
        assert luigi.build([cls()], local_scheduler=True, log_level="WARNING")
        read = cls().read()
        if isinstance(written, pd.DataFrame):
            pd.testing.assert_frame_equal(read, written)
        else:
            np.testing.assert_equal(read, written)
        cls().clean()
        assert os.listdir(cls().get_outdir()) == []

    def test_a_decorator_leaves_the_parent_of_the_class_alone(self):
        child = luisy.json_output(new_task(Numbered))
        assert Numbered().get_outfile().endswith("/Numbered_number=0.csv")
        assert child().get_outfile().endswith("/Fresh_number=0.json")

    def test_the_uppermost_says_what_is_written(self):
        cls = luisy.json_output(luisy.csv_output(sep=";")(new_task(run=lambda self: self.write([1]))))
        cls().run()
        assert cls().read() == [1]

    def test_options_reach_the_function_that_knows_them(self):
        options = {"sep": ";", "usecols": ["size"], "float_format": "%.1f"}
        cls = luisy.csv_output(**options)(new_task(run=lambda self: self.write(FRAME)))
        cls().run()
        with open(cls().get_outfile()) as file:
            assert file.readline() == "size;name\n"
        assert cls().read().to_dict("list") == {"size": [1, 2]}

    @pytest.mark.parametrize("name", [name for name in OUTPUTS if name != "parquetdir_output"])
    def test_an_unknown_option_is_refused_when_the_module_is_read(self, name):
        with pytest.raises(DefinitionError, match="colour"):
            getattr(luisy, name)(colour="red")

    @pytest.mark.parametrize("name", OUTPUTS)
    @pytest.mark.parametrize("form", ["bare", "parentheses"])
    def test_on_a_directory_task_the_advice_is_directory_output(self, name, form):
        decorator = getattr(luisy, name)
        suffix = OUTPUTS[name][0] or ".parquet"
        with pytest.raises(DefinitionError, match=rf"many files.*directory_output\('\{suffix}'\)"):
            (decorator if form == "bare" else decorator())(new_task(luisy.DirectoryTask))

    @pytest.mark.parametrize("decorator", [*(getattr(luisy, name) for name in OUTPUTS), luisy.auto_filename])
    @pytest.mark.parametrize("wrong", [luigi.Task, luisy.WrapperTask, dict])
    def test_on_another_class_the_advice_is_to_derive_it(self, decorator, wrong):
        with pytest.raises(DefinitionError, match=rf"{wrong.__name__}.*Derive the class from that"):
            decorator(new_task(wrong, name=wrong.__name__))

    @pytest.mark.parametrize("decorator", [luisy.project_name("p"), luisy.raw, luisy.final()])
    def test_a_plain_luigi_task_is_in_no_layer(self, decorator):
        with pytest.raises(DefinitionError, match="no Task, DirectoryTask or ExternalTask"):
            decorator(luigi.Task)

    @pytest.mark.parametrize(
        "name",
        OUTPUTS,
    )
    def test_on_a_function_it_is_refused(self, name):
        with pytest.raises(DefinitionError, match="read_image"):
            getattr(luisy, name)(read_image)

    @pytest.mark.parametrize(
        ("name", "library", "extra"),
        [
            ("parquet_output", "pyarrow", "parquet"),
            ("feather_output", "pyarrow", "feather"),
            ("hdf_output", "tables", "hdf"),
            ("xlsx_output", "xlsxwriter", "xlsx"),
            ("xlsx_output", "openpyxl", "xlsx"),
            ("parquetdir_output", "pyarrow", "parquet"),
        ],
    )
    def test_a_missing_library_is_named_with_its_extra_before_any_work(self, monkeypatch, name, library, extra):
        calls = []
        cls = getattr(luisy, name)(new_task(run=lambda self: calls.append(1)))
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(MissingExtraError, match=rf"need {library}.*pip install 'luisy_dir\[{extra}\]'"):
            cls().complete()
        assert not luigi.build([cls()], local_scheduler=True, log_level="CRITICAL")
        assert calls == []


def read_image(path):
    return path


class TestParquetFolder:
    @pytest.mark.parametrize("form", ["positional", "keyword"])
    def test_its_folder_may_be_named(self, form):
        decorator = (
            luisy.parquetdir_output("measured") if form == "positional" else luisy.parquetdir_output(outdir="measured")
        )
        cls = decorator(luisy.interim(new_task(number=luigi.IntParameter(default=1))))
        assert cls().get_outfile().endswith("/words/interim/measured")

    def test_else_it_is_named_like_any_directory(self):
        cls = luisy.parquetdir_output(luisy.interim(new_task(number=luigi.IntParameter(default=1))))
        assert cls().get_outfile().endswith("/words/interim/Fresh_number=1")
        cls.get_folder_name = lambda self: f"by/{self.number}"
        assert cls().get_outfile().endswith("/words/interim/by/1")

    @pytest.mark.parametrize("name", ["", "/"])
    def test_a_result_cannot_be_the_layer_folder(self, write_files, name):
        """Cleaning it would remove the Parquet files of other tasks; an external task may read the whole layer."""
        cls = luisy.parquetdir_output(name)(luisy.interim(new_task(run=lambda self: self.write(FRAME))))
        write_files(cls().get_outdir(), {"other.parquet": b"of another task"})
        for act in (cls().output, cls().run, cls().clean):
            with pytest.raises(DefinitionError, match="Name a folder"):
                act()
        assert files_below(cls().get_outdir()) == ["other.parquet"]
        external = luisy.parquetdir_output("")(luisy.interim(new_task(luisy.ExternalTask)))
        assert external().get_outfile() == cls().get_outdir()

    def test_several_frames_are_several_files(self):
        parts = [pd.DataFrame({"n": [number]}) for number in range(3)]
        cls = luisy.parquetdir_output(luisy.interim(new_task(run=lambda self: self.write(iter(parts)))))
        cls().run()
        assert len(os.listdir(cls().get_outfile())) == 3
        assert cls().read()["n"].tolist() == [0, 1, 2]

    def test_the_next_task_reads_one_frame(self):
        cls = luisy.parquetdir_output(luisy.interim(new_task(run=lambda self: self.write([FRAME, FRAME]))))
        cls().run()
        assert len(new_task(name="Next", requires=lambda self: cls())().read_input()) == 4

    def test_clean_removes_the_folder_and_refuses_one_with_foreign_files(self):
        cls = luisy.parquetdir_output(luisy.interim(new_task(run=lambda self: self.write(FRAME))))
        cls().run()
        cls().clean()
        assert os.listdir(cls().get_outdir()) == []
        cls().run()
        with open(os.path.join(cls().get_outfile(), "notes.txt"), "w") as file:
            file.write("mine")
        with pytest.raises(ForeignDirectoryError, match=r"notes\.txt"):
            cls().clean()
        assert len(cls().read()) == 2


@pytest.fixture
def letters(write_files):
    return write_files(Letters().output().path, {"a.txt": b"alpha", "b.txt": b"beta"})


class TestCleaningADirectory:
    def test_it_goes_with_nothing_left_beside_it(self, letters):
        Upper().run()
        Upper().clean()
        assert not Upper().complete()
        assert os.listdir(Upper().get_outdir()) == []
        Upper().clean()
        Upper().run()
        assert list(Upper().read()) == ["ALPHA", "BETA"]

    def test_what_a_failed_run_has_left_goes_too(self, letters, write_files):
        write_files(letters, {"c.txt": b"fail"})
        with pytest.raises(ItemsFailedError):
            Strict().run()
        assert os.listdir(Strict().get_outdir()) == [".Strict.staging"]
        Strict().clean()
        assert os.listdir(Strict().get_outdir()) == []

    @pytest.mark.parametrize("is_published", [True, False])
    def test_while_a_run_holds_the_lock_it_is_refused(self, letters, is_published):
        if is_published:
            Upper().run()
        before = files_below(Upper().get_outdir()) if is_published else []
        os.makedirs(Upper().get_outdir(), exist_ok=True)
        with locked(Upper().output().path), pytest.raises(BusyError, match=r"\.Upper\.staging"):
            Upper().clean()
        assert files_below(Upper().get_outdir()) == before
        assert not os.path.exists(staging_of(Upper().output().path))

    def test_a_foreign_file_in_it_is_named_and_everything_stays(self, letters):
        Upper().run()
        with open(os.path.join(Upper().output().path, "notes.txt"), "w") as file:
            file.write("mine")
        with pytest.raises(ForeignDirectoryError, match=r"notes\.txt"):
            Upper().clean()
        assert files_below(Upper().output().path) == ["a.txt", "b.txt", "notes.txt"]

    def test_a_directory_that_we_did_not_publish_stays(self, letters, write_files):
        write_files(Upper().output().path, {"precious.txt": b"mine"})
        with pytest.raises(ForeignDirectoryError, match="no manifest"):
            Upper().clean()
        assert files_below(Upper().output().path) == ["precious.txt"]

    def test_a_raw_folder_is_never_cleaned(self, letters):
        with pytest.raises(ForeignDirectoryError, match="never removes"):
            Letters().clean()
        assert files_below(letters) == ["a.txt", "b.txt"]
