"""Datasets and indices by their names, each a face of :class:`luisy_dir.BatchSource`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from luisy_dir.batch.batch import Batch
from luisy_dir.batch.file_index import FileIndex
from luisy_dir.batch.index import Index
from luisy_dir.batch.source import BatchSource
from luisy_dir.compat.batchflow.pipelines import Pipeline, with_engine
from luisy_dir.errors import SettingError

DatasetIndex = Index
FilesIndex = FileIndex
_PARTS = 3  # train, test, validation


class Dataset(BatchSource):
    """A source of batches, whose parts and pipelines are its attributes.

    Parameters
    ----------
    index
        Ids of items, or an index.
    batch_class
        Of the batches.
    preloaded
        Data of all items.
    seed
        Of all random numbers.

    Examples
    --------
    >>> dataset = Dataset(10, preloaded=({"images": range(10)}))
    >>> dataset.split(0.8)
    >>> len(dataset.train), len(dataset.test)
    (8, 2)
    >>> dataset.test.next_batch(2).images
    array([8, 9])
    """

    def __init__(self, index: Any, batch_class: type[Any] = Batch, preloaded: Any = None, *, seed: int = 0) -> None:
        super().__init__(index, batch_class, preloaded, seed=seed)
        self.train: Dataset | None = None
        self.test: Dataset | None = None
        self.validation: Dataset | None = None

    @property
    def indices(self) -> Any:
        """Ids of the items."""
        return self.index.indices

    @property
    def size(self) -> int:
        """Number of items."""
        return len(self)

    @property
    def p(self) -> Pipeline:
        """A pipeline that begins with the batches of this dataset."""
        return Pipeline(self)

    pipeline = p

    def __rshift__(self, pipeline: Pipeline) -> Any:
        return pipeline.on(self)

    def on(self, index: Any) -> Dataset:
        """The same data for other items."""
        return Dataset(index, self.batch_class, self.preloaded, seed=self.seed)

    def split(self, shares: Any = 0.8, shuffle: bool | int = False) -> Any:  # noqa: FBT001, FBT002 - its place is known
        """Let ``train``, ``test`` and ``validation`` be datasets of parts of the items, in this order of the shares.

        Raises
        ------
        SettingError
            There is a fourth part.
        """
        parts = super().split(shares, shuffle=shuffle)
        if len(parts) > _PARTS:
            raise SettingError(
                f"shares is {shares!r}, which makes {len(parts)} parts with the rest, but there are train, test and "
                "validation. Let the sum of three be 1, or split natively."
            )
        self.train, self.test, self.validation = (*parts, None, None)[:3]  # type: ignore[assignment]

    def gen_batch(self, batch_size: int, shuffle: bool | int = False, **options: Any) -> Generator[Any, None, None]:  # noqa: FBT001, FBT002
        """Batches one after the other; ``target`` says what loads them ahead."""
        return super().gen_batch(batch_size, shuffle, **with_engine(options))
