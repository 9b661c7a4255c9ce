"""Batching: how ``process_batch`` is called with the data of several items."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from luisy_dir.engines.event_loop import resolved
from luisy_dir.errors import DefinitionError, Reject
from luisy_dir.item import Item
from luisy_dir.streams import Streams


class WrongResultsError(DefinitionError):
    """``process_batch`` returned something else than one result for each item, which ends the run."""


class BatchProcess:
    """What processes several items together in a worker; called like any other ``process``, it takes one item alone.

    Parameters
    ----------
    process
        ``process(columns, items)``, where each column is the list of the items' data of one directory; returns one
        result for each item: as ``process`` would, or an exception for an item that failed.
    streams
        What comes before and after, item by item.
    """

    def __init__(self, process: Callable[[list[Any], list[Item]], Any], streams: Streams) -> None:
        self._process = process
        self._streams = streams

    def __call__(self, data: list[Any], item: Item) -> Any:
        """The result of one item alone."""
        (result,) = self.together([self.before(data, item)], [item])
        return self.after(result, item)

    def before(self, data: list[Any], item: Item) -> list[Any]:
        """What was read of one item, as it goes into a batch."""
        return self._streams.before(data, item)

    def together(self, data: list[list[Any]], items: list[Item]) -> list[Any]:
        """Results of several items, in their order.

        Raises
        ------
        WrongResultsError
            There is not one for each.
        """
        columns = [list(column) for column in zip(*data, strict=True)]
        results = resolved(self._process(columns, items))
        if not isinstance(results, Collection) or isinstance(results, (str, bytes, Mapping, AbstractSet)):
            raise WrongResultsError(f"process_batch returned a {type(results).__name__}. {_ADVICE}")
        if len(results) != len(items):
            raise WrongResultsError(f"process_batch returned {len(results)} results for {len(items)} items. {_ADVICE}")
        return list(results)

    def after(self, result: Any, item: Item) -> Any:
        """The result of one item, as it is to be written; raises it where it is an exception."""
        if result is None:
            raise Reject("process_batch returned None")
        if isinstance(result, BaseException):
            raise result
        return self._streams.after(result, item)


_ADVICE = "Return a list with one result for each item, in their order; None rejects an item."
