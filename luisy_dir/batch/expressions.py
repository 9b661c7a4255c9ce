"""Expressions: arguments of an action whose values are known when there is a batch."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luisy_dir.batch.rows import in_order
from luisy_dir.errors import BatchError

if TYPE_CHECKING:
    from luisy_dir.batch.acting import Acting


class Expression:
    """An argument of an action whose value is known when there is a batch; a subclass says what it is."""

    def evaluate(self, batch: Acting) -> Any:
        """The value for a batch; asked once an action, whatever ``src`` and ``dst`` it has.

        Parameters
        ----------
        batch
            On which the action is done.
        """
        raise NotImplementedError(f"{type(self).__name__} has to say its value in a method evaluate(batch).")


@dataclass(eq=False)
class PerItem(Expression):
    """An argument that is another one for each item of the batch.

    Parameters
    ----------
    values
        One an item, in the order of the batch; or an expression that has them.

    Examples
    --------
    >>> from luisy_dir import Batch
    >>> batch = Batch.from_data(data={"images": [1, 2, 3]})
    >>> batch.apply_parallel(pow, None, None, "images", "powers", PerItem([2, 3, 0])).powers
    array([1, 8, 1])
    """

    values: Any

    def evaluate(self, batch: Acting) -> PerItem:
        """It with its values, one an item.

        Raises
        ------
        BatchError
            There are more values than items, or fewer; or they have no order.
        """
        values = in_order(evaluated(self.values, batch), "PerItem has a")
        if len(values) != batch.size:
            raise BatchError(
                f"PerItem has {len(values)} values for the {batch.size} items of a batch. Give one for each."
            )
        return PerItem(values)


def evaluated(value: Any, batch: Acting) -> Any:
    """It without expressions, which may also be in lists, tuples and dicts; the same object where there are none."""
    if isinstance(value, Expression):
        return value.evaluate(batch)
    if type(value) in {list, tuple}:
        parts = [evaluated(part, batch) for part in value]
        return value if all(map(operator.is_, parts, value)) else type(value)(parts)
    if type(value) is dict:
        by_name = {name: evaluated(part, batch) for name, part in value.items()}
        return value if all(map(operator.is_, by_name.values(), value.values())) else by_name
    return value


def has_per_item(value: Any) -> bool:
    """Whether an evaluated argument is another one for each item, or has such in it."""
    if type(value) is dict:
        value = list(value.values())
    return isinstance(value, PerItem) or (type(value) in {list, tuple} and any(map(has_per_item, value)))


def of_item(value: Any, number: int) -> Any:
    """An evaluated argument as the item of that number gets it."""
    if isinstance(value, PerItem):
        return value.values[number]
    if not has_per_item(value):
        return value
    if type(value) is dict:
        return {name: of_item(part, number) for name, part in value.items()}
    return type(value)(of_item(part, number) for part in value)
