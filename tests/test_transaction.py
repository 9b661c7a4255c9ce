"""A transaction: all or nothing, whatever ends it."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime

import pytest
from conftest import files_below

from luisy_dir import errors
from luisy_dir.entry import Entry, OutputFile, encode_entry
from luisy_dir.item import Source
from luisy_dir.journal import Journal, Origin
from luisy_dir.manifest import read_manifest
from luisy_dir.resumption import Resumption, entries_in_staging
from luisy_dir.staging import staging_of, withdraw
from luisy_dir.storage import local, system
from luisy_dir.transaction import Facts, Transaction

FACTS = Facts("Task", {}, "final", "f" * 32, {}, "serial", 1, {}, ("raw",))


@pytest.fixture
def directory(tmp_path):
    return str(tmp_path / "layer" / "Task")


def write_item(transaction, key, content=b"data"):
    """Do what a worker does: write an output, append the entry to a journal, and answer with it."""
    digest, state = local.write_new(transaction.files, key + ".bin", lambda file: file.write(content))
    entry = Entry(
        key=key,
        sources=(Source("raw", key + ".png", 1, 1, "0" * 32),),
        status="written",
        outputs=(OutputFile(key + ".bin", state.st_size, state.st_mtime_ns, digest),),
        meta={},
        error=None,
        attempts=1,
        seconds=0.0,
        started=datetime.now(UTC),
        worker="w",
        seed=None,
    )
    line = encode_entry(entry)
    journal = Journal(os.path.join(transaction.run, "journal-w"))
    journal.append(line)
    journal.close()
    return transaction.collect(line)


def test_what_was_committed_is_there_with_its_manifest_and_nothing_beside_it(directory):
    with Transaction(directory, "f" * 32) as transaction:
        write_item(transaction, "b/1")
        write_item(transaction, "a")
        assert not os.path.exists(directory)
        transaction.commit(FACTS)

    assert files_below(directory) == ["a.bin", "b/1.bin"]
    manifest = read_manifest(directory)
    assert [entry.key for entry in manifest.entries()] == ["a", "b/1"]
    assert manifest.record.counts == {"written": 2, "skipped": 0, "rejected": 0, "failed": 0}
    assert os.listdir(os.path.dirname(directory)) == ["Task"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_whatever_ends_the_block_nothing_is_visible_and_the_entries_are_kept(directory, error):
    with pytest.raises(error), Transaction(directory, "f" * 32) as transaction:
        write_item(transaction, "a")
        raise error
    assert not os.path.exists(directory)
    assert [entry.key for entry in entries_in_staging(directory)] == ["a"]


def test_a_run_without_an_entry_leaves_nothing(directory):
    with pytest.raises(ValueError, match="x"), Transaction(directory, "f" * 32):
        raise ValueError("x")
    assert os.listdir(os.path.dirname(directory)) == []


def test_a_run_that_does_not_go_on_with_an_abandoned_one_removes_what_that_has_left(directory):
    with pytest.raises(ValueError, match="x"), Transaction(directory, "f" * 32) as transaction:
        write_item(transaction, "a")
        raise ValueError("x")
    with Transaction(directory, "f" * 32, resumption=Resumption(Origin("f" * 32), "no")) as transaction:
        write_item(transaction, "a", b"other")
        transaction.commit(FACTS)
    assert os.listdir(os.path.dirname(directory)) == ["Task"]
    with open(os.path.join(directory, "a.bin"), "rb") as file:
        assert file.read() == b"other"


def test_what_no_entry_speaks_of_is_not_published(directory):
    """Such as the half-written output of a worker that was killed."""
    with Transaction(directory, "f" * 32) as transaction:
        write_item(transaction, "a")
        local.write_new(transaction.files, "half.bin", lambda file: file.write(b"ha"))
        transaction.commit(FACTS)
    assert files_below(directory) == ["a.bin"]


def test_an_output_that_is_gone_is_never_published(directory):
    with pytest.raises(errors.StorageError, match=r"'a\.bin'"), Transaction(directory, "f" * 32) as transaction:
        write_item(transaction, "a")
        write_item(transaction, "b")
        os.remove(os.path.join(transaction.files, "a.bin"))
        transaction.commit(FACTS)
    assert not os.path.exists(directory)


def test_a_run_whose_staging_was_taken_away_does_not_bring_it_back(directory):
    """A renamed run directory fences its former owner: he gets an error and writes nowhere."""
    with (
        pytest.raises(errors.BusyError, match="another run has taken over"),
        Transaction(directory, "f" * 32) as transaction,
    ):
        os.rename(transaction.run, transaction.run + "-adopted")
        local.write_new(transaction.files, "nested/a.bin", lambda file: file.write(b""))
    assert not os.path.exists(transaction.run)


def test_two_entries_of_one_key_are_refused(directory):
    with pytest.raises(errors.KeyCollisionError), Transaction(directory, "f" * 32) as transaction:
        entry = write_item(transaction, "a")
        transaction.collect(encode_entry(entry))


def test_a_second_transaction_on_one_directory_is_busy_at_once(directory):
    with Transaction(directory, "f" * 32) as first:
        with pytest.raises(errors.BusyError), Transaction(directory, "f" * 32):
            pass
        assert os.path.isdir(first.files)
    with Transaction(directory, "f" * 32):
        pass


def test_what_appears_meanwhile_is_not_replaced(directory):
    with pytest.raises(errors.ForeignDirectoryError, match="appeared"), Transaction(directory, "f" * 32) as transaction:
        write_item(transaction, "a")
        os.mkdir(directory)
        transaction.commit(FACTS)
    assert os.listdir(directory) == []


def test_a_directory_that_was_published_since_it_was_looked_at_is_left_to_who_has_done_so(directory):
    """What was planned no longer holds: a first generation is never published over another."""
    with Transaction(directory, "f" * 32) as transaction:
        write_item(transaction, "a")
        transaction.commit(FACTS)
    with pytest.raises(errors.BusyError, match="Run again"), Transaction(directory, "f" * 32):
        pass
    assert os.listdir(os.path.dirname(directory)) == ["Task"]
    assert read_manifest(directory).record.generation == 1


def test_a_directory_that_was_brought_up_to_date_since_it_was_looked_at_is_left_to_who_has_done_so(directory):
    """A plan against a generation that is no longer the last would bring back what has been superseded."""
    with Transaction(directory, "f" * 32) as transaction:
        write_item(transaction, "a")
        transaction.commit(FACTS)
    base = read_manifest(directory)
    with Transaction(directory, "f" * 32, base=base) as transaction:
        write_item(transaction, "b")
        transaction.commit(FACTS)
    with pytest.raises(errors.BusyError, match="Run again"), Transaction(directory, "f" * 32, base=base):
        pass
    assert read_manifest(directory).record.generation == 2


def test_what_was_published_is_superseded_in_its_place(directory):
    """Files of items that changed are others, those of items that are gone are gone, and the rest stay as they are."""
    with Transaction(directory, "f" * 32) as transaction:
        for key in ("a", "b", "c/d"):
            write_item(transaction, key)
        transaction.commit(FACTS)
    base = read_manifest(directory)
    entries = {entry.key: entry for entry in base.entries()}
    kept = os.stat(os.path.join(directory, "a.bin"))
    with Transaction(directory, "f" * 32, base=base) as transaction:
        write_item(transaction, "b", b"other")
        write_item(transaction, "e")
        transaction.commit(FACTS, [entries["b"], entries["c/d"]])

    assert files_below(directory) == ["a.bin", "b.bin", "e.bin"]
    manifest = read_manifest(directory)
    assert [entry.key for entry in manifest.entries()] == ["a", "b", "e"]
    assert (manifest.record.generation, manifest.record.parent) == (2, 1)
    assert manifest.record.counts == {"written": 3, "skipped": 0, "rejected": 0, "failed": 0}
    assert os.stat(os.path.join(directory, "a.bin")) == kept
    assert sorted(os.listdir(os.path.join(directory, ".manifest", "undo-00000002"))) == ["b.bin", "c"]
    assert os.listdir(os.path.dirname(directory)) == ["Task"]


@pytest.mark.parametrize("call", ["syncfs", "fsync", "rename_noreplace"])
def test_a_disk_that_fails_at_the_end_publishes_nothing(directory, monkeypatch, call):
    def fail(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="Input/output error"), Transaction(directory, "f" * 32) as transaction:
        write_item(transaction, "a")
        monkeypatch.setattr(system, call, fail)
        transaction.commit(FACTS)
    assert not os.path.exists(directory)


def test_a_failed_sync_poisons_the_staging(directory, monkeypatch):
    """A second sync would say that all is well, and the files would be lost all the same."""

    def fail(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(errors.StorageError), Transaction(directory, "f" * 32) as transaction:
        write_item(transaction, "a")
        monkeypatch.setattr(system, "syncfs", fail)
        transaction.commit(FACTS)
    assert [name[:4] for name in os.listdir(staging_of(directory))] == ["bad-"]
    assert entries_in_staging(directory) == []


def test_durability_none_syncs_the_manifest_alone_and_commit_everything_before_the_rename(directory, monkeypatch):
    calls = []
    for name in ("syncfs", "fsync", "rename_noreplace"):
        original = getattr(system, name)
        monkeypatch.setattr(
            system, name, lambda *arguments, name=name, original=original: (calls.append(name), original(*arguments))
        )
    with Transaction(directory, "f" * 32, durability="none") as transaction:
        calls.clear()  # what the file system can do has been tried
        transaction.commit(FACTS)
    assert calls == ["fsync", "fsync", "fsync", "rename_noreplace"]
    withdraw(directory)
    calls.clear()
    with Transaction(directory, "f" * 32) as transaction:
        calls.clear()
        transaction.commit(FACTS)
    assert calls[0] == "syncfs"
    assert calls[-2:] == ["rename_noreplace", "fsync"]


def test_without_a_rename_that_does_not_replace_the_place_is_looked_at_first(directory, monkeypatch):
    def unsupported(source, target):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(system, "rename_noreplace", unsupported)
    with Transaction(directory, "f" * 32) as transaction:
        write_item(transaction, "a")
        transaction.commit(FACTS)
    assert files_below(directory) == ["a.bin"]


def unsupported(*_):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def test_without_syncfs_each_file_and_folder_is_synced(directory, monkeypatch):
    """One by one, because only so does an error come to light."""
    synced, fsync = [], system.fsync
    monkeypatch.setattr(system, "syncfs", unsupported)
    monkeypatch.setattr(
        system,
        "fsync",
        lambda descriptor: [synced.append(os.readlink(f"/proc/self/fd/{descriptor}")), fsync(descriptor)],
    )
    with Transaction(directory, "f" * 32) as transaction:
        write_item(transaction, "a/b")
        write_item(transaction, "c")
        files = transaction.files
        transaction.commit(FACTS)
    assert {f"{files}/a/b.bin", f"{files}/c.bin", f"{files}/a", files} <= set(synced)


def test_without_syncfs_an_error_of_one_file_poisons_the_staging(directory, monkeypatch):
    def fail(descriptor):
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("c.bin"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(system, "syncfs", unsupported)
    with (
        pytest.raises(errors.StorageError, match="None of it is trusted"),
        Transaction(directory, "f" * 32) as transaction,
    ):
        write_item(transaction, "a")
        write_item(transaction, "c")
        monkeypatch.setattr(system, "fsync", fail)
        transaction.commit(FACTS)
    assert [name[:4] for name in os.listdir(staging_of(directory))] == ["bad-"]


def test_a_directory_may_have_the_longest_name_that_there_is(tmp_path):
    directory = str(tmp_path / ("x" * 255))
    with Transaction(directory, "f" * 32) as transaction:
        write_item(transaction, "a")
        transaction.commit(FACTS)
    assert files_below(directory) == ["a.bin"]


def test_withdrawing_leaves_nothing(directory):
    with Transaction(directory, "f" * 32) as transaction:
        write_item(transaction, "a")
        transaction.commit(FACTS)
    withdraw(directory)
    assert os.listdir(os.path.dirname(directory)) == []


def test_a_directory_on_which_a_run_works_is_not_withdrawn(directory):
    os.makedirs(os.path.dirname(directory))
    with Transaction(directory, "f" * 32) as transaction:
        with pytest.raises(errors.BusyError):
            withdraw(directory)
        assert os.path.isdir(transaction.files)
