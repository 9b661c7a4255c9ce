"""The command ``luisy-dir``: what it prints, what it exits with, and what it leaves alone."""

from __future__ import annotations

import csv
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import zlib

import click
import numpy as np
import pytest
from click.testing import CliRunner
from pipelines import Letters, Strict, Upper, Words

import luisy_dir
from luisy_dir.cli import commands
from luisy_dir.cli.exits import EXIT_CODES, Commands
from luisy_dir.entry import COLUMNS
from luisy_dir.errors import BusyError, StorageError
from luisy_dir.staging import staging_of
from luisy_dir.terminal import width_of

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
LOOKING, CHANGING = (
    ("ls", "report", "errors", "verify", "recheck", "plan", "replay", "why", "trace"),
    ("rollback", "release", "gc", "probe", "demo"),
)
NAMES = (*LOOKING, "versions", "diff", *CHANGING)
HOSTILE = ("\x1b[2Jclear", "line\nend", "\u202eright", "bell\x07", "\x9b31m", "größe", "日本")
FINE, BAD_NEWS, WRONG_USAGE, ERROR, BUSY, INTERRUPTED, CUT_SHORT = 0, 1, 2, 3, 4, 130, 141
DEMO = "it's a demo"  # which a shell must be told in quotes


def call(*arguments):
    """The answer of a command, run in this process."""
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def start(*arguments, cwd=None, environment=None, **options):
    """The real command in a process of its own; every warning is an error."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "luisy_dir", *map(str, arguments)],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if not name.startswith("LUISY_DIR_")}
        | {"LUIGI_CONFIG_PATH": str(ROOT / "luigi.cfg"), **(environment or {})},
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments, **options):
    """Exit code, output and messages of the real command."""
    process = start(*arguments, **options)
    output, messages = process.communicate(timeout=100)
    return process.returncode, output, messages


def json_of(output):
    """The value of a JSON text that any reader takes: without NaN and infinities."""

    def refuse(constant):
        raise ValueError(constant)

    return json.loads(output, parse_constant=refuse)


def is_harmless(output):
    """Whether nothing in a text but line ends could do anything to a terminal."""
    return all(char.isprintable() or char == "\n" for char in output)


def state_of(folder):
    """Every file and folder below a folder, with its time of change."""
    return {str(path): path.lstat().st_mtime_ns for path in [pathlib.Path(folder), *pathlib.Path(folder).rglob("*")]}


@pytest.fixture
def letters(write_files):
    """A raw folder in which items are written, rejected, skipped and failed."""
    files = {"a.txt": b"fine", "b.txt": b"reject this", "c.txt": b"fail now", "d.txt": b"fail again", "e.png": b""}
    return write_files(Letters().output().path, files)


@pytest.fixture
def published(letters, monkeypatch):
    """The directory of a task in which two items failed."""
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "2")
    Strict().run()
    return Strict().output().path


@pytest.fixture
def unpublished(letters, monkeypatch):
    """Where a run would publish that has failed."""
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
    with pytest.raises(luisy_dir.errors.ItemsFailedError):
        Strict().run()
    return Strict().output().path


@pytest.fixture
def hostile(write_files, monkeypatch):
    """A directory whose keys and messages would drive a terminal."""
    write_files(Letters().output().path, {f"{name}.txt": f"fail {name}".encode() for name in HOSTILE})
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1.0")
    Strict().run()
    return Strict().output().path


class TestHelp:
    def test_it_lists_every_command_and_every_exit_code(self):
        answer = call("--help")
        assert answer.exit_code == FINE
        assert set(commands.list_commands(None)) == set(NAMES)
        for name in NAMES:
            assert re.search(rf"^  {name} +[A-Z].+\.$", answer.output, re.MULTILINE)
        for code, meaning in EXIT_CODES.items():
            assert re.search(rf"^ +{code}  {re.escape(meaning)}$", answer.output, re.MULTILINE)

    @pytest.mark.parametrize("name", NAMES)
    def test_each_command_says_what_it_prints_and_gives_examples(self, name):
        answer = call(name, "--help")
        assert answer.exit_code == FINE
        assert "Prints " in answer.output
        assert f"\n  Examples:\n    luisy-dir {name}" in answer.output

    @pytest.mark.parametrize("name", NAMES)
    def test_each_command_and_option_is_documented(self, name):
        """The page has a section for each command, and speaks of every option that is not about the command itself."""
        section = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert section
        for parameter in commands.get_command(None, name).params:
            for option in parameter.opts if isinstance(parameter, click.Option) else ():
                assert option in section, option

    def test_the_documented_exit_codes_are_those_of_the_code(self):
        table = re.findall(r"^\| (\d+) \| (.+) \|$", PAGE, re.MULTILINE)
        assert [(int(code), meaning) for code, meaning in table] == list(EXIT_CODES.items())

    def test_nothing_heavy_is_loaded_before_a_command_needs_it(self):
        """``luisy-dir --help`` is there at once."""
        code = (
            "import sys\nfrom click.testing import CliRunner\nfrom luisy_dir.cli import commands\n"
            "CliRunner().invoke(commands, ['--help'])\n"
            "print([name for name in ('luigi', 'numpy', 'pandas', 'skimage') if name in sys.modules])"
        )
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

    def test_the_version_is_that_of_the_package(self):
        assert run("--version") == (FINE, f"luisy-dir, version {luisy_dir.__version__}\n", "")

    def test_the_script_is_that_command(self):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert project["scripts"]["luisy-dir"] == "luisy_dir.cli:main"
        assert callable(luisy_dir.cli.main)


class TestExitCodes:
    """How a command ends is said by a small table, and never by a traceback of ours."""

    @staticmethod
    def ending(error):
        @click.group(cls=Commands)
        def group():
            pass

        @group.command()
        def end():
            raise error

        return CliRunner().invoke(group, ["end"])

    def test_an_error_of_ours_is_one_message(self):
        code, output, messages = run("report", "/nowhere/at/all")
        assert (code, output) == (ERROR, "")
        assert messages.startswith("Error: Nothing is published as '/nowhere/at/all'")
        assert "luisy-dir ls" in messages
        assert "Traceback" not in messages

    def test_a_busy_directory_has_a_code_of_its_own(self):
        answer = self.ending(BusyError("Another run holds it."))
        assert (answer.exit_code, answer.stderr) == (BUSY, "Error: Another run holds it.\n")

    def test_an_error_of_the_disk_is_shown_without_its_number(self):
        answer = self.ending(StorageError(28, "The disk is full."))
        assert (answer.exit_code, answer.stderr) == (ERROR, "Error: The disk is full.\n")

    def test_an_error_that_nobody_foresaw_is_no_answer(self):
        """Python would exit with 1, which here says that something differs."""
        answer = self.ending(ZeroDivisionError("a bug"))
        assert answer.exit_code == ERROR
        assert answer.stderr.endswith("ZeroDivisionError: a bug\n")

    def test_messages_cannot_drive_the_terminal(self):
        for error in (BusyError("\x1b[2J"), ZeroDivisionError("\x1b[2J")):
            assert is_harmless(self.ending(error).stderr)

    @pytest.mark.parametrize(
        "arguments", [["nothing"], ["ls", "--nothing"], ["report"], ["report", "x", "--csv", "--json"]]
    )
    def test_wrong_usage_is_clicks_own(self, arguments, working_dir):
        assert call(*arguments).exit_code == WRONG_USAGE

    def test_ctrl_c_is_not_a_traceback(self, working_dir):
        (working_dir / "slowly.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
        process = start("plan", "slowly", "Task", cwd=working_dir)
        assert process.stderr.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        output, messages = process.communicate(timeout=60)
        assert (process.returncode, output, messages) == (INTERRUPTED, "", "Interrupted\n")

    def test_head_may_go_when_it_has_seen_enough(self, write_files, working_dir):
        """The pipe is full long before the report ends."""
        write_files(Letters().output().path, {f"{number:04d}.txt": b"x" for number in range(1500)})
        Upper().run()
        process = start("report", Upper().output().path, "--json")
        assert process.stdout.readline() == "[\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        process.stderr.close()
        assert process.wait(timeout=60) == CUT_SHORT

    @pytest.mark.parametrize("arguments", [["ls"], ["ls", "--json"], ["ls", "--help"]])
    def test_nobody_at_all_may_read(self, working_dir, arguments):
        """The first line, which is written at the very end, finds nobody."""
        reading, writing = os.pipe()
        os.close(reading)
        try:
            assert run(*arguments, cwd=working_dir, stdout=writing) == (CUT_SHORT, None, "")
        finally:
            os.close(writing)

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
    def test_a_full_disk_is_said_and_not_passed_over(self, working_dir):
        with open("/dev/full", "w") as full:
            code, _, messages = run("ls", cwd=working_dir, stdout=full)
        assert code == ERROR
        assert messages == "Error: The output cannot be written: [Errno 28] No space left on device.\n"

    def test_a_terminal_that_knows_ascii_alone_gets_an_answer(self, write_files, working_dir):
        write_files(Letters().output().path, {"größe.txt": b"x"})
        Upper().run()
        code, output, _ = run("report", Upper().output().path, environment={"PYTHONIOENCODING": "ascii"})
        assert code == FINE
        assert "gr\\xf6\\xdfe" in output


class TestLs:
    def test_it_says_of_each_directory_what_was_published(self, published, working_dir):
        header, line = call("ls", working_dir).output.splitlines()
        assert header.split()[:4] == ["directory", "task", "layer", "generation"]
        assert line.split()[:4] == ["pipelines/interim/Strict", "Strict", "interim", "1"]
        assert line.split()[4:9] == ["1", "1", "1", "2", "4"]
        assert re.search(r"4 B +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d$", line)

    def test_it_looks_into_the_working_directory_by_default(self, published):
        assert call("ls").output.splitlines()[1].startswith("pipelines/interim/Strict")

    def test_it_looks_below_the_folder_that_is_given(self, published, working_dir, monkeypatch):
        monkeypatch.chdir(working_dir)
        assert call("ls", "pipelines/interim/").output.splitlines()[1].startswith("Strict ")
        assert call("ls", published).output.splitlines()[1].startswith(". ")

    def test_a_run_that_did_not_publish_is_listed_as_such(self, unpublished, working_dir):
        """With what it has done until it was given up."""
        (line,) = json_of(call("ls", working_dir, "--json").output)
        assert (line["path"], line["state"], line["task"]) == ("pipelines/interim/Strict", "not published", None)
        assert line["counts"]["failed"] == 2
        assert call("ls", working_dir).output.splitlines()[1].endswith("not published")

    def test_a_staging_without_a_run_is_not_listed(self, published, working_dir):
        os.makedirs(os.path.join(staging_of(str(working_dir / "x")), "bad-1"))
        os.makedirs(working_dir / ".staging" / "run-1")
        assert [line["state"] for line in json_of(call("ls", working_dir, "--json").output)] == ["published"]

    def test_what_is_published_hides_what_a_former_run_left(self, published, working_dir):
        os.makedirs(os.path.join(staging_of(published), "run-1"))
        assert [line["state"] for line in json_of(call("ls", working_dir, "--json").output)] == ["published"]

    def test_a_damaged_manifest_is_a_line_among_others(self, published, working_dir):
        shutil.copytree(published, working_dir / "pipelines" / "interim" / "Copy")
        with open(os.path.join(published, ".manifest", "00000001.jsonl"), "ab") as file:
            file.write(b"{}\n")
        answer = call("ls", working_dir)
        assert answer.exit_code == FINE
        assert len(answer.output.splitlines()) == 3
        assert "pipelines/interim/Strict  damaged: The manifest" in answer.output
        states = {line["path"]: line["state"] for line in json_of(call("ls", working_dir, "--json").output)}
        assert states == {"pipelines/interim/Copy": "published", "pipelines/interim/Strict": "damaged"}

    def test_a_journal_of_another_version_is_a_line_among_others(self, published, working_dir):
        """Its checksum is right, so that it was not cut short, and it is no entry that we know."""
        staged = os.path.join(staging_of(str(working_dir / "x")), "run-1")
        os.makedirs(staged)
        line = b'{"key": "a", "of": "a later version"}'
        with open(os.path.join(staged, "journal-1"), "wb") as file:
            file.write(b"%08x %b\n" % (zlib.crc32(line), line))
        answer = call("ls", working_dir)
        assert answer.exit_code == FINE
        assert len(answer.output.splitlines()) == 3

    def test_a_manifest_without_anything_in_it_is_damaged(self, working_dir):
        os.makedirs(working_dir / "x" / ".manifest")
        assert "x  damaged: " in call("ls", working_dir).output

    def test_where_nothing_is_published_it_says_so(self, working_dir):
        assert call("ls", working_dir).output.startswith("Nothing is published below")
        assert json_of(call("ls", working_dir, "--json").output) == []

    def test_a_folder_that_is_not_there_is_an_error(self, working_dir):
        answer = call("ls", working_dir / "nothing")
        assert answer.exit_code == ERROR
        assert "There is no folder" in answer.stderr

    @pytest.mark.parametrize("name", HOSTILE)
    def test_names_cannot_drive_the_terminal(self, published, working_dir, name):
        os.rename(published, working_dir / name)
        os.makedirs(os.path.join(staging_of(str(working_dir / f"{name}2")), "run-1", "files"))
        os.makedirs(working_dir / f"{name}3" / ".manifest")
        assert is_harmless(call("ls", working_dir).output)
        paths = [line["path"] for line in json_of(call("ls", working_dir, "--json").output)]
        assert paths == [name, f"{name}2", f"{name}3"]

    def test_a_name_that_is_no_text_is_found_again_in_the_json(self, published, working_dir):
        os.rename(os.fsencode(published), os.fsencode(str(working_dir)) + b"/\xff")
        code, output, _ = run("ls", working_dir)
        assert (code, is_harmless(output)) == (FINE, True)
        (line,) = json_of(run("ls", working_dir, "--json")[1])
        assert os.fsencode(line["path"]) == b"\xff"


class TestReport:
    def test_it_is_a_table_with_the_counts_in_the_last_line(self, published):
        lines = call("report", published).output.splitlines()
        assert lines[0].split() == ["key", "status", "reason", "source_bytes", "output_bytes", "seconds", "words"]
        assert [line.split()[:2] for line in lines[1:-1]] == [
            ["a", "written"], ["b", "rejected"], ["c", "failed"], ["d", "failed"], ["e", "skipped"],
        ]  # fmt: skip
        assert lines[-1] == "5 items: 1 written, 1 skipped, 1 rejected, 2 failed"

    def test_it_shows_the_first_rows_and_says_so(self, write_files):
        write_files(Letters().output().path, {f"{number:02d}.txt": b"x" for number in range(25)})
        Upper().run()
        path = Upper().output().path
        by_default = call("report", path).output.splitlines()
        assert len(by_default) == 1 + 20 + 2
        assert by_default[-2:] == ["Shown are 20 of 25 items. --limit 0 shows all.", "25 items: 25 written"]
        assert len(call("report", path, "--limit", "3").output.splitlines()) == 1 + 3 + 2
        assert len(call("report", path, "--limit", "0").output.splitlines()) == 1 + 25 + 1
        assert len(json_of(call("report", path, "--json").output)) == 25
        assert len(json_of(call("report", path, "--json", "--limit", "3").output)) == 3

    @pytest.mark.parametrize("width", [20, 40, 80, 200])
    @pytest.mark.parametrize("name", ["hostile", "published"])
    def test_no_line_of_the_table_is_wider_than_the_terminal(self, name, width, request, monkeypatch):
        path = request.getfixturevalue(name)
        monkeypatch.setenv("COLUMNS", str(width))
        lines = call("report", path).output.splitlines()
        rows = [line for line in lines if "failed  " in line or line.startswith("key")]
        assert rows
        assert all(width_of(line) <= width for line in rows)

    def test_columns_without_room_are_named(self, published, monkeypatch):
        monkeypatch.setenv("COLUMNS", "40")
        assert re.search("There is no room for .*words: --csv and --json print every", call("report", published).output)

    def test_some_statuses_alone(self, published):
        records = json_of(call("report", published, "--json", "--status", "failed", "--status", "rejected").output)
        assert [record["key"] for record in records] == ["b", "c", "d"]
        lines = call("report", published, "--status", "skipped").output.splitlines()
        assert lines[-2:] == ["Shown are 1 of 5 items.", "5 items: 1 written, 1 skipped, 1 rejected, 2 failed"]
        assert call("report", published, "--status", "lost").exit_code == WRONG_USAGE

    def test_csv_has_every_item_and_column(self, published):
        rows = list(csv.DictReader(io.StringIO(call("report", published, "--csv").output)))
        assert list(rows[0]) == ["key", *COLUMNS, "words"]
        assert [row["key"] for row in rows] == ["a", "b", "c", "d", "e"]
        assert json.loads(rows[0]["outputs"]) == ["a.txt"]
        assert (rows[0]["words"], rows[0]["reason"], rows[4]["words"]) == ("1", "", "")

    def test_json_has_every_item_and_column_and_null_where_there_is_nothing(self, published):
        records = json_of(call("report", published, "--json").output)
        assert all(list(record) == ["key", *COLUMNS, "words"] for record in records)
        assert (records[0]["sources"], records[0]["words"], records[0]["error"]) == (["a.txt"], 1, None)
        assert (records[2]["error_type"], records[2]["error"]) == ("ValueError", "cannot read 'fail now'")
        assert records[4]["words"] is None

    def test_it_says_the_same_as_the_report_in_python(self, published):
        report = Strict().report()
        records = json_of(call("report", published, "--json").output)
        assert [record["key"] for record in records] == list(report.index)
        for column in ("status", "source_bytes", "output_bytes", "attempts", "seconds", "sources", "outputs"):
            assert [record[column] for record in records] == report[column].tolist()
        assert [record["started"] for record in records] == [moment.isoformat() for moment in report["started"]]

    @pytest.mark.parametrize("option", ["--csv", "--json"])
    def test_programs_get_names_as_they_are(self, hostile, option):
        output = call("report", hostile, option).output
        records = json_of(output) if option == "--json" else csv.DictReader(io.StringIO(output))
        assert {record["key"] for record in records} == set(HOSTILE)

    def test_people_get_names_that_cannot_drive_the_terminal(self, hostile):
        output = call("report", hostile).output
        assert is_harmless(output)
        assert r"line\nend" in output
        assert "日本" in output

    def test_csv_on_a_terminal_cannot_drive_it_either(self, hostile, monkeypatch, capsys):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        with pytest.raises(SystemExit):
            commands(["report", hostile, "--csv"])
        assert is_harmless(capsys.readouterr().out)

    def test_a_run_that_did_not_publish_has_a_report(self, unpublished):
        lines = call("report", unpublished).output.splitlines()
        assert lines[0].endswith("is not published. Its last run failed, or is under way:")
        assert lines[-1].endswith(", 2 failed")

    def test_a_run_that_has_done_nothing_yet_has_a_report(self, working_dir):
        os.makedirs(os.path.join(staging_of(str(working_dir / "x")), "run-1", "files"))
        assert call("report", working_dir / "x").output.endswith("\n0 items\n")
        assert json_of(call("report", working_dir / "x", "--json").output) == []

    def test_a_directory_without_a_single_file_has_a_report(self, write_files):
        write_files(Letters().output().path, {"a.txt": b""})
        Words().run()
        path = Words().output().path
        assert call("report", path).output.endswith("\n1 items: 1 written\n")
        assert call("report", path, "--status", "failed", "--csv").output.count("\n") == 1
        assert call("ls", path).output.splitlines()[1].startswith(".          Words")
        assert call("verify", path).output == "0 files: all are as they were written\n"

    @pytest.mark.parametrize("spelling", ["{}", "{}/", "./{}", "../{1}/{0}", "{}/.", "{}//"])
    def test_a_path_may_be_spelled_in_any_way(self, published, working_dir, spelling, monkeypatch):
        monkeypatch.chdir(os.path.dirname(published))
        path = spelling.format(os.path.basename(published), os.path.basename(os.getcwd()))
        assert call("report", path).exit_code == FINE

    @pytest.mark.parametrize("spelling", ["Strict", "Strict/"])
    def test_so_may_one_where_nothing_is_published(self, unpublished, spelling, monkeypatch):
        monkeypatch.chdir(os.path.dirname(unpublished))
        assert call("report", spelling).exit_code == FINE

    @pytest.mark.parametrize("command", ["report", "errors", "verify"])
    def test_where_there_is_nothing_it_says_what_to_do(self, command, working_dir, published):
        for path in (working_dir / "nothing", working_dir, os.path.join(published, "a.txt")):
            answer = call(command, path)
            assert answer.exit_code == ERROR
            assert "luisy-dir ls" in answer.stderr

    @pytest.mark.parametrize("command", ["report", "errors", "verify"])
    def test_a_damaged_manifest_is_an_error(self, command, published):
        os.unlink(os.path.join(published, ".manifest", "CURRENT"))
        answer = call(command, published)
        assert (answer.exit_code, answer.stdout) == (ERROR, "")
        assert answer.stderr.startswith("Error: The manifest")


class TestErrors:
    def test_they_are_grouped_and_each_names_its_file_and_message(self, published):
        answer = call("errors", published)
        assert answer.exit_code == BAD_NEWS
        assert answer.output == (
            "     2 failed  ValueError\n"
            "     1 rejected  Reject\n"
            "\n"
            "ValueError (failed)\n"
            "  c  (Letters: c.txt)\n"
            "      cannot read 'fail now'\n"
            "  d  (Letters: d.txt)\n"
            "      cannot read 'fail again'\n"
            "\n"
            "Reject (rejected)\n"
            "  b  (Letters: b.txt)\n"
            "      not wanted\n"
            "\n"
            "5 items: 1 written, 1 skipped, 1 rejected, 2 failed\n"
        )

    def test_tracebacks_are_shown_where_they_are_asked_for(self, published):
        assert "pipelines.py" not in call("errors", published).output
        shown = call("errors", published, "--traceback").output
        assert re.search(r'\n      +File ".*pipelines\.py", line \d+, in process\n', shown)
        assert shown.count("cannot read 'fail now'") == 1

    def test_rejected_items_are_no_errors(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"reject this", "b.txt": b"none of it", "c.txt": b"fine"})
        Strict().run()
        answer = call("errors", Strict().output().path)
        assert answer.exit_code == FINE
        assert "     2 rejected  Reject\n" in answer.output

    def test_where_all_is_fine_there_are_only_the_counts(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"fine"})
        Upper().run()
        answer = call("errors", Upper().output().path)
        assert (answer.exit_code, answer.output) == (FINE, "1 items: 1 written\n")
        assert json_of(call("errors", Upper().output().path, "--json").output) == []

    def test_json_has_all_there_is_to_know(self, published):
        answer = call("errors", published, "--json")
        assert answer.exit_code == BAD_NEWS
        first, *_, last = json_of(answer.output)
        assert first["sources"] == [{"root": "Letters", "path": "c.txt"}]
        assert (first["key"], first["status"], first["type"]) == ("c", "failed", "ValueError")
        assert "pipelines.py" in first["traceback"]
        assert (last["key"], last["status"], last["message"]) == ("b", "rejected", "not wanted")

    def test_those_of_a_run_that_did_not_publish(self, unpublished):
        answer = call("errors", unpublished)
        assert answer.exit_code == BAD_NEWS
        assert answer.output.splitlines()[0].endswith("is not published. Its last run failed, or is under way:")

    @pytest.mark.parametrize("options", [[], ["--traceback"]])
    def test_nothing_in_them_can_drive_the_terminal(self, hostile, options):
        assert is_harmless(call("errors", hostile, *options).output)


class TestVerify:
    def test_a_whole_directory_is_fine(self, published):
        answer = call("verify", published, "--deep")
        assert (answer.exit_code, answer.output) == (FINE, "1 files: all are as they were written\n")

    def test_each_difference_is_a_line_and_bad_news(self, published, write_files):
        write_files(published, {"a.txt": b"other", "foreign\x1b[2J.txt": b""})
        answer = call("verify", published)
        assert answer.exit_code == BAD_NEWS
        assert answer.output == "changed  a.txt\nforeign  foreign\\x1b[2J.txt\n1 files: 1 changed, 1 foreign\n"

    def test_json_has_all_of_it(self, published):
        os.unlink(os.path.join(published, "a.txt"))
        answer = call("verify", published + "/", "--json")
        assert answer.exit_code == BAD_NEWS
        assert json_of(answer.output) == {
            "directory": published, "deep": False, "is_whole": False,
            "missing": ["a.txt"], "changed": [], "foreign": [], "files": 1,
        }  # fmt: skip

    @pytest.mark.parametrize("command", [["verify"], ["verify", "--deep"], ["report"], ["errors"], ["ls"]])
    def test_looking_changes_nothing(self, published, working_dir, command):
        before = state_of(working_dir)
        call(*command, published)
        assert state_of(working_dir) == before

    def test_a_run_that_did_not_publish_cannot_be_verified(self, unpublished):
        assert call("verify", unpublished).exit_code == ERROR


PIPELINE = '''
"""Tasks that are planned."""
import luigi
import luisy_dir as luisy
from luigi.parameter import ParameterVisibility

print("loading the tasks")


def read_text(path):
    with open(path) as file:
        return file.read()


@luisy.make_directory_output(read_text)
@luisy.raw
class Letters(luisy.ExternalTask):
    def get_folder_name(self):
        return "letters"


@luisy.interim
@luisy.requires(Letters)
@luisy.directory_output(".txt", engine="serial")
class Upper(luisy.DirectoryTask):
    def process(self, text):
        print("processing")
        return text.upper()


@luisy.final
@luisy.requires(Upper)
@luisy.directory_output(".txt", engine="serial")
class Twice(luisy.DirectoryTask):
    times = luigi.IntParameter(default=2)
    password = luigi.Parameter(default="hunter2", visibility=ParameterVisibility.PRIVATE)
    pin = luigi.IntParameter(default=0, visibility=ParameterVisibility.PRIVATE)

    def process(self, text):
        return text * self.times


@luisy.final
@luisy.requires(Twice)
@luisy.json_output
class Count(luisy.Task):
    def run(self):
        self.write(len(list(self.input().read())))


@luisy.final
@luisy.requires(Upper)
@luisy.directory_output(".txt", engine="serial")
class Needy(luisy.DirectoryTask):
    size = luigi.IntParameter()
    json = luigi.Parameter(default="")

    def process(self, text):
        return text
'''


class TestPlan:
    @pytest.fixture
    def folder(self, working_dir, write_files):
        """A folder with a pipeline and two raw files."""
        (working_dir / "planned.py").write_text(PIPELINE)
        write_files(working_dir / "planned" / "raw" / "letters", {"a.txt": b"alpha", "b.txt": b"beta"})
        return working_dir

    def plan(self, folder, *arguments, **environment):
        return run("plan", "planned", *arguments, cwd=folder, environment=environment)

    def luigi(self, folder, *arguments):
        subprocess.run(
            [sys.executable, "-B", "-m", "luigi", "--module", "planned", *arguments, "--local-scheduler", "--no-lock"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": ".", "LUIGI_CONFIG_PATH": str(ROOT / "luigi.cfg")},
            capture_output=True,
            check=True,
        )

    def test_what_was_never_published_is_new_and_what_needs_it_waits(self, folder):
        code, output, messages = self.plan(folder, "Twice")
        assert (code, messages) == (FINE, "loading the tasks\n")
        assert output == (
            "Upper(): not published yet\n"
            "  2 items: 2 new\n"
            "    new: 'a', 'b'\n"
            "Twice(times=2): its items are not known, because Upper() is not published yet: run it first\n"
        )

    def test_it_runs_nothing_writes_nothing_and_makes_no_directory(self, folder):
        """Not even byte code of the module."""
        before = state_of(folder)
        self.plan(folder, "Count", "--times", "3")
        assert state_of(folder) == before

    def test_where_nothing_is_to_do_it_says_so(self, folder):
        self.luigi(folder, "Twice")
        code, output, _ = self.plan(folder, "Twice", "--exit-code")
        assert (code, output) == (FINE, "Upper()\n  2 items: 2 unchanged\nTwice(times=2)\n  2 items: 2 unchanged\n")

    def test_what_has_changed_is_named_and_what_comes_after_is_warned_of(self, folder, write_files):
        self.luigi(folder, "Twice")
        write_files(folder / "planned" / "raw" / "letters", {"b.txt": b"BETA", "c\x1b.txt": b"new"})
        code, output, _ = self.plan(folder, "Twice", "--exit-code")
        assert code == BAD_NEWS
        assert output == (
            "Upper()\n"
            "  3 items: 1 changed, 1 new, 1 unchanged\n"
            "    changed: 'b'\n"
            "    new: 'c\\x1b'\n"
            "Twice(times=2): Upper() is to run first, and what it will change is not counted here\n"
            "  2 items: 2 unchanged\n"
        )

    def test_the_task_alone(self, folder):
        self.luigi(folder, "Upper")
        _, output, _ = self.plan(folder, "Twice", "--no-upstream")
        assert output == "Twice(times=2): not published yet\n  2 items: 2 new\n    new: 'a', 'b'\n"

    def test_parameters_and_settings_are_given_as_to_luigi(self, folder, write_files):
        write_files(folder / "elsewhere" / "planned" / "raw" / "letters", {"x.txt": b"x"})
        _, output, _ = self.plan(
            folder, "Twice", "--times=5", "--luisy-dir-working-dir", "elsewhere", "--local-scheduler", "--json"
        )
        upper, twice = json_of(output)
        assert (upper["rows"], upper["counts"]) == ([{"key": "x", "reason": "new"}], {"new": 1})
        assert upper["path"] == str(folder / "elsewhere" / "planned" / "interim" / "Upper")
        assert (twice["task"], twice["rows"], twice["counts"]) == ("Twice(times=5)", [], None)
        assert twice["is_to_do"]

    def test_settings_come_from_the_environment_too(self, folder, write_files):
        write_files(folder / "elsewhere" / "planned" / "raw" / "letters", {"x.txt": b"x"})
        _, output, _ = self.plan(folder, "Upper", LUISY_DIR_WORKING_DIR=str(folder / "elsewhere"))
        assert "1 items: 1 new" in output

    def test_what_the_module_prints_does_not_spoil_the_json(self, folder):
        (upper,) = json_of(self.plan(folder, "Upper", "--json")[1])
        assert upper["task"] == "Upper()"

    def test_a_task_that_is_no_directory_is_complete_or_would_run(self, folder):
        code, output, _ = self.plan(folder, "Count", "--exit-code")
        assert code == BAD_NEWS
        assert output.splitlines()[-1] == "Count(times=2): not complete: it would run"
        self.luigi(folder, "Count")
        assert self.plan(folder, "Count", "--exit-code")[:2] == (FINE, "Count(times=2): complete, nothing to do\n")

    def test_a_raw_folder_that_is_not_there_is_said_to_be_missing(self, folder):
        shutil.rmtree(folder / "planned" / "raw")
        code, output, messages = self.plan(folder, "Upper", "--exit-code")
        assert code == BAD_NEWS
        assert output.startswith("Letters(): missing or empty, and no task makes it: put its files into")
        assert "its items are not known, because Letters() is not complete" in output
        assert "is not there" in messages

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("CURRENT", "what names its generation 1 is damaged: a run mends that first, and then plans"),
            ("00000001.jsonl", "its manifest is damaged: what no earlier generation vouches for would be made anew"),
            ("00000001.json", "it is not known whose it is: remove it yourself"),
        ],
    )
    def test_of_a_damaged_manifest_it_says_what_a_run_would_make_of_it(self, folder, name, told):
        self.luigi(folder, "Upper")
        os.unlink(folder / "planned" / "interim" / "Upper" / ".manifest" / name)
        code, output, _ = self.plan(folder, "Twice", "--exit-code")
        assert code == BAD_NEWS
        of_upper, of_twice = output.split("Twice(times=2):")
        assert told in of_upper
        assert "the manifest of Upper() is damaged: run it first" in of_twice

    def test_what_another_task_has_published_is_not_planned_upon(self, folder):
        self.luigi(folder, "Upper")
        os.makedirs(folder / "planned" / "final")
        os.rename(folder / "planned" / "interim" / "Upper", folder / "planned" / "final" / "other")
        source = PIPELINE.replace("times = luigi", "get_folder_name = lambda self: 'other'\n    times = luigi")
        (folder / "planned.py").write_text(source)
        code, output, _ = self.plan(folder, "Twice", "--no-upstream", "--exit-code")
        assert code == BAD_NEWS
        assert "was published by Upper with other parameters: a run would be refused" in output

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nowhere", "Upper"], "There is no module 'nowhere' in"),
            (["planned.nowhere", "Upper"], "There is no module 'planned.nowhere' in"),
            (["planned.py", "Upper"], "Give its name as in 'import name', not its file."),
            (["./planned.py", "Upper"], "Give its name as in 'import name', not its file."),
            (["", "Upper"], "There is no module ''"),
            (["planned", "Uper"], "There is no task 'Uper' in 'planned'. Its tasks are Count, Letters, Needy, Twice,"),
            (["planned", "Needy"], "Needy needs the parameter --size."),
            (["planned", "Needy", "--size", "big"], "--size of Needy cannot be 'big': invalid literal"),
            (["planned", "Needy", "--siz", "3", "--nothing"], "unrecognized arguments: --nothing"),
            (["planned"], "Missing argument 'TASK'"),
        ],
    )
    def test_a_wrong_module_task_or_parameter_is_a_plain_message(self, folder, arguments, message):
        code, output, messages = run("plan", *arguments, cwd=folder)
        assert (code, output) == (WRONG_USAGE, "")
        assert message in messages
        assert "Traceback" not in messages

    def test_an_error_in_the_module_itself_is_shown_with_its_traceback(self, folder):
        (folder / "broken.py").write_text("import a_library_that_is_not_there\n")
        code, _, messages = run("plan", "broken", "Task", cwd=folder)
        assert code == ERROR
        assert "broken.py" in messages
        assert "No module named 'a_library_that_is_not_there'" in messages

    def test_a_wrong_setting_is_an_error_that_says_where_it_comes_from(self, folder):
        code, _, messages = self.plan(folder, "Upper", "--luisy-dir-seed", "x")
        assert code == ERROR
        assert "'x', from the flag --luisy-dir-seed" in messages

    def test_a_parameter_with_the_name_of_an_option_comes_after_two_dashes(self, folder):
        self.luigi(folder, "Upper")
        _, output, _ = self.plan(folder, "Needy", "--size", "3", "--", "--json", "yes")
        assert output.splitlines()[-3] == "Needy(size=3, json=yes): not published yet"

    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_private_parameters_are_not_printed(self, folder, options):
        shown = self.plan(folder, "Twice", "--password", "correct-horse", "--pin", "4711", *options)
        assert "correct-horse" not in "".join(map(str, shown))
        assert "4711" not in "".join(map(str, shown))

    def test_a_private_parameter_that_is_wrong_is_not_printed(self, folder):
        code, _, messages = self.plan(folder, "Twice", "--pin", "my-secret")
        assert code == WRONG_USAGE
        assert "--pin of Twice cannot be that value" in messages
        assert "my-secret" not in messages


def run_demo(folder, *arguments):
    return run("demo", *arguments, cwd=folder, environment={"TMPDIR": str(folder), "LUIGI_CONFIG_PATH": ""})


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder that the demo has filled, and what it said."""
    folder = tmp_path_factory.mktemp("demo")
    return folder / DEMO, run_demo(folder, DEMO, "--images", "8")


class TestDemo:
    def test_it_says_what_it_does_and_where_everything_lies(self, made):
        folder, (code, output, _) = made
        assert code == FINE
        assert re.search(
            r"^\$ cd .* && PYTHONPATH=\.\S* \S*luigi --module red_channel RedChannel", output, re.MULTILINE
        )
        assert "8 items: 8 written" in output
        (results,) = re.findall(r"^Results    (.*)/<key>\.npy, ", output, re.MULTILINE)
        (manifest,) = re.findall(r"^Manifest   (.*), one JSON", output, re.MULTILINE)
        assert (folder.parent / results).is_dir()
        assert (folder.parent / manifest).is_file()

    def test_it_publishes_the_red_channel_of_every_image(self, made):
        from skimage import io

        project = made[0] / "red_channel"
        images = sorted((project / "raw" / "images").rglob("*.png"))
        assert len(images) == 8
        for path in images:
            name = path.relative_to(project / "raw" / "images").with_suffix(".npy")
            assert (np.load(project / "final" / "RedChannel" / name) == io.imread(path)[..., 0]).all()

    def test_what_it_proposes_works(self, made):
        """Each command that it prints can be copied into a shell."""
        folder, (_, output, _) = made
        proposed = re.findall(r"^(?:  |\$ )(\(?(?:luisy-dir|python|cd) .*)$", output, re.MULTILINE)
        assert len(proposed) == 6
        for command in proposed:
            shell = command.replace("luisy-dir ", "python -m luisy_dir ").replace("python ", f"{sys.executable} ")
            subprocess.run(["bash", "-c", shell], cwd=folder.parent, check=True, capture_output=True)

    def test_a_second_time_what_the_user_has_edited_stays_as_it_is(self, made):
        folder, _ = made
        pipeline = folder / "red_channel.py"
        pipeline.write_text(pipeline.read_text() + "# mine\n")
        removed = next((folder / "red_channel" / "raw").rglob("*.png"))
        content = removed.read_bytes()
        removed.unlink()
        code, output, _ = run_demo(folder.parent, DEMO)
        name = removed.relative_to(folder / "red_channel" / "raw" / "images").with_suffix(".npy")
        result = folder / "red_channel" / "final" / "RedChannel" / name
        assert not result.exists()
        removed.write_bytes(content)
        assert pipeline.read_text().endswith("# mine\n")
        assert code == FINE, output
        assert run_demo(folder.parent, DEMO)[0] == FINE
        assert result.exists()

    def test_images_that_were_not_finished_are_made_again(self, tmp_path):
        from luisy_dir import demo

        half = tmp_path / "red_channel" / "raw" / ".images"
        half.mkdir(parents=True)
        (half / "torn.png").touch()
        (tmp_path / "red_channel.py").touch()
        demo.set_up(str(tmp_path), 4)
        names = [path.name for path in (tmp_path / "red_channel" / "raw").rglob("*.png")]
        assert len(names) == 4
        assert not half.exists()

    def test_a_folder_of_somebody_else_is_refused(self, tmp_path):
        (tmp_path / "thesis.tex").touch()
        (tmp_path / "file").touch()
        for folder in (tmp_path, tmp_path / "thesis.tex"):
            answer = call("demo", folder)
            assert answer.exit_code == ERROR
            assert "Give a new folder." in answer.stderr
        assert sorted(os.listdir(tmp_path)) == ["file", "thesis.tex"]

    def test_the_example_in_the_repository_is_the_one_of_the_demo(self):
        assert os.path.samefile(ROOT / "examples" / "red_channel.py", ROOT / "luisy_dir" / "demo" / "red_channel.py")

    def test_the_images_alone_are_a_program(self, tmp_path):
        command = [sys.executable, "-W", "error", "-m", "luisy_dir.demo.images"]
        done = subprocess.run([*command, tmp_path / "images", "5"], capture_output=True, text=True, check=True)
        assert done.stdout == f"5 images in {tmp_path / 'images'}\n"
        assert len(list((tmp_path / "images").rglob("*.png"))) == 5
        wrong = subprocess.run([*command, tmp_path / "images", "many"], capture_output=True, text=True, check=False)
        assert wrong.stderr.startswith("Usage: ")
