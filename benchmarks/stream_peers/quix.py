"""Peer (b): Quix Streams with onnxruntime.

    python quix.py SERVERS GROUP DOCUMENTS PREDICTIONS QUERIES FOLDER

Its choices: a streaming dataframe whose `apply` scores a document (Quix Streams hands over one message at a time; its
windows would batch, but answer only when they close), at least once, offsets committed every second, JSON by its own
serialisers. It is lent askance's kernel for the features and the gate, so that it scores the very same ONNX file and
only the streaming differs. Quix Streams chooses the partition of an output by its key.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
from quixstreams import Application, message_context

from askance._kernel import HashedFeaturizer, decide

SHARE = 0.05
SEED = 0


class Classifier:
    """Scores one document after the other with the version in a folder."""

    def __init__(self, folder: Path) -> None:
        manifest = msgspec.json.decode((folder / "manifest.json").read_bytes())
        self._labels = manifest["labels"]
        self._version = manifest["version"]
        self._temperature = manifest["temperature"]
        self._featurizer = HashedFeaturizer(**manifest["featurizer"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(folder / "student.onnx"), options)
        self._mean = 0.5

    def __call__(self, document: dict[str, str]) -> dict[str, object]:
        """The prediction."""
        context = message_context()
        [(_, ids, weights)] = self._featurizer.padded([document["text"]])
        [logits] = self._session.run(["logits"], {"ids": ids, "weights": weights})
        decided = decide(
            logits=logits, temperature=self._temperature, measure="entropy", floor=0.0, exponent=1.0,
            scale=SHARE / self._mean, seed=SEED, topic=context.topic,
            partitions=np.array([context.partition], dtype=np.int32),
            offsets=np.array([context.offset], dtype=np.int64),
        )  # fmt: skip
        uncertainty = decided.uncertainties[0].item()
        self._mean += 0.001 * (uncertainty - self._mean)
        return {
            "id": document["id"],
            "label": self._labels[decided.labels[0]],
            "confidence": decided.confidences[0].item(),
            "uncertainty": uncertainty,
            "propensity": decided.propensities[0].item(),
            "accepted": decided.accepted[0].item(),
            "version": self._version,
            "seed": SEED,
            "topic": context.topic,
            "partition": context.partition,
            "offset": context.offset,
        }


def main(servers: str, group: str, documents: str, predictions: str, queries: str, folder: str) -> None:
    """Run until a signal."""
    [version] = Path(folder, "registry").glob("**/manifest.json")
    classify = Classifier(version.parent)
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
