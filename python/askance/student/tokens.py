"""From texts to the tokens a transformer takes: this module is the home of tokenizers.

Owns the invariant that nothing is padded: only documents of one length are run together, so that no document's numbers
depend on how long its neighbours are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from askance.errors import DamagedVersionError, RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

TOKENIZER = "tokenizer.json"

MAX_TOKENS = 8_192
"""Tokens that are run together at most, but for one longer document: 50 MB of activations with 1,536 numbers each."""

INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
"""What a graph may take; only the first has to be there."""


class Tokens(NamedTuple):
    """Documents of one length L: `rows` (n,) int64 places in the batch, `ids` (n, L) int64."""

    rows: NDArray[np.int64]
    ids: NDArray[np.int64]

    def feed(self, inputs: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """What a graph with these inputs is given."""
        given = {
            "input_ids": self.ids,
            "attention_mask": np.ones_like(self.ids),
            "token_type_ids": np.zeros_like(self.ids),
        }
        return {name: given[name] for name in inputs}


class Tokenizer:
    """A tokenizer as `tokenizer.json` describes it, cutting documents to `max_tokens`; thread-safe."""

    def __init__(self, content: bytes, *, max_tokens: int) -> None:
        try:
            import tokenizers  # type: ignore[import-untyped]
        except ImportError as exc:
            msg = "tokens are read by the package tokenizers; run: pip install 'askance[encoder]'"
            raise RegistryError(msg) from exc
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(content)
        except Exception as exc:
            msg = f"{TOKENIZER}: not a tokenizer that tokenizers {tokenizers.__version__} can read ({exc})"
            raise DamagedVersionError(msg) from exc
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)

    def groups(self, texts: Sequence[str], *, max_tokens: int = MAX_TOKENS) -> Iterator[Tokens]:
        """The documents' tokens by length, at most `max_tokens` at a time; a document without any has token 0."""
        # A lone surrogate, which JSON can carry, is no Unicode text.
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        rows = [encoding.ids or [0] for encoding in self._tokenizer.encode_batch(clean)]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        for length in np.unique(lengths).tolist():
            together = np.flatnonzero(lengths == length)
            height = max(1, max_tokens // length)
            for start in range(0, len(together), height):
                chosen = together[start : start + height]
                yield Tokens(chosen, np.array([rows[row] for row in chosen], dtype=np.int64))
