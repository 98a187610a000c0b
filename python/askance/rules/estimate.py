"""What the labels already paid for say of a student's quality on the whole stream.

A labelled document was accepted with a known probability, its propensity q, so it stands for 1/q documents of the
stream. Counting it so undoes the gate's preference for hard documents; counting accepted documents alike does not,
and makes a good student look bad.

The estimator is Hájek's self-normalised ratio (Hájek 1971; Särndal, Swensson & Wretman, Model Assisted Survey
Sampling, 1992, section 5.7), its variance the linearised one (ibid. section 5.5), with the superpopulation form that
does not vanish where everything was accepted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from askance.manifest import Estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

MINIMUM_EFFECTIVE = 10.0
"""Below this effective sample size there is no figure: a 95 % interval would span most of [0, 1]."""

Z = 1.959963984540054
"""The standard normal distribution's 97.5 % point."""


def estimate_agreement(agrees: ArrayLike, propensities: ArrayLike) -> Estimate | None:
    """The share of the stream's documents on which the student agrees with the teacher, with a 95 % interval.

    `agrees` holds n booleans and `propensities` the n probabilities with which those documents were accepted. The
    interval is Wilson's (1927) at the sample size that has the linearised variance, or at the effective sample size
    if that is smaller (as it is when no document disagrees, where the linearised variance is 0). It lies in [0, 1]
    and contains the value. None while the effective sample size is below `MINIMUM_EFFECTIVE`.

    >>> estimate = estimate_agreement([True] * 90 + [False] * 10, [1.0] * 100)
    >>> round(estimate.value, 3), round(estimate.low, 3), round(estimate.high, 3)
    (0.9, 0.825, 0.945)
    """
    y, w = _checked(agrees, propensities)
    effective = _effective(w)
    if effective < MINIMUM_EFFECTIVE:
        return None
    value = min(1.0, float(w @ y / w.sum()))
    size = _size(value * (1.0 - value), _linearised_variance(y, w, value), effective)
    centre = (value + Z**2 / (2.0 * size)) / (1.0 + Z**2 / size)
    reach = Z * math.sqrt(value * (1.0 - value) / size + Z**2 / (4.0 * size**2)) / (1.0 + Z**2 / size)
    return Estimate(
        value=value,
        low=min(value, max(0.0, centre - reach)),
        high=max(value, min(1.0, centre + reach)),
        documents=len(y),
        effective=effective,
    )


def estimate_difference(
    challenger_agrees: ArrayLike, champion_agrees: ArrayLike, propensities: ArrayLike
) -> Estimate | None:
    """Challenger's agreement less the champion's, both judged on the same n documents, with a 95 % interval.

    Pairing cancels what is hard for both. The interval is Agresti & Min's (Statistics in Medicine 24, 2005): half a
    document is added to each of the four outcomes of a pair, so that students which never differ in the sample are
    not declared equal for certain; the sample size is chosen as in `estimate_agreement`. In [-1, 1], or None.
    """
    challenger, w = _checked(challenger_agrees, propensities)
    champion, _ = _checked(champion_agrees, propensities)
    effective = _effective(w)
    if effective < MINIMUM_EFFECTIVE:
        return None
    difference = challenger - champion
    value = float(w @ difference / w.sum())
    gained = float(w @ (difference > 0) / w.sum())
    lost = float(w @ (difference < 0) / w.sum())
    variance = _linearised_variance(difference, w, value)
    size = _size(gained + lost - value**2, variance, effective)
    gained = (gained * size + 0.5) / (size + 2.0)
    lost = (lost * size + 0.5) / (size + 2.0)
    centre = gained - lost
    reach = Z * math.sqrt((gained + lost - centre**2) / (size + 2.0))
    return Estimate(
        value=value,
        low=min(value, max(-1.0, centre - reach)),
        high=max(value, min(1.0, centre + reach)),
        documents=len(difference),
        effective=effective,
    )


def effective_size(propensities: ArrayLike) -> float:
    """Kish's effective sample size (sum w)^2 / sum w^2 with w = 1/q: how many equally likely documents are as good.

    >>> effective_size([0.5] * 8)
    8.0
    """
    _, w = _checked(np.ones(np.shape(propensities)), propensities)
    return _effective(w)


def _checked(outcomes: ArrayLike, propensities: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y = np.asarray(outcomes, dtype=np.float64)
    q = np.asarray(propensities, dtype=np.float64)
    if y.ndim != 1 or y.shape != q.shape:
        msg = f"outcomes have shape {y.shape}, propensities {q.shape}: both have to be (n,), one entry a document"
        raise ValueError(msg)
    impossible: Sequence[int] = np.flatnonzero(~((q > 0.0) & (q <= 1.0))).tolist()
    if impossible:
        first = impossible[0]
        msg = f"propensity {first} is {q[first]:g}: a document that was accepted has one in (0, 1]"
        raise ValueError(msg)
    return y, 1.0 / q


def _effective(w: NDArray[np.float64]) -> float:
    return float(w.sum() ** 2 / (w @ w)) if len(w) else 0.0


def _linearised_variance(y: NDArray[np.float64], w: NDArray[np.float64], value: float) -> float:
    residuals = w * (y - value)
    return float(residuals @ residuals) / float(w.sum()) ** 2 * len(y) / (len(y) - 1)


def _size(spread: float, variance: float, effective: float) -> float:
    """How many equally likely documents would have this variance, but never more than the effective size."""
    return min(effective, spread / variance) if variance > 0.0 and spread > 0.0 else effective
