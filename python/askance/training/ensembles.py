"""Students of many trees: a random forest, and histogram gradient boosting; scikit-learn grows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier  # type: ignore[import-untyped]

from askance.training.trees import from_boosting, from_forest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from askance.training.graph import Graph
    from askance.training.inputs import Inputs
    from askance.training.projection import Projection

TREES = 200
"""Of a forest."""

SMOOTHING = 1e-3
"""Added to each class's part of a forest's votes, so that a class that no tree votes for is not impossible."""

ROUNDS = 100
MOST_TREES = 6_000
"""Boosting grows one tree a class and round (one a round for two classes); fewer rounds beyond this many."""

LEAF_DOCUMENTS = 5
LEARNING_RATE = 0.1

BINS = 32
"""Of each number. Accuracy on 3,000 documents of stackoverflow20 after 1,500 gold labels: .765 with 16, .761 with 32,
.764 with 64; weighted ones are found one by one, so that more of them cost more than the trees."""


class Forest:
    """A fitted random forest; `askance.training.families.Model` says what it promises."""

    def __init__(self, projection: Projection, model: RandomForestClassifier) -> None:
        self._projection = projection
        self._model = model

    def logits(self, inputs: Inputs) -> NDArray[np.float64]:
        """The logarithms of the smoothed probabilities."""
        logarithms: NDArray[np.float64] = np.log(self.probabilities(inputs))
        return logarithms

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """scikit-learn's own, smoothed."""
        votes: NDArray[np.float64] = self._model.predict_proba(self._projection.apply(inputs)) + SMOOTHING
        shares: NDArray[np.float64] = votes / (1.0 + SMOOTHING * votes.shape[1])
        return shares

    def emit(self, graph: Graph) -> str:
        """The trees, and the logarithm of what they sum to."""
        trees = from_forest(self._model.estimators_, self._model.classes_)
        classes = len(self._model.classes_)
        shares = graph.trees(self._projection.emit(graph), trees, targets=classes)
        smoothed = graph.add("Add", shares, graph.put(np.array(SMOOTHING, dtype=np.float32)))
        return graph.transcendental("Log", smoothed, width=classes)


class Boosting:
    """Fitted gradient boosting; `askance.training.families.Model` says what it promises."""

    def __init__(self, projection: Projection, model: HistGradientBoostingClassifier) -> None:
        self._projection = projection
        self._model = model

    def logits(self, inputs: Inputs) -> NDArray[np.float64]:
        """The raw scores, a binary one as two columns."""
        scores = self._model.decision_function(self._projection.apply(inputs))
        columns: NDArray[np.float64] = scores if scores.ndim == 2 else np.stack([np.zeros_like(scores), scores], axis=1)
        return columns

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """scikit-learn's own."""
        probabilities: NDArray[np.float64] = self._model.predict_proba(self._projection.apply(inputs))
        return probabilities

    def emit(self, graph: Graph) -> str:
        """The trees, and the scores before the first round."""
        classes = np.asarray(self._model.classes_)
        # scikit-learn has no public way to the trees of its histogram boosting; the pin of its version and the check
        # of parity stand for that.
        rounds, baseline = self._model._predictors, self._model._baseline_prediction.ravel()  # noqa: SLF001
        trained = classes[1:] if len(classes) == 2 else classes
        start = np.zeros(len(classes), dtype=np.float32)
        start[trained] = baseline
        scores = graph.trees(self._projection.emit(graph), from_boosting(rounds, trained), targets=len(classes))
        return graph.add("Add", scores, graph.put(start))


def fit_forest(
    projection: Projection, inputs: Inputs, targets: NDArray[np.int64], weights: NDArray[np.float64], *, seed: int
) -> Forest:
    """Fit on n documents of the classes 0 to c - 1, (n,), weighted, (n,)."""
    model = RandomForestClassifier(TREES, random_state=seed)
    model.fit(projection.apply(inputs), targets, sample_weight=weights)
    return Forest(projection, model)


def fit_boosting(
    projection: Projection, inputs: Inputs, targets: NDArray[np.int64], weights: NDArray[np.float64], *, seed: int
) -> Boosting:
    """Fit on n documents of the classes 0 to c - 1, (n,), weighted, (n,)."""
    classes = int(targets.max()) + 1
    model = HistGradientBoostingClassifier(
        max_iter=max(1, min(ROUNDS, MOST_TREES // (1 if classes == 2 else classes))),
        learning_rate=LEARNING_RATE,
        max_bins=BINS,
        max_leaf_nodes=15,
        min_samples_leaf=LEAF_DOCUMENTS,
        l2_regularization=1.0,
        max_features=0.3,
        early_stopping=False,
        random_state=seed,
    )
    model.fit(projection.apply(inputs), targets, sample_weight=weights)
    return Boosting(projection, model)
