"""apply_parallel: a function for each item of a batch, on any target, with the same answer."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import sys
import threading
import traceback

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from luisy_dir import Batch, apply_parallel
from luisy_dir.batch import pools
from luisy_dir.batch.expressions import Expression, PerItem
from luisy_dir.errors import BatchError, BatchItemsError, DefinitionError, SettingError, WorkerDiedError

TARGETS = ["for", "threads", "mpc", "async"]
_SHORT = {"f": "for", "t": "threads", "m": "processes", "a": "async", "d": "dask"}


@pytest.fixture(autouse=True)
def no_pool_is_left():
    """Those of actions wait for the next call."""
    yield
    pools.close_pools()


@pytest.fixture
def batch():
    return eight()


def eight(ids=range(8), **options):
    ids = np.asarray(ids)
    images = ids.reshape(-1, 1)
    return Batch.from_data(ids, {"images": images.copy(), "masks": images.copy()}, **options)


def times_42(x):
    return x * 42


def add_noise(x, rng):
    return x + rng.uniform()


# src and dst


def test_a_component_goes_to_another_one(batch):
    assert batch.apply_parallel(times_42, src="images", dst="big") is batch
    assert batch.big.tolist() == (np.arange(8).reshape(8, 1) * 42).tolist()
    assert batch.images.tolist() == np.arange(8).reshape(8, 1).tolist()
    batch.apply_parallel(times_42, src="images", dst="masks")
    assert (batch.masks == batch.images * 42).all()


def test_without_dst_a_component_is_changed_in_place(batch):
    batch.apply_parallel(times_42, src="images")
    assert (batch.images == np.arange(8).reshape(8, 1) * 42).all()


def test_of_lists_each_src_goes_to_its_dst(batch):
    batch.apply_parallel(times_42, src=["images", "masks"], dst=["o1", "o2"])
    assert (batch.o1 == batch.images * 42).all()
    assert (batch.o2 == batch.masks * 42).all()
    batch.apply_parallel(times_42, src=["images", "masks"])
    assert (batch.images == batch.o1).all()
    assert (batch.masks == batch.o2).all()


def test_of_lists_one_call_comes_after_the_other(batch):
    """As if they stood on two lines."""
    batch.apply_parallel(times_42, src=["images", "a"], dst=["a", "b"])
    assert (batch.b == batch.images * 42 * 42).all()


def test_a_tuple_is_given_to_the_function_as_one(batch):
    batch.apply_parallel(lambda pair: pair[0] * 42 + pair[1] * 42, src=("images", "masks"), dst="outputs")
    assert (batch.outputs == np.arange(8).reshape(8, 1) * 84).all()


def test_a_tuple_without_dst_is_taken_apart_again(batch):
    batch.apply_parallel(lambda pair: (pair[0] + 1, pair[1] + 2), src=("images", "masks"))
    assert (batch.images.ravel() - np.arange(8)).tolist() == [1] * 8
    assert (batch.masks.ravel() - np.arange(8)).tolist() == [2] * 8


def test_a_list_may_have_tuples(batch):
    batch.apply_parallel(sum, src=[("images", "masks"), ("masks", "masks")], dst=["a", "b"])
    assert (batch.a == batch.images * 2).all()
    assert (batch.b == batch.images * 2).all()


def test_a_result_with_two_parts_goes_to_two_components(batch):
    for dst in (("small", "large"), ["small", "large"]):
        batch.apply_parallel(lambda x: (x, x * 100), src="images", dst=dst)
        assert (batch.large == batch.small * 100).all()


@pytest.mark.parametrize("result", [1, (1,), (1, 2, 3), "ab", None])
def test_a_result_that_has_not_as_many_parts_as_dst_is_refused(batch, result):
    with pytest.raises(BatchError, match="2 components of dst"):
        batch.apply_parallel(lambda _: result, src="images", dst=("a", "b"))
    assert batch.components == ("images", "masks")


def test_data_may_be_the_source_and_an_array_the_destination(batch):
    data, into = np.arange(8) * 10, np.zeros(8)
    batch.apply_parallel(times_42, src=data, dst="a").apply_parallel(times_42, src=data, dst=into)
    batch.apply_parallel(sum, src=(data, "images"), dst="sums").apply_parallel(times_42, src=[1] * 8, dst="ones")
    assert batch.a.tolist() == into.tolist() == (np.arange(8) * 420).tolist()
    assert batch.sums.ravel().tolist() == (np.arange(8) * 11).tolist()
    assert batch.ones.tolist() == [42] * 8


def test_results_that_an_array_cannot_hold_are_refused(batch):
    """Fractions would be cut off."""
    for into in (np.zeros(8, int), np.zeros(7)):
        with pytest.raises(BatchError, match="do not go into an array"):
            batch.apply_parallel(lambda x: float(x[0]) + 0.5, src="images", dst=into)
        assert not into.any()


def test_of_several_destinations_all_are_filled_or_none(batch):
    array = np.zeros((8, 1), np.int64)
    for dst in (("a", "size"), ("size", array), ("a", np.zeros(3)), (array, np.zeros(3)), ("a", "a"), ("a", 5)):
        with pytest.raises(BatchError):
            batch.apply_parallel(lambda x: (x + 1, x), src="images", dst=dst)
    assert batch.components == ("images", "masks")
    assert not array.any()


def test_data_that_cannot_be_filled_is_no_destination(batch):
    with pytest.raises(BatchError, match=r"dst is 7\. Give the name"):
        batch.apply_parallel(times_42, src=[7] * 8)


def test_data_without_a_name_is_the_source_where_none_is_named():
    assert Batch.from_data(data=[1, 2]).apply_parallel(times_42).data.tolist() == [42, 84]
    parts = Batch.from_data(data=([1, 2], [3, 4])).apply_parallel(lambda pair: (pair[1], pair[0]))
    assert [part.tolist() for part in parts.data] == [[3, 4], [1, 2]]
    assert Batch.from_data(data={"x": [1, 2]}).apply_parallel(times_42).x.tolist() == [42, 84]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "has 'images', 'masks'"),
        ({"src": "nothing"}, "no component 'nothing'"),
        ({"src": ["images", "nothing"]}, "no component 'nothing'"),
        ({"src": ["images", "masks"], "dst": ["a"]}, "Give a list of as many"),
        ({"src": ["images", "masks"], "dst": "a"}, "Give a list of as many"),
        ({"src": [1, 2, 3]}, "3 rows for the 8 items"),
        ({"src": "images", "dst": "size"}, "cannot be called 'size'"),
        ({"src": "images", "dst": 5}, "dst is 5"),
        ({"src": "images", "init": "nothing"}, "no attribute of this name"),
        ({"src": "images", "init": 5}, "has no items"),
        ({"src": "images", "post": "nothing"}, "no method of this name"),
    ],
)
def test_what_does_not_fit_is_refused(batch, options, message):
    with pytest.raises(BatchError, match=message):
        batch.apply_parallel(times_42, **options)


def test_a_source_without_data_is_refused():
    with pytest.raises(BatchError, match="'images' has no data"):
        Batch([1]).add_components("images").apply_parallel(times_42, src="images")


# init


@pytest.mark.parametrize("init", [None, "data", False])
def test_items_are_those_of_src(batch, init):
    batch.apply_parallel(times_42, init, src="images", dst="a")
    assert (batch.a == batch.images * 42).all()


@pytest.mark.parametrize(
    "init",
    [
        "indices",
        "offsets",
        np.arange(10, 18),
        list(range(10, 18)),
        lambda: range(10, 18),
        lambda src: np.arange(10, 18),
    ],
)
def test_items_come_from_an_attribute_a_container_or_a_callable(batch, init):
    batch.offsets = list(range(10, 18))
    batch.apply_parallel(times_42, init, dst="a")
    expected = batch.indices if isinstance(init, str) and init == "indices" else np.arange(10, 18)
    assert batch.a.tolist() == (expected * 42).tolist()


def test_items_of_a_frame_are_its_rows_and_of_a_series_its_values():
    frame = pd.DataFrame({"one": [1, 2], "two": [3, 4]})
    batch = Batch(2)
    assert batch.apply_parallel(list, frame, dst="a").a.tolist() == [[1, 3], [2, 4]]
    assert batch.apply_parallel(int, pd.Series([7, 8], index=[1, 0]), dst="a").a.tolist() == [7, 8]


@pytest.mark.parametrize("init", [{0: 5, 1: 6}, {5, 6}, np.array(3), 3, lambda: None])
def test_items_that_have_no_order_are_refused(init):
    with pytest.raises(BatchError, match="no items in an order"):
        Batch(2).apply_parallel(times_42, init, dst="a")


def test_items_are_asked_for_once():
    """They may be read from a disk."""

    class Files(list):
        read = 0

        def __iter__(self):
            Files.read += 1
            return super().__iter__()

    assert Batch(2).apply_parallel(times_42, Files([1, 2]), dst="a").a.tolist() == [42, 84]
    assert Files.read == 1


def test_arguments_for_each_item_need_one_item_for_each(batch):
    for init in ([1, 2, 3], range(9), "run_once"):
        with pytest.raises(BatchError, match=r"init gives . items for a batch of 8"):
            batch.apply_parallel(pow, init, None, None, "a", PerItem(range(8)))


def test_init_is_told_what_it_asks_for(batch):
    def init(src, p, *, factor, **others):
        seen.append((src, p, factor, others["target"]))
        return batch.images

    seen = []
    batch.apply_parallel(lambda x, factor: x * factor, init, src="images", dst="a", p=1.0, factor=3)
    assert seen == [("images", 1.0, 3, "for")]
    assert (batch.a == batch.images * 3).all()


def test_init_may_be_the_name_of_a_method(batch):
    type_ = type("Own", (Batch,), {"numbers": lambda self: self.indices * 2})
    own = type_.from_data([1, 2], {"images": [5, 6]})
    assert own.apply_parallel(times_42, "numbers", dst="a").a.tolist() == [84, 168]


def test_without_src_and_dst_nothing_is_put(batch):
    seen = []
    assert batch.apply_parallel(seen.append, "indices") is batch
    assert (seen, batch.components) == (list(range(8)), ("images", "masks"))


@pytest.mark.parametrize("target", TARGETS)
def test_items_of_the_batch_may_be_what_a_function_gets(batch, target):
    batch.apply_parallel(lambda item: item.images - item.masks, "items", dst="a", target=target, n_workers=2)
    assert not batch.a.any()


@pytest.mark.parametrize("target", ["for", "threads", "async"])
def test_run_once_calls_the_function_for_the_whole_batch(batch, target):
    seen = []
    batch.apply_parallel(lambda *args, a: seen.append((args, a)), "run_once", None, None, None, 1, target=target, a=2)
    assert seen == [((1,), 2)]
    assert batch.run_once(1, two=2) == [[]]


# post


def test_post_gets_the_results_and_decides_what_becomes_of_them(batch):
    def post(results, dst, **others):
        seen.append((len(results), dst, others["factor"]))
        batch.add_components(dst, np.concatenate(results))

    seen = []
    assert batch.apply_parallel(lambda x, factor: x * factor, None, post, "images", "flat", factor=2) is batch
    assert batch.flat.tolist() == (np.arange(8) * 2).tolist()
    assert seen == [(8, "flat", 2)]


def test_what_post_returns_is_returned():
    class Own(Batch):
        def total(self, results):
            return sum(results)

    assert Own.from_data(data=[1, 2]).apply_parallel(times_42, post="total") == 126


def test_post_gets_errors_in_their_places():
    def post(results):
        errors = batch.get_errors(results)
        notes.extend(error.__notes__ for error in errors)
        batch.a = [0 if isinstance(result, Exception) else result for result in results]

    notes = []
    batch = Batch.from_data(["x", "y", "z"], {"numbers": [1, 0, 2]})
    batch.add_components("a")
    batch.apply_parallel(lambda number: 2 // int(number), None, post, "numbers")
    assert batch.a.tolist() == [2, 0, 1]
    assert notes == [["item 'y'"]]


def test_results_without_errors_have_none():
    assert Batch([1]).get_errors([1, None]) is None


def test_results_are_assembled():
    class Own(Batch):
        components = "c1", "c2"

    one, two = Own([0, 1]), Own([0, 1])
    one._assemble([0, 1], dst="c1")
    assert (one.c1.tolist(), one.c2) == ([0, 1], None)
    two._assemble([[0, 2], [1, 3]], dst=["c1", "c2"])
    assert (two.c1.tolist(), two.c2.tolist()) == ([0, 1], [2, 3])


@pytest.mark.parametrize(
    "results",
    [
        [np.zeros(1), np.zeros(2), np.zeros(3)],
        [None, None, None],
        [{"a": 1}, {"a": 2}, {"a": 3}],
        [1, "one", 2.0],
        [np.zeros(2), "text", None],
        [[1, 2], [3], []],
        [np.zeros((2, 2)), np.zeros((2, 3)), np.zeros((2, 2))],
    ],
)
def test_results_that_do_not_stack_become_an_array_of_objects(results):
    batch = Batch([0, 1, 2]).apply_parallel(lambda item: results[item], "indices", dst="c")
    assert (batch.c.dtype, batch.c.shape) == (object, (3,))
    for got, wanted in zip(batch.c, results, strict=True):
        assert got is wanted


@pytest.mark.parametrize(
    "results",
    [
        [b"PK\0\0", b"a"],
        ["a\0", "a"],
        [[b"a\0"], [b"b"]],
        [2**60 + 1, 0.5],
        [1, 2**63 + 1],
        [[2**60 + 1, 0.5], [1, 2]],
        [np.array([2**63 + 1], np.uint64), np.array([-1])],
        [np.zeros(1, [("a", int)]), np.zeros(1, [("b", int)])],
    ],
)
def test_results_are_what_the_function_returned_to_the_last_byte(results):
    """NumPy's texts lose a null at their end, and its floats the last digits of large numbers."""
    batch = Batch([0, 1]).apply_parallel(lambda item: results[item], "indices", dst="c")
    assert [got is wanted for got, wanted in zip(batch.c, results, strict=True)] == [True, True]


def test_masked_results_keep_their_masks():
    batch = Batch([0, 1])
    batch.apply_parallel(lambda item: np.ma.array([item, 5], mask=[False, True]), "indices", dst="c")
    assert batch.c.mask.tolist() == [[False, True], [False, True]]
    batch.apply_parallel(np.negative, src="c")
    assert batch.c.filled(9).tolist() == [[0, 9], [-1, 9]]


@pytest.mark.parametrize(
    ("results", "dtype", "shape"),
    [
        ([1, 2], np.int64, (2,)),
        ([np.int64(2**60 + 1), 3], np.int64, (2,)),
        ([2**53, 0.5], np.float64, (2,)),
        ([-(2**53), 0.5], np.float64, (2,)),
        ([b"a", b"bc"], np.dtype("S2"), (2,)),
        ([1, 2.5], np.float64, (2,)),
        ([True, False], np.bool_, (2,)),
        ([np.float32(1), np.float32(2)], np.float32, (2,)),
        ([[1, 2], [3, 4]], np.int64, (2, 2)),
        (["a", "bc"], np.dtype("<U2"), (2,)),
        ([np.zeros((3, 4), np.uint8)] * 2, np.uint8, (2, 3, 4)),
    ],
)
def test_results_of_one_shape_are_stacked(results, dtype, shape):
    batch = Batch([0, 1]).apply_parallel(lambda item: results[item], "indices", dst="c")
    assert (batch.c.dtype, batch.c.shape) == (dtype, shape)


# What the function gets


def test_a_function_of_numpy_gets_the_item_alone(batch):
    batch.apply_parallel(np.negative, src="images", dst="a")
    assert (batch.a == -batch.images).all()
    batch.apply_parallel(np.clip, None, None, "images", "b", 2, 5)
    assert (batch.b == np.clip(batch.images, 2, 5)).all()
    batch.apply_parallel(functools.partial(np.clip, a_min=2, a_max=5), src="images", dst="c")
    assert (batch.c == batch.b).all()


def test_positional_arguments_go_along_with_a_list(batch):
    batch.apply_parallel(lambda x, y: x * y, None, None, ["images", "masks"], ["a", "b"], 7)
    assert (batch.a == batch.images * 7).all()
    assert (batch.b == batch.images * 7).all()


def test_a_method_may_call_its_item_by_any_name():
    class Own(Batch):
        def negated(self, src):
            return -src

    own = Own.from_data(data=[1, 2])
    assert own.apply_parallel(own.negated).data.tolist() == [-1, -2]


def test_src_and_dst_are_given_to_functions_that_take_them():
    seen = []

    def named(item, src, *, dst):
        seen.append((src, dst))

    def any_keyword(item, **kwargs):
        seen.append((kwargs["src"], kwargs["dst"]))

    def plain(item):
        seen.append(())

    def of_its_own(src, **kwargs):
        seen.append((type(src), kwargs))

    batch = Batch.from_data([5], {"images": [1]})
    for function in (named, any_keyword, plain, of_its_own):
        batch.apply_parallel(function, src="images", dst="a")
    assert seen == [("images", "a"), ("images", "a"), (), (np.int64, {"dst": "a"})]


@pytest.mark.parametrize("func", [None, "times", 5])
def test_what_cannot_be_called_is_refused(batch, func):
    with pytest.raises(DefinitionError, match="cannot be called"):
        batch.apply_parallel(func, src="images")


def test_expressions_are_evaluated_once_before_the_first_call(batch):
    class Counted(Expression):
        times = 0

        def __init__(self, value):
            self.value = value

        def evaluate(self, batch):
            Counted.times += 1
            return self.value(batch)

    factor = Counted(lambda batch: batch.size + Counted.times)
    batch.apply_parallel(lambda x, f: x * f, None, None, ["images", "masks"], ["a", "b"], factor)
    assert Counted.times == 1
    assert (batch.a == batch.images * 9).all()
    assert (batch.b == batch.images * 9).all()
    batch.apply_parallel(Counted(lambda batch: times_42), src=Counted(lambda batch: "images"), dst="c")
    assert (batch.c == batch.images * 42).all()


@pytest.mark.parametrize("target", TARGETS)
def test_an_argument_may_be_another_one_for_each_item(batch, target):
    batch.apply_parallel(
        lambda x, y, z: x * y + z, None, None, "images", "a", PerItem(range(8)), z=PerItem([1] * 8), p=1, target=target
    )
    assert batch.a.ravel().tolist() == [n * n + 1 for n in range(8)]
    with pytest.raises(BatchError, match="7 values for the 8 items"):
        batch.apply_parallel(pow, None, None, "images", "a", PerItem(range(7)))


# Targets


@pytest.mark.parametrize("values", [pd.Series([1, 2], index=[1, 0]), (n for n in (1, 2)), Expression])
def test_values_for_each_item_are_in_its_order(values):
    if values is Expression:
        values = type("Both", (Expression,), {"evaluate": lambda self, batch: batch.indices + 1})()
    batch = Batch(2).apply_parallel(lambda item, n: n, "indices", None, None, "a", PerItem(values))
    assert batch.a.tolist() == [1, 2]


@pytest.mark.parametrize("values", [3, {0: 1, 1: 2}, "ab", {1, 2}])
def test_values_without_an_order_are_not_for_each_item(values):
    with pytest.raises(BatchError, match="PerItem has a"):
        Batch(2).apply_parallel(lambda item, n: n, "indices", None, None, "a", PerItem(values))


def test_an_argument_may_have_parts_that_are_others_for_each_item():
    def parts(item, pair, *, options):
        return [item, *pair, options["by"][0], type(pair) is tuple]

    batch = Batch(2)
    batch.apply_parallel(
        parts, "indices", None, None, "a", (PerItem([1, 2]), 3), options={"by": [PerItem([4, 5])], "plain": 0}
    )
    assert batch.a.tolist() == [[0, 1, 3, 4, True], [1, 2, 3, 5, True]]


@pytest.mark.parametrize("target", [*TARGETS, *_SHORT])
def test_every_target_gives_the_same(batch, target):
    if target == "d":
        pytest.importorskip("distributed")
    factor = 3
    batch.apply_parallel(lambda x: x * factor, src="images", dst="a", target=target, n_workers=2)
    assert (batch.a == batch.images * 3).all()


@pytest.mark.parametrize("target", ["thread", "", None, 5])
def test_a_target_that_is_not_known_is_refused(batch, target):
    with pytest.raises(SettingError, match="no target"):
        batch.apply_parallel(times_42, src="images", target=target)


@pytest.mark.parametrize("n_workers", [0, -1, 1.5, "2"])
def test_there_is_at_least_one_worker(batch, n_workers):
    with pytest.raises(SettingError, match="n_workers"):
        batch.apply_parallel(times_42, src="images", target="threads", n_workers=n_workers)


def test_threads_work_at_the_same_time(batch):
    meeting = threading.Barrier(4, timeout=20)
    batch.apply_parallel(lambda x: meeting.wait() * 0, src="images", dst="a", target="threads", n_workers=4)
    assert batch.a.tolist() == [0] * 8


def test_threads_stay_for_the_next_call(batch):
    def who(x):
        meeting.wait()
        return threading.get_ident()

    meeting = threading.Barrier(4, timeout=20)
    first, second = (
        set(batch.apply_parallel(who, src="images", dst="a", target="threads", n_workers=4).a.tolist()) for _ in "ab"
    )
    assert first == second


def test_processes_stay_for_the_next_call(batch):
    first, second = (
        set(batch.apply_parallel(lambda x: os.getpid(), src="images", dst="a", target="mpc", n_workers=1).a.tolist())
        for _ in "ab"
    )
    assert first == second != {os.getpid()}


@pytest.mark.parametrize("target", ["threads", "async"])
def test_an_action_within_an_action_does_not_wait_for_a_worker_of_its_own(target):
    """All threads of the pool may be in the outer one."""

    def inner(number):
        batch = eight(range(number, number + 4))
        return batch.apply_parallel(times_42, src="images", target=target, n_workers=2).images.sum()

    batch = Batch(16).apply_parallel(inner, "indices", dst="a", target=target, n_workers=2)
    assert batch.a.tolist() == [42 * (4 * n + 6) for n in range(16)]


def test_coroutines_wait_side_by_side(batch):
    async def meet(x):
        async with lock:
            present.add(int(x[0]))
            lock.notify_all()
            await asyncio.wait_for(lock.wait_for(lambda: len(present) == 8), 20)
        return x * 42

    present, lock = set(), asyncio.Condition()
    batch.apply_parallel(meet, src="images", target="async")
    assert (batch.images.ravel() == np.arange(8) * 42).all()


def test_as_many_coroutines_are_begun_as_there_are_workers(batch):
    async def count(x):
        running.append(1)
        most.append(len(running))
        await asyncio.sleep(0.01)
        running.pop()

    running, most = [], []
    batch.apply_parallel(count, "indices", target="async", n_workers=3)
    assert max(most) == 3


def test_coroutines_of_all_calls_share_one_event_loop(batch):
    """A client that was opened in one of them is of use in the next."""

    async def which(x):
        return id(asyncio.get_running_loop())

    loops = [batch.apply_parallel(which, src="images", dst="a", target="async").a[0] for _ in range(2)]
    assert loops[0] == loops[1]


def test_an_action_is_awaited_where_an_event_loop_runs_already(batch):
    """As in a notebook, and within a coroutine of an action."""

    async def double(x):
        return x * 2

    async def outer():
        return eight().apply_parallel(double, src="images", target="async").images

    async def nested(x):
        return (await outer()).sum()

    assert (asyncio.run(outer()) == np.arange(8).reshape(8, 1) * 2).all()
    assert batch.apply_parallel(nested, src="images", dst="a", target="async").a.tolist() == [56] * 8


@pytest.mark.parametrize("target", ["for", "threads", "mpc"])
def test_a_coroutine_function_needs_the_target_async(batch, target):
    async def double(x):
        return x * 2

    with pytest.raises(BatchItemsError, match="only the target 'async'"):
        batch.apply_parallel(double, src="images", target=target)


def test_threads_see_the_numpy_settings_of_the_caller(batch):
    """As a loop does."""
    with np.errstate(divide="raise"), pytest.raises(BatchItemsError) as caught:
        batch.apply_parallel(lambda x: 1 / x, src="images", target="threads", n_workers=4)
    assert isinstance(caught.value.__cause__, FloatingPointError)


def test_another_thread_and_a_child_process_have_their_own(batch):
    """What a fork takes along of a pool is of no use."""
    batch.apply_parallel(times_42, src="images", dst="a", target="threads", n_workers=4)
    code = (
        "import os, sys, numpy as np\n"
        "from luisy_dir import Batch\n"
        "batch = Batch.from_data(data=np.arange(64))\n"
        "for _ in range(2):\n"
        "    batch.apply_parallel(lambda x: x + 1, target='threads', n_workers=4)\n"
        "    if _ == 0 and (pid := os.fork()):\n"
        "        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
        "print(batch.data.sum())\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip() == str(sum(range(64)) + 128)


def test_a_script_needs_no_main_guard_for_processes(tmp_path):
    """Workers do not import the script again."""
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np\n"
        "from luisy_dir import Batch\n"
        "class Thing:\n"
        "    def __init__(self, n): self.n = n\n"
        "def more(thing): return Thing(thing.n + 1)\n"
        "things = np.array([Thing(1), Thing(2)], dtype=object)\n"
        "batch = Batch.from_data(data=things).apply_parallel(more, target='mpc', n_workers=2)\n"
        "print([thing.n for thing in batch.data], type(batch.data[0]) is Thing)\n"
    )
    answer = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip() == "[2, 3] True"


@pytest.mark.parametrize("target", TARGETS)
def test_a_program_ends_without_a_word_while_pools_are_open(target):
    code = (
        "from luisy_dir import Batch\n"
        f"Batch(9).apply_parallel(lambda x: x, 'indices', dst='a', target={target!r}, n_workers=6)\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (answer.stdout, answer.stderr) == ("", "")


def test_pools_end_when_they_are_closed(batch):
    for target in TARGETS:
        batch.apply_parallel(times_42, src="images", dst="a", target=target, n_workers=2)
    pools.close_pools()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("luisy_dir")]
    batch.apply_parallel(times_42, src="images", dst="a", target="threads", n_workers=2)


# Random numbers


def test_a_list_has_the_same_random_numbers_for_each_src(batch):
    """So that an image and its mask are turned alike."""
    batch.apply_parallel(add_noise, src=["images", "images"], dst=["a", "b"], requires_rng=True)
    assert (batch.a == batch.b).all()
    assert len(set((batch.a - batch.images).ravel())) == 8


def test_a_tuple_has_one_generator(batch):
    def noisy(pair, rng):
        return pair[0] + pair[1] + 42 + rng.uniform() / 42

    batch.apply_parallel(noisy, src=("images", "masks"), dst="a", requires_rng=True)
    assert (np.abs(batch.a - (2 * batch.images + 42)) <= 1 / 42).all()


def noisy_values(ids=range(12), target="for", n_workers=None, **options):
    """By id, after two actions with random numbers."""
    batch = eight(ids, **options)
    for _ in range(2):
        batch.apply_parallel(
            add_noise, src="images", dst="a", requires_rng=True, p=0.5, target=target, n_workers=n_workers
        )
    return dict(zip(batch.indices.tolist(), batch.a.ravel().tolist(), strict=True))


@pytest.mark.parametrize("n_workers", [1, 2, 7])
@pytest.mark.parametrize("target", TARGETS)
def test_values_do_not_depend_on_target_or_workers(target, n_workers):
    assert noisy_values(target=target, n_workers=n_workers) == noisy_values()


def test_values_do_not_depend_on_order_size_or_other_items():
    everything = noisy_values()
    assert noisy_values([10, 5, 2, 3]) == {item_id: everything[item_id] for item_id in (10, 5, 2, 3)}
    assert noisy_values([3, 99]).pop(3) == everything[3]
    assert len({round(value - int(value), 9) for value in everything.values()}) > 4


def test_values_do_not_depend_on_actions_without_random_numbers():
    batch = eight()
    batch.apply_parallel(np.negative, src="images", dst="other")
    batch.apply_parallel(add_noise, src="images", dst="a", requires_rng=True)
    assert (batch.a == eight().apply_parallel(add_noise, src="images", dst="a", requires_rng=True).a).all()


def test_values_depend_on_seed_epoch_and_the_number_of_the_action():
    def noise(**options):
        batch = eight(**options)
        batch.apply_parallel(add_noise, src="images", dst="a", requires_rng=True)
        return batch.apply_parallel(add_noise, src="images", dst="b", requires_rng=True)

    batches = [noise(), noise(seed=1), noise(epoch=1)]
    assert len({value for batch in batches for value in (batch.a[3, 0], batch.b[3, 0])}) == 6


def test_a_part_and_a_merged_batch_go_on_with_the_random_numbers():
    whole = eight()
    whole.apply_parallel(add_noise, src="images", requires_rng=True)
    parts = [whole[:3], whole[3:]]
    for batch in (whole, *parts):
        batch.apply_parallel(add_noise, src="images", requires_rng=True)
    merged, _ = Batch.merge(parts)
    assert (merged.images == whole.images).all()
    for batch in (whole, merged):
        batch.apply_parallel(add_noise, src="images", requires_rng=True)
    assert (merged.images == whole.images).all()


def test_ids_may_be_texts_for_random_numbers():
    batch = Batch.from_data(["a", "b"], {"images": [0.0, 0.0]}).apply_parallel(
        add_noise, src="images", requires_rng=True
    )
    assert (
        Batch.from_data(["b"], {"images": [0.0]}).apply_parallel(add_noise, src="images", requires_rng=True).images[0]
        == batch["b"].images
    )


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_may_be_given(batch, target):
    batch.apply_parallel(add_noise, src="images", dst="a", rng_seeds=range(8), target=target)
    expected = [n + np.random.Generator(np.random.SFC64(n)).uniform() for n in range(8)]
    assert batch.a.ravel().tolist() == expected
    with pytest.raises(BatchError, match="3 rng_seeds for the 8 items"):
        batch.apply_parallel(add_noise, src="images", rng_seeds=[1, 2, 3])


@pytest.mark.parametrize("seeds", [pd.Series(range(8), index=range(10, 18)), (n for n in range(8))])
def test_seeds_may_be_given_as_anything_with_an_order(batch, seeds):
    batch.apply_parallel(add_noise, src="images", dst="a", rng_seeds=seeds)
    expected = [n + np.random.Generator(np.random.SFC64(n)).uniform() for n in range(8)]
    assert batch.a.ravel().tolist() == expected


@pytest.mark.parametrize("seed", [None, -1, 0.5, "7"])
def test_a_seed_that_is_no_number_is_refused_rather_than_drawn_anew_each_time(batch, seed):
    with pytest.raises(SettingError, match="among the rng_seeds"):
        batch.apply_parallel(add_noise, src="images", rng_seeds=[*range(7), seed])
    with pytest.raises(BatchError, match="rng_seeds is a int"):
        batch.apply_parallel(add_noise, src="images", rng_seeds=7)


def test_random_numbers_depend_on_the_text_of_an_id():
    """So that they are the same where a file gives ids back as texts."""
    numbers, texts = Batch([7]), Batch(["7"])
    for one in (numbers, texts):
        one.apply_parallel(add_noise, [0.0], dst="a", requires_rng=True, p=1.0)
    assert numbers.a.tolist() == texts.a.tolist()


def test_whether_an_item_is_left_out_says_nothing_of_its_random_numbers():
    batch = Batch(200)
    batch.apply_parallel(lambda item, rng: rng.random(), np.full(200, -1.0), dst="a", requires_rng=True, p=0.5)
    hit = batch.a[batch.a != -1]
    assert 0.3 < (hit < 0.5).mean() < 0.7


def test_setting_the_seed_begins_anew(batch):
    first = batch.apply_parallel(add_noise, src="images", dst="a", requires_rng=True).a
    batch.random_seed = 0
    assert (batch.apply_parallel(add_noise, src="images", dst="a", requires_rng=True).a == first).all()


def test_a_merged_batch_draws_no_number_that_one_of_its_parts_has_drawn():
    parts = [eight([1, 2]), eight([3, 4])]
    drawn = parts[1].apply_parallel(add_noise, src="images", dst="a", requires_rng=True).a[0] - 3
    parts[0].add_components("a", [[0.0], [0.0]])
    merged = Batch.merge(parts)[0]
    merged.apply_parallel(add_noise, src="images", dst="a", requires_rng=True)
    assert merged[3].a - 3 != drawn


def test_a_function_that_takes_no_rng_is_refused(batch):
    with pytest.raises(DefinitionError, match="has no parameter rng"):
        batch.apply_parallel(times_42, src="images", requires_rng=True)
    with pytest.raises(DefinitionError, match="leave out requires_rng"):
        batch.apply_parallel(add_noise, src="images", requires_rng=True, rng=np.random.default_rng(0))


def test_p_leaves_items_out_and_the_same_ones_of_each_src():
    ids = np.arange(1000)
    batch = Batch.from_data(ids, {"images": ids, "masks": ids})
    batch.apply_parallel(lambda x: -1, src=["images", "masks"], p=0.2)
    hit = batch.images == -1
    assert 130 < hit.sum() < 270
    assert (batch.images[~hit] == ids[~hit]).all()
    assert (batch.masks == batch.images).all()


def test_which_items_p_leaves_out_depends_on_seed_epoch_and_the_number_of_the_action():
    def hits(batch):
        return tuple((batch.apply_parallel(lambda x: -1, src="images", dst="a", p=0.5).a == -1).ravel())

    ids = range(100)
    batch = eight(ids)
    assert len({hits(batch), hits(batch), hits(eight(ids, seed=1)), hits(eight(ids, epoch=1))}) == 4
    assert hits(eight(ids)) == hits(eight(ids))


@pytest.mark.parametrize(("p", "count"), [(0, 0), (1, 8), (0.0, 0), (np.float64(1), 8), (None, 8)])
def test_p_may_be_none_or_all(batch, p, count):
    seen = []
    batch.apply_parallel(seen.append, "indices", p=p)
    assert len(seen) == count


@pytest.mark.parametrize("p", [1.5, -0.1, float("nan"), "0.5", [0.5] * 8])
def test_p_is_a_probability(batch, p):
    with pytest.raises(SettingError, match="number from 0 to 1"):
        batch.apply_parallel(times_42, src="images", p=p)


@pytest.mark.parametrize(("src", "dst"), [(("images", "masks"), "a"), ("images", ("a", "b"))])
def test_items_that_p_leaves_out_have_to_fit_where_results_go(batch, src, dst):
    """An image of two rows would become two components."""
    with pytest.raises(BatchError, match="left out"):
        batch.apply_parallel(times_42, src=src, dst=dst, p=0.5)
    assert batch.apply_parallel(times_42, None, len, src, dst, p=0.5) == batch.size


def test_random_numbers_need_one_item_for_each_id(batch):
    with pytest.raises(BatchError, match=r"init gives . items for a batch of 8"):
        batch.apply_parallel(times_42, [1, 2, 3], p=0.5)


# Errors


def divide(number):
    return 12 // int(number)


@pytest.mark.parametrize("target", TARGETS)
def test_an_error_names_its_items_and_nothing_is_put(target):
    batch = Batch.from_data(["a", "b", "c", "d"], {"numbers": [1, 0, 2, 0]})
    with pytest.raises(BatchItemsError, match=r"'divide' failed for 2 of 4 items: 'b', 'd'\. Item 'b': Zero") as caught:
        batch.apply_parallel(divide, src="numbers", target=target, n_workers=2)
    error = caught.value
    assert isinstance(error, RuntimeError)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert (error.ids, [type(each) for each in error.errors]) == (("b", "d"), [ZeroDivisionError] * 2)
    assert batch.numbers.tolist() == [1, 0, 2, 0]
    assert "item 'b'" in "".join(traceback.format_exception(error))


def test_keywords_of_the_function_do_not_change_which_items_failed():
    def fail(number, ids, name):
        raise ValueError(ids)

    with pytest.raises(BatchItemsError, match=r"'fail' failed for 1 of 1 items: 'a'\. .* ValueError: \[7\]\. Mend"):
        Batch.from_data(["a"], {"x": [1]}).apply_parallel(fail, src="x", ids=[7], name="other")


def test_an_error_that_is_raised_again_and_again_has_one_note_of_an_item():
    def fail(number):
        raise error

    error = ValueError("The same.")
    for _ in range(3):
        with pytest.raises(BatchItemsError, match=r"The same\. Mend"):
            Batch(2).apply_parallel(fail, "indices")
    assert error.__notes__ == ["item 0", "item 1"]


def test_errors_among_results_are_raised():
    with pytest.raises(RuntimeError, match="failed for 1 of 2") as caught:
        Batch([0, 1])._assemble([1, ValueError("no")], dst="c1")
    assert repr(caught.value.__cause__) == "ValueError('no')"
    with pytest.raises(BatchItemsError, match=r"failed for 1 of 3 items: 2\."):
        Batch(["a", "b"])._assemble([1, 2, ValueError("no")], dst="c1")


def test_an_error_that_cannot_be_pickled_comes_from_a_process():
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(f"{one} and {two}")

    def fail(number):
        raise Odd(1, 2)

    with pytest.raises(BatchItemsError, match="Odd: 1 and 2"):
        Batch([5]).apply_parallel(fail, "indices", target="mpc", n_workers=1)


def test_a_worker_that_dies_costs_the_item_it_had_in_hand():
    def die_of_three(number):
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return number * 2

    def post(results):
        return results

    results = Batch(8).apply_parallel(die_of_three, "indices", post, target="mpc", n_workers=2)
    assert [number for number, result in enumerate(results) if isinstance(result, Exception)] == [3]
    assert isinstance(results[3], WorkerDiedError)
    assert results[4:] == [8, 10, 12, 14]
    assert Batch(3).apply_parallel(divide, [1, 2, 3], dst="a", target="mpc", n_workers=2).a.tolist() == [12, 6, 4]


def test_what_cannot_be_sent_to_a_process_says_so(batch):
    lock = threading.Lock()
    with pytest.raises(DefinitionError, match="cannot be sent"):
        batch.apply_parallel(lambda x: lock, src="images", target="mpc", n_workers=1)
    with pytest.raises(BatchItemsError, match="cannot pickle"):
        batch.apply_parallel(lambda x: threading.Lock(), src="images", target="mpc", n_workers=1)


def test_an_item_that_cannot_be_sent_to_a_process_is_named():
    batch = Batch.from_data(["a", "b"], {"x": [1, threading.Lock()]})
    with pytest.raises(BatchItemsError, match=r"1 of 2 items: 'b'\. Item 'b': TypeError: cannot pickle"):
        batch.apply_parallel(lambda x: 1, src="x", target="mpc", n_workers=1)


@pytest.mark.parametrize("leave", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_coroutine_that_ends_the_program_leaves_the_event_loop_to_the_others(leave):
    """What ends an event loop would let the next action wait for ever; and none goes on behind the caller's back."""

    async def work(number):
        if number == 1:
            raise leave
        await asyncio.sleep(0.05)
        went_on.append(number)

    went_on = []
    with pytest.raises(leave):
        Batch(3).apply_parallel(work, "indices", target="async")
    assert Batch(3).apply_parallel(lambda x: asyncio.sleep(0.1, x), "indices", dst="a", target="async").a.tolist() == [
        0,
        1,
        2,
    ]
    assert went_on == []


def test_a_coroutine_whose_own_task_was_cancelled_is_an_item_that_failed():
    async def work(number):
        task = asyncio.ensure_future(asyncio.sleep(5))
        asyncio.get_running_loop().call_soon(task.cancel)
        await task

    with pytest.raises(BatchItemsError, match="1 of 1 items: 'a'"):
        Batch(["a"]).apply_parallel(work, "indices", target="async")


def test_an_interrupt_ends_an_action_of_threads_soon():
    """No item is begun after it, and none is left running."""
    code = (
        "import signal, threading, time, os\n"
        "from luisy_dir import Batch\n"
        "begun = []\n"
        "def work(number):\n"
        "    begun.append(number)\n"
        "    if number == 0:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(0.2)\n"
        "try:\n"
        "    Batch(100).apply_parallel(work, 'indices', target='threads', n_workers=2)\n"
        "except KeyboardInterrupt:\n"
        "    count = len(begun)\n"
        "    time.sleep(0.5)\n"
        "    print(count < 10, len(begun) == count)\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip() == "True True"


@pytest.mark.parametrize("target", ["for", "threads"])
def test_a_system_exit_is_no_error_of_an_item(batch, target):
    def leave(x):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        batch.apply_parallel(leave, src="images", target=target)


# Actions


class Numbers(Batch):
    components = "numbers", "others"
    apply_defaults = {**Batch.apply_defaults, "src": "numbers"}  # noqa: RUF012 - as users write

    @apply_parallel
    def scale(self, number, factor, *, offset=0):
        """Multiply."""
        return number * factor + offset

    @apply_parallel(target="for", dst="others")
    def scale_twice(self, number, factor):
        return self._scale_(self._scale_(number, factor), factor)

    @apply_parallel
    @staticmethod
    def negated(number):
        return -number

    @apply_parallel(requires_rng=True)
    def noisy(self, number, rng):
        return number + rng.uniform()

    @apply_parallel(init="indices", dst="others")
    def names(self, item_id):
        return f"item {item_id}"

    @apply_parallel
    def size_of_all(self, number):
        return number * self.size


class More(Numbers):
    @apply_parallel
    def scale(self, number, factor):
        return super()._scale_(number, factor) + 1


def numbers(kind=Numbers):
    return kind.from_data([5, 6], {"numbers": np.array([1, 2])})


def test_an_action_is_applied_to_each_item():
    batch = numbers()
    assert batch.scale(10) is batch
    assert batch.numbers.tolist() == [10, 20]
    assert batch.scale(2, offset=1, dst="others").others.tolist() == [21, 41]


def test_the_underscored_method_is_for_one_item():
    assert numbers()._scale_(3, 5) == 15
    assert numbers().scale_twice(10).others.tolist() == [100, 200]


def test_an_action_may_be_a_static_method_or_begin_with_ids():
    assert numbers().negated().numbers.tolist() == [-1, -2]
    assert numbers().names().others.tolist() == ["item 5", "item 6"]


def test_options_of_the_call_come_before_those_of_the_decorator_and_these_before_the_class():
    seen = []

    class Spy(Numbers):
        apply_defaults = {**Numbers.apply_defaults, "dst": "of_class"}  # noqa: RUF012 - as users write

        def apply_parallel(self, func, init=None, post=None, src=None, dst=None, *args, target, **kwargs):
            seen.append((post, src, dst, target))

    batch = numbers(Spy)
    batch.scale(1)
    batch.scale_twice(1)
    batch.scale_twice(1, dst="of_call", target="mpc")
    assert seen == [
        ("_assemble", "numbers", "of_class", "threads"),
        ("_assemble", "numbers", "others", "for"),
        ("_assemble", "numbers", "of_call", "mpc"),
    ]
    assert Batch.apply_defaults == {"dst": None, "post": "_assemble", "src": None, "target": "threads"}


def test_an_action_is_inherited_and_overridden():
    assert numbers(More).scale(10).numbers.tolist() == [11, 21]
    assert numbers(More).scale_twice(10).others.tolist() == [111, 211]
    assert numbers(More).negated().numbers.tolist() == [-1, -2]


def test_an_action_keeps_name_and_docstring():
    assert (Numbers.scale.__name__, Numbers.scale.__doc__) == ("scale", "Multiply.")
    assert Numbers._scale_.__qualname__ == "Numbers._scale_"


@pytest.mark.parametrize("target", TARGETS)
def test_an_action_works_on_every_target(target):
    """It has the batch in a process too."""
    batch = numbers().size_of_all(target=target)
    assert batch.numbers.tolist() == [2, 4]
    assert numbers().noisy(target=target).numbers.tolist() == numbers().noisy(target="for").numbers.tolist()


def test_an_action_may_use_random_numbers_of_the_batch_in_threads():
    class Own(Numbers):
        @apply_parallel
        def shifted(self, number):
            return number + self.random.uniform()

    assert (numbers(Own).shifted(target="threads").numbers >= [1, 2]).all()


def test_a_class_that_has_the_underscored_name_already_is_refused():
    with pytest.raises((DefinitionError, RuntimeError)) as caught:

        class Own(Batch):
            def _twice_(self, number):
                return number

            @apply_parallel
            def twice(self, number):
                return 2 * number

    error = caught.value
    assert "_twice_" in str(error if isinstance(error, DefinitionError) else error.__cause__)


def test_an_action_may_be_put_into_a_class_later():
    class Own(Numbers):
        pass

    def doubled(self, number):
        return 2 * number

    Own.doubled = apply_parallel(doubled)
    assert numbers(Own).doubled().numbers.tolist() == [2, 4]


def test_a_batch_with_actions_goes_to_a_process_and_back():
    again = cloudpickle.loads(cloudpickle.dumps(numbers()))
    assert again.scale(3).numbers.tolist() == [3, 6]


def test_nothing_waits_for_a_pool_that_was_closed_meanwhile():
    """The caller does it all then."""
    executor = pools.pool_of("threads", 3)
    executor.shutdown()
    seen = []
    pools.do_in_threads(seen.append, 5, 4)
    assert sorted(seen) == list(range(5))


def test_many_threads_use_batches_at_the_same_time():
    """As with prefetch: none waits for another's pool for ever, and each gets its own values."""

    def work(number):
        batch = eight(range(number, number + 8))
        for target in ("threads", "async"):
            batch.apply_parallel(add_noise, src="images", requires_rng=True, target=target, n_workers=3)
        return batch.images

    expected = [work(number) for number in range(12)]
    results = {}
    threads = [threading.Thread(target=lambda n=n: results.update({n: work(n)})) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all((results[number] == expected[number]).all() for number in range(12))
