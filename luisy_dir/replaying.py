"""A replay: what becomes of one item in this process, where one can look at it."""

from __future__ import annotations

import os
import pdb  # noqa: T100 - whoever replays an item may want to
import sysconfig
import traceback
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from types import FrameType, TracebackType

from luisy_dir.engines.event_loop import event_loop_here
from luisy_dir.entry import Entry
from luisy_dir.errors import LuisyDirError
from luisy_dir.item import Item
from luisy_dir.selection import no_such_item
from luisy_dir.staging import make_folder
from luisy_dir.step import Step, do_here
from luisy_dir.storage import local

_OWN_CODE = os.path.dirname(__file__) + os.sep
_INSTALLED = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "purelib", "platlib"))


@dataclass(frozen=True)
class Replayed:
    """What became of an item.

    Parameters
    ----------
    folder
        Absolute path of the folder of its outputs.
    entry
        As a run would record it; None where ``setup`` raised.
    exception
        What was raised, as it was; None where nothing was, or where the item was rejected.
    """

    folder: str
    entry: Entry | None
    exception: BaseException | None


def find_item(items: Iterable[Item], key: str, where: str) -> Item:
    """The item with that key.

    Raises
    ------
    MissingInputError
        There is none; the message names keys that may be meant.
    """
    whole = list(items)  # to the last, because two of them may have the same key
    for item in whole:
        if item.key == key:
            return item
    raise no_such_item(key, [item.key for item in whole], where)


def replay(step: Step, item: Item, folder: str, *, with_event_loop: bool) -> Replayed:
    """Do a step for one item in this thread.

    Parameters
    ----------
    step
        What to do.
    item
        With which item.
    folder
        Where its outputs go; those of a former replay of the item are removed.
    with_event_loop
        Whether to wait for what is awaitable.

    Raises
    ------
    LuisyDirError
        What would end a run.
    """
    make_folder(folder)
    _remove_outputs(folder, item.key, {step.format.suffix, *step.formats})
    try:
        with event_loop_here() if with_event_loop else nullcontext():
            return Replayed(folder, *do_here(step, item, folder))
    except LuisyDirError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's setup may raise anything
        return Replayed(folder, None, error)


def _remove_outputs(folder: str, key: str, suffixes: Iterable[str]) -> None:
    for name in {key, *(key + suffix for suffix in suffixes)}:
        local.remove_tree(os.path.join(folder, name))


def of_users_code(error: BaseException) -> TracebackType | None:
    """The traceback of an exception from the user's own code on; all of it where none of that is in it."""
    first = trace = error.__traceback__
    while first is not None and not _is_users(first.tb_frame):
        first = first.tb_next
    return first or trace


def told(error: BaseException) -> str:
    """An exception and its causes as Python shows them, from the user's own code on."""
    return "".join(traceback.format_exception(type(error), error, of_users_code(error)))


def debug(error: BaseException) -> None:
    """Enter the debugger where the user's own code was when an exception was raised in it, or below it."""
    debugger = _Debugger()
    debugger.reset()
    debugger.interaction(None, of_users_code(error))


class _Debugger(pdb.Pdb):
    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        """The frames, and which of them is shown first: not that of a library which the user's code has called."""
        stack, place = super().get_stack(f, t)
        users = [number for number, (frame, _) in enumerate(stack) if _is_users(frame)]
        return stack, users[-1] if users else place


def _is_users(frame: FrameType) -> bool:
    path = frame.f_code.co_filename
    return not path.startswith((_OWN_CODE, *_INSTALLED, "<frozen "))
