"""Linear students: multinomial logistic regression, and a linear SVM whose scores sigmoids make probabilities."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, log_expit
from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.svm import LinearSVC  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from askance.training.graph import Graph
    from askance.training.inputs import Design, Inputs

C = 10.0
"""Inverse strength of the L2 penalty. Accuracy on 4,000 documents of stackoverflow20 after 128, 500, 1,600 and 6,000
LLM labels: .594 .772 .795 .815 with C = 3, .607 .771 .796 .817 with 10, .602 .765 .795 .812 with 30."""

SVM_C = 0.5
"""The same for the SVM; between 0.2 and 1 neither features nor labels change much."""

MAX_ITERATIONS = 300
"""Of L-BFGS; 5 to 30 are needed in practice. A fit that stops short is still checked for parity and evaluated."""

FEWEST = 10
"""A class with fewer documents takes the sigmoid that is fitted on the scores of all classes together."""


class Logistic:
    """A fitted logistic regression; `askance.training.families.Model` says what it promises."""

    def __init__(self, model: LogisticRegression, design: Design) -> None:
        self._model = model
        self._design = design

    def logits(self, inputs: Inputs) -> NDArray[np.float64]:
        """scikit-learn's decision function, a binary one as two columns."""
        return _two_columns(self._model.decision_function(self._design.matrix(inputs)))

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """scikit-learn's own."""
        probabilities: NDArray[np.float64] = self._model.predict_proba(self._design.matrix(inputs))
        return probabilities

    def emit(self, graph: Graph) -> str:
        """One product and a bias."""
        return _emit(self._model, self._design, graph)


class Svm:
    """A fitted SVM and a sigmoid a class: p = sigmoid(slope * score + offset), normalised over the classes.

    Of two classes only the second has a sigmoid, and the first one the rest.
    """

    def __init__(
        self, model: LinearSVC, design: Design, slopes: NDArray[np.float64], offsets: NDArray[np.float64]
    ) -> None:
        self._model = model
        self._design = design
        self._slopes = slopes
        self._offsets = offsets

    def logits(self, inputs: Inputs) -> NDArray[np.float64]:
        """The logarithms of the sigmoids, whose softmax normalises them."""
        return self.calibrated(svm_scores(self._model, self._design, inputs))

    def calibrated(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """The logits for (n, c) scores of this SVM or of one like it."""
        logarithms: NDArray[np.float64] = log_expit(scores * self._slopes + self._offsets)
        return logarithms

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """As `sklearn.calibration.CalibratedClassifierCV` computes them."""
        sigmoids = expit(svm_scores(self._model, self._design, inputs) * self._slopes + self._offsets)
        probabilities: NDArray[np.float64] = sigmoids / sigmoids.sum(axis=1, keepdims=True)
        return probabilities

    def emit(self, graph: Graph) -> str:
        """log sigmoid(x) = -softplus(-x)."""
        scores = _emit(self._model, self._design, graph)
        sloped = graph.add("Mul", scores, graph.put(-self._slopes.astype(np.float32)))
        arguments = graph.add("Sub", sloped, graph.put(self._offsets.astype(np.float32)))
        return graph.add("Neg", graph.transcendental("Softplus", arguments, width=len(self._slopes)))


def fit_logistic(
    design: Design, inputs: Inputs, targets: NDArray[np.int64], weights: NDArray[np.float64], *, seed: int
) -> Logistic:
    """Fit on n documents of the classes 0 to c - 1, (n,), weighted, (n,)."""
    model = LogisticRegression(C=C, max_iter=MAX_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # The first labels of a task with many classes.
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
        model.fit(design.matrix(inputs), targets, sample_weight=weights)
    return Logistic(model, design)


def fit_svm(
    design: Design, inputs: Inputs, targets: NDArray[np.int64], weights: NDArray[np.float64], *, seed: int
) -> LinearSVC:
    """A linear SVM, one class against the others, without its sigmoids."""
    model = LinearSVC(C=SVM_C, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # The first labels of a task with many classes.
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
        model.fit(design.matrix(inputs), targets, sample_weight=weights)
    return model


def svm_scores(model: LinearSVC, design: Design, inputs: Inputs) -> NDArray[np.float64]:
    """(n, c) the scores that sigmoids are fitted on."""
    return _two_columns(model.decision_function(design.matrix(inputs)))


def fit_sigmoids(
    scores: NDArray[np.float64], targets: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(c,) slopes and (c,) offsets from (n, c) scores of documents the SVM has not seen; NaN scores are left out.

    Platt's method (Platt, Probabilistic Outputs for Support Vector Machines, 1999), with his smoothed targets.
    """
    right = targets[:, None] == np.arange(scores.shape[1])
    spread = np.broadcast_to(weights[:, None], scores.shape)
    known = np.isfinite(scores)
    if not known.any():
        return np.ones(scores.shape[1]), np.zeros(scores.shape[1])
    if scores.shape[1] == 2:
        # Both columns are one score and its negative: one sigmoid serves both, and its mirror image the other.
        kept = known[:, 1]
        slope, offset = _sigmoid(scores[kept, 1], right[kept, 1], weights[kept])
        return np.array([slope, slope]), np.array([-offset, offset])
    shared = _sigmoid(scores[known], right[known], spread[known])
    pairs = []
    for column in range(scores.shape[1]):
        kept = known[:, column]
        enough = (right[:, column] & kept).sum() >= FEWEST
        pairs.append(_sigmoid(scores[kept, column], right[kept, column], weights[kept]) if enough else shared)
    slopes, offsets = np.array(pairs).T
    return slopes, offsets


def _sigmoid(
    scores: NDArray[np.float64], right: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[float, float]:
    positive, negative = float(weights[right].sum()), float(weights[~right].sum())
    likely = np.where(right, (positive + 1.0) / (positive + 2.0), 1.0 / (negative + 2.0))
    model = LogisticRegression(C=np.inf, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # A target between 0 and 1 is both answers, each by its part.
        model.fit(
            np.concatenate([scores, scores])[:, None],
            np.repeat([1, 0], len(scores)),
            sample_weight=np.concatenate([weights * likely, weights * (1.0 - likely)]),
        )
    return float(model.coef_[0, 0]), float(model.intercept_[0])


def _two_columns(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """scikit-learn's one score of two classes as two, whose difference it is."""
    return scores if scores.ndim == 2 else np.stack([-scores / 2, scores / 2], axis=1)


def _emit(model: Any, design: Design, graph: Graph) -> str:
    coefficients, intercepts = model.coef_, model.intercept_
    if len(coefficients) == 1:
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
    product = design.product(graph, coefficients.T)
    return graph.add("Add", product, graph.put(intercepts.astype(np.float32)))
