"""A path item: one input of a pipeline, a path or a URL, and where its output goes."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from luisy_dir.entry import OutputFile
from luisy_dir.item import Item, Source
from luisy_dir.storage import system


class PathItem(Item):
    """One input of a pipeline: a path or a URL, and where its output goes.

    Parameters
    ----------
    inpath
        As it was given.
    outpath
        Where the output goes; None where nothing is written.
    seed
        From which, with the path, ``rng`` is made.
    is_known
        An earlier run has noted what became of it.

    Attributes
    ----------
    value
        What a pipe puts here comes back to whoever has sent the item, as it is.
    """

    __slots__ = ("inpath", "is_known", "outpath", "value")

    def __init__(self, inpath: Any, outpath: Any = None, seed: int = 0, *, is_known: bool = False) -> None:
        super().__init__(text_of(inpath), (), {}, seed)
        self.inpath = inpath
        self.outpath = outpath
        self.is_known = is_known
        self.value: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return PathItem, (self.inpath, self.outpath, self.seed)

    @property
    def path(self) -> str:
        """The input's path or URL."""
        return self.key

    @property
    def paths(self) -> list[str]:
        """The same in a list."""
        return [self.key]


def text_of(path: Any) -> str:
    """A path or a URL as a text that UTF-8 can carry."""
    text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)
    return text.encode("utf-8", "backslashreplace").decode()


def is_path(path: object) -> bool:
    """Whether this is a path of this machine.

    Examples
    --------
    >>> is_path("data/a.png"), is_path("https://example.org/a.png"), is_path(3)
    (True, False, False)
    """
    return isinstance(path, (str, bytes, os.PathLike)) and not has_scheme(path)


def has_scheme(path: object) -> bool:
    """Whether this is a URL, rather than a path of this machine.

    Examples
    --------
    >>> has_scheme("https://example.org/a.png"), has_scheme("data/a.png")
    (True, False)
    """
    scheme, mark, _ = path.partition("://") if isinstance(path, str) else ("", "", "")
    return bool(mark) and scheme.replace("+", "").isalnum()


def place_of(path: Any) -> str | None:
    """A path that is the same for all names of a place, as far as the name tells; None of what is no path."""
    return os.path.abspath(os.fsdecode(path)) if is_path(path) else None


def sources_of(inpath: Any) -> tuple[Source, ...]:
    """The input as the report shows it: one file, or those of a group."""
    if isinstance(inpath, (list, tuple)):
        return tuple(source for path in inpath for source in sources_of(path))
    return (Source("", text_of(inpath), *_size_and_time(inpath)),)


def output_of(outpath: Any) -> OutputFile:
    """An output as the report shows it; its size is -1 where it is not there, or is no path."""
    return OutputFile(text_of(outpath), *_size_and_time(outpath), "")


def _size_and_time(path: Any) -> tuple[int, int]:
    if is_path(path):
        with contextlib.suppress(OSError, ValueError):
            state = system.stat(os.fsdecode(path))
            return state.st_size, state.st_mtime_ns
    return -1, 0
