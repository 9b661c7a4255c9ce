"""Items of a batch, batches of some of its items, and copies of it."""

from __future__ import annotations

import copy as copying
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from luisy_dir.batch.components import BatchItem, Components
from luisy_dir.batch.ids import ids_of
from luisy_dir.batch.seeding import Seeded
from luisy_dir.errors import BatchError

if TYPE_CHECKING:
    import numpy as np

_NOT_PICKLED = {"_dataset", "_pipeline", "_loading"}
_REFERRED_TO = {*_NOT_PICKLED, "_index", "_ids", "_positions"}  # by a copy, too


class Selecting(Seeded):
    """What a batch holds, and how some of it is had."""

    @property
    def items(self) -> list[Any]:
        """The items in their order: as :meth:`get` gives each.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> [item.labels for item in Batch.from_data(data={"labels": ["cat", "dog"]}).items]
        [np.str_('cat'), np.str_('dog')]
        """
        return [self._item_at(position) for position in range(self.size)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __reversed__(self) -> Iterator[Any]:
        return iter(self.items[::-1])

    def __contains__(self, item_id: object) -> bool:
        """Whether there is an item of this id."""
        return item_id in self._positions

    def __getitem__(self, key: Any) -> Any:
        """One item by its id; a batch of several by a list or an array of ids, a slice of positions, or a mask."""
        import numpy as np

        if isinstance(key, slice):
            return self._rows(key)
        if isinstance(key, (list, np.ndarray)) and np.ndim(key) > 0:
            return self._rows(self._selection(key))
        return self._item_at(self._positions.of(key))

    def _selection(self, key: Any) -> np.ndarray[Any, Any]:
        import numpy as np

        mask = np.asarray(key)
        if mask.dtype.kind != "b":
            return np.asarray([self._positions.of(item_id) for item_id in ids_of(key).tolist()], dtype=np.intp)
        if mask.shape != (self.size,):
            raise BatchError(
                f"A mask of shape {mask.shape} is to select from {self.size} items. Give one value an item."
            )
        return np.flatnonzero(mask)

    def _rows(self, selection: Any) -> Any:
        ids = self._ids[selection]
        taken = self.like(ids, self.table.rows(selection, len(ids)).as_dict(), type(self), draws=self._draws)
        taken.create_attrs(**self.get_attrs())
        return taken

    def _item_at(self, position: int) -> Any:
        table = self.table
        if self._whole is None:
            return BatchItem(table, position)
        rows = tuple(array[position] for array in table)
        return rows if self._whole else rows[0]

    def get(self, item: Any = None, component: str | None = None) -> Any:
        """An item, a component, an item of a component, or all data.

        Parameters
        ----------
        item
            Its id; None for all of them.
        component
            Its name; None for all of them.

        Returns
        -------
        object
            Of both, a row: whatever shape an item of the component has. Of an item, a
            :class:`~luisy_dir.batch.components.BatchItem`, whose attributes are its rows. Of a component, the array.
            Of none, :attr:`data`.

        Raises
        ------
        UnknownItemError
            There is no such item, or several.
        BatchError
            There is no such component.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> batch = Batch.from_data(["a", "b"], {"images": [10, 20], "labels": [0, 1]})
        >>> batch.get("b", "images"), batch.get("b").labels, batch.get(component="labels")
        (np.int64(20), np.int64(1), array([0, 1]))
        """
        if component is None:
            return self.data if item is None else self[item]
        array = self.table[component]
        return array if item is None or array is None else array[self._positions.of(item)]

    def like(self, ids: Any, arrays: dict[str, Any], kind: type[Any], *, draws: int) -> Any:
        """A batch of other items that goes on with this one's seed, epoch, dataset and pipeline.

        Parameters
        ----------
        ids
            Of its items.
        arrays
            Components; where this one's data has no names, its parts.
        kind
            The class.
        draws
            How many actions with random numbers its items have seen.
        """
        batch = kind(ids, dataset=self._dataset, pipeline=self._pipeline, seed=self._seed, epoch=self._epoch)
        batch._draws = draws  # noqa: SLF001 - its own class
        if self._whole is not None and arrays:
            batch._table, batch._whole = Components(batch.size, arrays), self._whole  # noqa: SLF001 - as above
        else:
            batch._become(dict.fromkeys(batch.components or ()) | arrays)  # noqa: SLF001 - as above
        return batch

    def copy(self) -> Self:
        """A batch with components of its own that share their arrays with this one's.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> batch = Batch.from_data(data={"images": [10, 20]})
        >>> other = batch.copy()
        >>> other.images = [1, 2]
        >>> batch.images
        array([10, 20])
        """
        return self._copied(dict, object.__new__(type(self)))

    def deepcopy(self) -> Self:
        """A batch with copies of all data and attributes; dataset and pipeline are only referred to, as before.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> batch = Batch.from_data(data={"images": [10, 20]})
        >>> other = batch.deepcopy()
        >>> other.images[0] = 1
        >>> batch.images
        array([10, 20])
        """
        return copying.deepcopy(self)

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        again = object.__new__(type(self))
        memo[id(self)] = again  # an attribute may refer to the batch
        return self._copied(lambda value: copying.deepcopy(value, memo), again)

    def _copied(self, copy: Callable[[dict[str, Any]], dict[str, Any]], again: Self) -> Self:
        self._load_preloaded()
        state = dict(self.__dict__)
        again.__dict__.update({name: state.pop(name) for name in _REFERRED_TO}, _loading=threading.RLock())
        again._table = Components(self.size, copy(state.pop("_table").as_dict()))
        again.__dict__.update(
            copy(state),
            _random=copying.deepcopy(self._random),
            _attributes=dict(self._attributes),
        )
        return again

    def __getstate__(self) -> dict[str, Any]:
        """All but dataset and pipeline, which may be large, and stay where they are; data is loaded first."""
        self._load_preloaded()
        return {name: value for name, value in self.__dict__.items() if name not in _NOT_PICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _dataset=None, _pipeline=None, _loading=threading.RLock())
