"""A job: what a worker is sent to do, items and how often they were tried."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from luisy_dir.engines.loss import Loss
from luisy_dir.item import Item, Source


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One item of a job: its key, its sources, and the keys of those where they are a group."""

    key: str
    sources: tuple[Source, ...]
    member_keys: tuple[str, ...] = ()


class Tries(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How often something was tried before.

    Parameters
    ----------
    attempts
        How often.
    seconds
        How long that took in all, on the clock.
    started
        When the first one began; None where there was none.
    """

    attempts: int = 0
    seconds: float = 0.0
    started: datetime | None = None

    def and_one(self, started: datetime, seconds: float) -> Tries:
        """These, and one more that began then and took so long."""
        return Tries(self.attempts + 1, self.seconds + seconds, self.started or started)

    def and_a_lost_one(self, loss: Loss, items: int = 1) -> Tries:
        """These, and one more that has cost its worker, which had so many items in hand together."""
        return self.and_one(datetime.now(UTC) - timedelta(seconds=loss.seconds), loss.seconds / items)


class Job(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a worker is sent to do.

    Parameters
    ----------
    parts
        Its items.
    tries
        How often each of them was tried before.
    in_batches
        How many of these have failed together with other items, so that nobody knows which was to blame.
    """

    parts: tuple[Part, ...]
    tries: Tries = Tries()
    in_batches: int = 0

    def opened(self, folders: Mapping[str, str], seed: int) -> list[Item]:
        """The items, each as if nobody had touched it before.

        Parameters
        ----------
        folders
            Absolute path by the name of a source's root.
        seed
            The task's seed.
        """
        return [Item(part.key, part.sources, folders, seed, part.member_keys) for part in self.parts]

    def of(self, parts: Iterable[Part]) -> Job:
        """The same for some of its items."""
        return msgspec.structs.replace(self, parts=tuple(parts))

    def halves(self) -> tuple[Job, Job]:
        """The job as two, where it has failed, and it is not known for which of its items."""
        middle = len(self.parts) // 2
        one, other = self.parts[:middle], self.parts[middle:]
        return self.of(one), self.of(other)


def parts_of(items: Iterable[Item]) -> tuple[Part, ...]:
    """The parts of a job for these items."""
    return tuple([Part(item.key, item.sources, item.member_keys) for item in items])


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Job).decode


def job_of(*items: Item) -> bytes:
    """A job that was not tried yet, as it crosses to a worker: five times faster than pickle."""
    return _encode(Job(parts_of(items)))


def batches_of(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Consecutive items, so many at a time.

    Examples
    --------
    >>> items = [Item(key, (), {}) for key in "abcde"]
    >>> batches_of(items, 2)
    [[Item('a'), Item('b')], [Item('c'), Item('d')], [Item('e')]]
    """
    return [items[begin : begin + size] for begin in range(0, len(items), size)]


def encode_job(job: Job) -> bytes:
    """The job as it crosses to a worker, or back."""
    return _encode(job)


def decode_job(encoded: bytes) -> Job:
    """The job of :func:`encode_job`."""
    return _decode(encoded)
