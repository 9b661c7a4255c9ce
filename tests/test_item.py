"""Items and keys: what a folder holds, how it is named, and that hostile names change nothing."""

import os
import pickle
import tempfile
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import an_entry
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from luisy_dir.entry import decode_entry, encode_entry
from luisy_dir.errors import InputError, MissingInputError
from luisy_dir.item import (
    Item,
    Source,
    check_key,
    key_of,
    list_files,
    scan,
)

NOBODY = 65534
# Names as bytes, as the file system knows them: anything but NUL and the slash.
NAMES = st.binary(min_size=1, max_size=40).filter(
    lambda name: b"\0" not in name and b"/" not in name and not name.startswith(b".")
)
# Text that a key may consist of: valid Unicode, with newlines, ESC, right-to-left marks and the like.
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=30)


def keys_in(folder, pattern=None):
    return [item.key for item in scan(str(folder), pattern)]


@contextmanager
def as_nobody(folder):
    """Work in ``folder`` as a user whom file modes apply to: root takes off its rights, others have none anyway."""
    before = os.getcwd()
    os.chdir(folder)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.chmod(folder, 0o755)
            os.seteuid(NOBODY)
        yield
    finally:
        if is_root:
            os.seteuid(0)
        os.chdir(before)


@contextmanager
def closed(folder):
    """Take away the rights to look into ``folder``: from us, or where we are root, from everybody else."""
    os.chmod(folder, 0o700 if os.geteuid() == 0 else 0)
    try:
        yield
    finally:
        os.chmod(folder, 0o700)


# -- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a.png", "a"),
        ("cats/img.1.png", "cats/img.1"),
        ("a.tar.gz", "a.tar"),
        ("README", "README"),
        ("v1.2/README", "v1.2/README"),
        ("a.", "a"),
        ("größe.png", "größe"),
        ("\udcff.png", "%FF"),
        ("a\u202eb\x1b[31m\n.png", "a\u202eb\x1b[31m\n"),
    ],
)
def test_a_key_is_the_path_without_its_last_suffix(path, key):
    assert key_of(path) == key


@given(NAMES)
@example(b"%FF.png")
@example(b"\xff.png")
@example(b"\xed\xa0\x80")  # a surrogate in UTF-8, which is no valid UTF-8
@example("größe".encode())
def test_a_key_can_always_be_written_as_utf_8(name):
    """Manifests are UTF-8; file names are bytes."""
    key = key_of(os.fsdecode(name))

    assert key.encode().decode() == key


@pytest.mark.parametrize("key", ["a", "a/b", "a b", "a\nb", "\x1b[31m", "\u202e", "%FF", "~", "-", "a.", "x" * 255])
def test_a_file_may_be_written_under_any_relative_path(key):
    assert check_key(key) == key


@pytest.mark.parametrize("key", ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/.hidden", ".b", "a\0b"])
def test_a_key_must_not_lead_out_of_its_directory_or_hide(key):
    with pytest.raises(InputError, match="Choose another key"):
        check_key(key)


@pytest.mark.parametrize("key", ["x" * 256, "a/" + "ä" * 128, "x" * 256 + "/a"])
def test_a_key_with_a_part_of_more_than_255_bytes_is_refused(key):
    with pytest.raises(InputError, match="255 bytes"):
        check_key(key)


@pytest.mark.parametrize("key", ["\udcff", "a/\ud800", "\udc80/a"])
def test_a_key_that_utf_8_cannot_carry_is_refused(key):
    """A path in a manifest is UTF-8: a step that names an output after undecodable bytes must learn it at once."""
    with pytest.raises(InputError):
        check_key(key)


@given(st.lists(st.text(max_size=6), max_size=4).map("/".join))
def test_a_key_that_is_accepted_stays_below_its_directory(key):
    try:
        check_key(key)
    except InputError:
        assume(False)

    assert os.path.normpath(os.path.join("/base", key)) == "/base/" + key


# -- items ------------------------------------------------------------------------------------------------------------


def test_an_item_knows_where_its_file_lies():
    item = Item("cats/1", (Source("raw", "cats/1.png", 1, 1),), {"raw": "/data/raw"})

    assert item.path == "/data/raw/cats/1.png"


def test_an_item_of_several_sources_knows_where_each_lies():
    image, mask = Source("A", "1.png", 1, 1), Source("B", "1.npy", 1, 1)
    item = Item("1", (image, mask), {"A": "/a", "B": "/b"})

    assert [item.path_of(source) for source in (image, mask)] == ["/a/1.png", "/b/1.npy"]


def test_random_numbers_depend_on_seed_and_key_only():
    """Not on the item's sources, on what was drawn before for other items, or on the process."""
    Item("a", (), {}, seed=1).rng.random(100)

    numbers = Item("b", (Source("raw", "b", 1, 1),), {"raw": "/x"}, seed=1).rng.random(3)

    assert numbers.tolist() == Item("b", (), {}, seed=1).rng.random(3).tolist()


def test_random_numbers_are_the_same_in_every_process_and_every_release():
    """Were this number another one some day, every seeded result would be, too."""
    assert Item("cats/größe", (), {}, seed=7).rng.bit_generator.random_raw() == 13_673_451_676_911_926_504


@pytest.mark.parametrize("other", [Item("a", (), {}, seed=2), Item("b", (), {}, seed=1)])
def test_random_numbers_differ_between_seeds_and_between_keys(other):
    mine = Item("a", (), {}, seed=1)

    assert mine.rng.random(3).tolist() != other.rng.random(3).tolist()


def test_an_item_tells_whether_random_numbers_were_drawn_and_from_which_seed():
    """The seed stands in the manifest, so that one item can be made again by hand."""
    used, unused = Item("a", (), {}), Item("a", (), {})

    number = used.rng.random()

    assert np.random.Generator(np.random.PCG64(used.used_seed)).random() == number
    assert unused.used_seed is None


def test_a_seed_survives_readers_that_know_no_integers(tmp_path):
    """Pandas, jq and JavaScript read the numbers of a manifest as floats of 64 bits."""
    items = [Item(f"{number}", (), {}) for number in range(100)]
    for item in items:
        item.rng.random()

    assert all(int(float(item.used_seed)) == item.used_seed for item in items)


def test_random_numbers_are_drawn_from_one_generator():
    """Two draws in one step are two numbers, not twice the same."""
    item = Item("a", (), {})

    assert item.rng.random() != item.rng.random()


def test_the_random_numbers_are_those_of_a_numpy_generator():
    assert isinstance(Item("a", (), {}).rng, np.random.Generator)


def test_what_was_noted_of_an_item_is_kept():
    item = Item("a", (), {})
    item.meta["brightness"] = 0.5

    assert item.meta == {"brightness": 0.5}


def test_two_items_do_not_share_what_was_noted():
    one, other = Item("a", (), {}), Item("b", (), {})
    one.meta["brightness"] = 0.5

    assert other.meta == {}


def test_an_item_is_the_same_after_pickling():
    item = Item("a", (Source("raw", "a.png", 1, 2, "00", encoded=True),), {"raw": "/data"}, seed=3)

    again = pickle.loads(pickle.dumps(item))

    assert (again.key, again.sources, again.folders, again.seed) == (item.key, item.sources, item.folders, item.seed)


def test_a_log_line_names_the_item(caplog):
    Item("cats/1", (), {}).logger.warning("is %s", "dark")

    assert caplog.messages == ["cats/1: is dark"]


# -- scan -------------------------------------------------------------------------------------------------------------


def test_a_scan_finds_nested_files_in_key_order(tmp_path, write_files):
    write_files(tmp_path, {"b.png": b"", "a/2.png": b"", "a/1/x.png": b"", "a.png": b"", "Z.png": b""})

    assert keys_in(tmp_path) == sorted(["b", "a/2", "a/1/x", "a", "Z"])


def test_the_order_is_that_of_the_keys_and_not_that_of_the_paths(tmp_path, write_files):
    """``a-1.png`` comes before ``a.png``, but ``a`` before ``a-1``: two directories are joined by key."""
    write_files(tmp_path, {"a.png": b"", "a-1.png": b"", "a/b.png": b"", "a .png": b""})

    assert keys_in(tmp_path) == ["a", "a ", "a-1", "a/b"]


def test_items_of_one_key_are_in_the_order_of_their_paths(tmp_path, write_files):
    write_files(tmp_path, {"a.txt": b"", "a.png": b"", "a": b""})

    assert [item.sources[0].path for item in scan(str(tmp_path))] == ["a", "a.png", "a.txt"]


def test_a_scan_notes_size_and_time_of_change(tmp_path, write_files):
    write_files(tmp_path, {"a.png": b"12345"})
    state = os.stat(tmp_path / "a.png")

    [item] = scan(str(tmp_path), root="raw", seed=9)

    assert item.sources == (Source("raw", "a.png", 5, state.st_mtime_ns),)
    assert item.seed == 9


def test_hidden_files_and_the_litter_of_desktops_are_no_items(tmp_path, write_files):
    write_files(
        tmp_path,
        {".a.png": b"", ".git/b.png": b"", "Thumbs.db": b"", "x/desktop.ini": b"", ".manifest/CURRENT": b"", "c": b""},
    )

    assert keys_in(tmp_path) == ["c"]


@pytest.mark.parametrize(("pattern", "keys"), [("^a", ["a/x"]), (r"\.png$", ["a/x"]), ("x", ["a/x", "x"]), ("q", [])])
def test_a_pattern_is_searched_in_the_relative_path(tmp_path, write_files, pattern, keys):
    """The folder above must not count, or moving a project would change what is in it."""
    folder = tmp_path / "quartz"
    write_files(folder, {"a/x.png": b"", "x.txt": b""})

    assert keys_in(folder, pattern) == keys


def test_an_empty_folder_has_no_items(tmp_path):
    assert keys_in(tmp_path) == []


@pytest.mark.parametrize("place", ["missing", "missing/too", "file", "dangling", "fifo"])
def test_a_folder_that_is_none_is_missing(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(MissingInputError, match="is the disk mounted"):
        scan(str(tmp_path / place))


def test_a_folder_that_leads_in_a_circle_is_an_error(tmp_path):
    (tmp_path / "loop").symlink_to("loop")

    with pytest.raises(InputError, match="loop"):
        scan(str(tmp_path / "loop"))


def test_a_folder_that_may_not_be_listed_is_an_error_and_never_empty(tmp_path, write_files):
    """Items that are silently missing would be deleted from the result."""
    write_files(tmp_path, {"raw/a.png": b"", "raw/secret/b.png": b""})

    with (
        closed(tmp_path / "raw/secret"),
        as_nobody(tmp_path),
        pytest.raises(InputError, match=r"raw/secret.*cannot be listed"),
    ):
        scan("raw")


@pytest.mark.parametrize("below", ["b.png", "deeper/b.png"])
def test_a_folder_that_may_be_listed_but_not_entered_is_an_error_and_never_empty(tmp_path, write_files, below):
    """The names in it can be read, but nothing else."""
    write_files(tmp_path, {"raw/a.png": b"", f"raw/secret/{below}": b""})
    (tmp_path / "raw/secret").chmod(0o444)
    try:
        with as_nobody(tmp_path), pytest.raises(InputError, match="raw/secret"):
            scan("raw")
    finally:
        (tmp_path / "raw/secret").chmod(0o755)


@pytest.mark.parametrize(("length", "what"), [(4095, "cannot be listed"), (4096, "cannot be looked at")])
def test_a_folder_below_a_path_that_is_too_long_is_an_error_and_never_empty(tmp_path, monkeypatch, length, what):
    """4,095 bytes are the longest path that a call takes, but folders may be nested deeper."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    os.chdir("raw")
    left = length - len(str(tmp_path / "raw"))
    while left:  # each folder takes a slash and up to 250 letters; one name must not be left without a letter
        letters = min(250, left - 1) if left != 252 else 249
        os.mkdir("x" * letters)
        os.chdir("x" * letters)
        left -= 1 + letters

    with pytest.raises(InputError, match=what):
        scan(str(tmp_path / "raw"))


def test_symlinked_files_and_a_symlinked_root_are_followed(tmp_path, write_files):
    write_files(tmp_path, {"elsewhere/a.png": b"12345", "folder/own.png": b""})
    (tmp_path / "folder/linked.png").symlink_to(tmp_path / "elsewhere/a.png")
    (tmp_path / "root").symlink_to("folder")

    items = scan(str(tmp_path / "root"))

    assert [(item.key, item.sources[0].size) for item in items] == [("linked", 5), ("own", 0)]


def test_symlinked_folders_are_not_followed(tmp_path, write_files):
    """One that leads to its own parent would never end."""
    write_files(tmp_path, {"raw/a/1.png": b"", "elsewhere/2.png": b""})
    (tmp_path / "raw/a/self").symlink_to("..")
    (tmp_path / "raw/other").symlink_to(tmp_path / "elsewhere")

    assert keys_in(tmp_path / "raw") == ["a/1"]


@pytest.mark.parametrize("target", ["nowhere", "b.png", "a.png/x"])
def test_a_link_that_leads_nowhere_is_an_item(tmp_path, target):
    """It will fail with a reason; were it ignored, its result would silently vanish."""
    (tmp_path / "b.png").symlink_to(target)

    [item] = scan(str(tmp_path))

    assert (item.key, item.sources[0].size) == ("b", -1)


def test_what_is_neither_file_nor_folder_is_ignored_with_a_warning(tmp_path, caplog):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "a.png").touch()

    keys = keys_in(tmp_path)

    assert keys == ["a"]
    assert "neither files nor folders" in caplog.text


def test_a_name_may_have_255_bytes(tmp_path):
    (tmp_path / ("x" * 251 + ".png")).touch()

    assert keys_in(tmp_path) == ["x" * 251]


@settings(max_examples=40)
@given(st.lists(NAMES, min_size=1, max_size=6, unique=True))
@example([b"\xff.png", b"%FF.txt", "ü\n\x1b[2J\u202e".encode(), b" ", b"-rf"])
def test_files_of_any_name_are_found_and_can_be_opened_again(names):
    """Through a scan, the way to a worker and a line of a manifest."""
    with tempfile.TemporaryDirectory() as folder:
        contents = {}
        for number, name in enumerate(names):
            with open(os.path.join(os.fsencode(folder), name), "wb") as file:
                file.write(b"%d" % number)
            contents[name] = number

        found = {}
        for item in scan(folder, root="raw"):
            line = encode_entry(an_entry(item.key, sources=item.sources))
            again = Item(item.key, decode_entry(line).sources, {"raw": folder})
            with open(again.path, "rb") as file:
                found[os.fsencode(os.path.basename(again.path))] = int(file.read())

    assert found == {name: number for name, number in contents.items() if name.lower() != b"thumbs.db"}


@settings(max_examples=40)
@given(st.lists(st.lists(NAMES, min_size=1, max_size=3).map(b"/".join), max_size=8, unique=True))
def test_a_list_of_files_is_what_a_scan_would_find(paths):
    """The quick look of ``complete()`` and the scan of a run must never disagree."""
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            whole = os.path.join(os.fsencode(folder), path)
            try:
                os.makedirs(os.path.dirname(whole), exist_ok=True)
                with open(whole, "wb"):
                    pass
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                continue
        scanned = [(s.path, s.size, s.mtime_ns) for item in scan(folder) for s in item.sources]

        listed = list(list_files(folder))

    assert sorted(listed) == sorted(scanned)


def test_a_list_of_files_takes_a_pattern(tmp_path, write_files):
    write_files(tmp_path, {"a.png": b"", "b.txt": b""})

    assert [path for path, _, _ in list_files(str(tmp_path), r"\.txt$")] == ["b.txt"]
