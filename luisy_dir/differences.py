"""Differences: of which items the files of one directory differ from what a manifest says was read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Any

from luisy_dir.entry import Entry
from luisy_dir.item import Source, key_of
from luisy_dir.manifest import FileContent, FileState, Manifest, as_source, key_of_output


@dataclass(frozen=True)
class Differences:
    """What differs in one directory.

    Parameters
    ----------
    keys
        Of entries with a source that is gone, or is not as it was, or in doubt.
    sources
        Those sources as they are now, by path; what is gone is not there.
    new
        Sources that no entry has, by the key that they would have.
    """

    keys: set[str] = field(default_factory=set)
    sources: dict[str, Source] = field(default_factory=dict)
    new: dict[str, Source] = field(default_factory=dict)


_content_of = attrgetter("path", "digest")
_sources_of, _outputs_of = attrgetter("sources"), attrgetter("outputs")


def of_folder(
    manifest: Manifest, root: str, files: Collection[tuple[str, int, int]], racy_from_ns: int, newest_ns: int
) -> Differences | None:
    """Compare the files of a raw folder with the sources in a manifest.

    Parameters
    ----------
    manifest
        Of the directory that was made from that folder alone.
    root
        Name of the folder.
    files
        Path, size in bytes and mtime in nanoseconds of its files as they are now.
    racy_from_ns
        A file that changed after this may have changed again unseen.
    newest_ns
        None of the sources in the manifest changed after this.

    Returns
    -------
    Differences or None
        None where keys collide, or might: each item must be looked at then.
    """
    entries = manifest.files("sources", FileState)
    now = {file[0]: file for file in files}
    get, gone = now.get, (None, None, None)
    then = [*chain.from_iterable(map(_sources_of, entries))]
    altered = {
        source.path
        for source in then
        if (file := get(source.path, gone))[2] != source.mtime_ns or file[1] != source.size
    }
    if newest_ns > racy_from_ns:
        altered |= {path for path, _, mtime_ns in files if mtime_ns > racy_from_ns}
    there = {path: Source(root, *now[path]) for path in altered & now.keys()}
    if len(now) != len(then) - len(altered - now.keys()):
        known = {source.path for source in then}
        there |= {path: Source(root, *file) for path, file in now.items() if path not in known}
        altered &= known
    if len(now) < len(files) or any("%" in path for path in there):  # a name may be spelled in another way
        return None
    return _sorted_out(altered, there, entries, key_of)


def _sorted_out(
    altered: set[str], there: Mapping[str, Source], entries: Iterable[Any], key_of_path: Callable[[str], str]
) -> Differences | None:
    """Differences where some sources are altered or gone, and others are there; None where keys collide."""
    keys = {entry.key for entry in entries for source in entry.sources if source.path in altered} if altered else set()
    fresh = there.keys() - altered
    new = {key_of_path(path): there[path] for path in fresh}
    if len(new) < len(fresh) or (new and any(entry.key in new for entry in entries)):
        return None
    return Differences(keys, {path: there[path] for path in there.keys() & altered}, new)


def of_published(manifest: Manifest, root: str, upstream: Manifest, suffix: str) -> Differences | None:
    """Compare the outputs of a published directory with the sources in a manifest, by their digests.

    Parameters
    ----------
    manifest
        Of the directory that was made from that one alone.
    root
        Name of the published directory.
    upstream
        Its manifest.
    suffix
        Of its task.

    Returns
    -------
    Differences or None
        None where keys collide: each item must be looked at then.
    """
    outputs, entries = upstream.files("outputs", FileContent), manifest.files("sources", FileContent)
    then = set(map(_content_of, chain.from_iterable(map(_sources_of, entries))))
    now = set(map(_content_of, chain.from_iterable(map(_outputs_of, outputs))))
    altered, wanted = {path for path, _ in then - now}, {path for path, _ in now - then}
    of_wanted = {entry.key for entry in outputs for file in entry.outputs if file.path in wanted} if wanted else set()
    there = _sources(upstream.entries_of(of_wanted), root, wanted)
    return _sorted_out(altered, there, entries, lambda path: key_of_output(path, suffix))


def _sources(entries: Iterable[Entry], root: str, paths: Collection[str]) -> dict[str, Source]:
    return {
        output.path: as_source(output, root) for entry in entries for output in entry.outputs if output.path in paths
    }
