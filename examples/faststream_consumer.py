"""The gate in a FastStream application, at least once: what `consumer.py` does, as handlers of a framework.

    pip install 'faststream[kafka]'
    python examples/faststream_consumer.py localhost:9092 tickets tickets.answers tickets.to-ask askance-state/registry

A handler that fails has its batch fetched again (`NACK_ON_ERROR`), and the coordinates toss the same coins then.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import askance
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

SHARE = 0.05


def application(servers: str, documents: str, answers: str, to_ask: str, registry: str) -> FastStream:
    """The application; its one handler answers every record and passes on what is worth asking about."""
    broker = KafkaBroker(servers)
    student = askance.Student.load(registry)
    # One a process: its budget is kept from batch to batch.
    gate = askance.Gate(share=SHARE)

    @broker.subscriber(
        documents,
        group_id="my-application",
        batch=True,
        max_records=512,
        auto_offset_reset="earliest",
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )
    async def classify(tickets: list[dict[str, Any]], message: KafkaMessage) -> None:
        records = message.raw_message if isinstance(message.raw_message, tuple) else (message.raw_message,)
        # Off the event loop, which has a group to stay in.
        logits = await asyncio.to_thread(student.logits, [ticket["text"] for ticket in tickets])
        decided = gate.decide(
            logits,
            coordinates=[(record.topic, record.partition, record.offset) for record in records],
            temperature=student.temperature,
        )
        sent = []
        for place, (ticket, record) in enumerate(zip(tickets, records, strict=True)):
            answer = {
                "label": student.labels[decided.labels[place]],
                "confidence": float(decided.confidences[place]),
                "propensity": float(decided.propensities[place]),
                "version": student.version,
            }
            sent.append(broker.publish(answer, answers, key=record.key))
            if decided.accepted[place]:
                sent.append(broker.publish({"text": ticket["text"], "predicted": answer}, to_ask, key=record.key))
        # Everything is acknowledged before the offsets are committed.
        await asyncio.gather(*sent)

    return FastStream(broker)


if __name__ == "__main__":
    asyncio.run(application(*sys.argv[1:]).run())
