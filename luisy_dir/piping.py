"""Piping: one input after the other goes through load, ops and write, in a worker."""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

import cloudpickle
import msgspec

from luisy_dir.engines.event_loop import Cancelled, NoEventLoopError, resolved
from luisy_dir.engines.loss import Loss
from luisy_dir.engines.packing import pack_error
from luisy_dir.entry import Entry, Failure, OutputFile, Status, clean_meta
from luisy_dir.errors import Abort, InputError, OutputError, Reject
from luisy_dir.failures import failure_of, failure_of_loss, rejection
from luisy_dir.item import Item, Source
from luisy_dir.output import is_no_output
from luisy_dir.peak import Peak
from luisy_dir.policy import Policy
from luisy_dir.storage import local, system
from luisy_dir.streams import Function, functions_of, name_of, wants_item

HIDDEN = ".luisy-"  # begins the names of files that are being written
_numbers = itertools.count()


class PathItem(Item):
    """One input of a pipeline: a path or a URL, and where its output goes.

    Parameters
    ----------
    inpath
        As it was given.
    outpath
        Where the output goes; None where nothing is written.
    seed
        From which, with the path, ``rng`` is made.

    Attributes
    ----------
    value
        What a pipe puts here comes back to whoever has sent the item, as it is.
    """

    __slots__ = ("inpath", "outpath", "value")

    def __init__(self, inpath: Any, outpath: Any = None, seed: int = 0) -> None:
        super().__init__(text_of(inpath), (), {}, seed)
        self.inpath = inpath
        self.outpath = outpath
        self.value: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return PathItem, (self.inpath, self.outpath, self.seed)

    @property
    def path(self) -> str:
        """The input's path or URL."""
        return self.key

    @property
    def paths(self) -> list[str]:
        """The same in a list."""
        return [self.key]


def text_of(path: Any) -> str:
    """A path or a URL as a text that UTF-8 can carry."""
    text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)
    return text.encode("utf-8", "backslashreplace").decode()


def is_path(path: object) -> bool:
    """Whether this is a path of this machine.

    Examples
    --------
    >>> is_path("data/a.png"), is_path("https://example.org/a.png"), is_path(3)
    (True, False, False)
    """
    return isinstance(path, (str, bytes, os.PathLike)) and not has_scheme(path)


def has_scheme(path: object) -> bool:
    """Whether this is a URL, rather than a path of this machine.

    Examples
    --------
    >>> has_scheme("https://example.org/a.png"), has_scheme("data/a.png")
    (True, False)
    """
    scheme, mark, _ = path.partition("://") if isinstance(path, str) else ("", "", "")
    return bool(mark) and scheme.replace("+", "").isalnum()


class Errand(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a worker is sent to do.

    Parameters
    ----------
    number
        Of the input, in the order in which they were given.
    paths
        The input, and where its output goes, pickled.
    attempts, seconds, started
        How often it was tried before, how long that took, and when it began.
    """

    number: int
    paths: bytes
    attempts: int = 0
    seconds: float = 0.0
    started: datetime | None = None


encode_errand = msgspec.msgpack.Encoder().encode
_decode_errand = msgspec.msgpack.Decoder(Errand).decode


def item_of(encoded: bytes, seed: int = 0) -> PathItem:
    """The item of an errand, as if nobody had touched it before."""
    return _opened(_decode_errand(encoded), seed)


def _opened(errand: Errand, seed: int) -> PathItem:
    inpath, outpath = pickle.loads(errand.paths)
    return PathItem(inpath, outpath, seed)


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
    """

    load: Function
    ops: tuple[Function, ...] = ()
    write: Function | None = None
    skip: Callable[[Any, Any], Any] | None = None
    is_atomic: bool = True

    def __call__(self, item: PathItem) -> list[OutputFile]:
        """Load, process and write one input; returns what was written.

        Raises
        ------
        Reject
            One of the functions returned None.
        NotDone
            There is nothing to do.
        """
        if self.skip is not None and resolved(self.skip(item.inpath, item.outpath)):
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
            write_whole(item.outpath, lambda hidden: self._call(write, data, hidden, item=item), name_of(write))
        else:
            self._call(write, data, item.outpath, item=item)
        state = system.stat(path)
        return [OutputFile(text_of(item.outpath), state.st_size, state.st_mtime_ns, "")]


class NotDone(Exception):  # noqa: N818 - carries a verdict from where it is known to where the entry is made
    """There is nothing to do for an input: it is skipped."""


def type_of(path: Any) -> Callable[[str], Any]:
    """What makes a path of the same type of a text."""
    return str if isinstance(path, (str, bytes)) else type(path)


def write_whole(outpath: Any, write: Callable[[Any], object], writer: str) -> None:
    """Have a hidden file beside the output written, which is renamed when that is done.

    Parameters
    ----------
    outpath
        Where the output goes.
    write
        Gets the path of the hidden file, of the type of ``outpath``.
    writer
        Its name, for messages.

    Raises
    ------
    OutputError
        It wrote nothing there, or a directory lies where the output goes.
    """
    path = os.path.abspath(os.fsdecode(outpath))
    hidden = type_of(outpath)(_hidden(path))
    try:
        write(hidden)
        _put(os.fspath(hidden), path, writer)
    finally:
        with contextlib.suppress(FileNotFoundError):
            system.unlink(os.fspath(hidden))


def _hidden(path: str) -> str:
    """A name beside an output, which says who writes there, with the output's suffixes."""
    folder, name = os.path.split(path)
    stem, dot, suffixes = name.lstrip(".").partition(".")
    who = f"{socket.gethostname()}-{os.getpid()}-{next(_numbers)}"
    return os.path.join(folder, f"{HIDDEN}{who}{dot}{suffixes}" if stem else f"{HIDDEN}{who}")


def _put(hidden: str, path: str, writer: str) -> None:
    try:
        system.rename(hidden, path)
    except FileNotFoundError as error:
        raise OutputError(
            f"{writer} has written nothing to {hidden!r}, the file that it was given, so that there is no {path!r}. "
            "Let it write to the path that it gets, or give the pipeline atomic=False."
        ) from error
    except IsADirectoryError as error:
        raise OutputError(f"{path!r} is a directory. Move it away, or write elsewhere.") from error


def remove_abandoned(folders: Iterator[str]) -> None:
    """Remove what writers of this machine that are no more have left half-written in some folders."""
    begin = f"{HIDDEN}{socket.gethostname()}-"
    for folder in folders:
        for name in local.names_in(folder):
            pid = name.removeprefix(begin).partition("-")[0]
            if name.startswith(begin) and pid.isdigit() and not _is_running(int(pid)):
                with contextlib.suppress(OSError):
                    system.unlink(os.path.join(folder, name))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


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
        started, begin = errand.started or datetime.now(UTC), time.perf_counter()
        item = _opened(errand, self.seed)
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
        seconds = errand.seconds + time.perf_counter() - begin
        attempts = errand.attempts + 1
        if raised is not None and self.policy.is_retried(raised, attempts):
            again = msgspec.structs.replace(errand, attempts=attempts, seconds=seconds, started=started)
            return [], [(self.policy.delay(attempts), encode_errand(again))]
        entry = Entry(
            key=item.key,
            sources=_sources(item.inpath),
            status=status,
            outputs=tuple(outputs),
            meta=meta,
            error=failure,
            attempts=attempts,
            seconds=round(seconds, 6),
            started=started,
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
        started = errand.started or datetime.now(UTC) - timedelta(seconds=loss.seconds)
        attempts, seconds = errand.attempts + 1, errand.seconds + loss.seconds
        if self.policy.is_loss_retried(loss, attempts):
            again = msgspec.structs.replace(errand, attempts=attempts, seconds=seconds, started=started)
            return [], [(self.policy.delay(attempts), encode_errand(again))]
        inpath, _ = pickle.loads(errand.paths)
        worker = f"{socket.gethostname()}-{loss.pid}"
        entry = Entry(
            text_of(inpath), _sources(inpath), "failed", (), {}, failure_of_loss(loss), attempts, round(seconds, 6),
            started, worker, None,
        )  # fmt: skip
        return [Tried(errand.number, entry)], []


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


def _sources(inpath: Any) -> tuple[Source, ...]:
    """The input as the report shows it: one file, or those of a group."""
    if isinstance(inpath, (list, tuple)):
        return tuple(source for path in inpath for source in _sources(path))
    return (_source(inpath),)


def _source(inpath: Any) -> Source:
    return Source("", text_of(inpath), *_size_and_time(inpath))


def output_of(outpath: Any) -> OutputFile:
    """An output as the report shows it; its size is -1 where it is not there, or is no path."""
    return OutputFile(text_of(outpath), *_size_and_time(outpath), "")


def _size_and_time(path: Any) -> tuple[int, int]:
    if is_path(path):
        with contextlib.suppress(OSError, ValueError):
            state = system.stat(os.fsdecode(path))
            return state.st_size, state.st_mtime_ns
    return -1, 0


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
