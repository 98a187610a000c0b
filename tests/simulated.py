"""A stream of which everything is known, gated like a real one, for tests and for `benchmarks/estimates.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Stream:
    """n documents of a student's stream: what it answers, what the teacher would answer, how likely it is asked."""

    predicted: NDArray[np.int64]
    truth: NDArray[np.int64]
    confidences: NDArray[np.float64]
    uncertainties: NDArray[np.float64]
    propensities: NDArray[np.float64]
    classes: int

    @property
    def agrees(self) -> NDArray[np.bool_]:
        return self.predicted == self.truth

    def draws(self, runs: int, *, seed: int = 0) -> Iterator[NDArray[np.int64]]:
        """Which documents are accepted, once a run: only the coins differ between runs."""
        # Not the generator that made the documents: a coin must know nothing of what it decides about.
        rng = np.random.default_rng([seed, 1])
        for _ in range(runs):
            yield np.flatnonzero(rng.random(len(self.truth)) < self.propensities)


def stream(
    *,
    classes: int,
    rate: float,
    documents: int = 20_000,
    signal: float = 4.0,
    overconfidence: float = 1.0,
    rarest: float = 1.0,
    floor_share: float = 0.05,
    seed: int = 0,
) -> Stream:
    """A student that is right as often as it says where `overconfidence` is 1, and too sure of itself above.

    Class frequencies fall geometrically to `rarest` times that of the commonest. Uncertainty is the entropy of what the
    student believes; propensities follow the gate's formula with a floor of `floor_share` times the rate.
    """
    rng = np.random.default_rng(seed)
    prior = np.geomspace(1.0, rarest, classes)
    truth = rng.choice(classes, documents, p=prior / prior.sum())
    # Of normal evidence with mean shift d for the true class, the exact posterior is the prior times exp(d * x).
    evidence = rng.normal(size=(documents, classes))
    strength = signal * rng.beta(2.0, 1.0, documents)
    evidence[np.arange(documents), truth] += strength
    logits = np.log(prior) + strength[:, None] * evidence
    believed = np.exp(overconfidence * (logits - logits.max(axis=1, keepdims=True)))
    believed /= believed.sum(axis=1, keepdims=True)
    entropy = -(believed * np.log(np.maximum(believed, 1e-300))).sum(axis=1) / np.log(classes)
    uncertainties = np.clip(entropy, 0.0, 1.0)
    return Stream(
        predicted=believed.argmax(axis=1),
        truth=truth,
        confidences=believed.max(axis=1),
        uncertainties=uncertainties,
        propensities=gated(uncertainties, rate=rate, floor=floor_share * rate),
        classes=classes,
    )


def gated(uncertainties: NDArray[np.float64], *, rate: float, floor: float) -> NDArray[np.float64]:
    """The gate's formula with the scale at which its mean is the rate; found by bisection."""
    low, high = 0.0, 1e6
    for _ in range(60):
        scale = (low + high) / 2
        propensities = floor + (1 - floor) * np.minimum(1.0, scale * uncertainties)
        low, high = (scale, high) if propensities.mean() < rate else (low, scale)
    return propensities
