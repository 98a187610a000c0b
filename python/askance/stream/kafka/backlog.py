"""How many queries wait for the teacher, for a `classify` that has no ledger: the broker knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition

from askance.stream.kafka.faults import TROUBLE, translated
from askance.stream.kafka.labels import reader
from askance.stream.kafka.offsets import offsets_by
from askance.stream.kafka.queries import group_of_teach
from askance.stream.kafka.topics import partition_counts

if TYPE_CHECKING:
    from askance.config import KafkaConfig


class TeacherBacklog:
    """Compares the ends of the queries topic with how far the group of `teach` says that it is; see `LaneWorker`.

    What that has not read yet is counted by offsets, and each transaction of `classify` takes one more than its
    queries: while no `teach` runs the count is too high, at most twice as high.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []

    async def waiting(self) -> int:
        """How many queries have no label on the labels topic yet; raises `StreamError`."""
        try:
            consumer = self._consumer or await self._open()
            ends = await consumer.end_offsets(self._partitions)
            # What retention has removed waits for nobody.
            begins = await consumer.beginning_offsets(self._partitions)
            client = consumer._client  # noqa: SLF001 - it has the connections
            done = await offsets_by(client, self._config, group_of_teach(self._config), self._partitions)
        except TROUBLE as exc:
            await self.aclose()
            raise translated(exc, self._config.bootstrap.servers) from exc
        return sum(max(0, ends[tp] - max(begins[tp], done.get(tp, 0))) for tp in self._partitions)

    async def aclose(self) -> None:
        """Let go of the connections; `waiting` makes new ones."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _open(self) -> AIOKafkaConsumer:
        config = self._config
        counts = await partition_counts(config, [config.queries])
        self._partitions = [TopicPartition(config.queries, number) for number in range(counts[config.queries])]
        self._consumer = reader(config)
        await self._consumer.start()
        return self._consumer
