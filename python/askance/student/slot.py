"""The one place that holds the live student, and what else the data plane is told.

Owns the invariant that a batch is scored by exactly one version: a swap is one assignment, and a batch reads the slot
once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from askance.directions import Directions

if TYPE_CHECKING:
    from askance.protocols import Student


class Live(NamedTuple):
    """What is live at one moment; everything in it is immutable."""

    student: Student | None = None
    """The champion, None before the first."""
    challenger: Student | None = None
    """The version on trial, once it is loaded."""
    directions: Directions = Directions()


class Slot:
    """Holds what is live. Any thread may read; one puts; neither ever waits."""

    __slots__ = ("_live",)

    def __init__(self) -> None:
        self._live = Live()

    @property
    def live(self) -> Live:
        """What is live. Read it once a batch and keep what was read."""
        return self._live

    @property
    def student(self) -> Student | None:
        """The live student, None before the first."""
        return self._live.student

    def put(self, student: Student) -> None:
        """Make a student the live one; batches that have read the former finish with it."""
        self._live = self._live._replace(student=student)

    def direct(self, directions: Directions, challenger: Student | None) -> None:
        """Change what is told, and the version on trial with it."""
        self._live = self._live._replace(directions=directions, challenger=challenger)
