"""Looks on: how many queries wait for the teacher, where the run stands, and what it came to."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from askance.calls import TeacherState
from askance.errors import LedgerError, StreamError
from askance.records import LabelCounts
from askance.rules.estimate import estimate_agreement
from askance.summary import Snapshot

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from askance.manifest import Estimate
    from askance.protocols import Ledger
    from askance.records import Labelled
    from askance.student.slot import Slot
    from askance.telemetry import Telemetry

_logger = logging.getLogger(__name__)
_INTERVAL_SECONDS = 1.0
_LISTEN_SECONDS = 2.0
_AGREEMENT_WINDOW = 500


class Observer:
    """Reads the ledger about once a second; what it last saw is at hand without waiting.

    `ledger` is None where the worker has none (`classify` on Kafka): then nothing is known of labels, and of queries
    what `listen` is told; until it is, the backlog is taken to be empty.
    """

    def __init__(
        self,
        *,
        ledger: Ledger | None,
        slot: Slot,
        telemetry: Telemetry,
        clock: Callable[[], float],
        listener: Callable[[Snapshot], None] | None,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._slot = slot
        self._telemetry = telemetry
        self._clock = clock
        self._listener = listener
        self._unix_time = unix_time
        self._counts = LabelCounts()
        self._accepted_before = 0
        self._teacher_state = TeacherState.ASKING
        self._agreement: Estimate | None = None
        self._is_known = ledger is not None
        self._started = clock()
        self._before = (self._started, 0)

    def backlog(self) -> int:
        """How many queries wait for the teacher or its answer: those last seen and all that were accepted since."""
        if not self._is_known:
            return 0
        return self._counts.pending + self._counts.asked + self._accepted() - self._accepted_before

    def teacher_state(self) -> TeacherState:
        """What the teach worker last said of the teacher, when last looked at."""
        return self._teacher_state

    async def run(self) -> None:
        """Look on until cancelled; a ledger that fails is warned of and looked at again."""
        while True:
            if self._ledger is not None:
                try:
                    await self._read(self._ledger)
                except LedgerError as exc:
                    _logger.warning("%s", exc)
            self._telemetry.pending.set(self.backlog())
            if self._listener is not None:
                self._listener(self._snapshot())
            await asyncio.sleep(_INTERVAL_SECONDS)

    async def listen(self, waiting: Callable[[], Awaitable[int]]) -> None:
        """Ask every few seconds, until cancelled, how many queries wait; `StreamError`s are warned of once in a row."""
        is_warned = False
        while True:
            accepted = self._accepted()
            try:
                self._counts = LabelCounts(pending=await waiting())
            except StreamError as exc:
                # What was known last goes on counting; a broker that refuses to tell from the start closes no gate.
                if not is_warned:
                    _logger.warning("how many queries wait for the teacher cannot be told: %s", exc)
                is_warned = True
            else:
                self._accepted_before, self._is_known, is_warned = accepted, True, False
            await asyncio.sleep(_LISTEN_SECONDS)

    async def _read(self, ledger: Ledger) -> None:
        before, accepted = self._counts.labelled, self._accepted()
        self._counts = await asyncio.to_thread(ledger.counts)
        self._accepted_before = accepted
        self._teacher_state = await asyncio.to_thread(ledger.teacher_state, self._unix_time())
        if self._counts.labelled != before and self._listener is not None:
            self._agreement = stream_agreement(await asyncio.to_thread(ledger.labelled, _AGREEMENT_WINDOW))

    def _accepted(self) -> int:
        return int(self._telemetry.value("askance_accepted_total"))

    def _snapshot(self) -> Snapshot:
        telemetry = self._telemetry
        now, documents = self._clock(), int(telemetry.value("askance_documents_total"))
        rate = (documents - self._before[1]) / max(now - self._before[0], 1e-9)
        self._before = (now, documents)
        return Snapshot(
            seconds=now - self._started,
            documents=documents,
            accepted=self._accepted(),
            dead_letters=telemetry.dead_letter_total(),
            documents_per_second=rate,
            labels=None if self._ledger is None else self._counts,
            version=self._slot.student.version if self._slot.student else None,
            swaps=int(telemetry.value("askance_swaps_total")),
            agreement=self._agreement,
        )


def stream_agreement(rows: Sequence[Labelled]) -> Estimate | None:
    """Agreement of predictions with the teacher over labelled documents, each counted 1/propensity times."""
    judged = [row for row in rows if row.predicted is not None]
    return estimate_agreement([row.predicted == row.label for row in judged], [row.propensity for row in judged])
