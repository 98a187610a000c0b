"""One contender on the documents for some seconds: started, watched, stopped, and read back."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from askance.config import Config
from askance.stream.kafka.produce import Outgoing, producer, send
from benchmarks.stream_peers import documents as made
from benchmarks.stream_peers.contenders import Place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.stream_peers.contenders import Contender
    from benchmarks.stream_peers.documents import Models

PARTITIONS = 4
LEAST_RIGHT = {"linear": 0.7, "minilm": 0.15}
"""Share of labels that must be the true ones; the texts, which are no language, do not allow all to be."""
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_SEED = 7
_TICKS = os.sysconf("SC_CLK_TCK")


class Result(NamedTuple):
    rate: float
    """Documents a second on the broker's clock."""
    per_cpu: float
    """Documents a second of the processes' own processor time."""
    rss_mb: float
    """The most resident memory one of the processes ever had."""
    documents: int
    """That were measured."""
    right: float
    """Share of labels that are the true ones."""

    def __str__(self) -> str:
        return (
            f"{self.rate:>10,.0f} documents/s{self.per_cpu:>10,.0f} a CPU-second{self.rss_mb:>6.0f} MB"
            f"{self.documents:>11,} documents, {100 * self.right:.1f} % right"
        )


class _Prediction(msgspec.Struct):
    id: str
    label: str
    confidence: float
    uncertainty: float
    propensity: float
    accepted: bool
    version: str
    topic: str
    partition: int
    offset: int


async def feed(servers: str, topic: str, classes: int, count: int) -> list[list[str]]:
    """Put the documents onto their topic; the true labels, by partition and offset."""
    await create(servers, {topic: {}})
    config = Config.model_validate({"kafka": {"bootstrap": {"servers": servers}}}).kafka
    truth: list[list[str]] = [[] for _ in range(PARTITIONS)]
    client = producer(config, None)
    await client.start()
    pending: list[list[Outgoing]] = [[] for _ in range(PARTITIONS)]

    async def flush() -> None:
        for partition, records in enumerate(pending):
            await asyncio.gather(*await send(client, topic, partition, records))
            records.clear()

    try:
        for number, (text, label) in enumerate(made.texts(classes, count, seed=_SEED)):
            key, value = made.encoded(number, text)
            pending[number % PARTITIONS].append(Outgoing(key, value, (), None))
            truth[number % PARTITIONS].append(label)
            if number % 20_000 == 0:
                await flush()
        await flush()
    finally:
        await client.stop()
    return truth


def run(
    servers: str,
    contender: Contender,
    models: Models,
    topic: str,
    truth: Sequence[Sequence[str]],
    folder: Path,
    number: int,
    *,
    seconds: float,
    warm_up_seconds: float,
    processes: int = 1,
    student: str = "linear",
    profile: Path | None = None,
) -> Result:
    """One round of so many processes of one group.

    Raises `AssertionError` when a document has no prediction, or two, or labels are wrong.
    """
    warm_up_seconds = max(warm_up_seconds, contender.warm_up_seconds)
    name = f"{contender.name}-{topic}-{number}".replace(", ", "-").replace(" ", "-")
    own = folder / name
    own.mkdir()
    place = Place(
        servers, name, topic, f"{name}.predictions", f"{name}.queries", f"{name}.dead", f"{name}.tallies", own
    )
    commands = [contender.command(place, models)] * processes
    outputs = dict.fromkeys((place.predictions, place.queries, place.dead_letters, place.tallies), STAMPED)
    asyncio.run(create(servers, outputs))
    started: list[subprocess.Popen[bytes]] = []
    try:
        with (own / "log").open("wb") as log:
            given = {"cwd": own, "stdout": log, "stderr": log, "stdin": subprocess.DEVNULL, "start_new_session": True}
            started += [subprocess.Popen(command, **given) for command in commands]
        watched = asyncio.run(
            _watch(started, place, sum(map(len, truth)), warm_up_seconds, seconds, profile and profile / f"{name}.txt")
        )
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(_PATIENCE_SECONDS)
    except BaseException:
        print((own / "log").read_text(errors="replace")[-3000:])
        raise
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.wait()
    stamps, right = asyncio.run(
        _read_back(place, truth, LEAST_RIGHT[student], once=contender.is_exactly_once or processes == 1)
    )
    asyncio.run(delete(servers, list(outputs)))
    shutil.rmtree(own)
    begin = stamps[0] + 1000.0 * warm_up_seconds
    inside = stamps[(stamps > begin) & (stamps <= begin + 1000.0 * seconds)]
    if len(inside) < 2 or inside[-1] - begin < 1000.0:
        msg = f"{contender.name} was through with the documents before a second was measured: raise --documents"
        raise AssertionError(msg)
    return Result(
        rate=1000.0 * len(inside) / (inside[-1] - begin),
        per_cpu=watched.outputs / watched.cpu_seconds,
        rss_mb=watched.rss_mb,
        documents=len(inside),
        right=right,
    )


STAMPED = {"message.timestamp.type": "LogAppendTime"}
"""Settings of a topic whose records' times are those of their append, on the broker's clock."""


class _Watched(NamedTuple):
    outputs: int
    cpu_seconds: float
    rss_mb: float


async def _watch(
    processes: Sequence[subprocess.Popen[bytes]],
    place: Place,
    total: int,
    warm_up: float,
    seconds: float,
    profile: Path | None,
) -> _Watched:
    """Wait until the processes have written for so long, or everything; what they took for that."""
    partitions = [TopicPartition(place.predictions, number) for number in range(PARTITIONS)]
    looks: list[tuple[float, int, float]] = []
    began = time.monotonic()
    recorder = None
    async with AIOKafkaConsumer(bootstrap_servers=place.servers, group_id=None) as consumer:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for process in processes:
                if process.poll() is not None:
                    msg = f"{place.group} ended by itself with code {process.returncode}"
                    raise AssertionError(msg)
            count = sum((await consumer.end_offsets(partitions)).values())
            if count:
                looks.append((time.monotonic(), count, sum(_cpu_seconds(process.pid) for process in processes)))
                if profile is not None and recorder is None and "java" not in str(processes[0].args):
                    recorder = _record(processes[0].pid, profile, seconds)
            elif time.monotonic() - began > _PATIENCE_SECONDS:
                msg = f"{place.group} has written nothing for {_PATIENCE_SECONDS:g} s"
                raise AssertionError(msg)
            if looks and (looks[-1][0] - looks[0][0] > warm_up + seconds or count >= total):
                break
    if recorder is not None:
        await asyncio.to_thread(recorder.wait)
    half = [look for look in looks if look[0] - looks[0][0] >= warm_up] or looks
    return _Watched(
        half[-1][1] - half[0][1],
        max(half[-1][2] - half[0][2], 1e-9),
        max(_peak_rss_mb(process.pid) for process in processes),
    )


def _record(pid: int, path: Path, seconds: float) -> subprocess.Popen[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        ["py-spy", "record", "--native", "--threads", "-f", "raw", "-r", "200", "-d", str(max(1, int(seconds))),
         "-o", str(path), "-p", str(pid)],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def _cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:  # noqa: PTH123
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _peak_rss_mb(pid: int) -> float:
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:  # noqa: PTH123
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


async def _read_back(
    place: Place, truth: Sequence[Sequence[str]], least_right: float, *, once: bool
) -> tuple[NDArray[np.int64], float]:
    """When each prediction was appended (ms, ascending), and the share of right labels.

    Each document may have one only, if `once`: whoever is at least once may repeat some when a second process joins.
    """
    decoder = msgspec.json.Decoder(_Prediction)
    stamps: list[int] = []
    right = 0
    seen = [np.zeros(len(labels), dtype=np.int64) for labels in truth]
    async with AIOKafkaConsumer(
        bootstrap_servers=place.servers, group_id=None, isolation_level="read_committed", auto_offset_reset="earliest",
        max_partition_fetch_bytes=16 * 1024 * 1024,
    ) as consumer:  # fmt: skip
        partitions = [TopicPartition(place.predictions, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning(*partitions)
        while not all([await consumer.position(tp) >= ends[tp] for tp in partitions]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    found = decoder.decode(record.value)
                    seen[found.partition][found.offset] += 1
                    right += found.label == truth[found.partition][found.offset]
                    stamps.append(record.timestamp)
        queries = [TopicPartition(place.queries, number) for number in range(PARTITIONS)]
        asked = sum((await consumer.end_offsets(queries)).values())
    for partition, times in enumerate(seen):
        done = int(np.count_nonzero(times))
        assert times[:done].all(), f"{place.group}: some of partition {partition}'s first {done} have no prediction"
        assert not once or times.max(initial=0) <= 1, f"{place.group}: some of partition {partition} have two"
    share = right / len(stamps)
    assert share >= least_right, f"{place.group}: only {100 * share:.1f} % of the labels are right"
    assert 0.01 < asked / len(stamps) < 0.2, f"{place.group}: {asked} queries for {len(stamps)} documents"
    return np.sort(np.array(stamps, dtype=np.int64)), share


async def create(servers: str, topics: dict[str, dict[str, str]]) -> None:
    """Make the topics, each with its own settings."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        largest = {"max.message.bytes": str(16 * 1024 * 1024)}
        new = [NewTopic(name, PARTITIONS, 1, topic_configs={**largest, **given}) for name, given in topics.items()]
        reply = await admin.create_topics(new)
        assert not any(code for _, code, *_ in reply.topic_errors), reply
    finally:
        await admin.close()


async def delete(servers: str, topics: list[str]) -> None:
    """Remove the topics."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.delete_topics(topics)
    finally:
        await admin.close()


async def end(servers: str, topic: str) -> int:
    """How many records the topic has."""
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    async with AIOKafkaConsumer(bootstrap_servers=servers, group_id=None) as consumer:
        return sum((await consumer.end_offsets(partitions)).values())
