"""What pipelines are fed with."""

from luisy_dir.compat.creevey.util.util import find_files_with_extensions

__all__ = ["find_files_with_extensions"]
