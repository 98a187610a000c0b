"""When two documents are taken to be one: the same text, or shingles that are mostly the same. Pure.

Near-duplicates are found by MinHash signatures cut into bands (Leskovec, Rajaraman & Ullman, Mining of Massive
Datasets, 2nd ed., section 3.4): with 32 bands of 4 components a pair of likeness J shares a band with probability
1 - (1 - J^4)^32, which is 0.87 at J = 0.5, 0.99 at 0.6 and 0.9998 at 0.7; whether it is near enough is then told by the
whole signature, to within a standard deviation of 0.044 at most.
"""

from __future__ import annotations

import unicodedata
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from askance._kernel import MinHasher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BANDS = 32
_COMPONENTS = 4
_HASHER = MinHasher(permutations=_BANDS * _COMPONENTS, shingle=3)
_WORDLESS = np.uint32(2**32 - 1)


def text_hash(text: str) -> bytes:
    """16 bytes that name a text, whatever its white space and the way its characters are composed.

    >>> text_hash("a  b\\n") == text_hash("a b"), text_hash("caf\\u00e9") == text_hash("cafe\\u0301")
    (True, True)
    >>> text_hash("a") == text_hash("A")
    False
    """
    normal = " ".join(unicodedata.normalize("NFC", text).split())
    return blake2b(normal.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def signatures(texts: Sequence[str]) -> NDArray[np.uint32]:
    """(n, 128) uint32; lone surrogates count as question marks."""
    return _HASHER.signatures([text.encode("utf-8", "replace").decode() for text in texts])


def bands(signature: NDArray[np.uint32]) -> list[bytes]:
    """32 pieces; documents that have one in common are worth a second look. None of a document without a word."""
    if signature[0] == _WORDLESS:
        return []
    return [signature[start : start + _COMPONENTS].tobytes() for start in range(0, len(signature), _COMPONENTS)]


def likeness(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> float:
    """The estimated Jaccard likeness of their shingles, in [0, 1]."""
    return float(np.mean(a == b))


def unlike(texts: Sequence[str], known: NDArray[np.uint32], least: float) -> list[str]:
    """The texts that are as much as `least` like none of the (m, 128) known signatures and no earlier one of them.

    >>> unlike(["where is my card", "Where is  my card", "it rains"], signatures(["it rains"]), 0.8)
    ['where is my card']
    """
    kept: list[str] = []
    for text, signature in zip(texts, signatures(texts), strict=True):
        if not ((known == signature).mean(axis=1) >= least).any():
            kept.append(text)
            known = np.concatenate([known, signature[None]])
    return kept
