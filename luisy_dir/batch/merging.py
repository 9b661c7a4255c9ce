"""Merging: several batches become one, and what is left of them another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from luisy_dir.batch.rows import assembled, named
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
    if batch_size is not None and batch_size < 1:
        raise BatchError(f"batch_size is {batch_size!r}, but a batch has at least one item. Give None for all of them.")
    names = _names(batches) if components is None else tuple(components)
    data = {name: batch_class.merge_component(name, _parts(batches, name)) for name in names}
    ids = _ids([batch.indices for batch in batches])
    whole = batches[0].like(ids, data, batch_class, draws=max(batch.draws for batch in batches))
    if batch_size is None or batch_size >= whole.size:
        return whole, None
    return whole[:batch_size], whole[batch_size:]


def _names(batches: Sequence[Batch]) -> tuple[str, ...]:
    """Of all components that any of them has."""
    return tuple(dict.fromkeys(name for batch in batches for name in batch.table.names))


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

    kinds = {part.dtype.kind for part in parts}
    all_ids = [item_id for part in parts for item_id in part.tolist()]
    if len(set(all_ids)) < len(all_ids):
        return np.arange(len(all_ids))
    if len(kinds) == 1 or kinds <= set("iu"):
        return np.concatenate(parts)
    objects = np.empty(len(all_ids), dtype=object)
    objects[:] = all_ids
    return objects


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
    arrays = [np.asarray(part) if hasattr(part, "__array__") else assembled(list(part)) for part in parts]
    is_regular = len({array.shape[1:] for array in arrays}) == 1
    kinds = {array.dtype.kind for array in arrays}
    if is_regular and "O" not in kinds and (len(kinds) == 1 or kinds <= set("biufc")):
        return np.concatenate(arrays)
    return assembled([row for array in arrays for row in array])
