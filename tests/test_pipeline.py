"""A pipeline does what it is told with any files, without Luigi, and its report tells what became of each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import luisy_dir as luisy
from luisy_dir import errors
from luisy_dir.errands import process_each
from luisy_dir.pipeline import Pipeline, existing
from luisy_dir.policy import Policy

ENGINES = ["serial", "threads", "processes", "async"]


def read(path):
    return Path(path).read_text()


def write(text, path):
    Path(path).write_text(text)


def fail_at(word, error, text):
    if word in text:
        raise error
    return text


def die_at(word, text):
    if word in text:
        os._exit(9)
    return text


def hang_at(word, text):
    if word in text:
        time.sleep(300)
    return text


@pytest.fixture
def inputs(tmp_path):
    """Ten files, and the name of each."""
    folder = tmp_path / "in"
    folder.mkdir()
    paths = [folder / f"{number:02d}.txt" for number in range(10)]
    for number, path in enumerate(paths):
        path.write_text(f"text {number}")
    return paths


@pytest.fixture
def out(tmp_path):
    """Makes the path of an output."""
    return partial(_out, str(tmp_path / "out"))


def _out(folder, path):
    return os.path.join(folder, os.path.basename(path))


def written(tmp_path):
    folder = tmp_path / "out"
    return {path.name: path.read_text() for path in sorted(folder.iterdir())} if folder.exists() else {}


@pytest.mark.parametrize("engine", ENGINES)
def test_each_input_is_loaded_processed_and_written(inputs, out, tmp_path, engine):
    report = Pipeline(read, [str.upper, str.split, " ".join], write).run(inputs, out, engine=engine, workers=2)

    assert written(tmp_path) == {f"{number:02d}.txt": f"TEXT {number}" for number in range(10)}
    assert list(report.index) == [str(path) for path in inputs]
    assert set(report["status"]) == {"written"}
    assert report["outputs"].to_list() == [[out(path)] for path in inputs]
    assert report["output_bytes"].to_list() == [6] * 10


def test_one_function_is_as_good_as_a_list_of_one(inputs, out, tmp_path):
    Pipeline(read, str.upper, write).run(inputs, out)

    assert written(tmp_path)["03.txt"] == "TEXT 3"


def test_functions_may_be_changed_between_runs(inputs, out, tmp_path):
    pipeline = Pipeline(read, None, write)
    pipeline.ops = [str.title]

    pipeline.run(inputs, out)

    assert written(tmp_path)["03.txt"] == "Text 3"


def test_a_generator_of_functions_serves_every_input(inputs, out, tmp_path):
    Pipeline(read, (op for op in [str.upper]), write).run(inputs, out)

    assert set(written(tmp_path).values()) == {f"TEXT {number}" for number in range(10)}


@pytest.mark.parametrize("engine", ENGINES)
def test_what_fails_is_a_row_with_the_reason_and_all_others_are_done(inputs, out, tmp_path, engine):
    op = partial(fail_at, "5", ValueError("Sample error"))

    report = Pipeline(read, op, write).run(inputs, out, engine=engine, workers=2)

    assert len(written(tmp_path)) == 9
    failed = report[report["status"] == "failed"]
    assert failed[["error_type", "error"]].to_numpy().tolist() == [["ValueError", "Sample error"]]
    assert failed.index.to_list() == [str(inputs[5])]


@pytest.mark.parametrize("catch", [AttributeError, (AttributeError, TypeError), ()])
@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_that_is_not_caught_is_raised_and_the_report_is_there(inputs, out, engine, catch):
    pipeline = Pipeline(read, partial(fail_at, "text 9", ValueError("Sample error")), write)

    with pytest.raises(ValueError, match="Sample error") as raised:
        pipeline.run(inputs, out, engine=engine, workers=1, catch=catch)

    assert str(inputs[9]) in "".join(raised.value.__notes__)
    assert pipeline.report()["status"].to_list() == ["written"] * 9 + ["failed"]


def test_nothing_goes_on_after_an_error_that_is_not_caught(inputs, out, tmp_path):
    def op(text):
        if text == "text 0":
            raise ValueError(text)
        time.sleep(0.1)
        return text

    with pytest.raises(ValueError, match="text 0"):
        Pipeline(read, op, write).run(inputs, out, workers=4, catch=())
    at_once = written(tmp_path)
    time.sleep(0.5)

    assert written(tmp_path) == at_once
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("luisy_dir")]


def test_more_failures_than_are_allowed_end_it(inputs, out, caplog):
    pipeline = Pipeline(read, partial(fail_at, "text", ValueError("bad")), write)

    with pytest.raises(errors.ItemsFailedError, match=r"3 of 10 items failed, where max_errors allows 2"):
        pipeline.run(inputs, out, engine="serial", max_errors=2)

    assert pipeline.report()["status"].to_list() == ["failed"] * 3
    assert "3 items failed. See why: report()" in caplog.text


def test_the_report_of_a_run_has_no_rows_of_another(inputs, out):
    pipeline = Pipeline(read, partial(fail_at, "text 5", ValueError("bad")), write)
    with pytest.raises(ValueError, match="bad"):
        pipeline.run(inputs, out, catch=())

    report = pipeline.run(inputs[:1], out)

    assert list(report.index) == [str(inputs[0])]


def test_without_a_run_there_is_no_report():
    with pytest.raises(errors.DefinitionError, match="has not been run"):
        Pipeline(read).report()


def test_abort_ends_it_whatever_is_caught(inputs, out):
    with pytest.raises(luisy.Abort):
        Pipeline(read, partial(fail_at, "text 5", luisy.Abort("no use")), write).run(inputs, out)


def test_no_inputs_make_an_empty_report_with_all_columns(out):
    report = Pipeline(read, None, write).run([], out)

    full = Pipeline(str).run(["a"])
    assert len(report) == 0
    assert report.dtypes.to_dict() == full.dtypes.to_dict()


class TestSkipping:
    @pytest.mark.parametrize("engine", ENGINES)
    def test_what_is_there_is_not_done_again(self, inputs, out, tmp_path, engine):
        pipeline = Pipeline(read, str.upper, write)
        pipeline.run(inputs, out)
        before = {path: os.stat(path).st_mtime_ns for path in (tmp_path / "out").iterdir()}

        report = pipeline.run(inputs, out, skip=existing, engine=engine)

        assert set(report["status"]) == {"skipped"}
        assert {path: os.stat(path).st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
        assert set(report["reason"]) == {"existing says that it need not be done"}

    def test_what_load_does_not_know_is_skipped(self, inputs, out):
        report = Pipeline(lambda path: None, None, write).run(inputs, out)

        assert set(report["status"]) == {"skipped"}

    def test_a_skip_function_that_raises_costs_its_input(self, inputs, out):
        def skip(inpath, outpath):
            return 1 / (not str(inpath).endswith("05.txt"))

        report = Pipeline(read, None, write).run(inputs, out, skip=skip)

        assert report["status"].value_counts().to_dict() == {"skipped": 9, "failed": 1}

    def test_a_path_function_that_raises_costs_its_input(self, inputs, out, tmp_path):
        def path_func(path):
            return fail_at("05", KeyError("05"), out(path))

        pipeline = Pipeline(read, None, write)

        assert pipeline.run(inputs, path_func)["status"].to_list() == ["written"] * 5 + ["failed"] + ["written"] * 4
        with pytest.raises(KeyError):
            pipeline.run(inputs, path_func, catch=())


class TestItem:
    def test_what_functions_note_is_a_column(self, inputs, out):
        def measure(text, item):
            item.meta["length"] = len(text)
            item.meta["name"] = Path(item.outpath).name
            return text

        report = Pipeline(read, measure, write).run(inputs, out)

        assert report["length"].to_list() == [6] * 10
        assert report["name"].to_list() == [path.name for path in inputs]

    def test_what_was_noted_before_a_failure_is_kept(self, inputs, out):
        def measure(text, item):
            item.meta["length"] = len(text)
            raise ValueError

        assert set(Pipeline(read, measure, write).run(inputs, out)["length"]) == {6}

    def test_what_cannot_be_kept_fails_the_input_before_anything_is_written(self, inputs, out, tmp_path):
        def note(text, item):
            item.meta["status"] = "mine"
            return text

        report = Pipeline(read, note, write).run(inputs[:1], out)

        assert report["status"].to_list() == ["failed"]
        assert report["outputs"].to_list() == [[]]
        assert written(tmp_path) == {}

    @pytest.mark.parametrize("engine", ENGINES)
    def test_random_numbers_do_not_depend_on_the_engine(self, inputs, engine):
        def draw(text, item):
            item.meta["drawn"] = int(item.rng.integers(1 << 40))
            return text

        drawn = Pipeline(read, draw).run(inputs, engine=engine, workers=2, seed=3)["drawn"]

        again = Pipeline(read, draw).run(inputs, engine="serial", seed=3)["drawn"]
        other = Pipeline(read, draw).run(inputs, engine="serial", seed=4)["drawn"]
        assert drawn.to_list() == again.to_list() != other.to_list()

    def test_none_rejects_and_later_functions_are_not_called(self, inputs, out, tmp_path):
        called = []

        report = Pipeline(read, [lambda text: None, called.append], write).run(inputs, out, engine="serial")

        assert set(report["status"]) == {"rejected"}
        assert (called, written(tmp_path)) == ([], {})

    def test_nothing_needs_to_be_written(self, inputs, out, tmp_path):
        report = Pipeline(read, lambda text: luisy.NoOutput(), write).run(inputs, out)

        assert set(report["status"]) == {"written"}
        assert written(tmp_path) == {}


class TestWriting:
    def test_an_output_is_whole_or_not_there(self, inputs, out, tmp_path):
        def half(text, path):
            Path(path).write_text(text[:3])
            raise OSError("cut short")

        Pipeline(read, None, write).run(inputs[:1], out)
        Pipeline(read, None, half).run(inputs, out)

        assert written(tmp_path) == {"00.txt": "text 0"}

    def test_the_writer_gets_a_name_with_the_same_suffix_and_of_the_same_kind(self, inputs, tmp_path):
        seen = []

        def note(text, path):
            seen.append(path)
            Path(path).write_text(text)

        Pipeline(read, None, note).run(inputs[:1], lambda path: tmp_path / "out" / "image.tar.gz")
        Pipeline(read, None, note).run(inputs[:1], lambda path: str(tmp_path / "out" / "other"))

        assert isinstance(seen[0], Path)
        assert seen[0].name.endswith(".tar.gz")
        assert isinstance(seen[1], str)
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"image.tar.gz", "other"}

    def test_a_writer_that_must_know_the_name_gets_it(self, inputs, out):
        seen = []

        Pipeline(read, None, lambda text, path: (seen.append(path), write(text, path)), atomic=False).run(
            inputs[:1], out
        )

        assert seen == [out(inputs[0])]

    def test_a_writer_that_writes_elsewhere_is_told_so(self, inputs, out):
        report = Pipeline(read, None, lambda text, path: None).run(inputs[:1], out)

        assert report["error_type"].to_list() == ["OutputError"]
        assert "has written nothing" in report["error"].iloc[0]

    def test_an_output_that_is_a_url_is_the_writers_affair(self, inputs):
        seen = []

        report = Pipeline(read, None, lambda text, path: seen.append(path)).run(
            inputs[:1], lambda path: f"s3://bucket/{path.name}"
        )

        assert seen == ["s3://bucket/00.txt"]
        assert report["outputs"].to_list() == [["s3://bucket/00.txt"]]
        assert not os.path.exists("s3:")

    def test_two_inputs_for_one_output_are_refused_before_any_work(self, inputs, tmp_path):
        with pytest.raises(errors.KeyCollisionError, match=r"00\.txt.* and .*01\.txt.* would both be written as"):
            Pipeline(read, None, write).run(inputs, lambda path: tmp_path / "out" / ("same" if path else ""))

        assert written(tmp_path) == {}

    def test_an_input_is_never_replaced(self, inputs):
        with pytest.raises(errors.OutputError, match="would replace the input"):
            Pipeline(read, str.upper, write).run(inputs, lambda path: path)

        assert inputs[0].read_text() == "text 0"

    def test_an_input_that_is_given_often_is_done_once(self, inputs, out, tmp_path):
        report = Pipeline(read, None, write).run(inputs[:1] * 1000, out, workers=100)

        assert len(report) == 1
        assert written(tmp_path) == {"00.txt": "text 0"}

    def test_where_to_write_must_be_said(self, inputs):
        with pytest.raises(errors.DefinitionError, match="nothing says where"):
            Pipeline(read, None, write).run(inputs)

    def test_what_a_killed_program_left_half_written_goes_at_the_next_run(self, inputs, out, tmp_path):
        program = (
            "import sys, time; from pathlib import Path; from luisy_dir.pipeline import Pipeline\n"
            "def slow(text, path):\n    Path(path).write_text('half'); print('begun', flush=True); time.sleep(60)\n"
            f"Pipeline(lambda p: p, None, slow).run(['a.txt'], lambda p: {str(tmp_path / 'out' / '00.txt')!r})\n"
        )
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert set(written(tmp_path).values()) == {"half"}
        assert "00.txt" not in written(tmp_path)

        Pipeline(read, None, write).run(inputs[:1], out, skip=existing)

        assert written(tmp_path) == {"00.txt": "text 0"}


class TestWorkersThatDie:
    """On ``processes`` an input that ends its worker, or hangs, is one row."""

    @pytest.fixture
    def inputs(self, tmp_path):
        folder = tmp_path / "in"
        folder.mkdir()
        paths = [folder / f"{number:02d}.txt" for number in range(30)]
        for number, path in enumerate(paths):
            path.write_text(f"text {number:02d}.")
        return paths

    def test_it_costs_the_input_that_it_had_in_hand(self, inputs, out, tmp_path):
        report = Pipeline(read, partial(die_at, "05"), write).run(inputs, out, engine="processes", workers=2)

        assert len(written(tmp_path)) == 29
        assert report["status"].to_list() == ["written"] * 5 + ["failed"] + ["written"] * 24
        assert report["error"].iloc[5] == "the worker ended with exit code 9, while it had this item in hand"

    def test_one_that_hangs_is_ended(self, inputs, out, tmp_path):
        report = Pipeline(read, partial(hang_at, "05"), write).run(
            inputs, out, engine="processes", workers=2, timeout=1.0
        )

        assert len(written(tmp_path)) == 29
        assert report["error_type"].dropna().to_list() == ["Timeout"]

    def test_it_is_tried_as_often_as_retries_says(self, inputs, out):
        report = Pipeline(read, partial(die_at, "05"), write).run(
            inputs, out, engine="processes", workers=2, retries=2, retry_delay=0.01
        )

        assert report["attempts"].iloc[5] == 3


class TestMemory:
    def test_no_more_inputs_are_in_hand_than_fit(self, inputs):
        lock, in_hand, most = threading.Lock(), set(), []

        def hold(text):
            with lock:
                in_hand.add(text)
                most.append(len(in_hand))
            time.sleep(0.05)
            with lock:
                in_hand.remove(text)
            return text

        Pipeline(read, hold).run(inputs, workers=8, item_memory=300, memory=1000)

        assert max(most) == 3

    def test_one_that_is_too_large_is_done_alone(self, inputs, caplog):
        report = Pipeline(read).run(inputs, workers=8, item_memory=lambda item: "2 kB", memory="1 kB")

        assert set(report["status"]) == {"written"}
        assert caplog.text.count("takes 2,000 bytes of memory") == 1

    def test_the_report_says_what_was_taken(self, inputs):
        report = Pipeline(read).run(inputs, engine="processes", workers=1)

        assert (report["peak_memory"] > 1_000_000).all()


def test_what_raises_is_tried_again(inputs, out):
    tried = []

    def flaky(text):
        tried.append(text)
        if tried.count(text) < 3:
            raise ConnectionError
        return text

    report = Pipeline(read, flaky, write).run(inputs, out, engine="serial", retries=2, retry_delay=0)

    assert set(report["attempts"]) == {3}
    assert set(report["status"]) == {"written"}


def test_an_executor_of_ones_own_is_left_open(inputs, out, tmp_path):
    with ThreadPoolExecutor(2) as executor:
        Pipeline(read, None, write).run(inputs, out, engine=executor)
        assert executor.submit(abs, -1).result() == 1

    assert len(written(tmp_path)) == 10


def test_arrays_pass_as_they_are(tmp_path):
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.full((2, 3), number))

    Pipeline(np.load, [np.square, np.transpose], lambda array, path: np.save(path, array)).run(
        sorted(tmp_path.glob("*.npy")), lambda path: tmp_path / "out" / path.name
    )

    assert np.load(tmp_path / "out" / "2.npy").tolist() == [[4, 4], [4, 4], [4, 4]]


def test_luigi_is_not_needed():
    program = "import sys; from luisy_dir import Pipeline; Pipeline(str).run(['a']); print('luigi' in sys.modules)"

    assert (
        subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True).stdout == "False\n"
    )


class Local:
    """Nothing that a worker could know by its name, once it says that the script defines it."""


def send_back(item):
    if item.inpath == "rejected":
        raise luisy.Reject("not wanted")
    item.value = threading.Lock() if item.inpath == "lock" else (item.inpath, np.float64(2))
    return []


@pytest.mark.parametrize("engine", ENGINES)
class TestProcessEach:
    """What is built on pipelines: any inputs, and a value for each."""

    @staticmethod
    def values(inputs, engine):
        done = {}
        process_each(
            send_back,
            inputs,
            lambda one: done.update({one.number: one}),
            policy=Policy(max_errors=1.0),
            engine=engine,
            workers=2,
            imports_main=False,
        )
        return [done[number].value for number in range(len(inputs))], [
            done[number].entry.status for number in range(len(inputs))
        ]

    def test_values_come_back_as_they_are_and_inputs_may_be_groups_or_repeated(self, engine):
        values, statuses = self.values(["a", ["b", "c"], "a"], engine)

        assert values == [("a", 2.0), (["b", "c"], 2.0), ("a", 2.0)]
        assert {type(number) for _, number in values} == {np.float64}
        assert statuses == ["written"] * 3

    def test_a_value_that_cannot_be_pickled_is_the_failure_of_its_input(self, engine):
        values, statuses = self.values(["a", "lock", "rejected", "b"], engine)

        assert values == [("a", 2.0), None, None, ("b", 2.0)]
        assert statuses == ["written", "failed", "rejected", "written"]

    def test_an_input_may_be_of_a_class_of_the_script(self, engine, monkeypatch):
        monkeypatch.setattr(Local, "__module__", "__main__")
        monkeypatch.setattr(sys.modules["__main__"], "Local", Local, raising=False)

        ((value, _),), _ = self.values([Local()], engine)

        assert isinstance(value, Local)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"load": 3}, "load is 3"), ({"load": str, "ops": [3]}, "ops has 3"), ({"load": str, "write": "x"}, "write is")],
)
def test_what_is_no_function_is_refused(wrong, told):
    with pytest.raises(errors.DefinitionError, match=told):
        Pipeline(**wrong)
