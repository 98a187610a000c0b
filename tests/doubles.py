"""In-memory doubles of `askance.protocols`, for tests that need no disk and no network."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from askance.records import Answer, Coordinates, Judged, Label, LabelCounts, Labelled, Outcome, Progress, Query

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

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


class MemoryLedger:
    """`protocols.Ledger` in dictionaries. Strict: every step that the protocol does not allow is an `AssertionError`.

    `steps` remembers each changing call with how many queries it was about, so that a test can see grouping and order.
    """

    def __init__(self, queries: Iterable[Query] = ()) -> None:
        self._queries: dict[Coordinates, Query] = {}
        self._status: dict[Coordinates, str] = {}
        self._progress: dict[tuple[str, int], Progress] = {}
        self._positions: list[Position] = []
        self.labels: dict[Coordinates, Label] = {}
        self.steps: list[tuple[str, int]] = []
        self.commit(list(queries), (), None)

    def commit(self, queries: Sequence[Query], positions: Sequence[Position], bookmark: str | None) -> None:
        for one in queries:
            self._queries.setdefault(one.coordinates, one)
            self._status.setdefault(one.coordinates, "pending")
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

    def progress(self) -> Mapping[tuple[str, int], Progress]:
        return dict(self._progress)

    def reserve(self, limit: int) -> Sequence[Query]:
        assert limit > 0
        taken = [key for key, status in self._status.items() if status == "pending"][:limit]
        self._status.update(dict.fromkeys(taken, "asked"))
        if taken:
            self.steps.append(("reserve", len(taken)))
        return [self._queries[key] for key in taken]

    def release(self, queries: Sequence[Query]) -> None:
        for one in queries:
            assert self._status[one.coordinates] == "asked", one
            self._status[one.coordinates] = "pending"
        self.steps.append(("release", len(queries)))

    def settle(self, labels: Sequence[Label]) -> None:
        for label in labels:
            assert self._status[label.coordinates] == "asked", label
            assert (label.label is None) == (label.outcome is not Outcome.LABELLED), label
            self._status[label.coordinates] = label.outcome
            self.labels[label.coordinates] = label
        self.steps.append(("settle", len(labels)))

    def abandon_orphans(self) -> int:
        orphans = [key for key, status in self._status.items() if status == "asked"]
        self._status.update(dict.fromkeys(orphans, Outcome.LOST))
        return len(orphans)

    def counts(self) -> LabelCounts:
        return LabelCounts(**Counter(str(status) for status in self._status.values()))

    block = 1

    def tallies(self) -> Sequence[Tally]:
        return [position.tally for position in self._positions if position.tally is not None]

    def judged(self, *, since: int = 0, newest: int | None = None) -> Sequence[Judged]:
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
            if key.offset >= since
        ]
        return rows if newest is None else rows[-newest:]

    def labelled(self) -> Sequence[Labelled]:
        return [
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


class ScriptedTeacher:
    """`protocols.Teacher` whose behaviour is a function: an `Answer` is given, an exception is raised.

    `asked` counts the calls for each document; `most_under_way` is the highest number of calls at one time. While
    `gate` is clear, every call waits for it.
    """

    def __init__(
        self,
        behaviour: Callable[[Query], Answer | BaseException] = lambda _: Answer("yes"),
        *,
        concurrency: int = 4,
        gate: asyncio.Event | None = None,
    ) -> None:
        self._behaviour = behaviour
        self._gate = gate
        self.concurrency = concurrency
        self.asked: Counter[str] = Counter()
        self.under_way = 0
        self.most_under_way = 0
        self.closed = False

    @property
    def name(self) -> str:
        return "scripted"

    async def ask(self, query: Query) -> Answer:
        self.asked[query.document_id] += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)
            if self._gate is not None:
                await self._gate.wait()
            outcome = self._behaviour(query)
        finally:
            self.under_way -= 1
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

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
