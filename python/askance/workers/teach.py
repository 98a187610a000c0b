"""Takes queries from the ledger to the teacher and writes down how each ended.

Owns the invariant that no query is asked twice unawares, whatever dies when: a call is reserved on the disk, at its
worst price, before it is made; a reservation that a dead process left behind is given up as lost and spent; and only
what was not asked, or has certainly failed, is given back.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from askance.calls import Attempt, Caps, Fault, Order, Reservation, Spend, TeacherState
from askance.errors import LedgerError, NotUnderWayError, TeacherError
from askance.records import Outcome
from askance.rules.complaints import InvalidAnswers, Outage
from askance.rules.outcome import Circumstances, judge, lost, settlement_of, turned_away
from askance.rules.pace import Pace
from askance.tracing import OFF

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from askance.calls import Call, Settlement
    from askance.protocols import Ledger, Teacher
    from askance.telemetry import Telemetry
    from askance.tracing import Tracer

POLL_SECONDS = 0.05
GRACE_SECONDS = 3.0
# While a cap leaves no room the ledger is asked again this often, not at every poll: asking takes its write lock.
_CAPPED_SECONDS = 1.0
# What the gate was told holds this long, so that a worker that dies does not keep it shut.
_TELL_SECONDS = 30.0
# An answer is paid for: it is kept so long while the ledger does not take it (a full disk, another program's lock).
SETTLE_SECONDS = 600.0
_SETTLE_PAUSE_SECONDS = 1.0

_logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class _UnderWay:
    """One call under way; `asked` is false as long as the teacher has certainly not been asked."""

    def __init__(self, call: Call, began: float) -> None:
        self.call = call
        self.began = began
        self.asked = False
        self.seconds = 0.0


class TeachWorker:
    """Makes as many calls at once as `pace` allows, oldest queries first, and settles them in groups.

    `ledger` is this worker's own: its methods run on a thread of the worker, so the event loop never waits for the
    disk. With `reuse`, a text that the teacher has answered under the same prompt is not asked about again; from the
    likeness `alike` on, a document ends with its near-duplicate's label. While draining, a teacher that is paused for
    `patience_seconds` is given up, its queries left pending. `sleep`, `clock` (monotonic), `now` (Unix time) and
    `uniform` are passed in for tests.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        teacher: Teacher,
        labels: Collection[str],
        renamed: Mapping[str, str] | None = None,
        telemetry: Telemetry,
        pace: Pace | None = None,
        caps: Caps = Caps(),  # noqa: B008 - immutable
        second_chance: bool = False,
        patience_seconds: float = 60.0,
        audit_share: float = 0.0,
        reuse: bool = False,
        alike: float | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], float] = time.time,
        uniform: Callable[[], float] = random.random,
        tracer: Tracer = OFF,
    ) -> None:
        self._tracer = tracer
        self._ledger = ledger
        self._teacher = teacher
        self._labels = frozenset(labels)
        self._renamed = dict(renamed or {})
        self._telemetry = telemetry
        self._pace = pace or Pace(most=teacher.concurrency)
        self._caps = caps
        self._second_chance = second_chance
        self._patience_seconds = patience_seconds
        self._audit_share = audit_share
        self._key = teacher.key if reuse else None
        self._alike = alike
        self._sleep = sleep
        self._clock = clock
        self._now = now
        self._uniform = uniform
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="askance-teach")
        self._under_way: dict[asyncio.Task[Attempt], _UnderWay] = {}
        self._ended: list[asyncio.Task[Attempt]] = []
        self._unsettled: list[Settlement] = []
        self._is_stopping = False
        self._wake = asyncio.Event()
        self._failure: BaseException | None = None
        self._run = 0
        self._capped: str | None = None
        self._capped_until = float("-inf")
        self._told: tuple[TeacherState | None, float] = (None, float("-inf"))
        self._paused_since: float | None = None
        self._outage = Outage()
        self._invalid = InvalidAnswers()

    @property
    def paused(self) -> str | None:
        """Why the teacher is left alone for now; None when it is not."""
        return self._outage.error if self._pace.state(now=self._clock()) is TeacherState.PAUSED else None

    async def run(self, *, drain: asyncio.Event, stop: asyncio.Event) -> None:
        """Work until `drain` is set and no query is left, or until `stop` is set; then close the teacher.

        On `stop` nothing more is asked; calls under way get three seconds to end, then they are cut off and settled as
        lost. A `TeacherError`, or anything else that a call raises, ends the worker in the same way and is raised
        here; the queries that met a `TeacherError` were turned away unread and are pending again. While draining, a
        cap without room and a teacher that stays away are `TeacherError`s too.
        """
        stopping = self._waking(stop.wait)
        try:
            orphans = await self._in_thread(self._ledger.abandon_orphans)
            self._telemetry.labels.labels(outcome=Outcome.LOST).inc(orphans)
            self._run = await self._in_thread(self._ledger.begin_run)
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
                reservation = await self._reserve()
                if reservation.calls and stop.is_set():
                    await self._in_thread(self._ledger.release, reservation.calls)
                    return
                for call in reservation.calls:
                    self._begin(call)
                await self._tell()
                if draining and not self._under_way and self._is_drained(reservation):
                    return
                if len(self._under_way) < self._pace.limit and (poll is None or poll.done()):
                    poll = self._waking(self._sleep, min(POLL_SECONDS, self._pace.wait_seconds() or POLL_SECONDS))
                await self._wake.wait()
                self._wake.clear()
                await self._settle()
        finally:
            if poll is not None:
                poll.cancel()

    async def _reserve(self) -> Reservation:
        """As many calls as may begin now."""
        clock = self._clock()
        room = self._pace.room(len(self._under_way), now=clock)
        if room == 0 or clock < self._capped_until:
            return Reservation(waiting=True, capped=self._capped)
        order = Order(
            calls=room,
            now=self._now(),
            documents_per_call=self._teacher.documents_per_call,
            retries=self._pace.retries(now=clock),
            teacher=self._teacher.name,
            run=self._run,
            caps=self._caps,
            key=self._key,
            alike=self._alike,
            audit_share=self._audit_share,
        )
        reservation = await self._in_thread(self._ledger.reserve, order, self._teacher.worst)
        self._count_copies(reservation.copied)
        self._capped = reservation.capped
        self._capped_until = clock + _CAPPED_SECONDS if reservation.capped else float("-inf")
        return reservation

    def _is_drained(self, reservation: Reservation) -> bool:
        """With nothing under way: whether nothing is left to be asked, or it cannot be asked before long."""
        if reservation.capped:
            msg = f"the cap {reservation.capped} leaves no room for another call; raise it to have the rest answered"
            self._failure = TeacherError(msg)
            return True
        clock = self._clock()
        if self._pace.state(now=clock) is not TeacherState.PAUSED:
            self._paused_since = None
        elif self._paused_since is None:
            self._paused_since = clock
        elif clock - self._paused_since >= self._patience_seconds:
            msg = (
                f"{self._teacher.name} has not answered for {self._patience_seconds:g} s (teacher.patience_seconds); "
                "what is left waits in the ledger for the next run"
            )
            self._failure = TeacherError(msg)
            return True
        return not reservation.waiting

    async def _tell(self) -> None:
        """Let the gate know how the teacher is, when that has changed."""
        clock = self._clock()
        state = self._pace.state(now=clock)
        if self._capped and not self._under_way:
            state = TeacherState.SPENT
        told, at = self._told
        if state is TeacherState.PAUSED:
            await self._say_paused(clock, has_changed=state is not told)
        if state is not told or (state is not TeacherState.ASKING and clock - at > _TELL_SECONDS / 3):
            if told is not None and state not in (told, TeacherState.PAUSED):
                _logger.info("%s: %s", self._teacher.name, f"{state}, {self._capped}" if self._capped else state)
            self._told = (state, clock)
            await self._in_thread(self._ledger.tell, state, self._now() + _TELL_SECONDS)

    async def _say_paused(self, clock: float, *, has_changed: bool) -> None:
        """Why, and until when: a warning when the reason is new, a line when only the pause is."""
        if (is_news := self._outage.is_news()) or has_changed:
            waiting = (await self._in_thread(self._ledger.counts)).pending
            level, seconds = logging.WARNING if is_news else logging.INFO, self._pace.paused_seconds(now=clock)
            said = (self._teacher.name, self._outage.error, seconds, waiting)
            _logger.log(level, "%s: paused: %s; next try in %.0f s; %d wait", *said)

    async def _wind_down(self) -> None:
        """Let calls under way end, within the grace time."""
        self._is_stopping = True
        grace = self._waking(self._sleep, GRACE_SECONDS)
        while self._under_way and not grace.done():
            await self._wake.wait()
            self._wake.clear()
            await self._settle()
        grace.cancel()

    async def _cut_off(self) -> None:
        """Cancel what is still under way and settle it."""
        self._is_stopping = True
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._settle()

    def _begin(self, call: Call) -> None:
        self._pace.began(call.reserved.tokens, requests=call.reserved.calls, again=call.is_retry)
        under_way = _UnderWay(call, self._clock())
        task = asyncio.create_task(self._attempt(under_way))
        self._under_way[task] = under_way
        task.add_done_callback(self._end)

    async def _attempt(self, under_way: _UnderWay) -> Attempt:
        under_way.asked = True
        queries = under_way.call.queries
        call = self._tracer.begin(
            "askance.call",
            (query.traceparent for query in queries),
            queries=len(queries),
            teacher=self._teacher.name,
            call=under_way.call.number,
        )
        try:
            ask = self._teacher.audit if under_way.call.is_audit else self._teacher.ask
            with call.part("ask"):
                attempt = await ask(queries)
        finally:
            under_way.seconds = self._clock() - under_way.began
        call.end(attempt.fault)
        return attempt

    def _end(self, task: asyncio.Task[Attempt]) -> None:
        self._ended.append(task)
        self._wake.set()

    async def _settle(self) -> None:
        """Write down all calls that have ended since the last time."""
        ended, self._ended = self._ended, []
        unasked: list[Call] = []
        for task in ended:
            under_way = self._under_way.pop(task)
            settlement = self._settlement(task, under_way)
            if settlement is None:
                unasked.append(under_way.call)
            else:
                self._unsettled.append(settlement)
        await self._write()
        if unasked:
            await self._in_thread(self._ledger.release, unasked)
        if ended:
            self._capped_until = float("-inf")  # what was reserved too much may be spent after all

    async def _write(self) -> None:
        """Settle what is unsettled, however often that takes: the answers are paid for.

        One that can never be settled must not take the others with it.
        """
        since, has_warned, size = self._clock(), False, len(self._unsettled)
        while group := self._unsettled[:size]:
            try:
                copies = await self._in_thread(self._ledger.settle, group)
            except NotUnderWayError as exc:
                if len(group) > 1:
                    size = 1
                    continue
                self._telemetry.unsettled.inc()
                _logger.error("an answer is lost: %s", exc)
            except LedgerError as exc:
                if self._clock() - since >= (GRACE_SECONDS if self._is_stopping else SETTLE_SECONDS):
                    raise
                if not has_warned:
                    _logger.warning("%d answers are kept until the ledger takes them: %s", len(self._unsettled), exc)
                has_warned = True
                await self._sleep(_SETTLE_PAUSE_SECONDS)
                continue
            else:
                self._unsettled = self._unsettled[len(group) :]
                self._count(group, copies)
                continue
            self._unsettled = self._unsettled[1:]

    def _count(self, settlements: list[Settlement], copies: int) -> None:
        for settlement in settlements:
            for label in settlement.labels:
                self._telemetry.labels.labels(outcome=label.outcome).inc()
                self._telemetry.teacher_seconds.observe(label.latency_seconds)
            self._telemetry.retries.inc(len(settlement.again))
        self._count_copies(copies)

    def _count_copies(self, copies: int) -> None:
        self._telemetry.copies.inc(copies)
        self._telemetry.labels.labels(outcome=Outcome.LABELLED).inc(copies)

    def _settlement(self, task: asyncio.Task[Attempt], under_way: _UnderWay) -> Settlement | None:
        """How the call ended; None when its queries were not asked, or were turned away unread."""
        if not under_way.asked:
            return None
        call = under_way.call
        if task.cancelled():
            return lost(call, "the worker stopped before the answer came", self._circumstances(under_way))
        if (error := task.exception()) is not None:
            self._failure = self._failure or error
            if isinstance(error, TeacherError):
                if error.charges == ():
                    return None
                return turned_away(call, error.charges, str(error), self._circumstances(under_way))
            return lost(call, f"{type(error).__name__}: {error}", self._circumstances(under_way))
        attempt = task.result()
        self._observe(attempt, under_way)
        return settlement_of(call, attempt, self._circumstances(under_way))

    def _observe(self, attempt: Attempt, under_way: _UnderWay) -> None:
        """Let the pace learn from how a call went."""
        reserved = spent = under_way.call.reserved
        if attempt.charges is not None:
            spent = sum((charge.spend for charge in attempt.charges), Spend())
        if spent.nanos > reserved.nanos or spent.tokens > reserved.tokens:
            self._telemetry.overspent.inc()
            _logger.warning("a call cost %s, above its reservation %s: the caps hold only so closely", spent, reserved)
        for answer in attempt.answers:
            if answer and (said := self._invalid.heard(answer, judge(answer, self._labels, self._renamed)[1])):
                _logger.warning("%s: %s", self._teacher.name, said)
        if failed := attempt.fault in (Fault.THROTTLED, Fault.UNREACHABLE):
            self._outage.failed(attempt.error)
        elif attempt.retry_after_seconds:
            self._outage.failed("the server asks to be left alone (rate limit)")
        self._pace.ended(
            failed=failed,
            began=under_way.began,
            now=self._clock(),
            tokens_less=reserved.tokens - spent.tokens,
            requests_less=reserved.calls - spent.calls,
            retry_after_seconds=attempt.retry_after_seconds,
        )
        self._telemetry.calls.labels(outcome=attempt.fault or "answered").inc()
        self._telemetry.tokens.inc(spent.tokens)
        self._telemetry.nanos.inc(spent.nanos)
        self._telemetry.slots.set(self._pace.limit)

    def _circumstances(self, under_way: _UnderWay) -> Circumstances:
        return Circumstances(
            teacher=self._teacher.name,
            labels=self._labels,
            renamed=self._renamed,
            now=self._now(),
            seconds=under_way.seconds,
            uniform=self._uniform(),
            second_chance=self._second_chance,
            in_outage=self._pace.breaker_is_open,
            audit_share=self._audit_share,
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
