"""What Creevey and BigMultiPipe are used for works natively and in their own spelling, on every engine."""

from __future__ import annotations

import io
import operator
import os
import pipes
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.pool import ThreadPool
from pathlib import Path

import multipipes as mp
import numpy as np
import pandas as pd
import psutil
import pytest
from conftest import files_below
from PIL import Image
from pipelines import Letters, Upper
from skimage import data as photographs

import luisy_dir as luisy
from luisy_dir import errors, images
from luisy_dir.compat import bigmultipipe, creevey
from luisy_dir.compat.bigmultipipe import BigMultiPipe, num_can_process
from luisy_dir.compat.creevey.load_funcs.image import load_image_from_disk
from luisy_dir.compat.creevey.ops import image as image_ops
from luisy_dir.compat.creevey.write_funcs.image import write_image
from luisy_dir.pipeline import existing

ENGINES = ["serial", "threads", "processes"]
HOW = {
    "one": {"num_processes": 1},
    "two": {"num_processes": 2},
    "threads": {"num_processes": 2, "PoolClass": ThreadPool},
}
COLUMNS = ["outpath", "skipped", "error", "time_finished"]


class Native:
    """A pipeline in our own spelling."""

    def __init__(self, load, ops, write):
        self.pipeline = luisy.Pipeline(load, ops, write)

    def run(self, inpaths, path_func, *, skips=False, catch=Exception, **options):
        catch = () if catch is None else catch
        self.pipeline.run(inpaths, path_func, skip=existing if skips else None, catch=catch, **options)

    def rows(self):
        """Of each input: its path, whether it was skipped, and the error as Python shows it."""
        report = self.pipeline.report()
        failed = report["status"] == "failed"
        told = [f"{kind}({error!r})" for kind, error in zip(report["error_type"], report["error"], strict=True)]
        shown = [text if is_failed else None for text, is_failed in zip(told, failed, strict=True)]
        return list(zip(report.index, report["status"] == "skipped", shown, strict=True))


class Called:
    """The same as Creevey's successor has it: the pipeline is called."""

    make = creevey.Pipeline

    def __init__(self, load, ops, write):
        self.pipeline = self.make(load_func=load, ops=ops, write_func=write)

    def run(self, inpaths, path_func, *, skips=False, catch=Exception, workers=2, **options):
        self.pipeline(
            inpaths, path_func, workers, skip_func=existing if skips else None, exceptions_to_catch=catch, **options
        )

    def rows(self):
        report = self.pipeline.run_report_
        errors = [None if pd.isna(error) else error for error in report["error"]]
        return list(zip(report.index, report["skipped"], errors, strict=True))


class Run(Called):
    """The same as Creevey has it: the pipeline has a method."""

    def run(self, inpaths, path_func, *, skips=False, catch=Exception, workers=2, **options):
        self.report = self.pipeline.run(
            inpaths=inpaths, path_func=path_func, n_jobs=workers, skip_existing=skips, exceptions_to_catch=catch,
            **options,
        )  # fmt: skip

    def rows(self):
        rows = super().rows()
        if hasattr(self, "report"):
            assert self.report["skipped_existing"].to_list() == [int(is_skipped) for _, is_skipped, _ in rows]
            assert self.report["exception_handled"].to_list() == [int(error is not None) for *_, error in rows]
        return rows


class Logging(Called):
    """With functions that may log."""

    make = creevey.CustomReportingPipeline


SPELLINGS = [Native, Called, Run]
on_every_engine = pytest.mark.parametrize("engine", ENGINES)
in_every_spelling = pytest.mark.parametrize("spelling", SPELLINGS)


@pytest.fixture
def texts(tmp_path):
    """Makes files with these contents."""

    def make(*contents, folder="in"):
        (tmp_path / folder).mkdir(exist_ok=True)
        paths = [tmp_path / folder / f"{number:03d}.txt" for number in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.write_text(content)
            os.utime(path, (1_000_000, 1_000_000))
        return [str(path) for path in paths]

    return make


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def in_folder(folder, path, suffix=None):
    path = Path(path)
    return os.path.join(folder, path.name if suffix is None else path.stem + suffix)


def files_in(folder):
    """All of them, those that are hidden too."""
    return sorted(os.listdir(folder))


# -- arrays, with functions before and after -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """Ten large arrays, each full of its number."""
    folder = tmp_path_factory.mktemp("arrays")
    paths = [str(folder / f"big_array_{number}.npy") for number in range(10)]
    for number, path in enumerate(paths):
        np.save(path, number + np.zeros((1000, 2000)))
    return paths


VALUES = [0, 10, None, 35, 40, 50, 60, 70, 80, 90]
LISTS = {
    "pre_process_list": [mp.reject, mp.boost_later],
    "post_process_list": [mp.later_booster, mp.median, mp.average],
}


SEVERAL = [pipes.reject_two, pipes.boost_later, pipes.ten_times, pipes.later_booster, pipes.measure]


class TestLargeArrays:
    """One is rejected, one is raised later, all are measured."""

    @staticmethod
    def assert_written(out):
        assert files_in(out) == [
            f"big_array_{number}_bmp.npy" for number, value in enumerate(VALUES) if value is not None
        ]
        saved = np.load(out / "big_array_3_bmp.npy")
        assert (saved.shape, saved.dtype, saved.min(), saved.max()) == ((1000, 2000), np.float64, 35, 35)

    @pytest.mark.parametrize("ops", [pipes.all_at_once, SEVERAL], ids=["one function", "several"])
    @pytest.mark.parametrize(("engine", "workers"), [("serial", 1), ("threads", 2), ("processes", 1), ("processes", 2)])
    def test_a_pipeline_gives_the_documented_numbers(self, arrays, out, ops, engine, workers):
        report = luisy.Pipeline(np.load, ops, pipes.write_array).run(
            arrays, partial(in_folder, out, suffix="_bmp.npy"), engine=engine, workers=workers
        )

        assert list(report.index) == arrays
        for name in ("median", "average"):
            assert [None if pd.isna(value) else value for value in report[name]] == VALUES
        assert report["status"].to_list() == ["rejected" if value is None else "written" for value in VALUES]
        self.assert_written(out)

    @pytest.mark.parametrize(("cls", "lists"), [(mp.ArraysAtOnce, {}), (mp.Arrays, LISTS)])
    @pytest.mark.parametrize("how", HOW)
    def test_a_multipipe_does(self, arrays, out, how, cls, lists):
        multipipe = cls(boost_target=3, outdir=str(out), **lists, **HOW[how])

        pout = multipipe.pipeline(arrays, reject_value=2, boost_amount=5)

        names = [str(out / f"big_array_{number}_bmp.npy") for number in range(10)]
        assert pout == [
            (None, {}) if value is None else (name, {"median": value, "average": value})
            for name, value in zip(names, VALUES, strict=True)
        ]
        pruned, names = bigmultipipe.prune_pout(pout, arrays)
        assert len(pruned) == len(names) == 9
        assert arrays[2] not in names
        self.assert_written(out)


# -- what functions say ----------------------------------------------------------------------------------------------


@on_every_engine
class TestStreams:
    """Data, control and metadata of a pipeline."""

    def test_what_is_rejected_is_not_worked_on(self, texts, out, engine):
        report = luisy.Pipeline(pipes.read_text, [lambda text: None, pipes.never], pipes.write_text).run(
            texts("a", "b"), partial(in_folder, out), engine=engine, workers=2
        )

        assert report["status"].to_list() == ["rejected"] * 2
        assert [len(row) for row in report["outputs"]] == [0, 0]
        assert set(report.columns) == set(luisy.Pipeline(str).run([]).columns)
        assert files_in(out) == []

    def test_metadata_may_come_without_an_output(self, texts, out, engine):
        report = luisy.Pipeline(pipes.read_text, [pipes.note_x, pipes.never], pipes.write_text).run(
            texts("a", "b"), partial(in_folder, out), engine=engine, workers=2
        )

        assert report["x"].to_list() == [1, 1]
        assert report["status"].to_list() == ["written"] * 2
        assert files_in(out) == []

    @pytest.mark.parametrize(
        ("note", "noted"),
        [(pipes.note_big, {"used": "L"}), (pipes.keep_big, {"big": "LARGE", "used": "L"})],
        ids=["control", "meta"],
    )
    def test_what_only_later_functions_need_is_not_in_the_report(self, texts, engine, note, noted):
        report = luisy.Pipeline(pipes.read_text, [note, pipes.use_big]).run(texts("a"), engine=engine)

        plain = luisy.Pipeline(str).run(["a"])
        assert report.drop(columns=plain.columns).to_dict("records") == [noted]

    def test_a_group_is_one_row_with_one_output(self, texts, out, engine):
        report = luisy.Pipeline(pipes.read_group, "".join, pipes.write_text).run(
            [texts("0", "1")], lambda paths: out / "g.txt", engine=engine
        )

        assert len(report) == 1
        assert [len(sources) for sources in report["sources"]] == [2]
        assert (out / "g.txt").read_text() == "01"

    def test_names_are_what_a_function_says_and_folders_are_made(self, texts, out, engine):
        def named(path):
            return out / "new" / "deep" / "renamed.txt"

        luisy.Pipeline(pipes.read_text, None, pipes.write_text).run(texts("a"), named, engine=engine)

        assert files_below(out) == ["new/deep/renamed.txt"]


@pytest.mark.parametrize("how", HOW)
class TestNamesOfAMultipipe:
    def test_metadata_may_name_the_output(self, texts, out, how):
        multipipe = mp.Texts(outdir=str(out), post_process_list=mp.rename, **HOW[how])

        pout = multipipe.pipeline(texts("a"), names={"outname": "renamed.txt"})

        assert pout[0][0] == str(out / "renamed.txt")
        assert files_in(out) == ["renamed.txt"]

    def test_metadata_may_name_a_folder_and_have_it_made(self, texts, out, how):
        names = {"outdir": str(out / "new"), "create_outdir": True}

        mp.Texts(outdir=str(out), post_process_list=mp.rename, **HOW[how]).pipeline(texts("a", "b"), names=names)

        assert files_below(out) == ["new/000_bmp.txt", "new/001_bmp.txt"]


class TestNumberOfWorkers:
    @pytest.mark.parametrize(
        ("facts", "number"),
        [
            ({"num_to_process": 10, "num_processes": 8, "mem_available": 1000, "process_size": 300}, 3),
            ({"num_to_process": 3, "num_processes": 8}, 3),
            ({"num_processes": 0.5}, 1),
        ],
    )
    def test_a_multipipe_has_as_many_as_files_cpus_and_memory_allow(self, monkeypatch, facts, number):
        monkeypatch.setattr(bigmultipipe.counting, "usable_cpus", lambda: 2)

        assert num_can_process(**facts) == number

    def test_one_that_does_not_fit_is_an_error_that_names_both_sizes(self):
        with pytest.raises(errors.MemoryShortError, match=r"2,000 bytes.* 1,000 for"):
            num_can_process(10, 8, mem_available=1000, process_size=2000)

    @pytest.mark.parametrize(("available", "most"), [(1000, 3), (200, 1)])
    def test_a_pipeline_has_no_more_in_hand_than_fit_and_one_that_does_not_alone(self, texts, available, most):
        lock, in_hand, seen = threading.Lock(), set(), []

        def hold(text):
            with lock:
                in_hand.add(text)
                seen.append(len(in_hand))
            time.sleep(0.05)
            with lock:
                in_hand.remove(text)
            return text

        report = luisy.Pipeline(pipes.read_text, hold).run(
            texts(*"abcdefghij"), workers=8, item_memory=300, memory=available
        )

        assert max(seen) == most
        assert set(report["status"]) == {"written"}

    def test_there_are_no_more_processes_than_inputs(self, texts):
        report = luisy.Pipeline(pipes.read_text, pipes.note_siblings).run(
            texts("a", "b", "c"), engine="processes", workers=8
        )

        assert max(report["siblings"]) <= 3

    @pytest.mark.parametrize("workers", [-1, 0, 0.5, True])
    def test_a_number_that_makes_no_sense_is_refused(self, texts, workers):
        with pytest.raises(ValueError, match=f"workers is {workers}"):
            luisy.Pipeline(pipes.read_text).run(texts("a"), workers=workers)


# -- images ----------------------------------------------------------------------------------------------------------


def picture(number):
    """A photograph of at least 100 rows, which is another one for each number."""
    taken = [photographs.astronaut, photographs.chelsea, photographs.coffee, photographs.rocket][number % 4]()
    return taken[number : number + 250, number : number + 300] // (1 + number // 4)


@pytest.fixture(scope="module")
def pictures():
    """Six of them as PNG, by name."""
    found = {}
    for number in range(6):
        buffer = io.BytesIO()
        Image.fromarray(picture(number)).save(buffer, "PNG")
        found[f"picture{number}"] = buffer.getvalue()
    return found


@pytest.fixture(scope="module")
def urls(pictures):
    """Where a server has them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(pictures[self.path.strip("/")])))
            self.end_headers()
            self.wfile.write(pictures[self.path.strip("/")])

        def log_message(self, *_):
            """Say nothing."""

    opened = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=opened.serve_forever)
    thread.start()
    yield [f"http://127.0.0.1:{opened.server_port}/{name}" for name in pictures]
    opened.shutdown()
    thread.join()
    opened.server_close()


@pytest.fixture
def files(tmp_path, pictures):
    (tmp_path / "in").mkdir()
    for name, content in pictures.items():
        (tmp_path / "in" / f"{name}.png").write_bytes(content)
    return [str(path) for path in sorted((tmp_path / "in").iterdir())]


IMAGE_FUNCTIONS = {
    Native: (images.load_image, partial(images.resize, shape=(224, 224)), images.write_image),
    Called: (load_image_from_disk, partial(image_ops.resize, shape=(224, 224)), write_image),
    Run: (load_image_from_disk, partial(image_ops.resize, shape=(224, 224)), write_image),
}


@on_every_engine
@in_every_spelling
class TestImages:
    """Images are downloaded, trimmed, resized and written; or fail."""

    def test_they_are_downloaded_trimmed_resized_and_written_and_not_again(self, urls, out, spelling, engine):
        load, resize, write = IMAGE_FUNCTIONS[spelling]
        spelled = spelling(load, [pipes.trim_bottom_100, resize], write)
        workers = 2 if engine == "processes" else 6
        go = partial(spelled.run, urls, partial(in_folder, out, suffix=".png"), engine=engine, workers=workers)

        go()

        assert spelled.rows() == [(url, False, None) for url in urls]
        assert {name: images.load_image(out / name).shape for name in files_in(out)} == {
            f"picture{number}.png": (224, 224, 3) for number in range(6)
        }
        before = states(out)
        go(skips=True)
        assert spelled.rows() == [(url, True, None) for url in urls]
        assert states(out) == before

    def test_what_always_fails_is_recorded_and_nothing_is_written(self, files, out, spelling, engine):
        load, _, write = IMAGE_FUNCTIONS[spelling]
        spelled = spelling(load, pipes.sample_error, write)

        spelled.run(files, partial(in_folder, out), engine=engine, workers=2)

        assert spelled.rows() == [(path, False, "ValueError('Sample error')") for path in files]
        assert files_in(out) == []

    @pytest.mark.parametrize("catch", [AttributeError, (AttributeError, TypeError), None])
    def test_what_is_not_caught_is_raised_and_logged_with_its_file(self, files, out, spelling, engine, catch, caplog):
        load, _, write = IMAGE_FUNCTIONS[spelling]
        spelled = spelling(load, pipes.sample_error, write)

        with pytest.raises(ValueError, match="Sample error"):
            spelled.run(files, partial(in_folder, out), engine=engine, workers=2, catch=catch)

        ((path, _, error), *_) = spelled.rows()
        assert error == "ValueError('Sample error')"
        assert any(record.levelname == "ERROR" and path in record.message for record in caplog.records)

    def test_of_what_is_skipped_nothing_is_noted(self, files, out, spelling, engine):
        """Whoever skips a file has not opened it."""
        if spelling is Native:
            spelled = Native(images.load_image, pipes.note_brightness, images.write_image)
        else:
            spelled = Logging(load_image_from_disk, image_ops.report_mean_brightness, write_image)
        go = partial(spelled.run, files, partial(in_folder, out), engine=engine)
        go()
        before = states(out)

        go(skips=True)

        frame = spelled.pipeline.report() if spelling is Native else spelled.pipeline.run_report_
        assert "mean_brightness" not in frame
        assert states(out) == before

    def test_brightness_is_a_column_that_failures_have_too(self, tmp_path, out, spelling, engine):
        """Of JPEG photographs; the values are what Pillow makes of them."""
        paths = [str(tmp_path / f"big{number}.jpg") for number in range(1, 7)]
        for number, path in enumerate(paths):
            Image.fromarray(picture(number)).save(path)
        if spelling is Native:
            ops = [pipes.note_brightness, pipes.fail_where_dark]
            spelled, usual = Native(images.load_image, ops, images.write_image), luisy.Pipeline(str).run([]).columns
        else:
            ops = [image_ops.record_mean_brightness, pipes.fail_where_dark]
            spelled, usual = Logging(load_image_from_disk, ops, write_image), COLUMNS

        spelled.run(paths, partial(in_folder, out), engine=engine)

        frame = spelled.pipeline.report() if spelling is Native else spelled.pipeline.run_report_
        assert list(frame.columns) == [*usual, "mean_brightness"]
        expected = [float(np.asarray(Image.open(path).convert("L"), dtype="float64").mean()) for path in paths]
        assert frame["mean_brightness"].to_list() == pytest.approx(expected, abs=0.5)
        is_dark = [np.asarray(Image.open(path)).mean() < 60 for path in paths]
        assert [error is not None for *_, error in spelled.rows()] == is_dark
        assert 0 < sum(is_dark) < 6


@on_every_engine
@in_every_spelling
def test_nothing_goes_on_after_an_error_that_is_raised(texts, out, spelling, engine):
    """And the report has what was done until then."""
    paths = texts(*["a"] * 3, "raise", *["a"] * 20)
    spelled = spelling(pipes.read_text, pipes.pause, pipes.write_text)

    with pytest.raises(ValueError, match="Sample error"):
        spelled.run(paths, partial(in_folder, out), engine=engine, workers=2, catch=None)
    at_once = files_in(out)
    time.sleep(0.6)

    assert files_in(out) == at_once
    assert len(at_once) < 23
    assert (paths[3], False, "ValueError('Sample error')") in spelled.rows()
    assert {os.path.basename(path) for path, _, error in spelled.rows() if error is None} <= set(at_once)


@on_every_engine
@in_every_spelling
class TestOneOutput:
    def test_one_image_a_thousand_times_is_written_once_and_whole(self, tmp_path, out, spelling, engine):
        load, _, write = IMAGE_FUNCTIONS[spelling]
        path = str(tmp_path / "a.png")
        Image.fromarray(picture(0)[:32, :32]).save(path)
        spelled = spelling(load, None, write)

        spelled.run([path] * 1000, partial(in_folder, out), engine=engine, workers=100 if engine == "threads" else 2)

        assert spelled.rows() == [(path, False, None)]
        assert files_in(out) == ["a.png"]
        assert images.load_image(out / "a.png").shape == (32, 32, 3)

    def test_two_inputs_for_it_are_refused_before_any_work(self, texts, out, spelling, engine):
        paths = texts("a", "b")
        spelled = spelling(pipes.never, None, pipes.write_text)

        with pytest.raises(errors.KeyCollisionError) as raised:
            spelled.run(paths, lambda path: out / "same.txt", engine=engine)

        assert all(path in str(raised.value) for path in paths)
        assert files_in(out) == []


@pytest.mark.parametrize("load", [images.load_image, load_image_from_disk])
class TestLoadedImages:
    @pytest.mark.parametrize(("name", "colour"), [("red", (255, 0, 0)), ("green", (0, 255, 0)), ("blue", (0, 0, 255))])
    def test_colours_are_red_green_and_blue(self, tmp_path, load, name, colour):
        Image.new("RGB", (4, 3), colour).save(tmp_path / f"{name}.png")

        assert (load(tmp_path / f"{name}.png") == colour).all()

    @pytest.mark.parametrize(
        ("mode", "size", "shape"),
        [("L", (25, 34), (34, 25)), ("RGB", (32, 32), (32, 32, 3)), ("RGBA", (32, 32), (32, 32, 4))],
    )
    def test_shapes_are_those_of_the_file(self, tmp_path, load, mode, size, shape):
        Image.new(mode, size).save(tmp_path / "a.png")

        assert load(tmp_path / "a.png").shape == shape


@pytest.mark.parametrize(
    ("trim", "crop", "hashed"),
    [
        (images.trim_padding, images.center_crop, images.difference_hash),
        (image_ops.trim_padding, image_ops.centercrop, image_ops.calculate_dhash),
    ],
    ids=["native", "Creevey"],
)
class TestImageFunctions:
    @pytest.mark.parametrize(
        ("colour", "sides", "comparison", "limit"),
        [((251, 252, 253), (7, 11, 13, 17), operator.gt, 0.95), ((0, 0, 0), (3, 3, 3, 3), operator.lt, 0.05)],
    )
    def test_padding_of_a_colour_is_trimmed(self, trim, crop, hashed, colour, sides, comparison, limit):
        top, bottom, left, right = sides
        image = picture(0)[:32, :32].clip(60, 200)
        padded = np.empty((32 + top + bottom, 32 + left + right, 3), "uint8")
        padded[:] = colour
        padded[top : top + 32, left : left + 32] = image

        assert np.array_equal(trim(padded, comparison, limit), image)

    @pytest.mark.parametrize(
        ("shape", "factor", "expected"),
        [((32, 32, 3), 0.5, (16, 16, 3)), ((34, 25, 3), 0.5, (17, 12, 3)), ((32, 32, 3), 0.6, (19, 19, 3))],
    )
    def test_the_middle_is_cut_out(self, trim, crop, hashed, shape, factor, expected):
        assert crop(np.zeros(shape, "uint8"), factor).shape == expected

    def test_hashes_tell_near_duplicates_from_others(self, trim, crop, hashed):
        taken = [photographs.astronaut(), photographs.chelsea(), photographs.coffee()]
        hashes = [hashed(image) for image in taken]
        small = [hashed(images.resize(image, shape=(24, 24))) for image in taken]

        assert all(48 < value.bit_length() <= 64 for value in hashes)
        assert all((one ^ other).bit_count() < 10 for one, other in zip(hashes, small, strict=True))
        assert all((one ^ other).bit_count() > 10 for one in hashes for other in hashes if one is not other)


# -- what goes wrong -------------------------------------------------------------------------------------------------


@in_every_spelling
class TestTrouble:
    """What one file does costs that file."""

    @pytest.mark.parametrize(("word", "told"), [("exit", "exit code 9"), ("kill", "SIGKILL")])
    def test_a_worker_that_dies_costs_one_file_of_thirty(self, texts, out, spelling, word, told):
        paths = texts(*["a"] * 5, word, *["a"] * 24)
        spelled = spelling(pipes.read_text, pipes.trouble, pipes.write_text)

        spelled.run(paths, partial(in_folder, out), engine="processes", workers=2)

        rows = spelled.rows()
        assert [path for path, *_ in rows] == paths
        assert [number for number, (*_, error) in enumerate(rows) if error is not None] == [5]
        assert rows[5][2].startswith("WorkerDied(")
        assert told in rows[5][2]
        assert len(files_in(out)) == 29

    def test_a_file_that_hangs_is_ended(self, texts, out, spelling):
        paths = texts(*["a"] * 5, "hang", *["a"] * 24)
        spelled = spelling(pipes.read_text, pipes.trouble, pipes.write_text)

        spelled.run(paths, partial(in_folder, out), engine="processes", workers=2, timeout=1.0)

        rows = spelled.rows()
        assert [number for number, (*_, error) in enumerate(rows) if error is not None] == [5]
        assert rows[5][2].startswith("Timeout(")
        assert len(files_in(out)) == 29
        assert [child for child in psutil.Process().children() if "resource_tracker" not in str(child.cmdline())] == []

    @on_every_engine
    def test_one_bad_file_among_a_hundred_is_one_row(self, texts, out, spelling, engine):
        paths = texts(*["a"] * 30, "raise", *["a"] * 69)
        spelled = spelling(pipes.read_text, pipes.trouble, pipes.write_text)

        spelled.run(paths, partial(in_folder, out), engine=engine, workers=2)

        assert spelled.rows() == [
            (path, False, "ValueError('Sample error')" if number == 30 else None) for number, path in enumerate(paths)
        ]
        assert len(files_in(out)) == 99

    @on_every_engine
    def test_after_a_run_that_failed_the_report_is_of_the_next(self, texts, out, spelling, engine):
        paths = texts("raise", "a")
        spelled = spelling(pipes.read_text, pipes.trouble, pipes.write_text)
        with pytest.raises(ValueError, match="Sample error"):
            spelled.run(paths, partial(in_folder, out), engine=engine, catch=None)

        spelled.run(paths[1:], partial(in_folder, out), engine=engine)

        assert spelled.rows() == [(paths[1], False, None)]


class TestFrames:
    """The report as a frame, with whichever pandas."""

    @staticmethod
    def frame(spelling, paths, out):
        if spelling is BigMultiPipe:
            multipipe = mp.Texts(outdir=str(out), num_processes=1, post_process_list=mp.note_keywords, word="b")
            multipipe.pipeline(paths)
            return multipipe.report()
        spelled = spelling(pipes.read_text, pipes.trouble, pipes.write_text)
        spelled.run(paths, partial(in_folder, out))
        if spelling is Run:
            return spelled.report
        return spelled.pipeline.report() if spelling is Native else spelled.pipeline.run_report_

    @pytest.mark.parametrize("spelling", [*SPELLINGS, BigMultiPipe])
    def test_of_no_inputs_it_has_all_columns_and_types(self, texts, out, spelling):
        full = self.frame(spelling, texts("a", "raise"), out).drop(columns=["word", "in_name"], errors="ignore")

        empty = self.frame(spelling, [], out)

        assert len(empty) == 0
        assert empty.dtypes.to_dict() == full.dtypes.to_dict()
        assert empty.index.name == full.index.name
        assert pd.api.types.is_string_dtype(empty.index) == pd.api.types.is_string_dtype(full.index)

    @pytest.mark.parametrize("spelling", [*SPELLINGS, BigMultiPipe])
    def test_it_goes_to_parquet_and_csv(self, texts, out, tmp_path, spelling):
        paths = texts("a", "raise", "b")
        report = self.frame(spelling, paths, out)

        report.to_parquet(tmp_path / "report.parquet")
        report.to_csv(tmp_path / "report.csv")

        again = pd.read_parquet(tmp_path / "report.parquet")
        assert list(again.index) == list(report.index) == paths
        assert again.dtypes.astype(str).to_dict() == report.dtypes.astype(str).to_dict()
        told = pd.read_csv(tmp_path / "report.csv", index_col=0)
        assert list(told.index) == paths
        assert list(told.columns) == list(report.columns)

    @pytest.mark.parametrize("spelling", [Native, Called])
    def test_where_none_fails_and_where_all_do_it_has_the_same_types(self, texts, out, spelling):
        good, bad = self.frame(spelling, texts("a"), out), self.frame(spelling, texts("raise", folder="bad"), out)

        assert good.dtypes.to_dict() == bad.dtypes.to_dict()
        assert pd.concat([good, bad]).dtypes.to_dict() == good.dtypes.to_dict()

    def test_of_an_empty_folder_a_task_is_complete_and_its_report_has_all_columns(self, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_ON_EMPTY", "allow")
        os.makedirs(Letters().output().path)
        monkeypatch.setattr(Letters, "complete", lambda self: True)  # a folder that may be empty

        Upper().run()

        assert Upper().complete()
        assert len(Upper().report()) == 0
        assert list(Upper().report().columns) == list(luisy.Pipeline(str).run(["a"]).columns)


# -- a program that is killed ----------------------------------------------------------------------------------------


HEAD = """
import os, sys
from functools import partial
import luisy_dir as luisy, multipipes, pipes
from luisy_dir.compat import creevey
engine, folder, *paths = sys.argv[1:]
journal = os.environ.get("JOURNAL") or None
def out(path):
    return os.path.join(folder, os.path.basename(path))
"""
PROGRAMS = {
    Native: (
        "luisy.Pipeline(pipes.read_text, [pipes.note_length, pipes.note_call], pipes.hang_while_writing).run("
        "paths, out, engine=engine, workers=1, journal=journal)"
    ),
    Run: (
        "creevey.Pipeline(pipes.read_text, [pipes.note_call], pipes.hang_while_writing).run("
        "paths, out, n_jobs=1, skip_existing=True, engine=engine, journal=journal)"
    ),
    BigMultiPipe: "multipipes.Hanging(outdir=folder, num_processes=int(engine)).pipeline(paths)",
}


def again(spelling):
    """The pipeline of the program, here."""
    if spelling is Native:
        return Native(pipes.read_text, [pipes.note_length, pipes.note_call], pipes.hang_while_writing)
    return spelling(pipes.read_text, [pipes.note_call], pipes.hang_while_writing)


@pytest.fixture
def paths(texts, tmp_path, monkeypatch):
    """Four files, and where functions note what they do."""
    monkeypatch.setenv("HANGS", str(tmp_path / "hangs"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return texts("a", "b", "c", "d")


@pytest.fixture
def calls(tmp_path):
    """Says what was processed since it was asked last."""

    def take():
        noted = tmp_path / "calls"
        words = noted.read_text().split() if noted.exists() else []
        noted.unlink(missing_ok=True)
        return words

    return take


@pytest.fixture
def kill(tmp_path, out, paths):
    """Starts a program, and kills it while it writes the third file."""

    def run(spelling, engine, journal=""):
        (tmp_path / "program.py").write_text(f"{HEAD}\nif __name__ == '__main__':\n    {PROGRAMS[spelling]}\n")
        environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__), "JOURNAL": str(journal)}
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "program.py"), engine, str(out), *paths], env=environment
        )
        while not (tmp_path / "hangs").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until_nobody_writes(out)

    return run


def wait_until_nobody_writes(folder):
    """A worker ends by itself soon after its parent."""
    pids = {int(name.partition(".txt")[0].split("-")[-2]) for name in files_in(folder) if name.startswith(".luisy-")}
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def states(folder):
    """What tells whether a file was written again."""
    found = {name: os.stat(folder / name) for name in files_below(folder)}
    return {name: (state.st_ino, state.st_size, state.st_mtime_ns) for name, state in found.items()}


class TestKilledPrograms:
    @on_every_engine
    @pytest.mark.parametrize("spelling", [Native, Run])
    def test_half_an_output_has_no_name_and_the_next_run_goes_on(self, paths, out, calls, kill, spelling, engine):
        kill(spelling, engine)
        before = states(out)
        assert list(before) == ["000.txt", "001.txt"]
        calls()

        spelled = again(spelling)
        spelled.run(paths, partial(in_folder, out), engine=engine, workers=1, skips=True)

        assert calls() == ["c", "d"]
        assert [is_skipped for _, is_skipped, _ in spelled.rows()] == [True, True, False, False]
        assert files_in(out) == ["000.txt", "001.txt", "002.txt", "003.txt"]
        assert before.items() <= states(out).items()
        assert (out / "002.txt").read_text() == "C"

    @on_every_engine
    @pytest.mark.parametrize("spelling", [Native, Run])
    def test_with_a_journal_it_knows_what_was_finished(self, paths, out, calls, kill, tmp_path, spelling, engine):
        journal = tmp_path / "journals" / "texts"
        kill(spelling, engine, journal)
        (out / "000.txt").write_text("")  # somebody has cut it short
        before = states(out)
        calls()

        spelled = again(spelling)
        spelled.run(paths, partial(in_folder, out), engine=engine, workers=1, skips=True, journal=journal)

        assert calls() == ["a", "c", "d"]
        assert [(out / name).read_text() for name in files_in(out)] == ["A", "B", "C", "D"]
        assert states(out)["001.txt"] == before["001.txt"]
        assert [path for path, *_ in spelled.rows()] == paths

    @pytest.mark.parametrize("processes", ["1", "2"])
    def test_a_multipipe_begins_anew_and_replaces_what_is_torn(self, paths, out, calls, kill, processes):
        """Its own ``file_write`` gets the name itself, so that half a file lies there until then."""
        kill(BigMultiPipe, processes)
        assert (out / "002_bmp.txt").read_text() == "half"
        calls()

        pout = mp.Hanging(outdir=str(out), num_processes=1).pipeline(paths)

        assert calls() == ["a", "b", "c", "d"]
        assert [Path(name).read_text() for name, _ in pout] == ["A", "B", "C", "D"]
        assert files_in(out) == [f"00{number}_bmp.txt" for number in range(4)]


class TestJournal:
    """What is done is noted, and holds while nothing has changed."""

    @pytest.fixture
    def journal(self, tmp_path):
        return str(tmp_path / "journal")

    @pytest.fixture
    def go(self, paths, out, journal, tmp_path):
        """Runs the pipeline with the journal; nothing hangs."""
        (tmp_path / "hangs").touch()

        def run(**options):
            pipeline = again(Native).pipeline
            return pipeline.run(paths, partial(in_folder, out), engine="serial", journal=journal, **options)

        return run

    def test_what_is_finished_is_not_done_again_and_its_row_is_that_of_then(self, go, calls):
        first = go()
        calls()

        second = go()

        assert calls() == []
        pd.testing.assert_frame_equal(first, second)

    def test_an_input_that_has_changed_is_done_again(self, go, calls, paths):
        go()
        calls()
        Path(paths[1]).write_text("B2")

        report = go()

        assert calls() == ["B2"]
        assert report["length"].to_list() == [1, 2, 1, 1]

    @pytest.mark.parametrize("spoil", [lambda path: path.write_text("other"), lambda path: path.unlink()])
    def test_so_is_one_whose_output_is_not_as_it_was_written(self, go, calls, out, spoil):
        go()
        calls()
        spoil(out / "003.txt")

        go()

        assert calls() == ["d"]
        assert (out / "003.txt").read_text() == "D"

    def test_so_is_one_that_may_have_changed_while_it_was_read(self, go, calls, paths):
        os.utime(paths[2])
        go()
        calls()

        go()

        assert calls() == ["c"]

    def test_other_functions_and_another_seed_do_all_again(self, go, calls, paths, out, journal):
        go()
        calls()

        go(seed=1)
        seeded = calls()
        pipeline = again(Native).pipeline
        pipeline.ops = pipes.note_call
        pipeline.run(paths, partial(in_folder, out), engine="serial", journal=journal)

        assert seeded == calls() == ["a", "b", "c", "d"]

    def test_what_has_failed_is_tried_again(self, paths, out, journal, calls):
        def fail_at_b(text):
            if text == "b" and not os.path.exists(os.environ["HANGS"]):
                raise ValueError(text)
            return pipes.note_call(text)

        pipeline = luisy.Pipeline(pipes.read_text, fail_at_b, pipes.write_text)
        go = partial(pipeline.run, paths, partial(in_folder, out), engine="serial", journal=journal)
        first = go()["status"].to_list()
        calls()
        Path(os.environ["HANGS"]).touch()

        second = go()["status"].to_list()

        assert first == ["written", "failed", "written", "written"]
        assert second == ["written"] * 4
        assert calls() == ["b"]

    def test_an_output_that_goes_elsewhere_now_is_written_there(self, go, calls, paths, out, journal):
        go()
        calls()

        again(Native).pipeline.run(paths, partial(in_folder, out / "new"), engine="serial", journal=journal)

        assert calls() == ["a", "b", "c", "d"]
        assert len(files_in(out / "new")) == 4

    def test_a_line_that_was_cut_short_costs_its_input(self, go, calls, journal):
        go()
        calls()
        with open(journal, "r+b") as file:
            file.truncate(os.path.getsize(journal) - 10)

        go()

        assert calls() == ["d"]
        go()
        assert calls() == []

    def test_a_file_that_is_no_journal_is_left_as_it_is(self, go, journal):
        Path(journal).write_text("name,size\n")

        with pytest.raises(errors.OutputError, match="is no journal of a pipeline"):
            go()

        assert Path(journal).read_text() == "name,size\n"

    def test_nothing_needs_to_be_written(self, paths, journal, calls):
        pipeline = luisy.Pipeline(pipes.read_text, [pipes.note_length, pipes.note_call])
        first = pipeline.run(paths, engine="serial", journal=journal)
        calls()

        second = pipeline.run(paths, engine="serial", journal=journal)

        assert calls() == []
        pd.testing.assert_frame_equal(first, second)

    def test_outputs_are_on_the_disk_before_it_says_so(self, go, monkeypatch):
        synced = []
        monkeypatch.setattr("luisy_dir.hidden.local.sync_path", synced.append)

        go()

        assert len(synced) == 4


class TestPlan:
    """What a run would do, before it does it."""

    @pytest.fixture
    def pipeline(self):
        return luisy.Pipeline(pipes.never, pipes.never, pipes.write_text)

    def test_it_counts_and_names_what_would_be_processed_and_skipped(self, pipeline, paths, out):
        (out / "001.txt").write_text("B")

        plan = pipeline.plan(paths, partial(in_folder, out), skip=existing)

        assert plan.counts == {"process": 3, "skip": 1}
        assert [(row.inpath, row.outpath) for row in plan.rows] == [(path, in_folder(out, path)) for path in paths]
        assert str(plan).splitlines() == [
            "4 inputs: 3 to process, 1 to skip",
            f"  to process: {paths[0]!r}, {paths[2]!r}, {paths[3]!r}",
            f"  to skip: {paths[1]!r}",
        ]
        assert files_in(out) == ["001.txt"]

    def test_it_names_all_that_would_be_refused(self, pipeline, paths, out):
        plan = pipeline.plan(paths, lambda path: out / "same" if path < paths[2] else path)

        assert plan.counts == {"process": 1, "refuse": 3}
        assert "would both be written as" in plan.rows[1].reason
        assert "would replace the input" in plan.rows[2].reason
        assert str(plan).endswith("A run would do nothing, because of what is refused.")
        with pytest.raises(errors.KeyCollisionError) as raised:
            pipeline.run(paths, lambda path: out / "same" if path < paths[2] else path)
        assert str(raised.value) == plan.rows[1].reason

    def test_what_raises_would_fail(self, pipeline, paths, out):
        def path_func(path):
            return {paths[0]: "x"}[path]

        plan = pipeline.plan(paths, path_func, skip=lambda inpath, outpath: 1 / 0)

        assert plan.counts == {"fail": 4}
        assert {row.reason.partition(":")[0] for row in plan.rows} == {"KeyError", "ZeroDivisionError"}

    def test_it_knows_what_the_journal_knows(self, paths, out, tmp_path):
        (tmp_path / "hangs").touch()
        pipeline, journal = again(Native).pipeline, tmp_path / "journal"
        pipeline.run(paths[:2], partial(in_folder, out), journal=journal)
        before = journal.read_bytes()

        plan = pipeline.plan(paths, partial(in_folder, out), journal=journal)

        assert plan.counts == {"process": 2, "finished": 2}
        assert journal.read_bytes() == before

    def test_a_skip_function_may_be_async(self, pipeline, paths, out):
        async def skip(inpath, outpath):
            return inpath == paths[0]

        assert pipeline.plan(paths, partial(in_folder, out), skip=skip).counts == {"process": 3, "skip": 1}

    def test_of_nothing_there_is_nothing_to_do(self, pipeline, out):
        assert str(pipeline.plan([], partial(in_folder, out))) == "0 inputs: nothing to do"

    def test_no_name_and_no_message_writes_on_the_terminal(self, pipeline, out):
        def skip(inpath, outpath):
            raise ValueError(inpath)

        told = str(pipeline.plan([Path("\x1b[31m")], partial(in_folder, out), skip=skip))

        assert "to fail: '\\x1b[31m'" in told
        assert "\x1b" not in told
