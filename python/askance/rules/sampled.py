"""Has the stream changed, by the documents that were drawn? Their agreement with the teacher, and words never seen.

Class shares and uncertainties (`askance.rules.drift`) cannot tell when a class comes to mean something else, nor when
texts come to use other words. The drawn documents can: each stands for 1/q of the stream.

Owns the promise that a stream which does not change gives a false alarm, ever, with probability at most `miss`, as far
as its intervals are right (Newcombe's, Statistics in Medicine 17, 1998, method 10, from those of
`askance.rules.estimate`): look k spends 6 miss / (pi^2 k^2) of it. Memory is constant: one reference, one bitmap.
"""

from __future__ import annotations

import math
import re
import zlib
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from askance.rules.drift import Alarm
from askance.rules.estimate.mean import MINIMUM_EFFECTIVE, checked, joined, point

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from askance.manifest import Estimate

_WORD = re.compile(r"\w+")
_BITS = 2**18
"""Words are told apart by a checksum of 18 bits: 10,000 known words make 4 % of the unknown ones look known."""


class Drawn(NamedTuple):
    """A document that was drawn."""

    propensity: float
    text: str
    agrees: bool | None
    """Whether the version agrees with its label; None: there is none."""


class _Sample(NamedTuple):
    values: Sequence[float]
    propensities: Sequence[float]


class SampledWatch:
    """Watches the drawn documents of one version, a window at a time, in the order of the stream."""

    def __init__(self, *, miss: float = 0.01, least: float = 0.1) -> None:
        self._miss = miss
        self._least = least
        self._agreement: _Sample | None = None
        self._known: NDArray[np.bool_] | None = None
        self._unseen: _Sample | None = None
        self._looks = 0

    def observe(self, window: Sequence[Drawn], *, documents: int) -> list[Alarm]:
        """Alarms that this window raised; `documents` is how many the stream has had with it.

        The first window is what later ones are compared with, and so is each that raised an alarm. For the words the
        first one says which are known, and the second how many are not when nothing has changed.
        """
        self._looks += 1
        spend = 3.0 * self._miss / (math.pi * self._looks) ** 2
        alarms = (self._compare_agreement(window, documents, spend), self._compare_words(window, documents, spend))
        return [alarm for alarm in alarms if alarm is not None]

    def _compare_agreement(self, window: Sequence[Drawn], documents: int, spend: float) -> Alarm | None:
        labelled = [drawn for drawn in window if drawn.agrees is not None]
        now = _Sample([float(bool(drawn.agrees)) for drawn in labelled], [drawn.propensity for drawn in labelled])
        if self._agreement is None:
            self._agreement = now if _interval(now, spend) is not None else None
            return None
        # Only a fall is a drift: an agreement that rises harms nobody.
        alarm = self._alarm("agreement", self._agreement, now, documents, spend, sign=-1)
        if alarm is not None:
            self._agreement = now
        return alarm

    def _compare_words(self, window: Sequence[Drawn], documents: int, spend: float) -> Alarm | None:
        words = [(drawn.propensity, _places(drawn.text)) for drawn in window]
        words = [(propensity, places) for propensity, places in words if len(places)]
        if self._known is None:
            if len(words) >= MINIMUM_EFFECTIVE:
                self._known = _bitmap(places for _, places in words)
            return None
        known = self._known
        now = _Sample([float((~known[places]).mean()) for _, places in words], [propensity for propensity, _ in words])
        if self._unseen is None:
            self._unseen = now if _interval(now, spend) is not None else None
            return None
        alarm = self._alarm("vocabulary", self._unseen, now, documents, spend, sign=1)
        if alarm is not None:
            self._known, self._unseen = _bitmap(places for _, places in words), None
        return alarm

    def _alarm(
        self, kind: str, before: _Sample, now: _Sample, documents: int, spend: float, *, sign: int
    ) -> Alarm | None:
        one, other = _interval(before, spend), _interval(now, spend)
        if one is None or other is None:
            return None
        change = sign * (other.value - one.value)
        # How far the change reaches towards none at all.
        if sign > 0:
            reach = math.hypot(other.value - other.low, one.high - one.value)
        else:
            reach = math.hypot(other.high - other.value, one.value - one.low)
        if change < self._least or change <= reach:
            return None
        deviations = change / reach * _deviations(spend)
        evidence = (
            f"agreement with the teacher {one.value:.1%} to {other.value:.1%}"
            if kind == "agreement"
            else f"words that the version's first documents did not have {one.value:.1%} to {other.value:.1%}"
        )
        return Alarm(kind, documents, change, math.erfc(deviations / math.sqrt(2.0)), evidence)


def _interval(sample: _Sample, spend: float) -> Estimate | None:
    if len(sample.values) < 2:
        return None
    y, w = checked(sample.values, sample.propensities)
    return joined(*point(y, w, None), w, z=_deviations(spend))


def _deviations(spend: float) -> float:
    return NormalDist().inv_cdf(1.0 - spend / 2.0)


def _places(text: str) -> NDArray[np.int64]:
    return np.array(sorted({zlib.crc32(word.encode()) % _BITS for word in _WORD.findall(text.lower())}), dtype=np.int64)


def _bitmap(documents: Iterable[NDArray[np.int64]]) -> NDArray[np.bool_]:
    known = np.zeros(_BITS, dtype=np.bool_)
    for places in documents:
        known[places] = True
    return known
