"""Cropping: of items that differ in length, parts of one shape become one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from luisy_dir.dataset.arguments import Sizes, check_one_of, checked_sizes, per_axis
from luisy_dir.dataset.collated import Collated, Members, keys_of
from luisy_dir.dataset.fitting import arrays_of, common_dtype, filled, shapes_of, span
from luisy_dir.errors import CollationError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Crop:
    """What :func:`crop` makes."""

    anchor: str = "start"
    to: Sizes = None

    def __call__(self, data: Sequence[Any], members: Members | None = None) -> Collated:
        """One array of the shape that is asked for, with a part of each item."""
        keys = keys_of(data, members)
        arrays = arrays_of(data, keys)
        shape = self._shape(shapes_of(arrays, keys), keys)
        parts = []
        for number, array in enumerate(arrays):
            room = tuple(mine - wanted for mine, wanted in zip(array.shape, shape, strict=True))
            parts.append(array[tuple(map(span, self._begins(room, number, members), shape))])
        return Collated(filled(parts, shape, common_dtype(arrays, keys)))

    def _shape(self, shapes: np.ndarray[Any, np.dtype[np.int64]], keys: Sequence[str]) -> tuple[int, ...]:
        smallest = tuple(shapes.min(axis=0).tolist())
        to = per_axis("to", self.to, len(smallest))
        shape = tuple(size if fixed is None else fixed for fixed, size in zip(to, smallest, strict=True))
        too_small = (shapes < shape).any(axis=1)
        if too_small.any():
            number = int(too_small.argmax())
            raise CollationError(
                f"{keys[number]!r} has shape {tuple(shapes[number].tolist())}, of which {shape} cannot be cut out. "
                "Give a smaller `to`, or use collate='pad'."
            )
        return shape

    def _begins(self, room: tuple[int, ...], number: int, members: Members | None) -> tuple[int, ...]:
        if self.anchor == "start":
            return (0,) * len(room)
        if self.anchor == "center":
            return tuple(size // 2 for size in room)
        if members is None:
            raise CollationError(
                "crop('random') draws by the keys of the items, and was called without. Give it as `collate` to the "
                "batches of a dataset, or call it with the `Members` of the batch."
            )
        return tuple(members.rng(number, "crop").integers(0, room, endpoint=True).tolist())


def crop(anchor: Literal["start", "center", "random"] = "start", *, to: Sizes = None) -> Crop:
    """Of items of as many axes each, parts of one shape become one array.

    Parameters
    ----------
    anchor
        Where the part lies. With ``random`` every place is as likely, and which it is depends on the seed, the epoch
        and the item's key only, where ``to`` says the whole shape.
    to
        How long each axis shall be; one number for all axes, or one an axis, None for as long as the shortest item.

    Returns
    -------
    Crop
        To be given as ``collate``, or called with a list of arrays. CollationError where an item is shorter than
        ``to``, items are no arrays, do not have as many axes each, or no dtype takes the values of all of them.

    Raises
    ------
    SettingError
        An argument is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> crop("center", to=1)([np.array([1, 2, 3]), np.array([4])]).data
    array([[2],
           [4]])
    """
    check_one_of("anchor", anchor, ("start", "center", "random"))
    return Crop(anchor, checked_sizes("to", to, 0))
