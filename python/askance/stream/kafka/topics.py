"""Makes the topics, and says what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from askance.errors import StreamError
from askance.stream.kafka.client import connection

if TYPE_CHECKING:
    from askance.config import KafkaConfig

_LARGEST_RECORD_BYTES = 16 * 1024 * 1024


async def create_topics(
    config: KafkaConfig, *, partitions: int, replication: int, retention_ms: int, documents: bool
) -> dict[str, str]:
    """Make askance's topics, and the documents' too if `documents`; topic to `created` or `exists`.

    Queries and labels are what a lost ledger is rebuilt from, so they are kept for ever unless the user deletes them;
    predictions and dead letters are kept for `retention_ms`. Raises `StreamError`.
    """
    kept = {"cleanup.policy": "delete", "retention.ms": str(retention_ms)}
    for_ever = {"cleanup.policy": "delete", "retention.ms": "-1"}
    # A dead letter carries its record's bytes, whatever their number.
    large = {**kept, "max.message.bytes": str(_LARGEST_RECORD_BYTES)}
    wanted = {config.predictions: kept, config.queries: for_ever, config.labels: for_ever, config.dead_letters: large}
    if documents:
        wanted |= dict.fromkeys(config.documents, kept)
    admin = AIOKafkaAdminClient(**connection(config))
    outcome = {}
    try:
        await admin.start()
        reply = await admin.create_topics(
            [
                NewTopic(name, num_partitions=partitions, replication_factor=replication, topic_configs=settings)
                for name, settings in wanted.items()
            ]
        )
        for name, code, *detail in reply.topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:
                msg = f"topic {name} cannot be made: {error.__name__}: {detail[0] if detail else ''}"
                raise StreamError(msg)
            outcome[name] = "exists" if code else "created"
    except (KafkaError, OSError) as exc:
        msg = f"Kafka at {config.bootstrap.servers} cannot be used: {type(exc).__name__}: {exc}"
        raise StreamError(msg) from exc
    finally:
        await admin.close()
    return outcome


async def partition_count(config: KafkaConfig, topic: str) -> int:
    """How many partitions a topic has; raises `StreamError` when there is no such topic."""
    admin = AIOKafkaAdminClient(**connection(config))
    try:
        await admin.start()
        [described] = await admin.describe_topics([topic])
    finally:
        await admin.close()
    if described["error_code"]:
        msg = f"there is no topic {topic}; make it with `askance topics create`"
        raise StreamError(msg)
    return len(described["partitions"])
