"""The gate: from uncertainty to a propensity to a keyed, weighted coin.

Owns the invariant that the recorded propensity is the one the draw was compared with, to the bit: whatever limits the
teacher's calls moves the `Opening` before a batch is drawn, and nothing vetoes after.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from askance import _kernel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from askance.records import Coordinates

Measure = Literal["entropy", "margin", "least_confidence"]


class Opening(NamedTuple):
    """How far the gate is open for a batch: q = floor + (1 - floor) * min(1, scale * u^exponent)."""

    floor: float
    scale: float


CLOSED = Opening(floor=0.0, scale=0.0)
"""q = 0 for every document."""


class Draws(NamedTuple):
    """The gate's answer for n records that no student has scored, each of uncertainty 1; arrays of shape (n,)."""

    propensities: NDArray[np.float32]
    accepted: NDArray[np.bool_]


@dataclass(frozen=True)
class Gate:
    """The fixed part of the policy; with `M_RARU_OPENING` and exponent 1 it is M-RARU (arXiv 2511.11574)."""

    measure: Measure = "entropy"
    exponent: float = 1.0
    seed: int = 0

    def decide(
        self,
        logits: NDArray[np.float32],
        *,
        temperature: float,
        opening: Opening,
        coordinates: Sequence[Coordinates],
    ) -> _kernel.Decisions:
        """Score n rows of `logits`, (n, K) float32, and toss their coins; all records are of one topic."""
        topic, partitions, offsets = _key(coordinates)
        return _kernel.decide(
            logits=logits,
            temperature=temperature,
            measure=self.measure,
            floor=opening.floor,
            exponent=self.exponent,
            scale=opening.scale,
            seed=self.seed,
            topic=topic,
            partitions=partitions,
            offsets=offsets,
        )

    def draw(self, opening: Opening, coordinates: Sequence[Coordinates]) -> Draws:
        """Toss the coins of records no student has scored: they are taken to be of uncertainty 1."""
        topic, partitions, offsets = _key(coordinates)
        propensity = np.float32(opening.floor + (1.0 - opening.floor) * min(1.0, opening.scale))
        draws = _kernel.uniform(seed=self.seed, topic=topic, partitions=partitions, offsets=offsets)
        return Draws(np.full(len(draws), propensity), draws < np.float64(propensity))


M_RARU_OPENING = Opening(floor=0.0, scale=1.0)
"""Accept with a probability equal to the uncertainty."""


def _key(coordinates: Sequence[Coordinates]) -> tuple[str, NDArray[np.int32], NDArray[np.int64]]:
    topics, partitions, offsets = zip(*coordinates, strict=True)
    if topics.count(topics[0]) != len(topics):
        msg = "the records of a batch must be of one topic; split the batch by topic"
        raise ValueError(msg)
    return topics[0], np.array(partitions, dtype=np.int32), np.array(offsets, dtype=np.int64)
