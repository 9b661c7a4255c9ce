"""A state: how far somebody has got with the batches of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from luisy_dir.errors import StateError

_VERSION = 1


@dataclass
class Progress:
    """How far an iteration has got.

    Parameters
    ----------
    epoch
        From 0.
    consumed
        How many places of the epoch's order the caller has been given, of all ranks together.
    is_begun
        An iteration is, or was, at it.
    """

    epoch: int = 0
    consumed: int = 0
    is_begun: bool = False

    def begun(self) -> Progress:
        """Where the next iteration begins: here, or with the next epoch where another one has begun here."""
        return (
            Progress(self.epoch + 1, 0, is_begun=True) if self.is_begun else Progress(self.epoch, self.consumed, True)
        )

    def end(self) -> None:
        """The epoch has come to its end."""
        self.epoch, self.consumed, self.is_begun = self.epoch + 1, 0, False


@dataclass(frozen=True)
class State:
    """How far somebody has got, and with what.

    Parameters
    ----------
    digest
        Of the items.
    seed
        Of the batches.
    shuffle
        Whether each epoch has a permutation of its own.
    epoch
        From 0.
    consumed
        How many places of the epoch's order are done with.
    """

    digest: str
    seed: int
    shuffle: bool
    epoch: int
    consumed: int

    def as_dict(self) -> dict[str, Any]:
        """To be saved."""
        return {"version": _VERSION, **asdict(self)}

    @classmethod
    def of_dict(cls, saved: Mapping[str, Any], ours: State, length: int) -> State:
        """What was saved, if that is of the same data in the same order as ours.

        Parameters
        ----------
        saved
            By :meth:`as_dict`.
        ours
            With what it has to agree.
        length
            How many places an order has.

        Raises
        ------
        StateError
            It is not.
        """
        if not isinstance(saved, Mapping) or saved.get("version") != _VERSION:
            raise StateError(f"This is no state of batches that this version of luisy_dir knows: {saved!r}.")
        state = cls._parsed(saved)
        differing = [
            f"{name} is {getattr(ours, name)!r}, and was {getattr(state, name)!r}"
            for name in ("digest", "seed", "shuffle")
            if getattr(ours, name) != getattr(state, name)
        ]
        if differing:
            raise StateError(
                f"The state is not of these batches: {'; '.join(differing)}. Where the digest differs, other data was "
                "published, or these are other items or in another order: open the generation that the state was saved "
                "of. Give the same seed and shuffle, or begin anew without the state."
            )
        if state.epoch < 0 or not 0 <= state.consumed <= length:
            raise StateError(
                f"The state is damaged: of {length} items, {state.consumed} are done with in epoch {state.epoch}."
            )
        return state

    @classmethod
    def _parsed(cls, saved: Mapping[str, Any]) -> State:
        kinds = {"digest": str, "seed": int, "shuffle": bool, "epoch": int, "consumed": int}
        values: dict[str, Any] = {name: saved.get(name) for name in kinds}
        for name, kind in kinds.items():
            if type(values[name]) is not kind:
                raise StateError(f"The state is damaged: its {name} is {values[name]!r}.")
        return cls(**values)
