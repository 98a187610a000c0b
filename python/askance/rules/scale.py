"""From a rate to the gate's scale: how far to open for so many documents, and for so many of a class.

A class may have a target: the least share of the queries whose predicted label it is. Where the uncertainties alone
would give it less, its documents get a larger scale and all others a smaller one, so that the rate stays what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from askance.rules.gate import Opening

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_WINDOW = 2048
_MAX_SCALE = 1e12
_OTHER = -1


class ScaleSolver:
    """Finds the scale at which the mean propensity over the last 2,048 uncertainties is the aimed rate."""

    def __init__(self, floor: float, exponent: float, targets: Mapping[str, float] | None = None) -> None:
        self._floor = floor
        self._exponent = exponent
        self._names = tuple(targets or ())
        self._targets = tuple((targets or {}).values())
        self._places = {name: place for place, name in enumerate(self._names)}
        self._recent = np.ones(1, dtype=np.float64)
        self._of = np.full(1, _OTHER, dtype=np.int64)

    def observe(self, uncertainties: NDArray[np.float32], predicted: Sequence[str | None] = ()) -> None:
        """Remember the batch's u^g and, where classes have targets, which of them each document is predicted as."""
        powers = uncertainties[-_WINDOW:].astype(np.float64) ** self._exponent
        self._recent = np.concatenate([self._recent, powers])[-_WINDOW:]
        if self._names:
            of = np.full(len(powers), _OTHER, dtype=np.int64)
            for row, label in enumerate(predicted[-_WINDOW:]):
                of[row] = self._places.get(label, _OTHER) if label is not None else _OTHER
            self._of = np.concatenate([self._of, of])[-_WINDOW:]

    def blind(self, rate: float) -> Opening:
        """For documents of uncertainty 1 the rate is met exactly."""
        return Opening(self._floor_at(rate), self._above_floor(rate))

    def solve(self, rate: float) -> Opening:
        """Solve mean(min(1, s v)) = t for s, with t the part of the rate above the floor; see `scale_for`."""
        goal = self._above_floor(rate)
        floor = self._floor_at(rate)
        wanted = goal * len(self._recent)
        scale = scale_for(self._recent, wanted)
        if not self._names or wanted <= 0.0:
            return Opening(floor, scale)
        raised: dict[int, float] = {}
        # Raising one class lowers the scale of the rest, which may bring another one below its target.
        while True:
            rest = ~np.isin(self._of, list(raised))
            short = [
                place
                for place, target in enumerate(self._targets)
                if place not in raised and _expected(self._recent[self._of == place], scale) < target * wanted
            ]
            if not short:
                break
            raised |= {
                place: scale_for(self._recent[self._of == place], self._targets[place] * wanted) for place in short
            }
            rest = ~np.isin(self._of, list(raised))
            met = sum(_expected(self._recent[self._of == place], own) for place, own in raised.items())
            scale = scale_for(self._recent[rest], max(0.0, wanted - met))
        return Opening(floor, scale, tuple((self._names[place], own) for place, own in sorted(raised.items())))

    def _floor_at(self, rate: float) -> float:
        # A floor above the rate would spend more than the budget.
        return min(self._floor, max(0.0, rate))

    def _above_floor(self, rate: float) -> float:
        if self._floor >= 1.0:
            return 0.0
        return min(1.0, max(0.0, (rate - self._floor) / (1.0 - self._floor)))


def scale_for(powers: NDArray[np.float64], wanted: float) -> float:
    """The s at which sum(min(1, s v)) is `wanted`, over m values v in [0, 1]; as large as it gets where none is enough.

    With v ascending and any j, min(1, s v) is at most s v for the first j and at most 1 for the others, so
    s >= (wanted - (m - j)) / sum(v[:j]), with equality where exactly the first j are below 1/s: the solution is
    the largest of these bounds.

    >>> scale_for(np.array([0.1, 0.2, 0.5, 1.0]), 2.0)
    1.25
    """
    m = len(powers)
    if m == 0:
        return _MAX_SCALE if wanted > 0.0 else 0.0
    v = np.sort(powers)
    room = wanted - np.arange(m - 1, -1, -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        bounds = np.where(room > 0.0, room / np.cumsum(v), 0.0)
    return float(min(bounds.max(), _MAX_SCALE))


def _expected(powers: NDArray[np.float64], scale: float) -> float:
    return float(np.minimum(1.0, scale * powers).sum())
