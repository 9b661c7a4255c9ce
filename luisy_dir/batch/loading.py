"""Loading: data out of an array, a tuple, a dict or a frame, as components of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luisy_dir.batch.rows import frame_rows, is_frame, is_mapping, named, rows_of
from luisy_dir.errors import BatchError, SettingError

if TYPE_CHECKING:
    import numpy as np

FORMATS: tuple[str, ...] = ()


def loaded(
    src: Any, fmt: str | None, ids: np.ndarray[Any, Any], dst: str | tuple[str, ...] | None, **options: Any
) -> dict[str, Any]:
    """Components out of a source, one row an item, in the order of the ids.

    Parameters
    ----------
    src
        - an array, or a list: one component. The id of an item is its position, as
          :func:`~luisy_dir.batch.rows.rows_of` says;
        - a tuple of such: as many components as it has parts;
        - a dict of such by the names of components;
        - a DataFrame whose index has the ids: components are its columns; with ``dst`` a text, all its columns are one
          component of two dimensions, or the one column of it, if it has no other and that has the component's name.
    fmt
        None for what is in memory.
    ids
        Of the items, one dimension.
    dst
        Which components to make; None for all that a dict or a frame has.
    options
        Of the format.

    Returns
    -------
    dict
        An array for each component.

    Raises
    ------
    BatchError
        The source does not have what is asked for.
    UnknownItemError
        It has no row for an item.
    SettingError
        There is no such format.

    Examples
    --------
    >>> import numpy as np
    >>> loaded((np.arange(5) * 10, np.arange(5) * 100), None, np.array([1, 3]), ("images", "masks"))
    {'images': array([10, 30]), 'masks': array([100, 300])}
    """
    if fmt is not None:
        raise SettingError(
            f"fmt is {fmt!r}, but has to be one of {', '.join(map(repr, FORMATS)) or 'none'}, or None for data that is "
            "in memory."
        )
    if options:
        raise SettingError(
            f"{named(sorted(options))}: data that is in memory is loaded without such options. Say with fmt which "
            "format they are for."
        )
    if is_frame(src):
        return _of_frame(src, ids, dst)
    if is_mapping(src) and not (isinstance(dst, str) and dst not in src):
        return _of_mapping(src, ids, dst)
    if isinstance(src, tuple) and not isinstance(dst, str):
        return _of_parts(src, ids, dst)
    name = _only(dst)
    return {name: rows_of(src, ids, f"what is loaded into {name!r}")}


def _of_frame(src: Any, ids: np.ndarray[Any, Any], dst: str | tuple[str, ...] | None) -> dict[str, Any]:
    if isinstance(dst, str) and list(src.columns) != [dst]:
        return {dst: rows_of(src, ids, "the frame")}
    names = _known(tuple(src.columns), dst, "columns")
    rows = frame_rows(src, ids)
    return {name: rows[name].to_numpy(copy=True) for name in names}


def _of_mapping(src: Any, ids: np.ndarray[Any, Any], dst: str | tuple[str, ...] | None) -> dict[str, Any]:
    return {name: rows_of(src[name], ids, repr(name)) for name in _known(tuple(src), dst, "parts")}


def _of_parts(src: tuple[Any, ...], ids: np.ndarray[Any, Any], dst: tuple[str, ...] | None) -> dict[str, Any]:
    if dst is None or len(dst) != len(src):
        raise BatchError(
            f"A tuple of {len(src)} parts is to be loaded into {'no' if dst is None else len(dst)} components. Name "
            "one for each part with dst, or give a dict."
        )
    return {name: rows_of(part, ids, repr(name)) for name, part in zip(dst, src, strict=True)}


def _known(there: tuple[Any, ...], dst: str | tuple[str, ...] | None, what: str) -> tuple[str, ...]:
    """Those that are wanted."""
    wanted = there if dst is None else (dst,) if isinstance(dst, str) else dst
    missing = [name for name in wanted if name not in there]
    if missing:
        raise BatchError(f"The source has no {what} {named(missing)}; it has {named(there) or 'none'}.")
    return wanted


def _only(dst: str | tuple[str, ...] | None) -> str:
    names = () if dst is None else (dst,) if isinstance(dst, str) else dst
    if len(names) != 1:
        raise BatchError(
            f"One array is to be loaded into {len(names)} components. Name one with dst, or give a tuple or a dict of "
            "arrays."
        )
    return names[0]
