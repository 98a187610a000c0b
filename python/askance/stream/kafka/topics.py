"""Makes the topics, and says what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from askance.errors import StreamError
from askance.stream.kafka.client import connection, explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from askance.config import KafkaConfig

_LARGEST_RECORD_BYTES = 16 * 1024 * 1024


async def create_topics(
    config: KafkaConfig, *, partitions: int, replication: int, retention_ms: int, documents: bool
) -> dict[str, str]:
    """Make askance's topics, and the documents' too if `documents`; topic to `created` or `exists`.

    Queries, labels and tallies are what a lost ledger is rebuilt from, so they are kept for ever unless the user
    deletes them; predictions and dead letters are kept for `retention_ms`. Raises `StreamError`.
    """
    kept = {"cleanup.policy": "delete", "retention.ms": str(retention_ms)}
    for_ever = {"cleanup.policy": "delete", "retention.ms": "-1"}
    wanted = {
        config.predictions: kept,
        config.queries: for_ever,
        config.labels: for_ever,
        config.tallies: for_ever,
        config.dead_letters: kept,
    }
    # What is said of a document carries its text, or its bytes, and its headers, whatever their number.
    wanted = {name: {**settings, "max.message.bytes": str(_LARGEST_RECORD_BYTES)} for name, settings in wanted.items()}
    if documents:
        wanted |= dict.fromkeys(config.documents, kept)
    return await _create(
        config,
        [
            NewTopic(name, num_partitions=partitions, replication_factor=replication, topic_configs=settings)
            for name, settings in wanted.items()
        ],
    )


async def make_like(config: KafkaConfig, topic: str, like: str) -> None:
    """Make a topic that is missing, with as many partitions and copies as another has; raises `StreamError`."""
    admin = AIOKafkaAdminClient(**connection(config))
    try:
        await admin.start()
        [described] = await admin.describe_topics([like])
    finally:
        await admin.close()
    partitions = described["partitions"]
    if not partitions:
        msg = f"there is no topic {like}"
        raise StreamError(msg)
    copies = min(len(partition["replicas"]) for partition in partitions)
    settings = {"max.message.bytes": str(_LARGEST_RECORD_BYTES)}
    await _create(config, [NewTopic(topic, len(partitions), copies, topic_configs=settings)])


async def _create(config: KafkaConfig, topics: Sequence[NewTopic]) -> dict[str, str]:
    admin = AIOKafkaAdminClient(**connection(config))
    outcome = {}
    try:
        await admin.start()
        reply = await admin.create_topics(list(topics))
        for name, code, *detail in reply.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                msg = f"topic {name} cannot be made: {error.__name__}: {detail[0] if detail else ''}"
                raise StreamError(msg)
            outcome[name] = "exists" if code else "created"
    except (KafkaError, OSError) as exc:
        msg = f"Kafka at {config.bootstrap.servers} cannot be used: {explained(exc)}"
        raise StreamError(msg) from exc
    finally:
        await admin.close()
    return outcome


async def look(config: KafkaConfig) -> dict[str, int | str]:
    """Of every topic the settings name: how many partitions it has, or what keeps us from it. Raises `StreamError`."""
    names = (*config.documents, config.predictions, config.queries, config.labels, config.tallies, config.dead_letters)
    admin = AIOKafkaAdminClient(**connection(config))
    try:
        await admin.start()
        described = {topic["topic"]: topic for topic in await admin.describe_topics(list(names))}
    except (KafkaError, OSError) as exc:
        msg = f"the broker {config.bootstrap.servers} cannot be asked: {explained(exc)}"
        raise StreamError(msg) from exc
    finally:
        await admin.close()
    found: dict[str, int | str] = {}
    for name in names:
        error = for_code(described[name]["error_code"])
        if error is NoError:
            found[name] = len(described[name]["partitions"])
        else:
            found[name] = "is not there" if error is UnknownTopicOrPartitionError else error.__name__
    return found


async def partition_counts(config: KafkaConfig, topics: Iterable[str]) -> dict[str, int]:
    """How many partitions each topic has; raises `StreamError` for a topic that is not there."""
    topics = list(topics)
    admin = AIOKafkaAdminClient(**connection(config))
    try:
        await admin.start()
        described = {topic["topic"]: topic for topic in await admin.describe_topics(topics)}
    finally:
        await admin.close()
    for name in topics:
        error = for_code(described[name]["error_code"])
        if error is UnknownTopicOrPartitionError:
            msg = f"there is no topic {name}; make it with `askance topics create`, with --documents for theirs"
            raise StreamError(msg)
        if error is not NoError:
            raise error(name)
    return {name: len(topic["partitions"]) for name, topic in described.items()}
