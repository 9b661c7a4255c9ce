"""Memory: no more items are in hand than fit, and the report says what each of them took."""

from __future__ import annotations

import logging
import math
import os
import shutil
import sys
import threading
import time
from contextlib import closing

import luigi
import numpy as np
import pytest
from conftest import an_entry
from hypothesis import given
from hypothesis import strategies as st
from loads import BySize, InPairs, Loaded, Loads, OneByOne, OnOneEventLoop, OnThreads, WithoutALimit, read, write
from naps import NOTES

import luisy_dir as luisy
from luisy_dir import item_memory, peak
from luisy_dir.engines import open_engine
from luisy_dir.engines.mapping import map_unordered
from luisy_dir.entry import decode_entry, encode_entry
from luisy_dir.errors import DefinitionError, SettingError
from luisy_dir.item import Item, Source
from luisy_dir.item_memory import ItemMemory
from luisy_dir.manifest import read_manifest
from luisy_dir.peak import Peak

MEGABYTE = 1 << 20
IS_LINUX = sys.platform.startswith("linux")
ON_EVERY_ENGINE = [Loaded, OnThreads, OnOneEventLoop]


@pytest.fixture(autouse=True)
def notes(tmp_path_factory, monkeypatch):
    """What items have noted, as ``+key`` when they are begun and ``-key`` when they are ended, in their order."""
    folder = tmp_path_factory.mktemp("notes")
    monkeypatch.setenv(NOTES, str(folder))
    return lambda: (folder / "items").read_text().split()


@pytest.fixture
def fill(write_files):
    """``fill({"a": "nap 1"})`` makes a file for each key, with that text."""

    def make(texts):
        write_files(Loads().output().path, {f"{key}.txt": text.encode() for key, text in texts.items()})

    return make


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, "luigi-interface.luisy_dir")
    return lambda: [record.getMessage() for record in caplog.records if "item_memory" in record.getMessage()]


def in_hand(notes, weight=lambda key: 1):
    """Of every moment: the weights of the items that were in hand."""
    now, moments = [], []
    for line in notes:
        if line[0] == "+":
            now.append(line[1:])
        else:
            now.remove(line[1:])
        moments.append([weight(key) for key in now])
    return moments


def most(notes):
    """The largest number of items in hand at the same time."""
    return max(map(len, in_hand(notes)))


def statuses(task):
    return {entry.key: entry.status for entry in task.output().manifest().entries()}


# -- admission --------------------------------------------------------------------------------------------------------


class TestAdmission:
    """No more items are in hand at the same time than fit into memory."""

    @pytest.mark.parametrize("task", ON_EVERY_ENGINE)
    def test_so_many_items_as_fit_are_in_hand_at_the_same_time_and_no_more(self, fill, notes, task):
        """1,000 bytes hold three items of 300, however many workers there are."""
        fill({f"{number}": "wait 3" for number in range(10)})

        task().run()

        assert most(notes()) == 3
        assert set(statuses(task()).values()) == {"written"}

    @pytest.mark.parametrize("task", ON_EVERY_ENGINE)
    def test_where_there_are_fewer_items_all_of_them_are_in_hand(self, fill, notes, task):
        fill({f"{number}": "wait 3" for number in range(3)})

        task().run()

        assert most(notes()) == 3

    @pytest.mark.parametrize("task", ON_EVERY_ENGINE)
    def test_items_that_are_too_large_are_processed_one_by_one_with_one_warning(
        self, fill, notes, warnings, task, monkeypatch
    ):
        monkeypatch.setattr(task, "item_memory", 2000, raising=False)
        fill({f"{number}": "nap 0.01" for number in range(10)})

        task().run()

        assert most(notes()) == 1
        assert len(notes()) == 20
        assert len(warnings()) == 1
        assert all(word in warnings()[0] for word in (task.__name__, "'0'", "2,000 bytes", "1,000"))

    def test_without_item_memory_there_is_no_limit_but_that_of_the_workers(self, fill, notes):
        fill({f"{number}": "wait 8" for number in range(8)})

        WithoutALimit().run()

        assert most(notes()) == 8

    def test_a_fraction_is_of_what_can_be_used_when_the_run_begins(self, fill, notes, monkeypatch):
        monkeypatch.setattr(item_memory, "usable_memory", lambda: 2000)
        monkeypatch.setenv("LUISY_DIR_MEMORY", "0.5")
        fill({f"{number}": "wait 3" for number in range(10)})

        OnThreads().run()

        assert most(notes()) == 3

    def test_where_nothing_is_left_items_are_processed_one_by_one(self, fill, notes, monkeypatch):
        monkeypatch.setattr(item_memory, "usable_memory", lambda: 0)
        monkeypatch.setenv("LUISY_DIR_MEMORY", "0.8")
        fill({f"{number}": "nap 0.01" for number in range(6)})

        OnThreads().run()

        assert (most(notes()), len(notes())) == (1, 12)

    def test_items_of_different_sizes_are_in_hand_while_their_sum_fits(self, fill, notes, warnings):
        texts = {f"{number:02d}": "nap 0.01".ljust(20 + 37 * number % 300) for number in range(60)}
        fill(texts)

        BySize().run()

        moments = in_hand(notes(), lambda key: 4 * len(texts[key]))
        assert max(map(len, moments)) > 1
        assert [moment for moment in moments if sum(moment) > 1000 and len(moment) > 1] == []
        assert len(warnings()) == 1

    def test_on_the_serial_engine_items_are_processed_in_the_same_order_as_without(self, fill, notes):
        fill({f"{number:02d}": "word" for number in range(30)})

        OneByOne().run()

        assert notes() == [f"{sign}{number:02d}" for number in range(30) for sign in "+-"]

    def test_a_recheck_keeps_to_the_limit_too(self, fill, notes):
        fill({f"{number}": "nap 0.05" for number in range(10)})
        OnThreads().run()
        published = len(notes())

        assert OnThreads().recheck(1.0).is_reproduced

        assert len(notes()) == 2 * published
        assert most(notes()[published:]) <= 3

    def test_a_worker_that_dies_gives_its_memory_back(self, fill, notes, monkeypatch):
        """Half of the items kill their worker; each needs nearly all memory, so that none may be lost."""
        monkeypatch.setattr(Loaded, "item_memory", 900)
        monkeypatch.setattr(Loaded, "max_errors", 1.0, raising=False)
        fill({f"{number}": "die" if number % 2 else "nap 0.01" for number in range(8)})

        Loaded().run()

        assert statuses(Loaded()) == {f"{number}": "failed" if number % 2 else "written" for number in range(8)}
        assert most(notes()) == 1

    def test_a_batch_takes_what_its_items_take_together(self, fill, notes, warnings):
        """Two pairs of 600 bytes do not fit into 1,000."""
        fill({f"{number}": "word" for number in range(8)})

        InPairs().run()

        assert (most(notes()), len(notes())) == (2, 16)
        assert warnings() == []

    def test_a_batch_that_is_too_large_is_processed_alone_with_one_warning(self, fill, notes, warnings, monkeypatch):
        monkeypatch.setattr(InPairs, "item_memory", lambda item: 700)
        fill({f"{number}": "word" for number in range(8)})

        InPairs().run()

        assert (most(notes()), len(notes())) == (2, 16)
        assert len(warnings()) == 1
        assert all(word in warnings()[0] for word in ("2 items from '0' to '1'", "1,400 bytes", "`batch_size`"))

    def test_an_item_that_is_tried_again_is_admitted_again(self, fill, notes, monkeypatch):
        monkeypatch.setattr(OnThreads, "item_memory", 900, raising=False)
        monkeypatch.setattr(OnThreads, "retries", 2, raising=False)
        monkeypatch.setattr(OnThreads, "retry_delay", 0, raising=False)
        monkeypatch.setattr(OnThreads, "max_errors", 1.0, raising=False)
        fill({f"{number}": "fail" if number % 2 else "nap 0.01" for number in range(6)})

        OnThreads().run()

        assert statuses(OnThreads()) == {f"{number}": "failed" if number % 2 else "written" for number in range(6)}
        assert (most(notes()), len(notes())) == (1, 2 * (3 + 3 * 3))

    def test_what_an_item_takes_makes_nothing_stale(self, fill, monkeypatch):
        fill({"a": "word", "b": "word"})
        OnThreads().run()
        manifest = OnThreads().output().manifest()

        monkeypatch.setattr(OnThreads, "item_memory", "2 GB", raising=False)
        monkeypatch.setenv("LUISY_DIR_MEMORY", "4 GB")
        assert OnThreads().complete()
        monkeypatch.setattr(OnThreads, "item_memory", lambda item: 7, raising=False)
        assert OnThreads().complete()
        OnThreads().output().remove()
        OnThreads().run()

        assert OnThreads().output().manifest().record.fingerprint == manifest.record.fingerprint


class TestTheMap:
    """Things are sent in their order, each as soon as there is room for it."""

    def test_a_heavy_thing_gets_its_turn_among_light_ones(self):
        """Each waits for those before it, so that what has come later passes none by."""
        weights = [1] * 50 + [99] + [1] * 50
        done = []

        with (
            open_engine("threads", 4) as executor,
            closing(
                map_unordered(executor, done.append, range(101), workers=4, weight=weights.__getitem__, budget=10)
            ) as results,
        ):
            assert len(list(results)) == 101

        assert sorted(done[:50]) == list(range(50))
        assert done[50] == 50

    @given(st.lists(st.integers(0, 12), max_size=60), st.integers(0, 20), st.integers(1, 6))
    def test_whatever_things_weigh_all_are_done_and_no_more_than_fits_at_the_same_time(self, weights, budget, workers):
        under_way, moments, lock = [], [], threading.Lock()

        def work(number):
            with lock:
                under_way.append(weights[number])
                moments.append(list(under_way))
            time.sleep(0.0002)
            with lock:
                under_way.remove(weights[number])
            return number

        with (
            open_engine("threads", workers) as executor,
            closing(
                map_unordered(
                    executor,
                    work,
                    range(len(weights)),
                    workers=workers,
                    weight=weights.__getitem__,
                    budget=budget,
                )
            ) as results,
        ):
            assert sorted(results) == list(range(len(weights)))

        too_much = [moment for moment in moments if sum(moment) > budget and len(moment) > 1]
        assert too_much == []

    def test_things_are_weighed_as_they_are_sent_and_not_all_before(self):
        weighed = []

        def weight(number):
            weighed.append(number)
            return 5

        with (
            open_engine("threads", 2) as executor,
            closing(map_unordered(executor, abs, iter(range(10_000)), workers=2, weight=weight, budget=10)) as results,
        ):
            next(results)
            assert len(weighed) < 100


# -- what is said of an item ------------------------------------------------------------------------------------------


def task_with(value, **settings):
    """A task with that ``item_memory``, by the decorator."""

    @luisy.interim
    @luisy.requires(Loads)
    @luisy.directory_output((read, write), suffix=".txt", engine="threads", item_memory=value, **settings)
    class Weighed(luisy.DirectoryTask):
        def process(self, text):
            return text

    return Weighed()


class TestWhatIsSaid:
    """It is bytes, a text or a function of the item; what is none of these is an error that says what to do."""

    @pytest.mark.parametrize(
        ("value", "size"),
        [
            (1, 1),
            (300, 300),
            (2e9, 2_000_000_000),
            (0.5, 1),
            (np.int64(7), 7),
            (np.float32(1.5), 2),
            ("300", 300),
            ("500 MB", 500_000_000),
            ("1.5GiB", 3 << 29),
            ("2 tb", 2_000_000_000_000),
            (lambda item: 0, 0),
            (lambda item: 1.25, 2),
            (lambda item: "2 KiB", 2048),
            (lambda item: item.sources[0].size * len(item.key), 30),
        ],
    )
    def test_a_size_may_be_said_in_any_of_these_ways(self, value, size):
        item = Item("abc", (Source("raw", "abc.txt", 10, 1),), {})

        assert item_memory.item_memory_of(task_with(value), 10**15).of(item) == size

    WRONG = (-1, 0, -0.5, math.nan, math.inf, True, "", "lots", "2 G", "-1 GB", "1.5 B", b"1", [300], object(), int)

    @pytest.mark.parametrize("value", WRONG)
    def test_what_is_no_size_is_refused_where_it_is_written(self, value):
        with pytest.raises(DefinitionError, match="item_memory of the decorator") as raised:
            task_with(value)

        assert "'2 GiB'" in str(raised.value)

    @pytest.mark.parametrize("value", WRONG)
    def test_what_is_no_size_is_refused_at_a_class(self, value):
        class Nonsensical(OnThreads):
            item_memory = value

        with pytest.raises(DefinitionError, match="item_memory of Nonsensical"):
            Nonsensical()

    def test_what_has_become_no_size_is_refused_when_the_task_runs(self, fill, monkeypatch):
        fill({"a": "word"})
        task = OnThreads()
        monkeypatch.setattr(OnThreads, "item_memory", "lots", raising=False)

        with pytest.raises(DefinitionError, match="item_memory of OnThreads"):
            task.run()

    def test_a_coroutine_is_refused_because_nobody_awaits_it(self):
        async def size(item):
            return 300

        with pytest.raises(DefinitionError, match="async def"):
            task_with(size)

    def test_a_method_may_look_at_the_parameters_of_the_task(self, fill, notes, monkeypatch):
        class Scaled(OnThreads):
            factor = luigi.IntParameter()

            def item_memory(self, item):
                return self.factor

        fill({f"{number}": "nap 0.01" for number in range(6)})
        Scaled(factor=900).run()

        assert most(notes()) == 1

    def test_a_parameter_may_say_it(self):
        class ByParameter(OnThreads):
            item_memory = luigi.Parameter()

        assert item_memory.item_memory_of(ByParameter(item_memory="2 kB"), 10**9).of(Item("a", (), {})) == 2000
        with pytest.raises(DefinitionError, match="'much'"):
            ByParameter(item_memory="much")

    def test_the_function_form_takes_it_too(self):
        @luisy.interim
        @luisy.requires(Loads)
        @luisy.directory_task(".json", item_memory=lambda item: len(item.key))
        def weighed(text):
            return text

        assert item_memory.item_memory_of(weighed(), 10**9).of(Item("abc", (), {})) == 3

    def test_the_function_gets_an_item_with_key_path_and_sizes(self, fill):
        asked = {}
        fill({"a/one": "word", "two": "longer"})

        def size(item):
            asked[item.key] = os.path.exists(item.path), item.sources[0].size
            return 1

        task_with(size).run()

        assert asked == {"a/one": (True, 4), "two": (True, 6)}

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            (lambda: None, ["returned None", "no number of bytes"]),
            (lambda: -1, ["returned -1"]),
            (lambda: math.nan, ["returned nan"]),
            (lambda: "lots", ["returned 'lots'"]),
            (lambda: True, ["returned True"]),
            (lambda: 1 / 0, ["raised ZeroDivisionError", "division by zero"]),
            (lambda: sys.exit(3), ["raised SystemExit"]),
        ],
    )
    def test_what_is_wrong_with_one_item_is_an_error_that_names_it_and_the_next_run_goes_on(
        self, fill, notes, monkeypatch, fault, words
    ):
        fill({f"{number:02d}": "word" for number in range(20)})
        monkeypatch.setattr(OneByOne, "item_memory", lambda item: fault() if item.key == "15" else 1, raising=False)

        with pytest.raises(DefinitionError) as raised:
            OneByOne().run()

        assert all(word in str(raised.value) for word in ["item_memory of OneByOne", "'15'", *words])
        assert not OneByOne().complete()
        before = len(notes())
        assert before > 0
        monkeypatch.setattr(OneByOne, "item_memory", 1, raising=False)
        OneByOne().run()
        assert len(notes()) == 40
        assert OneByOne().complete()

    def test_an_item_of_unknown_size_is_processed_alone(self):
        """The function could not know that the size of a file that could not be looked at is -1."""
        unknown = Item("a", (Source("raw", "a.txt", -1, 1),), {})

        assert ItemMemory(lambda item: 3 * item.sources[0].size, 1000, "Weighed").of(unknown) == 1000

    def test_nonsense_in_the_setting_is_an_error_even_where_no_task_says_what_it_takes(self, fill, monkeypatch):
        fill({"a": "word"})
        monkeypatch.setenv("LUISY_DIR_MEMORY", "plenty")

        with pytest.raises(SettingError, match="16 GiB"):
            WithoutALimit().run()


# -- what an item took ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not IS_LINUX, reason="elsewhere the system does not say")
class TestPeak:
    """The report says what the worker process had resident at most while it had an item in hand."""

    @pytest.mark.parametrize("task", [Loaded, OneByOne])
    def test_an_item_that_takes_much_is_told_from_those_before_and_after(self, fill, monkeypatch, task):
        monkeypatch.setenv("LUISY_DIR_WORKERS", "1")
        fill({"0": "word", "1": "hold 200", "2": "word", "3": "hold 100"})

        task().run()

        peaks = task().report()["peak_memory"]
        assert peaks["1"] - peaks["0"] > 190 * MEGABYTE
        assert peaks["1"] - peaks["2"] > 190 * MEGABYTE
        assert 90 * MEGABYTE < peaks["3"] - peaks["2"] < 110 * MEGABYTE

    def test_an_item_that_failed_has_it_too(self, fill, monkeypatch):
        monkeypatch.setattr(OneByOne, "max_errors", 1, raising=False)
        fill({"0": "fail", "1": "word"})

        OneByOne().run()

        assert (OneByOne().report()["peak_memory"] > MEGABYTE).all()

    @pytest.mark.parametrize("task", [OnThreads, OnOneEventLoop])
    def test_where_several_items_share_a_process_nobody_knows(self, fill, task):
        fill({"0": "word", "1": "word"})

        task().run()

        assert task().report()["peak_memory"].isna().all()

    def test_of_the_items_of_a_batch_nobody_knows(self, fill, monkeypatch):
        monkeypatch.setattr(InPairs, "engine", "serial", raising=False)
        fill({"0": "word", "1": "word", "2": "word"})

        InPairs().run()

        assert list(InPairs().report()["peak_memory"].isna()) == [True, True, False]

    @pytest.mark.parametrize("path", ["/proc/self/clear_refs", "/proc/self/status"])
    def test_where_a_container_refuses_nobody_knows_and_nothing_fails(self, fill, path, monkeypatch):
        opened = peak._opened
        monkeypatch.setattr(peak, "_opened", lambda name, flags: None if name == path else opened(name, flags))
        fill({"0": "word"})

        OneByOne().run()

        assert statuses(OneByOne()) == {"0": "written"}
        assert OneByOne().report()["peak_memory"].isna().all()

    @pytest.mark.parametrize(
        ("instead_of", "there_is"),
        [
            ("/proc/self/clear_refs", "/dev/full"),  # a write that fails
            ("/proc/self/status", "/dev/null"),  # nothing to be read
            ("/proc/self/status", "/proc/version"),  # something else
        ],
    )
    def test_whatever_the_system_answers_nothing_is_raised(self, instead_of, there_is, monkeypatch):
        opened = peak._opened
        other = {instead_of: there_is}
        monkeypatch.setattr(peak, "_opened", lambda name, flags: opened(other.get(name, name), flags))

        with closing(Peak()) as looked:
            looked.begin()
            assert looked.so_far() is None

    def test_before_anybody_looks_nobody_knows(self):
        with closing(Peak()) as looked:
            assert looked.so_far() is None

    def test_a_worker_that_died_leaves_nothing_of_it(self, fill, monkeypatch):
        monkeypatch.setattr(Loaded, "max_errors", 1, raising=False)
        fill({"0": "die", "1": "word"})

        Loaded().run()

        assert list(Loaded().report()["peak_memory"].isna()) == [True, False]

    def test_it_is_no_part_of_the_answer(self, fill, tmp_path, monkeypatch):
        """Neither of what two runs are compared by, nor of what makes anything stale."""
        fill({"0": "word", "1": "word"})
        publish = OneByOne()
        publish.run()
        manifest = publish.output().manifest()
        copy = shutil.copytree(publish.output().path, tmp_path / "copy")
        assert publish.report()["peak_memory"].notna().all()
        publish.output().remove()
        monkeypatch.setattr(Peak, "so_far", lambda self: None)

        publish.run()

        assert publish.report()["peak_memory"].isna().all()
        assert publish.output().manifest().same_as(read_manifest(copy))
        assert publish.output().manifest().record.outputs_digest == manifest.record.outputs_digest


def test_an_entry_without_a_peak_is_written_and_read_as_ever():
    """Manifests of before have no such field."""
    entry = an_entry("a")

    assert b"peak_memory" not in encode_entry(entry)
    assert decode_entry(encode_entry(entry)) == entry


def test_an_entry_with_a_peak_is_read_as_it_was_written():
    entry = an_entry("a", peak_memory=123_456_789)

    assert decode_entry(encode_entry(entry)) == entry
