"""What goes wrong around a stream: one clear line and the right exit code, or a retry that is counted."""

from __future__ import annotations

import asyncio
import base64
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import aiokafka.codec
import pytest
import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from askance.errors import StreamError
from askance.stream.kafka.produce import Outgoing, producer, send
from askance.stream.kafka.topics import create_topics
from deploy.kafka.broker import free_ports
from tests.kafka.fleet import COMMAND, PARTITIONS, Fleet, environment
from tests.kafka.readback import read, until
from tests.kafka.test_fencing import fetch, member, settings

if TYPE_CHECKING:
    from pathlib import Path

    from askance.config import KafkaConfig

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]
# Five megabytes that no codec makes small.
LARGE = base64.b64encode(random.Random(5).randbytes(4_000_000))


async def make_topic(servers: str, name: str, **configs: str) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=servers)
    await client.start()
    try:
        topic = NewTopic(name, num_partitions=PARTITIONS, replication_factor=1, topic_configs=configs)
        reply = await client.create_topics([topic])
        assert [code for _, code, *_ in reply.topic_errors] == [0]
    finally:
        await client.close()


async def delete_topic(servers: str, name: str) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=servers)
    await client.start()
    try:
        await client.delete_topics([name])
    finally:
        await client.close()


async def produce(config: KafkaConfig, topic: str, *values: bytes | None, partition: int = 0) -> None:
    async with producer(config, None) as client:
        records = [Outgoing(b"key", value, (("h", b"1"),), None) for value in values]
        await asyncio.gather(*await send(client, topic, partition, records))


def classify(folder: Path, kafka: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "askance.yaml").write_text(yaml.safe_dump({"kafka": kafka}))
    return subprocess.run(
        [*COMMAND, "classify", "--quiet", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=240,
        env=environment(),
    )  # fmt: skip


@pytest.mark.parametrize("largest", [1_000, 8_000_000])
async def test_a_record_of_five_megabytes(servers: str, state: Path, tmp_path: Path, largest: int) -> None:
    """Above `source.max_document_bytes` it is a dead letter, below it a document that is asked about."""
    fleet = Fleet(
        servers, tmp_path, delivery="exactly_once", state=state,
        budget=["--m-raru", "--set", "gate.floor=1", "--format", "text",
                "--set", f"source.max_document_bytes={largest}"],
    )  # fmt: skip
    kafka = fleet.config.kafka
    await make_topic(servers, kafka.documents[0], **{"max.message.bytes": "10000000"})
    async with fleet:
        await produce(kafka, kafka.documents[0], b"before", LARGE, b"after")
        fleet.start(1)
        await fleet.until_done(3)
        await fleet.stop(1)
    dead = [each.value for each in await read(servers, kafka.dead_letters)]
    assert dead == ([LARGE] if largest < len(LARGE) else [])
    assert len(await read(servers, kafka.predictions)) == 3 - len(dead)
    assert len(await read(servers, kafka.queries)) == 3 - len(dead)


async def test_an_output_too_large_for_its_topic_ends_the_worker_with_the_remedy(servers: str, tmp_path: Path) -> None:
    config = settings(servers, "exactly_once")
    await make_topic(servers, config.documents[0], **{"max.message.bytes": "10000000"})
    await make_topic(servers, config.dead_letters)  # as a broker makes it that was not asked for more
    await create_topics(config, partitions=PARTITIONS, replication=1, retention_ms=-1, documents=False)
    await produce(config, config.documents[0], LARGE)

    done = await asyncio.to_thread(classify, tmp_path, config.model_dump())

    assert done.returncode == 1
    assert "max.message.bytes" in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_a_codec_that_is_not_installed(servers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(servers, "exactly_once")
    await create_topics(config, partitions=PARTITIONS, replication=1, retention_ms=-1, documents=True)
    zstd = config.model_copy(update={"compression": config.compression.model_copy(update={"type": "zstd"})})
    await produce(zstd, config.documents[0], b"text " * 1000)
    async with member(config) as stream:
        monkeypatch.setattr(aiokafka.codec, "has_zstd", lambda: False)

        with pytest.raises(StreamError, match=r"zstd.*askance\[kafka\]"):
            await fetch(stream, 1)


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_every_codec_is_read(servers: str, compression: str) -> None:
    config = settings(servers, "exactly_once")
    await create_topics(config, partitions=1, replication=1, retention_ms=-1, documents=True)
    packed = config.model_copy(update={"compression": config.compression.model_copy(update={"type": compression})})
    await produce(packed, config.documents[0], b"text " * 1000)
    async with member(config) as stream:
        [record] = await fetch(stream, 1)

    assert (record.value, record.key, record.headers) == (b"text " * 1000, b"key", (("h", b"1"),))


@pytest.mark.parametrize("missing", ["documents", "predictions", "queries", "dead_letters"])
async def test_a_topic_that_is_not_there(servers: str, tmp_path: Path, missing: str) -> None:
    config = settings(servers, "exactly_once")
    await create_topics(config, partitions=1, replication=1, retention_ms=-1, documents=True)
    name = config.documents[0] if missing == "documents" else getattr(config, missing)
    await delete_topic(servers, name)

    done = await asyncio.to_thread(classify, tmp_path, config.model_dump())

    assert done.returncode == 1
    assert f"there is no topic {name}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("deleted", ["documents", "predictions"])
async def test_a_topic_that_is_deleted_while_the_stream_runs(
    servers: str, state: Path, tmp_path: Path, deleted: str
) -> None:
    async with Fleet(servers, tmp_path, delivery="exactly_once", state=state, stall_seconds=3) as fleet:
        kafka = fleet.config.kafka
        name = kafka.documents[0] if deleted == "documents" else kafka.predictions
        fleet.start(1)
        await fleet.feed(600)
        await fleet.until_done(600)
        await delete_topic(servers, name)
        if deleted == "predictions":
            await fleet.feed(600)

        async def ended() -> bool:
            return fleet.workers[1].poll() is not None

        await until(ended, lambda: f"the worker goes on:\n{fleet.log}")
        assert fleet.workers[1].returncode == 1
        assert f"there is no topic {name}" in fleet.log
        assert "Traceback" not in fleet.log


PRODUCE = """
import asyncio, sys
from aiokafka import AIOKafkaProducer
class Raw(str):
    def encode(self, *_): return bytes([0xff, 0xfe])
async def main(servers, topic):
    async with AIOKafkaProducer(bootstrap_servers=servers) as client:
        batch = client.create_batch()
        batch.append(key=None, value=b"good", timestamp=None, headers=[])
        batch.append(key=None, value=b"bad", timestamp=None, headers=[(Raw("name"), b"")])
        await (await client.send_batch(batch, topic, partition=0))
asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_header_whose_name_is_not_utf_8_ends_the_worker_with_its_place(servers: str, tmp_path: Path) -> None:
    """librdkafka takes such names; aiokafka cannot read them, nor pass the record over."""
    config = settings(servers, "exactly_once")
    await create_topics(config, partitions=1, replication=1, retention_ms=-1, documents=True)
    await asyncio.to_thread(
        subprocess.run,
        # Only its encoder in Python can be talked into writing one.
        [sys.executable, "-c", PRODUCE, servers, config.documents[0]], check=True,
        env=environment() | {"AIOKAFKA_NO_EXTENSIONS": "1"},
    )  # fmt: skip

    done = await asyncio.to_thread(classify, tmp_path, config.model_dump())

    assert done.returncode == 1
    assert f"behind one of {config.documents[0]}/0/0" in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_brokers_that_are_not_there(tmp_path: Path) -> None:
    [port] = free_ports(1)

    done = await asyncio.to_thread(classify, tmp_path, {"bootstrap": {"servers": f"127.0.0.1:{port}"}})

    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
