"""Dumping: components of a batch into an array, a mapping, a frame or a file, by the ids of the items."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from luisy_dir.batch.components import is_name
from luisy_dir.batch.files import write_content
from luisy_dir.batch.rows import fits, is_frame, named
from luisy_dir.errors import BatchError, SettingError, UnknownItemError

if TYPE_CHECKING:
    import numpy as np


def dumped(components: Mapping[str, Any], ids: np.ndarray[Any, Any], dst: Any, fmt: str | None, **options: Any) -> None:
    """Put components into a destination, by the ids of the items.

    Parameters
    ----------
    components
        Arrays whose first axis counts the items.
    ids
        Of the items, one dimension.
    dst
        - an array: one component; the id of an item is its position;
        - a tuple of such: as many components as it has parts;
        - a mapping of such arrays by the names of components, where it has each of these names; else one component,
          whose values become those of the ids;
        - a DataFrame: columns by the names of components, rows by the ids; a column that is not there is added;
        - with ``fmt``, the name of a file, which is written as a whole and has the ids of the items beside the
          components.
    fmt
        None for what is in memory; or ``blosc``, ``csv``, ``feather``, ``hdf5``, ``npz``, ``parquet``.
    options
        Of the format.

    Raises
    ------
    BatchError
        The destination takes another number of components, or other shapes or dtypes; or a file of that format cannot
        hold them, or the ids.
    UnknownItemError
        An array has no place for an item.
    SettingError
        There is no such format, or it has no such options.
    MissingExtraError
        The library of the format is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> everything = np.zeros(4, dtype=int)
    >>> dumped({"features": np.array([2, 6])}, np.array([1, 3]), everything, None)
    >>> everything
    array([0, 2, 0, 6])
    """
    for name, data in components.items():
        if data is None:
            raise BatchError(f"The component {name!r} has no data to dump.")
    if fmt is not None:
        _check_named(components)
        write_content(dst, fmt, components, ids, **options)
        return
    if options:
        raise SettingError(
            f"{named(sorted(options))}: what is in memory is dumped into without such options. Say with fmt which "
            "format they are for."
        )
    for put in [_putter(part, name, data, ids) for part, name, data in _pairs(components, dst)]:
        put()  # only when all of them can be put


def _check_named(components: Mapping[str, Any]) -> None:
    if not components or not all(is_name(name) for name in components):
        raise BatchError(
            "A file has components by their names, but the batch has none, or data without names. Name the data first, "
            "as in batch.data = {'images': batch.data}."
        )


def _pairs(components: Mapping[str, Any], dst: Any) -> list[tuple[Any, str, Any]]:
    """Each component with its destination."""
    if isinstance(dst, tuple):
        if len(dst) != len(components):
            raise BatchError(
                f"{len(components)} components are to be dumped into a tuple of {len(dst)} parts. Name with "
                "components which ones."
            )
        return [(part, name, data) for part, (name, data) in zip(dst, components.items(), strict=True)]
    if isinstance(dst, Mapping) and components and all(name in dst for name in components):
        return [(dst[name], name, data) for name, data in components.items()]
    if len(components) != 1 and not is_frame(dst):
        raise BatchError(
            f"{len(components)} components are to be dumped into one {type(dst).__name__}. Name one with components, "
            "or give a tuple."
        )
    return [(dst, name, data) for name, data in components.items()]


def _putter(dst: Any, name: str, data: Any, ids: np.ndarray[Any, Any]) -> Any:
    """What puts one component into its destination, found fit for it."""
    import numpy as np

    if isinstance(dst, np.ndarray):
        positions = _positions(dst, name, data, ids)
        return lambda: dst.__setitem__(positions, data)
    if is_frame(dst):
        column = _column(dst, name, np.asarray(data), ids)
        return lambda: _put_column(dst, name, column)
    if isinstance(dst, MutableMapping):
        return lambda: dst.update(zip(ids.tolist(), data, strict=True))
    raise BatchError(
        f"The component {name!r} cannot be dumped into a {type(dst).__name__}. Give an array, a dict or a frame, or "
        "the name of a file and its fmt."
    )


def _positions(dst: np.ndarray[Any, Any], name: str, data: Any, ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import numpy as np

    if ids.dtype.kind not in "iu":
        raise BatchError(
            f"The component {name!r} cannot be dumped into an array, because the ids of the items are no positions. "
            "Give a dict or a frame."
        )
    if not dst.flags.writeable:
        raise BatchError(f"The component {name!r} is to be dumped into an array that is read-only. Give a copy of it.")
    outside = ids[(ids < 0) | (ids >= len(dst))].tolist() if dst.ndim else ids.tolist()
    if outside:
        raise UnknownItemError(
            f"The component {name!r} is to be dumped into an array of shape {dst.shape}, which has no positions "
            f"{named(outside)}. Make it as long as the greatest id says."
        )
    data = np.asarray(data)
    if data.shape[1:] != dst.shape[1:] or not fits(data, dst.dtype):
        raise BatchError(
            f"The component {name!r} has items of shape {data.shape[1:]} and dtype {data.dtype}, which do not go into "
            f"an array with items of shape {dst.shape[1:]} and dtype {dst.dtype}. Make another one, or change the "
            "component first."
        )
    return ids


def _column(frame: Any, name: str, data: Any, ids: np.ndarray[Any, Any]) -> Any:
    """The component as a column of the frame."""
    import numpy as np
    import pandas as pd

    missing = [item_id for item_id in ids.tolist() if item_id not in frame.index]
    if missing:
        raise UnknownItemError(f"The frame has no rows {named(missing)} for the component {name!r}. Add them first.")
    if data.ndim != 1:
        raise BatchError(
            f"The component {name!r} has items of shape {data.shape[1:]}, and a column of a frame has one value in a "
            "row. Give an array."
        )
    has_gaps = data.dtype.kind in "iu" and len(ids) < len(frame)  # which make floats of whole numbers
    dtype = frame.dtypes.get(name, np.dtype(float) if has_gaps else None)
    if isinstance(dtype, np.dtype) and not fits(data, dtype):
        raise BatchError(
            f"The component {name!r} has values of dtype {data.dtype} that do not go into the frame's column of dtype "
            f"{dtype}. Convert the column first."
        )
    column = pd.Series(data, index=ids)
    try:
        _put_column(frame.loc[ids, [name] if name in frame.columns else []], name, column)
    except (TypeError, ValueError) as error:
        raise BatchError(
            f"The component {name!r} has values that do not go into the frame's column: {str(error).rstrip('.')}. "
            "Convert the column first."
        ) from error
    return column


def _put_column(frame: Any, name: str, column: Any) -> None:
    if name in frame.columns:
        frame.loc[column.index, name] = column
    else:
        frame[name] = column
