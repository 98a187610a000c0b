"""The data plane: every record ends as a prediction or a dead letter, by one version, waiting for nobody."""

import asyncio
import json
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from askance.calls import TeacherState
from askance.codec import DocumentDecoder
from askance.directions import Directions
from askance.errors import DamagedVersionError, RegistryError, RegistryUnreachableError, StreamError
from askance.records import Coordinates, Delivery, Position, Record
from askance.rules.budget import ShareBudget, Unlimited
from askance.rules.gate import Gate
from askance.student.slot import Slot
from askance.telemetry import Telemetry
from askance.workers.classify import ClassifyWorker
from askance.workers.watch import watch


class StubStudent:
    """Answers `a` for texts that start with it, `b` otherwise; NaN for texts that ask for it."""

    labels = ("a", "b")
    temperature = 1.0

    def __init__(self, version: str) -> None:
        self.version = version

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [[np.nan, 0.0] if "nan" in text else [2.0, 0.0] if text[0] == "a" else [0.0, 2.0] for text in texts]
        return np.array(rows, dtype=np.float32)


class ListSource:
    def __init__(self, batches: list[list[Record]]) -> None:
        self._batches = batches

    async def fetch(self, *, max_records: int, max_wait_seconds: float) -> Sequence[Record] | None:
        return self._batches.pop(0) if self._batches else None


class ListSink:
    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    async def deliver(self, delivery: Delivery) -> Sequence[Position]:
        self.deliveries.append(delivery)
        return delivery.positions

    @property
    def predictions(self) -> list[dict[str, object]]:
        return [json.loads(value) for delivery in self.deliveries for _, value in delivery.predictions]


def record(offset: int, text: str = "a text", partition: int = 0) -> Record:
    return Record(Coordinates("t", partition, offset), json.dumps({"text": text}).encode())


def worker(source: ListSource, sink: ListSink, slot: Slot, telemetry: Telemetry, **changes: object) -> ClassifyWorker:
    settings = {
        "source": source,
        "sink": sink,
        "decoder": DocumentDecoder(document_format="jsonl", text_field="text", id_field="id", max_bytes=1000),
        "slot": slot,
        "gate": Gate(),
        "budget": Unlimited(floor=0.0),
        "backlog": lambda: 0,
        "max_backlog": 10,
        "telemetry": telemetry,
        "clock": lambda: 0.0,
        "batch": 10,
        "linger_seconds": 0.0,
    }
    return ClassifyWorker(**settings | changes)


def run(batches: list[list[Record]], student: StubStudent | None, **changes: object) -> tuple[ListSink, Telemetry]:
    slot, sink, telemetry = Slot(), ListSink(), Telemetry()
    if student:
        slot.put(student)
    asyncio.run(worker(ListSource(batches), sink, slot, telemetry, **changes).run(asyncio.Event()))
    return sink, telemetry


def test_a_prediction_says_everything_about_its_decision() -> None:
    sink, telemetry = run([[record(5, "b text")]], StubStudent("v7"), gate=Gate(seed=3))
    [prediction] = sink.predictions
    confidence = 1 / (1 + np.exp(-2.0))
    assert prediction["confidence"] == pytest.approx(confidence, abs=1e-6)
    entropy = -(confidence * np.log(confidence) + (1 - confidence) * np.log(1 - confidence)) / np.log(2)
    assert prediction["uncertainty"] == pytest.approx(entropy, abs=1e-6)
    assert prediction["propensity"] == prediction["uncertainty"]
    rest = {key: prediction[key] for key in ("id", "label", "version", "seed", "topic", "partition", "offset")}
    assert rest == {
        "id": "t/0/5",
        "label": "b",
        "version": "v7",
        "seed": 3,
        "topic": "t",
        "partition": 0,
        "offset": 5,
    }
    assert telemetry.value("askance_documents_total") == 1


def test_queries_are_the_accepted_documents_and_positions_cover_every_record() -> None:
    records = [record(offset, "abc"[offset % 3] * 3) for offset in range(50)] + [
        Record(Coordinates("t", 0, 50), b"broken")
    ]
    sink, telemetry = run([records], StubStudent("v1"))
    [delivery] = sink.deliveries
    accepted = [p["offset"] for p in sink.predictions if p["accepted"]]
    assert 0 < len(accepted) < 50
    assert [query.coordinates.offset for _, query in delivery.queries] == accepted
    assert [letter.record.coordinates.offset for letter in delivery.dead_letters] == [50]
    [position] = delivery.positions
    assert msgspec.structs.replace(position, tallies=()) == Position("t", 0, 51, 50, len(accepted), 1)
    (tally,) = position.tallies
    assert tally is not None
    assert (tally.first_offset, tally.version, tally.documents, tally.uncovered) == (0, "v1", 50, 0)
    assert sum(tally.predicted.values()) == sum(tally.uncertainties) == 50
    assert tally.confidences == pytest.approx(sum(p["confidence"] for p in sink.predictions))
    assert telemetry.value("askance_dead_letters_total", reason="invalid_json") == 1
    assert telemetry.value("askance_accepted_total") == len(accepted)


def test_a_batch_over_partitions_has_a_position_for_each() -> None:
    sink, _ = run([[record(3, partition=1), record(8, partition=0), record(4, partition=1)]], StubStudent("v1"))
    found = {(p.partition, p.next_offset, p.documents) for p in sink.deliveries[0].positions}
    assert found == {(1, 5, 2), (0, 9, 1)}


def test_a_batch_of_dead_letters_still_moves_the_position() -> None:
    sink, _ = run([[Record(Coordinates("t", 0, 0), None)]], StubStudent("v1"))
    assert sink.deliveries[0].positions == [Position("t", 0, 1, 0, 0, 1)]


def test_without_a_student_everything_within_the_budget_is_accepted() -> None:
    budget = ShareBudget(share=0.5, floor=0.0, exponent=1.0, advance=5, horizon=100)
    sink, telemetry = run([[record(o) for o in range(10)], [record(o) for o in range(10, 20)]], None, budget=budget)
    first = sink.predictions[:10]
    assert {p["reason"] for p in first} == {"no_student"}
    assert {(p["label"], p["version"], p["propensity"], p["accepted"]) for p in first} == {(None, None, 1.0, True)}
    assert {p["propensity"] for p in sink.predictions[10:]} == {0.5}
    assert telemetry.value("askance_unanswered_total", reason="no_student") == 20


def test_a_row_of_nan_is_flagged_and_still_drawn() -> None:
    sink, telemetry = run([[record(0, "a"), record(1, "a nan")]], StubStudent("v1"))
    sane, broken = sink.predictions
    assert sane["label"] == "a"
    assert (broken["label"], broken["confidence"], broken["reason"]) == (None, None, "non_finite")
    assert (broken["uncertainty"], broken["propensity"], broken["accepted"]) == (1.0, 1.0, True)
    assert telemetry.value("askance_unanswered_total", reason="non_finite") == 1


def test_the_gate_closes_while_the_teacher_is_behind() -> None:
    sink, telemetry = run([[record(0, "a nan")]], StubStudent("v1"), backlog=lambda: 10)
    assert (sink.predictions[0]["propensity"], sink.predictions[0]["accepted"]) == (0.0, False)
    assert telemetry.value("askance_gate_closed_documents_total") == 1


@pytest.mark.parametrize(
    ("state", "propensity"), [(TeacherState.ASKING, 1.0), (TeacherState.PAUSED, 0.25), (TeacherState.SPENT, 0.0)]
)
@pytest.mark.parametrize("student", [None, StubStudent("v1")], ids=["blind", "scored"])
def test_the_gate_hears_of_the_teacher_before_the_draw(
    student: StubStudent | None, state: TeacherState, propensity: float
) -> None:
    records = [record(offset, "a nan") for offset in range(400)]
    sink, _ = run([records[:200], records[200:]], student, teacher_state=lambda: state, budget=Unlimited(floor=0.25))
    assert {one["propensity"] for one in sink.predictions} == {propensity}
    accepted = sum(one["accepted"] for one in sink.predictions)
    assert accepted == pytest.approx(400 * propensity, abs=45), "nothing is vetoed, paused or not"


def test_batch_size_changes_no_decision() -> None:
    records = [record(offset, "ab"[offset % 2] + "nan" * (offset % 5 == 0)) for offset in range(200)]
    whole, _ = run([records], StubStudent("v1"))
    pieces, _ = run([records[i : i + 7] for i in range(0, 200, 7)], StubStudent("v1"))
    assert whole.predictions == pieces.predictions


def test_a_batch_is_scored_by_the_version_it_began_with() -> None:
    slot, sink = Slot(), ListSink()

    class Swapping(StubStudent):
        def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
            slot.put(StubStudent("new"))
            return super().logits(texts)

    slot.put(Swapping("old"))
    source = ListSource([[record(0), record(1)], [record(2)]])
    asyncio.run(worker(source, sink, slot, Telemetry()).run(asyncio.Event()))
    assert [p["version"] for p in sink.predictions] == ["old", "old", "new"]


def test_only_what_is_durable_is_counted() -> None:
    class Losing(ListSink):
        async def deliver(self, delivery: Delivery) -> Sequence[Position]:
            return [position for position in delivery.positions if position.partition == 0]

    telemetry, slot = Telemetry(), Slot()
    batch = [record(0), record(1, partition=1), Record(Coordinates("t", 1, 2), None)]
    asyncio.run(worker(ListSource([batch]), Losing(), slot, telemetry).run(asyncio.Event()))
    assert telemetry.value("askance_documents_total") == 1
    assert telemetry.value("askance_dead_letters_total", reason="null_value") == 0


def test_a_failing_delivery_ends_the_worker() -> None:
    class Failing(ListSink):
        async def deliver(self, delivery: Delivery) -> Sequence[Position]:
            raise StreamError("disk full")

    with pytest.raises(StreamError, match="disk full"):
        asyncio.run(worker(ListSource([[record(0)]] * 3), Failing(), Slot(), Telemetry()).run(asyncio.Event()))


def test_a_failing_delivery_is_noticed_while_no_document_comes() -> None:
    class Failing(ListSink):
        async def deliver(self, delivery: Delivery) -> Sequence[Position]:
            raise StreamError("broken pipe")

    class Idle(ListSource):
        async def fetch(self, *, max_records: int, max_wait_seconds: float) -> Sequence[Record] | None:
            return await super().fetch(max_records=max_records, max_wait_seconds=max_wait_seconds) or []

    async def scenario() -> None:
        running = worker(Idle([[record(0)]]), Failing(), Slot(), Telemetry()).run(asyncio.Event())
        await asyncio.wait_for(running, 10)

    with pytest.raises(StreamError, match="broken pipe"):
        asyncio.run(scenario())


def test_a_source_that_fails_waits_for_the_delivery_under_way() -> None:
    class Slow(ListSink):
        async def deliver(self, delivery: Delivery) -> Sequence[Position]:
            for _ in range(20):
                await asyncio.sleep(0)
            return await super().deliver(delivery)

    class Failing(ListSource):
        async def fetch(self, *, max_records: int, max_wait_seconds: float) -> Sequence[Record] | None:
            records = await super().fetch(max_records=max_records, max_wait_seconds=max_wait_seconds)
            if records is None:
                raise StreamError("became shorter")
            return records

    sink = Slow()
    with pytest.raises(StreamError, match="became shorter"):
        asyncio.run(worker(Failing([[record(0)]]), sink, Slot(), Telemetry()).run(asyncio.Event()))
    assert [p["offset"] for p in sink.predictions] == [0]


def test_stop_delivers_what_was_fetched_and_fetches_no_more() -> None:
    stop, sink, slot = asyncio.Event(), ListSink(), Slot()

    class Stopping(ListSource):
        async def fetch(self, *, max_records: int, max_wait_seconds: float) -> Sequence[Record] | None:
            stop.set()
            return await super().fetch(max_records=max_records, max_wait_seconds=max_wait_seconds)

    asyncio.run(worker(Stopping([[record(0)], [record(1)]]), sink, slot, Telemetry()).run(stop))
    assert [p["offset"] for p in sink.predictions] == [0]


class ScriptedRegistry:
    def __init__(self, answers: list[str | Exception | None], stop: asyncio.Event) -> None:
        self._answers = answers
        self._stop = stop

    def current(self) -> str | None:
        answer = self._answers.pop(0)
        if not self._answers:
            self._stop.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def directions(self) -> Directions:
        return Directions()


def test_the_watch_tries_again_what_it_could_not_reach() -> None:
    loads: list[str] = []

    def load(version: str) -> StubStudent:
        loads.append(version)
        if len(loads) < 3:
            msg = "away"
            raise RegistryUnreachableError(msg)
        return StubStudent(version)

    async def scenario() -> tuple[Slot, Telemetry]:
        stop, slot, telemetry = asyncio.Event(), Slot(), Telemetry()
        await watch(
            registry=ScriptedRegistry(["v1"] * 5, stop),
            load=load,
            slot=slot,
            telemetry=telemetry,
            interval_seconds=0.0,
            stop=stop,
        )
        return slot, telemetry

    slot, telemetry = asyncio.run(scenario())
    assert loads == ["v1"] * 3
    assert slot.student is not None
    assert telemetry.value("askance_swaps_total") == 1
    assert telemetry.value("askance_swap_failures_total") == 0


def test_the_watch_swaps_what_loads_and_refuses_what_does_not_once() -> None:
    loads: list[str] = []

    def load(version: str) -> StubStudent:
        loads.append(version)
        if version == "bad":
            msg = "digest mismatch"
            raise DamagedVersionError(msg)
        return StubStudent(version)

    async def scenario() -> tuple[Slot, Telemetry]:
        stop, slot, telemetry = asyncio.Event(), Slot(), Telemetry()
        answers = [None, "v1", "v1", "bad", "bad", RegistryError("gone"), OSError("unplugged"), "v2"]
        await watch(
            registry=ScriptedRegistry(answers, stop),
            load=load,
            slot=slot,
            telemetry=telemetry,
            interval_seconds=0.0,
            stop=stop,
        )
        return slot, telemetry

    slot, telemetry = asyncio.run(scenario())
    assert loads == ["v1", "bad", "v2"]
    assert slot.student is not None
    assert slot.student.version == "v2"
    assert telemetry.value("askance_swaps_total") == 2
    assert telemetry.value("askance_swap_failures_total") == 1
