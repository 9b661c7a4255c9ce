"""Pipelines by their name, a face of :class:`luisy_dir.Flow`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from luisy_dir.batch.flow import Flow
from luisy_dir.errors import SettingError

_ENGINES = {"threads": "threads", "t": "threads", "mpc": "processes", "m": "processes"}


class Pipeline(Flow):
    """A chain of actions that waits for batches.

    Examples
    --------
    >>> from luisy_dir.compat.batchflow import Dataset
    >>> pipeline = Dataset(3, preloaded={"images": [1, 2, 3]}).p.apply_parallel(abs, src="images", dst="sizes")
    >>> pipeline.next_batch(3).sizes
    array([1, 2, 3])
    """

    def gen_batch(self, batch_size: int, shuffle: bool | int = False, **options: Any) -> Any:  # noqa: FBT001, FBT002
        """Batches with all actions done; ``target`` says what does it ahead."""
        return super().gen_batch(batch_size, shuffle, **with_engine(options))

    def run(self, batch_size: int, shuffle: bool | int = False, **options: Any) -> Self:  # type: ignore[override] # noqa: FBT001, FBT002
        """Do all actions with all batches."""
        super().run(batch_size, shuffle, **options)
        return self


def with_engine(options: dict[str, Any]) -> dict[str, Any]:
    """Options whose ``target`` is an engine.

    Raises
    ------
    SettingError
        There is no such target.
    """
    if "target" not in options:
        return options
    target = options["target"]
    if target not in _ENGINES:
        raise SettingError(f"target is {target!r}, but batches are loaded ahead by one of {', '.join(_ENGINES)}.")
    return {name: value for name, value in options.items() if name != "target"} | {"engine": _ENGINES[target]}


def action(method: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Leave a method as it is: every method of a batch may be an action.

    Raises
    ------
    SettingError
        There is an option, such as ``use_lock``.

    Examples
    --------
    >>> action(len) is len
    True
    """
    if options:
        raise SettingError(
            f"action has the options {', '.join(map(repr, options))}, but knows none. Take a lock in the method itself."
        )
    return (lambda method: method) if method is None else method
