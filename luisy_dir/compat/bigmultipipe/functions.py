"""The functions that stand beside BigMultiPipe: for its lists of functions, its names, and what it returns."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from luisy_dir.errors import DefinitionError

Pout = tuple[Any, dict[Any, Any]]  # an output's name, or None, and metadata

_MARKED = "bmp_cleanup_list"


def assure_list(value: object) -> list[Any]:
    """A list of what may be one thing, several, or None.

    Examples
    --------
    >>> assure_list(None), assure_list(abs), assure_list((1, 2))
    ([], [<built-in function abs>], [1, 2])
    """
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def bmp_cleanup(data: Any = None, bmp_meta: dict[Any, Any] | None = None, add: Any = None) -> Any:
    """Mark metadata that only other functions of ``post_process_list`` need: it is removed after the last of them.

    Parameters
    ----------
    data
        Is returned as it is, so that this may stand in ``post_process_list``.
    bmp_meta
        The metadata of a file.
    add
        Name of what shall be removed, or several; None removes now what was marked.

    Examples
    --------
    >>> meta = {"mean": 3.5, "mask": [0, 1]}
    >>> bmp_cleanup(bmp_meta=meta, add="mask")
    >>> bmp_cleanup(bmp_meta=meta)
    >>> meta
    {'mean': 3.5}
    """
    if bmp_meta is None:
        return data
    if add is not None:
        bmp_meta.setdefault(_MARKED, []).extend(assure_list(add))
        return data
    for name in bmp_meta.pop(_MARKED, ()):
        bmp_meta.pop(name, None)
    return data


def forget_marks(bmp_meta: dict[Any, Any]) -> None:
    """Keep what :func:`bmp_cleanup` would remove."""
    bmp_meta.pop(_MARKED, None)


def no_outfile(data: Any, **kwargs: Any) -> None:
    """Put this last into ``post_process_list`` where metadata is wanted, and no output."""


def multi_logging(level: str, meta: dict[Any, Any], message: str) -> None:
    """Note a message in the metadata of a file, in a list under the name of its level.

    Examples
    --------
    >>> meta = {}
    >>> multi_logging("warning", meta, "saturated")
    >>> meta
    {'warning': ['saturated']}
    """
    meta.setdefault(level, []).append(message)


def multi_proc(func: Callable[..., Any], element_type: type | tuple[type, ...] | None = None) -> Callable[..., Any]:
    """A function for one thing as one for lists of such things, and lists of those.

    Parameters
    ----------
    func
        ``func(thing, *args, **kwargs)``.
    element_type
        What is one thing though it is a list; None where a thing is never a list.

    Examples
    --------
    >>> multi_proc(abs)([-1, [-2, -3]])
    [1, [2, 3]]
    """

    def of_many(data: Any, *args: Any, **kwargs: Any) -> Any:
        is_one = isinstance(data, element_type) if element_type is not None else not isinstance(data, (list, tuple))
        return func(data, *args, **kwargs) if is_one else [of_many(part, *args, **kwargs) for part in data]

    return of_many


def outname_creator(
    in_name: Any,
    *args: Any,  # noqa: ARG001 - the original's
    meta: dict[Any, Any] | None = None,
    outdir: Any = None,
    outname_append: str = "_bmp",
    outname: Any = None,
    **kwargs: Any,  # noqa: ARG001 - whatever else a file is processed with
) -> str:
    """Name of the output for an input.

    Parameters
    ----------
    in_name
        Path of the input; a group of them has no name of its own.
    meta
        Metadata of the file, whose ``outdir``, ``outname_append`` and ``outname`` go before the arguments.
    outdir
        Folder of the output; None for the current one.
    outname_append
        Stands before the suffix of the input's name.
    outname
        The whole name.

    Raises
    ------
    DefinitionError
        A group has no name.

    Examples
    --------
    >>> outname_creator("raw/test.dat", outdir="out")
    'out/test_bmp.dat'
    >>> outname_creator("raw/test.dat", outdir="out", meta={"outname": "renamed.txt"})
    'out/renamed.txt'
    """
    meta = meta or {}
    outdir = meta.get("outdir", outdir)
    outname = meta.get("outname", outname)
    if outname is not None:
        return os.fsdecode(outname) if outdir is None else os.path.join(os.fsdecode(outdir), os.fsdecode(outname))
    if isinstance(in_name, (list, tuple)):
        raise DefinitionError(
            f"The group {in_name!r} has no name for its output. Let a function of post_process_list set "
            "bmp_meta['outname'], or override outname_create."
        )
    stem, suffix = os.path.splitext(os.path.basename(os.fsdecode(in_name)))
    name = f"{stem}{meta.get('outname_append', outname_append)}{suffix}"
    return os.path.join(os.getcwd() if outdir is None else os.fsdecode(outdir), name)


def prune_pout(pout: Iterable[Pout], in_names: Iterable[Any]) -> tuple[list[Pout], list[Any]]:
    """What ``pipeline()`` returned, and its inputs, without those that were rejected.

    Parameters
    ----------
    pout
        What ``pipeline()`` returned.
    in_names
        What it was given.

    Returns
    -------
    tuple of list
        Without the pairs ``(None, {})``; what has metadata stays, and so does a failure, which has an ``error``.

    Examples
    --------
    >>> prune_pout([("a_bmp.npy", {}), (None, {}), (None, {"mean": 3})], ["a.npy", "b.npy", "c.npy"])
    ([('a_bmp.npy', {}), (None, {'mean': 3})], ['a.npy', 'c.npy'])
    """
    kept = [(result, in_name) for result, in_name in zip(pout, in_names, strict=True) if _has_anything(*result)]
    return [result for result, _ in kept], [in_name for _, in_name in kept]


def _has_anything(outname: Any, meta: dict[Any, Any]) -> bool:
    return outname is not None or bool(meta)
