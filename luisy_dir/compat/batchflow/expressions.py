"""Named expressions by their letters, each a face of :mod:`luisy_dir.batch.values`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from luisy_dir.batch.expressions import Expression, PerItem
from luisy_dir.batch.values import Calculated, Drawn, DrawnPerItem, OfBatch


class _OfBatch:
    """``B("images")`` and ``B.images`` are what the batch has under that name; ``B()`` is the batch itself."""

    def __call__(self, name: str | None = None, *, copy: bool = False) -> Expression:
        return Calculated(_copied) if copy and name is None else OfBatch(name)

    def __getattr__(self, name: str) -> Expression:
        if name.startswith("__"):
            raise AttributeError(name)
        return OfBatch(name)


B = _OfBatch()
F = Calculated


def _copied(batch: Any) -> Any:
    return batch.copy()


def D(name: str) -> Expression:  # noqa: N802 - the name is known
    """An attribute of the dataset that the batch was taken from.

    Examples
    --------
    >>> from luisy_dir.compat.batchflow import Batch, Dataset
    >>> D("batch_class").evaluate(next(Dataset(3).gen_batch(2))).__name__
    'Batch'
    """
    return Calculated(_of_dataset, name)


def _of_dataset(batch: Any, name: str) -> Any:
    return getattr(batch.dataset, name)


def L(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Expression:  # noqa: N802 - the name is known
    """What a function returns that does not get the batch.

    Examples
    --------
    >>> from luisy_dir.compat.batchflow import Batch
    >>> L(max, B("size"), 3).evaluate(Batch([0, 1]))
    3
    """
    return Calculated(_called, function, *args, **kwargs)


def _called(_: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def R(what: Any, *args: Any, **kwargs: Any) -> Drawn:  # noqa: N802 - the name is known
    """A random value for the batch: of a distribution, or one of a list.

    Examples
    --------
    >>> from luisy_dir.compat.batchflow import Batch
    >>> R(["opera", "ballet"]).evaluate(Batch([0, 1])) in {"opera", "ballet"}
    True
    """
    return Drawn(what, *args, **kwargs) if isinstance(what, str) else Drawn("choice", what, *args, **kwargs)


def P(what: Any, *args: Any, **kwargs: Any) -> Expression:  # noqa: N802 - the name is known
    """A value for each item: of a list, of an expression, or drawn by the item's id where that is an ``R``.

    Examples
    --------
    >>> from luisy_dir.compat.batchflow import Batch
    >>> len(P(R("uniform", -30, 30)).evaluate(Batch([0, 1])).values)
    2
    """
    drawn = R(what, *args, **kwargs) if isinstance(what, str) else what
    if isinstance(drawn, Drawn):
        return DrawnPerItem(drawn.method, *drawn.args, **drawn.kwargs)
    return PerItem(drawn)
