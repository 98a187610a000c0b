"""`group.instance.id`: a member that is restarted within its session costs the others nothing."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from askance.config import KafkaConfig
from tests.kafka.readback import until
from tests.kafka.test_fencing import PARTITIONS, RECORDS, committed, delivery_of, fetch, filled, member

if TYPE_CHECKING:
    from collections.abc import Sequence

    from askance.stream.kafka.documents import KafkaStream

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

SESSION_MS = 15_000


def named(config: KafkaConfig, instance: str | None) -> KafkaConfig:
    """The settings of one worker, patient enough that a restart on a busy machine is within its session."""
    timeouts = {"session": {"timeout": {"ms": SESSION_MS}}}
    group = {"id": config.group.id, "instance": {"id": instance}}
    return KafkaConfig.model_validate(config.model_dump() | timeouts | {"group": group})


def held(stream: KafkaStream) -> set[int]:
    return {tp.partition for tp in stream._membership.held}


async def until_each_has_one(streams: Sequence[KafkaStream]) -> None:
    async def each_has_one() -> bool:
        return [len(held(stream)) for stream in streams] == [1] * PARTITIONS

    await until(each_has_one, lambda: f"{[held(stream) for stream in streams]}")


@pytest.mark.parametrize("is_static", [True, False])
async def test_a_restart_costs_a_static_group_no_rebalance(servers: str, *, is_static: bool) -> None:
    """Without the names the same restart does: what is asserted can fail."""
    config = await filled(servers, "exactly_once")
    configs = [named(config, f"worker-{number}" if is_static else None) for number in range(PARTITIONS)]
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(member(one)) for one in configs[1:]]
        async with member(configs[0]) as first:
            await until_each_has_one([first, *others])
            had, leases = held(first), [stream._membership.lease for stream in others]
        async with member(configs[0]) as again:
            await until_each_has_one([again, *others])
            # Two heartbeats: by them a member is told of a rebalance.
            await asyncio.sleep(SESSION_MS / 1000 / 2)

            assert ([stream._membership.lease for stream in others] == leases) is is_static
            if is_static:
                assert held(again) == had
                records = await fetch(again, RECORDS)
                assert {record.coordinates.partition for record in records} == had
                assert len(await again.deliver(delivery_of(records, b"again"))) == 1
                assert await committed(config) == dict.fromkeys(had, RECORDS)
