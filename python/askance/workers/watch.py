"""Keeps the slot on the registry's champion, while the stream runs."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from askance.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from askance.protocols import Registry, Student
    from askance.student.slot import Slot
    from askance.telemetry import Telemetry

_logger = logging.getLogger(__name__)


async def watch(
    *,
    registry: Registry,
    load: Callable[[str], Student],
    slot: Slot,
    telemetry: Telemetry,
    interval_seconds: float,
    stop: asyncio.Event,
) -> None:
    """Poll the champion's name and swap it in once it is loaded, checked and warm, until `stop` is set.

    A version that cannot be loaded is refused once, with its reason; the live student stays.
    """
    refused: str | None = None
    while not stop.is_set():
        try:
            champion = await asyncio.to_thread(registry.current)
            live = slot.student.version if slot.student else None
            if champion is not None and champion not in (live, refused):
                try:
                    slot.put(await asyncio.to_thread(load, champion))
                except RegistryError as exc:
                    refused = champion
                    telemetry.swap_failures.inc()
                    _logger.error("version %s is not swapped in: %s", champion, exc)
                else:
                    telemetry.swaps.inc()
                    _logger.info("version %s is live", champion)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the stream must not lose its watch for ever
            _logger.warning("the registry cannot be read, the live version stays: %s: %s", type(exc).__name__, exc)
        try:
            await asyncio.wait_for(stop.wait(), interval_seconds)
        except TimeoutError:
            continue
