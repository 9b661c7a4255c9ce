"""Archives: files of named arrays of any shape, as npz, blosc and hdf5."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

from luisy_dir.batch.content import ID, Content, plain_arrays
from luisy_dir.batch.rows import named
from luisy_dir.errors import BatchError

if TYPE_CHECKING:
    import numpy as np

_NPY = ".npy"
_BLOSC = ".npy.b2frame"
_LARGEST_TYPE = 64  # bytes of a value that is shuffled


def encode_npz(content: Content, **options: Any) -> bytes:
    """NumPy's npz; ``options`` are ``compression`` and ``compresslevel`` of :class:`zipfile.ZipFile`."""
    return _zipped(content, _NPY, _npy_of, **options)


def decode_npz(file: BinaryIO, has_text_ids: bool) -> Content:  # noqa: ARG001, FBT001 - the file knows its dtypes
    """Named arrays; never unpickles."""
    return _unzipped(file, _NPY, _array_of)


def encode_blosc(content: Content, **options: Any) -> bytes:
    """A zip file with a Blosc2 frame of the npy file of each array; ``options`` are those of ``blosc2.CParams``."""

    def frame_of(array: np.ndarray[Any, Any]) -> bytes:
        import blosc2

        # Of what is no whole number of values Blosc would drop the end; an npy file has 64 bytes before its values.
        settings = {**options, "typesize": math.gcd(array.dtype.itemsize, _LARGEST_TYPE)}
        frame: bytes = blosc2.SChunk(data=_npy_of(array), cparams=blosc2.CParams(**settings)).to_cframe()
        return frame

    return _zipped(content, _BLOSC, frame_of)


def decode_blosc(file: BinaryIO, has_text_ids: bool) -> Content:  # noqa: ARG001, FBT001 - the file knows its dtypes
    """Named arrays; never unpickles."""

    def array_of(frame: bytes) -> np.ndarray[Any, Any]:
        import blosc2

        return _array_of(blosc2.schunk_from_cframe(frame)[:])

    return _unzipped(file, _BLOSC, array_of)


def _zipped(content: Content, suffix: str, encode: Callable[[Any], bytes], **options: Any) -> bytes:
    arrays = {ID: content.ids, **plain_arrays(content, "", suffix, has_axes=True)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}{suffix}")  # which has no time of day: the same batch is the same bytes
            archive.writestr(member, encode(array), archive.compression, archive.compresslevel)
    return buffer.getvalue()


def _unzipped(file: BinaryIO, suffix: str, decode: Callable[[bytes], Any]) -> Content:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        others = [name for name in names if not name.endswith(suffix)]
        if others:  # it may be the ids that were renamed
            raise BatchError(f"The archive has {named(others)}, where all names have to end in {suffix!r}.")
        arrays = {name.removesuffix(suffix): decode(archive.read(name)) for name in names}
    return checked(arrays.pop(ID, None), arrays)


def _npy_of(array: np.ndarray[Any, Any]) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _array_of(content: bytes) -> np.ndarray[Any, Any]:
    import numpy as np

    array: np.ndarray[Any, Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    return array


def encode_hdf5(content: Content, *, key: str = "/", **options: Any) -> bytes:
    """HDF5 datasets in the group ``key``; ``options`` are those of ``h5py.Group.create_dataset``, for components."""
    import h5py

    arrays = plain_arrays(content, "biufcSU", "hdf5", has_axes=True)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        group = file.require_group(key)
        _put_dataset(group, ID, content.ids)
        for name, array in arrays.items():
            _put_dataset(group, name, array, **options)
    return buffer.getvalue()


def _put_dataset(group: Any, name: str, array: Any, **options: Any) -> None:
    import h5py

    if array.dtype.kind == "U":
        group.create_dataset(name, data=array.astype(object), dtype=h5py.string_dtype(), **options)
    else:
        group.create_dataset(name, data=array, **options)


def decode_hdf5(file: BinaryIO, has_text_ids: bool, *, key: str = "/") -> Content:  # noqa: ARG001, FBT001 - as above
    """Datasets of the group ``key``; nothing in such a file is unpickled."""
    import h5py

    with h5py.File(file, "r") as opened:
        if not isinstance(opened.get(key), h5py.Group):
            raise BatchError(f"There is no group {key!r}; there are {named(_groups_of(opened))}. Name one with key.")
        group = opened[key]
        if "pandas_type" in group.attrs or any("pandas_type" in group[name].attrs for name in group):
            raise BatchError(
                "The file was written by pandas, and may hold pickles. If you trust it, give what pandas.read_hdf "
                "returns as src, without fmt."
            )
        arrays = {name: _dataset(group[name]) for name in group if isinstance(group[name], h5py.Dataset)}
    return checked(arrays.pop(ID, None), arrays)


def _groups_of(file: Any) -> list[str]:
    """Names of those in which datasets are."""
    return sorted({dataset.rpartition("/")[0] or "/" for dataset in _datasets_of(file)})


def _datasets_of(file: Any) -> list[str]:
    import h5py

    names: list[str] = []
    file.visititems(lambda name, each: names.append(f"/{name}") if isinstance(each, h5py.Dataset) else None)
    return names


def check_nothing_else_in_hdf5(path: str, *, key: str = "/", **_: Any) -> None:
    """See that no other group's data is in a file that is about to be replaced.

    Raises
    ------
    BatchError
        There is some.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            others = [group for group in _groups_of(file) if group.strip("/") != key.strip("/")]
    except OSError:  # there is no file, or one that is none of HDF5's
        return
    if others:
        raise BatchError(
            f"{path!r} has data in the groups {named(others)}, which would be gone, as a file is written as a whole. "
            "Dump into another file, or remove this one first."
        )


def _dataset(dataset: Any) -> Any:
    import h5py

    if h5py.check_string_dtype(dataset.dtype) is None or dataset.dtype.kind == "S":
        return dataset[()]
    return dataset.asstr()[()].astype(str)


def checked(ids: Any, arrays: dict[str, Any]) -> Content:
    """A content whose arrays all have as many rows.

    Raises
    ------
    BatchError
        They have not.
    """
    lengths = {
        name: len(array) if array.ndim else 0
        for name, array in [*arrays.items(), *([] if ids is None else [(ID, ids)])]
    }
    if len(set(lengths.values())) > 1 or not arrays:
        raise BatchError(f"The numbers of rows are {lengths}, which cannot be those of the items of a batch.")
    return Content(ids, arrays)
