"""A format: how data of one suffix is written to a file and read back."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from luisy_dir.dtypes import text_of_dtype
from luisy_dir.errors import DefinitionError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


@dataclass(frozen=True)
class Format:
    """How data is written to a file and read back.

    Parameters
    ----------
    read
        ``read(path) -> data``: takes the absolute path of a file.
    write
        ``write(data, file)``: writes to a binary file that is already open. It need not close it.
    suffix
        What is added to a key to get the file's path, with its dot.
    is_packed
        Plain arrays do not lie in files of their own, but many in one.

    Examples
    --------
    >>> def read_upper(path):
    ...     with open(path) as file:
    ...         return file.read()
    >>> def write_upper(data, file):
    ...     file.write(data.upper().encode())
    >>> shouting = Format(read_upper, write_upper, ".loud")
    """

    read: Callable[[str], Any]
    write: Callable[[Any, IO[bytes]], object]
    suffix: str = ""
    is_packed: bool = False

    def __post_init__(self) -> None:
        if not callable(self.read) or not callable(self.write):
            raise DefinitionError(
                f"A Format needs two functions, read(path) and write(data, file); got {self.read!r} and {self.write!r}."
            )
        if self.suffix and (not self.suffix.startswith(".") or "/" in self.suffix or len(self.suffix) < 2):  # noqa: PLR2004 - a dot and a letter
            raise DefinitionError(f"{self.suffix!r} cannot be a suffix. Write it with its dot, as in '.npy'.")


def read_npy(path: str | IO[bytes]) -> npt.NDArray[Any]:
    """Read an array from a file in NumPy's npy format, by its path or open; never unpickles."""
    import numpy as np

    array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    return array


def write_npy(data: npt.ArrayLike, file: IO[bytes]) -> None:
    """Write an array in C order in NumPy's npy format; refuses object dtype."""
    import numpy as np

    array = np.asarray(_unmasked(data, ".npy"))
    if array.dtype.hasobject:
        raise TypeError(
            f"An array of dtype {array.dtype} cannot be written as .npy without pickle. "
            "Convert it to numbers, or choose the suffix '.pkl'."
        )
    np.save(file, np.ascontiguousarray(array) if array.ndim else array, allow_pickle=False)


def read_npz(path: str) -> dict[str, npt.NDArray[Any]]:
    """Read named arrays from NumPy's npz format; never unpickles."""
    import numpy as np

    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                arrays[member.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
    return arrays


def write_npz(data: dict[str, npt.ArrayLike], file: IO[bytes]) -> None:
    """Write a dictionary of arrays in NumPy's npz format, uncompressed."""
    import numpy as np

    if not isinstance(data, dict):
        raise TypeError(f"A .npz file takes a dictionary of arrays, got {type(data).__name__}. Or choose '.npy'.")
    arrays = {name: np.asarray(_unmasked(array, ".npz")) for name, array in data.items()}
    wrong = [name for name in arrays if not isinstance(name, str) or "\0" in name]
    if wrong:
        raise TypeError(f"The names {wrong} cannot stand in a .npz file. Use text without null characters.")
    opaque = [name for name, array in arrays.items() if array.dtype.hasobject]
    if opaque:
        raise TypeError(f"The arrays {opaque} hold objects and cannot be written as .npz without pickle.")
    with zipfile.ZipFile(file, "w") as archive:  # numpy.savez has arguments of its own, whose names arrays may have
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_pkl(path: str) -> Any:
    """Unpickle an object. A pickle can run any code: only read what you wrote yourself."""
    with open(path, "rb") as file:
        return pickle.load(file)


def write_pkl(data: Any, file: IO[bytes]) -> None:
    """Pickle an object with the newest protocol."""
    pickle.dump(data, file, protocol=pickle.HIGHEST_PROTOCOL)


def read_json(path: str) -> Any:
    """Read a JSON document."""
    with open(path, "rb") as file:
        return json.load(file)


def write_json(data: Any, file: IO[bytes]) -> None:
    """Write a JSON document; refuses NaN and infinities, which JSON does not know."""
    file.write(json.dumps(data, ensure_ascii=False, allow_nan=False).encode())


def read_csv(path: str, **options: Any) -> pd.DataFrame:
    """Read a table from comma-separated text; its first line names the columns."""
    import pandas as pd

    frame: pd.DataFrame = pd.read_csv(path, **options)
    return frame


def write_csv(data: pd.DataFrame, file: IO[bytes], **options: Any) -> None:
    """Write a table as comma-separated text, without its index."""
    data.to_csv(file, **({"index": False} | options))


def read_parquet(path: str, **options: Any) -> pd.DataFrame:
    """Read a table from Parquet; needs the extra ``luisy_dir[parquet]``."""
    import pandas as pd

    check_library(".parquet")
    with open(path, "rb") as file:  # by its name, pyarrow reads no file whose name is not UTF-8
        return pd.read_parquet(file, **options)


def write_parquet(data: pd.DataFrame, file: IO[bytes], **options: Any) -> None:
    """Write a table as Parquet; needs the extra ``luisy_dir[parquet]``."""
    check_library(".parquet")
    buffer = io.BytesIO()
    data.to_parquet(buffer, **options)
    file.write(buffer.getvalue())


def read_feather(path: str, **options: Any) -> pd.DataFrame:
    """Read a table from Feather; needs the extra ``luisy_dir[feather]``."""
    import pandas as pd

    check_library(".feather")
    return pd.read_feather(path, **options)


def write_feather(data: pd.DataFrame, file: IO[bytes], **options: Any) -> None:
    """Write a table with a plain index as Feather; needs the extra ``luisy_dir[feather]``."""
    check_library(".feather")
    buffer = io.BytesIO()
    data.to_feather(buffer, **options)
    file.write(buffer.getvalue())


def read_hdf(path: str) -> pd.DataFrame:
    """Read the one table of an HDF5 file, whatever its key; needs the extra ``luisy_dir[hdf]``.

    Columns of objects are unpickled: only read what you wrote yourself.
    """
    import pandas as pd

    check_library(".hdf")
    return cast("pd.DataFrame", pd.read_hdf(path))


def write_hdf(data: pd.DataFrame, file: IO[bytes]) -> None:
    """Write a table under the key ``data`` of an HDF5 file; needs the extra ``luisy_dir[hdf]``."""
    import pandas as pd

    check_library(".hdf")
    # The file is made in memory, because HDF5 opens files by their names and we write to one that is open.
    with pd.HDFStore("in-memory.h5", "w", driver="H5FD_CORE", driver_core_backing_store=0) as store:
        hdf = store.root._v_file  # noqa: SLF001 - PyTables names its own file so
        for create in ("create_array", "create_carray", "create_earray", "create_vlarray"):
            setattr(hdf, create, partial(getattr(hdf, create), track_times=False))  # which pandas does not pass on
        store.put(_HDF_KEY, data, track_times=False)
        file.write(hdf.get_file_image())


_HDF_KEY = "data"


def read_xlsx(path: str, **options: Any) -> pd.DataFrame:
    """Read the first sheet of a workbook; needs the extra ``luisy_dir[xlsx]``."""
    import pandas as pd

    check_library(".xlsx")
    frame: pd.DataFrame = pd.read_excel(path, **options)
    return frame


def write_xlsx(data: pd.DataFrame, file: IO[bytes], **options: Any) -> None:
    """Write a table as a sheet of a workbook, without its index; needs the extra ``luisy_dir[xlsx]``."""
    import pandas as pd

    check_library(".xlsx")
    buffer = io.BytesIO()
    with pd.ExcelWriter(buffer, engine="xlsxwriter") as writer:
        writer.book.set_properties({"created": _ALWAYS_THEN})
        data.to_excel(writer, **({"index": False} | options))
    file.write(buffer.getvalue())


_ALWAYS_THEN = datetime(1980, 1, 1)  # noqa: DTZ001 - the same data is always the same bytes, so no time of day in them
# The libraries that a suffix needs. The suffix without its dot is the name of the extra that brings them.
_LIBRARIES = {
    ".parquet": ("pyarrow",),
    ".feather": ("pyarrow",),
    ".hdf": ("tables",),
    ".hdf5": ("h5py",),
    ".blosc": ("blosc2",),
    ".xlsx": ("openpyxl", "xlsxwriter"),
}


def check_library(suffix: str) -> None:
    """Raise MissingExtraError where the library that a suffix needs is not installed; imports nothing.

    Examples
    --------
    >>> check_library(".npy")
    """
    for library in _LIBRARIES.get(suffix, ()):
        if importlib.util.find_spec(library) is None:
            raise MissingExtraError(
                f"Files with the suffix {suffix!r} need {library}, which is not installed. "
                f"Install it with: pip install 'luisy_dir[{suffix[1:]}]'"
            )


def read_image(path: str | IO[bytes]) -> npt.NDArray[Any]:
    """Read a PNG or JPEG file as an array of shape (rows, columns) or (rows, columns, channels)."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        if image.mode == "P":  # numbers of the entries in a palette are no colours
            return np.array(image.convert("RGBA" if image.has_transparency_data else "RGB"))
        if image.mode in {"CMYK", "YCbCr"}:  # which would pass for RGBA and RGB
            return np.array(image.convert("RGB"))
        return np.array(image)


def write_png(data: npt.NDArray[Any], file: IO[bytes]) -> None:
    """Write an image as PNG, without loss, at the fastest level of compression.

    Its dtype and shape are uint8 of (rows, columns) or (rows, columns, 2 to 4), or bool or uint16 of (rows, columns).
    """
    from PIL import Image

    array = _pixels(data, ".png", {"uint8": ("grey", 2, 3, 4), "uint16": ("grey",), "bool": ("grey",)})
    Image.fromarray(array).save(file, format="PNG", compress_level=1)


def write_jpg(data: npt.NDArray[Any], file: IO[bytes]) -> None:
    """Write an image of uint8, (rows, columns) or (rows, columns, 3), as JPEG at quality 95; this loses detail."""
    from PIL import Image

    array = _pixels(data, ".jpg", {"uint8": ("grey", 3)})
    Image.fromarray(array).save(file, format="JPEG", quality=95)


def _pixels(data: npt.NDArray[Any], suffix: str, allowed: dict[str, tuple[str | int, ...]]) -> npt.NDArray[np.generic]:
    """The array as pixels, or TypeError where it would be written as something else."""
    import numpy as np

    array = np.asarray(_unmasked(data, suffix))
    is_colour = array.ndim == 3  # noqa: PLR2004 - rows, columns, channels
    channels = array.shape[2] if is_colour else "grey"
    is_image = array.size > 0 and (is_colour or array.ndim == 2)  # noqa: PLR2004 - rows, columns
    if not is_image or channels not in allowed.get(array.dtype.name, ()):
        words = "; ".join(f"{dtype} (channels: {', '.join(map(str, counts))})" for dtype, counts in allowed.items())
        raise TypeError(
            f"An array of dtype {array.dtype} and shape {array.shape} cannot be written as {suffix} without changing "
            f"its values; allowed: {words}. Convert it first (skimage.util.img_as_ubyte), or choose '.npy'."
        )
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def _unmasked(data: Any, suffix: str) -> Any:
    import numpy as np

    if isinstance(data, np.ma.MaskedArray):
        raise TypeError(f"A masked array cannot be written as {suffix} without losing its mask. Fill it first.")
    return data


def write_tif(data: npt.NDArray[Any], file: IO[bytes]) -> None:
    """Write an array of numbers of any shape as TIFF, without loss."""
    import numpy as np
    import tifffile

    array = np.asarray(_unmasked(data, ".tif"))
    if array.dtype.kind not in "buifc" or not array.size:
        raise TypeError(
            f"An array of dtype {array.dtype} and shape {array.shape} cannot be written as .tif. Choose '.npy'."
        )
    is_colour = array.ndim == 3 and array.shape[2] in {3, 4} and array.dtype.kind == "u"  # noqa: PLR2004
    photometric = "rgb" if is_colour else "minisblack" if array.ndim > 1 else None
    tifffile.imwrite(cast("BinaryIO", file), array, photometric=photometric)


def read_tif(path: str) -> npt.NDArray[Any]:
    """Read the first series of a TIFF file as an array."""
    import tifffile

    array: npt.NDArray[Any] = tifffile.imread(path)
    return array


def read_txt(path: str) -> str:
    """Read UTF-8 text, line ends untouched."""
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def write_txt(data: str, file: IO[bytes]) -> None:
    """Write text as UTF-8, line ends untouched."""
    file.write(data.encode())


_FORMATS = {
    format.suffix: format
    for format in (
        Format(read_npy, write_npy, ".npy"),
        Format(read_npz, write_npz, ".npz"),
        Format(read_pkl, write_pkl, ".pkl"),
        Format(read_json, write_json, ".json"),
        Format(read_csv, write_csv, ".csv"),
        Format(read_parquet, write_parquet, ".parquet"),
        Format(read_feather, write_feather, ".feather"),
        Format(read_hdf, write_hdf, ".hdf"),
        Format(read_xlsx, write_xlsx, ".xlsx"),
        Format(read_image, write_png, ".png"),
        Format(read_image, write_jpg, ".jpg"),
        Format(read_tif, write_tif, ".tif"),
        Format(read_txt, write_txt, ".txt"),
    )
}


def register_format(suffix: str, read: Callable[[str], Any], write: Callable[[Any, IO[bytes]], object]) -> Format:
    """Make a suffix known, or replace what is known of it, in this process.

    Parameters
    ----------
    suffix
        With its dot, as in ``".npy"``.
    read
        ``read(path) -> data``.
    write
        ``write(data, file)``, with a binary file that is already open.

    Returns
    -------
    Format
        What :func:`format_for` answers for the suffix from now on.

    Examples
    --------
    >>> def read_bytes(path):
    ...     with open(path, "rb") as file:
    ...         return file.read()
    >>> format = register_format(".bin", read_bytes, lambda data, file: file.write(data))
    """
    format = Format(read, write, suffix)
    _FORMATS[suffix] = format
    return format


def format_for(wanted: str | Format | tuple[Callable[[str], Any], Callable[[Any, IO[bytes]], object]]) -> Format:
    """Format for a suffix, or for a pair of functions; ``"pack"`` is ``.npy`` with many arrays in one file.

    Parameters
    ----------
    wanted
        A suffix such as ``".npy"``, a :class:`Format`, or a pair ``(read, write)``.

    Raises
    ------
    DefinitionError
        Nothing is known of the suffix.

    Examples
    --------
    >>> format_for(".npy").suffix
    '.npy'
    """
    if isinstance(wanted, Format):
        return wanted
    if isinstance(wanted, tuple) and len(wanted) == 2:  # noqa: PLR2004 - a pair
        return Format(*wanted)
    if isinstance(wanted, str) and wanted in _FORMATS:
        return _FORMATS[wanted]
    if wanted == PACK:
        return _PACKED
    raise DefinitionError(
        f"{wanted!r} is no known format. Choose one of {', '.join(sorted(_FORMATS))}, make one known with "
        "register_format(suffix, read, write), or give a Format."
    )


PACK = "pack"
_PACKED = Format(read_npy, write_npy, ".npy", is_packed=True)


def registered_formats() -> dict[str, Format]:
    """Formats by suffix, those of this package and those that were registered in this process."""
    return dict(_FORMATS)


SMALL_BYTES = 1 << 20


def is_small(data: Any) -> bool:
    """Whether what is written of data fits into memory easily, as far as that is known."""
    size = len(data) if isinstance(data, (bytes, str)) else getattr(data, "nbytes", None)
    return isinstance(size, int) and size < SMALL_BYTES


def array_facts(data: Any, format: Format, size: int) -> tuple[tuple[int, ...] | None, str | None, int | None]:
    """Shape and dtype of data that was written, and where in the file it begins; None for what is not known.

    Parameters
    ----------
    data
        What was written.
    format
        By which format.
    size
        Of the file in bytes.

    Examples
    --------
    >>> import numpy as np
    >>> array_facts(np.zeros((2, 3), "<f4"), format_for(".npy"), 152)
    ((2, 3), '<f4', 128)
    """
    if format.write is write_npy and not hasattr(data, "dtype"):  # a list, or a number
        import numpy as np

        data = np.asanyarray(data)
    shape, dtype = getattr(data, "shape", None), getattr(data, "dtype", None)
    if not isinstance(shape, tuple) or dtype is None or not hasattr(dtype, "str"):
        return None, None, None
    offset = size - data.nbytes if format.write is write_npy else None
    return tuple(map(int, shape)), text_of_dtype(dtype), offset


def format_of_path(path: str) -> Format:
    """Format for the last suffix of a path.

    Raises
    ------
    DefinitionError
        Nothing is known of the suffix.
    """
    return format_for(os.path.splitext(path)[1])
