"""A verification: how a published directory differs from its manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from luisy_dir.entry import OutputFile
from luisy_dir.errors import MissingInputError, StorageError
from luisy_dir.item import scan
from luisy_dir.manifest import Manifest, read_manifest
from luisy_dir.packs import digest_of_output

_EXAMPLES = 3


@dataclass(frozen=True)
class Verification:
    """How a published directory differs from its manifest.

    Parameters
    ----------
    missing
        Paths of outputs, or of packs of them, that are not there.
    changed
        Paths of those that are not as they were written.
    foreign
        Paths of files that the manifest does not know.
    files
        Number of files in the manifest.

    Examples
    --------
    >>> print(Verification(missing=("a.npy",), changed=(), foreign=(), files=24))
    24 files: 1 missing
      missing: 'a.npy'
    >>> print(Verification((), (), (), files=24))
    24 files: all are as they were written
    """

    missing: tuple[str, ...]
    changed: tuple[str, ...]
    foreign: tuple[str, ...]
    files: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether the directory holds what its manifest says, and nothing else."""
        return not (self.missing or self.changed or self.foreign)

    @property
    def is_as_written(self) -> bool:
        """Whether all outputs are there as they were written, whatever lies beside them."""
        return not (self.missing or self.changed)

    @property
    def differences(self) -> dict[str, tuple[str, ...]]:
        """Paths by what is the matter with them; empty where the directory is whole."""
        named = {"missing": self.missing, "changed": self.changed, "foreign": self.foreign}
        return {name: paths for name, paths in named.items() if paths}

    @property
    def summary(self) -> str:
        """Numbers of files, on one line."""
        counts = ", ".join(f"{len(paths)} {name}" for name, paths in self.differences.items())
        return f"{self.files} files: {counts or 'all are as they were written'}"

    def __str__(self) -> str:
        return "\n".join([self.summary, *(f"  {name}: {few(paths)}" for name, paths in self.differences.items())])


def few(paths: tuple[str, ...]) -> str:
    """The first of many paths or keys, on one line."""
    return ", ".join(map(repr, paths[:_EXAMPLES])) + (" …" if len(paths) > _EXAMPLES else "")


def verify(directory: str, deep: bool = False) -> Verification:  # noqa: FBT001, FBT002 - verify(path, deep=True) reads well
    """Compare a published directory with its manifest; nothing is changed.

    The manifest itself is compared with its own digests first. An output counts as changed where its size differs, or
    where its time of change differs and its content too: a file that was only touched is fine. Links to files are
    followed.

    What no task would read as an item is not foreign, just as :func:`luisy_dir.item.scan` passes it over: names that
    begin with a dot (such as ``.manifest``), ``thumbs.db`` and ``desktop.ini``, empty folders, linked folders, and
    what is neither file nor folder.

    Parameters
    ----------
    directory
        Where a DirectoryTask publishes.
    deep
        Read every output, rather than those alone whose time of change differs: finds what somebody changed and dated
        back, and what the disk has spoilt.

    Returns
    -------
    Verification
        Paths are relative to the directory, ``/``-separated and sorted. A name that is not valid UTF-8 is
        percent-encoded.

    Raises
    ------
    MissingInputError
        Nothing was published there.
    ManifestError
        The manifest is damaged.
    StorageError
        An output is there and cannot be read.
    """
    manifest = read_manifest(directory)
    if manifest is None:
        raise MissingInputError(f"Nothing was published as {directory!r}. 'luisy-dir ls' shows what was.")
    on_disk = _on_disk(directory)
    known = set()
    missing, changed = set(), set()
    for output in _outputs(manifest):
        known.add((output.file, False))
        state = on_disk.get((output.file, False))
        difference = "missing" if state is None else _compare(directory, output, state, deep=deep)
        if difference == "missing":
            missing.add(output.file)
        elif difference == "changed":
            changed.add(output.file)
    foreign = [path for path, _ in on_disk.keys() - known]
    return Verification(tuple(sorted(missing)), tuple(sorted(changed)), tuple(sorted(foreign)), len(known))


def _outputs(manifest: Manifest) -> Iterator[OutputFile]:
    return (output for entry in manifest.entries() for output in entry.outputs)


def _on_disk(directory: str) -> dict[tuple[str, bool], tuple[int, int]]:
    """Size and mtime of each file, by its path and whether that is percent-encoded."""
    sources = (item.sources[0] for item in scan(directory))
    return {(source.path, source.encoded): (source.size, source.mtime_ns) for source in sources}


def _compare(directory: str, output: OutputFile, state: tuple[int, int], *, deep: bool) -> str | None:
    size, mtime_ns = state
    _, right_size, right_mtime_ns = output.state
    if size < 0:  # a link that leads nowhere
        return "missing"
    if size != right_size:
        return "changed"
    if mtime_ns == right_mtime_ns and not deep:
        return None
    path = os.path.join(directory, output.file)
    try:
        digest, _ = digest_of_output(path, output)
    except FileNotFoundError:  # gone since the directory was listed
        return "missing"
    except OSError as error:
        raise StorageError(
            error.errno,
            f"{path!r} cannot be compared with its manifest: {error.strerror}. Mend the disk or the rights, then "
            "verify again.",
        ) from error
    return None if digest == output.digest else "changed"
