"""The report: the manifest as a frame, with the same columns whatever happened."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from conftest import an_entry

from luisy_dir.entry import COLUMNS, Failure, OutputFile
from luisy_dir.item import Source
from luisy_dir.report import frame

DTYPES = {
    "status": "string",
    "reason": "string",
    "sources": "object",
    "outputs": "object",
    "source_bytes": "int64",
    "output_bytes": "int64",
    "attempts": "int64",
    "seconds": "float64",
    "started": "datetime64[us, UTC]",
    "peak_memory": "Int64",
    "error_type": "string",
    "error": "string",
}
WRITTEN = an_entry(
    "a",
    sources=(Source("A", "a.png", 10, 1), Source("B", "a.npy", 20, 1)),
    outputs=(OutputFile("a/1.npy", 3, 1, "00"), OutputFile("a/2.npy", 4, 1, "00")),
)
FAILED = an_entry("b", status="failed", error=Failure("ValueError", "bad pixel", "Traceback …"))
REJECTED = an_entry("c", status="rejected", error=Failure("Reject", "too dark"))
SKIPPED = an_entry("d", status="skipped")
KINDS = {
    "of nothing": [],
    "of one": [WRITTEN],
    "of failures only": [FAILED],
    "of skipped files only": [SKIPPED],
    "of everything": [WRITTEN, FAILED, REJECTED, SKIPPED],
}


@pytest.mark.parametrize("entries", KINDS.values(), ids=KINDS)
def test_the_columns_are_always_the_same(entries):
    """A script that selects a column must not fail on the day on which nothing went wrong."""
    assert tuple(frame(entries).columns) == COLUMNS


@pytest.mark.parametrize("entries", KINDS.values(), ids=KINDS)
def test_the_dtypes_are_always_the_same(entries):
    """Reports of several runs can be put together."""
    report = frame(entries)

    assert {name: str(dtype) for name, dtype in report.dtypes.items()} == DTYPES
    assert report.index.name == "key"
    assert pd.api.types.is_string_dtype(report.index)


def test_there_is_one_row_an_item_in_the_order_given():
    assert frame([SKIPPED, WRITTEN, FAILED]).index.tolist() == ["d", "a", "b"]


def test_entries_may_come_one_at_a_time():
    assert len(frame(entry for entry in (WRITTEN, FAILED))) == 2


def test_a_written_item_shows_its_files_and_their_sizes():
    row = frame([WRITTEN]).loc["a"]

    assert row["sources"] == ["a.png", "a.npy"]
    assert row["outputs"] == ["a/1.npy", "a/2.npy"]
    assert (row["source_bytes"], row["output_bytes"]) == (30, 7)


def test_an_item_shows_how_often_how_long_and_when():
    row = frame([an_entry("a", attempts=2, seconds=1.5)]).loc["a"]

    assert (row["attempts"], row["seconds"]) == (2, 1.5)
    assert row["started"] == datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("sizes", [(-1,), (100, -1), (-1, -1)])
def test_where_a_size_is_not_known_the_sum_is_not_known(sizes):
    """-1 says: not known. 99 would be a lie."""
    sources = tuple(Source(str(number), "a.png", size, 0) for number, size in enumerate(sizes))

    assert frame([an_entry("a", sources=sources)]).loc["a", "source_bytes"] == -1


@pytest.mark.parametrize(
    ("entry", "reason", "error_type", "error"),
    [
        (WRITTEN, None, None, None),
        (FAILED, "ValueError: bad pixel", "ValueError", "bad pixel"),
        (REJECTED, "too dark", None, None),
        (SKIPPED, "the reader returned None", None, None),
        (an_entry("e", status="rejected"), None, None, None),
    ],
    ids=lambda value: getattr(value, "status", ""),
)
def test_every_item_that_was_not_written_says_why(entry, reason, error_type, error):
    row = frame([entry]).iloc[0]
    shown = [None if pd.isna(row[name]) else row[name] for name in ("reason", "error_type", "error")]

    assert row["status"] == entry.status
    assert shown == [reason, error_type, error]


def test_meta_follows_in_the_order_in_which_it_first_appears():
    report = frame([an_entry("a", meta={"z": 1}), an_entry("b", meta={"y": 2, "z": 3}), an_entry("c", meta={"x": 4})])

    assert tuple(report.columns) == (*COLUMNS, "z", "y", "x")


def test_numbers_in_meta_can_be_reckoned_with():
    report = frame([an_entry("a", meta={"mean": 0.5}), an_entry("b", meta={"mean": None}), an_entry("c")])

    assert report["mean"].dtype == np.float64
    assert report["mean"].mean() == 0.5


def test_meta_may_hold_lists_and_text():
    report = frame([an_entry("a", meta={"box": [1, 2], "name": "\u202e\n"})])

    assert (report.loc["a", "box"], report.loc["a", "name"]) == ([1, 2], "\u202e\n")


def test_the_index_can_become_a_column():
    assert frame([WRITTEN]).reset_index().columns[0] == "key"


@pytest.mark.parametrize("key", ["a\nb", "\x1b[31m", "\u202e", "1", "NA", "größe/x"])
def test_a_row_is_found_under_its_key_whatever_it_looks_like(key):
    assert frame([an_entry(key)]).loc[key, "status"] == "written"


def test_reports_of_several_runs_can_be_put_together():
    together = pd.concat([frame([]), frame([WRITTEN]), frame([FAILED])])

    assert {name: str(dtype) for name, dtype in together.dtypes.items()} == DTYPES
