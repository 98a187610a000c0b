"""The data plane: fetch, score, draw, deliver.

Owns two invariants: a batch (under a canary, each of its two parts) is scored by exactly one version, read from the
slot once, and every prediction says which; and nothing here waits for the teacher, the trainer or the registry.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from askance.calls import TeacherState
from askance.codec import encode_batch
from askance.records import Delivery, Position, Standing
from askance.rules.batching import BatchSize
from askance.rules.gate import CLOSED, Opening
from askance.rules.serving import Part, alone, parts_of, predict, query_of, shadow
from askance.rules.tally import tallies_of
from askance.tracing import OFF, traceparent_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from askance.codec import DocumentDecoder
    from askance.directions import Directions
    from askance.predictions import Predictions
    from askance.protocols import Sink, Source
    from askance.records import DeadLetter, Document, Query, Record, Tally
    from askance.rules.budget import Budget
    from askance.rules.gate import Gate
    from askance.rules.seeding import SeedSet
    from askance.rules.serving import Contract, Score
    from askance.student.slot import Live, Slot
    from askance.telemetry import Telemetry
    from askance.tracing import Span, Tracer


class ClassifyWorker:
    """Classifies a source into a sink until the source ends or `stop` is set.

    `backlog` says, without blocking, how many queries wait for the teacher: from `max_backlog` on the gate is closed.
    `teacher_state` says, likewise, how the teacher is: the gate is told before a batch is drawn, never after. Under a
    `contract` it is asked about every document that the version is not sure enough of, and the budget is not used.
    `seed_set` picks what is asked about first, while there is no student. `scores` gives a student's logits and, where
    a committee stands in the slot, how far it disagrees. Batches are made smaller than `batch` documents where scoring
    one takes longer than `latency_target_seconds`.
    """

    def __init__(
        self,
        *,
        source: Source,
        sink: Sink,
        decoder: DocumentDecoder,
        slot: Slot,
        gate: Gate,
        budget: Budget,
        backlog: Callable[[], int],
        max_backlog: int,
        teacher_state: Callable[[], TeacherState] = lambda: TeacherState.ASKING,
        telemetry: Telemetry,
        clock: Callable[[], float],
        batch: int,
        linger_seconds: float,
        contract: Contract | None = None,
        unix_time: Callable[[], float] = time.time,
        seed_set: SeedSet | None = None,
        scores: Score = alone,
        latency_target_seconds: float = 0.1,
        tracer: Tracer = OFF,
    ) -> None:
        self._tracer = tracer
        self._seed_set = seed_set
        self._scores = scores
        self._source = source
        self._sink = sink
        self._decoder = decoder
        self._slot = slot
        self._gate = gate
        self._budget = budget
        self._backlog = backlog
        self._max_backlog = max_backlog
        self._teacher_state = teacher_state
        self._telemetry = telemetry
        self._clock = clock
        self._size = BatchSize(most=batch, target_seconds=latency_target_seconds)
        self._linger = linger_seconds
        self._contract = contract
        self._unix_time = unix_time

    async def run(self, stop: asyncio.Event) -> None:
        """Classify; a batch that was fetched is delivered before this returns."""
        loop = asyncio.get_running_loop()
        delivering: asyncio.Task[None] | None = None
        try:
            with ThreadPoolExecutor(max_workers=1, thread_name_prefix="score") as pool:
                while not stop.is_set():
                    began_ns = self._tracer.now_ns()
                    records = await self._source.fetch(max_records=self._size.documents, max_wait_seconds=self._linger)
                    if records is None:
                        break
                    if not records:
                        if delivering is not None and delivering.done():
                            # A delivery that failed must not wait for the next document to be noticed.
                            await delivering
                            delivering = None
                        await asyncio.sleep(0)
                        continue
                    batch = self._begin(records, began_ns)
                    with batch.part("score"):
                        delivery = await loop.run_in_executor(pool, self.score, records)
                    # One delivery is under way while the next batch is fetched and scored.
                    if delivering is not None:
                        await delivering
                    delivering = asyncio.create_task(self._deliver(delivery, batch))
        finally:
            # Even when the source has failed: the sink must not be closed under a delivery.
            if delivering is not None:
                await delivering

    def _begin(self, records: Sequence[Record], began_ns: int) -> Span:
        traces = (traceparent_of(record.headers) for record in records)
        batch = self._tracer.begin("askance.batch", traces, began_ns=began_ns, records=len(records))
        batch.was("fetch", began_ns)
        return batch

    async def _deliver(self, delivery: Delivery, batch: Span) -> None:
        with batch.part("deliver"):
            delivered = await self._sink.deliver(delivery)
        batch.end()
        self._count(delivery, delivered)

    def score(self, records: Sequence[Record]) -> Delivery:
        """One batch, from bytes to bytes, on one thread: decode, features, student, gate, encode."""
        started = self._clock()
        documents, dead_letters = self._decoder.decode(records)
        predictions = shadows = None
        if documents:
            predictions, shadows = self._predict(documents, self._slot.live)
        delivery = Delivery(
            predictions=_sent(documents, predictions),
            queries=[] if predictions is None else self._queries(documents, predictions, shadows),
            dead_letters=dead_letters,
            positions=_positions(records, predictions, shadows, dead_letters),
        )
        if predictions is not None:
            self._count_predictions(predictions)
        seconds = self._clock() - started
        self._telemetry.batches.observe(seconds)
        self._size.took(len(records), seconds)
        return delivery

    def _count_predictions(self, predictions: Predictions) -> None:
        for number, answerer in enumerate(predictions.answerers):
            unanswered = int(np.count_nonzero(~predictions.finite & (predictions.answerer == number)))
            if unanswered:
                self._telemetry.unanswered.labels(reason=answerer.missing).inc(unanswered)
        times = np.bincount(predictions.standing, minlength=len(predictions.standings)).tolist()
        for standing, count in zip(predictions.standings, times, strict=True):
            if standing is not None and count:
                self._telemetry.standings.labels(standing=standing).inc(count)

    def _predict(self, documents: Sequence[Document], live: Live) -> tuple[Predictions, Predictions | None]:
        """The batch's predictions, and what a shadow says of it."""
        directions, challenger = live.directions, live.challenger
        opening = self._opening(len(documents), directions, blind=live.student is None)
        chosen = None
        if live.student is None and self._seed_set and not self._seed_set.is_done and opening.scale > 0.0:
            # While a seed set is picked, what is not in it is asked about at the floor's rate.
            chosen = self._seed_set.pick([document.text for document in documents])
            opening = opening.shut()
        parts = [
            Part(student, places, directions.threshold(student.version if student is not None else None))
            for student, places in parts_of(documents, live.student, challenger, directions.challenger)
        ]
        predictions = predict(
            documents,
            parts,
            gate=self._gate,
            opening=opening,
            contract=self._contract,
            scores=self._scores,
            chosen=chosen,
        )
        if self._contract is None:
            accepted = int(np.count_nonzero(predictions.accepted))
            self._budget.spent(predictions.uncertainties, accepted, predictions.names())
        if challenger is None or not directions.is_shadow(challenger.version):
            return predictions, None
        return predictions, shadow(documents, challenger, predictions, self._gate)

    def _opening(self, documents: int, directions: Directions, *, blind: bool) -> Opening:
        now = self._unix_time()
        if self._contract is not None:
            # Who is not sure enough is asked about anyway; of the others, all alike.
            opening = Opening(self._contract.audit_share, 0.0)
        else:
            opening = self._budget.opening(documents, now=self._clock(), blind=blind)
            if self._teacher_state() is TeacherState.PAUSED:
                opening = opening.shut()
        opening = opening._replace(floor=max(opening.floor, directions.floor(now)))
        if self._teacher_state() is TeacherState.SPENT or self._backlog() >= self._max_backlog:
            opening = CLOSED
        if opening == CLOSED:
            self._telemetry.gate_closed.inc(documents)
        self._telemetry.gate_scale.set(opening.scale)
        return opening

    def _queries(
        self, documents: Sequence[Document], predictions: Predictions, shadows: Predictions | None
    ) -> list[tuple[Record, Query]]:
        now = self._unix_time()
        places = np.flatnonzero(predictions.accepted)
        accepted = [documents[place] for place in places.tolist()]
        shadowed = [None] * len(accepted) if shadows is None else shadows.rows(places)
        return [
            (document.record, query_of(document, prediction, other, contract=self._contract, now=now))
            for document, prediction, other in zip(accepted, predictions.rows(places), shadowed, strict=True)
        ]

    def _count(self, delivery: Delivery, delivered: Sequence[Position]) -> None:
        durable = {(position.topic, position.partition) for position in delivered}
        self._telemetry.refused.inc(len(delivery.positions) - len(delivered))
        self._telemetry.documents.inc(sum(position.documents for position in delivered))
        self._telemetry.accepted.inc(sum(position.accepted for position in delivered))
        for letter in delivery.dead_letters:
            if letter.record.coordinates[:2] in durable:
                self._telemetry.dead_letters.labels(reason=letter.reason).inc()


def _sent(documents: Sequence[Document], predictions: Predictions | None) -> list[tuple[Record, bytes | None]]:
    """Each document's record with its encoded prediction, None where that is held back."""
    if predictions is None:
        return []
    values: list[bytes | None] = [*encode_batch(predictions)]
    if Standing.HELD in predictions.standings:
        held = predictions.standings.index(Standing.HELD)
        for place in np.flatnonzero(predictions.standing == held).tolist():
            values[place] = None
    return [(document.record, value) for document, value in zip(documents, values, strict=True)]


def _positions(
    records: Sequence[Record],
    predictions: Predictions | None,
    shadows: Predictions | None,
    dead_letters: Sequence[DeadLetter],
) -> list[Position]:
    ends = {record.coordinates[:2]: record for record in records}
    rows: dict[tuple[str, int], NDArray[np.int64]] = {}
    if predictions is not None:
        rows = {(topic, partition): own for topic, partition, own in predictions.places.partitioned()}
    letters = Counter(letter.record.coordinates[:2] for letter in dead_letters)
    positions = []
    for partition, last in ends.items():
        own = rows.get(partition)
        tallies: tuple[Tally, ...] = ()
        if own is not None and predictions is not None:
            tallies = tallies_of(predictions, own)
            if shadows is not None:
                tallies += tallies_of(shadows, own, is_shadow=True)
        position = Position(
            *partition,
            next_offset=last.coordinates.offset + 1,
            documents=0 if own is None else len(own),
            accepted=0 if own is None or predictions is None else int(np.count_nonzero(predictions.accepted[own])),
            dead_letters=letters[partition],
            lease=last.lease,
            tallies=tallies,
        )
        positions.append(position)
    return positions
