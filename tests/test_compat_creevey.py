"""Creevey's programs run with the import line changed, and what failed there works here."""

from __future__ import annotations

import io
import operator
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data
from skimage import io as skio

import luisy_dir as luisy
from luisy_dir import errors
from luisy_dir.compat.creevey import CustomReportingPipeline, Pipeline
from luisy_dir.compat.creevey.load_funcs.image import load_image_from_disk, load_image_from_url
from luisy_dir.compat.creevey.ops import get_report_output_decorator
from luisy_dir.compat.creevey.ops import image as ops
from luisy_dir.compat.creevey.ops.image import record_mean_brightness, resize
from luisy_dir.compat.creevey.path_funcs import (
    combine_outdir_dirname_extension,
    join_outdir_filename_extension,
    join_outdir_hashed_path_extension,
    replace_dir,
)
from luisy_dir.compat.creevey.pipelines.image import DownloadImagePipeline, download_image_pipeline
from luisy_dir.compat.creevey.util import find_files_with_extensions
from luisy_dir.compat.creevey.util.image import find_image_files
from luisy_dir.compat.creevey.write_funcs.image import write_image

NAMES = ["2RsJ8EQ", "2TqoToT", "2VocS58", "2scKPIp", "2TsO6Pc", "2SCv0q7"]
OLD_COLUMNS = ["outpath", "skipped_existing", "exception_handled", "time_finished"]
NEW_COLUMNS = ["outpath", "skipped", "error", "time_finished"]

trim_bottom_100 = lambda image: image[:-100, :]  # noqa: E731 - as the page of Creevey has it
resize_224 = partial(resize, shape=(224, 224))


def fail(image, **_):
    raise ValueError("Sample error")


@pytest.fixture(scope="module")
def pictures():
    """Six photographs as PNG, by name."""
    found = {}
    for number, name in enumerate(NAMES):
        picture = [data.astronaut, data.chelsea, data.coffee, data.rocket][number % 4]()[number:, number:]
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG")
        found[name] = buffer.getvalue()
    return found


@pytest.fixture(scope="module")
def server(pictures):
    """The address of a server that has them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = pictures.get(self.path.strip("/"))
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_):
            """Say nothing."""

    opened = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=opened.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{opened.server_port}"
    opened.shutdown()
    thread.join()
    opened.server_close()


@pytest.fixture
def files(tmp_path, pictures):
    """The same as files."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, content in pictures.items():
        (folder / f"{name}.png").write_bytes(content)
    return sorted(folder.iterdir())


@pytest.fixture
def outdir(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


class TestThePage:
    """The examples of the documentation, with the addresses of a server here."""

    def test_urls_are_downloaded_trimmed_resized_and_written(self, server, outdir):
        trim_resize_pipeline = Pipeline(
            load_func=load_image_from_url, ops=[trim_bottom_100, resize_224], write_func=write_image
        )
        image_urls = [f"{server}/{filename}" for filename in NAMES]
        keep_filename_png_in_cwd = partial(join_outdir_filename_extension, outdir=".", extension=".png")

        run_report = trim_resize_pipeline.run(
            inpaths=image_urls, path_func=keep_filename_png_in_cwd, n_jobs=10, skip_existing=True,
            exceptions_to_catch=AttributeError,
        )  # fmt: skip

        assert {path.name: skio.imread(path).shape for path in outdir.iterdir()} == {
            f"{name}.png": (224, 224, 3) for name in NAMES
        }
        assert list(run_report.columns) == OLD_COLUMNS
        assert list(run_report.loc[image_urls, :].index) == image_urls
        assert run_report["skipped_existing"].to_list() == run_report["exception_handled"].to_list() == [0] * 6
        assert run_report["outpath"].to_list() == [f"{name}.png" for name in NAMES]
        assert (abs(run_report["time_finished"] - time.time()) < 600).all()

        before = {path: path.stat().st_mtime_ns for path in outdir.iterdir()}
        again = trim_resize_pipeline.run(image_urls, keep_filename_png_in_cwd, 6, exceptions_to_catch=AttributeError)
        assert again["skipped_existing"].to_list() == [1] * 6
        assert {path: path.stat().st_mtime_ns for path in outdir.iterdir()} == before

    def test_a_ready_made_pipeline_is_changed_by_its_ops(self, server, outdir, monkeypatch):
        monkeypatch.setattr(download_image_pipeline, "_ops", [])
        trim_resize_pipeline = download_image_pipeline
        trim_resize_pipeline.ops = [trim_bottom_100, resize_224]

        trim_resize_pipeline.run(
            [f"{server}/{NAMES[0]}"], partial(join_outdir_filename_extension, outdir=".", extension=".png"), 1
        )

        assert skio.imread(outdir / f"{NAMES[0]}.png").shape == (224, 224, 3)

    @pytest.mark.parametrize("engine", ["serial", "threads", "processes"])
    def test_what_functions_log_is_a_column(self, files, outdir, engine):
        pipeline = CustomReportingPipeline(
            load_func=load_image_from_disk, ops=[record_mean_brightness, resize_224], write_func=write_image
        )

        report = pipeline.run(files, partial(replace_dir, outdir=outdir), n_jobs=2, engine=engine)

        assert list(report.columns) == [*OLD_COLUMNS, "mean_brightness"]
        expected = [luisy.images.mean_brightness(skio.imread(path)) for path in files]
        assert report["mean_brightness"].to_list() == pytest.approx(expected)

    def test_of_what_is_skipped_nothing_is_logged(self, files, outdir):
        pipeline = CustomReportingPipeline(load_image_from_disk, record_mean_brightness, write_image)
        pipeline.run(files, partial(replace_dir, outdir=outdir), 2)

        assert list(pipeline.run(files, partial(replace_dir, outdir=outdir), 2).columns) == OLD_COLUMNS


class TestTheSuccessorsSpelling:
    """Called, with a report of its own."""

    def test_everything_is_caught_and_the_report_says_what_happened(self, files, outdir):
        pipeline = Pipeline(load_func=load_image_from_disk, write_func=write_image, ops=fail)

        assert pipeline(files, partial(replace_dir, outdir=outdir), n_jobs=3) is None

        report = pipeline.run_report_
        assert list(report.columns) == NEW_COLUMNS
        assert set(report["error"]) == {"ValueError('Sample error')"}
        assert list(outdir.iterdir()) == []

    @pytest.mark.parametrize("caught", [AttributeError, (AttributeError, TypeError), None])
    @pytest.mark.parametrize("n_jobs", [1, 4])
    def test_what_is_not_caught_is_raised_and_the_report_is_there(self, files, outdir, caplog, caught, n_jobs):
        pipeline = Pipeline(load_func=load_image_from_disk, write_func=write_image, ops=fail)

        with pytest.raises(ValueError, match="Sample error"):
            pipeline(files, partial(replace_dir, outdir=outdir), n_jobs, exceptions_to_catch=caught)

        assert pipeline.run_report_["error"].to_list()[:1] == ["ValueError('Sample error')"]
        assert str(files[0].parent) in caplog.text

    def test_a_skip_function_decides(self, files, outdir):
        pipeline = Pipeline(load_func=load_image_from_disk, write_func=write_image)

        pipeline(files, partial(replace_dir, outdir=outdir), 2, skip_func=lambda inpath, outpath: inpath == files[0])

        assert pipeline.run_report_["skipped"].to_list() == [True] + [False] * 5
        assert pipeline.run_report_["error"].isna().all()
        assert len(list(outdir.iterdir())) == 5

    def test_before_a_run_there_is_no_report(self):
        with pytest.raises(AttributeError, match="Pipeline has not been run"):
            Pipeline(load_func=str, write_func=print).run_report_  # noqa: B018

    def test_what_was_logged_before_a_failure_is_kept(self, files, outdir):
        pipeline = CustomReportingPipeline(
            load_func=load_image_from_disk, ops=[ops.report_mean_brightness, fail], write_func=write_image
        )

        pipeline(files, partial(replace_dir, outdir=outdir), 2)

        assert pipeline.run_report_["mean_brightness"].notna().all()
        assert pipeline.run_report_["error"].notna().all()

    def test_a_decorator_makes_an_op_of_what_a_function_returns(self, files, outdir):
        report_height = get_report_output_decorator("height")(lambda image: image.shape[0])
        pipeline = CustomReportingPipeline(
            load_func=load_image_from_disk,
            write_func=write_image,
            ops=[report_height, partial(ops.report_dhash, sqrt_hash_size=16)],
        )

        pipeline(files, partial(replace_dir, outdir=outdir), 2)

        assert pipeline.run_report_["height"].to_list() == [skio.imread(path).shape[0] for path in files]
        assert pipeline.run_report_["dhash"].str.len().max() > 50


class TestReport:
    def test_of_no_inputs_it_has_all_columns_and_types(self, outdir, files):
        pipeline = Pipeline(load_func=load_image_from_disk, write_func=write_image)
        pipeline(files[:1], partial(replace_dir, outdir=outdir), 1)
        full = pipeline.run_report_

        pipeline([], partial(replace_dir, outdir=outdir), 1)

        assert len(pipeline.run_report_) == 0
        assert pipeline.run_report_.dtypes.to_dict() == full.dtypes.to_dict()

    def test_times_are_seconds_since_1970_in_every_time_zone(self, files, outdir, monkeypatch):
        pipeline = Pipeline(load_func=load_image_from_disk, write_func=write_image)
        monkeypatch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        try:
            report = pipeline.run(files[:1], partial(replace_dir, outdir=outdir), 1)
        finally:
            monkeypatch.undo()
            time.tzset()

        assert abs(report["time_finished"].iloc[0] - time.time()) < 600

    def test_it_goes_to_parquet_and_csv_and_back(self, files, outdir, tmp_path):
        pipeline = Pipeline(
            load_func=load_image_from_disk,
            write_func=write_image,
            ops=[lambda image: fail(image) if image.shape[0] > 500 else image],
        )
        pipeline(files, partial(replace_dir, outdir=outdir), 2)
        report = pipeline.run_report_

        report.to_parquet(tmp_path / "report.parquet")
        report.to_csv(tmp_path / "report.csv")

        assert pd.read_parquet(tmp_path / "report.parquet").equals(report)
        assert list(pd.read_csv(tmp_path / "report.csv", index_col="inpath").index) == list(report.index)

    def test_it_has_no_rows_of_an_earlier_run(self, files, outdir):
        pipeline = Pipeline(load_func=load_image_from_disk, write_func=write_image, ops=fail)
        with pytest.raises(ValueError, match="Sample error"):
            pipeline(files, partial(replace_dir, outdir=outdir), 2, exceptions_to_catch=None)

        pipeline(files[:1], partial(replace_dir, outdir=outdir), 2)

        assert list(pipeline.run_report_.index) == [str(files[0])]

    def test_a_standard_column_cannot_be_logged(self, files, outdir):
        def op(image, inpath, log_dict):
            log_dict[inpath]["outpath"] = "elsewhere"
            return image

        pipeline = CustomReportingPipeline(load_func=load_image_from_disk, ops=op, write_func=write_image)

        pipeline(files[:1], partial(replace_dir, outdir=outdir), 1)

        assert "column 'outpath' already" in pipeline.run_report_["error"].iloc[0]

    def test_nor_can_the_row_of_another_input(self, files, outdir):
        def op(image, inpath, log_dict):
            log_dict[files[1]]["mark"] = 1
            return image

        pipeline = CustomReportingPipeline(load_func=load_image_from_disk, ops=op, write_func=write_image)

        pipeline(files[:1], partial(replace_dir, outdir=outdir), 1)

        assert "the row of another input" in pipeline.run_report_["error"].iloc[0]


class TestDefinitions:
    @pytest.mark.parametrize("wrong", [3, [3], "abc"])
    def test_ops_must_be_functions(self, wrong):
        with pytest.raises(TypeError, match="ops must be callable, an iterable of callables, or None"):
            Pipeline(load_func=str, ops=wrong, write_func=print)

    def test_a_pipeline_writes(self):
        with pytest.raises(TypeError, match="no write_func"):
            Pipeline(str, print)

    def test_a_generator_of_ops_serves_every_input(self, files, outdir):
        pipeline = Pipeline(load_func=load_image_from_disk, ops=(op for op in [resize_224]), write_func=write_image)

        pipeline(files, partial(replace_dir, outdir=outdir), 2)

        assert {skio.imread(path).shape for path in outdir.iterdir()} == {(224, 224, 3)}

    def test_no_threads_are_an_error(self, files, outdir):
        with pytest.raises(ValueError, match="n_jobs is 0"):
            DownloadImagePipeline()(files, partial(replace_dir, outdir=outdir), 0)

    def test_two_inputs_for_one_output_are_refused(self, files, outdir):
        with pytest.raises(errors.KeyCollisionError):
            DownloadImagePipeline()(files, lambda path: outdir / "same.png", 2)

    def test_the_same_input_a_thousand_times_is_written_once(self, files, outdir):
        pipeline = Pipeline(load_func=load_image_from_disk, write_func=write_image)

        pipeline(files[:1] * 1000, partial(replace_dir, outdir=outdir), 100)

        assert [path.name for path in outdir.iterdir()] == [files[0].name]


class TestImageParts:
    """Cases that were observed on the original."""

    IMAGE = np.arange(32 * 32 * 3, dtype="uint8").reshape(32, 32, 3)

    @pytest.mark.parametrize(
        ("shape", "arguments", "expected"),
        [
            ((32, 32), {"shape": (5, 8)}, (5, 8)),
            ((32, 32), {"min_dim": 50}, (50, 50)),
            ((34, 25), {"min_dim": 50}, (68, 50)),
            ((25, 34), {"min_dim": 50}, (50, 68)),
            ((300, 400), {"min_dim": 50}, (50, 66)),
        ],
    )
    def test_resize(self, shape, arguments, expected):
        assert resize(np.zeros((*shape, 3), "uint8"), **arguments, inpath="a", log_dict={}).shape == (*expected, 3)

    @pytest.mark.parametrize("arguments", [{}, {"shape": (5, 8), "min_dim": 5}])
    def test_resize_takes_one_of_two(self, arguments):
        with pytest.raises(ValueError, match="min_dim"):
            resize(self.IMAGE, **arguments)

    @pytest.mark.parametrize(
        ("shape", "factor", "expected"),
        [((32, 32), 0.5, (16, 16)), ((34, 25), 0.5, (17, 12)), ((32, 32), 0.6, (19, 19))],
    )
    def test_centercrop(self, shape, factor, expected):
        assert ops.centercrop(np.zeros((*shape, 3), "uint8"), factor).shape == (*expected, 3)

    def test_trim_padding(self):
        image = np.random.default_rng(1).integers(60, 180, (32, 32, 3), dtype="uint8")
        bright = np.full((32 + 7 + 11, 32 + 13 + 17, 3), (251, 252, 253), "uint8")
        bright[7:39, 13:45] = image
        dark = np.pad(image, ((3, 3), (3, 3), (0, 0)))

        assert np.array_equal(ops.trim_padding(bright, operator.gt, 0.95), image)
        assert np.array_equal(ops.trim_padding(dark, operator.lt, 0.05), image)
        assert ops.trim_padding(np.zeros((4, 4, 3), "uint8"), operator.lt, 0.05).size == 0

    def test_turns_and_flips(self):
        image = np.array([[1, 2], [3, 4]], "uint8")
        assert ops.rotate_90(image, inpath="a", log_dict={}).tolist() == [[2, 4], [1, 3]]
        assert ops.flip_horiz(image).tolist() == [[2, 1], [4, 3]]
        assert ops.flip_vert(image).tolist() == [[3, 4], [1, 2]]
        assert ops.rotate_180(image).tolist() == [[4, 3], [2, 1]]
        assert ops.rotate_270(image).tolist() == [[3, 1], [4, 2]]

    def test_brightness_and_normalising(self):
        assert ops.calculate_mean_brightness(np.array([[0, 0, 0], [1, 1, 1]], "uint8")) == 0.5
        assert ops.normalize_pixel_values(np.array([[0, 255]], "uint8")).tolist() == [[0, 1]]
        assert ops.normalize_pixel_values(np.array([[0.5, 1.0]])).tolist() == [[0.5, 1.0]]

    def test_hashes_of_like_images_are_near(self):
        def apart(one, other):
            return (ops.calculate_dhash(one) ^ ops.calculate_dhash(other)).bit_count()

        photographs = [data.astronaut(), data.chelsea(), data.coffee()]
        assert all(apart(image, resize(image, shape=(24, 24))) < 10 for image in photographs)
        assert all(apart(one, other) > 10 for one in photographs for other in photographs if one is not other)

    def test_writing_leaves_the_array_as_it_is_and_floats_are_no_black_images(self, tmp_path):
        image = np.linspace(0, 1, 32 * 32 * 3).reshape(32, 32, 3)
        before = image.copy()

        write_image(image, tmp_path / "a.png")
        write_image(image * 255, tmp_path / "b.png")

        assert np.array_equal(image, before)
        assert skio.imread(tmp_path / "a.png").max() == skio.imread(tmp_path / "b.png").max() == 255
        assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}


class TestPaths:
    def test_names(self):
        assert join_outdir_filename_extension("foo.tar.gz", "out", "png") == Path("out/foo.tar.png")
        assert join_outdir_filename_extension("https://a.org/b/c.jpg?size=3", "out") == Path("out/c.jpg")
        assert replace_dir(Path("a/b.png"), "out") == Path("out/b.png")
        assert combine_outdir_dirname_extension("a/tom/photo.jpg", "out", ".png") == Path("out/tom.png")
        assert join_outdir_hashed_path_extension("a/photo.jpg", "out") == join_outdir_hashed_path_extension(
            Path("a/photo.jpg"), "out"
        )
        assert join_outdir_hashed_path_extension("a/photo.jpg", "out") != join_outdir_hashed_path_extension(
            "b/photo.jpg", "out"
        )

    def test_files_are_found_whatever_the_case_of_their_suffix(self, tmp_path):
        for name in ("a.TXT", "b/c.txt", "b/d.png", "e.JPG"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()

        assert find_files_with_extensions(tmp_path, ["TXT"]) == [tmp_path / "a.TXT", tmp_path / "b" / "c.txt"]
        assert find_image_files(tmp_path) == [tmp_path / "b" / "d.png", tmp_path / "e.JPG"]
        with pytest.raises(errors.MissingInputError):
            find_files_with_extensions(tmp_path / "no", ["txt"])
