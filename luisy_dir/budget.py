"""A budget: how many items of a run may fail, and which were the first that did."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from luisy_dir.entry import Entry
from luisy_dir.errors import ItemsFailedError
from luisy_dir.item import printable

_NAMED_FAILURES = 3


class Budget:
    """Counts failures, and gives up when there are more than allowed.

    Parameters
    ----------
    allowed
        How many items may fail.
    total
        Number of items.
    file_of
        Returns the path of the (first) file that an entry's item was read from.
    end
        What the end of the run means, for the message: `", and nothing was published"`.
    """

    def __init__(self, allowed: int, total: int, file_of: Callable[[Entry], str], *, end: str = "") -> None:
        self.total = total
        self.done = 0
        self._file_of = file_of
        self._end = end
        self._allowed = allowed
        self._failed = 0
        self._first: list[Entry] = []
        self._cause: BaseException | None = None

    def spend(self, entry: Entry, exception: BaseException | None) -> None:
        """Take in one more item; ItemsFailedError where that was one failure too many."""
        self.done += 1
        if entry.status != "failed":
            return
        self._failed += 1
        if len(self._first) < _NAMED_FAILURES:
            self._first.append(entry)
            self._cause = self._cause or exception
        if self._failed > self._allowed:
            raise self._over() from self._told_cause()

    def _told_cause(self) -> BaseException | None:
        """The first item's exception; from another process it comes without its traceback, so that is added."""
        failure = self._first[0].error
        if self._cause is not None and self._cause.__traceback__ is None and failure and failure.traceback:
            self._cause.add_note(f"In the worker:\n{failure.traceback}")
        return self._cause

    def _over(self) -> ItemsFailedError:
        named = "\n".join(map(self._named, self._first))
        return ItemsFailedError(
            f"{self._failed} of {self.total} items failed, where max_errors allows {self._allowed}. The run was given "
            f"up after {self.done} of them{self._end}:\n{named}\n"
            "Mend or remove these files, or allow more with max_errors; report() shows what was done."
        )

    def _named(self, entry: Entry) -> str:
        """A failure, and in a line of its own the file."""
        reason = f"{entry.error.type}: {entry.error.message}" if entry.error else entry.status
        lines = [*f"{printable(entry.key)}: {reason}".split("\n"), f"  in {self._file_of(entry)}"]
        return textwrap.indent("\n".join(map(printable, lines)), "  ")
