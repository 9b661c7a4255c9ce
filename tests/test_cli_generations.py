"""The commands about generations: ``versions``, ``diff``, ``rollback``, ``release``, ``gc`` and ``verify --repair``."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import files_below
from pipelines import Letters, Strict, Upper
from test_cli import (
    BAD_NEWS,
    BUSY,
    ERROR,
    FINE,
    HOSTILE,
    INTERRUPTED,
    PAGE,
    ROOT,
    WRONG_USAGE,
    call,
    is_harmless,
    json_of,
    run,
    state_of,
)

from luisy_dir.cli import commands
from luisy_dir.entry import encode_entry
from luisy_dir.errors import ItemsFailedError
from luisy_dir.generations import rollback
from luisy_dir.journal import Journal
from luisy_dir.manifest import read_manifest
from luisy_dir.record import CURRENT, FOLDER, encode_current, generation_name, generations_in
from luisy_dir.staging import lock_of, staging_of

NEW = ("versions", "diff", "rollback", "release", "gc")


@pytest.fixture
def put(write_files):
    """Write letters; with None, remove one."""

    def write(**texts):
        folder = Letters().output().path
        write_files(folder, {f"{name}.txt": text.encode() for name, text in texts.items() if text is not None})
        for name in (name for name, text in texts.items() if text is None):
            os.unlink(os.path.join(folder, f"{name}.txt"))

    return write


@pytest.fixture
def path(put):
    """A directory with three generations: c came with the second, b was changed and a removed by the third."""
    put(a="alpha", b="beta")
    Upper().run()
    put(c="gamma")
    Upper().run()
    put(a=None, b="BETA 2")
    Upper().run()
    return Upper().output().path


@pytest.fixture
def hostile(write_files, monkeypatch):
    """A directory that has lost all its items, whose names would drive a terminal, but for one."""
    folder = write_files(Letters().output().path, {f"{name}.txt": b"x" for name in ("plain", *HOSTILE)})
    Upper().run()
    for name in HOSTILE:
        os.unlink(os.path.join(folder, f"{name}.txt"))
    monkeypatch.setenv("LUISY_DIR_MAX_DELETED", "1.0")
    Upper().run()
    return Upper().output().path


def unfinish(path):
    """As if the last run had been killed when it had committed its generation."""
    before = generations_in(path)[-2]
    with open(os.path.join(path, FOLDER, f"{generation_name(before)}.json"), "rb") as file:
        current = encode_current(file.read())
    with open(os.path.join(path, FOLDER, CURRENT), "wb") as file:
        file.write(current)


def damage(path):
    """Spoil the entries of what is published."""
    with open(read_manifest(path).path, "ab") as file:
        file.write(b"{}\n")


def answered(answer, *arguments):
    """Exit code and all that a command says on a terminal, where somebody answers its question, or sends a signal."""
    leader, follower = pty.openpty()
    process = start(*arguments, stdin=follower)
    os.close(follower)
    said = ""
    while not said.endswith("[y/N] ") and (char := process.stderr.read(1)):
        said += char
    if isinstance(answer, bytes):
        os.write(leader, answer)
    else:
        process.send_signal(answer)
    output, messages = process.communicate(timeout=60)
    os.close(leader)
    return process.returncode, output, said + messages


def start(*arguments, stdin):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "luisy_dir", *map(str, arguments)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"LUIGI_CONFIG_PATH": str(ROOT / "luigi.cfg")},
        text=True,
    )


class TestHelp:
    @pytest.mark.parametrize("name", NEW)
    def test_each_command_says_what_it_prints_and_gives_examples(self, name):
        answer = call(name, "--help")
        assert answer.exit_code == FINE
        assert "Prints " in answer.output
        assert f"\n  Examples:\n    luisy-dir {name}" in answer.output

    @pytest.mark.parametrize("name", NEW)
    def test_each_command_and_option_is_documented(self, name):
        section = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert section
        for parameter in commands.get_command(None, name).params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert option in section, option


class TestWhatCannotBeAnswered:
    """An error is a message that says what to do, and an exit code of its own kind."""

    @pytest.mark.parametrize("command", ["versions", "diff", "rollback", "release"])
    def test_where_nothing_is_published_it_says_what_to_do(self, command, working_dir):
        answer = call(command, working_dir / "nothing")
        assert (answer.exit_code, answer.stdout) == (ERROR, "")
        assert "'luisy-dir ls' shows what was." in answer.stderr
        assert os.listdir(working_dir) == []

    @pytest.mark.parametrize("arguments", [["diff", "7"], ["diff", "2", "9"], ["rollback", "--to", "9"]])
    def test_a_generation_that_is_not_kept_is_an_error_that_names_those_that_are(self, path, arguments):
        command, *rest = arguments
        answer = call(command, path, *rest)
        assert (answer.exit_code, answer.stdout) == (ERROR, "")
        assert re.search(r"Generation [79] of .* is not kept; kept are 1, 2, 3\.", answer.stderr)

    @pytest.mark.parametrize("arguments", [["diff"], ["rollback"], ["rollback", "--to", "1"]])
    def test_a_single_generation_has_nothing_beside_it(self, put, arguments):
        put(a="alpha")
        Upper().run()
        command, *rest = arguments
        answer = call(command, Upper().output().path, *rest)
        assert (answer.exit_code, answer.stdout) == (ERROR, "")
        assert "generation" in answer.stderr.lower()

    @pytest.mark.parametrize(
        "arguments", [["diff"], ["rollback", "--dry-run"], ["rollback"], ["versions", "--changes"]]
    )
    def test_a_damaged_manifest_is_an_error(self, path, arguments):
        damage(path)
        before = state_of(path)
        command, *rest = arguments
        answer = call(command, path, *rest)
        assert (answer.exit_code, answer.stdout) == (ERROR, "")
        assert answer.stderr.startswith("Error: The manifest")
        assert state_of(path) == before

    @pytest.mark.parametrize("arguments", [["rollback"], ["release"], ["verify", "--repair"]])
    def test_a_directory_on_which_a_run_works_is_busy(self, path, arguments):
        command, *rest = arguments
        if command == "release":
            rollback(path)
        lock = lock_of(staging_of(path))
        try:
            answer = call(command, path, *rest)
        finally:
            lock.release()
            os.rmdir(staging_of(path))
        assert answer.exit_code == BUSY
        assert "Another run holds" in answer.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            ["diff", "0"],
            ["diff", "one"],
            ["rollback", "--to", "-1"],
            ["gc", "--keep", "0"],
            ["gc", "--older-than", "x"],
        ],
    )
    def test_a_number_that_is_none_is_wrong_usage(self, path, arguments):
        command, *rest = arguments
        assert call(command, path, *rest).exit_code == WRONG_USAGE


class TestVersions:
    def test_each_generation_is_a_line_and_the_newest_the_first(self, path):
        header, *lines = call("versions", path).output.splitlines()
        assert header.split()[:3] == ["generation", "published", "(UTC)"]
        assert [line.split()[0] for line in lines] == ["3", "2", "1"]
        assert re.search(r"^ +3  20\d\d-\d\d-\d\d \d\d:\d\d:\d\d +2 +0 +0 +0  current$", lines[0])

    def test_what_has_changed_since_the_one_before_is_said_where_it_is_asked_for(self, path):
        lines = call("versions", path, "--changes").output.splitlines()[1:]
        assert "1 removed, 1 changed  current" in lines[0]
        assert lines[1].endswith("1 added")
        assert re.search(r" 0$", lines[2])

    def test_json_has_all_of_it(self, path):
        newest, second, first = json_of(call("versions", path, "--changes", "--json").output)
        assert newest.items() >= {
            "generation": 3, "is_current": True, "is_pinned": False, "is_pending": False,
            "counts": {"written": 2, "skipped": 0, "rejected": 0, "failed": 0},
            "changes": {"added": 0, "removed": 1, "changed": 1, "again": 0},
        }.items()  # fmt: skip
        assert second["changes"]["added"] == 1
        assert (first["changes"], first["is_current"]) == (None, False)
        assert {line["changes"] for line in json_of(call("versions", path, "--json").output)} == {None}

    def test_a_pinned_generation_and_one_that_is_unfinished_are_named(self, path):
        rollback(path)
        assert call("versions", path).output.splitlines()[1].endswith("current, pinned")
        unfinish(path)
        lines = call("versions", path).output.splitlines()
        assert lines[1].endswith("unfinished, pinned")
        assert lines[2].endswith("current")
        assert json_of(call("versions", path, "--json").output)[0]["is_pending"]

    def test_looking_changes_nothing(self, path, working_dir):
        before = state_of(working_dir)
        for arguments in (
            ["versions", path, "--changes"],
            ["diff", path],
            ["rollback", path, "--dry-run"],
            ["ls", path],
        ):
            assert call(*arguments).exit_code == FINE
        assert state_of(working_dir) == before


class TestDiff:
    def test_by_default_the_newest_is_compared_with_the_one_before(self, path):
        answer = call("diff", path)
        assert (answer.exit_code, answer.output) == (
            FINE,
            "removed  a\nchanged  b\nGeneration 2 to 3: 1 removed, 1 changed, 1 unchanged\n",
        )

    def test_any_two_can_be_compared_in_either_direction(self, path):
        assert (
            call("diff", path, "1").output.splitlines()[-1]
            == "Generation 1 to 3: 1 added, 1 removed, 1 changed, 0 unchanged"
        )
        assert call("diff", path, "3", "1").output.splitlines()[:3] == ["added  a", "removed  c", "changed  b"]
        assert call("diff", path, "2", "2").output == "Generation 2 to 2: 3 unchanged\n"

    def test_by_exit_code_it_tells_whether_an_item_differs(self, path):
        assert call("diff", path, "--exit-code").exit_code == BAD_NEWS
        assert call("diff", path, "2", "2", "--exit-code").exit_code == FINE

    def test_what_was_made_again_with_the_same_result_does_not_differ(self, path):
        os.unlink(os.path.join(path, "b.txt"))
        Upper().run()
        answer = call("diff", path, "--exit-code")
        assert (answer.exit_code, answer.output) == (FINE, "again  b\nGeneration 3 to 4: 1 again, 1 unchanged\n")

    def test_json_has_every_key(self, path):
        assert json_of(call("diff", path + "/", "--json").output) == {
            "directory": path, "from": 2, "to": 3,
            "added": [], "removed": ["a"], "changed": ["b"], "again": [], "unchanged": 1,
        }  # fmt: skip

    def test_names_cannot_drive_the_terminal(self, hostile):
        assert is_harmless(call("diff", hostile).output)
        assert is_harmless(call("rollback", hostile, "--dry-run").output)
        assert is_harmless(call("rollback", hostile).output)
        assert set(json_of(call("diff", hostile, "1", "2", "--json").output)["removed"]) == set(HOSTILE)

    def test_a_terminal_that_knows_ascii_alone_gets_an_answer(self, hostile):
        code, output, messages = run("diff", hostile, environment={"PYTHONIOENCODING": "ascii"})
        assert (code, messages) == (FINE, "")
        assert "gr\\xf6\\xdfe" in output


class TestRollback:
    def test_it_says_what_it_does_and_how_to_let_it_go_again(self, path):
        code, output, messages = run("rollback", path)
        assert (code, messages) == (FINE, "")
        assert output == (
            f"From generation 3 of {path!r} to the content of generation 2:\n"
            "  1 added, 1 changed, 1 unchanged\n"
            "    added: 'a'\n"
            "    changed: 'b'\n"
            "Published as generation 4, which is pinned: runs leave it alone. To let it go again:\n"
            f"  luisy-dir release {path}\n"
        )
        assert files_below(path) == ["a.txt", "b.txt", "c.txt"]
        assert Upper().complete()

    def test_any_generation_that_is_kept_can_be_gone_back_to(self, path):
        assert call("rollback", path, "--to", "1").exit_code == FINE
        assert files_below(path) == ["a.txt", "b.txt"]
        assert call("rollback", path).exit_code == FINE
        assert files_below(path) == ["b.txt", "c.txt"]

    def test_a_dry_run_changes_nothing(self, path, working_dir):
        before = state_of(working_dir)
        answer = call("rollback", path, "--dry-run", "--yes")
        assert answer.exit_code == FINE
        assert "    added: 'a'\n" in answer.output
        assert answer.output.endswith("Nothing was done.\n")
        assert state_of(working_dir) == before

    def test_the_generation_that_is_published_is_no_way_back(self, path):
        answer = call("rollback", path, "--to", "3")
        assert (answer.exit_code, answer.stdout) == (ERROR, "")
        assert "is at generation 3 already" in answer.stderr

    def test_on_a_terminal_it_asks_first(self, path):
        code, output, messages = answered(b"y\n", "rollback", path)
        assert code == FINE
        assert messages.startswith("Go back? [y/N] ")
        assert "Published as generation 4" in output

    @pytest.mark.parametrize("answer", [b"\n", b"n\n", b"yesterday\n", b"\x04"])
    def test_where_the_answer_is_anything_but_yes_nothing_is_done(self, path, working_dir, answer):
        before = state_of(working_dir)
        code, output, _ = answered(answer, "rollback", path)
        assert code == BAD_NEWS
        assert output.endswith("Nothing was done.\n")
        assert state_of(working_dir) == before

    def test_ctrl_c_is_an_answer_too(self, path, working_dir):
        before = state_of(working_dir)
        code, _, messages = answered(signal.SIGINT, "rollback", path)
        assert code == INTERRUPTED
        assert messages.endswith("Interrupted\n")
        assert state_of(working_dir) == before

    def test_with_yes_it_does_not_ask(self, path):
        code, _, messages = answered(b"", "rollback", path, "--yes")
        assert (code, messages) == (FINE, "")

    def test_what_a_killed_run_has_left_to_do_is_done_first(self, path):
        unfinish(path)
        assert call("rollback", path).exit_code == FINE
        assert files_below(path) == ["a.txt", "b.txt", "c.txt"]

    def test_the_command_that_it_prints_works_in_a_shell(self, path, working_dir):
        odd = working_dir / "it's an odd name"
        os.rename(path, odd)
        _, output, _ = run("rollback", odd.name, cwd=working_dir)
        command = output.splitlines()[-1].strip().replace("luisy-dir", f"{sys.executable} -m luisy_dir")
        subprocess.run(["bash", "-c", command], cwd=working_dir, check=True, capture_output=True)
        assert not read_manifest(str(odd)).record.pinned


class TestRelease:
    def test_the_next_run_brings_up_to_date_what_was_pinned(self, path):
        rollback(path)
        answer = call("release", path)
        assert answer.exit_code == FINE
        assert "Generation 4 of" in answer.output
        assert "as generation 5, which the next run of Upper brings up to date." in answer.output
        assert not Upper().complete()
        Upper().run()
        assert files_below(path) == ["b.txt", "c.txt"]

    def test_where_nothing_is_pinned_nothing_is_done(self, path, working_dir):
        before = state_of(working_dir)
        answer = call("release", path)
        assert answer.exit_code == FINE
        assert answer.output == f"Generation 3 of {path!r} is not pinned; nothing was done.\n"
        assert state_of(working_dir) == before


class TestGc:
    def test_what_is_removed_is_named_with_its_size(self, path, working_dir):
        answer = call("gc", working_dir, "--keep", "1")
        assert answer.exit_code == FINE
        *lines, last = answer.output.splitlines()
        assert re.fullmatch(rf"{len(lines)} files and folders with [\d.]+ k?B were removed\.", last)
        assert all(re.match(rf" *[\d.]+ k?B  {re.escape(path)}/\.manifest/", line) for line in lines)
        assert generations_in(path) == [3]
        assert call("gc", path, "--keep", "1").output == "There is nothing to remove.\n"

    def test_the_setting_says_how_many_are_kept(self, path, monkeypatch):
        assert call("gc", path).output == "There is nothing to remove.\n"
        monkeypatch.setenv("LUISY_DIR_KEEP_GENERATIONS", "2")
        call("gc", path)
        assert generations_in(path) == [2, 3]

    def test_a_dry_run_changes_nothing(self, path, working_dir):
        before = state_of(working_dir)
        answer = call("gc", working_dir, "--keep", "1", "--dry-run")
        assert answer.exit_code == FINE
        assert answer.output.splitlines()[-1].endswith(" would be removed.")
        assert state_of(working_dir) == before

    def test_a_dry_run_changes_nothing_beside_what_a_run_has_left(self, path, working_dir):
        os.makedirs(os.path.join(staging_of(path), "bad-1"))
        then = time.time() - 60
        os.utime(staging_of(path), (then, then))
        before = state_of(working_dir)
        call("gc", working_dir, "--dry-run")
        assert state_of(working_dir) == before

    def test_what_a_run_has_left_goes_when_it_is_old(self, path):
        left = os.path.join(staging_of(path), "run-1")
        os.makedirs(os.path.join(left, "files"))
        assert call("gc", path).output == "There is nothing to remove.\n"
        answer = call("gc", path, "--older-than", "0")
        assert left in answer.output
        assert not os.path.exists(staging_of(path))

    def test_json_has_all_of_it(self, path):
        answer = json_of(call("gc", path, "--keep", "1", "--dry-run", "--json").output)
        assert (answer["folder"], answer["keep"], answer["dry_run"], answer["busy"]) == (path, 1, True, [])
        assert answer["size"] == sum(each["size"] for each in answer["paths"]) > 0
        assert all(os.path.exists(each["path"]) for each in answer["paths"])

    @pytest.mark.parametrize("options", [[], ["--dry-run"], ["--json"]])
    def test_a_directory_on_which_a_run_works_is_named_and_left_alone(self, path, working_dir, options):
        lock = lock_of(staging_of(path))
        try:
            answer = call("gc", working_dir, "--keep", "1", *options)
        finally:
            lock.release()
            os.rmdir(staging_of(path))
        assert answer.exit_code == BUSY
        if options == ["--json"]:
            assert json_of(answer.output)["busy"] == [path]
        else:
            assert f"busy: a run works on {path!r}" in answer.output
        assert generations_in(path) == [1, 2, 3]

    def test_a_damaged_directory_does_not_keep_the_others_from_it(self, path, working_dir):
        shutil.copytree(path, working_dir / "damaged")
        (working_dir / "damaged" / FOLDER / "00000003.json").write_text("{}")
        answer = call("gc", working_dir, "--keep", "1")
        assert answer.exit_code == ERROR
        assert "damaged" in answer.stderr
        assert generations_in(path) == [3]

    def test_what_a_run_has_left_of_what_was_never_published_can_be_named(self, working_dir):
        left = os.path.join(staging_of(str(working_dir / "x")), "run-1")
        os.makedirs(os.path.join(left, "files"))
        assert call("gc", working_dir / "x", "--older-than", "0").exit_code == FINE
        assert not os.path.exists(left)

    def test_a_folder_that_is_not_there_is_an_error(self, working_dir):
        answer = call("gc", working_dir / "nothing")
        assert (answer.exit_code, answer.stdout) == (ERROR, "")
        assert "There is no folder" in answer.stderr

    @pytest.mark.parametrize("name", HOSTILE)
    def test_names_cannot_drive_the_terminal(self, path, working_dir, name):
        os.rename(path, working_dir / name)
        answer = call("gc", working_dir, "--keep", "1")
        assert answer.exit_code == FINE
        assert is_harmless(answer.output)


class TestNamesThatAreNoText:
    def test_a_directory_with_such_a_name_can_be_looked_at_and_gone_back_in(self, path, working_dir):
        name = os.fsencode(str(working_dir)) + b"/\xff"
        os.rename(os.fsencode(path), name)
        odd = os.fsdecode(name)
        for command in ("versions", "diff", "rollback", "release", "gc"):
            code, output, messages = run(command, odd)
            assert (code, messages, is_harmless(output)) == (FINE, "", True)
        assert os.fsencode(json_of(run("diff", odd, "--json")[1])["directory"]) == name


class TestRepair:
    def test_what_is_damaged_is_marked_and_the_next_run_makes_it_anew(self, path):
        os.unlink(os.path.join(path, "b.txt"))
        answer = call("verify", path, "--repair")
        assert (answer.exit_code, answer.output) == (
            BAD_NEWS,
            "missing  b.txt\n2 files: 1 missing\nGeneration 4 marks them: the next run of Upper makes 1 items anew.\n",
        )
        assert not Upper().complete()
        assert call("ls", path).output.splitlines()[1].endswith("1 output missing")
        assert call("versions", path).output.splitlines()[1].endswith("current, 1 output missing")
        assert call("report", path).output.splitlines()[-1] == "2 items: 1 written, 1 output missing"
        lines = call("report", path, "--status", "output missing").output.splitlines()
        assert lines[1].split()[:3] == ["b", "output", "missing"]
        Upper().run()
        assert call("verify", path, "--deep").exit_code == FINE

    def test_a_damage_that_left_no_trace_is_found_where_every_file_is_read(self, path):
        output = os.path.join(path, "b.txt")
        state = os.stat(output)
        with open(output, "r+b") as file:
            file.write(b"?")
        os.utime(output, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert call("verify", path, "--repair").output.endswith("There is nothing to repair.\n")
        assert call("verify", path, "--deep", "--repair").output.startswith("changed  b.txt\n")
        Upper().run()
        assert call("verify", path, "--deep").exit_code == FINE

    def test_where_nothing_is_damaged_nothing_is_written(self, path, working_dir):
        before = state_of(working_dir)
        answer = call("verify", path, "--repair")
        assert (answer.exit_code, answer.output) == (
            FINE,
            "2 files: all are as they were written\nThere is nothing to repair.\n",
        )
        assert state_of(working_dir) == before

    def test_foreign_files_are_left_alone(self, path, write_files):
        write_files(path, {"notes.txt": b"by hand"})
        answer = call("verify", path, "--repair")
        assert answer.exit_code == BAD_NEWS
        assert answer.output.endswith("Foreign files are left alone. There is nothing to repair.\n")
        assert "notes.txt" in files_below(path)

    def test_json_says_which_generation_marks_it(self, path):
        assert "generation" not in json_of(call("verify", path, "--json").output)
        assert json_of(call("verify", path, "--json", "--repair").output)["generation"] is None
        os.unlink(os.path.join(path, "b.txt"))
        answer = json_of(call("verify", path, "--json", "--repair").output)
        assert (answer["generation"], answer["missing"], answer["is_whole"]) == (4, ["b.txt"], False)

    def test_that_a_generation_is_no_longer_pinned_is_said(self, path):
        rollback(path)
        os.unlink(os.path.join(path, "b.txt"))
        assert "Generation 4 was pinned, and this one is not" in call("verify", path, "--repair").output


class TestRunsThatDidNotPublish:
    """A generation is published, and the run after it failed: that run is what a person wants to know of first."""

    @pytest.fixture
    def path(self, put, monkeypatch):
        put(a="fine", b="fine too")
        Strict().run()
        put(c="fail now", d="and this one")
        with pytest.raises(ItemsFailedError):
            Strict().run()
        return Strict().output().path

    def test_report_and_errors_show_that_run_and_say_so(self, path):
        for command, code in (("report", FINE), ("errors", BAD_NEWS)):
            answer = call(command, path)
            assert answer.exit_code == code
            assert answer.output.splitlines()[0] == (
                f"{path!r} is published as generation 1, which --published shows. The run after it failed, or is under "
                "way:"
            )
            assert "a  " not in answer.output

    def test_they_are_the_rows_of_the_report_in_python(self, path):
        records = json_of(call("report", path, "--json").stdout)
        assert [record["key"] for record in records] == list(Strict().report().index)
        assert "c" in [record["key"] for record in records]

    def test_what_is_published_is_shown_where_it_is_asked_for(self, path):
        answer = call("report", path, "--published")
        assert answer.output.splitlines()[-1] == "2 items: 2 written"
        assert call("errors", path, "--published").exit_code == FINE
        assert len(json_of(call("report", path, "--published", "--json").output)) == 2

    @pytest.mark.parametrize("arguments", [["report", "--json"], ["report", "--csv"], ["errors", "--json"]])
    def test_programs_are_told_on_the_standard_error(self, path, arguments):
        command, *rest = arguments
        assert call(command, path, *rest).stderr.startswith(f"Note: {path!r} is published as generation 1")

    def test_ls_has_what_is_published_and_a_note(self, path, working_dir):
        line = call("ls", working_dir).output.splitlines()[1]
        assert line.endswith("last run not published")
        (line,) = json_of(call("ls", working_dir, "--json").output)
        assert (line["state"], line["generation"], line["has_unpublished_run"]) == ("published", 1, True)

    def test_where_nothing_is_published_that_is_said(self, put):
        put(a="fail")
        with pytest.raises(ItemsFailedError):
            Strict().run()
        answer = call("report", Strict().output().path, "--published")
        assert answer.exit_code == ERROR
        assert "leave --published out" in answer.stderr

    def test_what_a_run_has_left_that_published_all_the_same_is_passed_over(self, path):
        """It was killed before it had cleaned up."""
        shutil.rmtree(staging_of(path))
        manifest = read_manifest(path)
        left = os.path.join(staging_of(path), f"run-0123456789abcdef-{manifest.record.run_id}")
        os.makedirs(left)
        journal = Journal(os.path.join(left, "journal-1"))
        journal.append(encode_entry(next(manifest.entries())))
        journal.close()
        assert call("report", path).output.splitlines()[-1] == "2 items: 2 written"
        assert not json_of(call("ls", path, "--json").output)[0]["has_unpublished_run"]


class TestUnfinished:
    """A generation is committed, and its run was killed before all its files were in their places."""

    def test_ls_and_report_say_so(self, path):
        unfinish(path)
        assert call("ls", path).output.splitlines()[1].endswith("unfinished")
        (line,) = json_of(call("ls", path, "--json").output)
        assert (line["generation"], line["is_pending"]) == (3, True)
        assert call("report", path).output.splitlines()[0] == (
            f"Generation 3 of {path!r} is not wholly in its place yet; the next run finishes that:"
        )
        Upper().run()
        assert call("report", path).output.splitlines()[-1] == "2 items: 2 written"

    def test_gc_leaves_the_generations_of_it_alone_until_it_is_finished(self, path):
        unfinish(path)
        assert call("gc", path, "--keep", "1").output == "There is nothing to remove.\n"
        Upper().run()
        assert call("gc", path, "--keep", "1").exit_code == FINE
        assert generations_in(path) == [3]
        assert files_below(path) == ["b.txt", "c.txt"]

    def test_a_verification_says_so_before_it_complains(self, path):
        unfinish(path)
        answer = call("verify", path)
        assert answer.exit_code == BAD_NEWS
        assert answer.output.splitlines()[0].endswith("is not wholly in its place yet; the next run finishes that:")

    def test_a_pinned_one_is_noted_by_ls(self, path):
        rollback(path)
        assert call("ls", path).output.splitlines()[1].endswith("  pinned")
        assert json_of(call("ls", path, "--json").output)[0]["is_pinned"]
