"""Watches the live version and the stream: takes a version back that is worse than it was promoted on, tells of drift.

It decides on the ledger's counts and labels alone, so the data plane neither waits for it nor knows of it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from askance.errors import RegistryError
from askance.rules.drift import DriftWatch
from askance.rules.estimate import estimate_window
from askance.rules.guard import reason_to_roll_back

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class GuardWorker:
    """Looks every `interval_seconds` until `stop` is set; each look is one read of the ledger."""

    def __init__(self, *, ledger: Ledger, registry: Registry, limits: Limits, telemetry: Telemetry) -> None:
        self._ledger = ledger
        self._registry = registry
        self._limits = limits
        self._telemetry = telemetry
        self._alarms_told: dict[str, int] = {}
        self._warned: str | None = None

    async def run(self, *, stop: asyncio.Event, interval_seconds: float) -> None:
        """Look, until `stop` is set; a ledger that takes long to read is looked at less often."""
        clock = asyncio.get_running_loop().time
        while not stop.is_set():
            started = clock()
            await asyncio.to_thread(self.look)
            # At most a twentieth of the time: the stream in the same process goes first.
            pause = max(interval_seconds, 19.0 * (clock() - started))
            try:
                await asyncio.wait_for(stop.wait(), pause)
            except TimeoutError:
                continue

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
            estimate_window(mine, self._ledger.judged(since=first), (), version=live),
            mine,
            before,
            promoted_on=manifest.agreement,
            tolerance=limits.tolerance,
            # A version that was shown to be better than the one before it is meant to answer differently.
            jump=1.0 if _was_shown_better(manifest) else limits.jump,
            documents=limits.documents,
        )

    def _new_alarms(self, live: str, tallies: Sequence[Tally]) -> list[Alarm]:
        # The newest block is still being filled: it is looked at once the next one has begun.
        mine = [tally for tally in tallies if tally.version == live][:-1]
        limits = self._limits
        watch = DriftWatch(window=limits.documents, miss=limits.miss, least=limits.drift)
        alarms = [alarm for tally in mine for alarm in watch.observe(tally)]
        new = alarms[self._alarms_told.get(live, 0) :]
        self._alarms_told[live] = len(alarms)
        return new


def _was_shown_better(manifest: Manifest) -> bool:
    difference = manifest.verdict.difference
    return difference is not None and difference.low > 0.0
