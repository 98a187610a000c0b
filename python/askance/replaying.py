"""Predictions and documents of topics gone through again: the decisions proved, or made anew by another version."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from askance import assembly
from askance.errors import ConfigError, UsageError
from askance.rules.comparison import Comparison
from askance.rules.replay import Replay
from askance.student.slot import Slot
from askance.telemetry import Telemetry
from askance.workers.classify import ClassifyWorker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from askance.config import Config, KafkaConfig
    from askance.records import Delivery, Position, Record
    from askance.rules.comparison import Outcome
    from askance.rules.replay import ReplayOutcome
    from askance.stream.kafka.ranges import TopicRange
    from askance.stream.kafka.rerun import RerunTopic

_BATCH = 4_096


def prove(config: Config, topic: str | None, begin: str | None, end: str | None) -> ReplayOutcome:
    """Recompute every decision of a stretch of a topic of predictions (default: `kafka.predictions`)."""
    return asyncio.run(_prove(kafka_of(config), topic or config.kafka.predictions, begin, end))


async def _prove(config: KafkaConfig, topic: str, begin: str | None, end: str | None) -> ReplayOutcome:
    from askance.stream.kafka.ranges import TopicRange, bound

    replay = Replay()
    async with TopicRange(config, [topic], bound(begin or "earliest"), bound(end)) as stretch:
        while (records := await stretch.fetch(max_records=_BATCH, max_wait_seconds=0.0)) is not None:
            places = ["/".join(map(str, record.coordinates)) for record in records]
            await asyncio.to_thread(replay.add, [record.value or b"" for record in records], places)
    return await asyncio.to_thread(replay.outcome)


def rerun(
    config: Config, topic: str | None, begin: str | None, end: str | None, *, version: str | None, into: str | None
) -> tuple[str, Outcome]:
    """Classify a stretch of the documents again, and compare with what `kafka.predictions` records of them.

    `topic` is one of `kafka.documents`, None is all; `version` None is the live one; gate and budget are those of the
    settings, begun anew, on the clock of the records' times. With `into` the new predictions go to that topic, made
    where it is missing, with the version in a header. Nothing else is written, no offset is committed, nobody is asked.
    Returns the version's name and the differences.
    """
    kafka = kafka_of(config)
    topics = kafka.documents if topic is None else (topic,)
    if unknown := sorted(set(topics) - set(kafka.documents)):
        msg = f"{unknown[0]} is none of kafka.documents ({', '.join(kafka.documents)}); only documents are run again"
        raise UsageError(msg)
    used = {kafka.predictions, kafka.queries, kafka.labels, kafka.tallies, kafka.dead_letters}
    if into in used.union(kafka.documents):
        msg = f"--into {into} is a topic that the workers use; name another one"
        raise UsageError(msg)
    registry = assembly.registry(config)
    version = version or registry.current()
    if version is None:
        msg = "no version is live; name one with --version (`askance models list`)"
        raise UsageError(msg)
    slot = Slot()
    slot.put(assembly.load(registry, version))
    return version, asyncio.run(_rerun(config, topics, begin, end, slot, into))


async def _rerun(
    config: Config, topics: Sequence[str], begin: str | None, end: str | None, slot: Slot, into: str | None
) -> Outcome:
    from askance.stream.kafka.ranges import Bound, TopicRange, bound
    from askance.stream.kafka.rerun import RerunTopic

    async with TopicRange(config.kafka, topics, bound(begin or "earliest"), bound(end)) as stretch:
        comparison = Comparison({(tp.topic, tp.partition): span for tp, span in stretch.spans.items()})
        async with RerunTopic(config.kafka, into, like=topics[0], version=_version(slot)) as output:
            stream = _Rerun(stretch, output, comparison)
            await _classify(config, stream, slot)
    # A prediction bears its document's time, so none of these is older than the oldest document.
    oldest = Bound(timestamp_ms=stream.oldest_ms)
    async with TopicRange(config.kafka, [config.kafka.predictions], oldest, Bound()) as recorded:
        while not comparison.is_complete:
            records = await recorded.fetch(max_records=_BATCH, max_wait_seconds=0.0)
            if records is None:
                break
            await asyncio.to_thread(comparison.recorded, [record.value or b"" for record in records])
    return comparison.outcome()


async def _classify(config: Config, stream: _Rerun, slot: Slot) -> None:
    """The data plane's own worker, so that nothing is done in another way than it was."""
    worker = ClassifyWorker(
        source=stream,
        sink=stream,
        decoder=assembly.decoder(config),
        slot=slot,
        gate=assembly.gate(config),
        budget=assembly.budget(config, documents=0, accepted=0),
        backlog=lambda: 0,
        max_backlog=1,
        telemetry=Telemetry(),
        clock=lambda: stream.newest_ms / 1000,
        batch=config.batch,
        linger_seconds=0.0,
    )
    await worker.run(asyncio.Event())


class _Rerun:
    """A stretch of documents as a source, and a topic and a comparison as its sink."""

    def __init__(self, stretch: TopicRange, output: RerunTopic, comparison: Comparison) -> None:
        self._stretch = stretch
        self._output = output
        self._comparison = comparison
        self.oldest_ms: int | None = None
        self.newest_ms = 0

    async def fetch(self, *, max_records: int, max_wait_seconds: float) -> Sequence[Record] | None:
        records = await self._stretch.fetch(max_records=max_records, max_wait_seconds=max_wait_seconds)
        times = [record.timestamp_ms for record in records or () if record.timestamp_ms is not None]
        if times:
            self.oldest_ms = min(times) if self.oldest_ms is None else min(self.oldest_ms, *times)
            self.newest_ms = max(self.newest_ms, *times)
        return records

    async def deliver(self, delivery: Delivery) -> Sequence[Position]:
        # Nothing is held: a replay keeps no contract.
        predictions = [(record, value) for record, value in delivery.predictions if value is not None]
        await self._output.write(predictions)
        await asyncio.to_thread(self._comparison.anew, [value for _, value in predictions])
        return delivery.positions


def _version(slot: Slot) -> str:
    if slot.student is None:
        raise AssertionError
    return slot.student.version


def kafka_of(config: Config) -> KafkaConfig:
    """The settings of Kafka; raises `ConfigError` when none is named."""
    if not assembly.on_kafka(config):
        msg = "kafka.bootstrap.servers is not set; name the brokers with --bootstrap-servers"
        raise ConfigError(msg)
    return config.kafka
