"""The policy: how many items may fail, which errors are failures, and when an item is tried again."""

import math
import random
from random import SystemRandom as Chance

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luisy_dir.errors import Abort, SettingError
from luisy_dir.policy import Policy


def test_by_default_no_item_may_fail():
    assert Policy().allowed(1_000_000) == 0


@given(st.integers(0, 10**9), st.integers(0, 10**6))
def test_a_count_is_a_count_however_many_items_there_are(count, total):
    assert Policy(max_errors=count).allowed(total) == count


@pytest.mark.parametrize(
    ("fraction", "total", "allowed"),
    [
        (0.0, 100, 0),
        (0.01, 99, 0),
        (0.01, 100, 1),
        (0.01, 250, 2),
        (0.5, 3, 1),
        (1.0, 7, 7),
        (0.1, 0, 0),
        (1e-6, 10**6, 1),
    ],
)
def test_a_fraction_is_of_all_items_and_rounded_down(fraction, total, allowed):
    assert Policy(max_errors=fraction).allowed(total) == allowed


def test_one_as_an_integer_is_a_count_and_as_a_float_is_everything():
    assert (Policy(max_errors=1).allowed(50), Policy(max_errors=1.0).allowed(50)) == (1, 50)


@pytest.mark.parametrize("percent", range(101))
def test_a_percentage_of_a_hundred_items_is_that_many(percent):
    """``0.29 * 100`` is 28.999999999999996 for the machine, and 29 for everybody else."""
    assert Policy(max_errors=percent / 100).allowed(100) == percent


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_a_thousandth_of_some_thousand_items_is_that_many(thousandths, thousands):
    assert Policy(max_errors=thousandths / 1000).allowed(1000 * thousands) == thousandths * thousands


@given(st.floats(0, 1), st.integers(0, 10**6))
def test_a_fraction_never_allows_more_than_all(fraction, total):
    assert 0 <= Policy(max_errors=fraction).allowed(total) <= total


@pytest.mark.parametrize("wrong", [-1, -0.1, 1.5, math.inf, -math.inf, math.nan])
def test_what_is_neither_count_nor_fraction_is_refused_at_once(wrong):
    with pytest.raises(SettingError, match=f"max_errors is {wrong!r}.*a fraction"):
        Policy(max_errors=wrong)


def test_by_default_an_item_may_take_as_long_as_it_takes():
    assert Policy().timeout is None


@pytest.mark.parametrize("wrong", [0, 0.0, -1, -0.5, math.inf, math.nan])
def test_a_time_that_is_no_limit_is_an_error_that_says_what_is_allowed(wrong):
    with pytest.raises(SettingError, match=f"timeout is {wrong!r}.*seconds greater than 0"):
        Policy(timeout=wrong)


@given(st.floats(0, 1000), st.integers(1, 10**6))
def test_a_delay_is_never_longer_than_half_a_minute_or_than_the_first(longest, attempts):
    policy = Policy(retry_delay=longest)

    assert 0 <= policy.delay(attempts) <= max(longest, 30.0)


def test_the_longest_delay_doubles_with_each_try(monkeypatch):
    """What chance makes of it is another matter."""
    monkeypatch.setattr(Chance, "uniform", lambda self, least, most: most)

    assert [Policy(retry_delay=0.5).delay(attempts) for attempts in range(1, 10)] == [
        0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0,
    ]  # fmt: skip


def test_delays_differ_so_that_items_do_not_come_back_together():
    assert len({Policy(retry_delay=10).delay(3) for _ in range(20)}) > 10


def test_a_delay_leaves_the_random_numbers_of_others_alone():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - that of others
    before = random.getstate(), np.random.get_state()  # noqa: NPY002

    Policy(retry_delay=10).delay(3)

    after = random.getstate(), np.random.get_state()  # noqa: NPY002
    assert before[0] == after[0]
    assert all(np.array_equal(one, other) for one, other in zip(before[1], after[1], strict=True))


def test_without_a_delay_nobody_waits():
    assert Policy(retry_delay=0).delay(1) == 0


@pytest.mark.parametrize("error", [ValueError(), KeyError(), SystemExit(3), MemoryError()])
def test_by_default_every_error_is_caught_and_none_is_tried_again(error):
    assert Policy().is_caught(error)
    assert not Policy().is_retried(error, attempts=1)


def test_an_abort_is_neither_caught_nor_tried_again():
    policy = Policy(retries=9, catch=(Exception, Abort), retry_on=(Exception, Abort))

    assert not policy.is_caught(Abort("why"))
    assert not policy.is_retried(Abort("why"), attempts=1)
