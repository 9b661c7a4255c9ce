"""Hostile names through the whole life of a directory: whatever a file or a folder is called, nothing else changes."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
import sys
from typing import ClassVar

import pytest

import luisy_dir as luisy
from luisy_dir import errors
from luisy_dir.manifest import read_manifest
from luisy_dir.resumption import entries_in_staging
from luisy_dir.staging import staging_of

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DEEP = 20

# What a file or folder may be called, and what that is as part of a key: text, with undecodable bytes in percent.
NAMES = {
    "line end": (b"new\nline", "new\nline"),
    "return": (b"back\rover", "back\rover"),
    "tab": (b"a\tb", "a\tb"),
    "escape sequence": (b"\x1b[2J\x1b[31mred", "\x1b[2J\x1b[31mred"),
    "title of the terminal": (b"\x1b]0;owned\x07", "\x1b]0;owned\x07"),
    "8-bit control": ("\x9b31m".encode(), "\x9b31m"),
    "right to left": ("\u202egnp.exe".encode(), "\u202egnp.exe"),
    "zero width": ("a\u200bb\ufeff".encode(), "a\u200bb\ufeff"),
    "line separator": ("a\u2028b\x85c".encode(), "a\u2028b\x85c"),
    "leading dash": (b"-rf", "-rf"),
    "option": (b"--json", "--json"),
    "quotes": (b'it\'s "so" `far`', 'it\'s "so" `far`'),
    "backslash": (b"back\\slash\\n", "back\\slash\\n"),
    "percent": (b"%41", "%41"),
    "percent s": (b"%s %d %(key)s {item}", "%s %d %(key)s {item}"),
    "undecodable": (b"\xff\xfe", "%FF%FE"),
    "undecodable amid": (b"a\x80\xc3(b", "a%80%C3(b"),
    "surrogate in UTF-8": (b"\xed\xa0\x80", "%ED%A0%80"),
    "composed": ("caf\u00e9".encode(), "caf\u00e9"),
    "decomposed": ("cafe\u0301".encode(), "cafe\u0301"),
    "upper case": (b"Case", "Case"),
    "lower case": (b"case", "case"),
    "trailing dots": (b"dots..", "dots.."),
    "trailing space": (b"space ", "space "),
    "leading space": (b" space", " space"),
    "only spaces": (b"   ", "   "),
    "no-break space": ("\u00a0".encode(), "\u00a0"),
    "emoji": ("👩\u200d🔬🎉".encode(), "👩\u200d🔬🎉"),
    "device of Windows": (b"CON", "CON"),
    "stream of Windows": (b"a:b|c<d>e?", "a:b|c<d>e?"),
    "home": (b"~", "~"),
    "variable": (b"$HOME", "$HOME"),
    "command": (b"$(touch owned);`id`&", "$(touch owned);`id`&"),
    "glob": (b"*", "*"),
    "brackets": (b"[a-z]{1,2}", "[a-z]{1,2}"),
    "markup": (b"<script>alert(1)<", "<script>alert(1)<"),
    "formula": (b"=1+1,;", "=1+1,;"),
    "temporary": (b"x.tmp", "x.tmp"),
    "like a journal": (b"journal-1", "journal-1"),
    "like a run": (b"run-1", "run-1"),
    "like CURRENT": (b"CURRENT", "CURRENT"),
    "like a record": (b"00000001.json", "00000001.json"),
    "like undo": (b"undo-00000002", "undo-00000002"),
    "longest": (b"x" * 251, "x" * 251),
    "longest in two bytes": ("ä".encode() * 125, "ä" * 125),
}
FOLDERS = NAMES | {
    "longest": (b"y" * 255, "y" * 255),
    "very deep": (b"/".join([b"deep"] * DEEP), "/".join(["deep"] * DEEP)),
}


# Files without a suffix of ours: their key is what comes before their last dot.
BARE = {
    b"y.tmp": "y",
    b"~lock.y.txt#": "~lock.y",
    b"dot.": "dot",
    b"   ": "   ",
    b"- -": "- -",
    b"\n": "\n",
    b"\xff": "%FF",
    b"a.\xff": "a",
    b"%": "%",
    b"COM1.log.gz": "COM1.log",
    b"z" * 249 + b".a": "z" * 249,
}

# What process may not name an output.
REFUSED = [
    "..", "../x", "a/..", "a/../../x", "/x", "//x", "/", "", ".", "./x", "a//b", "a/", "a/./b",
    ".manifest", ".manifest/CURRENT", "a/.manifest/x", ".hidden", "\0", "a\0b",
    "x" * 256, "ä" * 128, "\udcff", "a/\ud800",
]  # fmt: skip


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


@luisy.make_directory_output(read)
@luisy.raw
class Sources(luisy.ExternalTask):
    def get_folder_name(self):
        return "sources"


def read_number(path):
    return int(read(path))


def write_number(number, file):
    file.write(b"%d" % number)


class Interrupted(BaseException):
    """Ends a run at an item, as SIGKILL would, but without ending the tests."""


@luisy.interim
@luisy.requires(Sources)
@luisy.directory_output(".txt", engine="serial")
class Copies(luisy.DirectoryTask):
    """Notes every item that it processes, and may be interrupted after some of them."""

    done: ClassVar[list[str]] = []
    interrupted_after: ClassVar[int | None] = None

    def process(self, text, item):
        controls = vars(sys.modules[__name__])["Copies"]  # out of sight of the fingerprint: they are no code
        if len(controls.done) == controls.interrupted_after:
            raise Interrupted
        controls.done.append(item.key)
        if text.startswith("fail"):
            raise ValueError(f"cannot read {item.path} and {item.key}")
        return text


@luisy.final
@luisy.requires(Copies)
@luisy.directory_output((read_number, write_number), suffix=".n", engine="serial")
class Lengths(luisy.DirectoryTask):
    def process(self, text):
        return len(text)


@luisy.interim
@luisy.requires(Sources)
@luisy.directory_output(".txt", engine="serial")
class Refusing(luisy.DirectoryTask):
    def process(self, text, item):
        item.logger.warning("is refused")
        raise ValueError("no")


@luisy.interim
@luisy.requires(Sources)
@luisy.directory_output(".txt", engine="serial")
class Named(luisy.DirectoryTask):
    """Writes under the key that stands in the file."""

    def process(self, text):
        yield luisy.Output("written", key=json.loads(text))


@pytest.fixture(autouse=True)
def nothing_done(monkeypatch):
    monkeypatch.setattr(Copies, "done", [])
    monkeypatch.setattr(Copies, "interrupted_after", None)
    monkeypatch.setenv("LUISY_DIR_DURABILITY", "none")  # names are as hostile, and the disk is not waited for


class World:
    """Files with hostile names, in hostile folders, and what is to become of them."""

    def __init__(self, kind):
        self.folder = os.fsencode(Sources().output().path)
        self.directory = Copies().output().path
        names = {
            "files": [(name + b".txt", key) for name, key in NAMES.values()],
            "folders": [(name + b"/in.txt", key + "/in") for name, key in FOLDERS.values()],
            "bare files": list(BARE.items()),
        }[kind]
        self.keys = dict(names)
        self.content = {}

    def put(self, names, word):
        """Write something into each of these files; it is older than the clock can be wrong."""
        for name in names:
            path = os.path.join(self.folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self.content[name] = f"{word} {name!r}"
            with open(path, "w", encoding="utf-8") as file:
                file.write(self.content[name])
            then = 1_700_000_000 + len(word)
            os.utime(path, (then, then))

    def remove(self, names):
        for name in names:
            os.unlink(os.path.join(self.folder, name))
            del self.content[name]

    def run(self):
        """Run; return the keys of the items that were processed."""
        Copies.done.clear()
        Copies().run()
        return sorted(Copies.done)

    def keys_of(self, names):
        return sorted(self.keys[name] for name in names)

    def check(self):
        """The directory is right, complete and whole, with nothing beside it."""
        assert tree(self.directory) == {f"{self.keys[name]}.txt": text for name, text in self.content.items()}
        assert Copies().complete()
        assert Copies().output().verify(deep=True).is_whole
        assert Copies().output().verify(deep=True).foreign == ()
        assert os.listdir(os.path.dirname(self.directory)) == ["Copies"]
        entries = {entry.key: entry for entry in read_manifest(self.directory).entries()}
        assert sorted(entries) == self.keys_of(self.content)
        items = {item.key: os.fsencode(item.path) for item in Sources().output().scan()}
        assert items == {self.keys[name]: os.path.join(self.folder, name) for name in self.content}


@pytest.fixture(params=["files", "folders", "bare files"])
def world(request, working_dir):
    made = World(request.param)
    made.put(made.keys, "first")
    return made


def tree(directory):
    """Content of every published file by its relative path."""
    found = {}
    for parent, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name != ".manifest"]
        for name in names:
            path = os.path.join(parent, name)
            found[os.path.relpath(path, directory)] = read(path)
    return found


def state_of_everything(folder):
    found = {}
    for parent, _, names in os.walk(os.fsencode(folder)):
        for path in (parent, *(os.path.join(parent, name) for name in names)):
            state = os.lstat(path)
            found[path] = state.st_ino, state.st_size, state.st_mtime_ns
    return found


class TestLife:
    """Each stage ends in exactly what plain names would have ended in."""

    @pytest.mark.parametrize("engine", ["serial", "processes"])
    def test_a_first_build(self, world, engine, monkeypatch):
        monkeypatch.setenv("LUISY_DIR_ENGINE", engine)
        Copies().run()
        world.check()

    def test_a_run_with_nothing_to_do(self, world, working_dir):
        world.run()
        before = state_of_everything(working_dir)
        assert world.run() == []
        assert state_of_everything(working_dir) == before

    @pytest.mark.parametrize("share", [0.0, 10.0])
    def test_an_update(self, world, monkeypatch, share):
        """Whether the manifest of the second generation has all entries, or those alone that are not the same."""
        monkeypatch.setattr("luisy_dir.transaction.LARGEST_SHARE", share)
        names = sorted(world.keys)
        world.remove(names[::3])
        assert world.run() == world.keys_of(world.content)
        world.put(names[1::3], "second")
        world.put(names[::3], "come back")
        world.remove(names[2::3])
        assert Copies().plan().counts == {
            "new": len(names[::3]), "changed": len(names[1::3]), "deleted": len(names[2::3])
        }  # fmt: skip
        assert world.run() == world.keys_of(world.content)
        world.check()

    @pytest.mark.parametrize("turn", ["first build", "update"])
    def test_an_interrupted_run_and_the_next(self, world, turn, monkeypatch):
        if turn == "update":
            world.run()
            world.put(world.keys, "second")
        half = len(world.keys) // 2
        monkeypatch.setattr(Copies, "interrupted_after", half)
        Copies.done.clear()
        with pytest.raises(Interrupted):
            Copies().run()
        finished = sorted(Copies.done)
        assert sorted(entry.key for entry in entries_in_staging(world.directory)) == finished
        assert list(Copies().report().index) == finished
        monkeypatch.setattr(Copies, "interrupted_after", None)
        rest = world.run()
        assert sorted([*finished, *rest]) == world.keys_of(world.content)
        assert len(finished) == half
        world.check()

    def test_the_way_back(self, world):
        names = sorted(world.keys)
        world.run()
        first = tree(world.directory)
        world.put(names[::2], "second")
        world.remove(names[1::2])
        world.run()
        world.check()
        target = Copies().output()
        difference = target.diff(1, 2)
        assert sorted(difference.changed) == world.keys_of(names[::2])
        assert sorted(difference.removed) == world.keys_of(names[1::2])
        target.rollback()
        assert tree(world.directory) == first
        assert target.verify(deep=True).is_whole
        target.release()
        world.run()
        world.check()

    def test_outputs_that_are_gone_or_were_edited(self, world):
        world.run()
        names = sorted(world.keys)
        gone, edited = names[::3], names[1::3]
        for name in gone:
            os.unlink(os.path.join(world.directory, f"{world.keys[name]}.txt"))
        for name in edited:
            with open(os.path.join(world.directory, f"{world.keys[name]}.txt"), "a") as file:
                file.write("edited")
        assert not Copies().complete()
        found = Copies().output().repair(deep=True)
        assert sorted(found.missing) == sorted(f"{world.keys[name]}.txt" for name in gone)
        assert sorted(found.changed) == sorted(f"{world.keys[name]}.txt" for name in edited)
        assert world.run() == world.keys_of([*gone, *edited])
        world.check()

    def test_items_that_fail(self, world, monkeypatch):
        """Each is a row with its key, its file and its reason, and is tried again when it is mended."""
        names = sorted(world.keys)
        world.put(names[::2], "fail")
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1.0")
        world.run()
        report = Copies().report()
        assert sorted(report.index) == world.keys_of(names)
        assert sorted(report.index[report["status"] == "failed"]) == world.keys_of(names[::2])
        assert all(report["error"][report["status"] == "failed"].str.contains("cannot read"))
        world.put(names[::2], "mended")
        assert world.run() == world.keys_of(names[::2])
        world.check()

    def test_what_is_made_of_it(self, world):
        """The outputs are the next task's inputs."""
        world.run()
        Lengths().run()
        assert Lengths().complete()
        made = {item.key: length for item, length in Lengths().items()}
        assert made == {world.keys[name]: len(text) for name, text in world.content.items()}

    def test_outputs_that_process_names(self, working_dir, write_files):
        """Any text that a file may be called by."""
        keys = [key for _, key in FOLDERS.values() if len(key) + len(".txt") <= 255]
        files = {f"{number:02d}.txt": json.dumps(key).encode() for number, key in enumerate(keys)}
        write_files(Sources().output().path, files)
        Named().run()
        assert sorted(tree(Named().output().path)) == sorted(f"{n:02d}/{key}.txt" for n, key in enumerate(keys))
        assert Named().complete()


class TestWhatIsRefused:
    def test_outputs_that_would_lie_elsewhere_or_hide(self, working_dir, write_files, monkeypatch):
        """Each fails its item, and nothing lies anywhere else."""
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1.0")
        monkeypatch.chdir(working_dir)
        files = {f"{number:02d}.txt": json.dumps(key).encode() for number, key in enumerate(REFUSED)}
        write_files(Sources().output().path, files | {"fine.txt": b'"fine"'})
        before = set(state_of_everything(working_dir))
        Named().run()
        report = Named().report()
        assert dict(report["status"]) == {name.removesuffix(".txt"): "failed" for name in files} | {"fine": "written"}
        assert tree(Named().output().path) == {"fine/fine.txt": "written"}
        made = {os.fsdecode(path) for path in state_of_everything(working_dir).keys() - before}
        inside = os.path.dirname(Named().output().path)
        assert [path for path in made if not path.startswith(inside)] == []
        assert os.listdir(inside) == ["Named"]

    def test_two_names_that_are_spelled_alike(self, working_dir, write_files):
        """Undecodable bytes are spelled in percent; a file may be called like that too."""
        folder = write_files(Sources().output().path, {"%FF.txt": b"plain"})
        with open(os.path.join(os.fsencode(folder), b"\xff.txt"), "w") as file:
            file.write("bytes")
        with pytest.raises(errors.KeyCollisionError, match="%FF"):
            Copies().run()
        assert Copies.done == []
        assert not os.path.exists(staging_of(Copies().output().path))

    def test_a_name_for_which_no_output_has_room(self, working_dir, write_files, monkeypatch):
        """An item that failed, with the others written."""
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1.0")
        write_files(Sources().output().path, {"x" * 255: b"too long", "fine.txt": b"fine"})
        with open(os.path.join(os.fsencode(Sources().output().path), b"\xff" * 200), "w") as file:
            file.write("three times as long in percent")
        Copies().run()
        report = Copies().report()
        assert dict(report["status"]) == {"x" * 255: "failed", "%FF" * 200: "failed", "fine": "written"}
        assert report["error"]["x" * 255].count("File name too long") == 1
        assert tree(Copies().output().path) == {"fine.txt": "fine"}


class TestWhatIsPassedOver:
    def test_what_is_no_file_never_stops_a_run(self, working_dir, write_files, monkeypatch, tmp_path_factory):
        """Nothing but regular files is opened, be it behind a link: a pipe would be waited at for ever."""
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1.0")
        outside = tmp_path_factory.mktemp("outside")
        write_files(outside, {"elsewhere.txt": b"elsewhere", "folder/in.txt": b"in"})
        folder = write_files(
            Sources().output().path,
            {"plain.txt": b"plain", "deep/plain.txt": b"deep", ".hidden.txt": b"", ".git/config": b"", "._x.txt": b""},
        )
        monkeypatch.chdir(folder)
        os.mkfifo("pipe.txt")
        os.mkfifo("deep/pipe.txt")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket.txt")
        links = {
            "linked.txt": outside / "elsewhere.txt", "folder": outside / "folder", "loop.txt": "loop.txt",
            "one.txt": "other.txt", "other.txt": "one.txt", "self": ".", "parent": "..", "nowhere.txt": "nowhere",
            "zero.txt": "/dev/zero", "to a pipe.txt": "pipe.txt", "to a socket.txt": "socket.txt", "deep/up": "..",
        }  # fmt: skip
        for name, leads_to in links.items():
            os.symlink(leads_to, name)
        if os.geteuid() == 0:
            os.mknod("device.txt", 0o020666, os.makedev(1, 5))  # /dev/zero, which never ends
        Copies().run()
        status = dict(Copies().report()["status"])
        lost = dict.fromkeys(["loop", "one", "other", "nowhere"], "failed")
        assert status == dict.fromkeys(["plain", "deep/plain", "linked"], "written") | lost
        assert tree(Copies().output().path) == {
            "plain.txt": "plain", "deep/plain.txt": "deep", "linked.txt": "elsewhere"
        }  # fmt: skip
        assert Copies().complete()


def is_harmless(output):
    """Whether nothing in what a terminal got could do more than to put a character or to end a line."""
    return all(char.isprintable() or char in "\r\n" for char in output)


def on_a_terminal(*command, **environment):
    """What a program in a process of its own shows on a real terminal, both streams; and its exit code."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        command,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([REPOSITORY, os.path.join(REPOSITORY, "tests")]), "COLUMNS": "300"}
        | environment,
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    shown = b""
    while True:
        try:
            block = os.read(ours, 1 << 16)
        except OSError:  # its end is closed
            break
        shown += block
    os.close(ours)
    return process.wait(timeout=60), shown.decode()


def luisy_dir_on_a_terminal(*arguments):
    return on_a_terminal(sys.executable, "-m", "luisy_dir", *arguments)


class TestTerminal:
    """Nothing in a name reaches the terminal but as text to be read."""

    @pytest.fixture
    def failed(self, working_dir, monkeypatch):
        """A directory of which every other item failed, and where the next run has something to do with each."""
        monkeypatch.setenv("LUISY_DIR_WORKING_DIR", str(working_dir))
        monkeypatch.setenv("LUISY_DIR_MAX_ERRORS", "1.0")
        made = World("files")
        names = sorted(made.keys)
        made.put(names, "first")
        made.run()
        made.put(names[::2], "fail")
        made.remove(names[1::4])
        made.run()
        made.put(names[::2], "fail again")
        for name in names[3::4]:
            os.unlink(os.path.join(made.directory, f"{made.keys[name]}.txt"))
        return made.directory

    @pytest.mark.parametrize(
        "arguments",
        [
            ("report", "{path}", "--limit", "0"), ("errors", "{path}"), ("errors", "{path}", "--traceback"),
            ("verify", "{path}"), ("diff", "{path}", "1", "2"), ("plan", "test_hostile_names", "Copies"),
            ("report", "{path}", "--csv"), ("report", "{path}", "--json"),
            ("plan", "test_hostile_names", "Copies", "--json"),
        ],
        ids=" ".join,
    )  # fmt: skip
    def test_of_items(self, failed, arguments):
        code, shown = luisy_dir_on_a_terminal(*(word.format(path=failed) for word in arguments))
        assert code in {0, 1}, shown
        assert any(escaped in shown for escaped in (r"\x1b[2J", r"\u001b[2J", r"new\nline"))
        assert is_harmless(shown), [line for line in shown.splitlines() if not is_harmless(line)]

    def test_of_directories(self, failed, working_dir):
        """A published one, a damaged one and a staging under each name."""
        os.rename(failed, working_dir / "published")
        for name, _ in FOLDERS.values():
            for suffix in (b"", b"2"):
                folder = os.path.join(os.fsencode(working_dir), b"below", name[:240] + suffix)
                os.makedirs(os.path.join(folder, b".manifest"), exist_ok=True)
            os.makedirs(os.path.join(os.path.dirname(folder), b"." + os.path.basename(folder) + b"3.staging", b"run-1"))
        os.symlink(working_dir / "published" / ".manifest", working_dir / "below" / "\x1b[2Jclear")
        code, shown = luisy_dir_on_a_terminal("ls", str(working_dir / "below"))
        assert code in {0, 1}, shown
        assert r"\x1b[2J" in shown
        assert is_harmless(shown), [line for line in shown.splitlines() if not is_harmless(line)]
        code, shown = luisy_dir_on_a_terminal("gc", str(working_dir / "below"), "--dry-run")
        assert code in {0, 1}, shown
        assert is_harmless(shown), [line for line in shown.splitlines() if not is_harmless(line)]

    @pytest.mark.parametrize("name", ["escape sequence", "8-bit control", "right to left", "return"])
    def test_of_items_in_the_log_of_luigi(self, working_dir, write_files, name):
        """A file that somebody sent must not be able to write the last line of a night's log."""
        write_files(Sources().output().path, {f"{NAMES[name][1]}.txt": b"x"})
        code, shown = on_a_terminal(
            sys.executable, "-m", "luigi", "--module", "test_hostile_names", "Refusing", "--local-scheduler",
            "--no-lock", "--luisy-dir-working-dir", str(working_dir),
            LUIGI_CONFIG_PATH=os.path.join(REPOSITORY, "luigi.cfg"),
        )  # fmt: skip
        assert code != 0
        assert "ItemsFailedError" in shown
        told = [line for line in shown.split("\r\n") if not set(line) <= {" ", "^", "~"}]
        assert [line for line in told if not is_harmless(line) or "\r" in line] == []
