"""Images and their masks, augmented together: two directories, one batch with two components, one contact sheet.

Run it with the name of a folder, which need not exist::

    python examples/images_and_masks.py coins

It writes ``coins/coins.png``: in the first row, parts of a picture of coins, with the outlines of their masks; below
them, what became of each in three rounds.
"""

import os
import sys

import luigi
import numpy as np
from skimage import data, filters, io, morphology, segmentation, transform

import luisy_dir as luisy

PLACES = [(75, 30), (25, 130), (25, 225), (110, 10), (110, 110), (110, 230), (200, 60), (200, 170)]
SIDE = 96
ROUNDS = 3


@luisy.make_directory_output(io.imread, regex_pattern=r"\.png$")
@luisy.raw
class Images(luisy.ExternalTask):
    """Parts of a picture."""

    def get_folder_name(self):
        return "images"


@luisy.make_directory_output(io.imread, regex_pattern=r"\.png$")
@luisy.raw
class Masks(luisy.ExternalTask):
    """Where the coins are in each of them."""

    def get_folder_name(self):
        return "masks"


class Scans(luisy.Batch):
    """Images of one channel, and a mask for each."""

    components = "images", "masks"

    @luisy.apply_parallel(requires_rng=True)
    def turn(self, image, rng, src=None):
        """Turn by any angle, and flip in one case of two; a mask keeps its two values."""
        order = 0 if src == "masks" else 1
        turned = transform.rotate(image, rng.uniform(-60, 60), order=order, mode="reflect", preserve_range=True)
        return (turned[:, ::-1] if rng.random() < 0.5 else turned).astype(image.dtype)

    @luisy.apply_parallel(requires_rng=True)
    def light(self, image, rng):
        """Make it darker or lighter."""
        return (255 * (image / 255) ** rng.uniform(0.5, 2)).astype(np.uint8)

    @luisy.apply_parallel
    def hide(self, image_and_mask):
        """Show what the mask leaves, on grey."""
        image, mask = image_and_mask
        return np.where(mask > 0, image, image // 3).astype(np.uint8)


# Both get the same angle, because src is a list. Only the image gets other light.
AUGMENT = luisy.Flow().turn(src=["images", "masks"]).light(src="images").hide(src=("images", "masks"), dst="shown")


@luisy.final
@luisy.requires(image=Images, mask=Masks)
@luisy.directory_output(".npz", batch_size=4, engine="threads")
class Augmented(luisy.DirectoryTask):
    """Image, mask, and what the mask leaves, as one round of augmentation has made them."""

    round = luisy.IntParameter()

    def process_batch(self, image, mask, items):
        names = "images", "masks", "shown"
        return AUGMENT.process(items, names, batch_class=Scans, epoch=self.round, images=image, masks=mask)


def make_raw(folder):
    """Cut a picture of coins into parts, and find the coins in them."""
    picture = data.coins()
    coins = morphology.opening(filters.gaussian(picture, 2, preserve_range=True) > 115, morphology.disk(4))
    for number, (row, column) in enumerate(PLACES):
        part = np.s_[row : row + SIDE, column : column + SIDE]
        for name, image in (("images", picture[part]), ("masks", coins[part] * np.uint8(255))):
            os.makedirs(f"{folder}/{name}", exist_ok=True)
            io.imsave(f"{folder}/{name}/coins_{number}.png", image, check_contrast=False)


def outlined(image, mask):
    """An image in colour, with the edge of its mask in orange."""
    colours = np.repeat(image[..., None], 3, axis=2)
    colours[segmentation.find_boundaries(mask > 0, mode="inner")] = (255, 140, 0)
    return np.pad(colours, ((2, 2), (2, 2), (0, 0)), constant_values=255)


def contact_sheet(rounds):
    """A row of what there was, and one for what became of it in each round."""
    rows = [list(map(outlined, Images().output().read(), Masks().output().read()))]
    rows += [[outlined(item["images"], item["masks"]) for item in directory.dataset()] for directory in rounds]
    return np.vstack([np.hstack(row) for row in rows])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("Name a folder, which need not exist: python examples/images_and_masks.py coins")
    luisy.set_working_dir(sys.argv[1])
    make_raw(f"{sys.argv[1]}/images_and_masks/raw")
    rounds = [Augmented(round=number) for number in range(1, ROUNDS + 1)]
    if luigi.build(rounds, local_scheduler=True):
        luisy.images.write_image(contact_sheet(rounds), f"{sys.argv[1]}/coins.png")
        print(f"The contact sheet is {sys.argv[1]}/coins.png.")
