"""The contract of every student, whatever its kind and features: train, calibrate, export, parity, serve, swap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
import pytest

from askance.errors import DamagedVersionError, ParityError, TrainingError
from askance.registry import directory as registries
from askance.rules.split import is_held_out
from askance.student import onnx
from askance.student.slot import Slot
from askance.training import embeddings, evaluation
from askance.training.calibration import HIGHEST, LOWEST, tempered
from askance.training.graph import Graph
from askance.training.pipeline import train
from askance.training.spec import Family, TransformerSpec
from tests.encoders import tiny_bert
from tests.extras import NEEDS_TORCH
from tests.integration.test_training import COMMON, LABELS, WORDS, labelled, load, registry, spec, write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from askance.records import Labelled

HELD_OUT = 0.2


class Case(NamedTuple):
    """What `Spec` is given."""

    kind: str
    features: str = "hashed"


TRANSFORMER = pytest.param(Case("transformer", "tokens"), marks=[pytest.mark.slow, NEEDS_TORCH])
FAMILIES = [Case(kind, features) for features in ("hashed", "encoder") for kind in get_args(Family)]


def name(case: Case) -> str:
    return f"{case.kind}-{case.features}"


def settings(state: Path, case: Case) -> dict[str, object]:
    given: dict[str, object] = {"kind": case.kind, "features": case.features}
    if case.kind == "transformer":
        folder = tiny_bert(state / "bert", [*WORDS.values(), COMMON])
        fine_tuned = TransformerSpec(model=str(folder), max_tokens=60, epochs=6, learning_rate=3e-3)
        return {"kind": case.kind, "transformer": fine_tuned}
    if case.features == "encoder":
        folder = tiny_bert(state / "encoder", [*WORDS.values(), COMMON])
        given |= {"encoder": str(folder), "max_tokens": 64, "embeddings": str(state / "embeddings")}
    return given


def spread(logits: np.ndarray, temperature: float, rows: Sequence[Labelled]) -> float:
    """Mean negative log-likelihood of the rows' labels."""
    columns = [LABELS.index(row.label) for row in rows]
    return float(-np.log(tempered(logits, temperature)[np.arange(len(rows)), columns]).mean())


def documents() -> list[str]:
    """Texts of very different lengths, the empty one and one without a known word among them."""
    long = [" ".join(row.text for row in labelled(count, seed=count)) for count in (2, 3, 5, 9, 20)]
    return [*(row.text for row in labelled(60, seed=4)), *long, "", "!!", "unknown", "cat"]


def check_neighbours(student: onnx.OnnxStudent) -> None:
    """A document's logits are the same to the bit whatever is scored beside it."""
    texts = documents()
    alone = np.concatenate([student.logits([text]) for text in texts])
    assert np.isfinite(alone).all()
    rng = np.random.default_rng(1)
    for size in (2, 3, 7, 16, 64):
        order = rng.permutation(len(texts))
        for start in range(0, len(texts), size):
            batch = order[start : start + size]
            logits = student.logits([texts[place] for place in batch])
            assert logits.tobytes() == alone[batch].tobytes(), f"batches of {size}"


@pytest.mark.parametrize("case", [*FAMILIES, TRANSFORMER], ids=name)
def test_a_student_is_trained_calibrated_exported_checked_served_and_swapped(tmp_path: Path, case: Case) -> None:
    rows = labelled(240, wrong=0.1)
    write(tmp_path, rows[:200])
    champion = train(spec(tmp_path, **settings(tmp_path, case)))
    held_out = [row for row in rows[:200] if is_held_out(row.text, HELD_OUT)]

    # Trained, and calibrated: it has learnt, and its temperature serves documents that are new to it.
    assert (champion.student, champion.features) == (case.kind, case.features)
    assert (champion.held_out, champion.trained_on) == (len(held_out), 200 - len(held_out))
    assert LOWEST <= champion.temperature <= HIGHEST
    student = load(tmp_path, champion)
    fresh = labelled(300, seed=9)
    logits = student.logits([row.text for row in fresh])
    assert (logits.argmax(axis=1) == [LABELS.index(row.label) for row in fresh]).mean() > 0.55
    assert spread(logits, champion.temperature, fresh) < np.log(3)

    # Exported, with parity, which loading has checked once more.
    assert champion.parity_error <= 1e-4
    agreement = evaluation.agreement(student, held_out)
    assert champion.agreement == agreement
    check_neighbours(student)

    # Served and swapped.
    registry(tmp_path).promote(champion.version)
    slot = Slot()
    slot.put(student)
    write(tmp_path, rows[200:])
    challenger = train(spec(tmp_path, **settings(tmp_path, case)))
    assert challenger.parent == challenger.verdict.champion == champion.version
    slot.put(load(tmp_path, challenger))
    live = slot.student
    assert live is not None
    assert live.version == challenger.version
    assert live.logits(["cat"]).shape == (1, 3)


@pytest.mark.parametrize("case", FAMILIES, ids=name)
def test_two_classes_and_one_without_a_label(tmp_path: Path, case: Case) -> None:
    write(tmp_path, labelled(80, labels=(LABELS[0], LABELS[2])))

    for labels, name in ((LABELS, "three"), ((LABELS[0], LABELS[2]), "two")):
        manifest = train(spec(tmp_path, labels=labels, registry=str(tmp_path / name), **settings(tmp_path, case)))
        assert manifest.parity_error <= 1e-4
        folder = tmp_path / name / "versions" / manifest.version
        probabilities = tempered(onnx.load(folder, manifest).logits(documents()), HIGHEST)
        if len(labels) == 3:
            assert not probabilities[:, 1].any()


@pytest.mark.parametrize("case", FAMILIES, ids=name)
def test_an_export_that_answers_differently_is_refused(
    tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, labelled(90))
    exact = Graph.serialised

    def skewed(graph: Graph, value: str, *, name: str, width: int, **shape: Any) -> bytes:
        if name == "logits":
            value = graph.add("Add", value, graph.put(np.array([0.05, 0, 0], dtype=np.float32)))
        return exact(graph, value, name=name, width=width, **shape)

    monkeypatch.setattr(Graph, "serialised", skewed)
    with pytest.raises(ParityError, match=r"for the document '.+' differs from the trained one's by"):
        train(spec(tmp_path, **settings(tmp_path, case)))
    assert registry(tmp_path).versions() == []


# A frozen encoder is part of every version that reads its vectors.


ENCODED = Case("logistic", "encoder")


def test_versions_share_their_encoders_file_and_each_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "LARGE", 1000)
    rows = labelled(180)
    manifests = []
    for start, end in ((0, 100), (100, 130), (130, 180)):
        write(tmp_path, rows[start:end])
        manifests.append(train(spec(tmp_path, **settings(tmp_path, ENCODED))))
        if end == 130:
            # Damage is not passed on.
            path = tmp_path / "registry" / "versions" / manifests[0].version / "encoder.onnx"
            path.write_bytes(path.read_bytes()[:-1] + b"x")
    first, second, third = (
        tmp_path / "registry" / "versions" / manifest.version / "encoder.onnx" for manifest in manifests
    )
    assert first.samefile(second)
    assert not third.samefile(second)
    assert len({manifest.files["encoder.onnx"] for manifest in manifests}) == 1
    with pytest.raises(DamagedVersionError, match=r"encoder\.onnx: its SHA-256"):
        load(tmp_path, manifests[1])
    assert load(tmp_path, manifests[2]).logits(["cat"]).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("tokenizer.json", b"{}", "not a tokenizer"),
        ("encoder.onnx", b"no", "not a graph"),
        ("encoder.onnx", None, "not input_ids -> last_hidden_state"),
    ],
)
def test_an_encoder_that_cannot_be_used_is_refused(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    write(tmp_path, labelled(90))
    manifest = train(spec(tmp_path, **settings(tmp_path, ENCODED)))
    folder = tmp_path / "registry" / "versions" / manifest.version
    (folder / name).write_bytes((folder / "student.onnx").read_bytes() if content is None else content)
    with pytest.raises(DamagedVersionError, match=says) as caught:
        onnx.load(folder, manifest)
    assert manifest.version in str(caught.value)


def test_the_next_training_embeds_only_what_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = labelled(130)
    write(tmp_path, rows[:100])
    train(spec(tmp_path, **settings(tmp_path, ENCODED)))
    (kept,) = (tmp_path / "embeddings").iterdir()
    before = kept.stat().st_size
    asked: list[str] = []
    exact = embeddings.Embeddings.inputs

    def watched(self: embeddings.Embeddings, texts: Sequence[str]) -> object:
        encode = self._encoder.vectors
        monkeypatch.setattr(self._encoder, "vectors", lambda given: asked.extend(given) or encode(given), raising=True)
        try:
            return exact(self, texts)
        finally:
            monkeypatch.setattr(self._encoder, "vectors", encode)

    monkeypatch.setattr(embeddings.Embeddings, "inputs", watched)
    write(tmp_path, rows[100:])
    train(spec(tmp_path, **settings(tmp_path, ENCODED)))
    assert set(asked) == {row.text for row in rows[100:]}
    assert len(asked) == len(set(asked))
    assert kept.stat().st_size >= before


def test_nothing_new_is_learnt_with_the_same_encoder(tmp_path: Path) -> None:
    write(tmp_path, labelled(90))
    given = settings(tmp_path, ENCODED)
    train(spec(tmp_path, **given))
    with pytest.raises(TrainingError, match="nothing new was learnt"):
        train(spec(tmp_path, **given))
    train(spec(tmp_path, **given | {"max_tokens": 12}))
    train(spec(tmp_path, kind="logistic"))
