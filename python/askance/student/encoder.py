"""A frozen sentence encoder: texts to vectors, by an ONNX graph that no training changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from askance.errors import DamagedVersionError
from askance.student.session import REMEDY
from askance.student.tokens import INPUTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from askance.manifest import EncoderConfig
    from askance.student.session import Session
    from askance.student.tokens import Tokenizer

ENCODER = "encoder.onnx"


class Encoder:
    """An encoder in memory; thread-safe. A document's vector does not depend on the other documents."""

    def __init__(self, session: Session, tokenizer: Tokenizer, config: EncoderConfig) -> None:
        self._session = session
        self._tokenizer = tokenizer
        self._config = config
        if not {"input_ids"} <= set(session.inputs) <= INPUTS or config.output not in session.outputs:
            msg = (
                f"{ENCODER}: the graph takes {session.inputs} and gives {list(session.outputs)}, not input_ids "
                f"-> {config.output}; {REMEDY}"
            )
            raise DamagedVersionError(msg)

    @property
    def digest(self) -> str:
        """Which encoder this is."""
        return self._config.digest

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) float32."""
        width = self._config.width
        vectors = np.empty((len(texts), width), dtype=np.float32)
        for tokens in self._tokenizer.groups(texts):
            found = self._session.run(self._config.output, tokens.feed(self._session.inputs))
            if self._config.pooling == "mean":
                found = found.mean(axis=1)
            elif self._config.pooling == "cls":
                found = found[:, 0]
            if self._config.unit:
                lengths = np.linalg.norm(found, axis=1, keepdims=True)
                found = found / np.maximum(lengths, np.finfo(np.float32).tiny)
            vectors[tokens.rows] = found
        return vectors
