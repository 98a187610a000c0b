"""From labelled texts to a trained student, whatever its kind and its features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from askance.student import features
from askance.student.session import GRAPH
from askance.training import families
from askance.training.inputs import folds_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from askance.training.families import Fitted
    from askance.training.inputs import Inputs
    from askance.training.spec import Spec


class Trained(Protocol):
    """A trained student as its library computes it, and the files that have to answer alike."""

    @property
    def temperature(self) -> float:
        """What its logits are divided by."""

    @property
    def files(self) -> Mapping[str, bytes]:
        """`student.onnx` and what it needs beside it."""

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(n, K)."""

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(n, K) at temperature 1, by the library itself where it gives them."""


class Featurizer(Protocol):
    """Texts as what the families are fitted on."""

    def inputs(self, texts: Sequence[str]) -> Inputs:
        """The features of n documents."""


class Hashed:
    """Hashed n-grams, by the kernel."""

    def __init__(self, spec: Spec) -> None:
        self._featurizer = features.build(spec.featurizer)

    def inputs(self, texts: Sequence[str]) -> Inputs:
        """See `Featurizer`."""
        return features.Features(*self._featurizer.transform(list(texts)))


class FamilyStudent:
    """A student of one of `families`; implements `Trained`."""

    def __init__(self, fitted: Fitted, temperature: float, featurizer: Featurizer) -> None:
        self.temperature = temperature
        self.files = {GRAPH: fitted.to_onnx()}
        self._fitted = fitted
        self._featurizer = featurizer

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """See `Trained`."""
        return self._fitted.logits(self._featurizer.inputs(texts))

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """See `Trained`."""
        return self._fitted.probabilities(self._featurizer.inputs(texts))


def fit(spec: Spec, texts: Sequence[str], labels: Sequence[str], weights: NDArray[np.float64] | None) -> Trained:
    """A student of the kind that `spec` names, trained on n texts and their labels, and calibrated.

    A text of weight 0 is not fitted on. Raises `TrainingError`.
    """
    place = {label: column for column, label in enumerate(spec.labels)}
    targets = np.array([place[label] for label in labels], dtype=np.int64)
    featurizer = Hashed(spec)
    fitted, temperature = families.train(
        spec.kind,
        featurizer.inputs(texts),
        targets,
        classes=len(spec.labels),
        folds=folds_of(texts, seed=spec.seed),
        weights=weights,
        seed=spec.seed,
        bits=spec.featurizer.bits,
    )
    return FamilyStudent(fitted, temperature, featurizer)
