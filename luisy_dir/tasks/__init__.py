"""Tasks: of a directory, of a single file, and of nothing but what they require."""

from luisy_dir.tasks.directory import DirectoryTask
from luisy_dir.tasks.file import ConcatenationTask, ExternalTask, Task, WrapperTask
from luisy_dir.tasks.layers import LayerTask

__all__ = ["ConcatenationTask", "DirectoryTask", "ExternalTask", "LayerTask", "Task", "WrapperTask"]
