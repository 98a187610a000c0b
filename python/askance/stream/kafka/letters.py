"""Dead letters on a topic: how they are written, found again, and put back where they came from.

Owns that a letter is put back once, whoever is killed when: the records put back and a mark that says so, on the topic
of the dead letters itself, are one transaction of one transactional id, and whoever begins fences whoever was at it
before reading the marks.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import msgspec

from askance.errors import UsageError
from askance.records import Coordinates, KeptLetter, Record
from askance.stream.kafka.faults import TROUBLE, translated
from askance.stream.kafka.produce import Outgoing, producer, send, stop
from askance.stream.kafka.ranges import Bound, TopicRange
from askance.stream.kafka.topics import partition_counts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiokafka import AIOKafkaProducer

    from askance.config import KafkaConfig
    from askance.records import DeadLetter

_ADDED = ("askance-topic", "askance-partition", "askance-offset", "askance-reason", "askance-detail")
"""The headers that a dead letter has behind its record's own, in this order."""
REPLAYED_FROM = "askance-replayed-from"
"""Of a record that was put back: the dead letter it was, as topic/partition/offset."""
REPLAYS = "askance-replays"
"""Of a record that was put back: how often it has been by now."""
_MARK = "askance-replayed"
"""The one header of a mark; its value is a JSON list of the [partition, offset] of letters that were put back."""
_BATCH = 500


def dead(letter: DeadLetter) -> Outgoing:
    """The record as it came, with where it came from and why it could not be processed in its headers."""
    record = letter.record
    topic, partition, offset = record.coordinates
    values = (topic, str(partition), str(offset), letter.reason, letter.detail[:1000])
    added = tuple((name, value.encode()) for name, value in zip(_ADDED, values, strict=True))
    # A record needs a key or a value; one that had neither is kept by its headers.
    value = b"" if record.value is None and record.key is None else record.value
    return Outgoing(record.key, value, (*record.headers, *added), record.timestamp_ms)


def found_again(record: Record) -> KeptLetter | None:
    """The inverse of `dead`; None for what is no dead letter: a mark, or somebody else's record."""
    own, added = record.headers[: -len(_ADDED)], record.headers[-len(_ADDED) :]
    if tuple(name for name, _ in added) != _ADDED:
        return None
    try:
        topic, partition, offset, reason, detail = (value.decode() for _, value in added)
        origin = Coordinates(topic, int(partition), int(offset))
        replays = max((int(value) for name, value in own if name == REPLAYS), default=0)
    except ValueError:
        return None
    headers = tuple(header for header in own if header[0] not in (REPLAYED_FROM, REPLAYS))
    return KeptLetter(
        place="/".join(map(str, record.coordinates)),
        record=Record(origin, record.value, record.key, headers, record.timestamp_ms),
        reason=reason,
        detail=detail,
        replays=replays,
    )


async def letters(config: KafkaConfig, begin: Bound, end: Bound) -> AsyncIterator[list[KeptLetter]]:
    """The dead letters of a stretch, in batches; raises `StreamError`."""
    async with TopicRange(config, [config.dead_letters], begin, end) as stretch:
        while (records := await stretch.fetch(max_records=_BATCH, max_wait_seconds=0.0)) is not None:
            yield [letter for record in records if (letter := found_again(record)) is not None]


async def put_back(config: KafkaConfig, begin: Bound) -> set[str]:
    """The places of all letters from `begin` on that were put back; raises `StreamError`."""
    found: set[str] = set()
    async with TopicRange(config, [config.dead_letters], begin, Bound()) as stretch:
        while (records := await stretch.fetch(max_records=_BATCH, max_wait_seconds=0.0)) is not None:
            for record in records:
                if [name for name, _ in record.headers] == [_MARK]:
                    places = msgspec.json.decode(record.value or b"[]", type=list[tuple[int, int]])
                    found.update(f"{config.dead_letters}/{partition}/{offset}" for partition, offset in places)
    return found


class LetterReplay:
    """Puts dead letters back; an async context manager that fences whoever else is at it. Raises `StreamError`.

    They go to the topic and partition they came from, or to `into`: with their bytes, key and headers, two headers more
    (`REPLAYED_FROM`, `REPLAYS`), and the present time, because their own may be past the topic's retention.
    """

    def __init__(self, config: KafkaConfig, into: str | None) -> None:
        self._config = config
        self._into = into
        self._widths: dict[str, int] = {}
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        self._producer = producer(self._config, f"{self._config.group.id}-dead-letters")
        try:
            await self._producer.start()
            topics = [self._into] if self._into is not None else [*self._config.documents, self._config.queries]
            self._widths = await partition_counts(self._config, topics)
        except BaseException as exc:
            await stop(self._producer)
            if isinstance(exc, TROUBLE):
                raise translated(exc, self._config.bootstrap.servers) from exc
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._producer is not None:
            await stop(self._producer)

    async def replay(self, some: Sequence[KeptLetter]) -> None:
        """Put these back and mark them, in one transaction."""
        client = self._producer
        if client is None:
            raise AssertionError
        try:
            await client.begin_transaction()
            acknowledgements: list[asyncio.Future[Any]] = []
            for letter in some:
                topic, partition = self._destination(letter)
                acknowledgements += await send(client, topic, partition, [_outgoing(letter)])
            places = [[int(part) for part in letter.place.rsplit("/", 2)[1:]] for letter in some]
            mark = Outgoing(None, msgspec.json.encode(places), ((_MARK, b""),), None)
            acknowledgements += await send(client, self._config.dead_letters, 0, [mark])
            await asyncio.gather(*acknowledgements)
            await client.commit_transaction()
        except TROUBLE as exc:
            raise translated(exc, self._config.bootstrap.servers) from exc

    def _destination(self, letter: KeptLetter) -> tuple[str, int]:
        topic, partition, _ = letter.record.coordinates
        if self._into is not None:
            return self._into, partition % self._widths[self._into]
        if topic not in self._widths:
            msg = (
                f"the dead letter {letter.place} came from {topic}, which is none of this group's topics; add it to "
                "kafka.documents, or name a topic with --into"
            )
            raise UsageError(msg)
        return topic, partition % self._widths[topic]


def _outgoing(letter: KeptLetter) -> Outgoing:
    record = letter.record
    headers = (
        *record.headers,
        (REPLAYED_FROM, letter.place.encode()),
        (REPLAYS, str(letter.replays + 1).encode()),
    )
    # See `dead`.
    value = b"" if record.value is None and record.key is None else record.value
    return Outgoing(record.key, value, headers, None)
