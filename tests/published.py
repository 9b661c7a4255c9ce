"""Directories that tests publish: one task that writes what it is given, as whatever format."""

from __future__ import annotations

import os
import pickle

import luisy_dir as luisy


def _read(path):
    with open(path, "rb") as file:
        return pickle.load(file)


@luisy.make_directory_output(_read)
@luisy.raw
class PublishedRaw(luisy.ExternalTask):
    name = luisy.Parameter()

    def get_folder_name(self):
        return f"raw-{self.name}"


class _Publish(luisy.DirectoryTask):
    name = luisy.Parameter()

    def requires(self):
        return PublishedRaw(name=self.name)

    def process(self, made, item):
        data, meta = made
        item.meta.update(meta)
        return data


@luisy.interim
@luisy.directory_output(".npy")
class PublishedArrays(_Publish):
    pass


@luisy.interim
@luisy.directory_output(".json")
class PublishedTexts(_Publish):
    pass


@luisy.interim
@luisy.directory_output(".png")
class PublishedImages(_Publish):
    pass


def publish(things, *, name="a", task=PublishedArrays):
    """Publish data by key, and return the task that did so; ``things`` has data, or pairs of data and meta."""
    folder = PublishedRaw(name=name).output().path
    os.makedirs(folder, exist_ok=True)
    for key in os.listdir(folder):
        os.remove(os.path.join(folder, key))
    for key, made in things.items():
        data, meta = made if isinstance(made, tuple) else (made, {})
        path = os.path.join(folder, key + ".pickled")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            pickle.dump((data, meta), file)
    run = task(name=name)
    run.engine, run.durability = "serial", "none"
    run.run()
    return run
