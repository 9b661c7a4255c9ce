"""Ready-made pipelines for images."""

from __future__ import annotations

from collections.abc import Iterable

from luisy_dir.compat.creevey.load_funcs.image import load_image_from_url
from luisy_dir.compat.creevey.pipelines.core import Function, Pipeline
from luisy_dir.compat.creevey.write_funcs.image import write_image


class DownloadImagePipeline(Pipeline):
    """Load images from URLs, and write them as files.

    Parameters
    ----------
    ops
        What is done between.
    """

    def __init__(self, ops: Function | Iterable[Function] | None = None) -> None:
        super().__init__(load_image_from_url, ops, write_image)


download_image_pipeline = DownloadImagePipeline()
