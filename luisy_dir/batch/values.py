"""Values: arguments of actions that are looked up, calculated or drawn when there is a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luisy_dir.batch.drawing import Draws
from luisy_dir.batch.expressions import Expression, PerItem, evaluated
from luisy_dir.errors import BatchError

if TYPE_CHECKING:
    import numpy as np

    from luisy_dir.batch.acting import Acting


@dataclass(init=False, eq=False)
class OfBatch(Expression):
    """An attribute or a component of the batch.

    Parameters
    ----------
    name
        Of it; None for the batch itself.

    Examples
    --------
    >>> from luisy_dir import Batch
    >>> OfBatch("labels").evaluate(Batch.from_data(data={"labels": [3, 5]}))
    array([3, 5])
    """

    name: str | None

    def __init__(self, name: str | None = None) -> None:
        self.name = name

    def evaluate(self, batch: Acting) -> Any:
        """What the batch has under that name.

        Raises
        ------
        BatchError
            It has no such attribute or component.
        """
        if self.name is None:
            return batch
        try:
            return getattr(batch, self.name)
        except AttributeError:
            raise BatchError(f"A {type(batch).__name__} has no attribute or component {self.name!r}.") from None


@dataclass(init=False, eq=False)
class Calculated(Expression):
    """What a function returns for the batch.

    Parameters
    ----------
    function
        Gets the batch, ``args`` and ``kwargs``.
    args
        As said; they may be expressions.
    kwargs
        Likewise.

    Examples
    --------
    >>> from luisy_dir import Batch
    >>> Calculated(lambda batch: batch.size).evaluate(Batch([0, 1]))
    2
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs

    def evaluate(self, batch: Acting) -> Any:
        """What it returns."""
        return self.function(batch, *evaluated(self.args, batch), **evaluated(self.kwargs, batch))


@dataclass(init=False, eq=False)
class _OfGenerator(Expression):
    """What a method of a random generator is called with."""

    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __init__(self, method: str, *args: Any, **kwargs: Any) -> None:
        self.method, self.args, self.kwargs = method, args, kwargs

    def _of(self, rng: np.random.Generator) -> Callable[..., Any]:
        draw: Callable[..., Any] | None = getattr(rng, self.method, None)
        if not callable(draw):
            raise BatchError(
                f"A random generator of NumPy's has no method {self.method!r}. Name one such as 'uniform'."
            )
        return draw


@dataclass(init=False, eq=False)
class Drawn(_OfGenerator):
    """What a method of :attr:`luisy_dir.Batch.random` draws: one value for the batch, or as many as ``size`` says.

    It belongs to the batch as a whole, and so depends on all ids in it; :class:`DrawnPerItem` belongs to an item.

    Parameters
    ----------
    method
        Of :class:`numpy.random.Generator`, such as ``uniform``.
    args
        Of the method.
    kwargs
        Likewise.

    Examples
    --------
    >>> from luisy_dir import Batch
    >>> 0 <= Drawn("uniform", 0, 90).evaluate(Batch([0, 1])) < 90
    True
    """

    def evaluate(self, batch: Acting) -> Any:
        """What is drawn.

        Raises
        ------
        BatchError
            NumPy's generators have no such method.
        """
        return self._of(batch.random)(*evaluated(self.args, batch), **evaluated(self.kwargs, batch))


@dataclass(init=False, eq=False)
class DrawnPerItem(_OfGenerator):
    """What a method of a random generator draws for each item, by the item's id.

    What is drawn depends on seed, epoch, the item's id and how many actions with random numbers the batch has seen, and
    not on which other items there are.

    Parameters
    ----------
    method
        Of :class:`numpy.random.Generator`, such as ``uniform``.
    args
        Of the method.
    kwargs
        Likewise.

    Examples
    --------
    >>> from luisy_dir import Batch
    >>> angles = DrawnPerItem("uniform", -30, 30)
    >>> some, all_items = (angles.evaluate(Batch(ids)).values for ids in (["c", "a"], ["a", "b", "c"]))
    >>> some == [all_items[2], all_items[0]]
    True
    """

    def evaluate(self, batch: Acting) -> PerItem:
        """What is drawn, one an item.

        Raises
        ------
        BatchError
            NumPy's generators have no such method.
        """
        args, kwargs = evaluated(self.args, batch), evaluated(self.kwargs, batch)
        draws = Draws(batch.seed, batch.epoch, batch.next_draw())
        generators = (draws.rng(position, item_id) for position, item_id in enumerate(batch.indices.tolist()))
        return PerItem([self._of(rng)(*args, **kwargs) for rng in generators])
