"""Budgets per time and caps on spend follow the partitions: each worker has its part, anew after every rebalance."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest

from askance.calls import Order, Settlement, Spend
from askance.codec import decode_settled, encode_query, encode_settled
from askance.config import KafkaConfig
from askance.health import Health
from askance.ledger.view import ViewLedger
from askance.records import Answer, Coordinates, Label, Outcome, Query, Settled
from askance.rules.budget import PerSecondBudget
from askance.stream.kafka import queries
from askance.stream.kafka.documents import KafkaStream
from askance.stream.kafka.produce import Outgoing, producer, send
from askance.stream.kafka.queries import LaneWorker
from askance.telemetry import Telemetry
from tests.kafka.readback import read
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


def ended(number: int, teacher: str) -> Settled:
    """A query of lane 0, as this teacher has answered it."""
    query = Query(Coordinates("t", 0, number), f"d{number}", "text", None, None, 1.0, 1.0, None, 0)
    return Settled(query, Label(query.coordinates, Outcome.LABELLED, "b", teacher, Answer("b"), 0.0))


async def test_what_others_published_meanwhile_is_not_published_again(
    servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that comes back to a lane, with labels it had no time to publish, reads the topic before it writes."""
    config = patient(await filled(servers, "exactly_once"), 10_000)
    mine = [ended(number, "mine") for number in range(2)]
    async with producer(config, None) as client:
        asked = [Outgoing(None, encode_query(each.query), (), None) for each in mine]
        asked.append(Outgoing(None, b"[" * 100_000, (), None))
        await asyncio.gather(*await send(client, config.queries, 0, asked))
        heirs = [Outgoing(None, encode_settled(ended(0, "heir")), (), None)]
        await asyncio.gather(*await send(client, config.labels, 0, heirs))
    read_back = queries.catch_up

    async def slow(*arguments: Any) -> None:
        await asyncio.sleep(1.0)
        await read_back(*arguments)

    monkeypatch.setattr(queries, "catch_up", slow)
    with closing(ViewLedger(tmp_path / "ledger.db")) as ledger:
        ledger.lanes, ledger.owned = PARTITIONS, frozenset({0})
        ledger.ingest([each.query for each in mine], [], {(config.queries, 0): 2})
        calls = ledger.reserve(Order(calls=2, now=1.0), lambda _: Spend(1)).calls
        ledger.settle([Settlement(call.number, (each.label,)) for call, each in zip(calls, mine, strict=True)])
        ledger.owned = frozenset()
        async with teaching(config, ledger):
            await until(lambda: len(ledger.owned) == PARTITIONS and not ledger.unpublished(0, 10))
    labels = [decode_settled(record.value) for record in await read(servers, config.labels)]
    assert [(each.query.coordinates.offset, each.label.teacher) for each in labels] == [(0, "heir"), (1, "mine")]
    assert [record.value for record in await read(servers, config.dead_letters)] == [b"[" * 100_000]
