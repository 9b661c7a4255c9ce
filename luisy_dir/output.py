"""An output: one of several that an item is written as, or none."""

from __future__ import annotations

from typing import Any


class Output:
    """One of several outputs of an item: yield these from ``process``.

    Parameters
    ----------
    data
        What is written.
    key
        Name below the item's key: ``"left"`` of the item ``cats/1`` is written as ``cats/1/left`` and the suffix.
        None writes under the item's own key. Where ``item.output_key`` was set, that is meant instead.
    suffix
        Chooses another format for this one output.

    Examples
    --------
    >>> def process(image):
    ...     half = image.shape[1] // 2
    ...     yield Output(image[:, :half], key="left")
    ...     yield Output(image[:, half:], key="right")
    """

    __slots__ = ("data", "key", "suffix")

    def __init__(self, data: Any, key: str | None = None, suffix: str | None = None) -> None:
        self.data = data
        self.key = key
        self.suffix = suffix

    def __repr__(self) -> str:
        return f"Output({type(self.data).__name__}, key={self.key!r}, suffix={self.suffix!r})"


class NoOutput:
    """What ``process`` or a function of ``post`` returns where nothing is to be written, and all is well.

    The item is ``written``, with what was noted in ``item.meta`` and without outputs. Whoever returns None rejects it.

    Examples
    --------
    >>> def process(image, item):
    ...     item.meta["brightness"] = float(image.mean())
    ...     return NoOutput()
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "NoOutput()"


def is_no_output(result: object) -> bool:
    """Whether this says that nothing is to be written; the class itself does so too."""
    return isinstance(result, NoOutput) or result is NoOutput
