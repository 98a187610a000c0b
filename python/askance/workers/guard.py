"""Watches the live version and the stream: takes a version back that is worse than it was promoted on, tells of drift.

It decides on the ledger's counts and labels alone, so the data plane neither waits for it nor knows of it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from askance.directions import Exploration
from askance.errors import LedgerError, RegistryError
from askance.labelset import is_like
from askance.records import Outcome
from askance.rules.drift import DriftWatch
from askance.rules.estimate import estimate_window
from askance.rules.guard import reason_to_roll_back
from askance.rules.sampled import Drawn, SampledWatch
from askance.rules.tally import newest_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from askance.manifest import Manifest
    from askance.protocols import Ledger, Registry
    from askance.records import Judged, Tally
    from askance.rules.drift import Alarm
    from askance.telemetry import Telemetry

_logger = logging.getLogger(__name__)
_MOST_ROWS = 200_000
"""Queries that a look reads at most, the newest: its memory does not grow with a version's age. Beyond that the
interval that is watched is of a window that slides; by then it is several times narrower than the tolerance."""
_WAITING_SHARE = 0.1
"""A window is looked at once no more than this part of its queries is still to be answered,"""
_PATIENCE = 4
"""or once so many windows' documents have come."""


class Limits(NamedTuple):
    """The settings of `guard`."""

    tolerance: float
    jump: float
    documents: int
    drift: float
    miss: float
    drift_floor: float = 0.0
    """Exploration floor after a drift alarm, for so long:"""
    drift_seconds: float = 0.0


class GuardWorker:
    """`look` now and then; each look is one read of the ledger, and blocks.

    `on_drift` hears of every alarm, so that a training may be due sooner.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        registry: Registry,
        limits: Limits,
        telemetry: Telemetry,
        on_drift: Callable[[], None] = lambda: None,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._registry = registry
        self._limits = limits
        self._telemetry = telemetry
        self._on_drift = on_drift
        self._unix_time = unix_time
        self._watched: str | None = None
        self._begin_watch()
        self._warned: str | None = None

    def _begin_watch(self) -> None:
        limits = self._limits
        # Two watches share what may be missed.
        self._drift = DriftWatch(window=limits.documents, miss=limits.miss / 2, least=limits.drift)
        self._sampled = SampledWatch(miss=limits.miss / 2, least=limits.drift)
        self._seen: set[tuple[str, int, int]] = set()
        self._unsampled: list[Tally] = []
        self._documents = 0

    def look(self) -> None:
        """One look; blocking."""
        live = self._registry.current()
        if live is None:
            return
        tallies = self._ledger.tallies()
        mine = [tally for tally in tallies if tally.version == live]
        rows: Sequence[Judged] = ()
        if mine:
            first = min(tally.first_offset for tally in mine)
            rows = self._ledger.judged(since=first, newest=_MOST_ROWS, versions=(live,))
        for alarm in (*self._new_alarms(live, tallies), *self._sampled_alarms(rows)):
            self._telemetry.drift_alarms.labels(kind=alarm.kind).inc()
            _logger.warning(
                "drift of the %s after %d documents of %s: %s (a change of %.2f, p = %.1g)",
                alarm.kind,
                alarm.documents,
                live,
                alarm.evidence,
                alarm.variation,
                alarm.p_value,
            )
            self._explore()
            self._on_drift()
        reason = self._reason(live, tallies, mine, rows)
        if reason is None or live == self._warned:
            return
        try:
            now = self._registry.rollback(of=live)
        except RegistryError as exc:
            self._warned = live
            _logger.warning("version %s should go (%s), but nothing is there to go back to: %s", live, reason, exc)
        else:
            self._telemetry.rollbacks.inc()
            _logger.warning("version %s is taken back, %s is live again: %s", live, now, reason)

    def _reason(self, live: str, tallies: Sequence[Tally], mine: Sequence[Tally], rows: Sequence[Judged]) -> str | None:
        limits = self._limits
        if not mine:
            return None
        manifest = self._registry.manifest(live)
        before = [tally for tally in tallies if tally.version == manifest.parent and manifest.parent is not None]
        counted = mine
        if len(rows) == _MOST_ROWS:
            counted, rows = newest_blocks(mine, rows, block=self._ledger.block)
        return reason_to_roll_back(
            estimate_window(counted, rows, (), version=live),
            mine,
            before,
            promoted_on=manifest.agreement,
            tolerance=limits.tolerance,
            # A version that was shown to be better, or has other labels, is meant to answer differently.
            jump=1.0 if _was_shown_better(manifest) or self._has_other_labels(manifest) else limits.jump,
            documents=limits.documents,
        )

    def _has_other_labels(self, manifest: Manifest) -> bool:
        if manifest.label_set == 1 or manifest.parent is None:
            return False
        try:
            return not is_like(manifest, self._registry.manifest(manifest.parent))
        except RegistryError:
            return False  # nothing is compared with a version that is no more

    def _explore(self) -> None:
        """Raise the exploration floor for a while: it is a change's first documents that teach what it is."""
        limits = self._limits
        if limits.drift_floor > 0.0 and limits.drift_seconds > 0.0:
            exploration = Exploration(limits.drift_floor, self._unix_time() + limits.drift_seconds)
            self._registry.direct(lambda before: msgspec.structs.replace(before, exploration=exploration))

    def _new_alarms(self, live: str, tallies: Sequence[Tally]) -> list[Alarm]:
        """Of the blocks that were filled since the last look, in the order of the stream."""
        if live != self._watched:
            self._watched = live
            self._begin_watch()
        # The newest block of a partition is still being filled: it is looked at once the next one has begun.
        newest = {(tally.topic, tally.partition): tally.first_offset for tally in tallies}
        filled = [
            tally
            for tally in tallies
            if tally.version == live
            and tally.first_offset < newest[tally.topic, tally.partition]
            and (tally.topic, tally.partition, tally.first_offset) not in self._seen
        ]
        alarms: list[Alarm] = []
        for tally in sorted(filled, key=lambda tally: (tally.first_offset, tally.topic, tally.partition)):
            self._seen.add((tally.topic, tally.partition, tally.first_offset))
            self._unsampled.append(tally)
            alarms += self._drift.observe(tally)
        return alarms

    def _sampled_alarms(self, rows: Sequence[Judged]) -> list[Alarm]:
        """Of the windows whose queries have ended, in the order of the stream."""
        alarms: list[Alarm] = []
        while True:
            counts = itertools.accumulate(tally.documents - tally.uncovered for tally in self._unsampled)
            length = next((place for place, count in enumerate(counts, 1) if count >= self._limits.documents), None)
            if length is None:
                return alarms
            window = self._unsampled[:length]
            blocks = {(tally.topic, tally.partition, tally.first_offset // self._ledger.block) for tally in window}
            drawn = [
                row
                for row in rows
                if (*row.coordinates[:2], row.coordinates.offset // self._ledger.block) in blocks
                and row.predicted is not None
            ]
            waiting = sum(row.status in ("pending", "asked") for row in drawn)
            if waiting > _WAITING_SHARE * len(drawn) and len(self._unsampled) < _PATIENCE * length:
                return alarms
            del self._unsampled[:length]
            self._documents += sum(tally.documents for tally in window)
            alarms += self._sampled.observe(self._with_texts(drawn, blocks), documents=self._documents)

    def _with_texts(self, rows: Sequence[Judged], blocks: set[tuple[str, int, int]]) -> list[Drawn]:
        size = self._ledger.block
        texts: dict[tuple[str, int, int], str] = {}
        for topic, partition, block in blocks:
            found = self._ledger.texts(topic, partition, range(block * size, (block + 1) * size))
            texts.update({(topic, partition, offset): text for offset, text in found.items()})
        return [
            Drawn(
                row.propensity,
                texts.get((*row.coordinates,), ""),
                row.predicted == row.label if row.status == Outcome.LABELLED else None,
            )
            for row in rows
        ]


async def look_after(looks: Sequence[Callable[[], None]], *, stop: asyncio.Event, interval_seconds: float) -> None:
    """Take these looks, one after the other, every `interval_seconds` until `stop` is set.

    A ledger that takes long to read is looked at less often. A look that fails is warned of and taken again.
    """
    clock = asyncio.get_running_loop().time
    while not stop.is_set():
        started = clock()
        for look in looks:
            try:
                await asyncio.to_thread(look)
            except (LedgerError, RegistryError) as exc:
                _logger.warning("%s", exc)
        # At most a twentieth of the time: the stream in the same process goes first.
        pause = max(interval_seconds, 19.0 * (clock() - started))
        try:
            await asyncio.wait_for(stop.wait(), pause)
        except TimeoutError:
            continue


def _was_shown_better(manifest: Manifest) -> bool:
    difference = manifest.verdict.difference
    return difference is not None and difference.low > 0.0
