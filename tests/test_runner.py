"""The runner: workers are drained before anything is undone, and the policy decides when to stop."""

from __future__ import annotations

import errno
import os
import resource
import time
from functools import partial

import numpy as np
import pytest

from luisy_dir import errors
from luisy_dir.engines import open_engine
from luisy_dir.entry import decode_entry
from luisy_dir.formats import Format, format_for, read_txt, write_txt
from luisy_dir.gathering import folder_of
from luisy_dir.item import scan
from luisy_dir.job import job_of
from luisy_dir.journal import FILES
from luisy_dir.plan import plan_first_build
from luisy_dir.policy import Policy
from luisy_dir.resumption import entries_in_staging
from luisy_dir.runner import run
from luisy_dir.step import Root, Step, StepInWorker
from luisy_dir.storage import system
from luisy_dir.transaction import Transaction

TEXT = Format(read_txt, write_txt, ".txt")


def begin(process):
    return process


def upper(data, item):
    return data[0].upper()


def slow_then_fail(traces, data, item):
    """Fails at one item at once, while others are under way; leaves a trace when it has ended."""
    if data[0] == "fail":
        raise ValueError("no")
    time.sleep(0.2)
    with open(os.path.join(traces, item.key), "w"):
        pass
    return data[0]


def fail_always(data, item):
    raise ValueError("no")


def step_for(folder, process, **options):
    return Step((Root("raw", folder, read_txt),), partial(begin, process), TEXT, **options)


@pytest.fixture
def letters(tmp_path, write_files):
    return write_files(tmp_path / "raw", {f"{number:02d}.txt": b"fine" for number in range(20)})


@pytest.mark.parametrize("engine", ["serial", "threads", "processes"])
def test_when_a_run_ends_no_worker_has_anything_in_hand(tmp_path, letters, write_files, engine):
    """Else a worker would write into a staging that is being removed, and hide the real error."""
    write_files(letters, {"01.txt": b"fail"})
    traces = tmp_path / "traces"
    traces.mkdir()
    directory = str(tmp_path / "out")
    items = scan(letters, root="raw")
    with (
        pytest.raises(errors.ItemsFailedError),
        Transaction(directory, "f" * 32) as transaction,
        open_engine(engine, 2) as executor,
    ):
        step = step_for(letters, partial(slow_then_fail, str(traces)))
        try:
            run(plan_first_build(items), step, transaction, executor, Policy(), workers=2)
        finally:
            at_the_end = sorted(os.listdir(traces))
            time.sleep(0.5)
            assert sorted(os.listdir(traces)) == at_the_end
    assert not os.path.exists(directory)
    assert "01" in {entry.key for entry in entries_in_staging(directory)}


def test_a_budget_that_is_spent_early_stops_early(tmp_path, letters):
    items = scan(letters, root="raw")
    seen = []
    with (
        pytest.raises(errors.ItemsFailedError, match="3 of 20 items failed, where max_errors allows 2"),
        Transaction(str(tmp_path / "out"), "f" * 32) as transaction,
        open_engine("serial", 1) as executor,
    ):
        run(
            plan_first_build(items), step_for(letters, fail_always), transaction, executor, Policy(2),
            on_entry=lambda entry: seen.append(entry.key),
        )  # fmt: skip
    assert len(seen) == 3


def test_every_entry_is_in_a_journal_when_its_item_is_done(tmp_path, letters):
    directory = str(tmp_path / "out")
    items = scan(letters, root="raw")
    found = []
    with Transaction(directory, "f" * 32) as transaction, open_engine("threads", 2) as executor:
        run(
            plan_first_build(items), step_for(letters, upper), transaction, executor, Policy(),
            workers=2, on_entry=lambda entry: found.append(entry.key in journaled(directory)),
        )  # fmt: skip
    assert found == [True] * 20


def journaled(directory):
    return {entry.key for entry in entries_in_staging(directory)}


def test_uneven_items_begin_with_the_largest(tmp_path, letters, write_files):
    write_files(letters, {"19.txt": b"x" * 10_000})
    order = []
    with Transaction(str(tmp_path / "out"), "f" * 32) as transaction, open_engine("serial", 1) as executor:
        run(
            plan_first_build(scan(letters, root="raw")), step_for(letters, upper), transaction, executor, Policy(),
            on_entry=lambda entry: order.append(entry.key),
        )  # fmt: skip
    assert order[0] == "19"


class TestBadDisk:
    """A disk that fails is no fault of an item."""

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
    def test_an_output_that_cannot_be_written_ends_the_run(self, tmp_path, letters, number):
        def write(data, file):
            raise OSError(number, os.strerror(number))

        step = Step((Root("raw", letters, read_txt),), partial(begin, upper), Format(read_txt, write, ".txt"))
        with (
            pytest.raises(errors.StorageError, match=os.strerror(number)),
            Transaction(str(tmp_path / "out"), "f" * 32) as transaction,
            open_engine("serial", 1) as executor,
        ):
            run(plan_first_build(scan(letters, root="raw")), step, transaction, executor, Policy(1.0))

    def test_a_journal_that_cannot_be_written_ends_the_run(self, tmp_path, letters, monkeypatch):
        def fail(descriptor, data, write=system.write):
            if data.endswith(b"}\n"):  # a line of a journal, no output
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(descriptor, data)

        with (
            pytest.raises(errors.StorageError, match="could not record an item"),
            Transaction(str(tmp_path / "out"), "f" * 32) as transaction,
            open_engine("serial", 1) as executor,
        ):
            monkeypatch.setattr(system, "write", fail)
            run(
                plan_first_build(scan(letters, root="raw")), step_for(letters, upper), transaction, executor,
                Policy(1.0),
            )  # fmt: skip

    def test_a_full_disk_is_seen_in_what_numpy_writes(self, tmp_path, letters):
        """NumPy's own fast path says "x requested and y written", without a word of the disk."""

        def large(data, item):
            return np.zeros(1_000_000)

        step = Step((Root("raw", letters, read_txt),), partial(begin, large), format_for(".npy"))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with (
                pytest.raises(errors.ItemsFailedError, match="File too large"),
                Transaction(str(tmp_path / "out"), "f" * 32) as transaction,
                open_engine("serial", 1) as executor,
            ):
                run(plan_first_build(scan(letters, root="raw")), step, transaction, executor, Policy())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_an_input_that_keeps_changing_fails_the_item(tmp_path, letters):
    def read_and_touch(path):
        with open(path, "a") as file:
            file.write("x")
        return read_txt(path)

    step = Step((Root("raw", letters, read_and_touch),), partial(begin, upper), TEXT)
    with (
        pytest.raises(errors.ItemsFailedError, match="changed while it was read, 3 times"),
        Transaction(str(tmp_path / "out"), "f" * 32) as transaction,
        open_engine("serial", 1) as executor,
    ):
        run(plan_first_build(scan(letters, root="raw")), step, transaction, executor, Policy())


def test_an_exception_that_does_not_pickle_is_told_all_the_same(tmp_path, letters):
    """One whose __init__ takes two arguments comes out of a pool as a broken pool."""
    with (
        pytest.raises(errors.ItemsFailedError, match="Awkward: two words"),
        Transaction(str(tmp_path / "out"), "f" * 32) as transaction,
        open_engine("processes", 2) as executor,
    ):
        run(
            plan_first_build(scan(letters, root="raw")), step_for(letters, fail_awkwardly), transaction, executor,
            Policy(), workers=2,
        )  # fmt: skip


class Awkward(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def fail_awkwardly(data, item):
    raise Awkward("two", "words")


class TestWorkersOfOtherMachines:
    """What they write lies apart from what others write, and is on the disk before they answer."""

    @pytest.fixture
    def at_work(self, tmp_path, letters):
        """A step at work in a run's directory, as it is on another machine; and its encoded items."""
        os.makedirs(tmp_path / "run-1" / FILES)
        step = StepInWorker(step_for(letters, upper), str(tmp_path / "run-1"), is_apart=True, is_synced=True)
        yield step, [job_of(item) for item in scan(letters, root="raw")]
        step.close()

    def test_each_has_a_folder_of_its_own_and_nothing_goes_where_all_outputs_lie(self, tmp_path, at_work):
        step, items = at_work
        [(line, _)], _ = step(items[0])
        entry = decode_entry(line)
        assert os.listdir(folder_of(str(tmp_path / "run-1" / FILES), entry.worker)) == ["00.txt"]
        assert os.listdir(tmp_path / "run-1" / FILES) == []

    def test_all_outputs_of_a_chunk_are_brought_to_the_disk_once(self, at_work, monkeypatch):
        step, items = at_work
        synced = []
        monkeypatch.setattr(
            system, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        )
        for item in items:
            step(item)
        assert synced == []
        step.finish()
        assert sorted(map(os.path.basename, synced)) == [f"{number:02d}.txt" for number in range(20)]
        step.finish()
        assert len(synced) == 20

    def test_a_disk_that_does_not_take_them_ends_the_run_and_nothing_of_it_is_used(
        self, tmp_path, at_work, monkeypatch
    ):
        step, items = at_work
        step(items[0])

        def fail(descriptor):
            raise OSError(errno.EIO, "the disk is broken")

        monkeypatch.setattr(system, "fsync", fail)
        with pytest.raises(errors.StorageError, match="could not be brought to the disk"):
            step.finish()
        assert not os.path.exists(tmp_path / "run-1")
        assert step(items[1])[0][0][0] is None
