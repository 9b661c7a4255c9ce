"""``luisy-dir recheck``: a sample of published items, computed again from the command line."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import put_files
from test_cli import BAD_NEWS, ERROR, FINE, INTERRUPTED, ROOT, WRONG_USAGE, is_harmless, json_of, run, start, state_of

from luisy_dir.staging import locked

# Prints as it works, and does what a variable says that no fingerprint knows of.
PIPELINE = """
import os
import pathlib
import random
import time

import luigi

import luisy_dir as luisy


@luisy.make_directory_output(lambda path: pathlib.Path(path).read_text())
@luisy.raw
class Letters(luisy.ExternalTask):
    def get_folder_name(self):
        return "letters"


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", workers=2)
class Loud(luisy.DirectoryTask):
    sample = luigi.IntParameter(default=1)

    def process(self, text, item):
        print("processing", item.key, flush=True)  # a worker that is killed tells nothing more
        mood = os.environ.get("MOOD", "")
        if mood == "slow":
            open(os.environ["STARTED"], "w").close()
            time.sleep(60)
        if mood == "random":
            return text + str(random.random())
        if mood == "other" and item.key == "a":
            return text + " otherwise"
        if mood == "failing":
            raise ValueError("\\x1b[2J " + item.key)
        return text * self.sample
"""


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with a pipeline whose task Loud has run over four letters; for all tests, so nobody touches it."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "loud.py").write_text(PIPELINE)
    texts = {f"{key}.txt": key.encode() for key in ("a", "b", "c", "nested/d")}
    put_files(folder / "loud" / "raw" / "letters", texts)
    luigi(folder, "Loud")
    return folder


@pytest.fixture
def folder(working_dir, published):
    """A copy of that for one test."""
    return pathlib.Path(shutil.copytree(published, working_dir, dirs_exist_ok=True))


def luigi(folder, *arguments):
    subprocess.run(
        [sys.executable, "-B", "-m", "luigi", "--module", "loud", *arguments, "--local-scheduler", "--no-lock"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("LUISY_DIR_")}
        | {"PYTHONPATH": os.pathsep.join([".", *sys.path]), "LUIGI_CONFIG_PATH": str(ROOT / "luigi.cfg")},
        capture_output=True,
        check=True,
    )


def recheck(folder, *arguments, **environment):
    environment = {"PYTHONDONTWRITEBYTECODE": "1", **environment}
    return run("recheck", "loud", *arguments, cwd=folder, environment=environment)


@pytest.mark.parametrize("engine", ["serial", "processes"])
def test_where_all_is_equal_it_says_so_and_what_the_task_prints_is_no_part_of_the_answer(folder, engine):
    code, output, messages = recheck(folder, "Loud", "--sample", "100%", "--luisy-dir-engine", engine)

    assert (code, output) == (FINE, "4 of the 4 items that generation 1 has written were rechecked: 4 equal\n")
    assert messages.count("processing") == 4


def test_without_a_sample_it_is_one_in_a_hundred_and_at_least_one(folder):
    code, output, _ = recheck(folder, "Loud")

    assert (code, output) == (FINE, "1 of the 4 items that generation 1 has written were rechecked: 1 equal\n")


def test_what_differs_is_shown_with_what_to_compare(folder):
    code, output, _ = recheck(folder, "Loud", "--sample", "100%", MOOD="other")

    published = folder / "loud" / "interim" / "Loud_sample=1"
    scratch = folder / ".scratch" / "recheck" / "loud" / "interim" / "Loud_sample=1"
    assert code == BAD_NEWS
    assert output.splitlines() == [
        "drifted            a  other bytes: 'a.txt'",
        f"                     published   {published / 'a.txt'}",
        f"                     recomputed  {scratch / 'first' / 'files' / 'a.txt'}",
        "4 of the 4 items that generation 1 has written were rechecked: 3 equal, 1 drifted",
    ]
    assert (scratch / "first" / "files" / "a.txt").read_text() == "a otherwise"


def test_worker_processes_with_chance_in_them_are_found_out(folder):
    code, output, _ = recheck(folder, "Loud", "--sample", "1.0", MOOD="random")

    assert code == BAD_NEWS
    assert "4 not deterministic" in output


def test_nothing_drives_the_terminal(folder):
    code, output, _ = recheck(folder, "Loud", "--sample", "1.0", MOOD="failing")

    assert code == BAD_NEWS
    assert r"failed (ValueError: \x1b[2J nested/d)" in output
    assert is_harmless(output)


def test_json_is_the_whole_answer(folder):
    code, output, _ = recheck(folder, "Loud", "--sample", "100%", "--json", MOOD="other")

    found = json_of(output)
    (row,) = found.pop("rows")
    assert code == BAD_NEWS
    assert found == {
        "directory": str(folder / "loud" / "interim" / "Loud_sample=1"),
        "generation": 1,
        "sample": 1.0,
        "written": 4,
        "sampled": 4,
        "equal": 3,
        "counts": {"equal": 3, "drifted": 1},
        "changes": [],
        "is_reproduced": False,
    }
    assert (row["key"], row["finding"], row["reason"]) == ("a", "drifted", "other bytes: 'a.txt'")
    assert [pathlib.Path(path).exists() for path in (*row["published"], *row["recomputed"])] == [True, True]


def test_other_code_is_said(folder):
    (folder / "loud.py").write_text(PIPELINE.replace("text * self.sample", "text.upper() * self.sample"))

    code, output, _ = recheck(folder, "Loud", "--sample", "100%")

    assert code == BAD_NEWS
    assert "\nDifferences may come from that: loud.Loud.process was changed.\n" in output


def test_parameters_are_those_of_luigi_and_one_that_is_called_like_an_option_stands_after_two_dashes(folder):
    luigi(folder, "Loud", "--sample", "3")

    code, output, _ = recheck(folder, "Loud", "--sample", "100%", "--json", "--", "--sample", "3")

    assert (code, json.loads(output)["equal"]) == (FINE, 4)
    assert json.loads(output)["directory"].endswith("Loud_sample=3")


def test_a_run_may_be_at_work(folder):
    with locked(str(folder / "loud" / "interim" / "Loud_sample=1")):
        assert recheck(folder, "Loud")[0] == FINE


def test_nothing_is_touched(folder):
    def found():
        return {path: state for path, state in state_of(folder / "loud").items() if ".scratch" not in path}

    before = found()
    recheck(folder, "Loud", "--sample", "100%", MOOD="random")

    assert found() == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["Loud", "--sample", "1"], WRONG_USAGE, "'1' is no sample. Give a share of the items: '1%'"),
        (["Loud", "--sample", "0%"], WRONG_USAGE, "is no sample"),
        (["Letters"], WRONG_USAGE, "Letters is no directory task"),
        (["Nothing"], WRONG_USAGE, "There is no task 'Nothing'"),
        (["Loud", "--", "--sample", "5"], ERROR, "Nothing was published"),
        (["Loud", "--luisy-dir-engine", "steam"], ERROR, "steam"),
    ],
)
def test_what_cannot_be_rechecked_is_an_error_that_says_why(folder, arguments, code, message):
    found, output, messages = recheck(folder, *arguments)

    assert (found, output) == (code, "")
    assert message in messages
    assert "Traceback" not in messages


def test_ctrl_c_ends_it_soon_and_leaves_nothing(folder, tmp_path):
    started = tmp_path / "started"
    process = start("recheck", "loud", "Loud", cwd=folder, environment={"MOOD": "slow", "STARTED": str(started)})
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)
    output, messages = process.communicate(timeout=30)

    assert (process.returncode, output, messages) == (INTERRUPTED, "", "processing nested/d\nInterrupted\n")
    assert not (folder / ".scratch" / "recheck" / "loud" / "interim" / "Loud_sample=1").exists()
