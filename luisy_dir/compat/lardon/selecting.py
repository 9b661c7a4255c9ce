"""A selector: which part of an item's array is read."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luisy_dir.dataset.arguments import whole
from luisy_dir.dataset.changes import Index, Window, window
from luisy_dir.dataset.randomness import rng_for

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, ...]

# What numbers are drawn from: Python's own, until somebody calls seed. torch seeds it anew in each of its workers.
_sources: list[Any] = [random]


def seed(number: int | None = None) -> None:
    """Let what :class:`randslice` draws from now on be the same again after another call with the same number.

    It has numbers of its own then, so that nothing else that draws is in its way. Until it is called, and after
    ``seed(None)``, they come from Python's :mod:`random`, whose own ``seed`` counts.

    Parameters
    ----------
    number
        Any.
    """
    _sources[0] = random if number is None else random.Random(number)  # noqa: S311 - no secret is made of it


@dataclass(frozen=True)
class randslice:  # noqa: N801 - its name
    """A random part of the axis where it stands in an index, drawn anew whenever data is read.

    Each place is as probable as any other, the first and the last one too.

    Parameters
    ----------
    length
        How many positions it spans; with 1 the axis is dropped, as by an integer.
    start, stop
        Between which positions it lies, as a slice means them.
    step
        Takes only every so many of the positions that it spans.

    Raises
    ------
    SettingError
        An argument is no whole number, or length or step is not positive.

    Examples
    --------
    >>> randslice(10, start=10, stop=50)
    randslice(length=10, start=10, stop=50, step=None)
    """

    length: int = 1
    start: int | None = None
    stop: int | None = None
    step: int | None = None

    def __post_init__(self) -> None:
        window(self.length, self.start, self.stop)
        if self.step is not None:
            whole("step", self.step, 1)

    @property
    def as_window(self) -> Window:
        """The same as the dataset has it, which knows neither a step nor an integer."""
        return window(self.length, self.start, self.stop)

    def drawn(self, place: slice) -> int | slice:
        """What a place that was drawn for the window means in an index."""
        return int(place.start) if self.length == 1 else slice(place.start, place.stop, self.step)


@dataclass(frozen=True)
class Selector:
    """Which part of an item's array is read; of a new one, all of it. ``Selector()[1:3, 0]`` is another one.

    Parameters
    ----------
    indices
        Of NumPy's, with :class:`randslice` in them, each on what the one before has left.

    Examples
    --------
    >>> Selector()[1:3, 0].get_shape((7, 11, 13))
    (2, 13)
    """

    indices: tuple[tuple[Any, ...], ...] = ()

    def __getitem__(self, index: Any) -> Selector:
        """One that takes an index of what this one selects."""
        return Selector((*self.indices, index if isinstance(index, tuple) else (index,)))

    def get_shape(self, shape: Shape) -> Shape:
        """Shape of what is selected of an array of that shape."""
        for index in self.indices:
            shape = _settled(index, shape, lambda: rng_for(0, 0, "", "")).shape(shape)  # as long wherever it lies
        return shape

    def select(self, data: Any, key: str) -> tuple[Any, Any]:
        """What is selected of an item's data, and the index with what was drawn for it.

        Where an index is taken of what another one has left, it is the list of them.

        Raises
        ------
        IndexError
            An index does not fit.
        """
        taken = []
        for index in self.indices:
            settled = _settled(index, getattr(data, "shape", ()), lambda: _rng_of(key))
            data = settled(data)
            taken.append(settled.index)
        return data, taken if len(taken) > 1 else (*taken, ())[0]


def _rng_of(key: str) -> np.random.Generator:
    return rng_for(_sources[0].getrandbits(64), 0, key, "randslice")


def _settled(index: tuple[Any, ...], shape: Shape, rng: Callable[[], np.random.Generator]) -> Index:
    """An index with what is drawn in the place of what is random."""
    parts = Index(tuple(part.as_window if isinstance(part, randslice) else part for part in index))
    if not parts.is_random:
        return parts
    try:
        drawn = parts.drawn(shape, rng).index
    except IndexError as error:
        shown = ", ".join(map(repr, index))
        raise IndexError(
            f"There is no place for [{shown}] in an array of shape {shape}. Put the randslice where an axis is long "
            "enough, or make it shorter, or give it another start and stop."
        ) from error
    whole = zip(index, drawn, strict=True)
    return Index(tuple(part.drawn(place) if isinstance(part, randslice) else place for part, place in whole))
