"""Counts what estimates and drift alarms have to know of every document, labelled or not."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from askance.records import HISTOGRAM_BINS, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from askance.predictions import Predictions
    from askance.records import Judged, Prediction


def tallies_of(predictions: Predictions, rows: NDArray[np.int64], *, is_shadow: bool = False) -> tuple[Tally, ...]:
    """Of those rows, which lie in one partition and in offset order: a tally for each version among them."""
    found = []
    for number, answerer in enumerate(predictions.answerers):
        own = rows[predictions.answerer[rows] == number]
        if not len(own):
            continue
        covered = own[predictions.propensities[own] > 0.0]
        answered = covered[predictions.finite[covered]]
        times = np.bincount(predictions.labels[answered], minlength=len(answerer.labels)).tolist()
        tally = Tally(
            first_offset=predictions.places.offsets[own[0]].item(),
            version=answerer.version,
            documents=len(own),
            uncovered=len(own) - len(covered),
            confidences=predictions.confidences[answered].sum(dtype=np.float64).item(),
            uncertainties=_histogram(predictions.uncertainties[own]),
            predicted={label: count for label, count in zip(answerer.labels, times, strict=True) if count},
            is_shadow=is_shadow,
            topic=predictions.places.topics[own[0]],
            partition=predictions.places.partitions[own[0]].item(),
        )
        found.append((own[0], tally))
    return tuple(tally for _, tally in sorted(found, key=lambda one: one[0]))


def tally_of(predictions: Sequence[Prediction]) -> Tally | None:
    """Of a version's predictions in one partition, in offset order; None of none."""
    if not predictions:
        return None
    covered = [prediction for prediction in predictions if prediction.propensity > 0.0]
    return Tally(
        first_offset=predictions[0].offset,
        version=predictions[0].version,
        documents=len(predictions),
        uncovered=len(predictions) - len(covered),
        confidences=sum(prediction.confidence or 0.0 for prediction in covered),
        uncertainties=_histogram(np.array([prediction.uncertainty for prediction in predictions])),
        predicted=dict(Counter(prediction.label for prediction in covered if prediction.label is not None)),
        topic=predictions[0].topic,
        partition=predictions[0].partition,
    )


def _histogram(uncertainties: NDArray[np.floating]) -> tuple[int, ...]:
    bins = (uncertainties.astype(np.float64) * HISTOGRAM_BINS).astype(np.int64)
    return tuple(np.bincount(np.minimum(bins, HISTOGRAM_BINS - 1), minlength=HISTOGRAM_BINS).tolist())


def newest_blocks(tallies: Sequence[Tally], rows: Sequence[Judged], *, block: int) -> tuple[list[Tally], list[Judged]]:
    """What is left when only the newest `rows` are at hand: the blocks of `block` offsets that they cover whole."""
    first: dict[tuple[str, int], int] = {}
    for row in rows:
        first.setdefault(row.coordinates[:2], row.coordinates.offset // block + 1)
    return (
        [
            tally
            for tally in tallies
            if tally.first_offset // block >= first.get((tally.topic, tally.partition), math.inf)
        ],
        [row for row in rows if row.coordinates.offset // block >= first[row.coordinates[:2]]],
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
