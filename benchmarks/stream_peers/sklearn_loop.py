"""Peer (a): the loop that one would write with aiokafka, scikit-learn and NumPy.

    python sklearn_loop.py SERVERS GROUP DOCUMENTS PREDICTIONS QUERIES FOLDER

Its choices: `getmany` of up to 1,000 records, one `transform` and one `predict_proba` a batch, the gate as array
operations, predictions and queries sent by `producer.send`, which gathers them into batches in the background
(idempotent, acknowledged by all, not compressed), and the offsets committed once a batch's outputs are acknowledged:
at least once.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import signal
import sys
from pathlib import Path

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

SHARE = 0.05
SEED = 0


async def main(servers: str, group: str, documents: str, predictions: str, queries: str, folder: str) -> None:
    vectorizer, model = pickle.loads((Path(folder) / "sklearn.pickle").read_bytes())
    classes = model.classes_
    rng = np.random.default_rng(SEED)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    consumer = AIOKafkaConsumer(
        documents,
        bootstrap_servers=servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=servers,
        acks="all",
        enable_idempotence=True,
        linger_ms=5,
        max_batch_size=512 * 1024,
    )
    async with consumer, producer:
        while not stop.is_set():
            fetched = await consumer.getmany(timeout_ms=200, max_records=1000)
            records = [record for part in fetched.values() for record in part]
            if not records:
                continue
            inbound = [json.loads(record.value) for record in records]
            probabilities = model.predict_proba(vectorizer.transform([document["text"] for document in inbound]))
            winners = probabilities.argmax(axis=1)
            confidences = probabilities[np.arange(len(records)), winners]
            logs = np.log(np.maximum(probabilities, 1e-12))
            uncertainties = -(probabilities * logs).sum(axis=1) / np.log(len(classes))
            scale = SHARE / max(uncertainties.mean(), 1e-9)
            propensities = np.minimum(1.0, scale * uncertainties)
            accepted = rng.random(len(records)) < propensities
            sent = []
            for record, document, winner, confidence, uncertainty, propensity, is_accepted in zip(
                records, inbound, winners, confidences, uncertainties, propensities, accepted, strict=True
            ):
                prediction = {
                    "id": document["id"],
                    "label": classes[winner],
                    "confidence": float(confidence),
                    "uncertainty": float(uncertainty),
                    "propensity": float(propensity),
                    "accepted": bool(is_accepted),
                    "version": "sklearn",
                    "seed": SEED,
                    "topic": record.topic,
                    "partition": record.partition,
                    "offset": record.offset,
                }
                place = {"key": record.key, "partition": record.partition, "headers": list(record.headers)}
                sent.append(await producer.send(predictions, json.dumps(prediction).encode(), **place))
                if is_accepted:
                    query = {**prediction, "text": document["text"]}
                    sent.append(await producer.send(queries, json.dumps(query).encode(), **place))
            await asyncio.gather(*sent)
            await consumer.commit()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
