"""A loss: a worker that has died, and what it had in hand."""

from __future__ import annotations

import signal
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass


@dataclass(frozen=True)
class Loss:
    """A worker that has died.

    Parameters
    ----------
    pid
        The number of its process.
    exit_code
        As that of :class:`multiprocessing.Process`: negative where a signal has ended it; None where nobody knows.
    in_hand
        Which thing of its chunk it had in hand, from 0; None where it had none.
    seconds
        For how long it had that in hand.
    timeout
        The limit in seconds that the thing has overrun, so that the worker was killed; None where that is not why.
    is_innocent
        The thing in hand is not to blame: the worker was killed for the one before, which it had just finished.
    trace
        What the worker was doing, innermost call first, as far as it could still say.
    name
        Of its process, where that is on another machine; empty where the number is enough.
    deaths
        How many workers have died over the same chunk, one after the other, each with all that it had started.

    Examples
    --------
    >>> Loss(4711, -9, 0).how
    'was killed by SIGKILL, perhaps for its memory'
    """

    pid: int
    exit_code: int | None
    in_hand: int | None = None
    seconds: float = 0.0
    timeout: float | None = None
    is_innocent: bool = False
    trace: str = ""
    name: str = ""
    deaths: int = 1

    @property
    def how(self) -> str:
        """How the worker came to its end."""
        if self.deaths > 1:
            return f"and {self.deaths - 1} others that came after it died without a word, perhaps with their machines"
        if self.exit_code is None:
            return "ended, and nobody knows how"
        if self.exit_code >= 0:
            return f"ended with exit code {self.exit_code}"
        if self.exit_code == -signal.SIGKILL:
            return "was killed by SIGKILL, perhaps for its memory"
        return f"was ended by {_name_of(-self.exit_code)}"


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


class WorkerLost(BrokenExecutor):
    """A worker has died over a task; others go on with the rest."""

    def __init__(self, loss: Loss) -> None:
        super().__init__(f"The worker process {loss.pid} {loss.how}.")
        self.loss = loss


class NoWorkerError(BrokenExecutor):
    """Workers die before they have anything in hand, or cannot be started."""


class ClusterLostError(BrokenExecutor):
    """The machines that do the work cannot be reached any more, or have no workers."""
