"""Documents in; predictions, queries, tallies and dead letters out.

Owns exactly-once on Kafka: of each partition, a batch's outputs and its offset are one transaction of the partition's
own producer (see `membership`). At least once, the offset is committed, under the group's generation, after every
output is acknowledged, and while the next batch is under way. Records fetched under an ended lease are refused.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition

from askance.codec import encode_position, encode_query
from askance.records import Coordinates, Record
from askance.stream.kafka.letters import dead
from askance.stream.kafka.membership import Membership
from askance.stream.kafka.offsets import committed_offsets
from askance.stream.kafka.produce import Outgoing, send
from askance.stream.kafka.topics import partition_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    from askance.config import KafkaConfig
    from askance.health import Health
    from askance.records import Delivery, Position
    from askance.telemetry import Telemetry

    _Outputs = Mapping[tuple[str, int], Mapping[str, Sequence[Outgoing]]]

# A named tuple's own constructor is a Python function, and takes thrice as long.
_tuple = tuple.__new__


class KafkaStream:
    """Implements `protocols.Source` and `protocols.Sink`; `start` first, `aclose` last.

    `on_assigned` hears the share of all the documents' partitions that this worker holds, for budgets per second.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        telemetry: Telemetry,
        health: Health,
        clock: Callable[[], float],
        on_assigned: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._config = config
        self._on_assigned = on_assigned
        self._is_exactly_once = config.delivery == "exactly_once"
        self._widths: dict[str, int] = {}
        self._outputs_to = (config.predictions, config.queries, config.tallies, config.dead_letters)
        self._membership = Membership(
            config,
            group=config.group.id,
            topics=config.documents,
            transactional=self._is_exactly_once,
            prepare=self._prepare,
            telemetry=telemetry,
            health=health,
            clock=clock,
        )

    async def start(self) -> None:
        """Join the group; raises `StreamError`."""
        await self._membership.start()

    async def aclose(self) -> None:
        """Leave the group; a delivery under way is finished first."""
        await self._membership.aclose()

    async def _prepare(self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> None:
        self._widths = await partition_counts(self._config, self._outputs_to)
        # aiokafka's own `committed` may be answered by a request from before the fence.
        for tp, offset in (await committed_offsets(self._config, self._config.group.id, partitions)).items():
            consumer.seek(tp, offset)
        total = sum(len(consumer.partitions_for_topic(topic) or ()) for topic in self._config.documents)
        self._on_assigned(len(partitions) / total if total else 0.0)

    async def fetch(self, *, max_records: int, max_wait_seconds: float) -> Sequence[Record]:
        """See `protocols.Source`; a topic has no end, so this never returns None."""
        poll = await self._membership.poll(max_records=max_records, max_wait_seconds=max_wait_seconds)
        return [record for tp, found in poll.records.items() for record in _records(tp, found, poll.lease)]

    async def deliver(self, delivery: Delivery) -> Sequence[Position]:
        """See `protocols.Sink`."""
        membership = self._membership
        async with membership.holding:
            fresh = [position for position in delivery.positions if position.lease == membership.lease]
            if not fresh or not membership.is_sound:
                return []
            outputs = self._outputs(delivery)
            if self._is_exactly_once:
                parts = [[position] for position in fresh]
                work = [self._transaction(position, outputs) for position in fresh]
            else:
                parts = [fresh]
                work = [self._acknowledged(fresh, outputs)]
            results = await membership.in_time(*work)
            for result in results:
                if isinstance(result, BaseException):
                    membership.fail(result)
            return [
                position for part, result in zip(parts, results, strict=True) if result is None for position in part
            ]

    def _outputs(self, delivery: Delivery) -> _Outputs:
        """Of each input partition, the records of each output topic."""
        config = self._config
        outputs: defaultdict[tuple[str, int], defaultdict[str, list[Outgoing]]] = defaultdict(lambda: defaultdict(list))
        before: tuple[str, int] | None = None
        own: list[Outgoing] = []
        for record, value in delivery.predictions:
            if value is None:
                msg = "documents are held on files only: contract.on_escalation is checked with the settings"
                raise AssertionError(msg)
            where = record.coordinates[:2]
            # A partition's records come one after the other.
            if where != before:
                before, own = where, outputs[where][config.predictions]
            own.append(_tuple(Outgoing, (record.key, value, record.headers, record.timestamp_ms)))
        for record, query in delivery.queries:
            outputs[record.coordinates[:2]][config.queries].append(_beside(record, encode_query(query)))
        for position in delivery.positions:
            if position.tallies:
                counted = Outgoing(None, encode_position(position), (), None)
                outputs[position.topic, position.partition][config.tallies].append(counted)
        for letter in delivery.dead_letters:
            outputs[letter.record.coordinates[:2]][config.dead_letters].append(dead(letter))
        return outputs

    async def _transaction(self, position: Position, outputs: _Outputs) -> None:
        tp = TopicPartition(position.topic, position.partition)
        client = self._membership.producer(tp)
        await client.begin_transaction()
        await self._send(client, position, outputs)
        await client.send_offsets_to_transaction({tp: position.next_offset}, self._config.group.id)
        await client.commit_transaction()

    async def _acknowledged(self, positions: Sequence[Position], outputs: _Outputs) -> None:
        await asyncio.gather(*(self._send(self._membership.shared, position, outputs) for position in positions))
        await self._membership.commit_behind(
            {TopicPartition(position.topic, position.partition): position.next_offset for position in positions}
        )

    async def _send(self, client: AIOKafkaProducer, position: Position, outputs: _Outputs) -> None:
        acknowledgements: list[asyncio.Future[Any]] = []
        for topic, records in outputs[position.topic, position.partition].items():
            partition = position.partition % self._widths[topic]
            acknowledgements += await send(client, topic, partition, records)
        await asyncio.gather(*acknowledgements)


def _records(tp: TopicPartition, found: Sequence[Any], lease: int) -> list[Record]:
    topic, partition = tp
    return [
        # Not by keyword: this is done for every document.
        Record(
            _tuple(Coordinates, (topic, partition, each.offset)),
            each.value,
            each.key,
            each.headers,
            each.timestamp,
            lease,
        )
        for each in found
    ]


def _beside(record: Record, value: bytes) -> Outgoing:
    """An output with its document's key, headers (a `traceparent` among them) and time."""
    return Outgoing(record.key, value, record.headers, record.timestamp_ms)
