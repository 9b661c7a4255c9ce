"""Rolling forward: whatever ends an update, and wherever, the next run ends in the right tree."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys

import pytest
from conftest import an_entry, states_below
from faults import (  # noqa: F401 - other tests take their world from here
    DIED,
    LATEST,
    NEW,
    OLD,
    Calls,
    Lines,
    check_overtaken,
    die,
    in_a_child,
    publish_old_then_put_new,
    put_letters,
    read,
    run,
    run_with_later_letters,
    sandbox,
    sweep_meddling,
    tree,
    without_locks,
)
from test_transaction import FACTS, write_item

from luisy_dir import errors, generations, rollforward, transaction
from luisy_dir.entry import OutputFile
from luisy_dir.manifest import read_manifest
from luisy_dir.record import CURRENT, FOLDER, UNDO, generations_in, read_record
from luisy_dir.rollforward import changes_of, recover, roll_forward
from luisy_dir.staging import staging_of
from luisy_dir.storage import local
from luisy_dir.transaction import Transaction


@pytest.fixture(params=["commit", "none"])
def durability(request, monkeypatch):
    """Both ways; and with ``commit`` the manifest of an update is a delta, with ``none`` a whole one."""
    monkeypatch.setenv("LUISY_DIR_DURABILITY", request.param)
    monkeypatch.setattr(transaction, "LARGEST_SHARE", 10.0 if request.param == "commit" else 0.0)
    monkeypatch.setenv("LUISY_DIR_MAX_DELETED", "1.0")
    return request.param


@pytest.fixture
def world(durability, monkeypatch, tmp_path):
    """OLD is published and NEW lies in the raw folder."""
    with sandbox(monkeypatch, tmp_path) as world:
        publish_old_then_put_new()
        yield world


# -- without locks ----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_locks(monkeypatch):
    without_locks(monkeypatch)


def overtake_in(monkeypatch, function):
    """Let another run come in once, just after a function of rollforward has listed what a manifest consists of."""
    list_names = local.names_in
    has_overtaken = []

    def listed(folder):
        names = list_names(folder)
        if not has_overtaken and folder.endswith(FOLDER) and sys._getframe(1).f_code.co_name == function:
            has_overtaken.append(True)
            run_with_later_letters()
        return names

    monkeypatch.setattr(local, "names_in", listed)
    return has_overtaken


@pytest.mark.parametrize("durability", ["none"], indirect=True)
class TestFences:
    """Correctness does not rest on the lock: whoever takes over renames first, and a sleeper then harms nothing."""

    @pytest.fixture
    def overtaken(self, world, request):
        """``overtaken(by, expected)``: another run comes in before each call; how the first one ended."""

        def sweep(overtake, expected, **options):
            swept = sweep_meddling(world, overtake, check_overtaken(expected), **options)
            request.node.user_properties.append(("fault points", [swept.points, len(swept.violations)]))
            swept.check()
            return swept.ends

        return sweep

    def test_a_run_that_is_overtaken_at_any_call_by_another_one(self, overtaken, no_locks):
        """Before the commit, between commit and roll-forward, and in the midst of it."""
        assert errors.BusyError in overtaken(run, NEW)

    def test_a_run_that_is_overtaken_at_any_call_by_one_with_later_inputs(self, overtaken, no_locks):
        """The sleeper has older files in hand, and puts none of them over a later one."""
        ends = overtaken(run_with_later_letters, LATEST)
        assert errors.BusyError in ends

    def test_a_run_that_is_overtaken_while_it_makes_a_folder_for_what_it_takes_away(self, overtaken, no_locks):
        overtaken(run_with_later_letters, LATEST, is_at=self.is_folder_of_undo)

    def is_folder_of_undo(self, name, path, *_):
        return name in {"mkdir", "makedirs"} and "/undo" in path

    def test_a_run_that_is_overtaken_before_it_has_begun_hears_that_another_one_is_at_work(self, overtaken, no_locks):
        """To be told to move files away that the other one has just published would be bad advice."""
        ends = overtaken(run, NEW, is_at=lambda name, path, *_: name == "makedirs" and path.endswith("/files"))
        assert ends <= {errors.BusyError, errors.StorageError}

    @pytest.mark.parametrize("function", ["forgettable", "_remove_orphans"])
    def test_what_came_after_generations_were_listed_is_no_garbage(self, world, no_locks, monkeypatch, function):
        has_overtaken = overtake_in(monkeypatch, function)
        with contextlib.suppress(errors.BusyError):
            Lines().run()
        assert has_overtaken
        assert Lines().output().verify(deep=True).is_whole
        assert tree(world.directory) == LATEST

    def test_gc_removes_nothing_of_a_run_that_begins_meanwhile(self, world, monkeypatch):
        """With locks that work: the run is finished, or it hears that the directory is busy."""
        has_overtaken = overtake_in(monkeypatch, "forgettable")
        with contextlib.suppress(errors.BusyError):
            Lines().output().gc(keep=3)
        assert has_overtaken
        assert Lines().output().verify(deep=True).is_whole
        Lines().run()
        assert generations_in(world.directory) == [1, 2]
        assert tree(world.directory) == LATEST


def test_of_two_runs_that_commit_the_same_generation_one_wins(tmp_path, monkeypatch, no_locks):
    directory = str(tmp_path / "layer" / "Task")
    with Transaction(directory, "f" * 32) as first:
        write_item(first, "a")
        first.commit(FACTS)
    base = read_manifest(directory)
    monkeypatch.setattr(transaction, "recover", lambda *_, **__: None)  # neither sees the other
    [entry] = base.entries()
    with (
        pytest.raises(errors.BusyError, match="another run has published"),
        Transaction(directory, "f" * 32, base=base) as slow,
        Transaction(directory, "f" * 32, base=base) as quick,
    ):
        write_item(slow, "a", b"slow")
        write_item(quick, "a", b"quick")
        quick.commit(FACTS, [entry])
        slow.commit(FACTS, [entry])
    assert tree(directory) == {"a.bin": "quick"}
    assert read_manifest(directory).record.run_id == quick.run_id
    assert not rollforward.has_pending(directory)


# -- a generation that is committed and not yet applied ---------------------------------------------------------------


@pytest.fixture
def pending(world):
    """A world in which a run was killed just after its commit."""

    def die_after_commit():
        rollforward._Mover.take_away = rollforward._Mover.put = lambda *_: die()
        Lines().run()

    assert in_a_child(die_after_commit) == DIED
    assert rollforward.has_pending(world.directory)
    return world


class TestPending:
    def test_it_is_not_complete_and_shows_what_was_there_before(self, pending):
        assert not Lines().complete()
        assert not Lines().output().exists()
        assert tree(pending.directory) == OLD

    def test_a_plan_says_so_and_writes_nothing(self, pending):
        before = states_below(pending.working_dir)
        plan = Lines().plan()
        assert plan.is_pending
        assert not plan.is_complete
        assert not plan.is_at_rest
        assert "A run was ended while it published: the next one finishes that first." in str(plan)
        assert states_below(pending.working_dir) == before

    def test_the_next_run_finishes_it_and_calls_nobody(self, pending):
        run_id = read_record(pending.directory, 2).run_id
        Lines().run()
        pending.check_finished(NEW)
        assert read_manifest(pending.directory).record.run_id == run_id

    def test_without_its_staging_the_files_are_made_anew(self, pending):
        """Somebody has removed what was staged: those outputs are missing, and nothing is wrong."""
        shutil.rmtree(staging_of(pending.directory))
        pending.check_nothing_wrong(OLD)
        Lines().run()
        pending.check_finished(NEW)
        pending.check_rests()

    @pytest.mark.parametrize("with_staging", [True, False])
    def test_gc_does_not_hinder_the_roll_forward(self, pending, with_staging):
        """What the pending generation removes is known from the one before, which is still needed."""
        if not with_staging:
            shutil.rmtree(staging_of(pending.directory))
        Lines().output().gc(keep=1)
        Lines().run()
        pending.check_finished(NEW)

    @pytest.mark.parametrize("act", ["rollback", "release", "repair"])
    def test_other_acts_finish_it_first(self, pending, act):
        getattr(Lines().output(), act)()
        expected = OLD if act == "rollback" else NEW
        pending.check_finished(expected)


class TestUnits:
    def test_what_is_the_same_is_not_put(self):
        output = an_output("a.bin")
        assert changes_of([(an_entry("a", outputs=(output,)), an_entry("a", outputs=(output,)))]).put == ()

    def test_an_output_that_moves_to_another_item_is_put_and_not_removed(self):
        """In whatever order the two come."""
        old, new = an_output("a/1.bin", "0"), an_output("a/1.bin", "1")
        pairs = [(an_entry("a", outputs=(old,)), None), (None, an_entry("a/1", outputs=(new,)))]
        for each in (pairs, pairs[::-1]):
            assert changes_of(each) == rollforward.Changes(put=("a/1.bin",), removed=())

    def test_rolling_forward_twice_is_rolling_forward_once(self, tmp_path):
        directory = str(tmp_path / "layer" / "Task")
        with Transaction(directory, "f" * 32) as first:
            write_item(first, "a")
            write_item(first, "b")
            first.commit(FACTS)
        base = read_manifest(directory)
        with Transaction(directory, "f" * 32, base=base, keep=9) as second:
            write_item(second, "a", b"new")
            record = second.commit(FACTS, list(base.entries()))
            before = states_below(directory)
            os.unlink(os.path.join(directory, FOLDER, CURRENT))
            roll_forward(directory, second.run, record, rollforward.Changes(("a.bin",), ("b.bin",)))
        after = states_below(directory)
        for path in (*before.keys() - after.keys(), *after.keys() - before.keys()):
            raise AssertionError(path)
        assert tree(directory) == {"a.bin": "new"}
        assert tree(os.path.join(directory, FOLDER, UNDO + "00000002")) == {"a.bin": "data", "b.bin": "data"}

    def test_whoever_recovers_fences_the_former_owner_first(self, tmp_path):
        directory = str(tmp_path / "layer" / "Task")
        with Transaction(directory, "f" * 32) as first:
            write_item(first, "a")
            first.commit(FACTS)
        base = read_manifest(directory)
        with (
            pytest.raises(errors.BusyError, match="another run has taken over"),
            Transaction(directory, "f" * 32, base=base) as sleeper,
        ):
            write_item(sleeper, "a", b"late")
            recover(directory, sleeper.staging, keep=3)
            assert not os.path.exists(sleeper.run)
            sleeper.commit(FACTS, list(base.entries()))
        assert tree(directory) == {"a.bin": "data"}
        assert [record.generation for record in generations.versions(directory)] == [1]


def an_output(path, digest="0"):
    return OutputFile(path, 1, 1, digest)
