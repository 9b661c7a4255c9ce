"""The order of an epoch: seeded, new each epoch, and shared out so that every item is given out once."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luisy_dir.dataset.order import Order, Share
from luisy_dir.dataset.randomness import rng_for

SHARES = st.tuples(st.integers(0, 60), st.integers(1, 9), st.integers(1, 5))


def shares(size, world, **options):
    return [Share(size, rank=rank, world=world, **options) for rank in range(world)]


def places(share, length, start=0):
    return [place for cut in share.cuts(length, start) for place in range(cut.begin, cut.end)]


@given(st.integers(0, 300), st.integers(-5, 2**70), st.integers(0, 9))
def test_an_epoch_has_every_position_once(length, seed, epoch):
    positions = Order(length, seed, is_shuffled=True).of_epoch(epoch)

    assert positions.dtype == np.int64
    assert sorted(positions.tolist()) == list(range(length))


def test_an_order_can_be_had_again():
    """These numbers are for good: a state that was saved last year finds the order that it was saved in."""
    assert Order(10, 42, is_shuffled=True).of_epoch(0).tolist() == [1, 4, 0, 9, 7, 3, 6, 5, 2, 8]
    assert Order(10, 42, is_shuffled=True).of_epoch(1).tolist() == [5, 9, 0, 8, 1, 2, 6, 3, 4, 7]


@pytest.mark.parametrize(("seed", "epoch"), [(0, 1), (1, 0)])
def test_another_seed_or_epoch_has_another_order(seed, epoch):
    first, second = Order(50, 0, is_shuffled=True).of_epoch(0), Order(50, seed, is_shuffled=True).of_epoch(epoch)

    assert first.tolist() != second.tolist()


def test_epochs_are_not_one_permutation_over_and_over():
    """Where each order is the one before, permuted in the same way again, its fixed points never move."""
    orders = [Order(12, 42, is_shuffled=True).of_epoch(epoch) for epoch in range(40)]

    steps = {tuple(np.argsort(first)[second]) for first, second in pairwise(orders)}
    assert len(steps) == 39
    assert all(len({order[place] for order in orders}) > 6 for place in range(12))


def test_every_place_is_as_likely():
    counts = np.zeros((6, 6))
    for seed in range(3000):
        counts[range(6), Order(6, seed, is_shuffled=True).of_epoch(0)] += 1

    assert abs(counts - 500).max() < 100  # five standard deviations


def test_without_shuffling_every_epoch_is_in_order():
    assert Order(4, 5, is_shuffled=False).of_epoch(3).tolist() == [0, 1, 2, 3]


@given(SHARES)
def test_every_place_is_given_to_one_rank(facts):
    length, size, world = facts

    given_out = [place for share in shares(size, world) for place in places(share, length)]

    assert sorted(given_out) == list(range(length))


@given(SHARES)
def test_ranks_get_as_much_as_each_other_but_for_one(facts):
    length, size, world = facts

    counts = [len(places(share, length)) for share in shares(size, world)]

    assert max(counts) - min(counts) <= 1


@given(SHARES)
def test_without_what_is_left_all_ranks_have_as_many_full_batches(facts):
    length, size, world = facts

    cuts = [list(share.cuts(length)) for share in shares(size, world, drop_last=True)]

    assert {len(each) for each in cuts} == {length // (size * world)}
    assert all(cut.end - cut.begin == size for each in cuts for cut in each)


@given(SHARES, st.booleans())
def test_they_are_counted_without_being_cut(facts, drop_last):
    length, size, world = facts

    for share in shares(size, world, drop_last=drop_last):
        assert share.count(length) == len(list(share.cuts(length)))


@given(SHARES)
def test_the_batches_of_all_ranks_follow_each_other_in_the_order(facts):
    """The k-th batches of all ranks together are the k-th piece of the order: so one number says how far all are."""
    length, size, world = facts

    cuts = [list(share.cuts(length)) for share in shares(size, world)]

    for number in range(length // (size * world)):
        together = sorted(place for each in cuts for place in range(each[number].begin, each[number].end))
        assert together == list(range(number * size * world, (number + 1) * size * world))
        assert {each[number].consumed for each in cuts} == {(number + 1) * size * world}


@given(SHARES, st.integers(0, 60))
def test_from_a_place_on_the_rest_is_given_out(facts, start):
    length, size, world = facts
    start = min(start, length)

    given_out = [place for share in shares(size, world) for place in places(share, length, start)]

    assert sorted(given_out) == list(range(start, length))


def test_randomness_belongs_to_the_four_things_it_is_drawn_for():
    others = [(1, 0, "a", "crop"), (0, 1, "a", "crop"), (0, 0, "b", "crop"), (0, 0, "a", "flip")]

    draws = {float(rng_for(*facts).random()) for facts in [(0, 0, "a", "crop"), *others]}

    assert len(draws) == 5


def test_a_key_that_looks_like_two_things_shares_its_randomness_with_no_other():
    assert rng_for(0, 0, "a\nb", "crop").random() != rng_for(0, 0, "a", "crop").random()


def test_a_key_that_is_no_text_has_randomness_too():
    """A name of bytes that are no UTF-8 has surrogates in its key."""
    assert rng_for(0, 0, "a\udcff", "crop").random() == rng_for(0, 0, "a\udcff", "crop").random()


def test_randomness_can_be_had_again():
    assert rng_for(7, 2, "img_42", "crop").bit_generator.random_raw() == 11603575774102432432


@pytest.mark.parametrize("seed", ["1", 1.0, None])
def test_a_seed_is_an_integer(seed):
    with pytest.raises(TypeError):
        rng_for(seed, 0, "a", "crop")
