"""Queries in, labels out: what lets `teach` work on topics.

Owns that each query's label is produced once: a lane (a partition of the queries topic, and of the labels topic) is
asked about only by the member that holds it, after that one has fenced its predecessors and read everything they had
published; labels are settled in the ledger first and then produced in transactions of the lane's own producer.

Owns, too, what the group's offset says of a lane: so many queries short of the end as wait for their labels to be
published, and never less than it said before. It is there for whoever watches (`backlog`); what was read is remembered
by the ledger.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from askance.codec import decode_query, encode_predictions, encode_settled
from askance.errors import StreamError
from askance.records import Standing
from askance.rules.serving import answer
from askance.stream.kafka.faults import TROUBLE
from askance.stream.kafka.labels import catch_up, decoded
from askance.stream.kafka.letters import dead
from askance.stream.kafka.membership import Membership
from askance.stream.kafka.offsets import committed_offsets
from askance.stream.kafka.produce import Outgoing, send
from askance.stream.kafka.topics import partition_counts
from askance.tracing import headers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer, TopicPartition

    from askance.config import KafkaConfig
    from askance.health import Health
    from askance.protocols import LedgerView
    from askance.records import Query, Settled
    from askance.telemetry import Telemetry

_POLL_SECONDS = 0.1
_MOST_RECORDS = 2_000
_PUBLISHED_AT_ONCE = 500
_TOLD_SECONDS = 1.0


def group_of_teach(config: KafkaConfig) -> str:
    """The consumer group of all `teach` workers."""
    return f"{config.group.id}-teach"


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
        self._clock = clock
        self._committed: dict[TopicPartition, int] = {}
        self._told_at = clock()
        self._is_abreast = False
        self._membership = Membership(
            config,
            group=group_of_teach(config),
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
                self._is_abreast = False
                poll = await self._membership.poll(max_records=_MOST_RECORDS, max_wait_seconds=_POLL_SECONDS)
                try:
                    for tp, records in poll.records.items():
                        await self._ingest(tp, records)
                    self._is_abreast = True
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
        # Former owners are fenced: nobody else moves it from now on.
        self._committed = await committed_offsets(config, self._membership.group, partitions)
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
        queries, broken = decoded(records, decode_query)
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
                await self._publish_lanes(membership.held)
            except TROUBLE as exc:
                membership.fail(exc)

    async def _publish_lanes(self, lanes: frozenset[TopicPartition]) -> None:
        settled = {
            tp: await asyncio.to_thread(self._ledger.unpublished, tp.partition, _PUBLISHED_AT_ONCE) for tp in lanes
        }
        if not any(settled.values()) and self._clock() - self._told_at < _TOLD_SECONDS:
            return
        self._told_at = self._clock()
        waiting = await asyncio.to_thread(self._ledger.waiting)
        offsets = await asyncio.to_thread(self._ledger.offsets)
        for tp in lanes:
            read = offsets.get((tp.topic, tp.partition), 0)
            if self._is_abreast:
                # It may have gone past the end of a transaction, which is no record.
                read = max(read, await self._membership.consumer.position(tp))
            done = read - waiting.get(tp.partition, 0) + len(settled[tp])
            # A ledger that has not read yet what the lane's former owner had: no way back.
            moves = {tp: done} if done > self._committed.get(tp, 0) else {}
            if settled[tp] or moves:
                await self._transaction(tp, settled[tp], moves)

    async def _transaction(
        self, tp: TopicPartition, settled: Sequence[Settled], moves: Mapping[TopicPartition, int]
    ) -> None:
        client = self._membership.producer(tp)
        await client.begin_transaction()
        outgoing = [
            Outgoing(_key(each.query), encode_settled(each), headers_of(each.query.traceparent), None)
            for each in settled
        ]
        acknowledgements = await send(client, self._config.labels, tp.partition, outgoing)
        for partition, answers in self._corrections(settled).items():
            acknowledgements += await send(client, self._config.predictions, partition, answers)
        await asyncio.gather(*acknowledgements)
        if moves:
            await client.send_offsets_to_transaction(moves, self._membership.group)
        await client.commit_transaction()
        self._committed.update(moves)
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


def _key(query: Query) -> bytes:
    topic, partition, offset = query.coordinates
    return f"{topic}/{partition}/{offset}".encode()
