"""Three layers: a folder of images, the same as arrays, and their red channel.

Run it in the folder that holds this file::

    PYTHONPATH=. luigi --module red_channel RedChannel --local-scheduler
"""

from typing import Any

import luisy_dir as luisy


def read_image(filepath: str) -> Any:
    """Read PNG files; None says that a file is not ours."""
    from skimage import io  # takes half a second, which is spent in the workers

    return io.imread(filepath) if filepath.endswith(".png") else None


@luisy.make_directory_output(read_image)
@luisy.raw
class ExportDirectory(luisy.ExternalTask):
    """The folder of images that somebody has exported."""

    def get_folder_name(self) -> str:
        """``images``, in the layer raw."""
        return "images"


@luisy.interim
@luisy.requires(ExportDirectory)
@luisy.directory_output(".npy")
class ToNumpy(luisy.DirectoryTask):
    """Each image as an array of shape (rows, columns, 3), uint8."""

    def process(self, image: Any) -> Any:
        """The image as it is."""
        return image


@luisy.final
@luisy.requires(ToNumpy)
@luisy.directory_output(".npy")
class RedChannel(luisy.DirectoryTask):
    """The red channel of each image, shape (rows, columns), uint8."""

    def process(self, image: Any, item: luisy.Item) -> Any:
        """The first of the three channels."""
        item.meta["brightness"] = float(image.mean())  # a column of the report
        return image[..., 0]
