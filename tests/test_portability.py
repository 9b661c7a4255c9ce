"""Portability: what a file system cannot do is found out, and done in another way, or refused with advice."""

from __future__ import annotations

import errno
import json
import os
import unicodedata

import pytest
from click.testing import CliRunner
from conftest import files_below
from pipelines import Letters

import luisy_dir as luisy
from luisy_dir import errors
from luisy_dir.cli import commands
from luisy_dir.generations import rollback
from luisy_dir.storage import probe, system
from luisy_dir.storage.probe import Capabilities

CALLS = {"rename_noreplace": errno.EINVAL, "link": errno.EPERM, "syncfs": errno.ENOSYS, "lock": errno.ENOLCK}


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Ported(luisy.DirectoryTask):
    """Something to publish."""

    def process(self, text):
        return text.upper()


@pytest.fixture
def without(monkeypatch):
    """Switch capabilities off: ``without("link", "lock")``."""

    def switch_off(*names):
        for name in names:

            def fail(*_, number=CALLS[name]):
                raise OSError(number, os.strerror(number))

            monkeypatch.setattr(system, name, fail)

    return switch_off


@pytest.fixture
def letters(write_files):
    folder = Letters().output().path
    write_files(folder, {"a.txt": b"a", "b/c.txt": b"c", "d.txt": b"d"})
    return folder


def tree(directory):
    found = {}
    for path in files_below(directory):
        with open(os.path.join(directory, path)) as file:
            found[path] = file.read()
    return found


class TestProbe:
    def test_this_file_system_can_do_all_that_is_asked_for(self, tmp_path):
        assert probe.probe(str(tmp_path)).missing == []
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("name", CALLS)
    def test_what_is_absent_is_found(self, tmp_path, without, name):
        without(name)
        assert probe.probe(str(tmp_path)).missing == [name]
        assert os.listdir(tmp_path) == []

    def test_a_disk_that_fails_is_not_one_that_can_do_less(self, tmp_path, monkeypatch):
        def fail(*_):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(system, "link", fail)
        with pytest.raises(OSError, match="Input/output"):
            probe.probe(str(tmp_path))
        assert os.listdir(tmp_path) == []

    def test_names_that_are_folded_are_found(self, tmp_path, monkeypatch):
        """No such file system is at hand in every place where this runs, so that looking is what is replaced."""
        monkeypatch.setattr(probe.local, "exists", lambda path: True)
        assert probe.probe(str(tmp_path)).missing == ["tells_case_apart", "tells_spellings_apart"]

    @pytest.mark.parametrize(
        ("capabilities", "one", "other", "is_one"),
        [
            (Capabilities(), "a", "A", False),
            (Capabilities(tells_case_apart=False), "straße", "STRASSE", True),
            (Capabilities(tells_case_apart=False), "\u00e4", "a\u0308", False),
            (Capabilities(tells_spellings_apart=False), "\u00e4", "a\u0308", True),
            (Capabilities(tells_spellings_apart=False), "\u00e4", "\u00c4", False),
            (Capabilities(tells_case_apart=False, tells_spellings_apart=False), "\u00e4", "A\u0308", True),
        ],
    )
    def test_two_names_are_one_where_the_file_system_folds_them(self, capabilities, one, other, is_one):
        assert (capabilities.folded(one) == capabilities.folded(other)) is is_one


@pytest.mark.parametrize(
    "names",
    [("rename_noreplace",), ("link",), ("syncfs",), ("lock",), ("link", "rename_noreplace"), ("lock", "link"),
     ("lock", "rename_noreplace"), ("syncfs", "link", "rename_noreplace")],
    ids="+".join,
)  # fmt: skip
def test_a_life_without(letters, without, write_files, names):
    """First build, update, interrupted and resumed, rollback, and a run with nothing to do."""
    without(*names)
    Ported().run()
    directory = Ported().output().path
    assert tree(directory) == {"a.txt": "A", "b/c.txt": "C", "d.txt": "D"}
    write_files(letters, {"a.txt": b"other", "e/f.txt": b"f"})
    os.unlink(os.path.join(letters, "d.txt"))
    Ported().run()
    assert tree(directory) == {"a.txt": "OTHER", "b/c.txt": "C", "e/f.txt": "F"}
    assert Ported().complete()
    rollback(directory)
    assert tree(directory) == {"a.txt": "A", "b/c.txt": "C", "d.txt": "D"}
    Ported().output().release()
    Ported().run()
    assert tree(directory) == {"a.txt": "OTHER", "b/c.txt": "C", "e/f.txt": "F"}
    assert Ported().output().verify(deep=True).is_as_written
    assert os.listdir(os.path.dirname(directory)) == ["Ported"]


def test_where_nothing_keeps_two_runs_apart_nothing_is_published(letters, without):
    without("link", "rename_noreplace", "lock")
    with pytest.raises(errors.StorageError, match=r"could not be kept apart.*another file system"):
        Ported().run()
    assert not os.path.exists(Ported().output().path)


def test_without_locks_a_warning_says_what_that_means(letters, without, caplog):
    without("lock")
    Ported().run()
    assert "has no locks" in caplog.text


@pytest.mark.parametrize(
    ("capabilities", "names"),
    [
        (Capabilities(tells_case_apart=False), ("Cat.txt", "cat.txt")),
        (Capabilities(tells_case_apart=False), ("A/x.txt", "a/y.txt")),
        (Capabilities(tells_spellings_apart=False), ("\u00e4.txt", unicodedata.normalize("NFD", "\u00e4.txt"))),
    ],
)
def test_names_that_are_one_for_the_disk_are_refused_before_any_work(write_files, monkeypatch, capabilities, names):
    write_files(Letters().output().path, dict.fromkeys(names, b"x"))
    monkeypatch.setattr("luisy_dir.transaction.probe", lambda _: capabilities)
    monkeypatch.setattr(Ported, "process", None, raising=False)
    monkeypatch.setattr(Ported, "process", lambda self, text: pytest.fail("was processed"))
    with pytest.raises(errors.KeyCollisionError, match="are one name on the file system"):
        Ported().run()


def test_a_new_name_that_is_an_old_one_for_the_disk_is_refused_too(letters, write_files, monkeypatch):
    Ported().run()
    write_files(letters, {"B/new.txt": b"new"})
    monkeypatch.setattr("luisy_dir.transaction.probe", lambda _: Capabilities(tells_case_apart=False))
    with pytest.raises(errors.KeyCollisionError, match=r"'B' and 'b' are one name|'b' and 'B' are one name"):
        Ported().run()


def test_an_input_may_be_given_another_case(letters, write_files, monkeypatch):
    Ported().run()
    os.rename(os.path.join(letters, "a.txt"), os.path.join(letters, "A.txt"))
    monkeypatch.setattr("luisy_dir.transaction.probe", lambda _: Capabilities(tells_case_apart=False))
    Ported().run()
    assert tree(Ported().output().path) == {"A.txt": "A", "b/c.txt": "C", "d.txt": "D"}


class TestCommand:
    def answer(self, *arguments):
        return CliRunner().invoke(commands, ["probe", *map(str, arguments)])

    def test_it_says_what_there_is(self, tmp_path):
        answer = self.answer(tmp_path)
        assert (answer.exit_code, answer.output.count(" yes\n")) == (0, 6)
        assert os.listdir(tmp_path) == []

    def test_it_says_what_is_done_instead(self, tmp_path, without):
        without("link", "syncfs")
        answer = self.answer(tmp_path)
        assert answer.exit_code == 0
        assert "no: records are published by rename" in answer.output
        assert "no: every file is synced alone" in answer.output

    def test_where_runs_are_refused_that_is_bad_news(self, tmp_path, without):
        without("link", "rename_noreplace", "lock")
        answer = self.answer(tmp_path)
        assert answer.exit_code == 1
        assert "runs are refused there" in answer.output

    def test_json_has_all_of_it(self, tmp_path, without):
        without("lock")
        answer = json.loads(self.answer(tmp_path, "--json").output)
        assert answer.pop("folder") == str(tmp_path)
        assert answer.pop("keeps_runs_apart")
        assert {name for name, is_there in answer.items() if not is_there} == {"lock"}

    def test_where_nothing_can_be_written_it_says_what_to_do(self, tmp_path):
        answer = self.answer("/proc")
        assert answer.exit_code == 3
        assert "another folder" in answer.output
        assert self.answer(tmp_path / "missing").exit_code == 3
