"""Pinned reading: whole generations while others write, and never a mix."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import threading

import pytest
from pipelines import Letters
from test_rollforward import (  # noqa: F401 - the two last are fixtures
    OLD,
    Calls,
    Lines,
    durability,
    pending,
    put_letters,
    read,
    world,
)

import luisy_dir as luisy
from luisy_dir import errors, rollforward
from luisy_dir.formats import format_of_path
from luisy_dir.targets import DirectoryTarget

FILES = 12
READS, SEEN = 300, 5


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial", durability="none")
class Numbered(luisy.DirectoryTask):
    def process(self, text):
        return text


def put_number(number):
    """Write one number into every letter."""
    put_letters({f"{name:02d}.txt": str(number) for name in range(FILES)}, age_seconds=1000 - number)


def target_at(path):
    return DirectoryTarget(path, format_of_path("a.txt"))


def read_again_and_again(path, wanted, has_begun, is_over):
    """Read whole generations until there are enough; what was accepted, and how often a read was discarded."""
    target = target_at(path)
    accepted, discarded = [], 0
    while len(accepted) < wanted or discarded == 0 or len({numbers[0] for numbers in accepted}) <= SEEN:
        try:
            with target.pinned(timeout_seconds=60.0) as directory:
                numbers = list(directory.read())
        except errors.InputChangedError:
            discarded += 1
        else:
            accepted.append(numbers)
        has_begun.set()
        if is_over.is_set():
            break
    return accepted, discarded


def read_in_a_process(path, wanted, has_begun, is_over, answers):
    answers.put(read_again_and_again(path, wanted, has_begun, is_over))


class TestWhileOthersWrite:
    def write_until(self, is_done):
        number = 0
        while not is_done():
            number += 1
            put_number(number)
            Numbered().run()
        return number

    def check(self, accepted, discarded, last):
        assert len(accepted) >= READS
        assert all(len(numbers) == FILES for numbers in accepted)
        assert [numbers for numbers in accepted if len(set(numbers)) > 1] == []
        seen = [int(numbers[0]) for numbers in accepted]
        assert seen == sorted(seen)
        assert len(set(seen)) > SEEN
        assert discarded
        assert seen[-1] <= last

    def test_a_thread_never_accepts_a_mix(self):
        put_number(0)
        Numbered().run()
        answers, has_begun, is_over = [], threading.Event(), threading.Event()
        arguments = (Numbered().output().path, READS, has_begun, is_over)
        thread = threading.Thread(target=lambda: answers.append(read_again_and_again(*arguments)))
        thread.start()
        try:
            has_begun.wait()
            last = self.write_until(lambda: not thread.is_alive())
        finally:
            is_over.set()
            thread.join()
        self.check(*answers[0], last)

    def test_a_process_never_accepts_a_mix(self):
        put_number(0)
        Numbered().run()
        context = multiprocessing.get_context("spawn")
        has_begun, is_over, answers = context.Event(), context.Event(), context.SimpleQueue()
        arguments = (Numbered().output().path, READS, has_begun, is_over, answers)
        process = context.Process(target=read_in_a_process, args=arguments)
        process.start()
        try:
            has_begun.wait()
            last = self.write_until(lambda: not answers.empty() or not process.is_alive())
            accepted, discarded = answers.get()
        finally:
            is_over.set()
            process.join()
            process.close()
            answers.close()
        self.check(accepted, discarded, last)


class TestPending:
    def test_a_generation_that_is_not_applied_is_waited_for_in_vain(self, pending):  # noqa: F811
        with (
            pytest.raises(errors.BusyError, match="run its task again, which finishes it"),
            target_of(Lines).pinned(timeout_seconds=0.2),
        ):
            pytest.fail("the block must not begin")

    def test_a_roll_forward_that_ends_in_time_is_waited_for(self, pending):  # noqa: F811
        thread = threading.Timer(0.3, lambda: Lines().run())
        thread.start()
        try:
            with target_of(Lines).pinned(timeout_seconds=60.0) as directory:
                found = {item.key: data for item, data in directory.items()}
        finally:
            thread.join()
        assert directory.manifest.record.generation == 2
        assert found["changed"] == "NEW"

    def test_a_commit_while_one_reads_is_noticed_before_a_single_file_has_moved(self, world):  # noqa: F811
        """Files may begin to move at any time after it."""
        with pytest.raises(errors.InputChangedError, match="read again"), target_of(Lines).pinned() as directory:
            assert list(directory.read())
            with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match="ended"):
                patch.setattr(rollforward, "_roll_forward", end)
                Lines().run()
            assert read(os.path.join(directory.path, "changed.txt")) == OLD["changed.txt"]


def end(*_, **__):
    raise RuntimeError("ended")


def target_of(task):
    return task().output()


@pytest.fixture
def published():
    put_number(0)
    Numbered().run()
    return target_of(Numbered)


def test_a_generation_that_goes_while_it_is_looked_up_is_no_damage(published, monkeypatch):
    """Where one generation is kept, the one that was just named is gone in the next moment."""
    monkeypatch.setenv("LUISY_DIR_KEEP_GENERATIONS", "1")
    numbers = itertools.count(1)

    def publish():
        put_number(next(numbers))
        Numbered().run()

    with Calls(names=("read",)) as calls, published.pinned() as directory:
        list(directory.read())
    for number in range(1, len(calls.made) + 1):
        with (
            Calls(number, after=publish, names=("read",)) as calls,
            contextlib.suppress(errors.InputChangedError),
            published.pinned() as directory,
        ):
            assert len(set(directory.read())) == 1
        assert calls.has_fired


class TestTheBlock:
    def test_it_reads_one_generation(self, published):
        with published.pinned() as directory:
            assert directory.manifest.record.generation == 1
            assert [item.key for item, _ in directory.items()] == [f"{name:02d}" for name in range(FILES)]
            assert list(directory.read()) == ["0"] * FILES
        assert directory.path == published.path
        assert "generation=1" in repr(directory)

    @pytest.mark.parametrize("error", [ValueError, KeyError, KeyboardInterrupt, errors.InputChangedError])
    def test_what_is_raised_inside_passes_through_where_nothing_changed(self, published, error):
        raised = error("mine")
        with pytest.raises(error) as caught, published.pinned():
            raise raised
        assert caught.value is raised

    def test_what_is_raised_inside_is_the_cause_where_the_directory_was_brought_up_to_date(self, published):
        """It may well come from a file of another generation."""
        raised = ValueError("mine")
        with pytest.raises(errors.InputChangedError, match="generation 1 of it was read") as caught, published.pinned():
            put_number(1)
            Numbered().run()
            raise raised
        assert caught.value.__cause__ is raised

    def test_an_interruption_passes_through_whatever_has_changed(self, published):
        with pytest.raises(KeyboardInterrupt), published.pinned():
            put_number(1)
            Numbered().run()
            raise KeyboardInterrupt

    def test_what_was_brought_up_to_date_within_the_block_does_not_count(self, published):
        with pytest.raises(errors.InputChangedError), published.pinned():
            put_number(1)
            Numbered().run()

    @pytest.mark.parametrize("act", ["rollback", "remove"])
    def test_other_acts_are_noticed_too(self, published, act):
        put_number(1)
        Numbered().run()
        with pytest.raises(errors.InputChangedError), published.pinned():
            getattr(published, act)()

    def test_a_directory_that_was_removed_and_made_again_is_another_one(self, published):
        with pytest.raises(errors.InputChangedError), published.pinned():
            published.remove()
            Numbered().run()
            assert published.manifest().record.generation == 1

    def test_a_run_with_nothing_to_do_is_not_noticed(self, published):
        with published.pinned() as directory:
            Numbered().run()
            assert list(directory.read()) == ["0"] * FILES

    def test_an_output_that_was_changed_by_hand_is_an_error_and_no_generation(self, published):
        with open(os.path.join(published.path, "03.txt"), "w") as file:
            file.write("by hand")
        with (
            pytest.raises(errors.InputChangedError, match="no longer equals its manifest"),
            published.pinned() as directory,
        ):
            list(directory.read())

    def test_where_nothing_was_published_there_is_nothing_to_read(self):
        with pytest.raises(errors.MissingInputError), target_of(Numbered).pinned():
            pytest.fail("the block must not begin")

    def test_two_may_read_at_once(self, published):
        with published.pinned() as one, published.pinned() as other:
            assert list(one.read()) == list(other.read())
