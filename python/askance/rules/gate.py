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
Disagreement = Literal["vote_entropy", "consensus_kl"]


class Opening(NamedTuple):
    """How far the gate is open for a batch: q = floor + (1 - floor) * min(1, scale * u^exponent).

    A document whose predicted label is among `scales` takes the scale that stands there.
    """

    floor: float
    scale: float
    scales: tuple[tuple[str, float], ...] = ()

    def shut(self) -> Opening:
        """With nothing left but the floor."""
        return Opening(self.floor, 0.0)


CLOSED = Opening(floor=0.0, scale=0.0)
"""q = 0 for every document."""


class Decided(NamedTuple):
    """What the gate says of n scored records, as `_kernel.Decisions` has it; every array has shape (n,)."""

    labels: NDArray[np.int32]
    confidences: NDArray[np.float32]
    uncertainties: NDArray[np.float32]
    propensities: NDArray[np.float32]
    accepted: NDArray[np.bool_]
    finite: NDArray[np.bool_]

    def __repr__(self) -> str:
        return f"<Decided: {self.accepted.sum()} of {len(self.accepted)} documents accepted>"


class Draws(NamedTuple):
    """The gate's answer for n records that no student has scored, each of uncertainty 1; arrays of shape (n,)."""

    propensities: NDArray[np.float32]
    accepted: NDArray[np.bool_]

    def __repr__(self) -> str:
        return f"<Draws: {self.accepted.sum()} of {len(self.accepted)} documents accepted>"


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
        labels: Sequence[str] = (),
        disagreement: NDArray[np.float32] | None = None,
    ) -> Decided:
        """Score n rows of `logits`, (n, K) float32, and toss their coins.

        `labels` names the K columns, for an opening with scales of their own. A committee's `disagreement`, (n,) in
        [0, 1], takes the place of the measure; a row with a non-finite logit is of uncertainty 1 all the same.
        """
        topics, partitions, offsets = _key(coordinates)
        scored = _kernel.decide(
            logits=logits,
            temperature=temperature,
            measure=self.measure,
            floor=opening.floor,
            exponent=self.exponent,
            scale=opening.scale,
            seed=self.seed,
            topic=topics[0],
            partitions=partitions,
            offsets=offsets,
        )
        decided = Decided(
            scored.labels,
            scored.confidences,
            scored.uncertainties,
            scored.propensities,
            scored.accepted,
            scored.finite,
        )
        is_of_one_topic = topics.count(topics[0]) == len(topics)
        if disagreement is None and not opening.scales and is_of_one_topic:
            return decided
        # The kernel takes one topic, one scale and its own measures. What differs is worked out here.
        uncertainties, differs = decided.uncertainties, np.zeros(len(logits), dtype=np.bool_)
        if disagreement is not None:
            uncertainties, differs = np.where(decided.finite, disagreement, np.float32(1.0)), ~differs
        scales = np.full(len(logits), opening.scale)
        for label, scale in opening.scales:
            if label in labels:
                own = decided.labels == labels.index(label)
                scales[own] = scale
                differs = differs | own
        weighed = self._propensities(uncertainties, opening.floor, scales)
        propensities = np.where(differs, weighed, decided.propensities)
        accepted = self._uniform(topics, partitions, offsets) < propensities.astype(np.float64)
        return decided._replace(uncertainties=uncertainties, propensities=propensities, accepted=accepted)

    def draw(
        self,
        opening: Opening,
        coordinates: Sequence[Coordinates],
        *,
        chosen: NDArray[np.bool_] | None = None,
    ) -> Draws:
        """Toss the coins of records no student has scored: they are taken to be of uncertainty 1.

        Those `chosen`, (n,), for a seed set have propensity 1: their draw cannot fail.
        """
        propensity = np.float32(opening.floor + (1.0 - opening.floor) * min(1.0, opening.scale))
        draws = self._uniform(*_key(coordinates))
        propensities = np.full(len(draws), propensity)
        if chosen is not None:
            propensities[chosen] = np.float32(1.0)
        return Draws(propensities, draws < propensities.astype(np.float64))

    def _uniform(
        self, topics: Sequence[str], partitions: NDArray[np.int32], offsets: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        draws = np.empty(len(topics))
        for topic in dict.fromkeys(topics):
            own = np.array([each == topic for each in topics])
            draws[own] = _kernel.uniform(seed=self.seed, topic=topic, partitions=partitions[own], offsets=offsets[own])
        return draws

    def _propensities(
        self, uncertainties: NDArray[np.float32], floor: float, scales: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        powers = uncertainties.astype(np.float64) ** self.exponent
        found: NDArray[np.float32] = (floor + (1.0 - floor) * np.minimum(1.0, scales * powers)).astype(np.float32)
        return found


M_RARU_OPENING = Opening(floor=0.0, scale=1.0)
"""Accept with a probability equal to the uncertainty."""


def _key(coordinates: Sequence[Coordinates]) -> tuple[tuple[str, ...], NDArray[np.int32], NDArray[np.int64]]:
    topics, partitions, offsets = zip(*coordinates, strict=True)
    return topics, np.array(partitions, dtype=np.int32), np.array(offsets, dtype=np.int64)
