"""Targets: what a task makes, as Luigi sees it."""

from luisy_dir.targets.directory import DirectoryTarget, RawDirectoryTarget
from luisy_dir.targets.file import (
    CSVTarget,
    FeatherTarget,
    HDFTarget,
    JSONTarget,
    LocalTarget,
    NpyTarget,
    NpzTarget,
    ParquetDirTarget,
    ParquetTarget,
    PickleTarget,
    XLSXTarget,
)

__all__ = [
    "CSVTarget",
    "DirectoryTarget",
    "FeatherTarget",
    "HDFTarget",
    "JSONTarget",
    "LocalTarget",
    "NpyTarget",
    "NpzTarget",
    "ParquetDirTarget",
    "ParquetTarget",
    "PickleTarget",
    "RawDirectoryTarget",
    "XLSXTarget",
]
