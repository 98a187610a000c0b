"""The one place that holds the live student.

Owns the invariant that a batch is scored by exactly one version: a swap is one assignment, and a batch reads the slot
once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from askance.protocols import Student


class Slot:
    """Holds the live student. Any thread may read or put; neither ever waits."""

    __slots__ = ("_student",)

    def __init__(self) -> None:
        self._student: Student | None = None

    @property
    def student(self) -> Student | None:
        """The live student, None before the first. Read it once a batch and keep what was read."""
        return self._student

    def put(self, student: Student) -> None:
        """Make a student the live one; batches that have read the former finish with it."""
        self._student = student
