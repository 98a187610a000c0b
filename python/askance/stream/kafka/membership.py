"""A place in a consumer group, with a fencing producer for every partition held.

Owns two invariants. Nothing is committed for a revoked partition: a rebalance waits for the delivery under way and the
commit behind it, then ends the lease under which everything before was fetched. And a zombie can move nothing: whoever
is assigned a partition starts the producer whose transactional id is made of the group, the topic and the partition
*before* it reads where to begin, which fences every earlier owner whatever that one believes of its membership
(aiokafka has no KIP-447, and with one id a process an evicted member's transaction would be accepted).

Whatever goes wrong, one recovery serves: everything is closed and built anew, and reading goes on from what is
committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition

from askance.errors import StreamError
from askance.stream.kafka.client import connection, explained
from askance.stream.kafka.faults import TROUBLE, is_fatal, translated, unreadable
from askance.stream.kafka.offsets import commit
from askance.stream.kafka.produce import producer, stop
from askance.stream.kafka.topics import partition_counts
from askance.stream.kafka.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from aiokafka import AIOKafkaProducer

    from askance.config import KafkaConfig
    from askance.health import Health
    from askance.telemetry import Telemetry

_logger = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 10.0
# A hung connection is no progress: closing is given up after so long, and the remains are left to the garbage.
_CLOSE_SECONDS = 10.0
_FETCH_BYTES = 2 * 1024 * 1024


class Poll(NamedTuple):
    """What came, by partition, and the lease under which it did."""

    records: Mapping[TopicPartition, Sequence[Any]]
    lease: int


class Membership:
    """Holds the consumer and the producers; `start` first, `aclose` last, everything on one event loop.

    `prepare` is awaited after every assignment, when former owners are fenced and before anything is polled: it sets
    the positions. `holding` is held while something is being made durable; a rebalance waits for it.
    """

    def __init__(
        self,
        config: KafkaConfig,
        *,
        group: str,
        topics: Sequence[str],
        transactional: bool,
        prepare: Callable[[AIOKafkaConsumer, Sequence[TopicPartition]], Awaitable[None]],
        telemetry: Telemetry,
        health: Health,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._group = group
        self._topics = list(topics)
        self._transactional = transactional
        self._prepare = prepare
        self._telemetry = telemetry
        self._watchdog = Watchdog(config, topics, f"group {group}", telemetry=telemetry, health=health, clock=clock)
        self._consumer: AIOKafkaConsumer | None = None
        self._shared: AIOKafkaProducer | None = None
        self._producers: dict[TopicPartition, AIOKafkaProducer] = {}
        self._ready = asyncio.Event()
        self._fetch: asyncio.Task[Any] | None = None
        self._committing: asyncio.Task[None] | None = None
        self._trouble: BaseException | None = None
        self._pause = _FIRST_PAUSE_SECONDS
        self._generation = 0
        self.holding = asyncio.Lock()
        self.lease = 1

    @property
    def group(self) -> str:
        """The consumer group's name."""
        return self._group

    @property
    def held(self) -> frozenset[TopicPartition]:
        """The partitions whose producers are ready; empty when not transactional."""
        return frozenset(self._producers)

    @property
    def is_sound(self) -> bool:
        """False once something has failed, until everything is built anew."""
        return self._trouble is None

    @property
    def consumer(self) -> AIOKafkaConsumer:
        """The consumer; raises `StreamError` when closed."""
        if self._consumer is None:
            msg = "the Kafka stream is closed"
            raise StreamError(msg)
        return self._consumer

    @property
    def shared(self) -> AIOKafkaProducer:
        """The idempotent producer that is no partition's; raises `StreamError` when closed."""
        if self._shared is None:
            msg = "the Kafka stream is closed"
            raise StreamError(msg)
        return self._shared

    def producer(self, tp: TopicPartition) -> AIOKafkaProducer:
        """The producer that fences `tp`."""
        return self._producers[tp]

    def fail(self, exc: BaseException) -> None:
        """Note a failure: the next `poll` builds everything anew. Raises `StreamError` when that could not help."""
        if is_fatal(exc):
            raise translated(exc, self._config.bootstrap.servers) from exc
        if not isinstance(exc, TROUBLE):
            raise exc
        self._in_trouble(exc)

    def _in_trouble(self, exc: BaseException) -> None:
        self._trouble = exc
        self._watchdog.awaits(f"the connection to Kafka is to be built anew: {type(exc).__name__}")

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit as the member that the group knows; raises `CommitFailedError` once it does not know this one."""
        await commit(self.consumer, self._generation, offsets)

    async def commit_behind(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Begin to commit, once the commit before has ended; a rebalance waits for it.

        What it fails with the next `poll` hears; what was to be committed is then read again.
        """
        await self._committed()
        self._committing = asyncio.create_task(self._commit_in_time(offsets))

    async def _commit_in_time(self, offsets: Mapping[TopicPartition, int]) -> None:
        [result] = await self.in_time(self.commit(offsets))
        if result is not None and self._trouble is None:
            self._in_trouble(result)

    async def _committed(self) -> None:
        """Wait for the commit under way."""
        if self._committing is not None:
            await asyncio.wait({self._committing})

    async def in_time(self, *work: Awaitable[None]) -> list[BaseException | None]:
        """What came of each: None, or what it raised; what takes longer than a stall has failed."""

        async def limited(one: Awaitable[None]) -> None:
            async with asyncio.timeout(self._config.stall_seconds):
                await one

        return await asyncio.gather(*(limited(one) for one in work), return_exceptions=True)

    async def start(self) -> None:
        """Join the group; raises `StreamError` when the brokers cannot be reached, refuse, or lack a topic."""
        try:
            await self._build()
        except TROUBLE as exc:
            await self._close()
            raise translated(exc, self._config.bootstrap.servers) from exc

    async def aclose(self) -> None:
        """Leave the group, after whatever is being made durable."""
        await self._close()
        self._watchdog.ends()

    async def poll(self, *, max_records: int, max_wait_seconds: float) -> Poll:
        """The next records; empty when none came in time, while a rebalance is on, or after a failure."""
        nothing = Poll({}, 0)
        self._watchdog.came_round()
        if self._trouble is not None:
            self.fail(self._trouble)
            await self._rebuild()
            return nothing
        try:
            if not self._ready.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ready.wait(), max(max_wait_seconds, 0.05))
                    return nothing
                self._watchdog.check_assignment()
                return nothing
            lease = self.lease
            records = await self._fetched(max_records, max_wait_seconds)
            if not records:
                await self._watchdog.check_lag(self.consumer)
        except UnicodeDecodeError as exc:
            raise await unreadable(self.consumer, exc) from exc
        except TROUBLE as exc:
            self.fail(exc)
            return nothing
        if not records or lease != self.lease or not self._ready.is_set():
            return nothing
        self._watchdog.fetched(self.consumer, records)
        return Poll(records, lease)

    async def _fetched(self, max_records: int, max_wait_seconds: float) -> Mapping[TopicPartition, Sequence[Any]]:
        """The next records, or none once a rebalance begins.

        aiokafka itself would wait through the rebalance and might then take records, and their place in the stream with
        them, under the new assignment, before `prepare` has set the positions; nobody would ever process them.
        """
        wait_ms = max(1, int(max_wait_seconds * 1000))
        fetch = self._fetch = asyncio.create_task(self.consumer.getmany(timeout_ms=wait_ms, max_records=max_records))
        try:
            await asyncio.wait({fetch})
        finally:
            fetch.cancel()
        return {} if fetch.cancelled() else fetch.result()

    async def revoked(self, consumer: AIOKafkaConsumer) -> None:
        """Finish what is being made durable, then end the lease; a rebalance takes every partition away."""
        if self._consumer is not consumer:
            return
        self._ready.clear()
        self._watchdog.awaits("the group shares out its partitions anew")
        if self._fetch is not None:
            self._fetch.cancel()
        async with self.holding:
            # A consumer that is being closed has no part any more in what was built since.
            if self._consumer is not consumer:
                return
            await self._committed()
            self.lease += 1
            producers, self._producers = self._producers, {}
        await asyncio.gather(*(stop(client) for client in producers.values()), return_exceptions=True)

    async def assigned(self, consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> None:
        """Fence former owners, then begin where they have verifiably ended."""
        if self._consumer is not consumer:
            return
        partitions = list(partitions)
        self._generation = self.consumer._coordinator.generation  # noqa: SLF001 - not told in another way
        trouble: BaseException | None = None
        try:
            if self._transactional:
                await asyncio.gather(*(self._fence(tp) for tp in partitions))
            await self._prepare(consumer, partitions)
        except Exception as exc:  # noqa: BLE001 - raising here would only be logged by aiokafka: the next `poll` does
            trouble = exc
        if self._consumer is consumer:
            if trouble is not None:
                self._in_trouble(self._trouble or trouble)
            elif self._trouble is None:
                self._watchdog.works()
            self._ready.set()

    async def _fence(self, tp: TopicPartition) -> None:
        client = producer(self._config, transactional_id(self._group, tp))
        self._producers[tp] = client
        await client.start()

    async def _build(self) -> None:
        config = self._config
        self._trouble = None
        self._watchdog.awaits("joining the group")
        await partition_counts(config, self._topics)
        self._shared = producer(config, None)
        await self._shared.start()
        self._consumer = AIOKafkaConsumer(
            **connection(config),
            group_id=self._group,
            group_instance_id=config.group.instance.id,
            enable_auto_commit=False,
            auto_offset_reset=config.auto.offset.reset,
            isolation_level="read_committed",
            session_timeout_ms=config.session.timeout.ms,
            heartbeat_interval_ms=max(1, config.session.timeout.ms // 4),
            rebalance_timeout_ms=config.rebalance.timeout.ms,
            max_partition_fetch_bytes=_FETCH_BYTES,
        )
        self._consumer.subscribe(self._topics, listener=_Listener(self, self._consumer))
        await self._consumer.start()
        self._watchdog.restarts()

    async def _close(self) -> None:
        # What is being made durable may end, nothing more begins; a rebalance that waits for it must not be waited for.
        async with self.holding:
            await self._committed()
            self.lease += 1
            self._ready.clear()
            consumer, self._consumer = self._consumer, None
        # The consumer first: as long as it runs it may be assigned partitions, and start producers for them.
        if consumer is not None:
            await _within(_CLOSE_SECONDS, consumer.stop())
        clients = [*self._producers.values(), *filter(None, (self._shared,))]
        self._shared, self._producers = None, {}
        await _within(_CLOSE_SECONDS, *(stop(client) for client in clients))

    async def _rebuild(self) -> None:
        """One attempt, so that whoever polls comes round; what it fails with is the next one's cause."""
        _logger.warning("the connection to Kafka is built anew: %s", self._trouble and explained(self._trouble))
        self._telemetry.rebuilds.inc()
        await self._close()
        try:
            async with asyncio.timeout(self._config.rebalance.timeout.ms / 1000):
                await self._build()
        except TROUBLE as exc:
            self.fail(exc)
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        else:
            self._pause = _FIRST_PAUSE_SECONDS


def transactional_id(group: str, tp: TopicPartition) -> str:
    """Of one group and partition only: a topic's name holds no slash. With dashes the group `eu` of the topic `docs-in`
    and the group `eu-docs` of the topic `in` would fence each other for ever.
    """
    return f"{group}/{tp.topic}/{tp.partition}"


async def _within(seconds: float, *closing: Awaitable[None]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*closing, return_exceptions=True)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka is not typed
    def __init__(self, membership: Membership, consumer: AIOKafkaConsumer) -> None:
        self._membership = membership
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - theirs
        await self._membership.revoked(self._consumer)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        await self._membership.assigned(self._consumer, assigned)
