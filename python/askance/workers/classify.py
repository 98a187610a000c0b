"""The data plane: fetch, score, draw, deliver.

Owns two invariants: a batch is scored by exactly one version, read from the slot once, and every prediction says
which; and nothing here waits for the teacher, the trainer or the registry.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from askance.calls import TeacherState
from askance.codec import encode_predictions
from askance.records import Delivery, Position, Prediction, Query, Reason
from askance.rules.gate import CLOSED, Opening
from askance.rules.tally import tally_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from askance.codec import DocumentDecoder
    from askance.protocols import Sink, Source, Student
    from askance.records import Coordinates, DeadLetter, Document, Record
    from askance.rules.budget import Budget
    from askance.rules.gate import Draws, Gate
    from askance.rules.seeding import SeedSet
    from askance.student.slot import Slot
    from askance.telemetry import Telemetry


def _logits(student: Student, texts: Sequence[str]) -> tuple[NDArray[np.float32], None]:
    return student.logits(texts), None


class ClassifyWorker:
    """Classifies a source into a sink until the source ends or `stop` is set.

    `backlog` says, without blocking, how many queries wait for the teacher: from `max_backlog` on the gate is closed.
    `teacher_state` says, likewise, how the teacher is: the gate is told before a batch is drawn, never after.
    `seed_set` picks what is asked about first, while there is no student. `scores` gives the student's logits and,
    where a committee stands in the slot, how far it disagrees.
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
        seed_set: SeedSet | None = None,
        scores: Callable[[Student, Sequence[str]], tuple[NDArray[np.float32], NDArray[np.float32] | None]] = _logits,
    ) -> None:
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
        self._batch = batch
        self._linger = linger_seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Classify; a batch that was fetched is delivered before this returns."""
        loop = asyncio.get_running_loop()
        delivering: asyncio.Task[None] | None = None
        try:
            with ThreadPoolExecutor(max_workers=1, thread_name_prefix="score") as pool:
                while not stop.is_set():
                    records = await self._source.fetch(max_records=self._batch, max_wait_seconds=self._linger)
                    if records is None:
                        break
                    if not records:
                        if delivering is not None and delivering.done():
                            # A delivery that failed must not wait for the next document to be noticed.
                            await delivering
                            delivering = None
                        await asyncio.sleep(0)
                        continue
                    delivery = await loop.run_in_executor(pool, self.score, records)
                    # One delivery is under way while the next batch is fetched and scored.
                    if delivering is not None:
                        await delivering
                    delivering = asyncio.create_task(self._deliver(delivery))
        finally:
            # Even when the source has failed: the sink must not be closed under a delivery.
            if delivering is not None:
                await delivering

    async def _deliver(self, delivery: Delivery) -> None:
        self._count(delivery, await self._sink.deliver(delivery))

    def score(self, records: Sequence[Record]) -> Delivery:
        """One batch, from bytes to bytes, on one thread: decode, features, student, gate, encode."""
        started = self._clock()
        documents, dead_letters = self._decoder.decode(records)
        predictions: list[Prediction] = []
        queries: list[Query] = []
        if documents:
            judged = self._judge(documents, self._slot.student)
            predictions = _predictions(documents, judged, self._gate.seed)
            queries = [
                _query(document, prediction)
                for document, prediction in zip(documents, predictions, strict=True)
                if prediction.accepted
            ]
        encoded = encode_predictions(predictions)
        delivery = Delivery(
            predictions=[(document.record, value) for document, value in zip(documents, encoded, strict=True)],
            queries=queries,
            dead_letters=dead_letters,
            positions=_positions(records, predictions, dead_letters),
        )
        for prediction in predictions:
            if prediction.reason is not None:
                self._telemetry.unanswered.labels(reason=prediction.reason).inc()
        self._telemetry.batches.observe(self._clock() - started)
        return delivery

    def _judge(self, documents: Sequence[Document], student: Student | None) -> _Judged:
        coordinates = [document.record.coordinates for document in documents]
        opening = self._opening(len(documents), blind=student is None)
        if student is None:
            draws = self._draw_blindly(documents, coordinates, opening)
            judged = _Judged(
                version=None,
                labels=[None] * len(documents),
                confidences=[None] * len(documents),
                uncertainties=np.ones(len(documents), dtype=np.float32),
                propensities=draws.propensities,
                accepted=draws.accepted,
            )
        else:
            logits, disagreement = self._scores(student, [document.text for document in documents])
            decisions = self._gate.decide(
                logits,
                temperature=student.temperature,
                opening=opening,
                coordinates=coordinates,
                labels=student.labels,
                disagreement=disagreement,
            )
            finite = decisions.finite.tolist()
            judged = _Judged(
                version=student.version,
                labels=[
                    student.labels[label] if known else None
                    for label, known in zip(decisions.labels.tolist(), finite, strict=True)
                ],
                confidences=[
                    confidence if known else None
                    for confidence, known in zip(decisions.confidences.tolist(), finite, strict=True)
                ],
                uncertainties=decisions.uncertainties,
                propensities=decisions.propensities,
                accepted=decisions.accepted,
            )
        self._budget.spent(judged.uncertainties, int(judged.accepted.sum()), judged.labels)
        return judged

    def _draw_blindly(
        self, documents: Sequence[Document], coordinates: Sequence[Coordinates], opening: Opening
    ) -> Draws:
        """While a seed set is picked, what is not in it is asked about at the floor's rate."""
        if self._seed_set is None or self._seed_set.is_done or opening.scale == 0.0:
            return self._gate.draw(opening, coordinates)
        chosen = self._seed_set.pick([document.text for document in documents])
        return self._gate.draw(opening.shut(), coordinates, chosen=chosen)

    def _opening(self, documents: int, *, blind: bool) -> Opening:
        opening = self._budget.opening(documents, now=self._clock(), blind=blind)
        state = self._teacher_state()
        if state is TeacherState.PAUSED:
            opening = opening.shut()
        if state is TeacherState.SPENT or self._backlog() >= self._max_backlog:
            opening = CLOSED
        if opening == CLOSED:
            self._telemetry.gate_closed.inc(documents)
        self._telemetry.gate_scale.set(opening.scale)
        return opening

    def _count(self, delivery: Delivery, delivered: Sequence[Position]) -> None:
        durable = {(position.topic, position.partition) for position in delivered}
        self._telemetry.refused.inc(len(delivery.positions) - len(delivered))
        self._telemetry.documents.inc(sum(position.documents for position in delivered))
        self._telemetry.accepted.inc(sum(position.accepted for position in delivered))
        for letter in delivery.dead_letters:
            if letter.record.coordinates[:2] in durable:
                self._telemetry.dead_letters.labels(reason=letter.reason).inc()


class _Judged(NamedTuple):
    """What was decided of a batch; every sequence has one entry a document."""

    version: str | None
    labels: list[str | None]
    confidences: list[float | None]
    uncertainties: NDArray[np.float32]
    propensities: NDArray[np.float32]
    accepted: NDArray[np.bool_]


def _predictions(documents: Sequence[Document], judged: _Judged, seed: int) -> list[Prediction]:
    # `tolist` gives each float32 as the very float64 of the same value, so JSON carries the propensity exactly.
    missing = Reason.NO_STUDENT if judged.version is None else Reason.NON_FINITE
    return [
        Prediction(
            id=document.id,
            label=label,
            confidence=confidence,
            uncertainty=uncertainty,
            propensity=propensity,
            accepted=accepted,
            version=judged.version,
            seed=seed,
            topic=document.record.coordinates.topic,
            partition=document.record.coordinates.partition,
            offset=document.record.coordinates.offset,
            reason=missing if label is None else None,
        )
        for document, label, confidence, uncertainty, propensity, accepted in zip(
            documents,
            judged.labels,
            judged.confidences,
            judged.uncertainties.tolist(),
            judged.propensities.tolist(),
            judged.accepted.tolist(),
            strict=True,
        )
    ]


def _query(document: Document, prediction: Prediction) -> Query:
    return Query(
        coordinates=document.record.coordinates,
        document_id=document.id,
        text=document.text,
        predicted=prediction.label,
        confidence=prediction.confidence,
        uncertainty=prediction.uncertainty,
        propensity=prediction.propensity,
        version=prediction.version,
        seed=prediction.seed,
    )


def _positions(
    records: Sequence[Record], predictions: Sequence[Prediction], dead_letters: Sequence[DeadLetter]
) -> list[Position]:
    ends = {record.coordinates[:2]: record.coordinates.offset + 1 for record in records}
    leases = {record.coordinates[:2]: record.lease for record in records}
    of_partition: dict[tuple[str, int], list[Prediction]] = {partition: [] for partition in ends}
    letters = dict.fromkeys(ends, 0)
    for prediction in predictions:
        of_partition[prediction.topic, prediction.partition].append(prediction)
    for letter in dead_letters:
        letters[letter.record.coordinates[:2]] += 1
    return [
        Position(
            *partition,
            next_offset=next_offset,
            documents=len(of_partition[partition]),
            accepted=sum(prediction.accepted for prediction in of_partition[partition]),
            dead_letters=letters[partition],
            lease=leases[partition],
            tally=tally_of(of_partition[partition]),
        )
        for partition, next_offset in ends.items()
    ]
