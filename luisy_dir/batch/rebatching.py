"""Rebatching: the items of batches, in batches of another size."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from luisy_dir.batch.batch import Batch
from luisy_dir.batch.cutting import whole_number


def rebatched(batches: Iterable[Any], batch_size: int, *, drop_last: bool = False) -> Generator[Any, None, None]:
    """The same items in batches of another size; no batch has items of two epochs.

    Parameters
    ----------
    batches
        In their order. What gives them is closed in the end, if it can be.
    batch_size
        How many items each batch has, but for the last one of an epoch.
    drop_last
        Leave that out where it is smaller.

    Examples
    --------
    >>> from luisy_dir import BatchSource
    >>> [batch.indices.tolist() for batch in rebatched(BatchSource(5).gen_batch(2), 3)]
    [[0, 1, 2], [3, 4]]
    """
    size = whole_number("batch_size", batch_size)
    rest: Any = None
    try:
        for batch in batches:
            if rest is not None and rest.epoch != batch.epoch:
                if rest.size and not drop_last:
                    yield rest
                rest = None
            rest = batch if rest is None else Batch.merge([rest, batch])[0]
            while rest is not None and rest.size >= size:
                whole, rest = Batch.merge([rest], size)
                yield whole
        if rest is not None and rest.size and not drop_last:
            yield rest
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()
