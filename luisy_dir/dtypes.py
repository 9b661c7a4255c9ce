"""Dtypes: NumPy's, as texts of a manifest."""

from __future__ import annotations

import contextlib
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def text_of_dtype(dtype: Any) -> str:
    """A dtype as text: NumPy's notation, and JSON of the fields where it has some.

    Examples
    --------
    >>> import numpy as np
    >>> text_of_dtype(np.dtype("float32")), text_of_dtype(np.dtype([("x", "i2"), ("y", "f4", (2,))]))
    ('<f4', '[["x", "<i2"], ["y", "<f4", [2]]]')
    """
    if dtype.fields is not None:
        with contextlib.suppress(ValueError):  # of fields that overlap, which no npy file can hold either
            return json.dumps(dtype.descr, ensure_ascii=False)
    return str(dtype.str)


@lru_cache(maxsize=256)
def dtype_of_text(text: str) -> np.dtype[Any]:
    """The dtype that :func:`text_of_dtype` has spelled.

    Raises
    ------
    ValueError, TypeError
        The text is no dtype.

    Examples
    --------
    >>> dtype_of_text('[["x", "<i2"], ["y", "<f4", [2]]]')
    dtype([('x', '<i2'), ('y', '<f4', (2,))])
    """
    import numpy as np

    if not text.startswith("["):
        return np.dtype(text)
    return np.lib.format.descr_to_dtype(_fields(json.loads(text)))


def _fields(spelled: Any) -> Any:
    """Fields as NumPy has them: tuples within a list."""
    if not isinstance(spelled, list):
        return spelled
    return [(_title(name), _fields(kind), *map(tuple, shape)) for name, kind, *shape in spelled]


def _title(name: str | list[str]) -> str | tuple[str, ...]:
    return tuple(name) if isinstance(name, list) else name
