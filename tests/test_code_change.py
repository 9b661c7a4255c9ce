"""Code that has changed: what is made anew, what says why, and how that is switched off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = """
import luisy_dir as luisy
import helpers


@luisy.make_directory_output(helpers.read)
@luisy.raw
class Letters(luisy.ExternalTask):
    def get_folder_name(self):
        return "letters"


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Loud(luisy.DirectoryTask):
    def process(self, text):
        return helpers.louder(text)


@luisy.final
@luisy.requires(Loud)
@luisy.directory_output(".txt", engine="serial")
class Long(luisy.DirectoryTask):
    def process(self, text):
        return text * helpers.TIMES
"""
HELPERS = """
TIMES = 2
SECRET = "swordfish"


def read(path):
    with open(path) as file:
        return file.read()


def louder(text):
    return upper(text) + "!"


def upper(text):
    return text.upper() if SECRET else text
"""


class Project:
    """A project that is edited, and looked at or run in a fresh process each time."""

    def __init__(self, folder):
        self.folder = folder
        self.edit("pipeline.py", PIPELINE)
        self.edit("helpers.py", HELPERS)
        self.letters = folder / "data" / "pipeline" / "raw" / "letters"
        self.letters.mkdir(parents=True)
        for name in "abc":
            (self.letters / f"{name}.txt").write_text(name)

    def edit(self, name, text, *changes):
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (self.folder / name).write_text(text)

    def edit_helpers(self, *changes):
        self.edit("helpers.py", HELPERS, *changes)

    def edit_pipeline(self, *changes):
        self.edit("pipeline.py", PIPELINE, *changes)

    def _call(self, *words):
        environ = os.environ | {
            "PYTHONPATH": f"{self.folder}:{ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LUISY_DIR_WORKING_DIR": str(self.folder / "data"),
        }
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.folder,
            env=environ,
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    def run(self, *flags, task="Long"):
        """Run a task with everything that it requires; what was logged."""
        return self._call("luigi", "--module", "pipeline", task, "--local-scheduler", "--no-lock", *flags).stderr

    def plan(self, *flags, task="Long"):
        """The plan as it is shown."""
        return self._call("luisy_dir", "plan", "pipeline", task, *flags).stdout

    def counts(self, *flags, task="Long"):
        """Number of items by reason, for each task that a run would come by."""
        steps = json.loads(self._call("luisy_dir", "plan", "pipeline", task, "--json", *flags).stdout)
        return {step["task"].partition("(")[0]: step["counts"] for step in steps}

    def record(self, name):
        """The newest record of a directory."""
        newest = max((self.folder / "data" / "pipeline" / name / ".manifest").glob("0*[0-9].json"))
        return json.loads(newest.read_text())

    def result(self, name="final/Long"):
        folder = self.folder / "data" / "pipeline" / name
        return {path.name: path.read_text() for path in folder.glob("*.txt")}


@pytest.fixture(scope="module")
def run_once(tmp_path_factory):
    """A project whose tasks were run; for all tests, so nobody touches it."""
    project = Project(tmp_path_factory.mktemp("run_once"))
    project.run()
    return project.folder


@pytest.fixture
def project(tmp_path, run_once):
    """A copy of that for one test."""
    project = Project(tmp_path)
    shutil.copytree(run_once, tmp_path, dirs_exist_ok=True)
    return project


UNCHANGED, CODE = {"unchanged": 3}, {"code": 3}
EDITS = {
    "a helper of a helper": (("text.upper()", "text.title()"), CODE, UNCHANGED),
    "a constant": (("TIMES = 2", "TIMES = 3"), UNCHANGED, CODE),
    "a text that a helper looks at": (("swordfish", "marlin"), CODE, UNCHANGED),
    "the reader": (("open(path)", "open(path, encoding='ascii')"), CODE, UNCHANGED),
    "a comment": (("TIMES = 2", "TIMES = 2  # twice"), UNCHANGED, UNCHANGED),
    "lines that move": (("TIMES = 2", "\n\n\nOTHER = 1\nTIMES = 2"), UNCHANGED, UNCHANGED),
}


@pytest.mark.parametrize("edit", EDITS)
def test_the_plan_knows_which_tasks_an_edit_touches(project, edit):
    change, of_first, of_second = EDITS[edit]
    project.edit_helpers(change)

    counts = project.counts()

    assert (counts.get("Loud", UNCHANGED), counts.get("Long", UNCHANGED)) == (of_first, of_second)


def test_what_an_edit_touches_is_made_anew_and_nothing_else(project):
    project.edit_helpers(("TIMES = 2", "TIMES = 3"))

    log = project.run()

    assert project.result() == {"a.txt": "A!A!A!", "b.txt": "B!B!B!", "c.txt": "C!C!C!"}
    assert "Loud(): published" not in log
    assert "Long(): published 3 of 3" in log


def test_the_plan_names_the_function_and_shows_the_lines_that_differ(project):
    project.edit_helpers(('upper(text) + "!"', 'upper(text) + "?"'))

    shown = project.plan(task="Loud")

    assert "because helpers.louder was changed:" in shown
    assert '-    return upper(text) + "!"' in shown
    assert '+    return upper(text) + "?"' in shown
    assert "helpers.upper" not in shown


def test_the_plan_tells_what_a_number_was_and_is(project):
    project.edit_helpers(("TIMES = 2", "TIMES = 3"))

    shown = project.plan()

    assert "because helpers.TIMES was changed:" in shown
    assert "-TIMES = 2" in shown
    assert "+TIMES = 3" in shown


def test_no_text_that_may_be_a_secret_gets_into_a_manifest_or_a_plan(project):
    project.edit_helpers(("swordfish", "marlin"))

    shown = project.plan(task="Loud")

    assert "because helpers.SECRET was changed" in shown
    assert "marlin" not in shown
    assert "swordfish" not in json.dumps(project.record("interim/Loud"))


def test_a_helper_that_is_no_longer_reached_and_one_that_is_new_are_named(project):
    project.edit_helpers(("upper(text) + ", "lower(text) + "), ("def upper", "def lower"))

    shown = project.plan(task="Loud")

    assert "helpers.lower was added" in shown
    assert "helpers.upper was removed" in shown


def test_terminal_escapes_in_code_are_shown_and_not_obeyed(project):
    project.edit_helpers(('"!"', '"\x1b[31m"'))

    shown = project.plan(task="Loud")

    assert "\x1b" not in shown
    assert r"\x1b[31m" in shown


# -- on_code_change ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["warn", "ignore"])
def test_what_earlier_code_has_made_is_kept_where_that_is_wanted(project, word):
    project.edit_helpers(("TIMES = 2", "TIMES = 3"))

    log = project.run("--luisy-dir-on-code-change", word)

    assert project.result()["a.txt"] == "A!A!"
    assert ("helpers.TIMES was changed" in log) == (word == "warn")


def test_the_plan_says_that_what_earlier_code_has_made_is_kept(project):
    project.edit_helpers(("TIMES = 2", "TIMES = 3"))

    shown = project.plan("--luisy-dir-on-code-change", "ignore", "--no-upstream")

    assert "3 unchanged" in shown
    assert "kept, as on_code_change says" in shown
    assert "helpers.TIMES was changed" in shown


def test_new_items_are_made_by_the_code_of_now_beside_those_that_are_kept(project):
    project.edit_helpers(("TIMES = 2", "TIMES = 3"))
    (project.letters / "d.txt").write_text("d")

    project.run("--luisy-dir-on-code-change", "ignore")

    assert project.result() == {"a.txt": "A!A!", "b.txt": "B!B!", "c.txt": "C!C!", "d.txt": "D!D!D!"}


@pytest.mark.parametrize("times", [2, 3])
def test_a_directory_that_several_versions_of_the_code_have_made_equals_none_of_them(project, times):
    project.edit_helpers(("TIMES = 2", "TIMES = 3"))
    (project.letters / "d.txt").write_text("d")
    project.run("--luisy-dir-on-code-change", "ignore")
    project.edit_helpers(("TIMES = 2", f"TIMES = {times}"))

    assert project.counts(task="Long")["Long"] == {"code": 4}
    assert "the code of some items was an earlier one" in project.plan()

    project.run()

    assert project.result() == {f"{name}.txt": f"{name.upper()}!" * times for name in "abcd"}
    assert project.counts(task="Long").get("Long", {"unchanged": 4}) == {"unchanged": 4}


def test_it_stays_mixed_over_several_updates(project):
    project.edit_helpers(("TIMES = 2", "TIMES = 3"))
    for name in "de":
        (project.letters / f"{name}.txt").write_text(name)
        project.run("--luisy-dir-on-code-change", "ignore")

    assert "Long(): published" not in project.run("--luisy-dir-on-code-change", "ignore")
    assert project.counts()["Long"] == {"code": 5}


def test_a_change_of_version_counts_whatever_is_said_of_code(project):
    project.edit_pipeline(
        ("class Long(luisy.DirectoryTask):", "class Long(luisy.DirectoryTask):\n    version = '2'\n"),
        ("text * helpers.TIMES", "text + text + text"),
    )

    shown = project.plan("--luisy-dir-on-code-change", "ignore")

    assert "3 code" in shown
    assert "version was '', now '2'" in shown


def test_changed_inputs_count_whatever_is_said_of_code(project):
    project.edit_helpers(("TIMES = 2", "TIMES = 3"))
    (project.letters / "a.txt").write_text("other")

    project.run("--luisy-dir-on-code-change", "ignore")

    assert project.result() == {"a.txt": "OTHER!OTHER!OTHER!", "b.txt": "B!B!", "c.txt": "C!C!"}


# -- installed packages -----------------------------------------------------------------------------------------------


def test_the_version_of_a_package_counts_where_it_is_declared(project):
    project.edit_pipeline(
        ('".txt", engine="serial")\nclass Long', '".txt", engine="serial", depends_on=["msgspec"])\nclass Long')
    )
    project.run()
    assert project.record("final/Long")["parts"]["packages"] == {"msgspec": version("msgspec")}
    assert "Long" not in project.counts() or project.counts()["Long"] == UNCHANGED

    metadata = project.folder / "msgspec-0.0.1.dist-info"  # found before the one that is installed
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: msgspec\nVersion: 0.0.1\n")

    shown = project.plan()

    assert "3 code" in shown
    assert f"because msgspec was '{version('msgspec')}', now '0.0.1'" in shown


def test_a_package_that_is_not_installed_is_refused(project):
    project.edit_pipeline(
        ('".txt", engine="serial")\nclass Long', '".txt", engine="serial", depends_on=["skimage"])\nclass Long')
    )

    with pytest.raises(AssertionError, match="depends_on names 'skimage', which is not installed"):
        project.plan()


# -- state that a run changes -----------------------------------------------------------------------------------------


def test_a_cache_that_a_run_fills_in_this_process_makes_nothing_stale(project):
    project.edit_helpers(
        ("SECRET =", "CACHE = {}\nSECRET ="), ("return upper(text)", "CACHE[text] = 1; return upper(text)")
    )

    log = project.run("--worker-check-complete-on-run")

    assert "Loud(): published 3 of 3" in log
    assert project.counts(task="Loud").get("Loud", UNCHANGED) == UNCHANGED
