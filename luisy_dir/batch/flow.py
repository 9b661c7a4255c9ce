"""A flow: a chain of actions that waits for batches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from luisy_dir.batch.batch import Batch
from luisy_dir.batch.continuing import Continued
from luisy_dir.batch.cutting import whole_number
from luisy_dir.batch.expressions import evaluated
from luisy_dir.batch.rebatching import rebatched
from luisy_dir.batch.rows import described
from luisy_dir.batch.source import BatchSource, kept
from luisy_dir.batch.step import processed
from luisy_dir.errors import BatchError, DefinitionError


class _Step(NamedTuple):
    """One action: the name of a method, or a function of a batch."""

    action: str | Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(init=False, eq=False, repr=False)  # so that what a result is made by can be looked into, see luisy_dir.code
class Flow:
    """A chain of actions that is done with each batch that comes; nothing is done before.

    An action is a method of the batches, which is called as that of the flow, or a function, given to :meth:`do`. Each
    call returns another flow. One that has a name of the flow's own, such as ``run``, is given to :meth:`do` by name.
    Arguments may be expressions (:mod:`luisy_dir.batch.expressions`, :mod:`luisy_dir.batch.values`), which are
    evaluated once an action and batch.

    Parameters
    ----------
    source
        Where batches come from; :meth:`on` names another one.

    Raises
    ------
    DefinitionError
        It is no :class:`~luisy_dir.BatchSource`.

    Examples
    --------
    >>> import numpy as np
    >>> flow = Flow().apply_parallel(np.negative, src="images", dst="negatives")
    >>> flow(Batch.from_data(data={"images": [1, 2]})).negatives
    array([-1, -2])
    >>> source = BatchSource(3, preloaded={"images": [1, 2, 3]})
    >>> [batch.negatives.tolist() for batch in (source >> flow).gen_batch(2)]
    [[-1, -2], [-3]]
    """

    _steps: tuple[_Step, ...]
    _size: tuple[int, bool] | None

    def __init__(self, source: BatchSource | None = None) -> None:
        if source is not None and not isinstance(source, BatchSource):
            raise DefinitionError(
                f"{described(source)} is no source of batches. Make one: BatchSource(index, preloaded=…), or "
                "dataset.batch_source()."
            )
        self._source = source
        self._steps, self._size = (), None
        self._continued = Continued()

    @property
    def source(self) -> BatchSource | None:
        """Where batches come from, or None."""
        return self._source

    def _like(self, source: BatchSource | None, steps: Sequence[_Step], size: tuple[int, bool] | None) -> Flow:
        flow = type(self)(source)
        flow._steps, flow._size = tuple(steps), size  # noqa: SLF001 - its own class
        return flow

    def do(self, action: str | Callable[..., Any], *args: Any, **kwargs: Any) -> Flow:
        """The actions of this flow, and then one more.

        Parameters
        ----------
        action
            The name of a method of the batches; or a function, which gets the batch first. It returns a batch, or None
            for the same one.
        args
            Of the action.
        kwargs
            Likewise.

        Examples
        --------
        >>> flow = Flow().do(lambda batch, by: batch.put("more", batch.images + by), 10)
        >>> flow(Batch.from_data(data={"images": [1, 2]})).more
        array([11, 12])
        """
        if not isinstance(action, str) and not callable(action):
            raise DefinitionError(f"{action!r} is no action. Give the name of a method of the batches, or a function.")
        if self._size is not None:
            raise DefinitionError("Actions behind rebatch belong into another flow: do them with what this one gives.")
        return self._like(self._source, [*self._steps, _Step(action, args, kwargs)], None)

    def __getattr__(self, name: str) -> Callable[..., Flow]:
        if name.startswith("_"):
            raise AttributeError(name)

        def called(*args: Any, **kwargs: Any) -> Flow:
            return self.do(name, *args, **kwargs)

        return called

    def __add__(self, other: Flow) -> Flow:
        """The actions of this flow, and then those of another one."""
        if not isinstance(other, Flow):
            return NotImplemented
        if self._size is not None:
            raise DefinitionError("Nothing comes behind rebatch in a flow.")
        source = other._source if self._source is None else self._source
        return self._like(source, [*self._steps, *other._steps], other._size)

    def on(self, source: BatchSource) -> Flow:
        """The same actions with the batches of a source; also ``source >> flow`` and ``flow << source``."""
        return self._like(source, self._steps, self._size)

    __rrshift__ = __lshift__ = on

    def rebatch(self, batch_size: int, *, drop_last: bool = False) -> Flow:
        """The same flow, whose batches are put together anew when all is done with them.

        Parameters
        ----------
        batch_size
            As of :func:`luisy_dir.batch.rebatching.rebatched`.
        drop_last
            Likewise.
        """
        return self._like(self._source, self._steps, (whole_number("batch_size", batch_size), drop_last))

    def __repr__(self) -> str:
        names = (step.action if isinstance(step.action, str) else described(step.action) for step in self._steps)
        return f"<Flow of {len(self._steps)} actions: {', '.join(names) or 'none'}>"

    def __call__(self, batch: Any) -> Any:
        """Do all actions with a batch, one after the other.

        Raises
        ------
        BatchError
            An action returned something else than a batch or None, or the batch has no such method.
        """
        for step in self._steps:
            batch.pipeline = self
            batch = _done(step, batch)
        return batch

    def _check_names(self, kind: Any) -> None:
        """Refuse a name that batches do not have before there is one."""
        for step in self._steps:
            if not isinstance(step.action, str) or not isinstance(kind, type):
                return
            if not callable(getattr(kind, step.action, None)):
                raise _unknown(kind, step.action)

    def __getstate__(self) -> dict[str, Any]:
        """All but the source, which may be large, and stays where it is."""
        return {"_steps": self._steps, "_size": self._size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _source=None, _continued=Continued())

    def gen_batch(self, batch_size: int, shuffle: bool | int = False, **options: Any) -> Generator[Any, None, None]:  # noqa: FBT001, FBT002
        """Batches of the source, with all actions done.

        Parameters
        ----------
        batch_size
            As of :meth:`luisy_dir.batch.source.BatchSource.gen_batch`, as are the others. With ``prefetch``, actions
            are done by the workers.
        shuffle
            As said.
        options
            As said.

        Raises
        ------
        BatchError
            There is no source, or its batches have no such action; what a function returns may have others.
        """
        if self._source is None:
            raise BatchError("The flow has no source of batches. Name one: source >> flow, or flow.on(source).")
        self._check_names(self._source.batch_class)
        batches = self._knowing(self._source.gen_batch(batch_size, shuffle, action=self, **options))
        return batches if self._size is None else rebatched(batches, self._size[0], drop_last=self._size[1])

    def _knowing(self, batches: Generator[Any, None, None]) -> Generator[Any, None, None]:
        """Batches that know their flow, which is left behind on the way from a process."""
        with closing(batches):
            for batch in batches:
                batch.pipeline = self
                yield batch

    def next_batch(self, batch_size: int, shuffle: bool | int = False, **options: Any) -> Any:  # noqa: FBT001, FBT002
        """The batch that comes next, of those that :meth:`gen_batch` gives with these arguments, without an end.

        Raises
        ------
        StopIteration
            With ``n_iters`` or ``n_epochs``, there are no more.
        """
        return self._continued.next(self.gen_batch, batch_size=batch_size, shuffle=shuffle, **options)

    def reset(self) -> None:
        """Let :meth:`next_batch` begin anew; what it has loaded ahead is let go."""
        self._continued.reset()

    def run(self, batch_size: int, shuffle: bool | int = False, **options: Any) -> int:  # noqa: FBT001, FBT002
        """Do all actions with all batches, and let go of each.

        Parameters
        ----------
        batch_size
            As of :meth:`gen_batch`, as are the others.
        shuffle
            As said.
        options
            As said.

        Returns
        -------
        int
            How many batches there were.

        Examples
        --------
        >>> everything = {}
        >>> (BatchSource(5, preloaded={"images": range(5)}) >> Flow().dump(everything)).run(2)
        3
        >>> [int(everything[item_id]) for item_id in range(5)]
        [0, 1, 2, 3, 4]
        """
        return sum(1 for _ in self.gen_batch(batch_size, shuffle, **options))

    def process(
        self,
        items: Sequence[Any],
        dst: str | Sequence[str],
        *,
        batch_class: type[Any] = Batch,
        epoch: int = 0,
        **components: Any,
    ) -> list[Any]:
        """Do all actions with what ``process_batch`` of a directory task got, and return what it has to return.

        The ids of the batch are the items' keys and its seed is the task's, so that what is random belongs to an item,
        whatever others are in the batch. Where actions fail for some items, their errors are in their places, and the
        others are done without them.

        Parameters
        ----------
        items
            As ``process_batch`` got them.
        dst
            A component: its rows are returned. Several: a dict of their rows by name, as ``.npz`` takes it.
        batch_class
            Of the batch.
        epoch
            Likewise: another one has other random numbers.
        components
            The data of the items by the names of components, one list each.

        Returns
        -------
        list
            A result, or an exception, for each item.

        Raises
        ------
        BatchError
            Actions have changed which items there are, or there is no such action or component, or data has another
            number of rows.

        Examples
        --------
        ::

            class Turned(luisy.DirectoryTask):
                def process_batch(self, image, mask, items):
                    return turn.process(items, ("images", "masks"), images=image, masks=mask)
        """
        self._check_names(batch_class)
        return processed(self, items, dst, partial(_batch_of, batch_class, epoch), components)


def _batch_of(kind: type[Any], epoch: int, items: Sequence[Any], components: dict[str, Any]) -> Any:
    return kind.from_data([item.key for item in items], components, seed=items[0].seed, epoch=epoch)


def _unknown(kind: type[Any], name: str) -> BatchError:
    return BatchError(f"A {kind.__name__} has no action {name!r}. Correct the name, or give a function to do().")


def _done(step: _Step, batch: Any) -> Any:
    args, kwargs = evaluated(step.args, batch), evaluated(step.kwargs, batch)
    if isinstance(step.action, str):
        action = getattr(batch, step.action, None)
        if not callable(action):
            raise _unknown(type(batch), step.action)
        result = action(*args, **kwargs)
    else:
        result = step.action(batch, *args, **kwargs)
    return kept(result, batch, step.action)
