"""Generations: what was published one after another, the ways back to it, and what nobody needs any more."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import files_below
from pipelines import Arrays, Images, Letters, RedChannel, Strict, Upper, Words, image_of
from skimage import io

import luisy_dir as luisy
from luisy_dir import errors, generations, transaction
from luisy_dir.generations import Difference, diff, gc, release, repair, rollback, versions
from luisy_dir.manifest import Manifest
from luisy_dir.record import CURRENT, FOLDER, UNDO, generation_name, generations_in, read_record
from luisy_dir.rollforward import forgettable
from luisy_dir.staging import BAD, RUN, locked, staging_of
from luisy_dir.storage import local

DAY_SECONDS = 86_400.0
ODD_NAMES = ["ü ö/ä", "a b", "new\nline", "50%", "%41", "quo'te\"", "d.o.t", "中文/字", "-dash"]


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """What a power cut would cost is tested elsewhere."""
    monkeypatch.setenv("LUISY_DIR_DURABILITY", "none")
    monkeypatch.setenv("LUISY_DIR_MAX_DELETED", "1.0")
    monkeypatch.setenv("LUISY_DIR_ENGINE", "serial")


@pytest.fixture(params=[0.0, 1e9], ids=["whole files", "deltas"])
def largest_share(request, monkeypatch):
    """Each generation in one file; and each as what differs from the one before."""
    monkeypatch.setattr(transaction, "LARGEST_SHARE", request.param)
    return request.param


class Raw:
    """The raw folder of letters, in which each change has a time of its own."""

    def __init__(self):
        self.folder = Letters().output().path
        self._seconds = time.time() - 100_000

    def put(self, **letters):
        self.put_all(letters)

    def put_all(self, letters):
        for key, text in letters.items():
            self._seconds += 1
            path = self.path(key)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(text)
            os.utime(path, (self._seconds, self._seconds))

    def delete(self, *keys):
        for key in keys:
            os.unlink(self.path(key))

    def path(self, key):
        return os.path.join(self.folder, f"{key}.txt")


@pytest.fixture
def raw(working_dir):
    return Raw()


@pytest.fixture
def three(raw, largest_share):
    """Upper, published three times; its target."""
    raw.put(same="same", changed="one", gone="gone", again="again")
    Upper().run()
    raw.put(changed="two", new="new")
    raw.delete("gone")
    Upper().run()
    raw.put(changed="three", gone="back")
    Upper().run()
    return Upper().output()


FIRST = {"same.txt": "SAME", "changed.txt": "ONE", "gone.txt": "GONE", "again.txt": "AGAIN"}
SECOND = {"same.txt": "SAME", "changed.txt": "TWO", "new.txt": "NEW", "again.txt": "AGAIN"}
THIRD = {"same.txt": "SAME", "changed.txt": "THREE", "new.txt": "NEW", "gone.txt": "BACK", "again.txt": "AGAIN"}


def read(path):
    with open(path, errors="surrogateescape") as file:
        return file.read()


def contents(target):
    """Bytes by path of all that is visible."""
    return {path: Path(target.path, path).read_bytes() for path in files_below(target.path)}


def tree(target):
    """Content by path of all that is visible."""
    return {path: read(os.path.join(target.path, path)) for path in files_below(target.path)}


def state_of_everything(folder):
    """Path, inode, size and time of change of every file, hidden ones too; and each folder."""
    found = {}
    for parent, folders, names in os.walk(folder):
        found |= {os.path.join(parent, name): None for name in folders}
        for name in names:
            state = os.lstat(os.path.join(parent, name))
            found[os.path.join(parent, name)] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return found


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def hidden(target):
    """Names in the manifest's folder."""
    return set(os.listdir(os.path.join(target.path, FOLDER)))


def empty_folders(target):
    """Visible ones."""
    folders = (path for path, *inside in os.walk(target.path) if not any(inside))
    return [path for path in folders if FOLDER not in path]


def kept_files(target):
    """Bytes by path of all that is kept in the manifest's folder."""
    folder = in_manifest(target)
    return {path: Path(folder, path).read_bytes() for path in files_below(folder)}


def in_manifest(target, *names):
    return os.path.join(target.path, FOLDER, *names)


def check_kept(target, *numbers):
    """Exactly these generations are kept, whole, with what leads back to them, and nothing else."""
    assert generations_in(target.path) == sorted(numbers)
    records = [read_record(target.path, number) for number in sorted(numbers)]
    needed = {file.file for record in records for file in record.files}
    needed |= {generation_name(number) + ".json" for number in numbers} | {CURRENT}
    assert needed <= hidden(target)
    assert hidden(target) - needed <= {UNDO + generation_name(number) for number in sorted(numbers)[1:]}
    for record in records:
        manifest = Manifest(target.path, record)
        manifest.verify()
        entries = list(manifest.entries())
        assert len(entries) == sum(record.counts.values())


@pytest.fixture
def nothing_changes(working_dir):
    """At the end of the test all is as it was at ``nothing_changes()``."""
    seen = []
    yield lambda: seen.append(state_of_everything(working_dir))
    assert seen
    assert state_of_everything(working_dir) == seen[0]


# -- versions ----------------------------------------------------------------------------------------------------------


class TestVersions:
    def test_the_newest_comes_first(self, three):
        assert [(record.generation, record.parent, record.pinned) for record in three.versions()] == [
            (3, 2, False),
            (2, 1, False),
            (1, None, False),
        ]

    def test_nothing_was_published(self, raw):
        with pytest.raises(errors.MissingInputError, match="Nothing was published"):
            versions(Upper().output().path)

    def test_a_record_that_cannot_be_read(self, three):
        write(in_manifest(three, "00000002.json"), "{}")
        with pytest.raises(errors.ManifestError):
            three.versions()


# -- diff --------------------------------------------------------------------------------------------------------------


class TestDiff:
    def test_names_what_was_added_changed_and_removed(self, three):
        assert three.diff(1, 2) == Difference(
            added=("new",), removed=("gone",), changed=("changed",), again=(), unchanged=2
        )
        assert three.diff(2, 3) == Difference(added=("gone",), removed=(), changed=("changed",), again=(), unchanged=3)

    def test_the_other_way_round(self, three):
        assert three.diff(3, 1) == Difference(
            added=(), removed=("new",), changed=("changed", "gone"), again=(), unchanged=2
        )

    def test_a_generation_and_itself(self, three):
        assert three.diff(2, 2) == Difference((), (), (), (), unchanged=4)

    def test_what_was_made_again_with_the_same_result(self, three, raw):
        os.unlink(os.path.join(three.path, "same.txt"))
        raw.put(again="AGAIN")  # other bytes in, the same bytes out
        Upper().run()

        assert three.diff(3, 4) == Difference((), (), (), again=("again", "same"), unchanged=3)

    def test_what_failed_was_rejected_and_was_mended(self, raw, monkeypatch, largest_share):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1.0")
        raw.put(a="a good one", b="fail", c="fail", d="reject")
        Strict().run()
        raw.put(a="reject", b="mended")
        Strict().run()

        assert Strict().output().diff(1, 2) == Difference((), (), ("a", "b"), ("c",), unchanged=1)

    def test_other_notes_count_as_changed(self, raw):
        class Noting(luisy.DirectoryTask):
            note = 1

            def process(self, text, item):
                item.meta["note"] = self.note
                return text

        task = luisy.interim(luisy.requires(Letters)(luisy.directory_output(".txt")(Noting)))
        raw.put(a="a")
        task().run()
        task.note, task.version = 2, "2"
        task().run()

        assert task().output().diff(1, 2).changed == ("a",)

    @pytest.mark.parametrize(("one", "other"), [(1, 9), (9, 1), (0, 1), (-1, 1)])
    def test_one_that_is_not_kept(self, three, one, other, nothing_changes):
        nothing_changes()
        with pytest.raises(errors.GenerationError, match="is not kept; kept are 1, 2, 3"):
            three.diff(one, other)

    def test_nothing_was_published(self, raw):
        with pytest.raises(errors.MissingInputError):
            diff(Upper().output().path, 1, 2)

    def test_one_whose_entries_are_damaged(self, three):
        with open(in_manifest(three, "00000003.jsonl"), "a") as file:
            file.write("x")
        with pytest.raises(errors.DamagedManifestError):
            three.diff(1, 3)

    def test_is_told_in_words(self, three):
        assert str(three.diff(1, 2)) == (
            "1 added, 1 removed, 1 changed, 2 unchanged\n  added: 'new'\n  removed: 'gone'\n  changed: 'changed'"
        )


# -- rollback ----------------------------------------------------------------------------------------------------------


class TestRollback:
    def test_one_back_is_byte_equal_pinned_and_complete(self, three):
        record = three.rollback()

        assert tree(three) == SECOND
        assert (record.generation, record.parent, record.pinned) == (4, 3, True)
        assert three.verify(deep=True).is_whole
        assert Upper().complete()
        check_kept(three, 1, 2, 3, 4)

    def test_to_a_generation_that_is_named(self, three):
        three.rollback(1)

        assert tree(three) == FIRST
        assert Upper().complete()
        assert three.diff(1, 4).keys == {}

    def test_of_a_rollback(self, three):
        three.rollback()
        three.rollback()

        assert tree(three) == THIRD
        assert [record.pinned for record in three.versions()] == [True, True, False, False, False]

    def test_to_every_generation_there_ever_was_in_any_order(self, three):
        expected = {1: FIRST, 2: SECOND, 3: THIRD}
        for number in (1, 3, 2, 1, 2, 3, 6, 1):
            to = three.versions()[0].generation + 1
            three.rollback(number)
            expected[to] = expected[number]
            assert tree(three) == expected[number]
            assert three.verify(deep=True).is_whole
        check_kept(three, *expected)

    def test_a_pinned_generation_is_complete_whatever_its_inputs_are(self, three, raw):
        three.rollback()
        raw.put(changed="four", other="other")
        raw.delete("same")

        assert Upper().complete()
        shutil.rmtree(raw.folder)
        assert Upper().complete()

    def test_a_pinned_generation_is_complete_whatever_its_code_is(self, three, monkeypatch):
        three.rollback()
        monkeypatch.setattr(Upper, "process", lambda self, text: text.title())
        monkeypatch.setattr(Upper, "version", "2")
        assert Upper().complete()

        three.release()
        assert not Upper().complete()

    def test_run_leaves_it_alone(self, three, raw, working_dir):
        three.rollback()
        raw.put(changed="four")
        before = state_of_everything(working_dir)
        Upper().run()

        assert state_of_everything(working_dir) == before
        assert "is pinned" in str(Upper().plan())

    def test_release_and_the_next_run_bring_it_up_to_date(self, three, raw):
        three.rollback()
        raw.put(same="other")
        record = three.release()

        assert (record.generation, record.parent, record.pinned) == (5, 4, False)
        assert tree(three) == SECOND
        assert not Upper().complete()
        assert {row.key: row.reason for row in Upper().plan().changes} == {
            "changed": "changed",
            "gone": "new",
            "same": "changed",
        }
        Upper().run()
        assert tree(three) == THIRD | {"same.txt": "OTHER"}
        assert Upper().complete()

    def test_after_a_release_nothing_is_done_where_the_inputs_are_those_of_then(self, raw):
        raw.put(a="one", b="b")
        Upper().run()
        raw.put(a="two")
        Upper().run()
        raw.put(a="one")
        target = Upper().output()
        target.rollback()
        target.release()

        assert Upper().complete()
        assert {row.reason for row in Upper().plan().changes} == {"touched"}

    def test_its_entries_are_those_of_then(self, three):
        then = {entry.key: entry for entry in Manifest(three.path, read_record(three.path, 2)).entries()}
        three.rollback()
        now = {entry.key: entry for entry in three.manifest().entries()}

        assert now.keys() == then.keys()
        for key, entry in now.items():
            assert (entry.sources, entry.started, entry.worker) == (
                then[key].sources,
                then[key].started,
                then[key].worker,
            )
            assert [output.digest for output in entry.outputs] == [output.digest for output in then[key].outputs]

    def test_its_record_is_that_of_then(self, three):
        then, now = read_record(three.path, 2), three.rollback()

        for name in ("fingerprint", "parts", "inputs", "counts", "outputs_digest", "task", "parameters", "layer"):
            assert getattr(now, name) == getattr(then, name), name

    def test_times_of_change_are_as_recorded(self, three):
        three.rollback(1)
        for entry in three.manifest().entries():
            for output in entry.outputs:
                state = os.stat(os.path.join(three.path, output.path))
                assert (state.st_size, state.st_mtime_ns) == (output.size, output.mtime_ns)

    def test_who_edits_a_published_file_does_not_reach_what_is_kept(self, three):
        """A file that came back has one name: a second one would be edited with it."""
        three.rollback(1)
        three.rollback(2)
        for path in tree(three):
            assert os.stat(os.path.join(three.path, path)).st_nlink == 1
        before = kept_files(three)
        for path in tree(three):
            with open(os.path.join(three.path, path), "r+") as file:
                file.write("##")

        assert kept_files(three) == before
        assert "undo-00000005/changed.txt" in before

    def test_with_files_in_the_way_of_which_nobody_knows(self, three):
        three.rollback(2)
        write(os.path.join(three.path, "gone.txt"), "not ours")
        before = state_of_everything(three.path)

        with pytest.raises(errors.ForeignDirectoryError, match=r"gone\.txt"):
            three.rollback(1)
        assert state_of_everything(three.path) == before
        assert Upper().complete()
        os.unlink(os.path.join(three.path, "gone.txt"))
        three.rollback(1)
        assert tree(three) == FIRST

    def test_that_is_refused_leaves_nothing_beside(self, three):
        three.rollback(2)
        write(os.path.join(three.path, "gone.txt"), "not ours")
        with pytest.raises(errors.ForeignDirectoryError):
            three.rollback(1)

        assert os.listdir(os.path.dirname(three.path)) == ["Upper"]

    def test_foreign_files_stay(self, three):
        write(os.path.join(three.path, "notes.md"), "mine")
        write(os.path.join(three.path, "deep", "notes.md"), "mine too")
        three.rollback(1)

        assert tree(three) == FIRST | {"notes.md": "mine", "deep/notes.md": "mine too"}

    def test_one_that_is_not_kept(self, three, nothing_changes):
        nothing_changes()
        for to in (0, 4, 99, -1):
            with pytest.raises(errors.GenerationError, match="is not kept"):
                three.rollback(to)

    def test_the_one_that_is_published(self, three, nothing_changes):
        nothing_changes()
        with pytest.raises(errors.GenerationError):
            three.rollback(3)

    def test_before_the_first_there_is_none(self, raw, nothing_changes):
        raw.put(a="a")
        Upper().run()
        nothing_changes()
        with pytest.raises(errors.GenerationError, match="no generation before 1"):
            Upper().output().rollback()

    def test_nothing_was_published(self, raw):
        with pytest.raises(errors.MissingInputError, match="Nothing was published"):
            rollback(Upper().output().path)
        assert not os.path.exists(os.path.dirname(Upper().output().path))

    def test_what_was_replaced_is_gone(self, three, nothing_changes):
        shutil.rmtree(in_manifest(three, "undo-00000003"))
        nothing_changes()

        with pytest.raises(errors.GenerationError, match="Nothing was done"):
            three.rollback()

    def test_what_is_not_needed_may_be_gone(self, three):
        """All of generation 1 was replaced by generation 2."""
        shutil.rmtree(in_manifest(three, "undo-00000003"))
        three.rollback(1)
        assert tree(three) == FIRST

    def test_what_was_replaced_was_tampered_with(self, three, nothing_changes):
        write(in_manifest(three, "undo-00000003", "changed.txt"), "TW0")
        nothing_changes()

        with pytest.raises(errors.GenerationError, match=r"'changed\.txt' of it is not kept any more, or was changed"):
            three.rollback()
        assert Upper().complete()

    def test_entries_of_then_are_damaged(self, three, nothing_changes):
        with open(in_manifest(three, "00000001.jsonl"), "r+b") as file:
            file.write(b"x")
        nothing_changes()

        with pytest.raises(errors.DamagedManifestError):
            three.rollback(1)

    def test_what_was_damaged_by_hand_and_is_replaced_does_not_matter(self, three):
        write(os.path.join(three.path, "changed.txt"), "by hand")
        os.unlink(os.path.join(three.path, "gone.txt"))
        three.rollback()

        assert tree(three) == SECOND
        assert Upper().complete()
        assert three.verify(deep=True).is_whole

    def test_what_was_damaged_by_hand_and_stays_is_noticed(self, three):
        """It is not complete, and a run says so rather than to do what nobody asked for."""
        write(os.path.join(three.path, "same.txt"), "by hand")
        three.rollback()

        assert not Upper().complete()
        with pytest.raises(errors.GenerationError, match="not all of its files are as they were written"):
            Upper().run()
        three.release()
        Upper().run()
        assert tree(three) == THIRD
        assert Upper().complete()

    def test_what_was_damaged_by_hand_cannot_be_gone_back_to(self, three, raw, nothing_changes):
        """What the run replaces is the damaged file, and that is none of generation 3."""
        write(os.path.join(three.path, "changed.txt"), "by hand")
        raw.put(changed="four")
        Upper().run()
        nothing_changes()

        with pytest.raises(errors.GenerationError, match=r"changed\.txt"):
            three.rollback()

    def test_what_was_damaged_by_hand_and_made_again_is_the_same(self, three):
        write(os.path.join(three.path, "changed.txt"), "by hand")
        Upper().run()
        three.rollback()

        assert tree(three) == THIRD
        assert Upper().complete()

    def test_a_run_is_at_work(self, three, nothing_changes):
        nothing_changes()
        with locked(three.path):
            for act in (three.rollback, three.release, three.repair):
                with pytest.raises(errors.BusyError):
                    act()

    def test_outputs_of_several_kinds(self, raw, largest_share):
        """Of one item many, then fewer, then none; in folders that come and go."""
        raw.put(a="one two three", b="b", **{"d/e": "x y"})
        Words().run()
        target = Words().output()
        first = tree(target)
        raw.put(a="zwei", b="")
        raw.delete("d/e")
        Words().run()
        second = tree(target)
        assert second == {"a/0.txt": "zwei"}
        raw.put(**{"d/e": "y", "d/e/f": "z"})
        Words().run()
        third = tree(target)

        for to, expected in ((1, first), (2, second), (3, third), (1, first)):
            target.rollback(to)
            assert tree(target) == expected
            assert target.verify(deep=True).is_whole
            assert empty_folders(target) == []

    def test_what_failed_then_has_failed_again(self, raw, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1.0")
        raw.put(a="fail", b="reject", c="good")
        Strict().run()
        raw.put(a="mended", b="good", c="fail")
        Strict().run()
        target = Strict().output()
        target.rollback()

        assert tree(target) == {"c.txt": "good"}
        assert {entry.key: entry.status for entry in target.manifest().entries()} == {
            "a": "failed",
            "b": "rejected",
            "c": "written",
        }
        target.release()
        Strict().run()
        assert tree(target) == {"a.txt": "mended", "b.txt": "good"}

    def test_to_one_that_had_other_code(self, raw, monkeypatch):
        raw.put(a="some words")
        Upper().run()
        with monkeypatch.context() as patched:
            patched.setattr(Upper, "process", lambda self, text: text.title())
            Upper().run()
            target = Upper().output()
            assert tree(target) == {"a.txt": "Some Words"}
            target.rollback()
            assert tree(target) == {"a.txt": "SOME WORDS"}
            assert Upper().complete()
            target.release()
            assert not Upper().complete()
        assert Upper().complete()

    def test_a_run_that_began_before_has_planned_for_another_generation(self, three):
        """The run is refused, and the rollback stays."""
        base = three.manifest()
        three.rollback()
        with pytest.raises(errors.BusyError), transaction.Transaction(three.path, "f" * 32, base=base):
            pass
        assert tree(three) == SECOND

    def test_readers_that_keep_to_a_generation_are_told(self, three):
        with pytest.raises(errors.InputChangedError), three.pinned() as directory:
            next(iter(directory.read()))
            three.rollback()

    def test_what_it_has_found_is_not_collected_meanwhile(self, three, monkeypatch):
        """Garbage is collected under the same lock."""
        find, collected = generations._find, []

        def collecting(current, output, to):
            found = find(current, output, to)
            collected.append(three.gc(keep=1))
            return found

        monkeypatch.setattr(generations, "_find", collecting)
        three.rollback()

        assert tree(three) == SECOND
        assert {(garbage.busy, *garbage.paths) for garbage in collected} == {((three.path,),)}


class TestRollbackOfImages:
    @pytest.fixture
    def images(self, working_dir):
        folder = Images().output().path
        os.makedirs(folder)

        def put(number, seed, *, seconds):
            path = os.path.join(folder, f"{number}.png")
            io.imsave(path, image_of((16, 12, 3), seed), check_contrast=False)
            os.utime(path, (time.time() - seconds,) * 2)

        for number in range(5):
            put(number, number, seconds=1_000)
        return put

    def test_arrays_are_byte_equal(self, images, largest_share):
        Arrays().run()
        target = Arrays().output()
        before = contents(target)
        images(1, 11, seconds=900)
        images(7, 7, seconds=900)
        os.unlink(os.path.join(Images().output().path, "4.png"))
        Arrays().run()
        target.rollback()

        after = contents(target)
        assert after == before
        np.testing.assert_array_equal(np.load(os.path.join(target.path, "1.npy")), image_of((16, 12, 3), 1))
        assert [array.shape for array in target.read()] == [(16, 12, 3)] * 5

    def test_what_follows_goes_by_digest(self, images):
        """Only the arrays that are others now are processed again."""
        Arrays().run()
        RedChannel().run()
        images(1, 11, seconds=900)
        Arrays().run()
        RedChannel().run()
        Arrays().output().rollback()

        assert not RedChannel().complete()
        assert {row.key: row.reason for row in RedChannel().plan().changes} == {"1": "changed"}
        RedChannel().run()
        assert RedChannel().complete()
        np.testing.assert_array_equal(
            np.load(os.path.join(RedChannel().output().path, "1.npy")), image_of((16, 12, 3), 1)[..., 0]
        )

    def test_what_follows_rests_where_the_same_bytes_are_back(self, images):
        Arrays().run()
        RedChannel().run()
        images(1, 11, seconds=900)
        Arrays().run()
        Arrays().output().rollback()

        assert RedChannel().complete()
        assert RedChannel().plan().is_at_rest


class TestOddNames:
    def test_of_outputs(self, raw, largest_share):
        raw.put_all({name: f"{name} first" for name in ODD_NAMES})
        Upper().run()
        target = Upper().output()
        first = tree(target)
        raw.put_all(dict.fromkeys(ODD_NAMES[:5], "second"))
        raw.delete(*ODD_NAMES[5:])
        Upper().run()
        assert len(first) == len(ODD_NAMES)
        assert len(tree(target)) == 5

        target.rollback()
        assert tree(target) == first
        assert target.verify(deep=True).is_whole
        os.unlink(os.path.join(target.path, "new\nline.txt"))
        assert target.repair().missing == ("new\nline.txt",)

    def test_that_are_no_valid_text(self, raw, largest_share):
        """The key spells such a name in percent, and so does the output."""
        raw.put_all({"x\udcff": "first", "\udce4/\udce4": "nested", "plain": "p"})
        Upper().run()
        target = Upper().output()
        first = tree(target)
        assert set(first) == {"x%FF.txt", "%E4/%E4.txt", "plain.txt"}
        raw.put_all({"x\udcff": "second"})
        raw.delete("\udce4/\udce4")
        Upper().run()
        assert target.diff(1, 2) == Difference((), ("%E4/%E4",), ("x%FF",), (), unchanged=1)

        target.rollback()
        assert tree(target) == first
        target.release()
        Upper().run()
        assert tree(target) == {"x%FF.txt": "SECOND", "plain.txt": "P"}

    def test_of_foreign_files(self, three):
        """They are never touched, whatever their names are."""
        names = ["\udcff.bin", "new\nline", "50%.txt", "ü/\udce4.bin"]
        for name in names:
            write(os.path.join(three.path, name), "mine")
        three.rollback()
        three.release()
        os.unlink(os.path.join(three.path, "same.txt"))
        three.repair()
        Upper().run()
        three.gc(keep=1)

        assert tree(three) == THIRD | dict.fromkeys(names, "mine")
        assert set(three.verify().foreign) == {"%FF.bin", "new\nline", "50%.txt", "%C3%BC/%E4.bin"}

    def test_of_the_directory(self, raw, monkeypatch):
        monkeypatch.setattr(Upper, "get_folder_name", lambda self: "ü %\n\udcff" + "x" * 230)
        raw.put(a="one")
        Upper().run()
        raw.put(a="two")
        Upper().run()
        target = Upper().output()
        target.rollback()

        assert tree(target) == {"a.txt": "ONE"}
        assert Upper().complete()
        assert os.listdir(os.path.dirname(target.path)) == [os.path.basename(target.path)]


# -- release -----------------------------------------------------------------------------------------------------------


class TestRelease:
    def test_of_what_is_not_pinned_does_nothing(self, three, nothing_changes):
        nothing_changes()
        assert three.release() == read_record(three.path, 3)

    def test_changes_no_output(self, three):
        three.rollback()
        before = {path: os.stat(os.path.join(three.path, path)) for path in tree(three)}
        three.release()

        assert {path: os.stat(os.path.join(three.path, path)) for path in tree(three)} == before
        check_kept(three, 1, 2, 3, 4, 5)

    def test_nothing_was_published(self, raw):
        with pytest.raises(errors.MissingInputError):
            release(Upper().output().path)

    def test_a_run_is_at_work(self, three, nothing_changes):
        three.rollback()
        nothing_changes()
        with locked(three.path), pytest.raises(errors.BusyError):
            three.release()

    def test_a_rollback_after_it_goes_to_the_pinned_one(self, three):
        three.rollback()
        three.release()
        three.rollback()

        assert tree(three) == SECOND
        assert three.versions()[0].pinned


# -- repair ------------------------------------------------------------------------------------------------------------


PROCESSED: list[str] = []


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Counted(luisy.DirectoryTask):
    """Notes which texts it has processed."""

    def process(self, text):
        PROCESSED.append(text)
        return text.upper()


@luisy.final
@luisy.requires(Counted)
@luisy.directory_output(".txt", engine="serial")
class Follows(luisy.DirectoryTask):
    def process(self, text):
        return text


@pytest.fixture
def calls():
    """Texts that Counted has processed."""
    PROCESSED.clear()
    return PROCESSED


class TestRepair:
    @pytest.fixture
    def target(self, raw, calls, largest_share):
        raw.put(**{f"f{number:02d}": f"text {number}" for number in range(20)})
        Counted().run()
        calls.clear()
        return Counted().output()

    def test_nothing_damaged_is_nothing_written(self, target, nothing_changes):
        nothing_changes()
        for deep in (False, True):
            assert target.repair(deep).is_whole

    def test_foreign_files_are_no_damage(self, target, nothing_changes):
        write(os.path.join(target.path, "mine.md"), "mine")
        nothing_changes()
        assert target.repair(deep=True).foreign == ("mine.md",)

    def test_what_was_only_touched_is_no_damage(self, target, nothing_changes):
        os.utime(os.path.join(target.path, "f03.txt"), (5, 5))
        nothing_changes()
        assert target.repair(deep=True).is_whole

    def test_marks_what_is_damaged_and_the_next_run_makes_that(self, target, calls):
        good = tree(target)
        write(os.path.join(target.path, "f03.txt"), "by hand")
        os.unlink(os.path.join(target.path, "f07.txt"))
        with open(os.path.join(target.path, "f09.txt"), "r+") as file:
            file.truncate(2)

        found = target.repair()

        assert (found.missing, found.changed) == (("f07.txt",), ("f03.txt", "f09.txt"))
        marked = {entry.key: entry for entry in target.manifest().entries() if entry.status == "output missing"}
        assert marked.keys() == {"f03", "f07", "f09"}
        assert all(entry.outputs == () and entry.error.type == "OutputMissing" for entry in marked.values())
        assert "'f07.txt' is missing" in marked["f07"].error.message
        assert target.manifest().record.counts["output missing"] == 3
        assert set(tree(target)) == set(good) - {"f03.txt", "f07.txt", "f09.txt"}
        assert target.verify(deep=True).is_whole
        assert not Counted().complete()
        assert {row.key: row.reason for row in Counted().plan().changes} == dict.fromkeys(marked, "output missing")
        Counted().run()
        assert sorted(calls) == ["text 3", "text 7", "text 9"]
        assert tree(target) == good
        assert Counted().complete()
        assert "output missing" not in target.manifest().record.counts

    def test_twice_marks_once(self, target, nothing_changes):
        os.unlink(os.path.join(target.path, "f07.txt"))
        target.repair()
        nothing_changes()
        assert target.repair().is_whole

    def test_another_one_later_is_marked_too(self, target, calls):
        for name in ("f07.txt", "f08.txt"):
            os.unlink(os.path.join(target.path, name))
            target.repair()
        assert target.manifest().record.counts["output missing"] == 2
        Counted().run()
        assert sorted(calls) == ["text 7", "text 8"]

    def test_what_was_changed_and_dated_back_is_found_by_reading(self, target, calls):
        path = os.path.join(target.path, "f05.txt")
        state = os.stat(path)
        write(path, "TEXT X")
        os.utime(path, ns=(state.st_mtime_ns, state.st_mtime_ns))

        assert target.repair().is_whole
        assert Counted().complete()
        assert target.repair(deep=True).changed == ("f05.txt",)
        assert not Counted().complete()
        Counted().run()
        assert calls == ["text 5"]
        assert read(path) == "TEXT 5"

    def test_what_was_changed_is_kept_out_of_sight(self, target):
        write(os.path.join(target.path, "f03.txt"), "an hour of work by hand")
        target.repair()

        assert read(in_manifest(target, "undo-00000002", "f03.txt")) == "an hour of work by hand"

    def test_of_an_item_with_several_outputs_the_others_stay(self, raw):
        raw.put(a="one two three", b="one two")
        Words().run()
        target = Words().output()
        os.unlink(os.path.join(target.path, "a", "1.txt"))
        target.repair()

        assert set(tree(target)) == {"a/0.txt", "a/2.txt", "b/0.txt", "b/1.txt"}
        assert target.verify().is_whole
        Words().run()
        assert tree(target) == {
            "a/0.txt": "one",
            "a/1.txt": "two",
            "a/2.txt": "three",
            "b/0.txt": "one",
            "b/1.txt": "two",
        }
        assert Words().complete()

    def test_a_marked_item_whose_source_is_gone_goes(self, target, raw, calls):
        os.unlink(os.path.join(target.path, "f07.txt"))
        target.repair()
        raw.delete("f07")
        Counted().run()

        assert calls == []
        assert Counted().complete()
        assert "f07.txt" not in tree(target)

    def test_what_follows_is_not_run_before(self, raw, target):
        Follows().run()
        os.unlink(os.path.join(target.path, "f07.txt"))
        target.repair()

        assert not Follows().complete()
        with pytest.raises(errors.MissingInputError):
            Follows().run()
        Counted().run()
        assert Follows().complete()

    def test_can_be_gone_back_before_where_nothing_else_is_lost(self, target, nothing_changes):
        """A file that was deleted by hand is not kept anywhere."""
        os.unlink(os.path.join(target.path, "f07.txt"))
        target.repair()
        nothing_changes()
        with pytest.raises(errors.GenerationError, match=r"f07\.txt"):
            target.rollback()

    def test_nothing_was_published(self, raw):
        with pytest.raises(errors.MissingInputError):
            repair(Counted().output().path)

    def test_a_manifest_that_is_damaged(self, target):
        with open(in_manifest(target, "00000001.jsonl"), "a") as file:
            file.write("x")
        with pytest.raises(errors.DamagedManifestError):
            target.repair()

    def test_a_run_is_at_work(self, target, nothing_changes):
        os.unlink(os.path.join(target.path, "f07.txt"))
        nothing_changes()
        with locked(target.path), pytest.raises(errors.BusyError):
            target.repair()


# -- what is kept ------------------------------------------------------------------------------------------------------


class TestRetention:
    @pytest.mark.parametrize("keep", [1, 2, 3])
    def test_as_many_as_wanted_and_all_of_them_can_be_gone_back_to(self, raw, monkeypatch, largest_share, keep):
        monkeypatch.setenv("LUISY_DIR_KEEP_GENERATIONS", str(keep))
        raw.put(**{f"f{number}": "0" for number in range(8)})
        target, trees = Upper().output(), {}
        for number in range(1, 8):
            raw.put(**{"f0": f"a{number}", f"f{number}": f"b{number}"})
            if number > 1:
                raw.delete(f"f{number - 1}")
            Upper().run()
            trees[number] = tree(target)
            check_kept(target, *range(max(1, number - keep + 1), number + 1))
        assert {name for name in hidden(target) if name.startswith(UNDO)} == {
            UNDO + generation_name(number) for number in range(7 - keep + 2, 8)
        }

        copy = target.path + "-copy"
        for number in range(7 - keep + 1, 7):
            shutil.copytree(target.path, copy)
            generations.rollback(copy, number)
            assert {path: read(os.path.join(copy, path)) for path in files_below(copy)} == trees[number]
            shutil.rmtree(copy)
        with pytest.raises(errors.GenerationError):
            target.rollback(7 - keep)

    def test_fewer_than_before(self, three, raw, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_KEEP_GENERATIONS", "1")
        raw.put(changed="four")
        Upper().run()

        check_kept(three, 4)
        with pytest.raises(errors.GenerationError):
            three.rollback()

    def test_nothing_is_forgotten_by_a_run_that_has_nothing_to_do(self, three, monkeypatch, nothing_changes):
        monkeypatch.setenv("LUISY_DIR_KEEP_GENERATIONS", "1")
        nothing_changes()
        Upper().run()

    def test_nothing_is_forgotten_by_going_back(self, three, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_KEEP_GENERATIONS", "1")
        for _ in range(3):
            three.rollback()
            three.release()
        check_kept(three, *range(1, 10))

    def test_of_many_deltas_each_generation_can_be_read(self, raw, monkeypatch):
        """Chains of files grow, are cut where they are too long, and nothing that is kept loses its beginning."""
        monkeypatch.setattr(transaction, "LARGEST_SHARE", 1e9)
        raw.put(**{f"f{number:02d}": "0" for number in range(10)})
        target, trees = Upper().output(), {}
        for number in range(1, 40):
            raw.put(f03=str(number))
            Upper().run()
            trees[number] = tree(target)
            check_kept(target, *range(max(1, number - 2), number + 1))
        lengths = [len(record.files) for record in target.versions()]
        assert max(lengths) <= 16
        target.rollback(37)
        assert tree(target) == trees[37]


# -- gc ----------------------------------------------------------------------------------------------------------------


def age(path, days):
    """Make a folder, and what is right in it, look old."""
    then = time.time() - days * DAY_SECONDS
    for name in os.listdir(path):
        os.utime(os.path.join(path, name), (then, then))
    os.utime(path, (then, then))


def leave(target, name, *, days, size=10):
    """What a run that was killed has left."""
    path = os.path.join(staging_of(target.path), name)
    write(os.path.join(path, "files", "x.txt"), "x" * size)
    write(os.path.join(path, "journal-w"), "")
    age(path, days)
    return path


COLLECTED: list[generations.Garbage] = []


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Collecting(luisy.DirectoryTask):
    """Collects garbage while it is at work."""

    def process(self, text):
        COLLECTED.append(gc(self.get_outdir(), older_than_days=0, keep=1))
        return text


class TestGarbage:
    def test_a_dry_run_lists_and_removes_nothing(self, three, nothing_changes):
        nothing_changes()
        garbage = three.gc(keep=1, dry_run=True)

        assert in_manifest(three, "00000001.json") in garbage.paths
        assert in_manifest(three, "undo-00000003") in garbage.paths
        assert garbage.size > 0
        assert garbage.busy == ()

    @pytest.mark.parametrize("keep", [1, 2, 3, 4])
    def test_removes_what_a_dry_run_lists_and_nothing_else(self, three, keep):
        leave(three, RUN + "old-1", days=30)
        leave(three, BAD + "1", days=0)
        listed = three.gc(keep=keep, dry_run=True)
        before = set(state_of_everything(os.path.dirname(three.path)))
        removed = three.gc(keep=keep)

        assert removed == listed
        gone = before - set(state_of_everything(os.path.dirname(three.path)))
        staging = staging_of(three.path)
        assert gone - {staging} == {
            path for path in before if any(f"{path}/".startswith(f"{listed}/") for listed in removed.paths)
        }
        check_kept(three, *[1, 2, 3][-keep:])
        assert tree(three) == THIRD
        assert Upper().complete()
        assert three.gc(keep=keep).paths == {}

    def test_bytes_are_those_of_the_files(self, three):
        path = leave(three, RUN + "old-1", days=30, size=1_234)
        assert three.gc(keep=3, dry_run=True).paths == {path: 1_234}

    def test_what_is_kept_can_still_be_gone_back_to(self, three):
        three.gc(keep=2)
        three.rollback()
        assert tree(three) == SECOND

    def test_what_a_run_has_left_goes_when_it_is_old(self, three):
        young, old = leave(three, RUN + "young-1", days=6), leave(three, RUN + "old-2", days=8)

        assert gc(three.path).paths.keys() == {old}
        assert os.path.exists(young)
        assert gc(three.path, older_than_days=5).paths.keys() == {young}
        assert not os.path.exists(staging_of(three.path))

    def test_days_may_be_parts_and_none(self, three):
        path = leave(three, RUN + "new-1", days=0)
        assert gc(three.path, older_than_days=0.5).paths == {}
        assert gc(three.path, older_than_days=0).paths.keys() == {path}

    def test_a_staging_whose_disk_failed_goes_however_young_it_is(self, three):
        path = leave(three, BAD + "abc", days=0)
        assert gc(three.path).paths.keys() == {path}
        assert not os.path.exists(staging_of(three.path))

    def test_a_run_that_is_at_work_is_left_alone_and_named(self, three):
        path = leave(three, BAD + "abc", days=30)
        with locked(three.path):
            before = state_of_everything(os.path.dirname(three.path))
            for dry_run in (True, False):
                garbage = gc(three.path, keep=1, dry_run=dry_run)
                assert (garbage.paths, garbage.busy) == ({}, (three.path,))
            assert state_of_everything(os.path.dirname(three.path)) == before
        assert os.path.exists(path)

    def test_a_run_that_processes_is_left_alone(self, raw, working_dir):
        """However old it makes what it leaves at work look."""
        raw.put(a="one")
        Collecting().run()
        raw.put(a="two")
        COLLECTED.clear()
        Collecting().run()

        assert [(garbage.paths, garbage.busy) for garbage in COLLECTED] == [({}, (Collecting().output().path,))]
        assert tree(Collecting().output()) == {"a.txt": "two"}
        check_kept(Collecting().output(), 1, 2)

    def test_above_several_directories(self, three, raw, working_dir):
        raw.put(b="more words")
        Words().run()
        raw.put(b="fewer")
        Words().run()
        with locked(Words().output().path):
            garbage = gc(str(working_dir), keep=1)
        assert garbage.busy == (Words().output().path,)
        assert all(path.startswith(three.path + os.sep) for path in garbage.paths)
        check_kept(three, 3)

        garbage = gc(str(working_dir), keep=1)
        assert garbage.busy == ()
        assert all(path.startswith(Words().output().path + os.sep) for path in garbage.paths)
        check_kept(Words().output(), 2)

    def test_raw_folders_are_not_looked_at(self, three, raw, working_dir):
        write(os.path.join(raw.folder, ".manifest-of-others"), "x")
        write(os.path.join(raw.folder, "run-1", "x"), "x")
        before = state_of_everything(raw.folder)
        gc(str(working_dir), keep=1, older_than_days=0)
        assert state_of_everything(raw.folder) == before

    def test_a_staging_whose_directory_was_never_published(self, raw, working_dir):
        target = Upper().output()
        path = leave(target, RUN + "old-1", days=30)

        assert gc(str(working_dir), dry_run=True).paths.keys() == {path}
        assert os.path.exists(path)
        assert gc(str(working_dir)).paths.keys() == {path}
        assert os.listdir(os.path.dirname(target.path)) == []

    def test_what_is_needed_to_finish_a_generation_is_left_alone(self, three, raw, monkeypatch):
        """Killed between its commit and its end: the run's files are the directory's."""
        raw.put(changed="four")

        def killed(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(transaction, "roll_forward", killed)
            Upper().run()
        staging = staging_of(three.path)
        (run,) = [name for name in os.listdir(staging) if name.startswith(RUN)]
        age(os.path.join(staging, run), 30)
        gc(three.path, keep=1)
        assert os.path.exists(os.path.join(staging, run))

        Upper().run()
        assert tree(three) == THIRD | {"changed.txt": "FOUR"}
        assert Upper().complete()

    def test_foreign_things_beside_and_in_a_staging_stay(self, three):
        write(os.path.join(staging_of(three.path), "notes"), "mine")
        write(os.path.join(os.path.dirname(three.path), "bad-1", "x"), "mine")
        gc(os.path.dirname(three.path), keep=1, older_than_days=0)

        assert os.path.exists(os.path.join(staging_of(three.path), "notes"))
        assert os.path.exists(os.path.join(os.path.dirname(three.path), "bad-1", "x"))

    def test_a_link_among_the_garbage_is_not_followed(self, three, tmp_path_factory):
        outside = tmp_path_factory.mktemp("outside")
        (outside / "precious").write_text("mine")
        path = leave(three, BAD + "abc", days=1)
        os.symlink(outside, os.path.join(path, "files", "link"))
        gc(three.path)

        assert (outside / "precious").read_text() == "mine"
        assert not os.path.exists(path)

    def test_what_a_run_has_forgotten_meanwhile_is_no_error(self, three, monkeypatch):
        """Without a staging nobody is asked whether a run begins just now, and that forgets the same files."""

        def forgotten_meanwhile(directory, keep):
            paths = forgettable(directory, keep)
            local.remove_tree(paths[0])
            return paths

        monkeypatch.setattr(generations, "forgettable", forgotten_meanwhile)
        gc(three.path, keep=1)
        check_kept(three, 3)

    def test_a_record_that_is_kept_cannot_be_read(self, three, nothing_changes):
        write(in_manifest(three, "00000002.json"), "{}")
        nothing_changes()
        with pytest.raises(errors.ManifestError):
            gc(three.path, keep=2)

    def test_the_published_generation_is_never_removed(self, three):
        with pytest.raises(errors.LuisyDirError):
            gc(three.path, keep=-3)
        assert Upper().complete()

    def test_there_is_no_such_folder(self, working_dir):
        with pytest.raises(errors.MissingInputError, match="There is no folder"):
            gc(str(working_dir / "nowhere"))

    def test_nothing_to_collect(self, three, nothing_changes):
        nothing_changes()
        assert gc(three.path).paths == {}
