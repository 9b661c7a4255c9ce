"""Counting: how many processes there can be at a time."""

from __future__ import annotations

from luisy_dir.errors import MemoryShortError, SettingError
from luisy_dir.resources import usable_cpus, usable_memory


def num_can_process(
    num_to_process: int | None = None,
    num_processes: float | None = None,
    mem_available: float | None = None,
    mem_frac: float = 0.8,
    process_size: float | None = None,
    error_if_zero: bool = True,  # noqa: FBT001, FBT002 - the original's
) -> int:
    """How many processes there can be at a time.

    Parameters
    ----------
    num_to_process
        How many things there are to process; None for any number.
    num_processes
        At most so many. None or 0 for as many as there are usable CPUs, a number below 1 for a part of them, at least
        one.
    mem_available
        Bytes that all of them together may take; None for ``mem_frac`` of :func:`luisy_dir.resources.usable_memory`.
    mem_frac
        Part of the memory that they may take.
    process_size
        Bytes that one of them takes; None where memory sets no limit.
    error_if_zero
        What to do where there is not enough memory for one: raise, or return 0.

    Raises
    ------
    SettingError
        A number makes no sense.
    MemoryShortError
        There is not enough memory for one process. It is an :class:`OSError`.

    Examples
    --------
    >>> num_can_process(10, num_processes=8, mem_available=1000, process_size=300)
    3
    """
    counts = [_most_processes(num_processes)]
    if num_to_process is not None:
        counts.append(num_to_process)
    if process_size is not None:
        memory = usable_memory() * mem_frac if mem_available is None else mem_available
        counts.append(_fitting(memory, process_size))
        if counts[-1] == 0 and error_if_zero:
            raise MemoryShortError(
                f"A process takes {process_size:,} bytes, as process_size says, but there are {int(memory):,} for all "
                "of them. Make room, give more with mem_available or mem_frac, or correct process_size."
            )
    return min(counts)


def _most_processes(number: float | None) -> int:
    if not number:
        return usable_cpus()
    if 0 < number < 1:
        return max(1, round(number * usable_cpus()))
    if number < 0 or number != int(number):
        raise SettingError(
            f"num_processes is {number!r}. Give a whole number, a part of all CPUs between 0 and 1, or None for all."
        )
    return int(number)


def _fitting(memory: float, size: float) -> int:
    if size <= 0:
        raise SettingError(f"process_size is {size!r}. Give a number of bytes greater than 0, or None.")
    return int(memory / size)
