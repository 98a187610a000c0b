"""Documents that the teacher writes for training: how they are asked for, and how they are kept."""

from __future__ import annotations

import msgspec

from askance.calls import Charge  # noqa: TC001 - msgspec resolves it at run time

GENERATED_TOPIC = "askance.generated"
"""The topic of the coordinates of generated documents, which stand in no stream."""


class Generated(msgspec.Struct, frozen=True):
    """A document the teacher wrote for training: no part of the stream, and never held out."""

    number: int
    round: int
    text: str
    wanted: str
    """The class it was written for."""
    label: str | None = None
    """What a second call, which was not told, said it is."""
    status: str = "unchecked"
    """`unchecked`, `refused`, `confirmed` (its round has not been judged yet), `kept` or `discarded`."""

    @property
    def is_learnt(self) -> bool:
        """Whether a student is trained on it."""
        return self.status in ("confirmed", "kept")


class WritingOrder(msgspec.Struct, frozen=True):
    """What the teacher is to write: new documents of a class, seeing how the student does on it."""

    label: str
    precision: float
    recall: float
    f1: float
    examples: tuple[str, ...]
    """Documents of the class."""
    mistakes: tuple[tuple[str, str, str], ...]
    """Hard negatives: document, label, and what the student took it for."""
    documents: int
    """How many to write."""
    document_tokens: int
    """The longest one, in tokens."""


class Writing(msgspec.Struct, frozen=True):
    """What a call that asked for new documents came to; `error` says why there are none."""

    texts: tuple[str, ...] = ()
    error: str | None = None
    charges: tuple[Charge, ...] | None = None
    """None: unknown, so it counts as its reservation."""
