"""A fingerprint: a short name for everything that, when it changes, makes a result stale."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

import msgspec
import xxhash


class StateSum:
    """Digest of a set of files by path, size and time of change, the same in whatever order they are added.

    Each file is hashed by xxh3-128 of a msgpack array of the three, and the hashes are added modulo 2**128: neither
    side has to sort, and a file can be taken out again.

    Parameters
    ----------
    digest
        What :meth:`hexdigest` said of files that were added before.
    count, newest_mtime_ns
        Their number, and the youngest time of change among them.

    Examples
    --------
    >>> one, other = StateSum(), StateSum()
    >>> one.add("a", 1, 10); one.add("b", 2, 20)
    >>> other.add("b", 2, 20); other.add("a", 1, 10)
    >>> one.hexdigest() == other.hexdigest()
    True
    """

    def __init__(self, digest: str = "0", count: int = 0, newest_mtime_ns: int = 0) -> None:
        self._sum = int(digest, 16)
        self.count = count
        self.newest_mtime_ns = newest_mtime_ns

    def add(self, path: str, size: int, mtime_ns: int) -> None:
        """Take in one file."""
        self._sum += xxhash.xxh3_128_intdigest(_encode((path, size, mtime_ns)))
        self.count += 1
        if mtime_ns > self.newest_mtime_ns:  # noqa: PLR1730 - max() takes a fifth of the time of this method
            self.newest_mtime_ns = mtime_ns

    def update(self, files: Iterable[tuple[str, int, int]]) -> None:
        """Take in many files by (path, size in bytes, mtime in nanoseconds)."""
        files = list(files)
        self._sum += sum(map(xxhash.xxh3_128_intdigest, map(_encode, files)))
        self.count += len(files)
        self.newest_mtime_ns = max(self.newest_mtime_ns, max(map(itemgetter(2), files), default=0))

    def superseded(self, old: StateSum, new: StateSum) -> StateSum:
        """The sum without the files of ``old``, and with those of ``new``.

        The youngest time of change stays where a file is taken out and others remain: none of them is younger.
        """
        result = StateSum(_hex(self._sum - old._sum + new._sum), self.count - old.count + new.count)
        remaining = self.newest_mtime_ns if self.count > old.count else 0
        result.newest_mtime_ns = max(remaining, new.newest_mtime_ns)
        return result

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        return _hex(self._sum)


class ContentSum:
    """Digest of a set of files by path and digest of the content, in whatever order they are added.

    Parameters
    ----------
    digest
        What :meth:`hexdigest` said of files that were added before.

    Examples
    --------
    >>> empty, filled = ContentSum(), ContentSum()
    >>> filled.add("a", "00")
    >>> empty.hexdigest() == filled.hexdigest()
    False
    """

    def __init__(self, digest: str = "0") -> None:
        self._sum = int(digest, 16)

    def add(self, path: str, digest: str) -> None:
        """Take in one file."""
        self._sum += xxhash.xxh3_128_intdigest(f"{path}\0{digest}".encode())

    def superseded(self, old: ContentSum, new: ContentSum) -> ContentSum:
        """The sum without the files of ``old``, and with those of ``new``."""
        return ContentSum(_hex(self._sum - old._sum + new._sum))

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        return _hex(self._sum)


_encode = msgspec.msgpack.Encoder().encode


def _hex(total: int) -> str:
    return f"{total & (1 << 128) - 1:032x}"


def state_sum(files: Iterable[tuple[str, int, int]]) -> StateSum:
    """StateSum over (path, size in bytes, mtime in nanoseconds)."""
    total = StateSum()
    total.update(files)
    return total


def fingerprint_of(parts: Mapping[str, Any]) -> str:
    """Digest of named parts, each of plain JSON values; 32 hexadecimal digits.

    Examples
    --------
    >>> fingerprint_of({"size": 3}) == fingerprint_of({"size": 3})
    True
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return xxhash.xxh3_128_hexdigest(text.encode(errors="surrogatepass"))


def is_opaque(part: Any) -> bool:
    """Whether a part of a fingerprint, be it nested, says that it could not look into something."""
    if isinstance(part, dict):
        return any(map(is_opaque, part.values()))
    if isinstance(part, list):
        return any(map(is_opaque, part))
    return isinstance(part, str) and part.startswith("opaque")
