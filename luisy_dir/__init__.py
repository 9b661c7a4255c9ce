"""One Luigi task, a million files: directories that are processed item by item and published as a whole."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luigi import (
        BoolParameter,
        DateIntervalParameter,
        DateParameter,
        DictParameter,
        FloatParameter,
        IntParameter,
        ListParameter,
        Parameter,
        TupleParameter,
    )

    from luisy_dir import checks, images
    from luisy_dir.batch.actions import apply_parallel
    from luisy_dir.batch.batch import Batch
    from luisy_dir.batch.file_index import FileIndex
    from luisy_dir.batch.flow import Flow
    from luisy_dir.batch.source import BatchSource
    from luisy_dir.dataset.changes import window
    from luisy_dir.dataset.directory import DirectoryDataset, concat, open_dataset
    from luisy_dir.decorators import (
        auto_filename,
        csv_output,
        directory_output,
        directory_task,
        feather_output,
        final,
        hdf_output,
        inherits,
        interim,
        json_output,
        make_directory_output,
        make_output_directory,
        npy_output,
        npz_output,
        parquet_output,
        parquetdir_output,
        pickle_output,
        project_name,
        raw,
        requires,
        xlsx_output,
    )
    from luisy_dir.errors import Abort, Reject
    from luisy_dir.formats import Format, register_format
    from luisy_dir.item import Item
    from luisy_dir.lineage import trace, why
    from luisy_dir.output import NoOutput, Output
    from luisy_dir.pipeline import Pipeline
    from luisy_dir.settings import scratch, set_working_dir
    from luisy_dir.tasks import ConcatenationTask, DirectoryTask, ExternalTask, Task, WrapperTask
    from luisy_dir.writing import DatasetWriter, write_dataset

__version__ = "0.1.0"

__all__ = [
    "Abort",
    "Batch",
    "BatchSource",
    "BoolParameter",
    "ConcatenationTask",
    "DatasetWriter",
    "DateIntervalParameter",
    "DateParameter",
    "DictParameter",
    "DirectoryDataset",
    "DirectoryTask",
    "ExternalTask",
    "FileIndex",
    "FloatParameter",
    "Flow",
    "Format",
    "IntParameter",
    "Item",
    "ListParameter",
    "NoOutput",
    "Output",
    "Parameter",
    "Pipeline",
    "Reject",
    "Task",
    "TupleParameter",
    "WrapperTask",
    "apply_parallel",
    "auto_filename",
    "checks",
    "concat",
    "csv_output",
    "directory_output",
    "directory_task",
    "feather_output",
    "final",
    "hdf_output",
    "images",
    "inherits",
    "interim",
    "json_output",
    "make_directory_output",
    "make_output_directory",
    "npy_output",
    "npz_output",
    "open_dataset",
    "parquet_output",
    "parquetdir_output",
    "pickle_output",
    "project_name",
    "raw",
    "register_format",
    "requires",
    "scratch",
    "set_working_dir",
    "trace",
    "why",
    "window",
    "write_dataset",
    "xlsx_output",
]

_OF_LUIGI = {
    "BoolParameter",
    "DateIntervalParameter",
    "DateParameter",
    "DictParameter",
    "FloatParameter",
    "IntParameter",
    "ListParameter",
    "Parameter",
    "TupleParameter",
}
_MODULES = {
    "Abort": "errors",
    "Batch": "batch.batch",
    "BatchSource": "batch.source",
    "FileIndex": "batch.file_index",
    "Flow": "batch.flow",
    "apply_parallel": "batch.actions",
    "ConcatenationTask": "tasks",
    "DirectoryDataset": "dataset.directory",
    "DatasetWriter": "writing",
    "DirectoryTask": "tasks",
    "ExternalTask": "tasks",
    "Format": "formats",
    "Item": "item",
    "NoOutput": "output",
    "Output": "output",
    "Pipeline": "pipeline",
    "Reject": "errors",
    "Task": "tasks",
    "WrapperTask": "tasks",
    "concat": "dataset.directory",
    "open_dataset": "dataset.directory",
    "register_format": "formats",
    "scratch": "settings",
    "set_working_dir": "settings",
    "trace": "lineage",
    "why": "lineage",
    "window": "dataset.changes",
    "write_dataset": "writing",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: a worker that needs the core alone loads no luigi."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in {"checks", "images"}:
        return importlib.import_module(f"{__name__}.{name}")
    module = "luigi" if name in _OF_LUIGI else f"{__name__}.{_MODULES.get(name, 'decorators')}"
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
