"""A tracer: goes from a file back to what it was made from, and on to what was made of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from luisy_dir.entry import Entry, OutputFile
from luisy_dir.errors import BusyError, InputError, ManifestError, MissingInputError, UnknownPathError
from luisy_dir.item import Source, text_of
from luisy_dir.lineage.asking import asked_place, find_item, manifest_of, warnings_of
from luisy_dir.lineage.directories import Directories, Root, default_within
from luisy_dir.lineage.graph import Edge, Node, Trace, in_order
from luisy_dir.lineage.places import (
    FileNow,
    Place,
    outputs_of,
    place_of,
    presence_of,
    sources_of,
    with_real_folder,
)
from luisy_dir.manifest import Manifest
from luisy_dir.unpacking import entry_of_output

_MOST_LAYERS = 100  # pipelines have a handful, but what an enemy writes into manifests may lead on for ever


class _Item:
    """An item of a published directory, and what has become of its files."""

    def __init__(self, manifest: Manifest, entry: Entry) -> None:
        self.manifest = manifest
        self.entry = entry

    @cached_property
    def sources(self) -> tuple[FileNow, ...]:
        return sources_of(self.manifest.directory, self.manifest.record, self.entry)

    @cached_property
    def outputs(self) -> tuple[FileNow, ...]:
        return outputs_of(self.manifest.directory, self.entry)

    @property
    def is_current(self) -> bool | None:
        states = {source.state for source in self.sources}
        return None if "unknown" in states or not states else states == {"unchanged"}


@dataclass(frozen=True)
class _Found:
    """A node, and what is known of it: of a raw file nothing."""

    id: str
    node: Node
    item: _Item | None = None
    output: OutputFile | None = None


class _Tracer:
    """Gathers nodes and edges, and comes to each node once, whatever circles manifests draw."""

    def __init__(self, directories: Directories) -> None:
        self._directories = directories
        self._items: dict[tuple[str, str], _Item] = {}
        self._found: dict[str, _Found] = {}
        self._edges: dict[tuple[str, str], str] = {}

    # -- what lies where ------------------------------------------------------------------------------------------

    def file_at(self, path: str) -> _Found:
        """What lies, or lay, at an absolute path."""
        id = with_real_folder(path)
        if id not in self._found:
            self._found[id] = self._look_up(id, path)
        return self._found[id]

    def _look_up(self, id: str, path: str) -> _Found:
        try:
            place = place_of(path)
        except InputError:  # a part of a manifest, which no run reads as an item
            place = Place(path)
        if place.directory is None:
            return _Found(id, Node(path, "raw", state=presence_of(path)))
        manifest = self._directories.manifest_in(place.directory)
        item = None if manifest is None else self._item_of_output(manifest, place.name)
        if item is None:
            state = "gone" if presence_of(path) == "gone" else "unknown"
            return _Found(id, replace(_node(path, "output", manifest), state=state))
        return self._of_output(item, id, path, place.name)

    def _item_of_output(self, manifest: Manifest, name: str) -> _Item | None:
        try:
            entry = entry_of_output(manifest, name)
        except (ManifestError, BusyError) as error:
            self._directories.warn(f"{manifest.directory!r} is left out. {error}")
            return None
        return None if entry is None else self._item(manifest, entry)

    def _item(self, manifest: Manifest, entry: Entry) -> _Item:
        return self._items.setdefault((manifest.directory, entry.key), _Item(manifest, entry))

    def _of_output(self, item: _Item, id: str, path: str, name: str) -> _Found:
        output, state = next(
            (output, now.state)
            for output, now in zip(item.entry.outputs, item.outputs, strict=True)
            if output.path == name
        )
        return _Found(id, replace(_node(path, "output", item.manifest, item), state=state), item, output)

    def nodes_of(self, manifest: Manifest, entry: Entry) -> list[_Found]:
        """The outputs of an item; where there are none, the item itself."""
        item, directory = self._item(manifest, entry), manifest.directory
        if not entry.outputs:
            path = f"{directory}/{entry.key}"
            id = f"item\n{path}"  # an output of another item may have this path
            return [self._found.setdefault(id, _Found(id, _node(path, "item", manifest, item), item))]
        found = []
        for output, now in zip(entry.outputs, item.outputs, strict=True):
            path = now.path or f"{directory}: {output.path}"  # one that leads out of it
            id = path if now.path is None else with_real_folder(path)
            if id not in self._found:
                node = replace(_node(path, "output", manifest, item), state=now.state)
                self._found[id] = _Found(id, node, item, output)
            found.append(self._found[id])
        return found

    # -- on the way -----------------------------------------------------------------------------------------------

    def go_back(self, starts: list[_Found]) -> None:
        """Add what some files were made from, down to the raw ones."""
        self._go(starts, lambda level: (source for target in level for source in self._sources_of(target)))

    def go_on(self, starts: list[_Found], roots: list[Root]) -> None:
        """Add what was made of some files.

        Parameters
        ----------
        starts
            The files.
        roots
            Where directories read from that may have been made of them.
        """
        self._go(starts, lambda level: (target for root in roots for target in self._made_of(level, root)))

    def _go(self, starts: list[_Found], further: Callable[[list[_Found]], Iterable[_Found]]) -> None:
        level, seen = starts, {found.id for found in starts}
        for _ in range(_MOST_LAYERS):
            reached = {found.id: found for found in further(level)}
            level = [found for id, found in reached.items() if id not in seen]
            if not level:
                return
            seen |= reached.keys()
        self._directories.warn(f"There is more than {_MOST_LAYERS} layers away, which is left out.")

    def _sources_of(self, target: _Found) -> Iterator[_Found]:
        if target.item is None:
            return
        item = target.item
        for warning in warnings_of(item.manifest, item.entry):
            self._directories.warn(warning)
        for now in item.sources:
            source = self._unknown(item, now) if now.path is None else self.file_at(now.path)
            self._edges[source.id, target.id] = _state_of(now, source)
            yield source

    def _unknown(self, item: _Item, now: FileNow) -> _Found:
        """A source of which the manifest does not tell where it lies, or tells that it lies outside its root."""
        assert isinstance(now.file, Source)  # noqa: S101 - not an output
        path = f"{now.file.root}: {now.file.path}"
        id = f"unknown\n{item.manifest.directory}\n{path}"
        return self._found.setdefault(id, _Found(id, Node(path, "unknown")))

    def _made_of(self, level: list[_Found], root: Root) -> Iterator[_Found]:
        files = [found for found in level if found.node.kind in {"raw", "output"}]
        paths = {root.path_of(found.node.path, found.id): found for found in files}
        wanted = {text_of(path): found for path, found in paths.items() if path is not None}
        if not wanted:
            return
        for manifest, entry in self._directories.made_from(root, {text for text, _ in wanted}):
            for now in self._item(manifest, entry).sources:
                file = now.file
                if not isinstance(file, Source) or file.root != root.name:
                    continue
                source = wanted.get((file.path, file.encoded))
                if source is not None:
                    yield from self._link(source, now, self.nodes_of(manifest, entry))

    def _link(self, source: _Found, now: FileNow, targets: list[_Found]) -> list[_Found]:
        self._edges |= {(source.id, target.id): _state_of(now, source) for target in targets}
        return targets

    # -- the result -----------------------------------------------------------------------------------------------

    def trace(self, path: str, within: str, asked: list[_Found]) -> Trace:
        """All nodes and edges that were come by."""
        asked_ids = {found.id for found in asked}
        ids = list(dict.fromkeys([*asked_ids, *(id for edge in self._edges for id in edge)]))
        number = {id: place for place, id in enumerate(ids)}
        order = in_order(len(ids), [(number[source], number[target]) for source, target in self._edges])
        place_of_id = {ids[number]: place for place, number in enumerate(order)}
        nodes = [replace(self._found[id].node, is_asked=id in asked_ids) for id in place_of_id]
        edges = [Edge(place_of_id[one], place_of_id[other], state) for (one, other), state in self._edges.items()]
        edges.sort(key=lambda edge: (edge.source, edge.target))
        return Trace(path, within, tuple(nodes), tuple(edges), tuple(self._directories.warnings))


def _node(path: str, kind: str, manifest: Manifest | None, item: _Item | None = None) -> Node:
    if manifest is None:
        return Node(path, kind)
    record = manifest.record
    node = Node(
        path,
        kind,
        task=record.task,
        parameters=record.parameters,
        generation=record.generation,
        is_pinned=record.pinned,
    )
    if item is None:
        return node
    entry = item.entry
    return replace(node, key=entry.key, status=entry.status, seconds=entry.seconds, is_current=item.is_current)


def _state_of(now: FileNow, source: _Found) -> str:
    """What has become of a source since: where its own task has made it anew, its manifest has another digest."""
    if now.state == "unchanged" or source.output is None or now.file.digest is None:
        return now.state
    return "earlier version" if source.output.digest != now.file.digest else now.state


def trace(
    path: str | os.PathLike[str],
    within: str | os.PathLike[str] | None = None,
    *,
    back: bool = True,
    forward: bool = True,
) -> Trace:
    """Find what a file was made from, down to the raw files, and all that was made of it; runs nothing.

    Parameters
    ----------
    path
        A raw file, be it gone by now; a file in a published directory; or the key of an item below that directory.
    within
        Folder below which to look for what was made of it. By default the current directory where it holds the path,
        or the folder of the project, which is the nearest one above the path that holds ``interim`` or ``final``,
        whichever is wider; else the folder that the published directory, or the folder of the raw file, lies in.
    back, forward
        Which way to go.

    Raises
    ------
    UnknownPathError
        Nothing is known of the path.
    MissingInputError
        There is no folder ``within``.
    InputError
        It is a folder, a part of a manifest, or lies in a staging.
    ManifestError
        The manifest of the directory that the path lies in is damaged, or cannot be read. Of any other directory that
        is a warning.

    Examples
    --------
    >>> trace("/nowhere/cat.png", "/nowhere")
    Traceback (most recent call last):
    luisy_dir.errors.MissingInputError: There is no folder '/nowhere'. Is the path right, and is the disk mounted?
    """
    place = asked_place(path)
    below = default_within(place) if within is None else os.path.abspath(os.fspath(within))
    if within is not None and not os.path.isdir(below):
        raise MissingInputError(f"There is no folder {below!r}. Is the path right, and is the disk mounted?")
    directories = Directories()
    tracer = _Tracer(directories)
    asked, missing = _asked(tracer, directories, place, below)
    if back:
        tracer.go_back(asked)
    if forward:
        tracer.go_on(asked, list(directories.roots_below(below)))
    found = tracer.trace(place.path, below, asked)
    if missing is not None and not found.edges:
        raise missing
    return replace(found, back=back, forward=forward)


def _asked(
    tracer: _Tracer, directories: Directories, place: Place, within: str
) -> tuple[list[_Found], UnknownPathError | None]:
    """What was asked for; and an error for the case that nothing was made of what is not there."""
    if place.directory is None:
        if os.path.lexists(place.path):
            return [tracer.file_at(place.path)], None
        return [tracer.file_at(place.path)], UnknownPathError(
            f"Nothing is known of {place.path!r}: there is no such file, and nothing that is published below "
            f"{within!r} was made of it. 'luisy-dir trace PATH --within FOLDER' looks elsewhere."
        )
    manifest = manifest_of(place.directory)
    directories.add(manifest)
    try:
        found = find_item(manifest, place)
    except UnknownPathError as error:  # its item is no more, and what was made of it may still be there
        return [tracer.file_at(place.path)], error
    for warning in found.warnings:
        directories.warn(warning)
    if found.kind == "output":
        return [tracer.file_at(place.path)], None
    return tracer.nodes_of(manifest, found.entry), None
