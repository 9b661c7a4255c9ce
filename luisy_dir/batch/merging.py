"""Merging: several batches become one, and what is left of them another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

from luisy_dir.batch.ids import ids_of
from luisy_dir.batch.rows import are_alike, assembled, is_masked, named
from luisy_dir.errors import BatchError

if TYPE_CHECKING:
    import numpy as np

    from luisy_dir.batch.batch import Batch


def merged(
    batches: Sequence[Batch], batch_size: int | None, components: Iterable[str] | None, batch_class: type[Batch]
) -> tuple[Batch, Batch | None]:
    """The first items of all batches one after the other, and the rest; :meth:`luisy_dir.Batch.merge` says more."""
    batches = list(batches)
    if not batches:
        raise BatchError("There are no batches to merge. Give at least one.")
    others = [batch for batch in batches if not hasattr(batch, "table")]
    if others:
        raise BatchError(f"A {type(others[0]).__name__} is among the batches to merge. Give a list of batches alone.")
    if batch_size is not None and (not isinstance(batch_size, Integral) or batch_size < 1):
        raise BatchError(
            f"batch_size is {batch_size!r}, but a batch has at least one item, as a whole number. Give None for all of "
            "them."
        )
    names = _names(batches, components)
    data = {name: batch_class.merge_component(name, _parts(batches, name)) for name in names}
    ids = _ids([batch.indices for batch in batches])
    whole = batches[0].like(ids, data, batch_class, draws=max(batch.draws for batch in batches))
    if batch_size is None or batch_size >= whole.size:
        return whole, None
    return whole[:batch_size], whole[batch_size:]


def _names(batches: Sequence[Batch], wanted: Iterable[str] | None) -> tuple[str, ...]:
    """Of all components that any of them has, or those that are wanted."""
    there = tuple(dict.fromkeys(name for batch in batches for name in batch.table.names))
    names = there if wanted is None else tuple(wanted)
    missing = [name for name in names if name not in there]
    if missing:
        raise BatchError(f"No batch has the components {named(missing)}; there are {named(there) or 'none'}.")
    return names


def _parts(batches: Sequence[Batch], name: str) -> list[Any] | None:
    """Data of a component of each batch; None where none of them has any."""
    parts = [batch.table.as_dict().get(name) for batch in batches]
    lacking = [number for number, part in enumerate(parts) if part is None]
    if len(lacking) == len(parts):
        return None
    if lacking:
        raise BatchError(
            f"The component {name!r} has data in some batches, but not in those with the numbers {named(lacking)}. "
            "Load it there, or name with components which ones to merge."
        )
    return parts


def _ids(parts: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """All ids; where two items have the same one, their numbers from 0 on."""
    import numpy as np

    all_ids = [item_id for part in parts for item_id in part.tolist()]
    if len(set(all_ids)) < len(all_ids):
        return np.arange(len(all_ids))
    return np.concatenate(parts) if len({part.dtype.kind for part in parts}) == 1 else ids_of(all_ids)


def joined(parts: Sequence[Any] | None) -> Any:
    """Rows of several arrays one after the other; items of different shapes become an array of objects.

    Examples
    --------
    >>> import numpy as np
    >>> joined([np.zeros((1, 2)), np.ones((2, 2))]).shape
    (3, 2)
    >>> joined([np.zeros((1, 2)), np.ones((2, 5))]).dtype
    dtype('O')
    """
    import numpy as np

    if parts is None:
        return None
    arrays = [np.asanyarray(part) if hasattr(part, "__array__") else assembled(list(part)) for part in parts]
    if are_alike(arrays, axis=1) and not any(array.dtype.hasobject for array in arrays):
        return (np.ma if any(map(is_masked, arrays)) else np).concatenate(arrays)
    return assembled([row for array in arrays for row in array])
