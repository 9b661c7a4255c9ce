"""A source of batches: the items of an index some at a time, loaded ahead if that is wanted."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Self

import xxhash

from luisy_dir.batch.batch import Batch
from luisy_dir.batch.continuing import Continued
from luisy_dir.batch.cutting import Cuts, epochs_at_most, whole_number
from luisy_dir.batch.index import Index, shuffling
from luisy_dir.batch.labelled import Place
from luisy_dir.batch.rows import described, is_mapping, named
from luisy_dir.dataset.arguments import whole
from luisy_dir.dataset.collated import Collated
from luisy_dir.dataset.crew import Crew
from luisy_dir.dataset.loading import Portion
from luisy_dir.dataset.state import State
from luisy_dir.errors import BatchError


class BatchSource:
    """Gives the items of an index as batches, epoch after epoch.

    Parameters
    ----------
    index
        An :class:`~luisy_dir.batch.index.Index`, or what one can be made of.
    batch_class
        Of the batches.
    preloaded
        From which components are loaded by the ids of the items, as :class:`~luisy_dir.Batch` takes it: arrays, frames,
        or datasets of directories.
    seed
        Of the random numbers of all batches, and of the order of items where ``shuffle`` is no seed itself.

    Examples
    --------
    >>> import numpy as np
    >>> source = BatchSource(5, preloaded={"images": np.arange(5) * 10})
    >>> [batch.images.tolist() for batch in source.gen_batch(2)]
    [[0, 10], [20, 30], [40]]
    """

    def __init__(self, index: Any, batch_class: type[Any] = Batch, preloaded: Any = None, *, seed: int = 0) -> None:
        self.index = index if isinstance(index, Index) else Index(index)
        self.batch_class = batch_class
        self.preloaded = preloaded
        self.seed = whole("seed", seed)
        self._continued = Continued()

    @classmethod
    def join(cls, batch_class: type[Any] = Batch, *, seed: int = 0, **datasets: Any) -> Self:
        """Several datasets as components of the same items.

        Parameters
        ----------
        batch_class
            Of the batches.
        seed
            As said.
        datasets
            By the names of components; each has ``keys``, which are the ids, as a
            :class:`~luisy_dir.DirectoryDataset` has.

        Raises
        ------
        BatchError
            There is none, or a key is in one and not in another; or one has no keys.
        """
        if not datasets:
            raise BatchError("join needs at least one dataset, by the name of a component.")
        keys = {name: _keys_of(name, dataset) for name, dataset in datasets.items()}
        first, *others = keys
        for name in others:
            lacking = sorted(set(keys[first]) ^ set(keys[name]))
            if lacking:
                raise BatchError(
                    f"The items {named(lacking)} are in {first!r} or in {name!r}, and not in both. Select with "
                    "dataset[keys] those that are."
                )
        return cls(keys[first], batch_class, datasets, seed=seed)

    def __len__(self) -> int:
        """Number of items."""
        return len(self.index)

    def on(self, index: Any) -> BatchSource:
        """The same data for other items, such as those of a part of :meth:`~luisy_dir.batch.index.Index.split`."""
        return BatchSource(index, self.batch_class, self.preloaded, seed=self.seed)

    def split(self, shares: Any = 0.8, *, shuffle: bool | int = False) -> tuple[BatchSource, ...]:
        """Sources of parts of the items, as :meth:`luisy_dir.batch.index.Index.split` makes them."""
        return tuple(self.on(part) for part in self.index.split(shares, shuffle=shuffle))

    def batch(self, positions: Any, epoch: int = 0) -> Any:
        """A batch of the items at some positions; its data is loaded when it is asked for."""
        preloaded = self.preloaded
        if is_mapping(preloaded):
            preloaded = {name: _at_epoch(part, epoch) for name, part in preloaded.items()}
        index = self.index.subset(positions)
        return self.batch_class(index, self, None, _at_epoch(preloaded, epoch), seed=self.seed, epoch=epoch)

    def gen_batch(  # noqa: PLR0913 - all but two are keyword-only
        self,
        batch_size: int,
        shuffle: bool | int = False,  # noqa: FBT001, FBT002 - its place is known
        *,
        n_iters: int | None = None,
        n_epochs: int | None = None,
        drop_last: bool = False,
        prefetch: int = 0,
        workers: int = 1,
        engine: str = "threads",
        action: Callable[[Any], Any] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> Generator[Any, None, None]:
        """Batches one after the other.

        No batch has items of two epochs: the last one of an epoch is smaller, or left out.

        Parameters
        ----------
        batch_size
            How many items a batch has.
        shuffle
            Each epoch has an order of its own, by that seed; True takes the seed of the source.
        n_iters
            How many batches; not together with ``n_epochs``.
        n_epochs
            How often each item is had. Where neither is said, once.
        drop_last
            Leave out what does not fill a batch.
        prefetch
            How many batches are loaded ahead of the caller, beside one a worker; 0 for none.
        workers
            How many load them.
        engine
            ``threads`` or ``processes``.
        action
            What is done with each batch, in the worker; it returns a batch, or None for the same one.
        state
            What :meth:`luisy_dir.Batch.state_dict` gave for a batch: what came behind it comes now. ``n_epochs`` counts
            from the first one all the same, ``n_iters`` from here. Another ``batch_size`` goes on with the next item.

        Yields
        ------
        Batch
            With its data loaded. What is raised while it is made is raised in its place. Closing the generator cancels
            what has not begun, and waits for the rest; nothing is left running.

        Raises
        ------
        SettingError
            An argument is not allowed, or ``drop_last`` would leave no batch at all.
        StateError
            The state is of other items or data, or of another seed or ``shuffle``, or none.

        Examples
        --------
        >>> first, *others = BatchSource(5).gen_batch(2, shuffle=42)
        >>> again = BatchSource(5).gen_batch(2, shuffle=42, state=first.state_dict())
        >>> [batch.indices.tolist() for batch in again] == [batch.indices.tolist() for batch in others]
        True
        """
        is_shuffled, order_seed = shuffling(shuffle, self.seed)
        cuts = Cuts(
            self.index.indices, whole_number("batch_size", batch_size), is_shuffled, order_seed, drop_last=drop_last
        )
        cuts = replace(cuts, n_epochs=epochs_at_most(n_iters, n_epochs), n_iters=n_iters)
        cuts.check()
        if state is not None:
            known = State.of_dict(state, self.state(Place(order_seed, is_shuffled, 0, 0)), len(self))
            cuts = replace(cuts, begin=(known.epoch, known.consumed))
        whole_number("prefetch", prefetch, 0)
        whole_number("workers", workers)
        crew_size = workers if prefetch and engine != "serial" else 0
        batches = self._generated(BatchLoader(self, action), cuts.portions(), crew_size, engine, prefetch)
        return self._placed(batches, order_seed, is_shuffled=is_shuffled)

    def _placed(
        self, batches: Generator[tuple[Portion, Any], None, None], order_seed: int, *, is_shuffled: bool
    ) -> Generator[Any, None, None]:
        """Batches that know what they were taken from, which is left behind on the way from a process, and where."""
        with closing(batches):
            for portion, batch in batches:
                batch.taken_from(self, Place(order_seed, is_shuffled, portion.epoch, portion.consumed))
                yield batch

    def _generated(
        self, loader: BatchLoader, portions: Iterator[Portion], workers: int, engine: str, prefetch: int
    ) -> Generator[tuple[Portion, Any], None, None]:
        if not workers:
            for portion in portions:
                yield portion, loader.load(portion).data.batch
            return
        mine = threading.get_ident()
        crew = Crew(engine, workers, loader)
        loaded = crew.load(portions, prefetch)
        try:
            for portion, collated in loaded:
                yield portion, collated.data.batch
        finally:
            is_mine = threading.get_ident() == mine  # the garbage collector may be at work in a thread of the crew
            try:
                loaded.close()
            finally:
                crew.close(is_waiting=is_mine)

    def state(self, place: Place) -> State:
        """How far somebody has got who has had all up to a place, in the form that can be saved."""
        parts = self.preloaded.values() if is_mapping(self.preloaded) else (self.preloaded,)
        digests = [part.digest for part in parts if isinstance(getattr(part, "digest", None), str)]
        text = "\n".join([self.index.digest, str(self.seed), *digests])
        return State(xxhash.xxh3_128_hexdigest(text.encode()), *place)

    def next_batch(self, batch_size: int, shuffle: bool | int = False, **options: Any) -> Any:  # noqa: FBT001, FBT002
        """The batch that comes next, of those that :meth:`gen_batch` gives with these arguments.

        Other arguments, or :meth:`reset`, begin anew. Without ``n_iters`` and ``n_epochs`` there is no end.

        Raises
        ------
        StopIteration
            There are no more.
        BatchError
            The batch before could not be made, and nobody has called :meth:`reset`.

        Examples
        --------
        >>> source = BatchSource(3)
        >>> [source.next_batch(2).indices.tolist() for _ in range(3)]
        [[0, 1], [2], [0, 1]]
        """
        return self._continued.next(self.gen_batch, batch_size=batch_size, shuffle=shuffle, **options)

    def reset(self) -> None:
        """Let :meth:`next_batch` begin anew; what it has loaded ahead is let go."""
        self._continued.reset()


def _keys_of(name: str, dataset: Any) -> list[Any]:
    keys = getattr(dataset, "keys", None)
    if not isinstance(keys, Iterable):
        raise BatchError(
            f"{name!r} is a {type(dataset).__name__}, which has no keys of items. Give a dataset of a directory; of "
            "arrays and frames make BatchSource(index, preloaded={name: …})."
        )
    return list(keys)


@dataclass(frozen=True)
class BatchLoader:
    """What makes batches, here or in a worker.

    Parameters
    ----------
    source
        Of the items.
    action
        Done with each batch.
    """

    source: BatchSource
    action: Callable[[Any], Any] | None = None

    def load(self, portion: Portion, begin: Callable[[int], object] = lambda _: None) -> Collated:
        """The batch, with its components loaded; the data of what is collated is its :class:`Carried`."""
        begin(0)
        try:
            batch = self.source.batch(portion.positions, portion.epoch)
            _ = batch.table
            done = batch if self.action is None else kept(self.action(batch), batch, self.action)
        except Exception as error:
            error.add_note(f"A batch was being made of the items {named(portion.keys)}, in epoch {portion.epoch}.")
            raise
        begin(len(portion.keys))
        return Collated(Carried(done))


def kept(result: Any, batch: Any, action: object) -> Any:
    """The batch that an action returned, or the same one where that is None.

    Raises
    ------
    BatchError
        It is something else.

    Examples
    --------
    >>> batch = Batch([0, 1])
    >>> kept(None, batch, "action") is batch
    True
    """
    if result is not None and not isinstance(result, Batch):
        raise BatchError(f"The action {action!r} returned {described(result)}, and neither a batch nor None.")
    return batch if result is None else result


class Carried:
    """A batch on its way from a worker: its class may be one of a notebook, which no other process can import."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle

        return _carried, (cloudpickle.dumps(self.batch),)


def _carried(packed: bytes) -> Carried:
    return Carried(pickle.loads(packed))


def _at_epoch(part: Any, epoch: int) -> Any:
    """Data of a dataset as that epoch has it: what is random in it belongs to the epoch."""
    return part.at_epoch(epoch) if hasattr(part, "at_epoch") else part
