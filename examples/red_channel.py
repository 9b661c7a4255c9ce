"""Three layers: a folder of images, the same as arrays, and their red channel.

Run it with::

    luigi --module red_channel RedChannel --local-scheduler
"""

from skimage import io

import luisy_dir as luisy


def read_image(filepath):
    """Read PNG files; None says that a file is not ours."""
    if filepath.endswith(".png"):
        return io.imread(filepath)


@luisy.make_directory_output(read_image)
@luisy.raw
class ExportDirectory(luisy.ExternalTask):
    """The folder of images that somebody has exported."""

    def get_folder_name(self):
        return "images"


@luisy.interim
@luisy.requires(ExportDirectory)
@luisy.directory_output(".npy")
class ToNumpy(luisy.DirectoryTask):
    """Each image as an array of shape (rows, columns, 3), uint8."""

    def process(self, image):
        return image


@luisy.final
@luisy.requires(ToNumpy)
@luisy.directory_output(".npy")
class RedChannel(luisy.DirectoryTask):
    """The red channel of each image, shape (rows, columns), uint8."""

    def process(self, image, item):
        item.meta["brightness"] = float(image.mean())
        return image[..., 0]
