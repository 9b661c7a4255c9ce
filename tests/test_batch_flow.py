"""Flows: chains of actions that wait for batches, and such a chain as the step of a directory task."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import luisy_dir as luisy
from luisy_dir import Batch, BatchSource, Flow, apply_parallel
from luisy_dir.batch import pools
from luisy_dir.batch.expressions import PerItem
from luisy_dir.batch.values import Calculated, Drawn, DrawnPerItem, OfBatch
from luisy_dir.errors import BatchError, BatchItemsError, DefinitionError, SettingError


@pytest.fixture(autouse=True)
def no_pool_is_left():
    """Those of actions wait for the next call."""
    yield
    pools.close_pools()


class Scans(Batch):
    components = "images", "masks"

    @apply_parallel
    def plus(self, image, by):
        return image + by

    @apply_parallel(requires_rng=True)
    def noise(self, image, rng):
        return image + rng.uniform(size=np.shape(image))

    def keep_even(self):
        return self[self.indices % 2 == 0]

    def count(self):
        return self.size


def source(n=6, **options):
    return BatchSource(n, Scans, {"images": np.arange(n) * 10, "masks": np.arange(n)}, **options)


# Chains


def test_nothing_is_done_before_there_is_a_batch():
    done = []
    flow = source() >> Flow().do(lambda batch: done.append(batch.indices.tolist()))
    batches = flow.gen_batch(2)
    assert done == []
    next(batches)
    assert done == [[0, 1]]


def test_actions_are_methods_by_name_and_functions_in_their_order():
    flow = Flow().plus(1, src="images").do(lambda batch, by: batch.plus(by, src="images"), by=5).do("keep_even")
    batch = flow(source().batch([0, 1, 2]))
    assert (batch.indices.tolist(), batch.images.tolist()) == ([0, 2], [6, 26])


def test_a_flow_stays_as_it_is_when_another_is_made_of_it():
    first = Flow().plus(1, src="images")
    second = first.plus(1, src="images")
    assert first(source().batch([0])).images.tolist() == [1]
    assert second(source().batch([0])).images.tolist() == [2]
    assert (first + second)(source().batch([0])).images.tolist() == [3]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_source_gives_the_batches(prefetch):
    flow = Flow().plus(1, src="images")
    for on in (flow.on(source()), source() >> flow, flow << source()):
        batches = list(on.gen_batch(4, prefetch=prefetch))
        assert [batch.images.tolist() for batch in batches] == [[1, 11, 21, 31], [41, 51]]
        assert on.run(4, n_epochs=2, prefetch=prefetch) == 4
    with pytest.raises(BatchError, match="no source of batches"):
        flow.run(2)


def test_actions_are_done_in_processes_too():
    flow = source(seed=3) >> Flow().noise(src="images")
    here = np.concatenate([batch.images for batch in flow.gen_batch(4)])
    there = np.concatenate([batch.images for batch in flow.gen_batch(3, prefetch=1, engine="processes")])
    assert np.array_equal(here, there)


@pytest.mark.parametrize("options", [{}, {"prefetch": 1}, {"prefetch": 1, "engine": "processes"}])
def test_a_batch_knows_its_flow_and_its_source(options):
    flow = source() >> Flow().do_nothing()
    for batch in flow.gen_batch(3, **options):
        assert batch.pipeline is flow
        assert batch.dataset is flow.source


def test_an_action_knows_the_flow_that_it_is_one_of():
    seen = []
    flow = Flow().do(lambda batch: seen.append(batch.pipeline))
    flow(source().batch([0]))
    assert seen == [flow]


def test_the_next_batch_goes_on():
    flow = source() >> Flow().plus(1, src="images")
    assert [flow.next_batch(4).images.tolist() for _ in range(3)] == [[1, 11, 21, 31], [41, 51], [1, 11, 21, 31]]
    flow.reset()
    assert flow.next_batch(4).images.tolist() == [1, 11, 21, 31]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_batches_are_put_together_anew_behind_all_actions(prefetch):
    flow = source(10) >> Flow().keep_even().rebatch(2)
    assert [batch.indices.tolist() for batch in flow.gen_batch(3, prefetch=prefetch)] == [[0, 2], [4, 6], [8]]
    with pytest.raises(DefinitionError, match="behind rebatch"):
        flow.plus(1)
    for dropping in (
        source(10) >> Flow().keep_even().rebatch(2, drop_last=True),
        (source(10) >> Flow().keep_even()) + Flow().rebatch(2, drop_last=True),
    ):
        assert [batch.indices.tolist() for batch in dropping.gen_batch(3, prefetch=prefetch)] == [[0, 2], [4, 6]]


def test_data_is_loaded_and_dumped_on_the_way(tmp_path):
    everything = np.zeros(6, int)
    flow = BatchSource(6, Scans) >> Flow().load(src=np.arange(6) * 2, dst="images").dump(
        everything, components="images"
    )
    assert flow.run(4, shuffle=3) == 2
    assert everything.tolist() == [0, 2, 4, 6, 8, 10]


def test_a_flow_is_pickled_without_its_source():
    flow = pickle.loads(pickle.dumps(source() >> Flow().plus(1, src="images")))
    assert flow.source is None
    assert flow(source().batch([1])).images.tolist() == [11]
    flow = pickle.loads(pickle.dumps(Flow().rebatch(5)))
    assert [batch.size for batch in (source() >> flow).gen_batch(2)] == [5, 1]


# What goes wrong


@pytest.mark.parametrize("action", [None, 3, ["plus"]])
def test_an_action_is_a_name_or_a_function(action):
    with pytest.raises(DefinitionError, match="no action"):
        Flow().do(action)


def test_an_action_that_the_batch_has_not_is_named():
    with pytest.raises(BatchError, match="Scans has no action 'plu'"):
        Flow().plu(1)(source().batch([0]))


def test_a_wrong_name_is_found_before_a_batch_is_made():
    done = []
    flow = Flow().do_nothing().plu(1)
    with pytest.raises(BatchError, match="Scans has no action 'plu'"):
        (source() >> flow).gen_batch(2)
    with pytest.raises(BatchError, match="Scans has no action 'plu'"):
        (Flow().do("count") + flow).process([luisy.Item("a", (), {}, 0)], "images", batch_class=Scans, images=[1])
    with pytest.raises(BatchError, match="Batch has no action 'plus'"):
        Flow().do(lambda batch: done.append(batch) or Batch.from_data(data={"a": [1]})).plus(1)(source().batch([0]))
    assert len(done) == 1


def test_behind_a_function_batches_may_be_of_another_class():
    class Others(Batch):
        def special(self):
            self.put("images", self.images + 1)

    flow = source() >> Flow().do(lambda batch: Others.from_data(batch.indices, {"images": batch.images})).special()
    assert next(flow.gen_batch(2)).images.tolist() == [1, 11]


@pytest.mark.parametrize("source", [3, [1, 2], {"images": [1]}])
def test_what_gives_no_batches_is_no_source(source):
    with pytest.raises(DefinitionError, match="no source of batches"):
        Flow().on(source)
    with pytest.raises(DefinitionError, match="no source of batches"):
        Flow(source)


def test_a_source_without_items_is_a_source():
    empty = BatchSource(0)
    assert ((empty >> Flow()) + (source() >> Flow())).source is empty


def test_a_size_is_refused_when_it_is_said():
    with pytest.raises(SettingError, match="batch_size is 0"):
        Flow().rebatch(0)


def test_what_is_no_batch_ends_the_chain():
    with pytest.raises(BatchError, match="'count' returned 1, and neither a batch nor None"):
        Flow().count()(source().batch([0]))


def test_an_error_of_an_action_reaches_the_caller_with_the_items():
    flow = source() >> Flow().apply_parallel(lambda image: 1 // int(image - 40), src="images", dst="masks")
    batches = flow.gen_batch(2, prefetch=2)
    next(batches), next(batches)
    with pytest.raises(BatchItemsError) as raised:
        next(batches)
    assert raised.value.ids == (4,)


# Expressions


def test_arguments_are_known_when_there_is_a_batch():
    flow = (
        Flow().plus(OfBatch("size"), src="images").plus(Calculated(lambda batch, by: batch.size * by, 10), src="masks")
    )
    batch = flow(source().batch([0, 1, 2]))
    assert (batch.images.tolist(), batch.masks.tolist()) == ([3, 13, 23], [30, 31, 32])


def test_arguments_may_be_others_for_each_item():
    flow = Flow().plus(PerItem(OfBatch("masks")), src="images").plus(PerItem([1, 2]), src="images")
    assert flow(source().batch([3, 4])).images.tolist() == [34, 46]


def test_an_expression_is_evaluated_once_an_action():
    evaluated = []
    by = Calculated(lambda batch: evaluated.append(batch.size) or 1)
    Flow().plus(by, src=["images", "masks"])(source().batch([0, 1]))
    assert evaluated == [2]


def test_what_is_drawn_for_a_batch_is_the_same_again():
    flow = (
        Flow()
        .plus(Drawn("integers", 0, 1000), src="images")
        .plus(PerItem(Drawn("normal", size=OfBatch("size"))), src="masks")
    )
    first, again, other = (flow(source(seed=seed).batch([0, 1])) for seed in (1, 1, 2))
    assert first.images.tolist() == again.images.tolist() != other.images.tolist()
    assert first.masks.tolist() == again.masks.tolist()
    assert len(set((first.masks - [0, 1]).tolist())) == 2


def test_what_is_drawn_for_items_belongs_to_them_and_to_the_action():
    flow = Flow().plus(DrawnPerItem("uniform"), src="images").plus(DrawnPerItem("uniform"), src="masks")

    def drawn(positions, **options):
        batch = flow(source(**options).batch(positions))
        return (batch.images - batch.indices * 10).tolist(), (batch.masks - batch.indices).tolist()

    images, masks = drawn([0, 1, 2])
    assert np.allclose(drawn([2, 0]), [[images[2], images[0]], [masks[2], masks[0]]])
    assert len({*np.round(images, 9), *np.round(masks, 9)}) == 6
    assert not np.allclose(drawn([0, 1, 2], seed=1)[0], images)


def test_what_the_batch_has_not_is_named():
    with pytest.raises(BatchError, match="no attribute or component 'sise'"):
        Flow().plus(OfBatch("sise"))(source().batch([0]))


# The step of a directory task

KEYS = [f"pets/{number}" for number in range(7)]


def write(folder, arrays):
    for key, array in arrays.items():
        os.makedirs(os.path.dirname(f"{folder}/{key}"), exist_ok=True)
        np.save(f"{folder}/{key}.npy", array)


@pytest.fixture
def scans(tmp_path):
    write(tmp_path / "test_batch_flow/raw/flow_images", {key: np.full((2, 2), n) for n, key in enumerate(KEYS)})
    write(tmp_path / "test_batch_flow/raw/flow_masks", {key: np.full((2, 2), -n) for n, key in enumerate(KEYS)})


@luisy.make_directory_output(np.load)
@luisy.raw
class FlowImages(luisy.ExternalTask):
    def get_folder_name(self):
        return "flow_images"


@luisy.make_directory_output(np.load)
@luisy.raw
class FlowMasks(luisy.ExternalTask):
    def get_folder_name(self):
        return "flow_masks"


AUGMENT = Flow().noise(src=["images", "masks"]).plus(100, src="masks")


@luisy.interim
@luisy.requires(image=FlowImages, mask=FlowMasks)
@luisy.directory_output(".npz", batch_size=3, engine="serial")
class Augmented(luisy.DirectoryTask):
    def process_batch(self, image, mask, items):
        return AUGMENT.process(items, ("images", "masks"), batch_class=Scans, images=image, masks=mask)


def test_a_flow_is_the_step_of_a_directory_task(scans):
    Augmented().run()
    written = dict(Augmented().dataset().items())
    assert sorted(written) == KEYS
    for number, key in enumerate(KEYS):
        noise = written[key]["images"] - number
        assert np.allclose(noise, written[key]["masks"] - 100 + number)
        assert noise.std() > 0


@luisy.interim
@luisy.requires(FlowImages)
@luisy.directory_output(".npy", batch_size=3, engine="serial")
class NoisyByThree(luisy.DirectoryTask):
    def process_batch(self, images, items):
        return Flow().noise(src="images").process(items, "images", batch_class=Scans, images=images)


@luisy.interim
@luisy.requires(FlowImages)
@luisy.directory_output(".npy", batch_size=5, engine="threads")
class NoisyByFive(luisy.DirectoryTask):
    def process_batch(self, images, items):
        return Flow().noise(src="images").process(items, "images", batch_class=Scans, images=images)


def test_what_is_written_depends_on_no_size_of_a_batch(scans):
    NoisyByThree().run()
    NoisyByFive().run()
    three, five = NoisyByThree().dataset(), NoisyByFive().dataset()
    assert all(np.array_equal(three[key], five[key]) for key in KEYS)
    assert not np.array_equal(three[KEYS[0]] - 0, three[KEYS[1]] - 1)


def only_some(image):
    if image[0, 0] == 2:
        raise ValueError("a bad one")
    if image[0, 0] == 4:
        raise luisy.Reject("not wanted")
    return image * 2


@luisy.interim
@luisy.requires(FlowImages)
@luisy.directory_output(".npy", batch_size=7, engine="serial", max_errors=1)
class FlowSome(luisy.DirectoryTask):
    def process_batch(self, images, items):
        return Flow().apply_parallel(only_some, src="images").process(items, "images", images=images)


def test_items_of_a_batch_that_fail_or_are_rejected_cost_no_others(scans):
    FlowSome().run()
    report = FlowSome().report()
    assert report["status"].tolist() == ["written", "written", "failed", "written", "rejected", "written", "written"]
    assert set(report["attempts"]) == {1}
    assert FlowSome().dataset()["pets/6"].tolist() == [[12, 12], [12, 12]]


def test_a_chain_that_changes_which_items_there_are_is_refused(scans):
    items = [luisy.Item(key, (), {}, 0) for key in "ab"]
    with pytest.raises(BatchError, match="changed which items"):
        Flow().do(lambda batch: batch[:1]).process(items, "images", images=[1, 2])
    with pytest.raises(BatchError, match="'masks' has no data"):
        Flow().process(items, "masks", batch_class=Scans, images=[1, 2])


def test_what_is_random_in_a_step_depends_on_the_seed_of_the_task_and_the_epoch():
    def images(seed, epoch):
        items = [luisy.Item(key, (), {}, seed) for key in "ab"]
        flow = Flow().noise(src="images")
        return [float(image) for image in flow.process(items, "images", batch_class=Scans, epoch=epoch, images=[0, 0])]

    assert images(1, 0) == images(1, 0)
    assert len({*images(1, 0), *images(2, 0), *images(1, 1)}) == 6


def test_errors_of_items_that_the_task_does_not_have_end_the_step():
    """And do not begin it again and again."""

    def fail(image):
        raise ValueError(image)

    flow = Flow().do(lambda batch: Batch.from_data(data={"images": batch.images})).apply_parallel(fail, src="images")
    with pytest.raises(BatchItemsError) as raised:
        flow.process([luisy.Item(key, (), {}, 0) for key in "ab"], "images", images=[1, 2])
    assert raised.value.ids == (0, 1)


@pytest.mark.parametrize("images", [[1], [1, 2, 3]])
def test_a_step_gets_as_many_rows_as_items(images):
    items = [luisy.Item(key, (), {}, 0) for key in "ab"]
    with pytest.raises(BatchError, match=r"'images' has \d rows for 2 items"):
        Flow().process(items, "images", images=images)


PIPELINE = """
import numpy as np
import luisy_dir as luisy
from luisy_dir.batch.expressions import PerItem
from luisy_dir.batch.values import Calculated

@luisy.make_directory_output(np.load)
@luisy.raw
class Raw(luisy.ExternalTask):
    def get_folder_name(self):
        return "raw"

class Mine(luisy.Batch):
    @luisy.apply_parallel
    def plus(self, image, by):
        return image + by + 0

def by_of(batch):
    return [1] * batch.size

def twice(image):
    return image * 2

FLOW = luisy.Flow().plus(PerItem(Calculated(by_of)), src="images").apply_parallel(twice, src="images")

@luisy.final
@luisy.requires(Raw)
@luisy.directory_output(".npy", batch_size=2, engine="serial")
class Made(luisy.DirectoryTask):
    def process_batch(self, images, items):
        return FLOW.process(items, "images", batch_class=Mine, images=images)
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("by + 0", "by + 1"),
        ("[1] *", "[2] *"),
        ("image * 2", "image * 3"),
        ("Flow().plus", "Flow().do_nothing().plus"),
        ("# no code", "# nothing"),
    ],
)
def test_a_result_is_stale_when_an_action_of_its_flow_has_changed(tmp_path, old, new, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"flow_of_{abs(hash((old, new)))}"
    os.makedirs(tmp_path / name / "raw" / "raw")
    np.save(tmp_path / name / "raw/raw/a.npy", np.zeros(2))
    program = f"""
import sys, luisy_dir as luisy
luisy.set_working_dir({str(tmp_path)!r})
import {name} as pipeline
if "run" in sys.argv:
    pipeline.Made().run()
sys.exit(0 if pipeline.Made().complete() else 7)
"""
    codes = []
    for text, argument in ((PIPELINE + "# no code\n", "run"), ((PIPELINE + "# no code\n").replace(old, new), "look")):
        (tmp_path / f"{name}.py").write_text(text)
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", program, argument],
            env=environment,
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
        )
        assert "cannot be looked into" not in done.stderr
        codes.append(done.returncode)
    assert codes == [0, 0 if old.startswith("#") else 7]


@pytest.mark.parametrize("kind", [Drawn, DrawnPerItem])
def test_a_way_to_draw_that_is_not_known_is_named(kind):
    with pytest.raises(BatchError, match="no method 'normally'"):
        kind("normally").evaluate(Batch([1]))
