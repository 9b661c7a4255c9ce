"""Files: components of a batch with the ids of their items, as one file of a format."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from luisy_dir.batch import archives, tables
from luisy_dir.batch.content import ID, Content, ids_for_file
from luisy_dir.batch.rows import named
from luisy_dir.contents import check_folder_for, write_bytes
from luisy_dir.errors import BatchError, LuisyDirError, SettingError
from luisy_dir.formats import check_library

if TYPE_CHECKING:
    import numpy as np


class _FileFormat(NamedTuple):
    """How a content becomes bytes, and is had of an open file, given whether ids are wanted as texts."""

    encode: Callable[..., bytes]
    decode: Callable[..., Content]


_FORMATS = {
    "blosc": _FileFormat(archives.encode_blosc, archives.decode_blosc),
    "csv": _FileFormat(tables.encode_csv, tables.decode_csv),
    "feather": _FileFormat(tables.encode_feather, tables.decode_feather),
    "hdf5": _FileFormat(archives.encode_hdf5, archives.decode_hdf5),
    "npz": _FileFormat(archives.encode_npz, archives.decode_npz),
    "parquet": _FileFormat(tables.encode_parquet, tables.decode_parquet),
}
FORMATS = tuple(_FORMATS)


def read_content(path: Any, fmt: str, *, has_text_ids: bool, **options: Any) -> Content:
    """What a file has: ids, and arrays with one row for each of them.

    Parameters
    ----------
    path
        Of the file.
    fmt
        One of :data:`FORMATS`.
    has_text_ids
        The ids that are looked for are texts: where a format has no dtypes, those of the file are taken to be texts.
    options
        Of the format.

    Raises
    ------
    BatchError
        The file is none of this format, or is damaged.
    SettingError
        There is no such format, or it has no such options.
    MissingExtraError
        The library of the format is not installed.
    OSError
        The file cannot be opened.
    """
    decode = _format(fmt).decode
    with open(_checked_path(path, fmt), "rb") as file:
        what = f"{os.fspath(path)!r} cannot be read as {fmt}"
        content: Content = _tried(what, lambda: decode(file, has_text_ids, **options), options)
    return content


def write_content(
    path: Any, fmt: str, components: Mapping[str, Any], ids: np.ndarray[Any, Any], **options: Any
) -> None:
    """Write components and ids as a whole file: another reader sees the former one until the new one is there.

    A link in its place is replaced, and what it leads to stays as it is.

    Parameters
    ----------
    path
        Of the file, in a folder that exists.
    fmt
        One of :data:`FORMATS`.
    components
        Arrays with one row an item.
    ids
        Of the items, one dimension.
    options
        Of the format.

    Raises
    ------
    BatchError
        The format cannot hold the ids or a component; or there is an HDF5 file with data in another group. Nothing is
        written.
    OutputError
        A folder lies there, or something else that is no file.
    FileNotFoundError
        There is no such folder.
    SettingError
        There is no such format, or it has no such options.
    MissingExtraError
        The library of the format is not installed.
    """
    encode = _format(fmt).encode
    path = _checked_path(path, fmt)
    check_folder_for(path)
    if ID in components:
        raise BatchError(f"A file has the ids of the items as {ID!r}, but a component has that name. Give it another.")
    content = Content(ids_for_file(ids), dict(components))
    encoded = _tried(f"The batch cannot be written as {fmt}", lambda: encode(content, **options), options)
    if fmt == "hdf5":
        archives.check_nothing_else_in_hdf5(os.fspath(path), **options)
    write_bytes(path, encoded)


def _format(fmt: str) -> _FileFormat:
    if fmt not in FORMATS:
        raise SettingError(f"fmt is {fmt!r}, but has to be one of {', '.join(map(repr, FORMATS))}, or None for memory.")
    check_library(f".{fmt}")
    return _FORMATS[fmt]


def _checked_path(path: Any, fmt: str) -> Any:
    if not isinstance(path, (str, os.PathLike)):
        raise SettingError(f"With fmt={fmt!r} goes the name of a file, but there is a {type(path).__name__}.")
    return path


def _tried(what: str, act: Callable[[], Any], options: Mapping[str, Any]) -> Any:
    """Whatever library goes about it, its errors are of few kinds."""
    try:
        return act()
    except LuisyDirError:
        raise
    except TypeError as error:
        if options:
            raise SettingError(f"{what} with the options {named(sorted(options))}: {error}.") from error
        raise BatchError(f"{what}: {error}.") from error
    except Exception as error:
        raise BatchError(f"{what}: {type(error).__name__}: {error}.") from error
