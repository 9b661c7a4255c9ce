"""The rules of keys: unique in one directory, joined across several."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luisy_dir.errors import KeyCollisionError
from luisy_dir.item import Item, Source, key_of
from luisy_dir.keys import check_output_paths, join, without_collisions

NAMES = st.text("ab.é\n", min_size=1, max_size=4).filter(lambda name: not name.startswith("."))
PATHS = st.lists(NAMES, min_size=1, max_size=2).map("/".join)


def items_of(*paths, root="raw"):
    """Items as a scan gives them: by key, then by path."""
    items = [Item(key_of(path), (Source(root, path, 1, 1),), {root: "/data"}, seed=5) for path in sorted(paths)]
    return sorted(items, key=lambda item: item.key)


def path_of(item):
    return item.sources[0].path


class Reader:
    """Skips files with certain suffixes, and remembers which files it was asked about."""

    def __init__(self, *skipped):
        self.skipped = skipped
        self.asked = []

    def __call__(self, item):
        self.asked.append(path_of(item))
        return path_of(item).endswith(self.skipped)


# -- without collisions -----------------------------------------------------------------------------------------------


def test_items_with_keys_of_their_own_go_through_and_no_file_is_read():
    items, reader = items_of("a.png", "b.png", "b/c.png"), Reader(".png")

    kept = list(without_collisions(items, reader))

    assert kept == items
    assert reader.asked == []


def test_of_two_files_of_one_key_the_skipped_one_goes_on_under_its_whole_path():
    kept = list(without_collisions(items_of("a.png", "a.txt"), Reader(".txt")))

    assert [(item.key, path_of(item)) for item in kept] == [("a", "a.png"), ("a.txt", "a.txt")]


def test_a_skipped_item_keeps_its_source_its_folder_and_its_seed():
    [_, skipped] = without_collisions(items_of("a.png", "a.txt"), Reader(".txt"))

    assert (skipped.path, skipped.seed) == ("/data/a.txt", 5)


def test_two_files_of_one_key_that_are_both_meant_are_an_error_that_names_both():
    with pytest.raises(KeyCollisionError, match=r"'a\.jpg' and 'a\.png' would both be written as 'a'"):
        without_collisions(items_of("a.jpg", "a.png", "b.png"), Reader(".txt"))


def test_two_files_of_one_key_that_are_both_skipped_are_no_error():
    """Nothing would be written for either."""
    kept = list(without_collisions(items_of("a.txt", "a.xml"), Reader(".txt", ".xml")))

    assert sorted(path_of(item) for item in kept) == ["a.txt", "a.xml"]


def test_any_number_of_files_may_have_one_key_if_one_of_them_is_meant():
    kept = list(without_collisions(items_of("a.png", "a.txt", "a.xml", "a.yml"), Reader(".txt", ".xml", ".yml")))

    assert [(item.key, path_of(item)) for item in kept if item.key == "a"] == [("a", "a.png")]
    assert len({item.key for item in kept}) == 4


def test_a_file_that_is_left_alone_is_not_read():
    """A reader may take seconds for a file."""
    reader = Reader(".png", ".txt")

    list(without_collisions(items_of("a.png", "a.txt"), reader))

    assert reader.asked == ["a.png"]


def test_suffixes_that_were_skipped_before_are_tried_first():
    """With a folder of pairs, one file a pair is read, not two."""
    paths = [f"{name}{suffix}" for name in "abc" for suffix in (".png", ".txt")]
    reader = Reader(".txt")

    list(without_collisions(items_of(*paths), reader))

    assert reader.asked == ["a.png", "a.txt", "b.txt", "c.txt"]


@pytest.mark.parametrize(
    ("paths", "skipped"),
    [
        pytest.param(("README", "README.md"), ("README", ".md"), id="without a suffix, both skipped"),
        pytest.param(("a", "a.png"), ("a",), id="without a suffix, one skipped"),
        pytest.param(("a.png", "a.txt", "a.txt.png"), (".txt",), id="named like the key of a third"),
    ],
)
def test_a_file_that_the_reader_skips_never_stands_in_the_way_of_others(paths, skipped):
    """Only files that are meant can be written over each other."""
    kept = list(without_collisions(items_of(*paths), Reader(*skipped)))

    assert sorted(map(path_of, kept)) == sorted(paths)
    assert len({item.key for item in kept}) == len(paths)


def test_two_skipped_files_never_get_one_key():
    """The name b'a\\xff.x' is spelled as the name b'a%FF.x' is, once it is text."""
    undecodable = Item("a%FF", (Source("raw", "a%FF.x", 1, 1, encoded=True),), {"raw": "/data"})

    kept = list(without_collisions([undecodable, *items_of("a%FF.x", "a%FF.y")], Reader(".x")))

    assert len({item.key for item in kept}) == 3


@given(st.lists(PATHS, unique=True, max_size=8), st.lists(st.sampled_from([".a", ".b", "a", "b", "é"]), max_size=3))
def test_keys_are_unique_and_in_order_and_no_file_is_lost(paths, skipped):
    reader = Reader(*skipped)
    try:
        kept = list(without_collisions(items_of(*paths), reader))
    except KeyCollisionError:
        return

    keys = [item.key for item in kept]
    assert keys == sorted(set(keys))
    assert sorted(map(path_of, kept)) == sorted(paths)


@given(st.lists(PATHS, unique=True, max_size=8))
def test_without_a_skipped_file_there_is_an_error_exactly_where_keys_collide(paths):
    keys = [key_of(path) for path in paths]
    try:
        list(without_collisions(items_of(*paths), lambda item: False))
        is_accepted = True
    except KeyCollisionError:
        is_accepted = False

    assert is_accepted == (len(set(keys)) == len(keys))


# -- output paths -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "suffix"),
    [
        (["a", "a/b"], ".npy"),
        (["a", "a.npyx/b"], ".npy"),
        (["a.npy", "b/a.npy"], ".npy"),
        ([], ".npy"),
        (["a", "b/c"], ""),
    ],
)
def test_outputs_may_lie_side_by_side(keys, suffix):
    check_output_paths(keys, suffix)


@pytest.mark.parametrize(
    ("keys", "suffix", "folder"),
    [
        (["a", "a.npy/b"], ".npy", "a.npy"),
        (["a/b", "a/b.npy/c/d"], ".npy", "a/b.npy"),
        (["a", "a/b"], "", "a"),
        (["a", "b", "a.npy/b.npy/c"], ".npy", "a.npy"),
    ],
)
def test_an_output_that_is_a_folder_of_another_is_an_error_that_names_both(keys, suffix, folder):
    with pytest.raises(KeyCollisionError) as caught:
        check_output_paths(keys, suffix)

    assert repr(keys[-1]) in str(caught.value)
    assert repr(folder) in str(caught.value)


@given(st.lists(PATHS, unique=True, max_size=6), st.sampled_from(["", ".a", ".b", "."]))
def test_output_paths_are_refused_exactly_where_a_file_would_be_a_folder(keys, suffix):
    paths = [key + suffix for key in keys]
    is_clash = any(one.startswith(other + "/") for one, other in itertools.permutations(paths, 2))
    try:
        check_output_paths(keys, suffix)
        is_refused = False
    except KeyCollisionError:
        is_refused = True

    assert is_refused == is_clash


# -- join -------------------------------------------------------------------------------------------------------------


def test_a_joined_item_has_its_sources_in_the_order_of_the_directories():
    """``process(image, mask)`` must never get the mask first."""
    masks, images = items_of("x.npy", root="B"), items_of("x.png", root="A")

    [item] = join([masks, images], {"A": "/a", "B": "/b"}, seed=3)

    assert [source.root for source in item.sources] == ["B", "A"]
    assert [item.path_of(source) for source in item.sources] == ["/b/x.npy", "/a/x.png"]
    assert item.seed == 3


def test_an_item_without_a_match_has_the_sources_that_were_found():
    joined = join([items_of("a.png", "b.png", root="A"), items_of("b.npy", "c.npy", root="B")], {})

    assert [(item.key, [source.root for source in item.sources]) for item in joined] == [
        ("a", ["A"]),
        ("b", ["A", "B"]),
        ("c", ["B"]),
    ]


def test_nothing_joined_is_nothing():
    assert list(join([[], []], {})) == []


def test_a_join_reads_its_inputs_as_they_are_needed():
    """Memory must not grow with the number of items."""
    endless = (Item(f"{number:09d}", (), {}) for number in itertools.count())

    assert [item.key for item in itertools.islice(join([endless, []], {}), 2)] == ["000000000", "000000001"]


@given(st.lists(st.sets(NAMES, max_size=6), min_size=1, max_size=4))
def test_a_join_has_every_key_once_in_order_with_a_source_from_each_directory_that_has_it(directories):
    inputs = [
        [Item(name, (Source(str(number), name, 1, 1),), {}) for name in sorted(names)]
        for number, names in enumerate(directories)
    ]

    joined = [(item.key, [source.root for source in item.sources]) for item in join(inputs, {})]

    assert joined == [
        (key, [str(number) for number, names in enumerate(directories) if key in names])
        for key in sorted(set().union(*directories))
    ]
