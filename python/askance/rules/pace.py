"""How fast the teacher is asked: slots that shrink under faults, rates a minute, pauses the server asks for.

Everything here only ever says how many calls may begin *now*; what may not begin stays in the ledger, unpaid. Pure: the
clock is passed in, in seconds, and never runs backwards.
"""

from __future__ import annotations

from askance.calls import TeacherState
from askance.rules.breaker import Breaker
from askance.rules.retry import RetryBudget

_LONG_PAUSE_SECONDS = 5.0


class Slots:
    """Additive increase, multiplicative decrease of the calls under way (Chiu & Jain 1989), between 1 and `most`.

    It starts at `most`: the cap is what the user believes the endpoint can do. A fault halves it, once for all the
    calls that were under way together; a whole round of answers adds one.

    >>> slots = Slots(8)
    >>> slots.failed(began=0.0, now=1.0), slots.failed(began=0.5, now=1.0), slots.limit
    (None, None, 4)
    >>> for _ in range(4): slots.succeeded()
    >>> slots.limit
    5
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._shrunk_at = float("-inf")

    @property
    def limit(self) -> int:
        """How many calls may be under way."""
        return int(self._limit)

    def succeeded(self) -> None:
        """A call was answered."""
        self._limit = min(float(self._most), self._limit + 1.0 / int(self._limit))
        # Four times 1/4 is to be one, whatever floating point says.
        if self._limit - int(self._limit) > 1.0 - 1e-9:
            self._limit = float(int(self._limit) + 1)

    def failed(self, *, began: float, now: float) -> None:
        """A call that began at `began` was throttled, timed out or met a broken server."""
        if began > self._shrunk_at:
            self._limit = max(1.0, float(int(self._limit / 2.0)))
            self._shrunk_at = now


class RateLimit:
    """So much a minute: a bucket that holds a second's worth (at least one) and may be overdrawn.

    What a call takes is known for certain only when it has ended, so it is charged at its worst and put right later;
    while the bucket is overdrawn nothing begins.
    """

    def __init__(self, per_minute: float) -> None:
        self._per_second = per_minute / 60.0
        self._most = max(1.0, self._per_second)
        self._level = self._most
        self._seen: float | None = None

    def level(self, now: float) -> float:
        """How much may be taken now; negative while overdrawn."""
        if self._seen is not None:
            self._level = min(self._most, self._level + max(0.0, now - self._seen) * self._per_second)
        self._seen = now
        return self._level

    def take(self, amount: float) -> None:
        """Take it, or give back a negative amount."""
        self._level -= amount


class Spacing:
    """Spreads the beginnings of calls over a round trip, as TCP pacing spreads packets (Aggarwal et al. 2000).

    Calls that begin together end together, and then all slots wait while one core prepares the next volley: measured,
    64 calls in step reached 0.73 of what the slots allow, spread ones 0.97. Beginnings are let through at half as fast
    again as the slots can use, in groups of at most an eighth of the slots (but eight).
    """

    def __init__(self, first_guess_seconds: float = 0.5) -> None:
        self._latency = first_guess_seconds
        self._is_guess = True
        self._saved = float("inf")
        self._seen: float | None = None

    def observe(self, seconds: float) -> None:
        """A call took so long."""
        self._latency = seconds if self._is_guess else self._latency + 0.1 * (seconds - self._latency)
        self._is_guess = False

    def room(self, limit: int, now: float) -> int:
        """How many calls may begin now, with so many slots."""
        elapsed = 0.0 if self._seen is None else max(0.0, now - self._seen)
        self._seen = now
        self._saved = min(max(8.0, limit / 8.0), self._saved + elapsed * self._rate(limit))
        return int(self._saved)

    def take(self) -> None:
        """One begins."""
        self._saved -= 1.0

    def wait_seconds(self, limit: int) -> float:
        """How long until four more may begin."""
        return max(0.0, 4.0 - self._saved) / self._rate(limit)

    def _rate(self, limit: int) -> float:
        return 1.5 * limit / max(self._latency, 1e-3)


class Pace:
    """All of it together: what the teach worker asks before it takes queries from the ledger, and tells afterwards."""

    def __init__(
        self,
        *,
        most: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        breaker: Breaker | None = None,
        retries: RetryBudget | None = None,
        spacing: Spacing | None = None,
    ) -> None:
        self._slots = Slots(most)
        self._spacing = spacing
        self._breaker = breaker or Breaker()
        self._retries = retries or RetryBudget()
        self._requests = RateLimit(requests_per_minute) if requests_per_minute else None
        self._tokens = RateLimit(tokens_per_minute) if tokens_per_minute else None
        self._tokens_per_call = 1.0
        self._requests_per_call = 1.0
        self._held_until = float("-inf")

    @property
    def breaker_is_open(self) -> bool:
        """Whether the failures of now are blamed on the server."""
        return self._breaker.is_open

    @property
    def limit(self) -> int:
        """How many calls may be under way while nothing else holds them back."""
        return self._slots.limit

    def room(self, under_way: int, *, now: float) -> int:
        """How many calls may begin now, with so many under way."""
        if now < self._held_until:
            return 0
        room = self._breaker.slots(self._slots.limit, now=now) - under_way
        if self._spacing:
            room = min(room, self._spacing.room(self._slots.limit, now))
        if self._requests:
            level = self._requests.level(now)
            room = min(room, max(1, int(level / self._requests_per_call))) if level >= 1.0 else 0
        if self._tokens:
            level = self._tokens.level(now)
            room = min(room, max(1, int(level / self._tokens_per_call))) if level > 0.0 else 0
        return max(0, room)

    def wait_seconds(self) -> float:
        """How long the spacing of calls holds the next ones back; 0 when it does not."""
        return self._spacing.wait_seconds(self._slots.limit) if self._spacing else 0.0

    def retries(self, *, now: float) -> int:
        """How many of them may be retries."""
        return self._retries.room(now)

    def state(self, *, now: float) -> TeacherState:
        """What the gate is told: whether the teacher is being asked, or has to be left alone for a while."""
        waits = self._breaker.is_open or self._held_until - now > _LONG_PAUSE_SECONDS
        return TeacherState.PAUSED if waits else TeacherState.ASKING

    def paused_seconds(self, *, now: float) -> float:
        """How long until the next call may go, as far as the breaker and the server's wish decide."""
        return max(0.0, self._held_until - now, self._breaker.until - now if self._breaker.is_open else 0.0)

    def began(self, tokens: int, *, requests: int = 1, again: bool) -> None:
        """A call has begun that may take so many tokens and requests; `again` when it is a retry."""
        if self._spacing:
            self._spacing.take()
        self._retries.called(first=int(not again), again=int(again))
        if self._requests:
            self._requests.take(requests)
            self._requests_per_call += 0.1 * (requests - self._requests_per_call)
        if self._tokens:
            self._tokens.take(tokens)
            self._tokens_per_call += 0.1 * (tokens - self._tokens_per_call)

    def ended(
        self,
        *,
        failed: bool,
        began: float,
        now: float,
        tokens_less: int = 0,
        requests_less: int = 0,
        retry_after_seconds: float | None = None,
    ) -> None:
        """A call that began at `began` was answered, or `failed` by the server or on the way to it.

        It took so many tokens and requests less than feared; `retry_after_seconds` is how long the server asks
        everybody to wait.
        """
        if failed:
            self._slots.failed(began=began, now=now)
            self._breaker.failed(began=began, now=now)
        else:
            if self._spacing:
                self._spacing.observe(now - began)
            self._slots.succeeded()
            self._breaker.succeeded(began=began)
        if self._tokens:
            self._tokens.take(-tokens_less)
        if self._requests:
            self._requests.take(-requests_less)
        if retry_after_seconds:
            self._held_until = max(self._held_until, now + retry_after_seconds)
