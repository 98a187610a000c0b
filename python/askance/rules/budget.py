"""How often the teacher may be asked: each budget says how far the gate opens *before* a batch is drawn.

A budget aims at a rate, the mean propensity of the coming documents, and turns it into the gate's scale with the
uncertainties of the last few thousand documents. It never looks at a draw before it has happened, so the recorded
propensities stay the true ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from askance.rules.gate import M_RARU_OPENING, Opening
from askance.rules.scale import ScaleSolver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


class Budget(Protocol):
    """Moves the gate's opening; one batch at a time: `opening`, then `spent`."""

    def opening(self, documents: int, *, now: float, blind: bool) -> Opening:
        """For the next `documents` documents; `blind` while no student scores them (each has uncertainty 1)."""

    def spent(self, uncertainties: NDArray[np.float32], accepted: int, predicted: Sequence[str | None] = ()) -> None:
        """What came of the batch: its uncertainties, (n,), how many of its documents were accepted, and their n
        predicted labels, which matter where classes have targets."""

    def hold(self, part: float) -> None:
        """This worker classifies such a part, in [0, 1], of the stream: budgets per time are split so."""


class Unlimited:
    """M-RARU as published: no budget."""

    def __init__(self, *, floor: float) -> None:
        self._opening = M_RARU_OPENING._replace(floor=floor)

    def opening(self, documents: int, *, now: float, blind: bool) -> Opening:  # noqa: ARG002 - the protocol's arguments
        """See `Budget`: always the same."""
        return self._opening

    def spent(self, uncertainties: NDArray[np.float32], accepted: int, predicted: Sequence[str | None] = ()) -> None:
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
        targets: Mapping[str, float] | None = None,
    ) -> None:
        """`documents` and `accepted` are what earlier runs have seen; for `targets` see `rules.scale`."""
        self._share = share
        self._floor = floor
        self._advance = advance
        self._horizon = horizon
        self._documents = documents
        self._accepted = accepted
        self._solver = ScaleSolver(floor, exponent, targets)

    def opening(self, documents: int, *, now: float, blind: bool) -> Opening:  # noqa: ARG002 - this budget needs no clock
        """See `Budget`."""
        if blind:
            owed = self._share * (self._documents + documents) + self._advance - self._accepted
            return self._solver.blind(owed / documents)
        # A change of the share, or a long closed gate, must not swing the rate to all or nothing.
        debt = min(1.0, max(-1.0, (self._share * self._documents - self._accepted) / (self._share * self._horizon)))
        return self._solver.solve(max(self._floor, self._share * (1.0 + debt)))

    def spent(self, uncertainties: NDArray[np.float32], accepted: int, predicted: Sequence[str | None] = ()) -> None:
        """See `Budget`."""
        self._documents += len(uncertainties)
        self._accepted += accepted
        self._solver.observe(uncertainties, predicted)

    def hold(self, part: float) -> None:
        """See `Budget`: a share of a part is the same share."""


class PerSecondBudget:
    """Queries per second: over any time t at most about `per_second * (t + burst_seconds)`, spread over the documents.

    A token bucket bounds what a batch may expect to be accepted. Below that bound the aimed rate is twice `per_second`
    over the smoothed arrival rate, so that queries come evenly and what was asked too little is made up for.
    """

    def __init__(
        self,
        *,
        per_second: float,
        floor: float,
        exponent: float,
        burst_seconds: float = 5.0,
        targets: Mapping[str, float] | None = None,
    ) -> None:
        self._whole = self._per_second = per_second
        self._burst_seconds = burst_seconds
        self._tokens = per_second
        self._last: float | None = None
        self._arrivals = 0.0
        self._solver = ScaleSolver(floor, exponent, targets)

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

    def spent(self, uncertainties: NDArray[np.float32], accepted: int, predicted: Sequence[str | None] = ()) -> None:
        """See `Budget`."""
        self._tokens -= accepted
        self._solver.observe(uncertainties, predicted)

    def hold(self, part: float) -> None:
        """See `Budget`."""
        self._per_second = self._whole * part
