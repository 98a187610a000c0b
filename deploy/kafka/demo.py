"""`make kafka-demo`: what `make demo` shows, on a real Apache Kafka, with each worker a process of its own.

A broker is started on loopback, the topics are made by `askance topics create`, documents are produced at a steady
rate, and the predictions are read back from their topic as any reader of committed records sees them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))

from askance import assembly
from askance.cli.demo import ABOUT, DOCUMENTS_PER_SECOND, LATENCY_MS, SHARE
from askance.config import Config
from askance.demo import corpus, summary
from askance.stream.kafka.produce import Outgoing, producer, send
from askance.stream.kafka.ranges import Bound, TopicRange
from deploy.kafka.broker import BrokerMissingError, Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER = Path("askance-demo-kafka")
PARTITIONS = 6
ASKANCE = [sys.executable, "-P", "-c", "from askance.cli.main import main; main()"]
RATE = 0.6 * DOCUMENTS_PER_SECOND
"""Slower than `make demo`: a broker and three processes share what one process has there."""
PATIENCE_SECONDS = 300.0
STOP_SECONDS = 75.0


def main() -> None:
    """Exits with 1 when the loop did not close, with 2 when there can be no broker."""
    try:
        cluster = Cluster()
    except BrokerMissingError as exc:
        print(f"askance: {exc}", file=sys.stderr)
        sys.exit(2)
    FOLDER.mkdir(exist_ok=True)
    print("askance demo on Kafka: " + "\n                       ".join(ABOUT))
    built = corpus.build(FOLDER / "documents.jsonl")
    documents = (FOLDER / "documents.jsonl").read_bytes().splitlines()
    with cluster:
        config = settings(cluster.bootstrap_servers, sorted(built.counts))
        print(
            f"a broker runs at {cluster.bootstrap_servers}; {len(documents):,} documents in {len(built.counts)} classes"
        )
        subprocess.run(
            [*ASKANCE, "topics", "create", "--documents", "--partitions", str(PARTITIONS)], cwd=FOLDER, check=True
        )
        with workers("classify", "teach", "train") as processes:
            seconds = asyncio.run(stream(config, documents, processes))
        asyncio.run(read_back(config, FOLDER / "predictions.jsonl"))
    sys.exit(0 if show(config, seconds) else 1)


def settings(servers: str, labels: Sequence[str]) -> Config:
    """Those of the run, written for the workers; the state is the run's own."""
    state = f"state-{time.time_ns()}"
    given = {
        "state": state,
        "kafka": {"bootstrap": {"servers": servers}, "session": {"timeout": {"ms": 10_000}}},
        "budget": {"share": SHARE},
        "teacher": {
            "kind": "replay", "model": "demo", "labels": list(labels), "latency_ms": LATENCY_MS,
            "replay_path": "documents.jsonl",
        },
    }  # fmt: skip
    (FOLDER / "askance.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    return Config.model_validate({**given, "state": FOLDER / state})


@contextlib.contextmanager
def workers(*names: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Each a process that is told to finish in the end; what they say is in the folder."""
    processes = []
    try:
        for name in names:
            with (FOLDER / f"{name}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        [*ASKANCE, name], cwd=FOLDER, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                        env={**os.environ, "ASKANCE_BATCH": "256"},
                    )
                )  # fmt: skip
        yield processes
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


async def stream(config: Config, documents: Sequence[bytes], processes: Sequence[subprocess.Popen[bytes]]) -> float:
    """Produce the documents at their rate, and wait until all are predicted and every query has ended; in seconds."""
    client = producer(config.kafka, None)
    await client.start()
    began = time.monotonic()
    try:
        tenth = round(RATE / 10)
        for first in range(0, len(documents), tenth):
            await asyncio.sleep(began + first / RATE - time.monotonic())
            for number in range(PARTITIONS):
                some = [
                    Outgoing(None, document, (), None)
                    for place, document in enumerate(documents[first : first + tenth], start=first)
                    if place % PARTITIONS == number
                ]
                await asyncio.gather(*await send(client, config.kafka.documents[0], number, some))
    finally:
        await client.stop()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        predictions, queries, labels = [
            await count(config, topic)
            for topic in (config.kafka.predictions, config.kafka.queries, config.kafka.labels)
        ]
        print(f"{predictions:,} predictions, {queries:,} queries, {labels:,} labels")
        if predictions >= len(documents) and labels >= queries:
            return time.monotonic() - began
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            sys.exit(f"the workers did not finish; what they said is in {FOLDER}/*.log")
        await asyncio.sleep(1.0)


async def count(config: Config, topic: str) -> int:
    """The committed records of a topic."""
    found = 0
    async with TopicRange(config.kafka, [topic], Bound(offset=0), Bound()) as stretch:
        while (records := await stretch.fetch(max_records=4096, max_wait_seconds=1.0)) is not None:
            found += len(records)
    return found


async def read_back(config: Config, path: Path) -> None:
    """The predictions, as lines."""
    with path.open("wb") as file:
        async with TopicRange(config.kafka, [config.kafka.predictions], Bound(offset=0), Bound()) as stretch:
            while (records := await stretch.fetch(max_records=4096, max_wait_seconds=1.0)) is not None:
                file.writelines((record.value or b"") + b"\n" for record in records)


def show(config: Config, seconds: float) -> bool:
    """Print what `make demo` prints of a run; whether the loop closed."""
    judged = summary.read(FOLDER / "documents.jsonl", FOLDER / "predictions.jsonl")
    registry = assembly.registry(config)
    fit = [manifest.version for manifest in registry.versions() if manifest.verdict.promoted]
    result = summary.summarise(
        judged,
        first=assembly.load(registry, fit[0]) if fit else None,
        last=assembly.load(registry, fit[-1]) if fit else None,
        seconds=seconds,
    )
    print("\n".join(result.lines()))
    return result.closed


if __name__ == "__main__":
    main()
