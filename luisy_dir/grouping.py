"""A grouping: which files of a directory are one item together, as a function of their keys says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from luisy_dir.code import of_function
from luisy_dir.engines.event_loop import is_async
from luisy_dir.entry import LINE_LIMIT_BYTES
from luisy_dir.errors import DefinitionError, InputError
from luisy_dir.item import Item, Source, check_key, key_of

_MANY = 50_000  # sources of one item, from which on it is seen whether its entry will not be too long
_BYTES_OF_A_DIGEST = 48

_Member = tuple[str, Source]


class Grouping:
    """Which files are one item together.

    Parameters
    ----------
    function
        ``function(key) -> group key``; None leaves the file out.
    name
        Of the task that it belongs to, for messages.
    code
        What the fingerprint is taken of, where the function is bound to a task.

    Examples
    --------
    >>> by_folder = Grouping(lambda key: key.rpartition("/")[0] or None, "Stitched")
    >>> files = [Item(key, (Source("raw", key + ".png", 1, 1),), {}) for key in ("a/1", "a/2", "b/1", "loose")]
    >>> [(item.key, item.keys) for item in by_folder.groups(files)]
    [('a', ['a/1', 'a/2']), ('b', ['b/1'])]
    """

    def __init__(self, function: Callable[[str], object], name: str, code: Callable[..., object] | None = None) -> None:
        self._function = function
        self._name = name
        self._code = code or function
        self._checked: set[str] = set()

    @property
    def fingerprint(self) -> str:
        """What the function does, as a digest."""
        return of_function(self._code)

    def group_of(self, key: str) -> str | None:
        """Group key of the file with a key; None where it is left out.

        Raises
        ------
        DefinitionError
            The function raised, or what it returned is no key under which a file may be written.
        """
        try:
            group = self._function(key)
        except Exception as error:
            raise DefinitionError(
                f"group_by of {self._name} raised {type(error).__name__} for the key {key!r}: {error}. Let it return "
                "None for files that are to be left out."
            ) from error
        if group is None:
            return None
        if not isinstance(group, str):
            raise DefinitionError(
                f"group_by of {self._name} returned {group!r} for the key {key!r}, and should return text, the key of "
                "its group, or None to leave the file out."
            )
        group = str.__str__(group)  # not what a subclass makes of it, such as an Enum
        if group not in self._checked:
            self._check(group, key)
            self._checked.add(group)
        return group

    def _check(self, group: str, key: str) -> None:
        try:
            check_key(group)
        except InputError as error:
            raise DefinitionError(
                f"group_by of {self._name} returned {group!r} for the key {key!r}, which cannot be the key of an item: "
                "it must be a relative path of valid text without empty parts and without parts that begin with a "
                "dot, of at most 255 bytes each. Return another one, or None to leave the file out."
            ) from error

    def groups(self, files: Iterable[Item]) -> Iterator[Item]:
        """One item for each group, in the order of their keys.

        Parameters
        ----------
        files
            One item for each file of a directory, in key order; several may have one key.

        Returns
        -------
        iterator of Item
            The sources of each in the order of their keys, then of their paths.

        Raises
        ------
        DefinitionError
            See :meth:`group_of`.
        InputError
            A group has more files than an entry can name.
        """
        members: dict[str, list[_Member]] = {}
        first: Item | None = None
        for item in files:
            first = first or item
            group = self.group_of(item.key)
            if group is not None:
                members.setdefault(group, []).append((item.key, item.sources[0]))
        for group in sorted(members):
            assert first is not None  # noqa: S101 - there is no group without a file
            keys, sources = zip(*_in_order(members.pop(group)), strict=True)
            self._check_size(group, sources)
            yield Item(group, sources, first.folders, first.seed, keys)

    def _check_size(self, group: str, sources: tuple[Source, ...]) -> None:
        if len(sources) < _MANY:
            return
        expected = len(msgspec.json.encode(sources)) + _BYTES_OF_A_DIGEST * len(sources)
        if expected > LINE_LIMIT_BYTES // 2:
            raise InputError(
                f"{len(sources)} files are in the group {group!r} that group_by of {self._name} makes, which are more "
                "than one entry of a manifest can name. Let it make smaller groups, and group those in a second task."
            )

    def members(self, files: Iterable[tuple[str, int, int]]) -> Iterator[tuple[str, int, int]]:
        """Those of some files, as (path, size, mtime), that are in a group."""
        return (file for file in files if self.group_of(key_of(file[0])) is not None)


def _in_order(members: list[_Member]) -> list[_Member]:
    return sorted(members, key=lambda member: (member[0], member[1].path))


def check_group_by(function: object, name: str) -> None:
    """Raise DefinitionError where this cannot be the ``group_by`` of a task.

    Parameters
    ----------
    function
        What was given.
    name
        Of the task or the decorator, for the message.
    """
    plain = _underlying(function)
    if not callable(plain) or is_async(plain):
        raise DefinitionError(
            f"group_by of {name} is {function!r}, and should be a plain function of a key that returns the key of its "
            "group, or None."
        )


def check_group_by_of(cls: type) -> None:
    """Raise DefinitionError where a class has a ``group_by`` that cannot work."""
    function = _group_by_of(cls)
    if function is not None:
        check_group_by(function, cls.__name__)


def grouping_of(task: Any) -> Grouping | None:
    """What a task's ``group_by`` says; None where it has none.

    A function of which the first parameter is ``self`` is a method, and may look at the task's parameters; any other
    gets the key alone.
    """
    cls = type(task)
    function = _group_by_of(cls)
    if function is None:
        return None
    plain = _underlying(function)
    is_bound = isinstance(function, classmethod) or (plain is function and _takes_self(plain))
    return Grouping(task.group_by if is_bound else plain, cls.__name__, plain)


def _group_by_of(cls: type) -> Any:
    return inspect.getattr_static(cls, "group_by", None)


def _underlying(function: Any) -> Any:
    return function.__func__ if isinstance(function, (staticmethod, classmethod)) else function


def _takes_self(function: Any) -> bool:
    return inspect.isfunction(function) and next(iter(inspect.signature(function).parameters), None) == "self"
