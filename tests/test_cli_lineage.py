"""``luisy-dir why`` and ``luisy-dir trace``: what they print, what they exit with, and what they leave alone."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner
from pipelines import Arrays, Images, Letters, RedChannel, Strict, Upper, length
from test_cli import BAD_NEWS, ERROR, FINE, WRONG_USAGE, is_harmless, json_of, run, state_of

from luisy_dir.cli import commands
from luisy_dir.demo.images import make_images
from luisy_dir.lineage import trace, why
from luisy_dir.staging import staging_of

CAT = "animals/cats/chelsea_0001"


def call(*arguments):
    """The answer of a command, run in this process."""
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """What a power cut would cost is tested elsewhere."""
    monkeypatch.setenv("LUISY_DIR_DURABILITY", "none")
    monkeypatch.setenv("LUISY_DIR_ENGINE", "serial")


@pytest.fixture
def layers(working_dir):
    """Paths of a photograph, of its array and of the red channel of that."""
    raw = Images().output().path
    make_images(raw, 8)
    for task in (Arrays, RedChannel):
        task().run()
    ends = ((raw, "png"), (Arrays().output().path, "npy"), (RedChannel().output().path, "npy"))
    return [os.path.join(folder, f"{CAT}.{suffix}") for folder, suffix in ends]


@pytest.fixture
def letters(write_files, monkeypatch):
    """Letters that were written, rejected and failed; the directory."""
    monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1")
    files = {"a.txt": b"fine", "b.txt": b"reject this", "c.txt": b"fail now\nor \x1b[2J later"}
    write_files(Letters().output().path, files)
    Strict().run()
    return Strict().output().path


class TestWhy:
    def test_it_prints_the_explanation(self, layers):
        answer = call("why", layers[2])

        assert answer.exit_code == FINE
        assert answer.output == f"{why(layers[2])}\n"
        assert "\n  made        in generation 1, because the item was new\n" in answer.output
        assert "\n  task        RedChannel, final\n" in answer.output
        assert f"\n              {layers[1]}\n" in answer.output
        assert ": as it was read\n" in answer.output
        assert ": as it was written\n" in answer.output

    def test_json_is_one_object(self, layers):
        answer = call("why", layers[2], "--json")

        assert answer.exit_code == FINE
        assert json_of(answer.output) == why(layers[2]).as_dict()

    def test_json_has_all_that_the_manifest_tells(self, layers):
        facts = json_of(call("why", layers[1], "--json").output)

        assert set(facts) == {
            "path", "kind", "warnings", "directory", "task", "parameters", "layer", "generation", "is_pinned", "made",
            "key", "sources", "status", "outputs", "meta", "error", "attempts", "seconds", "started", "worker", "seed",
            "peak_memory", "targets", "fingerprint", "code",
        }  # fmt: skip
        assert facts["sources"][0]["file"] == layers[0]
        assert facts["outputs"][0]["dtype"] == "|u1"

    def test_the_key_of_a_failed_item(self, letters):
        answer = call("why", f"{letters}/c")

        assert answer.exit_code == FINE
        assert "  item        c, failed\n" in answer.output
        assert "  error       ValueError: cannot read 'fail now\\nor \\x1b[2J later'\n" in answer.output
        assert is_harmless(answer.output)

    def test_a_raw_file_is_no_bad_news(self, layers):
        answer = call("why", layers[0])
        assert answer.exit_code == FINE
        assert "is an input" in answer.output

    def test_files_are_read_where_that_is_asked_for(self, layers):
        state = os.stat(layers[1])
        with open(layers[1], "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"?")
        os.utime(layers[1], ns=(state.st_atime_ns, state.st_mtime_ns))

        assert "changed since" not in call("why", layers[1]).output
        assert "changed since it was written" in call("why", layers[1], "--deep").output


class TestTrace:
    def test_it_prints_three_layers(self, layers, working_dir, monkeypatch):
        monkeypatch.chdir(working_dir)
        answer = call("trace", os.path.relpath(layers[0]))

        assert answer.exit_code == FINE
        first, second, third, last = answer.output.splitlines()
        assert first.split() == [f"pipelines/raw/images/{CAT}.png", "raw"]
        assert second.startswith(f"└─ pipelines/interim/Arrays/{CAT}.npy")
        assert third.startswith(f"   └─ pipelines/final/RedChannel/{CAT}.npy  RedChannel, generation 1, ")
        assert last == f"Paths are below {working_dir}, where results were looked for."

    @pytest.mark.parametrize("asked", [0, 1, 2])
    def test_json_is_one_object(self, layers, asked):
        answer = call("trace", layers[asked], "--json")

        assert answer.exit_code == FINE
        facts = json_of(answer.output)
        assert facts == trace(layers[asked]).as_dict()
        assert [node["path"] for node in facts["nodes"]] == layers
        assert [(edge["source"], edge["target"]) for edge in facts["edges"]] == [(0, 1), (1, 2)]

    def test_one_way_alone(self, layers):
        back, forward = call("trace", layers[1], "--back"), call("trace", layers[1], "--forward")

        assert (back.exit_code, forward.exit_code) == (FINE, FINE)
        assert "raw/images" in back.output
        assert "final/RedChannel" not in back.output
        assert "raw/images" not in forward.output
        assert "final/RedChannel" in forward.output

    def test_both_ones_alone_exclude_each_other(self, layers):
        assert call("trace", layers[1], "--back", "--forward").exit_code == WRONG_USAGE

    def test_below_a_folder_that_is_given(self, layers, working_dir):
        answer = call("trace", layers[1], "--within", working_dir / "pipelines" / "interim")
        assert "final/RedChannel" not in answer.output

    def test_what_was_made_of_a_file_that_is_gone(self, layers):
        os.unlink(layers[0])
        answer = call("trace", layers[0])
        assert answer.exit_code == FINE
        assert "raw, gone\n" in answer.output

    def test_a_result_of_an_earlier_version(self, write_files):
        write_files(Letters().output().path, {"a.txt": b"a"})
        Upper().run()
        length().run()
        write_files(Letters().output().path, {"a.txt": b"other"})
        Upper().run()
        answer = call("trace", f"{length().output().path}/a.json")
        assert "; made from an earlier version; asked for\n" in answer.output

    def test_a_raw_file_of_which_nothing_was_made_is_bad_news(self, layers, write_files):
        write_files(Images().output().path, {"new.png": b""})
        path = os.path.join(Images().output().path, "new.png")

        answer = call("trace", path)
        assert answer.exit_code == BAD_NEWS
        assert "Nothing that is published below" in answer.output
        assert call("trace", path, "--json").exit_code == BAD_NEWS
        assert call("trace", path, "--back").exit_code == FINE

    def test_manifests_that_cannot_be_read_are_named(self, layers):
        os.unlink(os.path.join(RedChannel().output().path, ".manifest", "CURRENT"))
        answer = call("trace", layers[0])

        assert answer.exit_code == FINE
        assert f"Note: '{RedChannel().output().path}' is left out." in answer.output


@pytest.mark.parametrize("command", ["why", "trace"])
class TestBoth:
    @pytest.mark.parametrize("name", ["nothing.txt", "nothing"])
    def test_a_path_of_which_nothing_is_known_is_bad_news(self, command, letters, name):
        for path in (os.path.join(letters, name), os.path.join(Letters().output().path, name)):
            for options in ([], ["--json"]):
                answer = call(command, path, *options)
                assert (answer.exit_code, answer.stdout) == (BAD_NEWS, "")
                assert f"Nothing is known of '{path}'" in answer.stderr

    def test_what_cannot_be_asked_is_an_error(self, command, letters):
        for path in (letters, f"{letters}/.manifest/CURRENT", staging_of(letters), Letters().output().path):
            answer = call(command, path)
            assert (answer.exit_code, answer.stdout) == (ERROR, "")
            assert answer.stderr.startswith("Error: ")

    def test_a_damaged_manifest_is_an_error(self, command, letters):
        with open(os.path.join(letters, ".manifest", "00000001.jsonl"), "a") as file:
            file.write("x")
        assert call(command, f"{letters}/a.txt").exit_code == ERROR

    def test_looking_changes_nothing(self, command, layers, working_dir):
        before = state_of(working_dir)
        for path in layers:
            call(command, path)
        assert state_of(working_dir) == before

    def test_names_cannot_drive_the_terminal(self, command, write_files, tmp_path):
        names = ("\x1b[2Jclear", "line\nend", "\u202eright", "größe")
        write_files(Letters().output().path, {f"{name}.txt": b"text" for name in names})
        Upper().run()
        for name in names:
            for path in (
                f"{Upper().output().path}/{name}.txt",
                f"{Upper().output().path}/{name}",
                f"{tmp_path}/{name}",
            ):
                answer = call(command, path)
                assert is_harmless(answer.output)
                assert is_harmless(answer.stderr)

    def test_bytes_that_are_no_text_get_through(self, command, working_dir):
        """As arguments of the real command, in its text and in its JSON."""
        folder = os.fsencode(Letters().output().path)
        os.makedirs(folder)
        with open(os.path.join(folder, b"\xff.txt"), "w") as file:
            file.write("text")
        Upper().run()
        path = os.fsdecode(os.path.join(folder, b"\xff.txt"))
        code, output, messages = run(command, path)
        assert (code, messages) == (FINE, "")
        assert "\\udcff.txt" in output
        code, output, _ = run(command, path, "--json")
        assert json.loads(output)["path"] == path

    def test_the_help_has_examples_and_what_is_printed(self, command, working_dir):
        answer = call(command, "--help")
        assert answer.exit_code == FINE
        assert "Prints " in answer.output
        assert "The exit code is 1 where nothing is known of PATH." in answer.output
        assert answer.output.count(f"    luisy-dir {command} ") >= 3
