"""What lardon was asked for, natively: a folder of arrays is published once, and opens again as a lazy dataset."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import files_below

import luisy_dir as luisy
from luisy_dir.dataset.collation import pad
from luisy_dir.errors import BusyError, InputError, ItemsFailedError, MissingInputError
from luisy_dir.storage import system

DUMB = np.arange(1001).reshape(7, 11, 13)
SMALL = np.arange(210).reshape(5, 6, 7)
STEPS = {f"step_{n}": np.arange(1, 2 * n + 1).reshape(n, 2) for n in (1, 2, 3, 4)}
RAGGED = {
    f"dumb_{number}": np.arange(10 * n * 23 * m).reshape(10, n, 23, m)
    for number, (n, m) in enumerate([(2, 721), (3, 892), (4, 700), (2, 850)])
}


def read_dumb(path):
    return np.load(path) if path.endswith(".npy") else None


@luisy.make_directory_output(read_dumb)
@luisy.raw
class DumbFiles(luisy.ExternalTask):
    def get_folder_name(self):
        return "dumb"


@luisy.interim
@luisy.requires(DumbFiles)
@luisy.directory_output(".npy")
class DumbArrays(luisy.DirectoryTask):
    engine = "serial"

    def process(self, array, item):
        item.meta["dumb_meta"] = int(item.key.partition("_")[2])
        return array


@pytest.fixture(autouse=True)
def no_test_holds_a_map(request):
    """What a fixture has made holds maps until the test is torn down."""
    yield
    request.node.funcargs.clear()


@pytest.fixture
def folder():
    """Ten files of one shape, the content of each another."""
    path = DumbFiles().output().path
    os.makedirs(path)
    for n in range(10):
        np.save(f"{path}/dumb_{n}.npy", DUMB + n)
    return path


@pytest.fixture
def dumb(folder):
    DumbArrays().run()
    return DumbArrays().dataset()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "sets" / "numbers")


def write(path, arrays):
    with luisy.write_dataset(path) as writer:
        for key, array in arrays.items():
            writer.add(key, array)
    return luisy.open_dataset(path, order="added")


def only_batch(dataset, collate):
    (batch,) = dataset.batches(len(dataset), collate=collate)
    return batch


# -- compiling --------------------------------------------------------------------------------------------------------


def test_1_a_folder_of_arrays_becomes_a_dataset_of_as_many_items(dumb):
    assert len(dumb) == 10
    assert dumb.ndim == 4
    assert dumb.shape == (10, 7, 11, 13)
    assert files_below(DumbArrays().output().path) == [f"dumb_{n}.npy" for n in range(10)]


def test_2_each_item_keeps_its_data_and_its_metadata(dumb):
    assert [item.shape for item in dumb] == [item.shape for item in dumb[:]] == [(7, 11, 13)] * 10
    for n in range(10):
        assert np.array_equal(dumb[n], DUMB + n)
        assert dumb.meta.loc[f"dumb_{n}", "dumb_meta"] == n


def test_2_an_error_in_the_block_of_a_writer_leaves_no_dataset(path):
    with pytest.raises(RuntimeError), luisy.write_dataset(path) as writer:
        writer.add("a", DUMB)
        raise RuntimeError

    assert os.listdir(os.path.dirname(path)) == []
    with pytest.raises(MissingInputError):
        luisy.open_dataset(path)


def test_3_generated_data_comes_back_in_the_order_in_which_it_was_added(path):
    time = np.linspace(0, 1, 44100)
    waves = {f: np.sin(2 * np.pi * f * time) for f in (*range(100, 1000, 100), 50)}
    with luisy.write_dataset(path) as writer:
        for frequency, wave in waves.items():
            writer.add(f"sin_{frequency}", wave, meta={"freq": frequency})

    dataset = luisy.open_dataset(path, order="added")

    assert list(dataset.keys) == [f"sin_{frequency}" for frequency in waves]
    assert dataset.meta["freq"].to_list() == list(waves)
    assert all(map(np.array_equal, dataset, waves.values()))


# -- indices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_4_an_integer_at_each_depth_is_numpys(dumb, depth):
    index = (slice(None),) * depth + (1,)

    assert np.array_equal(dumb[(0, *index)], DUMB[index])


@pytest.mark.parametrize("axes", [(0, 1), (0, 2), (1, 2)])
def test_5_two_integers_are_numpys(dumb, axes):
    index = [slice(None)] * 3
    index[axes[0]], index[axes[1]] = 1, 2

    assert np.array_equal(dumb[(0, *index)], DUMB[tuple(index)])


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_6_a_slice_may_take_the_whole_axis(dumb, depth):
    for k in range(1, DUMB.shape[depth] + 1):
        index = (slice(None),) * depth + (slice(0, k),)
        assert np.array_equal(dumb[(0, *index)], DUMB[index])


def test_7_several_indices_at_a_time_are_numpys_on_items_of_other_shapes(path):
    dataset = write(path, RAGGED)

    for key, array in RAGGED.items():
        assert dataset[key].shape == array.shape
        assert dataset[key, 5, 0:2, 1:2, 0].shape == (2, 1)
        assert np.array_equal(dataset[key, 5, 0:2, 1:2, 0], array[5, 0:2, 1:2, 0])


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize(
    "part",
    [-1, slice(1, -1), slice(-3, None), slice(None, None, -1), slice(0, 4, 2), [0, 2], np.int64(2), ..., "mask",
     slice(None, 3), slice(2, None)],
    ids=str,
)  # fmt: skip
def test_8_every_index_of_numpys_is_numpys(path, depth, part):
    dataset = write(path, {"a": SMALL})
    part = np.arange(SMALL.shape[depth]) % 2 == 0 if isinstance(part, str) else part
    index = (slice(None),) * depth + (part,)

    assert np.array_equal(dataset[(0, *index)], SMALL[index])
    assert np.array_equal(dataset.select(index)[0], SMALL[index])


def test_9_a_deep_slice_opens_its_file_once(path, monkeypatch):
    array = np.arange(10_000).reshape(10, 10, 10, 10)
    dataset = write(path, {"a": array})
    opened, open_ = [], system.open
    monkeypatch.setattr(system, "open", lambda place, *rest: opened.append(place) or open_(place, *rest))

    assert np.array_equal(dataset[0, :, :, :, 0], array[:, :, :, 0])
    assert np.array_equal(dataset[0, :, 0:20], array)
    assert opened == [f"{path}/a.npy"]


# -- batches ----------------------------------------------------------------------------------------------------------


def test_11_padding_fills_up_to_the_longest_of_each_axis(path):
    dataset = write(path, STEPS)

    batch = only_batch(dataset, "pad")
    twos = only_batch(dataset, pad(constant_values=2))

    assert batch.data.shape == (4, 4, 2)
    assert np.array_equal(batch.data[1], [[1, 2], [3, 4], [0, 0], [0, 0]])
    assert np.array_equal(twos.data[0], [[1, 2], [2, 2], [2, 2], [2, 2]])
    assert batch.lengths[:, 0].tolist() == [1, 2, 3, 4]
    assert batch.mask.sum(axis=(1, 2)).tolist() == [2, 4, 6, 8]


def test_11_padding_goes_along_all_axes(path):
    assert only_batch(write(path, RAGGED), "pad").data.shape == (4, 10, 4, 23, 892)


def test_12_cropping_takes_the_leading_part_and_ragged_leaves_all_as_it_is(path):
    dataset = write(path, STEPS)

    assert np.array_equal(only_batch(dataset, "crop").data, [array[:1] for array in STEPS.values()])
    assert all(map(np.array_equal, only_batch(dataset, "ragged").data, STEPS.values()))
    assert np.array_equal(dataset[0], STEPS["step_1"]), "one item is never padded"


def test_13_a_new_axis_is_in_items_in_iteration_and_in_the_shape(dumb):
    deeper = dumb.expand_dims(2)

    assert np.array_equal(deeper[0], DUMB[:, :, None])
    assert all(item.shape == (7, 11, 1, 13) for item in deeper)
    assert deeper.shape == (10, 7, 11, 1, 13)


def test_15_items_are_selected_in_an_order_and_no_index_loses_metadata(dumb):
    chosen = dumb[["dumb_4", "dumb_3"]]

    assert [int(item[0, 0, 0]) for item in chosen] == [4, 3]
    assert dumb.meta["dumb_meta"].to_list() == list(range(10))
    assert chosen[:, 1:3, 0].meta["dumb_meta"].to_list() == [4, 3]


# -- what nobody asked lardon for -------------------------------------------------------------------------------------


def test_objects_are_refused_when_they_are_written(path):
    with luisy.write_dataset(path) as writer:
        with pytest.raises(InputError, match="object"):
            writer.add("a", np.array([{}], dtype=object))
        writer.add("b", np.zeros(1))

    assert files_below(path) == ["b.npy"]


def test_objects_are_refused_when_a_task_writes_them(folder, monkeypatch):
    monkeypatch.setattr(DumbArrays, "process", lambda self, array: array.astype(object))
    with pytest.raises(ItemsFailedError, match="object"):
        DumbArrays().run()
    assert not DumbArrays().complete()


@pytest.mark.parametrize("ending", ["/", "//", "/."])
def test_a_slash_at_the_end_of_a_path_changes_nothing(path, ending):
    write(path + ending, STEPS)

    assert os.listdir(os.path.dirname(path)) == ["numbers"]
    assert len(luisy.open_dataset(path)) == len(luisy.open_dataset(path + ending)) == 4


def test_datasets_of_one_base_name_are_written_at_the_same_time(tmp_path):
    together = threading.Barrier(3)

    def generate(name):
        with luisy.write_dataset(tmp_path / name / "numbers") as writer:
            for number in range(5):
                together.wait(30)
                writer.add(f"{name}_{number}", np.full(10, number))

    threads = [threading.Thread(target=generate, args=(name,), daemon=True) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for name in "abc":
        assert files_below(tmp_path / name / "numbers") == [f"{name}_{number}.npy" for number in range(5)]


def test_of_two_writers_of_one_dataset_the_second_is_told_so(path):
    with luisy.write_dataset(path) as writer:
        with pytest.raises(BusyError), luisy.write_dataset(path):
            pass
        writer.add("a", np.zeros(1))


@pytest.mark.parametrize("has_former", [False, True])
def test_a_process_that_is_killed_leaves_the_old_dataset_or_none(path, has_former):
    if has_former:
        write(path, STEPS)
    program = (
        "import sys, time; import luisy_dir\n"
        "with luisy_dir.write_dataset(sys.argv[1]) as writer:\n"
        "    for number in range(1, 5):\n"
        "        writer.add(f'step_{number}', [number])\n"
        "    print('wrote', flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"wrote\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()

    assert os.path.exists(path) == has_former
    if has_former:
        assert all(map(np.array_equal, luisy.open_dataset(path), STEPS.values()))
    assert len(write(path, STEPS)) == 4
    assert os.listdir(os.path.dirname(path)) == ["numbers"]


@pytest.mark.parametrize(
    "name", ["new\nline", "tab\t", "a b", "ünïcødé", "[1]*?", "%41", "-rf", "a.b.c", "'\"", "x" * 200]
)
def test_hostile_names_come_back_as_they_are(path, name):
    dataset = write(path, {f"{name}/{name}": SMALL, "other": SMALL + 1})

    assert list(dataset.keys) == [f"{name}/{name}", "other"]
    assert np.array_equal(dataset[f"{name}/{name}", 1:3], SMALL[1:3])
    assert np.array_equal(np.load(Path(path, name, f"{name}.npy")), SMALL)


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "", "a//b", ".hidden", ".manifest/CURRENT", "a\0b"])
def test_a_name_that_leads_out_of_the_directory_is_refused(path, name):
    with luisy.write_dataset(path) as writer:
        with pytest.raises(InputError):
            writer.add(name, SMALL)
        writer.add("fine", SMALL)

    assert files_below(path) == ["fine.npy"]
    assert os.listdir(os.path.dirname(path)) == ["numbers"]


def test_batches_go_on_from_a_state_with_another_number_of_workers(path):
    dataset = write(path, {str(n): np.arange(20) + 100 * n for n in range(11)})[:, luisy.window(5)]

    def values(batches):
        return [batch.data.tolist() for batch in batches]

    batches = dataset.batches(2, shuffle=True, seed=3)
    whole = values(batches)
    for done in range(len(whole)):
        interrupted = dataset.batches(2, shuffle=True, seed=3)
        iterator = iter(interrupted)
        for _ in range(done):
            next(iterator)
        state = interrupted.state_dict()
        iterator.close()
        resumed = dataset.batches(2, shuffle=True, seed=3, workers=2)
        resumed.load_state_dict(state)
        assert values(resumed) == whole[done:]
