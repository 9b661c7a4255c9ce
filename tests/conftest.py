"""What the tests share: a working directory of their own, raw files, and a look for what was left behind."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import pathlib
import tempfile
import threading
import time
from datetime import UTC, datetime

import pytest

from luisy_dir import settings
from luisy_dir.entry import Entry
from luisy_dir.item import Source

MEMORY = "/dev/shm"
_ROOM_BYTES = 2 * 1024**3
# What these write lies on the disk all the same: calls to the operating system, runs and command lines as users have
# them. `TMPDIR=/tmp make test` puts all of it there.
_ON_DISK = {
    "test_concurrency.py", "test_never_wrong.py", "test_same_answer.py", "test_space.py", "test_storage.py",
    "test_transaction.py",
}  # fmt: skip


@pytest.hookimpl(tryfirst=True)  # before pytest and Hypothesis look
def pytest_configure():
    """Say where tests write, and which examples they try."""
    _write_to_memory()
    _try_the_same_examples()


def _try_the_same_examples():
    """How long an example takes depends on the machine, and says nothing of what is right.

    A push tries the same examples each time; ``make test ARGS="tests/test_model.py --hypothesis-profile search"`` looks
    for others.
    """
    import hypothesis  # here, because workers that look for a task import this module, and it takes its time

    hypothesis.settings.register_profile("same examples", deadline=None, derandomize=True)
    hypothesis.settings.register_profile("search", deadline=None)
    hypothesis.settings.load_profile("same examples")


def _write_to_memory():
    """What tests write lies in memory: they sync thousands of times, and a disk takes 50 ms each time."""
    if "TMPDIR" not in os.environ and _has_room(MEMORY):
        tempfile.tempdir = MEMORY


def _has_room(folder):
    """Whether tests can write there and start what they have written: a container's is small, or bars programs."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize >= _ROOM_BYTES and not facts.f_flag & os.ST_NOEXEC


@pytest.fixture
def tmp_path(tmp_path, request):
    """The test's own folder; on the disk for those that are to run there."""
    if request.path.name not in _ON_DISK or not str(tmp_path).startswith(MEMORY):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="luisy_dir-") as folder:
        yield pathlib.Path(folder)


@pytest.fixture(autouse=True)
def working_dir(tmp_path, monkeypatch):
    """A working directory for this test alone; no setting reaches it from outside."""
    for name in settings.SETTINGS:
        monkeypatch.delenv(f"LUISY_DIR_{name.upper()}", raising=False)
    monkeypatch.setattr(settings, "_set_in_python", {})
    monkeypatch.setattr(settings, "_inherited_flags", {})
    logging.getLogger("luigi-interface").setLevel(logging.NOTSET)  # a build in another test may have silenced it
    settings.set_working_dir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """Whatever a test does, it leaves no descriptor, no thread and no process of ours."""
    threads, descriptors = set(_threads()), _descriptors()
    yield
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not _is_clean(threads, descriptors):
        gc.collect()
        time.sleep(0.02)
    assert multiprocessing.active_children() == []
    assert [thread for thread in _threads() if thread not in threads] == []
    assert len(_descriptors()) <= len(descriptors), sorted(_descriptors() - descriptors)


def _threads():
    """Threads, without those that Dask keeps for good, and which do nothing of ours."""
    return [thread for thread in threading.enumerate() if not thread.name.startswith(("Dask-Offload", "Dask-Callback"))]


def _is_clean(threads, descriptors):
    return (
        not multiprocessing.active_children()
        and not [thread for thread in _threads() if thread not in threads]
        and len(_descriptors()) <= len(descriptors)
    )


def _descriptors():
    """Open files, without what the resource tracker of multiprocessing keeps for good."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if not target.startswith(("pipe:", "anon_inode:", "/dev/", "socket:")):
            found.add((name, target))
    return found


@pytest.fixture
def write_files():
    """Write files into a folder: ``write_files(folder, {"a.txt": b"…"})``; times of change lie in the past."""
    return put_files


def put_files(folder, files, *, age_seconds=60.0):
    """The same for fixtures of a whole module; the folder as text."""
    then = time.time() - age_seconds
    for name, content in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.utime(path, (then, then))
    return str(folder)


def files_below(folder):
    """Relative path of every visible file below ``folder``, sorted."""
    begin = len(os.path.join(folder, ""))
    paths = (os.path.join(parent, name)[begin:] for parent, _, names in os.walk(folder) for name in names)
    return sorted(path for path in paths if not path.startswith("."))


def states_below(folder):
    """Inode, size and time of change of a folder and of every file and folder below it, hidden ones too, by path.

    Of a folder that is not there, nothing.
    """
    found, folders = {}, [os.fspath(folder)] if os.path.lexists(folder) else []
    while folders:
        place = folders.pop()
        found[place] = _facts_of(os.lstat(place))
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    found[entry.path] = _facts_of(entry.stat(follow_symlinks=False))
    return found


def _facts_of(state):
    return state.st_ino, state.st_size, state.st_mtime_ns


def an_entry(key, **facts):
    """An entry of an item that was written without outputs, but for the ``facts`` that a test cares about."""
    usual = {
        "sources": (Source("raw", key + ".png", 10, 1_000),),
        "status": "written",
        "outputs": (),
        "meta": {},
        "error": None,
        "attempts": 1,
        "seconds": 0.25,
        "started": datetime(2024, 5, 1, 12, 0, tzinfo=UTC),
        "worker": "host-1-0",
        "seed": None,
    }
    return Entry(key, **(usual | facts))


def pytest_collection_finish():
    """What is there by now stays until the end: nobody looks again and again whether it is garbage."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter):
    """How many points of the crash-safety harness were run, on whichever workers."""
    swept = [
        points
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, points in report.user_properties
        if name == "fault points"
    ]
    if swept:
        points, violations = map(sum, zip(*swept, strict=True))
        terminalreporter.write_line(f"fault points: {points:,} run in {len(swept)} sweeps, {violations:,} violations")


# The Makefile gives them a run of their own; these come first where all are run at once.
_FORKING = {"test_faults.py", "test_mutants.py", "test_rollforward.py"}


def pytest_collection_modifyitems(items):
    """What forks for each of thousands of points comes first: a process that has run other tests has grown large.

    What uses Dask comes last: it leaves idle threads, and no process with threads should fork.
    """
    items.sort(key=lambda item: (item.path.name not in _FORKING, "dask" in item.nodeid.lower()))
