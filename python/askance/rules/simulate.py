"""What a budget buys, before it is spent: served accuracy against teacher calls, for a grid of policies and shares.

A document is answered by the teacher where it is asked (its answer counts as right), else by the student. Under a
policy that asks with probability p the served answer is right with probability (1 - p) * student right + p, so nothing
has to be drawn: the mean over documents is the policy's expected accuracy. Where only accepted documents have a label,
each counts 1/q times (off-policy: the logged gate drew them, another policy is judged), and the interval says how far
to trust it. The student is taken as it is; what it would learn from the labels is not in the figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from askance.manifest import Estimate  # noqa: TC001 - msgspec resolves it at run time
from askance.rules.estimate import Guesses, estimate_agreement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

POLICIES = ("uncertainty", "threshold", "uniform")
"""`uncertainty`: probability proportional to the uncertainty, as the gate draws; `threshold`: the most uncertain ones,
always; `uniform`: all alike."""


class Outcome(msgspec.Struct, frozen=True):
    """One cell of the grid."""

    policy: str
    share: float
    """Of the documents, on average."""
    calls: float
    """Teacher calls for all documents."""
    accuracy: Estimate | None
    """Of the answers served, with a 95 % interval; None: too few labels."""


def simulate(
    uncertainties: NDArray[np.float64],
    confidences: NDArray[np.float64],
    known: NDArray[np.int64],
    student_right: NDArray[np.bool_],
    propensities: NDArray[np.float64],
    *,
    shares: Sequence[float],
    policies: Sequence[str] = POLICIES,
) -> list[Outcome]:
    """The grid, for N documents of which `known` (n places) have a right answer; the teacher's answers count as right.

    `uncertainties` and `confidences` are of all N; `student_right` and `propensities` of the n known ones, in the order
    of `known`. The propensities are 1 where all documents are known. The student's confidences are the difference
    estimator's guesses.
    """
    documents = len(uncertainties)
    found = []
    for policy in policies:
        for share in shares:
            asked = probabilities(policy, uncertainties, share)
            served = (1.0 - asked[known]) * student_right + asked[known]
            guessed = (1.0 - asked) * confidences + asked
            guesses = Guesses(guessed[known], float(guessed.sum()), documents)
            accuracy = estimate_agreement(served, propensities, guesses=guesses)
            found.append(Outcome(policy, share, share * documents, accuracy))
    return found


def probabilities(policy: str, uncertainties: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """With what probability the policy asks about each document; their mean is the share.

    >>> u = np.array([0.1, 0.2, 0.4, 0.5])
    >>> [probabilities(policy, u, 0.5).round(2).tolist() for policy in ("threshold", "uniform")]
    [[0.0, 0.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5]]
    """
    if policy == "uniform":
        return np.full(len(uncertainties), share)
    total = share * len(uncertainties)
    if policy == "threshold":
        order = np.argsort(-uncertainties, kind="stable")
        asked = np.empty(len(order))
        asked[order] = np.clip(total - np.arange(len(order)), 0.0, 1.0)
        return asked
    if policy != "uncertainty":
        msg = f"there is no policy {policy!r}; there are: {', '.join(POLICIES)}"
        raise ValueError(msg)
    low, high = 0.0, 1.0
    while high < 1e9 and float(np.minimum(1.0, high * uncertainties).sum()) < total:
        high *= 2.0
    for _ in range(60):
        scale = (low + high) / 2.0
        met = float(np.minimum(1.0, scale * uncertainties).sum()) >= total
        low, high = (low, scale) if met else (scale, high)
    return np.minimum(1.0, high * uncertainties)
