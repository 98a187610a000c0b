"""Queries in, labels out: what lets `teach` and `train` work on topics.

Owns that each query's label is produced once: a lane (a partition of the queries topic, and of the labels topic) is
asked about only by the member that holds it, after that one has fenced its predecessors and read everything they had
published; labels are settled in the ledger first and then produced in transactions of the lane's own producer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from askance.codec import decode_position, decode_query, decode_settled, encode_predictions, encode_settled
from askance.errors import StreamError
from askance.records import Coordinates, DeadLetter, Reason, Record, Standing
from askance.rules.serving import answer
from askance.stream.kafka.client import connection
from askance.stream.kafka.faults import TROUBLE
from askance.stream.kafka.letters import dead
from askance.stream.kafka.membership import Membership
from askance.stream.kafka.produce import Outgoing, send
from askance.stream.kafka.topics import partition_counts
from askance.stream.kafka.watchdog import Watchdog
from askance.tracing import headers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from askance.config import KafkaConfig
    from askance.health import Health
    from askance.protocols import LedgerView
    from askance.records import Position, Query, Settled
    from askance.telemetry import Telemetry

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")
_POLL_SECONDS = 0.1
_MOST_RECORDS = 2_000
_PUBLISHED_AT_ONCE = 500
_PAUSE_SECONDS = 1.0


class _Tenure(NamedTuple):
    """Lanes that the group has assigned, and the lease under which it has: once that ends, so do they."""

    lanes: frozenset[int]
    lease: int


class LaneWorker:
    """Keeps a `teach` worker's ledger filled from the queries topic, and publishes what it settles."""

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
        self._behind: _Tenure | None = None
        self._catching_up: tuple[_Tenure, asyncio.Task[None]] | None = None
        self._owned = _Tenure(frozenset(), 0)
        self._predictions_width = 0
        self._membership = Membership(
            config,
            group=f"{config.group.id}-teach",
            topics=[config.queries],
            transactional=True,
            prepare=self._prepare,
            telemetry=telemetry,
            health=health,
            clock=clock,
        )

    async def start(self) -> None:
        """Join the group; raises `StreamError`."""
        await self._membership.start()

    async def aclose(self) -> None:
        """Publish what is settled, then leave the group."""
        await self._publish()
        await self._membership.aclose()

    async def run(self) -> None:
        """Fill and publish until cancelled; raises `StreamError` when that cannot go on."""
        try:
            while True:
                poll = await self._membership.poll(max_records=_MOST_RECORDS, max_wait_seconds=_POLL_SECONDS)
                try:
                    for tp, records in poll.records.items():
                        await self._ingest(tp, records)
                    await self._own_what_is_caught_up()
                except TROUBLE as exc:
                    self._membership.fail(exc)
                await self._publish()
        finally:
            if self._catching_up is not None:
                self._catching_up[1].cancel()
                await asyncio.gather(self._catching_up[1], return_exceptions=True)

    async def _prepare(self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> None:
        config = self._config
        counts = await partition_counts(config, (config.queries, config.labels, config.predictions))
        self._predictions_width = counts[config.predictions]
        lanes, width = counts[config.queries], counts[config.labels]
        if width != lanes:
            msg = (
                f"{config.queries} has {lanes} partitions and {config.labels} {width}; they must have as many: make "
                "them with `askance topics create`"
            )
            raise StreamError(msg)
        self._ledger.owned = frozenset()
        self._ledger.lanes = lanes
        self._behind = _Tenure(frozenset(tp.partition for tp in partitions), self._membership.lease)
        offsets = await asyncio.to_thread(self._ledger.offsets)
        for tp in partitions:
            if (offset := offsets.get((tp.topic, tp.partition))) is not None:
                consumer.seek(tp, offset)
            else:
                # Not the group's committed offset: this ledger has seen nothing of the lane yet.
                await consumer.seek_to_beginning(tp)

    async def _own_what_is_caught_up(self) -> None:
        """Beside the group's life: no heart beats in `_prepare`, and to read a long topic again takes minutes."""
        if self._catching_up is None:
            if self._behind is not None and self._behind.lease == self._membership.lease:
                catching_up = asyncio.create_task(catch_up(self._config, self._ledger, sorted(self._behind.lanes)))
                self._catching_up = self._behind, catching_up
            return
        tenure, catching_up = self._catching_up
        if not catching_up.done():
            return
        self._catching_up = None
        await catching_up
        # Unless the group has shared the lanes out anew: then others have published since.
        if self._behind is tenure and tenure.lease == self._membership.lease:
            self._behind, self._owned = None, tenure
            self._ledger.owned = tenure.lanes

    async def _ingest(self, tp: TopicPartition, records: Sequence[Any]) -> None:
        queries, broken = _decoded(records, decode_query)
        for letter in broken:
            self._telemetry.dead_letters.labels(reason=letter.reason).inc()
            await asyncio.gather(*await send(self._membership.shared, self._config.dead_letters, 0, [dead(letter)]))
        end = {(tp.topic, tp.partition): records[-1].offset + 1}
        await asyncio.to_thread(self._ledger.ingest, queries, [], end)

    async def _publish(self) -> None:
        membership = self._membership
        async with membership.holding:
            if self._owned.lease != membership.lease:
                # What is settled here may be on the topic by now, from whoever held the lane meanwhile.
                self._ledger.owned = frozenset()
                return
            if not membership.is_sound:
                return
            try:
                for tp in membership.held:
                    settled = await asyncio.to_thread(self._ledger.unpublished, tp.partition, _PUBLISHED_AT_ONCE)
                    if settled:
                        await self._transaction(tp, settled)
            except TROUBLE as exc:
                membership.fail(exc)

    async def _transaction(self, tp: TopicPartition, settled: Sequence[Settled]) -> None:
        client = self._membership.producer(tp)
        offsets = await asyncio.to_thread(self._ledger.offsets)
        await client.begin_transaction()
        outgoing = [
            Outgoing(_key(each.query), encode_settled(each), headers_of(each.query.traceparent), None)
            for each in settled
        ]
        acknowledgements = await send(client, self._config.labels, tp.partition, outgoing)
        for partition, answers in self._corrections(settled).items():
            acknowledgements += await send(client, self._config.predictions, partition, answers)
        await asyncio.gather(*acknowledgements)
        # The group's offset moves along for whoever watches the lag; what was read is remembered by the ledger.
        await client.send_offsets_to_transaction({tp: offsets[tp.topic, tp.partition]}, self._membership.group)
        await client.commit_transaction()
        await asyncio.to_thread(self._ledger.published, settled)

    def _corrections(self, settled: Sequence[Settled]) -> dict[int, list[Outgoing]]:
        """What follows the provisional predictions of a contract, by partition of the predictions topic.

        Sent in the transaction of the labels, so that each is sent once.
        """
        found: dict[int, list[Outgoing]] = {}
        for query, label in ((each.query, each.label) for each in settled):
            if query.standing == Standing.PROVISIONAL:
                prediction, _ = answer(query, label)
                [value] = encode_predictions([prediction])
                partition = query.coordinates.partition % self._predictions_width
                found.setdefault(partition, []).append(Outgoing(query.key, value, headers_of(query.traceparent), None))
        return found


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
        async with _reader(self._config) as consumer:
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
    async with _reader(config) as consumer:
        partitions = [TopicPartition(config.labels, lane) for lane in lanes]
        await _assign(consumer, ledger, partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
            records = await consumer.getmany(timeout_ms=200, max_records=_MOST_RECORDS)
            for tp, found in records.items():
                await _ingest(config, ledger, tp, found)


def _reader(config: KafkaConfig) -> AIOKafkaConsumer:
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
        queries, broken = _decoded(records, decode_query)
    elif tp.topic == config.labels:
        settled, broken = _decoded(records, decode_settled)
    else:
        counted, broken = _decoded(records, decode_position)
    for letter in broken:
        _logger.error("%s holds what does not belong there: %s", letter.record.coordinates, letter.detail)
    end = {(tp.topic, tp.partition): records[-1].offset + 1}
    await asyncio.to_thread(ledger.ingest, queries, settled, end, counted)


def _decoded(records: Sequence[Any], decode: Callable[[bytes], _T]) -> tuple[list[_T], list[DeadLetter]]:
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


def _key(query: Query) -> bytes:
    topic, partition, offset = query.coordinates
    return f"{topic}/{partition}/{offset}".encode()
