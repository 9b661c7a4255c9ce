"""Groups: several files are one item, and are processed again as a whole."""

from __future__ import annotations

import contextlib
import enum
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import luigi
import pytest
from conftest import files_below
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import luisy_dir as luisy
from luisy_dir import errors, grouping, planning
from luisy_dir.errors import DefinitionError, InputError, UnmatchedKeysError
from luisy_dir.grouping import Grouping
from luisy_dir.item import Item, Source
from luisy_dir.job import decode_job, job_of
from luisy_dir.plan import Reason
from luisy_dir.storage import local
from luisy_dir.storage.probe import Capabilities

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def read_piece(path):
    """Text of a file that is ours."""
    if path.endswith(".png"):
        return None
    with open(path, errors="surrogateescape") as file:
        text = file.read()
    if text.startswith("broken"):
        raise ValueError("cannot be read")
    if text.startswith("unwanted"):
        raise luisy.Reject("not wanted")
    return None if text.startswith("alien") else text


@luisy.make_directory_output(read_piece)
@luisy.raw
class Pieces(luisy.ExternalTask):
    def get_folder_name(self):
        return "pieces"


@luisy.make_directory_output(read_piece)
@luisy.raw
class OtherPieces(luisy.ExternalTask):
    def get_folder_name(self):
        return "other"


def folder_of(key):
    """Files at the top are left out."""
    return key.rpartition("/")[0] or None


DONE: list[str] = []


def note(item):
    """Note what is processed, wherever that happens."""
    DONE.append(item.key)
    log = os.environ.get("LOG_OF_GROUPS")
    if log:
        descriptor = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(descriptor, item.key.encode() + b"\n")
        os.close(descriptor)
        time.sleep(float(os.environ.get("PAUSE", "0")))


def name_of(path):
    return os.path.basename(path).encode(errors="backslashreplace").decode()


@luisy.interim
@luisy.requires(Pieces)
@luisy.directory_task(".txt", engine="serial", group_by=folder_of)
def glued(pieces, item):
    note(item)
    item.meta["keys"] = item.keys
    item.meta["names"] = [name_of(path) for path in item.paths]
    item.meta["first"] = name_of(item.path)
    item.meta["noise"] = item.rng.random()
    return "+".join(pieces)


@luisy.interim
@luisy.requires(Pieces)
@luisy.directory_task(".txt", engine="serial", group_by=folder_of)
def numbered(pieces):
    for number, piece in enumerate(pieces):
        yield luisy.Output(piece, key=str(number))


@luisy.interim
@luisy.requires(Pieces)
@luisy.directory_task(".txt", engine="serial")
def cut(piece, item):
    note(item)
    for number, word in enumerate(piece.split()):
        yield luisy.Output(word, key=f"{number:02d}")


@luisy.final
@luisy.requires(cut)
@luisy.directory_task(".txt", engine="serial", group_by=folder_of)
def stitched(words, item):
    note(item)
    return " ".join(words)


def in_two_formats(piece):
    yield luisy.Output(piece, key="x")
    yield luisy.Output(piece, key="x", suffix=".json")


def reading(pieces, item):
    note(item)
    return "+".join(pieces)


@pytest.fixture(autouse=True)
def nothing_done():
    DONE.clear()


def done():
    """Keys that were processed since this was asked last, in order."""
    keys = sorted(DONE)
    DONE.clear()
    return keys


@pytest.fixture
def pieces(write_files):
    return write_files(
        Pieces().output().path,
        {"a/1.txt": b"one", "a/2.txt": b"two", "b/1.txt": b"uno", "b/c/1.txt": b"deep", "loose.txt": b"loose"},
    )


def results(task):
    return {item.key: text for item, text in task().items()}


def entries(task):
    return {entry.key: entry for entry in task().output().manifest().entries()}


def meta(task):
    return {key: entry.meta for key, entry in entries(task).items()}


class TestAnItemOfSeveralFiles:
    def test_process_gets_the_data_of_a_group_in_key_order(self, pieces):
        glued().run()

        assert results(glued) == {"a": "one+two", "b": "uno", "b/c": "deep"}
        assert meta(glued)["a"] | {"noise": 0} == {
            "keys": ["a/1", "a/2"], "names": ["1.txt", "2.txt"], "first": "1.txt", "noise": 0
        }  # fmt: skip

    def test_the_entry_names_every_file_with_its_digest(self, pieces):
        glued().run()

        sources = entries(glued)["a"].sources
        assert [(source.root, source.path) for source in sources] == [("Pieces", "a/1.txt"), ("Pieces", "a/2.txt")]
        assert [source.digest for source in sources] == [
            local.digest_of(os.path.join(pieces, source.path))[0] for source in sources
        ]

    def test_a_file_without_a_group_is_no_item(self, pieces):
        glued().run()

        assert "loose" not in str(entries(glued))

    def test_items_stand_in_the_order_of_their_group_keys_whatever_the_function_makes_of_keys(self, pieces):
        grouping = Grouping(lambda key: str(9 - len(key)), "Reversed")

        items = list(grouping.groups(Pieces().output().scan("Pieces")))

        assert [(item.key, item.keys) for item in items] == [
            ("4", ["b/c/1", "loose"]), ("6", ["a/1", "a/2", "b/1"])
        ]  # fmt: skip

    def test_files_of_one_key_may_be_one_item(self, write_files):
        """The reader is not asked which of them is meant, because all of them are."""
        write_files(Pieces().output().path, {"a.json": b"{}", "a.txt": b"text", "b.txt": b"alone"})
        both = luisy.requires(Pieces)(
            luisy.directory_task(".txt", engine="serial", group_by=lambda key: key)(glued.function)
        )

        both().run()

        assert results(both) == {"a": "{}+text", "b": "alone"}
        assert meta(both)["a"]["keys"] == ["a", "a"]
        assert meta(both)["a"]["names"] == ["a.json", "a.txt"]

    def test_files_of_one_key_stand_in_the_order_of_their_paths_however_they_were_written(self, pieces):
        split = luisy.interim(luisy.requires(Pieces)(luisy.directory_task(".txt", engine="serial")(in_two_formats)))
        both = luisy.requires(split)(
            luisy.directory_task(".txt", engine="serial", group_by=lambda key: key)(glued.function)
        )
        split().run()

        both().run()

        assert meta(both)["a/1/x"]["names"] == ["x.json", "x.txt"]

    def test_random_numbers_depend_on_the_group_key_and_not_on_its_members(self, pieces, write_files):
        glued().run()
        before = meta(glued)["a"]["noise"]
        write_files(pieces, {"a/0.txt": b"zero"})

        glued().run()

        assert meta(glued)["a"]["noise"] == before

    def test_a_group_may_have_several_outputs(self, pieces):
        numbered().run()

        assert files_below(numbered().output().path) == ["a/0.txt", "a/1.txt", "b/0.txt", "b/c/0.txt"]

    def test_names_that_are_no_text_may_be_members(self, write_files):
        folder = write_files(Pieces().output().path, {"x/1.txt": b"one"})
        with open(os.fsencode(folder) + b"/x/\xff.txt", "w") as file:
            file.write("two")

        glued().run()

        assert results(glued) == {"x": "two+one"}
        assert meta(glued)["x"]["keys"] == ["x/%FF", "x/1"]
        assert glued().plan().counts == {"unchanged": 1}
        assert glued().complete()

    @pytest.mark.parametrize("engine", ["threads", "processes", "async"])
    def test_every_engine_gives_the_same_answer(self, pieces, monkeypatch, engine):
        glued().run()
        directory = glued().output().path
        shutil.copytree(directory, directory + "-serial")
        serial = luisy.DirectoryTask.output(glued()).__class__(directory + "-serial", glued().output().format)
        glued().output().remove()
        monkeypatch.setenv("LUISY_DIR_ENGINE", engine)

        glued().run()

        assert glued().output().manifest().same_as(serial.manifest())

    def test_a_recheck_gives_each_member_its_key_too(self, pieces):
        glued().run()

        assert glued().recheck(1.0).rows == ()

    def test_an_item_crosses_to_a_worker_with_the_keys_of_its_members(self):
        item = Item("g", (Source("A", "g/1.x.y", 1, 1), Source("A", "g/2.x.y", 1, 1)), {"A": "/a"}, 7, ("g/1", "g/2"))

        (again,) = decode_job(job_of(item)).opened(item.folders, item.seed)

        assert (again.key, again.keys, again.paths) == ("g", ["g/1", "g/2"], ["/a/g/1.x.y", "/a/g/2.x.y"])


class TestWhatIsLeftOut:
    def test_what_the_reader_skips_is_not_in_the_list_and_stays_a_source(self, pieces, write_files):
        write_files(pieces, {"a/0.txt": b"alien", "a/1.png": b"picture"})

        glued().run()

        assert results(glued)["a"] == "one+two"
        assert meta(glued)["a"]["keys"] == ["a/1", "a/2"]
        assert meta(glued)["a"]["first"] == "1.txt"
        assert [source.path for source in entries(glued)["a"].sources] == [
            "a/0.txt", "a/1.png", "a/1.txt", "a/2.txt"
        ]  # fmt: skip

    def test_a_group_of_which_all_is_skipped_is_skipped(self, pieces, write_files):
        write_files(pieces, {"a/1.txt": b"alien", "a/2.txt": b"alien"})

        glued().run()

        assert entries(glued)["a"].status == "skipped"
        assert glued().complete()

    def test_what_was_skipped_makes_the_group_stale_when_it_changes(self, pieces, write_files):
        write_files(pieces, {"a/0.txt": b"alien"})
        glued().run()
        done()
        write_files(pieces, {"a/0.txt": b"no alien"})

        assert not glued().complete()
        glued().run()

        assert (done(), results(glued)["a"]) == (["a"], "no alien+one+two")

    def test_what_becomes_of_a_file_without_a_group_makes_nothing_stale(self, pieces, write_files, monkeypatch):
        """And is found out from sums: no item is looked at."""
        glued().run()
        write_files(pieces, {"loose.txt": b"another", "looser.txt": b"new"})
        monkeypatch.setattr(grouping.Grouping, "groups", lambda *_: pytest.fail("items were made"))

        assert glued().complete()
        assert glued().plan().counts == {"unchanged": 3}
        assert glued().plan().is_at_rest

    def test_the_function_is_not_called_where_the_sums_of_all_files_are_the_same(self, pieces, monkeypatch):
        os.unlink(os.path.join(pieces, "loose.txt"))
        glued().run()
        monkeypatch.setattr(grouping.Grouping, "group_of", lambda *_: pytest.fail("was called"))

        assert glued().complete()

    def test_a_new_member_is_seen_however_its_name_is_spelled_in_the_manifest(self, pieces):
        """What is no text is percent-encoded there as a whole, and in keys only where it must be."""
        task = with_groups(lambda key: "spaced" if " " in key else None)
        for name in (b"a b.txt", b"\xff c.txt"):
            with open(os.path.join(os.fsencode(pieces), name), "w") as file:
                file.write("text")
            os.utime(os.path.join(os.fsencode(pieces), name), (1e9, 1e9))
            assert not task().complete()
            task().run()
            assert task().complete()

        assert results(task) == {"spaced": "text+text"}

    def test_where_no_file_has_a_group_the_task_says_why_it_has_no_items(self, write_files):
        write_files(Pieces().output().path, {"loose.txt": b"loose"})

        with pytest.raises(errors.MissingInputError, match="or group_by returns None for all of them"):
            glued().run()

    def test_a_file_that_is_removed_during_the_run_counts_as_never_there(self, pieces, monkeypatch):
        def vanishing(path):
            if path.endswith("a/1.txt"):
                os.unlink(path)
                raise FileNotFoundError(path)
            return read_piece(path)

        monkeypatch.setattr(Pieces, "read_file", staticmethod(vanishing))
        glued().run()

        assert results(glued)["a"] == "two"
        assert meta(glued)["a"]["keys"] == ["a/2"]
        assert glued().plan().counts == {"unchanged": 3}

    def test_a_group_of_which_all_is_removed_during_the_run_is_left_out(self, pieces, monkeypatch):
        def vanishing(path):
            if "/a/" in path:
                os.unlink(path)
                raise FileNotFoundError(path)
            return read_piece(path)

        monkeypatch.setattr(Pieces, "read_file", staticmethod(vanishing))
        glued().run()

        assert entries(glued).keys() == {"b", "b/c"}


class TestFailures:
    def test_a_file_that_cannot_be_read_fails_its_group_and_is_named(self, pieces, write_files):
        write_files(pieces, {"a/2.txt": b"broken"})

        with pytest.raises(errors.ItemsFailedError, match=r"a: ValueError: 'a/2\.txt' of Pieces: cannot be read"):
            glued().run()

    def test_it_is_tried_again_when_any_file_of_the_group_is_mended(self, pieces, write_files, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        write_files(pieces, {"a/2.txt": b"broken"})
        glued().run()
        assert all(source.digest for source in entries(glued)["a"].sources)
        done()
        write_files(pieces, {"a/2.txt": b"mended"})

        assert glued().plan().counts == {"unchanged": 2, "changed": 1}
        glued().run()

        assert (done(), results(glued)["a"]) == (["a"], "one+mended")

    def test_a_reader_that_rejects_a_file_rejects_its_group_and_names_it(self, pieces, write_files):
        write_files(pieces, {"a/2.txt": b"unwanted"})

        glued().run()

        entry = entries(glued)["a"]
        assert (entry.status, entry.error.message) == ("rejected", "'a/2.txt' of Pieces: not wanted")

    def test_an_error_of_process_names_no_file(self, pieces, monkeypatch):
        def refusing(pieces, item):
            raise ValueError("refused")

        monkeypatch.setattr(glued, "function", staticmethod(refusing))

        with pytest.raises(errors.ItemsFailedError, match="a: ValueError: refused"):
            glued().run()

    def test_a_group_too_large_for_an_entry_is_refused_before_any_work(self, pieces, monkeypatch):
        monkeypatch.setattr(grouping, "_MANY", 2)
        monkeypatch.setattr(grouping, "LINE_LIMIT_BYTES", 400)

        with pytest.raises(InputError, match="2 files are in the group 'a'"):
            glued().run()
        assert done() == []


def with_groups(group_by):
    """A task over the pieces with another function."""
    return luisy.interim(
        luisy.requires(Pieces)(luisy.directory_task(".txt", engine="serial", group_by=group_by)(reading))
    )


class Side(str, enum.Enum):  # noqa: UP042 - an enum.StrEnum is shown as its text anyway
    LEFT = "a"
    RIGHT = "b"


def raising(key):
    raise RuntimeError(f"what is {key}?")


async def awaited(key):
    return key


class TestTheFunction:
    @pytest.mark.parametrize(
        "group",
        ["", "/", "../x", "x/../y", "/x", "x/", "a//b", ".hidden", "x/.y", "n" * 300, "\udcff", "x\0y", "thumbs.db"],
    )
    def test_a_group_key_that_cannot_be_a_path_is_refused_before_any_work(self, pieces, group):
        task = with_groups(lambda key: group)

        with pytest.raises(DefinitionError, match=r"group_by of reading returned .* for the key 'a/1'"):
            task().run()
        with pytest.raises(DefinitionError):
            task().plan()
        assert done() == []
        assert not os.path.exists(task().get_outdir())

    @pytest.mark.parametrize("group", [1, b"a", ["a"], 1.5, True])
    def test_so_is_what_is_no_text(self, pieces, group):
        with pytest.raises(DefinitionError, match="for the key 'a/1', and should return text"):
            with_groups(lambda key: group)().run()

    def test_a_word_of_an_enumeration_is_text(self, pieces):
        task = with_groups(lambda key: Side(folder_of(key)) if key in {"a/1", "b/1"} else None)

        assert "new: 'a', 'b'" in str(task().plan())
        task().run()

        assert files_below(task().output().path) == ["a.txt", "b.txt"]

    def test_what_it_raises_is_told_with_the_key(self, pieces):
        with pytest.raises(DefinitionError, match=r"raised RuntimeError for the key 'a/1': what is a/1\?") as caught:
            with_groups(raising)().run()
        assert isinstance(caught.value.__cause__, RuntimeError)

    @pytest.mark.parametrize("function", ["folder", 3, awaited])
    def test_what_is_no_plain_function_is_refused_where_it_is_given(self, function):
        with pytest.raises(DefinitionError, match=r"group_by of directory_task is .* should be a plain function"):
            luisy.directory_task(".txt", group_by=function)
        with pytest.raises(DefinitionError, match="group_by of directory_output is"):
            luisy.directory_output(".txt", group_by=function)

    def test_as_a_class_attribute_it_is_refused_when_a_task_is_made(self):
        @luisy.interim
        @luisy.requires(Pieces)
        @luisy.directory_output(".txt")
        class Misgrouped(luisy.DirectoryTask):
            process = reading
            group_by = "folder"

        with pytest.raises(DefinitionError, match="group_by of Misgrouped is 'folder'"):
            Misgrouped()

    def test_groups_that_are_one_name_for_the_disk_are_refused_before_any_work(self, pieces, monkeypatch):
        monkeypatch.setattr("luisy_dir.transaction.probe", lambda _: Capabilities(tells_case_apart=False))

        with pytest.raises(errors.KeyCollisionError, match="are one name on the file system"):
            with_groups(lambda key: "A" if key == "a/1" else "a")().run()
        assert done() == []

    def test_a_group_whose_output_would_be_the_folder_of_another_is_refused(self, pieces):
        with pytest.raises(errors.KeyCollisionError, match=r"into a folder 'x\.txt'"):
            with_groups(lambda key: "x" if key == "a/1" else "x.txt/y")().run()

    @pytest.mark.parametrize(
        "function",
        [
            folder_of,
            staticmethod(folder_of),
            classmethod(lambda cls, key: folder_of(key)),
            functools.partial(lambda end, key: folder_of(key), ""),
            lambda key: key.rpartition("/")[0] or None,
            lambda self, key: folder_of(key) and self.prefix + folder_of(key),
        ],
        ids=["function", "staticmethod", "classmethod", "partial", "lambda", "method"],
    )
    def test_as_a_class_attribute_it_may_be_any_callable(self, pieces, function):
        body = {"prefix": luigi.Parameter(default=""), "process": lambda self, pieces: "+".join(pieces)}
        cls = type("Grouped", (luisy.DirectoryTask,), {**body, "group_by": function})
        task = luisy.interim(luisy.requires(Pieces)(luisy.directory_output(".txt", engine="serial")(cls)))

        task().run()

        assert results(task) == {"a": "one+two", "b": "uno", "b/c": "deep"}
        assert task().complete()

    def test_a_method_may_use_the_parameters(self, pieces):
        @luisy.interim
        @luisy.requires(Pieces)
        @luisy.directory_output(".txt", engine="serial")
        class Below(luisy.DirectoryTask):
            folder = luigi.Parameter()

            def group_by(self, key):
                return f"under/{self.folder}" if key.startswith(self.folder) else None

            def process(self, pieces):
                return "+".join(pieces)

        Below(folder="b").run()

        assert list(Below(folder="b").read()) == ["uno+deep"]

    def test_it_is_part_of_the_fingerprint_where_there_is_one(self, pieces):
        glued().run()
        cut().run()

        assert "group_by" in glued().output().manifest().record.parts
        assert "group_by" not in cut().output().manifest().record.parts

    def test_another_function_makes_every_result_stale_and_nothing_counts_as_lost(self, pieces, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_DELETED", "0")
        glued().run()
        monkeypatch.setattr(glued, "group_by", staticmethod(lambda key: key.split("/")[0] + "!"))

        assert not glued().complete()
        glued().run()

        assert results(glued) == {"a!": "one+two", "b!": "uno+deep", "loose!": "loose"}

        monkeypatch.setattr(glued, "group_by", None)
        monkeypatch.setattr(glued, "function", staticmethod(lambda piece: piece))
        glued().run()

        assert results(glued)["a/1"] == "one"


class TestChanges:
    @pytest.fixture(autouse=True)
    def published(self, pieces):
        glued().run()
        done()

    def test_an_unchanged_directory_is_complete(self):
        assert glued().complete()
        assert glued().plan().counts == {"unchanged": 3}

    @pytest.mark.parametrize(
        ("change", "result"),
        [
            ({"a/2.txt": b"other"}, "one+other"),
            ({"a/0.txt": b"zero"}, "zero+one+two"),
            ({"a/2.txt": None}, "one"),
            ({"a/2.txt": None, "a/3.txt": b"two"}, "one+two"),
        ],
        ids=["changed", "added", "removed", "renamed"],
    )
    def test_a_group_is_processed_again_as_a_whole_when_one_of_its_files_is(self, pieces, write_files, change, result):
        write_files(pieces, {name: content for name, content in change.items() if content is not None})
        for name in (name for name, content in change.items() if content is None):
            os.unlink(os.path.join(pieces, name))

        assert glued().plan().counts == {"unchanged": 2, "changed": 1}
        assert not glued().complete()
        glued().run()

        assert done() == ["a"]
        assert results(glued) == {"a": result, "b": "uno", "b/c": "deep"}
        assert glued().complete()

    def test_it_is_deleted_when_all_of_its_files_are_gone(self, pieces):
        shutil.rmtree(os.path.join(pieces, "a"))

        assert glued().plan().counts == {"unchanged": 2, "deleted": 1}
        glued().run()

        assert files_below(glued().output().path) == ["b.txt", "b/c.txt"]

    def test_a_file_that_goes_into_another_group_changes_both(self, pieces):
        os.rename(os.path.join(pieces, "a/2.txt"), os.path.join(pieces, "b/2.txt"))

        glued().run()

        assert done() == ["a", "b"]
        assert results(glued) == {"a": "one", "b": "uno+two", "b/c": "deep"}

    def test_a_file_that_was_only_touched_makes_nothing_stale(self, pieces):
        os.utime(os.path.join(pieces, "a/2.txt"), (1e9, 1e9))

        assert glued().plan().counts == {"unchanged": 2, "touched": 1}
        assert glued().complete()

    def test_a_young_file_is_not_believed_for_its_size_and_time_of_change(self, pieces):
        path = os.path.join(pieces, "a/2.txt")
        with open(path, "w") as file:
            file.write("new")
        glued().run()
        done()
        before = os.stat(path).st_mtime_ns
        with open(path, "w") as file:
            file.write("wen")
        os.utime(path, ns=(before, before))

        assert glued().plan().counts == {"unchanged": 2, "changed": 1}
        glued().run()

        assert results(glued)["a"] == "one+wen"

    def test_where_contents_are_compared_every_member_is_read(self, pieces, monkeypatch):
        path = os.path.join(pieces, "a/2.txt")
        before = os.stat(path).st_mtime_ns
        with open(path, "w") as file:
            file.write("owt")
        os.utime(path, ns=(before, before))
        assert glued().complete()
        monkeypatch.setenv("LUISY_DIR_FRESHNESS", "content")

        assert glued().plan().counts == {"unchanged": 2, "changed": 1}

    def test_an_output_that_is_damaged_is_made_again(self):
        os.unlink(os.path.join(glued().output().path, "a.txt"))

        assert glued().plan().counts == {"unchanged": 2, "output missing": 1}
        glued().run()

        assert (done(), results(glued)["a"]) == (["a"], "one+two")
        assert meta(glued)["a"]["keys"] == ["a/1", "a/2"]

    def test_files_that_are_gone_count_against_max_deleted_and_not_groups(self, pieces, write_files):
        write_files(pieces, {f"a/{number}.txt": b"x" for number in range(10)} | {"b/2.txt": b"x", "b/c/2.txt": b"x"})
        glued().run()  # 10 + 2 + 2 files
        for number in range(8):
            os.unlink(os.path.join(pieces, f"a/{number}.txt"))

        with pytest.raises(errors.TooManyDeletedError, match=r"8 of the 14 files .* such as 'a/0\.txt', 'a/1\.txt'"):
            glued().run()

    def test_one_file_of_each_group_may_go(self, pieces, write_files):
        write_files(pieces, {"b/2.txt": b"x", "b/c/2.txt": b"x"})
        glued().run()
        for name in ("a/1.txt", "b/1.txt", "b/c/1.txt"):
            os.unlink(os.path.join(pieces, name))

        glued().run()

        assert results(glued) == {"a": "two", "b": "x", "b/c": "x"}

    def test_a_file_that_is_left_out_now_is_not_gone(self, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_DELETED", "0")
        monkeypatch.setattr(glued, "group_by", staticmethod(lambda key: key if key == "a/1" else None))

        glued().run()

        assert results(glued) == {"a/1": "one"}


class TestStitching:
    """What groups are for: what a task has cut into pieces is put together again."""

    @pytest.fixture(autouse=True)
    def published(self, write_files):
        folder = Pieces().output().path
        write_files(folder, {"cats/1.txt": b"all cats are grey", "cats/2.txt": b"a cat", "dog.txt": b"dog"})
        luigi.build([stitched()], local_scheduler=True)
        done()

    def test_outputs_of_one_item_are_one_item_again(self):
        assert results(stitched) == {"cats/1": "all cats are grey", "cats/2": "a cat", "dog": "dog"}
        assert stitched().complete()

    def test_only_the_groups_of_which_a_piece_has_another_content_are_processed_again(self, write_files):
        write_files(Pieces().output().path, {"cats/1.txt": b"all dogs are grey", "dog.txt": b"dog "})

        luigi.build([stitched()], local_scheduler=True)

        assert done() == ["cats/1", "cats/1", "dog"]  # the last is cut again, into the same pieces
        assert results(stitched)["cats/1"] == "all dogs are grey"

    def test_pieces_come_and_go(self, write_files):
        write_files(Pieces().output().path, {"cats/1.txt": b"cats", "cats/2.txt": b"a cat sat", "new.txt": b"new"})
        os.unlink(os.path.join(Pieces().output().path, "dog.txt"))

        luigi.build([stitched()], local_scheduler=True)

        assert results(stitched) == {"cats/1": "cats", "cats/2": "a cat sat", "new": "new"}

    def test_a_piece_that_somebody_has_changed_fails_its_group(self, monkeypatch):
        with open(os.path.join(cut().output().path, "cats/1/01.txt"), "w") as file:
            file.write("dogs")
        stitched().output().remove()
        monkeypatch.setattr(cut, "complete", lambda self: True)

        with pytest.raises(errors.ItemsFailedError, match=r"cats/1: InputChangedError: .*cats/1/01\.txt'"):
            stitched().run()


@luisy.final
@luisy.requires(first=Pieces, second=OtherPieces)
@luisy.directory_task(".txt", engine="serial", group_by=folder_of)
def inner_groups(first, second, item):
    item.meta["keys"] = item.keys
    return f"{'+'.join(first)}|{'+'.join(second)}"


@luisy.final
@luisy.requires(first=Pieces, second=OtherPieces)
@luisy.directory_task(".txt", engine="serial", group_by=folder_of, join="outer")
def outer_groups(first, second, item):
    item.meta["keys"] = item.keys
    return f"{'+'.join(first)}|{'+'.join(second)}"


@luisy.final
@luisy.requires(first=Pieces, second=OtherPieces)
@luisy.directory_task(".txt", engine="serial", group_by=folder_of, join="strict")
def strict_groups(first, second):
    return f"{'+'.join(first)}|{'+'.join(second)}"


class TestSeveralDirectories:
    @pytest.fixture(autouse=True)
    def others(self, pieces, write_files):
        write_files(OtherPieces().output().path, {"a/x.txt": b"X", "a/y.txt": b"Y", "d/1.txt": b"D"})

    def test_groups_are_joined_by_key_and_process_gets_a_list_for_each(self):
        inner_groups().run()

        assert results(inner_groups) == {"a": "one+two|X+Y"}
        assert meta(inner_groups)["a"]["keys"] == ["a/1", "a/2", "a/x", "a/y"]
        assert {key: entry.status for key, entry in entries(inner_groups).items()} == {
            "a": "written", "b": "rejected", "b/c": "rejected", "d": "rejected"
        }  # fmt: skip

    def test_of_what_one_lacks_an_outer_join_gives_an_empty_list(self):
        outer_groups().run()

        assert results(outer_groups) == {"a": "one+two|X+Y", "b": "uno|", "b/c": "deep|", "d": "|D"}
        assert outer_groups().complete()

    def test_so_it_does_where_all_of_one_is_skipped(self, write_files):
        write_files(OtherPieces().output().path, {"a/x.txt": b"alien", "a/y.txt": b"alien"})

        outer_groups().run()
        inner_groups().run()

        assert results(outer_groups)["a"] == "one+two|"
        assert meta(outer_groups)["a"]["keys"] == ["a/1", "a/2"]
        assert entries(inner_groups)["a"].status == "skipped"

    def test_where_all_of_one_is_removed_during_the_run_an_inner_join_rejects_the_group(self, monkeypatch):
        def vanishing(path):
            if "/other/a/" in path:
                os.unlink(path)
                raise FileNotFoundError(path)
            return read_piece(path)

        monkeypatch.setattr(OtherPieces, "read_file", staticmethod(vanishing))
        inner_groups().run()

        assert entries(inner_groups)["a"].error.message == "no item of this key in second"
        assert inner_groups().plan().counts == {"unchanged": 4}

    def test_a_strict_join_wants_the_same_groups(self, pieces):
        with pytest.raises(UnmatchedKeysError, match=r"2 in 'first' .* 'b', 'b/c'; 1 in 'second' .* 'd'\."):
            strict_groups().run()
        shutil.rmtree(os.path.join(pieces, "b"))
        shutil.rmtree(os.path.join(OtherPieces().output().path, "d"))

        strict_groups().run()

        assert results(strict_groups) == {"a": "one+two|X+Y"}

    def test_a_group_of_which_the_reader_skips_all_needs_no_match(self, pieces, write_files):
        write_files(pieces, {"b/1.txt": b"alien", "b/c/1.txt": b"alien"})
        write_files(OtherPieces().output().path, {"d/1.txt": b"alien"})

        strict_groups().run()

        assert results(strict_groups) == {"a": "one+two|X+Y"}

    def test_one_that_it_skips_in_part_does(self, pieces, write_files):
        write_files(pieces, {"b/0.txt": b"alien"})

        with pytest.raises(UnmatchedKeysError, match=r"2 in 'first' .* 'b', 'b/c';"):
            strict_groups().run()

    def test_each_folder_is_counted_alone_against_max_deleted(self, write_files):
        """One disk that is not mounted must not hide behind a larger one that is."""
        write_files(Pieces().output().path, {f"a/{number}.txt": b"x" for number in range(20)})
        outer_groups().run()
        shutil.rmtree(os.path.join(OtherPieces().output().path, "a"))

        with pytest.raises(errors.TooManyDeletedError, match="2 of the 3 files"):
            outer_groups().run()


SCRIPT = """
import sys
import luisy_dir as luisy
from test_grouping import glued

if __name__ == "__main__":
    luisy.set_working_dir(sys.argv[1])
    glued().run()
"""


@pytest.mark.parametrize(("engine", "workers"), [("serial", 1), ("processes", 2)])
def test_after_sigkill_each_worker_redoes_at_most_the_group_that_it_had_in_hand(
    working_dir, write_files, tmp_path_factory, engine, workers
):
    names = {f"{group}/{number}.txt": b"piece" for group in range(8) for number in range(3)}
    write_files(Pieces().output().path, names)
    scratch = tmp_path_factory.mktemp("script")
    script, log = scratch / "script.py", scratch / "log"
    script.write_text(SCRIPT)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((os.path.dirname(__file__), REPOSITORY)),
        "LUISY_DIR_ENGINE": engine,
        "LUISY_DIR_WORKERS": str(workers),
        "LOG_OF_GROUPS": str(log),
    }
    command = [sys.executable, str(script), str(working_dir)]
    with subprocess.Popen(command, env=environment | {"PAUSE": "0.1"}) as child:
        while not log.exists() or len(log.read_text().splitlines()) < 4:
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)

    subprocess.run(command, env=environment, check=True)

    processed = log.read_text().split()
    assert set(processed) == {str(group) for group in range(8)}
    assert len(processed) - 8 <= workers
    assert glued().complete()
    assert set(results(glued).values()) == {"piece+piece+piece"}


# -- any folders, any changes ------------------------------------------------------------------------------------------

NOTED: list[str] = []


def letter_of(key):
    """First letter of the name; names that begin with ``n`` have no group."""
    name = key.rpartition("/")[2]
    return None if name.startswith("n") else f"g/{name[0]}"


def told(data):
    """What a task was given, as text."""
    return "-" if data is None else f"[{'+'.join(data)}]" if isinstance(data, list) else data


class ModelTask(luisy.DirectoryTask):
    def process(self, first, second, item):
        NOTED.append(item.key)
        return f"{told(first)}|{told(second)} {' '.join(item.keys)}"


def model_task(join, group_by):
    name = f"Model{join.title()}{'Groups' if group_by else 'Files'}"
    options = {"engine": "serial", "durability": "none", "max_errors": 1.0, "max_deleted": 1.0, "on_empty": "allow"}
    cls = luisy.directory_output(".txt", join=join, group_by=group_by, **options)(type(name, (ModelTask,), {}))
    return luisy.interim(luisy.requires(first=Pieces, second=OtherPieces)(cls))


TASKS = {
    (join, is_grouped): model_task(join, letter_of if is_grouped else None)
    for join in ("inner", "outer", "strict")
    for is_grouped in (False, True)
}
NAMES = ["a1", "a2", "b1", "d/a3", "d/b2", "n1", "d/n2"]
CONTENTS = ["x", "yy", "zzz", "alien", "alien too"]
FOLDERS = ["first", "second"]
STATE = st.dictionaries(
    st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES)),
    st.tuples(st.sampled_from(CONTENTS), st.integers(0, 1)),
    max_size=10,
)


class Verdict:
    """What should become of one item, and what of its files that depends on."""

    def __init__(self, key, members, join, is_grouped):
        """``members`` are (folder, key, content, time), in the order in which they are read."""
        self.key = key
        self.called = False
        self.result = None
        sides = {folder: [member for member in members if member[0] == folder] for folder in FOLDERS}
        ours = {folder: [m for m in sides[folder] if not m[2].startswith("alien")] for folder in FOLDERS}
        read = list(members)
        if join == "inner" and not all(sides.values()):
            self.status, read = "rejected", []
        elif not any(ours.values()) or (join == "inner" and not all(ours.values())):
            self.status = "skipped"
            if join == "inner" and not is_grouped:  # nothing is read after what was skipped
                read = members[: 1 + next(place for place, m in enumerate(members) if m[2].startswith("alien"))]
        elif join == "strict" and not all(ours.values()):
            self.status = "failed"
        else:
            self.status, self.called = "written", True
            data = [[m[2] for m in ours[folder]] for folder in FOLDERS]
            keys = [m[1] for folder in FOLDERS for m in ours[folder]]
            data = data if is_grouped else [next(iter(values), None) for values in data]
            self.result = f"{told(data[0])}|{told(data[1])} {' '.join(keys)}"
        by_content = {m for m in read if not m[2].startswith("alien")} if self.status != "failed" else set(read)
        self.basis = [(m[0], m[1], m[2] if m in by_content else (len(m[2]), m[3])) for m in members]
        self.is_matched = all(sides.values()) or not any(ours.values())


def verdicts_on(files, join, is_grouped):
    together = {}
    for (folder, key), (content, age) in sorted(files.items()):
        group = letter_of(key) if is_grouped else key
        if group is not None:
            together.setdefault(group, []).append((folder, key, content, age))
    return {key: Verdict(key, members, join, is_grouped) for key, members in sorted(together.items())}


def put_pieces(files):
    """Make the folders hold these files, with times of change that lie in the past and are those of their content."""
    for folder, task in zip(FOLDERS, (Pieces, OtherPieces), strict=True):
        place = task().output().path
        shutil.rmtree(place, ignore_errors=True)
        for (where, key), (content, age) in files.items():
            if where == folder:
                path = os.path.join(place, key + ".txt")
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "w") as file:
                    file.write(content)
                os.utime(path, (1e9 + age, 1e9 + age))


def rows_of(plan):
    return [(row.key, row.reason, row.item and row.item.keys) for row in plan.changes], sorted(plan.unchanged)


def plans_alike(task):
    """The plan; the same one is made by a look at everything."""
    plan = task().plan()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "_suspects", lambda *_: None)
        thorough = task().plan()
    assert rows_of(plan) == rows_of(thorough)
    return plan


@contextlib.contextmanager
def a_working_dir():
    folder = tempfile.mkdtemp()
    luisy.set_working_dir(folder)
    try:
        yield
    finally:
        shutil.rmtree(folder)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(TASKS)), st.lists(STATE, min_size=2, max_size=4))
@example(("outer", False), [{("first", "a1"): ("x", 0)}, {("second", "a1"): ("x", 0)}])
@example(
    ("outer", True), [{("first", "a1"): ("x", 0), ("second", "a2"): ("alien", 0)}, {("second", "a2"): ("alien", 1)}]
)
@example(("strict", False), [{("first", "a1"): ("x", 0), ("second", "a1"): ("alien", 0)}] * 2)
@example(("inner", True), [{("first", "a1"): ("x", 0)}, {("first", "a1"): ("x", 0), ("second", "d/a3"): ("yy", 0)}])
def test_whatever_comes_and_goes_the_result_is_what_the_files_say(which, states):
    """Any way to join, grouped or not; and only what differs is processed."""
    join, is_grouped = which
    task = TASKS[which]
    with a_working_dir():
        known: dict[str, Verdict] = {}
        for state in states:
            files = state | {(folder, "always"): ("x", 0) for folder in FOLDERS}
            put_pieces(files)
            wanted = verdicts_on(files, join, is_grouped)
            if join == "strict" and not all(verdict.is_matched for verdict in wanted.values()):
                with pytest.raises(UnmatchedKeysError):
                    task().run()
                continue
            NOTED.clear()
            is_published = task().output().exists()
            stale = [key for key in wanted if key not in known or known[key].basis != wanted[key].basis]
            if is_published:
                plan = plans_alike(task)
                failed = {key for key in known if known[key].status == "failed"}
                rows = {row.key: row.reason for row in plan.changes if row.reason != Reason.TOUCHED}
                assert rows.keys() == {*stale, *(known.keys() - wanted.keys()), *(failed & wanted.keys())}
                assert task().complete() == (not stale and known.keys() <= wanted.keys())

            task().run()

            assert sorted(NOTED) == [key for key in stale if wanted[key].called]
            assert {key: entry.status for key, entry in entries(task).items()} == {
                key: verdict.status for key, verdict in wanted.items()
            }
            assert results(task) == {key: verdict.result for key, verdict in wanted.items() if verdict.called}
            assert task().complete()
            known = wanted
