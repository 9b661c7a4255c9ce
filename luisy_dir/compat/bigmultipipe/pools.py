"""Pools: what stands for an engine where a program names a class of pools."""

from __future__ import annotations

from typing import Any, NoReturn

from luisy_dir.errors import DefinitionError

_THREADS = {"ThreadPool"}
_PROCESSES = {"Pool", "NoDaemonPool", "NestablePool"}


class NoDaemonPool:
    """As ``PoolClass`` it stands for worker processes that may start processes of their own, which these always may.

    It is a name and not a pool: there is nothing in it to be called.
    """

    def __init__(self, *_: object, **__: object) -> NoReturn:
        raise DefinitionError(
            f"{type(self).__name__} is a name for the engine 'processes', and no pool. Give the class itself: "
            f"PoolClass={type(self).__name__}; a function of yours that needs a pool can use multiprocessing's own."
        )


class NestablePool(NoDaemonPool):
    """Another name of the same."""


def engine_of(pool: Any) -> str:
    """The engine that stands for a class of pools.

    Parameters
    ----------
    pool
        ``multiprocessing.Pool``, that of a context, ``multiprocessing.pool.ThreadPool``, :class:`NoDaemonPool`, or one
        derived from them; None for processes. It is never called.

    Raises
    ------
    DefinitionError
        It is none of these.

    Examples
    --------
    >>> import multiprocessing.pool
    >>> engine_of(multiprocessing.Pool), engine_of(multiprocessing.pool.ThreadPool)
    ('processes', 'threads')
    """
    names = {cls.__name__ for cls in getattr(pool, "__mro__", ())} | {getattr(pool, "__name__", "")}
    if names & _THREADS or (getattr(pool, "__module__", "") == "multiprocessing.dummy" and names & _PROCESSES):
        return "threads"
    if pool is None or names & _PROCESSES:
        return "processes"
    raise DefinitionError(
        f"PoolClass is {pool!r}, for which no engine stands. Give multiprocessing.Pool, "
        "multiprocessing.pool.ThreadPool or NoDaemonPool, or leave it out."
    )
