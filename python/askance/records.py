"""What travels: records, predictions, queries, labels, dead letters, and the delivery that makes them durable.

Every value here is immutable. Coordinates are always (topic, partition, offset): they name a record for ever, key
its draw, and join a label to the prediction it judges.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, NamedTuple

import msgspec

_Int63 = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What is read from elsewhere is refused where no ledger could store it."""


class Coordinates(NamedTuple):
    """Where a record stands in the stream."""

    topic: str
    partition: _Int63
    offset: _Int63


# Neither is tracked by the garbage collector: a batch makes thousands, and nothing in them can lead back to them.
class Record(msgspec.Struct, frozen=True, gc=False):
    """A document as the stream carries it; `value` is what the source delivered, byte for byte."""

    coordinates: Coordinates
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int | None = None
    lease: int = 0
    """Under which assignment of its partition it was fetched: a sink refuses what an ended one has fetched."""


class Document(msgspec.Struct, frozen=True, gc=False):
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


class Standing(StrEnum):
    """Under an agreement contract: whether a prediction is the last word on its document."""

    FINAL = "final"
    """The answer: the student's, which was sure enough, or the teacher's to a document that was held for it."""
    HELD = "held"
    """Not sent yet: the ledger holds it until the teacher answers or the deadline passes. On no prediction."""
    PROVISIONAL = "provisional"
    """The student's; the teacher is asked, and a `settled` one will follow."""
    SETTLED = "settled"
    """Follows a provisional one: the teacher's answer or, where `outcome` says that there is none, the student's."""
    UNASSURED = "unassured"
    """The student's though it was not sure enough, because the gate was closed; nothing follows."""


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """What leaves for a record: enough to recompute whether it was accepted.

    `propensity` is a float32 written exactly; `accepted` is true iff the draw keyed by (seed, topic, partition,
    offset) fell below it. `label` is null exactly when `reason` says why. Under a contract there is a `standing`, and
    a document may have two predictions, which differ in what stands from `label` on alone: the later one holds.
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
    standing: str | None = None
    threshold: float | None = None
    """The least confidence at which the version may answer by itself; null under a contract: none is known yet."""
    teacher: str | None = None
    """Who gave the label, where it is not the student's; its confidence stays the student's."""
    predicted: str | None = None
    """The student's label, where the label is the teacher's."""
    outcome: str | None = None
    """How the query ended, where the teacher was waited for in vain."""


ABSTENTION = "none_of_these"
"""What a teacher that may abstain answers instead of a label: never trained on."""


HUMAN = "human"
"""The teacher of labels that people gave."""


class Query(msgspec.Struct, frozen=True, omit_defaults=True):
    """An accepted record on its way to the teacher, with the prediction that was made for it.

    The ledger's columns follow the order of these fields.
    """

    coordinates: Coordinates
    document_id: str
    text: str
    predicted: str | None
    confidence: float | None
    uncertainty: float
    propensity: float
    version: str | None
    seed: _Int63
    standing: str | None = None
    """`held` or `provisional` where a contract waits for the answer."""
    threshold: float | None = None
    """As in the prediction."""
    held_until: float | None = None
    """Unix time of the deadline of a held one."""
    key: bytes | None = None
    """The record's, where a contract waits: what follows the prediction has the same key."""
    shadow_version: str | None = None
    """The challenger that scored the document beside the version that answers, and what it would have answered."""
    shadow_predicted: str | None = None
    shadow_confidence: float | None = None
    traceparent: str | None = None
    """The document's W3C trace context, if it came with one."""


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
    overruled: Answer | None = None
    """What a cheaper teacher had said before this one was asked."""


class Twin(msgspec.Struct, frozen=True):
    """Whose label a query ended with, at no cost."""

    coordinates: Coordinates
    likeness: float | None = None
    """Estimated Jaccard likeness of the two documents; None: they are the same text."""


class Label(msgspec.Struct, frozen=True):
    """The teacher's answer to a query, judged; `label` is null unless `outcome` is `labelled`."""

    coordinates: Coordinates
    outcome: Outcome
    label: str | None
    teacher: str
    answer: Answer
    latency_seconds: float
    key: str | None = None
    """Of a label on its way through a topic: the teacher's `key` when it was asked; a ledger takes it from the call."""
    twin: Twin | None = None
    """None: this query was asked itself."""


class Settled(msgspec.Struct, frozen=True):
    """A query with how it ended: what the labels topic carries, so that a label is of use by itself."""

    query: Query
    label: Label


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that could not be processed, and why."""

    record: Record
    reason: Reason
    detail: str


class KeptLetter(msgspec.Struct, frozen=True):
    """A dead letter as it is found again later."""

    place: str
    """Where it is kept: topic/partition/offset, or a file's line."""
    record: Record
    """As it came, but for what replaying it before has added to its headers."""
    reason: str
    detail: str
    replays: int = 0
    """How often its record had been replayed before it became this letter."""


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
    """Of them, drawn at propensity 0: no label can ever speak for these, and `confidences` and `predicted`, which stand
    beside labels in estimates, leave them out."""
    confidences: float
    """Sum of the student's confidences."""
    uncertainties: tuple[int, ...]
    """Histogram of all of them, `HISTOGRAM_BINS` bins; no estimate reads it, drift does."""
    predicted: dict[str, int]
    """Documents by predicted label."""
    is_shadow: bool = False
    """Whether the version scored without answering."""
    topic: str = ""
    partition: int = 0


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
    tallies: tuple[Tally, ...] = ()
    """Of this delivery's documents, one a version that scored any; none where nothing is estimated."""


class Delivery(msgspec.Struct, frozen=True):
    """All outputs of one batch and the positions they stand for: durable together, or not at all."""

    predictions: list[tuple[Record, bytes | None]]
    """Each input record with its encoded prediction, None where its query holds it until the teacher has answered."""
    queries: list[tuple[Record, Query]]
    """Each with its input record."""
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
    likeness: float | None = None
    """Where the label is a near-duplicate's, how alike it is: the teacher was not asked about this document."""
    threshold: float | None = None
    """Of the contract, when it was drawn."""
    shadow_version: str | None = None
    shadow_predicted: str | None = None
    shadow_confidence: float | None = None


class Question(msgspec.Struct, frozen=True):
    """A query that people may answer, with what is thought of it so far."""

    coordinates: Coordinates
    document_id: str
    text: str
    predicted: str | None
    predicted_confidence: float | None
    version: str | None
    label: str | None
    confidence: float | None
    """The label's."""
    teacher: str | None


class HumanAnswer(msgspec.Struct, frozen=True):
    """What people said of a query; `text` is what they were shown."""

    coordinates: Coordinates
    text: str
    raw: str
    label: str | None
    """None: they found that none of the labels fits."""


class Taken(StrEnum):
    """What the ledger did with what people said."""

    NEW = "new"
    """The query had no answer yet."""
    CORRECTED = "corrected"
    """It had another, which is kept beside this one."""
    KNOWN = "known"
    """They had said so before."""
    UNDER_WAY = "under way"
    """The teacher is being asked about it: come again later."""
    UNKNOWN = "unknown"
    """No such query is known here, or its text is another."""
