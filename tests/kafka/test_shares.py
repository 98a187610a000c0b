"""Budgets per time and caps on spend follow the partitions: each worker has its part, anew after every rebalance."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest

from askance.config import KafkaConfig
from askance.health import Health
from askance.ledger.view import ViewLedger
from askance.rules.budget import PerSecondBudget
from askance.stream.kafka import queries
from askance.stream.kafka.documents import KafkaStream
from askance.stream.kafka.queries import LaneWorker
from askance.telemetry import Telemetry
from tests.kafka.test_fencing import PARTITIONS, filled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


pytestmark = pytest.mark.asyncio


class Budget(PerSecondBudget):
    """Three queries a second over all partitions."""

    def __init__(self) -> None:
        super().__init__(per_second=3.0, floor=0.0, exponent=1.0)

    @property
    def per_second(self) -> float:
        return self._per_second


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        await asyncio.sleep(0.05)


def patient(config: KafkaConfig, session_ms: int) -> KafkaConfig:
    """Fencing takes its time on a busy machine, and no heart beats meanwhile."""
    return KafkaConfig.model_validate(config.model_dump() | {"session": {"timeout": {"ms": session_ms}}})


@asynccontextmanager
async def classifying(config: KafkaConfig, budget: Budget) -> AsyncIterator[None]:
    health = Health(time.monotonic)
    stream = KafkaStream(config, telemetry=Telemetry(), health=health, clock=time.monotonic, on_assigned=budget.hold)
    await stream.start()

    async def poll() -> None:
        while True:
            await stream.fetch(max_records=10, max_wait_seconds=0.05)

    polling = asyncio.create_task(poll())
    try:
        yield
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        await stream.aclose()


async def test_queries_per_second_are_split_by_partitions_and_split_anew(servers: str) -> None:
    config = await filled(servers, "exactly_once")
    budgets = [Budget() for _ in range(PARTITIONS + 1)]

    def rates() -> list[float]:
        return sorted(round(budget.per_second, 6) for budget in budgets[: len(running)])

    running: list[AsyncExitStack] = []

    async def join() -> None:
        stack = AsyncExitStack()
        await stack.enter_async_context(classifying(config, budgets[len(running)]))
        running.append(stack)

    try:
        await join()
        await until(lambda: rates() == [3.0])
        await join()
        await until(lambda: rates() == [1.0, 2.0])
        await join()
        await until(lambda: rates() == [1.0, 1.0, 1.0])
        # More workers than partitions: one stands by, and has nothing to spend.
        await join()
        await until(lambda: rates() == [0.0, 1.0, 1.0, 1.0])
        for _ in range(3):
            await running.pop().aclose()
        await until(lambda: rates() == [3.0])
    finally:
        for stack in running:
            await stack.aclose()


@asynccontextmanager
async def teaching(config: KafkaConfig, ledger: ViewLedger) -> AsyncIterator[LaneWorker]:
    worker = LaneWorker(config, ledger, telemetry=Telemetry(), health=Health(time.monotonic), clock=time.monotonic)
    await worker.start()
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await worker.aclose()


async def test_the_lanes_that_part_the_caps_follow_the_group(servers: str, tmp_path: Path) -> None:
    config = patient(await filled(servers, "exactly_once"), 10_000)
    with closing(ViewLedger(tmp_path / "first.db")) as first, closing(ViewLedger(tmp_path / "second.db")) as second:
        async with teaching(config, first):
            await until(lambda: (len(first.owned), first.lanes) == (PARTITIONS, PARTITIONS))
            async with teaching(config, second):
                await until(lambda: sorted((len(first.owned), len(second.owned))) == [1, 2])
                assert first.owned | second.owned == set(range(PARTITIONS))
                assert second.lanes == PARTITIONS
            await until(lambda: len(first.owned) == PARTITIONS)


async def test_reading_labels_back_for_longer_than_the_session_costs_no_membership(
    servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = patient(await filled(servers, "exactly_once"), 4_000)
    read_back, begun = queries.catch_up, 0

    async def slow(*arguments: Any) -> None:
        nonlocal begun
        begun += 1
        await asyncio.sleep(1.5 * config.session.timeout.ms / 1000)
        await read_back(*arguments)

    monkeypatch.setattr(queries, "catch_up", slow)
    with closing(ViewLedger(tmp_path / "ledger.db")) as ledger:
        async with teaching(config, ledger) as worker:
            await until(lambda: begun > 0)
            lease = worker._membership.lease
            assert ledger.owned == set()
            await until(lambda: len(ledger.owned) == PARTITIONS)
            assert (begun, worker._membership.lease) == (1, lease)
