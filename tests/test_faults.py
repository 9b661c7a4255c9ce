"""Whatever goes wrong, and wherever: the next run ends in the right tree, and nobody sees anything wrong meanwhile."""

from __future__ import annotations

import inspect
import itertools
import os

import pytest
from faults import (
    BACKGROUND,
    DEATHS,
    ERRORS,
    LOOKING,
    LOOKING_ERRORS,
    MODES,
    MUTATING,
    NEVER_FAILING,
    OUT_OF_QUOTA,
    POWER_CUT,
    SCENARIOS,
    Calls,
    Scenario,
    dies,
    read,
    sandbox,
    sweep,
    tree,
)

from luisy_dir import transaction
from luisy_dir.storage import local, system

STEADY = [name for name, scenario in SCENARIOS.items() if scenario.change is None]
PUBLISHING = [name for name in SCENARIOS if name not in {"a release", "a repair"}]
UPDATES = ["an update", "an update whose inputs change"]


@pytest.fixture
def world(monkeypatch, tmp_path):
    with sandbox(monkeypatch, tmp_path) as world:
        yield world


@pytest.fixture(params=["commit"])
def durability(request, monkeypatch):
    monkeypatch.setenv("LUISY_DIR_DURABILITY", request.param)
    return request.param


@pytest.fixture(params=["delta"])
def manifest(request, monkeypatch):
    """Whether an update writes the entries that changed, or all."""
    monkeypatch.setattr(transaction, "LARGEST_SHARE", {"delta": 10.0, "whole": 0.0}[request.param])
    return request.param


@pytest.fixture
def swept(world, durability, manifest, request):
    """``swept(scenario, modes)``: a sweep that is counted and must have found nothing."""

    def run(name, *modes, **options):
        found = sweep(world, SCENARIOS[name], list(modes), **options)
        request.node.user_properties.append(("fault points", [found.points, len(found.violations)]))
        found.check()

    return run


def by_name(mode):
    return mode.name


@pytest.mark.parametrize("mode", [*DEATHS, *ERRORS], ids=by_name)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_fault_at_each_call_that_changes_something(swept, name, mode):
    """SIGKILL, a disk that fails or is full, no descriptor left; once, or from then on."""
    swept(name, mode)


@pytest.mark.parametrize("mode", OUT_OF_QUOTA, ids=by_name)
@pytest.mark.parametrize("name", ["a first build", "an update"])
def test_no_quota_left_at_each_call_that_changes_something(swept, name, mode):
    """As a full disk, but for the number of the error."""
    swept(name, mode)


@pytest.mark.parametrize("mode", LOOKING_ERRORS, ids=by_name)
@pytest.mark.parametrize("name", STEADY)
def test_an_error_at_each_call_that_looks_only(swept, name, mode):
    swept(name, mode, kind="looking")


@pytest.mark.parametrize("manifest", ["whole"], indirect=True)
@pytest.mark.parametrize("mode", DEATHS[1:], ids=by_name)
@pytest.mark.parametrize("name", UPDATES)
def test_a_death_at_each_call_of_an_update_that_writes_all_entries(swept, name, mode):
    swept(name, mode)


@pytest.mark.parametrize("durability", ["none", "item"], indirect=True)
@pytest.mark.parametrize("mode", DEATHS[1:], ids=by_name)
@pytest.mark.parametrize("name", PUBLISHING)
def test_a_death_at_each_call_whatever_the_durability(swept, name, mode):
    """To die before a call is to die after the one before, but for what is processed once more."""
    swept(name, mode)


@pytest.mark.parametrize("durability", ["item"], indirect=True)
@pytest.mark.parametrize("mode", [MODES["EIO once"], MODES["ENOSPC for good"]], ids=by_name)
@pytest.mark.parametrize("name", ["a first build", *UPDATES])
def test_an_error_at_each_call_where_every_item_is_brought_to_the_disk(swept, name, mode):
    swept(name, mode)


@pytest.mark.parametrize("durability", ["commit", "item"], indirect=True)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_power_cut_after_each_call(swept, name):
    """What had not been brought to the disk is zeros afterwards, and the machine has another boot."""
    swept(name, POWER_CUT)


@pytest.mark.parametrize("durability", ["commit", "item"], indirect=True)
@pytest.mark.parametrize("name", PUBLISHING)
def test_a_sync_in_the_background_that_fails_at_any_moment(swept, name):
    """What was written until then is lost, and no later sync says so: nothing is published."""
    swept(name, BACKGROUND)


# -- what is not in order yet -----------------------------------------------------------------------------------------


# -- the harness itself -----------------------------------------------------------------------------------------------


def test_every_function_of_the_one_door_is_looked_after():
    functions = {name for name, value in vars(system).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert functions == {*MUTATING, *LOOKING, *NEVER_FAILING}


def test_a_sweep_without_points_is_no_success(world, durability, manifest):
    nothing = Scenario(lambda: None, lambda: None, {}, {}, (), lambda world: None)
    with pytest.raises(AssertionError, match="no point"):
        sweep(world, nothing, DEATHS).check()


def test_a_fault_that_does_not_fire_is_no_success(world, durability, manifest):
    """The same calls are made in rehearsals, and fewer when it matters."""
    turns = itertools.count()

    def act():
        if next(turns) < 2:
            system.makedirs(world.working_dir + "/made")

    for mode in (MODES["dies before"], MODES["EIO once"]):
        turns = itertools.count()
        sometimes = Scenario(lambda: None, act, {}, {}, (), lambda world: None)
        with pytest.raises(AssertionError, match="did not fire"):
            sweep(world, sometimes, [mode]).check()


def test_calls_that_differ_from_run_to_run_are_no_success(world, durability, manifest):
    turns = itertools.count()

    def act():
        for _ in range(next(turns)):
            system.makedirs(world.working_dir + "/made")

    with pytest.raises(AssertionError, match="not the same in every run"):
        sweep(world, Scenario(lambda: None, act, {}, {}, (), lambda world: None), DEATHS).check()


@pytest.mark.parametrize("name", [mode.name for mode in DEATHS])
def test_a_child_that_dies_has_done_what_it_says(world, name):
    """Before the call nothing, after it all, amid it half."""
    path = world.working_dir + "/file"

    def act():
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
        system.write(descriptor, b"12345678")

    assert dies(act, Calls(1, MODES[name]))
    assert read(path) == {"dies before": "", "dies amid": "1234", "dies after": "12345678"}[name]


def test_after_a_power_cut_what_was_brought_to_the_disk_is_there_and_the_rest_is_not(world):
    def act():
        for name in ("synced", "not"):
            local.write_whole(f"{world.working_dir}/{name}", b"data", sync=name == "synced")

    number = 0
    with Calls() as calls:
        act()
        number = len(calls.made)
    for name in ("synced", "not"):
        os.unlink(f"{world.working_dir}/{name}")
    assert dies(act, Calls(number, POWER_CUT))
    assert tree(world.working_dir) == {"synced": "data", "not": "\0\0\0\0"}
