"""Reads a stretch of a topic, from one moment to another, in the order in which its records came.

Partitions are merged by the records' times, then by partition and offset, so that a stretch is read in the same order
every time.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from askance.errors import StreamError, UsageError
from askance.records import Coordinates, Record
from askance.stream.kafka.client import connection
from askance.stream.kafka.faults import TROUBLE, translated, unreadable
from askance.stream.kafka.topics import partition_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from askance.config import KafkaConfig

# Records of a partition that are held while the others are waited for.
_HELD = 2_000
_POLL_MS = 500


class Bound(NamedTuple):
    """Where a stretch begins or ends in every partition: an offset, a time or, with neither, where the topic does."""

    offset: int | None = None
    timestamp_ms: int | None = None


def bound(text: str | None) -> Bound:
    """The bound that a person wrote: an offset, a time in ISO 8601, `earliest` or `latest`; raises `UsageError`.

    A time without an offset from UTC is taken to be UTC.

    >>> bound("1500"), bound("1970-01-01T00:00:01Z"), bound("1970-01-01T02:00:01+02:00"), bound("earliest")
    (Bound(offset=1500, timestamp_ms=None), Bound(offset=None, timestamp_ms=1000), Bound(offset=None, timestamp_ms=1000), Bound(offset=0, timestamp_ms=None))
    """  # noqa: E501 - one expression
    if text is None or text == "latest":
        return Bound()
    if text == "earliest":
        return Bound(offset=0)
    if text.isdecimal():
        return Bound(offset=int(text))
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError as exc:
        msg = (
            f"{text!r} is no place in a topic: give an offset, a time such as 2026-11-25T08:00:00Z, earliest or latest"
        )
        raise UsageError(msg) from exc
    time = time if time.tzinfo else time.replace(tzinfo=dt.UTC)
    return Bound(timestamp_ms=round(time.timestamp() * 1000))


class TopicRange:
    """Implements `protocols.Source` over topics from `begin` to `end`, exclusive; an async context manager.

    What was aborted is not read. The end is fixed when it is entered: what comes later is not read either.
    """

    def __init__(self, config: KafkaConfig, topics: Sequence[str], begin: Bound, end: Bound) -> None:
        self._config = config
        self._topics = list(topics)
        self._begin = begin
        self._end = end
        self._consumer = AIOKafkaConsumer(
            **connection(config),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        self.spans: dict[TopicPartition, tuple[int, int]] = {}
        """By partition: the first offset of the stretch, and the one behind its last."""
        self._held: dict[TopicPartition, deque[Record]] = {}
        self._open: set[TopicPartition] = set()
        self._progress_at = 0.0

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
            self._progress_at = asyncio.get_running_loop().time()
            counts = await partition_counts(self._config, self._topics)
            partitions = [TopicPartition(topic, number) for topic in self._topics for number in range(counts[topic])]
            self._consumer.assign(partitions)
            starts = await self._consumer.beginning_offsets(partitions)
            ends = await self._consumer.end_offsets(partitions)
            first = await self._offsets(self._begin, partitions, starts)
            last = await self._offsets(self._end, partitions, ends)
            for tp in partitions:
                begin, end = max(first[tp], starts[tp]), min(last[tp], ends[tp])
                self.spans[tp] = (begin, max(begin, end))
                self._held[tp] = deque()
                if begin < end:
                    self._consumer.seek(tp, begin)
                    self._open.add(tp)
                else:
                    self._consumer.pause(tp)
        except (*TROUBLE, StreamError) as exc:
            await self._consumer.stop()
            if isinstance(exc, StreamError):
                raise
            raise translated(exc, self._config.bootstrap.servers) from exc
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._consumer.stop()

    async def fetch(self, *, max_records: int, max_wait_seconds: float) -> Sequence[Record] | None:  # noqa: ARG002
        """See `protocols.Source`; a batch is full unless it is the last one."""
        found: list[Record] = []
        try:
            while len(found) < max_records:
                while any(not self._held[tp] for tp in self._open):
                    await self._fill()
                heads = [(held[0].timestamp_ms or 0, tp) for tp, held in self._held.items() if held]
                if not heads:
                    break
                heapq.heapify(heads)
                while heads and len(found) < max_records:
                    _, tp = heapq.heappop(heads)
                    held = self._held[tp]
                    found.append(held.popleft())
                    if held:
                        heapq.heappush(heads, (held[0].timestamp_ms or 0, tp))
                    elif tp in self._open:
                        break
        except UnicodeDecodeError as exc:
            raise await unreadable(self._consumer, exc) from exc
        except TROUBLE as exc:
            raise translated(exc, self._config.bootstrap.servers) from exc
        return found or None

    async def _fill(self) -> None:
        for tp in self._open:
            (self._consumer.pause if len(self._held[tp]) >= _HELD else self._consumer.resume)(tp)
        now = asyncio.get_running_loop().time()
        came = await self._consumer.getmany(timeout_ms=_POLL_MS)
        if came:
            self._progress_at = now
        elif now - self._progress_at > self._config.stall_seconds:
            msg = f"nothing came for {self._config.stall_seconds:g} s, and the stretch has not ended"
            raise TimeoutError(msg)
        for tp, records in came.items():
            end = self.spans[tp][1]
            self._held[tp] += [_record(record) for record in records if record.offset < end]
        for tp in list(self._open):
            # Markers of transactions take up offsets, so the last record need not be the one before the end.
            if await self._consumer.position(tp) >= self.spans[tp][1]:
                self._open.discard(tp)
                self._consumer.pause(tp)

    async def _offsets(
        self, bound: Bound, partitions: Sequence[TopicPartition], otherwise: dict[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        if bound.offset is not None:
            return dict.fromkeys(partitions, bound.offset)
        if bound.timestamp_ms is None:
            return dict(otherwise)
        found = await self._consumer.offsets_for_times(dict.fromkeys(partitions, bound.timestamp_ms))
        ends = await self._consumer.end_offsets(partitions)
        # Nothing is as young as that: the stretch begins, and ends, behind the last record.
        return {tp: ends[tp] if found[tp] is None else found[tp].offset for tp in partitions}


def _record(record: Any) -> Record:
    return Record(
        coordinates=Coordinates(record.topic, record.partition, record.offset),
        value=record.value,
        key=record.key,
        headers=record.headers,
        timestamp_ms=record.timestamp,
    )
