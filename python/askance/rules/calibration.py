"""From which confidence on a version may answer by itself, and whether that still keeps the contract: on live labels.

A version is calibrated by documents that it scored live, so it was trained on none of them. While it may answer nothing
by itself every document is labelled, and the exact test applies; it is made at `first` labels, then at twice as many
and so on, and look k spends 2^-(k+1) of what it may miss. A shadow is calibrated by the labels that the live version's
draws bought: a bet, which may be looked at whenever one likes, on documents that are counted.

Labels that the teacher did not give (invalid, failed, lost, or a near-duplicate's) are taken to be like the others of
their propensity, as in `askance.rules.estimate.window`.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from askance.directions import Calibration
from askance.records import Outcome
from askance.rules.contract import ContractWatch, Counted, choose_threshold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from askance.records import Judged
    from askance.rules.contract import Threshold


def alone(rows: Sequence[Judged], skipped: int = 0) -> list[Judged]:
    """Of a version's queries those with a label that were made while it might answer nothing by itself.

    Up to the first one that has not ended, so that the labels of a look are the same ones however often they are
    looked at. The first `skipped` queries made so are left out: they came before its contract broke.
    """
    made = [row for row in rows if row.threshold is None][skipped:]
    ended = itertools.takewhile(_has_ended, made)
    return [row for row in ended if _is_labelled(row) and row.propensity == 1.0]


def calibrate_alone(
    labelled: Sequence[Judged], *, documents: int, target: float, miss: float, first: int
) -> Calibration | None:
    """Of a version that answers nothing by itself, see `alone`; None: not yet, or never.

    `documents` is how many it has scored so far, for whoever re-verifies it later.
    """
    if len(labelled) < first:
        return None
    look = int(math.log2(len(labelled) / first))
    used = labelled[: first * 2**look]
    chosen = choose_threshold(
        [_confidence(row) for row in used],
        [row.predicted != row.label for row in used],
        np.ones(len(used)),
        target=target,
        miss=miss / 2 ** (look + 1),
    )
    return _calibration(chosen, documents)


def calibrate_shadow(
    rows: Sequence[Judged], *, documents: int, audit_share: float, target: float, miss: float, first: int
) -> Calibration | None:
    """Of a shadow (`predicted` and `confidence` are its own), from labels of any propensity; see `shadowed`.

    `documents` were scored by it and drawn at a propensity of at least `audit_share`.
    """
    labelled = [row for row in rows if _is_labelled(row)]
    if len(labelled) < first:
        return None
    if all(row.propensity == 1.0 for row in labelled):
        return calibrate_alone(labelled, documents=documents, target=target, miss=miss, first=first)
    part = _answered(rows)
    q = np.array([row.propensity for row in labelled]) * part
    chosen = choose_threshold(
        [_confidence(row) for row in labelled],
        [row.predicted != row.label for row in labelled],
        q,
        target=target,
        miss=miss,
        counted=Counted(documents, min(audit_share * part, float(q.min()))),
    )
    return _calibration(chosen, documents)


def is_broken(rows: Sequence[Judged], calibration: Calibration, *, documents: int, target: float, miss: float) -> bool:
    """Whether the audits since show that the version's own answers break the contract.

    `rows` are all its queries, `documents` all it has scored: what was there at the calibration is left out. Audits
    that are under way count as documents without an error, until they have ended.
    """
    audited = [
        row
        for row in rows[calibration.queries :]
        if row.threshold == calibration.threshold and _has_ended(row) and _confidence(row) >= calibration.threshold
    ]
    since = documents - calibration.documents
    labelled = [row for row in audited if _is_labelled(row)]
    if not labelled or since < len(labelled):
        return False
    part = _answered(audited)
    weights = [1.0 / (row.propensity * part) for row in labelled if row.predicted != row.label]
    watch = ContractWatch(risk=1.0 - target, miss=miss)
    watch.observe(since, weights)
    return watch.is_broken


def _calibration(chosen: Threshold | None, documents: int) -> Calibration | None:
    if chosen is None:
        return None
    return Calibration(chosen.confidence, chosen.served, chosen.risk, chosen.labels, documents)


def _confidence(row: Judged) -> float:
    """Of a document that got no answer: less than any."""
    return -1.0 if row.predicted is None or row.confidence is None else row.confidence


def _has_ended(row: Judged) -> bool:
    return row.status not in ("pending", "asked")


def _is_labelled(row: Judged) -> bool:
    return row.status == Outcome.LABELLED and row.likeness is None


def _answered(rows: Sequence[Judged]) -> float:
    asked = sum(1.0 / row.propensity for row in rows)
    return sum(1.0 / row.propensity for row in rows if _is_labelled(row)) / asked if asked else 1.0
