"""How a challenger does on the live stream, by the labels that are bought anyway: as a shadow, or as a canary."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from askance.manifest import Estimate
from askance.records import Outcome
from askance.rules.estimate import effective_size, estimate_difference, estimate_window
from askance.rules.promotion import decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from askance.manifest import Verdict
    from askance.records import Judged, Tally
    from askance.rules.promotion import PromotionRule


def shadowed(rows: Sequence[Judged], version: str) -> list[Judged]:
    """The queries that a shadow scored, as if it had answered them."""
    return [
        msgspec.structs.replace(
            row, version=version, predicted=row.shadow_predicted, confidence=row.shadow_confidence, threshold=None
        )
        for row in rows
        if row.shadow_version == version
    ]


def judge_shadow(
    rows: Sequence[Judged], *, challenger: str, champion: str, rule: PromotionRule, margin: float
) -> Verdict:
    """The verdict from documents that the champion answered and the challenger scored: paired, so that what is hard
    for both cancels. One look, at a number of documents fixed beforehand: the interval is a fixed-time one."""
    both = [
        row
        for row in rows
        if row.shadow_version == challenger and row.version == champion and row.status == Outcome.LABELLED
    ]
    q = [row.propensity for row in both]
    difference = estimate_difference(
        [row.shadow_predicted == row.label for row in both], [row.predicted == row.label for row in both], q
    )
    effective = effective_size(q) if q else 0.0
    return decide(difference, champion=champion, effective=effective, rule=rule, margin=margin, where="live labels")


def judge_canary(
    rows: Sequence[Judged],
    tallies: Sequence[Tally],
    *,
    challenger: str,
    champion: str,
    rule: PromotionRule,
    margin: float,
) -> Verdict:
    """The verdict from documents that either has answered, in the blocks of the stream in which both did.

    The interval of the difference is Newcombe's (Statistics in Medicine 17, 1998, method 10) from those of the two.
    """
    shared = {_block(tally) for tally in tallies if tally.version == challenger}
    together = [tally for tally in tallies if _block(tally) in shared]
    first = {(tally.topic, tally.partition): tally.first_offset for tally in reversed(together)}
    since = [row for row in rows if row.coordinates.offset >= first.get(row.coordinates[:2], math.inf)]
    ours, theirs = (estimate_window(together, since, (), version=version) for version in (challenger, champion))
    difference = None
    if ours.agreement is not None and theirs.agreement is not None:
        difference = _apart(ours.agreement, theirs.agreement)
    effective = min(ours.effective, theirs.effective)
    return decide(difference, champion=champion, effective=effective, rule=rule, margin=margin, where="live labels")


def _block(tally: Tally) -> tuple[str, int, int]:
    return tally.topic, tally.partition, tally.first_offset


def _apart(one: Estimate, other: Estimate) -> Estimate:
    value = one.value - other.value
    return Estimate(
        value=value,
        low=max(-1.0, value - math.hypot(one.value - one.low, other.high - other.value)),
        high=min(1.0, value + math.hypot(one.high - one.value, other.value - other.low)),
        documents=one.documents + other.documents,
        effective=min(one.effective, other.effective),
    )
