from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askance.rules.estimate import (
    MINIMUM_EFFECTIVE,
    effective_size,
    estimate_agreement,
    estimate_difference,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

RUNS = 400


class Stream:
    """A stream of which everything is known, gated at a rate: errors are where the student is unsure, mostly."""

    def __init__(self, seed: int, *, documents: int, rate: float, errors: float, confident_errors: float) -> None:
        rng = np.random.default_rng(seed)
        uncertainty = rng.beta(0.5, 3.0, documents)
        wrong = rng.random(documents) < np.clip(4.0 * errors * uncertainty + confident_errors, 0.0, 1.0)
        self.agrees: NDArray[np.bool_] = ~wrong
        self.rival_agrees = self.agrees ^ (rng.random(documents) < 0.06)
        self.propensities = _gate(uncertainty, rate=rate, floor=rate / 10)
        self.accepted = rng.random(documents) < self.propensities


def _gate(uncertainty: NDArray[np.float64], *, rate: float, floor: float) -> NDArray[np.float64]:
    low, high = 0.0, 100.0
    for _ in range(40):
        scale = (low + high) / 2
        propensities = floor + (1 - floor) * np.minimum(1.0, scale * uncertainty)
        low, high = (scale, high) if propensities.mean() < rate else (low, scale)
    return propensities


SETTINGS = [
    pytest.param({"documents": 10_000, "rate": 0.01, "errors": 0.2, "confident_errors": 0.0}, id="few labels"),
    pytest.param({"documents": 4_000, "rate": 0.05, "errors": 0.2, "confident_errors": 0.02}, id="default"),
    pytest.param({"documents": 4_000, "rate": 0.05, "errors": 0.01, "confident_errors": 0.002}, id="nearly perfect"),
    pytest.param({"documents": 2_000, "rate": 0.3, "errors": 0.5, "confident_errors": 0.05}, id="bad student"),
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_intervals_cover_the_truth_and_the_naive_figure_does_not(setting: dict[str, float]) -> None:
    covered = naive_covered = 0
    misses = []
    for seed in range(RUNS):
        stream = Stream(seed, **setting)  # type: ignore[arg-type]
        truth = stream.agrees.mean()
        estimate = estimate_agreement(stream.agrees[stream.accepted], stream.propensities[stream.accepted])
        naive = estimate_agreement(stream.agrees[stream.accepted], np.ones(stream.accepted.sum()))
        assert estimate is not None
        assert naive is not None
        covered += estimate.low <= truth <= estimate.high
        naive_covered += naive.low <= truth <= naive.high
        misses.append((estimate.value - truth, naive.value - truth))
    bias, naive_bias = np.mean(misses, axis=0)
    assert covered / RUNS >= 0.93
    assert naive_covered < covered
    # A ratio estimator is biased by O(1 / effective size); the naive one by how much harder accepted documents are.
    assert abs(bias) < 0.004
    assert abs(naive_bias) > 3 * abs(bias)


def test_naive_accuracy_over_accepted_documents_is_badly_biased_where_this_is_not() -> None:
    stream = Stream(7, documents=200_000, rate=0.05, errors=0.25, confident_errors=0.01)
    estimate = estimate_agreement(stream.agrees[stream.accepted], stream.propensities[stream.accepted])
    assert estimate is not None
    truth = stream.agrees.mean()
    assert truth > 0.84
    assert stream.agrees[stream.accepted].mean() < truth - 0.12
    assert estimate.value == pytest.approx(truth, abs=0.015)
    assert estimate.low <= truth <= estimate.high


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_interval_of_a_paired_difference_covers_the_truth(setting: dict[str, float]) -> None:
    covered = narrower = 0
    for seed in range(RUNS):
        stream = Stream(seed, **setting)  # type: ignore[arg-type]
        truth = stream.rival_agrees.mean() - stream.agrees.mean()
        labelled = stream.accepted
        q = stream.propensities[labelled]
        estimate = estimate_difference(stream.rival_agrees[labelled], stream.agrees[labelled], q)
        assert estimate is not None
        covered += estimate.low <= truth <= estimate.high
        one, other = (
            estimate_agreement(stream.rival_agrees[labelled], q),
            estimate_agreement(stream.agrees[labelled], q),
        )
        assert one is not None
        assert other is not None
        unpaired = np.hypot(one.high - one.low, other.high - other.low)
        narrower += estimate.high - estimate.low < unpaired
    assert covered / RUNS >= 0.93
    assert narrower / RUNS > 0.75


def test_equal_propensities_give_wilsons_interval() -> None:
    estimate = estimate_agreement([True] * 81 + [False] * 19, [0.3] * 100)
    assert estimate is not None
    # Wilson's interval for 81 of 100 (statsmodels: 0.7222, 0.8749); n / (n - 1) in the variance widens it a little.
    assert estimate.value == pytest.approx(0.81)
    assert estimate.documents == 100
    assert estimate.effective == pytest.approx(100.0)
    assert estimate.low == pytest.approx(0.7222, abs=2e-3)
    assert estimate.high == pytest.approx(0.8749, abs=2e-3)


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
