"""Linear students without their graph: the graph's own weights, read off its answers, in the kernel.

A graph that is linear in the hashed features is known by what it says of each bucket alone. onnxruntime copies a row
for every feature before it adds them up; the kernel adds them where they are, several times as fast.

Owns the promise that nothing else is ever taken for linear: the weights read off are held against the graph on random
bags of features, and what does not agree is served by the graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from askance._kernel import LinearModel
from askance.student import features

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from askance.manifest import Manifest
    from askance.student.session import Session

KINDS = frozenset({"logistic", "svm", "lda"})
"""Of students; the graphs of others are not linear."""

_LARGEST_BITS = 20
# A power of two, so that a weight is scaled exactly and the bias beside it costs no digit.
_SCALE = 2.0**20
_CHUNK = 8192
_BAGS, _BAG = 256, 64
_TOLERANCE = 1e-5


def linear(manifest: Manifest, session: Session) -> LinearModel | None:
    """The graph's weights in the kernel; None if it is not linear in hashed features."""
    if manifest.features != "hashed" or manifest.student not in KINDS or manifest.featurizer.bits > _LARGEST_BITS:
        return None
    if session.inputs != ["ids", "weights"] or "logits" not in session.outputs:
        return None
    try:
        bias, table = _read_off(session, 2**manifest.featurizer.bits)
        if not (_is_finite(bias, table) and _agrees(session, table, bias)):
            return None
    except Exception:  # noqa: BLE001 - onnxruntime's; what is wrong with a graph is for its parity documents to say
        return None
    buckets = np.flatnonzero(table.any(axis=1)).astype(np.int32)
    return LinearModel(features.build(manifest.featurizer), buckets=buckets, rows=table[buckets], bias=bias)


def _read_off(session: Session, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The bias (K,) and a row for every bucket, (size, K)."""
    bias = _answers(session, np.zeros((1, 1), dtype=np.int32), np.zeros((1, 1), dtype=np.float32))[0]
    starts = range(0, size, _CHUNK)
    return bias, np.concatenate([_rows(session, bias, start, min(size, start + _CHUNK)) for start in starts])


def _is_finite(*arrays: NDArray[np.float32]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)


def _rows(session: Session, bias: NDArray[np.float32], start: int, end: int) -> NDArray[np.float32]:
    """The rows of the buckets from `start` to `end`, (m, K)."""
    ids = np.arange(start, end, dtype=np.int32)[:, None]
    answers = _answers(session, ids, np.full(ids.shape, _SCALE, dtype=np.float32))
    rows: NDArray[np.float32] = ((answers.astype(np.float64) - bias) / _SCALE).astype(np.float32)
    return rows


def _agrees(session: Session, table: NDArray[np.float32], bias: NDArray[np.float32]) -> bool:
    """Whether the graph says of random bags what the weights say, half of them of buckets that have any."""
    rng = np.random.default_rng(0)
    known = np.flatnonzero(table.any(axis=1))
    ids = rng.integers(0, len(table), (_BAGS, _BAG))
    if len(known):
        ids[::2] = rng.choice(known, ids[::2].shape)
    weights = rng.random(ids.shape, dtype=np.float32)
    said = _answers(session, ids.astype(np.int32), weights).astype(np.float64)
    expected = np.einsum("nl,nlk->nk", weights.astype(np.float64), table[ids].astype(np.float64)) + bias
    return bool((np.abs(said - expected) <= _TOLERANCE * np.maximum(1.0, np.abs(expected))).all())


def _answers(session: Session, ids: NDArray[np.int32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    answers: NDArray[np.float32] = session.run("logits", {"ids": ids, "weights": weights})
    return answers
