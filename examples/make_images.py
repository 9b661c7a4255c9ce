"""Cut crops out of the photographs that scikit-image ships, as a folder of real PNG files.

Usage: python make_images.py FOLDER [COUNT]
"""

from __future__ import annotations

import os
import sys

import numpy as np
from skimage import data, io

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
SIZES = (48, 64, 96, 128)
COUNT = 240


def make_images(folder: str, count: int = COUNT) -> int:
    """Write ``count`` PNG files of several sizes into two nested folders; return how many there are."""
    rng = np.random.default_rng(0)
    photographs = {name: getattr(data, name)() for name in PHOTOGRAPHS}
    for number in range(count):
        name = PHOTOGRAPHS[number % len(PHOTOGRAPHS)]
        photograph = photographs[name]
        size = SIZES[number // len(PHOTOGRAPHS) % len(SIZES)]
        row = rng.integers(photograph.shape[0] - size)
        column = rng.integers(photograph.shape[1] - size)
        nested = os.path.join(folder, "animals/cats" if name == "chelsea" else f"others/{name}")
        os.makedirs(nested, exist_ok=True)
        crop = photograph[row : row + size, column : column + size]
        io.imsave(os.path.join(nested, f"{name}_{number:04d}.png"), crop, check_contrast=False)
    return count


if __name__ == "__main__":
    made = make_images(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else COUNT)
    print(f"{made} images in {sys.argv[1]}")
