"""Functions that name outputs."""

from luisy_dir.compat.creevey.path_funcs.path_funcs import (
    combine_outdir_dirname_extension,
    join_outdir_filename_extension,
    join_outdir_hashed_path_extension,
    replace_dir,
)

__all__ = [
    "combine_outdir_dirname_extension",
    "join_outdir_filename_extension",
    "join_outdir_hashed_path_extension",
    "replace_dir",
]
