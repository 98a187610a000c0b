from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askance.rules.estimate import (
    MINIMUM_EFFECTIVE,
    Confusion,
    Guesses,
    all_right,
    effective_size,
    estimate_agreement,
    estimate_classes,
    estimate_confusions,
    estimate_difference,
)
from tests.simulated import stream

RUNS = 400


@pytest.mark.parametrize(
    ("rate", "overconfidence"), [(0.05, 1.0), (0.3, 1.0), (0.1, 2.5)], ids=["default", "many labels", "too sure"]
)
def test_the_interval_of_a_paired_difference_covers_the_truth(rate: float, overconfidence: float) -> None:
    known = stream(classes=20, rate=rate, overconfidence=overconfidence, documents=10_000)
    rival = known.agrees ^ (np.random.default_rng(1).random(len(known.truth)) < 0.06)
    truth = rival.mean() - known.agrees.mean()
    covered = narrower = 0
    for rows in known.draws(RUNS):
        q = known.propensities[rows]
        estimate = estimate_difference(rival[rows], known.agrees[rows], q)
        one, other = estimate_agreement(rival[rows], q), estimate_agreement(known.agrees[rows], q)
        assert estimate is not None
        assert one is not None
        assert other is not None
        covered += estimate.low <= truth <= estimate.high
        narrower += estimate.high - estimate.low < np.hypot(one.high - one.low, other.high - other.low)
    assert covered / RUNS >= 0.93
    assert narrower / RUNS > 0.75


def test_equal_propensities_give_agresti_and_coulls_interval() -> None:
    estimate = estimate_agreement([True] * 81 + [False] * 19, [0.3] * 100)
    assert estimate is not None
    # statsmodels' agresti_coull for 81 of 100: 0.7212, 0.8758; the normal one reaches to 0.8869.
    assert estimate.value == pytest.approx(0.81)
    assert estimate.documents == 100
    assert estimate.effective == pytest.approx(100.0)
    assert estimate.low == pytest.approx(0.7212, abs=2e-3)
    assert estimate.high == pytest.approx(0.8869, abs=2e-3)


def test_heavy_documents_that_were_missed_are_not_forgotten() -> None:
    agrees, propensities = np.ones(100), np.full(100, 0.5)
    seen = estimate_agreement(agrees, propensities, guesses=all_right(100, 200))
    half_seen = estimate_agreement(agrees, propensities, guesses=all_right(100, 400))
    assert seen is not None
    assert half_seen is not None
    assert (seen.effective, half_seen.effective) == (pytest.approx(100.0), pytest.approx(25.0))
    assert half_seen.low < seen.low
    assert estimate_agreement(agrees, propensities, guesses=all_right(100, 600)) is None


def test_classes_by_hand() -> None:
    # 120 documents predicted as a and 80 as b; of 50 labels at q = 1/4, two b were taken for a and four a for b.
    truths = ["a"] * 28 + ["b"] * 2 + ["b"] * 16 + ["a"] * 4
    predictions = ["a"] * 30 + ["b"] * 20
    found = estimate_classes(["a", "b", "c"], truths, predictions, [0.25] * 50, predicted={"a": 120, "b": 80})
    share, precision, recall, f1 = found[0].share, found[0].precision, found[0].recall, found[0].f1
    assert share is not None
    assert precision is not None
    assert recall is not None
    assert f1 is not None
    assert share.value == pytest.approx((120 - 8 + 16) / 200)
    assert share.low < 0.64 < share.high
    assert precision.value == pytest.approx(112 / 120)
    assert recall.value == pytest.approx(112 / 128)
    assert f1.value == pytest.approx(2 * 112 / (120 + 128))
    assert (found[2].labelled, found[2].f1) == (0, None)
    few = estimate_classes(["a"], truths[:15], predictions[:15], [0.25] * 15, predicted={"a": 60})
    assert (few[0].labelled, few[0].precision) == (15, None)
    assert estimate_confusions(truths, predictions, [0.25] * 50) == [
        Confusion("a", "b", 16.0, 4),
        Confusion("b", "a", 8.0, 2),
    ]


def test_guesses_have_to_fit_the_labels() -> None:
    with pytest.raises(ValueError, match="one guess a labelled document"):
        estimate_agreement([True] * 30, [0.5] * 30, guesses=Guesses([1.0], 60.0, 60))
    with pytest.raises(ValueError, match="30 labelled documents of 29"):
        estimate_agreement([True] * 30, [1.0] * 30, guesses=all_right(30, 29))


def test_certainty_is_never_claimed() -> None:
    perfect = estimate_agreement(np.ones(50), np.full(50, 0.1))
    equal = estimate_difference(np.ones(50), np.ones(50), np.full(50, 0.1))
    assert perfect is not None
    assert equal is not None
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low < 0.94
    assert equal.low < -0.02 < 0.02 < equal.high


def test_too_few_documents_give_no_figure() -> None:
    few = int(MINIMUM_EFFECTIVE) - 1
    assert estimate_agreement(np.ones(few), np.ones(few)) is None
    assert estimate_difference(np.ones(few), np.ones(few), np.ones(few)) is None
    assert estimate_agreement([], []) is None
    # Many documents, but one of them stands for nearly all.
    assert estimate_agreement(np.ones(1000), [1e-6] + [1.0] * 999) is None


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(1e-6, 1.0)), max_size=60))
def test_the_laws_of_an_estimate(rows: list[tuple[bool, bool, float]]) -> None:
    one, other, q = ([row[part] for row in rows] for part in range(3))
    agreement, difference = estimate_agreement(one, q), estimate_difference(one, other, q)
    reverse = estimate_difference(other, one, q)
    assert (agreement is None) == (effective_size(q) < MINIMUM_EFFECTIVE) == (difference is None)
    if agreement is None or difference is None or reverse is None:
        return
    assert 0.0 <= agreement.low <= agreement.value <= agreement.high <= 1.0
    assert -1.0 <= difference.low <= difference.value <= difference.high <= 1.0
    assert reverse.value == pytest.approx(-difference.value)
    assert reverse.low == pytest.approx(-difference.high)
    scaled = estimate_agreement(one, np.asarray(q) / 3)
    assert scaled is not None
    assert scaled.value == pytest.approx(agreement.value)
    assert scaled.low == pytest.approx(agreement.low, abs=1e-9)


@pytest.mark.parametrize("impossible", [0.0, -0.1, 1.1, float("nan"), float("inf")])
def test_an_impossible_propensity_is_misuse(impossible: float) -> None:
    with pytest.raises(ValueError, match="propensity 1 is"):
        estimate_agreement([True, True], [0.5, impossible])


def test_arrays_that_do_not_match_are_misuse() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        estimate_agreement([True, True], [0.5])
