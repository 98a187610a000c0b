"""How far this machine's clock is from the broker's.

No reply of Kafka's says what time it is, but for one: the leader of the metadata quorum, asked about the quorum, gives
the time at which it caught up with itself, which is now by its own clock (KIP-595, KIP-836). The wire format is that of
Kafka 3.3 and later: https://kafka.apache.org/protocol, DescribeQuorum, version 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.errors import ClusterAuthorizationFailedError, NoError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactString, Int16, Int32, Int64, Schema, TaggedFields

from askance.errors import StreamError
from askance.stream.kafka.client import asking

if TYPE_CHECKING:
    from collections.abc import Callable

    from askance.config import KafkaConfig

_REPLICAS = CompactArray(
    ("replica_id", Int32),
    ("log_end_offset", Int64),
    ("last_fetch_timestamp", Int64),
    ("last_caught_up_timestamp", Int64),
    ("tags", TaggedFields),
)


class _QuorumResponse(Response):  # type: ignore[misc] # aiokafka is not typed
    API_KEY = 55
    API_VERSION = 1
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "topics",
            CompactArray(
                ("topic_name", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition_index", Int32),
                        ("error_code", Int16),
                        ("leader_id", Int32),
                        ("leader_epoch", Int32),
                        ("high_watermark", Int64),
                        ("current_voters", _REPLICAS),
                        ("observers", _REPLICAS),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _QuorumStruct(RequestStruct):  # type: ignore[misc] # aiokafka is not typed
    FLEXIBLE_VERSION = True
    API_KEY = 55
    API_VERSION = 1
    RESPONSE_TYPE = _QuorumResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic_name", CompactString("utf-8")),
                ("partitions", CompactArray(("partition_index", Int32), ("tags", TaggedFields))),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _QuorumRequest(Request[_QuorumStruct]):  # type: ignore[misc] # aiokafka is not typed
    API_KEY = 55

    def build(self, request_struct_class: type[_QuorumStruct]) -> _QuorumStruct:
        return request_struct_class([("__cluster_metadata", [(0, {})], {})], {})


async def seconds_ahead(config: KafkaConfig, unix_time: Callable[[], float]) -> float | None:
    """How far this clock is ahead of the broker's, negative if behind, to half of what the question takes.

    None where the broker does not tell: it is older than 3.3, or this log-in has no right to describe the cluster.
    Raises `StreamError` where it cannot be asked.
    """
    try:
        async with asking(config) as admin:
            before = unix_time()
            reply = (await admin._send_request(_QuorumRequest())).to_object()  # noqa: SLF001 - it has no method for this
            after = unix_time()
    except NotImplementedError:
        return None
    error = for_code(reply["error_code"])
    if error is ClusterAuthorizationFailedError:
        return None
    if error is not NoError:
        msg = f"the broker {config.bootstrap.servers} does not tell its quorum: {error.__name__}"
        raise StreamError(msg)
    [quorum] = reply["topics"][0]["partitions"]
    # A leader in the midst of an election has not caught up with itself.
    told = [each for each in quorum["current_voters"] if each["replica_id"] == quorum["leader_id"]]
    if not told or told[0]["last_caught_up_timestamp"] < 0:
        return None
    return (before + after) / 2.0 - float(told[0]["last_caught_up_timestamp"]) / 1_000.0
