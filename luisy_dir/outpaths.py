"""Outpaths: where the outputs of a pipeline go, and which of them are refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from luisy_dir.errors import KeyCollisionError, LuisyDirError, OutputError
from luisy_dir.item import printable
from luisy_dir.path_item import place_of, text_of

PathFunction = Callable[[Any], Any]


@dataclass(frozen=True)
class Outpaths:
    """Where the output of each input goes, by the input's number.

    Parameters
    ----------
    found
        Where it goes; None where nothing is written.
    failed
        What ``path_func`` raised.
    refused
        Why it may not go there.
    """

    found: dict[int, Any] = field(default_factory=dict)
    failed: dict[int, Exception] = field(default_factory=dict)
    refused: dict[int, LuisyDirError] = field(default_factory=dict)


def find_outpaths(inpaths: Sequence[Any], path_func: PathFunction) -> Outpaths:
    """Ask where each output goes, and see whether two go to one place, or one to that of an input.

    Examples
    --------
    >>> found = find_outpaths(["a.txt", "b.txt", "c.txt"], lambda path: "out/c.txt" if path == "c.txt" else "out/same")
    >>> found.found, list(found.refused)
    ({0: 'out/same', 2: 'out/c.txt'}, [1])
    """
    outpaths = Outpaths()
    owners: dict[str, Any] = {}
    inputs = {place for path in inpaths if (place := place_of(path)) is not None}
    for number, inpath in enumerate(inpaths):
        try:
            outpath = path_func(inpath)
        except Exception as error:  # noqa: BLE001 - the user's function may raise anything
            outpaths.failed[number] = error
            continue
        place = None if outpath is None else place_of(outpath) or text_of(outpath)
        owner = inpath if place is None else owners.setdefault(place, inpath)
        if owner is not inpath:
            outpaths.refused[number] = _collision(owner, inpath, outpath)
        elif place in inputs:
            outpaths.refused[number] = _replacement(inpath, outpath)
        else:
            outpaths.found[number] = outpath
    return outpaths


def _collision(one: Any, other: Any, outpath: Any) -> KeyCollisionError:
    return KeyCollisionError(
        f"{printable(text_of(one))!r} and {printable(text_of(other))!r} would both be written as "
        f"{printable(text_of(outpath))!r}. Let path_func make different names of them."
    )


def _replacement(inpath: Any, outpath: Any) -> OutputError:
    return OutputError(
        f"The output for {printable(text_of(inpath))!r} would replace the input {printable(text_of(outpath))!r}. "
        "Let path_func name another folder."
    )
