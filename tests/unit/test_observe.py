"""What is known of the backlog where the worker has no ledger."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import pytest

from askance.errors import StreamError
from askance.student.slot import Slot
from askance.telemetry import Telemetry
from askance.workers import observe
from askance.workers.observe import Observer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio


async def after_each(observer: Observer, telemetry: Telemetry, told: list[int | None]) -> AsyncIterator[int]:
    """The backlog when each of these has been told, None being a refusal; ten documents are accepted while one is."""
    begun, going_on = asyncio.Queue[None](), asyncio.Queue[None]()
    answers = iter(told)

    async def waiting() -> int:
        begun.put_nowait(None)
        await going_on.get()
        telemetry.accepted.inc(10)
        found = next(answers)
        if found is None:
            msg = "refused"
            raise StreamError(msg)
        return found

    listening = asyncio.create_task(observer.listen(waiting))
    try:
        await begun.get()
        for _ in told:
            going_on.put_nowait(None)
            await begun.get()
            yield observer.backlog()
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_the_last_that_was_told_counts_and_all_accepted_since(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(observe, "_LISTEN_SECONDS", 0.0)
    telemetry = Telemetry()
    observer = Observer(ledger=None, slot=Slot(), telemetry=telemetry, clock=time.monotonic, listener=None)
    assert observer.backlog() == 0
    with caplog.at_level(logging.WARNING):
        found = [backlog async for backlog in after_each(observer, telemetry, [None, None, 7, 3, None, None, 100])]
    # A broker that refuses from the start closes no gate; one that is away later leaves it as it is.
    assert found == [0, 0, 17, 13, 23, 33, 110]
    assert [record.getMessage() for record in caplog.records] == [
        "how many queries wait for the teacher cannot be told: refused"
    ] * 2
