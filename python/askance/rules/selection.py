"""Which labels a student is trained on, and how much each counts: LLKD-style selection and weighting.

After LLKD (Knowledge Distillation from Large Language Models, arXiv 2411.08028): keep what the teacher is sure of *and*
the student is not, by thresholds that adapt over time and per class, and weigh by both. The factor per class is that of
FreeMatch (Wang et al., ICLR 2023, section 3.2). Ours are: blocks of labels in the place of training steps, what happens
where a confidence is unknown, and the importance weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 64
"""So many labels, in the order of the stream, move the thresholds once."""

# A value that equals its threshold must not fail for the last bit of a mean.
_SLACK = 1.0 - 1e-9


@dataclass(frozen=True)
class SelectionRule:
    """Which parts are on; with none of them every label counts alike.

    `momentum` is the weight of the past in the moving averages. `importance_exponent` is a in (1/q)^a: 0 leaves the
    gate's preference for uncertain documents as it is, 1 undoes it, at the price of a much smaller effective sample.
    """

    by_confidence: bool = True
    by_uncertainty: bool = True
    per_class: bool = True
    weighted: bool = True
    momentum: float = 0.9
    importance_exponent: float = 0.5
    importance_cap: float = 10.0


class Selection(NamedTuple):
    """What came of n labels; the arrays have shape (n,)."""

    kept: NDArray[np.bool_]
    weights: NDArray[np.float64]
    """Above 0; of those kept, each class's mean is 1 before the importance weight, and their overall mean is 1 in the
    end."""
    confidence_threshold: float | None
    """tau_T after the last label; None: no confidence is known."""
    uncertainty_threshold: float
    """tau_S after the last label."""


def select(
    *,
    targets: NDArray[np.int64],
    confidences: NDArray[np.float64],
    uncertainties: NDArray[np.float64],
    propensities: NDArray[np.float64],
    rule: SelectionRule,
) -> Selection:
    """Select among n labels in the order of the stream; every array is (n,).

    `targets` are the labels' classes; `confidences` the teacher's, in [0, 1] or NaN where unknown; `uncertainties` the
    student's, in [0, 1]; `propensities` q, in (0, 1]. Label i is kept iff c_i >= tau_T * f_T(y_i) and
    u_i >= tau_S * f_S(y_i). Each tau is the moving average of the blocks' means, f(y) the moving average of class y
    over the largest of any class; both are as they stood when the label's block was in, so that a label is compared
    with its contemporaries: a student's uncertainty falls over time for everything.

    A label of unknown confidence passes the first condition and weighs as one of average confidence. Where no
    confidence is known at all, nothing is dropped or weighed by either: that is M-RARU, whose gate has selected
    already. A class that would lose all its labels keeps them all.
    """
    n = len(targets)
    known = ~np.isnan(confidences)
    kept = np.ones(n, dtype=np.bool_)
    weights = np.ones(n, dtype=np.float64)
    tau_t: float | None = None
    tau_s = float(uncertainties.mean()) if n else 0.0
    if known.any():
        limit_t, means_t = _thresholds(targets, confidences, known, rule)
        limit_s, means_s = _thresholds(targets, uncertainties, np.ones(n, dtype=np.bool_), rule)
        tau_t, tau_s = float(means_t[-1]), float(means_s[-1])
        if rule.by_confidence:
            kept &= ~known | (confidences >= _SLACK * limit_t)
        if rule.by_uncertainty:
            kept &= uncertainties >= _SLACK * limit_s
        lost = np.setdiff1d(targets, targets[kept])
        kept |= np.isin(targets, lost)
        if rule.weighted:
            weights = np.where(known, confidences, means_t) * uncertainties
            weights = _mean_one_per_class(weights, targets, kept)
    if rule.importance_exponent:
        weights = weights * np.minimum(propensities**-rule.importance_exponent, rule.importance_cap)
    if kept.any():
        weights = weights / weights[kept].mean()
    return Selection(kept, weights, tau_t, tau_s)


def _thresholds(
    targets: NDArray[np.int64], values: NDArray[np.float64], known: NDArray[np.bool_], rule: SelectionRule
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each label its own threshold and the overall moving average, both (n,), as of the end of its block."""
    classes = int(targets.max()) + 1
    average = np.nan
    by_class = np.full(classes, np.nan)
    limits, averages = np.empty(len(targets)), np.empty(len(targets))
    for start in range(0, len(targets), BLOCK):
        block = slice(start, start + BLOCK)
        here, of = values[block][known[block]], targets[block][known[block]]
        if len(here):
            average = _moved(average, here.mean(), rule.momentum)
            counts = np.bincount(of, minlength=classes)
            sums = np.bincount(of, weights=here, minlength=classes)
            for label in np.flatnonzero(counts):
                by_class[label] = _moved(by_class[label], sums[label] / counts[label], rule.momentum)
        averages[block] = average
        limits[block] = average
        if rule.per_class and not np.isnan(by_class).all() and np.nanmax(by_class) > 0.0:
            factors = np.nan_to_num(by_class / np.nanmax(by_class), nan=1.0)
            limits[block] = average * factors[targets[block]]
    # Labels before the first known value are compared with that one.
    first = averages[~np.isnan(averages)][0]
    return np.where(np.isnan(limits), first, limits), np.where(np.isnan(averages), first, averages)


def _moved(average: float, mean: float, momentum: float) -> float:
    return float(mean) if np.isnan(average) else momentum * average + (1.0 - momentum) * float(mean)


def _mean_one_per_class(
    weights: NDArray[np.float64], targets: NDArray[np.int64], kept: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """So that no class counts for more because its labels are surer; a class that weighs nothing counts plainly."""
    floored = np.maximum(weights, 1e-6)
    sums = np.bincount(targets[kept], weights=floored[kept], minlength=int(targets.max()) + 1)
    counts = np.bincount(targets[kept], minlength=len(sums))
    means = np.divide(sums, counts, out=np.ones_like(sums), where=counts > 0)
    return floored / means[targets]
