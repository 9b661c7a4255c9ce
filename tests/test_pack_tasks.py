"""A directory task may publish packs, and another one read them; all that holds of files holds of them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
from faults import DEATHS, ERRORS, POWER_CUT, Calls, another_boot, dies, note, put_letters, sandbox
from pipelines import Letters

import luisy_dir as luisy
from luisy_dir.errors import DefinitionError, InputChangedError, LuisyDirError
from luisy_dir.fingerprint import state_sum
from luisy_dir.formats import format_for
from luisy_dir.item import list_files
from luisy_dir.packs import pack_of
from luisy_dir.record import has_pending
from luisy_dir.verification import verify

WORDS = {f"w{number:02}.txt": "x" * number for number in range(30)}


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output("pack", engine="serial", max_errors=1.0)
class PackedWords(luisy.DirectoryTask):
    """The letters of each text as numbers; a text that says so fails, or is no array."""

    def process(self, text, item):
        note(item.key)
        if text == "fail":
            raise ValueError(text)
        if text == "json":
            return luisy.Output({"text": text}, suffix=".json")
        item.meta["length"] = len(text)
        return np.frombuffer(text.encode(), "uint8")


@luisy.final
@luisy.requires(PackedWords)
@luisy.directory_output(".txt", engine="serial")
class WordsAgain(luisy.DirectoryTask):
    """The texts, out of their packs."""

    def process(self, array, item):
        note(item.key)
        return bytes(array).decode()


@luisy.final
@luisy.requires(words=PackedWords, letters=Letters)
@luisy.directory_output(".txt", engine="processes", workers=2)
class WordsBesideLetters(luisy.DirectoryTask):
    """Packs and raw files, joined."""

    def process(self, words, letters):
        return f"{bytes(words).decode()} {letters}"


@luisy.final
@luisy.requires(PackedWords)
@luisy.directory_output("pack", engine="serial", group_by=lambda key: key[:2])
class WordsInGroups(luisy.DirectoryTask):
    """Packs out of packs."""

    def process(self, arrays):
        return [int(sum(map(len, arrays)))]


@pytest.fixture
def processed(tmp_path, monkeypatch):
    """Keys that were processed since this was asked last."""
    log = tmp_path / "processed"
    monkeypatch.setenv("FAULTS_PROCESSED", str(log))

    def since():
        keys = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return keys

    return since


def words_in(task):
    return {f"{item.key}.txt": bytes(data).decode() for item, data in task.items()}


def check(task, words):
    """All looks at the directory agree that it holds that."""
    path = task.output().path
    assert words_in(task) == words
    assert verify(path, deep=True).is_whole
    assert state_sum(list_files(path)).hexdigest() == task.output().manifest().record.outputs_state
    assert task.complete()
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


def packs_of(task):
    path = task.output().path
    return {name: os.stat(os.path.join(path, name)) for name in os.listdir(path) if name != ".manifest"}


def run(task, words):
    put_letters(words)
    task.run()


def test_what_is_processed_item_by_item_is_published_as_packs(working_dir):
    run(PackedWords(), WORDS)

    assert sorted(packs_of(PackedWords())) == ["0-of-3.pack", "1-of-3.pack", "2-of-3.pack"]
    check(PackedWords(), WORDS)
    assert PackedWords().report()["length"].sum() == sum(range(30))


def test_an_update_processes_what_is_stale_and_writes_the_packs_that_it_touches(working_dir, processed):
    run(PackedWords(), WORDS)
    before, _ = packs_of(PackedWords()), processed()
    run(PackedWords(), WORDS | {"w07.txt": "seven"})

    assert processed() == ["w07"]
    touched = pack_of("w07.npy", 3)
    assert [name for name, state in packs_of(PackedWords()).items() if state != before[name]] == [touched]
    check(PackedWords(), WORDS | {"w07.txt": "seven"})


@pytest.mark.parametrize("durability", ["none", "commit", "item"])
def test_items_come_change_fail_and_go(working_dir, monkeypatch, durability):
    monkeypatch.setenv("LUISY_DIR_DURABILITY", durability)
    run(PackedWords(), WORDS)
    later = {name: text for name, text in WORDS.items() if name not in {"w03.txt", "w04.txt"}}
    run(PackedWords(), later | {"new/er.txt": "new", "w05.txt": "fail", "w06.txt": "six"})

    expected = {name: text for name, text in later.items() if name != "w05.txt"} | {
        "new/er.txt": "new",
        "w06.txt": "six",
    }
    check(PackedWords(), expected)
    PackedWords().output().rollback()
    check(PackedWords(), WORDS)


def test_where_items_only_go_nothing_is_processed(working_dir, processed):
    run(PackedWords(), WORDS)
    processed()
    fewer = {name: text for name, text in WORDS.items() if name > "w10"}
    run(PackedWords(), fewer)

    assert processed() == []
    check(PackedWords(), fewer)


def test_a_pack_that_has_lost_all_of_its_items_is_no_more(working_dir):
    run(PackedWords(), WORDS)
    rest = {name: text for name, text in WORDS.items() if pack_of(f"{name[:-4]}.npy", 3) != "1-of-3.pack"}
    run(PackedWords(), rest)

    assert sorted(packs_of(PackedWords())) == ["0-of-3.pack", "2-of-3.pack"]
    check(PackedWords(), rest)


def test_what_is_no_array_stays_a_file_beside_the_packs(working_dir):
    run(PackedWords(), WORDS | {"w07.txt": "json"})
    assert "w07.json" in packs_of(PackedWords())
    run(PackedWords(), WORDS | {"w07.txt": "json", "w08.txt": "eight"})
    run(PackedWords(), WORDS)

    check(PackedWords(), WORDS)


def test_an_output_of_one_format_may_become_a_pack_and_the_other_way_round(working_dir, monkeypatch):
    run(PackedWords(), WORDS)
    monkeypatch.setattr(PackedWords, "format", format_for(".npy"))
    run(PackedWords(), WORDS)
    assert len(packs_of(PackedWords())) == 30
    monkeypatch.setattr(PackedWords, "format", format_for("pack"))
    run(PackedWords(), WORDS)

    check(PackedWords(), WORDS)


def test_packs_have_no_suffix_of_their_own():
    with pytest.raises(DefinitionError, match="suffix"):
        luisy.directory_output("pack", suffix=".bin")


# -- who reads them ---------------------------------------------------------------------------------------------------


def test_a_task_that_requires_packs_processes_the_changed_items_and_no_neighbours(working_dir, processed):
    run(PackedWords(), WORDS)
    WordsAgain().run()
    run(PackedWords(), WORDS | {"w07.txt": "seven"})
    processed()

    assert not WordsAgain().complete()
    WordsAgain().run()
    assert processed() == ["w07"]
    assert {f"{item.key}.txt": text for item, text in WordsAgain().items()} == WORDS | {"w07.txt": "seven"}
    assert WordsAgain().complete()


def test_packs_are_joined_and_grouped_as_files_are(working_dir):
    run(PackedWords(), WORDS)
    WordsBesideLetters().run()
    WordsInGroups().run()

    assert {item.key: text for item, text in WordsBesideLetters().items()} == {
        name[:-4]: f"{text} {text}" for name, text in WORDS.items()
    }
    assert {item.key: list(data) for item, data in WordsInGroups().items()} == {
        "w0": [sum(range(10))], "w1": [sum(range(10, 20))], "w2": [sum(range(20, 30))]
    }  # fmt: skip


def test_what_was_made_from_a_pack_can_be_computed_again_and_explained(working_dir):
    """Also after the pack was written anew, so that the item lies elsewhere in it."""
    run(PackedWords(), WORDS)
    WordsAgain().run()
    run(PackedWords(), WORDS | {"w00.txt": "longer than it was " * 20})
    WordsAgain().run()

    assert WordsAgain().recheck("100%").equal == 30
    assert WordsAgain().replay("w29").status == "written"
    (source,) = luisy.why(os.path.join(WordsAgain().output().path, "w29.txt")).sources
    assert source.state == "unchanged"


def test_a_reader_that_is_kept_finds_items_where_the_next_generation_has_them(working_dir):
    run(PackedWords(), WORDS)
    target = PackedWords().output()
    read, path = target.reader, os.path.join(target.path, "w29.npy")
    assert bytes(read(path)).decode() == WORDS["w29.txt"]
    run(PackedWords(), dict.fromkeys(WORDS, "longer than it was " * 20) | {"w29.txt": WORDS["w29.txt"]})

    assert bytes(read(path)).decode() == WORDS["w29.txt"]


def test_one_generation_of_packs_is_read_whole_or_not_at_all(working_dir):
    run(PackedWords(), WORDS)
    with PackedWords().output().pinned() as directory:
        assert len(list(directory.read())) == 30
    with pytest.raises(InputChangedError), PackedWords().output().pinned() as directory:
        run(PackedWords(), WORDS | {"w07.txt": "seven"})
        list(directory.read())


def flip(file):
    """Change a byte, and date the file back."""
    state = os.stat(file)
    content = bytearray(Path(file).read_bytes())
    content[-1] ^= 1
    Path(file).write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("spoil", [os.unlink, lambda file: os.truncate(file, 128), flip])
def test_a_pack_that_is_not_as_it_was_written_is_an_error_and_no_data(working_dir, spoil):
    run(PackedWords(), {"a.txt": "some text"})
    spoil(os.path.join(PackedWords().output().path, "0-of-1.pack"))

    with pytest.raises(InputChangedError, match=r"0-of-1\.pack"):
        list(PackedWords().read())


@pytest.mark.parametrize("spoil", [os.unlink, lambda file: os.truncate(file, 128)])
def test_the_next_run_makes_a_pack_anew_that_is_not_as_it_was_written(working_dir, processed, spoil):
    run(PackedWords(), WORDS)
    processed()
    spoil(os.path.join(PackedWords().output().path, "1-of-3.pack"))

    assert not PackedWords().complete()
    PackedWords().run()
    assert set(processed()) == {name[:-4] for name in WORDS if pack_of(f"{name[:-4]}.npy", 3) == "1-of-3.pack"}
    check(PackedWords(), WORDS)


def test_damage_that_time_of_change_does_not_show_is_never_copied_into_a_new_pack(working_dir, processed):
    """The run ends with an error; after a repair the next one goes on where it was."""
    run(PackedWords(), WORDS)
    name = pack_of("w07.npy", 3)
    flip(os.path.join(PackedWords().output().path, name))
    put_letters(WORDS | {"w07.txt": "seven"})

    with pytest.raises(InputChangedError, match="verify --deep --repair"):
        PackedWords().run()
    PackedWords().output().repair(deep=True)
    PackedWords().run()
    check(PackedWords(), WORDS | {"w07.txt": "seven"})


def test_a_damaged_manifest_is_made_anew(working_dir, processed):
    run(PackedWords(), WORDS)
    with open(os.path.join(PackedWords().output().path, ".manifest", "00000001.jsonl"), "a") as file:
        file.write("broken")
    PackedWords().run()

    check(PackedWords(), WORDS)


def test_what_an_earlier_generation_vouches_for_stays_where_a_manifest_is_damaged(working_dir, processed):
    run(PackedWords(), WORDS)
    run(PackedWords(), WORDS | {"w07.txt": "seven"})
    processed()
    with open(os.path.join(PackedWords().output().path, ".manifest", "00000002.jsonl"), "a") as file:
        file.write("broken")
    PackedWords().run()

    assert len(processed()) < 30
    check(PackedWords(), WORDS | {"w07.txt": "seven"})


# -- a fault at each call ---------------------------------------------------------------------------------------------

OLD = {
    "changed.txt": "old",
    "gone.txt": "gone",
    "deep/stays.txt": "stays",
    "same.txt": "same",
    "b.txt": "",
    "js.txt": "json",
}
NEW = {"changed.txt": "new!", "new/er.txt": "new", "deep/stays.txt": "stays", "same.txt": "same", "js.txt": "json"}


@pytest.fixture
def world(monkeypatch, tmp_path):
    with sandbox(monkeypatch, tmp_path) as world:
        yield world


def arrays(words):
    return {name: text for name, text in words.items() if text != "json"}


def found_in(task):
    return {f"{item.key}.txt": bytes(data).decode() for item, data in task.items() if not isinstance(data, dict)}


@pytest.mark.parametrize("mode", [*DEATHS, *ERRORS, POWER_CUT], ids=lambda mode: mode.name)
@pytest.mark.parametrize("before", [{}, OLD], ids=["a first build", "an update"])
def test_a_fault_at_each_call_loses_no_work_and_makes_no_mix(world, mode, before, request, monkeypatch):
    """And the next run goes on, and comes to a good end with nothing left beside it."""
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "0")
    task, path = PackedWords(), PackedWords().output().path
    if before:
        run(task, before)
    put_letters(NEW)
    world.keep()
    world.bring_back()
    with Calls() as rehearsal:
        task.run()
    todo = world.processed()
    numbers = [number for number, made in enumerate(rehearsal.made, 1) if mode.fits(made)]
    for number in numbers:
        world.bring_back()
        calls = Calls(number, mode)
        if mode.is_death:
            assert dies(task.run, calls)
        else:
            with calls, contextlib.suppress(LuisyDirError):
                task.run()
            assert calls.has_fired
        where = (number, rehearsal.made[number - 1])
        with another_boot(is_so=mode.is_power_cut):
            if os.path.isdir(path) and not has_pending(path):
                found = found_in(task)
                assert found in (arrays(before), arrays(NEW)), where
            task.run()
            assert found_in(task) == arrays(NEW), where
            assert verify(path, deep=True).is_whole, where
            assert task.complete(), where
            assert os.listdir(os.path.dirname(path)) == ["PackedWords"], where
            if mode.is_death and not mode.is_power_cut:
                again = world.processed() - todo
                assert again.total() <= 1, (where, again)
    request.node.user_properties.append(("fault points", [len(numbers), 0]))
    assert numbers
