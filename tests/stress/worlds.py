"""Worlds of the stress tests: raw letters, what must be published of them, and what may be seen after a fault."""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field

import children
import driver
import letters
import xxhash

from luisy_dir import settings
from luisy_dir.errors import ManifestError
from luisy_dir.manifest import read_manifest
from luisy_dir.staging import staging_of

AGE_SECONDS = 3600.0  # an input that is as young as a run is read twice, which is not what is looked at here
CAN_RESUME = "resume" in settings.SETTINGS

FIRST = {
    "a.txt": "alpha",
    "b.txt": "beta",
    "c.txt": "one two three",
    "folder/d.txt": "delta",
    "folder/deep/e.txt": "epsilon",
    "gone/f.txt": "phi",
    "gone/g.txt": "four five",
    "h.txt": "eta",
}
# Changed to the same and to another number of outputs, new, new in a new folder, gone, gone with its folder.
UPDATE = {
    "a.txt": "alpha-again",
    "c.txt": "three",
    "folder/d.txt": "six seven",
    "gone/f.txt": None,
    "gone/g.txt": None,
    "new/deep/i.txt": "iota",
    "j.txt": "kappa",
}
# Inputs may change once more between a crash and the next run.
CHURN = {"a.txt": "alpha-at-last", "b.txt": None, "new/deep/i.txt": "ten eleven", "new/k.txt": "lambda"}

_OURS = re.compile(r"CURRENT|\d{8}\.jsonl?|undo-\d{8}")


class World:
    """A working directory with letters in it, and the directory that is published of them.

    Parameters
    ----------
    root
        The working directory.
    scratch
        A folder on a sound file system, for what is told about the world.
    """

    def __init__(self, root, scratch):
        self.root, self.scratch = root, scratch
        self.raw = os.path.join(root, "letters", "raw", "letters")
        self.published = os.path.join(root, "letters", "interim", "Words")
        self.staging = staging_of(self.published)
        self.log = os.path.join(scratch, "processed")
        self.letters = {}

    @property
    def environ(self):
        """Environment of a run in this world."""
        return {
            letters.LOG: self.log,
            "STRESS_OUTPUT": os.path.join(self.scratch, "output"),
            "LUISY_DIR_MAX_DELETED": "1.0",  # several writers remove as they like
        }

    def clear(self):
        """Remove everything."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.letters = {}
        self.forget_work()

    def write(self, changes):
        """Write letters; None removes one, and the folders that are empty then."""
        then = time.time() - AGE_SECONDS + len(self.letters) + 10 * os.path.exists(self.published)
        for name, text in changes.items():
            path = os.path.join(self.raw, name)
            if text is None:
                if self.letters.pop(name, None) is not None:
                    os.unlink(path)
                    if not os.listdir(os.path.dirname(path)):
                        os.removedirs(os.path.dirname(path))
                continue
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(text)
            os.utime(path, (then, then))
            self.letters[name] = text

    def read_letters(self):
        """See what others have written."""
        self.letters = {}
        for parent, _, names in os.walk(self.raw):
            for name in names:
                path = os.path.join(parent, name)
                with open(path) as file:
                    self.letters[os.path.relpath(path, self.raw)] = file.read()

    def expected(self):
        """Relative path and content of everything that must be published of the letters as they are."""
        found = {}
        for name, text in self.letters.items():
            found |= letters.outputs_of(name, text)
        return found

    def visible(self):
        """Relative path and content of everything that can be seen."""
        found = {}
        for parent, folders, names in os.walk(self.published):
            folders[:] = [name for name in folders if name != ".manifest"]
            for name in names:
                path = os.path.join(parent, name)
                with open(path, errors="replace") as file:
                    found[os.path.relpath(path, self.published)] = file.read()
        return found

    def work(self):
        """Keys of the items that were processed, one for each time."""
        try:
            with open(self.log) as file:
                return [line.partition("\t")[0] for line in file]
        except FileNotFoundError:
            return []

    def finished(self):
        """Keys of the items that are written in the staging, as its journals say: read here without the package."""
        found = []
        for path in glob.glob(os.path.join(glob.escape(self.staging), "run-*", "journal-*")):
            with open(path, "rb") as file:
                for line in file:
                    checksum, _, text = line.rstrip(b"\n").partition(b" ")
                    if text and checksum == b"%08x" % zlib.crc32(text):
                        entry = json.loads(text)
                        found += [entry["key"]] if entry.get("status") == "written" else []  # the first line is none
        return found

    def forget_work(self):
        """Begin a new list of what was processed."""
        if os.path.exists(self.log):
            os.unlink(self.log)

    def run(self, **options):
        """Run the task in a child, and say what became of it."""
        return children.call(driver.run, self.root, environ=self.environ, **options)

    def litter(self):
        """Everything that nobody needs when no run is under way."""
        found = []
        layer = os.path.dirname(self.published)
        if os.path.isdir(layer):
            found += [name for name in os.listdir(layer) if name != os.path.basename(self.published)]
        manifest = os.path.join(self.published, ".manifest")
        if os.path.isdir(manifest):
            names = os.listdir(manifest)
            found += [f".manifest/{name}" for name in names if not _OURS.fullmatch(name)]
            found += [f"empty {path}" for path in self._empty_folders()]
        return sorted(found)

    def _empty_folders(self):
        for parent, folders, names in os.walk(self.published):
            if not folders and not names:
                yield os.path.relpath(parent, self.published)

    def differs_from_manifest(self):
        """In what the published directory is not what its manifest says: read anew, and compared by digest."""
        try:
            manifest = read_manifest(self.published)
        except ManifestError as error:
            return str(error)
        if manifest is None:
            return "there is no manifest"
        told = {output.path: output.digest for entry in manifest.entries() for output in entry.outputs}
        seen = {path: xxhash.xxh3_128_hexdigest(text.encode()) for path, text in self.visible().items()}
        different = {path for path in told.keys() | seen.keys() if told.get(path) != seen.get(path)}
        return f"{sorted(different)} are not as the manifest says" if different else None


@dataclass
class Template:
    """A world as it is before the fault, to be made again and again.

    Parameters
    ----------
    name
        For the table.
    world
        Where it is made.
    churn
        How the inputs change between the fault and the next run.
    """

    name: str
    world: World
    churn: dict = field(default_factory=dict)
    before: dict = field(default_factory=dict)
    _copy: str = ""
    _letters: dict = field(default_factory=dict)

    def build(self, is_update, raw=FIRST, changes=UPDATE, **options):
        """Make it once: a raw folder, and for an update what was published of another one."""
        self.world.clear()
        self.world.write(raw)
        if is_update:
            outcome = self.world.run(**options)
            if not outcome.is_good:
                raise RuntimeError(f"A plain run does not work here: {outcome}")
            self.before = self.world.visible()
            self.world.write(changes)
        self._copy = os.path.join(self.world.scratch, f"template-{self.name}")
        self._letters = dict(self.world.letters)
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self.world.root, self._copy, symlinks=True)
        return self

    def restore(self):
        """Make it again."""
        self.world.clear()
        shutil.copytree(self._copy, self.world.root, symlinks=True)
        self.world.letters = dict(self._letters)


def seen_after_a_fault(world, before, *, has_links=True):
    """What is wrong with what can be seen after a run was cut short.

    Parameters
    ----------
    world
        The world.
    before
        What could be seen before that run.
    has_links
        The file system has hard links, so that a file that is replaced can be seen at any time.
    """
    after, seen = world.expected(), world.visible()
    problems = []
    for path, content in seen.items():
        if content not in {before.get(path), after.get(path)}:
            problems.append(f"{path} is neither old nor new: {content[:40]!r}, {len(content)} characters")
    if seen and has_links:
        problems += [f"{path} is gone" for path in before.keys() & after.keys() if path not in seen]
    if not before and seen and seen != after:
        problems.append("a part of a first build can be seen")
    return problems


def believed(world, **options):
    """What is wrong with what complete() says."""
    outcome = children.call(driver.is_complete, world.root, environ=world.environ, **options)
    if not outcome.is_good:
        return [f"complete() raised {outcome}"]
    if outcome.value and world.visible() != world.expected():
        return ["complete() is true of a wrong directory"]
    if outcome.value and world.differs_from_manifest():
        return [f"complete() is true, but {world.differs_from_manifest()}"]
    return []


def runs_to_the_end(world, *, done=None, again=0, **options):
    """What is wrong with the next run, and the one after it.

    Parameters
    ----------
    world
        The world.
    done
        Keys of the items that are done; None where work that is done twice is not counted.
    again
        How many of them may be done again.
    """
    world.forget_work()
    outcome = world.run(**options)
    if not outcome.is_good:
        return [f"the next run {outcome}"]
    problems = []
    if world.visible() != world.expected():
        problems.append("the next run has published a wrong directory")
    if world.differs_from_manifest():
        problems.append(f"after the next run {world.differs_from_manifest()}")
    if not children.call(driver.is_complete, world.root, environ=world.environ, **options).value:
        problems.append("after the next run complete() is false")
    if world.litter():
        problems.append(f"after the next run there is litter: {world.litter()}")
    if done is not None and CAN_RESUME:
        twice = sorted((Counter(done) & Counter(world.work())).elements())
        if len(twice) > again:
            problems.append(f"{len(twice)} items were processed twice, where {again} may be: {twice}")
    return problems + _is_at_rest(world, outcome.value, **options)


def _is_at_rest(world, generation, **options):
    world.forget_work()
    outcome = world.run(**options)
    if not outcome.is_good:
        return [f"the third run {outcome}"]
    problems = []
    if outcome.value != generation:
        problems.append(f"the third run has published generation {outcome.value} after {generation}")
    if world.work():
        problems.append(f"the third run has processed {sorted(world.work())}")
    if world.litter():
        problems.append(f"after the third run there is litter: {world.litter()}")
    return problems
