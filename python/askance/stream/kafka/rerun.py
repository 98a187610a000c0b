"""Writes predictions that were made anew to a topic of their own."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Self

from askance.stream.kafka.faults import TROUBLE, translated
from askance.stream.kafka.produce import Outgoing, producer, send, stop
from askance.stream.kafka.topics import make_like, partition_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import AIOKafkaProducer

    from askance.config import KafkaConfig
    from askance.records import Record

VERSION_HEADER = "askance-replay"
"""Of a prediction that was made anew: the version that made it."""


class RerunTopic:
    """An async context manager; without a `topic` nothing is written.

    A topic that is missing is made with the partitions and copies of the topic `like`.
    """

    def __init__(self, config: KafkaConfig, topic: str | None, *, like: str, version: str) -> None:
        self._config = config
        self._topic = topic
        self._like = like
        self._header = (VERSION_HEADER, version.encode())
        self._width = 1
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        if self._topic is not None:
            try:
                await make_like(self._config, self._topic, self._like)
                self._width = (await partition_counts(self._config, [self._topic]))[self._topic]
                self._producer = producer(self._config, None)
                await self._producer.start()
            except TROUBLE as exc:
                raise translated(exc, self._config.bootstrap.servers) from exc
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._producer is not None:
            await stop(self._producer)

    async def write(self, predictions: Sequence[tuple[Record, bytes]]) -> None:
        """Returns when the brokers have them; each bears its document's key, headers and time, and the version."""
        if self._producer is None or self._topic is None:
            return
        by_partition: defaultdict[int, list[Outgoing]] = defaultdict(list)
        for record, value in predictions:
            outgoing = Outgoing(record.key, value, (*record.headers, self._header), record.timestamp_ms)
            by_partition[record.coordinates.partition % self._width].append(outgoing)
        acknowledgements: list[asyncio.Future[Any]] = []
        try:
            for partition, records in by_partition.items():
                acknowledgements += await send(self._producer, self._topic, partition, records)
            await asyncio.gather(*acknowledgements)
        except TROUBLE as exc:
            raise translated(exc, self._config.bootstrap.servers) from exc
