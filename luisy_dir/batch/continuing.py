"""Continuing: batches that are asked for one at a time go on where the last one was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Any

from luisy_dir.batch.rows import described
from luisy_dir.errors import BatchError

_ENDLESS = 1 << 62


class Continued:
    """The batches of a generator, one a call; may be asked by several threads. A copy of it begins anew."""

    def __init__(self) -> None:
        self._now: tuple[dict[str, Any], Generator[Any, None, None]] | None = None
        self._failure = ""
        self._asking = threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Continued, ()

    def next(self, generate: Callable[..., Generator[Any, None, None]], **asked: Any) -> Any:
        """The batch that comes next of those that ``generate`` gives; other arguments begin anew.

        Where neither ``n_iters`` nor ``n_epochs`` is among them, there is no end.

        Raises
        ------
        StopIteration
            There are no more.
        BatchError
            A batch before could not be made, behind which there are none.
        """
        with self._asking:
            if self._now is None or self._now[0] != asked:
                self._end()
                endless = {} if {"n_iters", "n_epochs"} & asked.keys() else {"n_iters": _ENDLESS}
                self._now = asked, generate(**(asked | endless))
            if self._failure:
                raise BatchError(
                    f"There is no next batch, because one before ended with {self._failure}. Call reset() to begin "
                    "anew, or iterate over gen_batch()."
                )
            try:
                return next(self._now[1])
            except StopIteration:
                raise
            except BaseException as error:
                self._failure = described(error)
                raise

    def reset(self) -> None:
        """Let the next call begin anew; what was loaded ahead is let go."""
        with self._asking:
            self._end()

    def _end(self) -> None:
        if self._now is not None:
            self._now[1].close()
            self._now, self._failure = None, ""
