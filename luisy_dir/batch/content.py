"""Content: what a file has of a batch, which are ids and arrays with one row for each of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from luisy_dir.batch.rows import named, rows_of
from luisy_dir.errors import BatchError, UnknownItemError

if TYPE_CHECKING:
    import numpy as np

ID = "id"  # under which a file has the ids


class Content(NamedTuple):
    """What a file has of a batch.

    Parameters
    ----------
    ids
        One dimension; None where the file has none, so that the id of a row is its position.
    arrays
        By the names of components, one row an item.
    """

    ids: np.ndarray[Any, Any] | None
    arrays: dict[str, Any]

    def positions_of(self, wanted: np.ndarray[Any, Any], what: str) -> np.ndarray[Any, Any]:
        """Where the rows of some ids are.

        Raises
        ------
        UnknownItemError
            An id is not there, or several times.

        Examples
        --------
        >>> import numpy as np
        >>> Content(np.array(["b", "a"]), {}).positions_of(np.array(["a", "b"]), "the file").tolist()
        [1, 0]
        """
        import numpy as np

        if self.ids is None:
            length = len(next(iter(self.arrays.values()), ()))
            found: np.ndarray[Any, Any] = rows_of(np.arange(length), wanted, what)
            return found
        there = self.ids.tolist()
        places = {item_id: place for place, item_id in enumerate(there)}
        missing = [item_id for item_id in wanted.tolist() if item_id not in places]
        if missing:
            raise UnknownItemError(
                f"{what} has no rows of the items {named(missing)}; it has those of {named(there) or 'none'}."
            )
        if len(places) < len(there):
            twice = [item_id for place, item_id in enumerate(there) if places[item_id] != place]
            raise UnknownItemError(f"{what} has several rows of the items {named(twice)}. Keep one of each.")
        return np.asarray([places[item_id] for item_id in wanted.tolist()], dtype=np.intp)


def ids_for_file(ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Ids as a file can have them: whole numbers, or texts, and each of them once.

    Raises
    ------
    BatchError
        They are something else.

    Examples
    --------
    >>> import numpy as np
    >>> ids_for_file(np.array(["b", "a"], dtype=object)).dtype.kind
    'U'
    """
    all_ids = ids.tolist()
    if len(set(all_ids)) < len(all_ids):
        twice = [item_id for item_id, count in Counter(all_ids).items() if count > 1]
        raise BatchError(f"Several items have the ids {named(twice)}, which a file could not tell apart.")
    plain = without_objects(ids)
    if plain is None or plain.dtype.kind not in "iuU":
        raise BatchError(
            f"The ids of the items are such as {named(all_ids[:2])}, but a file has whole numbers or texts, and not "
            "both. Make a batch with other ids."
        )
    return plain


def without_objects(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any] | None:
    """An array of objects that are all texts, or all numbers, as one of these; None where they are something else.

    Examples
    --------
    >>> import numpy as np
    >>> without_objects(np.array(["b", "ab"], dtype=object))
    array(['b', 'ab'], dtype='<U2')
    >>> without_objects(np.array(["b", None], dtype=object)) is None
    True
    """
    import numpy as np

    if not array.dtype.hasobject:
        return array
    values = array.tolist()
    kinds = {type(value) for value in array.ravel().tolist()}
    if array.dtype.kind not in "OT" or len(kinds) > 1 or not kinds <= {str, int, float, bool}:
        return None
    plain = np.asarray(values)
    is_same = not plain.dtype.hasobject and plain.tolist() == values  # texts of NumPy lose a null at their end
    return plain if is_same else None


def plain_arrays(content: Content, kinds: str, fmt: str, *, has_axes: bool) -> dict[str, Any]:
    """Arrays that a format can hold.

    Parameters
    ----------
    content
        Of which they are.
    kinds
        Of the dtypes, as letters of NumPy's; empty for all without objects.
    fmt
        The format in a message.
    has_axes
        Whether an item may have axes.

    Raises
    ------
    BatchError
        The format cannot hold one of them.
    """
    import numpy as np

    plain = {}
    for name, array in content.arrays.items():
        if np.ma.isMaskedArray(array):
            raise BatchError(
                f"The component {name!r} is a masked array, and a file has no place for the mask. Fill it, or make the "
                "mask another component."
            )
        kept = without_objects(array)
        if kept is None:
            raise BatchError(
                f"The component {name!r} holds objects, which would have to be pickled. Make it an array of numbers or "
                "of texts, with items of one shape, before it is dumped."
            )
        if kept.ndim > 1 and not has_axes:
            raise BatchError(
                f"The component {name!r} has items of shape {kept.shape[1:]}, and {fmt} has one value in a column of a "
                "row. Choose fmt='npz', 'blosc', 'hdf5' or 'parquet'."
            )
        if kinds and kept.dtype.kind not in kinds:
            raise BatchError(f"The component {name!r} is of dtype {kept.dtype}, which {fmt} cannot hold. {_ADVICE}")
        plain[name] = kept
    return plain


_ADVICE = "Choose fmt='npz' or 'blosc', or convert it."
