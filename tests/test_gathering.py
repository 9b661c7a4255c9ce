"""Gathering: of several tries at an item one counts, with the outputs that its own worker has written."""

from __future__ import annotations

import os

import pytest
from conftest import an_entry

from luisy_dir.entry import OutputFile, decode_entry, encode_entry
from luisy_dir.errors import KeyCollisionError, StorageError
from luisy_dir.gathering import folder_of, gather, lying_apart, take_over

ONE, OTHER = "far-1-aaaa-0", "far-1-bbbb-0"


@pytest.fixture
def files(tmp_path):
    """The folder of a run's outputs."""
    (tmp_path / "files").mkdir()
    return str(tmp_path / "files")


def put(files, worker, *paths, text="text", mtime_ns=5_000):
    for path in paths:
        target = os.path.join(folder_of(files, worker), path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w") as file:
            file.write(text)
        os.utime(target, ns=(mtime_ns, mtime_ns))


def tried(worker, *paths, key="a", size=4):
    outputs = tuple(OutputFile(path, size, 5_000, "d" * 32) for path in paths)
    return encode_entry(an_entry(key, worker=worker, outputs=outputs))


def lying(files):
    return {os.path.relpath(os.path.join(parent, name), files) for parent, _, names in os.walk(files) for name in names}


def test_of_two_tries_the_one_that_is_gathered_counts_and_the_other_stays_apart(files):
    put(files, ONE, "a.txt", text="one1")
    put(files, OTHER, "a.txt", text="two2")
    gather(files, tried(OTHER, "a.txt"))
    with open(os.path.join(files, "a.txt")) as file:
        assert file.read() == "two2"
    assert lying(folder_of(files, ONE)) == {"a.txt"}


def test_all_outputs_of_an_item_come_with_their_folders(files):
    put(files, ONE, "a/b/c.txt", "a/d.txt")
    line = tried(ONE, "a/b/c.txt", "a/d.txt")
    assert gather(files, line) == line
    assert lying(files) == {"a/b/c.txt", "a/d.txt"}


def test_an_entry_without_outputs_is_as_it_was(files):
    assert gather(files, tried(ONE)) == tried(ONE)


def test_the_entry_has_the_time_of_change_that_is_seen_from_here(files):
    """On a network disk that of the server may come later than the worker has looked."""
    put(files, ONE, "a.txt", mtime_ns=7_000)
    assert decode_entry(gather(files, tried(ONE, "a.txt"))).outputs[0].mtime_ns == 7_000


@pytest.mark.parametrize(("first", "second"), [("a.txt", "a.txt"), ("a.txt", "a.txt/b.txt"), ("a/b.txt", "a")])
def test_two_items_that_write_one_name_are_told_of_and_nothing_is_replaced(files, first, second):
    put(files, ONE, first, text="one1")
    put(files, OTHER, second, text="two2")
    gather(files, tried(ONE, first))
    with pytest.raises(KeyCollisionError, match=f"{second!r} cannot be written for the item 'b'"):
        gather(files, tried(OTHER, second, key="b"))
    with open(os.path.join(files, first)) as file:
        assert file.read() == "one1"


def test_an_output_that_is_not_seen_from_here_is_told_of(files):
    with pytest.raises(StorageError, match=f"{ONE} has written 4 bytes as .*a.txt', which is not seen"):
        gather(files, tried(ONE, "a.txt"))


def test_an_output_that_is_seen_with_another_size_is_told_of(files):
    put(files, ONE, "a.txt", text="half of it")
    with pytest.raises(StorageError, match="has 10 bytes as seen from this machine"):
        gather(files, tried(ONE, "a.txt"))


def test_what_an_interrupted_run_has_not_gathered_is_found_where_it_lies(files):
    put(files, ONE, "a/x.txt")
    put(files, OTHER, "b.txt")
    entries = [decode_entry(tried(ONE, "a/x.txt", "gone.txt")), decode_entry(tried(ONE, "b.txt", key="b"))]
    assert dict(lying_apart(files, entries)) == {"a/x.txt": f"{folder_of(files, ONE)}/a/x.txt"}
    take_over(files, entries)
    assert lying(files) == {"a/x.txt"}
