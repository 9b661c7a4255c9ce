"""Checks of items: what is asked of their data, and what becomes of an item that fails one."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import pytest
from conftest import files_below
from pipelines import Letters, Strict, Upper

import luisy_dir as luisy
from luisy_dir import checking, checks, errors
from luisy_dir.code import of_function
from luisy_dir.errors import DefinitionError

NAN, INF = float("nan"), float("inf")
FRAME = pd.DataFrame({"area": [1.5, 2.5], "label": ["a", "b"]})
EVERY = [
    checks.shape(2, None),
    checks.ndim(2),
    checks.dtype("uint8"),
    checks.finite(),
    checks.non_empty(),
    checks.between(0, 1),
    checks.columns("area"),
]
each = pytest.mark.parametrize("check", EVERY, ids=repr)


@pytest.mark.parametrize(
    ("check", "data"),
    [
        (checks.shape(), np.array(5)),
        (checks.shape(2, 3), np.zeros((2, 3))),
        (checks.shape(None, 3), np.zeros((0, 3))),
        (checks.shape(...), np.zeros((2, 3))),
        (checks.shape(..., 3), np.zeros(3)),
        (checks.shape(2, ...), np.zeros((2, 3, 4))),
        (checks.shape(2, ..., 4), np.zeros((2, 4))),
        (checks.shape(None, 2), FRAME),
        (checks.ndim(0), np.array(5)),
        (checks.ndim(2), FRAME),
        (checks.dtype("uint8"), np.zeros(3, "uint8")),
        (checks.dtype("uint16"), np.zeros(3, ">u2")),
        (checks.dtype("float32", "float64"), np.zeros(3)),
        (checks.dtype("category"), pd.Series(["a"], dtype="category")),
        (checks.finite(), np.zeros((0, 3))),
        (checks.finite(), np.arange(3)),
        (checks.finite(), np.array([1j])),
        (checks.finite(), [1.0, 2.0]),
        (checks.finite(), 3),
        (checks.finite(), FRAME),
        (checks.finite(), pd.Series([1, 2], dtype="Int64")),
        (checks.non_empty(), np.array(0)),
        (checks.non_empty(), "a"),
        (checks.non_empty(), FRAME),
        (checks.between(0, 255), np.array([0, 255], "uint8")),
        (checks.between(-1, 1e9), np.array([0, 255], "uint8")),
        (checks.between(None, 1), [-INF, 1.0]),
        (checks.between(0, None), INF),
        (checks.between(0, 1), np.zeros(0)),
        (checks.between(0, np.uint8(3)), FRAME),
        (checks.columns("label", "area"), FRAME),
    ],
    ids=repr,
)
def test_what_is_as_it_should_be_passes(check, data):
    assert check(data) is None


@pytest.mark.parametrize(
    ("check", "data", "reason"),
    [
        (checks.shape(None, None, 3), np.zeros((4, 4)), "it is (4, 4)"),
        (checks.shape(2, ..., 4), np.zeros(4), "it is (4,)"),
        (checks.shape(2, ...), np.zeros((3, 2)), "it is (3, 2)"),
        (checks.shape(2), "text", "a str has no shape"),
        (checks.ndim(2), np.zeros(3), "it has 1 axes"),
        (checks.ndim(2), [[1]], "a list has no axes"),
        (checks.dtype("uint8"), np.zeros(3), "it is float64"),
        (checks.dtype("uint8"), FRAME, "a DataFrame has no dtype"),
        (checks.finite(), np.array([[1, NAN], [INF, -INF]]), "3 of 4 values are not finite"),
        (checks.finite(), NAN, "1 of 1 values are not finite"),
        (checks.finite(), "text", "a str holds no numbers that could be looked at"),
        (checks.finite(), np.array(["a"]), "a ndarray of <U1 holds no numbers that could be looked at"),
        (checks.finite(), pd.DataFrame({"a": [1.0, NAN], "b": ["x", "y"]}), "1 of 2 values are not finite"),
        (checks.finite(), pd.DataFrame({"a": pd.array([1, None], "Int64")}), "1 of 2 values are not finite"),
        (checks.finite(), pd.DataFrame({"a": [1, 2], "b": pd.array([1.5, None], "Float64")}), "1 of 4 values are not"),
        (checks.non_empty(), np.zeros((0, 3)), "it is empty"),
        (checks.non_empty(), pd.DataFrame({"a": []}), "it is empty"),
        (checks.non_empty(), b"", "it is empty"),
        (checks.non_empty(), 3, "an int has no length"),
        (checks.between(0, 1), np.array([0.5, 7.5, NAN]), "2 of 3 values are not, such as 7.5"),
        (checks.between(0, None), -3, "1 of 1 values are not, such as -3"),
        (checks.between(None, None), [NAN], "1 of 1 values are not, such as nan"),
        (checks.between(0, 1), [1j], "a list holds no numbers that could be looked at"),
        (checks.columns("area", "x", "y"), FRAME, "it has no column 'x', 'y'"),
        (checks.columns("area"), {"area": 1}, "a dict has no columns"),
    ],
    ids=repr,
)
def test_what_is_not_fails_with_a_reason(check, data, reason):
    assert check(data).startswith(reason)


@each
@pytest.mark.parametrize(
    "data",
    [None, "text", b"", 3, True, object(), {}, {1}, iter("ab"), [[1], [2, 3]], np.ma.masked],
    ids=lambda data: type(data).__name__,
)
def test_any_data_at_all_gets_an_answer(check, data):
    """Only the arrays that NumPy itself refuses, such as a ragged list, raise; and the step tells why."""
    with contextlib.suppress(ValueError):
        assert check(data) is None or check(data)


@each
@pytest.mark.parametrize("data", [np.array([[NAN, 3.0]]), FRAME, [1.0, NAN]], ids=repr)
def test_nothing_is_changed(check, data):
    before = copy.deepcopy(data)

    check(data)

    assert pickle.dumps(data) == pickle.dumps(before)


@each
def test_its_repr_is_what_made_it_and_it_crosses_to_a_worker(check):
    assert eval(repr(check), vars(checks)) == check
    assert pickle.loads(pickle.dumps(check)) == check
    assert repr(checks.shape(2, ..., None)) == "shape(2, ..., None)"


@pytest.mark.parametrize(
    "make",
    [
        lambda: checks.shape(-1),
        lambda: checks.shape(True),
        lambda: checks.shape((2, 3)),
        lambda: checks.shape(..., 2, ...),
        lambda: checks.ndim("2"),
        checks.dtype,
        lambda: checks.dtype(np.uint8),
        lambda: checks.between(2, 1),
        lambda: checks.between(NAN, 1),
        lambda: checks.between("a", "b"),
        checks.columns,
        lambda: checks.columns(["a", "b"]),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_is_written(make):
    with pytest.raises(DefinitionError, match=r"Give|Leave"):
        make()


def test_no_library_is_loaded_before_it_is_needed():
    code = (
        "import sys; from luisy_dir import checks; checks.between(0, 1), checks.shape(3)\n"
        "print([name for name in ('luigi', 'numpy', 'pandas') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# -- what a check may answer ------------------------------------------------------------------------------------------


def raises(error):
    def strict(data):
        raise error

    return strict


def says(answer):
    def strict(data):
        return answer

    return strict


def is_below(text, limit):
    return len(text) < limit or f"{len(text)} letters"


def verdict(check):
    """What becomes of an item with that check: its status, and type and message of the error."""

    @luisy.interim
    @luisy.requires(Letters)
    @luisy.directory_task(".txt", engine="serial", max_errors=1, check=check)
    def checked_once(text):
        return text

    checked_once().run()
    (entry,) = checked_once().output().manifest().entries()
    checked_once().clean()
    return (entry.status, None, None) if entry.error is None else (entry.status, entry.error.type, entry.error.message)


@pytest.fixture
def letter(write_files):
    write_files(Letters().output().path, {"cats/1.txt": b"alpha"})


class TestAnswers:
    @pytest.mark.parametrize("answer", [None, True, np.True_, np.array(True)])
    def test_it_passes_with_none_and_with_true(self, letter, answer):
        assert verdict(says(answer)) == ("written", None, None)

    @pytest.mark.parametrize(
        ("check", "message"),
        [
            (says(False), "the output 'cats/1.txt' fails strict, which gives no reason"),
            (says(np.False_), "the output 'cats/1.txt' fails strict, which gives no reason"),
            (says("too dark"), "the output 'cats/1.txt' fails strict: too dark"),
            (raises(AssertionError("too dark")), "the output 'cats/1.txt' fails strict: too dark"),
            (raises(AssertionError()), "the output 'cats/1.txt' fails strict: an assertion does not hold"),
            (raises(KeyError("x")), "the output 'cats/1.txt' fails strict: KeyError: 'x'"),
            (raises(OSError(28, "No space")), "the output 'cats/1.txt' fails strict: OSError: [Errno 28] No space"),
            (raises(SystemExit()), "the output 'cats/1.txt' fails strict: SystemExit"),
            (partial(is_below, limit=3), "the output 'cats/1.txt' fails is_below: 5 letters"),
            (checks.finite(), "the output 'cats/1.txt' fails finite(): a str holds no numbers that could be looked at"),
            (says("\ud800 is no text"), "the output 'cats/1.txt' fails strict: \\ud800 is no text"),
        ],
    )
    def test_it_fails_with_false_with_a_text_and_with_any_error(self, letter, check, message):
        assert verdict(check) == ("failed", "CheckError", message)

    @pytest.mark.parametrize(
        ("answer", "advice"),
        [
            (np.array([True, False]), r"ndarray of bool and shape \(2,\).*\(data > 0\)\.all\(\)"),
            (np.zeros(0, bool), r"shape \(0,\).*\.all\(\)"),
            (pd.Series([True]), r"Series of bool and shape \(1,\).*\.all\(\)"),
            (1, "an int, which is neither true nor false"),
            (np.int64(0), "which is neither true nor false"),
            ("", "an empty text"),
            ([], "a list, which is neither"),
            (NotImplemented, "a NotImplementedType"),
        ],
    )
    def test_what_is_no_answer_fails_the_item_and_says_what_to_do(self, letter, answer, advice):
        """A mistake in a check lets nothing pass."""
        status, kind, message = verdict(says(answer))
        assert (status, kind) == ("failed", "DefinitionError")
        assert re.search(advice, message)

    def test_a_check_may_reject_an_item(self, letter):
        assert verdict(raises(luisy.Reject("too dark"))) == ("rejected", "Reject", "too dark")

    def test_the_traceback_begins_in_the_check(self, letter):
        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task(".txt", engine="serial", max_errors=1, check=raises(KeyError("x")))
        def traced(text):
            return text

        traced().run()
        (entry,) = traced().output().manifest().entries()
        assert "in strict" in entry.error.traceback.splitlines()[0]
        assert "checking.py" not in entry.error.traceback


# -- in a run ---------------------------------------------------------------------------------------------------------


def is_calm(text):
    return "!" not in text or f"{text.count('!')} of {len(text)} letters are marks of exclamation"


def is_long(text):
    if len(text) <= 2:
        raise AssertionError(f"only {len(text)} letters")


@dataclass(frozen=True)
class Below:
    """A check of one's own with an argument."""

    limit: int

    def __call__(self, text):
        return len(text) < self.limit or f"{len(text)} letters"


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", max_errors=2, check=[is_calm, Below(9)], check_input=is_long)
class Checked(luisy.DirectoryTask):
    def process(self, text, item):
        item.meta["was_processed"] = True
        return text + ("!" if text.startswith("loud") else "")


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial", check=is_calm, max_errors=1.0)
class CheckedWords(luisy.DirectoryTask):
    def process(self, text):
        for number, word in enumerate(text.split()):
            yield luisy.Output(word, key=f"{number}")


@pytest.fixture
def letters(write_files):
    texts = {"a": b"alpha", "nested/b": b"loud", "c": b"x", "d": b"delta"}
    write_files(Letters().output().path, {f"{key}.txt": text for key, text in texts.items()})


def entries(task):
    return {entry.key: entry for entry in task.output().manifest().entries()}


@pytest.mark.parametrize("engine", ["serial", "threads", "async", "processes", "loky:get_reusable_executor"])
def test_every_engine_checks_inputs_and_outputs_alike(letters, monkeypatch, engine):
    monkeypatch.setenv("LUISY_DIR_ENGINE", engine)
    monkeypatch.setenv("LUISY_DIR_WORKERS", "2")

    Checked().run()

    found = {key: (entry.status, entry.error and entry.error.message) for key, entry in entries(Checked()).items()}
    assert found == {
        "a": ("written", None),
        "c": ("failed", "the input 'Letters' fails is_long: only 1 letters"),
        "d": ("written", None),
        "nested/b": ("failed", "the output 'nested/b.txt' fails is_calm: 1 of 5 letters are marks of exclamation"),
    }
    assert files_below(Checked().output().path) == ["a.txt", "d.txt"]


def test_what_was_read_is_checked_before_it_is_processed(letters):
    Checked().run()

    assert entries(Checked())["c"].meta == {}
    assert entries(Checked())["nested/b"].meta == {"was_processed": True}


def test_an_item_that_fails_a_check_counts_as_one_that_failed(letters, monkeypatch):
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
    with pytest.raises(errors.ItemsFailedError, match="2 of 4 items failed") as caught:
        Checked().run()
    assert isinstance(caught.value.__cause__, errors.CheckError)
    assert not os.path.exists(Checked().output().path)


def test_nothing_of_an_item_stays_of_which_a_later_output_fails(write_files):
    write_files(Letters().output().path, {"a.txt": b"one two thr!ee four", "b.txt": b"five"})

    CheckedWords().run()

    assert files_below(CheckedWords().output().path) == ["b/0.txt"]
    assert "the output 'a/2.txt' fails is_calm" in entries(CheckedWords())["a"].error.message
    assert entries(CheckedWords())["a"].outputs == ()


class TestSeveralDirectories:
    @pytest.fixture
    def required(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"alpha", "b.txt": b"b!"})
        Upper().run()
        Strict().run()

    def task(self, check_input):
        @luisy.final
        @luisy.requires(loud=Upper, plain=Strict)
        @luisy.directory_output(".json", engine="serial", max_errors=2, check_input=check_input)
        class CheckedPairs(luisy.DirectoryTask):
            def process(self, plain, loud):
                return [plain, loud]

        return CheckedPairs()

    def failures(self, check_input):
        task = self.task(check_input)
        task.run()
        return {key: entry.error.message for key, entry in entries(task).items() if entry.error}

    def test_a_check_gets_the_data_of_each(self, required):
        def is_lower(text):
            return text == text.lower()

        assert self.failures(is_lower) == {
            "a": "the input 'loud' fails is_lower, which gives no reason",
            "b": "the input 'loud' fails is_lower, which gives no reason",
        }

    def test_by_name_it_gets_the_data_of_one(self, required):
        def is_upper(text):
            return text == text.upper()

        assert self.failures({"loud": is_upper, "plain": [is_calm]}) == {
            "b": "the input 'plain' fails is_calm: 1 of 2 letters are marks of exclamation"
        }

    def test_a_name_that_is_none_is_an_error_before_anything_is_done(self, required):
        task = self.task({"mask": is_calm})
        with pytest.raises(DefinitionError, match=r"'mask', but the directories .* are 'loud', 'plain'"):
            task.run()
        assert not os.path.exists(task.output().path)


# -- where checks are written -----------------------------------------------------------------------------------------


class TestDefinition:
    @pytest.mark.parametrize("argument", ["check", "check_input"])
    @pytest.mark.parametrize(
        ("value", "advice"),
        [
            ("finite", "which is no check"),
            (None, "which is no check"),
            ([checks.finite(), 3], "got 3, which is no check"),
            (bool, "which is no check"),
            (checks.finite, r"Call it, with its arguments: checks\.finite\(…\)"),
            (checks.shape, r"checks\.shape\(…\)"),
            (lambda: True, "cannot be called with the data alone"),
            (lambda data, item: True, "cannot be called with the data alone"),
        ],
    )
    def test_what_cannot_be_a_check_is_refused_where_it_is_written(self, argument, value, advice):
        for decorator in (luisy.directory_output, luisy.directory_task):
            with pytest.raises(DefinitionError, match=advice):
                decorator(".txt", **{argument: value})

    def test_so_is_one_of_a_dictionary(self):
        with pytest.raises(DefinitionError, match=r"check_input\['mask'\] got 3"):
            luisy.directory_output(".txt", check_input={"mask": 3})

    def test_a_coroutine_is_no_check(self):
        async def slow(data):
            return True

        with pytest.raises(DefinitionError, match="slow is 'async def'"):
            luisy.directory_output(".txt", check=slow)

    @pytest.mark.parametrize("value", [is_calm, [is_calm], (is_calm,), staticmethod(is_calm)])
    def test_a_class_attribute_is_as_good(self, write_files, value):
        write_files(Letters().output().path, {"a.txt": b"alpha", "b.txt": b"b!"})

        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_output(".txt", engine="serial", max_errors=2)
        class ByAttribute(luisy.DirectoryTask):
            check = value
            check_input = value

            def process(self, text):
                return text

        ByAttribute().run()
        assert {key: entry.status for key, entry in entries(ByAttribute()).items()} == {"a": "written", "b": "failed"}

    def test_a_method_is_refused_because_it_would_be_called_without_its_object(self):
        @luisy.directory_output(".txt")
        class ByMethod(luisy.DirectoryTask):
            def check(self, data):
                return True

            def process(self, text):
                return text

        with pytest.raises(DefinitionError, match=r"check of ByMethod.*@staticmethod"):
            ByMethod()

    def test_two_classes_do_not_see_each_others_checks(self):
        class CheckedBase(luisy.DirectoryTask):
            def process(self, text):
                return text

        @luisy.directory_output(".txt", check=is_calm)
        class CheckedOne(CheckedBase):
            pass

        @luisy.directory_output(".txt")
        class CheckedOther(CheckedBase):
            pass

        @luisy.directory_output(".txt")
        class CheckedChild(CheckedOne):
            pass

        assert (CheckedOne.check, CheckedOther.check, CheckedBase.check) == ((is_calm,), (), ())
        assert CheckedChild.check == (is_calm,)


# -- what makes a result stale ----------------------------------------------------------------------------------------


def parts_with(**arguments):
    """What a task's fingerprint says with these checks."""

    @luisy.interim
    @luisy.requires(Letters)
    @luisy.directory_task(".txt", engine="serial", **arguments)
    def judged(text):
        return text

    return judged()._parts(judged()._inputs())


@dataclass(frozen=True, slots=True)
class Slotted:
    limit: int

    def __call__(self, text):
        return True


class TestStaleness:
    def test_a_task_without_checks_has_the_fingerprint_that_it_had(self):
        assert "check" not in parts_with()
        assert parts_with() == parts_with(check=[], check_input={})

    def test_every_other_check_is_other_code(self):
        def closing_over(limit):
            return lambda text: len(text) < limit

        given = [
            {"check": check}
            for check in (
                is_calm, [is_calm, is_long], [is_long, is_calm], Below(3), Below(4), Slotted(3), Slotted(4),
                closing_over(3), closing_over(4), partial(max, 3), partial(max, 4), checks.shape(3), checks.shape(4),
                checks.shape(None), checks.shape(...), checks.between(0, 1), checks.between(0, 1.0),
            )
        ]  # fmt: skip
        given += [{"check_input": is_calm}, {"check_input": {"Letters": is_long}}]

        parts = [json.dumps(parts_with(**arguments)["check"]) for arguments in given]

        assert len(set(parts)) == len(given)
        assert "opaque" not in "".join(parts)

    def test_a_check_that_comes_makes_everything_stale(self, letters):
        def task(**arguments):
            @luisy.interim
            @luisy.requires(Letters)
            @luisy.directory_task(".txt", engine="serial", **arguments)
            def judged_again(text):
                return text

            return judged_again()

        task().run()
        assert task().complete()
        assert task(check=checks.non_empty()).plan().counts == {"code": 4}
        task(check=checks.non_empty()).run()
        assert task(check=checks.non_empty()).complete()
        assert not task(check=Below(99)).complete()

    def test_a_check_is_the_same_in_every_process(self, tmp_path):
        (tmp_path / "judging.py").write_text(
            "from dataclasses import dataclass\nfrom luisy_dir import checks\nfrom luisy_dir.checking import Checks\n"
            "@dataclass(frozen=True)\nclass Among:\n    names: frozenset\n    other: type = int\n"
            "    def __call__(self, data):\n        return data in self.names or 'not among them'\n"
            "@dataclass(frozen=True, slots=True)\nclass Slotted:\n    names: frozenset\n"
            "    def __call__(self, data):\n        return data in {'u', 'v', 'w'}\n"
            "names = frozenset('abcdefgh')\n"
            "found = Checks((Among(names), Slotted(names), checks.dtype('uint8'), lambda data: data in {'x', 'y'}))\n"
        )
        answers = {
            subprocess.run(
                [sys.executable, "-c", "import json, judging; print(json.dumps(judging.found.parts()))"],
                env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for seed in ("1", "2", "3")
        }
        assert len(answers) == 1
        assert "opaque" not in answers.pop()

    def test_a_record_says_which_ready_made_checks_there_were(self):
        parts = parts_with(check=[checks.shape(3, ...), is_calm], check_input=checks.finite())

        assert parts["check"] == {
            "output": ["shape(3, ...)", of_function(is_calm)],
            "input": {"Letters": ["finite()"]},
        }

    def test_an_edit_of_a_check_while_the_program_runs_is_an_error_and_not_a_mix(self, working_dir, write_files):
        module = "import luisy_dir as luisy\nfrom pipelines import Letters\n"
        module += "def is_fine(text):\n    return text != 'OLD'\n"
        module += "@luisy.interim\n@luisy.requires(Letters)\n"
        module += "@luisy.directory_task('.txt', workers=1, check=is_fine)\ndef edited(text):\n    return text\n"
        (working_dir / "edited_checks.py").write_text(module)
        write_files(working_dir / "pipelines" / "raw" / "letters", {"a.txt": b"alpha"})
        program = (
            "import luisy_dir as luisy, edited_checks, pathlib\n"
            f"luisy.set_working_dir({str(working_dir)!r})\n"
            "path = pathlib.Path(edited_checks.__file__)\n"
            "path.write_text(path.read_text().replace('OLD', 'NEWER'))\n"
            "edited_checks.edited().run()\n"
        )
        answer = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(working_dir), *sys.path])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "defines check 1 is_fine of edited, or something that it uses, has changed since" in answer.stderr

    def test_what_cannot_be_looked_into_is_said(self, letters, caplog):
        def written_to(stream, text):
            return stream.closed or text != ""

        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task(".txt", engine="serial", check=partial(written_to, io.StringIO()))
        def opaquely(text):
            return text

        with caplog.at_level("WARNING"):
            opaquely().run()
        assert "is used by check" in caplog.text


def test_the_functions_of_a_task_have_names_of_their_own():
    found = checking.Checks((is_calm, is_calm), {"a": (is_calm,), "b": (is_calm,)})

    assert list(found.functions) == [
        "check 1 is_calm", "check 2 is_calm", "check_input 1 is_calm of a", "check_input 1 is_calm of b",
    ]  # fmt: skip
