"""What a call to the teacher is: what it may cost, what came of it, and what the ledger is told.

A query is asked in a call; a call is reserved at its worst before it is made and settled at what it came to.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from askance.records import Answer, Coordinates, Label, Query  # noqa: TC001 - msgspec resolves them at run time


class Spend(msgspec.Struct, frozen=True):
    """What calls cost, or might; `nanos` are billionths of the price table's currency."""

    calls: int = 0
    tokens: int = 0
    nanos: int = 0

    def __add__(self, other: Spend) -> Spend:
        return Spend(self.calls + other.calls, self.tokens + other.tokens, self.nanos + other.nanos)

    def __sub__(self, other: Spend) -> Spend:
        return Spend(self.calls - other.calls, self.tokens - other.tokens, self.nanos - other.nanos)


class Limit(msgspec.Struct, frozen=True):
    """The most that may be spent in one period; None: no limit of that kind."""

    calls: int | None = None
    tokens: int | None = None
    nanos: int | None = None

    def exceeded_by(self, spend: Spend) -> str | None:
        """Which limit this much would be over.

        >>> Limit(calls=2).exceeded_by(Spend(3, 0, 0)), Limit(calls=2).exceeded_by(Spend(2, 99, 99))
        ('calls', None)
        """
        if self.calls is not None and spend.calls > self.calls:
            return "calls"
        if self.tokens is not None and spend.tokens > self.tokens:
            return "tokens"
        if self.nanos is not None and spend.nanos > self.nanos:
            return "money"
        return None

    def part(self, numerator: int, denominator: int) -> Limit:
        """So much of it, rounded down: parts that add up to one never exceed the whole.

        >>> Limit(calls=10, nanos=7).part(1, 3)
        Limit(calls=3, tokens=None, nanos=2)
        """
        limits = (self.calls, self.tokens, self.nanos)
        return Limit(*(None if limit is None else limit * numerator // denominator for limit in limits))


class Caps(msgspec.Struct, frozen=True):
    """The limits of a run, of a day (UTC) and of everything this ledger ever saw."""

    run: Limit = Limit()
    day: Limit = Limit()
    total: Limit = Limit()

    def part(self, numerator: int, denominator: int) -> Caps:
        """So much of each, rounded down."""
        return Caps(*(limit.part(numerator, denominator) for limit in (self.run, self.day, self.total)))


class TeacherState(StrEnum):
    """What the gate is told of the teacher."""

    ASKING = "asking"
    PAUSED = "paused"
    """It fails or wants to be left alone: the gate's scale falls to 0, the floor stays."""
    SPENT = "spent"
    """A cap on the spend is reached: the gate is closed."""


class Fault(StrEnum):
    """Why a call gave no answers."""

    THROTTLED = "throttled"
    """The server turned it away for now (429)."""
    UNREACHABLE = "unreachable"
    """The server or the way to it failed: timeouts, connections, 408, 409, 5xx."""
    REJECTED = "rejected"
    """The server will not answer this call however often it is made."""


class Charge(msgspec.Struct, frozen=True):
    """What one teacher took for its part in a call."""

    teacher: str
    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt tokens."""
    completion_tokens: int = 0
    nanos: int = 0

    @property
    def spend(self) -> Spend:
        """As it counts against the caps."""
        return Spend(self.calls, self.prompt_tokens + self.completion_tokens, self.nanos)


class Attempt(msgspec.Struct, frozen=True):
    """What one call came to: an answer for each of its queries, in order, or a `fault`.

    Where there are both, a query whose answer is None met the fault, and the others are answered.
    """

    answers: tuple[Answer | None, ...] = ()
    fault: Fault | None = None
    error: str | None = None
    charges: tuple[Charge, ...] | None = None
    """None: unknown, so it counts as its reservation."""
    retry_after_seconds: float | None = None
    """The server asks not to be asked again, by anybody, for so long."""


class Pending(msgspec.Struct, frozen=True):
    """A query as the ledger hands it out, with its history."""

    query: Query
    tries: float = 0.0
    """How often it failed; a failure during an outage counts a tenth."""
    bad_replies: int = 0
    """How often the teacher answered, but no label of the set."""


class Call(msgspec.Struct, frozen=True):
    """A reserved call: on the disk before it is made."""

    number: int
    asked: tuple[Pending, ...]
    reserved: Spend
    is_audit: bool = False
    """Whether its query has a label already and is asked again only to compare."""

    @property
    def queries(self) -> tuple[Query, ...]:
        """What it is about."""
        return tuple(one.query for one in self.asked)

    @property
    def is_retry(self) -> bool:
        """Whether any of its queries was asked before."""
        return any(one.tries or one.bad_replies for one in self.asked)


class Order(msgspec.Struct, frozen=True):
    """What the teach worker wants of the ledger; `now` is Unix time and decides the day (UTC)."""

    calls: int
    now: float
    documents_per_call: int = 1
    retries: int = 1_000_000
    """How many of the calls may be about queries asked before."""
    teacher: str = ""
    run: int = 0
    caps: Caps = Caps()
    key: str | None = None
    """The teacher's `key`: a text that was answered under it is not paid for again. None: every query is asked."""
    alike: float | None = None
    """From which likeness in [0, 1] on a document ends with its near-duplicate's label; None: it is asked itself."""
    batch: int | None = None
    """The batch that the calls are to be made in; None: each is made by itself."""
    audit_share: float = 0.0
    """Part of the near-duplicates' labels that is asked for all the same, to see how often they are wrong."""


class Reservation(msgspec.Struct, frozen=True):
    """What it gets."""

    calls: tuple[Call, ...] = ()
    waiting: bool = False
    """Whether queries are left that may be asked, now or later."""
    capped: str | None = None
    """Which cap leaves no room for another call, in words."""
    copied: int = 0
    """How many queries ended without a call, with the label of another that is like them."""


class Again(msgspec.Struct, frozen=True):
    """A query that is given back, to be asked again from `ask_after` (Unix time) on."""

    coordinates: Coordinates
    ask_after: float
    tries: float
    bad_replies: int


class Settlement(msgspec.Struct, frozen=True):
    """How a call ended: each of its queries is among the `labels` or `again`."""

    call: int
    labels: tuple[Label, ...] = ()
    again: tuple[Again, ...] = ()
    charges: tuple[Charge, ...] | None = None
    """None: as it was reserved."""
    error: str | None = None
    audits: tuple[Coordinates, ...] = ()
    """Labels that are to be asked for again, to see how far the teacher agrees with itself."""
    audit_share: float = 0.0
    """The same for the labels of near-duplicates that waited for this call, as a part of them."""
    audited: tuple[str | None, str | None] | None = None
    """Of an audit: its label and, where it has none, why."""


class Audit(msgspec.Struct, frozen=True):
    """A label that was asked for twice; `confidence` is the first one's."""

    first: str
    again: str
    confidence: float | None
    confidence_source: str | None
    teacher: str = ""
    """Who gave the first."""
    likeness: float | None = None
    """Where the first is a near-duplicate's label, how alike it is; the second alone was asked for."""


class SpendRow(msgspec.Struct, frozen=True):
    """One line of a report on the spend."""

    key: str
    calls: int
    documents: int
    prompt_tokens: int
    completion_tokens: int
    nanos: int


class BatchStatus(StrEnum):
    """Where the ledger has a batch."""

    RESERVED = "reserved"
    """Its calls are reserved; whether the provider has it is not known."""
    SUBMITTED = "submitted"
    ENDED = "ended"


class Batch(msgspec.Struct, frozen=True):
    """Calls that are made together through a provider's batch API, as the ledger knows them."""

    number: int
    token: str
    """On the disk before anything is sent, and sent along: what the provider's batch is found by."""
    teacher: str
    id: str | None
    """The provider's name for it."""
    status: BatchStatus
    open_calls: int
    """Of its calls, not settled yet."""
    calls: int
    error: str | None = None


class BatchState(msgspec.Struct, frozen=True):
    """How far the provider is with a batch; `status` in its own words."""

    status: str
    has_ended: bool
    done: int
    total: int
    error: str | None = None


class Line(msgspec.Struct, frozen=True):
    """What a batch says of one call."""

    call: int
    attempt: Attempt | None
    """None: it was turned away unread, for a reason that every call would meet."""
    error: str | None = None
