"""What the workers read and write: files, or topics."""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from askance.assembly.state import dead_letter_path, on_kafka
from askance.errors import ConfigError
from askance.stream.local import LocalStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from askance.config import Config
    from askance.health import Health
    from askance.protocols import Ledger
    from askance.stream.kafka.backlog import TeacherBacklog
    from askance.stream.kafka.documents import KafkaStream
    from askance.stream.kafka.labels import LabelView
    from askance.stream.kafka.queries import LaneWorker
    from askance.telemetry import Telemetry

_logger = logging.getLogger(__name__)

_LEARNING_RATE = 1000.0
"""Documents per second at which `askance run` plays a finite file unless told otherwise."""


@asynccontextmanager
async def stream(
    config: Config,
    ledger: Ledger | None,
    telemetry: Telemetry,
    health: Health,
    *,
    learning: bool,
    on_assigned: Callable[[float], None],
) -> AsyncIterator[LocalStream | KafkaStream]:
    """The stream of documents, which is a sink too, opened and in the end closed.

    `ledger` is where a local stream keeps its positions. With `learning`, a finite file is played at a rate at which
    students can learn. `on_assigned` hears the share of the documents' partitions that this worker holds.
    """
    if ledger is None:
        from askance.stream.kafka.documents import KafkaStream

        kafka = KafkaStream(
            config.kafka, telemetry=telemetry, health=health, clock=time.monotonic, on_assigned=on_assigned
        )
        await kafka.start()
        try:
            yield kafka
        finally:
            await kafka.aclose()
    else:
        local = _local_stream(config, ledger, learning=learning)
        try:
            yield local
        finally:
            await local.aclose()


def _local_stream(config: Config, ledger: Ledger, *, learning: bool) -> LocalStream:
    path = None if config.source.path == "-" else Path(config.source.path)
    rate = config.source.rate
    if rate is None:
        rate = _LEARNING_RATE if learning and path is not None and not config.source.follow else 0.0
    opened = LocalStream(
        input=path,
        topic=config.source.topic or (path.stem if path else "stdin"),
        follow=config.source.follow,
        rate=rate,
        predictions=None if config.sink.path == "-" else Path(config.sink.path),
        dead_letters=dead_letter_path(config),
        ledger=ledger,
        clock=time.monotonic,
    )
    if config.source.rate is None and rate:
        _logger.info("playing %s at %g documents a second; --rate changes it, --rate 0 lifts it", path, rate)
    return opened


async def lanes(config: Config, ledger: Ledger, telemetry: Telemetry, health: Health) -> LaneWorker:
    """On Kafka, what fills a `teach` worker's ledger and publishes from it; started."""
    from askance.ledger.view import ViewLedger
    from askance.stream.kafka.queries import LaneWorker

    if not isinstance(ledger, ViewLedger):
        raise TypeError
    worker = LaneWorker(config.kafka, ledger, telemetry=telemetry, health=health, clock=time.monotonic)
    await worker.start()
    return worker


def label_view(config: Config, ledger: Ledger, telemetry: Telemetry, health: Health) -> LabelView:
    """On Kafka, what fills a `train` worker's ledger."""
    from askance.ledger.view import ViewLedger
    from askance.stream.kafka.labels import LabelView

    if not isinstance(ledger, ViewLedger):
        raise TypeError
    return LabelView(config.kafka, ledger, telemetry=telemetry, health=health, clock=time.monotonic)


@asynccontextmanager
async def backlog(config: Config) -> AsyncIterator[TeacherBacklog]:
    """On Kafka, what knows how many queries wait for `teach`; in the end closed."""
    from askance.stream.kafka.backlog import TeacherBacklog

    found = TeacherBacklog(config.kafka)
    try:
        yield found
    finally:
        await found.aclose()


async def create_topics(
    config: Config, *, partitions: int, replication: int, retention_ms: int, documents: bool
) -> dict[str, str]:
    """Make the Kafka topics that are missing; topic to `created` or `exists`."""
    from askance.stream.kafka.topics import create_topics as create

    if not on_kafka(config):
        msg = "kafka.bootstrap.servers is not set; name the brokers with --bootstrap-servers"
        raise ConfigError(msg)
    return await create(
        config.kafka,
        partitions=partitions,
        replication=replication,
        retention_ms=retention_ms,
        documents=documents,
    )
