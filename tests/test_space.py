"""Space: a run that cannot have room is not begun, and one that may not have is warned of."""

from __future__ import annotations

import errno
import os
import sys

import pytest
from pipelines import Letters

import luisy_dir as luisy
from luisy_dir import errors
from luisy_dir.storage import system

KEYS = [f"{number:03d}" for number in range(100)]


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Sized(luisy.DirectoryTask):
    """Outputs as large as their inputs."""

    interrupted_at = None

    def process(self, text, item):
        controls = vars(sys.modules[__name__])["Sized"]  # out of sight of the fingerprint: they are no code
        if item.key == controls.interrupted_at:
            raise KeyboardInterrupt
        return text.upper()


@pytest.fixture
def free(monkeypatch):
    """Say how much room there is."""
    return lambda size, files=sys.maxsize: monkeypatch.setattr(system, "free_space", lambda _: (size, files))


@pytest.fixture(autouse=True)
def letters(write_files):
    folder = Letters().output().path
    write_files(folder, {f"{key}.txt": b"x" * 100 for key in KEYS})
    return folder


def test_a_first_build_of_which_nothing_is_known_is_begun(free):
    free(1_000_000)
    Sized().run()
    assert Sized().complete()


def test_an_update_that_will_not_fit_is_not_begun_and_says_both_figures(free, write_files, letters):
    Sized().run()
    write_files(letters, {f"{key}.txt": b"y" * 100 for key in KEYS[:50]})
    free(4_999, 1_000)
    with pytest.raises(errors.StorageError) as caught:
        Sized().run()
    assert caught.value.errno == errno.ENOSPC
    for figure in ("50 items", "5,000 bytes in 50 files", "4,999 bytes in 1,000 files", "on-no-space allow"):
        assert figure in str(caught.value)
    assert list(Sized().read()) == ["X" * 100] * 100
    assert os.listdir(os.path.dirname(Sized().output().path)) == ["Sized"]
    free(5_000, 1_000)
    Sized().run()
    assert Sized().complete()


def test_there_must_be_room_for_the_number_of_files_too(free, write_files, letters):
    Sized().run()
    write_files(letters, {f"{key}.txt": b"y" * 100 for key in KEYS[:50]})
    free(1_000_000, 49)
    with pytest.raises(errors.StorageError, match="1,000,000 bytes in 49 files"):
        Sized().run()


def test_new_items_are_judged_by_those_that_are_published(free, write_files, letters):
    Sized().run()
    write_files(letters, {f"new {key}.txt": b"y" * 100 for key in KEYS})
    free(9_999)
    with pytest.raises(errors.StorageError, match=r"10,000 bytes in 100 files.*9,999 bytes in any number of files"):
        Sized().run()


def test_what_is_left_of_an_interrupted_run_is_judged_by_what_it_has_finished(free, monkeypatch):
    monkeypatch.setattr(Sized, "interrupted_at", KEYS[40])
    with pytest.raises(KeyboardInterrupt):
        Sized().run()
    monkeypatch.setattr(Sized, "interrupted_at", None)
    free(5_999)
    with pytest.raises(errors.StorageError, match="60 items are expected to become 6,000 bytes in 60 files"):
        Sized().run()
    free(6_000)
    Sized().run()
    assert Sized().complete()


def test_who_knows_better_may_begin_all_the_same(free, write_files, letters, monkeypatch):
    Sized().run()
    write_files(letters, {f"{key}.txt": b"y" * 100 for key in KEYS})
    free(0, 0)
    monkeypatch.setenv("LUISY_DIR_ON_NO_SPACE", "allow")
    Sized().run()
    assert Sized().complete()


def test_while_it_runs_it_warns_once_where_the_rest_may_not_fit(free, caplog):
    free(3_599)
    Sized().run()
    assert caplog.text.count("The disk may be too small: after 64 items, the 36 that are left") == 1
    assert "3,600 bytes in 36 files" in caplog.text


def test_it_does_not_warn_where_there_is_room(free, caplog):
    free(3_600, 36)
    Sized().run()
    assert "too small" not in caplog.text


def test_a_disk_that_gets_full_says_how_much_room_there_is(monkeypatch, free):
    """And where: the file system of the staging."""

    write = system.write

    def full(descriptor, data):
        if data.startswith(b"X"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    monkeypatch.setattr(system, "write", full)
    free(12, 3)
    with pytest.raises(errors.StorageError, match=r"\.Sized\.staging.*room for 12 bytes and 3 files.*kept"):
        Sized().run()
