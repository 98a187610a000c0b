"""Is the challenger fit to be champion? Both answer the same held-out documents.

Held-out labels were drawn with known propensities like all others, so the comparison is of the stream, not of the
hard documents the gate prefers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from askance.manifest import Verdict
from askance.rules.estimate import MINIMUM_EFFECTIVE, effective_size, estimate_agreement, estimate_difference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from askance.manifest import Estimate
    from askance.protocols import Student
    from askance.records import Labelled


def agreement(student: Student, held_out: Sequence[Labelled]) -> Estimate | None:
    """The student's agreement with the teacher on the stream, or None while there are too few held-out labels."""
    return estimate_agreement(_agrees(student, held_out), _propensities(held_out))


def judge(challenger: Student, champion: Student, held_out: Sequence[Labelled]) -> Verdict:
    """Promote unless the held-out labels show the challenger to be worse.

    Shown to be worse means that the whole 95 % interval of the paired difference lies below 0. Anything else
    promotes: the challenger has learnt from more labels, which is evidence of its own.
    """
    propensities = _propensities(held_out)
    difference = estimate_difference(_agrees(challenger, held_out), _agrees(champion, held_out), propensities)
    if difference is None:
        why = (
            f"too few held-out labels to compare with {champion.version} (effective sample size "
            f"{effective_size(propensities):.1f} of at least {MINIMUM_EFFECTIVE:g}); it has learnt from more labels"
        )
        return Verdict(promoted=True, why=why, champion=champion.version)
    promoted = difference.high >= 0.0
    finding = "better than" if difference.low > 0.0 else "not shown to be worse than" if promoted else "worse than"
    why = (
        f"{finding} {champion.version}: agreement differs by {difference.value:+.3f} "
        f"[{difference.low:+.3f}, {difference.high:+.3f}] on {difference.documents} held-out labels"
    )
    return Verdict(promoted=promoted, why=why, champion=champion.version, difference=difference)


def _agrees(student: Student, held_out: Sequence[Labelled]) -> NDArray[np.bool_]:
    if not held_out:
        return np.zeros(0, dtype=np.bool_)
    logits = student.logits([row.text for row in held_out])
    answers = [student.labels[column] for column in logits.argmax(axis=1)]
    same = np.array([answer == row.label for answer, row in zip(answers, held_out, strict=True)])
    return same & np.isfinite(logits).all(axis=1)


def _propensities(held_out: Sequence[Labelled]) -> NDArray[np.float64]:
    return np.array([row.propensity for row in held_out], dtype=np.float64)
