"""A verification: whatever differs between a published directory and its manifest is found, and nothing is changed."""

from __future__ import annotations

import os
import socket
from dataclasses import FrozenInstanceError

import pytest
from conftest import an_entry

from luisy_dir.entry import OutputFile, encode_entry
from luisy_dir.errors import ManifestError, MissingInputError, StorageError
from luisy_dir.storage import local
from luisy_dir.transaction import Facts, Transaction
from luisy_dir.verification import Verification, verify

FILES = {"a.txt": b"alpha", "cats/b.txt": b"beta", "cats/c.txt": b"gamma"}
FACTS = Facts("Task", {}, "interim", "f" * 32, {}, "serial", 1, {}, ())


def publish(directory, files=FILES):
    """A directory with these files, published."""
    with Transaction(str(directory), FACTS.fingerprint, durability="none") as transaction:
        for path, content in files.items():
            digest, state = local.write_new(transaction.files, path, lambda file, content=content: file.write(content))
            output = OutputFile(path, state.st_size, state.st_mtime_ns, digest)
            transaction.collect(encode_entry(an_entry(os.path.splitext(path)[0], outputs=(output,))))
        transaction.commit(FACTS)
    return str(directory)


@pytest.fixture
def directory(tmp_path):
    return publish(tmp_path / "Upper")


def change(directory, path, content):
    """Give a file other content of its own, dated as it was before."""
    path = os.path.join(directory, path)
    state = os.stat(path)
    with open(path, "wb") as file:
        file.write(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("deep", [False, True])
class TestBoth:
    """What is found with and without a look into every file."""

    def test_a_directory_as_it_was_published_is_whole(self, directory, deep):
        assert verify(directory, deep=deep) == Verification((), (), (), files=3)

    def test_a_directory_without_outputs_is_whole(self, tmp_path, deep):
        assert verify(publish(tmp_path / "Empty", {}), deep=deep).is_whole

    def test_a_file_that_is_gone_is_missing(self, directory, deep):
        os.unlink(os.path.join(directory, "a.txt"))
        os.unlink(os.path.join(directory, "cats/c.txt"))
        assert verify(directory, deep=deep).missing == ("a.txt", "cats/c.txt")

    def test_a_directory_in_the_place_of_a_file_is_not_that_file(self, directory, deep):
        os.unlink(os.path.join(directory, "a.txt"))
        os.mkdir(os.path.join(directory, "a.txt"))
        assert verify(directory, deep=deep).missing == ("a.txt",)

    def test_a_link_that_leads_nowhere_is_a_missing_file(self, directory, deep):
        os.unlink(os.path.join(directory, "a.txt"))
        os.symlink("/nowhere", os.path.join(directory, "a.txt"))
        assert verify(directory, deep=deep).missing == ("a.txt",)

    def test_a_file_of_another_size_has_changed(self, directory, deep):
        change(directory, "a.txt", b"alpha and more")
        assert verify(directory, deep=deep).changed == ("a.txt",)

    def test_a_file_of_the_same_size_and_another_date_has_changed(self, directory, deep):
        change(directory, "a.txt", b"ALPHA")
        os.utime(os.path.join(directory, "a.txt"))
        assert verify(directory, deep=deep).changed == ("a.txt",)

    def test_a_file_that_was_only_touched_is_fine(self, directory, deep):
        os.utime(os.path.join(directory, "a.txt"), (0, 0))
        assert verify(directory, deep=deep).is_whole

    def test_a_file_that_nobody_knows_is_foreign(self, directory, write_files, deep):
        write_files(directory, {"new.txt": b"", "cats/a.txt": b""})
        assert verify(directory, deep=deep).foreign == ("cats/a.txt", "new.txt")

    @pytest.mark.parametrize("name", [".hidden", ".cache/x.txt", "Thumbs.db", "cats/desktop.ini"])
    def test_what_is_never_an_item_is_not_foreign(self, directory, write_files, name, deep):
        """Just as in a raw folder, so that a look with a file manager makes no difference."""
        write_files(directory, {name: b"litter"})
        assert verify(directory, deep=deep).is_whole

    def test_a_linked_folder_an_empty_one_and_a_socket_are_not_foreign(self, directory, deep, monkeypatch):
        os.symlink("/", os.path.join(directory, "root"))
        os.mkdir(os.path.join(directory, "empty"))
        monkeypatch.chdir(directory)  # the name of a socket must be short
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("socket")
        assert verify(directory, deep=deep).is_whole

    def test_a_name_that_is_no_text_is_foreign_even_if_its_encoding_is_known(self, tmp_path, deep):
        """The file ``%FF.txt`` is ours, and the one whose name is the byte FF is not."""
        directory = publish(tmp_path / "Upper", {"%FF.txt": b"ours"})
        with open(os.path.join(os.fsencode(directory), b"\xff.txt"), "wb"):
            pass
        assert verify(directory, deep=deep) == Verification((), (), ("%FF.txt",), files=1)

    def test_nothing_is_changed(self, directory, write_files, deep):
        write_files(directory, {"new.txt": b""})
        os.unlink(os.path.join(directory, "a.txt"))
        before = state_of(directory)
        verify(directory, deep=deep)
        assert state_of(directory) == before

    def test_a_damaged_manifest_is_an_error(self, directory, deep):
        entries = os.path.join(directory, ".manifest", "00000001.jsonl")
        with open(entries, "ab") as file:
            file.write(b"\n")
        with pytest.raises(ManifestError, match="does not equal the digest"):
            verify(directory, deep=deep)

    @pytest.mark.parametrize("make", [lambda path: None, os.mkdir, lambda path: open(path, "w").close()])
    def test_what_was_not_published_is_an_error(self, tmp_path, make, deep):
        make(tmp_path / "place")
        with pytest.raises(MissingInputError, match="Nothing was published as"):
            verify(str(tmp_path / "place"), deep=deep)


def state_of(directory):
    """Every file and folder with its times of change."""
    return {
        os.path.join(parent, name): os.lstat(os.path.join(parent, name)).st_mtime_ns
        for parent, folders, names in os.walk(directory)
        for name in [*folders, *names, "."]
    }


def test_a_change_that_was_dated_back_is_found_by_a_deep_look_alone(directory):
    """That is what the deep look is for, and why it is not the only one: it reads everything."""
    change(directory, "a.txt", b"ALPHA")
    assert verify(directory).is_whole
    assert verify(directory, deep=True).changed == ("a.txt",)


def test_a_file_that_goes_while_it_is_looked_at_is_missing(directory, monkeypatch):
    real = local.digest_of

    def remove_and_read(path):
        if path.endswith("a.txt"):
            os.unlink(path)
        return real(path)

    monkeypatch.setattr(local, "digest_of", remove_and_read)
    assert verify(directory, deep=True).missing == ("a.txt",)


def test_a_file_that_cannot_be_read_is_an_error_and_not_an_answer(directory, monkeypatch):
    """Nobody knows what is in it; the message names it."""
    real = local.digest_of

    def broken(path):
        if path.endswith("a.txt"):
            raise OSError(5, "Input/output error", path)
        return real(path)

    monkeypatch.setattr(local, "digest_of", broken)
    with pytest.raises(StorageError, match=r"a\.txt' cannot be compared with its manifest: Input/output error"):
        verify(directory, deep=True)


def test_it_is_shown_in_a_few_lines_whatever_the_numbers_and_names():
    shown = str(Verification(("a\x1b[31m",), (), tuple(f"{number}.txt" for number in range(5)), files=9))
    assert shown == "9 files: 1 missing, 5 foreign\n  missing: 'a\\x1b[31m'\n  foreign: '0.txt', '1.txt', '2.txt' …"


def test_it_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Verification((), (), ()).missing = ("a",)
