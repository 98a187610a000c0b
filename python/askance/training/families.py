"""The linear and the tree students behind one function: fit, calibrate, and be ready for export.

Every family fits the classes that have labels, counted alike whatever their number, and documents by their weights;
`Fitted` puts the result in the label set's columns. A transformer is trained elsewhere, by the same promises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from askance.errors import TrainingError
from askance.training.calibration import fit_temperature
from askance.training.discriminant import fit_discriminant
from askance.training.ensembles import fit_boosting, fit_forest
from askance.training.graph import Graph
from askance.training.inputs import FOLDS, MAX_PARAMETERS, balanced, design, take
from askance.training.linear import Svm, fit_logistic, fit_sigmoids, fit_svm, svm_scores
from askance.training.projection import project

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from askance.training.inputs import Design, Inputs
    from askance.training.spec import Family

NEVER = -1e5
"""The logit of a class without a training label: its probability is exactly 0 at any sane temperature."""


class Model(Protocol):
    """A fitted model of c classes in its library's own arithmetic, and the same as a graph."""

    def logits(self, inputs: Inputs) -> NDArray[np.float64]:
        """(n, c) whose softmax are the probabilities."""

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """(n, c) by the library itself, where it has them: what parity is checked against."""

    def emit(self, graph: Graph) -> str:
        """Add the logits, (n, c) float32, to a graph; returns their name."""


class Fitted:
    """A model in the label set's K columns; build it with `fit`."""

    def __init__(self, model: Model, present: NDArray[np.int64], classes: int) -> None:
        self._model = model
        self._present = present
        self._classes = classes

    def logits(self, inputs: Inputs) -> NDArray[np.float64]:
        """(n, K) float64, `NEVER` for classes without labels."""
        found = self._model.logits(inputs)
        logits = np.full((len(found), self._classes), NEVER)
        logits[:, self._present] = found
        return logits

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """(n, K) float64, 0 for classes without labels."""
        found = self._model.probabilities(inputs)
        probabilities = np.zeros((len(found), self._classes))
        probabilities[:, self._present] = found
        return probabilities

    def to_onnx(self) -> bytes:
        """The graph from `ids` and `weights`, or from `vectors`, to `logits`; the same bytes for the same student."""
        graph = Graph()
        logits = self._model.emit(graph)
        if len(self._present) < self._classes:
            pads = graph.put(np.array([0, 0, 0, 1], dtype=np.int64))
            padded = graph.add("Pad", logits, pads, graph.put(np.array(NEVER, dtype=np.float32)))
            columns = np.full(self._classes, len(self._present), dtype=np.int64)
            columns[self._present] = np.arange(len(self._present))
            logits = graph.add("Gather", padded, graph.put(columns), axis=1)
        return graph.serialised(logits, name="logits", width=self._classes)


class Calibrated(NamedTuple):
    """A fitted student with the temperature its logits are divided by."""

    fitted: Fitted
    temperature: float


class Unseen(NamedTuple):
    """Logits by students that were not fitted on the document."""

    rows: NDArray[np.int64]
    """(m,) which documents."""
    logits: NDArray[np.float64]
    """(m, K)."""


def train(
    kind: Family,
    inputs: Inputs,
    targets: NDArray[np.int64],
    *,
    classes: int,
    folds: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
    seed: int = 0,
    bits: int = 18,
) -> Calibrated:
    """A student fitted on all n documents, calibrated with ones that were fitted on part of them.

    `targets` (n,) are columns of the label set, of `classes` in all; `weights` (n,) count documents, 1 each by
    default; one of weight 0 is not fitted on, but calibrates like any other, being of the stream that the temperature
    is for; `folds` (n,) say which of the parts 0 to 4 each document is in (`askance.training.inputs.folds_of`).
    `bits` is the hashed features'. Deterministic for the same rows in the same order on the same machine.

    Raises `TrainingError` when there are fewer than two distinct classes or no features at all.
    """
    given = np.ones(len(targets)) if weights is None else np.asarray(weights, dtype=np.float64)
    learnt = given > 0.0

    def fit_some(rows: NDArray[np.int64]) -> tuple[Fitted, Unseen | None]:
        return _fit(
            kind, take(inputs, rows), targets[rows],
            classes=classes, folds=folds[rows], weights=given[rows], seed=seed, bits=bits,
        )  # fmt: skip

    kept = np.flatnonzero(learnt)
    fitted, unseen = fit_some(kept)
    if unseen is not None:
        left_out = np.flatnonzero(~learnt & np.isin(targets, targets[kept]))
        judged, logits = kept[unseen.rows], unseen.logits
        if len(left_out):
            judged = np.concatenate([judged, left_out])
            logits = np.concatenate([logits, fitted.logits(take(inputs, left_out))])
    else:
        inner = folds == 0
        outer = np.flatnonzero(~inner & learnt)
        if len(np.unique(targets[outer])) < 2:
            return Calibrated(fitted, 1.0)
        # A class that only the inner part has is impossible for that student, at any temperature.
        judged = np.flatnonzero(inner & np.isin(targets, targets[outer]))
        logits = fit_some(outer)[0].logits(take(inputs, judged))
    return Calibrated(fitted, fit_temperature(logits, targets[judged]))


def _fit(
    kind: Family,
    inputs: Inputs,
    targets: NDArray[np.int64],
    *,
    classes: int,
    folds: NDArray[np.int64],
    weights: NDArray[np.float64],
    seed: int,
    bits: int,
    max_parameters: int = MAX_PARAMETERS,
) -> tuple[Fitted, Unseen | None]:
    """The student and, where fitting gives them anyway, logits of documents that it was not fitted on."""
    present, own = np.unique(targets, return_inverse=True)
    if len(present) < 2:
        msg = (
            f"too few classes: the {len(targets)} valid labels to train on name {len(present)} and at least 2 are "
            "needed; wait for more labels"
        )
        raise TrainingError(msg)
    designed = design(inputs, classes=len(present), bits=bits, max_parameters=max_parameters)
    shared = balanced(own, weights)
    model: Model
    unseen = None
    if kind == "logistic":
        model = fit_logistic(designed, inputs, own, shared, seed=seed)
    elif kind == "svm":
        scores = _unseen_scores(designed, inputs, own, folds=folds, weights=weights, seed=seed)
        model = Svm(fit_svm(designed, inputs, own, shared, seed=seed), designed, *fit_sigmoids(scores, own, weights))
        judged = np.flatnonzero(np.isfinite(scores[np.arange(len(own)), own]))
        logits = np.full((len(judged), classes), NEVER)
        logits[:, present] = np.nan_to_num(model.calibrated(scores[judged]), nan=NEVER)
        unseen = Unseen(judged, logits)
    else:
        projection = project(designed, inputs, seed=seed)
        if kind == "lda":
            model = fit_discriminant(projection, inputs, own, shared)
        elif kind == "rf":
            model = fit_forest(projection, inputs, own, shared, seed=seed)
        else:
            model = fit_boosting(projection, inputs, own, shared, seed=seed)
    return Fitted(model, present, classes), unseen


def _unseen_scores(
    designed: Design,
    inputs: Inputs,
    targets: NDArray[np.int64],
    *,
    folds: NDArray[np.int64],
    weights: NDArray[np.float64],
    seed: int,
) -> NDArray[np.float64]:
    """(n, c) each document's scores by the SVM of the other folds; NaN where that one did not know the class."""
    classes = int(targets.max()) + 1
    scores = np.full((len(targets), classes), np.nan)
    for fold in range(FOLDS):
        rest, left_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        known, own = np.unique(targets[rest], return_inverse=True)
        # With two classes of many left the scores are those of one against the other, not against all.
        if len(left_out) and len(known) >= min(classes, 3):
            part = fit_svm(designed, take(inputs, rest), own, balanced(own, weights[rest]), seed=seed)
            scores[np.ix_(left_out, known)] = svm_scores(part, designed, take(inputs, left_out))
    return scores
