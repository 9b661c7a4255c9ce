"""The loader of PyTorch takes items as they are; run where torch is installed (``pip install torch``, for CPU)."""

import gc

import numpy as np
import pytest

import luisy_dir as luisy
from luisy_dir.dataset.collation import pad, stack

torch = pytest.importorskip("torch")
data = pytest.importorskip("torch.utils.data")

pytestmark = pytest.mark.filterwarnings("default:.*fork.*:DeprecationWarning")


@pytest.fixture
def dataset(tmp_path):
    with luisy.write_dataset(tmp_path / "set") as writer:
        for number in range(10):
            writer.add(f"a{number}", np.full((2, 3), number, "f4"))
    return luisy.open_dataset(tmp_path / "set")


@pytest.fixture
def copies(dataset):
    return dataset.copies()


@pytest.mark.parametrize("workers", [0, 2])
def test_its_batches_are_the_items_in_order(copies, workers):
    loaded = list(data.DataLoader(copies, batch_size=4, num_workers=workers))
    gc.collect()

    assert [tuple(batch.shape) for batch in loaded] == [(4, 2, 3), (4, 2, 3), (2, 2, 3)]
    assert torch.cat(loaded)[:, 0, 0].tolist() == list(range(10))


@pytest.mark.parametrize("workers", [0, 2])
def test_it_shuffles_items_by_its_own_generator(copies, workers):
    generator = torch.Generator().manual_seed(3)

    loaded = list(data.DataLoader(copies, batch_size=4, shuffle=True, generator=generator, num_workers=workers))

    assert sorted(torch.cat(loaded)[:, 0, 0].tolist()) == list(range(10))


@pytest.mark.parametrize("workers", [0, 2])
def test_it_takes_our_collations(copies, workers):
    """``Collated`` is a named tuple, which it knows."""
    for collate in (stack(), pad(to=(4, 3))):
        batch = next(iter(data.DataLoader(copies, batch_size=4, collate_fn=collate, num_workers=workers)))
        assert batch.data[:, 0, 0].tolist() == [0, 1, 2, 3]
        gc.collect()


def test_the_data_of_our_batches_becomes_a_tensor_without_a_copy(dataset):
    """The items are read-only views of files; what is stacked of them is not."""
    with dataset.batches(4, workers=1) as batches:
        batch = next(iter(batches))

    tensor = torch.from_numpy(batch.data)
    tensor[0] = 7

    assert batch.data[0, 0, 0] == 7
