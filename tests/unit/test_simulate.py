"""What a budget buys: against a slow replay of the coins, on-policy and off."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from askance.cli import main as command_line
from askance.rules.estimate import estimate_agreement
from askance.rules.simulate import POLICIES, Outcome, probabilities, simulate
from tests.simulated import stream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

KNOWN = stream(classes=10, rate=0.1, documents=20_000, signal=4.0)
ALL = np.arange(len(KNOWN.truth))


def grid(
    rows: NDArray[np.int64], q: NDArray[np.float64], shares: list[float], policies: Sequence[str]
) -> list[Outcome]:
    return simulate(
        KNOWN.uncertainties, KNOWN.confidences, rows, KNOWN.agrees[rows], q, shares=shares, policies=policies
    )


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_the_share_is_met(policy: str, share: float) -> None:
    asked = probabilities(policy, KNOWN.uncertainties, share)
    assert ((asked >= 0.0) & (asked <= 1.0)).all()
    assert asked.mean() == pytest.approx(share, abs=1e-6)


def test_the_expectation_is_what_coins_give_on_average() -> None:
    [found] = grid(ALL, np.ones(len(ALL)), [0.1], ["uncertainty"])
    asked = probabilities("uncertainty", KNOWN.uncertainties, 0.1)
    rng = np.random.default_rng(5)
    replayed = [np.where(rng.random(len(asked)) < asked, True, KNOWN.agrees).mean() for _ in range(50)]
    assert found.accuracy is not None
    assert found.accuracy.value == pytest.approx(np.mean(replayed), abs=1e-3)
    assert found.calls == 2000


def test_asking_where_the_student_is_unsure_beats_asking_anywhere() -> None:
    found = grid(ALL, np.ones(len(ALL)), [0.2], POLICIES)
    values = {one.policy: one.accuracy.value for one in found if one.accuracy is not None}
    assert values["threshold"] > values["uncertainty"] > values["uniform"] + 0.02


@pytest.mark.parametrize("policy", POLICIES)
def test_off_policy_figures_cover_the_truth(policy: str) -> None:
    whole = grid(ALL, np.ones(len(ALL)), [0.2], [policy])
    truth = whole[0].accuracy
    assert truth is not None
    asked = probabilities(policy, KNOWN.uncertainties, 0.2)
    covered = narrower = 0
    for rows in KNOWN.draws(50):
        [one] = grid(rows, KNOWN.propensities[rows], [0.2], [policy])
        assert one.accuracy is not None
        covered += one.accuracy.low <= truth.value <= one.accuracy.high
        # What is known of the documents without a label makes the figure more precise than a ratio of labels alone.
        served = (1.0 - asked[rows]) * KNOWN.agrees[rows] + asked[rows]
        ratio = estimate_agreement(served, KNOWN.propensities[rows])
        assert ratio is not None
        narrower += one.accuracy.high - one.accuracy.low < ratio.high - ratio.low
    assert covered >= 45
    assert narrower >= 40


def test_the_command(tmp_path: Path) -> None:
    predictions, truths, picture = tmp_path / "p.jsonl", tmp_path / "t.jsonl", tmp_path / "p.html"
    rows = [
        {
            "id": str(n),
            "label": "ab"[n % 2],
            "confidence": 0.5,
            "uncertainty": n / 100,
            "propensity": 0.5,
            "accepted": n % 3 == 0,
        }
        for n in range(100)
    ]
    predictions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    truths.write_text("".join(json.dumps({"id": str(n), "gold": "a"}) + "\n" for n in range(100)))
    arguments = ["simulate", str(predictions), "--truth", str(truths), "--shares", "0,0.5,1"]
    shown = CliRunner().invoke(command_line.app, [*arguments, "--picture", str(picture)], catch_exceptions=False)
    assert "100 documents, right answers known of 100" in shown.stdout
    assert "50.0%" in shown.stdout
    assert picture.read_text().count("<svg") == 3
    found = json.loads(CliRunner().invoke(command_line.app, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert found[0]["accuracy"]["value"] == 0.5
    assert found[2]["accuracy"]["value"] == 1.0
    truths.write_text("".join(json.dumps({"id": str(n), "gold": "a"}) + "\n" for n in range(99)))
    some = CliRunner().invoke(command_line.app, arguments, catch_exceptions=False)
    assert "right answers known of 33" in some.stdout
