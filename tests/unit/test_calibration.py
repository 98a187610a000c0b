"""From which confidence on a version answers by itself: the promise holds over the draws, and a broken one is found."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from askance.directions import Calibration
from askance.records import Coordinates, Judged
from askance.rules.calibration import alone, calibrate_alone, calibrate_shadow, is_broken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TARGET, MISS = 0.95, 0.05
CONFIDENCES = np.linspace(0.5, 1.0, 2_000, endpoint=False)


def wrong_below(confidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """A calibrated student: it is wrong as often as it says."""
    return 1.0 - confidence


def risk_of(threshold: float) -> float:
    """The true share of documents that it answers otherwise than the teacher."""
    return float(np.where(threshold <= CONFIDENCES, wrong_below(CONFIDENCES), 0.0).mean())


def rows(
    rng: np.random.Generator, documents: int, *, champion_sure: float | None = None, audit_share: float = 1.0
) -> list[Judged]:
    """Of a stream the queries with their labels, in order; above `champion_sure` only a share is asked about."""
    confidences = rng.choice(CONFIDENCES, documents)
    wrong = rng.random(documents) < wrong_below(confidences)
    q = np.ones(documents)
    if champion_sure is not None:
        # The champion's confidence is not the challenger's, but much like it.
        other = np.clip(confidences + rng.normal(0.0, 0.03, documents), 0.0, 1.0)
        q = np.where(other >= champion_sure, audit_share, 1.0)
    asked = rng.random(documents) < q
    return [
        Judged(Coordinates("t", 0, place), str(place), "a", "v2", float(q[place]), float(confidences[place]),
               "labelled", "b" if wrong[place] else "a")
        for place in np.flatnonzero(asked).tolist()
    ]  # fmt: skip


@pytest.mark.slow
def test_the_exact_test_breaks_its_promise_seldom_although_it_looks_again_and_again() -> None:
    rng = np.random.default_rng(0)
    broken = served = 0
    for _ in range(300):
        made = rows(rng, 1_600)
        for labels in range(100, 1_601, 50):
            found = calibrate_alone(alone(made[:labels]), documents=labels, target=TARGET, miss=MISS, first=100)
            if found is not None:
                broken += risk_of(found.threshold) > 1.0 - TARGET
                served += 1
                break
    assert served > 250, "a test that never lets a version answer proves nothing"
    # 300 runs at 0.05: 15 expected at worst, and 15 + 3.5 * sqrt(14.25) = 28 would be a sign.
    assert broken <= 28


@pytest.mark.slow
def test_labels_bought_by_another_versions_draws_keep_the_promise_too() -> None:
    rng = np.random.default_rng(1)
    broken = served = 0
    for _ in range(200):
        made = rows(rng, 6_000, champion_sure=0.9, audit_share=0.2)
        found = calibrate_shadow(made, documents=6_000, audit_share=0.2, target=TARGET, miss=MISS, first=100)
        if found is not None:
            broken += risk_of(found.threshold) > 1.0 - TARGET
            served += 1
    assert served > 150
    assert broken <= 0.05 * 200 + 3.5 * math.sqrt(0.05 * 0.95 * 200)


def audits(rng: np.random.Generator, documents: int, *, risk: float, share: float = 0.05) -> list[Judged]:
    asked = np.flatnonzero(rng.random(documents) < share)
    wrong = rng.random(documents) < risk
    return [
        Judged(Coordinates("t", 0, place), str(place), "a", "v1", share, 0.9, "labelled",
               "b" if wrong[place] else "a", threshold=0.8)
        for place in asked.tolist()
    ]  # fmt: skip


CALIBRATION = Calibration(0.8, 1.0, 0.04, 400)


def ever_broken(made: Sequence[Judged], documents: int) -> bool:
    looks = range(documents // 20, documents + 1, documents // 20)
    return any(
        is_broken(
            [row for row in made if row.coordinates.offset < look],
            CALIBRATION,
            documents=look,
            target=TARGET,
            miss=MISS,
        )
        for look in looks
    )


@pytest.mark.slow
def test_a_kept_contract_is_seldom_called_broken_and_a_broken_one_is_found() -> None:
    rng = np.random.default_rng(2)
    false_alarms = sum(ever_broken(audits(rng, 20_000, risk=0.05), 20_000) for _ in range(100))
    # At the promise itself, 100 runs at 0.05: 5 + 3.5 * sqrt(4.75) = 12.6.
    assert false_alarms <= 12
    assert all(ever_broken(audits(rng, 20_000, risk=0.15), 20_000) for _ in range(20))


def test_only_what_the_calibration_did_not_know_re_verifies_it() -> None:
    bad = audits(np.random.default_rng(3), 20_000, risk=0.3)
    known = msgspec.structs.replace(CALIBRATION, documents=20_000, queries=len(bad))
    good = audits(np.random.default_rng(4), 20_000, risk=0.01)
    assert is_broken(bad, CALIBRATION, documents=20_000, target=TARGET, miss=MISS)
    assert not is_broken([*bad, *good], known, documents=40_000, target=TARGET, miss=MISS)


def test_audits_under_way_are_no_evidence() -> None:
    made = audits(np.random.default_rng(5), 4_000, risk=0.05)
    [error, *_] = (row for row in made if row.label == "b")
    waiting = [msgspec.structs.replace(row, status="asked", label=None) for row in made if row is not error]
    assert not is_broken([error, *waiting], CALIBRATION, documents=4_000, target=TARGET, miss=MISS)


def test_labels_count_up_to_the_first_that_has_not_come() -> None:
    made = rows(np.random.default_rng(6), 400)
    late = [*made[:150], msgspec.structs.replace(made[150], status="asked", label=None), *made[151:]]
    assert alone(made) == made
    assert alone(late) == made[:150]
    assert alone(made, skipped=100) == made[100:]
    audited = [msgspec.structs.replace(row, threshold=0.9) for row in made]
    twins = [msgspec.structs.replace(row, likeness=0.9) for row in made]
    assert alone(audited) == alone(twins) == []
