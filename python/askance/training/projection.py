"""Few numbers a document, for the students that cannot take hundreds of thousands: a truncated SVD of hashed features.

The graph *defines* the features: a forest is fitted on the very numbers that onnxruntime will give it, so that no
document falls to another side of a threshold when it is served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from sklearn.decomposition import TruncatedSVD  # type: ignore[import-untyped]

from askance.student.features import Features, cut
from askance.student.session import open_session
from askance.training.graph import Graph
from askance.training.inputs import count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from askance.training.inputs import Design, Inputs

RANK = 128
"""Components of the SVD, fewer where there are fewer documents or buckets."""

MAX_CELLS = 4_000_000


class Projection(Protocol):
    """Inputs as (n, r) float32, and the same in a graph."""

    def apply(self, inputs: Inputs) -> NDArray[np.float32]:
        """(n, r), to the bit what the graph gives."""

    def emit(self, graph: Graph) -> str:
        """Add it to a graph, (n, r)."""


class AsTheyAre:
    """Vectors, unchanged."""

    def __init__(self, width: int) -> None:
        self._width = width

    def apply(self, inputs: Inputs) -> NDArray[np.float32]:
        """(n, d)."""
        if isinstance(inputs, Features):
            raise TypeError
        return inputs

    def emit(self, graph: Graph) -> str:
        """The input itself."""
        return graph.vectors(self._width)


class Svd:
    """Components (m, r) over a design's columns."""

    def __init__(self, design: Design, components: NDArray[np.float64]) -> None:
        self._design = design
        self._components = components
        graph = Graph()
        self._session = open_session(graph.serialised(self.emit(graph), name="features", width=components.shape[1]))

    def apply(self, inputs: Inputs) -> NDArray[np.float32]:
        """(n, r), by onnxruntime."""
        if not isinstance(inputs, Features):
            raise TypeError
        width = self._components.shape[1]
        projected = np.empty((count(inputs), width), dtype=np.float32)
        for rows, ids, weights in cut(inputs, max_cells=MAX_CELLS // width):
            projected[rows] = self._session.run("features", {"ids": ids, "weights": weights})
        return projected

    def emit(self, graph: Graph) -> str:
        """An embedding bag of the components."""
        return self._design.product(graph, self._components)


def project(design: Design, inputs: Inputs, *, seed: int) -> Projection:
    """The projection fitted on these inputs; vectors are left as they are."""
    if not isinstance(inputs, Features):
        return AsTheyAre(inputs.shape[1])
    matrix = design.matrix(inputs)
    rank = max(1, min(RANK, matrix.shape[0] - 1, matrix.shape[1] - 1))
    model = TruncatedSVD(rank, random_state=seed)
    model.fit(matrix)
    return Svd(design, model.components_.T)
