"""The inputs of a directory task: what it requires, as items, as states and as parts of its fingerprint."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import luigi
import msgspec
from luigi.local_target import LocalFileSystem
from luigi.task import flatten

from luisy_dir import settings
from luisy_dir.code import of_function
from luisy_dir.differences import Differences, of_folder, of_published
from luisy_dir.entry import Entry
from luisy_dir.errors import DefinitionError, KeyCollisionError
from luisy_dir.fingerprint import fingerprint_of, is_opaque, state_sum
from luisy_dir.formats import Format
from luisy_dir.grouping import grouping_of
from luisy_dir.item import RACY_NS, Item, Source, key_of, list_files
from luisy_dir.keys import INNER, STRICT, check_matched, join, without_collisions
from luisy_dir.manifest import Manifest, key_of_output, published_items
from luisy_dir.record import InputState
from luisy_dir.step import Root
from luisy_dir.storage import local
from luisy_dir.targets.directory import DirectoryTarget, RawDirectoryTarget

_LOCAL = LocalFileSystem()
_OWN_FORMATS = Format.__module__


class Inputs:
    """What one task requires, as it is now.

    Manifests are read once, so that all answers of one object speak of the same generation.

    Parameters
    ----------
    task
        The task that requires.
    seed
        Its seed.

    Attributes
    ----------
    is_named : bool
        Whether the requirements have names, by which ``process`` gets their data.
    """

    def __init__(self, task: luigi.Task, seed: int = 0) -> None:
        required = task.requires()
        self.is_named = isinstance(required, Mapping)
        self._task = task
        self._seed = seed
        self._join = getattr(task, "join", INNER)
        self._grouping = grouping_of(task)
        named = required.items() if isinstance(required, Mapping) else _with_names(flatten(required))
        named = list(named)
        for name, required_task in named:
            if not isinstance(required_task, luigi.Task):
                raise DefinitionError(
                    f"{type(task).__name__}.requires() says {required_task!r} for {name!r}, which is no task. A "
                    "directory task requires one task, a list of tasks, or a dictionary of tasks."
                )
        outputs = {name: required_task.output() for name, required_task in named}
        self.raw = {name: target for name, target in outputs.items() if isinstance(target, RawDirectoryTarget)}
        self.published = {name: target for name, target in outputs.items() if isinstance(target, DirectoryTarget)}
        self.names = tuple(name for name in outputs if name in self.raw or name in self.published)
        self._listed: dict[str, list[tuple[str, int, int]]] = {}
        self._others = {name: target for name, target in outputs.items() if name not in self.names}
        self._selection = settings.selection(task)
        self._counted = ""

    def __str__(self) -> str:
        return self.where + (f" ({self._selection.name})" if self.is_selected else "")

    @property
    def where(self) -> str:
        """The directories, for messages."""
        return ", ".join(repr(target.path) for target in self._targets().values())

    def _targets(self) -> dict[str, RawDirectoryTarget | DirectoryTarget]:
        if not self.names:
            raise DefinitionError(
                f"{type(self._task).__name__} requires no directory, so it has no items. Decorate it with "
                "requires(SomeDirectory), where that is an ExternalTask with make_directory_output or a DirectoryTask."
            )
        return {name: self.raw.get(name) or self.published[name] for name in self.names}

    @cached_property
    def manifests(self) -> dict[str, Manifest]:
        """Manifests of the published directories, by name; MissingInputError where one was not published."""
        return {name: target.manifest(verify=False) for name, target in self.published.items()}

    def _verified(self, name: str) -> Manifest:
        """The manifest of a published directory whose entries are to be read."""
        manifest = self.manifests[name]
        manifest.verify()
        return manifest

    @property
    def folders(self) -> dict[str, str]:
        """Absolute path of each directory, by name."""
        return {name: target.path for name, target in self._targets().items()}

    def roots(self) -> tuple[Root, ...]:
        """Directories and how their files are read, in the order of the arguments of ``process``."""
        return tuple(
            Root(name, target.path, target.reader if isinstance(target, DirectoryTarget) else target.read_file)
            for name, target in self._targets().items()
        )

    @property
    def is_grouped(self) -> bool:
        """Whether several files of one directory may be one item."""
        return self._grouping is not None

    def items(self, manifest: Manifest | None = None, *, whole: bool = False) -> Iterator[Item]:
        """Items as they are now, grouped and joined by key, in key order.

        Parameters
        ----------
        manifest
            Of an earlier run of the task: saves asking the reader again which files it skips.
        whole
            All items, whatever selection is made of them.

        Raises
        ------
        KeyCollisionError
            Two files of one directory would be written as one output.
        UnmatchedKeysError
            A directory lacks a key that another one has, where ``join`` is strict.
        DefinitionError
            ``group_by`` raised, or returned no key.
        """
        skips = _Skips(manifest, self._targets())
        each = {name: self._items_of(name, skips) for name in self._targets()}
        if self._join == STRICT and len(each) > 1:
            known = {name: list(items) for name, items in each.items()}
            check_matched(known, self.folders, skips)
            each = {name: iter(items) for name, items in known.items()}
        items = next(iter(each.values())) if len(each) == 1 else join([*each.values()], self.folders, self._seed)
        return self._selected(items) if self.is_selected and not whole else items

    @property
    def is_selected(self) -> bool:
        """Whether a selection is made of these inputs: not where all of them hold what was made of one."""
        return not self._selection.is_all and len(self._of_selection) < len(self.names)

    @cached_property
    def _of_selection(self) -> frozenset[str]:
        """Names of the directories that hold what was made of the selection, all of which is taken."""
        return frozenset(name for name, target in self.published.items() if self._selection.has_made(target.path))

    def _selected(self, items: Iterable[Item]) -> Iterator[Item]:
        whole = list(items)
        if self._of_selection:  # their keys need not be those of raw folders
            taken = [item for item in whole if any(source.root in self._of_selection for source in item.sources)]
        else:
            taken = list(self._selection.select(whole, self.where))
        self._counted = f"only {len(taken)} of {len(whole)} items, "
        return iter(taken)

    @property
    def note(self) -> str:
        """That a run takes a few items only, and where its result goes; empty where it takes all."""
        if self._selection.is_all:
            return ""
        folder = self._selection.folder_in(settings.resolve("working_dir", self._task))
        return f"{self._selection.name}: {self._counted}below {folder!r}, which is not the complete result"

    def _items_of(self, name: str, skips: _Skips) -> Iterator[Item]:
        if self._grouping is not None:
            return self._grouping.groups(self._files_as_items(name))
        if name in self.raw:
            return without_collisions(self._files_as_items(name), skips)
        return _unique(self._files_as_items(name))

    def _files_as_items(self, name: str) -> Iterable[Item]:
        """One item for each file of a directory, in key order; several may have one key."""
        if name in self.raw:
            return self.raw[name].scan(name, self._seed)
        suffix = self.published[name].format.suffix
        return published_items(self._verified(name), suffix, root=name, seed=self._seed)

    def recorded_states(self) -> dict[str, InputState]:
        """State of everything but raw folders, whose state is summed up from what was really read."""
        published = {
            name: InputState("directory", manifest.record.outputs_digest) for name, manifest in self.manifests.items()
        }
        return published | {name: InputState("target", digest) for name, digest in self._digests_of_others.items()}

    @cached_property
    def _digests_of_others(self) -> dict[str, str]:
        return {name: _digest_of_targets(output) for name, output in self._others.items()}

    def recorded_states_equal(self, states: Mapping[str, InputState]) -> bool:
        """Whether everything but raw folders is as recorded; raw folders are not looked at."""
        now = {name: (state.kind, state.state) for name, state in self.recorded_states().items()}
        return now == {name: (state.kind, state.state) for name, state in states.items() if state.kind != "raw"}

    def changed_roots(self, states: Mapping[str, InputState], start_ns: int) -> list[str] | None:
        """Names of the directories that are not surely as they were, without a look at a single entry.

        Parameters
        ----------
        states
            As recorded.
        start_ns
            When the run that recorded them began: a file that changed just before may have changed again unseen.

        Returns
        -------
        list of str or None
            None where other directories were read, or a selection of their items.
        """
        if self.is_selected or not all(name in states for name in self.names):
            return None
        return [name for name in self.names if not self._is_as_it_was(name, states[name], start_ns)]

    def _is_as_it_was(self, name: str, then: InputState, start_ns: int) -> bool:
        if name in self.published:
            return (then.kind, then.state) == ("directory", self.manifests[name].record.outputs_digest)
        if then.newest_mtime_ns > start_ns - RACY_NS:
            return False
        files = self.files_of(name)
        return _are_as_they_were(files, then) or (
            self._grouping is not None
            and not any("%" in path for path, _, _ in files)  # which may be spelled in another way than in its key
            and _are_as_they_were(self._grouping.members(files), then)
        )

    def files_of(self, name: str) -> list[tuple[str, int, int]]:
        """Path, size and mtime of the files of a raw folder, in any order, as this object saw them first."""
        if name not in self._listed:
            self._listed[name] = list(self.raw[name].files())
        return self._listed[name]

    def differences(self, manifest: Manifest) -> Differences | None:
        """What differs from what a manifest says was read, where that was one directory.

        Returns
        -------
        Differences or None
            None where that cannot be told from the states of files alone.
        """
        if self._grouping is not None:
            return None
        (name,) = self.names
        if name in self.raw:
            record = manifest.record
            newest_ns = record.inputs[name].newest_mtime_ns
            return of_folder(manifest, name, self.files_of(name), record.start_ns - RACY_NS, newest_ns)
        return of_published(manifest, name, self._verified(name), self.published[name].format.suffix)

    def items_of(self, entries: Iterable[Entry], differences: Differences) -> list[Item]:
        """Items of some entries as they are now, and of the sources that no entry has, in key order.

        Parameters
        ----------
        entries
            Entries of an earlier run.
        differences
            What differs; all else is as it was.
        """
        items = [self._item(source, key) for key, source in differences.new.items()]
        for entry in entries:
            if entry.key not in differences.keys:
                seen = tuple(self._unread(source) for source in entry.sources)
                items.append(self.item_of(entry.key, seen))
                continue
            now = differences.sources.get(entry.sources[0].path)
            if now is not None:
                items.append(self._item(now, entry.key))
        return sorted(items, key=lambda item: item.key)

    def _item(self, source: Source, key: str) -> Item:
        return Item(key, (source,), self.folders, self._seed)

    def _unread(self, source: Source) -> Source:
        """A source as a look at its directory would find it: what a raw file holds is not known then."""
        return msgspec.structs.replace(source, digest=None) if source.root in self.raw else source

    def functions(self) -> dict[str, Callable[..., Any]]:
        """The user's own functions that read files, by name."""
        found: dict[str, Callable[..., Any]] = {}
        for name, target in self._targets().items():
            if isinstance(target, RawDirectoryTarget):
                found[f"the reader of {name}"] = target.read_file
            else:
                found |= functions_of_format(target.format, "read")
        return found

    def item_of(self, key: str, sources: tuple[Source, ...]) -> Item:
        """The item of a key that is read from these sources."""
        return Item(key, sources, self.folders, self._seed, self._member_keys(sources))

    def _member_keys(self, sources: Iterable[Source]) -> tuple[str, ...]:
        """Key of each member of a group; nothing where there are no groups."""
        return tuple(self._key_of(source) for source in sources) if self.is_grouped else ()

    def _key_of(self, source: Source) -> str:
        if source.root in self.raw:
            return key_of(source.name)
        return key_of_output(source.path, self.published[source.root].format.suffix)

    def parts(self) -> dict[str, Any]:
        """What the fingerprint says of the inputs: how they are read and put together, which are taken, and so on."""
        read = {name: _of_reader(target) for name, target in self._targets().items()}
        parts: dict[str, Any] = {"read": read, "targets": self._digests_of_others}
        if not self._selection.is_all:
            parts["selection"] = self._selection.name
        if self._join != INNER:
            parts["join"] = self._join
        if self._grouping is not None:
            parts["group_by"] = self._grouping.fingerprint
        return parts


class _Skips:
    """Whether the reader skips an item's file: as recorded where nothing changed since, else by asking it."""

    def __init__(self, manifest: Manifest | None, targets: Mapping[str, RawDirectoryTarget | DirectoryTarget]) -> None:
        self._manifest = manifest
        self._targets = targets

    @cached_property
    def _recorded(self) -> dict[tuple[str, str, int, int], bool]:
        if self._manifest is None:
            return {}
        racy_from_ns = self._manifest.record.start_ns - RACY_NS
        alone = ((entry.status, entry.sources[0]) for entry in self._manifest.entries() if len(entry.sources) == 1)
        return {
            (source.root, source.path, source.size, source.mtime_ns): status == "skipped"
            for status, source in alone
            if source.mtime_ns <= racy_from_ns and (status == "skipped" or source.digest is not None)
        }

    def __call__(self, item: Item) -> bool:
        return all(self._is_skipped(source, item) for source in item.sources)

    def _is_skipped(self, source: Source, item: Item) -> bool:
        recorded = self._recorded.get((source.root, source.path, source.size, source.mtime_ns))
        if recorded is not None:
            return recorded
        target = self._targets[source.root]
        if not isinstance(target, RawDirectoryTarget):  # what a task has written is an item
            return False
        try:
            return target.skips(item.path_of(source))
        except Exception:  # noqa: BLE001 - a file that cannot be read is an item that fails, not one that is skipped
            return False


def _are_as_they_were(files: Iterable[tuple[str, int, int]], then: InputState) -> bool:
    now = state_sum(files)
    return (then.state, then.count) == (now.hexdigest(), now.count)


def _with_names(tasks: list[luigi.Task]) -> list[tuple[str, luigi.Task]]:
    families = [task.get_task_family() for task in tasks]
    return [
        (family if families.count(family) == 1 else task.task_id, task)
        for family, task in zip(families, tasks, strict=True)
    ]


def _unique(items: Iterable[Item]) -> Iterator[Item]:
    previous = None
    for item in items:
        if previous is not None and previous.key == item.key:
            raise KeyCollisionError(
                f"{previous.sources[0].path!r} and {item.sources[0].path!r} in {item.folders[item.sources[0].root]!r} "
                f"have the same key {item.key!r}. Let the task that writes them give its outputs keys of their own."
            )
        yield item
        previous = item


def _of_reader(target: RawDirectoryTarget | DirectoryTarget) -> list[str]:
    if isinstance(target, RawDirectoryTarget):
        return [of_function(target.read_file), target.regex_pattern or ""]
    return of_format(target.format, "read")


def of_format(format: Format, verb: str) -> list[str]:
    """What the fingerprint says of a format: the suffix, and for a user's own format what the function does."""
    return [format.suffix, *map(of_function, functions_of_format(format, verb).values())]


def functions_of_format(format: Format, verb: str) -> dict[str, Callable[..., Any]]:
    """A function of a user's own format, by name; nothing for one of ours."""
    function: Callable[..., Any] = getattr(format, verb)
    is_ours = getattr(function, "__module__", None) == _OWN_FORMATS
    return {} if is_ours else {f"the {verb} function of {format.suffix}": function}


def _digest_of_targets(output: object) -> str:
    """Digest of what a task that is no directory task has made: of one target, or of many in lists and dicts."""
    digests = [_digest_of_target(target) for target in flatten(output)]
    if len(digests) == 1:
        return digests[0]
    opaque = next((digest for digest in digests if is_opaque(digest)), None)
    return opaque or fingerprint_of({"targets": digests})


def _digest_of_target(target: object) -> str:
    path = str(getattr(target, "path", ""))
    if not isinstance(getattr(target, "fs", _LOCAL), LocalFileSystem):  # its path means nothing on this disk
        return f"opaque:{type(target).__qualname__}"
    try:
        if os.path.isdir(path):
            return state_sum(list_files(path)).hexdigest()
        return local.digest_of(path)[0]
    except OSError:
        return f"opaque:{type(target).__qualname__}"
