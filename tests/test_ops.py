"""The ops of a directory task stand in the place of its process."""

from __future__ import annotations

from functools import partial

import pytest

import luisy_dir as luisy
from luisy_dir.errors import DefinitionError


def read(path):
    with open(path) as file:
        return file.read()


def write(text, file):
    file.write(text.encode())


@luisy.make_directory_output(read)
@luisy.raw
class Sayings(luisy.ExternalTask):
    def get_folder_name(self):
        return "sayings"


def note(text, item):
    item.meta["length"] = len(text)
    return text


def add(text, end):
    return text + end


@luisy.interim
@luisy.requires(Sayings)
@luisy.directory_output((read, write), suffix=".txt", ops=[str.upper, note, partial(add, end="!")], workers=2)
class ShoutedByOps(luisy.DirectoryTask):
    pass


@luisy.interim
@luisy.requires(loud=ShoutedByOps, quiet=Sayings)
@luisy.directory_output((read, write), suffix=".txt", engine="serial")
class BothByOps(luisy.DirectoryTask):
    ops = (lambda loud, quiet: f"{loud} {quiet}", str.title)


@pytest.fixture
def sayings(write_files):
    return write_files(Sayings().output().path, {"a.txt": b"one", "b.txt": b"two"})


def results(task):
    return {item.key: text for item, text in task.items()}


@pytest.mark.parametrize("engine", ["serial", "threads", "processes"])
def test_each_gets_what_the_one_before_returned(sayings, monkeypatch, engine):
    monkeypatch.setenv("LUISY_DIR_ENGINE", engine)
    ShoutedByOps().run()

    assert results(ShoutedByOps()) == {"a": "ONE!", "b": "TWO!"}
    assert ShoutedByOps().report()["length"].to_list() == [3, 3]
    assert ShoutedByOps().complete()


def test_the_first_gets_the_data_of_all_directories(sayings):
    ShoutedByOps().run()
    BothByOps().run()

    assert results(BothByOps()) == {"a": "One! One", "b": "Two! Two"}


def test_none_rejects(sayings, monkeypatch):
    monkeypatch.setattr(ShoutedByOps, "ops", [str.upper, lambda text: None if text == "ONE" else text])
    monkeypatch.setattr(ShoutedByOps, "engine", "serial", raising=False)
    ShoutedByOps().run()

    assert ShoutedByOps().report()["status"].to_list() == ["rejected", "written"]


def test_other_ops_make_the_result_stale(sayings, monkeypatch):
    ShoutedByOps().run()

    monkeypatch.setattr(ShoutedByOps, "ops", [str.upper, note, partial(add, end="?")])

    assert not ShoutedByOps().complete()
    assert set(ShoutedByOps().plan().counts) == {"code"}
    monkeypatch.setattr(ShoutedByOps, "ops", [str.lower, note, partial(add, end="!")])
    assert not ShoutedByOps().complete()


def test_ops_and_process_are_one_too_many(sayings):
    class Contradictory(ShoutedByOps):
        def process(self, text):
            return text

    with pytest.raises(DefinitionError, match="Contradictory has both process and ops"):
        Contradictory()


@pytest.mark.parametrize("wrong", [3, [3], [str.upper, "x"]])
def test_what_is_no_function_is_refused(wrong):
    with pytest.raises(DefinitionError, match="cannot be called"):
        luisy.directory_output(".npy", ops=wrong)
