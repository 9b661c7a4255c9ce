"""A step: actions that are done with what a directory task got, and give what it has to return."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from luisy_dir.errors import BatchError, BatchItemsError


def processed(
    act: Callable[[Any], Any],
    items: Sequence[Any],
    dst: str | Sequence[str],
    batch_of: Callable[[Sequence[Any], dict[str, Any]], Any],
    components: dict[str, Any],
) -> list[Any]:
    """Do actions with a batch of the items; do them again without those that failed, whose errors are in their places.

    Parameters
    ----------
    act
        Gets a batch and returns one.
    items
        As ``process_batch`` got them.
    dst
        A component, or several, whose rows are returned.
    batch_of
        Makes a batch of items and their components.
    components
        By name, one row an item.

    Raises
    ------
    BatchError
        There is no such component, or data has another number of rows; or there are other items than before.
    BatchItemsError
        Items failed that are none of these.
    """
    _check_rows(components, len(items))
    results: list[Any] = [None] * len(items)
    left = list(range(len(items)))
    while left:
        mine = [items[place] for place in left]
        try:
            batch = act(batch_of(mine, _taken(components, left)))
            rows = _rows_of(batch, dst, [item.key for item in mine])
        except BatchItemsError as error:
            errors = dict(zip(error.ids, error.errors, strict=True))
            failed = [place for place in left if items[place].key in errors]
            if not failed:  # they are those of other items, of a batch that an action has made
                raise
            for place in failed:
                results[place] = errors[items[place].key]
            left = [place for place in left if place not in failed]
            continue
        for place, row in zip(left, rows, strict=True):
            results[place] = row
        left = []
    return results


def _check_rows(components: dict[str, Any], length: int) -> None:
    for name, data in components.items():
        if len(data) != length:
            raise BatchError(f"{name!r} has {len(data)} rows for {length} items. Give what process_batch got.")


def _rows_of(batch: Any, dst: str | Sequence[str], keys: Sequence[str]) -> list[Any]:
    if batch.indices.tolist() != keys:
        raise BatchError("Actions have changed which items are in the batch. Raise Reject for those unwanted.")
    if isinstance(dst, str):
        return list(_column(batch, dst))
    columns = {name: _column(batch, name) for name in dst}
    return [{name: column[place] for name, column in columns.items()} for place in range(len(keys))]


def _taken(components: dict[str, Any], places: Sequence[int]) -> dict[str, Any]:
    return {name: [data[place] for place in places] for name, data in components.items()}


def _column(batch: Any, name: str) -> Any:
    array = batch.table[name]
    if array is None:
        raise BatchError(f"The component {name!r} has no data to be returned.")
    return array
