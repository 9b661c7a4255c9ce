"""Of two inputs one gets the output, whichever worker asks first, and no input is ever replaced."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from luisy_dir import errors
from luisy_dir.claims import Claims, claims_of
from luisy_dir.engines import open_engine


@pytest.fixture
def claims():
    with claims_of(["in/a.txt", Path("in/b.txt"), "https://example.org/c.txt", 3]) as claims:
        yield claims


def gets_it(folder, outpath, inpath):
    try:
        Claims(folder).claim(outpath, inpath)
    except errors.KeyCollisionError:
        return False
    return True


def test_the_first_gets_it_and_may_ask_again(claims):
    claims.claim("out/x.txt", "in/a.txt")
    claims.claim("out/x.txt", "in/a.txt")
    claims.claim("out/y.txt", "in/a.txt")


def test_the_second_is_told_who_has_it(claims):
    claims.claim("out/x.txt", "in/a.txt")

    with pytest.raises(errors.KeyCollisionError, match=r"'in/a\.txt' and 'in/b\.txt' would both be written as 'out/x"):
        claims.claim("out/x.txt", "in/b.txt")


@pytest.mark.parametrize("name", ["out/../out/x.txt", Path("out/x.txt"), b"out/x.txt", os.path.abspath("out/x.txt")])
def test_one_place_may_have_several_names(claims, name):
    claims.claim("out/x.txt", "in/a.txt")

    with pytest.raises(errors.KeyCollisionError):
        claims.claim(name, "in/b.txt")


def test_a_place_behind_a_link_is_the_same(claims, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    claims.claim(tmp_path / "out" / "x.txt", "in/a.txt")

    with pytest.raises(errors.KeyCollisionError):
        claims.claim(tmp_path / "link" / "x.txt", "in/b.txt")


@pytest.mark.parametrize("name", ["in/a.txt", "in/b.txt", os.path.abspath("in/b.txt")])
def test_an_input_is_nobodys_output(claims, name):
    with pytest.raises(errors.OutputError, match="which is an input too"):
        claims.claim(name, "in/a.txt")


def test_among_many_inputs_each_is_found():
    inputs = [f"in/{number}" for number in range(1000)]

    with claims_of(inputs) as claims:
        for path in inputs:
            with pytest.raises(errors.OutputError):
                claims.claim(path, "x")
            claims.claim(f"out{path}", path)


@pytest.mark.parametrize("what", ["s3://bucket/x.txt", None, 3, ("a", "b")])
def test_what_is_no_path_is_passed_over(claims, what):
    claims.claim(what, "in/a.txt")
    claims.claim(what, "in/b.txt")


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_of_many_that_ask_at_once_one_gets_it(claims, engine):
    with open_engine(engine, 2) as executor:
        futures = [executor.submit(gets_it, claims.folder, f"out/{number % 5}", f"in/{number}") for number in range(50)]

        assert sum(future.result() for future in futures) == 5


def test_it_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with claims_of(["in/a.txt"]) as claims, ThreadPoolExecutor(2) as executor:
        list(executor.map(partial(gets_it, claims.folder, "out/x"), ["in/a", "in/b"] * 10))
        assert os.listdir(tmp_path) != []

    assert os.listdir(tmp_path) == []
