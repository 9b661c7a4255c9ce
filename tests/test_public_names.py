"""The public names: what users import, pinned so that none comes or goes unnoticed."""

from __future__ import annotations

import subprocess
import sys

import pytest

import luisy_dir

NAMES = [
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


def test_the_public_names_are_these():
    assert luisy_dir.__all__ == NAMES
    assert dir(luisy_dir) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_there_and_says_what_it_is(name):
    value = getattr(luisy_dir, name)
    assert value.__doc__
    assert value.__name__.removeprefix("luisy_dir.") == name.replace("make_output_directory", "make_directory_output")


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = luisy_dir.nothing


def test_importing_the_package_alone_loads_nothing_else():
    """What is asked for is imported when it is asked for."""
    code = (
        "import importlib, sys, typing; before = set(sys.modules); import luisy_dir\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["__future__", "luisy_dir"]


def test_a_pipeline_loads_nothing_of_what_reads_results():
    """Luigi's command line and each worker import the tasks, and few of them look into a dataset."""
    code = "import sys; import luisy_dir.decorators; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(answer.stdout.split())
    heavy = {
        "numpy",
        "pandas",
        "skimage",
        "luisy_dir.dataset",
        "luisy_dir.batch",
        "luisy_dir.writing",
        "luisy_dir.compat",
    }
    assert loaded & heavy == set()
