"""How long a document waits for its prediction: `make bench-latency`.

An open loop: documents are due at fixed times, at a share of the capacity that was measured just before, whatever
becomes of those before them; each carries the time when it was due (its create time), so a producer, a broker or a
worker that falls behind makes every document that waits late (no coordinated omission). Latency ends with the append
of the document's prediction, on the broker's clock, which is this machine's. One `askance classify`, at least once:

steady: nothing else happens.
swap: another version of the student is promoted every second.
rebalance: a second worker joins the group in the middle, and takes over half of the partitions.
teacher_down: an `askance teach` takes the queries and finds nobody at its teacher's address.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import yaml
from aiokafka import AIOKafkaConsumer, TopicPartition

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from askance.config import Config
from askance.registry import DirectoryRegistry
from askance.stream.kafka.produce import Outgoing, producer, send
from benchmarks.stream_peers import contenders, documents
from benchmarks.stream_peers.contenders import Askance, Place
from benchmarks.stream_peers.rounds import PARTITIONS, STAMPED, create, delete, feed, run
from deploy.kafka.broker import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from benchmarks.stream_peers.documents import Models

# It complains about a broker that is still starting.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

CLASSES = 20
SCENARIOS = ("steady", "swap", "rebalance", "teacher_down")
WORKER = Askance("at_least_once")
_TICK_SECONDS = 0.005
_SWAP_SECONDS = 1.0
_PATIENCE_SECONDS = 60.0
_POOL = 50_000
"""Different documents; they come again and again."""


class Waits(NamedTuple):
    """Of one round; ms."""

    waits: NDArray[np.float64]
    """Of every document that was due while it was measured."""
    late: float
    """The 99th percentile of how much later than due the producer handed documents over: a part of the waits."""

    def at(self, percentile: float) -> float:
        return float(np.percentile(self.waits, percentile))

    def __str__(self) -> str:
        figures = "   ".join(f"p{percentile:g} {self.at(percentile):7.1f}" for percentile in (50, 99, 99.9))
        return f"{figures} ms   (the producer was late, p99: {self.late:.1f})"


class Where(NamedTuple):
    """What all rounds share."""

    servers: str
    folder: Path
    models: Models
    versions: tuple[str, str]
    pool: Sequence[tuple[bytes, bytes]]
    """Documents, keys and values."""


class Given(NamedTuple):
    rate: float
    """Documents a second."""
    warm_up_seconds: float
    seconds: float
    """That are measured."""


class _Place(msgspec.Struct):
    partition: int
    offset: int


@contextmanager
def process(command: list[str], folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of askance's in its folder; it must still run at the end, and is stopped then."""
    with (folder / f"{name}.log").open("wb") as log:
        own = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield own
        if own.poll() is not None:
            raise AssertionError(f"{name} ended by itself: {(folder / f'{name}.log').read_text()[-2000:]}")
    finally:
        own.terminate()
        try:
            own.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            own.kill()
            own.wait()


async def produce(where: Where, topic: str, given: Given, began: float, late: list[float]) -> list[list[float]]:
    """Put documents onto the topic, each when it is due; the times they were due at (Unix, s) by partition and offset.

    What has come due since the last tick goes to one partition, the next to the next, as Kafka's own producers do.
    """
    config = Config.model_validate({"kafka": {"bootstrap": {"servers": where.servers}}}).kafka
    client = producer(config, None)
    await client.start()
    due: list[list[float]] = [[] for _ in range(PARTITIONS)]
    acknowledged: list[asyncio.Future[object]] = []
    total = int(given.rate * (given.warm_up_seconds + given.seconds))
    number = tick = 0
    try:
        while number < total:
            await asyncio.sleep(max(0.0, began + tick * _TICK_SECONDS - time.time()))
            now = time.time()
            until = min(total, int((now - began) * given.rate) + 1)
            partition = tick % PARTITIONS
            times = [began + each / given.rate for each in range(number, until)]
            outgoing = [
                Outgoing(*where.pool[each % _POOL], (), int(1000 * at))
                for each, at in zip(range(number, until), times, strict=True)
            ]
            acknowledged += await send(client, topic, partition, outgoing)
            due[partition] += times
            late += [1000 * (now - at) for at in times[:1]]
            # A tick that was missed is made up for by the one that comes.
            number, tick = until, max(tick + 1, int((time.time() - began) / _TICK_SECONDS))
        await asyncio.gather(*acknowledged)
    finally:
        await client.stop()
    return due


def teach_command(place: Place) -> list[str]:
    """`askance teach` on the round's queries, whose teacher is nowhere."""
    folder = place.folder / "teach"
    folder.mkdir()
    settings = yaml.safe_load((place.folder / "askance.yaml").read_text())
    settings["state"] = str(folder)
    settings["kafka"]["labels"] = f"{place.group}.labels"
    # Nothing listens on port 9.
    settings["teacher"] = {"kind": "openai", "model": "none", "base_url": "http://127.0.0.1:9/v1"}
    settings["teacher"]["labels"] = list(documents.labels(CLASSES))
    path = folder / "askance.yaml"
    path.write_text(yaml.safe_dump(settings))
    return [sys.executable, "-c", "from askance.cli.main import main; main()", "teach", "--config", str(path)]


async def disturb(scenario: str, where: Where, place: Place, given: Given, stack: ExitStack) -> None:
    """What happens while it is measured, in this scenario."""
    await asyncio.sleep(given.warm_up_seconds)
    if scenario == "swap":
        registry = DirectoryRegistry(where.models.folder / "registry", on_warning=print)
        for number in range(int(given.seconds / _SWAP_SECONDS)):
            await asyncio.to_thread(registry.promote, where.versions[number % 2])
            await asyncio.sleep(_SWAP_SECONDS)
    if scenario == "rebalance":
        second = place._replace(folder=place.folder / "second")
        second.folder.mkdir()
        stack.enter_context(process(WORKER.command(second, where.models), second.folder, "second"))


async def played(scenario: str, where: Where, place: Place, given: Given) -> Waits:
    with ExitStack() as stack:
        stack.enter_context(process(WORKER.command(place, where.models), place.folder, "classify"))
        if scenario == "teacher_down":
            stack.enter_context(process(teach_command(place), place.folder, "teach"))
        late: list[float] = []
        # The first documents say when it has started; they are not measured.
        first = await produce(where, place.documents, Given(1000.0, 0.0, 0.1), time.time(), [])
        await predicted(where.servers, place.predictions, sum(map(len, first)))
        began = time.time()
        disturbance = asyncio.create_task(disturb(scenario, where, place, given, stack))
        due = await produce(where, place.documents, given, began, late)
        await disturbance
        total = sum(map(len, first)) + sum(map(len, due))
        await predicted(where.servers, place.predictions, total)
    return Waits(await waits(where.servers, place, first, due, began + given.warm_up_seconds), np.percentile(late, 99))


async def predicted(servers: str, topic: str, count: int) -> None:
    """Wait until so many predictions have been written."""
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    async with asyncio.timeout(_PATIENCE_SECONDS), AIOKafkaConsumer(bootstrap_servers=servers, group_id=None) as reader:
        while sum((await reader.end_offsets(partitions)).values()) < count:  # noqa: ASYNC110 - a broker sets no event
            await asyncio.sleep(0.1)


async def waits(
    servers: str, place: Place, first: Sequence[list[float]], due: Sequence[list[float]], since: float
) -> NDArray[np.float64]:
    """How long each document that was due from then on waited for its (first) prediction; ms. Each must have one."""
    appended = [np.full(len(own) + len(rest), np.inf) for own, rest in zip(first, due, strict=True)]
    decoder = msgspec.json.Decoder(_Place)
    partitions = [TopicPartition(place.predictions, number) for number in range(PARTITIONS)]
    async with AIOKafkaConsumer(bootstrap_servers=servers, group_id=None, auto_offset_reset="earliest") as reader:
        reader.assign(partitions)
        ends = await reader.end_offsets(partitions)
        await reader.seek_to_beginning(*partitions)
        while not all([await reader.position(tp) >= ends[tp] for tp in partitions]):
            for records in (await reader.getmany(timeout_ms=500)).values():
                for record in records:
                    found = decoder.decode(record.value)
                    of = appended[found.partition]
                    of[found.offset] = min(of[found.offset], record.timestamp)
    every = np.concatenate(appended)
    assert np.isfinite(every).all(), f"{np.isinf(every).sum()} documents have no prediction"
    created = np.concatenate([np.array(own + rest) for own, rest in zip(first, due, strict=True)])
    waited: NDArray[np.float64] = (every - 1000 * created)[created >= since]
    return waited


def one_round(scenario: str, where: Where, given: Given, name: str) -> Waits:
    own = where.folder / name
    own.mkdir()
    place = Place(
        where.servers, name, f"{name}.documents", f"{name}.predictions", f"{name}.queries", f"{name}.dead",
        f"{name}.tallies", own,
    )  # fmt: skip
    topics: dict[str, dict[str, str]] = dict.fromkeys(place[2:7], STAMPED)
    topics |= {place.documents: {}, f"{name}.labels": {}}
    asyncio.run(create(where.servers, topics))
    try:
        return asyncio.run(played(scenario, where, place, given))
    finally:
        asyncio.run(delete(where.servers, list(topics)))


def capacity(where: Where, count: int, seconds: float) -> float:
    """Documents a second with a backlog, the median of three runs."""
    truth = asyncio.run(feed(where.servers, "backlog", CLASSES, count))
    rates = [
        run(
            where.servers, contenders.ALL[0], where.models, "backlog", truth, where.folder, number, seconds=seconds,
            warm_up_seconds=1.0,
        ).rate
        for number in range(3)
    ]  # fmt: skip
    print(f"capacity with a backlog: {', '.join(f'{rate:,.0f}' for rate in rates)} documents/s", flush=True)
    asyncio.run(delete(where.servers, ["backlog"]))
    return statistics.median(rates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each scenario")
    parser.add_argument("--seconds", type=float, default=8.0, help="that are measured in a round")
    parser.add_argument("--warm-up-seconds", type=float, default=3.0, help="of the same load before")
    parser.add_argument("--documents", type=int, default=500_000, help="of the backlog that capacity is measured on")
    parser.add_argument("--full", action="store_true", help="10 and 80 %% of capacity too, not only 50 %%")
    given = parser.parse_args()
    os.environ.setdefault("OPENAI_API_KEY", "none")
    with tempfile.TemporaryDirectory() as name, Cluster() as cluster:
        folder = Path(name)
        models = documents.fit(folder, CLASSES)
        rows = list(documents.texts(CLASSES, documents.TRAINED_ON, seed=2))
        versions = (documents.publish(folder, CLASSES, rows, "taught-again"), models.version.name)
        made = documents.texts(CLASSES, _POOL, seed=3)
        pool = [documents.encoded(number, text) for number, (text, _) in enumerate(made)]
        where = Where(cluster.bootstrap_servers, folder, models, versions, pool)
        most = capacity(where, given.documents, 2.0)
        found: dict[tuple[int, str], list[Waits]] = {}
        for number in range(1, given.rounds + 1):
            for load in (10, 50, 80) if given.full else (50,):
                for scenario in SCENARIOS if number % 2 else reversed(SCENARIOS):
                    at = Given(most * load / 100, given.warm_up_seconds, given.seconds)
                    one = one_round(scenario, where, at, f"{scenario.replace('_', '-')}-{load}-{number}")
                    found.setdefault((load, scenario), []).append(one)
                    busy = os.getloadavg()[0]
                    print(
                        f"round {number}  {load} % ({at.rate:,.0f}/s)  {scenario:<13}{one}, load {busy:.1f}", flush=True
                    )
    print("\nmedians of the rounds, ms:")
    for (load, scenario), rounds in found.items():
        figures = (statistics.median(one.at(percentile) for one in rounds) for percentile in (50, 99, 99.9))
        print(f"  {load} %  {scenario:<13}" + "".join(f"{figure:10.1f}" for figure in figures))
    p99 = {scenario: round(statistics.median(one.at(99) for one in found[50, scenario]), 1) for scenario in SCENARIOS}
    print(json.dumps({"bench": "latency", "p99_ms": p99}))


if __name__ == "__main__":
    main()
