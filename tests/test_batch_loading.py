"""Loading and dumping of batches in memory: nothing is lost, and nothing is put where it is another value."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from luisy_dir import Batch
from luisy_dir.errors import BatchError, SettingError

# Loading


def test_loading_from_nowhere_loses_nothing():
    batch = Batch.from_data(data={"images": [1, 2]})
    with pytest.raises(SettingError, match="load has no src"):
        batch.load()
    with pytest.raises(SettingError, match="load has no src"):
        batch.load(dst="images")
    assert batch.images.tolist() == [1, 2]


def test_a_batch_is_no_source_and_the_advice_is_one():
    other = Batch.from_data(["a", "b", "c"], {"images": [1, 2, 3]})
    batch = Batch(["c", "a"])
    with pytest.raises(BatchError, match=r"batch.data = other\[batch.indices.tolist\(\)\].data"):
        batch.load(other)
    batch.data = other[batch.indices.tolist()].data
    assert batch.images.tolist() == [3, 1]


def test_parts_of_a_tuple_are_components_and_never_rows():
    batch = Batch([0, 1])
    with pytest.raises(BatchError, match="A tuple of 2 parts is to be loaded into 1 components"):
        batch.load((np.arange(2), np.arange(2) * 10), dst="images")
    assert batch.load((np.arange(2),), dst="images").images.tolist() == [0, 1]


@pytest.mark.parametrize("dst", [3, ("images", "images"), [], {}])
def test_names_that_are_none_are_refused(dst):
    batch = Batch.from_data(data={"images": [1, 2]})
    with pytest.raises(BatchError, match="no name of a component"):
        batch.load((np.arange(2), np.arange(2)), dst=dst)
    with pytest.raises(BatchError, match="no name of a component"):
        batch.dump({}, components=dst)


@pytest.mark.parametrize("dst", [None, "features", "together", ("features",)])
def test_what_was_loaded_may_be_changed_and_its_frame_stays_as_it_is(dst):
    frame = pd.DataFrame({"features": [1, 2], "labels": [3, 4]})
    batch = Batch([1, 0]).load(frame, dst=dst)
    for name in batch.components:
        batch.table[name][:] = 7
    assert frame.to_numpy().tolist() == [[1, 3], [2, 4]]


# Dumping


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([1e300]), "f4"),
        (np.array([1e5], "f4"), "f2"),
        (np.array([2**53 + 1]), "f8"),
        (np.array([2**24 + 1]), "f4"),
        (np.array(["2020-01-01T00:00:00.5"], "M8[ms]"), "M8[s]"),
        (np.array(["9020-01-01"], "M8[s]"), "M8[ns]"),
        (np.array([1e300 + 1j]), "c8"),
    ],
)
def test_values_that_would_be_others_are_not_dumped(values, dtype):
    everything = np.ones(2, dtype)
    before = everything.copy()
    with pytest.raises(BatchError, match="do not go into"):
        Batch.from_data(data={"features": values}).dump(everything)
    assert np.array_equal(everything, before)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0.1, np.nan, np.inf]), "f4"),
        (np.array([2**53, 7]), "f8"),
        (np.array(["2020-01-01", "NaT"], "M8[D]"), "M8[ns]"),
        (np.array(["2020-01-01", "NaT"], "M8[ns]"), "M8[s]"),
    ],
)
def test_values_that_stay_what_they_are_are_dumped(values, dtype):
    everything = np.zeros(len(values), dtype)
    Batch.from_data(data={"features": values}).dump(everything)
    np.testing.assert_array_equal(everything, values.astype(dtype))


def read_only():
    array = np.zeros(2)
    array.setflags(write=False)
    return array


@pytest.mark.parametrize(
    "second",
    [
        read_only(),
        pd.DataFrame({"labels": pd.Categorical(["cat", "dog"])}),
        pd.DataFrame({"labels": ["cat", "dog"]}),
        pd.DataFrame({"labels": pd.array([1, 2], dtype="Int64")}),
    ],
    ids=["read-only", "categories", "texts", "whole numbers"],
)
def test_nothing_is_put_where_a_part_of_it_does_not_fit(second):
    first = np.zeros(2)
    batch = Batch.from_data(data={"features": np.array([1.5, 2.5]), "labels": np.array([1.5, 2.5])})
    with pytest.raises(BatchError, match="'labels'"):
        batch.dump((first, second))
    assert first.tolist() == [0, 0]


def test_a_mapping_takes_several_components_only_where_it_has_all_their_names():
    images = np.zeros(2)
    batch = Batch.from_data(data={"images": [1, 2], "labels": [3, 4]})
    with pytest.raises(BatchError, match="2 components are to be dumped into one dict"):
        batch.dump({"images": images})
    labels = np.zeros(2)
    batch.dump({"images": images, "labels": labels, "others": None})
    assert (images.tolist(), labels.tolist()) == ([1, 2], [3, 4])


def test_a_new_column_with_gaps_takes_no_whole_number_that_a_float_is_not():
    frame = pd.DataFrame(index=range(3))
    with pytest.raises(BatchError, match="'features' has values of dtype int64"):
        Batch.from_data([2, 0], {"features": np.array([2**53 + 1, 1])}).dump(frame)
    Batch.from_data([2, 0, 1], {"features": np.array([2**53 + 1, 1, 2])}).dump(frame)
    assert frame.features.tolist() == [1, 2, 2**53 + 1]


@pytest.mark.parametrize("dst", ["x", ("x",)])
def test_whole_numbers_stay_what_they_are_where_some_are_missing_or_beside_floats(dst):
    column = pd.Series([2**53 + 1, None, 3], dtype="Int64")
    batch = Batch(3).load(src=pd.DataFrame({"x": column}), dst=dst)
    assert batch.x[0] == 2**53 + 1
    assert Batch(3).load(src=column, dst="x").x[0] == 2**53 + 1
    beside = pd.DataFrame({"n": [2**53 + 1, 2], "f": [0.5, 1.5]})
    assert Batch(2).load(src=beside, dst="both").both.tolist() == [[2**53 + 1, 0.5], [2, 1.5]]
    small = pd.DataFrame({"n": [1, 2], "f": [0.5, 1.5]})
    assert Batch(2).load(src=small, dst="both").both.dtype == float


def test_times_are_no_ids():
    with pytest.raises(BatchError, match=r"datetime64\[ns\].*astype\(str\)"):
        Batch(np.array(["2026-01-01"], "datetime64[ns]"))


def test_a_number_is_no_class_of_datasets():
    with pytest.raises(BatchError, match="class of 5"):
        Batch(2).as_dataset(5)
