"""Mutants: the harness finds what was broken on purpose, and nothing where nothing is broken."""

from __future__ import annotations

import contextlib
import os
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults import (
    BACKGROUND,
    LATEST,
    MODES,
    NEW,
    POWER_CUT,
    SCENARIOS,
    SYNCS,
    Lines,
    check_overtaken,
    publish_old_then_put_new,
    put_old,
    run_with_later_letters,
    sandbox,
    sweep,
    sweep_meddling,
    tree,
    without_locks,
)

from luisy_dir import errors, journal, planning, publication, resumption, rollforward, transaction
from luisy_dir.item import Item
from luisy_dir.planning import Looks
from luisy_dir.record import CURRENT, FOLDER, encode_current, encode_record, generation_name, numbers_of
from luisy_dir.resumption import Resumption
from luisy_dir.storage import local, system
from luisy_dir.tasks import directory as directory_task
from luisy_dir.transaction import Transaction

PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanation" / "how-it-is-tested.md"
DEATHS = [MODES["dies before"], MODES["dies after"]]


# -- trials: as little of the harness as it takes ---------------------------------------------------------------------


def of(name, *modes, **options):
    def trial(world, monkeypatch, *, stop_at_first):
        return sweep(world, SCENARIOS[name], list(modes), stop_at_first=stop_at_first, **options)

    return trial


def meddled_with(prepare, meddle, check, *patches):
    def trial(world, monkeypatch, *, stop_at_first):
        prepare()
        for patch in patches:
            patch(monkeypatch)
        return sweep_meddling(world, meddle, check, stop_at_first=stop_at_first)

    return trial


def unseen(monkeypatch):
    """A run does not see what another one has in the staging, as where a network file system tells of it late."""
    for module in (transaction, publication):
        monkeypatch.setattr(module, "recover", lambda *_, **__: None)
    monkeypatch.setattr(transaction, "remove_abandoned", lambda staging: None)
    monkeypatch.setattr(Resumption, "run_in", lambda self, staging: None)


def try_later_letters():
    with contextlib.suppress(errors.OutputError):
        run_with_later_letters()


def check_one_has_won(world, error):
    assert tree(world.directory) in (NEW, LATEST)
    assert Lines().output().verify(deep=True).is_whole
    world.check_settled()


class Intruder:
    """Makes an empty directory where a run is about to publish, and sees that it is still there afterwards."""

    def __init__(self):
        self.inode = None

    def come(self):
        self.inode = None
        if not os.path.exists(Lines().output().path):
            os.makedirs(Lines().output().path)
            self.inode = os.stat(Lines().output().path).st_ino

    def check(self, world, error):
        if self.inode is not None:
            assert os.stat(world.directory).st_ino == self.inode, "an empty directory was replaced"
            assert os.listdir(world.directory) == []
            assert isinstance(error, errors.ForeignDirectoryError)
        else:
            assert error is None


INTRUDER = Intruder()
TRIALS = {
    "first build, deaths": of("a first build", *DEATHS),
    "first build, deaths amid": of("a first build", MODES["dies amid"]),
    "first build, EIO of a sync": of("a first build", MODES["EIO once"], names=SYNCS),
    "first build, background": of("a first build", BACKGROUND),
    "first build, power cut": of("a first build", POWER_CUT),
    "first build, intruder": meddled_with(put_old, INTRUDER.come, INTRUDER.check),
    "changing first build, deaths": of("a first build whose inputs change", *DEATHS),
    "first build of other code, deaths": of("a first build whose code changes", *DEATHS),
    "update, deaths": of("an update", *DEATHS),
    "update, EIO of a sync": of("an update", MODES["EIO once"], names=SYNCS),
    "update, power cut": of("an update", POWER_CUT),
    "changing update, deaths": of("an update whose inputs change", *DEATHS),
    "rollback, deaths": of("a rollback", *DEATHS),
    "repair, deaths": of("a repair", *DEATHS),
    "overtaken": meddled_with(
        publish_old_then_put_new, run_with_later_letters, check_overtaken(LATEST), without_locks
    ),
    "overtaken unseen": meddled_with(
        publish_old_then_put_new, try_later_letters, check_one_has_won, without_locks, unseen
    ),
}  # fmt: skip


# -- what is broken ---------------------------------------------------------------------------------------------------


def current_before_files(monkeypatch):
    roll_forward = rollforward._roll_forward

    def mutated(directory, run, record, changes, *, sync):
        local.write_whole(os.path.join(run, CURRENT), encode_current(encode_record(record)), sync=sync)
        system.rename(os.path.join(run, CURRENT), os.path.join(directory, FOLDER, CURRENT))
        roll_forward(directory, run, record, changes, sync=sync)

    monkeypatch.setattr(rollforward, "_roll_forward", mutated)


def current_after_publishing(monkeypatch):
    publish_first = Transaction._publish_first

    def mutated(self):
        away = os.path.join(self.run, CURRENT)
        system.rename(os.path.join(self.files, FOLDER, CURRENT), away)
        publish_first(self)
        system.rename(away, os.path.join(self.directory, FOLDER, CURRENT))

    monkeypatch.setattr(Transaction, "_publish_first", mutated)


def record_before_entries(monkeypatch):
    commit_point = Transaction._commit_point

    def mutated(self, record):
        if not self._is_first:
            name = record.name + ".json"
            local.put_if_absent(os.path.join(self.run, name), os.path.join(self.directory, FOLDER, name))
            with monkeypatch.context() as patch:
                patch.setattr(local, "put_if_absent", _unless_record(local.put_if_absent))
                commit_point(self, record)
        else:
            commit_point(self, record)

    monkeypatch.setattr(Transaction, "_commit_point", mutated)


def _unless_record(put_if_absent):
    def put(staged, path):
        if not path.endswith(".json"):
            put_if_absent(staged, path)

    return put


def record_before_files(monkeypatch):
    """The record is there before the staged files were brought to the disk."""
    monkeypatch.setattr(Transaction, "_flush", lambda self: None)


def record_not_on_disk(monkeypatch):
    write_whole = local.write_whole
    monkeypatch.setattr(local, "write_whole", lambda path, data, *, sync: write_whole(path, data, sync=False))


def plain_rename(monkeypatch):
    monkeypatch.setattr(local, "publish_directory", _rename)


def overwriting(monkeypatch):
    monkeypatch.setattr(local, "put_if_absent", _rename)


def _rename(staged, path):
    system.rename(staged, path)


def no_undo(monkeypatch):
    monkeypatch.setattr(rollforward._Mover, "_keep", lambda self, place, kept: None)


def removes_in_place(monkeypatch):
    def unlinking(self, path):
        self.touched.add(os.path.dirname(path))
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            system.unlink(os.path.join(self._directory, path))

    monkeypatch.setattr(rollforward._Mover, "take_away", unlinking)


def recovery_removes_nothing(monkeypatch):
    changes_of = rollforward.changes_of
    monkeypatch.setattr(rollforward, "changes_of", lambda pairs: rollforward.Changes(changes_of(pairs).put, ()))


def no_recovery(monkeypatch):
    monkeypatch.setattr(rollforward, "_finish", lambda *_, **__: None)


def no_claim(monkeypatch):
    def mutated(staging):
        for name in local.names_in(staging):
            if name.startswith("run-"):
                yield name.split("-")[2], os.path.join(staging, name)

    monkeypatch.setattr(rollforward, "_claimed", mutated)


def litter_stays(monkeypatch):
    for module in (rollforward, transaction):
        monkeypatch.setattr(module, "remove_abandoned", lambda *_, **__: None)


def sync_error_swallowed(monkeypatch):
    def mutated(sync, descriptor):
        with contextlib.suppress(OSError):
            sync(descriptor)

    _mutate_syncs(monkeypatch, mutated)


def sync_tried_again(monkeypatch):
    def mutated(sync, descriptor):
        try:
            sync(descriptor)
        except OSError:
            sync(descriptor)

    _mutate_syncs(monkeypatch, mutated)


def _mutate_syncs(monkeypatch, mutated):
    """In the eyes of storage.local; the harness still replaces what lies behind."""

    class System:
        def __getattr__(self, name):
            if name in {"fsync", "fdatasync", "syncfs"}:
                return lambda descriptor: mutated(getattr(system, name), descriptor)
            return getattr(system, name)

    monkeypatch.setattr(local, "system", System())


def background_error_forgotten(monkeypatch):
    def mutated(self):
        while not self._stop.wait():
            with contextlib.suppress(OSError):
                local.sync_file_system(self._descriptor)

    monkeypatch.setattr(local.BackgroundSync, "_repeat", mutated)


def pending_is_complete(monkeypatch):
    for module in (directory_task, planning):
        monkeypatch.setattr(module, "has_pending", lambda directory: False)


def outputs_not_looked_at(monkeypatch):
    monkeypatch.setattr(directory_task.DirectoryTask, "_looks", lambda *_, **__: Looks(at_outputs=False))


def keeps_one_less(monkeypatch):
    forgettable = rollforward.forgettable
    monkeypatch.setattr(rollforward, "forgettable", lambda directory, keep: forgettable(directory, keep - 1))


def forgets_what_deltas_build_on(monkeypatch):
    forgettable = rollforward.forgettable

    def mutated(directory, keep):
        names = local.names_in(os.path.join(directory, FOLDER))
        kept = {f"{generation_name(number)}.jsonl" for number in numbers_of(names, ".json")[-keep:]}
        lost = [name for name in names if name.endswith(".jsonl") and name not in kept]
        return [*forgettable(directory, keep), *(os.path.join(directory, FOLDER, name) for name in lost)]

    monkeypatch.setattr(rollforward, "forgettable", mutated)


def checksums_not_looked_at(monkeypatch):
    monkeypatch.setattr(journal, "zlib", types.SimpleNamespace(crc32=lambda data: 0))


def unjournaled_files_stay(monkeypatch):
    monkeypatch.setattr(Transaction, "_sweep", lambda self: None)
    monkeypatch.setattr(transaction, "tidy", lambda run, finished, mark: None)


def sources_not_looked_at(monkeypatch):
    plan_update = resumption.plan_update

    def mutated(items, entries, **options):
        sources = {entry.key: entry.sources for entry in entries}
        same = [Item(item.key, sources.get(item.key, item.sources), item.folders, item.seed) for item in items]
        return plan_update(same, entries, **options)

    monkeypatch.setattr(resumption, "plan_update", mutated)


def staged_outputs_not_looked_at(monkeypatch):
    plan_update = resumption.plan_update
    monkeypatch.setattr(
        resumption, "plan_update", lambda items, entries, **options: plan_update(
            items, entries, **(options | {"outputs": None, "distrust": ()})
        )
    )  # fmt: skip


def power_cut_forgotten(monkeypatch):
    """Staged outputs are believed by size and time of change whatever has become of the machine."""
    plan_update = resumption.plan_update
    monkeypatch.setattr(
        resumption, "plan_update", lambda items, entries, **options: plan_update(
            items, entries, **(options | {"distrust": ()})
        )
    )  # fmt: skip


def other_code_taken_over(monkeypatch):
    monkeypatch.setattr(Resumption, "_may_be_used", lambda self, run: True)
    monkeypatch.setattr(Resumption, "_is_same_task", lambda self, made: True)


def not_poisoned(monkeypatch):
    monkeypatch.setattr(transaction, "poison", lambda run: None)
    monkeypatch.setattr(transaction, "was_syncing", lambda run: False)


def nothing_taken_over(monkeypatch):
    monkeypatch.setattr(Resumption, "run_in", lambda self, staging: None)


def folders_not_on_disk(monkeypatch):
    sync_path = local.sync_path
    monkeypatch.setattr(local, "sync_path", lambda path: None if os.path.isdir(path) else sync_path(path))


# -- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutant:
    """Something broken on purpose.

    Parameters
    ----------
    breaks
        What is broken.
    apply
        Breaks it; None where no code would be another one.
    trial
        By which part of the harness it is found, or would have to be.
    why_not
        Why the harness does not find it; empty where it does.
    """

    breaks: str
    apply: Callable[[pytest.MonkeyPatch], None] | None
    trial: str
    why_not: str = ""


MUTANTS = {
    "current-before-files": Mutant(
        "CURRENT names a generation before its files are in their places", current_before_files, "update, deaths"
    ),
    "current-after-publishing": Mutant(
        "a first build gets its name before CURRENT lies in it", current_after_publishing, "first build, deaths",
        "the next run makes CURRENT again, and until then nothing counts as complete"
    ),
    "record-before-entries": Mutant(
        "the record is linked before the entries that it speaks of", record_before_entries, "update, deaths"
    ),
    "record-before-data": Mutant(
        "staged files are not brought to the disk before the commit", record_before_files, "first build, power cut"
    ),
    "record-not-on-disk": Mutant(
        "record and CURRENT are not brought to the disk", record_not_on_disk, "update, power cut"
    ),
    "plain-rename": Mutant(
        "a first build is published by a rename that replaces an empty directory", plain_rename, "first build, intruder"
    ),
    "overwriting": Mutant(
        "a record replaces one that is there already", overwriting, "overtaken unseen"
    ),
    "no-undo": Mutant(
        "replaced files are overwritten and not kept", no_undo, "update, deaths"
    ),
    "removes-in-place": Mutant(
        "files that are gone are unlinked where they lie, and not moved into the run's directory", removes_in_place,
        "overtaken"
    ),
    "recovery-removes-nothing": Mutant(
        "rolling forward again does not take away files that are gone", recovery_removes_nothing, "update, deaths"
    ),
    "no-recovery": Mutant(
        "a generation that is committed is not rolled forward by the next run", no_recovery, "update, deaths"
    ),
    "no-claim": Mutant(
        "who recovers does not rename the directories of other runs", no_claim, "overtaken",
        "who overtakes here has also removed the directory before the other goes on: that takes two that run at once, "
        "and `make stress`"
    ),
    "litter-stays": Mutant(
        "what other runs have left is not removed", litter_stays, "update, EIO of a sync"
    ),
    "sync-error-swallowed": Mutant(
        "the error of a sync is passed over", sync_error_swallowed, "first build, EIO of a sync"
    ),
    "sync-tried-again": Mutant(
        "a sync that failed is tried again, and then believed", sync_tried_again, "update, EIO of a sync"
    ),
    "background-error-forgotten": Mutant(
        "the error of a sync in the background is forgotten", background_error_forgotten, "first build, background"
    ),
    "pending-is-complete": Mutant(
        "complete() does not ask whether a generation is still to be rolled forward", pending_is_complete,
        "rollback, deaths"
    ),
    "outputs-not-looked-at": Mutant(
        "complete() does not look at the outputs", outputs_not_looked_at, "repair, deaths"
    ),
    "keeps-one-less": Mutant(
        "one generation too many is forgotten", keeps_one_less, "update, deaths"
    ),
    "forgets-what-deltas-build-on": Mutant(
        "the entries of an old generation are removed on which a later one builds", forgets_what_deltas_build_on,
        "changing update, deaths"
    ),
    "checksums-not-looked-at": Mutant(
        "the checksum of a journal's lines is not looked at", checksums_not_looked_at, "first build, deaths amid"
    ),
    "unjournaled-files-stay": Mutant(
        "staged files that no entry speaks of are left where a run goes on", unjournaled_files_stay,
        "changing first build, deaths"
    ),
    "sources-not-looked-at": Mutant(
        "finished items are taken over without a look at their sources", sources_not_looked_at,
        "changing first build, deaths"
    ),
    "staged-outputs-not-looked-at": Mutant(
        "finished items are taken over without a look at their outputs", staged_outputs_not_looked_at,
        "first build, power cut"
    ),
    "power-cut-forgotten": Mutant(
        "after a power cut staged outputs are believed by size and time of change", power_cut_forgotten,
        "first build, power cut"
    ),
    "other-code-taken-over": Mutant(
        "finished items of other code are taken over", other_code_taken_over, "first build of other code, deaths"
    ),
    "not-poisoned": Mutant(
        "a staging whose sync failed is taken over as it is", not_poisoned, "first build, EIO of a sync"
    ),
    "nothing-taken-over": Mutant(
        "what an interrupted run has finished is not taken over", nothing_taken_over, "first build, deaths"
    ),
    "journal-before-output": Mutant(
        "a journal's line is written before the output that it speaks of", None, "",
        "the line says size, time of change and digest, and only the written file has those"
    ),
    "folders-not-on-disk": Mutant(
        "names in folders are not brought to the disk", folders_not_on_disk, "update, power cut",
        "here a power cut loses bytes, and no names: that takes a file system and `make stress`"
    ),
}  # fmt: skip
CAUGHT = [name for name, mutant in MUTANTS.items() if not mutant.why_not]


@pytest.fixture
def world(monkeypatch, tmp_path):
    monkeypatch.setenv("LUISY_DIR_DURABILITY", "commit")
    monkeypatch.setattr(transaction, "LARGEST_SHARE", 10.0)  # updates write deltas
    with sandbox(monkeypatch, tmp_path) as world:
        yield world


@pytest.mark.parametrize("name", ["first build, intruder", "overtaken", "overtaken unseen"])
def test_where_nothing_is_broken_nothing_is_found(world, monkeypatch, name):
    """All other trials are parts of the sweeps in test_faults.py, which find nothing."""
    TRIALS[name](world, monkeypatch, stop_at_first=False).check()


@pytest.mark.parametrize("name", CAUGHT)
def test_what_is_broken_is_found(world, monkeypatch, name):
    MUTANTS[name].apply(monkeypatch)
    found = TRIALS[MUTANTS[name].trial](world, monkeypatch, stop_at_first=True)
    assert found.points, "it shows where nothing goes wrong"
    assert found.violations
    assert not re.search(r": (Type|Name|Attribute)Error in ", found.violations[0]), "it is the mutant that is wrong"


@pytest.mark.parametrize("name", [name for name, mutant in MUTANTS.items() if mutant.why_not and mutant.apply])
def test_what_is_said_not_to_be_found_is_not(world, monkeypatch, name):
    """Else it belongs to those that are."""
    MUTANTS[name].apply(monkeypatch)
    TRIALS[MUTANTS[name].trial](world, monkeypatch, stop_at_first=True).check()


def test_there_are_enough_of_them():
    assert len(CAUGHT) >= 14


def test_the_page_names_every_mutant():
    """The table says what each breaks, and by what it is found or why it is not."""
    text = PAGE.read_text(encoding="utf-8").partition("\n## Does it find anything?\n")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", text, re.MULTILINE))
    expected = {
        name: f"{mutant.breaks} | {'no: ' + mutant.why_not if mutant.why_not else mutant.trial}"
        for name, mutant in MUTANTS.items()
    }
    assert rows == expected
