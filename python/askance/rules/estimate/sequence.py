"""Intervals that may be looked at after every label: a fixed-time interval that is watched misses sooner or later.

An asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, Time-uniform central limit theory and
asymptotic confidence sequences, Annals of Statistics 52, 2024, theorem 2.2): with variance s^2 estimated along the way,

    value +- s / sqrt(t) * sqrt((t r^2 + 1) / (t r^2) * ln((t r^2 + 1) / miss^2))

holds at every t at once with probability 1 - miss, for any fixed r. Labels differ in weight, so time t is the effective
sample size; r is chosen for the narrowest interval at four times the smallest one. The price of watching is an
interval about 1.6 times as wide as the fixed-time one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from askance.rules.estimate.mean import MINIMUM_EFFECTIVE, checked, joined, kish, point

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from askance.manifest import Estimate
    from askance.rules.estimate.mean import Guesses

_NARROWEST_AT = 4 * MINIMUM_EFFECTIVE


def watched_agreement(
    agrees: ArrayLike, propensities: ArrayLike, *, guesses: Guesses, miss: float = 0.05
) -> Estimate | None:
    """As `estimate_agreement`, with an interval of a confidence sequence.

    Called after every label of a stream on all its labels so far, the intervals *all* contain the stream's agreement
    with probability 1 - `miss`; stopping at a moment chosen by the intervals themselves is allowed. The documents have
    to be counted (`guesses`): Hájek's ratio misses early, before its first heavy documents have come.
    """
    y, w = checked(agrees, propensities)
    effective = kish(w, guesses.documents)
    if effective < MINIMUM_EFFECTIVE:
        return None
    return joined(*point(y, w, guesses), w, z=reach(effective, miss=miss))


def reach(effective: float, *, miss: float = 0.05) -> float:
    """How many standard deviations the sequence reaches at an effective sample size.

    >>> [round(reach(effective), 2) for effective in (20, 80, 1000)]
    [3.26, 3.04, 3.27]
    """
    if not 0.0 < miss < 1.0:
        msg = f"miss is {miss:g}: the probability that the sequence ever misses lies between 0 and 1"
        raise ValueError(msg)
    # Ibid. section 3.5: the width at t is least for t r^2 = -2 ln miss + ln(1 - 2 ln miss), to first order.
    logarithm = -2.0 * math.log(miss)
    time = effective * (logarithm + math.log(logarithm + 1.0)) / _NARROWEST_AT
    return math.sqrt((time + 1.0) / time * math.log((time + 1.0) / miss**2))
