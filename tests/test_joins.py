"""Joins: what becomes of a key that one of several required directories lacks."""

from __future__ import annotations

import os
from typing import ClassVar

import luigi
import pytest
from conftest import files_below

import luisy_dir as luisy
from luisy_dir import errors
from luisy_dir.errors import DefinitionError, UnmatchedKeysError
from luisy_dir.item import Item, Source
from luisy_dir.keys import check_matched
from luisy_dir.manifest import read_manifest
from luisy_dir.storage import local

ASKED: list[str] = []


def read_scribble(path):
    """Text of ``.txt`` files that are ours."""
    ASKED.append(os.path.basename(path))
    if not path.endswith(".txt"):
        return None
    with open(path) as file:
        text = file.read()
    return None if text.startswith("alien") else text


@luisy.make_directory_output(read_scribble)
@luisy.raw
class Drawings(luisy.ExternalTask):
    def get_folder_name(self):
        return "drawings"


@luisy.make_directory_output(read_scribble)
@luisy.raw
class Captions(luisy.ExternalTask):
    def get_folder_name(self):
        return "captions"


@luisy.interim
@luisy.requires(Captions)
@luisy.directory_output(".txt", engine="serial")
class LoudCaptions(luisy.DirectoryTask):
    def process(self, text):
        return text.upper()


class Together(luisy.DirectoryTask):
    """Notes every item that it is given."""

    done: ClassVar[list[str]] = []

    def process(self, drawing, caption, item):
        self.done.append(item.key)
        return f"{drawing}|{caption}"


@luisy.final
@luisy.requires(drawing=Drawings, caption=Captions)
@luisy.directory_output(".txt", engine="serial")
class InnerPairs(Together):
    pass


@luisy.final
@luisy.requires(drawing=Drawings, caption=Captions)
@luisy.directory_output(".txt", engine="serial", join="outer")
class OuterPairs(Together):
    pass


@luisy.final
@luisy.requires(drawing=Drawings, caption=Captions)
@luisy.directory_output(".txt", engine="serial", join="strict")
class StrictPairs(Together):
    pass


@luisy.final
@luisy.requires(Drawings, LoudCaptions)
@luisy.directory_task(".txt", engine="serial", join="outer")
def outer_with_published(drawing, caption, item):
    item.meta["paths"] = [os.path.basename(path) for path in item.paths]
    return f"{drawing}|{caption}"


@luisy.final
@luisy.requires(drawing=Drawings, caption=Captions, again=LoudCaptions)
@luisy.directory_task(".txt", engine="serial", join="outer")
def outer_of_three(drawing, caption, again):
    return f"{drawing}|{caption}|{again}"


@pytest.fixture(autouse=True)
def nothing_done():
    Together.done.clear()
    ASKED.clear()


@pytest.fixture
def folders(write_files):
    """Two folders that have ``both`` in common."""

    def write(drawings, captions):
        write_files(Drawings().output().path, {name: text.encode() for name, text in drawings.items()})
        write_files(Captions().output().path, {name: text.encode() for name, text in captions.items()})

    write({"both.txt": "B", "left.txt": "L"}, {"both.txt": "b", "right.txt": "r"})
    return write


def remove(task, name):
    os.unlink(os.path.join(task().output().path, name))


def results(task):
    """Text of each output by key."""
    return {item.key: text for item, text in task().items()}


def statuses(task):
    return {entry.key: entry.status for entry in task().output().manifest().entries()}


def done():
    """Keys that were processed since this was asked last."""
    keys = sorted(Together.done)
    Together.done.clear()
    return keys


class TestInner:
    def test_a_key_that_one_directory_lacks_is_rejected_and_its_file_is_not_read(self, folders):
        InnerPairs().run()

        assert results(InnerPairs) == {"both": "B|b"}
        assert statuses(InnerPairs) == {"both": "written", "left": "rejected", "right": "rejected"}
        assert set(ASKED) == {"both.txt"}

    def test_it_leaves_no_trace_in_the_fingerprint(self, folders):
        """What was published before there was a choice stays complete."""
        InnerPairs().run()

        assert not {"join", "group_by"} & InnerPairs().output().manifest().record.parts.keys()

    def test_a_file_whose_match_was_skipped_is_not_taken_for_skipped_itself(self, folders):
        """Else a file that the reader skips, and that arrives later under the same key, would take its place."""
        folders({}, {"both.txt": "alien"})
        InnerPairs().run()
        folders({"both.zip": "archive"}, {"both.txt": "b"})

        InnerPairs().run()

        assert results(InnerPairs) == {"both": "B|b"}

    def test_a_file_that_was_rejected_unread_is_asked_about_when_another_one_has_its_key(self, write_files):
        write_files(Drawings().output().path, {"a.png": b"picture", "b.txt": b"B"})
        write_files(Captions().output().path, {"b.txt": b"b"})
        InnerPairs().run()
        write_files(Drawings().output().path, {"a.txt": b"A"})
        write_files(Captions().output().path, {"a.txt": b"a"})

        InnerPairs().run()

        assert results(InnerPairs) == {"a": "A|a", "b": "B|b"}


class TestOuter:
    def test_process_gets_none_for_a_directory_that_lacks_the_key(self, folders):
        OuterPairs().run()

        assert results(OuterPairs) == {"both": "B|b", "left": "L|None", "right": "None|r"}
        assert OuterPairs().complete()

    def test_so_it_does_by_position_and_of_a_published_directory(self, folders):
        LoudCaptions().run()
        outer_with_published().run()

        assert results(outer_with_published) == {"both": "B|B", "left": "L|None", "right": "None|R"}
        assert outer_with_published().report()["paths"].to_dict() == {
            "both": ["both.txt", "both.txt"], "left": ["left.txt"], "right": ["right.txt"]
        }  # fmt: skip

    def test_any_number_of_directories_may_lack_it(self, folders):
        LoudCaptions().run()
        outer_of_three().run()

        assert results(outer_of_three) == {"both": "B|b|B", "left": "L|None|None", "right": "None|r|R"}
        assert outer_of_three().recheck(1.0).rows == ()

    @pytest.mark.parametrize("engine", ["threads", "processes", "async"])
    def test_every_engine_gives_the_same_answer(self, folders, monkeypatch, engine):
        LoudCaptions().run()
        outer_of_three().run()
        before = outer_of_three().output().manifest()
        answers = list(before.entries())
        outer_of_three().output().remove()
        monkeypatch.setenv("LUISY_DIR_ENGINE", engine)

        outer_of_three().run()

        after = outer_of_three().output().manifest()
        assert [(entry.key, entry.status, entry.meta) for entry in after.entries()] == [
            (entry.key, entry.status, entry.meta) for entry in answers
        ]
        assert after.record.outputs_digest == before.record.outputs_digest

    def test_an_item_that_gets_or_loses_a_match_is_changed_and_processed_again(self, folders):
        OuterPairs().run()
        done()
        folders({"right.txt": "R"}, {})
        assert OuterPairs().plan().counts == {"unchanged": 2, "changed": 1}
        OuterPairs().run()
        assert (done(), results(OuterPairs)["right"]) == (["right"], "R|r")

        remove(Captions, "both.txt")
        OuterPairs().run()

        assert (done(), results(OuterPairs)["both"]) == (["both"], "B|None")
        assert OuterPairs().complete()

    def test_an_item_that_is_gone_on_every_side_is_deleted(self, folders):
        OuterPairs().run()
        remove(Captions, "right.txt")

        assert OuterPairs().plan().counts == {"unchanged": 2, "deleted": 1}
        OuterPairs().run()

        assert files_below(OuterPairs().output().path) == ["both.txt", "left.txt"]

    def test_a_folder_that_is_not_mounted_is_not_taken_for_one_that_lacks_its_keys(self, write_files):
        """An item that lost its match counts as one that has lost its file, and the message names some."""
        names = [f"{number}.txt" for number in range(6)]
        write_files(Drawings().output().path, dict.fromkeys(names, b"D"))
        write_files(Captions().output().path, dict.fromkeys(names, b"c"))
        OuterPairs().run()
        before = results(OuterPairs)
        for name in names[:4]:
            remove(Captions, name)

        with pytest.raises(errors.TooManyDeletedError, match=r"4 of the 6 files .* such as '0', '1', '2'; max_deleted"):
            OuterPairs().run()
        assert results(OuterPairs) == before

    def test_what_the_reader_skips_is_none_of_the_directorys(self, folders):
        folders({"left.txt": "alien"}, {"both.txt": "alien"})

        OuterPairs().run()

        assert results(OuterPairs) == {"both": "B|None", "right": "None|r"}
        assert statuses(OuterPairs) == {"both": "written", "left": "skipped", "right": "written"}

    def test_what_was_skipped_is_looked_at_again_when_it_changes(self, folders):
        folders({}, {"both.txt": "alien"})
        OuterPairs().run()
        assert OuterPairs().complete()
        folders({}, {"both.txt": "no alien"})

        assert OuterPairs().plan().counts == {"unchanged": 2, "changed": 1}
        OuterPairs().run()

        assert results(OuterPairs)["both"] == "B|no alien"

    def test_a_skipped_file_that_shares_its_key_does_no_harm(self, folders):
        """It goes on under its whole path, where no side has anything of ours."""
        folders({"both.png": "picture"}, {})

        OuterPairs().run()

        assert results(OuterPairs)["both"] == "B|b"
        assert statuses(OuterPairs)["both.png"] == "skipped"

    def test_a_file_that_is_removed_during_the_run_counts_as_never_there(self, folders, monkeypatch):
        folder = Captions().output().path

        def vanishing(path):
            if path == os.path.join(folder, "both.txt"):
                local.remove_tree(path) if os.path.isdir(path) else os.unlink(path)
                raise FileNotFoundError(path)
            return read_scribble(path)

        monkeypatch.setattr(Captions, "read_file", staticmethod(vanishing))
        OuterPairs().run()

        assert results(OuterPairs)["both"] == "B|None"
        assert OuterPairs().plan().counts == {"unchanged": 3}

    def test_an_item_of_which_every_file_is_removed_during_the_run_is_left_out(self, folders, monkeypatch):
        def vanishing(path):
            if path.endswith("both.txt"):
                os.unlink(path)
                raise FileNotFoundError(path)
            return read_scribble(path)

        monkeypatch.setattr(Drawings, "read_file", staticmethod(vanishing))
        monkeypatch.setattr(Captions, "read_file", staticmethod(vanishing))
        OuterPairs().run()

        assert statuses(OuterPairs) == {"left": "written", "right": "written"}

    def test_a_file_that_cannot_be_read_fails_the_item_and_is_named(self, folders):
        path = os.path.join(Captions().output().path, "both.txt")
        with open(path, "wb") as file:
            file.write(b"\xff")

        with pytest.raises(errors.ItemsFailedError, match=r"both: UnicodeDecodeError: 'both\.txt' of caption: 'utf-8'"):
            OuterPairs().run()


class TestStrict:
    def test_directories_with_the_same_keys_are_joined(self, folders):
        remove(Drawings, "left.txt")
        remove(Captions, "right.txt")

        StrictPairs().run()

        assert results(StrictPairs) == {"both": "B|b"}
        assert StrictPairs().complete()

    def test_a_key_that_one_of_them_lacks_is_an_error_before_any_work(self, folders):
        folders({}, {"r2.txt": "r", "r3.txt": "r", "r4.txt": "r"})

        with pytest.raises(UnmatchedKeysError) as caught:
            StrictPairs().run()

        told = str(caught.value)
        assert f"1 in 'drawing' ({Drawings().output().path!r}) without a match, 'left';" in told
        assert f"4 in 'caption' ({Captions().output().path!r}) without a match, 'r2', 'r3', 'r4' …" in told
        assert "join = 'inner'" in told
        assert done() == []
        assert not os.path.exists(StrictPairs().get_outdir())

    def test_a_plan_says_so_too(self, folders):
        with pytest.raises(UnmatchedKeysError):
            StrictPairs().plan()

    def test_after_an_update_that_brings_one_what_was_published_stays(self, folders):
        remove(Drawings, "left.txt")
        remove(Captions, "right.txt")
        StrictPairs().run()
        folders({"new.txt": "N"}, {})

        with pytest.raises(UnmatchedKeysError, match="'new'"):
            StrictPairs().run()

        assert results(StrictPairs) == {"both": "B|b"}

    def test_what_the_reader_skips_needs_no_match(self, folders):
        folders({"left.txt": "alien", "notes.md": "x", "both.png": "x"}, {"right.txt": "alien"})

        StrictPairs().run()

        assert statuses(StrictPairs) == {
            "both": "written", "both.png": "skipped", "left": "skipped", "notes": "skipped", "right": "skipped"
        }  # fmt: skip
        assert StrictPairs().complete()

    def test_the_reader_is_asked_only_about_files_without_a_match(self, folders):
        with pytest.raises(UnmatchedKeysError):
            StrictPairs().plan()

        assert sorted(ASKED) == ["left.txt", "right.txt"]

    def test_once_recorded_it_is_not_asked_again(self, folders):
        folders({"left.txt": "alien"}, {"right.txt": "alien"})
        StrictPairs().run()
        folders({"both.txt": "other"}, {})
        ASKED.clear()

        assert StrictPairs().plan().counts == {"unchanged": 2, "changed": 1}
        assert ASKED == []

    def test_a_match_that_the_reader_skips_fails_the_item(self, folders):
        """It is known only when the file is read; going on without a word would be what strict is to prevent."""
        remove(Drawings, "left.txt")
        folders({}, {"both.txt": "alien", "right.txt": "alien"})

        with pytest.raises(
            errors.ItemsFailedError, match="UnmatchedKeysError: There is nothing of this key in caption"
        ):
            StrictPairs().run()

    def test_what_a_task_has_written_is_never_skipped(self, folders):
        LoudCaptions().run()
        remove(Drawings, "left.txt")

        strict = luisy.requires(Drawings, LoudCaptions)(
            luisy.directory_output(".txt", engine="serial", join="strict")(type("StrictWithPublished", (Together,), {}))
        )
        with pytest.raises(UnmatchedKeysError, match=r"1 in 'LoudCaptions' .* 'right'"):
            strict().run()

    def test_of_very_many_not_every_one_is_asked_about(self):
        def items(root, *keys):
            return [Item(key, (Source(root, key, 1, 1),), {root: "/" + root}) for key in keys]

        asked = []
        keys = sorted(f"{number:04d}" for number in range(1_000))
        with pytest.raises(UnmatchedKeysError, match=r"up to 1000 in 'A' .* '0000', '0001', '0002' …"):
            check_matched({"A": items("A", *keys), "B": []}, {"A": "/A", "B": "/B"}, asked.append)
        assert len(asked) == 100

    def test_but_what_the_reader_skips_never_hides_what_has_no_match(self):
        items = [Item(f"{number:04d}", (), {}) for number in range(1_000)]
        with pytest.raises(UnmatchedKeysError, match=r"1 in 'A' .* '0999'"):
            check_matched({"A": items, "B": []}, {"A": "/A", "B": "/B"}, lambda item: item.key != "0999")


class TestTheWord:
    @pytest.mark.parametrize("word", ["full", "", "Inner", ["inner"], True])
    def test_a_word_that_is_none_is_refused_where_it_is_given(self, word):
        with pytest.raises(DefinitionError, match=r"join of directory_output is .* Choose one of 'inner', 'outer'"):
            luisy.directory_output(".txt", join=word)
        with pytest.raises(DefinitionError, match="join of directory_task is"):
            luisy.directory_task(".txt", join=word)

    def test_one_that_is_a_class_attribute_is_refused_when_a_task_is_made(self):
        @luisy.interim
        @luisy.requires(drawing=Drawings, caption=Captions)
        @luisy.directory_output(".txt")
        class Misjoined(Together):
            join = "left"

        with pytest.raises(DefinitionError, match="join of Misjoined is 'left'"):
            Misjoined()

    def test_it_may_be_a_class_attribute_that_a_decorator_leaves_alone(self, folders):
        @luisy.interim
        @luisy.requires(drawing=Drawings, caption=Captions)
        @luisy.directory_output(".txt", engine="serial")
        class OuterByAttribute(Together):
            join = "outer"

        OuterByAttribute().run()

        assert len(results(OuterByAttribute)) == 3

    def test_another_word_makes_every_result_stale(self, folders, monkeypatch):
        InnerPairs().run()
        done()
        monkeypatch.setattr(InnerPairs, "join", "outer")

        assert not InnerPairs().complete()
        assert InnerPairs().plan().counts == {"code": 3}
        InnerPairs().run()

        assert done() == ["both", "left", "right"]
        assert read_manifest(InnerPairs().output().path).record.parts["join"] == "outer"

    def test_a_parameter_of_that_name_is_refused(self):
        with pytest.raises(DefinitionError, match="cannot be named join"):

            @luisy.directory_task(".txt", params={"join": luigi.Parameter()})
            def joined(text, join):
                return text
