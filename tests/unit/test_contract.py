"""The agreement contract: exact bounds against scipy, and how often the promise is broken in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from askance.rules.contract import ContractWatch, Counted, bet_against, choose_threshold, exact_p_value


@pytest.mark.parametrize(("errors", "labels", "risk"), [(0, 149, 0.02), (13, 1000, 0.02), (40, 300, 0.1)])
def test_the_long_run_test_is_clopper_and_pearsons(errors: int, labels: int, risk: float) -> None:
    assert exact_p_value(errors, labels, risk=risk) == pytest.approx(stats.binom.cdf(errors, labels, risk))
    upper = stats.beta.ppf(0.95, errors + 1, labels - errors)
    assert (exact_p_value(errors, labels, risk=risk) <= 0.05) == (upper <= risk)


@pytest.mark.parametrize(("errors", "labels", "horizon"), [(0, 200, 500), (10, 1000, 3000), (3, 50, 10)])
def test_the_test_of_the_next_documents_is_hypergeometric(errors: int, labels: int, horizon: int) -> None:
    bad = errors + int(0.02 * horizon) + 1
    expected = stats.hypergeom.cdf(errors, labels + horizon, bad, labels)
    assert exact_p_value(errors, labels, risk=0.02, horizon=horizon) == pytest.approx(expected)


def test_a_far_horizon_is_the_long_run() -> None:
    far = exact_p_value(10, 1000, risk=0.02, horizon=10_000_000)
    assert far == pytest.approx(exact_p_value(10, 1000, risk=0.02), rel=1e-2)


def _documents(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidences and errors of a student that is too sure of itself."""
    confidences = rng.beta(4.0, 1.0, count)
    return confidences, rng.random(count) > confidences**0.3


@pytest.mark.parametrize("horizon", [None, 2000])
def test_the_promise_is_kept_as_often_as_it_says(horizon: int | None) -> None:
    rng = np.random.default_rng(0)
    reference, wrong = _documents(rng, 1_000_000)
    runs, broken, served = 200, 0, []
    for _ in range(runs):
        confidences, errors = _documents(rng, 1000)
        chosen = choose_threshold(confidences, errors, np.ones(1000), target=0.95, horizon=horizon)
        assert chosen is not None
        served.append(chosen.served)
        if horizon is None:
            broken += ((reference >= chosen.confidence) & wrong).mean() > 0.05
        else:
            coming, mistakes = _documents(rng, horizon)
            broken += ((coming >= chosen.confidence) & mistakes).mean() > 0.05
    # Three standard errors above the promise; a bound that is never broken is a waste.
    assert broken / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
    assert broken > 0
    assert np.mean(served) > 0.5


def test_the_promise_is_kept_with_weighted_labels() -> None:
    rng = np.random.default_rng(1)
    reference, wrong = _documents(rng, 1_000_000)
    runs, broken, served = 200, 0, []
    for _ in range(runs):
        confidences, errors = _documents(rng, 10_000)
        q = 0.1 + 0.9 * np.minimum(1.0, 2 * (1.0 - confidences))
        drawn = rng.random(len(q)) < q
        chosen = choose_threshold(
            confidences[drawn], errors[drawn], q[drawn], target=0.95, counted=Counted(len(q), 0.1)
        )
        assert chosen is not None
        served.append(chosen.served)
        broken += ((reference >= chosen.confidence) & wrong).mean() > 0.05
    assert broken / runs <= 0.05
    assert np.mean(served) > 0.5


def test_weights_that_are_ignored_break_the_promise() -> None:
    rng = np.random.default_rng(2)
    broken = kept = 0
    for _ in range(50):
        confidences, errors = rng.random(20_000), rng.random(20_000) < 0.08
        # The gate looks away from the confident ones, so that their errors look rare. Answering .625 of all is right.
        q = np.where(confidences > 0.3, 0.05, 1.0)
        drawn = rng.random(len(q)) < q
        ignored = choose_threshold(confidences[drawn], errors[drawn], np.ones(drawn.sum()), target=0.95)
        weighted = choose_threshold(
            confidences[drawn], errors[drawn], q[drawn], target=0.95, counted=Counted(len(q), 0.05)
        )
        broken += ignored is not None and 0.08 * (1.0 - ignored.confidence) > 0.05
        kept += weighted is not None and 0.08 * (1.0 - weighted.confidence) <= 0.05
    assert broken == 50
    assert kept >= 47


def test_too_few_labels_leave_everything_to_the_teacher() -> None:
    assert choose_threshold(np.ones(148), np.zeros(148), np.ones(148), target=0.98) is None
    assert choose_threshold(np.ones(149), np.zeros(149), np.ones(149), target=0.98) is not None
    assert choose_threshold([], [], [], target=0.98, counted=Counted(0, 1.0)) is None


def test_equal_confidences_are_served_together_or_not_at_all() -> None:
    scores = np.repeat([0.9, 0.8], [500, 500])
    wrong = np.zeros(1000, dtype=bool)
    wrong[500:700] = True
    chosen = choose_threshold(scores, wrong, np.ones(1000), target=0.98)
    assert chosen is not None
    assert (chosen.confidence, chosen.served, chosen.risk) == (0.9, 0.5, 0.0)


def test_the_bet_wins_where_there_are_no_errors_and_loses_where_there_are_too_many() -> None:
    counted = Counted(20_000, 0.05)
    assert bet_against(np.zeros(0), counted, risk=0.02) > 1e5
    # 400 of 20,000 documents is a risk of 0.02 exactly.
    assert bet_against(np.full(20, 20.0), counted, risk=0.02) < 20


def test_the_watch_finds_a_broken_contract_and_leaves_a_kept_one_alone() -> None:
    rng = np.random.default_rng(3)
    false_alarms, delays = 0, []
    for _ in range(200):
        kept = ContractWatch(risk=0.02)
        for _ in range(200):
            kept.observe(1000, np.full(rng.binomial(1000, 0.02 * 0.05), 20.0))
            if kept.is_broken:
                false_alarms += 1
                break
    for _ in range(50):
        broken = ContractWatch(risk=0.02)
        for step in range(1, 400):
            broken.observe(500, np.full(rng.binomial(500, 0.06 * 0.05), 20.0))
            if broken.is_broken:
                delays.append(500 * step)
                break
    assert false_alarms / 200 <= 0.05
    assert len(delays) == 50
    # A risk of three times the promise, audited at 5 %, is found within some thousand documents.
    assert np.median(delays) < 8000


def test_misuse_is_named() -> None:
    with pytest.raises(ValueError, match="say with `counted`"):
        choose_threshold([0.5, 0.6], [0, 1], [0.5, 1.0], target=0.9)
    with pytest.raises(ValueError, match="target is 98"):
        choose_threshold([0.5], [0], [1.0], target=98.0)
    with pytest.raises(ValueError, match="a horizon needs"):
        choose_threshold([0.5, 0.6], [0, 1], [0.5, 1.0], target=0.9, counted=Counted(4, 0.5), horizon=10)
    with pytest.raises(ValueError, match="one confidence, outcome and propensity"):
        choose_threshold([0.5, 0.6], [0], [1.0], target=0.9)
