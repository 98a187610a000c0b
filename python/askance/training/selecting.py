"""Which of the training rows are fitted on, and how much each counts: `rules.selection` on the ledger's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from askance import _kernel
from askance.rules.selection import select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from askance.protocols import Student
    from askance.records import Labelled
    from askance.rules.gate import Measure
    from askance.rules.selection import SelectionRule


def weights_of(
    rows: Sequence[Labelled],
    *,
    labels: Sequence[str],
    rule: SelectionRule,
    champion: Student | None = None,
    measure: Measure = "entropy",
) -> NDArray[np.float64]:
    """How much each of the n rows, in the order of the stream, counts in a fit, (n,): 0 where it is not learnt from.

    With a `champion` the uncertainties are its own of now, instead of those that were recorded when the rows came.
    """
    place = {label: index for index, label in enumerate(labels)}
    uncertainties = np.array([row.uncertainty for row in rows], dtype=np.float64)
    if champion is not None and rows:
        logits = champion.logits([row.text for row in rows])
        scored = _kernel.uncertainty(logits=logits, measure=measure, temperature=champion.temperature)
        uncertainties = scored.astype(np.float64)
    selection = select(
        targets=np.array([place[row.label] for row in rows], dtype=np.int64),
        confidences=np.array([np.nan if row.confidence is None else row.confidence for row in rows], dtype=np.float64),
        uncertainties=uncertainties,
        propensities=np.array([row.propensity for row in rows], dtype=np.float64),
        rule=rule,
    )
    return np.where(selection.kept, selection.weights, 0.0)
