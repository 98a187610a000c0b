"""From texts to what a student's graph takes: hashed word n-grams, padded to rectangles.

Owns the invariant that a document is padded to a width which depends on itself alone, so that its logits do not
depend, to the bit, on the documents that are scored beside it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from askance._kernel import HashedFeaturizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from askance.manifest import FeaturizerConfig

PROBES = [
    "",
    "one",
    "How do I join two tables, and why is it SO slow?",
    "the same the same the same",
    "ÄÖÜ straße ΣΊΣΥΦΟΣ İstanbul e\u0301te\u0301 e\u00e9 ﬁn Ⅷ ²",
    "日本語の文書 漢字 カタカナ 한국어 हिन्दी ไทย",
    "snake_case x1 3.14 don't 🙂👍🏽 a\u00a0b\u200bc",
]
"""Texts whose features tell one hashing scheme from another."""


class Features(NamedTuple):
    """The features of n documents: the three arrays of a CSR matrix."""

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]


class Rectangle(NamedTuple):
    """Documents padded to one width L: `rows` (n,) int64 places in the batch, `ids` and `weights` (n, L)."""

    rows: NDArray[np.int64]
    ids: NDArray[np.int32]
    weights: NDArray[np.float32]


def build(config: FeaturizerConfig) -> HashedFeaturizer:
    """The kernel's featurizer with this configuration: the same code in training and in serving."""
    return HashedFeaturizer(**msgspec.structs.asdict(config))


def digest(config: FeaturizerConfig) -> str:
    """SHA-256 of the configuration and of the buckets it gives a few probing texts.

    It is stored in every manifest: a kernel that hashes differently gives another digest, and a version trained with
    one is not served with the other.
    """
    features = Features(*build(config).transform(PROBES))
    state = hashlib.sha256(msgspec.json.encode(config, order="sorted"))
    state.update(features.indptr.astype("<i8").tobytes())
    state.update(features.indices.astype("<i4").tobytes())
    # The weights are left out: a logarithm's last bit differs between C libraries, and the parity documents of a
    # version watch over them.
    return state.hexdigest()


def rectangles(featurizer: HashedFeaturizer, texts: list[str], *, max_cells: int) -> Iterator[Rectangle]:
    """The documents' features in rectangles of at most `max_cells` = n * L cells, or of one document if it has more.

    The kernel pads each document, with id 0 of weight 0, to the next power of two that holds its features and is at
    least 16.
    """
    for rows, ids, weights in featurizer.padded(texts):
        height = max(1, max_cells // ids.shape[1])
        for start in range(0, len(rows), height):
            cut = slice(start, start + height)
            yield Rectangle(rows[cut], ids[cut], weights[cut])


def cut(features: Features, *, max_cells: int) -> Iterator[Rectangle]:
    """`rectangles` of features that are at hand already, to the bit."""
    lengths = np.diff(features.indptr)
    # One cell more, which stands for what a document does not have.
    indices, values = np.append(features.indices, np.int32(0)), np.append(features.values, np.float32(0.0))
    widths = np.array([max(16, 1 << max(0, int(length) - 1).bit_length()) for length in lengths], dtype=np.int64)
    for width in np.unique(widths).tolist():
        rows = np.flatnonzero(widths == width)
        height = max(1, max_cells // width)
        for start in range(0, len(rows), height):
            chosen = rows[start : start + height]
            inside = np.arange(width) < lengths[chosen, None]
            places = np.where(inside, features.indptr[chosen, None] + np.arange(width), -1)
            yield Rectangle(chosen, indices[places], values[places])
