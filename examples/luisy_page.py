"""The long form, as luisy's documentation teaches it: tasks with a run() of their own, and a temporary directory.

Run it with::

    luigi --module luisy_page RedChannel --local-scheduler

:mod:`red_channel` beside it does the same in a third of the lines.
"""

import os
import pickle
import shutil
import tempfile

from skimage import io

import luisy_dir as luisy
from luisy_dir.decorators import make_directory_output


def read_image(filepath):
    """Read PNG files, with their path, which holds the image's name."""
    if filepath.endswith(".png"):
        return filepath, io.imread(filepath)


image_directory_output = make_directory_output(read_image)


@image_directory_output
@luisy.raw
class ExportDirectory(luisy.ExternalTask):
    """Input directory with (multiple) image files."""

    def get_folder_name(self):
        return ""


def write_file(data, filepath):
    """Pickle data into a file."""
    with open(filepath, "wb") as file:
        pickle.dump(data, file)


def read_file(filepath):
    """Unpickle a file."""
    with open(filepath, "rb") as file:
        return pickle.load(file)


def get_image_id(filepath):
    """The file's name without its suffix."""
    return os.path.splitext(os.path.basename(filepath))[0]


def move_file(source, destination):
    """Move a file; return where it is then."""
    shutil.move(source, destination)
    return destination


@luisy.interim
@luisy.requires(ExportDirectory)
class ToNumpy(luisy.Task):
    """Each image as a pickled array; the task's own output is the list of these files."""

    def run(self):
        processed_files = []
        with tempfile.TemporaryDirectory() as tmp_dir:
            for filepath, image in self.input().read():
                filename = get_image_id(filepath) + ".pkl"
                write_file(image, os.path.join(tmp_dir, filename))
                processed_files.append(filename)
            saved_files = [
                move_file(source=os.path.join(tmp_dir, file), destination=os.path.join(self.get_outdir(), file))
                for file in processed_files
            ]
        self.write(saved_files)


@luisy.final
@luisy.requires(ToNumpy)
class RedChannel(luisy.Task):
    """The red channel of each image, in the same way."""

    def read_files(self):
        """Name and array of each image."""
        for filepath in self.input().read():
            yield get_image_id(filepath), read_file(filepath)

    def run(self):
        processed_files = []
        with tempfile.TemporaryDirectory() as tmp_dir:
            for image_id, data in self.read_files():
                filename = image_id + ".pkl"
                write_file(data[:, :, 0], os.path.join(tmp_dir, filename))
                processed_files.append(filename)
            saved_files = [
                move_file(source=os.path.join(tmp_dir, file), destination=os.path.join(self.get_outdir(), file))
                for file in processed_files
            ]
        self.write(saved_files)
