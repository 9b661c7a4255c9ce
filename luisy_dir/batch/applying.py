"""Applying: a function to each item of a batch, and what comes of it into the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from luisy_dir.batch.calling import Call, Failed, Member, accepted, name_of
from luisy_dir.batch.drawing import Draws, probability_of, seeds_of
from luisy_dir.batch.expressions import evaluated, has_per_item
from luisy_dir.batch.rows import in_order, named
from luisy_dir.batch.targets import results_of
from luisy_dir.errors import BatchError, BatchItemsError, DefinitionError

if TYPE_CHECKING:
    from luisy_dir.batch.acting import Acting


class Once(list[list[Any]]):
    """The items of an ``init`` that has a function called once for the whole batch, without an item."""

    def __init__(self) -> None:
        super().__init__([[]])


@dataclass(frozen=True)
class Action:
    """A function, and how it is applied to a batch; :meth:`luisy_dir.Batch.apply_parallel` says what each part is."""

    function: Any
    init: Any = None
    post: Any = None
    src: Any = None
    dst: Any = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None
    p: Any = None
    target: str = "for"
    requires_rng: bool = False
    rng_seeds: Any = None
    n_workers: int | None = None

    def apply(self, batch: Acting) -> Any:
        """Do it; what ``post`` returns, or the batch."""
        action = self._evaluated(batch)
        if not callable(action.function):
            raise DefinitionError(f"apply_parallel gets {action.function!r}, which cannot be called. Give a function.")
        probability = probability_of(action.p)
        draws = action.draws(batch, probability)
        result: Any = None
        source = batch.only_source() if action.src is None and action.is_of_data else action.src
        for src, dst in list(_pairs(source, action.dst)):
            one = replace(action, src=src, dst=src if dst is None else dst, p=probability)
            result = one.apply_once(batch, draws)
        return result

    @property
    def is_of_data(self) -> bool:
        """Whether the items are those of ``src``."""
        return self.init is None or self.init is False or (isinstance(self.init, str) and self.init == "data")

    def _evaluated(self, batch: Acting) -> Action:
        values = {name: evaluated(value, batch) for name, value in vars(self).items()}
        return Action(**values)

    def draws(self, batch: Acting, probability: float | None) -> Draws | None:
        """Its random numbers, if it has any: one for all pairs of src and dst, which therefore share mask and seeds."""
        seeds = seeds_of(self.rng_seeds, batch.size)
        has_rng = self.requires_rng or seeds is not None
        if not has_rng and probability is None:
            return None
        return Draws(batch.seed, batch.epoch, batch.next_draw(), seeds)

    def apply_once(self, batch: Acting, draws: Draws | None) -> Any:
        """Do it with one src and one dst."""
        items = self._items(batch)
        is_once = isinstance(items, Once)
        results = list(items)
        ids = batch.indices.tolist()
        has_own = (draws is not None and not is_once) or has_per_item((self.args, self.kwargs))
        if has_own and len(results) != len(ids):
            raise BatchError(
                f"init gives {len(results)} items for a batch of {len(ids)}, but p, rng and PerItem belong to the "
                "items of the batch. Leave them out, or let init give one for each."
            )
        if is_once or len(results) != len(ids):
            ids = list(range(len(results)))
        members = [Member(number, ids[number], item) for number, item in enumerate(results)]
        hit = members
        if self.p is not None and draws is not None:
            self._check_left_out()
            hit = [member for member in members if draws.is_hit(self.p, member.item_id)]
        for member, result in zip(
            hit, results_of(self._call(draws, is_once), hit, self.target, self.n_workers), strict=True
        ):
            results[member.position] = _noted(result, member)
        return self._put(batch, results, ids)

    def _call(self, draws: Draws | None, is_once: bool) -> Call:  # noqa: FBT001 - private
        kwargs = dict(self.kwargs or {})
        has_rng = draws is not None and (self.requires_rng or self.rng_seeds is not None)
        taken = len(self.args) + (not is_once)
        offered = {"src": self.src, "dst": self.dst, **({"rng": None} if has_rng else {})}
        found = accepted(self.function, offered, taken, kwargs)
        if has_rng and found.pop("rng", self) is self:
            raise DefinitionError(
                f"{name_of(self.function)!r} is to get random numbers, but has no parameter rng. Add one, or leave out "
                "requires_rng and rng_seeds."
            )
        return Call(self.function, self.args, found | kwargs, draws if has_rng else None, has_item=not is_once)

    def _items(self, batch: Acting) -> list[Any]:
        """One for each worker, as ``init`` says."""
        init = self.init
        if self.is_of_data:
            return in_order(batch.source_items(self.src), "src is a")
        if isinstance(init, str):
            if not hasattr(batch, init):
                raise BatchError(f"init is {init!r}, but the batch has no attribute of this name. Correct it.")
            init = getattr(batch, init)
        if callable(init):
            offered = {"src": self.src, "dst": self.dst, "p": self.p, "target": self.target, **(self.kwargs or {})}
            init = init(**accepted(init, offered, 0, {}))
        return init if isinstance(init, Once) else in_order(init, "init gives a")

    def _check_left_out(self) -> None:
        """Items that p leaves out are put as they are where results go, which has to be possible."""
        width_of_src = len(self.src) if isinstance(self.src, tuple) else 0
        width_of_dst = len(self.dst) if isinstance(self.dst, (tuple, list)) else 0
        if not self.post and width_of_src != width_of_dst and self.dst is not None:
            raise BatchError(
                f"With p, items that are left out go from src {self.src!r} to dst {self.dst!r} as they are, but these "
                "do not have equally many components. Give as many, leave p out, or give a post."
            )

    def _put(self, batch: Acting, results: list[Any], ids: list[object]) -> Any:
        post: Callable[..., Any] | Any = self.post or batch._assemble  # noqa: SLF001 - named so by the actions
        if isinstance(post, str):
            if not callable(getattr(batch, post, None)):
                raise BatchError(f"post is {post!r}, but the batch has no method of this name. Correct it.")
            post = getattr(batch, post)
        offered = {"src": self.src, "dst": self.dst, **(self.kwargs or {})}
        offered |= {"_ids": ids, "_name": name_of(self.function)}  # for _assemble, and of no keyword of the function
        returned = post(results, **accepted(post, offered, 1, {}))
        return batch if returned is None else returned


def _noted(result: Any, member: Member) -> Any:
    """A result, or the error of an item, which says whose it is."""
    error = result.error if isinstance(result, Failed) else result
    if isinstance(error, BaseException):
        note = f"item {member.item_id!r}"
        if note not in getattr(error, "__notes__", ()):  # an error may be raised again and again
            error.add_note(note)
    return error


def is_list_of_names(src: Any) -> bool:
    """Whether it is a list that stands for one call after the other, rather than data."""
    return isinstance(src, list) and any(
        isinstance(part, str) or (isinstance(part, tuple) and any(isinstance(name, str) for name in part))
        for part in src
    )


def _pairs(src: Any, dst: Any) -> Iterator[tuple[Any, Any]]:
    """Each src with its dst: several where src is a list."""
    if not is_list_of_names(src):
        yield src, dst
        return
    targets = [None] * len(src) if dst is None else dst
    if not isinstance(targets, (list, tuple)) or len(targets) != len(src):
        raise BatchError(f"src is the list {src!r}, and dst is {dst!r}. Give a list of as many, or leave dst out.")
    yield from zip(src, targets, strict=True)


def raise_first(results: Sequence[Any], ids: Sequence[object], name: str) -> None:
    """Raise what the results have of errors.

    Raises
    ------
    BatchItemsError
        There are any; the first one is its cause.
    """
    failed = [number for number, result in enumerate(results) if isinstance(result, BaseException)]
    if not failed:
        return
    ids = ids if len(ids) == len(results) else range(len(results))
    first = results[failed[0]]
    error = BatchItemsError(
        f"{name!r} failed for {len(failed)} of {len(results)} items: {named([ids[number] for number in failed])}. "
        f"Item {ids[failed[0]]!r}: {type(first).__name__}: {str(first).rstrip('.')}. Mend the items or the function, "
        "or give a post that deals with errors."
    )
    error.ids = tuple(ids[number] for number in failed)
    error.errors = tuple(results[number] for number in failed)
    raise error from first
