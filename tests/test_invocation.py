"""A Luigi invocation answers for the state in which it found the world."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import luigi
import pytest

from luisy_dir import invocation

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Ask(luigi.Task):
    """Keeps the invocation that it sees when Luigi asks, and when it runs."""

    number = luigi.IntParameter()
    seen: list = []  # noqa: RUF012 - shared on purpose
    is_done: set = set()  # noqa: RUF012 - shared on purpose

    def complete(self):
        self.seen.append(invocation.current())
        return self.number in self.is_done

    def run(self):
        self.seen.append(invocation.current())
        self.is_done.add(self.number)


def test_by_hand_there_is_none():
    assert invocation.current() is None


def test_by_hand_every_call_looks():
    answers = iter([False, True, False])
    looked = [invocation.remembered("d", "c", LONG_AGO, lambda: next(answers)) for _ in range(3)]
    assert looked == [False, True, False]


def test_it_is_one_all_through_a_build_and_another_in_the_next():
    Ask.seen.clear()
    luigi.build([Ask(number=1)], local_scheduler=True, log_level="ERROR")
    first = list(Ask.seen)
    Ask.seen.clear()
    luigi.build([Ask(number=2)], local_scheduler=True, log_level="ERROR")

    assert len(first) >= 2
    assert None not in first
    assert len(set(map(id, first))) == 1
    assert not set(map(id, first)) & set(map(id, Ask.seen))


def test_what_was_made_since_it_began_is_complete():
    asking = invocation.Invocation()
    assert asking.answer("d", "c", asking.began) is True
    assert asking.answer("d", "c", asking.began + timedelta(seconds=1)) is True
    assert asking.answer("d", "c", asking.began - timedelta(seconds=1)) is None


def test_what_was_found_complete_stays_so_as_long_as_it_is_the_same_generation():
    asking = invocation.Invocation()
    asking.note("d", "c", is_complete=True, seconds=0.0)
    assert asking.answer("d", "c", LONG_AGO) is True
    assert asking.answer("d", "other", LONG_AGO) is None


@pytest.mark.parametrize(
    ("seconds", "later", "answer"),
    [(0.0, 0.9, False), (0.0, 1.1, None), (1.0, 9.0, False), (1.0, 11.0, None)],
)
def test_what_was_found_incomplete_is_looked_at_again_after_a_while(monkeypatch, seconds, later, answer):
    """After a second, or ten times as long as it took to find out."""
    now = 1000.0
    monkeypatch.setattr(invocation.time, "monotonic", lambda: now)
    asking = invocation.Invocation()
    asking.note("d", "c", is_complete=False, seconds=seconds)
    now += later
    assert asking.answer("d", "c", LONG_AGO) is answer
