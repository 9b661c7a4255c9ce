"""One Luigi task, a million files: directories that are processed item by item and published as a whole."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luisy_dir.decorators import (
        directory_output,
        directory_task,
        final,
        interim,
        make_directory_output,
        raw,
        requires,
    )
    from luisy_dir.errors import Reject
    from luisy_dir.formats import Format, register_format
    from luisy_dir.item import Item
    from luisy_dir.settings import set_working_dir
    from luisy_dir.step import Output
    from luisy_dir.tasks import DirectoryTask, ExternalTask

__version__ = "0.1.0"

__all__ = [
    "DirectoryTask",
    "ExternalTask",
    "Format",
    "Item",
    "Output",
    "Reject",
    "directory_output",
    "directory_task",
    "final",
    "interim",
    "make_directory_output",
    "raw",
    "register_format",
    "requires",
    "set_working_dir",
]

_MODULES = {
    "DirectoryTask": "tasks",
    "ExternalTask": "tasks",
    "Format": "formats",
    "Item": "item",
    "Output": "step",
    "Reject": "errors",
    "register_format": "formats",
    "set_working_dir": "settings",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: a worker that needs the core alone loads no luigi."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'decorators')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
