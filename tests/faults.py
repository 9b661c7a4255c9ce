"""The harness: something goes wrong at each call to the operating system in turn, and what must hold is looked at."""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import logging
import os
import re
import shutil
import threading
import time
import traceback
import types
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import pytest
from conftest import files_below, states_below
from pipelines import Letters

import luisy_dir as luisy
from luisy_dir import errors, settings
from luisy_dir.record import CURRENT, FOLDER, UNDO, generation_name, generations_in, read_record
from luisy_dir.resumption import entries_in_staging
from luisy_dir.staging import staging_of
from luisy_dir.storage import local, system

# Every function of the one door belongs to one of these; a test holds that none is forgotten. `open` is both: it makes
# a file or reads one.
MUTATING = (
    "open", "write", "mkdir", "makedirs", "rename", "rename_noreplace", "link", "unlink", "rmdir", "utime", "lock",
    "fsync", "fdatasync", "syncfs",
)  # fmt: skip
LOOKING = (
    "scandir", "lstat", "stat", "fstat", "read", "read_at", "read_file", "map_file", "map_descriptor", "free_space",
    "mount_id",
)  # fmt: skip
# A close that fails would leave a descriptor behind that no program can close, and changes nothing on the disk; the
# other two only wrap a descriptor, or answer "unknown" by themselves.
NEVER_FAILING = ("close", "open_file", "boot_id")

_WRITES = os.O_CREAT | os.O_WRONLY | os.O_RDWR
SYNCS = ("fsync", "fdatasync", "syncfs")
_MAKING_DESCRIPTORS = ("open", "scandir", "read_file", "map_file", "map_descriptor")
DIED = 137
# Errors whose advice would be wrong where a disk fails, or a descriptor is missing.
_MISLEADING = (
    errors.DefinitionError, errors.SettingError, errors.MissingInputError, errors.DamagedManifestError,
    errors.ForeignDirectoryError,
)  # fmt: skip
_SHOWN = 5


def kind_of(name: str, arguments: tuple[Any, ...]) -> str | None:
    """Whether a call of that function changes something on the disk, or looks only; None where it never fails."""
    if name == "open":
        return "mutating" if arguments[1] & _WRITES else "looking"
    return "mutating" if name in MUTATING else "looking" if name in LOOKING else None


class Mode(NamedTuple):
    """What happens at a call.

    Parameters
    ----------
    name
        Says it.
    error
        Number of the error that is raised; None where the process dies.
    for_good
        It is raised at all later calls of the kind too.
    moment
        Of death: ``before`` the call, ``after`` it, or ``amid`` it, when half of the data is written.
    is_power_cut
        What was written and not brought to the disk is lost: its bytes are zeros.
    """

    name: str
    error: int | None = None
    for_good: bool = False
    moment: str = "before"
    is_power_cut: bool = False

    def fits(self, call: tuple[Any, ...]) -> bool:
        """Whether that can happen at a call for real."""
        name, *arguments = call
        if self.error == errno.EMFILE:
            return name in _MAKING_DESCRIPTORS
        if self.moment == "amid":
            return name == "write" and len(arguments[1]) > 1
        return True

    @property
    def is_death(self) -> bool:
        """Whether the process ends."""
        return self.error is None


def _error_modes(*names: str) -> list[Mode]:
    return [
        Mode(f"{name} {'for good' if for_good else 'once'}", getattr(errno, name), for_good)
        for name in names
        for for_good in (False, True)
    ]


DEATHS = [Mode("dies before"), Mode("dies after", moment="after"), Mode("dies amid", moment="amid")]
POWER_CUT = Mode("power cut after", moment="after", is_power_cut=True)
ERRORS = _error_modes("ENOSPC", "EIO", "EMFILE")
OUT_OF_QUOTA = _error_modes("EDQUOT")
LOOKING_ERRORS = [Mode("EIO once", errno.EIO), Mode("EMFILE once", errno.EMFILE), Mode("EIO for good", errno.EIO, True)]
BACKGROUND = Mode("EIO of a sync in the background before", errno.EIO)
MODES = {mode.name: mode for mode in (*DEATHS, POWER_CUT, *ERRORS, *OUT_OF_QUOTA, BACKGROUND)}


class _Baton(threading.Event):
    """Lets the thread that syncs by the clock go on when the harness says so, and at no other time."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Semaphore(0)
        self._goes_on = threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.release()
        self._goes_on.acquire()
        return self.is_set()

    def go_on(self) -> None:
        self._goes_on.release()

    def set(self) -> None:
        super().set()
        self._goes_on.release()


class Calls:
    """The calls of a kind that this thread makes: counted, and at one of them something happens.

    Threads beside it are not counted, because they come by the clock; that which syncs in the background waits until
    it is told to go on.

    A sync that fails loses data, as it does for real: what was written and not brought to the disk becomes zeros, and
    every later sync says that all is well. Journals are spared, so that who trusts them is found out.

    Parameters
    ----------
    at
        Number of the call, from 1; None counts only.
    mode
        What happens there.
    before, after
        Instead of a mode: called before that call, or after it.
    kind
        ``mutating`` or ``looking``.
    names
        Instead of a kind: names of the functions that count.
    """

    def __init__(
        self,
        at: int | None = None,
        mode: Mode | None = None,
        *,
        before: Callable[[], object] | None = None,
        after: Callable[[], object] | None = None,
        kind: str = "mutating",
        names: tuple[str, ...] = (),
    ) -> None:
        self.at, self.mode, self.before, self.after = at, mode, before, after
        self.kind, self.names = kind, names
        self.made: list[tuple[Any, ...]] = []
        self.beside_a_sync: list[int] = []  # the calls during which a thread syncs by the clock
        self.has_fired = False
        self.has_failed_to_sync = False
        self._dirty: set[tuple[int, int]] = set()
        self._batons: list[_Baton] = []
        self._threads: list[threading.Thread] = []
        self._is_on = True

    def __enter__(self) -> Self:
        self._thread = threading.get_ident()
        self._patch = pytest.MonkeyPatch()
        for name in (*MUTATING, *LOOKING):
            self._patch.setattr(system, name, self._wrapped(name, getattr(system, name)))
        self._patch.setattr(local, "threading", types.SimpleNamespace(Event=self._baton, Thread=self._thread_of))
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()

    def _baton(self) -> _Baton:
        self._batons.append(_Baton())
        return self._batons[-1]

    def _thread_of(self, *arguments: Any, **options: Any) -> threading.Thread:
        self._threads.append(threading.Thread(*arguments, **options))
        return self._threads[-1]

    def _wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if threading.get_ident() != self._thread and self.mode is BACKGROUND and name == "syncfs":
                self._raise(BACKGROUND, name, arguments)
            if not self._is_on or threading.get_ident() != self._thread or not self._counts(name, arguments):
                return self._noted(name, arguments, function(*arguments, **options))
            self.made.append((name, *arguments))
            number = len(self.made)
            if any(not baton.is_set() for baton in self._batons):
                self.beside_a_sync.append(number)
            if self.at is None or number < self.at or (number > self.at and not (self.mode and self.mode.for_good)):
                return self._noted(name, arguments, function(*arguments, **options))
            return self._fire(name, function, arguments, options)

        return call

    def _counts(self, name: str, arguments: tuple[Any, ...]) -> bool:
        return name in self.names if self.names else kind_of(name, arguments) == self.kind

    def _fire(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...], options: Any) -> Any:
        mode = self.mode
        if mode is None or mode is BACKGROUND:
            self.has_fired = mode is None or self._sync_in_background()
            self._call(self.before)
            try:
                return self._noted(name, arguments, function(*arguments, **options))
            finally:
                self._call(self.after)
        if not mode.fits((name, *arguments)):  # a later call, at which this cannot happen
            return self._noted(name, arguments, function(*arguments, **options))
        self.has_fired = True
        if mode.error is not None:
            self._raise(mode, name, arguments)
        if mode.moment == "amid":
            function(arguments[0], arguments[1][: len(arguments[1]) // 2])
        elif mode.moment == "after":
            try:
                self._noted(name, arguments, function(*arguments, **options))
            finally:
                self._die(mode)
        self._die(mode)
        return None

    def _die(self, mode: Mode) -> None:
        if mode.is_power_cut:
            self._lose(self._dirty)
        os._exit(DIED)

    def _raise(self, mode: Mode, name: str, arguments: tuple[Any, ...]) -> None:
        assert mode.error is not None
        if name in SYNCS:
            self.has_failed_to_sync = True
            self._lose(self._dirty if name == "syncfs" else {_inode(arguments[0])} & self._dirty)
        paths = [argument for argument in arguments if isinstance(argument, str)]
        places = [paths[0], None, *paths[1:]] if len(paths) > 1 else paths
        raise OSError(mode.error, os.strerror(mode.error), *places)

    def _sync_in_background(self) -> bool:
        """Let the background thread sync once, now; whether there is one that did."""
        for baton, thread in zip(self._batons, self._threads, strict=True):
            if thread.is_alive() and not baton.is_set():
                baton.waits.acquire()
                baton.go_on()
                while thread.is_alive() and not baton.waits.acquire(timeout=0.001):
                    pass
                return True
        return False

    def _noted(self, name: str, arguments: tuple[Any, ...], result: Any) -> Any:
        """Note which files hold what was not yet brought to the disk."""
        if name == "write":
            self._dirty.add(_inode(arguments[0]))
        elif name == "syncfs":
            self._dirty.clear()
        elif name in {"fsync", "fdatasync"}:
            self._dirty.discard(_inode(arguments[0]))
        return result

    def _lose(self, lost: set[tuple[int, int]]) -> None:
        for parent, _, names in os.walk(settings.resolve("working_dir") if lost else os.devnull):
            for path in (os.path.join(parent, name) for name in names if not name.startswith("journal-")):
                state = os.lstat(path)
                if (state.st_dev, state.st_ino) in lost:
                    with open(path, "r+b") as file:
                        file.write(bytes(state.st_size))
                    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        self._dirty -= set(lost)

    def _call(self, meddle: Callable[[], object] | None) -> None:
        if meddle is not None:
            self._is_on = False
            try:
                meddle()
            finally:
                self._is_on = True


def _inode(descriptor: int) -> tuple[int, int]:
    state = os.fstat(descriptor)
    return state.st_dev, state.st_ino


def in_a_child(act: Callable[[], object]) -> int:
    """Exit code of a child of this process that acts: 0, or 1 where that raised an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pytest-xdist has a thread, which the child does not need
        child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def dies(act: Callable[[], object], calls: Calls) -> bool:
    """Whether a child of this process that acts dies at the call."""

    def act_and_die() -> None:
        with calls:
            act()

    return in_a_child(act_and_die) == DIED


def die() -> None:
    os._exit(DIED)


# -- what is processed ------------------------------------------------------------------------------------------------


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Lines(luisy.DirectoryTask):
    """One output for a single word, else one for each."""

    def process(self, text, item):
        note(item.key)
        words = [word.upper() + self.version for word in text.split()]
        if len(words) == 1:
            yield luisy.Output(words[0])
            return
        for number, word in enumerate(words):
            yield luisy.Output(word, key=str(number))


def note(key: str) -> None:
    """Append the key of an item that is being processed to a file that nothing ever takes back."""
    path = os.environ.get("FAULTS_PROCESSED")
    if path:
        descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(descriptor, f"{key}\n".encode())
        os.close(descriptor)


# A source and what becomes of it: unchanged, changed, gone, in folders that come and go, with more outputs or fewer, a
# file where a folder was and the other way round.
OLD_LETTERS = {
    "changed.txt": "old", "gone.txt": "gone", "deep/er/gone.txt": "gone", "deep/stays.txt": "stays",
    "many.txt": "one two three", "single.txt": "single", "swap.txt": "swap", "paws.txt/inner.txt": "paws",
    **{f"same{number}.txt": f"same{number}" for number in range(3)},
}  # fmt: skip
NEW_LETTERS = {
    "changed.txt": "new", "deep/stays.txt": "stays", "new/er/x.txt": "new",
    "many.txt": "one zwei", "single.txt": "no more", "swap.txt/inner.txt": "swap", "paws.txt": "paws",
    **{f"same{number}.txt": f"same{number}" for number in range(3)},
}  # fmt: skip
LATEST_LETTERS = {
    "changed.txt": "newest", "gone.txt": "back", "new/er/x.txt": "newest", "new/er/y.txt": "newest",
    "many.txt": "eins", "swap.txt": "swap back",
    **{f"same{number}.txt": f"same{number}" for number in range(3)},
}  # fmt: skip
# After an update was interrupted: changed again to something as long, a staged item's input gone, one as it was before
# the update, one more.
CHURNED_LETTERS = {path: text for path, text in NEW_LETTERS.items() if path != "new/er/x.txt"} | {
    "changed.txt": "neu", "many.txt": "one two three", "late/r.txt": "late",
}  # fmt: skip
# After a first build was interrupted: the same there.
STIRRED_LETTERS = {path: text for path, text in OLD_LETTERS.items() if path not in {"gone.txt", "swap.txt"}} | {
    "changed.txt": "neu", "many.txt": "one two", "swap.txt/inner.txt": "swap",
}  # fmt: skip


def outputs_of(letters: Mapping[str, str], version: str = "") -> dict[str, str]:
    """What Lines makes of letters: content by path."""
    outputs: dict[str, str] = {}
    for path, text in letters.items():
        key, words = path.removesuffix(".txt"), text.upper().split()
        names = [key] if len(words) == 1 else [f"{key}/{number}" for number in range(len(words))]
        outputs |= {f"{name}.txt": word + version for name, word in zip(names, words, strict=True)}
    return outputs


OLD, NEW, LATEST = map(outputs_of, (OLD_LETTERS, NEW_LETTERS, LATEST_LETTERS))
CHURNED, STIRRED = map(outputs_of, (CHURNED_LETTERS, STIRRED_LETTERS))


def put_letters(letters: Mapping[str, str], *, age_seconds: float = 60.0) -> None:
    """Make the raw folder hold these files, old enough, and no others; what is the same is left alone."""
    folder = Letters().output().path
    then = time.time() - age_seconds
    for path in files_below(folder) if os.path.isdir(folder) else ():
        if path not in letters:
            os.unlink(os.path.join(folder, path))
            with contextlib.suppress(OSError):
                os.removedirs(os.path.join(folder, os.path.dirname(path)))
    for path, text in letters.items():
        place = os.path.join(folder, path)
        if os.path.isfile(place) and read(place) == text:
            continue
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "w") as file:
            file.write(text)
        os.utime(place, (then, then))


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def tree(directory: str) -> dict[str, str]:
    """Content by path of all that is visible in a directory."""
    return {path: read(os.path.join(directory, path)) for path in files_below(directory)}


class World:
    """A working directory that can be brought back to a state, and what must hold in it."""

    def __init__(self, working_dir: str) -> None:
        self.working_dir = str(working_dir)
        self.directory = Lines().output().path
        self._kept: list[tuple[str, os.stat_result, bytes | None]] = []

    def keep(self) -> None:
        """Remember this state: in memory, because it is brought back so often."""
        self._kept = []
        for folder, folders, names in os.walk(self.working_dir):
            assert not any(os.path.islink(os.path.join(folder, name)) for name in (*folders, *names))
            self._kept.append((folder, os.lstat(folder), None))
            for path in (os.path.join(folder, name) for name in names):
                with open(path, "rb") as file:
                    self._kept.append((path, os.lstat(path), file.read()))

    def bring_back(self) -> None:
        shutil.rmtree(self.working_dir)
        for path, state, content in self._kept:  # a folder comes before what lies in it
            if content is None:
                os.mkdir(path, state.st_mode)
            else:
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, state.st_mode)
                os.write(descriptor, content)
                os.close(descriptor)
        for path, state, _ in reversed(self._kept):  # and its time comes after those
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.log)

    def check_nothing_wrong(self, *allowed: Mapping[str, str], complete_as: tuple[Mapping[str, str], ...] = ()) -> None:
        """Each visible file is one of the allowed ones, whole; and ``complete()`` never says yes to a mix."""
        for path, content in tree(self.directory).items():
            assert content in {one[path] for one in allowed if path in one}, (path, content)
        if Lines().complete():
            assert Lines().output().verify(deep=True).is_whole, "complete, and not as in its manifest"
            assert tree(self.directory) in (complete_as or allowed), "complete, and a mix"
            self.check_settled()

    def check_settled(self) -> None:
        """The newest generation is the one that CURRENT names."""
        with open(os.path.join(self.directory, FOLDER, CURRENT)) as file:
            current = json.load(file)["generation"]
        numbers = [int(name[:8]) for name in os.listdir(os.path.join(self.directory, FOLDER)) if name[8:] == ".json"]
        assert max(numbers) == current, f"generation {max(numbers)} is there, and CURRENT names {current}"

    def check_finished(self, expected: Mapping[str, str]) -> None:
        """The right tree, complete, with nothing beside it, and nothing in the manifest that is not kept."""
        found = tree(self.directory)
        assert found == expected, f"there is {dict(found.items() - expected.items())!r:.200} and not the right thing"
        assert Lines().complete(), "the next run is not complete"
        assert Lines().output().verify(deep=True).is_whole
        self.check_settled()
        beside = os.listdir(os.path.dirname(self.directory))
        assert beside == ["Lines"], f"beside it lies {beside}"
        names = set(os.listdir(os.path.join(self.directory, FOLDER)))
        kept = generations_in(self.directory)
        needed = {file.file for number in kept for file in read_record(self.directory, number).files}
        needed |= {generation_name(number) + ".json" for number in kept} | {CURRENT}
        assert needed <= names, f"missing in the manifest: {needed - names}"
        litter = names - needed - {UNDO + generation_name(number) for number in kept[1:]}
        assert not litter, f"left in the manifest: {litter}"
        for parent, folders, _ in os.walk(self.directory):
            folders[:] = [name for name in folders if name != FOLDER]
            assert os.listdir(parent), f"{parent} is empty"

    def check_one_name(self) -> None:
        """No published file is the same as one that is kept: who edits it in place would change both."""
        for path in tree(self.directory):
            assert os.lstat(os.path.join(self.directory, path)).st_nlink == 1

    def check_rests(self) -> None:
        """One more run changes nothing."""
        before = states_below(self.working_dir)
        with Calls() as calls:
            Lines().run()
        assert calls.made == [], f"one more run made calls: {calls.made!r:.200}"
        assert states_below(self.working_dir) == before, "one more run changed something"

    def check_error(self, error: Exception | None, call: tuple[Any, ...]) -> None:
        """What came of a call that failed says where; and a disk that fails is not told as something else."""
        if error is None:
            return
        assert isinstance(error, (errors.LuisyDirError, OSError)), repr(error)
        misleading = (
            errors.DefinitionError,
            errors.SettingError,
            errors.MissingInputError,
            errors.DamagedManifestError,
        )
        assert not isinstance(error, (*misleading, errors.ForeignDirectoryError)), repr(error)
        items = (f"{path.removesuffix('.txt')}: " for path in {**OLD_LETTERS, **NEW_LETTERS})
        paths = (repr(argument) for argument in call[1:] if isinstance(argument, str))
        places = (self.working_dir, *paths, *items, *map(repr, {**OLD, **NEW}))
        assert any(place in str(error) for place in places), f"it names no file: {error!r}"

    @property
    def log(self) -> str:
        """Where the keys of items that are processed are noted: beside the working directory."""
        return os.environ["FAULTS_PROCESSED"]

    def processed(self) -> Counter[str]:
        """How often each item was processed since the state was brought back."""
        return Counter(read(self.log).split()) if os.path.exists(self.log) else Counter()


@contextlib.contextmanager
def sandbox(monkeypatch: pytest.MonkeyPatch, fallback: os.PathLike[str]) -> Any:
    """A world in a folder of its own: in memory where there is such a place, because it is brought back so often."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK | os.X_OK) else str(fallback)
    folder = os.path.join(parent, f"luisy_dir-{uuid.uuid4().hex}")
    os.makedirs(os.path.join(folder, "w"))
    monkeypatch.setattr(settings, "_set_in_python", {})
    settings.set_working_dir(os.path.join(folder, "w"))
    monkeypatch.setenv("FAULTS_PROCESSED", os.path.join(folder, "processed"))
    monkeypatch.setenv("LUISY_DIR_MAX_DELETED", "1.0")
    monkeypatch.setenv("LUISY_DIR_KEEP_GENERATIONS", "2")
    logger = logging.getLogger("luigi-interface.luisy_dir")
    monkeypatch.setattr(logger, "disabled", True)  # thousands of failing runs say the same
    try:
        yield World(os.path.join(folder, "w"))
    finally:
        shutil.rmtree(folder)


def put_old() -> None:
    put_letters(OLD_LETTERS)


def publish_old() -> None:
    put_old()
    Lines().run()


def publish_old_then_put_new() -> None:
    publish_old()
    put_letters(NEW_LETTERS)


def publish_both() -> None:
    publish_old_then_put_new()
    Lines().run()


def publish_both_and_go_back() -> None:
    publish_both()
    Lines().output().rollback(1)


def publish_new_and_spoil_it() -> None:
    publish_old_then_put_new()
    Lines().run()
    directory = Lines().output().path
    os.unlink(os.path.join(directory, "deep", "stays.txt"))
    with open(os.path.join(directory, "changed.txt"), "w") as file:
        file.write("by hand")


# -- what is interrupted ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """What is interrupted, and what must be true afterwards.

    Parameters
    ----------
    prepare
        Makes the state before.
    act
        Is interrupted.
    before, after
        What is visible before, and after an undisturbed act.
    complete_as
        What may be visible where ``complete()`` is true.
    finish
        Lets the next run come, and looks at what it leaves.
    change
        What becomes of the inputs before that.
    """

    prepare: Callable[[], None]
    act: Callable[[], object]
    before: Mapping[str, str]
    after: Mapping[str, str]
    complete_as: tuple[Mapping[str, str], ...]
    finish: Callable[[World], None]
    change: Callable[[], None] | None = None


def run() -> None:
    Lines().run()


def finish_first_build(world: World) -> None:
    Lines().run()
    world.check_finished(OLD)
    assert generations_in(world.directory) == [1]
    world.check_rests()


def finish_update(world: World) -> None:
    """What was committed is finished, and not made anew; and what it replaced can be gone back to."""
    Lines().run()
    world.check_finished(NEW)
    assert generations_in(world.directory) == [1, 2]
    world.check_one_name()
    world.check_rests()
    Lines().output().rollback(1)
    assert tree(world.directory) == OLD
    assert Lines().complete()


def finish_rollback(world: World) -> None:
    Lines().run()
    is_back = Lines().plan().is_pinned
    world.check_finished(OLD if is_back else NEW)
    if not is_back:
        Lines().output().rollback(1)
        world.check_finished(OLD)
    world.check_one_name()
    world.check_rests()


def finish_release(world: World) -> None:
    Lines().output().release()
    assert not Lines().complete()
    Lines().run()
    world.check_finished(NEW)
    world.check_rests()


def finish_repair(world: World) -> None:
    assert not Lines().complete()
    Lines().run()
    world.check_finished(NEW)
    world.check_rests()


def run_first_version() -> None:
    Lines.version = ""
    Lines().run()


def change_version() -> None:
    Lines.version = "!"


def finish_next_version(world: World) -> None:
    """What was made by other code is not taken over."""
    try:
        Lines().run()
        world.check_finished(outputs_of(OLD_LETTERS, version="!"))
        world.check_rests()
    finally:
        Lines.version = ""


def finish_with(expected: Mapping[str, str]) -> Callable[[World], None]:
    def finish(world: World) -> None:
        Lines().run()
        world.check_finished(expected)
        world.check_one_name()
        world.check_rests()

    return finish


SCENARIOS = {
    "a first build": Scenario(
        put_old, run, {}, OLD, (OLD,), finish_first_build
    ),
    "an update": Scenario(publish_old_then_put_new, run, OLD, NEW, (NEW,), finish_update),
    "a rollback": Scenario(
        publish_both, lambda: Lines().output().rollback(1), NEW, OLD, (NEW, OLD), finish_rollback
    ),
    "a release": Scenario(
        publish_both_and_go_back, lambda: Lines().output().release(), OLD, OLD, (OLD,), finish_release
    ),
    "a repair": Scenario(
        publish_new_and_spoil_it,
        lambda: Lines().output().repair(),
        NEW | {"changed.txt": "by hand"},
        {path: text for path, text in NEW.items() if path not in {"changed.txt", "deep/stays.txt"}},
        (),
        finish_repair,
    ),
    "a first build whose inputs change": Scenario(
        put_old, run, {}, OLD, (OLD,), finish_with(STIRRED), lambda: put_letters(STIRRED_LETTERS)
    ),
    "a first build whose code changes": Scenario(
        put_old, run_first_version, {}, OLD, (OLD,), finish_next_version, change_version
    ),
    "an update whose inputs change": Scenario(
        publish_old_then_put_new, run, OLD, NEW, (NEW,), finish_with(CHURNED), lambda: put_letters(CHURNED_LETTERS)
    ),
}  # fmt: skip


# -- the sweep --------------------------------------------------------------------------------------------------------


@dataclass
class Swept:
    """What came of a sweep: how many points there were, what was wrong at some of them, and how the runs ended."""

    points: int = 0
    violations: list[str] = field(default_factory=list)
    ends: set[type[Exception] | None] = field(default_factory=set)

    def without(self, known: str) -> Swept:
        """The same without the violations that a regular expression finds."""
        return Swept(self.points, [told for told in self.violations if not re.search(known, told)])

    def check(self) -> None:
        """AssertionError that tells of the first points at which something was wrong, or where there was none."""
        assert self.points or self.violations, "there was no point at which anything could go wrong"
        shown = "\n".join(self.violations[:_SHOWN])
        assert not self.violations, f"{len(self.violations)} of {self.points} points failed:\n{shown}"


def sweep(
    world: World,
    scenario: Scenario,
    modes: list[Mode],
    *,
    kind: str = "mutating",
    names: tuple[str, ...] = (),
    stop_at_first: bool = False,
) -> Swept:
    """Let something go wrong at each call of a scenario in turn, and see what must hold.

    Parameters
    ----------
    world
        Empty.
    scenario
        What is interrupted.
    modes
        What goes wrong.
    kind
        At which calls: ``mutating`` or ``looking``.
    names
        At the calls of these functions alone.
    stop_at_first
        At the first violation.
    """
    swept = Swept()
    try:
        scenario.prepare()
        world.keep()
        rehearsals = [_rehearse(world, scenario, kind) for _ in range(2)]
        assert _names(rehearsals[0]) == _names(rehearsals[1]), "the calls are not the same in every run"
    except Exception as error:  # where nothing goes wrong yet
        swept.violations.append(f"undisturbed: {_told(error)}")
        return swept
    made, todo = rehearsals[0].made, world.processed()
    for mode in modes:
        numbers = rehearsals[0].beside_a_sync if mode is BACKGROUND else range(1, len(made) + 1)
        for number in (number for number in numbers if mode.fits(made[number - 1])):
            if names and made[number - 1][0] not in names:
                continue
            swept.points += 1
            try:
                _look_at_point(world, scenario, Calls(number, mode, kind=kind), todo)
            except Exception as error:
                swept.violations.append(_told_of(world, f"{mode.name} {number}", made[number - 1], error))
                if stop_at_first:
                    return swept
    return swept


def sweep_meddling(
    world: World,
    meddle: Callable[[], object],
    check: Callable[[World, Exception | None], None],
    *,
    is_at: Callable[..., bool] = lambda *_: True,
    stop_at_first: bool = False,
) -> Swept:
    """Let somebody else come in before each call of a run that changes something, and see what must hold afterwards.

    Parameters
    ----------
    world
        As it is before the run.
    meddle
        What the other one does.
    check
        Gets the world and the error with which the run ended, None where it ended well.
    is_at
        Gets a call; whether the other one comes in there.
    stop_at_first
        At the first violation.
    """
    swept = Swept()
    world.keep()
    with Calls() as rehearsal:
        run()
    for number in (number for number, call in enumerate(rehearsal.made, 1) if is_at(*call)):
        swept.points += 1
        calls = Calls(number, before=meddle)
        try:
            world.bring_back()
            error = _error_of_run(calls)
            swept.ends.add(None if error is None else type(error))
            assert calls.has_fired, "nobody came in"
            check(world, error)
        except Exception as wrong:
            swept.violations.append(_told_of(world, f"meddled with {number}", rehearsal.made[number - 1], wrong))
            if stop_at_first:
                return swept
    return swept


def _error_of_run(calls: Calls) -> Exception | None:
    with calls:
        try:
            run()
        except (errors.OutputError, errors.StorageError) as error:
            return error
    return None


def check_overtaken(expected: Mapping[str, str]) -> Callable[[World, Exception | None], None]:
    """What must hold after another run has come in, whoever of the two was first."""

    def check(world: World, error: Exception | None) -> None:
        assert tree(world.directory) == expected
        assert Lines().output().verify(deep=True).is_whole
        assert Lines().complete()
        shutil.rmtree(staging_of(world.directory), ignore_errors=True)
        world.check_finished(expected)

    return check


def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system where locks do nothing."""
    monkeypatch.setattr(local.Lock, "acquire", lambda self: None)
    monkeypatch.setattr(local.Lock, "release", lambda self: None)


def run_with_later_letters() -> None:
    put_letters(LATEST_LETTERS)
    run()


def _told_of(world: World, point: str, call: tuple[Any, ...], error: Exception) -> str:
    name, *arguments = call
    told = f"{point}, {name}{tuple(arguments)!r:.300}: {_told(error)}"
    return told.replace(world.working_dir, "W")


def _told(error: Exception) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    frames = traceback.extract_tb(error.__traceback__)
    where = next((frame for frame in reversed(frames) if frame.filename == __file__), frames[-1])
    return f"{type(error).__name__} in {where.name}, line {where.lineno}: {' | '.join(lines):.800}"


def _rehearse(world: World, scenario: Scenario, kind: str) -> Calls:
    world.bring_back()
    with Calls(kind=kind) as calls:
        scenario.act()
    assert tree(world.directory) == scenario.after
    return calls


def _names(calls: Calls) -> list[str]:
    return [name for name, *_ in calls.made]


def _look_at_point(world: World, scenario: Scenario, calls: Calls, todo: Counter[str]) -> None:
    world.bring_back()
    mode = calls.mode
    assert mode is not None
    if mode.is_death:
        assert dies(scenario.act, calls), "the fault did not fire: the process did not die there"
    else:
        _fail(world, scenario, calls)
    with another_boot(is_so=mode.is_power_cut):
        world.check_nothing_wrong(scenario.before, scenario.after, complete_as=scenario.complete_as)
        failed = {entry.key for entry in entries_in_staging(world.directory) if entry.status == "failed"}
        if scenario.change is not None:
            scenario.change()
        scenario.finish(world)
    may_lose = scenario.change is not None or calls.has_failed_to_sync or mode.error == errno.EIO
    if todo and not may_lose and (not mode.is_power_cut or settings.resolve("durability") == "item"):
        again = world.processed() - todo
        assert sum(count for key, count in again.items() if key not in failed) <= 1, f"processed again: {dict(again)}"


@contextlib.contextmanager
def another_boot(*, is_so: bool) -> Any:
    """After a power cut the machine has another boot."""
    with pytest.MonkeyPatch.context() as patch:
        if is_so:
            for name in ("boot_id", "mount_id"):
                patch.setattr(system, name, lambda *_: "another")
        yield


def _fail(world: World, scenario: Scenario, calls: Calls) -> None:
    """Let the act fail in this very process, so that what it does not let go of is seen: locks, files, threads."""
    open_before, threads_before = len(os.listdir("/proc/self/fd")), threading.active_count()
    error = None
    with calls:
        try:
            scenario.act()
        except Exception as raised:
            error = raised.with_traceback(None)
    assert calls.has_fired, "the fault did not fire: no error was raised there"
    assert calls.at is not None
    world.check_error(error, calls.made[calls.at - 1])
    if error is None:
        assert not calls.has_failed_to_sync, "nothing was said of data that could not be brought to the disk"
        assert tree(world.directory) == scenario.after, "nothing was said, and it is not done"
    if calls.mode is BACKGROUND:
        assert tree(world.directory) == scenario.before
    error = None
    if len(os.listdir("/proc/self/fd")) > open_before:
        gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= open_before, "a file was left open"
    assert threading.active_count() <= threads_before, "a thread was left"
