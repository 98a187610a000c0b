"""The statistics and the loop behind `make bench-labels`: a benchmark that flatters itself is worse than none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def curve(calls: list[float], *seeds: list[float]) -> Any:
    from labels_curves import Curve

    accuracy = np.array(seeds).T
    return Curve(np.repeat(np.array([calls]).T, len(seeds), axis=1), accuracy, accuracy)


def test_a_crossing_is_found_on_the_logarithm_of_the_calls() -> None:
    from labels_curves import calls_to_reach

    calls, accuracy = np.array([100.0, 400.0, 900.0]), np.array([0.5, 0.7, 0.8])
    assert calls_to_reach(0.6, calls, accuracy) == pytest.approx(200.0)
    assert calls_to_reach(0.8, calls, accuracy) == pytest.approx(900.0)
    assert calls_to_reach(0.4, calls, accuracy) == 100.0, "below the first point nothing is claimed"
    assert calls_to_reach(0.81, calls, accuracy) == np.inf


def test_one_lucky_point_does_not_count_as_a_crossing() -> None:
    from labels_curves import calls_to_reach

    calls = np.array([100.0, 200.0, 400.0, 800.0])
    assert calls_to_reach(0.75, calls, np.array([0.5, 0.76, 0.7, 0.8])) > 400.0


def test_the_fraction_is_of_the_labels_random_needed_and_its_interval_is_over_seeds() -> None:
    from labels_curves import fraction

    random = curve([100, 1000], [0.5, 0.8], [0.5, 0.82])
    policy = curve([100, 300, 900], [0.6, 0.80, 0.83], [0.6, 0.82, 0.83])
    value, low, high = fraction(policy, random, 1)
    assert value == pytest.approx(0.3)
    assert low <= value <= high
    assert fraction(curve([100, 900], [0.6, 0.7], [0.6, 0.7]), random, 1)[0] == np.inf


def test_means_have_students_interval() -> None:
    from labels_curves import interval

    mean, width = interval(np.array([0.70, 0.72, 0.74]))
    assert mean == pytest.approx(0.72)
    assert width == pytest.approx(4.302653 * 0.02 / 3**0.5, rel=1e-5)


def test_steps_that_not_every_seed_has_are_left_out_and_the_last_are_kept_together() -> None:
    from labels_curves import curve as build
    from labels_stream import Point

    runs = [[Point(10, 0.1, 0.1), Point(20, 0.2, 0.2), Point(40, 0.4, 0.4)], [Point(12, 0.1, 0.1), Point(38, 0.5, 0.5)]]
    built = build(runs)
    np.testing.assert_array_equal(built.calls, [[10, 12], [40, 38]])


def stream(*, documents: int = 6_000) -> Any:
    """Three overlapping classes in the plane, a fifth of the documents held out."""
    from labels_stream import Stream

    rng = np.random.default_rng(4)
    gold = rng.integers(0, 3, documents)
    x = (np.eye(3)[gold] * 3.0 + rng.normal(size=(documents, 3))).astype(np.float32)
    test, folds = rng.random(documents) < 0.2, rng.integers(0, 5, documents)
    return Stream(
        "plane", [], x, gold, gold, np.full(documents, np.nan), folds, np.flatnonzero(~test), np.flatnonzero(test), 3
    )


def test_a_run_asks_about_its_share_of_the_stream_and_never_about_the_test_documents() -> None:
    from labels_stream import Policy, Run

    plane = stream()
    run = Run(plane, Policy("margin^3", measure="margin", exponent=3.0), seed=1)
    (point,) = run.play(0.1)
    asked = np.array(run.asked)
    assert len(np.unique(asked)) == len(asked) == point.calls
    assert not np.isin(asked, plane.test).any()
    # At most the share and the advance. Scales come from past uncertainties, and students grow surer: somewhat less.
    assert 0.8 * 0.1 * len(plane.pool) < point.calls < 0.1 * len(plane.pool) + 100
    assert point.accuracy > 0.8
    _, propensities = np.array(run.scores).T
    assert propensities.min() >= np.float32(0.1 / 20) - 1e-6
    assert Run(plane, Policy("margin^3", measure="margin", exponent=3.0), seed=1).play(0.1) == [point], "deterministic"


def test_uncertain_documents_are_asked_about_more_and_random_ones_are_not() -> None:
    from labels_stream import Policy, Run, at_random

    plane = stream()
    chosen = Run(plane, Policy("margin^3", measure="margin", exponent=3.0), seed=2)
    chosen.play(0.1)
    # Near a border two coordinates are close; what was asked after the blind start should be there.
    top = np.sort(plane.x, axis=1)
    gaps = top[:, 2] - top[:, 1]
    assert np.median(gaps[chosen.asked[200:]]) < 0.5 * np.median(gaps[plane.pool])
    assert at_random(plane, Policy("random"), 0.1, 2).calls == round(0.1 * len(plane.pool))


def test_answers_that_are_no_label_cost_a_call_and_teach_nothing() -> None:
    from labels_stream import Policy, Run

    whole = stream()
    plane = whole._replace(answers=np.where(np.arange(len(whole.gold)) % 2 == 0, whole.gold, -1))
    run = Run(plane, Policy("m-raru at a share"), seed=3)
    (point,) = run.play(0.1)
    assert point.calls == len(run.asked)
    assert (plane.answers[run.asked] == -1).any()
    assert point.accuracy > 0.8
