"""Progress: what has been done, in figures and in one line."""

from __future__ import annotations

import threading
import time

import pytest
from conftest import an_entry

from luisy_dir.entry import Failure
from luisy_dir.progress import Progress


def test_the_line_says_how_many_how_fast_and_how_long():
    progress = Progress("Task", 4_000)
    for number in range(1_500):
        progress.advance(an_entry(str(number)))
    line = progress.line()
    assert line.startswith("1,500 of 4,000 items, ")
    assert "items/s" in line
    assert line.endswith(" left")


def test_a_failure_is_counted_and_the_last_one_is_named():
    progress = Progress("Task", 3)
    for key in ("a", "b"):
        progress.advance(an_entry(key, status="failed", error=Failure("OSError", "cannot read")))
    assert "2 failed" in progress.line()
    assert progress.line().endswith("\nlast failure: b: OSError: cannot read")


def test_an_item_of_which_no_more_is_known_than_that_it_was_written_is_counted():
    progress = Progress("Task", 3)
    progress.advance()
    progress.advance()
    assert str(progress) == "2 of 3 items (2 written)"


def test_it_says_nothing_of_what_did_not_happen():
    progress = Progress("Task", 3)
    progress.advance(an_entry("a"))
    assert "failed" not in progress.line()
    assert str(progress) == "1 of 3 items (1 written)"


def test_all_items_done_is_not_yet_published():
    """The hundredth per cent is the publishing."""
    with Progress("Task", 2) as progress:
        progress.advance(an_entry("a"))
        assert progress.percentage == 50
        progress.advance(an_entry("b"))
        assert progress.percentage == 99
    assert progress.percentage == 100
    assert progress.line().startswith("published 2 of 2 items")


def test_a_run_that_ends_in_an_error_never_comes_to_a_hundred():
    with pytest.raises(OSError, match="full"), Progress("Task", 1) as progress:
        progress.advance(an_entry("a"))
        raise OSError("full")
    assert progress.percentage == 99
    assert progress.line().startswith("gave up (OSError) after 1 of 1 items")


def test_nothing_to_do_is_no_division_by_zero():
    with Progress("Task", 0) as progress:
        assert progress.line() == "0 of 0 items"
    assert progress.percentage == 100


def test_news_are_told_at_the_end_with_all_figures():
    news = []
    with Progress("Task", 1, news.append) as progress:
        progress.advance(an_entry("a", status="rejected"))
    assert news[-1]["rejected"] == news[-1]["done"] == news[-1]["total"] == 1
    assert news[-1]["percentage"] == 100


def test_another_thread_may_look_at_any_time():
    progress, errors, stop = Progress("Task", 10_000), [], threading.Event()

    def look():
        try:
            while not stop.is_set():
                progress.line()
                progress.facts()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    for number in range(10_000):
        progress.advance(an_entry(str(number), status=("written", "failed", "skipped", "rejected")[number // 2_500]))
    stop.set()
    thread.join()
    assert errors == []


def test_a_run_that_ends_in_an_error_says_what_it_has_done_and_where_to_look(caplog):
    failed = an_entry("b", status="failed", error=Failure("OSError", "cannot read"))
    with pytest.raises(OSError, match="full"), Progress("Task", 9, path="/data/a b") as progress:
        progress.advance(an_entry("a"))
        progress.advance(failed)
        raise OSError("full")
    said, advice = caplog.messages
    assert said.startswith("Task: gave up (OSError) after 2 of 9 items, 1 failed, ")
    assert said.endswith(" taken\nlast failure: b: OSError: cannot read")
    assert advice == "Task: 1 item failed. See why: luisy-dir errors '/data/a b'"


def test_a_run_that_has_done_nothing_says_nothing_at_its_end(caplog):
    with pytest.raises(OSError, match="busy"), Progress("Task", 9):
        raise OSError("busy")
    assert caplog.messages == []


def test_when_all_items_are_done_what_is_left_is_to_publish():
    progress = Progress("Task", 1)
    progress.advance(an_entry("a"))
    assert progress.line().endswith("items/s, publishing")


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "00:00 taken"), (59.6, "01:00 taken"), (3_599, "59:59 taken"), (90_061, "25:01:01 taken")],
)
def test_the_time_that_was_taken_stands_still_at_the_end(monkeypatch, seconds, told):
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Progress("Task", 1) as progress:
        now[0] += seconds
    now[0] += 1_000
    assert progress.line() == f"published 0 of 1 items, {told}"
