"""What students are fitted on: hashed features or vectors, the weight of each document, and the folds that calibrate.

A *design* turns inputs into the matrix that a library is given, and writes the same arithmetic into a graph: buckets
that training has seen, scaled by their inverse document frequency, or vectors scaled by one constant.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from scipy.sparse import csr_array

from askance.errors import TrainingError
from askance.rules.split import text_uniform
from askance.student.features import Features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from askance.training.graph import Graph

Inputs: TypeAlias = "Features | NDArray[np.float32]"
"""n documents: hashed features, or (n, d) float32 vectors."""

Matrix: TypeAlias = "csr_array | NDArray[np.float64]"

MAX_PARAMETERS = 2_000_000
"""Buckets times classes. At the limit (5,916 labels of clinc150, 151 classes) a logistic job takes 810 MB and 14 s."""

VECTOR_SCALE = 0.055
"""Times the square root of their width is what vectors are scaled by: unit vectors then take the same penalty as hashed
features, whose length is a few units once they are scaled. Negative log-likelihood on banking77's MiniLM vectors after
600 and 2,500 gold labels, logistic: .444 .308 with 1, .424 .291 with 0.3, .410 .274 with 0.1, .423 .283 with 0.03.
Accuracy of random samples of a quarter of four sets (stackoverflow20, banking77, hwu64, snips; means of three): .872
.897 .880 .962 with 0.1, .880 .898 .883 .963 with 0.055."""

FOLDS = 5
"""A student that is fitted on four of them is calibrated on the fifth."""


class Design(Protocol):
    """Inputs as a library's matrix, and the same arithmetic in a graph."""

    def matrix(self, inputs: Inputs) -> Matrix:
        """(n, m) float64, sparse or dense."""

    def product(self, graph: Graph, columns: NDArray[np.float64]) -> str:
        """Add `matrix @ columns`, (n, c), to the graph; `columns` is (m, c). Returns the value's name."""


class HashedDesign:
    """The buckets that are kept, ascending, and what each is scaled by."""

    def __init__(self, buckets: NDArray[np.int32], idf: NDArray[np.float64], bits: int) -> None:
        self.buckets = buckets
        self.idf = idf
        self._bits = bits

    def matrix(self, inputs: Inputs) -> csr_array:
        """(n, m) float64: the features restricted to the buckets and scaled."""
        if not isinstance(inputs, Features):
            raise TypeError
        places = np.searchsorted(self.buckets, inputs.indices)
        places[places == len(self.buckets)] = 0
        known = self.buckets[places] == inputs.indices
        indptr = np.concatenate([[0], np.cumsum(known)])[inputs.indptr]
        kept = places[known]
        values = inputs.values[known].astype(np.float64) * self.idf[kept]
        shape = (len(indptr) - 1, len(self.buckets))
        return csr_array((values, kept.astype(np.int32), indptr.astype(np.int32)), shape=shape)

    def product(self, graph: Graph, columns: NDArray[np.float64]) -> str:
        """An embedding bag, with the scale folded into its rows."""
        rows = (columns * self.idf[:, None]).astype(np.float32)
        return graph.bag(self.buckets, rows, bits=self._bits)


class VectorDesign:
    """Vectors, times a constant."""

    def __init__(self, width: int, scale: float) -> None:
        self._width = width
        self._scale = scale

    def matrix(self, inputs: Inputs) -> NDArray[np.float64]:
        """(n, d) float64."""
        if isinstance(inputs, Features):
            raise TypeError
        return inputs.astype(np.float64) * self._scale

    def product(self, graph: Graph, columns: NDArray[np.float64]) -> str:
        """One product, with the scale folded into it."""
        return graph.add("MatMul", graph.vectors(self._width), graph.put((columns * self._scale).astype(np.float32)))


def design(inputs: Inputs, *, classes: int, bits: int, max_parameters: int = MAX_PARAMETERS) -> Design:
    """The design of these inputs.

    Hashed: buckets seen, scaled by idf = ln((1 + n) / (1 + df)) + 1; where buckets times `classes` would exceed
    `max_parameters`, the buckets that most documents have are kept. Vectors: scaled by the square root of their
    width, times `VECTOR_SCALE`, so that one penalty fits all encoders of unit vectors. Raises `TrainingError`
    when no document has a feature.
    """
    if not isinstance(inputs, Features):
        return VectorDesign(inputs.shape[1], VECTOR_SCALE * math.sqrt(inputs.shape[1]))
    documents = count(inputs)
    frequencies = np.bincount(inputs.indices)
    buckets = np.flatnonzero(frequencies).astype(np.int32)
    if not len(buckets):
        msg = f"none of the {documents} labelled documents holds a word: there is nothing to learn from"
        raise TrainingError(msg)
    most = max(1, max_parameters // classes)
    if len(buckets) > most:
        buckets = np.sort(buckets[np.argsort(-frequencies[buckets], kind="stable")[:most]])
    return HashedDesign(buckets, np.log((1 + documents) / (1 + frequencies[buckets])) + 1.0, bits)


def count(inputs: Inputs) -> int:
    """How many documents there are."""
    return len(inputs.indptr) - 1 if isinstance(inputs, Features) else len(inputs)


def take(inputs: Inputs, rows: NDArray[np.int64]) -> Inputs:
    """The inputs of some documents, in the order of `rows`, (m,)."""
    if not isinstance(inputs, Features):
        return inputs[rows]
    starts, lengths = inputs.indptr[rows], np.diff(inputs.indptr)[rows]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    places = np.repeat(starts - indptr[:-1], lengths) + np.arange(indptr[-1])
    return Features(indptr, inputs.indices[places], inputs.values[places])


def folds_of(texts: Sequence[str], *, seed: int) -> NDArray[np.int64]:
    """(n,) which of `FOLDS` folds each document is in, keyed by its text: duplicates share one."""
    purpose = f"inner-{seed}"
    return np.array([int(text_uniform(text, purpose=purpose) * FOLDS) for text in texts], dtype=np.int64)


def balanced(targets: NDArray[np.int64], weights: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """(n,) weights with which every class that has a label counts alike, and whose mean is 1.

    >>> balanced(np.array([0, 0, 0, 1]), None).round(3).tolist()
    [0.667, 0.667, 0.667, 2.0]
    """
    given = np.ones(len(targets)) if weights is None else np.asarray(weights, dtype=np.float64)
    totals = np.bincount(targets, weights=given)
    shared: NDArray[np.float64] = given * len(targets) / (np.count_nonzero(totals) * totals[targets])
    return shared
