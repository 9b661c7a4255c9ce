"""An engine: the configuration word for a :class:`concurrent.futures.Executor`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeGuard

from luisy_dir.engines.event_loop import AsyncExecutor
from luisy_dir.engines.processes import ProcessExecutor
from luisy_dir.engines.serial import SerialExecutor
from luisy_dir.errors import SettingError
from luisy_dir.resources import usable_cpus

if TYPE_CHECKING:  # each worker imports this package, and few programs have a cluster
    from luisy_dir.engines.cluster import DaskExecutor

ENGINES = ("serial", "threads", "processes", "async", "dask")


def open_engine(
    name: str, workers: int | None, *, timeout: float | None = None, address: str = "", imports_main: bool = True
) -> Executor:
    """Executor for the configuration word ``name``.

    Parameters
    ----------
    name
        ``serial``, ``threads``, ``processes``, ``async``, ``dask``, or ``module:function`` where ``function(workers)``
        returns any :class:`concurrent.futures.Executor`.
    workers
        How many items may be worked on at the same time; ``serial`` has one worker. None, for a Dask cluster that is
        there, as many as it has threads.
    timeout
        Seconds that an item may take before its worker is killed; None for as long as it takes.
    address
        Of a Dask scheduler that is there; empty where ``dask`` shall be a cluster of this machine's own.
    imports_main
        Worker processes import the script that was started, as those of multiprocessing do; False where it may have no
        guard, and what crosses to them is pickled by value.

    Raises
    ------
    SettingError
        There is no such engine, it cannot end an item that takes too long, or there is no cluster at the address.
    MissingExtraError
        Dask is not installed.

    Examples
    --------
    >>> with open_engine("threads", 2) as executor:
    ...     executor.submit(abs, -3).result()
    3
    """
    if name == "dask":
        from luisy_dir.engines.cluster import DaskExecutor

        return DaskExecutor(workers, address=address, timeout=timeout)
    workers = workers or usable_cpus()
    if name == "processes":
        return ProcessExecutor(workers, timeout=timeout, imports_main=imports_main)
    if timeout is not None:
        raise SettingError(
            f"timeout is {timeout:g}, but the engine {name!r} cannot end an item that takes too long, because its "
            "workers cannot be killed one by one. Choose engine='processes' or 'dask', or leave timeout out."
        )
    if name == "serial":
        return SerialExecutor()
    if name == "threads":
        return ThreadPoolExecutor(workers, thread_name_prefix="luisy_dir")
    if name == "async":
        return AsyncExecutor(workers)
    return _foreign_executor(name, workers)


def is_of_cluster(executor: Executor) -> TypeGuard[DaskExecutor]:
    """Whether its workers are those of a Dask cluster."""
    cluster = sys.modules.get("luisy_dir.engines.cluster")  # which whoever made such an executor has imported
    return cluster is not None and isinstance(executor, cluster.DaskExecutor)


def width_of(executor: Executor, workers: int) -> int:
    """How many things an executor works on at the same time: so many, unless it knows better."""
    return executor.workers if is_of_cluster(executor) else workers


def memory_of(executor: Executor) -> Callable[[], int] | None:
    """What tells the bytes of memory on the machine of an executor's workers that has the least; None for this one."""
    return executor.least_memory if is_of_cluster(executor) and executor.is_remote else None


def start_workers(executor: Executor) -> None:
    """Let worker processes start now, rather than when the first item is there; others have nothing to start."""
    if isinstance(executor, ProcessExecutor):
        executor.start()


def has_one_in_hand(executor: Executor) -> bool:
    """Whether no process has more than one thing in hand at a time, as far as can be seen."""
    return isinstance(executor, (SerialExecutor, ProcessExecutor)) or is_of_cluster(executor)


def _foreign_executor(name: str, workers: int) -> Executor:
    module, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise SettingError(
            f"There is no engine {name!r}: {error}. "
            f"Choose one of {', '.join(ENGINES)}, or name a function that returns an Executor as 'module:function'."
        ) from error
    executor = factory(workers)
    if not isinstance(executor, Executor):
        raise SettingError(
            f"The engine {name!r} returned a {type(executor).__name__}, which is no concurrent.futures.Executor."
        )
    return executor
