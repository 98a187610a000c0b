"""Selection and weighting of labels, LLKD-style, against a slow reference that goes label by label."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from askance.rules.selection import BLOCK, Selection, SelectionRule, select

PLAIN = SelectionRule(
    by_confidence=False, by_uncertainty=False, per_class=False, weighted=False, importance_exponent=0.0
)


def drawn(
    n: int = 200, classes: int = 3, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Targets, confidences, uncertainties, propensities."""
    random = np.random.default_rng(seed)
    return (
        random.integers(0, classes, n),
        random.random(n),
        random.random(n),
        random.uniform(0.01, 1.0, n),
    )


def selected(
    rule: SelectionRule,
    data: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
) -> Selection:
    targets, confidences, uncertainties, propensities = data
    return select(
        targets=targets, confidences=confidences, uncertainties=uncertainties, propensities=propensities, rule=rule
    )


def slow_thresholds(targets: list[int], values: list[float], *, momentum: float, per_class: bool) -> list[float]:
    """Label by label, dictionaries instead of arrays; every value is known."""
    limits: list[float] = []
    average: float | None = None
    by_class: dict[int, float] = {}
    for start in range(0, len(values), BLOCK):
        block = list(zip(targets[start : start + BLOCK], values[start : start + BLOCK], strict=True))
        mean = sum(value for _, value in block) / len(block)
        average = mean if average is None else momentum * average + (1 - momentum) * mean
        for label in sorted({label for label, _ in block}):
            own = [value for other, value in block if other == label]
            now = sum(own) / len(own)
            by_class[label] = momentum * by_class[label] + (1 - momentum) * now if label in by_class else now
        largest = max(by_class.values())
        limits += [average * (by_class[label] / largest if per_class else 1.0) for label, _ in block]
    return limits


@given(
    n=st.integers(1, 300),
    classes=st.integers(1, 6),
    seed=st.integers(0, 1000),
    momentum=st.floats(0.0, 0.99),
    per_class=st.booleans(),
)
def test_what_is_kept_is_what_the_slow_reference_keeps(
    n: int, classes: int, seed: int, momentum: float, per_class: bool
) -> None:
    data = targets, confidences, uncertainties, _ = drawn(n, classes, seed)
    rule = SelectionRule(momentum=momentum, per_class=per_class)

    kept = selected(rule, data).kept

    t = slow_thresholds(targets.tolist(), confidences.tolist(), momentum=momentum, per_class=per_class)
    s = slow_thresholds(targets.tolist(), uncertainties.tolist(), momentum=momentum, per_class=per_class)
    # A value that is its own threshold (one label alone) is kept by both, but for the last bit of a mean.
    expected = (confidences >= np.array(t) - 1e-12) & (uncertainties >= np.array(s) - 1e-12)
    expected |= np.isin(targets, np.setdiff1d(targets, targets[expected]))
    certain = (np.abs(confidences - t) > 1e-9) & (np.abs(uncertainties - s) > 1e-9)
    assert (kept == expected)[certain].all()
    assert set(targets[kept]) == set(targets)


@given(
    seed=st.integers(0, 1000),
    by_confidence=st.booleans(),
    by_uncertainty=st.booleans(),
    weighted=st.booleans(),
    exponent=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_weights_average_one_over_what_is_kept(
    seed: int, by_confidence: bool, by_uncertainty: bool, weighted: bool, exponent: float
) -> None:
    data = drawn(150, 4, seed)
    rule = SelectionRule(
        by_confidence=by_confidence,
        by_uncertainty=by_uncertainty,
        weighted=weighted,
        importance_exponent=exponent,
    )

    selection = selected(rule, data)

    assert (selection.weights > 0).all()
    assert selection.weights[selection.kept].mean() == pytest.approx(1.0)
    if not by_confidence and not by_uncertainty:
        assert selection.kept.all()


def test_with_every_part_off_all_labels_count_alike() -> None:
    selection = selected(PLAIN, drawn())

    assert selection.kept.all()
    assert (selection.weights == 1.0).all()


def test_within_a_class_weights_are_proportional_to_confidence_times_uncertainty() -> None:
    data = targets, confidences, uncertainties, _ = drawn()
    rule = SelectionRule(importance_exponent=0.0)

    selection = selected(rule, data)

    for label in range(3):
        own = selection.kept & (targets == label)
        ratios = selection.weights[own] / (confidences * uncertainties)[own]
        assert ratios == pytest.approx(np.full(own.sum(), ratios[0]))
        assert selection.weights[own].mean() == pytest.approx(1.0)


def test_without_any_confidence_it_is_m_raru_alone() -> None:
    targets, _, uncertainties, propensities = drawn()
    unknown = np.full(len(targets), np.nan)
    rule = SelectionRule(importance_exponent=0.0)

    selection = selected(rule, (targets, unknown, uncertainties, propensities))

    assert selection.kept.all()
    assert (selection.weights == 1.0).all()
    assert selection.confidence_threshold is None


def test_a_label_of_unknown_confidence_is_judged_by_the_uncertainty_alone() -> None:
    targets, confidences, uncertainties, propensities = drawn()
    uncertainties = np.linspace(0.0, 1.0, len(targets))
    confidences[-1] = np.nan

    selection = selected(SelectionRule(), (targets, confidences, uncertainties, propensities))

    assert selection.kept[-1]
    assert np.isfinite(selection.weights).all()


def test_thresholds_adapt_over_time() -> None:
    """The same uncertainty is low for its time early on and high later, when the student is sure of nearly all."""
    blocks = 40
    uncertainties = np.repeat(np.linspace(0.9, 0.05, blocks), BLOCK)
    uncertainties[5], uncertainties[-5] = 0.4, 0.4
    n = len(uncertainties)

    kept = selected(
        SelectionRule(by_confidence=False, weighted=False),
        (np.zeros(n, dtype=np.int64), np.ones(n), uncertainties, np.ones(n)),
    ).kept

    assert (kept[5], kept[-5]) == (False, True)


def test_a_class_the_teacher_is_less_sure_of_has_a_lower_threshold() -> None:
    targets = np.tile([0, 1], 100)
    confidences = np.where(targets == 0, 0.9, 0.5) + np.tile([0.05, 0.05, -0.05, -0.05], 50)
    ones = np.ones(200)

    def kept(per_class: bool) -> NDArray[np.bool_]:
        rule = SelectionRule(by_uncertainty=False, weighted=False, per_class=per_class)
        return selected(rule, (targets, confidences, ones, ones)).kept

    # 0.55 of the second class: below the mean of all, 0.7, but not below 0.7 * 0.5 / 0.9.
    assert kept(True)[targets == 1].all()
    assert kept(False)[(targets == 0)].all()
    # Without the factor the class would be lost whole, so it is kept whole.
    assert kept(False)[targets == 1].all()
    mixed = confidences.copy()
    mixed[1] = 0.99
    rule = SelectionRule(by_uncertainty=False, weighted=False, per_class=False)
    assert selected(rule, (targets, mixed, ones, ones)).kept[targets == 1].sum() == 1


def test_importance_weights_are_tempered_and_capped() -> None:
    n = 4
    propensities = np.array([1.0, 0.25, 0.04, 0.0001])
    rule = SelectionRule(
        by_confidence=False,
        by_uncertainty=False,
        weighted=False,
        importance_exponent=0.5,
        importance_cap=8.0,
    )

    weights = selected(rule, (np.zeros(n, dtype=np.int64), np.ones(n), np.ones(n), propensities)).weights

    assert weights / weights[0] == pytest.approx([1.0, 2.0, 5.0, 8.0])


def test_no_labels_are_no_mistake() -> None:
    empty = np.zeros(0)

    selection = selected(SelectionRule(), (np.zeros(0, dtype=np.int64), empty, empty, empty))

    assert len(selection.kept) == len(selection.weights) == 0
