"""Ids of a batch, and what it refers to beside its data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from luisy_dir.batch.components import is_name
from luisy_dir.batch.ids import Positions, ids_of
from luisy_dir.errors import BatchError, StateError

if TYPE_CHECKING:
    import numpy as np


class Place(NamedTuple):
    """Where in the order of a source a batch ends.

    Parameters
    ----------
    seed
        Of the order.
    shuffle
        Whether each epoch has a permutation of its own.
    epoch
        From 0.
    consumed
        How many items of the epoch come before that place.
    """

    seed: int
    shuffle: bool
    epoch: int
    consumed: int


class Labelled:
    """Items with ids; :class:`luisy_dir.Batch` says what the arguments are."""

    def __init__(self, index: Any, dataset: Any, pipeline: Any) -> None:
        self._index = index
        self._ids = ids_of(index)
        self._positions = Positions(self._ids)
        self._dataset, self._pipeline = dataset, pipeline
        self._attributes: dict[str, None] = {}
        self._place: Place | None = None

    def _has(self, name: str) -> bool:  # noqa: ARG002 - what holds components says more
        """Whether there is a component of that name."""
        return False

    @property
    def index(self) -> Any:
        """What the batch was made with as its index.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> Batch(["a", "b"]).index
        ['a', 'b']
        """
        return self._index

    @property
    def indices(self) -> np.ndarray[Any, Any]:
        """Ids of the items: one dimension.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> Batch(["a", "b"]).indices.tolist()
        ['a', 'b']
        """
        return self._ids

    @property
    def size(self) -> int:
        """Number of items.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> Batch([5, 6, 7]).size
        3
        """
        return len(self._ids)

    def __len__(self) -> int:
        return self.size

    @property
    def dataset(self) -> Any:
        """What the batch was taken from, or None.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> Batch([0]).dataset is None
        True
        """
        return self._dataset

    def taken_from(self, source: Any, place: Place) -> None:
        """Let the batch know the source that it is of, and where there it ends."""
        self._dataset, self._place = source, place

    def state_dict(self) -> dict[str, Any]:
        """How far somebody has got who has had this batch of a source, in a few values that can be written as JSON.

        ``gen_batch(..., state=saved)`` of the same source goes on behind the batch, also in another program.

        Raises
        ------
        StateError
            It is no batch that a source gave, but one that was made, cut out, merged or pickled.

        Examples
        --------
        >>> from luisy_dir import BatchSource
        >>> batch = next(BatchSource(5).gen_batch(2))
        >>> batch.state_dict()["epoch"], batch.state_dict()["consumed"]
        (0, 2)
        """
        if self._place is None or self._dataset is None:
            raise StateError(
                "Of this batch nobody knows what comes behind it: it was not given by gen_batch or next_batch as it "
                "is. Save the state of the batch that was."
            )
        state: dict[str, Any] = self._dataset.state(self._place).as_dict()
        return state

    @property
    def pipeline(self) -> Any:
        """In which the batch is used, or None.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> Batch([0]).pipeline is None
        True
        """
        return self._pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self._pipeline = pipeline

    @property
    def array_of_nones(self) -> np.ndarray[Any, Any]:
        """An array of objects with None for each item.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> Batch(["a", "b"]).array_of_nones
        array([None, None], dtype=object)
        """
        import numpy as np

        return np.full(self.size, None, dtype=object)

    def create_attrs(self, **attributes: Any) -> None:
        """Keep values as attributes of the batch.

        Parameters
        ----------
        attributes
            By name.

        Raises
        ------
        BatchError
            A name is that of a component or of an attribute that every batch has.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> batch = Batch([0])
        >>> batch.create_attrs(camera="left")
        >>> batch.camera, batch.get_attrs()
        ('left', {'camera': 'left'})
        """
        for name in attributes:
            is_mine = name in self._attributes
            if (
                not is_name(name)
                or hasattr(type(self), name)
                or self._has(name)
                or (name in self.__dict__ and not is_mine)
            ):
                raise BatchError(
                    f"An attribute cannot be called {name!r}, as the batch has such a one. Choose another."
                )
        for name, value in attributes.items():
            object.__setattr__(self, name, value)
            self._attributes[name] = None

    def get_attrs(self) -> dict[str, Any]:
        """What :meth:`create_attrs` has made attributes of, with the values that they have now.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> Batch([0], camera="left").get_attrs()
        {'camera': 'left'}
        """
        return {name: self.__dict__[name] for name in self._attributes if name in self.__dict__}
