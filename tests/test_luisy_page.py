"""The page that the project grew from: its long form runs here, and gives what the short form gives."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig

import luigi
import numpy as np
import pytest
from pipelines import image_of
from skimage import io

import luisy_dir as luisy
from luisy_dir import decorators

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LUIGI = os.path.join(sysconfig.get_path("scripts"), "luigi")


def load(name, path):
    """A module of the examples under a name of its own, so that its tasks are those of another project."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


luisy_page = load("luisy_page", os.path.join(REPOSITORY, "examples", "luisy_page.py"))


def read_image(filepath):
    return io.imread(filepath) if filepath.endswith(".png") else None


@luisy.project_name("luisy_page")
@luisy.make_directory_output(read_image)
@luisy.raw
class ShortExport(luisy.ExternalTask):
    def get_folder_name(self):
        return ""


@luisy.project_name("luisy_page")
@luisy.interim
@luisy.requires(ShortExport)
@luisy.directory_output(".npy", engine="threads")
class ShortToNumpy(luisy.DirectoryTask):
    def process(self, image):
        return image


@luisy.project_name("luisy_page")
@luisy.final
@luisy.requires(ShortToNumpy)
@luisy.directory_task(".npy", engine="processes", workers=2)
def short_red_channel(image):
    return image[..., 0]


@pytest.fixture
def images(working_dir):
    """Six PNG files in the raw layer, and a folder beside them."""
    folder = working_dir / "luisy_page" / "raw"
    (folder / "others").mkdir(parents=True)
    (folder / "others" / "notes.txt").write_text("not an image")
    (folder / "readme.md").write_text("not an image either")
    pixels = {f"img_{number:03d}": image_of((8 + number, 9, 3), number) for number in range(6)}
    for name, image in pixels.items():
        io.imsave(folder / f"{name}.png", image, check_contrast=False)
    return pixels


def results(task):
    """Arrays by image of a long form's task."""
    return {luisy_page.get_image_id(path): luisy_page.read_file(path) for path in task.read()}


def run_luigi(working_dir, *arguments):
    return subprocess.run(
        [LUIGI, "--module", "luisy_page", "RedChannel", "--local-scheduler", "--no-lock", *arguments],
        env=os.environ
        | {
            "PYTHONPATH": os.path.join(REPOSITORY, "examples"),
            "LUISY_DIR_WORKING_DIR": str(working_dir),
            "LUIGI_CONFIG_PATH": os.path.join(REPOSITORY, "luigi.cfg"),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


class TestTheLongForm:
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_it_runs_from_luigis_command_line(self, images, working_dir, workers):
        answer = run_luigi(working_dir, "--workers", workers)
        assert answer.returncode == 0, answer.stderr
        red = results(luisy_page.RedChannel())
        assert red.keys() == images.keys()
        for name, image in images.items():
            assert np.array_equal(red[name], image[..., 0])

    def test_a_second_time_there_is_nothing_to_do(self, images, working_dir):
        run_luigi(working_dir)
        answer = run_luigi(working_dir)
        assert "1 complete ones were encountered" in answer.stderr

    def test_files_lie_where_luisy_puts_them(self, images, working_dir):
        luigi.build([luisy_page.RedChannel()], local_scheduler=True, log_level="WARNING")
        names = sorted(f"{name}.pkl" for name in images)
        assert sorted(os.listdir(working_dir / "luisy_page" / "interim")) == ["ToNumpy.pkl", *names]
        assert sorted(os.listdir(working_dir / "luisy_page" / "final")) == ["RedChannel.pkl", *names]

    def test_reading_the_external_task_is_a_lazy_stream_of_what_the_reader_returned(self, images):
        stream = luisy_page.ExportDirectory().read()
        assert iter(stream) is stream
        filepath, image = next(stream)
        assert os.path.isabs(filepath)
        assert os.path.basename(filepath) == "img_000.png"
        assert np.array_equal(image, images["img_000"])

    def test_asking_makes_no_folder_and_running_does(self, images, working_dir):
        task = luisy_page.ToNumpy()
        assert not task.complete()
        assert task.get_outdir().endswith("/luisy_page/interim")
        assert not os.path.exists(task.get_outdir())
        task.run()
        assert task.complete()

    def test_a_run_that_fails_leaves_the_task_incomplete(self, images, working_dir, monkeypatch):
        monkeypatch.setattr(luisy_page, "write_file", lambda data, filepath: 1 / 0)
        assert not luigi.build([luisy_page.RedChannel()], local_scheduler=True, log_level="CRITICAL")
        assert not luisy_page.ToNumpy().complete()
        assert os.listdir(luisy_page.ToNumpy().get_outdir()) == []


class TestTheShortForm:
    def test_it_gives_equal_arrays(self, images):
        luigi.build(
            [luisy_page.RedChannel(), short_red_channel()], local_scheduler=True, workers=2, log_level="WARNING"
        )
        long = results(luisy_page.RedChannel())
        short = {item.key: data for item, data in short_red_channel().items()}
        assert long.keys() == short.keys() == images.keys()
        for name in images:
            assert np.array_equal(long[name], short[name])
            assert long[name].dtype == short[name].dtype

    def test_the_layers_between_are_equal_too(self, images):
        luisy_page.ToNumpy().run()
        ShortToNumpy().run()
        long = results(luisy_page.ToNumpy())
        assert all(np.array_equal(data, long[item.key]) for item, data in ShortToNumpy().items())


def test_the_other_spelling_of_the_page_is_the_same_function():
    assert luisy.make_output_directory is decorators.make_output_directory is luisy.make_directory_output


def test_two_pipelines_with_different_readers_do_not_disturb_each_other(images, working_dir):
    """Each decorated class has its own reader and its own pattern, in whatever order they are made and read."""

    def pipeline(name, reader, pattern):
        @luisy.project_name("luisy_page")
        @decorators.make_output_directory(reader, regex_pattern=pattern)
        @luisy.raw
        class Export(luisy.ExternalTask):
            task_namespace = name

            def get_folder_name(self):
                return ""

        return Export()

    shapes = pipeline("shapes", lambda path: io.imread(path).shape, r"^[^/]*\.png$")
    names = pipeline("names", os.path.basename, None)
    both = list(zip(shapes.read(), names.read(), strict=False))
    assert both[0] == ((8, 9, 3), "img_000.png")
    assert len(list(shapes.read())) == 6
    assert set(names.read()) == {*(f"{name}.png" for name in images), "notes.txt", "readme.md"}


def test_folders_beside_the_files_are_walked_unless_a_pattern_says_otherwise(images, working_dir):
    io.imsave(working_dir / "luisy_page" / "raw" / "others" / "one.png", image_of((4, 4, 3), 9), check_contrast=False)
    assert [item.key for item, _ in ShortExport().items()] == [*sorted(images), "others/one"]
