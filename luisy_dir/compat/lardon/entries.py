"""An offline entry: a part of one item's array, which is read when it is called."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from luisy_dir.compat.lardon.selecting import Selector
from luisy_dir.dataset.changes import Copy
from luisy_dir.dataset.items import Items
from luisy_dir.dataset.layers import note_key

if TYPE_CHECKING:
    import numpy as np


class OfflineEntry:
    """A part of one item's array, read when the entry is called; an index of it is an entry again.

    Lists make them: ``offline_list.entries``, ``offline_list.take(3)``.

    Parameters
    ----------
    items
        Of a dataset.
    position
        Of the item in it.
    file
        Path of its file.
    selector
        Which part is read.
    """

    __slots__ = ("_items", "_position", "file", "selector")

    def __init__(self, items: Items, position: int, file: str, selector: Selector | None = None) -> None:
        self._items = items
        self._position = position
        self.file = file
        self.selector = Selector() if selector is None else selector

    def __repr__(self) -> str:
        return f"OfflineEntry({self.file!r}, {self.selector})"

    def __getitem__(self, index: Any) -> OfflineEntry:
        """An entry for an index of NumPy's on what this one reads."""
        return self.select(Selector()[index])

    def select(self, selector: Selector) -> OfflineEntry:
        """An entry for what a selector takes of what this one reads."""
        both = Selector(self.selector.indices + selector.indices)
        return OfflineEntry(self._items, self._position, self.file, both)

    def __call__(self, *, return_metadata: bool = False, return_indices: bool = False) -> Any:
        """Read the data: an array of its own, which may be written to.

        Parameters
        ----------
        return_metadata
            Return the metadata too, as a dict of its own.
        return_indices
            With ``idx`` in it: the index that was taken, so that it says what was drawn.

        Raises
        ------
        InputChangedError
            The file is gone, or no longer as it was compiled.
        IndexError
            The item has no such part.
        """
        data, taken = self._read()
        if not return_metadata:
            return data
        metadata = copy.deepcopy(dict(self.metadata))
        return data, {**metadata, "idx": taken} if return_indices else metadata

    def _read(self) -> tuple[Any, Any]:
        import numpy as np

        whole = self._items.read(self._position, 0)
        try:
            data, taken = self.selector.select(whole, self.key)
        except Exception as error:
            note_key(error, self.key)
            raise
        return data if isinstance(data, np.generic) else Copy()(data), taken

    @property
    def key(self) -> str:
        """Of the item."""
        return self._items.keys[self._position]

    @property
    def name(self) -> str:
        """Of its file below the folder: the key, and the file's suffix."""
        return self.key + os.path.splitext(self.file)[1]

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Of the item, whichever part of it is read; nobody can write to it."""
        return MappingProxyType(self._items.meta(self._position))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what is read; known without reading, where it is an array."""
        shape = self._items.shape(self._position)
        if shape is not None:
            return self.selector.get_shape(shape)
        import numpy as np

        return np.shape(self())

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Of the item's array; None where it is none."""
        return self._items.dtype(self._position)

    def scatter(self, axis: int = 0) -> list[OfflineEntry]:
        """An entry for each position along an axis of what this one reads, without that axis.

        Raises
        ------
        IndexError
            There is no such axis.
        """
        shape = self.shape
        if not -len(shape) <= axis < len(shape):
            raise IndexError(f"{self.key!r} has shape {shape}, and no axis {axis}.")
        before = (slice(None),) * (axis % len(shape))
        return [self[(*before, place)] for place in range(shape[axis])]
