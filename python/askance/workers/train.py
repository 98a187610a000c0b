"""Trains the next student when enough new labels have come, and makes it champion when it has earned it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from askance.errors import RegistryError, RegistryUnreachableError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from askance.manifest import Manifest
    from askance.protocols import Ledger, Registry, Trainer
    from askance.rules.retraining import RetrainingSchedule
    from askance.telemetry import Telemetry

_logger = logging.getLogger(__name__)
_POLL_SECONDS = 0.25


class TrainWorker:
    """Watches the ledger's labels and trains by the schedule; a failed training leaves the champion as it is."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        trainer: Trainer,
        registry: Registry,
        schedule: RetrainingSchedule,
        telemetry: Telemetry,
        clock: Callable[[], float],
        roll_out: Callable[[str], object] | None = None,
        prune: Callable[[], Sequence[str]] = tuple,
        augment: Callable[[Manifest], Awaitable[Manifest]] | None = None,
    ) -> None:
        """`roll_out` takes a version that was found fit live, by whatever way; default: it is promoted at once.

        `prune` removes versions that nobody needs any more and names them. `augment` makes a better version of one,
        or gives it back as it is.
        """
        self._roll_out = roll_out or registry.promote
        self._prune = prune
        self._augment = augment
        self._ledger = ledger
        self._trainer = trainer
        self._registry = registry
        self._schedule = schedule
        self._telemetry = telemetry
        self._clock = clock
        self._is_owing = True
        self._warned = ""
        self.failure: str | None = None
        """Why no version came out of the last training; None where one did, or none was due."""

    async def run(self, *, stop: asyncio.Event, drain: asyncio.Event) -> None:
        """Train until `stop` is set (a training under way is given up), or until `drain` is set, then once more.

        `drain` says that no more labels will come: whatever has not been trained on yet gets a last training.
        """
        while not stop.is_set():
            last = drain.is_set()
            if self._is_owing:
                await self._make_up()
            counts = await asyncio.to_thread(self._ledger.counts)
            if self._schedule.due(counts.labelled, self._clock(), last=last):
                await self._train_unless_stopped(counts.labelled, stop)
            elif last:
                return
            else:
                await _first_of(stop, drain, seconds=_POLL_SECONDS)

    async def _make_up(self) -> None:
        """A version is published first and promoted then; a process that died in between left it waiting."""
        try:
            version = await asyncio.to_thread(self._registry.unpromoted)
            if version is not None:
                _logger.info("version %s had earned it before: it is rolled out", version)
                await asyncio.to_thread(self._roll_out, version)
        except RegistryUnreachableError as exc:
            self._warn_once(str(exc))
        else:
            self._is_owing = False
            self._warned = ""

    async def _train_unless_stopped(self, labels: int, stop: asyncio.Event) -> None:
        training = asyncio.create_task(self._train(labels))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({training, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not training.done():
            training.cancel()
        await asyncio.wait({training})
        if not training.cancelled():
            training.result()

    async def _train(self, labels: int) -> None:
        started = self._clock()
        used = labels
        try:
            manifest = await self._trainer.train()
            if self._augment is not None:
                manifest = await self._augment(manifest)
        except TrainingError as exc:
            self._telemetry.trainings.labels(outcome="failed").inc()
            self.failure = f"no new version from {labels} labels: {exc}"
            _logger.warning("%s", self.failure)
        else:
            self.failure = None
            # More labels may have come between the decision to train and the reading of the ledger.
            used = max(labels, manifest.trained_on + manifest.held_out)
            outcome = "promoted" if manifest.verdict.promoted else "kept"
            self._telemetry.trainings.labels(outcome=outcome).inc()
            _logger.info("version %s %s: %s", manifest.version, outcome, manifest.verdict.why)
            try:
                if manifest.verdict.promoted:
                    await asyncio.to_thread(self._roll_out, manifest.version)
                if self._augment is not None:
                    # The rounds after the best one made versions too, which must not be taken for ones that wait.
                    await asyncio.to_thread(self._registry.pass_over)
            except RegistryUnreachableError as exc:
                self._is_owing = True
                self._warn_once(f"version {manifest.version} has to wait: {exc}")
            else:
                await asyncio.to_thread(self._remove_old)
        finally:
            self._telemetry.training_seconds.observe(self._clock() - started)
            self._schedule.trained(used, self._clock())

    def _warn_once(self, text: str) -> None:
        if text != self._warned:
            _logger.warning("%s", text)
        self._warned = text

    def _remove_old(self) -> None:
        try:
            removed = self._prune()
        except RegistryError as exc:
            _logger.warning("old versions cannot be removed: %s", exc)
        else:
            if removed:
                _logger.info("removed the old versions %s", ", ".join(removed))


async def _first_of(*events: asyncio.Event, seconds: float) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
