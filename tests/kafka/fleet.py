"""A stream with classify processes on it: fed, watched, and in the end read back."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import uuid
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import yaml
from aiokafka.admin import AIOKafkaAdminClient

from askance.config import Config
from askance.stream.kafka.produce import Outgoing, producer, send
from askance.stream.kafka.topics import create_topics
from tests.kafka.readback import PATIENCE_SECONDS, read, until
from tests.kafka.stream import LARGEST_DOCUMENT, record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from aiokafka import AIOKafkaProducer
    from aiokafka.structs import ConsumerRecord

PARTITIONS = 6
COMMAND = [sys.executable, "-P", "-c", "from askance.cli.main import main; main()"]


class Committed(NamedTuple):
    """One commit of the group, as the broker wrote it down."""

    topic: str
    partition: int
    offset: int


class Fleet:
    """Topics of its own, and `classify` processes that share a folder; use it as an async context manager."""

    def __init__(self, servers: str, folder: Path, *, delivery: str, state: Path, replication: int = 1,
                 budget: Sequence[str] = (), sections: Mapping[str, Any] = MappingProxyType({}), **kafka: Any,
                 ) -> None:  # fmt: skip
        self.name = f"run-{uuid.uuid4().hex[:8]}"
        self.folder = folder
        self._servers = servers
        self._replication = replication
        self._budget = list(budget)
        settings = {
            "batch": 256,
            "state": "state",
            "source": {"max_document_bytes": LARGEST_DOCUMENT},
            "kafka": {
                "bootstrap": {"servers": servers},
                "group": {"id": self.name},
                "session": {"timeout": {"ms": 3000}},
                "documents": [f"{self.name}.documents"],
                "predictions": f"{self.name}.predictions",
                "queries": f"{self.name}.queries",
                "labels": f"{self.name}.labels",
                "tallies": f"{self.name}.tallies",
                "dead_letters": f"{self.name}.dead-letters",
                "delivery": delivery,
                **kafka,
            },
            **sections,
        }
        (folder / "askance.yaml").write_text(yaml.safe_dump(settings))
        self.config = Config.model_validate(settings)
        shutil.copytree(state / "registry", folder / "state" / "registry")
        self.fed = 0
        self.workers: dict[int, subprocess.Popen[bytes]] = {}
        self._feeder: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        kafka = self.config.kafka
        await create_topics(
            kafka, partitions=PARTITIONS, replication=self._replication, retention_ms=-1, documents=True
        )
        self._feeder = producer(kafka, None)
        await self._feeder.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for process in self.workers.values():
            process.kill()
            process.wait()
        if self._feeder is not None:
            await self._feeder.stop()

    @property
    def log(self) -> str:
        """What the workers have said."""
        return (self.folder / "log").read_text(errors="replace")

    def start(self, *numbers: int, worker: str = "classify") -> None:
        """Start workers; one is known by its number."""
        flags = self._budget if worker == "classify" else []
        for number in numbers:
            with (self.folder / "log").open("ab") as log:
                self.workers[number] = subprocess.Popen(
                    [*COMMAND, worker, *flags], cwd=self.folder, stdout=log, stderr=log,
                    stdin=subprocess.DEVNULL, start_new_session=True, env=environment(),
                )  # fmt: skip

    def signal(self, number: int, what: int) -> None:
        """Send a worker a signal."""
        self.workers[number].send_signal(what)

    def kill(self, number: int) -> None:
        """`kill -9` a worker."""
        process = self.workers.pop(number)
        process.kill()
        process.wait()

    async def stop(self, *numbers: int) -> None:
        """Ask workers to end, and see that they do, orderly."""
        for number in numbers:
            self.signal(number, signal.SIGTERM)
        for number in numbers:
            code = await asyncio.to_thread(self.workers.pop(number).wait, PATIENCE_SECONDS)
            # A worker that is still importing has nothing to finish.
            assert code in (0, -signal.SIGTERM), f"worker {number} ended with {code}:\n{self.log[-4000:]}"

    async def feed(self, count: int) -> None:
        """Produce the stream's next records."""
        assert self._feeder is not None
        numbers = range(self.fed, self.fed + count)
        acknowledgements: list[asyncio.Future[Any]] = []
        for partition in range(PARTITIONS):
            records = [Outgoing(*_fields(number), None) for number in numbers if number % PARTITIONS == partition]
            acknowledgements += await send(self._feeder, self.config.kafka.documents[0], partition, records)
        await asyncio.gather(*acknowledgements)
        self.fed += count

    async def done(self) -> int:
        """How many records the group has committed."""
        client = AIOKafkaAdminClient(bootstrap_servers=self._servers, request_timeout_ms=5000)
        try:
            await client.start()
            offsets = await client.list_consumer_group_offsets(self.config.kafka.group.id)
            return sum(max(0, where.offset) for where in offsets.values())
        finally:
            await client.close()

    async def until_joined(self) -> None:
        """Wait until every worker is a member of the group: one that starts without a broker ends, as it should."""
        members = -1

        async def everybody() -> bool:
            nonlocal members
            client = AIOKafkaAdminClient(bootstrap_servers=self._servers, request_timeout_ms=5000)
            try:
                await client.start()
                [reply] = await client.describe_consumer_groups([self.config.kafka.group.id])
                [(_, _, _, _, _, found)] = reply.groups
                members = len(found)
            finally:
                await client.close()
            return members >= len(self.workers)

        await until(everybody, lambda: f"{members} of {len(self.workers)} workers have joined\n{self.log[-4000:]}")

    async def until_done(self, records: int) -> None:
        """Wait until so many records are committed; every worker must live through it."""
        seen = -1

        async def enough() -> bool:
            nonlocal seen
            ended = {number: code for number, process in self.workers.items() if (code := process.poll()) is not None}
            assert not ended, f"workers ended by themselves, {ended}:\n{self.log[-4000:]}"
            seen = await self.done()
            return seen >= records

        await until(enough, lambda: f"{seen} of {records} records were committed\n{self.log[-4000:]}")

    async def read(self, topic: str) -> list[ConsumerRecord]:
        """The topic's records, each partition's in order."""
        return await read(self._servers, topic)

    async def commits(self) -> list[Committed]:
        """Everything the group ever committed, in the broker's order, from the broker's own log of it."""
        return await commits_of(self._servers, self.config.kafka.group.id)


async def commits_of(servers: str, group: str) -> list[Committed]:
    """Everything a group ever committed, in the broker's order, from the broker's own log of it."""
    # Groups share its partitions: an open transaction of another test's would hide what came after it.
    records = await read(servers, "__consumer_offsets", settled=True)
    return [found for each in records if (found := _commit(each, group)) is not None]


def environment() -> dict[str, str]:
    """The tests' own askance, in whatever folder the process runs."""
    paths = [path for path in sys.path if path and not path.endswith("site-packages")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _fields(number: int) -> tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]:
    made = record(number)
    return made.key, made.value, made.headers


def _commit(each: ConsumerRecord, group: str) -> Committed | None:
    """Of `__consumer_offsets`: the key is (version, group, topic, partition), the value begins (version, offset)."""
    key, value = each.key, each.value
    if key is None or value is None or int.from_bytes(key[:2]) > 1:
        return None
    length = int.from_bytes(key[2:4])
    named, rest = key[4 : 4 + length].decode(), key[4 + length :]
    length = int.from_bytes(rest[:2])
    topic, partition = rest[2 : 2 + length].decode(), int.from_bytes(rest[2 + length : 6 + length])
    return Committed(topic, partition, int.from_bytes(value[2:10])) if named == group else None
