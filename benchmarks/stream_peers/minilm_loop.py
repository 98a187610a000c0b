"""Peer (a) with a sentence encoder: the loop that one would write with aiokafka, tokenizers and onnxruntime.

    SERVERS GROUP DOCUMENTS PREDICTIONS QUERIES FOLDER

Its choices: `getmany` of up to 256 records; the very files that askance serves (encoder, tokenizer, linear head), one
thread for onnxruntime; as this encoder's graph takes no padding, texts of as many tokens are encoded together, up to 32
at a time, which is what sentence-transformers takes; the rest as in `sklearn_loop.py`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer  # type: ignore[import-untyped]

from benchmarks.stream_peers.sklearn_loop import loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

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


def main(*given: str) -> None:
    """The loop around MiniLM, which works on a thread so that the group hears of this member meanwhile."""
    *where, folder = given
    [manifest] = Path(folder, "registry").glob("**/manifest.json")
    classifier = Classifier(manifest.parent)

    async def classify(texts: Sequence[str]) -> NDArray[np.float32]:
        return await asyncio.to_thread(classifier, texts)

    asyncio.run(loop(classify, classifier.labels, 256, *where))


if __name__ == "__main__":
    main(*sys.argv[1:])
