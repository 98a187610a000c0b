"""`askance.Sampler` in somebody else's active-learning loop: scikit-activeml's, as it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import askance

ROUNDS, WANTED, POOL = 6, 30, 1_000


@pytest.fixture(scope="module")
def pool() -> tuple[Any, Any]:
    """(N, 5) documents of three classes that lie apart as far as the first two features say."""
    rng = np.random.default_rng(7)
    X = rng.normal(size=(POOL, 5))  # noqa: N806 - theirs
    return X, (X[:, 0] + 0.3 * rng.normal(size=POOL) > 0.3).astype(int) + (X[:, 1] > 0.8).astype(int)


def accuracy(classifier: Any, X: Any, y: Any) -> float:  # noqa: N803 - theirs
    return float(np.mean(classifier.predict(X) == y))


def test_in_scikit_activeml(pool: tuple[Any, Any]) -> None:
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.utils import MISSING_LABEL, unlabeled_indices

    X, truth = pool  # noqa: N806 - theirs
    y = np.full(POOL, MISSING_LABEL)
    y[:20] = truth[:20]
    classifier = SklearnClassifier(LogisticRegression(), classes=[0, 1, 2])
    sampler = askance.Sampler(floor=0.01, seed=3)
    before = accuracy(classifier.fit(X, y), X, truth)
    asked = 0
    for number in range(ROUNDS):
        left = unlabeled_indices(y)
        drawn = sampler.query(classifier.fit(X, y), X[left], WANTED, round=number)
        assert np.isnan(y[left[drawn.indices]]).all()
        assert ((drawn.propensities > 0) & (drawn.propensities <= 1)).all()
        y[left[drawn.indices]] = truth[left[drawn.indices]]
        asked += len(drawn.indices)
    after = accuracy(classifier.fit(X, y), X, truth)

    assert np.count_nonzero(~np.isnan(y)) == 20 + asked
    # 180 on average, five standard deviations at most away.
    assert abs(asked - ROUNDS * WANTED) < 5 * np.sqrt(ROUNDS * WANTED)
    assert after > before + 0.05
