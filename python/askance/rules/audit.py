"""How far the teacher agrees with itself, and what its confidence is worth. Pure.

No student can agree with a teacher more often than the teacher does with itself: it bounds what training can reach.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from askance.calls import Audit

_Z = 1.959963984540054
BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Edges of the calibration table; finer where confidences crowd."""


class Agreement(msgspec.Struct, frozen=True):
    """A share of `audits` that agreed, with Wilson's 95 % interval (1927)."""

    audits: int
    agreed: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share; 0 of none."""
        return self.agreed / self.audits if self.audits else 0.0


class Bin(msgspec.Struct, frozen=True):
    """The audits whose first confidence, of one source, lies in [low, high), or is 1 in the last bin."""

    source: str
    low: float
    high: float
    mean_confidence: float
    agreement: Agreement


def agreement(audits: Iterable[Audit]) -> Agreement:
    """How often the second answer was the first.

    >>> agreement([])
    Agreement(audits=0, agreed=0, low=0.0, high=1.0)
    """
    both = [audit.first == audit.again for audit in audits]
    n, agreed = len(both), sum(both)
    if n == 0:
        return Agreement(0, 0, 0.0, 1.0)
    share = agreed / n
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    reach = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return Agreement(n, agreed, max(0.0, min(share, centre - reach)), min(1.0, max(share, centre + reach)))


def by_class(audits: Iterable[Audit]) -> dict[str, Agreement]:
    """The same for each label that was given first, by name."""
    return _grouped(audits, lambda one: one.first)


def by_teacher(audits: Iterable[Audit]) -> dict[str, Agreement]:
    """The same by who gave the first answer. A cascade's second teacher gives every second answer, so its own row is
    its agreement with itself, and the first one's is how often the second would have said the same.
    """
    return _grouped(audits, lambda one: one.teacher)


def calibration(audits: Sequence[Audit]) -> list[Bin]:
    """Confidence against agreement, per source; bins without an audit are left out, and so is unknown confidence."""
    groups: defaultdict[tuple[str, int], list[Audit]] = defaultdict(list)
    for audit in audits:
        if audit.confidence is not None and audit.confidence_source is not None:
            place = sum(audit.confidence >= edge for edge in BINS[1:-1])
            groups[audit.confidence_source, place].append(audit)
    return [
        Bin(
            source=source,
            low=BINS[place],
            high=BINS[place + 1],
            mean_confidence=sum(audit.confidence or 0.0 for audit in group) / len(group),
            agreement=agreement(group),
        )
        for (source, place), group in sorted(groups.items())
    ]


def _grouped(audits: Iterable[Audit], key: Callable[[Audit], str]) -> dict[str, Agreement]:
    groups: defaultdict[str, list[Audit]] = defaultdict(list)
    for audit in audits:
        groups[key(audit)].append(audit)
    return {name: agreement(group) for name, group in sorted(groups.items())}
