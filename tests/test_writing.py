"""A dataset that is written item by item is published as a whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from conftest import files_below, states_below
from faults import DEATHS, ERRORS, POWER_CUT, Calls, dies, in_a_child, sandbox
from test_cli import call, json_of

import luisy_dir as luisy
from luisy_dir import transaction
from luisy_dir.errors import (
    BusyError,
    DefinitionError,
    ForeignDirectoryError,
    GenerationError,
    InputError,
    KeyCollisionError,
    LuisyDirError,
    MissingInputError,
    SettingError,
    StorageError,
)
from luisy_dir.generations import rollback
from luisy_dir.manifest import read_manifest
from luisy_dir.record import generations_in, has_pending
from luisy_dir.staging import staging_of
from luisy_dir.storage import system
from luisy_dir.storage.probe import Capabilities
from luisy_dir.verification import verify

OLD = {"a": 1, "deep/er/b": 2, "gone": 3, "same": 4}
NEW = {"a": 10, "deep/c": 5, "same": 4}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "sets" / "numbers")


def write(path, numbers, **options):
    with luisy.write_dataset(path, **options) as writer:
        for key, number in numbers.items():
            writer.add(key, np.full(number, number), meta={"number": number})
    return writer


def numbers_in(path):
    """What lies there, as NumPy reads it, without our help."""
    found = {}
    for name in files_below(path):
        array = np.load(os.path.join(path, name), allow_pickle=False)
        assert (array == len(array)).all()
        found[name.removesuffix(".npy")] = len(array)
    return found


def entries_of(path):
    return list(read_manifest(path).entries())


def beside(path):
    return os.listdir(os.path.dirname(path))


# -- what is published ------------------------------------------------------------------------------------------------


def test_what_was_added_lies_there_as_plain_files(path):
    write(path, OLD)

    assert numbers_in(path) == OLD
    assert verify(path, deep=True).is_whole
    assert beside(path) == ["numbers"]


def test_the_manifest_has_keys_in_order_with_meta_shape_and_dtype(path):
    with luisy.write_dataset(path) as writer:
        writer.add("b", np.zeros((2, 3), ">f4"), meta={"mean": np.float32(0.5)})
        writer.add("a", [1, 2])

    one, other = entries_of(path)
    assert (one.key, one.outputs[0].shape, one.meta) == ("a", (2,), {})
    assert (other.key, other.outputs[0].shape, other.outputs[0].dtype, other.meta) == (
        "b",
        (2, 3),
        ">f4",
        {"mean": 0.5},
    )


def test_an_array_lies_at_its_offset(path):
    array = np.arange(12.0).reshape(3, 4)[:, ::2]
    with luisy.write_dataset(path) as writer:
        writer.add("a", array)

    (output,) = entries_of(path)[0].outputs
    with open(os.path.join(path, output.path), "rb") as file:
        content = file.read()
    assert (np.ndarray(output.shape, output.dtype, content, output.offset) == array).all()


def test_the_fields_of_records_are_told(path):
    array = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])
    with luisy.write_dataset(path) as writer:
        writer.add("a", array)

    assert entries_of(path)[0].outputs[0].dtype == '[["a", "<i4"], ["b", "<f8"]]'
    assert luisy.open_dataset(path)["a"].dtype == array.dtype


def test_the_order_in_which_items_were_added_can_be_restored(path):
    write(path, {"c": 1, "a": 2, "b": 3})

    assert [entry.key for entry in sorted(entries_of(path), key=lambda entry: entry.number)] == ["c", "a", "b"]


def test_any_format_with_a_suffix_can_be_written(path):
    with luisy.write_dataset(path, suffix=".json") as writer:
        writer.add("a", {"x": 1})

    with open(os.path.join(path, "a.json")) as file:
        assert json.load(file) == {"x": 1}


def test_the_file_that_an_item_was_made_from_is_recorded(path, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.wav").write_text("sound")
    with luisy.write_dataset(path, source_root=tmp_path / "raw") as writer:
        writer.add("a", [1], source=tmp_path / "raw" / "a.wav")

    why = luisy.why(os.path.join(path, "a.npy"))
    assert [(source.path, source.state) for source in why.sources] == [(str(tmp_path / "raw" / "a.wav"), "unchanged")]


def test_memory_holds_no_data_of_items_that_were_added(path):
    with luisy.write_dataset(path) as writer:
        tracemalloc.start()
        for number in range(50):
            writer.add(str(number), np.full(1 << 17, number))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert most < 8 << 20


def test_several_threads_may_add(path):
    with luisy.write_dataset(path) as writer:
        threads = [threading.Thread(target=writer.add, args=(str(number), np.zeros(9))) for number in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(entry.number for entry in entries_of(path)) == list(range(40))


@pytest.mark.parametrize("spelled", ["{}/", "{}//", "{}/.", "{}/../numbers"])
def test_a_path_may_be_spelled_in_any_way(path, spelled):
    write(spelled.format(path), OLD)

    assert numbers_in(path) == OLD


def test_a_relative_path_counts_from_where_the_writer_was_made(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with luisy.write_dataset(Path("sets/numbers/")) as writer:
        os.chdir("/")
        writer.add("a", np.zeros(0))

    assert numbers_in(path) == {"a": 0}


# -- nothing by halves ------------------------------------------------------------------------------------------------


def test_nothing_is_visible_before_the_block_has_ended(path):
    with luisy.write_dataset(path) as writer:
        writer.add("a", np.zeros(1))
        assert not os.path.exists(path)


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("no"), OSError("no"), SystemExit(1), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [{}, OLD])
def test_an_error_in_the_block_is_raised_as_it_is_and_leaves_what_was_there(path, before, error):
    if before:
        write(path, before)
    state = states_below(path)

    with pytest.raises(type(error)) as raised, luisy.write_dataset(path) as writer:
        writer.add("a", np.zeros(1))
        raise error

    assert raised.value is error
    assert states_below(path) == state
    assert beside(path) == (["numbers"] if before else [])


@pytest.mark.parametrize("before", [{}, OLD])
def test_a_process_that_is_killed_in_the_block_leaves_what_was_there(path, before):
    """What it leaves beside goes with the next writer."""
    if before:
        write(path, before)
    state = states_below(path)
    program = (
        "import luisy_dir, sys, time\n"
        "with luisy_dir.write_dataset(sys.argv[1]) as writer:\n"
        "    for number in range(1_000_000):\n"
        "        writer.add(str(number), [number])\n"
        "        if number == 20: print('writes', flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"writes\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()

    assert states_below(path) == state
    write(path, NEW)
    assert numbers_in(path) == NEW
    assert beside(path) == ["numbers"]


def test_a_fork_that_leaves_the_block_leaves_the_dataset_alone(path):
    with luisy.write_dataset(path) as writer:
        writer.add("a", np.zeros(0))

        def leave():
            writer.__exit__(SystemExit, SystemExit(0), None)

        assert in_a_child(leave) == 0
        assert in_a_child(lambda: writer.add("b", np.zeros(0))) == 1
        writer.add("c", np.zeros(0))

    assert numbers_in(path) == {"a": 0, "c": 0}


def test_an_item_that_is_refused_leaves_nothing(path):
    with luisy.write_dataset(path) as writer:
        writer.add("a", np.zeros(0))
        with pytest.raises(InputError, match="'b'"):
            writer.add("b", np.array([object()]))
        writer.add("b", np.ones(1))

    assert numbers_in(path) == {"a": 0, "b": 1}


def test_a_dataset_of_nothing_is_published_only_where_that_is_meant(path):
    write(path, OLD)

    with pytest.raises(MissingInputError, match="Nothing was added"):
        write(path, {})
    assert numbers_in(path) == OLD
    write(path, {}, on_empty="allow")
    assert numbers_in(path) == {}


# -- the next generation ----------------------------------------------------------------------------------------------


def test_the_next_generation_has_what_was_added_and_nothing_else(path):
    write(path, OLD)
    assert write(path, NEW).record.generation == 2

    assert numbers_in(path) == NEW
    assert verify(path, deep=True).is_whole
    rollback(path)
    assert numbers_in(path) == OLD


def test_the_same_again_makes_no_generation_and_touches_nothing(path):
    write(path, OLD)
    state = states_below(os.path.dirname(path))

    assert write(path, OLD).record.generation == 1
    del state[os.path.dirname(path)]  # a staging lay beside meanwhile
    after = states_below(os.path.dirname(path))
    assert {place: facts for place, facts in after.items() if place in state} == state
    assert beside(path) == ["numbers"]


def test_files_of_the_same_bytes_are_left_alone(path):
    write(path, OLD)
    before = os.stat(os.path.join(path, "same.npy"))
    write(path, NEW)

    after = os.stat(os.path.join(path, "same.npy"))
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_other_meta_makes_a_generation_with_the_same_files(path):
    write(path, {"a": 1})
    before = os.stat(os.path.join(path, "a.npy"))
    with luisy.write_dataset(path) as writer:
        writer.add("a", np.full(1, 1), meta={"number": 2})

    assert entries_of(path)[0].meta == {"number": 2}
    assert os.stat(os.path.join(path, "a.npy")) == before
    assert verify(path, deep=True).is_whole


@pytest.mark.parametrize("spoil", [os.unlink, lambda file: Path(file).write_text("by hand")])
def test_a_file_that_is_not_as_it_was_written_is_written_anew(path, spoil):
    write(path, OLD)
    spoil(os.path.join(path, "same.npy"))
    write(path, OLD)

    assert numbers_in(path) == OLD


def test_a_damaged_manifest_is_made_anew(path):
    write(path, OLD)
    with open(os.path.join(path, ".manifest", "00000001.jsonl"), "a") as file:
        file.write("broken")
    write(path, NEW)

    assert numbers_in(path) == NEW


def test_after_a_boot_nothing_is_believed_that_was_not_brought_to_the_disk(path, monkeypatch):
    """And what was written since is believed again."""
    write(path, OLD, durability="none")
    state = os.stat(os.path.join(path, "same.npy"))
    monkeypatch.setattr(system, "boot_id", lambda: "another")
    with open(os.path.join(path, "same.npy"), "r+b") as file:
        file.write(bytes(state.st_size))
    os.utime(os.path.join(path, "same.npy"), ns=(state.st_atime_ns, state.st_mtime_ns))
    write(path, OLD)

    assert numbers_in(path) == OLD
    assert read_manifest(path).record.durability == "commit"


def test_what_somebody_has_gone_back_to_is_not_replaced(path):
    write(path, OLD)
    write(path, NEW)
    rollback(path)

    with pytest.raises(GenerationError, match="luisy-dir release"):
        write(path, NEW)
    assert numbers_in(path) == OLD


def test_only_as_many_generations_are_kept_as_is_said(path):
    for number in range(4):
        write(path, {"a": number}, keep=2)

    assert generations_in(path) == [3, 4]


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["", "/a", "../a", "a/../b", "a//b", "a/", ".a", "a/.b", "a\0", "x" * 260, "\udc80", 3, None, b"a"]
)
def test_a_key_that_no_file_can_have_is_refused(path, key):
    with luisy.write_dataset(path) as writer:
        writer.add("fine", np.zeros(0))
        with pytest.raises(InputError, match="key of an"):
            writer.add(key, np.zeros(0))

    assert numbers_in(path) == {"fine": 0}


@pytest.mark.parametrize(("one", "other"), [("a", "a"), ("a", "a.npy/b"), ("a.npy/b", "a"), ("a/b", "a/b")])
def test_keys_that_need_one_place_are_refused(path, one, other):
    with luisy.write_dataset(path) as writer:
        writer.add(one, np.zeros(0))
        with pytest.raises(KeyCollisionError, match=other):
            writer.add(other, np.zeros(0))


@pytest.mark.parametrize(("one", "other"), [("a", "A"), ("a/x", "A/y")])
def test_keys_that_differ_by_case_alone_are_refused_where_the_file_system_takes_them_for_one(
    path, monkeypatch, one, other
):
    monkeypatch.setattr(transaction, "probe", lambda folder: Capabilities(tells_case_apart=False))
    with luisy.write_dataset(path) as writer:
        writer.add(one, np.zeros(0))
        with pytest.raises(KeyCollisionError, match="case of letters"):
            writer.add(other, np.zeros(0))


@pytest.mark.parametrize(
    "data", [None, [object()], [[1], [2, 3]], {"a": 1}, np.ma.masked_array([1], [True]), np.array([None])]
)
def test_data_that_is_no_array_of_numbers_is_refused_by_its_key(path, data):
    with luisy.write_dataset(path, on_empty="allow") as writer, pytest.raises(InputError, match="'some/key'"):
        writer.add("some/key", data)


@pytest.mark.parametrize("meta", [{"status": 1}, {"x": object()}, {1: 2}])
def test_meta_that_cannot_be_kept_is_refused_and_nothing_written(path, meta):
    with luisy.write_dataset(path, on_empty="allow") as writer:
        with pytest.raises(InputError):
            writer.add("a", np.zeros(0), meta=meta)
        assert list(files_below(staging_of(path))) in ([], ["lock"])


@pytest.mark.parametrize("source", ["raw/a.wav", "elsewhere/a.wav", "raw", "raw/../elsewhere/a.wav", "raw/missing"])
def test_a_source_that_cannot_be_kept_is_refused(path, tmp_path, source):
    root = None if source == "raw/a.wav" else tmp_path / "raw"
    for folder in ("raw", "elsewhere"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.wav").touch()
    with luisy.write_dataset(path, source_root=root, on_empty="allow") as writer, pytest.raises(InputError):
        writer.add("a", np.zeros(0), source=tmp_path / source)


@pytest.mark.parametrize(
    "lies_there", ["a file", "a folder", "an empty folder", "a link", "a task's", "below a dataset"]
)
def test_what_is_not_ours_is_refused_and_left_alone(path, tmp_path, lies_there):
    os.makedirs(os.path.dirname(path))
    if lies_there == "a file":
        Path(path).touch()
    elif lies_there in {"a folder", "an empty folder"}:
        os.mkdir(path)
        if lies_there == "a folder":
            Path(path, "mine").touch()
    elif lies_there == "a link":
        os.symlink(tmp_path, path)
    elif lies_there == "a task's":
        write(path, OLD)
        record = read_manifest(path).record
        publish_as_task(path, record)
    else:
        write(os.path.dirname(path) + "/outer", OLD)
        path = os.path.dirname(path) + "/outer/deep/inner"
    state = states_below(tmp_path)

    with pytest.raises(ForeignDirectoryError):
        write(path, NEW)
    assert states_below(tmp_path).keys() == state.keys()


def publish_as_task(path, record):
    """Let a record say that a task has published there."""
    import msgspec

    from luisy_dir.record import encode_current, encode_record

    encoded = encode_record(msgspec.structs.replace(record, task="SomeTask"))
    Path(path, ".manifest", "00000001.json").write_bytes(encoded)
    Path(path, ".manifest", "CURRENT").write_bytes(encode_current(encoded))


def test_a_file_that_is_not_ours_is_not_replaced(path):
    write(path, {"a": 1})
    Path(path, "b.npy").write_text("mine")

    with luisy.write_dataset(path) as writer:
        with pytest.raises(ForeignDirectoryError, match=r"b\.npy"):
            writer.add("b", np.zeros(0))
        writer.add("a", np.full(2, 2))
    assert Path(path, "b.npy").read_text() == "mine"


def test_of_two_writers_at_the_same_time_one_is_told_so(path):
    with luisy.write_dataset(path) as writer:
        with pytest.raises(BusyError):
            write(path, NEW)
        writer.add("a", np.full(1, 1))

    assert numbers_in(path) == {"a": 1}


def test_of_two_writers_without_locks_one_publishes_and_the_other_is_told_so(path, monkeypatch):
    from faults import without_locks

    without_locks(monkeypatch)
    with pytest.raises(BusyError), luisy.write_dataset(path) as writer:
        writer.add("a", np.full(1, 1))
        write(path, NEW)
        writer.add("b", np.full(1, 1))
    assert numbers_in(path) == NEW


@pytest.mark.parametrize("options", [{"on_empty": "x"}, {"durability": "x"}, {"keep": 0}])
def test_an_option_that_is_not_allowed_is_refused_at_once(path, options):
    with pytest.raises(SettingError, match=next(iter(options))):
        luisy.write_dataset(path, **options)


@pytest.mark.parametrize("name", ["", " ", "a\0b"])
def test_a_path_that_is_none_is_refused_at_once(name):
    with pytest.raises(SettingError, match="path"):
        luisy.write_dataset(name)


@pytest.mark.parametrize("suffix", ["npy", ".nope", (np.load, np.save)])
def test_a_suffix_that_is_none_is_refused_at_once(path, suffix):
    with pytest.raises(DefinitionError):
        luisy.write_dataset(path, suffix=suffix)


def test_a_writer_is_used_in_its_block_once_and_in_its_process(path):
    writer = luisy.write_dataset(path)
    with pytest.raises(DefinitionError, match="outside of its block"):
        writer.add("a", np.zeros(0))
    with writer:
        writer.add("a", np.zeros(0))
        with pytest.raises(DefinitionError, match="belongs to the process"):
            pickle.dumps(writer)
    with pytest.raises(DefinitionError, match="outside of its block"):
        writer.add("b", np.zeros(0))
    with pytest.raises(DefinitionError, match="used before"), writer:
        pass


def test_a_disk_that_is_full_is_said_at_once(path):
    with pytest.raises(StorageError, match="'a'") as raised, luisy.write_dataset(path) as writer:
        full = Calls(1, next(mode for mode in ERRORS if mode.error == errno.ENOSPC), names=("write",))
        with full:
            writer.add("a", np.zeros(9))
    assert raised.value.errno == errno.ENOSPC
    assert beside(path) == []


# -- the command line -------------------------------------------------------------------------------------------------


def test_the_command_line_looks_at_a_dataset_as_at_any_directory(path):
    write(path, OLD)
    write(path, NEW)

    assert [row["key"] for row in json_of(call("report", path, "--json").output)] == sorted(NEW)
    assert call("verify", path, "--deep").exit_code == 0
    assert "2" in call("versions", path).output
    assert call("ls", os.path.dirname(path)).exit_code == 0
    assert "1 added" in call("diff", path, "1", "2").output
    assert call("rollback", path).exit_code == 0
    assert call("release", path).exit_code == 0
    assert call("gc", path, "--keep", "1").exit_code == 0
    assert call("why", os.path.join(path, "a.npy")).exit_code == 0
    assert "write_dataset" in call("trace", os.path.join(path, "a.npy")).output
    assert numbers_in(path) == OLD


def test_gc_removes_what_a_writer_has_left(path):
    write(path, OLD)

    def leave():
        with luisy.write_dataset(path) as writer:
            writer.add("a", np.zeros(9))
            os._exit(0)

    in_a_child(leave)
    assert len(beside(path)) == 2
    assert call("gc", path, "--older-than", "0").exit_code == 0
    assert beside(path) == ["numbers"]


def test_the_core_is_loaded_without_luigi():
    program = "import sys, luisy_dir.writing; assert not {'luigi', 'numpy', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


# -- a fault at each call ---------------------------------------------------------------------------------------------


@pytest.fixture
def world(monkeypatch, tmp_path):
    with sandbox(monkeypatch, tmp_path) as world:
        yield world


def check_no_mix(path, before, after):
    """Each visible file is an old one or a new one; and where nothing is left to be finished, all are of one kind."""
    found = numbers_in(path) if os.path.isdir(path) else {}
    assert all(number in (before.get(key), after.get(key)) for key, number in found.items()), found
    if os.path.isdir(path) and not has_pending(path):
        assert verify(path, deep=True).is_whole
        assert found in (before, after), found


@pytest.mark.parametrize("mode", [*DEATHS, *ERRORS, POWER_CUT], ids=lambda mode: mode.name)
@pytest.mark.parametrize("before", [{}, OLD], ids=["a first build", "an update"])
def test_a_fault_at_each_call_leaves_the_old_dataset_or_the_new_one(world, mode, before, request):
    """And the next writer comes to a good end, with nothing left beside it."""
    path = os.path.join(world.working_dir, "numbers")
    if before:
        write(path, before)
    world.keep()
    with Calls() as rehearsal:
        write(path, NEW)
    numbers = [number for number, made in enumerate(rehearsal.made, 1) if mode.fits(made)]
    for number in numbers:
        world.bring_back()
        calls = Calls(number, mode)
        if mode.is_death:
            assert dies(lambda: write(path, NEW), calls)
        else:
            with calls, contextlib.suppress(LuisyDirError):
                write(path, NEW)
            assert calls.has_fired
        check_no_mix(path, before, NEW)
        write(path, NEW)
        assert numbers_in(path) == NEW
        assert verify(path, deep=True).is_whole
        assert beside(path) == ["numbers"], (number, rehearsal.made[number - 1])
    request.node.user_properties.append(("fault points", [len(numbers), 0]))
    assert numbers
