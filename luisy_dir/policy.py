"""The policy of a run: how many items may fail before it is given up, and how long one may take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from luisy_dir.errors import SettingError


@dataclass(frozen=True)
class Policy:
    """How many items may fail before a run is given up, and how long one may take before it has failed.

    Parameters
    ----------
    max_errors
        A count (an integer from 0), or a fraction of all items (a float between 0 and 1).
    timeout
        Seconds, more than 0; None for as long as it takes.

    Examples
    --------
    >>> Policy(max_errors=0.01).allowed(250)
    2
    """

    max_errors: float = 0
    timeout: float | None = None

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
