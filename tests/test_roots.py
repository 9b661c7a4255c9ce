"""Roots: a record says where the folders lie that items were read from, whatever they are called."""

from __future__ import annotations

import json
import os

import msgspec
import pytest
from pipelines import Joined, Letters, Strict, Upper

from luisy_dir.record import FOLDER, read_current
from luisy_dir.roots import folder_of, seen_from
from luisy_dir.tasks import definition
from luisy_dir.transaction import Facts

HOSTILE = {
    "line end": b"new\nline",
    "escape sequence": b"\x1b[2J\x1b[31mred",
    "right to left": "\u202egnp.exe".encode(),
    "undecodable": b"\xff\xfe",
    "percent": b"50%",
    "percent code": b"%41",
    "quotes": b'it\'s "so"',
    "backslash": b"back\\slash\\n",
    "dots": b"a..b",
    "spaces": b"   ",
    "emoji": "👩\u200d🔬".encode(),
    "markup": b"<script>",
    "like a source": b'{"root":"Letters","path":"a.txt"',
}


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """What a power cut would cost is tested elsewhere."""
    monkeypatch.setenv("LUISY_DIR_DURABILITY", "none")
    monkeypatch.setenv("LUISY_DIR_ENGINE", "serial")
    monkeypatch.setenv("LUISY_DIR_MAX_DELETED", "1.0")


@pytest.fixture
def put(write_files):
    """Write a letter, each time with a time of change of its own."""
    age = iter(range(50_000, 0, -60))
    return lambda text: write_files(Letters().output().path, {"a.txt": text}, age_seconds=next(age))


@pytest.fixture
def without_roots(monkeypatch):
    """Publish records that do not tell."""
    monkeypatch.setattr(
        definition,
        "Facts",
        lambda **facts: Facts(**{name: fact for name, fact in facts.items() if name != "roots"}),
    )


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_every_name_of_a_folder_survives(name):
    folder = os.fsdecode(b"/data/raw/" + name)
    root = seen_from("/data/interim/x", folder)

    assert json.loads(msgspec.json.encode(root)) == root
    assert folder_of("/elsewhere/interim/x", root) == os.fsdecode(b"/elsewhere/raw/" + name)


def test_plain_names_stand_as_they_are():
    assert seen_from("/data/p/interim/ToNumpy", "/data/p/raw/größe 1") == "../../raw/größe 1"


def test_the_record_says_where_each_directory_lies(put):
    put(b"a")
    for task in (Upper, Strict, Joined):
        task().run()

    assert read_current(Upper().output().path).roots == {"Letters": "../../raw/letters"}
    assert read_current(Joined().output().path).roots == {
        "text": "../../interim/Upper",
        "words": "../../interim/Strict",
    }


def test_every_generation_keeps_it(put):
    put(b"a")
    Upper().run()
    put(b"b")
    Upper().run()
    target = Upper().output()
    target.rollback()
    target.release()
    os.unlink(os.path.join(target.path, "a.txt"))
    target.repair()

    roots = [record.roots for record in target.versions()]
    assert roots == [{"Letters": "../../raw/letters"}] * 5


def test_a_record_without_it_stays_readable(put, without_roots):
    put(b"a")
    Upper().run()

    with open(os.path.join(Upper().output().path, FOLDER, "00000001.json"), "rb") as file:
        assert b"roots" not in file.read()
    assert read_current(Upper().output().path).roots is msgspec.UNSET
    assert Upper().complete()
    put(b"b")
    Upper().run()
    assert Upper().output().rollback().roots is msgspec.UNSET
