"""Real processes on a real broker, killed, frozen, restarted and scaled while they stream: nothing is lost or doubled.

`make test-all` streams 100,000 documents through each, with twenty kills; `make soak` 500,000 with more of everything.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient

from askance.registry import DirectoryRegistry
from askance.stream.kafka.offsets import committed_offsets
from tests.kafka.checks import check
from tests.kafka.fleet import Fleet
from tests.kafka.readback import until
from tests.kafka.test_fencing import PARTITIONS, RECORDS, delivery_of, fetch, filled, member

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from deploy.kafka.broker import Cluster

pytestmark = pytest.mark.slow

# A budget without a memory gives a document's second prediction the first one's propensity, so that duplicates can be
# compared; one with a memory is what people use.
BUDGET = {"exactly_once": ["--share", "0.1"], "at_least_once": ["--m-raru"]}
DELIVERIES = tuple(BUDGET)
rng = random.Random(3)


class Size:
    """How much of everything."""

    def __init__(self, *, soak: bool) -> None:
        self.documents = 500_000 if soak else 100_000
        self.kills = 60 if soak else 20
        self.rounds = 6 if soak else 2


@pytest.fixture(scope="session")
def size(request: pytest.FixtureRequest) -> Size:
    return Size(soak=request.config.getoption("--soak"))


async def in_rounds(fleet: Fleet, documents: int, rounds: int, disturb: Callable[[int], Awaitable[None]]) -> None:
    """Feed the documents in so many parts, and disturb the workers somewhere in the midst of each."""
    for number in range(rounds):
        part = documents // rounds if number < rounds - 1 else documents - fleet.fed
        begun = fleet.fed
        await fleet.feed(part)
        await fleet.until_done(begun + rng.randrange(1, part // 2))
        await disturb(number)
    await fleet.until_done(documents)


async def kills(fleet: Fleet, size: Size) -> None:
    async def kill(_: int) -> None:
        number = rng.choice(list(fleet.workers))
        fleet.kill(number)
        fleet.start(number)

    fleet.start(1, 2, 3)
    await in_rounds(fleet, size.documents, size.kills, kill)


async def zombie(fleet: Fleet, size: Size) -> None:
    """A worker is frozen until the others have taken over and done all its work, then wakes up amid its batch."""

    async def freeze(_: int) -> None:
        number = rng.choice(list(fleet.workers))
        fleet.signal(number, signal.SIGSTOP)
        await fleet.until_done(fleet.fed)
        fleet.signal(number, signal.SIGCONT)

    fleet.start(1, 2, 3)
    await in_rounds(fleet, size.documents, size.rounds + 1, freeze)


async def rolling_restart(fleet: Fleet, size: Size) -> None:
    async def restart(_: int) -> None:
        for number in (1, 2, 3):
            await fleet.stop(number)
            fleet.start(number)

    fleet.start(1, 2, 3)
    await in_rounds(fleet, size.documents, size.rounds, restart)


async def scaling(fleet: Fleet, size: Size) -> None:
    async def scale(number: int) -> None:
        if number % 2 == 0:
            fleet.start(2, 3)
        else:
            await fleet.stop(2, 3)

    fleet.start(1)
    await in_rounds(fleet, size.documents, 2 * size.rounds, scale)


async def promotions(fleet: Fleet, size: Size) -> None:
    """Every two seconds another version goes live while the stream runs."""
    registry = DirectoryRegistry(fleet.folder / "state" / "registry", on_warning=pytest.fail)
    versions = [manifest.version for manifest in registry.versions()]
    rounds = 4 * size.rounds
    fleet.start(1, 2, 3)
    for number in range(1, rounds + 1):
        await fleet.feed(size.documents // rounds)
        await fleet.until_done(fleet.fed // 2)
        await asyncio.to_thread(registry.promote, versions[number % len(versions)])
        await asyncio.sleep(2)
    await fleet.until_done(size.documents)
    used = Counter(json.loads(each.value)["version"] for each in await fleet.read(fleet.config.kafka.predictions))
    assert used.keys() == set(versions)


@pytest.mark.asyncio
@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("scenario", [kills, zombie, rolling_restart, scaling, promotions])
async def test_nothing_is_lost_or_doubled(
    scenario: Callable[[Fleet, Size], Awaitable[None]],
    delivery: str,
    servers: str,
    state: Path,
    tmp_path: Path,
    size: Size,
) -> None:
    async with Fleet(servers, tmp_path, delivery=delivery, state=state, budget=BUDGET[delivery]) as fleet:
        await scenario(fleet, size)
        await fleet.stop(*fleet.workers)
        await check(fleet)


@pytest.mark.asyncio
@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_the_broker_is_restarted(
    delivery: str, own_cluster: Cluster, state: Path, tmp_path: Path, size: Size
) -> None:
    [broker] = own_cluster.brokers

    async def restart(number: int) -> None:
        # By turns an orderly shutdown and a crash.
        await asyncio.to_thread(broker.kill, signal.SIGTERM if number % 2 == 0 else signal.SIGKILL)
        broker.start()
        await asyncio.to_thread(own_cluster.wait_until_ready)

    servers = own_cluster.bootstrap_servers
    async with Fleet(servers, tmp_path, delivery=delivery, state=state, budget=BUDGET[delivery]) as fleet:
        fleet.start(1, 2, 3)
        await fleet.until_joined()
        await in_rounds(fleet, size.documents, size.rounds, restart)
        await fleet.stop(*fleet.workers)
        await check(fleet)


@pytest.mark.asyncio
@pytest.mark.parametrize("delivery", DELIVERIES)
async def test_the_leader_is_killed(
    delivery: str, three_brokers: Cluster, state: Path, tmp_path: Path, size: Size
) -> None:
    servers = three_brokers.bootstrap_servers
    async with Fleet(
        servers, tmp_path, delivery=delivery, state=state, budget=BUDGET[delivery], replication=3
    ) as fleet:

        async def kill(number: int) -> None:
            leader = await three_brokers.leader(fleet.config.kafka.documents[0], number)
            broker = three_brokers.brokers[leader - 1]
            await asyncio.to_thread(broker.kill)
            await fleet.until_done(fleet.fed)
            broker.start()
            await asyncio.to_thread(three_brokers.wait_until_ready)

            async def in_sync() -> bool:
                return await three_brokers.is_in_sync(fleet.config.kafka.documents[0])

            await until(in_sync, lambda: "the broker that was killed did not catch up")

        fleet.start(1, 2, 3)
        await fleet.until_joined()
        await in_rounds(fleet, size.documents, size.rounds, kill)
        await fleet.stop(*fleet.workers)
        await check(fleet)


@pytest.mark.asyncio
async def test_a_broker_that_is_not_the_coordinator_is_not_believed(
    three_brokers: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers with an error and no partitions, which aiokafka takes for "nothing was ever committed"."""
    config = await filled(three_brokers.bootstrap_servers, "at_least_once")
    async with member(config) as stream:
        everything = await fetch(stream, PARTITIONS * RECORDS)
        assert len(await stream.deliver(delivery_of(everything, b"done"))) == PARTITIONS
    look_up, asked = AIOKafkaClient.coordinator_lookup, []

    async def look_up_wrongly_twice(client: AIOKafkaClient, kind: int, key: str) -> int:
        coordinator = await look_up(client, kind, key)
        asked.append(coordinator % 3 + 1 if len(asked) < 2 else coordinator)
        await client.ready(asked[-1])
        return asked[-1]

    monkeypatch.setattr(AIOKafkaClient, "coordinator_lookup", look_up_wrongly_twice)
    partitions = [TopicPartition(config.documents[0], number) for number in range(PARTITIONS)]

    assert await committed_offsets(config, config.group.id, partitions) == dict.fromkeys(partitions, RECORDS)

    assert len(set(asked)) == 2
