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
from conftest import files_below
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


PAGE = os.path.join(REPOSITORY, "examples", "luisy_page.py")
luisy_page = load("luisy_page", PAGE)


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
@luisy.directory_output(".npy", engine="serial")
class ShortRedChannel(luisy.DirectoryTask):
    def process(self, image):
        return image[:, :, 0]


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


def build(*tasks, workers=1):
    return luigi.build(list(tasks), local_scheduler=True, workers=workers, log_level="CRITICAL")


def run_luigi(working_dir, *arguments, program=(LUIGI,), module="luisy_page", folder="examples"):
    return subprocess.run(
        [*program, "--module", module, "RedChannel", "--local-scheduler", "--no-lock",
         "--luisy-dir-working-dir", str(working_dir), *arguments],
        env=os.environ
        | {
            "PYTHONPATH": os.path.join(REPOSITORY, folder),
            "LUIGI_CONFIG_PATH": os.path.join(REPOSITORY, "luigi.cfg"),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )  # fmt: skip


class TestTheLongForm:
    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_it_runs_from_luigis_command_line(self, images, working_dir, workers):
        answer = run_luigi(working_dir, "--workers", workers)
        assert answer.returncode == 0, answer.stderr
        red = results(luisy_page.RedChannel())
        assert red.keys() == images.keys()
        for name, image in images.items():
            assert np.array_equal(red[name], image[..., 0])

    @pytest.mark.parametrize("workers", [1, 2])
    def test_it_runs_from_luigis_build_function(self, images, workers):
        assert build(luisy_page.RedChannel(), workers=workers)
        red = results(luisy_page.RedChannel())
        assert red.keys() == images.keys()
        assert all(np.array_equal(red[name], image[..., 0]) for name, image in images.items())

    def test_a_second_time_there_is_nothing_to_do(self, images, working_dir):
        run_luigi(working_dir)
        before = {name: os.stat(working_dir / name).st_mtime_ns for name in files_below(working_dir)}
        answer = run_luigi(working_dir)
        assert answer.returncode == 0
        assert "1 complete ones were encountered" in answer.stderr
        assert {name: os.stat(working_dir / name).st_mtime_ns for name in files_below(working_dir)} == before

    def test_it_writes_where_the_flag_says_also_where_luigi_spawns_its_processes(self, images, working_dir):
        """Such a process knows nothing of the command line; the task brings its settings along."""
        program = (
            "import multiprocessing, sys\n"
            "from luigi.cmdline import luigi_run\n"
            "if __name__ == '__main__':\n"
            "    multiprocessing.set_start_method('spawn')\n"
            "    sys.exit(luigi_run(sys.argv[1:]))\n"
        )
        (working_dir / "spawning.py").write_text(program)
        answer = run_luigi(working_dir, "--workers", "2", program=(sys.executable, str(working_dir / "spawning.py")))
        assert answer.returncode == 0, answer.stderr
        assert results(luisy_page.RedChannel()).keys() == images.keys()

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

    def test_files_are_read_when_they_are_asked_for(self, images, working_dir):
        """One is in memory at a time: the next may come or go while that one is in hand."""
        stream = luisy_page.ExportDirectory().read()
        next(stream)
        os.remove(working_dir / "luisy_page" / "raw" / "img_001.png")
        with pytest.raises(FileNotFoundError):
            next(stream)

    def test_whatever_else_is_asked_no_folder_is_made(self, images, working_dir):
        """Neither complete() nor output(), nor Luigi itself when an input is missing, leaves a trace."""
        for task in (luisy_page.ToNumpy(), luisy_page.RedChannel()):
            assert not task.complete()
            assert not task.output().exists()
            assert task.get_outfile().startswith(task.get_outdir())
        (working_dir / "luisy_page" / "raw").rename(working_dir / "elsewhere")
        build(luisy_page.RedChannel())
        assert sorted(os.listdir(working_dir)) == ["elsewhere", "luisy_page"]
        assert os.listdir(working_dir / "luisy_page") == []

    def test_the_folder_is_there_when_run_begins(self, images, working_dir, monkeypatch):
        task = luisy_page.ToNumpy()
        seen = []
        monkeypatch.setattr(
            luisy_page.tempfile, "TemporaryDirectory", lambda: seen.append(os.listdir(task.get_outdir()))
        )
        with pytest.raises(TypeError):
            task.run()
        assert seen == [[]]

    def test_an_item_that_fails_leaves_the_task_incomplete_and_no_file(self, images, working_dir, monkeypatch):
        """Files are moved when all of them are there."""
        write_file = luisy_page.write_file

        def fail_at_the_fourth(data, filepath):
            if filepath.endswith("img_003.pkl"):
                raise ValueError("cannot be written")
            write_file(data, filepath)

        monkeypatch.setattr(luisy_page, "write_file", fail_at_the_fourth)
        assert not build(luisy_page.RedChannel())
        assert not luisy_page.ToNumpy().complete()
        assert os.listdir(luisy_page.ToNumpy().get_outdir()) == []
        monkeypatch.undo()
        luisy.set_working_dir(working_dir)
        assert build(luisy_page.RedChannel())

    def test_a_run_that_ends_among_its_moves_leaves_the_task_incomplete(self, images, monkeypatch):
        """These files are its own business; but what Luigi asks for is written last, and as a whole."""
        move_file, moved = luisy_page.move_file, []

        def fail_at_the_third(source, destination):
            if len(moved) == 2:
                raise OSError("the disk is full")
            moved.append(destination)
            return move_file(source, destination)

        monkeypatch.setattr(luisy_page, "move_file", fail_at_the_third)
        assert not build(luisy_page.ToNumpy())
        assert not luisy_page.ToNumpy().complete()
        assert sorted(os.listdir(luisy_page.ToNumpy().get_outdir())) == ["img_000.pkl", "img_001.pkl"]


class TestTheShortForm:
    @pytest.mark.parametrize("task", [ShortRedChannel, short_red_channel])
    def test_it_gives_equal_arrays(self, images, task):
        assert build(luisy_page.RedChannel(), task(), workers=2)
        long = results(luisy_page.RedChannel())
        short = {item.key: data for item, data in task().items()}
        assert long.keys() == short.keys() == images.keys()
        for name in images:
            assert np.array_equal(long[name], short[name])
            assert long[name].dtype == short[name].dtype

    def test_the_layers_between_are_equal_too(self, images):
        luisy_page.ToNumpy().run()
        ShortToNumpy().run()
        long = results(luisy_page.ToNumpy())
        assert all(np.array_equal(data, long[item.key]) for item, data in ShortToNumpy().items())

    def test_a_second_time_there_is_nothing_to_do(self, images):
        assert build(ShortRedChannel())
        assert ShortRedChannel().complete()
        assert build(ShortRedChannel())
        assert ShortRedChannel().plan().counts == {"unchanged": 6}

    def test_asking_makes_no_folder(self, images, working_dir):
        assert ShortToNumpy().plan().counts == {"new": 8}
        assert not ShortRedChannel().complete()
        assert os.listdir(working_dir / "luisy_page") == ["raw"]


@pytest.mark.parametrize("module", ["luisy_dir", "luisy_dir.decorators"])
def test_the_page_runs_under_its_other_spelling(images, working_dir, module):
    """The text of the page says make_output_directory where its code says make_directory_output."""
    with open(PAGE) as file:
        text = file.read().replace("make_directory_output", "make_output_directory")
    text = text.replace("from luisy_dir.decorators import", f"from {module} import")
    (working_dir / "other_spelling.py").write_text(text)
    (working_dir / "luisy_page").rename(working_dir / "other_spelling")
    answer = run_luigi(working_dir, module="other_spelling", folder=working_dir)
    assert answer.returncode == 0, answer.stderr
    names = sorted(f"{name}.pkl" for name in images)
    assert sorted(os.listdir(working_dir / "other_spelling" / "final")) == ["RedChannel.pkl", *names]


def test_both_spellings_are_one_function():
    assert luisy.make_output_directory is decorators.make_output_directory is luisy.make_directory_output


def test_what_the_reader_returns_arrives_as_it_is(images):
    """Be it a tuple, or any object: no copy and no other type."""
    returned = []

    def reader(filepath):
        returned.append((filepath, object()))
        return returned[-1]

    @luisy.project_name("luisy_page")
    @luisy.make_directory_output(reader, r"^[^/]*\.png$")
    @luisy.raw
    class Export(luisy.ExternalTask):
        def get_folder_name(self):
            return ""

    for data in Export().read():
        assert data is returned[-1]
    assert [os.path.basename(filepath) for filepath, _ in returned] == [f"{name}.png" for name in images]


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


class TestTheWholeRawLayer:
    """A folder name of '' is the layer folder itself, with whatever other folders lie in it."""

    @pytest.fixture(autouse=True)
    def another_image(self, images, working_dir):
        path = working_dir / "luisy_page" / "raw" / "others" / "one.png"
        io.imsave(path, image_of((4, 4, 3), 9), check_contrast=False)

    def test_folders_beside_the_files_are_walked(self, images):
        assert [item.key for item, _ in ShortExport().items()] == [*sorted(images), "others/one"]
        luisy_page.ToNumpy().run()
        assert results(luisy_page.ToNumpy()).keys() == {*images, "one"}

    def test_a_pattern_selects_the_files_of_the_top_folder(self, images):
        @luisy.project_name("luisy_page")
        @luisy.make_directory_output(read_image, regex_pattern=r"^[^/]*\.png$")
        @luisy.raw
        class TopFolder(luisy.ExternalTask):
            def get_folder_name(self):
                return ""

        assert [item.key for item, _ in TopFolder().items()] == sorted(images)
