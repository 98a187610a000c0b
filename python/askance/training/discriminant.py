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

LEAST_SHRINKAGE = 0.5
"""With few documents a class the Ledoit-Wolf estimate, which knows nothing of the means that were fitted, is too small.
Negative log-likelihood on banking77's MiniLM vectors after 600 gold labels: .621 with it alone, .547 with at least 0.3,
.517 with 0.5, .534 with 0.7, .661 with 0.9; the accuracy is .85 to .86 with all."""


class Discriminant:
    """A fitted analysis; `askance.training.families.Model` says what it promises."""

    def __init__(
        self,
        projection: Projection,
        centre: NDArray[np.float32],
        coefficients: NDArray[np.float64],
        intercepts: NDArray[np.float64],
    ) -> None:
        self._projection = projection
        # Softmax does not see what all classes share. Without it, and around the centre, the numbers are so much
        # smaller that float32 is enough for them.
        self._centre = centre
        self._coefficients = coefficients - coefficients.mean(axis=1, keepdims=True)
        around = intercepts + centre.astype(np.float64) @ coefficients
        self._intercepts = around - around.mean()

    def logits(self, inputs: Inputs) -> NDArray[np.float64]:
        """The logarithms of the class densities, less what all classes share."""
        vectors = self._projection.apply(inputs).astype(np.float64) - self._centre
        scores: NDArray[np.float64] = vectors @ self._coefficients + self._intercepts
        return scores

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """The classes' posterior probabilities."""
        probabilities: NDArray[np.float64] = softmax(self.logits(inputs), axis=1)
        return probabilities

    def emit(self, graph: Graph) -> str:
        """One product and a bias."""
        centred = graph.add("Sub", self._projection.emit(graph), graph.put(self._centre))
        product = graph.add("MatMul", centred, graph.put(self._coefficients.astype(np.float32)))
        return graph.add("Add", product, graph.put(self._intercepts.astype(np.float32)))


def fit_discriminant(
    projection: Projection, inputs: Inputs, targets: NDArray[np.int64], weights: NDArray[np.float64]
) -> Discriminant:
    """Fit on n documents of the classes 0 to c - 1, (n,), weighted, (n,); a class's prior is its share of weight."""
    vectors = projection.apply(inputs)
    centre = np.average(vectors, axis=0, weights=weights).astype(np.float32)
    return Discriminant(projection, centre, *discriminant(vectors.astype(np.float64), targets, weights))


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
        # The means took a degree of freedom for each class.
        covariance *= len(vectors) / max(1, len(vectors) - classes)
        scaled = residuals * np.sqrt(len(residuals))
        shrinkage = max(LEAST_SHRINKAGE, float(ledoit_wolf_shrinkage(scaled, assume_centered=True)))
    width = vectors.shape[1]
    spread = max(float(np.trace(covariance)) / width, np.finfo(np.float32).tiny)
    covariance = (1.0 - shrinkage) * covariance + shrinkage * spread * np.eye(width)
    coefficients = cho_solve(cho_factor(covariance), means.T)
    intercepts = np.log(priors) - 0.5 * np.einsum("kd,dk->k", means, coefficients)
    return coefficients, intercepts
