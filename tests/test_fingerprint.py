"""The fingerprint: what makes a result stale, and what does not."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luisy_dir.fingerprint import ContentSum, StateSum, fingerprint_of, is_opaque, state_sum
from luisy_dir.item import list_files

FILES = st.lists(st.tuples(st.text(max_size=8), st.integers(0, 2**63), st.integers(-(2**62), 2**62)), max_size=8)


# -- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["builtin:builtins.len", "0123", "", "not opaque"])
def test_only_what_says_so_is_opaque(function):
    assert not is_opaque(function)


PARTS = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3) | st.lists(st.integers()), max_size=4)


@given(PARTS, st.randoms())
def test_the_order_of_the_parts_does_not_count(parts, random):
    pairs = list(parts.items())
    random.shuffle(pairs)

    assert fingerprint_of(dict(pairs)) == fingerprint_of(parts)


@given(PARTS, PARTS)
def test_every_part_counts(one, other):
    assert (fingerprint_of(one) == fingerprint_of(other)) == (one == other)


def test_a_fingerprint_is_fit_for_a_file_name():
    assert len(fingerprint_of({"a": "\ud800"})) == 32
    assert set(fingerprint_of({})) <= set("0123456789abcdef")


# -- sums over files --------------------------------------------------------------------------------------------------


def facts_of(total):
    return total.hexdigest(), total.count, total.newest_mtime_ns


@given(FILES, st.randoms())
def test_a_sum_does_not_depend_on_the_order_of_the_files(files, random):
    shuffled = list(files)
    random.shuffle(shuffled)

    one, other = state_sum(files), state_sum(shuffled)

    assert facts_of(one) == facts_of(other)


@given(FILES)
def test_files_may_be_added_one_at_a_time_or_together(files):
    one_by_one, in_two_parts = StateSum(), StateSum()
    for file in files:
        one_by_one.add(*file)
    in_two_parts.update(iter(files[:1]))
    in_two_parts.update(iter(files[1:]))

    assert facts_of(one_by_one) == facts_of(in_two_parts) == facts_of(state_sum(files))


@given(FILES, FILES)
def test_a_sum_goes_on_from_what_it_said_before(before, after):
    """A record keeps the digest, the number and the youngest time of change, and no more."""
    sum_before = state_sum(before)
    again = StateSum(sum_before.hexdigest(), sum_before.count, sum_before.newest_mtime_ns)
    again.update(after)

    assert facts_of(again) == facts_of(state_sum(before + after))


@given(FILES, FILES, FILES)
def test_a_sum_without_the_old_files_and_with_the_new_is_the_sum_of_all_that_remain(stay, old, new):
    """That is how a few changes among many files cost no look at the many."""
    result = state_sum(stay + old).superseded(state_sum(old), state_sum(new))

    expected = state_sum(stay + new)
    assert (result.hexdigest(), result.count) == (expected.hexdigest(), expected.count)


@given(FILES, FILES, FILES)
def test_the_youngest_time_of_change_is_never_older_than_that_of_a_file_that_remains(stay, old, new):
    """Else a file that may have changed again unseen would be taken for an old one. It may be younger."""
    result = state_sum(stay + old).superseded(state_sum(old), state_sum(new))

    times = [mtime_ns for _, _, mtime_ns in (*stay, *new)]
    assert result.newest_mtime_ns >= max(times, default=0)
    assert result.newest_mtime_ns in {0, *times, *(mtime_ns for _, _, mtime_ns in old)}


@given(FILES, FILES)
def test_where_no_file_remains_the_youngest_time_is_that_of_the_new_ones(old, new):
    """So a folder whose files were all replaced is not held to be young for ever."""
    assert facts_of(state_sum(old).superseded(state_sum(old), state_sum(new))) == facts_of(state_sum(new))


@given(FILES)
def test_where_nothing_is_superseded_a_sum_stays_as_it_was(files):
    total = state_sum(files)

    assert facts_of(total.superseded(StateSum(), StateSum())) == facts_of(total)
    assert facts_of(total) == facts_of(state_sum(files)), "the sum itself has changed"


@given(FILES, FILES)
def test_what_is_superseded_and_then_put_back_leaves_the_sum_as_it_was(files, others):
    total = state_sum(files)

    there = total.superseded(StateSum(), state_sum(others))
    back = there.superseded(state_sum(others), StateSum())

    assert (back.hexdigest(), back.count) == (total.hexdigest(), total.count)


@given(FILES, FILES)
def test_a_sum_tells_different_files_apart(one, other):
    assert (state_sum(one).hexdigest() == state_sum(other).hexdigest()) == (sorted(one) == sorted(other))


@pytest.mark.parametrize("other", [("ab", 1, 10), ("a", 2, 10), ("a", 1, 11), ("a", 11, 0), ("a\n", 1, 10)])
def test_path_size_and_time_of_change_of_a_file_all_count(other):
    assert state_sum([("a", 1, 10)]).hexdigest() != state_sum([other]).hexdigest()


def test_a_file_that_is_there_twice_counts_twice():
    """The sum is no exclusive or, in which two of a kind would vanish."""
    assert state_sum([("a", 1, 1)] * 2).hexdigest() != StateSum().hexdigest()


def test_a_sum_counts_files_and_knows_the_youngest():
    total = state_sum([("a", 1, 10), ("b", 1, 30), ("c", 1, 20)])

    assert (total.count, total.newest_mtime_ns) == (3, 30)


def test_the_sum_of_no_files_is_known():
    total = StateSum()

    assert (total.hexdigest(), total.count, total.newest_mtime_ns) == ("0" * 32, 0, 0)


@pytest.mark.parametrize("take", [lambda file: state_sum([file]), lambda file: StateSum().add(*file)])
def test_a_sum_takes_names_that_are_text_only(take):
    """Whoever lists files spells a name that is none first, so that no two of them can be confused here."""
    with pytest.raises(UnicodeEncodeError):
        take(("\udcff", 1, 1))


def test_files_with_names_that_are_no_text_are_told_apart(tmp_path):
    """Their bytes are spelled out before, so that one other byte in a name makes another sum."""
    sums = []
    for name in (b"\xff", b"\xfe", b"\xc3\xbf"):
        folder = os.fsencode(tmp_path / f"{len(sums)}")
        os.mkdir(folder)
        path = os.path.join(folder, name)
        with open(path, "wb"):
            os.utime(path, ns=(1, 1))
        sums.append(state_sum(list_files(os.fsdecode(folder))).hexdigest())

    assert len(set(sums)) == 3


def test_a_sum_always_has_32_digits():
    """It grows beyond 128 bits after two files, and may be small by chance."""
    assert {len(state_sum([("a", 1, number)] * number).hexdigest()) for number in range(50)} == {32}


CONTENTS = st.lists(st.tuples(st.text(max_size=6), st.text("0123456789abcdef", min_size=2, max_size=2)), max_size=6)


def sum_of_contents(files):
    total = ContentSum()
    for path, digest in files:
        total.add(path, digest)
    return total


def content_sum(files):
    return sum_of_contents(files).hexdigest()


@given(CONTENTS, st.randoms())
def test_a_sum_over_contents_does_not_depend_on_the_order_of_the_files(files, random):
    shuffled = list(files)
    random.shuffle(shuffled)

    assert content_sum(files) == content_sum(shuffled)


@given(CONTENTS, CONTENTS)
def test_a_sum_over_contents_tells_different_files_apart(one, other):
    assert (content_sum(one) == content_sum(other)) == (sorted(one) == sorted(other))


@given(CONTENTS, CONTENTS, CONTENTS)
def test_a_sum_over_contents_without_the_old_and_with_the_new_is_that_of_all_that_remain(stay, old, new):
    total = sum_of_contents(stay + old)

    result = total.superseded(sum_of_contents(old), sum_of_contents(new))

    assert result.hexdigest() == content_sum(stay + new)
    assert total.hexdigest() == content_sum(stay + old), "the sum itself has changed"


@given(CONTENTS, CONTENTS)
def test_a_sum_over_contents_goes_on_from_what_it_said_before(before, after):
    again = ContentSum(content_sum(before))
    for path, digest in after:
        again.add(path, digest)

    assert again.hexdigest() == content_sum(before + after)
