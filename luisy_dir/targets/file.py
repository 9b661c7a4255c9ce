"""A target that is one file, or one folder of files, and holds one object."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, TYPE_CHECKING, Any, ClassVar, NoReturn

import luigi

from luisy_dir.errors import DefinitionError, ForeignDirectoryError, MissingInputError
from luisy_dir.formats import check_library, format_for
from luisy_dir.staging import publish_files, replace_file, withdraw

if TYPE_CHECKING:
    import pandas as pd

_PARQUET = ".parquet"


class LocalTarget(luigi.LocalTarget):
    """One file that holds one object; it is written as a whole, or not at all.

    Parameters
    ----------
    path
        Of the file.
    sync
        Bring it to the disk when it is written.
    **options
        For pandas, where the format is one of its own: each goes to its reading function, its writing function, or
        both, whichever knows it.

    Raises
    ------
    DefinitionError
        An option is not known.
    MissingExtraError
        The format needs a library that is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> target = JSONTarget(os.path.join(tempfile.mkdtemp(), "answer.json"))
    >>> target.write({"answer": 42})
    >>> target.read()
    {'answer': 42}
    """

    suffix: ClassVar[str] = ""
    _pandas_names: ClassVar[tuple[str, str] | None] = None  # its reading function, and the writing one of a frame

    def __init__(self, path: str | os.PathLike[str], *, sync: bool = True, **options: Any) -> None:
        super().__init__(path)
        check_library(self.suffix)
        self._sync = sync
        self._read_options, self._write_options = self._split(options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    @classmethod
    def check_options(cls, options: dict[str, Any]) -> None:
        """Raise DefinitionError where an option is not known."""
        cls._split(options)

    @classmethod
    def _split(cls, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What of the options is for reading, and what for writing."""
        if not options:
            return {}, {}
        functions = cls._functions()
        if functions is None:
            raise DefinitionError(f"A {cls.suffix} file knows no options, got {', '.join(options)}. Leave them away.")
        known = [_options_of(functions[0], 1), _options_of(functions[1], 2)]
        unknown = [name for name in options if not any(name in parameters for parameters in known)]
        if unknown:
            raise DefinitionError(
                f"{', '.join(unknown)}: neither {functions[0].__name__} nor {functions[1].__name__} of pandas knows "
                f"this option of a {cls.suffix} file."
            )
        reading, writing = ({name: options[name] for name in options if name in parameters} for parameters in known)
        if "delimiter" in options:  # pandas has two names for it when it reads, and one when it writes
            writing["sep"] = options["delimiter"]
        return reading, writing

    @classmethod
    def _functions(cls) -> tuple[Callable[..., Any], Callable[..., Any]] | None:
        if cls._pandas_names is None:
            return None
        import pandas as pd

        return getattr(pd, cls._pandas_names[0]), getattr(pd.DataFrame, cls._pandas_names[1])

    def exists(self) -> bool:
        """Whether the file is there; as it is written as a whole, it is whole then."""
        return os.path.isfile(self.path)

    def read(self) -> Any:
        """The object in the file.

        Raises
        ------
        MissingInputError
            There is no such file.
        """
        if not self.exists():
            raise MissingInputError(f"There is no file {self.path!r}. Run the task that writes it first.")
        return format_for(self.suffix).read(self.path, **self._read_options)

    def write(self, obj: Any) -> None:
        """Write an object; until the last moment readers see the former file, or none.

        Raises
        ------
        BusyError
            Another run is writing the file.
        """
        write = partial(format_for(self.suffix).write, **self._write_options)
        replace_file(os.path.abspath(self.path), partial(write, obj), sync=self._sync)

    def remove(self) -> None:
        """Remove the file.

        Raises
        ------
        ForeignDirectoryError
            A directory lies there.
        """
        self._check_ours()
        super().remove()

    def clean(self) -> None:
        """Remove the file and its staging.

        Raises
        ------
        ForeignDirectoryError
            A directory lies there.
        BusyError
            A run is writing the file.
        """
        self._check_ours()
        withdraw(os.path.abspath(self.path))

    def _check_ours(self) -> None:
        if os.path.isdir(self.path) and not os.path.islink(self.path):
            raise ForeignDirectoryError(
                f"{self.path!r} is not removed: it is a directory, and we wrote a file. Move it away first."
            )


def _options_of(function: Callable[..., Any], positions: int) -> list[str]:
    """Options that a function names, without where it reads or writes."""
    parameters = list(inspect.signature(function).parameters.values())[positions:]
    return [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]


class PickleTarget(LocalTarget):
    """One object as a pickle. A pickle can run any code when it is read: only read what you wrote yourself."""

    suffix = ".pkl"


class CSVTarget(LocalTarget):
    """One frame as comma-separated text, without its index unless ``index=True``."""

    suffix = ".csv"
    _pandas_names = "read_csv", "to_csv"


class JSONTarget(LocalTarget):
    """One JSON document."""

    suffix = ".json"


class NpyTarget(LocalTarget):
    """One array in NumPy's npy format."""

    suffix = ".npy"


class NpzTarget(LocalTarget):
    """A dictionary of arrays in NumPy's npz format."""

    suffix = ".npz"


class ParquetTarget(LocalTarget):
    """One frame as Parquet; needs the extra ``luisy_dir[parquet]``."""

    suffix = _PARQUET
    _pandas_names = "read_parquet", "to_parquet"


class FeatherTarget(LocalTarget):
    """One frame as Feather; needs the extra ``luisy_dir[feather]``."""

    suffix = ".feather"
    _pandas_names = "read_feather", "to_feather"


class HDFTarget(LocalTarget):
    """One frame in an HDF5 file, under the key ``data``; needs the extra ``luisy_dir[hdf]``."""

    suffix = ".hdf"


class XLSXTarget(LocalTarget):
    """One frame as a sheet of a workbook, without its index unless ``index=True``; needs ``luisy_dir[xlsx]``."""

    suffix = ".xlsx"
    _pandas_names = "read_excel", "to_excel"


class ParquetDirTarget(LocalTarget):
    """A folder of Parquet files that hold one frame together; needs the extra ``luisy_dir[parquet]``.

    It is published as a whole. ``read()`` puts the files together in the order of their names, under a new index.

    Examples
    --------
    >>> import os, tempfile
    >>> import pandas as pd
    >>> target = ParquetDirTarget(os.path.join(tempfile.mkdtemp(), "parts"))
    >>> target.write([pd.DataFrame({"size": [1, 2]}), pd.DataFrame({"size": [3]})])
    >>> target.read()["size"].tolist()
    [1, 2, 3]
    """

    suffix = ""

    def __init__(self, path: str | os.PathLike[str], *, sync: bool = True) -> None:
        super().__init__(path, sync=sync)
        check_library(_PARQUET)

    def exists(self) -> bool:
        """Whether the folder is there and holds a Parquet file."""
        return bool(self._parts())

    def _parts(self) -> list[str]:
        if not os.path.isdir(self.path):
            return []
        with os.scandir(self.path) as entries:
            return sorted(entry.path for entry in entries if entry.name.endswith(_PARQUET) and entry.name[0] != ".")

    def read(self) -> pd.DataFrame:
        """The frame.

        Raises
        ------
        MissingInputError
            There is no Parquet file in the folder, or no folder.
        """
        import pandas as pd

        parts = self._parts()
        if not parts:
            raise MissingInputError(f"There is no {_PARQUET} file in {self.path!r}. Run the task that writes it first.")
        return pd.concat(map(format_for(_PARQUET).read, parts), ignore_index=True)

    def write(self, obj: Any) -> None:
        """Write one frame, or each frame of an iterable as a file of its own.

        Raises
        ------
        ForeignDirectoryError
            Something lies there already.
        TypeError
            This is no frame.
        ValueError
            This is an iterable without a frame.
        """
        publish_files(os.path.abspath(self.path), _parquet_files(obj), sync=self._sync)

    def open(self, mode: str = "r") -> NoReturn:
        """Refuse: a folder has no single stream."""
        raise DefinitionError(f"{self.path!r} is a folder and cannot be opened with mode {mode!r}. Use read().")

    def remove(self) -> None:
        """Remove the folder, if there is nothing but Parquet files in it.

        Raises
        ------
        ForeignDirectoryError
            Something else is in it, or it is no folder.
        """
        if not os.path.isdir(self.path) and os.path.lexists(self.path):
            raise ForeignDirectoryError(
                f"{self.path!r} is not removed: it is no folder, and we wrote one. Move it away first."
            )
        foreign = sorted(set(os.listdir(self.path)) - {os.path.basename(part) for part in self._parts()})
        if foreign:
            raise ForeignDirectoryError(
                f"{self.path!r} is not removed, because {foreign[0]!r} and {len(foreign) - 1} more in it are no "
                f"{_PARQUET} files. Move them away first."
            )
        withdraw(os.path.abspath(self.path))

    def clean(self) -> None:
        """Remove the folder and its staging; see :meth:`remove`."""
        if os.path.lexists(self.path):
            self.remove()
        else:
            withdraw(os.path.abspath(self.path))


def _parquet_files(obj: Any) -> Iterator[tuple[str, Callable[[IO[bytes]], object]]]:
    import pandas as pd

    frames = [obj] if isinstance(obj, pd.DataFrame) else obj
    write = format_for(_PARQUET).write
    number = -1
    for number, frame in enumerate(frames):
        if not isinstance(frame, pd.DataFrame):
            raise TypeError(
                f"A folder of {_PARQUET} files takes a pandas frame or an iterable of frames, got "
                f"{type(frame).__name__}. Convert it first."
            )
        yield f"part-{number:05d}{_PARQUET}", partial(write, frame)
    if number < 0:
        raise ValueError("There is no frame to write. Give at least one, be it without rows.")
