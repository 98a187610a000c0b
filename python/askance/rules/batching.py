"""How many documents are scored together: as many as a latency target allows, and never waiting for more."""

from __future__ import annotations

_FIRST = 256


class BatchSize:
    """Follows how long batches take to score; a slow student gets small ones, whatever the backlog.

    >>> size = BatchSize(most=4096, target_seconds=0.1)
    >>> size.took(256, seconds=0.002)
    >>> size.documents
    512
    >>> size.took(512, seconds=2.0)
    >>> size.documents
    25
    """

    def __init__(self, *, most: int, target_seconds: float) -> None:
        """At most `most` documents, in no more than about `target_seconds`."""
        self._most = most
        self._target = target_seconds
        self.documents = min(most, _FIRST)

    def took(self, documents: int, seconds: float) -> None:
        """A batch of so many was scored in so long."""
        if seconds > self._target:
            self.documents = max(1, int(documents * self._target / seconds))
        elif documents >= self.documents and 2.0 * seconds <= self._target:
            # What has come was cut off at the limit, and twice as much would be in time.
            self.documents = min(self._most, 2 * self.documents)
