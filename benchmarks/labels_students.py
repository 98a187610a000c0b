"""Students of the experiment on labels: fitted often, so in float32 and from where the last fit ended.

The logistic one is the product's in all but its arithmetic: scikit-learn's, L2 penalty, classes weighted to count
alike, hashed buckets that training has seen scaled by inverse document frequency, temperature from an inner fifth.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from askance._kernel import HashedFeaturizer
from askance.training.calibration import fit_temperature

NEVER = np.float32(-1e4)
"""The logit of a class without a training label."""


class Recipe(NamedTuple):
    """How a student is fitted; families other than the logistic one have the product's own settings."""

    family: str = "logistic"
    penalty: float = 10.0
    """C of scikit-learn."""
    balanced: bool = True
    calibrated: bool = True
    tolerance: float = 5e-4
    """Of L-BFGS, for students on the way, which start from the last one. One that is judged is fitted to 1e-4: fitting
    all of them so takes 1.5 times the time and gives the same accuracies, within the noise of seeds."""


class Answering(Protocol):
    """A student of any family."""

    @property
    def temperature(self) -> float: ...

    def logits(self, x: Any) -> Any:
        """(n, K) float32 for (n, d), dense or sparse."""


class Other(NamedTuple):
    """A student of another family, by the product's own training."""

    fitted: Any
    temperature: float

    def logits(self, x: Any) -> Any:
        """See `Answering`."""
        return self.fitted.logits(_inputs(x)).astype(np.float32)


class Student(NamedTuple):
    """Logits = x @ rows + bias, over the temperature; NEVER where a class is not `known`."""

    rows: Any
    """(d, K) float32."""
    bias: Any
    """(K,) float32."""
    known: Any
    """(K,) bool."""
    temperature: float = 1.0

    def logits(self, x: Any) -> Any:
        """See `Answering`."""
        return np.where(self.known, x @ self.rows + self.bias, NEVER).astype(np.float32, copy=False)


def hashed(texts: list[str]) -> csr_array:
    """The product's default features, without the buckets that only one document has."""
    indptr, indices, values = HashedFeaturizer().transform(texts)
    matrix = csr_array((values, indices, indptr), shape=(len(texts), 2**18), dtype=np.float32)
    return csr_array(matrix[:, np.flatnonzero(np.bincount(indices, minlength=2**18) > 1)])


def train(
    x: Any,
    targets: Any,
    *,
    classes: int,
    recipe: Recipe,
    folds: Any,
    start: Answering | None = None,
    weights: Any = None,
) -> Answering | None:
    """Fit on n documents; those of fold 0 tell the temperature of a fit on the others. None: only one class."""
    weights = np.ones(len(targets)) if weights is None else weights
    if recipe.family != "logistic":
        return _other(x, targets, classes, recipe, folds, weights)
    start = start if isinstance(start, Student) else None
    inner = folds == 0
    temperature = 1.0
    if recipe.calibrated:
        outer = ~inner & (weights > 0.0)
        most = _fit(x[outer], targets[outer], classes, recipe, start, weights[outer])
        if most is not None:
            judged = inner & most.known[targets]
            temperature = fit_temperature(most.logits(x[judged]), targets[judged])
            start = most
    kept = weights > 0.0
    fitted = _fit(x[kept], targets[kept], classes, recipe, start, weights[kept])
    return None if fitted is None else fitted._replace(temperature=temperature)


def _fit(x: Any, targets: Any, classes: int, recipe: Recipe, start: Student | None, weights: Any) -> Student | None:
    present = np.unique(targets)
    if len(present) < 2:
        return None
    columns, scale = slice(None), np.ones(1, dtype=np.float32)
    if issparse(x):
        frequencies = np.bincount(x.indices, minlength=x.shape[1])
        columns = np.flatnonzero(frequencies)
        scale = (np.log((1 + x.shape[0]) / (1 + frequencies[columns])) + 1.0).astype(np.float32)
        x = csr_array(x[:, columns].multiply(scale[None, :]), dtype=np.float32)
        # What scikit-learn's solver takes.
        x.indices, x.indptr = x.indices.astype(np.int32), x.indptr.astype(np.int32)
    model = LogisticRegression(
        C=recipe.penalty,
        class_weight="balanced" if recipe.balanced else None,
        max_iter=100,
        tol=recipe.tolerance,
        warm_start=True,
    )
    if start is not None and len(present) > 2:
        model.coef_ = np.ascontiguousarray((start.rows[columns][:, present] / scale[:, None]).T)
        model.intercept_ = start.bias[present].copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, targets, sample_weight=weights.astype(np.float32))
    coefficients, intercept = model.coef_, model.intercept_
    if len(coefficients) == 1:
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercept = np.append(-intercept, intercept) / 2
    width = x.shape[1] if isinstance(columns, slice) else len(frequencies)
    rows, bias = np.zeros((width, classes), dtype=np.float32), np.zeros(classes, dtype=np.float32)
    filled = np.zeros((x.shape[1], classes), dtype=np.float32)
    filled[:, present] = coefficients.T * scale[:, None]
    rows[columns] = filled
    bias[present] = intercept
    return Student(rows, bias, np.isin(np.arange(classes), present))


def _other(x: Any, targets: Any, classes: int, recipe: Recipe, folds: Any, weights: Any) -> Other | None:
    from askance.training import families  # of the branch `students`: nothing else here needs it

    if len(np.unique(targets)) < 2:
        return None
    fitted, temperature = families.train(
        recipe.family,  # type: ignore[arg-type]
        _inputs(x),
        targets,
        classes=classes,
        folds=folds,
        weights=weights,
    )
    return Other(fitted, temperature)


def _inputs(x: Any) -> Any:
    from askance.student.features import Features

    if not issparse(x):
        return np.ascontiguousarray(x)
    return Features(x.indptr.astype(np.int64), x.indices.astype(np.int32), x.data)
