"""A linear graph is served by the kernel with the graph's own weights; what is not linear is left to the graph."""

import numpy as np
import pytest

from askance import _kernel
from askance.manifest import FeaturizerConfig
from askance.student import features
from askance.student.linear import linear
from askance.student.session import Session, open_session
from askance.training.graph import Graph

BITS = 10
CONFIG = FeaturizerConfig(bits=BITS)
TEXTS = ["", "one", "how do I join two tables", "ÄÖÜ straße 日本語", *(f"word{n} word{n % 7} and" for n in range(300))]


class Manifest:
    """What `linear` reads of one."""

    features = "hashed"
    featurizer = CONFIG

    def __init__(self, student: str) -> None:
        self.student = student


def session(classes: int, *, after: str | None = None, bias: float = 1.0) -> Session:
    rng = np.random.default_rng(classes)
    graph = Graph()
    buckets = rng.permutation(2**BITS)[:700].astype(np.int32)
    rows = rng.normal(size=(700, classes)).astype(np.float32)
    sums = graph.bag(buckets, rows, bits=BITS)
    biases = (bias * rng.normal(size=classes)).astype(np.float32)
    value = graph.add("Add", sums, graph.put(biases))
    if after:
        value = graph.add(after, value)
    return open_session(graph.serialised(value, name="logits", width=classes))


def by_graph(opened: Session, texts: list[str], classes: int) -> np.ndarray:
    logits = np.empty((len(texts), classes), dtype=np.float32)
    for rows, ids, weights in features.rectangles(features.build(CONFIG), texts, max_cells=10_000):
        logits[rows] = opened.run("logits", {"ids": ids, "weights": weights})
    return logits


@pytest.mark.parametrize("classes", [2, 3, 4, 16, 20, 37, 77])
@pytest.mark.parametrize("bias", [0.0, 1.0, 1e4])
def test_logits_are_the_graphs(classes: int, bias: float) -> None:
    opened = session(classes, bias=bias)
    model = linear(Manifest("logistic"), opened)
    assert model is not None
    logits = model.logits(TEXTS)
    assert (logits.dtype, logits.shape, logits.flags.c_contiguous) == (np.float32, (len(TEXTS), classes), True)
    np.testing.assert_allclose(logits, by_graph(opened, TEXTS, classes), rtol=2e-6, atol=2e-6 * max(1.0, bias))
    alone = np.concatenate([model.logits([text]) for text in TEXTS])
    assert alone.tobytes() == logits.tobytes()
    assert model.logits([]).shape == (0, classes)


@pytest.mark.parametrize("after", ["Tanh", "Relu", "Exp"])
def test_what_is_not_linear_is_left_to_its_graph(after: str) -> None:
    assert linear(Manifest("logistic"), session(5, after=after)) is None


def test_kinds_that_are_not_linear_are_not_asked() -> None:
    assert linear(Manifest("rf"), session(5)) is None


def test_arrays_that_do_not_fit_are_refused() -> None:
    featurizer = features.build(CONFIG)
    buckets, rows, bias = np.array([1, 5], np.int32), np.ones((2, 3), np.float32), np.ones(3, np.float32)
    model = _kernel.LinearModel(featurizer, buckets=buckets, rows=rows, bias=bias)
    assert model.logits([""]).tolist() == [[1.0, 1.0, 1.0]]
    for wrong in (
        {"buckets": np.array([1, 1024], np.int32)},
        {"buckets": np.array([1, -1], np.int32)},
        {"bias": np.ones(2, np.float32)},
        {"buckets": np.array([1], np.int32)},
    ):
        with pytest.raises(ValueError, match=r"fit together|buckets has 1 elements"):
            _kernel.LinearModel(featurizer, **{"buckets": buckets, "rows": rows, "bias": bias, **wrong})
    with pytest.raises(ValueError, match=r"texts\[1\] holds a lone surrogate"):
        model.logits(["a", "\ud800"])
