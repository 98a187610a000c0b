"""The default student: multinomial logistic regression on hashed n-grams, fitted by scikit-learn.

This module is scikit-learn's one home. It is imported by training jobs only.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from askance.errors import TrainingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from askance.student.features import Features

C = 10.0
"""Inverse strength of the L2 penalty. Accuracy on 4,000 documents of stackoverflow20 after 128, 500, 1,600 and 6,000
LLM labels: .594 .772 .795 .815 with C = 3, .607 .771 .796 .817 with 10, .602 .765 .795 .812 with 30."""

MAX_ITERATIONS = 300
"""Of L-BFGS; 5 to 30 are needed in practice. A fit that stops short is still checked for parity and evaluated."""

MAX_PARAMETERS = 2_000_000
"""Buckets times classes. At the limit (5,916 labels of clinc150, 151 classes) a job takes 810 MB and 14 s."""

NEVER = -1e4
"""The logit of a class without a training label: its probability is exactly 0 at any sane temperature."""


class Linear(NamedTuple):
    """A linear student as it is exported: logits = sum of weight * row over a document's features, + bias."""

    buckets: NDArray[np.int32]
    """(m,), ascending: the buckets that have a row."""
    rows: NDArray[np.float32]
    """(m, K)."""
    bias: NDArray[np.float32]
    """(K,)."""


class Logistic:
    """A fitted student, in scikit-learn's own arithmetic. Build it with `fit`."""

    def __init__(
        self, model: LogisticRegression, columns: NDArray[np.int32], idf: NDArray[np.float64], classes: int
    ) -> None:
        self._model = model
        self._columns = columns
        self._idf = idf
        self._classes = classes

    def logits(self, features: Features) -> NDArray[np.float64]:
        """(n, K) float64: scikit-learn's decision function, a binary one as two columns, `NEVER` for unseen classes."""
        decisions = self._model.decision_function(_scaled(features, self._columns, self._idf))
        if decisions.ndim == 1:
            decisions = np.stack([-decisions / 2, decisions / 2], axis=1)
        logits = np.full((len(decisions), self._classes), NEVER)
        logits[:, self._model.classes_] = decisions
        return logits

    def probabilities(self, features: Features) -> NDArray[np.float64]:
        """(n, K) float64: scikit-learn's own `predict_proba`, 0 for unseen classes."""
        scaled = _scaled(features, self._columns, self._idf)
        probabilities = np.zeros((scaled.shape[0], self._classes))
        probabilities[:, self._model.classes_] = self._model.predict_proba(scaled)
        return probabilities

    def linear(self) -> Linear:
        """The same student as one matrix, the IDF scale folded into it."""
        coefficients, intercepts = self._model.coef_, self._model.intercept_
        if len(coefficients) == 1:
            coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
            intercepts = np.concatenate([-intercepts / 2, intercepts / 2])
        rows = np.zeros((len(self._columns), self._classes), dtype=np.float32)
        bias = np.full(self._classes, NEVER, dtype=np.float32)
        rows[:, self._model.classes_] = (coefficients * self._idf).T
        bias[self._model.classes_] = intercepts
        return Linear(self._columns, rows, bias)


def fit(
    features: Features,
    targets: NDArray[np.int64],
    *,
    classes: int,
    seed: int,
    weights: NDArray[np.float64] | None = None,
    max_parameters: int = MAX_PARAMETERS,
) -> Logistic:
    """Fit on n documents' features and the (n,) indices of their classes.

    Columns are the buckets seen, scaled by idf = ln((1 + n) / (1 + df)) + 1; classes are weighted to count alike, and
    each document by its (n,) `weights` besides.
    Where buckets times classes would exceed `max_parameters`, the buckets that most documents have are kept.
    Deterministic for the same rows in the same order on the same machine.

    Raises `TrainingError` when there are fewer than two distinct classes or no features at all.
    """
    present = np.unique(targets)
    if len(present) < 2:
        msg = (
            f"too few classes: the {len(targets)} valid labels to train on name {len(present)} and at least 2 are "
            "needed; wait for more labels"
        )
        raise TrainingError(msg)
    frequencies = np.bincount(features.indices)
    columns = np.flatnonzero(frequencies).astype(np.int32)
    if not len(columns):
        msg = f"none of the {len(targets)} labelled documents holds a word: there is nothing to learn from"
        raise TrainingError(msg)
    most = max(1, max_parameters // len(present))
    if len(columns) > most:
        columns = np.sort(columns[np.argsort(-frequencies[columns], kind="stable")[:most]])
    idf = np.log((1 + len(targets)) / (1 + frequencies[columns])) + 1.0
    model = LogisticRegression(C=C, class_weight="balanced", max_iter=MAX_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(_scaled(features, columns, idf), targets, sample_weight=weights)
    return Logistic(model, columns, idf, classes)


def tempered(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Probabilities softmax(logits / temperature), (n, K) float64."""
    probabilities: NDArray[np.float64] = softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)
    return probabilities


def _scaled(features: Features, columns: NDArray[np.int32], idf: NDArray[np.float64]) -> csr_array:
    """The features restricted to `columns` and scaled, as scikit-learn takes them."""
    places = np.searchsorted(columns, features.indices)
    places[places == len(columns)] = 0
    known = columns[places] == features.indices
    indptr = np.concatenate([[0], np.cumsum(known)])[features.indptr]
    kept = places[known]
    values = features.values[known].astype(np.float64) * idf[kept]
    return csr_array((values, kept.astype(np.int32), indptr.astype(np.int32)), shape=(len(indptr) - 1, len(columns)))
