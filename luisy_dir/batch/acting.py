"""Actions of a batch: functions that are applied to its items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from luisy_dir.batch.applying import Action, Once, raise_first
from luisy_dir.batch.components import Components
from luisy_dir.batch.images import with_channels
from luisy_dir.batch.rows import assembled, described, fits, named
from luisy_dir.batch.selecting import Selecting
from luisy_dir.errors import BatchError

if TYPE_CHECKING:
    import numpy as np


class Acting(Selecting):
    """A batch, and what is done with each of its items."""

    def apply_parallel(  # noqa: PLR0913 - the names and places are known
        self,
        func: Any,
        init: Any = None,
        post: Any = None,
        src: Any = None,
        dst: Any = None,
        *args: Any,
        p: float | None = None,
        target: str = "for",
        requires_rng: bool = False,
        rng_seeds: Any = None,
        n_workers: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Apply a function to each item, and put the results together.

        With ``src="images"`` and ``dst="masks"`` this is ``batch.masks = [func(image) for image in batch.images]``.
        An :class:`~luisy_dir.batch.expressions.Expression` in the place of any argument is evaluated once.

        Parameters
        ----------
        func
            Gets an item, ``args`` and ``kwargs``; and ``src``, ``dst`` and ``rng``, if it has parameters of these names
            or takes any keyword. A function of NumPy's gets none of the three. The item is a row of ``src`` itself, so
            that what the function changes in it is changed there; in another process, it is a copy.
        init
            Where the items come from: None or ``data`` for ``src``; another text for the attribute of that name; a
            callable for what it returns, which gets ``src``, ``dst``, ``p``, ``target`` and ``kwargs`` as far as it
            takes them; anything else that has an order is the items itself, such as an array, or a frame for its rows.
            With ``run_once`` the function is called once for the batch, without an item.
        post
            What becomes of the results: None to put them into ``dst``; the name of a method or a callable that gets the
            list of them, with errors in their places, and ``src``, ``dst`` and ``kwargs`` as far as it takes them.
        src
            A component, or data with one row an item. A tuple of them: the function gets a tuple for each item. A
            list: one call after the other, with the ``dst`` of the same place, with the same items left out by ``p``
            and the same random numbers. None for all data of a batch that has one component, or no names.
        dst
            A component, which is added if need be, or an array that is filled; None for ``src``. A tuple or list of
            them, where ``src`` is no list: each result is a tuple of as many.
        args
            Of the function.
        p
            With which probability an item gets the function, from 0 to 1; others are put as they are.
        target
            ``for`` (``f``) one after the other; ``threads`` (``t``); ``mpc`` (``m``) for processes; ``async`` (``a``)
            for coroutines, on one event loop, and for other functions in threads; ``dask``; or an engine of your own
            as ``module:function``. Workers are kept for the next call, see :func:`luisy_dir.batch.pools.close_pools`.
        requires_rng
            The function gets a :class:`numpy.random.Generator` as ``rng``, which depends on seed, epoch, the item's id
            and how many actions with random numbers the batch has seen before; not on ``target``, workers, or other
            items.
        rng_seeds
            One an item, in the place of what its id says.
        n_workers
            How many items at the same time; None for as many as there are CPUs, and for coroutines all of them.
        kwargs
            Of the function.

        Returns
        -------
        object
            What ``post`` returns; this batch, if that is None.

        Raises
        ------
        BatchItemsError
            The function has raised for items; has their ids, and the first error as its cause. Nothing was put.
        BatchError
            There is no such component, or lengths do not fit. Nothing was put.
        DefinitionError
            The function cannot be called, takes no ``rng``, or cannot be sent to a process.
        SettingError
            There is no such target, ``p`` is no probability, or a seed in ``rng_seeds`` is no whole number from 0.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> import numpy as np
        >>> batch = Batch.from_data(data={"images": np.arange(3), "masks": np.arange(3)})
        >>> batch.apply_parallel(lambda image: image * 42, src="images", dst="big").big
        array([ 0, 42, 84])
        >>> batch.apply_parallel(lambda pair: pair[0] + pair[1], src=("images", "masks"), dst="sums").sums
        array([0, 2, 4])
        >>> batch.apply_parallel(np.negative, src=["images", "masks"], target="threads").masks
        array([ 0, -1, -2])
        """
        action = Action(func, init, post, src, dst, args, kwargs, p, target, requires_rng, rng_seeds, n_workers)
        return action.apply(self)

    def only_source(self) -> Any:
        """The ``src`` of an action that names none.

        Raises
        ------
        BatchError
            There are several components, or none.
        """
        names = self.table.names
        if self._whole:
            return names
        if len(names) != 1:
            raise BatchError(
                f"An action without src is done on the only component, but the batch has {named(names) or 'none'}. "
                "Name one with src."
            )
        return names[0]

    def source_items(self, src: Any) -> Any:
        """What a function gets of each item, where ``src`` is a component, data, or a tuple of these."""
        if isinstance(src, tuple):
            return list(zip(*(self.source_items(part) for part in src), strict=True))
        if isinstance(src, str):
            array = self.table[src]
            if array is None:
                raise BatchError(f"The component {src!r} has no data. Load it first.")
            return array
        return Components(self.size, {"src": src}).src

    def _assemble(
        self, results: Sequence[Any], src: Any = None, dst: Any = None, _ids: Any = None, _name: str = "The function"
    ) -> Self:
        """Put results into ``dst``; raise the first error that is among them."""
        raise_first(results, self._ids.tolist() if _ids is None else _ids, _name)
        dst = src if dst is None else dst
        if isinstance(dst, (tuple, list)):
            self._put_parts(dst, [assembled(part) for part in self._unpacked(results, dst)])
        elif dst is not None:
            self._put_parts([dst], [assembled(list(results))])
        return self

    def _unpacked(self, results: Sequence[Any], dst: Sequence[Any]) -> list[list[Any]]:
        for target in dst:
            _check_target(target)
        for number, result in enumerate(results):
            if not hasattr(result, "__len__") or isinstance(result, (str, bytes)) or len(result) != len(dst):
                raise BatchError(
                    f"Result {number} is {described(result)}, and not one for each of the {len(dst)} components of "
                    f"dst {dst!r}. Return a tuple."
                )
        return [[result[place] for result in results] for place in range(len(dst))]

    def _put_parts(self, targets: Sequence[Any], parts: Sequence[np.ndarray[Any, Any]]) -> None:
        """All of them, or none where one does not fit."""
        names = [target for target in targets if isinstance(target, str)]
        if len(set(names)) < len(names):
            raise BatchError(f"dst names a component twice: {named(names)}. Let each result have one of its own.")
        for target, part in zip(targets, parts, strict=True):
            if not isinstance(target, str):
                _check_filled(target, part)
        self.put_all({target: part for target, part in zip(targets, parts, strict=True) if isinstance(target, str)})
        for target, part in zip(targets, parts, strict=True):
            if not isinstance(target, str):
                target[...] = part

    def get_errors(self, all_res: Sequence[Any]) -> list[BaseException] | None:
        """Errors among the results that a ``post`` gets; None if there are none.

        Parameters
        ----------
        all_res
            Results, with what was raised in the place of a result.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> Batch([0, 1]).get_errors([3, ValueError("no")])
        [ValueError('no')]
        """
        errors = [result for result in all_res if isinstance(result, BaseException)]
        return errors or None

    def run_once(self, *args: Any, **kwargs: Any) -> list[list[Any]]:  # noqa: ARG002 - takes anything
        """As ``init``: the function is called once for the whole batch, without an item, and waited for.

        Returns
        -------
        list
            One call without arguments.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> batch = Batch([0, 1])
        >>> batch.apply_parallel(print, "run_once", None, None, None, "once")
        once
        <Batch of 2 items, without data>
        """
        return Once()

    def do_nothing(self, *args: Any, **kwargs: Any) -> Self:  # noqa: ARG002 - takes anything
        """Do nothing.

        Returns
        -------
        Batch
            This one.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> batch = Batch([0])
        >>> batch.do_nothing("whatever") is batch
        True
        """
        return self

    def to_array(
        self,
        comp: str | None = None,
        dtype: Any = "float32",
        channels: str | None = "last",
        *,
        src: Any = None,
        dst: Any = None,
        target: str = "threads",
        **kwargs: Any,
    ) -> Any:
        """Make arrays of items, with an axis of channels.

        Parameters
        ----------
        comp
            The component to take them from: the same as ``src``.
        dtype
            Of the result; None keeps that of the items. One of integers cuts fractions off.
        channels
            ``last`` or ``first``: an item of shape (h, w) becomes (h, w, 1) or (1, h, w), and one that has more axes is
            taken to have its channels last. None changes no axis.
        src
            A component, by default ``images``.
        dst
            The component to put them into, by default the same.
        target
            As in :meth:`apply_parallel`, as are further keywords.
        kwargs
            As said.

        Returns
        -------
        Batch
            This one.

        Raises
        ------
        BatchError
            There is no such component.
        BatchItemsError
            ``channels`` is something else, an item is None, or has values that are not among those of ``dtype``.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> import numpy as np
        >>> batch = Batch.from_data(data={"images": np.zeros((2, 4, 5, 3), np.uint8)})
        >>> batch.to_array("images", dtype=None, channels="first").images.shape
        (2, 3, 4, 5)
        """
        src = comp if src is None else src
        src = "images" if src is None else src
        return self.apply_parallel(
            self._to_array_, None, None, src, dst, target=target, dtype=dtype, channels=channels, **kwargs
        )

    def _to_array_(self, comp: Any, dtype: Any = "float32", channels: str | None = "last") -> Any:
        """One item as an array."""
        return with_channels(comp, dtype, channels)


def _check_target(target: Any) -> None:
    import numpy as np

    if not isinstance(target, (str, np.ndarray)):
        raise BatchError(f"dst is {described(target)}. Give the name of a component, or an array to be filled.")


def _check_filled(target: Any, data: np.ndarray[Any, Any]) -> None:
    _check_target(target)
    if target.shape != data.shape or not fits(data, target.dtype):
        raise BatchError(
            f"Results of shape {data.shape} and dtype {data.dtype} do not go into an array of shape {target.shape} "
            f"and dtype {target.dtype}. Give another array, or the name of a component."
        )
