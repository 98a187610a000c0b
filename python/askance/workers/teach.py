"""Takes queries from the ledger to the teacher and writes down how each ended.

Owns the invariant that no query is asked twice, whatever dies when: a query is reserved on the disk before anyone asks,
a reservation that a dead process left behind is given up as lost, and only what was not asked is given back.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from askance.errors import TeacherError
from askance.records import Answer, Label, Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from askance.protocols import Ledger, Teacher
    from askance.records import Query
    from askance.telemetry import Telemetry

POLL_SECONDS = 0.05
GRACE_SECONDS = 3.0

_Result = TypeVar("_Result")


def judge(answer: Answer, labels: Collection[str]) -> tuple[Outcome, str | None]:
    """How a query that got this answer ended, and its label when it got one of the set.

    >>> judge(Answer("spam"), {"spam", "ham"})
    (<Outcome.LABELLED: 'labelled'>, 'spam')
    >>> judge(Answer("eggs"), {"spam", "ham"})
    (<Outcome.INVALID: 'invalid'>, None)
    >>> judge(Answer(None, error="timed out"), {"spam", "ham"})
    (<Outcome.FAILED: 'failed'>, None)
    """
    if answer.raw is None:
        return Outcome.FAILED, None
    if answer.error is None and answer.raw in labels:
        return Outcome.LABELLED, answer.raw
    return Outcome.INVALID, None


class _Call:
    """One query under way; `asked` is false as long as the teacher has certainly not been asked."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self.asked = False
        self.seconds = 0.0


class TeachWorker:
    """Asks up to `teacher.concurrency` queries at once, oldest first, and settles the answers in groups.

    `ledger` is this worker's own: its methods run on a thread of the worker, so the event loop never waits for the
    disk. `sleep` and `clock` are passed in for tests.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        teacher: Teacher,
        labels: Collection[str],
        telemetry: Telemetry,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._ledger = ledger
        self._teacher = teacher
        self._labels = frozenset(labels)
        self._telemetry = telemetry
        self._sleep = sleep
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="askance-teach")
        self._under_way: dict[asyncio.Task[Answer], _Call] = {}
        self._ended: list[asyncio.Task[Answer]] = []
        self._wake = asyncio.Event()
        self._failure: BaseException | None = None

    async def run(self, *, drain: asyncio.Event, stop: asyncio.Event) -> None:
        """Work until `drain` is set and no query is left, or until `stop` is set; then close the teacher.

        On `stop` nothing more is asked; calls under way get three seconds to end, then they are cut off and settled as
        lost. A `TeacherError`, or anything else that a call raises, ends the worker in the same way and is raised
        here; the query that met a `TeacherError` was turned away unread and is pending again.
        """
        stopping = self._waking(stop.wait)
        try:
            orphans = await self._in_thread(self._ledger.abandon_orphans)
            self._telemetry.labels.labels(outcome=Outcome.LOST).inc(orphans)
            await self._ask(drain, stop)
            await self._wind_down()
        finally:
            stopping.cancel()
            try:
                await self._cut_off()
            finally:
                self._thread.shutdown(wait=False)
                await self._teacher.aclose()
        if self._failure is not None:
            raise self._failure

    async def _ask(self, drain: asyncio.Event, stop: asyncio.Event) -> None:
        """Keep the teacher's slots full until there is a reason to end."""
        poll: asyncio.Task[object] | None = None
        try:
            while self._failure is None and not stop.is_set():
                # Looked at before reserving: what was committed before `drain` was set is still found.
                draining = drain.is_set()
                free = self._teacher.concurrency - len(self._under_way)
                queries = await self._in_thread(self._ledger.reserve, free) if free > 0 else ()
                if queries and stop.is_set():
                    await self._in_thread(self._ledger.release, queries)
                    return
                for query in queries:
                    self._begin(query)
                if draining and not self._under_way:
                    return
                if len(queries) < free and (poll is None or poll.done()):
                    poll = self._waking(self._sleep, POLL_SECONDS)
                await self._wake.wait()
                self._wake.clear()
                await self._settle()
        finally:
            if poll is not None:
                poll.cancel()

    async def _wind_down(self) -> None:
        """Let calls under way end, within the grace time."""
        grace = self._waking(self._sleep, GRACE_SECONDS)
        while self._under_way and not grace.done():
            await self._wake.wait()
            self._wake.clear()
            await self._settle()
        grace.cancel()

    async def _cut_off(self) -> None:
        """Cancel what is still under way and settle it."""
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._settle()

    def _begin(self, query: Query) -> None:
        call = _Call(query)
        task = asyncio.create_task(self._answer(call))
        self._under_way[task] = call
        task.add_done_callback(self._end)

    async def _answer(self, call: _Call) -> Answer:
        call.asked = True
        began = self._clock()
        try:
            return await self._teacher.ask(call.query)
        finally:
            call.seconds = self._clock() - began

    def _end(self, task: asyncio.Task[Answer]) -> None:
        self._ended.append(task)
        self._wake.set()

    async def _settle(self) -> None:
        """Write down all calls that have ended since the last time."""
        ended, self._ended = self._ended, []
        labels: list[Label] = []
        unasked: list[Query] = []
        for task in ended:
            call = self._under_way.pop(task)
            label = self._label_of(task, call)
            if label is None:
                unasked.append(call.query)
            else:
                labels.append(label)
        if labels:
            await self._in_thread(self._ledger.settle, labels)
        if unasked:
            await self._in_thread(self._ledger.release, unasked)
        for label in labels:
            self._telemetry.labels.labels(outcome=label.outcome).inc()
            self._telemetry.teacher_seconds.observe(label.latency_seconds)

    def _label_of(self, task: asyncio.Task[Answer], call: _Call) -> Label | None:
        """How the call ended; None when its query was not asked, or was turned away unread."""
        if not call.asked:
            return None
        if task.cancelled():
            answer = Answer(None, error="the worker stopped before the answer came")
            outcome, label = Outcome.LOST, None
        elif (error := task.exception()) is not None:
            self._failure = self._failure or error
            if isinstance(error, TeacherError):
                return None
            answer = Answer(None, error=f"{type(error).__name__}: {error}")
            outcome, label = Outcome.LOST, None
        else:
            answer = task.result()
            outcome, label = judge(answer, self._labels)
        return Label(
            coordinates=call.query.coordinates,
            outcome=outcome,
            label=label,
            teacher=self._teacher.name,
            answer=answer,
            latency_seconds=call.seconds,
        )

    def _waking(self, wait: Callable[..., Awaitable[object]], *arguments: float) -> asyncio.Task[object]:
        """A task that waits and then wakes the worker."""

        async def waiting() -> object:
            return await wait(*arguments)

        task = asyncio.create_task(waiting())
        task.add_done_callback(lambda _: self._wake.set())
        return task

    async def _in_thread(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
