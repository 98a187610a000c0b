"""Drift that only the drawn documents show: how soon it is told, and how often for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from askance.rules.sampled import Drawn, SampledWatch

if TYPE_CHECKING:
    from askance.rules.drift import Alarm

DOCUMENTS = 4096
WORDS = [f"word{number}" for number in range(3000)]
CHANCES = 1.0 / np.arange(1, len(WORDS) + 1)
"""Zipf's, so that there is always a word nobody has used yet."""


def window(rng: np.random.Generator, *, agreement: float = 0.9, others: float = 0.0) -> list[Drawn]:
    """What a share of about 5 % draws: the unsure, who agree less, at ten times the rate of the sure.

    `others`: how many of the words are of another vocabulary.
    """
    unsure = rng.random(DOCUMENTS) < 0.1
    q = np.where(unsure, 0.25, 0.025)
    agrees = rng.random(DOCUMENTS) < np.where(unsure, agreement - 0.3, agreement + 0.3 / 9)
    drawn = np.flatnonzero(rng.random(DOCUMENTS) < q)
    found = []
    for place in drawn.tolist():
        chosen = rng.choice(len(WORDS), 12, p=CHANCES / CHANCES.sum())
        foreign = rng.random(12) < others
        words = [f"other{number}" if is_foreign else WORDS[number] for number, is_foreign in zip(chosen, foreign)]  # noqa: B905
        found.append(Drawn(float(q[place]), " ".join(words), bool(agrees[place])))
    return found


def alarms(seed: int, *, before: int, after: int, **change: float) -> list[Alarm]:
    rng = np.random.default_rng(seed)
    watch = SampledWatch(miss=0.01, least=0.1)
    windows = [window(rng) for _ in range(before)] + [window(rng, **change) for _ in range(after)]
    found: list[Alarm] = []
    for number, one in enumerate(windows, 1):
        found += watch.observe(one, documents=number * DOCUMENTS)
    return found


@pytest.mark.slow
def test_a_calm_stream_hardly_ever_alarms() -> None:
    assert sum(bool(alarms(seed, before=20, after=0)) for seed in range(40)) <= 1


@pytest.mark.parametrize(
    ("change", "kind", "within"),
    [
        pytest.param({"agreement": 0.6}, "agreement", 2, id="a class changes its meaning: three in ten are wrong now"),
        pytest.param({"others": 0.5}, "vocabulary", 1, id="the vocabulary changes"),
    ],
)
def test_an_injected_drift_is_told_soon(change: dict[str, float], kind: str, within: int) -> None:
    delays = []
    for seed in range(10):
        found = [alarm for alarm in alarms(seed, before=6, after=4, **change) if alarm.documents > 6 * DOCUMENTS]
        assert found
        assert found[0].kind == kind
        assert "%" in found[0].evidence
        delays.append(found[0].documents // DOCUMENTS - 6)
    assert np.median(delays) <= within


def test_a_window_without_labels_says_nothing_and_is_no_reference() -> None:
    rng = np.random.default_rng(0)
    watch = SampledWatch()
    unlabelled = [drawn._replace(agrees=None) for drawn in window(rng)]
    assert watch.observe([], documents=0) == []
    assert watch.observe(unlabelled, documents=DOCUMENTS) == []
    assert watch.observe(window(rng), documents=2 * DOCUMENTS) == []
    [alarm] = watch.observe(window(rng, agreement=0.5), documents=3 * DOCUMENTS)
    assert alarm.kind == "agreement"
    assert watch.observe(window(rng, agreement=0.5), documents=4 * DOCUMENTS) == []
