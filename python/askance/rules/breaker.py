"""The circuit breaker: when the teacher fails again and again, stop asking and look in now and then.

Closed: all calls go. It opens when the last `threshold` calls all failed, or four fifths of the last 20. Open: no
call goes until a pause is over; then one goes, the probe. A probe that succeeds closes it; one that fails doubles the
pause, up to `longest_seconds`. Pure: the clock is passed in (Nygard, "Release It!", 2007, section 5.2).
"""

from __future__ import annotations

from collections import deque

_WINDOW = 20
_FAILED_SHARE = 0.8


class Breaker:
    """Says how many calls may be under way; told how each ended.

    >>> breaker = Breaker(threshold=2, first_seconds=1.0)
    >>> breaker.failed(began=0.0, now=1.0), breaker.failed(began=0.0, now=1.0)
    (None, None)
    >>> breaker.slots(64, now=1.5), breaker.slots(64, now=2.0)
    (0, 1)
    >>> breaker.succeeded(began=2.0), breaker.slots(64, now=2.5)
    (None, 64)
    """

    def __init__(self, *, threshold: int = 5, first_seconds: float = 1.0, longest_seconds: float = 60.0) -> None:
        self._threshold = threshold
        self._first = first_seconds
        self._longest = longest_seconds
        self._recent: deque[bool] = deque(maxlen=max(_WINDOW, threshold))
        self._pause = 0.0
        self._opened = 0.0
        self._is_open = False

    @property
    def is_open(self) -> bool:
        """Whether it has stopped the calls, the probes apart."""
        return self._is_open

    @property
    def until(self) -> float:
        """When the next probe may go, while it is open."""
        return self._opened + self._pause

    def slots(self, limit: int, *, now: float) -> int:
        """How many calls may be under way at `now`, out of `limit`."""
        if not self._is_open:
            return limit
        return min(1, limit) if now >= self.until else 0

    def succeeded(self, *, began: float) -> None:
        """A call that began at `began` was answered, be it by a refusal: the server works."""
        if self._is_open:
            if began < self._opened:
                return  # it was on its way when the trouble began, and says nothing of the server now
            self._is_open = False
            self._pause = 0.0
            self._recent.clear()
        self._recent.append(True)

    def failed(self, *, began: float, now: float) -> None:
        """A call that began at `began` met a fault of the server or of the way to it."""
        if self._is_open:
            if began >= self._opened:  # the probe, not a call from before
                self._open(now, min(self._longest, self._pause * 2.0))
            return
        self._recent.append(False)
        newest = list(self._recent)[-self._threshold :]
        failures = self._recent.count(False)
        if (len(newest) == self._threshold and not any(newest)) or (
            len(self._recent) >= _WINDOW and failures >= _FAILED_SHARE * len(self._recent)
        ):
            self._open(now, self._first)

    def _open(self, now: float, pause: float) -> None:
        self._is_open = True
        self._opened = now
        self._pause = pause
