"""Whether the cheap teacher's answer stands, or the dear one is asked: a threshold learned from answers that both gave.

The idea is FrugalGPT's (Chen, Zaharia & Zou 2023): a cascade goes on to the next model while the answer is not reliable
enough. What a confidence is worth is read off a calibration table, bin by bin and for each source of confidence, made
monotone by pooling adjacent violators (Ayer et al., Annals of Mathematical Statistics 26, 1955). The table is filled by
audits of answers that stood and by answers that did not: both have an answer of the dear teacher as well. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from askance.rules.audit import BINS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from askance.calls import Audit

ENOUGH = 20
"""So many answers of a bin have to have both before its agreement is believed: it is then known to within a standard
deviation of 0.11 at most, and of 0.05 where nineteen of twenty agree."""


class Escalation(msgspec.Struct, frozen=True):
    """When the dear teacher is asked; `shares` has, by source of confidence, the agreement of each bin of `BINS`.

    A bin without enough evidence is None: there `confidence` decides.

    >>> rule = Escalation(agreement=0.95, confidence=0.9)
    >>> rule.stands(0.93, "stated"), rule.stands(0.89, "stated"), rule.stands(None, None)
    (True, False, False)
    """

    agreement: float
    """The least share of agreement that an answer stands with."""
    confidence: float
    """The least confidence that it stands with where nothing is known."""
    shares: dict[str, tuple[float | None, ...]] = msgspec.field(default_factory=dict)

    def learned(self, evidence: Iterable[Audit]) -> Escalation:
        """The same rule after this evidence: the cheap teacher's answers (`first`), the dear one's (`again`)."""
        counts: defaultdict[str, list[list[int]]] = defaultdict(lambda: [[0, 0] for _ in BINS[1:]])
        for one in evidence:
            if one.confidence is not None and one.confidence_source is not None:
                found = counts[one.confidence_source][_bin(one.confidence)]
                found[0] += 1
                found[1] += one.first == one.again
        return msgspec.structs.replace(self, shares={source: _monotone(found) for source, found in counts.items()})

    def stands(self, confidence: float | None, source: str | None) -> bool:
        """Whether the cheap teacher's answer of this confidence is good enough; never one without any."""
        if confidence is None or source is None:
            return False
        share = self.shares[source][_bin(confidence)] if source in self.shares else None
        return confidence >= self.confidence if share is None else share >= self.agreement


def _bin(confidence: float) -> int:
    return sum(confidence >= edge for edge in BINS[1:-1])


def _monotone(counts: list[list[int]]) -> tuple[float | None, ...]:
    """Agreement that never falls as confidence rises, least squares weighted by evidence; None of too little.

    >>> _monotone([[0, 0], [20, 10], [40, 16], [19, 19]])
    (None, 0.43333333333333335, 0.43333333333333335, None)
    """
    pools: list[tuple[int, int, list[int]]] = []
    for place, (answers, agreed) in enumerate(counts):
        if answers < ENOUGH:
            continue
        pools.append((answers, agreed, [place]))
        while len(pools) > 1 and pools[-2][1] * pools[-1][0] > pools[-1][1] * pools[-2][0]:
            (n, a, places), (m, b, more) = pools[-2:]
            pools[-2:] = [(n + m, a + b, places + more)]
    shares: list[float | None] = [None] * len(counts)
    for answers, agreed, places in pools:
        for place in places:
            shares[place] = agreed / answers
    return tuple(shares)
