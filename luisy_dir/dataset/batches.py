"""Batches: the items of a dataset some at a time, epoch after epoch, in an order that can be had again."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.util import Finalize, is_exiting
from typing import TYPE_CHECKING, Any, Self

from luisy_dir.dataset.arguments import whole
from luisy_dir.dataset.collated import Collated
from luisy_dir.dataset.collation import collation_for
from luisy_dir.dataset.crew import Crew
from luisy_dir.dataset.items import Items
from luisy_dir.dataset.loading import Loader, Portion
from luisy_dir.dataset.order import Order, Share
from luisy_dir.dataset.state import Progress, State
from luisy_dir.engines import ENGINES
from luisy_dir.errors import SettingError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False)
class DatasetBatch:
    """Several items of a dataset.

    Parameters
    ----------
    keys
        One an item.
    positions
        Of the items in the dataset, int64.
    epoch
        From 0.
    data
        What the collation has made of the items' data; in general an array whose first axis counts the items.
    lengths
        Of padded data, the shape that each item has had: int64, one row an item. Else None.
    mask
        Of padded data, True where it is an item's. Else None.
    """

    keys: tuple[str, ...]
    positions: np.ndarray[Any, np.dtype[np.int64]]
    epoch: int
    data: Any
    lengths: np.ndarray[Any, np.dtype[np.int64]] | None = None
    mask: np.ndarray[Any, np.dtype[np.bool_]] | None = None

    def __len__(self) -> int:
        """Number of items."""
        return len(self.keys)


class Batches:
    """The items of a dataset some at a time: each iteration is one epoch, and the next one is the next epoch.

    Which items are in a batch, and in which order, depends on ``seed``, ``shuffle``, ``size``, ``rank``, ``world`` and
    ``drop_last`` only; random numbers belong to an item of an epoch. So neither workers nor prefetch change a value.

    What reading or collating raises is raised where its batch would be, with a note of the item. Leaving an iteration
    early waits for the batches that workers have in hand; nothing is loaded after that. Workers are kept for the next
    iteration, until :meth:`close`, or until nobody has these batches any more.

    Parameters
    ----------
    items
        What is read.
    size
        Items of a batch.
    shuffle
        Each epoch has a permutation of its own, by the seed; else items come by their positions.
    seed
        Any integer.
    drop_last
        Leave out what does not fill a batch for each rank.
    collate
        ``stack``, ``pad``, ``crop`` or ``ragged``, as a word or as what the functions of these names in
        :mod:`luisy_dir.dataset.collation` return; or any function of a list of items' data. One with an argument
        ``members`` gets the :class:`~luisy_dir.dataset.collated.Members` too.
    workers
        How many load batches ahead; 0 loads each batch when it is asked for, in the thread that asks.
    engine
        Of the workers: ``threads``, which suit memory maps and whatever else lets go of the interpreter, or
        ``processes``, from which data has to be copied.
    prefetch
        How many batches may be under way beside one a worker.
    rank
        Which share of each batch is wanted here, where ``world`` programs go through the dataset side by side.
    world
        How many programs do. Each item is given to one of them in an epoch, unless ``drop_last`` leaves it out.

    Raises
    ------
    SettingError
        An argument is not allowed, or ``drop_last`` would leave no batch at all.

    Examples
    --------
    >>> class Squares:
    ...     keys = ("a", "b", "c", "d", "e")
    ...     digest = "c0ffee"
    ...
    ...     def __len__(self):
    ...         return 5
    ...
    ...     def read(self, position, epoch):
    ...         return position**2
    >>> with Batches(Squares(), 2, workers=1) as batches:
    ...     while batches.epoch < 1:
    ...         for batch in batches:
    ...             print(batch.epoch, batch.keys, batch.data)
    ...             saved = batches.state_dict()
    0 ('a', 'b') [0 1]
    0 ('c', 'd') [4 9]
    0 ('e',) [16]
    """

    def __init__(  # noqa: PLR0913 - all but two are keyword-only
        self,
        items: Items,
        size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        collate: str | Callable[..., Any] = "stack",
        workers: int = 0,
        engine: str = "threads",
        prefetch: int = 2,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._items = items
        self._order = Order(len(items), whole("seed", seed), bool(shuffle))
        world = whole("world", world, 1)
        self._share = Share(whole("size", size, 1), whole("rank", rank, 0, world - 1), world, bool(drop_last))
        self._loader = Loader(items, collation_for(collate), self._order.seed)
        self._workers = 0 if engine == "serial" else whole("workers", workers, 0)
        self._engine = _checked_engine(engine)
        self._prefetch = whole("prefetch", prefetch, 0)
        self._progress = Progress()
        self._crew: Crew | None = None
        if drop_last and len(items) and not len(self):
            raise SettingError(
                f"There are {len(items)} items, which do not fill a batch of {size} for each of {world} ranks, and "
                "drop_last leaves out what does not. Give a smaller size, or drop_last=False."
            )

    def __len__(self) -> int:
        """How many batches of this rank a whole epoch has."""
        return self._share.count(self._order.length)

    @property
    def epoch(self) -> int:
        """The epoch that was begun; where none was, or it has come to its end, the one that comes next."""
        return self._progress.epoch

    def at_epoch(self, epoch: int) -> Self:
        """These batches, whose next iteration is that epoch from its beginning."""
        self._progress = Progress(whole("epoch", epoch, 0))
        return self

    def __iter__(self) -> Generator[DatasetBatch, None, None]:
        """Begin an epoch; after :meth:`load_state_dict`, what is left of one."""
        self._progress = self._progress.begun()
        return self._epoch(self._progress)

    def _epoch(self, progress: Progress) -> Generator[DatasetBatch, None, None]:
        with closing(self._loaded(self._portions(progress))) as loaded:
            for portion, collated in loaded:
                progress.consumed = portion.consumed
                yield DatasetBatch(portion.keys, portion.positions, portion.epoch, *collated)
        progress.end()

    def _portions(self, progress: Progress) -> Iterator[Portion]:
        order, keys, epoch = self._order.of_epoch(progress.epoch), self._items.keys, progress.epoch
        for begin, end, consumed in self._share.cuts(len(order), progress.consumed):
            positions = order[begin:end]
            yield Portion(tuple([keys[position] for position in positions.tolist()]), positions, epoch, consumed)

    def _loaded(self, portions: Iterator[Portion]) -> Generator[tuple[Portion, Collated], None, None]:
        if not self._workers:
            for portion in portions:
                yield portion, self._loader.load(portion)
            return
        crew = self._hired()
        try:
            yield from crew.load(portions, self._prefetch)
        finally:
            if crew.is_lost and self._crew is crew:
                self.close()

    def _hired(self) -> Crew:
        if self._crew is None or not self._crew.is_mine:
            self._crew = Crew(self._engine, self._workers, self._loader)
            Finalize(self, _let_go, (self._crew,), exitpriority=20)  # before the executor's own, which does not wait
        return self._crew

    def state_dict(self) -> dict[str, Any]:
        """How far the caller has got, in a few numbers that can be written as JSON.

        What was loaded ahead does not count. Of several ranks, each has the same state after as many batches.
        """
        return self._state_of(self._progress).as_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on where a state was saved.

        It counts items of the order, so that another number of workers, ranks or items of a batch may go on with it.
        Where nothing is left of its epoch, that is the beginning of the next one.

        Raises
        ------
        StateError
            It is of other data, of another seed or shuffle, or no such state.
        """
        found = State.of_dict(state, self._state_of(self._progress), len(self._items))
        is_left = not found.consumed or any(self._share.cuts(self._order.length, found.consumed))
        self._progress = Progress(found.epoch, found.consumed) if is_left else Progress(found.epoch + 1)

    def _state_of(self, progress: Progress) -> State:
        order = self._order
        return State(self._items.digest, order.seed, order.is_shuffled, progress.epoch, progress.consumed)

    def close(self) -> None:
        """Let go of the workers, and wait for their end; another iteration would begin with new ones."""
        crew, self._crew = self._crew, None
        if crew is not None and crew.is_mine:
            crew.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_crew": None}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _let_go(crew: Crew) -> None:
    """Of batches that nobody has any more: the garbage collector must not wait, but the end of the program must.

    There, multiprocessing would come upon processes that their threads are about to close.
    """
    crew.close(is_waiting=is_exiting())


def _checked_engine(engine: str) -> str:
    if engine not in ENGINES and ":" not in str(engine):
        raise SettingError(f"There is no engine {engine!r}. Choose one of {', '.join(ENGINES)}.")
    return engine
