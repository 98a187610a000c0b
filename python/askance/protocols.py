"""The system's shape on one page: what the workers need of the world, and what each promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from askance.augmentation import Generated, Writing, WritingOrder
    from askance.calls import (
        Attempt,
        Audit,
        Batch,
        BatchState,
        BatchStatus,
        Call,
        Charge,
        Limit,
        Line,
        Order,
        Reservation,
        Settlement,
        Spend,
        SpendRow,
        TeacherState,
    )
    from askance.directions import Directions
    from askance.manifest import Manifest
    from askance.records import (
        Coordinates,
        Delivery,
        HumanAnswer,
        Judged,
        Label,
        LabelCounts,
        Labelled,
        Position,
        Progress,
        Query,
        Question,
        Record,
        Settled,
        Taken,
        Tally,
    )


class Source(Protocol):
    """Where documents come from."""

    async def fetch(self, *, max_records: int, max_wait_seconds: float) -> Sequence[Record] | None:
        """The next records, in offset order within a partition; at most `max_records`.

        Returns as soon as it has any, an empty sequence when none came in time, and None once the source has
        ended for good. A record is fetched once; it is not done until a `Sink` has delivered its position.
        """


class Sink(Protocol):
    """Where a batch's outputs go, together with the positions they stand for."""

    async def deliver(self, delivery: Delivery) -> Sequence[Position]:
        """Make the outputs and the positions durable together, partition by partition; returns the positions that are.

        Deliveries are made one at a time, in order. A crash leaves, of each partition, either all or nothing visible
        to whoever reads the outputs up to the committed position. A partition that is not among the returned positions
        was taken away or has failed: its records will be fetched again, here or by another worker. So will be, on Kafka
        at least once, what may no longer be committed: there positions follow the outputs behind the next delivery.
        """


class Follower(Protocol):
    """A sink that sends, under a contract, what follows predictions it has delivered."""

    async def follow_up(self, now: float) -> int:
        """Send the teacher's answers that came since, and provisional ones of held documents past their deadline.

        `now` is Unix time. Durable like a delivery, each once; returns how many.
        """

    async def is_holding(self) -> bool:
        """Whether documents are held that have no prediction yet."""


class Student(Protocol):
    """A loaded version: the ONNX model that answers. Thread-safe and immutable."""

    @property
    def version(self) -> str:
        """The version's name."""

    @property
    def labels(self) -> Sequence[str]:
        """The label set, in the order of the logits' columns."""

    @property
    def temperature(self) -> float:
        """The calibrated temperature its logits are divided by."""

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, K) float32 logits, C-contiguous; a document's row does not depend on the other documents."""


class Teacher(Protocol):
    """The LLM that is asked, or whatever stands in for it."""

    @property
    def name(self) -> str:
        """Model or file, as it is recorded on every label."""

    @property
    def concurrency(self) -> int:
        """How many `ask` calls may be under way at once."""

    @property
    def documents_per_call(self) -> int:
        """How many queries a call may be about."""

    @property
    def key(self) -> str | None:
        """The model and the digest of its prompt: what an answer to a text depends on beside the text.

        None: an answer is about its document alone, and is never reused for another with the same text.
        """

    def worst(self, queries: Sequence[Query]) -> Spend:
        """What a call about these may cost at most. Pure and fast: it runs inside the ledger's transaction."""

    def expected(self, queries: Sequence[Query]) -> tuple[Charge, ...]:
        """What a call about these is likely to cost each teacher that has a part in it, for forecasts only."""

    async def ask(self, queries: Sequence[Query]) -> Attempt:
        """One call, never made again from in here: an answer for each query, in order, or a fault.

        Raises `TeacherError` only when no query can be answered any more (credentials, unknown model); then nothing
        was spent.
        """

    async def audit(self, queries: Sequence[Query]) -> Attempt:
        """Like `ask`, of the teacher that is trusted most: its answer is compared with the one that was given."""

    async def aclose(self) -> None:
        """Let go of connections."""


class BatchTeacher(Protocol):
    """A teacher that is asked through a batch API: answers come hours later, to whichever process asks for them."""

    @property
    def teacher(self) -> Teacher:
        """The same, asked call by call: its name, key and worst prices, at the batch's price."""

    async def submit(self, token: str, calls: Sequence[Call]) -> str:
        """Send the calls as one batch that carries the token; its identifier. Raises `TeacherError`."""

    async def find(self, token: str) -> str | None:
        """The identifier of the batch that carries the token, None if there is none. Raises `TeacherError`."""

    async def state(self, identifier: str) -> BatchState:
        """How far it is. Raises `TeacherError`."""

    def lines(self, identifier: str, documents: Mapping[int, int]) -> AsyncIterator[Line]:
        """What came of each call that the batch speaks of, in any order. Raises `TeacherError`.

        `documents` says of each call's number how many queries it is about; calls it does not know are passed over.
        """

    async def aclose(self) -> None:
        """Let go of connections."""


class Writer(Teacher, Protocol):
    """A teacher that can write documents as well as label them."""

    def worst_writing(self, order: WritingOrder) -> Spend:
        """What a call that asks for these documents may cost at most."""

    async def write(self, order: WritingOrder) -> Writing:
        """One call, never made again from in here. Raises `TeacherError` as `ask` does."""


class Ledger(Protocol):
    """The durable store of queries and labels. Blocking; each worker has its own and calls it off the event loop."""

    def commit(
        self,
        queries: Sequence[Query],
        positions: Sequence[Position],
        bookmark: str | None,
        standings: Sequence[tuple[Coordinates, str]] = (),
    ) -> None:
        """Store queries and advance positions in one transaction; a query already stored is left as it is.

        `standings` says what was sent of `due_answers`.
        """

    def due_answers(self, now: float, limit: int) -> Sequence[tuple[Query, Label | None]]:
        """Of queries that a contract waits for: those that have ended, and held ones whose deadline (Unix) is past."""

    def awaited(self) -> tuple[int, int]:
        """How many queries are held, and how many a provisional prediction waits for."""

    def progress(self) -> Mapping[tuple[str, int], Progress]:
        """By (topic, partition): how far the stream is done."""

    def begin_run(self) -> int:
        """The number of a new run, for the caps on one."""

    def reserve(self, order: Order, worst: Callable[[Sequence[Query]], Spend]) -> Reservation:
        """Take pending queries, oldest first, in calls that are counted at their worst, before anyone asks.

        No call is handed out that would take a cap over its limit if it came to the worst; in one transaction. A query
        whose text was answered under the order's `key`, or is being asked, is not handed out: it ends with that label.
        """

    def release(self, calls: Sequence[Call]) -> None:
        """Undo reservations that were certainly not sent, or were turned away unread (`TeacherError`)."""

    def settle(self, settlements: Sequence[Settlement]) -> int:
        """Write down how calls ended, all or none: their labels, what is asked again, and what was spent.

        Returns how many queries that waited for these labels have ended with them. Raises `NotUnderWayError` for what
        can never be settled, and another `LedgerError` for what may succeed when tried again.
        """

    def abandon_orphans(self) -> int:
        """Mark every query a dead process left asked as lost and its call as spent; returns how many queries."""

    def begin_batch(self, token: str, teacher: str) -> int:
        """The number of a new batch, for `Order.batch`."""

    def batches(self) -> Sequence[Batch]:
        """Every batch, oldest first."""

    def batch_calls(self, number: int) -> Sequence[Call]:
        """The calls of a batch that are not settled yet."""

    def update_batch(
        self, number: int, status: BatchStatus, *, identifier: str | None = None, error: str | None = None
    ) -> None:
        """Keep what is known of a batch now."""

    def spent(self, period: str = "total") -> Spend:
        """What counts against the caps in a period: `total`, `day 2026-11-22`, `run 7`, or `run` for the newest."""

    def spend_report(self, by: str) -> Sequence[SpendRow]:
        """What was spent by `day`, `teacher`, `label` or `version`."""

    def evidence(self, teacher: str) -> Sequence[Audit]:
        """Every answer of a cascade's first teacher that the second was asked for too."""

    def questions(self, *, below: float | None, limit: int) -> Sequence[Question]:
        """Queries that people may answer: without a label or, with `below`, with one that is less sure."""

    def take(self, answers: Sequence[HumanAnswer]) -> Sequence[Taken]:
        """Write down what people said, all or none, at no cost; what was done with each. Once or often is the same."""

    def unpaid(self) -> Mapping[str, int]:
        """How many labels cost nothing, by why."""

    def audits(self) -> Sequence[Audit]:
        """Every label that was asked for again, with both answers."""

    def tell(self, state: TeacherState, until: float) -> None:
        """Keep for the gate what the teacher's state is, until that Unix time."""

    def teacher_state(self, now: float) -> TeacherState:
        """What the gate was told last, `asking` when that is old."""

    def counts(self) -> LabelCounts:
        """How many queries stand where."""

    @property
    def block(self) -> int:
        """How many offsets one tally stands for: windows begin and end with one."""

    def tallies(self, *, shadow: bool = False) -> Sequence[Tally]:
        """What was counted of all documents, by block of offsets and version; or of those scored by a shadow."""

    def judged(
        self, *, since: int = 0, newest: int | None = None, versions: Sequence[str] | None = None
    ) -> Sequence[Judged]:
        """Every query from offset `since` on, or only the `newest` so many, with how it ended, oldest first.

        With `versions` only those that one of them has answered, or scored as a shadow.
        """

    def texts(self, topic: str, partition: int, offsets: range) -> Mapping[int, str]:
        """Of the queries with these offsets the texts, by offset."""

    def labelled(self, newest: int | None = None) -> Sequence[Labelled]:
        """Every query with a valid label, or only the `newest` so many, in the order the labels came."""


class AugmentationLedger(Ledger, Protocol):
    """A ledger that keeps what the teacher writes, under the same caps as its labels."""

    def latest_run(self) -> int:
        """The number of the run that began last, whose caps count for what is written too."""

    def begin_call(self, order: Order, worst: Spend, limit: Limit, documents: int) -> tuple[int | None, str | None]:
        """Reserve one call at its worst; its number, or which cap forbids it."""

    def keep_generated(
        self, settlement: Settlement, texts: Sequence[str], *, wanted: str, round_: int, teacher: str
    ) -> Sequence[Generated]:
        """Settle a call that wrote documents, and store those that are new, in one transaction."""

    def check_generated(self, settlement: Settlement, number: int, label: str | None, confidence: float | None) -> None:
        """Settle a call that labelled a generated document, and write down what it said, in one transaction."""

    def lose_augmentation(self) -> None:
        """Give up what a process that died left behind: its calls count at their worst, its unfinished round for
        nothing."""

    def end_rounds(self, best: int) -> None:
        """Keep what rounds up to the best one confirmed; what later ones wrote is never trained on again."""

    def generated(self) -> Sequence[Generated]:
        """What the teacher wrote, oldest first."""

    def last_round(self) -> int:
        """The last augmentation round that wrote anything, 0 before the first."""


class LedgerView(Ledger, Protocol):
    """A ledger filled from the queries, labels and tallies topics; see `askance.ledger.view` for lanes."""

    lanes: int
    owned: frozenset[int]

    def offsets(self) -> Mapping[tuple[str, int], int]:
        """By (topic, partition): the next offset to read."""

    def ingest(
        self,
        queries: Sequence[Query],
        settled: Sequence[Settled],
        offsets: Mapping[tuple[str, int], int],
        counted: Sequence[Position] = (),
    ) -> None:
        """Store what the topics say and how far they were read, in one transaction; what is known already is left."""

    def unpublished(self, lane: int, limit: int) -> Sequence[Settled]:
        """What has ended here of a lane and is not on the labels topic yet, oldest first."""

    def waiting(self) -> Mapping[int, int]:
        """By lane: how many queries have not ended yet, or have and are not on the labels topic yet."""

    def published(self, settled: Sequence[Settled]) -> None:
        """These stand on the labels topic now."""


class Registry(Protocol):
    """Immutable versions and the pointer to the live one. Blocking."""

    def current(self) -> str | None:
        """The champion's name, or None. A damaged pointer falls back to the last good version."""

    def versions(self) -> Sequence[Manifest]:
        """Every published version, oldest first."""

    def manifest(self, version: str) -> Manifest:
        """One version's manifest; raises `RegistryError` when there is no such version."""

    def verified(self, version: str) -> Path:
        """The version's folder, once every file in it matches its digest; else raises `DamagedVersionError`."""

    def promote(self, version: str) -> None:
        """Make a version the champion: one atomic write."""

    def rollback(self, *, of: str | None = None) -> str:
        """Make the previous champion the champion again; returns its name. With `of`, only if that one still is it."""

    def directions(self) -> Directions:
        """What else the data plane is told; a file that is missing or damaged tells nothing."""

    def direct(self, change: Callable[[Directions], Directions]) -> Directions:
        """Replace what is told by what `change` makes of it: one atomic write."""

    def prune(self, *, keep: int) -> Sequence[str]:
        """Remove the oldest versions above `keep`, but none that is or may become live again; returns their names."""

    def pass_over(self) -> None:
        """No version that there is now waits for its promotion any more."""

    def unpromoted(self) -> str | None:
        """A version that earned its promotion but never got it, because a process died in between; or None."""


class Trainer(Protocol):
    """Fits, exports, checks, evaluates and publishes a version, out of the data plane's way."""

    async def train(self) -> Manifest:
        """A new published version, whose manifest holds the verdict on its promotion; raises `TrainingError`."""
