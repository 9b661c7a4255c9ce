"""Padding: items that differ in length become one array, of which they fill a part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from luisy_dir.dataset.arguments import Sizes, check_one_of, checked_sizes, per_axis
from luisy_dir.dataset.collated import Collated, Members, keys_of
from luisy_dir.dataset.fitting import arrays_of, common_dtype, shapes_of, span
from luisy_dir.errors import CollationError, SettingError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# Every mode of numpy.pad, and the option that it takes.
_OPTIONS = {
    "constant": "constant_values",
    "edge": None,
    "empty": None,
    "linear_ramp": "end_values",
    "maximum": "stat_length",
    "mean": "stat_length",
    "median": "stat_length",
    "minimum": "stat_length",
    "reflect": "reflect_type",
    "symmetric": "reflect_type",
    "wrap": None,
}


@dataclass(frozen=True)
class Pad:
    """What :func:`pad` makes."""

    mode: str | Callable[..., Any] = "constant"
    side: str = "end"
    to: Sizes = None
    multiple_of: Sizes = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, data: Sequence[Any], members: Members | None = None) -> Collated:
        """One array of the shape that is asked for, with the items' own shapes, and where they are in it."""
        import numpy as np

        keys = keys_of(data, members)
        arrays = arrays_of(data, keys)
        shapes = shapes_of(arrays, keys)
        shape = self._shape(shapes, keys)
        dtype = common_dtype(arrays, keys)
        batch = self._blank((len(arrays), *shape), dtype)
        mask = np.zeros(batch.shape, dtype=bool)
        is_blank = self._is_blank
        for number, array in enumerate(arrays):
            begins = self._begins(array.shape, shape)
            place: tuple[Any, ...] = (number, *map(span, begins, array.shape), ...)
            mask[place] = True
            if is_blank or array.shape == shape:
                batch[place] = array
            else:
                batch[number] = self._padded(array.astype(dtype, copy=False), begins, shape, keys[number])
        return Collated(batch, shapes, mask)

    def _shape(self, shapes: np.ndarray[Any, np.dtype[np.int64]], keys: Sequence[str]) -> tuple[int, ...]:
        largest = tuple(shapes.max(axis=0).tolist())
        to = per_axis("to", self.to, len(largest))
        multiples = per_axis("multiple_of", self.multiple_of, len(largest))
        whole = (size if not of else -(-size // of) * of for size, of in zip(largest, multiples, strict=True))
        shape = tuple(size if fixed is None else fixed for fixed, size in zip(to, whole, strict=True))
        too_large = (shapes > shape).any(axis=1)
        if too_large.any():
            number = int(too_large.argmax())
            raise CollationError(
                f"{keys[number]!r} has shape {tuple(shapes[number].tolist())}, which does not go into {shape}, to "
                "which it is to be padded. Give a larger `to`, or use collate='crop'."
            )
        return shape

    def _begins(self, shape: tuple[int, ...], whole: tuple[int, ...]) -> tuple[int, ...]:
        if self.side == "end":
            return (0,) * len(shape)
        parts = 1 if self.side == "start" else 2
        return tuple((all_ - mine) // parts for mine, all_ in zip(shape, whole, strict=True))

    @property
    def _is_blank(self) -> bool:
        """Whether what surrounds the items is the same everywhere, so that one call makes it for all of them."""
        return self.mode == "empty" or (self.mode == "constant" and not _has_axes(self._fill))

    @property
    def _fill(self) -> Any:
        return self.options.get("constant_values", 0)

    def _blank(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        import numpy as np

        if self.mode != "constant":
            return np.empty(shape, dtype)
        fill = np.asarray(self._fill)
        with np.errstate(invalid="ignore"):  # of a NaN that is to be an integer
            if dtype.kind in "biu" and (fill.astype(dtype) != fill).any():
                raise CollationError(
                    f"The items are {dtype}, which has no value {self._fill!r} to pad them with. Give other "
                    "constant_values, or convert the items to another dtype first."
                )
        return np.empty(shape, dtype) if _has_axes(self._fill) else np.full(shape, fill, dtype)

    def _padded(self, array: Array, begins: tuple[int, ...], whole: tuple[int, ...], key: str) -> Array:
        import numpy as np

        sizes = zip(begins, array.shape, whole, strict=True)
        widths = [(begin, all_ - begin - mine) for begin, mine, all_ in sizes]
        try:
            return np.pad(array, widths, self.mode, **self.options)  # type: ignore[call-overload, no-any-return]
        except Exception as error:
            error.add_note(f"This was {key!r} of shape {array.shape}, which was being padded to {whole}.")
            raise


def pad(
    mode: str | Callable[..., Any] = "constant",
    *,
    side: Literal["end", "start", "both"] = "end",
    to: Sizes = None,
    multiple_of: Sizes = None,
    **options: Any,
) -> Pad:
    """Items of as many axes each become one array, of which they fill a part; with their lengths, and a mask.

    Parameters
    ----------
    mode
        Any that :func:`numpy.pad` knows, also a function.
    side
        Where the padding lies. With ``both``, an odd one is at the end.
    to
        How long each axis shall be; one number for all axes, or one an axis, None for as long as the longest item.
    multiple_of
        Round up the lengths that ``to`` does not say; one number for all axes, or one an axis or None.
    **options
        Those that :func:`numpy.pad` has for this mode, such as ``constant_values``.

    Returns
    -------
    Pad
        To be given as ``collate``, or called with a list of arrays. CollationError where an item is longer than ``to``,
        items are no arrays, do not have as many axes each, or no dtype takes the values of all of them and of the
        padding as they are.

    Raises
    ------
    SettingError
        An argument is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> batch = pad(constant_values=7)([np.array([1, 2, 3]), np.array([4])])
    >>> batch.data
    array([[1, 2, 3],
           [4, 7, 7]])
    >>> batch.lengths.tolist()
    [[3], [1]]
    >>> batch.mask.tolist()
    [[True, True, True], [True, False, False]]
    """
    check_one_of("mode", mode, _OPTIONS, or_a="function")
    check_one_of("side", side, ("end", "start", "both"))
    known = set(options) if callable(mode) else {_OPTIONS[mode]}
    for unknown in sorted(set(options) - known):
        has = " has no options" if known == {None} else f" has the option {_OPTIONS[str(mode)]!r}"
        raise SettingError(f"pad has no option {unknown!r} with mode={mode!r}, which{has}.")
    return Pad(mode, side, checked_sizes("to", to, 0), checked_sizes("multiple_of", multiple_of, 1), options)


def _has_axes(value: object) -> bool:
    return getattr(value, "ndim", 0) > 0 or isinstance(value, Sequence | Mapping)
