"""A parsed folder, opened as a list."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from luisy_dir.compat.lardon.entries import OfflineEntry
from luisy_dir.compat.lardon.lists import OfflineDataList
from luisy_dir.dataset.published import PublishedItems
from luisy_dir.errors import MissingInputError
from luisy_dir.manifest import Manifest
from luisy_dir.pinning import settled_manifest
from luisy_dir.record import current_generation


def is_parsed(root_directory: str | os.PathLike[str]) -> bool:
    """Whether a folder can be opened: whether there is a manifest in it, which takes the place of ``parsing.ldn``.

    Examples
    --------
    >>> is_parsed("/nowhere")
    False
    """
    return current_generation(os.path.abspath(os.fsdecode(root_directory))) is not None


class DataAndMetadata:
    """What :func:`parse_folder` returns with ``drop_metadata``: the list, and metadata of all items in columns.

    ``offline_list, metadata = …`` takes the two apart. An index is one of the list's, and gives data and metadata:
    ``data, metadata = …[0]``.

    Parameters
    ----------
    offline_list
        The list.
    metadata
        By name a list of one value an item, in the order of the items; None where an item has no such value.
    """

    def __init__(self, offline_list: OfflineDataList, metadata: dict[str, list[Any]]) -> None:
        self.offline_list = offline_list
        self.metadata = metadata

    def __repr__(self) -> str:
        return f"DataAndMetadata({self.offline_list!r}, {list(self.metadata)})"

    def __iter__(self) -> Iterator[Any]:
        return iter((self.offline_list, self.metadata))

    def __getitem__(self, index: Any) -> Any:
        """Data and metadata of what an index of the list selects."""
        return self.offline_list.read(index)


def parse_folder(
    root_directory: str | os.PathLike[str],
    drop_metadata: bool = False,  # noqa: FBT001, FBT002 - its signature
    files: Iterable[str] | None = None,
    **options: Any,
) -> Any:
    """Open what :func:`compile` or :class:`LardonParser`, or a task, has made of a folder.

    No data file is touched. What is opened stays as it is: a file that is compiled anew later is an error when it is
    read.

    Parameters
    ----------
    root_directory
        The folder.
    drop_metadata
        Return a :class:`DataAndMetadata`.
    files
        Names of the items that are wanted, in that order, with or without suffix.
    **options
        Those of :class:`OfflineDataList`.

    Returns
    -------
    OfflineDataList or DataAndMetadata
        Items in the order in which they were compiled; what a task has made, in the order of keys.

    Raises
    ------
    MissingInputError
        The folder was not compiled.
    UnknownKeyError
        There is no file of a name.
    DatasetError
        Values may be lost in the conversion to ``dtype``, and ``lossy`` does not allow that.
    """
    directory = os.path.abspath(os.fsdecode(root_directory))
    if not is_parsed(directory):
        raise MissingInputError(
            f"{directory!r} was not parsed: there is no manifest in it. Call compile first. A parsing.ldn is a pickle "
            "of lardon's, which is not opened, because it could run any program: compile the sources anew."
        )
    opened = OfflineDataList(_entries(settled_manifest(directory)))
    if files is not None:
        opened = opened.take([os.fsdecode(name) for name in files])
    offline_list = OfflineDataList(opened, **options)
    return DataAndMetadata(offline_list, _columns(offline_list.entries)) if drop_metadata else offline_list


def _entries(manifest: Manifest) -> list[OfflineEntry]:
    found = [(entry.number, output.path) for entry in manifest.outputs() for output in entry.outputs]
    is_numbered = all(number is not None for number, _ in found)
    items = PublishedItems(manifest, order="added" if is_numbered else "key")
    paths = {os.path.splitext(path)[0]: path for _, path in found}
    return [
        OfflineEntry(items, position, os.path.join(manifest.directory, paths[key]))
        for position, key in enumerate(items.keys)
    ]


def _columns(entries: list[OfflineEntry]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for entry in entries for name in entry.metadata)
    return {name: [entry.metadata.get(name) for entry in entries] for name in names}
