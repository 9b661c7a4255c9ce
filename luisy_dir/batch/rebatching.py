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
        How many items each batch has, but for the last one of an epoch. They keep their ids, unless two items of the
        same batch have the same one, as :meth:`luisy_dir.Batch.merge` says.
    drop_last
        Leave that out where it is smaller.

    Examples
    --------
    >>> from luisy_dir import BatchSource
    >>> [batch.indices.tolist() for batch in rebatched(BatchSource(5).gen_batch(2), 3)]
    [[0, 1, 2], [3, 4]]
    """
    size = whole_number("batch_size", batch_size)
    parts: list[Any] = []  # of one epoch
    count = 0  # of their items, which do not fill a batch yet
    try:
        for batch in batches:
            if count and parts[0].epoch != batch.epoch:
                if not drop_last:
                    yield _joined(parts)
                parts, count = [], 0
            begin = 0
            while count + batch.size - begin >= size:
                end = begin + size - count
                yield _joined([*parts, batch[begin:end]])
                parts, count, begin = [], 0, end
            if begin < batch.size:
                parts.append(batch[begin:])
                count += batch.size - begin
        if count and not drop_last:
            yield _joined(parts)
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()


def _joined(parts: list[Any]) -> Any:
    return Batch.merge(parts)[0]
