"""The storage: whole files, digests, locks, and the one rename that publishes."""

import ctypes
import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import pytest
import xxhash

from luisy_dir.errors import BusyError, StorageError
from luisy_dir.storage import local, system

KIB, MIB = 1 << 10, 1 << 20
# Around the places where reading changes its stride: the first block, and each following one.
SIZES = sorted(
    {0, 1}
    | {size + more for size in (64 * KIB, MIB, 64 * KIB + MIB, 64 * KIB + 2 * MIB) for more in (-1, 0, 1)}
)  # fmt: skip


def content_of(size):
    """Bytes of which no two blocks are alike."""
    return (b"%08d" * (size // 8 + 1) % tuple(range(size // 8 + 1)))[:size]


def write(content):
    return lambda file: file.write(content)


@contextmanager
def files_no_larger_than(size_bytes):
    """Every write beyond that size fails with EFBIG: the nearest thing to a full disk that needs no disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def failing(number):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    return fail


# -- digests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_a_digest_is_the_xxh3_128_of_the_whole_content(tmp_path, size):
    path, content = tmp_path / "a", content_of(size)
    path.write_bytes(content)

    digest, state = local.digest_of(str(path))

    assert digest == xxhash.xxh3_128_hexdigest(content)
    assert state.st_size == size


def test_a_digest_comes_with_the_state_of_the_file_that_was_read(tmp_path):
    """Of the very file that was open, not of what has its name by now."""
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "link").symlink_to("a")

    _, state = local.digest_of(str(tmp_path / "link"))

    assert os.path.samestat(state, os.stat(tmp_path / "a"))


@pytest.mark.parametrize(
    ("place", "error"), [("missing", FileNotFoundError), ("folder", IsADirectoryError), ("loop", OSError)]
)
def test_what_cannot_be_read_has_no_digest(tmp_path, place, error):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")

    with pytest.raises(error):
        local.digest_of(str(tmp_path / place))


# -- whole files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("size", [0, 1, 64 * KIB, MIB + 1])
def test_a_new_file_is_written_with_its_digest_and_its_state(tmp_path, size, sync):
    path, content = tmp_path / "a", content_of(size)

    digest, state = local.write_new(str(tmp_path), "a", write(content), sync=sync)

    assert path.read_bytes() == content
    assert digest == xxhash.xxh3_128_hexdigest(content)
    assert (state.st_size, state.st_mtime_ns) == (size, path.stat().st_mtime_ns)


def test_missing_folders_are_made(tmp_path):
    local.write_new(str(tmp_path), "x/y/z/a", write(b"1"))

    assert (tmp_path / "x/y/z/a").read_bytes() == b"1"


@pytest.mark.parametrize("name", ["a", "x/y/a"])
def test_a_directory_that_is_gone_is_never_made_again(tmp_path, name):
    """Another run has taken it over by renaming it: its former owner must notice, not go on beside it."""
    with pytest.raises(FileNotFoundError):
        local.write_new(str(tmp_path / "gone"), name, write(b"1"))

    assert os.listdir(tmp_path) == []


def test_many_may_make_the_same_folders_at_once(tmp_path):
    """The workers of one run do, for the first files of a nested folder."""
    errors, barrier = [], threading.Barrier(8)

    def work(number):
        barrier.wait()
        try:
            for folder in range(20):
                local.write_new(str(tmp_path), f"{folder}/x/y/{number}", write(b"1"))
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert len(list(local.files_below(str(tmp_path)))) == 160


def test_a_writer_may_read_what_it_wrote(tmp_path):
    """Some formats go back to look."""

    def write_twice(file):
        file.write(b"123")
        file.seek(0)
        file.write(file.read()[::-1])

    digest, _ = local.write_new(str(tmp_path), "a", write_twice)

    assert digest == xxhash.xxh3_128_hexdigest(b"123321")


def test_a_writer_may_go_back_and_write_over_what_it_wrote(tmp_path):
    """Formats write their header when they know how much has followed it."""

    def write_header_last(file):
        file.write(b"????" + b"x" * MIB)
        file.seek(0)
        file.write(b"head")

    digest, _ = local.write_new(str(tmp_path), "a", write_header_last)

    assert digest == xxhash.xxh3_128_hexdigest(b"head" + b"x" * MIB)


@pytest.mark.parametrize("sync", [False, True])
def test_a_writer_may_close_the_file(tmp_path, sync):
    def write_and_close(file):
        file.write(b"123")
        file.close()

    digest, state = local.write_new(str(tmp_path), "a", write_and_close, sync=sync)

    assert (digest, state.st_size) == (xxhash.xxh3_128_hexdigest(b"123"), 3)


def test_a_writer_may_use_the_descriptor(tmp_path):
    """As ``ndarray.tofile`` does."""
    digest, _ = local.write_new(str(tmp_path), "a", lambda file: os.write(file.fileno(), b"123"))

    assert digest == xxhash.xxh3_128_hexdigest(b"123")


@pytest.mark.parametrize("kind", ["file", "empty folder", "dangling link", "fifo"])
def test_what_is_there_already_is_not_touched(tmp_path, kind):
    path = tmp_path / "a"
    {
        "file": lambda: path.write_bytes(b"old"),
        "empty folder": path.mkdir,
        "dangling link": lambda: path.symlink_to("elsewhere"),
        "fifo": lambda: os.mkfifo(path),
    }[kind]()
    before = os.lstat(path)

    with pytest.raises(FileExistsError):
        local.write_new(str(tmp_path), "a", write(b"new"))

    assert os.lstat(path) == before
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [ValueError("bad data"), KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
@pytest.mark.parametrize("is_closed", [False, True])
def test_after_an_error_nothing_is_left(tmp_path, error, is_closed):
    def write_and_fail(file):
        file.write(b"half")
        if is_closed:
            file.close()
        raise error

    with pytest.raises(type(error)):
        local.write_new(str(tmp_path), "a", write_and_fail)

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [5_000, 2 * MIB])
def test_when_the_disk_takes_no_more_nothing_is_left(tmp_path, size):
    """Small data fails when it is flushed, large data when it is written."""
    with files_no_larger_than(4096), pytest.raises(OSError, match="File too large"):
        local.write_new(str(tmp_path), "a", write(content_of(size)))

    assert os.listdir(tmp_path) == []


def test_when_the_disk_cannot_keep_what_was_written_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "fsync", failing(errno.EIO))

    with pytest.raises(OSError, match="Input/output error"):
        local.write_new(str(tmp_path), "a", write(b"1"), sync=True)

    assert os.listdir(tmp_path) == []


def test_a_file_where_a_folder_should_be_is_an_error(tmp_path):
    (tmp_path / "a").touch()

    with pytest.raises(NotADirectoryError):
        local.write_new(str(tmp_path), "a/b", write(b"1"))


def test_a_name_may_have_255_bytes(tmp_path):
    """Nothing may be added to it on the way, as ``.tmp`` would be."""
    name = "ä" * 127 + "a"

    local.write_new(str(tmp_path), name, write(b"1"))

    assert os.listdir(tmp_path) == [name]


def test_a_file_is_made_as_the_umask_of_the_user_says(tmp_path):
    before = os.umask(0o027)
    try:
        local.write_new(str(tmp_path), "a", write(b"1"))
    finally:
        os.umask(before)

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("sync", [False, True])
def test_a_small_file_of_our_own_is_read_as_it_was_written(tmp_path, sync):
    local.write_whole(str(tmp_path / "a"), b"123\n", sync=sync)

    assert local.read_whole(str(tmp_path / "a"), 4) == b"123\n"


def test_a_small_file_of_our_own_is_never_replaced(tmp_path):
    (tmp_path / "a").write_bytes(b"old")

    with pytest.raises(FileExistsError):
        local.write_whole(str(tmp_path / "a"), b"new", sync=False)

    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_file_that_has_grown_beyond_its_limit_is_not_read(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")

    with pytest.raises(ValueError, match="larger than 4 bytes"):
        local.read_whole(str(tmp_path / "a"), 4)


@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_data_is_written_in_as_many_calls_as_it_takes(tmp_path, monkeypatch, step):
    """The system may write less than it was asked to, and say so."""
    write_some = system.write
    monkeypatch.setattr(system, "write", lambda descriptor, data: write_some(descriptor, data[:step]))

    local.write_whole(str(tmp_path / "a"), b"0123456789", sync=False)

    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_a_disk_that_fills_up_half_way_through_a_write_is_an_error(tmp_path):
    """The first call writes what fits, without an error."""
    with files_no_larger_than(4096), pytest.raises(OSError, match="File too large"):
        local.write_whole(str(tmp_path / "a"), content_of(10_000), sync=False)


# -- bringing it to the disk ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_files_and_folders_can_be_brought_to_the_disk(tmp_path, monkeypatch, kind):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    synced = []
    monkeypatch.setattr(system, "fsync", lambda descriptor: synced.append(os.fstat(descriptor)))

    local.sync_path(str(tmp_path / kind))

    assert [os.path.samestat(state, os.stat(tmp_path / kind)) for state in synced] == [True]


@pytest.fixture
def descriptor(tmp_path):
    number = os.open(tmp_path, os.O_RDONLY)
    yield number
    os.close(number)


def test_a_file_system_can_be_brought_to_the_disk(descriptor):
    assert local.sync_file_system(descriptor)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EBADF])
def test_an_error_of_the_disk_is_never_answered_by_a_second_try(descriptor, monkeypatch, number):
    """The kernel reports it once, and says all is well the next time."""
    calls = []
    monkeypatch.setattr(system, "syncfs", lambda descriptor: [calls.append("syncfs"), failing(number)()])

    with pytest.raises(local.SyncFailed, match=os.strerror(number)):
        local.sync_file_system(descriptor)

    assert calls == ["syncfs"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.ENOTSUP])
def test_where_a_file_system_cannot_be_brought_to_the_disk_as_a_whole_that_is_said(descriptor, monkeypatch, number):
    monkeypatch.setattr(system, "syncfs", failing(number))
    assert not local.sync_file_system(descriptor)


# -- publishing -------------------------------------------------------------------------------------------------------

with_and_without_renameat2 = pytest.mark.parametrize(
    "refusal", [None, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP], ids=["native", "ENOSYS", "EINVAL", "ENOTSUP"]
)


@pytest.fixture
def staged(tmp_path):
    (tmp_path / "staged").mkdir()
    (tmp_path / "staged/a").write_bytes(b"new")
    return tmp_path / "staged"


@with_and_without_renameat2
def test_a_directory_is_published_by_one_rename(tmp_path, staged, monkeypatch, refusal):
    inode = staged.stat().st_ino
    if refusal:
        monkeypatch.setattr(system, "rename_noreplace", failing(refusal))

    local.publish_directory(str(staged), str(tmp_path / "public"))

    assert (tmp_path / "public").stat().st_ino == inode
    assert os.listdir(tmp_path) == ["public"]


@with_and_without_renameat2
@pytest.mark.parametrize("kind", ["empty directory", "directory", "file", "dangling link", "link to a directory"])
def test_whatever_lies_at_the_place_is_not_replaced(tmp_path, staged, monkeypatch, refusal, kind):
    """A plain rename replaces an empty directory without a word."""
    public = tmp_path / "public"
    {
        "empty directory": public.mkdir,
        "directory": lambda: local.write_new(str(tmp_path), "public/old", write(b"old")),
        "file": public.touch,
        "dangling link": lambda: public.symlink_to("nowhere"),
        "link to a directory": lambda: public.symlink_to("staged"),
    }[kind]()
    before = os.lstat(public)
    if refusal:
        monkeypatch.setattr(system, "rename_noreplace", failing(refusal))

    with pytest.raises(FileExistsError):
        local.publish_directory(str(staged), str(public))

    assert os.lstat(public).st_ino == before.st_ino
    assert (staged / "a").read_bytes() == b"new"


def test_a_file_system_that_says_not_empty_means_that_something_is_there(tmp_path, staged, monkeypatch):
    monkeypatch.setattr(system, "rename_noreplace", failing(errno.ENOTEMPTY))

    with pytest.raises(FileExistsError):
        local.publish_directory(str(staged), str(tmp_path / "public"))


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EACCES, errno.EIO, errno.ENOSPC])
def test_any_other_error_of_the_rename_is_raised(tmp_path, staged, monkeypatch, number):
    monkeypatch.setattr(system, "rename_noreplace", failing(number))

    with pytest.raises(OSError, match=os.strerror(number)):
        local.publish_directory(str(staged), str(tmp_path / "public"))

    assert os.listdir(tmp_path) == ["staged"]


@with_and_without_renameat2
def test_what_is_not_there_cannot_be_published(tmp_path, monkeypatch, refusal):
    if refusal:
        monkeypatch.setattr(system, "rename_noreplace", failing(refusal))

    with pytest.raises(FileNotFoundError):
        local.publish_directory(str(tmp_path / "missing"), str(tmp_path / "public"))


def test_of_many_that_publish_at_once_one_wins(tmp_path):
    wins, barrier = [], threading.Barrier(8)

    def publish(number):
        staged = str(tmp_path / f"staged-{number}")
        local.write_new(str(tmp_path), f"staged-{number}/a", write(b"%d" % number))
        barrier.wait()
        try:
            local.publish_directory(staged, str(tmp_path / "public"))
            wins.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(wins) == 1
    assert (tmp_path / "public/a").read_bytes() == b"%d" % wins[0]


# -- looking and removing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "is_there"),
    [("file", True), ("folder", True), ("dangling", True), ("loop", True), ("missing", False), ("file/x", False)],
)
def test_anything_that_lies_at_a_path_exists(tmp_path, place, is_there):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")

    assert local.exists(str(tmp_path / place)) is is_there


def test_names_come_sorted_with_the_hidden_ones(tmp_path):
    for name in ("b", ".a", "C"):
        (tmp_path / name).touch()

    assert local.names_in(str(tmp_path)) == [".a", "C", "b"]


@pytest.mark.parametrize("place", ["missing", "file"])
def test_there_are_no_names_in_what_is_no_directory(tmp_path, place):
    (tmp_path / "file").touch()

    assert local.names_in(str(tmp_path / place)) == []


@pytest.fixture
def tree(tmp_path):
    """A directory with everything in it that a directory can hold."""
    top = tmp_path / "tree"
    for path in ("a", ".hidden", "x/b", "x/y/c", "x/.z/\udcff"):
        local.write_new(str(tmp_path), f"tree/{path}", write(b"1"))
    (top / "empty").mkdir()
    (top / "dangling").symlink_to("nowhere")
    (top / "loop").symlink_to("loop")
    (top / "outside").symlink_to("../precious")
    os.mkfifo(top / "fifo")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/data").write_bytes(b"1")
    return top


def test_every_file_below_a_directory_is_found_with_the_hidden_ones(tree):
    """A link to a folder is one name, and nobody follows it."""
    assert sorted(local.files_below(str(tree))) == sorted(
        ["a", ".hidden", "x/b", "x/y/c", "x/.z/\udcff", "dangling", "loop", "outside", "fifo"]
    )


def test_a_tree_is_removed_and_what_it_links_to_is_not(tree):
    local.remove_tree(str(tree))

    assert os.listdir(tree.parent) == ["precious"]
    assert os.listdir(tree.parent / "precious") == ["data"]


def test_a_tree_that_is_gone_is_no_error(tmp_path):
    local.remove_tree(str(tmp_path / "missing"))


def test_a_link_to_a_directory_is_no_tree_of_ours(tree):
    """Somebody may have put his data on another disk and a link in its place."""
    with suppress(OSError):
        local.remove_tree(str(tree / "outside"))

    assert os.listdir(tree.parent / "precious") == ["data"]


def test_two_may_remove_one_tree(tmp_path):
    """Two runs may find the same litter."""
    for number in range(200):
        local.write_new(str(tmp_path), f"tree/{number % 10}/{number}", write(b""))
    errors, barrier = [], threading.Barrier(4)

    def remove():
        barrier.wait()
        try:
            local.remove_tree(str(tmp_path / "tree"))
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=remove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert os.listdir(tmp_path) == []


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """A tree of which the path is nearly as long as a path may be, with one file at its end."""
    monkeypatch.chdir(tmp_path)
    depth = 1500
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    open("file", "w").close()
    os.chdir(tmp_path)
    yield tmp_path / "d", depth
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_a_tree_may_be_as_deep_as_paths_are_long(deep):
    """Whatever a scan of a raw folder accepts, the outputs' folders are as deep."""
    top, depth = deep

    assert list(local.files_below(str(top))) == ["d/" * (depth - 1) + "file"]


def test_a_tree_as_deep_as_paths_are_long_is_removed(deep):
    top, _ = deep

    local.remove_tree(str(top))

    assert not top.exists()


def test_an_empty_directory_is_removed(tmp_path):
    (tmp_path / "a").mkdir()

    local.remove_empty(str(tmp_path / "a"))

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", ["filled", "missing"])
def test_a_directory_that_is_not_empty_or_not_there_is_left(tmp_path, place):
    (tmp_path / "filled").mkdir()
    (tmp_path / "filled/a").touch()

    local.remove_empty(str(tmp_path / place))

    assert os.listdir(tmp_path) == ["filled"]


# -- the lock ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def lock_of(tmp_path):
    """Make locks of one directory that are released at the end."""
    made = []

    def make():
        made.append(local.Lock(str(tmp_path / "lock")))
        return made[-1]

    yield make
    for lock in made:
        lock.release()


def test_a_lock_that_is_held_is_refused_at_once(lock_of, tmp_path):
    lock_of().acquire()

    with pytest.raises(BusyError, match=rf"fuser {tmp_path}/lock"):
        lock_of().acquire()


def test_a_refused_lock_leaves_no_descriptor_open(lock_of):
    lock_of().acquire()
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(5):
        with pytest.raises(BusyError):
            lock_of().acquire()

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_lock_that_was_released_can_be_taken_again(lock_of):
    first, second = lock_of(), lock_of()
    first.acquire()
    first.release()

    second.acquire()

    with pytest.raises(BusyError):
        first.acquire()


def test_a_released_lock_leaves_no_file(lock_of, tmp_path):
    lock = lock_of()
    lock.acquire()

    lock.release()

    assert os.listdir(tmp_path) == []


def test_releasing_twice_is_harmless(lock_of):
    """Above all, it must not remove the file of the next holder."""
    first, second = lock_of(), lock_of()
    first.acquire()
    first.release()
    second.acquire()

    first.release()

    with pytest.raises(BusyError):
        first.acquire()


def test_a_lock_on_a_file_that_was_removed_meanwhile_is_taken_again(lock_of, tmp_path, monkeypatch):
    """Its holder has removed it between our opening it and our locking it."""
    lock, take = lock_of(), system.lock
    removed = []

    def remove_then_take(descriptor):
        if not removed:
            removed.append(os.unlink(tmp_path / "lock"))
        take(descriptor)

    monkeypatch.setattr(system, "lock", remove_then_take)

    lock.acquire()

    with pytest.raises(BusyError):
        lock_of().acquire()


def test_a_lock_in_a_directory_that_is_gone_is_for_the_caller_to_make_again(tmp_path):
    with pytest.raises(FileNotFoundError):
        local.Lock(str(tmp_path / "gone/lock")).acquire()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_where_there_are_no_locks_nobody_is_kept_waiting(lock_of, monkeypatch, number):
    """Correctness does not rest on them; whoever takes one looks for another way to keep runs apart."""
    monkeypatch.setattr(system, "lock", failing(number))
    lock = lock_of()
    lock.acquire()
    assert not lock.is_held()
    lock.release()


def test_a_lock_that_cannot_be_taken_for_another_reason_is_an_error_that_says_so(lock_of, monkeypatch):
    monkeypatch.setattr(system, "lock", failing(errno.EIO))

    with pytest.raises(StorageError, match="cannot be taken") as caught:
        lock_of().acquire()

    assert caught.value.errno == errno.EIO


def test_a_lock_ends_with_its_process(lock_of, tmp_path):
    """SIGKILL leaves the file, but not the lock."""
    code = (
        "import sys, time; from luisy_dir.storage.local import Lock\n"
        "lock = Lock(sys.argv[1]); lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "lock"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BusyError):
            lock_of().acquire()
        process.send_signal(signal.SIGKILL)

    lock_of().acquire()

    assert os.listdir(tmp_path) == ["lock"]


def test_two_never_hold_one_lock(tmp_path):
    """Although the file comes and goes all the time."""
    holders, seen_together, taken = [], [], []

    def compete():
        for _ in range(300):
            lock = local.Lock(str(tmp_path / "lock"))
            try:
                lock.acquire()
            except BusyError:
                continue
            holders.append(lock)
            seen_together.append(len(holders))
            taken.append(1)
            holders.remove(lock)
            lock.release()

    threads = [threading.Thread(target=compete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(seen_together) == {1}
    assert taken


# -- the door to the system -------------------------------------------------------------------------------------------


def test_no_child_process_inherits_what_is_open(tmp_path):
    """A child that lives on would keep a lock that its dead parent held."""
    descriptor = system.open(str(tmp_path / "a"), os.O_CREAT | os.O_RDWR)
    try:
        assert not os.get_inheritable(descriptor)
    finally:
        system.close(descriptor)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_rename_without_replacing_renames(tmp_path, kind):
    source = tmp_path / "source"
    source.touch() if kind == "file" else source.mkdir()

    system.rename_noreplace(str(source), str(tmp_path / "target \udcff\n"))

    assert os.listdir(tmp_path) == ["target \udcff\n"]


def test_a_failed_rename_names_both_paths(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        system.rename_noreplace(str(tmp_path / "a"), str(tmp_path / "b"))

    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "a"), str(tmp_path / "b"))


@pytest.mark.parametrize("call", ["renameat2", "syncfs"])
def test_a_system_without_a_call_says_so(tmp_path, descriptor, monkeypatch, call):
    """On another system than Linux, that is."""
    monkeypatch.setattr(system, "_libc", object())
    calls = {
        "renameat2": lambda: system.rename_noreplace(str(tmp_path / "a"), str(tmp_path / "b")),
        "syncfs": lambda: system.syncfs(descriptor),
    }

    with pytest.raises(OSError, match=os.strerror(errno.ENOSYS)) as caught:
        calls[call]()

    assert caught.value.errno == errno.ENOSYS


def test_an_error_of_syncfs_is_raised(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    os.close(descriptor)

    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        system.syncfs(descriptor)


@pytest.mark.parametrize(("look", "is_link"), [(system.stat, False), (system.lstat, True)])
def test_a_link_is_followed_or_looked_at(tmp_path, look, is_link):
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to("a")

    assert (look(str(tmp_path / "link")).st_ino == os.lstat(tmp_path / "link").st_ino) is is_link


def test_reading_at_a_place_does_not_move_the_position(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    descriptor = system.open(str(tmp_path / "a"), os.O_RDONLY)
    try:
        assert [system.read_at(descriptor, 3, 5), system.read(descriptor, 2)] == [b"567", b"01"]
    finally:
        system.close(descriptor)


def test_a_plain_rename_replaces_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "b").write_bytes(b"old")

    system.rename(str(tmp_path / "a"), str(tmp_path / "b"))

    assert (tmp_path / "b").read_bytes() == b"new"


def test_a_second_name_never_replaces_a_file(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()

    with pytest.raises(FileExistsError):
        system.link(str(tmp_path / "a"), str(tmp_path / "b"))


def test_folders_that_are_there_already_are_no_error(tmp_path):
    system.makedirs(str(tmp_path / "a/b"))

    system.makedirs(str(tmp_path / "a/b"))

    assert (tmp_path / "a/b").is_dir()


def test_the_name_of_this_boot_is_the_same_every_time():
    assert system.boot_id() == system.boot_id() != "unknown"


def test_a_system_that_does_not_name_its_boot_is_unknown(monkeypatch):
    monkeypatch.setattr(os, "open", failing(errno.ENOENT))

    assert system.boot_id() == "unknown"


def test_errors_of_the_c_library_are_told_apart():
    """``ctypes`` must keep errno for us, or every failure would be called success."""
    assert system._libc.renameat2(-1, b"a", -1, b"b", 1) == -1
    assert ctypes.get_errno() == errno.EBADF
