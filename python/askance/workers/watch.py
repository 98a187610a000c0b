"""Keeps the slot on the registry's champion, while the stream runs."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from askance.errors import RegistryError, RegistryUnreachableError

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

    What else the data plane is told follows, and the version on trial. A version that cannot be loaded is refused once,
    with its reason, and one that cannot be reached is tried again; the live student stays.
    """
    refused: str | None = None
    warned = ""
    while not stop.is_set():
        try:
            champion = await asyncio.to_thread(registry.current)
            live = slot.student.version if slot.student else None
            if champion is not None and champion not in (live, refused):
                try:
                    tried = slot.live.challenger
                    known = tried is not None and tried.version == champion
                    slot.put(tried if tried is not None and known else await asyncio.to_thread(load, champion))
                except RegistryUnreachableError:
                    raise
                except RegistryError as exc:
                    refused = champion
                    telemetry.swap_failures.inc()
                    _logger.error("version %s is not swapped in: %s", champion, exc)
                else:
                    telemetry.swaps.inc()
                    _logger.info("version %s is live", champion)
            directions = await asyncio.to_thread(registry.directions)
            if directions != slot.live.directions:
                wanted = directions.challenger.version if directions.challenger else None
                challenger = slot.live.challenger
                if challenger is None or challenger.version != wanted:
                    challenger = await _on_trial(wanted, load, telemetry)
                slot.direct(directions, challenger)
            warned = ""
        except Exception as exc:  # noqa: BLE001 - whatever it is, the stream must not lose its watch for ever
            warning = f"{type(exc).__name__}: {exc}"
            if warning != warned:
                _logger.warning("the registry cannot be read, the live version stays: %s", warning)
            warned = warning
        try:
            await asyncio.wait_for(stop.wait(), interval_seconds)
        except TimeoutError:
            continue


async def _on_trial(version: str | None, load: Callable[[str], Student], telemetry: Telemetry) -> Student | None:
    """The version on trial; None where there is none, or it cannot be loaded: what else is told holds all the same."""
    if version is None:
        return None
    try:
        student = await asyncio.to_thread(load, version)
    except RegistryUnreachableError:
        raise
    except Exception as exc:  # noqa: BLE001 - a trial must not keep the data plane from what it is told
        telemetry.swap_failures.inc()
        _logger.error("version %s cannot be tried: %s", version, exc)
        return None
    _logger.info("version %s is on trial", version)
    return student
