"""Reads and moves a group's offsets.

Owns that they never go back. aiokafka's own calls lose what matters. Since OffsetFetch v2 a broker that is still
loading the group, or is not its coordinator any more, answers with an error of the whole reply and no partitions, which
they read as "nothing was ever committed". And a commit that is tried again goes out under whatever generation the
member has by then: none, once it was evicted, and an empty group takes a commit without one from anybody.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.commit import OffsetFetchRequest_v3
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)
from aiokafka.structs import OffsetAndMetadata

from askance.stream.kafka.client import connection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiokafka import AIOKafkaConsumer

    from askance.config import KafkaConfig

_PAUSE_SECONDS = 0.1
# COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR: ask again, where the coordinator is by then.
# UNSTABLE_OFFSET_COMMIT: a transaction that moves the offset is being completed.
_ASK_AGAIN = frozenset({14, 15, 16, 88})


class _OffsetFetchResponse_v7(Response):  # type: ignore[misc] # noqa: N801 - as aiokafka, which is not typed, names it
    API_KEY = 9
    API_VERSION = 7
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", CompactString("utf-8")),
                        ("error_code", Int16),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("error_code", Int16),
        ("tags", TaggedFields),
    )


class _OffsetFetchRequest_v7(RequestStruct):  # type: ignore[misc] # noqa: N801 - as aiokafka names it
    """Of KIP-447 (Kafka 2.5): with `require_stable` the broker does not answer from before an ending transaction."""

    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _OffsetFetchResponse_v7
    SCHEMA = Schema(
        ("consumer_group", CompactString("utf-8")),
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
            ),
        ),
        ("require_stable", Boolean),
        ("tags", TaggedFields),
    )


class _OffsetFetch(Request[OffsetFetchRequest_v3 | _OffsetFetchRequest_v7]):  # type: ignore[misc] # not typed
    API_KEY = 9

    def __init__(self, group: str, partitions: Iterable[TopicPartition]) -> None:
        self._group = group
        self._topics: defaultdict[str, list[int]] = defaultdict(list)
        for tp in partitions:
            self._topics[tp.topic].append(tp.partition)

    def build(self, request_struct_class: type[RequestStruct]) -> RequestStruct:
        if request_struct_class.API_VERSION < 7:
            return request_struct_class(self._group, list(self._topics.items()))
        topics: list[Any] = [(topic, numbers, {}) for topic, numbers in self._topics.items()]
        return request_struct_class(self._group, topics, True, {})


async def committed_offsets(
    config: KafkaConfig, group: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    """What the group has committed by now; a partition of which it never committed anything is missing.

    Waits for the group's coordinator and for transactions that are ending, no longer than a session; then raises
    aiokafka's error.
    """
    if not partitions:
        return {}
    client = AIOKafkaClient(**connection(config))
    try:
        await client.bootstrap()
        return await offsets_by(client, config, group, partitions)
    finally:
        await client.close()


async def offsets_by(
    client: AIOKafkaClient, config: KafkaConfig, group: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    """The same over connections that there are already."""
    async with asyncio.timeout(config.session.timeout.ms / 1000):
        while True:
            found = await _fetched(client, group, partitions)
            if found is not None:
                return found
            await asyncio.sleep(_PAUSE_SECONDS)


async def _fetched(
    client: AIOKafkaClient, group: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, int] | None:
    """None is to ask again."""
    try:
        coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
        reply = (await client.send(coordinator, _OffsetFetch(group, partitions))).to_object()
    except KafkaError as exc:
        if exc.retriable:
            return None
        raise
    told = [(topic["topic"], each) for topic in reply["topics"] for each in topic["partitions"]]
    codes = {reply["error_code"], *(each["error_code"] for _, each in told)} - {0}
    if codes & _ASK_AGAIN:
        return None
    for code in codes:
        raise for_code(code)(f"the offsets of the group {group} cannot be read")
    found = {TopicPartition(topic, each["partition"]): each["offset"] for topic, each in told}
    if found.keys() != set(partitions):
        msg = f"asked for the offsets of {len(set(partitions))} partitions, the broker told those of {len(found)}"
        raise KafkaError(msg)
    return {tp: offset for tp, offset in found.items() if offset >= 0}


async def commit(consumer: AIOKafkaConsumer, generation: int, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit as the member that the group knew in that generation; raises `CommitFailedError` once that is over."""
    coordinator: Any = consumer._coordinator  # noqa: SLF001 - see above
    positions = {tp: OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
    while True:
        await coordinator.ensure_coordinator_known()
        if coordinator.generation != generation:
            raise CommitFailedError
        try:
            # It is awaited without a task of its own, so what goes out carries the generation that was just compared.
            await coordinator._do_commit_offsets(None, positions)  # noqa: SLF001 - see above
        except (IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError) as exc:
            raise CommitFailedError from exc
        except KafkaError as exc:
            if not exc.retriable:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return
