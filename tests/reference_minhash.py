"""The signatures again, slow and obvious, from the contract in `_kernel.pyi` alone: the kernel is checked by them."""

from tests.reference_features import mix, ngram_hash, words

_MASK = 2**64 - 1
_GAMMA = 0x9E3779B97F4A7C15


def shingles(text: str, shingle: int = 3, max_words: int = 4096) -> set[int]:
    """The hashes of the document's runs of words."""
    seen = list(words(text))[:max_words]
    width = min(shingle, len(seen))
    return {ngram_hash(seen[i : i + width]) for i in range(len(seen) - width + 1)} if seen else set()


def signature(text: str, *, permutations: int = 128, shingle: int = 3, max_words: int = 4096) -> list[int]:
    """The `permutations` components."""
    hashes = shingles(text, shingle, max_words)
    keys = [mix((i + 1) * _GAMMA & _MASK) for i in range(permutations)]
    return [min((mix(one ^ key) >> 32 for one in hashes), default=2**32 - 1) for key in keys]
