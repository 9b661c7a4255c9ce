"""The manifest: what is read is what was written, or it is an error."""

import contextlib
import enum
import errno
import io
import json
import math
import os
import shutil
import tempfile
import zlib
from datetime import UTC, datetime

import msgspec
import numpy as np
import pandas as pd
import pytest
import xxhash
from conftest import an_entry
from hypothesis import given, settings
from hypothesis import strategies as st

from luisy_dir.entry import COLUMNS, Entry, Failure, OutputFile, clean_meta, decode_entry, encode_entry
from luisy_dir.errors import DamagedManifestError, InputError, ManifestError
from luisy_dir.item import Source
from luisy_dir.journal import Journal, read_journals
from luisy_dir.manifest import FileContent, FileState, Manifest, published_items, read_manifest
from luisy_dir.record import (
    CURRENT,
    FOLDER,
    FORMAT_VERSION,
    EntriesFile,
    InputState,
    Record,
    encode_current,
    encode_record,
    generation_name,
    generations_in,
    has_pending,
    read_current,
    read_record,
)
from luisy_dir.storage import system

HOSTILE = [
    "a\nb",
    "a\r\nb",
    "\x1b[31mred\x1b[0m",
    "a\u202etxt.exe",
    "\u2028\u2029\x85",
    "\0",
    "'\"\\",
    "😀",
    "é",
    "e\u0301",
]


def an_output(path, **facts):
    usual = {"size": 3, "mtime_ns": 5, "digest": "00ff", "shape": (1, 2), "dtype": "<f4", "offset": 128}
    return OutputFile(path, **(usual | facts))


def a_record(**facts):
    usual = {
        "format_version": FORMAT_VERSION,
        "generation": 1,
        "parent": None,
        "run_id": "run",
        "task": "ToNumpy",
        "parameters": {"size": "3"},
        "layer": "interim",
        "fingerprint": "f" * 32,
        "parts": {"process": {"process": "abc"}, "version": ""},
        "engine": "serial",
        "workers": 1,
        "durability": "commit",
        "start": datetime(2024, 5, 1, tzinfo=UTC),
        "end": datetime(2024, 5, 2, tzinfo=UTC),
        "counts": {"written": 3},
        "seconds": 0.75,
        "base": (),
        "entries": EntriesFile("00000001.jsonl", 0, "", 0),
        "inputs": {"raw": InputState("raw", "00", 3, 7), "A": InputState("directory", "aa")},
        "outputs_digest": "0d",
        "outputs_state": "05",
        "boot_id": "boot",
        "pinned": False,
        "checksum": "",
    }
    return Record(**(usual | facts))


def a_deletion(key):
    """What says in a later file of entries that a key is no more."""
    return an_entry(key, status="deleted", sources=(), attempts=0, seconds=0.0, worker="")


def lines_of(entries):
    return b"".join(encode_entry(entry) + b"\n" for entry in entries)


def a_file(name, lines):
    """What a record says of a file of entries."""
    return EntriesFile(name, len(lines), xxhash.xxh3_128_hexdigest(lines), lines.count(b"\n"))


def write(folder, name, data):
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)


def publish(directory, lines, *, below=(), **facts):
    """Write the files of a generation with these lines as its entries, and return their folder.

    The lines of the generations ``below`` it are files of entries too, and are overlaid by its own.
    """
    folder = os.path.join(directory, FOLDER)
    os.makedirs(folder, exist_ok=True)
    record = a_record(**({"generation": len(below) + 1} | facts))
    layers = {f"{generation_name(number)}.jsonl": content for number, content in enumerate(below, 1)}
    layers |= {f"{record.name}.jsonl": lines}
    *base, entries = (a_file(name, content) for name, content in layers.items())
    encoded = encode_record(msgspec.structs.replace(record, base=tuple(base), entries=entries))
    for name, data in (layers | {f"{record.name}.json": encoded, CURRENT: encode_current(encoded)}).items():
        write(folder, name, data)
    return folder


THREE = [
    an_entry("a", outputs=(an_output("a.npy"),), meta={"n": 1}),
    an_entry("b", status="failed", error=Failure("ValueError", "bad", None)),
    an_entry("c/größe", seed=2**64 - 1),
]
FILES = ["00000001.jsonl", "00000001.json", CURRENT]


@pytest.fixture
def folder(tmp_path):
    """The folder of a manifest with three entries, and the record of a former generation beside it."""
    folder = publish(str(tmp_path), lines_of(THREE))
    write(folder, "00000000.json", encode_record(a_record(generation=0)))
    return folder


def every_cut(path):
    """Cut the file shorter by one byte after another; yield how long it is."""
    for length in reversed(range(os.path.getsize(path))):
        os.truncate(path, length)
        yield length


def every_flip(path):
    """Flip one bit of the file after another, and flip it back."""
    with open(path, "rb") as file:
        whole = file.read()
    descriptor = os.open(path, os.O_WRONLY)
    try:
        for place in range(8 * len(whole)):
            byte = whole[place // 8]
            os.pwrite(descriptor, bytes([byte ^ 1 << place % 8]), place // 8)
            yield place
            os.pwrite(descriptor, bytes([byte]), place // 8)
    finally:
        os.close(descriptor)


def content_of(manifest):
    return manifest.record, list(manifest.entries())


# -- entries ----------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(HOSTILE)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(TEXT, parts, max_size=3),
    max_leaves=6,
)
SOURCES = st.builds(Source, TEXT, TEXT, NUMBERS, NUMBERS, st.none() | TEXT, st.booleans())
OUTPUTS = st.builds(
    OutputFile,
    TEXT,
    NUMBERS,
    NUMBERS,
    TEXT,
    st.none() | st.lists(NUMBERS, max_size=4).map(tuple),
    st.none() | TEXT,
    st.none() | NUMBERS,
)
ENTRIES = st.builds(
    Entry,
    key=TEXT,
    sources=st.lists(SOURCES, max_size=2).map(tuple),
    status=st.sampled_from(["written", "skipped", "rejected", "failed"]),
    outputs=st.lists(OUTPUTS, max_size=2).map(tuple),
    meta=st.dictionaries(TEXT, PLAIN, max_size=3),
    error=st.none() | st.builds(Failure, TEXT, TEXT, st.none() | TEXT),
    attempts=st.integers(0, 1000),
    seconds=st.floats(0, 1e9),
    started=st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    worker=TEXT,
    seed=st.none() | st.integers(0, 2**64 - 1),
)


@given(ENTRIES)
def test_an_entry_is_the_same_after_its_way_through_a_line(entry):
    assert decode_entry(encode_entry(entry)) == entry


@given(ENTRIES)
def test_a_line_is_one_line_of_json_in_utf_8(entry):
    line = encode_entry(entry)

    assert b"\n" not in line
    assert b"\r" not in line
    assert json.loads(line.decode("utf-8"))["key"] == entry.key


@settings(max_examples=30)
@given(st.lists(ENTRIES, max_size=4, unique_by=lambda entry: entry.key))
def test_a_manifest_gives_back_its_entries(entries):
    entries = sorted((entry for entry in entries if entry.key), key=lambda entry: entry.key)
    with tempfile.TemporaryDirectory() as directory:
        publish(directory, lines_of(entries))

        manifest = read_manifest(directory)

        assert list(manifest.entries()) == entries


def test_a_line_has_the_fields_that_are_documented():
    line = json.loads(encode_entry(THREE[0]))

    assert list(line) == [
        "key", "sources", "status", "outputs", "meta", "error", "attempts", "seconds", "started", "worker", "seed",
    ]  # fmt: skip
    assert list(line["outputs"][0]) == ["path", "size", "mtime_ns", "digest", "shape", "dtype", "offset"]


def test_pandas_reads_the_entries_as_they_are(tmp_path):
    """And with it everybody else who knows JSON Lines."""
    entries = [an_entry(f"key {text}", meta={"text": text}) for text in sorted(HOSTILE)]
    entries.sort(key=lambda entry: entry.key)
    publish(str(tmp_path), lines_of(entries))

    frame = pd.read_json(io.BytesIO((tmp_path / FOLDER / FILES[0]).read_bytes()), lines=True)

    assert frame["key"].tolist() == [entry.key for entry in entries]
    assert [meta["text"] for meta in frame["meta"]] == [entry.meta["text"] for entry in entries]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        encode_entry(THREE[0])[:-1],
        encode_entry(THREE[0]).replace(b'"written"', b'"done"'),
        encode_entry(THREE[0]).replace(b'"attempts":1', b'"attempts":"1"'),
        encode_entry(THREE[0]) + b"{}",
    ],
)
def test_what_is_no_entry_is_not_taken_for_one(line):
    with pytest.raises(msgspec.DecodeError):
        decode_entry(line)


# -- meta -------------------------------------------------------------------------------------------------------------


class Colour(enum.StrEnum):
    RED = "red"


class Count(int):
    pass


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (-(2**63), -(2**63)),
        (2**63 - 1, 2**63 - 1),
        (0.1, 0.1),
        ("größe\n", "größe\n"),
        (math.nan, None),
        (math.inf, None),
        (np.int8(3), 3),
        (np.uint64(3), 3),
        (np.float32(0.5), 0.5),
        (np.float16("nan"), None),
        (np.float64("-inf"), None),
        (np.True_, True),
        (np.str_("a"), "a"),
        (np.array(3), 3),
        (np.array("a"), "a"),
        (Count(3), 3),
        ((1, np.int8(2)), [1, 2]),
        ([math.nan, [np.float32(1)]], [None, [1.0]]),
        ({"a": {"b": np.int64(1)}}, {"a": {"b": 1}}),
        ([], []),
        ({}, {}),
        pytest.param(np.longdouble(0.5), 0.5, id="longdouble"),
    ],
)
def test_meta_becomes_plain_json_values(value, plain):
    cleaned = clean_meta({"x": value})

    assert cleaned == {"x": plain}
    assert type(cleaned["x"]) is type(plain)


@pytest.mark.parametrize(
    "value",
    [np.str_("a"), Colour.RED, Count(3), np.float32(1), {"a": (np.int8(1),)}, {Colour.RED: 1}, {np.str_("a"): 1}],
)
def test_what_was_cleaned_can_be_written(value):
    cleaned = clean_meta({"x": value})

    assert decode_entry(encode_entry(an_entry("a", meta=cleaned))).meta == cleaned


@given(st.dictionaries(TEXT.filter(lambda name: name not in (*COLUMNS, "key")), PLAIN, max_size=4))
def test_meta_that_is_plain_already_stays_as_it_is(meta):
    assert clean_meta(meta) == meta


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        np.uint64(2**63),
        b"bytes",
        1j,
        np.complex64(1),
        {1, 2},
        {1: "a"},
        object(),
        datetime(2024, 1, 1, tzinfo=UTC),
        np.datetime64("2024"),
        np.arange(3),
        np.zeros((1, 1)),
        np.array(None),
        [1, [object()]],
        {"a": {"b": b""}},
        lambda: None,
    ],
)
def test_meta_that_is_not_plain_fails_at_once_and_is_named(value):
    """Not after an hour, when the manifest is written."""
    with pytest.raises(InputError, match=r"item\.meta\['brightness'\] is a .* and cannot be kept"):
        clean_meta({"brightness": value})


@pytest.mark.parametrize(
    "meta",
    [
        pytest.param({"x": "\udcff"}, id="a file name that is no text"),
        pytest.param({"x": ["\ud800"]}, id="in a list"),
        pytest.param({"x": {"\udcff": 1}}, id="as a name inside"),
        pytest.param({"\udcff": 1}, id="as a name"),
    ],
)
def test_text_that_utf_8_cannot_carry_is_refused(meta):
    """``item.meta["file"] = os.path.basename(item.path)`` is natural, and must cost the one item at most."""
    with pytest.raises(InputError):
        clean_meta(meta)


def test_meta_that_contains_itself_is_refused():
    endless = []
    endless.append(endless)

    with pytest.raises(InputError):
        clean_meta({"x": endless})


@pytest.mark.parametrize("name", COLUMNS)
def test_meta_must_not_be_named_like_a_column_of_the_report(name):
    with pytest.raises(InputError, match="the report has that column already"):
        clean_meta({name: 1})


def test_meta_must_not_be_named_like_the_index_of_the_report():
    """``report.reset_index()`` would find the column ``key`` there already."""
    with pytest.raises(InputError):
        clean_meta({"key": 1})


def test_a_name_in_meta_that_is_no_text_is_refused_for_that_reason():
    with pytest.raises(InputError) as caught:
        clean_meta({5: 1})

    assert "column already" not in str(caught.value)


# -- the journal ------------------------------------------------------------------------------------------------------


def journaled(run):
    """Entries in the journals of a run's directory."""
    return [entry for entry, _ in read_journals(run)]


@pytest.fixture
def journal(tmp_path):
    """A journal with three entries, closed; its path."""
    made = Journal(str(tmp_path / "journal-a"))
    for entry in THREE:
        made.append(encode_entry(entry))
    made.close()
    return tmp_path / "journal-a"


@pytest.mark.parametrize("sync", [False, True])
def test_a_journal_gives_back_its_entries_in_the_order_in_which_they_came(tmp_path, sync):
    journal = Journal(str(tmp_path / "journal-a"), sync=sync)
    for entry in reversed(THREE):
        journal.append(encode_entry(entry))
    journal.close()

    assert list(journaled(str(tmp_path))) == THREE[::-1]


def test_a_journal_can_be_read_while_it_is_written(tmp_path):
    """An entry that was appended is not in a buffer that a killed worker takes along."""
    journal = Journal(str(tmp_path / "journal-a"))
    journal.append(encode_entry(THREE[0]))

    assert list(journaled(str(tmp_path))) == THREE[:1]
    journal.close()


def test_the_journals_of_all_workers_are_read_and_nothing_else(tmp_path):
    for name, entry in zip(("journal-a", "journal-b", "other"), THREE, strict=True):
        journal = Journal(str(tmp_path / name))
        journal.append(encode_entry(entry))
        journal.close()
    (tmp_path / "files").mkdir()

    assert list(journaled(str(tmp_path))) == THREE[:2]


def test_a_run_without_journals_has_no_entries(tmp_path):
    assert list(journaled(str(tmp_path / "missing"))) == []


def test_a_journal_that_was_cut_short_gives_back_every_whole_line(journal):
    """At whatever byte a crash has cut it, no entry is invented and at most the last one is lost."""
    whole = journal.read_bytes()
    for length in every_cut(journal):
        entries = list(journaled(str(journal.parent)))

        lines = whole[:length].count(b"\n")
        assert entries in (THREE[:lines], THREE[: lines + 1])  # the last line may lack its end only


def test_a_journal_with_a_flipped_bit_never_gives_an_entry_that_differs(journal):
    expected = set(map(encode_entry, THREE))
    for _ in every_flip(journal):
        assert set(map(encode_entry, journaled(str(journal.parent)))) <= expected


@pytest.mark.parametrize("litter", [b"\n", b"\n\n", b"\0" * 4096, b"00000000 \n", b"zzz\n", b" \n", b"deadbeef {}\n"])
def test_what_is_no_entry_in_a_journal_counts_as_not_written(journal, litter):
    """After a power cut, a file may have the right length and be full of zeros."""
    journal.write_bytes(litter + b"\n" + journal.read_bytes() + litter)

    assert list(journaled(str(journal.parent))) == THREE


def test_an_entry_that_is_appended_after_a_torn_line_is_not_lost_with_it(journal):
    """A worker may get the name of one that died: the process numbers of a container begin again and again."""
    journal.write_bytes(journal.read_bytes()[:-5])
    again = Journal(str(journal))

    again.append(encode_entry(THREE[2]))
    again.close()

    assert list(journaled(str(journal.parent))) == THREE


def test_a_line_of_a_journal_begins_with_the_checksum_of_the_entry(tmp_path):
    journal = Journal(str(tmp_path / "journal-a"))
    journal.append(b"{}")
    journal.close()

    assert (tmp_path / "journal-a").read_bytes() == b"%08x {}\n" % zlib.crc32(b"{}")


def test_a_journal_may_be_closed_twice(tmp_path):
    journal = Journal(str(tmp_path / "journal-a"))
    journal.close()

    journal.close()


def test_a_journal_that_nobody_closes_is_closed_when_it_goes(tmp_path):
    """Workers of somebody's long-lived pool let go of it without a word."""
    before = len(os.listdir("/proc/self/fd"))

    Journal(str(tmp_path / "journal-a"))

    assert len(os.listdir("/proc/self/fd")) == before


# -- reading ----------------------------------------------------------------------------------------------------------


def test_a_manifest_gives_back_its_record(tmp_path):
    publish(str(tmp_path), lines_of(THREE), parameters={"name": HOSTILE[2]})

    record = read_manifest(str(tmp_path)).record

    assert record.parameters == {"name": HOSTILE[2]}
    assert record.inputs == a_record().inputs
    assert record.start == a_record().start


@pytest.mark.parametrize("kind", ["missing", "empty", "file", "file below", "dangling link", "loop"])
def test_where_nothing_was_published_there_is_no_manifest(tmp_path, kind):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "dangling link").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    place = {"file below": "file/below"}.get(kind, kind)

    assert read_manifest(str(tmp_path / place)) is None


@pytest.mark.parametrize("name", FILES)
def test_a_manifest_that_was_cut_short_never_differs(folder, name):
    """At whatever byte: it is an error, or nothing was lost."""
    expected = content_of(read_manifest(os.path.dirname(folder)))
    for _ in every_cut(os.path.join(folder, name)):
        try:
            content = content_of(read_manifest(os.path.dirname(folder)))
        except ManifestError:
            continue

        assert content == expected


@pytest.mark.parametrize("name", FILES)
def test_a_manifest_with_a_flipped_bit_never_differs(folder, name):
    """Every bit of every file."""
    expected = content_of(read_manifest(os.path.dirname(folder)))
    for _ in every_flip(os.path.join(folder, name)):
        try:
            content = content_of(read_manifest(os.path.dirname(folder)))
        except ManifestError:
            continue

        assert content == expected


@pytest.mark.parametrize("more", [b"\n", b"{}", b"\0", b"x"])
@pytest.mark.parametrize("name", FILES)
def test_a_manifest_with_something_appended_never_differs(folder, name, more):
    expected = content_of(read_manifest(os.path.dirname(folder)))
    with open(os.path.join(folder, name), "ab") as file:
        file.write(more)
    try:
        content = content_of(read_manifest(os.path.dirname(folder)))
    except ManifestError:
        return

    assert content == expected


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["gone", "folder", "dangling link", "loop"])
def test_a_manifest_without_one_of_its_files_is_an_error(folder, name, kind):
    """Never "nothing was published": that would let a run publish over it as if it were nobody's."""
    path = os.path.join(folder, name)
    os.unlink(path)
    {
        "gone": lambda: None,
        "folder": lambda: os.mkdir(path),
        "dangling link": lambda: os.symlink("nowhere", path),
        "loop": lambda: os.symlink(name, path),
    }[kind]()

    with pytest.raises(DamagedManifestError):
        read_manifest(os.path.dirname(folder))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_manifest_that_cannot_be_read_for_now_is_no_reason_to_make_everything_anew(folder, monkeypatch, number):
    """A network disk may be away for a moment: what counts as damaged is made anew by the next run."""

    def fail(*args):
        raise OSError(number, os.strerror(number), folder)

    monkeypatch.setattr(system, "open", fail)

    with pytest.raises((ManifestError, OSError)) as caught:
        read_manifest(os.path.dirname(folder))

    assert os.strerror(number) in str(caught.value)
    assert not isinstance(caught.value, DamagedManifestError)
    assert "Run its task again" not in str(caught.value)


def test_a_file_where_the_folder_of_the_manifest_should_be_is_an_error(tmp_path):
    (tmp_path / FOLDER).touch()

    with pytest.raises(ManifestError, match="incomplete"):
        read_manifest(str(tmp_path))


@pytest.mark.parametrize("name", FILES)
def test_an_error_of_the_manifest_says_where_it_lies_and_what_to_do(folder, name):
    with open(os.path.join(folder, name), "wb"):
        pass

    with pytest.raises(DamagedManifestError, match="Run its task again, which makes it anew") as caught:
        read_manifest(os.path.dirname(folder))

    assert folder in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"null",
        b"[1]",
        b'"a"',
        b"{}",
        b'{"generation":"1","checksum":""}',
        b'{"generation":-1,"checksum":""}',
        b'{"generation":1e999,"checksum":""}',
        b'{"generation":1.5,"checksum":""}',
        b'{"generation":1,"checksum":"","more":%b}' % (b"[" * 100_000),
        b'\xef\xbb\xbf{"generation":1,"checksum":""}',
        b"\xff\xfe",
        pytest.param(b'{"generation":1%b,"checksum":""}' % (b"0" * 300), id="a number too long for a file name"),
    ],
)
def test_whatever_stands_in_current_the_manifest_is_whole_or_in_error(folder, content):
    with open(os.path.join(folder, CURRENT), "wb") as file:
        file.write(content)

    with pytest.raises(ManifestError):
        read_manifest(os.path.dirname(folder))


@pytest.mark.parametrize("name", FILES[1:])
def test_a_file_that_is_too_large_to_be_ours_is_not_read(folder, name):
    """A gigabyte of anything must not end up in memory. The file is sparse."""
    with open(os.path.join(folder, name), "r+b") as file:
        file.truncate(65 << 20)

    with pytest.raises(ManifestError, match="larger than"):
        read_manifest(os.path.dirname(folder))


def test_a_manifest_of_a_later_format_asks_for_a_later_version(tmp_path):
    """Rather than to make everything anew: it is not damaged."""
    publish(str(tmp_path), b"", format_version=FORMAT_VERSION + 1)

    with pytest.raises(ManifestError, match="Install a later version") as caught:
        read_manifest(str(tmp_path))

    assert not isinstance(caught.value, DamagedManifestError)


def test_a_later_format_may_have_other_fields(tmp_path):
    folder = publish(str(tmp_path), b"")
    with open(os.path.join(folder, FILES[1]), "wb") as file:
        file.write(b'{"format_version":%d,"everything":"else"}' % (FORMAT_VERSION + 1))

    with pytest.raises(ManifestError, match="Install a later version"):
        read_manifest(str(tmp_path))


def test_current_chooses_among_the_generations(tmp_path):
    publish(str(tmp_path), lines_of(THREE), generation=2)
    publish(str(tmp_path), lines_of(THREE[:1]), generation=1)

    assert list(read_manifest(str(tmp_path)).entries()) == THREE[:1]
    assert read_manifest(str(tmp_path), verify=False).record.generation == 1


def test_the_newest_generation_is_to_be_had_before_current_names_it(tmp_path):
    """Its files may not all be in their places yet; whoever rolls it forward must know it all the same."""
    publish(str(tmp_path), lines_of(THREE), generation=2)
    publish(str(tmp_path), lines_of(THREE[:1]), generation=1)

    assert list(read_manifest(str(tmp_path), newest=True).entries()) == THREE


def test_where_current_names_the_newest_generation_it_is_that(folder):
    assert read_manifest(os.path.dirname(folder), newest=True).record.generation == 1


@pytest.mark.parametrize("name", FILES)
def test_files_of_two_generations_do_not_make_a_manifest(tmp_path, name):
    """Each is whole, but they do not belong together."""
    folder = publish(str(tmp_path / "a"), lines_of(THREE))
    other = publish(str(tmp_path / "b"), lines_of(THREE[:2]))
    os.replace(os.path.join(other, name), os.path.join(folder, name))

    with pytest.raises(ManifestError):
        read_manifest(str(tmp_path / "a"))


def test_names_of_generations_sort_as_their_numbers_do():
    assert sorted(map(generation_name, range(1, 200))) == [generation_name(number) for number in range(1, 200)]


def test_the_file_of_entries_may_be_trusted_unseen(folder):
    """``verify=False`` saves reading it where only the record is asked for."""
    os.unlink(os.path.join(folder, FILES[0]))

    manifest = read_manifest(os.path.dirname(folder), verify=False)

    assert manifest.record.counts == {"written": 3}


def test_entries_that_have_gone_since_are_an_error_of_the_manifest(folder):
    """Another run may have removed the directory meanwhile."""
    manifest = read_manifest(os.path.dirname(folder))
    os.unlink(manifest.path)

    with pytest.raises(ManifestError):
        list(manifest.entries())


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        pytest.param(["a", "a"], 2, id="twice in a row"),
        pytest.param(["a", "b", "a"], 3, id="twice"),
        pytest.param(["b", "a"], 2, id="out of order"),
        pytest.param([""], 1, id="empty"),
        pytest.param(["\U00010000", "\uffff"], 2, id="in the order of UTF-16"),
    ],
)
def test_keys_are_unique_and_in_order(tmp_path, keys, line):
    """Comparing two manifests line by line depends on it."""
    publish(str(tmp_path), lines_of(map(an_entry, keys)))

    with pytest.raises(ManifestError, match=f"line {line} repeats a key or is out of order") as caught:
        list(read_manifest(str(tmp_path)).entries())

    assert repr(keys[-1]) in str(caught.value)


@pytest.mark.parametrize("line", [b"", b"{}", b"\xff", b"[]", encode_entry(THREE[1])[:-3]])
def test_a_line_that_is_no_entry_is_an_error_that_names_it(tmp_path, line):
    publish(str(tmp_path), encode_entry(THREE[0]) + b"\n" + line + b"\n")

    with pytest.raises(ManifestError, match="line 2 is no entry"):
        list(read_manifest(str(tmp_path)).entries())


def test_entries_are_read_one_at_a_time(tmp_path):
    """Memory must not grow with their number: what comes after the one in hand has not been looked at."""
    publish(str(tmp_path), lines_of(THREE[:2]) + b"no entry\n")

    entries = read_manifest(str(tmp_path)).entries()

    assert [next(entries), next(entries)] == THREE[:2]
    entries.close()


def test_a_manifest_shows_what_it_is_of(folder):
    assert "generation=1" in repr(read_manifest(os.path.dirname(folder)))


@pytest.mark.parametrize("facts", [{}, {"parameters": {"a": "\u202e\n"}}, {"parts": {"n": [1, 0.1, None, {"a": []}]}}])
def test_a_record_equals_its_own_checksum(tmp_path, facts):
    publish(str(tmp_path), b"", **facts)

    assert read_manifest(str(tmp_path)) is not None


# -- entries in several files -----------------------------------------------------------------------------------------

BELOW = [an_entry(key) for key in ("b", "d", "f")]


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        pytest.param([], "bdf", id="nothing"),
        pytest.param([an_entry("a")], "abdf", id="new before"),
        pytest.param([an_entry("c"), an_entry("e")], "bcdef", id="new in the middle"),
        pytest.param([an_entry("g"), an_entry("h")], "bdfgh", id="new after"),
        pytest.param([an_entry("b", meta={"n": 2})], "bdf", id="first changed"),
        pytest.param([an_entry("f", meta={"n": 2})], "bdf", id="last changed"),
        pytest.param([a_deletion("b")], "df", id="first deleted"),
        pytest.param([a_deletion("d")], "bf", id="one in the middle deleted"),
        pytest.param([a_deletion("f")], "bd", id="last deleted"),
        pytest.param([a_deletion("b"), a_deletion("d"), a_deletion("f")], "", id="all deleted"),
        pytest.param([a_deletion("a"), a_deletion("c"), a_deletion("g")], "bdf", id="deleted that was not there"),
        pytest.param([an_entry("a"), a_deletion("b"), an_entry("c"), a_deletion("f"), an_entry("g")], "acdg", id="all"),
    ],
)
def test_a_later_file_overlays_the_one_below_it(tmp_path, later, expected):
    publish(str(tmp_path), lines_of(later), below=[lines_of(BELOW)])

    entries = list(read_manifest(str(tmp_path)).entries())

    ours = {entry.key: entry for entry in (*BELOW, *later)}
    assert entries == [ours[key] for key in expected]


def test_a_key_may_be_deleted_and_come_back(tmp_path):
    again = an_entry("b", meta={"n": 3})
    publish(str(tmp_path), lines_of([again]), below=[lines_of(BELOW), lines_of([a_deletion("b")])])

    assert list(read_manifest(str(tmp_path)).entries()) == [again, *BELOW[1:]]


def test_where_all_was_empty_there_may_be_entries_later(tmp_path):
    publish(str(tmp_path), lines_of(BELOW), below=[b"", b""])

    assert list(read_manifest(str(tmp_path)).entries()) == BELOW


LETTERS = st.text("ab/\uffff\U00010000\n", min_size=1, max_size=3)
FEW_SOURCES = st.lists(
    st.builds(Source, st.just("raw"), LETTERS, st.integers(-1, 9), st.integers(0, 9), st.none() | st.just("0f")),
    min_size=1,
    max_size=2,
)
FEW_OUTPUTS = st.lists(
    st.builds(OutputFile, LETTERS, st.integers(0, 9), st.integers(0, 9), st.sampled_from(["0a", "0b"])), max_size=2
)
FATES = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["written", "skipped", "rejected", "failed", "output missing"]),
        "sources": FEW_SOURCES.map(tuple),
        "outputs": FEW_OUTPUTS.map(tuple),
        "meta": st.dictionaries(LETTERS, TEXT, max_size=1),
    }
)
FIRST = st.dictionaries(LETTERS, FATES, max_size=12)
LATER = st.lists(st.dictionaries(LETTERS, st.none() | FATES, max_size=6), max_size=3)


@contextlib.contextmanager
def several_files(first, later):
    """A manifest of these entries, one file after another, and the dictionary that it should equal."""
    layers, expected = [], {}
    for layer in (first, *later):
        entries = {key: a_deletion(key) if facts is None else an_entry(key, **facts) for key, facts in layer.items()}
        layers.append(lines_of(entries[key] for key in sorted(entries)))
        expected |= entries
    *below, lines = layers
    expected = {key: expected[key] for key in sorted(expected) if not expected[key].is_deleted}
    with tempfile.TemporaryDirectory() as directory:
        publish(directory, lines, below=below)
        yield read_manifest(directory), expected


@settings(max_examples=100)
@given(FIRST, LATER)
def test_a_file_and_those_that_overlay_it_equal_a_dictionary(first, later):
    with several_files(first, later) as (manifest, expected):
        assert list(manifest.entries()) == list(expected.values())


@settings(max_examples=100)
@given(FIRST, LATER)
def test_lines_are_those_of_the_entries(first, later):
    """An update that writes all entries anew copies them without looking into them."""
    with several_files(first, later) as (manifest, expected):
        assert list(manifest.lines()) == [(key, encode_entry(entry)) for key, entry in expected.items()]


def reduced(files, kind):
    return [kind(*(getattr(file, name, None) for name in kind.__struct_fields__)) for file in files]


@settings(max_examples=100)
@given(FIRST, LATER, st.sampled_from(["sources", "outputs"]), st.sampled_from([FileState, FileContent]))
def test_files_are_those_of_the_entries_without_all_else(first, later, part, kind):
    with several_files(first, later) as (manifest, expected):
        found = sorted(manifest.files(part, kind), key=lambda entry: entry.key)

    assert [(entry.key, entry.status, list(getattr(entry, part))) for entry in found] == [
        (key, entry.status, reduced(getattr(entry, part), kind)) for key, entry in expected.items()
    ]


def looked_up(manifest):
    """The same manifest, where every file is said to be so long that keys are looked up in it."""
    files = [msgspec.structs.replace(file, lines=10**9) for file in manifest.record.files]
    return Manifest(
        manifest.directory, msgspec.structs.replace(manifest.record, base=tuple(files[:-1]), entries=files[-1])
    )


@settings(max_examples=100)
@given(FIRST, LATER, st.sets(LETTERS, max_size=8), st.booleans())
def test_entries_of_some_keys_are_those_of_all_without_the_others(first, later, keys, is_looked_up):
    """Whether the keys are few and looked up, or many and gone through."""
    with several_files(first, later) as (manifest, expected):
        entries_of = (looked_up(manifest) if is_looked_up else manifest).entries_of

        assert entries_of(keys) == [entry for key, entry in expected.items() if key in keys]
        assert entries_of(expected.keys()) == list(expected.values())


@pytest.mark.parametrize("step", [1, 2, 7, 150, 1000])
def test_few_and_many_keys_are_found_among_thousands(tmp_path, step):
    """Lines of very different lengths, and keys before, between and after all of them."""
    first = [an_entry(f"{number:04d}", meta={"text": "x" * (number**3 % 997)}) for number in range(1, 3000, 3)]
    later = [an_entry("0004", meta={"n": 1}), a_deletion("0007"), an_entry("0008"), an_entry("9")]
    publish(str(tmp_path), lines_of(later), below=[lines_of(first)])
    manifest = read_manifest(str(tmp_path))
    everything = list(manifest.entries())

    for begin in (0, 1):
        keys = {f"{number:04d}" for number in range(begin, 3010, step)} | {"", "0004", "0007", "9", "99"}

        assert manifest.entries_of(keys) == [entry for entry in everything if entry.key in keys]


@pytest.mark.parametrize("is_looked_up", [True, False])
@pytest.mark.parametrize("place", range(3))
def test_of_no_keys_there_are_no_entries(tmp_path, is_looked_up, place):
    below = [lines_of(BELOW), b"", b""][: place + 1]
    publish(str(tmp_path), b"", below=below)
    manifest = read_manifest(str(tmp_path))
    manifest = looked_up(manifest) if is_looked_up else manifest

    assert manifest.entries_of(set()) == []
    assert manifest.entries_of({"a"}) == []
    assert manifest.entries_of({"b"}) == BELOW[:1]


ASK = {
    "entries": lambda manifest: list(manifest.entries()),
    "lines": lambda manifest: list(manifest.lines()),
    "files": lambda manifest: manifest.files("outputs", FileState),
    "contents": lambda manifest: manifest.files("sources", FileContent),
    "entries of many": lambda manifest: manifest.entries_of({"a", "b", "c"}),
    "entries of few": lambda manifest: looked_up(manifest).entries_of({"b"}),
    "the same": lambda manifest: manifest.same_as(manifest),
    "verify": lambda manifest: manifest.verify(),
}


@pytest.fixture
def three_files(tmp_path):
    """The folder of a manifest whose entries lie in three files."""
    return publish(
        str(tmp_path),
        lines_of([an_entry("b", meta={"n": 3})]),
        below=[lines_of(BELOW), lines_of([a_deletion("d"), an_entry("e")])],
    )


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("ask", ASK)
def test_a_file_of_entries_that_is_gone_is_an_error_whoever_asks(three_files, number, ask):
    """Never fewer entries: what they speak of would be made again, or removed."""
    manifest = read_manifest(os.path.dirname(three_files))
    os.unlink(os.path.join(three_files, f"{generation_name(number)}.jsonl"))

    with pytest.raises(DamagedManifestError, match=generation_name(number)):
        ASK[ask](manifest)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("line", [b"{}", b"\xff", b"[]", b'{"key":1}', b"{"])
@pytest.mark.parametrize("ask", ASK)
def test_a_file_of_entries_whose_lines_are_none_is_an_error_whoever_asks(three_files, number, line, ask):
    manifest = read_manifest(os.path.dirname(three_files))
    write(three_files, f"{generation_name(number)}.jsonl", (line + b"\n") * 3)

    with pytest.raises(DamagedManifestError, match=generation_name(number)):
        ASK[ask](manifest)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize("ask", ASK)
def test_a_file_of_entries_that_cannot_be_read_for_now_is_not_damaged(three_files, monkeypatch, number, ask):
    manifest = read_manifest(os.path.dirname(three_files))

    def fail(*args):
        raise OSError(number, os.strerror(number), three_files)

    for name in ("open", "read_file", "map_file"):
        monkeypatch.setattr(system, name, fail)

    with pytest.raises(ManifestError, match=os.strerror(number)) as caught:
        ASK[ask](manifest)
    assert not isinstance(caught.value, DamagedManifestError)


HARM = {
    "cut": lambda content: content[:-1],
    "emptied": lambda content: b"",
    "longer": lambda content: content + b"\n",
    "of the same size": lambda content: content.replace(b"host-1-0", b"host-1-1").replace(b'"d"', b'"c"'),
    "first line twice": lambda content: content.splitlines(keepends=True)[0] + content,
}


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("harm", HARM)
def test_verifying_covers_every_file_of_entries(three_files, number, harm):
    path = os.path.join(three_files, f"{generation_name(number)}.jsonl")
    manifest = read_manifest(os.path.dirname(three_files))
    manifest.verify()
    with open(path, "rb") as file:
        content = file.read()
    assert HARM[harm](content) != content
    write(*os.path.split(path), HARM[harm](content))

    with pytest.raises(DamagedManifestError, match=rf"{generation_name(number)}\.jsonl.*does not equal the digest"):
        manifest.verify()
    with pytest.raises(DamagedManifestError, match=generation_name(number)):
        read_manifest(os.path.dirname(three_files))


def test_files_of_entries_do_not_change_places(three_files):
    """Each is whole, but which of them overlays the other counts."""
    one, other = (os.path.join(three_files, f"{generation_name(number)}.jsonl") for number in (2, 3))
    os.rename(one, one + ".kept")
    os.rename(other, one)
    os.rename(one + ".kept", other)

    with pytest.raises(DamagedManifestError):
        read_manifest(os.path.dirname(three_files))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_flipped_bit_in_any_file_of_entries_never_differs(three_files, number):
    expected = content_of(read_manifest(os.path.dirname(three_files)))
    for _ in every_flip(os.path.join(three_files, f"{generation_name(number)}.jsonl")):
        try:
            content = content_of(read_manifest(os.path.dirname(three_files)))
        except DamagedManifestError:
            continue

        assert content == expected


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("ask", ["entries", "lines"])
def test_keys_are_unique_and_in_order_in_every_file(three_files, number, ask):
    manifest = read_manifest(os.path.dirname(three_files))
    write(three_files, f"{generation_name(number)}.jsonl", lines_of([an_entry("b"), an_entry("b")]))

    with pytest.raises(DamagedManifestError, match="line 2 repeats a key or is out of order"):
        ASK[ask](manifest)


def test_entries_of_the_first_file_are_read_one_at_a_time(tmp_path):
    """The first holds nearly all of them; only what overlays it is held in memory."""
    publish(str(tmp_path), lines_of([an_entry("a")]), below=[lines_of(BELOW[:2]) + b"no entry\n"])

    entries = read_manifest(str(tmp_path)).entries()

    assert [next(entries) for _ in range(3)] == [an_entry("a"), *BELOW[:2]]
    entries.close()


def test_a_manifest_knows_its_files_the_oldest_first(three_files):
    manifest = read_manifest(os.path.dirname(three_files))

    assert manifest.paths == [os.path.join(three_files, f"{generation_name(number)}.jsonl") for number in (1, 2, 3)]
    assert manifest.path == manifest.paths[-1]


# -- records ----------------------------------------------------------------------------------------------------------

NO_RECORDS = [
    b"",
    b"null",
    b"[]",
    b'"a"',
    b"{}",
    b"\xff\xfe",
    b"\0" * 100,
    b'{"format_version":1}',
    b'{"format_version":"1"}',
    b'{"format_version":null}',
    b'{"format_version":1,"generation":1e400}',
    b'{"format_version":1,"parts":%b' % (b"[" * 100_000),
    b"[" * 1_000_000,
    encode_record(a_record()).replace(b'"pinned":false', b'"pinned":true'),
    encode_record(a_record()).replace(b'"generation":1', b'"generation":2'),
    encode_record(a_record()).replace(b'"written":3', b'"written":"3"'),
    encode_record(a_record())[:-10],
    encode_record(a_record()) * 2,
]


@pytest.mark.parametrize("content", NO_RECORDS, ids=lambda content: repr(content[:30]))
def test_whatever_stands_in_a_record_it_is_whole_or_damaged(folder, content):
    write(folder, "00000001.json", content)

    for ask in (lambda path: read_record(path, 1), read_current, has_pending, read_manifest):
        with pytest.raises(DamagedManifestError, match="Run its task again") as caught:
            ask(os.path.dirname(folder))
        assert folder in str(caught.value) or os.path.dirname(folder) in str(caught.value)


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_whatever_bytes_there_are_in_place_of_a_record_or_of_current_they_are_damaged(content):
    with tempfile.TemporaryDirectory() as directory:
        folder = publish(directory, lines_of(THREE))
        for name in FILES[1:]:
            write(folder, name, content)
            with pytest.raises(DamagedManifestError):
                read_current(directory)


def test_a_record_is_found_by_its_number(tmp_path):
    publish(str(tmp_path), b"", generation=7, parent=6)
    publish(str(tmp_path), b"", generation=8, parent=7)

    assert [read_record(str(tmp_path), number).parent for number in (7, 8)] == [6, 7]
    assert read_current(str(tmp_path)).generation == 8


@pytest.mark.parametrize("generation", [2, -1, 10**8, 10**300])
def test_a_record_that_is_not_there_is_an_error(folder, generation):
    with pytest.raises(DamagedManifestError):
        read_record(os.path.dirname(folder), generation)


def test_a_record_under_the_name_of_another_generation_is_damaged(folder):
    """Somebody has copied it: what it says is true of that generation, and not of this one."""
    shutil.copy(os.path.join(folder, "00000001.json"), os.path.join(folder, "00000002.json"))

    with pytest.raises(DamagedManifestError):
        read_record(os.path.dirname(folder), 2)


def test_a_record_of_a_later_format_is_not_damaged(tmp_path):
    publish(str(tmp_path), b"", format_version=FORMAT_VERSION + 1)

    for ask in (lambda path: read_record(path, 1), read_current, has_pending):
        with pytest.raises(ManifestError, match="Install a later version") as caught:
            ask(str(tmp_path))
        assert not isinstance(caught.value, DamagedManifestError)


def test_where_nothing_was_published_there_is_no_record_and_nothing_pending(tmp_path):
    assert read_current(str(tmp_path)) is None
    assert not has_pending(str(tmp_path))
    assert generations_in(str(tmp_path)) == []
    with pytest.raises(DamagedManifestError):
        read_record(str(tmp_path), 1)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_record_that_cannot_be_read_for_now_is_not_damaged(folder, monkeypatch, number):
    def fail(*args):
        raise OSError(number, os.strerror(number), folder)

    monkeypatch.setattr(system, "open", fail)

    for ask in (lambda path: read_record(path, 1), read_current, has_pending):
        with pytest.raises(ManifestError, match=os.strerror(number)) as caught:
            ask(os.path.dirname(folder))
        assert not isinstance(caught.value, DamagedManifestError)


def test_current_names_a_record_and_not_only_a_number(tmp_path):
    """A generation that was made twice, once by a run that another has overtaken, is not taken for the other."""
    folder = publish(str(tmp_path), b"", run_id="one")
    publish(str(tmp_path / "other"), b"", run_id="other")
    shutil.copy(tmp_path / "other" / FOLDER / CURRENT, folder)

    with pytest.raises(DamagedManifestError, match="is not the one that CURRENT names"):
        read_current(str(tmp_path))


def test_a_generation_is_pending_until_current_names_it(folder):
    directory = os.path.dirname(folder)
    assert not has_pending(directory)
    encoded = encode_record(a_record(generation=2, parent=1))
    write(folder, "00000002.json", encoded)
    assert has_pending(directory)
    assert read_current(directory).generation == 1
    write(folder, CURRENT, encode_current(encoded))
    assert not has_pending(directory)
    assert read_current(directory).generation == 2


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_a_generation_whose_record_is_damaged_is_pending_all_the_same(folder, content):
    """It was committed: whoever took it for nothing would publish another under its number."""
    write(folder, "00000002.json", content)

    assert has_pending(os.path.dirname(folder))


def test_files_of_entries_without_a_record_are_no_generation(folder):
    """Their run ended before it could commit them."""
    write(folder, "00000002.jsonl", lines_of(THREE))

    assert not has_pending(os.path.dirname(folder))
    assert generations_in(os.path.dirname(folder)) == [0, 1]


NO_GENERATIONS = [
    "2.json",
    "000000002.json",
    "0000002.json",
    "00000002.json~",
    "00000002.json.bak",
    ".00000002.json",
    "00000002.JSON",
    "00000002",
    "-0000002.json",
    "+0000002.json",
    "0000_002.json",
    "0x000002.json",
    " 0000002.json",
    "0000002 .json",
    "٠٠٠٠٠٠٠٢.json",
    "0000000².json",
    "00000002.json\n",
    ".json",
    "9" * 250 + ".json",
    "undo-00000002",
]


@pytest.mark.parametrize("name", NO_GENERATIONS, ids=ascii)
def test_only_names_that_are_ours_are_generations(folder, name):
    """An editor's copy is not the next generation: nothing would ever be complete again."""
    with open(os.path.join(folder, "00000001.json"), "rb") as file:
        write(folder, name, file.read())

    assert generations_in(os.path.dirname(folder)) == [0, 1]
    assert not has_pending(os.path.dirname(folder))


def test_names_that_are_no_text_are_no_generations(folder):
    write(os.fsencode(folder), b"0000000\xff.json", b"")

    assert generations_in(os.path.dirname(folder)) == [0, 1]


def test_generations_have_their_order_by_number(tmp_path):
    for generation in (3, 10, 2, 99_999_999):
        publish(str(tmp_path), b"", generation=generation)

    assert generations_in(str(tmp_path)) == [2, 3, 10, 99_999_999]


def test_where_a_file_lies_in_place_of_the_folder_there_are_no_generations(tmp_path):
    (tmp_path / FOLDER).touch()

    assert generations_in(str(tmp_path)) == []
    with pytest.raises(DamagedManifestError):
        read_current(str(tmp_path))


# -- the same answer --------------------------------------------------------------------------------------------------


@pytest.fixture
def compare(tmp_path):
    """Whether a manifest of given entries and facts is the same as that of ``THREE``."""

    def same(entries=THREE, **facts):
        publish(str(tmp_path / "a"), lines_of(THREE))
        publish(str(tmp_path / "b"), lines_of(entries), **facts)
        one, other = read_manifest(str(tmp_path / "a")), read_manifest(str(tmp_path / "b"))
        assert one.same_as(other) == other.same_as(one)
        return one.same_as(other)

    return same


def test_a_manifest_is_the_same_as_itself(compare):
    assert compare()


def test_how_many_generations_led_there_does_not_count(compare):
    """An update gives the answer that a fresh build gives; in how many files its entries lie is not part of it."""
    first = lines_of([an_entry("a"), THREE[1], an_entry("b/gone")])
    second = lines_of([THREE[0], a_deletion("b/gone")])

    assert compare(THREE[2:], below=[first, second], parent=2)
    assert not compare(THREE[2:], below=[first], parent=1)


LONG_AFTER = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "facts",
    [
        {"run_id": "other"},
        {"engine": "processes"},
        {"workers": 64},
        {"boot_id": "other"},
        {"start": LONG_AFTER},
        {"end": LONG_AFTER},
        {"seconds": 99.0},
        {"outputs_state": "ff"},  # has times of change in it
        {"generation": 2},
        {"parent": 1},
        {"inputs": {"raw": InputState("raw", "ff", 3, 9), "A": InputState("directory", "aa")}},
    ],
    ids=lambda facts: next(iter(facts)),
)
def test_where_and_when_a_run_was_made_does_not_count(compare, facts):
    assert compare(**facts)


@pytest.mark.parametrize(
    "facts",
    [
        {"task": "Other"},
        {"parameters": {"size": "4"}},
        {"layer": "final"},
        {"fingerprint": "0" * 32},
        {"parts": {}},
        {"durability": "none"},
        {"counts": {"written": 4}},
        {"outputs_digest": "ff"},
        {"pinned": True},
        {"inputs": {"raw": InputState("raw", "00", 4, 7), "A": InputState("directory", "aa")}},
        {"inputs": {"raw": InputState("raw", "00", 3, 7), "A": InputState("directory", "bb")}},
        {"inputs": {"raw": InputState("raw", "00", 3, 7)}},
    ],
    ids=lambda facts: next(iter(facts)),
)
def test_what_was_made_of_what_counts(compare, facts):
    assert not compare(**facts)


def changed(**facts):
    return [msgspec.structs.replace(THREE[0], **facts), *THREE[1:]]


@pytest.mark.parametrize(
    "facts",
    [
        {"attempts": 2},
        {"seconds": 9.0},
        {"started": LONG_AFTER},
        {"worker": "other"},
        {"sources": (Source("raw", "a.png", 10, 999),)},
        {"outputs": (an_output("a.npy", mtime_ns=999),)},
    ],
    ids=str,
)
def test_where_and_when_an_item_was_made_does_not_count(compare, facts):
    assert compare(changed(**facts))


@pytest.mark.parametrize(
    "facts",
    [
        {"status": "rejected"},
        {"meta": {"n": 2}},
        {"error": Failure("E", "m", None)},
        {"seed": 1},
        {"outputs": ()},
        {"outputs": (an_output("b.npy"),)},
        {"outputs": (an_output("a.npy", digest="11"),)},
        {"outputs": (an_output("a.npy", size=4),)},
        {"outputs": (an_output("a.npy", shape=(2, 1)),)},
        {"outputs": (an_output("a.npy", dtype="<f8"),)},
        {"sources": (Source("raw", "a.png", 11, 1_000),)},
        {"sources": (Source("raw", "a.png", 10, 1_000, "00"),)},
        {"sources": (Source("raw", "a.png", 10, 1_000, encoded=True),)},
        {"key": "A"},
    ],
    ids=str,
)
def test_what_became_of_an_item_counts(compare, facts):
    assert not compare(changed(**facts))


@pytest.mark.parametrize("entries", [THREE[:2], [*THREE, an_entry("d")], []])
def test_manifests_of_more_or_fewer_entries_are_not_the_same(compare, entries):
    """Whatever their records count."""
    assert not compare(entries)


# -- items for the consumers ------------------------------------------------------------------------------------------


def items_of(directory, entries, suffix=".npy"):
    publish(directory, lines_of(entries))
    return list(published_items(read_manifest(directory), suffix, root="A", seed=4))


def test_a_published_file_is_an_item_that_knows_its_digest(tmp_path):
    """So nobody has to read the file to see whether it has changed."""
    [item] = items_of(str(tmp_path), [an_entry("x/a", outputs=(an_output("x/a.npy"),))])

    assert item.key == "x/a"
    assert item.sources == (Source("A", "x/a.npy", 3, 5, "00ff"),)
    assert (item.path, item.seed) == (f"{tmp_path}/x/a.npy", 4)


def test_what_was_not_written_is_no_item(tmp_path):
    entries = [an_entry(status, status=status) for status in ("failed", "rejected", "skipped", "written")]

    assert items_of(str(tmp_path), entries) == []


def test_every_file_of_an_item_is_an_item_and_all_are_in_key_order(tmp_path):
    """``a/1`` sorts before ``a``'s neighbour ``a!``, whatever the order in which they were written."""
    entries = [
        an_entry("a", outputs=(an_output("a/2.npy"), an_output("a/1.npy"))),
        an_entry("a!", outputs=(an_output("a!.npy"),)),
    ]

    assert [item.key for item in items_of(str(tmp_path), entries)] == ["a!", "a/1", "a/2"]


@pytest.mark.parametrize(
    ("path", "suffix", "key"),
    [
        ("a.npy", ".npy", "a"),
        ("a.b.npy", ".b.npy", "a"),
        ("a.npy.npy", ".npy", "a.npy"),
        ("a.json", ".npy", "a"),
        ("a.b", "", "a.b"),
    ],
)
def test_the_key_of_a_published_file_is_its_path_without_the_suffix_of_its_task(tmp_path, path, suffix, key):
    [item] = items_of(str(tmp_path), [an_entry("a", outputs=(an_output(path),))], suffix)

    assert item.key == key
