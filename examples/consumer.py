"""The gate in a consumer of your own: plain aiokafka, at least once.

    python examples/consumer.py localhost:9092 tickets tickets.answers tickets.to-ask askance-state/registry

Every record gets an answer on one topic; the records that are worth asking about go to another, with the propensity
that makes them count for the whole stream. What asks about them is yours, too; `askance.estimate` then says how good
the student is. The offsets are committed when everything that came of them is acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import sys

import askance
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

SHARE = 0.05


async def run(
    servers: str, documents: str, answers: str, to_ask: str, registry: str, *, at_most: int | None = None
) -> int:
    """Consume until cancelled, or until so many records are done; returns how many were."""
    student = askance.Student.load(registry)
    gate = askance.Gate(share=SHARE)
    consumer = AIOKafkaConsumer(
        documents,
        bootstrap_servers=servers,
        group_id="my-consumer",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    done = 0
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer, consumer:
        while at_most is None or done < at_most:
            fetched = await consumer.getmany(timeout_ms=500, max_records=512)
            records = [record for batch in fetched.values() for record in batch]
            if not records:
                continue
            texts = [json.loads(record.value)["text"] for record in records]
            # Off the event loop, which has a group to stay in.
            logits = await asyncio.to_thread(student.logits, texts)
            # The coordinates key the coins: a batch that comes again tosses the same ones.
            decided = gate.decide(
                logits,
                coordinates=[(record.topic, record.partition, record.offset) for record in records],
                temperature=student.temperature,
            )
            sent = []
            for place, record in enumerate(records):
                answer = {
                    "label": student.labels[decided.labels[place]],
                    "confidence": float(decided.confidences[place]),
                    "propensity": float(decided.propensities[place]),
                    "version": student.version,
                }
                value = json.dumps(answer).encode()
                sent.append(await producer.send(answers, value, key=record.key))
                if decided.accepted[place]:
                    question = json.dumps({"text": texts[place], "predicted": answer}).encode()
                    sent.append(await producer.send(to_ask, question, key=record.key))
            await asyncio.gather(*sent)
            await consumer.commit()
            done += len(records)
    return done


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
