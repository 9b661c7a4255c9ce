"""Rolling forward: whatever ends an update, and wherever, the next run ends in the right tree."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import sys
import threading
import time

import pytest
from conftest import an_entry, files_below
from pipelines import Letters
from test_transaction import FACTS, write_item

import luisy_dir as luisy
from luisy_dir import errors, generations, rollforward, transaction
from luisy_dir.entry import OutputFile
from luisy_dir.manifest import read_manifest
from luisy_dir.record import CURRENT, FOLDER, UNDO, generation_name, generations_in, read_record
from luisy_dir.rollforward import changes_of, recover, roll_forward
from luisy_dir.staging import staging_of
from luisy_dir.storage import local, system
from luisy_dir.transaction import Transaction

# The functions of the one door through which anything on the disk is changed, or brought there.
MUTATING = (
    "open", "write", "mkdir", "makedirs", "rename", "rename_noreplace", "link", "unlink", "rmdir", "utime",
    "fsync", "fdatasync", "syncfs",
)  # fmt: skip
LOOKING = ("scandir", "lstat", "stat", "read", "read_file", "map_file")
_WRITES = os.O_CREAT | os.O_WRONLY | os.O_RDWR
_DIED = 137


class Calls:
    """The calls that change something, in this thread: counted, and at one of them something happens.

    Parameters
    ----------
    at
        Number of the call, from 1; None counts only.
    before, after
        What happens at that call.
    for_good
        It happens at all later calls too.
    names
        Of the functions that count.
    """

    def __init__(self, at=None, before=None, after=None, *, for_good=False, names=MUTATING):
        self.at, self.before, self.after, self.for_good, self.names = at, before, after, for_good, names
        self.made = []
        self.has_fired = False
        self._thread = threading.get_ident()  # the thread that syncs now and then comes by the clock
        self._is_on = True

    def __enter__(self):
        self._patch = pytest.MonkeyPatch()
        for name in self.names:
            self._patch.setattr(system, name, self._wrapped(name, getattr(system, name)))
        return self

    def __exit__(self, *_):
        self._patch.undo()

    def _wrapped(self, name, function):
        def call(*arguments, **options):
            if not self._is_on or threading.get_ident() != self._thread:
                return function(*arguments, **options)
            if name == "open" and "lstat" not in self.names and not arguments[1] & _WRITES:
                return function(*arguments, **options)
            self.made.append((name, *arguments))
            number = len(self.made)
            fires = self.at is not None and (number == self.at or (self.for_good and number > self.at))
            if not fires:
                return function(*arguments, **options)
            self.has_fired = True
            with self._off():
                if self.before is not None:
                    self.before()
            try:
                return function(*arguments, **options)
            finally:
                with self._off():
                    if self.after is not None:
                        self.after()

        return call

    @contextlib.contextmanager
    def _off(self):
        self._is_on = False
        try:
            yield
        finally:
            self._is_on = True


def die():
    os._exit(_DIED)


def failing(number):
    def fail():
        raise OSError(number, os.strerror(number))

    return fail


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Lines(luisy.DirectoryTask):
    """One output for a single word, else one for each."""

    def process(self, text):
        words = text.split()
        if len(words) == 1:
            yield luisy.Output(text.upper())
            return
        for number, word in enumerate(words):
            yield luisy.Output(word.upper(), key=str(number))


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


def outputs_of(letters):
    """What Lines makes of letters: content by path."""
    outputs = {}
    for path, text in letters.items():
        key, words = path.removesuffix(".txt"), text.upper().split()
        names = [key] if len(words) == 1 else [f"{key}/{number}" for number in range(len(words))]
        outputs |= {f"{name}.txt": word for name, word in zip(names, words, strict=True)}
    return outputs


OLD, NEW, LATEST = map(outputs_of, (OLD_LETTERS, NEW_LETTERS, LATEST_LETTERS))


def put_letters(letters, *, age_seconds=60.0):
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
        if os.path.exists(place) and read(place) == text:
            continue
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "w") as file:
            file.write(text)
        os.utime(place, (then, then))


def read(path):
    with open(path) as file:
        return file.read()


def tree(directory):
    """Content by path of all that is visible in a directory."""
    return {path: read(os.path.join(directory, path)) for path in files_below(directory)}


def state_of_everything(folder):
    """Path, inode, size and time of change of every file and folder, hidden ones too."""
    found = {}
    for parent, folders, names in os.walk(folder):
        for name in (".", *folders, *names):
            state = os.lstat(os.path.join(parent, name))
            found[os.path.join(parent, name)] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return found


@pytest.fixture(params=["commit", "none"])
def durability(request, monkeypatch):
    """Both ways; and with ``commit`` the manifest of an update is a delta, with ``none`` a whole one."""
    monkeypatch.setenv("LUISY_DIR_DURABILITY", request.param)
    monkeypatch.setattr(transaction, "LARGEST_SHARE", 10.0 if request.param == "commit" else 0.0)
    monkeypatch.setenv("LUISY_DIR_MAX_DELETED", "1.0")
    return request.param


class World:
    """A working directory that can be brought back to a state, and what must hold in it."""

    def __init__(self, working_dir, template):
        self.working_dir, self.template = str(working_dir), str(template)
        self.directory = Lines().output().path

    def keep(self):
        """Remember this state."""
        shutil.copytree(self.working_dir, self.template, symlinks=True)

    def bring_back(self):
        shutil.rmtree(self.working_dir)
        shutil.copytree(self.template, self.working_dir, symlinks=True)

    def check_nothing_wrong(self, *allowed):
        """Each visible file is one of the allowed ones, whole; and ``complete()`` never says yes to a mix."""
        for path, content in tree(self.directory).items():
            assert content in {one[path] for one in allowed if path in one}, (path, content)
        if Lines().complete():
            assert Lines().output().verify(deep=True).is_whole
            assert tree(self.directory) in allowed

    def check_finished(self, expected):
        """The right tree, complete, with nothing beside it, and nothing in the manifest that is not kept."""
        assert tree(self.directory) == expected
        assert Lines().complete()
        assert Lines().output().verify(deep=True).is_whole
        assert os.listdir(os.path.dirname(self.directory)) == ["Lines"]
        names = set(os.listdir(os.path.join(self.directory, FOLDER)))
        kept = generations_in(self.directory)
        needed = {file.file for number in kept for file in read_record(self.directory, number).files}
        needed |= {generation_name(number) + ".json" for number in kept} | {CURRENT}
        assert needed <= names
        assert names - needed <= {UNDO + generation_name(number) for number in kept[1:]}
        for parent, folders, _ in os.walk(self.directory):
            folders[:] = [name for name in folders if name != FOLDER]
            assert os.listdir(parent), f"{parent} is empty"

    def check_one_name(self):
        """No published file is the same as one that is kept: who edits it in place would change both."""
        for path in tree(self.directory):
            assert os.lstat(os.path.join(self.directory, path)).st_nlink == 1

    def check_rests(self):
        """One more run changes nothing."""
        before = state_of_everything(self.working_dir)
        with Calls() as calls:
            Lines().run()
        assert calls.made == []
        assert state_of_everything(self.working_dir) == before


@pytest.fixture
def world(working_dir, tmp_path_factory, durability):
    """OLD is published and NEW lies in the raw folder."""
    return a_world(working_dir, tmp_path_factory)


def a_world(working_dir, tmp_path_factory):
    world = World(working_dir, tmp_path_factory.mktemp("template") / "t")
    put_letters(OLD_LETTERS)
    Lines().run()
    put_letters(NEW_LETTERS)
    return world


def number_of_calls(world, act, **options):
    world.bring_back()
    with Calls(**options) as calls:
        act()
    world.bring_back()
    return len(calls.made)


def dies(act, calls):
    """Whether a child of this process that acts dies at the call."""
    child = os.fork()
    if child == 0:
        try:
            with calls:
                act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == _DIED


def points_of_death(world, act):
    """Before the first call, and after each: between two of them nothing changes on the disk."""
    count = number_of_calls(world, act)
    assert count > 5
    yield "before 1", Calls(1, before=die)
    for number in range(1, count + 1):
        yield f"after {number}", Calls(number, after=die)


def points_of_error(world, act):
    """Every call fails: once by one error, for good by the other."""
    count = number_of_calls(world, act)
    assert count > 5
    for number in range(1, count + 1):
        yield f"EIO at {number}", Calls(number, before=failing(errno.EIO))
        yield f"ENOSPC from {number} on", Calls(number, before=failing(errno.ENOSPC), for_good=True)


def fails(act, calls):
    """Whether an error was raised at the call."""
    with calls, contextlib.suppress(OSError, errors.LuisyDirError):
        act()
    return calls.has_fired


@contextlib.contextmanager
def told(point, calls):
    """Says at which call something went wrong."""
    try:
        yield
    except BaseException as error:
        made = calls.made[calls.at - 1] if calls.at and len(calls.made) >= calls.at else ""
        error.add_note(f"{point}: {made}")
        raise


WAYS = {"death": (points_of_death, dies), "error": (points_of_error, fails)}


def sweep(world, act, check, way):
    """Let ``act`` be ended at each of its calls, and check afterwards."""
    points, happens = WAYS[way]
    world.keep()
    for point, calls in points(world, act):
        with told(point, calls):
            world.bring_back()
            assert happens(act, calls), "the fault did not fire"
            check()


@pytest.fixture
def each_point(request):
    """``each_point(world, act, check)``: a sweep."""
    return functools.partial(sweep, way=request.param)


@pytest.mark.parametrize(
    ("durability", "each_point"), [("commit", "death"), ("commit", "error"), ("none", "death")], indirect=True
)
class TestEndedAtEachCall:
    """SIGKILL, EIO and a full disk at every call that changes something on the disk."""

    def test_an_update(self, world, each_point):
        def check():
            world.check_nothing_wrong(OLD, NEW)
            Lines().run()
            world.check_finished(NEW)
            assert generations_in(world.directory) == [1, 2]  # what was committed is finished, and not made anew
            world.check_one_name()
            world.check_rests()

        each_point(world, lambda: Lines().run(), check)

    def test_a_rollback(self, world, each_point):
        Lines().run()

        def check():
            world.check_nothing_wrong(OLD, NEW)
            Lines().run()
            world.check_finished(OLD if Lines().plan().is_pinned else NEW)
            if not Lines().plan().is_pinned:
                Lines().output().rollback(1)
                world.check_finished(OLD)
            world.check_one_name()
            world.check_rests()

        each_point(world, lambda: Lines().output().rollback(1), check)

    def test_a_release(self, world, each_point):
        Lines().run()
        Lines().output().rollback(1)

        def check():
            world.check_nothing_wrong(OLD)
            Lines().output().release()
            assert not Lines().complete()
            Lines().run()
            world.check_finished(NEW)
            world.check_rests()

        each_point(world, lambda: Lines().output().release(), check)

    def test_a_repair(self, world, each_point):
        Lines().run()
        put_letters(NEW_LETTERS)
        os.unlink(os.path.join(world.directory, "deep", "stays.txt"))
        with open(os.path.join(world.directory, "changed.txt"), "w") as file:
            file.write("by hand")

        def check():
            world.check_nothing_wrong(NEW, {"changed.txt": "by hand"})
            assert not Lines().complete()
            Lines().run()
            world.check_finished(NEW)
            world.check_rests()

        each_point(world, lambda: Lines().output().repair(), check)


@pytest.mark.parametrize("durability", ["none"], indirect=True)
def test_the_way_back_is_whole_too(world):
    """Whoever finishes an update also keeps what it replaced."""

    def check():
        Lines().run()
        Lines().output().rollback(1)
        assert tree(world.directory) == OLD
        assert Lines().complete()

    sweep(world, lambda: Lines().run(), check, "death")


# -- without locks ----------------------------------------------------------------------------------------------------


@pytest.fixture
def no_locks(monkeypatch):
    """As on a file system where locks do nothing."""
    monkeypatch.setattr(local.Lock, "acquire", lambda self: None)
    monkeypatch.setattr(local.Lock, "release", lambda self: None)


def run_with_later_letters():
    put_letters(LATEST_LETTERS)
    Lines().run()


def overtake_in(monkeypatch, function):
    """Let another run come in once, just after a function of rollforward has listed what a manifest consists of."""
    list_names = local.names_in
    has_overtaken = []

    def listed(folder):
        names = list_names(folder)
        if not has_overtaken and folder.endswith(FOLDER) and sys._getframe(1).f_code.co_name == function:
            has_overtaken.append(True)
            run_with_later_letters()
        return names

    monkeypatch.setattr(local, "names_in", listed)
    return has_overtaken


@pytest.mark.parametrize("durability", ["none"], indirect=True)
class TestFences:
    """Correctness does not rest on the lock: whoever takes over renames first, and a sleeper then harms nothing."""

    def sweep(self, world, overtake, expected, *, is_at=lambda *_: True, names=MUTATING):
        """Let a whole other run come in before each call of a first one; return how the first one ended."""
        world.keep()
        with Calls(names=names) as calls:
            Lines().run()
        points = [number for number, call in enumerate(calls.made, 1) if is_at(*call)]
        assert points
        ends = set()
        for number in points:
            calls = Calls(number, before=overtake, names=names)
            with told(f"overtaken at {number}", calls):
                world.bring_back()
                ends.add(self.end_of_run(calls))
                assert calls.has_fired
                assert tree(world.directory) == expected
                assert Lines().output().verify(deep=True).is_whole
                assert Lines().complete()
                shutil.rmtree(staging_of(world.directory), ignore_errors=True)
                world.check_finished(expected)
        return ends

    def end_of_run(self, calls):
        with calls:
            try:
                Lines().run()
            except (errors.OutputError, errors.StorageError) as error:
                return type(error)
        return None

    def test_a_run_that_is_overtaken_at_any_call_by_another_one(self, world, no_locks):
        """Before the commit, between commit and roll-forward, and in the midst of it."""
        assert errors.BusyError in self.sweep(world, lambda: Lines().run(), NEW)

    def test_a_run_that_is_overtaken_at_any_call_by_one_with_later_inputs(self, world, no_locks):
        """The sleeper has older files in hand, and puts none of them over a later one."""
        ends = self.sweep(world, run_with_later_letters, LATEST)
        assert errors.BusyError in ends

    def test_a_run_that_is_overtaken_while_it_makes_a_folder_for_what_it_takes_away(self, world, no_locks):
        self.sweep(world, run_with_later_letters, LATEST, is_at=self.is_folder_of_undo)

    def is_folder_of_undo(self, name, path, *_):
        return name in {"mkdir", "makedirs"} and "/undo" in path

    def test_a_run_that_is_overtaken_before_it_has_begun_hears_that_another_one_is_at_work(self, world, no_locks):
        """To be told to move files away that the other one has just published would be bad advice."""
        ends = self.sweep(
            world,
            lambda: Lines().run(),
            NEW,
            is_at=lambda name, path, *_: name == "makedirs" and path.endswith("/files"),
        )
        assert ends <= {errors.BusyError, errors.StorageError}

    @pytest.mark.parametrize("function", ["forgettable", "_remove_orphans"])
    def test_what_came_after_generations_were_listed_is_no_garbage(self, world, no_locks, monkeypatch, function):
        has_overtaken = overtake_in(monkeypatch, function)
        with contextlib.suppress(errors.BusyError):
            Lines().run()
        assert has_overtaken
        assert Lines().output().verify(deep=True).is_whole
        assert tree(world.directory) == LATEST

    def test_gc_removes_nothing_of_a_run_that_begins_meanwhile(self, world, monkeypatch):
        """With locks that work: the run is finished, or it hears that the directory is busy."""
        has_overtaken = overtake_in(monkeypatch, "forgettable")
        with contextlib.suppress(errors.BusyError):
            Lines().output().gc(keep=3)
        assert has_overtaken
        assert Lines().output().verify(deep=True).is_whole
        Lines().run()
        assert generations_in(world.directory) == [1, 2]
        assert tree(world.directory) == LATEST


def test_of_two_runs_that_commit_the_same_generation_one_wins(tmp_path, monkeypatch, no_locks):
    directory = str(tmp_path / "layer" / "Task")
    with Transaction(directory, "f" * 32) as first:
        write_item(first, "a")
        first.commit(FACTS)
    base = read_manifest(directory)
    monkeypatch.setattr(transaction, "recover", lambda *_, **__: None)  # neither sees the other
    [entry] = base.entries()
    with (
        pytest.raises(errors.BusyError, match="another run has published"),
        Transaction(directory, "f" * 32, base=base) as slow,
        Transaction(directory, "f" * 32, base=base) as quick,
    ):
        write_item(slow, "a", b"slow")
        write_item(quick, "a", b"quick")
        quick.commit(FACTS, [entry])
        slow.commit(FACTS, [entry])
    assert tree(directory) == {"a.bin": "quick"}
    assert read_manifest(directory).record.run_id == quick.run_id
    assert not rollforward.has_pending(directory)


# -- a generation that is committed and not yet applied ---------------------------------------------------------------


@pytest.fixture
def pending(world):
    """A world in which a run was killed just after its commit."""
    child = os.fork()
    if child == 0:
        rollforward._Mover.take_away = rollforward._Mover.put = lambda *_: die()
        Lines().run()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == _DIED
    assert rollforward.has_pending(world.directory)
    return world


class TestPending:
    def test_it_is_not_complete_and_shows_what_was_there_before(self, pending):
        assert not Lines().complete()
        assert not Lines().output().exists()
        assert tree(pending.directory) == OLD

    def test_a_plan_says_so_and_writes_nothing(self, pending):
        before = state_of_everything(pending.working_dir)
        plan = Lines().plan()
        assert plan.is_pending
        assert not plan.is_complete
        assert not plan.is_at_rest
        assert "A run was ended while it published: the next one finishes that first." in str(plan)
        assert state_of_everything(pending.working_dir) == before

    def test_the_next_run_finishes_it_and_calls_nobody(self, pending):
        run_id = read_record(pending.directory, 2).run_id
        Lines().run()
        pending.check_finished(NEW)
        assert read_manifest(pending.directory).record.run_id == run_id

    def test_without_its_staging_the_files_are_made_anew(self, pending):
        """Somebody has removed what was staged: those outputs are missing, and nothing is wrong."""
        shutil.rmtree(staging_of(pending.directory))
        pending.check_nothing_wrong(OLD)
        Lines().run()
        pending.check_finished(NEW)
        pending.check_rests()

    @pytest.mark.parametrize("with_staging", [True, False])
    def test_gc_does_not_hinder_the_roll_forward(self, pending, with_staging):
        """What the pending generation removes is known from the one before, which is still needed."""
        if not with_staging:
            shutil.rmtree(staging_of(pending.directory))
        Lines().output().gc(keep=1)
        Lines().run()
        pending.check_finished(NEW)

    @pytest.mark.parametrize("act", ["rollback", "release", "repair"])
    def test_other_acts_finish_it_first(self, pending, act):
        getattr(Lines().output(), act)()
        expected = OLD if act == "rollback" else NEW
        pending.check_finished(expected)


class TestUnits:
    def test_what_is_the_same_is_not_put(self):
        output = an_output("a.bin")
        assert changes_of([(an_entry("a", outputs=(output,)), an_entry("a", outputs=(output,)))]).put == ()

    def test_an_output_that_moves_to_another_item_is_put_and_not_removed(self):
        """In whatever order the two come."""
        old, new = an_output("a/1.bin", "0"), an_output("a/1.bin", "1")
        pairs = [(an_entry("a", outputs=(old,)), None), (None, an_entry("a/1", outputs=(new,)))]
        for each in (pairs, pairs[::-1]):
            assert changes_of(each) == rollforward.Changes(put=("a/1.bin",), removed=())

    def test_rolling_forward_twice_is_rolling_forward_once(self, tmp_path):
        directory = str(tmp_path / "layer" / "Task")
        with Transaction(directory, "f" * 32) as first:
            write_item(first, "a")
            write_item(first, "b")
            first.commit(FACTS)
        base = read_manifest(directory)
        with Transaction(directory, "f" * 32, base=base, keep=9) as second:
            write_item(second, "a", b"new")
            record = second.commit(FACTS, list(base.entries()))
            before = state_of_everything(directory)
            os.unlink(os.path.join(directory, FOLDER, CURRENT))
            roll_forward(directory, second.run, record, rollforward.Changes(("a.bin",), ("b.bin",)))
        after = state_of_everything(directory)
        for path in (*before.keys() - after.keys(), *after.keys() - before.keys()):
            raise AssertionError(path)
        assert tree(directory) == {"a.bin": "new"}
        assert tree(os.path.join(directory, FOLDER, UNDO + "00000002")) == {"a.bin": "data", "b.bin": "data"}

    def test_whoever_recovers_fences_the_former_owner_first(self, tmp_path):
        directory = str(tmp_path / "layer" / "Task")
        with Transaction(directory, "f" * 32) as first:
            write_item(first, "a")
            first.commit(FACTS)
        base = read_manifest(directory)
        with (
            pytest.raises(errors.BusyError, match="another run has taken over"),
            Transaction(directory, "f" * 32, base=base) as sleeper,
        ):
            write_item(sleeper, "a", b"late")
            recover(directory, sleeper.staging, keep=3)
            assert not os.path.exists(sleeper.run)
            sleeper.commit(FACTS, list(base.entries()))
        assert tree(directory) == {"a.bin": "data"}
        assert [record.generation for record in generations.versions(directory)] == [1]


def an_output(path, digest="0"):
    return OutputFile(path, 1, 1, digest)
