"""The hashed featurizer again, slow and obvious: what the kernel is checked against.

Written from the contract in `_kernel.pyi` alone, with Python's own Unicode data, the `regex` package for
scripts and the `xxhash` package, none of which the kernel uses.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import regex
import xxhash

_ALONE = regex.compile(r"[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]")
_MASK = 2**64 - 1


def mix(z: int) -> int:
    """The SplitMix64 finaliser."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & _MASK
    return z ^ (z >> 31)


def makes_words(character: str) -> bool:
    """Whether the character belongs to a word: general category L, M or N, or `_`."""
    return unicodedata.category(character)[0] in "LMN" or character == "_"


def words(text: str) -> Iterator[str]:
    """The lowercased words of a text."""
    word = ""
    for character in text:
        alone = _ALONE.match(character) is not None
        if word and (alone or not makes_words(character)):
            yield word
            word = ""
        if makes_words(character):
            if alone:
                yield character.lower()
            else:
                word += character.lower()
    if word:
        yield word


def ngram_hash(ngram: list[str]) -> int:
    """The 64-bit hash of one or more words."""
    state = xxhash.xxh3_64_intdigest(ngram[0].encode())
    for word in ngram[1:]:
        state = mix((state * 0x9E3779B97F4A7C15 + xxhash.xxh3_64_intdigest(word.encode())) & _MASK)
    return state


@dataclass(frozen=True)
class ReferenceFeaturizer:
    """Takes the parameters of `HashedFeaturizer` and says what it should answer."""

    bits: int = 18
    ngram_min: int = 1
    ngram_max: int = 2
    weighting: str = "sublinear"
    max_words: int = 4096

    def features(self, text: str) -> dict[int, float]:
        """Bucket to weight, buckets ascending."""
        seen = list(words(text))[: self.max_words]
        counts = Counter(
            ngram_hash(seen[i : i + n]) >> (64 - self.bits)
            for n in range(self.ngram_min, self.ngram_max + 1)
            for i in range(len(seen) - n + 1)
        )
        weights = {bucket: self.weight(count) for bucket, count in sorted(counts.items())}
        length = math.sqrt(sum(weight**2 for weight in weights.values()))
        return {bucket: weight / length for bucket, weight in weights.items()}

    def weight(self, count: int) -> float:
        """What a bucket that occurs this often weighs before scaling."""
        return {"count": float(count), "binary": 1.0, "sublinear": 1 + math.log(count)}[self.weighting]

    def transform(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The three arrays of a CSR matrix, as `HashedFeaturizer.transform`."""
        rows = [self.features(text) for text in texts]
        return (
            np.cumsum([0, *map(len, rows)], dtype=np.int64),
            np.array([bucket for row in rows for bucket in row], dtype=np.int32),
            np.array([weight for row in rows for weight in row.values()], dtype=np.float32),
        )
