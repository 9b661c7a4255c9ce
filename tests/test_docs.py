"""The documentation: what it shows runs, what it says is printed, and what it lists is all there is.

A page is turned into one program whose lines are the lines of the page, so that a traceback names them:

- a Python block runs as it stands, all blocks of a page one after the other in one fresh process;
- ``<!-- file: NAME -->`` before a block of any language writes it to that file instead;
- ``<!-- not run: REASON -->`` before a Python block says why it does not run;
- ``<!-- run -->`` before a shell block runs it; ``<!-- run: exits with 30 -->`` expects that exit code, and
  ``<!-- run: needs jq -->`` passes over it where there is no such program;
- ``<!-- prints -->`` before a text block expects it in what was printed, after the text block before;
- ``<!-- images: FOLDER -->`` puts 24 PNG files below that folder.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

import luisy_dir
from luisy_dir import entry, errors, record, settings
from luisy_dir.item import Source

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
}

_COMMENT = r"^<!-- (?P<verb>[^:\n]+?)(?:: (?P<argument>.+?))? -->$"
_BLOCK = r"^```(?P<language>\w*)\n(?P<text>.*?)^```$"
_PART = re.compile(f"{_COMMENT}|{_BLOCK}", re.MULTILINE | re.DOTALL)
_VERBS = {"file", "not run", "run", "prints"}
_LANGUAGES = {"bash", "ini", "json", "python", "text"}
_LONGEST_PAGE_SECONDS = 60


class Block(NamedTuple):
    """A block of a page and the comment before it; an empty block for a comment that stands alone."""

    line: int
    language: str
    text: str
    verb: str = ""
    argument: str = ""


def blocks_of(page):
    """Blocks of a page in their order; ValueError where one would be passed over by mistake."""
    verb = argument = ""
    for match in _PART.finditer(page):
        line = page.count("\n", 0, match.start()) + 1
        if match["verb"] == "images":
            yield Block(line, "", "", "images", match["argument"])
        elif match["verb"]:
            verb, argument = match["verb"], match["argument"] or ""
        else:
            if match["language"] not in _LANGUAGES or (verb and verb not in _VERBS):
                raise ValueError(f"line {line}: a block in {match['language']!r} after the comment {verb!r}")
            yield Block(line, match["language"], match["text"], verb, argument)
            verb = argument = ""


def statement_of(block):
    """What a block other than plain Python does, as one line of Python; None where it is for the reader's eye."""
    match block:
        case Block(verb="images", argument=folder):
            return f"__import__('shutil').copytree(__import__('os').environ['IMAGES'], {folder!r})"
        case Block(verb="file", argument=name, text=text):
            return f"__import__('pathlib').Path({name!r}).write_text({text!r}, encoding='utf-8')"
        case Block(language="bash", verb="run", argument=condition, text=text):
            what, _, value = condition.rpartition(" ")
            if what == "needs" and shutil.which(value) is None:
                return None
            command = ["bash", "-euo", "pipefail", "-c", text]
            code = int(value) if what == "exits with" else 0
            return f"assert (_ := __import__('subprocess').run({command!r}).returncode) == {code}, f'exit code {{_}}'"
    return None


def program_of(page):
    """The page as a program, line for line."""
    lines = [""] * (page.count("\n") + 1)
    for block in blocks_of(page):
        statement = statement_of(block)
        if statement is not None:
            lines[block.line - 1] = statement
        elif block.language == "python" and not block.verb:
            code = block.text.splitlines()
            lines[block.line : block.line + len(code)] = code
    return "\n".join(lines).rstrip()


def run_page(page, folder, images):
    """Exit code and output of a page's program, run in ``folder``.

    The program is handed over by ``-c``, so that ``__main__`` has no file and spawned workers do not import it again.
    """
    os.symlink(ROOT / "examples", folder / "examples")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LUISY_DIR_")} | {
        "IMAGES": str(images),
        "LUIGI_CONFIG_PATH": str(ROOT / "luigi.cfg"),
        "TMPDIR": str(folder),  # where Luigi notes which command lines run: another test may run the same one
        "PATH": os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"])),
        "PYTHONDONTWRITEBYTECODE": "1",  # a module that a page writes twice in a second must be read twice
    }
    done = subprocess.run(
        [sys.executable, "-u", "-c", program_of(page)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_LONGEST_PAGE_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout


def missing_prints(page, output):
    """The text blocks of a page that should have been printed, and were not, or not in that order."""
    output, place = _without_trailing_blanks(output), 0
    for block in blocks_of(page):
        if block.verb == "prints":
            found = output.find(_without_trailing_blanks(block.text).rstrip("\n"), place)
            if found < 0:
                yield f"line {block.line}: not printed:\n{block.text}"
            else:
                place = found


def _without_trailing_blanks(text):
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)


def _does_something(page):
    return any(program_of(page).splitlines())


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """24 PNG files in nested folders, made a minute ago: nobody can tell whether one of just now changes again."""
    folder = tmp_path_factory.mktemp("docs") / "images"
    command = [sys.executable, "-m", "luisy_dir.demo.images", folder, "24"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for path in folder.rglob("*.png"):
        os.utime(path, (time.time() - 60,) * 2)
    return folder


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if _does_something(page)])
def test_every_block_of_a_page_runs_and_prints_what_the_page_says(name, images, tmp_path):
    """A reader who copies the blocks of a page one after the other gets what the page shows."""
    code, output = run_page(PAGES[name], tmp_path, images)

    assert code == 0, output
    assert not list(missing_prints(PAGES[name], output)), output


@pytest.mark.parametrize("name", PAGES)
def test_no_block_is_passed_over_by_mistake(name):
    """A Python block runs, is written to a file, or says why not; none hides in a list or under an unknown comment."""
    blocks = list(blocks_of(PAGES[name]))

    assert len(re.findall(r"^\s*```\w*\n", PAGES[name] + "\n", re.MULTILINE)) == 2 * len(
        [block for block in blocks if block.language]
    )
    for block in blocks:
        assert block.verb != "not run" or block.argument, f"line {block.line}: no reason"
        assert block.language != "python" or block.verb in {"", "file", "not run"}, f"line {block.line}"


def test_a_block_that_fails_is_reported_with_its_line_on_the_page(images, tmp_path):
    """The checker notices a failure."""
    code, output = run_page("# Page\n\n```python\nfine = 1\nbroken\n```\n", tmp_path, images)

    assert code != 0
    assert "line 5" in output
    assert "NameError" in output


def test_a_shell_block_with_another_exit_code_is_reported(images, tmp_path):
    """The checker notices a command that ends otherwise than the page says."""
    code, output = run_page("<!-- run: exits with 3 -->\n```bash\nexit 4\n```\n", tmp_path, images)

    assert code != 0
    assert "exit code 4" in output


def test_text_that_is_not_printed_is_reported():
    """The checker notices output that has changed, and output in another order."""
    page = "<!-- prints -->\n```text\na\n```\n<!-- prints -->\n```text\nb\n```\n"

    assert not list(missing_prints(page, "a\nb\n"))
    assert len(list(missing_prints(page, "b\na\n"))) == 1


@pytest.mark.parametrize("name", PAGES)
def test_every_relative_link_leads_to_a_file_and_a_heading(name):
    """No link of ours is dead."""
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        if heading:
            assert heading in _headings(target.read_text(encoding="utf-8")), link


def _headings(page):
    titles = re.findall(r"^#+ (.+)$", re.sub(_BLOCK, "", page, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]


def _table(page, first_column):
    """Rows of the tables of a page whose first column has that heading, without backticks."""
    rows, inside = [], False
    for line in page.splitlines():
        cells = [cell.strip().replace("`", "") for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[0] == first_column:
            inside = True
        elif inside and set(cells[0]) != {"-"}:
            rows.append(cells)
    return rows


def test_the_table_of_settings_is_that_of_the_code():
    """The reference lists every setting with its default, its allowed values, its flag and its variable."""
    rows = _table(PAGES["docs/reference/settings.md"], "setting")

    assert [row[:5] for row in rows] == [
        [
            setting.name,
            setting.default,
            setting.allowed,
            f"--luisy-dir-{setting.name.replace('_', '-')}",
            f"LUISY_DIR_{setting.name.upper()}",
        ]
        for setting in settings.SETTINGS.values()
    ]


def test_the_readme_names_settings_with_their_defaults():
    """The short table of the README is part of the long one."""
    for row in _table(PAGES["README.md"], "setting"):
        assert settings.SETTINGS[row[0]].default == row[1]


def test_the_tree_of_errors_is_that_of_the_code():
    """The reference draws every error below its base, and says of each what to do."""
    page = PAGES["docs/reference/errors.md"]
    tree = next(block.text for block in blocks_of(page) if block.text.startswith("LuisyDirError"))
    defined = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}

    lines = re.finditer(r"^(?P<indent>[ │├└─]*)(?P<name>\w+)", tree, re.MULTILINE)
    drawn = {line["name"]: len(line["indent"]) for line in lines}
    assert drawn.keys() == defined.keys()
    for name, error in defined.items():
        base = error.__mro__[1].__name__
        assert base not in drawn or drawn[name] == drawn[base] + 4, name
    bases = {error.__mro__[1] for error in defined.values()}
    explained = {row[0] for row in _table(page, "error")}
    raised_itself = {"BatchError", "DatasetError", "DefinitionError", "ManifestError"}  # though another derives from it
    assert explained == {name for name in defined if defined[name] not in bases} | raised_itself


@pytest.mark.parametrize(
    ("first_column", "struct"),
    [
        ("field of an entry", entry.Entry),
        ("field of a source", Source),
        ("field of an output", entry.OutputFile),
        ("field of a pack", entry.Pack),
        ("field of an error", entry.Failure),
        ("field of the record", record.Record),
        ("field of a file", record.EntriesFile),
        ("field of an input", record.InputState),
    ],
)
def test_the_reference_of_the_manifest_explains_every_field(first_column, struct):
    """The tables list the fields of the files in their order."""
    rows = _table(PAGES["docs/reference/manifest.md"], first_column)

    assert [row[0] for row in rows] == list(struct.__struct_fields__)


@pytest.mark.parametrize("name", luisy_dir.__all__)
def test_every_public_name_is_documented(name):
    """What users may import, they can read about."""
    assert any(re.search(rf"\b{name}\b", page) for page in PAGES.values())


def test_every_module_stands_in_the_drawing_of_the_architecture():
    """The drawing is all of the house."""
    page = PAGES["docs/explanation/architecture.md"]
    drawing = next(block.text for block in blocks_of(page) if "errors" in block.text)
    package = ROOT / "luisy_dir"
    modules = [*package.glob("*.py"), *(path.parent for path in package.glob("*/__init__.py"))]

    assert {path.stem for path in modules} <= set(re.findall(r"\w+", drawing))


_CITED = re.compile(r"`(test_\w+\.py|…)(?:::([\w…]+))?(?:::([\w…]+))?`|`stress (\w+)`")


def test_every_test_that_a_page_cites_is_there():
    """Forty faults, each with a test or a reason; `…` stands for the file that was named last, or a name's end."""
    page = PAGES["docs/explanation/fault-by-fault.md"]
    rows = re.findall(r"^\| (\d+) \|.*\| (.+) \|$", page, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 41))
    parts = re.findall(r"^\| `(\w+)` \|", PAGES["docs/explanation/how-it-is-tested.md"], re.MULTILINE)
    for number, cited in rows:
        file, cites = "", list(_CITED.finditer(cited))
        assert cites or "not tested" in cited, number
        for cite in cites:
            file = file if cite[1] in {"…", None} else cite[1]
            if cite[4] is not None:
                assert cite[4] in parts, cite[0]
                continue
            source = (ROOT / "tests" / file).read_text(encoding="utf-8")
            for name in filter(None, (cite[2], cite[3])):
                begin = re.escape(name.removesuffix("…")) + ("" if name.endswith("…") else r"\b")
                assert re.search(rf"^\s*(def|async def|class) {begin}", source, re.MULTILINE), cite[0]
