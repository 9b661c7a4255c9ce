"""Images for the demo: crops of the photographs that scikit-image ships, as a folder of PNG files.

Usage: python -m luisy_dir.demo.images FOLDER [COUNT]
"""

from __future__ import annotations

import os
import sys

from luisy_dir.storage import system

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
SIZES = (48, 64, 96, 128)
COUNT = 240


def make_images(folder: str, count: int = COUNT) -> int:
    """Write PNG files of several sizes into nested folders; return how many there are.

    Parameters
    ----------
    folder
        Where they are written; it is made where there is none.
    count
        How many. Of the same count, every file has the same content.
    """
    import numpy as np
    from skimage import data, io

    rng = np.random.default_rng(0)
    photographs = {name: getattr(data, name)() for name in PHOTOGRAPHS}
    for number in range(count):
        name = PHOTOGRAPHS[number % len(PHOTOGRAPHS)]
        photograph = photographs[name]
        size = SIZES[number // len(PHOTOGRAPHS) % len(SIZES)]
        row = rng.integers(photograph.shape[0] - size)
        column = rng.integers(photograph.shape[1] - size)
        nested = os.path.join(folder, "animals/cats" if name == "chelsea" else f"others/{name}")
        system.makedirs(nested)
        crop = photograph[row : row + size, column : column + size]
        io.imsave(os.path.join(nested, f"{name}_{number:04d}.png"), crop, check_contrast=False)
    return count


def _main(arguments: list[str]) -> None:
    if len(arguments) not in {1, 2} or not all(number.isdecimal() for number in arguments[1:]):
        sys.exit("Usage: python -m luisy_dir.demo.images FOLDER [COUNT]")
    made = make_images(arguments[0], *map(int, arguments[1:]))
    sys.stdout.write(f"{made} images in {arguments[0]}\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
