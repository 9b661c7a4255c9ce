"""The example of images and masks: what it writes is what its page says."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from skimage import io

import luisy_dir as luisy

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@pytest.fixture(scope="module")
def coins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example") / "coins"
    environment = {**os.environ, "PYTHONPATH": REPOSITORY}
    program = os.path.join(REPOSITORY, "examples", "images_and_masks.py")
    subprocess.run([sys.executable, program, folder], env=environment, check=True, timeout=100)
    return folder


def test_an_image_and_its_mask_are_turned_alike(coins):
    """Where the mask is, the image is lighter than elsewhere, as it was before it was turned."""
    for number in (1, 2, 3):
        directory = luisy.open_dataset(coins / "images_and_masks" / "final" / f"Augmented_round={number}")
        items = list(directory)
        assert len(items) == 8
        for item in items:
            inside = item["masks"] > 0
            assert set(np.unique(item["masks"])) == {0, 255}
            assert item["images"][inside].mean() > item["images"][~inside].mean() + 20
            assert np.array_equal(item["shown"][inside], item["images"][inside])


def test_rounds_and_items_differ(coins):
    final = coins / "images_and_masks" / "final"
    first, second = (luisy.open_dataset(final / f"Augmented_round={number}") for number in (1, 2))
    assert not any(np.array_equal(first[key]["masks"], second[key]["masks"]) for key in first.keys)


def test_the_contact_sheet_of_the_page_is_what_the_example_draws(coins):
    page = io.imread(os.path.join(REPOSITORY, "docs", "images", "images-and-masks.png"))
    sheet = io.imread(coins / "coins.png")
    assert sheet.shape == page.shape == (400, 800, 3)
    assert np.mean(sheet != page) < 0.05  # another version of scikit-image may round in another way
