"""The teach worker against doubles: how queries end, what stops it, and that nothing is asked twice."""

from __future__ import annotations

import asyncio
import threading

import pytest

from askance.errors import LedgerError, TeacherError
from askance.records import Answer, LabelCounts, Outcome
from askance.telemetry import Telemetry
from askance.workers.teach import GRACE_SECONDS, POLL_SECONDS, TeachWorker
from tests.doubles import MemoryLedger, ScriptedTeacher, SkippedSleep, never, query, until

LABELS = ("yes", "no")


class Bench:
    """A worker with its surroundings."""

    def __init__(self, ledger, teacher, *, sleep=None):
        self.ledger = ledger
        self.teacher = teacher
        self.telemetry = Telemetry()
        self.sleep = sleep or SkippedSleep()
        self.drain = asyncio.Event()
        self.stop = asyncio.Event()
        self.worker = TeachWorker(
            ledger=ledger, teacher=teacher, labels=LABELS, telemetry=self.telemetry, sleep=self.sleep
        )

    async def run(self):
        async with asyncio.timeout(10):
            await self.worker.run(drain=self.drain, stop=self.stop)

    async def drained(self):
        self.drain.set()
        await self.run()

    def outcomes(self):
        return {
            outcome: self.telemetry.value("askance_labels_total", outcome=outcome)
            for outcome in ("labelled", "invalid", "failed", "lost")
        }


@pytest.mark.asyncio
async def test_drains_every_pending_query_and_ends() -> None:
    bench = Bench(MemoryLedger(query(i) for i in range(100)), ScriptedTeacher(concurrency=7))
    await bench.drained()
    assert bench.ledger.counts() == LabelCounts(labelled=100)
    assert set(bench.teacher.asked.values()) == {1}
    assert bench.teacher.most_under_way == 7
    assert bench.teacher.closed
    assert bench.outcomes() == {"labelled": 100, "invalid": 0, "failed": 0, "lost": 0}
    assert bench.telemetry.value("askance_teacher_seconds_count") == 100


@pytest.mark.asyncio
async def test_reserves_no_more_than_its_free_slots_and_settles_in_groups() -> None:
    bench = Bench(MemoryLedger(query(i) for i in range(20)), ScriptedTeacher(concurrency=5))
    await bench.drained()
    assert bench.ledger.steps == [("reserve", 5), ("settle", 5)] * 4


@pytest.mark.asyncio
async def test_asks_oldest_first() -> None:
    bench = Bench(MemoryLedger(query(i) for i in range(30)), ScriptedTeacher(concurrency=4))
    await bench.drained()
    assert list(bench.teacher.asked) == [f"t/0/{i}" for i in range(30)]


@pytest.mark.asyncio
async def test_each_answer_ends_as_it_should() -> None:
    answers = [
        Answer("yes", confidence=0.9, confidence_source="recorded"),
        Answer("maybe"),
        Answer(None, error="timed out"),
        Answer("yes", error="the reply was cut off at the token limit"),
    ]
    bench = Bench(
        MemoryLedger(query(i) for i in range(4)),
        ScriptedTeacher(lambda asked: answers[asked.coordinates.offset]),
    )
    await bench.drained()
    labels = [bench.ledger.labels[query(i).coordinates] for i in range(4)]
    assert [(label.outcome, label.label) for label in labels] == [
        (Outcome.LABELLED, "yes"),
        (Outcome.INVALID, None),
        (Outcome.FAILED, None),
        (Outcome.INVALID, None),
    ]
    assert [label.answer for label in labels] == answers, "what the teacher said is kept as it came"
    assert {label.teacher for label in labels} == {"scripted"}
    assert bench.outcomes() == {"labelled": 1, "invalid": 2, "failed": 1, "lost": 0}


@pytest.mark.asyncio
async def test_orphans_of_a_dead_process_are_lost_and_never_asked() -> None:
    ledger = MemoryLedger(query(i) for i in range(10))
    ledger.reserve(4)
    bench = Bench(ledger, ScriptedTeacher())
    await bench.drained()
    assert ledger.counts() == LabelCounts(labelled=6, lost=4)
    assert set(bench.teacher.asked) == {f"t/0/{i}" for i in range(4, 10)}
    assert bench.outcomes()["lost"] == 4


@pytest.mark.asyncio
async def test_is_reserved_in_the_ledger_before_it_is_asked() -> None:
    ledger = MemoryLedger(query(i) for i in range(50))
    seen = []

    def behaviour(asked):
        seen.append(ledger._status[asked.coordinates])
        return Answer("yes")

    await Bench(ledger, ScriptedTeacher(behaviour)).drained()
    assert seen == ["asked"] * 50


@pytest.mark.asyncio
async def test_finds_queries_that_come_while_it_waits() -> None:
    bench = Bench(MemoryLedger(), ScriptedTeacher())
    running = asyncio.create_task(bench.run())
    await until(lambda: POLL_SECONDS in bench.sleep.pauses)
    bench.ledger.commit([query(i) for i in range(9)], (), None)
    await until(lambda: bench.ledger.counts().labelled == 9)
    bench.drain.set()
    await running
    assert set(bench.sleep.pauses[:-1]) == {POLL_SECONDS}


@pytest.mark.asyncio
async def test_a_slow_call_does_not_keep_the_free_slots_from_looking_again() -> None:
    slow = asyncio.Event()

    class OneSlow(ScriptedTeacher):
        async def ask(self, asked):
            if asked.coordinates.offset == 0:
                await slow.wait()
            return await super().ask(asked)

    bench = Bench(MemoryLedger([query(0)]), OneSlow(concurrency=2))
    running = asyncio.create_task(bench.run())
    await until(lambda: bench.ledger.counts().asked == 1)
    bench.ledger.commit([query(i) for i in range(1, 5)], (), None)
    await until(lambda: bench.ledger.counts().labelled == 4)
    bench.drain.set()
    slow.set()
    await running
    assert bench.ledger.counts() == LabelCounts(labelled=5)


@pytest.mark.asyncio
async def test_drain_waits_for_what_is_under_way() -> None:
    gate = asyncio.Event()
    bench = Bench(MemoryLedger([query(0)]), ScriptedTeacher(gate=gate))
    running = asyncio.create_task(bench.drained())
    await until(lambda: bench.teacher.under_way == 1)
    assert not running.done()
    gate.set()
    await running
    assert bench.ledger.counts() == LabelCounts(labelled=1)


@pytest.mark.asyncio
async def test_stop_lets_calls_under_way_end_and_asks_nothing_more() -> None:
    gate = asyncio.Event()
    teacher = ScriptedTeacher(gate=gate, concurrency=3)
    bench = Bench(MemoryLedger(query(i) for i in range(10)), teacher, sleep=never())
    running = asyncio.create_task(bench.run())
    await until(lambda: teacher.under_way == 3)
    bench.stop.set()
    gate.set()
    await running
    assert bench.ledger.counts() == LabelCounts(labelled=3, pending=7)


@pytest.mark.asyncio
async def test_stop_cuts_off_what_outlasts_the_grace_time_and_counts_it_lost() -> None:
    teacher = ScriptedTeacher(gate=asyncio.Event(), concurrency=3)
    bench = Bench(MemoryLedger(query(i) for i in range(10)), teacher)
    running = asyncio.create_task(bench.run())
    await until(lambda: teacher.under_way == 3)
    bench.stop.set()
    await running
    assert bench.ledger.counts() == LabelCounts(lost=3, pending=7)
    assert bench.sleep.pauses[-1] == GRACE_SECONDS
    assert bench.outcomes()["lost"] == 3
    assert teacher.under_way == 0


@pytest.mark.asyncio
async def test_queries_reserved_while_it_was_stopped_are_given_back() -> None:
    bench = Bench(MemoryLedger(query(i) for i in range(10)), ScriptedTeacher())
    loop = asyncio.get_running_loop()
    reserve = bench.ledger.reserve

    def reserve_then_stop(limit):
        taken = reserve(limit)
        asyncio.run_coroutine_threadsafe(_set(bench.stop), loop).result(5)
        return taken

    bench.ledger.reserve = reserve_then_stop
    await bench.run()
    assert bench.ledger.counts() == LabelCounts(pending=10)
    assert not bench.teacher.asked


async def _set(event: asyncio.Event) -> None:
    event.set()


@pytest.mark.asyncio
async def test_a_teacher_error_stops_it_keeps_answers_and_gives_the_rest_back() -> None:
    def behaviour(asked):
        return TeacherError("no such model") if asked.coordinates.offset >= 6 else Answer("yes")

    bench = Bench(MemoryLedger(query(i) for i in range(20)), ScriptedTeacher(behaviour, concurrency=4))
    with pytest.raises(TeacherError, match="no such model"):
        await bench.drained()
    assert bench.ledger.counts() == LabelCounts(labelled=6, pending=14)
    assert sum(bench.teacher.asked.values()) == 8


@pytest.mark.asyncio
async def test_an_unexpected_exception_is_raised_and_its_query_never_asked_again() -> None:
    def behaviour(asked):
        return ZeroDivisionError("a bug") if asked.coordinates.offset == 0 else Answer("yes")

    bench = Bench(MemoryLedger(query(i) for i in range(8)), ScriptedTeacher(behaviour, concurrency=2))
    with pytest.raises(ZeroDivisionError):
        await bench.drained()
    assert bench.ledger.counts() == LabelCounts(labelled=1, lost=1, pending=6)


@pytest.mark.asyncio
async def test_cancelling_it_settles_what_was_under_way_as_lost() -> None:
    teacher = ScriptedTeacher(gate=asyncio.Event(), concurrency=3)
    bench = Bench(MemoryLedger(query(i) for i in range(5)), teacher, sleep=never())
    running = asyncio.create_task(bench.run())
    await until(lambda: teacher.under_way == 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.ledger.counts() == LabelCounts(lost=3, pending=2)


@pytest.mark.asyncio
async def test_a_broken_ledger_ends_it() -> None:
    bench = Bench(MemoryLedger(query(i) for i in range(5)), ScriptedTeacher())

    def settle(labels):
        msg = "disk full"
        raise LedgerError(msg)

    bench.ledger.settle = settle
    with pytest.raises(LedgerError, match="disk full"):
        await bench.drained()
    assert bench.teacher.under_way == 0


@pytest.mark.asyncio
async def test_the_ledger_is_never_called_on_the_event_loop() -> None:
    bench = Bench(MemoryLedger(query(i) for i in range(12)), ScriptedTeacher())
    threads = set()

    def traced(method):
        def call(*arguments):
            threads.add(threading.get_ident())
            return method(*arguments)

        return call

    for name in ("reserve", "settle", "abandon_orphans"):
        setattr(bench.ledger, name, traced(getattr(bench.ledger, name)))
    await bench.drained()
    assert len(threads) == 1
    assert threading.get_ident() not in threads


@pytest.mark.asyncio
async def test_twenty_lives_ask_nothing_twice() -> None:
    ledger = MemoryLedger(query(i) for i in range(200))
    asked = []

    async def live(last_breath):
        def behaviour(under_way):
            asked.append(under_way.document_id)
            if len(asked) > last_breath:
                running.cancel()
            return Answer("yes")

        running = asyncio.create_task(Bench(ledger, ScriptedTeacher(behaviour), sleep=never()).run())
        await asyncio.gather(running, return_exceptions=True)
        assert running.cancelled()

    for life in range(20):
        await live(last_breath=len(asked) + life % 7)
    assert ledger.counts().pending > 0
    bench = Bench(ledger, ScriptedTeacher())
    await bench.drained()
    asked += bench.teacher.asked.elements()
    assert len(asked) == len(set(asked))
    assert ledger.counts().answered == 200
