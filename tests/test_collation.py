"""Collations: data of several items as that of one batch, with nothing lost without a word."""

import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from luisy_dir.dataset.collation import Collated, Members, collation_for, crop, pad, ragged, stack
from luisy_dir.errors import CollationError, SettingError

RAMPS = [np.arange(1, 2 * n + 1).reshape(n, 2) for n in (1, 2, 3, 4)]
SHAPES_OF_MANY = [(10, n, 23, m) for n, m in [(2, 700), (3, 892), (4, 721), (2, 850)]]
MODES = ["constant", "edge", "linear_ramp", "maximum", "mean", "median", "minimum", "reflect", "symmetric", "wrap"]
arrays = hnp.arrays(
    st.sampled_from([np.int64, np.float32, np.uint8, np.bool_]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=5)
)
lists = st.lists(arrays, min_size=1, max_size=5).filter(lambda each: len({array.dtype for array in each}) == 1)


def members(count, **facts):
    return Members(tuple(f"k{number}" for number in range(count)), **facts)


# --- stack


def test_items_of_one_shape_are_stacked():
    made = stack()([np.array([1, 2]), np.array([3, 4])])

    assert made.data.tolist() == [[1, 2], [3, 4]]
    assert (made.lengths, made.mask) == (None, None)


@given(arrays, st.integers(1, 4))
def test_stacking_is_what_numpy_does(array, count):
    data = stack()([array] * count).data

    expected = np.stack([array] * count)
    assert data.dtype == expected.dtype
    np.testing.assert_array_equal(data, expected)


def test_numbers_are_stacked_as_arrays_without_axes():
    assert stack()([1, np.float32(2.5), np.array(3.0)][1:]).data.tolist() == [2.5, 3.0]


def test_what_is_stacked_can_be_written_to_and_is_no_view():
    item = np.arange(3)
    item.flags.writeable = False

    data = stack()([item]).data
    data[0, 0] = 99

    assert item[0] == 0


def test_two_shapes_are_named_with_their_keys_and_a_way_out():
    with pytest.raises(CollationError, match=r"'k0' has shape \(1, 2\) and 'k1' \(2, 2\).*pad.*crop.*ragged"):
        stack()(RAMPS, members(4))


@pytest.mark.parametrize("collate", [pad(), crop(), ragged("values")])
def test_items_of_other_numbers_of_axes_are_named_with_their_keys(collate):
    with pytest.raises(CollationError, match=r"'k0' has shape \(2,\) and 'k1' \(1, 2\)"):
        collate([np.zeros(2), np.zeros((1, 2))], members(2))


@pytest.mark.parametrize(
    "thing",
    [{"a": 1}, [1, 2], "text", None, (np.zeros(2), 1), np.array([{}]), 10**40, object()],
    ids=["dictionary", "list", "text", "None", "tuple", "array of objects", "large integer", "object"],
)
@pytest.mark.parametrize("collate", [stack(), pad(), crop(), ragged("values")])
def test_what_is_no_array_is_refused_with_a_way_out(collate, thing):
    with pytest.raises(CollationError, match=r"'k1' is no array.*ragged.*function of your own"):
        collate([np.zeros(2), thing], members(2))


def test_a_mask_of_numpy_is_not_lost_without_a_word():
    with pytest.raises(CollationError, match="'0' is a masked array"):
        stack()([np.ma.masked_array([1, 2], [True, False])])


def test_an_empty_list_is_no_batch():
    for collate in (stack(), pad(), crop(), ragged("values")):
        with pytest.raises(CollationError, match="no items"):
            collate([])


# --- dtypes


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [
        ("uint8", "int16", "int16"),
        ("int32", "float64", "float64"),
        ("float32", "float64", "float64"),
        ("bool", "uint8", "uint8"),
        ("float32", "complex64", "complex64"),
        ("<U2", "<U5", "<U5"),
        ("datetime64[s]", "datetime64[ms]", "datetime64[ms]"),
        ("int16", "float16", "float32"),
    ],
)
def test_dtypes_that_one_takes_as_they_are_become_that_one(first, second, common):
    assert stack()([np.zeros(2, first), np.zeros(2, second)]).data.dtype == common


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("int64", "float64"),
        ("uint64", "int64"),
        ("int64", "float32"),
        ("int64", "<U5"),
        ("datetime64[s]", "int64"),
        ("timedelta64[s]", "int64"),
        ("float64", "S3"),
    ],
)
@pytest.mark.parametrize("collate", [stack(), pad(), crop(), ragged("values")])
def test_dtypes_of_which_one_would_lose_something_are_refused(collate, first, second):
    """2**53 + 1 is no float64: numpy would round it without a word."""
    with pytest.raises(CollationError, match=r"'k\d' is .* and 'k\d' .*no dtype takes the values of both"):
        collate([np.zeros(2, first), np.zeros(2, second)], members(2))


@pytest.mark.parametrize(("first", "second"), [("int64", "float64"), ("datetime64[s]", "int64"), ("int64", "<U2")])
def test_of_several_dtypes_two_are_named_that_do_not_fit(first, second):
    items = [np.zeros(1, kind) for kind in (first, first, second, second)]

    with pytest.raises(CollationError, match=rf"'k0' is {re.escape(first)} and 'k2' {re.escape(second)}"):
        stack()(items, members(4))


def test_of_several_dtypes_none_is_named_that_fits():
    items = [np.zeros(1, kind) for kind in ("int8", "int64", "int16", "float64")]

    with pytest.raises(CollationError, match="'k1' is int64 and 'k3' float64"):
        stack()(items, members(4))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_batch_has_the_order_of_bytes_of_this_machine(order):
    data = stack()([np.array([1, 2], f"{order}i4")]).data

    assert data.dtype.isnative
    assert data.tolist() == [[1, 2]]


def test_structured_items_are_stacked():
    kind = [("x", "f4"), ("n", "i2")]

    assert stack()([np.array([(1.5, 2)], kind), np.array([(2.5, 3)], kind)]).data["n"].tolist() == [[2], [3]]


# --- pad


def test_padding_fills_up_with_zeros_at_the_end():
    made = pad()(RAMPS)

    assert made.data.shape == (4, 4, 2)
    assert made.data[0].tolist() == [[1, 2], [0, 0], [0, 0], [0, 0]]
    assert made.data[3].tolist() == RAMPS[3].tolist()


def test_padding_fills_up_with_the_value_that_it_is_told():
    made = pad(constant_values=2)(RAMPS)

    assert made.data[1].tolist() == [[1, 2], [3, 4], [2, 2], [2, 2]]


def test_a_padded_batch_is_as_long_as_the_longest_on_each_axis():
    made = pad()([np.ones(shape, "u1") for shape in SHAPES_OF_MANY])

    assert made.data.shape == (4, 10, 4, 23, 892)
    assert made.lengths.tolist() == [list(shape) for shape in SHAPES_OF_MANY]
    assert made.data.sum() == made.mask.sum() == sum(np.prod(shape) for shape in SHAPES_OF_MANY)


@given(lists, st.sampled_from([*MODES, "empty"]), st.sampled_from(["end", "start", "both"]), st.integers(1, 4))
def test_padding_is_what_numpy_does(items, mode, side, multiple):
    if items[0].dtype == bool and mode not in {"constant", "edge", "reflect", "symmetric", "wrap", "empty"}:
        return  # numpy has no mean of truths to pad with
    made = pad(mode, side=side, multiple_of=multiple)(items)

    shape = tuple(-(-max(item.shape[axis] for item in items) // multiple) * multiple for axis in (0, 1))
    assert made.data.shape == (len(items), *shape)
    for item, data, mask, lengths in zip(items, made.data, made.mask, made.lengths, strict=True):
        extra = [whole - mine for whole, mine in zip(shape, item.shape, strict=True)]
        widths = [{"end": (0, n), "start": (n, 0), "both": (n // 2, n - n // 2)}[side] for n in extra]
        assert lengths.tolist() == list(item.shape)
        np.testing.assert_array_equal(mask, np.pad(np.ones(item.shape, bool), widths))
        np.testing.assert_array_equal(data[mask].reshape(item.shape), item)
        if mode != "empty":
            np.testing.assert_array_equal(data, np.pad(item, widths, mode))


@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("constant", {"constant_values": ((1, 2), (3, 4))}),
        ("constant", {"constant_values": np.array([5])}),
        ("linear_ramp", {"end_values": 9}),
        ("mean", {"stat_length": 1}),
        ("reflect", {"reflect_type": "odd"}),
    ],
)
def test_options_reach_numpy(mode, options):
    made = pad(mode, side="both", **options)(RAMPS)

    np.testing.assert_array_equal(made.data[1], np.pad(RAMPS[1], [(1, 1), (0, 0)], mode, **options))


def fill_with_seven(vector, width, axis, kwargs):
    vector[vector.shape[0] - width[1] :] = kwargs.get("seven", 7)


def test_a_mode_may_be_a_function():
    assert pad(fill_with_seven)(RAMPS).data[0].tolist() == [[1, 2], [7, 7], [7, 7], [7, 7]]
    assert pad(fill_with_seven, seven=8)(RAMPS).data[0, 1].tolist() == [8, 8]


@pytest.mark.parametrize(
    ("to", "shape"), [(5, (5, 5)), ((5, 2), (5, 2)), ((None, 3), (4, 3)), (None, (4, 2)), (np.int64(6), (6, 6))]
)
def test_a_batch_can_be_longer_than_its_longest_item(to, shape):
    assert pad(to=to)(RAMPS).data.shape == (4, *shape)


@pytest.mark.parametrize(
    ("multiple", "to", "shape"), [(8, None, (8, 8)), ((8, None), None, (8, 2)), (3, (None, 2), (6, 2))]
)
def test_lengths_can_be_rounded_up(multiple, to, shape):
    assert pad(multiple_of=multiple, to=to)(RAMPS).data.shape == (4, *shape)


def test_an_item_that_is_too_long_is_named():
    with pytest.raises(CollationError, match=r"'k2' has shape \(3, 2\).*\(2, 2\).*larger `to`"):
        pad(to=2)(RAMPS[2:], Members(("k2", "k3")))


def test_sizes_for_other_axes_are_refused():
    for collate in (pad(to=(5, 5, 5)), crop(to=(1,)), pad(multiple_of=(1, 2, 3))):
        with pytest.raises(CollationError, match="the items have 2 axes"):
            collate(RAMPS)


def test_items_without_axes_are_padded_to_a_row():
    made = pad()([np.array(1), np.array(2)])

    assert made.data.tolist() == [1, 2]
    assert made.mask.tolist() == [True, True]
    assert made.lengths.shape == (2, 0)


@pytest.mark.parametrize("mode", MODES)
def test_items_that_need_no_padding_have_none_whatever_the_mode(mode):
    """numpy has nothing to take an edge or a mean of, where there are no values or no axes."""
    assert pad(mode)([np.zeros((0, 2))] * 2).data.shape == (2, 0, 2)
    assert pad(mode)([np.array(1.5)] * 2).data.tolist() == [1.5, 1.5]


def test_items_of_no_length_are_padding_all_over():
    made = pad()([np.zeros((0, 2), int), np.ones((1, 2), int)])

    assert made.data.tolist() == [[[0, 0]], [[1, 1]]]
    assert made.mask.tolist() == [[[False, False]], [[True, True]]]


def test_items_that_all_have_no_length_stay_so():
    assert pad()([np.zeros((0, 2))] * 3).data.shape == (3, 0, 2)
    assert crop()([np.zeros((0, 2))] * 3).data.shape == (3, 0, 2)
    assert stack()([np.zeros((0, 2))] * 3).data.shape == (3, 0, 2)


def test_where_numpy_cannot_pad_the_item_is_named():
    with pytest.raises(ValueError, match="empty axis") as caught:
        pad("edge")([np.zeros(0), np.ones(3)], members(2))

    assert "'k0' of shape (0,)" in caught.value.__notes__[0]


@pytest.mark.parametrize("value", [2.5, np.nan, 300, -1])
def test_a_value_that_the_items_cannot_have_is_refused(value):
    """numpy would pad with 2, with nothing in particular, with 44 and with 255."""
    with pytest.raises(CollationError, match="uint8, which has no value"):
        pad(constant_values=value)([np.zeros(2, "u1"), np.zeros(1, "u1")])


def test_reals_are_padded_with_the_nearest_value_that_they_can_have():
    made = pad(constant_values=np.nan)([np.zeros(2, "f4"), np.zeros(1, "f4")])

    assert np.isnan(made.data[1, 1])
    assert pad(constant_values=0.1)([np.zeros(2, "f4"), np.zeros(1, "f4")]).data[1, 1] == np.float32(0.1)


# --- crop


def test_cropping_takes_the_leading_part():
    made = crop()(RAMPS)

    assert made.data.shape == (4, 1, 2)
    assert made.data[:, 0].tolist() == [[1, 2]] * 4


@pytest.mark.parametrize(("to", "shape"), [(None, (2,)), (1, (1,)), ((1,), (1,)), ((None,), (2,)), (0, (0,))])
def test_cropping_is_to_the_shortest_or_to_what_is_said(to, shape):
    assert crop(to=to)([np.arange(5), np.arange(2)]).data.shape == (2, *shape)


def test_the_centre_has_as_much_on_either_side():
    assert crop("center", to=3)([np.arange(7), np.arange(4)]).data.tolist() == [[2, 3, 4], [0, 1, 2]]


def test_an_item_that_is_too_short_is_named():
    with pytest.raises(CollationError, match=r"'k1' has shape \(2,\).*\(3,\).*smaller `to`"):
        crop(to=3)([np.arange(5), np.arange(2)], members(2))


def test_every_place_is_drawn():
    """Also the last one, at which the part ends with the item."""
    drawn = {crop("random", to=4)([np.arange(10)], members(1, epoch=epoch)).data[0, 0] for epoch in range(200)}

    assert drawn == set(range(7))


def test_axes_are_drawn_one_by_one():
    item = np.arange(16).reshape(4, 4)

    drawn = {int(crop("random", to=3)([item], members(1, seed=seed)).data[0, 0, 0]) for seed in range(60)}

    assert drawn == {0, 1, 4, 5}


@given(lists, st.integers(0, 3), st.integers(0, 3))
def test_what_is_drawn_for_an_item_does_not_depend_on_its_neighbours(items, seed, epoch):
    collate = crop("random", to=1)
    keys = tuple(f"k{number}" for number in range(len(items)))

    together = collate(items, Members(keys, seed, epoch)).data

    for key, item, data in zip(keys, items, together, strict=True):
        np.testing.assert_array_equal(collate([item], Members((key,), seed, epoch)).data[0], data)


def test_nothing_can_be_drawn_without_keys():
    with pytest.raises(CollationError, match="draws by the keys"):
        crop("random")([np.arange(3)])


def test_items_without_axes_are_cropped_to_a_row():
    assert crop("random")([np.array(1), np.array(2)], members(2)).data.tolist() == [1, 2]


# --- ragged


def test_a_ragged_batch_is_a_list_of_what_was_read():
    things = [RAMPS[0], {"a": 1}, "text"]

    made = ragged()(things)

    assert made.data is not things
    assert [a is b for a, b in zip(made.data, things, strict=True)] == [True] * 3


def test_values_lie_one_behind_the_other():
    values, offsets = ragged("values")(RAMPS).data

    assert offsets.dtype == np.int64
    for number, ramp in enumerate(RAMPS):
        np.testing.assert_array_equal(values[offsets[number] : offsets[number + 1]], ramp)


def test_values_of_items_without_axes_are_one_each():
    values, offsets = ragged("values")([np.array(5), np.array(6)]).data

    assert (values.tolist(), offsets.tolist()) == ([5, 6], [0, 1, 2])


def test_values_of_items_that_differ_behind_their_first_axis_do_not_lie_one_behind_the_other():
    with pytest.raises(CollationError, match=r"'k0' has shape \(2, 3\) and 'k1' \(2, 4\).*behind axis 0"):
        ragged("values")([np.zeros((2, 3)), np.zeros((2, 4))], members(2))


# --- as it is given


@pytest.mark.parametrize(("word", "like"), [("stack", stack()), ("pad", pad()), ("crop", crop()), ("ragged", ragged())])
def test_a_word_and_a_function_of_that_name_mean_the_same(word, like):
    function = {"stack": stack, "pad": pad, "crop": crop, "ragged": ragged}[word]

    assert collation_for(word).function == collation_for(function).function == collation_for(like).function == like


@pytest.mark.parametrize(
    "collate", [stack(), pad("mean", side="both", to=(5, None), stat_length=2), crop("random", to=1)]
)
def test_a_collation_is_the_same_after_pickling(collate):
    assert pickle.loads(pickle.dumps(collate)) == collate


def test_a_function_of_the_users_makes_the_data():
    made = collation_for(len).collate([1, 2, 3], members(3))

    assert made == Collated(3, None, None)


def test_a_function_of_the_users_may_say_lengths_and_mask_too():
    made = collation_for(lambda data: Collated(data, lengths=1, mask=2)).collate([5], members(1))

    assert made == Collated([5], 1, 2)


def test_a_function_that_asks_for_the_members_gets_them():
    def keyed(data, members):
        return dict(zip(members.keys, data, strict=True)), members.epoch

    assert collation_for(keyed).collate([5], members(1, epoch=3)).data == ({"k0": 5}, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: collation_for("sum"), "collate is 'sum'"),
        (lambda: collation_for(3), "collate is 3"),
        (lambda: pad("zeros"), "mode is 'zeros'"),
        (lambda: pad(None), "mode is None"),
        (lambda: pad(side="left"), "side is 'left'"),
        (lambda: pad(to=-1), "to is -1"),
        (lambda: pad(to=2.5), "to is 2.5"),
        (lambda: pad(to="3"), "to is '3'"),
        (lambda: pad(multiple_of=0), "multiple_of is 0"),
        (lambda: pad(multiple_of=(2, -1)), "multiple_of is"),
        (lambda: pad(constant_value=3), "no option 'constant_value'.*'constant_values'"),
        (lambda: pad("edge", constant_values=3), "mode='edge', which has no options"),
        (lambda: crop("middle"), "anchor is 'middle'"),
        (lambda: crop(to=-1), "to is -1"),
        (lambda: ragged("array"), "layout is 'array'"),
    ],
)
def test_a_wrong_argument_is_refused_where_it_is_given(make, message):
    with pytest.raises(SettingError, match=message):
        make()
