"""What is known to go wrong in luisy, the other way round: one promise for each, with its number in the docstring.

D1 to D12 are errors in a page of luisy's documentation, B1 to B29 are sharp edges of its pattern and implementation.
Some of them cannot be turned round here, because what they speak of is not here or belongs to whoever writes a task:

- D1 to D6 (imports, names and arguments of the page's own functions): a DirectoryTask has no loop of its own to get
  wrong; examples/luisy_page.py is the page without these errors, and tests/test_luisy_page.py runs it.
- B1 to B6, B15, B16 and D12 hold for a DirectoryTask. A luisy.Task has a run() of its own: it is complete when its one
  file is there, as in Luigi, and further files that run() moves into get_outdir() are kept apart by run() alone.
- B24 without [retcode]: Luigi itself then exits with 0 when a task failed; the shipped luigi.cfg sets [retcode].
- B25, the file of code hashes: there is none; code is a part of each directory's own fingerprint.
- B26, luisy's own command line: tasks are run by luigi's, so that nothing comes before it to take its flags.
- B27 for .pkl, and for columns of objects in .hdf: these formats are pickles, and their readers' docstrings say so.
- B29, synchronisation with a cloud: there is none; what it left out is tested as what the manifest must not leave out.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile

import luigi
import numpy as np
import pytest
import xxhash
from conftest import files_below
from luigi.cmdline_parser import CmdlineParser
from pipelines import Letters, Strict, Upper, image_of, length, read_image, read_text
from skimage import io

import luisy_dir as luisy
from luisy_dir import errors, settings
from luisy_dir.formats import format_for
from luisy_dir.staging import staging_of

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LUIGI = os.path.join(sysconfig.get_path("scripts"), "luigi")
SUFFIXES = (".npy", ".npz", ".json", ".csv", ".txt", ".png", ".jpg", ".tif", ".parquet", ".feather", ".xlsx")


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Repeated(luisy.DirectoryTask):
    times = luigi.IntParameter()

    def process(self, text):
        return text * self.times


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Lower(luisy.DirectoryTask):
    def process(self, text):
        return text.lower()


@luisy.make_directory_output(read_text)
@luisy.raw
class WholeLayer(luisy.ExternalTask):
    def get_folder_name(self):
        return ""


def write_half(text, file):
    """A disk that is full, or a writer that is wrong, at one letter."""
    file.write(text[: len(text) // 2].encode())
    if text == "beta":
        raise OSError("no space left")
    file.write(text[len(text) // 2 :].encode())


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output((read_text, write_half), suffix=".txt", engine="serial")
class HalfWritten(luisy.DirectoryTask):
    def process(self, text):
        return text


@pytest.fixture
def letters(write_files):
    return write_files(Letters().output().path, {"b.txt": b"beta", "a.txt": b"alpha"})


def build(*tasks):
    return luigi.build(list(tasks), local_scheduler=True, log_level="WARNING", detailed_summary=True)


def statuses(task):
    return task.report()["status"].to_dict()


class TestWhatThePageLeavesOpen:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_a_file_is_closed_also_where_it_cannot_be_read(self, working_dir, suffix):
        """D7: what our formats open, they close."""
        path = working_dir / f"broken{suffix}"
        path.write_bytes(b"\x00\xffnot what the suffix says")
        with contextlib.suppress(Exception):
            format_for(suffix).read(str(path))
        assert str(path) not in _open_files()

    def test_the_other_spelling_of_the_decorator_is_the_same_function(self):
        """D8: make_output_directory is make_directory_output."""
        assert luisy.make_output_directory is luisy.make_directory_output

    def test_tasks_that_share_the_whole_raw_layer_each_read_their_own_files(self, write_files):
        """D9: an empty folder name is the whole raw layer, which a pattern narrows, for this task alone."""

        @luisy.make_directory_output(os.path.basename, regex_pattern=r"^[^/]*\.md$")
        @luisy.raw
        class Notes(luisy.ExternalTask):
            def get_folder_name(self):
                return ""

        write_files(WholeLayer().output().path, {"a.txt": b"alpha", "a.md": b"", "others/b.txt": b"beta"})
        assert Notes().output().path == WholeLayer().output().path
        assert list(Notes().read()) == ["a.md"]
        assert list(WholeLayer().read()) == ["alpha", "beta"]

    def test_a_result_cannot_be_a_whole_layer(self, letters, monkeypatch):
        """D9: with an empty folder name it would replace what other tasks have published."""
        Lower().run()
        monkeypatch.setattr(Upper, "get_folder_name", lambda self: "")
        with pytest.raises(errors.DefinitionError, match="would replace the layer folder"):
            Upper().run()
        assert list(Lower().read()) == ["alpha", "beta"]

    def test_a_grey_image_is_an_item_that_failed_and_the_others_go_on(self, working_dir, monkeypatch):
        """D10: data[:, :, 0] holds for colour images only; within max_errors the red channels are published."""

        @luisy.make_directory_output(read_image)
        @luisy.raw
        class Photographs(luisy.ExternalTask):
            def get_folder_name(self):
                return "photographs"

        @luisy.interim
        @luisy.requires(Photographs)
        @luisy.directory_task(".npy", engine="serial")
        def red(data):
            return data[:, :, 0]

        folder = Photographs().output().path
        os.makedirs(folder)
        io.imsave(os.path.join(folder, "colour.png"), image_of((4, 5, 3), 1), check_contrast=False)
        io.imsave(os.path.join(folder, "grey.png"), image_of((4, 5), 2), check_contrast=False)
        with pytest.raises(errors.ItemsFailedError, match="grey: IndexError"):
            red().run()
        assert not os.path.exists(red().output().path)

        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        red().run()
        assert statuses(red()) == {"colour": "written", "grey": "failed"}
        assert red().report().loc["grey", "error_type"] == "IndexError"

    def test_dots_in_a_name_are_kept(self, write_files):
        """D11: the last suffix is dropped, and nothing else."""
        write_files(Letters().output().path, {"a.1.txt": b"one", "2024.05.01.txt": b"two", "c": b""})
        Upper().run()
        assert files_below(Upper().output().path) == ["2024.05.01.txt", "a.1.txt"]

    def test_a_failed_task_has_no_output(self, write_files):
        """D12: of a run in which the last item fails, no file is published in any layer."""
        write_files(Letters().output().path, {"a.txt": b"fine", "b.txt": b"fine", "z.txt": b"fail now"})
        assert build(Strict()).status == luigi.LuigiStatusCode.FAILED
        assert not os.path.exists(Strict().output().path)
        with pytest.raises(errors.MissingInputError, match="Run its task first"):
            list(Strict().read())


def _open_files():
    paths = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            paths.add(os.readlink(f"/proc/self/fd/{name}"))
    return paths


# The process dies at each of the moments at which it makes, renames, opens or removes something, one after the other.
DYING_SCRIPT = """
import itertools, json, os, sys
from pipelines import Upper
import luisy_dir as luisy
from luisy_dir.manifest import read_manifest

luisy.set_working_dir(sys.argv[1])
MOMENTS = {"open", "os.scandir", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate"}
path = Upper().output().path


def die_at(number):
    left = [number]

    def hook(event, arguments):
        if event in MOMENTS or event.startswith("ctypes.call"):
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)

    sys.addaudithook(hook)


def in_a_child(prepare):
    child = os.fork()
    if child == 0:
        prepare()
        Upper().run()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def is_whole():
    return sorted(os.listdir(path)) == [".manifest", "a.txt", "b.txt"] and read_manifest(path) is not None


halves, lost, litter, deaths = [], [], [], 0
for number in itertools.count():
    code = in_a_child(lambda: die_at(number))
    if os.path.lexists(path) and not is_whole():
        halves.append(number)
    if in_a_child(lambda: None) != 0 or not is_whole() or not Upper().complete():
        lost.append(number)
    beside = sorted(set(os.listdir(os.path.dirname(path))) - {"Upper"})
    if beside:
        litter.append([number, beside])
    if code == 0:
        break
    deaths += 1
    Upper().output().remove()
print(json.dumps({"deaths": deaths, "halves": halves, "lost": lost, "litter": litter}))
"""


class TestWhatIsPublished:
    @pytest.fixture
    def deaths(self, letters, working_dir):
        """What was seen after a death at each moment of a run, and after the run that followed."""
        answer = subprocess.run(
            [sys.executable, "-c", DYING_SCRIPT, str(working_dir)],
            env=os.environ | {"PYTHONPATH": os.path.join(REPOSITORY, "tests"), "LUISY_DIR_DURABILITY": "none"},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        seen = json.loads(answer.stdout.splitlines()[-1])
        assert seen["deaths"] > 10, "it hardly ever died"
        return seen

    def test_a_crash_at_any_moment_leaves_all_or_nothing_and_the_next_run_puts_it_right(self, deaths):
        """B1: there is no moment at which some files are in the layer and others are not."""
        assert deaths["halves"] == []
        assert deaths["lost"] == []

    def test_what_a_crash_leaves_goes_at_the_next_run(self, deaths):
        """B1: whatever the moment, there is nothing beside the directory afterwards."""
        assert deaths["litter"] == []

    @pytest.mark.parametrize("change", [{"c.txt": b"gamma"}, {"a.txt": b"other"}])
    def test_a_new_or_changed_input_is_never_a_silent_success(self, letters, write_files, change):
        """B2: neither the task nor what stands on it is complete, and the next build makes what the input asks for."""
        assert build(length()).status == luigi.LuigiStatusCode.SUCCESS
        write_files(letters, change, age_seconds=30)

        assert not Upper().complete()
        assert not length().complete()
        assert build(length()).status == luigi.LuigiStatusCode.SUCCESS
        contents = {"a": b"alpha", "b": b"beta"} | {name[0]: content for name, content in change.items()}
        assert {item.key: text for item, text in Upper().items()} == {
            key: content.decode().upper() for key, content in contents.items()
        }
        assert {item.key: number for item, number in length().items()} == {
            key: len(content) for key, content in contents.items()
        }

    def test_a_deleted_output_file_is_noticed(self, letters):
        """B3: the directory is not complete, reading it names the file and what happened to it, a build mends it."""
        build(length())
        os.remove(os.path.join(Upper().output().path, "a.txt"))

        assert not Upper().complete()
        assert not length().complete()
        with pytest.raises(errors.InputChangedError, match=r"a\.txt.*somebody removed it"):
            list(Upper().read())
        assert build(length()).status == luigi.LuigiStatusCode.SUCCESS
        assert list(Upper().read()) == ["ALPHA", "BETA"]
        assert length().complete()

    def test_what_is_left_of_a_removed_input_is_nothing(self, letters):
        """B4: the output of an input that is gone is removed, here and in what stands on it."""
        build(length())
        os.remove(os.path.join(letters, "a.txt"))
        assert build(length()).status == luigi.LuigiStatusCode.SUCCESS

        assert files_below(Upper().output().path) == ["b.txt"]
        assert list(Upper().read()) == ["BETA"]
        assert files_below(length().output().path) == ["b.json"]

    def test_files_whose_manifest_was_removed_are_not_taken_over(self, letters):
        """B4: what no manifest speaks of is refused, and left as it is."""
        Upper().run()
        shutil.rmtree(os.path.join(Upper().output().path, ".manifest"))
        assert not Upper().complete()
        with pytest.raises(errors.ForeignDirectoryError, match="Move it away"):
            Upper().run()
        assert files_below(Upper().output().path) == ["a.txt", "b.txt"]

    def test_two_values_of_a_parameter_have_two_directories(self, letters):
        """B5: neither run harms the other's result, in whatever order they come."""
        once, thrice = Repeated(times=1), Repeated(times=3)
        build(once, thrice)

        assert once.complete()
        assert thrice.complete()
        assert list(once.read()) == ["alpha", "beta"]
        assert list(thrice.read()) == ["alpha" * 3, "beta" * 3]

    def test_two_tasks_of_one_layer_with_the_same_keys_have_two_directories(self, letters):
        """B6: the files of one layer are not all in one folder."""
        build(Upper(), Lower())
        assert files_below(Upper().output().path) == files_below(Lower().output().path) == ["a.txt", "b.txt"]
        assert list(Upper().read()) == ["ALPHA", "BETA"]
        assert list(Lower().read()) == ["alpha", "beta"]


class TestRawFolders:
    def test_an_empty_one_is_no_success(self):
        """B7: it is not complete, Luigi reports missing data, and a run says what to do."""
        os.makedirs(Letters().output().path)
        assert not Letters().complete()
        assert build(length()).status == luigi.LuigiStatusCode.MISSING_EXT
        with pytest.raises(errors.MissingInputError, match=r"Put its files into .*, or mend the path"):
            Upper().run()

    def test_where_one_is_missing_no_folder_is_made(self, working_dir):
        """B8: folders are made when something is written, and not when somebody asks."""
        for task in (Upper(), length()):
            task.output()
            assert not task.complete()
            assert not task.output().exists()
            assert task.report().empty
            with pytest.raises(errors.MissingInputError):
                task.plan()
            with pytest.raises(errors.MissingInputError):
                task.run()
        assert build(length()).status == luigi.LuigiStatusCode.MISSING_EXT
        assert os.listdir(working_dir) == []

    def test_a_plan_makes_no_folder_either(self, letters, working_dir):
        """B8: what luisy calls a dry run."""
        assert Upper().plan().counts == {"new": 2}
        assert os.listdir(working_dir / "pipelines") == ["raw"]

    @pytest.mark.parametrize("task", [Letters, WholeLayer])
    def test_a_file_in_place_of_one_is_no_folder(self, task):
        """B9: whether the folder has a name or is the layer itself, it is not there, and reading says so."""
        path = task().output().path
        os.makedirs(os.path.dirname(path))
        with open(path, "w") as file:
            file.write("no folder")

        assert not task().output().exists()
        assert not task().complete()
        assert build(task()).status == luigi.LuigiStatusCode.MISSING_EXT
        with pytest.raises(errors.MissingInputError, match=f"There is no folder {re.escape(repr(path))}"):
            list(task().read())

    def test_nested_folders_are_walked(self, write_files):
        """B10: at any depth, and the outputs lie as the inputs do."""
        write_files(Letters().output().path, {"a.txt": b"one", "x/a.txt": b"two", "x/y/z/a.txt": b"three"})
        Upper().run()
        assert files_below(Upper().output().path) == ["a.txt", "x/a.txt", "x/y/z/a.txt"]

    def test_a_folder_named_like_a_file_is_no_item(self, letters, write_files):
        """B11: it is walked like any other."""
        write_files(letters, {"x.txt/c.txt": b"gamma"})
        os.makedirs(os.path.join(letters, "empty.txt"))
        Upper().run()
        assert statuses(Upper()) == {"a": "written", "b": "written", "x.txt/c": "written"}

    def test_a_link_that_leads_nowhere_is_an_item_that_failed_and_the_others_go_on(self, letters, monkeypatch):
        """B11: it has a reason in the report, and costs the task only what max_errors says."""
        os.symlink("/nowhere", os.path.join(letters, "aa.txt"))
        with pytest.raises(errors.ItemsFailedError, match="aa: FileNotFoundError"):
            Upper().run()

        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        Upper().run()
        assert statuses(Upper()) == {"a": "written", "aa": "failed", "b": "written"}
        assert "No such file" in Upper().report().loc["aa", "error"]

    def test_a_linked_file_is_an_item_of_its_own_whose_change_is_noticed(self, write_files, working_dir):
        """B12: by its own name, with what it leads to; linked folders are not followed, so no circle is walked."""
        elsewhere = write_files(working_dir / "elsewhere", {"real.txt": b"real"})
        letters = write_files(Letters().output().path, {"a.txt": b"alpha"})
        os.symlink(os.path.join(elsewhere, "real.txt"), os.path.join(letters, "linked.txt"))
        os.symlink(letters, os.path.join(letters, "circle"))
        Upper().run()
        assert {item.key: text for item, text in Upper().items()} == {"a": "ALPHA", "linked": "REAL"}

        write_files(elsewhere, {"real.txt": b"changed"}, age_seconds=30)
        assert not Upper().complete()

    def test_order_is_key_order_however_the_files_came(self, write_files):
        """B13: of what is read, of the manifest and of what is read from the result."""
        names = ["m", "b", "z", "a", "b/c", "a-b", "Z", "k"]
        for name in names:
            write_files(Letters().output().path, {f"{name}.txt": name.encode()})
        Upper().run()

        assert list(Letters().read()) == sorted(names)
        assert [entry.key for entry in Upper().output().manifest().entries()] == sorted(names)
        assert list(Upper().read()) == [name.upper() for name in sorted(names)]

    def test_names_that_differ_after_their_first_dot_are_two_items(self, write_files):
        """B14: a.1 and a.2 are two keys."""
        write_files(Letters().output().path, {"a.1.txt": b"one", "a.2.txt": b"two"})
        Upper().run()
        assert list(Upper().read()) == ["ONE", "TWO"]

    def test_two_files_of_one_key_are_an_error_that_names_both_before_any_work(self, write_files, working_dir):
        """B14: where the reader skips neither of them."""

        @luisy.make_directory_output(os.path.basename)
        @luisy.raw
        class Named(luisy.ExternalTask):
            def get_folder_name(self):
                return "named"

        @luisy.interim
        @luisy.requires(Named)
        @luisy.directory_task(".txt", engine="serial")
        def copied(name):
            return name

        write_files(Named().output().path, {"a.png": b"", "a.jpg": b"", "b.png": b""})
        with pytest.raises(errors.KeyCollisionError, match=r"'a\.jpg' and 'a\.png' would both be written as 'a'"):
            copied().run()
        assert not os.path.exists(copied().get_outdir())

    def test_a_file_of_the_same_key_that_the_reader_skips_does_no_harm(self, letters, write_files):
        """B14: a description beside its letter is recorded under its whole path."""
        write_files(letters, {"a.json": b"{}"})
        Upper().run()
        assert statuses(Upper()) == {"a": "written", "a.json": "skipped", "b": "written"}


class TestNamesAndPlaces:
    def test_inputs_named_like_the_outputs_own_files_do_no_harm(self, write_files):
        """B15: the manifest lies in a hidden folder, where no key leads."""
        names = ["Upper", "CURRENT", "manifest", "00000001", "Upper/Upper", "lock", "Upper_seconds=1"]
        write_files(Letters().output().path, {f"{name}.txt": name.encode() for name in names})
        hidden = [".manifest/00000001.txt", ".manifest.txt", ".Upper.staging/lock.txt"]
        write_files(Letters().output().path, dict.fromkeys(hidden, b"hidden"))
        assert build(length()).status == luigi.LuigiStatusCode.SUCCESS

        assert {item.key: text for item, text in Upper().items()} == {name: name.upper() for name in names}
        assert list(length().read()) == [len(name) for name in sorted(names)]
        assert length().complete()

    @pytest.mark.parametrize("key", [".manifest/CURRENT", "../Upper", ".manifest/00000001"])
    def test_an_output_cannot_be_named_like_the_manifest(self, letters, key):
        """B15: nor can what process yields lie there."""

        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task(".txt", engine="serial")
        def hostile(text):
            yield luisy.Output(text, key=key)

        with pytest.raises(errors.ItemsFailedError, match="cannot be the key of an output"):
            hostile().run()
        assert not hostile().complete()

    def test_a_working_directory_that_was_moved_stays_complete_and_readable(self, working_dir, write_files):
        """B16: no manifest holds an absolute path."""
        settings.set_working_dir(working_dir / "before")
        write_files(Letters().output().path, {"a.txt": b"alpha", "x/b.txt": b"beta"})
        build(length())
        for task in (Upper(), length()):
            for name in os.listdir(os.path.join(task.output().path, ".manifest")):
                with open(os.path.join(task.output().path, ".manifest", name), "rb") as file:
                    assert os.fsencode(working_dir) not in file.read()

        os.rename(working_dir / "before", working_dir / "after")
        settings.set_working_dir(working_dir / "after")
        assert Upper().complete()
        assert length().complete()
        assert list(Upper().read()) == ["ALPHA", "BETA"]
        assert list(length().read()) == [5, 4]
        assert os.listdir(working_dir) == ["after"]

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (luigi.DictParameter(), ({"a": 1}, {"a": 2})),
            (luigi.ListParameter(), ([1, 2], ["1_2"])),
            (luigi.Parameter(), ("a/b", "a b")),
            (luigi.Parameter(), ("x" * 300, "x" * 301)),
            (luigi.OptionalParameter(default=None), (None, "None")),
        ],
        ids=["dictionaries", "lists", "slashes", "long", "none"],
    )
    def test_two_values_have_two_names_that_a_file_system_can_hold(self, letters, one, other):
        """B20: for directories and for single files, whatever the values are."""

        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_output(".json", engine="serial")
        class Many(luisy.DirectoryTask):
            value = one

            def process(self, text):
                return repr(self.value)

        @luisy.interim
        @luisy.json_output
        class Single(luisy.Task):
            value = one

            def run(self):
                self.write(repr(self.value))

        many, single = [Many(value=value) for value in other], [Single(value=value) for value in other]
        assert build(*many, *single).status == luigi.LuigiStatusCode.SUCCESS
        assert len({task.output().path for task in many + single}) == 4
        assert [next(task.read()) for task in many] == [task.read() for task in single]
        assert many[0].complete()
        assert many[1].complete()
        assert single[0].read() != single[1].read()

    def test_insignificant_parameters_change_no_name(self):
        """B20: what Luigi does not count as a part of a task is no part of its folder's or file's name."""

        class Noted(luisy.Task):
            year = luigi.IntParameter()
            note = luigi.Parameter(significant=False)

        assert Noted(year=1, note="a").get_outfile() == Noted(year=1, note="b").get_outfile()
        assert Noted(year=1, note="a").get_outfile() != Noted(year=2, note="a").get_outfile()

    def test_staging_lies_beside_the_output_and_not_in_a_temporary_directory(self, letters, working_dir, monkeypatch):
        """B28: so that publishing is one rename on one file system, whatever /tmp is like."""
        elsewhere = working_dir / "temporary"
        elsewhere.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
        monkeypatch.setenv("TMPDIR", str(elsewhere))

        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_task(".txt", engine="serial")
        def observed(text, item):
            layer = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(item.path))), "interim")
            item.meta["beside"] = "/".join(sorted(os.listdir(layer)))
            item.meta["temporary"] = len(os.listdir(tempfile.gettempdir()))
            return text

        observed.project_name = "pipelines"  # the layer folder is found from the letters'
        observed().run()
        report = observed().report()
        staging = staging_of(observed().output().path)
        assert set(report["beside"]) == {os.path.basename(staging)}
        assert set(report["temporary"]) == {0}
        assert os.path.dirname(staging) == observed().get_outdir()
        assert os.listdir(observed().get_outdir()) == ["observed"]

    def test_the_manifest_lists_every_file_with_its_size_and_digest(self, letters, write_files):
        """B29: no file of a result is known to whoever wrote it alone."""
        write_files(letters, {"x/c.txt": b"gamma"})
        Upper().run()
        folder = Upper().output().path
        listed = {output.path: output for entry in Upper().output().manifest().entries() for output in entry.outputs}

        assert sorted(listed) == files_below(folder) == ["a.txt", "b.txt", "x/c.txt"]
        for path, output in listed.items():
            with open(os.path.join(folder, path), "rb") as file:
                content = file.read()
            assert output.size == len(content)
            assert output.digest == xxhash.xxh3_128_hexdigest(content)


class TestHalfWritten:
    def test_a_file_that_was_half_written_is_not_published(self, letters, monkeypatch):
        """B17: the item has failed, also for a second build; within max_errors the others are published without it."""
        for _ in range(2):
            assert build(HalfWritten()).status == luigi.LuigiStatusCode.FAILED
            assert not HalfWritten().complete()
            assert not os.path.exists(HalfWritten().output().path)

        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        HalfWritten().run()
        assert files_below(HalfWritten().output().path) == ["a.txt"]
        assert list(HalfWritten().read()) == ["alpha"]

    @pytest.mark.parametrize("name", ["a.txt", ".manifest/00000001.jsonl", ".manifest/CURRENT"])
    def test_a_file_that_was_truncated_afterwards_is_noticed_and_made_again(self, letters, name):
        """B17: whether it is a result or a part of the manifest."""
        build(length())
        path = os.path.join(Upper().output().path, name)
        os.truncate(path, os.path.getsize(path) // 2)

        assert not Upper().complete()
        assert not length().complete()
        with pytest.raises((errors.InputChangedError, errors.ManifestError)):
            list(Upper().read())
        assert build(length()).status == luigi.LuigiStatusCode.SUCCESS
        assert list(Upper().read()) == ["ALPHA", "BETA"]
        assert list(length().read()) == [5, 4]

    def test_where_no_record_can_be_read_a_build_is_no_success(self, letters):
        """B17: nothing tells any more that the directory is this task's, and what is not ours is left alone."""
        build(length())
        path = os.path.join(Upper().output().path, ".manifest", "00000001.json")
        os.truncate(path, os.path.getsize(path) // 2)

        assert not Upper().complete()
        assert not length().complete()
        assert build(length()).status == luigi.LuigiStatusCode.FAILED
        with pytest.raises(errors.ManifestError):
            list(Upper().read())
        with pytest.raises(errors.ManifestError, match="not known which task"):
            Upper().run()
        assert files_below(Upper().output().path) == ["a.txt", "b.txt"]

    def test_a_single_file_that_was_half_written_is_not_there(self, working_dir):
        """B17: of a task in the long form, whose object cannot be pickled to its end."""

        @luisy.interim
        class Unpicklable(luisy.Task):
            def run(self):
                self.write([bytes(1_000_000), lambda: None])

        for _ in range(2):
            assert build(Unpicklable()).status == luigi.LuigiStatusCode.FAILED
            assert not Unpicklable().complete()
        assert files_below(working_dir) == []


class TestClean:
    def test_it_removes_the_whole_directory(self, letters):
        """B18: with its manifest, and with no other task's files."""
        build(Upper(), Lower())
        Upper().clean()
        assert os.listdir(Upper().get_outdir()) == []
        assert not Upper().complete()
        assert list(Lower().read()) == ["alpha", "beta"]

        Upper().run()
        assert Upper().complete()

    def test_what_is_stale_is_removed_like_anything_else(self, letters, monkeypatch):
        """B18: though nobody need do so, since a run brings it up to date."""

        def process(self, text):
            return text.upper() + "!"

        Upper().run()
        monkeypatch.setattr(Upper, "process", process)
        assert not Upper().complete()
        Upper().clean()
        Upper().run()
        assert list(Upper().read()) == ["ALPHA!", "BETA!"]

    def test_it_removes_a_folder_of_parquet_files(self, working_dir):
        """B18: a target that is a folder."""
        pd = pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")

        @luisy.parquetdir_output("measured")
        @luisy.interim
        class Measured(luisy.Task):
            def run(self):
                self.write([pd.DataFrame({"size": [1]}), pd.DataFrame({"size": [2]})])

        Measured().run()
        assert Measured().read()["size"].tolist() == [1, 2]
        Measured().clean()
        assert not Measured().complete()
        assert files_below(working_dir) == []

    def test_it_never_touches_a_raw_folder(self, letters):
        """B18: nor does remove()."""
        for remove in (Letters().clean, Letters().output().remove):
            with pytest.raises(errors.ForeignDirectoryError):
                remove()
        assert files_below(letters) == ["a.txt", "b.txt"]


class TestReaders:
    def test_two_decorators_do_not_share_a_reader(self, write_files):
        """B19: each class has its own reader and pattern, and so has each target, in whatever order they are made."""

        @luisy.make_directory_output(lambda path: ("first", os.path.basename(path)))
        @luisy.raw
        class First(luisy.ExternalTask):
            def get_folder_name(self):
                return "shared"

        first = First().output()

        @luisy.make_directory_output(lambda path: ("second", os.path.basename(path)), regex_pattern="2")
        @luisy.raw
        class Second(luisy.ExternalTask):
            def get_folder_name(self):
                return "shared"

        write_files(first.path, {"1.txt": b"", "2.txt": b""})
        assert list(Second().read()) == [("second", "2.txt")]
        assert list(first.read()) == list(First().read()) == [("first", "1.txt"), ("first", "2.txt")]

    @pytest.mark.parametrize(
        ("pattern", "names"),
        [
            (r"\.csv$", ["cats/y.csv", "x.csv"]),
            (".csv", ["acsv.png", "cats/y.csv", "x.csv", "x.csv.bak"]),
            ("^cats/", ["cats/y.csv", "cats/z.txt"]),
            (None, ["acsv.png", "cats/y.csv", "cats/z.txt", "x.csv", "x.csv.bak"]),
        ],
    )
    def test_a_pattern_is_searched_in_the_relative_path(self, write_files, pattern, names):
        """B21: so it says of the decorator; an anchor is the user's to write, and folders can be chosen."""

        @luisy.make_directory_output(lambda path: path, regex_pattern=pattern)
        @luisy.raw
        class Chosen(luisy.ExternalTask):
            def get_folder_name(self):
                return "chosen"

        folder = Chosen().output().path
        write_files(folder, dict.fromkeys(["acsv.png", "x.csv", "x.csv.bak", "cats/y.csv", "cats/z.txt"], b""))
        found = [item.sources[0].path for item in Chosen().output().scan()]
        assert sorted(found) == names
        assert "re.search" in luisy.make_directory_output.__doc__

    def test_a_file_that_the_reader_skipped_is_recorded(self, letters, write_files):
        """B22: None says that a file is not ours; the report says which these were."""
        write_files(letters, {"readme.md": b"not ours"})
        Upper().run()
        report = Upper().report()
        assert report.loc["readme", "status"] == "skipped"
        assert report.loc["readme", "reason"] == "the reader returned None"
        assert report.loc["readme", "sources"] == ["readme.md"]
        assert Upper().output().manifest().record.counts["skipped"] == 1

    def test_data_that_is_nothing_can_be_read_all_the_same(self, write_files):
        """B22: what is empty or false is not None, and a tuple may hold None."""

        @luisy.make_directory_output(lambda path: {"a": (None,), "b": 0, "c": "", "d": None}[os.path.basename(path)[0]])
        @luisy.raw
        class Empty(luisy.ExternalTask):
            def get_folder_name(self):
                return "empty"

        write_files(Empty().output().path, dict.fromkeys(["a.txt", "b.txt", "c.txt", "d.txt"], b""))
        assert list(Empty().read()) == [(None,), 0, ""]

    def test_reading_can_be_repeated(self, letters):
        """B23: each read() begins anew, also while another is under way."""
        Upper().run()
        target = Upper().output()
        one, other = target.read(), target.read()
        assert next(one) == "ALPHA"
        assert list(other) == list(target.read()) == ["ALPHA", "BETA"]
        assert list(one) == ["BETA"]

    def test_reading_a_directory_that_has_gone_is_an_error_that_says_so(self, letters):
        """B23: never an empty result, though reading is lazy and the error comes with the first item."""
        Upper().run()
        assert Upper().complete()
        published, raw = Upper().read(), Letters().read()
        shutil.rmtree(Upper().output().path)
        shutil.rmtree(letters)
        with pytest.raises(errors.ManifestError, match="Run its task again"):
            next(published)
        with pytest.raises(errors.MissingInputError, match="Run its task first"):
            next(Upper().read())
        with pytest.raises(errors.MissingInputError, match="There is no folder"):
            next(raw)


class TestWithLuigi:
    @pytest.mark.parametrize(
        ("files", "code"), [({"a.txt": b"fine"}, 0), ({}, 20), ({"a.txt": b"fine", "b.txt": b"fail now"}, 30)]
    )
    def test_with_retcode_the_exit_code_says_what_happened(self, write_files, working_dir, files, code):
        """B24: a failure is never zero where [retcode] is set, as it is in the shipped luigi.cfg."""
        write_files(Letters().output().path, files)
        answer = subprocess.run(
            [LUIGI, "--module", "pipelines", "Strict", "--local-scheduler", "--no-lock"],
            env=os.environ
            | {
                "PYTHONPATH": os.path.join(REPOSITORY, "tests"),
                "LUIGI_CONFIG_PATH": os.path.join(REPOSITORY, "luigi.cfg"),
                "LUISY_DIR_WORKING_DIR": str(working_dir),
            },
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert answer.returncode == code, answer.stderr

    def test_of_tasks_that_never_ran_nothing_is_recorded(self, write_files, working_dir):
        """B25: neither after missing data nor after a failure further up."""
        assert build(length()).status == luigi.LuigiStatusCode.MISSING_EXT
        assert files_below(working_dir) == []

        write_files(Letters().output().path, {"a.txt": b"fine"})

        @luisy.final
        @luisy.requires(HalfWritten)
        @luisy.directory_task(".json", engine="serial")
        def after(text):
            return text

        write_files(Letters().output().path, {"a.txt": b"fine", "b.txt": b"beta"})
        assert build(after()).status == luigi.LuigiStatusCode.FAILED
        assert after().report().empty
        assert not os.path.exists(after().get_outdir())
        assert not os.path.exists(os.path.join(working_dir, "test_luisy_defects", "final"))

    def test_parameters_named_like_the_beginning_of_a_flag_reach_the_task(self):
        """B26: nothing stands before Luigi's command line that would take --up, --dry or --spark."""

        @luisy.interim
        @luisy.requires(Letters)
        @luisy.directory_output(".txt", engine="serial")
        class Prefixed(luisy.DirectoryTask):
            up = luigi.Parameter()
            dry = luigi.BoolParameter()
            spark = luigi.Parameter()

            def process(self, text):
                return text

        arguments = ["Prefixed", "--up", "1", "--dry", "--spark", "x"]
        with CmdlineParser.global_instance(arguments) as parser:
            task = parser.get_task_obj()
        assert (task.up, task.dry, task.spark) == ("1", True, "x")


class Bomb:
    """Whoever unpickles this makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


class TestPickles:
    """Only what the user chose to be a pickle is ever unpickled."""

    def test_the_bomb_is_live(self, working_dir):
        """B27: in a .pkl, which is what its reader's docstring warns of; else the next test would say nothing."""
        path = working_dir / "bomb.pkl"
        path.write_bytes(pickle.dumps(Bomb(str(working_dir / "it went off"))))
        format_for(".pkl").read(str(path))
        assert (working_dir / "it went off").exists()
        assert "can run any code" in format_for(".pkl").read.__doc__

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_no_other_format_unpickles(self, working_dir, suffix):
        """B27: neither a pickle under a wrong name, nor one within an array."""
        path = str(working_dir / f"bomb{suffix}")
        bomb = Bomb(str(working_dir / "it went off"))
        with open(path, "wb") as file:
            if suffix == ".npy":
                np.save(file, np.array([bomb], dtype=object), allow_pickle=True)
            elif suffix == ".npz":
                np.savez(file, bomb=np.array([bomb], dtype=object))
            else:
                pickle.dump(bomb, file)
        with contextlib.suppress(Exception):
            format_for(suffix).read(path)
        assert not (working_dir / "it went off").exists()

    def test_a_file_that_would_have_to_be_unpickled_is_an_item_that_failed(self, working_dir, monkeypatch):
        """B27: with its reason, and the others go on."""

        @luisy.make_directory_output(format_for(".npy").read)
        @luisy.raw
        class ArrayFiles(luisy.ExternalTask):
            def get_folder_name(self):
                return "arrays"

        @luisy.interim
        @luisy.requires(ArrayFiles)
        @luisy.directory_task(".npy", engine="serial")
        def doubled(array):
            return array * 2

        os.makedirs(ArrayFiles().output().path)
        np.save(os.path.join(ArrayFiles().output().path, "good.npy"), np.arange(3))
        bad = np.array([Bomb(str(working_dir / "it went off"))], dtype=object)
        np.save(os.path.join(ArrayFiles().output().path, "bad.npy"), bad, allow_pickle=True)
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        doubled().run()
        assert statuses(doubled()) == {"bad": "failed", "good": "written"}
        assert "allow_pickle" in doubled().report().loc["bad", "error"]
        assert not (working_dir / "it went off").exists()

    def test_the_manifest_is_text(self, letters):
        """B27: what luisy_dir keeps for itself is JSON."""
        Upper().run()
        folder = os.path.join(Upper().output().path, ".manifest")
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                assert all(name == "CURRENT" or isinstance(json.loads(line), dict) for line in file)
