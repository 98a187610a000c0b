"""Whether and when a call that failed is made again. Pure: the clock and the dice are passed in.

There is one retry layer: the SDK's own is off, and the worker gives a query back to the ledger with the time from
which it may be asked again, so a retry is paid for like any other call and survives a crash.
"""

from __future__ import annotations

import math

MOST_TRIES = 5
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 8.0

OUTAGE_WEIGHT = 0.1
"""How much of a try a failure counts that the circuit breaker blames on the server: it says little of the query."""


def pause_seconds(tries: float, uniform: float, retry_after_seconds: float | None = None) -> float | None:
    """How long to wait after `tries` failed tries before the next one; None to give the query up.

    Exponential back-off with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015), `uniform` being a draw
    from [0, 1); never shorter than the server's own `Retry-After`.

    >>> [pause_seconds(tries, 0.5) for tries in (1, 2, 3, 4, 5)]
    [0.25, 0.5, 1.0, 2.0, None]
    >>> pause_seconds(1, 0.5, 7.0)
    7.25
    """
    if tries >= MOST_TRIES:
        return None
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * math.pow(2.0, max(0.0, tries - 1.0)))
    return (retry_after_seconds or 0.0) + uniform * longest


class RetryBudget:
    """Bounds retries to a share of the calls, so that an ailing server is not asked ever more.

    A token bucket as in tower's `retry::budget`: each first try deposits `share` of a retry, each retry withdraws one,
    and `per_second` are always granted, so that the last queries of a stream are not left waiting. At most `most`
    are saved up; the bucket starts full.
    """

    def __init__(self, *, share: float = 0.2, per_second: float = 1.0, most: float = 10.0) -> None:
        self._share = share
        self._per_second = per_second
        self._most = most
        self._saved = most
        self._seen: float | None = None

    def room(self, now: float) -> int:
        """How many retries may be made at `now`."""
        if self._seen is not None:
            self._saved = min(self._most, self._saved + max(0.0, now - self._seen) * self._per_second)
        self._seen = now
        return int(self._saved)

    def called(self, *, first: int, again: int) -> None:
        """So many first tries and retries have been made."""
        self._saved = min(self._most, self._saved + first * self._share) - again
