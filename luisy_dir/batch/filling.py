"""Filling: what becomes of data that is given to a batch as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luisy_dir.batch.components import Components
from luisy_dir.batch.loading import loaded
from luisy_dir.batch.rows import check_columns, is_frame, is_mapping, named, rows_of
from luisy_dir.errors import BatchError

if TYPE_CHECKING:
    import numpy as np


def components_of(data: Any, names: tuple[str, ...] | None) -> dict[str, Any] | Any:
    """Data of a batch by the names of components; as it is, where there are none.

    Parameters
    ----------
    data
        With one row an item: a dict or a frame, a tuple in the order of the names, one array, or None.
    names
        Of the components that the batch has; those that the data lacks become None. None where it has none.

    Returns
    -------
    dict or object
        A dict, unless neither the batch nor the data has names.

    Raises
    ------
    BatchError
        There are more parts than names, or one array is to be several components.

    Examples
    --------
    >>> components_of(([1, 2], [3, 4]), ("images", "masks", "labels"))
    {'images': [1, 2], 'masks': [3, 4], 'labels': None}
    """
    empty: dict[str, Any] = dict.fromkeys(names or ())
    if data is None:
        return empty
    if isinstance(data, Components):
        return empty | data.as_dict()
    if is_mapping(data) or is_frame(data):
        check_columns(data)
        return empty | {name: data[name] for name in data}
    if names is None:
        return data
    parts = data if isinstance(data, tuple) else (data,)
    if len(parts) > len(names) or (len(names) > 1 and not isinstance(data, tuple)):
        raise BatchError(
            f"A {type(data).__name__} is to be the data of a batch with the components {named(names)}. Give a tuple "
            "with a part for each, or a dict."
        )
    return empty | dict(zip(names, parts, strict=False))


def rows_of_all(source: Any, ids: np.ndarray[Any, Any], names: tuple[str, ...] | None) -> Any:
    """Rows of items, in the form that the source has: a dict, a tuple or one array.

    Parameters
    ----------
    source
        Data of a whole dataset, as :func:`~luisy_dir.batch.loading.loaded` takes it.
    ids
        Of the items.
    names
        Of the components that are wanted, as far as the source has them; None for all.

    Raises
    ------
    BatchError
        The source has names, and none of these.
    UnknownItemError
        It has no row for an item.

    Examples
    --------
    >>> import numpy as np
    >>> rows_of_all((np.arange(5), np.arange(5) * 10), np.array([3]), None)
    (array([3]), array([30]))
    """
    if is_mapping(source) or is_frame(source):
        wanted = None if names is None else tuple(name for name in source if name in names)
        if wanted == ():
            raise BatchError(f"The data has none of the components {named(names or ())}. Correct their names.")
        return loaded(source, None, ids, wanted)
    if isinstance(source, tuple):
        return tuple(rows_of(part, ids, f"part {number}") for number, part in enumerate(source))
    return rows_of(source, ids)
