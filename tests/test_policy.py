"""The policy: how many items may fail."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luisy_dir.errors import SettingError
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
