"""Watches the live version and the stream: takes a version back that is worse than it was promoted on, tells of drift.

It decides on the ledger's counts and labels alone, so the data plane neither waits for it nor knows of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from askance.directions import Exploration
from askance.errors import LedgerError, RegistryError
from askance.labelset import is_like
from askance.rules.drift import DriftWatch
from askance.rules.estimate import estimate_window
from askance.rules.guard import reason_to_roll_back

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from askance.manifest import Manifest
    from askance.protocols import Ledger, Registry
    from askance.records import Tally
    from askance.rules.drift import Alarm
    from askance.telemetry import Telemetry

_logger = logging.getLogger(__name__)


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
        self._drift = self._new_watch()
        self._seen: set[tuple[str, int, int]] = set()
        self._warned: str | None = None

    def _new_watch(self) -> DriftWatch:
        limits = self._limits
        return DriftWatch(window=limits.documents, miss=limits.miss, least=limits.drift)

    def look(self) -> None:
        """One look; blocking."""
        live = self._registry.current()
        if live is None:
            return
        tallies = self._ledger.tallies()
        for alarm in self._new_alarms(live, tallies):
            self._telemetry.drift_alarms.labels(kind=alarm.kind).inc()
            _logger.warning(
                "drift of the %s after %d documents of %s: %s (total variation %.2f, p = %.1g)",
                alarm.kind,
                alarm.documents,
                live,
                alarm.evidence,
                alarm.variation,
                alarm.p_value,
            )
            self._explore()
            self._on_drift()
        reason = self._reason(live, tallies)
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

    def _reason(self, live: str, tallies: Sequence[Tally]) -> str | None:
        limits = self._limits
        mine = [tally for tally in tallies if tally.version == live]
        if not mine:
            return None
        manifest = self._registry.manifest(live)
        first = min(tally.first_offset for tally in mine)
        before = [tally for tally in tallies if tally.version == manifest.parent and manifest.parent is not None]
        return reason_to_roll_back(
            estimate_window(mine, self._ledger.judged(since=first, versions=(live,)), (), version=live),
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
            self._watched, self._drift, self._seen = live, self._new_watch(), set()
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
            alarms += self._drift.observe(tally)
        return alarms


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
