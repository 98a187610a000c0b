"""What stands between texts and a version's graph: hashed features, an encoder's vectors, or tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from askance.student import features
from askance.student.encoder import ENCODER, Encoder
from askance.student.session import open_session
from askance.student.tokens import INPUTS, TOKENIZER, Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from askance.manifest import Manifest
    from askance.student.session import Session

MAX_CELLS = 4_000_000
"""Cells of the widest intermediate array, n * L * (numbers a feature) float32: 16 MB, whatever the batch."""


class Feed(NamedTuple):
    """What the graph is given for some documents of a batch."""

    rows: NDArray[np.int64]
    """(n,) their places."""
    inputs: dict[str, NDArray[Any]]


class Front(Protocol):
    """Makes what a graph takes."""

    takes: str
    """The inputs, as a message names them."""

    def fits(self, inputs: Sequence[str]) -> bool:
        """Whether a graph with these inputs can be fed."""

    def feeds(self, texts: Sequence[str]) -> Iterator[Feed]:
        """Parts of the batch; each document is in one."""


class HashedFront:
    """Hashed n-grams, padded to rectangles."""

    takes = "ids, weights"

    def __init__(self, manifest: Manifest, session: Session) -> None:
        self._featurizer = features.build(manifest.featurizer)
        # A linear graph gathers a number a class, others what their metadata say.
        self._max_cells = MAX_CELLS // max(len(manifest.labels), session.row_width)

    def fits(self, inputs: Sequence[str]) -> bool:
        """See `Front`."""
        return list(inputs) == ["ids", "weights"]

    def feeds(self, texts: Sequence[str]) -> Iterator[Feed]:
        """See `Front`."""
        for rows, ids, weights in features.rectangles(self._featurizer, list(texts), max_cells=self._max_cells):
            yield Feed(rows, {"ids": ids, "weights": weights})


class EncoderFront:
    """An encoder's vectors."""

    takes = "vectors"

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def fits(self, inputs: Sequence[str]) -> bool:
        """See `Front`."""
        return list(inputs) == ["vectors"]

    def feeds(self, texts: Sequence[str]) -> Iterator[Feed]:
        """See `Front`."""
        vectors = self._encoder.vectors(texts)
        if len(vectors):
            yield Feed(np.arange(len(vectors), dtype=np.int64), {"vectors": vectors})


class TokenFront:
    """A transformer's tokens."""

    takes = "input_ids"

    def __init__(self, tokenizer: Tokenizer, session: Session) -> None:
        self._tokenizer = tokenizer
        self._inputs = session.inputs

    def fits(self, inputs: Sequence[str]) -> bool:
        """See `Front`."""
        return {"input_ids"} <= set(inputs) <= INPUTS

    def feeds(self, texts: Sequence[str]) -> Iterator[Feed]:
        """See `Front`."""
        for tokens in self._tokenizer.groups(texts):
            yield Feed(tokens.rows, tokens.feed(self._inputs))


def front(manifest: Manifest, session: Session, source: Callable[[str], Path | bytes]) -> Front:
    """The front of a version's graph; `source` gives one of its files, by name. Raises `DamagedVersionError`."""
    if manifest.features == "hashed":
        return HashedFront(manifest, session)
    tokenizer = Tokenizer(_content(source(TOKENIZER)), max_tokens=manifest.max_tokens)
    if manifest.encoder is None:
        return TokenFront(tokenizer, session)
    return EncoderFront(Encoder(open_session(source(ENCODER)), tokenizer, manifest.encoder))


def _content(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()
