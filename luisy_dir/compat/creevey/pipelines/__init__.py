"""Pipelines, and where ready-made ones lie."""

from luisy_dir.compat.creevey.pipelines.core import CustomReportingPipeline, Pipeline

__all__ = ["CustomReportingPipeline", "Pipeline"]
