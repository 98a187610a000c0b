"""How often the teacher may be asked: each budget says how far the gate opens *before* a batch is drawn.

A budget aims at a rate, the mean propensity of the coming documents, and turns it into the gate's scale with the
uncertainties of the last few thousand documents. It never looks at a draw before it has happened, so the recorded
propensities stay the true ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from askance.rules.gate import M_RARU_OPENING, Opening

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WINDOW = 2048
_MAX_SCALE = 1e6


class Budget(Protocol):
    """Moves the gate's opening; one batch at a time: `opening`, then `spent`."""

    def opening(self, documents: int, *, now: float, blind: bool) -> Opening:
        """For the next `documents` documents; `blind` while no student scores them (each has uncertainty 1)."""

    def spent(self, uncertainties: NDArray[np.float32], accepted: int) -> None:
        """What came of the batch: its uncertainties, (n,), and how many of its documents were accepted."""

    def hold(self, part: float) -> None:
        """This worker classifies such a part, in [0, 1], of the stream: budgets per time are split so."""


class Unlimited:
    """M-RARU as published: no budget."""

    def __init__(self, *, floor: float) -> None:
        self._opening = M_RARU_OPENING._replace(floor=floor)

    def opening(self, documents: int, *, now: float, blind: bool) -> Opening:  # noqa: ARG002 - the protocol's arguments
        """See `Budget`: always the same."""
        return self._opening

    def spent(self, uncertainties: NDArray[np.float32], accepted: int) -> None:
        """See `Budget`."""

    def hold(self, part: float) -> None:
        """See `Budget`."""


class ShareBudget:
    """A share of all documents, with an advance while there is no student.

    The aimed rate is `share + (share * documents - accepted) / horizon`, between the floor and twice the share: what
    was asked too much or too little fades over `horizon` documents. While blind every document is accepted until the
    advance is used up.
    """

    def __init__(
        self,
        *,
        share: float,
        floor: float,
        exponent: float,
        advance: int,
        horizon: int,
        documents: int = 0,
        accepted: int = 0,
    ) -> None:
        self._share = share
        self._floor = floor
        self._advance = advance
        self._horizon = horizon
        self._documents = documents
        self._accepted = accepted
        self._solver = _ScaleSolver(floor, exponent)

    def opening(self, documents: int, *, now: float, blind: bool) -> Opening:  # noqa: ARG002 - this budget needs no clock
        """See `Budget`."""
        if blind:
            owed = self._share * (self._documents + documents) + self._advance - self._accepted
            return self._solver.blind(owed / documents)
        # A change of the share, or a long closed gate, must not swing the rate to all or nothing.
        debt = min(1.0, max(-1.0, (self._share * self._documents - self._accepted) / (self._share * self._horizon)))
        return self._solver.solve(max(self._floor, self._share * (1.0 + debt)))

    def spent(self, uncertainties: NDArray[np.float32], accepted: int) -> None:
        """See `Budget`."""
        self._documents += len(uncertainties)
        self._accepted += accepted
        self._solver.observe(uncertainties)

    def hold(self, part: float) -> None:
        """See `Budget`: a share of a part is the same share."""


class PerSecondBudget:
    """Queries per second: over any time t at most about `per_second * (t + burst_seconds)`, spread over the documents.

    A token bucket bounds what a batch may expect to be accepted. Below that bound the aimed rate is twice `per_second`
    over the smoothed arrival rate, so that queries come evenly and what was asked too little is made up for.
    """

    def __init__(self, *, per_second: float, floor: float, exponent: float, burst_seconds: float = 5.0) -> None:
        self._whole = self._per_second = per_second
        self._burst_seconds = burst_seconds
        self._tokens = per_second
        self._last: float | None = None
        self._arrivals = 0.0
        self._solver = _ScaleSolver(floor, exponent)

    def opening(self, documents: int, *, now: float, blind: bool) -> Opening:
        """See `Budget`; `now` is in seconds of a clock that never runs backwards."""
        if self._last is not None:
            elapsed = max(now - self._last, 1e-6)
            bound = max(self._per_second * self._burst_seconds, 1.0)
            self._tokens = min(self._tokens + self._per_second * elapsed, bound)
            # Exponential smoothing over ten seconds, whatever the spacing of the batches.
            keep = np.exp(-elapsed / 10.0)
            self._arrivals = keep * self._arrivals + (1.0 - keep) * documents / elapsed
        self._last = now
        even = 2.0 * self._per_second / self._arrivals if self._arrivals else 1.0
        rate = min(even, max(0.0, self._tokens) / documents)
        return self._solver.blind(rate) if blind else self._solver.solve(rate)

    def spent(self, uncertainties: NDArray[np.float32], accepted: int) -> None:
        """See `Budget`."""
        self._tokens -= accepted
        self._solver.observe(uncertainties)

    def hold(self, part: float) -> None:
        """See `Budget`."""
        self._per_second = self._whole * part


class _ScaleSolver:
    """Finds the scale at which the mean propensity over the recent uncertainties is the aimed rate."""

    def __init__(self, floor: float, exponent: float) -> None:
        self._floor = floor
        self._exponent = exponent
        self._recent = np.ones(1, dtype=np.float64)

    def observe(self, uncertainties: NDArray[np.float32]) -> None:
        """Remember the batch's u^g among the last 2,048."""
        powers = uncertainties[-_WINDOW:].astype(np.float64) ** self._exponent
        self._recent = np.concatenate([self._recent, powers])[-_WINDOW:]

    def blind(self, rate: float) -> Opening:
        """For documents of uncertainty 1 the rate is met exactly."""
        return Opening(self._floor_at(rate), self._above_floor(rate))

    def solve(self, rate: float) -> Opening:
        """Solve mean(min(1, s v)) = t for s, with t the part of the rate above the floor.

        With v ascending and any j, min(1, s v) is at most s v for the first j and at most 1 for the others, so
        s >= (t m - (m - j)) / sum(v[:j]), with equality where exactly the first j are below 1/s: the solution is
        the largest of these bounds.
        """
        goal = self._above_floor(rate)
        v = np.sort(self._recent)
        m = len(v)
        room = goal * m - np.arange(m - 1, -1, -1)
        with np.errstate(divide="ignore", invalid="ignore"):
            bounds = np.where(room > 0.0, room / np.cumsum(v), 0.0)
        return Opening(self._floor_at(rate), float(min(bounds.max(), _MAX_SCALE)))

    def _floor_at(self, rate: float) -> float:
        # A floor above the rate would spend more than the budget.
        return min(self._floor, max(0.0, rate))

    def _above_floor(self, rate: float) -> float:
        if self._floor >= 1.0:
            return 0.0
        return min(1.0, max(0.0, (rate - self._floor) / (1.0 - self._floor)))
