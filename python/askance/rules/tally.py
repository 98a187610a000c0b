"""Counts what estimates and drift alarms have to know of every document, labelled or not."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from askance.records import HISTOGRAM_BINS, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from askance.records import Prediction


def tallies_of(predictions: Sequence[Prediction], *, is_shadow: bool = False) -> tuple[Tally, ...]:
    """Of predictions in one partition, in offset order: one for each version among them."""
    versions = dict.fromkeys(prediction.version for prediction in predictions)
    found = (tally_of([one for one in predictions if one.version == version]) for version in versions)
    return tuple(msgspec.structs.replace(tally, is_shadow=is_shadow) for tally in found if tally is not None)


def tally_of(predictions: Sequence[Prediction]) -> Tally | None:
    """Of a version's predictions in one partition, in offset order; None of none."""
    if not predictions:
        return None
    covered = [prediction for prediction in predictions if prediction.propensity > 0.0]
    bins = [int(prediction.uncertainty * HISTOGRAM_BINS) for prediction in covered]
    histogram = np.bincount(np.minimum(np.array(bins, dtype=np.int64), HISTOGRAM_BINS - 1), minlength=HISTOGRAM_BINS)
    return Tally(
        first_offset=predictions[0].offset,
        version=predictions[0].version,
        documents=len(predictions),
        uncovered=len(predictions) - len(covered),
        confidences=sum(prediction.confidence or 0.0 for prediction in covered),
        uncertainties=tuple(histogram.tolist()),
        predicted=dict(Counter(prediction.label for prediction in covered if prediction.label is not None)),
        topic=predictions[0].topic,
        partition=predictions[0].partition,
    )


def merged(tallies: Iterable[Tally]) -> Tally | None:
    """All together, as if of one version and one stretch; None of none."""
    tallies = list(tallies)
    if not tallies:
        return None
    predicted: Counter[str] = Counter()
    for tally in tallies:
        predicted.update(tally.predicted)
    return Tally(
        first_offset=min(tally.first_offset for tally in tallies),
        version=tallies[0].version if len({tally.version for tally in tallies}) == 1 else None,
        documents=sum(tally.documents for tally in tallies),
        uncovered=sum(tally.uncovered for tally in tallies),
        confidences=sum(tally.confidences for tally in tallies),
        uncertainties=tuple(np.sum([tally.uncertainties for tally in tallies], axis=0).tolist()),
        predicted=dict(predicted),
        is_shadow=tallies[0].is_shadow,
        topic=tallies[0].topic,
        partition=tallies[0].partition,
    )
