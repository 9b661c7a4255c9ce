"""An errand: one batch that a worker process is sent to load."""

from __future__ import annotations

import pickle
import traceback
from collections import OrderedDict
from typing import Any, NamedTuple

import cloudpickle

from luisy_dir.dataset.collated import Collated
from luisy_dir.dataset.loading import Loads, Portion
from luisy_dir.engines import slate
from luisy_dir.engines.child import end_with_parent
from luisy_dir.engines.packing import pack_error, unpack_error
from luisy_dir.errors import DefinitionError

_REMEMBERED = 4
_known: OrderedDict[str, Loads] = OrderedDict()  # of this worker, by their digests


class UnknownLoader(Exception):  # noqa: N818 - the errand is sent again, with its loader
    """The worker has not been sent this loader yet."""


class _Failure(NamedTuple):
    packed: bytes
    notes: tuple[str, ...]


def do_errand(digest: str, pickled: bytes | None, portion: Portion) -> bytes:
    """In a worker: load a batch.

    Parameters
    ----------
    digest
        Of the pickled loader. One of a large dataset takes megabytes, so it crosses to each worker once.
    pickled
        The loader; None where the worker may have it.
    portion
        Which items.

    Returns
    -------
    bytes
        For :func:`received`.
    """
    end_with_parent()
    seen = slate.mine()
    try:
        loader = _loader(digest, pickled)
        if loader is None:
            return pickle.dumps(None)
        collated = loader.load(portion) if seen is None else loader.load(portion, seen.take)
        return _pickled(tuple(collated))
    except Exception as error:  # noqa: BLE001 - the parent raises it
        return pickle.dumps(_failure(error))
    finally:
        if seen is not None:
            seen.put_down()


def _loader(digest: str, pickled: bytes | None) -> Loads | None:
    loader = _known.get(digest)
    if loader is None and pickled is not None:
        try:
            loader = _known[digest] = pickle.loads(pickled)
        except Exception as error:
            raise DefinitionError(
                f"A worker process cannot unpickle what makes the batches: {type(error).__name__}: {error}. Choose "
                "engine='threads', or leave out of the dataset and of `collate` what cannot be pickled."
            ) from error
        while len(_known) > _REMEMBERED:
            _known.popitem(last=False)
    return loader


def _pickled(answer: Any) -> bytes:
    """Pickled the fast way where that is possible; else with classes that the program's script defines, by value."""
    try:
        return pickle.dumps(answer, protocol=5)
    except Exception:  # noqa: BLE001 - pickle raises whatever comes to its mind
        pickled: bytes = cloudpickle.dumps(answer)
        return pickled


def _failure(error: Exception) -> _Failure:
    """An error on its way; some kinds of exceptions lose their notes when they are pickled, and all their traceback."""
    notes = tuple(getattr(error, "__notes__", ()))
    there = "".join(traceback.format_exception(error)).rstrip()
    return _Failure(pack_error(error), (*notes, f"In the worker process it was raised like this:\n{there}"))


def received(answer: bytes) -> Collated:
    """What came of an errand.

    Raises
    ------
    UnknownLoader
        The errand has to be sent again, with the loader.
    Exception
        What was raised in the worker, with its notes.
    """
    thing: Any = pickle.loads(answer)
    if thing is None:
        raise UnknownLoader
    if not isinstance(thing, _Failure):
        return Collated(*thing)
    error = unpack_error(thing.packed)
    for note in thing.notes:
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
    raise error
