"""Failures: what an entry says of an item that was not written, and why."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from datetime import UTC, datetime

from luisy_dir.engines.loss import Loss
from luisy_dir.engines.packing import message_of
from luisy_dir.entry import Entry, Failure
from luisy_dir.item import Source
from luisy_dir.job import Tries

_LONGEST_MESSAGE = 2_000
_LONGEST_TRACEBACK = 8_000
_MOST_FRAMES = 40
_OWN_CODE = os.path.dirname(__file__) + os.sep


def failure_of(error: BaseException, told: Callable[[str], str] = str) -> Failure:
    """What an entry says of an exception that an item has raised; the traceback begins in the user's own code.

    Parameters
    ----------
    error
        The exception, with its traceback.
    told
        Makes the message that is shown of the exception's own.
    """
    frames = traceback.extract_tb(error.__traceback__)
    outer = next((n for n, frame in enumerate(frames) if not frame.filename.startswith(_OWN_CODE)), len(frames))
    lines = traceback.StackSummary.from_list(frames[outer:]).format()
    text = "".join(lines) + "".join(traceback.format_exception_only(error)) if lines else ""
    return Failure(
        type(error).__name__,
        _valid(told(message_of(error)))[:_LONGEST_MESSAGE],
        _valid(text)[-_LONGEST_TRACEBACK:] or None,
    )


def rejection(reason: str) -> Failure:
    """What an entry says of an item that was rejected."""
    return Failure("Reject", _valid(reason)[:_LONGEST_MESSAGE])


def entry_of_loss(key: str, sources: tuple[Source, ...], tries: Tries, loss: Loss, worker: str) -> Entry:
    """The entry of an item that has cost its worker, with this one the last of its tries."""
    return Entry(
        key=key,
        sources=sources,
        status="failed",
        outputs=(),
        meta={},
        error=failure_of_loss(loss),
        attempts=tries.attempts,
        seconds=round(tries.seconds, 6),
        started=tries.started or datetime.now(UTC),
        worker=worker,
        seed=None,
    )


def failure_of_loss(loss: Loss) -> Failure:
    """What an entry says of an item that has cost its worker."""
    if loss.timeout is None:
        kind, message = "WorkerDied", f"the worker {loss.how}, while it had this item in hand"
    else:
        kind = "Timeout"
        message = f"it took longer than the {loss.timeout:g} s that timeout allows, and its worker was killed"
    frames = _users_frames(loss.trace)
    trace = "\n".join(["Traceback (most recent call first):", *frames, f"{kind}: {message}"])
    return Failure(kind, message, trace if frames else None)


def _users_frames(trace: str) -> list[str]:
    """Where a worker was, innermost call first, as far as that is the user's own code and what it has called."""
    frames = [line for line in trace.splitlines() if line.startswith("  File ")]
    outer = next((n for n, line in enumerate(frames) if _OWN_CODE in line), len(frames))
    return (frames[:outer] or frames)[:_MOST_FRAMES]


def _valid(text: str) -> str:
    """Text that UTF-8 can carry: a file name in a message may not be."""
    return text.encode("utf-8", "backslashreplace").decode()
