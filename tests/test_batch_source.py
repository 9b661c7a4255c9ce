"""What batches are made of: an index, files, splits and folds; and a source that gives them, loaded ahead or not."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from functools import partial

import numpy as np
import pytest

from luisy_dir import Batch, BatchSource, FileIndex, Flow, open_dataset, write_dataset
from luisy_dir.batch import pools
from luisy_dir.batch.index import Index
from luisy_dir.batch.rebatching import rebatched
from luisy_dir.errors import BatchError, MissingInputError, SettingError, StateError, UnknownItemError


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No thread outlives a test."""
    before = set(threading.enumerate())
    yield
    pools.close_pools()
    assert [thread for thread in threading.enumerate() if thread not in before] == []


def ids_of(batches):
    return [batch.indices.tolist() for batch in batches]


# An index


def test_an_index_finds_items_and_takes_some_of_them():
    index = Index(["b", "a", "c"])
    assert (len(index), index.position("a"), "c" in index, "d" in index) == (3, 1, True, False)
    assert index.subset([2, 0]).indices.tolist() == ["c", "b"]
    with pytest.raises(UnknownItemError, match="no item 'd'; it has 'b', 'a', 'c'"):
        index.position("d")


def test_an_index_is_that_of_a_batch():
    index = Index([7, 5])
    assert Batch(index).indices.tolist() == [7, 5]
    assert Index(Batch(index)).indices.tolist() == [7, 5]


def test_an_id_that_is_there_twice_is_refused():
    with pytest.raises(BatchError, match="same id: 7"):
        Index([7, 8, 7])
    with pytest.raises(BatchError, match="same id: 2"):
        _ = Index([1, 2]) + Index([2, 3])


def test_indices_are_added():
    assert (Index([1, 2]) + Index([3])).indices.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("shares", "sizes"),
    [
        (0.8, [8, 2]),
        ([0.8, 0.2], [8, 2]),
        ((0.6, 0.2, 0.2), [6, 2, 2]),
        ([0.5, 0.3], [5, 3, 2]),
        (1, [10, 0]),
        (0.0, [0, 10]),
        ([1 / 3] * 3, [3, 4, 3]),
        ([0.01, 0.29, 0.7], [0, 3, 7]),
    ],
)
@pytest.mark.parametrize("shuffle", [False, True, 42])
def test_parts_of_a_split_have_all_items_and_share_none(shares, sizes, shuffle):
    parts = Index(10).split(shares, shuffle=shuffle)
    assert [len(part) for part in parts] == sizes
    together = [item_id for part in parts for item_id in part.indices.tolist()]
    assert sorted(together) == list(range(10))
    assert (together == list(range(10))) == (shuffle is False)


def test_a_sum_that_was_rounded_makes_no_part_more():
    assert [len(part) for part in Index(98).split([1 / 49] * 49)] == [2] * 49


def test_a_split_is_drawn_by_its_seed():
    def train(seed):
        return Index(100).split(shuffle=seed)[0].indices.tolist()

    assert train(1) == train(1) != train(2)
    assert train(True) == train(0)
    assert train(np.int64(1)) == train(1)


@pytest.mark.parametrize("share", [0.25, np.float32(0.25), Fraction(1, 4), Decimal("0.25"), [0.25]])
def test_a_share_is_any_number(share):
    assert [len(part) for part in Index(8).split(share)] == [2, 6]


@pytest.mark.parametrize("shares", [[], [0.9, 0.2], -0.1, [0.5, -0.1], float("nan"), 2, None, "0.8", ["a"], {"a": 0.5}])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(SettingError, match="shares is"):
        Index(10).split(shares)


def test_folds_test_each_item_once_and_train_with_all_others():
    folds = Index(10).folds(3)
    assert [fold.test.indices.tolist() for fold in folds] == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]
    for train, test in Index(10).folds(3, shuffle=7):
        assert sorted([*train.indices, *test.indices]) == list(range(10))
    for n in (11, 1, 2.5, "3", None, True):
        with pytest.raises(SettingError, match="from 2 to 10 folds"):
            Index(10).folds(n)


def test_an_index_has_what_is_in_it_and_takes_more():
    index = Index(["a", "b"]) + np.array([3])
    assert index.indices.tolist() == ["a", "b", 3]
    assert (3 in index, "3" in index, [] in index) == (True, False, False)
    with pytest.raises(UnknownItemError, match="no item"):
        index.position([])


# Files


@pytest.fixture
def folder(tmp_path):
    for name in ("cats/1.png", "cats/2.png", "dogs/1.png", "dogs/deep/1.png", "cats/1.txt", "top.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_files_of_one_folder_are_called_by_their_names(folder):
    index = FileIndex(folder / "cats" / "*.png")
    assert index.indices.tolist() == ["1.png", "2.png"]
    assert index.path("2.png") == str(folder / "cats" / "2.png")


@pytest.mark.parametrize(
    ("globs", "ids"),
    [
        ("*/*.png", ["cats/1.png", "cats/2.png", "dogs/1.png"]),
        (["cats/*.png", "dogs/*.png"], ["cats/1.png", "cats/2.png", "dogs/1.png"]),
        (["cats/*.png", "dogs/**/*.png"], ["cats/1.png", "cats/2.png", "dogs/1.png", "dogs/deep/1.png"]),
        (["*.png", "cats/1.png"], ["cats/1.png", "top.png"]),
        (["cats/*.png", "cats/1*"], ["1.png", "1.txt", "2.png"]),
    ],
)
def test_equal_names_in_several_folders_are_kept_apart(folder, globs, ids):
    """Also where globs find different numbers of files."""
    globs = [str(folder / each) for each in ([globs] if isinstance(globs, str) else globs)]
    index = FileIndex(globs)
    assert index.indices.tolist() == ids
    assert all(os.path.isfile(index.path(item_id)) for item_id in ids)


def test_suffixes_are_dropped_if_asked_unless_two_files_would_be_one(folder):
    assert FileIndex(folder / "cats/*.png", no_ext=True).indices.tolist() == ["1", "2"]
    with pytest.raises(BatchError, match=r"'1'.*no_ext=False"):
        FileIndex(folder / "cats/*", no_ext=True)


def test_folders_are_taken_if_asked(folder):
    assert FileIndex(folder / "*", dirs=True).indices.tolist() == ["cats", "dogs"]


def test_a_glob_that_finds_nothing_is_named(folder):
    with pytest.raises(MissingInputError, match=r"jpg' finds no file"):
        FileIndex([folder / "cats/*.png", folder / "cats/*.jpg"])


@pytest.mark.parametrize("path", [None, 3, [], [3], ["*", None]])
def test_what_is_no_glob_is_refused(path):
    with pytest.raises(BatchError, match="no glob, nor several"):
        FileIndex(path)


def test_a_file_is_one_item_however_many_links_lead_to_its_folder(folder):
    os.symlink("..", folder / "cats" / "round")
    os.symlink(folder / "dogs", folder / "cats" / "with_dogs")
    index = FileIndex(folder / "**" / "*.png")
    assert index.indices.tolist() == ["cats/1.png", "cats/2.png", "dogs/1.png", "dogs/deep/1.png", "top.png"]
    assert FileIndex(folder / "cats" / "with_dogs" / "*.png").indices.tolist() == ["1.png"]


def test_a_link_to_a_file_that_is_gone_is_named(folder):
    os.symlink("gone.png", folder / "cats" / "3.png")
    with pytest.raises(MissingInputError, match=r"cats/3.png' is a link that leads nowhere"):
        FileIndex(folder / "cats" / "*.png")


def test_a_batch_takes_along_the_paths_of_its_own_items_only(folder):
    batch = next(BatchSource(FileIndex(folder / "*/*.png")).gen_batch(1))
    assert b"cats/1.png" in pickle.dumps(batch)
    assert b"cats/2.png" not in pickle.dumps(batch)


def test_parts_of_files_know_their_paths(folder):
    index = FileIndex(folder / "*/*.png")
    part = index.split(0.34)[0]
    batch = next(BatchSource(part).gen_batch(1))
    assert batch.index.path(batch.indices[0]) == str(folder / "cats/1.png")
    with pytest.raises(UnknownItemError):
        part.path("dogs/1.png")


# A source


def source_of(n=5, **options):
    return BatchSource(n, preloaded={"images": np.arange(100) * 10, "labels": np.arange(100)}, **options)


def test_batches_come_in_order_with_a_smaller_one_at_the_end():
    batches = list(source_of().gen_batch(2))
    assert ids_of(batches) == [[0, 1], [2, 3], [4]]
    assert [batch.images.tolist() for batch in batches] == [[0, 10], [20, 30], [40]]


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"n_epochs": 2}, [2, 2, 1, 2, 2, 1]),
        ({"n_epochs": 2, "drop_last": True}, [2, 2, 2, 2]),
        ({"n_iters": 4}, [2, 2, 1, 2]),
        ({"n_iters": 0}, []),
        ({"n_epochs": 0}, []),
    ],
)
@pytest.mark.parametrize("prefetch", [0, 2])
def test_epochs_or_iterations_bound_the_batches(options, sizes, prefetch):
    batches = list(source_of().gen_batch(2, prefetch=prefetch, **options))
    assert [batch.size for batch in batches] == sizes
    assert [batch.epoch for batch in batches] == [0, 0, 0, 1, 1, 1][: len(sizes)] or options.get("drop_last")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_iters": 1, "n_epochs": 1}, "Say one of them"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"batch_size": 6, "drop_last": True}, "do not fill a batch of 6"),
        ({"shuffle": "yes"}, "shuffle is 'yes'"),
        ({"prefetch": -1}, "prefetch is -1"),
        ({"workers": 0}, "workers is 0"),
        ({"workers": None, "prefetch": 0}, "workers is None"),
        ({"n_epochs": -1}, "n_epochs is -1"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_asked_for(options, words):
    with pytest.raises(SettingError, match=words):
        source_of().gen_batch(**({"batch_size": 2, "prefetch": 1} | options))


def test_no_items_are_no_batches_and_no_endless_search_for_them():
    assert list(source_of(0).gen_batch(2, n_iters=3)) == []
    with pytest.raises(StopIteration):
        source_of(0).next_batch(2)


def test_each_epoch_has_an_order_of_its_own_by_the_seed():
    def order(shuffle, seed=0):
        batches = source_of(20, seed=seed).gen_batch(20, shuffle, n_epochs=2)
        return [batch.indices.tolist() for batch in batches]

    first, second = order(42)
    assert sorted(first) == sorted(second) == list(range(20))
    assert len({tuple(first), tuple(second), tuple(range(20))}) == 3
    assert order(42) == order(True, seed=42) == order(42, seed=3)


def test_the_next_batch_goes_on_until_other_arguments_or_a_reset():
    source = source_of()
    assert ids_of(source.next_batch(2) for _ in range(4)) == [[0, 1], [2, 3], [4], [0, 1]]
    assert source.next_batch(3).indices.tolist() == [0, 1, 2]
    assert source.next_batch(3).indices.tolist() == [3, 4]
    source.reset()
    assert source.next_batch(3).indices.tolist() == [0, 1, 2]
    assert source.next_batch(5, n_epochs=1).size == 5
    with pytest.raises(StopIteration):
        source.next_batch(5, n_epochs=1)


def take_time(batch):
    time.sleep(0.01)
    return batch


def test_threads_that_ask_for_the_next_batch_have_each_item_once():
    source = source_of(40)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(source.next_batch, 2, n_epochs=1, action=take_time) for _ in range(20)]
    assert sorted(item_id for future in asked for item_id in future.result().indices) == list(range(40))


def test_who_asks_for_the_next_batch_while_one_is_made_does_not_wait_for_ever():
    source = source_of()

    def ask(batch):
        return source.next_batch(2, action=ask)

    with pytest.raises(ValueError, match="already executing"):
        source.next_batch(2, action=ask)


def test_next_and_generated_batches_are_the_same():
    def draw(batch):
        return batch.apply_parallel(add_noise, src="images", requires_rng=True).images.tolist()

    source = source_of(12, seed=42)
    generated = [draw(batch) for batch in source.gen_batch(4, True, n_epochs=2)]
    assert [draw(source.next_batch(4, True, prefetch=2)) for _ in range(6)] == generated
    source.reset()


@pytest.mark.parametrize("shuffle", [False, True, 42])
@pytest.mark.parametrize("again", [{"prefetch": 5, "workers": 7}, {"prefetch": 1, "engine": "processes"}, {}], ids=str)
def test_what_comes_behind_a_batch_comes_again_with_its_state(shuffle, again):
    """Also in another program, and with another number of workers."""
    options = {"batch_size": 4, "shuffle": shuffle, "n_epochs": 3, "action": noisy}
    batches = list(source_of(10, seed=7).gen_batch(**options))
    for k in (0, 2, 4, 8):
        state = json.loads(json.dumps(batches[k].state_dict()))
        resumed = list(source_of(10, seed=7).gen_batch(**options, **again, state=state))
        assert ids_of(resumed) == ids_of(batches[k + 1 :])
        assert values_of(resumed) == values_of(batches[k + 1 :])


def test_another_size_of_a_batch_goes_on_with_the_next_item():
    first, *_ = source_of(10).gen_batch(4, True, n_epochs=2)
    order = [batch.indices.tolist() for batch in source_of(10).gen_batch(10, True, n_epochs=2)]
    rest = source_of(10).gen_batch(3, True, n_epochs=2, state=first.state_dict())
    assert ids_of(rest) == [order[0][4:7], order[0][7:], order[1][:3], order[1][3:6], order[1][6:9], order[1][9:]]


def test_the_next_batches_and_those_of_a_flow_go_on_with_a_state():
    chain = source_of(5) >> Flow().apply_parallel(np.negative, src="images")
    state = chain.next_batch(2).state_dict()
    assert [chain.next_batch(2, state=state).images.tolist() for _ in range(2)] == [[-20, -30], [-40]]
    assert source_of(5).next_batch(2, state=state).indices.tolist() == [2, 3]
    counted = source_of(5).gen_batch(2, n_iters=2, state=state)
    assert ids_of(counted) == [[2, 3], [4]]


@pytest.mark.parametrize(
    ("source", "shuffle", "words"),
    [
        (source_of(6), True, "digest"),
        (source_of(5, seed=1), True, "digest"),
        (BatchSource([0, 1, 2, 4, 3]), True, "digest"),
        (source_of(5), False, "shuffle"),
        (source_of(5), 3, "seed"),
    ],
)
def test_a_state_of_other_items_or_another_order_is_refused_at_once(source, shuffle, words):
    state = next(source_of(5).gen_batch(2, True)).state_dict()
    with pytest.raises(StateError, match=words):
        source.gen_batch(2, shuffle, state=state)


def test_a_state_of_other_data_of_a_directory_is_refused(datasets):
    images, masks = datasets
    state = next(images.batch_source("images", masks=masks).gen_batch(2)).state_dict()
    with pytest.raises(StateError, match="digest"):
        masks.batch_source("images", masks=masks).gen_batch(2, state=state)


def test_a_batch_that_no_source_gave_has_no_state():
    batch = next(source_of(5).gen_batch(4))
    for other in (batch[:2], Batch(3), Batch.merge([batch, batch])[0], pickle.loads(pickle.dumps(batch))):
        with pytest.raises(StateError, match="was not given by gen_batch"):
            other.state_dict()
    with pytest.raises(StateError, match="no state of batches"):
        source_of(5).gen_batch(2, state={})


def test_a_batch_knows_its_source_its_seed_and_class():
    class Pictures(Batch):
        components = "images", "masks"

    source = source_of(batch_class=Pictures, seed=7)
    for prefetch in (0, 1):
        batch = next(source.gen_batch(2, prefetch=prefetch))
        assert (type(batch), batch.dataset, batch.seed, batch.masks) == (Pictures, source, 7, None)


def test_batches_of_a_class_that_cannot_be_imported_come_from_processes():
    """As in a notebook; and they are of that class, not of a copy of it."""

    class Local(Batch):
        components = "images", "labels"

    batches = list(source_of(batch_class=Local).gen_batch(3, prefetch=1, engine="processes"))
    assert [type(batch) for batch in batches] == [Local, Local]
    assert batches[0].images.tolist() == [0, 10, 20]


def test_a_part_of_a_source_has_its_data():
    train, test = source_of(10, seed=3).split(0.7, shuffle=1)
    assert (len(train), len(test), test.seed) == (7, 3, 3)
    for batch in test.gen_batch(3):
        assert (batch.images == batch.indices * 10).all()


def test_a_batch_becomes_a_source():
    source = Batch.from_data([7, 3, 5], {"images": [70, 30, 50]}).as_dataset(BatchSource)
    assert [batch.images.tolist() for batch in source.gen_batch(2)] == [[70, 30], [50]]


# Random numbers


def add_noise(image, rng):
    return image + rng.uniform()


def noisy(batch):
    return batch.apply_parallel(add_noise, src="images", dst="noisy", requires_rng=True, target="for")


def values_of(batches):
    return {
        (batch.epoch, item_id): batch.get(item_id, "noisy").item() for batch in batches for item_id in batch.indices
    }


@pytest.fixture(scope="module")
def expected():
    return values_of(map(noisy, source_of(12, seed=42).gen_batch(4, True, n_epochs=2)))


@pytest.mark.parametrize("prefetch", [0, 1, 2, 5])
@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("size", [1, 4, 12])
def test_values_depend_on_no_workers_prefetch_or_size_of_a_batch(expected, prefetch, workers, size):
    batches = source_of(12, seed=42).gen_batch(size, True, n_epochs=2, prefetch=prefetch, workers=workers, action=noisy)
    assert values_of(batches) == expected


def test_values_do_not_depend_on_processes(expected):
    batches = source_of(12, seed=42).gen_batch(
        4, True, n_epochs=2, prefetch=2, workers=2, engine="processes", action=noisy
    )
    batches = list(batches)
    assert values_of(batches) == expected
    assert batches[0].components == ("images", "labels", "noisy")


@pytest.mark.parametrize("target", ["for", "threads", "async", "mpc"])
def test_values_do_not_depend_on_the_target(expected, target):
    def done(batch):
        return batch.apply_parallel(add_noise, src="images", dst="noisy", requires_rng=True, target=target)

    batches = source_of(12, seed=42).gen_batch(4, True, n_epochs=2, prefetch=2, action=done)
    assert values_of(batches) == expected


def test_the_order_depends_on_no_workers():
    orders = {
        tuple(map(tuple, ids_of(source_of(12).gen_batch(4, 42, prefetch=prefetch, workers=workers))))
        for prefetch, workers in [(0, 1), (1, 1), (2, 7), (5, 2)]
    }
    assert len(orders) == 1


# Errors and early ends


def fail_at(bad, batch):
    if bad in batch.indices:
        raise ValueError("there is no picture")
    return batch


@pytest.mark.parametrize("engine", ["threads", "processes"])
@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_an_error_is_raised_where_its_batch_would_be(engine, prefetch):
    batches = source_of(8).gen_batch(2, prefetch=prefetch, engine=engine, action=partial(fail_at, 4))
    assert ids_of([next(batches), next(batches)]) == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="no picture") as raised:
        next(batches)
    assert any("'4', '5'" in note for note in raised.value.__notes__)
    with pytest.raises(StopIteration):
        next(batches)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_data_that_is_not_there_is_an_error_in_its_place(prefetch):
    source = BatchSource(6, preloaded={"images": np.arange(4)})
    batches = source.gen_batch(2, prefetch=prefetch)
    assert ids_of([next(batches), next(batches)]) == [[0, 1], [2, 3]]
    with pytest.raises(UnknownItemError, match="4"):
        next(batches)


@pytest.mark.parametrize("prefetch", [0, 1])
def test_an_action_gives_a_batch_or_none_for_the_same_one(prefetch):
    (batch,) = source_of(2).gen_batch(2, prefetch=prefetch, action=lambda batch: batch.put("labels", [7, 7]))
    assert batch.labels.tolist() == [7, 7]
    with pytest.raises(BatchError, match="returned 2, and neither a batch nor None"):
        next(source_of(2).gen_batch(2, prefetch=prefetch, action=len))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_behind_an_error_there_is_no_next_batch_and_no_end_either(prefetch):
    source = source_of(8)
    options = {"prefetch": prefetch, "action": partial(fail_at, 2)}
    assert source.next_batch(2, **options).indices.tolist() == [0, 1]
    with pytest.raises(ValueError, match="no picture"):
        source.next_batch(2, **options)
    with pytest.raises(BatchError, match=r"ended with ValueError\('there is no picture'\)\. Call reset\(\)"):
        source.next_batch(2, **options)
    source.reset()
    assert source.next_batch(2, **options).indices.tolist() == [0, 1]
    source.reset()


@pytest.mark.parametrize("seed", [None, "abc", 2.5])
def test_a_seed_is_an_integer(seed):
    with pytest.raises(SettingError, match="seed is"):
        source_of(seed=seed)


def test_closing_early_ends_the_workers_and_begins_no_other_batch():
    begun, before = [], set(threading.enumerate())
    batches = source_of(100).gen_batch(1, prefetch=2, workers=2, action=lambda batch: begun.append(batch) or batch)
    next(batches)
    assert set(threading.enumerate()) > before
    batches.close()
    count = len(begun)
    assert count <= 6
    assert set(threading.enumerate()) <= before
    assert len(begun) == count


def test_a_program_that_leaves_batches_behind_comes_to_its_end():
    """Neither closed, nor had to the end, nor without an error."""
    program = """
import numpy as np
from luisy_dir import BatchSource
source = BatchSource(100, preloaded={"images": np.arange(100)})
left = source.gen_batch(1, prefetch=3, workers=2)
next(left)
source.next_batch(1, prefetch=3, workers=2)
raise SystemExit(7)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 7


# Batches of another size


@pytest.mark.parametrize("prefetch", [0, 2])
def test_batches_are_put_together_anew_within_an_epoch(prefetch):
    def sizes(size, **options):
        batches = source_of(7).gen_batch(2, n_epochs=2, prefetch=prefetch)
        return ids_of(rebatched(batches, size, **options))

    assert sizes(3) == [[0, 1, 2], [3, 4, 5], [6]] * 2
    assert sizes(1) == [[n] for n in range(7)] * 2
    assert sizes(3, drop_last=True) == [[0, 1, 2], [3, 4, 5]] * 2


def test_batches_that_were_left_without_items_are_passed_over():
    batches = source_of(6).gen_batch(2, n_epochs=2, action=lambda batch: batch[batch.indices < 3])
    assert ids_of(rebatched(batches, 2)) == [[0, 1], [2]] * 2


def test_leaving_them_early_ends_the_workers():
    for sizes, size in (([1] * 7, 7), ([7], 1), ([5, 0, 4], 3), ([2, 2], 4), ([1, 6], 8)):
        ids = iter(range(sum(sizes)))
        given = [Batch.from_data([next(ids) for _ in range(count)], {"x": np.zeros(count)}) for count in sizes]
        whole, rest = divmod(sum(sizes), size)
        together = ids_of(rebatched(given, size))
        assert [len(each) for each in together] == [size] * whole + [rest] * (rest > 0)
        assert [item_id for each in together for item_id in each] == list(range(sum(sizes)))

    before = set(threading.enumerate())
    batches = rebatched(source_of(100).gen_batch(2, prefetch=2), 3)
    assert next(batches).images.tolist() == [0, 10, 20]
    assert set(threading.enumerate()) > before
    batches.close()
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(("sizes", "size"), [([1] * 50, 50), ([50], 1), ([7] * 8, 5)])
def test_each_row_is_copied_once_into_a_batch_of_another_size(sizes, size):
    """Not once for each batch that comes before it in the same batch, or after it."""

    class Counting(Batch):
        rows = 0

        @classmethod
        def merge_component(cls, component=None, data=None):
            Counting.rows += sum(map(len, data))
            return super().merge_component(component, data)

    batches = [
        Counting.from_data([(number, n) for n in range(count)], {"x": np.zeros(count)})
        for number, count in enumerate(sizes)
    ]
    assert sum(batch.size for batch in rebatched(batches, size)) == sum(sizes)
    assert Counting.rows == sum(sizes)


def test_equal_ids_in_different_batches_are_kept():
    batches = [Batch.from_data([0, 1, 2], {"x": [0, 1, 2]}) for _ in range(2)]
    assert [(batch.indices.tolist(), batch.x.tolist()) for batch in rebatched(batches, 2)] == [
        (ids, ids) for ids in ([0, 1], [2, 0], [1, 2])
    ]


# Directories


@pytest.fixture
def datasets(tmp_path, request):
    for name, factor in (("images", 1), ("masks", 100)):
        with write_dataset(tmp_path / name) as writer:
            for key in range(6):
                writer.add(f"pets/{key}", np.full((2, 2), key * factor))
    yield open_dataset(tmp_path / "images"), open_dataset(tmp_path / "masks")
    request.node.funcargs.clear()  # which hold their maps until the test is torn down


@pytest.mark.parametrize("options", [{}, {"prefetch": 2}, {"prefetch": 1, "workers": 2, "engine": "processes"}])
def test_directories_are_components_of_the_same_items(datasets, options):
    images, masks = datasets
    for batch in images.batch_source("images", masks=masks).gen_batch(4, shuffle=5, **options):
        assert batch.components == ("images", "masks")
        assert batch.images.shape == (batch.size, 2, 2)
        assert (batch.masks == batch.images * 100).all()
        assert [f"pets/{image[0, 0]}" for image in batch.images] == batch.indices.tolist()


def test_directories_of_other_keys_are_refused(datasets):
    images, masks = datasets
    with pytest.raises(BatchError, match=r"'pets/5' are in 'images' or in 'masks', and not in both"):
        images.batch_source("images", masks=masks[:5])
    with pytest.raises(BatchError, match=r"'pets/5' are in 'images' or in 'masks', and not in both"):
        images[:5].batch_source("images", masks=masks)


def test_two_datasets_of_one_name_are_refused(datasets):
    """Else one of them would be passed over: the first is called images, unless another name is said."""
    images, masks = datasets
    with pytest.raises(BatchError, match="Two datasets are to be 'images'"):
        masks.batch_source(images=images)


@pytest.mark.parametrize("other", [[1, 2], np.zeros(6), {"pets/0": 1}, None])
def test_what_has_no_keys_is_no_dataset_to_join(datasets, other):
    with pytest.raises(BatchError, match=r"'masks' is a .* has no keys of items"):
        datasets[0].batch_source("images", masks=other)


def test_what_is_random_in_a_dataset_belongs_to_the_epoch(datasets):
    images = datasets[0].map(lambda image, item: image + item.rng.uniform(size=image.shape))
    first, second, again = (batch.images for batch in images.batch_source().gen_batch(6, n_epochs=3))
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, again)
    assert np.array_equal(first, next(images.batch_source().gen_batch(6)).images)
    nameless = BatchSource(images.keys, preloaded=images).gen_batch(6, n_epochs=2)
    assert [np.array_equal(batch.data, data) for batch, data in zip(nameless, (first, second), strict=True)] == [
        True,
        True,
    ]


def test_a_source_is_pickled(datasets):
    source = datasets[0].batch_source()
    source.next_batch(2)
    copy = pickle.loads(pickle.dumps(source))
    assert copy.next_batch(2).indices.tolist() == ["pets/0", "pets/1"]
    source.reset()
