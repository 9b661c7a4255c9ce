"""BatchFlow's names: batches with named components, datasets that give them, pipelines of their actions."""

from luisy_dir.batch.actions import apply_parallel
from luisy_dir.batch.batch import Batch
from luisy_dir.compat.batchflow.datasets import Dataset, DatasetIndex, FilesIndex
from luisy_dir.compat.batchflow.expressions import B, D, F, L, P, R
from luisy_dir.compat.batchflow.pipelines import Pipeline, action

__all__ = [
    "B",
    "Batch",
    "D",
    "Dataset",
    "DatasetIndex",
    "F",
    "FilesIndex",
    "L",
    "P",
    "Pipeline",
    "R",
    "action",
    "apply_parallel",
]
