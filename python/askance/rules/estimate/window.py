"""What is known of a window of a run: the figures, and how much of it no label can speak for.

Owns the promise that a share of the stream is never shown without the part that is missing from it: documents drawn at
propensity 0 are reported as uncovered, and queries without a valid label by how they ended. Those are taken to be like
labelled ones that were as likely to be asked (missing at random given the propensity): every label's propensity is
multiplied by the part of the window's queries, weighted, that has a valid label. A near-duplicate's label stands for
its document at that document's own propensity, and the part of such labels is reported. A label counts for the version
that made the prediction, however late it comes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from askance.manifest import Estimate  # noqa: TC001 - msgspec resolves it at run time
from askance.records import Outcome
from askance.rules.estimate.classes import ClassEstimate, Confusion, estimate_classes, estimate_confusions
from askance.rules.estimate.mean import MINIMUM_EFFECTIVE, Guesses, all_right, effective_size, estimate_agreement
from askance.rules.estimate.sequence import watched_agreement
from askance.rules.tally import merged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from askance.records import Judged, Tally


class WindowEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be said; a figure is None while there are not enough labels."""

    version: str | None
    """None: of all versions together."""
    documents: int
    """Scored by a student; those that came before the first one are in no figure."""
    uncovered: int
    """Of them, drawn at propensity 0 (a closed gate): the figures are of the others."""
    queries: dict[str, int]
    """By how they stand: `labelled`, `invalid`, `failed`, `lost`, `pending`, `asked`."""
    answered: float
    """Part of the queries, weighted, that has a valid label; the others are assumed to be like these."""
    copied: float
    """Part of the labels, weighted, that are a near-duplicate's: the teacher was not asked about these documents. The
    figures may be off by this times the part of such labels that is wrong, which audits tell."""
    effective: float
    """Effective sample size of the labels."""
    agreement: Estimate | None
    """With the teacher, fixed-time 95 % interval: for one look."""
    watched: Estimate | None
    """The same with an interval that may be looked at after every label."""
    accuracy: Estimate | None
    """Against gold, where gold is known of labelled documents."""
    classes: tuple[ClassEstimate, ...]
    confusions: tuple[Confusion, ...]
    """Every kind of mistake seen, the commonest first."""

    @property
    def minimum(self) -> float:
        """The effective sample size below which there are not enough labels yet."""
        return MINIMUM_EFFECTIVE


def estimate_window(
    tallies: Sequence[Tally],
    judged: Sequence[Judged],
    labels: Sequence[str],
    *,
    version: str | None = None,
    gold: Mapping[str, str] | None = None,
) -> WindowEstimate:
    """From the counts and the queries of one window; `version` picks one version's documents among them.

    `gold` maps identifiers of documents to their true label. Documents that no student scored are left out.
    """
    tallies = [tally for tally in tallies if tally.version is not None and version in (None, tally.version)]
    rows = [row for row in judged if row.predicted is not None and version in (None, row.version)]
    whole = merged(tallies)
    documents, uncovered = (whole.documents, whole.uncovered) if whole else (0, 0)
    labelled = [row for row in rows if row.status == Outcome.LABELLED]
    asked = sum(1.0 / row.propensity for row in rows)
    answered = sum(1.0 / row.propensity for row in labelled) / asked if asked else 0.0
    copied = sum(1.0 / row.propensity for row in labelled if row.likeness is not None)
    q = np.array([row.propensity for row in labelled], dtype=np.float64) * answered
    covered = documents - uncovered
    counted = whole if whole is not None and covered >= len(labelled) > 0 else None
    agrees = [row.predicted == row.label for row in labelled]
    guesses = Guesses([row.confidence or 0.0 for row in labelled], counted.confidences, covered) if counted else None
    found: list[ClassEstimate] = []
    if counted:
        predictions = [row.predicted or "" for row in labelled]
        truths = [row.label or "" for row in labelled]
        found = estimate_classes(labels, truths, predictions, q, predicted=counted.predicted)
    return WindowEstimate(
        version=version,
        documents=documents,
        uncovered=uncovered,
        queries=dict(sorted(Counter(str(row.status) for row in rows).items())),
        answered=answered,
        copied=copied / (answered * asked) if labelled else 0.0,
        effective=effective_size(q) if len(q) else 0.0,
        agreement=estimate_agreement(agrees, q, guesses=guesses) if labelled else None,
        watched=watched_agreement(agrees, q, guesses=guesses) if guesses is not None else None,
        accuracy=_accuracy(labelled, q, gold, covered if counted else None),
        classes=tuple(found),
        confusions=tuple(
            estimate_confusions([row.label or "" for row in labelled], [row.predicted or "" for row in labelled], q)
        ),
    )


def _accuracy(
    labelled: Sequence[Judged],
    q: np.ndarray[tuple[int], np.dtype[np.float64]],
    gold: Mapping[str, str] | None,
    covered: int | None,
) -> Estimate | None:
    known = np.array([gold is not None and row.document_id in gold for row in labelled], dtype=np.bool_)
    if gold is None or not known.any():
        return None
    right = [row.predicted == gold[row.document_id] for row in labelled if row.document_id in gold]
    complete = bool(known.all()) and covered is not None
    guesses = all_right(len(right), covered) if complete and covered is not None else None
    return estimate_agreement(right, q[known], guesses=guesses)
