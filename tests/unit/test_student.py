from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from askance.errors import DamagedVersionError
from askance.manifest import FeaturizerConfig, Manifest, Verdict
from askance.registry import DirectoryRegistry
from askance.student import features, fronts, onnx
from askance.student.slot import Slot
from askance.training.graph import Graph
from askance.training.parity import parity_documents

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

CONFIG = FeaturizerConfig(bits=12)
TEXTS = ["how to join two tables", "ÄÖÜ straße", "日本語の文書", "word " * 40, "", "!!!"]


class Linear(NamedTuple):
    """A student whose logits are the sums of weight times row over a document's features, plus the bias."""

    buckets: NDArray[np.int32]
    rows: NDArray[np.float32]
    bias: NDArray[np.float32]


def to_onnx(linear: Linear, *, bits: int) -> bytes:
    graph = Graph()
    sums = graph.add("Add", graph.bag(linear.buckets, linear.rows, bits=bits), graph.put(linear.bias))
    return graph.serialised(sums, name="logits", width=len(linear.bias))


def random_student(classes: int, seed: int = 0) -> Linear:
    rng = np.random.default_rng(seed)
    buckets = np.flatnonzero(rng.random(2**CONFIG.bits) < 0.7).astype(np.int32)
    rows = rng.normal(0, 3, (len(buckets), classes)).astype(np.float32)
    return Linear(buckets, rows, rng.normal(size=classes).astype(np.float32))


def in_memory(linear: Linear) -> onnx.OnnxStudent:
    manifest = describe("v0001-00000000", {}, classes=len(linear.bias))
    return onnx.assemble(manifest, {"student.onnx": to_onnx(linear, bits=CONFIG.bits)})


def describe(version: str, digests: Mapping[str, str], *, classes: int = 3) -> Manifest:
    return Manifest(
        version=version,
        created_at="2025-01-01T00:00:00+00:00",
        student="logistic",
        labels=tuple(f"label {column}" for column in range(classes)),
        temperature=0.7,
        featurizer=CONFIG,
        featurizer_digest=features.digest(CONFIG),
        parent=None,
        trained_on=2,
        held_out=0,
        training_digest="",
        parity_error=0.0,
        agreement=None,
        verdict=Verdict(promoted=True, why="a test"),
        files=dict(digests),
    )


@pytest.fixture
def registry(tmp_path: Path) -> DirectoryRegistry:
    return DirectoryRegistry(tmp_path / "registry")


def publish(registry: DirectoryRegistry, **changed: bytes) -> Manifest:
    linear = random_student(3)
    files = {
        "student.onnx": to_onnx(linear, bits=CONFIG.bits),
        "parity.json": msgspec.json.encode(parity_documents(in_memory(linear), TEXTS)),
    }
    return registry.publish(files | {name.replace("_", "."): content for name, content in changed.items()}, describe)


def load(registry: DirectoryRegistry, manifest: Manifest) -> onnx.OnnxStudent:
    return onnx.load(registry.verified(manifest.version), manifest)


# What is loaded answers.


def test_a_published_version_loads_and_answers(registry: DirectoryRegistry) -> None:
    manifest = publish(registry)
    student = load(registry, manifest)
    assert (student.version, student.labels, student.temperature) == (manifest.version, manifest.labels, 0.7)
    logits = student.logits(TEXTS)
    assert logits.shape == (6, 3)
    assert logits.dtype == np.dtype(np.float32)
    assert logits.flags.c_contiguous
    assert student.logits([]).shape == (0, 3)


@pytest.mark.parametrize("classes", [2, 3, 20, 151])
def test_logits_are_what_a_dense_reference_says(classes: int) -> None:
    linear = random_student(classes)
    dense = np.zeros((2**CONFIG.bits, classes))
    dense[linear.buckets] = linear.rows
    indptr, indices, values = features.build(CONFIG).transform(TEXTS)
    expected = [values[start:end] @ dense[indices[start:end]] + linear.bias for start, end in pairwise(indptr)]
    np.testing.assert_allclose(in_memory(linear).logits(TEXTS), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(in_memory(linear).logits([""])[0], linear.bias)


# A document's logits depend on nothing but the document.


def documents(count: int) -> list[str]:
    rng = np.random.default_rng(5)
    lengths = np.minimum(3000, np.exp(rng.normal(2.5, 1.3, count))).astype(int)
    return [" ".join(f"w{word}" for word in rng.integers(0, 5000, length)) for length in lengths]


@pytest.mark.parametrize("classes", [2, 20, 77, 151])
def test_logits_do_not_depend_on_neighbours_to_the_bit(classes: int) -> None:
    student = in_memory(random_student(classes))
    texts = documents(150)
    alone = np.concatenate([student.logits([text]) for text in texts])
    rng = np.random.default_rng(1)
    for size in (2, 3, 7, 64, 150):
        order = rng.permutation(len(texts))
        for start in range(0, len(texts), size):
            batch = order[start : start + size]
            logits = student.logits([texts[place] for place in batch])
            assert logits.tobytes() == alone[batch].tobytes(), f"batches of {size}"


@pytest.mark.parametrize("max_cells", [1, 40_000, 400_000])
def test_logits_do_not_depend_on_how_a_batch_is_cut(max_cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = documents(100)
    expected = in_memory(random_student(20)).logits(texts)
    monkeypatch.setattr(fronts, "MAX_CELLS", max_cells)
    assert in_memory(random_student(20)).logits(texts).tobytes() == expected.tobytes()


@given(st.lists(st.integers(0, 200), max_size=40), st.integers(1, 2000))
def test_rectangles_keep_every_feature_and_their_bounds(lengths: list[int], max_cells: int) -> None:
    featurizer = features.build(CONFIG)
    texts = [" ".join(f"w{number}x{word}" for word in range(length)) for number, length in enumerate(lengths)]
    found = features.Features(*featurizer.transform(texts))
    rows: list[int] = []
    for rectangle in features.rectangles(featurizer, texts, max_cells=max_cells):
        height, width = rectangle.ids.shape
        assert rectangle.weights.shape == (height, width)
        assert rectangle.ids.dtype == np.int32
        assert height == 1 or height * width <= max_cells
        for row, ids, weights in zip(*rectangle, strict=True):
            start, end = found.indptr[row], found.indptr[row + 1]
            length = end - start
            # The width depends on the document alone.
            assert width == max(16, 1 << (int(length) - 1).bit_length() if length else 0)
            assert ids[:length].tolist() == found.indices[start:end].tolist()
            assert weights[:length].tolist() == found.values[start:end].tolist()
            assert not ids[length:].any()
            assert not weights[length:].any()
        rows += rectangle.rows.tolist()
    assert sorted(rows) == list(range(len(lengths)))


def test_the_featurizer_digest_tells_configurations_apart() -> None:
    others = [
        FeaturizerConfig(bits=13),
        FeaturizerConfig(bits=12, ngram_max=3),
        FeaturizerConfig(bits=12, weighting="binary"),
        FeaturizerConfig(bits=12, max_words=3),
    ]
    digests = {features.digest(config) for config in [CONFIG, *others]}
    assert len(digests) == 5
    assert features.digest(FeaturizerConfig(bits=12)) in digests


# Damage is told in one line that names the file and the remedy.


def refusal(registry: DirectoryRegistry, manifest: Manifest) -> str:
    with pytest.raises(DamagedVersionError) as caught:
        load(registry, manifest)
    text = str(caught.value)
    assert "\n" not in text
    assert manifest.version in text
    return text


def test_a_changed_file_is_refused(registry: DirectoryRegistry) -> None:
    manifest = publish(registry)
    path = registry.verified(manifest.version) / "student.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    assert "student.onnx: its SHA-256 is" in refusal(registry, manifest)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_graph_is_refused(
    registry: DirectoryRegistry, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = to_onnx(random_student(3), bits=CONFIG.bits)
    manifest = publish(registry, student_onnx=whole[: int(share * len(whole))])
    text = refusal(registry, manifest)
    assert "student.onnx: not a graph that onnxruntime" in text
    assert "askance models rollback" in text
    assert capfd.readouterr() == ("", "")


def test_a_graph_with_another_number_of_labels_is_refused(registry: DirectoryRegistry) -> None:
    manifest = publish(registry, student_onnx=to_onnx(random_student(4), bits=CONFIG.bits))
    assert "the graph gives 4 logits, the manifest names 3 labels" in refusal(registry, manifest)


def test_a_graph_of_another_kind_is_refused(registry: DirectoryRegistry) -> None:
    graph = to_onnx(random_student(3), bits=CONFIG.bits).replace(b"weights", b"lengths")
    assert "not ids, weights -> logits" in refusal(registry, publish(registry, student_onnx=graph))


def test_a_student_that_scores_differently_is_refused(registry: DirectoryRegistry) -> None:
    linear = random_student(3)
    other = linear._replace(rows=linear.rows * np.float32(1.001))
    manifest = publish(registry, student_onnx=to_onnx(other, bits=CONFIG.bits))
    text = refusal(registry, manifest)
    assert "now scores differently by" in text
    assert "more than 0.0001" in text


def test_a_student_that_scores_nan_is_refused(registry: DirectoryRegistry) -> None:
    linear = random_student(3)
    broken = linear._replace(bias=np.full(3, np.nan, dtype=np.float32))
    manifest = publish(registry, student_onnx=to_onnx(broken, bits=CONFIG.bits))
    assert "now scores differently" in refusal(registry, manifest)


def test_a_graph_for_fewer_buckets_is_refused(registry: DirectoryRegistry, capfd: pytest.CaptureFixture[str]) -> None:
    few = Linear(np.array([1], dtype=np.int32), np.ones((1, 3), dtype=np.float32), np.zeros(3, dtype=np.float32))
    manifest = publish(registry, student_onnx=to_onnx(few, bits=3))
    assert "student.onnx: the graph fails on" in refusal(registry, manifest)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (b"", "not a list of documents"),
        (b"[{}]", "not a list of documents"),
        (b'[{"text": "a", "logits": [1, 2]}]', "one logit for each of 3 labels"),
        (b'[{"text": "a", "logits": [1, 2]}, {"text": "a", "logits": [1, 2, 3, 4]}]', "one logit for each of 3"),
        (b"[]", "holds no document"),
    ],
)
def test_damaged_parity_documents_are_refused(registry: DirectoryRegistry, content: bytes, finding: str) -> None:
    text = refusal(registry, publish(registry, parity_json=content))
    assert "parity.json" in text
    assert finding in text


def test_another_kernels_features_are_refused(registry: DirectoryRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = publish(registry)
    monkeypatch.setattr(features, "digest", lambda config: "another")
    assert "hashes differently" in refusal(registry, manifest)


# The slot.


def test_the_slot_holds_one_student(registry: DirectoryRegistry) -> None:
    slot = Slot()
    assert slot.student is None
    student = load(registry, publish(registry))
    slot.put(student)
    assert slot.student is student
