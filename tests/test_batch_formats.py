"""Batches in files: what is dumped is what is loaded, item by item, whatever the format."""

from __future__ import annotations

import importlib.util
import os
import stat

import numpy as np
import pandas as pd
import pytest
from pyarrow import feather, parquet

from luisy_dir import Batch
from luisy_dir.batch.files import FORMATS
from luisy_dir.errors import BatchError, MissingExtraError, OutputError, SettingError, UnknownItemError

TABLES = ["csv", "feather", "parquet"]
WITH_AXES = sorted(set(FORMATS) - {"csv"})


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "batch.data")


def back(path, fmt, ids, dst=None, **options):
    return Batch(ids).load(src=path, fmt=fmt, dst=dst, **options)


# Ids


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_shuffled_batch_comes_back_item_by_item(path, fmt):
    Batch.from_data([2, 0, 1], {"features": [20, 0, 10]}).dump(path, fmt)
    assert back(path, fmt, [2, 0, 1]).features.tolist() == [20, 0, 10]
    assert back(path, fmt, [0, 1]).features.tolist() == [0, 10]


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize(
    "ids",
    [
        ["b", "a", "c"],
        ["007", "7", "1e3"],
        ["NA", "", "null"],
        ["a,b", 'say "x"', "two\nlines"],
        ["ünï/cödé", "\U0001f600", " a "],
        ["cr\rhere", "a\r\nb", "-"],
    ],
)
def test_ids_that_are_texts_stay_what_they_are(path, fmt, ids):
    """Also those that look like numbers or like nothing."""
    Batch.from_data(ids, {"features": [1, 2, 3]}).dump(path, fmt)
    assert [back(path, fmt, [item_id]).features[0] for item_id in ids] == [1, 2, 3]


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("ids", [[-1, 2**62, 5], np.array([255, 0, 7], dtype=np.uint8), range(10, 13)])
def test_ids_that_are_numbers_stay_what_they_are(path, fmt, ids):
    Batch.from_data(ids, {"features": [1, 2, 3]}).save(path, fmt)
    assert back(path, fmt, list(ids)[::-1]).features.tolist() == [3, 2, 1]


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_index_of_a_frame_stays_what_it_is(path, fmt):
    frame = pd.DataFrame({"features": [1, 2]}, index=["1001", "1000"])
    batch = Batch.from_data(data=frame).dump(path, fmt)
    assert Batch(batch.indices).load(path, fmt).features.tolist() == [1, 2]


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_item_that_the_file_has_not_is_named(path, fmt):
    Batch.from_data([2, 0, 1], {"features": [20, 0, 10]}).dump(path, fmt)
    with pytest.raises(UnknownItemError, match="no rows of the items 3"):
        back(path, fmt, [0, 3])


def test_rows_that_cannot_be_told_apart_are_named(path):
    pd.DataFrame({"id": ["a", "b", "a"], "features": [1, 2, 3]}).to_csv(path, index=False)
    for ids in (["a"], ["b"]):
        with pytest.raises(
            UnknownItemError, match=r"batch\.data' has several rows of the items 'a'\. Keep one of each"
        ):
            back(path, "csv", ids)


@pytest.mark.parametrize("fmt", FORMATS)
def test_items_that_a_file_could_not_tell_apart_are_refused(path, fmt):
    with pytest.warns(UserWarning, match="same id"):
        batch = Batch.from_data([7, 8, 7], {"features": [1, 2, 3]})
    with pytest.raises(BatchError, match="ids 7, which a file could not tell apart"):
        batch.dump(path, fmt)
    assert not os.path.exists(path)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("ids", [[1, "1"], [1.5, 2.5], ["a\0", "b"]])
def test_ids_that_a_file_would_change_are_refused(path, fmt, ids):
    objects = np.empty(2, dtype=object)
    objects[:] = ids
    with pytest.raises(BatchError, match="whole numbers or texts"):
        Batch.from_data(objects, {"features": [1, 2]}).dump(path, fmt)
    assert not os.path.exists(path)


# Components


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize(
    "values",
    [
        np.array([1, -2, 3], np.int8),
        np.array([2**64 - 1, 0, 1], np.uint64),
        np.array([0.1, np.nan, -np.inf]),
        np.array([1 / 3, 2e-300, 5e-324]),
        np.array([0.1, 2, 3], np.float32),
        np.array([1, 2, 3], ">f8"),
        np.array([True, False, True]),
        np.array(["cat", "dög", "cat, dog"]),
        np.array(["cat", "dog", "mouse"], dtype=object),
    ],
    ids=str,
)
def test_values_come_back(path, fmt, values):
    Batch.from_data([2, 0, 1], {"features": values}).dump(path, fmt)
    features = back(path, fmt, [2, 0, 1]).features
    expected = values.astype(str) if values.dtype == object else values
    assert features.dtype.kind == expected.dtype.kind
    np.testing.assert_array_equal(features.astype(expected.dtype), expected)


@pytest.mark.parametrize("fmt", sorted(set(FORMATS) - {"csv"}))
def test_a_format_that_knows_dtypes_keeps_them(path, fmt):
    values = np.array([1, 2, 3], np.uint16)
    Batch.from_data(3, {"features": values, "weights": values.astype(np.float32)}).dump(path, fmt)
    batch = back(path, fmt, 3)
    assert (batch.features.dtype, batch.weights.dtype) == (np.uint16, np.float32)


@pytest.mark.parametrize("dtype", ["u1", "f8", "U3", "U5", "S7", "c16", "M8[s]"])
@pytest.mark.parametrize("length", [1, 700, 300_001])
def test_blosc_drops_no_end_of_values_of_any_size(path, dtype, length):
    values = np.random.default_rng(0).integers(0, 10, length).astype(dtype)
    Batch(length).add_components("features", values).dump(path, "blosc")
    np.testing.assert_array_equal(back(path, "blosc", length).features, values)


@pytest.mark.parametrize("fmt", WITH_AXES)
def test_components_with_axes_come_back(path, fmt):
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 2)).astype(np.uint8)
    Batch.from_data(["b", "c", "a"], {"images": images, "labels": [1, 2, 3]}).dump(path, fmt)
    batch = back(path, fmt, ["a", "b"])
    np.testing.assert_array_equal(batch.images, images[[2, 0]])
    assert (batch.labels.tolist(), batch.components) == ([3, 1], ("images", "labels"))


@pytest.mark.parametrize("fmt", sorted(set(WITH_AXES) - {"hdf5"}))
def test_components_come_back_in_their_order(path, fmt):
    """In HDF5 they are by name."""
    Batch.from_data(2, {"labels": [1, 2], "images": np.zeros((2, 3)), "ages": [3, 4]}).dump(path, fmt)
    assert back(path, fmt, 2).components == ("labels", "images", "ages")


def test_csv_has_no_place_for_axes_and_says_what_has(path):
    batch = Batch.from_data(data={"images": np.zeros((2, 3, 3))})
    with pytest.raises(BatchError, match=r"'images' has items of shape \(3, 3\), and csv .* fmt='npz'"):
        batch.dump(path, "csv")
    assert not os.path.exists(path)


@pytest.mark.parametrize("fmt", ["parquet", "feather"])
@pytest.mark.parametrize(
    "values", [np.zeros((2, 3, 3), bool), np.zeros((2, 3), np.longdouble), np.zeros((2, 0))], ids=str
)
def test_a_table_whose_items_cannot_have_axes_of_that_dtype_says_what_can(path, fmt, values):
    with pytest.raises(BatchError, match=r"integers and floats only.*fmt='npz'"):
        Batch.from_data(data={"masks": values}).dump(path, fmt)


@pytest.mark.parametrize("fmt", ["npz", "blosc", "hdf5"])
def test_masks_come_back_from_formats_of_arrays(path, fmt):
    masks = np.random.default_rng(0).random((2, 3, 3)) > 0.5
    Batch.from_data(data={"masks": masks}).dump(path, fmt)
    np.testing.assert_array_equal(back(path, fmt, 2).masks, masks)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("values", [[np.zeros(1), np.zeros(2)], [1, "1"], ["a", None], [{}, {}]], ids=str)
def test_objects_are_never_pickled(path, fmt, values):
    with pytest.raises(BatchError, match=r"^The component 'features' holds objects"):
        Batch.from_data(data={"features": values}).dump(path, fmt)
    assert not os.path.exists(path)


@pytest.mark.parametrize("values", [["1", "2"], ["NA", "x"], ["", "x"], ["True", "False"]])
def test_texts_that_csv_would_change_are_refused(path, values):
    batch = Batch.from_data(data={"labels": values})
    with pytest.raises(BatchError, match=r"'labels' has texts .* fmt='parquet'"):
        batch.dump(path, "csv")
    batch.dump(path, "parquet")
    assert back(path, "parquet", 2).labels.tolist() == values


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_batch_of_no_items_comes_back(path, fmt):
    Batch.from_data([], {"features": np.zeros(0)}).dump(path, fmt)
    assert back(path, fmt, []).features.shape == (0,)


@pytest.mark.parametrize("fmt", FORMATS)
def test_components_are_selected_when_they_are_dumped_and_when_they_are_loaded(path, fmt):
    batch = Batch.from_data([1, 0], {"features": [10, 0], "labels": [11, 1], "other": [12, 2]})
    batch.dump(path, fmt, components=("features", "labels"))
    assert back(path, fmt, [1, 0]).components == ("features", "labels")
    assert back(path, fmt, [1, 0], "labels").labels.tolist() == [11, 1]
    assert back(path, fmt, [1, 0], ("labels",)).components == ("labels",)
    with pytest.raises(BatchError, match="no parts 'other'; it has 'features', 'labels'"):
        back(path, fmt, [1, 0], ("other",))


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_batch_with_components_loads_those_that_it_has(path, fmt):
    Batch.from_data([1, 0], {"features": [10, 0], "labels": [11, 1]}).dump(path, fmt)
    batch = Batch([0, 1]).add_components("labels").load(path, fmt)
    assert (batch.components, batch.labels.tolist()) == (("labels",), [1, 11])


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_component_of_the_name_that_the_ids_have_is_refused(path, fmt):
    with pytest.raises(BatchError, match="Give it another"):
        Batch.from_data(data={"id": [1, 2]}).dump(path, fmt)


@pytest.mark.parametrize("fmt", FORMATS)
def test_data_without_a_name_is_loaded_into_a_component_or_asked_for_its_name(path, fmt):
    Batch.from_data([1, 0], np.array([10, 0])).dump(path, fmt)
    assert back(path, fmt, [0, 1], "features").features.tolist() == [0, 10]
    with pytest.raises(BatchError, match="Name the data first"):
        Batch.from_data([1, 0], (np.array([10, 0]), np.array([1, 2]))).dump(path, fmt)


# Files of others


def test_columns_of_a_file_are_loaded_by_the_ids_in_one_of_them(path):
    pd.DataFrame({"features": [0, 2, 4, 6], "labels": [1, 3, 5, 7]}).to_csv(path)
    batch = back(path, "csv", [1, 3], ("features", "labels"), index_col=0)
    assert (batch.features.tolist(), batch.labels.tolist()) == ([2, 6], [3, 7])
    assert back(path, "csv", [1, 3], "features", index_col=0).features.tolist() == [2, 6]


@pytest.mark.parametrize("fmt", TABLES)
def test_the_column_of_the_ids_is_named(path, fmt):
    frame = pd.DataFrame({"features": [0, 2], "name": ["b", "01"]})
    write = {"csv": lambda: frame.to_csv(path, index=False), "feather": lambda: frame.to_feather(path)}
    write.get(fmt, lambda: frame.to_parquet(path))()
    assert back(path, fmt, ["01", "b"], "features", index_col="name").features.tolist() == [2, 0]
    with pytest.raises(BatchError, match=r"no column 'nam'|nam"):
        back(path, fmt, ["01", "b"], "features", index_col="nam")


@pytest.mark.parametrize("fmt", TABLES)
def test_without_ids_the_id_of_a_row_is_its_position(path, fmt):
    frame = pd.DataFrame({"x": [0.0, 2, 4, 6], "y": [1.0, 3, 5, 7]})
    write = {"csv": lambda: frame.to_csv(path, index=False), "feather": lambda: frame.to_feather(path)}
    write.get(fmt, lambda: frame.to_parquet(path))()
    assert back(path, fmt, [3, 1], "both").both.tolist() == [[6, 7], [2, 3]]


def test_a_csv_file_may_be_said_to_have_no_ids(path):
    """Then rows are those of the items in their order."""
    pd.DataFrame({"id": [7, 8], "features": [1, 2]}).to_csv(path, index=False)
    batch = back(path, "csv", ["b", "a"], ("id", "features"), index_col=False)
    assert (batch.id.tolist(), batch.features.tolist()) == ([7, 8], [1, 2])


def test_arrays_of_numpy_are_loaded_by_their_names(path):
    np.savez(path, images=np.arange(4) * 10, masks=np.arange(4))
    assert back(f"{path}.npz", "npz", [3, 1], ("masks", "images")).images.tolist() == [30, 10]


def test_a_table_that_pandas_reads_has_the_ids_as_its_index(path):
    Batch.from_data(["b", "a"], {"features": [1, 2]}).dump(path, "parquet")
    assert pd.read_parquet(path).features.to_dict() == {"b": 1, "a": 2}


def test_hdf5_of_pandas_is_refused_because_it_may_hold_pickles(tmp_path):
    path = str(tmp_path / "frame.h5")
    pd.DataFrame({"features": [0, 2]}).to_hdf(path, key="frame")
    with pytest.raises(BatchError, match=r"pandas\.read_hdf"):
        back(path, "hdf5", [0, 1])


def test_parts_of_other_numbers_of_rows_are_no_components(path):
    np.savez(path, images=np.arange(4), masks=np.arange(3))
    with pytest.raises(BatchError, match=r"numbers of rows are \{'images': 4, 'masks': 3\}"):
        back(f"{path}.npz", "npz", [0, 1])


def test_parts_with_axes_are_not_one_component(path):
    np.savez(path, images=np.zeros((4, 2)), masks=np.zeros((4, 2)))
    with pytest.raises(BatchError, match="not one component together"):
        back(f"{path}.npz", "npz", [0, 1], "both")


def test_pickles_in_an_archive_are_refused(path):
    np.savez(path, images=np.array([{}, {}], dtype=object))
    with pytest.raises(BatchError, match="cannot be read as npz"):
        back(f"{path}.npz", "npz", [0, 1])


@pytest.mark.parametrize("fmt", ["feather", "parquet"])
def test_ids_are_found_in_a_table_that_knows_of_no_index(path, fmt):
    """As other libraries write it."""
    Batch.from_data([1, 2, 0], {"features": [10, 20, 0]}).dump(path, fmt)
    table = (feather.read_table if fmt == "feather" else parquet.read_table)(path).replace_schema_metadata(None)
    (feather.write_feather if fmt == "feather" else parquet.write_table)(table, path)
    assert back(path, fmt, [0, 1, 2]).features.tolist() == [0, 10, 20]


def test_ids_may_be_in_any_column_of_a_csv_file(path):
    pd.DataFrame({"features": [10, 0], "id": ["01", "1"]}).to_csv(path, index=False)
    assert back(path, "csv", ["1", "01"]).features.tolist() == [0, 10]


def test_labels_that_are_no_positions_are_ids(path):
    """Of a part of a frame pandas notes but where its labels begin, and in which steps they go."""
    frame = pd.DataFrame({"features": [0, 10, 20, 30]})
    frame[::-1].to_parquet(path)
    assert back(path, "parquet", [0, 3]).features.tolist() == [0, 30]
    frame[2:].to_parquet(path)
    assert back(path, "parquet", [2, 3]).features.tolist() == [20, 30]
    with pytest.raises(UnknownItemError, match="no rows of the items 0"):
        back(path, "parquet", [0])


def test_an_archive_whose_ids_were_renamed_is_refused(path):
    """Else the id of a row would be its position."""
    Batch.from_data([1, 0], {"features": [10, 0]}).dump(path, "npz")
    with open(path, "rb") as file:
        content = file.read()
    with open(path, "wb") as file:
        file.write(content.replace(b"id.npy", b"id.npx"))
    with pytest.raises(BatchError, match=r"'id.npx', where all names have to end in '.npy'"):
        back(path, "npz", [0, 1])


@pytest.mark.parametrize("key", ["other", "features", "/features/id"])
def test_a_group_that_is_not_there_is_named(path, key):
    Batch.from_data([1, 0], {"features": [10, 0]}).dump(path, "hdf5", key="some/where")
    with pytest.raises(BatchError, match=r"There is no group .*; there are '/some/where'"):
        back(path, "hdf5", [0, 1], key=key)


# Options


@pytest.mark.parametrize(
    ("fmt", "writing", "reading"),
    [
        ("npz", {"compression": 8}, {}),
        ("blosc", {"clevel": 9}, {}),
        ("csv", {"sep": ";"}, {"sep": ";"}),
        ("hdf5", {"compression": "gzip", "key": "some/where"}, {"key": "some/where"}),
        ("feather", {"compression": "zstd"}, {"memory_map": False}),
        ("parquet", {"compression": "gzip"}, {"columns": ["id", "features"]}),
    ],
)
def test_options_are_passed_to_the_format(path, fmt, writing, reading):
    batch = Batch.from_data([1, 0], {"features": np.array([10, 0])})
    batch.dump(path, fmt)
    with open(path, "rb") as file:
        plain = file.read()
    os.unlink(path)
    batch.dump(path, fmt, **writing)
    with open(path, "rb") as file:
        assert file.read() != plain
    assert back(path, fmt, [0, 1], **reading).features.tolist() == [0, 10]


@pytest.mark.parametrize(
    "options", [{"encoding": "latin-1"}, {"compression": "gzip"}, {"compression": "xz", "sep": ";"}]
)
def test_bytes_of_csv_are_what_the_options_say(path, options):
    Batch.from_data(["ä", "ö"], {"labels": ["ü", "ß"]}).dump(path, "csv", **options)
    assert back(path, "csv", ["ö", "ä"], **options).labels.tolist() == ["ß", "ü"]
    assert pd.read_csv(path, index_col=0, **options).labels.tolist() == ["ü", "ß"]


def test_a_file_that_is_to_be_gone_on_with_is_not_replaced(path):
    batch = Batch.from_data([1, 0], {"features": [10, 0]}).dump(path, "csv")
    with pytest.raises(SettingError, match="'mode'"):
        batch.dump(path, "csv", mode="a")


@pytest.mark.parametrize(
    ("first", "second"), [("train", "test"), ("/", "test"), ("train", "/"), ("train", "train/more")]
)
def test_a_group_of_another_key_is_not_lost(path, first, second):
    """A file is written as a whole, and so has one group."""
    batch = Batch.from_data([1, 0], {"features": [10, 0]}).dump(path, "hdf5", key=first)
    with pytest.raises(BatchError, match="which would be gone"):
        batch.dump(path, "hdf5", key=second)
    assert back(path, "hdf5", [0, 1], key=first).features.tolist() == [0, 10]
    Batch.from_data([1], {"labels": [11]}).dump(path, "hdf5", key=first)
    assert back(path, "hdf5", [1], key=first).components == ("labels",)


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_option_that_the_format_has_not_is_named(path, fmt):
    batch = Batch.from_data(data={"features": [10, 0]})
    with pytest.raises((SettingError, BatchError), match="colour"):
        batch.dump(path, fmt, colour="red")
    batch.dump(path, fmt)
    with pytest.raises((SettingError, BatchError), match="colour"):
        back(path, fmt, 2, colour="red")


# Files


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_file_is_written_as_a_whole_and_nothing_is_left_beside_it(tmp_path, fmt):
    path = tmp_path / "batch.data"
    Batch.from_data(data={"features": [1, 2]}).dump(path, fmt)
    before = os.stat(path).st_ino
    Batch.from_data(data={"features": [3, 4]}).dump(path, fmt)
    assert os.stat(path).st_ino != before
    assert os.listdir(tmp_path) == ["batch.data"]
    assert Batch(2).load(path, fmt).features.tolist() == [3, 4]


@pytest.mark.parametrize("fmt", FORMATS)
def test_what_cannot_be_written_leaves_the_former_file(path, fmt):
    Batch.from_data(data={"features": [1, 2]}).dump(path, fmt)
    with pytest.raises(BatchError):
        Batch.from_data(data={"features": [{}, 2]}).dump(path, fmt)
    assert back(path, fmt, 2).features.tolist() == [1, 2]


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_mask_of_values_is_not_lost(path, fmt):
    values = np.ma.array([1, 2, 3], mask=[False, True, False])
    with pytest.raises(BatchError, match="'features' is a masked array"):
        Batch.from_data(3, {"features": values}).dump(path, fmt)


@pytest.mark.parametrize("fmt", FORMATS)
def test_ids_may_have_any_order_of_bytes(path, fmt):
    Batch.from_data(np.array([300, 1], ">i4"), {"features": [1, 2]}).dump(path, fmt)
    assert back(path, fmt, [1, 300]).features.tolist() == [2, 1]


@pytest.mark.parametrize("fmt", FORMATS)
def test_texts_of_the_dtype_of_strings_come_back(path, fmt):
    texts = np.array(["cat", "a longer text"], dtype=np.dtypes.StringDType())
    Batch.from_data(texts, {"labels": texts}).dump(path, fmt)
    assert back(path, fmt, ["a longer text"]).labels.tolist() == ["a longer text"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere'$"):
        Batch.from_data(2, {"features": [1, 2]}).dump(tmp_path / "nowhere" / "batch.npz", "npz")


def test_a_pipe_is_not_replaced(path):
    os.mkfifo(path)
    with pytest.raises(OutputError, match="is a device or a pipe"):
        Batch.from_data(2, {"features": [1, 2]}).dump(path, "npz")
    assert stat.S_ISFIFO(os.stat(path).st_mode)


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    for name, values in (("first", [1, 2]), ("link", [3, 4])):
        Batch.from_data(2, {"features": values}).dump(tmp_path / name, "npz")
        if name == "first":
            os.symlink("first", tmp_path / "link")
    assert back(tmp_path / "first", "npz", 2).features.tolist() == [1, 2]
    assert back(tmp_path / "link", "npz", 2).features.tolist() == [3, 4]


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_same_batch_is_the_same_bytes(tmp_path, fmt):
    batch = Batch.from_data(["b", "a"], {"features": [1.5, 2], "labels": ["x", "y"]})
    contents = []
    for name in "ab":
        batch.dump(tmp_path / name, fmt)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("fmt", WITH_AXES)
def test_the_same_values_are_the_same_bytes_however_they_lie_in_memory(tmp_path, fmt):
    images = np.arange(24.0).reshape(3, 4, 2)
    for name, array in (("a", images), ("b", np.asfortranarray(images)), ("c", np.repeat(images, 2, axis=1)[:, ::2])):
        Batch.from_data(3, {"images": array}).dump(tmp_path / name, fmt)
    assert len({(tmp_path / name).read_bytes() for name in "abc"}) == 1


@pytest.mark.parametrize("fmt", sorted(set(FORMATS) - {"csv"}))
@pytest.mark.parametrize("content", [b"", b"no such file", b"PK\3\4" + bytes(100)])
def test_a_file_of_another_kind_is_refused(path, fmt, content):
    with open(path, "wb") as file:
        file.write(content)
    with pytest.raises(BatchError, match=f"batch.data' cannot be read as {fmt}"):
        back(path, fmt, 2, "features")


@pytest.mark.parametrize("fmt", WITH_AXES)
def test_a_file_that_was_cut_short_is_refused(path, fmt):
    Batch.from_data(data={"features": np.arange(1000), "labels": np.arange(1000)}).dump(path, fmt)
    with open(path, "rb") as file:
        content = file.read()
    for length in (len(content) // 3, len(content) // 2, len(content) - 5):
        with open(path, "wb") as file:
            file.write(content[:length])
        with pytest.raises(BatchError):
            back(path, fmt, 1000)


def test_a_file_that_is_not_there_is_an_error_of_its_own(path):
    with pytest.raises(FileNotFoundError):
        back(path, "npz", 2)


def test_a_format_goes_with_the_name_of_a_file(path):
    with pytest.raises(SettingError, match="goes the name of a file, but there is a list"):
        Batch(2).load(src=[1, 2], fmt="npz", dst="a")
    with pytest.raises(SettingError, match="goes the name of a file, but there is a dict"):
        Batch.from_data(data={"a": [1, 2]}).dump({}, "csv")


@pytest.mark.parametrize(("fmt", "library"), [("blosc", "blosc2"), ("hdf5", "h5py"), ("feather", "pyarrow")])
def test_a_library_that_is_not_installed_is_named_with_its_extra(path, fmt, library, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == library else find(name))
    with pytest.raises(MissingExtraError, match=rf"{library}.*luisy_dir\[{fmt}\]"):
        Batch.from_data(data={"a": [1, 2]}).dump(path, fmt)
