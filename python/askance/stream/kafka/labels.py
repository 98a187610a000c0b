"""The queries, labels and tallies topics as a ledger sees them: read from where it stands, into it.

Owns that rows and the offsets they were read up to go into the ledger together.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from askance.codec import decode_position, decode_query, decode_settled
from askance.records import Coordinates, DeadLetter, Reason, Record
from askance.stream.kafka.client import connection
from askance.stream.kafka.faults import TROUBLE
from askance.stream.kafka.topics import partition_counts
from askance.stream.kafka.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from askance.config import KafkaConfig
    from askance.health import Health
    from askance.protocols import LedgerView
    from askance.records import Position, Query, Settled
    from askance.telemetry import Telemetry

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")
_MOST_RECORDS = 2_000
_PAUSE_SECONDS = 1.0


class LabelView:
    """Keeps a `train` worker's ledger a materialised view of the queries, labels and tallies; it joins no group.

    The queries are read, too, so that it is known which labels are still to come.
    """

    def __init__(
        self,
        config: KafkaConfig,
        ledger: LedgerView,
        *,
        telemetry: Telemetry,
        health: Health,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._telemetry = telemetry
        self._topics = (config.queries, config.labels, config.tallies)
        self._watchdog = Watchdog(
            config, self._topics, f"topic {config.labels}", telemetry=telemetry, health=health, clock=clock
        )
        self.is_current = False
        """Whether everything has been read that stood there when reading began. Until then the ledger holds some of
        one topic and less of another, and nothing may be concluded from it."""

    async def run(self) -> None:
        """Fill until cancelled; a broker that is away is waited for. Raises `StreamError` without the topic."""
        while True:
            self._watchdog.awaits("connecting")
            try:
                await self._follow()
            except TROUBLE as exc:
                self._telemetry.rebuilds.inc()
                _logger.warning("the labels topic cannot be read, trying again: %s: %s", type(exc).__name__, exc)
                self._watchdog.came_round()
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _follow(self) -> None:
        async with reader(self._config) as consumer:
            counts = await partition_counts(self._config, self._topics)
            partitions = [TopicPartition(topic, number) for topic in counts for number in range(counts[topic])]
            await _assign(consumer, self._ledger, partitions)
            ends = await consumer.end_offsets(partitions)
            self._watchdog.works()
            while True:
                self._watchdog.came_round()
                records = await consumer.getmany(timeout_ms=1000, max_records=_MOST_RECORDS)
                for tp, found in records.items():
                    await _ingest(self._config, self._ledger, tp, found)
                if not self.is_current:
                    self.is_current = all([await consumer.position(tp) >= ends[tp] for tp in partitions])
                if records:
                    self._watchdog.fetched(consumer, records)
                else:
                    await self._watchdog.check_lag(consumer)


async def catch_up(config: KafkaConfig, ledger: LedgerView, lanes: Sequence[int]) -> None:
    """Read these lanes of the labels topic from where the ledger stands up to their present ends."""
    async with reader(config) as consumer:
        partitions = [TopicPartition(config.labels, lane) for lane in lanes]
        await _assign(consumer, ledger, partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            records = await consumer.getmany(timeout_ms=200, max_records=_MOST_RECORDS)
            for tp, found in records.items():
                await _ingest(config, ledger, tp, found)


def reader(config: KafkaConfig) -> AIOKafkaConsumer:
    """A consumer of no group, of what is committed; not started yet."""
    return AIOKafkaConsumer(
        **connection(config),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )


async def _assign(consumer: AIOKafkaConsumer, ledger: LedgerView, partitions: Sequence[TopicPartition]) -> None:
    consumer.assign(partitions)
    offsets = await asyncio.to_thread(ledger.offsets)
    for tp in partitions:
        if (offset := offsets.get((tp.topic, tp.partition))) is not None:
            consumer.seek(tp, offset)


async def _ingest(config: KafkaConfig, ledger: LedgerView, tp: TopicPartition, records: Sequence[Any]) -> None:
    queries: list[Query] = []
    settled: list[Settled] = []
    counted: list[Position] = []
    if tp.topic == config.queries:
        queries, broken = decoded(records, decode_query)
    elif tp.topic == config.labels:
        settled, broken = decoded(records, decode_settled)
    else:
        counted, broken = decoded(records, decode_position)
    for letter in broken:
        _logger.error("%s holds what does not belong there: %s", letter.record.coordinates, letter.detail)
    end = {(tp.topic, tp.partition): records[-1].offset + 1}
    await asyncio.to_thread(ledger.ingest, queries, settled, end, counted)


def decoded(records: Sequence[Any], decode: Callable[[bytes], _T]) -> tuple[list[_T], list[DeadLetter]]:
    """What the records say, and those that say nothing that belongs there."""
    found: list[_T] = []
    broken: list[DeadLetter] = []
    for record in records:
        try:
            found.append(decode(record.value or b""))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            coordinates = Coordinates(record.topic, record.partition, record.offset)
            original = Record(coordinates, record.value, record.key, record.headers, record.timestamp)
            broken.append(DeadLetter(original, Reason.INVALID_JSON, str(exc)))
    return found, broken
