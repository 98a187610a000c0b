"""Peer (a): the loop that one would write with aiokafka, scikit-learn and NumPy.

    SERVERS GROUP DOCUMENTS PREDICTIONS QUERIES FOLDER

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
from typing import TYPE_CHECKING

import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from numpy.typing import NDArray

    Classify = Callable[[Sequence[str]], Awaitable[NDArray[np.floating]]]

SHARE = 0.05
SEED = 0


async def loop(
    classify: Classify, labels: Sequence[str], batch: int, servers: str, group: str, documents: str, predictions: str,
    queries: str,
) -> None:  # fmt: skip
    """Classify until a signal, up to `batch` documents at a time; `classify` gives (n, K) probabilities of n texts."""
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
            fetched = await consumer.getmany(timeout_ms=200, max_records=batch)
            records = [record for part in fetched.values() for record in part]
            if not records:
                continue
            inbound = [json.loads(record.value) for record in records]
            probabilities = await classify([document["text"] for document in inbound])
            winners = probabilities.argmax(axis=1)
            confidences = probabilities[np.arange(len(records)), winners]
            logs = np.log(np.maximum(probabilities, 1e-12))
            uncertainties = -(probabilities * logs).sum(axis=1) / np.log(len(labels))
            scale = SHARE / max(uncertainties.mean(), 1e-9)
            propensities = np.minimum(1.0, scale * uncertainties)
            accepted = rng.random(len(records)) < propensities
            sent = []
            for record, document, winner, confidence, uncertainty, propensity, is_accepted in zip(
                records, inbound, winners, confidences, uncertainties, propensities, accepted, strict=True
            ):
                prediction = {
                    "id": document["id"],
                    "label": labels[winner],
                    "confidence": float(confidence),
                    "uncertainty": float(uncertainty),
                    "propensity": float(propensity),
                    "accepted": bool(is_accepted),
                    "version": group,
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


def main(*given: str) -> None:
    """The loop around scikit-learn."""
    *where, folder = given
    vectorizer, model = pickle.loads((Path(folder) / "sklearn.pickle").read_bytes())

    async def classify(texts: Sequence[str]) -> NDArray[np.float64]:
        probabilities: NDArray[np.float64] = model.predict_proba(vectorizer.transform(texts))
        return probabilities

    asyncio.run(loop(classify, model.classes_.tolist(), 1000, *where))


if __name__ == "__main__":
    main(*sys.argv[1:])
