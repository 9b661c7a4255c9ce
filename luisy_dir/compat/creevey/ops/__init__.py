"""Functions that process data."""

from luisy_dir.compat.creevey.ops.ops import get_report_output_decorator, report_output

__all__ = ["get_report_output_decorator", "report_output"]
