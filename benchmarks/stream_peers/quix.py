"""Peer (b): Quix Streams with onnxruntime.

    SERVERS GROUP DOCUMENTS PREDICTIONS QUERIES FOLDER

Its choices: a streaming dataframe whose `apply` scores a document (Quix Streams hands over one message at a time; its
windows would batch, but answer only when they close), at least once, offsets committed every second, JSON by its own
serialisers. It is lent askance's kernel for the features and the gate, so that it scores the very same ONNX file and
only the streaming differs. Quix Streams chooses the partition of an output by its key.
"""

from __future__ import annotations

import sys

from quixstreams import Application, message_context

from benchmarks.stream_peers.lent import SEED, Lent


class Classifier:
    """Scores one document after the other."""

    def __init__(self, folder: str) -> None:
        self._lent = Lent(folder)

    def __call__(self, document: dict[str, str]) -> dict[str, object]:
        """The prediction."""
        context = message_context()
        decided = self._lent([document["text"]], context.topic, [context.partition], [context.offset])
        return {
            "id": document["id"],
            "label": self._lent.labels[decided.labels[0]],
            "confidence": decided.confidences[0].item(),
            "uncertainty": decided.uncertainties[0].item(),
            "propensity": decided.propensities[0].item(),
            "accepted": decided.accepted[0].item(),
            "version": self._lent.version,
            "seed": SEED,
            "topic": context.topic,
            "partition": context.partition,
            "offset": context.offset,
        }


def main(servers: str, group: str, documents: str, predictions: str, queries: str, folder: str) -> None:
    """Run until a signal."""
    classify = Classifier(folder)
    app = Application(
        broker_address=servers,
        consumer_group=group,
        auto_offset_reset="earliest",
        commit_interval=1.0,
        auto_create_topics=False,
        loglevel="WARNING",
    )
    bytes_as_they_are = {"key_serializer": "bytes", "key_deserializer": "bytes"}
    stream = app.dataframe(app.topic(documents, value_deserializer="json", key_deserializer="bytes"))
    answered = stream.apply(lambda document: (classify(document), document["text"]))
    asked = answered.filter(lambda pair: pair[0]["accepted"]).apply(lambda pair: {**pair[0], "text": pair[1]})
    asked.to_topic(app.topic(queries, value_serializer="json", **bytes_as_they_are))
    answered.apply(lambda pair: pair[0]).to_topic(app.topic(predictions, value_serializer="json", **bytes_as_they_are))
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
