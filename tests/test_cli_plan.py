"""``luisy-dir plan`` now that a run brings up to date what was published; and ``luisy-dir demo``, run again."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import files_below, put_files
from test_cli import BAD_NEWS, ERROR, FINE, PIPELINE, ROOT, json_of, run, run_demo, state_of

from luisy_dir.generations import repair, rollback, versions
from luisy_dir.manifest import read_manifest
from luisy_dir.record import CURRENT, FOLDER, encode_current, generation_name
from luisy_dir.staging import staging_of

# Says whether an item is to take long, and fails where a letter asks for it.
SLOW = """
import time

import luisy_dir as luisy
from planned import Letters


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Slow(luisy.DirectoryTask):
    max_errors = 5

    def process(self, text):
        if text.startswith("fail"):
            raise ValueError(text)
        time.sleep(float(text))
        return text
"""


@pytest.fixture
def letters(working_dir, write_files):
    """Write letters of the pipeline ``planned``; with None, remove one."""
    (working_dir / "planned.py").write_text(PIPELINE)
    (working_dir / "slow.py").write_text(SLOW)
    folder = working_dir / "planned" / "raw" / "letters"

    def write(**texts):
        write_files(folder, {f"{name}.txt": text.encode() for name, text in texts.items() if text is not None})
        for name in (name for name, text in texts.items() if text is None):
            (folder / f"{name}.txt").unlink()
        return working_dir

    return write


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with the pipeline, whose tasks Upper and Twice have run over four letters; nobody touches it."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "planned.py").write_text(PIPELINE)
    texts = {"a": b"alpha", "b": b"beta", "c": b"gamma", "d": b"delta"}
    put_files(folder / "planned" / "raw" / "letters", {f"{name}.txt": text for name, text in texts.items()})
    luigi(folder, "Twice")
    return folder


@pytest.fixture
def folder(letters, published, working_dir):
    """A copy of that for one test."""
    return pathlib.Path(shutil.copytree(published, working_dir, dirs_exist_ok=True))


def upper(folder):
    return str(folder / "planned" / "interim" / "Upper")


def luigi(folder, *arguments, module="planned", **environment):
    subprocess.run(
        [sys.executable, "-B", "-m", "luigi", "--module", module, *arguments, "--local-scheduler", "--no-lock"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("LUISY_DIR_")}
        | {"PYTHONPATH": ".", "LUIGI_CONFIG_PATH": str(ROOT / "luigi.cfg"), **environment},
        capture_output=True,
        check=True,
    )


def plan(folder, *arguments, module="planned", **environment):
    return run("plan", module, *arguments, cwd=folder, environment=environment)


def steps(folder, *arguments, **options):
    code, output, _ = plan(folder, *arguments, "--json", **options)
    assert code == FINE
    return json_of(output)


class TestReasons:
    def test_each_reason_is_named_and_each_key_has_a_row(self, folder, letters):
        letters(a="aleph", e="new", b=None)
        (folder / "planned" / "raw" / "letters" / "d.txt").touch()
        pathlib.Path(upper(folder), "c.txt").unlink()
        (step,) = steps(folder, "Upper")
        assert {row["key"]: row["reason"] for row in step["rows"]} == {
            "a": "changed", "b": "deleted", "c": "output missing", "d": "touched", "e": "new",
        }  # fmt: skip
        assert sum(step["counts"].values()) == 5
        assert step["is_to_do"]

    def test_unchanged_items_have_rows_too(self, folder, letters):
        letters(a="aleph")
        (step,) = steps(folder, "Upper")
        assert {row["key"]: row["reason"] for row in step["rows"]} == {
            "a": "changed", "b": "unchanged", "c": "unchanged", "d": "unchanged",
        }  # fmt: skip

    def test_an_output_that_was_edited_and_code_that_was_changed_are_reasons(self, folder):
        pathlib.Path(upper(folder), "c.txt").write_text("by hand")
        assert steps(folder, "Upper")[0]["counts"] == {"unchanged": 3, "output changed": 1}
        (folder / "planned.py").write_text(PIPELINE.replace("text.upper()", "text.upper() + '!'"))
        assert steps(folder, "Upper")[0]["counts"] == {"code": 4}

    def test_another_seed_is_a_parameter(self, folder):
        assert steps(folder, "Upper", "--luisy-dir-seed", "7")[0]["counts"] == {"params": 4}

    def test_what_failed_before_is_to_do_where_it_is_to_be_tried_again(self, letters):
        folder = letters(a="0", b="fail")
        luigi(folder, "Slow", module="slow")
        (step,) = steps(folder, "Slow", module="slow")
        assert (step["counts"], step["is_to_do"]) == ({"unchanged": 1, "failed before": 1}, False)
        code, _, _ = plan(folder, "Slow", "--exit-code", "--luisy-dir-retry-failed", module="slow")
        assert code == BAD_NEWS
        assert steps(folder, "Slow", "--luisy-dir-retry-failed", module="slow")[0]["is_to_do"]

    def test_what_a_verification_has_marked_is_to_be_made_anew(self, folder):
        pathlib.Path(upper(folder), "c.txt").unlink()
        repair(upper(folder))
        (step,) = steps(folder, "Upper")
        assert (step["counts"], step["is_to_do"]) == ({"unchanged": 3, "output missing": 1}, True)

    def test_what_a_plan_says_is_what_a_run_does(self, folder, letters):
        letters(a="aleph", e="new", b=None)
        code, _, _ = plan(folder, "Upper", "--exit-code")
        assert code == BAD_NEWS
        luigi(folder, "Upper")
        assert plan(folder, "Upper", "--exit-code")[0] == FINE
        assert files_below(upper(folder)) == ["a.txt", "c.txt", "d.txt", "e.txt"]


class TestTime:
    def test_a_plan_estimates_how_long_processing_will_take(self, letters):
        """From what was recorded: two items of which one took a second, and two new ones."""
        folder = letters(a="1.2", b="0")
        assert steps(folder, "Slow", module="slow")[0]["estimated_seconds"] is None
        luigi(folder, "Slow", module="slow")
        assert steps(folder, "Slow", module="slow")[0]["estimated_seconds"] == 0
        letters(c="0", d="0")
        (step,) = steps(folder, "Slow", module="slow")
        assert step["estimated_seconds"] > 1
        assert "; about 0:00:0" in plan(folder, "Slow", module="slow")[1]

    def test_where_nothing_is_known_there_is_no_time(self, letters):
        folder = letters(a="alpha")
        _, above = steps(folder, "Twice")
        assert (above["estimated_seconds"], above["is_pinned"], above["is_pending"]) == (None, None, None)


class TestNothingIsWritten:
    @pytest.mark.parametrize(
        "what", ["update", "pinned", "unfinished", "damaged", "without CURRENT", "left over", "gone"]
    )
    def test_whatever_there_is_a_plan_leaves_it_as_it_is(self, folder, letters, what):
        """No file and no folder appears, goes or changes, not even byte code."""
        letters(a="aleph", e="new", b=None)
        prepare(folder, what)
        before = state_of(folder)
        plan(folder, "Twice")
        plan(folder, "Twice", "--json", "--no-upstream")
        assert state_of(folder) == before


def prepare(folder, what):
    """Bring the directory of Upper into a state."""
    path, manifest = upper(folder), read_manifest(upper(folder))
    if what in {"pinned", "unfinished"}:
        luigi(folder, "Upper")
        rollback(path)
    if what == "unfinished":
        unfinish(path)
    if what == "damaged":
        spoil(manifest.path)
    if what == "without CURRENT":
        os.unlink(os.path.join(path, FOLDER, CURRENT))
    if what == "left over":
        os.makedirs(os.path.join(staging_of(path), "run-0123-4567", "files"))
    if what == "gone":
        for name in ("a", "c", "d"):
            os.unlink(folder / "planned" / "raw" / "letters" / f"{name}.txt")


def unfinish(path):
    """As if the last run had been killed when it had committed its generation."""
    before = versions(path)[1].generation
    record = pathlib.Path(path, FOLDER, f"{generation_name(before)}.json").read_bytes()
    pathlib.Path(path, FOLDER, CURRENT).write_bytes(encode_current(record))


def spoil(path):
    with open(path, "ab") as file:
        file.write(b"{}\n")


class TestManyDeleted:
    def test_a_run_that_would_be_refused_is_warned_of(self, folder, letters):
        letters(a=None, b=None, c=None)
        code, output, _ = plan(folder, "Upper", "--exit-code")
        assert code == BAD_NEWS
        assert "4 items: 3 deleted, 1 unchanged" in output
        last = output.splitlines()[-1]
        assert last.startswith("  A run would be refused: 3 of the 4 files that ")
        assert "--luisy-dir-max-deleted 1.0" in last
        assert "3 of the 4 files" in steps(folder, "Upper")[0]["warning"]

    def test_where_it_is_meant_there_is_no_warning(self, folder, letters):
        letters(a=None, b=None, c=None)
        (step,) = steps(folder, "Upper", "--luisy-dir-max-deleted", "1.0")
        assert (step["warning"], step["is_to_do"]) == (None, True)


class TestDamaged:
    def test_everything_would_be_made_anew(self, folder):
        spoil(read_manifest(upper(folder)).path)
        code, output, messages = plan(folder, "Twice", "--exit-code")
        assert code == BAD_NEWS
        assert output == (
            "Upper(): its manifest is damaged: what no earlier generation vouches for would be made anew\n"
            "  4 items: 4 new\n"
            "    new: 'a', 'b', 'c' …\n"
            "Twice(times=2): its items are not known, because the manifest of Upper() is damaged: run it first\n"
        )
        assert "Warning: The manifest" in messages
        luigi(folder, "Twice")
        assert plan(folder, "Twice", "--exit-code")[0] == FINE

    def test_where_only_the_name_of_the_generation_is_lost_it_is_mended(self, folder):
        """Nothing would be made anew then."""
        os.unlink(os.path.join(upper(folder), FOLDER, CURRENT))
        code, output, _ = plan(folder, "Upper", "--exit-code")
        assert code == BAD_NEWS
        assert output == "Upper(): what names its generation 1 is damaged: a run mends that first, and then plans\n"
        before = read_manifest_of_newest(upper(folder))
        luigi(folder, "Upper")
        assert read_manifest(upper(folder)).record == before

    def test_where_nothing_tells_whose_it_is_a_run_would_be_refused(self, folder):
        for name in (f"{generation_name(1)}.json", CURRENT):
            os.unlink(os.path.join(upper(folder), FOLDER, name))
        code, output, _ = plan(folder, "Upper", "--exit-code")
        assert code == BAD_NEWS
        assert "  A run would be refused: The manifest" in output
        assert "remove it yourself" in output

    def test_a_manifest_of_a_later_version_is_an_error(self, folder):
        record = pathlib.Path(upper(folder), FOLDER, f"{generation_name(1)}.json")
        record.write_text(record.read_text().replace('"format_version":1', '"format_version":2'))
        code, output, messages = plan(folder, "Upper")
        assert (code, output) == (ERROR, "")
        assert "Install a later version." in messages


def read_manifest_of_newest(path):
    return versions(path)[0]


class TestPinned:
    def test_a_run_leaves_it_alone_whatever_has_become_of_the_inputs(self, folder, letters):
        letters(a="aleph")
        luigi(folder, "Upper")
        rollback(upper(folder))
        code, output, _ = plan(folder, "Upper", "--exit-code")
        assert code == FINE
        assert "  4 items: 3 unchanged, 1 changed\n" in output
        assert "pinned" in output
        (step,) = steps(folder, "Upper")
        assert (step["is_pinned"], step["is_to_do"], step["warning"]) == (True, False, None)

    def test_luigi_does_not_look_beyond_it_and_neither_does_the_plan(self, folder, letters):
        letters(a="aleph")
        luigi(folder, "Twice")
        rollback(steps(folder, "Twice", "--no-upstream")[0]["path"])
        letters(b="beth")
        assert [step["task"] for step in steps(folder, "Twice")] == ["Twice(times=2)"]
        assert plan(folder, "Twice", "--exit-code")[0] == FINE

    def test_a_damaged_output_of_it_would_be_refused(self, folder, letters):
        letters(a="aleph")
        luigi(folder, "Upper")
        rollback(upper(folder))
        pathlib.Path(upper(folder), "b.txt").unlink()
        code, output, _ = plan(folder, "Upper", "--exit-code")
        assert code == BAD_NEWS
        assert "  A run would be refused: Generation 3 is pinned, and not all of its files" in output
        assert f"luisy-dir release {upper(folder)}" in output


class TestUnfinished:
    def test_it_is_to_be_finished_first(self, folder, letters):
        letters(a="aleph")
        luigi(folder, "Upper")
        unfinish(upper(folder))
        code, output, _ = plan(folder, "Upper", "--exit-code")
        assert code == BAD_NEWS
        assert "A run was ended while it published: the next one finishes that first." in output
        (step,) = steps(folder, "Upper")
        assert (step["is_pending"], step["is_to_do"]) == (True, True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder that the demo has filled and run, for tests that change it one after the other."""
    parent = tmp_path_factory.mktemp("again")
    code, _, messages = run_demo(parent, "demo", "--images", "12")
    assert code == FINE, messages
    return parent / "demo"


class TestDemoAgain:
    @staticmethod
    def images(folder):
        return sorted((folder / "red_channel" / "raw").rglob("*.png"))

    @staticmethod
    def result(folder, image):
        relative = image.relative_to(folder / "red_channel" / "raw" / "images").with_suffix(".npy")
        return folder / "red_channel" / "final" / "RedChannel" / relative

    def test_images_that_were_removed_and_edited_are_brought_up_to_date(self, made):
        removed, edited, source, *_ = self.images(made)
        removed.unlink()
        edited.write_bytes(source.read_bytes())
        untouched = self.result(made, source).stat().st_mtime_ns
        code, output, _ = run_demo(made.parent, "demo")
        assert code == FINE
        assert "11 items: 11 written" in output
        assert not self.result(made, removed).exists()
        assert (np.load(self.result(made, edited)) == np.load(self.result(made, source))).all()
        assert self.result(made, source).stat().st_mtime_ns == untouched

    def test_so_is_everything_where_the_pipeline_was_edited(self, made):
        pipeline = made / "red_channel.py"
        text = pipeline.read_text()
        first = self.images(made)[0]
        red = np.load(self.result(made, first))
        pipeline.write_text(text.replace("return image[..., 0]", "return image[..., 1]"))
        code, output, _ = run_demo(made.parent, "demo")
        pipeline.write_text(text)
        assert code == FINE
        assert not (np.load(self.result(made, first)) == red).all()
        (manifest,) = re.findall(r"^Manifest   (.*), one JSON", output, re.MULTILINE)
        assert (made.parent / manifest).is_file()

    def test_what_was_broken_and_mended_is_shown_as_it_is_published(self, made):
        """The run that failed has left its entries, which are not shown."""
        run_demo(made.parent, "demo")
        pipeline = made / "red_channel.py"
        text = pipeline.read_text()
        pipeline.write_text(text.replace("return image[..., 0]", "return image[9:, 9]['red']"))
        code, output, _ = run_demo(made.parent, "demo")
        pipeline.write_text(text)
        assert code == BAD_NEWS
        assert "Luigi failed, and says above why." in output
        code, output, _ = run_demo(made.parent, "demo")
        assert code == FINE
        assert re.search(r"^(\d+) items: \1 written$", output, re.MULTILINE)
        assert "remove" not in output.replace("Add, edit or remove", "")
