"""Randomness that belongs to an item: the same in whatever batch, order or worker it is drawn."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    import numpy as np


def rng_for(seed: int, epoch: int, key: str, operation: str) -> np.random.Generator:
    """Random numbers that depend on these four only.

    They come from numpy's Philox, whose key is xxh3-128 of the four as text, joined by line feeds.

    Parameters
    ----------
    seed
        Of the dataset or its batches.
    epoch
        From 0.
    key
        Of the item; empty for what is drawn for all of them together.
    operation
        What the numbers are drawn for, so that two things that are done with an item do not draw the same ones. It has
        no line feed, which a key may have.

    Examples
    --------
    >>> float(rng_for(0, 1, "img_42", "crop").random()) == float(rng_for(0, 1, "img_42", "crop").random())
    True
    """
    import numpy as np

    text = f"{operator.index(seed)}\n{operator.index(epoch)}\n{key}\n{operation}"
    digest = xxhash.xxh3_128_intdigest(text.encode(errors="surrogatepass"))
    return np.random.Generator(np.random.Philox(key=digest))
