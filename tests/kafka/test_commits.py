"""At least once, offsets are committed behind the next delivery: never too early, in order, and not forgotten."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from askance.stream.kafka import documents, membership
from askance.stream.kafka.offsets import commit
from askance.stream.kafka.produce import send
from tests.kafka.checks import offsets_never_go_back
from tests.kafka.fleet import commits_of
from tests.kafka.readback import until
from tests.kafka.test_fencing import PARTITIONS, RECORDS, committed, delivery_of, fetch, filled, member, refused
from tests.kafka.test_shares import patient

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from askance.records import Record

pytestmark = pytest.mark.asyncio

EVERYTHING = dict.fromkeys(range(PARTITIONS), RECORDS)
A_WHILE = 0.7


def commit_slowly(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    """The first commits take so long before they are sent; those after them take no longer than they need."""
    pauses = iter(seconds)

    async def slowly(*arguments: Any) -> None:
        await asyncio.sleep(next(pauses, 0.0))
        await commit(*arguments)

    monkeypatch.setattr(membership, "commit", slowly)


async def test_nothing_is_committed_before_its_outputs_are_acknowledged(
    servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = await filled(servers, "at_least_once")
    acknowledged = asyncio.Event()

    async def send_into_silence(client: AIOKafkaProducer, *arguments: Any) -> list[asyncio.Future[Any]]:
        return [*await send(client, *arguments), asyncio.ensure_future(acknowledged.wait())]

    monkeypatch.setattr(documents, "send", send_into_silence)
    async with member(config) as stream:
        delivering = asyncio.create_task(stream.deliver(delivery_of(await fetch(stream, PARTITIONS * RECORDS), b"x")))
        await asyncio.sleep(A_WHILE)
        assert not delivering.done()
        assert await committed(config) == {}
        acknowledged.set()
        assert len(await delivering) == PARTITIONS

        async def is_committed() -> bool:
            return await committed(config) == EVERYTHING

        await until(is_committed, lambda: "it was never committed")


async def test_the_next_delivery_does_not_wait_for_the_commit_but_the_next_commit_does(
    servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = await filled(servers, "at_least_once")
    commit_slowly(monkeypatch, A_WHILE)
    async with member(config) as stream:
        everything = await fetch(stream, PARTITIONS * RECORDS)
        early = [record for record in everything if record.coordinates.offset < RECORDS // 2]
        late = [record for record in everything if record.coordinates.offset >= RECORDS // 2]
        assert len(await stream.deliver(delivery_of(early, b"x"))) == PARTITIONS
        assert await committed(config) == {}
        assert len(await stream.deliver(delivery_of(late, b"x"))) == PARTITIONS
    assert await committed(config) == EVERYTHING
    commits = await commits_of(servers, config.group.id)
    offsets_never_go_back(commits)
    assert len(commits) == 2 * PARTITIONS


async def test_a_member_that_leaves_has_committed_what_it_delivered(
    servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = await filled(servers, "at_least_once")
    commit_slowly(monkeypatch, A_WHILE)
    async with member(config) as stream:
        await stream.deliver(delivery_of(await fetch(stream, PARTITIONS * RECORDS), b"x"))
    assert await committed(config) == EVERYTHING


async def test_a_rebalance_waits_for_the_commit_under_way(servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = patient(await filled(servers, "at_least_once"), 8_000)
    async with member(config) as first:
        everything = await fetch(first, PARTITIONS * RECORDS)
        # Longer than it takes until a heartbeat tells of the second member.
        commit_slowly(monkeypatch, 5.0)
        assert len(await first.deliver(delivery_of(everything, b"x"))) == PARTITIONS
        async with member(config) as second, asyncio.timeout(60):
            found: list[Record] = []

            async def poll_both() -> None:
                for stream in (first, second):
                    found.extend(await stream.fetch(max_records=1, max_wait_seconds=0.1))

            while first._membership.lease == everything[0].lease or not second._membership._ready.is_set():
                await poll_both()
            # Both have their share by now. All has been delivered: nobody sees it again.
            for _ in range(20):
                await poll_both()
    assert found == []
    assert await committed(config) == EVERYTHING


async def test_a_commit_that_hangs_is_trouble_and_what_it_was_for_is_read_again(
    servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = (await filled(servers, "at_least_once")).model_copy(update={"stall_seconds": 1.0})
    commit_slowly(monkeypatch, 60.0)
    async with member(config) as stream:
        assert len(await stream.deliver(delivery_of(await fetch(stream, PARTITIONS * RECORDS), b"x"))) == PARTITIONS
        await refused(stream)
        assert await committed(config) == {}
        again = await fetch(stream, PARTITIONS * RECORDS)
        assert {record.coordinates.offset for record in again} == set(range(RECORDS))
        assert len(await stream.deliver(delivery_of(again, b"x"))) == PARTITIONS
    assert await committed(config) == EVERYTHING
