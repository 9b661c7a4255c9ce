"""Piping: one input after the other goes through load, ops and write, in a worker."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

import cloudpickle
import msgspec

from luisy_dir.engines.event_loop import Cancelled, NoEventLoopError, resolved
from luisy_dir.engines.loss import Loss
from luisy_dir.engines.packing import pack_error
from luisy_dir.entry import Entry, Failure, OutputFile, Status, clean_meta
from luisy_dir.errors import Abort, InputError, Reject
from luisy_dir.failures import entry_of_loss, failure_of, rejection
from luisy_dir.hidden import write_whole
from luisy_dir.item import Item
from luisy_dir.job import Tries
from luisy_dir.output import is_no_output
from luisy_dir.path_item import PathItem, has_scheme, output_of, sources_of, text_of
from luisy_dir.peak import Peak
from luisy_dir.policy import Policy
from luisy_dir.storage import local, system
from luisy_dir.streams import Function, functions_of, name_of, wants_item


class Errand(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a worker is sent to do.

    Parameters
    ----------
    number
        Of the input, in the order in which they were given.
    paths
        The input, and where its output goes, pickled.
    tries
        How often it was tried before.
    is_known
        A journal knows of it, so that nobody asks whether it is to be skipped.
    """

    number: int
    paths: bytes
    tries: Tries = Tries()
    is_known: bool = False


encode_errand = msgspec.msgpack.Encoder().encode
_decode_errand = msgspec.msgpack.Decoder(Errand).decode


def item_of(encoded: bytes, seed: int = 0) -> PathItem:
    """The item of an errand, as if nobody had touched it before."""
    return _opened(_decode_errand(encoded), seed)


def _opened(errand: Errand, seed: int) -> PathItem:
    inpath, outpath = pickle.loads(errand.paths)
    return PathItem(inpath, outpath, seed, is_known=errand.is_known)


class Tried(NamedTuple):
    """What has become of one input: its number, its entry, the packed exception if there was one, a pickled value."""

    number: int
    entry: Entry
    packed: bytes | None = None
    value: bytes | None = None


Answer = tuple[list[Tried], list[tuple[float, bytes]]]


@dataclass(frozen=True)
class Pipe:
    """What is done with each input.

    Parameters
    ----------
    load
        ``load(inpath)`` returns data; None where that is nothing of ours.
    ops
        Called one after the other with what came before; None rejects.
    write
        ``write(data, outpath)``; None where nothing is written.
    skip
        ``skip(inpath, outpath)`` is true of what need not be done.
    is_atomic
        ``write`` gets the name of a hidden file beside the output, which is renamed when it was written.
    is_synced
        An output is on the disk before anybody is told of it.
    """

    load: Function
    ops: tuple[Function, ...] = ()
    write: Function | None = None
    skip: Callable[[Any, Any], Any] | None = None
    is_atomic: bool = True
    is_synced: bool = False

    def __call__(self, item: PathItem) -> list[OutputFile]:
        """Load, process and write one input; returns what was written.

        Raises
        ------
        Reject
            One of the functions returned None.
        NotDone
            There is nothing to do.
        """
        if self.skip is not None and not item.is_known and resolved(self.skip(item.inpath, item.outpath)):
            raise NotDone(f"{name_of(self.skip)} says that it need not be done")
        data = self._call(self.load, item.inpath, item=item)
        if data is None:
            raise NotDone(f"{name_of(self.load)} returned None")
        for op in self.ops:
            data = self._call(op, data, item=item)
            if data is None:
                raise Reject(f"{name_of(op)} returned None")
            if is_no_output(data):
                return []
        if self.write is None:
            return []
        clean_meta(item.meta)  # what cannot be kept should leave no output behind
        return self._written(self.write, data, item)

    def _call(self, function: Function, *args: Any, item: PathItem) -> Any:
        return resolved(function(*args, item=item) if id(function) in self._with_item else function(*args))

    @cached_property
    def _with_item(self) -> frozenset[int]:
        """Which functions have an argument for the item: to find that out takes longer than many a call."""
        return frozenset(
            id(each) for each in (self.load, *self.ops, self.write) if each is not None and wants_item(each)
        )

    def _written(self, write: Function, data: Any, item: PathItem) -> list[OutputFile]:
        if has_scheme(item.outpath):
            self._call(write, data, item.outpath, item=item)
            return [output_of(item.outpath)]
        path = os.path.abspath(os.fsdecode(item.outpath))
        system.makedirs(os.path.dirname(path))
        if self.is_atomic:
            write_whole(
                item.outpath,
                lambda hidden: self._call(write, data, hidden, item=item),
                name_of(write),
                sync=self.is_synced,
            )
        else:
            self._call(write, data, item.outpath, item=item)
            if self.is_synced:
                local.sync_path(path)
        state = system.stat(path)
        return [OutputFile(text_of(item.outpath), state.st_size, state.st_mtime_ns, "")]


class NotDone(Exception):  # noqa: N818 - carries a verdict from where it is known to where the entry is made
    """There is nothing to do for an input: it is skipped."""


@dataclass(frozen=True)
class PipeInWorker:
    """A pipe at work: call it with an encoded errand, in any worker.

    It never raises: what happened is in the answer.

    Parameters
    ----------
    pipe
        What to do.
    policy
        What an error means.
    seed
        From which, with the path, the random numbers of an item are made.
    has_one_item
        There is never more than one item in hand in a process, so that the memory of the process is the item's.
    """

    pipe: Callable[[PathItem], list[OutputFile]]
    policy: Policy
    seed: int = 0
    has_one_item: bool = False

    @cached_property
    def _peak(self) -> Peak | None:
        return Peak() if self.has_one_item else None

    def close(self) -> None:
        """Close what was opened in this process."""
        if self.__dict__.get("_peak") is not None:
            self._peak.close()  # type: ignore[union-attr]

    def __call__(self, encoded: bytes) -> Answer:
        """Do what there is to do with one input."""
        errand = _decode_errand(encoded)
        started, begin = datetime.now(UTC), time.perf_counter()
        item = _opened(errand, self.seed)
        sources = sources_of(item.inpath)  # as they are before anybody has read them
        if self._peak is not None:
            self._peak.begin()
        outputs: list[OutputFile] = []
        value: bytes | None = None
        raised: BaseException | None = None
        status: Status = "written"
        failure: Failure | None = None
        try:
            outputs = self.pipe(item)
            meta = clean_meta(item.meta)
            value = _pickled(item.value)
        except NotDone as verdict:
            status, failure = "skipped", rejection(str(verdict))
        except Reject as verdict:
            status, failure = "rejected", rejection(str(verdict.reason))
        except Cancelled:
            return [], []
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's functions may raise anything
            status, failure, raised = "failed", failure_of(error), error
        if status != "written":
            outputs, meta = [], _what_was_noted(item)
        tries = errand.tries.and_one(started, time.perf_counter() - begin)
        if raised is not None and self.policy.is_retried(raised, tries.attempts):
            return self._again(errand, tries)
        entry = Entry(
            key=item.key,
            sources=sources,
            status=status,
            outputs=tuple(outputs),
            meta=meta,
            error=failure,
            attempts=tries.attempts,
            seconds=round(tries.seconds, 6),
            started=tries.started or started,
            worker=f"{socket.gethostname()}-{os.getpid()}",
            seed=item.used_seed,
            peak_memory=None if self._peak is None else self._peak.so_far(),
        )
        return [Tried(errand.number, entry, None if raised is None else pack_error(raised), value)], []

    def settle(self, chunk: list[bytes], loss: Loss) -> tuple[list[Answer], list[bytes]]:
        """What has become of the input that a dead worker had in hand; the others of its chunk are done again.

        Parameters
        ----------
        chunk
            Encoded errands, in the order in which they were begun.
        loss
            The worker that had them; it is certain that it is dead.
        """
        if loss.in_hand is None or loss.is_innocent:
            return [], chunk
        left = [encoded for number, encoded in enumerate(chunk) if number != loss.in_hand]
        return [self._blamed(_decode_errand(chunk[loss.in_hand]), loss)], left

    def _blamed(self, errand: Errand, loss: Loss) -> Answer:
        tries = errand.tries.and_a_lost_one(loss)
        if self.policy.is_loss_retried(loss, tries.attempts):
            return self._again(errand, tries)
        inpath, _ = pickle.loads(errand.paths)
        worker = loss.name or f"{socket.gethostname()}-{loss.pid}"
        return [Tried(errand.number, entry_of_loss(text_of(inpath), sources_of(inpath), tries, loss, worker))], []

    def _again(self, errand: Errand, tries: Tries) -> Answer:
        again = msgspec.structs.replace(errand, tries=tries)
        return [], [(self.policy.delay(tries.attempts), encode_errand(again))]


def _what_was_noted(item: Item) -> dict[str, Any]:
    with contextlib.suppress(InputError):  # what was noted before is kept where it can be
        return clean_meta(item.meta)
    return {}


def _pickled(value: object) -> bytes | None:
    if value is None:
        return None
    try:
        pickled: bytes = cloudpickle.dumps(value)
    except Exception as error:
        raise InputError(
            f"What was returned cannot be sent back: {type(error).__name__}: {error}. Return numbers, texts, arrays, "
            "and lists and dictionaries of them."
        ) from error
    return pickled


def ends_the_run(error: BaseException, policy: Policy) -> bool:
    """Whether what an input has raised ends the run, rather than to be recorded as its failure."""
    return isinstance(error, (Abort, NoEventLoopError)) or not policy.is_caught(error)


def ops_of(value: object) -> tuple[Function, ...]:
    """What was given as ``ops`` as a tuple; one function counts as a list of one, None as none.

    Raises
    ------
    DefinitionError
        One of them cannot be called.
    """
    if value is None:
        return ()
    given: Any = tuple(value) if isinstance(value, Sequence) or hasattr(value, "__iter__") else value
    return functions_of(given, "ops")
