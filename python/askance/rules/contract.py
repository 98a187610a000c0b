"""The agreement contract: which answers the student may give so that the answers served agree with the teacher.

A document whose confidence reaches the threshold is answered by the student, every other one by the teacher. What is
promised is the share of *all served answers* that agree with the teacher's: the teacher's own agree by definition, so
the risk of a threshold is the share of documents that the student answers and answers otherwise. With confidence
1 - miss, over the draw of the calibration labels, that risk is at most 1 - target.

Thresholds are tested strictest first, each at level `miss`, until one cannot be shown to keep the promise
(fixed-sequence testing: Maurer, Hothorn & Lehmacher 1995; for risk control Angelopoulos, Bates, Candès, Jordan & Lei,
Learn then Test, 2021), so the last that could is valid without a price for having tried many. A single test is

- exact where every calibration label was drawn alike: binomial (Clopper & Pearson, Biometrika 26, 1934) for the long
  run, hypergeometric for the very next `horizon` documents;
- a bet (Waudby-Smith & Ramdas, Estimating means of bounded random variables by betting, JRSS B 86, 2024, with the
  importance weights of Waudby-Smith, Wu, Ramdas, Karampatziakis & Mineiro, Anytime-valid off-policy inference, 2022)
  where propensities differ.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

STEPS = 400
"""So many thresholds are tried, at equal steps of the share of documents that the student would answer."""

STAKES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.55, 0.8)
"""What part of the largest allowed stake each bettor bets; the capital is the mean over them: none has to be best."""


class Threshold(NamedTuple):
    """The least confidence at which the student answers, and what was known when it was chosen."""

    confidence: float
    served: float
    """Share of the calibration documents, weighted, that the student would have answered."""
    risk: float
    """Estimated share of documents that it would have answered otherwise than the teacher."""
    labels: int


class Counted(NamedTuple):
    """What a bet has to know of calibration labels drawn with propensities that differ."""

    documents: int
    """All documents they were drawn from, labelled or not."""
    least: float
    """The least propensity any of those could have had."""


def choose_threshold(
    confidences: ArrayLike,
    disagrees: ArrayLike,
    propensities: ArrayLike,
    *,
    target: float,
    miss: float = 0.05,
    counted: Counted | None = None,
    horizon: int | None = None,
) -> Threshold | None:
    """The lowest threshold that keeps the contract, from n labelled documents the student was not trained on; or None.

    `counted` is needed unless all propensities are equal. `horizon` makes the promise one about the next so many
    documents, whose own chance is then part of the bound; it needs equal propensities. None means that the labels
    cannot show any threshold to be good enough: with a target of .98 and a miss of .05 fewer than 149 never can. Then
    every answer is the teacher's.
    """
    scores, wrong = np.asarray(confidences, dtype=np.float64), np.asarray(disagrees, dtype=np.bool_)
    q = np.asarray(propensities, dtype=np.float64)
    if not scores.shape == wrong.shape == q.shape or scores.ndim != 1:
        msg = f"shapes {scores.shape}, {wrong.shape} and {q.shape}: one confidence, outcome and propensity a document"
        raise ValueError(msg)
    if not (0.0 < target < 1.0 and 0.0 < miss < 1.0):
        msg = f"target is {target:g}, miss is {miss:g}: both lie between 0 and 1"
        raise ValueError(msg)
    if not len(q):
        return None
    alike = bool((q == q[0]).all())
    if not alike and counted is None:
        msg = "the propensities differ: say with `counted` how many documents the labels were drawn from"
        raise ValueError(msg)
    if horizon is not None and not alike:
        msg = "a horizon needs calibration labels that were all drawn with the same propensity"
        raise ValueError(msg)
    allowed = most_errors(len(scores), risk=1.0 - target, miss=miss, horizon=horizon) if alike else 0
    order = np.argsort(-scores, kind="stable")
    scores, wrong, w = scores[order], wrong[order], 1.0 / q[order]
    kept: Threshold | None = None
    for last in np.unique(np.linspace(0, len(scores) - 1, STEPS).astype(int)).tolist():
        # Equal confidences cannot be told apart: the threshold takes all of them.
        end = int(np.searchsorted(-scores, -scores[last], side="right"))
        errors = w[:end][wrong[:end]]
        if counted is not None and not alike:
            passed = bet_against(errors, counted, risk=1.0 - target) >= 1.0 / miss
        else:
            passed = len(errors) <= allowed
        if not passed:
            break
        whole = counted.documents if counted is not None and not alike else float(w.sum())
        kept = Threshold(float(scores[last]), float(w[:end].sum() / w.sum()), float(errors.sum() / whole), len(scores))
    return kept


def most_errors(labels: int, *, risk: float, miss: float, horizon: int | None = None) -> int:
    """The most errors in so many labels that still show the promise to be kept; -1 where none would.

    >>> most_errors(148, risk=0.02, miss=0.05), most_errors(1000, risk=0.02, miss=0.05)
    (-1, 12)
    """
    low, high = -1, labels
    while low < high:
        middle = (low + high + 1) // 2
        if exact_p_value(middle, labels, risk=risk, horizon=horizon) <= miss:
            low = middle
        else:
            high = middle - 1
    return low


def exact_p_value(errors: int, labels: int, *, risk: float, horizon: int | None = None) -> float:
    """How likely it is to see at most so many errors in so many labels when the promise is *not* kept, at worst.

    Not kept: each document is an error with probability `risk` (or more); or, with a horizon, the labels are a random
    part of labels + horizon documents and more than `risk * horizon` of the others are errors.

    >>> round(exact_p_value(0, 149, risk=0.02), 4), exact_p_value(0, 149, risk=0.02) <= 0.05
    (0.0493, True)
    >>> exact_p_value(0, 149, risk=0.02, horizon=1000) > exact_p_value(0, 149, risk=0.02)
    True
    """
    if horizon is None:
        terms = [
            _log_choose(labels, seen) + seen * math.log(risk) + (labels - seen) * math.log1p(-risk)
            for seen in range(errors + 1)
        ]
    else:
        # The least number of errors in all that breaks the promise, given those that were seen.
        bad = errors + math.floor(risk * horizon + 1e-9) + 1
        whole = labels + horizon
        if bad > whole:
            return 0.0
        terms = [
            _log_choose(bad, seen) + _log_choose(whole - bad, labels - seen) - _log_choose(whole, labels)
            for seen in range(errors + 1)
            if labels - seen <= whole - bad
        ]
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def bet_against(error_weights: NDArray[np.float64], counted: Counted, *, risk: float) -> float:
    """The capital won by betting that the risk is below `risk`, starting from 1.

    `error_weights` are the weights 1/q of the labelled errors; every other document weighs 0. If the true risk is
    `risk` or more, the capital ever reaches 1 / miss with probability at most `miss` (Ville's inequality), whatever the
    order and whenever one looks.
    """
    stakes = np.array(STAKES) / (1.0 / counted.least - risk)
    clean = counted.documents - len(error_weights)
    lost = np.log1p(stakes[:, None] * (risk - error_weights[None, :])).sum(axis=1)
    return float(np.exp(np.minimum(clean * np.log1p(stakes * risk) + lost, 700.0)).mean())


class ContractWatch:
    """Re-verifies a contract on audits for ever, in constant memory: has the risk been shown to be above the promise?

    Of the documents that the student answers a share is audited: the teacher is asked about them with a known
    propensity. The watch bets that the risk is above `risk`; while it is not, the watch ever calls it broken with
    probability at most `miss`, however long it runs.
    """

    def __init__(self, *, risk: float, miss: float = 0.05) -> None:
        self._risk = risk
        self._miss = miss
        # An audited error weighs 1/q >> 1, so that most of the stakes have to be small.
        self._stakes = np.geomspace(1e-3, 0.9, 12) / risk
        self._capitals = np.zeros(len(self._stakes))

    def observe(self, documents: int, error_weights: ArrayLike) -> None:
        """`documents` more were served, by whomever; of the audited ones the errors had these weights 1/q."""
        weights = np.asarray(error_weights, dtype=np.float64)
        self._capitals += (documents - len(weights)) * np.log1p(-self._stakes * self._risk)
        self._capitals += np.log1p(self._stakes[:, None] * (weights[None, :] - self._risk)).sum(axis=1)

    @property
    def capital(self) -> float:
        """The evidence so far that the contract is broken; 1 is none."""
        return float(np.exp(np.minimum(self._capitals, 700.0)).mean())

    @property
    def is_broken(self) -> bool:
        """Whether the evidence suffices; then every answer is the teacher's until a new threshold is chosen."""
        return self.capital >= 1.0 / self._miss


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
