"""The errors: one tree, drawn on top of the module, and every one of them crosses between processes."""

import copy
import errno
import inspect
import pickle
import re

import pytest

from luisy_dir import errors
from luisy_dir.errors import LuisyDirError, Reject, StorageError

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]
_BRANCH = re.compile(r"^    ([ │├└─]*)([A-Z]\w+)", re.MULTILINE)


def drawn_parents():
    """The parent of every error, by name, as the drawing in the module's docstring has it."""
    parents, path = {}, []
    for branch, name in _BRANCH.findall(errors.__doc__):
        depth = len(branch) // 4
        path[depth:] = [name]
        parents[name] = path[-2] if depth else None
    return parents


@pytest.mark.parametrize("kind", ALL)
def test_an_error_is_the_same_after_pickling(kind):
    error = kind("'a.png' is broken. Mend it.")

    again = pickle.loads(pickle.dumps(error))

    assert (type(again), again.args, str(again), again.__dict__) == (kind, error.args, str(error), error.__dict__)


@pytest.mark.parametrize("kind", ALL)
def test_an_error_is_the_same_after_copying(kind):
    error = kind("a message")

    again = copy.copy(error)

    assert (type(again), again.args) == (kind, error.args)


def test_a_storage_error_keeps_its_errno_when_pickled():
    """Callers tell a full disk from a broken one by ``errno``, as with every OSError."""
    error = StorageError(errno.ENOSPC, "the disk is full", "a.npy")

    again = pickle.loads(pickle.dumps(error))

    assert (again.errno, again.strerror, again.filename) == (errno.ENOSPC, "the disk is full", "a.npy")


def test_a_storage_error_keeps_its_type_whatever_its_errno():
    """``OSError(ENOENT, …)`` turns itself into a FileNotFoundError; ours must stay what they are."""
    assert type(StorageError(errno.ENOENT, "gone")) is StorageError


def test_the_tree_is_as_it_is_drawn():
    """The drawing on top of the module is where people look which error to catch."""
    names = {kind.__name__ for kind in ALL}
    real = {kind.__name__: next((base.__name__ for base in kind.__bases__ if base in ALL), None) for kind in ALL}

    drawn = drawn_parents()

    assert drawn.keys() == names
    assert drawn == real


def test_everything_that_is_an_error_can_be_caught_as_one_type():
    assert [kind.__name__ for kind in ALL if not issubclass(kind, LuisyDirError)] == ["Abort", "Reject"]


def test_a_verdict_on_an_item_is_not_caught_with_the_errors():
    """A step that catches LuisyDirError must not swallow the rejection of its item."""
    assert not issubclass(Reject, LuisyDirError)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.DefinitionError, TypeError),
        (errors.SettingError, ValueError),
        (errors.StorageError, OSError),
        (errors.MemoryShortError, OSError),
    ],
)
def test_an_error_is_also_what_the_language_calls_it(kind, builtin):
    assert issubclass(kind, builtin)


def test_a_damaged_manifest_is_told_from_one_that_cannot_be_read_for_now():
    """The first is made anew by a run; whoever only reads catches both as one."""
    assert issubclass(errors.DamagedManifestError, errors.ManifestError)
    assert not issubclass(errors.ManifestError, errors.DamagedManifestError)


def test_files_that_are_gone_are_an_error_of_the_input_and_generations_of_the_output():
    assert issubclass(errors.TooManyDeletedError, errors.InputError)
    assert issubclass(errors.GenerationError, errors.OutputError)


def test_a_stale_directory_is_no_error():
    """A run brings it up to date, so that nobody need catch it."""
    assert not [kind for kind in ALL if "Stale" in kind.__name__]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_says_when_it_is_raised(kind):
    assert kind.__doc__ is not None
    assert kind.__doc__ != Exception.__doc__


def test_a_rejection_knows_its_reason():
    assert Reject("too dark").reason == "too dark"


def test_a_rejection_without_a_reason_says_so():
    assert str(Reject()) == "no reason given"
