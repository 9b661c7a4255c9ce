"""Same answer everywhere: serial, threads, async, processes and a foreign executor, one worker or several."""

from __future__ import annotations

import os

import numpy as np
import pytest
from conftest import files_below
from pipelines import Arrays, Images, RedChannel
from skimage import data, io

import luisy_dir as luisy


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Crops of photographs, of several sizes, and files that are none of ours."""
    folder = tmp_path_factory.mktemp("crops")
    rng = np.random.default_rng(1)
    for number, photograph in enumerate((data.astronaut(), data.coffee(), data.rocket()) * 12):
        size = int(rng.choice([16, 32, 64]))
        row, column = (int(rng.integers(limit - size)) for limit in photograph.shape[:2])
        (folder / f"nested{number % 2}").mkdir(exist_ok=True)
        path = folder / f"nested{number % 2}" / f"{number:03d}.png"
        io.imsave(path, photograph[row : row + size, column : column + size], check_contrast=False)
        os.utime(path, (1, 1))
    (folder / "notes.txt").write_text("not an image")
    return folder


def publish(working_dir, crops, engine, workers, monkeypatch):
    """Publish both layers; return the manifests and all bytes that were published."""
    luisy.set_working_dir(working_dir)
    monkeypatch.setenv("LUISY_DIR_ENGINE", engine)
    monkeypatch.setenv("LUISY_DIR_WORKERS", str(workers))
    os.makedirs(Images().get_outdir())
    os.symlink(crops, Images().output().path)
    published = {}
    for task in (Arrays(), RedChannel()):
        task.run()
        assert task.complete()
        directory = task.output().path
        for name in files_below(directory):
            with open(os.path.join(directory, name), "rb") as file:
                published[task.get_task_family(), name] = file.read()
    return [Arrays().output().manifest(), RedChannel().output().manifest()], published


ENGINES = [
    ("threads", 3),
    ("async", 3),
    ("processes", 2),
    ("processes", 1),
    ("dask", 2),
    ("loky:get_reusable_executor", 2),
]


@pytest.mark.parametrize(("engine", "workers"), ENGINES)
def test_every_engine_gives_the_same_bytes_and_the_same_manifest(tmp_path, crops, engine, workers, monkeypatch):
    expected_manifests, expected = publish(tmp_path / "serial", crops, "serial", 1, monkeypatch)
    manifests, published = publish(tmp_path / "other", crops, engine, workers, monkeypatch)

    assert published == expected
    assert len(published) == 72
    for manifest, other in zip(manifests, expected_manifests, strict=True):
        assert manifest.same_as(other)


def test_random_numbers_depend_on_seed_and_key_only(tmp_path, crops, monkeypatch):
    publish(tmp_path / "one", crops, "serial", 1, monkeypatch)
    noise = RedChannel().report()["noise"]
    monkeypatch.setenv("LUISY_DIR_SEED", "1")
    publish(tmp_path / "two", crops, "processes", 2, monkeypatch)
    other = RedChannel().report()["noise"]
    assert noise.nunique() == len(noise)
    assert (noise != other).all()
