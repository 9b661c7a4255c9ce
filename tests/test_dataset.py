"""The dataset: what a task published opens again as a lazy sequence with NumPy's indices."""

import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import xxhash
from conftest import files_below
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from published import PublishedImages, PublishedTexts, publish

import luisy_dir as luisy
from luisy_dir import settings
from luisy_dir.dataset.maps import Maps
from luisy_dir.entry import OutputFile, Pack
from luisy_dir.errors import (
    DamagedManifestError,
    DatasetError,
    GenerationError,
    InputChangedError,
    MissingInputError,
    SettingError,
    UnknownKeyError,
)

ARRAYS = {f"img_{number}": np.arange(60).reshape(3, 4, 5) + 100 * number for number in range(6)}
RAGGED = {"a": np.ones((2, 3)), "b": np.zeros((4, 3)), "c": np.full((3, 3), 7.0)}


@pytest.fixture
def dataset(request):
    yield publish({key: (array, {"mean": float(array.mean())}) for key, array in ARRAYS.items()}).dataset()
    request.node.funcargs.clear()  # which hold it, and its maps, until the test is torn down


@pytest.fixture
def ragged(request):
    yield publish(RAGGED, name="ragged").dataset()
    request.node.funcargs.clear()


class TestLookingIn:
    def test_an_item_is_had_by_its_key_and_by_its_position(self, dataset):
        assert np.array_equal(dataset["img_2"], ARRAYS["img_2"])
        assert np.array_equal(dataset[2], ARRAYS["img_2"])
        assert np.array_equal(dataset[-1], ARRAYS["img_5"])
        assert np.array_equal(dataset[np.int64(1)], ARRAYS["img_1"])

    @pytest.mark.parametrize(
        ("index", "numbers"),
        [
            (slice(1, 4), [1, 2, 3]),
            (slice(None, None, -2), [5, 3, 1]),
            ([1, 5], [1, 5]),
            (np.array([4, 0]), [4, 0]),
            (["img_1", "img_5"], [1, 5]),
            (range(3), [0, 1, 2]),
            (..., [0, 1, 2, 3, 4, 5]),
            ((), [0, 1, 2, 3, 4, 5]),
        ],
        ids=str,
    )
    def test_several_items_are_a_dataset_in_the_order_asked_for(self, dataset, index, numbers):
        found = dataset[index]

        assert list(found.keys) == [f"img_{number}" for number in numbers]
        assert all(np.array_equal(array, ARRAYS[key]) for key, array in found.items())

    def test_a_mask_takes_the_items_where_it_is_true(self, dataset):
        assert list(dataset[np.array([True, False] * 3)].keys) == ["img_0", "img_2", "img_4"]

    def test_an_item_may_be_taken_twice(self, dataset):
        twice = dataset[[1, 1, 0]]

        assert list(twice.keys) == ["img_1", "img_1", "img_0"]
        assert (twice.index("img_1"), twice.index("img_1", 1), twice.count("img_1")) == (0, 1, 2)

    @pytest.mark.parametrize(
        "index", [6, -7, [0, 6], [-7], True, None, 1.5, [1.5], np.ones(3, bool), [[1, 2]], {1, 2}, b"img_1"], ids=repr
    )
    def test_an_index_that_selects_no_items_is_an_index_error(self, dataset, index):
        with pytest.raises(IndexError):
            dataset[index]

    @pytest.mark.parametrize("index", ["img_6", ["img_1", "x"]], ids=str)
    def test_an_unknown_key_is_an_error_that_names_it(self, dataset, index):
        with pytest.raises(UnknownKeyError, match=r"There is no item of the key '(img_6|x)'. Keys are such as 'img_0'"):
            dataset[index]

    def test_it_is_a_sequence(self, dataset):
        from collections.abc import Sequence

        assert isinstance(dataset, Sequence)
        assert len(dataset) == 6
        assert "img_3" in dataset
        assert "img_9" not in dataset
        assert dataset.index("img_3") == 3
        assert dataset.count("img_3") == 1
        assert [array[0, 0, 0] for array in dataset] == [0, 100, 200, 300, 400, 500]
        assert [array[0, 0, 0] for array in reversed(dataset)] == [500, 400, 300, 200, 100, 0]

    def test_an_empty_dataset_is_a_dataset(self, dataset):
        empty = dataset[[]]

        assert len(empty) == 0
        assert list(empty) == []
        assert list(empty.meta.columns) == []
        with pytest.raises(IndexError):
            empty[0]

    def test_nothing_that_is_read_can_be_written_to(self, dataset):
        with pytest.raises(ValueError, match="read-only"):
            dataset[0][0, 0, 0] = 1
        with pytest.raises(ValueError, match="read-only"):
            dataset[0, 0:2][0] = 1

    def test_copies_can_be_written_to_and_change_nothing(self, dataset):
        array = dataset.copies()[0]
        array[:] = -1

        assert np.array_equal(dataset[0], ARRAYS["img_0"])


class TestDeepIndices:
    @pytest.mark.parametrize("axis", range(3))
    @pytest.mark.parametrize(
        "part",
        [2, -1, slice(1, -1), slice(-3, None), slice(None, None, -1), slice(0, 4, 2), [0, 2], np.int64(2), ...,
         slice(None, 2), slice(1, None), slice(0, 20)],
        ids=repr,
    )  # fmt: skip
    def test_what_follows_the_first_index_is_numpys(self, dataset, axis, part):
        rest = (slice(None),) * axis + (part,)

        assert np.array_equal(dataset[(1, *rest)], ARRAYS["img_1"][rest])
        assert np.array_equal(dataset[("img_1", *rest)], ARRAYS["img_1"][rest])
        assert np.array_equal(np.asarray(dataset[(slice(1, 3), *rest)])[0], ARRAYS["img_1"][rest])
        assert np.array_equal(dataset.select(rest)[1], ARRAYS["img_1"][rest])

    def test_indices_stand_on_one_another(self, dataset):
        assert np.array_equal(dataset[1:5, 1:][2, 0], ARRAYS["img_3"][1])
        assert dataset[1:5, 1:][1:3, :, 0].shape == (2, 2, 5)

    def test_a_deep_slice_is_one_view_of_one_map(self):
        dataset = publish({"x": np.arange(10_000).reshape(10, 10, 10, 10)}).dataset()

        view = dataset[0, :, :, 0]

        assert view.base is not None
        assert not view.flags.owndata
        assert len(dataset._items._maps) == 1
        assert dataset[0, :, 0:20].shape == (10, 10, 10, 10)

    def test_an_error_of_numpys_names_the_item(self, dataset):
        with pytest.raises(IndexError) as raised:
            dataset["img_3", 99]

        assert raised.value.__notes__ == ["This was the item 'img_3'."]

    def test_data_that_is_no_array_is_indexed_as_python_does(self):
        dataset = publish({"a": {"x": [1, 2, 3]}}, task=PublishedTexts).dataset()

        assert dataset["a", "x"] == [1, 2, 3]


DTYPES = st.one_of(
    npst.integer_dtypes(endianness="?"), npst.floating_dtypes(), npst.complex_number_dtypes(), npst.boolean_dtypes(),
    npst.unicode_string_dtypes(), npst.datetime64_dtypes(), npst.byte_string_dtypes(),
    st.just(np.dtype([("x", "<i2"), ("y", ">f4", (2,))])),
)  # fmt: skip
SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


@given(data=st.data())
def test_any_index_on_any_array_equals_numpys(data):
    """Whatever the dtype and the shape, an index gives what it gives on the array that was written."""
    shape = data.draw(SHAPES)
    arrays = {
        f"k{number}": data.draw(npst.arrays(data.draw(DTYPES), shape), label=f"array {number}") for number in range(3)
    }
    name = str(data.draw(st.integers(0, 2**60)))
    dataset = publish(arrays, name=name).dataset()
    if data.draw(st.booleans(), label="in packs"):
        dataset.pack(settings.resolve("working_dir", None) + f"/packs-{name}")
        dataset = luisy.open_dataset(settings.resolve("working_dir", None) + f"/packs-{name}")
    first = data.draw(st.one_of(
        st.integers(-3, 2), st.slices(3), st.just(...), st.lists(st.integers(-3, 2)).map(np.array),
        npst.arrays(bool, 3),
    ))  # fmt: skip
    rest = data.draw(npst.basic_indices(shape, allow_newaxis=True)) if shape else ()
    rest = rest if isinstance(rest, tuple) else (rest,)
    if shape and 0 not in shape and data.draw(st.booleans()):
        rest = data.draw(npst.integer_array_indices(shape))
    positions = np.arange(3)[first if not isinstance(first, np.ndarray) or first.size else []]

    found = dataset[first].select(rest) if first is ... else dataset[(first, *rest)]

    taken = [arrays[f"k{position}"] for position in np.atleast_1d(positions)]
    expected = [np.asarray(array[rest], array.dtype) for array in taken]  # a text alone would be as long as it is
    got = [found] if np.ndim(positions) == 0 and first is not ... else list(found)
    for one, other in zip(got, expected, strict=True):
        assert np.shape(one) == np.shape(other)
        assert np.asarray(one, other.dtype).tobytes() == other.tobytes()
    if not isinstance(first, int):
        assert [tuple(shape) for shape in found.shapes] == [np.shape(other) for other in expected]


class TestMetadata:
    def test_it_is_a_frame_of_one_row_an_item(self, dataset):
        assert list(dataset.meta.index) == list(ARRAYS)
        assert dataset.meta.index.name == "key"
        assert dataset.meta["mean"].tolist() == [float(array.mean()) for array in ARRAYS.values()]

    @pytest.mark.parametrize(
        "change",
        [
            lambda ds: ds[[4, 2]],
            lambda ds: ds[[4, 2], 0],
            lambda ds: ds[[4, 2], 0:1, 1:2],
            lambda ds: ds.select(np.s_[0])[[4, 2]],
            lambda ds: ds.map(np.sum)[[4, 2]],
            lambda ds: ds[[4, 2]].window(2),
            lambda ds: ds[[4, 2]].expand_dims(0).squeeze(0).astype(float).copies().at_epoch(3),
            lambda ds: ds[4:5].concat(ds[2:3]),
            lambda ds: ds[4:1:-2],
            lambda ds: pickle.loads(pickle.dumps(ds[[4, 2]])),
        ],
    )
    def test_no_operation_loses_it(self, dataset, change):
        meta = change(dataset).meta

        assert list(meta.index) == ["img_4", "img_2"]
        assert meta["mean"].tolist() == [float(ARRAYS[key].mean()) for key in ("img_4", "img_2")]

    def test_what_an_item_lacks_is_missing_and_moves_nothing(self):
        dataset = publish({"a": (np.ones(1), {"x": 1}), "b": np.ones(1), "c": (np.ones(1), {"x": 3})}).dataset()

        assert dataset.meta["x"].isna().tolist() == [False, True, False]
        assert dataset.meta.loc["c", "x"] == 3

    @pytest.mark.parametrize(
        "condition",
        ["mean > 300", lambda meta: meta["mean"] > 300, np.array([False] * 3 + [True] * 3), [False] * 3 + [True] * 3,
         lambda meta: pd.Series([False] * 3 + [True] * 3, dtype=object)],
        ids=["expression", "function", "array", "list", "objects"],
    )  # fmt: skip
    def test_where_takes_the_items_of_a_condition(self, dataset, condition):
        assert list(dataset.where(condition).keys) == ["img_3", "img_4", "img_5"]

    @pytest.mark.parametrize(
        "condition", ["mean * 2", lambda meta: True, [1, 2], [True]], ids=["numbers", "one", "list", "short"]
    )
    def test_a_condition_that_says_neither_yes_nor_no_is_refused(self, dataset, condition):
        with pytest.raises(DatasetError, match="has to give a bool for each of 6 items"):
            dataset.where(condition)


class TestShapes:
    def test_they_are_known_without_a_look_at_data(self, ragged):
        for path in (os.path.join(ragged._items.directory, f"{key}.npy") for key in RAGGED):
            os.remove(path)

        assert ragged.shapes == [(2, 3), (4, 3), (3, 3)]
        assert ragged.shape == (3, None, 3)
        assert ragged.ndim == 3
        assert ragged.dtype == np.float64
        assert ragged[:, 0].shape == (3, 3)
        assert ragged.window(2).shape == (3, 2, 3)
        assert ragged.unbind(1).shape == (9, None)
        assert "3 items, shape=(3, None, 3), dtype=float64" in repr(ragged)

    def test_items_of_several_numbers_of_axes_have_no_shape_together(self):
        dataset = publish({"a": np.ones(2), "b": np.ones((2, 2))}).dataset()

        assert dataset.shapes == [(2,), (2, 2)]
        with pytest.raises(DatasetError, match="1 and 2 axes"):
            _ = dataset.shape

    def test_after_a_function_the_data_tells(self, ragged):
        assert ragged.map(lambda array: array.sum(axis=0)).shape == (3, 3)

    def test_what_is_no_array_has_none(self):
        dataset = publish({"a": {"x": 1}}, task=PublishedTexts).dataset()

        assert dataset["a"] == {"x": 1}
        assert repr(dataset) == "DirectoryDataset(1 items)"
        with pytest.raises(DatasetError, match="'a' is a dict, no array"):
            _ = dataset.shapes

    def test_a_dataset_becomes_an_array_where_shapes_agree(self, dataset, ragged):
        assert np.array_equal(np.asarray(dataset), np.stack(list(ARRAYS.values())))
        assert np.asarray(dataset, dtype=np.float32).dtype == np.float32
        with pytest.raises(DatasetError, match="differ in shape"):
            np.asarray(ragged)


class TestOperations:
    def test_a_function_stands_in_the_place_of_the_data(self, dataset):
        assert [int(total) for total in dataset.map(np.sum)] == [int(array.sum()) for array in ARRAYS.values()]

    def test_a_function_may_know_its_item(self, dataset):
        seen = dataset.map(lambda array, item: (item.key, item.meta["mean"], item.epoch))[2]

        assert seen == ("img_2", float(ARRAYS["img_2"].mean()), 0)

    def test_what_a_function_draws_belongs_to_seed_epoch_key_and_operation(self, dataset):
        drawn = dataset.map(lambda array, item: item.rng.integers(1 << 40))

        assert list(drawn) == list(drawn)
        assert drawn[3] == drawn[[5, 3]][1] == drawn["img_3"]
        values = {*drawn, *drawn.at_epoch(1), *dataset.map(_draws, seed=1), *dataset.map(np.sum).map(_draws)}
        assert len(values) == 24

    def test_an_error_of_a_function_names_the_item(self, dataset):
        with pytest.raises(ZeroDivisionError) as raised:
            dataset.map(lambda array: 1 / 0)["img_4"]

        assert raised.value.__notes__ == ["This was the item 'img_4'."]

    def test_axes_of_length_one_come_and_go(self, dataset):
        wider = dataset.expand_dims(2)

        assert wider[0].shape == (3, 4, 1, 5)
        assert wider.shape == (6, 3, 4, 1, 5)
        assert [array.shape for array in wider] == [(3, 4, 1, 5)] * 6
        assert np.array_equal(wider[0][:, :, 0], ARRAYS["img_0"])
        assert wider.squeeze(2).shape == wider.squeeze().shape == (6, 3, 4, 5)

    def test_a_conversion_that_may_lose_values_must_be_asked_for(self, dataset):
        assert dataset.astype(np.float64)[0].dtype == np.float64
        assert dataset.astype(np.float64).dtype == np.float64
        assert dataset.astype(np.int16, lossy=True)[0].dtype == np.int16
        with pytest.raises(DatasetError, match="int64 may be lost as int16"):
            dataset.astype(np.int16)
        with pytest.raises(DatasetError, match="may be lost"):
            dataset.map(np.sqrt).astype(np.int16)[0]

    def test_unbind_makes_an_item_of_each_position_along_an_axis(self, ragged):
        rows = ragged.unbind(0)

        assert list(rows.keys) == ["a/0", "a/1", "b/0", "b/1", "b/2", "b/3", "c/0", "c/1", "c/2"]
        assert [row[0] for row in rows] == [1, 1, 0, 0, 0, 0, 7, 7, 7]
        assert np.array_equal(rows["b/3"], [0, 0, 0])
        assert ragged.unbind(-1).shape == (9, None)
        with pytest.raises(DatasetError, match=r"'a' has the shape \(2, 3\), and no axis 2"):
            ragged.unbind(2)
        with pytest.raises(DatasetError, match="Call unbind before map"):
            ragged.map(np.abs).unbind(0)

    def test_datasets_are_put_one_after_the_other(self, dataset, ragged):
        both = dataset.concat(ragged)

        assert len(both) == 9
        assert both[6].shape == (2, 3)
        assert np.array_equal(both["img_5"], ARRAYS["img_5"])
        with pytest.raises(DatasetError, match="The key 'img_0' is in more than one"):
            dataset.concat(dataset)
        assert list(luisy.concat([dataset[:1], dataset[:1]], names=["x", "y"]).keys) == ["x/img_0", "y/img_0"]

    @pytest.mark.parametrize(("datasets", "names"), [([], None), (["one"], ["x", "y"])], ids=["none", "names"])
    def test_what_cannot_be_put_together_is_refused(self, dataset, datasets, names):
        with pytest.raises(DatasetError):
            luisy.concat([dataset for _ in datasets], names=names)


def _draws(data, item):
    return item.rng.integers(1 << 40)


class TestWindows:
    def test_each_place_is_possible_and_no_other(self, working_dir):
        dataset = publish({"a": np.arange(10)}).dataset()

        starts = {int(dataset.window(4).at_epoch(epoch)[0][0]) for epoch in range(200)}
        within = {int(dataset.window(3, start=2, stop=6).at_epoch(epoch)[0][0]) for epoch in range(100)}
        whole = {int(dataset.window(10).at_epoch(epoch)[0][0]) for epoch in range(5)}

        assert starts == set(range(7))
        assert within == {2, 3}
        assert whole == {0}

    def test_places_are_equally_probable(self, working_dir):
        dataset = publish({"a": np.arange(10)}).dataset()

        starts = [int(dataset.window(7).at_epoch(epoch)[0][0]) for epoch in range(4000)]

        assert all(900 < count < 1100 for count in np.bincount(starts))

    def test_a_window_is_the_same_again_and_another_one_in_the_next_epoch(self, ragged):
        dataset = publish({f"k{number}": np.arange(1000) for number in range(20)}, name="b").dataset()
        first = [int(window[0]) for window in dataset.window(5)]

        assert first == [int(window[0]) for window in dataset.window(5)]
        assert first == [int(dataset[number, luisy.window(5)][0]) for number in range(20)]
        assert first == [int(window[0]) for window in dataset[:, luisy.window(5)]]
        assert first[::-1] == [int(window[0]) for window in dataset[::-1].window(5)]
        assert first != [int(window[0]) for window in dataset.at_epoch(1).window(5)]
        assert first != [int(window[0]) for window in dataset.window(5, seed=1)]

    @pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
    def test_it_lies_along_any_axis(self, dataset, axis):
        assert dataset.window(2, axis=axis)[0].shape[axis] == 2
        assert dataset.window(2, axis=axis).shape[1:][axis] == 2

    def test_it_stands_where_it_does_in_an_index(self, dataset):
        assert dataset[0, ..., luisy.window(2)].shape == (3, 4, 2)
        assert dataset[0, None, luisy.window(2), 0].shape == (1, 2, 5)
        assert dataset[0, luisy.window(2), :, luisy.window(3)].shape == (2, 4, 3)
        assert dataset[:, 0, luisy.window(2)].shape == (6, 2, 5)

    @pytest.mark.parametrize("truth", [True, np.True_, np.array(True)], ids=repr)
    def test_it_knows_its_axis_behind_a_truth_which_is_for_none(self, dataset, truth):
        found = [dataset.at_epoch(epoch)[0, truth, luisy.window(2)] for epoch in range(20)]

        assert {array.shape for array in found} == {(1, 2, 4, 5)}

    def test_where_it_does_not_fit_it_says_so(self, dataset):
        with pytest.raises(IndexError, match="A window of 6 does not fit between 0 and 5 of an axis of 5") as raised:
            dataset.window(6, axis=-1)[0]
        assert raised.value.__notes__ == ["This was the item 'img_0'."]
        with pytest.raises(IndexError, match="which has none"):
            dataset[0, :, :, :, luisy.window(1)]
        with pytest.raises(SettingError, match="from 1"):
            luisy.window(0)
        with pytest.raises(IndexError, match="The first index selects items"):
            dataset[luisy.window(2)]


class TestFiles:
    def test_opening_touches_no_data_file(self):
        task = publish(RAGGED)
        for key in RAGGED:
            os.remove(os.path.join(task.output().path, f"{key}.npy"))

        dataset = task.dataset()

        assert list(dataset.keys) == ["a", "b", "c"]
        with pytest.raises(InputChangedError, match=r"a.npy' is no longer there"):
            dataset["a"]

    @pytest.mark.parametrize("content", [b"", b"short", b"x" * 176, b"x" * 1000], ids=len)
    def test_a_file_that_does_not_equal_its_entry_is_an_error(self, content):
        task = publish({"a": np.arange(6.0)})
        path = os.path.join(task.output().path, "a.npy")
        assert os.path.getsize(path) == 176
        with open(path, "wb") as file:
            file.write(content)

        with pytest.raises(
            InputChangedError, match=r"bytes, and 176 in its entry|other content than its entry"
        ) as raised:
            task.dataset()["a"]
        assert raised.value.__notes__ == ["This was the item 'a'."]

    def test_a_file_that_was_only_touched_is_read(self):
        task = publish(RAGGED)
        os.utime(os.path.join(task.output().path, "a.npy"), (1, 1))

        assert np.array_equal(task.dataset()["a"], RAGGED["a"])

    def test_a_damaged_image_is_an_error(self):
        task = publish({"a": np.zeros((9, 9), np.uint8)}, task=PublishedImages)
        with open(os.path.join(task.output().path, "a.png"), "ab") as file:
            file.write(b"x")

        with pytest.raises(InputChangedError, match="no longer equals its manifest"):
            task.dataset()["a"]

    def test_images_are_decoded_and_indexed(self):
        image = np.arange(81, dtype=np.uint8).reshape(9, 9)
        dataset = publish({"a": image}, task=PublishedImages).dataset()

        assert dataset.shape == (1, 9, 9)
        assert np.array_equal(dataset["a", 2:4], image[2:4])

    def test_it_stays_with_the_generation_that_was_opened(self):
        task = publish({"a": np.zeros(3), "b": np.zeros(3)})
        old = task.dataset()
        assert old["a"].sum() == 0

        new = publish({"a": np.zeros(3), "b": np.ones(3), "c": np.ones(3)}).dataset()

        assert list(old.keys) == ["a", "b"]
        assert list(new.keys) == ["a", "b", "c"]
        assert old["a"].sum() == 0
        assert old.digest != new.digest
        with pytest.raises(InputChangedError, match="its task has run since the dataset was opened"):
            old["b"]
        assert list(luisy.open_dataset(task.output().path, generation=1).keys) == ["a", "b"]

    def test_a_map_that_is_in_use_outlives_its_file(self):
        task = publish({"a": np.zeros(3)})
        array = task.dataset()["a"]

        publish({"a": np.ones(3)})

        assert array.sum() == 0

    def test_what_was_packed_is_read_from_few_files(self, dataset, working_dir):
        dataset.pack(working_dir / "packs", packs=1)
        dataset[1:3].pack(working_dir / "two")

        packed = luisy.open_dataset(working_dir / "packs")

        assert files_below(working_dir / "packs") == ["0-of-1.pack"]
        assert packed.keys == dataset.keys
        assert packed.meta.equals(dataset.meta)
        assert all(np.array_equal(array, ARRAYS[key]) for key, array in packed.items())
        assert len(packed._items._maps) == 1
        assert list(luisy.open_dataset(working_dir / "two").keys) == ["img_1", "img_2"]

    def test_what_was_made_of_published_items_is_not_packed(self, dataset, working_dir):
        with pytest.raises(DatasetError, match="Only items as they were published"):
            dataset.select(0).pack(working_dir / "packs")

    def test_a_pack_that_was_touched_is_read_and_one_that_was_changed_is_not(self, dataset, working_dir):
        dataset.pack(working_dir / "packs", packs=1)
        path = working_dir / "packs" / files_below(working_dir / "packs")[0]
        content = path.read_bytes()
        os.utime(path, (1, 1))
        assert np.array_equal(luisy.open_dataset(working_dir / "packs")["img_2"], ARRAYS["img_2"])

        path.write_bytes(content[:-1] + b"x")

        assert np.array_equal(luisy.open_dataset(working_dir / "packs")["img_2"], ARRAYS["img_2"])
        with pytest.raises(InputChangedError, match="other content than its entry"):
            list(luisy.open_dataset(working_dir / "packs"))

    def test_packs_are_of_the_generation_that_is_open(self, working_dir):
        dataset = publish({"a": np.zeros(2), "b": np.ones(2)}).dataset()
        publish({"a": np.zeros(2), "b": np.full(2, 7.0)})

        with pytest.raises(InputChangedError, match=r"b\.npy"):
            dataset.pack(working_dir / "packs")
        dataset[["a"]].pack(working_dir / "one")

        assert not (working_dir / "packs").exists()
        assert list(luisy.open_dataset(working_dir / "one").keys) == ["a"]

    def test_files_of_another_suffix_than_was_asked_for_are_not_packed(self, working_dir):
        path = publish({"a": np.zeros(3)}, task=_two_kinds()).output().path

        luisy.open_dataset(path, suffix=".npy").pack(working_dir / "packs")

        assert list(luisy.open_dataset(working_dir / "packs").keys) == ["a"]

    def test_what_was_never_published_is_an_error(self, working_dir):
        with pytest.raises(MissingInputError, match="Run its task first"):
            luisy.open_dataset(working_dir)

    def test_two_files_of_one_key_must_be_told_apart(self):
        path = publish({"a": np.zeros(3)}, task=_two_kinds()).output().path

        with pytest.raises(DatasetError, match=r"'a.npy' and 'a.json' would both be the item 'a'.*suffix='.npy'"):
            luisy.open_dataset(path)
        assert luisy.open_dataset(path, suffix=".npy")["a"].shape == (3,)
        assert luisy.open_dataset(path, suffix=".json")["a"] == [0, 0, 0]

    def test_items_come_in_the_order_in_which_they_were_added(self, working_dir):
        with luisy.write_dataset(working_dir / "set") as writer:
            for pitch in (200, 1000, 100):
                writer.add(f"sin_{pitch}", np.full(3, pitch))

        added = luisy.open_dataset(working_dir / "set", order="added")

        assert list(luisy.open_dataset(working_dir / "set").keys) == ["sin_100", "sin_1000", "sin_200"]
        assert list(added.keys) == ["sin_200", "sin_1000", "sin_100"]
        assert [int(array[0]) for array in pickle.loads(pickle.dumps(added))] == [200, 1000, 100]
        with pytest.raises(DatasetError, match="Choose one of 'key', 'added'"):
            luisy.open_dataset(working_dir / "set", order="size")

    def test_items_that_were_added_in_another_order_have_another_digest(self, working_dir):
        """Else a state of batches would be taken for one of these, and items be left out or seen twice."""
        digests = set()
        for keys in ("abc", "cba"):
            with luisy.write_dataset(working_dir / "set") as writer:
                for key in keys:
                    writer.add(key, np.full(3, ord(key)))
            digests.add(luisy.open_dataset(working_dir / "set", order="added").digest)

        assert len(digests) == 2

    def test_a_task_adds_items_in_no_order(self):
        path = publish(RAGGED).output().path

        with pytest.raises(DatasetError, match="Leave out order='added'"):
            luisy.open_dataset(path, order="added")

    def test_it_can_be_pickled_and_is_small(self, dataset):
        copy = pickle.loads(pickle.dumps(dataset[2:, 0].window(2).at_epoch(5)))

        layers = [dataset[::-1], dataset.unbind(0).unbind(0), luisy.concat([dataset, dataset], names=["a", "b"])]
        known = [layer.keys[0] for layer in layers]

        assert all(len(pickle.dumps(made)) < 1000 for made in [dataset, *layers])
        assert [pickle.loads(pickle.dumps(layer)).keys[0] for layer in layers] == known
        assert np.array_equal(copy[0], dataset[2:, 0].window(2).at_epoch(5)[0])
        assert copy.digest == dataset[2:].digest

    def test_a_pickled_dataset_of_another_generation_is_refused(self):
        pickled = pickle.dumps(publish({"a": np.zeros(3)}).dataset())
        task = publish({"a": np.zeros(3)})
        task.output().clean()
        publish({"a": np.ones(3)})

        with pytest.raises(InputChangedError, match=r"Generation 1 .* was made anew"):
            pickle.loads(pickled)

    def test_threads_may_share_it(self, dataset):
        wrong = []

        def look():
            wrong.extend(
                number
                for number in range(300)
                if not np.array_equal(dataset[number % 6, 1], ARRAYS[f"img_{number % 6}"][1])
            )

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    def test_structured_and_empty_arrays_and_numbers_come_back(self):
        structured = np.array([(1, 2.5), (3, 4.5)], dtype=[("x", "i2"), ("y", ">f8")])
        dataset = publish({"s": structured, "e": np.zeros((0, 4)), "n": np.float32(7), "f": np.asfortranarray(
            np.arange(6).reshape(2, 3))}).dataset()  # fmt: skip

        assert dataset["s"].dtype == structured.dtype
        assert dataset["s", "y"].tolist() == [2.5, 4.5]
        assert dataset["e"].shape == (0, 4)
        assert dataset["n"].shape == ()
        assert dataset["n"] == 7
        assert np.array_equal(dataset["f"], [[0, 1, 2], [3, 4, 5]])


class TestGenerations:
    @pytest.fixture
    def path(self, working_dir):
        for number in range(3):
            with luisy.write_dataset(working_dir / "set", keep=2) as writer:
                for key in "abc":
                    writer.add(key, np.full(3, number))
        return working_dir / "set"

    @pytest.mark.parametrize("generation", [1, 99, -1, "2"])
    def test_one_that_is_not_kept_is_an_error_that_says_which_are(self, path, generation):
        with pytest.raises(GenerationError, match=r"is not kept; kept are 3, 2|is not kept; kept are 2, 3"):
            luisy.open_dataset(path, generation=generation)

    @pytest.mark.parametrize("is_pickled", [False, True])
    def test_a_manifest_that_was_cut_short_does_not_make_a_smaller_dataset(self, path, is_pickled):
        pickled = pickle.dumps(luisy.open_dataset(path))
        entries = path / ".manifest" / "00000003.jsonl"
        entries.write_bytes(b"".join(entries.read_bytes().splitlines(keepends=True)[:-1]))

        with pytest.raises(DamagedManifestError, match="does not equal the digest"):
            pickle.loads(pickled) if is_pickled else luisy.open_dataset(path, generation=3)

    def test_a_pickled_one_that_is_not_kept_any_more_says_so(self, path):
        pickled = pickle.dumps(luisy.open_dataset(path))
        for number in range(3, 6):
            with luisy.write_dataset(path, keep=1) as writer:
                writer.add("a", np.full(3, number))

        with pytest.raises(InputChangedError, match=r"Generation 3 .* is not kept any more"):
            pickle.loads(pickled)


class TestMasksOfFrames:
    """A column of a frame knows its rows: one that was sorted would select other items by their places."""

    @pytest.mark.parametrize(
        "condition",
        [
            lambda meta: meta.sort_values("mean", ascending=False)["mean"] > 200,
            lambda meta: (meta[::-1]["mean"] > 200).astype("boolean"),
            lambda meta: meta.reset_index().sort_values("mean", ascending=False)["mean"] > 200,
        ],
        ids=["sorted", "nullable", "numbered"],
    )
    def test_a_column_with_rows_in_another_order_is_refused(self, dataset, condition):
        with pytest.raises(DatasetError, match="or in another order"):
            dataset.where(condition)
        with pytest.raises(DatasetError, match="or in another order"):
            dataset[condition(dataset.meta)]

    def test_a_column_with_the_rows_of_the_dataset_selects(self, dataset):
        expected = ["img_2", "img_3", "img_4", "img_5"]
        column = dataset.meta["mean"] > 200

        assert list(dataset.where(column).keys) == list(dataset[column].keys) == expected
        assert list(dataset.where(column.reset_index(drop=True)).keys) == expected
        assert list(dataset.where(column[::-1].to_numpy()[::-1]).keys) == expected

    def test_an_expression_knows_the_variables_of_whoever_asks(self, dataset):
        limit = 400  # noqa: F841 - the expression names it

        assert list(dataset.where("mean > @limit").keys) == ["img_4", "img_5"]

    def test_an_expression_that_gives_a_frame_is_an_error(self, dataset):
        with pytest.raises(DatasetError, match="has to give a bool"):
            dataset.where("other = mean")


class TestWhatIsHandedOut:
    """What a caller does with it has no influence on the dataset."""

    def test_a_frame_that_is_sorted_or_changed(self, dataset):
        frame = dataset.meta
        frame["mean"] = -frame["mean"]

        assert list(dataset.where("mean > 200").keys) == ["img_2", "img_3", "img_4", "img_5"]

    @pytest.mark.parametrize(
        "change",
        [lambda dataset: dataset, lambda dataset: dataset[::-1], lambda dataset: dataset.unbind(0),
         lambda dataset: luisy.concat([dataset, dataset], names=["a", "b"])],
        ids=["published", "taken", "unbound", "joined"],
    )  # fmt: skip
    def test_keys_cannot_be_written_to(self, dataset, change):
        assert isinstance(change(dataset).keys, tuple)

    def test_an_array_whose_shape_is_set(self, dataset):
        for _ in range(2):
            array = dataset[0]
            array.shape = (60,)

        assert dataset[0].shape == (3, 4, 5)

    def test_the_facts_of_an_item(self, dataset):
        def note(array, item):
            item.meta["seen"] = True

        with pytest.raises(TypeError, match="item assignment"):
            dataset.map(note)[0]
        assert "seen" not in dataset.meta


class TestWrongArguments:
    @pytest.mark.parametrize(
        "make",
        [
            lambda dataset: dataset.window(2.5),
            lambda dataset: dataset.window(0),
            lambda dataset: dataset.window(2, start="a"),
            lambda dataset: dataset.window(2, axis=None),
            lambda dataset: dataset.window(2, seed="a"),
            lambda dataset: dataset.at_epoch(-1),
            lambda dataset: dataset.at_epoch(1.5),
            lambda dataset: dataset.map(3),
            lambda dataset: dataset.map(abs, seed=1.5),
            lambda dataset: dataset.unbind("x"),
            lambda dataset: luisy.window("2"),
        ],
    )
    def test_they_are_refused_before_anything_is_read(self, dataset, make):
        with pytest.raises(SettingError):
            make(dataset)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda dataset: luisy.concat([dataset, [1, 2]]), "nothing but datasets"),
            (lambda dataset: luisy.concat(iter([])), "at least one dataset"),
            (lambda dataset: luisy.concat([dataset, dataset], names="ab"), "a list of one for each"),
            (lambda dataset: luisy.concat([dataset, dataset.at_epoch(3)], names=["a", "b"]), r"epochs \[0, 3\]"),
        ],
    )
    def test_what_cannot_be_joined_is_refused(self, dataset, make, message):
        with pytest.raises(DatasetError, match=message):
            make(dataset)

    def test_a_number_without_sign_that_is_too_large_is_no_position(self, dataset):
        with pytest.raises(IndexError, match="no item 18446744073709551615"):
            dataset[np.array([2**64 - 1], np.uint64)]

    def test_what_no_item_can_give_does_not_keep_a_dataset_from_being_shown(self, dataset):
        assert repr(dataset.select(99)) == "DirectoryDataset(6 items)"


class TestForgedManifests:
    """An entry may say whatever somebody has written into it: nothing outside of the output's bytes is looked at."""

    @pytest.fixture
    def view(self, tmp_path):
        path = tmp_path / "x.npy"
        np.save(path, np.arange(10.0))
        state = path.stat()

        def view(*, mtime_ns=state.st_mtime_ns, size=state.st_size, shape=(10,), dtype="<f8", offset=128, pack=None):
            digest = xxhash.xxh3_128_hexdigest(path.read_bytes())
            output = OutputFile("x.npy", size, mtime_ns, digest, shape, dtype, offset, pack)
            return Maps(str(tmp_path)).view(0, output)

        return view

    @pytest.mark.parametrize("mtime_ns", [None, 1], ids=["mapped", "read"])
    @pytest.mark.parametrize(
        "facts",
        [
            {"shape": (11,)},
            {"shape": (2**40, 2**40)},
            {"shape": (-1,)},
            {"shape": (-2, -5)},
            {"offset": -8},
            {"offset": 10**9},
            {"dtype": "O"},
            {"dtype": '[["x", "|O"]]'},
            {"dtype": "nonsense"},
            {"dtype": "["},
            {"dtype": None},
        ],
        ids=str,
    )
    def test_an_array_that_does_not_lie_in_the_file_is_an_error(self, view, facts, mtime_ns):
        with pytest.raises(DamagedManifestError, match=r"'x.npy' is an array of .* hold no such array"):
            view(**facts, **({} if mtime_ns is None else {"mtime_ns": mtime_ns}))

    @pytest.mark.parametrize("facts", [{"start": 0, "offset": 128}, {"start": 150, "offset": 144}], ids=str)
    def test_nor_are_the_bytes_of_another_output_of_its_pack_data(self, view, facts):
        pack = Pack("x.npy", 208, facts["start"])

        with pytest.raises(DamagedManifestError, match="hold no such array"):
            view(size=130, shape=(1,), offset=facts["offset"], pack=pack)


def test_a_child_of_a_fork_reads_though_another_thread_was_at_it(tmp_path):
    """The loader of PyTorch forks, maybe while threads of ours open files."""
    with luisy.write_dataset(tmp_path / "a") as writer:
        writer.add("a", np.arange(3))
    code = f"""
import os, threading, time
import numpy  # which a child could not go on importing
import luisy_dir as luisy
from luisy_dir.storage import system
dataset, real = luisy.open_dataset({str(tmp_path / "a")!r}), system.map_descriptor
is_in, has_forked = threading.Event(), []
def slow(*args):
    if not has_forked:
        is_in.set()
        time.sleep(0.5)
    return real(*args)
system.map_descriptor = slow
thread = threading.Thread(target=dataset.__getitem__, args=(0,))
thread.start()
is_in.wait()
if not (child := os.fork()):
    has_forked.append(True)
    os._exit(int(dataset[0].sum()))
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False, timeout=30
    )

    assert done.stdout == "3\n", done.stderr


def _two_kinds():
    from published import PublishedArrays

    class TwoKindsOfFiles(PublishedArrays):
        def process(self, made, item):
            yield luisy.Output(made[0])
            yield luisy.Output(made[0].tolist(), suffix=".json")

    return TwoKindsOfFiles


_MANY = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
import numpy as np
import luisy_dir as luisy

dataset = luisy.open_dataset(sys.argv[1])
assert len(dataset) == 10_000
held = [array for array in dataset]  # all views at a time
assert [int(array[0]) for array in held] == list(range(10_000))
assert [int(dataset[number, 1]) for number in range(9_999, -1, -7)] == list(range(9_999, -1, -7))
open(sys.argv[1] + "/.manifest/CURRENT").close()  # there still are descriptors
print("seen", len(held))
"""


def test_ten_thousand_items_need_few_descriptors():
    path = publish({f"{number:05}": np.array([number, number]) for number in range(10_000)}).output().path

    done = subprocess.run([sys.executable, "-c", _MANY, path], capture_output=True, text=True, check=False)

    assert done.stdout == "seen 10000\n", done.stderr
