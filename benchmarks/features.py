"""The hashed featurizer beside what a user would take instead: `make bench-features`.

Real texts, joined and cut to 171 bytes in the mean, and the same with other scripts mixed in. Everything
runs on one thread, in rounds that visit every row in turn, and the figures are medians over rounds; the ratio
to scikit-learn is the median of the ratios within a round. Each row says whether its answer was right: ours
against the slow reference of the tests, the others' against what they promise. The last line is JSON.
"""

import argparse
import itertools
import json
import math
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")

import numpy as np
import onnx
import onnxruntime
import scipy.sparse
import sklearn.preprocessing
import sklearn.utils
import tokenizers
from sklearn.feature_extraction.text import HashingVectorizer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from askance._kernel import HashedFeaturizer  # noqa: E402 - what is set above comes first
from tests.reference_features import ReferenceFeaturizer  # noqa: E402 - what is set above comes first

BUCKETS = 2**18
MEAN_BYTES = 171
SAMPLE = 200
SHORTEST_SECONDS = 0.02


@dataclass
class Row:
    """Something timed: what it does, whether it was right, and the seconds it took in each round."""

    name: str
    work: Callable[[], object]
    correct: bool
    seconds: list[float] = field(default_factory=list)

    def time(self) -> None:
        """Run it often enough to be timed, and note the mean."""
        repetitions, begin = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - begin) < SHORTEST_SECONDS:
            self.work()
            repetitions += 1
        self.seconds.append(elapsed / repetitions)


def texts(data: Path) -> list[str]:
    """Real texts: those of the data sets, or Python's own library where there are none."""
    found = [
        json.loads(line)["text"]
        for file in sorted(data.glob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    if not found:
        print(f"no *.jsonl in {data}: taking the text of Python's standard library instead")
        library = Path(os.__file__).parent
        for file in sorted(library.glob("*.py")):
            found += file.read_text(encoding="utf-8").split("\n\n")
    random.Random(1).shuffle(found)
    return found


def documents(data: Path, count: int) -> list[str]:
    """Texts joined and cut to lengths that are log-normal with a mean of 171 bytes."""
    source = itertools.cycle(texts(data))
    lengths = random.Random(2)
    spread = 0.5
    joined = []
    for _ in range(count):
        length = round(lengths.lognormvariate(math.log(MEAN_BYTES) - spread**2 / 2, spread))
        document = next(source)
        while len(document) < length:
            document += " " + next(source)
        joined.append(document[:length])
    return joined


def mixed(ascii_documents: list[str]) -> list[str]:
    """The same documents with every second one in another guise: curly quotes, accents, Cyrillic, Han."""
    latin = "abcdefghijklmnopqrstuvwxyz"
    guises = [
        str.maketrans({"'": "\u2019", '"': "\u201d", "-": "\u2013"}),
        str.maketrans("aeiou", "\u00e1\u00e9\u00ef\u00f6\u00fc"),
        str.maketrans(latin, "абцдефгхийклмнопярстувщхыз"),
        str.maketrans(latin + " ", "的一是不了人我在有他这为之大来以个中上们到说国和地也"[:26] + "\u3001"),
    ]
    return [text.translate(guises[i // 2 % len(guises)]) if i % 2 else text for i, text in enumerate(ascii_documents)]


def utf8(texts: list[str]) -> tuple[bytes, np.ndarray]:
    """The texts end to end, and their offsets."""
    parts = [text.encode() for text in texts]
    return b"".join(parts), np.cumsum([0, *map(len, parts)], dtype=np.int64)


def csr(arrays: tuple[np.ndarray, np.ndarray, np.ndarray]) -> scipy.sparse.csr_matrix:
    """The arrays of `transform` as a matrix."""
    indptr, indices, values = arrays
    return scipy.sparse.csr_matrix((values, indices, indptr), shape=(indptr.size - 1, BUCKETS))


def same(left: scipy.sparse.csr_matrix, right: scipy.sparse.csr_matrix) -> bool:
    """Whether two matrices are equal up to the rounding of float32."""
    return left.shape == right.shape and abs(left - right).max() < 1e-6


def from_rectangles(rectangles: list[tuple[np.ndarray, ...]], count: int) -> scipy.sparse.csr_matrix:
    """The result of `padded` as a matrix."""
    matrix = scipy.sparse.lil_matrix((count, BUCKETS), dtype=np.float32)
    for rows, ids, weights in rectangles:
        for row, row_ids, row_weights in zip(rows, ids, weights, strict=True):
            matrix[row, row_ids[row_weights > 0]] = row_weights[row_weights > 0]
    return matrix.tocsr()


def hashing_vectorizer_is_right(vectorizer: HashingVectorizer, sample: list[str]) -> bool:
    """Whether it counts and scales the MurmurHash3 buckets of its own analyzer's n-grams."""
    analyze = vectorizer.build_analyzer()
    expected = scipy.sparse.lil_matrix((len(sample), BUCKETS))
    for row, text in enumerate(sample):
        for ngram in analyze(text):
            expected[row, abs(sklearn.utils.murmurhash3_32(ngram)) % BUCKETS] += 1
    return same(vectorizer.transform(sample), sklearn.preprocessing.normalize(expected.tocsr()))


def features(name: str, texts: list[str]) -> Iterator[Row]:
    """Rows that end with features (or with a tokenizer's ids)."""
    featurizer, sample = HashedFeaturizer(), texts[:SAMPLE]
    buffer, offsets = utf8(texts)
    expected = csr(ReferenceFeaturizer().transform(sample))
    arrays = featurizer.transform_utf8(*utf8(sample))
    rectangles = from_rectangles(featurizer.padded(sample), len(sample))
    right = same(csr(featurizer.transform(sample)), expected)
    yield Row(f"{name}: askance transform", lambda: featurizer.transform(texts), right)
    right = same(csr(arrays), expected)
    yield Row(f"{name}: askance transform_utf8", lambda: featurizer.transform_utf8(buffer, offsets), right)
    yield Row(f"{name}: askance padded", lambda: featurizer.padded(texts), same(rectangles, expected))

    for label, pattern in (("same n-grams", r"\w+"), ("its default pattern", r"\b\w\w+\b")):
        vectorizer = HashingVectorizer(
            ngram_range=(1, 2), n_features=BUCKETS, alternate_sign=False, token_pattern=pattern
        )
        right = hashing_vectorizer_is_right(vectorizer, sample)
        yield Row(f"{name}: scikit-learn, {label}", lambda v=vectorizer: v.transform(texts), right)

    tokenizer = tokenizers.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocab_size=8000, show_progress=False)
    right = all(tokenizer.decode(tokenizer.encode(text).ids) == text for text in sample)
    yield Row(f"{name}: tokenizers, byte-level BPE", lambda: tokenizer.encode_batch(texts), right)


def student(weights: np.ndarray) -> onnxruntime.InferenceSession:
    """The logistic student's graph: ids and weights to logits."""
    helper, kind = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["gathered"]),
        helper.make_node("Unsqueeze", ["weights", "axis"], ["row"]),
        helper.make_node("MatMul", ["row", "gathered"], ["product"]),
        helper.make_node("Squeeze", ["product", "axis"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info("ids", kind.INT32, ["m", "width"]),
        helper.make_tensor_value_info("weights", kind.FLOAT, ["m", "width"]),
    ]
    output = helper.make_tensor_value_info("logits", kind.FLOAT, ["m", weights.shape[1]])
    constants = [
        onnx.numpy_helper.from_array(weights, "table"),
        onnx.numpy_helper.from_array(np.array([1]), "axis"),
    ]
    graph = helper.make_graph(nodes, "student", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


def scores(texts: list[str], classes: int) -> Iterator[Row]:
    """Rows that end with the logits of a linear model."""
    featurizer, sample = HashedFeaturizer(), texts[:SAMPLE]
    weights = np.random.default_rng(3).standard_normal((BUCKETS, classes), dtype=np.float32)
    session = student(weights)
    vectorizer = HashingVectorizer(
        ngram_range=(1, 2), n_features=BUCKETS, alternate_sign=False, token_pattern=r"\w+", dtype=np.float32
    )

    def sparse(texts: list[str]) -> np.ndarray:
        return csr(featurizer.transform(texts)) @ weights

    def through_onnx(texts: list[str]) -> np.ndarray:
        logits = np.empty((len(texts), classes), np.float32)
        for rows, ids, values in featurizer.padded(texts):
            logits[rows] = session.run(None, {"ids": ids, "weights": values})[0]
        return logits

    expected = csr(ReferenceFeaturizer().transform(sample)) @ weights.astype(np.float64)
    for name, score in (("askance transform @ weights", sparse), ("askance padded, ONNX", through_onnx)):
        right = bool(np.abs(score(sample) - expected).max() < 1e-4)
        yield Row(f"score K={classes}: {name}", lambda score=score: score(texts), right)
    right = hashing_vectorizer_is_right(vectorizer, sample)
    yield Row(f"score K={classes}: scikit-learn @ weights", lambda: vectorizer.transform(texts) @ weights, right)


def main() -> None:
    """Measure, print the table, and end with the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--documents", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()

    plain = documents(arguments.data, arguments.documents)
    blend = mixed(plain)
    rows = [*features("plain", plain), *features("mixed", blend)]
    rows += itertools.chain.from_iterable(scores(plain, classes) for classes in (4, 20, 77))
    for _ in range(arguments.rounds):
        for row in rows:
            row.time()

    for name, corpus in (("plain", plain), ("mixed", blend)):
        size = statistics.mean(len(text.encode()) for text in corpus)
        share = statistics.mean(not text.isascii() for text in corpus)
        print(f"{name}: {len(corpus)} documents, {size:.0f} bytes in the mean, {share:.0%} not ASCII")
    print(f"medians of {arguments.rounds} interleaved rounds, one thread\n")
    print(f"{'':<44}{'k docs/s':>10}{'correct':>9}")
    for row in rows:
        rate = arguments.documents / statistics.median(row.seconds) / 1e3
        print(f"{row.name:<44}{rate:>10,.0f}{'yes' if row.correct else 'NO':>9}")

    by_name = {row.name: row.seconds for row in rows}
    ours, theirs = by_name["plain: askance transform"], by_name["plain: scikit-learn, same n-grams"]
    ratio = statistics.median(their / our for our, their in zip(ours, theirs, strict=True))
    correct = all(row.correct for row in rows)
    print()
    print(json.dumps({"bench": "features", "ratio_vs_sklearn": round(ratio, 1), "correct": correct}))
    sys.exit(0 if correct else 1)


if __name__ == "__main__":
    main()
