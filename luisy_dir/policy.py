"""The policy of a run: what an error of an item means, and how long one may take."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from luisy_dir.engines.loss import Loss
from luisy_dir.errors import Abort, DefinitionError, SettingError, WorkerDiedError

ErrorsLike = type[BaseException] | tuple[type[BaseException], ...] | list[type[BaseException]]

_LONGEST_DELAY_SECONDS = 30.0
_MOST_DOUBLINGS = 64  # beyond which a float would overflow some day, and every delay is the longest
_chance = random.SystemRandom()  # which leaves the user's own random numbers alone


@dataclass(frozen=True)
class Policy:
    """What an error of an item means: another try, a failed item, or the end of the run.

    Parameters
    ----------
    max_errors
        How many items may fail: a count (an integer from 0), or a fraction of all items (a float between 0 and 1).
    timeout
        Seconds that an item may take, more than 0; None for as long as it takes.
    retries
        How often an item that has raised, or has cost its worker, is tried again.
    retry_delay
        Longest wait before the second try in seconds; doubled for each further one, up to half a minute.
    catch
        Errors that are recorded as the failure of their item; any other ends the run.
    retry_on
        Errors that are worth another try; None for all that are caught.

    Examples
    --------
    >>> Policy(max_errors=0.01).allowed(250)
    2
    >>> policy = Policy(retries=1, catch=(OSError,))
    >>> policy.is_caught(ConnectionError()), policy.is_caught(ValueError())
    (True, False)
    >>> policy.is_retried(ConnectionError(), attempts=1), policy.is_retried(ConnectionError(), attempts=2)
    (True, False)
    """

    max_errors: float = 0
    timeout: float | None = None
    retries: int = 0
    retry_delay: float = 0.1
    catch: tuple[type[BaseException], ...] = (Exception,)
    retry_on: tuple[type[BaseException], ...] | None = None

    def __post_init__(self) -> None:
        is_fraction = isinstance(self.max_errors, float)
        if not 0 <= self.max_errors <= (1 if is_fraction else math.inf):
            raise SettingError(
                f"max_errors is {self.max_errors!r}. Give a count (0, 1, 2 …) or a fraction (a float from 0.0 to 1.0)."
            )
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise SettingError(f"timeout is {self.timeout!r}. Give a number of seconds greater than 0, or none.")

    def allowed(self, total: int) -> int:
        """How many of ``total`` items may fail."""
        return share_of(self.max_errors, total)

    def is_caught(self, error: BaseException) -> bool:
        """Whether an error of an item is recorded as its failure, rather than to end the run."""
        return _is_one_of(error, self.catch)

    def is_retried(self, error: BaseException, attempts: int) -> bool:
        """Whether an item that has raised is tried again, after so many attempts."""
        kinds = self.catch if self.retry_on is None else self.retry_on
        return attempts <= self.retries and _is_one_of(error, kinds)

    def is_loss_retried(self, loss: Loss, attempts: int) -> bool:
        """Whether an item that has cost its worker is tried again, after so many attempts.

        It has failed, whatever ``catch`` says: an item cannot raise what happens to its process.
        """
        error = WorkerDiedError if loss.timeout is None else TimeoutError
        return attempts <= self.retries and (self.retry_on is None or issubclass(error, self.retry_on))

    def delay(self, attempts: int) -> float:
        """Seconds to wait after so many attempts: anything up to a limit that doubles with each.

        Items that have failed together, because a server was down perhaps, so do not come back together.
        """
        longest = self.retry_delay * 2 ** min(attempts - 1, _MOST_DOUBLINGS)
        return _chance.uniform(0, min(longest, max(self.retry_delay, _LONGEST_DELAY_SECONDS)))


def _is_one_of(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Whether an error is of one of these kinds; who says Exception means a SystemExit too, and nobody an Abort."""
    if isinstance(error, Abort):
        return False
    return isinstance(error, kinds) or (isinstance(error, SystemExit) and Exception in kinds)


def errors_of(value: object, argument: str) -> tuple[type[BaseException], ...]:
    """What was given as ``catch`` or ``retry_on`` as a tuple; one class counts as a list of one.

    Parameters
    ----------
    value
        As a user gave it.
    argument
        Under which name, for the message.

    Raises
    ------
    DefinitionError
        That is not a class of exceptions that an item could raise, nor several.

    Examples
    --------
    >>> errors_of(OSError, "catch")
    (<class 'OSError'>,)
    """
    kinds = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, (Exception, SystemExit))):
            raise DefinitionError(
                f"{argument} names {kind!r}, which is no class of exceptions. Give a class such as OSError, or several "
                "in a tuple; an empty one stands for none."
            )
    return cast("tuple[type[BaseException], ...]", kinds)


def share_of(limit: float, total: int) -> int:
    """How many of ``total`` a limit allows: a fraction where it is a float, else a count.

    Examples
    --------
    >>> share_of(0.5, 5), share_of(3, 5)
    (2, 3)
    """
    if isinstance(limit, float):
        return int(Fraction(repr(limit)) * total)  # 0.29 * 100 is 28.999999999999996
    return int(limit)
