"""From labelled texts to a trained student, whatever its kind and its features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from askance.errors import TrainingError
from askance.student import features
from askance.student.session import GRAPH
from askance.training import families
from askance.training.inputs import folds_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from askance.manifest import EncoderConfig, Features
    from askance.training.families import Calibrated
    from askance.training.inputs import Inputs
    from askance.training.spec import Spec
    from askance.training.transformer import Transformer


class Reads(NamedTuple):
    """What a student's graph takes, as its manifest says it."""

    features: Features
    encoder: EncoderConfig | None = None
    max_tokens: int = 0
    base: str = ""


class Trained(Protocol):
    """A trained student as its library computes it, and the files that have to answer alike."""

    @property
    def temperature(self) -> float:
        """What its logits are divided by."""

    @property
    def files(self) -> Mapping[str, bytes]:
        """`student.onnx` and what it needs beside it."""

    @property
    def reads(self) -> Reads:
        """What the graph takes."""

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(n, K)."""

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(n, K) at temperature 1, by the library itself where it gives them."""


class Featurizer(Protocol):
    """Texts as what the families are fitted on."""

    def inputs(self, texts: Sequence[str]) -> Inputs:
        """The features of n documents."""


class Hashed:
    """Hashed n-grams, by the kernel; implements `Featurizer`."""

    def __init__(self, spec: Spec) -> None:
        self._featurizer = features.build(spec.featurizer)

    def inputs(self, texts: Sequence[str]) -> Inputs:
        """See `Featurizer`."""
        return features.Features(*self._featurizer.transform(list(texts)))


class FamilyStudent:
    """A student of one of `families`; implements `Trained`."""

    def __init__(self, calibrated: Calibrated, featurizer: Featurizer, reads: Reads, files: dict[str, bytes]) -> None:
        """`files` are what the student needs beside its graph."""
        fitted, self.temperature = calibrated
        self.files = {GRAPH: fitted.to_onnx(), **files}
        self.reads = reads
        self._fitted = fitted
        self._featurizer = featurizer

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """See `Trained`."""
        return self._fitted.logits(self._featurizer.inputs(texts))

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """See `Trained`."""
        return self._fitted.probabilities(self._featurizer.inputs(texts))


def fit(
    spec: Spec,
    texts: Sequence[str],
    labels: Sequence[str],
    weights: NDArray[np.float64] | None,
    *,
    start: tuple[Path, Sequence[str]] | None = None,
) -> Trained:
    """A student of the kind that `spec` names, trained on n texts and their labels, and calibrated.

    A text of weight 0 is not fitted on. A transformer may `start` from a version's folder, whose labels are given by
    the names they have now. Raises `TrainingError`.
    """
    place = {label: column for column, label in enumerate(spec.labels)}
    targets = np.array([place[label] for label in labels], dtype=np.int64)
    folds = folds_of(texts, seed=spec.seed)
    if spec.kind == "transformer":
        return _transformer(spec, texts, targets, weights, folds, start)
    featurizer, reads, files = _featurizer(spec)
    calibrated = families.train(
        spec.kind,
        featurizer.inputs(texts),
        targets,
        classes=len(spec.labels),
        folds=folds,
        weights=weights,
        seed=spec.seed,
        bits=spec.featurizer.bits,
    )
    return FamilyStudent(calibrated, featurizer, reads, files)


class FineTuned:
    """A transformer; implements `Trained`."""

    def __init__(self, student: Transformer, reads: Reads) -> None:
        self.reads = reads
        self.temperature = student.temperature
        self.files = student.files
        self.logits = student.logits
        self.probabilities = student.probabilities


def _transformer(
    spec: Spec,
    texts: Sequence[str],
    targets: NDArray[np.int64],
    weights: NDArray[np.float64] | None,
    folds: NDArray[np.int64],
    start: tuple[Path, Sequence[str]] | None,
) -> Trained:
    try:
        from askance.training import transformer
    except ImportError as exc:
        msg = f"the student transformer needs torch and transformers ({exc}); run: pip install 'askance[transformers]'"
        raise TrainingError(msg) from exc
    given = np.ones(len(texts)) if weights is None else np.asarray(weights, dtype=np.float64)
    documents = transformer.Documents(texts, targets, given, folds)
    begin = None if start is None else transformer.Start(*start)
    student = transformer.train(spec.transformer, documents, spec.labels, seed=spec.seed, start=begin)
    return FineTuned(student, Reads("tokens", None, student.max_tokens, spec.transformer.model))


def _featurizer(spec: Spec) -> tuple[Featurizer, Reads, dict[str, bytes]]:
    if spec.features == "hashed":
        return Hashed(spec), Reads("hashed"), {}
    from askance.training import encoders
    from askance.training.embeddings import Embeddings

    encoder, config, files = encoders.read(spec.encoder, max_tokens=spec.max_tokens)
    kept = Embeddings(encoder, None if spec.embeddings is None else Path(spec.embeddings))
    return kept, Reads("encoder", config, spec.max_tokens), files
