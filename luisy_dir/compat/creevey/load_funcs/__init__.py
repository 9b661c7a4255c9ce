"""Functions that load an input into memory."""

from luisy_dir.compat.creevey.load_funcs.load_funcs import get_response

__all__ = ["get_response"]
