"""Changes: what is done with the array of one item when it is read, and what is known of the outcome beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from luisy_dir.dataset.arguments import whole
from luisy_dir.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, ...]


class Change:
    """What is done with the data of one item; never in place."""

    def __call__(self, data: Any) -> Any:
        """The data, changed."""
        raise NotImplementedError

    def shape(self, shape: Shape) -> Shape:
        """Shape of what becomes of an array of that shape: found out on an array that takes no memory."""
        import numpy as np

        return np.shape(self(np.broadcast_to(np.empty((), bool), shape)))

    def dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """Dtype of what becomes of an array of that dtype."""
        return dtype


@dataclass(frozen=True)
class Window:
    """A window of ``length`` along the axis where it stands in an index, at a random place; see :func:`window`."""

    length: int
    start: int | None = None
    stop: int | None = None

    def drawn(self, size: int, rng: np.random.Generator) -> slice:
        """The window in an axis of a size, each possible place being as probable as any other.

        Raises
        ------
        IndexError
            There is no place for it.
        """
        first, last = self._ends(size)
        begin = int(rng.integers(first, last - self.length + 1))
        return slice(begin, begin + self.length)

    def some(self, size: int) -> slice:
        """One of the possible windows."""
        first, _ = self._ends(size)
        return slice(first, first + self.length)

    def _ends(self, size: int) -> tuple[int, int]:
        first, last, _ = slice(self.start, self.stop).indices(size)
        if last - first < self.length:
            raise IndexError(
                f"A window of {self.length} does not fit between {first} and {last} of an axis of {size}. Make it "
                "shorter, leave out what is too short with where(), or pad first with map()."
            )
        return first, last


def window(length: int, start: int | None = None, stop: int | None = None) -> Window:
    """A window at a random place, for an index or a batch: ``dataset[:, window(512)]``.

    It lies within ``start`` and ``stop`` of the axis, as a slice means them, and each place is as probable as any
    other. Where it lies depends on the dataset's seed, the epoch and the item's key, so that it is the same again
    whatever the size of batches, their order or the number of workers.

    Parameters
    ----------
    length
        Of the window; the axis stays, with this length.
    start, stop
        Where the window may begin, and where it must have ended; None for the whole axis.

    Raises
    ------
    SettingError
        An argument is no whole number, or the length is not positive.

    Examples
    --------
    >>> window(512)
    Window(length=512, start=None, stop=None)
    """
    ends = (None if end is None else whole(name, end) for name, end in (("start", start), ("stop", stop)))
    return Window(whole("length", length, 1), *ends)


@dataclass(frozen=True)
class Index(Change):
    """A NumPy index, which may have windows in it."""

    index: tuple[Any, ...]

    @property
    def is_random(self) -> bool:
        """Whether it differs between epochs."""
        return any(isinstance(part, Window) for part in self.index)

    def drawn(self, shape: Shape, rng: Callable[[], np.random.Generator]) -> Index:
        """The index with a slice in the place of each window.

        Parameters
        ----------
        shape
            Of the array.
        rng
            Makes the generator that all its windows are drawn from, in their order.
        """
        generator = rng()
        return self._with(shape, lambda window, size: window.drawn(size, generator))

    def _with(self, shape: Shape, choose: Callable[[Window, int], slice]) -> Index:
        parts, axis = [], 0
        for part in self.index:
            if isinstance(part, Window):
                if axis >= len(shape):
                    raise IndexError(f"A window stands at axis {axis} of an array of shape {shape}, which has none.")
                parts.append(choose(part, shape[axis]))
                axis += 1
            else:
                parts.append(part)
                axis += self._axes_of(part, shape)
        return replace(self, index=tuple(parts))

    def _axes_of(self, part: Any, shape: Shape) -> int:
        """How many axes a part of the index is for."""
        if part is None:
            return 0
        if part is Ellipsis:
            return len(shape) - sum(self._axes_of(each, ()) for each in self.index if each is not Ellipsis)
        import numpy as np

        if isinstance(part, (slice, Window)):
            return 1
        array = np.asarray(part)
        return array.ndim if array.dtype == bool else 1

    def __call__(self, data: Any) -> Any:
        """The data, changed."""
        return data[self.index if len(self.index) != 1 else self.index[0]]

    def shape(self, shape: Shape) -> Shape:
        """Shape of what becomes of an array of that shape."""
        settled = self._with(shape, Window.some) if self.is_random else self
        return super(Index, settled).shape(shape)


@dataclass(frozen=True)
class ExpandDims(Change):
    """A new axis of length 1."""

    axis: int

    def __call__(self, data: Any) -> Any:
        """The data, changed."""
        import numpy as np

        return np.expand_dims(data, self.axis)


@dataclass(frozen=True)
class Squeeze(Change):
    """Without an axis of length 1; without all of them, where ``axis`` is None."""

    axis: int | None

    def __call__(self, data: Any) -> Any:
        """The data, changed."""
        import numpy as np

        return np.squeeze(data, self.axis)


@dataclass(frozen=True)
class Convert(Change):
    """Another dtype; where values could be lost, only if that was asked for."""

    to: np.dtype[Any]
    is_lossy: bool = False

    def __call__(self, data: Any) -> Any:
        """The data, changed."""
        import numpy as np

        array = np.asarray(data)
        self.dtype(array.dtype)
        return array.astype(self.to, copy=False)

    def shape(self, shape: Shape) -> Shape:
        """The same."""
        return shape

    def dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The other dtype; DatasetError where the conversion could lose values."""
        import numpy as np

        if not self.is_lossy and not np.can_cast(dtype, self.to, "safe"):
            raise DatasetError(
                f"Values of dtype {dtype} may be lost as {self.to}. Say lossy=True if that is meant, or choose "
                f"{np.result_type(dtype, self.to) if dtype.kind in 'biufc' and self.to.kind in 'biufc' else dtype}."
            )
        return self.to


@dataclass(frozen=True)
class Copy(Change):
    """An array of its own, which may be written to."""

    def __call__(self, data: Any) -> Any:
        """The data, changed."""
        import numpy as np

        return np.array(data) if isinstance(data, (np.ndarray, np.generic)) else data

    def shape(self, shape: Shape) -> Shape:
        """The same."""
        return shape
