"""Peer (d): Bytewax with onnxruntime.

    SERVERS GROUP DOCUMENTS PREDICTIONS QUERIES FOLDER

Its choices: its own Kafka connectors (librdkafka), batches of up to 1,000 scored at once by `flat_map_batch`, recovery
snapshots each second (at least once), outputs flushed a batch by its sink, JSON by msgspec. It is lent askance's kernel
for the features and the gate, so that it scores the very same ONNX file and only the streaming differs. It chooses the
partition of an output by its key.
"""

from __future__ import annotations

import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bytewax.operators as op
import msgspec
from bytewax._bytewax import cli_main
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir

from benchmarks.stream_peers.lent import SEED, Lent

if TYPE_CHECKING:
    from bytewax.inputs import StatefulSourcePartition

BATCH = 1000


class Inbound(msgspec.Struct):
    id: str
    text: str


class Prediction(msgspec.Struct):
    id: str
    label: str
    confidence: float
    uncertainty: float
    propensity: float
    accepted: bool
    version: str
    seed: int
    topic: str
    partition: int
    offset: int


class Query(Prediction):
    text: str


class Classifier:
    """Scores a batch."""

    def __init__(self, folder: str, predictions: str, queries: str) -> None:
        self._lent = Lent(folder)
        self._decoder = msgspec.json.Decoder(Inbound)
        self._encoder = msgspec.json.Encoder()
        self._predictions, self._queries = predictions, queries

    def __call__(self, batch: list[KafkaSourceMessage[bytes, bytes]]) -> list[KafkaSinkMessage[bytes, bytes]]:
        """Predictions, and queries for those that are accepted."""
        documents = [self._decoder.decode(message.value) for message in batch]
        decided = self._lent(
            [document.text for document in documents],
            batch[0].topic,
            [message.partition for message in batch],
            [message.offset for message in batch],
        )
        sent = []
        for message, document, label, confidence, uncertainty, propensity, accepted in zip(
            batch, documents, decided.labels.tolist(), decided.confidences.tolist(), decided.uncertainties.tolist(),
            decided.propensities.tolist(), decided.accepted.tolist(), strict=True,
        ):  # fmt: skip
            found = (
                document.id, self._lent.labels[label], confidence, uncertainty, propensity, accepted,
                self._lent.version, SEED, message.topic, message.partition, message.offset,
            )  # fmt: skip
            sent.append(KafkaSinkMessage(message.key, self._encoder.encode(Prediction(*found)), self._predictions))
            if accepted:
                query = self._encoder.encode(Query(*found, document.text))
                sent.append(KafkaSinkMessage(message.key, query, self._queries))
        return sent


class Stoppable(KafkaSource):
    """Comes to its end when it is told to, so that what was read is written."""

    def __init__(self, stop: threading.Event, servers: str, topic: str) -> None:
        super().__init__([servers], [topic], batch_size=BATCH)
        self._stop = stop

    def build_part(self, *given: Any) -> StatefulSourcePartition[Any, Any]:
        part = super().build_part(*given)
        read, stop = part.next_batch, self._stop

        def until_stopped() -> list[Any]:
            if stop.is_set():
                raise StopIteration
            return read()

        part.next_batch = until_stopped
        return part


def main(servers: str, group: str, documents: str, predictions: str, queries: str, folder: str) -> None:
    """Run until a signal."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    flow = Dataflow(group.replace(".", "-"))
    read = op.input("documents", flow, Stoppable(stop, servers, documents))
    classified = op.flat_map_batch("classify", read, Classifier(folder, predictions, queries))
    op.output("predictions", classified, KafkaSink([servers], topic=None))
    recovery = Path("recovery")
    recovery.mkdir()
    init_db_dir(recovery, 1)
    cli_main(flow, epoch_interval=timedelta(seconds=1), recovery_config=RecoveryConfig(recovery))


if __name__ == "__main__":
    main(*sys.argv[1:])
