"""What another transport would bring: `make bench-transport`.

Records are copied from one topic to another, nothing is scored: by askance's own stream on aiokafka, and by
confluent-kafka (librdkafka), which has no batches in Python: each record is an object on its way in and a call on its
way out. Both at least once: idempotent, acknowledged by all, zstd, one batch under way while the next is read, offsets
committed after the acknowledgements. Each is a process of its own in interleaved rounds; its processor time says what
the transport costs a document, beside what a document costs in `make bench-stream`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from askance.config import Config
from askance.health import Health
from askance.records import Delivery, Position
from askance.stream.kafka.documents import KafkaStream
from askance.telemetry import Telemetry
from benchmarks.stream_peers.contenders import environment
from benchmarks.stream_peers.librdkafka_copy import BATCH, Meter
from benchmarks.stream_peers.rounds import create, delete, end, feed
from deploy.kafka.broker import Cluster

# It complains about a broker that is still starting.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

OURS, THEIRS = "askance's stream on aiokafka", "confluent-kafka"
NEEDS = ("confluent-kafka==2.16.1",)
THEIR_SCRIPT = "stream_peers/librdkafka_copy.py"
_OTHERS = ("queries", "labels", "tallies", "dead_letters")


class Copied(NamedTuple):
    rate: float
    """Records a second."""
    microseconds: float
    """Of processor time a record."""


async def ours(servers: str, group: str, documents: str, copies: str, count: int) -> None:
    """Copy `count` records through the stream that `askance classify` uses."""
    others = {name: f"{group}.{name}" for name in _OTHERS}
    kafka = {"bootstrap": {"servers": servers}, "group": {"id": group}, "documents": [documents], "predictions": copies}
    config = Config.model_validate({"kafka": {**kafka, **others, "delivery": "at_least_once"}}).kafka
    stream = KafkaStream(config, telemetry=Telemetry(), health=Health(time.monotonic), clock=time.monotonic)
    await stream.start()
    delivering: asyncio.Task[object] | None = None
    meter = Meter()
    done = 0
    while done < count:
        records = await stream.fetch(max_records=BATCH, max_wait_seconds=0.05)
        if not records:
            continue
        meter.begin()
        ends = {record.coordinates[:2]: record for record in records}
        positions = [
            Position(
                *where, next_offset=last.coordinates.offset + 1, documents=1, accepted=0, dead_letters=0,
                lease=last.lease,
            )
            for where, last in ends.items()
        ]  # fmt: skip
        copied = Delivery([(record, record.value) for record in records], [], [], positions)
        if delivering is not None:
            await delivering
        delivering = asyncio.create_task(stream.deliver(copied))
        done += len(records)
    if delivering is not None:
        await delivering
    meter.end(done)
    await stream.aclose()


def one_round(servers: str, who: str, number: int, count: int) -> Copied:
    """In a process of its own; raises `AssertionError` unless every record was copied once."""
    group = f"{'ours' if who == OURS else 'theirs'}-{number}"
    copies = f"{group}.copies"
    topics = [copies, *(f"{group}.{name}" for name in _OTHERS)]
    asyncio.run(create(servers, {topic: {} for topic in topics}))
    here = Path(__file__).resolve()
    script = [sys.executable, here, "copy"] if who == OURS else [environment(NEEDS), here.parent / THEIR_SCRIPT]
    done = subprocess.run(
        [*map(str, script), servers, group, "documents", copies, str(count)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    assert asyncio.run(end(servers, copies)) == count, f"{who} did not copy every record once"
    asyncio.run(delete(servers, topics))
    return Copied(*json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of each")
    parser.add_argument("--documents", type=int, default=400_000, help="that are copied in a round")
    given = parser.parse_args()
    found: dict[str, list[Copied]] = {OURS: [], THEIRS: []}
    with Cluster() as cluster:
        servers = cluster.bootstrap_servers
        asyncio.run(feed(servers, "documents", 20, given.documents))
        for number in range(1, given.rounds + 1):
            for who in (OURS, THEIRS) if number % 2 else (THEIRS, OURS):
                copied = one_round(servers, who, number, given.documents)
                found[who].append(copied)
                print(
                    f"round {number}  {who:<30}{copied.rate:>10,.0f} records/s{copied.microseconds:>8.2f} us CPU each"
                )
    rate = statistics.median(t.rate / o.rate for o, t in zip(found[OURS], found[THEIRS], strict=True))
    cpu = statistics.median(o.microseconds / t.microseconds for o, t in zip(found[OURS], found[THEIRS], strict=True))
    print(json.dumps({"bench": "transport", "librdkafka_over_aiokafka": round(rate, 3), "by_cpu": round(cpu, 3)}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["copy"]:
        *where, records = sys.argv[2:]
        asyncio.run(ours(*where, int(records)))
    else:
        main()
