"""Randomness of a dataset: a generator for what is done with one item in one epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    import numpy as np


def rng_for(seed: int, epoch: int, key: str, operation: str) -> np.random.Generator:
    """Generator for one operation on one item in one epoch: the same wherever and whenever it is asked for.

    The four are the key of the counter-based generator Philox, so that what is drawn does not depend on the size of
    batches, their order, or the number of workers.

    Parameters
    ----------
    seed
        Of the dataset or its batches.
    epoch
        Number of the pass over the items, from 0 on.
    key
        Of the item.
    operation
        Name of what draws.

    Examples
    --------
    >>> rng_for(0, 1, "cats/1", "crop").integers(100) == rng_for(0, 1, "cats/1", "crop").integers(100)
    np.True_
    """
    import numpy as np

    text = f"{seed}\n{epoch}\n{operation}\n{key}".encode()
    return np.random.Generator(np.random.Philox(key=xxhash.xxh3_128_intdigest(text)))
