"""The rules of keys: unique in one directory, joined across several."""

from __future__ import annotations

import heapq
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from luisy_dir.errors import DefinitionError, KeyCollisionError, UnmatchedKeysError
from luisy_dir.item import Item, key_of

INNER, OUTER, STRICT = JOINS = ("inner", "outer", "strict")
_EXAMPLES = 3
_MOST_ASKED = 100  # readers are slow where they read


def without_collisions(items: Iterable[Item], is_skipped: Callable[[Item], bool]) -> Iterator[Item]:
    """The same items with unique keys, in key order.

    Where several files have the same key, at most one may be meant: the others must be skipped by the reader, and go
    on under their whole path as key. The reader is asked about as few files as possible: suffixes that it skipped
    before are tried first, and a file that is left alone is not read.

    Parameters
    ----------
    items
        Items in key order.
    is_skipped
        Whether the reader skips the item's file.

    Raises
    ------
    KeyCollisionError
        The reader skips neither of two files that have the same key.
    """
    ordered = list(items)
    groups = _same_key(ordered)
    if not groups:
        return iter(ordered)
    skipped: set[str] = set()
    keys = {item.key for item in ordered}
    replaced: dict[int, Item] = {}
    for group in groups:
        group.sort(key=lambda item: _suffix(item) not in skipped)
        wanted: list[Item] = []
        for place, item in enumerate(group):
            is_last = place == len(group) - 1
            if not (is_last and not wanted) and is_skipped(item):
                skipped.add(_suffix(item))
                replaced[id(item)] = _under_whole_path(item, keys)
            else:
                wanted.append(item)
            if len(wanted) > 1:
                raise _collision(wanted[0], wanted[1])
    return iter(sorted((replaced.get(id(item), item) for item in ordered), key=lambda item: item.key))


def _same_key(ordered: list[Item]) -> list[list[Item]]:
    groups: list[list[Item]] = []
    for before, item in itertools.pairwise(ordered):
        if before.key == item.key:
            if groups and groups[-1][-1] is before:
                groups[-1].append(item)
            else:
                groups.append([before, item])
    return groups


def _suffix(item: Item) -> str:
    return os.path.splitext(item.sources[0].path)[1]


def _under_whole_path(item: Item, keys: set[str]) -> Item:
    """The skipped item under its path with suffix, and with as many tildes as make that unique."""
    key = key_of(item.sources[0].name + ".")
    while key in keys:
        key += "~"
    keys.add(key)
    return Item(key, item.sources, item.folders, item.seed)


def _collision(one: Item, other: Item) -> KeyCollisionError:
    return KeyCollisionError(
        f"{one.sources[0].path!r} and {other.sources[0].path!r} would both be written as {one.key!r}. "
        "Give the reader a regex_pattern that selects one of them."
    )


def check_output_paths(keys: Iterable[str], suffix: str) -> None:
    """Raise KeyCollisionError where the output of one item would be a folder of another's.

    Parameters
    ----------
    keys
        Keys in order, unique.
    suffix
        What is added to a key to get the path of its output.
    """
    known = list(keys)
    if suffix and not any(f"{suffix}/" in key for key in known):  # no folder is named like an output
        return
    paths = {key + suffix for key in known}
    for path in paths:
        end = path.find("/")
        while end >= 0:
            if path[:end] in paths:
                raise KeyCollisionError(
                    f"{path.removesuffix(suffix)!r} would be written into a folder {path[:end]!r}, but the output of "
                    f"{path[:end].removesuffix(suffix)!r} is a file of that name. "
                    "Rename one of the inputs, or choose another suffix."
                )
            end = path.find("/", end + 1)


def check_folded_paths(paths: Iterable[str], folded: Callable[[str], str]) -> None:
    """Raise KeyCollisionError where a file system takes the names of two outputs for one.

    Parameters
    ----------
    paths
        Relative paths of the outputs, unique.
    folded
        What two paths have in common that name the same file.

    Examples
    --------
    >>> check_folded_paths(["a.npy", "A.npy"], str)
    """
    names = FoldedNames(folded)
    for path in paths:
        names.add(path)


class FoldedNames:
    """Names of outputs on a file system that may take two of them for one.

    Parameters
    ----------
    folded
        What two paths have in common that name the same file.

    Examples
    --------
    >>> FoldedNames(str).add("a/b.npy")
    """

    def __init__(self, folded: Callable[[str], str]) -> None:
        self._folded = folded
        self._known: dict[str, str] = {}

    def add(self, path: str) -> None:
        """Take in a relative path; raise KeyCollisionError where it, or a folder of it, is taken for another one."""
        name = path
        while name and self._known.setdefault(self._folded(name), name) == name:
            name = os.path.dirname(name)  # folders are names too
        if name:
            raise KeyCollisionError(
                f"{self._known[self._folded(name)]!r} and {name!r} are one name on the file system of the outputs, "
                "which does not tell the case of letters, or spellings of accents, apart. Rename one of the inputs, or "
                "choose another working_dir."
            )


def join(inputs: Sequence[Iterable[Item]], folders: Mapping[str, str], seed: int = 0) -> Iterator[Item]:
    """Items of several directories joined by key, in key order.

    An item has the sources that were found, in the order of the directories. What becomes of one that has none in some
    directory is for the step to say.

    Parameters
    ----------
    inputs
        For each directory its items, in key order with unique keys.
    folders
        Where the root of each source lies.
    seed
        The task's seed.

    Examples
    --------
    >>> from luisy_dir.item import Source
    >>> a = [Item("x", (Source("A", "x.png", 1, 1),), {}), Item("y", (Source("A", "y.png", 1, 1),), {})]
    >>> b = [Item("y", (Source("B", "y.npy", 1, 1),), {})]
    >>> [(item.key, len(item.sources)) for item in join([a, b], {})]
    [('x', 1), ('y', 2)]
    """
    merged = heapq.merge(*inputs, key=lambda item: item.key)
    for key, together in itertools.groupby(merged, key=lambda item: item.key):
        items = list(together)
        sources = tuple(source for item in items for source in item.sources)
        yield Item(key, sources, folders, seed, tuple(key for item in items for key in item.member_keys))


def check_join(word: object, name: str) -> None:
    """Raise DefinitionError where a word says of no way to join directories.

    Parameters
    ----------
    word
        What was given.
    name
        Of the task or the decorator, for the message.
    """
    if word not in JOINS:
        raise DefinitionError(f"join of {name} is {word!r}. Choose one of {', '.join(map(repr, JOINS))}.")


def check_matched(
    inputs: Mapping[str, Sequence[Item]], folders: Mapping[str, str], is_skipped: Callable[[Item], bool]
) -> None:
    """Raise UnmatchedKeysError where a directory lacks a key that another one has.

    An item that the reader skips needs no match. The reader is asked only about items without one, and of very many
    not about all.

    Parameters
    ----------
    inputs
        For each directory its items, in key order with unique keys.
    folders
        Absolute path of each directory.
    is_skipped
        Whether the reader skips the files of an item.

    Examples
    --------
    >>> a, b = Item("a", (), {}), Item("b", (), {})
    >>> check_matched({"A": [a], "B": [a, b]}, {"A": "/A", "B": "/B"}, is_skipped=lambda item: item.key == "b")
    """
    common = set.intersection(*({item.key for item in items} for items in inputs.values()))
    told = [
        told_of_one
        for name, items in inputs.items()
        if (told_of_one := _told_unmatched(f"{name!r} ({folders[name]!r})", items, common, is_skipped))
    ]
    if told:
        raise UnmatchedKeysError(
            f"join is 'strict', and not every key is in each of the required directories: {'; '.join(told)}. Add or "
            "remove files, let the reader return None for those that are not meant, or choose join = 'inner', which "
            "rejects them, or 'outer', which gives process None for what is missing."
        )


def _told_unmatched(name: str, items: Sequence[Item], common: set[str], is_skipped: Callable[[Item], bool]) -> str:
    """What a directory has and others lack, in words; empty where there is nothing but what the reader skips."""
    alone = [item for item in items if item.key not in common]
    matchless: list[str] = []
    asked = 0
    for item in alone:
        if asked >= _MOST_ASKED and len(matchless) >= _EXAMPLES:
            break
        asked += 1
        if not is_skipped(item):
            matchless.append(item.key)
    if not matchless:
        return ""
    unasked = len(alone) - asked
    count = f"up to {len(matchless) + unasked}" if unasked else str(len(matchless))
    some = ", ".join(map(repr, matchless[:_EXAMPLES]))
    more = " …" if len(matchless) > _EXAMPLES else ""
    return f"{count} in {name} without a match, {some}{more}"


class _HasKey(Protocol):
    @property
    def key(self) -> str: ...


_L = TypeVar("_L", bound=_HasKey)
_R = TypeVar("_R", bound=_HasKey)


def side_by_side(left: Iterable[_L], right: Iterable[_R]) -> Iterator[tuple[_L | None, _R | None]]:
    """What has the same key on both sides, in key order; None where one side has none.

    Parameters
    ----------
    left, right
        In key order, keys unique.

    Examples
    --------
    >>> a, b = Item("a", (), {}), Item("b", (), {})
    >>> list(side_by_side([a], [a, b]))
    [(Item('a'), Item('a')), (None, Item('b'))]
    """
    one, other = iter(left), iter(right)
    mine, theirs = next(one, None), next(other, None)
    while mine is not None or theirs is not None:
        if theirs is None or (mine is not None and mine.key < theirs.key):
            yield mine, None
            mine = next(one, None)
        elif mine is None or theirs.key < mine.key:
            yield None, theirs
            theirs = next(other, None)
        else:
            yield mine, theirs
            mine, theirs = next(one, None), next(other, None)
