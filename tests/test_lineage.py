"""Lineage: what a file was made from and why, and what was made of it, as manifests alone tell it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import luigi
import msgspec
import numpy as np
import pytest
import xxhash
from conftest import an_entry
from pipelines import Arrays, Images, Joined, Letters, RedChannel, Strict, Upper, Words, length

import luisy_dir as luisy
from luisy_dir import errors, transaction
from luisy_dir.demo.images import make_images
from luisy_dir.entry import OutputFile, encode_entry
from luisy_dir.generations import gc
from luisy_dir.item import Source
from luisy_dir.lineage import Edge, Making, Node, Trace, trace, why
from luisy_dir.manifest import read_manifest
from luisy_dir.record import CURRENT, FOLDER, EntriesFile, encode_current, encode_record, read_current
from luisy_dir.staging import staging_of
from luisy_dir.storage import system

CAT = "animals/cats/chelsea_0001"
HOSTILE = {
    "line end": b"new\nline",
    "escape sequence": b"\x1b[2J\x1b[31mred",
    "right to left": "\u202egnp.exe".encode(),
    "undecodable": b"\xff\xfe",
    "percent": b"50%",
    "percent code": b"%41",
    "quotes": b'it\'s "so"',
    "backslash": b"back\\slash\\n",
    "dots": b"a..b",
    "spaces": b"   ",
    "emoji": "👩\u200d🔬".encode(),
    "markup": b"<script>",
    "like a source": b'{"root":"Letters","path":"a.txt"',
}


class Threshold(luigi.Task):
    """A model: a task that is no directory."""

    path = luigi.Parameter()

    def output(self):
        return luigi.LocalTarget(self.path)


@luisy.interim
@luisy.directory_output(".txt", engine="serial")
class Thresholded(luisy.DirectoryTask):
    path = luigi.Parameter(significant=False)

    def requires(self):
        return {"letters": Letters(), "model": Threshold(path=self.path)}

    def process(self, letters):
        return letters


@luisy.project_name("pipelines")
@luisy.final
@luisy.requires(Words)
@luisy.directory_output(".json", engine="serial")
class WordLengths(luisy.DirectoryTask):
    def process(self, word):
        return len(word)


@luisy.final
@luisy.requires(Upper)
@luisy.pickle_output
class AllLetters(luisy.Task):
    """A single file, which has no manifest."""

    def run(self):
        self.write(list(self.input().read()))


@luisy.final
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class MeasuredLetters(luisy.DirectoryTask):
    unit = luigi.Parameter(default="mm")

    def process(self, text, item):
        item.meta["draw"] = float(item.rng.random())
        return text


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """What a power cut would cost is tested elsewhere."""
    monkeypatch.setenv("LUISY_DIR_DURABILITY", "none")
    monkeypatch.setenv("LUISY_DIR_ENGINE", "serial")
    monkeypatch.setenv("LUISY_DIR_MAX_DELETED", "1.0")


@pytest.fixture
def put(write_files):
    """Write letters into the raw folder, each time with a time of change of its own."""
    age = iter(range(50_000, 0, -60))

    def write(**letters):
        files = {f"{key.replace('__', '/')}.txt": text.encode() for key, text in letters.items()}
        return write_files(Letters().output().path, files, age_seconds=next(age))

    return write


def run(*tasks):
    for task in tasks:
        task().run()


def below(task, name):
    """Absolute path of something in the directory of a task."""
    return os.path.join(task().output().path, name)


def to_lower(self, text):
    return text.lower()


def shout(path):
    return path


def append(path, text="!"):
    with open(path, "a") as file:
        file.write(text)


def paths_of(found):
    return [node.path for node in found.nodes]


def edges_of(found):
    """Source and target by the last parts of their paths, and what has become of the source."""
    names = ["/".join(path.split("/")[-2:]) for path in paths_of(found)]
    return {(names[edge.source], names[edge.target]): edge.state for edge in found.edges}


def is_harmless(text):
    return all(char.isprintable() or char == "\n" for char in text)


def state_of(folder):
    """Every file and folder below a folder, with its time of change."""
    return {
        os.path.join(parent, name): os.lstat(os.path.join(parent, name)).st_mtime_ns
        for parent, folders, names in os.walk(folder)
        for name in (*folders, *names)
    }


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def forge(directory, entries=None, **facts):
    """What an enemy may do to a manifest: other entries and facts, all with the right digests."""
    record = read_current(str(directory))
    if entries is not None:
        text = b"".join(encode_entry(entry) + b"\n" for entry in sorted(entries, key=lambda entry: entry.key))
        file = EntriesFile(record.entries.file, len(text), xxhash.xxh3_128_hexdigest(text), len(entries))
        write(os.path.join(directory, FOLDER, file.file), text)
        facts |= {"entries": file, "base": ()}
    encoded = encode_record(msgspec.structs.replace(record, **facts))
    write(os.path.join(directory, FOLDER, f"{record.name}.json"), encoded)
    write(os.path.join(directory, FOLDER, CURRENT), encode_current(encoded))


def an_output(path, text=b"x"):
    return OutputFile(path, len(text), 1, xxhash.xxh3_128_hexdigest(text))


def a_letter(path):
    return Source("Letters", path, 1, 1)


# -- entries by what they were read from -------------------------------------------------------------------------------


class TestEntriesFrom:
    @pytest.fixture(params=[0.0, 1e9], ids=["whole files", "deltas"])
    def letters(self, request, monkeypatch, put):
        """The manifest of many letters of which one has changed, one is gone and one is new."""
        monkeypatch.setattr(transaction, "LARGEST_SHARE", request.param)
        put(**{f"key{number:02d}": str(number) for number in range(40)})
        run(Upper)
        put(key01="changed", new="new")
        os.unlink(os.path.join(Letters().output().path, "key02.txt"))
        run(Upper)
        return read_manifest(Upper().output().path)

    @pytest.mark.parametrize("count", [1, 3, 4, 39])
    def test_few_and_many_are_found_alike(self, letters, count):
        paths = [f"key{number:02d}.txt" for number in range(40) if number != 2][:count]

        assert [entry.key for entry in letters.entries_from("Letters", paths)] == [path[:-4] for path in paths]

    @pytest.mark.parametrize("others", [[], [f"other{number}" for number in range(20)]], ids=["few", "many"])
    def test_each_is_the_newest(self, letters, others):
        found = letters.entries_from("Letters", ["key01.txt", "key02.txt", "new.txt", *others])

        assert [entry.key for entry in found] == ["key01", "new"]
        assert found[0].sources[0].size == len("changed")

    @pytest.mark.parametrize("paths", [[], ["key0"], ["ey01.txt"], ["KEY01.txt"], ["key01.txt,"], ['key01.txt"']])
    def test_part_of_a_name_is_not_enough(self, letters, paths):
        assert letters.entries_from("Letters", paths) == []

    def test_a_file_of_another_directory_is_another_file(self, letters):
        assert letters.entries_from("Other", ["key01.txt"]) == []

    def test_an_output_of_that_path_is_no_source(self, tmp_path, put):
        put(a="a")
        run(Upper)
        forge(Upper().output().path, [an_entry("k", sources=(), outputs=(an_output("a.txt"),))])

        assert read_manifest(Upper().output().path).entries_from("Letters", ["a.txt"]) == []

    @pytest.mark.parametrize("others", [[], ["b", "c", "d", "e"]], ids=["few", "many"])
    def test_several_items_may_be_read_from_one_file(self, put, others):
        put(a="a")
        run(Upper)
        forge(Upper().output().path, [an_entry(key, sources=(a_letter("a.txt"),)) for key in ("x", "y", "z")])
        found = read_manifest(Upper().output().path).entries_from("Letters", ["a.txt", *others])
        assert [entry.key for entry in found] == ["x", "y", "z"]

    def test_what_looks_like_a_source_in_meta_is_none(self, put):
        put(a="a")
        run(Upper)
        meta = {"x": {"root": "Letters", "path": "b.txt", "size": 1}}
        forge(Upper().output().path, [an_entry("k", sources=(Source("Letters", "a.txt", 1, 1),), meta=meta)])
        manifest = read_manifest(Upper().output().path)

        assert manifest.entries_from("Letters", ["b.txt"]) == []
        assert [entry.key for entry in manifest.entries_from("Letters", ["a.txt"])] == ["k"]


# -- why ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def three_layers(working_dir):
    """Photographs, their arrays and the red channel of these."""
    make_images(Images().output().path, 8)
    run(Arrays, RedChannel)
    return working_dir


class TestWhy:
    def test_an_output_is_explained_by_its_manifest(self, three_layers):
        found = why(below(RedChannel, f"{CAT}.npy"))

        assert (found.kind, found.path) == ("output", below(RedChannel, f"{CAT}.npy"))
        assert (found.record.task, found.record.layer, found.record.generation) == ("RedChannel", "final", 1)
        assert (found.entry.key, found.entry.status) == (CAT, "written")
        assert found.making == Making(1, "new")
        (source,), (output,) = found.sources, found.outputs
        assert (source.path, source.state) == (below(Arrays, f"{CAT}.npy"), "unchanged")
        assert (output.path, output.state) == (found.path, "unchanged")
        assert output.file.shape == np.load(found.path).shape
        assert found.entry.meta["brightness"] > 0
        assert found.entry.seed is not None
        assert set(found.code) == {"pipelines.RedChannel.process"}

    def test_a_source_may_be_a_raw_file(self, three_layers):
        found = why(below(Arrays, f"{CAT}.npy"))

        (source,) = found.sources
        assert source.path == os.path.join(Images().output().path, f"{CAT}.png")
        assert os.path.getsize(source.path) == source.file.size
        assert set(found.code) == {"pipelines.Arrays.process", "pipelines.read_image"}

    def test_a_key_stands_for_its_item(self, three_layers):
        by_key, by_path = why(below(RedChannel, CAT)), why(below(RedChannel, f"{CAT}.npy"))

        assert by_key.kind == "item"
        assert by_key.entry == by_path.entry

    def test_a_raw_file_is_an_input(self, three_layers):
        path = os.path.join(Images().output().path, f"{CAT}.png")
        found = why(path)

        assert (found.kind, found.entry, found.sources) == ("raw", None, ())
        assert "is an input" in str(found)
        assert "luisy-dir trace" in str(found)

    @pytest.mark.parametrize(
        ("key", "status", "message"),
        [("b", "rejected", "not wanted"), ("c", "failed", "cannot read 'fail now'"), ("e", "skipped", None)],
    )
    def test_what_was_not_written_is_explained_by_its_key(self, write_files, monkeypatch, key, status, message):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        files = {"a.txt": b"fine", "b.txt": b"reject this", "c.txt": b"fail now", "e.png": b""}
        folder = write_files(Letters().output().path, files)
        run(Strict)
        found = why(below(Strict, key))

        assert (found.kind, found.entry.status, found.outputs) == ("item", status, ())
        assert [source.state for source in found.sources] == ["unchanged"]
        assert found.sources[0].path.startswith(folder)
        assert (found.entry.error and found.entry.error.message) == message
        assert f"{key}, {status}" in str(found)
        assert message is None or message in str(found)

    def test_one_of_several_outputs_is_explained_by_their_item(self, put):
        put(a="one two")
        run(Words)
        found = why(below(Words, "a/1.txt"))

        assert (found.kind, found.entry.key) == ("output", "a")
        assert [output.file.path for output in found.outputs] == ["a/0.txt", "a/1.txt"]
        assert why(below(Words, "a")).entry == found.entry  # which is a folder too

    def test_several_sources_are_those_of_a_join(self, put):
        put(a="text")
        run(Upper, Strict, Joined)
        append(below(Strict, "a.txt"))

        sources = why(below(Joined, "a.json")).sources
        assert [(source.file.root, source.path, source.state) for source in sources] == [
            ("text", below(Upper, "a.txt"), "unchanged"),
            ("words", below(Strict, "a.txt"), "changed"),
        ]

    def test_a_model_is_named_with_its_digest(self, put, tmp_path):
        put(a="a")
        write(str(tmp_path / "model"), b"0.5")
        Thresholded(path=str(tmp_path / "model")).run()
        found = why(os.path.join(Thresholded(path="").output().path, "a.txt"))

        assert found.targets == {"model": xxhash.xxh3_128_hexdigest(b"0.5")}
        assert "model" in str(found)

    def test_parameters_are_shown_with_their_values(self, put):
        put(a="a")
        MeasuredLetters(unit="inch").run()
        found = why(os.path.join(MeasuredLetters(unit="inch").output().path, "a.txt"))

        assert found.as_dict()["parameters"] == {"unit": "inch"}
        assert "MeasuredLetters(unit=inch), final" in str(found)

    def test_where_a_path_is_both_the_file_is_meant(self, write_files, monkeypatch):
        """And the item of that key is not passed over in silence."""
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        write_files(Letters().output().path, {"a.txt": b"fine", "a.txt.txt": b"fail"})
        run(Strict)
        found = why(below(Strict, "a.txt"))

        assert (found.kind, found.entry.key) == ("output", "a")
        assert found.warnings == ("'a.txt' is also the key of another item, which is failed.",)
        assert "Note: 'a.txt' is also the key" in str(found)

    def test_a_later_generation_that_is_not_in_its_place_is_told(self, put):
        put(a="a")
        run(Upper)
        target = Upper().output()
        first = encode_record(read_current(target.path))
        put(a="b")
        run(Upper)
        write(os.path.join(target.path, FOLDER, CURRENT), encode_current(first))

        assert "A later generation" in why(below(Upper, "a.txt")).warnings[0]

    def test_nothing_is_written_by_looking(self, three_layers):
        before = state_of(three_layers)
        why(below(RedChannel, CAT), deep=True)
        trace(below(RedChannel, CAT))

        assert state_of(three_layers) == before

    def test_no_task_is_imported(self):
        code = (
            "import sys, luisy_dir\nluisy_dir.why, luisy_dir.trace\n"
            "print([name for name in ('luigi', 'numpy', 'pandas', 'skimage') if name in sys.modules])"
        )
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

    def test_all_of_it_is_json(self, three_layers, put, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        put(a="fail")
        run(Strict)
        for path in (below(RedChannel, CAT), below(Strict, "a"), os.path.join(Letters().output().path, "a.txt")):
            facts = why(path).as_dict()
            assert json.loads(json.dumps(facts, allow_nan=False)) == facts


class TestWhatCannotBeAsked:
    @pytest.mark.parametrize("name", [".manifest", ".manifest/CURRENT", ".manifest/undo-00000002/a.txt"])
    @pytest.mark.parametrize("ask", [why, trace])
    def test_a_part_of_a_manifest(self, put, name, ask):
        put(a="a")
        run(Upper)
        with pytest.raises(errors.InputError, match="is part of a manifest"):
            ask(below(Upper, name))

    @pytest.mark.parametrize("name", ["", "lock", "run-0123-4567", "run-0123-4567/files/a.txt", "bad-1/files/a.txt"])
    @pytest.mark.parametrize("ask", [why, trace])
    def test_a_staging(self, put, name, ask):
        with pytest.raises(errors.InputError, match="lies in a staging"):
            ask(os.path.join(staging_of(Upper().output().path), name))

    @pytest.mark.parametrize("ask", [why, trace])
    def test_a_folder(self, put, ask):
        put(a__b="a")
        run(Upper)
        with pytest.raises(errors.InputError, match="is a published directory"):
            ask(Upper().output().path)
        with pytest.raises(errors.InputError, match="is a folder"):
            ask(Letters().output().path)
        with pytest.raises(errors.UnknownPathError):
            ask(below(Upper, "a"))

    @pytest.mark.parametrize("ask", [why, trace])
    @pytest.mark.parametrize("name", ["b.txt", "a.tx", "a.txt/b", "A.txt", "\udcff.txt", "a.txt.npy", "x" * 5000])
    def test_what_no_manifest_knows(self, put, ask, name):
        put(a="a")
        run(Upper)
        for path in (below(Upper, name), os.path.join(Letters().output().path, name)):
            with pytest.raises(errors.UnknownPathError, match="Nothing is known of"):
                ask(path)

    def test_a_file_that_somebody_put_into_the_directory(self, put):
        put(a="a")
        run(Upper)
        write(below(Upper, "notes.txt"), b"by hand")
        with pytest.raises(errors.UnknownPathError, match="neither an output nor a key 'notes"):
            why(below(Upper, "notes.txt"))

    @pytest.mark.parametrize("ask", [why, trace])
    def test_a_null_byte(self, ask):
        with pytest.raises(errors.InputError, match="no path of a file"):
            ask("a\0b")

    @pytest.mark.parametrize("ask", [why, trace])
    def test_a_directory_whose_manifest_is_damaged(self, put, ask):
        put(a="a")
        run(Upper)
        append(below(Upper, f"{FOLDER}/00000001.jsonl"), "x")
        with pytest.raises(errors.DamagedManifestError):
            ask(below(Upper, "a.txt"))

    @pytest.mark.parametrize("ask", [why, trace])
    def test_what_this_user_may_not_look_at(self, put, ask, monkeypatch):
        """It is not called unknown, or an input."""
        put(a="a")
        run(Upper)

        def lstat(path):
            raise PermissionError(13, "Permission denied", path)

        monkeypatch.setattr(system, "lstat", lstat)
        with pytest.raises(errors.InputError, match="Give this user the right to read it"):
            ask(below(Upper, "a.txt"))

    def test_a_link_is_no_file_in_a_directory(self, put, working_dir):
        """But it is said where it leads."""
        put(a="a")
        run(Upper)
        os.symlink(below(Upper, "a.txt"), working_dir / "latest.txt")

        found = why(working_dir / "latest.txt")
        assert found.kind == "raw"
        assert below(Upper, "a.txt") in found.warnings[0]


class TestMaking:
    """In which generation an entry was made, and why."""

    @pytest.fixture(autouse=True, params=[0.0, 1e9], ids=["whole files", "deltas"])
    def largest_share(self, request, monkeypatch):
        monkeypatch.setattr(transaction, "LARGEST_SHARE", request.param)

    def making(self, task=Upper, name="a.txt"):
        return why(below(task, name)).making

    def test_a_first_build(self, put):
        put(a="a")
        run(Upper)
        assert self.making() == Making(1, "new")

    def test_an_update_names_the_source_that_has_changed(self, put):
        put(a="a", b="b")
        run(Upper)
        put(a="other")
        run(Upper)

        assert self.making() == Making(2, "changed", ("Letters: a.txt",))
        assert self.making(name="b.txt") == Making(1, "new")
        assert "in generation 2, because a source had changed (Letters: a.txt)" in str(why(below(Upper, "a.txt")))

    def test_an_item_that_came_later_is_new(self, put):
        put(a="a")
        run(Upper)
        put(b="b")
        run(Upper)
        assert self.making(name="b.txt") == Making(2, "new")

    def test_of_several_sources_that_which_has_changed(self, put):
        put(a="a")
        run(Upper, Strict, Joined)
        put(a="A")  # of which the one makes the same
        run(Upper, Strict, Joined)
        assert self.making(Joined, "a.json") == Making(2, "changed", ("words: a.txt",))

    def test_a_source_that_came_to_a_join(self, put, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        put(a="fail")
        run(Upper, Strict, Joined)
        put(a="good")
        run(Upper, Strict, Joined)
        assert self.making(Joined, "a.json").because == ("text: a.txt", "words: a.txt is new")

    def test_changed_code(self, put, monkeypatch):
        put(a="a")
        run(Upper)
        monkeypatch.setattr(Upper, "process", to_lower)
        run(Upper)
        assert self.making().reason == "code"
        assert "test_lineage.to_lower was added" in self.making().because
        monkeypatch.setattr(Upper, "version", "2")
        run(Upper)
        assert self.making() == Making(3, "code", ("version was '', now '2'",))

    def test_another_reader(self, put, monkeypatch):
        put(a="a")
        run(Upper)
        now = Letters().output()
        now.read_file = shout
        monkeypatch.setattr(Letters, "output", lambda self: now)
        run(Upper)
        assert self.making().reason == "code"
        assert "test_lineage.shout was added" in self.making().because

    def test_another_seed(self, put, monkeypatch):
        put(a="a")
        run(Upper)
        monkeypatch.setenv("LUISY_DIR_SEED", "7")
        run(Upper)
        assert self.making() == Making(2, "params", ("seed was 0, now 7",))

    def test_another_model(self, put, tmp_path):
        put(a="a")
        task = Thresholded(path=str(tmp_path / "model"))
        for text in (b"1", b"2"):
            write(str(tmp_path / "model"), text)
            task.run()
        found = why(os.path.join(task.output().path, "a.txt"))
        assert found.making == Making(2, "changed", ("what model has made was changed",))

    def test_what_had_failed(self, put, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        put(a="x", b="fail")
        run(Strict)
        monkeypatch.setattr(Strict, "version", Strict.version)  # the same
        put(a="y")
        run(Strict)
        assert self.making(Strict, "b") == Making(2, "failed before")

    def test_an_output_that_was_removed_by_hand(self, put):
        put(a="a")
        run(Upper)
        os.unlink(below(Upper, "a.txt"))
        run(Upper)
        assert self.making() == Making(2, "output missing or changed")

    def test_an_output_that_was_marked(self, put):
        put(a="a", b="b")
        run(Upper)
        append(below(Upper, "a.txt"))
        Upper().output().repair()
        marked = why(below(Upper, "a"))
        assert (marked.entry.status, marked.making) == ("output missing", Making(1, "new"))
        run(Upper)
        assert self.making() == Making(3, "output missing", ("'a.txt' is not as it was written",))

    def test_a_file_that_was_only_touched_is_still_of_its_first_generation(self, put):
        put(a="a")
        run(Upper)
        put(a="a", b="b")
        run(Upper)
        found = why(below(Upper, "a.txt"))
        assert found.making == Making(1, "new")
        assert found.sources[0].state == "unchanged"

    def test_after_a_rollback_it_is_that_which_was_gone_back_to(self, put):
        put(a="a")
        run(Upper)
        put(a="b")
        run(Upper)
        Upper().output().rollback()
        found = why(below(Upper, "a.txt"))

        assert (found.record.generation, found.record.pinned) == (3, True)
        assert found.making == Making(1, "new")
        assert found.sources[0].state == "changed"
        assert "in generation 3, which is pinned" in str(found)

    def test_where_former_generations_are_not_kept_it_is_not_known(self, put):
        put(a="a")
        run(Upper)
        put(b="b")
        run(Upper)
        gc(Upper().output().path, keep=1)

        assert self.making() == Making(2)
        assert "or in an earlier one that is not kept" in str(why(below(Upper, "a.txt")))

    def test_what_came_back_with_a_rollback_was_not_made_by_it(self, put):
        """Though the generation before it has another entry."""
        put(a="a")
        run(Upper)
        put(a="b")
        run(Upper)
        Upper().output().rollback()
        gc(Upper().output().path, keep=2)

        assert self.making() == Making(3)

    def test_after_damage_all_is_made_anew(self, put):
        put(a="a")
        run(Upper)
        append(below(Upper, f"{FOLDER}/00000001.jsonl"), "x")
        run(Upper)
        assert self.making() == Making(2, "manifest damaged")

    def test_a_former_generation_that_cannot_be_read_counts_as_not_kept(self, put):
        put(a="a")
        run(Upper)
        put(a="b")
        run(Upper)
        write(below(Upper, f"{FOLDER}/00000001.json"), b"{}")
        assert self.making() == Making(2)

    def test_code_that_does_not_count_is_no_reason(self, put, monkeypatch):
        """Items that earlier code has made are kept, and explained by that code."""
        put(a="a", b="b")
        run(Upper)
        before = why(below(Upper, "a.txt")).code
        monkeypatch.setattr(Upper, "process", to_lower)
        monkeypatch.setenv("LUISY_DIR_ON_CODE_CHANGE", "ignore")
        put(b="other", c="new")
        run(Upper)

        assert self.making(name="b.txt") == Making(2, "changed", ("Letters: b.txt",))
        assert self.making(name="c.txt") == Making(2, "new")
        assert self.making() == Making(1, "new")
        assert why(below(Upper, "a.txt")).code == before
        assert why(below(Upper, "b.txt")).code != before
        gc(Upper().output().path, keep=1)
        assert "other code" in why(below(Upper, "a.txt")).warnings[0]

    def test_the_generation_before_must_be_there_itself(self, put):
        """Not one before that, which may differ in more."""
        for text in ("a", "b", "c"):
            put(a=text)
            run(Upper)
        write(below(Upper, f"{FOLDER}/00000002.json"), b"{}")
        assert self.making() == Making(3)

    def test_an_item_may_have_been_taken_over_from_a_run_with_other_code(self, put):
        put(a="a")
        run(Upper)
        record = read_current(Upper().output().path)
        forge(Upper().output().path, resumed={record.fingerprint: 1})
        assert why(below(Upper, "a.txt")).warnings == ()
        forge(Upper().output().path, resumed={record.fingerprint: 1, "other": 2})
        assert "other code" in why(below(Upper, "a.txt")).warnings[0]


class TestFilesNow:
    """Whether sources and outputs are as the manifest has them."""

    def state(self, *, deep=False):
        found = why(below(Upper, "a"), deep=deep)
        return found.sources[0].state, found.outputs[0].state

    @pytest.fixture
    def source(self, put):
        folder = put(a="text")
        run(Upper)
        return os.path.join(folder, "a.txt")

    def test_what_is_touched_is_compared_by_its_content(self, source):
        os.utime(source)
        os.utime(below(Upper, "a.txt"))
        assert self.state() == ("unchanged", "unchanged")

    def test_another_size_or_content(self, source):
        append(source)
        write(below(Upper, "a.txt"), b"MORE")
        assert self.state() == ("changed", "changed")

    def test_what_is_gone(self, source):
        os.unlink(source)
        os.unlink(below(Upper, "a.txt"))
        assert self.state() == ("gone", "gone")

    def test_what_is_a_folder_now(self, source):
        for path in (source, below(Upper, "a.txt")):
            os.unlink(path)
            os.mkdir(path)
        assert self.state() == ("changed", "changed")

    def test_a_pipe_in_the_place_of_an_empty_file_is_no_file(self, put):
        source = os.path.join(put(a="", b="b"), "a.txt")
        run(Upper)
        os.unlink(source)
        os.mkfifo(source)
        assert self.state(deep=True) == ("changed", "unchanged")

    def test_a_pipe_in_the_place_of_a_file_does_not_stop_us(self, source):
        os.unlink(source)
        os.mkfifo(source)
        assert self.state(deep=True) == ("changed", "unchanged")

    def test_what_was_changed_and_dated_back_is_found_in_depth(self, source):
        for path, text in ((source, b"exte"), (below(Upper, "a.txt"), b"EXTE")):
            then = os.stat(path).st_mtime_ns
            write(path, text)
            os.utime(path, ns=(then, then))
        assert self.state() == ("unchanged", "unchanged")
        assert self.state(deep=True) == ("changed", "changed")

    def test_a_file_that_was_young_when_it_was_read_is_compared_by_its_content(self, write_files):
        """It may have changed again within the same tick of the clock."""
        source = os.path.join(write_files(Letters().output().path, {"a.txt": b"text"}, age_seconds=0.0), "a.txt")
        run(Upper)
        then = os.stat(source).st_mtime_ns
        write(source, b"exte")
        os.utime(source, ns=(then, then))
        assert self.state() == ("changed", "unchanged")

    def test_a_file_that_cannot_be_looked_at_is_not_called_gone(self, source, monkeypatch):
        real = system.stat

        def stat(path):
            if path == source:
                raise PermissionError(13, "Permission denied", path)
            return real(path)

        monkeypatch.setattr(system, "stat", stat)
        assert self.state() == ("unknown", "unchanged")

    def test_where_the_record_does_not_tell_it_is_not_known(self, put):
        put(a="a")
        run(Upper)
        forge(Upper().output().path, roots=msgspec.UNSET)
        found = why(below(Upper, "a.txt"))

        assert [(source.path, source.state) for source in found.sources] == [(None, "unknown")]
        assert "does not tell where Letters lies" in found.warnings[0]
        assert "it is not known where that lies" in str(found)


class TestMoved:
    def test_a_project_that_was_moved_as_a_whole(self, three_layers, tmp_path):
        os.rename(three_layers / "pipelines", tmp_path / "elsewhere")
        final = tmp_path / "elsewhere" / "final" / "RedChannel" / f"{CAT}.npy"

        assert [source.state for source in why(final).sources] == ["unchanged"]
        found = trace(final)
        assert found.nodes[0].path == str(tmp_path / "elsewhere" / "raw" / "images" / f"{CAT}.png")
        assert [node.is_current for node in found.nodes] == [None, True, True]

    def test_a_directory_that_is_seen_through_a_link(self, three_layers, tmp_path):
        (tmp_path / "desk").mkdir()
        os.symlink(RedChannel().output().path, tmp_path / "desk" / "link")
        found = trace(tmp_path / "desk" / "link" / f"{CAT}.npy")

        assert [node.kind for node in found.nodes] == ["raw", "output", "output"]
        assert [node.is_current for node in found.nodes] == [None, True, True]

    def test_a_folder_in_a_directory_that_is_seen_through_a_link(self, three_layers, tmp_path):
        os.symlink(below(RedChannel, "animals"), tmp_path / "animals")
        assert why(tmp_path / "animals" / "cats" / "chelsea_0001.npy").entry.key == CAT

    def test_a_layer_that_is_a_link_to_another_disk(self, three_layers, tmp_path):
        os.rename(three_layers / "pipelines" / "interim", tmp_path / "disk")
        os.symlink(tmp_path / "disk", three_layers / "pipelines" / "interim")
        found = trace(below(RedChannel, f"{CAT}.npy"))

        assert [node.kind for node in found.nodes] == ["raw", "output", "output"]

    def test_a_raw_folder_that_is_a_link(self, three_layers, tmp_path):
        raw = Images().output().path
        os.rename(raw, tmp_path / "photographs")
        os.symlink(tmp_path / "photographs", raw)

        for path in (f"{raw}/{CAT}.png", tmp_path / "photographs" / f"{CAT}.png"):
            found = trace(path, three_layers)
            assert paths_of(found)[1:] == [below(Arrays, f"{CAT}.npy"), below(RedChannel, f"{CAT}.npy")]


# -- trace -------------------------------------------------------------------------------------------------------------


class TestTrace:
    @pytest.mark.parametrize("asked", [0, 1, 2])
    def test_three_layers_from_each_of_them(self, three_layers, asked):
        paths = [
            os.path.join(Images().output().path, f"{CAT}.png"),
            below(Arrays, f"{CAT}.npy"),
            below(RedChannel, f"{CAT}.npy"),
        ]
        found = trace(paths[asked])

        assert paths_of(found) == paths
        assert found.edges == (Edge(0, 1, "unchanged"), Edge(1, 2, "unchanged"))
        assert [node.is_asked for node in found.nodes] == [number == asked for number in range(3)]
        assert [(node.task, node.generation, node.status) for node in found.nodes] == [
            (None, None, None),
            ("Arrays", 1, "written"),
            ("RedChannel", 1, "written"),
        ]
        assert [(node.kind, node.state, node.is_current) for node in found.nodes] == [
            ("raw", "there", None),
            ("output", "unchanged", True),
            ("output", "unchanged", True),
        ]
        assert found.warnings == ()

    def test_it_is_shown_as_a_tree(self, three_layers):
        found = trace(os.path.join(Images().output().path, f"{CAT}.png"))
        lines = str(found).splitlines()

        assert lines[0].split() == [f"raw/images/{CAT}.png", "raw"]
        assert lines[1].startswith(f"└─ interim/Arrays/{CAT}.npy ")
        assert len({lines[0].rindex("raw"), lines[1].rindex("Arrays"), lines[2].rindex("RedChannel")}) == 1
        assert lines[2].startswith(f"   └─ final/RedChannel/{CAT}.npy  RedChannel, generation 1, ")
        assert lines[3] == f"Paths are below {three_layers / 'pipelines'}, where results were looked for."

    def test_a_key_stands_for_its_outputs(self, three_layers):
        by_key, by_path = trace(below(Arrays, CAT)), trace(below(Arrays, f"{CAT}.npy"))
        assert (by_key.nodes, by_key.edges) == (by_path.nodes, by_path.edges)

    def test_one_way_alone(self, three_layers):
        middle = below(Arrays, f"{CAT}.npy")
        assert [node.kind for node in trace(middle, forward=False).nodes] == ["raw", "output"]
        assert paths_of(trace(middle, back=False)) == [middle, below(RedChannel, f"{CAT}.npy")]

    def test_a_join_goes_back_to_all_its_sources(self, put):
        put(a="a", b="b")
        run(Upper, Strict, Joined)
        assert edges_of(trace(below(Joined, "a.json"))) == {
            ("letters/a.txt", "Upper/a.txt"): "unchanged",
            ("letters/a.txt", "Strict/a.txt"): "unchanged",
            ("Upper/a.txt", "Joined/a.json"): "unchanged",
            ("Strict/a.txt", "Joined/a.json"): "unchanged",
        }

    def test_what_two_ways_lead_to_is_shown_in_full_once(self, put):
        put(a="a")
        run(Upper, Strict, Joined)
        shown = str(trace(os.path.join(Letters().output().path, "a.txt")))

        assert shown.count("final/Joined/a.json") == 2
        assert shown.count("Joined, generation 1") == 1
        assert shown.count("as above") == 1

    def test_forward_leads_to_what_was_made_of_this_source_alone(self, put):
        """What else went into a result is in the trace of that."""
        put(a="a")
        run(Upper, Strict, Joined, length)
        assert edges_of(trace(below(Upper, "a.txt"), back=False)) == {
            ("Upper/a.txt", "Joined/a.json"): "unchanged",
            ("Upper/a.txt", "length/a.json"): "unchanged",
        }

    def test_whether_a_result_is_current_counts_all_its_sources(self, put):
        put(a="a")
        run(Upper, Strict, Joined)
        append(below(Strict, "a.txt"))
        found = trace(below(Upper, "a.txt"), back=False)

        assert [(node.task, node.is_current) for node in found.nodes] == [("Upper", True), ("Joined", False)]
        assert [edge.state for edge in found.edges] == ["unchanged"]  # whose source has the same path under its root

    def test_several_outputs_of_one_item(self, put):
        put(a="one two", b="three")
        run(Words, WordLengths)
        assert edges_of(trace(os.path.join(Letters().output().path, "a.txt"))) == {
            ("letters/a.txt", "a/0.txt"): "unchanged",
            ("letters/a.txt", "a/1.txt"): "unchanged",
            ("a/0.txt", "a/0.json"): "unchanged",
            ("a/1.txt", "a/1.json"): "unchanged",
        }

    def test_one_of_several_outputs(self, put):
        """Its own source, and what was made of it: not its siblings."""
        put(a="one two")
        run(Words, WordLengths)
        expected = {("letters/a.txt", "a/1.txt"): "unchanged", ("a/1.txt", "a/1.json"): "unchanged"}

        assert edges_of(trace(below(Words, "a/1.txt"))) == expected
        assert edges_of(trace(below(WordLengths, "a/1.json"))) == expected

    def test_many_outputs_are_followed_as_few_are(self, put):
        put(a=" ".join("w" * 30))
        run(Words, WordLengths)
        assert len(trace(os.path.join(Letters().output().path, "a.txt")).edges) == 60

    def test_items_without_outputs_are_ends(self, put, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        put(a="fail", b="reject")
        run(Upper, Strict)
        found = trace(os.path.join(Letters().output().path, "a.txt"))

        failed = next(node for node in found.nodes if node.kind == "item")
        assert (failed.path, failed.key, failed.status) == (below(Strict, "a"), "a", "failed")
        assert "Strict, generation 1, failed, " in str(found)
        assert [node.kind for node in trace(below(Strict, "b")).nodes] == ["raw", "item"]

    def test_a_file_that_is_gone_can_be_followed(self, three_layers):
        path = os.path.join(Images().output().path, f"{CAT}.png")
        os.unlink(path)
        found = trace(path)

        assert [node.state for node in found.nodes] == ["gone", "unchanged", "unchanged"]
        assert [edge.state for edge in found.edges] == ["gone", "unchanged"]
        assert "raw, gone" in str(found)
        assert "its source is gone" in str(found)

    def test_a_raw_file_of_which_nothing_was_made(self, three_layers):
        write(os.path.join(Images().output().path, "new.png"), b"")
        found = trace(os.path.join(Images().output().path, "new.png"))

        assert ([node.kind for node in found.nodes], found.edges, found.is_empty) == (["raw"], (), True)
        assert "Nothing that is published below" in str(found)

    def test_a_changed_source(self, put):
        put(a="a")
        run(Upper, length)
        put(a="other")
        found = trace(below(length, "a.json"))

        assert [edge.state for edge in found.edges] == ["changed", "unchanged"]
        assert [node.is_current for node in found.nodes] == [None, False, True]
        assert "made before its source changed" in str(found)

    def test_a_result_of_an_earlier_version(self, put):
        put(a="a")
        run(Upper, length)
        put(a="other")
        run(Upper)
        found = trace(below(length, "a.json"))

        assert [(node.task, node.generation) for node in found.nodes] == [(None, None), ("Upper", 2), ("length", 1)]
        assert [edge.state for edge in found.edges] == ["unchanged", "earlier version"]
        assert [node.is_current for node in found.nodes] == [None, True, False]
        assert "made from an earlier version" in str(found)

    def test_a_source_that_was_made_again_with_the_same_bytes_is_no_other_version(self, put):
        put(a="a")
        run(Upper, length)
        put(a="A")
        run(Upper)
        assert [edge.state for edge in trace(below(length, "a.json")).edges] == ["unchanged", "unchanged"]

    def test_an_output_that_was_edited_by_hand_is_no_other_version(self, put):
        put(a="a")
        run(Upper, length)
        append(below(Upper, "a.txt"))
        found = trace(below(length, "a.json"))

        assert [edge.state for edge in found.edges] == ["unchanged", "changed"]
        assert found.nodes[1].state == "changed"
        assert "changed since" in str(found)

    def test_a_source_that_its_own_directory_does_not_know_any_more(self, put):
        folder = put(a="a", b="b")
        run(Upper, length)
        os.unlink(os.path.join(folder, "a.txt"))
        run(Upper)
        for asked in (below(length, "a.json"), below(Upper, "a.txt")):
            found = trace(asked)
            assert [(node.task, node.key, node.state) for node in found.nodes] == [
                ("Upper", None, "gone"),
                ("length", "a", "unchanged"),
            ]
            assert [edge.state for edge in found.edges] == ["gone"]
        assert "not known there any more" in str(found)

    def test_a_generation_that_somebody_has_gone_back_to(self, put):
        put(a="a")
        run(Upper, length)
        put(a="other")
        run(Upper, length)
        Upper().output().rollback()
        found = trace(below(length, "a.json"))

        assert [(node.generation, node.is_pinned) for node in found.nodes] == [(None, False), (3, True), (2, False)]
        assert [edge.state for edge in found.edges] == ["changed", "earlier version"]
        assert "Upper, generation 3, pinned" in str(found)

    def test_it_ends_at_a_file_without_a_manifest(self, put):
        put(a="a")
        run(Upper)
        AllLetters().run()
        assert edges_of(trace(os.path.join(Letters().output().path, "a.txt"))) == {
            ("letters/a.txt", "Upper/a.txt"): "unchanged"
        }
        assert why(AllLetters().output().path).kind == "raw"

    def test_all_of_it_is_json(self, three_layers):
        facts = trace(below(Arrays, CAT)).as_dict()

        assert json.loads(json.dumps(facts, allow_nan=False)) == facts
        assert [Node(**node) for node in facts["nodes"]] == list(trace(below(Arrays, CAT)).nodes)

    def test_a_record_that_does_not_tell_where_its_roots_lie_is_told(self, put):
        put(a="a")
        run(Upper)
        forge(Upper().output().path, roots=msgspec.UNSET)
        back = trace(below(Upper, "a.txt"))
        assert [(node.path, node.kind) for node in back.nodes] == [
            ("Letters: a.txt", "unknown"),
            (below(Upper, "a.txt"), "output"),
        ]
        assert back.nodes[1].is_current is None
        assert any("does not tell" in warning for warning in back.warnings)

        forward = trace(os.path.join(Letters().output().path, "a.txt"))
        assert forward.is_empty
        assert "its record does not tell" in forward.warnings[0]
        assert "Note: " in str(forward)

    def test_the_project_of_a_raw_file_is_searched_wherever_one_is(self, three_layers, monkeypatch):
        raw = Images().output().path
        for folder in (raw, os.path.dirname(raw), os.path.dirname(below(Arrays, CAT))):
            monkeypatch.chdir(folder)
            assert trace(os.path.join(raw, f"{CAT}.png")).within == str(three_layers / "pipelines")
            assert len(trace(os.path.join(raw, f"{CAT}.png")).nodes) == 3

    def test_the_current_directory_is_searched_where_it_is_wider(self, three_layers, monkeypatch):
        monkeypatch.chdir(three_layers)
        assert trace(below(Arrays, CAT)).within == str(three_layers)

    def test_the_current_directory_may_be_gone(self, three_layers, monkeypatch):
        (three_layers / "gone").mkdir()
        monkeypatch.chdir(three_layers / "gone")
        (three_layers / "gone").rmdir()
        assert trace(below(Arrays, CAT)).within == str(three_layers / "pipelines")

    def test_hidden_folders_are_passed_over(self, three_layers):
        shutil.copytree(Arrays().output().path, three_layers / "pipelines" / ".interim" / "Arrays")
        assert len(trace(os.path.join(Images().output().path, f"{CAT}.png")).nodes) == 3

    def test_a_folder_that_goes_meanwhile_is_no_matter(self, three_layers, monkeypatch):
        gone = str(three_layers / "pipelines" / "interim" / "gone")
        os.makedirs(gone)
        real = system.scandir

        def scandir(path):
            if path == gone:
                os.rmdir(gone)
            return real(path)

        monkeypatch.setattr(system, "scandir", scandir)
        found = trace(below(Arrays, CAT))
        assert (len(found.nodes), found.warnings) == (3, ())

    def test_another_folder_is_searched_where_it_is_given(self, three_layers):
        found = trace(below(Arrays, f"{CAT}.npy"), three_layers / "pipelines" / "raw")
        assert [node.kind for node in found.nodes] == ["raw", "output"]

    def test_what_another_project_has_made_is_found_where_its_folder_is_given(self, put, working_dir):
        put(a="a")
        run(MeasuredLetters)  # of the project of this module
        path = os.path.join(Letters().output().path, "a.txt")

        assert trace(path).is_empty
        assert [node.task for node in trace(path, working_dir).nodes] == [None, "MeasuredLetters"]
        assert [node.kind for node in trace(below(MeasuredLetters, "a.txt")).nodes] == ["raw", "output"]

    def test_without_layers_it_is_the_folder_above(self, tmp_path):
        write(str(tmp_path / "photographs" / "cat.png"), b"")
        assert trace(tmp_path / "photographs" / "cat.png").within == str(tmp_path)

    def test_a_folder_that_is_not_there(self, three_layers):
        with pytest.raises(errors.MissingInputError, match="There is no folder"):
            trace(below(Arrays, CAT), three_layers / "nothing")


# -- hostile names and manifests ---------------------------------------------------------------------------------------


class TestHostileNames:
    @pytest.fixture(params=HOSTILE.values(), ids=HOSTILE)
    def name(self, request, working_dir):
        """A raw file of a hostile name in a hostile folder, as text, and two layers made of it."""
        folder = os.fsencode(Letters().output().path)
        path = os.path.join(folder, request.param, request.param + b".txt")
        os.makedirs(os.path.dirname(path))
        with open(path, "wb") as file:
            file.write(b"text")
        then = time.time() - 1000
        os.utime(path, (then, then))
        run(Upper, length)
        return os.fsdecode(path)

    def test_are_traced_in_both_directions(self, name):
        forward = trace(name)
        assert [(node.kind, node.is_current) for node in forward.nodes] == [
            ("raw", None),
            ("output", True),
            ("output", True),
        ]
        back = trace(forward.nodes[-1].path)
        assert paths_of(back) == paths_of(forward)
        assert paths_of(back)[0] == name

    def test_do_not_drive_a_terminal_and_survive_json(self, name):
        found = trace(name)
        for answer in (found, why(found.nodes[-1].path), why(found.nodes[1].path), why(name)):
            assert is_harmless(str(answer))
            facts = answer.as_dict()
            assert json.loads(json.dumps(facts)) == facts

    def test_of_the_folder_that_holds_everything(self, put, working_dir, tmp_path):
        put(a="a")
        run(Upper, length)
        folder = tmp_path / os.fsdecode(b"\xff\n\x1b[2J%41")
        os.rename(working_dir / "pipelines", folder)
        found = trace(folder / "final" / "length" / "a.json")

        assert [node.is_current for node in found.nodes] == [None, True, True]
        assert is_harmless(str(found))

    def test_one_that_is_spelled_as_another(self, working_dir):
        """Undecodable bytes are spelled in percent, and another file may really be called like that."""
        folder = os.fsencode(Letters().output().path)
        write(os.path.join(folder, b"\xff.txt").decode("utf-8", "surrogateescape"), b"x")
        run(Upper)
        assert len(trace(os.fsdecode(os.path.join(folder, b"\xff.txt"))).nodes) == 2
        with pytest.raises(errors.UnknownPathError):
            trace(os.fsdecode(os.path.join(folder, b"%FF.txt")))


class TestHostileManifests:
    @pytest.fixture
    def upper(self, put):
        """A directory of which an enemy may write the manifest."""
        put(a="a")
        run(Upper)
        return Upper().output().path

    def ask(self, directory, key="k"):
        """Ask all that can be asked, and see that no answer can drive a terminal."""
        found, traced = why(os.path.join(directory, key)), trace(os.path.join(directory, key))
        for answer in (found, traced):
            assert is_harmless(str(answer))
            assert json.loads(json.dumps(answer.as_dict())) == answer.as_dict()
        return found, traced

    @pytest.mark.parametrize(
        "source",
        [
            Source("Letters", "../../../secret", 6, 1),
            Source("Letters", "/etc/passwd", 6, 1),
            Source("Letters", "%2E%2E/%2E%2E/secret", 6, 1, encoded=True),
            Source("Letters", "%2Fetc/passwd", 6, 1, encoded=True),
            Source("Letters", "a/../../b", 6, 1),
            Source("Letters", ".hidden", 6, 1),
            Source("Letters", "a\0b", 6, 1),
            Source("Letters", "a%00b", 6, 1, encoded=True),
            Source("nobody", "a.txt", 6, 1),
        ],
    )
    def test_a_source_that_leads_elsewhere_is_not_looked_at(self, upper, source, monkeypatch):
        looked = []
        real = system.stat
        monkeypatch.setattr(system, "stat", lambda path: (looked.append(path), real(path))[1])
        forge(upper, [an_entry("k", sources=(source,))])
        found, traced = self.ask(upper)

        assert [(now.path, now.state) for now in found.sources] == [(None, "unknown")]
        assert [node.kind for node in traced.nodes] == ["unknown", "item"]
        assert [path for path in looked if not path.startswith(upper)] == []

    @pytest.mark.parametrize(
        "path", ["../k.txt", "/etc/passwd", "a/../../k", ".manifest/CURRENT", "a\0b", "..", "\x1b[2J"]
    )
    def test_an_output_that_leads_elsewhere_is_not_looked_at(self, upper, path):
        forge(upper, [an_entry("k", sources=(), outputs=(an_output(path),))])
        found, traced = self.ask(upper)

        assert [now.path for now in found.outputs] == [None if path != "\x1b[2J" else os.path.join(upper, path)]
        assert found.outputs[0].state in {"unknown", "gone"}
        assert len(traced.nodes) == 1

    @pytest.mark.parametrize(
        "root",
        ["\0", "a%00b", "/etc", "x" * 100_000, "../" * 5000, "", ".", "../letters\n\x1b[2J", "%FF%0A", ".manifest"],
        ids=["null", "encoded null", "absolute", "long", "up", "empty", "itself", "escape", "undecodable", "manifest"],
    )
    def test_a_root_that_leads_anywhere(self, upper, root):
        forge(upper, [an_entry("k", sources=(Source("Letters", "group", 6, 1),))], roots={"Letters": root})
        found, traced = self.ask(upper)

        assert found.sources[0].state in {"unknown", "gone", "changed"}
        assert len(traced.nodes) == 2

    def test_an_item_and_an_output_of_one_name_are_two(self, upper):
        sources = (a_letter("s.txt"),)
        entries = [an_entry("a", sources=sources, outputs=(an_output("a.txt"),)), an_entry("a.txt", sources=sources)]
        forge(upper, entries)
        traced = trace(os.path.join(Letters().output().path, "s.txt"))

        assert [node.kind for node in traced.nodes] == ["raw", "output", "item"]
        assert len({node.path for node in traced.nodes[1:]}) == 1

    def test_a_source_that_was_not_read_is_no_other_version(self, put, upper):
        """As where a reader skips it: there is no digest to compare with."""
        run(length)
        source = Source("Upper", "a.txt", 999, 1)
        forge(length().output().path, [an_entry("a", sources=(source,), status="skipped")])
        assert [edge.state for edge in trace(below(length, "a")).edges] == ["unchanged", "changed"]

    def test_a_circle_of_one(self, upper):
        forge(upper, roots={"Letters": "."})
        _, traced = self.ask(upper, "a.txt")

        assert traced.edges == (Edge(0, 0, "earlier version"),)
        assert "Upper/a.txt" in str(traced)

    def test_a_circle_of_two(self, upper):
        run(length)
        source = a_letter("a.json")
        entry = an_entry("a", sources=(source,), outputs=(an_output("a.txt"),))
        forge(upper, [entry], roots={"Letters": "../../final/length"})
        for asked in (os.path.join(upper, "a.txt"), below(length, "a.json")):
            traced = trace(asked)
            assert len(traced.nodes) == len(traced.edges) == 2
            assert traced.warnings == ()
            assert str(traced).count("as above") == 1

    def test_a_way_without_end(self, upper):
        entries = [
            an_entry(f"{n:04d}", sources=(a_letter(f"{n + 1:04d}.txt"),), outputs=(an_output(f"{n:04d}.txt"),))
            for n in range(2000)
        ]
        forge(upper, entries, roots={"Letters": "."})
        for asked in ("0000.txt", "1999.txt"):
            traced = trace(os.path.join(upper, asked))
            assert 100 <= len(traced.nodes) <= 102
            assert any("layers away" in warning for warning in traced.warnings)
            assert str(traced)

    def test_everything_made_from_everything(self, upper):
        names = [f"{n:02d}" for n in range(30)]
        sources = tuple(a_letter(f"{name}.txt") for name in names)
        entries = [an_entry(name, sources=sources, outputs=(an_output(f"{name}.txt"),)) for name in names]
        forge(upper, entries, roots={"Letters": "."})
        traced = trace(os.path.join(upper, "00.txt"))
        assert (len(traced.nodes), len(traced.edges)) == (30, 900)
        assert len(str(traced).splitlines()) <= 1000

    def test_words_that_would_drive_a_terminal(self, upper):
        evil = "\x1b[2J\nNote: all is well\u202e"
        entry = an_entry("k", sources=(Source(evil, evil, 1, 1),), meta={evil: [evil]}, worker=evil)
        facts = {"task": evil, "parameters": {evil: evil}, "layer": evil, "roots": {evil: evil}}
        forge(upper, [entry], parts={"process": {evil: evil}}, **facts)
        self.ask(upper)

    @pytest.mark.parametrize(
        "parts",
        [{}, {"process": 1, "read": 2, "write": 3}, {"process": {"x": 1}, "read": {}, "write": []}, {"targets": 3}],
    )
    def test_parts_of_any_shape(self, upper, put, parts):
        put(a="b")
        run(Upper)
        forge(upper, parts=parts)
        found, _ = self.ask(upper, "a.txt")
        assert found.making.reason == "code"

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda path: append(os.path.join(path, FOLDER, "00000001.jsonl"), "x"),
            lambda path: os.unlink(os.path.join(path, FOLDER, CURRENT)),
            lambda path: write(os.path.join(path, FOLDER, CURRENT), b"\xff{"),
            lambda path: os.unlink(os.path.join(path, FOLDER, "00000001.json")),
            lambda path: shutil.rmtree(os.path.join(path, FOLDER)) or os.makedirs(os.path.join(path, FOLDER)),
            lambda path: shutil.rmtree(os.path.join(path, FOLDER)) or write(os.path.join(path, FOLDER), b""),
        ],
    )
    def test_a_damaged_directory_is_left_out_with_a_warning(self, put, spoil):
        put(a="a")
        run(Upper, Strict, Joined)
        spoil(Strict().output().path)
        raw = os.path.join(Letters().output().path, "a.txt")

        assert edges_of(trace(raw)) == {
            ("letters/a.txt", "Upper/a.txt"): "unchanged",
            ("Upper/a.txt", "Joined/a.json"): "unchanged",
        }
        assert [Strict().output().path in warning for warning in trace(raw).warnings] == [True]
        back = trace(below(Joined, "a.json"))
        assert edges_of(back)["Strict/a.txt", "Joined/a.json"] == "unchanged"
        assert ("letters/a.txt", "Strict/a.txt") not in edges_of(back)
        assert [Strict().output().path in warning for warning in back.warnings] == [True]

    def test_a_folder_that_cannot_be_looked_into_is_left_out_with_a_warning(self, upper, working_dir, monkeypatch):
        hidden = str(working_dir / "pipelines" / "interim" / "closed")
        os.makedirs(hidden)
        real = system.scandir

        def scandir(path):
            if str(path) == hidden:
                raise PermissionError(13, "Permission denied", path)
            return real(path)

        monkeypatch.setattr(system, "scandir", scandir)
        found = trace(os.path.join(Letters().output().path, "a.txt"))
        assert len(found.nodes) == 2
        assert [hidden in warning for warning in found.warnings] == [True]

    def test_a_manifest_that_cannot_be_looked_at_is_no_missing_one(self, upper, monkeypatch):
        real = system.lstat

        def lstat(path):
            if path == os.path.join(upper, FOLDER):
                raise PermissionError(13, "Permission denied", path)
            return real(path)

        monkeypatch.setattr(system, "lstat", lstat)
        found = trace(os.path.join(Letters().output().path, "a.txt"))
        assert found.is_empty
        assert found.warnings == (f"{upper!r} is left out: its manifest cannot be looked at.",)

    def test_a_directory_that_is_brought_up_to_date_meanwhile_is_left_out_with_a_warning(self, upper, monkeypatch):
        def entries_from(manifest, root, paths):
            raise errors.BusyError("It was brought up to date meanwhile.")

        monkeypatch.setattr("luisy_dir.manifest.Manifest.entries_from", entries_from)
        found = trace(os.path.join(Letters().output().path, "a.txt"))
        assert found.is_empty
        assert "brought up to date" in found.warnings[0]


def test_a_trace_is_a_plain_value():
    """So that it can be kept, compared and made by hand."""
    raw = Node("/data/a.png", "raw")
    assert Trace("/data/a.png", "/data", (raw,), ()) == Trace("/data/a.png", "/data", (raw,), ())
