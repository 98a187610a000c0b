"""Per class: precision, recall, F1, the class's share of the stream, and who is mistaken for whom.

Everything is estimated from the labelled *errors*, which is where the gate looks. With P documents predicted as a class
(counted), FP of them wrong and FN documents of the class missed,

    TP = P - FP    precision = TP / P    recall = TP / (TP + FN)    F1 = 2 TP / (P + TP + FN)    share = (TP + FN) / N

FP and FN are Horvitz & Thompson's sums of weights. Variances are those of the linearised ratios (Särndal, Swensson &
Wretman, Model Assisted Survey Sampling, 1992, section 5.5); intervals as in `askance.rules.estimate.mean`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from askance.manifest import Estimate  # noqa: TC001 - msgspec resolves it at run time
from askance.rules.estimate.mean import checked, joined, kish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray


class ClassEstimate(msgspec.Struct, frozen=True):
    """What is known of one class; a figure is None while the effective sample size behind it is too small."""

    label: str
    labelled: int
    """Labelled documents that are of the class or were predicted as it."""
    effective: float
    """Their effective sample size."""
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None
    share: Estimate | None
    """Of the stream's documents, by the teacher's judgement."""


class Confusion(msgspec.Struct, frozen=True):
    """Documents of the stream that are of the class `label` and were predicted as `predicted`; an estimate."""

    label: str
    predicted: str
    documents: float
    labelled: int


def estimate_classes(
    labels: Sequence[str],
    truths: Sequence[str],
    predictions: Sequence[str],
    propensities: ArrayLike,
    *,
    predicted: Mapping[str, int],
) -> list[ClassEstimate]:
    """One entry for each of `labels`, from n labelled documents.

    `predicted` says how many documents of the whole window were predicted as each class; a label that is missing was
    never predicted.
    """
    _, w = checked(np.ones(len(truths)), propensities)
    truth, guess = np.array(truths, dtype=object), np.array(predictions, dtype=object)
    documents = sum(predicted.values())
    return [
        _estimate_class(
            label, w, truth == label, guess == label, predicted=predicted.get(label, 0), documents=documents
        )
        for label in labels
    ]


def estimate_confusions(truths: Sequence[str], predictions: Sequence[str], propensities: ArrayLike) -> list[Confusion]:
    """Every kind of mistake that was seen, the commonest first, as Horvitz & Thompson's sums of weights.

    >>> estimate_confusions(["a", "a", "b"], ["b", "a", "b"], [0.25, 0.5, 0.5])
    [Confusion(label='a', predicted='b', documents=4.0, labelled=1)]
    """
    _, w = checked(np.ones(len(truths)), propensities)
    sums: dict[tuple[str, str], tuple[float, int]] = {}
    for truth, guess, weight in zip(truths, predictions, w.tolist(), strict=True):
        if truth != guess:
            documents, labelled = sums.get((truth, guess), (0.0, 0))
            sums[truth, guess] = (documents + weight, labelled + 1)
    found = [Confusion(truth, guess, *sums[truth, guess]) for truth, guess in sums]
    return sorted(found, key=lambda confusion: (-confusion.documents, confusion.label, confusion.predicted))


def _estimate_class(
    label: str,
    w: NDArray[np.float64],
    is_class: NDArray[np.bool_],
    is_guess: NDArray[np.bool_],
    *,
    predicted: int,
    documents: int,
) -> ClassEstimate:
    involved = is_class | is_guess
    wrong, missed = w * (is_guess & ~is_class), w * (is_class & ~is_guess)
    right = max(0.0, predicted - float(wrong.sum()))
    present = right + float(missed.sum())

    def ratio(part: float, whole: float, change: NDArray[np.float64], behind: NDArray[np.bool_]) -> Estimate | None:
        """`change` holds the linearised residuals: by how much each document moves the part, less the whole's share."""
        return joined(part / whole, change, whole, w[behind]) if whole > 0.0 else None

    precision, recall = right / max(predicted, 1), right / max(present, 1.0)
    f1 = 2.0 * right / max(predicted + present, 1.0)
    return ClassEstimate(
        label=label,
        labelled=int(involved.sum()),
        effective=kish(w[involved]),
        precision=ratio(precision * predicted, predicted, -wrong, is_guess),
        recall=ratio(right, present, -wrong - recall * (missed - wrong), is_class),
        f1=ratio(right, (predicted + present) / 2.0, -wrong - f1 * (missed - wrong) / 2.0, involved),
        share=ratio(present, documents, missed - wrong, np.ones_like(involved)),
    )
