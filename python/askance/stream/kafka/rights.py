"""What this log-in may do with the topics and groups, as the broker says it: nothing is tried.

The wire format is that of Kafka 2.3 and later (KIP-430): https://kafka.apache.org/protocol, Metadata, version 8.
aiokafka asks for version 5 at most.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.errors import GroupAuthorizationFailedError, KafkaError, NoError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataResponse_v5
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from askance.stream.kafka.client import asking
from askance.stream.kafka.queries import group_of_teach

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient

    from askance.config import KafkaConfig

_READ, _WRITE = 1 << 3, 1 << 4
"""Bits of the authorized operations."""

_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.2


class Lacking(NamedTuple):
    """A right that is not there."""

    what: str
    """`read` or `write`."""
    where: str
    """The topic, or `group` and its name."""
    worker: str
    """Which worker needs it."""


class _MetadataResponse(Response):  # type: ignore[misc] # aiokafka is not typed
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        *zip(MetadataResponse_v5.SCHEMA.names[:-1], MetadataResponse_v5.SCHEMA.fields[:-1], strict=True),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _MetadataStruct(RequestStruct):  # type: ignore[misc] # aiokafka is not typed
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _MetadataRequest(Request[_MetadataStruct]):  # type: ignore[misc] # aiokafka is not typed
    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_MetadataStruct]) -> _MetadataStruct:
        return request_struct_class(self._topics, False, False, True)


class _GroupsStruct(DescribeGroupsRequest_v3):  # type: ignore[misc] # aiokafka is not typed
    """aiokafka reads the reply as version 2, which has no rights."""

    RESPONSE_TYPE = DescribeGroupsResponse_v3


class _GroupsRequest(Request[_GroupsStruct]):  # type: ignore[misc] # aiokafka is not typed
    API_KEY = 15

    def __init__(self, groups: list[str]) -> None:
        self._groups = groups

    def build(self, request_struct_class: type[_GroupsStruct]) -> _GroupsStruct:
        return request_struct_class(self._groups, True)


async def lacking(config: KafkaConfig) -> list[Lacking] | None:
    """Every right that some worker needs and this log-in has not; None where the broker is too old to say.

    Raises `StreamError` where it cannot be asked.
    """
    needed: dict[str, list[tuple[int, str]]] = {
        **{topic: [(_READ, "classify")] for topic in config.documents},
        config.predictions: [(_WRITE, "classify")],
        config.queries: [(_WRITE, "classify"), (_READ, "teach")],
        config.labels: [(_WRITE, "teach"), (_READ, "train")],
        config.tallies: [(_WRITE, "classify"), (_READ, "train")],
        config.dead_letters: [(_WRITE, "classify")],
    }
    groups = {config.group.id: "classify", group_of_teach(config): "teach"}
    try:
        async with asking(config) as admin:
            reply = await admin._send_request(_MetadataRequest([*needed]))  # noqa: SLF001 - it has no method for this
            allowed = {topic["topic"]: topic["authorized_operations"] for topic in reply.to_object()["topics"]}
            found = [
                Lacking("read" if right == _READ else "write", topic, worker)
                for topic, rights in needed.items()
                for right, worker in rights
                if not allowed[topic] & right
            ]
            for group, worker in groups.items():
                if not await _may_join(admin, group):
                    found.append(Lacking("read", f"group {group}", worker))
    except NotImplementedError:
        return None
    return found


async def _may_join(admin: AIOKafkaAdminClient, group: str) -> bool:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while True:
            try:
                coordinator = await admin.find_coordinator(group)
                reply = await admin._send_request(_GroupsRequest([group]), coordinator)  # noqa: SLF001 - see above
            except GroupAuthorizationFailedError:
                return False
            except KafkaError as exc:
                if not exc.retriable:
                    raise
            else:
                [described] = reply.to_object()["groups"]
                error = for_code(described["error_code"])
                if not error.retriable:
                    return error is NoError and bool(described["authorized_operations"] & _READ)
            # A broker on which no group has been yet makes the topic of the groups first.
            await asyncio.sleep(_PAUSE_SECONDS)
