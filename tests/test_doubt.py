"""Doubt: what was published without a sync is not believed after a new boot before somebody has read it."""

from __future__ import annotations

import itertools
import os

import pytest
from pipelines import Letters

import luisy_dir as luisy
from luisy_dir.errors import GenerationError
from luisy_dir.generations import gc, rollback
from luisy_dir.manifest import read_manifest
from luisy_dir.record import FOLDER, VERIFIED
from luisy_dir.storage import local, system

KEYS = [f"{number:02d}" for number in range(10)]


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Doubtful(luisy.DirectoryTask):
    """Notes what it processes."""

    done: list[str] = []  # noqa: RUF012 - the tests empty it

    def process(self, text, item):
        self.done.append(item.key)
        return text.upper()


@luisy.final
@luisy.requires(Doubtful)
@luisy.directory_output(".txt", engine="serial")
class OfDoubtful(luisy.DirectoryTask):
    """Requires what is in doubt."""

    def process(self, text):
        return text


@pytest.fixture(autouse=True)
def published(write_files, monkeypatch):
    """Published with ``durability = none``."""
    monkeypatch.setattr(Doubtful, "done", [])
    monkeypatch.setenv("LUISY_DIR_DURABILITY", "none")
    write_files(Letters().output().path, {f"{key}.txt": f"letter {key}".encode() for key in KEYS})
    Doubtful().run()
    Doubtful.done.clear()


@pytest.fixture
def boot(monkeypatch):
    """Boot the machine."""
    numbers = itertools.count()

    def boot():
        name = f"boot {next(numbers)}"
        monkeypatch.setattr(system, "boot_id", lambda: name)

    return boot


def spoil(key="03"):
    """What a power cut can make of a file: the right length and time of change, and zeros."""
    path = os.path.join(Doubtful().output().path, f"{key}.txt")
    state = os.stat(path)
    with open(path, "wb") as file:
        file.write(bytes(state.st_size))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def is_right():
    return Doubtful().complete() and list(Doubtful().read()) == [f"LETTER {key}" for key in KEYS]


def test_in_the_same_boot_it_is_complete():
    assert Doubtful().complete()


def test_after_a_new_boot_nothing_is_believed_until_a_run_has_read_it(boot):
    boot()
    assert not Doubtful().complete()
    Doubtful().run()
    assert Doubtful.done == []
    assert is_right()
    assert read_manifest(Doubtful().output().path).record.generation == 1


def test_what_a_power_cut_has_spoilt_is_made_anew_and_nothing_else(boot):
    spoil()
    boot()
    Doubtful().run()
    assert Doubtful.done == ["03"]
    assert is_right()


def test_it_is_read_once_in_a_boot(boot, monkeypatch):
    boot()
    Doubtful().run()
    read, digest_of = [], local.digest_of
    monkeypatch.setattr(local, "digest_of", lambda path: [read.append(path), digest_of(path)][1])
    assert Doubtful().complete()
    Doubtful().run()
    assert [path for path in read if path.endswith(".txt")] == []
    boot()
    assert not Doubtful().complete()
    Doubtful().run()
    assert len([path for path in read if path.endswith(".txt")]) == len(KEYS)


def test_a_later_generation_needs_no_note_of_an_earlier_one(boot, write_files):
    boot()
    Doubtful().run()
    gc(Doubtful().output().path)
    assert Doubtful().complete()
    write_files(Letters().output().path, {"01.txt": b"other"})
    Doubtful().run()
    assert VERIFIED not in os.listdir(os.path.join(Doubtful().output().path, FOLDER))
    assert Doubtful().complete()


def test_a_task_that_requires_it_is_not_complete_either(boot):
    OfDoubtful().run()
    assert OfDoubtful().complete()
    boot()
    assert not OfDoubtful().complete()
    Doubtful().run()
    OfDoubtful().run()
    assert OfDoubtful().complete()


@pytest.mark.parametrize("is_spoilt", [False, True])
def test_a_pinned_generation_is_read_too(boot, write_files, is_spoilt):
    write_files(Letters().output().path, {"01.txt": b"other"})
    Doubtful().run()
    rollback(Doubtful().output().path, 1, durability="none")
    boot()
    assert not Doubtful().complete()
    if is_spoilt:
        spoil()
        with pytest.raises(GenerationError, match="pinned"):
            Doubtful().run()
        assert not Doubtful().complete()
    else:
        Doubtful().run()
        assert is_right()


def test_going_back_proves_nothing_of_what_nobody_has_read(boot, write_files):
    write_files(Letters().output().path, {"01.txt": b"other"})
    Doubtful().run()
    boot()
    spoil()
    Doubtful().output().rollback(1)
    assert not Doubtful().complete()


def test_a_later_run_with_commit_brings_all_of_it_to_the_disk(monkeypatch, write_files, boot):
    """Its record says that nothing is in doubt, and few files are else synced one by one."""
    synced, syncfs = [], system.syncfs
    monkeypatch.setattr(system, "syncfs", lambda descriptor: [synced.append(descriptor), syncfs(descriptor)])
    monkeypatch.setenv("LUISY_DIR_DURABILITY", "commit")
    write_files(Letters().output().path, {"01.txt": b"other"})
    Doubtful().run()
    assert synced
    boot()
    assert Doubtful().complete()


def test_a_later_run_with_commit_and_without_syncfs_syncs_every_file(monkeypatch, write_files):
    def unsupported(_):
        raise OSError(38, os.strerror(38))

    synced, fsync = [], system.fsync
    monkeypatch.setattr(system, "syncfs", unsupported)
    monkeypatch.setattr(
        system, "fsync", lambda number: [synced.append(os.readlink(f"/proc/self/fd/{number}")), fsync(number)]
    )
    monkeypatch.setenv("LUISY_DIR_DURABILITY", "commit")
    write_files(Letters().output().path, {"01.txt": b"other"})
    Doubtful().run()
    directory = Doubtful().output().path
    assert {os.path.join(directory, f"{key}.txt") for key in KEYS if key != "01"} <= set(synced)


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 50, b"[" * 100_000])
def test_a_note_that_is_damaged_proves_nothing(boot, content):
    boot()
    Doubtful().run()
    with open(os.path.join(Doubtful().output().path, FOLDER, VERIFIED), "wb") as file:
        file.write(content)
    assert not Doubtful().complete()
    Doubtful().run()
    assert is_right()
