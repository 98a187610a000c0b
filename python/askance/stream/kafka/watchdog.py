"""Notices that a consumer has lag and makes no progress, and says so: to whoever rebuilds it, to metrics and to health.

A client can fall asleep for good with every connection open: a background task that died, a fetch that is never
answered, a rebalance that never ends. The group keeps such a member, because its heartbeats come from another task.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from askance.stream.kafka.topics import partition_counts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer, TopicPartition

    from askance.config import KafkaConfig
    from askance.health import Health
    from askance.telemetry import Telemetry

# So many stalls in a row, with nothing fetched in between though the consumer was built anew, and a restart is due.
_HOPELESS_STALLS = 2
# Closing the consumer and the producers takes up to ten seconds each; see `membership`.
_CLOSING_SECONDS = 30.0


class Watchdog:
    """Watches one consumer, which may be built anew; `part` is its name in `Health`."""

    def __init__(
        self,
        config: KafkaConfig,
        topics: Sequence[str],
        part: str,
        *,
        telemetry: Telemetry,
        health: Health,
        clock: Callable[[], float],
    ) -> None:
        self._config = config
        self._topics = list(topics)
        self._part = part
        self._telemetry = telemetry
        self._health = health
        self._clock = clock
        self._progress_at = clock()
        self._stalls = 0
        self._measured: set[TopicPartition] = set()

    def awaits(self, why: str) -> None:
        """The consumer is being built, or the group shares out its partitions: nothing is fetched, in order."""
        self._forget_lag()
        self._health.unready(self._part, why)

    def restarts(self) -> None:
        """From now on progress is expected."""
        self._progress_at = self._clock()

    def works(self) -> None:
        """The consumer has its partitions and may fetch."""
        self.restarts()
        self._health.ready(self._part)

    def ends(self) -> None:
        """The consumer is closed in order."""
        self._forget_lag()
        self._health.forget(self._part)

    def came_round(self) -> None:
        """Whoever polls has come round."""
        # Between two polls a batch is scored and delivered, or the connection is closed and built, each with a limit.
        limit = 2 * (self._config.stall_seconds + self._config.rebalance.timeout.ms / 1000) + _CLOSING_SECONDS
        self._health.beat(self._part, within_seconds=limit)

    def fetched(self, consumer: AIOKafkaConsumer, records: Mapping[TopicPartition, Sequence[Any]]) -> None:
        """These came."""
        self.restarts()
        if self._stalls:
            self._stalls = 0
            self._health.moving(self._part)
        for tp, found in records.items():
            end = consumer.highwater(tp)
            if end is not None:
                self._measure(tp, max(0, end - found[-1].offset - 1))

    def check_assignment(self) -> None:
        """Raises `TimeoutError` when the group has not shared out its partitions for far too long."""
        limit = self._config.stall_seconds + self._config.rebalance.timeout.ms / 1000
        if self._clock() - self._progress_at >= limit:
            self._stalled(f"no partitions were assigned for {limit:g} s")

    async def check_lag(self, consumer: AIOKafkaConsumer) -> None:
        """Nothing came. Raises `TimeoutError` when that lasts too long although there is something."""
        limit = self._config.stall_seconds
        if self._clock() - self._progress_at < limit:
            return
        partitions = list(consumer.assignment())
        async with asyncio.timeout(limit):
            # Of a topic that was deleted nothing is heard any more, not even an error.
            await partition_counts(self._config, self._topics)
            ends = await consumer.end_offsets(partitions)
            lags = {tp: max(0, ends[tp] - await consumer.position(tp)) for tp in partitions}
        self.restarts()
        for tp, lag in lags.items():
            self._measure(tp, lag)
        if lag := sum(lags.values()):
            self._stalled(f"{lag} records behind, and none came for {limit:g} s")

    def _stalled(self, why: str) -> None:
        self._stalls += 1
        self._telemetry.stalls.inc()
        if self._stalls >= _HOPELESS_STALLS:
            self._health.stuck(self._part, f"{why}, {self._stalls} times in a row")
        raise TimeoutError(why)

    def _measure(self, tp: TopicPartition, lag: int) -> None:
        self._measured.add(tp)
        self._telemetry.lag.labels(topic=tp.topic, partition=tp.partition).set(lag)

    def _forget_lag(self) -> None:
        while self._measured:
            tp = self._measured.pop()
            self._telemetry.lag.remove(tp.topic, str(tp.partition))
