"""The estimates on simulated streams: do intervals cover, is anything biased, does the naive figure fail?

The full size, 2,000 runs of more streams, is `make bench-estimates`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from askance.rules.estimate import (
    Guesses,
    all_right,
    estimate_agreement,
    estimate_classes,
    watched_agreement,
)
from tests.simulated import Stream, stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

RUNS = 300
CELLS = [
    pytest.param(2, 0.05, 1.0, id="2 classes"),
    pytest.param(20, 0.05, 1.0, id="20 classes"),
    pytest.param(77, 0.1, 1.0, id="77 classes"),
    pytest.param(20, 0.02, 2.5, id="far too sure of itself"),
    pytest.param(20, 0.3, 1.0, id="many labels"),
]


def _stream(classes: int, rate: float, overconfidence: float) -> Stream:
    return stream(
        classes=classes,
        rate=rate,
        overconfidence=overconfidence,
        rarest=0.05,
        signal=3.5 if classes == 2 else 4.5,
        documents=int(1000 / rate) if rate < 0.2 else 10_000,
    )


@pytest.mark.parametrize("guessed", [False, True])
@pytest.mark.parametrize(("classes", "rate", "overconfidence"), CELLS)
def test_agreement_is_unbiased_and_covered(classes: int, rate: float, overconfidence: float, guessed: bool) -> None:
    known = _stream(classes, rate, overconfidence)
    truth = known.agrees.mean()
    values, covered = [], 0
    for rows in known.draws(RUNS):
        guesses = (
            Guesses(known.confidences[rows], known.confidences.sum(), len(known.truth))
            if guessed
            else all_right(len(rows), len(known.truth))
        )
        estimate = estimate_agreement(known.agrees[rows], known.propensities[rows], guesses=guesses)
        assert estimate is not None
        values.append(estimate.value)
        covered += estimate.low <= truth <= estimate.high
    assert covered / RUNS >= 0.93
    # Three standard errors of the mean over the runs, and the promise itself.
    assert abs(np.mean(values) - truth) < max(0.002, 3 * np.std(values) / RUNS**0.5)


def test_the_naive_share_and_the_ratio_of_few_labels_fail_where_the_difference_estimator_does_not() -> None:
    known = stream(classes=20, rate=0.01, documents=12_000, overconfidence=2.5, signal=4.5)
    truth = known.agrees.mean()
    naive, ratio, difference = [], [], []
    for rows in known.draws(RUNS):
        agrees, q = known.agrees[rows], known.propensities[rows]
        naive.append(agrees.mean())
        ratio.append((agrees / q).sum() / (1 / q).sum())
        difference.append(1.0 - ((1 - agrees) / q).sum() / len(known.truth))
    assert np.mean(naive) < truth - 0.2
    assert np.mean(ratio) < truth - 0.01
    assert abs(np.mean(difference) - truth) < 3 * np.std(difference) / RUNS**0.5
    assert np.std(difference) < np.std(ratio)


def test_guesses_that_are_wrong_cost_precision_and_nothing_else() -> None:
    known = _stream(20, 0.05, 1.0)
    backwards = 1.0 - known.confidences
    values = [
        _value(known, rows, Guesses(backwards[rows], float(backwards.sum()), len(known.truth)))
        for rows in known.draws(RUNS)
    ]
    assert abs(np.mean(values) - known.agrees.mean()) < 3 * np.std(values) / RUNS**0.5
    good = [
        _value(known, rows, Guesses(known.confidences[rows], known.confidences.sum(), len(known.truth)))
        for rows in known.draws(RUNS)
    ]
    assert np.std(good) < np.std(values) / 2


def _value(known: Stream, rows: NDArray[np.int64], guesses: Guesses) -> float:
    estimate = estimate_agreement(known.agrees[rows], known.propensities[rows], guesses=guesses)
    assert estimate is not None
    return estimate.value


@pytest.mark.parametrize(("classes", "rate", "overconfidence"), CELLS)
def test_a_sequence_that_is_watched_all_along_misses_no_more_often_than_it_says(
    classes: int, rate: float, overconfidence: float
) -> None:
    known = _stream(classes, rate, overconfidence)
    truth = known.agrees.mean()
    rng = np.random.default_rng(1)
    runs, missed, fixed_missed = 60, 0, 0
    for _ in range(runs):
        order = rng.permutation(len(known.truth))
        places = np.flatnonzero(rng.random(len(order)) < known.propensities[order])
        rows = order[places]
        misses = fixed_misses = False
        for labels in np.unique(np.geomspace(20, len(rows), 40).astype(int)).tolist():
            guesses = all_right(labels, int(places[labels - 1]) + 1)
            agrees, q = known.agrees[rows[:labels]], known.propensities[rows[:labels]]
            watched = watched_agreement(agrees, q, guesses=guesses)
            fixed = estimate_agreement(agrees, q, guesses=guesses)
            misses |= watched is not None and not watched.low <= truth <= watched.high
            fixed_misses |= fixed is not None and not fixed.low <= truth <= fixed.high
        missed += misses
        fixed_missed += fixed_misses
    assert missed / runs <= 0.05
    assert missed <= fixed_missed


@pytest.mark.parametrize(("classes", "rate"), [(2, 0.05), (20, 0.2), (77, 0.3)])
def test_figures_of_classes_cover_rare_ones_too(classes: int, rate: float) -> None:
    known = stream(classes=classes, rate=rate, rarest=0.05, signal=4.0, documents=30_000)
    names = [str(label) for label in range(classes)]
    truths, predictions = (np.array(names, dtype=object)[column] for column in (known.truth, known.predicted))
    predicted = {name: int((known.predicted == label).sum()) for label, name in enumerate(names)}
    covered = dict.fromkeys(("precision", "recall", "f1", "share"), 0)
    given = dict.fromkeys(covered, 0)
    for rows in known.draws(30):
        found = estimate_classes(names, truths[rows], predictions[rows], known.propensities[rows], predicted=predicted)
        for label, one in enumerate(found):
            for figure, truth in _figures(known, label).items():
                estimate = getattr(one, figure)
                if estimate is not None:
                    given[figure] += 1
                    covered[figure] += estimate.low <= truth <= estimate.high
    assert given["share"] == 30 * classes
    assert given["f1"] > 0
    for figure, count in covered.items():
        assert count >= 0.93 * given[figure], (figure, count, given[figure])


def _figures(known: Stream, label: int) -> dict[str, float]:
    is_class, is_guess = known.truth == label, known.predicted == label
    right = (is_class & is_guess).sum()
    return {
        "precision": right / max(is_guess.sum(), 1),
        "recall": right / max(is_class.sum(), 1),
        "f1": 2 * right / max(is_class.sum() + is_guess.sum(), 1),
        "share": is_class.mean(),
    }
