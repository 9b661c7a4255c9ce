"""Ready-made checks: what may be asked of an item's data, as ``check=`` and ``check_input=`` of a task.

Each function here makes a check: a callable that takes the data, changes nothing, and returns None where it passes,
else a text that says why not. A check of your own is any such callable.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, Any

from luisy_dir.errors import DefinitionError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_NUMBERS = "buifc"  # kinds of NumPy's dtypes
_ORDERED = "buif"


@dataclass(frozen=True)
class Check:
    """A ready-made check with its arguments.

    Its ``repr`` is what made it, and all that makes a result stale: so arguments are plain values.

    Parameters
    ----------
    name
        As users call it.
    function
        ``function(data, *arguments) -> None or str``.
    arguments
        Plain values.
    """

    name: str
    function: Callable[..., str | None]
    arguments: tuple[Any, ...] = ()

    def __call__(self, data: Any) -> str | None:
        """None where the data passes, else why it does not."""
        return self.function(data, *self.arguments)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(_shown, self.arguments))})"


def _shown(argument: object) -> str:
    return "..." if argument is Ellipsis else repr(argument)


def shape(*sizes: int | EllipsisType | None) -> Check:
    """Whether an array or a frame has a shape.

    Parameters
    ----------
    *sizes
        Size of each axis; None takes any size, and ``...`` stands for any number of axes.

    Raises
    ------
    DefinitionError
        A size is none, or there is more than one ``...``.

    Examples
    --------
    >>> import numpy as np
    >>> shape(None, None, 3)
    shape(None, None, 3)
    >>> shape(None, None, 3)(np.zeros((4, 4)))
    'it is (4, 4)'
    >>> shape(..., 3)(np.zeros((4, 4, 3))) is None
    True
    """
    for size in sizes:
        if size is not None and size is not Ellipsis and not _is_count(size):
            raise DefinitionError(
                f"shape() got {size!r} for a size. Give a number from 0, None for any size, or ... for any axes."
            )
    if sizes.count(Ellipsis) > 1:
        raise DefinitionError("shape() got ... more than once, which says nothing certain. Leave one of them out.")
    return Check("shape", _check_shape, sizes)


def _check_shape(data: Any, *sizes: int | EllipsisType | None) -> str | None:
    found = getattr(data, "shape", None)
    if not isinstance(found, tuple):
        return f"{kind_of(data)} has no shape"
    wanted = _filled(sizes, len(found))
    is_right = len(found) == len(wanted) and all(
        size in {None, there} for size, there in zip(wanted, found, strict=True)
    )
    return None if is_right else f"it is {tuple(found)!r}"


def _filled(sizes: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """The sizes with as many None in the place of an ellipsis as there are axes left."""
    if Ellipsis not in sizes:
        return sizes
    place = sizes.index(Ellipsis)
    return sizes[:place] + (None,) * (count - len(sizes) + 1) + sizes[place + 1 :]


def ndim(count: int) -> Check:
    """Whether an array or a frame has so many axes.

    Raises
    ------
    DefinitionError
        This is no number from 0.

    Examples
    --------
    >>> import numpy as np
    >>> ndim(2)(np.zeros((4, 4, 3)))
    'it has 3 axes'
    """
    if not _is_count(count):
        raise DefinitionError(f"ndim() got {count!r}. Give a number of axes from 0.")
    return Check("ndim", _check_ndim, (count,))


def _check_ndim(data: Any, count: int) -> str | None:
    found = getattr(data, "ndim", None)
    if not isinstance(found, int):
        return f"{kind_of(data)} has no axes"
    return None if found == count else f"it has {found} axes"


def dtype(*names: str) -> Check:
    """Whether an array is of one of some dtypes.

    Parameters
    ----------
    *names
        As ``array.dtype`` shows them: ``"uint8"``, ``"float32"``, ``"datetime64[ns]"``.

    Raises
    ------
    DefinitionError
        There is no name, or one is no text.

    Examples
    --------
    >>> import numpy as np
    >>> dtype("uint8", "uint16")(np.zeros(3))
    'it is float64'
    """
    if not names or not all(isinstance(name, str) for name in names):
        raise DefinitionError(f"dtype() got {names!r}. Give the names of dtypes as text, such as 'uint8'.")
    return Check("dtype", _check_dtype, names)


def _check_dtype(data: Any, *names: str) -> str | None:
    found = getattr(data, "dtype", None)
    if found is None:
        return f"{kind_of(data)} has no dtype"
    return None if {str(found), getattr(found, "name", None)} & set(names) else f"it is {found}"


def finite() -> Check:
    """Whether all numbers are finite: neither NaN nor infinite.

    Of a frame the columns of numbers are looked at.

    Examples
    --------
    >>> import numpy as np
    >>> finite()(np.array([1.0, np.nan, np.inf]))
    '2 of 3 values are not finite'
    """
    return Check("finite", _check_finite)


def _check_finite(data: Any) -> str | None:
    import numpy as np

    return _check_each(data, _NUMBERS, np.isfinite, "are not finite")


def between(low: float | None, high: float | None) -> Check:
    """Whether all numbers lie between two, or are equal to one of them; NaN never does.

    Of a frame the columns of numbers are looked at.

    Parameters
    ----------
    low, high
        The least and the greatest number that is right; None for no limit.

    Raises
    ------
    DefinitionError
        A limit is no number, or no number lies between them.

    Examples
    --------
    >>> import numpy as np
    >>> between(0, 1)(np.array([0.5, 1.0, 2.5]))
    '1 of 3 values are not, such as 2.5'
    """
    limits = _limit(low), _limit(high)
    if None not in limits and low > high:  # type: ignore[operator] # neither is None
        raise DefinitionError(f"between({low!r}, {high!r}) lets no number pass. Give the smaller one first.")
    return Check("between", _check_between, limits)


def _limit(limit: float | None) -> float | None:
    """A limit as a plain number, be it one of NumPy's."""
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, numbers.Real) or math.isnan(limit):
        raise DefinitionError(f"between() got {limit!r} for a limit. Give a number, or None for no limit.")
    return int(limit) if isinstance(limit, numbers.Integral) else float(limit)


def _check_between(data: Any, low: float | None, high: float | None) -> str | None:
    def is_inside(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        inside: npt.NDArray[np.bool_] = values == values  # noqa: PLR0124 - NaN equals nothing
        if low is not None:
            inside &= values >= low
        if high is not None:
            inside &= values <= high
        return inside

    return _check_each(data, _ORDERED, is_inside, "are not", is_to_show=True)


def non_empty() -> Check:
    """Whether there is anything at all: values in an array or a frame, letters in a text, elements in a list.

    Examples
    --------
    >>> non_empty()("")
    'it is empty'
    """
    return Check("non_empty", _check_non_empty)


def _check_non_empty(data: Any) -> str | None:
    size = getattr(data, "size", None)
    if not isinstance(size, int):
        try:
            size = len(data)
        except TypeError:
            return f"{kind_of(data)} has no length"
    return None if size else "it is empty"


def columns(*names: str) -> Check:
    """Whether a frame has some columns, in any order; it may have others too.

    Parameters
    ----------
    *names
        Of the columns.

    Raises
    ------
    DefinitionError
        There is no name, or one is no text.

    Examples
    --------
    >>> import pandas as pd
    >>> columns("area", "label")(pd.DataFrame({"area": [1.5]}))
    "it has no column 'label'"
    """
    if not names or not all(isinstance(name, str) for name in names):
        raise DefinitionError(f"columns() got {names!r}. Give the names of columns as text.")
    return Check("columns", _check_columns, names)


def _check_columns(data: Any, *names: str) -> str | None:
    found = getattr(data, "columns", None)
    if found is None:
        return f"{kind_of(data)} has no columns"
    missing = [name for name in names if name not in found]
    return f"it has no column {', '.join(map(repr, missing))}" if missing else None


def _check_each(
    data: Any, kinds: str, are_right: Callable[[Any], Any], complaint: str, *, is_to_show: bool = False
) -> str | None:
    """None where all numbers are right, else how many are not."""
    is_frame = hasattr(data, "columns") and hasattr(data, "items")
    arrays = [_as_array(part) for part in ([column for _, column in data.items()] if is_frame else [data])]
    of_numbers = [array for array in arrays if array.dtype.kind in kinds]
    if not of_numbers:
        return f"{kind_of(data)} holds no numbers that could be looked at"
    wrong = [array[~are_right(array)] for array in of_numbers]
    count, total = sum(part.size for part in wrong), sum(array.size for array in of_numbers)
    if not count:
        return None
    example = next(part[0] for part in wrong if part.size)
    return f"{count:,} of {total:,} values {complaint}" + (f", such as {example}" if is_to_show else "")


def _as_array(data: Any) -> npt.NDArray[Any]:
    """The data as an array; a column of pandas' own numbers, which may be missing, with NaN for those."""
    import numpy as np

    array = np.asarray(data)
    if array.dtype == object and hasattr(data, "to_numpy"):
        import pandas as pd

        if pd.api.types.is_numeric_dtype(data):
            return np.asarray(data.to_numpy(dtype="float64", na_value=np.nan))
    return array


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def kind_of(data: object) -> str:
    """What data is, in words: ``an int``, ``a list``, ``a ndarray of uint8``."""
    name, described = type(data).__name__, getattr(data, "dtype", None)
    article = "an" if name[0] in "aeiouAEIOU" else "a"
    return f"{article} {name}" + ("" if described is None else f" of {described}")
