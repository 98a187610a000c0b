"""In-memory doubles of `askance.protocols`, for tests that need no disk and no network."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from askance.calls import Again, Attempt, Call, Charge, Order, Pending, Reservation, Settlement, Spend, TeacherState
from askance.records import Answer, Coordinates, Judged, Label, LabelCounts, Labelled, Outcome, Progress, Query

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from askance.protocols import Ledger
    from askance.records import Position, Tally


def query(offset: int, text: str | None = None, *, document_id: str | None = None, topic: str = "t") -> Query:
    """A query with whatever a test does not care about filled in."""
    return Query(
        coordinates=Coordinates(topic, 0, offset),
        document_id=document_id or f"{topic}/0/{offset}",
        text=text or f"document {offset}",
        predicted=None,
        confidence=None,
        uncertainty=1.0,
        propensity=1.0,
        version=None,
        seed=0,
    )


def give(ledger: Ledger, labels: Sequence[Label], charges: tuple[Charge, ...] = ()) -> None:
    """Let the ledger's pending queries be asked, all in one call, and end like this; the others stay pending."""
    order = Order(calls=1, documents_per_call=1_000_000, now=0.0, teacher="given")
    given = {label.coordinates for label in labels}
    for call in ledger.reserve(order, lambda _: Spend(1)).calls:
        rest = [Again(one.coordinates, 0.0, 0.0, 0) for one in call.queries if one.coordinates not in given]
        ledger.settle([Settlement(call.number, tuple(labels), tuple(rest), charges=charges)])


class MemoryLedger:
    """`protocols.Ledger` in dictionaries. Strict: every step that the protocol does not allow is an `AssertionError`.

    `steps` remembers each changing call with how many queries it was about, so that a test can see grouping and order.
    """

    def __init__(self, queries: Iterable[Query] = ()) -> None:
        self._queries: dict[Coordinates, Query] = {}
        self._status: dict[Coordinates, str] = {}
        self._pending: dict[Coordinates, Pending] = {}
        self._ask_after: dict[Coordinates, float] = {}
        self._open: dict[int, Spend] = {}
        self._number = 0
        self.spent = Spend()
        self.told: list[TeacherState] = []
        self._progress: dict[tuple[str, int], Progress] = {}
        self._positions: list[Position] = []
        self.labels: dict[Coordinates, Label] = {}
        self.steps: list[tuple[str, int]] = []
        self.commit(list(queries), (), None)

    def commit(
        self,
        queries: Sequence[Query],
        positions: Sequence[Position],
        bookmark: str | None,
        standings: Sequence[tuple[Coordinates, str]] = (),
    ) -> None:
        assert not standings, "the double knows no contract"
        for one in queries:
            self._queries.setdefault(one.coordinates, one)
            self._status.setdefault(one.coordinates, "pending")
            self._pending.setdefault(one.coordinates, Pending(one))
            self._ask_after.setdefault(one.coordinates, 0.0)
        self._positions += positions
        for position in positions:
            key = (position.topic, position.partition)
            before = self._progress.get(key, Progress(0, 0, 0, 0, None))
            self._progress[key] = Progress(
                position.next_offset,
                before.documents + position.documents,
                before.accepted + position.accepted,
                before.dead_letters + position.dead_letters,
                bookmark,
            )

    def due_answers(self, now: float, limit: int) -> Sequence[tuple[Query, Label | None]]:
        return []

    def awaited(self) -> tuple[int, int]:
        return 0, 0

    def progress(self) -> Mapping[tuple[str, int], Progress]:
        return dict(self._progress)

    def begin_run(self) -> int:
        return 1

    def reserve(self, order: Order, worst: Callable[[Sequence[Query]], Spend]) -> Reservation:
        assert order.calls > 0
        calls, capped, taken = [], None, 0
        pending = [self._pending[key] for key, status in self._status.items() if status == "pending"]
        first = [one for one in pending if self._ask_after[one.query.coordinates] == 0]
        again = [one for one in pending if 0 < self._ask_after[one.query.coordinates] <= order.now]
        size = order.documents_per_call
        groups = [[one] for one in again[: order.retries]]
        groups += [first[start : start + size] for start in range(0, len(first), size)]
        for group in groups[: order.calls]:
            spend = worst([one.query for one in group])
            if capped := order.caps.total.exceeded_by(self.spent + spend):
                break
            self.spent += spend
            self._number += 1
            self._open[self._number] = spend
            calls.append(Call(self._number, tuple(group), spend))
            self._status.update({one.query.coordinates: "asked" for one in group})
            taken += len(group)
        if taken:
            self.steps.append(("reserve", taken))
        return Reservation(tuple(calls), "pending" in self._status.values(), capped and f"spend.total_{capped}")

    def release(self, calls: Sequence[Call]) -> None:
        for call in calls:
            self.spent -= self._open.pop(call.number)
            for one in call.queries:
                assert self._status[one.coordinates] == "asked", one
                self._status[one.coordinates] = "pending"
        self.steps.append(("release", sum(len(call.queries) for call in calls)))

    def settle(self, settlements: Sequence[Settlement]) -> int:
        for settlement in settlements:
            reserved = self._open.pop(settlement.call)
            if settlement.charges is not None:
                self.spent += sum((charge.spend for charge in settlement.charges), Spend()) - reserved
            for label in settlement.labels:
                assert self._status[label.coordinates] == "asked", label
                assert (label.label is None) == (label.outcome is not Outcome.LABELLED), label
                self._status[label.coordinates] = label.outcome
                self.labels[label.coordinates] = label
            for again in settlement.again:
                assert self._status[again.coordinates] == "asked", again
                self._status[again.coordinates] = "pending"
                self._ask_after[again.coordinates] = again.ask_after
                self._pending[again.coordinates] = Pending(
                    self._queries[again.coordinates], again.tries, again.bad_replies
                )
        self.steps.append(("settle", sum(len(one.labels) + len(one.again) for one in settlements)))
        return 0

    def abandon_orphans(self) -> int:
        orphans = [key for key, status in self._status.items() if status == "asked"]
        self._status.update(dict.fromkeys(orphans, Outcome.LOST))
        self._open.clear()
        return len(orphans)

    def tell(self, state: TeacherState, until: float) -> None:
        self.told.append(state)

    def teacher_state(self, now: float) -> TeacherState:
        return self.told[-1] if self.told else TeacherState.ASKING

    def counts(self) -> LabelCounts:
        return LabelCounts(**Counter(str(status) for status in self._status.values()))

    block = 1

    def tallies(self, *, shadow: bool = False) -> Sequence[Tally]:
        return [tally for position in self._positions for tally in position.tallies if tally.is_shadow == shadow]

    def judged(
        self, *, since: int = 0, newest: int | None = None, versions: Sequence[str] | None = None
    ) -> Sequence[Judged]:
        rows = [
            Judged(
                coordinates=key,
                document_id=one.document_id,
                predicted=one.predicted,
                version=one.version,
                propensity=one.propensity,
                confidence=one.confidence,
                status=str(self._status[key]),
                label=self.labels[key].label if key in self.labels else None,
            )
            for key, one in self._queries.items()
            if key.offset >= since and (versions is None or {one.version, one.shadow_version} & {*versions})
        ]
        return rows if newest is None else rows[-newest:]

    def texts(self, topic: str, partition: int, offsets: range) -> Mapping[int, str]:
        return {
            key.offset: one.text
            for key, one in self._queries.items()
            if key[:2] == (topic, partition) and key.offset in offsets
        }

    def labelled(self, newest: int | None = None) -> Sequence[Labelled]:
        rows = [
            Labelled(
                coordinates=key,
                text=self._queries[key].text,
                label=label.label,
                predicted=self._queries[key].predicted,
                version=self._queries[key].version,
                propensity=self._queries[key].propensity,
                confidence=label.answer.confidence,
            )
            for key, label in self.labels.items()
            if label.label is not None
        ]
        return rows if newest is None else rows[-newest:]


class ScriptedTeacher:
    """`protocols.Teacher` whose behaviour is a function of the query.

    An `Answer` is given, an `Attempt` is what the call comes to, an exception is raised. `asked` counts the calls for
    each document; `most_under_way` is the highest number of calls at one time. While `gate` is clear, every call waits.
    """

    def __init__(
        self,
        behaviour: Callable[[Query], Answer | Attempt | BaseException] = lambda _: Answer("yes"),
        *,
        concurrency: int = 4,
        documents_per_call: int = 1,
        gate: asyncio.Event | None = None,
        key: str | None = None,
    ) -> None:
        self.key = key
        self._behaviour = behaviour
        self._gate = gate
        self.concurrency = concurrency
        self.documents_per_call = documents_per_call
        self.asked: Counter[str] = Counter()
        self.under_way = 0
        self.most_under_way = 0
        self.closed = False

    @property
    def name(self) -> str:
        return "scripted"

    def worst(self, queries: Sequence[Query]) -> Spend:
        return Spend(1, 100 * len(queries), 1000 * len(queries))

    def expected(self, queries: Sequence[Query]) -> tuple[Charge, ...]:
        return (Charge("scripted", 1, prompt_tokens=10 * len(queries), nanos=100 * len(queries)),)

    async def audit(self, queries: Sequence[Query]) -> Attempt:
        return await self.ask(queries)

    async def ask(self, queries: Sequence[Query]) -> Attempt:
        self.asked.update(query.document_id for query in queries)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)
            if self._gate is not None:
                await self._gate.wait()
            outcomes = [self._behaviour(query) for query in queries]
        finally:
            self.under_way -= 1
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            if isinstance(outcome, Attempt):
                return outcome
        charge = Charge("scripted", 1, prompt_tokens=10 * len(queries), nanos=100 * len(queries))
        return Attempt(tuple(one for one in outcomes if isinstance(one, Answer)), charges=(charge,))

    async def aclose(self) -> None:
        self.closed = True


class SkippedSleep:
    """A `sleep` that takes no time but lets everything else run; `pauses` remembers what was asked for."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Let everything else run until the condition holds; a `TimeoutError` when it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions are about other objects' state
            await asyncio.sleep(0.001)


def never() -> Callable[[float], Awaitable[None]]:
    """A `sleep` that does not end: no timer ever fires."""

    async def sleep(_: float) -> None:
        await asyncio.Event().wait()

    return sleep
