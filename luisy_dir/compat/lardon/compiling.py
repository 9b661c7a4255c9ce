"""Compiling: the arrays of a folder's files, or such as are generated, written as a dataset."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from luisy_dir.compat.lardon.lists import OfflineDataList
from luisy_dir.compat.lardon.parsing import parse_folder
from luisy_dir.contents import remove_empty_folder
from luisy_dir.errors import DefinitionError, InputError, KeyCollisionError, MissingInputError
from luisy_dir.formats import Format, format_of_path, read_npy, registered_formats, write_npy
from luisy_dir.item import key_of, scan
from luisy_dir.progress import Progress
from luisy_dir.staging import make_folder
from luisy_dir.terminal import Terminal
from luisy_dir.writing import DatasetWriter, write_dataset

Path = str | os.PathLike[str]
_SUFFIX = re.compile(r"\.[A-Za-z]\w*")  # and not the .5 of sin_100.5


def checkdir(folder: Path) -> None:
    """Make a folder, and those above it, where there is none.

    Raises
    ------
    StorageError
        It cannot be made.
    """
    make_folder(os.fsdecode(folder))


def default_callback(filename: Path) -> tuple[Any, dict[str, Any]]:
    """Data of a file, by the format that its suffix names, and no metadata.

    Raises
    ------
    DefinitionError
        Nothing is known of the suffix.
    """
    path = os.fsdecode(filename)
    return format_of_path(path).read(path), {}


class LardonParser:
    """Writes arrays into a folder, which is published as a whole at the end of the block, or not at all.

    Parameters
    ----------
    root_directory
        Whose files are to be read, with those below it; None where the data is generated.
    target_directory
        Where the arrays go. It may hold what was compiled before, which is replaced, and can be gone back to; or
        nothing. Anything else is refused.
    callback
        Is kept as an attribute, for the block.
    valid_exts
        Suffixes of the files that are wanted, in upper or lower case.
    extension
        Suffix of the files that are written.
    force
        False refuses to replace what was compiled before.

    Attributes
    ----------
    files : list of str
        Paths of the wanted files, sorted. Those below the target are none of them, nor are hidden ones.
    shapes : list of tuple
        Of what was registered.

    Raises
    ------
    DefinitionError
        There is no target, or the extension is that of another format.
    """

    def __init__(
        self,
        root_directory: Path | None = None,
        target_directory: Path | None = None,
        callback: Callable[[str], Any] | None = None,
        valid_exts: Iterable[str] = (".npy",),
        extension: str = ".npy",
        force: bool | None = None,  # noqa: FBT001 - its signature
    ) -> None:
        if target_directory is None:
            raise DefinitionError("There is no target_directory. Say into which folder the arrays are to be written.")
        self.root_directory = None if root_directory is None else os.fsdecode(root_directory)
        self.target_directory = os.fsdecode(target_directory)
        self.callback = callback
        self.valid_exts = [valid_exts] if isinstance(valid_exts, str) else list(valid_exts)
        self.extension = extension
        self.force = force
        self.files: list[str] = []
        self.shapes: list[tuple[int, ...]] = []
        self._format = _format_of(extension)
        self._keys: dict[str, str] = {}
        self._unnamed = 0
        self._writer: DatasetWriter | None = None

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __enter__(self) -> Self:
        self._find()
        if not remove_empty_folder(self.target_directory) and self.force is False:
            raise FileExistsError(
                f"{self.target_directory!r} is there already, and force=False keeps it. Choose another folder, or "
                "force=True, which replaces what was compiled before; 'luisy-dir rollback' goes back to that."
            )
        self._writer = write_dataset(self.target_directory, suffix=self._format, source_root=self.root_directory)
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)

    def _find(self) -> None:
        self.files, self.shapes, self._keys, self._unnamed = [], [], {}, 0
        if self.root_directory is None:
            return
        endings = "|".join(re.escape(ext.lstrip(".")) for ext in self.valid_exts)
        below_target = os.path.join(os.path.abspath(self.target_directory), "")
        for item in scan(self.root_directory, rf"(?i)\.(?:{endings})$"):
            path = os.path.join(self.root_directory, item.sources[0].name)
            if not os.path.abspath(path).startswith(below_target):
                self._keys[os.path.abspath(path)] = item.key
                self.files.append(path)
        self.files.sort()

    def _also(self, paths: Iterable[Path]) -> None:
        """Files of the root that are wanted before the others, whatever their suffix."""
        named = {os.path.abspath(os.fsdecode(path)): os.fsdecode(path) for path in paths}
        for path in named:
            self._keys.setdefault(path, key_of(self._below_root(path)))
        self.files = [*named.values(), *(path for path in self.files if os.path.abspath(path) not in named)]

    def register(self, data: Any, metadata: Mapping[str, Any] | None, filename: Path | None = None) -> None:
        """Write an array.

        Parameters
        ----------
        data
            The array.
        metadata
            Small facts about it, by name: numbers, texts, bools, None, and lists and dicts of them.
        filename
            One of :attr:`files`, or another path below the root, be there a file or not; where the data is generated,
            the path below the target. A suffix is replaced by ``extension``. Without it the name is ``data_0``, …

        Raises
        ------
        InputError
            The file does not lie below the root, or the name leads out of the target; or data or metadata cannot be
            kept.
        KeyCollisionError
            An array was registered under that name.
        StorageError
            The disk is full, or failed.
        DefinitionError
            The block has not begun, or has ended.
        """
        if self._writer is None:
            raise DefinitionError("register belongs into the block: with LardonParser(…) as parser: parser.register(…)")
        if metadata is not None and not isinstance(metadata, Mapping):
            raise InputError(f"The metadata is a {type(metadata).__name__}. Give a dict, be it an empty one.")
        key, source = self._place(filename)
        self._writer.add(key, data, meta=metadata, source=source)
        self._unnamed += filename is None
        self.shapes.append(_shape_of(data))

    def _place(self, filename: Path | None) -> tuple[str, str | None]:
        """Key of what is registered, and the file that it was made from, where it is one that is known."""
        if filename is None:
            return f"data_{self._unnamed}", None
        name = os.fsdecode(filename)
        if self.root_directory is not None:
            path = os.path.abspath(name)
            if path in self._keys:
                return self._keys[path], path
            name = self._below_root(path)
        stem, suffix = os.path.splitext(name)
        return stem if _SUFFIX.fullmatch(suffix) else name, None

    def _below_root(self, path: str) -> str:
        root = os.path.abspath(self.root_directory or "")
        if not path.startswith(os.path.join(root, "")):
            raise InputError(
                f"{path!r} does not lie below the root_directory {root!r}, so that it has no place in the target. Name "
                "a path below it, or a root_directory above both."
            )
        return os.path.relpath(path, root)

    def _check_names(self) -> None:
        """Raise KeyCollisionError where two of the files would be written under one name."""
        owners: dict[str, str] = {}
        for path in self.files:
            key = self._keys[os.path.abspath(path)]
            if key in owners:
                raise KeyCollisionError(
                    f"{owners[key]!r} and {path!r} would both be written as {key + self.extension!r}. Choose one kind "
                    "of file by valid_exts, or rename one of them."
                )
            owners[key] = path


def compile(
    root_directory: Path,
    target_directory: Path,
    callback: Callable[[str], Any] = default_callback,
    valid_exts: Iterable[str] = (".npy",),
    extension: str = ".npy",
    force: bool = True,  # noqa: FBT001, FBT002
    verbose: bool = True,  # noqa: FBT001, FBT002
    *,
    file_list: Iterable[Path] = (),
) -> OfflineDataList:
    """Write the array of each file of a folder, and those below it, into another folder, and open that.

    The folder is published as a whole: an error, or a crash, leaves what was there before.

    Parameters
    ----------
    root_directory, target_directory, valid_exts, extension, force
        As for :class:`LardonParser`.
    callback
        ``callback(path)`` returns an array and a dict of metadata.
    verbose
        Show a bar on the terminal.
    file_list
        Files of the root that come first, whatever their suffix.

    Returns
    -------
    OfflineDataList
        In the order of the paths.

    Raises
    ------
    MissingInputError
        There is no such folder, or no file of that kind in it.
    KeyCollisionError
        Two files would be written under one name; nothing is read.
    InputError
        The callback returned something else, or what cannot be kept.
    ForeignDirectoryError
        Something lies at the target that was not compiled.
    FileExistsError
        With ``force=False``: something lies there.
    """
    with LardonParser(root_directory, target_directory, callback, valid_exts, extension, force) as parser:
        parser._also(file_list)  # noqa: SLF001 - of our own
        parser._check_names()  # noqa: SLF001
        if not parser.files:
            raise MissingInputError(
                f"No file below {parser.root_directory!r} ends in {' or '.join(map(repr, parser.valid_exts))}. Is the "
                "folder right, and valid_exts?"
            )
        progress = Progress(f"compile({parser.root_directory!r})", len(parser.files))
        with Terminal(progress, show="auto" if verbose else "off"):
            for path in parser.files:
                data, metadata = _called(callback, path)
                parser.register(data, metadata, path)
                progress.advance()
    offline_list: OfflineDataList = parse_folder(target_directory)
    return offline_list


def _called(callback: Callable[[str], Any], path: str) -> tuple[Any, Mapping[str, Any]]:
    try:
        made = callback(path)
    except Exception as error:
        error.add_note(f"This was the file {path!r}. Nothing was published.")
        raise
    match made:
        case (data, Mapping() as metadata) if isinstance(made, (tuple, list)):
            return data, metadata
    raise InputError(
        f"The callback returned a {type(made).__name__} for {path!r}, but has to return two things: the array, and a "
        "dict of metadata, be it an empty one."
    )


def _format_of(extension: str) -> Format:
    if extension != ".npy" and extension in registered_formats():
        raise DefinitionError(
            f"Files of the extension {extension!r} would not be what it says, because arrays are written as npy. Use "
            "'.npy', or one that means nothing else."
        )
    if not extension:
        raise DefinitionError("The extension is empty. Use '.npy'.")
    return Format(read_npy, write_npy, extension)


def _shape_of(data: Any) -> tuple[int, ...]:
    import numpy as np

    return np.shape(data)
