"""Many items in one file: each keeps its own digest, and all that holds of files holds of packs."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from faults import DEATHS, ERRORS, POWER_CUT, Calls, dies, sandbox
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st
from test_cli import call

import luisy_dir as luisy
from luisy_dir.errors import (
    DefinitionError,
    InputChangedError,
    InputError,
    LuisyDirError,
    MissingInputError,
    SettingError,
    StorageError,
)
from luisy_dir.fingerprint import state_sum
from luisy_dir.generations import repair, rollback
from luisy_dir.item import list_files
from luisy_dir.manifest import read_manifest
from luisy_dir.packing import pack_dataset
from luisy_dir.packs import count_of, pack_of, usual_count
from luisy_dir.record import generations_in, has_pending
from luisy_dir.verification import verify

SOME = {f"x/{number:02}": number for number in range(40)}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "packed")


@pytest.fixture
def loose(tmp_path):
    return str(tmp_path / "loose")


def write(path, numbers, *, layout="pack", packs=None, **options):
    with luisy.write_dataset(path, layout=layout, packs=packs, **options) as writer:
        for key, number in numbers.items():
            writer.add(key, np.full(number, number), meta={"number": number})
    return writer.record


def entries_of(path):
    return list(read_manifest(path).entries())


def array_of(path, output):
    """An array out of its entry alone: no header is looked at."""
    with open(os.path.join(path, output.file), "rb") as file:
        return np.ndarray(output.shape, output.dtype, file.read(), output.offset)


def numbers_in(path):
    found = {}
    for entry in entries_of(path):
        for output in entry.outputs:
            array = array_of(path, output)
            assert (array == len(array)).all()
            found[entry.key] = len(array)
    return found


def check(path, numbers):
    """All looks at the directory agree that it holds that."""
    assert numbers_in(path) == numbers
    assert verify(path, deep=True).is_whole
    assert state_sum(list_files(path)).hexdigest() == read_manifest(path).record.outputs_state


def packs_in(path):
    return {name: os.stat(os.path.join(path, name)) for name in os.listdir(path) if name.endswith(".pack")}


# -- what lies there --------------------------------------------------------------------------------------------------


@given(
    st.lists(
        np_st.arrays(
            st.one_of(np_st.scalar_dtypes(), np_st.unicode_string_dtypes(), np_st.byte_string_dtypes()),
            np_st.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_array_comes_back_from_its_entry_alone(arrays):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "set")
        with luisy.write_dataset(path, layout="pack", packs=2, durability="none") as writer:
            for number, array in enumerate(arrays):
                writer.add(str(number), array)

        for entry in entries_of(path):
            (output,) = entry.outputs
            array, found = arrays[int(entry.key)], array_of(path, output)
            assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
            assert output.offset % 64 == 0


def test_an_item_in_a_pack_has_the_digest_that_it_has_alone(path, loose):
    """So that whoever depends on it sees no difference."""
    assert write(path, SOME).outputs_digest == write(loose, SOME, layout="files").outputs_digest


def test_what_lies_in_a_pack_are_whole_npy_files(path):
    write(path, SOME)
    for entry in entries_of(path):
        (output,) = entry.outputs
        with open(os.path.join(path, output.file), "rb") as file:
            file.seek(output.pack.start)
            assert (np.load(file) == array_of(path, output)).all()


def test_the_same_items_make_the_same_packs_in_whatever_order_they_are_added(path, loose):
    write(path, SOME)
    write(loose, dict(reversed(SOME.items())))

    for name in packs_in(path):
        assert Path(path, name).read_bytes() == Path(loose, name).read_bytes()


def test_there_are_far_fewer_packs_than_items(path):
    with luisy.write_dataset(path, layout="pack") as writer:
        for number in range(1000):
            writer.add(str(number), np.full(3, number))

    assert len(packs_in(path)) == 16
    assert usual_count(10**6, 10**12) == 8192


def test_memory_holds_no_data_of_items_that_were_added(path):
    with luisy.write_dataset(path, layout="pack") as writer:
        tracemalloc.start()
        for number in range(50):
            writer.add(str(number), np.full(1 << 17, number))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 12 << 20


# -- the next generation ----------------------------------------------------------------------------------------------


def test_an_update_touches_the_packs_alone_of_which_an_item_has_changed(path):
    write(path, SOME, packs=8)
    before, entries = packs_in(path), entries_of(path)
    write(path, SOME | {"x/07": 1000})

    touched = pack_of("x/07.npy", 8)
    assert [name for name, state in packs_in(path).items() if state != before[name]] == [touched]
    unchanged = [entry for entry in entries if entry.outputs[0].file != touched]
    assert [entry for entry in entries_of(path) if entry.outputs[0].file != touched] == unchanged
    check(path, SOME | {"x/07": 1000})


def test_the_digests_of_the_neighbours_of_a_changed_item_stay(path):
    write(path, SOME, packs=1)
    before = {entry.key: entry.outputs[0].digest for entry in entries_of(path)}
    write(path, SOME | {"x/07": 1000})

    after = {entry.key: entry.outputs[0].digest for entry in entries_of(path)}
    assert {key for key in before if before[key] != after[key]} == {"x/07"}


def test_the_same_again_makes_no_generation(path):
    write(path, SOME)
    before = packs_in(path)

    assert write(path, SOME).generation == 1
    assert packs_in(path) == before


def test_other_meta_leaves_the_packs_alone(path):
    write(path, SOME)
    before = packs_in(path)
    with luisy.write_dataset(path, layout="pack") as writer:
        for key, number in SOME.items():
            writer.add(key, np.full(number, number), meta={"number": -number} if number == 5 else {"number": number})

    assert writer.record.generation == 2
    assert packs_in(path) == before
    check(path, SOME)


def test_the_number_of_packs_stays_when_the_dataset_grows(path):
    write(path, SOME)
    many = {str(number): 3 for number in range(1000)}
    write(path, many)

    assert count_of(output for entry in entries_of(path) for output in entry.outputs) == 5
    check(path, many)


def test_another_number_of_packs_can_be_asked_for(path):
    write(path, SOME, packs=4)
    write(path, SOME, packs=2)

    assert sorted(packs_in(path)) == ["0-of-2.pack", "1-of-2.pack"]
    check(path, SOME)
    rollback(path)
    assert len(packs_in(path)) == 4
    check(path, SOME)


@pytest.mark.parametrize(("one", "other"), [("files", "pack"), ("pack", "files")])
def test_the_layout_can_be_changed(path, one, other):
    write(path, SOME, layout=one)
    write(path, SOME, layout=other)
    check(path, SOME)
    rollback(path)
    check(path, SOME)


def test_one_can_go_back_to_any_generation_that_is_kept(path):
    """Items come, change and go; with each act every look at the directory agrees."""
    chance = random.Random(8)
    history = []
    for _ in range(8):
        numbers = {key: chance.choice([number, number, 50 + number]) for key, number in SOME.items()}
        for key in chance.sample(sorted(numbers), 5):
            del numbers[key]
        history.append(numbers)
        write(path, numbers, packs=4, keep=100)
        check(path, numbers)
    for _ in range(8):
        generation = chance.choice(generations_in(path)[:-1])
        rollback(path, generation)
        history.append(history[generation - 1])
        check(path, history[-1])


# -- looks at what has become of a pack -------------------------------------------------------------------------------


def flip(file):
    """Change a byte, and date the file back."""
    state = os.stat(file)
    content = bytearray(Path(file).read_bytes())
    content[-1] ^= 1
    Path(file).write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize(
    ("spoil", "deep", "found"),
    [
        (os.unlink, False, "missing"),
        (lambda file: os.truncate(file, 100), False, "changed"),
        (flip, True, "changed"),
    ],
)
def test_a_pack_that_is_not_as_it_was_written_is_found_and_made_anew(path, spoil, deep, found):
    write(path, SOME, packs=4)
    spoil(os.path.join(path, "2-of-4.pack"))
    there = [key for key in SOME if pack_of(f"{key}.npy", 4) != "2-of-4.pack"]

    assert verify(path, deep=deep).differences == {found: ("2-of-4.pack",)}
    repair(path, deep=deep)
    check(path, {key: SOME[key] for key in there})
    write(path, SOME)
    check(path, SOME)


def test_a_pack_that_was_only_touched_is_fine(path):
    write(path, SOME)
    os.utime(os.path.join(path, "0-of-5.pack"))

    assert verify(path).is_whole


def test_between_two_items_lie_zeros_up_to_the_next_multiple_of_64(path):
    write(path, {"a": 1, "b": 0}, packs=1)
    with open(os.path.join(path, "0-of-1.pack"), "rb") as file:
        content = file.read()
    assert len(content) == 192 + 128
    assert content[136:192] == bytes(56)


def test_the_command_line_looks_into_packs(path):
    write(path, SOME)

    assert call("verify", path, "--deep").exit_code == 0
    told = call("why", os.path.join(path, "x", "07.npy")).output
    assert "x/07, written" in told
    assert "as it was written" in told
    flip(os.path.join(path, "0-of-5.pack"))
    assert call("verify", path, "--deep").exit_code == 1


# -- what is refused --------------------------------------------------------------------------------------------------


def test_records_lie_in_packs_too_and_objects_are_refused_by_their_key(path):
    records = np.array([(1, 2.5), (3, 4.5)], [("a", "i4"), ("b", "f8")])
    with luisy.write_dataset(path, layout="pack") as writer:
        writer.add("r", records)
        with pytest.raises(InputError, match="'a'"):
            writer.add("a", [object()])

    assert luisy.open_dataset(path)["r", "b"].tolist() == [2.5, 4.5]


@pytest.mark.parametrize("options", [{"layout": "tar"}, {"packs": 3}, {"layout": "pack", "packs": 0}])
def test_an_option_that_is_not_allowed_is_refused_at_once(path, options):
    with pytest.raises(SettingError):
        luisy.write_dataset(path, **options)


def test_packs_are_of_arrays(path):
    with pytest.raises(DefinitionError, match=r"\.json"):
        luisy.write_dataset(path, suffix=".json", layout="pack")


def test_after_a_disk_was_full_nothing_is_taken_for_written(path):
    full = next(mode for mode in ERRORS if mode.error == errno.ENOSPC and not mode.for_good)
    with pytest.raises(StorageError, match="again"), luisy.write_dataset(path, layout="pack") as writer:
        writer.add("a", np.zeros(9))
        with Calls(1, full, names=("write",)), pytest.raises(StorageError):
            writer.add("b", np.zeros(9))
        writer.add("c", np.zeros(9))
    assert not os.path.exists(path)


# -- a published directory, packed ------------------------------------------------------------------------------------


def test_a_dataset_of_files_can_be_packed(path, loose):
    write(loose, SOME, layout="files")
    record = pack_dataset(loose, path)

    check(path, SOME)
    assert record.outputs_digest == read_manifest(loose).record.outputs_digest
    assert [entry.meta for entry in entries_of(path)] == [entry.meta for entry in entries_of(loose)]
    assert [entry.number for entry in entries_of(path)] == [entry.number for entry in entries_of(loose)]
    assert luisy.why(os.path.join(path, "x/03.npy")).sources[0].path == os.path.join(loose, "x/03.npy")


def test_packed_again_it_reads_and_writes_what_has_changed(path, loose):
    write(loose, SOME, layout="files")
    pack_dataset(loose, path, packs=8)
    assert pack_dataset(loose, path).generation == 1
    write(loose, SOME | {"x/07": 1000}, layout="files")
    before, touched = packs_in(path), pack_of("x/07.npy", 8)
    for key in SOME:
        if pack_of(f"{key}.npy", 8) != touched:
            os.truncate(os.path.join(loose, f"{key}.npy"), 0)

    pack_dataset(loose, path)
    assert [name for name, state in packs_in(path).items() if state != before[name]] == [touched]
    check(path, SOME | {"x/07": 1000})


def test_packs_can_be_packed_anew(path, loose):
    write(loose, SOME, packs=3)
    pack_dataset(loose, path, packs=2)

    check(path, SOME)


def test_some_items_can_be_chosen(path, loose):
    write(loose, SOME, layout="files")
    pack_dataset(loose, path, keys=["x/03", "x/07"])

    check(path, {"x/03": 3, "x/07": 7})
    with pytest.raises(InputError, match="'x/99'"):
        pack_dataset(loose, path, keys=["x/03", "x/99"])
    check(path, {"x/03": 3, "x/07": 7})


def test_several_outputs_of_an_item_are_items(path, tmp_path):
    luisy.set_working_dir(tmp_path)

    @luisy.make_directory_output(lambda path: int(Path(path).read_text()))
    @luisy.raw
    class NumbersToPack(luisy.ExternalTask):
        def get_folder_name(self):
            return "numbers"

    @luisy.interim
    @luisy.requires(NumbersToPack)
    @luisy.directory_output(".npy", engine="serial")
    class HalvesToPack(luisy.DirectoryTask):
        def process(self, number):
            yield luisy.Output(np.full(number, number), key="whole")
            yield luisy.Output(np.full(number // 2, number // 2), key="half")

    raw = Path(NumbersToPack().output().path)
    raw.mkdir(parents=True)
    (raw / "a.txt").write_text("8")
    HalvesToPack().run()
    pack_dataset(HalvesToPack().output().path, path)
    check(path, {"a/whole": 8, "a/half": 4})


@pytest.mark.parametrize("spoil", [flip, os.unlink, lambda file: os.truncate(file, 0)])
def test_a_file_that_is_not_as_its_manifest_says_is_not_packed(path, loose, spoil):
    write(loose, SOME, layout="files")
    spoil(os.path.join(loose, "x/07.npy"))

    with pytest.raises(InputChangedError, match="x/07"):
        pack_dataset(loose, path)
    assert not os.path.exists(path)


def test_what_is_no_array_is_not_packed(path, loose):
    with luisy.write_dataset(loose, suffix=".json") as writer:
        writer.add("a", [1])

    with pytest.raises(InputError, match=r"'a\.json'"):
        pack_dataset(loose, path)


def test_there_must_be_something_to_pack_and_another_place_for_it(path, loose):
    with pytest.raises(MissingInputError, match="loose"):
        pack_dataset(loose, path)
    write(loose, SOME, layout="files")
    with pytest.raises(DefinitionError, match="itself"):
        pack_dataset(loose, loose + "/")


# -- a fault at each call ---------------------------------------------------------------------------------------------


@pytest.fixture
def world(monkeypatch, tmp_path):
    with sandbox(monkeypatch, tmp_path) as world:
        yield world


OLD = {"a": 1, "b": 2, "c": 3, "gone": 4, "same": 5}
NEW = {"a": 10, "b": 2, "d": 3, "same": 5}


@pytest.mark.parametrize("mode", [*DEATHS, *ERRORS, POWER_CUT], ids=lambda mode: mode.name)
@pytest.mark.parametrize("before", [{}, OLD], ids=["a first build", "an update"])
def test_a_fault_at_each_call_leaves_the_old_packs_or_the_new_ones(world, mode, before, request):
    """And the next writer comes to a good end, with nothing left beside it."""
    path = os.path.join(world.working_dir, "packed")
    if before:
        write(path, before, packs=2)
    world.keep()
    with Calls() as rehearsal:
        write(path, NEW, packs=2)
    numbers = [number for number, made in enumerate(rehearsal.made, 1) if mode.fits(made)]
    for number in numbers:
        world.bring_back()
        calls = Calls(number, mode)
        if mode.is_death:
            assert dies(lambda: write(path, NEW, packs=2), calls)
        else:
            with calls, contextlib.suppress(LuisyDirError):
                write(path, NEW, packs=2)
            assert calls.has_fired
        if os.path.isdir(path) and not has_pending(path):
            check(path, NEW if numbers_in(path) == NEW else before)
        write(path, NEW, packs=2)
        check(path, NEW)
        assert os.listdir(world.working_dir) == ["packed"], (number, rehearsal.made[number - 1])
    request.node.user_properties.append(("fault points", [len(numbers), 0]))
    assert numbers
