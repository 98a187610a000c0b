"""What travels: records, predictions, queries, labels, dead letters, and the delivery that makes them durable.

Every value here is immutable. Coordinates are always (topic, partition, offset): they name a record for ever, key
its draw, and join a label to the prediction it judges.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec


class Coordinates(NamedTuple):
    """Where a record stands in the stream."""

    topic: str
    partition: int
    offset: int


class Record(msgspec.Struct, frozen=True):
    """A document as the stream carries it; `value` is what the source delivered, byte for byte."""

    coordinates: Coordinates
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int | None = None
    lease: int = 0
    """Under which assignment of its partition it was fetched: a sink refuses what an ended one has fetched."""


class Document(msgspec.Struct, frozen=True):
    """One decoded inbound text."""

    id: str
    text: str
    record: Record


class Reason(StrEnum):
    """Why a prediction carries no label, or why a record became a dead letter."""

    NO_STUDENT = "no_student"
    NON_FINITE = "non_finite"
    EMPTY_TEXT = "empty_text"
    INVALID_JSON = "invalid_json"
    INVALID_TEXT = "invalid_text"
    INVALID_UTF8 = "invalid_utf8"
    TOO_LARGE = "too_large"
    NULL_VALUE = "null_value"


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """What leaves for a record: enough to recompute whether it was accepted.

    `propensity` is a float32 written exactly; `accepted` is true iff the draw keyed by (seed, topic, partition,
    offset) fell below it. `label` is null exactly when `reason` says why.
    """

    id: str
    label: str | None
    confidence: float | None
    uncertainty: float
    propensity: float
    accepted: bool
    version: str | None
    seed: int
    topic: str
    partition: int
    offset: int
    reason: str | None = None


ABSTENTION = "none_of_these"
"""What a teacher that may abstain answers instead of a label: never trained on."""


class Query(msgspec.Struct, frozen=True):
    """An accepted record on its way to the teacher, with the prediction that was made for it."""

    coordinates: Coordinates
    document_id: str
    text: str
    predicted: str | None
    confidence: float | None
    uncertainty: float
    propensity: float
    version: str | None
    seed: int


class Outcome(StrEnum):
    """How a query ended."""

    LABELLED = "labelled"
    """The teacher's answer is a label of the set: it can be trained on."""
    INVALID = "invalid"
    """The teacher answered outside the label set: kept with its raw answer, never trained on."""
    FAILED = "failed"
    """The teacher gave no answer (an error or a timeout)."""
    LOST = "lost"
    """The worker ended between asking and writing the answer down; perhaps it was paid for, so never asked again."""


class Answer(msgspec.Struct, frozen=True):
    """What a teacher said of one query, before anyone judged whether it is a label of the set.

    `raw` is the label as the teacher named it; the whole reply, with an `error`, when it names none (a refusal, bad
    JSON, cut off); null, with an `error`, when no answer came. `confidence` is null when unknown, never 0 or 1 in its
    stead; `confidence_source` says where it comes from (`stated`, `log_probability`, `recorded`, …).
    """

    raw: str | None
    confidence: float | None = None
    confidence_source: str | None = None
    error: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    teacher: str | None = None
    """Who of several gave it; None: the teacher that was asked."""
    rationale: str | None = None
    """Why, in the teacher's words, where it was asked for them."""


class Label(msgspec.Struct, frozen=True):
    """The teacher's answer to a query, judged; `label` is null unless `outcome` is `labelled`."""

    coordinates: Coordinates
    outcome: Outcome
    label: str | None
    teacher: str
    answer: Answer
    latency_seconds: float


class Settled(msgspec.Struct, frozen=True):
    """A query with how it ended: what the labels topic carries, so that a label is of use by itself."""

    query: Query
    label: Label


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that could not be processed, and why."""

    record: Record
    reason: Reason
    detail: str


HISTOGRAM_BINS = 20
"""Of the uncertainties in a `Tally`: equal steps of [0, 1]."""


class Tally(msgspec.Struct, frozen=True):
    """What is counted of all documents that one version scored in a stretch of a partition, labelled or not.

    Estimates are unbiased because these are counted; a drift of the stream shows here first.
    """

    first_offset: int
    version: str | None
    documents: int
    uncovered: int
    """Of them, drawn at propensity 0: no label can ever speak for these, and the counts below leave them out."""
    confidences: float
    """Sum of the student's confidences."""
    uncertainties: tuple[int, ...]
    """Histogram, `HISTOGRAM_BINS` bins."""
    predicted: dict[str, int]
    """Documents by predicted label."""


class Position(msgspec.Struct, frozen=True):
    """How far a partition is done: every record below `next_offset`.

    The three counts are of this delivery, not totals; the ledger adds them up.
    """

    topic: str
    partition: int
    next_offset: int
    documents: int
    accepted: int
    dead_letters: int
    lease: int = 0
    """The records' `lease`."""
    tally: Tally | None = None
    """Of this delivery's documents; None where there are none, or where nothing is estimated."""


class Delivery(msgspec.Struct, frozen=True):
    """All outputs of one batch and the positions they stand for: durable together, or not at all."""

    predictions: list[tuple[Record, bytes]]
    """Each input record with its encoded prediction."""
    queries: list[Query]
    dead_letters: list[DeadLetter]
    positions: list[Position]


class Progress(msgspec.Struct, frozen=True):
    """What a ledger remembers of one partition, over all runs; `bookmark` is the stream adapter's own JSON."""

    next_offset: int
    documents: int
    accepted: int
    dead_letters: int
    bookmark: str | None


class LabelCounts(msgspec.Struct, frozen=True):
    """How many queries stand where; `pending` have not been asked, `asked` are under way."""

    pending: int = 0
    asked: int = 0
    labelled: int = 0
    invalid: int = 0
    failed: int = 0
    lost: int = 0

    @property
    def answered(self) -> int:
        """Queries that have ended, however they did."""
        return self.labelled + self.invalid + self.failed + self.lost

    @property
    def total(self) -> int:
        """All queries."""
        return self.pending + self.asked + self.answered


class Labelled(msgspec.Struct, frozen=True):
    """A query with its valid label: one row of training data and one term of the estimates."""

    coordinates: Coordinates
    text: str
    label: str
    predicted: str | None
    version: str | None
    propensity: float
    confidence: float | None
    """The teacher's, null when unknown."""
    uncertainty: float = 1.0
    """The student's when the document came; 1 where none had scored it."""


class Judged(msgspec.Struct, frozen=True):
    """A query and how it ended, if it has: one term of the estimates, or one that is missing."""

    coordinates: Coordinates
    document_id: str
    predicted: str | None
    version: str | None
    propensity: float
    confidence: float | None
    """The student's."""
    status: str
    """`pending`, `asked`, or an `Outcome`."""
    label: str | None
