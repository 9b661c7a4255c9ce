"""Attempts: what is to be done again is done when its time has come, and holds up nothing."""

from __future__ import annotations

from collections import Counter
from contextlib import closing

import pytest

from luisy_dir import attempts
from luisy_dir.attempts import map_attempts
from luisy_dir.engines import ENGINES, open_engine


class Clock:
    """A clock that goes on only where somebody waits for it."""

    now = 0.0

    def __init__(self):
        self.waits = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(attempts, "time", found)
    return found


def serially(function, things):
    """What comes of all things, on one worker in this thread."""
    with open_engine("serial", 1) as executor, closing(map_attempts(executor, function, things)) as results:
        return list(results)


def again_until(tries, seconds):
    """A function that wants each thing ``(name, times)`` done so many times, and notes the calls."""

    def function(thing):
        name, times = thing
        tries.append(name)
        return ([name], []) if times == 1 else ([], [(seconds, (name, times - 1))])

    return function


@pytest.mark.parametrize("engine", ENGINES)
def test_everything_is_done_as_often_as_it_asks_for(engine):
    def function(thing):
        number, times = thing
        return ([number], []) if times == 0 else ([], [(0.001, (number, times - 1))])

    with (
        open_engine(engine, 2) as executor,
        closing(map_attempts(executor, function, [(n, n % 4) for n in range(200)], workers=2)) as results,
    ):
        assert Counter(results) == Counter(range(200))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_thing_may_become_several(engine):
    """Each half is a thing of its own."""

    def halves(numbers):
        middle = len(numbers) // 2
        return ([], [(0, numbers[:middle]), (0, numbers[middle:])]) if middle else (list(numbers), [])

    with (
        open_engine(engine, 2) as executor,
        closing(map_attempts(executor, halves, [range(100)], workers=2)) as results,
    ):
        assert sorted(results) == list(range(100))


def test_while_one_thing_waits_the_others_go_on(clock):
    tries = []

    results = serially(again_until(tries, 60.0), [("late", 2), ("b", 1), ("c", 1), ("d", 1)])

    assert results == ["b", "c", "d", "late"]
    assert sum(clock.waits) == 60.0


def test_nobody_waits_where_nothing_is_to_be_done_again(clock):
    serially(again_until([], 60.0), [("a", 1), ("b", 1)])

    assert clock.waits == []


def test_what_is_due_goes_before_what_is_new():
    """Else a run whose items all fail would go through all of them before it gives up."""
    tries = []

    serially(again_until(tries, 0.0), [(number, 3) for number in range(1000)])

    assert max(place for place, number in enumerate(tries) if number == 0) < tries.index(100)


def test_who_is_due_first_goes_first(clock):
    seconds = {"slow": 90.0, "fast": 10.0}
    order = []

    def function(thing):
        name, is_again = thing
        if is_again:
            order.append(name)
            return [name], []
        return [], [(seconds[name], (name, True))]

    serially(function, [("slow", False), ("fast", False)])

    assert order == ["fast", "slow"]
    assert clock.now == 90.0


def test_things_are_read_as_they_are_needed():
    pulled = []

    def things():
        for number in range(10_000):
            pulled.append(number)
            yield number

    with (
        open_engine("serial", 1) as executor,
        closing(map_attempts(executor, lambda thing: ([thing], []), things())) as results,
    ):
        next(results)
        assert len(pulled) < 100
