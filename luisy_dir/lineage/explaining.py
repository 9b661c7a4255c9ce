"""An explanation: how and why one output, or one item, became what it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import msgspec

from luisy_dir.entry import Entry
from luisy_dir.errors import UnknownPathError
from luisy_dir.item import Source, printable
from luisy_dir.lineage.asking import asked_place, find_item, manifest_of, warnings_of
from luisy_dir.lineage.drawing import named_task, told_seconds
from luisy_dir.lineage.making import Making, making_of
from luisy_dir.lineage.places import FileNow, outputs_of, sources_of
from luisy_dir.record import CodeUnit, Record

_SHORT_DIGEST = 12


@dataclass(frozen=True)
class Why:
    """How and why an output, or an item, became what it is, as the manifest of its directory tells.

    Parameters
    ----------
    path
        What was asked for, as an absolute path.
    kind
        ``output``, ``item`` (the path is a key below the directory), or ``raw``: a file in no published directory, of
        which all that follows is empty.
    directory
        The published directory.
    record
        Of the generation that is published: task, parameters, layer, fingerprint, pinned or not.
    entry
        Of the item: key, status, meta, error, seed, started, seconds, attempts, worker.
    making
        In which generation the entry was made, and why.
    sources
        What the item was read from, and whether the files are as they were then.
    outputs
        What was written for the item, and whether the files are as they were written.
    code
        Each definition and constant that the generation was made with in which the entry was made, by name.
    warnings
        What could not be told, and why.

    Examples
    --------
    >>> print(Why("/data/raw/cat.png", "raw"))
    /data/raw/cat.png is an input: it lies in no published directory. 'luisy-dir trace' shows what was made of it.
    """

    path: str
    kind: str
    directory: str | None = None
    record: Record | None = None
    entry: Entry | None = None
    making: Making | None = None
    sources: tuple[FileNow, ...] = ()
    outputs: tuple[FileNow, ...] = ()
    code: Mapping[str, CodeUnit] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def targets(self) -> dict[str, str]:
        """Digest of each required task that is no directory, such as a model, by name."""
        inputs = {} if self.record is None else self.record.inputs
        return {name: state.state for name, state in inputs.items() if state.kind == "target"}

    def as_dict(self) -> dict[str, Any]:
        """All facts as plain values, for JSON; of a raw file those alone that there are."""
        facts: dict[str, Any] = {"path": self.path, "kind": self.kind, "warnings": list(self.warnings)}
        record, entry = self.record, self.entry
        if record is None or entry is None or self.making is None:
            return facts
        named = msgspec.to_builtins(msgspec.structs.replace(entry, sources=(), outputs=()))
        return facts | {
            "directory": self.directory,
            "task": record.task,
            "parameters": record.parameters,
            "layer": record.layer,
            "generation": record.generation,
            "is_pinned": record.pinned,
            "made": self.making.as_dict(),
            **named,
            "sources": [source.as_dict() for source in self.sources],
            "targets": self.targets,
            "outputs": [output.as_dict() for output in self.outputs],
            "fingerprint": record.fingerprint,
            "code": {name: msgspec.to_builtins(unit) for name, unit in self.code.items()},
        }

    def __str__(self) -> str:
        return "\n".join(printable(line) for line in self._lines())

    def _lines(self) -> Iterator[str]:
        record, entry = self.record, self.entry
        if record is None or entry is None:
            told = "is an input: it lies in no published directory. 'luisy-dir trace' shows what was made of it."
            yield f"{self.path} {told}"
        else:
            yield self.path
            for name, value in self._facts(record, entry):
                yield f"  {name:<11} {value}"
        for warning in self.warnings:
            yield f"Note: {warning}"

    def _facts(self, record: Record, entry: Entry) -> Iterator[tuple[str, str]]:
        started = entry.started.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        yield "item", f"{entry.key}, {entry.status}"
        yield "task", named_task(record.task, record.parameters) + (f", {record.layer}" if record.layer else "")
        yield "published", f"in generation {record.generation}" + (", which is pinned" if record.pinned else "")
        yield "made", str(self.making)
        yield "when", f"{started} UTC, in {told_seconds(entry.seconds)}, by worker {entry.worker}{_tried(entry)}"
        for source in self.sources:
            yield "source", _told(source, "read")
            yield "", source.path or "it is not known where that lies"
        for name, digest in self.targets.items():
            yield "target", f"{name}, digest {_short(digest)}"
        for output in self.outputs:
            yield "output", _told(output, "written")
        yield "fingerprint", _short(record.fingerprint)
        if self.code:
            yield "code", ", ".join(f"{name} {_short(unit.digest)}" for name, unit in self.code.items())
        if entry.seed is not None:
            yield "seed", str(entry.seed)
        for name, value in entry.meta.items():
            yield "meta", f"{name} = {value}"
        if entry.error is not None:
            yield "error", f"{entry.error.type}: {entry.error.message}"


def _tried(entry: Entry) -> str:
    return f", at attempt {entry.attempts}" if entry.attempts > 1 else ""


def _told(now: FileNow, verb: str) -> str:
    file = now.file
    name = f"{file.root}: {file.name}" if isinstance(file, Source) else file.path
    shape = "" if isinstance(file, Source) or file.shape is None else f", shape {file.shape} of {file.dtype}"
    digest = "" if file.digest is None else f", digest {_short(file.digest)}"
    states = {
        "unchanged": f"as it was {verb}",
        "changed": f"changed since it was {verb}",
        "gone": f"gone since it was {verb}",
        "unknown": "cannot be looked at",
    }
    return f"{name}, {file.size:,} bytes{shape}{digest}: {states[now.state]}"


def _short(digest: str) -> str:
    return digest[:_SHORT_DIGEST]


def why(path: str | os.PathLike[str], *, deep: bool = False) -> Why:
    """Explain how and why one output, or one item, became what it is; runs nothing and imports no task.

    Parameters
    ----------
    path
        A file in a published directory, or the key of an item below that directory, as in
        ``data/pipeline/interim/ToNumpy/cats/chelsea``, so that failed, rejected and skipped items can be asked for.
        Where a path is both, the file is meant.
    deep
        Compare files by their digests even where size and time of change are as recorded.

    Raises
    ------
    UnknownPathError
        Nothing is known of the path.
    InputError
        It is a folder, a part of a manifest, or lies in a staging.
    ManifestError
        The manifest of its directory is damaged, or cannot be read.

    Examples
    --------
    >>> why("/nowhere/cat.npy")
    Traceback (most recent call last):
    luisy_dir.errors.UnknownPathError: Nothing is known of '/nowhere/cat.npy': ...
    """
    place = asked_place(path)
    if place.directory is None:
        if not os.path.lexists(place.path):
            raise UnknownPathError(
                f"Nothing is known of {place.path!r}: there is no such file, and it lies in no published directory. "
                "'luisy-dir ls' shows which there are, 'luisy-dir trace' what was made of a file that is gone."
            )
        return Why(place.path, "raw", warnings=_told_link(place.path))
    manifest = manifest_of(place.directory)
    found = find_item(manifest, place)
    entry, directory = found.entry, place.directory
    making, made = making_of(manifest, entry)
    return Why(
        path=place.path,
        kind=found.kind,
        directory=directory,
        record=manifest.record,
        entry=entry,
        making=making,
        sources=sources_of(directory, manifest.record, entry, deep=deep),
        outputs=outputs_of(directory, entry, deep=deep),
        code={} if isinstance(made.code, msgspec.UnsetType) else made.code,
        warnings=(*found.warnings, *warnings_of(manifest, entry), *_told_other_code(making)),
    )


def _told_other_code(making: Making) -> tuple[str, ...]:
    if not making.is_of_mixed_code:
        return ()
    told = f"Generation {making.generation} also has entries that were made with other code"
    return (f"{told}, and nothing tells whether this is one of them.",)


def _told_link(path: str) -> tuple[str, ...]:
    if not os.path.islink(path):
        return ()
    return (f"It is a link to {os.path.realpath(path)!r}; ask for that to hear of the file itself.",)
