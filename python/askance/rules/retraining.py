"""When to train the next student."""

from __future__ import annotations

import math


class RetrainingSchedule:
    """Due at `first_at` labels, then geometrically or every so many labels, or after a time with any new label."""

    def __init__(
        self,
        *,
        first_at: int,
        growth: float,
        every: int | None,
        every_seconds: float | None,
        labels: int,
        now: float,
    ) -> None:
        """`labels` is how many the newest version was trained on, held-out ones included; 0 without a version."""
        self._first_at = first_at
        self._growth = growth
        self._every = every
        self._every_seconds = every_seconds
        self._labels = labels
        self._at = now
        self._is_hastened = False
        self._hastened_at: int | None = None

    def hasten(self) -> None:
        """The stream has changed: be due as soon as `first_at` more labels have come."""
        self._is_hastened = True

    @property
    def next_at(self) -> int:
        """The number of labels at which training is next due."""
        if self._labels == 0:
            return self._first_at
        if self._every is not None:
            return self._labels + self._every
        return max(self._labels + 1, math.ceil(self._labels * self._growth))

    def due(self, labels: int, now: float, *, last: bool = False) -> bool:
        """Whether to train now that there are so many labels; `last` when no more will come."""
        if labels >= self.next_at:
            return True
        if self._is_hastened:
            self._is_hastened, self._hastened_at = False, labels + self._first_at
        if self._hastened_at is not None and labels >= self._hastened_at:
            return True
        waited = self._every_seconds is not None and now - self._at >= self._every_seconds
        return (waited or last) and labels > self._labels and labels >= self._first_at

    def trained(self, labels: int, now: float) -> None:
        """A training with so many labels has ended, well or badly: it is not tried again with the same ones."""
        self._labels = labels
        self._at = now
        self._hastened_at = None
