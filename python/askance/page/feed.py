"""Keeps what the page shows up to date, and remembers the charts' past.

Owns the promise that the page's event loop never waits for the ledger, the registry or a worker: they are read on a
thread, one reading at a time. Whoever looks gets the newest figures; what a slow reader misses is not kept for it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from askance.errors import AskanceError
from askance.page.figures import Figures, Flow, Mark, Point, Standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from askance.page.flow import Flows
    from askance.page.reader import Reader

_logger = logging.getLogger(__name__)
MOST_POINTS = 1_800
"""When there are more, every second one is dropped: the charts always begin where the page did."""
_MOST_MARKS = 100


class Feed:
    """Reads every `interval_seconds` until cancelled."""

    def __init__(
        self,
        reader: Reader,
        flows: Flows,
        *,
        title: str,
        budget_share: float | None,
        may_change: bool,
        shows_texts: bool,
        interval_seconds: float,
        unix_time: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._flows = flows
        self._title = title
        self._budget_share = budget_share
        self._may_change = may_change
        self._shows_texts = shows_texts
        self._interval_seconds = interval_seconds
        self._unix_time = unix_time
        self._standing = Standing()
        self._marks: list[Mark] = []
        self._has_read = False
        self._is_closed = False
        self._every = 1
        self._read = 0
        self._reading = asyncio.Lock()
        self._changed = asyncio.Condition()
        self.points: list[Point] = []
        self.figures: Figures | None = None
        """The newest; None before the first reading."""

    async def run(self) -> None:
        """Keep reading; what nobody foresaw is told on the page and in the log, and tried again."""
        while True:
            try:
                await self.look()
            except Exception:
                _logger.exception("the page's figures could not be read")
            await asyncio.sleep(self._interval_seconds)

    async def look(self) -> Figures:
        """Read once, and tell whoever waits."""
        async with self._reading:
            standing, flow, problems = await asyncio.to_thread(self._look)
            at = self._unix_time()
            self._mark(at, standing)
            self._standing = standing
            point = _point(at, standing, flow)
            self._remember(point)
            figures = Figures(
                at=at,
                title=self._title,
                point=point,
                standing=standing,
                flow=flow,
                budget_share=self._budget_share,
                may_change=self._may_change,
                shows_texts=self._shows_texts,
                marks=tuple(self._marks),
                problems=tuple(problems),
            )
            async with self._changed:
                self.figures = figures
                self._changed.notify_all()
            return figures

    async def newer(self, than: Figures | None) -> Figures | None:
        """The newest figures, as soon as there are others than these; None once the feed is closed."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._is_closed or (self.figures is not than and self.figures is not None)
            )
            return None if self._is_closed else self.figures

    async def close(self) -> None:
        """Let go of whoever waits."""
        async with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _look(self) -> tuple[Standing, Flow | None, list[str]]:
        # The ledger first: when it knows of more documents than the workers have counted, there were earlier runs.
        try:
            standing, untold = self._reader.read(), []
        except AskanceError as exc:
            standing, untold = self._standing, [str(exc)]
        flow, problems = self._flows.read()
        return standing, flow, [*problems, *untold]

    def _mark(self, at: float, standing: Standing) -> None:
        if self._has_read and standing.live != self._standing.live:
            self._marks = [*self._marks, Mark(at, standing.live)][-_MOST_MARKS:]
        self._has_read = True

    def _remember(self, point: Point) -> None:
        self._read += 1
        if self._read % self._every == 0:
            self.points.append(point)
        if len(self.points) > MOST_POINTS:
            self.points = self.points[::2]
            self._every *= 2


def _point(at: float, standing: Standing, flow: Flow | None) -> Point:
    documents, accepted = (flow.documents, flow.accepted) if flow else (standing.documents, standing.accepted)
    agreement, spend = standing.learned.agreement, standing.spend or (flow.spend if flow else None)
    return Point(
        at=at,
        documents_per_second=flow.documents_per_second if flow else None,
        p50_ms=flow.p50_ms if flow else None,
        p99_ms=flow.p99_ms if flow else None,
        share=accepted / documents if documents and accepted is not None else None,
        spend=(spend.calls, spend.tokens, spend.nanos) if spend else None,
        agreement=(agreement.value, agreement.low, agreement.high) if agreement else None,
        left=tuple(cap.limit - cap.spent for cap in spend.caps) if spend else (),
    )
