"""What BatchFlow was asked for, case by case: natively, and in its own spelling."""

from __future__ import annotations

import inspect
import itertools
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from conftest import files_below
from faults import DEATHS, Calls, dies

import luisy_dir as luisy
from luisy_dir.batch import pools
from luisy_dir.compat import batchflow

EIGHT = np.arange(8).reshape(8, 1)
TARGETS = ("for", "threads", "async", "mpc")


@pytest.fixture(autouse=True)
def no_pool_is_left():
    """Those of actions wait for the next call."""
    yield
    pools.close_pools()


class Spelling(NamedTuple):
    """A way to write the same."""

    batch: Any
    source: Any
    chain: Any
    engine: str
    processes: str


NATIVE = Spelling(luisy.Batch, luisy.BatchSource, luisy.Flow, "engine", "processes")
FACE = Spelling(batchflow.Batch, batchflow.Dataset, batchflow.Pipeline, "target", "mpc")


@pytest.fixture(params=[NATIVE, FACE], ids=["native", "face"])
def spelling(request):
    return request.param


class Images(luisy.Batch):
    components = "images", "masks", "labels"


@pytest.fixture
def batch():
    return luisy.BatchSource(8, Images, {"images": EIGHT, "masks": EIGHT}).next_batch(8)


def times_42(item):
    return item * 42


def times_42_or_sum(item):
    return sum(part * 42 for part in item) if isinstance(item, tuple) else item * 42


# -- apply_parallel, its forms ----------------------------------------------------------------------------------------


def test_a_batch_has_one_spelling():
    assert (FACE.batch, batchflow.apply_parallel) == (NATIVE.batch, luisy.apply_parallel)


@pytest.mark.parametrize("target", ["for", "threads", "mpc"])
def test_texts_lists_and_tuples_are_forms_of_their_own(batch, target):
    batch.apply_parallel(times_42_or_sum, src=["images", "masks"], dst=["o1", "o2"], target=target)
    batch.apply_parallel(times_42_or_sum, src=("images", "masks"), dst="outputs", target=target)
    batch.apply_parallel(times_42, src="images", dst="masks", target=target)
    assert [(getattr(batch, name) == EIGHT * 42).all() for name in ("o1", "o2", "masks")] == [True] * 3
    assert (batch.outputs == EIGHT * 84).all()
    assert (batch.images == EIGHT).all()


# -- shared random numbers --------------------------------------------------------------------------------------------


def plus_uniform(item, rng):
    return item + rng.uniform()


def near_42(pair, rng):
    return pair[0] + pair[1] + rng.uniform() / 42 + 42


async def plus_uniform_later(item, rng):
    return item + rng.uniform()


@pytest.mark.parametrize("target", ["for", "threads", "mpc"])
def test_a_list_shares_random_numbers_and_a_tuple_has_one(batch, target):
    batch.apply_parallel(plus_uniform, src=["images", "images"], dst=["a", "b"], requires_rng=True, target=target)
    batch.apply_parallel(near_42, src=("images", "masks"), dst="c", requires_rng=True, target=target)
    assert (batch.a == batch.b).all()
    assert len(np.unique(batch.a - batch.images)) == 8
    assert (np.abs(batch.c - (2 * EIGHT + 42)) <= 1 / 42).all()


def test_two_fresh_chains_with_one_seed_give_the_same_and_go_on_alike(spelling):
    def fresh():
        source = spelling.source(8, Images, preloaded={"images": EIGHT, "masks": EIGHT})
        chain = spelling.chain(source).apply_parallel(
            plus_uniform, src=["images", "images"], dst=["a", "b"], requires_rng=True
        )
        first, second = (chain.next_batch(4, shuffle=42) for _ in range(2))
        return *first.indices, *first.a.ravel(), *second.b.ravel(), *first.random.random(3)

    assert fresh() == fresh()


# -- workers change nothing -------------------------------------------------------------------------------------------


def noisy_batches(spelling, target="for", n_workers=None, **options):
    """Order of the items, and their values."""
    function = plus_uniform_later if target == "async" else plus_uniform
    chain = spelling.chain(spelling.source(12, Images, preloaded={"images": np.arange(12.0)})).apply_parallel(
        function, src="images", requires_rng=True, target=target, n_workers=n_workers
    )
    return [
        (batch.indices.tolist(), batch.images.tolist())
        for batch in chain.gen_batch(4, shuffle=42, n_epochs=1, **options)
    ]


@pytest.mark.parametrize(
    ("spelling", "target", "n_workers"),
    [*itertools.product([NATIVE], TARGETS, [1, 2, 7]), *itertools.product([FACE], [*TARGETS, "dask"], [2])],
    ids=lambda value: {NATIVE: "native", FACE: "face"}.get(value, value),
)
def test_order_and_values_depend_on_no_target_or_workers(spelling, target, n_workers):
    expected = noisy_batches(NATIVE)
    assert sorted(itertools.chain.from_iterable(ids for ids, _ in expected)) == list(range(12))
    assert [len(ids) for ids, _ in expected] == [4, 4, 4]
    assert all(0 < value - i < 1 for ids, values in expected for i, value in zip(ids, values, strict=True))
    assert noisy_batches(spelling, target, n_workers) == expected


@pytest.mark.parametrize("prefetch", [0, 1, 2, 5])
@pytest.mark.parametrize("workers", [1, 2, 7])
def test_order_and_values_depend_on_no_prefetch_of_threads(spelling, workers, prefetch):
    options = {"prefetch": prefetch, "workers": workers, spelling.engine: "threads"}
    assert noisy_batches(spelling, **options) == noisy_batches(NATIVE)


@pytest.mark.parametrize(("spelling", "prefetch"), [(NATIVE, 1), (NATIVE, 5), (FACE, 2)], ids=["1", "5", "face, 2"])
def test_order_and_values_depend_on_no_prefetch_of_processes(spelling, prefetch):
    options = {"prefetch": prefetch, "workers": 2, spelling.engine: spelling.processes}
    assert noisy_batches(spelling, **options) == noisy_batches(NATIVE)


# -- what becomes of results, and of errors ---------------------------------------------------------------------------


class Two(luisy.Batch):
    components = "c1", "c2"


@pytest.mark.parametrize(
    ("results", "dst", "c1", "c2"),
    [([0, 1], "c1", [0, 1], None), ([[0, 2], [1, 3]], ["c1", "c2"], [0, 1], [2, 3])],
)
def test_results_are_assembled(results, dst, c1, c2):
    two = Two(2)
    two.apply_parallel(lambda i: tuple(results[i]) if isinstance(results[i], list) else results[i],
                       init="indices", dst=tuple(dst) if isinstance(dst, list) else dst)  # fmt: skip
    other = Two(2)
    other._assemble(results, dst=dst)  # as classes with a post of their own call it
    for batch in (two, other):
        assert batch.c1.tolist() == c1
        assert batch.c2 is None if c2 is None else batch.c2.tolist() == c2


def fail_at_1(item):
    if item == 1:
        raise KeyError("the first")
    return item


@pytest.mark.parametrize("target", ["for", "threads", "mpc"])
def test_an_exception_among_results_is_a_runtime_error_chained_to_the_first(batch, target):
    with pytest.raises(RuntimeError, match="Item 1: KeyError: 'the first'") as raised:
        batch.apply_parallel(fail_at_1, src="images", target=target)
    assert isinstance(raised.value.__cause__, KeyError)
    assert (batch.images == EIGHT).all()


def test_results_of_unequal_shapes_are_an_array_of_objects(batch):
    part = batch[:3]
    part.apply_parallel(lambda i: np.zeros(i + 1), init="indices", dst="ragged")
    assert part.ragged.dtype == object
    assert [each.shape for each in part.ragged] == [(1,), (2,), (3,)]


@pytest.mark.parametrize(("prefetch", "is_of_processes"), [(0, False), (1, False), (2, False), (5, False), (2, True)])
def test_an_error_reaches_the_caller_in_its_place_under_prefetch(spelling, prefetch, is_of_processes):
    chain = spelling.chain(spelling.source(8, Images, preloaded={"images": EIGHT[::-1]})).apply_parallel(
        fail_at_1, src="images"
    )
    options = {spelling.engine: spelling.processes} if is_of_processes else {}
    batches = chain.gen_batch(2, prefetch=prefetch, **options)
    assert [next(batches).size for _ in range(3)] == [2, 2, 2]
    with pytest.raises(RuntimeError, match="Item 6"):
        next(batches)


# -- merging ----------------------------------------------------------------------------------------------------------


def three(**parts):
    return [Images.from_data([0, 1, 2], {"images": np.arange(3) + begin} | parts) for begin in (0, 100, 200)]


def test_batches_are_merged_up_to_a_size_and_the_rest_is_a_batch():
    merged, rest = Images.merge(three(), batch_size=4)
    assert merged.images.tolist() == [0, 1, 2, 100]
    assert rest.images.tolist() == [101, 102, 200, 201, 202]


def test_without_a_size_all_are_merged():
    merged, rest = Images.merge(three())
    assert (merged.size, rest) == (9, None)


def test_one_batch_may_be_merged_three_times():
    sixty = Images.from_data(None, {"images": np.arange(60)})
    merged, rest = Images.merge([sixty, sixty, sixty])
    assert (merged.size, rest) == (180, None)
    assert len(np.unique(merged.indices)) == 180
    assert merged.images.tolist() == [*range(60)] * 3


def test_a_component_that_some_batches_lack_is_a_value_error():
    first, *others = three()
    first.labels = np.arange(3)
    with pytest.raises(ValueError, match="labels"):
        Images.merge([first, *others])


# -- data of all items, and of files ----------------------------------------------------------------------------------

ALL = {"images": np.arange(100) + 100, "labels": np.arange(100) + 1000}
NAMES = [str(number) for number in range(1000, 1100)]


class Labelled(luisy.Batch):
    components = "images", "labels", "masks"


@pytest.mark.parametrize(
    "data",
    [ALL, (ALL["images"], ALL["labels"], None), pd.DataFrame(ALL), {name: pd.Series(v) for name, v in ALL.items()}],
    ids=["dict", "tuple", "frame", "series"],
)
def test_the_third_batch_of_data_of_all_items(spelling, data):
    source = spelling.source(100, Labelled, preloaded=data)
    batch = [source.next_batch(10) for _ in range(3)][-1]
    assert batch.images.tolist() == list(range(120, 130))
    assert (batch[25].labels, batch.masks) == (1025, None)


def test_the_third_batch_of_an_array_without_a_name(spelling):
    source = spelling.source(100, preloaded=np.arange(100) + 100)
    assert [source.next_batch(10) for _ in range(3)][-1].data.tolist() == list(range(120, 130))


def test_the_third_batch_of_a_frame_by_names(spelling):
    source = spelling.source(NAMES, Labelled, preloaded=pd.DataFrame(ALL, index=NAMES))
    batch = [source.next_batch(10) for _ in range(3)][-1]
    assert batch.images.tolist() == list(range(120, 130))
    assert (batch["1025"].labels, batch.masks) == (1025, None)


def test_a_new_component_is_loaded_by_the_ids(spelling):
    source = spelling.source(100, Labelled, preloaded=ALL)
    batch = [source.next_batch(10) for _ in range(3)][-1]
    batch.load(src=np.arange(100) + 5000, dst="new")
    assert batch.new.tolist() == list(range(5020, 5030))


def test_rows_of_a_csv_file_are_loaded_by_the_ids_and_dumped_into_an_array(spelling, tmp_path):
    pd.DataFrame({"features": [0, 2, 4, 6]}).to_csv(tmp_path / "all.csv")
    batch = spelling.batch([1, 3])
    batch.load(fmt="csv", src=tmp_path / "all.csv", dst="features", index_col=0)
    assert batch.features.tolist() == [2, 6]

    everything = np.zeros(4)
    batch.dump(dst=everything, components="features")
    assert everything.tolist() == [0, 2, 0, 6]


@pytest.mark.parametrize("fmt", ["blosc", "csv", "feather", "hdf5", "npz", "parquet"])
@pytest.mark.parametrize("method", ["dump", "save"])
def test_a_shuffled_batch_comes_back_from_each_format_with_its_ids(spelling, tmp_path, fmt, method):
    shuffled = spelling.batch.from_data([2, 0, 1], {"features": np.array([20, 0, 10])})
    getattr(shuffled, method)(dst=tmp_path / "file", fmt=fmt, components="features")

    for ids in ([2, 0, 1], [0, 1, 2], [1]):
        again = spelling.batch(ids).load(src=tmp_path / "file", fmt=fmt, dst="features")
        assert again.indices.tolist() == ids
        assert again.features.tolist() == [10 * item_id for item_id in ids]


@pytest.mark.parametrize("fmt", ["csv", "npz"])  # all formats are written alike, and these have no threads to fork
@pytest.mark.parametrize("mode", DEATHS, ids=lambda mode: mode.name.replace(" ", "_"))
def test_a_dump_that_dies_at_any_call_leaves_the_former_file_or_the_new_one(tmp_path, fmt, mode):
    path = tmp_path / "file"
    old, new = (luisy.Batch.from_data([0, 1], {"x": np.array(values)}) for values in ([1, 2], [3, 4]))
    found = set()
    for at in itertools.count(1):
        old.dump(dst=path, fmt=fmt)
        has_died = dies(lambda: new.dump(dst=path, fmt=fmt), Calls(at, mode))
        found.add(tuple(luisy.Batch([0, 1]).load(src=path, fmt=fmt).x.tolist()))
        if not has_died and len(found) == 2:
            break
        assert at < 50
    assert found == {(1, 2), (3, 4)}
    new.dump(dst=path, fmt=fmt)
    assert "file" in files_below(tmp_path)


# -- images as arrays -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "expected", "expected_dtype"),
    [
        ((2, 3), "float64", {"channels": "last"}, (2, 3, 1), "float32"),
        ((2, 3), "float64", {"channels": "first"}, (1, 2, 3), "float32"),
        ((2, 3), "float64", {"channels": None}, (2, 3), "float32"),
        ((4, 5, 3), "uint8", {"channels": "first", "dtype": None}, (3, 4, 5), "uint8"),
    ],
)
def test_images_become_arrays(shape, dtype, options, expected, expected_dtype):
    images = np.arange(2 * np.prod(shape)).reshape(2, *shape).astype(dtype)
    batch = Images.from_data(None, {"images": images})
    batch.to_array(src="images", dst="images", **options)
    assert (batch.images.shape[1:], batch.images.dtype) == (expected, expected_dtype)
    values = batch.images if len(shape) == 2 else np.moveaxis(batch.images, 1, -1)
    assert (values.ravel() == images.ravel()).all()


# -- the reference ----------------------------------------------------------------------------------------------------

REFERENCE = Path(__file__).parents[1].joinpath("docs", "reference", "batch.md").read_text(encoding="utf-8")
MEMBERS = (
    "add_components", "apply_defaults", "apply_parallel", "array_of_nones", "as_dataset", "components", "create_attrs",
    "data", "data_setter", "dataset", "deepcopy", "do_nothing", "dump", "from_data", "get", "get_attrs", "get_errors",
    "indices", "items", "load", "merge", "merge_component", "pipeline", "random", "random_seed", "run_once", "save",
    "size", "to_array",
)  # fmt: skip


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_has_an_entry_and_a_docstring_with_an_example(name):
    assert re.search(rf"`{name}[(`]", REFERENCE), "no entry"
    if name not in {"apply_defaults", "components"}:
        assert ">>> " in inspect.getdoc(inspect.getattr_static(luisy.Batch, name))


def test_entries_have_the_arguments_that_there_are():
    entries = dict(re.findall(r"`(\w+)\((.*?)\)`", REFERENCE))
    checked = {name for name in entries if name in MEMBERS and "…" not in entries[name]}
    assert len(checked) > 10
    for name in checked:
        signature = inspect.signature(getattr(luisy.Batch, name))
        parameters = [str(each).split(":")[0].split("=")[0].strip() for each in signature.parameters.values()]
        parameters = parameters[parameters[:1] == ["self"] :]
        given = [part.split("=")[0].strip() for part in entries[name].split(",") if part.strip() not in {"*", ""}]
        assert given == parameters, name
