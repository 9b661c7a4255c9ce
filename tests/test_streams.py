"""Streams: data from disk to disk, control on its way in, and metadata back."""

from __future__ import annotations

import asyncio
import functools
import os
import types

import luigi
import numpy as np
import pytest
from conftest import files_below
from pipelines import Letters

import luisy_dir as luisy
from luisy_dir.engines import ENGINES
from luisy_dir.errors import DefinitionError, ForeignDirectoryError, ItemsFailedError, KeyCollisionError
from luisy_dir.streams import Streams, functions_of

# -- numbers, with functions before and after ------------------------------------------------------------------------


@luisy.make_directory_output(np.load)
@luisy.raw
class Numbers(luisy.ExternalTask):
    def get_folder_name(self):
        return "numbers"


def reject(data, item):
    return None if data[0, 0] == item.control["reject"] else data


def boost_later(data, item):
    if data[0, 0] == item.control["boost"]:
        item.control["later"] = item.control["by"]
    return data


def boost(data, item):
    return data + item.control.get("later", 0)


def median(data, item):
    item.meta["median"] = np.median(data)
    return data


@luisy.interim
@luisy.requires(Numbers)
@luisy.directory_output(
    ".npy", pre=[reject, boost_later], post=[boost, median], control={"reject": 2, "boost": 3, "by": 5}, workers=2
)
class TenTimes(luisy.DirectoryTask):
    def process(self, data):
        return data * 10


@pytest.fixture
def numbers():
    """``i + zeros``, for i from 0 to 9."""
    folder = Numbers().output().path
    os.makedirs(folder)
    for number in range(10):
        path = os.path.join(folder, f"{number}.npy")
        np.save(path, number + np.zeros((10, 20)))
        os.utime(path, (1, 1))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_functions_before_and_after_control_each_other_item_by_item(numbers, monkeypatch, engine, workers):
    monkeypatch.setenv("LUISY_DIR_ENGINE", engine)
    monkeypatch.setenv("LUISY_DIR_WORKERS", workers)

    TenTimes().run()

    report = TenTimes().report()
    assert report["median"].dropna().to_dict() == {
        "0": 0, "1": 10, "3": 35, "4": 40, "5": 50, "6": 60, "7": 70, "8": 80, "9": 90,
    }  # fmt: skip
    assert report.loc["2", ["status", "reason"]].to_list() == ["rejected", "reject returned None"]
    three = dict(zip([item.key for item, _ in TenTimes().items()], TenTimes().read(), strict=True))["3"]
    assert (three.shape, three.min(), three.max()) == ((10, 20), 35, 35)


# -- letters, one task for each promise ------------------------------------------------------------------------------


@pytest.fixture
def write_letters(write_files):
    """Write letters: ``write_letters(a="text")``."""

    def write(**letters):
        write_files(Letters().output().path, {f"{key}.txt": text.encode() for key, text in letters.items()})

    return write


def task_of(name, **options):
    """A task of that name, but for a prefix, with these options, which returns the letter."""
    body = {"process": lambda self, text: text, "__module__": __name__}
    made = types.new_class(
        f"Streamed{name}", (luisy.DirectoryTask,), exec_body=lambda namespace: namespace.update(body)
    )
    decorated = luisy.directory_output(".txt", engine="serial", **options)(made)
    return luisy.interim(luisy.requires(Letters)(decorated))


def exclaim(text):
    return text + "!"


def note_calls(calls, name, value=None):
    """A function that notes its call and passes the data on, or returns another value."""

    def function(data, item):
        calls.append((name, data))
        return data if value is None else value(item)

    return function


def test_data_passes_all_functions_in_their_order(write_letters):
    calls = []
    write_letters(a="hi")
    options = {
        "pre": [note_calls(calls, 1, lambda _: "one"), note_calls(calls, 2, lambda _: "two")],
        "post": [note_calls(calls, 3, lambda _: "three"), note_calls(calls, 4)],
    }

    task = task_of("Ordered", **options)
    task().run()

    assert calls == [(1, "hi"), (2, "one"), (3, "two"), (4, "three")]
    assert list(task().read()) == ["three"]


def test_one_function_need_not_stand_in_a_list_and_need_not_take_the_item(write_letters):
    write_letters(a="hi")
    task = task_of("Loud", pre=str.upper, post=exclaim)

    task().run()

    assert list(task().read()) == ["HI!"]


def test_functions_may_be_class_attributes(write_letters):
    write_letters(a="hi")
    task = task_of("Later")
    task.pre = exclaim
    task.post = [str.upper]

    task().run()

    assert list(task().read()) == ["HI!"]


def test_any_callable_is_a_function(write_letters):
    class Add:
        def __init__(self, what):
            self.what = what

        def __call__(self, text, item):
            return text + self.what + item.key

    write_letters(a="hi")
    task = task_of("Called", pre=[Add("-"), functools.partial("x{}".format)])

    task().run()

    assert list(task().read()) == ["xhi-a"]


class TestNoOutput:
    def test_none_before_process_rejects_the_item_and_calls_nothing_more(self, write_letters):
        calls = []
        write_letters(a="hi")
        task = task_of("Refused", pre=[lambda text: None, note_calls(calls, "never")])

        task().run()

        assert calls == []
        assert task().report().loc["a", ["status", "reason"]].to_list() == ["rejected", "<lambda> returned None"]

    def test_none_after_process_rejects_the_item_and_keeps_what_was_noted(self, write_letters):
        def note(text, item):
            item.meta["x"] = 1

        calls = []
        write_letters(a="hi")
        task = task_of("Noted", post=[note, note_calls(calls, "never")])

        task().run()

        assert calls == []
        assert task().report().loc["a", ["status", "reason", "x"]].to_list() == ["rejected", "note returned None", 1]
        assert files_below(task().output().path) == []

    @pytest.mark.parametrize("nothing", [luisy.NoOutput(), luisy.NoOutput])
    def test_an_item_may_be_written_without_outputs_for_what_was_noted(self, write_letters, nothing):
        def measure(text, item):
            item.meta["length"] = len(text)
            return nothing

        calls = []
        write_letters(a="hi")
        task = task_of("Measured", post=[measure, note_calls(calls, "never")])

        task().run()

        assert calls == []
        assert task().report().loc["a", ["status", "length"]].to_list() == ["written", 2]
        assert list(task().read()) == []
        assert task().complete()

    def test_process_may_say_so_too(self, write_letters):
        calls = []
        write_letters(a="hi")
        task = task_of("Silent", post=note_calls(calls, "never"))
        task.process = lambda self, text: luisy.NoOutput()

        task().run()

        assert calls == []
        assert task().report()["status"]["a"] == "written"

    def test_a_function_may_reject_with_a_reason(self, write_letters):
        def judge(text):
            raise luisy.Reject("too short")

        write_letters(a="hi")
        task = task_of("Judged", post=judge)

        task().run()

        assert task().report()["reason"]["a"] == "too short"

    def test_an_error_in_a_function_is_a_failure_of_the_item(self, write_letters):
        write_letters(a="hi")
        with pytest.raises(ItemsFailedError, match="a: ValueError: invalid literal"):
            task_of("Wrong", pre=int)().run()


class TestSeveralOutputs:
    def make(self, name, **options):
        made = task_of(name, **options)

        def process(self, text):
            for number, word in enumerate(text.split()):
                if word == "fail":
                    raise ValueError(word)
                yield luisy.Output(word, key=str(number))

        made.process = process
        return made

    def test_the_data_of_each_passes_what_comes_after(self, write_letters):
        write_letters(a="one two")
        task = self.make("Each", post=exclaim)

        task().run()

        assert {item.key: data for item, data in task().items()} == {"a/0": "one!", "a/1": "two!"}

    def test_one_of_them_may_be_left_out(self, write_letters):
        write_letters(a="one two three")
        task = self.make("Some", post=lambda word: luisy.NoOutput() if word == "two" else word)

        task().run()

        assert files_below(task().output().path) == ["a/0.txt", "a/2.txt"]

    def test_none_for_one_of_them_rejects_the_item(self, write_letters):
        write_letters(a="one two three")
        task = self.make("NoneOf", post=lambda word: None if word == "two" else word)

        task().run()

        assert task().report()["status"]["a"] == "rejected"
        assert files_below(task().output().path) == []

    def test_an_iterator_that_dies_half_way_leaves_no_outputs(self, write_letters, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        write_letters(a="one two fail four", b="fine")
        task = self.make("DyingHalfWay", post=exclaim)

        task().run()

        assert files_below(task().output().path) == ["b/0.txt"]
        assert task().report()["status"].to_dict() == {"a": "failed", "b": "written"}

    def test_what_is_yielded_must_be_an_output_with_functions_after_it_too(self, write_letters):
        write_letters(a="hi")
        task = task_of("PlainlyYielded", post=exclaim)
        task.process = lambda self, text: iter([text])

        with pytest.raises(ItemsFailedError, match="process yielded a str"):
            task().run()

    def test_a_list_of_outputs_is_a_mistake_with_functions_after_it_too(self, write_letters):
        write_letters(a="hi")
        task = task_of("Listed", post=exclaim)
        task.process = lambda self, text: [luisy.Output(text)]

        with pytest.raises(ItemsFailedError, match="Yield them one by one"):
            task().run()

    def test_a_function_may_choose_another_format(self, write_letters):
        write_letters(a="hi")
        task = task_of("OtherFormat", post=lambda text: luisy.Output([text], suffix=".json"))

        task().run()

        assert files_below(task().output().path) == ["a.json"]


async def shout_later(text):
    await asyncio.sleep(0)
    return text.upper()


def test_a_function_may_be_async_where_there_is_an_event_loop(write_letters, monkeypatch):
    write_letters(a="hi")
    task = task_of("Async", pre=shout_later, post=shout_later)
    with pytest.raises(DefinitionError, match=r"pre 1 shout_later, post 1 shout_later of .* is 'async def'"):
        task().run()
    monkeypatch.setenv("LUISY_DIR_ENGINE", "async")

    task().run()

    assert list(task().read()) == ["HI"]


# -- control ---------------------------------------------------------------------------------------------------------


class TestControl:
    def test_an_item_cannot_change_what_others_are_told(self, write_letters):
        def change(text, item):
            item.control["list"].append(item.key)
            item.meta["list"] = list(item.control["list"])
            return text

        write_letters(a="hi", b="hi")
        task = task_of("Changing", pre=change, control={"list": []})

        task().run()

        assert task().report()["list"].to_dict() == {"a": ["a"], "b": ["b"]}
        assert task.control == {"list": []}

    def test_it_reaches_process_and_is_recorded_nowhere(self, write_letters):
        write_letters(a="hi")
        task = task_of("Told", pre=lambda text, item: item.control.update(secret=len(text)) or text)

        def process(self, text, item):
            return text * item.control["secret"]

        task.process = process
        task().run()

        assert list(task().read()) == ["hihi"]
        with open(task().output().manifest().path) as file:
            assert "secret" not in file.read()

    def test_large_values_may_be_passed_on_and_are_gone_with_the_item(self, write_letters):
        """Meta is limited to one mebibyte; control is not."""

        def keep(text, item):
            item.control["large"] = np.zeros(1_000_000)
            return text

        def use(text, item):
            item.meta["used"] = item.control["large"].size
            return text

        write_letters(a="hi")
        task = task_of("Large", pre=keep, post=use)

        task().run()

        assert task().report()["used"]["a"] == 1_000_000

    def test_it_may_follow_from_parameters(self, write_letters):
        write_letters(a="hi")

        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_output(".txt", engine="serial", post=lambda text, item: text * item.control["times"])
        class StreamedByParameter(luisy.DirectoryTask):
            times = luigi.IntParameter(default=1)

            @property
            def control(self):
                return {"times": self.times}

            def process(self, text):
                return text

        StreamedByParameter(times=3).run()

        assert list(StreamedByParameter(times=3).read()) == ["hihihi"]

    def test_items_begin_anew_with_each_try(self, write_letters):
        tries = []

        def once(text, item):
            tries.append(dict(item.control))
            item.control["seen"] = True
            if len(tries) == 1:
                raise ConnectionError
            return text

        write_letters(a="hi")
        task_of("Again", pre=once, retries=1, retry_delay=0, control={"x": 1})().run()

        assert tries == [{"x": 1}, {"x": 1}]


# -- what makes a result stale ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ({"pre": str.upper}, {"pre": str.lower}, "code"),
        ({"post": lambda text: text + "a"}, {"post": lambda text: text + "b"}, "code"),
        ({"pre": [exclaim, str.upper]}, {"pre": [str.upper, exclaim]}, "code"),
        ({}, {"post": exclaim}, "code"),
        ({"control": {"a": 1}}, {"control": {"a": 2}}, "params"),
        ({}, {"control": {"a": 1}}, "params"),
        ({"control": {"a": np.zeros(3)}}, {"control": {"a": np.ones(3)}}, "params"),
    ],
)
def test_other_functions_and_another_control_make_every_item_stale(write_letters, before, after, reason):
    write_letters(a="hi")
    task_of("Stale", **before)().run()
    assert task_of("Stale", **before)().complete()

    changed = task_of("Stale", **after)()

    assert not changed.complete()
    assert [str(row.reason) for row in changed.plan().changes] == [reason]


@pytest.mark.parametrize("options", [{"retries": 5}, {"catch": OSError}, {"retry_on": OSError}])
def test_what_an_error_means_makes_nothing_stale(write_letters, options):
    write_letters(a="hi")
    task_of("NotStale")().run()

    assert task_of("NotStale", **options)().complete()


# -- several directories ---------------------------------------------------------------------------------------------


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Echo(luisy.DirectoryTask):
    def process(self, text):
        return text


def joined(name, pre, *, is_named):
    """A task of that name that joins letters with their echo."""
    made = task_of(name, pre=pre)
    del made.requires
    if is_named:
        made.process = lambda self, right, left: left + right
        return luisy.final(luisy.requires(left=Letters, right=Echo)(made))
    made.process = lambda self, one, other: one + other
    return luisy.final(luisy.requires(Letters, Echo)(made))


class TestSeveralDirectories:
    @pytest.fixture(autouse=True)
    def _letters(self, write_letters):
        write_letters(a="hi")
        Echo().run()

    def test_each_has_functions_of_its_own(self):
        task = joined("Both", {"right": [str.upper, exclaim]}, is_named=True)

        task().run()

        assert list(task().read()) == ["hiHI!"]

    def test_without_names_those_of_the_tasks_count(self):
        task = joined("InOrder", {"Letters": exclaim}, is_named=False)

        task().run()

        assert list(task().read()) == ["hi!hi"]

    def test_a_list_does_not_say_for_which_it_is(self):
        with pytest.raises(DefinitionError, match=r"pre of StreamedWhich is a list.*pre=\{'left': \[…\]\}"):
            joined("Which", [exclaim], is_named=True)().run()

    def test_a_name_that_is_none_is_refused(self):
        with pytest.raises(
            DefinitionError, match="pre of StreamedUnknown names 'middle', but what it requires is left, right"
        ):
            joined("Unknown", {"middle": exclaim}, is_named=True)().run()


# -- names of outputs ------------------------------------------------------------------------------------------------


def by_content(text, item):
    item.output_key = text
    return text


class TestOutputKey:
    def test_a_step_may_name_the_output(self, write_letters):
        write_letters(a="cats/one", b="dogs")
        task = task_of("Named", post=by_content)

        task().run()

        assert files_below(task().output().path) == ["cats/one.txt", "dogs.txt"]
        assert {item.key: data for item, data in task().items()} == {"cats/one": "cats/one", "dogs": "dogs"}
        assert task().report()["outputs"].to_dict() == {"a": ["cats/one.txt"], "b": ["dogs.txt"]}
        assert task().complete()

    def test_several_outputs_lie_below_that_name(self, write_letters):
        write_letters(a="cats")
        task = task_of("Below", pre=by_content)
        task.process = lambda self, text: iter([luisy.Output("x", key="1"), luisy.Output("y", key="2")])

        task().run()

        assert files_below(task().output().path) == ["cats/1.txt", "cats/2.txt"]

    @pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "", "a//b", ".hidden", "x" * 300, "a\0b"])
    def test_a_name_that_leads_elsewhere_is_refused(self, write_letters, key):
        write_letters(a="hi")

        def name(text, item):
            item.output_key = key
            return text

        with pytest.raises(ItemsFailedError, match="cannot be the key of an output"):
            task_of("Elsewhere", post=name)().run()

    @pytest.mark.parametrize("key", [None, 3, b"bytes"])
    def test_what_is_no_text_is_no_name(self, write_letters, key):
        write_letters(a="hi")

        def name(text, item):
            item.output_key = key
            return text

        with pytest.raises(ItemsFailedError, match=r"item\.output_key of 'a' was set to .*, which is no text"):
            task_of("NoText", post=name)().run()

    def test_one_name_for_two_items_ends_the_run(self, write_letters):
        write_letters(a="same", b="same")

        with pytest.raises(KeyCollisionError, match=r"'same\.txt' cannot be written for the item '[ab]'"):
            task_of("Twins", post=by_content)().run()

    def test_the_name_of_an_output_that_was_published_before_is_refused_too(self, write_letters):
        write_letters(a="same")
        task = task_of("LaterTwins", post=by_content)
        task().run()
        write_letters(b="same")

        with pytest.raises(ForeignDirectoryError, match=r"see that no two items have outputs of one name"):
            task().run()

        assert list(task().read()) == ["same"]

    def test_an_item_that_changes_its_name_takes_the_old_one_away(self, write_letters):
        write_letters(a="before", b="other")
        task = task_of("Renamed", post=by_content)
        task().run()
        write_letters(a="after it")

        task().run()

        assert files_below(task().output().path) == ["after it.txt", "other.txt"]

    def test_two_items_may_swap_their_names(self, write_letters):
        write_letters(a="one", b="two")
        task = task_of("Swapped", post=by_content)
        task().run()
        write_letters(a="two", b="one ")
        write_letters(b="one")
        os.utime(os.path.join(Letters().output().path, "b.txt"), (1, 1))

        task().run()

        assert task().report()["outputs"].to_dict() == {"a": ["two.txt"], "b": ["one.txt"]}


# -- definitions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pre", "post"])
@pytest.mark.parametrize("functions", ["upper", 3, [exclaim, "upper"], [[exclaim]]])
def test_what_cannot_be_called_is_refused_where_it_is_said(name, functions):
    with pytest.raises(DefinitionError, match=f"{name} of the decorator has .* cannot be called"):
        luisy.directory_output(".txt", **{name: functions})


@pytest.mark.parametrize("function", [lambda: 0, lambda data, other: 0, lambda data, *, key: 0])
def test_a_function_that_does_not_fit_is_refused_where_it_is_said(function):
    with pytest.raises(DefinitionError, match=r"which is called with the data, and with the item"):
        luisy.directory_output(".txt", post=function)


@pytest.mark.parametrize(
    "function", [abs, np.sqrt, str.upper, len, lambda *args: 0, lambda data, item=None: 0, exclaim]
)
def test_a_function_that_fits_is_taken(function):
    assert functions_of(function, "post") == (function,)


@pytest.mark.parametrize("control", [3, ["a"], {1: "one"}, "text"])
def test_a_control_that_is_no_dictionary_by_name_is_refused(control):
    with pytest.raises(DefinitionError, match=r"control of the decorator is .* Give a dictionary by name"):
        luisy.directory_output(".txt", control=control)


def test_none_of_all_this_costs_an_item_anything_where_it_is_not_used():
    def process(data, item):
        return data

    assert Streams().around(process) is process


def test_a_function_form_has_them_too(write_letters):
    write_letters(a="hi")

    @luisy.interim
    @luisy.requires(Letters)
    @luisy.directory_task(".txt", engine="serial", pre=str.upper, post=[exclaim], control={"x": 1})
    def shout(text, item):
        return f"{text}{item.control['x']}"

    shout().run()

    assert list(shout().read()) == ["HI1!"]
