"""The runner: the one place where items meet functions."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from luisy_dir.attempts import map_attempts
from luisy_dir.budget import Budget
from luisy_dir.engines import has_one_in_hand, is_of_cluster
from luisy_dir.engines.loss import ClusterLostError, NoWorkerError
from luisy_dir.engines.mapping import give_up_soon
from luisy_dir.engines.packing import unpack_error
from luisy_dir.entry import Entry
from luisy_dir.errors import AbortedError, LuisyDirError, StorageError, WorkerDiedError
from luisy_dir.gathering import gather
from luisy_dir.item import Item
from luisy_dir.item_memory import ItemMemory
from luisy_dir.job import batches_of, job_of
from luisy_dir.losses import Losses
from luisy_dir.plan import Plan
from luisy_dir.policy import Policy
from luisy_dir.step import Step, StepInWorker
from luisy_dir.storage import local
from luisy_dir.transaction import Transaction

if TYPE_CHECKING:
    from luisy_dir.engines.cluster import DaskExecutor

T = TypeVar("T")

_UNEVEN = 8


def run(
    plan: Plan,
    step: Step,
    transaction: Transaction,
    executor: Executor,
    policy: Policy,
    *,
    workers: int = 1,
    memory: ItemMemory | None = None,
    on_entry: Callable[[Entry], object] | None = None,
) -> None:
    """Process what a plan asks for and the transaction has not taken over; it collects the entries.

    When this returns or raises, no worker has anything of this run in hand.

    Parameters
    ----------
    plan
        What to do.
    step
        What to do with each item.
    transaction
        Where outputs and journals go, entered.
    executor
        Any Executor.
    policy
        What an error of an item means, and how many items may fail.
    workers
        How many chunks the executor works on at the same time.
    memory
        How much memory items take, and how much there is; None where nobody says.
    on_entry
        Called with every entry as it comes, in this thread.

    Raises
    ------
    ItemsFailedError
        More items failed than the policy allows; raised as soon as that is certain.
    AbortedError
        An item has raised what the policy does not catch, or Abort.
    SetupError
        ``setup`` raised in a worker.
    WorkerDiedError
        Workers die before they have an item in hand; or one has died, and the executor cannot go on without it.
    StorageError
        The disk is full, or failed.
    DefinitionError
        ``item_memory`` raised, or returned no number of bytes.
    """
    items = [item for item in plan.todo if not transaction.is_collected(item.key)]
    allowed, file_of = policy.allowed(plan.item_count), partial(_first_file, step.folders)
    budget = Budget(allowed, len(items), file_of, end=", and nothing was published")
    if is_of_cluster(executor):
        _check_seen(executor, transaction.run)
    at_work = _at_work(step, transaction, policy, executor)
    weight, available = (
        (None, 0)
        if memory is None
        else (memory.weight(step.folders, step.seed, batch_size=step.batch_size), memory.available)
    )
    jobs = _jobs(items, step.batch_size)
    losses = Losses(step, transaction.run, policy, partial(_keys_of, plan), trusts_journals=not at_work.is_synced)
    with (
        closing(at_work),
        closing(losses),
        closing(
            map_attempts(
                executor,
                at_work,
                jobs,
                workers=workers,
                on_loss=losses.settle,
                weight=weight,
                budget=available,
            )
        ) as outcomes,
    ):
        try:
            for outcome in outcomes:
                line, packed = outcome
                exception = None if packed is None else unpack_error(packed)
                if line is None:
                    raise _fatal(exception, transaction.run)
                if not line:  # the file was removed since the run began: as if it had not been there
                    continue
                entry = transaction.collect(gather(transaction.files, line) if at_work.is_apart else line)
                if on_entry is not None:
                    on_entry(entry)
                budget.spend(entry, exception)
        except KeyboardInterrupt:
            give_up_soon(executor)
            raise
        except BrokenExecutor as error:
            raise _worker_died(error, budget) from error


def _first_file(folders: Mapping[str, str], entry: Entry) -> str:
    source = entry.sources[0]
    return f"{folders[source.root]}/{source.name}"


def _keys_of(plan: Plan) -> set[str]:
    return {item.key for item in plan.todo}


def _at_work(step: Step, transaction: Transaction, policy: Policy, executor: Executor) -> StepInWorker:
    has_one_job, is_apart = has_one_in_hand(executor), is_of_cluster(executor)
    is_remote = is_of_cluster(executor) and executor.is_remote
    is_synced = is_remote and transaction.is_durable and not step.sync
    return StepInWorker(step, transaction.run, policy, has_one_job, is_apart=is_apart, is_synced=is_synced)


def _check_seen(executor: DaskExecutor, run: str) -> None:
    hosts = executor.hosts_without(run)
    if hosts:
        raise StorageError(
            errno.ENOENT,
            f"Workers on {', '.join(map(repr, hosts))} do not see {run!r}, which was made just now. Nothing was "
            "processed. Choose a working_dir that all machines have at the same path, such as on a network disk.",
        )


def _worker_died(error: BrokenExecutor, budget: Budget) -> WorkerDiedError:
    so_far = f"after {budget.done} of {budget.total} items"
    if isinstance(error, ClusterLostError):
        return WorkerDiedError(
            f"The run was given up {so_far}: {error} Nothing was published, and what was finished is kept. Look at the "
            "logs of the scheduler and its workers, start them anew, then run again, which goes on."
        )
    if isinstance(error, NoWorkerError):
        return WorkerDiedError(
            f"The run was given up {so_far}: {error} Nothing was published. A worker imports the module of the task "
            "and calls its setup: look for what ends a process there. In a script of your own, call luigi under "
            "`if __name__ == '__main__':`, because workers import the script."
        )
    return WorkerDiedError(
        f"A worker process ended without an answer, {so_far}; it may have been killed for its memory, or have crashed "
        "in C code. Nothing was published. Try fewer workers, or engine='processes', which goes on and names the item."
    )


def _fatal(error: BaseException | None, run: str) -> BaseException:
    """The error that ends the run: ours as it is, any other as what it must be, a failure of the disk."""
    if isinstance(error, AbortedError):
        error.__cause__ = unpack_error(error.raised)
    if isinstance(error, LuisyDirError):
        return error
    number, space = (error.errno, local.told_space(run, error)) if isinstance(error, OSError) else (None, "")
    fatal = StorageError(
        number,
        f"A worker could not record an item in {run!r}: {error}{space}. Nothing was published, and what was finished "
        "is kept. Mend the disk or make room, then run again, which goes on.",
    )
    fatal.__cause__ = error
    return fatal


def _jobs(items: list[Item], batch_size: int) -> Iterator[bytes]:
    """Items as they are sent to workers; batches are cut in key order, so that they are the same for all engines."""
    if batch_size == 1:
        return map(job_of, _largest_first(items, _size))
    batches = _largest_first(batches_of(items, batch_size), lambda batch: sum(map(_size, batch)))
    return itertools.starmap(job_of, batches)


def _largest_first(things: list[T], size_of: Callable[[T], int]) -> list[T]:
    """Uneven things with the largest first, so that no worker begins a long one when the others are done."""
    sizes = [size_of(thing) for thing in things]
    if sizes and max(sizes) * len(sizes) > _UNEVEN * sum(sizes):
        things.sort(key=size_of, reverse=True)
    return things


def _size(item: Item) -> int:
    return sum([source.size for source in item.sources])
