"""Drift alarms: how often they are false, and how soon they come when the stream does change."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from askance.records import HISTOGRAM_BINS, Tally
from askance.rules.drift import Alarm, chi_square_p_value, watch_all

BATCH = 512


def tallies(rng: np.random.Generator, count: int, shares: list[float], sure: float) -> list[Tally]:
    found = []
    for number in range(count):
        predicted = rng.multinomial(BATCH, shares)
        bins = np.minimum((rng.beta(1.0, sure, BATCH) * HISTOGRAM_BINS).astype(int), HISTOGRAM_BINS - 1)
        histogram = tuple(np.bincount(bins, minlength=HISTOGRAM_BINS).tolist())
        by_label = {str(label): int(documents) for label, documents in enumerate(predicted) if documents}
        found.append(Tally(number * BATCH, "v1", BATCH, 0, 400.0, histogram, by_label))
    return found


def alarms(seed: int, after: tuple[list[float], float] | None, *, batches: int = 400) -> list[Alarm]:
    rng = np.random.default_rng(seed)
    calm = ([0.4, 0.3, 0.2, 0.1, 0.0], 4.0)
    stream = tallies(rng, 80, *calm) + tallies(rng, batches, *(after or calm))
    return watch_all(stream, window=4096, miss=0.01, least=0.1)


def test_a_calm_stream_hardly_ever_alarms() -> None:
    assert sum(bool(alarms(seed, None)) for seed in range(60)) <= 1


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        pytest.param(([0.34, 0.25, 0.17, 0.08, 0.16], 4.0), "predictions", id="a class appears"),
        pytest.param(([0.4, 0.3, 0.2, 0.1, 0.0], 2.5), "uncertainty", id="the vocabulary changes: unsure"),
        pytest.param(([0.2, 0.3, 0.4, 0.1, 0.0], 4.0), "predictions", id="two classes change places"),
    ],
)
def test_an_injected_drift_is_found_within_two_windows(after: tuple[list[float], float], kind: str) -> None:
    delays = []
    for seed in range(20):
        found = alarms(seed, after, batches=40)
        assert found
        assert found[0].kind == kind
        assert "to" in found[0].evidence
        delays.append(found[0].documents - 80 * BATCH)
    assert max(delays) <= 2 * 4096


def test_a_change_too_small_to_matter_is_no_alarm() -> None:
    assert not alarms(0, ([0.38, 0.3, 0.2, 0.12, 0.0], 4.0))


def test_after_an_alarm_the_new_stream_is_the_reference() -> None:
    found = alarms(0, ([0.2, 0.3, 0.4, 0.1, 0.0], 4.0))
    assert len(found) <= 2  # at most once with a window that holds some of both


@pytest.mark.parametrize("scale", [1.0, 1.2, 2.0])
def test_the_p_value_is_pearsons(scale: float) -> None:
    counts = np.array([[100.0, 200.0, 300.0, 40.0], [100.0 * scale, 200.0, 310.0, 40.0]])
    expected = stats.chi2_contingency(counts, correction=False).pvalue
    assert chi_square_p_value(counts) == pytest.approx(expected, rel=0.1, abs=1e-3)
