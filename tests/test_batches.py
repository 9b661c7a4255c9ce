"""Batches: the same whoever loads them, to be gone on with anywhere, and nothing left running."""

import gc
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_items import (
    Counted,
    Deadly,
    InMemory,
    OnDisk,
    Raising,
    Slow,
    Unkind,
    Unwelcome,
    Watched,
    Weighing,
    die,
    noise,
    numbered,
    raise_on_three,
)

from luisy_dir.dataset.batches import Batches, DatasetBatch
from luisy_dir.dataset.collation import collation_for, crop, ragged
from luisy_dir.dataset.errand import do_errand
from luisy_dir.dataset.loading import Loader, Portion
from luisy_dir.engines import slate
from luisy_dir.errors import CollationError, DefinitionError, SettingError, StateError, WorkerDiedError

ENGINES = [
    pytest.param({}, id="serial"),
    pytest.param({"workers": 2}, id="threads"),
    pytest.param({"workers": 2, "engine": "processes"}, id="processes"),
]
WORKERS = [
    {"workers": workers, "engine": engine, "prefetch": prefetch}
    for engine in ("threads", "processes")
    for workers, prefetch in [(1, 0), (2, 1), (7, 5)]
]


def facts_of(batches):
    """All that a batch says, so that two can be compared."""
    return [(batch.epoch, batch.keys, batch.positions.tolist(), np.asarray(batch.data).tolist()) for batch in batches]


def keys_of(batches):
    return [key for batch in batches for key in batch.keys]


def alive():
    """Threads and processes that load."""
    return [thread for thread in threading.enumerate() if "luisy" in thread.name], multiprocessing.active_children()


# --- what a batch is


def test_a_batch_says_which_items_it_has():
    batch = next(iter(Batches(numbered(5), 2)))

    assert (batch.keys, batch.positions.tolist(), batch.epoch, len(batch)) == (("k0", "k1"), [0, 1], 0, 2)
    assert batch.positions.dtype == np.int64
    assert batch.data.tolist() == [[0, 0], [1, 10]]
    assert (batch.lengths, batch.mask) == (None, None)


def test_a_padded_batch_has_lengths_and_a_mask():
    batch = next(iter(Batches(InMemory({"a": np.ones(1), "b": np.ones(2)}), 2, collate="pad")))

    assert batch.lengths.tolist() == [[1], [2]]
    assert batch.mask.tolist() == [[True, False], [True, True]]


def test_two_batches_can_be_compared_though_they_hold_arrays():
    batch = next(iter(Batches(numbered(2), 2)))

    assert batch == batch  # noqa: PLR0124 - not by the truth of an array
    assert batch != DatasetBatch(batch.keys, batch.positions, 0, batch.data)


def test_writing_to_positions_changes_no_other_batch():
    iterator = iter(Batches(numbered(4), 2))
    next(iterator).positions[:] = 99

    assert next(iterator).positions.tolist() == [2, 3]


@given(st.integers(0, 30), st.integers(1, 8), st.booleans(), st.integers(1, 4))
def test_there_are_as_many_batches_as_it_says(count, size, drop_last, world):
    if drop_last and 0 < count < size * world:
        return
    for rank in range(world):
        batches = Batches(numbered(count), size, drop_last=drop_last, rank=rank, world=world)
        assert len(batches) == len(list(batches))


@given(st.integers(0, 30), st.integers(1, 8), st.integers(1, 4), st.integers(0, 5), st.booleans())
def test_every_item_comes_once_an_epoch_over_all_ranks(count, size, world, seed, shuffle):
    ranks = [
        Batches(numbered(count), size, shuffle=shuffle, seed=seed, rank=rank, world=world) for rank in range(world)
    ]

    for _ in range(2):
        assert sorted(key for rank in ranks for key in keys_of(rank)) == sorted(numbered(count).keys)


def test_files_are_read_as_memory_maps(tmp_path):
    arrays = {f"a{n}": np.random.default_rng(n).random((n + 1, 3)) for n in range(6)}

    batches = list(Batches(OnDisk(tmp_path, arrays), 4, collate="pad", workers=2))

    for batch in batches:
        for key, data, mask in zip(batch.keys, batch.data, batch.mask, strict=True):
            np.testing.assert_array_equal(data[mask].reshape(-1, 3), arrays[key])


# --- epochs


def test_each_iteration_is_the_next_epoch():
    batches = Batches(numbered(20), 5, shuffle=True)

    first, second = list(batches), list(batches)

    assert ({batch.epoch for batch in first}, {batch.epoch for batch in second}) == ({0}, {1})
    assert keys_of(first) != keys_of(second)
    assert sorted(keys_of(first)) == sorted(keys_of(second))


def test_an_iteration_that_was_left_is_not_gone_on_with():
    batches = Batches(numbered(20), 5)
    next(iter(batches))

    assert {batch.epoch for batch in batches} == {1}
    assert batches.epoch == 2


def test_an_epoch_can_be_chosen():
    batches = Batches(numbered(20), 5, shuffle=True)
    list(batches)
    second = facts_of(batches)

    assert facts_of(batches.at_epoch(1)) == second
    assert batches.epoch == 2


def test_iterations_side_by_side_are_epochs_of_their_own():
    batches = Batches(numbered(6), 2, workers=2)

    pairs = list(zip(batches, batches, strict=True))
    batches.close()

    assert [(one.epoch, other.epoch, one.keys == other.keys) for one, other in pairs] == [(0, 1, True)] * 3


def test_no_items_are_no_batches():
    assert list(Batches(numbered(0), 3, drop_last=True, shuffle=True, workers=2)) == []


# --- the same whoever loads


@pytest.mark.parametrize("how", WORKERS, ids=lambda how: "-".join(map(str, how.values())))
def test_workers_and_prefetch_change_no_value(how):
    options = {"shuffle": True, "seed": 3, "collate": noise}
    expected = Batches(numbered(23), 4, **options)

    with Batches(numbered(23), 4, **options, **how) as batches:
        for _ in range(2):
            assert facts_of(batches) == facts_of(expected)


@given(st.integers(0, 40), st.integers(1, 9), st.integers(0, 3), st.sampled_from([1, 2, 7]), st.sampled_from([0, 1, 5]))
def test_threads_change_no_value(count, size, seed, workers, prefetch):
    items = InMemory({f"k{number}": np.arange(number % 5 + 2) for number in range(count)})
    options = {"shuffle": True, "seed": seed, "collate": crop("random", to=2)}

    with Batches(items, size, **options, workers=workers, prefetch=prefetch) as batches:
        assert facts_of(batches) == facts_of(Batches(items, size, **options))


@pytest.mark.parametrize("how", ENGINES)
def test_random_numbers_belong_to_an_item_of_an_epoch(how):
    """Whatever the batch, its size or the order."""

    def drawn(size, **options):
        with Batches(numbered(12), size, collate=noise, seed=5, **options) as batches:
            return {
                (batch.epoch, key): number
                for _ in range(2)
                for batch in batches
                for key, number in zip(batch.keys, batch.data, strict=True)
            }

    expected = drawn(5)
    assert len(set(expected.values())) == 24
    assert drawn(4, shuffle=True, **how) == expected


@pytest.mark.parametrize("how", ENGINES)
def test_a_function_of_the_users_may_be_local(how):
    factor = 3

    with Batches(numbered(4), 2, collate=lambda data: factor * np.stack(data), **how) as batches:
        assert facts_of(batches)[1][3] == [[6, 60], [9, 90]]


@pytest.mark.parametrize("how", ENGINES)
def test_items_that_are_no_arrays_come_as_they_are(how):
    items = InMemory({"a": {"x": 1}, "b": "text"})

    with Batches(items, 2, collate=ragged(), **how) as batches:
        assert next(iter(batches)).data == [{"x": 1}, "text"]


# --- loaded ahead


@pytest.mark.parametrize(("workers", "prefetch"), [(1, 0), (1, 3), (2, 0), (2, 1)])
def test_no_more_batches_are_under_way_than_prefetch_and_workers(workers, prefetch):
    items = Counted(50)

    with Batches(items, 1, workers=workers, prefetch=prefetch) as batches:
        next(iterator := iter(batches))
        assert items.begun_in_the_end(1 + workers + prefetch) == 1 + workers + prefetch
        next(iterator)
        assert items.begun_in_the_end(2 + workers + prefetch) == 2 + workers + prefetch


def test_no_more_are_sent_out_while_the_first_is_waited_for():
    items = Counted(50, held_from=0)
    items.keys = Watched(items.keys)
    opener = threading.Timer(0.3, lambda: (items.keys.asked.append("open"), items.gate.set()))
    opener.start()

    with Batches(items, 1, workers=2, prefetch=3) as batches:
        next(iter(batches))

    opener.join()
    assert items.keys.asked[: items.keys.asked.index("open")] == [0, 1, 2, 3, 4]


def test_nothing_is_read_before_the_first_batch_is_asked_for():
    items = Counted(10)

    iterator = iter(Batches(items, 2, workers=2))

    assert items.begun == 0
    assert iterator.__next__().keys == ("k0", "k1")


def test_batches_come_in_order_though_a_later_one_is_ready_first():
    items = Slow(6, os.getcwd(), 0)
    items.read = lambda position, epoch: (time.sleep(0.05 * (position < 2)), np.array(position))[1]

    with Batches(items, 1, workers=2, prefetch=4) as batches:
        assert keys_of(batches) == items.keys


def test_what_makes_the_batches_crosses_once():
    """A dataset of a million keys takes megabytes."""
    items = InMemory({f"k{number}": np.zeros(1000) for number in range(20)})

    list(Batches(items, 2, workers=1, engine="small_items:weighing"))

    assert len(Weighing.sent) == 10
    assert [size > 100_000 for size in Weighing.sent] == [True] + [False] * 9


# --- errors


@pytest.mark.parametrize("how", ENGINES)
def test_an_error_comes_at_its_place_with_the_key_and_of_its_kind(how):
    with Batches(Raising(9, "k4", KeyError("gone")), 2, prefetch=3, **how) as batches:
        iterator = iter(batches)
        assert [next(iterator).keys, next(iterator).keys] == [("k0", "k1"), ("k2", "k3")]

        with pytest.raises(KeyError, match="gone") as caught:
            next(iterator)

    assert caught.value.__notes__[:2] == ["This was the item 'k4'.", "It was read at position 4 in epoch 0."]


def test_an_error_of_a_worker_process_says_where_it_was_raised():
    with (
        Batches(Raising(3, "k1", KeyError("gone")), 2, workers=1, engine="processes") as batches,
        pytest.raises(KeyError) as caught,
    ):
        next(iter(batches))

    assert "small_items.py" in caught.value.__notes__[-1]


@pytest.mark.parametrize("how", ENGINES)
def test_an_error_of_a_collation_names_the_items(how):
    with (
        Batches(numbered(4), 2, collate=raise_on_three, **how) as batches,
        pytest.raises(KeyError, match="three") as caught,
    ):
        list(batches)

    assert "'k2', 'k3'" in caught.value.__notes__[0]


def test_an_error_that_cannot_cross_comes_as_one_that_says_the_same():
    with (
        Batches(Raising(3, "k1", partial(Unkind, "one", "two")), 2, workers=1, engine="processes") as batches,
        pytest.raises(RuntimeError, match="Unkind: one") as caught,
    ):
        next(iter(batches))

    assert "'k1'" in caught.value.__notes__[0]


@pytest.mark.parametrize("how", ENGINES)
def test_items_that_say_that_an_iteration_is_over_do_not_end_the_epoch(how):
    """A StopIteration that gets out of a read would look like the end of the loop, and items would be missing."""
    with Batches(Raising(9, "k4", StopIteration()), 2, **how) as batches, pytest.raises(RuntimeError):
        list(batches)


@pytest.mark.parametrize("how", ENGINES)
def test_after_an_error_the_state_is_that_of_the_batch_before_it(how):
    items = Raising(9, "k4", OSError("the disk"))
    with Batches(items, 2, **how) as batches:
        with pytest.raises(OSError, match="the disk"):
            list(batches)
        items_mended = numbered(9)
        items_mended.digest = items.digest
        again = Batches(items_mended, 2)
        again.load_state_dict(batches.state_dict())

    assert keys_of(again) == ["k4", "k5", "k6", "k7", "k8"]


def test_what_cannot_be_sent_to_workers_is_said():
    items = numbered(4)
    items.lock = threading.Lock()

    with Batches(items, 2, workers=1, engine="processes") as batches, pytest.raises(DefinitionError, match="threads"):
        next(iter(batches))


def test_what_a_worker_cannot_unpickle_is_said():
    with (
        Batches(Raising(3, "k1", Unwelcome()), 2, workers=1, engine="processes") as batches,
        pytest.raises(DefinitionError, match=r"cannot unpickle.*not here.*threads"),
    ):
        next(iter(batches))


def test_what_a_worker_cannot_send_back_is_said():
    with (
        Batches(numbered(4), 2, collate=lambda _: threading.Lock(), workers=1, engine="processes") as batches,
        pytest.raises(TypeError, match="pickle"),
    ):
        next(iter(batches))


def test_shapes_that_differ_are_named_by_their_keys():
    items = InMemory({"left": np.zeros(2), "right": np.zeros(3)})

    with pytest.raises(CollationError, match=r"'left' has shape \(2,\) and 'right' \(3,\)"):
        list(Batches(items, 2))


def test_a_worker_process_that_dies_is_an_error_that_names_item_and_batch():
    with Batches(Deadly(9, "k3"), 2, workers=2, engine="processes") as batches:
        iterator = iter(batches)
        next(iterator)

        with pytest.raises(WorkerDiedError, match=r"'k2', 'k3'.*SIGKILL.*while it read 'k3'"):
            next(iterator)


def test_of_a_worker_that_dies_after_it_has_read_no_item_is_blamed():
    with (
        Batches(numbered(4), 2, collate=die, workers=1, engine="processes") as batches,
        pytest.raises(WorkerDiedError) as caught,
    ):
        next(iter(batches))

    assert "'k0', 'k1'" in str(caught.value)
    assert "while it read" not in str(caught.value)


def test_a_worker_has_nothing_in_hand_after_a_batch(monkeypatch):
    """Else one that dies while it waits would look as if an item had ended it."""
    taken = []
    note = SimpleNamespace(take=taken.append, put_down=lambda: taken.append("nothing"))
    monkeypatch.setattr(slate, "_mine", note)
    loader = Loader(numbered(2), collation_for("stack"), 0)

    do_errand("its digest", pickle.dumps(loader), Portion(("k0", "k1"), np.array([0, 1]), 0, 2))

    assert taken == [0, 1, 2, "nothing"]


def test_after_a_death_the_next_epoch_is_loaded_by_other_workers():
    """They have not been sent what to do, and ask for it."""
    with Batches(Deadly(9, "k3"), 2, workers=1, engine="processes") as batches:
        with pytest.raises(WorkerDiedError):
            list(batches)

        assert keys_of(batches) == numbered(9).keys


def test_an_engine_that_takes_no_more_is_an_error_at_its_place():
    batches = Batches(numbered(9), 2, workers=3, engine="small_items:tired")
    iterator = iter(batches)

    assert [next(iterator).keys, next(iterator).keys] == [("k0", "k1"), ("k2", "k3")]
    with pytest.raises(WorkerDiedError, match=r"'k4', 'k5'.*too much"):
        next(iterator)


def test_after_that_the_next_epoch_has_another_engine():
    batches = Batches(numbered(9), 2, workers=3, engine="small_items:tired")
    with pytest.raises(WorkerDiedError):
        list(batches)

    assert next(iter(batches)).epoch == 1


def test_where_workers_die_before_they_read_anything_nobody_waits_for_ever():
    items = numbered(9)
    items.__class__ = type("DeadOnArrival", (InMemory,), {"__setstate__": lambda self, state: os.kill(os.getpid(), 9)})

    with (
        Batches(items, 2, workers=1, engine="processes") as batches,
        pytest.raises(WorkerDiedError, match="'k0', 'k1'"),
    ):
        list(batches)


# --- the end


@pytest.mark.parametrize("how", ENGINES)
def test_after_leaving_early_nothing_is_read_any_more(how, tmp_path):
    with Batches(Slow(40, tmp_path, 0.02), 1, **how) as batches:
        for _ in batches:
            break
        read = len(os.listdir(tmp_path))
        time.sleep(0.2)

        assert len(os.listdir(tmp_path)) == read < 10


def test_after_an_error_nothing_is_read_any_more():
    items = Counted(50)
    with Batches(items, 1, workers=2, prefetch=3, collate=raise_on_three) as batches:
        with pytest.raises(KeyError):
            list(batches)
        begun = items.begun

        assert items.begun_in_the_end(begun) == begun < 12


def test_leaving_early_does_not_wait_for_the_rest_of_a_batch():
    items = Counted(1000, held_from=10)
    with Batches(items, 10, workers=1, prefetch=0) as batches:
        next(iterator := iter(batches))
        assert items.begun_in_the_end(11) == 11
        threading.Timer(0.1, items.gate.set).start()

        iterator.close()

        assert items.begun_in_the_end(11) == 11


def test_an_iteration_is_closed_in_another_thread_without_waiting():
    """The garbage collector closes it in any thread, also in one of those that load, which cannot wait for itself."""
    items = Counted(10, held_from=1)
    with Batches(items, 1, workers=1, prefetch=0) as batches:
        next(iterator := iter(batches))
        assert items.begun_in_the_end(2) == 2
        closer = threading.Thread(target=iterator.close, daemon=True)

        closer.start()
        closer.join(20)

        is_over = not closer.is_alive()
        items.gate.set()
        assert is_over


@pytest.mark.parametrize("how", ENGINES[1:])
def test_closing_ends_threads_and_processes(how):
    with Batches(numbered(9), 2, **how) as batches:
        next(iter(batches))
        assert any(alive())

    assert alive() == ([], [])


@pytest.mark.parametrize("how", ENGINES[1:])
def test_batches_that_nobody_has_any_more_end_their_threads_and_processes(how):
    for _ in Batches(numbered(9), 2, **how):
        break

    gc.collect()
    deadline = time.monotonic() + 20
    while any(alive()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert alive() == ([], [])


@pytest.mark.parametrize("how", ENGINES[1:])
def test_workers_are_kept_from_one_epoch_to_the_next(how):
    with Batches(numbered(9), 2, **how) as batches:
        list(batches)
        first = [thread.ident for thread in alive()[0]], [process.pid for process in alive()[1]]
        list(batches)

        assert ([thread.ident for thread in alive()[0]], [process.pid for process in alive()[1]]) == first


@pytest.mark.parametrize("how", ENGINES[1:])
def test_an_iteration_over_closed_batches_is_an_error_and_no_end(how):
    batches = Batches(numbered(50), 2, **how)
    next(iterator := iter(batches))

    batches.close()

    with pytest.raises(RuntimeError, match="were closed"):
        next(iterator)


@pytest.mark.parametrize("how", ENGINES[1:])
def test_closed_batches_can_be_iterated_over_anew(how):
    with Batches(numbered(9), 2, **how) as batches:
        list(batches)
        batches.close()

        assert keys_of(batches) == numbered(9).keys


SCRIPT = """
    import os, sys, time
    sys.path.insert(0, {tests!r})
    from small_items import Slow
    from luisy_dir.dataset.batches import Batches

    if __name__ == "__main__":
        batches = Batches(Slow(40, {folder!r}, {seconds}), 1, workers=2, engine={engine!r})
        iterator = iter(batches)
        next(iterator)
        print("begun", flush=True)
        {then}
"""


def started(tmp_path, engine, then, seconds):
    folder = tmp_path / "read"
    folder.mkdir()
    script = tmp_path / "script.py"
    text = SCRIPT.format(tests=os.path.dirname(__file__), folder=str(folder), engine=engine, then=then, seconds=seconds)
    script.write_text(textwrap.dedent(text))
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "begun\n"
    return process, folder


def still_running(folder):
    """Processes that have read something, and are still there."""
    return [name for name in os.listdir(folder) if os.path.exists(f"/proc/{name.partition('-')[2]}")]


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_ctrl_c_ends_the_program_and_its_workers(engine, tmp_path):
    """A worker process has half a second to finish what it reads, here a minute; threads cannot be killed."""
    seconds = {"threads": 0.3, "processes": 60}[engine]
    process, folder = started(tmp_path, engine, "next(iterator)", seconds)
    with process:
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)

    assert "KeyboardInterrupt" in errors
    assert still_running(folder) == []


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_program_that_leaves_batches_open_ends(engine, tmp_path):
    process, folder = started(tmp_path, engine, "pass", 0.01)
    with process:
        _, errors = process.communicate(timeout=30)

    assert (process.returncode, errors) == (0, "")
    assert still_running(folder) == []


UNGUARDED = """
    import sys
    sys.path.insert(0, {tests!r})
    from small_items import numbered
    from luisy_dir.dataset.batches import Batches

    class Pair:
        def __init__(self, data):
            self.data = data

    with Batches(numbered(4), 2, collate=Pair, workers=2, engine="processes") as batches:
        print([isinstance(batch.data, Pair) for batch in batches])
"""


def test_a_script_needs_no_guard_to_have_worker_processes(tmp_path):
    """They do not import it, as it may do what takes long; what it defines itself crosses by value, there and back."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(UNGUARDED.format(tests=os.path.dirname(__file__))))

    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)

    assert (ended.stdout, ended.stderr) == ("[True, True]\n", "")


# --- the state


def test_a_state_is_a_few_numbers():
    batches = Batches(numbered(9), 2, shuffle=True, seed=4)
    next(iter(batches))

    assert batches.state_dict() == {
        "version": 1,
        "digest": numbered(9).digest,
        "seed": 4,
        "shuffle": True,
        "epoch": 0,
        "consumed": 2,
    }
    assert json.loads(json.dumps(batches.state_dict())) == batches.state_dict()


def test_a_state_counts_what_was_received_and_not_what_was_loaded_ahead():
    items = Counted(50)

    with Batches(items, 1, workers=2, prefetch=5) as batches:
        next(iterator := iter(batches))
        assert items.begun_in_the_end(8) == 8
        assert batches.state_dict()["consumed"] == 1
        next(iterator)
        assert batches.state_dict()["consumed"] == 2


@given(
    count=st.integers(1, 30),
    size=st.integers(1, 7),
    stop=st.integers(0, 10),
    workers=st.sampled_from([0, 1, 2, 7]),
    seed=st.integers(0, 3),
    drop_last=st.booleans(),
)
def test_a_state_goes_on_with_exactly_the_rest(count, size, stop, workers, seed, drop_last):
    if drop_last and count < size:
        return
    options = {"shuffle": True, "seed": seed, "drop_last": drop_last, "collate": noise}
    expected = Batches(numbered(count), size, **options)
    whole = facts_of(expected)
    first = Batches(numbered(count), size, **options)
    for _ in zip(range(stop), first, strict=False):
        pass

    with Batches(numbered(count), size, **options, workers=workers) as second:
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        rest = facts_of(second) if second.epoch == 0 else []
        assert whole[:stop] + rest == whole
        assert facts_of(second) == facts_of(expected)


@pytest.mark.parametrize("how", ENGINES[2:])
def test_a_state_goes_on_with_processes(how):
    expected = facts_of(Batches(numbered(20), 3, shuffle=True))
    first = Batches(numbered(20), 3, shuffle=True)
    next(iter(first))

    with Batches(numbered(20), 3, shuffle=True, **how) as second:
        second.load_state_dict(first.state_dict())
        assert facts_of(second) == expected[1:]


@given(
    st.integers(0, 40), st.integers(1, 5), st.integers(1, 3), st.integers(0, 4), st.integers(1, 5), st.integers(1, 3)
)
def test_another_size_and_number_of_ranks_go_on_with_every_item_that_is_left(
    count, size, world, stop, new_size, new_world
):
    seen, states = [], set()
    for rank in range(world):
        before = Batches(numbered(count), size, shuffle=True, rank=rank, world=world)
        seen += [key for _, batch in zip(range(min(stop, count // (size * world))), before) for key in batch.keys]  # noqa: B905 - as many
        states.add(json.dumps(before.state_dict()))
    for rank in range(new_world):
        after = Batches(numbered(count), new_size, shuffle=True, rank=rank, world=new_world)
        after.load_state_dict(json.loads(states.copy().pop()))
        seen += keys_of(after) if after.epoch == 0 else []

    assert len(states) == 1
    assert sorted(seen) == sorted(numbered(count).keys)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Batches(numbered(8), 2, shuffle=True, seed=1), "digest is"),
        (Batches(numbered(9), 2, shuffle=True, seed=2), "seed is 2, and was 1"),
        (Batches(numbered(9), 2, seed=1), "shuffle is False, and was True"),
    ],
)
def test_a_state_of_other_data_or_of_another_order_is_refused(other, message):
    batches = Batches(numbered(9), 2, shuffle=True, seed=1)

    with pytest.raises(StateError, match=message):
        other.load_state_dict(batches.state_dict())


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": None},
        {"epoch": -1},
        {"epoch": "1"},
        {"epoch": 1.0},
        {"consumed": 10},
        {"consumed": -1},
        {"consumed": True},
        {"digest": None},
        {"shuffle": 1},
    ],
)
def test_a_damaged_state_is_refused(change):
    batches = Batches(numbered(9), 2)

    with pytest.raises(StateError):
        batches.load_state_dict(batches.state_dict() | change)


@pytest.mark.parametrize("thing", [None, {}, [], "state"])
def test_what_is_no_state_is_refused(thing):
    with pytest.raises(StateError, match="no state"):
        Batches(numbered(9), 2).load_state_dict(thing)


def test_a_state_that_is_refused_changes_nothing():
    batches = Batches(numbered(9), 2)
    next(iter(batches))
    state = batches.state_dict()

    with pytest.raises(StateError):
        batches.load_state_dict(state | {"consumed": 10})

    assert batches.state_dict() == state


# --- other processes


_FORKS = """
import os, signal, sys
from luisy_dir.dataset.batches import Batches
from small_items import numbered

if __name__ == "__main__":
    with Batches(numbered(9), 2, workers=2, engine=sys.argv[1]) as batches:
        seen = [len(list(batches))]
        if not (child := os.fork()):
            signal.alarm(20)
            seen.append(len(list(batches)))
            batches.close()
            os._exit(len(list(batches)))
        seen.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        seen.append(len(list(batches)))
    print(seen)
"""


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_batches_that_were_used_go_on_in_a_fork_of_the_process_and_in_the_process(tmp_path, engine):
    (tmp_path / "forks.py").write_text(_FORKS)

    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(tmp_path / "forks.py"), engine],
        env={**os.environ, "PYTHONPATH": os.path.dirname(__file__)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.stdout == "[5, 5, 5]\n", done.stderr


def test_batches_that_were_used_can_be_pickled():
    with Batches(numbered(9), 2, workers=1) as batches:
        next(iter(batches))
        state = batches.state_dict()

        copy = pickle.loads(pickle.dumps(batches))

    with copy:
        assert copy.state_dict() == state
        assert len(list(copy)) == 5


# --- arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size is 0"),
        ({"size": 2.0}, "size is 2.0"),
        ({"workers": -1}, "workers is -1"),
        ({"prefetch": -1}, "prefetch is -1"),
        ({"prefetch": None}, "prefetch is None"),
        ({"world": 0}, "world is 0"),
        ({"rank": 2, "world": 2}, "rank is 2, .* from 0 to 1"),
        ({"engine": "thread"}, "no engine 'thread'"),
        ({"collate": "sum"}, "collate is 'sum'"),
        ({"seed": "a"}, "seed is 'a'"),
        ({"size": 6, "world": 2, "drop_last": True}, "9 items, which do not fill a batch of 6 for each of 2 ranks"),
    ],
)
def test_a_wrong_argument_is_refused_where_it_is_given(options, message):
    with pytest.raises(SettingError, match=message):
        Batches(numbered(9), **{"size": 2, **options})


@pytest.mark.parametrize("epoch", [-1, None, 1.5])
def test_an_epoch_is_a_number(epoch):
    with pytest.raises(SettingError, match="epoch is"):
        Batches(numbered(9), 2).at_epoch(epoch)


@pytest.mark.parametrize(("drop_last", "count"), [(False, 3), (True, 2)])
def test_a_state_after_the_last_batch_of_an_epoch_goes_on_with_the_next_one(drop_last, count):
    """A loop over so many epochs as are left has no empty one among them."""
    first = Batches(numbered(7), 3, shuffle=True, drop_last=drop_last)
    for _ in zip(range(count), first, strict=False):
        state = first.state_dict()

    second = Batches(numbered(7), 3, shuffle=True, drop_last=drop_last)
    second.load_state_dict(state)

    assert second.epoch == 1
    assert [batch.epoch for batch in second] == [1] * count
