"""The floors of the house: this table is the diagram, and every import is held against it."""

from __future__ import annotations

import ast
import os
import re

import pytest

import luisy_dir

PACKAGE = os.path.dirname(luisy_dir.__file__)
LUIGI_FROM = 11  # the lowest floor of the rim
FLOORS = {
    "errors": 0,
    "resources": 0,
    "peak": 0,
    "dtypes": 0,
    "storage.system": 0,
    "storage": 0,
    "item": 1,
    "formats": 1,
    "checks": 1,
    "output": 1,
    "web": 1,
    "fingerprint": 1,
    "code": 1,
    "engines": 1,
    "storage.local": 1,
    "storage.probe": 2,
    "images": 2,
    "job": 2,
    "attempts": 2,
    "streams": 2,
    "keys": 2,
    "entry": 2,
    "record": 2,
    "policy": 2,
    "reading": 2,
    "checking": 2,
    "selection": 2,
    "roots": 2,
    "staging": 2,
    "gathering": 3,
    "journal": 3,
    "batching": 3,
    "item_memory": 3,
    "budget": 3,
    "failures": 3,
    "manifest": 3,
    "totals": 3,
    "packs": 3,
    "place": 3,
    "plan": 3,
    "space": 3,
    "grouping": 3,
    "resumption": 4,
    "differences": 4,
    "layouts": 4,
    "repacking": 4,
    "unpacking": 4,
    "rollforward": 4,
    "step": 4,
    "pinning": 4,
    "report": 4,
    "verification": 4,
    "staleness": 4,
    "dataset": 5,
    "dataset.directory": 9,
    "batch": 6,
    "lineage": 5,
    "recheck": 5,
    "rechecking": 6,
    "transaction": 5,
    "replaying": 5,
    "losses": 5,
    "progress": 3,
    "runner": 6,
    "terminal": 4,
    "path_item": 3,
    "hidden": 3,
    "outpaths": 4,
    "pipeline_plan": 4,
    "piping": 4,
    "claims": 4,
    "contents": 4,
    "errands": 5,
    "pipeline": 6,
    "writing": 7,
    "packing": 8,
    "compat": 10,
    "generations": 6,
    "publication": 6,
    "settings": 11,
    "targets.directory": 11,
    "targets.file": 11,
    "targets": 12,
    "scheduler_page": 11,
    "invocation": 11,
    "inputs": 12,
    "planning": 13,
    "tasks.layers": 13,
    "tasks.processing": 13,
    "tasks.options": 13,
    "tasks.definition": 14,
    "tasks.directory": 15,
    "tasks.file": 14,
    "tasks": 16,
    "demo": 16,
    "decorators": 17,
    "__init__": 18,
    "cli": 18,
    "__main__": 19,
}
# Loaded inside the functions that need them, because a worker or a command line should not wait for them.
LATE = {"pandas", "skimage", "imageio", "tifffile", "numpy", "distributed", "fsspec", "scipy"}
# Calls that change what a reader may believe.
DURABLE = re.compile(
    r"\b(?:os|shutil)\.(?:rename|replace|link|symlink|unlink|remove|rmdir|mkdir|makedirs|fsync|rmtree)"
)


def sources():
    """Every module's name below the package and its text."""
    for parent, _, names in os.walk(PACKAGE):
        for name in sorted(names):
            if name.endswith(".py"):
                path = os.path.join(parent, name)
                module = os.path.relpath(path, PACKAGE)[: -len(".py")].replace(os.sep, ".")
                with open(path) as file:
                    yield module.removesuffix(".__init__"), file.read()


SOURCES = dict(sources())


def part_of(module):
    """The name under which the table knows a module."""
    return module if module in FLOORS else module.partition(".")[0]


def imports(source):
    """Modules that a source imports, and whether it does so at its top."""
    tree = ast.parse(source)
    at_top = set(ast.walk(ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef)], [])))
    inside = {
        node
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    for_types = {node for branch in tree.body if _is_type_checking(branch) for node in ast.walk(branch)}
    for node in ast.walk(tree):
        is_at_top = node in at_top and node not in inside and node not in for_types
        if isinstance(node, ast.Import):
            yield from ((alias.name, is_at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            known = [name for name in names if name.removeprefix("luisy_dir.") in SOURCES]
            yield from ((name, is_at_top) for name in known or [node.module])


def _is_type_checking(node):
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def violations(module, source):
    """What is wrong with the imports of one module, in words."""
    mine = part_of(module)
    for name, is_at_top in imports(source):
        top = name.partition(".")[0]
        if top == "luigi" and FLOORS[mine] < LUIGI_FROM:
            yield f"{module} imports {name} below the rim"
        if top in LATE and is_at_top:
            yield f"{module} imports {name} at its top"
        if top != "luisy_dir" or name == "luisy_dir":
            continue
        theirs = part_of(name.removeprefix("luisy_dir."))
        is_too_high = FLOORS[theirs] >= FLOORS[mine]
        if theirs != mine and is_too_high and mine != "__init__":
            yield f"{module} (floor {FLOORS[mine]}) imports {name} (floor {FLOORS[theirs]})"


def test_every_module_has_a_floor():
    assert {part_of(module) for module in SOURCES} == set(FLOORS)


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_a_module_imports_from_lower_floors_only(module):
    assert list(violations(module, SOURCES[module])) == []


@pytest.mark.parametrize(
    ("module", "line", "word"),
    [
        ("plan", "from luisy_dir.runner import run", "imports luisy_dir.runner (floor 6)"),
        ("plan", "from luisy_dir import tasks", "imports luisy_dir.tasks (floor 16)"),
        ("plan", "from luisy_dir.transaction import Transaction", "imports luisy_dir.transaction (floor 5)"),
        ("item", "import luigi.task", "below the rim"),
        ("writing", "import luigi.task", "below the rim"),
        ("report", "import pandas as pd", "at its top"),
        ("errors", "def f():\n    from luisy_dir.storage import local", "imports luisy_dir.storage.local (floor 1)"),
    ],
)
def test_an_import_that_breaks_the_rules_is_found(module, line, word):
    """The check can fail: a planted import is named."""
    found = list(violations(module, f"{SOURCES[module]}\n{line}\n"))
    assert len(found) == 1
    assert word in found[0]


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_only_the_storage_changes_what_a_reader_may_believe(module):
    if module != "storage.system":
        assert DURABLE.findall(SOURCES[module]) == []


def test_the_operating_system_is_always_reached_through_the_one_door():
    """By ``system.rename(...)``, never by name: so a test can replace the one module."""
    for module, source in SOURCES.items():
        assert "from luisy_dir.storage.system import" not in source, module


# What a face of another system may not do itself, because the core does it.
_WORKS_ON_FILES = {
    "concurrent", "fcntl", "fileinput", "glob", "io", "joblib", "loky", "mmap", "multiprocessing", "pebble", "queue",
    "shutil", "signal", "socket", "subprocess", "tempfile", "threading",
}  # fmt: skip
_NAMES_OF_OS = {
    "PathLike",
    "curdir",
    "fsdecode",
    "fsencode",
    "fspath",
    "getcwd",
    "path",
}  # which name files, and touch none
_NAMES_OF_PATHS = {"abspath", "basename", "dirname", "join", "normpath", "relpath", "sep", "split", "splitext"}
_CALLS_OF_PATH = re.compile(r"\b(?:exists|is_file|mkdir|open|read|rename|replace|rmdir|stat|touch|unlink|write)_?\w*$")
FACES = sorted(module for module in SOURCES if module.startswith("compat"))


def works_on_files(source):
    """What a face does that is the core's business, in words."""
    for name, _ in imports(source):
        top = name.partition(".")[0]
        if top in _WORKS_ON_FILES or name.startswith("luisy_dir.storage"):
            yield f"imports {name}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in {"os", "os.path"}:
            yield "imports names of os, rather than os itself"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
            yield "calls open"
        elif isinstance(node, ast.Attribute):
            of, name = ast.unparse(node.value), node.attr
            allowed = {"os": _NAMES_OF_OS, "os.path": _NAMES_OF_PATHS}.get(of, {name})
            if name not in allowed or (of.startswith("Path(") and _CALLS_OF_PATH.match(name)):
                yield f"uses {of}.{name}"


@pytest.mark.parametrize("module", FACES)
def test_a_face_leaves_files_and_processes_to_the_core(module):
    assert list(works_on_files(SOURCES[module])) == []


@pytest.mark.parametrize(
    "line",
    [
        "import shutil", "import os.path as p, tempfile", "from multiprocessing import Pool", "import joblib",
        "def f():\n    from concurrent.futures import ThreadPoolExecutor", "open('x')", "import os\nos.open('x', 0)",
        "import os\nos.path.exists('x')", "from os import replace", "from os.path import exists",
        "from luisy_dir.storage import system", "from pathlib import Path\nPath('x').write_text('')",
    ],
)  # fmt: skip
def test_a_face_that_works_on_files_is_found(line):
    assert list(works_on_files(line))


def test_there_is_no_drawer():
    drawers = {"utils", "util", "base", "core", "common", "helpers", "misc"}
    named_by_us = {part for part in SOURCES if not part.startswith("compat.")}
    assert {part.rpartition(".")[2] for part in named_by_us} & drawers == set()


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_the_first_line_says_what_a_module_is(module):
    docstring = ast.get_docstring(ast.parse(SOURCES[module]))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":"))


def test_the_drawing_in_the_docs_shows_the_same_floors():
    page = os.path.join(os.path.dirname(PACKAGE), "docs", "explanation", "architecture.md")
    with open(page) as file:
        drawing = re.findall(r"^ ?(\d+)  (.*?)(?:   {2,}|$)(.*)$", file.read(), flags=re.MULTILINE)
    drawn = {}
    for floor, first, rest in drawing:
        for name in re.findall(r"[a-z_.]+", first + " " + rest.split("  ")[0] if floor in "123" else first):
            drawn.setdefault(name, int(floor))
    for name, floor in FLOORS.items():
        if name != "storage":
            assert drawn.get(name) == floor, name
