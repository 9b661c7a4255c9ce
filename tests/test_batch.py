"""Batches: items with ids, named components, and what goes in and out of them."""

from __future__ import annotations

import copy
import pickle
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from luisy_dir import Batch
from luisy_dir.batch import pools
from luisy_dir.errors import BatchError, BatchItemsError, DefinitionError, SettingError, UnknownItemError


@pytest.fixture(autouse=True)
def no_pool_is_left():
    """Those of actions wait for the next call."""
    yield
    pools.close_pools()


class Pictures(Batch):
    components = "images", "labels", "masks"


@pytest.fixture
def batch():
    """Three items whose order is not that of their ids."""
    return Batch.from_data([2, 0, 1], {"images": np.array([20, 0, 10]), "labels": ["two", "zero", "one"]})


# Items and ids


@pytest.mark.parametrize(
    ("index", "ids"),
    [
        (3, [0, 1, 2]),
        ([5, 6], [5, 6]),
        (range(2, 4), [2, 3]),
        (np.array(["b", "a"]), ["b", "a"]),
        (["b", "a"], ["b", "a"]),
        (SimpleNamespace(indices=np.array([4, 5])), [4, 5]),
        ([1, "1"], [1, "1"]),
        ([b"1", 1], [b"1", 1]),
        ([2**63 + 1, 1], [2**63 + 1, 1]),
        (["a", "a\0"], ["a", "a\0"]),
        ([(1, 2), (1, 3)], [(1, 2), (1, 3)]),
        ([], []),
    ],
)
def test_the_index_may_be_a_number_or_anything_that_has_ids(index, ids):
    batch = Batch(index)
    assert batch.indices.tolist() == ids
    assert (batch.size, len(batch)) == (len(ids), len(ids))
    assert batch.index is index


@pytest.mark.parametrize(
    "index",
    [
        None,
        "abc",
        [[1, 2], [3, 4]],
        [[1], [2, 3]],
        np.zeros((2, 2)),
        1.5,
        True,
        -3,
        [1.0, float("nan")],
        np.array([np.nan]),
        [{}, {}],
        np.array([[], {}, None], object)[1:],
        pd.DataFrame({"a": [1]}),
    ],
)
def test_an_index_of_another_kind_is_refused(index):
    with pytest.raises(BatchError, match="index of a batch"):
        Batch(index)


def test_an_id_is_the_same_whatever_others_there_are():
    """Its text is what random numbers depend on."""
    assert [str(item_id) for item_id in Batch([1, 2.5]).indices.tolist()] == ["1", "2.5"]


def test_ids_that_are_changed_later_are_not_those_of_the_batch():
    """Data would be loaded of other items."""
    order = np.arange(4)
    batch = Batch(order[:3], preloaded={"images": np.arange(10) * 10})
    order[:] = [3, 2, 1, 0]
    assert (batch.images.tolist(), batch[2].images) == ([0, 10, 20], 20)
    with pytest.raises(ValueError, match="read-only"):
        batch.indices[0] = 7


def test_equal_ids_are_warned_of_and_cannot_be_asked_for():
    """Which of them would be meant?"""
    with pytest.warns(UserWarning, match="same id: 7"):
        batch = Batch.from_data([7, 8, 7], {"images": [1, 2, 3]})
    assert batch[8].images == 2
    with pytest.raises(UnknownItemError, match="several items 7"):
        batch[7]


def test_an_item_is_had_by_its_id_and_writes_through(batch):
    assert batch[0].labels == "zero"
    batch[0].images = 7
    assert batch.images.tolist() == [20, 7, 10]
    assert list(batch[1]) == [10, "one"]


def test_an_item_is_of_the_batch_whatever_becomes_of_the_batch(batch):
    item = batch[0]
    batch.add_components("masks")
    batch.images = [1, 2, 3]
    item.images = 7
    assert (batch.images.tolist(), item.masks) == ([1, 7, 3], None)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ([1, 2], 1.5),
        ([1, 2], None),
        (["cat", "dog"], "mouse"),
        (np.zeros(2, np.uint8), 300),
        (np.zeros(2, np.float16), 70000),
        (np.zeros(2, np.float32), -1e300),
    ],
)
def test_an_item_does_not_take_what_would_be_cut_off(data, value):
    batch = Batch.from_data(data={"x": data})
    with pytest.raises(BatchError, match="does not go"):
        batch[0].x = value
    assert batch.x.tolist() == list(data)


def test_a_text_id_finds_its_item():
    batch = Batch.from_data(["b", "a"], {"images": [1, 2]})
    assert (batch["a"].images, batch[np.str_("b")].images) == (2, 1)


@pytest.mark.parametrize("item_id", [3, "0", -1, None, (0,)])
def test_an_item_that_is_not_there_is_named(batch, item_id):
    with pytest.raises(UnknownItemError, match=r"no item .* it has 2, 0, 1"):
        batch[item_id]
    assert issubclass(UnknownItemError, KeyError)


class Id:
    """Counts how often it is compared."""

    compared = 0

    def __init__(self, number):
        self.number = number

    def __hash__(self):
        return self.number

    def __eq__(self, other):
        Id.compared += 1
        return self.number == other.number


def test_looking_for_an_item_does_not_search_the_others():
    batch = Batch.from_data([Id(number) for number in range(1000)], {"images": np.arange(1000)})
    Id.compared = 0
    assert batch[Id(999)].images == 999
    assert Id.compared <= 2


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda item: pickle.loads(pickle.dumps(item))])
def test_an_item_is_copied_and_pickled_without_the_others(again):
    batch = Batch.from_data(data={"images": np.zeros((100, 1000)), "none": None})
    item = batch[7]
    item.images = 5
    other = again(item)
    assert (other.images.tolist(), other.none) == (item.images.tolist(), None)
    assert len(pickle.dumps(other)) == len(pickle.dumps(item)) < 20_000


def test_whether_an_item_is_there_is_asked_by_its_id(batch):
    assert (2 in batch, 7 in batch, [] in batch) == (True, False, False)


def test_items_are_had_backwards(batch):
    assert [item.labels for item in reversed(batch)] == ["one", "zero", "two"]


def test_an_item_that_has_no_such_component_says_so(batch):
    with pytest.raises(AttributeError, match="'mask'"):
        _ = batch[0].mask
    with pytest.raises(AttributeError, match="'mask'"):
        batch[0].mask = 1


@pytest.mark.parametrize(
    ("key", "ids"),
    [
        (slice(0, 2), [2, 0]),
        (slice(None, None, -1), [1, 0, 2]),
        ([1, 2], [1, 2]),
        (np.array([0]), [0]),
        (np.array([True, False, True]), [2, 1]),
        ([False, True, False], [0]),
        (slice(5, 9), []),
    ],
)
def test_some_of_the_items_are_a_batch(batch, key, ids):
    """Slices and masks select by position, lists by id."""
    some = batch[key]
    assert some.indices.tolist() == ids
    assert some.images.tolist() == [item_id * 10 for item_id in ids]
    assert isinstance(some, Batch)


def test_a_batch_of_some_of_the_items_keeps_class_seed_and_attributes():
    batch = Pictures.from_data([5, 6], {"images": [1, 2]}, seed=3, epoch=4)
    batch.create_attrs(camera="left")
    some = batch[1:]
    assert (type(some), some.seed, some.epoch, some.camera) == (Pictures, 3, 4, "left")
    assert some.masks is None


def test_a_class_may_take_its_arguments_by_name_alone():
    class Own(Batch):
        components = "x"

        def __init__(self, index, **kwargs):
            super().__init__(index, **kwargs)

    own = Own.from_data([5, 6], [1, 2])
    assert (own[1:].x.tolist(), Own.merge([own, Own.from_data([7], [3])])[0].x.tolist()) == ([2], [1, 2, 3])


def test_a_class_names_each_component_once():
    with pytest.raises(DefinitionError, match="component 'x'"):
        type("Twice", (Batch,), {"components": ("x", "x")})


def test_a_mask_has_a_value_for_each_item(batch):
    with pytest.raises(BatchError, match="mask of shape"):
        batch[np.array([True, False])]


def test_get_gives_an_item_a_component_both_or_all(batch):
    assert batch.get(1, "images") == 10
    assert batch.get(1).labels == "one"
    assert batch.get(component="images").tolist() == [20, 0, 10]
    assert batch.get().images is batch.images
    with pytest.raises(BatchError, match=r"no component 'mask'; there are 'images', 'labels'"):
        batch.get(1, "mask")


def test_items_are_had_one_after_the_other(batch):
    assert [item.images for item in batch] == [20, 0, 10]
    assert [item.labels for item in batch.items] == ["two", "zero", "one"]


# Components


def test_a_class_may_name_its_components_by_one_text_or_a_list():
    class One(Batch):
        components = "images"

    class Several(Batch):
        components = ["images", "masks"]  # noqa: RUF012 - as users write

    assert (One.components, Several.components) == (("images",), ("images", "masks"))
    assert One.from_data(data=[1, 2]).images.tolist() == [1, 2]


@pytest.mark.parametrize("name", ["size", "load", "_hidden", "two words", "class", 7])
def test_a_class_with_a_component_that_could_not_be_an_attribute_is_refused(name):
    with pytest.raises(DefinitionError, match="has a component"):
        type("Wrong", (Batch,), {"components": ("images", name)})


def test_a_component_that_has_no_data_is_none():
    batch = Pictures([1, 2])
    assert batch.images is None
    assert batch.data.names == ("images", "labels", "masks")


def test_components_are_added(batch):
    assert batch.add_components("means", [1.0, 2.0, 3.0]) is batch
    batch.add_components(["a", "b"], ([1, 2, 3], [4, 5, 6])).add_components(["c", "d"])
    assert batch.components == ("images", "labels", "means", "a", "b", "c", "d")
    assert batch.b.tolist() == [4, 5, 6]
    assert batch.c is None
    assert type(batch).components is None


@pytest.mark.parametrize("name", ["images", "size", "camera", "_x", "a b", 3])
def test_a_component_of_a_name_that_is_taken_is_a_value_error_and_adds_nothing(batch, name):
    batch.create_attrs(camera="left")
    with pytest.raises(ValueError, match=r"already|cannot be called"):
        batch.add_components(["fresh", name])
    assert batch.components == ("images", "labels")


@pytest.mark.parametrize("data", [[1, 2], np.zeros((4, 3)), np.float64(3), "abc", 5, {1, 2, 3}])
def test_a_component_has_one_row_an_item(batch, data):
    for put in (lambda: batch.add_components("new", data), lambda: setattr(batch, "images", data)):
        with pytest.raises(BatchError, match=r"row|Give an array"):
            put()
    assert batch.images.tolist() == [20, 0, 10]
    assert "new" not in batch.components


def test_assigning_replaces_a_component_and_another_name_is_an_attribute(batch):
    batch.images = [1, 2, 3]
    batch.camera = "left"
    assert batch.data["images"].tolist() == [1, 2, 3]
    assert (batch.camera, batch.components) == ("left", ("images", "labels"))


def test_an_infinite_number_goes_into_a_smaller_float():
    batch = Batch.from_data(data={"x": np.zeros(2, np.float16)})
    batch[0].x = np.inf
    batch[1].x = np.float64("nan")
    assert batch.x[0] == np.inf


def test_names_of_components_are_texts(batch):
    for names in (5, None, [5], [None]):
        with pytest.raises(BatchError, match=r"no name of a component|cannot be called"):
            batch.add_components(names)
    for use in (lambda: batch.dump(dst={}, components=5), lambda: batch.load(src=[1], dst=5)):
        with pytest.raises(BatchError, match="5 is no name of a component"):
            use()
    with pytest.raises(BatchError, match="init is a int"):
        batch.add_components(["a", "b"], 5)


def test_components_that_several_threads_add_are_all_there():
    def add(thread):
        for number in range(50):
            batch.add_components(f"of_{thread}_{number}", [1, 2, 3])

    batch = Batch(3)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(4)))
    finally:
        sys.setswitchinterval(interval)
    assert (len(batch.components), len(batch.table)) == (200, 200)


def test_a_component_may_be_added_while_they_are_gone_through(batch):
    for number, _ in enumerate(batch.data):
        batch.add_components(f"new_{number}")
    assert batch.components == ("images", "labels", "new_0", "new_1")


def test_a_frame_with_two_columns_of_one_name_is_refused(batch):
    frame = pd.DataFrame([[1, 2], [3, 4], [5, 6]], columns=["a", "a"])
    with pytest.raises(BatchError, match="several columns 'a'"):
        Batch.from_data(data=frame)
    with pytest.raises(BatchError, match="several columns 'a'"):
        batch.load(src=frame)


def test_masked_data_keeps_its_mask():
    data = np.ma.array([1, 2, 3], mask=[False, True, False])
    batch = Batch([0, 1], preloaded={"images": data})
    assert batch.images.mask.tolist() == [False, True]
    assert Batch.merge([batch, Batch.from_data([2], {"images": [3]})])[0].images.mask.tolist() == [False, True, False]


def test_a_component_of_unequal_shapes_is_an_array_of_objects(batch):
    batch.images = [np.zeros(1), np.zeros(2), np.zeros(3)]
    assert batch.images.dtype == object
    assert batch[1].images.shape == (3,)


def test_a_name_that_is_neither_component_nor_attribute_is_an_attribute_error(batch):
    with pytest.raises(AttributeError, match="no attribute or component 'mask'"):
        _ = batch.mask
    assert not hasattr(batch, "mask")


def test_which_components_there_are_is_not_assigned(batch):
    """It would lose the data of those that are left out."""
    with pytest.raises(BatchError, match="add_components"):
        batch.components = ("images",)


@pytest.mark.parametrize("attribute", ["data", "data_setter"])
def test_all_data_is_set_as_a_tuple_a_dict_or_a_frame(attribute):
    batch = Pictures([5, 6])
    setattr(batch, attribute, ([1, 2], [3, 4]))
    assert (batch.images.tolist(), batch.labels.tolist(), batch.masks) == ([1, 2], [3, 4], None)
    setattr(batch, attribute, {"masks": [7, 8]})
    assert (batch.images, batch.masks.tolist()) == (None, [7, 8])
    setattr(batch, attribute, pd.DataFrame({"labels": [0, 1]}))
    assert (batch.labels.tolist(), batch.masks) == ([0, 1], None)
    setattr(batch, attribute, None)
    assert batch.labels is None


def test_data_that_does_not_fit_changes_nothing(batch):
    for data in ({"images": [1]}, ([1, 2, 3],) * 3, [1, 2, 3], {"size": [1, 2, 3]}):
        with pytest.raises(BatchError):
            batch.data = data
    assert batch.images.tolist() == [20, 0, 10]


def test_data_without_names_is_one_array_or_a_tuple():
    whole = Batch.from_data([5, 6], np.array([10, 20]))
    parts = Batch.from_data([5, 6], (np.array([10, 20]), np.array([1, 2])))
    assert (whole.components, parts.components) == (None, None)
    assert (whole.data.tolist(), whole[6]) == ([10, 20], 20)
    assert ([part.tolist() for part in parts.data], parts[6]) == ([[10, 20], [1, 2]], (20, 2))
    assert parts[1:].data[0].tolist() == [20]


def test_components_beside_data_without_a_name_are_refused_rather_than_erase_it():
    batch = Batch.from_data(data=[1, 2])
    with pytest.raises(BatchError, match="Name it first"):
        batch.add_components("images")
    with pytest.raises(BatchError, match="Name it first"):
        batch.load(src=np.zeros(2), dst="images")
    batch.data = {"images": batch.data}
    assert batch.images.tolist() == [1, 2]


def test_array_of_nones_has_none_for_each_item(batch):
    assert batch.array_of_nones.tolist() == [None, None, None]


def test_attributes_are_made_and_had(batch):
    batch.create_attrs(camera="left", gain=3)
    batch.gain = 4
    assert batch.get_attrs() == {"camera": "left", "gain": 4}
    assert Batch([0], gain=1).get_attrs() == {"gain": 1}


@pytest.mark.parametrize("name", ["images", "size", "_ids", "load"])
def test_an_attribute_of_a_name_that_is_taken_is_refused(batch, name):
    with pytest.raises(BatchError, match="An attribute cannot be called"):
        batch.create_attrs(camera="left", **{name: 1})
    assert batch.get_attrs() == {}


def test_an_attribute_that_was_set_in_another_way_is_not_replaced():
    batch = Batch([5])
    batch.camera = "left"
    with pytest.raises(BatchError, match="'camera'"):
        batch.create_attrs(camera="right")
    assert (batch.camera, batch.get_attrs()) == ("left", {})


def test_an_attribute_that_was_deleted_is_not_there():
    batch = Batch([5], camera="left")
    del batch.camera
    assert batch.get_attrs() == {}


def test_a_batch_refers_to_dataset_and_pipeline():
    dataset, pipeline = object(), object()
    batch = Batch([1], dataset, pipeline)
    assert (batch.dataset, batch.pipeline) == (dataset, pipeline)
    batch.pipeline = None
    assert batch.pipeline is None


def test_do_nothing_returns_the_batch_whatever_it_gets(batch):
    assert batch.do_nothing(1, two=2) is batch


# Preloaded data and load


SOURCES = {
    "array": np.arange(100) + 100,
    "list": list(range(100, 200)),
    "tuple": (np.arange(100) + 100,),
    "dict": {"images": np.arange(100) + 100},
    "dict by id": {"images": {number: number + 100 for number in range(100)}},
    "series": {"images": pd.Series(np.arange(100) + 100)},
    "frame": pd.DataFrame({"images": np.arange(100) + 100}),
    "shuffled frame": pd.DataFrame({"images": np.arange(100) + 100}).sample(frac=1, random_state=1),
}


class Images(Batch):
    components = ("images",)


@pytest.mark.parametrize("source", SOURCES)
def test_preloaded_data_is_taken_by_the_ids_of_the_items(source):
    batch = Images(np.arange(20, 30), preloaded=SOURCES[source])
    assert batch.images.tolist() == list(range(120, 130))
    assert batch[25].images == 125


@pytest.mark.parametrize("source", [source for source in SOURCES if source != "tuple"])
def test_data_is_loaded_by_the_ids_of_the_items(source):
    batch = Batch([22, 20, 21])
    batch.load(src=SOURCES[source], dst="images")
    assert batch.images.tolist() == [122, 120, 121]


def test_preloaded_data_has_labels_of_any_kind():
    ids = [str(number) for number in range(1000, 1100)]
    frame = pd.DataFrame({"images": np.arange(100) + 100, "labels": np.arange(100) + 1000}, index=ids)
    batch = Pictures(ids[20:30], preloaded=frame)
    assert batch.images.tolist() == list(range(120, 130))
    assert batch["1025"].labels == 1025
    assert batch.masks is None


def test_preloaded_data_is_taken_when_it_is_asked_for():
    class Source:
        asked = 0

        def __getitem__(self, item_id):
            type(self).asked += 1
            return item_id * 10

    batch = Batch([3, 4], preloaded=Source())
    pictures = Pictures([3, 4], preloaded=(Source(),))
    pictures.camera = "left"
    assert not hasattr(pictures, "lens")
    assert (Source.asked, batch.preloaded is None) == (0, False)
    assert repr(batch) == "<Batch of 2 items, not loaded yet>"
    assert (batch.data.tolist(), Source.asked, batch.preloaded) == ([30, 40], 2, None)
    assert (batch.data.tolist(), Source.asked) == ([30, 40], 2)


def test_preloaded_data_is_taken_once_however_many_ask_for_it():
    class Counting(dict):
        asked = 0

        def __getitem__(self, key):
            Counting.asked += 1
            time.sleep(0.001)
            return super().__getitem__(key)

    batch = Batch(20, preloaded={"x": Counting({n: n for n in range(20)})})
    with ThreadPoolExecutor(8) as pool:
        sums = list(pool.map(lambda _: int(batch.x.sum()), range(8)))
    assert (sums, Counting.asked) == ([190] * 8, 20)


def test_data_that_is_set_comes_before_preloaded_data():
    for batch in (Batch([1, 7], preloaded={"images": [10, 20]}), Images([1, 7], preloaded={"images": [10, 20]})):
        batch.data = {"images": [5, 6]}
        assert (batch.images.tolist(), batch.preloaded) == ([5, 6], None)


def test_what_every_batch_has_is_set_without_a_look_at_preloaded_data():
    batch = Batch([7], preloaded=[10, 20])
    batch.pipeline = "flow"
    assert (batch.pipeline, batch.preloaded) == ("flow", [10, 20])


def test_preloaded_data_that_lacks_an_item_says_which():
    with pytest.raises(UnknownItemError, match=r"10 rows, .* none at the positions 10, 11"):
        _ = Images(np.arange(8, 12), preloaded=np.arange(10)).images
    with pytest.raises(UnknownItemError, match="no rows with the labels 10, 11"):
        _ = Images(np.arange(8, 12), preloaded=pd.DataFrame({"images": np.arange(10)})).images
    with pytest.raises(UnknownItemError, match="no data of the item 'b'"):
        _ = Images(["a", "b"], preloaded={"images": {"a": 1}}).images


def test_a_negative_id_is_not_counted_from_the_end():
    with pytest.raises(UnknownItemError, match="-1"):
        Batch([0, -1]).load(src=np.arange(5), dst="images")


def test_changing_a_batch_leaves_what_it_was_loaded_from_as_it_is():
    source = np.arange(5)
    batch = Images([1, 2], preloaded=source)
    batch.images[:] = 99
    assert source.tolist() == [0, 1, 2, 3, 4]


def test_objects_are_copied_if_asked():
    source = [[1], [2]]
    objects = np.empty(2, object)
    objects[:] = source
    Images([0, 1], preloaded=objects, copy=True).images[0].append(5)
    assert source == [[1], [2]]
    Images([0, 1], preloaded=objects).images[0].append(5)
    assert source == [[1, 5], [2]]


def test_new_components_are_loaded_in_the_order_of_dst():
    batch = Batch(np.arange(20, 30)).load(src=np.arange(100) + 5000, dst="new")
    assert batch.new.tolist() == list(range(5020, 5030))
    batch.load(src=(np.arange(100), np.arange(100) * 2), dst=("z", "a"))
    assert batch.components == ("new", "z", "a")
    assert batch.a.tolist() == list(range(40, 60, 2))


@pytest.fixture
def frame():
    return pd.DataFrame({"features": [0, 2, 4, 6], "labels": list("abcd"), "other": [0.5, 1.5, 2.5, 3.5]})


def test_a_frame_is_loaded_into_all_components_two_or_one(frame):
    class Rows(Batch):
        components = "features", "labels"

    everything = Rows([3, 1]).load(src=frame)
    two = Batch([3, 1]).load(src=frame, dst=("features", "labels"))
    one = Batch([3, 1]).load(src=frame[["features", "other"]], dst="features")
    for batch in (everything, two):
        assert batch.components == ("features", "labels")
        assert (batch.features.tolist(), batch.labels.tolist()) == ([6, 2], ["d", "b"])
    assert one.features.tolist() == [[6, 3.5], [2, 1.5]]


def test_a_frame_of_the_one_column_that_is_asked_for_is_that_column(frame):
    assert Batch([1, 3]).load(src=frame[["features"]], dst="features").features.tolist() == [2, 6]


def test_a_batch_without_components_gets_all_that_a_frame_or_a_dict_has(frame):
    assert Batch([1, 3]).load(src=frame).components == ("features", "labels", "other")
    assert Batch([1, 3]).load(src={"a": np.arange(4)}).a.tolist() == [1, 3]
    assert Batch([1, 3]).load(src=np.arange(4) * 2).data.tolist() == [2, 6]


def test_what_a_source_lacks_is_named_and_nothing_is_loaded(batch, frame):
    with pytest.raises(BatchError, match="no columns 'mask'; it has 'features'"):
        batch.load(src=frame, dst=("features", "mask"))
    with pytest.raises(BatchError, match="no parts 'b'; it has 'a'"):
        batch.load(src={"a": [1, 2, 3]}, dst=("a", "b"))
    with pytest.raises(BatchError, match=r"tuple of 2 parts .* 1 components"):
        batch.load(src=([1, 2, 3], [1, 2, 3]), dst=("a",))
    with pytest.raises(BatchError, match="none of the components"):
        batch.load(src=frame[["other"]])
    assert batch.components == ("images", "labels")


def test_a_frame_with_two_rows_of_one_label_is_refused(frame):
    with pytest.raises(UnknownItemError, match="several rows with the labels 1"):
        Batch([0, 1]).load(src=frame.rename(index={3: 1}), dst="x")


def test_arrays_for_ids_that_are_no_positions_have_one_row_an_item():
    batch = Batch(["b", "a"])
    assert batch.load(src=np.array([1, 2]), dst="images")["a"].images == 2
    with pytest.raises(BatchError, match="3 rows for the 2 items"):
        batch.load(src=np.arange(3), dst="more")


def test_load_has_to_be_told_what(batch):
    """Else all data would be gone."""
    with pytest.raises(SettingError, match="load has no src"):
        batch.load()
    assert batch.images.tolist() == [20, 0, 10]


def test_a_format_or_an_option_that_is_not_known_is_refused(batch):
    with pytest.raises(SettingError, match="fmt is 'xyz'"):
        batch.load(src="x", fmt="xyz", dst="a")
    with pytest.raises(SettingError, match="fmt is 'xyz'"):
        batch.dump(dst="x", fmt="xyz")
    with pytest.raises(SettingError, match="'index_col'"):
        batch.load(src=np.arange(5), dst="a", index_col=0)


# From data, as a dataset


def test_from_data_numbers_the_items_or_takes_their_ids():
    assert Batch.from_data(data=np.zeros((4, 2))).indices.tolist() == [0, 1, 2, 3]
    assert Batch.from_data(["a", "b"], [1, 2])["b"] == 2
    assert Batch.from_data(data=pd.DataFrame({"x": [1, 2]}, index=["a", "b"]))["b"].x == 2
    assert Batch.from_data(index=[3, 4]).data is None


def test_from_data_of_a_tuple_has_the_length_of_its_parts():
    batch = Batch.from_data(data=(np.zeros((4, 2)), np.ones(4)))
    assert (batch.size, batch.data[0].shape) == (4, (4, 2))


@pytest.mark.parametrize("data", [None, 5, (np.zeros(3), np.zeros(4)), {"a": np.zeros(3), "b": np.zeros(2)}])
def test_from_data_refuses_what_has_no_length_or_several(data):
    with pytest.raises(BatchError):
        Batch.from_data(data=data)


class Store:
    """The least that a dataset is."""

    def __init__(self, index, batch_class, preloaded):
        self.index, self.batch_class, self.preloaded = index, batch_class, preloaded

    def batch(self, ids):
        return self.batch_class(ids, dataset=self, preloaded=self.preloaded)


def test_a_batch_becomes_a_dataset_of_a_class_or_of_that_of_an_object():
    """The ids are no positions of the data any more, and each item still has its own."""
    batch = Pictures.from_data([7, 3, 5], {"images": [70, 30, 50]})
    for kind in (Store, Store([], Batch, None)):
        again = batch.as_dataset(kind).batch([5, 7])
        assert (type(again), again.images.tolist(), again.masks) == (Pictures, [50, 70], None)
    assert batch.as_dataset(Store).batch([3]).as_dataset().batch([3]).images.tolist() == [30]


def test_data_that_was_not_touched_yet_is_in_the_dataset():
    batch = Batch([7, 3], preloaded=np.arange(10) * 10)
    assert batch.as_dataset(Store).batch([3]).data.tolist() == [30]


def test_a_dataset_has_copies_if_asked():
    batch = Batch.from_data([7, 3], {"images": [70, 30]})
    shared, copied = batch.as_dataset(Store), batch.as_dataset(Store, copy=True)
    batch.images[0] = 1
    assert (shared.batch([7]).images.tolist(), copied.batch([7]).images.tolist()) == ([1], [70])


def test_a_batch_of_no_dataset_has_to_be_told_its_class(batch):
    with pytest.raises(BatchError, match="taken from no dataset"):
        batch.as_dataset()


# Dump


def test_a_component_is_dumped_into_an_array_by_the_ids():
    everything = np.zeros(4)
    batch = Batch.from_data([1, 3], {"features": [2.0, 6.0]})
    assert batch.dump(dst=everything) is batch
    assert everything.tolist() == [0, 2, 0, 6]


@pytest.mark.parametrize("method", ["dump", "save"])
def test_a_shuffled_batch_comes_back_as_it_was(batch, method):
    by_id, frame, array = {}, pd.DataFrame(index=[0, 1, 2]), np.zeros(3, int)
    for dst in (by_id, frame, array):
        getattr(batch, method)(dst=dst, components="images")
    for src in ({"images": by_id}, frame, array):
        assert Batch([2, 0, 1]).load(src=src, dst="images").images.tolist() == [20, 0, 10]


def test_several_components_are_dumped_into_a_tuple_or_a_dict(batch):
    batch.add_components("more", [1, 2, 3])
    images, more = np.zeros(3, int), np.zeros(3, int)
    batch.dump(dst=(images, more), components=("images", "more"))
    assert (images.tolist(), more.tolist()) == ([0, 10, 20], [2, 3, 1])
    into = {"images": np.zeros(3, int), "more": np.zeros(3, int)}
    batch.dump(dst=into, components=["images", "more"])
    assert into["more"].tolist() == [2, 3, 1]


@pytest.mark.parametrize(
    ("ids", "data", "dst"),
    [
        ([1, 3], {"a": [1.5, 2.5]}, np.zeros(4, int)),
        ([1, 3], {"a": [1, 300]}, np.zeros(4, np.int8)),
        ([1, 3], {"a": ["cat", "mouse"]}, np.zeros(4, "<U3")),
        ([1, 3], {"a": [1, 2], "b": [1.5, 2]}, pd.DataFrame({"a": [0] * 4, "b": [0] * 4})),
        ([1, 4], {"a": [1, 2]}, pd.DataFrame({"a": [0] * 4})),
        ([1, 3], {"a": [[1, 2], [3, 4]]}, pd.DataFrame({"a": [0] * 4})),
        ([1, 3], {"a": [[1, 2], [3, 4]]}, np.zeros(4)),
        ([1, 4], {"a": [1, 2]}, np.zeros(4)),
        ([1, -1], {"a": [1, 2]}, np.zeros(4)),
        (["x", "y"], {"a": [1, 2]}, np.zeros(4)),
        ([1, 2], {"a": [1, 2], "b": [1, 2]}, np.zeros(4)),
        ([1, 2], {"a": [1, 2], "b": [[1], [2]]}, (np.zeros(4), np.zeros(4))),
        ([1, 2], {"a": None}, np.zeros(4)),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_dumped(ids, data, dst):
    """Fractions would be cut off, a row broadcast, an item put at another's place."""
    batch = Batch.from_data(ids, data)
    with pytest.raises(BatchError):
        batch.dump(dst=dst)
    for part in dst if isinstance(dst, tuple) else (dst,):
        assert not np.asarray(part).astype(bool).any()


def test_dump_has_to_be_told_where(batch):
    with pytest.raises(SettingError, match="no dst"):
        batch.dump()
    with pytest.raises(BatchError, match="cannot be dumped into a str"):
        batch.dump(dst="images.npy", components="images")


# Merge


def three():
    return [Batch.from_data(range(n, n + 3), {"images": np.arange(n, n + 3)}) for n in (0, 100, 200)]


def test_batches_are_merged_up_to_a_size_and_keep_their_ids():
    batch, rest = Batch.merge(three(), batch_size=4)
    assert batch.images.tolist() == batch.indices.tolist() == [0, 1, 2, 100]
    assert rest.images.tolist() == rest.indices.tolist() == [101, 102, 200, 201, 202]


@pytest.mark.parametrize("batch_size", [None, 9, 20])
def test_where_all_items_fit_there_is_no_rest(batch_size):
    batch, rest = Batch.merge(iter(three()), batch_size)
    assert (batch.size, rest) == (9, None)


def test_items_whose_ids_are_not_unique_are_numbered():
    many = Batch.from_data(data={"images": np.arange(60)})
    batch, rest = Batch.merge([many, many, many])
    assert (batch.size, rest, batch.indices.tolist()) == (180, None, list(range(180)))
    batch, rest = Batch.merge([many, many], 50)
    assert rest.indices.tolist() == list(range(50, 120))
    assert rest.images.tolist() == [*range(50, 60), *range(60)]


def test_a_component_that_some_batches_lack_is_a_value_error():
    batches = three()
    batches[1].images = None
    with pytest.raises(ValueError, match=r"'images' has data in some batches, but not in those with the numbers 1"):
        Batch.merge(batches)
    assert Batch.merge([Pictures([1]), Pictures([2])])[0].images is None


def test_some_components_are_merged_into_a_batch_of_another_class():
    batches = [Batch.from_data([n], {"images": [n], "other": [n]}) for n in (1, 2)]
    batch, _ = Batch.merge(batches, components="images", batch_class=Pictures)
    assert (type(batch), batch.components, batch.images.tolist()) == (Pictures, Pictures.components, [1, 2])
    assert type(Pictures.merge(three())[0]) is Batch


def test_data_without_names_is_merged():
    batch, rest = Batch.merge([Batch.from_data([1, 2], [10, 20]), Batch.from_data([3], [30])], 2)
    assert (batch.data.tolist(), rest.data.tolist()) == ([10, 20], [30])


def test_there_is_something_to_merge_and_room_for_it():
    with pytest.raises(BatchError, match="no batches"):
        Batch.merge([])
    for size in (0, -1, "2", 1.5):
        with pytest.raises(BatchError, match="at least one item"):
            Batch.merge(three(), size)
    for others in (three()[0], [three()[0], None]):
        with pytest.raises(BatchError, match="among the batches"):
            Batch.merge(others)
    with pytest.raises(BatchError, match="No batch has the components 'image'"):
        Batch.merge(three(), components="image")


def test_merged_data_and_ids_keep_the_values_that_no_common_dtype_has():
    large = np.array([2**63 + 1], np.uint64)
    batch, _ = Batch.merge([Batch.from_data(large, {"x": large}), Batch.from_data([-1], {"x": [-1]})])
    assert (batch.x.tolist(), batch.indices.tolist()) == ([2**63 + 1, -1], [2**63 + 1, -1])
    assert Batch.merge_component("x", [np.array([2**60 + 1]), np.array([0.5])]).tolist() == [2**60 + 1, 0.5]
    assert Batch.merge_component("x", [np.array([1]), np.array([0.5])]).dtype == np.float64


def test_a_component_of_unequal_shapes_is_merged():
    merged = Batch.merge_component("images", [np.zeros((2, 3)), np.ones((1, 4))])
    assert [row.shape for row in merged] == [(3,), (3,), (4,)]
    assert Batch.merge_component("texts", [np.array([1]), np.array(["a"])]).tolist() == [1, "a"]
    assert Batch.merge_component("images", [np.zeros((2, 3)), np.ones((1, 3))]).shape == (3, 3)
    assert Batch.merge_component("images") is None


def test_a_class_may_merge_a_component_in_its_own_way():
    class Longest(Batch):
        @classmethod
        def merge_component(cls, component=None, data=None):
            return np.concatenate(data)[::-1]

    batches = [Longest.from_data([n], {"images": [n]}) for n in (1, 2)]
    assert Longest.merge(batches)[0].images.tolist() == [2, 1]


# Copies


def _copies():
    return {
        "deepcopy": Batch.deepcopy,
        "copy.deepcopy": copy.deepcopy,
        "pickle": lambda batch: pickle.loads(pickle.dumps(batch)),
    }


@pytest.mark.parametrize("name", _copies())
def test_a_copy_has_all_data_of_its_own(name):
    """Components that were added, too."""
    batch = Pictures([5, 6], camera=["left"], seed=3, epoch=2, preloaded=(np.arange(10),))
    batch.add_components("new", [1, 2])
    batch.random.random()

    again = _copies()[name](batch)
    assert (again.images.tolist(), again.new.tolist(), again.masks) == ([5, 6], [1, 2], None)
    assert (again.components, again.get_attrs(), again[6].new) == (batch.components, {"camera": ["left"]}, 2)
    assert again.random.random() == batch.random.random()

    again.new[0] = 99
    again.camera.append("right")
    again.add_components("more")
    again.create_attrs(lens="long")
    batch.lens = "short"
    assert (batch.new.tolist(), "more" in batch.components) == ([1, 2], False)
    assert batch.get_attrs() == {"camera": ["left"]}


@pytest.mark.parametrize("name", _copies())
def test_a_copy_has_attributes_of_its_own_however_they_were_set(name):
    batch = Batch([5, 6])
    batch.history, batch.me = ["made"], batch
    again = _copies()[name](batch)
    again.history.append("copied")
    assert batch.history == ["made"]
    assert again.me is again


def test_a_copy_has_attributes_and_random_numbers_of_its_own():
    batch, reference = Batch([5]), Batch([5])
    assert batch.random.random() == reference.random.random()
    again = batch.copy()
    again.create_attrs(camera="left")
    again.random.random()
    batch.camera = "right"
    assert (batch.get_attrs(), again.get_attrs()) == ({}, {"camera": "left"})
    assert batch.random.random() == reference.random.random()


def test_a_copy_shares_arrays_but_no_components():
    batch = Batch.from_data([5, 6], {"images": [1, 2]})
    for again in (batch.copy(), copy.copy(batch)):
        assert again.images is batch.images
        again.images = [3, 4]
        assert batch.images.tolist() == [1, 2]
        assert again.random.random() == batch.copy().random.random()


@pytest.mark.parametrize("name", ["deepcopy", "copy.deepcopy"])
def test_a_copy_refers_to_the_same_dataset_and_pipeline(name):
    dataset, pipeline = [np.zeros(3)], object()
    again = _copies()[name](Batch([1], dataset, pipeline))
    assert again.dataset is dataset
    assert again.pipeline is pipeline


def test_a_pickled_batch_leaves_dataset_pipeline_and_preloaded_data_behind():
    """They may be large, or not to be pickled at all."""
    batch = Images([1], lambda: None, lambda: None, preloaded=np.zeros(1_000_000))
    pickled = pickle.dumps(batch)
    again = pickle.loads(pickled)
    assert len(pickled) < 10_000
    assert (again.dataset, again.pipeline, again.images.tolist()) == (None, None, [0.0])


# Arrays of images


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((2, 3), "last", (2, 3, 1)),
        ((2, 3), "first", (1, 2, 3)),
        ((2, 3), None, (2, 3)),
        ((4, 5, 3), "last", (4, 5, 3)),
        ((4, 5, 3), "first", (3, 4, 5)),
        ((4, 5, 3), None, (4, 5, 3)),
        ((2, 4, 5, 3), "first", (3, 2, 4, 5)),
        ((7,), "first", (7,)),
        ((), "first", ()),
    ],
)
def test_an_image_gets_an_axis_of_channels(shape, channels, expected):
    data = np.arange(2 * np.prod(shape, dtype=int)).astype(np.uint8).reshape(2, *shape)
    batch = Batch.from_data(data={"images": data}).to_array("images", channels=channels)
    assert batch.images.shape == (2, *expected)
    assert batch.images.dtype == np.float32
    assert sorted(batch.images.ravel()) == sorted(data.ravel())


def test_an_image_keeps_its_dtype_if_asked_and_goes_where_it_is_told():
    batch = Batch.from_data(data={"images": np.zeros((2, 4, 5, 3), np.uint8)})
    batch.to_array(dtype=None, channels="first", dst="arrays")
    assert (batch.arrays.dtype, batch.arrays.shape, batch.images.shape) == (np.uint8, (2, 3, 4, 5), (2, 4, 5, 3))
    assert batch._to_array_(np.zeros((2, 3))).shape == (2, 3, 1)


@pytest.mark.parametrize("values", [[300], [-1], [255.0, 256.0], [np.nan], [1j], [np.inf]])
def test_an_image_that_would_run_over_is_refused(values):
    batch = Batch.from_data(data={"images": np.array([[values]])})
    with pytest.raises(BatchItemsError, match="An image"):
        batch.to_array(dtype="uint8", target="for")
    with pytest.raises(BatchItemsError, match="The item is None"):
        Batch.from_data(data={"images": [None]}).to_array(target="for")


def test_an_image_becomes_integers_without_its_fractions():
    batch = Batch.from_data(data={"images": np.array([[[0.0, 255.5, -0.5]]])})
    assert batch.to_array(dtype="uint8").images.ravel().tolist() == [0, 255, 0]
    assert Batch.from_data(data={"images": [np.array([[2**63 - 1]])]}).to_array(dtype="int64").images[0] == 2**63 - 1
    assert Batch.from_data(data={"images": np.zeros((1, 0, 2))}).to_array(dtype="uint8").images.shape == (1, 0, 2, 1)


def test_channels_have_a_place_that_is_known():
    with pytest.raises(RuntimeError, match="channels is 'middle'"):
        Batch.from_data(data={"images": np.zeros((1, 2, 2))}).to_array(channels="middle")
    with pytest.raises(BatchError, match="no component 'images'"):
        Batch.from_data(data={"photos": np.zeros((1, 2, 2))}).to_array()


# Random numbers of the batch


def test_random_numbers_of_a_batch_depend_on_seed_epoch_and_ids():
    def first(**options):
        return Batch([3, 4], **options).random.random()

    assert first() == first()
    assert (
        len({first(), first(seed=1), first(epoch=1), Batch([4, 3]).random.random(), Batch([34]).random.random()}) == 5
    )


@pytest.mark.parametrize("seed", [None, 1.5, "3"])
def test_a_seed_is_a_whole_number(seed):
    for make in (
        lambda: Batch(1, seed=seed),
        lambda: Batch(1, epoch=seed),
        lambda: setattr(Batch(1), "random_seed", seed),
    ):
        with pytest.raises(SettingError, match="has to be a whole number"):
            make()


@pytest.mark.parametrize("seed", [0, -1, 2**200, np.int64(7)])
def test_any_whole_number_is_a_seed(seed):
    assert Batch(1, seed=seed).random.random() == Batch(1, seed=int(seed)).random.random()


def test_the_seed_is_set_as_a_number_or_a_sequence():
    sequence = np.random.SeedSequence(5)
    one, other = Batch([1]), Batch([1])
    one.random.random()
    one.random_seed = other.random_seed = sequence
    assert one.random_seed is sequence
    assert one.random.random() == other.random.random()
    assert one.seed == other.seed != 0
    one.random_seed = 7
    assert one.random.random() == Batch([1], seed=7).random.random()
