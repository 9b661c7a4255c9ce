"""Processing of any data: what a function returns as a column of the report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


def report_output(func_input: T, func: Callable[..., Any], inpath: Any, log_dict: Any, key: str, **kwargs: Any) -> T:
    """Log what a function returns for the data, and return the data.

    Parameters
    ----------
    func_input
        The data.
    func
        Called with the data, and with ``kwargs``.
    inpath, log_dict
        As a :class:`~luisy_dir.compat.creevey.CustomReportingPipeline` gives them.
    key
        Name of the column.
    """
    log_dict[inpath][key] = func(func_input, **kwargs)
    return func_input


def get_report_output_decorator(key: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that makes an op of a function: what it returns becomes the column ``key``."""
    return lambda func: partial(report_output, func=func, key=key)
