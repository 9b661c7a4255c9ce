"""An offline list: entries that are read, changed and joined to batches when they are indexed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from luisy_dir.compat.lardon.entries import OfflineEntry
from luisy_dir.compat.lardon.selecting import Selector
from luisy_dir.dataset.arguments import check_one_of
from luisy_dir.dataset.changes import Change, Convert, ExpandDims, Squeeze
from luisy_dir.dataset.collation import Members, crop, pad
from luisy_dir.dataset.layers import note_key
from luisy_dir.dataset.positions import selected
from luisy_dir.errors import DatasetError, UnknownKeyError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_MODES = ("list", "pad", "crop")
_SOME = 3


@dataclass(frozen=True)
class _Called(Change):
    """A function of the user's."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, data: Any) -> Any:
        """The data, changed."""
        return self.function(data, **self.arguments)


class OfflineDataList:
    """Arrays of a compiled folder, in the order in which they were compiled, read when they are indexed.

    The first index selects items: a position or the name of a file for one; for several a slice, a list or an array of
    them, a mask, or ``...`` for all. What follows is an index of NumPy's on the array of each, in which
    :class:`randslice` may stand. One item is an array, several are what ``batch_mode`` says.

    Parameters
    ----------
    entries
        A list of entries and of other lists, or another list. Where ``transforms`` or ``dtype`` are not given, they are
        those that all these lists have.
    check
        Read every item once, so that a file that is gone or was changed is an error now.
    dtype
        To convert to what is read.
    lossy
        Convert where values may be lost too, such as int64 to float32.
    transforms
        Pairs of a function and its arguments by name, called with the array of each item, one after the other.
    selector
        Which part of each item is meant.
    batch_mode
        What several items become: ``list``; ``pad``: one array, in which each is filled up to the longest of each
        axis; ``crop``: one array of as much as the shortest of each axis has.
    batch_args
        For ``pad``, as :func:`numpy.pad` has them.
    return_metadata, return_indices
        Return a pair of data and metadata, of several items a list of it; with the index that was taken as ``idx``.

    Raises
    ------
    DatasetError
        Lists are changed in different ways; or values may be lost, and that was not asked for.
    SettingError
        ``batch_mode`` or ``batch_args`` are not allowed.
    """

    def __init__(  # noqa: PLR0913 - its signature
        self,
        entries: OfflineDataList | Iterable[OfflineEntry | OfflineDataList] = (),
        *,
        check: bool = False,
        dtype: npt.DTypeLike | None = None,
        transforms: Iterable[tuple[Callable[..., Any], Mapping[str, Any]]] | None = None,
        selector: Selector | None = None,
        batch_mode: str = "list",
        batch_args: Mapping[str, Any] | None = None,
        return_metadata: bool = False,
        return_indices: bool = False,
        lossy: bool = False,
    ) -> None:
        parts = [entries] if isinstance(entries, OfflineDataList) else list(entries)
        self.entries: list[OfflineEntry] = [entry for part in parts for entry in _entries_of(part)]
        if selector is not None:
            self.entries = [entry.select(selector) for entry in self.entries]
        self._changes, self._convert = _common([part for part in parts if isinstance(part, OfflineDataList)])
        if transforms is not None:
            self._changes = [_Called(function, dict(arguments)) for function, arguments in transforms]
        self.lossy = lossy
        if dtype is not None:
            self.dtype = dtype
        self.batch_args = dict(batch_args or {})
        self.batch_mode = batch_mode
        self.return_metadata = return_metadata
        self.return_indices = return_indices
        if check:
            for entry in self.entries:
                entry()

    def __repr__(self) -> str:
        files = [entry.file for entry in self.entries[:_SOME]]
        more = ", …" if len(self) > _SOME else ""
        return f"OfflineDataList({len(self)} items: {', '.join(map(repr, files))}{more})"

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Any]:
        return (self[position] for position in range(len(self)))

    def __getitem__(
        self,
        index: Any,
        return_metadata: bool | None = None,
        return_indices: bool | None = None,
    ) -> Any:
        """Data that an index selects, or data and metadata; the arguments go before those of the list."""
        is_with_index = self.return_indices if return_indices is None else return_indices
        data, metadata = self.read(index, return_indices=is_with_index)
        return (data, metadata) if (self.return_metadata if return_metadata is None else return_metadata) else data

    def read(self, index: Any, *, return_indices: bool = False) -> tuple[Any, Any]:
        """Data and metadata of what an index selects; of several items, a list of their metadata.

        Raises
        ------
        IndexError
            There is no such item, or an item has no such part.
        UnknownKeyError
            There is no item of a name.
        CollationError
            The arrays cannot be joined to a batch.
        """
        first, rest = _split(index)
        which = selected(first, len(self), self._finder())
        if isinstance(which, int):
            return self._read(self.entries[which], rest, return_indices=return_indices)
        chosen = [self.entries[place] for place in which.tolist()]
        read = [self._read(entry, rest, return_indices=return_indices) for entry in chosen]
        return self._joined([data for data, _ in read], [entry.key for entry in chosen]), [each for _, each in read]

    def _finder(self) -> Callable[[str], int]:
        """Finds the position of an item by the name of its file below the folder, with or without suffix."""

        @cache
        def positions() -> dict[str, int]:
            found: dict[str, int] = {}
            for position, entry in reversed(list(enumerate(self.entries))):
                found[entry.key] = found[entry.name] = position
            return found

        def find(name: str) -> int:
            if name not in positions():
                raise UnknownKeyError(f"There is no item {name!r}. Names are such as {list(positions())[:_SOME]}.")
            return positions()[name]

        return find

    def _read(
        self, entry: OfflineEntry, rest: tuple[Any, ...] = (), *, return_indices: bool = False
    ) -> tuple[Any, dict[str, Any]]:
        part = entry[rest] if rest else entry
        data, metadata = part(return_metadata=True, return_indices=return_indices)
        try:
            if self._convert is not None:
                data = self._convert(data)
            for change in self._changes:
                data = change(data)
        except Exception as error:
            note_key(error, entry.key)
            raise
        return data, metadata

    def _joined(self, data: list[Any], keys: Sequence[str]) -> Any:
        if self._batch_mode == "list":
            return data
        collate = pad(**self.batch_args) if self._batch_mode == "pad" else crop()
        return collate(data, Members(tuple(keys))).data

    def __setitem__(self, position: Any, entry: OfflineEntry) -> None:
        if not isinstance(entry, OfflineEntry) or isinstance(position, (tuple, slice)):
            raise IndexError("Only an entry can be put in the place of another one, and data cannot be written to.")
        self.entries[position] = entry

    def __radd__(self, entries: list[Any]) -> list[Any]:
        return [*entries, *self.entries]

    def __add__(self, other: OfflineDataList | Iterable[OfflineEntry]) -> OfflineDataList:
        if not isinstance(other, OfflineDataList):
            return self._with([*self.entries, *other])
        _common([self, other])
        return self._with(self.entries + other.entries)

    def _with(self, entries: list[OfflineEntry]) -> OfflineDataList:
        """Other entries, read in the same way."""
        other = copy.copy(self)
        other.entries, other._changes = entries, list(self._changes)  # noqa: SLF001 - of our own
        return other

    def take(self, ids: Any) -> Any:
        """The entry of a position or name; of several a list, read in the same way as this one."""
        which = selected(ids, len(self), self._finder())
        if isinstance(which, int):
            return self.entries[which]
        return self._with([self.entries[place] for place in which.tolist()])

    def scatter(self, dim: int = 0) -> OfflineDataList:
        """A list of an item for each position along an axis of each item, without that axis."""
        return self._with([part for entry in self.entries for part in entry.scatter(dim)])

    def expand_dims(self, dim: int) -> None:
        """Give the array of each item a new axis of length 1, from now on; ``dim`` does not count the list's axis."""
        self._change(ExpandDims(dim))

    def squeeze(self, dim: int | None = None) -> None:
        """Take an axis of length 1 from the array of each item, from now on; ``dim`` does not count the list's axis.

        Raises
        ------
        ValueError
            The axis of an item is longer; nothing changes then.
        """
        self._change(Squeeze(dim))

    def _change(self, change: Change) -> None:
        for shape in {self._shape_of(entry) for entry in self.entries}:
            change.shape(shape)
        self._changes.append(change)

    def _shape_of(self, entry: OfflineEntry) -> tuple[int, ...]:
        if any(isinstance(change, _Called) for change in self._changes):
            import numpy as np

            return np.shape(self._read(entry)[0])
        shape = entry.shape
        for change in self._changes:
            shape = change.shape(shape)
        return shape

    @property
    def files(self) -> list[str]:
        """Names of the items, as :func:`parse_folder` takes them for ``files``."""
        return [entry.name for entry in self.entries]

    @property
    def shape(self) -> tuple[int | tuple[int, int], ...] | None:
        """Number of items, then the length of each axis of their arrays, or the least and the greatest.

        None where they do not have as many axes each. No data is read, where no function of ``transforms`` asks for it.
        """
        shapes = list({self._shape_of(entry): None for entry in self.entries})
        if len(set(map(len, shapes))) > 1:
            return None
        axes = [(min(lengths), max(lengths)) for lengths in zip(*shapes, strict=True)]
        return (len(self), *(least if least == most else (least, most) for least, most in axes))

    @property
    def ndim(self) -> int | None:
        """Number of axes, with that of the list; None where items differ in it."""
        return None if self.shape is None else len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Of what is read; None where items differ in it. Setting it converts what is read from now on."""
        if any(isinstance(change, _Called) for change in self._changes) and self.entries:
            return getattr(self._read(self.entries[0])[0], "dtype", None)
        dtypes = {entry.dtype for entry in self.entries}
        if self._convert is not None:
            return self._convert.to
        return dtypes.pop() if len(dtypes) == 1 else None

    @dtype.setter
    def dtype(self, dtype: npt.DTypeLike) -> None:
        import numpy as np

        convert = Convert(np.dtype(dtype), is_lossy=self.lossy)
        for known in {entry.dtype for entry in self.entries} - {None}:
            convert.dtype(known)  # type: ignore[arg-type]
        self._convert = convert

    @property
    def batch_mode(self) -> str:
        """What several items become: ``list``, ``pad`` or ``crop``."""
        return self._batch_mode

    @batch_mode.setter
    def batch_mode(self, mode: str) -> None:
        check_one_of("batch_mode", mode, _MODES)
        if mode == "pad":
            pad(**self.batch_args)
        self._batch_mode = mode


def _split(index: Any) -> tuple[Any, tuple[Any, ...]]:
    """What selects items, and what is left for the array of each."""
    parts = index if isinstance(index, tuple) else (index,)
    if not parts or parts[0] is Ellipsis:
        return slice(None), parts if len(parts) > 1 else ()
    return parts[0], parts[1:]


def _entries_of(part: Any) -> list[OfflineEntry]:
    if isinstance(part, OfflineEntry):
        return [part]
    if isinstance(part, OfflineDataList):
        return part.entries
    raise DatasetError(
        f"A list is made of entries and of other lists, not of a {type(part).__name__}. See parse_folder."
    )


def _common(lists: Sequence[OfflineDataList]) -> tuple[list[Change], Convert | None]:
    """How all of these lists change what is read."""
    ways = [(one._changes, one._convert) for one in lists] or [([], None)]  # noqa: SLF001 - of our own
    try:
        are_the_same = all(way == ways[0] for way in ways)
    except ValueError:  # arrays among the arguments of functions
        are_the_same = False
    if not are_the_same:
        raise DatasetError(
            "The lists change what is read in different ways, by transforms or dtype. Join them before that, or join "
            "their entries, which change nothing: OfflineDataList(one.entries + other.entries)."
        )
    return list(ways[0][0]), ways[0][1]
