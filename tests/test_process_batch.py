"""Items that are processed together: the same batches everywhere, and a bad item costs itself alone."""

from __future__ import annotations

import asyncio
import os
import time

import luigi
import numpy as np
import pytest
from conftest import files_below
from pipelines import Letters

import luisy_dir as luisy
from luisy_dir.engines import ENGINES
from luisy_dir.errors import AbortedError, DefinitionError, ItemsFailedError, Reject
from luisy_dir.step import attempt, working


class InBatches(luisy.DirectoryTask):
    """Notes with whom an item was processed; fails where one of them says so."""

    retry_delay = 0

    def process_batch(self, texts, items):
        for item in items:
            item.meta["batch"] = [each.key for each in items]
            item.meta["noise"] = item.rng.random()
        for text in texts:
            if text == "fail":
                raise ValueError("a bad one")
            if text == "reject":
                raise luisy.Reject("not wanted")
            if text == "abort":
                raise luisy.Abort("no more")
        return [text.upper() for text in texts]


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", batch_size=4, engine="serial", workers=2)
class Fours(InBatches):
    """Four at a time."""


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", batch_size=4, engine="serial", max_errors=1.0, workers=2)
class Tolerant(InBatches):
    """Four at a time, and any of them may fail."""


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", batch_size=4, engine="serial")
class Answering(luisy.DirectoryTask):
    """Returns what a test wants."""

    answer = None

    def process_batch(self, texts, items):
        return type(self).answer(texts, items)


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Plainly(luisy.DirectoryTask):
    """One at a time."""

    def process(self, text, item):
        item.meta["noise"] = item.rng.random()
        return text.upper()


@pytest.fixture
def write_letters(write_files):
    """Write letters: ``write_letters(a="text")``."""

    def write(**letters):
        write_files(Letters().output().path, {f"{key}.txt": text.encode() for key, text in letters.items()})

    return write


@pytest.fixture
def ten(write_letters):
    """Letters from a to j."""
    write_letters(**dict.fromkeys("abcdefghij", "fine"))


@pytest.fixture
def answer(monkeypatch):
    """Let a batch be answered by a function of texts and items; say what has become of the items."""

    def give(function):
        monkeypatch.setattr(Answering, "answer", staticmethod(function))
        Answering().run()
        return Answering().report()

    return give


def batches(task):
    """With whom each item was processed, as one text."""
    return {key: "".join(batch) for key, batch in task.report()["batch"].dropna().items()}


EVERYWHERE = [("serial", "1"), *((engine, workers) for engine in ENGINES[1:] for workers in ("1", "3"))]


# -- the same everywhere ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("engine", "workers"), EVERYWHERE)
def test_batches_are_cut_in_key_order_on_every_engine(ten, monkeypatch, engine, workers):
    monkeypatch.setenv("LUISY_DIR_ENGINE", engine)
    monkeypatch.setenv("LUISY_DIR_WORKERS", workers)

    Fours().run()

    assert batches(Fours()) == dict.fromkeys("abcd", "abcd") | dict.fromkeys("efgh", "efgh") | dict.fromkeys("ij", "ij")
    assert list(Fours().read()) == ["FINE"] * 10


@pytest.mark.parametrize("engine", ENGINES)
def test_a_bad_item_is_found_by_halves_on_every_engine(ten, write_letters, monkeypatch, engine):
    monkeypatch.setenv("LUISY_DIR_ENGINE", engine)
    write_letters(c="fail", f="fail", g="fail")

    Tolerant().run()

    report = Tolerant().report()
    assert report.index[report["status"] == "failed"].to_list() == ["c", "f", "g"]
    assert report["error"]["c"] == "a bad one"
    assert batches(Tolerant()) == {
        "a": "ab", "b": "ab", "c": "c", "d": "d", "e": "e", "f": "f", "g": "g", "h": "h", "i": "ij", "j": "ij",
    }  # fmt: skip
    assert report["attempts"].to_dict() == {
        "a": 2, "b": 2, "c": 3, "d": 3, "e": 3, "f": 3, "g": 3, "h": 3, "i": 1, "j": 1,
    }  # fmt: skip


def test_a_large_file_does_not_change_the_batches(ten, write_letters):
    """Only which of them goes first."""
    write_letters(j="x" * 10_000)

    Fours().run()

    assert set(batches(Fours()).values()) == {"abcd", "efgh", "ij"}


def test_random_numbers_are_those_of_the_item_alone(ten):
    Fours().run()
    Plainly().run()

    assert Fours().report()["noise"].equals(Plainly().report()["noise"])


def test_the_result_is_that_of_a_task_that_takes_one_at_a_time(ten):
    Fours().run()
    Plainly().run()

    assert [(item.key, data) for item, data in Fours().items()] == [
        (item.key, data) for item, data in Plainly().items()
    ]


# -- what a batch may return ------------------------------------------------------------------------------------------


def test_none_rejects_its_item(ten, answer):
    report = answer(lambda texts, items: [None if item.key == "b" else item.key for item in items])

    assert report.loc["b", ["status", "reason"]].to_list() == ["rejected", "process_batch returned None"]
    assert list(Answering().read()) == [*"acdefghij"]


def test_a_rejection_rejects_its_item(ten, answer):
    report = answer(lambda texts, items: [Reject("too dark") if item.key == "b" else "x" for item in items])

    assert report.loc["b", ["status", "reason"]].to_list() == ["rejected", "too dark"]


def test_an_exception_is_the_failure_of_its_item_and_the_batch_is_not_done_again(ten, answer, monkeypatch):
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
    calls = []

    def one_fails(texts, items):
        calls.append("".join(item.key for item in items))
        return [ValueError("bad") if item.key == "b" else "x" for item in items]

    report = answer(one_fails)

    assert calls == ["abcd", "efgh", "ij"]
    assert report.loc["b", ["status", "error_type", "error"]].to_list() == ["failed", "ValueError", "bad"]
    assert (report["status"] == "written").sum() == 9


def test_an_abort_ends_the_run_also_as_a_result(ten, answer):
    with pytest.raises(AbortedError, match=r"'b', read from .*has ended the run: why"):
        answer(lambda texts, items: [luisy.Abort("why") if item.key == "b" else "x" for item in items])


def test_an_output_an_iterator_of_outputs_and_no_output_are_results_too(write_letters, answer):
    write_letters(a="", b="", c="")
    several = [luisy.Output("1", key="1"), luisy.Output("2", key="2")]

    report = answer(lambda texts, items: [luisy.Output(["json"], suffix=".json"), iter(several), luisy.NoOutput()])

    assert files_below(Answering().output().path) == ["a.json", "b/1.txt", "b/2.txt"]
    assert report["status"].to_list() == ["written"] * 3


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".npy", batch_size=4, engine="serial")
class Stacked(luisy.DirectoryTask):
    def process_batch(self, texts):
        return np.array([[len(text)] for text in texts]) * 10


def test_an_array_is_one_result_for_each_along_its_first_axis(ten):
    """As a model returns it; and who does not need the items need not take them."""
    Stacked().run()

    assert [array.tolist() for array in Stacked().read()] == [[40]] * 10


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda texts, items: texts[1:], "3 results for 4 items"),
        (lambda texts, items: [*texts, "more"], "5 results for 4 items"),
        (lambda texts, items: [], "0 results for 4 items"),
        (lambda texts, items: None, "returned a NoneType"),
        (lambda texts, items: "abcd", "returned a str"),
        (lambda texts, items: dict.fromkeys("abcd"), "returned a dict"),
        (lambda texts, items: {1, 2, 3, 4}, "returned a set"),
        (lambda texts, items: iter(texts), "returned a list_iterator"),
    ],
)
def test_what_is_not_one_result_for_each_ends_the_run(ten, answer, monkeypatch, wrong, told):
    """However many items may fail: nobody could tell which result belongs to whom."""
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1.0")
    monkeypatch.setenv("LUISY_DIR_RETRIES", "3")

    with pytest.raises(DefinitionError, match=f"process_batch {told}|process_batch returned {told}"):
        answer(wrong)

    assert not os.path.exists(Answering().output().path)


def test_an_item_that_cannot_be_written_fails_alone(ten, answer, monkeypatch):
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")

    report = answer(lambda texts, items: [3 if item.key == "b" else "x" for item in items])

    assert report.index[report["status"] == "failed"].to_list() == ["b"]
    assert (report["attempts"] == 1).all()


# -- what comes into a batch ------------------------------------------------------------------------------------------


def test_items_that_are_skipped_or_cannot_be_read_are_left_out(ten, write_files, monkeypatch):
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
    write_files(Letters().output().path, {"bb.jpg": b"not ours", "e.txt": b"\xff\xfe not text"})

    Fours().run()

    report = Fours().report()
    assert (report["status"]["bb"], report["status"]["e"]) == ("skipped", "failed")
    assert sorted(set(batches(Fours()).values())) == ["abc", "dfg", "hij"]


def test_a_batch_of_which_nothing_is_left_is_not_processed(write_files, write_letters):
    write_files(Letters().output().path, {f"{letter}.jpg": b"not ours" for letter in "abcd"})
    write_letters(e="fine")

    Fours().run()

    assert batches(Fours()) == {"e": "e"}


def test_a_file_that_has_gone_meanwhile_is_left_out(ten, answer):
    def remove_later(texts, items):
        if items[0].key == "a":
            os.unlink(os.path.join(Letters().output().path, "f.txt"))
        return [item.key for item in items]

    report = answer(remove_later)

    assert list(report.index) == [*"abcdeghij"]
    assert list(Answering().read()) == [*"abcdeghij"]


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", batch_size=4, engine="serial", pre=str.title, control={"mark": "!"})
class Surrounded(luisy.DirectoryTask):
    post = (lambda text, item: text + item.control["mark"],)

    def process_batch(self, texts):
        return [None if text == "None" else text * 2 for text in texts]


def test_functions_before_and_after_are_called_item_by_item(write_letters):
    write_letters(a="hi", b="none", c="ho")

    Surrounded().run()

    assert list(Surrounded().read()) == ["HiHi!", "HoHo!"]


@luisy.final
@luisy.requires(one=Letters, other=Plainly)
@luisy.directory_output(".txt", batch_size=4, engine="serial")
class Paired(luisy.DirectoryTask):
    def process_batch(self, other, one, items):
        assert len(one) == len(other) == len(items)
        return [f"{left}{right}" for left, right in zip(one, other, strict=True)]


@luisy.final
@luisy.requires(Letters, Plainly)
@luisy.directory_output(".txt", batch_size=4, engine="serial")
class InTurn(luisy.DirectoryTask):
    def process_batch(self, letters, others):
        return [f"{left}{right}" for left, right in zip(letters, others, strict=True)]


@pytest.mark.parametrize("task", [Paired, InTurn])
def test_of_several_directories_there_is_a_list_each(ten, task):
    Plainly().run()

    task().run()

    assert list(task().read()) == ["fineFINE"] * 10


# -- errors -----------------------------------------------------------------------------------------------------------


def test_a_rejection_that_is_raised_is_that_of_one_item(ten, write_letters, monkeypatch):
    """Whatever errors are caught: it is none."""
    monkeypatch.setattr(Fours, "catch", ())
    write_letters(c="reject")

    Fours().run()

    report = Fours().report()
    assert report.loc["c", ["status", "reason"]].to_list() == ["rejected", "not wanted"]
    assert (report["status"] == "written").sum() == 9


def test_an_item_is_tried_again_when_it_is_alone(ten, write_letters, monkeypatch):
    """The tries of its batches do not count for ``retries``."""
    monkeypatch.setenv("LUISY_DIR_RETRIES", "2")
    write_letters(c="fail")

    Tolerant().run()

    assert Tolerant().report()["attempts"].to_dict() == {
        "a": 2, "b": 2, "c": 5, "d": 3, "e": 1, "f": 1, "g": 1, "h": 1, "i": 1, "j": 1,
    }  # fmt: skip


def test_an_item_that_cannot_be_read_at_first_is_tried_again_alone(ten, monkeypatch):
    monkeypatch.setenv("LUISY_DIR_RETRIES", "1")
    read, tries = Letters.read_file, []

    def unsteady(path):
        tries.append(os.path.basename(path))
        if tries.count("b.txt") == 1 and path.endswith("b.txt"):
            raise ConnectionError
        return read(path)

    monkeypatch.setattr(Letters, "read_file", staticmethod(unsteady))
    Fours().run()

    assert batches(Fours())["a"] == "acd"
    assert batches(Fours())["b"] == "b"
    assert Fours().report()["attempts"]["b"] == 2


def test_an_error_that_goes_away_by_halves_costs_nobody(ten, answer):
    """Where memory suffices for two, say."""

    def no_more_than_two(texts, items):
        if len(items) > 2:
            raise MemoryError
        return [item.key for item in items]

    report = answer(no_more_than_two)

    assert list(Answering().read()) == [*"abcdefghij"]
    assert report["attempts"].to_dict() == dict.fromkeys("abcdefgh", 2) | dict.fromkeys("ij", 1)


def test_a_spent_budget_ends_the_run_early(write_letters, answer):
    write_letters(**{f"x{number:03d}": "fine" for number in range(800)})
    seen = []

    def fail(texts, items):
        seen.extend(item.key for item in items)
        time.sleep(0.01)  # quick ones are sent by the hundred
        raise ValueError("always")

    with pytest.raises(ItemsFailedError, match="1 of 800 items failed"):
        answer(fail)

    assert "x799" not in seen


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_that_is_not_caught_ends_the_run_and_names_the_batch(ten, write_letters, monkeypatch, engine):
    monkeypatch.setenv("LUISY_DIR_ENGINE", engine)
    monkeypatch.setattr(Tolerant, "catch", OSError)
    write_letters(c="fail")

    with pytest.raises(AbortedError, match=r"^One of the 4 items from 'a' to 'd' raised ValueError: a bad one"):
        Tolerant().run()


def test_a_step_may_end_the_run_from_a_batch(ten, write_letters):
    write_letters(c="abort")

    with pytest.raises(AbortedError, match=r"^One of the 4 items from 'a' to 'd' has ended the run: no more"):
        Tolerant().run()


# -- the next run -----------------------------------------------------------------------------------------------------


def test_the_next_run_goes_on_with_what_is_left(ten, write_letters):
    write_letters(f="abort")
    with pytest.raises(AbortedError):
        Fours().run()
    write_letters(f="fine")

    Fours().run()

    assert set(batches(Fours()).values()) == {"abcd", "efgh", "ij"}
    assert sum(Fours().output().manifest().record.resumed.values()) == 4


def test_an_update_makes_batches_of_what_is_stale(ten, write_letters):
    Fours().run()
    write_letters(b="changed", e="changed", j="changed", k="new", l="new")

    Fours().run()

    assert batches(Fours()) == {
        "a": "abcd", "b": "bejk", "c": "abcd", "d": "abcd", "e": "bejk", "f": "efgh", "g": "efgh", "h": "efgh",
        "i": "ij", "j": "bejk", "k": "bejk", "l": "l",
    }  # fmt: skip


def test_another_batch_size_makes_nothing_stale(ten, monkeypatch):
    Fours().run()
    monkeypatch.setattr(Fours, "batch_size", 3)

    assert Fours().complete()


def test_other_code_makes_all_stale(ten, monkeypatch):
    Fours().run()
    monkeypatch.setattr(Fours, "process_batch", lambda self, texts, items: texts)

    assert not Fours().complete()


class Clock:
    """Time that passes where a test says so."""

    now = 0.0

    def perf_counter(self):
        return self.now


def test_seconds_are_the_share_of_the_batch(ten, answer, monkeypatch):
    clock = Clock()
    for module in (attempt, working):
        monkeypatch.setattr(module, "time", clock)

    def slowly(texts, items):
        clock.now += 8.0
        return [item.key for item in items]

    report = answer(slowly)

    assert report["seconds"].to_dict() == dict.fromkeys("abcdefgh", 2.0) | dict.fromkeys("ij", 4.0)


def test_seconds_are_those_of_all_batches_that_an_item_was_in(write_letters, answer, monkeypatch):
    clock = Clock()
    for module in (attempt, working):
        monkeypatch.setattr(module, "time", clock)
    write_letters(a="", b="", c="", d="")

    def slowly(texts, items):
        clock.now += 8.0
        if len(items) == 4:
            raise MemoryError
        return [item.key for item in items]

    assert answer(slowly)["seconds"].to_dict() == dict.fromkeys("abcd", 2.0 + 4.0)


# -- definitions ------------------------------------------------------------------------------------------------------


def a_task(**body):
    """A task with these methods and attributes."""
    cls = type(luisy.DirectoryTask)("BatchOfAnyKind", (luisy.DirectoryTask,), {"__module__": __name__, **body})
    return luisy.requires(Letters)(luisy.directory_output(".txt", engine="serial")(cls))


def together(self, texts, items):
    return texts


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "has no method process"),
        ({"process_batch": together}, "has process_batch, but no batch_size"),
        ({"process": lambda self, text: text, "batch_size": 3}, "has a batch_size, but no process_batch"),
        (
            {"process": lambda self, text: text, "process_batch": together, "batch_size": 3},
            "has both process and process_batch",
        ),
        ({"process_batch": together, "batch_size": 0}, "batch_size of BatchOfAnyKind is 0"),
        ({"process_batch": together, "batch_size": 2.0}, "batch_size of BatchOfAnyKind is 2.0"),
        ({"process_batch": together, "batch_size": True}, "batch_size of BatchOfAnyKind is True"),
        ({"process_batch": together, "batch_size": "4"}, "batch_size of BatchOfAnyKind is '4'"),
    ],
)
def test_a_task_that_cannot_work_is_refused_when_it_is_made(body, told):
    with pytest.raises(DefinitionError, match=told):
        a_task(**body)()


def test_a_method_that_does_not_fit_is_refused_before_any_work(ten):
    task = a_task(process_batch=lambda self: [], batch_size=2)

    with pytest.raises(DefinitionError, match=r"process_batch\(\) does not fit what the task requires, Letters"):
        task().run()


def test_a_class_may_take_one_at_a_time_no_more(ten):
    task = a_task(process=None, process_batch=together, batch_size=2)

    task().run()

    assert len(list(task().read())) == 10


def test_the_size_may_be_a_parameter(ten):
    @luisy.interim
    @luisy.requires(Letters)
    @luisy.directory_output(".txt", engine="serial")
    class BySize(luisy.DirectoryTask):
        batch_size = luigi.IntParameter(default=5, significant=False)

        def process_batch(self, texts, items):
            return [str(len(items))] * len(items)

    BySize(batch_size=3).run()

    assert list(BySize().read()) == [*"3333333331"]


def test_a_size_of_one_is_a_size(ten):
    task = a_task(process_batch=lambda self, texts, items: [str(len(items))], batch_size=1)

    task().run()

    assert list(task().read()) == ["1"] * 10


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_task(".txt", batch_size=4, engine="serial", params={"mark": luigi.Parameter(default="!")}, setup=dict)
def marked(texts, items, mark, state):
    assert state == {}
    return [text + mark + str(len(items)) for text in texts]


def test_a_function_may_take_several(ten):
    marked(mark="?").run()

    assert list(marked(mark="?").read()) == ["fine?4"] * 8 + ["fine?2"] * 2


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", batch_size=4, engine="async", workers=2)
class Awaited(luisy.DirectoryTask):
    async def process_batch(self, texts, items):
        await asyncio.sleep(0)
        return [text.upper() for text in texts]


def test_a_coroutine_may_take_several(ten):
    Awaited().run()

    assert list(Awaited().read()) == ["FINE"] * 10


def test_a_coroutine_is_refused_where_nobody_would_await_it(ten, monkeypatch):
    monkeypatch.setenv("LUISY_DIR_ENGINE", "threads")

    with pytest.raises(DefinitionError, match="process_batch of Awaited is 'async def'"):
        Awaited().run()
