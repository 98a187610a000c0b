"""An evicted member that does not know it yet can move nothing: neither an output nor the group's offset."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CoordinatorNotAvailableError

from askance.config import KafkaConfig
from askance.health import Health
from askance.records import DeadLetter, Delivery, Position, Reason
from askance.stream.kafka import documents
from askance.stream.kafka.documents import KafkaStream
from askance.stream.kafka.membership import transactional_id
from askance.stream.kafka.produce import Outgoing, producer, send
from askance.stream.kafka.topics import create_topics
from askance.telemetry import Telemetry
from tests.kafka.readback import read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiokafka import AIOKafkaProducer

    from askance.records import Record

PARTITIONS = 3
RECORDS = 30
pytestmark = pytest.mark.asyncio


def settings(servers: str, delivery: str) -> KafkaConfig:
    name = f"fence-{uuid.uuid4().hex[:8]}"
    return KafkaConfig.model_validate(
        {
            "bootstrap": {"servers": servers},
            "group": {"id": name},
            "session": {"timeout": {"ms": 1000}},
            "documents": [f"{name}.documents"],
            "predictions": f"{name}.predictions",
            "queries": f"{name}.queries",
            "labels": f"{name}.labels",
            "tallies": f"{name}.tallies",
            "dead_letters": f"{name}.dead-letters",
            "delivery": delivery,
        }
    )


async def filled(servers: str, delivery: str) -> KafkaConfig:
    config = settings(servers, delivery)
    await create_topics(config, partitions=PARTITIONS, replication=1, retention_ms=-1, documents=True)
    feeder = producer(config, None)
    async with feeder:
        for partition in range(PARTITIONS):
            records = [Outgoing(None, b"%d" % number, (), None) for number in range(RECORDS)]
            await asyncio.gather(*await send(feeder, config.documents[0], partition, records))
    return config


@asynccontextmanager
async def member(config: KafkaConfig) -> AsyncIterator[KafkaStream]:
    stream = KafkaStream(config, telemetry=Telemetry(), health=Health(time.monotonic), clock=time.monotonic)
    await stream.start()
    try:
        yield stream
    finally:
        await stream.aclose()


async def fetch(stream: KafkaStream, records: int) -> list[Record]:
    """So many records, all fetched under one lease."""
    found: list[Record] = []
    async with asyncio.timeout(120):
        while len(found) < records:
            found += await stream.fetch(max_records=records - len(found), max_wait_seconds=0.1)
            newest = max((record.lease for record in found), default=0)
            found = [record for record in found if record.lease == newest]
    return found


def delivery_of(records: Sequence[Record], who: bytes) -> Delivery:
    ends = {record.coordinates.partition: record for record in records}
    counts = Counter(record.coordinates.partition for record in records)
    return Delivery(
        predictions=[(record, who) for record in records],
        queries=[],
        dead_letters=[],
        positions=[
            Position(
                last.coordinates.topic, partition, last.coordinates.offset + 1, counts[partition], 0, 0, last.lease
            )
            for partition, last in ends.items()
        ],
    )


def pretend_to_be_alive(stream: KafkaStream) -> None:
    """The group hears no more of this member, which goes on believing in its membership."""

    async def heard() -> bool:
        return True

    stream._membership.consumer._coordinator._do_heartbeat = heard


async def committed(config: KafkaConfig) -> dict[int, int]:
    client = AIOKafkaAdminClient(bootstrap_servers=config.bootstrap.servers)
    await client.start()
    try:
        found = await client.list_consumer_group_offsets(config.group.id)
        return {tp.partition: where.offset for tp, where in found.items()}
    finally:
        await client.close()


async def refused(zombie: KafkaStream) -> None:
    """Wait until it knows that its commit was."""
    async with asyncio.timeout(60):
        while zombie._membership.is_sound:  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
async def test_a_zombie_moves_nothing(servers: str, delivery: str) -> None:
    config = await filled(servers, delivery)
    async with member(config) as zombie:
        early = await fetch(zombie, PARTITIONS * 5)
        pretend_to_be_alive(zombie)
        async with member(config) as heir:
            everything = await fetch(heir, PARTITIONS * RECORDS)
            assert len(await heir.deliver(delivery_of(everything, b"heir"))) == PARTITIONS

            moved = await zombie.deliver(delivery_of(early, b"zombie"))

            if delivery == "exactly_once":
                assert moved == []
            else:
                # Its predictions are there a second time; what it commits behind them is refused.
                await heir._membership._committed()
                await refused(zombie)
            assert await committed(config) == dict.fromkeys(range(PARTITIONS), RECORDS)
    predictions = await read(servers, config.predictions)
    assert [each.value for each in predictions].count(b"heir") == PARTITIONS * RECORDS
    if delivery == "exactly_once":
        assert {each.value for each in predictions} == {b"heir"}


async def test_a_zombie_that_learns_of_it_between_two_sends_lives_on(
    servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction is over by the second one, of which aiokafka tells in an error that is none of Kafka's."""
    config = await filled(servers, "exactly_once")

    async def send_and_hear(client: AIOKafkaProducer, *arguments: Any) -> list[asyncio.Future[Any]]:
        acknowledgements = await send(client, *arguments)
        await asyncio.gather(*acknowledgements, return_exceptions=True)
        return acknowledgements

    async with member(config) as zombie:
        early = await fetch(zombie, PARTITIONS * 5)
        pretend_to_be_alive(zombie)
        async with member(config) as heir:
            everything = await fetch(heir, PARTITIONS * RECORDS)
            assert len(await heir.deliver(delivery_of(everything, b"heir"))) == PARTITIONS
            letters = [DeadLetter(record, Reason.INVALID_JSON, "poison") for record in early]
            monkeypatch.setattr(documents, "send", send_and_hear)

            both = msgspec.structs.replace(delivery_of(early, b"zombie"), dead_letters=letters)
            assert await zombie.deliver(both) == []

        monkeypatch.undo()
        assert not zombie._membership.is_sound
        async with asyncio.timeout(60):
            while not (zombie._membership.is_sound and zombie._membership.held):
                assert await zombie.fetch(max_records=1, max_wait_seconds=0.1) == []
    assert await committed(config) == dict.fromkeys(range(PARTITIONS), RECORDS)


async def test_a_commit_that_is_tried_again_is_still_the_evicted_members(servers: str) -> None:
    """An empty group takes a commit without a generation from anybody, and aiokafka's retry would send one."""
    config = await filled(servers, "at_least_once")
    async with member(config) as zombie:
        early = await fetch(zombie, PARTITIONS * 5)
        pretend_to_be_alive(zombie)
        async with member(config) as heir:
            everything = await fetch(heir, PARTITIONS * RECORDS)
            assert len(await heir.deliver(delivery_of(everything, b"heir"))) == PARTITIONS
        coordinator = zombie._membership.consumer._coordinator
        send_commit, attempts = coordinator._do_commit_offsets, 0

        async def interrupted(*arguments: object) -> None:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                coordinator.reset_generation()  # as a heartbeat does that learns of the eviction
                raise CoordinatorNotAvailableError
            await send_commit(*arguments)

        coordinator._do_commit_offsets = interrupted

        await zombie.deliver(delivery_of(early, b"zombie"))
        await refused(zombie)

        assert attempts == 1
        assert await committed(config) == dict.fromkeys(range(PARTITIONS), RECORDS)


async def test_a_transaction_that_was_open_when_the_partition_moved_is_aborted(servers: str) -> None:
    config = await filled(servers, "exactly_once")
    async with member(config) as zombie:
        [record, *_] = await fetch(zombie, PARTITIONS * 5)
        pretend_to_be_alive(zombie)
        [tp] = [tp for tp in zombie._membership.held if tp.partition == record.coordinates.partition]
        client = zombie._membership.producer(tp)
        await client.begin_transaction()
        await asyncio.gather(*await send(client, config.predictions, 0, [Outgoing(None, b"zombie", (), None)]))
        await client.send_offsets_to_transaction({tp: 1}, config.group.id)
        async with member(config) as heir:
            everything = await fetch(heir, PARTITIONS * RECORDS)
            assert min(each.coordinates.offset for each in everything) == 0
            assert len(await heir.deliver(delivery_of(everything, b"heir"))) == PARTITIONS

            with pytest.raises(Exception, match=r"(?i)fenced|epoch"):
                await client.commit_transaction()

            assert await committed(config) == dict.fromkeys(range(PARTITIONS), RECORDS)
    predictions = await read(servers, config.predictions)
    assert [each.value for each in predictions] == [b"heir"] * PARTITIONS * RECORDS
    assert b"zombie" in {each.value for each in await read(servers, config.predictions, isolation="read_uncommitted")}


async def test_no_two_groups_fence_each_other() -> None:
    ids = {
        transactional_id(group, TopicPartition(topic, partition))
        for group, topic, partition in [
            ("eu", "docs-in", 1),
            ("eu-docs", "in", 1),
            ("eu", "docs-in-1", 1),
            ("eu", "in", 11),
        ]
    }
    assert len(ids) == 4


async def test_what_was_fetched_before_a_rebalance_is_refused_after_it(servers: str) -> None:
    config = await filled(servers, "exactly_once")
    async with member(config) as first:
        early = await fetch(first, PARTITIONS * 5)
        async with member(config):
            async with asyncio.timeout(120):
                while early[0].lease == first._membership.lease:
                    await first.fetch(max_records=1, max_wait_seconds=0.1)

            assert await first.deliver(delivery_of(early, b"too late")) == []
    assert await read(servers, config.predictions) == []


async def test_a_fetch_that_began_before_a_rebalance_takes_nothing_after_it(servers: str) -> None:
    """What it took under the new lease would be refused, and never be fetched again."""
    config = await filled(servers, "exactly_once")
    async with member(config) as first:
        everything = {record.coordinates for record in await fetch(first, PARTITIONS * RECORDS)}
        waiting = asyncio.create_task(first.fetch(max_records=1000, max_wait_seconds=60))
        async with member(config) as second, asyncio.timeout(60):
            assert await waiting == []
            found = set()
            while found != everything:
                for stream in (first, second):
                    records = await stream.fetch(max_records=1000, max_wait_seconds=0.1)
                    found |= {record.coordinates for record in records}
