"""Linear discriminant analysis with a weight a document, which scikit-learn's has not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import softmax
from sklearn.covariance import ledoit_wolf_shrinkage  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from askance.training.graph import Graph
    from askance.training.inputs import Inputs
    from askance.training.projection import Projection

LEAST_SHRINKAGE = 1e-3
"""Keeps the covariance invertible whatever the documents."""


class Discriminant:
    """A fitted analysis; `askance.training.families.Model` says what it promises."""

    def __init__(
        self, projection: Projection, coefficients: NDArray[np.float64], intercepts: NDArray[np.float64]
    ) -> None:
        self._projection = projection
        self._coefficients = coefficients
        self._intercepts = intercepts

    def logits(self, inputs: Inputs) -> NDArray[np.float64]:
        """The logarithms of the class densities, less what all classes share."""
        scores: NDArray[np.float64] = self._projection.apply(inputs).astype(np.float64) @ self._coefficients
        return scores + self._intercepts

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """The classes' posterior probabilities."""
        probabilities: NDArray[np.float64] = softmax(self.logits(inputs), axis=1)
        return probabilities

    def emit(self, graph: Graph) -> str:
        """One product and a bias."""
        product = graph.add("MatMul", self._projection.emit(graph), graph.put(self._coefficients.astype(np.float32)))
        return graph.add("Add", product, graph.put(self._intercepts.astype(np.float32)))


def fit_discriminant(
    projection: Projection, inputs: Inputs, targets: NDArray[np.int64], weights: NDArray[np.float64]
) -> Discriminant:
    """Fit on n documents of the classes 0 to c - 1, (n,), weighted, (n,); a class's prior is its share of the weight."""
    return Discriminant(projection, *discriminant(projection.apply(inputs).astype(np.float64), targets, weights))


def discriminant(
    vectors: NDArray[np.float64],
    targets: NDArray[np.int64],
    weights: NDArray[np.float64],
    *,
    shrinkage: float | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(d, c) coefficients and (c,) intercepts from (n, d) vectors.

    The covariance within classes is shrunk towards a multiple of the identity (Ledoit and Wolf, A Well-Conditioned
    Estimator for Large-Dimensional Covariance Matrices, 2004, on the weighted residuals, unless `shrinkage` is
    given). With equal weights this is scikit-learn's `LinearDiscriminantAnalysis(solver="lsqr", shrinkage=...)`.
    """
    classes = int(targets.max()) + 1
    shares = weights / weights.sum()
    member = (targets[:, None] == np.arange(classes)) * shares[:, None]
    priors = member.sum(axis=0)
    means = (member.T @ vectors) / priors[:, None]
    residuals = (vectors - means[targets]) * np.sqrt(shares)[:, None]
    covariance = residuals.T @ residuals
    if shrinkage is None:
        scaled = residuals * np.sqrt(len(residuals))
        shrinkage = max(LEAST_SHRINKAGE, float(ledoit_wolf_shrinkage(scaled, assume_centered=True)))
    width = vectors.shape[1]
    spread = max(float(np.trace(covariance)) / width, np.finfo(np.float32).tiny)
    covariance = (1.0 - shrinkage) * covariance + shrinkage * spread * np.eye(width)
    coefficients = cho_solve(cho_factor(covariance), means.T)
    intercepts = np.log(priors) - 0.5 * np.einsum("kd,dk->k", means, coefficients)
    return coefficients, intercepts
