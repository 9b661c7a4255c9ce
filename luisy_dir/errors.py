"""The errors that luisy_dir raises on purpose.

::

    LuisyDirError
    ├── DefinitionError            a task, format or decorator that cannot work
    │   └── MissingExtraError          a library that a format needs is not installed
    ├── SettingError               a setting with a value that is not allowed
    ├── ImageError                 what should be an image is none, or cannot be changed or written as it is asked
    ├── InputError                 what a run would read is not in order
    │   ├── MissingInputError          no folder, an empty folder, or a required task that is not complete
    │   ├── InputChangedError          a file changed while it was read, or no longer equals its entry
    │   ├── KeyCollisionError          two inputs would be written as one output
    │   ├── UnmatchedKeysError         with ``join = strict``, a directory lacks a key that another one has
    │   ├── TooManyDeletedError        more inputs are gone at once than ``max_deleted`` allows
    │   ├── UnknownPathError           no manifest knows the path that somebody asks about
    │   └── WebError                   a URL could not be read
    ├── OutputError                what a run would write to is not in order
    │   ├── ForeignDirectoryError      something that is not ours lies where the directory should be
    │   ├── BusyError                  another run works on the same directory, or has taken it over
    │   ├── GenerationError            a generation that was asked for is not kept, or cannot be gone back to
    │   └── ManifestError              the manifest cannot be read
    │       └── DamagedManifestError       a part of it is missing, or does not equal its own digests
    ├── StorageError               the disk did not do what it was asked for
    ├── DatasetError               a dataset cannot be opened, indexed, joined or read in batches as it is asked
    │   └── UnknownKeyError            it has no item of that key
    ├── MemoryShortError           a process needs more memory than there is
    ├── BatchError                 a batch has no such component, or cannot be changed, loaded or merged as it is asked
    │   └── UnknownItemError           it has no item of that id
    ├── CollationError             the data of several items does not go into one batch as it is asked
    ├── StateError                 a saved state of batches is not of these data, or of another order of them
    └── RunError                   items or workers failed
        ├── ItemsFailedError           more items failed than ``max_errors`` allows
        ├── CheckError                 a check of a task says that the data of an item is not as it should be
        ├── AbortedError               an item has ended the run: by Abort, or by an error that ``catch`` leaves out
        ├── SetupError                 ``setup`` raised in a worker
        ├── BatchItemsError            an action failed for items of a batch
        └── WorkerDiedError            workers die before they begin, or the engine cannot go on without one

    Reject                         raised by a step: this item is not wanted, and why
    Abort                          raised by a step: the run is to end, and why

Every message says what happened, to which file or task, why, and what to do about it. Every error survives pickling.
"""

from __future__ import annotations


class LuisyDirError(Exception):
    """Base of every error that luisy_dir raises on purpose."""


class DefinitionError(LuisyDirError, TypeError):
    """A task, a format or a decorator is written in a way that cannot work."""


class MissingExtraError(DefinitionError, ImportError):
    """A library that a format needs is not installed; the message names the extra that brings it."""


class SettingError(LuisyDirError, ValueError):
    """A setting has a value that is not allowed."""


class ImageError(LuisyDirError, ValueError):
    """What should be an image is none, or cannot be changed or written as it is asked."""


class InputError(LuisyDirError):
    """What a run would read is not in order."""


class MissingInputError(InputError):
    """A folder is missing or empty, or a required task is not complete."""


class InputChangedError(InputError):
    """A file changed while it was read, or no longer equals its entry in a manifest."""


class KeyCollisionError(InputError):
    """Two inputs would be written as one output."""


class UnmatchedKeysError(InputError):
    """With ``join = strict``, a required directory lacks a key that another one has."""


class TooManyDeletedError(InputError):
    """More inputs are gone at once than ``max_deleted`` allows: a folder may not be mounted."""


class UnknownPathError(InputError):
    """No manifest knows the path that somebody asks about."""


class WebError(InputError, OSError):
    """A URL could not be read: its server cannot be reached, or answers that there is nothing to be had.

    ``url`` is what was asked for, and ``status`` what the server answered, or None where no answer came to its end.
    """

    url: str = ""
    status: int | None = None


class OutputError(LuisyDirError):
    """What a run would write to is not in order."""


class ForeignDirectoryError(OutputError):
    """Something that is not ours lies where the directory should be."""


class BusyError(OutputError):
    """Another run works on the same directory, or has taken it over."""


class GenerationError(OutputError):
    """A generation that was asked for is not kept, or cannot be gone back to."""


class ManifestError(OutputError):
    """A manifest cannot be read."""


class DamagedManifestError(ManifestError):
    """A part of a manifest is missing, or does not equal its own digests; the next run makes it anew."""


class StorageError(LuisyDirError, OSError):
    """The disk did not do what it was asked for."""


class DatasetError(LuisyDirError, ValueError):
    """A dataset cannot be opened, indexed, joined or read in batches as it is asked."""


class UnknownKeyError(DatasetError, KeyError):
    """A dataset has no item of that key."""

    __str__ = LuisyDirError.__str__  # a KeyError would say its message in quotes


class MemoryShortError(LuisyDirError, OSError):
    """A process needs more memory than there is."""


class BatchError(LuisyDirError, ValueError):
    """A batch has no such component, or cannot be changed, loaded, dumped or merged as it is asked."""


class UnknownItemError(BatchError, KeyError):
    """A batch has no item of that id, or several of them."""

    __str__ = LuisyDirError.__str__  # a KeyError would say its message in quotes


class CollationError(LuisyDirError, ValueError):
    """The data of several items does not go into one batch as it is asked."""


class StateError(LuisyDirError, ValueError):
    """A saved state of batches is not of these data, or of another order of them."""


class RunError(LuisyDirError):
    """Items or workers failed."""


class ItemsFailedError(RunError):
    """More items failed than ``max_errors`` allows; nothing was published."""


class CheckError(RunError):
    """A check of a task says that the data of an item is not as it should be; the item fails."""


class AbortedError(RunError):
    """An item has ended the run: its step raised :class:`Abort`, or an error that ``catch`` leaves out.

    Nothing was published, and what was finished is kept. The cause is what the step raised.
    """

    raised: bytes = b""  # the cause on its way from a worker, packed


class SetupError(RunError):
    """``setup`` raised in a worker, so that no item could be processed there."""


class BatchItemsError(RunError, RuntimeError):
    """An action failed for items of a batch; nothing was put into it.

    ``ids`` are those of the items, and ``errors`` what was raised for each; the first of them is the cause.
    """

    ids: tuple[object, ...] = ()
    errors: tuple[BaseException, ...] = ()


class WorkerDiedError(RunError):
    """Workers die before they have an item in hand, or one has died and the engine cannot go on without it.

    Of the batches of a dataset: one has died over a batch.
    """


class Reject(Exception):  # noqa: N818 - a verdict on an item, not an error
    """Raise this in a step to leave an item out of the result.

    The item becomes an entry with status ``rejected`` and this reason; it does not count as an error.

    Parameters
    ----------
    reason
        Why the item is not wanted; one line that a person can read.

    Examples
    --------
    >>> def process(image):
    ...     if image.size == 0:
    ...         raise Reject("the image is empty")
    ...     return image
    """

    def __init__(self, reason: str = "no reason given") -> None:
        super().__init__(reason)
        self.reason = reason


class Abort(Exception):  # noqa: N818 - a verdict on the run, not an error of the item
    """Raise this in a step to end the run at once: no item would fare better.

    Nothing is published, and what was finished is kept for the next run. The item that raised it is ``failed`` in the
    report; it is not tried again in this run.

    Parameters
    ----------
    reason
        Why the run is to end; one line that a person can read.

    Examples
    --------
    >>> def process(image, item):
    ...     if image.ndim != 3:
    ...         raise Abort("these are no colour images")
    ...     return image
    """

    def __init__(self, reason: str = "no reason given") -> None:
        super().__init__(reason)
        self.reason = reason
