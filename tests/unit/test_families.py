"""The families of students: documents count by their weights, classes alike, and trees fall alike on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # type: ignore[import-untyped]

from askance.errors import TrainingError
from askance.training.calibration import tempered
from askance.training.discriminant import discriminant
from askance.training.families import train
from askance.training.inputs import folds_of
from askance.training.spec import Family
from askance.training.trees import not_above

if TYPE_CHECKING:
    from numpy.typing import NDArray

FAMILIES = get_args(Family)


def clouds(count: int, *, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors around three corners, and which."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, count)
    return (np.eye(3)[targets] @ np.eye(3, 8) + rng.normal(0, 0.2, (count, 8))).astype(np.float32), targets


def folds(count: int) -> NDArray[np.int64]:
    return folds_of([str(number) for number in range(count)], seed=0)


@pytest.mark.parametrize("kind", FAMILIES)
def test_documents_count_by_their_weights(kind: Family) -> None:
    vectors, targets = clouds(120)
    twice = np.concatenate([vectors, vectors])
    contradicted = np.concatenate([targets, (targets + 1) % 3])
    for heavier in (0, 1):
        weights = np.repeat([1.0, 1.0], 120)
        weights[120 * heavier : 120 * (heavier + 1)] = 10.0
        fitted, _ = train(kind, twice, contradicted, classes=3, folds=folds(240), weights=weights)
        answers = fitted.logits(vectors).argmax(axis=1)
        assert (answers == (targets + heavier) % 3).mean() > 0.9


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_document_of_weight_nothing_is_not_fitted_on(kind: Family) -> None:
    vectors, targets = clouds(120)
    wrong = np.concatenate([targets, (targets + 1) % 3])
    weights = np.repeat([1.0, 0.0], 120)
    both, temperature = train(
        kind, np.concatenate([vectors, vectors]), wrong, classes=3, folds=folds(240), weights=weights
    )
    alone, confident = train(kind, vectors, targets, classes=3, folds=folds(120))
    assert both.to_onnx() == alone.to_onnx()
    # But it calibrates: a student that is wrong half the time is less sure.
    sure, unsure = (tempered(alone.logits(vectors), each).max(axis=1).mean() for each in (confident, temperature))
    assert sure > unsure + 0.1


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_rare_class_counts_like_the_others(kind: Family) -> None:
    vectors, targets = clouds(300)
    rare = np.flatnonzero(targets == 2)[12:]
    kept = np.setdiff1d(np.arange(300), rare)
    fitted, _ = train(kind, vectors[kept], targets[kept], classes=3, folds=folds(len(kept)))
    test, truth = clouds(300, seed=1)
    found = fitted.logits(test).argmax(axis=1)
    assert (found[truth == 2] == 2).mean() > 0.8


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_same_documents_give_the_same_bytes(kind: Family) -> None:
    vectors, targets = clouds(90)
    one, other = (train(kind, vectors, targets, classes=4, folds=folds(90), seed=3) for _ in range(2))
    assert one.fitted.to_onnx() == other.fitted.to_onnx()
    assert one.temperature == other.temperature


@pytest.mark.parametrize("kind", FAMILIES)
def test_one_class_is_too_few(kind: Family) -> None:
    vectors, _ = clouds(20)
    with pytest.raises(TrainingError, match="too few classes"):
        train(kind, vectors, np.zeros(20, dtype=np.int64), classes=3, folds=folds(20))


@pytest.mark.parametrize("shrinkage", [0.1, 0.5, 0.9])
def test_the_discriminant_is_scikit_learns_where_documents_count_alike(shrinkage: float) -> None:
    vectors, targets = clouds(150)
    wide = vectors.astype(np.float64)
    coefficients, intercepts = discriminant(wide, targets, np.ones(150), shrinkage=shrinkage)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(wide, targets)
    scores = wide @ coefficients + intercepts
    np.testing.assert_allclose(tempered(scores, 1.0), model.predict_proba(wide), rtol=0, atol=1e-9)


@given(st.floats(-(2.0**99), 2.0**99), st.floats(-(2.0**99), 2.0**99, width=32))
def test_an_exported_threshold_sends_every_number_to_the_same_side(threshold: float, number: float) -> None:
    for near in (threshold, np.nextafter(np.float64(number), 1e38), np.nextafter(np.float64(number), -1e38), number):
        check_side(float(near), number)


def check_side(threshold: float, number: float) -> None:
    (exported,) = not_above(np.array([threshold]))
    assert (np.float32(number) <= exported) == (np.float64(number) <= threshold)
