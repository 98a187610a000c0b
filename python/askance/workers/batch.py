"""Labels offline, through a provider's batch API: cheaper, hours later, and whichever process comes back for it.

Owns the invariant that a batch is paid for once and its answers are never dropped, whatever dies when: its calls are
reserved, and its token is on the disk, before anything is sent; a batch that nobody heard the name of is found by its
token, or certainly was never made; and each line is settled in the transaction that closes its call.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import TYPE_CHECKING

from askance.calls import BatchStatus, Caps, Order
from askance.rules.outcome import Circumstances, settlement_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from askance.calls import Batch, BatchState, Call, Settlement
    from askance.protocols import BatchTeacher, Ledger

_SETTLED_AT_ONCE = 200

_logger = logging.getLogger(__name__)


class BatchWorker:
    """Submits what waits in the ledger, and settles what has ended.

    `sleep` and `now` (Unix time) are passed in for tests.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        teacher: BatchTeacher,
        labels: Collection[str],
        renamed: Mapping[str, str] | None = None,
        caps: Caps = Caps(),  # noqa: B008 - immutable
        key: str | None = None,
        alike: float | None = None,
        audit_share: float = 0.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._ledger = ledger
        self._teacher = teacher
        self._labels = frozenset(labels)
        self._renamed = dict(renamed or {})
        self._caps = caps
        self._key = key
        self._alike = alike
        self._audit_share = audit_share
        self._sleep = sleep
        self._now = now
        self._uniform = uniform

    async def submit(self, token: str, documents: int) -> Batch | None:
        """Send up to so many waiting documents as one batch; None when none waits, or a cap leaves no room.

        `token` is any name that no other batch has.
        """
        teacher = self._teacher.teacher
        number = await asyncio.to_thread(self._ledger.begin_batch, token, teacher.name)
        order = Order(
            calls=max(1, documents // teacher.documents_per_call),
            now=self._now(),
            documents_per_call=teacher.documents_per_call,
            teacher=teacher.name,
            run=await asyncio.to_thread(self._ledger.begin_run),
            caps=self._caps,
            key=self._key,
            alike=self._alike,
            audit_share=self._audit_share,
            batch=number,
        )
        reservation = await asyncio.to_thread(self._ledger.reserve, order, teacher.worst)
        if reservation.capped:
            _logger.warning("the cap %s leaves room for %d calls only", reservation.capped, len(reservation.calls))
        if not reservation.calls:
            await asyncio.to_thread(self._ledger.update_batch, number, BatchStatus.ENDED, error="nothing to ask")
            return None
        await self._send(number, token, reservation.calls)
        return self._batch(number)

    async def collect(self) -> list[tuple[Batch, BatchState | None]]:
        """Settle every batch that has ended, send those that never arrived; where each open one stands now.

        The state is None for a batch that was sent just now.
        """
        found: list[tuple[Batch, BatchState | None]] = []
        for batch in await asyncio.to_thread(self._ledger.batches):
            if batch.status is BatchStatus.ENDED:
                continue
            state: BatchState | None = None
            identifier = batch.id or await self._teacher.find(batch.token)
            if identifier is None:
                await self._send_again(batch)
            else:
                await asyncio.to_thread(
                    self._ledger.update_batch, batch.number, BatchStatus.SUBMITTED, identifier=identifier
                )
                state = await self._teacher.state(identifier)
                if state.has_ended:
                    await self._settle(batch, identifier, state)
            found.append((self._batch(batch.number), state))
        return found

    async def follow(self, seconds: float, told: Callable[[Batch, BatchState | None], None]) -> None:
        """Collect every so many seconds until no batch is open."""
        while True:
            batches = await self.collect()
            for batch, state in batches:
                told(batch, state)
            if all(batch.status is BatchStatus.ENDED for batch, _ in batches):
                return
            await self._sleep(seconds)

    async def _send(self, number: int, token: str, calls: Sequence[Call]) -> None:
        identifier = await self._teacher.submit(token, calls)
        await asyncio.to_thread(self._ledger.update_batch, number, BatchStatus.SUBMITTED, identifier=identifier)

    async def _send_again(self, batch: Batch) -> None:
        """A batch that no provider knows: whoever reserved it died before it was sent."""
        calls = await asyncio.to_thread(self._ledger.batch_calls, batch.number)
        if calls and batch.teacher == self._teacher.teacher.name:
            await self._send(batch.number, batch.token, calls)
            return
        await asyncio.to_thread(self._ledger.release, calls)
        await asyncio.to_thread(self._ledger.update_batch, batch.number, BatchStatus.ENDED, error="it was never sent")

    async def _settle(self, batch: Batch, identifier: str, state: BatchState) -> None:
        """Line by line; what the batch does not speak of was not made, and is pending again."""
        calls = {call.number: call for call in await asyncio.to_thread(self._ledger.batch_calls, batch.number)}
        documents = {number: len(call.queries) for number, call in calls.items()}
        settlements: list[Settlement] = []
        error = state.error or (None if state.status == "completed" else state.status)
        async for line in self._teacher.lines(identifier, documents):
            if line.attempt is None:
                error = error or line.error
            elif (call := calls.pop(line.call, None)) is not None:
                settlements.append(settlement_of(call, line.attempt, self._circumstances()))
            if len(settlements) >= _SETTLED_AT_ONCE:
                await asyncio.to_thread(self._ledger.settle, settlements)
                settlements = []
        await asyncio.to_thread(self._ledger.settle, settlements)
        await asyncio.to_thread(self._ledger.release, list(calls.values()))
        await asyncio.to_thread(self._ledger.update_batch, batch.number, BatchStatus.ENDED, error=error)

    def _batch(self, number: int) -> Batch:
        return next(batch for batch in self._ledger.batches() if batch.number == number)

    def _circumstances(self) -> Circumstances:
        return Circumstances(
            teacher=self._teacher.teacher.name,
            labels=self._labels,
            renamed=self._renamed,
            now=self._now(),
            seconds=0.0,
            uniform=self._uniform(),
            second_chance=True,
            in_outage=False,
            audit_share=self._audit_share,
        )
