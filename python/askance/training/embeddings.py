"""Vectors of texts, kept in a file for the next training: a text is embedded once."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from askance.student.session import RUNTIME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from askance.student.encoder import Encoder

SLICE = 500
"""Texts that are looked up, or embedded and stored, together."""


class Embeddings:
    """Implements `askance.training.fitting.Featurizer` by a frozen encoder and a file of its vectors.

    The file is of this encoder and this build of onnxruntime, and of nothing else. A damaged one is begun anew.
    """

    def __init__(self, encoder: Encoder, folder: Path | None) -> None:
        """Without a folder nothing is kept."""
        name = hashlib.sha256(f"{encoder.digest} {RUNTIME}".encode()).hexdigest()[:16]
        self._encoder = encoder
        self._path = None if folder is None else folder / f"{name}.db"

    def inputs(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, d) float32: the encoder's vectors."""
        if self._path is None:
            return self._encoder.vectors(texts)
        try:
            return self._kept(self._path, texts)
        except sqlite3.DatabaseError:
            for path in self._path.parent.glob(f"{self._path.name}*"):
                path.unlink()
            return self._kept(self._path, texts)

    def _kept(self, path: Path, texts: Sequence[str]) -> NDArray[np.float32]:
        path.parent.mkdir(parents=True, exist_ok=True)
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        found: dict[bytes, NDArray[np.float32]] = {}
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("CREATE TABLE IF NOT EXISTS vectors (text BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID")
            wanted = list(dict.fromkeys(keys))
            for start in range(0, len(wanted), SLICE):
                part = wanted[start : start + SLICE]
                marks = ", ".join("?" * len(part))
                query = f"SELECT text, vector FROM vectors WHERE text IN ({marks})"  # noqa: S608 - marks only
                found |= {key: np.frombuffer(vector, dtype="<f4") for key, vector in database.execute(query, part)}
            missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
            # By length, so that documents of one length are embedded together.
            pairs = sorted(missing.items(), key=lambda pair: len(pair[1]))
            for start in range(0, len(pairs), SLICE):
                part = [key for key, _ in pairs[start : start + SLICE]]
                vectors = self._encoder.vectors([text for _, text in pairs[start : start + SLICE]])
                found |= dict(zip(part, vectors, strict=True))
                rows = [(key, vector.astype("<f4").tobytes()) for key, vector in zip(part, vectors, strict=True)]
                database.execute("BEGIN IMMEDIATE")
                database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
                database.execute("COMMIT")
        return np.array([found[key] for key in keys], dtype=np.float32).reshape(len(keys), -1)
