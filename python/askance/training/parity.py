"""The exported student has to answer like the one that was trained.

Owns the invariant that a version whose probabilities differ from the trained student's is never published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from askance.errors import ParityError
from askance.manifest import ParityDocument
from askance.rules.split import text_uniform
from askance.training.calibration import tempered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from askance.protocols import Student
    from askance.training.fitting import Trained

KEPT = 8
"""Parity documents of a version, besides the empty one."""

COMPARED = 64
"""Documents that are scored alone and together."""

LONGEST = 1_000
"""Characters of a parity document; a longer text is not chosen."""


def check_parity(trained: Trained, exported: Student, texts: Sequence[str], *, tolerance: float) -> float:
    """The largest difference between a probability of the exported and of the trained student.

    Compared are the probabilities that the training library itself gives with the exported student's softmax, and both
    at the version's temperature, which is what the gate sees. Raises `ParityError` with the worst document when the
    difference exceeds `tolerance`, or is not a number.
    """
    logits = exported.logits(texts)
    plain = np.abs(tempered(logits, 1.0) - trained.probabilities(texts))
    served = np.abs(tempered(logits, exported.temperature) - tempered(trained.logits(texts), exported.temperature))
    differences = np.nan_to_num(np.maximum(plain, served), nan=np.inf)
    worst, column = divmod(int(differences.argmax()), differences.shape[1])
    largest = float(differences[worst, column])
    if largest > tolerance:
        msg = (
            f"no version was published: the exported student's probability of {exported.labels[column]!r} for the "
            f"document {texts[worst][:80]!r} differs from the trained one's by {largest:.2g}, more than {tolerance:g}"
        )
        raise ParityError(msg)
    return largest


def is_exact(exported: Student, texts: Sequence[str]) -> bool:
    """Whether documents have the same logits, to the bit, alone and beside others; up to `COMPARED` are tried."""
    chosen = sorted(set(texts), key=_key)[:COMPARED]
    together = exported.logits(chosen)
    return all(exported.logits([text]).tobytes() == row.tobytes() for text, row in zip(chosen, together, strict=True))


def agreeing(exported: Student, other: Student, texts: Sequence[str]) -> float:
    """The share of the texts to which two students give the same answer, all scored together or each alone.

    The smaller of the two, as a student in 8 bits may answer differently beside others.
    """
    expected = other.logits(texts).argmax(axis=1)
    together = exported.logits(texts).argmax(axis=1)
    alone = [int(exported.logits([text]).argmax()) for text in texts]
    return float(min((together == expected).mean(), (alone == expected).mean()))


def parity_documents(exported: Student, texts: Sequence[str]) -> list[ParityDocument]:
    """A few documents, chosen by key, with the logits that the exported student gives them; the empty one first."""
    short = sorted({text for text in texts if 0 < len(text) <= LONGEST}, key=_key)
    chosen = ["", *short[:KEPT]]
    logits: NDArray[np.float32] = exported.logits(chosen)
    return [ParityDocument(text=text, logits=tuple(row)) for text, row in zip(chosen, logits.tolist(), strict=True)]


def _key(text: str) -> float:
    return text_uniform(text, purpose="parity")
