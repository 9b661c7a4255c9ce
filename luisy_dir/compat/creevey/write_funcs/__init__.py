"""Functions that write an output."""

from luisy_dir.compat.creevey.write_funcs.image import write_image

__all__ = ["write_image"]
