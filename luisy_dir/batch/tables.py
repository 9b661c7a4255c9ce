"""Tables: files with a column for each component and a row for each item, as csv, feather and parquet."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, BinaryIO

from luisy_dir.batch.content import ID, Content, plain_arrays
from luisy_dir.batch.rows import values_of
from luisy_dir.errors import BatchError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_EXACT_SINCE = (3, 1)  # pandas reads floats as they were written without being told so
_LARGEST_FLOAT = 8  # bytes


def encode_csv(content: Content, **options: Any) -> bytes:
    """Comma-separated text, ids in the first column; ``options`` are those of :meth:`pandas.DataFrame.to_csv`.

    Raises
    ------
    BatchError
        A value would be another one when the file is read: a text that looks like a number, or like nothing.
    """
    arrays = plain_arrays(content, "biufU", "csv", has_axes=False)
    frame = _frame(content.ids, arrays)
    options = {"quoting": csv.QUOTE_NONNUMERIC} | options
    text: str = frame.to_csv(quoting=csv.QUOTE_NONNUMERIC)
    back = decode_csv(io.BytesIO(text.encode()), content.ids is not None and content.ids.dtype.kind == "U")
    for name, array in {ID: content.ids, **arrays}.items():
        _check_same(name, array, back.ids if name == ID else back.arrays[name])
    buffer = io.BytesIO()
    frame.to_csv(buffer, mode="wb", **options)
    return buffer.getvalue()


def _check_same(name: str, array: Any, back: Any) -> None:
    import numpy as np

    is_text = array.dtype.kind == "U"
    if is_text != (back.dtype.kind == "U") and array.size:
        is_same = False
    else:
        is_same = np.array_equal(array, back if is_text else back.astype(array.dtype), equal_nan=not is_text)
    if not is_same:
        raise BatchError(
            f"{name!r} has texts that would be read as something else from csv, such as numbers or missing values. "
            "Choose fmt='parquet', or another one that knows dtypes."
        )


def decode_csv(file: BinaryIO, has_text_ids: bool, *, index_col: Any = None, **options: Any) -> Content:  # noqa: FBT001
    """The columns of comma-separated text; ``options`` are those of :func:`pandas.read_csv`.

    Parameters
    ----------
    file
        Open for reading.
    has_text_ids
        Ids are texts, whatever they look like.
    index_col
        Name or number of the column that has the ids; None for ``id`` if there is one, else positions.
    options
        As said.
    """
    import pandas as pd

    if index_col is None:
        index_col = ID if ID in _header(file, options) else None
    has_marks = has_text_ids and isinstance(index_col, (int, str)) and not isinstance(index_col, bool)
    if has_marks:
        options["converters"] = {**options.get("converters", {}), index_col: _marked}
    version = tuple(map(int, pd.__version__.split(".")[:2]))
    exact = {"float_precision": "round_trip"} if version < _EXACT_SINCE else {}
    read: Any = pd.read_csv  # with these options, its type says too little
    frame = read(file, **(exact | options))
    content = _content(frame, index_col)
    return content._replace(ids=_unmarked(content.ids)) if has_marks else content


def _marked(text: str) -> str:
    """A text that pandas takes for nothing but a text, such as neither 7 nor NA."""
    return f"={text}"


def _unmarked(marked: Any) -> Any:
    import numpy as np

    texts = [text[1:] for text in marked.tolist()]
    return np.asarray(texts) if texts else np.zeros(0, "U1")


def _header(file: BinaryIO, options: dict[str, Any]) -> list[Any]:
    """Names of the columns."""
    import pandas as pd

    names: list[Any] = pd.read_csv(file, **{**options, "nrows": 0}).columns.tolist()
    file.seek(0)
    return names


def encode_parquet(content: Content, **options: Any) -> bytes:
    """Parquet; ``options`` are those of ``pyarrow.parquet.write_table``."""
    from pyarrow import parquet

    buffer = io.BytesIO()
    parquet.write_table(_arrow(content, "parquet"), buffer, **options)
    return buffer.getvalue()


def decode_parquet(file: BinaryIO, has_text_ids: bool, *, index_col: Any = None, **options: Any) -> Content:  # noqa: ARG001, FBT001
    """The columns of a Parquet file; ``options`` are those of ``pyarrow.parquet.read_table``."""
    from pyarrow import parquet

    return _of_arrow(parquet.read_table(file, **options), index_col)


def encode_feather(content: Content, **options: Any) -> bytes:
    """Feather; ``options`` are those of ``pyarrow.feather.write_feather``."""
    from pyarrow import feather

    buffer = io.BytesIO()
    feather.write_feather(_arrow(content, "feather"), buffer, **options)
    return buffer.getvalue()


def decode_feather(file: BinaryIO, has_text_ids: bool, *, index_col: Any = None, **options: Any) -> Content:  # noqa: ARG001, FBT001
    """The columns of a Feather file; ``options`` are those of ``pyarrow.feather.read_table``."""
    from pyarrow import feather

    return _of_arrow(feather.read_table(file, **options), index_col)


def _arrow(content: Content, fmt: str) -> Any:
    """A table whose columns have one value in a row, or a tensor of one shape."""
    import pyarrow as pa

    arrays = {
        name: array.astype(array.dtype.newbyteorder("="), copy=False)
        for name, array in plain_arrays(content, "biufUM", fmt, has_axes=True).items()
    }
    ids: Any = content.ids
    flat = {name: each for name, each in arrays.items() if each.ndim == 1}
    table = pa.Table.from_pandas(_frame(ids.astype(ids.dtype.newbyteorder("="), copy=False), flat))
    for name, array in arrays.items():
        if array.ndim > 1:
            table = table.append_column(name, _tensor(name, array, fmt))
    return table.select([*arrays, ID])


def _tensor(name: str, array: np.ndarray[Any, Any], fmt: str) -> Any:
    import numpy as np
    import pyarrow as pa

    if array.dtype.kind not in "iuf" or array.dtype.itemsize > _LARGEST_FLOAT or not array.size:
        raise BatchError(
            f"The component {name!r} is of dtype {array.dtype} and shape {array.shape}; {fmt} takes items with axes of "
            "integers and floats only, and not of nothing. Choose fmt='npz' or 'blosc', or convert it."
        )
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))


def _of_arrow(table: Any, index_col: Any) -> Content:
    import pyarrow as pa

    tensors = [field.name for field in table.schema if isinstance(field.type, pa.FixedShapeTensorType)]
    content = _content(table.drop_columns(tensors).to_pandas(), index_col)
    arrays = {name: table[name].combine_chunks().to_numpy_ndarray() for name in tensors} | content.arrays
    return Content(content.ids, {name: arrays[name] for name in table.column_names if name in arrays})


def _frame(ids: Any, arrays: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(arrays, index=pd.Index(ids, name=ID))


def _content(frame: pd.DataFrame, index_col: Any) -> Content:
    """A frame as a content: ids are in the column that is said, an index that is no count, or the column ``id``."""
    if index_col is None and _is_count(frame.index) and ID in frame:
        index_col = ID
    if index_col is not None and index_col is not False:
        name = frame.columns[index_col] if isinstance(index_col, int) else index_col
        if name not in frame.columns:
            raise BatchError(f"There is no column {name!r} to be the ids; there are {frame.columns.tolist()}.")
        frame = frame.set_index(name)
    elif _is_count(frame.index):
        return Content(None, _arrays(frame))
    return Content(_values(frame.index), _arrays(frame))


def _is_count(index: pd.Index[Any]) -> bool:
    """Whether its labels are but the positions."""
    import pandas as pd

    return isinstance(index, pd.RangeIndex) and index.name is None and (index.start, index.step) == (0, 1)


def _arrays(frame: pd.DataFrame) -> dict[str, Any]:
    return {str(name): _values(frame[name]) for name in frame}


def _values(column: Any) -> np.ndarray[Any, Any]:
    """A column as an array: of texts, where there is nothing else in it."""
    import numpy as np
    import pandas as pd

    values: np.ndarray[Any, Any] = values_of(column)
    is_text = pd.api.types.is_string_dtype(column.dtype) and all(isinstance(value, str) for value in values)
    return values.astype(str) if is_text and len(values) else np.asarray(values)
