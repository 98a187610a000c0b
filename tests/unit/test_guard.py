from __future__ import annotations

import msgspec
import pytest

from askance.manifest import Estimate
from askance.records import Tally
from askance.rules.estimate import estimate_window
from askance.rules.guard import reason_to_roll_back
from tests.simulated import stream
from tests.unit.test_window import LABELS, run

PROMOTED_ON = Estimate(value=0.85, low=0.82, high=0.88, documents=300, effective=200.0)


def reason(
    live: list[Tally], former: list[Tally], found: object = None, *, promoted_on: Estimate = PROMOTED_ON
) -> str | None:
    return reason_to_roll_back(
        found or estimate_window(live, [], LABELS),  # type: ignore[arg-type]
        live,
        former,
        promoted_on=promoted_on,
        tolerance=0.02,
        jump=0.3,
        documents=1000,
    )


def tally(predicted: dict[str, int], documents: int = 2000, uncovered: int = 0) -> Tally:
    return Tally(0, "v2", documents, uncovered, 1000.0, (0,) * 20, predicted)


def test_numbers_that_are_none_end_a_version_at_once() -> None:
    assert reason([tally({"0": 1999})], []) == "non-finite scores for 1 of 2,000 documents"
    assert reason([tally({"0": 1500}, uncovered=500)], []) is None


def test_a_jump_of_the_class_shares_ends_it() -> None:
    former = [tally({"0": 1000, "1": 1000})]
    assert "jumped by 0.50" in str(reason([tally({"0": 2000})], former))
    assert reason([tally({"0": 1200, "1": 800})], former) is None
    assert reason([tally({"0": 500}, 500)], former) is None  # too few documents yet


@pytest.mark.parametrize("seed", range(8))
def test_a_live_agreement_below_what_it_was_promoted_on_ends_it_and_a_good_one_stays(seed: int) -> None:
    good = stream(classes=5, rate=0.1, documents=8_000, signal=4.0)
    bad = stream(classes=5, rate=0.1, documents=8_000, signal=2.2, seed=1)
    assert abs(good.agrees.mean() - PROMOTED_ON.value) < 0.01
    kept, gone = run(good, seed), run(bad, seed)
    assert reason(kept[0], [], estimate_window(*kept, LABELS)) is None
    assert "live agreement is" in str(reason(gone[0], [], estimate_window(*gone, LABELS)))
    # Promoted on little evidence, it is given the benefit of the doubt.
    vague = msgspec.structs.replace(PROMOTED_ON, low=0.4)
    assert reason(gone[0], [], estimate_window(*gone, LABELS), promoted_on=vague) is None
    assert reason([], []) is None


def test_an_estimate_that_only_happens_to_lie_lower_ends_nothing() -> None:
    good = stream(classes=5, rate=0.1, documents=8_000, signal=4.0)
    exacting = Estimate(value=0.87, low=0.869, high=0.871, documents=9999, effective=9000.0)
    lower = 0
    for seed in range(10):
        window = run(good, seed)
        found = estimate_window(*window, LABELS)
        assert found.agreement is not None
        lower += found.agreement.value < 0.85
        assert reason(window[0], [], found, promoted_on=exacting) is None
    assert lower > 0
