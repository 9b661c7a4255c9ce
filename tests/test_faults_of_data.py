"""Faults of data, rights and places: what is not as it should be is told, costs its own item, and is never believed."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import zlib
from typing import ClassVar

import numpy as np
import pytest
import xxhash
from conftest import files_below
from pipelines import Letters, image_of
from skimage import io as images

import luisy_dir as luisy
from luisy_dir import errors, settings
from luisy_dir.formats import format_of_path
from luisy_dir.journal import journals_of
from luisy_dir.manifest import read_manifest
from luisy_dir.record import FOLDER, generations_in
from luisy_dir.resumption import entries_in_staging, unpublished_run
from luisy_dir.staging import staging_of
from luisy_dir.storage import system
from luisy_dir.storage.probe import Capabilities

NOBODY = 65534
_LONGEST_SECONDS = 20  # whoever takes longer in a child waits for something that never comes
KEYS = [f"{number:02d}" for number in range(10)]
_CLONE_NEWNS = 0x00020000  # of unshare(2): a mount that is made here is seen by nobody else, and goes with its process
_libc = ctypes.CDLL(None, use_errno=True)


class Interrupted(BaseException):
    """Ends a run at an item, as SIGKILL would, but without ending the tests."""


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Capitals(luisy.DirectoryTask):
    """Notes what it processes, and may be told to do something before an item."""

    done: ClassVar[list[str]] = []
    before: ClassVar[dict] = {}

    def process(self, text, item):
        controls = vars(sys.modules[__name__])["Capitals"]  # out of sight of the fingerprint: they are no code
        controls.before.get(item.key, lambda: None)()
        controls.done.append(item.key)
        return text.upper()


@pytest.fixture(autouse=True)
def nothing_done(monkeypatch):
    monkeypatch.setattr(Capitals, "done", [])
    monkeypatch.setattr(Capitals, "before", {})


@pytest.fixture
def letters(write_files):
    return write_files(Letters().output().path, {f"{key}.txt": f"letter {key}".encode() for key in KEYS})


def run():
    """Run; return what was processed."""
    Capitals.done.clear()
    Capitals().run()
    return list(Capitals.done)


def interrupt(at="05"):
    """Run until that item; what was done before it is in the staging then."""
    Capitals.before[at] = _interrupt
    with pytest.raises(Interrupted):
        Capitals().run()
    Capitals.before.clear()
    Capitals.done.clear()


def _interrupt():
    raise Interrupted


def expected(folder):
    return {name: content.upper() for name, content in tree(folder).items()}


def tree(directory):
    found = {}
    for path in files_below(directory):
        with open(os.path.join(directory, path), errors="replace") as file:
            found[path] = file.read()
    return found


def status():
    return dict(Capitals().report()["status"])


def in_a_child(act):
    """What ``act`` returns in a child of this process, whose rights, limits and mounts may become other ones."""
    ours, its = os.pipe()
    child = os.fork()
    if child == 0:
        answer = b""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_LONGEST_SECONDS)
        try:
            answer = pickle.dumps(("returned", act()))
        except BaseException:
            answer = pickle.dumps(("raised", traceback.format_exc()))
        finally:
            with os.fdopen(its, "wb") as file:
                file.write(answer)
            os._exit(0)
    os.close(its)
    with os.fdopen(ours, "rb") as file:
        answer = file.read()
    _, how = os.waitpid(child, 0)
    return pickle.loads(answer) if answer else ("died", os.waitstatus_to_exitcode(how))


# -- rights -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def as_nobody(monkeypatch, write_files):
    """``as_nobody(act)``: what another user's process answers; the working directory is his."""
    folder = tempfile.mkdtemp(prefix="luisy_dir-")
    settings.set_working_dir(folder)
    write_files(Letters().output().path, {f"{key}.txt": f"letter {key}".encode() for key in KEYS})
    is_root = os.geteuid() == 0
    if is_root:
        for parent, _, names in os.walk(folder):
            for path in (parent, *(os.path.join(parent, name) for name in names)):
                os.chown(path, NOBODY, NOBODY)

    def call(act):
        def as_somebody_else():
            if is_root:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            return act()

        return in_a_child(as_somebody_else)

    yield call
    for parent, _, _ in os.walk(folder):
        os.chmod(parent, 0o700)
    shutil.rmtree(folder)


@contextlib.contextmanager
def closed(path, mode):
    """Take rights away, and give them back."""
    before = os.stat(path).st_mode
    os.chmod(path, mode)
    try:
        yield
    finally:
        os.chmod(path, before)


class TestRights:
    def test_an_input_that_may_not_be_read_is_an_item_that_failed(self, as_nobody, monkeypatch):
        """The others are written; when it may be read it is tried again, alone."""
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        path = os.path.join(Letters().output().path, "03.txt")
        with closed(path, 0):
            assert as_nobody(run) == ("returned", [key for key in KEYS if key != "03"])
        report = Capitals().report()
        assert (report["status"]["03"], report["error_type"]["03"]) == ("failed", "PermissionError")
        assert sorted(tree(Capitals().output().path)) == [f"{key}.txt" for key in KEYS if key != "03"]
        os.utime(path)
        assert as_nobody(run) == ("returned", ["03"])
        assert tree(Capitals().output().path) == expected(Letters().output().path)

    def test_where_nothing_may_be_written_no_item_is_processed(self, as_nobody):
        project = os.path.dirname(Capitals().get_outdir())
        os.makedirs(Capitals().get_outdir(), exist_ok=True)
        for place in (project, Capitals().get_outdir()):
            with closed(place, 0o555):
                how, what = as_nobody(_error_and_done)
            assert how == "returned"
            assert what[0] == "StorageError"
            assert "Give this user the right" in what[1]
            assert what[2] == []
            os.path.isdir(place)
            assert os.listdir(Capitals().get_outdir()) == []
            shutil.rmtree(Capitals().get_outdir())
            os.mkdir(Capitals().get_outdir())
            if os.geteuid() == 0:
                os.chown(Capitals().get_outdir(), NOBODY, NOBODY)
        assert as_nobody(run) == ("returned", KEYS)

    def test_in_a_staging_that_may_not_be_written_no_item_is_processed(self, as_nobody):
        """As one is that another user's run has left."""
        assert as_nobody(interrupt) == ("returned", None)
        staging = staging_of(Capitals().output().path)
        with closed(staging, 0o555):
            how, what = as_nobody(_error_and_done)
        assert (how, what[0], what[2]) == ("returned", "StorageError", [])
        assert as_nobody(run) == ("returned", KEYS[5:])
        assert tree(Capitals().output().path) == expected(Letters().output().path)

    @pytest.mark.parametrize("place", ["", FOLDER])
    def test_a_published_directory_that_may_not_be_written_stays_and_what_was_finished_is_kept(
        self, as_nobody, write_files, place
    ):
        assert as_nobody(run) == ("returned", KEYS)
        before = tree(Capitals().output().path)
        write_files(Letters().output().path, {f"{key}.txt": b"other" for key in KEYS[:3]})
        with closed(os.path.join(Capitals().output().path, place), 0o555):
            how, what = as_nobody(_error_and_done)
            assert (how, what[0]) == ("returned", "StorageError"), what
            assert as_nobody(lambda: Capitals().complete()) == ("returned", False)
        if place:
            assert tree(Capitals().output().path) == before
        again = as_nobody(run)
        assert again == ("returned", [])  # nothing is done twice
        assert tree(Capitals().output().path) == expected(Letters().output().path)
        assert as_nobody(lambda: Capitals().complete()) == ("returned", True)

    def test_a_manifest_that_may_not_be_read_is_no_reason_to_make_everything_anew(self, as_nobody):
        assert as_nobody(run) == ("returned", KEYS)
        for name in os.listdir(os.path.join(Capitals().output().path, FOLDER)):
            with closed(os.path.join(Capitals().output().path, FOLDER, name), 0):
                assert as_nobody(lambda: Capitals().complete()) == ("returned", False)
                how, what = as_nobody(_error_and_done)
            assert (how, what[0], what[2]) == ("returned", "ManifestError", []), what
        assert as_nobody(lambda: Capitals().complete()) == ("returned", True)
        assert as_nobody(run) == ("returned", [])


def _error_and_done():
    """Name and text of the error that a run ends in, and what it has processed."""
    Capitals.done.clear()
    try:
        Capitals().run()
    except errors.LuisyDirError as error:
        return type(error).__name__, str(error), list(Capitals.done)
    return None


# -- limits -----------------------------------------------------------------------------------------------------------


class TestFewDescriptors:
    def test_a_run_needs_no_more_of_them_for_more_items(self, write_files):
        """Among 400 items as among 10."""
        write_files(Letters().output().path, {f"{number:03d}.txt": b"x" for number in range(400)})

        def run_with_few():
            _leave_descriptors(12)
            Capitals().run()
            return len(files_below(Capitals().output().path))

        assert in_a_child(run_with_few) == ("returned", 400)

    def test_where_there_are_too_few_the_next_run_goes_on(self, letters):
        """Whatever the number: an error of ours or a good end, and never a wrong directory."""
        ends = set()
        for spare in range(10):

            def run_with_few(spare=spare):
                _leave_descriptors(spare)
                try:
                    Capitals().run()
                except errors.LuisyDirError as error:
                    return type(error).__name__
                return "a good end"

            how, what = in_a_child(run_with_few)
            assert how == "returned", (spare, what)
            ends.add(what)
            entries = entries_in_staging(Capitals().output().path)
            finished = {entry.key for entry in entries if entry.status == "written"}
            assert set(run()) == (set() if what == "a good end" else set(KEYS) - finished)
            assert tree(Capitals().output().path) == expected(letters)
            assert Capitals().complete()
            Capitals().output().remove()
        assert "a good end" in ends
        assert len(ends) > 1, "no limit was too low"


def _leave_descriptors(spare):
    """Open so many files that this process may open only some more."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 4096))
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    for descriptor in taken[len(taken) - spare :]:
        os.close(descriptor)


class TestLittleMemory:
    def test_an_input_that_grows_beyond_a_limit_of_the_user_fails_its_item(self, write_files, monkeypatch):
        """A few kilobytes that become a gigabyte: against these there is what the user sets, and no more."""
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        bomb = zlib.compress(bytes(1 << 28), 9)
        write_files(Letters().output().path, {"a.txt": zlib.compress(b"fine"), "bomb.txt": bomb})

        def inflated(path):
            with open(path, "rb") as file:
                return zlib.decompress(file.read()).decode("ascii")

        @luisy.make_directory_output(inflated)
        @luisy.raw
        class Bombs(Letters):
            project_name = "pipelines"

        @luisy.interim
        @luisy.requires(Bombs)
        @luisy.directory_task(".txt", engine="serial")
        def inflates(text):
            return text

        def run_with_little():
            with open("/proc/self/statm") as file:
                used = int(file.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), used + (100 << 20)))
            inflates().run()

        assert in_a_child(run_with_little) == ("returned", None)
        report = inflates().report()
        assert dict(report["status"]) == {"a": "written", "bomb": "failed"}
        assert report["error_type"]["bomb"] == "MemoryError"


class TestSignals:
    def test_calls_that_a_signal_interrupts_are_made_again(self, letters):
        """As by a profiler, a timer or a window that changes its size."""
        count = []
        before = signal.signal(signal.SIGALRM, lambda *_: count.append(1))
        signal.siginterrupt(signal.SIGALRM, True)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            assert run() == KEYS
            assert run() == []
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert len(count) > 10
        assert tree(Capitals().output().path) == expected(letters)
        assert Capitals().complete()


# -- disks ------------------------------------------------------------------------------------------------------------


class TestBadDisk:
    def test_an_input_that_the_disk_cannot_read_is_an_item_that_failed_and_is_tried_again(self, letters, monkeypatch):
        """A real error of a read: that of the memory of a process where nothing is."""
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        path = os.path.join(letters, "03.txt")
        os.unlink(path)
        os.symlink("/proc/self/mem", path)
        assert run() == [key for key in KEYS if key != "03"]
        report = Capitals().report()
        assert report["status"]["03"] == "failed"
        assert os.strerror(errno.EIO) in report["error"]["03"]
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "0")
        monkeypatch.setenv("LUISY_DIR_RETRY_FAILED", "true")
        with pytest.raises(errors.ItemsFailedError, match="Input/output error"):
            Capitals().run()
        os.unlink(path)
        with open(path, "w") as file:
            file.write("mended")
        assert run() == ["03"]
        assert tree(Capitals().output().path) == expected(letters)

    def test_an_input_that_only_we_read_to_its_end_is_no_exception(self, letters, monkeypatch):
        """The reader is content with the name; the digest cannot be had."""

        @luisy.make_directory_output(os.path.basename)
        @luisy.raw
        class Names(Letters):
            project_name = "pipelines"

        @luisy.interim
        @luisy.requires(Names)
        @luisy.directory_task(".txt", engine="serial")
        def names(text):
            return text

        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        os.unlink(os.path.join(letters, "03.txt"))
        os.symlink("/proc/self/mem", os.path.join(letters, "03.txt"))
        names().run()
        assert dict(names().report()["status"])["03"] == "failed"
        assert sorted(tree(names().output().path)) == [f"{key}.txt" for key in KEYS if key != "03"]

    @pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
    def test_an_output_that_fails_when_it_is_closed_was_not_written(self, letters, monkeypatch, number):
        """Network file systems tell of errors there and nowhere else."""
        original, outputs = system.close, []

        def failing(descriptor):
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            original(descriptor)
            if "/files/" in path and path.endswith("05.txt"):
                outputs.append(path)
                raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch, pytest.raises(errors.StorageError, match=os.strerror(number)):
            patch.setattr(system, "close", failing)
            Capitals().run()
        assert len(outputs) == 1
        assert not os.path.exists(Capitals().output().path)
        finished = {*Capitals.done} - {"05"}
        assert finished >= {*KEYS[:5]}
        assert run() == [key for key in KEYS if key not in finished]
        assert tree(Capitals().output().path) == expected(letters)


# -- damaged inputs ---------------------------------------------------------------------------------------------------


def _bytes_of(suffix, image):
    file = io.BytesIO()
    if suffix == ".npy":
        np.save(file, image)
        return file.getvalue()
    with tempfile.NamedTemporaryFile(suffix=suffix) as named:
        images.imsave(named.name, image, check_contrast=False)
        return named.file.read()


def read_any(path):
    return format_of_path(path).read(path)


@luisy.make_directory_output(read_any)
@luisy.raw
class AnyImages(luisy.ExternalTask):
    def get_folder_name(self):
        return "any images"


@luisy.interim
@luisy.requires(AnyImages)
@luisy.directory_output(".npy", engine="serial", max_errors=1.0)
class Loaded(luisy.DirectoryTask):
    def process(self, image):
        return image


class TestDamagedImages:
    @pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
    def test_each_is_an_item_that_failed_or_has_every_pixel(self, write_files, suffix):
        """Cut at nothing, one byte, half and all but one: what the reader takes for whole must be whole."""
        image = image_of((40, 30, 3), seed=1)
        whole = _bytes_of(suffix, image)
        cuts = {"nothing": 0, "one": 1, "half": len(whole) // 2, "all but one": len(whole) - 1, "whole": len(whole)}
        folder = write_files(AnyImages().output().path, {f"{name}{suffix}": whole[:n] for name, n in cuts.items()})
        Loaded().run()
        report = Loaded().report()
        failed = set(report.index[report["status"] == "failed"])
        assert {"nothing", "one", "half"} <= failed
        assert "whole" not in failed
        assert all(report["error_type"][name] and report["error"][name] is not None for name in failed)
        for item, loaded in Loaded().items():
            assert np.array_equal(loaded, image), item.key
        assert Loaded().complete()
        write_files(folder, {f"{name}{suffix}": whole for name in cuts}, age_seconds=10)
        assert not Loaded().complete()
        Loaded().run()
        assert set(Loaded().report()["status"]) == {"written"}
        assert all(np.array_equal(loaded, image) for _, loaded in Loaded().items())

    def test_by_default_one_of_them_publishes_nothing_and_the_others_are_kept(self, write_files, monkeypatch):
        whole = _bytes_of(".png", image_of((8, 8), seed=1))
        monkeypatch.setattr(Loaded, "max_errors", 0)
        folder = write_files(AnyImages().output().path, {"a.png": whole, "b.png": whole[:50], "c.png": whole})
        with pytest.raises(errors.ItemsFailedError, match=r"b: "):
            Loaded().run()
        assert not os.path.exists(Loaded().output().path)
        assert "b" in entries_by_key(Loaded)
        write_files(folder, {"b.png": whole}, age_seconds=10)
        Loaded().run()
        assert [item.key for item, _ in Loaded().items()] == ["a", "b", "c"]


def entries_by_key(task):
    return {entry.key: entry for entry in entries_in_staging(task().output().path)}


# -- inputs that move -------------------------------------------------------------------------------------------------

APPENDS = """
import sys, time
while True:
    with open(sys.argv[1], "a") as file:
        file.write("more ")
"""


@contextlib.contextmanager
def a_process(script, *arguments):
    process = subprocess.Popen([sys.executable, "-c", script, *arguments])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class TestInputsThatMove:
    def test_one_that_somebody_writes_to_all_the_while_is_never_recorded_as_what_it_was_not(self, letters, monkeypatch):
        """Either it failed as unstable, or the digest in its entry is that of the bytes which were processed."""
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
        path = os.path.join(letters, "03.txt")
        with a_process(APPENDS, path):
            size = os.path.getsize(path)
            while os.path.getsize(path) == size:
                time.sleep(0.001)
            for _ in range(5):
                Capitals().run()
                self.check_recorded(letters)
        Capitals().run()
        assert tree(Capitals().output().path) == expected(letters)
        assert Capitals().complete()

    def check_recorded(self, letters):
        entries = {entry.key: entry for entry in read_manifest(Capitals().output().path).entries()}
        made = tree(Capitals().output().path)
        for key, entry in entries.items():
            if entry.status == "written":
                text = made[f"{key}.txt"].lower()
                assert entry.sources[0].digest == xxhash.xxh3_128_hexdigest(text.encode())
                assert entry.sources[0].size == len(text)
            else:
                assert (key, entry.status) == ("03", "failed")
                assert "changed while it was read" in entry.error.message

    @pytest.mark.parametrize("engine", ["serial", "threads"])
    def test_those_that_go_while_a_run_is_at_work_leave_like_any_other(self, letters, monkeypatch, engine):
        """No failure, no trace; the directory is that of the files which are left."""
        monkeypatch.setenv("LUISY_DIR_ENGINE", engine)
        gone = threading.Event()

        def remove():
            for key in KEYS[:3] + KEYS[6:]:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(letters, f"{key}.txt"))
            gone.set()

        monkeypatch.setattr(Capitals, "before", {"04": lambda: (thread.start(), gone.wait())})
        thread = threading.Thread(target=remove)
        Capitals().run()
        thread.join()
        assert set(status().values()) == {"written"}
        assert {"03", "04", "05"} <= set(status())
        Capitals.before.clear()
        monkeypatch.setenv("LUISY_DIR_MAX_DELETED", "1.0")
        Capitals().run()
        assert tree(Capitals().output().path) == expected(letters)
        assert sorted(status()) == ["03", "04", "05"]
        assert Capitals().complete()


class TestTimes:
    """Times of change are compared for equality, and never put in order."""

    @pytest.mark.parametrize(
        "seconds", [0, 1, -1, -86_400 * 365, 4_000_000_000, 10_000_000_000], ids=lambda seconds: f"at {seconds}"
    )
    def test_any_time_is_as_good_as_any_other(self, letters, seconds):
        for key in KEYS:
            os.utime(os.path.join(letters, f"{key}.txt"), (seconds, seconds))
        assert run() == KEYS
        assert Capitals().complete()
        assert run() == []
        path = os.path.join(letters, "03.txt")
        with open(path, "w") as file:
            file.write("another size")
        os.utime(path, (seconds, seconds))
        assert not Capitals().complete()
        assert run() == ["03"]
        assert tree(Capitals().output().path) == expected(letters)

    @pytest.mark.parametrize("seconds", [-3_600, 3_600])
    def test_a_clock_that_is_wrong_hides_no_change_that_is_younger_than_it(self, letters, seconds):
        """A file of the same size that lies in the future may be written again in the same tick: its bytes tell."""
        then = time.time() + abs(seconds)
        path = os.path.join(letters, "03.txt")
        os.utime(path, (then, then))
        assert run() == KEYS
        with open(path, "w") as file:
            file.write("LETTER 03")
        os.utime(path, (then, then))
        assert not Capitals().complete()
        assert run() == ["03"]

    def test_an_older_time_is_a_change_too(self, letters):
        """As of a file that comes from a backup."""
        assert run() == KEYS
        path = os.path.join(letters, "03.txt")
        with open(path, "w") as file:
            file.write("LETTER 03")
        os.utime(path, (1_000, 1_000))
        assert not Capitals().complete()
        assert run() == ["03"]

    def test_whole_seconds_are_enough(self, letters):
        """Some file systems know no parts of one."""
        for key in KEYS:
            os.utime(os.path.join(letters, f"{key}.txt"), (1_700_000_000, 1_700_000_000))
        assert run() == KEYS
        for key in KEYS[:3]:
            path = os.path.join(letters, f"{key}.txt")
            with open(path, "w") as file:
                file.write("LETTER 0!")
            os.utime(path, (1_700_000_002, 1_700_000_002))
        assert run() == KEYS[:3]
        assert tree(Capitals().output().path) == expected(letters)

    def test_outputs_may_have_any_time_too(self, letters):
        """Who copies a directory without its times costs one look at the bytes, and no work."""
        assert run() == KEYS
        for key, seconds in zip(KEYS, (0, -1, 4_000_000_000), strict=False):
            os.utime(os.path.join(Capitals().output().path, f"{key}.txt"), (seconds, seconds))
        assert Capitals().complete()
        assert run() == []

    def test_a_clock_that_is_put_back_between_two_interruptions_costs_nothing_but_work(self, letters, monkeypatch):
        from luisy_dir.step import attempt

        interrupt("05")
        real = attempt.datetime

        class Earlier(real):
            @classmethod
            def now(cls, tz=None):
                return real.now(tz).replace(year=2001)

        monkeypatch.setattr(attempt, "datetime", Earlier)
        path = os.path.join(letters, "03.txt")
        with open(path, "w") as file:
            file.write("other")
        os.utime(path, (1_000, 1_000))
        interrupt("07")
        monkeypatch.undo()
        monkeypatch.setattr(Capitals, "done", [])
        settings.set_working_dir(os.path.dirname(os.path.dirname(os.path.dirname(letters))))
        assert set(run()) >= set(KEYS[7:])
        assert tree(Capitals().output().path) == expected(letters)
        assert Capitals().complete()


# -- places -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def may_mount():
    """Whether this process may mount something where nobody else sees it."""
    return in_a_child(_in_own_mounts) == ("returned", None)


def _in_own_mounts():
    if _libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True, capture_output=True)


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


class TestMountPoints:
    """Each in mounts of its own, which go with the process."""

    @pytest.fixture(autouse=True)
    def only_where_that_is_allowed(self, may_mount):
        if not may_mount:
            pytest.skip("needs the right to mount")

    def test_one_where_the_result_belongs_is_refused_before_any_work(self, letters):
        def act():
            _in_own_mounts()
            os.makedirs(Capitals().output().path)
            mount("-t", "tmpfs", "tmpfs", Capitals().output().path)
            return _error_and_done()

        how, (kind, text, done) = in_a_child(act)
        assert (how, kind, done) == ("returned", "ForeignDirectoryError", [])
        assert "empty directory" in text

    def test_a_published_directory_that_has_become_one_is_left_as_it_is(self, letters, write_files):
        """No rename leads across its border."""
        assert run() == KEYS
        before = tree(Capitals().output().path)
        write_files(letters, {"03.txt": b"other"}, age_seconds=30)

        def act():
            _in_own_mounts()
            mount("--bind", Capitals().output().path, Capitals().output().path)
            return _error_and_done(), Capitals().complete(), tree(Capitals().output().path)

        how, ((kind, text, _), is_complete, seen) = in_a_child(act)
        assert (how, kind, is_complete) == ("returned", "StorageError", False)
        assert os.strerror(errno.EXDEV) in text
        assert seen == before
        assert generations_in(Capitals().output().path) == [1]
        assert run() == []  # without the mount, what was finished is taken over
        assert tree(Capitals().output().path) == expected(letters)

    def test_layers_may_be_other_disks(self, working_dir, letters, write_files):
        """The staging lies beside the result, on the disk of the layer."""

        def act():
            _in_own_mounts()
            os.makedirs(Capitals().get_outdir())
            mount("-t", "tmpfs", "tmpfs", Capitals().get_outdir())
            assert run() == KEYS
            write_files(letters, {"03.txt": b"other"}, age_seconds=30)
            assert run() == ["03"]
            return Capitals().complete(), tree(Capitals().output().path) == expected(letters)

        assert in_a_child(act) == ("returned", (True, True))

    @pytest.mark.parametrize("lower", ["nothing", "the raw folder", "a publication"])
    def test_an_overlay_is_a_place_like_any_other(self, working_dir, tmp_path_factory, letters, write_files, lower):
        """As in a container: what lies in the image below can be replaced, and folders in it cannot be renamed."""
        write_files(letters, {"deep/a.txt": b"deep"})
        if lower == "a publication":
            run()
        if lower == "nothing":
            shutil.copytree(letters, working_dir / "kept")
        overlay = tmp_path_factory.mktemp("overlay")
        for name in ("lower", "upper", "work"):
            (overlay / name).mkdir()

        def act():
            _in_own_mounts()
            mount("-t", "tmpfs", "tmpfs", str(overlay))
            for name in ("lower", "upper", "work"):
                (overlay / name).mkdir()
            if lower != "nothing":
                shutil.copytree(working_dir, overlay / "lower", dirs_exist_ok=True)
            options = f"lowerdir={overlay}/lower,upperdir={overlay}/upper,workdir={overlay}/work"
            mount("-t", "overlay", "overlay", "-o", options, str(working_dir))
            if lower == "nothing":
                write_files(letters, {f"{key}.txt": b"x" for key in KEYS} | {"deep/a.txt": b"deep"})
            Capitals().run()
            assert Capitals().complete()
            write_files(letters, {"03.txt": b"other", "deep/b.txt": b"new"}, age_seconds=30)
            os.unlink(os.path.join(letters, "05.txt"))
            os.unlink(os.path.join(letters, "deep/a.txt"))
            assert sorted(run()) == ["03", "deep/b"]
            assert tree(Capitals().output().path) == expected(letters)
            Capitals().output().rollback()
            assert "05.txt" in tree(Capitals().output().path)
            Capitals().output().release()
            run()
            Capitals().output().gc(keep=1)
            return Capitals().complete(), tree(Capitals().output().path) == expected(letters)

        answer = in_a_child(act)
        assert answer == ("returned", (True, True)), answer[1]

    def over(self, working_dir, overlay):
        """Put an overlay over the working directory as it is."""
        _in_own_mounts()
        mount("-t", "tmpfs", "tmpfs", str(overlay))
        shutil.copytree(working_dir, overlay / "lower")
        for name in ("upper", "work"):
            (overlay / name).mkdir()
        options = f"lowerdir={overlay}/lower,upperdir={overlay}/upper,workdir={overlay}/work"
        mount("-t", "overlay", "overlay", "-o", options, str(working_dir))

    def test_a_directory_below_an_overlay_is_removed_or_the_error_says_what_to_do(
        self, working_dir, tmp_path_factory, letters
    ):
        run()
        overlay = tmp_path_factory.mktemp("overlay")

        def act():
            self.over(working_dir, overlay)
            with contextlib.suppress(errors.LuisyDirError):
                Capitals().output().remove()

        answer = in_a_child(act)
        assert answer == ("returned", None), answer[1]

    def test_an_interrupted_run_below_an_overlay_does_not_keep_the_next_one_from_its_end(
        self, working_dir, tmp_path_factory, letters
    ):
        """Its directory cannot be renamed, so that nobody can be fenced; what it has finished may be lost."""
        interrupt()
        overlay = tmp_path_factory.mktemp("overlay")

        def act():
            self.over(working_dir, overlay)
            Capitals().run()
            return Capitals().complete(), tree(Capitals().output().path) == expected(letters)

        answer = in_a_child(act)
        assert answer == ("returned", (True, True)), answer[1]


class TestNamesThatFold:
    """Where a disk holds two spellings for one name, two items must not become one file without a word."""

    @pytest.fixture
    def folding(self, monkeypatch):
        """As such a disk answers: what is made under one spelling is found under any other."""
        original = system.open

        def found(path):
            folder, name = os.path.split(path)
            with contextlib.suppress(OSError):
                for other in os.listdir(folder):
                    if other.casefold() == name.casefold():
                        return os.path.join(folder, other)
            return path

        monkeypatch.setattr(system, "open", lambda path, *rest: original(found(path), *rest))

    @pytest.mark.parametrize("names", [("Case", "case"), ("STRASSE", "straße")])
    def test_two_outputs_that_it_takes_for_one_end_the_run(self, write_files, folding, names):
        folder = write_files(Letters().output().path, {f"{name}.txt": b"x" for name in names})
        assert len(files_below(folder)) == 2
        with pytest.raises(errors.KeyCollisionError, match=r"\.txt"):
            Capitals().run()
        assert not os.path.exists(Capitals().output().path)

    @pytest.mark.parametrize("names", [("A/x.txt", "a/y.txt"), ("A/b/x.txt", "a/b.txt")])
    def test_two_folders_that_it_takes_for_one_are_refused_before_any_work(self, write_files, monkeypatch, names):
        """Else both outputs lie in the folder of the first spelling, and the second is never found again."""
        write_files(Letters().output().path, dict.fromkeys(names, b"x"))
        monkeypatch.setattr("luisy_dir.transaction.probe", lambda _: Capabilities(tells_case_apart=False))
        with pytest.raises(errors.KeyCollisionError, match="are one name on the file system"):
            Capitals().run()
        assert Capitals.done == []


# -- what must not be believed ----------------------------------------------------------------------------------------


class Mischief:
    """Leaves a trace when it is unpickled."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return open, (self._path, "w")


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".pkl", engine="serial")
class Pickled(luisy.DirectoryTask):
    def process(self, text):
        return [text]


class TestPickles:
    """Nothing is unpickled to look whether it is as it should be: only who reads data runs what is in it."""

    def test_looking_at_an_output_that_somebody_has_replaced_does_not_run_it(self, letters, tmp_path_factory):
        trace = str(tmp_path_factory.mktemp("trace") / "unpickled")
        Pickled().run()
        path = os.path.join(Pickled().output().path, "03.pkl")
        with open(path, "wb") as file:
            pickle.dump(Mischief(trace), file)
        target = Pickled().output()
        assert not Pickled().complete()
        assert Pickled().plan().counts["output changed"] == 1
        assert target.verify(deep=True).changed == ("03.pkl",)
        assert len(Pickled().report()) == len(KEYS)
        assert list(target.diff(1, 1).changed) == []
        target.repair(deep=True)
        Pickled().run()
        target.gc(keep=1)
        assert [data for _, data in Pickled().items()] == [[f"letter {key}"] for key in KEYS]
        assert not os.path.exists(trace)

    def test_reading_one_that_no_longer_equals_its_manifest_by_size_does_not_run_it_downstream(
        self, letters, tmp_path_factory
    ):
        @luisy.final
        @luisy.requires(Pickled)
        @luisy.directory_task(".json", engine="serial")
        def unpacked(data):
            return data

        trace = str(tmp_path_factory.mktemp("trace") / "unpickled")
        Pickled().run()
        with open(os.path.join(Pickled().output().path, "03.pkl"), "wb") as file:
            pickle.dump(Mischief(trace), file)
        with pytest.raises(errors.MissingInputError):
            unpacked().run()
        assert not os.path.exists(trace)

    def test_a_pickle_among_the_inputs_is_bytes(self, write_files, tmp_path_factory):
        """To scan, to digest, to plan and to compare it is no different from a picture."""
        trace = str(tmp_path_factory.mktemp("trace") / "unpickled")
        content = pickle.dumps(Mischief(trace))
        write_files(Letters().output().path, {"a.txt": b"fine", "a.pkl": content})
        assert Capitals().plan().counts == {"new": 2}
        assert run() == ["a"]
        assert Capitals().complete()
        assert run() == []
        assert not os.path.exists(trace)


DEEP = 100_000
NESTED = b'{"a":' * DEEP + b"1" + b"}" * DEEP
BOMBS = {
    "nothing": b"",
    "null": b"null\n",
    "nested lists": b"[" * DEEP + b"]" * DEEP,
    "nested objects": NESTED,
    "a huge integer": b'{"generation": ' + b"9" * 100_000 + b', "checksum": "x"}',
    "a huge exponent": b'{"generation": 1e999999999, "checksum": "x"}',
    "not a number": b'{"generation": NaN, "checksum": "x"}',
    "infinity": b'{"generation": Infinity, "checksum": "x"}',
    "a negative generation": b'{"generation": -1, "checksum": "x"}',
    "a long text": b'{"generation": 1, "checksum": "' + b"x" * 1_000_000 + b'"}',
    "a key of nothing but escapes": b'{"' + b"\\u0000" * 100_000 + b'": 1}',
    "half of a surrogate": b'{"generation": 1, "checksum": "\\ud800"}',
    "no UTF-8": b'{"generation": 1, "checksum": "\xff"}',
    "a byte-order mark": b'\xef\xbb\xbf{"generation": 1, "checksum": "x"}',
    "zeros": bytes(4096),
}


class TestBombs:
    """Whatever stands in our own files, reading them ends soon, in a damaged manifest and never in a wrong one."""

    @pytest.fixture
    def two(self, letters, write_files):
        """Two generations, so that one record is left to tell whose directory it is."""
        run()
        write_files(letters, {"03.txt": b"other"}, age_seconds=30)
        run()
        return letters

    @pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
    @pytest.mark.parametrize("name", ["CURRENT", "00000002.json", "00000002.jsonl"])
    def test_in_a_manifest(self, two, name, bomb):
        path = os.path.join(Capitals().output().path, FOLDER, name)
        os.unlink(path)  # it may have another name in an older generation
        with open(path, "wb") as file:
            file.write(bomb)
        assert not Capitals().complete()
        Capitals().run()
        assert Capitals().complete()
        assert tree(Capitals().output().path) == expected(two)
        assert Capitals().output().verify(deep=True).is_whole

    @pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
    @pytest.mark.parametrize("has_checksum", [False, True])
    def test_in_a_journal(self, letters, bomb, has_checksum):
        interrupt()
        [journal] = journals_of(unpublished_run(Capitals().output().path))
        line = bomb.replace(b"\n", b" ")
        with open(journal, "ab") as file:
            file.write(b"%08x %b\n" % (zlib.crc32(line), line) if has_checksum else line + b"\n")
        done = run()
        assert set(done) >= set(KEYS[5:])
        assert has_checksum or done == KEYS[5:]
        assert tree(Capitals().output().path) == expected(letters)
        assert Capitals().complete()

    @pytest.mark.parametrize("name", ["CURRENT", "00000002.json"])
    def test_a_file_that_is_larger_than_any_of_ours_is_not_read(self, two, name, monkeypatch):
        """A terabyte of nothing, which costs no room on the disk."""
        os.truncate(os.path.join(Capitals().output().path, FOLDER, name), 1 << 40)
        assert not Capitals().complete()
        Capitals().run()
        assert Capitals().complete()
        assert tree(Capitals().output().path) == expected(two)

    def test_nor_is_such_a_file_of_entries(self, two):
        os.truncate(os.path.join(Capitals().output().path, FOLDER, "00000002.jsonl"), 1 << 40)

        def act():
            with open("/proc/self/statm") as file:
                used = int(file.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), used + (300 << 20)))
            assert not Capitals().complete()
            Capitals().run()
            return Capitals().complete(), tree(Capitals().output().path) == expected(two)

        assert in_a_child(act) == ("returned", (True, True))

    def test_nor_is_such_a_journal(self, letters):
        interrupt()
        [journal] = journals_of(unpublished_run(Capitals().output().path))
        os.truncate(journal, 1 << 40)

        def act():
            with open("/proc/self/statm") as file:
                used = int(file.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), used + (300 << 20)))
            done = run()
            return set(done) >= set(KEYS[5:]), tree(Capitals().output().path) == expected(letters)

        assert in_a_child(act) == ("returned", (True, True))

    @pytest.mark.parametrize("name", ["CURRENT", "00000002.json", "00000002.jsonl"])
    def test_what_is_named_twice_is_never_something_else(self, two, name):
        """Of a name that comes twice some readers take the first, some the last."""
        path = os.path.join(Capitals().output().path, FOLDER, name)
        with open(path, "rb") as file:
            first, rest = file.read().split(b"\n", 1)
        told = json.loads(first)
        field = next(iter(told))
        doubled = b'{"%b":%b,' % (field.encode(), json.dumps(told[field]).encode()) + first[1:]
        os.unlink(path)
        with open(path, "wb") as file:
            file.write(doubled + b"\n" + rest)
        before = read_manifest_or_none()
        assert before is None or list(before.entries()) == list(before.entries())
        Capitals().run()
        assert tree(Capitals().output().path) == expected(two)
        assert Capitals().complete()

    @pytest.mark.parametrize("name", ["CURRENT", "00000002.json", "00000002.jsonl"])
    def test_a_pipe_in_the_place_of_a_file_is_not_waited_at(self, two, name):
        path = os.path.join(Capitals().output().path, FOLDER, name)
        os.unlink(path)
        os.mkfifo(path)
        answer = in_a_child(lambda: (Capitals().complete(), Capitals().run(), Capitals().complete()))
        assert answer == ("returned", (False, None, True))
        assert tree(Capitals().output().path) == expected(two)


def read_manifest_or_none():
    try:
        return read_manifest(Capitals().output().path)
    except errors.ManifestError:
        return None
