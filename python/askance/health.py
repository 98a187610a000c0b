"""What a process says of itself: whether it is alive, whether it is ready, and why not.

Alive means that a restart would help nothing: every loop comes round, and nothing stands still although it was built
anew. A broker, a registry or a teacher that is away makes a process unready, never dead: a restart would not bring them
back.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Health:
    """Parts of the process write, from any thread; whoever asks reads. Nothing here waits."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._beats: dict[str, tuple[float, float]] = {}
        self._unready: dict[str, str] = {}
        self._stuck: dict[str, str] = {}

    def beat(self, part: str, *, within_seconds: float) -> None:
        """The part's loop has come round, and promises to do so again in that time."""
        with self._lock:
            self._beats[part] = (self._clock(), within_seconds)

    def forget(self, part: str) -> None:
        """The part has ended in order: it promises nothing any more, and nothing waits for it."""
        with self._lock:
            for kept in (self._beats, self._unready, self._stuck):
                kept.pop(part, None)

    def ready(self, part: str) -> None:
        """The part does its work."""
        with self._lock:
            self._unready.pop(part, None)

    def unready(self, part: str, why: str) -> None:
        """The part does no work now, and mends that by itself or cannot help it."""
        with self._lock:
            self._unready[part] = why

    def stuck(self, part: str, why: str) -> None:
        """The part makes no progress, and what it could do about it did not help."""
        with self._lock:
            self._stuck[part] = why

    def moving(self, part: str) -> None:
        """The part makes progress."""
        with self._lock:
            self._stuck.pop(part, None)

    def not_alive(self) -> list[str]:
        """Why the process should be restarted, a line a part; empty while it is alive."""
        with self._lock:
            now = self._clock()
            late = [
                f"{part}: nothing heard for {now - last:.0f} s"
                for part, (last, within_seconds) in self._beats.items()
                if now - last > within_seconds
            ]
            return late + [f"{part}: {why}" for part, why in self._stuck.items()]

    def not_ready(self) -> list[str]:
        """Why the process does not do its work now, a line a part; empty while it does."""
        dead = self.not_alive()
        with self._lock:
            return dead + [f"{part}: {why}" for part, why in self._unready.items()]
