"""Several versions at once: the live one answers, and all say together how far they disagree.

Owns the promise that a committee changes no answer: label, confidence and version are the live student's. It costs
every member's scoring of every document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from askance.rules.committee import disagreement

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from askance.protocols import Student
    from askance.rules.gate import Disagreement


class Scores(NamedTuple):
    """What students say of n documents."""

    logits: NDArray[np.float32]
    """(n, K), the live student's."""
    disagreement: NDArray[np.float32] | None = None
    """(n,) in [0, 1]; None without a committee."""


class Committee:
    """Implements `askance.protocols.Student` by its first member, the live one; immutable."""

    def __init__(self, members: Sequence[Student], measure: Disagreement) -> None:
        """Of at least two members with the same label set."""
        self.version = members[0].version
        self.labels = members[0].labels
        self.temperature = members[0].temperature
        self._members = tuple(members)
        self._measure = measure

    @property
    def members(self) -> tuple[str, ...]:
        """The members' versions, the live one first."""
        return tuple(member.version for member in self._members)

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Student`: the live student's."""
        return self._members[0].logits(texts)

    def scores(self, texts: Sequence[str]) -> Scores:
        """The live student's logits and the disagreement of all."""
        logits = [member.logits(texts) for member in self._members]
        temperatures = [member.temperature for member in self._members]
        return Scores(logits[0], disagreement(logits, temperatures, self._measure))


def scores(student: Student, texts: Sequence[str]) -> Scores:
    """What a student, or a committee in its place, says of the texts."""
    if isinstance(student, Committee):
        return student.scores(texts)
    return Scores(student.logits(texts))
