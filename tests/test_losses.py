"""Losses: what is finished is taken from the dead worker's journal, what it had in hand is named, the rest is left."""

from __future__ import annotations

import os
from functools import partial

import msgspec
import pytest
from conftest import an_entry

from luisy_dir.engines.loss import Loss, WorkerLost
from luisy_dir.entry import OutputFile, decode_entry, encode_entry
from luisy_dir.errors import WorkerDiedError
from luisy_dir.formats import Format, read_txt, write_txt
from luisy_dir.item import Item, Source
from luisy_dir.job import Tries, decode_job, encode_job, job_of
from luisy_dir.journal import Journal, encode_name, journal_of, latest_entries, names_of, worker_name
from luisy_dir.losses import Losses
from luisy_dir.policy import Policy
from luisy_dir.step import Root, Step

DEAD = 4711


def begin():
    raise NotImplementedError


@pytest.fixture
def run(tmp_path):
    """A run's directory, with an empty folder of outputs."""
    path = tmp_path / f"run-{'f' * 16}-{'a' * 32}"
    (path / "files").mkdir(parents=True)
    return str(path)


@pytest.fixture
def losses(run, tmp_path):
    """The losses of a run over the items ``a``, ``a/b``, ``b`` and ``b.1``."""
    step = Step((Root("raw", str(tmp_path), read_txt),), partial(begin), Format(read_txt, write_txt, ".txt"))
    opened = Losses(step, run, Policy(), lambda: {"a", "a/b", "b", "b.1"})
    yield opened
    opened.close()


def encoded(key):
    return job_of(Item(key, (Source("raw", key + ".txt", 10, 1_000),), {}))


def journal(run, pid, *keys, **facts):
    """What a worker of that process has written down."""
    opened = Journal(journal_of(run, f"{worker_name(pid)}-0"))
    for key in keys:
        opened.append(encode_entry(an_entry(key, **facts)))
    opened.close()


def put(run, *paths):
    for path in paths:
        os.makedirs(os.path.dirname(os.path.join(run, "files", path)), exist_ok=True)
        with open(os.path.join(run, "files", path), "w") as file:
            file.write("half")


def staged(run):
    files = os.path.join(run, "files")
    return {os.path.relpath(os.path.join(parent, name), files) for parent, _, names in os.walk(files) for name in names}


def settled(losses, keys, loss):
    """Status by key of what is done with, and the keys that are left."""
    chunk = [encoded(key) for key in keys]
    answers, left = losses.settle(chunk, loss)
    done = [decode_entry(line) for outcomes, _ in answers for line, _ in outcomes]
    left += [job for _, again in answers for _, job in again]
    return {entry.key: entry.status for entry in done}, [keys[chunk.index(thing)] for thing in left]


def test_what_is_finished_is_taken_what_was_in_hand_has_failed_and_the_rest_is_left(run, losses):
    journal(run, DEAD, "a")
    assert settled(losses, ["a", "b", "b.1"], Loss(DEAD, -9, 1)) == ({"a": "written", "b": "failed"}, ["b.1"])


def test_where_a_journal_tells_nothing_of_the_disk_what_is_finished_is_done_again_but_not_blamed(run, tmp_path):
    """As of a worker on another machine, which has not yet brought to the disk what it had written."""
    step = Step((Root("raw", str(tmp_path), read_txt),), partial(begin), Format(read_txt, write_txt, ".txt"))
    losses = Losses(step, run, Policy(), lambda: {"a", "b"}, trusts_journals=False)
    journal(run, DEAD, "a", "b")
    assert settled(losses, ["a", "b"], Loss(DEAD, -9, 1)) == ({}, ["a", "b"])
    assert settled(losses, ["a", "b.1"], Loss(DEAD, -9, 1)) == ({"b.1": "failed"}, ["a"])
    losses.close()


def test_a_worker_of_another_machine_is_known_by_its_name(run, losses):
    """Numbers of processes are the same on many machines."""
    opened = Journal(journal_of(run, f"far-{DEAD}-abcd1234-0"))
    opened.append(encode_entry(an_entry("a")))
    opened.close()
    journal(run, DEAD, "b")
    assert settled(losses, ["a", "b"], Loss(DEAD, -9, name=f"far-{DEAD}-abcd1234")) == ({"a": "written"}, ["b"])


def test_where_nobody_knows_what_several_workers_had_in_hand_a_single_item_is_blamed(losses):
    assert settled(losses, ["a", "b"], Loss(0, None, deaths=4)) == ({}, ["a", "b"])
    [([(line, _)], _)], left = losses.settle([encoded("a")], Loss(0, None, deaths=4))
    assert left == []
    assert "and 3 others that came after it died without a word" in decode_entry(line).error.message


def test_nothing_in_hand_is_nobodys_fault(run, losses):
    journal(run, DEAD, "a")
    assert settled(losses, ["a", "b"], Loss(DEAD, -9)) == ({"a": "written"}, ["b"])


def test_what_is_in_the_journal_is_finished_though_the_worker_did_not_come_to_say_so(run, losses):
    journal(run, DEAD, "a", "b")
    assert settled(losses, ["a", "b"], Loss(DEAD, -9, 1)) == ({"a": "written", "b": "written"}, [])


def test_an_item_that_had_gone_is_asked_for_again(losses):
    """It leaves no line in a journal; those after it do."""
    assert settled(losses, ["a", "b"], Loss(DEAD, -9, 1)) == ({"b": "failed"}, ["a"])


def test_a_line_that_was_cut_short_is_none(run, losses):
    journal(run, DEAD, "a", "b")
    path = journal_of(run, f"{worker_name(DEAD)}-0")
    os.truncate(path, os.path.getsize(path) - 3)
    assert settled(losses, ["a", "b"], Loss(DEAD, -9, 1)) == ({"a": "written", "b": "failed"}, [])


@pytest.mark.parametrize("other", ["another process", "a former run"])
def test_the_journals_of_others_say_nothing_of_this_worker(run, losses, other):
    """A run that goes on with an interrupted one has its journals too, and numbers of processes come again."""
    if other == "another process":
        journal(run, DEAD * 10, "a")
        journal(run, DEAD // 10, "a")
    else:
        os.rename(run, run[:-1] + "b")
        journal(run[:-1] + "b", DEAD, "a")
        os.rename(run[:-1] + "b", run)
    assert settled(losses, ["a"], Loss(DEAD, -9, 0)) == ({"a": "failed"}, [])


def test_an_innocent_item_is_left_to_another_worker(losses):
    assert settled(losses, ["a", "b"], Loss(DEAD, -9, 0, is_innocent=True)) == ({}, ["a", "b"])


def test_what_the_worker_had_written_of_the_item_in_hand_is_removed_and_nothing_else(run, losses):
    """So that it can be tried again: outputs must not exist."""
    put(run, "a.txt", "a.npy", "a/left.txt", "a/deep/right.csv", "a/b.txt", "a/b/c.txt", "b.txt", "b.1.txt", "ab.txt")
    settled(losses, ["a"], Loss(DEAD, -9, 0, is_innocent=True))
    assert staged(run) == {"a/b.txt", "a/b/c.txt", "b.txt", "b.1.txt", "ab.txt"}
    settled(losses, ["b"], Loss(DEAD, -9, 0))
    assert staged(run) == {"a/b.txt", "a/b/c.txt", "b.1.txt", "ab.txt"}


def test_the_output_of_a_finished_item_stays(run, losses):
    journal(run, DEAD, "a")
    put(run, "a.txt")
    settled(losses, ["a"], Loss(DEAD, -9, 0))
    assert staged(run) == {"a.txt"}


def test_what_lies_under_a_name_that_the_step_chose_is_removed_too(run, losses):
    """Nothing but the note of the worker says whose it is; what is finished stays."""
    journal(run, DEAD, "a", outputs=(OutputFile("chosen/a.txt", 4, 1, "0"),))
    put(run, "chosen/a.txt", "chosen/b.txt", "chosen/of-another-worker.txt")
    for pid, path in (
        (DEAD, "chosen/a.txt"),
        (DEAD, "chosen/b.txt"),
        (DEAD, "not/begun.txt"),
        (DEAD + 1, "chosen/of-another-worker.txt"),
    ):
        noted = Journal(names_of(run, f"{worker_name(pid)}-0"))
        noted.append(encode_name(path))
        noted.close()

    settled(losses, ["a", "b"], Loss(DEAD, -9, 1))

    assert staged(run) == {"chosen/a.txt", "chosen/of-another-worker.txt"}


class TestOtherTries:
    """What the policy has to say of items that cost their worker."""

    def tried(self, run, tmp_path, loss, job, **policy):
        step = Step((Root("raw", str(tmp_path), read_txt),), partial(begin), Format(read_txt, write_txt, ".txt"))
        opened = Losses(step, run, Policy(**policy), lambda: {"a", "b", "c"})
        ((outcomes, again),), left = opened.settle([job], loss)
        opened.close()
        assert left == []
        return [decode_entry(line) for line, _ in outcomes], again

    def test_an_item_is_tried_as_often_as_one_that_raises(self, run, tmp_path):
        loss, policy = Loss(DEAD, -9, 0, seconds=1.5), {"retries": 1, "retry_delay": 0.5, "catch": (KeyError,)}

        done, [(delay, again)] = self.tried(run, tmp_path, loss, encoded("a"), **policy)
        (failed,), none = self.tried(run, tmp_path, loss, again, **policy)

        assert done == [] == none
        assert 0 <= delay <= 0.5
        assert (failed.status, failed.attempts, failed.seconds) == ("failed", 2, 3.0)

    @pytest.mark.parametrize(
        ("timeout", "retry_on", "is_again"),
        [
            (1.0, (TimeoutError,), True),
            (None, (TimeoutError,), False),
            (None, (WorkerDiedError,), True),
            (1.0, (WorkerDiedError,), False),
            (None, (OSError,), False),
        ],
    )
    def test_retry_on_tells_time_that_ran_out_from_a_death(self, run, tmp_path, timeout, retry_on, is_again):
        loss = Loss(DEAD, -9, 0, timeout=timeout)

        done, again = self.tried(run, tmp_path, loss, encoded("a"), retries=3, retry_on=retry_on)

        assert (bool(again), len(done)) == (is_again, not is_again)

    def test_of_items_that_were_processed_together_what_is_not_finished_is_done_by_halves(self, run, tmp_path):
        journal(run, DEAD, "b")
        items = [Item(key, (Source("raw", key + ".txt", 10, 1_000),), {}) for key in "abc"]

        done, again = self.tried(run, tmp_path, Loss(DEAD, -9, 0), job_of(*items))

        assert [entry.key for entry in done] == ["b"]
        halves = [decode_job(job) for delay, job in again if delay == 0]
        assert [[part.key for part in half.parts] for half in halves] == [["a"], ["c"]]
        assert {(half.tries.attempts, half.in_batches) for half in halves} == {(1, 1)}

    def test_what_has_failed_together_is_tried_alone_as_often_as_others(self, run, tmp_path):
        tried = msgspec.structs.replace(decode_job(encoded("a")), tries=Tries(3), in_batches=3)
        together = encode_job(tried)

        done, [(_, again)] = self.tried(run, tmp_path, Loss(DEAD, -9, 0), together, retries=1)
        (failed,), _ = self.tried(run, tmp_path, Loss(DEAD, -9, 0), again, retries=1)

        assert (done, failed.attempts) == ([], 5)


def test_the_failure_is_noted_for_whoever_comes_after_this_run(run, losses):
    settled(losses, ["a", "b"], Loss(DEAD, 3, 0, seconds=1.25))
    settled(losses, ["b"], Loss(DEAD + 1, -11, 0))
    noted = {key: entry for key, (entry, _) in latest_entries(run).items()}
    assert {key: entry.worker for key, entry in noted.items()} == {
        "a": worker_name(DEAD),
        "b": worker_name(DEAD + 1),
    }
    assert noted["a"].seconds == 1.25
    assert noted["a"].sources == (Source("raw", "a.txt", 10, 1_000),)
    assert (noted["a"].error.type, noted["a"].error.traceback) == ("WorkerDied", None)


@pytest.mark.parametrize(
    ("exit_code", "how"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-9, "was killed by SIGKILL, perhaps for its memory"),
        (-11, "was ended by SIGSEGV"),
        (-40, "was ended by signal 40"),
        (None, "ended, and nobody knows how"),
    ],
)
def test_a_loss_says_how_the_worker_came_to_its_end(exit_code, how):
    assert Loss(DEAD, exit_code).how == how
    assert str(WorkerLost(Loss(DEAD, exit_code))) == f"The worker process {DEAD} {how}."


def test_time_that_ran_out_is_told_with_its_limit(losses):
    [([(line, _)], _)], _ = losses.settle([encoded("a")], Loss(DEAD, -9, 0, seconds=2.6, timeout=2.5))
    failure = decode_entry(line).error
    assert failure.type == "Timeout"
    assert failure.message == "it took longer than the 2.5 s that timeout allows, and its worker was killed"


def test_a_trace_is_shown_from_the_users_own_code_on(losses):
    own = os.path.join(os.path.dirname(os.path.abspath(__import__("luisy_dir").__file__)), "step", "attempt.py")
    said = (
        "Fatal Python error: Segmentation fault\n\nCurrent thread 0x0001 (most recent call first):\n"
        '  File "/lib/codec.py", line 7 in decode\n  File "/mine.py", line 3 in process\n'
        f'  File "{own}", line 200 in run\n  File "<string>", line 1 in <module>\n\n'
        "Extension modules: numpy (total: 1)\n"
    )
    [([(line, _)], _)], _ = losses.settle([encoded("a")], Loss(DEAD, -11, 0, trace=said))
    assert decode_entry(line).error.traceback.splitlines() == [
        "Traceback (most recent call first):",
        '  File "/lib/codec.py", line 7 in decode',
        '  File "/mine.py", line 3 in process',
        "WorkerDied: the worker was ended by SIGSEGV, while it had this item in hand",
    ]
