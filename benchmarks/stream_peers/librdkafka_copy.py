"""Copies records from topic to topic with confluent-kafka (librdkafka), for `transport.py`.

python librdkafka_copy.py SERVERS GROUP DOCUMENTS COPIES COUNT
"""

from __future__ import annotations

import json
import sys
import time

BATCH = 4096


class Meter:
    """Prints records a second and microseconds of processor time a record, from the first record to the last."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None

    def begin(self) -> None:
        if self._began is None:
            self._began = time.perf_counter(), time.process_time()

    def end(self, count: int) -> None:
        assert self._began is not None
        seconds, cpu = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        print(json.dumps([count / seconds, 1e6 * cpu / count]), flush=True)


def copy(servers: str, group: str, documents: str, copies: str, count: int) -> None:
    """At least once; one batch is under way while the next is read."""
    from confluent_kafka import Consumer, Producer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
        }
    )
    consumer.subscribe([documents])
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "zstd",
            "batch.size": 512 * 1024,
            "queue.buffering.max.messages": 1_000_000,
            "linger.ms": 5,
        }
    )
    meter = Meter()
    done = 0
    ends: dict[int, int] = {}
    while done < count:
        records = consumer.consume(BATCH, 0.05)
        if not records:
            continue
        meter.begin()
        if ends:
            producer.flush()
            consumer.commit(offsets=[TopicPartition(documents, *each) for each in ends.items()], asynchronous=False)
        for record in records:
            partition = record.partition()
            producer.produce(
                copies, value=record.value(), key=record.key(), headers=record.headers(), partition=partition,
                timestamp=record.timestamp()[1],
            )  # fmt: skip
            ends[partition] = record.offset() + 1
        producer.poll(0)
        done += len(records)
    producer.flush()
    consumer.commit(offsets=[TopicPartition(documents, *each) for each in ends.items()], asynchronous=False)
    meter.end(done)
    consumer.close()


if __name__ == "__main__":
    *where, records = sys.argv[1:]
    copy(*where, int(records))
