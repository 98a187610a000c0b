"""A consumer that fell asleep with lag is built anew, and health says so: a dead task, a cut wire, brokers away."""

from __future__ import annotations

import asyncio
import re
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from askance.config import KafkaConfig
from askance.health import Health
from askance.stream.kafka.documents import KafkaStream
from askance.stream.kafka.membership import Membership
from askance.stream.kafka.produce import Outgoing, producer, send
from askance.telemetry import Telemetry
from deploy.kafka.broker import free_ports
from tests.kafka.checks import check
from tests.kafka.conftest import cluster_or_skip
from tests.kafka.fleet import Fleet
from tests.kafka.proxy import FETCH, Proxy
from tests.kafka.readback import until
from tests.kafka.test_fencing import PARTITIONS, RECORDS, delivery_of, filled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from askance.records import Record

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]


class Member:
    """A stream that soon gets impatient, with what it tells the world."""

    def __init__(self, config: KafkaConfig) -> None:
        impatient = {"stall_seconds": 1.0, "rebalance": {"timeout": {"ms": 2000}}}
        self.config = KafkaConfig.model_validate(config.model_dump() | impatient)
        self.telemetry = Telemetry()
        self.health = Health(time.monotonic)
        self.stream = KafkaStream(self.config, telemetry=self.telemetry, health=self.health, clock=time.monotonic)
        self.unready: list[str] = []

    async def fetch(self, records: int) -> list[Record]:
        """So many records, delivered as they come."""
        found: list[Record] = []
        async with asyncio.timeout(120):
            while len(found) < records:
                some = await self.stream.fetch(max_records=records - len(found), max_wait_seconds=0.1)
                self.unready += self.health.not_ready()
                if some and await self.stream.deliver(delivery_of(some, b"")):
                    found += some
        return found

    def sleep(self) -> None:
        """The consumer's task that fetches ends, as it does when a client has a fault; the group does not notice."""
        self.stream._membership.consumer._fetcher._fetch_task.cancel()


@pytest_asyncio.fixture
async def woken(servers: str) -> AsyncIterator[Member]:
    member = Member(await filled(servers, "exactly_once"))
    await member.stream.start()
    yield member
    await member.stream.aclose()


async def feed(config: KafkaConfig) -> None:
    async with producer(config, None) as client:
        for partition in range(PARTITIONS):
            records = [Outgoing(None, b"%d" % number, (), None) for number in range(RECORDS)]
            await asyncio.gather(*await send(client, config.documents[0], partition, records))


async def test_a_consumer_that_fell_asleep_is_built_anew(woken: Member) -> None:
    before = await woken.fetch(PARTITIONS * RECORDS)
    assert woken.health.not_ready() == []
    woken.unready.clear()
    woken.sleep()
    await feed(woken.config)

    after = await woken.fetch(PARTITIONS * RECORDS)

    assert len({record.coordinates for record in (*before, *after)}) == 2 * PARTITIONS * RECORDS
    assert woken.telemetry.value("askance_stream_stalls_total") == 1
    assert woken.telemetry.value("askance_stream_rebuilds_total") == 1
    assert any("TimeoutError" in why for why in woken.unready)
    assert woken.health.not_ready() == woken.health.not_alive() == []


async def test_an_idle_consumer_is_left_alone(woken: Member) -> None:
    await woken.fetch(PARTITIONS * RECORDS)
    for _ in range(30):  # three stalls' worth
        assert await woken.stream.fetch(max_records=1, max_wait_seconds=0.1) == []

    assert woken.telemetry.value("askance_stream_rebuilds_total") == 0
    assert woken.health.not_ready() == []
    topic = woken.config.documents[0]
    lags = [woken.telemetry.value("askance_lag_records", topic=topic, partition=str(n)) for n in range(PARTITIONS)]
    assert lags == [0.0] * PARTITIONS


async def test_a_rebalance_that_never_ends_is_ended(woken: Member) -> None:
    await woken.fetch(PARTITIONS * RECORDS)
    await woken.stream._membership.revoked(
        woken.stream._membership.consumer
    )  # as at the start of a rebalance of which nothing is heard again
    assert woken.health.not_ready()
    await feed(woken.config)

    await woken.fetch(PARTITIONS * RECORDS)

    assert woken.telemetry.value("askance_stream_stalls_total") == 1
    assert woken.health.not_ready() == []


async def test_a_restart_is_asked_for_when_building_anew_does_not_help(
    woken: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    await woken.fetch(PARTITIONS * RECORDS)
    build = Membership._build

    async def build_asleep(self: Membership) -> None:
        await build(self)
        woken.sleep()

    monkeypatch.setattr(Membership, "_build", build_asleep)
    woken.sleep()
    await feed(woken.config)
    async with asyncio.timeout(120):
        while not woken.health.not_alive():
            assert await woken.stream.fetch(max_records=1, max_wait_seconds=0.1) == []
    assert "2 times in a row" in woken.health.not_alive()[0]
    monkeypatch.undo()

    await woken.fetch(PARTITIONS * RECORDS)

    assert woken.health.not_alive() == []


async def answers(fleet: Fleet) -> tuple[int, int, float]:
    """/healthz, /readyz, and how often the connection was built anew."""
    [address] = re.findall(r"metrics at (http://\S+)/metrics", fleet.log)

    def fetched(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(address + path, timeout=30) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.read().decode()

    (health, _), (ready, _), (_, metrics) = [
        await asyncio.to_thread(fetched, path) for path in ("/healthz", "/readyz", "/metrics")
    ]
    [rebuilds] = re.findall(r"^askance_stream_rebuilds_total (\S+)$", metrics, re.MULTILINE)
    return health, ready, float(rebuilds)


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
async def test_a_worker_behind_a_cut_wire(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delivery: str
) -> None:
    """First the connections that it fetches on, with the group's left whole; then every one, for a while."""
    monkeypatch.setenv("ASKANCE_METRICS__PORT", "0")
    [between] = free_ports(1)
    cluster = cluster_or_skip(1, **{"advertised.listeners": f"PLAINTEXT://127.0.0.1:{between}"})
    async with Proxy(between, int(cluster.bootstrap_servers.rpartition(":")[2])) as proxy:
        await asyncio.to_thread(cluster.__enter__)
        try:
            async with Fleet(
                f"127.0.0.1:{between}", tmp_path, delivery=delivery, state=state, budget=["--m-raru"],
                stall_seconds=2, rebalance={"timeout": {"ms": 6000}},
            ) as fleet:  # fmt: skip
                fleet.start(1)
                await fleet.feed(600)
                await fleet.until_done(600)
                assert await answers(fleet) == (200, 200, 0.0)

                assert proxy.cut(api=FETCH)
                await fleet.feed(600)
                await fleet.until_done(1200)
                health, ready, rebuilds = await answers(fleet)
                assert (health, ready) == (200, 200)
                assert rebuilds >= 1

                await fleet.feed(600)
                proxy.close()

                async def gone() -> bool:
                    health, ready, tried = await answers(fleet)
                    assert health == 200
                    return ready == 503 and tried >= rebuilds + 2

                await until(gone, lambda: f"the worker does not notice\n{fleet.log[-4000:]}")
                proxy.open()
                await fleet.until_done(1800)
                assert (await answers(fleet))[:2] == (200, 200)
                await fleet.stop(1)
                await check(fleet)
        finally:
            await asyncio.to_thread(cluster.__exit__)
