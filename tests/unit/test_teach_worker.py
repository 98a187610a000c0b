"""The teach worker against doubles: how queries end, what stops it, and that nothing is asked twice."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing

import pytest

from askance.calls import Attempt, Caps, Charge, Fault, Limit, Order, TeacherState
from askance.errors import LedgerError, NotUnderWayError, TeacherError
from askance.ledger import SqliteLedger
from askance.records import Answer, LabelCounts, Outcome
from askance.rules.complaints import InvalidAnswers
from askance.telemetry import Telemetry
from askance.workers.teach import GRACE_SECONDS, POLL_SECONDS, SETTLE_SECONDS, TeachWorker
from tests.doubles import MemoryLedger, ScriptedTeacher, SkippedSleep, never, query, until

LABELS = ("yes", "no")


class Bench:
    """A worker with its surroundings."""

    def __init__(self, ledger, teacher, *, sleep=None, **settings):
        self.ledger = ledger
        self.teacher = teacher
        self.telemetry = Telemetry()
        self.sleep = sleep or SkippedSleep()
        self.drain = asyncio.Event()
        self.stop = asyncio.Event()
        self.worker = TeachWorker(
            ledger=ledger, teacher=teacher, labels=LABELS, telemetry=self.telemetry, sleep=self.sleep, **settings
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
    ledger.reserve(Order(calls=4, now=1.0), ScriptedTeacher().worst)
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
            if asked[0].coordinates.offset == 0:
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

    def reserve_then_stop(order, worst):
        taken = reserve(order, worst)
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
async def test_a_ledger_that_stays_broken_ends_it() -> None:
    bench, clock = clocked(MemoryLedger(query(i) for i in range(5)), ScriptedTeacher())
    tries = []

    def settle(settlements):
        tries.append(clock.now)
        msg = "disk full"
        raise LedgerError(msg)

    bench.ledger.settle = settle
    with pytest.raises(LedgerError, match="disk full"):
        await bench.drained()
    assert bench.teacher.under_way == 0
    assert tries[-1] - tries[0] >= SETTLE_SECONDS


@pytest.mark.asyncio
async def test_a_paid_answer_survives_a_ledger_that_fails_for_a_while() -> None:
    ledger = MemoryLedger(query(i) for i in range(6))
    bench, _ = clocked(ledger, ScriptedTeacher(concurrency=3))
    settle, failures = ledger.settle, iter(range(40))

    def settle_later(settlements):
        if next(failures, None) is not None:
            msg = "the ledger is locked by a backup"
            raise LedgerError(msg)
        return settle(settlements)

    ledger.settle = settle_later
    await bench.drained()
    assert ledger.counts() == LabelCounts(labelled=6)
    assert set(bench.teacher.asked.values()) == {1}
    assert bench.outcomes()["labelled"] == 6


@pytest.mark.asyncio
async def test_what_can_never_be_settled_does_not_take_the_others_with_it() -> None:
    ledger = MemoryLedger(query(i) for i in range(5))
    bench = Bench(ledger, ScriptedTeacher(concurrency=5))
    settle = ledger.settle

    def settle_all_but_one(settlements):
        if any(label.coordinates.offset == 2 for one in settlements for label in one.labels):
            msg = "the call 3 was not under way"
            raise NotUnderWayError(msg)
        return settle(settlements)

    ledger.settle = settle_all_but_one
    await bench.drained()
    assert ledger.counts() == LabelCounts(labelled=4, asked=1)
    assert bench.telemetry.value("askance_unsettled_calls_total") == 1
    assert bench.outcomes()["labelled"] == 4


@pytest.mark.asyncio
async def test_the_ledger_is_never_called_on_the_event_loop() -> None:
    bench = Bench(MemoryLedger(query(i) for i in range(12)), ScriptedTeacher())
    threads = set()

    def traced(method):
        def call(*arguments):
            threads.add(threading.get_ident())
            return method(*arguments)

        return call

    for name in ("begin_run", "reserve", "settle", "abandon_orphans", "tell"):
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


class Clock:
    """One clock for everything: it moves by what is slept."""

    def __init__(self):
        self.now = 1000.0
        self.sleep = SkippedSleep()

    def __call__(self):
        return self.now

    async def skip(self, seconds):
        self.now += seconds
        await self.sleep(seconds)


def clocked(ledger, teacher, **settings):
    clock = Clock()
    bench = Bench(ledger, teacher, sleep=clock.skip, clock=clock, now=clock, uniform=lambda: 0.5, **settings)
    return bench, clock


def down(fault=Fault.UNREACHABLE, **changes):
    return Attempt(fault=fault, error="the server is away", charges=(), **changes)


@pytest.mark.asyncio
async def test_a_failed_query_is_asked_again_after_a_growing_pause() -> None:
    times = []

    def behaviour(asked):
        times.append(clock.now)
        # Others are answered, so the failure is the query's own.
        return down() if asked.coordinates.offset == 0 else Answer("yes")

    def more():
        return [query(100 * len(times) + i) for i in range(3)]

    ledger = MemoryLedger([query(0)])
    bench, clock = clocked(ledger, ScriptedTeacher(behaviour, concurrency=4))
    settle = ledger.settle

    def settle_and_commit(settlements):
        copies = settle(settlements)
        if len(times) < 60:
            ledger.commit(more(), (), None)
        return copies

    ledger.settle = settle_and_commit
    await bench.drained()
    assert bench.teacher.asked["t/0/0"] == 5
    label = ledger.labels[query(0).coordinates]
    assert (label.outcome, label.answer.error) == (Outcome.FAILED, "the server is away (5 tries)")
    assert bench.telemetry.value("askance_teacher_retries_total") == 4


@pytest.mark.asyncio
async def test_an_outage_fails_no_query_and_the_gate_is_told() -> None:
    outage = [True]
    ledger = MemoryLedger(query(i) for i in range(40))
    bench, clock = clocked(ledger, ScriptedTeacher(lambda _: down() if outage[0] else Answer("yes"), concurrency=8))
    running = asyncio.create_task(bench.run())
    began = clock.now
    await until(lambda: clock.now > began + 1800)
    assert ledger.counts().failed == 0
    assert ledger.told == [TeacherState.ASKING] + [TeacherState.PAUSED] * (len(ledger.told) - 1)
    calls = sum(bench.teacher.asked.values())
    assert calls < 60, "half an hour of outage costs the slots that were under way and a probe a minute"
    outage[0] = False
    bench.drain.set()
    await running
    assert ledger.counts() == LabelCounts(labelled=40)
    assert ledger.told[-1] is TeacherState.ASKING


@pytest.mark.asyncio
async def test_a_teacher_that_stays_away_ends_a_draining_run_and_leaves_its_queries() -> None:
    bench, clock = clocked(
        MemoryLedger(query(i) for i in range(9)), ScriptedTeacher(lambda _: down()), patience_seconds=60.0
    )
    began = clock.now
    with pytest.raises(TeacherError, match=r"not answered for 60 s \(teacher.patience_seconds\)"):
        await bench.drained()
    assert 60 <= clock.now - began < 130
    assert bench.ledger.counts() == LabelCounts(pending=9)


@pytest.mark.asyncio
async def test_says_why_it_is_paused_and_again_only_for_another_reason(caplog) -> None:
    errors = ["https://me:secret@host refused, request 17"] * 12 + ["the server answered 500"] * 1000

    def behaviour(_):
        return Attempt(fault=Fault.UNREACHABLE, error=errors.pop(0), charges=())

    bench, _ = clocked(MemoryLedger(query(i) for i in range(9)), ScriptedTeacher(behaviour), patience_seconds=600.0)
    with caplog.at_level("INFO"), pytest.raises(TeacherError):
        await bench.drained()
    said = [record.message for record in caplog.records if "paused" in record.message]
    assert said[0].startswith("scripted: paused: https://***@host refused, request 17; next try in ")
    assert said[0].endswith(" s; 9 wait")
    assert [line.split(";")[0] for line in said[1:]] == ["scripted: paused: the server answered 500"]
    assert bench.worker.paused == "the server answered 500"


@pytest.mark.asyncio
async def test_a_teacher_that_answers_beside_the_labels_is_complained_of_once(caplog) -> None:
    answer = Answer("Sure!\x1b[2J " + "x" * 100, error="the reply is no JSON")
    bench = Bench(MemoryLedger(query(i) for i in range(90)), ScriptedTeacher(lambda _: answer))
    await bench.drained()
    (said,) = [record.message for record in caplog.records if "invalid" in record.message]
    assert said.startswith("scripted: 5 answers in a row are invalid")
    assert "Sure!\\x1b[2J xxx" in said
    assert '…" (the reply is no JSON)' in said
    assert "teacher.task" in said
    assert bench.outcomes()["invalid"] == 90


def test_invalid_answers_are_told_again_while_they_are_most_of_a_hundred() -> None:
    def said(answers):
        return [bool(complaints.heard(Answer(raw), "yes" if raw == "yes" else None)) for raw in answers].count(True)

    complaints = InvalidAnswers()
    assert said(["yes", "maybe"] * 50) == 0, "one in two is no run"
    assert said(["maybe"] * 5) == 1
    assert said(["maybe", "maybe", "yes"] * 33 + ["yes"]) == 1
    assert said(["yes", "maybe"] * 100) == 0


@pytest.mark.asyncio
async def test_an_hour_asked_for_is_an_hour_of_silence() -> None:
    first = [True]

    def behaviour(_):
        if first[0]:
            first[0] = False
            return down(Fault.THROTTLED, retry_after_seconds=3600.0)
        times.append(clock.now)
        return Answer("yes")

    times = []
    ledger = MemoryLedger(query(i) for i in range(9))
    bench, clock = clocked(ledger, ScriptedTeacher(behaviour, concurrency=1), patience_seconds=10_000.0)
    began = clock.now
    await bench.drained()
    assert min(times) >= began + 3600
    assert ledger.counts() == LabelCounts(labelled=9)
    assert TeacherState.PAUSED in ledger.told


@pytest.mark.asyncio
async def test_a_rejected_call_fails_its_queries_at_once_and_is_no_outage() -> None:
    bench, _ = clocked(MemoryLedger(query(i) for i in range(30)), ScriptedTeacher(lambda _: down(Fault.REJECTED)))
    await bench.drained()
    assert bench.ledger.counts() == LabelCounts(failed=30)
    assert set(bench.teacher.asked.values()) == {1}
    assert bench.ledger.told == [TeacherState.ASKING]


@pytest.mark.asyncio
async def test_of_a_rejected_call_about_several_documents_only_the_one_to_blame_fails() -> None:
    sizes = []

    class Strict(ScriptedTeacher):
        async def ask(self, queries):
            if query(2).coordinates in [one.coordinates for one in queries]:
                sizes.append(len(queries))
                return down(Fault.REJECTED)
            return await super().ask(queries)

    teacher = Strict(documents_per_call=4)
    bench, _ = clocked(MemoryLedger(query(i) for i in range(8)), teacher)
    await bench.drained()
    assert bench.ledger.counts() == LabelCounts(labelled=7, failed=1)
    assert bench.ledger.labels[query(2).coordinates].outcome is Outcome.FAILED
    assert sizes == [4, 1], "what was turned away together is asked alone, and alone only once"


@pytest.mark.asyncio
@pytest.mark.parametrize(("charges", "nanos"), [((Charge("cheap", 1, nanos=3),), 3), (None, 1000), ((), 0)])
async def test_what_a_call_had_cost_when_the_teacher_gave_up_is_counted(tmp_path, charges, nanos) -> None:
    """A cascade whose second key is wrong pays the first teacher at every start: the caps must see it."""
    error = TeacherError("401")
    error.charges = charges
    with closing(SqliteLedger(tmp_path / "ledger.db")) as ledger:
        ledger.commit([query(0)], (), None)
        bench = Bench(ledger, ScriptedTeacher(lambda _: error))
        with pytest.raises(TeacherError, match="401"):
            await bench.drained()
        assert ledger.counts() == LabelCounts(pending=1)
        assert sum(row.nanos for row in ledger.spend_report("day")) == nanos


@pytest.mark.asyncio
async def test_a_reply_without_a_label_gets_one_second_chance() -> None:
    replies = {0: ["maybe", "yes"], 1: ["maybe", "perhaps"], 2: ["none_of_these"]}
    bench, _ = clocked(
        MemoryLedger(query(i) for i in range(3)),
        ScriptedTeacher(lambda asked: Answer(replies[asked.coordinates.offset].pop(0))),
        second_chance=True,
    )
    await bench.drained()
    ended = [bench.ledger.labels[query(i).coordinates] for i in range(3)]
    assert [(label.outcome, label.answer.raw) for label in ended] == [
        (Outcome.LABELLED, "yes"),
        (Outcome.INVALID, "perhaps"),
        (Outcome.INVALID, "none_of_these"),
    ]


@pytest.mark.asyncio
async def test_a_missing_answer_fails_only_its_own_document() -> None:
    def behaviour(asked):
        return Answer(None, error="not there") if asked.coordinates.offset == 3 else Answer("no")

    bench, _ = clocked(
        MemoryLedger(query(i) for i in range(10)),
        ScriptedTeacher(behaviour, documents_per_call=4),
        second_chance=True,
    )
    await bench.drained()
    assert bench.ledger.counts() == LabelCounts(labelled=9, failed=1)
    assert bench.teacher.asked == {f"t/0/{i}": 1 + (i == 3) for i in range(10)}


@pytest.mark.asyncio
async def test_a_cap_stops_the_asking_and_the_gate_is_told() -> None:
    caps = Caps(total=Limit(nanos=3000))
    bench, _ = clocked(MemoryLedger(query(i) for i in range(50)), ScriptedTeacher(), caps=caps)
    with pytest.raises(TeacherError, match=r"the cap spend\.total_money leaves no room"):
        await bench.drained()
    # A call is feared to cost 1000 and costs 100: after 20 of them the next does not fit for certain any more.
    assert bench.ledger.counts() == LabelCounts(labelled=21, pending=29)
    assert bench.ledger.spent.nanos == 2100
    assert bench.ledger.told[-1] is TeacherState.SPENT
