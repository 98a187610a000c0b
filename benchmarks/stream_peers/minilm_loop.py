"""Peer (a) with a sentence encoder: the loop that one would write with aiokafka, tokenizers and onnxruntime.

    python minilm_loop.py SERVERS GROUP DOCUMENTS PREDICTIONS QUERIES FOLDER

Its choices: `getmany` of up to 256 records; the very files that askance serves (encoder, tokenizer, linear head), one
thread for onnxruntime; as this encoder's graph takes no padding, texts of as many tokens are encoded together, up to 32
at a time, which is what sentence-transformers takes; the rest as in `sklearn_loop.py`.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from tokenizers import Tokenizer  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SHARE = 0.05
SEED = 0
TOGETHER = 32


class Classifier:
    """Probabilities by the version in a folder."""

    def __init__(self, folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        self.labels: list[str] = manifest["labels"]
        self._temperature = manifest["temperature"]
        self._reads = manifest["encoder"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(manifest["max_tokens"])
        self._tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._encoder = onnxruntime.InferenceSession(str(folder / "encoder.onnx"), options)
        self._head = onnxruntime.InferenceSession(str(folder / "student.onnx"), options)

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(n, K) probabilities."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        vectors: list[Any] = [None] * len(texts)
        for length in sorted({len(row) for row in ids}):
            places = [place for place, row in enumerate(ids) if len(row) == length]
            for start in range(0, len(places), TOGETHER):
                together = places[start : start + TOGETHER]
                given = np.array([ids[place] for place in together], dtype=np.int64)
                [hidden] = self._encoder.run([self._reads["output"]], {"input_ids": given})
                mean = hidden.mean(axis=1)
                for place, vector in zip(together, mean / np.linalg.norm(mean, axis=1, keepdims=True), strict=True):
                    vectors[place] = vector
        [logits] = self._head.run(["logits"], {"vectors": np.array(vectors)})
        powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / self._temperature)
        probabilities: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
        return probabilities


async def main(classify: Classifier, servers: str, group: str, documents: str, predictions: str, queries: str) -> None:
    rng = np.random.default_rng(SEED)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    consumer = AIOKafkaConsumer(
        documents, bootstrap_servers=servers, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True, linger_ms=5)
    async with consumer, producer:
        while not stop.is_set():
            fetched = await consumer.getmany(timeout_ms=200, max_records=256)
            records = [record for part in fetched.values() for record in part]
            if not records:
                continue
            inbound = [json.loads(record.value) for record in records]
            probabilities = await asyncio.to_thread(classify, [document["text"] for document in inbound])
            uncertainties = -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1)
            uncertainties /= np.log(len(classify.labels))
            propensities = np.minimum(1.0, SHARE / max(uncertainties.mean(), 1e-9) * uncertainties)
            accepted = rng.random(len(records)) < propensities
            sent = []
            for place, (record, document) in enumerate(zip(records, inbound, strict=True)):
                winner = int(probabilities[place].argmax())
                prediction = {
                    "id": document["id"],
                    "label": classify.labels[winner],
                    "confidence": float(probabilities[place, winner]),
                    "uncertainty": float(uncertainties[place]),
                    "propensity": float(propensities[place]),
                    "accepted": bool(accepted[place]),
                    "version": "minilm",
                    "seed": SEED,
                    "topic": record.topic,
                    "partition": record.partition,
                    "offset": record.offset,
                }
                where = {"key": record.key, "partition": record.partition, "headers": list(record.headers)}
                sent.append(await producer.send(predictions, json.dumps(prediction).encode(), **where))
                if accepted[place]:
                    query = {**prediction, "text": document["text"]}
                    sent.append(await producer.send(queries, json.dumps(query).encode(), **where))
            await asyncio.gather(*sent)
            await consumer.commit()


if __name__ == "__main__":
    *given, folder = sys.argv[1:]
    [manifest] = Path(folder, "registry").glob("**/manifest.json")
    asyncio.run(main(Classifier(manifest.parent), *given))
