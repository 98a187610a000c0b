"""The Rust kernel: arrays in, arrays out, no state, the GIL released around the work.

Misuse (a wrong dtype, shape, layout or parameter) raises `TypeError` or `ValueError` naming what was
given and the remedy. *Data* never raises: a row with a NaN or infinite logit comes back flagged.
"""

from typing import Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Decisions",
    "HashedFeaturizer",
    "LinearModel",
    "MinHasher",
    "decide",
    "encode_predictions",
    "uncertainty",
    "uniform",
]

_Measure: TypeAlias = Literal["entropy", "margin", "least_confidence"]
_Weighting: TypeAlias = Literal["count", "binary", "sublinear"]

@final
class Decisions:
    """What `decide` says of n rows: every array has shape (n,) and is freshly allocated; none can be rebound."""

    @property
    def labels(self) -> NDArray[np.int32]:
        """Index of the largest logit, the first one on a tie; -1 where `finite` is false."""

    @property
    def confidences(self) -> NDArray[np.float32]:
        """Largest softmax probability; 0 where `finite` is false."""

    @property
    def uncertainties(self) -> NDArray[np.float32]:
        """In [0, 1]; 1 where `finite` is false."""

    @property
    def propensities(self) -> NDArray[np.float32]:
        """The probability with which the row was accepted: the very number the draw was compared with."""

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """True where the keyed draw fell below the propensity."""

    @property
    def finite(self) -> NDArray[np.bool_]:
        """False where the row held a NaN or infinite logit."""

def uniform(*, seed: int, topic: str, partitions: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """The keyed draws r in [0, 1) of n records, (n,) float64 with 53 random bits.

    The same (seed, topic, partition, offset) gives the same draw on every machine, in any batch and
    any order. `seed` is in [0, 2**64); `partitions` and `offsets` have shape (n,).

    The generator is SplitMix64 (Steele, Lea & Flood, OOPSLA 2014). Each (seed, topic, partition)
    names one SplitMix64 stream and the offset is the position in it:

        mix(z)     = the SplitMix64 finaliser (variant 13: shifts 30, 27, 31)
        GAMMA      = 0x9E3779B97F4A7C15
        topic_hash = FNV-1a 64 of the topic's UTF-8 bytes
        state      = mix(mix(mix(seed + GAMMA) ^ topic_hash) + partition * GAMMA)
        x          = mix(state + (offset + 1) * GAMMA)
        r          = (x >> 11) * 2**-53

    all modulo 2**64, negative partitions and offsets in two's complement.
    """

def uncertainty(
    *, logits: NDArray[np.float32], measure: _Measure = "entropy", temperature: float = 1.0
) -> NDArray[np.float32]:
    """The uncertainty of each row of `logits`, (n,) float32 in [0, 1].

    With p = softmax(logits / temperature) over all K classes and p1 >= p2 the two largest:

    - `entropy`: H(p) / ln K (M-RARU, arXiv 2511.11574); K counts every class, not the non-zero ones
    - `margin`: 1 - (p1 - p2)
    - `least_confidence`: (1 - p1) * K / (K - 1)

    `logits` is (n, K), K >= 2, float32, C-contiguous; it is borrowed, not copied. `temperature` is
    in [1e-6, 1e6]. The arithmetic is f32, within 1e-6 of real arithmetic. A row with a non-finite logit gives 1.
    """

def decide(
    *,
    logits: NDArray[np.float32],
    temperature: float,
    measure: _Measure,
    floor: float,
    exponent: float,
    scale: float,
    seed: int,
    topic: str,
    partitions: NDArray[np.int32],
    offsets: NDArray[np.int64],
) -> Decisions:
    """Score n rows and toss one keyed, weighted coin for each.

    The propensity is `q = floor + (1 - floor) * min(1, scale * u**exponent)` with u as in
    `uncertainty` and the row is accepted iff `uniform(...) < q`. `floor` is in [0, 1], `exponent` and
    `scale` are finite and not negative; `0**0` is 1. With floor 0, exponent 1 and scale 1 this is M-RARU: q = u.
    With floor 0 and scale 0 the gate is closed: q = 0. With floor 1 every row is accepted: q = 1.

    Labels and `finite` are exact; confidences and uncertainties are f32 within 1e-6 of real arithmetic. A row's
    decision depends on the row, its coordinates and the parameters alone: not on the batch, its order or the CPU.
    Every array is bit-identical on every CPU and instruction set: all run the same IEEE 754 operations in the
    same order, with fused multiply-adds where the source says so. exp and log are the kernel's own; only an x86-64
    without FMA asks the C library for each fused multiply-add, which has one right answer.

    Shapes: `logits` (n, K) float32 C-contiguous with K >= 2; `partitions` (n,) int32; `offsets` (n,) int64.
    """

def _paths() -> list[str]:
    """The instruction sets that `decide` can use on this CPU: "portable" and perhaps "avx2" and "avx512".

    Private: for tests and benchmarks.
    """

def _decide_on(
    path: str,
    *,
    logits: NDArray[np.float32],
    temperature: float,
    measure: _Measure,
    floor: float,
    exponent: float,
    scale: float,
    seed: int,
    topic: str,
    partitions: NDArray[np.int32],
    offsets: NDArray[np.int64],
) -> Decisions:
    """`decide` on one of `_paths()`, and the same bits. Private: for tests and benchmarks."""

def encode_predictions(
    *,
    ids: list[str],
    finite: NDArray[np.bool_],
    labels: NDArray[np.int32],
    confidences: NDArray[np.float32],
    uncertainties: NDArray[np.float32],
    propensities: NDArray[np.float32],
    accepted: NDArray[np.bool_],
    partitions: NDArray[np.int32],
    offsets: NDArray[np.int64],
    endings: NDArray[np.uint8],
    label_names: list[bytes],
    middle: bytes,
    missing: bytes,
    ending_names: list[bytes],
) -> list[bytes]:
    """n predictions as JSON, each a line without its line feed; arrays have shape (n,).

    A line is `{"id":…,"label":…,"confidence":…,"uncertainty":…,"propensity":…,"accepted":…` with the row's values,
    `middle`, the partition, `,"offset":` and the offset; `missing` where `finite` is false, whose label and confidence
    are null; the row's ending, and `}`. `label_names` are JSON strings; they, `middle`, `missing` and `ending_names`
    are taken as they are. A float32 is written as the float64 of the same value, one that is not finite as null. A
    number in `endings`, or of a finite row in `labels`, that names nothing raises `ValueError`, and so does an
    identifier with a lone surrogate.
    """

@final
class HashedFeaturizer:
    """Word n-grams hashed to `2**bits` buckets; immutable, thread-safe, the same in training and serving.

    Text is lowercased character by character (`str.lower` of each character alone, so no context rules) and
    split into words: maximal runs of alphanumeric characters (general category L or N), combining marks (M)
    and `_`; each Han, Hiragana or Katakana character is a word by itself. Which characters these are is
    pinned to Unicode 16.0; later ones separate words. Words past `max_words` are
    ignored, which bounds memory.

        word_hash(w)    = XXH3-64 (seed 0) of the lowercased word's UTF-8 bytes
        ngram_hash(w)   = word_hash(w) for one word
        ngram_hash(w1..wn) = mix(ngram_hash(w1..wn-1) * 0x9E3779B97F4A7C15 + word_hash(wn)) for more,
                             with `mix` the SplitMix64 finaliser, modulo 2**64
        bucket          = ngram_hash >> (64 - bits)

    The weight of a bucket that occurs c times is c (`count`), 1 (`binary`) or 1 + ln c (`sublinear`); then
    each document is scaled to Euclidean length 1. A document without a word has no features.
    """

    def __new__(
        cls,
        *,
        bits: int = 18,
        ngram_min: int = 1,
        ngram_max: int = 2,
        weighting: _Weighting = "sublinear",
        max_words: int = 4096,
    ) -> HashedFeaturizer:
        """`bits` is in [1, 24], `1 <= ngram_min <= ngram_max <= 8`, `max_words` in [1, 1_000_000]."""

    @property
    def buckets(self) -> int:
        """The number of buckets, `2**bits`."""

    def transform(self, texts: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """The features of n documents as the three arrays of a CSR matrix: (indptr, indices, values).

        `indptr` is (n + 1,) int64; `indices` (nnz,) int32, ascending and unique within a row; `values`
        (nnz,) float32. They are the same to the bit whichever of the kernel's paths the CPU takes; only the
        logarithms of `sublinear` come from the C library, which may differ between systems in the last bit.
        A string with a lone surrogate (which is not Unicode text) raises `ValueError` with its index.
        """

    def transform_utf8(
        self, buffer: bytes | NDArray[np.uint8], offsets: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """`transform` of n documents that lie end to end in one buffer, as in an Arrow string column.

        Document i is the UTF-8 in `buffer[offsets[i] : offsets[i + 1]]`; `offsets` is (n + 1,) int64 and
        ascends. Bytes are borrowed; an array (C-contiguous) is copied first, because another thread could
        write to it. Offsets outside the buffer or a document that is not UTF-8 raise `ValueError` naming
        the document's index.
        """

    def padded(self, texts: list[str]) -> list[tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]]:
        """The features of n documents as an ONNX student takes them: (rows, ids, weights) for each width.

        A document's width is its own number of features rounded up to a power of two, at least 16, so
        that it is scored alike whatever the batch it comes in. The list ascends by width and holds only
        widths that occur; every document is in it once, one without features under 16. For the m
        documents of a width: `rows` (m,) int64 is where they stand in `texts`, ascending; `ids` (m, width)
        int32 and `weights` (m, width) float32 are the row of `transform`, then zeros.
        """

    def padded_utf8(
        self, buffer: bytes | NDArray[np.uint8], offsets: NDArray[np.int64]
    ) -> list[tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]]:
        """`padded` of n documents that lie end to end in one buffer, as in `transform_utf8`."""

@final
class LinearModel:
    """A linear model on hashed features; immutable, thread-safe.

    A document's logits are the sum over its features of weight times the bucket's row, in the order of `transform`,
    plus the bias, all float32. Buckets without a row count for nothing. They depend on the document alone, to the bit.
    """

    def __new__(
        cls,
        featurizer: HashedFeaturizer,
        *,
        buckets: NDArray[np.int32],
        rows: NDArray[np.float32],
        bias: NDArray[np.float32],
    ) -> LinearModel:
        """`rows` (m, K) belong to `buckets` (m,); `bias` is (K,). All are copied. What does not fit together, or a
        bucket that the featurizer does not have, raises `ValueError`."""

    def logits(self, texts: list[str]) -> NDArray[np.float32]:
        """(n, K) float32, C-contiguous. A string with a lone surrogate raises `ValueError` with its index."""

@final
class MinHasher:
    """Signatures whose equal components estimate how alike two documents are; immutable, thread-safe.

    A document is the set of its shingles: every run of `shingle` words, the words and their hashes being those of
    `HashedFeaturizer`; a document with fewer words is one shingle of all of them. Words past `max_words` are ignored.

        key[i]       = mix((i + 1) * 0x9E3779B97F4A7C15), modulo 2**64
        component[i] = min over the shingles of mix(ngram_hash(shingle) ^ key[i]) >> 32

    The share of equal components estimates the Jaccard likeness J of the two sets (Broder, "On the resemblance and
    containment of documents", 1997), with a standard deviation of sqrt(J (1 - J) / permutations).
    """

    def __new__(cls, *, permutations: int = 128, shingle: int = 3, max_words: int = 4096) -> MinHasher:
        """`permutations` is in [1, 1024], `shingle` in [1, 8], `max_words` in [1, 1_000_000]."""

    def signatures(self, texts: list[str]) -> NDArray[np.uint32]:
        """The signatures of n documents, (n, permutations) uint32; 2**32 - 1 throughout for one without a word.

        A string with a lone surrogate (which is not Unicode text) raises `ValueError` with its index.
        """
