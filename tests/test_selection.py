"""A selection: which items it takes, whatever their order and number."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luisy_dir.errors import MissingInputError
from luisy_dir.item import Item
from luisy_dir.selection import SCRATCH, Selection, folder_in_scratch, keys_in, share_of_items, similar

KEYS = [f"animals/{number:04d}" for number in range(2_000)]
ITEMS = [Item(key, (), {}) for key in KEYS]


def taken(selection, items=ITEMS):
    return [item.key for item in selection.select(items, "'images'")]


# -- which items ------------------------------------------------------------------------------------------------------


def test_without_arguments_all_items_are_taken():
    assert Selection().is_all
    assert taken(Selection()) == KEYS


def test_a_limit_takes_the_first_in_key_order():
    assert taken(Selection(limit=3)) == KEYS[:3]


def test_a_limit_that_is_too_large_takes_all():
    assert taken(Selection(limit=5_000)) == KEYS


def test_a_limit_looks_at_no_item_beyond():
    """A folder may be long."""
    assert taken(Selection(limit=2), iter(ITEMS)) == KEYS[:2]
    rest = iter(ITEMS)
    taken(Selection(limit=2), rest)
    assert next(rest).key == KEYS[2]


def test_a_sample_takes_about_its_share():
    assert 150 < len(taken(Selection(sample=0.1))) < 250


def test_a_sample_of_everything_takes_everything():
    assert taken(Selection(sample=1.0)) == KEYS


@given(st.floats(1e-9, 1), st.floats(1e-9, 1))
def test_a_larger_sample_contains_a_smaller_one(one, other):
    small, large = sorted((one, other))
    assert set(taken(Selection(sample=small))) <= set(taken(Selection(sample=large)))


@given(st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1)), st.floats(1e-9, 1))
def test_whether_an_item_is_in_a_sample_depends_on_its_key_alone(keys, share):
    """Not on the other items: what is added or removed leaves the others in or out, and so do joins."""
    items = [Item(key, (), {}) for key in sorted(keys)]
    together = taken(Selection(sample=share), items)
    alone = [item.key for item in items if taken(Selection(sample=share), [item])]
    assert together == alone


def test_a_sample_is_the_same_in_every_process():
    code = (
        "from luisy_dir.item import Item\nfrom luisy_dir.selection import Selection\n"
        "items = [Item(f'animals/{number:04d}', (), {}) for number in range(2_000)]\n"
        "print(*[item.key for item in Selection(sample=0.01).select(items, '')])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == taken(Selection(sample=0.01)) != []


def test_only_takes_the_named_items_in_key_order():
    assert taken(Selection(only=(KEYS[5], KEYS[2], KEYS[5]))) == [KEYS[2], KEYS[5]]


def test_of_the_named_items_a_sample_is_taken_and_of_that_the_first():
    """Only, then sample, then limit."""
    named = tuple(KEYS[:400])
    of_both = taken(Selection(sample=0.1, only=named))
    assert of_both == [key for key in taken(Selection(sample=0.1)) if key in named]
    assert taken(Selection(limit=3, sample=0.1, only=named)) == of_both[:3]
    assert len(of_both) > 3


def test_a_key_that_is_not_there_is_an_error_that_names_similar_ones():
    with pytest.raises(MissingInputError, match=r"no item 'animals/0042\.png' in 'images'.*mean 'animals/0042'"):
        taken(Selection(only=("animals/0001", "animals/0042.png")))


def test_a_key_like_no_other_is_an_error_without_a_guess():
    with pytest.raises(MissingInputError, match=r"no item 'zzz' in 'images'\. report\(\) and"):
        taken(Selection(only=("zzz",)))


# -- similar keys -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("cats/chelsea.png", "cats/chelsea"),
        ("chelsea", "cats/chelsea"),
        ("Cats/Chelsea", "cats/chelsea"),
        ("cats/chelse", "cats/chelsea"),
        ("dogs/chelsea.npy", "cats/chelsea"),
        ("img.10", "img.1"),
    ],
)
def test_the_key_that_is_meant_is_guessed(asked, meant):
    assert meant in similar(asked, ["cats/chelsea", "cats/tom", "img.1"])


def test_among_very_many_keys_the_neighbours_are_looked_at():
    keys = [f"{number:07d}" for number in range(200_000)]
    assert "0150001" in similar("0150001x", keys)


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "name"),
    [
        (Selection(), ""),
        (Selection(limit=20), "limit=20"),
        (Selection(sample=0.01), "sample=1%"),
        (Selection(sample=0.001), "sample=0.1%"),
        (Selection(sample=1.0), "sample=100%"),
        (Selection(sample=1e-9), "sample=0.0000001%"),
        (Selection(limit=5, sample=0.07), "sample=7%_limit=5"),
    ],
)
def test_the_name_says_what_is_taken(selection, name):
    assert selection.name == name


def test_the_name_of_named_items_depends_on_the_set_of_keys_alone():
    assert Selection(only=("a", "b")).name == Selection(only=("b", "a", "b")).name
    assert len({Selection(only=only).name for only in (("a",), ("b",), ("a", "b"), ("a,b",))}) == 4
    assert Selection(only=("a",), limit=1).name.startswith("only-")


@given(
    st.builds(
        Selection,
        limit=st.none() | st.integers(1, 10**12),
        sample=st.none() | st.floats(1e-9, 1),
        only=st.none() | st.lists(st.text(min_size=1), min_size=1).map(tuple),
    )
)
def test_the_name_can_be_that_of_a_folder(selection):
    assert "/" not in selection.name
    assert len(selection.name) < 100
    assert bool(selection.name) is not selection.is_all


@given(st.floats(1e-9, 1), st.floats(1e-9, 1))
def test_two_samples_have_two_names(one, other):
    assert (Selection(sample=one).name == Selection(sample=other).name) is (one == other)


def test_results_of_a_selection_are_told_by_where_they_lie():
    selection = Selection(limit=5)
    assert selection.has_made(f"{selection.folder_in('/data')}/p/interim/ToNumpy")
    assert not selection.has_made("/data/p/interim/ToNumpy")
    assert not Selection(limit=50).has_made(f"{selection.folder_in('/data')}/p/interim/ToNumpy")
    assert not selection.has_made(f"/data/{SCRATCH}/limit=5/../../p/interim/ToNumpy")
    assert not Selection().has_made("/data/p/interim/ToNumpy")


def test_all_items_lie_in_the_working_directory_itself():
    assert Selection().folder_in("/data") == "/data"


@pytest.mark.parametrize("parts", [("p", "interim", "", "T"), ("/p", "../../..", "T"), ("p", "a/../../../b")])
def test_replays_lie_in_their_folder_whatever_the_parts_of_the_path(parts):
    assert folder_in_scratch("/data", "replay", *parts).startswith(f"/data/{SCRATCH}/replay/")
    assert ".." not in folder_in_scratch("/data", "replay", *parts)


# -- what is written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "share"),
    [("1%", 0.01), ("0.01", 0.01), ("7%", 0.07), ("0.1%", 0.001), ("100%", 1.0), ("1.0", 1.0), (".5", 0.5)],
)
def test_a_share_is_a_percentage_or_a_fraction(text, share):
    assert share_of_items(text) == share


@pytest.mark.parametrize("text", ["1", "50", "0", "0.0", "", "%", "1.5", "101%", "-1%", "nan%", "1%%", "one"])
def test_a_share_that_may_mean_several_things_or_nothing_is_refused(text):
    with pytest.raises(ValueError):
        share_of_items(text)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("a", ("a",)),
        ("cats/1,cats/2", ("cats/1", "cats/2")),
        (" a , b", (" a ", " b")),
        ('["a,b", "[c"]', ("a,b", "[c")),
    ],
)
def test_keys_are_separated_by_commas_or_stand_in_a_list(text, keys):
    assert keys_in(text) == keys


@pytest.mark.parametrize(
    "text", ["", ",", "a,", "a,,b", "[]", "[1]", "[a]", '["a"', '["a", ""]', '[["a"]]', "[" * 9_999]
)
def test_what_is_no_list_of_keys_is_refused(text):
    with pytest.raises(ValueError):
        keys_in(text)
