"""Produces whole batches: the Python cost is per batch where aiokafka allows it, never a `send` a record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaProducer

from askance.stream.kafka.client import connection

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Sequence

    from askance.config import KafkaConfig

BATCH_BYTES = 512 * 1024
"""Uncompressed bytes a batch of records may have; half of what a topic accepts unless told otherwise."""
REQUEST_BYTES = 64 * 1024 * 1024
TRANSACTION_TIMEOUT_MS = 60_000


class Outgoing(NamedTuple):
    """A record on its way out; `timestamp_ms` None is now."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp_ms: int | None


def producer(config: KafkaConfig, transactional_id: str | None) -> AIOKafkaProducer:
    """An idempotent producer, transactional with an id; not started yet."""
    compression = None if config.compression.type == "none" else config.compression.type
    return AIOKafkaProducer(
        **connection(config),
        acks="all",
        enable_idempotence=True,
        transactional_id=transactional_id,
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        compression_type=compression,
        max_batch_size=BATCH_BYTES,
        max_request_size=REQUEST_BYTES,
    )


async def stop(client: AIOKafkaProducer) -> None:
    """Stop a producer and close its connections, which aiokafka leaves open when the sender has failed (was fenced)."""
    try:
        await client.stop()
    finally:
        await client.client.close()


async def send(
    client: AIOKafkaProducer, topic: str, partition: int, records: Iterable[Outgoing]
) -> list[asyncio.Future[Any]]:
    """Hand the records over in as few batches as they fit in; the futures are done when the broker has them."""
    futures = []
    builder = client.create_batch()
    for key, value, headers, timestamp_ms in records:
        listed = list(headers) if headers else []
        if builder.append(timestamp=timestamp_ms, key=key, value=value, headers=listed) is None:
            futures.append(await client.send_batch(builder, topic, partition=partition))
            builder = client.create_batch()
            builder.append(timestamp=timestamp_ms, key=key, value=value, headers=listed)
    if builder.record_count():
        futures.append(await client.send_batch(builder, topic, partition=partition))
    return futures
