"""A budget keeps its promise over a stream, whatever the uncertainties do, and only by moving the scale beforehand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from askance.rules.budget import Budget, PerSecondBudget, ShareBudget, Unlimited
from askance.rules.gate import M_RARU_OPENING, Opening


def propensities(opening: Opening, u: NDArray[np.float32], exponent: float = 1.0) -> NDArray[np.float64]:
    return opening.floor + (1 - opening.floor) * np.minimum(1.0, opening.scale * u.astype(np.float64) ** exponent)


def play(
    budget: Budget, batches: list[NDArray[np.float32]], *, seed: int = 0, exponent: float = 1.0, step: float = 1.0
) -> NDArray[np.int64]:
    """How many of each batch were accepted."""
    rng = np.random.default_rng(seed)
    accepted = []
    for index, u in enumerate(batches):
        opening = budget.opening(len(u), now=index * step, blind=False)
        hits = int((rng.random(len(u)) < propensities(opening, u, exponent)).sum())
        budget.spent(u, hits)
        accepted.append(hits)
    return np.array(accepted)


def share_budget(**settings: float) -> ShareBudget:
    return ShareBudget(**{"share": 0.05, "floor": 0.0025, "exponent": 1.0, "advance": 0, "horizon": 5000} | settings)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 1.0])
def test_the_share_holds_over_a_stream_that_changes(share: float, exponent: float) -> None:
    rng = np.random.default_rng(1)
    # From an unsure student to a sure one, with a sudden swap in the middle.
    batches = [rng.beta(2, 2 if i < 100 else 30, 500).astype(np.float32) for i in range(200)]
    accepted = play(share_budget(share=share, floor=share / 20, exponent=exponent), batches, exponent=exponent)
    assert abs(accepted.sum() / 100_000 - share) < 4 * np.sqrt(share * (1 - share) / 100_000) + 0.02 * share


def test_the_advance_is_lent_at_once_and_paid_back() -> None:
    budget = share_budget(advance=100)
    first = budget.opening(500, now=0.0, blind=True)
    assert propensities(first, np.ones(1, np.float32))[0] == pytest.approx(125 / 500)
    budget.spent(np.ones(500, np.float32), 125)
    second = budget.opening(500, now=0.0, blind=True)
    assert propensities(second, np.ones(1, np.float32))[0] == pytest.approx(0.05)
    u = np.random.default_rng(0).random(500).astype(np.float32)
    budget.spent(np.ones(500, np.float32), 25)
    after = [u] * 100
    assert play(budget, after)[:20].sum() < 0.05 * 500 * 20
    assert play(budget, after).sum() + 150 == pytest.approx(0.05 * 51_000, rel=0.6)


def test_a_restarted_budget_goes_on_where_it_was() -> None:
    u = np.random.default_rng(0).random(500).astype(np.float32)
    whole = share_budget()
    play(whole, [u] * 10)
    again = share_budget(documents=5000, accepted=whole._accepted)
    again.spent(u[:0], 0)
    assert again.opening(500, now=0, blind=True) == whole.opening(500, now=0, blind=True)


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50),
    st.floats(0.01, 1),
    st.floats(0, 0.01),
)
def test_the_solved_scale_meets_the_rate_where_it_can_be_met(u: list[float], share: float, floor: float) -> None:
    seen = np.array(u, dtype=np.float32)
    budget = share_budget(share=share, floor=floor, horizon=10**12)
    budget.spent(np.repeat(seen, 2048), 0)
    opening = budget.opening(10, now=0.0, blind=False)
    window = np.repeat(seen, 2048)[-2048:]
    mean = propensities(opening, window).mean()
    reachable = floor + (1 - floor) * np.minimum(1.0, 1e12 * window.astype(float)).mean()
    assert mean == pytest.approx(min(share, reachable), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("floor", [0.0, 0.05])
@pytest.mark.parametrize("batch", [1, 100, 512])
@pytest.mark.parametrize(("per_second", "arrivals"), [(1.0, 1000), (10.0, 5000), (10.0, 50_000), (100.0, 200)])
def test_queries_per_second_hold_from_the_first_second_on(
    per_second: float, arrivals: int, batch: int, floor: float
) -> None:
    rng = np.random.default_rng(2)
    budget = PerSecondBudget(per_second=per_second, floor=floor, exponent=1.0)
    seconds = 20 if batch > 1 else 3
    batches = [rng.random(batch).astype(np.float32) for _ in range(seconds * arrivals // batch)]
    accepted = play(budget, batches, step=batch / arrivals)
    for end in (1, seconds):
        allowed = per_second * (end + 5)
        taken = accepted[: end * arrivals // batch].sum()
        assert taken <= allowed + 4 * np.sqrt(allowed) + 1
    wanted = min(per_second, arrivals) * seconds
    assert accepted.sum() > 0.8 * wanted - 4 * np.sqrt(wanted)


def test_a_sudden_flood_of_documents_is_no_flood_of_queries() -> None:
    rng = np.random.default_rng(2)
    budget = PerSecondBudget(per_second=5.0, floor=0.0, exponent=1.0)
    # 0.1 s a batch: 200 documents a second, then 10,000 a second.
    batches = [rng.random(20 if i < 600 else 1000).astype(np.float32) for i in range(1200)]
    accepted = play(budget, batches, step=0.1)
    assert accepted[:600].sum() == pytest.approx(300, rel=0.25)
    assert accepted[600:].sum() == pytest.approx(300, rel=0.25)
    assert accepted[600:610].sum() < 5 * (1 + 5) + 4 * np.sqrt(30)


def test_an_idle_hour_is_not_saved_up() -> None:
    budget = PerSecondBudget(per_second=1.0, floor=0.0, exponent=1.0)
    u = np.full(100, 0.5, np.float32)
    budget.opening(100, now=0.0, blind=False)
    budget.spent(u, 0)
    total = 0.0
    for second in range(60):
        opening = budget.opening(100, now=3600.0 + second, blind=False)
        total += (hits := propensities(opening, u).sum())
        budget.spent(u, round(hits))
    assert total < 60 + 10


def test_a_worker_with_half_of_the_partitions_has_half_of_the_budget() -> None:
    rng = np.random.default_rng(3)
    budget = PerSecondBudget(per_second=20.0, floor=0.0, exponent=1.0)
    budget.hold(0.5)
    accepted = play(budget, [rng.random(100).astype(np.float32) for _ in range(600)], step=0.1)
    assert accepted.sum() == pytest.approx(600, rel=0.15)
    budget.hold(0.0)
    assert budget.opening(100, now=61.0, blind=False).scale <= 1.0


@pytest.mark.parametrize(("before", "after"), [(0.05, 0.5), (0.5, 0.05)])
def test_a_changed_share_does_not_swing_to_all_or_nothing(before: float, after: float) -> None:
    u = np.random.default_rng(0).random(500).astype(np.float32)
    budget = share_budget(share=after, floor=after / 20, documents=6000, accepted=round(6000 * before))
    accepted = play(budget, [u] * 6)
    assert 0.0 < accepted.sum() / 3000 < 2.2 * after


def test_the_floor_stays_open_while_a_debt_is_paid_back() -> None:
    budget = share_budget(documents=1000, accepted=900)
    budget.spent(np.ones(10, np.float32), 0)
    assert budget.opening(100, now=0.0, blind=False).floor == pytest.approx(0.0025)


def test_m_raru_has_no_budget() -> None:
    budget = Unlimited(floor=0.0)
    assert budget.opening(10, now=0.0, blind=False) == M_RARU_OPENING == Opening(0.0, 1.0)
