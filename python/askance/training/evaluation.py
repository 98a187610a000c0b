"""Is the challenger fit to be champion? Both answer the same held-out documents.

Held-out labels were drawn with known propensities like all others, so the comparison is of the stream, not of the
hard documents the gate prefers.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from askance.rules.estimate import effective_size, estimate_agreement, estimate_difference
from askance.rules.promotion import decide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from askance.manifest import Estimate, Verdict
    from askance.protocols import Student
    from askance.records import Labelled
    from askance.rules.promotion import PromotionRule


def agreement(student: Student, held_out: Sequence[Labelled]) -> Estimate | None:
    """The student's agreement with the teacher on the stream, or None while there are too few held-out labels."""
    return estimate_agreement(_agrees(student, held_out, {}), _propensities(held_out))


def judge(
    challenger: Student,
    champion: Student,
    held_out: Sequence[Labelled],
    *,
    rule: PromotionRule = "unless_worse",
    margin: float = 0.005,
    renamed: Mapping[str, str] = MappingProxyType({}),
) -> Verdict:
    """The verdict by the configured rule, from the paired difference on the same held-out labels.

    `renamed` are labels of an earlier label set, which the champion may still give, and what they are called now.
    """
    propensities = _propensities(held_out)
    return decide(
        estimate_difference(_agrees(challenger, held_out), _agrees(champion, held_out, renamed), propensities),
        champion=champion.version,
        effective=effective_size(propensities),
        rule=rule,
        margin=margin,
    )


def _agrees(
    student: Student, held_out: Sequence[Labelled], renamed: Mapping[str, str] = MappingProxyType({})
) -> NDArray[np.bool_]:
    if not held_out:
        return np.zeros(0, dtype=np.bool_)
    logits = student.logits([row.text for row in held_out])
    names = [renamed.get(label, label) for label in student.labels]
    answers = [names[column] for column in logits.argmax(axis=1)]
    same = np.array([answer == row.label for answer, row in zip(answers, held_out, strict=True)])
    return same & np.isfinite(logits).all(axis=1)


def _propensities(held_out: Sequence[Labelled]) -> NDArray[np.float64]:
    return np.array([row.propensity for row in held_out], dtype=np.float64)
