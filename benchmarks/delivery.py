"""What exactly-once costs: `make bench-delivery`.

One real broker, one topic of documents, one student, and the data plane's own worker, in turn with
`kafka.delivery: at_least_once` (the baseline) and `exactly_once`, each round with a group and output topics of its own.
A round's time runs from the first delivery to the last, so that joining the group is in neither. After each round the
predictions are read back with `read_committed`: every document must have exactly one.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from askance import assembly
from askance.config import Config
from askance.health import Health
from askance.manifest import FeaturizerConfig
from askance.registry import DirectoryRegistry
from askance.stream.kafka.documents import KafkaStream
from askance.stream.kafka.produce import Outgoing, producer, send
from askance.stream.kafka.topics import create_topics
from askance.student.slot import Slot
from askance.telemetry import Telemetry
from askance.training.pipeline import train
from askance.training.spec import Spec
from askance.workers.classify import ClassifyWorker
from deploy.kafka.broker import Cluster
from tests.kafka.lag import LagProbe, percentile
from tests.kafka.readback import read
from tests.kafka.stream import LABELS, teach_ledger, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from askance.records import Delivery, Position

# It complains about a broker that is still starting.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

MODES = ("at_least_once", "exactly_once")
PARTITIONS = 6


class Timed:
    """A sink that notes when deliveries are through, and stops the worker after the last document."""

    def __init__(self, stream: KafkaStream, documents: int, stop: asyncio.Event) -> None:
        self._stream = stream
        self._left = documents
        self._stop = stop
        self.marks: list[tuple[float, int]] = []

    async def deliver(self, delivery: Delivery) -> Sequence[Position]:
        delivered = await self._stream.deliver(delivery)
        count = sum(position.documents for position in delivered)
        self.marks.append((time.perf_counter(), count))
        self._left -= count
        if self._left <= 0:
            self._stop.set()
        return delivered

    @property
    def rate(self) -> float:
        """Documents a second after the first delivery."""
        (began, _), *rest = self.marks
        return sum(count for _, count in rest) / (rest[-1][0] - began)


async def round_of(
    mode: str, name: str, servers: str, folder: Path, documents: int, batch: int, lags: list[float]
) -> float:
    """Documents a second in one mode; raises `AssertionError` unless each has one prediction."""
    config = Config.model_validate(
        {
            "state": folder,
            "batch": batch,
            "budget": {"share": 0.05},
            "source": {"format": "jsonl"},
            "kafka": {
                "bootstrap": {"servers": servers},
                "group": {"id": name},
                "documents": ["documents"],
                "predictions": f"{name}.predictions",
                "queries": f"{name}.queries",
                "labels": f"{name}.labels",
                "tallies": f"{name}.tallies",
                "dead_letters": f"{name}.dead",
                "delivery": mode,
            },
        }
    )
    await create_topics(config.kafka, partitions=PARTITIONS, replication=1, retention_ms=-1, documents=False)
    slot, stop, telemetry = Slot(), asyncio.Event(), Telemetry()
    registry = assembly.registry(config)
    slot.put(assembly.load(registry, registry.versions()[-1].version))
    stream = KafkaStream(config.kafka, telemetry=telemetry, health=Health(time.monotonic), clock=time.monotonic)
    await stream.start()
    sink = Timed(stream, documents, stop)
    try:
        worker = ClassifyWorker(
            source=stream,
            sink=sink,
            decoder=assembly.decoder(config),
            slot=slot,
            gate=assembly.gate(config),
            budget=assembly.budget(config, documents=0, accepted=0),
            backlog=lambda: 0,
            max_backlog=10**9,
            telemetry=telemetry,
            clock=time.monotonic,
            batch=config.batch,
            linger_seconds=0.02,
        )
        gc.freeze()  # as `app` does
        with LagProbe() as probe:
            await worker.run(stop)
        gc.unfreeze()
        lags += probe.seconds
    finally:
        await stream.aclose()
    places = Counter(
        (one["partition"], one["offset"])
        for one in (msgspec.json.decode(record.value) for record in await read(servers, config.kafka.predictions))
    )
    assert len(places) == documents, f"{len(places)} documents of {documents} have a prediction"
    assert set(places.values()) == {1}, "a document has two predictions"
    return sink.rate


async def feed(servers: str, documents: int) -> None:
    """Put the documents onto their topic."""
    config = Config.model_validate({"kafka": {"bootstrap": {"servers": servers}, "documents": ["documents"]}}).kafka
    await create_topics(config, partitions=PARTITIONS, replication=1, retention_ms=-1, documents=True)
    client = producer(config, None)
    await client.start()
    try:
        for partition in range(PARTITIONS):
            lines = [
                Outgoing(None, msgspec.json.encode({"id": str(number), "text": text_of(number)}), (), None)
                for number in range(partition, documents, PARTITIONS)
            ]
            await asyncio.gather(*await send(client, "documents", partition, lines))
    finally:
        await client.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=120_000, help="a round")
    parser.add_argument("--rounds", type=int, default=5, help="of each mode")
    parser.add_argument("--batch", type=int, default=Config().batch, help="documents scored together")
    given = parser.parse_args()
    rates: dict[str, list[float]] = {mode: [] for mode in MODES}
    lags: list[float] = []
    with tempfile.TemporaryDirectory() as name, Cluster() as cluster:
        folder = Path(name)
        spec = Spec(
            ledger=str(teach_ledger(folder / "taught.db", 2000)),
            registry=str(folder / "registry"),
            labels=LABELS,
            featurizer=FeaturizerConfig(bits=18),
        )
        version = train(spec).version
        DirectoryRegistry(folder / "registry", on_warning=print).promote(version)
        asyncio.run(feed(cluster.bootstrap_servers, given.documents))
        for number in range(given.rounds + 1):
            for mode in MODES if number % 2 else reversed(MODES):
                group = f"{mode}-{number}".replace("_", "-")
                servers = cluster.bootstrap_servers
                rate = asyncio.run(round_of(mode, group, servers, folder, given.documents, given.batch, lags))
                # The first round warms the broker up.
                if number:
                    rates[mode].append(rate)
                    print(f"round {number}  {mode:<14}{rate:>10,.0f} documents/s", flush=True)
    ratios = [once / least for once, least in zip(rates["exactly_once"], rates["at_least_once"], strict=True)]
    median, late = (1e3 * percentile(lags, permille) for permille in (500, 990))
    print(f"event loop lag under full load: p50 {median:.1f} ms, p99 {late:.1f} ms")
    print(f"ratios by round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    print(json.dumps({"bench": "delivery", "exactly_once_over_at_least_once": round(statistics.median(ratios), 3)}))


if __name__ == "__main__":
    main()
