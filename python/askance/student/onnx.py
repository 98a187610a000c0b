"""A version on disk, loaded and checked: the ONNX graph that answers.

What a damaged file makes others say is translated here into one line that names the file and the remedy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from askance.errors import DamagedVersionError, RegistryError
from askance.manifest import ParityDocument
from askance.student import features
from askance.student.fronts import front
from askance.student.linear import linear
from askance.student.session import GRAPH, REMEDY, open_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from askance.manifest import Manifest
    from askance.student.fronts import Front
    from askance.student.session import Session

PARITY = "parity.json"

TOLERANCE = 1e-4
"""How far a logit may be from `parity.json`, relative to its size above 1: other CPUs add up in another order."""

INT8_TOLERANCE = 0.5
"""Likewise in 8 bits, where another order of addition moves an activation to the next of 256 steps: with onnxruntime's
optimisations off, a fine-tuned MiniLM's logits for 800 documents moved by 0.12 at most, and 1 answer changed."""

LARGEST_TEMPERATURE = 1e3
"""Calibration stays far below; above it every document would be of uncertainty 1."""


class OnnxStudent:
    """A version in memory; implements `askance.protocols.Student`. Build it with `load`."""

    def __init__(self, manifest: Manifest, session: Session, front: Front) -> None:
        self.version = manifest.version
        self.labels = manifest.labels
        self.temperature = manifest.temperature
        self._session = session
        self._front = front
        self._linear = linear(manifest, session)

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, K) float32 logits, C-contiguous; a document's row does not depend on the other documents."""
        if self._linear is not None:
            return self._linear.logits(list(texts))
        logits = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        for rows, feed in self._front.feeds(texts):
            logits[rows] = self._session.run("logits", feed)
        return logits


def assemble(manifest: Manifest, files: Mapping[str, bytes]) -> OnnxStudent:
    """The version that these files would be, in memory and unchecked."""
    session = open_session(files[GRAPH])
    return OnnxStudent(manifest, session, front(manifest, session, files.__getitem__))


def load(folder: Path, manifest: Manifest) -> OnnxStudent:
    """The version in `folder`, warm and checked; raises `DamagedVersionError` rather than answer differently.

    Whether the files match their digests is for the registry to check (`Registry.verified`). Here the graph has to
    load, to give one logit a label, and to give the parity documents the logits they had when it was exported.
    """
    if not 0.0 < manifest.temperature < LARGEST_TEMPERATURE:
        msg = f"{folder}: its manifest has the temperature {manifest.temperature:g}, outside (0, 1000); {REMEDY}"
        raise DamagedVersionError(msg)
    if manifest.features == "hashed":
        _check_featurizer(folder, manifest)
    session = open_session(folder / GRAPH)
    try:
        before = front(manifest, session, folder.joinpath)
    except (RegistryError, OSError) as exc:
        msg = f"{folder}: {exc}"
        raise DamagedVersionError(msg) from exc
    _check_graph(folder / GRAPH, session, manifest, before)
    student = OnnxStudent(manifest, session, before)
    _check_parity(folder / PARITY, student, INT8_TOLERANCE if manifest.int8 else TOLERANCE)
    return student


def _check_featurizer(folder: Path, manifest: Manifest) -> None:
    try:
        digest = features.digest(manifest.featurizer)
    except (TypeError, ValueError) as exc:
        msg = f"{folder}: its manifest describes impossible features ({exc}); {REMEDY}"
        raise DamagedVersionError(msg) from exc
    if manifest.featurizer_digest != digest:
        msg = (
            f"{folder}: it was trained on features that this build of askance hashes differently; install the "
            "askance it was trained with, or train a new version"
        )
        raise DamagedVersionError(msg)


def _check_graph(path: Path, session: Session, manifest: Manifest, front: Front) -> None:
    inputs, outputs = session.inputs, session.outputs
    if not front.fits(inputs) or "logits" not in outputs:
        msg = f"{path}: the graph takes {inputs} and gives {list(outputs)}, not {front.takes} -> logits; {REMEDY}"
        raise DamagedVersionError(msg)
    given = outputs["logits"][-1]
    if given != len(manifest.labels):
        msg = f"{path}: the graph gives {given} logits, the manifest names {len(manifest.labels)} labels; {REMEDY}"
        raise DamagedVersionError(msg)


def _check_parity(path: Path, student: OnnxStudent, tolerance: float) -> None:
    try:
        documents = msgspec.json.decode(path.read_bytes(), type=list[ParityDocument])
        expected = np.array([document.logits for document in documents], dtype=np.float64)
        expected = expected.reshape(len(documents), len(student.labels))
    except OSError as exc:
        msg = f"{path}: cannot be read ({exc.strerror}); {REMEDY}"
        raise DamagedVersionError(msg) from exc
    except (msgspec.DecodeError, ValueError) as exc:
        msg = f"{path}: not a list of documents with one logit for each of {len(student.labels)} labels; {REMEDY}"
        raise DamagedVersionError(msg) from exc
    if not documents:
        msg = f"{path}: holds no document, so that nothing can be checked; {REMEDY}"
        raise DamagedVersionError(msg)
    try:
        # The first run of a session is its slowest: this is the warm-up as well.
        together = student.logits([document.text for document in documents])
    except Exception as exc:
        msg = f"{path.with_name(GRAPH)}: the graph fails on the first document ({exc}); {REMEDY}"
        raise DamagedVersionError(msg) from exc
    distance = np.abs(together - expected) / np.maximum(1.0, np.abs(expected))
    if not (distance <= tolerance).all():
        worst = int(np.nan_to_num(distance, nan=np.inf).max(axis=1).argmax())
        msg = (
            f"{path}: document {worst} ({documents[worst].text[:60]!r}) now scores differently by "
            f"{distance[worst].max():.2g}, more than {tolerance:g}; {REMEDY}"
        )
        raise DamagedVersionError(msg)
