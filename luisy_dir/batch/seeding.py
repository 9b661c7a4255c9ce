"""The seed of a batch, and the random numbers that come of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luisy_dir.batch.holding import Holding
from luisy_dir.dataset.arguments import whole

if TYPE_CHECKING:
    import numpy as np


class Seeded(Holding):
    """What a batch holds, with a seed; :class:`luisy_dir.Batch` says what the arguments are."""

    def __init__(self, *args: Any, seed: int, epoch: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._seed, self._epoch, self._draws = whole("seed", seed), whole("epoch", epoch), 0
        self._random: np.random.Generator | None = None
        self._random_seed: np.random.SeedSequence | None = None

    @property
    def seed(self) -> int:
        """Of all random numbers of the batch.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> Batch([0], seed=42).seed
        42
        """
        return self._seed

    @property
    def epoch(self) -> int:
        """To which the random numbers belong.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> Batch([0], epoch=3).epoch
        3
        """
        return self._epoch

    @property
    def random_seed(self) -> np.random.SeedSequence:
        """Of :attr:`random`: it depends on the seed, the epoch and all ids.

        Set to a SeedSequence or an integer, it is the seed of all random numbers of the batch.

        Raises
        ------
        SettingError
            Set to something else.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> batch = Batch([0, 1])
        >>> batch.random_seed = 42
        >>> batch.seed
        42
        """
        import numpy as np
        import xxhash

        if self._random_seed is None:
            ids = "".join(f"{len(text)}\n{text}" for text in map(str, self._ids.tolist()))
            digest = xxhash.xxh3_128_intdigest(f"{self._seed}\n{self._epoch}\n{ids}".encode(errors="surrogatepass"))
            self._random_seed = np.random.SeedSequence(digest)
        return self._random_seed

    @random_seed.setter
    def random_seed(self, seed: int | np.random.SeedSequence) -> None:
        import numpy as np

        if isinstance(seed, np.random.SeedSequence):
            self._random_seed = seed
            self._seed = int.from_bytes(seed.generate_state(4).tobytes(), "little")
        else:
            self._seed, self._random_seed = whole("seed", seed), None
        self._random, self._draws = None, 0

    @property
    def random(self) -> np.random.Generator:
        """Random numbers of the batch as a whole, which depend on seed, epoch, all ids and what was drawn before.

        Those that belong to an item are had with ``requires_rng``, and do not depend on what else is in the batch.

        Examples
        --------
        >>> from luisy_dir import Batch
        >>> float(Batch([0, 1]).random.normal(0, 1)) == float(Batch([0, 1]).random.normal(0, 1))
        True
        """
        import numpy as np

        with self._loading:
            if self._random is None:
                self._random = np.random.Generator(np.random.Philox(self.random_seed))
            return self._random

    @property
    def draws(self) -> int:
        """How many actions with random numbers there have been."""
        return self._draws

    def next_draw(self) -> int:
        """The number of an action with random numbers, which begins now."""
        with self._loading:
            self._draws += 1
            return self._draws - 1
