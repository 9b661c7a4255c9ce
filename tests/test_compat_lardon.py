"""Lardon's programs run with the import line changed, what failed there works here, and nothing is ever lost."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import files_below
from hypothesis import given
from hypothesis import strategies as st

import luisy_dir as luisy
from luisy_dir.compat import lardon
from luisy_dir.compat.lardon import (
    LardonParser,
    OfflineDataList,
    OfflineEntry,
    Selector,
    checkdir,
    parse_folder,
    randslice,
)
from luisy_dir.errors import (
    BusyError,
    CollationError,
    DatasetError,
    DefinitionError,
    ForeignDirectoryError,
    InputChangedError,
    InputError,
    KeyCollisionError,
    MissingInputError,
    SettingError,
    UnknownKeyError,
)
from luisy_dir.generations import rollback
from luisy_dir.storage import system

DUMB = np.arange(1001).reshape(7, 11, 13)
SMALL = np.arange(210).reshape(5, 6, 7)
STEPS = [np.arange(1, 2 * n + 1).reshape(n, 2) for n in (1, 2, 3, 4)]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    lardon.seed(None)


@pytest.fixture(autouse=True)
def no_test_holds_a_map(request):
    """What a fixture has made holds maps until the test is torn down."""
    yield
    request.node.funcargs.clear()


def save(folder, arrays):
    for name, array in arrays.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
    return folder


def written(arrays, target="parsed", **options):
    """The arrays by name, or pairs with metadata, parsed and opened."""
    with LardonParser(None, target) as parser:
        for name, given_ in arrays.items():
            data, metadata = given_ if isinstance(given_, tuple) else (given_, {})
            parser.register(data, metadata, name)
    return parse_folder(target, **options)


def number_of(path):
    return int(Path(path).stem.rpartition("_")[2])


def dumb_callback(filename):
    with open(filename, "rb") as file:
        return np.load(file), {"dumb_meta": number_of(filename)}


@pytest.fixture
def root():
    """Ten files of one shape, the content of each another."""
    return save("dumb/data", {f"dumb_{n}.npy": DUMB + n for n in range(10)})


@pytest.fixture
def dumb(root):
    return lardon.compile(root, "dumb/parsed", callback=dumb_callback)


@pytest.fixture
def ragged_root():
    """The set of lardon's documentation."""
    shapes = [(10, n, 23, m) for n, m in [(2, 721), (3, 892), (4, 700), (2, 850)]]
    return save("dumb/data", {f"dumb_{n}.npy": np.arange(np.prod(s)).reshape(s) for n, s in enumerate(shapes)})


@pytest.fixture
def ragged(ragged_root):
    return lardon.compile(ragged_root, "dumb/parsed")


class TestTheCases:
    """One after the other, in lardon's spelling."""

    def test_1_a_folder_is_compiled(self, root):
        offline_list = lardon.compile(root, "out", callback=dumb_callback)

        assert len(offline_list) == 10
        assert offline_list.ndim == 4
        assert offline_list.shape == (10, 7, 11, 13)
        assert files_below("out") == [f"dumb_{n}.npy" for n in range(10)]
        assert lardon.is_parsed("out")
        for n in range(10):
            assert np.array_equal(np.load(f"out/dumb_{n}.npy"), DUMB + n)

    def test_2_a_parser_registers_what_its_block_reads(self, root):
        with LardonParser(root, "out", valid_exts=[".npy"]) as parser:
            assert len(list(parser)) == 10
            for path in parser:
                parser.register(np.load(path), {"dumb_meta": number_of(path)}, path)

        data, metadata = parse_folder("out", return_metadata=True)[:]
        assert [array.shape for array in data] == [(7, 11, 13)] * 10
        assert metadata == [{"dumb_meta": n} for n in range(10)]
        one, its_metadata = parse_folder("out", return_metadata=True)[3]
        assert np.array_equal(one, DUMB + 3)
        assert its_metadata == {"dumb_meta": 3}

    def test_2_what_is_raised_in_the_block_leaves_no_dataset(self, root):
        with pytest.raises(RuntimeError), LardonParser(root, "out") as parser:
            parser.register(DUMB, {}, parser.files[0])
            raise RuntimeError

        assert not os.path.exists("out")
        assert not lardon.is_parsed("out")
        assert os.listdir(".") == ["dumb"]

    def test_3_generated_data_stays_in_the_order_of_its_registration(self):
        time = np.linspace(0, 1, 44100)
        waves = {f: np.sin(2 * np.pi * f * time) for f in range(100, 1000, 100)}
        with LardonParser(None, "out") as parser:
            assert list(parser) == []
            for frequency, wave in waves.items():
                parser.register(wave, {"freq": frequency}, f"sin_{frequency}")

        offline_list = parse_folder("out")
        assert offline_list.files == [f"sin_{f}.npy" for f in waves]
        assert [os.path.basename(entry.file) for entry in offline_list.entries] == offline_list.files
        for position, (frequency, wave) in enumerate(waves.items()):
            assert np.array_equal(offline_list[position], wave)
            assert offline_list.entries[position].metadata == {"freq": frequency}

    def test_3_an_order_that_is_not_that_of_names_stays_too(self):
        offline_list = written({name: np.array([ord(name)]) for name in "cab"})

        assert [int(array[0]) for array in offline_list] == list(map(ord, "cab"))

    @pytest.mark.parametrize("depth", [0, 1, 2])
    def test_4_an_integer_at_each_depth(self, dumb, depth):
        index = (slice(None),) * depth + (1,)

        assert np.array_equal(dumb[(0, *index)], DUMB[index])

    @pytest.mark.parametrize("axes", [(0, 1), (0, 2), (1, 2)])
    def test_5_two_integers(self, dumb, axes):
        index = [slice(None)] * 3
        index[axes[0]], index[axes[1]] = 1, 2

        assert np.array_equal(dumb[(0, *index)], DUMB[tuple(index)])

    @pytest.mark.parametrize("depth", [0, 1, 2])
    def test_6_slices_up_to_the_whole_axis(self, dumb, depth):
        for k in range(1, DUMB.shape[depth] + 1):
            index = (slice(None),) * depth + (slice(0, k),)
            assert np.array_equal(dumb[(0, *index)], DUMB[index])

    def test_7_several_indices_at_a_time(self, ragged_root, ragged):
        for position, entry in enumerate(ragged.entries):
            original = np.load(f"{ragged_root}/dumb_{position}.npy")
            assert ragged[position].shape == entry.shape == original.shape
            assert ragged[position, 5, 0:2, 1:2, 0].shape == (2, 1)
            assert np.array_equal(ragged[position, 5, 0:2, 1:2, 0], original[5, 0:2, 1:2, 0])

    @pytest.mark.parametrize("depth", [0, 1, 2])
    @pytest.mark.parametrize(
        "part",
        [
            -1, slice(1, -1), slice(-3, None), slice(None, None, -1), slice(0, 4, 2), [0, 2], np.int64(2), ...,
            slice(None, 3), slice(2, None), None, np.array([3, 1, 1]), slice(0, 99), "mask",
        ],
        ids=str,
    )  # fmt: skip
    def test_8_all_of_numpys_indices(self, depth, part):
        offline_list = written({"a": SMALL})
        part = np.arange(SMALL.shape[depth]) % 2 == 0 if isinstance(part, str) else part
        index = (slice(None),) * depth + (part,)

        assert np.array_equal(offline_list[(0, *index)], SMALL[index])
        assert np.array_equal(offline_list.entries[0][index](), SMALL[index])

    def test_9_a_deep_slice_opens_its_file_once(self, monkeypatch):
        array = np.arange(10_000).reshape(10, 10, 10, 10)
        offline_list = written({"a": array})
        opened, open_ = [], system.open
        monkeypatch.setattr(system, "open", lambda path, *rest: opened.append(path) or open_(path, *rest))

        assert np.array_equal(offline_list[0, :, :, :, 0], array[:, :, :, 0])
        assert np.array_equal(offline_list[0, :, 0:20], array)
        assert opened == [os.path.abspath("parsed/a.npy")]

    def test_11_padding(self):
        offline_list = written({str(n): array for n, array in enumerate(STEPS)}, batch_mode="pad")
        expected = np.zeros((4, 4, 2), int)
        for n, array in enumerate(STEPS):
            expected[n, : len(array)] = array

        assert np.array_equal(offline_list[:], expected)
        twos = parse_folder("parsed", batch_mode="pad", batch_args={"mode": "constant", "constant_values": 2})
        assert np.array_equal(twos[:][0], [[1, 2], [2, 2], [2, 2], [2, 2]])

    def test_11_padding_as_documented_is_to_the_longest_of_each_axis(self, ragged):
        assert parse_folder("dumb/parsed", batch_mode="pad")[:].shape == (4, 10, 4, 23, 892)

    @pytest.mark.parametrize("mode", ["edge", "reflect", "wrap", "linear_ramp", "mean"])
    def test_11_every_way_of_numpys_pads(self, mode):
        offline_list = written({str(n): a for n, a in enumerate(STEPS)}, batch_mode="pad", batch_args={"mode": mode})

        assert np.array_equal(offline_list[1:][0], np.pad(STEPS[1], [(0, 2), (0, 0)], mode))

    def test_12_cropping_and_lists(self):
        arrays = {str(n): array for n, array in enumerate(STEPS)}
        cropped = written(arrays, batch_mode="crop")
        listed = parse_folder("parsed")

        assert np.array_equal(cropped[:], [array[:1] for array in STEPS])
        assert all(map(np.array_equal, listed[:], STEPS))
        for mode in ("list", "pad", "crop"):
            assert np.array_equal(parse_folder("parsed", batch_mode=mode)[0], STEPS[0])
            assert np.array_equal(parse_folder("parsed", batch_mode=mode)[3], STEPS[3])

    def test_13_a_new_axis(self, dumb):
        dumb.expand_dims(2)

        assert np.array_equal(dumb[0], DUMB[:, :, None])
        assert np.array_equal(next(iter(dumb)), DUMB[:, :, None])
        assert dumb.shape == (10, 7, 11, 1, 13)
        assert dumb.ndim == 5
        assert dumb[:][0].shape == (7, 11, 1, 13)

    def test_15_files_are_selected_and_metadata_are_columns(self, dumb):
        chosen = parse_folder("dumb/parsed", files=["dumb_4.npy", "dumb_3.npy"])
        assert chosen.files == ["dumb_4.npy", "dumb_3.npy"]
        assert [int(array[0, 0, 0]) for array in chosen] == [4, 3]

        offline_list, metadata = parse_folder("dumb/parsed", drop_metadata=True)
        assert isinstance(offline_list, OfflineDataList)
        assert metadata == {"dumb_meta": list(range(10))}

    def test_15_a_deeper_index_keeps_metadata(self, dumb):
        data, metadata = parse_folder("dumb/parsed", return_metadata=True)[4, 1:3, 0]

        assert np.array_equal(data, (DUMB + 4)[1:3, 0])
        assert metadata == {"dumb_meta": 4}
        assert dumb.entries[4][1:3][0].metadata == {"dumb_meta": 4}


class TestTheDocumentation:
    """The examples that are not among the cases."""

    def test_the_quick_start_goes_through_as_it_stands(self, root):
        data_path, parsed_path = root, "parsed"
        offline_list = lardon.compile(data_path, parsed_path, valid_exts=[".npy"], callback=lardon.default_callback)
        assert len(offline_list) == 10

        with lardon.LardonParser(data_path, parsed_path, valid_exts=[".npy"]) as parser:
            for f in parser:
                data = np.load(f)
                parser.register(f, {}, f)

        offline_list = lardon.parse_folder(parsed_path, drop_metadata=True)
        data, metadata = offline_list[0]

        assert data == f"{data_path}/dumb_0.npy"
        assert metadata == {}

    def test_dropped_metadata_can_be_had_in_both_ways_that_are_documented(self, dumb):
        offline_list = parse_folder("dumb/parsed", drop_metadata=True)
        data, metadata = offline_list[3]
        same_list, columns = offline_list

        assert np.array_equal(data, DUMB + 3)
        assert metadata == {"dumb_meta": 3}
        assert np.array_equal(same_list[3], data)
        assert columns["dumb_meta"][3] == 3

    def test_columns_stay_in_line_where_items_lack_metadata(self):
        written({"a": (SMALL, {"one": 1}), "b": (SMALL, {}), "c": (SMALL, {"one": 3, "two": [4]})})

        _, columns = parse_folder("parsed", drop_metadata=True)

        assert columns == {"one": [1, None, 3], "two": [None, None, [4]]}

    def test_a_window_for_which_an_axis_is_too_short_says_what_to_do(self, ragged):
        with pytest.raises(IndexError, match=r"randslice\(length=10.*shape \(10, 2, 23, 721\).*long enough") as caught:
            ragged[0, 5, randslice(10, start=10, stop=50), 1:2, 0]

        assert "dumb_0" in caught.value.__notes__[0]

    def test_the_same_window_lies_where_it_should_along_an_axis_that_is_long_enough(self, ragged):
        _, metadata = ragged.__getitem__(
            (0, 5, 0, 1, randslice(10, start=10, stop=50)), return_metadata=True, return_indices=True
        )

        place = metadata["idx"][3]
        assert place.start >= 10
        assert place.stop == place.start + 10 <= 50

    def test_a_batch_is_reshaped_before_it_is_padded(self, ragged):
        offline_list = parse_folder("dumb/parsed", batch_mode="pad")
        offline_list.expand_dims(2)

        assert offline_list[0].shape == (10, 2, 1, 23, 721)
        assert offline_list[:].shape == (4, 10, 4, 1, 23, 892)


class TestIndices:
    def test_a_list_is_indexed_in_every_way_that_selects_items(self, dumb):
        def numbers(found):
            return [int(array[0, 0, 0]) for array in found]

        assert numbers(dumb[[0, 2]]) == [0, 2]
        assert numbers(dumb[np.array([4, -1])]) == [4, 9]
        assert numbers(dumb[np.arange(10) % 5 == 0]) == [0, 5]
        assert numbers(dumb[...]) == numbers(dumb[()]) == numbers(dumb[:]) == list(range(10))
        assert numbers(dumb[8:1:-3]) == [8, 5, 2]
        assert numbers(dumb[range(3)]) == [0, 1, 2]
        assert numbers([dumb[np.int64(-2)], dumb["dumb_7.npy"], dumb["dumb_7"]]) == [8, 7, 7]
        assert [array.shape for array in dumb[[0, 1], 2:4, ..., 0]] == [(2, 11)] * 2
        assert [array.shape for array in dumb[..., 0]] == [(7, 11)] * 10

    @pytest.mark.parametrize("index", [10, -11, [0, 10], True, {0, 1}, 1.5, None], ids=str)
    def test_what_selects_no_item_is_an_error(self, dumb, index):
        with pytest.raises(IndexError):
            dumb[index]

    def test_a_name_that_there_is_not_is_an_error(self, dumb):
        with pytest.raises(UnknownKeyError, match="dumb_10"):
            dumb["dumb_10.npy"]
        with pytest.raises(KeyError):
            parse_folder("dumb/parsed", files=["dumb_1.npy", "dumb_10.npy"])

    def test_what_is_read_is_an_array_of_its_own(self, dumb):
        array = dumb[0]
        array[:] = -1

        assert np.array_equal(dumb[0], DUMB)
        assert dumb[0, 1, 1, 1] == DUMB[1, 1, 1]

    @given(st.lists(st.sampled_from([*range(-5, 5), slice(1, 4), slice(None, None, -1), ...]), min_size=1, max_size=3))
    def test_an_index_of_an_entry_of_an_index_is_numpys(self, parts):
        expected, entry = SMALL, _entry_of_small()
        for part in parts:
            if isinstance(part, int) and (expected.ndim == 0 or not -expected.shape[0] <= part < expected.shape[0]):
                continue
            if isinstance(part, slice) and expected.ndim == 0:
                continue
            expected, entry = expected[part], entry[part]
        assert np.array_equal(entry(), expected)
        assert entry.shape == np.shape(expected)

    def test_indices_that_were_taken_come_back(self, dumb):
        offline_list = parse_folder("dumb/parsed", return_metadata=True, return_indices=True)
        for index in [(0,), (0, 1), (0, slice(2, 4), randslice(3)), (0, ..., randslice()), (0, randslice(7))]:
            data, metadata = offline_list[index]
            assert np.array_equal(data, DUMB[metadata["idx"]])
        _, metadata = offline_list[:]
        assert all("idx" in each for each in metadata)
        assert offline_list.entries[0].metadata == {"dumb_meta": 0}, "and what is stored stays as it was"

    def test_a_selector_is_for_all_items_and_indices_go_into_it(self, dumb):
        offline_list = parse_folder("dumb/parsed", selector=Selector()[1:3, 0])

        assert offline_list.shape == (10, 2, 13)
        assert np.array_equal(offline_list[2], (DUMB + 2)[1:3, 0])
        assert np.array_equal(offline_list[2, 1, ::2], (DUMB + 2)[2, 0, ::2])
        assert parse_folder("dumb/parsed", selector=Selector()).shape == (10, 7, 11, 13)
        assert parse_folder("dumb/parsed", selector=Selector()[:, randslice(4)]).shape == (10, 7, 4, 13)

    def test_entries_are_scattered_and_joined_again(self, dumb):
        entry = dumb.entries[3]
        for axis in (0, 1, 2, -1):
            parts = entry.scatter(axis)
            assert len(parts) == entry.shape[axis]
            assert np.array_equal(np.stack([part() for part in parts], axis), DUMB + 3)
        assert np.array_equal(entry.scatter(0)[2].scatter(0)[4](), (DUMB + 3)[2, 4])
        flat = OfflineDataList(sum([each.scatter(0) for each in dumb.entries], []))  # noqa: RUF017 - as users do
        assert flat.shape == (70, 11, 13)
        assert dumb.scatter(1).shape == (110, 7, 13)
        with pytest.raises(IndexError, match="no axis 3"):
            entry.scatter(3)


def _entry_of_small():
    if not lardon.is_parsed("small"):
        written({"a": SMALL}, "small")
    return parse_folder("small").entries[0]


class TestRandomWindows:
    def test_every_place_is_drawn_the_last_one_too(self):
        offline_list = written({"a": np.arange(10)})
        lardon.seed(1)

        firsts = {int(offline_list[0, randslice(4)][0]) for _ in range(300)}
        singles = {int(offline_list[0, randslice()]) for _ in range(300)}

        assert firsts == set(range(7))
        assert singles == set(range(10))

    def test_start_and_stop_bound_the_window(self):
        offline_list = written({"a": np.arange(10)})

        assert {tuple(offline_list[0, randslice(3, 2, 5)].tolist()) for _ in range(20)} == {(2, 3, 4)}
        assert {int(offline_list[0, randslice(2, start=-4, stop=-1)][0]) for _ in range(100)} == {6, 7}
        assert {int(offline_list[0, randslice(1, 4, 5)]) for _ in range(20)} == {4}

    def test_a_step_takes_some_of_what_the_window_spans(self):
        offline_list = written({"a": np.arange(10)})

        assert offline_list[0, randslice(10, step=3)].tolist() == [0, 3, 6, 9]

    def test_each_read_draws_anew_and_a_seed_lets_all_be_the_same_again(self):
        offline_list = written({str(n): np.arange(1000) for n in range(3)})

        def draw():
            return [array.tolist() for _ in range(5) for array in offline_list[:, randslice(3)]]

        lardon.seed(7)
        first = draw()
        lardon.seed(7)
        random.seed(0)
        assert draw() == first
        assert draw() != first
        assert len({tuple(each) for each in first}) > 5

    def test_without_a_seed_of_its_own_that_of_pythons_random_counts(self):
        offline_list = written({"a": np.arange(1000)})
        random.seed(3)
        first = [int(offline_list[0, randslice()]) for _ in range(5)]
        random.seed(3)

        assert [int(offline_list[0, randslice()]) for _ in range(5)] == first

    def test_asking_for_a_shape_draws_nothing(self):
        offline_list = written({"a": np.arange(1000)}, selector=Selector()[randslice(5)])
        lardon.seed(1)
        first = offline_list[0].tolist()
        lardon.seed(1)

        assert offline_list.shape == (1, 5)
        assert offline_list[0].tolist() == first

    @pytest.mark.parametrize(
        "arguments", [{"length": 0}, {"length": 3, "step": -1}, {"length": 3, "stop": "a"}], ids=str
    )
    def test_windows_that_mean_nothing_are_refused_at_once(self, arguments):
        with pytest.raises(SettingError):
            randslice(**arguments)

    @pytest.mark.parametrize("part", [randslice(11), randslice(3, 5, 5), randslice(1, 10), randslice(2, 9)], ids=str)
    def test_windows_that_have_no_place_are_an_error(self, part):
        offline_list = written({"a": np.arange(10)})

        with pytest.raises(IndexError, match="There is no place"):
            offline_list[0, part]


class TestLists:
    def test_what_is_read_is_converted(self):
        offline_list = written({"a": np.arange(5, dtype="int16")}, dtype="float32")

        assert offline_list.dtype == offline_list[0].dtype == offline_list[:][0].dtype == np.float32
        assert [array.dtype for array in offline_list] == [np.float32]

    def test_values_are_lost_only_where_that_is_asked_for(self):
        offline_list = written({"a": np.array([1.1, 2.9])})

        with pytest.raises(DatasetError, match="lossy=True"):
            parse_folder("parsed", dtype="int64")
        with pytest.raises(DatasetError, match="lossy=True"):
            offline_list.dtype = "float32"
        assert offline_list.dtype == np.float64
        assert parse_folder("parsed", dtype="int64", lossy=True)[0].tolist() == [1, 2]

    def test_functions_change_what_is_read_in_their_order(self, dumb):
        offline_list = parse_folder("dumb/parsed", transforms=[(np.mean, {"axis": 0})])

        assert offline_list.shape == (10, 11, 13)
        assert offline_list.dtype == np.float64
        assert np.array_equal(offline_list[1], (DUMB + 1).mean(axis=0))
        assert np.array_equal(next(iter(offline_list)), DUMB.mean(axis=0))
        assert np.array_equal(offline_list[1, 0:2], (DUMB + 1)[0:2].mean(axis=0)), "after the index"

    def test_an_axis_is_taken_away_where_all_items_have_it_with_length_one(self):
        offline_list = written({"a": np.ones((2, 1, 3)), "b": np.ones((4, 1, 3))})
        offline_list.squeeze(1)

        assert [array.shape for array in offline_list] == [(2, 3), (4, 3)]
        assert offline_list.shape == (2, (2, 4), 3)
        with pytest.raises(ValueError, match="size not equal to one"):
            offline_list.squeeze(0)
        assert offline_list[0].shape == (2, 3), "nothing has changed"

    def test_an_axis_that_there_is_not_is_an_error_at_once(self, dumb):
        with pytest.raises(np.exceptions.AxisError):
            dumb.expand_dims(5)
        assert dumb.shape == (10, 7, 11, 13)

    def test_the_shape_says_least_and_greatest_lengths(self, ragged):
        assert ragged.shape == parse_folder("dumb/parsed").shape == (4, 10, (2, 4), 23, (700, 892))
        assert ragged.ndim == 5

    def test_items_of_other_numbers_of_axes_can_be_read_and_have_no_shape(self):
        offline_list = written({"a": np.ones(3), "b": np.ones((2, 2)), "c": np.array(7.0)})

        assert (offline_list.shape, offline_list.ndim) == (None, None)
        assert [array.ndim for array in offline_list] == [1, 2, 0]
        offline_list.batch_mode = "pad"
        with pytest.raises(CollationError, match="'a'"):
            offline_list[:]

    def test_what_is_taken_is_read_in_the_same_way(self, dumb):
        offline_list = parse_folder("dumb/parsed", batch_mode="crop", return_metadata=True)
        offline_list.expand_dims(0)
        taken = offline_list.take([3, 1])

        data, metadata = taken[:]
        assert data.shape == (2, 1, 7, 11, 13)
        assert metadata == [{"dumb_meta": 3}, {"dumb_meta": 1}]
        assert isinstance(offline_list.take(3), OfflineEntry)
        taken.squeeze(0)
        assert offline_list[0][0].shape == (1, 7, 11, 13), "each on its own"

    def test_lists_are_joined(self, dumb):
        other = written({"x": DUMB - 5}, "other")

        assert len([] + dumb) == 10  # noqa: RUF005 - its way to a list of entries
        assert OfflineDataList(sum([dumb, other], []))[10][0, 0, 0] == -5  # noqa: RUF017 - as users do
        assert len(OfflineDataList([dumb, other])) == len(dumb + other) == 11
        assert (dumb + other)[-1][0, 0, 0] == -5

    def test_lists_that_are_read_in_different_ways_are_joined_only_where_one_says_so(self, dumb):
        other = written({"x": DUMB - 5}, "other")
        other.expand_dims(0)

        for join in (lambda: OfflineDataList([dumb, other]), lambda: dumb + other):
            with pytest.raises(DatasetError, match="different ways"):
                join()
        assert OfflineDataList(dumb.entries + other.entries).shape == (11, 7, 11, 13)
        assert OfflineDataList([other, other]).shape == (2, 1, 7, 11, 13)

    def test_an_entry_takes_the_place_of_another_and_nothing_else_does(self, dumb):
        dumb[0] = dumb.entries[5][0]

        assert dumb[0].shape == (11, 13)
        for position, value in [(0, np.ones(3)), ((0, 1), dumb.entries[1]), (slice(1), dumb.entries[1])]:
            with pytest.raises(IndexError):
                dumb[position] = value

    def test_bad_words_are_refused_at_once(self, dumb):
        with pytest.raises(SettingError, match="stretch"):
            parse_folder("dumb/parsed", batch_mode="stretch")
        with pytest.raises(SettingError, match="constant"):
            parse_folder("dumb/parsed", batch_mode="pad", batch_args={"fill": 2})
        with pytest.raises(TypeError):
            parse_folder("dumb/parsed", batchmode="pad")
        with pytest.raises(DatasetError, match="ndarray"):
            OfflineDataList([np.ones(3)])

    def test_a_list_can_be_pickled_and_reads_the_same(self, dumb):
        dumb.expand_dims(0)
        again = pickle.loads(pickle.dumps(dumb))

        assert np.array_equal(again[4], dumb[4])
        assert repr(again) == repr(dumb)

    def test_check_finds_a_file_that_was_changed(self, dumb):
        np.save("dumb/parsed/dumb_3.npy", DUMB + 99)

        parse_folder("dumb/parsed")
        with pytest.raises(InputChangedError, match="dumb_3"):
            parse_folder("dumb/parsed", check=True)

    @pytest.mark.parametrize(
        "array",
        [
            np.zeros((2, 2), bool), np.ones(3, "f2"), np.ones(3, "c16"), np.array(["abc", "d"]), np.zeros((0, 4)),
            np.array(["2024-01-01"], "M8[D]"), np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")]), np.ones(3, ">i4"),
            np.asfortranarray(np.arange(6).reshape(2, 3)), np.array(5), np.ones((1, 1, 1)),
        ],
        ids=lambda array: f"{array.dtype}{array.shape}",
    )  # fmt: skip
    def test_arrays_of_every_kind_come_back_as_they_were(self, array):
        found = written({"a": array})[0]

        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert np.array_equal(found, array)

    def test_torch_and_others_find_a_sequence(self, dumb):
        assert len(dumb) == 10
        assert [array.shape for array in dumb] == [(7, 11, 13)] * 10

    def test_the_natives_open_the_same_folder_and_the_other_way_round(self, dumb):
        native = luisy.open_dataset("dumb/parsed", order="added")

        assert list(native.keys) == [entry.key for entry in dumb.entries]
        assert np.array_equal(native[3], dumb[3])
        assert native.meta["dumb_meta"].to_list() == list(range(10))


class TestWhatIsFound:
    def test_files_come_in_the_order_of_their_paths(self):
        names = ["b.npy", "a/z.npy", "a/b.npy", "a.npy", "a-b.npy", "dumb_10.npy", "dumb_9.npy"]
        save("data", {name: np.ones(1) for name in names})

        with LardonParser("data/", "out") as parser:
            assert list(parser) == [f"data/{name}" for name in sorted(names)]
            assert parser.files == list(parser)
            for path in parser:
                parser.register(np.ones(1), {}, path)
        assert parse_folder("out").files == sorted(names)

    def test_suffixes_are_texts_and_upper_case_is_the_same(self):
        save("data", {"a.npy": np.ones(1)})
        for name in ("b.NPY", "c.npyz", "dxnpy", ".npy", "e.txt"):
            Path("data", name).write_bytes(Path("data/a.npy").read_bytes())

        with pytest.raises(MissingInputError), LardonParser("data", "out", valid_exts=".npy") as parser:
            assert list(parser) == ["data/a.npy", "data/b.NPY"]

    def test_a_target_below_the_root_is_no_source(self):
        save("data", {"a.npy": np.ones(1)})

        for _ in range(2):
            assert len(lardon.compile("data", "data/parsed")) == 1

    def test_a_list_of_files_comes_first_and_each_is_compiled_once(self):
        save("data", {f"{name}.npy": np.array([ord(name)]) for name in "abc"})
        given_ = ["data/c.npy"]

        offline_list = lardon.compile("data", "out", file_list=given_)

        assert [chr(array[0]) for array in offline_list] == ["c", "a", "b"]
        assert given_ == ["data/c.npy"]

    def test_a_folder_without_such_files_is_an_error(self):
        save("data", {"a.npy": np.ones(1)})

        with pytest.raises(MissingInputError, match=r"'\.wav'"):
            lardon.compile("data", "out", valid_exts=[".wav"])
        with pytest.raises(MissingInputError, match="nowhere"):
            lardon.compile("nowhere", "out")
        assert not os.path.exists("out")

    def test_another_extension_names_the_files(self):
        save("data", {"a/b.npy": SMALL})

        offline_list = lardon.compile("data", "out", extension=".dat")

        assert files_below("out") == ["a/b.dat"]
        assert np.array_equal(offline_list["a/b.dat", 1], SMALL[1])
        for extension in (".png", "npy", ""):
            with pytest.raises(DefinitionError):
                lardon.compile("data", "out", extension=extension)

    def test_the_manifest_says_from_which_file_an_item_was_made(self, dumb):
        explained = luisy.why("dumb/parsed/dumb_3.npy")

        assert "data/dumb_3.npy" in str(explained)

    def test_checkdir_makes_folders_that_are_not_there(self):
        checkdir("a/b")
        checkdir("a/b")

        assert os.path.isdir("a/b")


class TestNothingIsLost:
    @pytest.mark.parametrize("target", ["out/", "out//", "./out/.", "x/../out/"])
    def test_a_slash_at_the_end_of_the_target_harms_nothing(self, root, target, monkeypatch, tmp_path):
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        (temporary / "of somebody else").touch()
        monkeypatch.setenv("TMPDIR", str(temporary))

        lardon.compile(root, target, callback=dumb_callback)

        assert files_below("out") == [f"dumb_{n}.npy" for n in range(10)]
        assert os.listdir(temporary) == ["of somebody else"]

    def test_targets_of_one_base_name_are_compiled_at_the_same_time(self):
        counts = {"a": 3, "b": 5, "c": 7}
        for name, count in counts.items():
            save(f"data/{name}", {f"{name}_{n}.npy": np.full(100, n) for n in range(count)})
        together = threading.Barrier(len(counts))

        def callback(path):
            if number_of(path) == 1:
                together.wait(30)
            return np.load(path), {}

        threads = [
            threading.Thread(target=lardon.compile, args=(f"data/{name}", f"{name}/parsed", callback), daemon=True)
            for name in counts
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        for name, count in counts.items():
            assert files_below(f"{name}/parsed") == [f"{name}_{n}.npy" for n in range(count)]

    def test_of_two_at_one_target_the_second_is_told_so(self, root):
        def callback(path):
            with pytest.raises(BusyError):
                lardon.compile(root, "out")
            return np.load(path), {}

        assert len(lardon.compile(root, "out", callback)) == 10

    @pytest.mark.parametrize("filename", ["../mine.npy", "mine.npy", "dumb/mine.npy", "dumb/data/../mine.npy"])
    def test_a_file_outside_of_the_root_is_refused_and_stays_as_it_is(self, root, filename):
        path = Path(filename)
        os.makedirs(path.parent, exist_ok=True)
        if not path.exists():
            np.save(path, SMALL)
        before = path.read_bytes()

        with LardonParser(root, "out") as parser:
            with pytest.raises(InputError, match="does not lie below"):
                parser.register(DUMB, {}, filename)
            parser.register(DUMB, {}, parser.files[0])

        assert path.read_bytes() == before

    @pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "", "a//b", ".hidden", ".manifest/CURRENT", "a\0b"])
    def test_a_generated_name_that_leads_out_of_the_target_is_refused(self, name):
        with LardonParser(None, "out/in") as parser:
            with pytest.raises(InputError):
                parser.register(DUMB, {}, name)
            parser.register(DUMB, {}, "fine")

        assert os.listdir(".") == ["out"]
        assert os.listdir("out") == ["in"]
        assert files_below("out/in") == ["fine.npy"]

    def test_two_sources_of_one_stem_are_an_error_before_anything_is_read(self):
        save("data", {"a.npy": np.ones(1)})
        Path("data/a.NPY").write_bytes(Path("data/a.npy").read_bytes())
        called = []

        with pytest.raises(KeyCollisionError, match=r"'data/a\.NPY' and 'data/a\.npy'"):
            lardon.compile("data", "out", callback=called.append)
        assert not called
        assert not os.path.exists("out")

    def test_a_name_that_is_registered_twice_is_an_error(self):
        with LardonParser(None, "out") as parser:
            parser.register(np.zeros(1), {}, "a")
            for name in ("a", "a.npy", "a.wav"):
                with pytest.raises(KeyCollisionError):
                    parser.register(np.ones(1), {}, name)

        assert parse_folder("out")[0].tolist() == [0]

    def test_numbers_in_names_are_not_cut_off(self):
        offline_list = written({f"sin_{f}": np.array([f]) for f in (100.25, 100.5)})

        assert files_below("parsed") == ["sin_100.25.npy", "sin_100.5.npy"]
        assert offline_list["sin_100.5.npy"].tolist() == [100.5]

    def test_what_has_no_name_is_numbered(self):
        with LardonParser(None, "out", extension=".dat") as parser:
            for number in range(3):
                parser.register(np.array([number]), {})

        assert files_below("out") == ["data_0.dat", "data_1.dat", "data_2.dat"]
        assert parser.shapes == [(1,)] * 3

    @pytest.mark.parametrize("names", [["p/a.npy"], ["sub/data/a0.npy", "data/a0.npy"], ["d+1/a1.npy"]], ids=str)
    def test_names_that_are_patterns_or_repeat_are_names(self, names):
        save("p+/data", {name: np.array([n]) for n, name in enumerate(names)})

        offline_list = lardon.compile("p+/data", "p")

        assert files_below("p") == sorted(names)
        assert sorted(array.tolist() for array in offline_list) == [[n] for n in range(len(names))]

    @pytest.mark.parametrize(
        "name", ["a b", "ünïcødé", "quote'\"", "new\nline", "[1]*?", "%41", "-rf", "a.b.c", "x" * 200]
    )
    def test_hostile_names_come_back(self, name):
        save("data", {f"{name}/{name}.npy": SMALL})

        offline_list = lardon.compile("data", f"out {name}")

        assert np.array_equal(offline_list[f"{name}/{name}.npy"], SMALL)
        assert np.array_equal(np.load(offline_list.entries[0].file), SMALL)

    def test_a_name_that_is_no_text_is_compiled_too(self):
        save("data", {"a.npy": SMALL})
        os.rename(b"data/a.npy", b"data/\xff.npy")

        offline_list = lardon.compile("data", "out")

        assert np.array_equal(offline_list[0], SMALL)

    @pytest.mark.parametrize("force", [True, False, None])
    def test_a_target_with_files_of_the_users_is_refused(self, root, force):
        os.makedirs("out")
        Path("out/thesis.txt").write_text("years of work")

        with (
            pytest.raises((ForeignDirectoryError, FileExistsError), match="out"),
            LardonParser(root, "out", force=force),
        ):
            pass
        with pytest.raises((ForeignDirectoryError, FileExistsError)):
            lardon.compile(root, "out", force=bool(force))
        assert Path("out/thesis.txt").read_text() == "years of work"

    def test_the_root_is_never_the_target(self, root):
        with pytest.raises(ForeignDirectoryError):
            lardon.compile(root, root)
        with pytest.raises(ForeignDirectoryError):
            lardon.compile(root, os.path.dirname(root))
        assert files_below(root) == [f"dumb_{n}.npy" for n in range(10)]

    def test_what_was_compiled_before_is_replaced_and_can_be_gone_back_to(self, root, dumb):
        lardon.compile(
            root, "dumb/parsed", callback=lambda path: (np.load(path)[0], {}), file_list=["dumb/data/dumb_5.npy"]
        )
        assert parse_folder("dumb/parsed").shape == (10, 11, 13)

        rollback("dumb/parsed")
        assert parse_folder("dumb/parsed").shape == (10, 7, 11, 13)

    def test_files_of_the_users_beside_compiled_ones_stay(self, root, dumb):
        Path("dumb/parsed/notes.txt").write_text("mine")

        lardon.compile(root, "dumb/parsed", callback=lambda path: (np.load(path)[0], {}))

        assert Path("dumb/parsed/notes.txt").read_text() == "mine"

    def test_without_force_what_is_there_stays(self, root, dumb):
        with pytest.raises(FileExistsError, match="force=True"):
            lardon.compile(root, "dumb/parsed", force=False)
        with pytest.raises(FileExistsError, match="force=True"), LardonParser(root, "dumb/parsed", force=False):
            pass
        assert np.array_equal(parse_folder("dumb/parsed")[3], DUMB + 3)

    @pytest.mark.parametrize("force", [True, False, None])
    def test_an_empty_target_is_as_good_as_none(self, force):
        checkdir("out")

        with LardonParser(None, "out", force=force) as parser:
            parser.register(SMALL, {})

        assert files_below("out") == ["data_0.npy"]

    def test_a_bad_file_publishes_nothing_and_is_named(self, root):
        Path(root, "dumb_7.npy").write_bytes(b"no array")

        with pytest.raises(ValueError) as caught:
            lardon.compile(root, "out")
        assert any("dumb_7.npy" in note for note in caught.value.__notes__)
        assert os.listdir(".") == ["dumb"]

    @pytest.mark.parametrize(
        "made", [None, SMALL, (SMALL,), (SMALL, 3), (SMALL, {}, 1), "ab", {"a": 1, "b": 2}], ids=str
    )
    def test_a_callback_that_returns_something_else_is_an_error(self, root, made):
        with pytest.raises(InputError, match=r"dumb_0\.npy.*the array, and a dict"):
            lardon.compile(root, "out", callback=lambda path: made)
        assert not os.path.exists("out")

    def test_objects_are_refused_when_they_are_registered(self):
        with LardonParser(None, "out") as parser:
            with pytest.raises(InputError, match="object"):
                parser.register(np.array([{}, []], dtype=object), {}, "a")
            parser.register(np.ones(1), {}, "b")

        assert files_below("out") == ["b.npy"]

    @pytest.mark.parametrize(
        "metadata", [{"x": np.ones(2)}, {"x": {1}}, {1: 2}, {"error": "no"}, [1], "text", {"x": 2**70}], ids=str
    )
    def test_metadata_that_cannot_be_kept_are_refused(self, metadata):
        with LardonParser(None, "out") as parser:
            with pytest.raises(InputError):
                parser.register(SMALL, metadata, "a")
            parser.register(SMALL, {}, "b")

    def test_metadata_of_any_name_change_nothing_else(self):
        metadata = {"shape": [1], "strides": 2, "dtype": "f4", "file": "x", "selector": None, "items": 3, "idx": "mine"}

        offline_list = written({"a": (SMALL, metadata)}, return_metadata=True)

        data, found = offline_list[0]
        assert np.array_equal(data, SMALL)
        assert found == metadata
        assert offline_list.shape == (1, 5, 6, 7)

    def test_metadata_that_a_program_changes_stay_as_they_were_registered(self):
        offline_list = written({"a": (SMALL, {"notes": ["first"]})}, return_metadata=True)

        offline_list[0][1]["notes"].append("second")
        offline_list[0][1]["more"] = 1

        assert offline_list[0][1] == {"notes": ["first"]}
        with pytest.raises(TypeError):
            offline_list.entries[0].metadata["more"] = 1

    def test_a_block_that_registers_nothing_publishes_nothing(self):
        with pytest.raises(MissingInputError), LardonParser(None, "out"):
            pass
        assert not lardon.is_parsed("out")

    def test_what_is_registered_outside_of_the_block_is_refused(self):
        parser = LardonParser(None, "out")
        with pytest.raises(DefinitionError, match="block"):
            parser.register(SMALL, {})
        with parser:
            parser.register(SMALL, {})
        with pytest.raises(DefinitionError, match="block"):
            parser.register(SMALL, {})
        with pytest.raises(DefinitionError, match="target_directory"):
            LardonParser("data")

    @pytest.mark.parametrize("has_former", [False, True])
    def test_a_process_that_is_killed_in_the_middle_leaves_what_was_there(self, root, has_former):
        if has_former:
            lardon.compile(root, "out", callback=dumb_callback)
        program = (
            "import sys, time\n"
            "from luisy_dir.compat import lardon\n"
            "def callback(path):\n"
            "    if '7' in path:\n"
            "        print('reads', flush=True); time.sleep(60)\n"
            "    return [0], {}\n"
            "lardon.compile(sys.argv[1], 'out', callback)\n"
        )
        child = subprocess.Popen([sys.executable, "-c", program, root], stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"reads\n"
        child.send_signal(signal.SIGKILL)
        child.communicate()

        assert lardon.is_parsed("out") == has_former
        assert not has_former or np.array_equal(parse_folder("out", check=True)[7], DUMB + 7)
        lardon.compile(root, "out", callback=dumb_callback)
        assert sorted(os.listdir(".")) == ["dumb", "out"]

    def test_an_unparsed_folder_says_what_to_do_and_a_pickle_is_never_opened(self, tmp_path):
        class Bomb:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "exploded"),)

        os.makedirs("old")
        Path("old/parsing.ldn").write_bytes(pickle.dumps(Bomb()))

        for folder in ("old", "nowhere"):
            assert not lardon.is_parsed(folder)
            with pytest.raises(MissingInputError, match="Call compile first"):
                parse_folder(folder)
        assert not os.path.exists("exploded")

    def test_no_pickle_is_written(self, dumb):
        found = [os.path.join(parent, name) for parent, _, names in os.walk("dumb/parsed") for name in names]

        assert {os.path.splitext(path)[1] for path in found} == {".npy", ".json", ".jsonl", ""}
        for path in found:
            with pytest.raises(Exception):  # noqa: B017 - whatever is raised, it is no pickle
                pickle.loads(Path(path).read_bytes())


def test_the_import_brings_neither_numpy_nor_luigi():
    code = "import sys; import luisy_dir.compat.lardon; print({'luigi', 'numpy', 'pandas'} & sys.modules.keys())"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
