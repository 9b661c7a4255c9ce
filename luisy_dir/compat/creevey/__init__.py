"""Creevey: its pipelines and their parts, under its own names."""

from luisy_dir.compat.creevey.pipelines import CustomReportingPipeline, Pipeline

__all__ = ["CustomReportingPipeline", "Pipeline"]
