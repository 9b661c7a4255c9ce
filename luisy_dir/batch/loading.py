"""Loading: data out of an array, a tuple, a dict, a frame or a file, as components of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luisy_dir.batch.files import read_content
from luisy_dir.batch.rows import check_columns, frame_rows, is_frame, is_mapping, named, rows_of, values_of
from luisy_dir.errors import BatchError, SettingError

if TYPE_CHECKING:
    import numpy as np


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
          component of two dimensions, or the one column of it, if it has no other and that has the component's name;
        - with ``fmt``, the name of a file. Its rows are found by the ids that it has: those that
          :func:`~luisy_dir.batch.dumping.dumped` has put there, or those in the column ``index_col`` of a table; the id
          of a row of a file without ids is its position. With ``dst`` a text, that is the name of one component of the
          file, or, if it has none of that name, all columns of the table together.
    fmt
        None for what is in memory; or ``blosc``, ``csv``, ``feather``, ``hdf5``, ``npz``, ``parquet``.
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
        There is no such format, or it has no such options.
    MissingExtraError
        The library of the format is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> loaded((np.arange(5) * 10, np.arange(5) * 100), None, np.array([1, 3]), ("images", "masks"))
    {'images': array([10, 30]), 'masks': array([100, 300])}
    """
    if fmt is not None:
        return _of_file(src, fmt, ids, dst, **options)
    if options:
        raise SettingError(
            f"{named(sorted(options))}: data that is in memory is loaded without such options. Say with fmt which "
            "format they are for."
        )
    if is_frame(src):
        return _of_frame(src, ids, dst)
    if is_mapping(src) and not (isinstance(dst, str) and dst not in src):
        return _of_mapping(src, ids, dst)
    if isinstance(src, tuple):
        return _of_parts(src, ids, (dst,) if isinstance(dst, str) else dst)
    name = _only(dst)
    return {name: rows_of(src, ids, f"what is loaded into {name!r}")}


def _of_file(
    src: Any, fmt: str, ids: np.ndarray[Any, Any], dst: str | tuple[str, ...] | None, **options: Any
) -> dict[str, Any]:
    content = read_content(src, fmt, has_text_ids=_are_texts(ids), **options)
    places = content.positions_of(ids, f"the file {src!r}")
    arrays = content.arrays
    if isinstance(dst, str) and dst not in arrays:
        return {dst: _together(list(arrays.values()), dst)[places]}
    return {name: arrays[name][places] for name in _known(tuple(arrays), dst, "parts")}


def _are_texts(ids: np.ndarray[Any, Any]) -> bool:
    return ids.dtype.kind == "U" or (ids.dtype.kind == "O" and all(isinstance(item_id, str) for item_id in ids))


def _together(columns: list[Any], dst: str) -> Any:
    """Several columns as one component, as of a frame."""
    import numpy as np

    if len(columns) == 1:
        return columns[0]
    if any(column.ndim != 1 for column in columns):
        raise BatchError(
            f"The file has several parts, of which none is called {dst!r}, and items with axes, so that they are not "
            "one component together. Name with dst which of them to load."
        )
    return np.stack(columns, axis=1)


def _of_frame(src: Any, ids: np.ndarray[Any, Any], dst: str | tuple[str, ...] | None) -> dict[str, Any]:
    check_columns(src)
    if isinstance(dst, str) and list(src.columns) != [dst]:
        return {dst: rows_of(src, ids, "the frame")}
    names = _known(tuple(src.columns), dst, "columns")
    rows = frame_rows(src, ids)
    return {name: values_of(rows[name]) for name in names}


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
