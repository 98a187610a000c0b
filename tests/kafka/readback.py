"""Reads a whole topic back, and waits for what must come true."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiokafka.structs import ConsumerRecord

PATIENCE_SECONDS = 240.0
"""A condition that has not come true by then never will."""


async def until(condition: Callable[[], Awaitable[bool]], what: Callable[[], str]) -> None:
    """Return once the condition holds; a broker that is away is no answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            if await condition():
                return
        await asyncio.sleep(0.1)
    raise TimeoutError(what())


async def read(
    servers: str, topic: str, *, isolation: str = "read_committed", settled: bool = False
) -> list[ConsumerRecord]:
    """The topic's records up to its present end, each partition's in order.

    Transactions that are open end it before its last record; with `settled` they are waited for.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, group_id=None, enable_auto_commit=False, isolation_level=isolation,
        auto_offset_reset="earliest",
    )  # fmt: skip
    found: list[ConsumerRecord] = []
    async with consumer:
        partitions = [TopicPartition(topic, number) for number in await _partitions(servers, topic)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        if settled:
            async with AIOKafkaConsumer(bootstrap_servers=servers, group_id=None) as uncommitted:
                ends = await uncommitted.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)

        async def at_the_end() -> bool:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found.extend(records)
            return all([await consumer.position(tp) >= ends[tp] for tp in partitions])

        await until(at_the_end, lambda: f"{topic} could not be read to its end")
    return found


async def _partitions(servers: str, topic: str) -> list[int]:
    client = AIOKafkaAdminClient(bootstrap_servers=servers)
    await client.start()
    try:
        [described] = await client.describe_topics([topic])
        return sorted(each["partition"] for each in described["partitions"])
    finally:
        await client.close()
