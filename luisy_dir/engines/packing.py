"""A packed error: an exception on its way to another process."""

from __future__ import annotations

import pickle


def pack_error(error: BaseException) -> bytes:
    """An exception on its way to another process: pickled twice over, beside what it says.

    Some exceptions cannot be pickled, some not unpickled, and of some the other process does not know the class.
    """
    said = f"{type(error).__name__}: {message_of(error)}"
    try:
        return pickle.dumps((pickle.dumps(error), said))
    except Exception:  # noqa: BLE001 - exceptions break in every imaginable way here
        return pickle.dumps((b"", said))


def unpack_error(packed: bytes) -> BaseException:
    """The exception itself where that can be had, else a RuntimeError that says the same."""
    pickled, said = pickle.loads(packed)
    try:
        error = pickle.loads(pickled)
    except Exception:  # noqa: BLE001 - as above
        error = None
    return error if isinstance(error, BaseException) else RuntimeError(said)


def message_of(error: BaseException) -> str:
    """The message of any exception, even of one whose message breaks."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - exceptions break even here
        return "(its message cannot be shown)"
