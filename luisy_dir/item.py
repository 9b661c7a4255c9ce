"""An item: one input file, or one group of files, and its key."""

from __future__ import annotations

import itertools
import logging
import os
import re
import stat as stat_bits
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import msgspec
import xxhash

from luisy_dir.errors import InputError, MissingInputError
from luisy_dir.storage import system

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger("luigi-interface.luisy_dir")

# Files that desktop systems leave behind; names that begin with a dot are never items anyway.
_LITTER = frozenset({"thumbs.db", "desktop.ini"})
_FIRST_LETTERS = frozenset({"."} | {letter for name in _LITTER for letter in (name[0], name[0].upper())})
_BLOCK = 512
_TYPE, _REGULAR = stat_bits.S_IFMT(0o777777), stat_bits.S_IFREG
_UNDECODABLE = re.compile("[\udc80-\udcff]")
# A file whose time of change is as young as this when it is read may change again within the same tick of the clock.
RACY_NS = 2_000_000_000
_LONGEST_NAME_BYTES = 255
_LARGEST_EXACT_INTEGER = 2**53 - 1  # what every reader of JSON can represent


class Source(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One file that an item is read from, as it was when it was looked at.

    Parameters
    ----------
    root
        Name of the directory that ``path`` is relative to, so that a project can be moved.
    path
        ``/``-separated path under the root; percent-encoded where ``encoded`` is true.
    size
        Bytes; -1 where the file could not be looked at.
    mtime_ns
        Time of the last change, in nanoseconds since 1970.
    digest
        xxh3-128 of the content in hex; None until the file was read.
    encoded
        The name is not valid UTF-8; ``path`` is its percent-encoded bytes.
    """

    root: str
    path: str
    size: int
    mtime_ns: int
    digest: str | None = None
    encoded: bool = False

    @property
    def name(self) -> str:
        """Path under the root as the file system spells it."""
        return os.fsdecode(unquote_to_bytes(self.path)) if self.encoded else self.path


class Item:
    """One input file, or one group of files, and its key.

    Parameters
    ----------
    key
        The item's name: its path under the folder without the last suffix, ``/``-separated.
    sources
        The files that it is read from: one, or one from each required directory, or all of a group.
    folders
        Where the root of each source lies.
    seed
        The task's seed, from which ``rng`` is made.
    member_keys
        Key of each source, where they are those of a group; empty elsewhere.
    """

    __slots__ = (
        "_control", "_meta", "_output_key", "_places", "_rng", "folders", "key", "member_keys", "seed", "sources",
    )  # fmt: skip

    def __init__(
        self,
        key: str,
        sources: tuple[Source, ...],
        folders: Mapping[str, str],
        seed: int = 0,
        member_keys: tuple[str, ...] = (),
    ) -> None:
        self.key = key
        self.sources = sources
        self.folders = folders
        self.seed = seed
        self.member_keys = member_keys
        self._places: list[int] | None = None
        self._meta: dict[str, Any] | None = None
        self._rng: np.random.Generator | None = None
        self._control: dict[str, Any] | None = None
        self._output_key: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Item, (self.key, self.sources, self.folders, self.seed, self.member_keys)

    def __repr__(self) -> str:
        return f"Item({self.key!r})"

    @property
    def path(self) -> str:
        """Absolute path of the (first) file that the item is read from."""
        return self.path_of(self._read()[0])

    @property
    def paths(self) -> list[str]:
        """Absolute path of each file that the item is read from, in the order of the data that ``process`` gets.

        Where ``process`` gets several lists, first those of the first; files that the reader skips are not there.
        """
        return [self.path_of(source) for source in self._read()]

    @property
    def keys(self) -> list[str]:
        """Key of each of these files below its folder; but for the files of a group that is the item's own."""
        keys = self.member_keys or (self.key,) * len(self.sources)
        return list(keys if self._places is None else map(keys.__getitem__, self._places))

    def _read(self) -> Sequence[Source]:
        return self.sources if self._places is None else [self.sources[place] for place in self._places]

    def note_read(self, places: list[int]) -> None:
        """Note which of the sources there is data of, by their places; before that it is all of them."""
        self._places = places

    def path_of(self, source: Source) -> str:
        """Absolute path of one of the item's sources."""
        return f"{self.folders[source.root]}/{source.name}"

    @property
    def meta(self) -> dict[str, Any]:
        """Small facts about the item; each becomes a column of the report."""
        if self._meta is None:
            self._meta = {}
        return self._meta

    @property
    def is_noted(self) -> bool:
        """Whether there is anything in ``meta``."""
        return bool(self._meta)

    @property
    def control(self) -> dict[str, Any]:
        """What the task says to its functions, and they to each other: the item's own copy, of any values.

        It begins with the ``control`` of the task, is recorded nowhere, and is gone with the item.
        """
        if self._control is None:
            self._control = {}
        return self._control

    @property
    def output_key(self) -> str:
        """Key under which the outputs are written: the item's own, unless a step has set another.

        Raises
        ------
        InputError
            It is set to what is no text; whether that can be a key is seen when an output is written.
        """
        return self.key if self._output_key is None else self._output_key

    @output_key.setter
    def output_key(self, key: str) -> None:
        if not isinstance(key, str):
            raise InputError(
                f"item.output_key of {self.key!r} was set to {key!r}, which is no text. "
                "Set a text: it becomes a file's name."
            )
        self._output_key = key

    @property
    def rng(self) -> np.random.Generator:
        """Random numbers that depend on the task's seed and the key only, not on order, engine or workers."""
        if self._rng is None:
            import numpy as np

            self._rng = np.random.Generator(np.random.PCG64(self._entropy()))
        return self._rng

    @property
    def used_seed(self) -> int | None:
        """What ``rng`` was seeded with: 53 bits of xxh3-64 over the task's seed and the key; None if it was not."""
        return None if self._rng is None else self._entropy()

    def _entropy(self) -> int:
        return xxhash.xxh3_64_intdigest(f"{self.seed}\n{self.key}".encode()) & _LARGEST_EXACT_INTEGER

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that puts the key before each message."""
        return _KeyLogger(logger, {"key": self.key})


class _KeyLogger(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: object, kwargs: Any) -> tuple[str, Any]:
        key = str(self.extra["key"]) if self.extra else ""
        return f"{printable(key).replace('%', '%%')}: {msg}", kwargs


def printable(text: object) -> str:
    r"""The text on one line, with everything escaped that is not plain to see: controls, line ends, text direction.

    Examples
    --------
    >>> print(printable("red\x1b[31m\n"))
    red\x1b[31m\n
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def key_of(path: str) -> str:
    """Key of the file at the relative ``path``: the last suffix is dropped, nothing else.

    Bytes of a name that are not valid UTF-8 are percent-encoded.

    Examples
    --------
    >>> key_of("cats/img.1.png")
    'cats/img.1'
    """
    dot = path.rfind(".")  # os.path.splitext does the same for names that do not begin with a dot, four times slower
    stem = path[:dot] if dot > path.rfind("/") + 1 else path
    if stem.isascii():
        return stem
    return _UNDECODABLE.sub(lambda match: f"%{ord(match[0]) - 0xDC00:02X}", stem)


def text_of(path: str) -> tuple[str, bool]:
    """A path as :class:`Source` spells it, and whether it had to be percent-encoded for that."""
    if path.isascii() or not _UNDECODABLE.search(path):
        return path, False
    return quote_from_bytes(os.fsencode(path)), True


def check_key(key: str) -> str:
    """Return ``key`` if a file may be written under that name, else raise InputError.

    Raises
    ------
    InputError
        The key is empty or absolute, leads out of the directory, names a hidden file, or has a part that is too long.
    """
    try:
        key.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{key!r} cannot be the key of an output: it is no valid text. Choose another key.") from error
    parts = key.split("/")
    if any(part.startswith(".") or not part for part in parts) or "\0" in key or parts[-1].lower() in _LITTER:
        raise InputError(
            f"{key!r} cannot be the key of an output: it must be a relative path without empty parts, without "
            "parts that begin with a dot, and no name that desktop systems use. Choose another key."
        )
    if any(len(os.fsencode(part)) > _LONGEST_NAME_BYTES for part in parts):
        raise InputError(f"{key!r} cannot be the key of an output: a file name has at most 255 bytes. Shorten it.")
    return key


def scan(folder: str, pattern: str | None = None, *, root: str = "", seed: int = 0) -> list[Item]:
    """Items of a folder, in key order; nested folders are walked.

    Files and folders whose name begins with a dot are ignored, and so is what is neither file nor folder. Symlinked
    files are followed, symlinked folders are not. A link that leads nowhere is an item: it will fail, not vanish.

    Parameters
    ----------
    folder
        The folder to look at; may itself be a symlink.
    pattern
        Regular expression that the relative path must contain (:func:`re.search`); None takes every file.
    root
        Name of the folder in the items' sources.
    seed
        The task's seed, for the items' ``rng``.

    Returns
    -------
    list of Item
        Sorted by key, then by path: two files that differ in their suffix only have the same key.

    Raises
    ------
    MissingInputError
        There is no such folder.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = tempfile.mkdtemp()
    >>> pathlib.Path(folder, "b.png").touch(), pathlib.Path(folder, "a.png").touch()
    (None, None)
    >>> scan(folder)
    [Item('a'), Item('b')]
    """
    folders = {root: folder}
    items = []
    files = itertools.chain.from_iterable(_walk(folder, pattern))
    for path, size, mtime_ns in sorted(files, key=itemgetter(0)):
        text, is_encoded = text_of(path)
        items.append(Item(key_of(path), (Source(root, text, size, mtime_ns, None, is_encoded),), folders, seed))
    items.sort(key=attrgetter("key"))
    return items


def list_files(folder: str, pattern: str | None = None) -> Iterator[tuple[str, int, int]]:
    """Path, size in bytes and mtime in nanoseconds of every file that :func:`scan` would find, in any order.

    The path is spelled as in :class:`Source`.
    """
    return itertools.chain.from_iterable(map(_spelled, _walk(folder, pattern)))


def _spelled(files: list[tuple[str, int, int]]) -> Iterable[tuple[str, int, int]]:
    if all(map(str.isascii, map(itemgetter(0), files))):
        return files
    return [(text_of(path)[0], size, mtime_ns) for path, size, mtime_ns in files]


def _walk(folder: str, pattern: str | None) -> Iterator[list[tuple[str, int, int]]]:
    """Files below a folder, some hundreds at a time: whoever wants to know whether there are any need not see all."""
    wanted = re.compile(pattern).search if pattern is not None else None
    ignored = 0
    prefixes = [""]
    while prefixes:
        prefix = prefixes.pop()
        opened = _open_folder(folder, prefix)
        if opened is None:
            continue
        with opened as entries:
            while block := list(itertools.islice(entries, _BLOCK)):
                files, others = _sorted_out(block, prefix, wanted)
                if files:
                    yield files
                prefixes += [f"{prefix}{entry.name}/" for entry in others if entry.is_dir(follow_symlinks=False)]
                ignored += sum(not (entry.is_dir() or entry.is_symlink()) for entry in others)
    if ignored:
        logger.warning("%s: %d entries are neither files nor folders and were ignored.", folder, ignored)


def _sorted_out(
    block: list[os.DirEntry[str]], prefix: str, wanted: Callable[[str], object] | None
) -> tuple[list[tuple[str, int, int]], list[os.DirEntry[str]]]:
    """Files among directory entries that are not hidden, and what is no file."""
    files: list[tuple[str, int, int]] = []
    others: list[os.DirEntry[str]] = []
    add, file_type, regular = (
        files.append,
        _TYPE,
        _REGULAR,
    )  # this loop is what a run with nothing to do spends its time on
    for entry in block:
        name = entry.name
        if name[0] in _FIRST_LETTERS and (name[0] == "." or name.lower() in _LITTER):
            continue
        try:
            state = entry.stat()
        except OSError as error:  # a link that leads nowhere or in a circle, or a file that has just gone
            if not entry.is_symlink() and not isinstance(error, FileNotFoundError):
                raise _unreadable(entry.path, error) from error
            if entry.is_symlink() and (wanted is None or wanted(prefix + name)):
                add((prefix + name, -1, 0))
            continue
        if state.st_mode & file_type != regular:
            others.append(entry)
        elif wanted is None or wanted(prefix + name):
            add((prefix + name, state.st_size, state.st_mtime_ns))
    return files, others


def _unreadable(path: str, error: OSError) -> InputError:
    return InputError(
        f"{path!r} cannot be looked at: {error.strerror}. Give this user the right to read it, or move it away."
    )


def _open_folder(folder: str, prefix: str) -> Any:
    try:
        return system.scandir(f"{folder}/{prefix}")
    except (FileNotFoundError, NotADirectoryError) as error:
        if prefix:  # the folder has gone since its parent was listed
            return None
        missing = os.path.join(folder, prefix).rstrip("/")
        raise MissingInputError(
            f"There is no folder {missing!r}. Is the path right, and is the disk mounted?"
        ) from error
    except OSError as error:
        raise InputError(
            f"The folder {os.path.join(folder, prefix)!r} cannot be listed: {error.strerror}. "
            "Give this user the right to read it."
        ) from error
