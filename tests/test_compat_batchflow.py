"""BatchFlow's programs with the import line changed: the examples of its page on batches, and what failed there."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest

from luisy_dir.batch import pools
from luisy_dir.compat.batchflow import (
    B,
    Batch,
    D,
    Dataset,
    DatasetIndex,
    F,
    FilesIndex,
    L,
    P,
    Pipeline,
    R,
    action,
    apply_parallel,
)
from luisy_dir.errors import SettingError


@pytest.fixture(autouse=True)
def no_pool_is_left():
    """Those of actions wait for the next call."""
    yield
    pools.close_pools()


class MyBatch(Batch):
    components = "images", "masks", "features", "labels"

    @apply_parallel
    def rotate(self, image, angle=1):
        return np.rot90(image, angle)

    @apply_parallel(requires_rng=True)
    def noise(self, image, rng):
        return image + rng.uniform()

    @staticmethod
    def some_static_method(item, **kwargs):
        return item * 2

    def some_method(self, item, **kwargs):
        return item + self.size

    @action
    def rotate_twice(self):
        self.images = np.stack([self._rotate_(self._rotate_(image)) for image in self.images])
        return self


@pytest.fixture
def batch():
    images = np.arange(4 * 3 * 3).reshape(4, 3, 3)
    return MyBatch(DatasetIndex(4), preloaded=(images, images + 100, np.arange(4), np.arange(4)))


# The examples of apply_parallel


def test_masks_are_made_of_images(batch):
    batch.apply_parallel(lambda image, **kwargs: image > 4, src="images", dst="masks")
    assert np.array_equal(batch.masks, batch.images > 4)


def test_a_mask_is_applied_to_an_image(batch):
    def apply_mask(image_and_mask, **kwargs):
        image, mask = image_and_mask
        return image * (mask > 104)

    batch.apply_parallel(apply_mask, src=("images", "masks"), dst="images_with_masks")
    assert np.array_equal(batch.images_with_masks, batch.images * (batch.masks > 104))


def test_images_and_masks_are_rotated_together_with_a_probability(batch):
    before = batch.images.copy()
    batch.apply_parallel(lambda item, **kwargs: np.rot90(item), src=["images", "masks"], dst=["images", "masks"], p=0.5)
    assert np.array_equal(batch.masks, batch.images + 100)
    is_turned = [not np.array_equal(new, old) for new, old in zip(batch.images, before, strict=True)]
    assert 0 < sum(is_turned) < 4


def test_methods_of_a_class_and_of_the_batch_are_applied(batch):
    batch.apply_parallel(MyBatch.some_static_method, src="labels", p=1.0)
    batch.apply_parallel(B.some_method, src="features")
    assert (batch.labels.tolist(), batch.features.tolist()) == ([0, 2, 4, 6], [4, 5, 6, 7])


def test_the_method_with_underscores_is_for_inner_calls(batch):
    before = batch.images.copy()
    assert np.array_equal(batch.rotate_twice().images, before[:, ::-1, ::-1])


# The examples of load


@pytest.fixture
def empty():
    return MyBatch(np.array([3, 1]))


@pytest.fixture
def frame():
    return pd.DataFrame({"features": [0, 2, 4, 6], "labels": [1, 3, 5, 7]})


def test_a_frame_is_loaded_as_the_page_says(empty, frame):
    assert empty.load(src=frame).labels.tolist() == [7, 3]
    assert empty.load(src=frame, dst=("features", "labels")).features.tolist() == [6, 2]
    assert empty.load(src=frame, dst="features").features.tolist() == [[6, 7], [2, 3]]


def test_arrays_are_loaded_as_the_page_says(empty):
    images, masks = np.arange(4) * 10, np.arange(4)
    for src in ({"images": images, "masks": masks}, (images, masks)):
        empty.load(src=src, dst=("images", "masks"))
        assert (empty.images.tolist(), empty.masks.tolist()) == ([30, 10], [3, 1])
    assert empty.load(src=images, dst="images").images.tolist() == [30, 10]


def test_a_csv_file_is_loaded_as_the_page_says(empty, frame, tmp_path):
    frame.to_csv(tmp_path / "file.csv")
    empty.load(fmt="csv", src=tmp_path / "file.csv", dst=("features", "labels"), index_col=0)
    assert (empty.features.tolist(), empty.labels.tolist()) == ([6, 2], [7, 3])


@pytest.mark.parametrize("fmt", ["blosc", "csv", "hdf5", "feather"])
def test_a_shuffled_batch_that_was_dumped_comes_back_as_it_was(fmt, tmp_path):
    MyBatch.from_data([2, 0, 1], {"features": np.array([20, 0, 10])}).dump(
        dst=tmp_path / "x", fmt=fmt, components="features"
    )
    assert MyBatch([2, 0, 1]).load(src=tmp_path / "x", fmt=fmt).features.tolist() == [20, 0, 10]


# Datasets and pipelines


def dataset_of(n=12, **options):
    return Dataset(DatasetIndex(n), MyBatch, {"images": np.arange(n) * 10.0}, **options)


def test_a_pipeline_is_lazy_and_runs_on_a_dataset():
    everything = np.zeros(12)
    template = Pipeline().apply_parallel(np.negative, src="images").dump(dst=everything, components="images")
    pipeline = template << dataset_of()
    assert everything.sum() == 0
    assert pipeline.run(5, n_epochs=1) is pipeline
    assert np.array_equal(everything, -np.arange(12) * 10.0)


def test_a_dataset_begins_a_pipeline():
    pipeline = dataset_of().p.noise(src="images").rebatch(6)
    assert [batch.size for batch in pipeline.gen_batch(4, shuffle=42, n_epochs=1)] == [6, 6]
    assert isinstance(pipeline, Pipeline)
    assert (dataset_of() >> Pipeline().do_nothing()).next_batch(4).size == 4


@pytest.mark.parametrize("target", ["threads", "mpc"])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_values_depend_on_neither_prefetch_nor_its_target(target, prefetch):
    def values(**options):
        batches = dataset_of(seed=42).p.noise(src="images").gen_batch(4, shuffle=42, n_epochs=1, **options)
        return {item_id: batch.get(item_id, "images") for batch in batches for item_id in batch.indices}

    assert values(prefetch=prefetch, target=target) == values()


@pytest.mark.parametrize(("target", "is_here"), [("threads", True), ("t", True), ("mpc", False), ("m", False)])
def test_a_target_says_what_does_the_actions(target, is_here):
    def put_process(batch):
        batch.put("labels", [os.getpid()] * batch.size)

    (batch,) = dataset_of().p.do(put_process).gen_batch(12, prefetch=1, target=target)
    assert (batch.labels[0] == os.getpid()) == is_here


def test_a_target_that_is_none_is_refused():
    with pytest.raises(SettingError, match="target is 'gpu'"):
        dataset_of().gen_batch(4, prefetch=1, target="gpu")


def test_an_error_under_prefetch_reaches_the_caller():
    pipeline = dataset_of().p.apply_parallel(lambda image: 1 // int(image - 50), src="images", target="for")
    batches = pipeline.gen_batch(4, prefetch=2, n_epochs=1)
    next(batches)
    with pytest.raises(RuntimeError):
        next(batches)


def test_a_dataset_is_split_into_its_attributes():
    dataset = dataset_of()
    dataset.split([0.5, 0.25, 0.25], shuffle=1)
    parts = [dataset.train, dataset.test, dataset.validation]
    assert [part.size for part in parts] == [6, 3, 3]
    assert sorted(item_id for part in parts for item_id in part.indices) == list(range(12))
    assert dataset.train.next_batch(6).images.shape == (6,)


@pytest.mark.parametrize("shares", [[0.25] * 4, [0.5, 0.2, 0.1]])
def test_a_part_that_would_be_left_out_is_refused(shares):
    dataset = dataset_of()
    with pytest.raises(SettingError, match="makes 4 parts"):
        dataset.split(shares)
    assert dataset.train is None


def test_files_are_an_index(tmp_path):
    for name in ("a/1.txt", "b/1.txt", "b/2.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    index = FilesIndex(path=[str(tmp_path / "a/*"), str(tmp_path / "b/*")], no_ext=True)
    assert index.indices.tolist() == ["a/1", "b/1", "b/2"]
    assert Dataset(index).next_batch(2).index.path("b/1") == str(tmp_path / "b/1.txt")


def test_a_batch_becomes_a_dataset(batch):
    dataset = batch.as_dataset(Dataset)
    assert isinstance(dataset, Dataset)
    assert dataset.next_batch(2).labels.tolist() == [0, 1]


def test_a_lock_that_would_not_be_taken_is_refused():
    with pytest.raises(SettingError, match="'use_lock'"):
        action(use_lock=True)
    assert action()(len) is len


# Named expressions


def test_arguments_are_known_when_there_is_a_batch():
    def plus(item, by, **kwargs):
        return item + by

    def result(by):
        return dataset_of().p.apply_parallel(plus, None, None, "images", "masks", by).next_batch(3).masks.tolist()

    assert result(B("size")) == result(B.size) == [3, 13, 23]
    assert result(F(lambda batch, more: batch.size + more, 1)) == [4, 14, 24]
    assert result(L(max, B("size"), 7)) == [7, 17, 27]
    assert result(D("size")) == [12, 22, 32]
    assert result(P(B("images"))) == [0, 20, 40]
    assert result(P([1, 2, 3])) == [1, 12, 23]
    one, each = np.subtract(result(R("uniform")), [0, 10, 20]), np.subtract(result(P("uniform", 0, 1)), [0, 10, 20])
    assert np.ptp(one) < 1e-9 < np.ptp(each)
    assert result(R([5, 5])) == [5, 15, 25]


def test_what_is_drawn_for_an_item_depends_on_no_size_of_a_batch():
    def values(size):
        pipeline = dataset_of(seed=1).p.apply_parallel(np.add, None, None, "images", "masks", P(R("normal", 0, 1)))
        return np.concatenate([batch.masks for batch in pipeline.gen_batch(size)])

    assert np.array_equal(values(3), values(5))


def test_the_batch_itself_or_a_copy_is_an_argument():
    got = []
    batch = Batch.from_data(data={"images": [1]})
    Pipeline().do(lambda _, same, copy: got.extend([same, copy]) or None, B(), B(copy=True))(batch)
    assert got[0] is batch
    assert got[1] is not batch
