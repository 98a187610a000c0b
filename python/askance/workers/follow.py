"""Sends what follows predictions that a contract left open, beside the stream: nothing waits for it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from askance.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from askance.protocols import Follower

_logger = logging.getLogger(__name__)
INTERVAL_SECONDS = 0.2


async def follow(follower: Follower, *, unix_time: Callable[[], float]) -> None:
    """Until cancelled; a ledger that fails is warned of and tried again. What is being written is finished first."""
    while True:
        try:
            sent = await asyncio.shield(asyncio.ensure_future(follower.follow_up(unix_time())))
        except LedgerError as exc:
            sent = 0
            _logger.warning("what follows predictions waits: %s", exc)
        if not sent:
            await asyncio.sleep(INTERVAL_SECONDS)


async def finish(follower: Follower, *, unix_time: Callable[[], float], stop: asyncio.Event) -> None:
    """Once nobody answers any more: send what there is, and wait for the deadlines of what is still held.

    On `stop` what is held stays in the ledger, for the next run.
    """
    while True:
        sent = await follower.follow_up(unix_time())
        if not sent and (stop.is_set() or not await follower.is_holding()):
            return
        if not sent:
            await asyncio.sleep(INTERVAL_SECONDS)
