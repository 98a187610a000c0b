"""A real Apache Kafka on loopback, for the tests and `make kafka-demo`: KRaft mode, jars from Maven Central.

    with Cluster(brokers=1) as cluster:
        ...  # cluster.bootstrap_servers

Nothing is left behind: data live in a temporary folder and the processes end with the `with` block.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What aiokafka has to say of a broker that does not answer yet is nothing for the terminal.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())

POM = Path(__file__).with_name("pom.xml")
DEFAULT_VERSION = "4.1.1"
START_SECONDS = 90.0


class BrokerMissingError(Exception):
    """No broker can be started here, and why."""


def jars(version: str) -> Path:
    """The folder with Kafka's jars, fetched once by Maven into the user's cache."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing:
        msg = f"{' and '.join(missing)} not found; install a JDK 17 and Maven, or name a broker in ASKANCE_TEST_KAFKA"
        raise BrokerMissingError(msg)
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "askance" / "kafka"
    folder = cache / f"{version}-{hashlib.sha256(POM.read_bytes()).hexdigest()[:8]}"
    if not folder.is_dir():
        staged = cache / f"{folder.name}.{uuid.uuid4().hex}"
        logging = "log4j2" if int(version.split(".")[0]) >= 4 else "reload4j"
        command = [
            "mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies",
            f"-DoutputDirectory={staged}", f"-Dkafka.version={version}", f"-Dkafka.logging={logging}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            msg = f"Maven could not fetch Kafka {version}: {(done.stdout + done.stderr).strip()[-500:]}"
            raise BrokerMissingError(msg)
        with contextlib.suppress(OSError):  # another process may have been faster
            staged.rename(folder)
        shutil.rmtree(staged, ignore_errors=True)
    return folder


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Broker:
    """One broker process; its data outlive `kill` and `start`."""

    def __init__(
        self,
        folder: Path,
        classpath: Path,
        properties: dict[str, object],
        cluster_id: str,
        credentials: Sequence[str],
    ) -> None:
        self._folder = folder
        self._classpath = classpath
        folder.mkdir(parents=True)
        (folder / "server.properties").write_text("".join(f"{k}={v}\n" for k, v in properties.items()))
        (folder / "log4j2.properties").write_text(
            "rootLogger.level=warn\nrootLogger.appenderRef.out.ref=out\n"
            "appender.out.type=Console\nappender.out.name=out\nappender.out.layout.type=PatternLayout\n"
            "appender.out.layout.pattern=%d %p %m (%c)%n\n"
        )
        (folder / "log4j.properties").write_text(
            "log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n"
            "log4j.appender.out.layout=org.apache.log4j.PatternLayout\n"
        )
        done = subprocess.run(
            [*self._java("kafka.tools.StorageTool", "128m"), "format", "-t", cluster_id,
             "-c", str(folder / "server.properties"),
             *(word for each in credentials for word in ("--add-scram", each))],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            msg = f"the storage could not be formatted: {done.stdout[-2000:]}{done.stderr[-2000:]}"
            raise RuntimeError(msg)
        self.process: subprocess.Popen[bytes] | None = None

    def _java(self, main: str, heap: str) -> list[str]:
        return [
            "java", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}",
            f"-Dlog4j.configuration=file:{self._folder / 'log4j.properties'}",
            "-cp", f"{self._classpath}/*", main,
        ]  # fmt: skip

    @property
    def log(self) -> str:
        """What the broker has said."""
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start the process; it is not ready yet when this returns."""
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._java("kafka.Kafka", "512m"), str(self._folder / "server.properties")],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the process (SIGTERM: an orderly shutdown) and wait until it has."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


class Cluster:
    """`brokers` brokers that are controllers too; internal topics are replicated as far as they go.

    `protocol` is the brokers' security protocol, `client` what an aiokafka client needs besides to be let in, and
    `credentials` what `StorageTool format --add-scram` is told.
    """

    def __init__(
        self,
        brokers: int = 1,
        version: str = DEFAULT_VERSION,
        *,
        protocol: str = "PLAINTEXT",
        client: Mapping[str, Any] | None = None,
        credentials: Sequence[str] = (),
        **properties: object,
    ) -> None:
        self._client = {} if client is None else dict(client)
        self._classpath = jars(version)
        self._folder = Path(tempfile.mkdtemp(prefix="askance-kafka-"))
        ports = free_ports(2 * brokers)
        clients, control = ports[:brokers], ports[brokers:]
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self.bootstrap_servers = ",".join(f"127.0.0.1:{port}" for port in clients)
        replicas = min(3, brokers)
        self.brokers = [
            Broker(
                self._folder / str(number),
                self._classpath,
                {
                    "process.roles": "broker,controller",
                    "node.id": number,
                    "controller.quorum.voters": ",".join(
                        f"{other}@127.0.0.1:{port}" for other, port in enumerate(control, 1)
                    ),
                    "listeners": f"{protocol}://127.0.0.1:{clients[number - 1]},"
                    f"CONTROLLER://127.0.0.1:{control[number - 1]}",
                    "controller.listener.names": "CONTROLLER",
                    "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,{protocol}:{protocol}",
                    "security.inter.broker.protocol": protocol,
                    "log.dirs": self._folder / str(number) / "data",
                    "group.initial.rebalance.delay.ms": 0,
                    "auto.create.topics.enable": "false",
                    "offsets.topic.num.partitions": 4,
                    "offsets.topic.replication.factor": replicas,
                    "transaction.state.log.num.partitions": 4,
                    "transaction.state.log.replication.factor": replicas,
                    "transaction.state.log.min.isr": max(1, replicas - 1),
                    "min.insync.replicas": max(1, replicas - 1),
                    **properties,
                },
                cluster_id,
                credentials,
            )
            for number in range(1, brokers + 1)
        ]

    def __enter__(self) -> Self:
        for broker in self.brokers:
            broker.start()
        try:
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        for broker in self.brokers:
            broker.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def wait_until_ready(self) -> None:
        """Return once a metadata reply names every running broker."""
        running = sum(broker.process is not None for broker in self.brokers)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for broker in self.brokers:
                if broker.process is not None and broker.process.poll() is not None:
                    msg = f"a broker ended with code {broker.process.returncode}:\n{broker.log[-3000:]}"
                    raise RuntimeError(msg)
            if asyncio.run(self._answering()) >= running:
                return
            time.sleep(0.2)
        msg = f"the brokers were not ready within {START_SECONDS:g} s:\n{self.brokers[0].log[-3000:]}"
        raise RuntimeError(msg)

    def _admin(self) -> AIOKafkaAdminClient:
        return AIOKafkaAdminClient(bootstrap_servers=self.bootstrap_servers, request_timeout_ms=5000, **self._client)

    async def leader(self, topic: str, partition: int) -> int:
        """The number of the broker that leads a partition."""
        return int((await self._partitions(topic))[partition]["leader"])

    async def is_in_sync(self, topic: str) -> bool:
        """Whether every replica of the topic has caught up."""
        return all(len(each["isr"]) == len(each["replicas"]) for each in (await self._partitions(topic)).values())

    async def _partitions(self, topic: str) -> dict[int, dict[str, Any]]:
        client = self._admin()
        try:
            await client.start()
            [described] = await client.describe_topics([topic])
            return {each["partition"]: each for each in described["partitions"]}
        finally:
            await client.close()

    async def _answering(self) -> int:
        client = self._admin()
        try:
            await client.start()
            described = await client.describe_cluster()
            return len(described["brokers"])
        except (KafkaError, OSError, IndexError):
            return 0
        finally:
            with contextlib.suppress(KafkaError, OSError):
                await client.close()
