"""Which documents the teacher is asked about before there is a student: a seed set that represents the others.

Drawn at random, the first hundred documents miss rare kinds and repeat common ones. The greedy maximum of the facility
location function (Cornuéjols, Fisher & Nemhauser, 1977; for data subsets Wei, Iyer & Bilmes, ICML 2015) picks instead,
one by one, the document by which the similarities of all documents to their nearest pick grow most. A pick depends on
texts alone, so it is asked about with propensity 1, and all others with what the gate gives them.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

MOST_COLUMNS = 8192
"""Features of a batch that are compared: of those that several documents share, the most frequent ones."""


class SeedSet:
    """Picks `size` of the first `documents` documents, batch by batch, each batch its part; then nothing more.

    `features` gives n texts' features as a CSR matrix (indptr, indices, values). `seen` documents have passed before
    this process: their part of the picks is done.
    """

    def __init__(
        self,
        features: Callable[[list[str]], tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]],
        *,
        documents: int,
        size: int,
        seen: int = 0,
    ) -> None:
        self._features = features
        self._documents = documents
        self._size = size
        self._seen = seen
        self._picked: tuple[tuple[NDArray[np.int32], NDArray[np.float32]], ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether all its documents have passed."""
        return self._seen >= self._documents

    def pick(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Which of the batch's n documents belong to the seed set, (n,)."""
        chosen = np.zeros(len(texts), dtype=np.bool_)
        candidates = list(texts[: max(0, self._documents - self._seen)])
        before = self._size * min(self._seen, self._documents) // self._documents
        self._seen += len(texts)
        wanted = min(len(candidates), self._size * min(self._seen, self._documents) // self._documents - before)
        if wanted <= 0:
            return chosen
        indptr, indices, values = self._features(candidates)
        rows = [(indices[start:end], values[start:end]) for start, end in itertools.pairwise(indptr.tolist())]
        vectors = dense([*self._picked, *rows])
        places = representatives(vectors[len(self._picked) :], wanted, known=vectors[: len(self._picked)])
        chosen[places] = True
        self._picked += tuple(rows[place] for place in places)
        return chosen


def representatives(vectors: NDArray[np.float32], size: int, *, known: NDArray[np.float32] | None = None) -> list[int]:
    """The rows of (n, d) unit vectors that represent all n best, greedily, `size` of them, given `known` picks.

    >>> representatives(np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1], [-1, 0]], dtype=np.float32), 2)
    [1, 4]
    """
    similarities = np.maximum(vectors @ vectors.T, 0.0)
    nearest = np.zeros(len(vectors), dtype=np.float32)
    if known is not None and len(known):
        nearest = np.maximum(vectors @ known.T, 0.0).max(axis=1)
    picked: list[int] = []
    for _ in range(min(size, len(vectors))):
        gains = np.maximum(similarities - nearest[:, None], 0.0).sum(axis=0)
        gains[picked] = -1.0
        best = int(gains.argmax())
        picked.append(best)
        nearest = np.maximum(nearest, similarities[:, best])
    return picked


def dense(rows: list[tuple[NDArray[np.int32], NDArray[np.float32]]]) -> NDArray[np.float32]:
    """Sparse rows as unit vectors of TF-IDF over the columns that at least two of them share, (n, at most 8,192).

    What only one row has makes it like no other, and would only lengthen every vector.
    """
    columns = np.concatenate([columns for columns, _ in rows])
    frequencies = np.bincount(columns)
    shared = np.flatnonzero(frequencies > 1)
    if len(shared) > MOST_COLUMNS:
        shared = np.sort(shared[np.argsort(-frequencies[shared], kind="stable")[:MOST_COLUMNS]])
    idf = np.log((1 + len(rows)) / (1 + frequencies[shared])).astype(np.float32)
    vectors = np.zeros((len(rows), len(shared)), dtype=np.float32)
    if len(shared):
        for row, (own, values) in enumerate(rows):
            places = np.minimum(np.searchsorted(shared, own), len(shared) - 1)
            known = shared[places] == own
            vectors[row, places[known]] = values[known] * idf[places[known]]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    np.divide(vectors, lengths, out=vectors, where=lengths > 0.0)
    return vectors
