"""Lardon's names: a folder of arrays is compiled once, and opens again as a lazy list."""

from luisy_dir.compat.lardon.compiling import LardonParser, checkdir, compile, default_callback  # noqa: A004 - its name
from luisy_dir.compat.lardon.entries import OfflineEntry
from luisy_dir.compat.lardon.lists import OfflineDataList
from luisy_dir.compat.lardon.parsing import is_parsed, parse_folder
from luisy_dir.compat.lardon.selecting import Selector, randslice, seed

__all__ = [
    "LardonParser",
    "OfflineDataList",
    "OfflineEntry",
    "Selector",
    "checkdir",
    "compile",
    "default_callback",
    "is_parsed",
    "parse_folder",
    "randslice",
    "seed",
]
